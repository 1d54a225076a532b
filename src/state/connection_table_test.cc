// SPDX-License-Identifier: Apache-2.0
#include "state/connection_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "state/test_connections.h"

namespace plexus::state {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

Connection from_client(unsigned n, std::string_view port = "a") {
  Connection c = connection_of(tcp("10.0.0.1", 1, "10.9.9.9", 80));
  c.original.src.bytes[2] = static_cast<uint8_t>(n >> 8);
  c.original.src.bytes[3] = static_cast<uint8_t>(n);
  c.port = port_named(port);
  return c;
}

/// Behind a source translation to 192.0.2.1:`port`, delivered outside.
Connection translated(unsigned n, uint16_t port) {
  Connection c = from_client(n);
  c.reply_zone = zone_named("outside");
  c.reply_port = port_named("uplink");
  Tuple t = c.original;
  t.src = ip("192.0.2.1");
  t.src_port = port;
  c.translations.push_back(
      {Uuid::derived("router", "r"), Uuid::derived("block", "1"), TranslationKind::source, t});
  return c;
}

TEST(ConnectionTable, IsFoundByEitherDirectionWhereThatEnters) {
  ConnectionTable t({});
  const Connection c = translated(7, 4000);
  const auto done = t.commit(c, at(100));
  ASSERT_EQ(done.refusal, Refusal::none);
  EXPECT_TRUE(done.created);
  EXPECT_EQ(t.connection(done.number), c);
  const auto forward = t.find(zone_named("blue"), c.original, at(100));
  ASSERT_TRUE(forward);
  EXPECT_EQ(forward->direction, Direction::original);
  const Tuple answer = tcp("10.9.9.9", 80, "192.0.2.1", 4000);
  const auto back = t.find(zone_named("outside"), answer, at(100));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->direction, Direction::reply);
  EXPECT_EQ(back->number, forward->number);
  EXPECT_FALSE(t.find(zone_named("blue"), answer, at(100))) << "another zone";
  EXPECT_FALSE(t.find(zone_named("outside"), c.original, at(100)));
  EXPECT_FALSE(t.find(zone_named("nowhere"), c.original, at(100)));
  t.erase(done.number);
  EXPECT_FALSE(t.find(zone_named("blue"), c.original, at(100)));
  EXPECT_EQ(t.size(), 0u);
}

TEST(ConnectionTable, TheSameAddressesInTwoZonesAreTwoConnections) {
  ConnectionTable t({});
  Connection a = from_client(1), b = from_client(1);
  b.zone = b.reply_zone = zone_named("green");
  EXPECT_TRUE(t.commit(a, at(100)).created);
  EXPECT_TRUE(t.commit(b, at(100)).created);
  EXPECT_EQ(t.size(), 2u);
}

TEST(ConnectionTable, ATupleToItselfIsOneRecord) {
  ConnectionTable t({});
  const Connection c = connection_of(udp("10.0.0.1", 5, "10.0.0.1", 5));
  const auto done = t.commit(c, at(100));
  ASSERT_TRUE(done.created);
  EXPECT_EQ(t.find(c.zone, c.original, at(100))->direction, Direction::original);
  EXPECT_FALSE(t.commit(c, at(100)).created);
  t.erase(done.number);
  EXPECT_TRUE(t.commit(c, at(100)).created);
}

TEST(ConnectionTable, RetransmittedSynUsesTheWinnersSelection) {
  // Two agents, or one twice, select differently for one original: the stamp decides, everywhere alike.
  Connection first = translated(1, 4000), second = translated(1, 5000);
  second.stamp.origin = host_named("h2");
  if (second.stamp < first.stamp) std::swap(first.stamp, second.stamp);
  for (const bool backwards : {false, true}) {
    ConnectionTable t({});
    const auto a = t.commit(backwards ? second : first, at(100));
    ASSERT_TRUE(a.created);
    const auto b = t.commit(backwards ? first : second, at(100));
    EXPECT_EQ(b.outdated, backwards);
    EXPECT_EQ(b.created, !backwards);
    EXPECT_EQ(b.removed.size(), backwards ? 0u : 1u);
    EXPECT_EQ(t.connection(b.number).final_tuple(), second.final_tuple());
    EXPECT_EQ(t.size(), 1u);
    EXPECT_FALSE(t.find(zone_named("outside"), first.entering(Direction::reply), at(100)));
  }
}

TEST(ConnectionTable, ReInstantiatedWithANewEpochWhenTheMemberLeftThePool) {
  ConnectionTable t({});
  const Connection old = translated(1, 4000);
  Connection next = translated(1, 5000);
  ASSERT_TRUE(t.commit(old, at(100)).created);
  next.stamp.epoch = 2;
  const auto done = t.commit(next, at(101));
  ASSERT_TRUE(done.created);
  ASSERT_EQ(done.removed.size(), 1u);
  EXPECT_EQ(done.removed[0].second, old);
  EXPECT_EQ(t.size(), 1u);
  // The old epoch comes late: nothing happens.
  EXPECT_TRUE(t.commit(answered(old), at(102)).outdated);
  EXPECT_EQ(t.connection(done.number), next);
}

