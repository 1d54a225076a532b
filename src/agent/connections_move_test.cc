// SPDX-License-Identifier: Apache-2.0
// Connections whose packets go elsewhere than at their beginning: who is told, who is believed, for how long.
#include <functional>

#include "agent/test_connection_ends.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

/// Translated to a member by a balancer.
Connection balanced(Connection c, std::string_view member) {
  state::Tuple after = c.original;
  after.dst = state::ip(member);
  c.translations.push_back({Uuid::derived("load balancer", "web"), Uuid::derived("member", member),
                            state::TranslationKind::member, after});
  return c;
}

/// A connection of a's machine to b's that has been answered; h1 and h2 know it, h3 does not.
class ConnectionsThatMove : public ConnectionsTest {
 protected:
  void begin(const state::Tuple& tuple) {
    HostEnd &h1 = ends_[0], &h2 = ends_[1];
    const auto begun = h1->begin(beginning(record(tuple)), now_);
    const HostId tell[] = {h2.id};
    (void)h1->tell(begun.number, Direction::original, tell, now_);
    carry();
    const bool tcp = tuple.protocol == ip_proto::kTcp;
    const auto there = h2->table().find(state::Zone{blue_.uuid}, tuple.reversed(), now_);
    h2->saw({there->number, Direction::reply,
             tcp ? std::optional(state::Segment::syn_ack) : std::nullopt},
            b_, now_);
    if (tcp) h1->saw({begun.number, Direction::original, state::Segment::ack}, a_, now_);
    now_ = now_ + 100ms;
    for (HostEnd& end : ends_) end->run(now_);
    carry();
    for (HostEnd& end : ends_) (void)end->take_released();
  }
  [[nodiscard]] state::ConnectionNumber number_at(HostEnd& end, const state::Tuple& tuple) {
    const auto found = end->table().find(state::Zone{blue_.uuid}, tuple, now_);
    EXPECT_TRUE(found);
    return found ? found->number : 0;
  }
};

TEST_F(ConnectionsThatMove, WhereTheAddressIsNowIsToldOnce) {
  for (const state::Tuple& tuple : {web_, state::tcp("2001:db8:1::1", 4000, "2001:db8:1::2", 80)}) {
    begin(tuple);
    HostEnd &h1 = ends_[0], &h3 = ends_[2];
    const auto number = number_at(h1, tuple);
    const HostId before[] = {ends_[1].id}, after[] = {h3.id};
    EXPECT_EQ(h1->tell(number, Direction::original, before, now_), Telling::done);
    EXPECT_EQ(carry(), 0u) << "who has answered knows";
    EXPECT_EQ(h1->tell(number, Direction::original, after, now_), Telling::wait);
    EXPECT_EQ(carry(), 2u);
    EXPECT_EQ(h1->take_released(), std::vector{number});
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(h1->tell(number, Direction::original, after, now_), Telling::done);
    EXPECT_EQ(h1->tell(number, Direction::original, before, now_), Telling::done);
    EXPECT_EQ(carry(), 0u);
    // What is seen there comes back, and what is seen here goes there.
    const auto there = number_at(h3, tuple);
    h1->saw({number, Direction::original, state::Segment::fin}, a_, now_);
    now_ = now_ + 100ms;
    h1->run(now_);
    carry();
    EXPECT_EQ(state::tcp_state_of(h3->table().seen(there)), state::TcpState::fin_wait);
    h3->saw({there, Direction::reply, state::Segment::rst}, c_, now_);
    h3->run(now_);
    carry();
    EXPECT_EQ(state::tcp_state_of(h1->table().seen(number)), state::TcpState::closed);
    EXPECT_EQ(h1->counters().not_believed + h3->counters().not_believed, 0u);
  }
}

