// SPDX-License-Identifier: Apache-2.0
// What is flooded has the storm limit of the port that it entered by.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

/// vm1, vm2 at h1 and vm3 at h2 on red; vm4 at h1 on blue; a router between them.
class StormLimit : public testing::Test {
 protected:
  StormLimit() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    const RouterId rt = cloud.router("rt");
    rt_red = cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24"});
    rt_blue = cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2"});
    vm3 = cloud.vm("vm3", red, h2, "02:00:00:00:01:03", {"10.0.1.3"});
    vm4 = cloud.vm("vm4", blue, h1, "02:00:00:00:02:04", {"10.0.2.4"});
    cloud.bridges[red].storm_limit = 100;
  }

  Outcome send_by(DpPort in, uint32_t key, const std::string& text, Trace* trace = nullptr) {
    sent = *parse_frame(text);
    packet = packet_of(sent, in, key);
    snapshot = cloud.snapshot(here);
    return simulate(packet, *snapshot, MonoTime{}, trace);
  }
  Outcome send(PortId from, const std::string& text) {
    return send_by(cloud.dp_port(from), 0, text);
  }

  const std::string to_all =
      "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 10.0.1.255 | udp 7 > 7";
  const std::string tagged =
      "eth 02:00:00:00:02:05 > ff:ff:ff:ff:ff:ff | vlan 5 | ipv4 10.0.2.5 > 10.0.2.255 | udp 7 > 7";
  TestCloud cloud;
  HostId h1, h2, here = TestCloud::host_id("h1");
  BridgeId red, blue;
  PortId rt_red, rt_blue, vm1, vm2, vm3, vm4;
  Frame sent;
  Packet packet;
  std::shared_ptr<const model::Snapshot> snapshot;
};

TEST_F(StormLimit, IsForThePiecesOfWhatARouterCuts) {
  cloud.ports[rt_blue].mtu = 100;
  // Nobody has that MAC.
  cloud.neighbours[rt_blue] = {{.port = rt_blue,
                                .address = *IpAddr::parse("10.0.2.9"),
                                .mac = *MacAddr::parse("02:00:00:00:02:99")}};
  const Outcome o = send(vm1,
                         "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.9 | "
                         "udp 7 > 7 | payload 200 bytes");
  ASSERT_EQ(o.generated.size(), 3u);
  for (const Generated& piece : o.generated) EXPECT_EQ(piece.actions.storm_limit, 100u);
}

