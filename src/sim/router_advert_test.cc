// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class RouterAdvert : public testing::Test {
 protected:
  RouterAdvert() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    const BridgeId red = cloud.bridge("red"), far = cloud.bridge("far");
    rt = cloud.router("rt");
    port = cloud.router_port("rt-red", rt, "02:00:00:00:01:fe",
                             {"10.0.1.254/24", "fd00:1::fe/64", "fd00:5::fe/80"});
    cloud.ports[port].advertising = model::Advertising{};
    cloud.plug(red, port);
    cloud.link(cloud.bridge_port("red-far", red), cloud.bridge_port("far-red", far));
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01");
    vm2 = cloud.vm("vm2", red, h2, "02:00:00:00:01:02");
    vm3 = cloud.vm("vm3", far, h1, "02:00:00:00:01:03");
  }

  static Frame solicit(const char* from, bool with_option, uint8_t ttl = 255,
                       const char* to = "ff02::2") {
    std::vector<uint8_t> m(with_option ? 16 : 8);
    m[0] = icmpv6_type::kRouterSolicit;
    const MacAddr mac = *MacAddr::parse("02:00:00:00:01:01");
    if (with_option) {
      m[8] = 1;
      m[9] = 1;
      put_bytes(m, 10, mac.bytes);
    }
    const IpAddr dst = *IpAddr::parse(to);
    return ip_packet({.eth_src = mac,
                      .eth_dst = dst.is_multicast() ? multicast_mac_of(dst)
                                                    : *MacAddr::parse("02:00:00:00:01:fe"),
                      .src = *IpAddr::parse(from),
                      .dst = dst,
                      .ttl = ttl,
                      .vlan_tci = {}},
                     ip_proto::kIcmpv6, m);
  }
  Outcome send(const Frame& f) {
    snapshot = cloud.snapshot(h1);
    return simulate(packet_of(f, cloud.dp_port(vm1)), *snapshot, {});
  }
  /// The advertisement's ICMPv6 message, checked.
  static std::vector<uint8_t> message(const Frame& f) {
    const ParsedPacket p = parse_packet(f);
    EXPECT_TRUE(transport_checksum_ok(p, f));
    EXPECT_EQ(p.key.ip_ttl, 255);
    EXPECT_EQ(p.key.src_ip(), link_local_of(*MacAddr::parse("02:00:00:00:01:fe")));
    const auto bytes = IcmpView::of(p, f)->bytes();
    return {bytes.begin(), bytes.end()};
  }

  TestCloud cloud;
  HostId h1, h2;
  RouterId rt;
  PortId port, vm1, vm2, vm3;
  std::shared_ptr<const model::Snapshot> snapshot;
};

TEST_F(RouterAdvert, AnswersASolicitation) {
  cloud.ports[port].mtu = 1400;
  cloud.ports[port].advertising = model::Advertising{.lifetime = 600, .managed = true};
  const Outcome o = send(solicit("fe80::1", true));
  EXPECT_EQ(o.verdict, Verdict::forward) << "the solicitation itself is flooded on the bridge";
  EXPECT_FALSE(o.cacheable);
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(o.generated[0].kind, GeneratedKind::router_advert);
  EXPECT_EQ(o.generated[0].router, rt);
  EXPECT_THAT(o.generated[0].actions.copies,
              ElementsAre(Copy{{}, LocalOutput{cloud.dp_port(vm1)}}));
  const ParsedPacket p = parse_packet(o.generated[0].frame);
  EXPECT_EQ(p.key.dst_ip(), *IpAddr::parse("fe80::1"));
  EXPECT_EQ(p.key.dst_mac(), *MacAddr::parse("02:00:00:00:01:01"));
  const auto m = message(o.generated[0].frame);
  ASSERT_EQ(m.size(), 16u + 8 + 8 + 32 + 32);
  EXPECT_EQ(m[0], 134);
  EXPECT_EQ(m[4], 64);
  EXPECT_EQ(m[5], 0x80) << "managed, not other";
  EXPECT_EQ(be16_at(m, 6), 600);
  EXPECT_EQ(m[16], 1) << "source link-layer address";
  EXPECT_EQ(mac_at(m, 18), *MacAddr::parse("02:00:00:00:01:fe"));
  EXPECT_EQ(m[24], 5) << "MTU";
  EXPECT_EQ(be32_at(m, 28), 1400u);
  EXPECT_EQ(m[32], 3) << "prefix";
  EXPECT_EQ(m[34], 64);
  EXPECT_EQ(m[35], 0xc0) << "on link, autonomous";
  EXPECT_EQ(ipv6_at(m, 48), *IpAddr::parse("fd00:1::"));
  EXPECT_EQ(m[66], 80);
  EXPECT_EQ(m[67], 0x80) << "no host makes addresses of a /80";
}

TEST_F(RouterAdvert, WhoHasNoAddressYetGetsItByMulticast) {
  const Outcome o = send(solicit("::", false));
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(parse_packet(o.generated[0].frame).key.dst_ip(), *IpAddr::parse("ff02::1"));
  EXPECT_THAT(o.generated[0].actions.copies, SizeIs(3));
}

