// SPDX-License-Identifier: Apache-2.0
#include "packet/tunnel_headers.h"

#include <gtest/gtest.h>

#include "packet/build_tunnel.h"
#include "packet/checksum.h"
#include "packet/known_frames.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

PacketSpec outer() {
  return {.eth_src = {{2, 0, 0, 0, 0, 1}},
          .eth_dst = {{2, 0, 0, 0, 0, 2}},
          .src = IpAddr::v4(0xc0000201),
          .dst = IpAddr::v4(0xc0000202)};
}

TEST(Views, Vxlan) {
  const Frame inner = bytes_of(known::kUdp6);
  const Frame f = vxlan_packet(outer(), 50000, 0xabcdef, inner);
  const ParsedPacket p = parse_packet(f);
  EXPECT_EQ(p.key.tp_dst.host(), VxlanView::kUdpPort);
  EXPECT_TRUE(transport_checksum_ok(p, f));
  const auto vxlan = VxlanView::of(std::span(f).subspan(p.l4_offset + 8u));
  ASSERT_TRUE(vxlan);
  EXPECT_EQ(vxlan->vni(), 0xabcdefu);
  EXPECT_TRUE(vxlan->reserved_bits_zero());
  EXPECT_TRUE(std::ranges::equal(vxlan->frame(), inner));
  // RFC 7348 5: reserved bits are ignored, the I flag is not.
  Frame header = bytes_of("ffffffff00002aff");
  ASSERT_TRUE(VxlanView::of(header));
  EXPECT_EQ(VxlanView::of(header)->vni(), 42u);
  EXPECT_FALSE(VxlanView::of(header)->reserved_bits_zero());
  header[0] = 0xf7;
  EXPECT_FALSE(VxlanView::of(header));
}

TEST(Views, Gre) {
  const auto payload = text_bytes("hello");
  struct {
    GreSpec spec;
    const char* header;
  } const cases[] = {
      {{.protocol = 0x0800}, "00000800"},
      {{.protocol = 0x6558, .key = 0x01020304}, "2000655801020304"},
      {{.protocol = 0x86dd, .key = {}, .sequence = 9}, "100086dd00000009"},
      // By hand: b000 + 0800 + 7 + 8 + 6865 + 6c6c + 6f00 = 1fbe0, folded fbe1, complement 041e.
      {{.protocol = 0x0800, .key = 7, .sequence = 8, .checksum = true},
       "b0000800041e00000000000700000008"},
  };
  for (const auto& c : cases) {
    const auto message = gre_message(c.spec, payload);
    const auto header = std::span(message).first(message.size() - payload.size());
    EXPECT_EQ(format_hex(header), c.header);
    const auto gre = GreView::of(message);
    ASSERT_TRUE(gre) << c.header;
    EXPECT_EQ(gre->protocol(), c.spec.protocol);
    EXPECT_EQ(gre->key(), c.spec.key);
    EXPECT_EQ(gre->sequence(), c.spec.sequence);
    EXPECT_EQ(gre->checksum().has_value(), c.spec.checksum);
    EXPECT_TRUE(gre->checksum_ok());
    EXPECT_TRUE(gre->reserved_bits_zero());
    EXPECT_TRUE(std::ranges::equal(gre->payload(), payload));
  }
  auto wrong = gre_message(cases[3].spec, payload);
  wrong.back() ^= 1;
  EXPECT_FALSE(GreView::of(wrong)->checksum_ok());
  // Routing present, bits 4 and 5, another version: not accepted (RFC 2784 2.3). Bits 6 to 12: ignored.
  for (const char* refused : {"40000800", "08000800", "04000800", "00010800", "00070800", "000008"})
    EXPECT_FALSE(GreView::of(bytes_of(refused))) << refused;
  const Frame ignored = bytes_of("02080800");
  ASSERT_TRUE(GreView::of(ignored));
  EXPECT_FALSE(GreView::of(ignored)->reserved_bits_zero());
}

