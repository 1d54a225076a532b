// SPDX-License-Identifier: Apache-2.0
// RouteTable: longest prefix match of one router, IPv4 and IPv6, as a path-compressed binary trie whose nodes are
// shared between versions: a change copies the path to the root, O(address bits).
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
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
  bool unreadable = false;
  bool operator==(const RouteEntry&) const = default;

  [[nodiscard]] bool connected() const { return id.is_nil(); }
};

/// True when `a` is to be used rather than `b` among ways to the same prefix. An unreadable route comes first (it
/// fails closed), then the metric decides, then a connected network, then the id.
[[nodiscard]] bool preferred(const RouteEntry& a, const RouteEntry& b);

/// What a lookup found, and how much of the destination it looked at: every destination that agrees with the one
/// asked for in the first `bits_read` bits gets the same answer.
struct RouteLookup {
  const RouteEntry* entry = nullptr;  ///< nullptr: no route. Lives as long as the table.
  IpPrefix prefix;                    ///< of the entry
  unsigned bits_read = 0;
};

class RouteTable {
 public:
  struct Node;  ///< one branch or prefix of the trie; opaque

  /// Adds one way to `prefix` (a network: no host bits), kept in the order of `preferred`.
  void add(const IpPrefix& prefix, const RouteEntry& entry);
  /// Removes one way equal to `entry`. False when there is none.
  bool remove(const IpPrefix& prefix, const RouteEntry& entry);

  [[nodiscard]] RouteLookup lookup(const IpAddr& destination) const;

  /// Every prefix with its ways, best first; IPv4 before IPv6, in the order of the addresses.
  void for_each(
      const std::function<void(const IpPrefix&, const std::vector<RouteEntry>&)>& visit) const;

 private:
  std::shared_ptr<const Node> v4_, v6_;
};

}  // namespace plexus::model
