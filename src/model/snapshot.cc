// SPDX-License-Identifier: Apache-2.0
#include "model/snapshot.h"

#include <algorithm>

namespace plexus::model {

std::optional<PortId> Snapshot::local_port(DpPort number) const {
  const PortId* id = local_ports_.find(number.number);
  return id != nullptr ? std::optional(*id) : std::nullopt;
}

std::optional<DpPort> Snapshot::dp_port(PortId id) const {
  const DpPort* number = dp_ports_.find(id);
  return number != nullptr ? std::optional(*number) : std::nullopt;
}

bool Snapshot::is_here(PortId id) const {
  const Binding* where = binding(id);
  if (where == nullptr || where->host != self_ || !where->active) return false;
  const Port* record = port(id);
  if (record == nullptr || !record->parent) return dp_ports_.find(id) != nullptr;
  const Port* parent = port(*record->parent);
  // Of two with one tag only one can have it.
  return parent != nullptr && !parent->parent && is_here(parent->id) &&
         sub_port(parent->id, record->vlan) == id;
}

std::optional<PortId> Snapshot::sub_port(PortId parent, uint16_t vlan) const {
  const auto all = sub_ports(parent);
  const auto at = std::lower_bound(all.begin(), all.end(), SubPort{vlan, PortId{}});
  return at != all.end() && at->vlan == vlan ? std::optional(at->port) : std::nullopt;
}

const Port* Snapshot::peer(const Port& port) const {
  if (!port.peer || *port.peer == port.id) return nullptr;
  const Port* other = ports_.find(*port.peer);
  return other != nullptr && other->peer == port.id ? other : nullptr;
}

namespace {
template <typename T>
std::span<const T> list_or_none(const std::vector<T>* list) {
  return list != nullptr ? std::span<const T>(*list) : std::span<const T>();
}
}  // namespace

const std::shared_ptr<const MemberSet>& Snapshot::serving(PoolId id) const {
  static const std::shared_ptr<const MemberSet> nobody;
  const auto* found = serving_.find(id);
  return found != nullptr ? *found : nobody;
}

std::span<const SubPort> Snapshot::sub_ports(PortId parent) const {
  return list_or_none(sub_ports_.find(parent));
}
std::span<const PortBlock> Snapshot::port_blocks(SnatPoolId id) const {
  return list_or_none(port_blocks_.find(id));
}
std::span<const DhcpSubnetId> Snapshot::dhcp_subnets_of(BridgeId id) const {
  return list_or_none(dhcp_of_.find(id));
}
std::span<const MirrorId> Snapshot::mirrors_of(const Place& at) const {
  return list_or_none(mirrors_of_.find(at));
}

std::optional<PortId> Snapshot::port_of_mac(BridgeId id, MacAddr mac) const {
  if (const auto port = configured_port_of_mac(id, mac)) return port;
  const auto learned = learned_mac(id, mac);
  return learned ? std::optional(learned->port) : std::nullopt;
}

std::optional<LearnedAt> Snapshot::learned_mac(BridgeId id, MacAddr mac) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  if (tables == nullptr || tables->learned.empty()) return std::nullopt;
  const auto* places = tables->learned.find(mac);
  const Bridge* record = bridge(id);
  if (places == nullptr || record == nullptr || !record->learning) return std::nullopt;
  return places->front();
}

bool Snapshot::mac_contested(BridgeId id, MacAddr mac) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  const auto* places = tables != nullptr ? tables->learned.find(mac) : nullptr;
  return places != nullptr && places->size() > 1;
}

size_t Snapshot::learned_count(BridgeId id) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  return tables != nullptr ? tables->learned.size() : 0;
}

bool Snapshot::mac_held(BridgeId id, MacAddr mac) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  return tables != nullptr && tables->held.find(mac) != nullptr;
}

std::optional<PortId> Snapshot::configured_port_of_mac(BridgeId id, MacAddr mac) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  const auto* ports = tables != nullptr ? tables->macs.find(mac) : nullptr;
  return ports != nullptr ? std::optional(ports->front()) : std::nullopt;
}

std::span<const AddressOwner> Snapshot::address_owners(BridgeId id, const IpAddr& address) const {
  const BridgeTables* tables = bridge_tables_.find(id);
  const auto* owners = tables != nullptr ? tables->addresses.find(address) : nullptr;
  return owners != nullptr ? std::span<const AddressOwner>(*owners)
                           : std::span<const AddressOwner>();
}

const FloodSet& Snapshot::flood_set(BridgeId id) const {
  static const FloodSet kNobody;
  const BridgeTables* tables = bridge_tables_.find(id);
  return tables != nullptr && tables->flood ? *tables->flood : kNobody;
}

RouteLookup Snapshot::lookup_route(RouterId id, const IpAddr& destination,
                                   const IpAddr& source) const {
  const RouterTables* tables = router_tables_.find(id);
  return tables != nullptr ? tables->ways.lookup(destination, source) : RouteLookup{};
}

std::optional<RouteId> Snapshot::unreadable_route(RouterId id) const {
  const RouterTables* tables = router_tables_.find(id);
  return tables != nullptr && tables->unreadable ? std::optional(tables->unreadable->front())
                                                 : std::nullopt;
}

std::span<const RouterAddress> Snapshot::router_addresses(RouterId id) const {
  const RouterTables* tables = router_tables_.find(id);
  return tables != nullptr && tables->addresses ? std::span<const RouterAddress>(*tables->addresses)
                                                : std::span<const RouterAddress>();
}

std::optional<PortId> Snapshot::connected_port(RouterId id, const IpAddr& address) const {
  const RouterAddress* best = nullptr;
  for (const RouterAddress& own : router_addresses(id)) {
    if (!own.network.contains(address)) continue;
    if (best == nullptr || own.network.length > best->network.length ||
        (own.network.length == best->network.length && own.port < best->port))
      best = &own;
  }
  return best != nullptr ? std::optional(best->port) : std::nullopt;
}

std::optional<MacAddr> Snapshot::neighbour(PortId id, const IpAddr& address) const {
  const auto all = neighbours(id);
  const auto at =
      std::lower_bound(all.begin(), all.end(), address,
                       [](const Neighbour& n, const IpAddr& wanted) { return n.address < wanted; });
  return at != all.end() && at->address == address ? std::optional(at->mac) : std::nullopt;
}

std::span<const Neighbour> Snapshot::neighbours(PortId id) const {
  const auto* all = neighbours_.find(id);
  return all != nullptr ? std::span<const Neighbour>(*all) : std::span<const Neighbour>();
}

TunnelKeyMeaning Snapshot::tunnel_key(uint32_t key) const {
  const auto* meanings = keys_.find(key);
  return meanings != nullptr ? meanings->front() : TunnelKeyMeaning{};
}

void Snapshot::each_port(const std::function<void(const Port&)>& visit) const {
  ports_.for_each([&](PortId, const Port& p) { visit(p); });
}
void Snapshot::each_binding(const std::function<void(const Binding&)>& visit) const {
  bindings_.for_each([&](PortId, const Binding& b) { visit(b); });
}
void Snapshot::each_host(const std::function<void(const Host&)>& visit) const {
  hosts_.for_each([&](HostId, const Host& h) { visit(h); });
}
void Snapshot::each_neighbour(const std::function<void(const Neighbour&)>& visit) const {
  neighbours_.for_each([&](PortId, const std::vector<Neighbour>& all) {
    for (const Neighbour& n : all) visit(n);
  });
}

}  // namespace plexus::model
