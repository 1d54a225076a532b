// SPDX-License-Identifier: Apache-2.0
// Datapath: the seam between an agent and what forwards its packets. Providers: `fake` (in memory,
// for tests and simulations of large clouds) and `ebpf` (the kernel, by our own programs). One
// conformance suite holds for all.
//
//   port      a place where frames enter and leave: a local interface, or the tunnel (kTunnelPort).
//   flow      match -> actions. At most one flow per match. Flows of one datapath must not overlap
//   with different
//             actions; whoever installs them sees to that.
//   upcall    a frame that met no flow, handed to user space: behind a token bucket per port, and only so many
//             of one port may wait, so that no port takes the others' place; then the ports take turns.
//   execute   user space sends a frame: an upcalled one after simulation, or one it made itself.
//
// Threads: ports, tunnel and flows belong to one thread (the worker that owns the datapath's
// flows); receive() too. counters() may be called from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "flow/actions.h"
#include "flow/match.h"
#include "packet/flow_key.h"
#include "sim/drop_reason.h"

namespace plexus::datapath {

/// A local interface to attach to. `number` is the agent's choice, unique in the datapath, >=
/// kFirstLocalPort.
struct PortSpec {
  DpPort number;
  std::string interface;  ///< the interface's name in the agent's network namespace
};

struct TunnelSpec {
  IpAddr local;  ///< the underlay address that tunnels start from
  uint16_t udp_port = 4789;
  std::vector<IpAddr>
      peers;  ///< hosts whose tunnels are accepted; packets from others are dropped and counted
};

struct FlowStats {
  uint64_t packets = 0;
  uint64_t bytes = 0;
  MonoTime last_used;  ///< zero when never hit
  bool operator==(const FlowStats&) const = default;
};

struct Flow {
  Match match;
  Actions actions;
  uint64_t cookie = 0;  ///< the installer's own number, kept across agent restarts
  /// Of a flow that drops: why, kept and counted (Counters::flow_drops) by the datapath, also while no agent runs.
  sim::DropReason drop_reason = sim::DropReason::none;
};

struct FlowEntry {
  Flow flow;
  FlowStats stats;
};

/// How a frame was upcalled; needed to send it on as it came.
struct Offload {
  uint16_t gso_size = 0;  ///< > 0: one large TCP or UDP frame to be cut at this payload size
  bool partial_checksum = false;  ///< the transport checksum holds only the pseudo-header sum
  /// How many packets a frame of `bytes` stands for, its headers counted as data.
  [[nodiscard]] uint32_t packets(size_t bytes) const {
    return gso_size == 0 ? 1 : static_cast<uint32_t>((bytes + gso_size - 1) / gso_size);
  }
  bool operator==(const Offload&) const = default;
};

struct Upcall {
  DpPort in_port;
  uint32_t tunnel_key = 0;  ///< for kTunnelPort
  Offload offload;
  std::vector<uint8_t> frame;  ///< the whole Ethernet frame
};

/// Counted where packets are dropped without user space; names are drop reasons
/// (docs/drop-reasons.md).
struct Counters {
  std::map<std::string, uint64_t> drops;
  /// What is in drops["by_flow"], by the flows' own reasons; "none" for flows that give none.
  std::map<std::string, uint64_t> flow_drops;
  uint64_t upcalls = 0;          ///< delivered to user space
  uint64_t upcalls_limited = 0;  ///< refused by a port's token bucket
  uint64_t upcalls_lost = 0;     ///< the ring or the queue behind it was full
  uint64_t flow_hits = 0, flow_misses = 0;
};

struct PortStats {
  uint64_t rx_packets = 0, rx_bytes = 0;  ///< from the interface into the datapath
  uint64_t tx_packets = 0, tx_bytes = 0;  ///< out of the datapath by this port
  uint64_t drops = 0, upcalls_limited = 0;
};

/// How many upcalls to receive.
struct Quota {
  Quota(size_t limit) : in_all(limit), of_one_port(limit) {}  // NOLINT: implicit by design
  Quota(size_t limit, size_t limit_of_one_port) : in_all(limit), of_one_port(limit_of_one_port) {}
  size_t in_all;
  size_t of_one_port;  ///< at least 1
};

/// A frame to send, see Datapath::execute. What it refers to outlives the call.
struct Execution {
  std::span<const uint8_t> frame;
  Offload offload;
  const Actions* actions = nullptr;
};

class Datapath {
 public:
  virtual ~Datapath() = default;

