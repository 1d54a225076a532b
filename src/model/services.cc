// SPDX-License-Identifier: Apache-2.0
// What devices do beside forwarding: DHCP, mirrors.
#include <algorithm>
#include <utility>

#include "model/topology.h"

namespace plexus::model {
namespace {

template <typename Key, typename Value>
void change_list(CowTable<Key, std::vector<Value>>& table, const Key& key, const Value& value,
                 bool add) {
  const std::vector<Value>* old = table.find(key);
  std::vector<Value> now = old != nullptr ? *old : std::vector<Value>();
  const auto at = std::lower_bound(now.begin(), now.end(), value);
  const bool there = at != now.end() && *at == value;
  if (add && !there) now.insert(at, value);
  if (!add && there) now.erase(at);
  if (now.empty())
    table.erase(key);
  else
    table.set(key, std::move(now));
}

Uuid place_of(const Mirror& mirror) {
  if (const auto* port = std::get_if<PortId>(&mirror.at)) return port->uuid;
  if (const auto* bridge = std::get_if<BridgeId>(&mirror.at)) return bridge->uuid;
  if (const auto* router = std::get_if<RouterId>(&mirror.at)) return router->uuid;
  return {};
}

}  // namespace

void Topology::change(const DhcpSubnetChange& c, Delta& delta) {
  const DhcpSubnet* old = state_.dhcp_subnet(c.id);
  if (old != nullptr ? c.now && *old == *c.now : !c.now) return;
  if (old != nullptr) {
    delta.dhcp.push_back(old->bridge);
    change_list(state_.dhcp_of_, BridgeId(old->bridge), c.id, false);
  }
  if (c.now) {
    delta.dhcp.push_back(c.now->bridge);
    change_list(state_.dhcp_of_, c.now->bridge, c.id, true);
    state_.dhcp_subnets_.set(c.id, *c.now);
  } else {
    state_.dhcp_subnets_.erase(c.id);
  }
}

void Topology::change(const MirrorChange& c, Delta& delta) {
  const Mirror* old = state_.mirror(c.id);
  if (old != nullptr ? c.now && *old == *c.now : !c.now) return;
  // Who passes a place without mirrors asks for none: the first one there and the last are changes of the place itself.
  const auto put = [&](const Mirror& mirror, bool add) {
    const Uuid place = place_of(mirror);
    delta.mirrors.push_back(place);
    const bool any = !state_.mirrors_of(place).empty();
    change_list(state_.mirrors_of_, place, c.id, add);
    if (any == !state_.mirrors_of(place).empty()) return;
    if (const auto* port = std::get_if<PortId>(&mirror.at)) delta.ports.push_back(*port);
    if (const auto* bridge = std::get_if<BridgeId>(&mirror.at)) delta.bridges.push_back(*bridge);
    if (const auto* router = std::get_if<RouterId>(&mirror.at)) delta.routers.push_back(*router);
  };
  if (old != nullptr) put(Mirror(*old), false);
  if (c.now) {
    put(*c.now, true);
    state_.mirrors_.set(c.id, *c.now);
  } else {
    state_.mirrors_.erase(c.id);
  }
}

}  // namespace plexus::model
