// SPDX-License-Identifier: Apache-2.0
#include "agent/connection_document.h"

#include <algorithm>

namespace plexus::agent {
namespace {

using codec::Node;

Node text(std::string_view value) {
  return Node::of_text(value);
}

uint64_t milliseconds(Duration d) {
  return static_cast<uint64_t>(std::max<int64_t>(0, d.count() / 1'000'000));
}

std::string name_of(const PortId& id, const model::Snapshot& snapshot) {
  const model::Port* port = snapshot.port(id);
  return port == nullptr || port->name.empty() ? id.str() : port->name;
}

std::string device_name(const Uuid& id, const model::Snapshot& snapshot) {
  if (const auto* bridge = snapshot.bridge(BridgeId{id})) return bridge->name;
  if (const auto* router = snapshot.router(RouterId{id})) return router->name;
  if (const auto* balancer = snapshot.load_balancer(LoadBalancerId{id})) return balancer->name;
  return id.str();
}

std::string state_of(const state::Connection& c) {
  if (c.original.protocol == ip_proto::kTcp)
    return std::string(to_string(state::tcp_state_of(c.seen)));
  return c.replied() ? "answered" : "unanswered";
}

Node document_of(const state::Connection& c, const model::Snapshot& snapshot, MonoTime now,
                 MonoTime expires) {
  Node out = Node::map_of({});
  out.add("tuple", text(c.original.str()));
  out.add("state", text(state_of(c)));
  out.add("port", text(name_of(c.port, snapshot)));
  out.add("reply_port", text(name_of(c.reply_port, snapshot)));
  if (!c.translations.empty()) {
    std::vector<Node> list;
    for (const state::Translation& t : c.translations) {
      Node stage = Node::map_of({});
      stage.add("kind", text(to_string(t.kind)));
      // Records do not keep whose a floating address is.
      if (!t.device.is_nil()) stage.add("at", text(device_name(t.device, snapshot)));
      stage.add("becomes", text(t.after.str()));
      list.push_back(std::move(stage));
    }
    out.add("translations", Node::list_of(std::move(list)));
  }
  out.add("epoch", Node::of_number(uint64_t{c.stamp.epoch}));
  out.add("idle_ms", Node::of_number(milliseconds(now - c.last_seen)));
  out.add("expires_ms", Node::of_number(milliseconds(expires - now)));
  return out;
}

}  // namespace

Node connections_document(const state::ConnectionTable& table, const model::Snapshot& snapshot,
                          MonoTime now) {
  std::vector<std::pair<state::Tuple, Node>> found;
  size_t total = 0;
  table.for_each([&](state::ConnectionNumber number, const state::Connection& c) {
    if (table.expires(number) <= now) return;
    if (++total <= kMaxListedConnections)
      found.emplace_back(c.original, document_of(c, snapshot, now, table.expires(number)));
  });
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Node> list;
  list.reserve(found.size());
  for (auto& [tuple, node] : found) list.push_back(std::move(node));
  Node out = Node::map_of({});
  out.add("connections", Node::list_of(std::move(list)));
  out.add("total", Node::of_number(uint64_t{total}));
  return out;
}

}  // namespace plexus::agent
