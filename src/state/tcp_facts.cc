// SPDX-License-Identifier: Apache-2.0
#include "state/tcp_facts.h"

#include "base/check.h"

namespace plexus::state {

Segment segment_of(uint8_t flags) {
  using namespace tcp_flag;
  // ECN's two bits are nobody's business here.
  const uint8_t kind = flags & (kFin | kSyn | kRst | kAck);
  switch (kind) {
    case kSyn:
      return Segment::syn;
    case kSyn | kAck:
      return Segment::syn_ack;
    case kAck:
      return Segment::ack;
    case kFin | kAck:
      return Segment::fin;
    case kRst:
    case kRst | kAck:
      return Segment::rst;
    default:
      return Segment::bad;
  }
}

std::string_view to_string(TcpState state) {
  switch (state) {
    case TcpState::syn_sent:
      return "syn_sent";
    case TcpState::syn_crossed:
      return "syn_crossed";
    case TcpState::syn_received:
      return "syn_received";
    case TcpState::established:
      return "established";
    case TcpState::fin_wait:
      return "fin_wait";
    case TcpState::time_wait:
      return "time_wait";
    case TcpState::closed:
      return "closed";
  }
  return "unknown";
}

TcpState tcp_state_of(SeenBits bits) {
  using namespace seen;
  const uint8_t original = bits[0], reply = bits[1], any = original | reply;
  if ((any & kRst) != 0) return TcpState::closed;
  if ((original & reply & kFin) != 0) return TcpState::time_wait;
  if ((any & kFin) != 0) return TcpState::fin_wait;
  // The third segment of the handshake, seen where it enters: who sends it has had the other's SYN-ACK. The side that
  // answered sends nothing without SYN before it has had that. (Without a SYN-ACK of its own it only challenges, RFC 5961.)
  if ((original & kAck) != 0 || (any & kMidstream) != 0) return TcpState::established;
  if ((reply & kAck) != 0 && (reply & (kSyn | kSynAck)) != 0) return TcpState::established;
  // Crossed SYNs, each answered by SYN-ACK.
  if ((original & reply & kSynAck) != 0) return TcpState::established;
  if ((any & (kSynAck | kAck)) != 0) return TcpState::syn_received;
  if ((reply & kSyn) != 0) return TcpState::syn_crossed;
  return TcpState::syn_sent;
}

SegmentVerdict verdict_of(SeenBits bits, Direction direction, Segment segment) {
  using namespace seen;
  if (segment == Segment::bad) return SegmentVerdict::invalid;
  const TcpState state = tcp_state_of(bits);
  const bool reply = direction == Direction::reply;
  if (segment == Segment::syn) {
    if (state == TcpState::time_wait || state == TcpState::closed)
      return SegmentVerdict::opens_anew;
    if (!reply) return SegmentVerdict::belongs;  // again, or the end systems sort it out (RFC 5961)
    // Of a connection that is answered, it is a SYN for the end system to challenge; nothing is opened by it.
    if (state != TcpState::syn_sent && state != TcpState::syn_crossed)
      return SegmentVerdict::belongs;
    return SegmentVerdict::crosses;
  }
  if (segment == Segment::syn_ack && !reply) {
    // The side that opened answers only a SYN that crossed its own. Where that is not known because it entered elsewhere,
    // the far end is not told anything that it does not know: it belongs once the connection has been answered.
    const bool answered = bits[1] != 0;
    return answered ? SegmentVerdict::belongs : SegmentVerdict::invalid;
  }
  return SegmentVerdict::belongs;
}

SeenBits with_segment(SeenBits bits, Direction direction, Segment segment) {
  PLEXUS_CHECK(segment != Segment::bad, "a bad segment is not let through");
  uint8_t more = seen::kPacket;
  switch (segment) {
    case Segment::syn:
      more |= seen::kSyn;
      break;
    case Segment::syn_ack:
      more |= seen::kSynAck;
      break;
    case Segment::ack:
      more |= seen::kAck;
      break;
    case Segment::fin:
      more |= seen::kAck | seen::kFin;
      break;
    case Segment::rst:
      more |= seen::kRst;
      break;
    case Segment::bad:
      break;
  }
  uint8_t& side = bits[static_cast<size_t>(direction)];
  side = static_cast<uint8_t>(side | more);
  return bits;
}

}  // namespace plexus::state
