// SPDX-License-Identifier: Apache-2.0
#include "packet/text.h"

#include <gtest/gtest.h>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/known_frames.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

TEST(PacketText, KnownFramesReadWell) {
  struct {
    std::string_view hex;
    const char* text;
  } const cases[] = {
      {known::kUdp4,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | udp 1000 > "
       "53 | payload \"hello\""},
      {known::kTcp4Vlan,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 12 | ipv4 10.0.1.10 > 10.0.2.10 ttl 64 id "
       "7 df | "
       "tcp 1000 > 80 flags S seq 1"},
      {known::kEcho4,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | "
       "icmp echo-request id 1 seq 2 | payload \"abcd\""},
      {known::kUdp6,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00:1::a > fd00:2::a ttl 64 | udp 1000 > "
       "53 | payload \"hello\""},
      {known::kTcp6Extensions,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00:1::a > fd00:2::a ttl 64 | "
       "ext hop-by-hop 010400000000 | ext destination 010400000000 | tcp 1000 > 80 flags SA seq 1 "
       "ack 2"},
      {known::kEcho6,
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv6 fd00:1::a > fd00:2::a ttl 64 | "
       "icmp echo-request id 1 seq 2 | payload \"abcd\""},
      {known::kArpRequest,
       "eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.1 tell 10.0.1.10 sha "
       "02:00:00:00:00:01"},
      {known::kNeighbourSolicit,
       "eth 02:00:00:00:00:01 > 33:33:ff:00:00:01 | ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | "
       "nd solicit target fd00:1::1 slla 02:00:00:00:00:01"},
      {known::kNeighbourAdvert,
       "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ipv6 fd00:1::1 > fd00:1::a ttl 255 | "
       "nd advert target fd00:1::1 router solicited override tlla 02:00:00:00:00:02"},
  };
  for (const auto& c : cases) {
    const Frame f = bytes_of(c.hex);
    EXPECT_EQ(format_frame(f), c.text);
    const auto back = parse_frame(c.text);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, f) << c.text;
  }
}