TEST(ConnectionTable, OfEqualStampsWithOtherTranslationsTheFirstStays) {
  ConnectionTable t({});
  ASSERT_TRUE(t.commit(translated(1, 4000), at(100)).created);
  const auto done = t.commit(translated(1, 5000), at(100));
  EXPECT_TRUE(done.outdated);
  EXPECT_EQ(t.connection(done.number), translated(1, 4000));
}

TEST(ConnectionTable, LateDuplicatesNeverDowngrade) {
  ConnectionTable t({});
  const Connection young = translated(1, 4000), old = answered(young);
  const auto done = t.commit(old, at(100));
  const auto again = t.commit(young, at(101));
  EXPECT_FALSE(again.changed);
  EXPECT_EQ(again.number, done.number);
  EXPECT_EQ(t.connection(done.number).seen, old.seen);
  // And what is new is added.
  ConnectionTable u({});
  (void)u.commit(young, at(100));
  EXPECT_TRUE(u.commit(old, at(101)).changed);
  EXPECT_EQ(u.embryonic(), 0u);
}

TEST(ConnectionTable, SimultaneousOpenKeepsTheLowerEndpointsRecordEverywhere) {
  Connection low = connection_of(tcp("10.0.0.1", 5000, "10.0.0.2", 6000));
  Connection high = connection_of(tcp("10.0.0.2", 6000, "10.0.0.1", 5000));
  high.port = port_named("b");
  high.reply_port = port_named("a");
  high.stamp.origin = host_named("h2");
  for (const bool zones_differ : {false, true}) {
    if (zones_differ) {
      low.reply_zone = high.zone = zone_named("green");
    }
    for (const bool low_first : {true, false}) {
      ConnectionTable t({});
      const auto a = t.commit(low_first ? low : high, at(100));
      ASSERT_TRUE(a.created);
      const auto b = t.commit(low_first ? high : low, at(100));
      EXPECT_EQ(b.refusal, Refusal::none);
      EXPECT_EQ(b.direction, low_first ? Direction::reply : Direction::original);
      EXPECT_EQ(t.size(), 1u);
      const Connection kept = t.connection(b.number);
      EXPECT_EQ(kept.original, low.original);
      EXPECT_EQ(tcp_state_of(kept.seen), TcpState::syn_crossed);
      EXPECT_EQ(kept.port, low.port);
      // A third time changes nothing.
      EXPECT_FALSE(t.commit(high, at(100)).changed);
      EXPECT_FALSE(t.commit(low, at(100)).changed);
    }
  }
}

TEST(ConnectionTable, SimultaneousOpenThroughAFloatingAddress) {
  // The inside machine opens to x and x opens to the floating address, at once.
  Connection out = connection_of(tcp("10.0.0.5", 5000, "198.51.100.1", 6000));
  out.reply_zone = zone_named("outside");
  out.translations.push_back({Uuid::derived("router", "r"),
                              {},
                              TranslationKind::one_to_one,
                              tcp("192.0.2.5", 5000, "198.51.100.1", 6000)});
  Connection in = connection_of(tcp("198.51.100.1", 6000, "192.0.2.5", 5000));
  in.zone = zone_named("outside");
  in.translations.push_back({Uuid::derived("router", "r"),
                             {},
                             TranslationKind::one_to_one,
                             tcp("198.51.100.1", 6000, "10.0.0.5", 5000)});
  for (const bool out_first : {true, false}) {
    ConnectionTable t({});
    (void)t.commit(out_first ? out : in, at(100));
    const auto done = t.commit(out_first ? in : out, at(100));
    EXPECT_EQ(done.refusal, Refusal::none);
    EXPECT_EQ(t.size(), 1u);
    EXPECT_EQ(t.connection(done.number).original, out.original);
  }
}

TEST(ConnectionTable, AReplyTupleIsNeverTwoConnections) {
  ConnectionTable t({});
  ASSERT_TRUE(t.commit(translated(1, 4000), at(100)).created);
  const auto second = t.commit(translated(2, 4000), at(100));
  EXPECT_EQ(second.refusal, Refusal::tuple_taken);
  EXPECT_FALSE(second.created);
  Connection other_remote = translated(3, 4000);
  other_remote.original.dst_port = other_remote.translations[0].after.dst_port = 443;
  EXPECT_TRUE(t.commit(other_remote, at(100)).created) << "one port, two remote ends";
  // Not by a new epoch of another connection either.
  Connection greedy = translated(3, 4000);
  greedy.original.dst_port = 443;
  greedy.translations[0].after = translated(1, 4000).final_tuple();
  greedy.original = other_remote.original;
  greedy.stamp.epoch = 9;
  EXPECT_EQ(t.commit(greedy, at(100)).refusal, Refusal::tuple_taken);
  // An expired one is not there.
  Connection later = translated(2, 4000);
  later.last_seen = at(131);
  EXPECT_TRUE(t.commit(later, at(131)).created);
}

