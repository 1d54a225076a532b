// SPDX-License-Identifier: Apache-2.0
#include "state/refused_leases.h"

#include <gtest/gtest.h>

#include "state/test_connections.h"

namespace plexus::state {
namespace {

const Zone kWorld = zone_named("world");

Tuple answers_to(uint16_t port) {
  return tcp("203.0.113.7", 443, "198.51.100.80", port);
}

TEST(RefusedLeases, AreOfAZoneAndEnd) {
  RefusedLeases leases;
  leases.note(kWorld, answers_to(1070), host_named("h3"), at(10));
  EXPECT_EQ(leases.refused_by(kWorld, answers_to(1070), at(9)), host_named("h3"));
  EXPECT_FALSE(leases.refused_by(kWorld, answers_to(1071), at(9)));
  EXPECT_FALSE(leases.refused_by(zone_named("blue"), answers_to(1070), at(9)));
  EXPECT_FALSE(leases.refused_by(kWorld, answers_to(1070), at(10)));
  leases.note(kWorld, answers_to(1070), host_named("h4"), at(20));
  EXPECT_EQ(leases.refused_by(kWorld, answers_to(1070), at(10)), host_named("h4"));
  leases.expire(at(20));
  EXPECT_EQ(leases.size(), 0u);
}

TEST(RefusedLeases, AreBounded) {
  RefusedLeases leases;
  for (size_t i = 0; i < 2 * RefusedLeases::kMost; ++i)
    leases.note(kWorld, answers_to(static_cast<uint16_t>(i + 1)), host_named("h3"),
                at(10 + static_cast<double>(i)));
  EXPECT_EQ(leases.size(), RefusedLeases::kMost);
  EXPECT_FALSE(leases.refused_by(kWorld, answers_to(RefusedLeases::kMost), at(9)));
  EXPECT_TRUE(leases.refused_by(kWorld, answers_to(RefusedLeases::kMost + 1), at(9)));
}

}  // namespace
}  // namespace plexus::state
