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
  unsigned allowed_by(uint32_t port, RouterId router, GeneratedKind kind, unsigned wanted) {
    unsigned n = 0;
    sim::Generated made;
    made.kind = kind;
    made.router = router;
    for (unsigned i = 0; i < wanted; ++i) n += limiter.allows(*snapshot, made, DpPort{port}, now);
    return n;
  }
  /// By many ports, so that none is over its share.
  unsigned allowed(RouterId router, GeneratedKind kind, unsigned wanted) {
    unsigned n = 0;
    for (unsigned i = 0; i < wanted; ++i) n += allowed_by(20 + i % 5, router, kind, 1);
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

TEST_F(IcmpLimiterTest, APortThatFloodsTakesAQuarter) {
  for (const auto kind : {GeneratedKind::packet_too_big, GeneratedKind::rejection}) {
    EXPECT_EQ(allowed_by(16, a, kind, 10'000), 25u);
    EXPECT_EQ(allowed_by(17, a, kind, 20), 20u) << "another port";
    unsigned second = 0, others = 0;
    for (int i = 0; i < 100; ++i) {
      now = now + 10ms;
      second += allowed_by(16, a, kind, 100);
      others += allowed_by(17, a, kind, 1);
    }
    EXPECT_EQ(second, 250u);
    EXPECT_EQ(others, 100u);
    EXPECT_EQ(allowed_by(18, a, kind, 100), 25u);
  }
  EXPECT_EQ(allowed_by(16, a, GeneratedKind::dhcp, 1000), 100u) << "it is of a port anyway";
}

TEST_F(IcmpLimiterTest, SharesAreBoundedAndForgotten) {
  constexpr auto kKind = GeneratedKind::echo_reply;
  cloud.routers[a].icmp_rate = 1'000'000;
  snapshot = cloud.snapshot(host);
  constexpr uint32_t kPorts = IcmpLimiter::kMaxShares + 100;
  for (uint32_t port = 16; port < 16 + kPorts; ++port) EXPECT_EQ(allowed_by(port, a, kKind, 1), 1u);
  EXPECT_EQ(limiter.shares(), IcmpLimiter::kMaxShares + 1) << "the others share one";
  EXPECT_EQ(allowed_by(10'000, a, kKind, 30'000), 25'000u - 100u);
  EXPECT_EQ(allowed_by(10'001, a, kKind, 1), 0u);
  EXPECT_EQ(allowed_by(16, a, kKind, 1), 1u);
  // Who was silent for a while makes room.
  now = now + 2s;
  EXPECT_EQ(allowed_by(10'001, a, kKind, 1), 1u);
  EXPECT_EQ(limiter.shares(), 1u);
  limiter.forget_idle(now + 50s);
  EXPECT_EQ(limiter.shares(), 1u);
  EXPECT_EQ(allowed_by(10'002, b, kKind, 1), 1u);
  now = now + 50s;
  EXPECT_EQ(allowed_by(10'002, a, kKind, 1), 1u);
  limiter.forget_idle(now + 20s);
  EXPECT_EQ(limiter.shares(), 1u);
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
