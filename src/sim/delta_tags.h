// SPDX-License-Identifier: Apache-2.0
// From what changed in the model to which flows must go: the tags and regions that simulations depend on.
#pragma once

#include <optional>
#include <vector>

#include "flow/tag.h"
#include "model/topology.h"

namespace plexus::sim {

/// Every flow whose answer the delta can change carries one of these tags and meets its region (or has read that
/// table with a rewritten header, see Dependency).
[[nodiscard]] std::vector<TagChange> tags_of(const model::Delta& delta);

// How dependencies are named; the simulator and tags_of() agree through these.
[[nodiscard]] inline Tag bridge_tag(BridgeId id) {
  return {TagKind::bridge, id.uuid, 0};
}
[[nodiscard]] inline Tag mac_tag(BridgeId id, const MacAddr& mac) {
  return {TagKind::bridge_mac, id.uuid, tag_sub(mac)};
}
[[nodiscard]] inline Tag flood_tag(BridgeId id) {
  return {TagKind::bridge_flood, id.uuid, 0};
}
/// Of kind neighbour, of a bridge.
[[nodiscard]] inline Tag address_tag(BridgeId id, const IpAddr& address) {
  return {TagKind::neighbour, id.uuid, tag_sub(address)};
}
[[nodiscard]] inline Tag router_tag(RouterId id) {
  return {TagKind::router, id.uuid, 0};
}
/// The ways to a destination, from a packet that found its best one at a prefix of `length`; of a packet that found
/// none: nullopt. Changes at shorter prefixes do not concern it.
[[nodiscard]] inline Tag routes_tag(RouterId id, std::optional<unsigned> length) {
  return {TagKind::routes, id.uuid, length ? *length + 1 : 0};
}
/// Which addresses the router has, and on which ports.
[[nodiscard]] inline Tag router_addresses_tag(RouterId id) {
  return {TagKind::routes, id.uuid, ~uint64_t{0}};
}
[[nodiscard]] inline Tag port_tag(PortId id) {
  return {TagKind::port, id.uuid, 0};
}
/// Whether the port learns more MACs.
[[nodiscard]] inline Tag learning_tag(PortId id) {
  return {TagKind::port, id.uuid, 1};
}
[[nodiscard]] inline Tag neighbour_tag(PortId id, const IpAddr& address) {
  return {TagKind::neighbour, id.uuid, tag_sub(address)};
}
[[nodiscard]] inline Tag tunnel_key_tag(uint32_t key) {
  return {TagKind::tunnel_key, {}, key};
}
[[nodiscard]] inline Tag host_tag(HostId id) {
  return {TagKind::host, id.uuid, 0};
}
/// A chain, and its rules.
[[nodiscard]] inline Tag chain_tag(ChainId id) {
  return {TagKind::chain, id.uuid, 0};
}
/// Whether it, or a chain that it can jump to, asks for a packet's connection.
[[nodiscard]] inline Tag tracking_tag(ChainId id) {
  return {TagKind::chain, id.uuid, 1};
}
/// A security group, and what it allows to (ingress) or from its members.
[[nodiscard]] inline Tag security_tag(SecurityGroupId id, bool ingress) {
  return {TagKind::security_group, id.uuid, ingress ? 1u : 2u};
}
/// Whether a packet's source, or destination, is in the group.
[[nodiscard]] inline Tag address_group_tag(AddressGroupId id, bool source) {
  return {TagKind::addresses, id.uuid, source ? 1u : 2u};
}
/// Whether a packet's source, or destination, is a member's of the security group.
[[nodiscard]] inline Tag members_tag(SecurityGroupId id, bool source) {
  return {TagKind::addresses, id.uuid, source ? 3u : 4u};
}
/// What a router translates, at whichever addresses of the headers as they came.
[[nodiscard]] inline Tag translations_tag(RouterId id) {
  return {TagKind::translations, id.uuid, 0};
}
/// Which kinds of translations it has at all.
[[nodiscard]] inline Tag translation_kinds_tag(RouterId id) {
  return {TagKind::translations, id.uuid, ~uint64_t{0}};
}
/// What it translates at one address, wherever that was read.
[[nodiscard]] inline Tag translations_tag(RouterId id, const IpAddr& address) {
  return {TagKind::translations, id.uuid, tag_sub(address)};
}
/// Own fields of a pool of source addresses and this host's ports of it; own fields of a pool.
[[nodiscard]] inline Tag pool_tag(SnatPoolId id) {
  return {TagKind::pool, id.uuid, 0};
}
[[nodiscard]] inline Tag pool_tag(PoolId id) {
  return {TagKind::pool, id.uuid, 0};
}
/// Who takes the pool's new connections.
[[nodiscard]] inline Tag serving_tag(PoolId id) {
  return {TagKind::pool, id.uuid, 1};
}
/// Whether the connections that a member has stay with it: what many thousands of flows depend on is their own member only.
[[nodiscard]] inline Tag member_tag(PoolMemberId id) {
  return {TagKind::pool, id.uuid, 0};
}
/// Which mirrors there are at a port, bridge or router.
[[nodiscard]] inline Tag mirrors_tag(const Uuid& at) {
  return {TagKind::mirrors, at, 0};
}
/// Which trace requests there are.
[[nodiscard]] inline Tag trace_requests_tag(const Uuid& at) {
  return {TagKind::trace_requests, at, 0};
}
[[nodiscard]] inline Tag port_group_tag(PortGroupId id) {
  return {TagKind::port_group, id.uuid, 0};
}

}  // namespace plexus::sim
