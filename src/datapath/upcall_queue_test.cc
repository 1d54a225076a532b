// SPDX-License-Identifier: Apache-2.0
#include "datapath/upcall_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace plexus::datapath {
namespace {

WaitingUpcall of(uint32_t port, uint32_t number = 0, uint64_t cost = 1) {
  return {{DpPort{port}, number, {}, {}}, cost, port};
}

TEST(UpcallQueue, WhoHasNothingInAFullQueueStillGetsIn) {
  UpcallQueue queue(100);
  for (uint32_t n = 0; n < 100; ++n) EXPECT_TRUE(queue.push(of(16 + n % 2, n)));
  EXPECT_FALSE(queue.push(of(16)));
  EXPECT_TRUE(queue.push(of(18)));
  EXPECT_FALSE(queue.push(of(18)));
  EXPECT_EQ(queue.cost(), 101u);
  size_t count = 0;
  EXPECT_EQ(queue.pop(1000, [&](WaitingUpcall&&) { ++count; }), 101u);
  EXPECT_EQ(count, 101u);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.cost(), 0u);
}

TEST(UpcallQueue, ATenantWithManyPortsGetsNoMoreThanOneWithOne) {
  UpcallQueue queue(1'000'000);
  for (uint32_t port = 100; port < 200; ++port) queue.set_group(DpPort{port}, 7);
  queue.set_group(DpPort{300}, 8);
  for (uint32_t n = 0; n < 50; ++n)
    for (uint32_t port = 100; port < 200; ++port) ASSERT_TRUE(queue.push(of(port)));
  for (uint32_t n = 0; n < 500; ++n) ASSERT_TRUE(queue.push(of(300)));
  std::map<bool, size_t> got;
  queue.pop(200, [&](WaitingUpcall&& w) { ++got[w.upcall.in_port == DpPort{300}]; });
  EXPECT_EQ(got[true], 100u);
  EXPECT_EQ(got[false], 100u);
}

TEST(UpcallQueue, NothingIsLostOrDoubledAndEachPortKeepsItsOrder) {
  std::minstd_rand random(20261128);
  UpcallQueue queue(1'000'000);
  std::map<uint32_t, uint32_t> pushed, popped;
  for (int round = 0; round < 20'000; ++round) {
    const uint32_t port = 16 + static_cast<uint32_t>(random() % 20);
    if (random() % 50 == 0) queue.set_group(DpPort{port}, random() % 4);
    if (random() % 3 > 0) {
      ASSERT_TRUE(queue.push(of(port, pushed[port]++)));
      continue;
    }
    std::map<uint32_t, size_t> in_this;
    const Quota quota(random() % 10, 1 + random() % 3);
    const size_t n = queue.pop(quota, [&](WaitingUpcall&& w) {
      ASSERT_EQ(w.upcall.tunnel_key, popped[w.upcall.in_port.number]++);
      ++in_this[w.upcall.in_port.number];
    });
    EXPECT_LE(n, quota.in_all);
    for (const auto& [p, count] : in_this) EXPECT_LE(count, quota.of_one_port);
  }
  queue.pop(1'000'000, [&](WaitingUpcall&& w) { ++popped[w.upcall.in_port.number]; });
  EXPECT_EQ(pushed, popped);
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace plexus::datapath
