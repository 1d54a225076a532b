// SPDX-License-Identifier: Apache-2.0
// The virtual router: which packets it takes, and where they go (RFC 1812, RFC 8200).
#include <algorithm>

#include "sim/simulation.h"

namespace plexus::sim {
namespace {

IpPrefix v4(uint32_t value, uint8_t length) {
  return {IpAddr::v4(value), length};
}
IpPrefix v6(uint8_t first, uint8_t second, uint8_t length) {
  return {IpAddr::v6({first, second}), length};
}

// "This network", loopback, and multicast with everything above it.
const IpPrefix kThisNetwork4 = v4(0, 8), kLoopback4 = v4(0x7f000000, 8),
               kGroups4 = v4(0xe0000000, 3);
// :: and ::1, multicast, link-local.
const IpPrefix kUnspecifiedOrLoopback6 = v6(0, 0, 127), kGroups6 = v6(0xff, 0, 8),
               kLinkLocal6 = v6(0xfe, 0x80, 10);

/// " from 10.0.1.0/24": which packets the way is for, when not for all.
std::string source_text(const model::RouteEntry& entry) {
  return entry.source.length == 0 ? std::string() : " from " + entry.source.str();
}

/// It came as one, or an earlier router has to cut it.
bool is_fragment(Journey& j) {
  for (const Hop* hop = j.hop; hop != nullptr; hop = hop->previous)
    if (hop->exceeded) return true;
  return j.ip_frag() != FragKind::none;
}

}  // namespace

void Simulation::router(Journey& j, const model::Router& router, const model::Port& in) {
  if (router.unreadable) {
    return drop_at(j, DropReason::newer_schema, DeviceKind::router, router,
                   "its record is newer than this agent");
  }
  if (!router.admin_up) {
    return drop_at(j, DropReason::router_admin_down, DeviceKind::router, router,
                   "is administratively down");
  }
  if (const auto id = snapshot_.unreadable_route(router.id)) {
    return drop(j, DropReason::newer_schema, DeviceKind::route, {}, id->uuid,
                "is newer than this agent, even its destination: it may concern any packet");
  }
  if (j.eth_dst_is_group()) return to_group(j, router, in);
  if (in.mac.is_zero() || !j.eth_dst_is(in.mac)) {
    return drop_at(j, DropReason::not_for_router, DeviceKind::router, router,
                   "ignores it: {} is not the MAC of port {}", j.key.dst_mac(), in.name);
  }
  if (!pass_in(j, in, router.in_chain, router.out_chain)) return;
  if (is_of_vlan(j, true)) {
    return drop_at(j, DropReason::vlan_at_router, DeviceKind::router, router,
                   "takes no frames with a VLAN tag");
  }
  switch (j.eth_type()) {
    case eth_type::kArp:
      return arp(j, router, in);
    case eth_type::kIpv4:
    case eth_type::kIpv6:
      if (router.drop_fragments && is_fragment(j)) {
        return drop_at(j, DropReason::fragment_refused, DeviceKind::router, router,
                       "takes no fragments");
      }
      return route(j, router, in);
    default:
      return drop_at(j, DropReason::not_ip, DeviceKind::router, router,
                     "ethertype {:#06x} is neither IP nor ARP", j.key.eth_type.host());
  }
}

model::RouteLookup Simulation::lookup(Journey& j, const model::Router& router) {
  const auto found = snapshot_.lookup_route(router.id, j.key.dst_ip(), j.key.src_ip());
  depend(routes_tag(router.id, found.entry != nullptr ? std::optional<unsigned>(found.prefix.length)
                                                      : std::nullopt),
         j.rewrite.ip_src || j.rewrite.ip_dst);
  j.note_dst_bits(found.bits_read);
  j.note_src_bits(found.source_bits_read);
  return found;
}

const model::RouterAddress* Simulation::inside_network_of_source(Journey& j,
                                                                 const model::Router& router) {
  const model::RouterAddress* inside = nullptr;
  unsigned outside_length = 0;
  for (const model::RouterAddress& own : snapshot_.router_addresses(router.id)) {
    // Every link has that network.
    if (kLinkLocal6.contains(own.network.addr) || !j.src_in(own.network)) continue;
    depend(port_tag(own.port));
    const model::Port* port = snapshot_.port(own.port);
    if (port == nullptr) continue;
    const unsigned length = own.network.length + 1u;
    if (port->outside)
      outside_length = std::max(outside_length, length);
    else if (inside == nullptr || inside->network.length < own.network.length)
      inside = &own;
  }
  return inside != nullptr && inside->network.length + 1u > outside_length ? inside : nullptr;
}

bool Simulation::source_allowed(Journey& j, const model::Router& router, const model::Port& in) {
  const auto refuse = [&](std::string_view why) {
    drop_at(j, DropReason::bad_source_address, DeviceKind::router, router, "source {} {}",
            j.key.src_ip(), why);
    return false;
  };
  if (j.key.is_ipv4()) {
    if (j.src_in(kThisNetwork4) || j.src_in(kLoopback4) || j.src_in(kGroups4))
      return refuse("names no single host");
  } else {
    if (j.src_in(kUnspecifiedOrLoopback6) || j.src_in(kGroups6))
      return refuse("names no single host");
    if (j.src_is(link_local_of(in.mac))) return refuse("is the router's own");
  }
  for (const model::RouterAddress& own : snapshot_.router_addresses(router.id))
    if (j.src_is(own.network.addr)) return refuse("is the router's own");
  if (!in.outside) return true;
  // As it came: what answers for an inside address may be outside.
  Journey came = j.stage->came != nullptr ? *j.stage->came : j;
  const model::RouterAddress* inside = inside_network_of_source(came, router);
  if (inside == nullptr) return true;
  drop_at(j, DropReason::bad_source_address, DeviceKind::router, router,
          "source {} is of the network of its port {}, and comes by the outside port {}",
          came.key.src_ip(), port_name(inside->port), in.name);
  return false;
}

bool Simulation::is_own_address(Journey& j, const model::Router& router, const model::Port& in) {
  if (j.key.is_ipv6() && j.dst_is(link_local_of(in.mac))) return true;
  for (const model::RouterAddress& own : snapshot_.router_addresses(router.id))
    if (j.dst_is(own.network.addr)) return true;
  return false;
}

bool Simulation::destination_routable(Journey& j, const model::Router& router) {
  const auto refuse = [&](DropReason reason, std::string_view why) {
    drop_at(j, reason, DeviceKind::router, router, "destination {} {}", j.key.dst_ip(), why);
    return false;
  };
  if (j.key.is_ipv4()) {
    if (j.dst_in(kGroups4))
      return refuse(DropReason::multicast_not_routed, "is no unicast address");
    if (j.dst_in(kThisNetwork4) || j.dst_in(kLoopback4))
      return refuse(DropReason::bad_destination_address, "never leaves a host");
    return true;
  }
  if (j.dst_in(kGroups6)) return refuse(DropReason::multicast_not_routed, "is a group");
  if (j.dst_in(kUnspecifiedOrLoopback6))
    return refuse(DropReason::bad_destination_address, "never leaves a host");
  if (j.dst_in(kLinkLocal6))
    return refuse(DropReason::link_local_not_routed, "is valid on one link only");
  if (j.src_in(kLinkLocal6)) {
    drop_at(j, DropReason::link_local_not_routed, DeviceKind::router, router,
            "source {} is valid on one link only", j.key.src_ip());
    return false;
  }
  return true;
}

void Simulation::route(Journey& j, const model::Router& router, const model::Port& in) {
  RouterStage stage;
  stage.came_by = in.id;
  j.stage = &stage;
  translate_and_route(j, router, in);
  j.stage = nullptr;
}

void Simulation::translate_and_route(Journey& j, const model::Router& router,
                                     const model::Port& in) {
  depend(translation_kinds_tag(router.id));
  // What the router translated may have been deleted since; its answers must not leave as they are.
  if (!tracked_ && answers_translated(j, router)) (void)standing(j);
  if (snapshot_.translations(router.id) == nullptr && translating_ == nullptr &&
      (!tracked_ || (j.mask != nullptr && of_untranslated_connection()))) {
    depend_on_translation(router, j.key.dst_ip(), j.rewrite.ip_dst.has_value());
    return route_on(j, router, in);
  }
  const Journey came = j;
  switch (translate_in(j, router, in)) {
    case Translated::goes_on:
      if (j.rewrite != came.rewrite) j.stage->came = &came;
      return route_on(j, router, in);
    case Translated::for_router:
      return to_router(j, router, in);
    case Translated::ended:
      return;
  }
}

void Simulation::route_on(Journey& j, const model::Router& router, const model::Port& in) {
  // The lookup comes first: the bits it reads often tell the router's own addresses apart as well.
  const model::RouteLookup found = lookup(j, router);
  // Whoever comes from outside is asked about the networks, which the regions of changed addresses do not tell.
  depend(router_addresses_tag(router.id), in.outside || j.rewrite.ip_src || j.rewrite.ip_dst);
  if (!j.stage->error_translated && !source_allowed(j, router, in)) return;
  if (is_own_address(j, router, in)) return to_router(j, router, in);
  if (!destination_routable(j, router)) return;
  if (!j.ttl_allows_forwarding()) {
    drop_at(j, DropReason::ttl_exceeded, DeviceKind::router, router, "{} is {} on arrival",
            j.key.is_ipv4() ? "TTL" : "hop limit", j.ttl_now());
    return send_error(j, router, in, IcmpErrorKind::time_exceeded);
  }
  const auto way = way_by(j, router, &in, found);
  if (!way) return;
  send_on(j, router, in, *way);
}

std::optional<PortId> Simulation::port_of(const model::Router& router,
                                          const model::RouteEntry& entry) {
  if (entry.port || !entry.next_hop) return entry.port;
  // The next hop's place decides, which the packet's own addresses do not tell.
  depend(router_addresses_tag(router.id), true);
  return snapshot_.connected_port(router.id, *entry.next_hop);
}

std::optional<Simulation::Way> Simulation::way_by(Journey& j, const model::Router& router,
                                                  const model::Port* in,
                                                  const model::RouteLookup& found) {
  const std::string destination = trace_ != nullptr ? j.key.dst_ip().str() : std::string();
  const auto tell = [&](IcmpErrorKind kind) -> std::optional<Way> {
    if (in != nullptr) send_error(j, router, *in, kind);
    return std::nullopt;
  };
  if (found.entry == nullptr) {
    drop_at(j, DropReason::no_route, DeviceKind::router, router, "has no route to {}", destination);
    return tell(IcmpErrorKind::net_unreachable);
  }
  const model::RouteEntry& entry = choose(j, router, found);
  const model::Route* record = entry.connected() ? nullptr : snapshot_.route(entry.id);
  const std::string_view name = record != nullptr ? std::string_view(record->name) : "";
  const auto drop_by_route = [&](DropReason reason, std::string_view what) {
    drop(j, reason, DeviceKind::route, name, entry.id.uuid,
         trace_ == nullptr ? std::string()
                           : fmt::format("{} is in {}{}: {}", destination, found.prefix,
                                         source_text(entry), what));
  };
  if (entry.unreadable) {
    drop_by_route(DropReason::newer_schema, "the route's record is newer than this agent");
    return std::nullopt;
  }
  if (entry.kind == model::RouteKind::blackhole) {
    drop_by_route(DropReason::route_blackhole, "blackhole");
    return std::nullopt;
  }
  if (entry.kind == model::RouteKind::reject) {
    drop_by_route(DropReason::route_reject, "reject");
    return tell(IcmpErrorKind::admin_prohibited);
  }
  if (const auto broadcast = entry.connected() ? found.prefix.broadcast() : std::nullopt;
      broadcast && j.dst_is(*broadcast)) {
    drop_at(j, DropReason::multicast_not_routed, DeviceKind::router, router,
            "destination {} is the broadcast address of {}", destination, found.prefix);
    return std::nullopt;
  }

  const std::optional<PortId> id = port_of(router, entry);
  if (!id) {
    drop_by_route(DropReason::next_hop_unreachable, "no port of the router leads to the next hop");
    return tell(IcmpErrorKind::net_unreachable);
  }
  depend(port_tag(*id));
  const model::Port* out = snapshot_.port(*id);
  const auto* owner = out != nullptr ? std::get_if<RouterId>(&out->device) : nullptr;
  if (owner == nullptr || *owner != router.id) {
    drop_by_route(DropReason::dangling, "its port is not known, or not of this router");
    return std::nullopt;
  }
  if (!port_works(j, *out)) return std::nullopt;
  if (out->mac.is_zero()) {
    drop_at(j, DropReason::dangling, DeviceKind::port, *out, "has no MAC");
    return std::nullopt;
  }
  if (entry.connected()) {
    note_at(j, DeviceKind::router, router, "{} is in {}, connected to port {}", destination,
            found.prefix, out->name);
  } else {
    note(j, DeviceKind::route, name, entry.id.uuid, "{} is in {}{}: {}by port {}, metric {}",
         destination, found.prefix, source_text(entry),
         entry.next_hop ? "to " + entry.next_hop->str() + " " : std::string(), out->name,
         entry.metric);
  }
  const auto neighbour = resolve(j, *out, entry.next_hop ? *entry.next_hop : j.dst_ip());
  if (!neighbour) {
    if (last_try_) return tell(IcmpErrorKind::host_unreachable);
    return std::nullopt;
  }
  return Way{out, *neighbour};
}

}  // namespace plexus::sim
