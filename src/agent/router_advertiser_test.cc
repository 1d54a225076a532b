// SPDX-License-Identifier: Apache-2.0
#include "agent/router_advertiser.h"

#include <gtest/gtest.h>

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
      for (const auto& made : advertiser.due(*snapshot, now)) {
        out.push_back(i);
        lifetime = be16_at(made.frame, 14 + 40 + 6);
      }
    return out;
  }

  sim::TestCloud cloud;
  HostId h1;
  PortId port, vm;
  RouterAdvertiser advertiser;
  MonoTime now{1'000'000'000};
  uint16_t lifetime = 0;
};

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
  cloud.ports.erase(port);
  EXPECT_TRUE(times(100).empty()) << "what is gone has no way to say so";
}

}  // namespace
}  // namespace plexus::agent
