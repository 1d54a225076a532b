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
