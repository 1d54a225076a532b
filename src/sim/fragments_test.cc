// SPDX-License-Identifier: Apache-2.0
#include "sim/fragments.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace plexus::sim {
namespace {

const PacketSpec kSpec{.eth_src = {{2, 0, 0, 0, 0, 1}},
                       .eth_dst = {{2, 0, 0, 0, 0, 2}},
                       .src = IpAddr::v4(0x0a000001),
                       .dst = IpAddr::v4(0x0a000002),
                       .vlan_tci = {},
                       .ipv4_id = 0xfffe};

Frame counting(size_t size) {
  Frame bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 / 3);
  return bytes;
}

TEST(Segments, TcpIsCutAsNetworkCardsDoIt) {
  const Frame payload = counting(3000);
  constexpr uint8_t kFinPushAckCwr = 0x80 | 0x10 | 0x08 | 0x01;
  const Frame large =
      with_partial_checksum(tcp_packet(kSpec, 1000, 80, kFinPushAckCwr, 0xfffffff0, payload));
  const auto parts = segments_of(parse_packet(large), large, 1400);
  ASSERT_EQ(parts.size(), 3u);
  Frame data;
  for (size_t i = 0; i < parts.size(); ++i) {
    SCOPED_TRACE(i);
    const ParsedPacket p = parse_packet(parts[i]);
    ASSERT_EQ(p.error, ParseError::none);
    EXPECT_TRUE(ipv4_checksum_ok(p, parts[i]) && transport_checksum_ok(p, parts[i]));
    EXPECT_EQ(be16_at(parts[i], 14 + 4), static_cast<uint16_t>(0xfffe + i));
    EXPECT_EQ(be32_at(parts[i], p.l4_offset + 4u), static_cast<uint32_t>(0xfffffff0 + data.size()));
    const bool last = i + 1 == parts.size();
    EXPECT_EQ(p.key.tcp_flags, 0x10 | (i == 0 ? 0x80 : 0) | (last ? 0x09 : 0));
    data.insert(data.end(), parts[i].begin() + 54, parts[i].end());
    EXPECT_LE(parts[i].size(), 54u + 1400);
  }
  EXPECT_EQ(data, payload);
}

TEST(Segments, UdpIsCutIntoDatagrams) {
  const Frame payload = counting(2500);
  const Frame large = with_partial_checksum(udp_packet(kSpec, 1000, 53, payload));
  const auto parts = segments_of(parse_packet(large), large, 1000);
  ASSERT_EQ(parts.size(), 3u);
  Frame data;
  for (const Frame& part : parts) {
    const ParsedPacket p = parse_packet(part);
    EXPECT_TRUE(ipv4_checksum_ok(p, part) && transport_checksum_ok(p, part));
    EXPECT_EQ(be16_at(part, p.l4_offset + 4u), part.size() - p.l4_offset);
    data.insert(data.end(), part.begin() + 42, part.end());
  }
  EXPECT_EQ(data, payload);
}

TEST(Segments, WhatIsNoTcpOrUdpIsLeftWhole) {
  const Frame echo = icmp_echo(kSpec, false, 1, 2, counting(100));
  EXPECT_EQ(segments_of(parse_packet(echo), echo, 50), std::vector<Frame>{echo});
}

TEST(Fragments, ChecksumsThatWereLeftToTheCardAreCompletedFirst) {
  const Frame whole = udp_packet(kSpec, 1000, 53, counting(1400));
  const Frame partial = with_partial_checksum(whole);
  ASSERT_NE(partial, whole);
  EXPECT_EQ(fragments_of(parse_packet(partial), partial, {0, true}, 600), fragment(whole, 600));
}

TEST(Fragments, OfALargeOffloadedFrameAreThoseOfItsPackets) {
  const Frame large = with_partial_checksum(udp_packet(kSpec, 1, 2, counting(3000)));
  const ParsedPacket parsed = parse_packet(large);
  std::vector<Frame> expected;
  for (const Frame& part : segments_of(parsed, large, 1472))
    for (Frame& piece : fragment(part, 1000)) expected.push_back(std::move(piece));
  EXPECT_EQ(fragments_of(parsed, large, {1472, true}, 1000), expected);
  EXPECT_EQ(expected.size(), 5u) << "two, two, and the rest";
}

TEST(Fragments, OwnOnesCarryAnIdentificationOfTheirOwn) {
  PacketSpec spec = kSpec;
  spec.ipv4_id = 0;
  for (const bool v6 : {false, true}) {
    if (v6) {
      spec.src = *IpAddr::parse("fd00::1");
      spec.dst = *IpAddr::parse("fd00::2");
    }
    const auto id_of = [&](uint16_t sequence) {
      const auto pieces = own_fragments(icmp_echo(spec, true, 1, sequence, counting(2000)), 1280);
      EXPECT_EQ(pieces.size(), 2u);
      const size_t at = v6 ? 14 + 40 + 4 : 14 + 4;
      for (const Frame& piece : pieces) {
        EXPECT_LE(piece.size(), 1280u + 14);
        EXPECT_EQ(v6 ? be32_at(piece, at) : be16_at(piece, at),
                  v6 ? be32_at(pieces[0], at) : be16_at(pieces[0], at));
      }
      return v6 ? be32_at(pieces[0], at) : be16_at(pieces[0], at);
    };
    EXPECT_NE(id_of(1), id_of(2));
  }
}

TEST(Fragments, NoneWithoutRoom) {
  const Frame whole = udp_packet(kSpec, 1000, 53, counting(1400));
  EXPECT_TRUE(fragments_of(parse_packet(whole), whole, {}, 20).empty());
  EXPECT_TRUE(own_fragments(whole, 20).empty());
}

}  // namespace
}  // namespace plexus::sim
