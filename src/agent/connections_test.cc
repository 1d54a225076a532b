// SPDX-License-Identifier: Apache-2.0
// The connections of two workers, with outcomes made by hand: who is told, who is believed, what is held, what goes stale.
#include "agent/connections.h"

#include <gtest/gtest.h>

#include <deque>

#include "agent/connection_flows.h"
#include "agent/test_connection_ends.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

TEST_F(ConnectionsTest, ThePacketWaitsUntilTheOtherHostKnows) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(web_)), now_);
  ASSERT_EQ(begun.refused, sim::DropReason::none);
  const HostId tell[] = {h2.id};
  EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::wait);
  EXPECT_TRUE(h1->is_waiting(begun.number));
  EXPECT_EQ(carry(), 2u);  // the record, and that it is stored
  EXPECT_EQ(h1->take_released(), std::vector{begun.number});
  EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::done);
  EXPECT_EQ(carry(), 0u);
  const auto there = h2->table().find(state::Zone{blue_.uuid}, web_.reversed(), now_);
  ASSERT_TRUE(there);
  EXPECT_EQ(there->direction, Direction::reply);
  EXPECT_EQ(h2->counters().taken_over, 1u);
}

TEST_F(ConnectionsTest, ItIsSentAnywayAndToldAgainUntilSomebodyAnswers) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(web_)), now_);
  const HostId tell[] = {h2.id};
  ASSERT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::wait);
  lose();
  now_ = now_ + 2ms;
  h1->run(now_);
  EXPECT_TRUE(h1->take_released().empty());
  now_ = now_ + 1ms;
  h1->run(now_);
  EXPECT_EQ(h1->take_released(), std::vector{begun.number});
  // With each packet, as often as the options say; the first was one of them.
  for (unsigned i = 1; i + 1 < options_.tell_with_packets; ++i) {
    EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::going) << i;
    EXPECT_EQ(h1->take_messages().size(), 1u);
  }
  EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::done);
  lose();
  EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::done);
  EXPECT_TRUE(h1->take_messages().empty());
  // Then by the clock.
  now_ = now_ + 999ms;
  h1->run(now_);
  EXPECT_TRUE(h1->take_messages().empty());
  now_ = now_ + 1ms;
  h1->run(now_);
  EXPECT_EQ(carry(), 2u);
  now_ = now_ + 5s;
  h1->run(now_);
  EXPECT_TRUE(h1->take_messages().empty()) << "acknowledged";
  EXPECT_EQ(h2->table().size(), 1u);
}

TEST_F(ConnectionsTest, FactsOfTheAnsweringHostTravelBack) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(name_)), now_);
  const HostId tell[] = {h2.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  (void)h1->take_stale();
  const auto there = h2->table().find(state::Zone{blue_.uuid}, name_.reversed(), now_);
  ASSERT_TRUE(there);
  h2->saw({there->number, Direction::reply, std::nullopt}, b_, now_);
  h2->run(now_);
  carry();
  EXPECT_TRUE(h1->table().connection(begun.number).replied());
  // What was right for an unanswered connection may be wrong now.
  const auto stale = h1->take_stale();
  ASSERT_EQ(stale.size(), 1u);
  EXPECT_EQ(stale[0].tuple, name_);
  EXPECT_FALSE(stale[0].replaced);
  // Nothing new: nothing is said.
  h2->saw({there->number, Direction::reply, std::nullopt}, b_, now_);
  now_ = now_ + 1s;
  h2->run(now_);
  EXPECT_TRUE(h2->take_messages().empty());
}

TEST_F(ConnectionsTest, NewsOfOneRecordIsBatched) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(web_)), now_);
  const HostId tell[] = {h2.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  const auto there = h2->table().find(state::Zone{blue_.uuid}, web_.reversed(), now_);
  ASSERT_TRUE(there);
  const auto reply = [&](state::Segment s) {
    h2->saw({there->number, Direction::reply, s}, b_, now_);
    h2->run(now_);
  };
  reply(state::Segment::syn_ack);
  EXPECT_EQ(carry(), 1u);
  reply(state::Segment::ack);
  reply(state::Segment::fin);
  EXPECT_EQ(carry(), 0u) << "within 100 ms of the news before";
  now_ = now_ + 100ms;
  h2->run(now_);
  EXPECT_EQ(carry(), 1u);
  EXPECT_EQ(h1->table().seen(begun.number)[1], h2->table().seen(there->number)[1]);
}

