// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "packet/build.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::HasSubstr;

/// vm on red at h1; a router with uplinks at h1, h2 and h3, and default routes by them, IPv4 and IPv6.
class RouterGroup : public testing::Test {
 protected:
  RouterGroup() {
    red = cloud.bridge("red");
    rt = cloud.router("rt");
    const PortId rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    cloud.plug(red, rt_red);
    for (int i = 1; i <= 3; ++i) {
      const std::string n = std::to_string(i);
      hosts.push_back(cloud.host("h" + n, "192.0.2." + n));
      const std::string net = "198.51." + n + ".", net6 = "2001:db8:" + n + "::";
      ups.push_back(
          cloud.router_port("up" + n, rt, "02:00:00:00:03:0" + n, {net + "1/24", net6 + "1/64"}));
      cloud.bind(ups.back(), hosts.back());
      cloud.neighbours[ups.back()] = {
          {ups.back(), *IpAddr::parse(net + "254"), *MacAddr::parse("02:00:00:00:04:0" + n)},
          {ups.back(), *IpAddr::parse(net6 + "fe"), *MacAddr::parse("02:00:00:00:04:0" + n)}};
      cloud.route("default" + n, rt, "0.0.0.0/0", ups.back(), net + "254");
      cloud.route("default6-" + n, rt, "::/0", ups.back(), net6 + "fe");
    }
    vm = cloud.vm("vm", red, hosts[0], "02:00:00:00:01:01", {"10.0.1.1", "fd00:1::1"});
  }

  static Frame udp(uint16_t port, bool v6 = false, const char* from = nullptr) {
    return udp_packet({.eth_src = *MacAddr::parse("02:00:00:00:01:01"),
                       .eth_dst = *MacAddr::parse("02:00:00:00:01:fe"),
                       .src = *IpAddr::parse(from != nullptr ? from
                                             : v6            ? "fd00:1::1"
                                                             : "10.0.1.1"),
                       .dst = *IpAddr::parse(v6 ? "2001:db8:ffff::1" : "203.0.113.1"),
                       .vlan_tci = {}},
                      port, 53, Frame(100));
  }
  Outcome send(const Frame& frame) {
    snapshot = cloud.snapshot(hosts[0]);
    trace = {};
    return simulate(packet_of(frame, cloud.dp_port(vm)), *snapshot, {}, &trace);
  }
  /// The uplink by which it leaves: 1, 2, 3; 0: by none.
  static int way_of(const Outcome& o) {
    if (o.actions.copies.size() != 1 || !o.actions.copies[0].rewrite.eth_dst) return 0;
    return o.actions.copies[0].rewrite.eth_dst->bytes[5];
  }
  std::map<int, unsigned> shares(bool v6 = false, unsigned flows = 4000) {
    snapshot = cloud.snapshot(hosts[0]);
    std::map<int, unsigned> out;
    for (unsigned port = 0; port < flows; ++port) {
      const Frame f = udp(static_cast<uint16_t>(port), v6);
      ++out[way_of(simulate(packet_of(f, cloud.dp_port(vm)), *snapshot, {}))];
    }
    return out;
  }

  TestCloud cloud;
  BridgeId red;
  RouterId rt;
  std::vector<HostId> hosts;
  std::vector<PortId> ups;
  PortId vm;
  std::shared_ptr<const model::Snapshot> snapshot;
  Trace trace;
};

TEST_F(RouterGroup, FlowsSpreadByWeight) {
  for (const bool v6 : {false, true})
    for (const auto& [way, n] : shares(v6)) EXPECT_NEAR(n, 1333, 120) << way;
  cloud.routes[TestCloud::route_id("default1")].weight = 6;
  cloud.routes[TestCloud::route_id("default2")].weight = 3;
  auto s = shares();
  EXPECT_NEAR(s[1], 2400, 150);
  EXPECT_NEAR(s[2], 1200, 150);
  EXPECT_NEAR(s[3], 400, 100);
}