TEST_F(ConnectionsThatMove, WhereTheAddressOfTheClientIsNowIsToldOnce) {
  begin(web_);
  HostEnd &h2 = ends_[1], &h3 = ends_[2];
  const auto number = number_at(h2, web_.reversed());
  const HostId before[] = {ends_[0].id}, after[] = {h3.id};
  EXPECT_EQ(h2->tell(number, Direction::reply, before, now_), Telling::done);
  EXPECT_EQ(h2->tell(number, Direction::reply, after, now_), Telling::wait);
  EXPECT_EQ(carry(), 2u);
  EXPECT_EQ(h2->take_released(), std::vector{number});
  // More is seen: it is still known who has been told.
  h2->saw({number, Direction::reply, state::Segment::ack}, b_, now_);
  carry();
  EXPECT_EQ(h2->tell(number, Direction::reply, after, now_), Telling::done);
  const auto there = h3->table().find(state::Zone{blue_.uuid}, web_, now_);
  ASSERT_TRUE(there);
  EXPECT_EQ(there->direction, Direction::original);
  h3->saw({there->number, Direction::original, state::Segment::rst}, c_, now_);
  now_ = now_ + 100ms;
  h3->run(now_);
  carry();
  EXPECT_EQ(state::tcp_state_of(h2->table().seen(number)), state::TcpState::closed);
  EXPECT_EQ(h2->counters().not_believed + h3->counters().not_believed, 0u);
}

TEST_F(ConnectionsThatMove, OnlyWhoSpeaksForAnEndTellsOthers) {
  begin(web_);
  HostEnd &h1 = ends_[0], &h3 = ends_[2];
  // h3 has only a port of the same bridge: neither a record nor facts.
  const Connection other = record(state::tcp("10.0.0.1", 4001, "10.0.0.2", 80));
  Connection known = record(web_);
  known.seen = {state::seen::kRst, state::seen::kRst};
  for (HostEnd* end : {&h1, &ends_[1]}) {
    for (const MessageKind kind : {MessageKind::record, MessageKind::news})
      for (const Connection& c : {other, known})
        (*end)->receive(h3.address, encode({kind, h3.id, c}, now_), now_);
    EXPECT_EQ((*end)->counters().not_believed, 4u);
    EXPECT_EQ((*end)->table().size(), 1u);
  }
  EXPECT_EQ(state::tcp_state_of(h1->table().seen(number_at(h1, web_))),
            state::TcpState::established);
}

TEST_F(ConnectionsThatMove, WhoIsWhereAnswersMayEnterChangesNoRecord) {
  begin(web_);
  HostEnd &h2 = ends_[1], &h3 = ends_[2];
  // d is at h1 beside a: its host says that b, or d itself, answers what c has begun.
  const PortId d = cloud_.vm("d", blue_, ends_[0].id, "02:00:00:00:00:04", {"10.0.0.4"});
  publish({d});
  const auto says = [&](HostEnd& to, const Connection& c, MessageKind kind = MessageKind::record) {
    to->receive(ends_[0].address, encode({kind, ends_[0].id, c}, now_), now_);
    lose();
  };
  Connection real = record(state::tcp("10.0.0.3", 4000, "10.0.0.2", 80));
  real.port = c_;
  real.stamp = {1, h3.id};
  h2->receive(h3.address, encode({MessageKind::record, h3.id, real}, now_), now_);
  lose();
  const auto found = h2->table().find(state::Zone{blue_.uuid}, real.original, now_);
  ASSERT_TRUE(found);
  const Connection before = h2->table().connection(found->number);
  Connection forged = real;
  forged.reply_port = d;
  forged.stamp.epoch = UINT32_MAX;
  forged.seen = {state::seen::kRst, state::seen::kRst};
  for (const MessageKind kind : {MessageKind::record, MessageKind::news}) says(h2, forged, kind);
  forged.stamp.epoch = 1;
  says(h2, forged);
  says(h2, balanced(forged, "10.0.0.4"));
  EXPECT_EQ(h2->table().connection(found->number), before);
  EXPECT_EQ(h2->counters().refused_here, 4u);

  // What is not known there it begins, on account of who is known there.
  const size_t known = h2->table().size();
  Connection told = record(state::tcp("10.0.0.3", 4001, "10.0.0.4", 80));
  told.port = c_;
  told.reply_port = d;
  Connection strange = told, tenants = told;
  strange.port = PortId{Uuid::derived("port", "nobody's")};
  tenants.tenant = Uuid::derived("tenant", "another");
  says(h2, strange);
  says(h2, tenants);
  EXPECT_EQ(h2->table().size(), known);
  EXPECT_EQ(h2->counters().not_believed, 2u);
  says(h2, told);
  EXPECT_EQ(h2->table().size(), known + 1);
  // And adds to.
  told.seen = {state::seen::kSyn, state::seen::kSynAck};
  says(h2, told);
  const auto there = h2->table().find(state::Zone{blue_.uuid}, told.original, now_);
  ASSERT_TRUE(there);
  EXPECT_TRUE(h2->table().connection(there->number).replied());
}

