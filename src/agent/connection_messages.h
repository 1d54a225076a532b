// SPDX-License-Identifier: Apache-2.0
// What agents say to each other about connections, as bytes of one datagram each. Pure; any thread.
//
//   byte 0-1   "PC"
//        2     version, 1
//        3     kind: MessageKind
//        4-19  who sends it: the host's id
//        20-   a connection (state/connection_wire.h)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "state/connection.h"

namespace plexus::agent {

/// The numbers are on the wire: they never change.
enum class MessageKind : uint8_t {
  record = 1,  ///< keep this, and say what you have then
  stored = 2,  ///< what the sender has in that place now
  refused =
      3,  ///< it keeps nothing in that place: a limit forbids it; the connection is the one it was offered
  news = 4,   ///< more has been seen of a connection that both know; nothing is answered
  taken = 5,  ///< as refused: another connection has the tuple that its answers enter with
};

struct ConnectionMessage {
  MessageKind kind{};
  HostId from;
  state::Connection connection;
};

/// No message is longer: it fits into a packet of any IPv6 link.
inline constexpr size_t kMaxMessageBytes = 512;

/// The connection is sound.
[[nodiscard]] std::vector<uint8_t> encode(const ConnectionMessage& message, MonoTime now);
/// unsupported: another version. invalid: anything else that encode() would not have made.
[[nodiscard]] Result<ConnectionMessage> decode_message(std::span<const uint8_t> bytes,
                                                       MonoTime now);

}  // namespace plexus::agent
