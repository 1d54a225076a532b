// SPDX-License-Identifier: Apache-2.0
// Random clouds in which answers must come back: tenants with the same addresses inside, behind routers with floating addresses,
// leased sources, forwarded ports and load balancers, on an uplink that they share or on gateways of their own; filters of all
// kinds, but none that lets a question pass and not its answer. Each host with a table of its own, and records where outcomes
// say. Not part of the product.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "packet/build.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"
#include "sim/test_random_cloud.h"

namespace plexus::sim {

/// Whoever sends and gets packets: a machine, or one beyond a gateway.
struct Station {
  static constexpr int kNobodys = -1;
  std::string name;
  PortId port;
  Uuid device;
  int tenant = kNobodys;
  MacAddr mac, gateway;
  std::array<IpAddr, 2> address;  ///< IPv4, IPv6
};

struct ConnectedTenant {
  RouterId edge;
  std::optional<RouterId> inner;
  std::vector<PortId> uplinks;
  std::vector<MacAddr> uplink_macs;
  /// Addresses outside, and what to ask there: protocol 0 any, port 0 any.
  struct Service {
    IpAddr address;
    uint8_t protocol = 0;
    uint16_t port = 0;
  };
  std::vector<Service> outside, inside;
};

class ConnectedCloud {
 public:
  explicit ConnectedCloud(Dice& dice) : dice_(dice) {
    for (unsigned i = 0; i < 3; ++i)
      hosts.push_back(cloud.host("h" + std::to_string(i), "192.0.2." + std::to_string(i + 1)));
    shared_ = cloud.bridge("shared");
    for (unsigned t = 0, n = 1 + dice.one_in(2); t < n; ++t) add_tenant(static_cast<int>(t));
    for (unsigned i = 0; i < 3; ++i)
      add_machine("out" + std::to_string(i), shared_, Station::kNobodys, mac_of(7, i),
                  outside4(100 + i), outside6(0x10000u + i), {});
    for (unsigned i = 0, n = static_cast<unsigned>(dice.below(4)); i < n; ++i) add_refusal(i);
    introduce_routers();
    for (const auto& [id, port] : cloud.ports)
      if (const auto* router = std::get_if<RouterId>(&port.device))
        cloud.routers[*router].ports.push_back(id);  // in the order of their ids
    look_again();
    for (const HostId host : hosts) {
      tables[host] = std::make_unique<state::ConnectionTable>(state::ConnectionLimits{},
                                                              state::Timeouts{}, dice.below(1000));
    }
  }

  /// As a host is told, with its own blocks of ports; with some ports bound to other hosts.
  [[nodiscard]] std::shared_ptr<const model::Snapshot> snapshot(
      HostId host, const std::map<PortId, HostId>& moved) const {
    TestCloud at = cloud;
    for (const auto& [port, to] : moved) at.bindings.at(port).host = to;
    std::vector<model::Change> changes = at.changes(host);
    for (const auto& [pool, all] : blocks_)
      if (const auto mine = all.find(host); mine != all.end())
        changes.emplace_back(model::PortBlocksChange{pool, mine->second});
    model::Topology topology(host);
    topology.apply(changes);
    return topology.snapshot();
  }
  /// All hosts hear of what has changed.
  void look_again() {
    for (const HostId host : hosts) snapshots[host] = snapshot(host, {});
  }
  /// A machine goes to another host, and its records with it.
  void move(const Station& machine, HostId to, MonoTime now) {
    const HostId from = host_of(machine.port);
    cloud.bind(machine.port, to);
    std::vector<state::Connection> records;
    tables.at(from)->for_each_of_port(
        machine.port,
        [&](state::ConnectionNumber, const state::Connection& c) { records.push_back(c); });
    for (const state::Connection& c : records) (void)tables.at(to)->commit(c, now);
    look_again();
  }
  /// Other shares of new connections for the members of all pools; known ones stay where they are.
  void change_shares() {
    for (auto& [id, member] : cloud.pool_members)
      member.weight = static_cast<uint32_t>(dice_.below(4));
    look_again();
  }
  [[nodiscard]] HostId host_of(PortId port) const { return cloud.bindings.at(port).host; }
  [[nodiscard]] ConnectionView view(HostId host) const {
    return {.table = tables.at(host).get(), .midstream = midstream};
  }
  /// To whom a station gives what is for an address; zeros: it reaches nobody who knows it.
  [[nodiscard]] MacAddr next_of(const Station& from, const IpAddr& to) const {
    for (const Station& s : stations)
      if (s.device == from.device && s.address[to.is_v6()] == to) return s.mac;
    if (from.tenant == Station::kNobodys)
      for (const ConnectedTenant& t : tenants)
        for (const auto& service : t.outside)
          if (service.address == to && !cloud.bindings.contains(t.uplinks.front()))
            return t.uplink_macs.front();
    return from.gateway;
  }
  [[nodiscard]] bool is_public_of(int tenant, const IpAddr& address) const {
    const auto& all = tenants[static_cast<size_t>(tenant)].outside;
    return std::any_of(all.begin(), all.end(),
                       [&](const auto& service) { return service.address == address; });
  }

