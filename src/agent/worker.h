// SPDX-License-Identifier: Apache-2.0
// Worker: turns upcalls into forwarding. It owns the flows of one datapath: it simulates what the
// kernel did not know, installs the answer as a flow, sends the packet on, and takes flows away
// when what they read has changed or when nobody used them.
//
// Threads: none of its own; one caller drives it. Snapshots change only between batches, in
// publish().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/asked_neighbours.h"
#include "agent/connection_flows.h"
#include "agent/connections.h"
#include "agent/early_fragments.h"
#include "agent/fragment_memory.h"
#include "agent/held_packets.h"
#include "agent/icmp_limiter.h"
#include "agent/packet_traces.h"
#include "agent/parking.h"
#include "agent/router_advertiser.h"
#include "agent/rule_counters.h"
#include "agent/rule_log.h"
#include "base/clock.h"
#include "datapath/datapath.h"
#include "flow/flow_table.h"
#include "flow/tag.h"
#include "model/snapshot.h"
#include "sim/drop_reason.h"
#include "sim/simulate.h"

namespace plexus::agent {

struct WorkerOptions {
  size_t max_flows = 100'000;
  uint64_t hash_seed = 0;  ///< random, of the flow table
  Duration idle_timeout = std::chrono::seconds(60);
  /// Flows that one publish() gives their new answer in place; the others that it touches are removed.
  size_t max_renewed = 4096;
  size_t batch = 64;  ///< upcalls between two looks at the mailbox, handled together; at least 1
  /// Of these, as many of one port: others need not wait for more than that.
  size_t batch_of_one_port = 8;
  ParkingLimits parking;  ///< packets that wait for an answer (a neighbour's MAC)
  size_t flows_beside =
      8;  ///< whose statistics are read, or that are removed as expired, between two batches
  Duration retry_interval = std::chrono::seconds(1);
  unsigned max_tries = 3;
  ConnectionOptions connections;
  HoldingLimits holding;  ///< packets that wait until other hosts know of their connection
};

struct WorkerCounters {
  uint64_t upcalls = 0, installed = 0, invalidated = 0, expired = 0, evicted = 0;
  uint64_t renewed = 0;  ///< flows that a change touched and that stayed, with the new answer
  uint64_t forwarded = 0, consumed = 0, parked = 0, generated = 0;
  uint64_t fragments = 0;       ///< of those generated: pieces of packets too large for their way
  uint64_t not_installed = 0;   ///< answers that the datapath could not hold as a flow
  uint64_t execute_failed = 0;  ///< the kernel refused a packet
  uint64_t repaired = 0;        ///< what others had taken away from the datapath and is back
  uint64_t repairs_failed = 0;
  uint64_t fragments_followed = 0;  ///< later ones that went the way of their first
  uint64_t fragments_early = 0;     ///< later ones that waited for their first
  uint64_t held = 0;  ///< packets that waited until another host knew of their connection
  std::map<sim::DropReason, uint64_t> drops;
};

class Worker {
 public:
  Worker(datapath::Datapath& datapath, WorkerOptions options);

  /// A new version of the topology. No flow that read what changed is as it was when this returns. The most recently used
  /// ones get their new answer in place, statistics going on, so that their packets neither wait nor are lost; where the
  /// change divides a class, or there are too many, a flow is removed and its next packet asks. Parked packets are simulated
  /// again.
  void publish(std::shared_ptr<const model::Snapshot> snapshot, std::span<const TagChange> changes,
               uint64_t epoch, MonoTime now);

  /// Whose a local port is: tenants take turns, and have a share of what may be parked. Empty: nobody's, the port stands for itself.
  void set_tenant(DpPort port, const std::string& tenant);

  /// Handles up to `batch` waiting upcalls, and a little of what goes on beside; returns how many there were.
  size_t run_once(MonoTime now);
  /// True while something goes on beside the upcalls: run_once() should be called again soon.
  [[nodiscard]] bool busy() const { return reading_statistics_ || expiring_; }

  /// Retries parked packets, repairs the datapath, begins to read flow statistics, which run_once() goes on with. Call about
  /// once a second.
  void tick(MonoTime now);

  /// Takes over the flows that an earlier agent left in the datapath: an answer that is still right
  /// stays, with its statistics; the others go. Call once, when the first complete topology is
  /// published.
  void adopt(MonoTime now);

  /// What was learned since the last call.
  [[nodiscard]] std::vector<sim::StateWrite> take_writes();

  /// Connections that an earlier agent kept on the disk are known from now on, and new ones kept there. Call before the first
  /// publish().
  void open_connections(KeptConnections::Place place, MonoTime now) {
    connections_.open(std::move(place), now);
  }
  /// A datagram of another agent came from that address.
  void receive(const IpAddr& source, std::span<const uint8_t> bytes, MonoTime now);
  /// What is to be sent to other agents, since the last call.
  [[nodiscard]] std::vector<PeerMessage> take_messages() { return connections_.take_messages(); }
  /// When run_once() has something to do about connections or fragments; nothing: not before something comes.
  [[nodiscard]] std::optional<MonoTime> next_due() const;

