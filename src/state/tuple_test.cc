// SPDX-License-Identifier: Apache-2.0
#include "state/tuple.h"

#include <gtest/gtest.h>

#include "packet/headers.h"
#include "state/test_connections.h"

namespace plexus::state {
namespace {

TEST(Tuple, IsReadFromPacketsOfEachProtocol) {
  for (const Tuple& t : {tcp("10.0.0.1", 1234, "10.0.0.2", 80), tcp("fd00::1", 1234, "fd00::2", 80),
                         udp("10.0.0.1", 5, "10.0.0.2", 53), udp("fd00::1", 5, "fd00::2", 53),
                         echo("10.0.0.1", "10.0.0.2", 7), echo("fd00::1", "fd00::2", 7),
                         echo("10.0.0.1", "10.0.0.2", 7).reversed(),
                         Tuple{ip("10.0.0.1"), ip("10.0.0.2"), 0, 0, 47, EchoRole::none}}) {
    const Sighting s = sighting_of(frame_of(t));
    EXPECT_EQ(s.kind, SightingKind::tracked) << t.str();
    EXPECT_EQ(s.tuple.str(), t.str());
    EXPECT_EQ(s.tuple, t);
    EXPECT_TRUE(is_sound(t));
    EXPECT_EQ(t.reversed().reversed(), t);
    EXPECT_EQ(s.tcp_flags, t.protocol == ip_proto::kTcp ? tcp_flag::kSyn : 0);
  }
}

TEST(Tuple, EchoRequestAndReplyAreTheTwoDirectionsOfOneConnection) {
  const Tuple request = echo("10.0.0.1", "10.0.0.2", 0);
  EXPECT_EQ(sighting_of(frame_of(request.reversed())).tuple.reversed(), request);
  // The other machine's own request, with the same identifier, is another connection: even with identifier 0.
  EXPECT_NE(echo("10.0.0.2", "10.0.0.1", 0), request.reversed());
}

TEST(Tuple, PacketsThatBelongToNoConnection) {
  const MacAddr mac{{2, 0, 0, 0, 0, 1}};
  EXPECT_EQ(sighting_of(arp_request(mac, ip("10.0.0.1"), ip("10.0.0.2"))).kind,
            SightingKind::untracked);
  EXPECT_EQ(sighting_of(nd_advert(mac, ip("fd00::1"), mac, ip("fd00::2"))).kind,
            SightingKind::untracked);
  EXPECT_EQ(sighting_of(frame_of(udp("10.0.0.1", 1, "224.0.0.1", 2))).kind,
            SightingKind::untracked);
  EXPECT_EQ(sighting_of(Frame(10)).kind, SightingKind::untracked);
  const auto parts =
      fragment(frame_of(udp("10.0.0.1", 1, "10.0.0.2", 2), 0, std::string(200, 'x')), 100);
  ASSERT_GE(parts.size(), 2u);
  EXPECT_EQ(sighting_of(parts[0]).kind, SightingKind::tracked);
  EXPECT_EQ(sighting_of(parts[0]).tuple, udp("10.0.0.1", 1, "10.0.0.2", 2));
  EXPECT_EQ(sighting_of(parts[1]).kind, SightingKind::untracked);
}

TEST(Tuple, AnErrorToSomebodyElseThanItQuotesTellsOfNothing) {
  for (const Tuple& t : {udp("10.0.0.1", 5, "10.0.0.2", 53), udp("fd00::1", 5, "fd00::2", 53)}) {
    const Frame packet = frame_of(t);
    const Frame error = icmp_error({.kind = IcmpErrorKind::port_unreachable, .from_ip = t.dst},
                                   parse_packet(packet), packet)
                            .value();
    EXPECT_EQ(sighting_of(error).tuple, t);
    Rewrite to_another;
    to_another.ip_dst = ip(t.src.is_v6() ? "fd00::3" : "10.0.0.3");
    const Sighting s = sighting_of(rewritten(to_another, parse_packet(error), error));
    EXPECT_EQ(s.kind, SightingKind::error);
    EXPECT_TRUE(s.tuple.src.is_none()) << s.tuple.str();
  }
}

TEST(Tuple, UnsoundOnesAreKnown) {
  Tuple t = tcp("10.0.0.1", 1, "10.0.0.2", 2);
  t.dst = ip("fd00::1");
  EXPECT_FALSE(is_sound(t)) << "two families";
  t = echo("10.0.0.1", "10.0.0.2", 7);
  t.dst_port = 1;
  EXPECT_FALSE(is_sound(t));
  t = echo("10.0.0.1", "10.0.0.2", 7);
  t.protocol = ip_proto::kIcmpv6;
  EXPECT_FALSE(is_sound(t)) << "ICMPv6 over IPv4";
  t = tcp("10.0.0.1", 1, "10.0.0.2", 2);
  t.protocol = 47;
  EXPECT_FALSE(is_sound(t)) << "GRE has no ports";
  EXPECT_FALSE(is_sound(Tuple{}));
}

TEST(Tuple, TheRewriteBetweenTwoTuplesMakesOneOfTheOther) {
  struct Case {
    Tuple from, to;
  };
  for (const Case& c :
       {Case{tcp("10.0.0.1", 1, "10.0.0.2", 80), tcp("192.0.2.1", 9, "10.0.0.3", 8080)},
        Case{udp("fd00::1", 1, "fd00::2", 80), udp("2001:db8::1", 9, "fd00::3", 90)},
        Case{echo("10.0.0.1", "10.0.0.2", 7), echo("192.0.2.1", "10.0.0.2", 4000)},
        Case{echo("fd00::1", "fd00::2", 7).reversed(), echo("fd00::9", "fd00::2", 8).reversed()},
        Case{tcp("10.0.0.1", 1, "10.0.0.2", 80), tcp("10.0.0.1", 1, "10.0.0.2", 80)}}) {
    const Frame frame = frame_of(c.from);
    const Frame out = rewritten(rewrite_between(c.from, c.to), parse_packet(frame), frame);
    EXPECT_EQ(sighting_of(out).tuple.str(), c.to.str());
    EXPECT_EQ(out, frame_of(c.to)) << "checksums too";
  }
  EXPECT_TRUE(
      rewrite_between(echo("10.0.0.1", "10.0.0.2", 7), echo("10.0.0.1", "10.0.0.2", 7)).empty());
}

}  // namespace
}  // namespace plexus::state
