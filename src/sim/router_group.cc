// SPDX-License-Identifier: Apache-2.0
// Several ways that are as good: which one a packet takes. By Maglev over the records of the routes, so that all hosts
// choose alike, and by what identifies the packet's flow, so that a flow keeps its way.
//
// A way counts as long as it can be used as far as everybody knows: its port is this router's, up, and wired or bound.
// Whether the next hop answers is not asked. Where no way of the best can be used, those of the next metric are.
//
// An ICMP error goes the way of the connection that it is about: what it quotes decides, turned round. That is in no flow
// key, so such a packet makes no class.
#include <array>

#include "packet/bytes.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// How often another place of the table is tried before the rest is shared evenly.
constexpr unsigned kMaxTries = 64;

bool has_ports(uint8_t protocol) {
  return protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
}

/// Messages about another packet: RFC 792, RFC 4443 2.1.
bool is_icmp_error(const FlowKey& key, uint16_t type) {
  return key.is_ipv4() ? type == 3 || type == 4 || type == 11 || type == 12 : type < 128;
}

/// To which flow the packets belong that go the other way than the packet that begins here and may be cut anywhere.
/// Nothing when its addresses are not whole.
std::optional<model::FlowIdentity> flow_against(std::span<const uint8_t> quoted) {
  constexpr size_t kHeader4 = 20, kHeader6 = 40;
  const bool v4 = !quoted.empty() && quoted[0] >> 4 == 4,
             v6 = !quoted.empty() && quoted[0] >> 4 == 6;
  if ((!v4 && !v6) || quoted.size() < (v4 ? kHeader4 : kHeader6)) return std::nullopt;
  model::FlowIdentity flow;
  size_t at = 0;
  bool fragment = false;
  if (v4) {
    flow = {.src = ipv4_at(quoted, 16), .dst = ipv4_at(quoted, 12), .protocol = quoted[9]};
    at = size_t{quoted[0] & 0x0fu} * 4;
    fragment = (be16_at(quoted, 6) & 0x3fff) != 0;
  } else {
    flow = {.src = ipv6_at(quoted, 24), .dst = ipv6_at(quoted, 8), .protocol = quoted[6]};
    constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
    for (at = kHeader6; flow.protocol == kHopByHop || flow.protocol == kRouting ||
                        flow.protocol == kDestination || flow.protocol == kFragment;) {
      // As of all IPv6 fragments, only the addresses count.
      if (flow.protocol == kFragment || at + 8 > quoted.size()) {
        flow.protocol = 0;
        return flow;
      }
      flow.protocol = quoted[at];
      at += (size_t{quoted[at + 1]} + 1) * 8;
    }
  }
  if (fragment || !has_ports(flow.protocol) || at + 4 > quoted.size()) return flow;
  flow.src_port = be16_at(quoted, at + 2);
  flow.dst_port = be16_at(quoted, at);
  return flow;
}

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
  const bool icmp = flow.protocol == (j.key.is_ipv4() ? ip_proto::kIcmp : ip_proto::kIcmpv6);
  if (icmp && !fragment && is_icmp_error(j.key, j.tp_src())) {
    cacheable_ = false;
    constexpr size_t kIcmpHeader = 8;
    const size_t at = j.parsed->l4_offset + kIcmpHeader;
    const auto about = at < j.parsed->length
                           ? flow_against(j.bytes.subspan(at, j.parsed->length - at))
                           : std::nullopt;
    return about.value_or(flow);
  }
  if (fragment || !has_ports(flow.protocol)) return flow;
  flow.src_port = j.tp_src();
  flow.dst_port = j.tp_dst();
  return flow;
}

const model::RouteEntry& Simulation::choose(Journey& j, const model::Router& router,
                                            const model::RouteLookup& found) {
  if (found.choice == nullptr && found.spares.empty()) return *found.entry;
  const auto decides = [](const model::RouteEntry& entry) {
    return entry.unreadable || entry.kind != model::RouteKind::forward;
  };
  if (decides(*found.entry)) return *found.entry;
  if (const auto* chosen = choose_in(j, router, found, found.group, found.choice)) return *chosen;
  for (const model::RouteGroup& spare : found.spares) {
    const auto group = found.group_of(spare);
    if (decides(group.front())) return group.front();
    if (const auto* chosen = choose_in(j, router, found, group, spare.choice.get())) return *chosen;
  }
  return *found.entry;
}

const model::RouteEntry* Simulation::choose_in(Journey& j, const model::Router& router,
                                               const model::RouteLookup& found,
                                               std::span<const model::RouteEntry> group,
                                               const model::MaglevTable* table) {
  std::array<bool, model::kMaxMaglevMembers> can{};
  size_t count = 0, last = 0;
  for (size_t i = 0; i < group.size(); ++i) {
    can[i] = usable(router, group[i]);
    if (!can[i]) continue;
    ++count;
    last = i;
  }
  if (count == 0) {
    note_at(j, DeviceKind::router, router, "none of {} ways to {} can be used", group.size(),
            found.prefix);
    return nullptr;
  }
  if (count == 1) {
    if (group.size() > 1) {
      note_at(j, DeviceKind::router, router, "one of {} ways to {} can be used", group.size(),
              found.prefix);
    }
    return &group[last];
  }
  uint64_t hash = model::flow_hash(router.id.uuid, flow_identity(j));
  note_at(j, DeviceKind::router, router, "{} ways to {} are as good: the flow's hash decides",
          count, found.prefix);
  for (unsigned n = 0; n < kMaxTries; ++n, hash = model::next_hash(hash))
    if (const size_t i = table->member(hash); can[i]) return &group[i];
  size_t left = hash % count;
  for (size_t i = 0;; ++i)
    if (can[i] && left-- == 0) return &group[i];
}

}  // namespace plexus::sim
