// SPDX-License-Identifier: Apache-2.0
// Connections as two hosts see them: each with a table of its own, records carried over by hand, as agents will tell each
// other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "packet/build.h"
#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"
#include "state/test_connections.h"

namespace plexus::sim {
namespace {

using state::at;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint8_t kSyn = 2, kAck = 16, kSynAck = 18, kRst = 4;

/// vm1 at h1 on red, vm4 at h2 on blue, a router between; vm2 at h2 on red.
class Connections : public testing::Test {
 protected:
  Connections() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    rt = cloud.router("rt");
    rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    rt_blue =
        cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24", "fd00:2::fe/64"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1", "fd00:1::1"});
    vm2 = cloud.vm("vm2", red, h2, "02:00:00:00:01:02", {"10.0.1.2", "fd00:1::2"});
    vm4 = cloud.vm("vm4", blue, h2, "02:00:00:00:02:04", {"10.0.2.4", "fd00:2::4"});
    group = cloud.security_group("web");
    cloud.security_rule("in80", group, true) = rule(true, 80);
    for (const PortId vm : {vm1, vm2, vm4}) {
      cloud.ports[vm].security_groups = {group};
      cloud.ports[vm].tenant = "acme";
    }
    out = cloud.security_group("out");
    (void)cloud.security_rule("any", out, false);
    cloud.ports[vm1].security_groups.push_back(out);
    std::sort(cloud.ports[vm1].security_groups.begin(), cloud.ports[vm1].security_groups.end());
  }

  model::SecurityRule rule(bool ingress, uint16_t port) {
    model::SecurityRule r;
    r.id = SecurityRuleId{Uuid::derived("security rule", ingress ? "in80" : "out80")};
    r.group = group;
    r.name = "80";
    r.ingress = ingress;
    r.protocol = ip_proto::kTcp;
    r.ports = model::PortRange{port, port};
    return r;
  }
  state::ConnectionTable& table(HostId host) {
    auto& t = tables[host];
    if (!t) t = std::make_unique<state::ConnectionTable>(state::ConnectionLimits{});
    return *t;
  }
  /// As it comes in at the host where the port is.
  Outcome send(PortId from, std::string_view to_mac, const state::Tuple& t, uint8_t flags = kSyn) {
    PacketSpec spec{.eth_src = cloud.ports[from].mac,
                    .eth_dst = *MacAddr::parse(to_mac),
                    .src = t.src,
                    .dst = t.dst};
    if (t.echo != state::EchoRole::none)
      return send(from,
                  icmp_echo(spec, t.echo == state::EchoRole::reply, t.src_port | t.dst_port, 1));
    if (t.protocol == ip_proto::kUdp) return send(from, udp_packet(spec, t.src_port, t.dst_port));
    return send(from, tcp_packet(spec, t.src_port, t.dst_port, flags));
  }
  Outcome send(PortId from, Frame frame, Trace* trace = nullptr) {
    sent = std::move(frame);
    const HostId host = cloud.bindings.at(from).host;
    return at_host(host, packet_of(sent, cloud.dp_port(from)), trace);
  }
  Outcome at_host(HostId host, const Packet& packet, Trace* trace = nullptr) {
    Outcome o;
    const auto snapshot = cloud.snapshot(host);
    const ConnectionView known{&table(host), midstream};
    look_ahead({&packet, 1}, *snapshot, known);
    simulate(packet, *snapshot, known, at(now), o, trace);
    last_host = host;
    return o;
  }
  /// What workers do with an outcome: here first, then at all who are to know.
  void act(const Outcome& o) {
    if (o.begins) {
      EXPECT_EQ(table(last_host).commit(o.begins->record, at(now)).refusal, state::Refusal::none);
      for (const HostId host : o.tell)
        EXPECT_EQ(table(host).commit(o.begins->record, at(now)).refusal, state::Refusal::none);
    }
    if (!o.belongs || o.belongs->error) return;
    table(last_host).saw(o.belongs->number, o.belongs->direction, o.belongs->segment, at(now));
    for (const HostId host : o.tell)
      (void)table(host).commit(table(last_host).connection(o.belongs->number), at(now));
  }
  Outcome done(const Outcome& o) {
    act(o);
    return o;
  }
  static constexpr std::string_view kGatewayRed = "02:00:00:00:01:fe",
                                    kGatewayBlue = "02:00:00:00:02:fe";

  TestCloud cloud;
  HostId h1, h2, last_host;
  BridgeId red, blue;
  RouterId rt;
  PortId rt_red, rt_blue, vm1, vm2, vm4;
  SecurityGroupId group, out;
  std::map<HostId, std::unique_ptr<state::ConnectionTable>> tables;
  state::Midstream midstream = state::Midstream::take_up;
  double now = 100;
  Frame sent;
  const state::Tuple request = state::tcp("10.0.1.1", 5000, "10.0.2.4", 80),
                     request6 = state::tcp("fd00:1::1", 5000, "fd00:2::4", 80);
};

