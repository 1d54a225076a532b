// SPDX-License-Identifier: Apache-2.0
// Port ranges and masks: a mask can say "the first n bits of the port", not "between". A port's own answer to "in the
// range?" needs only one such prefix.
#pragma once

#include <compare>
#include <cstdint>
#include <span>

namespace plexus {

/// The ports from `first` to `last`, both included; `first` <= `last`.
struct PortRange {
  uint16_t first = 0, last = 0xffff;
  auto operator<=>(const PortRange&) const = default;
  [[nodiscard]] bool contains(uint16_t port) const { return first <= port && port <= last; }
};

/// The ports that agree with `value` in the bits of `mask`, which are the leading ones. `value` has no others. Host order.
struct PortPrefix {
  uint16_t value = 0, mask = 0;
  auto operator<=>(const PortPrefix&) const = default;
  [[nodiscard]] bool contains(uint16_t port) const { return (port & mask) == value; }
};

/// The largest prefix around `port` that lies wholly in one or more of the ranges, or wholly outside all of them: all its
/// ports get the port's own answer to "in one of the ranges?". `ranges` are sorted; they may touch and overlap.
[[nodiscard]] PortPrefix prefix_around(uint16_t port, std::span<const PortRange> ranges);

}  // namespace plexus