/// Texts in the form that format_frame gives: each is its own canonical form.
TEST(PacketText, CanonicalTexts) {
  const std::string eth = "eth 02:00:00:00:00:01 > 02:00:00:00:00:02";
  for (const std::string text : {
           // NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one text in several literals
           " | vlan 12 pcp 3 dei | vlan 100 tpid 0x88a8 | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > "
           "2",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 1 tos 184 id 77 df reserved options 94040000 | udp 1 > 2",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 sum 0x1234 | udp 1 > 2 sum 0x4321",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > 2 sum 0x0000",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > 2 sum partial | payload \"x\"",
           " | ipv6 fd00::1 > fd00::2 ttl 64 tos 1 flow 0x12345 | udp 1 > 2 sum partial | payload "
           "\"x\"",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > 2 len 9 | payload \"xyz\"",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 id 7 frag off 0 more | udp 1 > 2 len 3008 sum 0x1234 "
           "| payload 32 bytes",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 proto 17 id 7 frag off 1480 | payload \"rest\"",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | frag off 0 more id 7 | udp 1 > 2 len 3008 sum "
           "0x1234 | payload 16 bytes",
           " | ipv6 fd00::1 > fd00::2 ttl 64 proto 17 | frag off 1448 id 7 | payload \"rest\"",
           " | ipv6 fd00::1 > fd00::2 ttl 64 proto 59",
           " | ipv6 fd00::1 > fd00::2 ttl 64 proto 59 | ext routing 000000000000 | payload hex 00",
           // GRE that is cut off, or has bits that must not be set.
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 proto 47 | payload hex 0001ff",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 proto 47 | payload hex 40000800",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | gre type 0x0800 | payload hex 4500",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | gre key 7 seq 9 checksum | ipv4 3.3.3.3 > 4.4.4.4 "
           "ttl 9 | udp 1 > 2",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | ext destination 010400000000 | gre sum 0x0001 | "
           "ipv6 fd00::3 > fd00::4 ttl 9 proto 253",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | gre key 1 | eth 02:00:00:00:00:03 > "
           "02:00:00:00:00:04 | vlan 5 | arp request who 10.0.0.1 tell 10.0.0.2 sha "
           "02:00:00:00:00:03",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | gre type 0x88be",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 50000 > 4789 | vxlan vni 42 | eth "
           "02:00:00:00:00:03 > 02:00:00:00:00:04 | ipv6 fd00::1 > fd00::2 ttl 64 | tcp 1 > 2 "
           "flags S | pad 6",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 50000 > 4789 sum 0x0000 | vxlan vni 16777215 | "
           "raw 0102",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 50000 > 4789 | vxlan vni 0",
           // A tunnel's reserved bits, no tunnel at all, padding behind the tunnel: bytes.
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 50000 > 4789 | payload hex 0900000000002a00",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 50000 > 4789 | payload hex 0800000000002a | pad "
           "3",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | sctp 1 > 2 tag 0xdeadbeef | payload hex 0a00",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | sctp 1 > 2 sum 0x12345678",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | frag off 0 more id 7 | sctp 1 > 2 | payload 16 "
           "bytes",
           // IGMP is a plain protocol, MLD a plain ICMPv6 message.
           " | ipv4 1.1.1.1 > 224.0.0.22 ttl 1 proto 2 options 94040000 | payload hex 2200",
           " | ipv6 fe80::1 > ff02::16 ttl 1 | ext hop-by-hop 050200000100 | icmp type 143 rest "
           "0x1 | payload hex 04000000ff020000000000000000000000000001",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | tcp 1 > 2 flags none",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | tcp 1 > 2 flags FSRPAUEC seq 4294967295 ack 9 win 0 "
           "urg 5 reserved 3 "
           "options 020405b4 sum partial | payload \"GET \\\"\\\\\"",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp echo-reply id 65535 seq 0 code 3",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp unreachable port | quoted hex 4500",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp unreachable code 9 rest 0x7",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp too-big mtu 1400 sum 0x0001 | quoted hex 4500",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp time-exceeded code 1 | quoted \"hm\"",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp type 13 rest 0x10001 | payload hex 00",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | icmp unreachable admin",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | icmp too-big mtu 70000",
           " | ipv6 fd00::1 > fd00::2 ttl 64 | icmp type 143 rest 0x1 sum partial",
           " | ipv6 fd00::1 > fd00::2 ttl 255 | nd advert target fd00::1",
           " | ipv6 fd00::1 > fd00::2 ttl 255 | nd solicit target fd00::1 sum 0x0001",
           // Reserved bits of a solicitation, another option: not what the nd layer can say.
           " | ipv6 fd00::1 > fd00::2 ttl 255 | icmp type 135 rest 0x1 | payload hex "
           "fd000000000000000000000000000001",
           " | ipv6 fd00::1 > fd00::2 ttl 255 | icmp type 135 | payload hex "
           "fd0000000000000000000000000000010e01000000000000",
           " | arp reply 10.0.0.1 to 10.0.0.2 sha 02:00:00:00:00:01 tha 02:00:00:00:00:09 | pad 18",
           " | arp op 8 10.0.0.1 to 10.0.0.2 sha 02:00:00:00:00:01 | pad hex 0100",
           " | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > 2 | pad 18",
           " type 0x88cc | payload hex 00",
           " type 0x0026 | payload \"an 802.3 frame\"",
           " type 0x8100 | vlan 1 | vlan 2 | payload hex 0003",
           // Malformed from the network layer on.
           " type 0x0800 | payload hex 4500",
           " type 0x0806 | payload hex 0001",
           " type 0x8100",
           " type 0x8100 | payload hex 000c08",
       }) {
    const auto frame = parse_frame(eth + text);
    ASSERT_TRUE(frame) << eth + text << ": " << frame.error().message;
    EXPECT_EQ(format_frame(*frame), eth + text);
  }
}

