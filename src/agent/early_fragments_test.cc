// SPDX-License-Identifier: Apache-2.0
#include "agent/early_fragments.h"

#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

constexpr MonoTime kNow{1'000'000'000};
constexpr Duration kWait = EarlyFragments::kWait;

FragmentKey key(uint32_t port, uint32_t id, uint32_t from = 1, uint32_t to = 2) {
  return {.in_port = port, .id = id, .src = IpAddr::v4(from), .dst = IpAddr::v4(to)};
}
datapath::Upcall packet(uint32_t port, size_t bytes = 100, uint8_t mark = 0) {
  datapath::Upcall out;
  out.in_port = DpPort{port};
  out.frame.assign(bytes, mark);
  return out;
}
/// How many wait no longer.
size_t wait(EarlyFragments& early, uint32_t port, uint32_t id, MonoTime now = kNow,
            size_t bytes = 100, uint8_t mark = 0) {
  return early.wait(key(port, id), port, packet(port, bytes, mark), now).size();
}

TEST(EarlyFragments, ThoseOfOnePacketGoTogetherInTheirOrder) {
  EarlyFragments early;
  EXPECT_FALSE(early.next_due());
  EXPECT_EQ(0u, wait(early, 16, 1, kNow, 100, 7));
  EXPECT_EQ(0u, wait(early, 16, 2, kNow, 100, 8));
  EXPECT_EQ(0u, wait(early, 16, 1, kNow + kWait / 2, 100, 9));
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
  EXPECT_EQ(0u, wait(early, 16, 2));
  EXPECT_EQ(0u, wait(early, 16, 1));
  EXPECT_EQ(early.take(key(16, 1)).size(), 1u);
  EXPECT_EQ(0u, wait(early, 16, 1, kNow + kWait / 2));
  EXPECT_EQ(early.take_due(kNow + kWait).size(), 1u) << "not the one that came later";
  EXPECT_EQ(early.take_due(kNow + kWait + kWait / 2).size(), 1u);
}

/// Full: lone later fragments of many packets by one port, from one to one.
class FullEarlyFragments : public testing::Test {
 protected:
  FullEarlyFragments() { (void)flood(EarlyFragments::kPackets); }
  size_t flood(size_t packets, uint32_t from = 1, uint64_t tenant = 16) {
    size_t gone = 0;
    for (size_t i = 0; i < packets; ++i)
      gone += early_.wait(key(16, next_id_++, from), tenant, packet(16), kNow).size();
    return gone;
  }
  /// Whether it still waits; not any more, then.
  bool waited(const FragmentKey& key) { return !early_.take(key).empty(); }

  EarlyFragments early_;
  uint32_t next_id_ = 1000;
};

TEST_F(FullEarlyFragments, TheOldestOfWhoHoldsMostGoes) {
  EXPECT_EQ(early_.size(), EarlyFragments::kPackets);
  const auto goes = early_.wait(key(16, 1, 7, 8), 16, packet(16, 100, 9), kNow);
  ASSERT_EQ(goes.size(), 1u);
  EXPECT_EQ(goes[0].frame[0], 0) << "not the newcomer";
  EXPECT_FALSE(waited(key(16, 1000)));
  EXPECT_TRUE(waited(key(16, 1001)));
  // However long the flood goes on, from elsewhere to the same as well.
  (void)early_.wait(key(16, 2, 1, 8), 16, packet(16), kNow);
  (void)flood(4 * EarlyFragments::kPackets);
  for (uint32_t from = 100; from < 3000; ++from) (void)flood(1, from);
  EXPECT_EQ(early_.size(), EarlyFragments::kPackets);
  EXPECT_TRUE(waited(key(16, 1, 7, 8)));
  EXPECT_EQ(early_.take_due(kNow + kWait).size(), EarlyFragments::kPackets - 1);
  EXPECT_EQ(early_.size(), 0u);
}

TEST_F(FullEarlyFragments, ATenantLosesNothingToOneThatHoldsMore) {
  for (const uint32_t tenant : {1u, 2u}) {
    for (uint32_t id = 0; id < 100; ++id)
      EXPECT_EQ(early_.wait(key(tenant, id), tenant, packet(tenant), kNow).size(), 1u);
  }
  (void)flood(3 * EarlyFragments::kPackets);
  for (uint32_t id = 0; id < 100; ++id) EXPECT_TRUE(waited(key(1, id)));
  // Until it holds as much, whatever its ports.
  for (uint32_t id = 0; id < EarlyFragments::kPackets; ++id)
    (void)early_.wait(key(10000 + id, id), 1, packet(10000 + id), kNow);
  size_t of_flood = 0;
  for (uint32_t id = 1000; id < next_id_; ++id) of_flood += waited(key(16, id)) ? 1u : 0u;
  EXPECT_EQ(of_flood, (EarlyFragments::kPackets - 100) / 2);
  for (uint32_t id = 0; id < 100; ++id) EXPECT_TRUE(waited(key(2, id)));
}

TEST(EarlyFragments, ThoseOfOnePacketArePushedOutTogether) {
  EarlyFragments early;
  EXPECT_EQ(wait(early, 17, 1), 0u);
  EXPECT_EQ(wait(early, 17, 2), 0u);
  // One packet of many fragments, or of large ones, holds most.
  for (size_t i = 0; i < EarlyFragments::kPackets - 2; ++i)
    ASSERT_EQ(early.wait(key(17, 3, 7, 8), 17, packet(17), kNow).size(), 0u);
  EXPECT_EQ(wait(early, 17, 4), EarlyFragments::kPackets - 2);
  EXPECT_EQ(early.size(), 3u);
  constexpr size_t kLarge = 64 * EarlyFragments::kBytesOfOne;
  for (size_t i = 0; i < 15; ++i)
    ASSERT_EQ(early.wait(key(17, 5, 7, 8), 17, packet(17, kLarge), kNow).size(), 0u);
  EXPECT_EQ(early.wait(key(17, 5, 7, 8), 17, packet(17, kLarge), kNow).size(), 16u)
      << "the newcomer as well";
  EXPECT_EQ(early.size(), 3u);
}

}  // namespace
}  // namespace plexus::agent
