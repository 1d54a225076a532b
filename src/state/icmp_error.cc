// SPDX-License-Identifier: Apache-2.0
#include "state/icmp_error.h"

#include "base/check.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace plexus::state {
namespace {

constexpr size_t kQuoteOffset = 8;  // behind the first eight bytes of the ICMP message
constexpr unsigned kMaxExtensions = 8;

bool quotes(bool v6, uint16_t type) {
  if (v6) {
    return type >= icmpv6_type::kUnreachable && type <= icmpv6_type::kParameterProblem;
  }
  return type == icmp_type::kUnreachable || type == icmp_type::kSourceQuench ||
         type == icmp_type::kTimeExceeded || type == icmp_type::kParameterProblem;
}

/// Where the parts of a quoted packet are, as offsets in the frame.
struct Quote {
  size_t l3 = 0, l4 = 0, end = 0;
  Tuple tuple;
};

/// Behind the extension headers of a quoted IPv6 packet: protocol and offset in `packet`. Nothing when they are cut off
/// or it is a later fragment.
struct Upper {
  uint8_t protocol;
  size_t offset;
};
std::optional<Upper> upper_layer_of(std::span<const uint8_t> packet) {
  constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
  Upper up{packet[6], Ipv6View::kSize};
  for (unsigned seen = 0;; ++seen) {
    const bool fragment = up.protocol == kFragment;
    if (!fragment && up.protocol != kHopByHop && up.protocol != kRouting &&
        up.protocol != kDestination) {
      return up;
    }
    if (seen == kMaxExtensions || packet.size() < up.offset + 8) return std::nullopt;
    if (fragment && (be16_at(packet, up.offset + 2) & 0xfff8) != 0) return std::nullopt;
    up.protocol = packet[up.offset];
    up.offset += fragment ? 8 : 8 + size_t{packet[up.offset + 1]} * 8;
    if (up.offset > packet.size()) return std::nullopt;
  }
}

std::optional<Quote> quote_of(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  if (!is_icmp_error(parsed)) return std::nullopt;
  Quote q;
  q.l3 = parsed.l4_offset + kQuoteOffset;
  q.end = parsed.length;
  const std::span<const uint8_t> packet = frame.first(q.end).subspan(q.l3);
  const bool v6 = parsed.key.is_ipv6();
  if (v6) {
    if (packet.size() < Ipv6View::kSize || packet[0] >> 4 != 6) return std::nullopt;
    q.tuple.src = ipv6_at(packet, 8);
    q.tuple.dst = ipv6_at(packet, 24);
    const auto up = upper_layer_of(packet);
    if (!up) return std::nullopt;
    q.tuple.protocol = up->protocol;
    q.l4 = q.l3 + up->offset;
  } else {
    if (packet.size() < Ipv4View::kMinSize || packet[0] >> 4 != 4) return std::nullopt;
    const size_t header = size_t{packet[0]} % 16 * 4;
    if (header < Ipv4View::kMinSize || header > packet.size()) return std::nullopt;
    if ((be16_at(packet, 6) & 0x1fff) != 0) return std::nullopt;
    q.tuple.src = ipv4_at(packet, 12);
    q.tuple.dst = ipv4_at(packet, 16);
    q.tuple.protocol = packet[9];
    q.l4 = q.l3 + header;
  }
  const std::span<const uint8_t> upper = frame.first(q.end).subspan(q.l4);
  if (has_ports(q.tuple.protocol)) {
    if (upper.size() < 4) return std::nullopt;
    q.tuple.src_port = be16_at(upper, 0);
    q.tuple.dst_port = be16_at(upper, 2);
  } else if (q.tuple.protocol == (v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp)) {
    if (upper.empty()) return std::nullopt;
    const uint8_t type = upper[0];
    if (quotes(v6, type)) return std::nullopt;
    const bool request = type == (v6 ? icmpv6_type::kEchoRequest : icmp_type::kEchoRequest),
               reply = type == (v6 ? icmpv6_type::kEchoReply : icmp_type::kEchoReply);
    if (request || reply) {
      if (upper.size() < 6) return std::nullopt;
      q.tuple.echo = request ? EchoRole::request : EchoRole::reply;
      (request ? q.tuple.src_port : q.tuple.dst_port) = be16_at(upper, 4);
    }
  }
  return q;
}

/// Changes words of an error, and with them the checksums that cover them.
class ErrorWriter {
 public:
  ErrorWriter(const ParsedPacket& parsed, const Quote& quote, std::span<uint8_t> frame)
      : frame_(frame),
        v6_(parsed.key.is_ipv6()),
        l3_(parsed.l3_offset),
        icmp_checksum_(parsed.l4_offset + size_t{2}),
        quote_(quote) {
    const uint8_t protocol = quote.tuple.protocol;
    size_t at = 0;
    if (protocol == ip_proto::kTcp) at = 16;
    if (protocol == ip_proto::kUdp) at = 6;
    if (quote.tuple.echo != EchoRole::none) at = 2;
    if (at == 0 || quote.l4 + at + 2 > quote.end) return;
    if (protocol == ip_proto::kUdp && be16_at(frame, quote.l4 + at) == 0) return;
    quoted_checksum_ = quote.l4 + at;
  }