TEST(PacketText, Raw) {
  for (const char* text : {"raw", "raw 00", "raw 0102030405060708090a0b0c0d"}) {
    const auto frame = parse_frame(text);
    ASSERT_TRUE(frame) << text;
    EXPECT_EQ(format_frame(*frame), text);
  }
  EXPECT_EQ(*parse_frame("raw 0aFF"), bytes_of("0aff"));
}

/// Addresses and headers that the syntax refuses to spell still read back.
TEST(PacketText, FallsBackToBytes) {
  Frame f = bytes_of(known::kUdp6);
  put_bytes(f, 22, bytes_of("00000000000000000000ffff0a000001"));  // an IPv4-mapped source
  const std::string text = format_frame(f);
  EXPECT_TRUE(
      text.starts_with("eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x86dd | payload hex 6000"))
      << text;
  EXPECT_EQ(*parse_frame(text), f);
  // Reserved bits of a fragment header.
  Frame g =
      *parse_frame("ipv6 fd00::1 > fd00::2 | frag off 0 more id 1 | udp 1 > 2 | payload 16 bytes");
  g[14 + 40 + 1] = 1;
  EXPECT_EQ(*parse_frame(format_frame(g)), g);
}

TEST(PacketText, Defaults) {
  struct {
    const char *brief, *full;
  } const cases[] = {
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 2",
       "eth 00:00:00:00:00:00 > 00:00:00:00:00:00 | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 1 > 2"},
      {"ipv4 1.1.1.1 > 239.1.2.3 | tcp 1 > 2",
       "eth 00:00:00:00:00:00 > 01:00:5e:01:02:03 | ipv4 1.1.1.1 > 239.1.2.3 ttl 64 | tcp 1 > 2 "
       "flags S"},
      {"ipv4 1.1.1.1 > 255.255.255.255",
       "eth 00:00:00:00:00:00 > ff:ff:ff:ff:ff:ff | ipv4 1.1.1.1 > 255.255.255.255 ttl 64 proto "
       "253"},
      {"ipv6 fd00::1 > ff02::1:ff00:2 | nd solicit target fd00::2",
       "eth 00:00:00:00:00:00 > 33:33:ff:00:00:02 | ipv6 fd00::1 > ff02::1:ff00:2 ttl 255 | nd "
       "solicit target fd00::2"},
      {"arp request who 10.0.0.1 tell 10.0.0.2 sha 02:00:00:00:00:02",
       "eth 02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff | arp request who 10.0.0.1 tell 10.0.0.2 sha "
       "02:00:00:00:00:02"},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | arp reply 10.0.0.1 to 10.0.0.2",
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | arp reply 10.0.0.1 to 10.0.0.2 sha "
       "02:00:00:00:00:01"},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02",
       "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x88b5"},
      {"  ipv4 1.1.1.1 > 2.2.2.2|udp 0x10 > 2|payload 3 bytes ",
       "eth 00:00:00:00:00:00 > 00:00:00:00:00:00 | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | udp 16 > 2 | "
       "payload hex 000102"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | icmp time-exceeded | payload \"a | b\"",
       "eth 00:00:00:00:00:00 > 00:00:00:00:00:00 | ipv4 1.1.1.1 > 2.2.2.2 ttl 64 | icmp "
       "time-exceeded | quoted \"a | b\""},
  };
  for (const auto& c : cases) {
    const auto frame = parse_frame(c.brief);
    ASSERT_TRUE(frame) << c.brief << ": " << frame.error().message;
    EXPECT_EQ(format_frame(*frame), c.full);
  }
}

