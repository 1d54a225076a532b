// SPDX-License-Identifier: Apache-2.0
#include "packet/flow_key.h"

#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/known_frames.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

/// The frame that a text describes.
Frame frame_of(std::string_view text) {
  auto f = parse_frame(text);
  EXPECT_TRUE(f.ok()) << (f.ok() ? "" : f.error().message);
  return f.ok() ? *std::move(f) : Frame{};
}

struct KeyCase {
  const char* name;
  std::string_view hex;
  uint16_t eth_type, vlan_tci;
  uint8_t proto, frag;
  uint16_t tp_src, tp_dst;
  uint8_t tcp_flags;
  const char *src, *dst;
  uint16_t l3, l4;
};

TEST(ParsePacket, ReadsKnownFrames) {
  const KeyCase cases[] = {
      {"udp4", known::kUdp4, 0x0800, 0, 17, 0, 1000, 53, 0, "10.0.1.10", "10.0.2.10", 14, 34},
      {"tcp4 vlan", known::kTcp4Vlan, 0x0800, 0x100c, 6, 0, 1000, 80, 2, "10.0.1.10", "10.0.2.10",
       18, 38},
      {"echo4", known::kEcho4, 0x0800, 0, 1, 0, 8, 0, 0, "10.0.1.10", "10.0.2.10", 14, 34},
      {"udp6", known::kUdp6, 0x86dd, 0, 17, 0, 1000, 53, 0, "fd00:1::a", "fd00:2::a", 14, 54},
      {"tcp6 extensions", known::kTcp6Extensions, 0x86dd, 0, 6, 0, 1000, 80, 0x12, "fd00:1::a",
       "fd00:2::a", 14, 70},
      {"echo6", known::kEcho6, 0x86dd, 0, 58, 0, 128, 0, 0, "fd00:1::a", "fd00:2::a", 14, 54},
      {"arp", known::kArpRequest, 0x0806, 0, 0, 0, 1, 0, 0, "10.0.1.10", "10.0.1.1", 14, 0},
      {"ns", known::kNeighbourSolicit, 0x86dd, 0, 58, 0, 135, 0, 0, "fd00:1::a", "ff02::1:ff00:1",
       14, 54},
  };
  for (const KeyCase& c : cases) {
    SCOPED_TRACE(c.name);
    const Frame frame = bytes_of(c.hex);
    const ParsedPacket p = parse_packet(frame);
    EXPECT_EQ(p.error, ParseError::none);
    EXPECT_EQ(p.key.eth_type.host(), c.eth_type);
    EXPECT_EQ(p.key.vlan_tci.host(), c.vlan_tci);
    EXPECT_EQ(p.key.ip_proto, c.proto);
    EXPECT_EQ(p.key.ip_frag, c.frag);
    EXPECT_EQ(p.key.tp_src.host(), c.tp_src);
    EXPECT_EQ(p.key.tp_dst.host(), c.tp_dst);
    EXPECT_EQ(p.key.tcp_flags, c.tcp_flags);
    EXPECT_EQ(p.key.src_ip().str(), c.src);
    EXPECT_EQ(p.key.dst_ip().str(), c.dst);
    EXPECT_EQ(p.l3_offset, c.l3);
    EXPECT_EQ(p.l4_offset, c.l4);
    EXPECT_EQ(p.length, frame.size());
    EXPECT_EQ(p.key.in_port, 0u);
    EXPECT_EQ(p.key.tunnel_key, 0u);
    EXPECT_EQ(p.key.src_mac(), mac_at(frame, 6));
    EXPECT_EQ(p.key.dst_mac(), mac_at(frame, 0));
  }
}

TEST(ParsePacket, TosAndTtl) {
  const auto v4 = parse_packet(frame_of("ipv4 1.1.1.1 > 2.2.2.2 ttl 7 tos 0xb9 | udp 1 > 2"));
  EXPECT_EQ(v4.key.ip_ttl, 7);
  EXPECT_EQ(v4.key.ip_tos, 0xb9);
  const auto v6 =
      parse_packet(frame_of("ipv6 fd00::1 > fd00::2 ttl 7 tos 0xb9 flow 0xfffff | udp 1 > 2"));
  EXPECT_EQ(v6.key.ip_ttl, 7);
  EXPECT_EQ(v6.key.ip_tos, 0xb9);
}

