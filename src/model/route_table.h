// SPDX-License-Identifier: Apache-2.0
// RouteTable: the ways of one router, IPv4 and IPv6: to the longest prefix of the destination that has a way for the
// packet's source; there, those with the longest prefix of the source; of these, those with the lowest metric. A
// path-compressed binary trie whose nodes are shared between versions: a change copies the path to the root, O(address bits).
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "model/maglev.h"
#include "model/records.h"
#include "packet/addr.h"

namespace plexus::model {

/// One way to a prefix: a static route, or (id nil) the network that a port of the router is connected to.
struct RouteEntry {
  RouteId id;
  RouteKind kind = RouteKind::forward;
  std::optional<PortId> port;
  std::optional<IpAddr> next_hop;
  uint32_t metric = 0;
  uint32_t weight = 1;
  IpPrefix source{};  ///< a network; length 0: all packets
  bool unreadable = false;
  bool operator==(const RouteEntry&) const = default;

  [[nodiscard]] bool connected() const { return id.is_nil(); }
};

/// True when `a` is to be used rather than `b` among ways to the same prefix, for a packet that both are for. An
/// unreadable route comes first (it fails closed, for all sources), then the longer source prefix, the lower metric, a
/// connected network, a route that drops, the lower id.
[[nodiscard]] bool preferred(const RouteEntry& a, const RouteEntry& b);

/// Ways of one prefix that are as good as each other: routes that forward, with equal prefixes and metric; any other way is
/// a group of its own.
struct RouteGroup {
  size_t first = 0, size = 0;  ///< among the ways of the prefix; at most kMaxMaglevMembers
  std::shared_ptr<const MaglevTable> choice;  ///< which of them serves which flow; null: one alone
};

/// What a lookup found, and how much of the addresses it looked at: every packet that agrees with the one asked for in
/// the first `bits_read` bits of the destination and the first `source_bits_read` of the source gets the same answer.
struct RouteLookup {
  const RouteEntry* entry =
      nullptr;      ///< nullptr: no route. Lives as long as the table, as do all others.
  IpPrefix prefix;  ///< of the entry's destination
  unsigned bits_read = 0;
  unsigned source_bits_read = 0;
  /// The entry and all that are as good: routes that forward, with equal prefixes and metric. At most kMaxMaglevMembers.
  std::span<const RouteEntry> group;
  /// Which of the group serves which flow; nullptr when the entry is alone.
  const MaglevTable* choice = nullptr;
  /// What comes after that, for when none of it can be used: ways with equal prefixes, by metric.
  std::span<const RouteGroup> spares;
  const RouteEntry* ways = nullptr;  ///< all of the prefix
  [[nodiscard]] std::span<const RouteEntry> group_of(const RouteGroup& g) const {
    return {ways + g.first, g.size};
  }
};

class RouteTable {
 public:
  struct Node;  ///< one branch or prefix of the trie; opaque

  /// Adds one way to `prefix` (a network: no host bits), kept in the order of `preferred`.
  void add(const IpPrefix& prefix, const RouteEntry& entry);
  /// Removes one way equal to `entry`. False when there is none.
  bool remove(const IpPrefix& prefix, const RouteEntry& entry);

  /// Source: of the destination's family, or none: only ways for all packets are found then.
  [[nodiscard]] RouteLookup lookup(const IpAddr& destination, const IpAddr& source = {}) const;

  /// Every prefix with its ways, best first; IPv4 before IPv6, in the order of the addresses.
  void for_each(
      const std::function<void(const IpPrefix&, const std::vector<RouteEntry>&)>& visit) const;

 private:
  std::shared_ptr<const Node> v4_, v6_;
};

}  // namespace plexus::model