TEST_F(ConnectionsTest, OnlyTheHostOfThePortMayMakeItsRecords) {
  HostEnd &h2 = ends_[1], &h3 = ends_[2];
  // h3 says that a's machine, which is at h1, has opened a connection to b.
  const auto forged = encode({MessageKind::record, h3.id, record(web_)}, now_);
  h2->receive(h3.address, forged, now_);
  EXPECT_EQ(h2->table().size(), 0u);
  EXPECT_EQ(h2->counters().not_believed, 1u);
  // As h1, but from its own address.
  h2->receive(h3.address, encode({MessageKind::record, ends_[0].id, record(web_)}, now_), now_);
  EXPECT_EQ(h2->counters().not_believed, 2u);
  // h2's own connection to a: h1 may not say that a has opened one to b. What h2 is the answering end of, it may not begin.
  ends_[0]->receive(h2.address, encode({MessageKind::record, h2.id, record(web_)}, now_), now_);
  EXPECT_EQ(ends_[0]->table().size(), 0u);
  EXPECT_EQ(ends_[0]->counters().not_believed, 1u);
  ends_[0]->receive(h2.address, encode({MessageKind::news, h2.id, record(web_)}, now_), now_);
  EXPECT_EQ(ends_[0]->table().size(), 0u) << "nor by news";
  // In a zone that is not the port's.
  Connection elsewhere = record(web_);
  elsewhere.reply_zone = state::Zone{Uuid::derived("bridge", "green")};
  h2->receive(ends_[0].address, encode({MessageKind::record, ends_[0].id, elsewhere}, now_), now_);
  EXPECT_EQ(h2->table().size(), 0u);
  // The real one.
  h2->receive(ends_[0].address, encode({MessageKind::record, ends_[0].id, record(web_)}, now_),
              now_);
  EXPECT_EQ(h2->table().size(), 1u);
  EXPECT_TRUE(h2->take_messages().size() == 1);
}

TEST_F(ConnectionsTest, AFencedHostIsNotBelieved) {
  cloud_.hosts[ends_[0].id].fenced = true;
  publish();
  ends_[1]->receive(ends_[0].address,
                    encode({MessageKind::record, ends_[0].id, record(web_)}, now_), now_);
  EXPECT_EQ(ends_[1]->table().size(), 0u);
  EXPECT_EQ(ends_[1]->counters().not_believed, 1u);
}

TEST_F(ConnectionsTest, DamagedMessagesAreCountedAndDoNothing) {
  const auto good = encode({MessageKind::record, ends_[0].id, record(web_)}, now_);
  size_t bad = 0;
  for (size_t cut = 0; cut < good.size(); ++cut, ++bad)
    ends_[1]->receive(ends_[0].address, std::span(good).first(cut), now_);
  for (const auto& [at, value] : {std::pair<size_t, uint8_t>{0, 'X'}, {2, 9}, {3, 0}, {3, 6}}) {
    auto damaged = good;
    damaged[at] = value;
    ends_[1]->receive(ends_[0].address, damaged, now_);
    ++bad;
  }
  EXPECT_EQ(ends_[1]->counters().unreadable, bad);
  EXPECT_EQ(ends_[1]->table().size(), 0u);
  EXPECT_TRUE(ends_[1]->take_messages().empty());
}

TEST_F(ConnectionsTest, ARefusalElsewhereHoldsNobodyUp) {
  ConnectionOptions none = options_;
  none.limits.total = 0;
  ends_[1].connections = std::make_unique<Connections>(none, 7);
  publish();
  const auto begun = ends_[0]->begin(beginning(record(web_)), now_);
  const HostId tell[] = {ends_[1].id};
  ASSERT_EQ(ends_[0]->tell(begun.number, Direction::original, tell, now_), Telling::wait);
  carry();
  EXPECT_EQ(ends_[0]->take_released(), std::vector{begun.number});
  EXPECT_EQ(ends_[0]->counters().refused_elsewhere, 1u);
  EXPECT_EQ(ends_[1]->counters().refused_here, 1u);
}

