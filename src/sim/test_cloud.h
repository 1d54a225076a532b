// SPDX-License-Identifier: Apache-2.0
// A small cloud for tests: records made by name, and what each host would be told of them. Not part of the product.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/topology.h"

namespace plexus::sim {

class TestCloud {
 public:
  // All records, free to be changed by a test; changes() hands them out as they are.
  std::map<BridgeId, model::Bridge> bridges;
  std::map<RouterId, model::Router> routers;
  std::map<PortId, model::Port> ports;
  std::map<RouteId, model::Route> routes;
  std::map<PortId, model::Binding> bindings;
  std::map<HostId, model::Host> hosts;
  std::map<PortId, std::vector<model::Neighbour>> neighbours;
  std::map<ChainId, model::Chain> chains;
  std::map<RuleId, model::Rule> rules;
  std::map<AddressGroupId, model::AddressGroup> address_groups;
  std::map<PortGroupId, model::PortGroup> port_groups;
  std::map<SecurityGroupId, model::SecurityGroup> security_groups;
  std::map<SecurityRuleId, model::SecurityRule> security_rules;
  std::map<DhcpSubnetId, model::DhcpSubnet> dhcp_subnets;
  std::map<MirrorId, model::Mirror> mirrors;
  std::map<TraceRequestId, model::TraceRequest> trace_requests;
  std::map<FloatingIpId, model::FloatingIp> floating_ips;
  std::map<LoadBalancerId, model::LoadBalancer> load_balancers;
  std::map<VipId, model::Vip> vips;
  std::map<PoolId, model::Pool> pools;
  std::map<PoolMemberId, model::PoolMember> pool_members;
  /// Of other kinds of records; come last.
  std::vector<model::Change> more;
  uint32_t tunnel_mtu = 0;  ///< of every host's tunnels, over IPv4 and IPv6
  /// Datapath port numbers, the same at whichever host the port is.
  std::map<PortId, uint32_t> dp_ports;

  static HostId host_id(std::string_view name) { return {Uuid::derived("host", name)}; }
  static BridgeId bridge_id(std::string_view name) { return {Uuid::derived("bridge", name)}; }
  static RouterId router_id(std::string_view name) { return {Uuid::derived("router", name)}; }
  static PortId port_id(std::string_view name) { return {Uuid::derived("port", name)}; }
  static RouteId route_id(std::string_view name) { return {Uuid::derived("route", name)}; }

  HostId host(const std::string& name, std::string_view address) {
    const HostId id = host_id(name);
    hosts[id] = {
        .id = id, .name = name, .tunnel_addresses = {*IpAddr::parse(address)}, .flood_keys = {}};
    for (const auto& [bridge, record] : bridges) flood_key(id, bridge);
    return id;
  }
  BridgeId bridge(const std::string& name) {
    const BridgeId id = bridge_id(name);
    bridges[id] = {.id = id, .name = name, .ports = {}};
    for (const auto& [h, record] : hosts) flood_key(h, id);
    return id;
  }
  RouterId router(const std::string& name) {
    const RouterId id = router_id(name);
    routers[id] = {.id = id, .name = name, .ports = {}, .routes = {}};
    return id;
  }
  /// A bridge port without anything behind it yet.
  PortId bridge_port(const std::string& name, BridgeId bridge, std::string_view mac = "",
                     const std::vector<std::string>& addresses = {}) {
    model::Port p = new_port(name);
    p.device = bridge;
    if (!mac.empty()) p.mac = *MacAddr::parse(mac);
    for (const auto& a : addresses) p.addresses.push_back(*IpAddr::parse(a));
    ports[p.id] = p;
    return p.id;
  }
  PortId router_port(const std::string& name, RouterId router, std::string_view mac,
                     const std::vector<std::string>& networks = {}) {
    model::Port p = new_port(name);
    p.device = router;
    p.mac = *MacAddr::parse(mac);
    for (const auto& n : networks) p.networks.push_back(*IpPrefix::parse(n));
    ports[p.id] = p;
    return p.id;
  }
  void link(PortId a, PortId b) {
    ports[a].peer = b;
    ports[b].peer = a;
  }
  /// A bridge port and its link to a router port.
  void plug(BridgeId bridge, PortId router_port) {
    link(bridge_port("to-" + ports[router_port].name, bridge), router_port);
  }
  /// Puts a port at a host, with a new tunnel key.
  void bind(PortId port, HostId host) {
    ports[port].interface = "if-" + ports[port].name;
    ports[port].wanted_host = host;
    const uint32_t generation = bindings.contains(port) ? bindings[port].generation + 1 : 1;
    bindings[port] = {.port = port,
                      .host = host,
                      .tunnel_key = next_key_++,
                      .generation = generation,
                      .active = true};
    if (!dp_ports.contains(port)) dp_ports[port] = next_dp_port_++;
  }
  PortId vm(const std::string& name, BridgeId bridge, HostId host, std::string_view mac,
            const std::vector<std::string>& addresses = {}) {
    const PortId id = bridge_port(name, bridge, mac, addresses);
    bind(id, host);
    return id;
  }
  RouteId route(const std::string& name, RouterId router, std::string_view destination, PortId port,
                std::string_view next_hop = "", uint32_t metric = 0,
                model::RouteKind kind = model::RouteKind::forward) {
    const RouteId id = route_id(name);
    model::Route r{.id = id,
                   .router = router,
                   .name = name,
                   .destination = *IpPrefix::parse(destination),
                   .kind = kind,
                   .port = std::nullopt,
                   .next_hop = std::nullopt,
                   .metric = metric};
    if (!port.is_nil()) r.port = port;
    if (!next_hop.empty()) r.next_hop = *IpAddr::parse(next_hop);
    routes[id] = r;
    return id;
  }

