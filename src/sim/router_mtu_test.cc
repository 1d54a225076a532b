// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// a at h1 on left, r1, a link, r2, right with b at h2 and c at h1.
class RouterMtu : public testing::Test {
 protected:
  RouterMtu() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    const BridgeId left = cloud.bridge("left"), right = cloud.bridge("right");
    const RouterId r1 = cloud.router("r1"), r2 = cloud.router("r2");
    const PortId r1_left =
        cloud.router_port("r1-left", r1, "02:00:00:00:0a:01", {"10.0.1.254/24", "fd00:1::fe/64"});
    r1_r2 = cloud.router_port("r1-r2", r1, "02:00:00:00:0a:02", {"10.9.0.1/30", "fd00:9::1/64"});
    const PortId r2_r1 =
        cloud.router_port("r2-r1", r2, "02:00:00:00:0b:01", {"10.9.0.2/30", "fd00:9::2/64"});
    r2_right =
        cloud.router_port("r2-right", r2, "02:00:00:00:0b:02", {"10.0.2.254/24", "fd00:2::fe/64"});
    cloud.plug(left, r1_left);
    cloud.plug(right, r2_right);
    cloud.link(r1_r2, r2_r1);
    a = cloud.vm("a", left, h1, "02:00:00:00:00:01", {"10.0.1.1", "fd00:1::1"});
    a2 = cloud.vm("a2", left, h2, "02:00:00:00:00:11", {"10.0.1.2", "fd00:1::2"});
    cloud.vm("b", right, h2, "02:00:00:00:00:02", {"10.0.2.1", "fd00:2::1"});
    cloud.vm("c", right, h1, "02:00:00:00:00:03", {"10.0.2.3", "fd00:2::3"});
    cloud.route("out", r1, "10.0.2.0/24", r1_r2, "10.9.0.2");
    cloud.route("back", r2, "10.0.1.0/24", r2_r1, "10.9.0.1");
    cloud.route("out6", r1, "fd00:2::/64", r1_r2, "fd00:9::2");
    cloud.route("back6", r2, "fd00:1::/64", r2_r1, "fd00:9::1");
  }

  /// A UDP packet from a whose IP packet has `size` bytes.
  static Frame packet(const char* to, size_t size, bool dont_fragment = true, uint8_t ttl = 64) {
    const IpAddr dst = *IpAddr::parse(to);
    return udp_packet({.eth_src = *MacAddr::parse("02:00:00:00:00:01"),
                       .eth_dst = *MacAddr::parse("02:00:00:00:0a:01"),
                       .src = *IpAddr::parse(dst.is_v4() ? "10.0.1.1" : "fd00:1::1"),
                       .dst = dst,
                       .ttl = ttl,
                       .vlan_tci = {},
                       .ipv4_id = 9,
                       .dont_fragment = dont_fragment},
                      1, 2, Frame(size - (dst.is_v4() ? 28 : 48), 5));
  }
  Outcome send(const Frame& frame, const OffloadLeft& offload = {}) {
    snapshot = cloud.snapshot(h1);
    trace = {};
    return simulate(packet_of(frame, cloud.dp_port(a), 0, offload), *snapshot, {}, &trace);
  }
  /// Who says so, and what it says: "10.9.0.2 1400".
  static std::string too_big(const Outcome& o) {
    if (o.generated.size() != 1 || o.generated[0].kind != GeneratedKind::packet_too_big)
      return std::to_string(o.generated.size()) + " generated";
    const Frame& f = o.generated[0].frame;
    const ParsedPacket p = parse_packet(f);
    return p.key.src_ip().str() + " " + std::to_string(IcmpView::of(p, f)->mtu());
  }

  TestCloud cloud;
  HostId h1, h2;
  PortId a, a2, r1_r2, r2_right;
  std::shared_ptr<const model::Snapshot> snapshot;
  Trace trace;
};

TEST_F(RouterMtu, WithoutLimitsAnySizeIsOneClass) {
  const Outcome o = send(packet("10.0.2.1", 9000));
  EXPECT_EQ(o.verdict, Verdict::forward);
  EXPECT_TRUE(o.cacheable);
  EXPECT_EQ(o.actions.mtu, 0);
}

TEST_F(RouterMtu, TheFarRouterSaysItsExactMtu) {
  cloud.ports[r1_r2].mtu = 9000;
  cloud.ports[r2_right].mtu = 1400;
  for (const auto& [to, from] : {std::pair("10.0.2.1", "10.9.0.2"), {"fd00:2::1", "fd00:9::2"}}) {
    SCOPED_TRACE(to);
    const Outcome fits = send(packet(to, 1400));
    EXPECT_EQ(fits.verdict, Verdict::forward);
    EXPECT_TRUE(fits.cacheable);
    EXPECT_EQ(fits.actions.mtu, 1400) << "the class is of packets up to the least limit";
    const Outcome o = send(packet(to, 1401));
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(o.reason, DropReason::packet_too_big);
    EXPECT_FALSE(o.cacheable);
    EXPECT_EQ(too_big(o), from + std::string(" 1400"));
  }
}

