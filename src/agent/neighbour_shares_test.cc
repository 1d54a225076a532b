// SPDX-License-Identifier: Apache-2.0
#include "agent/neighbour_shares.h"

#include <gtest/gtest.h>

#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

constexpr size_t kMost = 100;

/// Three machines behind a router port, which may claim any address.
class NeighbourSharesTest : public testing::Test {
 protected:
  NeighbourSharesTest() {
    host = cloud.host("h1", "192.0.2.1");
    const BridgeId red = cloud.bridge("red");
    gateway = cloud.router_port("gw", cloud.router("rt"), "02:00:00:00:01:fe", {"10.0.0.254/16"});
    cloud.plug(red, gateway);
    vm1 = cloud.vm("vm1", red, host, "02:00:00:00:01:01");
    vm2 = cloud.vm("vm2", red, host, "02:00:00:00:01:02");
    vm3 = cloud.vm("vm3", red, host, "02:00:00:00:01:03");
  }
  bool hear(PortId from, uint32_t n) {
    const sim::NeighbourLearned heard{gateway, IpAddr::v4(0x0a000000 + n),
                                      *MacAddr::parse("02:00:00:00:01:09"), from};
    const auto snapshot = cloud.snapshot(host);
    if (!shares.admit(*snapshot, heard)) return false;
    if (!snapshot->neighbour(gateway, heard.address))
      cloud.neighbours[gateway].push_back({gateway, heard.address, heard.mac});
    return true;
  }
  size_t hear_many(PortId from, uint32_t first, uint32_t wanted) {
    size_t out = 0;
    for (uint32_t n = first; n < first + wanted; ++n) out += hear(from, n) ? 1u : 0u;
    return out;
  }

  sim::TestCloud cloud;
  HostId host;
  PortId gateway, vm1, vm2, vm3;
  NeighbourShares shares{kMost};
};

TEST_F(NeighbourSharesTest, WhoClaimsAllLeavesAPartToOthers) {
  EXPECT_EQ(hear_many(vm1, 1, 300), 75u);
  EXPECT_EQ(hear_many(vm2, 1000, 10), 10u) << "another port";
  EXPECT_EQ(hear_many(vm1, 1, 75), 75u) << "it knows them already";
  EXPECT_EQ(hear_many(vm1, 5000, 10), 0u);
  EXPECT_EQ(hear_many(vm2, 2000, 300), 9u);
  EXPECT_EQ(hear_many(vm3, 3000, 1), 1u) << "there is always a place";
  EXPECT_LE(cloud.neighbours[gateway].size(), kMost);
}

TEST_F(NeighbourSharesTest, ThoseOfOtherHostsCountForThePort) {
  for (uint32_t n = 0; n < kMost - 1; ++n)
    cloud.neighbours[gateway].push_back(
        {gateway, IpAddr::v4(0x0a010000 + n), *MacAddr::parse("02:00:00:00:01:09")});
  EXPECT_TRUE(hear(vm1, 1));
  EXPECT_FALSE(hear(vm2, 2)) << "full";
  EXPECT_TRUE(hear(vm2, 1)) << "one that moves";
}

TEST_F(NeighbourSharesTest, WhoIsGoneLeavesItsPlace) {
  EXPECT_EQ(hear_many(vm1, 1, 300), 75u);
  EXPECT_EQ(hear_many(vm2, 1, 40), 40u) << "they are behind another port now";
  EXPECT_EQ(shares.size(), 75u);
  EXPECT_GT(hear_many(vm1, 1000, 100), 0u);
  cloud.neighbours[gateway].clear();
  shares.forget_gone(*cloud.snapshot(host));
  EXPECT_EQ(shares.size(), 0u);
  EXPECT_EQ(hear_many(vm1, 1, 300), 75u);
}

}  // namespace
}  // namespace plexus::agent
