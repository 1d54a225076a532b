// SPDX-License-Identifier: Apache-2.0
// Topology: applies changes to the model and makes snapshots, O(change) each; says what each batch changed.
//
// Threads: the topology thread only. The snapshots it hands out may be read anywhere.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "model/records.h"
#include "model/snapshot.h"
#include "packet/addr.h"

namespace plexus::model {

/// Ways of a router that came, went or changed: to `destination`, for packets from `source` (length 0: from anywhere).
struct ChangedWays {
  RouterId router;
  IpPrefix destination, source;
  auto operator<=>(const ChangedWays&) const = default;
};

/// For whom a rule of a security group came, went or changed.
struct ChangedSecurityRule {
  SecurityGroupId group;
  bool ingress = true;
  PacketRegion region;
  auto operator<=>(const ChangedSecurityRule&) const = default;
};

/// What a batch of changes changed, as far as packets can notice (a new name is no change). Sorted, without
/// duplicates. May name more than what really differs at the end, never less.
struct Delta {
  std::vector<BridgeId> bridges;  ///< own fields, or which links it has
  std::vector<std::pair<BridgeId, MacAddr>>
      macs;  ///< MAC table of the bridge at this MAC, learned or not
  std::vector<std::pair<BridgeId, IpAddr>> addresses;  ///< who owns the address on the bridge
  std::vector<BridgeId> floods;                        ///< who gets a flooded frame
  std::vector<RouterId> routers;                       ///< own fields
  std::vector<ChangedWays> routes;
  std::vector<std::pair<RouterId, IpAddr>> router_addresses;  ///< came, went or moved
  std::vector<PortId> ports;                          ///< own fields, peer, binding, interface
  std::vector<std::pair<PortId, IpAddr>> neighbours;  ///< learned neighbour of a router port
  std::vector<uint32_t> tunnel_keys;                  ///< meaning of a key of this host
  std::vector<HostId>
      hosts;  ///< tunnel addresses, flood keys, fenced; of this host, its tunnels' MTU
  std::vector<PortId> learning;                         ///< whether the port learns more MACs
  std::vector<ChainId> chains;                          ///< own fields
  std::vector<ChainId> asking_chains;                   ///< Snapshot::tracking()
  std::vector<std::pair<ChainId, PacketRegion>> rules;  ///< for whom a rule came, went, changed
  std::vector<SecurityGroupId> security_groups;         ///< own fields
  std::vector<ChangedSecurityRule> security_rules;
  std::vector<AddressGroupId> address_groups;  ///< whether it is there and can be read
  std::vector<std::pair<AddressGroupId, IpPrefix>> group_prefixes;  ///< came or went
  std::vector<std::pair<SecurityGroupId, IpAddr>> members;          ///< addresses, came or went
  std::vector<PortGroupId> port_groups;
  /// What the router translates at the address: floating ones and those that they stand for, virtual ones, those of pools of
  /// source addresses. Without an address: anywhere.
  std::vector<std::pair<RouterId, IpAddr>> translations;
  std::vector<RouterId> translation_kinds;     ///< TranslationTable::kinds()
  std::vector<SnatPoolId> snat_pools;          ///< own fields, or this host's ports of it
  std::vector<LoadBalancerId> load_balancers;  ///< own fields
  std::vector<PoolId> pools;                   ///< own fields
  std::vector<PoolId> serving;                 ///< Snapshot::serving()
  std::vector<PoolMemberId> pool_members;      ///< what its connections depend on: not its share
  std::vector<BridgeId> dhcp;                  ///< a subnet of the bridge
  std::vector<Uuid> mirrors;                   ///< of this port, bridge or router
  std::vector<Uuid> trace_requests;            ///< the same

  [[nodiscard]] bool empty() const;
  bool operator==(const Delta&) const = default;
};

class Topology {
 public:
  /// An empty world as `self` sees it.
  explicit Topology(HostId self);

  /// Applies the changes in order. Total: any change is accepted, in any order, references to anything.
  Delta apply(std::span<const Change> changes);

  /// The state after the last apply().
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const;

 private:
  struct PortEffects;