TEST_F(RouterMtu, TheNearRouterSaysTheLeastOfTheWholeWay) {
  cloud.ports[r1_r2].mtu = 1500;
  cloud.ports[r2_right].mtu = 1400;
  EXPECT_EQ(too_big(send(packet("10.0.2.1", 1501))), "10.0.1.254 1400");
  EXPECT_EQ(too_big(send(packet("fd00:2::1", 1501))), "fd00:1::fe 1400");
  EXPECT_THAT(trace.text(), HasSubstr("what is behind it?"));
  EXPECT_THAT(trace.text(), HasSubstr("1501 bytes are more than 1400, the least MTU on the way"));
  // The tunnel may be less still; a port at this host needs none.
  cloud.tunnel_mtu = 1300;
  EXPECT_EQ(too_big(send(packet("10.0.2.1", 1501))), "10.0.1.254 1300");
  EXPECT_EQ(too_big(send(packet("10.0.2.3", 1501))), "10.0.1.254 1400");
}

TEST_F(RouterMtu, TheLastRouterAnswersForTheTunnel) {
  cloud.tunnel_mtu = 1450;
  EXPECT_EQ(too_big(send(packet("10.0.2.1", 1451))), "10.9.0.2 1450");
  EXPECT_EQ(too_big(send(packet("fd00:2::1", 1451))), "fd00:9::2 1450");
  EXPECT_EQ(send(packet("10.0.2.1", 1450)).actions.mtu, 1450);
  EXPECT_EQ(send(packet("10.0.2.3", 1451)).verdict, Verdict::forward) << "not by tunnel";
}

TEST_F(RouterMtu, WithoutDfItIsCutForTheWholeWay) {
  cloud.ports[r1_r2].mtu = 1500;
  cloud.ports[r2_right].mtu = 1000;
  const Frame whole = packet("10.0.2.1", 3000, false);
  const Outcome o = send(whole);
  EXPECT_EQ(o.verdict, Verdict::consumed);
  EXPECT_FALSE(o.cacheable);
  ASSERT_THAT(o.generated, SizeIs(4));
  std::vector<Frame> pieces;
  for (const Generated& g : o.generated) {
    EXPECT_EQ(g.kind, GeneratedKind::fragment);
    EXPECT_FALSE(rate_limited(g.kind));
    ASSERT_THAT(g.actions.copies, SizeIs(1));
    EXPECT_EQ(g.actions.copies[0].rewrite.ttl_decrement, 2);
    EXPECT_TRUE(std::holds_alternative<TunnelOutput>(g.actions.copies[0].output));
    pieces.push_back(g.frame);
  }
  EXPECT_EQ(pieces, fragment(whole, 1000));
}

TEST_F(RouterMtu, WhatGetsNowhereIsNotCut) {
  cloud.ports[r1_r2].mtu = 1500;
  cloud.ports[r2_right].admin_up = false;
  const Outcome o = send(packet("10.0.2.1", 3000, false));
  EXPECT_EQ(o.reason, DropReason::port_admin_down);
  EXPECT_THAT(o.generated, IsEmpty());
  // With DF the router does not know: it says what it can.
  EXPECT_EQ(too_big(send(packet("10.0.2.1", 3000))), "10.0.1.254 1500");
}

TEST_F(RouterMtu, AFragmentIsCutFurther) {
  cloud.ports[r1_r2].mtu = 600;
  const Frame first = fragment(packet("10.0.2.1", 3000, false), 1500)[0];
  const Outcome o = send(first);
  ASSERT_THAT(o.generated, SizeIs(3));
  for (const Generated& g : o.generated)
    EXPECT_TRUE(Ipv4View::of(std::span(g.frame).subspan(14))->more_fragments());
}

