// SPDX-License-Identifier: Apache-2.0
// The derived tables are sums over ports: each port has effects (its MACs, its addresses, its place in the flood
// set, its networks), which depend on its own record, its peer's, its binding and its interface. A change takes the
// old effects of the ports it touches out and puts the new ones in, so it never looks at any other port.
#include "model/topology.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "model/sorted_lists.h"

namespace plexus::model {
namespace {

template <typename T>
void sort_unique(std::vector<T>& v) {
  std::sort(v.begin(), v.end());
  v.erase(std::unique(v.begin(), v.end()), v.end());
}

template <typename List>
void insert_sorted(List& v, const typename List::value_type& value) {
  const auto at = std::lower_bound(v.begin(), v.end(), value);
  if (at == v.end() || *at != value) v.insert(at, value);
}

template <typename List>
void erase_sorted(List& v, const typename List::value_type& value) {
  const auto at = std::lower_bound(v.begin(), v.end(), value);
  if (at != v.end() && *at == value) v.erase(at);
}

/// Adds to or removes from the sorted values under `key`; an empty list is no entry.
template <typename Key, typename List>
void change_list(CowTable<Key, List>& table, const Key& key, const typename List::value_type& value,
                 bool add) {
  const List* old = table.find(key);
  List now;
  if (old != nullptr) now.assign(old->begin(), old->end());
  if (add)
    insert_sorted(now, value);
  else
    erase_sorted(now, value);
  if (now.empty())
    table.erase(key);
  else
    table.set(key, now);
}

/// The same for a shared list that is null when empty.
template <typename T>
void change_shared(std::shared_ptr<const std::vector<T>>& list, const T& value, bool add) {
  auto now = list ? std::make_shared<std::vector<T>>(*list) : std::make_shared<std::vector<T>>();
  if (add)
    insert_sorted(*now, value);
  else
    erase_sorted(*now, value);
  list = now->empty() ? nullptr : std::move(now);
}

/// True when the host came or went, not only its count changed.
bool count_host(std::vector<std::pair<HostId, uint32_t>>& hosts, HostId id, bool add) {
  const auto at = std::lower_bound(hosts.begin(), hosts.end(), id,
                                   [](const auto& e, HostId h) { return e.first < h; });
  if (at != hosts.end() && at->first == id) {
    at->second = add ? at->second + 1 : at->second - 1;
    if (at->second > 0) return false;
    hosts.erase(at);
  } else if (add) {
    hosts.insert(at, {id, 1});
  }
  return true;
}

/// The fields of a port that packets can notice on the way through it. Its addresses show in other tables.
auto visible(const Port& p) {
  return std::tie(p.admin_up, p.unreadable, p.device, p.peer, p.migrating_to, p.mac, p.networks,
                  p.mtu, p.advertising, p.in_chain, p.out_chain, p.security_groups, p.port_groups,
                  p.port_security, p.allowed_pairs, p.dscp, p.parent, p.vlan, p.dhcp_options,
                  p.outside, p.storm_limit);
}
bool same_to_packets(const Port& a, const Port& b) {
  return visible(a) == visible(b) && (!a.port_security || a.addresses == b.addresses);
}

RouteEntry entry_of(const Route& r) {
  return {.id = r.id,
          .kind = r.kind,
          .port = r.port,
          .next_hop = r.next_hop,
          .metric = r.metric,
          .weight = r.weight,
          .source = r.source.length == 0 ? IpPrefix{} : r.source.network(),
          .unreadable = r.unreadable};
}

RouteEntry connected_entry(PortId port) {
  RouteEntry e;
  e.port = port;
  return e;
}

}  // namespace

/// What one port adds to the tables of its device. Lists sorted.
struct Topology::PortEffects {
  enum class Flood : uint8_t { none, link, local, remote };

  std::optional<BridgeId> bridge;
  std::vector<MacAddr> macs;
  std::vector<std::pair<IpAddr, MacAddr>> addresses;
  std::vector<LearnedMac> learned;
  Flood flood = Flood::none;
  HostId host;  ///< when remote