TEST_F(ConnectionsTest, LimitsAreDropReasons) {
  ConnectionOptions few = options_;
  few.limits.port = 1;
  few.limits.port_embryonic = 1;
  Connections one(few, 7);
  one.publish(nullptr, *ends_[0].snapshot, {}, now_);
  Connection answered = state::answered(record(web_));
  ASSERT_EQ(one.begin(beginning(answered), now_).refused, sim::DropReason::none);
  EXPECT_EQ(one.begin(beginning(record(name_)), now_).refused,
            sim::DropReason::connections_of_port);
  few.limits = {};
  few.limits.total = 0;
  Connections full(few, 7);
  full.publish(nullptr, *ends_[0].snapshot, {}, now_);
  EXPECT_EQ(full.begin(beginning(record(web_)), now_).refused, sim::DropReason::connections_full);
}

TEST_F(ConnectionsTest, WhatMakesRoomTakesItsFlowsAlong) {
  ConnectionOptions few = options_;
  few.limits.port_embryonic = 1;
  Connections one(few, 7);
  one.publish(nullptr, *ends_[0].snapshot, {}, now_);
  ASSERT_EQ(one.begin(beginning(record(web_)), now_).refused, sim::DropReason::none);
  (void)one.take_stale();
  ASSERT_EQ(one.begin(beginning(record(name_)), now_).refused, sim::DropReason::none);
  std::vector<state::Tuple> stale;
  for (const StaleTuple& s : one.take_stale()) {
    EXPECT_TRUE(s.replaced);
    stale.push_back(s.tuple);
  }
  EXPECT_EQ(stale, (std::vector{web_, name_}));
  EXPECT_EQ(one.counters().displaced, 1u);
}

TEST_F(ConnectionsTest, RecordsExpireAndAreForgottenEverywhere) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(name_)), now_);
  const HostId tell[] = {h2.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  lose();
  (void)h1->take_stale();
  now_ = now_ + 40s;
  for (int i = 0; i < 3; ++i) h1->run(now_);
  EXPECT_EQ(h1->table().size(), 0u);
  EXPECT_EQ(h1->counters().expired, 1u);
  EXPECT_EQ(h1->take_released(), std::vector{begun.number}) << "nobody waits for ever";
  const auto stale = h1->take_stale();
  ASSERT_EQ(stale.size(), 1u);
  EXPECT_TRUE(stale[0].replaced);
  lose();
  now_ = now_ + 10s;
  h1->run(now_);
  EXPECT_TRUE(h1->take_messages().empty());
}

TEST_F(ConnectionsTest, TrafficOneWayKeepsTheRecordAtBothEnds) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const auto begun = h1->begin(beginning(record(name_)), now_);
  const HostId tell[] = {h2.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  for (int second = 0; second < 200; ++second) {
    now_ = now_ + 1s;
    h1->touch(state::Zone{blue_.uuid}, name_, now_, now_);
    for (HostEnd& end : ends_) end->run(now_);
    carry();
  }
  EXPECT_EQ(h1->table().size(), 1u);
  EXPECT_EQ(h2->table().size(), 1u) << "no packet of it enters at h2";
  EXPECT_LT(h1->counters().news, 40u);
}

TEST_F(ConnectionsTest, RecordsGoWhereTheirPortGoes) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  const auto begun = h1->begin(beginning(record(web_)), now_);
  const HostId tell[] = {h2.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  const auto reply = h2->table().find(state::Zone{blue_.uuid}, web_.reversed(), now_);
  ASSERT_TRUE(reply);
  h2->saw({reply->number, Direction::reply, state::Segment::syn_ack}, b_, now_);
  cloud_.bind(b_, h3.id);
  publish({b_});
  h2->run(now_);
  carry();
  const auto there = h3->table().find(state::Zone{blue_.uuid}, web_.reversed(), now_);
  ASSERT_TRUE(there);
  EXPECT_TRUE(h3->table().connection(there->number).replied());
  // The old host keeps it as long as packets may come for the old tunnel key.
  EXPECT_EQ(h2->table().size(), 1u);
  now_ = now_ + 31s;
  h2->run(now_);
  EXPECT_EQ(h2->table().size(), 0u);
  EXPECT_EQ(h1->table().size(), 1u);
}

