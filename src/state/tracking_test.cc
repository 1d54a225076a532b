// SPDX-License-Identifier: Apache-2.0
#include "state/tracking.h"

#include <gtest/gtest.h>

#include "state/icmp_error.h"
#include "state/instantiate.h"
#include "state/test_connections.h"

namespace plexus::state {
namespace {

using std::chrono::minutes;

const Zone kBlue = zone_named("blue");

/// One host's view of connections within a zone: packets are classified and, as a rule that allows everything would have it,
/// recorded.
class Tracker {
 public:
  ConnectionTable table{{}};
  Midstream midstream = Midstream::refuse;
  MonoTime now = at(100);

  Standing look(const Frame& frame, const Zone& zone = kBlue) const {
    return standing_of(table, zone, sighting_of(frame), midstream, now);
  }
  Standing let_through(const Frame& frame, const Zone& zone = kBlue) {
    const Sighting s = sighting_of(frame);
    const Standing standing = standing_of(table, zone, s, midstream, now);
    if (standing.state == ConnectionState::invalid || s.kind != SightingKind::tracked)
      return standing;
    if (standing.number && !standing.opens_anew) {
      table.saw(*standing.number, standing.direction(), segment_of(s), now);
      return standing;
    }
    Stamp stamp{1, host_named("h1")};
    if (standing.number) stamp.epoch = table.stamp(*standing.number).epoch + 1;
    const Commit commit{.zone = zone,
                        .port = port_named("a"),
                        .tenant = {},
                        .delivery = {port_named("b"), kBlue},
                        .stages = {}};
    const Instance made = instantiate(commit, s, stamp, now, {});
    EXPECT_EQ(made.reason, NoInstance::none);
    EXPECT_EQ(table.commit(made.connection, now).refusal, Refusal::none);
    return standing;
  }
};

std::string text(const Standing& s) {
  return std::string(to_string(s.state)) + (s.reply ? " reply" : "") +
         (s.opens_anew ? " anew" : "");
}

using namespace tcp_flag;
const Tuple kTcp = tcp("10.0.0.1", 5000, "10.0.0.2", 80);

TEST(Tracking, AHandshake) {
  for (const Tuple& t : {kTcp, tcp("fd00::1", 5000, "fd00::2", 80)}) {
    Tracker k;
    EXPECT_EQ(text(k.let_through(frame_of(t, kSyn))), "new");
    EXPECT_EQ(text(k.let_through(frame_of(t, kSyn))), "new") << "again, unanswered";
    EXPECT_EQ(text(k.let_through(frame_of(t.reversed(), kSyn | kAck))), "established reply");
    EXPECT_EQ(text(k.let_through(frame_of(t, kAck))), "established");
    EXPECT_EQ(text(k.let_through(frame_of(t.reversed(), kAck))), "established reply");
    EXPECT_EQ(k.table.size(), 1u);
  }
}

TEST(Tracking, TheClientsHostNeverSeesTheAnswer) {
  // Answers enter elsewhere: the client's ACK says that there was one.
  Tracker k;
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kSyn))), "new");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kAck))), "new");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kAck))), "established");
  EXPECT_EQ(k.table.embryonic(), 1u) << "but nobody else has said so: it is still the first to go";
  const auto number = *k.look(frame_of(kTcp, kAck)).number;
  EXPECT_EQ(k.table.expires(number), k.now + minutes(4));
}

TEST(Tracking, UdpAndEchoAreNewUntilAnswered) {
  for (const Tuple& t : {udp("10.0.0.1", 5, "10.0.0.2", 53), echo("10.0.0.1", "10.0.0.2", 7),
                         echo("fd00::1", "fd00::2", 7),
                         Tuple{ip("10.0.0.1"), ip("10.0.0.2"), 0, 0, 47, EchoRole::none}}) {
    Tracker k;
    EXPECT_EQ(text(k.let_through(frame_of(t))), "new");
    EXPECT_EQ(text(k.let_through(frame_of(t))), "new");
    EXPECT_EQ(text(k.let_through(frame_of(t.reversed()))), "established reply");
    EXPECT_EQ(text(k.let_through(frame_of(t))), "established");
  }
}