TEST_F(Connections, AnswersNeedNoRuleAtEitherEnd) {
  for (const state::Tuple& t : {request, request6}) {
    const Outcome syn = send(vm1, kGatewayRed, t);
    ASSERT_EQ(syn.verdict, Verdict::forward) << to_string(syn.reason);
    EXPECT_FALSE(syn.cacheable);
    ASSERT_TRUE(syn.begins);
    const state::Connection& c = syn.begins->record;
    EXPECT_EQ(c.original, t);
    EXPECT_EQ(c.zone.device, red.uuid);
    EXPECT_EQ(c.reply_zone.device, blue.uuid);
    EXPECT_EQ(c.port, vm1);
    EXPECT_EQ(c.reply_port, vm4);
    EXPECT_EQ(c.tenant, Uuid::derived("tenant", "acme"));
    EXPECT_EQ(c.stamp, (state::Stamp{1, h1}));
    EXPECT_TRUE(c.translations.empty());
    EXPECT_THAT(syn.tell, ElementsAre(h2));
    act(syn);

    const Outcome answer = done(send(vm4, kGatewayBlue, t.reversed(), kSynAck));
    ASSERT_EQ(answer.verdict, Verdict::forward) << to_string(answer.reason);
    ASSERT_TRUE(answer.belongs);
    EXPECT_EQ(answer.belongs->direction, state::Direction::reply);
    EXPECT_FALSE(answer.begins);
    EXPECT_THAT(answer.tell, ElementsAre(h1));

    for (const auto& [from, gateway, tuple] :
         {std::tuple(vm1, kGatewayRed, t), std::tuple(vm4, kGatewayBlue, t.reversed())}) {
      const Outcome data = send(from, gateway, tuple, kAck);
      EXPECT_EQ(data.verdict, Verdict::forward);
      EXPECT_TRUE(data.cacheable);
      EXPECT_EQ(data.mask.tcp_flags & 7, 7);
    }
  }
}

TEST_F(Connections, WithoutARecordTheAnswerIsDropped) {
  const Outcome answer = send(vm4, kGatewayBlue, request.reversed(), kSynAck);
  EXPECT_EQ(answer.reason, DropReason::connection_invalid);
  const Outcome data = send(vm4, kGatewayBlue, request.reversed(), kAck);
  EXPECT_EQ(data.reason, DropReason::filtered_by_security_group);
  // A record may come, and no tag tells of it: flows of the tuple alone, which are found when it does.
  for (const Outcome* o : {&answer, &data}) {
    EXPECT_TRUE(o->cacheable);
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(o->mask.nw[i], 0xff);
    EXPECT_EQ(o->mask.tp_src.host(), 0xffff);
    EXPECT_EQ(o->mask.tp_dst.host(), 0xffff);
    EXPECT_EQ(o->mask.ip_proto, 0xff);
    EXPECT_EQ(o->mask.tcp_flags & 0x17, 0x17) << "SYN, FIN, RST and ACK make a difference";
  }
}