TEST(ParsePacket, VlanTags) {
  const auto two = parse_packet(
      frame_of("eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 5 tpid 0x88a8 pcp 3 | vlan 6 | "
               "ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 2"));
  EXPECT_EQ(two.key.vlan_tci.host(), 0x7005);
  EXPECT_EQ(two.key.eth_type.host(), 0x0800);
  EXPECT_EQ(two.l3_offset, 22);
  // A priority tag is a tag.
  const Frame tagged = with_vlan(bytes_of(known::kUdp4), 0);
  EXPECT_EQ(parse_packet(tagged).key.vlan_tci.host(), 0x1000);
  // The third tag stays what it is: an EtherType that nobody reads further.
  const Frame three = with_vlan(with_vlan(tagged, 2), 3);
  const auto p = parse_packet(three);
  EXPECT_EQ(p.error, ParseError::none);
  EXPECT_EQ(p.key.eth_type.host(), 0x8100);
  EXPECT_EQ(p.key.vlan_tci.host(), 0x1003);
  EXPECT_EQ(p.l3_offset, 0);
  EXPECT_EQ(p.length, three.size());
}

TEST(ParsePacket, UnknownTypesAreNoError) {
  const auto unknown = parse_packet(
      frame_of("eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x88cc | payload hex 0102"));
  EXPECT_EQ(unknown.error, ParseError::none);
  EXPECT_EQ(unknown.key.eth_type.host(), 0x88cc);
  const auto llc = parse_packet(
      frame_of("eth 02:00:00:00:00:01 > 01:80:c2:00:00:00 type 38 | payload hex 424203"));
  EXPECT_EQ(llc.key.eth_type.host(), 0x05ff);
  const auto proto = parse_packet(frame_of("ipv4 1.1.1.1 > 2.2.2.2 proto 47 | payload hex 00"));
  EXPECT_EQ(proto.error, ParseError::none);
  EXPECT_EQ(proto.key.ip_proto, 47);
  EXPECT_EQ(proto.l4_offset, 0);
  // Each ICMP belongs to one family.
  EXPECT_EQ(parse_packet(frame_of("ipv4 1.1.1.1 > 2.2.2.2 proto 58 | payload hex 00")).error,
            ParseError::none);
  EXPECT_EQ(parse_packet(frame_of("ipv6 fd00::1 > fd00::2 proto 1 | payload hex 00")).error,
            ParseError::none);
}

TEST(ParsePacket, PaddingIsNotPartOfThePacket) {
  Frame f = bytes_of(known::kEcho4);
  const size_t size = f.size();
  f.resize(60);
  const auto p = parse_packet(f);
  EXPECT_EQ(p.error, ParseError::none);
  EXPECT_EQ(p.length, size);
  // A UDP header that lies in the padding is not there.
  const auto cut =
      parse_packet(frame_of("ipv4 1.1.1.1 > 2.2.2.2 proto 17 | payload hex 01020304 | pad 20"));
  EXPECT_EQ(cut.error, ParseError::truncated_l4);
}

TEST(ParsePacket, Fragments) {
  struct {
    const char* text;
    FragKind kind;
    uint8_t proto;
    uint16_t tp_dst;
  } const cases[] = {
      {"ipv4 1.1.1.1 > 2.2.2.2 frag off 0 more id 7 | udp 1 > 53 len 3000 | payload 32 bytes",
       FragKind::first, 17, 53},
      {"ipv4 1.1.1.1 > 2.2.2.2 frag off 1480 id 7 proto 17 | payload 32 bytes", FragKind::later, 17,
       0},
      {"ipv4 1.1.1.1 > 2.2.2.2 frag off 8 more id 7 proto 6 | payload hex 01", FragKind::later, 6,
       0},
      {"ipv6 fd00::1 > fd00::2 | frag off 0 more id 7 | udp 1 > 53 | payload 32 bytes",
       FragKind::first, 17, 53},
      {"ipv6 fd00::1 > fd00::2 proto 17 | frag off 1448 id 7 | payload 32 bytes", FragKind::later,
       17, 0},
      {"ipv6 fd00::1 > fd00::2 | frag off 0 id 7 | udp 1 > 53", FragKind::none, 17, 53},  // atomic
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const auto p = parse_packet(frame_of(c.text));
    EXPECT_EQ(p.error, ParseError::none);
    EXPECT_EQ(p.key.ip_frag, static_cast<uint8_t>(c.kind));
    EXPECT_EQ(p.key.ip_proto, c.proto);
    EXPECT_EQ(p.key.tp_dst.host(), c.tp_dst);
    EXPECT_EQ(p.l4_offset != 0, c.kind != FragKind::later);
  }
}

TEST(ParsePacket, SctpPorts) {
  const auto p =
      parse_packet(frame_of("ipv6 fd00::1 > fd00::2 proto 132 | payload hex 03e8 | pad 12"));
  EXPECT_EQ(p.error, ParseError::truncated_l4);
  const auto q = parse_packet(
      frame_of("ipv6 fd00::1 > fd00::2 proto 132 | payload hex 03e800500000000000000000"));
  EXPECT_EQ(q.error, ParseError::none);
  EXPECT_EQ(q.key.tp_src.host(), 1000);
  EXPECT_EQ(q.key.tp_dst.host(), 80);
}

