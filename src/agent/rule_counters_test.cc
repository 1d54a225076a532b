// SPDX-License-Identifier: Apache-2.0
// RuleCounters: rules count for every flow that they are behind, and sets of rules are kept once, as long as a flow has them.
#include "agent/rule_counters.h"

#include <gmock/gmock.h>

#include "model/topology.h"

namespace plexus::agent {
namespace {

const ChainId kChain{Uuid::derived("chain", "in")};
const SecurityGroupId kGroup{Uuid::derived("group", "web")};

Uuid rule(std::string_view name) {
  return Uuid::derived("rule", name);
}
sim::MetRule met(std::string_view name) {
  return {rule(name), kChain.uuid, false};
}

TEST(RuleCounters, FlowsOfTheSameRulesShareATally) {
  RuleCounters counters(7);
  EXPECT_EQ(counters.use({}), 0u);
  const sim::MetRule both[] = {met("a"), met("b")}, one[] = {met("a")};
  const uint32_t first = counters.use(both), second = counters.use(both), other = counters.use(one);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other);
  EXPECT_EQ(counters.sets(), 2u);
  counters.release(first);
  EXPECT_EQ(counters.sets(), 2u);
  counters.release(second);
  counters.release(0);
  EXPECT_EQ(counters.sets(), 1u);
}

TEST(RuleCounters, EachRuleOfATallyCounts) {
  RuleCounters counters(7);
  const sim::MetRule both[] = {met("a"), met("b")}, one[] = {met("a")};
  const uint32_t tally = counters.use(both);
  counters.add(tally, 3, 300);
  counters.add(one, 1, 60);
  counters.add(0u, 9, 900);
  EXPECT_EQ(counters.counts().at(rule("a")).packets, 4u);
  EXPECT_EQ(counters.counts().at(rule("a")).bytes, 360u);
  EXPECT_EQ(counters.counts().at(rule("b")).packets, 3u);
  // What was counted stays when the flows go.
  counters.release(tally);
  EXPECT_EQ(counters.counts().at(rule("b")).bytes, 300u);
}

TEST(RuleCounters, ThoseThatAreNoMoreAreForgotten) {
  model::Topology topology(HostId{});
  model::Chain chain;
  chain.id = kChain;
  chain.name = "in";
  model::Rule stays;
  stays.id = RuleId{rule("a")};
  stays.chain = kChain;
  stays.position = 4;
  stays.name = "a";
  model::SecurityGroup group;
  group.id = kGroup;
  group.name = "web";
  model::SecurityRule member;
  member.id = SecurityRuleId{rule("c")};
  member.group = kGroup;
  const model::Change changes[] = {
      model::ChainChange{kChain, chain}, model::RuleChange{stays.id, stays},
      model::SecurityGroupChange{kGroup, group}, model::SecurityRuleChange{member.id, member}};
  topology.apply(changes);
  RuleCounters counters(7);
  const sim::MetRule all[] = {met("a"), met("b"), {rule("c"), kGroup.uuid, false}};
  counters.add(all, 2, 120);
  counters.forget_gone(*topology.snapshot());
  EXPECT_EQ(counters.counts().size(), 2u);
  const codec::Node rules = *rule_counters_document(counters, *topology.snapshot()).find("rules");
  ASSERT_EQ(rules.items.size(), 2u);
  EXPECT_EQ(rules.items[0].find("name")->text, "in");
  EXPECT_EQ(rules.items[0].find("position")->text, "4");
  EXPECT_EQ(rules.items[0].find("packets")->text, "2");
  EXPECT_EQ(rules.items[1].find("in")->text, "security_group");
  EXPECT_EQ(rules.items[1].find("name")->text, "web");
  EXPECT_EQ(rules.items[1].find("rule"), nullptr) << "it has no name";
}

}  // namespace
}  // namespace plexus::agent