TEST_F(RouterGroup, OnlyAChoiceReadsTheFlow) {
  Outcome o = send(udp(1));
  EXPECT_TRUE(o.cacheable);
  EXPECT_EQ(o.mask.tp_src.host(), 0xffff);
  EXPECT_EQ(o.mask.tp_dst.host(), 0xffff);
  EXPECT_EQ(o.mask.ip_proto, 0xff);
  EXPECT_THAT(trace.text(), HasSubstr("3 ways to 0.0.0.0/0 are as good: the flow's hash decides"));
  cloud.ports[ups[0]].admin_up = false;
  cloud.bindings[ups[1]].active = false;
  o = send(udp(1));
  EXPECT_EQ(way_of(o), 3);
  EXPECT_EQ(o.mask.tp_src.host(), 0) << "one way is left: nothing to choose";
  EXPECT_EQ(o.mask.ip_proto, 0);
  EXPECT_THAT(trace.text(), HasSubstr("one of 3 ways to 0.0.0.0/0 can be used"));
  cloud.hosts[hosts[2]].fenced = true;
  EXPECT_EQ(send(udp(1)).verdict, Verdict::drop) << "none is left: the first says why";
  EXPECT_THAT(trace.text(), HasSubstr("none of 3 ways to 0.0.0.0/0 can be used"));
}

TEST_F(RouterGroup, OnlyTheFlowsOfAWayThatGoesMove) {
  std::map<uint16_t, int> before;
  snapshot = cloud.snapshot(hosts[0]);
  for (uint16_t port = 0; port < 1000; ++port) before[port] = way_of(send(udp(port)));
  cloud.ports[ups[1]].admin_up = false;
  std::map<int, unsigned> taken_over;
  for (uint16_t port = 0; port < 1000; ++port) {
    const int now = way_of(send(udp(port)));
    if (before[port] == 2)
      ++taken_over[now];
    else
      ASSERT_EQ(now, before[port]);
  }
  EXPECT_GT(taken_over[1], 100u);
  EXPECT_GT(taken_over[3], 100u);
}

TEST_F(RouterGroup, AllHostsChooseAlike) {
  for (uint16_t port = 0; port < 200; ++port) {
    const Frame f = udp(port);
    const int here = way_of(send(f));
    TestCloud there = cloud;
    there.bind(vm, hosts[2]);
    const auto other = there.snapshot(hosts[2]);
    ASSERT_EQ(way_of(simulate(packet_of(f, there.dp_port(vm)), *other, {})), here);
  }
}

TEST_F(RouterGroup, AllFragmentsOfAPacketGoOneWay) {
  for (const bool v6 : {false, true}) {
    std::map<int, unsigned> used;
    for (uint8_t host = 1; host < 60; ++host) {
      const std::string from = (v6 ? "fd00:1::" : "10.0.1.") + std::to_string(host);
      Frame large = udp_packet({.eth_src = *MacAddr::parse("02:00:00:00:01:01"),
                                .eth_dst = *MacAddr::parse("02:00:00:00:01:fe"),
                                .src = *IpAddr::parse(from),
                                .dst = *IpAddr::parse(v6 ? "2001:db8:ffff::1" : "203.0.113.1"),
                                .vlan_tci = {}},
                               host, 53, Frame(4000));
      const auto pieces = fragment(large, 1500, host);
      ASSERT_EQ(pieces.size(), 3u);
      const int way = way_of(send(pieces[0]));
      ++used[way];
      for (const Frame& piece : pieces) {
        const Outcome o = send(piece);
        ASSERT_EQ(way_of(o), way);
        EXPECT_EQ(o.mask.tp_src.host(), 0);
      }
    }
    EXPECT_EQ(used.size(), 3u) << "by the addresses";
  }
}

TEST_F(RouterGroup, WaysBySource) {
  auto& special =
      cloud.routes[cloud.route("special", rt, "0.0.0.0/0", ups[2], "198.51.3.254", 100)];
  special.source = *IpPrefix::parse("10.0.1.128/25");
  for (uint16_t port = 0; port < 50; ++port) {
    const Outcome o = send(udp(port, false, "10.0.1.130"));
    EXPECT_EQ(way_of(o), 3) << "the longer source wins, whatever the metric";
    EXPECT_EQ(o.mask.tp_src.host(), 0);
    // One bit more than the source prefix, by which the source is not the router's own address.
    EXPECT_EQ(std::vector(o.mask.nw.begin(), o.mask.nw.begin() + 4),
              (std::vector<uint8_t>{255, 255, 255, 0xc0}));
  }
  EXPECT_THAT(trace.text(), HasSubstr("203.0.113.1 is in 0.0.0.0/0 from 10.0.1.128/25"));
  EXPECT_GT(shares().size(), 1u) << "the others share as before";
}