/// A client asks two virtual addresses of one pool, one after the other, from one port.
TEST(ConnectionTable, OneThatIsOverMakesRoomForOneWithTheSameAnswers) {
  const auto to = [](const char* address) {
    Connection c = connection_of(tcp("10.0.0.1", 4000, address, 80));
    Tuple t = c.original;
    t.dst = ip("10.1.0.1");
    c.translations = {
        {Uuid::derived("router", "r"), Uuid::derived("member", "1"), TranslationKind::member, t}};
    return c;
  };
  for (const SeenBits over :
       {SeenBits{seen::kSyn | seen::kAck | seen::kFin, seen::kSynAck | seen::kFin},
        SeenBits{seen::kSyn | seen::kAck, seen::kSynAck | seen::kRst}}) {
    ConnectionTable t({});
    Connection first = to("192.0.2.80"), second = to("192.0.2.81");
    first.seen = {seen::kSyn | seen::kAck, seen::kSynAck};
    const auto begun = t.commit(first, at(100));
    ASSERT_TRUE(begun.created);
    EXPECT_EQ(t.commit(second, at(100)).refusal, Refusal::tuple_taken) << "it goes on";
    first.seen = over;
    ASSERT_EQ(t.commit(first, at(101)).refusal, Refusal::none);
    Connection midstream = second;
    midstream.seen = {seen::kAck | seen::kMidstream, 0};
    EXPECT_EQ(t.commit(midstream, at(102)).refusal, Refusal::tuple_taken) << "perhaps a late one";
    const auto next = t.commit(second, at(102));
    ASSERT_EQ(next.refusal, Refusal::none);
    EXPECT_TRUE(next.created);
    ASSERT_EQ(next.removed.size(), 1u);
    EXPECT_EQ(next.removed.front().second.original, first.original);
    EXPECT_EQ(t.size(), 1u);
    EXPECT_EQ(t.commit(first, at(103)).refusal, Refusal::tuple_taken) << "told late";
  }
}

TEST(ConnectionTable, ReusedFromTheOtherSideWhenItIsOver) {
  ConnectionTable t({});
  Connection c = answered(connection_of(tcp("10.0.0.1", 5000, "10.0.0.2", 6000)));
  const auto done = t.commit(c, at(100));
  t.saw(done.number, Direction::reply, Segment::rst, at(101));
  Connection next = connection_of(c.original.reversed(), at(102));
  next.port = port_named("b");
  next.reply_port = port_named("a");
  next.stamp.epoch = 2;
  const auto again = t.commit(next, at(102));
  ASSERT_TRUE(again.created);
  EXPECT_EQ(again.removed.size(), 1u);
  EXPECT_EQ(t.connection(again.number), next);
  EXPECT_TRUE(t.commit(c, at(102)).outdated);
  EXPECT_EQ(t.size(), 1u);
}

TEST(ConnectionTable, UnsoundRecordsAreRefused) {
  ConnectionTable t({});
  Connection c = from_client(1);
  c.original.dst = ip("fd00::1");
  EXPECT_EQ(t.commit(c, at(1)).refusal, Refusal::unsound);
  c = from_client(1);
  c.seen = {};
  EXPECT_EQ(t.commit(c, at(1)).refusal, Refusal::unsound);
  EXPECT_EQ(t.size(), 0u);
}

TEST(ConnectionTable, WhatHasExpiredElsewhereTakesNobodysPlace) {
  ConnectionTable t({.total = 1, .embryonic = 1});
  Connection there = from_client(1), late = from_client(2);
  there.last_seen = at(130);
  ASSERT_TRUE(t.commit(there, at(130)).created);
  EXPECT_EQ(t.commit(late, at(130)).refusal, Refusal::expired);
  EXPECT_TRUE(t.find(there.zone, there.original, at(130)));
}

TEST(ConnectionTable, TimeoutsFollowTheState) {
  struct Case {
    Connection c;
    Duration lives;
  };
  Connection one_sided = from_client(2);
  one_sided.seen[0] |= seen::kAck;
  Connection finished = answered(from_client(3));
  finished.seen[0] |= seen::kFin;
  Connection reset = answered(from_client(4));
  reset.seen[1] |= seen::kRst;
  for (const Case& each : {
           Case{from_client(1), seconds(30)},
           Case{one_sided, minutes(4)},
           Case{answered(from_client(1)), hours(2) + minutes(4)},
           Case{finished, minutes(4)},
           Case{reset, minutes(4)},
           Case{connection_of(udp("10.0.0.1", 1, "10.0.0.2", 2)), seconds(30)},
           Case{answered(connection_of(udp("10.0.0.1", 1, "10.0.0.2", 2))), minutes(3)},
           Case{connection_of(echo("fd00::1", "fd00::2", 2)), seconds(60)},
           Case{answered(connection_of({ip("10.0.0.1"), ip("10.0.0.2"), 0, 0, 47, EchoRole::none})),
                minutes(10)},
       }) {
    ConnectionTable t({});
    const auto done = t.commit(each.c, at(100));
    ASSERT_TRUE(done.created);
    EXPECT_EQ(t.expires(done.number), at(100) + each.lives);
    const MonoTime before = at(100) + each.lives - Duration(1), then = at(100) + each.lives;
    EXPECT_TRUE(t.find(each.c.zone, each.c.original, before));
    EXPECT_EQ(t.expire(before, 1000), 0u);
    EXPECT_FALSE(t.find(each.c.zone, each.c.original, then));
    EXPECT_EQ(t.expire(then + seconds(1), 1000), 1u);
    EXPECT_EQ(t.size(), 0u);
  }
}

