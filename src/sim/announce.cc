// SPDX-License-Identifier: Apache-2.0
#include "sim/announce.h"

#include "packet/build.h"

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
  if (all.size() > kMaxAnnounced) all.resize(kMaxAnnounced);
  return all;
}

}  // namespace plexus::sim
