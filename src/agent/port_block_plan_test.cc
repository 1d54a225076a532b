// SPDX-License-Identifier: Apache-2.0
#include "agent/port_block_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = PortBlockPlan::Order::Kind;
using namespace std::chrono_literals;

class PortBlockPlanTest : public ::testing::Test {
 protected:
  PortBlockPlanTest() {
    pool_.id = SnatPoolId{Uuid::derived("pool", "out")};
    pool_.router = RouterId{Uuid::derived("router", "edge")};
    pool_.name = "out";
    pool_.addresses = {*IpAddr::parse("192.0.2.1")};
  }
  static model::PortBlock block(const char* address, uint16_t first, uint16_t length = 64) {
    return {Uuid::derived("block", address + std::to_string(first)), *IpAddr::parse(address), first,
            length};
  }
  /// Connections use these of all blocks, says the worker now.
  void used(const std::vector<model::PortBlock>& these) {
    std::set<Uuid> ids;
    for (const auto& b : these) ids.insert(b.id);
    plan_.heard(plan_.blocks(), ids, now_);
  }
  /// What is given back, if that is all that is due.
  std::vector<model::PortBlock> given_back() {
    const auto orders = plan_.due(now_);
    if (orders.empty()) return {};
    EXPECT_THAT(orders, SizeIs(1));
    EXPECT_EQ(orders[0].kind, Kind::give_back);
    return orders[0].blocks;
  }
  void pool(std::optional<model::SnatPool> now) {
    plan_.take_in(model::SnatPoolChange{pool_.id, std::move(now)}, now_);
  }
  void blocks(std::vector<model::PortBlock> now) {
    plan_.take_in(model::PortBlocksChange{pool_.id, std::move(now)}, now_);
  }
  std::vector<Kind> due() {
    std::vector<Kind> kinds;
    for (const auto& order : plan_.due(now_)) kinds.push_back(order.kind);
    return kinds;
  }
  void done(std::optional<Error> error = std::nullopt) { plan_.done(pool_.id, error, now_); }

  PortBlockPlan plan_;
  model::SnatPool pool_;
  MonoTime now_ = MonoTime{} + 1h;
};

TEST_F(PortBlockPlanTest, AsksForAFirstBlockBeforeAnythingNeedsItAndThenForNothing) {
  pool(pool_);
  EXPECT_THAT(due(), ElementsAre(Kind::settle));
  EXPECT_THAT(due(), IsEmpty()) << "it has been asked";
  blocks({block("192.0.2.1", 1024)});
  done();
  now_ = now_ + 1h;
  EXPECT_THAT(due(), IsEmpty());
  EXPECT_THAT(plan_.status(), SizeIs(1));
  EXPECT_EQ(plan_.status()[0].name, "out");
}

TEST_F(PortBlockPlanTest, EachFamilyOfThePoolWantsABlock) {
  pool_.addresses.push_back(*IpAddr::parse("2001:db8::1"));
  blocks({block("192.0.2.1", 1024)});
  pool(pool_);
  EXPECT_THAT(due(), ElementsAre(Kind::settle));
}

TEST_F(PortBlockPlanTest, WhatIsRefusedIsAskedForAgainAfterLongerAndLongerPauses) {
  pool(pool_);
  int asked = 0;
  for (int second = 0; second < 600; ++second) {
    for ([[maybe_unused]] const Kind kind : due()) {
      ++asked;
      done(Error{ErrorCode::no_space, "full"});
    }
    now_ = now_ + 1s;
  }
  EXPECT_GE(asked, 10);
  EXPECT_LE(asked, 17);
  EXPECT_EQ(plan_.status()[0].trouble, "full");
  // Another pool by now: at once.
  pool_.addresses.push_back(*IpAddr::parse("192.0.2.2"));
  pool(pool_);
  EXPECT_EQ(plan_.status()[0].trouble, "");
  EXPECT_THAT(due(), ElementsAre(Kind::settle));
}