TEST(ConnectionTable, ExpiryLooksAtNothingThatStays) {
  ConnectionTable t({});
  for (unsigned n = 0; n < 1000; ++n) (void)t.commit(answered(from_client(n)), at(100));
  std::set<ConnectionNumber> gone;
  for (unsigned n = 1000; n < 1100; ++n) (void)t.commit(from_client(n), at(100));
  // 100 have 30 seconds, 1000 have two hours: a budget of 101 is enough.
  EXPECT_EQ(t.expire(at(131), 101,
                     [&](ConnectionNumber n, const Connection& c) {
                       EXPECT_FALSE(c.replied());
                       gone.insert(n);
                     }),
            100u);
  EXPECT_EQ(gone.size(), 100u);
  EXPECT_EQ(t.size(), 1000u);
  // A budget is kept to, and the rest comes next time.
  size_t rest = 0;
  for (int calls = 0; calls < 10; ++calls) {
    const size_t n = t.expire(at(100 + 7441), 100);
    EXPECT_LE(n, 100u);
    rest += n;
  }
  EXPECT_EQ(rest, 1000u);
}

TEST(ConnectionTable, UsedOnesStayAndShorterTimeoutsCount) {
  ConnectionTable t({});
  const auto used = t.commit(answered(connection_of(udp("10.0.0.1", 1, "10.0.0.2", 2))), at(100));
  const auto closing = t.commit(answered(from_client(1)), at(100));
  t.touch(used.number, at(250));
  t.touch(used.number, at(200));
  EXPECT_EQ(t.last_seen(used.number), at(250)) << "never moves back";
  EXPECT_TRUE(t.saw(closing.number, Direction::original, Segment::rst, at(110)));
  EXPECT_FALSE(t.saw(closing.number, Direction::original, Segment::rst, at(111)));
  EXPECT_EQ(t.expire(at(352), 1000), 1u) << "the closed one, 4 minutes after its RST";
  EXPECT_TRUE(t.find(zone_named("blue"), udp("10.0.0.1", 1, "10.0.0.2", 2), at(352)));
  EXPECT_EQ(t.expire(at(431), 1000), 1u);
}

TEST(ConnectionTable, TheEmbryonicMakeRoomForEachOtherAndAnsweredOnesStay) {
  ConnectionTable t({.total = 10, .embryonic = 4});
  std::vector<ConnectionNumber> answered_ones;
  for (unsigned n = 0; n < 6; ++n)
    answered_ones.push_back(t.commit(answered(from_client(n)), at(100)).number);
  for (unsigned n = 10; n < 14; ++n)
    EXPECT_TRUE(t.commit(from_client(n), at(100 + n)).removed.empty());
  for (unsigned n = 20; n < 30; ++n) {
    const auto done = t.commit(from_client(n), at(120));
    ASSERT_TRUE(done.created) << n;
    ASSERT_EQ(done.removed.size(), 1u);
    EXPECT_EQ(done.removed[0].second.original, from_client(n < 24 ? n - 10 : n - 4).original)
        << "the oldest";
  }
  EXPECT_EQ(t.size(), 10u);
  EXPECT_EQ(t.embryonic(), 4u);
  for (ConnectionNumber n : answered_ones) EXPECT_TRUE(t.connection(n).replied());
  // All of them are open: full of those that nothing pushes out.
  t.for_each([&](ConnectionNumber n, const Connection&) {
    t.saw(n, Direction::reply, Segment::syn_ack, at(121));
    t.saw(n, Direction::original, Segment::ack, at(121));
  });
  EXPECT_EQ(t.embryonic(), 0u);
  EXPECT_EQ(t.commit(from_client(50), at(122)).refusal, Refusal::table_full);
  EXPECT_EQ(t.size(), 10u);
}

TEST(ConnectionTable, BeginningAnewKeepsToTheShareOfTheUnanswered) {
  ConnectionTable t({.total = 10, .embryonic = 2});
  (void)t.commit(answered(from_client(1)), at(100));
  (void)t.commit(from_client(2), at(100));
  (void)t.commit(from_client(3), at(101));
  Connection anew = from_client(1);
  anew.stamp.epoch = 2;
  const auto done = t.commit(anew, at(102));
  ASSERT_TRUE(done.created);
  ASSERT_EQ(done.removed.size(), 2u);
  EXPECT_EQ(done.removed[1].second.original, from_client(2).original);
  EXPECT_EQ(t.embryonic(), 2u);
}

