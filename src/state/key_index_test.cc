// SPDX-License-Identifier: Apache-2.0
#include "state/key_index.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>
#include <vector>

namespace plexus::state {
namespace {

TEST(KeyIndex, FindsOfEqualHashesTheOneThatIsMeant) {
  KeyIndex index;
  index.insert(7, 1);
  index.insert(7, 2);
  const auto is = [](uint32_t wanted) { return [wanted](uint32_t n) { return n == wanted; }; };
  EXPECT_EQ(index.find(7, is(1)), 1u);
  EXPECT_EQ(index.find(7, is(2)), 2u);
  EXPECT_EQ(index.find(7, is(3)), KeyIndex::kNone);
  EXPECT_EQ(index.find(uint64_t{8} << 32, is(1)), KeyIndex::kNone) << "another hash";
  index.erase(7, 1);
  EXPECT_EQ(index.find(7, is(1)), KeyIndex::kNone);
  EXPECT_EQ(index.find(7, is(2)), 2u);
  EXPECT_EQ(index.size(), 1u);
}

TEST(KeyIndex, AsksOnlyAboutKeysOfTheHash) {
  KeyIndex index;
  std::mt19937_64 random(1);
  for (uint32_t n = 0; n < 700; ++n) index.insert(random(), n);
  size_t asked = 0;
  for (int i = 0; i < 10'000; ++i)
    (void)index.find(random(), [&](uint32_t) { return ++asked == 0; });
  EXPECT_LE(asked, 1u);
}

/// Homes at the end of the table go round to its begin, also when something between them goes.
TEST(KeyIndex, KeysAtTheEndGoRound) {
  KeyIndex index;
  constexpr uint64_t kLast = 0xffffffff00000000;
  for (uint32_t n = 0; n < 20; ++n) index.insert(kLast, n);
  for (uint32_t n = 20; n < 40; ++n) index.insert(0, n);  // at home where those have gone
  for (uint32_t n = 0; n < 40; n += 2) index.erase(n < 20 ? kLast : 0, n);
  for (uint32_t n = 0; n < 40; ++n) {
    const uint32_t found = index.find(n < 20 ? kLast : 0, [n](uint32_t m) { return n == m; });
    EXPECT_EQ(found, n % 2 == 1 ? n : KeyIndex::kNone) << n;
  }
}

class KeyIndexAgainstMap : public testing::TestWithParam<unsigned> {};

/// Grows, shrinks and grows; `bits`: how much of the hashes is random, so that few of them make long ways.
TEST_P(KeyIndexAgainstMap, DoesAsAMapDoes) {
  std::mt19937_64 random(GetParam());
  const unsigned bits = 6 + GetParam() * 3;
  KeyIndex index;
  std::unordered_map<uint32_t, uint64_t> there;
  std::vector<uint32_t> numbers;
  uint32_t next = 0;
  for (int i = 0; i < 60'000; ++i) {
    const bool more = random() % 100 < (i / 10'000 % 2 == 0 ? 75u : 30u);
    if (more || numbers.empty()) {
      const uint64_t hash = random() << (64 - bits);
      index.insert(hash, next);
      there.emplace(next, hash);
      numbers.push_back(next++);
      if (bits < 12 && numbers.size() > 300) {  // long ways cost much
        const uint32_t first = numbers.front();
        index.erase(there.at(first), first);
        there.erase(first);
        numbers.erase(numbers.begin());
      }
    } else {
      const size_t at = random() % numbers.size();
      std::swap(numbers[at], numbers.back());
      const uint32_t number = numbers.back();
      numbers.pop_back();
      index.erase(there.at(number), number);
      there.erase(number);
    }
    ASSERT_EQ(index.size(), there.size());
    const auto probe = static_cast<uint32_t>(random() % next);
    const auto known = there.find(probe);
    const uint64_t hash = known != there.end() ? known->second : random() << (64 - bits);
    const uint32_t found = index.find(hash, [&](uint32_t n) { return n == probe; });
    ASSERT_EQ(found, known != there.end() ? probe : KeyIndex::kNone) << "step " << i;
  }
  for (const auto& [number, hash] : there)
    ASSERT_EQ(index.find(hash, [n = number](uint32_t m) { return n == m; }), number);
}
INSTANTIATE_TEST_SUITE_P(Bits, KeyIndexAgainstMap, testing::Range(0u, 10u));

TEST(KeyIndex, WhatIsLikelyIsWhatIsFound) {
  KeyIndex index;
  std::mt19937_64 random(3);
  std::vector<uint64_t> hashes;
  for (uint32_t n = 0; n < 5'000; ++n) index.insert(hashes.emplace_back(random()), n);
  size_t right = 0;
  for (uint32_t n = 0; n < 5'000; ++n) right += index.candidate(hashes[n]) == n ? 1u : 0u;
  EXPECT_GE(right, 4'990u);
}

}  // namespace
}  // namespace plexus::state