TEST_F(RouterAdvert, AnswersAUnicastSolicitation) {
  const std::string own = link_local_of(*MacAddr::parse("02:00:00:00:01:fe")).str();
  EXPECT_THAT(send(solicit("fe80::1", false, 255, own.c_str())).generated, SizeIs(1));
}

TEST_F(RouterAdvert, ChecksSolicitations) {
  EXPECT_THAT(send(solicit("fe80::1", true, 64)).generated, IsEmpty()) << "came from afar";
  EXPECT_THAT(send(solicit("::", true)).generated, IsEmpty()) << "no address, but a link address";
  Frame damaged = solicit("fe80::1", true);
  damaged.back() ^= 1;
  EXPECT_THAT(send(damaged).generated, IsEmpty());
  Frame short_option = solicit("fe80::1", true);
  short_option[14 + 40 + 9] = 0;
  complete_checksum(parse_packet(short_option), short_option);
  EXPECT_THAT(send(short_option).generated, IsEmpty());
}

TEST_F(RouterAdvert, SaysNothingUnlessItAdvertises) {
  cloud.ports[port].advertising.reset();
  const Outcome o = send(solicit("fe80::1", true));
  EXPECT_THAT(o.generated, IsEmpty());
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(router_adverts(*snapshot, port), IsEmpty());
}

TEST_F(RouterAdvert, UnaskedToThePortsOfThisHostOnly) {
  snapshot = cloud.snapshot(h1);
  auto made = router_adverts(*snapshot, port);
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_EQ(parse_packet(made[0].frame).key.dst_ip(), *IpAddr::parse("ff02::1"));
  EXPECT_THAT(made[0].actions.copies,
              testing::UnorderedElementsAre(Copy{{}, LocalOutput{cloud.dp_port(vm1)}},
                                            Copy{{}, LocalOutput{cloud.dp_port(vm3)}}));
  snapshot = cloud.snapshot(h2);
  made = router_adverts(*snapshot, port);
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_THAT(made[0].actions.copies, ElementsAre(Copy{{}, LocalOutput{cloud.dp_port(vm2)}}));
  cloud.bindings.erase(vm2);
  EXPECT_THAT(router_adverts(*cloud.snapshot(h2), port), IsEmpty());
}

TEST_F(RouterAdvert, TheLastOneEndsItsTimeAsDefaultRouter) {
  cloud.ports[port].advertising.reset();
  snapshot = cloud.snapshot(h1);
  const auto made = router_adverts(*snapshot, port, true);
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_EQ(be16_at(message(made[0].frame), 6), 0);
}

TEST_F(RouterAdvert, TellsNameServersAndMtuOfTheLinksSubnets) {
  auto& six = cloud.dhcp_subnet("six", TestCloud::bridge_id("red"), "fd00:1::/64");
  six.dns_servers = {*IpAddr::parse("fd00::53"), *IpAddr::parse("10.0.0.53")};
  six.mtu = 1380;
  // Of other networks, of the other family, of another link: nothing of these.
  cloud.dhcp_subnet("other", TestCloud::bridge_id("red"), "fd00:9::/64").dns_servers = {
      *IpAddr::parse("fd00::99")};
  cloud.dhcp_subnet("four", TestCloud::bridge_id("red"), "10.0.1.0/24").mtu = 1300;
  cloud.dhcp_subnet("far", TestCloud::bridge_id("far"), "fd00:1::/64").mtu = 1290;
  snapshot = cloud.snapshot(h1);
  auto m = message(router_adverts(*snapshot, port).at(0).frame);
  ASSERT_EQ(m.size(), 16u + 8 + 8 + 32 + 32 + 24);
  EXPECT_EQ(be32_at(m, 28), 1380u);
  const auto servers = std::span(m).last(24);
  EXPECT_EQ(servers[0], 25) << "RFC 8106";
  EXPECT_EQ(servers[1], 3);
  EXPECT_EQ(be32_at(servers, 4), 1800u);
  EXPECT_EQ(ipv6_at(servers, 8), *IpAddr::parse("fd00::53"));
  m = message(router_adverts(*snapshot, port, true).at(0).frame);
  EXPECT_EQ(be32_at(std::span(m).last(24), 4), 0u) << "the last one takes them back";
  cloud.ports[port].mtu = 1400;
  m = message(router_adverts(*cloud.snapshot(h1), port).at(0).frame);
  EXPECT_EQ(be32_at(m, 28), 1400u) << "the port's own counts";
}

TEST_F(RouterAdvert, NoneWhileTheRouterIsDown) {
  cloud.routers[rt].admin_up = false;
  EXPECT_THAT(router_adverts(*cloud.snapshot(h1), port), IsEmpty());
  cloud.routers[rt].admin_up = true;
  cloud.ports[port].admin_up = false;
  EXPECT_THAT(router_adverts(*cloud.snapshot(h1), port), IsEmpty());
}

}  // namespace
}  // namespace plexus::sim