TEST_F(PortBlockPlanTest, GrowsByNeedAfterAMomentEachTime) {
  pool(pool_);
  blocks({block("192.0.2.1", 1024)});
  plan_.need(pool_.id, IpFamily::v4);
  plan_.need(pool_.id, IpFamily::v4);
  EXPECT_THAT(due(), ElementsAre(Kind::grow));
  EXPECT_FALSE(plan_.next_growth()) << "it has been asked";
  plan_.need(pool_.id, IpFamily::v4);
  done();
  EXPECT_THAT(due(), IsEmpty());
  EXPECT_EQ(plan_.next_growth(), now_ + PortBlockPlan::kGrantPause);
  now_ = now_ + PortBlockPlan::kGrantPause;
  EXPECT_THAT(due(), ElementsAre(Kind::grow));
  EXPECT_FALSE(plan_.next_growth());
  done();
  now_ = now_ + 1h;
  EXPECT_THAT(due(), IsEmpty());
  plan_.need(SnatPoolId{Uuid::derived("pool", "unknown")}, IpFamily::v4);
  EXPECT_THAT(due(), IsEmpty());
}

TEST_F(PortBlockPlanTest, AFamilyThatGetsNoBlockKeepsTheOtherFromNothing) {
  pool_.addresses.push_back(*IpAddr::parse("2001:db8::1"));
  pool(pool_);
  blocks({block("192.0.2.1", 1024)});
  plan_.need(pool_.id, IpFamily::v4);
  int settled = 0, grown = 0;
  for (int second = 0; second < 600; ++second) {
    for (const Kind kind : due()) {
      ++(kind == Kind::settle ? settled : grown);
      done(Error{ErrorCode::no_space, kind == Kind::settle ? "no six" : "no four"});
      plan_.need(pool_.id, IpFamily::v4);
    }
    now_ = now_ + 1s;
  }
  EXPECT_GE(settled, 10);
  EXPECT_GE(grown, 10);
  EXPECT_LE(settled + grown, 34);
  EXPECT_EQ(plan_.status()[0].trouble, "no four; no six");
  // What one gets is not what the other has.
  blocks({block("192.0.2.1", 1024), block("2001:db8::1", 1024)});
  EXPECT_EQ(plan_.status()[0].trouble, "no four");
}

TEST_F(PortBlockPlanTest, AFamilyThatCannotGrowKeepsTheOtherFromNothing) {
  pool_.addresses.push_back(*IpAddr::parse("2001:db8::1"));
  pool(pool_);
  blocks({block("192.0.2.1", 1024), block("2001:db8::1", 1024)});
  int four = 0, six = 0;
  for (int second = 0; second < 60; ++second) {
    plan_.need(pool_.id, IpFamily::v4);
    plan_.need(pool_.id, IpFamily::v6);
    for (const auto& order : plan_.due(now_)) {
      ASSERT_EQ(order.kind, Kind::grow);
      const bool is_six = order.family == IpFamily::v6;
      ++(is_six ? six : four);
      done(is_six ? std::nullopt : std::optional(Error{ErrorCode::no_space, "the most"}));
    }
    now_ = now_ + 1s;
  }
  EXPECT_GE(four, 3);
  EXPECT_LE(four, 7);
  EXPECT_GE(six, 50);
  EXPECT_EQ(plan_.status()[0].trouble, "the most");
}

TEST_F(PortBlockPlanTest, GivesBackWhatThePoolHasNoMoreWhenNoConnectionUsesIt) {
  pool(pool_);
  const auto old = block("192.0.2.1", 1024), other = block("192.0.2.1", 2048);
  blocks({old});
  EXPECT_THAT(due(), IsEmpty());
  pool_.ports = {2048, 65535};
  pool(pool_);
  EXPECT_THAT(due(), ElementsAre(Kind::settle));
  blocks({old, other});
  done();
  const auto minute = [&](const std::vector<model::PortBlock>& in_use) {
    for (int i = 0; i <= 12; ++i, now_ = now_ + 5s) used(in_use);
  };
  minute({old});
  EXPECT_THAT(given_back(), IsEmpty()) << "its connections go on";
  used({});
  EXPECT_THAT(given_back(), IsEmpty());
  minute({});
  EXPECT_THAT(given_back(), ElementsAre(old));
}

