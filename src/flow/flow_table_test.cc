// SPDX-License-Identifier: Apache-2.0
#include "flow/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "flow/match_text.h"

namespace plexus {
namespace {

using std::chrono::seconds;

Match match(std::string_view text) {
  const auto m = parse_match(text);
  EXPECT_TRUE(m) << (m ? "" : m.error().message);
  return m ? *m : Match{};
}

MonoTime at(int64_t s) {
  return MonoTime{s * 1'000'000'000};
}

std::vector<std::string> texts(const std::vector<RemovedFlow>& flows) {
  std::vector<std::string> out;
  out.reserve(flows.size());
  for (const RemovedFlow& f : flows) out.push_back(format(f.match));
  return out;
}

FlowTable::Inserted add(FlowTable& t, const Match& m, const Actions& actions,
                        const std::vector<Dependency>& dependencies, uint64_t cookie,
                        MonoTime now) {
  return t.insert(m, actions, dependencies, cookie, now);
}

std::vector<std::string> sorted(std::vector<std::string> v) {
  std::sort(v.begin(), v.end());
  return v;
}

Actions to_port(uint32_t n) {
  return {{{{}, LocalOutput{DpPort{n}}}}};
}

const Uuid kRouter = Uuid::derived("router", "r"), kBridge = Uuid::derived("bridge", "b");
const Tag kRoutes{TagKind::routes, kRouter, 0}, kRouterTag{TagKind::router, kRouter, 0},
    kFlood{TagKind::bridge_flood, kBridge, 0};

TEST(FlowTable, InsertFindLookupErase) {
  FlowTable t(10);
  const Match wide = match("in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24"),
              other = match("in_port 18");
  EXPECT_FALSE(add(t, wide, to_port(1), {}, 7, at(1)).replaced);
  add(t, other, {}, {}, 8, at(1));
  EXPECT_EQ(t.size(), 2u);
  EXPECT_EQ(t.mask_count(), 2u);
  EXPECT_EQ(t.actions_count(), 2u);
  ASSERT_TRUE(t.find(wide));
  EXPECT_EQ(t.find(wide)->cookie, 7u);
  EXPECT_EQ(t.find(wide)->actions, to_port(1));
  const auto first = t.lookup(match("in_port 17 eth.type ipv4 ip.dst 10.0.2.99").key);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->match, wide);
  const auto second = t.lookup(match("in_port 18 tp.dst 1").key);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->match, other);
  EXPECT_FALSE(t.lookup(match("in_port 17 eth.type ipv4 ip.dst 10.0.3.99").key));
  EXPECT_FALSE(t.find(match("in_port 17")));
  EXPECT_TRUE(t.erase(wide));
  EXPECT_FALSE(t.erase(wide));
  EXPECT_FALSE(t.find(wide));
  EXPECT_EQ(t.mask_count(), 1u);
  EXPECT_EQ(texts(t.clear()), std::vector<std::string>{"in_port 18"});
  EXPECT_EQ(t.size(), 0u);
}

TEST(FlowTable, LookupKnowsWhichMasksAPortUses) {
  FlowTable t(100);
  const auto key = [](const char* text) { return match(text).key; };
  // Three masks at one port, one of them with two flows, one at another port, and one for all ports.
  const Match by_address = match("in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24"),
              by_port_a = match("in_port 17 tp.dst 1"), by_port_b = match("in_port 17 tp.dst 2"),
              by_protocol = match("in_port 17 ip.proto 17 tp.src 9"),
              elsewhere = match("in_port 18 tp.src 5"), anywhere = match("tp.src 7");
  for (const Match& m : {by_address, by_port_a, by_port_b, by_protocol, elsewhere, anywhere})
    add(t, m, {}, {}, 1, at(1));
  const auto finds = [&](const char* text, const Match& wanted) {
    const auto found = t.lookup(key(text));
    return found && found->match == wanted;
  };
  // Again and again, in turns: the order in which masks are tried changes, the answers do not.
  for (int round = 0; round < 5; ++round) {
    EXPECT_TRUE(finds("in_port 17 ip.proto 17 tp.src 9", by_protocol));
    EXPECT_TRUE(finds("in_port 17 tp.dst 2", by_port_b));
    EXPECT_TRUE(finds("in_port 17 eth.type ipv4 ip.dst 10.0.2.9", by_address));
    EXPECT_TRUE(finds("in_port 18 tp.src 5", elsewhere));
    EXPECT_TRUE(finds("in_port 19 tp.src 7", anywhere));
    EXPECT_FALSE(t.lookup(key("in_port 18 tp.dst 1")));
    EXPECT_FALSE(t.lookup(key("in_port 17 tp.src 5")));
  }
  // A mask stays as long as one flow of the port has it.
  EXPECT_TRUE(t.erase(by_port_a));
  EXPECT_FALSE(t.lookup(key("in_port 17 tp.dst 1")));
  EXPECT_TRUE(finds("in_port 17 tp.dst 2", by_port_b));
  EXPECT_TRUE(t.erase(by_port_b));
  EXPECT_FALSE(t.lookup(key("in_port 17 tp.dst 2")));
  EXPECT_TRUE(finds("in_port 17 ip.proto 17 tp.src 9", by_protocol));
  EXPECT_TRUE(t.erase(anywhere));
  EXPECT_FALSE(t.lookup(key("in_port 19 tp.src 7")));
  EXPECT_EQ(t.clear().size(), 3u);
  EXPECT_FALSE(t.lookup(key("in_port 18 tp.src 5")));
  add(t, elsewhere, {}, {}, 1, at(2));
  EXPECT_TRUE(finds("in_port 18 tp.src 5", elsewhere));
}

TEST(FlowTable, ReplacingKeepsStatisticsAndMovesDependencies) {
  FlowTable t(10);
  const Match m = match("in_port 17");
  add(t, m, to_port(1), {{kRoutes, false}}, 1, at(1));
  EXPECT_TRUE(t.update_stats(m, 5, 500, at(3)));
  EXPECT_TRUE(add(t, m, to_port(2), {{kFlood, false}}, 2, at(4)).replaced);
  const InstalledFlow f = *t.find(m);
  EXPECT_EQ(f.packets, 5u);
  EXPECT_EQ(f.bytes, 500u);
  EXPECT_EQ(f.created, at(1));
  EXPECT_EQ(f.last_used, at(4));
  EXPECT_EQ(f.cookie, 2u);
  EXPECT_EQ(f.actions, to_port(2));
  const TagChange routes{kRoutes, {}}, flood{kFlood, {}};
  EXPECT_TRUE(t.invalidate({&routes, 1}).empty());
  EXPECT_EQ(t.invalidate({&flood, 1}).size(), 1u);
  EXPECT_EQ(t.tag_count(), 0u);
  EXPECT_FALSE(t.update_stats(m, 1, 1, at(9)));
}

TEST(FlowTable, InvalidatesExactlyWhatMeetsTheRegion) {
  struct {
    const char* region;  // nullptr: everything
    std::vector<std::string> removed;
  } const cases[] = {
      {"eth.type ipv4 ip.dst 10.0.1.0/24",
       {"in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24", "in_port 19",
        "in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"}},
      {"eth.type ipv4 ip.dst 10.0.1.64/26",
       {"in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24", "in_port 19",
        "in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"}},
      {"eth.type ipv4 ip.dst 10.0.0.0/8",
       {"in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24",
        "in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24", "in_port 19",
        "in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"}},
      {"eth.type ipv6 ip.dst fd00::/16",
       {"in_port 19", "in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"}},
      {nullptr,
       {"in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24",
        "in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24", "in_port 19",
        "in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"}},
  };
  for (const auto& c : cases) {
    FlowTable t(100);
    add(t, match("in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24"), {},
        {{kRoutes, false}, {kRouterTag, false}}, 0, at(1));
    add(t, match("in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24"), {}, {{kRoutes, false}}, 0, at(1));
    add(t, match("in_port 18"), {}, {{kFlood, false}}, 0, at(1));   // does not carry the tag
    add(t, match("in_port 19"), {}, {{kRoutes, false}}, 0, at(1));  // meets every region
    // Read behind a rewrite: the flow's own match says nothing about the region.
    add(t, match("in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"), {}, {{kRoutes, true}}, 0, at(1));
    TagChange change{kRoutes, {}};
    if (c.region != nullptr) change.region = match(c.region);
    EXPECT_EQ(sorted(texts(t.invalidate({&change, 1}))), c.removed)
        << (c.region ? c.region : "everything");
    EXPECT_EQ(t.size(), 5 - c.removed.size());
    EXPECT_TRUE(t.find(match("in_port 18")));
    EXPECT_TRUE(t.invalidate({&change, 1}).empty());
  }
}

TEST(FlowTable, SeveralChangesRemoveAFlowOnce) {
  FlowTable t(10);
  // The same tag, read both before and behind a rewrite.
  add(t, match("in_port 17"), {},
      {{kRoutes, true}, {kRoutes, false}, {kRoutes, false}, {kFlood, false}}, 0, at(1));
  EXPECT_EQ(t.dependencies_of(match("in_port 17")).size(), 3u);
  const TagChange changes[] = {{kRoutes, {}}, {kFlood, {}}, {kRouterTag, {}}};
  EXPECT_EQ(t.invalidate(changes).size(), 1u);
  EXPECT_EQ(t.tag_count(), 0u);
}

TEST(FlowTable, ExpiresTheIdleOldestFirst) {
  FlowTable t(10);
  add(t, match("in_port 17"), {}, {}, 0, at(10));
  add(t, match("in_port 18"), {}, {}, 0, at(1));
  add(t, match("in_port 19"), {}, {}, 0, at(2));
  add(t, match("in_port 20"), {}, {}, 0, at(0));
  EXPECT_TRUE(t.update_stats(match("in_port 20"), 1, 1, at(12)));
  EXPECT_TRUE(t.update_stats(match("in_port 20"), 1, 1, at(3)));  // never back
  EXPECT_TRUE(t.expire(at(10), seconds(10)).empty());
  EXPECT_EQ(texts(t.expire(at(12), seconds(10))),
            (std::vector<std::string>{"in_port 18", "in_port 19"}));
  EXPECT_EQ(texts(t.expire(at(22), seconds(10))),
            (std::vector<std::string>{"in_port 17", "in_port 20"}));
  EXPECT_EQ(t.size(), 0u);
}

TEST(FlowTable, ExpiresNoMoreThanItIsToldTheOldestFirst) {
  FlowTable t(10);
  for (int port = 17; port < 23; ++port)
    add(t, match("in_port " + std::to_string(port)), {}, {}, 0, at(port - 17));
  // One of the protected, older than most.
  EXPECT_TRUE(t.update_stats(match("in_port 18"), 1, 1, at(2)));
  EXPECT_EQ(t.protected_count(), 1u);
  EXPECT_TRUE(t.expire(at(15), seconds(10), 0).empty());
  EXPECT_EQ(texts(t.expire(at(14), seconds(10), 3)),
            (std::vector<std::string>{"in_port 17", "in_port 18", "in_port 19"}));
  EXPECT_EQ(t.size(), 3u);
  EXPECT_EQ(texts(t.expire(at(14), seconds(10), 3)),
            (std::vector<std::string>{"in_port 20", "in_port 21"}));
  EXPECT_EQ(t.size(), 1u);
}

TEST(FlowTable, EvictsTheLeastRecentlyUsed) {
  FlowTable t(3);
  add(t, match("in_port 17"), {}, {{kRoutes, false}}, 0, at(1));
  add(t, match("in_port 18"), {}, {{kRoutes, false}}, 0, at(2));
  add(t, match("in_port 19"), {}, {}, 0, at(3));
  t.update_stats(match("in_port 17"), 1, 1, at(4));
  // Replacing needs no room.
  EXPECT_FALSE(add(t, match("in_port 19"), {}, {}, 0, at(5)).evicted);
  const auto r = add(t, match("in_port 20"), {}, {}, 0, at(6));
  ASSERT_TRUE(r.evicted);
  EXPECT_EQ(format(r.evicted->match), "in_port 18");
  EXPECT_EQ(t.size(), 3u);
  const TagChange change{kRoutes, {}};
  EXPECT_EQ(texts(t.invalidate({&change, 1})), std::vector<std::string>{"in_port 17"});
}

/// Random operations against the obvious model: a map of all flows.
TEST(FlowTable, AgreesWithTheObviousModel) {
  struct Model {
    std::vector<Dependency> dependencies;
    MonoTime used;
  };
  FlowTable t(40);
  std::map<std::string, Model> model;
  uint32_t random = 3;
  const auto pick = [&](uint32_t n) {
    random = random * 1664525 + 1013904223;
    return (random >> 8) % n;
  };
  const auto tag = [&] { return Tag{TagKind::port, kBridge, pick(8)}; };
  const auto some_match = [&] {
    const uint32_t length = 22 + pick(11), net = pick(16);
    const IpPrefix p{IpAddr::v4(0x0a000000 + net * 97), static_cast<uint8_t>(length)};
    return match("eth.type ipv4 ip.dst " + p.network().str());
  };
  for (int64_t step = 1; step < 20000; ++step) {
    const MonoTime now{step};
    std::vector<std::string> got, want;
    switch (pick(6)) {
      case 0:
      case 1: {
        const Match m = some_match();
        std::vector<Dependency> deps;
        for (uint32_t n = pick(5); n > 0; --n) deps.push_back({tag(), pick(4) == 0});
        const auto first = t.first_to_go();
        const auto r = add(t, m, {}, deps, 0, now);
        ASSERT_EQ(r.replaced, model.contains(format(m)));
        if (r.evicted) got = {format(r.evicted->match)};
        // Who that should be is UseOrder's business, see its test.
        if (!r.replaced && model.size() == 40) want = {format(first->match)};
        for (const auto& w : want) model.erase(w);
        model[format(m)] = {deps, now};
        break;
      }
      case 2: {
        const Match m = some_match();
        ASSERT_EQ(t.erase(m).has_value(), model.erase(format(m)) == 1);
        break;
      }
      case 3: {
        const Match m = some_match();
        const auto it = model.find(format(m));
        ASSERT_EQ(t.update_stats(m, 1, 1, now).has_value(), it != model.end());
        if (it != model.end()) it->second.used = now;
        break;
      }
      case 4: {
        std::vector<TagChange> changes;
        for (uint32_t n = pick(3); n > 0; --n) {
          TagChange c{tag(), {}};
          if (pick(2) == 0) c.region = some_match();
          changes.push_back(c);
        }
        got = sorted(texts(t.invalidate(changes)));
        for (const auto& [text, flow] : model)
          for (const TagChange& c : changes)
            for (const Dependency& d : flow.dependencies)
              if (d.tag == c.tag && (d.rewritten || !c.region || match(text).meets(*c.region)))
                want.push_back(text);
        want = sorted(want);
        want.erase(std::unique(want.begin(), want.end()), want.end());
        for (const auto& w : want) model.erase(w);
        break;
      }
      default: {
        const auto idle = Duration(200 + pick(200));
        got = sorted(texts(t.expire(now, idle)));
        for (const auto& [text, flow] : model)
          if (now - flow.used >= idle) want.push_back(text);
        for (const auto& w : want) model.erase(w);
        break;
      }
    }
    ASSERT_EQ(got, want) << step;
    ASSERT_EQ(t.size(), model.size());
  }
  size_t seen = 0;
  t.for_each([&](const InstalledFlow& f) { seen += size_t{model.contains(format(f.match))}; });
  EXPECT_EQ(seen, model.size());
  EXPECT_GT(seen, 0u);
  t.clear();
  EXPECT_EQ(t.tag_count(), 0u);
  EXPECT_EQ(t.mask_count(), 0u);
}

TEST(FlowTable, RenewingChangesTheAnswerAndNothingElse) {
  FlowTable t(10);
  const Match m = match("in_port 17"), other = match("in_port 18");
  EXPECT_FALSE(t.renew(m, {}, {}));
  add(t, m, to_port(1), {{kRoutes, false}, {kFlood, false}}, 7, at(1));
  add(t, other, to_port(1), {{kRoutes, false}, {kFlood, false}}, 8, at(1));
  EXPECT_EQ(t.actions_count(), 1u);
  EXPECT_EQ(t.dependency_set_count(), 1u);
  t.update_stats(m, 5, 500, at(3));
  const std::vector<Dependency> now = {{kFlood, false}, {kRouterTag, true}};
  EXPECT_TRUE(t.renew(m, {}, now, 9));
  const InstalledFlow f = *t.find(m);
  EXPECT_TRUE(f.actions.drops());
  EXPECT_EQ(f.reason, 9u);
  EXPECT_EQ(f.cookie, 7u);
  EXPECT_EQ(f.packets, 5u);
  EXPECT_EQ(f.created, at(1));
  EXPECT_EQ(f.last_used, at(3));
  auto sorted_now = now;
  std::sort(sorted_now.begin(), sorted_now.end());
  EXPECT_EQ(t.dependencies_of(m), sorted_now);
  const TagChange routes{kRoutes, {}};
  EXPECT_EQ(texts(t.invalidate({&routes, 1})), std::vector<std::string>{"in_port 18"});
  const TagChange router{kRouterTag, match("in_port 99")};
  const auto gone = t.invalidate({&router, 1});
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].reason, 9u);
  EXPECT_EQ(gone[0].packets, 5u);
  EXPECT_EQ(t.actions_count(), 0u);
  EXPECT_EQ(t.dependency_set_count(), 0u);
}

