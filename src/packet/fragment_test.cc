// SPDX-License-Identifier: Apache-2.0
#include "packet/fragment.h"

#include <gtest/gtest.h>

#include "packet/build.h"

namespace plexus {
namespace {

PacketSpec spec(bool v6) {
  PacketSpec out;
  out.src = *IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1");
  out.dst = *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2");
  out.ipv4_id = 0xbeef;
  return out;
}

TEST(FragmentOf, TellsAllOfAPacketApartAndTogether) {
  const std::vector<uint8_t> payload(300, 1);
  for (const bool v6 : {false, true}) {
    const auto all = fragment(udp_packet(spec(v6), 1, 2, payload), 200, 0xdeadbeef);
    ASSERT_EQ(all.size(), 2u + (v6 ? 1 : 0));
    uint32_t end = 0;
    for (const Frame& one : all) {
      const auto place = fragment_of(parse_packet(one), one);
      ASSERT_TRUE(place);
      EXPECT_EQ(place->id, v6 ? 0xdeadbeef : 0xbeefu);
      EXPECT_EQ(place->offset, end);
      EXPECT_EQ(place->protocol, ip_proto::kUdp);
      end += place->length;
    }
    EXPECT_EQ(end, 8 + payload.size());
  }
}

TEST(FragmentOf, BehindOtherExtensionHeaders) {
  const std::vector<uint8_t> payload(300, 1);
  Frame one = fragment(udp_packet(spec(true), 1, 2, payload), 200, 0xdeadbeef).at(1);
  // Destination options, eight bytes of padding, between the IPv6 header and the fragment's.
  const std::vector<uint8_t> options{44, 0, 1, 4, 0, 0, 0, 0};
  one.insert(one.begin() + 14 + 40, options.begin(), options.end());
  one[14 + 6] = 60;
  one[14 + 5] = static_cast<uint8_t>(one[14 + 5] + options.size());
  const ParsedPacket parsed = parse_packet(one);
  ASSERT_EQ(parsed.error, ParseError::none);
  EXPECT_EQ(fragment_of(parsed, one).value().id, 0xdeadbeef);
}

TEST(FragmentOf, BeforeOtherExtensionHeaders) {
  const std::vector<uint8_t> payload(300, 1);
  Frame first = fragment(udp_packet(spec(true), 1, 2, payload), 200, 0xdeadbeef).at(0);
  const std::vector<uint8_t> options{17, 0, 1, 4, 0, 0, 0, 0};
  first.insert(first.begin() + 14 + 40 + 8, options.begin(), options.end());
  first[14 + 40] = 60;
  first[14 + 5] = static_cast<uint8_t>(first[14 + 5] + options.size());
  const ParsedPacket parsed = parse_packet(first);
  ASSERT_EQ(parsed.error, ParseError::none);
  EXPECT_EQ(parsed.key.ip_proto, ip_proto::kUdp);
  EXPECT_EQ(fragment_of(parsed, first).value().protocol, 60);
}

TEST(FragmentOf, NoneOfWhatIsNoFragment) {
  for (const bool v6 : {false, true}) {
    const Frame whole = udp_packet(spec(v6), 1, 2);
    EXPECT_FALSE(fragment_of(parse_packet(whole), whole));
  }
  Frame cut = fragment(udp_packet(spec(true), 1, 2, std::vector<uint8_t>(300)), 200, 1).at(1);
  cut.resize(14 + 40 + 4);
  EXPECT_FALSE(fragment_of(parse_packet(cut), cut));
}

}  // namespace
}  // namespace plexus