TEST(Views, SctpChecksumIsCrc32c) {
  // The check value that is published for CRC-32C; SCTP leaves its own field out of it.
  const auto plain = [](std::span<const uint8_t> bytes) {
    uint32_t crc = 0xffffffff;
    for (const uint8_t byte : bytes) {
      crc ^= byte;
      for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
  };
  EXPECT_EQ(plain(text_bytes("123456789")), 0xe3069283u);
  Frame message = bytes_of("03e80050deadbeef0000000001020304");
  const uint32_t crc = plain(message);
  // The lowest byte of the CRC comes first on the wire.
  EXPECT_EQ(sctp_checksum(message), __builtin_bswap32(crc));
  message[9] = 0x77;  // whatever stands in the field
  EXPECT_EQ(sctp_checksum(message), __builtin_bswap32(crc));
  const Frame f = sctp_packet(outer(), 1000, 80, 0xdeadbeef, bytes_of("01020304"));
  const ParsedPacket p = parse_packet(f);
  EXPECT_EQ(p.key.tp_src.host(), 1000);
  EXPECT_EQ(p.key.tp_dst.host(), 80);
  EXPECT_EQ(be32_at(f, p.l4_offset + 8u), sctp_checksum(std::span(f).subspan(p.l4_offset)));
}

/// Every view of every truncation of every kind of message, each in a heap block of exactly its size, so that the sanitizer
/// builds see a read behind it. What a view promises is then read in full.
class Truncations : public ::testing::Test {
 protected:
  template <typename Visit>
  static void all_of(std::span<const uint8_t> message, const Visit& visit) {
    for (size_t size = 0; size <= message.size(); ++size) {
      const std::vector<uint8_t> part(message.begin(),
                                      message.begin() + static_cast<std::ptrdiff_t>(size));
      visit(std::span<const uint8_t>(part));
    }
  }
  uint64_t seen_ = 0;  // so that nothing is optimized away
  void read(std::span<const uint8_t> bytes) {
    for (const uint8_t byte : bytes) seen_ += byte;
  }
};

TEST_F(Truncations, Vxlan) {
  all_of(bytes_of("0800000000002a000102"), [&](auto bytes) {
    const auto view = VxlanView::of(bytes);
    EXPECT_EQ(view.has_value(), bytes.size() >= VxlanView::kSize);
    if (view) read(view->frame()), seen_ += view->vni() + view->reserved_bits_zero();
  });
}

TEST_F(Truncations, Gre) {
  for (unsigned flags = 0; flags < 8; ++flags) {
    GreSpec spec{.protocol = 0x0800};
    spec.checksum = (flags & 1) != 0;
    if ((flags & 2) != 0) spec.key = 1;
    if ((flags & 4) != 0) spec.sequence = 2;
    const auto message = gre_message(spec, {});
    all_of(message, [&](auto bytes) {
      const auto view = GreView::of(bytes);
      EXPECT_EQ(view.has_value(), bytes.size() == message.size()) << flags;
      if (!view) return;
      read(view->payload());
      seen_ += view->key().value_or(0) + view->sequence().value_or(0) + view->protocol() +
               view->checksum().value_or(0) + view->checksum_ok() + view->reserved_bits_zero();
    });
  }
}

TEST_F(Truncations, NetworkHeaders) {
  const Frame v4 =
      *parse_frame("ipv4 1.1.1.1 > 2.2.2.2 options 9404000001010101 | udp 1 > 2 | payload \"x\"");
  const Frame v6 = *parse_frame("ipv6 fd00::1 > fd00::2 | ext hop-by-hop 010400000000 | udp 1 > 2");
  const Frame arp = bytes_of(known::kArpRequest);
  all_of(v4, [&](auto frame) {
    if (const auto eth = EthernetView::of(frame)) {
      read(eth->payload());
      if (const auto ip = Ipv4View::of(eth->payload())) read(ip->options()), read(ip->payload());
    }
  });
  all_of(v6, [&](auto frame) {
    if (const auto eth = EthernetView::of(frame))
      if (const auto ip = Ipv6View::of(eth->payload()))
        read(ip->payload()), seen_ += ip->dst().bytes[15];
  });
  all_of(arp, [&](auto frame) {
    if (const auto eth = EthernetView::of(frame))
      if (const auto view = ArpView::of(eth->payload())) seen_ += view->target_ip().bytes[3];
  });
}

/// Also with the lengths of the IP headers cut down to what is there, so that deeper layers are truncated, not IP.
TEST_F(Truncations, Messages) {
  std::vector<Frame> frames;
  for (const auto hex :
       {known::kUdp4, known::kTcp4Vlan, known::kEcho4, known::kUdp6, known::kTcp6Extensions,
        known::kEcho6, known::kArpRequest, known::kNeighbourSolicit, known::kNeighbourAdvert})
    frames.push_back(bytes_of(hex));
  const Frame inside = bytes_of(known::kUdp4);
  frames.push_back(vxlan_packet(outer(), 1, 7, bytes_of(known::kEcho4)));
  frames.push_back(gre_packet(outer(), {.protocol = 0x0800, .key = 1, .checksum = true},
                              std::span(inside).subspan(14)));
  frames.push_back(sctp_packet(outer(), 1, 2, 3, bytes_of("0304")));
  for (const Frame& whole : frames) {
    all_of(whole, [&](auto part) {
      Frame fixed(part.begin(), part.end());
      if (const ParsedPacket p = parse_packet(whole); fixed.size() >= p.l3_offset + 40u) {
        if (p.key.is_ipv4())
          put_be16(fixed, p.l3_offset + 2u, static_cast<uint16_t>(fixed.size() - p.l3_offset));
        if (p.key.is_ipv6())
          put_be16(fixed, p.l3_offset + 4u, static_cast<uint16_t>(fixed.size() - p.l3_offset - 40));
      }
      for (const std::span<const uint8_t> frame : {part, std::span<const uint8_t>(fixed)}) {
        const ParsedPacket p = parse_packet(frame);
        EXPECT_EQ(*parse_frame(format_frame(frame)), Frame(frame.begin(), frame.end()));
        if (const auto icmp = IcmpView::of(p, frame)) read(icmp->body());
        if (const auto nd = NdMessage::of(p, frame)) seen_ += nd->target.bytes[15];
        if (const auto view = ArpView::of(p, frame)) seen_ += view->operation();
        (void)neighbour_answer(p, frame, p.key.dst_ip(), {{2, 0, 0, 0, 0, 9}}, true);
        (void)echo_reply(p, frame);
        for (const Frame& piece : fragment(frame, 48)) read(piece);
        seen_ += may_send_icmp_error(p, frame) + packet_size(p, frame, 100) +
                 transport_checksum_ok(p, frame) + ipv4_checksum_ok(p, frame) +
                 transport_checksum_is_partial(p, frame);
      }
    });
  }
}

}  // namespace
}  // namespace plexus