TEST_F(StormLimit, IsForWhatGoesToMany) {
  EXPECT_EQ(send(vm1, to_all).actions.storm_limit, 100u);
  EXPECT_TRUE(send(vm1, to_all).cacheable) << "the datapath counts";
  EXPECT_EQ(
      send(vm1, "eth 02:00:00:00:01:01 > 33:33:00:00:00:07 | ipv6 fd00:1::1 > ff02::7 | udp 7 > 7")
          .actions.storm_limit,
      100u);
  EXPECT_EQ(
      send(vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:99 | ipv4 10.0.1.1 > 10.0.1.9 | udp 7 > 7")
          .actions.storm_limit,
      100u)
      << "nobody knows where that MAC is";
  for (const char* to : {"02:00:00:00:01:02", "02:00:00:00:01:03"})
    EXPECT_EQ(send(vm1, std::string("eth 02:00:00:00:01:01 > ") + to +
                            " | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 7")
                  .actions.storm_limit,
              0u);
  EXPECT_EQ(
      send(vm4,
           "eth 02:00:00:00:02:04 > ff:ff:ff:ff:ff:ff | ipv4 10.0.2.4 > 10.0.2.255 | udp 7 > 7")
          .actions.storm_limit,
      0u)
      << "its bridge has none";
  const Outcome arp = send(vm1,
                           "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.2 "
                           "tell 10.0.1.1");
  EXPECT_EQ(arp.actions.storm_limit, 0u) << "answered where it came in";
}

TEST_F(StormLimit, ThePortsOwnCountsMore) {
  cloud.ports[vm1].storm_limit = 7;
  EXPECT_EQ(send(vm1, to_all).actions.storm_limit, 7u);
  EXPECT_THAT(format(send(vm1, to_all).actions), testing::HasSubstr("; 7 a second"));
  cloud.bridges[red].storm_limit = 0;
  EXPECT_EQ(send(vm1, to_all).actions.storm_limit, 7u);
  cloud.ports[vm1].storm_limit = 0;
  EXPECT_EQ(send(vm1, to_all).actions.storm_limit, 0u);
}

TEST_F(StormLimit, HoldsWhereverTheFloodBegins) {
  // Nobody has the MAC that blue's neighbour table names: the packet is flooded behind the router.
  cloud.neighbours[rt_blue] = {{.port = rt_blue,
                                .address = *IpAddr::parse("10.0.2.9"),
                                .mac = *MacAddr::parse("02:00:00:00:02:99")}};
  EXPECT_EQ(
      send(vm1,
           "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.9 ttl 9 | udp 7 > 7")
          .actions.storm_limit,
      100u);
}

TEST_F(StormLimit, HoldsForWhatARouterAsksForThePacketsSake) {
  const std::string to_unknown =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.9 ttl 9 | udp 7 > 7";
  const auto asked = [&] {
    const Outcome o = send(vm1, to_unknown);
    EXPECT_EQ(o.verdict, Verdict::postpone);
    EXPECT_EQ(o.actions.storm_limit, 0u) << "the packet itself goes to one";
    EXPECT_EQ(o.generated.size(), 1u);
    return o.generated.empty() ? Actions() : o.generated[0].actions;
  };
  EXPECT_EQ(asked().storm_limit, 100u) << "of where the packet came in, not of where it is asked";
  cloud.ports[vm1].storm_limit = 7;
  cloud.bridges[blue].storm_limit = 3;
  EXPECT_EQ(asked().storm_limit, 7u);
  cloud.ports[vm1].storm_limit = 0;
  cloud.bridges[red].storm_limit = 0;
  EXPECT_EQ(asked().storm_limit, 0u);
}

TEST_F(StormLimit, WasAskedWhereTheFrameEntered) {
  for (const auto& [bridge, key] : cloud.hosts[h1].flood_keys) {
    if (bridge != red) continue;
    const Outcome o = send_by(kTunnelPort, key, to_all);
    EXPECT_EQ(o.verdict, Verdict::forward);
    EXPECT_EQ(o.actions.storm_limit, 0u);
  }
}

TEST_F(StormLimit, OfASubPortIsAtMostItsParents) {
  const PortId sub = cloud.sub_port("sub", blue, vm1, 5, "02:00:00:00:02:05", {"10.0.2.5"});
  const auto limit = [&](uint32_t own, uint32_t of_bridge, uint32_t of_parent,
                         uint32_t of_parents_bridge) {
    cloud.ports[sub].storm_limit = own;
    cloud.bridges[blue].storm_limit = of_bridge;
    cloud.ports[vm1].storm_limit = of_parent;
    cloud.bridges[red].storm_limit = of_parents_bridge;
    return send(vm1, tagged).actions.storm_limit;
  };
  EXPECT_EQ(limit(0, 0, 0, 0), 0u);
  EXPECT_EQ(limit(0, 0, 0, 100), 100u) << "a bridge of the tenant's own has no limit";
  EXPECT_EQ(limit(0, 0, 7, 100), 7u);
  EXPECT_EQ(limit(0, 0, 200, 100), 200u) << "the parent's own counts more than its bridge's";
  EXPECT_EQ(limit(0, 50, 0, 100), 50u);
  EXPECT_EQ(limit(0, 500, 0, 100), 100u);
  EXPECT_EQ(limit(3, 50, 0, 100), 3u);
  EXPECT_EQ(limit(300, 50, 0, 100), 100u);
  EXPECT_EQ(limit(3, 50, 0, 0), 3u) << "none of the parent is no limit of 0";
  EXPECT_EQ(limit(0, 50, 0, 0), 50u);
  // What comes without the tag is the parent's.
  (void)limit(3, 50, 0, 100);
  EXPECT_EQ(send(vm1, to_all).actions.storm_limit, 100u);
}

TEST_F(StormLimit, AChangedLimitTouchesTheFlowsOfItsPorts) {
  (void)cloud.sub_port("sub", blue, vm1, 5, "02:00:00:00:02:05", {"10.0.2.5"});
  for (const auto& [of_bridge, text] :
       {std::pair(true, to_all), {false, to_all}, {true, tagged}, {false, tagged}}) {
    cloud.bridges[red].storm_limit = 100;
    cloud.ports[vm1].storm_limit = 0;
    model::Topology topology(here);
    topology.apply(cloud.changes(here));
    sent = *parse_frame(text);
    packet = packet_of(sent, cloud.dp_port(vm1), 0);
    const Outcome before = simulate(packet, *topology.snapshot(), MonoTime{});
    model::Delta delta;
    if (of_bridge) {
      cloud.bridges[red].storm_limit = 55;
      delta =
          topology.apply(std::vector<model::Change>{model::BridgeChange{red, cloud.bridges[red]}});
    } else {
      cloud.ports[vm1].storm_limit = 55;
      delta = topology.apply(std::vector<model::Change>{model::PortChange{vm1, cloud.ports[vm1]}});
    }
    const auto tags = tags_of(delta);
    EXPECT_TRUE(std::any_of(tags.begin(), tags.end(),
                            [&](const TagChange& change) {
                              return std::any_of(
                                  before.dependencies.begin(), before.dependencies.end(),
                                  [&](const Dependency& d) { return d.tag == change.tag; });
                            }))
        << of_bridge << " " << text;
    EXPECT_EQ(simulate(packet, *topology.snapshot(), MonoTime{}).actions.storm_limit, 55u);
  }
}

}  // namespace
}  // namespace plexus::sim
