// SPDX-License-Identifier: Apache-2.0
// Snapshot: the virtual topology at one moment, as one host sees it, with the tables that forwarding reads: MAC
// tables, flood sets, route tables, neighbours, tunnel keys. Immutable; versions share what did not change.
//
// Who belongs to whom is read from the part, never from the whole: Port::device, Route::router. The lists in
// Bridge::ports, Router::ports and Router::routes serve those who load the closure; nothing here depends on them.
// References may dangle. A link between two ports exists only when both name each other.
//
// Threads: any thread may read; made and freed on the topology thread.
#pragma once

#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "model/address_set.h"
#include "model/cow_table.h"
#include "model/member_set.h"
#include "model/records.h"
#include "model/route_table.h"
#include "model/rule_table.h"
#include "model/translation_table.h"
#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus::model {

/// Who gets a frame that is flooded on a bridge. Only ports that are up, readable, bound and active count.
struct FloodSet {
  std::vector<PortId> links;  ///< ports wired to other devices, whatever their state; sorted
  std::vector<PortId> local;  ///< exterior ports at this host with an interface; sorted
  /// Other hosts with such ports, and how many; sorted.
  std::vector<std::pair<HostId, uint32_t>> remote;
};

/// An address of a router, and the port it sits on.
struct RouterAddress {
  IpPrefix network;  ///< the address with its prefix length; host bits meant
  PortId port;
  auto operator<=>(const RouterAddress&) const = default;
};

/// Where a MAC was learned. The first of all in this order counts: the latest, else the lowest port.
struct LearnedAt {
  uint32_t moves_left = 0;  ///< the sequence counted down, so that the highest is the first
  PortId port;
  auto operator<=>(const LearnedAt&) const = default;
  [[nodiscard]] uint32_t sequence() const { return ~moves_left; }
};

/// Who has an address on a bridge.
struct AddressOwner {
  PortId port;  ///< of the bridge
  MacAddr mac;
  auto operator<=>(const AddressOwner&) const = default;
};

/// A port that was here: what comes for it goes on to where it is now.
struct MovedPort {
  PortId port;
  auto operator<=>(const MovedPort&) const = default;
};

/// A port without an interface of its own: the frames of its parent's interface that carry a VLAN tag.
struct SubPort {
  uint16_t vlan = 0;
  PortId port;
  auto operator<=>(const SubPort&) const = default;
};

/// What a tunnel key of this host stands for.
using TunnelKeyMeaning = std::variant<std::monostate, PortId, BridgeId, MovedPort>;

/// Which packets a chain wants to be tracked, in both directions, of those that pass where it stands.
struct Tracking {
  bool everywhere = false;
  /// Sorted. Those that come or leave by these ports of the device, or by ports to the outside: whoever begins a connection
  /// from there gets its answers by the rules of these ports.
  std::vector<PortId> ports;
  [[nodiscard]] bool asks_at(const Port& port) const {
    return everywhere || port.outside || std::binary_search(ports.begin(), ports.end(), port.id);
  }
  bool operator==(const Tracking&) const = default;
};

class Snapshot {
 public:
  explicit Snapshot(HostId self) : self_(self) {}

  /// The host this is the view of.
  [[nodiscard]] HostId self() const { return self_; }

  // Records; nullptr when not there. The pointers live as long as the snapshot.
  [[nodiscard]] const Bridge* bridge(BridgeId id) const { return bridges_.find(id); }
  [[nodiscard]] const Router* router(RouterId id) const { return routers_.find(id); }
  [[nodiscard]] const Port* port(PortId id) const { return ports_.find(id); }
  [[nodiscard]] const Route* route(RouteId id) const { return routes_.find(id); }
  [[nodiscard]] const Binding* binding(PortId id) const { return bindings_.find(id); }
  [[nodiscard]] const Host* host(HostId id) const { return hosts_.find(id); }
  [[nodiscard]] const AddressGroup* address_group(AddressGroupId id) const {
    return address_groups_.find(id);
  }
  [[nodiscard]] const PortGroup* port_group(PortGroupId id) const { return port_groups_.find(id); }
  [[nodiscard]] const Chain* chain(ChainId id) const { return chains_.find(id); }
  [[nodiscard]] const Rule* rule(RuleId id) const { return rules_.find(id); }
  [[nodiscard]] const SecurityGroup* security_group(SecurityGroupId id) const {
    return security_groups_.find(id);
  }
  [[nodiscard]] const SecurityRule* security_rule(SecurityRuleId id) const {
    return security_rules_.find(id);
  }

