// SPDX-License-Identifier: Apache-2.0
// Random clouds, some of them broken, for tests of what must hold in all of them. Not part of the product.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "sim/test_cloud.h"
#include "sim/test_filters.h"
#include "sim/test_services.h"
#include "sim/test_translations.h"

namespace plexus::sim {

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

inline std::vector<uint64_t> seeds(uint64_t count) {
  if (const char* one = std::getenv("PLEXUS_SEED")) return {std::strtoull(one, nullptr, 10)};
  const char* times = std::getenv("PLEXUS_TEST_TIMES");
  if (times != nullptr) count *= std::max<uint64_t>(1, std::strtoull(times, nullptr, 10));
  std::vector<uint64_t> all;
  for (uint64_t i = 1; i <= count; ++i) all.push_back(i);
  return all;
}

// ---- random clouds

inline MacAddr mac_of(unsigned kind, unsigned n) {
  return {{2, 0, 0, 0, static_cast<uint8_t>(kind), static_cast<uint8_t>(n)}};
}
inline IpAddr v4_of(unsigned net, unsigned n) {
  return IpAddr::v4(0x0a000000u | net << 8 | n);
}
inline IpAddr v6_of(unsigned net, unsigned n) {
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

inline void add_vm(World& w, Dice& dice) {
  const unsigned net = static_cast<unsigned>(dice.below(w.bridges.size())),
                 n = 1 + static_cast<unsigned>(dice.below(6));
  const std::string mac = dice.one_in(8) ? "" : mac_of(1, net * 8 + n).str();
  std::vector<std::string> addresses;
  if (!dice.one_in(4)) addresses = {v4_of(net, n).str(), v6_of(net, n).str()};
  const PortId id = w.cloud.bridge_port(w.name("vm"), w.bridges[net], mac, addresses);
  if (!dice.one_in(10)) w.cloud.bind(id, dice.of(w.hosts));
  w.vms.push_back(id);
}

inline void add_router_port(World& w, Dice& dice, RouterId router, unsigned net) {
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

inline void add_route(World& w, Dice& dice) {
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
inline uint32_t random_mtu(Dice& dice) {
  static const std::vector<uint32_t> kMtus{0, 0, 0, 48, 64, 80, 100, 1500, 70'000};
  return dice.of(kMtus);
}

/// Changes one thing, sometimes for the worse.
inline void mutate(World& w, Dice& dice) {
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

inline World random_world(Dice& dice) {
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

}  // namespace plexus::sim