/// What begins anew is counted where the new one begins: there is no way round a limit by what is over.
TEST(ConnectionTable, BeginningAnewKeepsToTheLimitsOfPortAndTenant) {
  ConnectionTable t({.total = 100, .embryonic = 100, .port = 3, .port_embryonic = 2});
  const auto over = [](Connection c) {
    c = answered(c);
    c.seen[1] |= seen::kRst;
    return c;
  };
  // Over, of ports that are below their limits; each is opened again by the other side, whose port has one limit for all.
  for (unsigned n = 0; n < 6; ++n) {
    const Connection before = over(from_client(n, n < 3 ? "p1" : "p2"));
    ASSERT_TRUE(t.commit(before, at(100)).created);
    Connection anew = answered(before);
    anew.seen = {static_cast<uint8_t>(seen::kPacket | seen::kSyn | seen::kAck),
                 static_cast<uint8_t>(seen::kPacket | seen::kSynAck)};
    std::swap(anew.zone, anew.reply_zone);
    anew.port = port_named("server");
    anew.reply_port = before.port;
    anew.original = before.original.reversed();
    anew.stamp.epoch = 2;
    const auto done = t.commit(anew, at(101));
    EXPECT_EQ(done.refusal, n < 3 ? Refusal::none : Refusal::port_limit) << n;
    ASSERT_FALSE(done.removed.empty());
    EXPECT_EQ(done.removed[0].second.original, before.original) << "it is over anyway";
    EXPECT_LE(t.begun_at(port_named("server")), 3u);
  }
  EXPECT_EQ(t.size(), 3u);

  // Without an answer again, they are of those without.
  ConnectionTable u({.total = 100, .embryonic = 4, .port = 100, .port_embryonic = 2});
  for (unsigned n = 0; n < 4; ++n) (void)u.commit(over(from_client(n, "loud")), at(100));
  (void)u.commit(from_client(9, "quiet"), at(100));
  for (unsigned n = 0; n < 4; ++n) {
    Connection anew = from_client(n, "loud");
    anew.stamp.epoch = 2;
    EXPECT_TRUE(u.commit(anew, at(101)).created);
  }
  EXPECT_EQ(u.begun_at(port_named("loud")), 2u);
  EXPECT_EQ(u.begun_at(port_named("quiet")), 1u);
}

/// One answer to a forged SYN makes nothing that stays.
TEST(ConnectionTable, TcpThatIsHalfOpenOrOverMakesRoom) {
  const auto with = [](Connection c, uint8_t original, uint8_t reply) {
    c.seen = {static_cast<uint8_t>(c.seen[0] | original),
              static_cast<uint8_t>(c.seen[1] | seen::kPacket | reply)};
    return c;
  };
  const auto half_open = [&](unsigned n) { return with(from_client(n), 0, seen::kSynAck); };
  const auto refused = [&](unsigned n) { return with(from_client(n), 0, seen::kRst); };
  const auto over = [&](unsigned n) {
    return with(from_client(n), seen::kAck | seen::kFin, seen::kSynAck | seen::kAck | seen::kFin);
  };
  ConnectionTable t({.total = 100, .embryonic = 100, .port = 6, .port_embryonic = 3});
  for (unsigned n = 0; n < 2; ++n) {
    (void)t.commit(half_open(10 + n), at(100 + n));
    (void)t.commit(refused(20 + n), at(102 + n));
    (void)t.commit(over(30 + n), at(104 + n));
  }
  // One goes for each newcomer, in the order in which they came.
  for (const unsigned gone : {10u, 20u, 30u, 11u, 21u, 31u}) {
    const auto done = t.commit(answered(from_client(50 + gone)), at(120));
    ASSERT_TRUE(done.created) << gone;
    ASSERT_EQ(done.removed.size(), 1u) << gone;
    EXPECT_EQ(done.removed[0].second.original, from_client(gone).original);
  }
  EXPECT_EQ(t.commit(from_client(99), at(121)).refusal, Refusal::port_limit) << "all are open";

  // The same where all is full, of whomever they are.
  ConnectionTable full({.total = 2, .embryonic = 2});
  (void)full.commit(half_open(1), at(100));
  (void)full.commit(answered(from_client(2)), at(100));
  EXPECT_EQ(full.commit(from_client(3, "other"), at(101)).removed.size(), 1u);
  EXPECT_TRUE(full.find(zone_named("blue"), from_client(2).original, at(101)));
}

TEST(ConnectionTable, ASynThatWaitsStaysBeforeWhatHasBeenHalfOpenForLonger) {
  ConnectionTable t({.total = 100, .embryonic = 100, .port = 2, .port_embryonic = 2});
  const auto half = t.commit(from_client(1), at(100)).number;
  t.saw(half, Direction::reply, Segment::syn_ack, at(100));
  const auto waits = t.commit(from_client(2), at(105)).number;
  EXPECT_EQ(t.commit(from_client(3), at(106)).removed[0].first, half);
  EXPECT_EQ(t.commit(from_client(4), at(107)).removed[0].first, waits);
}