TEST_F(ConnectionsThatMove, AHostThatNeverAnswersIsToldEverMoreSeldom) {
  begin(web_);
  HostEnd& h1 = ends_[0];
  const auto number = number_at(h1, web_);
  const HostId gone[] = {ends_[2].id};
  (void)h1->tell(number, Direction::original, gone, now_);
  const uint64_t before = h1->counters().told + h1->counters().told_again;
  lose();
  for (int second = 0; second < 7200; ++second) {
    now_ = now_ + 1s;
    h1->touch(state::Zone{blue_.uuid}, web_, now_, now_);
    h1->run(now_);
    lose();
  }
  const uint64_t told = h1->counters().told + h1->counters().told_again - before;
  EXPECT_GT(told, 20u);
  EXPECT_LT(told, 200u);
  // When it is there again, it hears of it all the same.
  for (int second = 0; second < 70; ++second) {
    now_ = now_ + 1s;
    h1->run(now_);
    carry();
  }
  EXPECT_EQ(ends_[2]->table().size(), 1u);
  EXPECT_EQ(h1->tell(number, Direction::original, gone, now_), Telling::done);
}

TEST_F(ConnectionsThatMove, WhoIsNotBelievedHoldsAndSaysNothing) {
  begin(web_);
  HostEnd &h1 = ends_[0], &h3 = ends_[2];
  const HostId after[] = {h3.id}, fourth[] = {HostId{Uuid::derived("host", "h4")}};
  (void)h1->tell(number_at(h1, web_), Direction::original, after, now_);
  carry();
  // The server's address is at h3; by now the client's is at h4, which knows h3 for neither end.
  EXPECT_EQ(h3->tell(number_at(h3, web_), Direction::reply, fourth, now_), Telling::done);
  for (int second = 0; second < 200; ++second) {
    now_ = now_ + 1s;
    h3->run(now_);
    for (const PeerMessage& m : h3->take_messages()) EXPECT_NE(m.to, fourth[0]);
  }
}

TEST_F(ConnectionsThatMove, TrafficOneWayKeepsTheRecordWhereTheAddressIsNow) {
  begin(name_);
  HostEnd &h1 = ends_[0], &h3 = ends_[2];
  const HostId after[] = {h3.id};
  (void)h1->tell(number_at(h1, name_), Direction::original, after, now_);
  carry();
  for (int second = 0; second < 400; ++second) {
    now_ = now_ + 1s;
    h1->touch(state::Zone{blue_.uuid}, name_, now_, now_);
    for (HostEnd& end : ends_) end->run(now_);
    carry();
  }
  EXPECT_EQ(h3->table().size(), 1u) << "no packet of it enters at h3";
  EXPECT_LT(h1->counters().news, 40u);
}

