// SPDX-License-Identifier: Apache-2.0
// Several ways that are as good: which one a packet takes. By Maglev over the records of the routes, so that all hosts
// choose alike, and by what identifies the packet's flow, so that a flow keeps its way.
//
// A way counts as long as it can be used as far as everybody knows: its port is this router's, up, and wired or bound.
// Whether the next hop answers is not asked. Of ICMP errors the addresses and the protocol decide, not the packet that
// they quote.
#include <array>

#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// How often another place of the table is tried before the rest is shared evenly.
constexpr unsigned kMaxTries = 64;

}  // namespace

bool Simulation::usable(const model::Router& router, const model::RouteEntry& entry) {
  const auto id = port_of(router, entry);
  if (!id) return false;
  depend(port_tag(*id));
  const model::Port* port = snapshot_.port(*id);
  const auto works = [](const model::Port& p) { return p.admin_up && !p.unreadable; };
  if (port == nullptr || !works(*port) || port->mac.is_zero()) return false;
  const auto* owner = std::get_if<RouterId>(&port->device);
  if (owner == nullptr || *owner != router.id) return false;
  if (port->peer) {
    depend(port_tag(*port->peer));
    const model::Port* peer = snapshot_.peer(*port);
    return peer != nullptr && works(*peer);
  }
  const model::Binding* binding = snapshot_.binding(*id);
  if (binding == nullptr || !binding->active) return false;
  depend(host_tag(binding->host));
  const model::Host* host = snapshot_.host(binding->host);
  return host == nullptr || !host->fenced;
}

model::FlowIdentity Simulation::flow_identity(Journey& j) {
  model::FlowIdentity flow{.src = j.src_ip(), .dst = j.dst_ip()};
  const bool fragment = j.ip_frag() != FragKind::none;
  // A later IPv6 fragment need not know the upper-layer protocol.
  if (fragment && j.key.is_ipv6()) return flow;
  flow.protocol = j.ip_proto();
  const bool ports = flow.protocol == ip_proto::kTcp || flow.protocol == ip_proto::kUdp ||
                     flow.protocol == ip_proto::kSctp;
  if (fragment || !ports) return flow;
  flow.src_port = j.tp_src();
  flow.dst_port = j.tp_dst();
  return flow;
}

const model::RouteEntry& Simulation::choose(Journey& j, const model::Router& router,
                                            const model::RouteLookup& found) {
  if (found.choice == nullptr) return *found.entry;
  std::array<bool, model::kMaxMaglevMembers> can{};
  size_t count = 0, last = 0;
  for (size_t i = 0; i < found.group.size(); ++i) {
    can[i] = usable(router, found.group[i]);
    if (!can[i]) continue;
    ++count;
    last = i;
  }
  if (count == 0) {
    note_at(j, DeviceKind::router, router, "none of {} ways to {} can be used", found.group.size(),
            found.prefix);
    return *found.entry;
  }
  if (count == 1) {
    note_at(j, DeviceKind::router, router, "one of {} ways to {} can be used", found.group.size(),
            found.prefix);
    return found.group[last];
  }
  uint64_t hash = model::flow_hash(router.id.uuid, flow_identity(j));
  note_at(j, DeviceKind::router, router, "{} ways to {} are as good: the flow's hash decides",
          count, found.prefix);
  for (unsigned n = 0; n < kMaxTries; ++n, hash = model::next_hash(hash))
    if (const size_t i = found.choice->member(hash); can[i]) return found.group[i];
  size_t left = hash % count;
  for (size_t i = 0;; ++i)
    if (can[i] && left-- == 0) return found.group[i];
}

}  // namespace plexus::sim
