// SPDX-License-Identifier: Apache-2.0
// What is known of a TCP connection: for each direction, which kinds of segments have been seen. Facts are only ever added, so
// records that two hosts have of one connection are joined by "or", in any order and as often as one likes, and nothing that
// comes late takes a state back. That matters here: a packet is seen where it enters the virtual network and nowhere else, so
// the host of the client knows one direction and the host of the server the other.
//
// Sequence numbers are not followed: for that both directions would have to be seen. What that costs: a forged FIN or RST with
// the right addresses and ports is believed. So neither ever stops a packet of the connection: they shorten how
// long the record is kept without traffic (RFC 5382 REQ-5, RFC 7857 4), and let a SYN start anew. The end systems, which know
// the sequence numbers, decide.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace plexus::state {

enum class Direction : uint8_t {
  original = 0,  ///< as the first packet
  reply = 1,
};
[[nodiscard]] constexpr Direction opposite(Direction d) {
  return d == Direction::original ? Direction::reply : Direction::original;
}

/// Bits of the flags byte of a TCP header.
namespace tcp_flag {
inline constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32;
}

/// A segment by what it means to the state machine.
enum class Segment : uint8_t {
  syn,
  syn_ack,
  ack,  ///< also with data
  fin,  ///< with ACK
  rst,
  bad,  ///< a combination that no TCP sends: nothing at all, SYN with FIN or RST, FIN with RST, FIN without ACK
};
[[nodiscard]] Segment segment_of(uint8_t tcp_flags);

/// Bits of what has been seen in one direction. The numbers are in records: they never change.
namespace seen {
inline constexpr uint8_t kPacket = 1,  ///< anything, of any protocol
    kSyn = 2, kSynAck = 4, kAck = 8, kFin = 16, kRst = 32,
                         kMidstream = 64;  ///< began with another segment than SYN
inline constexpr uint8_t kAll = 127;
}  // namespace seen

/// By Direction.
using SeenBits = std::array<uint8_t, 2>;

[[nodiscard]] inline SeenBits joined(SeenBits a, SeenBits b) {
  return {static_cast<uint8_t>(a[0] | b[0]), static_cast<uint8_t>(a[1] | b[1])};
}
/// The same facts, told by the other end.
[[nodiscard]] inline SeenBits exchanged(SeenBits a) {
  return {a[1], a[0]};
}

enum class TcpState : uint8_t {
  syn_sent,      ///< the original's SYN
  syn_crossed,   ///< both sides' SYN, neither acknowledged (simultaneous open)
  syn_received,  ///< a SYN that has been answered
  established,   ///< the original has acknowledged, or taken up midstream
  fin_wait,      ///< one side has sent FIN
  time_wait,     ///< both have
  closed,        ///< one has sent RST
};
[[nodiscard]] std::string_view to_string(TcpState state);
[[nodiscard]] TcpState tcp_state_of(SeenBits bits);

/// What a segment is to a connection that has a record.
enum class SegmentVerdict : uint8_t {
  /// Belongs to it: what it adds is recorded when it has been let through.
  belongs,
  /// A SYN of the reply direction, while the original's SYN has no answer: a simultaneous open. It belongs to the
  /// connection, but is a new one for policy: only a class that may open connections may send it.
  crosses,
  /// A SYN on a connection that is over: a new connection with the same tuple, so a new epoch. In the reply direction the new
  /// one is the reverse.
  opens_anew,
  invalid,
};
[[nodiscard]] SegmentVerdict verdict_of(SeenBits bits, Direction direction, Segment segment);

/// The facts with those of one more segment, which must not be bad.
[[nodiscard]] SeenBits with_segment(SeenBits bits, Direction direction, Segment segment);

}  // namespace plexus::state