TEST(Tracking, AnEchoReplyThatNobodyAskedForIsInvalid) {
  Tracker k;
  EXPECT_EQ(text(k.look(frame_of(echo("10.0.0.1", "10.0.0.2", 7).reversed()))), "invalid");
  (void)k.let_through(frame_of(echo("10.0.0.1", "10.0.0.2", 7)));
  EXPECT_EQ(text(k.look(frame_of(echo("10.0.0.1", "10.0.0.2", 8).reversed()))), "invalid");
  // The other's own request with the same identifier is its own connection.
  EXPECT_EQ(text(k.look(frame_of(echo("10.0.0.2", "10.0.0.1", 7)))), "new");
}

TEST(Tracking, SegmentsWithoutARecord) {
  for (const Midstream policy : {Midstream::refuse, Midstream::take_up}) {
    Tracker k;
    k.midstream = policy;
    const std::string taken = policy == Midstream::take_up ? "new" : "invalid";
    EXPECT_EQ(text(k.look(frame_of(kTcp, kSyn))), "new");
    EXPECT_EQ(text(k.look(frame_of(kTcp, kAck))), taken);
    EXPECT_EQ(text(k.look(frame_of(kTcp, kAck | kFin))), taken);
    EXPECT_EQ(text(k.look(frame_of(kTcp, kSyn | kAck))), "invalid");
    EXPECT_EQ(text(k.look(frame_of(kTcp, kRst))), "invalid");
    EXPECT_EQ(text(k.look(frame_of(kTcp, kRst | kAck))), "invalid");
    EXPECT_EQ(text(k.look(frame_of(kTcp, 0))), "invalid");
    EXPECT_EQ(text(k.look(frame_of(kTcp, kSyn | kFin))), "invalid");
  }
}

TEST(Tracking, TakenUpMidstreamIsNewUntilAnswered) {
  Tracker k;
  k.midstream = Midstream::take_up;
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kAck))), "new");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kAck))), "new");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp.reversed(), kAck))), "established reply");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kAck))), "established");
}

TEST(Tracking, BadFlagsAreInvalidInsideAConnectionToo) {
  Tracker k;
  (void)k.let_through(frame_of(kTcp, kSyn));
  (void)k.let_through(frame_of(kTcp.reversed(), kSyn | kAck));
  EXPECT_EQ(text(k.look(frame_of(kTcp, kSyn | kFin))), "invalid");
  EXPECT_EQ(text(k.look(frame_of(kTcp.reversed(), 0))), "invalid reply");
}

TEST(Tracking, SynInReplyDirectionIsNewForItsOwnClass) {
  // Simultaneous open: the crossing SYN finds the record, but needs a rule of its own.
  Tracker k;
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kSyn))), "new");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp.reversed(), kSyn))), "new reply");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp.reversed(), kSyn | kAck))), "established reply");
  EXPECT_EQ(text(k.let_through(frame_of(kTcp, kSyn | kAck))), "established");
  EXPECT_EQ(k.table.size(), 1u);
}

TEST(Tracking, SynOnAClosedOrTimeWaitRecordIsANewEpoch) {
  for (const bool reset : {true, false}) {
    for (const bool by_the_other : {true, false}) {
      Tracker k;
      (void)k.let_through(frame_of(kTcp, kSyn));
      (void)k.let_through(frame_of(kTcp.reversed(), kSyn | kAck));
      (void)k.let_through(frame_of(kTcp, kAck));
      if (reset) {
        (void)k.let_through(frame_of(kTcp.reversed(), kRst));
      } else {
        (void)k.let_through(frame_of(kTcp, kFin | kAck));
        EXPECT_EQ(text(k.look(frame_of(kTcp, kSyn))), "established") << "half closed";
        (void)k.let_through(frame_of(kTcp.reversed(), kFin | kAck));
      }
      EXPECT_EQ(text(k.look(frame_of(kTcp, kAck))), "established") << "its last packets still pass";
      const Tuple again = by_the_other ? kTcp.reversed() : kTcp;
      EXPECT_EQ(text(k.let_through(frame_of(again, kSyn))),
                by_the_other ? "new reply anew" : "new anew");
      EXPECT_EQ(k.table.size(), 1u);
      EXPECT_EQ(text(k.look(frame_of(again, kSyn))), "new");
      EXPECT_EQ(text(k.let_through(frame_of(again.reversed(), kSyn | kAck))), "established reply");
      EXPECT_EQ(k.table.stamp(*k.look(frame_of(again, kAck)).number).epoch, 2u);
    }
  }
}

