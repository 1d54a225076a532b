// SPDX-License-Identifier: Apache-2.0
// What must hold for every topology and every packet. Random clouds, some of them broken, and random packets that are
// near enough to them to get somewhere. The seed of a failure is printed; PLEXUS_SEED=n runs one seed alone,
// PLEXUS_TEST_TIMES=n so many times as many seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"
#include "sim/test_filters.h"
#include "sim/test_services.h"
#include "sim/test_translations.h"

namespace plexus::sim {
namespace {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t below(uint64_t n) { return random_() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  uint8_t byte() { return static_cast<uint8_t>(random_()); }
  template <typename T>
  const T& of(const std::vector<T>& v) {
    return v[below(v.size())];
  }
  template <typename K, typename V>
  K key_of(const std::map<K, V>& m) {
    return std::next(m.begin(), static_cast<std::ptrdiff_t>(below(m.size())))->first;
  }
  template <typename T>
  void shuffle(std::vector<T>& v) {
    std::shuffle(v.begin(), v.end(), random_);
  }

 private:
  std::mt19937_64 random_;
};

std::vector<uint64_t> seeds(uint64_t count) {
  if (const char* one = std::getenv("PLEXUS_SEED")) return {std::strtoull(one, nullptr, 10)};
  const char* times = std::getenv("PLEXUS_TEST_TIMES");
  if (times != nullptr) count *= std::max<uint64_t>(1, std::strtoull(times, nullptr, 10));
  std::vector<uint64_t> all;
  for (uint64_t i = 1; i <= count; ++i) all.push_back(i);
  return all;
}

// ---- random clouds

MacAddr mac_of(unsigned kind, unsigned n) {
  return {{2, 0, 0, 0, static_cast<uint8_t>(kind), static_cast<uint8_t>(n)}};
}
IpAddr v4_of(unsigned net, unsigned n) {
  return IpAddr::v4(0x0a000000u | net << 8 | n);
}
IpAddr v6_of(unsigned net, unsigned n) {
  std::array<uint8_t, 16> b{0xfd};
  b[7] = static_cast<uint8_t>(net);
  b[15] = static_cast<uint8_t>(n);
  return IpAddr::v6(b);
}

struct World {
  TestCloud cloud;
  std::vector<HostId> hosts;
  std::vector<BridgeId> bridges;
  std::vector<RouterId> routers;
  std::vector<PortId> vms, router_ports;
  std::vector<model::Port> deleted;
  unsigned serial = 0;