TEST(FlowTable, StatisticsSayHowManyPacketsAreNew) {
  FlowTable t(10);
  const Match m = match("in_port 17");
  t.insert(m, {}, {}, 0, at(1), 3);
  EXPECT_EQ(t.update_stats(m, 5, 1, at(2))->packets, 5u);
  EXPECT_EQ(t.update_stats(m, 7, 1, at(2))->packets, 2u);
  EXPECT_EQ(t.update_stats(m, 7, 1, at(2))->reason, 3u);
  EXPECT_EQ(t.update_stats(m, 1, 1, at(2))->packets, 0u) << "the datapath began anew";
}

TEST(FlowTable, KeepsTheInstallersTally) {
  FlowTable t(1);
  const Match m = match("in_port 17"), other = match("in_port 18");
  EXPECT_EQ(t.insert(m, {}, {}, 0, at(1), 0, 4).tally_before, 0u);
  EXPECT_EQ(t.insert(m, {}, {}, 0, at(1), 0, 5).tally_before, 4u);
  EXPECT_EQ(t.find(m)->tally, 5u);
  EXPECT_EQ(t.update_stats(m, 5, 500, at(2))->tally, 5u);
  EXPECT_EQ(t.update_stats(m, 7, 620, at(2))->bytes, 120u);
  EXPECT_TRUE(t.renew(m, {}, {}, 0, 6));
  const auto evicted = t.insert(other, {}, {}, 0, at(3), 0, 7).evicted;
  ASSERT_TRUE(evicted);
  EXPECT_EQ(evicted->tally, 6u);
  EXPECT_EQ(evicted->bytes, 620u);
}

