// SPDX-License-Identifier: Apache-2.0
#include "model/route_table.h"

#include <gtest/gtest.h>

#include <random>

namespace plexus::model {
namespace {

RouteEntry way(std::string_view name, uint32_t metric = 0) {
  RouteEntry e;
  e.id = RouteId{Uuid::derived("route", name)};
  e.metric = metric;
  return e;
}

IpPrefix prefix(std::string_view text) {
  return *IpPrefix::parse(text);
}
IpAddr addr(std::string_view text) {
  return *IpAddr::parse(text);
}

TEST(RouteTable, LongestPrefixAndBitsRead) {
  RouteTable t;
  const struct {
    const char* prefix;
  } routes[] = {{"0.0.0.0/0"},   {"10.0.0.0/8"}, {"10.1.0.0/16"},
                {"10.1.2.3/32"}, {"fd00::/64"},  {"fd00::1/128"}};
  for (const auto& r : routes) t.add(prefix(r.prefix), way(r.prefix));
  const struct {
    const char* destination;
    const char* found;  ///< nullptr: none
    unsigned bits;
  } cases[] = {
      // 192 differs from 10 in the first bit, and from nothing else.
      {"192.168.0.1", "0.0.0.0/0", 1},
      // 10.128.0.0 leaves the path to 10.1/16 at bit 8.
      {"10.128.0.1", "10.0.0.0/8", 9},
      {"10.1.255.255", "10.1.0.0/16", 17},
      {"10.1.2.2", "10.1.0.0/16", 32},
      {"10.1.2.3", "10.1.2.3/32", 32},
      {"fd00::1", "fd00::1/128", 128},
      {"fd00::8000:0:0:0", "fd00::/64", 65},
      {"fe00::1", nullptr, 7},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.destination);
    const RouteLookup found = t.lookup(addr(c.destination));
    ASSERT_EQ(found.entry != nullptr, c.found != nullptr);
    if (c.found != nullptr) {
      EXPECT_EQ(found.entry->id, way(c.found).id);
      EXPECT_EQ(found.prefix, prefix(c.found));
    }
    EXPECT_EQ(found.bits_read, c.bits);
  }
}

TEST(RouteTable, AnEmptyTableAndALoneDefaultRouteReadNothing) {
  RouteTable t;
  EXPECT_EQ(t.lookup(addr("10.0.0.1")).bits_read, 0u);
  t.add(prefix("0.0.0.0/0"), way("default"));
  EXPECT_EQ(t.lookup(addr("10.0.0.1")).bits_read, 0u);
  EXPECT_NE(t.lookup(addr("10.0.0.1")).entry, nullptr);
  EXPECT_EQ(t.lookup(addr("fd00::1")).entry, nullptr);
  EXPECT_EQ(t.lookup(IpAddr{}).entry, nullptr);
}

TEST(RouteTable, AmongEqualPrefixesUnreadableThenMetricThenConnectedThenId) {
  const IpPrefix p = prefix("10.0.0.0/24");
  RouteEntry connected;
  connected.port = PortId{Uuid::derived("port", "x")};
  RouteEntry unreadable = way("unreadable", 1000);
  unreadable.unreadable = true;
  const RouteEntry a = way("a"), b = way("b"), cheap = std::min(a, b, preferred);
  const RouteEntry dear = way("dear", 5);

  RouteTable t;
  for (const RouteEntry& e : {dear, a, b}) t.add(p, e);
  EXPECT_EQ(*t.lookup(addr("10.0.0.1")).entry, cheap);
  t.add(p, connected);
  EXPECT_EQ(*t.lookup(addr("10.0.0.1")).entry, connected);
  t.add(p, unreadable);
  EXPECT_EQ(*t.lookup(addr("10.0.0.1")).entry, unreadable);
  for (const RouteEntry& e : {unreadable, connected, a, b}) EXPECT_TRUE(t.remove(p, e));
  EXPECT_EQ(*t.lookup(addr("10.0.0.1")).entry, dear);
  EXPECT_FALSE(t.remove(p, a));
  EXPECT_TRUE(t.remove(p, dear));
  EXPECT_EQ(t.lookup(addr("10.0.0.1")).bits_read, 0u);
}

TEST(RouteTable, LongestDestinationThenLongestSourceThenMetric) {
  RouteTable t;
  const auto add = [&](const char* name, const char* to, const char* from, uint32_t metric = 0) {
    RouteEntry e = way(name, metric);
    if (*from != 0) e.source = prefix(from);
    t.add(prefix(to), e);
  };
  add("any", "0.0.0.0/0", "");
  add("ten", "0.0.0.0/0", "10.0.0.0/8", 5);
  add("ten one", "0.0.0.0/0", "10.1.0.0/16", 9);
  add("near", "192.0.2.0/24", "10.1.2.0/24");
  const auto found = [&](const char* to, const char* from) {
    return t.lookup(addr(to), addr(from));
  };
  EXPECT_EQ(found("8.8.8.8", "172.16.0.1").entry->id, way("any").id);
  EXPECT_EQ(found("8.8.8.8", "10.200.0.1").entry->id, way("ten").id);
  EXPECT_EQ(found("8.8.8.8", "10.1.0.1").entry->id, way("ten one").id);
  EXPECT_EQ(found("192.0.2.1", "10.1.2.1").entry->id, way("near").id);
  // No way there from this source: the next shorter destination that has one.
  EXPECT_EQ(found("192.0.2.1", "10.1.3.1").entry->id, way("ten one").id);
  EXPECT_EQ(found("192.0.2.1", "10.1.3.1").prefix, prefix("0.0.0.0/0"));
  EXPECT_EQ(found("192.0.2.1", "10.1.3.1").source_bits_read, 24u);
  EXPECT_EQ(found("8.8.8.8", "172.16.0.1").source_bits_read, 1u);
}

TEST(RouteTable, WaysAsGoodAreAGroupUnlessOneDrops) {
  const IpPrefix p = prefix("0.0.0.0/0");
  RouteTable t;
  t.add(p, way("a"));
  EXPECT_EQ(t.lookup(addr("10.0.0.1")).choice, nullptr);
  t.add(p, way("b"));
  t.add(p, way("c", 7));
  RouteLookup found = t.lookup(addr("10.0.0.1"));
  ASSERT_EQ(found.group.size(), 2u);
  ASSERT_NE(found.choice, nullptr);
  std::array<unsigned, 2> served{};
  for (uint64_t hash = 0; hash < kMaglevSize; ++hash) ++served[found.choice->member(hash)];
  EXPECT_NEAR(served[0], served[1], 1);
  RouteEntry blackhole = way("d");
  blackhole.kind = RouteKind::blackhole;
  t.add(p, blackhole);
  found = t.lookup(addr("10.0.0.1"));
  EXPECT_EQ(found.entry->id, blackhole.id) << "what drops stands above what forwards";
  EXPECT_EQ(found.group.size(), 1u);
  EXPECT_TRUE(t.remove(p, blackhole));
  EXPECT_TRUE(t.remove(p, way("a")));
  EXPECT_EQ(t.lookup(addr("10.0.0.1")).choice, nullptr);
}

/// A random prefix out of few, so that they nest.
IpPrefix random_prefix(std::mt19937& random) {
  if (random() % 2 == 0) {
    const auto length = static_cast<uint8_t>(random() % 33);
    return IpPrefix{IpAddr::v4(static_cast<uint32_t>(0x0a000000u | (random() & 0x0f0f))), length}
        .network();
  }
  std::array<uint8_t, 16> bytes{0xfd};
  bytes[7] = static_cast<uint8_t>(random() % 4);
  bytes[15] = static_cast<uint8_t>(random() % 4);
  return IpPrefix{IpAddr::v6(bytes), static_cast<uint8_t>(random() % 129)}.network();
}

IpAddr random_address(std::mt19937& random) {
  IpPrefix p = random_prefix(random);
  for (int i = 0; i < 3; ++i) {
    const unsigned bit = static_cast<unsigned>(random() % p.addr.bits());
    p.addr.bytes[bit / 8] = static_cast<uint8_t>(p.addr.bytes[bit / 8] ^ (0x80u >> bit % 8));
  }
  return p.addr;
}

TEST(RouteTable, AgreesWithAListAndReadsEnough) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    RouteTable table;
    std::vector<std::pair<IpPrefix, RouteEntry>> list;
    for (int step = 0; step < 200; ++step) {
      if (list.empty() || random() % 3 != 0) {
        const IpPrefix p = random_prefix(random);
        RouteEntry e = way(std::to_string(step), static_cast<uint32_t>(random() % 3));
        if (random() % 3 == 0) {
          do e.source = random_prefix(random);
          while (e.source.length > 0 && e.source.addr.family != p.addr.family);
          if (e.source.length == 0) e.source = {};
        }
        e.unreadable = random() % 16 == 0;
        table.add(p, e);
        list.emplace_back(p, e);
      } else {
        const auto at = list.begin() + static_cast<std::ptrdiff_t>(random() % list.size());
        EXPECT_TRUE(table.remove(at->first, at->second));
        list.erase(at);
      }
      const auto slow = [&](const IpAddr& a, const IpAddr& from) -> std::optional<RouteEntry> {
        const std::pair<IpPrefix, RouteEntry>* best = nullptr;
        for (const auto& item : list)
          if (item.first.contains(a) &&
              (item.second.source.length == 0 || item.second.unreadable ||
               item.second.source.contains(from)) &&
              (best == nullptr || item.first.length > best->first.length ||
               (item.first.length == best->first.length && preferred(item.second, best->second))))
            best = &item;
        return best != nullptr ? std::optional(best->second) : std::nullopt;
      };
      for (int i = 0; i < 20; ++i) {
        const IpAddr a = random_address(random);
        IpAddr from = random_address(random);
        while (from.family != a.family) from = random_address(random);
        const RouteLookup found = table.lookup(a, from);
        ASSERT_EQ(found.entry != nullptr ? std::optional(*found.entry) : std::nullopt,
                  slow(a, from));
        if (found.entry != nullptr) {
          ASSERT_EQ(found.group.data(), found.entry);
          ASSERT_EQ(found.choice != nullptr, found.group.size() > 1);
          for (const RouteEntry& e : found.group) {
            ASSERT_EQ(e.source, found.entry->source);
            ASSERT_EQ(e.metric, found.entry->metric);
          }
        }
        // Whatever differs behind the bits that were read gets the same answer.
        const auto vary = [&](IpAddr other, unsigned bits_read) {
          for (unsigned bit = bits_read; bit < other.bits(); ++bit)
            if (random() % 2 == 0)
              other.bytes[bit / 8] =
                  static_cast<uint8_t>(other.bytes[bit / 8] ^ (0x80u >> bit % 8));
          return other;
        };
        const IpAddr other = vary(a, found.bits_read),
                     other_from = vary(from, found.source_bits_read);
        ASSERT_EQ(slow(other, other_from), slow(a, from))
            << a.str() << " from " << from.str() << " and " << other.str() << " from "
            << other_from.str();
        const RouteLookup again = table.lookup(other, other_from);
        ASSERT_EQ(again.bits_read, found.bits_read);
        ASSERT_EQ(again.source_bits_read, found.source_bits_read);
      }
    }
    size_t count = 0;
    table.for_each(
        [&](const IpPrefix&, const std::vector<RouteEntry>& ways) { count += ways.size(); });
    EXPECT_EQ(count, list.size());
  }
}