  [[nodiscard]] const FloatingIp* floating_ip(FloatingIpId id) const {
    return floating_ips_.find(id);
  }
  [[nodiscard]] const SnatPool* snat_pool(SnatPoolId id) const { return snat_pools_.find(id); }
  [[nodiscard]] const LoadBalancer* load_balancer(LoadBalancerId id) const {
    return load_balancers_.find(id);
  }
  [[nodiscard]] const Vip* vip(VipId id) const { return vips_.find(id); }
  [[nodiscard]] const Pool* pool(PoolId id) const { return pools_.find(id); }
  [[nodiscard]] const PoolMember* pool_member(PoolMemberId id) const {
    return pool_members_.find(id);
  }
  [[nodiscard]] const DhcpSubnet* dhcp_subnet(DhcpSubnetId id) const {
    return dhcp_subnets_.find(id);
  }
  [[nodiscard]] const Mirror* mirror(MirrorId id) const { return mirrors_.find(id); }

  /// Where the router translates; nullptr: nowhere.
  [[nodiscard]] const TranslationTable* translations(RouterId id) const {
    return translations_.find(id);
  }
  /// The members of the pool that take new connections now: those that are up, readable and of weight above 0; backups only
  /// when no other is left. At most kMaxLargeMaglevMembers, by id. Null: nobody.
  [[nodiscard]] const std::shared_ptr<const MemberSet>& serving(PoolId id) const;
  /// The ports of the pool that this host has to itself; sorted.
  [[nodiscard]] std::span<const PortBlock> port_blocks(SnatPoolId id) const;
  /// The subnets of a bridge that machines are served from; sorted.
  [[nodiscard]] std::span<const DhcpSubnetId> dhcp_subnets_of(BridgeId id) const;
  /// The mirrors at a place; sorted.
  [[nodiscard]] std::span<const MirrorId> mirrors_of(const Place& at) const;
  /// There are mirrors somewhere.
  [[nodiscard]] bool any_mirrors() const { return !mirrors_of_.empty(); }

  [[nodiscard]] const TraceRequest* trace_request(TraceRequestId id) const {
    return trace_requests_.find(id);
  }
  /// The requests at a place that ask now, as rules: the id is the request's; nullptr: none.
  [[nodiscard]] const RuleTable* trace_requests_of(const Place& at) const {
    return trace_tables_.find(at);
  }
  /// Some request asks somewhere.
  [[nodiscard]] bool any_trace_requests() const { return !trace_tables_.empty(); }

  /// The readable rules of a chain, and the unreadable ones; nullptr: none.
  [[nodiscard]] const RuleTable* rules_of(ChainId id) const { return chain_tables_.find(id); }
  /// What has to be tracked where the chain stands, because a rule of it, or of one that it can jump to, looks at or
  /// changes what a packet's connection is; nullptr: nothing.
  [[nodiscard]] const Tracking* tracking(ChainId id) const { return tracking_.find(id); }
  /// What the group lets its members receive, or send; nullptr: nothing.
  [[nodiscard]] const RuleTable* rules_of(SecurityGroupId id, bool ingress) const {
    const SecurityTables* tables = security_tables_.find(id);
    return tables == nullptr ? nullptr : ingress ? &tables->ingress : &tables->egress;
  }
  /// nullptr: no addresses, or they cannot be read.
  [[nodiscard]] const AddressSet* addresses_of(AddressGroupId id) const {
    return address_sets_.find(id);
  }
  /// Of the group's members; nullptr: none are known.
  [[nodiscard]] const AddressSet* members_of(SecurityGroupId id) const {
    return member_sets_.find(id);
  }

  /// The virtual port behind a datapath port of this host, and the reverse.
  [[nodiscard]] std::optional<PortId> local_port(DpPort number) const;
  [[nodiscard]] std::optional<DpPort> dp_port(PortId id) const;
  /// True when the port is bound to this host, active and attached: frames can leave by dp_port(). A sub-port is attached
  /// when its parent is here.
  [[nodiscard]] bool is_here(PortId id) const;
  /// The sub-ports of a port, by VLAN; sorted.
  [[nodiscard]] std::span<const SubPort> sub_ports(PortId parent) const;
  /// The sub-port that the frames of the port with this VLAN id belong to; of several the lowest id.
  [[nodiscard]] std::optional<PortId> sub_port(PortId parent, uint16_t vlan) const;
  /// The port at the other end of an interior link; nullptr when there is none or it does not point back.
  [[nodiscard]] const Port* peer(const Port& port) const;