TEST_F(Connections, ARecordIsNoVerdict) {
  act(send(vm1, kGatewayRed, request));
  act(send(vm4, kGatewayBlue, request.reversed(), kSynAck));
  act(send(vm1, kGatewayRed, request, kAck));
  ASSERT_EQ(send(vm4, kGatewayBlue, request.reversed(), kAck).verdict, Verdict::forward);
  cloud.security_rules.clear();
  EXPECT_EQ(send(vm4, kGatewayBlue, request.reversed(), kAck).reason,
            DropReason::filtered_by_security_group);
  EXPECT_EQ(send(vm1, kGatewayRed, request, kAck).reason, DropReason::filtered_by_security_group);
}

TEST_F(Connections, StatelessGroupsLetNoAnswerThrough) {
  cloud.security_groups[group].stateful = false;
  const Outcome syn = send(vm1, kGatewayRed, request);
  ASSERT_EQ(syn.verdict, Verdict::forward);
  act(syn);
  EXPECT_EQ(send(vm4, kGatewayBlue, request.reversed(), kSynAck).reason,
            DropReason::filtered_by_security_group);
  cloud.security_groups[out].stateful = false;
  const Outcome plain = send(vm1, kGatewayRed, request);
  ASSERT_EQ(plain.verdict, Verdict::forward);
  EXPECT_TRUE(plain.cacheable);
  EXPECT_FALSE(plain.begins || plain.belongs) << "nobody asks";
  EXPECT_THAT(plain.tell, IsEmpty());
}

TEST_F(Connections, InvalidSegmentsPassByStatelessGroupsOnly) {
  midstream = state::Midstream::refuse;
  EXPECT_EQ(send(vm1, kGatewayRed, request, kAck).reason, DropReason::connection_invalid);
  cloud.security_groups[out].stateful = false;
  EXPECT_EQ(send(vm1, kGatewayRed, request, kAck).reason, DropReason::connection_invalid)
      << "at the other end";
  cloud.security_groups[group].stateful = false;
  EXPECT_EQ(send(vm1, kGatewayRed, request, kAck).verdict, Verdict::forward);
  cloud.security_groups[out].stateful = true;
  EXPECT_EQ(send(vm1, kGatewayRed, request, kAck).reason, DropReason::connection_invalid);
}

TEST_F(Connections, MidstreamIsTakenUpByThePolicy) {
  const Outcome data = done(send(vm1, kGatewayRed, request, kAck));
  ASSERT_EQ(data.verdict, Verdict::forward);
  ASSERT_TRUE(data.begins);
  EXPECT_NE(data.begins->record.seen[0] & state::seen::kMidstream, 0);
  EXPECT_EQ(send(vm4, kGatewayBlue, request.reversed(), kAck).verdict, Verdict::forward);
  EXPECT_FALSE(send(vm1, kGatewayRed, request, kSyn | kRst).begins);
}

TEST_F(Connections, EchoesAreToldApartByTheirIdentifier) {
  cloud.security_rules.clear();
  (void)cloud.security_rule("any", out, false);
  cloud.security_rule("ping", group, true).icmp_type = 8;
  cloud.security_rules.begin()->second.protocol.reset();
  const state::Tuple ping = state::echo("10.0.1.1", "10.0.2.4", 7);
  const Outcome asked = done(send(vm1, kGatewayRed, ping));
  ASSERT_EQ(asked.verdict, Verdict::forward) << to_string(asked.reason);
  EXPECT_FALSE(asked.cacheable);
  EXPECT_EQ(send(vm4, kGatewayBlue, ping.reversed()).verdict, Verdict::forward);
  state::Tuple other = ping;
  other.src_port = 8;
  EXPECT_EQ(send(vm4, kGatewayBlue, other.reversed()).reason, DropReason::connection_invalid);
}