  TestCloud cloud;
  std::vector<HostId> hosts;
  std::vector<Station> stations;
  std::vector<ConnectedTenant> tenants;
  std::map<HostId, std::shared_ptr<const model::Snapshot>> snapshots;
  std::map<HostId, std::unique_ptr<state::ConnectionTable>> tables;
  state::Midstream midstream = state::Midstream::take_up;

 private:
  static IpAddr v6(unsigned a, unsigned b, unsigned last) {
    std::array<uint8_t, 16> bytes{};
    bytes[0] = static_cast<uint8_t>(a >> 8);
    bytes[1] = static_cast<uint8_t>(a);
    bytes[7] = static_cast<uint8_t>(b);
    for (unsigned i = 0; i < 4; ++i) bytes[15 - i] = static_cast<uint8_t>(last >> 8 * i);
    return IpAddr::v6(bytes);
  }
  static IpAddr outside4(unsigned n) { return IpAddr::v4(0xcb007100u | n); }
  static IpAddr outside6(unsigned n) { return v6(0x2001, 1, n); }
  static IpAddr inside4(unsigned net, unsigned n) { return IpAddr::v4(0x0a000000u | net << 8 | n); }
  static IpAddr inside6(unsigned net, unsigned n) { return v6(0xfd00, net, n); }
  static std::string with(const IpAddr& a, unsigned length) {
    return a.str() + "/" + std::to_string(length);
  }
  IpAddr public_address(int tenant, bool six) {
    const unsigned n = 10 + 40 * static_cast<unsigned>(tenant) + ++publics_ % 40;
    return six ? outside6(n) : outside4(n);
  }

  /// What routers on the shared uplink have learned of each other.
  void introduce_routers() {
    for (const ConnectedTenant& here : tenants) {
      if (cloud.bindings.contains(here.uplinks[0])) continue;  // gateways are not on it
      auto& table = cloud.neighbours[here.uplinks[0]];
      for (const ConnectedTenant& there : tenants) {
        if (here.edge == there.edge || cloud.bindings.contains(there.uplinks[0])) continue;
        for (const auto& service : there.outside)
          table.push_back(
              {.port = here.uplinks[0], .address = service.address, .mac = there.uplink_macs[0]});
      }
      const auto less = [](const auto& x, const auto& y) { return x.address < y.address; };
      std::sort(table.begin(), table.end(), less);
      table.erase(std::unique(table.begin(), table.end(),
                              [](const auto& x, const auto& y) { return x.address == y.address; }),
                  table.end());
    }
  }
  void add_machine(const std::string& name, BridgeId bridge, int tenant, const MacAddr& mac,
                   const IpAddr& four, const IpAddr& six, const MacAddr& gateway) {
    const PortId port = cloud.vm(name, bridge, dice_.of(hosts), mac.str(), {four.str(), six.str()});
    if (tenant != Station::kNobodys) cloud.ports[port].tenant = "tenant" + std::to_string(tenant);
    stations.push_back({name, port, bridge.uuid, tenant, mac, gateway, {four, six}});
  }