  /// Which port of the bridge has the MAC behind it: Port::mac, or the MAC of the router port it is wired to. Of
  /// several the lowest id.
  [[nodiscard]] std::optional<PortId> configured_port_of_mac(BridgeId id, MacAddr mac) const;
  /// Where it was learned; nothing on a bridge that does not learn.
  [[nodiscard]] std::optional<LearnedAt> learned_mac(BridgeId id, MacAddr mac) const;
  /// More than one port claims it; on a bridge that learns.
  [[nodiscard]] bool mac_contested(BridgeId id, MacAddr mac) const;
  /// The port that it is configured at, else the one where it was learned.
  [[nodiscard]] std::optional<PortId> port_of_mac(BridgeId id, MacAddr mac) const;
  /// How many MACs are known to have been learned on the bridge.
  [[nodiscard]] size_t learned_count(BridgeId id) const;
  /// No more MACs are learned at this port.
  [[nodiscard]] bool learning_full(PortId id) const { return full_ports_.find(id) != nullptr; }
  /// The MAC has moved too often: it is not learned anew for now.
  [[nodiscard]] bool mac_held(BridgeId id, MacAddr mac) const;
  /// The ports of the bridge that have this address, sorted: Port::addresses, or the addresses (link-local ones
  /// too) of the router port it is wired to. Of a solicited-node group: those that have an address in it.
  [[nodiscard]] std::span<const AddressOwner> address_owners(BridgeId id,
                                                             const IpAddr& address) const;
  [[nodiscard]] const FloodSet& flood_set(BridgeId id) const;

  /// As RouteTable::lookup. Connected networks included. An unknown router has no routes.
  [[nodiscard]] RouteLookup lookup_route(RouterId id, const IpAddr& destination,
                                         const IpAddr& source) const;
  /// A route of the router that cannot be read at all, not even its destination: nothing may be forwarded then.
  [[nodiscard]] std::optional<RouteId> unreadable_route(RouterId id) const;
  /// The configured addresses of all ports of the router, sorted; link-local ones (link_local_of(mac)) are not listed.
  [[nodiscard]] std::span<const RouterAddress> router_addresses(RouterId id) const;
  /// The port whose network contains `address`, by the longest prefix, then the lowest id.
  [[nodiscard]] std::optional<PortId> connected_port(RouterId id, const IpAddr& address) const;

  /// Learned neighbours of a router port.
  [[nodiscard]] std::optional<MacAddr> neighbour(PortId id, const IpAddr& address) const;
  /// Sorted by address.
  [[nodiscard]] std::span<const Neighbour> neighbours(PortId id) const;

  [[nodiscard]] TunnelKeyMeaning tunnel_key(uint32_t key) const;

  /// The largest IP packet that tunnels over the family carry unfragmented; 0: not known, no limit.
  [[nodiscard]] uint32_t tunnel_mtu(IpFamily family) const {
    return family == IpFamily::v6 ? tunnel_mtu6_ : tunnel_mtu4_;
  }
  /// The router ports that send router advertisements; sorted.
  [[nodiscard]] std::span<const PortId> advertising() const {
    return advertising_ ? std::span<const PortId>(*advertising_) : std::span<const PortId>();
  }

  // For people: every object of a kind, in no order.
  void each_port(const std::function<void(const Port&)>& visit) const;
  void each_binding(const std::function<void(const Binding&)>& visit) const;
  void each_host(const std::function<void(const Host&)>& visit) const;
  void each_neighbour(const std::function<void(const Neighbour&)>& visit) const;

 private:
  friend class Topology;

  /// Nearly always one: it stands in the list itself.
  template <typename T>
  using FewOf = boost::container::small_vector<T, 1>;

