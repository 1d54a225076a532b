// SPDX-License-Identifier: Apache-2.0
#include "flow/match.h"

#include <gtest/gtest.h>

#include "flow/match_text.h"

namespace plexus {
namespace {

Match match(std::string_view text) {
  const auto m = parse_match(text);
  EXPECT_TRUE(m) << (m ? "" : m.error().message);
  return m ? *m : Match{};
}

TEST(Match, Covers) {
  const FlowKey key =
      match("in_port 17 eth.type ipv4 ip.src 10.0.1.10 ip.dst 10.0.2.10 ip.proto udp tp.dst 53")
          .key;
  struct {
    const char* text;
    bool covers;
  } const cases[] = {
      {"any", true},
      {"in_port 17", true},
      {"in_port 18", false},
      {"eth.type ipv4 ip.dst 10.0.2.0/24", true},
      {"eth.type ipv4 ip.dst 10.0.3.0/24", false},
      {"tp.dst 0x30/0xfff0", true},
      {"tp.dst 0x40/0xfff0", false},
      {"vlan none", true},
      {"ip.frag later", false},
  };
  for (const auto& c : cases) EXPECT_EQ(match(c.text).covers(key), c.covers) << c.text;
}

TEST(Match, MeetsWhereSomePacketIsInBoth) {
  struct {
    const char *a, *b;
    bool meets;
  } const cases[] = {
      {"any", "in_port 17", true},
      {"in_port 17", "in_port 18", false},
      {"in_port 17", "tp.dst 53", true},
      {"eth.type ipv4 ip.dst 10.0.0.0/8", "eth.type ipv4 ip.dst 10.0.2.0/24", true},
      {"eth.type ipv4 ip.dst 10.0.1.0/24", "eth.type ipv4 ip.dst 10.0.2.0/24", false},
      {"eth.type ipv4 ip.dst 10.0.1.0/24", "eth.type ipv6 ip.dst fd00::/16", false},
      {"tp.dst 0x30/0xfff0", "tp.dst 53", true},
      {"tp.dst 0x30/0xfff0", "tp.dst 64", false},
      {"tp.dst 0x1/0x1", "tp.dst 0x2/0x2", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(match(c.a).meets(match(c.b)), c.meets) << c.a << " / " << c.b;
    EXPECT_EQ(match(c.b).meets(match(c.a)), c.meets) << c.b << " / " << c.a;
  }
}

TEST(Match, OfAPacketAndAMask) {
  const Match wide = match("eth.type ipv4 ip.dst 10.0.2.0/24");
  const FlowKey key = match("in_port 17 eth.type ipv4 ip.dst 10.0.2.10").key;
  EXPECT_EQ(match_of(key, wide.mask), wide);
  EXPECT_EQ(match("in_port 17").mask | match("tp.dst 1").mask, match("in_port 17 tp.dst 1").mask);
  EXPECT_EQ(match("in_port 17 tp.dst 1").mask & match("tp.dst 1").mask, match("tp.dst 1").mask);
}

TEST(MatchText, CanonicalTexts) {
  for (const char* text : {
           "any",
           "in_port 17",
           "in_port 0x10/0xfffffff0",
           "in_port 1 tunnel 4660",
           "eth.src 02:00:00:00:00:01 eth.dst 01:00:00:00:00:00/01:00:00:00:00:00",
           "vlan none",
           "vlan 0x100c eth.type arp ip.src 10.0.0.1 ip.dst 10.0.0.2 tp.src 1",
           "vlan 0x1000/0x1000",
           // NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one text in several literals
           "eth.type ipv4 ip.proto tcp ip.tos 0xb8/0xfc ip.ttl 64 ip.frag none ip.src 10.0.1.0/24 "
           "ip.dst 10.0.2.10 "
           "tp.src 0x400/0xfc00 tp.dst 80 tcp.flags 0x2/0x17",
           "eth.type ipv6 ip.proto icmp6 ip.frag first ip.src fd00:1::/64 ip.dst fd00:2::a tp.src "
           "128",
           "eth.type ipv4 ip.dst 10.0.0.3/255.0.0.255",
           "eth.type ipv6 ip.dst fd00::3/ff00::ff",
           "eth.type 0x88cc",
           "eth.type 0x800/0xf00",
           "ip.proto 47 ip.frag later",
           "ip.ttl 0x0/0xfe",
           "ct.state 0x1/0x3 zone 7",
       })
    EXPECT_EQ(format(match(text)), text);
}

TEST(MatchText, EveryMatchReadsBack) {
  // Random masks and keys reach what no sane installer asks for.
  uint32_t random = 7;
  const auto byte = [&] {
    random = random * 1664525 + 1013904223;
    return static_cast<uint8_t>(random >> 24);
  };
  for (int i = 0; i < 3000; ++i) {
    FlowKey key, mask;
    for (auto& b : key.bytes()) b = byte();
    for (auto& b : mask.bytes()) b = byte() < 200 ? 0 : i % 2 == 0 ? 0xff : byte();
    if (i % 3 == 0) {
      mask.eth_type = Be16(0xffff);
      key.eth_type = Be16(i % 2 == 0 ? eth_type::kIpv6 : eth_type::kIpv4);
    }
    const Match m = match_of(key, mask);
    const auto back = parse_match(format(m));
    ASSERT_TRUE(back) << format(m);
    ASSERT_EQ(*back, m) << format(m);
  }
  // An IPv4-mapped address has no text of its own.
  FlowKey mapped;
  mapped.eth_type = Be16(eth_type::kIpv6);
  mapped.nw[10] = mapped.nw[11] = 0xff;
  FlowKey mask;
  mask.eth_type = Be16(0xffff);
  mask.nw.fill(0xff);
  EXPECT_EQ(*parse_match(format(match_of(mapped, mask))), match_of(mapped, mask));
}

TEST(MatchText, ErrorsNameTheWord) {
  struct {
    const char *text, *error;
  } const cases[] = {
      {"", "match: empty"},
      {"in_port", "match: ends too early: expected a number up to 0xffffffff"},
      {"port 1", "match: \"port\": expected in_port, tunnel"},
      {"in_port 1 in_port 2", "match: \"in_port\": expected each field once"},
      {"in_port x", "match: \"x\": expected a number"},
      {"eth.type ip", "match: \"ip\": expected ipv4, arp, ipv6, a number"},
      {"tp.dst 65536", "match: \"65536\": expected"},
      {"tp.dst 3/2", "match: \"3/2\": expected no bits of the value outside the mask"},
      {"eth.dst 02:00", "match: \"02:00\": expected a MAC address"},
      {"ip.dst 10.0.1.1/24", "match: \"10.0.1.1/24\": expected no bits"},
      {"ip.dst 10.0.1.0/33", "match: \"10.0.1.0/33\": expected an address, a prefix"},
      {"ip.dst 10.0.1.0/ffff::", "expected an address, a prefix"},
      {"nw 00/00", "expected 32 bytes as hex"},
  };
  for (const auto& c : cases) {
    const auto m = parse_match(c.text);
    ASSERT_FALSE(m) << c.text;
    EXPECT_NE(m.error().message.find(c.error), std::string::npos) << m.error().message;
  }
}

}  // namespace
}  // namespace plexus