  /// The answer for one packet on this worker's snapshot, changing nothing.
  [[nodiscard]] sim::Outcome ask(DpPort in_port, uint32_t tunnel_key,
                                 std::span<const uint8_t> frame, MonoTime now,
                                 sim::Trace* trace) const;

  /// Why the flow with this match drops; none when it does not.
  [[nodiscard]] sim::DropReason drop_reason(const Match& match) const;

  [[nodiscard]] uint64_t epoch() const { return epoch_; }
  [[nodiscard]] const WorkerCounters& counters() const { return counters_; }
  [[nodiscard]] const FlowTable& flows() const { return flows_; }
  /// True after the first publish().
  [[nodiscard]] bool ready() const { return snapshot_ != nullptr; }
  /// Only when ready().
  [[nodiscard]] const model::Snapshot& snapshot() const { return *snapshot_; }
  [[nodiscard]] datapath::Datapath& datapath() { return datapath_; }
  [[nodiscard]] size_t parked() const { return parked_.size(); }
  [[nodiscard]] const Connections& connections() const { return connections_; }
  /// Of the packets that trace requests asked for.
  [[nodiscard]] const PacketTraces& traces() const { return traces_; }
  /// As of the last statistics of the flows.
  [[nodiscard]] const RuleCounters& rule_counters() const { return rule_counters_; }
  /// What is known beside the topology.
  [[nodiscard]] sim::ConnectionView view() const {
    sim::ConnectionView view = connections_.view();
    view.spent = &traces_.spent();
    return view;
  }
  /// Packets that wait until another host knows of their connection.
  [[nodiscard]] size_t held() const { return held_.size(); }
  /// Fragments that wait for their first one.
  [[nodiscard]] size_t early() const { return early_.size(); }

 private:
  /// A packet of the batch at work, with what must live until finish_batch().
  struct Slot {
    datapath::Upcall packet;
    sim::Outcome outcome;
    std::vector<uint8_t> answer;
  };

