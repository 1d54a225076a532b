// SPDX-License-Identifier: Apache-2.0
#include "state/instantiate.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "state/connection_table.h"
#include "state/test_connections.h"

namespace plexus::state {
namespace {

const Stamp kStamp{1, host_named("h1")};
const IsFree kAllFree = [](const Zone&, const Tuple&) { return true; };

Commit plain() {
  return {.zone = zone_named("blue"),
          .port = port_named("a"),
          .tenant = Uuid::derived("tenant", "acme"),
          .delivery = {port_named("uplink"), zone_named("outside")},
          .stages = {}};
}

std::shared_ptr<const MemberSet> members(unsigned count, bool v6 = false) {
  std::vector<Member> all;
  std::vector<model::MaglevMember> keys;
  for (unsigned i = 0; i < count; ++i) {
    IpAddr a = ip(v6 ? "fd00:7::" : "10.7.0.0");
    a.bytes[a.size() - 1] = static_cast<uint8_t>(i + 1);
    const std::string name = "m" + std::to_string(i);
    all.push_back({Uuid::derived("member", name), a, 8080, 1 + i % 3});
    keys.push_back({all.back().id, all.back().weight});
  }
  return std::make_shared<const MemberSet>(MemberSet{all, model::MaglevTable(keys)});
}
SelectMember select_of(std::shared_ptr<const MemberSet> set) {
  std::vector<Delivery> deliveries;
  for (size_t i = 0; set != nullptr && i < set->members.size(); ++i)
    deliveries.push_back({port_named("m" + std::to_string(i)), zone_named("pool")});
  return {Uuid::derived("router", "lb"), Uuid::derived("vip", "v"), false, std::move(set),
          std::make_shared<const std::vector<Delivery>>(std::move(deliveries))};
}
LeaseBlock block_of(std::string_view address, uint16_t first, uint16_t length) {
  return {Uuid::derived("block", std::string(address) + std::to_string(first)), ip(address), first,
          length};
}
LeasePort lease_of(std::initializer_list<LeaseBlock> blocks) {
  return {Uuid::derived("router", "nat"), blocks};
}

Instance make(const Commit& commit, const Tuple& t, const IsFree& is_free = kAllFree) {
  const Frame frame = frame_of(t);
  return instantiate(commit, sighting_of(frame), kStamp, at(100), is_free);
}

/// What the packet of the tuple is after the rewrite, as bytes and checksums have it.
Tuple sent_through(const Rewrite& r, const Tuple& t) {
  const Frame frame = frame_of(t);
  const Frame out = rewritten(r, parse_packet(frame), frame);
  return sighting_of(out).tuple;
}

TEST(Instantiate, WithoutStagesTheTupleStays) {
  const Instance made = make(plain(), tcp("10.0.0.1", 5, "10.0.0.2", 80));
  ASSERT_EQ(made.reason, NoInstance::none);
  EXPECT_TRUE(rewrite_of(made.connection, Direction::original).empty());
  EXPECT_TRUE(rewrite_of(made.connection, Direction::reply).empty());
  EXPECT_TRUE(made.connection.translations.empty());
  EXPECT_EQ(made.connection.seen, (SeenBits{seen::kPacket | seen::kSyn, 0}));
  EXPECT_EQ(made.connection.reply_zone, zone_named("outside"));
}

TEST(Instantiate, WhatCanBeginNoConnectionHasNoInstance) {
  EXPECT_EQ(make(plain(), echo("10.0.0.1", "10.0.0.2", 7).reversed()).reason,
            NoInstance::untracked);
  const Frame arp = arp_request({{2}}, ip("10.0.0.1"), ip("10.0.0.2"));
  EXPECT_EQ(instantiate(plain(), sighting_of(arp), kStamp, at(1), kAllFree).reason,
            NoInstance::untracked);
}

TEST(Instantiate, TwoLoadBalancersAndTwoNatsInARow) {
  // Each stage's choice is the next one's input; one record in the end.
  Commit commit = plain();
  const auto first = members(3), second = members(5);
  commit.stages.push_back(select_of(first));
  commit.stages.push_back(select_of(second));
  commit.stages.push_back(lease_of({block_of("192.0.2.1", 1024, 1024)}));
  commit.stages.push_back(FixedTranslation{.device = Uuid::derived("router", "edge"),
                                           .rule = Uuid::derived("rule", "r"),
                                           .kind = TranslationKind::one_to_one,
                                           .src = IpPrefix::parse("203.0.113.0/24")});
  const Tuple t = tcp("10.0.0.1", 5, "10.9.9.9", 80);
  const Instance made = make(commit, t);
  ASSERT_EQ(made.reason, NoInstance::none);
  const Connection& c = made.connection;
  EXPECT_TRUE(is_sound(c));
  const TuplesAlong along = tuples_along(c, Direction::original),
                    back = tuples_along(c, Direction::reply);
  ASSERT_EQ(along.size(), c.translations.size() + 1);
  for (size_t i = 0; i < along.size(); ++i)
    EXPECT_EQ(back[i], along[along.size() - 1 - i].reversed());
  EXPECT_EQ(c.final_tuple().src, ip("203.0.113.1"));
  EXPECT_EQ(c.translations.back().kind, TranslationKind::one_to_one);
  // The second choice depends on what the first one chose.
  const auto chosen =
      std::find_if(first->members.begin(), first->members.end(),
                   [&](const Member& m) { return m.id == c.translations[0].choice; });
  ASSERT_NE(chosen, first->members.end());
  EXPECT_EQ(along[1].dst, chosen->address);
  const uint64_t hash = model::flow_hash(
      Uuid::derived("vip", "v"), {t.src, along[1].dst, t.protocol, t.src_port, along[1].dst_port});
  EXPECT_EQ(along[2].dst, second->members[second->table.member(hash)].address);
  EXPECT_EQ(c.reply_zone, zone_named("pool")) << "delivered where the member is";
}

TEST(Instantiate, AMemberIsChosenAlikeWhateverALeaseBeforeItChose) {
  // All gateways choose alike, though their blocks differ.
  const auto set = members(20);
  for (unsigned n = 0; n < 200; ++n) {
    const Tuple t = tcp("10.0.0.1", static_cast<uint16_t>(1000 + n), "10.9.9.9", 80);
    Commit alone = plain(), behind = plain(), elsewhere = plain();
    alone.stages.push_back(select_of(set));
    behind.stages.push_back(lease_of({block_of("192.0.2.1", 1024, 64)}));
    behind.stages.push_back(select_of(set));
    elsewhere.stages.push_back(lease_of({block_of("192.0.2.1", 2048, 64)}));
    elsewhere.stages.push_back(select_of(set));
    const IpAddr member = make(alone, t).connection.final_tuple().dst;
    EXPECT_EQ(make(behind, t).connection.final_tuple().dst, member);
    EXPECT_EQ(make(elsewhere, t).connection.final_tuple().dst, member);
  }
}

/// The client's port has a connection there by another virtual address of the pool.
TEST(Instantiate, AMemberWhoseAnswersAreTakenIsPassedOver) {
  Commit commit = plain();
  SelectMember select = select_of(members(3));
  for (unsigned n = 0; n < 50; ++n) {
    const Tuple t = tcp("10.0.0.1", static_cast<uint16_t>(1000 + n), "10.9.9.9", 80);
    select.by_source_address = false;
    commit.stages = {select};
    const IpAddr first = make(commit, t).connection.final_tuple().dst;
    const IsFree not_first = [&](const Zone& zone, const Tuple& answer) {
      EXPECT_EQ(zone, zone_named("pool"));
      return answer.src != first;
    };
    const Instance other = make(commit, t, not_first);
    EXPECT_NE(other.connection.final_tuple().dst, first);
    ASSERT_EQ(other.connection.translations.size(), 1u);
    EXPECT_NE(other.connection.reply_port, make(commit, t).connection.reply_port);
    // Where none is free the record's refusal says why.
    const IsFree none = [](const Zone&, const Tuple&) { return false; };
    EXPECT_EQ(make(commit, t, none).connection.final_tuple().dst, first);
    EXPECT_EQ(make(commit, t, none).reason, NoInstance::none);
    select.by_source_address = true;
    commit.stages = {select};
    const IpAddr always = make(commit, t).connection.final_tuple().dst;
    const IsFree not_always = [&](const Zone&, const Tuple& answer) {
      return answer.src != always;
    };
    EXPECT_EQ(make(commit, t, not_always).connection.final_tuple().dst, always) << "persistence";
  }
}

TEST(Instantiate, PersistenceLeavesOutPortsAndProtocol) {
  Commit commit = plain();
  SelectMember select = select_of(members(20));
  std::set<IpAddr> plainly, persistently;
  for (unsigned n = 0; n < 50; ++n) {
    const Tuple t = n % 2 == 0 ? tcp("10.0.0.1", static_cast<uint16_t>(1000 + n), "10.9.9.9", 80)
                               : udp("10.0.0.1", static_cast<uint16_t>(1000 + n), "10.9.9.9", 443);
    select.by_source_address = false;
    commit.stages = {select};
    plainly.insert(make(commit, t).connection.final_tuple().dst);
    select.by_source_address = true;
    commit.stages = {select};
    persistently.insert(make(commit, t).connection.final_tuple().dst);
  }
  EXPECT_GT(plainly.size(), 5u);
  EXPECT_EQ(persistently.size(), 1u);
}

TEST(Instantiate, NobodyToChoose) {
  Commit commit = plain();
  commit.stages.push_back(select_of(nullptr));
  EXPECT_EQ(make(commit, tcp("10.0.0.1", 5, "10.0.0.2", 80)).reason, NoInstance::no_member);
  commit.stages = {select_of(members(2, true))};
  EXPECT_EQ(make(commit, tcp("10.0.0.1", 5, "10.0.0.2", 80)).reason, NoInstance::wrong_family);
  commit.stages = {lease_of({block_of("2001:db8::1", 1024, 64)})};
  EXPECT_EQ(make(commit, tcp("10.0.0.1", 5, "10.0.0.2", 80)).reason, NoInstance::wrong_family);
  commit.stages = {lease_of({})};
  EXPECT_EQ(make(commit, tcp("10.0.0.1", 5, "10.0.0.2", 80)).reason, NoInstance::ports_exhausted);
}

TEST(Instantiate, FixedTranslationsKeepHostBitsAndPlacesInRanges) {
  Commit commit = plain();
  commit.stages.push_back(FixedTranslation{.device = {},
                                           .rule = {},
                                           .kind = TranslationKind::destination,
                                           .dst = IpPrefix::parse("10.64.0.0/12"),
                                           .dst_port = PortShift{8000, 80}});
  EXPECT_EQ(make(commit, tcp("10.0.0.1", 5, "192.168.3.4", 8003)).connection.final_tuple(),
            tcp("10.0.0.1", 5, "10.72.3.4", 83));
  // No port where there is none.
  EXPECT_EQ(make(commit, echo("10.0.0.1", "192.168.3.4", 7)).connection.final_tuple(),
            echo("10.0.0.1", "10.72.3.4", 7));
  commit.stages = {FixedTranslation{.device = {},
                                    .rule = {},
                                    .kind = TranslationKind::one_to_one,
                                    .src = IpPrefix::parse("2001:db8:1::/61")}};
  EXPECT_EQ(make(commit, udp("fd00:0:0:f::1", 5, "fd00::2", 6)).connection.final_tuple(),
            udp("2001:db8:1:7::1", 5, "fd00::2", 6));
}

TEST(Lease, BlocksArePowersOfTwoAligned) {
  EXPECT_TRUE(is_sound(block_of("192.0.2.1", 1024, 64)));
  EXPECT_TRUE(is_sound(block_of("192.0.2.1", 32768, 32768)));
  EXPECT_TRUE(is_sound(block_of("192.0.2.1", 7, 1)));
  EXPECT_FALSE(is_sound(block_of("192.0.2.1", 1024, 63)));
  EXPECT_FALSE(is_sound(block_of("192.0.2.1", 1056, 64)));
  EXPECT_FALSE(is_sound(block_of("192.0.2.1", 0, 64))) << "port 0";
  EXPECT_FALSE(is_sound(block_of("192.0.2.1", 1024, 0)));
  EXPECT_FALSE(is_sound(LeaseBlock{{}, {}, 1024, 64}));
}

/// Connections through one lease, until it refuses: how many.
unsigned fill(ConnectionTable& table, const Commit& commit,
              const std::function<Tuple(unsigned)>& nth, unsigned at_most) {
  for (unsigned n = 0; n < at_most; ++n) {
    const Instance made = make(commit, nth(n), [&](const Zone& z, const Tuple& t) {
      return table.is_free(z, t, at(100));
    });
    if (made.reason == NoInstance::ports_exhausted) return n;
    EXPECT_EQ(made.reason, NoInstance::none);
    const auto done = table.commit(made.connection, at(100));
    EXPECT_TRUE(done.created) << to_string(done.refusal);
  }
  return at_most;
}

TEST(Lease, NeverGivesAReplyKeyTwiceAndUsesEveryPortBeforeItRefuses) {
  for (const bool v6 : {false, true}) {
    for (const std::string kind : {"tcp", "udp", "icmp"}) {
      ConnectionTable table({});
      Commit commit = plain();
      commit.stages.push_back(
          lease_of({block_of(v6 ? "2001:db8::1" : "192.0.2.1", 1024, kLeaseProbes)}));
      const auto nth = [&](unsigned n) {
        const auto port = static_cast<uint16_t>(2000 + n);
        if (kind == "tcp")
          return v6 ? tcp("fd00::1", port, "2001:db8:9::9", 80)
                    : tcp("10.0.0.1", port, "198.51.100.9", 80);
        if (kind == "udp")
          return v6 ? udp("fd00::1", port, "2001:db8:9::9", 80)
                    : udp("10.0.0.1", port, "198.51.100.9", 80);
        return v6 ? echo("fd00::1", "2001:db8:9::9", port) : echo("10.0.0.1", "198.51.100.9", port);
      };
      // Long before the last port is given away, and not at once, they are said to be few.
      constexpr unsigned kFew = kLeaseProbes / 8;
      EXPECT_EQ(fill(table, commit, nth, kFew), kFew);
      const auto crowded = [&] {
        return make(commit, nth(5000),
                    [&](const Zone& z, const Tuple& t) { return table.is_free(z, t, at(100)); })
            .crowded;
      };
      EXPECT_FALSE(crowded()) << kind;
      const auto later = [&](unsigned n) { return nth(kFew + n); };
      EXPECT_EQ(fill(table, commit, later, 1000), kLeaseProbes - kFew) << kind;
      EXPECT_TRUE(crowded()) << kind;
      std::set<Tuple> answers;
      table.for_each([&](ConnectionNumber, const Connection& c) {
        const Tuple a = c.entering(Direction::reply);
        EXPECT_TRUE(answers.insert(a).second);
        const uint16_t leased = a.dst_port;
        EXPECT_GE(leased, 1024);
        EXPECT_LT(leased, 1024 + kLeaseProbes);
      });
      EXPECT_EQ(answers.size(), kLeaseProbes);
    }
  }
}

TEST(Lease, OnePortServesManyRemoteEnds) {
  ConnectionTable table({});
  Commit commit = plain();
  commit.stages.push_back(lease_of({block_of("192.0.2.1", 1024, 1)}));
  const auto nth = [](unsigned n) {
    return tcp("10.0.0.1", 2000, "198.51.100.9", static_cast<uint16_t>(1 + n));
  };
  EXPECT_EQ(fill(table, commit, nth, 3000), 3000u);
}

TEST(Lease, AClientsPortKeepsItsOutsidePortTowardsAllRemoteEnds) {
  ConnectionTable table({});
  Commit commit = plain();
  commit.stages.push_back(
      lease_of({block_of("192.0.2.1", 1024, 1024), block_of("192.0.2.2", 1024, 1024)}));
  const auto nth = [](unsigned n) {
    return udp("10.0.0.1", 2000, "198.51.100.9", static_cast<uint16_t>(1 + n));
  };
  (void)fill(table, commit, nth, 200);
  std::set<std::pair<IpAddr, uint16_t>> outside;
  table.for_each([&](ConnectionNumber, const Connection& c) {
    outside.insert({c.final_tuple().src, c.final_tuple().src_port});
  });
  EXPECT_EQ(outside.size(), 1u);
}

TEST(Lease, AFullBlockLeavesToTheNextAndAMaskTellsWhoseAnAnswerIs) {
  ConnectionTable table({});
  Commit commit = plain();
  commit.stages.push_back(
      lease_of({block_of("192.0.2.1", 1024, 32), block_of("192.0.2.2", 4096, 32)}));
  const auto nth = [](unsigned n) {
    return tcp("10.0.0.1", static_cast<uint16_t>(2000 + n), "198.51.100.9", 80);
  };
  EXPECT_EQ(fill(table, commit, nth, 1000), 64u);
  std::map<IpAddr, unsigned> by_address;
  table.for_each([&](ConnectionNumber, const Connection& c) {
    const Tuple& t = c.final_tuple();
    ++by_address[t.src];
    EXPECT_EQ(t.src_port & ~31, t.src == ip("192.0.2.1") ? 1024 : 4096);
  });
  EXPECT_EQ(by_address.size(), 2u);
}

TEST(Lease, TriesItsPortsWithTheStagesBehindIt) {
  // What has to be unique is the answer's tuple at the end, not the one in between: two clients' leases meet behind a
  // translation of the destination.
  ConnectionTable table({});
  Commit commit = plain();
  commit.stages.push_back(lease_of({block_of("192.0.2.1", 1024, 8)}));
  commit.stages.push_back(FixedTranslation{.device = {},
                                           .rule = {},
                                           .kind = TranslationKind::destination,
                                           .dst = IpPrefix::parse("198.51.100.1/32")});
  const auto nth = [](unsigned n) {
    Tuple t = tcp("10.0.0.1", 2000, "203.0.113.0", 80);
    t.dst.bytes[3] = static_cast<uint8_t>(n);
    return t;
  };
  EXPECT_EQ(fill(table, commit, nth, 100), 8u);
}

TEST(Lease, OfAProtocolWithoutPortsTheAddressIsTheLease) {
  ConnectionTable table({});
  Commit commit = plain();
  commit.stages.push_back(
      lease_of({block_of("192.0.2.1", 1024, 64), block_of("192.0.2.2", 1024, 64)}));
  const auto nth = [](unsigned n) {
    Tuple t{ip("10.0.0.1"), ip("198.51.100.9"), 0, 0, 47, EchoRole::none};
    t.src.bytes[3] = static_cast<uint8_t>(n);
    return t;
  };
  EXPECT_EQ(fill(table, commit, nth, 100), 2u);
}

/// Random commits over random packets, with a table that they go into.
TEST(Instantiate, NatIsABijectionAndAnswersComeBackToTheSender) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    const auto pick = [&](uint64_t n) { return static_cast<unsigned>(random() % n); };
    const bool v6 = seed % 2 == 0;
    ConnectionTable table({}, {}, seed);
    const auto set = members(1 + pick(6), v6);
    std::vector<Commit> commits;
    for (unsigned i = 0; i < 4; ++i) {
      Commit commit = plain();
      for (unsigned n = pick(5); n > 0; --n) {
        switch (pick(3)) {
          case 0:
            commit.stages.push_back(select_of(set));
            break;
          case 1:
            commit.stages.push_back(
                lease_of({block_of(v6 ? "2001:db8::1" : "192.0.2.1", 1024, 16),
                          block_of(v6 ? "2001:db8::2" : "192.0.2.2", 2048, 16)}));
            break;
          default:
            commit.stages.push_back(FixedTranslation{
                .device = Uuid::derived("router", "r"),
                .rule = Uuid::derived("rule", std::to_string(n)),
                .kind = TranslationKind::one_to_one,
                .src = pick(2) == 0 ? std::nullopt
                                    : IpPrefix::parse(v6 ? "2001:db8:5::/64" : "203.0.113.0/24"),
                .dst = pick(2) == 0 ? std::nullopt
                                    : IpPrefix::parse(v6 ? "2001:db8:6::/64" : "198.51.0.0/16"),
                .dst_port = PortShift{80, 8080}});
        }
      }
      commits.push_back(commit);
    }
    std::map<std::pair<Zone, Tuple>, Tuple> whose;  // answer -> original
    unsigned made_count = 0;
    for (unsigned n = 0; n < 400; ++n) {
      IpAddr src = ip(v6 ? "fd00::" : "10.0.0.0"), dst = ip(v6 ? "fd00:9::" : "10.9.0.0");
      src.bytes[src.size() - 1] = static_cast<uint8_t>(1 + pick(6));
      dst.bytes[dst.size() - 1] = static_cast<uint8_t>(1 + pick(6));
      Tuple t{src,
              dst,
              static_cast<uint16_t>(pick(20)),
              static_cast<uint16_t>(pick(4)),
              ip_proto::kUdp,
              EchoRole::none};
      if (pick(3) == 0) t.protocol = ip_proto::kTcp;
      if (pick(4) == 0) {
        t.protocol = v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp;
        t.echo = EchoRole::request;
        t.dst_port = 0;
      }
      if (table.find(zone_named("blue"), t, at(100))) continue;
      const Instance made = make(commits[pick(4)], t, [&](const Zone& z, const Tuple& a) {
        return table.is_free(z, a, at(100));
      });
      if (made.reason != NoInstance::none) {
        ASSERT_EQ(made.reason, NoInstance::ports_exhausted);
        continue;
      }
      const auto done = table.commit(made.connection, at(100));
      if (done.refusal != Refusal::none) {
        // Without a lease two originals may meet in one: the second is refused, never mixed up.
        ASSERT_EQ(done.refusal, Refusal::tuple_taken);
        continue;
      }
      ++made_count;
      const Connection& c = made.connection;
      ASSERT_EQ(sent_through(rewrite_of(made.connection, Direction::original), t), c.final_tuple())
          << seed << " " << t.str();
      const Tuple answer = c.final_tuple().reversed();
      const auto found = table.find(c.reply_zone, answer, at(100));
      ASSERT_TRUE(found);
      const Connection kept = table.connection(found->number);
      if (found->direction == Direction::reply) {
        ASSERT_EQ(kept.original, t);
        ASSERT_EQ(sent_through(rewrite_of(kept, Direction::reply), answer), t.reversed())
            << "reply(forward) is the identity";
        const auto [entry, first] = whose.try_emplace(std::pair(c.reply_zone, answer), t);
        ASSERT_TRUE(first || entry->second == t);
      }
    }
    EXPECT_GT(made_count, 20u) << seed;
  }
}

}  // namespace
}  // namespace plexus::state