  std::optional<RouterId> router;
  std::vector<IpPrefix> networks;
};

bool Delta::empty() const {
  return *this == Delta{};
}

Topology::Topology(HostId self) : state_(self) {}

std::shared_ptr<const Snapshot> Topology::snapshot() const {
  if (!published_) published_ = std::make_shared<const Snapshot>(state_);
  return published_;
}

Delta Topology::apply(std::span<const Change> changes) {
  Delta delta;
  if (changes.empty()) return delta;
  published_.reset();
  for (const Change& c : changes) apply_one(c, delta);
  choose_serving(delta);
  sort_unique(delta.bridges);
  sort_unique(delta.macs);
  sort_unique(delta.addresses);
  sort_unique(delta.floods);
  sort_unique(delta.routers);
  sort_unique(delta.routes);
  sort_unique(delta.router_addresses);
  sort_unique(delta.ports);
  sort_unique(delta.neighbours);
  sort_unique(delta.tunnel_keys);
  sort_unique(delta.hosts);
  sort_unique(delta.learning);
  sort_unique(delta.chains);
  sort_unique(delta.asking_chains);
  sort_unique(delta.rules);
  sort_unique(delta.security_groups);
  sort_unique(delta.security_rules);
  sort_unique(delta.address_groups);
  sort_unique(delta.group_prefixes);
  sort_unique(delta.members);
  sort_unique(delta.port_groups);
  sort_unique(delta.translations);
  sort_unique(delta.translation_kinds);
  sort_unique(delta.snat_pools);
  sort_unique(delta.load_balancers);
  sort_unique(delta.pools);
  sort_unique(delta.serving);
  sort_unique(delta.pool_members);
  sort_unique(delta.dhcp);
  sort_unique(delta.mirrors);
  sort_unique(delta.trace_requests);
  return delta;
}

void Topology::apply_one(const Change& c, Delta& delta) {
  std::visit([&](const auto& one) { change(one, delta); }, c);
}

void Topology::change(const BridgeChange& c, Delta& delta) {
  const Bridge* old = state_.bridge(c.id);
  const bool same =
      c.now ? old != nullptr && old->admin_up == c.now->admin_up &&
                  old->unreadable == c.now->unreadable && old->learning == c.now->learning &&
                  old->in_chain == c.now->in_chain && old->out_chain == c.now->out_chain &&
                  old->dscp == c.now->dscp && old->forward_bpdu == c.now->forward_bpdu &&
                  old->forward_lldp == c.now->forward_lldp && old->storm_limit == c.now->storm_limit
            : old == nullptr;
  if (!same) delta.bridges.push_back(c.id);
  if (c.now)
    state_.bridges_.set(c.id, *c.now);
  else
    state_.bridges_.erase(c.id);
}

void Topology::change(const RouterChange& c, Delta& delta) {
  const Router* old = state_.router(c.id);
  const bool same =
      c.now ? old != nullptr && old->admin_up == c.now->admin_up &&
                  old->unreadable == c.now->unreadable && old->icmp_rate == c.now->icmp_rate &&
                  old->in_chain == c.now->in_chain && old->out_chain == c.now->out_chain &&
                  old->drop_fragments == c.now->drop_fragments
            : old == nullptr;
  if (!same) delta.routers.push_back(c.id);
  if (c.now)
    state_.routers_.set(c.id, *c.now);
  else
    state_.routers_.erase(c.id);
}

void Topology::change(const PortChange& c, Delta& delta) {
  const Port* old = state_.port(c.id);
  const bool same = c.now ? old != nullptr && same_to_packets(*old, *c.now) : old == nullptr;
  if (!same) delta.ports.push_back(c.id);

  // The port itself, and whoever is or was at the other end.
  std::vector<PortId> touched{c.id};
  if (old != nullptr && old->peer) touched.push_back(*old->peer);
  if (c.now && c.now->peer) touched.push_back(*c.now->peer);
  // And those that are here with it, or share a parent: which of them has a tag.
  add_sub_ports(c.id, touched);
  if (old != nullptr && old->parent) add_sub_ports(*old->parent, touched);
  if (c.now && c.now->parent) add_sub_ports(*c.now->parent, touched);
  sort_unique(touched);
  std::vector<PortEffects> before;
  before.reserve(touched.size());
  for (PortId id : touched) before.push_back(effects_of(id));
  const auto list_at_parent = [&](const Port& port, bool add) {
    if (!port.parent) return;
    change_list(state_.sub_ports_, *port.parent, SubPort{port.vlan, c.id}, add);
    delta.ports.push_back(*port.parent);  // another port has the tag, or none
  };
  const bool moved = old == nullptr || !c.now ||
                     std::tie(old->parent, old->vlan) != std::tie(c.now->parent, c.now->vlan);
  if (moved && old != nullptr) list_at_parent(*old, false);
  if (moved && c.now) list_at_parent(*c.now, true);

  const bool advertised =
      old != nullptr && old->advertising && std::holds_alternative<RouterId>(old->device);
  bool advertises = false;
  if (c.now) {
    Port now = *c.now;
    now.id = c.id;
    advertises = now.advertising && std::holds_alternative<RouterId>(now.device);
    state_.ports_.set(c.id, std::move(now));
  } else {
    state_.ports_.erase(c.id);
  }
  if (advertised != advertises) change_shared(state_.advertising_, c.id, advertises);
  for (size_t i = 0; i < touched.size(); ++i) replace_effects(touched[i], before[i], delta);
}

void Topology::change(const RouteChange& c, Delta& delta) {
  const auto put = [&](const Route& r, bool add) {
    const Snapshot::RouterTables* old = state_.router_tables_.find(r.router);
    Snapshot::RouterTables tables = old != nullptr ? *old : Snapshot::RouterTables();
    if (r.destination.addr.is_none()) {
      // A readable route has a destination. What cannot be read must stop the whole router: it may concern any packet.
      if (!r.unreadable) return;
      change_shared(tables.unreadable, r.id, add);
      delta.routers.push_back(r.router);
    } else {
      const IpPrefix prefix = r.destination.network();
      if (add) {
        tables.ways.add(prefix, entry_of(r));
        ++tables.way_count;
      } else if (tables.ways.remove(prefix, entry_of(r))) {
        --tables.way_count;
      }
      // What cannot be read stands above all others to its destination.
      delta.routes.push_back({r.router, prefix, r.unreadable ? IpPrefix{} : entry_of(r).source});
    }
    if (tables.empty())
      state_.router_tables_.erase(r.router);
    else
      state_.router_tables_.set(r.router, std::move(tables));
  };
  const Route* old = state_.route(c.id);
  std::optional<Route> now = c.now;
  if (now) now->id = c.id;
  const bool same = old != nullptr && now &&
                    std::tie(old->router, old->destination, old->source, old->kind, old->port,
                             old->next_hop, old->metric, old->weight, old->unreadable) ==
                        std::tie(now->router, now->destination, now->source, now->kind, now->port,
                                 now->next_hop, now->metric, now->weight, now->unreadable);
  if (!same && old != nullptr) put(Route(*old), false);
  if (!same && now) put(*now, true);
  if (now)
    state_.routes_.set(c.id, *now);
  else
    state_.routes_.erase(c.id);
}

void Topology::change(const BindingChange& c, Delta& delta) {
  const Binding* found = state_.binding(c.id);
  const std::optional<Binding> old = found != nullptr ? std::optional(*found) : std::nullopt;
  const bool same = old && c.now ? std::tie(old->host, old->tunnel_key, old->active) ==
                                       std::tie(c.now->host, c.now->tunnel_key, c.now->active)
                                 : !old && !c.now;
  if (!same) delta.ports.push_back(c.id);

  const auto before = effects_around(c.id);
  if (c.now) {
    Binding now = *c.now;
    now.port = c.id;
    state_.bindings_.set(c.id, now);
  } else {
    state_.bindings_.erase(c.id);
  }
  for (const auto& [id, effects] : before) replace_effects(id, effects, delta);
  if (same) return;
  if (old && old->host == state_.self_) remove_key(old->tunnel_key, c.id, delta);
  if (c.now && c.now->host == state_.self_) add_key(c.now->tunnel_key, c.id, delta);
}

void Topology::change(const HostChange& c, Delta& delta) {
  const Host* found = state_.host(c.id);
  const std::optional<Host> old = found != nullptr ? std::optional(*found) : std::nullopt;
  std::optional<Host> now = c.now;
  if (now) std::sort(now->flood_keys.begin(), now->flood_keys.end());  // lookups rely on it
  const bool same = old && now ? std::tie(old->fenced, old->tunnel_addresses, old->flood_keys) ==
                                     std::tie(now->fenced, now->tunnel_addresses, now->flood_keys)
                               : !old && !now;
  if (!same) delta.hosts.push_back(c.id);
  if (now)
    state_.hosts_.set(c.id, *now);
  else
    state_.hosts_.erase(c.id);
  if (same || c.id != state_.self_) return;
  if (old)
    for (const auto& [bridge, key] : old->flood_keys) remove_key(key, bridge, delta);
  if (now)
    for (const auto& [bridge, key] : now->flood_keys) add_key(key, bridge, delta);
}

void Topology::change(const NeighboursChange& c, Delta& delta) {
  const auto by_address = [](const Neighbour& a, const Neighbour& b) {
    return a.address < b.address;
  };
  std::vector<Neighbour> now = c.now;
  for (Neighbour& n : now) n.port = c.port;
  std::stable_sort(now.begin(), now.end(), by_address);
  now.erase(
      std::unique(now.begin(), now.end(),
                  [](const Neighbour& a, const Neighbour& b) { return a.address == b.address; }),
      now.end());

  const auto old = state_.neighbours(c.port);
  for (const Neighbour& n : old) {
    const auto at = std::lower_bound(now.begin(), now.end(), n, by_address);
    if (at == now.end() || *at != n) delta.neighbours.emplace_back(c.port, n.address);
  }
  for (const Neighbour& n : now)
    if (!state_.neighbour(c.port, n.address)) delta.neighbours.emplace_back(c.port, n.address);
  if (now.empty())
    state_.neighbours_.erase(c.port);
  else
    state_.neighbours_.set(c.port, std::move(now));
}

void Topology::change(const LocalPortChange& c, Delta& delta) {
  const std::optional<DpPort> old = state_.dp_port(c.id);
  if (old.value_or(DpPort{}).number == c.dp_port) return;
  delta.ports.push_back(c.id);
  const auto before = effects_around(c.id);
  if (old && state_.local_port(*old) == c.id) state_.local_ports_.erase(old->number);
  if (c.dp_port != 0) {
    // A number means one port: whoever had it has lost it.
    if (const auto loser = state_.local_port(DpPort{c.dp_port}))
      change(LocalPortChange{.id = *loser, .dp_port = 0}, delta);
    state_.dp_ports_.set(c.id, DpPort{c.dp_port});
    state_.local_ports_.set(c.dp_port, c.id);
  } else {
    state_.dp_ports_.erase(c.id);
  }
  for (const auto& [id, effects] : before) replace_effects(id, effects, delta);
}

void Topology::change(const PortFullChange& c, Delta& delta) {
  if (state_.learning_full(c.id) == c.full) return;
  delta.learning.push_back(c.id);
  if (c.full)
    state_.full_ports_.set(c.id, true);
  else
    state_.full_ports_.erase(c.id);
}

void Topology::change(const HeldMacChange& c, Delta& delta) {
  if (state_.mac_held(c.bridge, c.mac) == c.held) return;
  delta.macs.emplace_back(c.bridge, c.mac);
  const Snapshot::BridgeTables* old = state_.bridge_tables_.find(c.bridge);
  Snapshot::BridgeTables tables = old != nullptr ? *old : Snapshot::BridgeTables();
  if (c.held)
    tables.held.set(c.mac, true);
  else
    tables.held.erase(c.mac);
  if (tables.empty())
    state_.bridge_tables_.erase(c.bridge);
  else
    state_.bridge_tables_.set(c.bridge, std::move(tables));
}

void Topology::change(const MovedKeyChange& c, Delta& delta) {
  if (c.forward)
    add_key(c.key, MovedPort{c.port}, delta);
  else
    remove_key(c.key, MovedPort{c.port}, delta);
}

void Topology::change(const TunnelMtuChange& c, Delta& delta) {
  auto& mtu = c.family == IpFamily::v6 ? state_.tunnel_mtu6_ : state_.tunnel_mtu4_;
  if (mtu == c.mtu) return;
  mtu = c.mtu;
  delta.hosts.push_back(state_.self_);
}

Topology::PortEffects Topology::effects_of(PortId id) const {
  PortEffects e;
  const Port* port = state_.port(id);
  if (port == nullptr) return e;
  if (const auto* router = std::get_if<RouterId>(&port->device)) {
    e.router = *router;
    e.networks = port->networks;
    sort_unique(e.networks);
    return e;
  }
  const auto* bridge = std::get_if<BridgeId>(&port->device);
  if (bridge == nullptr) return e;
  e.bridge = *bridge;
  const auto add_address = [&e](const IpAddr& address, const MacAddr& mac) {
    e.addresses.emplace_back(address, mac);
    // Who is asked for whom is said in the message only; the group alone tells that nobody of it is here.
    if (address.is_v6() && !address.is_multicast())
      e.addresses.emplace_back(solicited_node_of(address), mac);
  };
  if (!port->mac.is_zero()) {
    e.macs.push_back(port->mac);
    for (const IpAddr& a : port->addresses) add_address(a, port->mac);
  }
  if (const Port* peer = state_.peer(*port);
      peer != nullptr && std::holds_alternative<RouterId>(peer->device) && !peer->mac.is_zero()) {
    e.macs.push_back(peer->mac);
    for (const IpPrefix& n : peer->networks) add_address(n.addr, peer->mac);
    add_address(link_local_of(peer->mac), peer->mac);
  }
  sort_unique(e.macs);
  sort_unique(e.addresses);

  if (port->peer) {
    e.flood = PortEffects::Flood::link;
  } else if (const Binding* where = state_.binding(id);
             where != nullptr && where->active && port->admin_up && !port->unreadable) {
    e.learned = where->learned;
    sort_unique(e.learned);
    if (where->host != state_.self_) {
      e.flood = PortEffects::Flood::remote;
      e.host = where->host;
    } else if (state_.is_here(id)) {
      e.flood = PortEffects::Flood::local;
    }
  }
  return e;
}

void Topology::add_sub_ports(PortId parent, std::vector<PortId>& out) const {
  for (const SubPort& sub : state_.sub_ports(parent)) out.push_back(sub.port);
}

std::vector<std::pair<PortId, Topology::PortEffects>> Topology::effects_around(PortId id) const {
  std::vector<PortId> touched{id};
  add_sub_ports(id, touched);
  sort_unique(touched);
  std::vector<std::pair<PortId, PortEffects>> out;
  out.reserve(touched.size());
  for (PortId each : touched) out.emplace_back(each, effects_of(each));
  return out;
}

void Topology::replace_effects(PortId id, const PortEffects& before, Delta& delta) {
  const PortEffects after = effects_of(id);

  const auto on_bridge = [&](const PortEffects& e, const PortEffects& other, bool add) {
    if (!e.bridge) return;
    const bool same_bridge = e.bridge == other.bridge;
    const auto macs = same_bridge ? minus(e.macs, other.macs) : e.macs;
    const auto addresses = same_bridge ? minus(e.addresses, other.addresses) : e.addresses;
    const bool flood_differs = !same_bridge || e.flood != other.flood || e.host != other.host;
    const bool flood = flood_differs && e.flood != PortEffects::Flood::none;
    const auto learned = same_bridge ? minus(e.learned, other.learned) : e.learned;
    if (macs.empty() && addresses.empty() && learned.empty() && !flood) return;

    const Snapshot::BridgeTables* old = state_.bridge_tables_.find(*e.bridge);
    Snapshot::BridgeTables tables = old != nullptr ? *old : Snapshot::BridgeTables();
    for (const MacAddr& mac : macs) {
      change_list(tables.macs, mac, id, add);
      delta.macs.emplace_back(*e.bridge, mac);
    }
    for (const auto& [address, mac] : addresses) {
      change_list(tables.addresses, address, AddressOwner{id, mac}, add);
      delta.addresses.emplace_back(*e.bridge, address);
      // How many of a group a port has is in no table.
      if (address.is_v6() && !address.is_multicast())
        delta.addresses.emplace_back(*e.bridge, solicited_node_of(address));
    }
    for (const LearnedMac& l : learned) {
      change_list(tables.learned, l.mac, LearnedAt{~l.sequence, id}, add);
      delta.macs.emplace_back(*e.bridge, l.mac);
    }
    if (flood) {
      FloodSet now = tables.flood ? *tables.flood : FloodSet();
      bool noticed = true;  // one port more or less at another host makes no difference
      if (e.flood == PortEffects::Flood::remote) {
        noticed = count_host(now.remote, e.host, add);
      } else {
        auto& list = e.flood == PortEffects::Flood::link ? now.links : now.local;
        if (add)
          insert_sorted(list, id);
        else
          erase_sorted(list, id);
      }
      const bool nobody = now.links.empty() && now.local.empty() && now.remote.empty();
      tables.flood = nobody ? nullptr : std::make_shared<const FloodSet>(std::move(now));
      if (noticed) delta.floods.push_back(*e.bridge);
      // Which devices a bridge leads to is asked by more than floods: the search for a neighbour asks it.
      if (e.flood == PortEffects::Flood::link) delta.bridges.push_back(*e.bridge);
    }
    if (tables.empty())
      state_.bridge_tables_.erase(*e.bridge);
    else
      state_.bridge_tables_.set(*e.bridge, std::move(tables));
  };
  const auto on_router = [&](const PortEffects& e, const PortEffects& other, bool add) {
    if (!e.router) return;
    const auto networks = e.router == other.router ? minus(e.networks, other.networks) : e.networks;
    if (networks.empty()) return;
    const Snapshot::RouterTables* old = state_.router_tables_.find(*e.router);
    Snapshot::RouterTables tables = old != nullptr ? *old : Snapshot::RouterTables();
    for (const IpPrefix& network : networks) {
      change_shared(tables.addresses, RouterAddress{network, id}, add);
      delta.router_addresses.emplace_back(*e.router, network.addr);
      const IpPrefix prefix = network.network();
      if (add) {
        tables.ways.add(prefix, connected_entry(id));
        ++tables.way_count;
      } else if (tables.ways.remove(prefix, connected_entry(id))) {
        --tables.way_count;
      }
      delta.routes.push_back({*e.router, prefix, {}});
    }
    if (tables.empty())
      state_.router_tables_.erase(*e.router);
    else
      state_.router_tables_.set(*e.router, std::move(tables));
  };

  on_bridge(before, after, false);
  on_bridge(after, before, true);
  on_router(before, after, false);
  on_router(after, before, true);
}

void Topology::add_key(uint32_t key, const TunnelKeyMeaning& meaning, Delta& delta) {
  if (key == 0) return;  // no key
  change_list(state_.keys_, key, meaning, true);
  delta.tunnel_keys.push_back(key);
}

void Topology::remove_key(uint32_t key, const TunnelKeyMeaning& meaning, Delta& delta) {
  if (key == 0) return;
  change_list(state_.keys_, key, meaning, false);
  delta.tunnel_keys.push_back(key);
}

}  // namespace plexus::model
