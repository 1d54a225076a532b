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
  static model::PortBlock block(const char* address, uint16_t first) {
    return {Uuid::derived("block", address + std::to_string(first)), *IpAddr::parse(address), first,
            64};
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

TEST_F(PortBlockPlanTest, GivesBackWhatThePoolHasNoMore) {
  pool(pool_);
  blocks({block("192.0.2.1", 1024)});
  EXPECT_THAT(due(), IsEmpty());
  pool_.ports = {2048, 65535};
  pool(pool_);
  EXPECT_THAT(due(), ElementsAre(Kind::settle));
}

TEST_F(PortBlockPlanTest, GivesBackWhenThePoolHasBeenGoneForAWhile) {
  pool(pool_);
  blocks({block("192.0.2.1", 1024)});
  pool(std::nullopt);
  now_ = now_ + 59s;
  EXPECT_THAT(due(), IsEmpty());
  pool(pool_);  // a rule was replaced
  now_ = now_ + 10s;
  EXPECT_THAT(due(), IsEmpty());
  pool(std::nullopt);
  now_ = now_ + 60s;
  EXPECT_THAT(due(), ElementsAre(Kind::give_back));
  blocks({});
  done();
  EXPECT_THAT(plan_.status(), IsEmpty());
}

TEST_F(PortBlockPlanTest, BlocksOfAPoolThatNeverCameAreGivenBackToo) {
  blocks({block("192.0.2.1", 1024)});
  EXPECT_THAT(due(), IsEmpty()) << "the pool may be read later";
  now_ = now_ + 60s;
  EXPECT_THAT(due(), ElementsAre(Kind::give_back));
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
