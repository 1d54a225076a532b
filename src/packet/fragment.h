// SPDX-License-Identifier: Apache-2.0
// What the fragments of one packet have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/flow_key.h"

namespace plexus {

struct Fragment {
  uint32_t id = 0;      ///< 16 bits of IPv4 (RFC 791), 32 of IPv6 (RFC 8200)
  uint32_t offset = 0;  ///< in bytes, of what has been cut
  uint32_t length = 0;  ///< in bytes
  /// What the header says that begins what has been cut. IPv6: perhaps an extension header's, and only the first one has more; the
  /// fragments of a packet may say different things (RFC 8200 4.5).
  uint8_t protocol = 0;
};

/// Nothing: `frame`, of which `parsed` tells, is no fragment.
[[nodiscard]] std::optional<Fragment> fragment_of(const ParsedPacket& parsed,
                                                  std::span<const uint8_t> frame);

}  // namespace plexus
