// SPDX-License-Identifier: Apache-2.0
#include "agent/router_advertiser.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "packet/build.h"
#include "packet/bytes.h"
#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

class RouterAdvertiserTest : public testing::Test {
 protected:
  RouterAdvertiserTest() {
    h1 = cloud.host("h1", "192.0.2.1");
    const BridgeId red = cloud.bridge("red");
    port = cloud.router_port("rt-red", cloud.router("rt"), "02:00:00:00:01:fe", {"fd00:1::fe/64"});
    cloud.ports[port].advertising.emplace();
    cloud.plug(red, port);
    vm = cloud.vm("vm", red, h1, "02:00:00:00:01:01");
  }
  /// When, in whole seconds from now on, it advertises; stops after so many seconds.
  std::vector<int> times(int seconds) {
    const auto snapshot = cloud.snapshot(h1);
    std::vector<int> out;
    for (int i = 0; i < seconds; ++i, now = now + 1s)
      for (const auto& made : advertiser.due(snapshot, now)) {
        out.push_back(i);
        lifetime = be16_at(made.frame, 14 + 40 + 6);
        source = mac_at(made.frame, 6);
        frame = made.frame;
      }
    return out;
  }

  sim::TestCloud cloud;
  HostId h1;
  PortId port, vm;
  RouterAdvertiser advertiser;
  MonoTime now{1'000'000'000};
  uint16_t lifetime = 0;  ///< that the last one told
  MacAddr source;         ///< and whose it was
  Frame frame;
};

/// Valid lifetimes that an advertisement tells of its networks.
std::map<std::string, uint32_t> networks_of(const Frame& frame) {
  std::map<std::string, uint32_t> out;
  for (size_t at = 14 + 40 + 16; at < frame.size(); at += size_t{frame[at + 1]} * 8) {
    if (frame[at] != 3) continue;
    EXPECT_EQ(be32_at(frame, at + 4) == 0, be32_at(frame, at + 8) == 0);
    out[ipv6_at(frame, at + 16).str()] = be32_at(frame, at + 4);
  }
  return out;
}

TEST_F(RouterAdvertiserTest, ThreeTimesThenSeldom) {
  const auto all = times(4000);
  ASSERT_GT(all.size(), 8u);
  EXPECT_EQ(all[0], 0);
  EXPECT_EQ(all[1], 16);
  EXPECT_EQ(all[2], 32);
  bool differ = false;
  for (size_t i = 3; i < all.size(); ++i) {
    EXPECT_GE(all[i] - all[i - 1], 200);
    EXPECT_LE(all[i] - all[i - 1], 601);
    differ = differ || (i > 3 && all[i] - all[i - 1] != all[i - 1] - all[i - 2]);
  }
  EXPECT_TRUE(differ);
  EXPECT_EQ(lifetime, 1800);
}

TEST_F(RouterAdvertiserTest, AgainWhenItSaysSomethingElse) {
  EXPECT_EQ(times(100).size(), 3u);
  cloud.ports[port].networks.push_back(*IpPrefix::parse("fd00:2::fe/64"));
  EXPECT_EQ(times(34), (std::vector<int>{0, 16, 32}));
  // Not more often than every three seconds.
  cloud.ports[port].mtu = 1400;
  EXPECT_EQ(times(1), (std::vector<int>{}));
  EXPECT_EQ(times(5), (std::vector<int>{0}));
}

TEST_F(RouterAdvertiserTest, SaysOnceThatItHasCeased) {
  EXPECT_EQ(times(1).size(), 1u);
  cloud.ports[port].advertising.reset();
  EXPECT_EQ(times(700), (std::vector<int>{0}));
  EXPECT_EQ(lifetime, 0);
}

TEST_F(RouterAdvertiserTest, WaitsForSomebodyToHearIt) {
  cloud.bindings[vm].active = false;
  EXPECT_TRUE(times(100).empty());
  cloud.bindings[vm].active = true;
  const auto all = times(20);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_LE(all[0], 16);
  cloud.bindings[vm].active = false;
  cloud.ports.erase(port);
  EXPECT_TRUE(times(100).empty()) << "nobody has heard of it who is here";
}

TEST_F(RouterAdvertiserTest, WhatIsGoneOrDownHasCeasedToo) {
  const auto whole = cloud.ports;
  EXPECT_EQ(times(1).size(), 1u);
  cloud.ports.erase(port);
  EXPECT_EQ(times(700), (std::vector<int>{0}));
  EXPECT_EQ(lifetime, 0);
  cloud.ports = whole;
  EXPECT_EQ(times(1).size(), 1u);
  cloud.ports[port].admin_up = false;
  EXPECT_EQ(times(700), (std::vector<int>{0}));
  EXPECT_EQ(lifetime, 0);
  cloud.ports = whole;
  EXPECT_EQ(times(1).size(), 1u);
  cloud.routers.begin()->second.admin_up = false;
  EXPECT_EQ(times(700), (std::vector<int>{0}));
  EXPECT_EQ(lifetime, 0);
  cloud.routers.begin()->second.admin_up = true;
  cloud.ports.erase(port);
  EXPECT_TRUE(times(10).empty()) << "it has said so";
}

TEST_F(RouterAdvertiserTest, AnotherMacIsAnotherRouterToHosts) {
  const MacAddr old = cloud.ports[port].mac;
  EXPECT_EQ(times(100).size(), 3u);
  cloud.ports[port].mac = *MacAddr::parse("02:00:00:00:01:fd");
  const auto snapshot = cloud.snapshot(h1);
  const auto made = advertiser.due(snapshot, now);
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(mac_at(made[0].frame, 6), old);
  EXPECT_EQ(be16_at(made[0].frame, 14 + 40 + 6), 0);
  EXPECT_EQ(mac_at(made[1].frame, 6), cloud.ports[port].mac);
  EXPECT_EQ(be16_at(made[1].frame, 14 + 40 + 6), 1800);
}

TEST_F(RouterAdvertiserTest, TellsTheOldLinkWhenItIsWiredToAnother) {
  EXPECT_EQ(times(100).size(), 3u);
  const BridgeId green = cloud.bridge("green");
  (void)cloud.vm("vm2", green, h1, "02:00:00:00:01:02");
  cloud.link(cloud.bridge_port("to-green", green), port);
  const auto snapshot = cloud.snapshot(h1);
  const auto made = advertiser.due(snapshot, now);
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(be16_at(made[0].frame, 14 + 40 + 6), 0);
  EXPECT_EQ(made[0].actions.copies, (std::vector<Copy>{{{}, LocalOutput{cloud.dp_port(vm)}}}));
  EXPECT_EQ(be16_at(made[1].frame, 14 + 40 + 6), 1800);
}

TEST_F(RouterAdvertiserTest, WithdrawsNetworksThatItHadThreeTimes) {
  using Networks = std::map<std::string, uint32_t>;
  constexpr uint32_t kValid = 2'592'000;
  EXPECT_EQ(times(100).size(), 3u);
  EXPECT_EQ(networks_of(frame), (Networks{{"fd00:1::", kValid}}));
  cloud.ports[port].networks = {*IpPrefix::parse("fd00:2::fe/64")};
  EXPECT_EQ(times(1).size(), 1u);
  EXPECT_EQ(networks_of(frame), (Networks{{"fd00:2::", kValid}, {"fd00:1::", 0}}));
  // Back again while the other is told of: the one is there, the other is not.
  cloud.ports[port].networks = {*IpPrefix::parse("fd00:1::fd/64")};
  EXPECT_EQ(times(40).size(), 3u);
  EXPECT_EQ(networks_of(frame), (Networks{{"fd00:1::", kValid}, {"fd00:2::", 0}}));
  EXPECT_FALSE(times(700).empty());
  EXPECT_EQ(networks_of(frame), (Networks{{"fd00:1::", kValid}}));
  EXPECT_EQ(lifetime, 1800);
}

TEST_F(RouterAdvertiserTest, WithdrawsNoNetworkThatAnotherRouterHasOnTheLink) {
  EXPECT_EQ(times(100).size(), 3u);
  cloud.ports[port].networks = {*IpPrefix::parse("fd00:2::fe/64")};
  const PortId other =
      cloud.router_port("other", cloud.router("rt2"), "02:00:00:00:01:fc", {"fd00:1::1/64"});
  cloud.ports[other].advertising.emplace();
  cloud.plug(sim::TestCloud::bridge_id("red"), other);
  const auto snapshot = cloud.snapshot(h1);
  const auto made = advertiser.due(snapshot, now);
  ASSERT_EQ(made.size(), 2u);
  for (const auto& each : made)
    for (const auto& [network, valid] : networks_of(each.frame)) EXPECT_NE(valid, 0u) << network;
}

}  // namespace
}  // namespace plexus::agent
