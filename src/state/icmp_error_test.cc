// SPDX-License-Identifier: Apache-2.0
#include "state/icmp_error.h"

#include <gtest/gtest.h>

#include <random>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "state/test_connections.h"

namespace plexus::state {
namespace {

/// An error by `from` about a packet of the tuple.
Frame error_about(const Tuple& t, const IpAddr& from,
                  IcmpErrorKind kind = IcmpErrorKind::host_unreachable,
                  std::string_view payload = "payload") {
  const Frame frame = frame_of(t, tcp_flag::kAck, payload);
  const IcmpErrorSpec spec{.kind = kind,
                           .from_mac = {{2, 0, 0, 0, 0, 9}},
                           .to_mac = {{2, 0, 0, 0, 0, 1}},
                           .from_ip = from,
                           .mtu = 1280};
  return icmp_error(spec, parse_packet(frame), frame).value();
}

/// Cuts the quote to `bytes` of it, with the outer lengths and checksums right.
Frame cut(const Frame& error, size_t quote) {
  const ParsedPacket p = parse_packet(error);
  Frame out(error.begin(), error.begin() + static_cast<std::ptrdiff_t>(p.l4_offset + 8 + quote));
  const std::span<uint8_t> ip = std::span<uint8_t>(out).subspan(p.l3_offset);
  if (p.key.is_ipv4()) {
    put_be16(ip, 2, static_cast<uint16_t>(ip.size()));
    put_be16(ip, 10, 0);
    put_be16(ip, 10, internet_checksum(ip.first(20)));
  } else {
    put_be16(ip, 4, static_cast<uint16_t>(ip.size() - 40));
  }
  EXPECT_TRUE(complete_checksum(parse_packet(out), out));
  return out;
}

void expect_right(const Frame& frame, const char* what) {
  const ParsedPacket p = parse_packet(frame);
  EXPECT_TRUE(ipv4_checksum_ok(p, frame)) << what;
  EXPECT_TRUE(transport_checksum_ok(p, frame)) << what;
}

struct Case {
  Tuple sent, delivered;
  IpAddr router;
};
std::vector<Case> cases() {
  return {
      {tcp("10.0.0.1", 1234, "203.0.113.9", 80), tcp("192.0.2.1", 40000, "10.1.0.7", 8080),
       ip("198.51.100.1")},
      {udp("10.0.0.1", 1234, "203.0.113.9", 53), udp("192.0.2.1", 40000, "203.0.113.9", 53),
       ip("198.51.100.1")},
      {echo("10.0.0.1", "203.0.113.9", 7), echo("192.0.2.1", "203.0.113.9", 40001),
       ip("198.51.100.1")},
      {tcp("fd00::1", 1234, "2001:db8::9", 80), tcp("2001:db8::1", 40000, "fd00::7", 8080),
       ip("2001:db8::ffff")},
      {udp("fd00::1", 1234, "2001:db8::9", 53), udp("2001:db8::1", 40000, "2001:db8::9", 53),
       ip("2001:db8::ffff")},
      {echo("fd00::1", "2001:db8::9", 7), echo("2001:db8::1", "2001:db8::9", 40001),
       ip("2001:db8::ffff")},
      {Tuple{ip("10.0.0.1"), ip("203.0.113.9"), 0, 0, 47, EchoRole::none},
       Tuple{ip("192.0.2.1"), ip("203.0.113.9"), 0, 0, 47, EchoRole::none}, ip("198.51.100.1")},
  };
}

TEST(IcmpError, QuotesTheTupleOfThePacketItIsAbout) {
  for (const Case& c : cases()) {
    const Frame error = error_about(c.delivered, c.router);
    const Sighting s = sighting_of(error);
    EXPECT_EQ(s.kind, SightingKind::error);
    EXPECT_EQ(s.tuple.str(), c.delivered.str());
  }
}

TEST(IcmpError, AboutAFragmentOrCutOffBeforeThePortsQuotesNobody) {
  const Frame whole = error_about(tcp("10.0.0.1", 1, "10.0.0.2", 2), ip("10.0.0.9"));
  for (size_t quote = 0; quote < 40; ++quote) {
    const Sighting s = sighting_of(cut(whole, quote));
    EXPECT_EQ(s.kind, SightingKind::error);
    EXPECT_EQ(s.tuple.src.is_none(), quote < 24) << quote;
  }
  const Frame six = error_about(echo("fd00::1", "fd00::2", 3), ip("fd00::9"));
  for (size_t quote = 0; quote <= 40 + 8 + 7; ++quote)
    EXPECT_EQ(sighting_of(cut(six, quote)).tuple.src.is_none(), quote < 46) << quote;
  Frame later = whole;
  later[14 + 20 + 8 + 7] = 5;  // the quoted packet's fragment offset
  EXPECT_TRUE(sighting_of(later).tuple.src.is_none());
}

TEST(IcmpError, IsTranslatedWithWhatItQuotes) {
  for (const Case& c : cases()) {
    for (const auto kind : {IcmpErrorKind::time_exceeded, IcmpErrorKind::packet_too_big}) {
      Frame error = error_about(c.delivered, c.router, kind);
      const auto t = translation_of_error(c.delivered, c.sent, c.router);
      ASSERT_TRUE(translate_icmp_error(t, parse_packet(error), error));
      // What the sender's own network would have said about the packet that it sent.
      EXPECT_EQ(error, error_about(c.sent, c.router, kind)) << c.sent.str();
      expect_right(error, "translated");
    }
  }
}

TEST(IcmpError, ByTheMachineItselfComesFromTheAddressThatWasAskedFor) {
  const Case c = cases()[0];
  Frame error = error_about(c.delivered, c.delivered.dst, IcmpErrorKind::port_unreachable);
  const auto t = translation_of_error(c.delivered, c.sent, c.delivered.dst);
  ASSERT_TRUE(translate_icmp_error(t, parse_packet(error), error));
  EXPECT_EQ(parse_packet(error).key.src_ip(), c.sent.dst);
  EXPECT_EQ(parse_packet(error).key.dst_ip(), c.sent.src);
  expect_right(error, "from the asked-for address");
}

TEST(IcmpError, AboutAnotherPacketIsLeftAlone) {
  const Case c = cases()[0];
  Frame error = error_about(c.sent, c.router);
  const Frame before = error;
  const auto t = translation_of_error(c.delivered, c.sent, c.router);
  EXPECT_FALSE(translate_icmp_error(t, parse_packet(error), error));
  EXPECT_EQ(error, before);
  Frame plain = frame_of(c.delivered);
  EXPECT_FALSE(translate_icmp_error(t, parse_packet(plain), plain));
}

TEST(IcmpError, QuotedUdpWithoutAChecksumStaysWithout) {
  const Case c = cases()[1];
  Frame error = error_about(c.delivered, c.router);
  const ParsedPacket p = parse_packet(error);
  const size_t checksum = p.l4_offset + size_t{8 + 20 + 6};
  put_be16(error, checksum, 0);
  ASSERT_TRUE(complete_checksum(p, error));
  ASSERT_TRUE(translate_icmp_error(translation_of_error(c.delivered, c.sent, c.router), p, error));
  EXPECT_EQ(be16_at(error, checksum), 0);
  expect_right(error, "outer");
}

TEST(IcmpError, AQuotedUdpChecksumNeverBecomesZero) {
  // Among all ports there is one with which the sum comes out as zero, which is written as all ones (RFC 768).
  Case c = cases()[1];
  unsigned all_ones = 0;
  for (unsigned port = 0; port < 65536; ++port) {
    c.sent.src_port = static_cast<uint16_t>(port);
    Frame error = error_about(c.delivered, c.router);
    const ParsedPacket p = parse_packet(error);
    ASSERT_TRUE(
        translate_icmp_error(translation_of_error(c.delivered, c.sent, c.router), p, error));
    const uint16_t sum = be16_at(error, p.l4_offset + size_t{8 + 20 + 6});
    ASSERT_NE(sum, 0) << port;
    if (sum != 0xffff) continue;
    ++all_ones;
    EXPECT_EQ(error, error_about(c.sent, c.router));
  }
  EXPECT_GT(all_ones, 0u);
}

TEST(IcmpError, TranslatingThereAndBackIsTheIdentity) {
  std::mt19937_64 random(5);
  for (unsigned round = 0; round < 2000; ++round) {
    const auto all = cases();
    Case c = all[random() % all.size()];
    // Other ports, identifiers and last bytes of addresses.
    for (Tuple* t : {&c.sent, &c.delivered}) {
      if (has_ports(t->protocol)) {
        t->src_port = static_cast<uint16_t>(random());
        t->dst_port = static_cast<uint16_t>(random());
      } else if (t->echo != EchoRole::none) {
        t->src_port = static_cast<uint16_t>(random());
      }
      t->src.bytes[t->src.size() - 1] = static_cast<uint8_t>(random());
      t->dst.bytes[t->dst.size() - 1] = static_cast<uint8_t>(1 + random() % 250);
    }
    std::string payload(random() % 700, ' ');
    for (char& ch : payload) ch = static_cast<char>(random());
    Frame error = error_about(c.delivered, c.router, IcmpErrorKind::host_unreachable, payload);
    const size_t quote = parse_packet(error).length - parse_packet(error).l4_offset - 8u;
    const size_t least = std::min<size_t>(quote, c.sent.src.is_v6() ? 48 : 28);
    error = cut(error, least + random() % (quote - least + 1));
    const Frame before = error;
    const ErrorTranslation out = translation_of_error(c.delivered, c.sent, c.router);
    ASSERT_TRUE(translate_icmp_error(out, parse_packet(error), error)) << round;
    expect_right(error, "there");
    EXPECT_EQ(sighting_of(error).tuple, c.sent);
    const ErrorTranslation back{
        .quoted = c.sent, .becomes = c.delivered, .src = {}, .dst = c.delivered.src};
    ASSERT_TRUE(translate_icmp_error(back, parse_packet(error), error)) << round;
    ASSERT_EQ(error, before) << round << " " << c.sent.str() << " as " << c.delivered.str();
  }
}

}  // namespace
}  // namespace plexus::state
