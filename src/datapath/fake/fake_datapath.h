// SPDX-License-Identifier: Apache-2.0
// FakeDatapath: the datapath in memory, by the same rules as the kernel's: parse, masked lookup per port, rewrite, upcall
// behind a token bucket. Interfaces are names; what would leave by them is kept for the test to take. One thread.
#pragma once

#include <set>
#include <unordered_map>

#include "base/unique_fd.h"
#include "datapath/datapath.h"
#include "datapath/token_bucket.h"
#include "datapath/upcall_queue.h"

namespace plexus::datapath {

struct FakeOptions {
  std::function<MonoTime()> clock = mono_now;
  bool any_interface = false;  ///< every interface that is asked for exists
  size_t max_flows = 65536;
  size_t max_port_masks = 32;    ///< different masks that the flows of one port may have
  uint32_t upcall_rate = 20000;  ///< upcalls a second and port
  uint32_t upcall_burst = 2000;
  /// How much of one port may wait to be received; small frames count a kilobyte each.
  size_t upcall_waiting_bytes = 256 << 10;
  size_t upcall_queue_bytes = 32 << 20;  ///< of all ports
};

/// A frame that left.
struct SentFrame {
  Output output;
  Offload offload;
  std::vector<uint8_t> frame;
};

class FakeDatapath final : public Datapath {
 public:
  explicit FakeDatapath(FakeOptions options = {});

  // -- the world around it, for tests

  /// An interface that add_port() can find from now on.
  void add_interface(const std::string& name) { interfaces_.insert(name); }
  /// The interface vanishes: its port stays, deaf and mute, until it is removed.
  void remove_interface(const std::string& name) { interfaces_.erase(name); }
  /// A frame enters by a local port. Ignored when the port does not exist or its interface is gone.
  void inject(DpPort port, std::span<const uint8_t> frame, const Offload& offload = {});
  /// A frame comes out of a tunnel from `remote`.
  void inject_tunnel(const IpAddr& remote, uint32_t key, std::span<const uint8_t> frame,
                     const Offload& offload = {});
  /// What has left since the last call, oldest first.
  [[nodiscard]] std::vector<SentFrame> take_sent();

  // -- Datapath

  [[nodiscard]] std::string kind() const override { return "fake"; }
  Result<void> add_port(const PortSpec& port) override;
  Result<void> remove_port(DpPort number) override;
  [[nodiscard]] std::vector<PortSpec> ports() const override;
  Result<PortStats> port_stats(DpPort number) const override;
  Result<void> set_tunnel(const TunnelSpec& tunnel) override;
  Result<void> put_flow(const Flow& flow) override;
  Result<FlowStats> remove_flow(const Match& match) override;
  Result<FlowStats> flow_stats(const Match& match) const override;
  /// All at once: memory is quick.
  bool read_stats(
      size_t limit,
      const std::function<void(const Match& match, const FlowStats& stats)>& visit) override;
  Result<std::vector<FlowEntry>> dump_flows() const override;
  Result<void> execute(std::span<const uint8_t> frame, const Offload& offload,
                       const Actions& actions) override;
  [[nodiscard]] bool take_from_storm_limit(DpPort port, uint32_t limit, uint32_t packets) override;
  [[nodiscard]] int upcall_fd() const override { return event_.get(); }
  size_t receive(Quota quota, const std::function<void(Upcall&&)>& sink) override;
  void set_group(DpPort port, uint64_t group) override { upcalls_.set_group(port, group); }
  [[nodiscard]] Counters counters() const override { return counters_; }

 private:
  /// The flows of a port that share a mask.
  struct Subtable {
    FlowKey mask;
    std::unordered_map<FlowKey, FlowEntry> flows;
  };
  struct Port {
    PortSpec spec;
    PortStats stats;
    TokenBucket bucket;
    std::vector<Subtable> subtables;
    size_t waiting = 0;  ///< what its waiting upcalls cost
    TokenBucket storm = TokenBucket({}, kStormBurst);
  };

  void forward(Port& port, uint32_t tunnel_key, std::span<const uint8_t> frame,
               const Offload& offload);
  /// `charged`: whom drops are charged to.
  void run(const Actions& actions, const ParsedPacket& parsed, std::span<const uint8_t> frame,
           const Offload& offload, Port& charged);
  void send(const Copy& copy, std::vector<uint8_t> frame, const Offload& offload, Port& charged);
  void drop(Port& port, const std::string& reason);
  static FlowEntry* lookup(Port& port, const FlowKey& key);
  [[nodiscard]] const FlowEntry* find(const Match& match) const;

  FakeOptions options_;
  UniqueFd event_;
  std::set<std::string> interfaces_;
  std::map<DpPort, Port> ports_;
  std::optional<TunnelSpec> tunnel_;
  size_t flow_count_ = 0;
  UpcallQueue upcalls_;
  std::vector<SentFrame> sent_;
  Counters counters_;
};

}  // namespace plexus::datapath
