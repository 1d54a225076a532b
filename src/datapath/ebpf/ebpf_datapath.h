// SPDX-License-Identifier: Apache-2.0
// EbpfDatapath: the kernel as datapath, by our own tc programs (bpf/), on any kernel from 6.1. See
// docs/design/ebpf-datapath.md.
//
// One per network namespace: that of the thread that opens it; every call comes from that thread, counters()
// excepted. The state lives in the kernel: destroying the object leaves ports forwarding, and the next open() with the same
// run_dir takes everything over without losing a packet. destroy() removes it.
#pragma once

#include <memory>

#include "datapath/datapath.h"
#include "datapath/ebpf/ebpf_options.h"
#include "datapath/ebpf/flow_store.h"
#include "datapath/ebpf/injector.h"
#include "datapath/ebpf/programs.h"
#include "datapath/ebpf/slots.h"
#include "datapath/ebpf/underlay.h"
#include "datapath/ebpf/upcall_ring.h"
#include "netlink/route.h"

namespace plexus::datapath {

struct OldLayout;

inline constexpr const char* kVxlanDevice = "plexus-vx0";

class EbpfDatapath final : public Datapath {
 public:
  /// Loads the programs and takes over what an earlier agent left. in_use: another one is open in this namespace or on
  /// this run_dir. denied: not root. unsupported: the kernel cannot do it.
  static Result<std::unique_ptr<EbpfDatapath>> open(const EbpfOptions& options);
  ~EbpfDatapath() override = default;

  /// Takes down every trace of the datapath: filters, devices, maps, mounts. The object is of no further use.
  Result<void> destroy();

  [[nodiscard]] std::string kind() const override { return "ebpf"; }
  Result<void> add_port(const PortSpec& port) override;
  Result<void> remove_port(DpPort number) override;
  /// Those of an earlier agent included, as far as their interfaces are still there.
  [[nodiscard]] std::vector<PortSpec> ports() const override;
  Result<PortStats> port_stats(DpPort number) const override;
  Result<void> set_tunnel(const TunnelSpec& tunnel) override;
  Result<void> put_flow(const Flow& flow) override;
  void put_flows(std::span<const Flow> flows, std::span<Result<void>> done) override;
  Result<FlowStats> remove_flow(const Match& match) override;
  Result<FlowStats> flow_stats(const Match& match) const override;
  bool read_stats(
      size_t limit,
      const std::function<void(const Match& match, const FlowStats& stats)>& visit) override;
  Result<std::vector<FlowEntry>> dump_flows() const override;
  /// Copies with different rewrites are sent one group after the other.
  Result<void> execute(std::span<const uint8_t> frame, const Offload& offload,
                       const Actions& actions) override;
  void execute_many(std::span<const Execution> packets, std::span<Result<void>> done) override;
  /// Filters of ports whose interface is there, the tunnel device with its filter, the underlay's filter, the injection device. One
  /// question to the kernel for each. And the underlay's filter follows the tunnel's address.
  Result<size_t> repair() override;
  [[nodiscard]] bool take_from_storm_limit(DpPort port, uint32_t limit, uint32_t packets) override;
  [[nodiscard]] int upcall_fd() const override { return ring_->fd(); }
  size_t receive(Quota quota, const std::function<void(Upcall&&)>& sink) override;
  void set_group(DpPort port, uint64_t group) override { ring_->set_group(port, group); }
  [[nodiscard]] Counters counters() const override;
  /// Whether execute_many() sends many packets at once. The owner's thread.
  [[nodiscard]] bool sends_batches() const { return injector_.has_batches(); }

 private:
  /// Keep others away as long as we live.
  struct Locks {
    UniqueFd run_dir, network_namespace, socket;
  };
  static Result<Locks> lock(const std::string& run_dir);

  using PortSlots = Slots<plexus_port, &plexus_port::number>;
  using InterfaceSlots = Slots<plexus_interface, &plexus_interface::ifindex>;

  EbpfDatapath(Locks locks, netlink::Route route, Programs programs, FlowStore flows,
               MappedArray<uint64_t> storm_buckets, PortSlots port_slots,
               InterfaceSlots interface_slots, Injector injector, std::unique_ptr<UpcallRing> ring,
               const EbpfOptions& options);

  /// Ports, tunnel and flows as the maps have them; programs of this start everywhere.
  Result<void> adopt();
  Result<void> adopt_port(uint32_t number, const plexus_port& port);
  Result<void> adopt_tunnel();
  /// Fills our empty maps from those of another layout, whose programs go on forwarding meanwhile. False: there is none that
  /// can be read.
  bool take_over_other_layout();
  Result<void> fill_from(const OldLayout& old);
  /// Filters of starts whose maps we cannot read.
  void detach_everywhere();

  Result<plexus_port> attach_port(const netlink::Link& link, uint32_t index);
  void detach_port(uint32_t number, const plexus_port& port);
  /// Device, filter, map entry; `tunnel.ifindex` is filled in.
  Result<void> start_tunnel(plexus_tunnel& tunnel);
  Result<void> make_tunnel_device(uint16_t udp_port, uint32_t& index);
  /// What encapsulate.h needs, as the host is now.
  void prepare_encapsulation(plexus_tunnel& tunnel, const IpsecPolicies& policies) const;
  /// Our filter where packets to the tunnel's address come in now, and nowhere else; `tunnel.underlay_ifindex` is where it was and
  /// becomes where it is. True when somebody else had removed it.
  bool prepare_decapsulation(plexus_tunnel& tunnel, const IpsecPolicies& policies);
  /// Where decapsulate.h may be at work; 0: nowhere.
  [[nodiscard]] uint32_t place_to_decapsulate(const plexus_tunnel& tunnel,
                                              const IpsecPolicies& policies) const;
  /// Both.
  bool prepare_own_ways(plexus_tunnel& tunnel);
  void leave_underlay(uint32_t ifindex);
  [[nodiscard]] bool is_port(uint32_t ifindex) const;
  Result<plexus_tunnel> read_tunnel() const;
  Result<void> write_tunnel(const plexus_tunnel& tunnel);
  Result<size_t> repair_tunnel();
  Result<bool> repair_injector();
  /// Our programs on the injection device.
  Result<void> attach_injector(Injector& injector) const;
  /// False: it has to be executed by itself.
  bool add_to_batch(const Execution& packet);
  Result<void> set_peers(const std::vector<IpAddr>& peers);
  [[nodiscard]] std::optional<uint32_t> index_of(uint32_t port) const;

  Locks locks_;
  mutable netlink::Route route_;
  Programs programs_;
  FlowStore flows_;
  MappedArray<uint64_t> storm_buckets_;  ///< by port index; programs take from them, too
  PortSlots port_slots_;
  InterfaceSlots interface_slots_;
  Injector injector_;
  std::unique_ptr<UpcallRing> ring_;
  std::map<uint32_t, plexus_port> ports_;  ///< by number; what the map `ports` holds
  SlotPool port_indexes_;
  bool own_encapsulation_, own_decapsulation_;
  bool decapsulates_ = false;  ///< our program has been attached to the underlay
};

}  // namespace plexus::datapath
