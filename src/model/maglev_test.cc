// SPDX-License-Identifier: Apache-2.0
#include "model/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

namespace plexus::model {
namespace {

Uuid key(unsigned n) {
  return Uuid::derived("route", std::to_string(n));
}

std::vector<MaglevMember> members(const std::vector<uint32_t>& weights) {
  std::vector<MaglevMember> out;
  for (unsigned i = 0; i < weights.size(); ++i) out.push_back({key(i), weights[i]});
  return out;
}

std::vector<uint32_t> places(const std::vector<MaglevMember>& all) {
  const MaglevTable table(all);
  std::vector<uint32_t> count(all.size());
  for (uint64_t h = 0; h < kMaglevSize; ++h) ++count[table.member(h)];
  return count;
}

TEST(Maglev, SharesAreExactByWeight) {
  const std::vector<std::vector<uint32_t>> groups{
      {1}, {1, 1}, {1, 1, 1}, {1, 2, 3}, {10, 20, 70}, {65535, 65535}, {5, 5, 5, 5, 80}};
  for (const auto& weights : groups) {
    uint64_t total = 0;
    for (uint32_t w : weights) total += w;
    const auto count = places(members(weights));
    for (size_t i = 0; i < weights.size(); ++i) {
      const double share =
          static_cast<double>(weights[i]) * kMaglevSize / static_cast<double>(total);
      EXPECT_LT(std::abs(count[i] - share), 1.0) << i << " of " << weights.size();
    }
  }
}

TEST(Maglev, EverybodyHasAPlace) {
  EXPECT_EQ(places(members({1, 65535})), (std::vector<uint32_t>{1, kMaglevSize - 1}));
  const auto many = places(members(std::vector<uint32_t>(kMaxMaglevMembers, 1)));
  EXPECT_EQ(*std::min_element(many.begin(), many.end()), kMaglevSize / kMaxMaglevMembers);
  EXPECT_LE(*std::max_element(many.begin(), many.end()), kMaglevSize / kMaxMaglevMembers + 1);
}

TEST(Maglev, MoreThanASmallTableHolds) {
  for (const size_t count : {kMaxMaglevMembers + 1, size_t{1000}, kMaxLargeMaglevMembers}) {
    std::vector<uint32_t> weights(count, 2);
    weights.back() = 1;
    const MaglevTable table(members(weights));
    ASSERT_EQ(table.places(), kLargeMaglevSize);
    std::vector<uint32_t> served(count);
    for (uint64_t h = 0; h < kLargeMaglevSize; ++h) ++served.at(table.member(h));
    const double share = 2.0 * kLargeMaglevSize / (2.0 * static_cast<double>(count) - 1);
    for (size_t i = 0; i + 1 < count; ++i) ASSERT_LT(std::abs(served[i] - share), 1.0) << i;
    EXPECT_LT(std::abs(served.back() - share / 2), 1.0) << count;
  }
  EXPECT_EQ(MaglevTable(members(std::vector<uint32_t>(kMaxMaglevMembers, 1))).places(),
            kMaglevSize);
}

TEST(Maglev, TheOrderOfTheMembersDoesNotMatter) {
  auto all = members({3, 1, 4, 1, 5});
  const MaglevTable one(all);
  std::vector<Uuid> serving;
  for (uint64_t h = 0; h < kMaglevSize; ++h) serving.push_back(all[one.member(h)].key);
  std::reverse(all.begin(), all.end());
  const MaglevTable other(all);
  for (uint64_t h = 0; h < kMaglevSize; ++h) ASSERT_EQ(all[other.member(h)].key, serving[h]);
}

/// Of the places, how many have another member now, though theirs is still there.
double disturbed(const std::vector<MaglevMember>& before, const std::vector<MaglevMember>& after) {
  const MaglevTable a(before), b(after);
  unsigned moved = 0;
  for (uint64_t h = 0; h < kMaglevSize; ++h) {
    const Uuid& was = before[a.member(h)].key;
    const bool stays = std::any_of(after.begin(), after.end(),
                                   [&](const MaglevMember& m) { return m.key == was; });
    moved += stays && after[b.member(h)].key != was;
  }
  return moved / double{kMaglevSize};
}

TEST(Maglev, AMemberThatComesOrGoesDisturbsFewOthers) {
  for (unsigned n : {3u, 5u, 10u, 50u}) {
    const auto all = members(std::vector<uint32_t>(n, 1));
    double worst = 0;
    for (unsigned gone = 0; gone < n; ++gone) {
      auto fewer = all;
      fewer.erase(fewer.begin() + gone);
      worst = std::max(worst, disturbed(all, fewer));
    }
    EXPECT_LT(worst, 0.15) << n << " members, one goes";
    auto more = all;
    more.push_back({key(1000), 1});
    // Those that the newcomer takes over have to move.
    EXPECT_LT(disturbed(all, more), 1.0 / (n + 1) + 0.15) << n << " members, one comes";
  }
}

TEST(Maglev, TheFunctionsAreFixed) {
  // Hosts of different versions must agree: these numbers never change.
  const std::array<uint64_t, 2> words{1, 2};
  EXPECT_EQ(fixed_hash(0, words), 0xbcd9dbb49673066bU);
  EXPECT_EQ(flow_hash(key(1), {*IpAddr::parse("10.0.0.1"), *IpAddr::parse("fd00::2"), 6, 7, 8}),
            0x68e4290c95bbeed1U);
  const MaglevTable table(members({1, 2, 3}));
  std::string first;
  for (uint64_t h = 0; h < 32; ++h) first += std::to_string(table.member(h));
  EXPECT_EQ(first, "22121002212122221102221112222102");
}

TEST(Maglev, FlowsSpreadEvenlyAndDifferentlyForEachRouter) {
  const MaglevTable table(members({1, 1, 1, 1}));
  std::map<std::pair<size_t, size_t>, unsigned> served;
  for (uint16_t port = 0; port < 16000; ++port) {
    const FlowIdentity flow{*IpAddr::parse("10.0.0.1"), *IpAddr::parse("10.0.0.2"), 6, port, 80};
    ++served[{table.member(flow_hash(key(100), flow)), table.member(flow_hash(key(200), flow))}];
  }
  EXPECT_EQ(served.size(), 16u) << "what one router chooses says nothing about the next";
  for (const auto& [pair, n] : served) EXPECT_NEAR(n, 1000, 150);
}

}  // namespace
}  // namespace plexus::model