TEST_F(Connections, ErrorsAboutAConnectionPassAndOthersDoNot) {
  act(send(vm1, kGatewayRed, request));
  const auto error_about = [&](const state::Tuple& t) {
    const Frame quoted = tcp_packet({.eth_src = {{2, 0, 0, 0, 2, 0xfe}},
                                     .eth_dst = cloud.ports[vm4].mac,
                                     .src = t.src,
                                     .dst = t.dst},
                                    t.src_port, t.dst_port, kSyn);
    const auto error = icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                   .from_mac = cloud.ports[vm4].mac,
                                   .to_mac = *MacAddr::parse(kGatewayBlue),
                                   .from_ip = t.dst},
                                  parse_packet(quoted), quoted);
    return send(vm4, *error);
  };
  const Outcome error = error_about(request);
  ASSERT_EQ(error.verdict, Verdict::forward) << to_string(error.reason);
  ASSERT_TRUE(error.belongs);
  EXPECT_TRUE(error.belongs->error);
  EXPECT_FALSE(error.belongs->segment);
  EXPECT_FALSE(error.cacheable);
  state::Tuple other = request;
  other.src_port = 5001;
  EXPECT_EQ(error_about(other).reason, DropReason::connection_invalid);
  cloud.security_rules.erase(SecurityRuleId{Uuid::derived("security rule", "in80")});
  EXPECT_EQ(error_about(request).reason, DropReason::filtered_by_security_group)
      << "what it quotes is allowed no more";
}

TEST_F(Connections, RoutersMayTellWhoTheyAnswer) {
  // vm1 may receive port 80 only: neither echo replies nor errors by a rule of their own.
  const Outcome ping = send(vm1, kGatewayRed, state::echo("10.0.1.1", "10.0.1.254", 3));
  EXPECT_EQ(ping.verdict, Verdict::consumed);
  EXPECT_EQ(ping.generated.size(), 1u);
  const Outcome lost = send(vm1, kGatewayRed, state::tcp("10.0.1.1", 1, "10.9.9.9", 80));
  EXPECT_EQ(lost.reason, DropReason::no_route);
  EXPECT_EQ(lost.generated.size(), 1u);
}

TEST_F(Connections, ChainsAskForTheConnectionInEitherDirection) {
  cloud.security_groups.clear();
  for (auto& [id, port] : cloud.ports) port.security_groups.clear();
  const ChainId outer = cloud.chain("outer"), inner = cloud.chain("inner");
  const auto bit = [](model::ConnectionCondition c) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(c));
  };
  cloud.rule("jump", outer, 1, model::RuleAction::jump).jump_chain = inner;
  cloud.rule("answers", inner, 1, model::RuleAction::accept).connection =
      bit(model::ConnectionCondition::established);
  (void)cloud.rule("rest", inner, 2, model::RuleAction::drop);
  cloud.ports[vm1].out_chain = outer;  // to vm1: answers only
  EXPECT_EQ(send(vm4, kGatewayBlue, request.reversed(), kSyn).reason, DropReason::filtered_by_rule);
  const Outcome syn = done(send(vm1, kGatewayRed, request));
  ASSERT_TRUE(syn.begins) << "only the way back asks";
  EXPECT_EQ(send(vm4, kGatewayBlue, request.reversed(), kSynAck).verdict, Verdict::forward);
  cloud.rules.erase(RuleId{Uuid::derived("rule", "answers")});
  EXPECT_FALSE(send(vm1, kGatewayRed, state::tcp("10.0.1.1", 6000, "10.0.2.4", 80)).begins);
}