  ChainId chain(const std::string& name) {
    const ChainId id{Uuid::derived("chain", name)};
    chains[id] = {.id = id, .name = name, .unreadable = false, .rules = {}};
    return id;
  }
  /// A rule without conditions yet.
  model::Rule& rule(const std::string& name, ChainId chain, uint32_t position,
                    model::RuleAction action) {
    const RuleId id{Uuid::derived("rule", name)};
    model::Rule& r = rules[id];
    r.id = id;
    r.chain = chain;
    r.name = name;
    r.position = position;
    r.action = action;
    return r;
  }
  AddressGroupId address_group(const std::string& name, const std::vector<std::string>& prefixes) {
    const AddressGroupId id{Uuid::derived("address group", name)};
    model::AddressGroup& g = address_groups[id];
    g.id = id;
    g.name = name;
    for (const auto& p : prefixes) g.prefixes.push_back(*IpPrefix::parse(p));
    return id;
  }
  PortGroupId port_group(const std::string& name) {
    const PortGroupId id{Uuid::derived("port group", name)};
    port_groups[id] = {.id = id, .name = name};
    return id;
  }
  SecurityGroupId security_group(const std::string& name) {
    const SecurityGroupId id{Uuid::derived("security group", name)};
    security_groups[id] = {.id = id, .name = name, .unreadable = false, .rules = {}};
    return id;
  }
  model::SecurityRule& security_rule(const std::string& name, SecurityGroupId group, bool ingress) {
    const SecurityRuleId id{Uuid::derived("security rule", name)};
    model::SecurityRule& r = security_rules[id];
    r.id = id;
    r.group = group;
    r.name = name;
    r.ingress = ingress;
    return r;
  }
  model::DhcpSubnet& dhcp_subnet(const std::string& name, BridgeId bridge,
                                 std::string_view network) {
    const DhcpSubnetId id{Uuid::derived("dhcp subnet", name)};
    model::DhcpSubnet& s = dhcp_subnets[id];
    s.id = id;
    s.bridge = bridge;
    s.name = name;
    s.network = *IpPrefix::parse(network);
    return s;
  }
  model::Mirror& mirror(const std::string& name,
                        std::variant<std::monostate, PortId, BridgeId, RouterId> at, bool in,
                        bool out, PortId to) {
    const MirrorId id{Uuid::derived("mirror", name)};
    return mirrors[id] = {.id = id, .name = name, .at = at, .in = in, .out = out, .to_port = to};
  }
  model::TraceRequest& trace_request(const std::string& name,
                                     std::variant<std::monostate, PortId, BridgeId, RouterId> at) {
    const TraceRequestId id{Uuid::derived("trace request", name)};
    model::TraceRequest& request = trace_requests[id];
    request.id = id;
    request.name = name;
    request.at = at;
    return request;
  }
  /// A port of the bridge for the frames of the parent's interface with the tag, at the parent's host.
  PortId sub_port(const std::string& name, BridgeId bridge, PortId parent, uint16_t vlan,
                  std::string_view mac = "", const std::vector<std::string>& addresses = {}) {
    const PortId id = bridge_port(name, bridge, mac, addresses);
    ports[id].parent = parent;
    ports[id].vlan = vlan;
    if (const auto at = bindings.find(parent); at != bindings.end())
      bindings[id] = {.port = id,
                      .host = at->second.host,
                      .tunnel_key = next_key_++,
                      .generation = 1,
                      .active = true};
    return id;
  }
  /// The members of all security groups, in two parts each.
  using Members = std::map<std::pair<SecurityGroupId, uint32_t>, std::vector<model::GroupMember>>;
  [[nodiscard]] Members members() const {
    Members out;
    for (const auto& [id, port] : ports)
      for (const SecurityGroupId group : port.security_groups)
        out[{group, id.uuid.bytes[0] & 1u}].push_back({id, port.addresses});
    return out;
  }

