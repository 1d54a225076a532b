// SPDX-License-Identifier: Apache-2.0
// Which packet a fragment is of.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "packet/addr.h"
#include "sim/simulate.h"

namespace plexus::agent {

/// What all fragments of one packet have in common, and no other packet's have at the same time.
struct FragmentKey {
  uint32_t in_port = 0, tunnel_key = 0;
  uint16_t vlan = 0;  ///< there may be several networks behind one interface
  uint32_t id = 0;
  uint8_t protocol = 0;  ///< of IPv6 none: they may name different ones (RFC 8200 4.5)
  IpAddr src, dst;
  auto operator<=>(const FragmentKey&) const = default;

  /// Nothing: the packet is no fragment.
  [[nodiscard]] static std::optional<FragmentKey> of(const sim::Packet& packet);
};

}  // namespace plexus::agent