TEST_F(Connections, AFloodIsJudgedWhereItEndsByWhatIsKnownThere) {
  cloud.ports[vm2].mac = {};  // so nobody knows where it is
  const state::Tuple t = state::udp("10.0.1.1", 700, "10.0.1.2", 53);
  cloud.security_rules[SecurityRuleId{Uuid::derived("security rule", "in80")}].protocol.reset();
  cloud.security_rules[SecurityRuleId{Uuid::derived("security rule", "in80")}].ports =
      model::PortRange{700, 700};
  // vm2 answers to port 700 of nobody that asked: vm1's own rule lets it in.
  const Outcome asked = send(vm1, "02:00:00:00:01:02", t);
  ASSERT_EQ(asked.verdict, Verdict::forward) << to_string(asked.reason);
  ASSERT_TRUE(asked.begins);
  EXPECT_TRUE(asked.begins->record.reply_port.is_nil());
  EXPECT_EQ(asked.begins->record.reply_zone.device, red.uuid);
  EXPECT_THAT(asked.tell, ElementsAre(h2));
  uint32_t key = 0;
  for (const auto& [bridge, k] : cloud.hosts[h2].flood_keys)
    if (bridge == red) key = k;
  // At the other end only answers of connections are allowed.
  cloud.security_rules.clear();
  cloud.security_rule("out", group, false).protocol = ip_proto::kUdp;
  const state::Tuple back = t.reversed();
  const PacketSpec spec{.eth_src = cloud.ports[vm1].mac,
                        .eth_dst = *MacAddr::parse("02:00:00:00:01:02"),
                        .src = t.src,
                        .dst = t.dst};
  sent = udp_packet(spec, t.src_port, t.dst_port);
  EXPECT_EQ(at_host(h2, packet_of(sent, kTunnelPort, key)).reason,
            DropReason::filtered_by_security_group);
  state::Connection c = state::connection_of(back, at(now));
  c.zone = c.reply_zone = {red.uuid};
  ASSERT_EQ(table(h2).commit(c, at(now)).refusal, state::Refusal::none);
  const Outcome told = at_host(h2, packet_of(sent, kTunnelPort, key));
  EXPECT_EQ(told.verdict, Verdict::forward) << to_string(told.reason);
}

TEST_F(Connections, WhereAnAddressHasGoneIsToBeTold) {
  const HostId h3 = cloud.host("h3", "192.0.2.3");
  for (const bool answers : {false, true}) {
    for (const state::Tuple& t : {state::udp("10.0.1.1", answers ? 701 : 700, "10.0.1.2", 53),
                                  state::udp("fd00:1::1", answers ? 701 : 700, "fd00:1::2", 53)}) {
      cloud.security_rules[SecurityRuleId{Uuid::derived("security rule", "in80")}].protocol = {};
      cloud.security_rules[SecurityRuleId{Uuid::derived("security rule", "in80")}].ports = {};
      const MacAddr mac1 = cloud.ports[vm1].mac, mac2 = cloud.ports[vm2].mac;
      act(send(vm1, mac2.str(), t));
      act(send(vm2, mac1.str(), t.reversed()));
      const PortId goes = answers ? vm1 : vm2, stays = answers ? vm2 : vm1;
      const MacAddr mac = cloud.ports[goes].mac;
      const auto told = [&] {
        const Outcome o = send(stays, mac.str(), answers ? t.reversed() : t);
        EXPECT_EQ(o.verdict, Verdict::forward) << to_string(o.reason);
        EXPECT_TRUE(o.belongs);
        return o.tell;
      };
      EXPECT_THAT(told(), ElementsAre(answers ? h1 : h2));
      cloud.ports[goes].mac = {};
      EXPECT_THAT(told(), IsEmpty()) << "nobody knows where it is";
      const PortId there = cloud.vm("vm5", red, h3, mac.str());
      EXPECT_THAT(told(), ElementsAre(h3));
      // Beyond a link it is in another zone.
      cloud.bridge("pink");
      cloud.link(cloud.bridge_port("red-pink", red),
                 cloud.bridge_port("pink-red", TestCloud::bridge_id("pink")));
      cloud.ports.erase(there);
      cloud.bindings.erase(there);
      const PortId beyond = cloud.vm("vm6", TestCloud::bridge_id("pink"), h3, mac.str());
      const Outcome o = send(stays, mac.str(), answers ? t.reversed() : t);
      ASSERT_EQ(o.actions.copies.size(), 1u) << "known, not flooded";
      EXPECT_THAT(o.tell, IsEmpty());
      cloud.ports.erase(beyond);
      cloud.bindings.erase(beyond);
      cloud.ports[goes].mac = mac;
    }
  }
}

TEST_F(Connections, AConnectionThatIsOverBeginsAnew) {
  act(send(vm1, kGatewayRed, request));
  act(send(vm4, kGatewayBlue, request.reversed(), kSynAck));
  act(send(vm1, kGatewayRed, request, kRst));
  const Outcome again = send(vm1, kGatewayRed, request);
  ASSERT_TRUE(again.begins);
  EXPECT_EQ(again.begins->record.stamp.epoch, 2u);
}

}  // namespace
}  // namespace plexus::sim