/// A forged RST or FIN is believed, and ends nothing.
TEST(ConnectionTable, WhatWasOpenAndIsUsedStaysThoughItIsSaidToBeOver) {
  ConnectionTable t({.total = 100, .embryonic = 100, .port = 3, .port_embryonic = 3});
  std::vector<ConnectionNumber> open;
  for (unsigned n = 0; n < 3; ++n)
    open.push_back(t.commit(answered(from_client(n)), at(100 + n)).number);
  for (const ConnectionNumber n : open) t.saw(n, Direction::original, Segment::rst, at(110));
  t.touch(open[0], at(118));
  auto done = t.commit(answered(from_client(10)), at(121));
  ASSERT_EQ(done.removed.size(), 1u);
  EXPECT_EQ(done.removed[0].first, open[1]) << "the first is in use";
  t.touch(open[2], at(122));
  EXPECT_EQ(t.commit(from_client(11), at(123)).refusal, Refusal::port_limit);
  done = t.commit(answered(from_client(12)), at(129));
  ASSERT_EQ(done.removed.size(), 1u);
  EXPECT_EQ(done.removed[0].first, open[0]) << "no longer";
}

TEST(ConnectionTable, NoTenantHasAllOfItUnlessSomebodySaysSo) {
  EXPECT_LE(ConnectionLimits{}.tenant, ConnectionLimits{}.total / 4);
  EXPECT_GE(ConnectionLimits{}.tenant, ConnectionLimits{}.port);
}

TEST(ConnectionTable, APortThatReachesItsLimitPaysWithItsOwn) {
  ConnectionTable t({.total = 100, .embryonic = 100, .port = 5, .port_embryonic = 3});
  for (unsigned n = 0; n < 3; ++n) (void)t.commit(from_client(n, "quiet"), at(100));
  for (unsigned n = 10; n < 30; ++n) {
    const auto done = t.commit(from_client(n, "loud"), at(101));
    EXPECT_TRUE(done.created);
    for (const auto& [number, c] : done.removed) EXPECT_EQ(c.port, port_named("loud"));
  }
  EXPECT_EQ(t.begun_at(port_named("loud")), 3u);
  EXPECT_EQ(t.begun_at(port_named("quiet")), 3u);
  for (unsigned n = 40; n < 45; ++n) (void)t.commit(answered(from_client(n, "loud")), at(102));
  EXPECT_EQ(t.begun_at(port_named("loud")), 5u);
  EXPECT_EQ(t.commit(from_client(60, "loud"), at(103)).refusal, Refusal::port_limit);
  EXPECT_EQ(t.commit(answered(from_client(61, "loud")), at(103)).refusal, Refusal::port_limit)
      << "told by another host";
  EXPECT_TRUE(t.commit(from_client(62, "other"), at(103)).created);
}

TEST(ConnectionTable, ATenantHasALimitAtBothEnds) {
  ConnectionTable t({.tenant = 4});
  const auto of_acme = [](unsigned n, std::string_view port) {
    Connection c = answered(from_client(n, port));
    c.tenant = Uuid::derived("tenant", "acme");
    return c;
  };
  for (unsigned n = 0; n < 4; ++n)
    EXPECT_TRUE(t.commit(of_acme(n, n < 2 ? "p1" : "p2"), at(100)).created);
  EXPECT_EQ(t.commit(of_acme(9, "p3"), at(100)).refusal, Refusal::tenant_limit);
  EXPECT_TRUE(t.commit(from_client(10, "p4"), at(100)).created) << "nobody's";
  EXPECT_EQ(t.of_tenant(Uuid::derived("tenant", "acme")), 4u);
}

TEST(ConnectionTable, RecordsTravelWithAPort) {
  ConnectionTable here({}), there({});
  (void)here.commit(answered(translated(1, 4000)), at(100));
  (void)here.commit(from_client(2), at(100));
  Connection toward = from_client(3, "c");
  toward.reply_port = port_named("a");
  (void)here.commit(toward, at(100));
  (void)here.commit(from_client(4, "c"), at(100));
  Connection within = from_client(5);
  within.reply_port = port_named("a");
  (void)here.commit(within, at(100));
  here.for_each_of_port(port_named("a"), [&](ConnectionNumber, const Connection& c) {
    EXPECT_TRUE(there.commit(c, at(100)).created) << "shown once";
  });
  EXPECT_EQ(there.size(), 4u);
  size_t shown = 0;
  EXPECT_EQ(here.erase_port(port_named("a"), [&](ConnectionNumber, const Connection&) { ++shown; }),
            4u);
  EXPECT_EQ(shown, 4u);
  EXPECT_EQ(here.size(), 1u);
  EXPECT_EQ(here.erase_port(port_named("a")), 0u);
}