  void add_tenant(int number) {
    const std::string own = "t" + std::to_string(number) + "-";
    const auto n = static_cast<unsigned>(number);
    ConnectedTenant& t = tenants.emplace_back();
    t.edge = cloud.router(own + "edge");
    if (dice_.one_in(2)) {
      t.inner = cloud.router(own + "inner");
      const PortId down = cloud.router_port(own + "down", t.edge, mac_of(4, n * 2).str(),
                                            {"10.9.0.1/30", "fd09::1/64"});
      const PortId up = cloud.router_port(own + "up", *t.inner, mac_of(4, n * 2 + 1).str(),
                                          {"10.9.0.2/30", "fd09::2/64"});
      cloud.link(down, up);
      cloud.route(own + "in4", t.edge, "10.0.0.0/16", down, "10.9.0.2");
      cloud.route(own + "in6", t.edge, "fd00::/16", down, "fd09::2");
      // Clients next to members are hidden there.
      cloud.route(own + "near4", t.edge, "100.64.0.0/10", down, "10.9.0.2");
      cloud.route(own + "near6", t.edge, "64:ff9b:1::/64", down, "fd09::2");
      cloud.route(own + "out4", *t.inner, "0.0.0.0/0", up, "10.9.0.1");
      cloud.route(own + "out6", *t.inner, "::/0", up, "fd09::1");
      inner_up_ = up;
    }
    const size_t first = stations.size();
    for (unsigned net = 0, nets = 1 + static_cast<unsigned>(dice_.below(3)); net < nets; ++net) {
      const BridgeId bridge = cloud.bridge(own + "net" + std::to_string(net));
      const RouterId router = t.inner && dice_.one_in(2) ? *t.inner : t.edge;
      const MacAddr gateway = mac_of(5, net);
      cloud.plug(bridge,
                 cloud.router_port(own + "gw" + std::to_string(net), router, gateway.str(),
                                   {with(inside4(net, 254), 24), with(inside6(net, 254), 64)}));
      for (unsigned i = 0, all = 1 + static_cast<unsigned>(dice_.below(3)); i < all; ++i) {
        const unsigned last = 1 + net * 8 + i;
        add_machine(own + "vm" + std::to_string(last), bridge, number, mac_of(1, last),
                    inside4(net, last), inside6(net, last), gateway);
      }
    }
    add_uplinks(t, number);
    std::vector<Station> mine(stations.begin() + static_cast<std::ptrdiff_t>(first),
                              stations.end());
    std::erase_if(mine, [&](const Station& s) { return s.tenant != number; });
    for (const bool six : {false, true}) {
      add_sources(t, number, six, t.edge, t.uplinks, own);
      if (t.inner && dice_.one_in(3)) add_inner_sources(own, *t.inner, six);
      for (const Station& s : mine) {
        if (!dice_.one_in(4)) continue;
        const FloatingIpId id{Uuid::derived("floating", own + s.name + (six ? "6" : "4"))};
        const IpAddr address = public_address(number, six);
        cloud.floating_ips[id] = {.id = id,
                                  .router = t.edge,
                                  .name = own + "f",
                                  .address = address,
                                  .inside = s.address[six]};
        t.outside.push_back({address});
      }
      if (dice_.one_in(2)) add_forwarded(t, number, six, mine, own);
      if (dice_.one_in(2)) add_balancer(t, number, six, mine, own);
    }
    add_groups(own, mine);
  }

  void add_uplinks(ConnectedTenant& t, int number) {
    const std::string own = "t" + std::to_string(number) + "-";
    const auto n = static_cast<unsigned>(number);
    const bool gateways = dice_.one_in(3);
    const unsigned count = gateways ? 1 + static_cast<unsigned>(dice_.below(2)) : 1;
    for (unsigned i = 0; i < count; ++i) {
      const MacAddr mac = mac_of(6, n * 4 + i);
      const unsigned own_number = 1 + n * 4 + i;
      // The second gateway is in a network of its own: a router has each once.
      const std::vector<std::string> networks =
          i == 0 ? std::vector{with(outside4(own_number), 24), with(outside6(own_number), 64)}
                 : std::vector{with(IpAddr::v4(0xcb007201u), 24), with(v6(0x2001, 2, 1), 64)};
      const PortId port =
          cloud.router_port(own + "up" + std::to_string(i), t.edge, mac.str(), networks);
      cloud.ports[port].outside = true;
      t.uplinks.push_back(port);
      t.uplink_macs.push_back(mac);
      if (i == 0) t.outside.push_back({outside4(own_number)});
      if (i == 0) t.outside.push_back({outside6(own_number)});
      if (!gateways) {
        cloud.plug(shared_, port);
        continue;
      }
      cloud.bind(port, hosts[i]);
      const MacAddr beyond = mac_of(8, n * 4 + i);
      const IpAddr hop4 = i == 0 ? outside4(200) : IpAddr::v4(0xcb0072c8u),
                   hop6 = i == 0 ? outside6(200) : v6(0x2001, 2, 200);
      cloud.neighbours[port] = {{.port = port, .address = hop4, .mac = beyond},
                                {.port = port, .address = hop6, .mac = beyond}};
      cloud.route(own + "world4" + std::to_string(i), t.edge, "0.0.0.0/0", port, hop4.str());
      cloud.route(own + "world6" + std::to_string(i), t.edge, "::/0", port, hop6.str());
      for (unsigned w = 0; w < 2; ++w)
        stations.push_back(
            {own + "world" + std::to_string(i * 2 + w),
             port,
             t.edge.uuid,
             Station::kNobodys,
             beyond,
             mac,
             {IpAddr::v4(0xc6336432u + i * 2 + w), v6(0x2001, 9, 0x20000u + i * 2 + w)}});
    }
  }