TEST_F(ConnectionsTest, ADeletedPortTakesItsRecordsAlong) {
  (void)ends_[0]->begin(beginning(record(web_)), now_);
  (void)ends_[0]->take_stale();
  cloud_.ports.erase(b_);
  cloud_.bindings.erase(b_);
  publish({b_});
  EXPECT_EQ(ends_[0]->table().size(), 0u);
  EXPECT_EQ(ends_[0]->take_stale().size(), 1u);
}

TEST_F(ConnectionsTest, ADeletedDeviceTakesItsRecordsAlongUnlessAnotherHasItsId) {
  // The ports stay, so it is the device that the records go with.
  const RouterId twin{blue_.uuid};
  cloud_.routers[twin] = {.id = twin, .name = "twin", .ports = {}, .routes = {}};
  publish();
  (void)ends_[0]->begin(beginning(record(web_)), now_);
  cloud_.routers.erase(twin);
  publish(std::vector{TagChange{{TagKind::router, twin.uuid}, {}}});
  EXPECT_EQ(ends_[0]->table().size(), 1u) << "whose bridge is still there";
  cloud_.bridges.erase(blue_);
  publish(std::vector{TagChange{{TagKind::bridge, blue_.uuid}, {}}});
  EXPECT_EQ(ends_[0]->table().size(), 0u);
}

/// What the first packet of a tuple begins when it is flooded.
Connection flooded(Connection c) {
  c.reply_port = {};
  return c;
}

TEST_F(ConnectionsTest, WhoAnswersWhatWasFloodedHasTheConnection) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  for (const state::Tuple& tuple : {web_, state::tcp("2001:db8:1::1", 4000, "2001:db8:1::2", 80)}) {
    const auto begun = h1->begin(beginning(flooded(record(tuple))), now_);
    const HostId tell[] = {h2.id, h3.id};
    EXPECT_EQ(h1->tell(begun.number, Direction::original, tell, now_), Telling::wait);
    carry();
    const auto there = h2->table().find(state::Zone{blue_.uuid}, tuple.reversed(), now_);
    ASSERT_TRUE(there);
    h2->saw({there->number, Direction::reply, state::Segment::syn_ack}, b_, now_);
    EXPECT_EQ(h2->table().connection(there->number).reply_port, b_);
    h2->run(now_);
    carry();
    EXPECT_EQ(h1->table().connection(begun.number).reply_port, b_);
    // From now on both hear of each other.
    h1->saw({begun.number, Direction::original, state::Segment::ack}, a_, now_);
    now_ = now_ + 100ms;
    for (HostEnd& end : ends_) end->run(now_);
    carry();
    for (const Connection& c :
         {h1->table().connection(begun.number), h2->table().connection(there->number)})
      EXPECT_EQ(state::tcp_state_of(c.seen), state::TcpState::established);
  }
  // The machine goes to a host that knew of the flood, and takes along what has become of it.
  cloud_.bind(b_, h3.id);
  publish({b_});
  h2->run(now_);
  carry();
  const auto moved = h3->table().find(state::Zone{blue_.uuid}, web_.reversed(), now_);
  ASSERT_TRUE(moved);
  EXPECT_EQ(h3->table().connection(moved->number).reply_port, b_);
  EXPECT_EQ(state::tcp_state_of(h3->table().seen(moved->number)), state::TcpState::established);
}

TEST_F(ConnectionsTest, OfTwoThatAnswerAFloodTheFirstHasTheConnection) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  const auto begun = h1->begin(beginning(flooded(record(name_))), now_);
  const HostId tell[] = {h2.id, h3.id};
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  const auto answer = [&](HostEnd& end, const PortId& port) {
    const auto there = end->table().find(state::Zone{blue_.uuid}, name_.reversed(), now_);
    end->saw({there->number, Direction::reply, std::nullopt}, port, now_);
    end->run(now_);
    carry();
  };
  answer(h2, b_);
  const uint64_t believed = h1->counters().not_believed;
  answer(h3, c_);
  EXPECT_EQ(h1->table().connection(begun.number).reply_port, b_);
  EXPECT_EQ(h1->counters().not_believed, believed + 1);
  // By the tunnel nobody knows from which port.
  const auto other = h1->begin(beginning(flooded(record(web_))), now_);
  h1->saw({other.number, Direction::reply, state::Segment::syn_ack}, {}, now_);
  EXPECT_TRUE(h1->table().connection(other.number).reply_port.is_nil());
}

