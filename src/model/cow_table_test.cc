// SPDX-License-Identifier: Apache-2.0
#include "model/cow_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace plexus::model {
namespace {

TEST(CowTable, FindsWhatWasSet) {
  CowTable<uint32_t, int> t;
  EXPECT_TRUE(t.empty());
  EXPECT_EQ(t.find(1), nullptr);
  EXPECT_FALSE(t.erase(1));
  t.set(1, 10);
  t.set(2, 20);
  t.set(1, 11);
  EXPECT_EQ(t.size(), 2u);
  ASSERT_NE(t.find(1), nullptr);
  EXPECT_EQ(*t.find(1), 11);
  EXPECT_TRUE(t.erase(1));
  EXPECT_EQ(t.find(1), nullptr);
  EXPECT_EQ(t.size(), 1u);
}

TEST(CowTable, ACopyKeepsItsState) {
  CowTable<uint32_t, int> before;
  for (uint32_t i = 0; i < 1000; ++i) before.set(i, 1);
  CowTable<uint32_t, int> after = before;
  for (uint32_t i = 0; i < 1000; i += 2) after.erase(i);
  for (uint32_t i = 1; i < 1000; i += 2) after.set(i, 2);
  EXPECT_EQ(before.size(), 1000u);
  EXPECT_EQ(after.size(), 500u);
  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_NE(before.find(i), nullptr);
    EXPECT_EQ(*before.find(i), 1);
    EXPECT_EQ(after.find(i) != nullptr, i % 2 == 1);
  }
}

TEST(CowTable, UnchangedValuesAreShared) {
  CowTable<uint32_t, int> a;
  for (uint32_t i = 0; i < 600; ++i) a.set(i, 1);
  CowTable<uint32_t, int> b = a;
  b.set(7, 2);
  EXPECT_NE(a.find(7), b.find(7));
  for (uint32_t i = 0; i < 600; ++i)
    if (i != 7) {
      EXPECT_EQ(a.find(i), b.find(i));
    }
}

TEST(CowTable, AgreesWithAMapUnderRandomChanges) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    CowTable<uint32_t, uint32_t> table;
    std::map<uint32_t, uint32_t> model;
    for (int i = 0; i < 20'000; ++i) {
      const auto key = static_cast<uint32_t>(random() % 900),
                 value = static_cast<uint32_t>(random());
      if (random() % 3 != 0) {
        table.set(key, value);
        model[key] = value;
      } else {
        EXPECT_EQ(table.erase(key), model.erase(key) == 1);
      }
    }
    ASSERT_EQ(table.size(), model.size());
    std::map<uint32_t, uint32_t> seen;
    table.for_each([&](uint32_t k, uint32_t v) { EXPECT_TRUE(seen.emplace(k, v).second); });
    EXPECT_EQ(seen, model);
  }
}

}  // namespace
}  // namespace plexus::model