TEST_F(PortBlockPlanTest, GivesBackWhenThePoolHasBeenGoneForAWhile) {
  const auto mine = block("192.0.2.1", 1024);
  pool(pool_);
  blocks({mine});
  pool(std::nullopt);
  now_ = now_ + 59s;
  used({});
  EXPECT_THAT(due(), IsEmpty());
  pool(pool_);  // a rule was replaced
  now_ = now_ + 10s;
  EXPECT_THAT(due(), IsEmpty());
  pool(std::nullopt);
  now_ = now_ + 60s;
  EXPECT_THAT(due(), IsEmpty()) << "the worker has not been heard of lately";
  used({mine});
  EXPECT_THAT(due(), IsEmpty()) << "connections go on when their pool is gone";
  now_ = now_ + 24h;
  used({});
  EXPECT_THAT(given_back(), ElementsAre(mine));
  blocks({});
  done();
  EXPECT_THAT(plan_.status(), IsEmpty());
}

TEST_F(PortBlockPlanTest, BlocksOfAPoolThatNeverCameAreGivenBackToo) {
  blocks({block("192.0.2.1", 1024)});
  used({});
  EXPECT_THAT(due(), IsEmpty()) << "the pool may be read later";
  now_ = now_ + 60s;
  used({});
  EXPECT_THAT(due(), ElementsAre(Kind::give_back));
}

TEST_F(PortBlockPlanTest, OfABlockThatCameAfterTheQuestionNothingIsKnown) {
  blocks({block("192.0.2.1", 1024)});
  const auto asked = plan_.blocks();
  blocks({block("192.0.2.1", 1024), block("192.0.2.1", 2048)});
  now_ = now_ + 60s;
  plan_.heard(asked, {}, now_);
  EXPECT_THAT(given_back(), ElementsAre(block("192.0.2.1", 1024)));
}

TEST_F(PortBlockPlanTest, ShrinksWhenItsBlocksHaveNotBeenUsedForLong) {
  pool_.addresses.push_back(*IpAddr::parse("2001:db8::1"));
  pool(pool_);
  const auto surplus = block("192.0.2.1", 1024), a = block("192.0.2.1", 1280, 256),
             b = block("192.0.2.1", 2048, 512), c = block("192.0.2.1", 4096, 1024),
             d = block("192.0.2.1", 8192, 2048), six = block("2001:db8::1", 1024);
  blocks({surplus, a, b, c, d, six});
  used({});
  now_ = now_ + 60s;
  used({surplus});
  EXPECT_THAT(given_back(), IsEmpty());
  used({});
  now_ = now_ + 60s;
  used({});
  EXPECT_THAT(given_back(), ElementsAre(surplus)) << "no new connection gets its ports";
  blocks({a, b, c, d, six});
  done();
  now_ = now_ + PortBlockPlan::kShrinkAfter;
  used({c});
  EXPECT_THAT(given_back(), ElementsAre(d, b, a)) << "one of a family is in use, the other alone";
  blocks({c, six});
  done();
  now_ = now_ + 24h;
  used({});
  now_ = now_ + 24h;
  used({});
  EXPECT_THAT(given_back(), IsEmpty()) << "the last ones stay";
}

TEST_F(PortBlockPlanTest, OfAPoolThatCannotBeReadNothingChanges) {
  blocks({block("192.0.2.9", 1024)});
  pool_.unreadable = true;
  pool(pool_);
  now_ = now_ + 1h;
  EXPECT_THAT(due(), IsEmpty());
}

}  // namespace
}  // namespace plexus::agent
