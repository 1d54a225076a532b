// SPDX-License-Identifier: Apache-2.0
#include "packet/headers.h"

#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/known_frames.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

TEST(Views, Ethernet) {
  const Frame f = bytes_of(known::kUdp4);
  const auto eth = EthernetView::of(f);
  ASSERT_TRUE(eth);
  EXPECT_EQ(eth->src().str(), "02:00:00:00:00:01");
  EXPECT_EQ(eth->dst().str(), "02:00:00:00:00:02");
  EXPECT_EQ(eth->type(), 0x0800);
  EXPECT_EQ(eth->payload().size(), f.size() - 14);
  EXPECT_FALSE(EthernetView::of(std::span(f).first(13)));
}

TEST(Views, Arp) {
  const Frame f = bytes_of(known::kArpRequest);
  const auto arp = ArpView::of(std::span(f).subspan(14));
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation(), arp_op::kRequest);
  EXPECT_EQ(arp->sender_mac().str(), "02:00:00:00:00:01");
  EXPECT_EQ(arp->sender_ip().str(), "10.0.1.10");
  EXPECT_TRUE(arp->target_mac().is_zero());
  EXPECT_EQ(arp->target_ip().str(), "10.0.1.1");
  EXPECT_FALSE(ArpView::of(std::span(f).subspan(14, 27)));
  const Frame udp = bytes_of(known::kUdp4);
  EXPECT_FALSE(ArpView::of(parse_packet(udp), udp));
}

TEST(Views, Ipv4) {
  const Frame f = *parse_frame(
      "ipv4 10.0.1.10 > 10.0.2.10 ttl 7 tos 4 id 9 df frag off 16 more options 01010101 proto 17 | "
      "payload \"abc\" | pad 9");
  const auto ip = Ipv4View::of(std::span(f).subspan(14));
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->header_length(), 24u);
  EXPECT_EQ(ip->total_length(), 27);
  EXPECT_EQ(ip->tos(), 4);
  EXPECT_EQ(ip->ttl(), 7);
  EXPECT_EQ(ip->id(), 9);
  EXPECT_TRUE(ip->dont_fragment());
  EXPECT_TRUE(ip->more_fragments());
  EXPECT_FALSE(ip->reserved_flag());
  EXPECT_EQ(ip->fragment_offset(), 16u);
  EXPECT_EQ(ip->protocol(), 17);
  EXPECT_EQ(ip->src().str(), "10.0.1.10");
  EXPECT_EQ(ip->dst().str(), "10.0.2.10");
  EXPECT_EQ(ip->options().size(), 4u);
  EXPECT_EQ(ip->payload().size(), 3u);  // without the padding
  EXPECT_FALSE(Ipv4View::of(std::span(f).subspan(14, 26)));
  EXPECT_FALSE(Ipv4View::of(std::span(f).subspan(14, 19)));
}

TEST(Views, Ipv6) {
  const Frame f =
      *parse_frame("ipv6 fd00::1 > fd00::2 ttl 7 tos 0xb9 flow 0x12345 | udp 1 > 2 | pad 9");
  const auto ip = Ipv6View::of(std::span(f).subspan(14));
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->traffic_class(), 0xb9);
  EXPECT_EQ(ip->flow_label(), 0x12345u);
  EXPECT_EQ(ip->payload_length(), 8);
  EXPECT_EQ(ip->next_header(), 17);
  EXPECT_EQ(ip->hop_limit(), 7);
  EXPECT_EQ(ip->src().str(), "fd00::1");
  EXPECT_EQ(ip->dst().str(), "fd00::2");
  EXPECT_EQ(ip->payload().size(), 8u);
  EXPECT_FALSE(Ipv6View::of(std::span(f).subspan(14, 47)));
  EXPECT_FALSE(Ipv6View::of(std::span(f).subspan(14, 39)));
}

TEST(Views, Icmp) {
  for (const auto hex : {known::kEcho4, known::kEcho6}) {
    const Frame f = bytes_of(hex);
    const auto icmp = IcmpView::of(parse_packet(f), f);
    ASSERT_TRUE(icmp);
    EXPECT_EQ(icmp->code(), 0);
    EXPECT_EQ(icmp->identifier(), 1);
    EXPECT_EQ(icmp->sequence(), 2);
    EXPECT_EQ(icmp->body().size(), 4u);
  }
  const Frame big = *parse_frame("ipv6 fd00::1 > fd00::2 | icmp too-big mtu 1400 | quoted hex 60");
  EXPECT_EQ(IcmpView::of(parse_packet(big), big)->mtu(), 1400u);
  for (const char* text :
       {"ipv4 1.1.1.1 > 2.2.2.2 | udp 1 > 2", "ipv4 1.1.1.1 > 2.2.2.2 proto 58 | payload 16 bytes",
        "ipv4 1.1.1.1 > 2.2.2.2 proto 1 frag off 8 | payload 16 bytes",
        "arp request who 10.0.0.1 tell 10.0.0.2"}) {
    const Frame f = *parse_frame(text);
    EXPECT_FALSE(IcmpView::of(parse_packet(f), f)) << text;
  }
}

}  // namespace
}  // namespace plexus
