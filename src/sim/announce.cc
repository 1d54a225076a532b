// SPDX-License-Identifier: Apache-2.0
#include "sim/announce.h"

#include <set>

#include "packet/build.h"
#include "sim/outside_address.h"

namespace plexus::sim {
namespace {

const IpAddr kAllNodes = IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});

bool is_router(const model::Snapshot& snapshot, PortId id) {
  const model::Port* port = snapshot.port(id);
  const model::Port* peer = port != nullptr ? snapshot.peer(*port) : nullptr;
  return peer != nullptr && std::holds_alternative<RouterId>(peer->device);
}

/// The announcement itself.
Frame announcement(const MacAddr& mac, const IpAddr& address, bool router) {
  return address.is_v4() ? arp_request(mac, address, address)
                         : nd_advert(mac, address, multicast_mac_of(kAllNodes), kAllNodes,
                                     {.router = router, .solicited = false, .override_ = true});
}

/// Out of the port's interface here, or of its parent's with its tag.
std::optional<Copy> out_of(const model::Snapshot& now, PortId id) {
  const model::Port* port = now.port(id);
  const bool sub = port != nullptr && port->parent;
  const auto number = now.dp_port(sub ? *port->parent : id);
  if (!number) return std::nullopt;
  Copy copy{{}, LocalOutput{*number}};
  if (sub) copy.rewrite.push_vlan = port->vlan;
  return copy;
}

/// To all local ports of the bridge but the one that has the address.
void tell_bridge(const model::Snapshot& now, BridgeId bridge, const IpAddr& address,
                 const model::AddressOwner& has, std::vector<Generated>& all) {
  const model::Bridge* record = now.bridge(bridge);
  if (record == nullptr || !record->admin_up || record->unreadable) return;
  Actions actions;
  for (PortId id : now.flood_set(bridge).local) {
    const auto copy = out_of(now, id);
    if (id != has.port && copy) actions.copies.push_back(*copy);
  }
  if (actions.drops()) return;
  all.push_back({announcement(has.mac, address, is_router(now, has.port)), std::move(actions)});
}

/// What is plugged in at the port is the same, at another host than before.
void tell_move(const model::Snapshot& before, const model::Snapshot& now, PortId id,
               std::vector<Generated>& all) {
  const model::Port* port = now.port(id);
  if (port == nullptr || port->peer || !port->admin_up || port->unreadable || port->mac.is_zero())
    return;
  if (std::holds_alternative<RouterId>(port->device)) {
    // The router speaks to the network outside from here now: switches there must learn by which way.
    const auto number = now.dp_port(id);
    if (!now.is_here(id) || before.is_here(id) || !number) return;
    for (const IpPrefix& network : port->networks)
      all.push_back({announcement(port->mac, network.addr, true), {{{{}, LocalOutput{*number}}}}});
    return;
  }
  const auto* bridge = std::get_if<BridgeId>(&port->device);
  const model::Binding *was = before.binding(id), *is = now.binding(id);
  if (bridge == nullptr || was == nullptr || is == nullptr || !was->active || !is->active ||
      was->host == is->host)
    return;
  for (const IpAddr& address : port->addresses) {
    const auto has = now.address_owners(*bridge, address);
    if (has.size() == 1 && has.front().port == id)
      tell_bridge(now, *bridge, address, has.front(), all);
  }
}