TEST(FlowTable, AFloodPushesOutItsOwnKindNotFlowsWithTraffic) {
  FlowTable t(100);
  const auto flow = [](uint32_t i) {
    Match m = match("in_port 17");
    m.key.in_port = i;
    return m;
  };
  // 75 flows with traffic; 25 that nobody used again.
  for (uint32_t i = 0; i < 100; ++i) add(t, flow(i), {}, {}, 0, at(1));
  for (uint32_t i = 0; i < 75; ++i) t.update_stats(flow(i), 10, 1, at(2));
  EXPECT_EQ(t.protected_count(), 75u);
  // A thousand times the room, between two rounds of statistics.
  for (uint32_t i = 1000; i < 101'000; ++i) {
    const auto r = add(t, flow(i), {}, {}, 0, at(3));
    ASSERT_TRUE(r.evicted);
    ASSERT_GE(r.evicted->match.key.in_port, 75u) << "a flow with traffic was evicted";
  }
  EXPECT_EQ(t.size(), 100u);
  // Even one whose packets are hit: it takes the place of the one that was hit longest ago.
  t.update_stats(flow(100'999), 1, 1, at(4));
  EXPECT_EQ(t.protected_count(), 75u);
}

/// Random flows and changes against a plain list: the same flows are touched, in the order that is promised.
TEST(FlowTable, TouchesExactlyWhatAPlainListSays) {
  struct Listed {
    Match match;
    std::vector<Dependency> dependencies;
    MonoTime used;
  };
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    // Few values and masks of every kind, so that regions meet often, and often do not.
    const auto some_region = [&] {
      FlowKey key, mask;
      for (size_t i = 0; i < 4 + size_t{pick(3)}; ++i) {
        const size_t byte = pick(72);
        mask.bytes()[byte] = static_cast<uint8_t>(pick(2) != 0 ? 0xff : 0x80u >> pick(8));
        key.bytes()[byte] = static_cast<uint8_t>(pick(2) != 0 ? 0xff : 0);
      }
      return match_of(key, mask);
    };
    // Tag 0 is in most sets: the whole table is asked. Others are rare: their lists are.
    const auto some_tag = [&] { return Tag{TagKind::port, kBridge, pick(3) == 0 ? 0 : pick(80)}; };
    std::vector<std::vector<Dependency>> sets(200);
    for (auto& set : sets)
      for (uint32_t n = pick(6); n > 0; --n) set.push_back({some_tag(), pick(4) == 0});
    FlowTable t(5000, seed);
    std::map<std::string, Listed> list;
    const auto name = [](const Match& m) {
      return std::string(reinterpret_cast<const char*>(&m), sizeof m);
    };
    size_t hits = 0;
    for (int round = 0; round < 120; ++round) {
      for (int i = 0; i < 30; ++i) {
        const Listed flow{some_region(), sets[pick(200)], at(1 + pick(50))};
        if (list.contains(name(flow.match))) continue;
        add(t, flow.match, {}, flow.dependencies, 0, flow.used);
        list[name(flow.match)] = flow;
      }
      std::vector<TagChange> changes;
      for (uint32_t n = 1 + pick(3); n > 0; --n) {
        TagChange change{some_tag(), {}};
        if (pick(8) != 0) change.region = some_region();
        changes.push_back(change);
      }
      std::vector<const Listed*> want;
      for (const auto& [text, flow] : list) {
        const bool touched = std::any_of(changes.begin(), changes.end(), [&](const TagChange& c) {
          return std::any_of(
              flow.dependencies.begin(), flow.dependencies.end(), [&](const Dependency& d) {
                return d.tag == c.tag && (d.rewritten || !c.region || flow.match.meets(*c.region));
              });
        });
        if (touched) want.push_back(&flow);
      }
      const size_t first = pick(20);
      const std::vector<Match> got = t.touched_by(changes, first);
      ASSERT_EQ(got.size(), want.size()) << round;
      std::set<std::string> got_names, want_names;
      for (const Match& m : got) got_names.insert(name(m));
      for (const Listed* l : want) want_names.insert(name(l->match));
      ASSERT_EQ(got_names, want_names) << round;
      hits += got.size();
      std::vector<MonoTime> got_used, want_used;
      for (const Match& m : got) got_used.push_back(list[name(m)].used);
      for (const Listed* l : want) want_used.push_back(l->used);
      std::sort(want_used.begin(), want_used.end(), std::greater<>());
      got_used.resize(std::min(first, got.size()));
      want_used.resize(std::min(first, got.size()));
      ASSERT_EQ(got_used, want_used) << round << ": the last used come first";
      if (pick(3) != 0) continue;
      ASSERT_EQ(t.invalidate(changes).size(), want.size());
      for (const std::string& gone : got_names) list.erase(gone);
    }
    EXPECT_EQ(t.size(), list.size());
    EXPECT_GT(hits, 100u);
    t.clear();
    EXPECT_EQ(t.tag_count() + t.mask_count() + t.dependency_set_count() + t.actions_count(), 0u);
  }
}

}  // namespace
}  // namespace plexus