TEST(ParsePacket, ExtensionHeaders) {
  std::string eight = "ipv6 fd00::1 > fd00::2";
  for (int i = 0; i < 8; ++i) eight += " | ext destination 010400000000";
  const auto p = parse_packet(frame_of(eight + " | udp 1 > 53"));
  EXPECT_EQ(p.error, ParseError::none);
  EXPECT_EQ(p.key.tp_dst.host(), 53);
  EXPECT_EQ(parse_packet(frame_of(eight + " | ext routing 000000000000 | udp 1 > 53")).error,
            ParseError::bad_ipv6_extension);
  EXPECT_EQ(
      parse_packet(
          frame_of("ipv6 fd00::1 > fd00::2 | frag off 0 more id 1 | frag off 0 id 1 | udp 1 > 2"))
          .error,
      ParseError::bad_ipv6_extension);
  const auto none = parse_packet(frame_of("ipv6 fd00::1 > fd00::2 proto 59"));
  EXPECT_EQ(none.error, ParseError::none);
  EXPECT_EQ(none.key.ip_proto, ip_proto::kNoNext);
}

/// Every frame, cut at every length, gives the error of the layer that was cut (or none), and reads nothing beyond the
/// cut: the copy has exactly that size, which the sanitizer builds watch.
TEST(ParsePacket, TruncatedAnywhere) {
  for (const auto hex : {known::kUdp4, known::kTcp4Vlan, known::kEcho4, known::kUdp6,
                         known::kTcp6Extensions, known::kEcho6, known::kArpRequest}) {
    const Frame whole = bytes_of(hex);
    for (size_t n = 0; n < whole.size(); ++n) {
      const Frame cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
      const auto p = parse_packet(cut);
      EXPECT_NE(p.error, ParseError::none) << hex << " at " << n;
      EXPECT_LE(p.length, n);
    }
    EXPECT_EQ(parse_packet(whole).error, ParseError::none);
  }
}

TEST(ParsePacket, MalformedHeaders) {
  struct {
    const char* name;
    std::string_view base;
    size_t at;
    uint8_t value;
    ParseError error;
  } const cases[] = {
      {"arp hardware", known::kArpRequest, 15, 6, ParseError::bad_arp},
      {"arp protocol", known::kArpRequest, 16, 6, ParseError::bad_arp},
      {"arp hardware length", known::kArpRequest, 18, 7, ParseError::bad_arp},
      {"arp protocol length", known::kArpRequest, 19, 16, ParseError::bad_arp},
      {"version 6 in IPv4", known::kUdp4, 14, 0x65, ParseError::bad_ipv4},
      {"header of 16 bytes", known::kUdp4, 14, 0x44, ParseError::bad_ipv4},
      {"header beyond the packet", known::kUdp4, 14, 0x4f, ParseError::bad_ipv4},
      {"total length < header", known::kUdp4, 17, 19, ParseError::bad_ipv4},
      {"total length > frame", known::kUdp4, 16, 1, ParseError::truncated_ipv4},
      {"no room for UDP", known::kUdp4, 17, 27, ParseError::truncated_l4},
      {"version 4 in IPv6", known::kUdp6, 14, 0x40, ParseError::bad_ipv6},
      {"payload length > frame", known::kUdp6, 18, 1, ParseError::truncated_ipv6},
      {"TCP offset 4", known::kTcp4Vlan, 50, 0x40, ParseError::bad_l4},
      {"TCP offset 15", known::kTcp4Vlan, 50, 0xf0, ParseError::bad_l4},
      {"extension beyond the packet", known::kTcp6Extensions, 55, 200,
       ParseError::bad_ipv6_extension},
  };
  for (const auto& c : cases) {
    Frame f = bytes_of(c.base);
    f[c.at] = c.value;
    EXPECT_EQ(parse_packet(f).error, c.error) << c.name;
  }
}

TEST(FlowKey, AddressesByFamily) {
  FlowKey k;
  EXPECT_TRUE(k.src_ip().is_none());
  k.eth_type = Be16(eth_type::kIpv4);
  k.set_src_ip(*IpAddr::parse("10.0.0.1"));
  k.set_dst_ip(*IpAddr::parse("10.0.0.2"));
  EXPECT_EQ(k.src_ip().str(), "10.0.0.1");
  EXPECT_EQ(k.dst_ip().str(), "10.0.0.2");
  FlowKey six;
  six.eth_type = Be16(eth_type::kIpv6);
  six.set_src_ip(*IpAddr::parse("fd00::1"));
  six.set_dst_ip(*IpAddr::parse("fd00::2"));
  EXPECT_EQ(six.src_ip().str(), "fd00::1");
  EXPECT_EQ(six.dst_ip().str(), "fd00::2");
  EXPECT_FALSE(k == six);
}

}  // namespace
}  // namespace plexus