  /// Packets are handled in batches: handle() finds a packet's answer, finish_batch() puts the new flows into the datapath and sends
  /// what is to be sent, in the order of the handling. A flow is in `flows_` from handle() on, so that a later packet of the same
  /// batch finds it.
  /// Where a packet has been until now: what trace requests want of `held` ones is written down already; `early` fragments have
  /// waited for their first one, and do not again.
  enum class From : uint8_t { datapath, held, early };
  void handle(datapath::Upcall&& packet, unsigned tries, MonoTime now, From from = From::datapath);
  void handle(datapath::Upcall&& packet, const sim::Packet& parsed, unsigned tries, MonoTime now,
              From from = From::datapath);
  /// Decides about a packet that has been simulated. Fragments that are to be handled behind it.
  [[nodiscard]] std::vector<datapath::Upcall> decide(Slot& slot, const sim::Packet& packet,
                                                     unsigned tries, MonoTime now, From from);
  /// Does what the slot's outcome says.
  void act(Slot& slot, const sim::Packet& packet, std::optional<state::ConnectionNumber> connection,
           unsigned tries, MonoTime now);
  void finish_batch();
  /// Keeps a flow that the datapath has.
  void remember(const datapath::Flow& flow, const sim::Outcome& outcome, MonoTime now);
  /// A packet met the rules of its outcome, and waits for nothing any more.
  void count_rules(const Slot& slot, const sim::Packet& packet, MonoTime now);
  [[nodiscard]] bool renew(const Match& match, MonoTime now);
  void install(const FlowKey& key, const sim::Outcome& outcome, MonoTime now);
  void take_out_of_batch(const Match& match);
  // worker_fragments.cc
  /// Of a later fragment: makes its outcome that of its first one. True: it waits, or is dropped, and is not in the slot any more.
  /// Those that wait no longer, for its sake, come to `behind`: to be handled behind it.
  [[nodiscard]] bool follow_first(const sim::Packet& later, Slot& slot, unsigned tries,
                                  MonoTime now, bool waited, std::vector<datapath::Upcall>& behind);
  /// Keeps what becomes of a first fragment. Those of its packet that have come before it are to be handled behind it.
  [[nodiscard]] std::vector<datapath::Upcall> note_first(
      const sim::Packet& first, const sim::Outcome& outcome,
      std::optional<state::ConnectionNumber> connection, MonoTime now);
  /// Fragments whose first one has not come in time.
  void release_early(MonoTime now);
  // worker_connections.cc
  /// Does what the outcome says of connections, simulating again where another record came first. The number of the record;
  /// nothing: the packet is of none, or refused.
  std::optional<state::ConnectionNumber> settle_connection(const sim::Packet& packet,
                                                           sim::Outcome& outcome, MonoTime now);
  /// Tells other hosts of the packet's connection, as far as they have to know before it goes, and notes what it shows. False:
  /// it waits for them, and is not in the slot any more.
  [[nodiscard]] bool goes_now(state::ConnectionNumber connection, const FlowKey& key, Slot& slot,
                              unsigned tries, MonoTime now);
  /// The same of a flow of a known connection: whether all know who have to.
  [[nodiscard]] bool tell_of_flow(const sim::Outcome& outcome, MonoTime now);
  /// The exterior port by which packets of the class come in; null: none, or none that is known.
  [[nodiscard]] const model::Port* entered_by(const FlowKey& key) const;
  /// Removes flows that are not right any more by what is known of connections, or gives them their new answer.
  void refresh_stale(MonoTime now);
  void touch_connection(const Match& match, MonoTime used, MonoTime now);
  void release_held(MonoTime now);
  void run_connections(MonoTime now);
  void make_room(const Match& newcomer, MonoTime now);
  void remove_from_datapath(const RemovedFlow& flow);
  void count_flow_drops(uint8_t reason, uint64_t packets);
  void take_stats(const Match& match, const datapath::FlowStats& stats, MonoTime now);
  /// Reads some statistics, removes some expired flows: never so much that a packet waits for it. `installed`: flows of the batch
  /// before; at least as many expired ones go, or a flood would fill the table faster than it empties.
  void go_on_beside(MonoTime now, size_t installed);
  void remove_expired(size_t most);
  [[nodiscard]] uint64_t tenant_of(DpPort port) const;
  void repair();
  void give_up(const Parked& p, MonoTime now);
  /// A packet that goes to many takes from what its interface may send so, once for all that becomes of it. False: it was too much,
  /// and is dropped.
  [[nodiscard]] bool within_storm_limit(const Slot& slot, uint32_t limit);
  /// The same for what the outcome says. Dropped are its copies and pieces; what devices make all the same goes.
  [[nodiscard]] bool within_storm_limit(Slot& slot);
  /// By the actions in the slot's outcome.
  void send(Slot& slot, const ParsedPacket& parsed);
  /// `entered_by`: where the packet came in that they are sent for. What is referred to must live until finish_batch().
  void send_generated(std::span<const sim::Generated> generated, DpPort entered_by, MonoTime now);
  void send_made(const sim::Generated& made);
  /// A packet that is postponed.
  void park_or_drop(Slot& slot, const FlowKey& key, unsigned tries, MonoTime now);
  /// Asks for what the packet waits for, if nobody has a moment ago. False: its interface has flooded too much already.
  [[nodiscard]] bool ask_for_missing(const Slot& slot, MonoTime now);
  void park(Parked&& packet);
  void retry_parked(MonoTime now, bool all);
  void drop(sim::DropReason reason, size_t packets = 1) { counters_.drops[reason] += packets; }
  /// The packet at work, whatever its simulation says.
  void drop_after_all(sim::DropReason reason, size_t packets = 1) {
    drop(reason, packets);
    traces_.dropped(reason);
  }

  datapath::Datapath& datapath_;
  const WorkerOptions options_;
  std::shared_ptr<const model::Snapshot> snapshot_;
  uint64_t epoch_ = 0;
  uint64_t next_cookie_ = 1;
  MonoTime next_statistics_;
  bool reading_statistics_ = false;
  Duration statistics_took_{};  ///< of the worker's time, this round
  /// What was used after that is in use: a round may be long, and use is known as of the reading.
  MonoTime statistics_began_;
  bool expiring_ = false;                           ///< there may be more that has expired
  std::unordered_map<uint32_t, uint64_t> tenants_;  ///< by port number: a number for its tenant
  IcmpLimiter icmp_limiter_;
  RouterAdvertiser router_advertiser_;
  FlowTable flows_;
  Connections connections_;
  ConnectionFlows connection_flows_;
  HeldPackets held_;
  RuleLog rule_log_;
  RuleCounters rule_counters_;
  MonoTime next_forgetting_;  ///< of counters of rules that are gone
  PacketTraces traces_;
  FragmentMemory fragments_;
  EarlyFragments early_;
  uint64_t next_ticket_ = 1;  ///< of the next first fragment that is parked
  Parking parked_;
  AskedNeighbours asked_;
  std::vector<sim::StateWrite> writes_;
  WorkerCounters counters_;
  // The batch at work. Its lists keep their memory.
  std::vector<datapath::Upcall> arrived_;
  std::vector<sim::Packet> arrived_parsed_;
  std::vector<Slot> slots_;
  size_t slots_used_ = 0;
  std::vector<datapath::Flow> new_flows_;  ///< the first new_flow_count_
  size_t new_flow_count_ = 0;
  std::vector<datapath::Execution> sends_;
  std::vector<Result<void>> done_;
};

}  // namespace plexus::agent
