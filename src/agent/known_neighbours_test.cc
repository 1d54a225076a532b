// SPDX-License-Identifier: Apache-2.0
#include "agent/known_neighbours.h"

#include <gtest/gtest.h>

#include "packet/headers.h"
#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

const IpAddr k4 = *IpAddr::parse("10.0.1.9"), k6 = *IpAddr::parse("fd00:1::9");
const MacAddr kMac = *MacAddr::parse("02:00:00:00:01:09");

/// A machine behind port `vm` at h2, whose addresses only packets tell.
class KnownNeighboursTest : public testing::Test {
 protected:
  KnownNeighboursTest() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    gateway = cloud.router_port("gw", cloud.router("rt"), "02:00:00:00:01:fe",
                                {"10.0.1.254/24", "fd00:1::fe/64"});
    cloud.plug(red, gateway);
    vm = cloud.vm("vm", red, h2, kMac.str());
    cloud.neighbours[gateway] = {{gateway, k4, kMac}, {gateway, k6, kMac}};
  }
  /// Runs so many seconds as `self`; what was asked, and who was given up.
  KnownNeighbours::Due run(KnownNeighbours& known, HostId self, int seconds) {
    const auto snapshot = cloud.snapshot(self);
    KnownNeighbours::Due all;
    for (int i = 0; i < seconds; ++i, now = now + 1s) {
      auto due = known.due(*snapshot, now);
      for (auto& q : due.questions) all.questions.push_back(std::move(q));
      for (auto& g : due.gone) all.gone.push_back(g);
    }
    return all;
  }

  sim::TestCloud cloud;
  HostId h1, h2;
  BridgeId red;
  PortId gateway, vm;
  MonoTime now{1'000'000'000};
};

TEST_F(KnownNeighboursTest, TheHostWhereItIsAsksByUnicastAndGivesUp) {
  KnownNeighbours here(h2);
  EXPECT_TRUE(run(here, h2, 85).questions.empty());
  EXPECT_EQ(here.size(), 2u);
  const auto due = run(here, h2, 50);
  ASSERT_EQ(due.gone.size(), 2u);
  EXPECT_NE(due.gone[0].address, due.gone[1].address);
  for (const model::Neighbour& gone : due.gone) EXPECT_EQ(gone.mac, kMac);
  ASSERT_EQ(due.questions.size(), 6u) << "each three times";
  for (const sim::Generated& q : due.questions) {
    const ParsedPacket parsed = parse_packet(q.frame);
    EXPECT_EQ(parsed.key.dst_mac(), kMac);
    EXPECT_EQ(q.actions, (Actions{{{{}, LocalOutput{cloud.dp_port(vm)}}}}));
    EXPECT_EQ(parsed.key.dst_ip(), parsed.key.is_arp() ? k4 : k6);
    if (parsed.key.is_arp()) continue;
    const auto nd = NdMessage::of(parsed, q.frame);
    ASSERT_TRUE(nd) << "a whole solicitation, checksum included";
    EXPECT_EQ(nd->target, k6);
    EXPECT_EQ(nd->link_address, cloud.ports[gateway].mac);
  }
}

TEST_F(KnownNeighboursTest, WhoAnswersStays) {
  KnownNeighbours here(h2);
  size_t asked = 0;
  for (int second = 0; second < 600; ++second) {
    const auto due = run(here, h2, 1);
    EXPECT_TRUE(due.gone.empty());
    asked += due.questions.size();
    for (const auto& q : due.questions)
      here.heard(gateway, parse_packet(q.frame).key.is_arp() ? k4 : k6, now);
  }
  EXPECT_GE(asked, 2 * 4u);
  EXPECT_LE(asked, 2 * 6u) << "one question each in 90 to 120 seconds";
}

TEST_F(KnownNeighboursTest, OthersDoNotAsk) {
  KnownNeighbours elsewhere(h1);
  elsewhere.heard(gateway, k4, now);  // it was here before it moved
  EXPECT_TRUE(run(elsewhere, h1, 300).questions.empty());
  EXPECT_EQ(elsewhere.size(), 0u);
}

TEST_F(KnownNeighboursTest, WhereNobodyKnowsItsPlaceTheOneThatHeardItAsks) {
  cloud.ports[vm].mac = {};
  KnownNeighbours heard(h1), other(h2);
  heard.heard(gateway, k4, now);
  const MonoTime start = now;
  EXPECT_EQ(run(heard, h1, 130).gone.size(), 1u);
  now = start;
  EXPECT_TRUE(run(other, h2, 300).questions.empty());
}

TEST_F(KnownNeighboursTest, ADownPortIsNoReasonToForget) {
  cloud.ports[gateway].admin_up = false;
  KnownNeighbours here(h2);
  const auto due = run(here, h2, 400);
  EXPECT_TRUE(due.questions.empty());
  EXPECT_TRUE(due.gone.empty());
}

TEST_F(KnownNeighboursTest, ManyAreAskedAFewAtATime) {
  cloud.neighbours[gateway].clear();
  for (int i = 1; i <= 200; ++i)
    cloud.neighbours[gateway].push_back(
        {gateway, IpAddr::v4(0x0a000100u + static_cast<uint32_t>(i)), kMac});
  KnownNeighbours here(h2);
  const auto snapshot = cloud.snapshot(h2);
  (void)here.due(*snapshot, now);
  // The agent has slept: all are due at once.
  now = now + 1000s;
  const auto first = here.due(*snapshot, now);
  EXPECT_EQ(first.questions.size(), KnownNeighbours::kMaxQuestions);
  EXPECT_TRUE(first.gone.empty());
}

}  // namespace
}  // namespace plexus::agent