  /// Everything that leaves has an address that belongs outside.
  void add_sources(ConnectedTenant& t, int number, bool six, RouterId router,
                   const std::vector<PortId>& ports, const std::string& own) {
    const std::string name = own + "sources" + (six ? "6" : "4");
    std::vector<IpAddr> addresses{public_address(number, six)};
    if (dice_.one_in(3)) addresses.push_back(public_address(number, six));
    std::sort(addresses.begin(), addresses.end());
    for (const IpAddr& a : addresses) t.outside.push_back({a});
    add_pool(name, router, addresses);
    for (const PortId port : ports) add_lease_rule(name, router, port, six);
  }
  void add_inner_sources(const std::string& own, RouterId router, bool six) {
    const std::string name = own + "inner-sources" + (six ? "6" : "4");
    add_pool(name, router, {six ? inside6(201, 1) : inside4(201, 1)});
    add_lease_rule(name, router, inner_up_, six);
  }
  void add_pool(const std::string& name, RouterId router, const std::vector<IpAddr>& addresses) {
    const SnatPoolId id{Uuid::derived("snat", name)};
    model::SnatPool pool{.id = id, .router = router, .name = name, .addresses = addresses};
    cloud.more.emplace_back(model::SnatPoolChange{id, pool});
    for (size_t h = 0; h < hosts.size(); ++h) {
      if (dice_.one_in(12)) continue;  // none for this host yet
      auto& mine = blocks_[id][hosts[h]];
      for (uint64_t i = 0, n = 1 + dice_.below(5); i < n; ++i) {
        const uint16_t length = dice_.one_in(2) ? 128 : 512;
        const auto first = static_cast<uint16_t>(1024 + 4096 * h + 512 * i);
        mine.push_back({Uuid::derived("block", name + std::to_string(h * 16 + i)),
                        dice_.of(addresses), first, length});
      }
      std::sort(mine.begin(), mine.end());
    }
  }
  void add_lease_rule(const std::string& pool, RouterId router, PortId out, bool six) {
    const std::string name = pool + "-" + cloud.ports[out].name;
    const ChainId chain =
        chain_of(cloud.routers[router].out_chain, "out-" + cloud.routers[router].name);
    model::Rule& rule = cloud.rule(name, chain, 100, model::RuleAction::snat);
    rule.ethertype = six ? eth_type::kIpv6 : eth_type::kIpv4;
    rule.out_port = out;
    rule.snat_pool = SnatPoolId{Uuid::derived("snat", pool)};
  }
  ChainId chain_of(std::optional<ChainId>& at, const std::string& name) {
    if (!at) at = cloud.chain(name);
    return *at;
  }

  void add_forwarded(ConnectedTenant& t, int, bool six, const std::vector<Station>& mine,
                     const std::string& own) {
    const ChainId chain = chain_of(cloud.routers[t.edge].in_chain, own + "edge-in");
    const IpAddr at = t.outside[six].address;
    model::Rule& rule =
        cloud.rule(own + "forward" + (six ? "6" : "4"), chain, 100, model::RuleAction::dnat);
    rule.protocol = dice_.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
    rule.destination = IpPrefix{at, static_cast<uint8_t>(at.bits())};
    rule.destination_ports = {{2200, 2209}};
    const IpAddr to = dice_.of(mine).address[six];
    rule.to_addresses = IpPrefix{to, static_cast<uint8_t>(to.bits())};
    if (!dice_.one_in(3)) rule.to_ports = model::PortRange{80, 89};
    for (uint16_t i = 0; i < 3; ++i)
      t.outside.push_back({at, *rule.protocol, static_cast<uint16_t>(2200 + i)});
  }

