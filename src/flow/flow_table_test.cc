// SPDX-License-Identifier: Apache-2.0
#include "flow/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

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

std::vector<std::string> texts(const std::vector<Match>& matches) {
  std::vector<std::string> out;
  out.reserve(matches.size());
  for (const Match& m : matches) out.push_back(format(m));
  return out;
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
  EXPECT_FALSE(t.insert(wide, to_port(1), {}, 7, at(1)).replaced);
  t.insert(other, {}, {}, 8, at(1));
  EXPECT_EQ(t.size(), 2u);
  EXPECT_EQ(t.mask_count(), 2u);
  ASSERT_TRUE(t.find(wide));
  EXPECT_EQ(t.find(wide)->cookie, 7u);
  EXPECT_EQ(t.find(wide)->actions, to_port(1));
  EXPECT_EQ(t.lookup(match("in_port 17 eth.type ipv4 ip.dst 10.0.2.99").key), t.find(wide));
  EXPECT_EQ(t.lookup(match("in_port 18 tp.dst 1").key), t.find(other));
  EXPECT_FALSE(t.lookup(match("in_port 17 eth.type ipv4 ip.dst 10.0.3.99").key));
  EXPECT_FALSE(t.find(match("in_port 17")));
  EXPECT_TRUE(t.erase(wide));
  EXPECT_FALSE(t.erase(wide));
  EXPECT_FALSE(t.find(wide));
  EXPECT_EQ(t.mask_count(), 1u);
  EXPECT_EQ(texts(t.clear()), std::vector<std::string>{"in_port 18"});
  EXPECT_EQ(t.size(), 0u);
}

TEST(FlowTable, ReplacingKeepsStatisticsAndMovesDependencies) {
  FlowTable t(10);
  const Match m = match("in_port 17");
  t.insert(m, to_port(1), {{kRoutes, false}}, 1, at(1));
  EXPECT_TRUE(t.update_stats(m, 5, 500, at(3)));
  EXPECT_TRUE(t.insert(m, to_port(2), {{kFlood, false}}, 2, at(4)).replaced);
  const InstalledFlow& f = *t.find(m);
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
    t.insert(match("in_port 17 eth.type ipv4 ip.dst 10.0.1.0/24"), {},
             {{kRoutes, false}, {kRouterTag, false}}, 0, at(1));
    t.insert(match("in_port 17 eth.type ipv4 ip.dst 10.0.2.0/24"), {}, {{kRoutes, false}}, 0,
             at(1));
    t.insert(match("in_port 18"), {}, {{kFlood, false}}, 0, at(1));   // does not carry the tag
    t.insert(match("in_port 19"), {}, {{kRoutes, false}}, 0, at(1));  // meets every region
    // Read behind a rewrite: the flow's own match says nothing about the region.
    t.insert(match("in_port 20 eth.type ipv4 ip.dst 10.9.0.0/16"), {}, {{kRoutes, true}}, 0, at(1));
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
  t.insert(match("in_port 17"), {},
           {{kRoutes, true}, {kRoutes, false}, {kRoutes, false}, {kFlood, false}}, 0, at(1));
  EXPECT_EQ(t.find(match("in_port 17"))->dependencies.size(), 3u);
  const TagChange changes[] = {{kRoutes, {}}, {kFlood, {}}, {kRouterTag, {}}};
  EXPECT_EQ(t.invalidate(changes).size(), 1u);
  EXPECT_EQ(t.tag_count(), 0u);
}

TEST(FlowTable, ExpiresTheIdleOldestFirst) {
  FlowTable t(10);
  t.insert(match("in_port 17"), {}, {}, 0, at(10));
  t.insert(match("in_port 18"), {}, {}, 0, at(1));
  t.insert(match("in_port 19"), {}, {}, 0, at(2));
  t.insert(match("in_port 20"), {}, {}, 0, at(0));
  EXPECT_TRUE(t.update_stats(match("in_port 20"), 1, 1, at(12)));
  EXPECT_TRUE(t.update_stats(match("in_port 20"), 1, 1, at(3)));  // never back
  EXPECT_TRUE(t.expire(at(10), seconds(10)).empty());
  EXPECT_EQ(texts(t.expire(at(12), seconds(10))),
            (std::vector<std::string>{"in_port 18", "in_port 19"}));
  EXPECT_EQ(texts(t.expire(at(22), seconds(10))),
            (std::vector<std::string>{"in_port 17", "in_port 20"}));
  EXPECT_EQ(t.size(), 0u);
}

TEST(FlowTable, EvictsTheLeastRecentlyUsed) {
  FlowTable t(3);
  t.insert(match("in_port 17"), {}, {{kRoutes, false}}, 0, at(1));
  t.insert(match("in_port 18"), {}, {{kRoutes, false}}, 0, at(2));
  t.insert(match("in_port 19"), {}, {}, 0, at(3));
  t.update_stats(match("in_port 17"), 1, 1, at(4));
  // Replacing needs no room.
  EXPECT_FALSE(t.insert(match("in_port 19"), {}, {}, 0, at(5)).evicted);
  const auto r = t.insert(match("in_port 20"), {}, {}, 0, at(6));
  ASSERT_TRUE(r.evicted);
  EXPECT_EQ(format(*r.evicted), "in_port 18");
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
        const auto r = t.insert(m, {}, deps, 0, now);
        ASSERT_EQ(r.replaced, model.contains(format(m)));
        if (r.evicted) got = {format(*r.evicted)};
        if (!r.replaced && model.size() == 40) {
          const auto oldest = std::min_element(
              model.begin(), model.end(),
              [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
          want = {oldest->first};
        }
        for (const auto& w : want) model.erase(w);
        model[format(m)] = {deps, now};
        break;
      }
      case 2: {
        const Match m = some_match();
        ASSERT_EQ(t.erase(m), model.erase(format(m)) == 1);
        break;
      }
      case 3: {
        const Match m = some_match();
        const auto it = model.find(format(m));
        ASSERT_EQ(t.update_stats(m, 1, 1, now), it != model.end());
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

}  // namespace
}  // namespace plexus