  /// What the ports of one bridge amount to.
  struct BridgeTables {
    CowTable<MacAddr, FewOf<PortId>> macs;            ///< values sorted, never empty
    CowTable<IpAddr, FewOf<AddressOwner>> addresses;  ///< values sorted, never empty
    CowTable<MacAddr, FewOf<LearnedAt>> learned;      ///< values sorted, never empty
    CowTable<MacAddr, bool> held;
    std::shared_ptr<const FloodSet> flood;  ///< null: nobody
    [[nodiscard]] bool empty() const {
      return macs.empty() && addresses.empty() && learned.empty() && held.empty() && !flood;
    }
  };
  /// What the ports and routes of one router amount to.
  struct RouterTables {
    RouteTable ways;
    size_t way_count = 0;
    std::shared_ptr<const std::vector<RouterAddress>> addresses;  ///< sorted; null: none
    std::shared_ptr<const std::vector<RouteId>> unreadable;       ///< sorted; null: none
    [[nodiscard]] bool empty() const { return way_count == 0 && !addresses && !unreadable; }
  };

  /// What the rules of a security group amount to.
  struct SecurityTables {
    RuleTable ingress, egress;
  };

  HostId self_;
  CowTable<BridgeId, Bridge> bridges_;
  CowTable<RouterId, Router> routers_;
  CowTable<PortId, Port> ports_;
  CowTable<RouteId, Route> routes_;
  CowTable<PortId, Binding> bindings_;
  CowTable<HostId, Host> hosts_;
  CowTable<AddressGroupId, AddressGroup> address_groups_;
  CowTable<PortGroupId, PortGroup> port_groups_;
  CowTable<ChainId, Chain> chains_;
  CowTable<RuleId, TableRule> rules_;
  CowTable<SecurityGroupId, SecurityGroup> security_groups_;
  CowTable<SecurityRuleId, SecurityRule> security_rules_;
  // The tables point into rules_ and allowing_.
  CowTable<SecurityRuleId, TableRule> allowing_;  ///< readable security rules
  CowTable<ChainId, Tracking> tracking_;
  CowTable<ChainId, RuleTable> chain_tables_;  ///< values not empty
  CowTable<SecurityGroupId, SecurityTables> security_tables_;
  CowTable<AddressGroupId, AddressSet> address_sets_;
  CowTable<SecurityGroupId, AddressSet> member_sets_;
  CowTable<FloatingIpId, FloatingIp> floating_ips_;
  CowTable<SnatPoolId, SnatPool> snat_pools_;
  CowTable<LoadBalancerId, LoadBalancer> load_balancers_;
  CowTable<VipId, Vip> vips_;
  CowTable<PoolId, Pool> pools_;
  CowTable<PoolMemberId, PoolMember> pool_members_;
  CowTable<SnatPoolId, std::vector<PortBlock>> port_blocks_;
  CowTable<RouterId, TranslationTable> translations_;           ///< values not empty
  CowTable<PoolId, std::shared_ptr<const MemberSet>> serving_;  ///< values not null
  CowTable<DhcpSubnetId, DhcpSubnet> dhcp_subnets_;
  CowTable<BridgeId, std::vector<DhcpSubnetId>> dhcp_of_;  ///< values sorted, never empty
  CowTable<MirrorId, Mirror> mirrors_;
  CowTable<Place, std::vector<MirrorId>> mirrors_of_;  ///< values sorted, never empty
  CowTable<TraceRequestId, TraceRequest> trace_requests_;
  CowTable<TraceRequestId, TableRule> tracing_;  ///< what those that ask now look for
  CowTable<Place, RuleTable> trace_tables_;      ///< point into tracing_; values not empty
  CowTable<PortId, std::vector<Neighbour>> neighbours_;
  CowTable<PortId, std::vector<SubPort>> sub_ports_;  ///< by parent; values sorted, never empty
  CowTable<PortId, DpPort> dp_ports_;
  CowTable<uint32_t, PortId> local_ports_;            ///< by datapath port number
  CowTable<uint32_t, FewOf<TunnelKeyMeaning>> keys_;  ///< values sorted, never empty
  CowTable<PortId, bool> full_ports_;
  CowTable<BridgeId, BridgeTables> bridge_tables_;
  CowTable<RouterId, RouterTables> router_tables_;
  std::shared_ptr<const std::vector<PortId>> advertising_;  ///< null: none
  uint32_t tunnel_mtu4_ = 0, tunnel_mtu6_ = 0;
};

}  // namespace plexus::model