/// A record whose destination a balancer has translated to a member.
Connection balanced(Connection c, std::string_view member) {
  state::Tuple after = c.original;
  after.dst = state::ip(member);
  c.translations.push_back({Uuid::derived("load balancer", "web"), Uuid::derived("member", member),
                            state::TranslationKind::member, after});
  return c;
}

TEST_F(ConnectionsTest, WhatAHostHasForgottenItTakesBackFromWhoKeptIt) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const HostId tell[] = {h2.id};
  const std::tuple<state::Tuple, std::string, std::string> families[] = {
      {web_, "10.0.0.20", "10.0.0.21"},
      {state::tcp("2001:db8:1::1", 4000, "2001:db8:1::2", 80), "2001:db8:1::20", "2001:db8:1::21"}};
  for (const auto& [tuple, first, second] : families) {
    const auto begun = h1->begin(beginning(balanced(record(tuple), first)), now_);
    (void)h1->tell(begun.number, Direction::original, tell, now_);
    carry();
    const auto there = h2->table().find(state::Zone{blue_.uuid}, tuple, now_);
    ASSERT_TRUE(there);
    h2->saw({there->number, Direction::reply, state::Segment::syn_ack}, b_, now_);
    lose();
    // h1 knows nothing any more, and chooses another member.
    h1.connections = std::make_unique<Connections>(options_, 7);
    publish();
    const auto again = h1->begin(beginning(balanced(record(tuple), second)), now_);
    EXPECT_EQ(h1->tell(again.number, Direction::original, tell, now_), Telling::wait);
    carry();
    EXPECT_EQ(h1->counters().adopted, 1u);
    EXPECT_EQ(h1->take_released(), std::vector{again.number}) << "it goes, by the old choice";
    const auto back = h1->table().find(state::Zone{blue_.uuid}, tuple, now_);
    ASSERT_TRUE(back);
    const Connection now_known = h1->table().connection(back->number);
    EXPECT_EQ(now_known.final_tuple().dst, state::ip(first));
    EXPECT_TRUE(now_known.replied());
    EXPECT_EQ(h2->table().connection(there->number).final_tuple().dst, state::ip(first));
  }
}

TEST_F(ConnectionsTest, WhatCannotBeTakenBackGivesWayToTheNewChoice) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  const HostId tell[] = {h2.id};
  const auto begun = h1->begin(beginning(balanced(record(web_), "10.0.0.20")), now_);
  (void)h1->tell(begun.number, Direction::original, tell, now_);
  carry();
  h1.connections = std::make_unique<Connections>(options_, 7);
  publish();
  // Another connection has the answers' tuple of the old record by now.
  Connection other = record(state::tcp("10.0.0.1", 4000, "10.0.0.20", 80));
  ASSERT_EQ(h1->begin(beginning(other), now_).refused, sim::DropReason::none);
  const auto again = h1->begin(beginning(balanced(record(web_), "10.0.0.21")), now_);
  ASSERT_EQ(h1->tell(again.number, Direction::original, tell, now_), Telling::wait);
  carry();
  EXPECT_EQ(h1->counters().adopted, 0u);
  EXPECT_EQ(h1->take_released().size(), 1u);
  const auto ours = h1->table().find(state::Zone{blue_.uuid}, web_, now_);
  ASSERT_TRUE(ours);
  EXPECT_EQ(h1->table().stamp(ours->number).epoch, 2u);
  EXPECT_EQ(h1->tell(ours->number, Direction::original, tell, now_), Telling::wait);
  carry();
  const auto there = h2->table().find(state::Zone{blue_.uuid}, web_, now_);
  ASSERT_TRUE(there);
  EXPECT_EQ(h2->table().connection(there->number).final_tuple().dst, state::ip("10.0.0.21"));
}