/// The examples of docs/packet-syntax.md.
TEST(PacketText, Examples) {
  for (
      const char* text : {
          R"(eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 12 | ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | udp 1000 > 53 | payload "hello")",
          "eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.1 tell 10.0.1.10 sha "
          "02:00:00:00:00:01",
          "ipv6 fd00:1::a > fd00:2::a | tcp 1000 > 80 flags SA seq 1 ack 2",
          "ipv6 fd00:1::a > ff02::1:ff00:1 | nd solicit target fd00:1::1 slla 02:00:00:00:00:01",
          "ipv4 10.0.1.10 > 10.0.2.10 | icmp echo-request id 1 seq 1 | payload 1400 bytes",
          "ipv4 10.0.1.10 > 10.0.2.10 ttl 1 id 7 frag off 0 more | udp 1 > 2 len 3008 | payload "
          "1472 bytes",
      }) {
    const auto frame = parse_frame(text);
    ASSERT_TRUE(frame) << text << ": " << frame.error().message;
    EXPECT_EQ(parse_packet(*frame).error, ParseError::none) << text;
    EXPECT_NE(format_frame(*frame).find(
                  std::string_view(text).substr(std::string_view(text).rfind(" | "))),
              std::string::npos);
  }
}

/// Each names the layer, the word and what was expected instead.
TEST(PacketText, ErrorsNameTheWord) {
  struct {
    const char *text, *error;
  } const cases[] = {
      {"", "an empty layer"},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 |", "an empty layer"},
      {"foo 1 > 2", "\"foo\": expected a layer: eth, vlan, arp"},
      {"eth 02:00:00:00:00 > 02:00:00:00:00:02", "eth: \"02:00:00:00:00\": expected a MAC address"},
      {"eth 02:00:00:00:00:01", "eth: ends too early: expected \">\""},
      {"eth 02:00:00:00:00:01 < 02:00:00:00:00:02", "eth: \"<\": expected \">\""},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 typo 1",
       "eth: \"typo\": expected type or the next layer"},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 1 type 2",
       "eth: \"type\": expected each field once"},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 1 | ipv4 1.1.1.1 > 2.2.2.2",
       "eth: type is told by"},
      {"ipv4 1.1.1.1 > fd00::1", "ipv4: \"fd00::1\": expected an IPv4 address for the destination"},
      {"ipv6 1.1.1.1 > fd00::1", "ipv6: \"1.1.1.1\": expected an IPv6 address for the source"},
      {"ipv4 1.1.1.1 > 2.2.2.2 ttl 256", "ipv4: \"256\": expected a number from 0 to 255 for ttl"},
      {"ipv4 1.1.1.1 > 2.2.2.2 ttl", "ipv4: ends too early: expected a number"},
      {"ipv4 1.1.1.1 > 2.2.2.2 flow 1", "ipv4: \"flow\": expected ttl, tos, proto, id"},
      {"ipv4 1.1.1.1 > 2.2.2.2 frag off 7", "ipv4: off 7: expected a multiple of 8"},
      {"ipv4 1.1.1.1 > 2.2.2.2 options 01", "ipv4: options: expected a multiple of 4"},
      {"ipv4 1.1.1.1 > 2.2.2.2 proto 6 | udp 1 > 2", "proto is told by"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | nd solicit target fd00::1", "nd: expected behind ipv6"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | frag off 8", "frag: expected behind ipv6; in IPv4"},
      {"udp 1 > 2", "udp: expected behind ipv4 or ipv6"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 65536",
       "udp: \"65536\": expected a number from 0 to 65535"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 2 sum x",
       "udp: \"x\": expected a number from 0 to 65535 for sum"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 2 | tcp 1 > 2", "tcp: this layer cannot come here"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | eth 02:00:00:00:00:01 > 02:00:00:00:00:02",
       "eth: this layer cannot come here"},
      {"vlan 1 | vlan 2 | vlan 3", "vlan: this layer cannot come here"},
      {"vlan 4096", "vlan: \"4096\": expected a number from 0 to 4095"},
      {"vlan 1 tpid 0x9100", "vlan: \"0x9100\": expected tpid 0x8100 or 0x88a8"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | tcp 1 > 2 flags SX", "tcp: \"SX\": expected letters of FSRPAUEC"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | icmp ping", "icmp: \"ping\": expected echo-request"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | icmp echo-request mtu 1", "icmp: \"mtu\": expected id, seq"},
      {"ipv6 fd00::1 > fd00::2 | ext hop-by-hop 0102", "ext: expected 6 bytes"},
      {"ipv6 fd00::1 > fd00::2 | nd ask", "nd: \"ask\": expected solicit or advert"},
      {"arp request who 10.0.0.1", "arp: ends too early: expected \"tell\""},
      {"arp request who 10.0.0.1 tell 10.0.0.2 | payload \"x\"", "payload: ARP has no payload"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | gre 7", "gre: \"7\": expected key, seq, checksum, sum or type"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | gre type 1 | ipv4 1.1.1.1 > 2.2.2.2", "gre: type is told by"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | gre | udp 1 > 2", "gre: expected eth, ipv4, ipv6 or payload"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | gre | payload \"x\" | pad 1", "gre: expected eth, ipv4, ipv6"},
      {"gre key 1", "gre: expected behind ipv4 or ipv6"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | vxlan vni 1", "vxlan: expected behind udp"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 4789 | vxlan vni 16777216",
       "vxlan: \"16777216\": expected a number from 0 to 16777215 for vni"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 4789 | vxlan key 1", "vxlan: \"key\": expected \"vni\""},
      {"ipv4 1.1.1.1 > 2.2.2.2 | gre | ipv4 3.3.3.3 > 4.4.4.4 | gre",
       "gre: a tunnel in a tunnel: expected payload"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | sctp 1 > 2 seq 1", "sctp: \"seq\": expected tag or sum"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload \"x", "expected a closing quote"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload x", "payload: \"x\": expected a quoted text"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload hex 0",
       "payload: \"0\": expected pairs of hexadecimal digits"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload hex 0g",
       "payload: \"0g\": expected pairs of hexadecimal digits"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload 65535 bytes",
       "payload: 65555 bytes of IP: expected at most 65535"},
      {"ipv4 1.1.1.1 > 2.2.2.2 | payload 3 bytes more",
       "payload: \"more\": expected the next layer"},
      {"raw 0g", "raw: \"0g\": expected pairs"},
      {"raw 00 | payload \"x\"", "raw: expected to stand alone"},
  };
  for (const auto& c : cases) {
    const auto frame = parse_frame(c.text);
    ASSERT_FALSE(frame) << c.text;
    EXPECT_EQ(frame.error().code, ErrorCode::invalid);
    EXPECT_NE(frame.error().message.find(c.error), std::string::npos)
        << c.text << "\n got: " << frame.error().message << "\nwant: " << c.error;
  }
}

TEST(PacketText, BuildersNeverNeedBytes) {
  const MacAddr m1{{2, 0, 0, 0, 0, 1}}, m2{{2, 0, 0, 0, 0, 2}};
  for (const bool v6 : {false, true}) {
    PacketSpec spec{.eth_src = m1,
                    .eth_dst = m2,
                    .src = *IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1"),
                    .dst = *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2")};
    std::vector<Frame> frames = fragment(udp_packet(spec, 1, 2, Frame(3000, 0xaa)), 1500);
    frames.push_back(with_partial_checksum(tcp_packet(spec, 1, 2, 0x18, 7, text_bytes("x"))));
    spec.vlan_tci = 0xe00c;
    frames.push_back(icmp_echo(spec, true, 1, 2, Frame(1000)));
    frames.push_back(with_vlan(frames.back(), 9));
    for (const Frame& f : frames) {
      const std::string text = format_frame(f);
      EXPECT_NE(text.find(v6 ? "| ipv6 " : "| ipv4 "), std::string::npos) << text;
      EXPECT_EQ(*parse_frame(text), f);
    }
  }
}

}  // namespace
}  // namespace plexus