  std::string name(const char* kind) { return kind + std::to_string(++serial); }
};

void add_vm(World& w, Dice& dice) {
  const unsigned net = static_cast<unsigned>(dice.below(w.bridges.size())),
                 n = 1 + static_cast<unsigned>(dice.below(6));
  const std::string mac = dice.one_in(8) ? "" : mac_of(1, net * 8 + n).str();
  std::vector<std::string> addresses;
  if (!dice.one_in(4)) addresses = {v4_of(net, n).str(), v6_of(net, n).str()};
  const PortId id = w.cloud.bridge_port(w.name("vm"), w.bridges[net], mac, addresses);
  if (!dice.one_in(10)) w.cloud.bind(id, dice.of(w.hosts));
  w.vms.push_back(id);
}

void add_router_port(World& w, Dice& dice, RouterId router, unsigned net) {
  const unsigned n = 200 + static_cast<unsigned>(dice.below(4));
  std::vector<std::string> networks{v4_of(net, n).str() + "/24"};
  if (!dice.one_in(8)) networks.push_back(v6_of(net, n).str() + "/64");
  const PortId id =
      w.cloud.router_port(w.name("rp"), router, mac_of(2, ++w.serial % 256).str(), networks);
  w.router_ports.push_back(id);
  if (dice.one_in(10)) {
    w.cloud.bind(id, dice.of(w.hosts));
  } else if (dice.one_in(10) && w.routers.size() > 1) {
    const PortId other =
        w.cloud.router_port(w.name("rp"), dice.of(w.routers), mac_of(2, ++w.serial % 256).str(),
                            {v4_of(net, n + 1).str() + "/24"});
    w.cloud.link(id, other);
    w.router_ports.push_back(other);
  } else {
    w.cloud.plug(w.bridges[net], id);
  }
}

void add_route(World& w, Dice& dice) {
  const unsigned net = static_cast<unsigned>(dice.below(6));
  const IpAddr to =
      dice.one_in(3) ? v6_of(net, 0) : v4_of(net, static_cast<unsigned>(dice.below(8)));
  const auto length = static_cast<uint8_t>(dice.one_in(4) ? 0
                                           : to.is_v4()   ? 22 + dice.below(11)
                                                          : 60 + dice.below(69));
  const auto kind = dice.one_in(6)   ? model::RouteKind::blackhole
                    : dice.one_in(6) ? model::RouteKind::reject
                                     : model::RouteKind::forward;
  const PortId port = dice.one_in(4) || w.router_ports.empty() ? PortId{} : dice.of(w.router_ports);
  const unsigned hop = static_cast<unsigned>(dice.below(w.bridges.size()));
  const std::string next =
      dice.one_in(2) ? "" : (to.is_v4() ? v4_of(hop, 200) : v6_of(hop, 200)).str();
  const RouteId id =
      w.cloud.route(w.name("route"), dice.of(w.routers), IpPrefix{to, length}.network().str(), port,
                    next, static_cast<uint32_t>(dice.below(3)), kind);
  model::Route& route = w.cloud.routes[id];
  if (dice.one_in(3)) {
    const unsigned from = static_cast<unsigned>(dice.below(4));
    route.source = to.is_v4() ? IpPrefix{v4_of(from, 0), static_cast<uint8_t>(20 + dice.below(12))}
                              : IpPrefix{v6_of(from, 0), static_cast<uint8_t>(60 + dice.below(68))};
    route.source = route.source.network();
  }
  route.weight = 1 + static_cast<uint32_t>(dice.below(3));
  if (dice.one_in(2)) {  // another that is as good, mostly
    model::Route twin = route;
    twin.id = TestCloud::route_id(w.name("route"));
    if (!w.router_ports.empty()) twin.port = dice.of(w.router_ports);
    w.cloud.routes[twin.id] = twin;
  }
}

/// Around the sizes that frame_of() makes.
uint32_t random_mtu(Dice& dice) {
  static const std::vector<uint32_t> kMtus{0, 0, 0, 48, 64, 80, 100, 1500, 70'000};
  return dice.of(kMtus);
}

/// Changes one thing, sometimes for the worse.
void mutate(World& w, Dice& dice) {
  TestCloud& c = w.cloud;
  if (!c.chains.empty() && dice.one_in(3)) return mutate_filters(c, dice);
  if (dice.one_in(8)) return mutate_services(c, dice);
  if (!c.floating_ips.empty() && dice.one_in(3)) return change_translations(c, dice);
  if (dice.one_in(12)) {  // sizes
    if (dice.one_in(3) || w.router_ports.empty())
      c.tunnel_mtu = random_mtu(dice);
    else if (const auto p = c.ports.find(dice.of(w.router_ports)); p != c.ports.end())
      p->second.mtu = random_mtu(dice);
    return;
  }
  if (dice.one_in(12) && !c.routes.empty()) {  // a share, or who advertises
    c.routes[dice.key_of(c.routes)].weight = 1 + static_cast<uint32_t>(dice.below(3));
    if (w.router_ports.empty()) return;
    if (const auto p = c.ports.find(dice.of(w.router_ports)); p != c.ports.end()) {
      if (p->second.advertising)
        p->second.advertising.reset();
      else
        p->second.advertising.emplace();
    }
    return;
  }
  if (!w.deleted.empty() && dice.one_in(3)) {  // what was missed is back
    c.ports[w.deleted.back().id] = w.deleted.back();
    w.deleted.pop_back();
    return;
  }
  if (dice.one_in(4) && !w.vms.empty()) {  // a guest has another address
    const PortId id = dice.of(w.vms);
    auto& p = c.ports[id];
    const auto other = c.ports.find(dice.of(w.vms));
    if (p.addresses.empty() && other != c.ports.end())
      p.addresses = other->second.addresses;
    else
      p.addresses.clear();
    return;
  }
  if (dice.one_in(4) && !w.router_ports.empty()) {  // a router port has another address
    auto& p = c.ports[dice.of(w.router_ports)];
    for (IpPrefix& n : p.networks)
      n.addr.bytes[n.addr.size() - 1] = static_cast<uint8_t>(200 + dice.below(4));
    return;
  }
  if (dice.one_in(8)) {  // what a bridge learns
    if (dice.one_in(6)) {
      auto& b = c.bridges[dice.key_of(c.bridges)];
      b.learning = !b.learning;
    } else if (!c.bindings.empty()) {
      auto& learned = c.bindings[dice.key_of(c.bindings)].learned;
      if (learned.size() > 4) learned.clear();
      learned.push_back({mac_of(1, static_cast<unsigned>(dice.below(32))),
                         static_cast<uint32_t>(1 + dice.below(3))});
      std::sort(learned.begin(), learned.end());
    }
    return;
  }
  switch (dice.below(18)) {
    case 0:
      return add_vm(w, dice);
    case 1:
      return add_router_port(w, dice, dice.of(w.routers),
                             static_cast<unsigned>(dice.below(w.bridges.size())));
    case 2:
    case 3:
      return add_route(w, dice);
    case 4:
      if (!c.routes.empty()) c.routes.erase(dice.key_of(c.routes));
      return;
    case 5: {
      auto& p = c.ports[dice.key_of(c.ports)];
      p.admin_up = !p.admin_up || !dice.one_in(3);
      return;
    }
    case 6: {
      auto& p = c.ports[dice.key_of(c.ports)];
      p.unreadable = !p.unreadable && dice.one_in(3);
      return;
    }
    case 7:
      if (!w.vms.empty()) c.bind(dice.of(w.vms), dice.of(w.hosts));
      return;
    case 8:
      if (!c.bindings.empty()) {
        auto& b = c.bindings[dice.key_of(c.bindings)];
        b.active = !b.active || !dice.one_in(3);
      }
      return;
    case 9:
      if (!c.bindings.empty() && dice.one_in(2)) c.bindings.erase(dice.key_of(c.bindings));
      return;
    case 10: {
      auto& b = c.bridges[dice.key_of(c.bridges)];
      b.admin_up = !b.admin_up || !dice.one_in(5);
      b.unreadable = !b.unreadable && dice.one_in(8);
      return;
    }
    case 11: {
      auto& r = c.routers[dice.key_of(c.routers)];
      r.admin_up = !r.admin_up || !dice.one_in(5);
      r.unreadable = !r.unreadable && dice.one_in(8);
      return;
    }
    case 12: {  // somebody is plugged in differently
      auto& p = c.ports[dice.key_of(c.ports)];
      if (dice.one_in(2)) p.mac = mac_of(1, static_cast<unsigned>(dice.below(32)));
      if (!p.networks.empty() && dice.one_in(2))
        p.networks[0].addr =
            v4_of(static_cast<unsigned>(dice.below(4)), static_cast<unsigned>(dice.below(256)));
      if (!p.addresses.empty()) p.addresses.pop_back();
      return;
    }
    case 13: {  // a link cut, or crossed, at one end
      auto& a = c.ports[dice.key_of(c.ports)];
      if (a.peer && dice.one_in(2))
        a.peer.reset();
      else if (dice.one_in(3))
        a.peer = dice.key_of(c.ports);
      return;
    }
    case 14:
      if (!w.router_ports.empty()) {
        auto& table = c.neighbours[dice.of(w.router_ports)];
        if (table.size() > 3) table.clear();
        const unsigned net = static_cast<unsigned>(dice.below(4)),
                       n = static_cast<unsigned>(dice.below(8));
        table.push_back({.port = {},
                         .address = dice.one_in(2) ? v4_of(net, n) : v6_of(net, n),
                         .mac = mac_of(3, n)});
        std::sort(table.begin(), table.end(),
                  [](const auto& x, const auto& y) { return x.address < y.address; });
        table.erase(
            std::unique(table.begin(), table.end(),
                        [](const auto& x, const auto& y) { return x.address == y.address; }),
            table.end());
      }
      return;
    case 15: {
      auto& h = c.hosts[dice.key_of(c.hosts)];
      if (dice.one_in(3))
        h.tunnel_addresses.clear();
      else
        h.tunnel_addresses = {IpAddr::v4(0xc0000200u | static_cast<uint32_t>(dice.below(250)))};
      if (dice.one_in(4) && !h.flood_keys.empty()) h.flood_keys.pop_back();
      return;
    }
    case 16:
      if (!c.routes.empty()) {
        auto& r = c.routes[dice.key_of(c.routes)];
        r.unreadable = !r.unreadable && dice.one_in(3);
        if (r.unreadable && dice.one_in(8)) r.destination = {};
        if (!r.unreadable && r.destination.addr.is_none())
          r.destination = IpPrefix{v4_of(1, 0), 24};
      }
      return;
    default:
      if (dice.one_in(3) && c.ports.size() > 3) {  // deleted; what refers to it dangles
        const PortId id = dice.key_of(c.ports);
        w.deleted.push_back(c.ports[id]);
        c.ports.erase(id);
        std::erase(w.vms, id);
        std::erase(w.router_ports, id);
      } else if (w.bridges.size() > 1 && dice.one_in(2)) {
        c.link(c.bridge_port(w.name("bb"), dice.of(w.bridges)),
               c.bridge_port(w.name("bb"), dice.of(w.bridges)));
      }
  }
}

World random_world(Dice& dice) {
  World w;
  for (unsigned i = 0; i < 3; ++i)
    w.hosts.push_back(w.cloud.host("h" + std::to_string(i), "192.0.2." + std::to_string(i + 1)));
  for (unsigned i = 0, n = 1 + static_cast<unsigned>(dice.below(4)); i < n; ++i)
    w.bridges.push_back(w.cloud.bridge(w.name("net")));
  for (unsigned i = 0, n = 1 + static_cast<unsigned>(dice.below(3)); i < n; ++i)
    w.routers.push_back(w.cloud.router(w.name("r")));
  for (unsigned i = 0, n = 4 + static_cast<unsigned>(dice.below(8)); i < n; ++i) add_vm(w, dice);
  for (RouterId router : w.routers)
    for (unsigned net = 0; net < w.bridges.size(); ++net)
      if (!dice.one_in(4)) add_router_port(w, dice, router, net);
  for (unsigned i = 0, n = static_cast<unsigned>(dice.below(8)); i < n; ++i) add_route(w, dice);
  if (dice.one_in(3)) add_filters(w.cloud, dice);
  if (dice.one_in(3)) add_services(w.cloud, dice);
  if (dice.one_in(3)) add_translations(w.cloud, dice);
  for (unsigned i = 0, n = static_cast<unsigned>(dice.below(8)); i < n; ++i) mutate(w, dice);
  return w;
}

/// What turns the first cloud into the second, as one host is told, in any order.
std::vector<model::Change> difference(const TestCloud& a, const TestCloud& b, HostId self,
                                      Dice& dice) {
  std::vector<model::Change> out;
  const auto compare = [&out](const auto& before, const auto& after, auto make) {
    for (const auto& [id, r] : before)
      if (!after.contains(id)) out.push_back(make(id, nullptr));
    for (const auto& [id, r] : after)
      if (const auto old = before.find(id); old == before.end() || old->second != r)
        out.push_back(make(id, &r));
  };
  compare(a.hosts, b.hosts, [](HostId id, const model::Host* r) {
    return model::HostChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.bridges, b.bridges, [](BridgeId id, const model::Bridge* r) {
    return model::BridgeChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.routers, b.routers, [](RouterId id, const model::Router* r) {
    return model::RouterChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.ports, b.ports, [](PortId id, const model::Port* r) {
    return model::PortChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.routes, b.routes, [](RouteId id, const model::Route* r) {
    return model::RouteChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.bindings, b.bindings, [](PortId id, const model::Binding* r) {
    return model::BindingChange{id, r ? std::optional(*r) : std::nullopt};
  });
  compare(a.neighbours, b.neighbours, [](PortId id, const std::vector<model::Neighbour>* r) {
    return model::NeighboursChange{id, r ? *r : std::vector<model::Neighbour>()};
  });
  add_filter_changes(a, b, out);
  add_translation_changes(a, b, out);
  std::set<PortId> bound;
  for (const auto* cloud : {&a, &b})
    for (const auto& [id, binding] : cloud->bindings) bound.insert(id);
  for (PortId id : bound) out.push_back(b.local_port_change(id, self));
  for (const IpFamily family : {IpFamily::v4, IpFamily::v6})
    out.push_back(model::TunnelMtuChange{family, b.tunnel_mtu});
  dice.shuffle(out);
  return out;
}

// ---- random packets

struct Entry {
  DpPort port;
  uint32_t tunnel_key = 0;
};

Entry random_entry(const World& w, HostId self, Dice& dice) {
  std::vector<Entry> ways;
  if (dice.one_in(10)) ways.push_back({kTunnelPort, 0xdead});
  for (const auto& [id, b] : w.cloud.bindings) {
    if (b.host != self) continue;
    if (w.cloud.dp_ports.contains(id))
      for (int i = 0; i < 6; ++i) ways.push_back({w.cloud.dp_port(id), 0});
    ways.push_back({kTunnelPort, b.tunnel_key});
  }
  for (const auto& [bridge, key] : w.cloud.hosts.at(self).flood_keys)
    ways.push_back({kTunnelPort, key});
  return ways.empty() ? Entry{kTunnelPort, 0xdead} : dice.of(ways);
}

/// MACs of the routers that hear the port where the packet enters: what real packets mostly go to.
std::vector<MacAddr> gateways(const World& w, const Entry& entry) {
  std::vector<MacAddr> out;
  for (const auto& [id, number] : w.cloud.dp_ports) {
    const auto port = w.cloud.ports.find(id);
    if (DpPort{number} != entry.port || port == w.cloud.ports.end()) continue;
    if (std::holds_alternative<RouterId>(port->second.device)) out.push_back(port->second.mac);
    for (const auto& [other_id, other] : w.cloud.ports) {
      if (other.device != port->second.device || !other.peer) continue;
      if (const auto peer = w.cloud.ports.find(*other.peer); peer != w.cloud.ports.end())
        out.push_back(peer->second.mac);
    }
  }
  return out;
}

FlowKey random_key(const World& w, const Entry& entry, Dice& dice) {
  FlowKey k;
  std::vector<MacAddr> macs{kBroadcastMac, mac_of(9, 9), MacAddr{{0x01, 0x80, 0xc2, 0, 0, 0x0e}},
                            MacAddr{{0x33, 0x33, 0, 0, 0, 1}}};
  std::vector<IpAddr> v4s{v4_of(0, 255),          v4_of(5, 1),
                          v4_of(0, 77),           IpAddr::v4(0x7f000001),
                          IpAddr::v4(0xffffffff), IpAddr::v4(0xe0000001),
                          IpAddr::v4(0x08080808), IpAddr::v4(0)};
  std::vector<IpAddr> v6s{
      v6_of(0, 77),          v6_of(5, 1),   *IpAddr::parse("ff02::1"), *IpAddr::parse("fe80::9"),
      *IpAddr::parse("::1"), IpAddr::v6({})};
  for (const auto& [id, p] : w.cloud.ports) {
    macs.push_back(p.mac);
    for (const IpAddr& a : p.addresses) (a.is_v4() ? v4s : v6s).push_back(a);
    for (const IpPrefix& n : p.networks) {
      (n.addr.is_v4() ? v4s : v6s).push_back(n.addr);
      if (n.addr.is_v6()) v6s.push_back(solicited_node_of(n.addr));
    }
    if (!p.networks.empty()) v6s.push_back(link_local_of(p.mac));
  }
  k.eth_dst = dice.of(macs).bytes;
  k.eth_src = dice.of(macs).bytes;
  if (!dice.one_in(20)) k.eth_src[0] &= 0xfe;
  if (const auto near = gateways(w, entry); !near.empty() && !dice.one_in(3))
    k.eth_dst = dice.of(near).bytes;
  k.vlan_tci =
      Be16(dice.one_in(20) ? static_cast<uint16_t>(0x1000 | dice.below(0x1000)) : uint16_t{0});
  if (dice.one_in(12)) k.vlan_tci = Be16(static_cast<uint16_t>(0x1000 | random_vlan(dice)));
  if (dice.one_in(5)) {  // a question for a neighbour, as machines ask it
    std::vector<IpAddr> targets;
    for (const auto& [id, p] : w.cloud.ports) {
      targets.insert(targets.end(), p.addresses.begin(), p.addresses.end());
      for (const IpPrefix& n : p.networks) targets.push_back(n.addr);
    }
    if (targets.empty()) return k;
    const IpAddr target = dice.of(targets);
    k.eth_type = Be16(target.is_v4() ? eth_type::kArp : eth_type::kIpv6);
    k.tp_src = Be16(target.is_v4() ? uint16_t{1} : uint16_t{icmpv6_type::kNeighbourSolicit});
    IpAddr asker = target;  // most are of the same network
    asker.bytes[asker.size() - 1] = 7;
    if (dice.one_in(6)) asker = target.is_v4() ? dice.of(v4s) : dice.of(v6s);
    k.set_src_ip(asker);
    k.set_dst_ip(target.is_v4() ? target : solicited_node_of(target));
    k.eth_dst = (target.is_v4() ? kBroadcastMac : multicast_mac_of(k.dst_ip())).bytes;
    if (target.is_v4()) return k;
    k.ip_proto = ip_proto::kIcmpv6;
    k.ip_ttl = 255;
    return k;
  }
  // Few sources are forged.
  const auto source = [&](const std::vector<IpAddr>& all, const IpAddr& usual) {
    return dice.one_in(3) ? dice.of(all) : usual;
  };
  switch (dice.below(8)) {
    case 0:
      k.eth_type = Be16(eth_type::kArp);
      k.tp_src = Be16(static_cast<uint16_t>(1 + dice.below(3)));
      k.set_src_ip(dice.of(v4s));
      k.set_dst_ip(dice.of(v4s));
      return k;
    case 1:
      k.eth_type = Be16(dice.one_in(2) ? 0x88cc : 0x88b5);
      return k;
    case 2:
    case 3:
    case 4:
      k.eth_type = Be16(eth_type::kIpv6);
      k.set_src_ip(source(v6s, v6_of(static_cast<unsigned>(dice.below(4)),
                                     1 + static_cast<unsigned>(dice.below(9)))));
      k.set_dst_ip(dice.one_in(3) ? v6_of(static_cast<unsigned>(dice.below(6)),
                                          static_cast<unsigned>(dice.below(9)))
                                  : dice.of(v6s));
      break;
    default:
      k.eth_type = Be16(eth_type::kIpv4);
      k.set_src_ip(source(v4s, v4_of(static_cast<unsigned>(dice.below(4)),
                                     1 + static_cast<unsigned>(dice.below(9)))));
      k.set_dst_ip(dice.one_in(3) ? v4_of(static_cast<unsigned>(dice.below(6)),
                                          static_cast<unsigned>(dice.below(9)))
                                  : dice.of(v4s));
  }
  static const std::vector<uint8_t> kTtls{1, 2, 3, 4, 63, 64, 128, 255};
  k.ip_ttl = dice.one_in(4) ? dice.byte() : dice.of(kTtls);
  k.ip_tos = dice.byte();
  if (dice.one_in(12)) k.ip_frag = static_cast<uint8_t>(1 + dice.below(2));
  static const std::vector<uint8_t> kProtos{ip_proto::kTcp, ip_proto::kUdp, ip_proto::kIcmp,
                                            ip_proto::kIcmpv6, 50};
  k.ip_proto = dice.of(kProtos);
  static const std::vector<uint16_t> kPorts{0, 8, 128, 129, 135, 136, 80, 1024};
  k.tp_src = Be16(dice.of(kPorts));
  k.tp_dst = Be16(dice.one_in(2) ? uint16_t{0} : dice.of(kPorts));
  k.tcp_flags = dice.byte();
  return k;
}

/// What a well-behaved guest sends to another network; any key when there is no such guest.
FlowKey routed_key(const World& w, const Entry& entry, Dice& dice) {
  FlowKey k = random_key(w, entry, dice);
  const auto near = gateways(w, entry);
  if (near.empty() || !k.is_ip()) return k;
  k.eth_dst = dice.of(near).bytes;
  k.eth_src = mac_of(1, 1).bytes;
  k.vlan_tci = {};
  std::vector<IpAddr> targets;
  for (PortId id : w.vms)
    if (const auto p = w.cloud.ports.find(id); p != w.cloud.ports.end())
      for (const IpAddr& a : p->second.addresses)
        if (a.is_v4() == k.is_ipv4()) targets.push_back(a);
  const unsigned net = static_cast<unsigned>(dice.below(w.bridges.size())),
                 n = 1 + static_cast<unsigned>(dice.below(9));
  k.set_src_ip(k.is_ipv4() ? v4_of(net, n) : v6_of(net, n));
  if (!targets.empty() && !dice.one_in(4)) k.set_dst_ip(dice.of(targets));
  if (k.ip_ttl < 2) k.ip_ttl = 3;
  return k;
}

/// A frame whose key is `k`, as far as frames go; parsing it tells.
Frame frame_of(const FlowKey& k, Dice& dice) {
  Frame f;
  const bool tagged = (k.vlan_tci.host() & 0x1000) != 0;
  if (!k.is_ip()) {
    f.insert(f.end(), k.eth_dst.begin(), k.eth_dst.end());
    f.insert(f.end(), k.eth_src.begin(), k.eth_src.end());
    f.insert(f.end(), k.eth_type.bytes.begin(), k.eth_type.bytes.end());
    std::vector<uint8_t> body(46);
    if (k.is_arp()) {
      put_be16(body, 0, 1);
      put_be16(body, 2, eth_type::kIpv4);
      body[4] = 6;
      body[5] = 4;
      put_bytes(body, 6, k.tp_src.bytes);
      put_bytes(body, 8, k.eth_src);
      put_bytes(body, 14, std::span(k.nw).first(4));
      put_bytes(body, 24, std::span(k.nw).subspan(4, 4));
    }
    f.insert(f.end(), body.begin(), body.end());
    return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
  }
  const auto fragment = static_cast<FragKind>(k.ip_frag);
  std::vector<uint8_t> message(24 + 8 * dice.below(5));
  for (uint8_t& b : message) b = dice.byte();
  put_bytes(message, 0, k.tp_src.bytes);
  put_bytes(message, 2, k.tp_dst.bytes);
  const bool icmp = k.ip_proto == (k.is_ipv4() ? ip_proto::kIcmp : ip_proto::kIcmpv6);
  if (icmp) {
    message[0] = static_cast<uint8_t>(k.tp_src.host());
    message[1] = static_cast<uint8_t>(k.tp_dst.host());
  }
  if (k.ip_proto == ip_proto::kTcp) {
    message[12] = 0x50;
    message[13] = k.tcp_flags;
  }
  PacketSpec spec{.eth_src = k.src_mac(),
                  .eth_dst = k.dst_mac(),
                  .src = k.src_ip(),
                  .dst = k.dst_ip(),
                  .ttl = k.ip_ttl,
                  .tos = k.ip_tos,
                  .vlan_tci = {}};
  if (k.is_ipv6() && icmp && message[0] == icmpv6_type::kNeighbourSolicit && !dice.one_in(4)) {
    // A whole one, for an address that fits where it goes to; sometimes for another of that group.
    IpAddr target = spec.dst;
    if (target.is_multicast()) {
      target = v6_of(dice.one_in(4) ? static_cast<unsigned>(dice.below(4)) : spec.src.bytes[7],
                     spec.dst.bytes[15]);
      for (size_t b = 13; b < 16; ++b) target.bytes[b] = spec.dst.bytes[b];
    }
    f = nd_solicit(spec.eth_src, spec.src, target);
    put_bytes(f, 0, spec.eth_dst.bytes);
    put_bytes(f, 14 + 24, spec.dst.bytes);
    put_be16(f, 14, static_cast<uint16_t>(0x6000 | spec.tos << 4));
    complete_checksum(parse_packet(f), f);
    return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
  }
  if (k.is_ipv4()) {
    f = ip_packet(spec, k.ip_proto, message);
    if (fragment != FragKind::none)
      put_be16(f, 14 + 6, fragment == FragKind::first ? 0x2000 : 0x0010);
  } else if (fragment != FragKind::none) {
    std::vector<uint8_t> with_header(8);
    with_header[0] = k.ip_proto;
    put_be16(with_header, 2, fragment == FragKind::first ? 0x0001 : 0x0080);
    with_header.insert(with_header.end(), message.begin(), message.end());
    f = ip_packet(spec, 44, with_header);
  } else {
    f = ip_packet(spec, k.ip_proto, message);
  }
  return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
}

bool same_answer(const Outcome& a, const Outcome& b) {
  return a.verdict == b.verdict && a.reason == b.reason && a.actions == b.actions &&
         a.cacheable == b.cacheable && a.generated == b.generated && a.writes == b.writes &&
         a.missing == b.missing && a.tell == b.tell &&
         a.begins.has_value() == b.begins.has_value() &&
         (!a.begins || a.begins->record == b.begins->record) &&
         a.belongs.has_value() == b.belongs.has_value() &&
         (!a.belongs ||
          (a.belongs->number == b.belongs->number && a.belongs->direction == b.belongs->direction &&
           a.belongs->segment == b.belongs->segment));
}

/// An answer to a packet of a known connection that ends at a port of this host; nothing when there is none such.
std::optional<std::pair<Entry, FlowKey>> answer_key(const World& w,
                                                    const state::ConnectionTable& table,
                                                    HostId self, Dice& dice) {
  std::vector<state::Connection> known;
  table.for_each([&](state::ConnectionNumber, const state::Connection& c) {
    const auto b = w.cloud.bindings.find(c.reply_port);
    if (b != w.cloud.bindings.end() && b->second.host == self) known.push_back(c);
  });
  if (known.empty()) return std::nullopt;
  const state::Connection& c = dice.of(known);
  const state::Tuple t =
      c.entering(dice.one_in(5) ? state::Direction::original : state::Direction::reply);
  const Entry entry{w.cloud.dp_port(c.reply_port), 0};
  FlowKey k = random_key(w, entry, dice);
  if (const auto near = gateways(w, entry); !near.empty() && dice.one_in(2))
    k.eth_dst = dice.of(near).bytes;
  else if (const auto port = w.cloud.ports.find(c.port); port != w.cloud.ports.end())
    k.eth_dst = port->second.mac.bytes;
  k.eth_src[0] &= 0xfe;
  k.eth_type = Be16(t.src.is_v4() ? eth_type::kIpv4 : eth_type::kIpv6);
  k.vlan_tci = {};
  k.nw = {};
  k.set_src_ip(t.src);
  k.set_dst_ip(t.dst);
  k.ip_frag = 0;
  k.ip_ttl = 64;
  k.ip_proto = t.protocol;
  if (state::has_ports(t.protocol)) {
    k.tp_src = Be16(t.src_port);
    k.tp_dst = Be16(t.dst_port);
    k.tcp_flags = dice.one_in(4) ? dice.byte() : uint8_t{16};
  } else {
    k.tp_dst = {};
  }
  return std::pair(entry, k);
}

std::string describe(const Outcome& o) {
  return std::string(to_string(o.verdict)) + " " + std::string(to_string(o.reason)) + " " +
         format(o.actions) + (o.cacheable ? " cacheable" : "") + " generated " +
         std::to_string(o.generated.size());
}

// ---- the properties

/// A chain at every machine that has none looks at the connection, and decides nothing.
void track_at_machines(TestCloud& cloud) {
  const ChainId chain = cloud.chain("looks");
  cloud.rule("looks", chain, 1, model::RuleAction::continue_).connection = 1;
  for (auto& [id, port] : cloud.ports)
    if (!port.peer && !port.in_chain) port.in_chain = chain;
}

TEST(Property, EveryPacketOfAClassGetsItsAnswer) {
  size_t classes = 0, members = 0, packets = 0, routed = 0, larger = 0, limited = 0;
  size_t answered[2] = {}, tagged = 0, marked = 0, copied = 0, begun = 0, replies = 0;
  for (uint64_t seed : seeds(100)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed);
    World w = random_world(dice);
    if (dice.one_in(4)) track_at_machines(w.cloud);
    const HostId self = w.hosts[0];
    const auto snapshot = w.cloud.snapshot(self);
    state::ConnectionTable table({});
    const ConnectionView view{
        &table, dice.one_in(2) ? state::Midstream::refuse : state::Midstream::take_up};
    const MonoTime now = MonoTime{} + std::chrono::seconds(100);
    for (int i = 0; i < 200; ++i) {
      Entry entry = random_entry(w, self, dice);
      FlowKey key = dice.one_in(3) ? routed_key(w, entry, dice) : random_key(w, entry, dice);
      if (dice.one_in(4))
        if (const auto answer = answer_key(w, table, self, dice)) std::tie(entry, key) = *answer;
      const Frame frame = frame_of(key, dice);
      const Packet packet = packet_of(frame, entry.port, entry.tunnel_key);
      ASSERT_EQ(packet.parsed.error, ParseError::none) << format_frame(frame);
      Outcome o;
      simulate(packet, *snapshot, view, now, o);
      ++packets;
      routed += std::any_of(o.actions.copies.begin(), o.actions.copies.end(),
                            [](const Copy& c) { return c.rewrite.ttl_decrement > 0; });
      for (const Copy& c : o.actions.copies) {
        tagged += o.cacheable && (c.rewrite.pop_vlan || c.rewrite.push_vlan);
        marked += o.cacheable && c.rewrite.dscp.has_value();
      }
      Trace trace;
      Outcome traced;
      simulate(packet, *snapshot, view, now, traced, &trace);
      ASSERT_TRUE(same_answer(o, traced)) << "a trace changes nothing";
      ASSERT_FALSE(o.verdict != Verdict::forward && o.verdict != Verdict::consumed &&
                   (o.begins || o.belongs || !o.tell.empty()));
      ASSERT_FALSE(o.begins && o.belongs);
      ASSERT_TRUE(!o.begins || state::is_sound(o.begins->record));
      if (o.begins) ++begun;
      if (o.belongs && o.belongs->direction == state::Direction::reply) ++replies;
      ASSERT_EQ(o.verdict == Verdict::forward, !o.actions.drops());
      ASSERT_EQ(o.verdict == Verdict::drop, o.reason != DropReason::none);
      ASSERT_EQ(o.verdict == Verdict::postpone, !o.missing.empty());
      if (o.verdict == Verdict::consumed || o.verdict == Verdict::postpone ||
          !o.generated.empty() || !o.writes.empty()) {
        ASSERT_FALSE(o.cacheable);
      }
      if (entry.port == kTunnelPort) {
        for (const Copy& c : o.actions.copies)
          ASSERT_TRUE(std::holds_alternative<LocalOutput>(c.output)) << trace.text();
        ASSERT_TRUE(o.generated.empty() && o.writes.empty());
      }
      // Last of all, as a worker would; members below are of the table as it was.
      const auto act = [&] {
        if (o.begins) (void)table.commit(o.begins->record, now);
        if (o.belongs && !o.belongs->error)
          (void)table.saw(o.belongs->number, o.belongs->direction, o.belongs->segment, now);
      };
      if (!o.cacheable) {
        act();
        continue;
      }
      ++classes;
      copied += trace.text().find(" copies what ") != std::string::npos;
      limited += o.actions.mtu != 0;
      ASSERT_TRUE(fits(o.actions, packet.parsed, frame, 0)) << trace.text();
      if (const NeighbourAnswer* a = o.actions.answer()) ++answered[a->target.is_v6()];
      const Match match = match_of(packet.key, o.mask);
      for (int j = 0; j < 32; ++j) {
        // Outside the mask anything: values that mean something, or noise.
        FlowKey other = random_key(w, entry, dice);
        if (dice.one_in(4))
          for (uint8_t& b : other.nw) b = dice.byte();
        if (dice.one_in(4)) other.ip_ttl = dice.byte();
        auto bytes = other.bytes();
        for (size_t b = 0; b < bytes.size(); ++b)
          bytes[b] = static_cast<uint8_t>((bytes[b] & ~o.mask.bytes()[b]) |
                                          (packet.key.bytes()[b] & o.mask.bytes()[b]));
        const Frame variant = frame_of(other, dice);
        const Packet member = packet_of(variant, entry.port, entry.tunnel_key);
        if (member.parsed.error != ParseError::none || !match.covers(member.key)) continue;
        if (!fits(o.actions, member.parsed, variant, 0)) {
          ++larger;
          continue;
        }
        ++members;
        Outcome answer;
        simulate(member, *snapshot, view, now, answer);
        ASSERT_TRUE(same_answer(o, answer))
            << "class:  " << format(match) << "\nfirst:  " << format_frame(frame) << "\n        "
            << describe(o) << "\nmember: " << format_frame(variant) << "\n        "
            << describe(answer) << "\n"
            << trace.text();
        // The same class, too: flows are equal or apart. Only TTL classes may overlap.
        answer.mask.ip_ttl = o.mask.ip_ttl;
        ASSERT_EQ(answer.mask, o.mask) << format(match) << "\n"
                                       << format(match_of(member.key, answer.mask));
      }
      act();
    }
  }
  std::printf("%zu packets (%zu routed), %zu classes, %zu members checked\n", packets, routed,
              classes, members);
  std::printf("%zu ARP requests and %zu solicitations answered by a class\n", answered[0],
              answered[1]);
  std::printf("%zu classes with mirrors; %zu copies tagged or untagged, %zu marked\n", copied,
              tagged, marked);
  EXPECT_GT(copied, classes / 200);
  EXPECT_GT(tagged, classes / 200);
  EXPECT_GT(marked, classes / 200);
  std::printf("%zu connections begun, %zu answers of some\n", begun, replies);
  EXPECT_GT(begun, 100u);
  EXPECT_GT(replies, 30u);
  EXPECT_GT(answered[0], 5u);
  EXPECT_GT(answered[1], 5u);
  EXPECT_GT(classes, packets / 4);
  EXPECT_GT(routed, packets / 50);
  EXPECT_GT(members, classes * 16) << "too few of the random members were in their class";
  EXPECT_GT(limited, classes / 1000);
  EXPECT_GT(larger, limited) << "too few were too large for their class";
}

TEST(Property, IncrementalEqualsRecomputedAndTagsFindEveryChange) {
  size_t changed = 0, answers = 0, hits = 0, dependents = 0;
  for (uint64_t seed : seeds(100)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 1000000);
    World w = random_world(dice);
    const HostId self = w.hosts[0];
    model::Topology topology(self);
    topology.apply(w.cloud.changes(self));

    struct Question {
      Entry entry;
      Frame frame;
    };
    for (int step = 0; step < 20; ++step) {
      std::vector<Question> questions;
      for (int i = 0; i < 20; ++i) {
        const Entry entry = random_entry(w, self, dice);
        questions.push_back({entry, frame_of(dice.one_in(3) ? random_key(w, entry, dice)
                                                            : routed_key(w, entry, dice),
                                             dice)});
      }
      std::vector<Outcome> before;
      const auto old = topology.snapshot();
      for (const Question& q : questions)
        before.push_back(simulate(packet_of(q.frame, q.entry.port, q.entry.tunnel_key), *old, {}));

      const TestCloud was = w.cloud;
      for (uint64_t n = 1 + dice.below(2); n > 0; --n) mutate(w, dice);
      const model::Delta delta = topology.apply(difference(was, w.cloud, self, dice));
      const auto tags = tags_of(delta);
      const auto now = topology.snapshot();
      const auto scratch = w.cloud.snapshot(self);
      for (size_t i = 0; i < questions.size(); ++i) {
        const Question& q = questions[i];
        const Packet packet = packet_of(q.frame, q.entry.port, q.entry.tunnel_key);
        const Outcome after = simulate(packet, *now, {}),
                      recomputed = simulate(packet, *scratch, {});
        ASSERT_TRUE(same_answer(after, recomputed))
            << format_frame(q.frame) << "\nincremental: " << describe(after)
            << "\nrecomputed:  " << describe(recomputed);
        ASSERT_EQ(after.mask, recomputed.mask);
        ++answers;
        if (!before[i].cacheable) continue;
        const Match match = match_of(packet.key, before[i].mask);
        const bool hit = std::any_of(tags.begin(), tags.end(), [&](const TagChange& t) {
          return std::any_of(before[i].dependencies.begin(), before[i].dependencies.end(),
                             [&](const Dependency& d) {
                               return d.tag == t.tag &&
                                      (!t.region || d.rewritten || t.region->meets(match));
                             });
        });
        if (hit) ++hits;
        // A flow that stays must be right for its packet, and stay a class of the same bits.
        if (same_answer(before[i], after) && before[i].mask == after.mask) continue;
        ++changed;
        if (same_answer(before[i], after)) continue;  // other bits decide now, for the same answer
        ++dependents;
        ASSERT_TRUE(hit) << format_frame(q.frame) << "\nbefore: " << describe(before[i])
                         << "\nafter:  " << describe(after);
      }
    }
  }
  std::printf("%zu answers, %zu changed, %zu of them otherwise; %zu flows would have gone\n",
              answers, changed, dependents, hits);
  EXPECT_GT(dependents, answers / 200);
}

/// Where the copies arrive in the end: ports, whatever host they are at.
std::vector<std::pair<std::string, PortId>> arrivals(const Outcome& o, const World& w,
                                                     const model::Snapshot& at, const Frame& sent) {
  std::vector<std::pair<std::string, PortId>> out;
  for (const Copy& copy : o.actions.copies) {
    const std::string rewrite = format(Actions{{Copy{copy.rewrite, LocalOutput{}}}});
    if (const auto* local = std::get_if<LocalOutput>(&copy.output)) {
      out.emplace_back(rewrite, *at.local_port(local->port));
      continue;
    }
    if (const auto* answer = std::get_if<NeighbourAnswer>(&copy.output)) {
      out.emplace_back(format(Actions{{Copy{copy.rewrite, *answer}}}), PortId{});
      continue;
    }
    const auto& tunnel = std::get<TunnelOutput>(copy.output);
    for (const auto& [id, host] : w.cloud.hosts) {
      if (std::find(host.tunnel_addresses.begin(), host.tunnel_addresses.end(), tunnel.remote) ==
          host.tunnel_addresses.end())
        continue;
      const auto there = w.cloud.snapshot(id);
      Frame frame = sent;
      if (!copy.rewrite.empty()) frame = rewritten(copy.rewrite, parse_packet(sent), sent);
      const Outcome egress = simulate(packet_of(frame, kTunnelPort, tunnel.key), *there, {});
      for (const Copy& c : egress.actions.copies)
        out.emplace_back(rewrite, *there->local_port(std::get<LocalOutput>(c.output).port));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(Property, ItDoesNotMatterWhereAPortIs) {
  size_t compared = 0, forwarded = 0;
  for (uint64_t seed : seeds(60)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 2000000);
    World w = random_world(dice);
    // All hosts can be reached, by packets of any size, or where a port is does matter.
    w.cloud.tunnel_mtu = 0;
    for (unsigned i = 0; i < w.hosts.size(); ++i) {
      auto& h = w.cloud.hosts[w.hosts[i]];
      h.tunnel_addresses = {IpAddr::v4(0xc0000201u + i)};
      h.flood_keys.clear();
      for (unsigned b = 0; b < w.bridges.size(); ++b)
        h.flood_keys.emplace_back(w.bridges[b], 0x9000u + b);
    }
    // Where flooded copies are filtered depends on it, and there nobody knows by which port they came.
    const bool filtered = !w.cloud.chains.empty();
    for (auto& [id, rule] : w.cloud.rules) {
      rule.in_port.reset();
      rule.in_port_group.reset();
      rule.through_bridge.reset();
      rule.through_router.reset();
    }
    // Nor where the last stage of a flood is copied; and a sub-port is where its parent is.
    w.cloud.mirrors.clear();
    std::erase_if(w.cloud.bindings,
                  [&](const auto& b) { return !w.cloud.dp_ports.contains(b.first); });
    std::erase_if(w.cloud.ports, [](const auto& p) { return p.second.parent.has_value(); });
    std::vector<PortId> active;
    for (PortId id : w.vms)
      if (w.cloud.bindings.contains(id) && w.cloud.bindings[id].active) active.push_back(id);
    if (active.empty()) continue;
    for (int i = 0; i < 20; ++i) {
      const PortId from = dice.of(active);
      const Entry entry{w.cloud.dp_port(from)};
      const Frame frame =
          frame_of(dice.one_in(2) ? routed_key(w, entry, dice) : random_key(w, entry, dice), dice);
      World here = w, there = w;
      here.cloud.bind(from, w.hosts[0]);
      there.cloud.bind(from, w.hosts[1]);
      const auto at_here = here.cloud.snapshot(w.hosts[0]),
                 at_there = there.cloud.snapshot(w.hosts[1]);
      Trace trace;
      const Outcome a = simulate(packet_of(frame, here.cloud.dp_port(from)), *at_here, {}, &trace);
      const Outcome b = simulate(packet_of(frame, there.cloud.dp_port(from)), *at_there, {});
      ++compared;
      forwarded += a.verdict == Verdict::forward;
      if (!filtered) {
        ASSERT_EQ(a.verdict, b.verdict) << trace.text();
        ASSERT_EQ(to_string(a.reason), to_string(b.reason)) << trace.text();
        ASSERT_EQ(a.mask, b.mask);
        // Nor whether a question has been dropped before it reaches anybody.
        ASSERT_EQ(a.missing, b.missing) << trace.text();
      }
      ASSERT_EQ(a.writes, b.writes);
      ASSERT_EQ(arrivals(a, here, *at_here, frame), arrivals(b, there, *at_there, frame))
          << trace.text();
    }
  }
  std::printf("%zu packets compared, %zu forwarded\n", compared, forwarded);
  EXPECT_GT(forwarded, compared / 10);
}

TEST(Property, NoiseNeverHurts) {
  for (uint64_t seed : seeds(20)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 3000000);
    const World w = random_world(dice);
    const auto snapshot = w.cloud.snapshot(w.hosts[0]);
    for (int i = 0; i < 500; ++i) {
      const Entry entry = random_entry(w, w.hosts[0], dice);
      Frame frame = frame_of(random_key(w, entry, dice), dice);
      for (uint64_t n = dice.below(4); n > 0; --n) frame[dice.below(frame.size())] = dice.byte();
      if (dice.one_in(3)) frame.resize(dice.below(frame.size() + 1));
      frame.shrink_to_fit();
      Trace trace;
      const Packet packet = packet_of(frame, entry.port, entry.tunnel_key);
      const Outcome o = simulate(packet, *snapshot, {}, &trace);
      if (packet.parsed.error != ParseError::none) {
        ASSERT_EQ(o.verdict, Verdict::drop);
        ASSERT_EQ(o.reason, drop_reason_of(packet.parsed.error));
        ASSERT_FALSE(o.cacheable);
      }
      ASSERT_FALSE(trace.text().empty());
    }
  }
}

}  // namespace
}  // namespace plexus::sim