TEST_F(ConnectionsThatMove, WhatIsAnsweredIsNotGivenUpForAnEarlierConnection) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  // An earlier one of the same client's port went to another member, and only h3 has kept it.
  Connection earlier = balanced(record(web_), "10.0.0.3");
  earlier.reply_port = c_;
  earlier.seen = {state::seen::kSyn | state::seen::kAck, state::seen::kSynAck};
  h3->receive(h1.address, encode({MessageKind::record, h1.id, earlier}, now_), now_);
  ASSERT_EQ(h3->table().size(), 1u);
  lose();
  now_ = now_ + 100s;
  const auto begun = h1->begin(beginning(balanced(record(web_), "10.0.0.20")), now_);
  ASSERT_EQ(begun.refused, sim::DropReason::none);
  const HostId first[] = {h2.id}, after[] = {h3.id};
  (void)h1->tell(begun.number, Direction::original, first, now_);
  carry();
  const auto there = h2->table().find(state::Zone{blue_.uuid}, web_, now_);
  ASSERT_TRUE(there);
  h2->saw({there->number, Direction::reply, state::Segment::syn_ack}, b_, now_);
  h2->run(now_);
  carry();
  // The member's address is at h3 now.
  (void)h1->tell(begun.number, Direction::original, after, now_);
  carry();
  EXPECT_EQ(h1->counters().adopted, 0u);
  for (HostEnd& end : ends_) {
    const auto found = end->table().find(state::Zone{blue_.uuid}, web_, now_);
    ASSERT_TRUE(found);
    const Connection c = end->table().connection(found->number);
    EXPECT_EQ(c.final_tuple().dst, state::ip("10.0.0.20"));
    EXPECT_EQ(c.stamp.epoch, 2u) << "above the earlier one, everywhere";
    EXPECT_TRUE(c.replied());
  }
}

/// Behind a router whose uplink is at h2; an outside port that the host of `a` has leased.
class ConnectionsBehindALease : public ConnectionsThatMove {
 protected:
  ConnectionsBehindALease() {
    edge_ = cloud_.router("edge");
    up_ = cloud_.router_port("up", edge_, "02:00:00:00:02:01", {"198.51.100.1/24"});
    cloud_.bind(up_, ends_[1].id);
    cloud_.routers[edge_].ports = {up_};
    publish();
  }
  [[nodiscard]] Connection leased(const state::Tuple& tuple, uint16_t port) {
    Connection c = record(tuple);
    c.reply_zone = state::Zone{edge_.uuid};
    c.reply_port = up_;
    state::Tuple after = c.original;
    after.src = state::ip(tuple.src.is_v4() ? "198.51.100.80" : "2001:db8:1::80");
    after.src_port = port;
    c.translations.push_back(
        {edge_.uuid, Uuid::derived("block", "1"), state::TranslationKind::source, after});
    return c;
  }
  /// h1 begins it; h2, where the uplink is, sees the answer.
  void begin_answered(const Connection& c) {
    const auto begun = ends_[0]->begin(beginning(c), now_);
    ASSERT_EQ(begun.refused, sim::DropReason::none);
    (void)ends_[0]->tell(begun.number, Direction::original, uplinks_, now_);
    carry();
    const auto there = ends_[1]->table().find(c.reply_zone, c.entering(Direction::reply), now_);
    ASSERT_TRUE(there);
    ends_[1]->saw({there->number, Direction::reply, std::nullopt}, up_, now_);
    for (HostEnd& end : ends_) end->run(now_);
    carry();
    for (HostEnd& end : ends_) (void)end->take_released();
  }
  void pass(
      int seconds, const std::function<void()>& each_second = [] {}) {
    for (; seconds > 0; --seconds) {
      now_ = now_ + 1s;
      each_second();
      for (HostEnd& end : ends_) end->run(now_);
      carry();
    }
  }
  RouterId edge_;
  PortId up_;
  const HostId uplinks_[1] = {ends_[1].id};
  const state::Tuple out_[2] = {state::udp("10.0.0.1", 4000, "203.0.113.7", 53),
                                state::udp("2001:db8:1::1", 4000, "2001:db8:9::7", 53)};
};