  /// Everything, as the host with this id is told.
  [[nodiscard]] std::vector<model::Change> changes(HostId self) const {
    std::vector<model::Change> out;
    for (const auto& [id, r] : hosts) out.push_back(model::HostChange{id, r});
    for (const auto& [id, r] : bridges) out.push_back(model::BridgeChange{id, r});
    for (const auto& [id, r] : routers) out.push_back(model::RouterChange{id, r});
    for (const auto& [id, r] : ports) out.push_back(model::PortChange{id, r});
    for (const auto& [id, r] : routes) out.push_back(model::RouteChange{id, r});
    for (const auto& [id, r] : bindings) out.push_back(model::BindingChange{id, r});
    for (const auto& [id, r] : neighbours) out.push_back(model::NeighboursChange{id, r});
    for (const auto& [id, r] : chains) out.push_back(model::ChainChange{id, r});
    for (const auto& [id, r] : rules) out.push_back(model::RuleChange{id, r});
    for (const auto& [id, r] : address_groups) out.push_back(model::AddressGroupChange{id, r});
    for (const auto& [id, r] : port_groups) out.push_back(model::PortGroupChange{id, r});
    for (const auto& [id, r] : security_groups) out.push_back(model::SecurityGroupChange{id, r});
    for (const auto& [id, r] : security_rules) out.push_back(model::SecurityRuleChange{id, r});
    for (const auto& [id, r] : dhcp_subnets) out.push_back(model::DhcpSubnetChange{id, r});
    for (const auto& [id, r] : mirrors) out.push_back(model::MirrorChange{id, r});
    for (const auto& [id, r] : trace_requests) out.push_back(model::TraceRequestChange{id, r});
    for (const auto& [at, r] : members())
      out.push_back(model::GroupMembersChange{at.first, at.second, r});
    for (const auto& [id, r] : bindings) out.push_back(local_port_change(id, self));
    for (const IpFamily family : {IpFamily::v4, IpFamily::v6})
      out.push_back(model::TunnelMtuChange{family, tunnel_mtu});
    for (const auto& [id, r] : floating_ips) out.push_back(model::FloatingIpChange{id, r});
    for (const auto& [id, r] : load_balancers) out.push_back(model::LoadBalancerChange{id, r});
    for (const auto& [id, r] : vips) out.push_back(model::VipChange{id, r});
    for (const auto& [id, r] : pools) out.push_back(model::PoolChange{id, r});
    for (const auto& [id, r] : pool_members) out.push_back(model::PoolMemberChange{id, r});
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  /// The number of the port's interface at the host where it is bound, zero elsewhere.
  [[nodiscard]] model::LocalPortChange local_port_change(PortId id, HostId self) const {
    const auto b = bindings.find(id);
    const bool here = b != bindings.end() && b->second.host == self;
    // A sub-port has no interface of its own.
    const auto number = dp_ports.find(id);
    return {id, here && number != dp_ports.end() ? number->second : 0};
  }
  [[nodiscard]] std::shared_ptr<const model::Snapshot> snapshot(HostId self) const {
    model::Topology topology(self);
    topology.apply(changes(self));
    return topology.snapshot();
  }
  [[nodiscard]] DpPort dp_port(PortId id) const { return DpPort{dp_ports.at(id)}; }

 private:
  model::Port new_port(const std::string& name) {
    model::Port p;
    p.id = port_id(name);
    p.name = name;
    return p;
  }
  void flood_key(HostId host, BridgeId bridge) {
    hosts[host].flood_keys.emplace_back(bridge, next_key_++);
  }

  uint32_t next_key_ = 0x100;
  uint32_t next_dp_port_ = kFirstLocalPort;
};

/// What turns the records of one kind, by id, into others; `change` is one of their kind, empty.
template <typename Records, typename KindOfChange>
void add_changes(const Records& before, const Records& after, KindOfChange change,
                 std::vector<model::Change>& out) {
  for (const auto& [id, r] : before) {
    change.id = id;
    change.now.reset();
    if (!after.contains(id)) out.push_back(change);
  }
  for (const auto& [id, r] : after) {
    change.id = id;
    change.now = r;
    if (const auto old = before.find(id); old == before.end() || old->second != r)
      out.push_back(change);
  }
}

}  // namespace plexus::sim
