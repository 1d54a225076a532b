// SPDX-License-Identifier: Apache-2.0
#include "packet/checksum.h"

#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/known_frames.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

TEST(Checksum, TheExampleOfRfc1071) {
  const Frame b = bytes_of("0001f203f4f5f6f7");
  EXPECT_EQ(checksum_fold(checksum_add(0, b)), 0xddf2);
  EXPECT_EQ(internet_checksum(b), 0x220d);
  EXPECT_EQ(internet_checksum(bytes_of("01")), static_cast<uint16_t>(~0x0100));
  EXPECT_EQ(internet_checksum({}), 0xffff);
}

TEST(Checksum, TheExampleOfRfc1624) {
  // 0x5555 becomes 0x3285 under the checksum 0xdd2f: zero, not all ones.
  EXPECT_EQ(checksum_update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(Checksum, IncrementalEqualsRecomputed) {
  Frame b = bytes_of("45000021000100004011f0000a00010a0a00020a");
  uint16_t sum = internet_checksum(b);
  uint32_t random = 1;
  for (int i = 0; i < 10000; ++i) {
    random = random * 1664525 + 1013904223;
    const size_t at = 2 + (random >> 8) % 9 * 2;
    const auto word = static_cast<uint16_t>(i % 50 == 0 ? 0xffff : random >> 16);
    sum = checksum_update(sum, be16_at(b, at), word);
    put_be16(b, at, word);
    ASSERT_EQ(sum, internet_checksum(b)) << i;
  }
}

/// Words at the edges of one's complement, where +0 and -0 meet: every change of one word, and of runs of words.
TEST(Checksum, IncrementalEqualsRecomputedAtTheEdges) {
  static constexpr uint16_t kWords[] = {0, 1, 0x00ff, 0x7fff, 0x8000, 0xff00, 0xfffe, 0xffff};
  size_t compared = 0;
  for (const uint16_t a : kWords)
    for (const uint16_t b : kWords)
      for (const uint16_t c : kWords)
        for (const uint16_t d : kWords)
          for (const uint16_t e : kWords) {
            Frame before(6), after(6);
            put_be16(before, 0, a), put_be16(before, 2, b), put_be16(before, 4, c);
            put_be16(after, 0, d), put_be16(after, 2, e), put_be16(after, 4, c);
            const uint16_t sum = internet_checksum(before), want = internet_checksum(after);
            // Only zeros sum up to +0; whatever changed into them gives -0 here.
            const bool zeros = d == 0 && e == 0 && c == 0;
            const uint16_t by_words = checksum_update(checksum_update(sum, a, d), b, e);
            const uint16_t by_run =
                checksum_update(sum, std::span(before).first(4), std::span(after).first(4));
            ASSERT_EQ(by_run, by_words);
            if (zeros) {
              ASSERT_EQ(by_words, 0);
              continue;
            }
            ASSERT_EQ(by_words, want) << a << ' ' << b << ' ' << c << " -> " << d << ' ' << e;
            ++compared;
          }
  EXPECT_EQ(compared, 8u * 8 * 8 * 8 * 8 - 64);
}

/// A packet whose fields change one after the other, as rewrites do it, over each protocol and family.
TEST(Checksum, IncrementalEqualsRecomputedInPackets) {
  uint32_t random = 7;
  const auto next = [&] { return random = random * 1664525 + 1013904223; };
  for (const auto hex : {known::kUdp4, known::kTcp4Vlan, known::kUdp6, known::kTcp6Extensions}) {
    Frame f = bytes_of(hex);
    const ParsedPacket p = parse_packet(f);
    const size_t at = *transport_checksum_offset(p);
    for (int i = 0; i < 5000; ++i) {
      // A word of the addresses or of the ports.
      const size_t addresses = p.l3_offset + (p.key.is_ipv4() ? 12u : 8u);
      const size_t word = next() >> 30 == 0
                              ? p.l4_offset + (next() >> 31) * 2u
                              : addresses + (next() >> 16) % (p.key.is_ipv4() ? 4u : 16u) * 2;
      const uint16_t old = be16_at(f, word);
      const auto fresh = static_cast<uint16_t>(next() >> 28 == 0 ? 0xffff : next() >> 16);
      const uint16_t updated = checksum_update(be16_at(f, at), old, fresh);
      put_be16(f, word, fresh);
      const ParsedPacket q = parse_packet(f);
      ASSERT_TRUE(complete_checksum(q, f));
      // UDP sends a computed zero as all ones (RFC 768).
      const bool ones = be16_at(f, at) == 0xffff && q.key.ip_proto == ip_proto::kUdp;
      ASSERT_EQ(ones && updated == 0 ? 0xffff : updated, be16_at(f, at)) << hex << ' ' << i;
    }
  }
}

TEST(Checksum, KnownFramesAreRight) {
  for (const auto hex :
       {known::kUdp4, known::kTcp4Vlan, known::kEcho4, known::kUdp6, known::kTcp6Extensions,
        known::kEcho6, known::kNeighbourSolicit, known::kNeighbourAdvert}) {
    Frame f = bytes_of(hex);
    const ParsedPacket p = parse_packet(f);
    EXPECT_TRUE(ipv4_checksum_ok(p, f)) << hex;
    EXPECT_TRUE(transport_checksum_ok(p, f)) << hex;
    EXPECT_FALSE(transport_checksum_is_partial(p, f)) << hex;
    // Any changed byte of the message is noticed.
    for (size_t at = p.l4_offset; at < f.size(); ++at) {
      f[at] ^= 0x21;
      const auto q = parse_packet(f);
      if (q.error == ParseError::none) {
        EXPECT_FALSE(transport_checksum_ok(q, f)) << hex << " at " << at;
      }
      f[at] ^= 0x21;
    }
    // Completing gives the same bytes again.
    Frame g = f;
    put_be16(g, *transport_checksum_offset(p), 0x5a5a);
    EXPECT_TRUE(complete_checksum(p, g));
    EXPECT_EQ(g, f);
  }
}

TEST(Checksum, HeaderOfIpv4) {
  Frame f = bytes_of(known::kUdp4);
  f[22] ^= 1;
  EXPECT_FALSE(ipv4_checksum_ok(parse_packet(f), f));
}

TEST(Checksum, PartialForm) {
  for (const auto hex :
       {known::kUdp4, known::kTcp4Vlan, known::kUdp6, known::kTcp6Extensions, known::kEcho6}) {
    const Frame whole = bytes_of(hex);
    Frame f = with_partial_checksum(whole);
    const ParsedPacket p = parse_packet(f);
    EXPECT_NE(f, whole);
    EXPECT_TRUE(transport_checksum_is_partial(p, f)) << hex;
    EXPECT_FALSE(transport_checksum_ok(p, f)) << hex;
    EXPECT_TRUE(complete_checksum(p, f));
    EXPECT_EQ(f, whole);
  }
  // ICMP over IPv4 has no pseudo header, so no partial form.
  const Frame echo = bytes_of(known::kEcho4);
  EXPECT_EQ(with_partial_checksum(echo), echo);
}

TEST(Checksum, UdpZero) {
  Frame f = bytes_of(known::kUdp4);
  put_be16(f, 40, 0);
  EXPECT_TRUE(transport_checksum_ok(parse_packet(f), f));
  Frame g = bytes_of(known::kUdp6);
  put_be16(g, 60, 0);
  EXPECT_FALSE(transport_checksum_ok(parse_packet(g), g));
}

TEST(Checksum, UdpComputedZeroIsSentAsOnes) {
  // Some source port makes the sum all ones; then the field must not say "no checksum".
  const PacketSpec spec{.src = IpAddr::v4(0x0a000001), .dst = IpAddr::v4(0x0a000002)};
  bool met = false;
  for (unsigned port = 0; port < 65536 && !met; ++port) {
    const Frame f = udp_packet(spec, static_cast<uint16_t>(port), 53);
    EXPECT_NE(be16_at(f, 40), 0) << port;
    met = be16_at(f, 40) == 0xffff;
    if (met) {
      EXPECT_TRUE(transport_checksum_ok(parse_packet(f), f));
    }
  }
  EXPECT_TRUE(met);
}

TEST(Checksum, FragmentsAreNotJudged) {
  const PacketSpec spec{.src = IpAddr::v4(0x0a000001), .dst = IpAddr::v4(0x0a000002)};
  const Frame big = udp_packet(spec, 1, 2, Frame(3000));
  for (Frame piece : fragment(big, 1500)) {
    const ParsedPacket p = parse_packet(piece);
    EXPECT_TRUE(transport_checksum_ok(p, piece));
    EXPECT_FALSE(transport_checksum_is_partial(p, piece));
    EXPECT_FALSE(complete_checksum(p, piece));
  }
}

}  // namespace
}  // namespace plexus