/// Where a router's port answers for an address of the router's translations.
struct Answers {
  BridgeId bridge;  ///< nil: out of the interface here
  PortId by;        ///< of the bridge, or the router's port itself
  MacAddr mac;
  bool operator==(const Answers&) const = default;
};
std::optional<Answers> answers(const model::Snapshot& at, PortId id, const IpAddr& address) {
  const model::Port* port = at.port(id);
  const auto* of = port != nullptr ? std::get_if<RouterId>(&port->device) : nullptr;
  const model::Router* router = of != nullptr ? at.router(*of) : nullptr;
  if (router == nullptr || !router->admin_up || router->unreadable || !port->admin_up ||
      port->unreadable || port->mac.is_zero() ||
      !answers_for_outside(at, router->id, *port, address))
    return std::nullopt;
  if (!port->peer) {
    if (!at.is_here(id)) return std::nullopt;
    return Answers{BridgeId{}, id, port->mac};
  }
  const model::Port* peer = at.peer(*port);
  const auto* bridge = peer != nullptr ? std::get_if<BridgeId>(&peer->device) : nullptr;
  if (bridge == nullptr || !peer->admin_up || peer->unreadable) return std::nullopt;
  return Answers{*bridge, peer->id, port->mac};
}

/// An outside address that the port answers for now, and did not before, or there, or with this MAC. Whoever had it may have
/// been another router, whose MAC is still believed. Of a port that this host has only come to know of it cannot be said what is
/// new.
void tell_outside(const model::Snapshot& before, const model::Snapshot& now, PortId id,
                  const IpAddr& address, std::vector<Generated>& all) {
  if (before.port(id) == nullptr) return;
  const auto is = answers(now, id, address);
  if (!is || is == answers(before, id, address)) return;
  if (!is->bridge.uuid.is_nil())
    return tell_bridge(now, is->bridge, address, {is->by, is->mac}, all);
  const auto copy = out_of(now, id);
  if (!copy) return;
  Actions actions;
  actions.copies.push_back(*copy);
  all.push_back({announcement(is->mac, address, true), std::move(actions)});
}

/// The router's port that the port is, or is wired to.
std::optional<PortId> routers_port(const model::Snapshot& now, PortId id) {
  const model::Port* port = now.port(id);
  if (port == nullptr) return std::nullopt;
  if (std::holds_alternative<RouterId>(port->device)) return id;
  const model::Port* peer = now.peer(*port);
  if (peer == nullptr || !std::holds_alternative<RouterId>(peer->device)) return std::nullopt;
  return peer->id;
}

void tell_outside_addresses(const model::Snapshot& before, const model::Snapshot& now,
                            const model::Delta& delta, std::vector<Generated>& all) {
  std::set<std::pair<PortId, IpAddr>> seen;
  const auto tell = [&](PortId id, const IpAddr& address) {
    if (all.size() < kMaxAnnounced && seen.emplace(id, address).second)
      tell_outside(before, now, id, address, all);
    return all.size() < kMaxAnnounced;
  };
  for (const auto& [router, address] : delta.translations) {
    if (address.is_none()) continue;
    for (const model::RouterAddress& own : now.router_addresses(router))
      if (!tell(own.port, address)) return;
  }
  for (PortId changed : delta.ports) {
    const auto id = routers_port(now, changed);
    const model::TranslationTable* table =
        id ? now.translations(std::get<RouterId>(now.port(*id)->device)) : nullptr;
    if (table != nullptr)
      table->each_outside([&](const IpAddr& address) { return tell(*id, address); });
  }
}

}  // namespace

std::vector<Generated> announcements(const model::Snapshot& before, const model::Snapshot& now,
                                     const model::Delta& delta) {
  std::vector<Generated> all;
  for (const auto& [bridge, address] : delta.addresses) {
    if (all.size() >= kMaxAnnounced) break;
    if (address.is_multicast()) continue;  // a solicited-node group
    const auto had = before.address_owners(bridge, address);
    const auto has = now.address_owners(bridge, address);
    if (had.size() != 1 || has.size() != 1 || had.front().mac == has.front().mac) continue;
    tell_bridge(now, bridge, address, has.front(), all);
  }
  for (PortId id : delta.ports) {
    if (all.size() >= kMaxAnnounced) break;
    tell_move(before, now, id, all);
  }
  tell_outside_addresses(before, now, delta, all);
  if (all.size() > kMaxAnnounced) all.resize(kMaxAnnounced);
  return all;
}

}  // namespace plexus::sim