TEST_F(ConnectionsBehindALease, WhoLeasedThePortKeepsTheRecordOfAMachineThatHasLeft) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  for (const state::Tuple& tuple : out_) begin_answered(leased(tuple, 1070));
  begin_answered(balanced(record(name_), "10.0.0.20"));
  cloud_.bind(a_, h3.id);
  publish({a_});
  // Questions of one of them, answers of the other; nobody sees the other direction.
  pass(600, [&] {
    h3->touch(state::Zone{blue_.uuid}, out_[0], now_, now_);
    h2->touch(state::Zone{edge_.uuid}, leased(out_[1], 1070).entering(Direction::reply), now_,
              now_);
  });
  EXPECT_EQ(h1->table().size(), 2u) << "those, and not what has no lease";
  for (const state::Tuple& tuple : out_) {
    const Connection c = leased(tuple, 1070);
    EXPECT_FALSE(h1->table().is_free(c.reply_zone, c.entering(Direction::reply), now_));
  }
  EXPECT_EQ(h1->counters().not_believed, 0u);
  EXPECT_LT(h2->counters().news + h3->counters().news, 120u);
  // Nobody uses them any more.
  pass(400);
  EXPECT_EQ(h1->table().size(), 0u);
}

TEST_F(ConnectionsBehindALease, OnlyTheEndsOfALeaseTellWhoLeasedIt) {
  HostEnd &h1 = ends_[0], &h3 = ends_[2];
  begin_answered(leased(out_[0], 1070));
  // To h2, where the uplink is; h3 is at neither end.
  cloud_.bind(a_, ends_[1].id);
  publish({a_});
  pass(40);
  const auto number = number_at(h1, out_[0]);
  const MonoTime before = h1->table().last_seen(number);
  Connection claimed = h1->table().connection(number);
  claimed.last_seen = now_;
  for (const bool own : {false, true}) {
    if (own) claimed.port = c_;
    h1->receive(h3.address, encode({MessageKind::news, h3.id, claimed}, now_), now_);
  }
  EXPECT_EQ(h1->table().last_seen(number), before);
  EXPECT_EQ(h1->counters().not_believed, 2u);
}

TEST_F(ConnectionsBehindALease, ARefusedLeaseIsGivenUpAndNotChosenAgain) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1];
  for (const state::Tuple& tuple : out_) {
    begin_answered(leased(tuple, 1070));
    h1.connections = std::make_unique<Connections>(options_, 7);
    publish();
    state::Tuple another = tuple;
    another.src_port = 5000;
    const Connection again = leased(another, 1070);
    const state::Tuple answers = again.entering(Direction::reply);
    const auto begun = h1->begin(beginning(again), now_);
    ASSERT_EQ(h1->tell(begun.number, Direction::original, uplinks_, now_), Telling::wait);
    carry();
    EXPECT_EQ(h1->table().size(), 0u);
    EXPECT_EQ(h1->take_released(), std::vector{begun.number}) << "its packet chooses again";
    const sim::ConnectionView view = h1->view();
    ASSERT_NE(view.refused, nullptr);
    EXPECT_EQ(view.refused->refused_by(again.reply_zone, answers, now_), h2.id);
    // Whose it is has it still: there it is taken back.
    const auto own = h1->begin(beginning(leased(tuple, 1071)), now_);
    (void)h1->tell(own.number, Direction::original, uplinks_, now_);
    carry();
    const auto back = h1->table().find(again.reply_zone, answers, now_);
    ASSERT_TRUE(back);
    EXPECT_EQ(h1->table().connection(back->number).original, tuple);
    EXPECT_EQ(h1->counters().adopted, 1u);
    // Not for ever.
    now_ = now_ + options_.refused_lease;
    EXPECT_FALSE(h1->view().refused->refused_by(again.reply_zone, answers, now_));
  }
}

TEST_F(ConnectionsBehindALease, NoOtherRefusalGivesALeaseUp) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  const Connection c = leased(out_[0], 1070);
  const auto begun = h1->begin(beginning(c), now_);
  (void)h1->tell(begun.number, Direction::original, uplinks_, now_);
  lose();
  const auto says = [&](HostEnd& host, MessageKind kind, const Connection& what) {
    h1->receive(host.address, encode({kind, host.id, what}, now_), now_);
  };
  says(h3, MessageKind::taken, c);  // nobody has asked it
  EXPECT_EQ(h1->counters().not_believed, 1u);
  says(h2, MessageKind::refused, c);  // a limit
  EXPECT_EQ(h1->table().size(), 1u);
  EXPECT_EQ(h1->take_released(), std::vector{begun.number});

  // Another offer than what is here by now.
  Connection other = leased(state::udp("10.0.0.1", 4001, "203.0.113.7", 53), 1071);
  const auto second = h1->begin(beginning(other), now_);
  (void)h1->tell(second.number, Direction::original, uplinks_, now_);
  lose();
  other.translations[0].after.src_port = 1072;
  says(h2, MessageKind::taken, other);
  EXPECT_EQ(h1->table().size(), 2u);
}

