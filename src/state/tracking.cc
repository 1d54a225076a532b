// SPDX-License-Identifier: Apache-2.0
#include "state/tracking.h"

namespace plexus::state {
namespace {

Standing of_unknown(const Sighting& s, Midstream midstream) {
  Standing standing;
  standing.state = ConnectionState::new_;
  if (s.tuple.echo == EchoRole::reply) standing.state = ConnectionState::invalid;
  if (s.tuple.protocol == ip_proto::kTcp) {
    const Segment segment = segment_of(s.tcp_flags);
    const bool taken_up =
        midstream == Midstream::take_up && (segment == Segment::ack || segment == Segment::fin);
    if (segment != Segment::syn && !taken_up) standing.state = ConnectionState::invalid;
  }
  return standing;
}

/// Whether packets of the original direction are of an established connection: it has been answered, or the client has
/// acknowledged an answer that came by another host.
bool is_established(const Tuple& t, SeenBits bits) {
  if (bits[1] != 0) return true;
  return t.protocol == ip_proto::kTcp && (bits[0] & seen::kAck) != 0 &&
         (bits[0] & seen::kMidstream) == 0;
}

Standing standing_by(const ConnectionTable& table,
                     const std::optional<ConnectionTable::Found>& found, const Sighting& s,
                     Midstream midstream) {
  if (!found) return standing_without_record(s, midstream);
  Standing standing;
  standing.number = found->number;
  standing.reply = found->direction == Direction::reply;
  if (s.kind == SightingKind::error) {
    standing.state = ConnectionState::related;
    return standing;
  }
  const SeenBits bits = table.seen(found->number);
  standing.state = standing.reply || is_established(s.tuple, bits) ? ConnectionState::established
                                                                   : ConnectionState::new_;
  if (s.tuple.protocol != ip_proto::kTcp) return standing;
  switch (verdict_of(bits, found->direction, segment_of(s.tcp_flags))) {
    case SegmentVerdict::belongs:
      break;
    case SegmentVerdict::crosses:
      standing.state = ConnectionState::new_;
      break;
    case SegmentVerdict::opens_anew:
      standing.state = ConnectionState::new_;
      standing.opens_anew = true;
      break;
    case SegmentVerdict::invalid:
      standing.state = ConnectionState::invalid;
      break;
  }
  return standing;
}

}  // namespace

std::optional<Segment> segment_of(const Sighting& s) {
  if (s.kind != SightingKind::tracked || s.tuple.protocol != ip_proto::kTcp) return std::nullopt;
  return segment_of(s.tcp_flags);
}

Standing standing_of(const ConnectionTable& table, const Zone& zone, const Sighting& s,
                     Midstream midstream, MonoTime now) {
  if (s.kind == SightingKind::untracked || s.tuple.src.is_none())
    return standing_without_record(s, midstream);
  // An error goes the way of the answers to the packet that it quotes.
  const bool error = s.kind == SightingKind::error;
  return standing_by(table, table.find(zone, error ? s.tuple.reversed() : s.tuple, now), s,
                     midstream);
}

Standing standing_leaving(const ConnectionTable& table, const Zone& zone, const Sighting& s,
                          Midstream midstream, MonoTime now) {
  if (s.kind == SightingKind::untracked || s.tuple.src.is_none())
    return standing_without_record(s, midstream);
  const bool error = s.kind == SightingKind::error;
  auto found = table.find(zone, error ? s.tuple : s.tuple.reversed(), now);
  if (found) found->direction = opposite(found->direction);
  return standing_by(table, found, s, midstream);
}

Standing standing_without_record(const Sighting& s, Midstream midstream) {
  Standing standing;
  if (s.kind == SightingKind::error) standing.state = ConnectionState::invalid;
  if (s.kind == SightingKind::tracked) standing = of_unknown(s, midstream);
  return standing;
}

SeenBits seen_at_first(const Sighting& s) {
  SeenBits bits{seen::kPacket, 0};
  const auto segment = segment_of(s);
  if (!segment || *segment == Segment::bad) return bits;
  bits = with_segment(bits, Direction::original, *segment);
  if (*segment != Segment::syn) bits[0] |= seen::kMidstream;
  return bits;
}

}  // namespace plexus::state
