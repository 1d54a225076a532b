// SPDX-License-Identifier: Apache-2.0
// Filters as they come: what the tables hold after any changes, and what a change says it changed.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "model/topology.h"

namespace plexus::model {
namespace {

const ChainId kChain{Uuid::derived("chain", "c")};
const SecurityGroupId kGroup{Uuid::derived("security group", "g")};

IpPrefix prefix(const char* text) {
  return *IpPrefix::parse(text);
}
GroupMember member(const char* port, std::vector<const char*> addresses) {
  GroupMember out{PortId{Uuid::derived("port", port)}, {}};
  for (const char* a : addresses) out.addresses.push_back(*IpAddr::parse(a));
  return out;
}
Delta apply(Topology& topology, const Change& change) {
  return topology.apply({&change, 1});
}

TEST(AddressSet, ContainsWhatWasAddedAndNotTakenAway) {
  std::mt19937_64 random(7);
  AddressSet set;
  std::multiset<IpPrefix> naive;
  const auto any = [&] {
    return IpPrefix{IpAddr::v4(0x0a000000u | static_cast<uint32_t>(random() % 64)),
                    static_cast<uint8_t>(24 + random() % 9)}
        .network();
  };
  for (int i = 0; i < 5000; ++i) {
    const IpPrefix p = any();
    if (random() % 2 == 0) {
      EXPECT_EQ(set.add(p), !naive.contains(p));
      naive.insert(p);
    } else if (const auto there = naive.find(p); there != naive.end()) {
      naive.erase(there);
      EXPECT_EQ(set.remove(p), !naive.contains(p));
    }
    const IpAddr address = IpAddr::v4(0x0a000000u | static_cast<uint32_t>(random() % 80));
    const bool expected = std::any_of(naive.begin(), naive.end(),
                                      [&](const IpPrefix& n) { return n.contains(address); });
    ASSERT_EQ(set.contains(address), expected) << address.str();
  }
  while (!naive.empty()) {
    set.remove(*naive.begin());
    naive.erase(naive.begin());
  }
  EXPECT_TRUE(set.empty());
  EXPECT_FALSE(set.contains(*IpAddr::parse("10.0.0.1")));
}

TEST(Filters, AMemberThatMovesToAnotherPartHasNeverBeenAway) {
  Topology topology(HostId{});
  const GroupMember a = member("a", {"10.0.0.1", "fd00::1"}), b = member("b", {"10.0.0.2"});
  EXPECT_EQ(apply(topology, GroupMembersChange{kGroup, 0, {a, b}}).members.size(), 3u);
  // A bucket is divided: for a while a stands in both.
  EXPECT_TRUE(apply(topology, GroupMembersChange{kGroup, 1, {a}}).empty());
  EXPECT_TRUE(apply(topology, GroupMembersChange{kGroup, 0, {b}}).empty());
  EXPECT_TRUE(topology.snapshot()->members_of(kGroup)->contains(*IpAddr::parse("fd00::1")));
  // Another member with the same address keeps it.
  EXPECT_TRUE(apply(topology, GroupMembersChange{kGroup, 2, {member("c", {"10.0.0.2"})}}).empty());
  EXPECT_TRUE(apply(topology, GroupMembersChange{kGroup, 0, {}}).empty());
  const Delta gone = apply(topology, GroupMembersChange{kGroup, 2, {}});
  ASSERT_EQ(gone.members.size(), 1u);
  EXPECT_EQ(gone.members[0].second, *IpAddr::parse("10.0.0.2"));
  EXPECT_EQ(apply(topology, GroupMembersChange{kGroup, 1, {}}).members.size(), 2u);
  EXPECT_EQ(topology.snapshot()->members_of(kGroup), nullptr);
}

TEST(Filters, AChangedRuleNamesWhoCanMeetItBeforeAndNow) {
  Topology topology(HostId{});
  Rule rule;
  rule.id = RuleId{Uuid::derived("rule", "r")};
  rule.chain = kChain;
  rule.source = prefix("10.1.0.0/16");
  rule.destination_ports = {{80, 95}};
  Delta delta = apply(topology, RuleChange{rule.id, rule});
  ASSERT_EQ(delta.rules.size(), 1u);
  EXPECT_EQ(delta.rules[0].first, kChain);
  EXPECT_EQ(delta.rules[0].second.source, prefix("10.1.0.0/16"));
  EXPECT_EQ(delta.rules[0].second.tp_dst, 80);
  EXPECT_EQ(delta.rules[0].second.tp_dst_mask, 0xfff0);
  rule.name = "new";
  EXPECT_TRUE(apply(topology, RuleChange{rule.id, rule}).empty()) << "packets know no names";
  EXPECT_EQ(topology.snapshot()->rule(rule.id)->name, "new");
  rule.source = prefix("10.2.0.0/16");
  delta = apply(topology, RuleChange{rule.id, rule});
  EXPECT_EQ(delta.rules.size(), 2u);
  rule.inverted = bit_of(Condition::source) | bit_of(Condition::destination_ports);
  delta = apply(topology, RuleChange{rule.id, rule});
  EXPECT_EQ(delta.rules.front().second, PacketRegion{}) << "an inverted condition narrows nothing";
  EXPECT_NE(topology.snapshot()->rules_of(kChain), nullptr);
  apply(topology, RuleChange{rule.id, std::nullopt});
  EXPECT_EQ(topology.snapshot()->rules_of(kChain), nullptr);
}

TEST(Filters, AChainTracksWhatThoseDoThatItLeadsTo) {
  std::mt19937_64 random(3);
  Topology topology(HostId{});
  const auto chain = [](uint64_t n) { return ChainId{Uuid::derived("chain", std::to_string(n))}; };
  constexpr uint64_t kChains = 6;
  std::map<RuleId, Rule> rules;
  std::map<ChainId, Tracking> before;
  size_t came = 0, went = 0;
  for (int i = 0; i < 2000; ++i) {
    const RuleId id{Uuid::derived("rule", std::to_string(random() % 12))};
    RuleChange change{id, std::nullopt};
    if (random() % 3 != 0) {
      Rule rule;
      rule.id = id;
      rule.chain = chain(random() % kChains);
      if (random() % 6 == 0) rule.connection = 1;
      if (random() % 12 == 0) rule.action = random() % 3 == 0 ? RuleAction::dnat : RuleAction::snat;
      // Only what comes or leaves by a port.
      if (random() % 2 == 0) {
        rule.out_port = PortId{Uuid::derived("port", std::to_string(random() % 3))};
        if (random() % 8 == 0) rule.inverted = bit_of(Condition::out_port);
      }
      if (random() % 2 == 0) {
        rule.action = RuleAction::jump;
        rule.jump_chain = chain(random() % kChains);
      }
      rules[id] = rule;
      change.now = rule;
    } else {
      rules.erase(id);
    }
    const Delta delta = apply(topology, change);
    std::map<ChainId, Tracking> expected;
    for (const auto& [key, r] : rules) {
      const bool snat = r.action == RuleAction::snat;
      if (snat && r.connection == 0 && r.out_port && r.inverted == 0)
        expected[r.chain].ports.push_back(*r.out_port);
      else if (snat || r.connection != 0 || r.action == RuleAction::dnat)
        expected[r.chain].everywhere = true;
    }
    for (bool settled = false; !settled;) {
      settled = true;
      for (const auto& [key, r] : rules) {
        if (r.action != RuleAction::jump || !expected.contains(*r.jump_chain)) continue;
        const Tracking below = expected[*r.jump_chain];
        Tracking all = expected[r.chain];
        all.everywhere |= below.everywhere;
        all.ports.insert(all.ports.end(), below.ports.begin(), below.ports.end());
        std::sort(all.ports.begin(), all.ports.end());
        all.ports.erase(std::unique(all.ports.begin(), all.ports.end()), all.ports.end());
        settled = settled && all == expected[r.chain];
        expected[r.chain] = all;
      }
    }
    for (auto& [key, t] : expected) {
      std::sort(t.ports.begin(), t.ports.end());
      t.ports.erase(std::unique(t.ports.begin(), t.ports.end()), t.ports.end());
    }
    std::vector<ChainId> changed;
    for (uint64_t n = 0; n < kChains; ++n) {
      const Tracking* is = topology.snapshot()->tracking(chain(n));
      ASSERT_EQ(is != nullptr, expected.contains(chain(n))) << i;
      if (is != nullptr) {
        ASSERT_EQ(*is, expected[chain(n)]) << i;
      }
      const auto of = [n, &chain](const auto& all) {
        const auto found = all.find(chain(n));
        return found != all.end() ? found->second : Tracking{};
      };
      if (of(expected) == of(before)) continue;
      changed.push_back(chain(n));
      ++(expected.contains(chain(n)) ? came : went);
    }
    std::sort(changed.begin(), changed.end());
    // May name more: what comes and goes within a change.
    ASSERT_TRUE(std::includes(delta.asking_chains.begin(), delta.asking_chains.end(),
                              changed.begin(), changed.end()));
    before = expected;
  }
  EXPECT_GT(came, 100u);
  EXPECT_GT(went, 100u);
}

TEST(Filters, AGroupThatBecomesStatefulIsAnotherOne) {
  Topology topology(HostId{});
  SecurityGroup group{.id = kGroup, .name = "g", .unreadable = false, .rules = {}};
  apply(topology, SecurityGroupChange{kGroup, group});
  group.stateful = false;
  EXPECT_EQ(apply(topology, SecurityGroupChange{kGroup, group}).security_groups.size(), 1u);
  group.name = "other";
  EXPECT_TRUE(apply(topology, SecurityGroupChange{kGroup, group}).empty());
}

TEST(Filters, AnOlderSnapshotKeepsItsRules) {
  Topology topology(HostId{});
  Rule rule;
  rule.id = RuleId{Uuid::derived("rule", "r")};
  rule.chain = kChain;
  rule.position = 1;
  apply(topology, RuleChange{rule.id, rule});
  const auto old = topology.snapshot();
  rule.position = 2;
  apply(topology, RuleChange{rule.id, rule});
  apply(topology, RuleChange{RuleId{Uuid::derived("rule", "q")}, rule});
  EXPECT_EQ(old->rules_of(kChain)->shapes().front().level->rules.size(), 1u);
  EXPECT_EQ(old->rules_of(kChain)->shapes().front().level->first->position, 1u);
  EXPECT_EQ(topology.snapshot()->rules_of(kChain)->shapes().front().level->rules.size(), 2u);
}

TEST(Filters, APortRangeTakesTheFewestBlocks) {
  Topology topology(HostId{});
  Rule rule;
  rule.id = RuleId{Uuid::derived("rule", "r")};
  rule.chain = kChain;
  rule.destination_ports = {{1, 65534}};
  apply(topology, RuleChange{rule.id, rule});
  const auto count = [](const auto& self, const RuleTable::Trie::Node* node) -> size_t {
    if (node == nullptr) return 0;
    return (node->value.empty() ? 0 : 1) + self(self, node->child[0].get()) +
           self(self, node->child[1].get());
  };
  const auto snapshot = topology.snapshot();
  EXPECT_EQ(count(count, snapshot->rules_of(kChain)->shapes().front().level->trie.root()), 30u);
  rule.destination_ports = {{0, 10}, {5, 20}, {21, 65535}};  // touch and overlap: all ports
  apply(topology, RuleChange{rule.id, rule});
  const auto all = topology.snapshot();
  EXPECT_EQ(count(count, all->rules_of(kChain)->shapes().front().level->trie.root()), 1u);
}

}  // namespace
}  // namespace plexus::model
