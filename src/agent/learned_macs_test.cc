// SPDX-License-Identifier: Apache-2.0
#include "agent/learned_macs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;
using sim::TestCloud;

MacAddr mac(unsigned n) {
  return {{2, 0, 0, 0, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)}};
}

/// One host's model and its tables; what it says goes to all through `cloud`, when a test lets it.
struct View {
  View(const TestCloud& cloud, HostId id) : self(id), topology(id), macs(id) {
    take_in(cloud.changes(self));
  }
  void take_in(std::vector<model::Change> changes) {
    for (auto& change : changes)
      if (auto* b = std::get_if<model::BindingChange>(&change)) macs.take_in(*b, now);
    topology.apply(changes);
    topology.apply(macs.lost(*topology.snapshot(), changes));
  }
  std::vector<model::Change> saw(BridgeId bridge, PortId port, MacAddr m) {
    auto changes = macs.saw(*topology.snapshot(), {bridge, port, m}, now);
    topology.apply(changes);
    return changes;
  }
  /// True when something was told to the store.
  bool say(TestCloud& cloud) {
    auto all = macs.take_unsaid(now);
    for (auto& [port, table] : all) cloud.bindings[port].learned = std::move(table);
    return !all.empty();
  }
  std::optional<PortId> where(BridgeId bridge, MacAddr m) {
    return topology.snapshot()->port_of_mac(bridge, m);
  }

  HostId self;
  model::Topology topology;
  LearnedMacs macs;
  MonoTime now{1'000'000'000};
};

class LearnedMacsTest : public testing::Test {
 protected:
  LearnedMacsTest() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    a = cloud.vm("a", red, h1, "");
    b = cloud.vm("b", red, h1, "");
    c = cloud.vm("c", red, h2, "");
  }
  void tell(View& view) { view.take_in(cloud.changes(view.self)); }

  TestCloud cloud;
  HostId h1, h2;
  BridgeId red;
  PortId a, b, c;
};

TEST_F(LearnedMacsTest, AnotherHostHearsOfItByTheBinding) {
  View one(cloud, h1), two(cloud, h2);
  one.saw(red, a, mac(1));
  EXPECT_EQ(one.where(red, mac(1)), a) << "at once here";
  EXPECT_EQ(two.where(red, mac(1)), std::nullopt);
  EXPECT_TRUE(one.say(cloud));
  EXPECT_FALSE(one.say(cloud)) << "not twice in a row";
  tell(two);
  EXPECT_EQ(two.where(red, mac(1)), a);
  tell(one);
  one.now = one.now + 10s;
  EXPECT_FALSE(one.say(cloud)) << "the store says it now";
}

TEST_F(LearnedMacsTest, WhatTheStoreDidNotTakeIsSaidAgain) {
  View one(cloud, h1);
  one.saw(red, a, mac(1));
  EXPECT_TRUE(one.say(cloud));
  one.now = one.now + 3s;
  EXPECT_TRUE(one.say(cloud));
}

TEST_F(LearnedMacsTest, TheLaterSightingTakesItEverywhere) {
  View one(cloud, h1), two(cloud, h2);
  one.saw(red, a, mac(1));
  one.say(cloud);
  tell(two);
  two.saw(red, c, mac(1));
  EXPECT_EQ(two.where(red, mac(1)), c);
  two.say(cloud);
  tell(one);
  EXPECT_EQ(one.where(red, mac(1)), c);
  EXPECT_EQ(one.macs.size(), 0u) << "who lost it takes it out";
  EXPECT_TRUE(one.say(cloud));
  EXPECT_TRUE(cloud.bindings[a].learned.empty());
  // And back, later than that.
  one.saw(red, a, mac(1));
  one.say(cloud);
  tell(two);
  EXPECT_EQ(two.where(red, mac(1)), a);
}

TEST_F(LearnedMacsTest, TwoThatSawItAtOnceAgree) {
  View one(cloud, h1), two(cloud, h2);
  one.saw(red, a, mac(1));
  two.saw(red, c, mac(1));
  one.say(cloud);
  two.say(cloud);
  tell(one);
  tell(two);
  const PortId winner = std::min(a, c);
  EXPECT_EQ(one.where(red, mac(1)), winner);
  EXPECT_EQ(two.where(red, mac(1)), winner);
  EXPECT_EQ(one.macs.size() + two.macs.size(), 1u);
}

TEST_F(LearnedMacsTest, ARestartSaysNothingThatTheStoreKnows) {
  View one(cloud, h1);
  one.saw(red, a, mac(1));
  one.say(cloud);
  View again(cloud, h1);
  EXPECT_EQ(again.where(red, mac(1)), a);
  EXPECT_FALSE(again.say(cloud));
}