  /// "fake", "ebpf".
  [[nodiscard]] virtual std::string kind() const = 0;

  /// Attaches to an interface. not_found: no such interface; exists: number or interface taken.
  virtual Result<void> add_port(const PortSpec& port) = 0;
  /// Detaches; fine when the interface is already gone. The flows that enter by the port go with it.
  /// not_found: no such port number.
  virtual Result<void> remove_port(DpPort number) = 0;
  [[nodiscard]] virtual std::vector<PortSpec> ports() const = 0;
  /// not_found: no such port number.
  virtual Result<PortStats> port_stats(DpPort number) const = 0;

  /// Makes or changes the tunnel endpoint. Calling it again with the same spec changes nothing; a
  /// change of peers disturbs no tunnel that stays.
  virtual Result<void> set_tunnel(const TunnelSpec& tunnel) = 0;

  /// Installs, or replaces atomically when the match is there (statistics go on). no_space: the
  /// table is full or the mask budget of the port is used up. unsupported: actions this datapath
  /// cannot express. not_found: the match's in_port is no port. invalid: the match leaves in_port
  /// open, or its key has bits outside its mask.
  virtual Result<void> put_flow(const Flow& flow) = 0;
  /// put_flow() for each, in this order, at a lower price; `done` has a place for each one's answer. When it returns all are
  /// in place that could be.
  virtual void put_flows(std::span<const Flow> flows, std::span<Result<void>> done) {
    for (size_t i = 0; i < flows.size(); ++i) done[i] = put_flow(flows[i]);
  }
  /// not_found when it is not there.
  virtual Result<FlowStats> remove_flow(const Match& match) = 0;
  virtual Result<FlowStats> flow_stats(const Match& match) const = 0;
  /// Reads the statistics of some flows, about `limit`, going on where the last call ended; true when that was the end of a round. A
  /// flow that is there all through a round is read in it.
  virtual bool read_stats(
      size_t limit,
      const std::function<void(const Match& match, const FlowStats& stats)>& visit) = 0;
  /// All flows with statistics, those left by an earlier agent included.
  virtual Result<std::vector<FlowEntry>> dump_flows() const = 0;

  /// Sends `frame` by `actions` (rewrites are relative to `frame`). Returns when the kernel has
  /// taken it. No copies: nothing to do. What the datapath can only do packet by packet
  /// (`unsupported` above) works here. invalid: no Ethernet header, or an offload that does not fit
  /// the packet. unavailable: the packet was dropped; the counters say why.
  virtual Result<void> execute(std::span<const uint8_t> frame, const Offload& offload,
                               const Actions& actions) = 0;

  /// execute() for each, in this order, at a lower price; `done` has a place for each one's answer. A packet that the
  /// kernel drops may be in the counters only.
  virtual void execute_many(std::span<const Execution> packets, std::span<Result<void>> done) {
    for (size_t i = 0; i < packets.size(); ++i)
      done[i] = execute(packets[i].frame, packets[i].offload, *packets[i].actions);
  }

  /// What a port may still send to many (Actions::storm_limit), where flows and those who execute take from the same: whether there
  /// was enough for `packets`, of `limit` a second. The caller counts what it drops. execute() asks nobody.
  [[nodiscard]] virtual bool take_from_storm_limit(DpPort port, uint32_t limit,
                                                   uint32_t packets) = 0;

  /// Puts back what somebody else has taken away since: filters of ports, devices of our own. Says
  /// how much it was; for calling now and then.
  virtual Result<size_t> repair() { return size_t{0}; }

  /// Readable while upcalls wait; for poll().
  [[nodiscard]] virtual int upcall_fd() const = 0;
  /// Hands waiting upcalls to `sink`; never blocks. Returns how many. Those of one port come in their order; groups of ports
  /// take turns, and so do the ports of a group.
  virtual size_t receive(Quota quota, const std::function<void(Upcall&&)>& sink) = 0;
  /// Ports of one group (a tenant's) together have one turn; 0, as at first: the port has one of its own.
  virtual void set_group(DpPort port, uint64_t group) = 0;

  [[nodiscard]] virtual Counters counters() const = 0;
};

}  // namespace plexus::datapath
