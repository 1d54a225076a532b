// SPDX-License-Identifier: Apache-2.0
#include "sim/drop_reason.h"

#include <array>

namespace plexus::sim {
namespace {

constexpr std::array<std::string_view, kDropReasonCount> kNames = {
    "none",
    "truncated_ethernet",
    "truncated_vlan",
    "truncated_arp",
    "bad_arp",
    "truncated_ipv4",
    "bad_ipv4",
    "truncated_ipv6",
    "bad_ipv6",
    "bad_ipv6_extension",
    "truncated_l4",
    "bad_l4",
    "unknown_port",
    "port_unbound",
    "stale_key",
    "no_tunnel_address",
    "port_admin_down",
    "bridge_admin_down",
    "router_admin_down",
    "dangling",
    "newer_schema",
    "too_many_devices",
    "bad_source_mac",
    "reserved_multicast",
    "hairpin",
    "bridge_loop",
    "no_receivers",
    "not_for_router",
    "vlan_at_router",
    "not_ip",
    "multicast_not_routed",
    "link_local_not_routed",
    "bad_source_address",
    "bad_destination_address",
    "ttl_exceeded",
    "no_route",
    "route_blackhole",
    "route_reject",
    "next_hop_unreachable",
    "router_port_closed",
    "fragment_at_router",
    "bad_neighbour_discovery",
    "bad_checksum",
    "neighbour_unresolved",
    "too_many_waiting",
    "unstable_topology",
    "by_flow",
    "unknown_output_port",
    "unknown_tunnel_peer",
    "no_tunnel",
    "rewrite_failed",
    "output_failed",
    "too_large_for_upcall",
    "bad_injection",
    "upcalls_limited",
    "upcalls_lost",
    "packet_too_big",
    "mtu_exceeded",
    "icmp_rate_limited",
    "filtered_by_rule",
    "filtered_by_security_group",
    "spoofed_source",
    "filter_unreadable",
    "filter_too_deep",
    "connections_full",
    "connections_of_port",
    "connections_of_tenant",
    "connection_conflict",
    "connection_invalid",
    "icmp_error_unrelated",
    "snat_exhausted",
    "no_member",
    "vip_closed",
    "translation_failed",
    "fragment_refused",
    "vlan_of_sub_port",
    "storm_limit",
    "bad_checksum_offload",
    "bad_segmentation",
};
static_assert(!kNames.back().empty(), "a name for each reason");

}  // namespace

std::string_view to_string(DropReason reason) {
  const auto i = static_cast<size_t>(reason);
  return i < kNames.size() ? kNames[i] : "unknown";
}

std::optional<DropReason> parse_drop_reason(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<DropReason>(i);
  return std::nullopt;
}

DropReason drop_reason_of(ParseError error) {
  switch (error) {
    case ParseError::none:
      return DropReason::none;
    case ParseError::truncated_ethernet:
      return DropReason::truncated_ethernet;
    case ParseError::truncated_vlan:
      return DropReason::truncated_vlan;
    case ParseError::truncated_arp:
      return DropReason::truncated_arp;
    case ParseError::bad_arp:
      return DropReason::bad_arp;
    case ParseError::truncated_ipv4:
      return DropReason::truncated_ipv4;
    case ParseError::bad_ipv4:
      return DropReason::bad_ipv4;
    case ParseError::truncated_ipv6:
      return DropReason::truncated_ipv6;
    case ParseError::bad_ipv6:
      return DropReason::bad_ipv6;
    case ParseError::bad_ipv6_extension:
      return DropReason::bad_ipv6_extension;
    case ParseError::truncated_l4:
      return DropReason::truncated_l4;
    case ParseError::bad_l4:
      return DropReason::bad_l4;
  }
  return DropReason::none;
}

}  // namespace plexus::sim
