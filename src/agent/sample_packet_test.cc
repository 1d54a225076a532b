// SPDX-License-Identifier: Apache-2.0
#include "agent/sample_packet.h"

#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

FlowKey base_key(uint16_t type) {
  FlowKey k;
  k.eth_dst = {2, 0, 0, 0, 0, 1};
  k.eth_src = {2, 0, 0, 0, 0, 2};
  k.eth_type = Be16(type);
  return k;
}

struct Case {
  const char* name;
  FlowKey key;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (uint16_t type : {eth_type::kIpv4, eth_type::kIpv6}) {
    for (uint8_t proto :
         {ip_proto::kTcp, ip_proto::kUdp, ip_proto::kIcmp, ip_proto::kIcmpv6, uint8_t{0}}) {
      FlowKey k = base_key(type);
      k.set_src_ip(type == eth_type::kIpv4 ? *IpAddr::parse("10.0.0.1")
                                           : *IpAddr::parse("fd00::1"));
      k.set_dst_ip(type == eth_type::kIpv4 ? *IpAddr::parse("10.0.0.2")
                                           : *IpAddr::parse("fd00::2"));
      k.ip_proto = proto;
      k.ip_ttl = 64;
      k.ip_tos = 0xb8;
      if (proto == ip_proto::kTcp || proto == ip_proto::kUdp) {
        k.tp_src = Be16(1000);
        k.tp_dst = Be16(80);
      }
      if (proto == ip_proto::kIcmp || proto == ip_proto::kIcmpv6) k.tp_src = Be16(8);
      if (proto == ip_proto::kTcp) k.tcp_flags = 0x12;
      if (type == eth_type::kIpv6 && proto == 0) continue;  // 0 is the hop-by-hop header
      if (proto == (type == eth_type::kIpv6 ? ip_proto::kIcmp : ip_proto::kIcmpv6)) continue;
      all.push_back({"ip", k});
      k.vlan_tci = Be16(0x1000 | 12);
      all.push_back({"vlan", k});
      k.ip_frag = 1;
      all.push_back({"first fragment", k});
      k.ip_frag = 2;
      k.tp_src = k.tp_dst = Be16(0);
      k.tcp_flags = 0;
      all.push_back({"later fragment", k});
    }
  }
  FlowKey arp = base_key(eth_type::kArp);
  arp.tp_src = Be16(1);
  arp.nw = {10, 0, 0, 1, 10, 0, 0, 2};
  all.push_back({"arp", arp});
  all.push_back({"unknown type", base_key(0x88b5)});
  return all;
}

TEST(SamplePacket, ParsesBackToItsKey) {
  for (const Case& c : cases()) {
    const ParsedPacket parsed = parse_packet(sample_packet(c.key));
    EXPECT_EQ(parsed.error, ParseError::none) << c.name;
    EXPECT_TRUE(parsed.key == c.key) << c.name << " proto " << int{c.key.ip_proto};
  }
}

TEST(SamplePacket, OfAFlowThatAnswersIsOneThatItAnswers) {
  const MacAddr owner = *MacAddr::parse("02:00:00:00:00:fe");
  for (const char* target : {"10.0.0.1", "fd00::1"}) {
    const IpAddr address = *IpAddr::parse(target);
    FlowKey k = base_key(address.is_v4() ? eth_type::kArp : eth_type::kIpv6);
    k.set_src_ip(*IpAddr::parse(address.is_v4() ? "10.0.0.2" : "fd00::2"));
    k.set_dst_ip(address.is_v4() ? address : solicited_node_of(address));
    k.tp_src = Be16(address.is_v4() ? uint16_t{1} : uint16_t{135});
    if (address.is_v6()) k.ip_proto = ip_proto::kIcmpv6;
    for (const uint16_t tag : {uint16_t{0}, uint16_t{0x1007}}) {
      k.vlan_tci = Be16(tag);
      const Actions answer{{Copy{{}, NeighbourAnswer{owner, address, true}}}};
      const auto frame = sample_packet(k, answer);
      const ParsedPacket parsed = parse_packet(frame);
      EXPECT_TRUE(fits(answer, parsed, frame, 0)) << target;
      if (address.is_v6()) k.ip_ttl = 255;  // no other is answered
      EXPECT_EQ(parsed.key, k) << target;
    }
  }
}

}  // namespace
}  // namespace plexus::agent