TEST(ConnectionTable, ADeviceThatIsDeletedTakesItsRecordsAlong) {
  ConnectionTable t({});
  (void)t.commit(translated(1, 4000), at(100));
  Connection other = from_client(2);
  other.zone = other.reply_zone = zone_named("green");
  (void)t.commit(other, at(100));
  size_t n = 0;
  t.for_each_of_zone(zone_named("outside"), [&](ConnectionNumber, const Connection&) { ++n; });
  EXPECT_EQ(n, 1u);
  EXPECT_EQ(t.erase_device(Uuid::derived("router", "r")), 1u) << "whose translation it was";
  EXPECT_EQ(t.erase_device(Uuid::derived("bridge", "blue")), 0u);
  EXPECT_EQ(t.erase_device(Uuid::derived("bridge", "green")), 1u);
  EXPECT_EQ(t.size(), 0u);
}

/// The same by the book: a list that is searched.
class ListedConnections {
 public:
  std::vector<Connection> all;
  const Connection* find(const Zone& zone, const Tuple& t) const {
    for (const Connection& c : all)
      for (const Direction d : {Direction::original, Direction::reply})
        if (c.zone_of(d) == zone && c.entering(d) == t) return &c;
    return nullptr;
  }
};

TEST(ConnectionTable, AgreesWithAListOverRandomHistories) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    const auto pick = [&](uint64_t n) { return random() % n; };
    ConnectionTable t({.total = 60, .embryonic = 30, .port = 40, .port_embryonic = 20}, {}, seed);
    ListedConnections list;
    const auto forget = [&](const Connection& c) {
      std::erase_if(list.all, [&](const Connection& o) {
        return o.zone == c.zone && o.original == c.original;
      });
    };
    double now = 100;
    for (unsigned step = 0; step < 4000; ++step) {
      now += 0.01 * static_cast<double>(pick(100));
      const auto n = static_cast<unsigned>(pick(40));
      Connection c =
          pick(3) == 0 ? translated(n, static_cast<uint16_t>(1024 + pick(8))) : from_client(n);
      c.port = port_named(pick(2) == 0 ? "a" : "z");
      if (pick(3) == 0) c = answered(c);
      if (pick(4) == 0 && c.translations.empty()) {
        std::swap(c.zone, c.reply_zone);
        c.original = c.original.reversed();
      }
      c.stamp.epoch = 1 + static_cast<uint32_t>(pick(3));
      c.stamp.origin = host_named(pick(2) == 0 ? "h1" : "h2");
      c.last_seen = at(now);
      switch (pick(6)) {
        case 0:
          t.expire(at(now), pick(50),
                   [&](ConnectionNumber, const Connection& gone) { forget(gone); });
          break;
        case 1:
          if (const auto found = t.find(c.zone, c.original, at(now))) {
            constexpr Segment kSeen[] = {Segment::ack, Segment::syn_ack, Segment::fin,
                                         Segment::rst};
            t.saw(found->number, found->direction, kSeen[pick(4)], at(now));
          }
          break;
        case 2:
          if (pick(20) == 0)
            t.erase_port(c.port, [&](ConnectionNumber, const Connection& gone) { forget(gone); });
          break;
        default: {
          const auto done = t.commit(c, at(now));
          for (const auto& [number, gone] : done.removed) forget(gone);
          if (done.created) list.all.push_back(t.connection(done.number));
          if (done.refusal == Refusal::none) {
            const auto found = t.find(c.zone, c.original, at(now));
            ASSERT_TRUE(found);
            ASSERT_EQ(found->number, done.number);
            ASSERT_EQ(found->direction, done.direction);
          }
        }
      }
      ASSERT_EQ(t.size(), list.all.size()) << seed << " " << step;
      ASSERT_LE(t.size(), 60u);
      ASSERT_LE(t.embryonic(), 30u);
    }
    // What is there is what the list has, and each key leads to it alone.
    size_t seen = 0, embryonic = 0;
    t.for_each([&](ConnectionNumber, const Connection& c) {
      ++seen;
      embryonic += c.replied() ? 0u : 1u;
      const Connection* listed = list.find(c.zone, c.original);
      ASSERT_NE(listed, nullptr);
      EXPECT_EQ(listed->final_tuple(), c.final_tuple());
    });
    EXPECT_EQ(seen, list.all.size());
    EXPECT_EQ(embryonic, t.embryonic());
    EXPECT_EQ(t.answers_pass(port_named("uplink"), Uuid::derived("router", "r"), true),
              std::any_of(list.all.begin(), list.all.end(),
                          [](const Connection& c) { return !c.translations.empty(); }));
    std::set<std::pair<Zone, Tuple>> keys;
    for (const Connection& c : list.all)
      for (const Direction d : {Direction::original, Direction::reply})
        EXPECT_TRUE(keys.insert({c.zone_of(d), c.entering(d)}).second) << c.entering(d).str();
    t.expire(at(now + 100'000), 1'000'000);
    EXPECT_EQ(t.size(), 0u);
    EXPECT_EQ(t.embryonic(), 0u);
    EXPECT_FALSE(t.answers_pass(port_named("uplink"), Uuid::derived("router", "r"), true));
    EXPECT_EQ(t.begun_at(port_named("a")) + t.begun_at(port_named("z")), 0u);
  }
}