TEST_F(ConnectionsBehindALease, WhatOneUplinkHasRefusedAnotherDoesNotGiveBack) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  const PortId second = cloud_.router_port("up2", edge_, "02:00:00:00:02:02", {"198.51.100.2/24"});
  cloud_.bind(second, h3.id);
  cloud_.routers[edge_].ports = {std::min(up_, second), std::max(up_, second)};
  publish();
  begin_answered(leased(out_[0], 1070));  // only h2 knows it
  h1.connections = std::make_unique<Connections>(options_, 7);
  publish();
  const state::Tuple other = state::udp("10.0.0.1", 5000, "203.0.113.7", 53);
  const HostId both[] = {h2.id, h3.id};
  const auto begun = h1->begin(beginning(leased(other, 1070)), now_);
  (void)h1->tell(begun.number, Direction::original, both, now_);
  carry();
  EXPECT_EQ(h1->table().size(), 0u);
  EXPECT_EQ(h3->table().size(), 1u) << "has kept what was given up";
  // The held packet has chosen again, and comes as often as it is let go.
  auto number = h1->begin(beginning(leased(other, 1071)), now_).number;
  int tries = 0;
  for (; h1->tell(number, Direction::original, both, now_) != Telling::done && tries < 6; ++tries) {
    carry();
    number = number_at(h1, other);
  }
  EXPECT_LT(tries, 4);
  EXPECT_EQ(h1->counters().adopted, 0u);
  for (HostEnd* end : {&h1, &h2, &h3}) {
    const auto found = (*end)->table().find(state::Zone{blue_.uuid}, other, now_);
    ASSERT_TRUE(found);
    EXPECT_EQ((*end)->table().connection(found->number).final_tuple().src_port, 1071);
  }
}

TEST_F(ConnectionsThatMove, AHostWhereAPortWasForAMomentIsNotToldAnyMore) {
  begin(web_);
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  cloud_.bind(a_, h3.id);
  publish({a_});
  h1->run(now_);
  lose();
  cloud_.bind(a_, h1.id);
  publish({a_});
  for (int second = 0; second < 100; ++second) {
    now_ = now_ + 1s;
    h1->run(now_);
    for (const PeerMessage& m : h1->take_messages()) EXPECT_NE(m.to, h3.id);
  }
  // The next host is told as if nothing had been: at once, then every second.
  cloud_.bind(a_, h3.id);
  publish({a_});
  for (int second = 0; second < 5; ++second) {
    h1->run(now_);
    EXPECT_EQ(h1->take_messages().size(), 1u) << second;
    now_ = now_ + 1s;
  }
  h1->run(now_);
  carry();
  EXPECT_EQ(h3->table().size(), 1u);
  EXPECT_EQ(h2->table().size(), 1u);
}

TEST_F(ConnectionsThatMove, RecordsOfAPortWithoutAddressesLeaveWithIt) {
  HostEnd &h1 = ends_[0], &h2 = ends_[1], &h3 = ends_[2];
  cloud_.vm("d", blue_, h1.id, "02:00:00:00:00:04", {"10.0.0.4"});
  cloud_.ports[a_].addresses.clear();
  publish({a_});
  begin(web_);
  cloud_.bind(a_, h3.id);
  publish({a_});
  h1->run(now_);
  carry();
  now_ = now_ + 31s;
  h1->run(now_);
  EXPECT_EQ(h1->table().size(), 0u);
  EXPECT_EQ(h2->table().size(), 1u);
  EXPECT_EQ(h3->table().size(), 1u);
}

}  // namespace
}  // namespace plexus::agent