  void outer_address(bool source, const IpAddr& to) {
    const size_t at = l3_ + (v6_ ? (source ? 8u : 24u) : (source ? 12u : 16u));
    // Only ICMPv6 has a pseudo header.
    follow(v6_ ? icmp_checksum_ : l3_ + 10, at, wire_bytes(to));
    put_bytes(frame_, at, wire_bytes(to));
  }

  void quoted_address(bool source, const IpAddr& to) {
    const size_t at = quote_.l3 + (v6_ ? (source ? 8u : 24u) : (source ? 12u : 16u));
    if (!v6_) change_quoted_checksum(quote_.l3 + 10, at, wire_bytes(to), false);
    const bool pseudo = quote_.tuple.protocol != ip_proto::kIcmp;
    if (quoted_checksum_ && pseudo) {
      change_quoted_checksum(*quoted_checksum_, at, wire_bytes(to), is_udp());
    }
    write_quoted(at, wire_bytes(to));
  }

  /// A word of the quoted transport header, at this offset in it.
  void quoted_word(size_t offset, uint16_t to) {
    const Be16 now(to);
    if (quoted_checksum_) {
      change_quoted_checksum(*quoted_checksum_, quote_.l4 + offset, now.bytes, is_udp());
    }
    write_quoted(quote_.l4 + offset, now.bytes);
  }

 private:
  [[nodiscard]] bool is_udp() const { return quote_.tuple.protocol == ip_proto::kUdp; }

  /// The checksum at `checksum` follows the change of what is at `at`, which is not made yet.
  void follow(size_t checksum, size_t at, std::span<const uint8_t> now) {
    put_be16(frame_, checksum,
             checksum_update(be16_at(frame_, checksum), frame_.subspan(at, now.size()), now));
  }
  void change_quoted_checksum(size_t checksum, size_t at, std::span<const uint8_t> now, bool udp) {
    uint16_t sum = checksum_update(be16_at(frame_, checksum), frame_.subspan(at, now.size()), now);
    if (udp && sum == 0) sum = 0xffff;  // zero would say that there is none
    write_quoted(checksum, Be16(sum).bytes);
  }
  /// All that is quoted is covered by the error's own checksum. Everything here stands at an even distance from the
  /// ICMP header, so words are words of its sum.
  void write_quoted(size_t at, std::span<const uint8_t> now) {
    follow(icmp_checksum_, at, now);
    put_bytes(frame_, at, now);
  }

  std::span<uint8_t> frame_;
  bool v6_;
  size_t l3_, icmp_checksum_;
  const Quote& quote_;
  std::optional<size_t> quoted_checksum_;
};

}  // namespace

bool is_icmp_error(const ParsedPacket& parsed) {
  const FlowKey& key = parsed.key;
  if (parsed.error != ParseError::none || parsed.l4_offset == 0) return false;
  const bool v4 = key.is_ipv4() && key.ip_proto == ip_proto::kIcmp,
             v6 = key.is_ipv6() && key.ip_proto == ip_proto::kIcmpv6;
  return (v4 || v6) && quotes(v6, key.tp_src.host());
}

std::optional<Tuple> quoted_tuple(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const auto quote = quote_of(parsed, frame);
  if (!quote) return std::nullopt;
  return quote->tuple;
}

ErrorTranslation translation_of_error(const Tuple& delivered, const Tuple& sent,
                                      const IpAddr& error_src) {
  ErrorTranslation t{.quoted = delivered, .becomes = sent};
  if (error_src == delivered.dst && delivered.dst != sent.dst) t.src = sent.dst;
  if (delivered.src != sent.src) t.dst = sent.src;
  return t;
}

bool translate_icmp_error(const ErrorTranslation& translation, const ParsedPacket& parsed,
                          std::span<uint8_t> frame) {
  const auto quote = quote_of(parsed, frame);
  if (!quote || quote->tuple != translation.quoted) return false;
  const Tuple &from = translation.quoted, &to = translation.becomes;
  const IpFamily family = from.src.family;
  PLEXUS_CHECK(to.protocol == from.protocol && to.echo == from.echo && to.src.family == family &&
                   to.dst.family == family,
               "a translation keeps family and protocol");
  ErrorWriter w(parsed, *quote, frame);
  if (translation.src && translation.src->family == family) w.outer_address(true, *translation.src);
  if (translation.dst && translation.dst->family == family)
    w.outer_address(false, *translation.dst);
  if (to.src != from.src) w.quoted_address(true, to.src);
  if (to.dst != from.dst) w.quoted_address(false, to.dst);
  if (from.echo != EchoRole::none) {
    const bool request = from.echo == EchoRole::request;
    const uint16_t now = request ? to.src_port : to.dst_port;
    if (now != (request ? from.src_port : from.dst_port)) w.quoted_word(4, now);
  } else if (has_ports(from.protocol)) {
    if (to.src_port != from.src_port) w.quoted_word(0, to.src_port);
    if (to.dst_port != from.dst_port) w.quoted_word(2, to.dst_port);
  }
  return true;
}

}  // namespace plexus::state