TEST_F(ConnectionsTest, GatewaysThatKeptDifferentChoicesComeToOne) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  // Two uplinks of one router.
  const RouterId edge = cloud_.router("edge");
  const PortId up2 = cloud_.router_port("up2", edge, "02:00:00:00:02:01", {"198.51.100.1/24"});
  const PortId up3 = cloud_.router_port("up3", edge, "02:00:00:00:02:02", {"198.51.100.2/24"});
  cloud_.bind(up2, h2.id);
  cloud_.bind(up3, h3.id);
  cloud_.routers[edge].ports = {std::min(up2, up3), std::max(up2, up3)};
  publish();
  const auto leased = [&](const state::Tuple& tuple, uint16_t port) {
    Connection c = record(tuple);
    c.reply_zone = state::Zone{edge.uuid};
    c.reply_port = up2;
    state::Tuple after = c.original;
    after.src = state::ip("198.51.100.80");
    after.src_port = port;
    c.translations.push_back(
        {edge.uuid, Uuid::derived("pool", "shared"), state::TranslationKind::source, after});
    return c;
  };
  for (const bool answered : {false, true}) {
    const state::Tuple tuple = state::udp("10.0.0.1", answered ? 4001 : 4000, "203.0.113.7", 53);
    const uint16_t first = answered ? 1025 : 1024, second = answered ? 2049 : 2048;
    const auto at = [&](HostEnd& end) {
      const auto found = end->table().find(state::Zone{blue_.uuid}, tuple, now_);
      return found ? end->table().connection(found->number) : Connection{};
    };
    // h3 has not been there.
    const HostId only[] = {h2.id}, both[] = {h2.id, h3.id};
    (void)h1->tell(h1->begin(beginning(leased(tuple, first)), now_).number, Direction::original,
                   only, now_);
    carry();
    if (answered) {
      const auto there = h2->table().find(state::Zone{blue_.uuid}, tuple, now_);
      ASSERT_TRUE(there);
      h2->saw({there->number, Direction::reply, std::nullopt}, up2, now_);
      lose();
    }
    h1.connections = std::make_unique<Connections>(options_, 7);
    h1->publish(nullptr, *h1.snapshot, {}, now_);
    auto number = h1->begin(beginning(leased(tuple, second)), now_).number;
    ASSERT_EQ(h1->tell(number, Direction::original, both, now_), Telling::wait);
    // As often as a packet that is let go comes again.
    for (int i = 0; i < 6; ++i) {
      carry();
      const auto found = h1->table().find(state::Zone{blue_.uuid}, tuple, now_);
      ASSERT_TRUE(found);
      number = found->number;
      if (h1->tell(number, Direction::original, both, now_) == Telling::done) break;
    }
    EXPECT_EQ(h1->counters().adopted, 1u) << "not to and fro";
    EXPECT_EQ(h1->tell(number, Direction::original, both, now_), Telling::done);
    carry();
    for (HostEnd& end : ends_) {
      EXPECT_EQ(at(end).final_tuple().src_port, first);
      EXPECT_EQ(at(end).stamp.epoch, 2u);
      EXPECT_EQ(at(end).replied(), answered);
    }
  }
}