TEST(Tracking, ErrorsAreRelatedToARecordAndMakeNone) {
  Tracker k;
  const Tuple t = udp("10.0.0.1", 5, "10.0.0.2", 53);
  const Frame packet = frame_of(t);
  const IcmpErrorSpec spec{.kind = IcmpErrorKind::port_unreachable, .from_ip = ip("10.0.0.2")};
  const Frame error = icmp_error(spec, parse_packet(packet), packet).value();
  EXPECT_EQ(text(k.let_through(error)), "invalid") << "about nothing that is known";
  EXPECT_EQ(k.table.size(), 0u);
  (void)k.let_through(packet);
  const ConnectionNumber number = *k.look(packet).number;
  k.now = at(120);
  EXPECT_EQ(text(k.let_through(error)), "related reply");
  EXPECT_EQ(k.table.last_seen(number), at(100)) << "it is no traffic of the connection";
  EXPECT_FALSE(k.table.connection(number).replied()) << "nor an answer";
  EXPECT_EQ(text(k.look(error, zone_named("green"))), "invalid") << "another zone";
  // About an answer: it goes the way of the original.
  const Frame answer = frame_of(t.reversed());
  const Frame back =
      icmp_error({.kind = IcmpErrorKind::port_unreachable, .from_ip = ip("10.0.0.1")},
                 parse_packet(answer), answer)
          .value();
  EXPECT_EQ(text(k.look(back)), "related");
}

TEST(Tracking, AnErrorWhoseQuoteWasNeverTranslatedSoIsInvalid) {
  // Outside, only what was really sent there can be quoted.
  Tracker k;
  Connection c = connection_of(udp("10.0.0.1", 5, "198.51.100.1", 53));
  c.reply_zone = zone_named("outside");
  const Tuple sent = udp("192.0.2.1", 4000, "198.51.100.1", 53);
  c.translations.push_back({Uuid::derived("router", "r"), {}, TranslationKind::source, sent});
  ASSERT_TRUE(k.table.commit(c, k.now).created);
  const auto error_about = [](const Tuple& t) {
    const Frame packet = frame_of(t);
    return icmp_error({.kind = IcmpErrorKind::host_unreachable, .from_ip = ip("198.51.100.254")},
                      parse_packet(packet), packet)
        .value();
  };
  EXPECT_EQ(text(k.look(error_about(sent), zone_named("outside"))), "related reply");
  EXPECT_EQ(text(k.look(error_about(c.original), zone_named("outside"))), "invalid");
  EXPECT_EQ(
      text(k.look(error_about(udp("192.0.2.1", 4001, "198.51.100.1", 53)), zone_named("outside"))),
      "invalid");
}

TEST(Tracking, WhatBelongsToNoConnectionIsUntracked) {
  Tracker k;
  EXPECT_EQ(text(k.look(arp_request({{2}}, ip("10.0.0.1"), ip("10.0.0.2")))), "untracked");
}

TEST(Tracking, AnExpiredRecordIsNoRecord) {
  Tracker k;
  (void)k.let_through(frame_of(kTcp, kSyn));
  k.now = at(131);
  EXPECT_EQ(text(k.look(frame_of(kTcp.reversed(), kSyn | kAck))), "invalid");
}

}  // namespace
}  // namespace plexus::state
