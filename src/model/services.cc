// SPDX-License-Identifier: Apache-2.0
// What devices do beside forwarding: DHCP, mirrors, trace requests.
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

/// The place's own fields, as far as packets notice.
void touch(const Place& at, Delta& delta) {
  if (const auto* port = std::get_if<PortId>(&at)) delta.ports.push_back(*port);
  if (const auto* bridge = std::get_if<BridgeId>(&at)) delta.bridges.push_back(*bridge);
  if (const auto* router = std::get_if<RouterId>(&at)) delta.routers.push_back(*router);
}

bool asks(const TraceRequest& request) {
  return request.admin_up && !request.unreadable;
}

}  // namespace

Uuid uuid_of(const Place& at) {
  if (const auto* port = std::get_if<PortId>(&at)) return port->uuid;
  if (const auto* bridge = std::get_if<BridgeId>(&at)) return bridge->uuid;
  if (const auto* router = std::get_if<RouterId>(&at)) return router->uuid;
  return {};
}

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
    delta.mirrors.push_back(uuid_of(mirror.at));
    const bool any = !state_.mirrors_of(mirror.at).empty();
    change_list(state_.mirrors_of_, mirror.at, c.id, add);
    if (any != !state_.mirrors_of(mirror.at).empty()) touch(mirror.at, delta);
  };
  if (old != nullptr) put(Mirror(*old), false);
  if (c.now) {
    put(*c.now, true);
    state_.mirrors_.set(c.id, *c.now);
  } else {
    state_.mirrors_.erase(c.id);
  }
}

void Topology::change(const TraceRequestChange& c, Delta& delta) {
  const TraceRequest* found = state_.trace_request(c.id);
  if (found != nullptr ? c.now && *found == *c.now : !c.now) return;
  // As for mirrors, the first one at a place and the last are changes of the place itself.
  const auto put = [&](const TraceRequest& request, bool add) {
    delta.trace_requests.push_back(uuid_of(request.at));
    const RuleTable* old = state_.trace_requests_of(request.at);
    RuleTable table = old != nullptr ? *old : RuleTable();
    const TableRule& rule = *state_.tracing_.find(request.id);
    if (add)
      table.add(rule);
    else
      table.remove(rule);
    if ((old == nullptr) != table.empty()) touch(request.at, delta);
    if (table.empty())
      state_.trace_tables_.erase(request.at);
    else
      state_.trace_tables_.set(request.at, std::move(table));
  };
  if (found != nullptr && asks(*found)) {
    put(TraceRequest(*found), false);
    state_.tracing_.erase(c.id);
  }
  if (!c.now) {
    state_.trace_requests_.erase(c.id);
    return;
  }
  state_.trace_requests_.set(c.id, *c.now);
  if (!asks(*c.now)) return;
  TableRule rule{c.now->match};
  rule.id = RuleId{c.id.uuid};
  rule.action = RuleAction::continue_;
  state_.tracing_.set(c.id, std::move(rule));
  put(*c.now, true);
}

}  // namespace plexus::model