  void apply_one(const Change& change, Delta& delta);
  void change(const BridgeChange& c, Delta& delta);
  void change(const RouterChange& c, Delta& delta);
  void change(const PortChange& c, Delta& delta);
  void change(const RouteChange& c, Delta& delta);
  void change(const BindingChange& c, Delta& delta);
  void change(const HostChange& c, Delta& delta);
  void change(const NeighboursChange& c, Delta& delta);
  void change(const LocalPortChange& c, Delta& delta);
  void change(const MovedKeyChange& c, Delta& delta);
  void change(const TunnelMtuChange& c, Delta& delta);
  void change(const PortFullChange& c, Delta& delta);
  void change(const HeldMacChange& c, Delta& delta);
  // filters.cc
  void change(const AddressGroupChange& c, Delta& delta);
  void change(const PortGroupChange& c, Delta& delta);
  void change(const ChainChange& c, Delta& delta);
  void change(const RuleChange& c, Delta& delta);
  /// The rule asks and jumps no more, or does now.
  void count_asking(const TableRule& rule, bool now, Delta& delta);
  /// Of the chain and all that it can jump to.
  [[nodiscard]] Tracking tracking_from(ChainId chain) const;
  void change(const SecurityGroupChange& c, Delta& delta);
  void change(const SecurityRuleChange& c, Delta& delta);
  void change(const GroupMembersChange& c, Delta& delta);
  // translations.cc
  void change(const FloatingIpChange& c, Delta& delta);
  void change(const SnatPoolChange& c, Delta& delta);
  void change(const LoadBalancerChange& c, Delta& delta);
  void change(const VipChange& c, Delta& delta);
  void change(const PoolChange& c, Delta& delta);
  void change(const PoolMemberChange& c, Delta& delta);
  void change(const PortBlocksChange& c, Delta& delta);
  void keep_translations(RouterId id, TranslationTable table, Delta& delta);
  void put(const FloatingIp& record, bool add, Delta& delta);
  void put(const SnatPool& record, bool add, Delta& delta);
  void put(const Vip& record, bool add, Delta& delta);
  void put(const PoolMember& record, const Pool& pool, bool add, Delta& delta);
  /// After a batch: who serves in the pools whose members have changed.
  void choose_serving(Delta& delta);
  // services.cc
  void change(const DhcpSubnetChange& c, Delta& delta);
  void change(const MirrorChange& c, Delta& delta);
  void change(const TraceRequestChange& c, Delta& delta);

  [[nodiscard]] PortEffects effects_of(PortId id) const;
  /// Of the port and its sub-ports, which are here as long as it is.
  [[nodiscard]] std::vector<std::pair<PortId, PortEffects>> effects_around(PortId id) const;
  void add_sub_ports(PortId parent, std::vector<PortId>& out) const;
  void replace_effects(PortId id, const PortEffects& before, Delta& delta);
  void add_key(uint32_t key, const TunnelKeyMeaning& meaning, Delta& delta);
  void remove_key(uint32_t key, const TunnelKeyMeaning& meaning, Delta& delta);

  /// What makes a chain ask for connections.
  struct ChainLinks {
    unsigned asking = 0;  ///< rules of its own, everywhere
    std::map<PortId, unsigned> asking_at;
    std::map<ChainId, unsigned> jumps, jumped_from;
    [[nodiscard]] bool empty() const {
      return asking == 0 && asking_at.empty() && jumps.empty() && jumped_from.empty();
    }
  };

  Snapshot state_;
  std::map<ChainId, ChainLinks> chain_links_;  ///< values not empty
  /// What each part of a group's list of members says.
  std::map<SecurityGroupId, std::map<uint32_t, std::vector<GroupMember>>> member_parts_;
  std::map<LoadBalancerId, std::set<VipId>> vips_of_;
  std::map<LoadBalancerId, std::set<PoolId>> pools_of_;
  std::map<PoolId, std::set<PoolMemberId>> members_of_;
  std::set<PoolId> changed_pools_;                     ///< in this batch
  mutable std::shared_ptr<const Snapshot> published_;  ///< null: state_ has moved on
};

}  // namespace plexus::model
