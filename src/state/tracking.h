// SPDX-License-Identifier: Apache-2.0
// What a packet is to the connections that are known: the bits of a class that say "new", "established", "reply", "related",
// "invalid". Pure: reads a table, changes nothing.
#pragma once

#include <optional>

#include "base/clock.h"
#include "state/connection.h"
#include "state/connection_table.h"
#include "state/tuple.h"

namespace plexus::state {

/// What a TCP segment of a connection without a record is, unless it is a SYN.
enum class Midstream : uint8_t {
  refuse,   ///< invalid
  take_up,  ///< ACK (also with data) and FIN begin a record; SYN-ACK and RST do not
};

struct Standing {
  ConnectionState state = ConnectionState::untracked;
  /// It goes in the reply direction of a connection that has a record. With new_: a SYN that crosses the original's.
  bool reply = false;
  std::optional<ConnectionNumber> number;  ///< the record, also that of an error
  /// new_, and a record is there of a connection that is over: the new one's epoch follows that one's.
  bool opens_anew = false;

  [[nodiscard]] Direction direction() const {
    return reply ? Direction::reply : Direction::original;
  }
};

/// `zone`: the device of the port where the packet enters.
[[nodiscard]] Standing standing_of(const ConnectionTable& table, const Zone& zone,
                                   const Sighting& sighting, Midstream midstream, MonoTime now);

/// The same for a packet that leaves at a port of `zone`, as it is there: for the last stage of a flood, where nobody knows
/// how it came in. It is found as what its answers will be.
[[nodiscard]] Standing standing_leaving(const ConnectionTable& table, const Zone& zone,
                                        const Sighting& sighting, Midstream midstream,
                                        MonoTime now);
/// Where no record of it is known.
[[nodiscard]] Standing standing_without_record(const Sighting& sighting, Midstream midstream);

/// What is known of a connection after its first packet.
[[nodiscard]] SeenBits seen_at_first(const Sighting& sighting);

/// What ConnectionTable::saw() takes for a tracked packet.
[[nodiscard]] std::optional<Segment> segment_of(const Sighting& sighting);

}  // namespace plexus::state
