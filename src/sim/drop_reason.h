// SPDX-License-Identifier: Apache-2.0
// DropReason: why a packet went nowhere. A closed list: traces, counters, flows and metrics use these names, and
// docs/drop-reasons.md says of each what it means and what to do (a test holds the two equal).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "packet/flow_key.h"

namespace plexus::sim {

enum class DropReason : uint8_t {
  none,
  // The frame cannot be parsed (plexus::ParseError, same names).
  truncated_ethernet,
  truncated_vlan,
  truncated_arp,
  bad_arp,
  truncated_ipv4,
  bad_ipv4,
  truncated_ipv6,
  bad_ipv6,
  bad_ipv6_extension,
  truncated_l4,
  bad_l4,
  // Where it entered or should leave.
  unknown_port,
  port_unbound,
  stale_key,
  no_tunnel_address,
  port_admin_down,
  bridge_admin_down,
  router_admin_down,
  dangling,
  newer_schema,
  too_many_devices,
  // Bridges.
  bad_source_mac,
  reserved_multicast,
  hairpin,
  bridge_loop,
  no_receivers,
  // Routers.
  not_for_router,
  vlan_at_router,
  not_ip,
  multicast_not_routed,
  link_local_not_routed,
  bad_source_address,
  bad_destination_address,
  ttl_exceeded,
  no_route,
  route_blackhole,
  route_reject,
  next_hop_unreachable,
  router_port_closed,
  fragment_at_router,
  bad_neighbour_discovery,
  bad_checksum,
  // Packets that wait.
  neighbour_unresolved,
  too_many_waiting,
  unstable_topology,
  // Datapaths, without asking a simulation.
  by_flow,
  unknown_output_port,
  unknown_tunnel_peer,
  no_tunnel,
  rewrite_failed,
  output_failed,
  too_large_for_upcall,
  bad_injection,
  upcalls_limited,
  upcalls_lost,
  // Sizes and rates; last, because others know the numbers of those above.
  packet_too_big,
  mtu_exceeded,
  icmp_rate_limited,
  // Filters.
  filtered_by_rule,
  filtered_by_security_group,
  spoofed_source,
  filter_unreadable,
  filter_too_deep,
  // Connections and translations.
  connections_full,
  connections_of_port,
  connections_of_tenant,
  connection_conflict,
  connection_invalid,
  icmp_error_unrelated,
  snat_exhausted,
  no_member,
  vip_closed,
  translation_failed,
  fragment_refused,
  // Sub-ports.
  vlan_of_sub_port,
  storm_limit,
  // Offloads, told by datapaths.
  bad_checksum_offload,
  bad_segmentation,
};
/// One more than the last.
inline constexpr size_t kDropReasonCount = static_cast<size_t>(DropReason::bad_segmentation) + 1;

/// "port_unbound": the enumerator's own name.
[[nodiscard]] std::string_view to_string(DropReason reason);
[[nodiscard]] std::optional<DropReason> parse_drop_reason(std::string_view name);
/// The reason of the same name.
[[nodiscard]] DropReason drop_reason_of(ParseError error);

}  // namespace plexus::sim