/// Two uplinks of one router, of which one was bound after the connection began, and both members at one host.
TEST_F(ConnectionsTest, AnUplinkThatWasNotToldGoesOnWithWhatIsAnswered) {
  HostEnd& h1 = ends_[0];
  const RouterId edge = cloud_.router("edge");
  const PortId up2 = cloud_.router_port("up2", edge, "02:00:00:00:02:01", {"198.51.100.1/24"});
  const PortId up3 = cloud_.router_port("up3", edge, "02:00:00:00:02:02", {"198.51.100.2/24"});
  const PortId other = cloud_.vm("d", blue_, h1.id, "02:00:00:00:00:04", {"10.0.0.4"});
  cloud_.bind(up2, ends_[1].id);
  cloud_.bind(up3, ends_[2].id);
  cloud_.routers[edge].ports = {std::min(up2, up3), std::max(up2, up3)};
  publish();
  const HostId tell[] = {h1.id};
  uint16_t client = 4000;
  // Whichever of the two has the higher id.
  for (const int begins : {1, 2}) {
    HostEnd &first = ends_[begins], &second = ends_[3 - begins];
    const state::Tuple asked = state::tcp("203.0.113.7", ++client, "198.51.100.80", 80);
    const auto to = [&](HostEnd& at, const PortId& up, const PortId& member, const char* address) {
      Connection c = record(asked);
      c.zone = state::Zone{edge.uuid};
      c.port = up;
      c.reply_port = member;
      c.tenant = {};
      c.stamp = {1, at.id};
      state::Tuple after = asked;
      after.dst = state::ip(address);
      c.translations = {
          {edge.uuid, Uuid::derived("member", address), state::TranslationKind::member, after}};
      return c;
    };
    const auto begun =
        first->begin(beginning(to(first, begins == 1 ? up2 : up3, a_, "10.0.0.1")), now_);
    ASSERT_EQ(first->tell(begun.number, Direction::original, tell, now_), Telling::wait);
    carry();
    const auto there = h1->table().find(state::Zone{edge.uuid}, asked, now_);
    ASSERT_TRUE(there);
    h1->saw({there->number, Direction::reply, state::Segment::syn_ack, false}, a_, now_);
    h1->run(now_);
    carry();
    Connection chosen = to(second, begins == 1 ? up3 : up2, other, "10.0.0.4");
    chosen.seen = {state::seen::kAck | state::seen::kMidstream, 0};
    const auto again = second->begin(beginning(chosen), now_);
    ASSERT_EQ(second->tell(again.number, Direction::original, tell, now_), Telling::wait);
    carry();
    EXPECT_EQ(second->counters().adopted, 1u);
    for (HostEnd& end : ends_) {
      const auto found = end->table().find(state::Zone{edge.uuid}, asked, now_);
      ASSERT_TRUE(found);
      EXPECT_EQ(end->table().connection(found->number).final_tuple().dst, state::ip("10.0.0.1"));
      EXPECT_TRUE(end->table().connection(found->number).replied());
    }
  }
}

/// Its copy would be forgotten after half a minute, as of one that nobody answers.
TEST_F(ConnectionsTest, AnotherUplinkHearsOfTheAnswer) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  const RouterId edge = cloud_.router("edge");
  const PortId up2 = cloud_.router_port("up2", edge, "02:00:00:00:02:01", {"198.51.100.1/24"});
  const PortId up3 = cloud_.router_port("up3", edge, "02:00:00:00:02:02", {"198.51.100.2/24"});
  cloud_.ports.erase(c_);
  cloud_.bind(up2, h2.id);
  cloud_.bind(up3, h3.id);
  cloud_.routers[edge].ports = {std::min(up2, up3), std::max(up2, up3)};
  publish();
  const state::Tuple asked = state::udp("203.0.113.7", 4000, "198.51.100.80", 53);
  Connection c = record(asked);
  c.zone = state::Zone{edge.uuid};
  c.port = up2;
  c.reply_port = a_;
  c.tenant = {};
  c.stamp = {1, h2.id};
  const HostId tell[] = {h1.id, h3.id};
  // Where nothing was chosen any uplink does the same: nobody is believed for another's port.
  auto begun = h2->begin(beginning(c), now_);
  (void)h2->tell(begun.number, Direction::original, tell, now_);
  carry();
  EXPECT_FALSE(h3->table().find(state::Zone{edge.uuid}, asked, now_));
  EXPECT_GT(h3->counters().not_believed, 0u);

  state::Tuple after = asked;
  after.dst = state::ip("10.0.0.1");
  c.stamp.epoch = 2;
  c.translations = {
      {edge.uuid, Uuid::derived("member", "1"), state::TranslationKind::member, after}};
  begun = h2->begin(beginning(c), now_);
  (void)h2->tell(begun.number, Direction::original, tell, now_);
  carry();
  const auto there = h3->table().find(state::Zone{edge.uuid}, asked, now_);
  ASSERT_TRUE(there);
  EXPECT_FALSE(h3->table().connection(there->number).replied());
  const auto answers = h1->table().find(state::Zone{edge.uuid}, asked, now_);
  ASSERT_TRUE(answers);
  h1->saw({answers->number, Direction::reply, std::nullopt, false}, a_, now_);
  for (int i = 0; i < 3; ++i) {
    for (HostEnd& end : ends_) end->run(now_);
    carry();
  }
  EXPECT_TRUE(h3->table().connection(there->number).replied());
}

