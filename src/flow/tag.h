// SPDX-License-Identifier: Apache-2.0
// Tags: what an answer depends on. A simulation names every object and table it read; a change names what it
// changed and where. Absence is a dependency too: "no port has this MAC" is a read of the MAC table at that MAC.
#pragma once

#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "flow/match.h"

namespace plexus {

enum class TagKind : uint8_t {
  bridge,        ///< the bridge's own fields
  bridge_mac,    ///< MAC table of a bridge at one MAC; sub = the MAC as a number
  bridge_flood,  ///< who gets a flooded frame
  router,        ///< the router's own fields
  routes,        ///< a router's route table; cubes give the prefix
  port,          ///< a port: its fields, peer and binding
  neighbour,     ///< neighbour table of a router port at one address; sub = hash of the address
  tunnel_key,    ///< the local meaning of a tunnel key; sub = the key, id nil
  host,          ///< a host's tunnel address or peer state
  chain,  ///< a chain and its rules; cubes give the packets that a rule can be met by; sub 1: whether it can ask
          ///< for a packet's connection
  security_group,  ///< what a security group allows; sub = 1 to its members, 2 from them
  addresses,  ///< who is in an address group (sub 1 as source, 2 as destination) or security group (3, 4)
  port_group,    ///< a port group's own record
  translations,  ///< what a router translates; sub: an address of a floating address or virtual one (tag_sub()), 0: any
  pool,     ///< a pool of source addresses; a pool of members (sub 1: who serves); a member of one
  dhcp,     ///< the subnets of a bridge
  mirrors,  ///< of a port, bridge or router
  trace_requests,  ///< the same
};

/// Names one thing that can change. `sub` narrows exact-match tables to one entry.
struct Tag {
  TagKind kind{};
  Uuid id;
  uint64_t sub = 0;
  auto operator<=>(const Tag&) const = default;
  [[nodiscard]] std::string str() const;
};

/// A change: flows carrying `tag` and meeting `region` (everything when empty) must go.
struct TagChange {
  Tag tag;
  std::optional<Match> region;
};

/// A dependency of a flow. `rewritten`: the header had been rewritten when the table was read, so the flow's own
/// match says nothing about where in the table it read; every change of the tag hits it.
struct Dependency {
  Tag tag;
  bool rewritten = false;
  auto operator<=>(const Dependency&) const = default;
};

[[nodiscard]] inline uint64_t tag_sub(const MacAddr& mac) {
  uint64_t v = 0;
  std::memcpy(&v, mac.bytes.data(), 6);
  return __builtin_bswap64(v) >> 16;
}
[[nodiscard]] uint64_t tag_sub(const IpAddr& addr);

}  // namespace plexus

template <>
struct std::hash<plexus::Tag> {
  size_t operator()(const plexus::Tag& t) const noexcept {
    return std::hash<plexus::Uuid>{}(t.id) ^ (static_cast<size_t>(t.kind) * 0x9e3779b97f4a7c15ULL) ^
           (t.sub * 0xff51afd7ed558ccdULL);
  }
};
