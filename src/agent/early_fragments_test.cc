// SPDX-License-Identifier: Apache-2.0
#include "agent/early_fragments.h"

#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

constexpr MonoTime kNow{1'000'000'000};
constexpr Duration kWait = EarlyFragments::kWait;

FragmentKey key(uint32_t port, uint32_t id) {
  return {.in_port = port, .id = id, .src = IpAddr::v4(1), .dst = IpAddr::v4(2)};
}
datapath::Upcall packet(uint32_t port, size_t bytes = 100, uint8_t mark = 0) {
  datapath::Upcall out;
  out.in_port = DpPort{port};
  out.frame.assign(bytes, mark);
  return out;
}
bool wait(EarlyFragments& early, uint32_t port, uint32_t id, MonoTime now = kNow,
          size_t bytes = 100, uint8_t mark = 0, uint64_t tenant = 0) {
  auto one = packet(port, bytes, mark);
  const bool waits = early.wait(key(port, id), tenant != 0 ? tenant : port, one, now);
  EXPECT_EQ(one.frame.empty(), waits) << "who does not wait stays";
  return waits;
}

TEST(EarlyFragments, ThoseOfOnePacketGoTogetherInTheirOrder) {
  EarlyFragments early;
  EXPECT_FALSE(early.next_due());
  EXPECT_TRUE(wait(early, 16, 1, kNow, 100, 7));
  EXPECT_TRUE(wait(early, 16, 2, kNow, 100, 8));
  EXPECT_TRUE(wait(early, 16, 1, kNow + kWait / 2, 100, 9));
  EXPECT_EQ(early.size(), 3u);
  EXPECT_TRUE(early.take(key(16, 3)).empty());
  EXPECT_TRUE(early.take(key(17, 1)).empty());
  const auto first = early.take(key(16, 1));
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].frame[0], 7);
  EXPECT_EQ(first[1].frame[0], 9);
  EXPECT_EQ(early.next_due(), kNow + kWait);
  const auto late = early.take_due(kNow + kWait);
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].frame[0], 8);
  EXPECT_EQ(early.size(), 0u);
  EXPECT_FALSE(early.next_due());
}

TEST(EarlyFragments, AnIdentificationThatIsUsedAgainWaitsAsLong) {
  EarlyFragments early;
  EXPECT_TRUE(wait(early, 16, 2));
  EXPECT_TRUE(wait(early, 16, 1));
  EXPECT_EQ(early.take(key(16, 1)).size(), 1u);
  EXPECT_TRUE(wait(early, 16, 1, kNow + kWait / 2));
  EXPECT_EQ(early.take_due(kNow + kWait).size(), 1u) << "not the one that came later";
  EXPECT_EQ(early.take_due(kNow + kWait + kWait / 2).size(), 1u);
}

TEST(EarlyFragments, APortAndAllHaveTheirLimits) {
  EarlyFragments early;
  for (uint32_t id = 0; id < EarlyFragments::kOfOnePort; ++id) EXPECT_TRUE(wait(early, 16, id));
  EXPECT_FALSE(wait(early, 16, 0));
  EXPECT_TRUE(wait(early, 17, 0, kNow, EarlyFragments::kBytesOfPort));
  EXPECT_FALSE(wait(early, 17, 0, kNow, 1)) << "bytes";
  for (uint32_t port = 100; early.size() < EarlyFragments::kPackets; ++port)
    for (uint32_t id = 0;
         id < EarlyFragments::kOfOnePort && early.size() < EarlyFragments::kPackets; ++id)
      ASSERT_TRUE(wait(early, port, id));
  EXPECT_FALSE(wait(early, 99, 0)) << "all";
  // Who leaves makes room, whichever way.
  EXPECT_EQ(early.take(key(17, 0)).size(), 1u);
  EXPECT_TRUE(wait(early, 17, 0, kNow, EarlyFragments::kBytesOfPort));
  EXPECT_EQ(early.take_due(kNow + kWait).size(), EarlyFragments::kPackets);
  EXPECT_EQ(early.size(), 0u);
  EXPECT_TRUE(wait(early, 16, 0));
}

TEST(EarlyFragments, ATenantHasItsShareWhateverItsPorts) {
  EarlyFragments early;
  const auto of_tenant = [&](uint64_t tenant, uint32_t port, uint32_t id) {
    return wait(early, port, id, kNow, 100, 0, tenant);
  };
  constexpr size_t kPorts = EarlyFragments::kOfOneTenant / EarlyFragments::kOfOnePort;
  for (uint32_t port = 100; port < 100 + kPorts; ++port)
    for (uint32_t id = 0; id < EarlyFragments::kOfOnePort; ++id)
      ASSERT_TRUE(of_tenant(1, port, id));
  EXPECT_FALSE(of_tenant(1, 99, 0));
  EXPECT_TRUE(of_tenant(2, 98, 0));
  EXPECT_EQ(early.take(key(100, 0)).size(), 1u);
  EXPECT_TRUE(of_tenant(1, 99, 0));
  EXPECT_FALSE(of_tenant(1, 99, 1));
  EXPECT_EQ(early.take_due(kNow + kWait).size(), EarlyFragments::kOfOneTenant + 1);
  EXPECT_TRUE(of_tenant(1, 99, 1));
}

}  // namespace
}  // namespace plexus::agent
