// SPDX-License-Identifier: Apache-2.0
#include "agent/icmp_limiter.h"

#include <gtest/gtest.h>

#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;
using sim::GeneratedKind;

class IcmpLimiterTest : public testing::Test {
 protected:
  IcmpLimiterTest() {
    a = cloud.router("a");
    b = cloud.router("b");
    host = cloud.host("h1", "192.0.2.1");
    snapshot = cloud.snapshot(host);
  }
  unsigned allowed(RouterId router, GeneratedKind kind, unsigned wanted) {
    unsigned n = 0;
    sim::Generated made;
    made.kind = kind;
    made.router = router;
    for (unsigned i = 0; i < wanted; ++i) n += limiter.allows(*snapshot, made, now);
    return n;
  }

  sim::TestCloud cloud;
  RouterId a, b;
  HostId host;
  std::shared_ptr<const model::Snapshot> snapshot;
  IcmpLimiter limiter;
  MonoTime now{1'000'000'000};
};

TEST_F(IcmpLimiterTest, ABurstThenTheRate) {
  EXPECT_EQ(allowed(a, GeneratedKind::time_exceeded, 500), 100u);
  now = now + 10ms;
  EXPECT_EQ(allowed(a, GeneratedKind::time_exceeded, 500), 10u);
  unsigned second = 0;
  for (int i = 0; i < 100; ++i) {
    now = now + 10ms;
    second += allowed(a, GeneratedKind::time_exceeded, 500);
  }
  EXPECT_EQ(second, 1000u);
}

TEST_F(IcmpLimiterTest, AFloodOfOneKindStarvesNoOther) {
  EXPECT_EQ(allowed(a, GeneratedKind::time_exceeded, 10'000), 100u);
  EXPECT_EQ(allowed(a, GeneratedKind::unreachable, 10'000), 100u);
  EXPECT_EQ(allowed(a, GeneratedKind::packet_too_big, 50), 50u);
  EXPECT_EQ(allowed(a, GeneratedKind::echo_reply, 50), 50u);
  EXPECT_EQ(allowed(b, GeneratedKind::time_exceeded, 50), 50u) << "another router";
}

TEST_F(IcmpLimiterTest, WhatIsNoIcmpErrorOrReplyHasNoLimit) {
  EXPECT_EQ(allowed(a, GeneratedKind::fragment, 10'000), 10'000u);
  EXPECT_EQ(allowed({}, GeneratedKind::neighbours, 10'000), 10'000u);
}

TEST_F(IcmpLimiterTest, FollowsTheRoutersRate) {
  cloud.routers[a].icmp_rate = 5;
  snapshot = cloud.snapshot(host);
  EXPECT_EQ(allowed(a, GeneratedKind::unreachable, 10), 1u) << "one at once, at least";
  now = now + 200ms;
  EXPECT_EQ(allowed(a, GeneratedKind::unreachable, 10), 1u);
  cloud.routers[a].icmp_rate = 0;
  snapshot = cloud.snapshot(host);
  now = now + 10s;
  EXPECT_EQ(allowed(a, GeneratedKind::unreachable, 10), 0u);
  cloud.routers[a].icmp_rate = 100;
  snapshot = cloud.snapshot(host);
  EXPECT_EQ(allowed(a, GeneratedKind::unreachable, 50), 10u);
}

TEST_F(IcmpLimiterTest, ForgetsWhoIsSilent) {
  (void)allowed(a, GeneratedKind::unreachable, 1);
  now = now + 50s;
  (void)allowed(b, GeneratedKind::unreachable, 1);
  EXPECT_EQ(limiter.size(), 2u);
  limiter.forget_idle(now + 20s);
  EXPECT_EQ(limiter.size(), 1u);
}

}  // namespace
}  // namespace plexus::agent