TEST_F(LearnedMacsTest, TheLimitOfAPort) {
  cloud.bridges[red].macs_per_port = 8;
  View one(cloud, h1);
  for (unsigned n = 1; n <= 8; ++n) one.saw(red, a, mac(n));
  EXPECT_FALSE(one.topology.snapshot()->learning_full(a));
  one.saw(red, a, mac(9));
  EXPECT_TRUE(one.topology.snapshot()->learning_full(a));
  EXPECT_FALSE(one.topology.snapshot()->learning_full(b));
  EXPECT_EQ(one.where(red, mac(9)), std::nullopt);
  EXPECT_EQ(one.macs.refused(), 1u);
  one.saw(red, b, mac(9));
  EXPECT_EQ(one.where(red, mac(9)), b);
  // Seven of eight is room again.
  one.now = one.now + 200s;
  for (unsigned n = 2; n <= 8; ++n) one.saw(red, a, mac(n));
  one.now = one.now + 150s;
  one.topology.apply(one.macs.age(*one.topology.snapshot(), one.now));
  EXPECT_EQ(one.where(red, mac(1)), std::nullopt);
  EXPECT_EQ(one.where(red, mac(2)), a);
  EXPECT_FALSE(one.topology.snapshot()->learning_full(a));
}

TEST_F(LearnedMacsTest, APortThatLeavesWhileFullIsNotFullForEver) {
  cloud.bridges[red].macs_per_port = 1;
  View one(cloud, h1);
  one.saw(red, a, mac(1));
  one.saw(red, a, mac(2));
  ASSERT_TRUE(one.topology.snapshot()->learning_full(a));
  cloud.bind(a, h2);
  tell(one);
  EXPECT_FALSE(one.topology.snapshot()->learning_full(a));
  EXPECT_EQ(one.macs.size(), 0u);
}

TEST_F(LearnedMacsTest, AMacThatMovesTooOftenStays) {
  View one(cloud, h1);
  one.saw(red, a, mac(1));
  for (unsigned i = 0; i < LearnedMacs::kMaxMoves; ++i) {
    const PortId to = i % 2 == 0 ? b : a;
    one.saw(red, to, mac(1));
    ASSERT_EQ(one.where(red, mac(1)), to);
  }
  one.saw(red, a, mac(1));
  EXPECT_EQ(one.where(red, mac(1)), b);
  EXPECT_TRUE(one.topology.snapshot()->mac_held(red, mac(1)));
  one.now = one.now + LearnedMacs::kMoveWindow;
  one.topology.apply(one.macs.age(*one.topology.snapshot(), one.now));
  EXPECT_FALSE(one.topology.snapshot()->mac_held(red, mac(1)));
  one.saw(red, a, mac(1));
  EXPECT_EQ(one.where(red, mac(1)), a);
}

TEST_F(LearnedMacsTest, ConfiguredMacsAndOtherHostsPortsAreNoneOfOurs) {
  cloud.ports[c].mac = mac(1);
  View one(cloud, h1);
  EXPECT_TRUE(one.saw(red, a, mac(1)).empty());
  EXPECT_TRUE(one.saw(red, c, mac(2)).empty());
  cloud.bridges[red].learning = false;
  tell(one);
  EXPECT_TRUE(one.saw(red, a, mac(3)).empty());
}

TEST_F(LearnedMacsTest, WhatAHostThatIsDownStillSaysDoesNotWinAgain) {
  // h2 learned it first and is down now: its table stays in the store. It moved to h1.
  cloud.bindings[c].learned = {{mac(1), 3}};
  View one(cloud, h1);
  ASSERT_EQ(one.where(red, mac(1)), c);
  one.saw(red, a, mac(1));
  ASSERT_EQ(one.where(red, mac(1)), a);
  ASSERT_TRUE(one.say(cloud));
  one.now = one.now + std::chrono::hours(1);
  one.topology.apply(one.macs.age(*one.topology.snapshot(), one.now));
  EXPECT_EQ(one.where(red, mac(1)), a) << "forgotten, it would be thought to be at h2";
  // h2 comes back and takes out what it has lost.
  cloud.bindings[c].learned.clear();
  tell(one);
  one.topology.apply(one.macs.age(*one.topology.snapshot(), one.now));
  EXPECT_EQ(one.where(red, mac(1)), std::nullopt);
}

}  // namespace
}  // namespace plexus::agent
