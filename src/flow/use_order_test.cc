// SPDX-License-Identifier: Apache-2.0
#include "flow/use_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

namespace plexus {
namespace {

MonoTime at(double seconds) {
  return MonoTime{static_cast<int64_t>(seconds * 1e9)};
}

TEST(UseOrder, NewOnesGoBeforeProtectedOnes) {
  UseOrder order(3);
  for (uint32_t f = 0; f < 4; ++f) order.add(f, at(f));
  order.protect(0, at(5));
  EXPECT_TRUE(order.is_protected(0));
  EXPECT_EQ(order.first_to_go(), 1u);
  order.touch(1, at(6));  // used by whoever installed it: no more than that
  EXPECT_FALSE(order.is_protected(1));
  EXPECT_EQ(order.first_to_go(), 2u);
  for (uint32_t f = 1; f < 4; ++f) order.remove(f);
  EXPECT_EQ(order.first_to_go(), 0u) << "when there is nobody else";
}

TEST(UseOrder, ProtectionIsBoundedAndGoesToWhoWasUsedLast) {
  UseOrder order(2);
  for (uint32_t f = 0; f < 4; ++f) order.add(f, at(0));
  order.protect(0, at(10));
  order.protect(1, at(11));
  order.protect(2, at(12));
  EXPECT_EQ(order.protected_count(), 2u);
  EXPECT_FALSE(order.is_protected(0));
  EXPECT_EQ(order.last_used(0), at(10));
  order.protect(3, at(9));  // used, but before both that are protected
  EXPECT_FALSE(order.is_protected(3));
  EXPECT_EQ(order.last_used(3), at(9));
  EXPECT_EQ(order.first_to_go(), 3u);
  UseOrder none(0);
  none.add(0, at(1));
  none.protect(0, at(2));
  EXPECT_EQ(none.protected_count(), 0u);
  EXPECT_EQ(none.last_used(0), at(2));
}

TEST(UseOrder, ExpiryIsExactToTheNanosecondAndOldestFirst) {
  UseOrder order(10);
  order.add(0, at(10.5));
  order.add(1, at(10.25));
  order.add(2, MonoTime{at(10.5).ns + 1});
  order.add(3, at(0.75));
  order.add(4, at(3));
  order.protect(4, at(10.125));
  order.add(5, at(-0.5));  // before the clock began
  EXPECT_EQ(order.unused_since(at(10.5)), (std::vector<uint32_t>{5, 3, 4, 1, 0}));
  EXPECT_EQ(order.unused_since(at(0.749)), std::vector<uint32_t>{5});
  EXPECT_TRUE(order.unused_since(at(-1)).empty());
}

/// The same by plain search through all flows.
class Naive {
 public:
  struct Flow {
    MonoTime used;
    bool guarded = false;
    uint64_t arrived = 0;  ///< in its second
    [[nodiscard]] int64_t second() const { return used.ns / 1'000'000'000; }
  };
  explicit Naive(size_t flows, size_t max) : flows_(flows), max_(max) {}
  std::optional<Flow>& operator[](uint32_t f) { return flows_[f]; }

  void add(uint32_t f, MonoTime used) { flows_[f] = Flow{used, false, ++arrivals_}; }
  void move(uint32_t f, MonoTime used, bool guarded) {
    Flow& flow = *flows_[f];
    const Flow before = flow;
    flow.used = used;
    flow.guarded = guarded;
    if (flow.second() != before.second() || guarded != before.guarded) flow.arrived = ++arrivals_;
  }
  void touch(uint32_t f, MonoTime used) {
    if (used > flows_[f]->used) move(f, used, flows_[f]->guarded);
  }
  void protect(uint32_t f, MonoTime used) {
    if (!flows_[f]->guarded && count(true) == max_) {
      const uint32_t least = *oldest(true);
      if (flows_[least]->used >= used) return touch(f, used);
      move(least, flows_[least]->used, false);
    }
    move(f, std::max(used, flows_[f]->used), true);
  }
  [[nodiscard]] size_t count(bool guarded) const {
    return static_cast<size_t>(std::count_if(
        flows_.begin(), flows_.end(), [&](const auto& f) { return f && f->guarded == guarded; }));
  }
  [[nodiscard]] std::optional<uint32_t> oldest(bool guarded) const {
    std::optional<uint32_t> found;
    for (uint32_t f = 0; f < flows_.size(); ++f) {
      if (!flows_[f] || flows_[f]->guarded != guarded) continue;
      if (!found || std::pair(flows_[f]->second(), flows_[f]->arrived) <
                        std::pair(flows_[*found]->second(), flows_[*found]->arrived))
        found = f;
    }
    return found;
  }
  [[nodiscard]] std::vector<uint32_t> unused_since(MonoTime until) const {
    std::vector<uint32_t> out;
    for (uint32_t f = 0; f < flows_.size(); ++f)
      if (flows_[f] && flows_[f]->used <= until) out.push_back(f);
    std::stable_sort(out.begin(), out.end(),
                     [&](uint32_t a, uint32_t b) { return flows_[a]->used < flows_[b]->used; });
    return out;
  }

 private:
  std::vector<std::optional<Flow>> flows_;
  size_t max_;
  uint64_t arrivals_ = 0;
};

TEST(UseOrder, AgreesWithPlainSearch) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    constexpr uint32_t kFlows = 60;
    constexpr size_t kMax = 20;
    UseOrder order(kMax);
    Naive naive(kFlows, kMax);
    const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    double now = 1;
    for (int step = 0; step < 3000; ++step) {
      now += pick(1000) * 1e-4;
      const uint32_t f = pick(kFlows);
      const MonoTime used = at(now - pick(4) * 0.4);  // statistics come late
      switch (pick(4)) {
        case 0:
          if (!naive[f]) {
            order.add(f, at(now));
            naive.add(f, at(now));
          } else {
            order.remove(f);
            naive[f].reset();
          }
          break;
        case 1:
          if (!naive[f]) break;
          order.touch(f, used);
          naive.touch(f, used);
          break;
        case 2:
          if (!naive[f]) break;
          order.protect(f, used);
          naive.protect(f, used);
          break;
        default:
          ASSERT_EQ(order.unused_since(at(now - 2)), naive.unused_since(at(now - 2))) << step;
      }
      ASSERT_EQ(order.protected_count(), naive.count(true)) << step;
      ASSERT_EQ(order.size(), naive.count(true) + naive.count(false)) << step;
      ASSERT_LE(order.protected_count(), kMax);
      if (order.size() == 0) continue;
      const auto first = naive.oldest(false) ? naive.oldest(false) : naive.oldest(true);
      ASSERT_EQ(order.first_to_go(), *first) << step;
    }
  }
}

}  // namespace
}  // namespace plexus