TEST_F(ConnectionsTest, APortThatFloodsLeavesRoomForMessagesOfOthers) {
  ConnectionOptions few = options_;
  few.messages = 16;
  Connections one(few, 7);
  const PortId quiet = cloud_.vm("d", blue_, ends_[0].id, "02:00:00:00:00:04", {"10.0.0.4"});
  publish();
  one.publish(nullptr, *ends_[0].snapshot, {}, now_);
  const HostId tell[] = {ends_[1].id};
  for (uint16_t port = 1; port <= 100; ++port) {
    const auto begun =
        one.begin(beginning(record(state::udp("10.0.0.1", port, "10.0.0.2", 53))), now_);
    (void)one.tell(begun.number, Direction::original, tell, now_);
  }
  Connection c = record(state::udp("10.0.0.4", 1, "10.0.0.2", 53));
  c.port = quiet;
  const uint64_t lost = one.counters().messages_lost;
  EXPECT_EQ(lost, 92u);
  (void)one.tell(one.begin(beginning(c), now_).number, Direction::original, tell, now_);
  EXPECT_EQ(one.counters().messages_lost, lost);
  EXPECT_EQ(one.take_messages().size(), 9u);
  // What was taken is room again.
  (void)one.tell(one.begin(beginning(record(web_)), now_).number, Direction::original, tell, now_);
  EXPECT_EQ(one.take_messages().size(), 1u);
}

TEST_F(ConnectionsTest, ReadsForPeople) {
  EXPECT_EQ(text_of(record(web_)), "tcp 10.0.0.1:4000 > 10.0.0.2:80 syn_sent");
  EXPECT_EQ(text_of(state::answered(record(name_))), "udp 10.0.0.1:4000 > 10.0.0.2:53 answered");
}

Match match_of_tuple(const state::Tuple& t) {
  const Frame frame = state::frame_of(t, 0x10);
  FlowKey key = parse_packet(frame).key;
  key.in_port = 17;
  FlowKey mask;
  mask.in_port = 0xffffffff;
  mask.eth_type = Be16(0xffff);
  mask.ip_proto = 0xff;
  mask.nw.fill(0);
  for (size_t i = 0; i < (key.is_ipv4() ? 8u : 32u); ++i) mask.nw[i] = 0xff;
  mask.tp_src = mask.tp_dst = Be16(0xffff);
  return match_of(key, mask);
}

TEST(ConnectionFlows, AreFoundEitherWayRound) {
  for (const state::Tuple& t :
       {state::tcp("10.0.0.1", 1, "10.0.0.2", 2), state::udp("2001:db8::1", 1, "2001:db8::2", 2)}) {
    ConnectionFlows flows(3);
    const Match there = match_of_tuple(t), back = match_of_tuple(t.reversed());
    ASSERT_EQ(tuple_of(there), t);
    flows.add(there);
    flows.add(there);
    flows.add(back);
    EXPECT_EQ(flows.of(t).size(), 2u);
    EXPECT_EQ(flows.of(t.reversed()).size(), 2u);
    flows.remove(there);
    EXPECT_EQ(flows.of(t), std::vector{back});
    flows.remove(back);
    EXPECT_EQ(flows.size(), 0u);
  }
}

TEST(ConnectionFlows, WiderClassesAreOfNoConnection) {
  const Match exact = match_of_tuple(state::tcp("10.0.0.1", 1, "10.0.0.2", 2));
  for (const auto& open : std::initializer_list<void (*)(FlowKey&)>{
           [](FlowKey& m) { m.tp_src = {}; }, [](FlowKey& m) { m.nw[7] = 0xfe; },
           [](FlowKey& m) { m.ip_proto = 0; }, [](FlowKey& m) { m.eth_type = {}; }}) {
    FlowKey mask = exact.mask;
    open(mask);
    EXPECT_FALSE(tuple_of(match_of(exact.key, mask)));
  }
}

}  // namespace
}  // namespace plexus::agent
