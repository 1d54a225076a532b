// SPDX-License-Identifier: Apache-2.0
// A connection as bytes: what travels to the host where answers enter, ahead of the packet, and what lies in the file of connections.
// One version, bounded, canonical: of any bytes that decode, encoding gives the same bytes. Pure; any thread.
//
//   byte  0      version, kWireVersion
//         1      bits 0-2: translations; bit 3: IPv6; bits 4-5: echo role; bit 6: the reply zone is another
//         2      protocol
//         3, 4   what has been seen, original and reply direction
//         5      tenant: 1 if one follows, else 0
//         6-9    epoch
//        10-13   milliseconds since the last packet, at most 2^32 - 1
//        14-     origin (16), zone (16), port (16), reply port (16), reply zone (16, if another), tenant (16, if any)
//                source and destination address (4 or 16 each), source and destination port (2 each)
//        then of each translation: kind; what it changes (bit 0: source address, 1: destination address, 2: source port,
//                3: destination port; never none); device (16), choice (16); the changed fields in that order
// Numbers are big-endian.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "state/connection.h"

namespace plexus::state {

inline constexpr uint8_t kWireVersion = 1;
/// No record is longer.
inline constexpr size_t kMaxWireBytes = 14 + 6 * 16 + 36 + kMaxTranslations * (34 + 36);

/// `c` is sound (is_sound()). `now`: what last_seen is told relative to, since clocks of hosts have nothing in common.
[[nodiscard]] std::vector<uint8_t> encode(const Connection& c, MonoTime now);
/// unsupported: another version. invalid: anything else that encode() would not have made; what follows the record
/// counts. Never reads past the span.
[[nodiscard]] Result<Connection> decode(std::span<const uint8_t> bytes, MonoTime now);

}  // namespace plexus::state