TEST_F(RouterMtu, ALargeOffloadedPacketCountsByWhatItStandsFor) {
  cloud.ports[r1_r2].mtu = 1500;
  const Frame large = packet("10.0.2.1", 20'000);
  EXPECT_EQ(send(large, {1472, true}).verdict, Verdict::forward);
  EXPECT_TRUE(send(large, {1472, true}).cacheable);
  EXPECT_EQ(too_big(send(large, {1473, true})), "10.0.1.254 1500");
  const Outcome cut = send(packet("10.0.2.1", 20'000, false), {1473, true});
  EXPECT_THAT(cut.generated, SizeIs(14 + 13)) << "13 datagrams in two pieces, and what is left";
  for (const Generated& g : cut.generated) EXPECT_LE(parse_packet(g.frame).length, 14u + 1500);
}

TEST_F(RouterMtu, ErrorsOfRoutersThatItNeverCameToAreNotSent) {
  cloud.ports[r1_r2].mtu = 1500;
  // Its TTL would end at the far router.
  EXPECT_EQ(too_big(send(packet("10.0.2.1", 1501, true, 2))), "10.0.1.254 1500");
  EXPECT_EQ(send(packet("10.0.2.1", 1500, true, 2)).reason, DropReason::ttl_exceeded);
}

TEST_F(RouterMtu, WhatTheRouterMakesItCutsItself) {
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6);
    cloud.ports[TestCloud::port_id("r1-left")].mtu = 1280;
    const Frame ping = icmp_echo({.eth_src = *MacAddr::parse("02:00:00:00:00:01"),
                                  .eth_dst = *MacAddr::parse("02:00:00:00:0a:01"),
                                  .src = *IpAddr::parse(v6 ? "fd00:1::1" : "10.0.1.1"),
                                  .dst = *IpAddr::parse(v6 ? "fd00:1::fe" : "10.0.1.254"),
                                  .vlan_tci = {},
                                  .dont_fragment = true},
                                 false, 1, 1, Frame(3000, 1));
    const Outcome o = send(ping);
    ASSERT_THAT(o.generated, SizeIs(3));
    for (const Generated& g : o.generated) {
      EXPECT_EQ(g.kind, GeneratedKind::echo_reply);
      EXPECT_LE(g.frame.size(), 1280u + 14);
    }
  }
}

TEST_F(RouterMtu, WhatTheRouterMakesAndCannotCutIsNotWaitedFor) {
  // Nobody is asked who has the address: there is no smaller question.
  const Frame to_unknown = packet("10.0.2.9", 100, false);
  EXPECT_EQ(send(to_unknown).verdict, Verdict::postpone);
  cloud.ports[r2_right].mtu = 20;
  const Outcome o = send(to_unknown);
  EXPECT_EQ(o.verdict, Verdict::drop);
  EXPECT_EQ(o.reason, DropReason::packet_too_big);
  EXPECT_THAT(trace.text(), HasSubstr("ARP request is lost"));
}

TEST_F(RouterMtu, BetweenBridgePortsTheUnderlayDecides) {
  cloud.tunnel_mtu = 1450;
  Frame bridged = packet("10.0.1.2", 1451);
  put_bytes(bridged, 0, MacAddr::parse("02:00:00:00:00:11")->bytes);
  const Outcome v4 = send(bridged);
  EXPECT_EQ(v4.verdict, Verdict::forward) << "the kernel cuts it outside";
  EXPECT_TRUE(v4.cacheable);
  EXPECT_EQ(v4.actions.mtu, 0);

  cloud.hosts[h1].tunnel_addresses = {*IpAddr::parse("2001:db8::1")};
  cloud.hosts[h2].tunnel_addresses = {*IpAddr::parse("2001:db8::2")};
  const Outcome v6 = send(bridged);
  EXPECT_EQ(v6.reason, DropReason::mtu_exceeded);
  EXPECT_FALSE(v6.cacheable);
  EXPECT_THAT(v6.generated, IsEmpty());
  Frame small = packet("10.0.1.2", 1450);
  put_bytes(small, 0, MacAddr::parse("02:00:00:00:00:11")->bytes);
  const Outcome fits = send(small);
  EXPECT_TRUE(fits.cacheable);
  EXPECT_EQ(fits.actions.mtu, 1450);
}

TEST_F(RouterMtu, OfSeveralCopiesTheLeastLimitHolds) {
  // Nobody has the address, but it is in the neighbour table with a MAC that no port has: flooded behind the router.
  cloud.neighbours[r2_right] = {
      {r2_right, *IpAddr::parse("10.0.2.77"), *MacAddr::parse("02:00:00:00:00:77")}};
  cloud.tunnel_mtu = 1450;
  const Outcome o = send(packet("10.0.2.77", 1400));
  EXPECT_THAT(o.actions.copies, SizeIs(2));
  EXPECT_EQ(o.actions.mtu, 1450);
  EXPECT_EQ(too_big(send(packet("10.0.2.77", 1451))), "10.9.0.2 1450");
  const Outcome cut = send(packet("10.0.2.77", 1451, false));
  ASSERT_THAT(cut.generated, SizeIs(2));
  for (const Generated& g : cut.generated) EXPECT_THAT(g.actions.copies, SizeIs(2));
}

TEST_F(RouterMtu, ADropBehindALimitIsOfItsSizeOnly) {
  cloud.ports[r1_r2].mtu = 1500;
  cloud.ports[r2_right].admin_up = false;
  const Outcome o = send(packet("10.0.2.1", 100));
  EXPECT_EQ(o.verdict, Verdict::drop);
  EXPECT_TRUE(o.cacheable);
  EXPECT_EQ(o.actions.mtu, 1500) << "a larger one is answered";
}

}  // namespace
}  // namespace plexus::sim