TEST_F(RouterGroup, WhatARouterMakesGoesByItsOwnFlow) {
  // A packet from far away ends here: the error goes back by one of the ways.
  std::map<int, unsigned> used;
  snapshot = cloud.snapshot(hosts[0]);
  for (uint8_t host = 1; host < 60; ++host) {
    const Frame f = udp_packet({.eth_src = *MacAddr::parse("02:00:00:00:04:01"),
                                .eth_dst = *MacAddr::parse("02:00:00:00:03:01"),
                                .src = IpAddr::v4(0xcb007100u | host),
                                .dst = *IpAddr::parse("10.0.1.1"),
                                .ttl = 1,
                                .vlan_tci = {}},
                               1, 2);
    const Outcome o = simulate(packet_of(f, cloud.dp_port(ups[0])), *snapshot, {});
    ASSERT_EQ(o.generated.size(), 1u);
    EXPECT_EQ(o.generated[0].kind, GeneratedKind::time_exceeded);
    EXPECT_EQ(o.generated[0].router, rt);
    ++used[o.generated[0].frame[5]];
  }
  EXPECT_EQ(used.size(), 3u);
}

TEST_F(RouterGroup, ASpareTakesOverWhenNoneOfTheBestCanBeUsed) {
  cloud.routes[TestCloud::route_id("default3")].metric = 10;
  cloud.routes[TestCloud::route_id("default6-3")].metric = 10;
  for (const bool v6 : {false, true}) {
    EXPECT_EQ(shares(v6, 200).count(3), 0u) << "a spare is no share";
    cloud.ports[ups[0]].admin_up = false;
    EXPECT_EQ(way_of(send(udp(1, v6))), 2);
    cloud.ports[ups[1]].admin_up = false;
    const Outcome o = send(udp(1, v6));
    EXPECT_EQ(way_of(o), 3) << trace.text();
    EXPECT_TRUE(o.cacheable);
    // What would bring the others back is among its dependencies.
    EXPECT_THAT(o.dependencies, testing::IsSupersetOf(
                                    {Dependency{port_tag(ups[0])}, Dependency{port_tag(ups[1])}}));
    cloud.ports[ups[0]].admin_up = cloud.ports[ups[1]].admin_up = true;
  }
}

TEST_F(RouterGroup, AnIcmpErrorGoesTheWayOfWhatItIsAbout) {
  for (const bool v6 : {false, true}) {
    for (uint16_t port = 1; port <= 40; ++port) {
      const Frame packet = udp(port, v6);
      // The packet that came back, about which the machine complains.
      Frame back = udp_packet({.eth_src = *MacAddr::parse("02:00:00:00:01:fe"),
                               .eth_dst = *MacAddr::parse("02:00:00:00:01:01"),
                               .src = *IpAddr::parse(v6 ? "2001:db8:ffff::1" : "203.0.113.1"),
                               .dst = *IpAddr::parse(v6 ? "fd00:1::1" : "10.0.1.1"),
                               .vlan_tci = {}},
                              53, port, Frame(100));
      const auto error = icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                     .from_mac = *MacAddr::parse("02:00:00:00:01:01"),
                                     .to_mac = *MacAddr::parse("02:00:00:00:01:fe"),
                                     .from_ip = *IpAddr::parse(v6 ? "fd00:1::1" : "10.0.1.1")},
                                    parse_packet(back), back);
      ASSERT_TRUE(error);
      const Outcome o = send(*error);
      EXPECT_EQ(way_of(o), way_of(send(packet)));
      EXPECT_FALSE(o.cacheable) << "what it quotes is in no key";
    }
  }
}

}  // namespace
}  // namespace plexus::sim