  void add_balancer(ConnectedTenant& t, int number, bool six, const std::vector<Station>& mine,
                    const std::string& own) {
    const std::string name = own + (six ? "lb6" : "lb4");
    const LoadBalancerId lb{Uuid::derived("balancer", name)};
    const bool inner = t.inner && dice_.one_in(2);
    cloud.load_balancers[lb] = {.id = lb, .router = inner ? *t.inner : t.edge, .name = name};
    const PoolId pool{Uuid::derived("pool", name)};
    cloud.pools[pool] = {.id = pool, .load_balancer = lb, .name = name};
    const VipId vip{Uuid::derived("vip", name)};
    const IpAddr address =
        inner ? (six ? inside6(200, 1) : inside4(200, 1)) : public_address(number, six);
    const uint8_t protocol = dice_.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
    cloud.vips[vip] = {.id = vip,
                       .load_balancer = lb,
                       .name = name,
                       .address = address,
                       .protocol = protocol,
                       .port = 80,
                       .pool = pool,
                       .by_source_address = dice_.one_in(3)};
    (inner ? t.inside : t.outside).push_back({address, protocol, 80});
    for (const Station& s : mine) {
      if (dice_.one_in(3)) continue;
      const PoolMemberId id{Uuid::derived("member", name + s.name)};
      cloud.pool_members[id] = {.id = id,
                                .pool = pool,
                                .name = s.name,
                                .address = s.address[six],
                                .port = static_cast<uint16_t>(dice_.one_in(3) ? 0 : 8080),
                                .weight = static_cast<uint32_t>(dice_.below(4)),
                                .backup = dice_.one_in(5),
                                .up = !dice_.one_in(6)};
    }
  }

  /// Stateful ones: what may come out may come back. Stateless ones let everything pass both ways.
  void add_groups(const std::string& own, const std::vector<Station>& mine) {
    if (dice_.one_in(3)) return;
    for (unsigned i = 0; i < 2; ++i) {
      const std::string name = own + "group" + std::to_string(i);
      const SecurityGroupId group = cloud.security_group(name);
      cloud.security_groups[group].stateful = !dice_.one_in(4);
      for (const bool ingress : {false, true}) {
        model::SecurityRule& rule =
            cloud.security_rule(name + (ingress ? "-in" : "-out"), group, ingress);
        if (!cloud.security_groups[group].stateful) continue;
        if (dice_.one_in(4)) rule.protocol = dice_.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
        if (dice_.one_in(6)) rule.ethertype = dice_.one_in(2) ? eth_type::kIpv6 : eth_type::kIpv4;
        if (ingress && dice_.one_in(6)) rule.remote_group = group;
      }
      for (const Station& s : mine)
        if (dice_.one_in(3)) cloud.ports[s.port].security_groups.push_back(group);
    }
    for (const Station& s : mine)
      std::sort(cloud.ports[s.port].security_groups.begin(),
                cloud.ports[s.port].security_groups.end());
  }

  /// A rule somewhere that refuses some of what is new, or of what fits no connection.
  void add_refusal(unsigned number) {
    const std::string name = "refusal" + std::to_string(number);
    std::optional<ChainId>* at = nullptr;
    switch (dice_.below(3)) {
      case 0: {
        model::Port& port = cloud.ports[dice_.of(stations).port];
        at = dice_.one_in(2) ? &port.in_chain : &port.out_chain;
        break;
      }
      case 1: {
        model::Bridge& bridge = cloud.bridges[dice_.key_of(cloud.bridges)];
        at = dice_.one_in(2) ? &bridge.in_chain : &bridge.out_chain;
        break;
      }
      default: {
        model::Router& router = cloud.routers[dice_.key_of(cloud.routers)];
        at = dice_.one_in(2) ? &router.in_chain : &router.out_chain;
      }
    }
    model::Rule& rule =
        cloud.rule(name, chain_of(*at, name), static_cast<uint32_t>(dice_.below(50)),
                   dice_.one_in(3) ? model::RuleAction::reject : model::RuleAction::drop);
    const auto state =
        dice_.one_in(3) ? model::ConnectionCondition::invalid : model::ConnectionCondition::new_;
    rule.connection = static_cast<uint8_t>(1u << static_cast<unsigned>(state));
    if (dice_.one_in(2)) rule.protocol = dice_.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
    if (dice_.one_in(2)) {
      const IpAddr a = dice_.of(stations).address[dice_.below(2)];
      (dice_.one_in(2) ? rule.source : rule.destination) =
          IpPrefix{a, static_cast<uint8_t>(a.bits() - dice_.below(9))}.network();
    }
  }

  Dice& dice_;
  BridgeId shared_;
  PortId inner_up_;
  unsigned publics_ = 0;
  std::map<SnatPoolId, std::map<HostId, std::vector<model::PortBlock>>> blocks_;
};

}  // namespace plexus::sim