TEST(ConnectionTable, ThePortOfTheAnswersMayBeLearnedLater) {
  ConnectionTable table({});
  Connection flooded = connection_of(tcp("10.0.0.1", 1, "10.0.0.2", 2));
  flooded.reply_port = {};
  const MonoTime now = at(100);
  const ConnectionNumber number = table.commit(flooded, now).number;
  const auto ending = [&](const PortId& port) {
    size_t n = 0;
    table.for_each_of_port(port, [&](ConnectionNumber, const Connection&) { ++n; });
    return n;
  };
  EXPECT_EQ(ending(port_named("b")), 0u);
  Connection answered_by_b = answered(flooded), answered_by_c = answered(flooded);
  answered_by_b.reply_port = port_named("b");
  answered_by_c.reply_port = port_named("c");
  EXPECT_TRUE(table.commit(answered_by_b, now).changed);
  EXPECT_EQ(table.connection(number).reply_port, port_named("b"));
  EXPECT_EQ(ending(port_named("b")), 1u);
  // Once known it stays, whoever else says what.
  EXPECT_TRUE(table.commit(answered_by_c, now).outdated);
  const auto again = table.commit(flooded, now);
  EXPECT_FALSE(again.changed || again.outdated);
  EXPECT_EQ(table.connection(number).reply_port, port_named("b"));
  table.erase(number);
  EXPECT_EQ(ending(port_named("b")), 0u);
}

TEST(ConnectionTable, KnowsWhereAnswersPassADeviceThatTranslates) {
  ConnectionTable table({});
  const Uuid r = Uuid::derived("router", "r");
  const PortId uplink = port_named("uplink"), b = port_named("b");
  EXPECT_FALSE(table.answers_pass(b, r, false));
  (void)table.commit(from_client(1), at(100));
  EXPECT_FALSE(table.answers_pass(b, r, false)) << "nothing is translated";
  Connection c = from_client(2);
  Tuple inside = c.original;
  inside.dst = ip("10.0.0.99");
  c.translations.push_back({r, Uuid::derived("member", "m"), TranslationKind::member, inside});
  const ConnectionNumber one = table.commit(c, at(100)).number;
  Connection flooded = translated(3, 4001);
  flooded.reply_port = {};
  const ConnectionNumber two = table.commit(flooded, at(100)).number;
  EXPECT_TRUE(table.is_chosen(Uuid::derived("member", "m")));
  EXPECT_TRUE(table.answers_pass(b, r, false));
  EXPECT_FALSE(table.answers_pass(b, r, true));
  EXPECT_FALSE(table.answers_pass(port_named("a"), r, false)) << "where it begins";
  EXPECT_FALSE(table.answers_pass(b, Uuid::derived("router", "other"), false));
  EXPECT_FALSE(table.answers_pass(uplink, r, true));
  flooded = answered(flooded);
  flooded.reply_port = uplink;
  ASSERT_TRUE(table.commit(flooded, at(100)).changed);
  EXPECT_TRUE(table.answers_pass(uplink, r, true)) << "the port of the answers, learned later";
  EXPECT_FALSE(table.answers_pass(uplink, r, false));
  table.erase(one);
  EXPECT_FALSE(table.is_chosen(Uuid::derived("member", "m"))) << "with its last record";
  EXPECT_FALSE(table.answers_pass(b, r, false));
  EXPECT_TRUE(table.answers_pass(uplink, r, true));
  table.erase(two);
  EXPECT_FALSE(table.answers_pass(uplink, r, true));
}

TEST(ConnectionTable, AnswersMayEnterByAnotherPortThanTheRecords) {
  ConnectionTable table({});
  const Uuid r = Uuid::derived("router", "r");
  const PortId b = port_named("b"), c = port_named("c"), d = port_named("d");
  const ConnectionNumber plain = table.commit(from_client(1), at(100)).number;
  table.answers_enter_by(plain, c);
  EXPECT_FALSE(table.answers_pass(c, r, false)) << "nothing is translated";
  Connection one = from_client(2);
  Tuple inside = one.original;
  inside.dst = ip("10.0.0.99");
  one.translations.push_back({r, Uuid::derived("member", "m"), TranslationKind::member, inside});
  const PortId anywhere = ConnectionTable::any_port_of(one.reply_zone);
  const ConnectionNumber number = table.commit(one, at(100)).number;
  for (const PortId& port : {anywhere, c, c, d}) {
    table.answers_enter_by(number, port);
    for (const PortId& other : {anywhere, c, d})
      EXPECT_EQ(table.answers_pass(other, r, false), other == port) << "the last one counts";
    EXPECT_TRUE(table.answers_pass(b, r, false)) << "and the record's own";
  }
  table.answers_enter_by(number, b);
  EXPECT_FALSE(table.answers_pass(d, r, false));
  EXPECT_TRUE(table.answers_pass(b, r, false));
  EXPECT_EQ(table.connection(number), one) << "others are not told";
  table.answers_enter_by(number, d);
  table.erase(number);
  for (const PortId& port : {anywhere, b, c, d}) EXPECT_FALSE(table.answers_pass(port, r, false));
}

}  // namespace
}  // namespace plexus::state