TEST(RouteTable, SparesAreTheWaysOfTheSamePrefixesThatComeAfter) {
  RouteTable t;
  const auto way = [](int n, uint32_t metric, RouteKind kind = RouteKind::forward,
                      const char* from = nullptr) {
    RouteEntry e;
    e.id = {Uuid::derived("route", std::to_string(n))};
    e.kind = kind;
    e.metric = metric;
    if (from != nullptr) e.source = *IpPrefix::parse(from);
    return e;
  };
  const IpPrefix all = *IpPrefix::parse("0.0.0.0/0");
  t.add(all, way(1, 5));
  EXPECT_TRUE(t.lookup(addr("10.0.0.1")).spares.empty());
  t.add(all, way(2, 7));
  t.add(all, way(3, 7));
  t.add(all, way(4, 9, RouteKind::blackhole));
  t.add(all, way(5, 1, RouteKind::forward, "10.1.0.0/16"));
  t.add(all, way(6, 2, RouteKind::forward, "10.1.0.0/16"));
  const RouteLookup found = t.lookup(addr("10.0.0.1"), addr("10.2.0.1"));
  EXPECT_EQ(*found.entry, way(1, 5));
  EXPECT_EQ(found.group.size(), 1u);
  EXPECT_EQ(found.choice, nullptr);
  ASSERT_EQ(found.spares.size(), 2u);
  EXPECT_EQ(found.group_of(found.spares[0]).size(), 2u);
  EXPECT_EQ(found.group_of(found.spares[0]).front().metric, 7u);
  EXPECT_NE(found.spares[0].choice, nullptr);
  EXPECT_EQ(found.group_of(found.spares[1]).front(), way(4, 9, RouteKind::blackhole));
  EXPECT_EQ(found.spares[1].choice, nullptr);
  // Ways for a narrower source have spares of their own, never those for all.
  const RouteLookup narrow = t.lookup(addr("10.0.0.1"), addr("10.1.0.1"));
  EXPECT_EQ(*narrow.entry, way(5, 1, RouteKind::forward, "10.1.0.0/16"));
  ASSERT_EQ(narrow.spares.size(), 1u);
  EXPECT_EQ(narrow.group_of(narrow.spares[0]).front().metric, 2u);
}

}  // namespace
}  // namespace plexus::model
