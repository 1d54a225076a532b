// SPDX-License-Identifier: Apache-2.0
#include "agent/asked_neighbours.h"

#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

sim::Missing neighbour(uint32_t n) {
  return sim::NeighbourNeeded{PortId{Uuid::derived("port", "r")}, IpAddr::v4(0x0a000000 + n)};
}

TEST(AskedNeighbours, EachOnceInAnInterval) {
  AskedNeighbours asked(1s);
  MonoTime now{1'000'000'000};
  EXPECT_TRUE(asked.may_ask({neighbour(1)}, now));
  asked.note({neighbour(1)}, now);
  EXPECT_FALSE(asked.may_ask({neighbour(1)}, now + 999ms));
  EXPECT_TRUE(asked.may_ask({neighbour(1), neighbour(2)}, now + 999ms)) << "one of them";
  EXPECT_TRUE(asked.may_ask({neighbour(1)}, now + 1s));
  EXPECT_EQ(asked.size(), 0u) << "forgotten";
}

TEST(AskedNeighbours, OfTooManyTheOldestAreForgotten) {
  AskedNeighbours asked(1s);
  const MonoTime now{1'000'000'000};
  for (uint32_t n = 0; n <= AskedNeighbours::kMost; ++n) asked.note({neighbour(n)}, now);
  EXPECT_EQ(asked.size(), AskedNeighbours::kMost);
  EXPECT_TRUE(asked.may_ask({neighbour(0)}, now));
  EXPECT_FALSE(asked.may_ask({neighbour(1)}, now));
  asked.forget_old(now + 1s);
  EXPECT_EQ(asked.size(), 0u);
}

}  // namespace
}  // namespace plexus::agent
