// SPDX-License-Identifier: Apache-2.0
// Translations that remember: destinations and sources by rules, load balancers. Two hosts, each with its own table of
// connections; records go where outcomes say, by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "packet/build.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"
#include "state/icmp_error.h"

namespace plexus::sim {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr uint8_t kSyn = 2, kAck = 16;

/// a at h1 and b at h2 on lan, m1 to m3 on web, x at h2 on net, which is outside; gw between them.
class Translating : public testing::TestWithParam<bool> {
 protected:
  Translating() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    const BridgeId lan = cloud.bridge("lan"), web = cloud.bridge("web"), net = cloud.bridge("net");
    gw = cloud.router("gw");
    const PortId gw_lan = cloud.router_port("gw-lan", gw, kGwLan, {"10.0.0.254/24", "fd00::fe/64"});
    const PortId gw_web = cloud.router_port("gw-web", gw, kGwWeb, {"10.1.0.254/24", "fd01::fe/64"});
    const PortId gw_net =
        cloud.router_port("gw-net", gw, kGwNet, {"203.0.113.254/24", "2001:db8::fe/64"});
    cloud.ports[gw_net].outside = true;
    cloud.plug(lan, gw_lan);
    cloud.plug(web, gw_web);
    cloud.plug(net, gw_net);
    machine("a", lan, h1, "02:00:00:00:00:01", kGwLan, "10.0.0.1", "fd00::1");
    machine("b", lan, h2, "02:00:00:00:00:02", kGwLan, "10.0.0.2", "fd00::2");
    machine("m1", web, h1, "02:00:00:00:01:01", kGwWeb, "10.1.0.1", "fd01::1");
    machine("m2", web, h2, "02:00:00:00:01:02", kGwWeb, "10.1.0.2", "fd01::2");
    machine("m3", web, h2, "02:00:00:00:01:03", kGwWeb, "10.1.0.3", "fd01::3");
    machine("x", net, h2, "02:00:00:00:02:01", kGwNet, "203.0.113.100", "2001:db8::100");
    machine("y", net, h1, "02:00:00:00:02:02", kGwNet, "203.0.113.101", "2001:db8::101");
    forget();
  }

  struct Machine {
    std::string name;
    PortId port;
    HostId host;
    const char *mac = "", *gateway = "";
    IpAddr address[2];
  };
  void machine(const std::string& name, BridgeId bridge, HostId host, const char* mac,
               const char* gateway, const char* four, const char* six) {
    const PortId port = cloud.vm(name, bridge, host, mac, {four, six});
    machines[name] = {name, port, host, mac, gateway, {*IpAddr::parse(four), *IpAddr::parse(six)}};
  }

  /// No host knows any connection.
  void forget() {
    for (const HostId host : {h1, h2})
      tables[host] =
          std::make_unique<state::ConnectionTable>(state::ConnectionLimits{}, state::Timeouts{}, 7);
  }

  // ---- what is translated
  static IpAddr ip(std::string_view text) { return *IpAddr::parse(text); }
  [[nodiscard]] bool v6() const { return GetParam(); }
  [[nodiscard]] IpAddr pick(const char* four, const char* six) const {
    return ip(v6() ? six : four);
  }
  [[nodiscard]] IpAddr at(const std::string& name) const { return machines.at(name).address[v6()]; }
  [[nodiscard]] IpAddr virtual_address() const { return pick("203.0.113.80", "2001:db8::80"); }
  [[nodiscard]] IpAddr pool_address() const { return pick("203.0.113.90", "2001:db8::90"); }

  model::LoadBalancer balancer{.id = {Uuid::derived("lb", "1")}, .router = {}, .name = "lb"};
  model::Pool pool;
  model::Vip vip;
  std::map<std::string, model::PoolMember> members;
  void balance(uint8_t protocol = ip_proto::kTcp) {
    balancer.router = gw;
    pool.id = PoolId{Uuid::derived("pool", "web")};
    pool.load_balancer = balancer.id;
    pool.name = "web";
    vip.id = VipId{Uuid::derived("vip", "www")};
    vip.load_balancer = balancer.id;
    vip.name = "www";
    vip.address = virtual_address();
    vip.protocol = protocol;
    vip.port = 80;
    vip.pool = pool.id;
    for (const char* name : {"m1", "m2", "m3"}) {
      model::PoolMember& m = members[name];
      m.id = PoolMemberId{Uuid::derived("member", name)};
      m.pool = pool.id;
      m.name = name;
      m.address = at(name);
      m.port = 8080;
    }
  }
  void lease_sources() {
    model::SnatPool sources;
    sources.id = SnatPoolId{Uuid::derived("snat", "pool")};
    sources.router = gw;
    sources.name = "sources";
    sources.addresses = {pool_address()};
    others.emplace_back(model::SnatPoolChange{sources.id, sources});
    const ChainId chain = cloud.chain("out");
    model::Rule& rule = cloud.rule("masquerade", chain, 1, model::RuleAction::snat);
    rule.out_port = TestCloud::port_id("gw-net");
    rule.snat_pool = sources.id;
    cloud.routers[gw].out_chain = chain;
    // Each host has ports of its own.
    blocks[h1] = {{Uuid::derived("block", "1"), pool_address(), 1024, 1024}};
    blocks[h2] = {{Uuid::derived("block", "2"), pool_address(), 2048, 1024}};
  }
  model::Rule& forward_port(uint16_t to_port) {
    const ChainId chain = cloud.chain("in");
    model::Rule& rule = cloud.rule("forward", chain, 1, model::RuleAction::dnat);
    const IpAddr own = pick("203.0.113.254", "2001:db8::fe"), to = at("m2");
    rule.protocol = ip_proto::kTcp;
    rule.destination = IpPrefix{own, static_cast<uint8_t>(own.bits())};
    rule.destination_ports = {{2200, 2299}};
    rule.to_addresses = IpPrefix{to, static_cast<uint8_t>(to.bits())};
    rule.to_ports = model::PortRange{to_port, static_cast<uint16_t>(to_port + 99)};
    cloud.routers[gw].in_chain = chain;
    return rule;
  }

  [[nodiscard]] std::shared_ptr<const model::Snapshot> snapshot(HostId host) const {
    model::Topology topology(host);
    topology.apply(cloud.changes(host));
    std::vector<model::Change> more = others;
    if (!members.empty()) {
      more.emplace_back(model::LoadBalancerChange{balancer.id, balancer});
      more.emplace_back(model::PoolChange{pool.id, pool});
      more.emplace_back(model::VipChange{vip.id, vip});
      for (const auto& [name, m] : members) more.emplace_back(model::PoolMemberChange{m.id, m});
    }
    if (const auto mine = blocks.find(host); mine != blocks.end())
      more.emplace_back(
          model::PortBlocksChange{SnatPoolId{Uuid::derived("snat", "pool")}, mine->second});
    topology.apply(more);
    return topology.snapshot();
  }

  // ---- packets
  [[nodiscard]] PacketSpec spec(const std::string& from, const IpAddr& to, uint8_t ttl = 64) const {
    const Machine& m = machines.at(from);
    return {.eth_src = *MacAddr::parse(m.mac),
            .eth_dst = *MacAddr::parse(m.gateway),
            .src = m.address[to.is_v6()],
            .dst = to,
            .ttl = ttl,
            .vlan_tci = {}};
  }
  struct Arrived {
    Outcome outcome;
    std::string machine;  ///< where it came out; empty: nowhere
    Frame frame;
    FlowKey key;
    /// "tcp 10.0.0.1:5 > 10.0.0.2:80".
    [[nodiscard]] std::string tuple() const {
      return state::sighting_of(parse_packet(frame), frame).tuple.str();
    }
  };
  /// Sends it, stores what begins where it has to be known, and says where it came out and how.
  Arrived send(const std::string& from, const Frame& frame) {
    const Machine& m = machines.at(from);
    return send_at(m.host, m.port, frame);
  }
  Arrived send_at(HostId host, PortId port, const Frame& frame) {
    const auto now = snapshot(host);
    state::ConnectionTable& table = *tables.at(host);
    Arrived a;
    trace = {};
    simulate(packet_of(frame, cloud.dp_port(port)), *now, {.table = &table}, time, a.outcome,
             &trace);
    if (a.outcome.begins) {
      EXPECT_EQ(table.commit(a.outcome.begins->record, time).refusal, state::Refusal::none);
      for (const HostId other : a.outcome.tell)
        EXPECT_EQ(tables.at(other)->commit(a.outcome.begins->record, time).refusal,
                  state::Refusal::none);
    }
    if (a.outcome.belongs && !a.outcome.belongs->error)
      for (auto& [id, one] : tables)
        if (const auto found =
                one->find(table.connection(a.outcome.belongs->number).zone,
                          table.connection(a.outcome.belongs->number).original, time))
          one->saw(found->number, a.outcome.belongs->direction, a.outcome.belongs->segment, time);
    if (a.outcome.verdict == Verdict::forward)
      arrive(a, host, frame, a.outcome.actions);
    else if (a.outcome.generated.size() == 1)
      arrive(a, host, a.outcome.generated[0].frame, a.outcome.generated[0].actions);
    return a;
  }
  void arrive(Arrived& a, HostId host, const Frame& frame, const Actions& actions) {
    ASSERT_THAT(actions.copies, SizeIs(1)) << trace.text();
    const Copy& copy = actions.copies[0];
    a.frame = rewritten(copy.rewrite, parse_packet(frame), frame);
    a.key = parse_packet(a.frame).key;
    Frame completed = a.frame;
    complete_checksum(parse_packet(completed), completed);
    EXPECT_EQ(a.frame, completed) << "the checksum is right";
    for (const auto& [name, m] : machines) {
      const auto* local = std::get_if<LocalOutput>(&copy.output);
      const auto* tunnel = std::get_if<TunnelOutput>(&copy.output);
      if (local != nullptr ? m.host == host && local->port == cloud.dp_port(m.port)
                           : tunnel != nullptr && tunnel->key == cloud.bindings[m.port].tunnel_key)
        a.machine = name;
    }
  }
  /// What the machine where it arrived answers to it, with these flags (TCP) or the same payload.
  [[nodiscard]] Frame answer_to(const Arrived& a, uint8_t flags = kSyn | kAck) const {
    const PacketSpec to = spec(a.machine, a.key.src_ip());
    PacketSpec back = to;
    back.src = a.key.dst_ip();
    switch (a.key.ip_proto) {
      case ip_proto::kTcp:
        return tcp_packet(back, a.key.tp_dst.host(), a.key.tp_src.host(), flags);
      case ip_proto::kUdp:
        return udp_packet(back, a.key.tp_dst.host(), a.key.tp_src.host());
      default:
        return icmp_echo(back, true, IcmpView::of(parse_packet(a.frame), a.frame)->identifier(), 1);
    }
  }
  [[nodiscard]] Frame syn(const std::string& from, const IpAddr& to, uint16_t src_port,
                          uint16_t dst_port = 80) const {
    return tcp_packet(spec(from, to), src_port, dst_port, kSyn);
  }
  [[nodiscard]] std::string told(const Arrived& a) const {
    const ParsedPacket parsed = parse_packet(a.frame);
    const auto quoted = state::quoted_tuple(parsed, a.frame);
    return a.key.src_ip().str() + " tells " + a.machine + " of " + (quoted ? quoted->str() : "?");
  }
  static std::string tuple_of(const Frame& frame) {
    return state::sighting_of(parse_packet(frame), frame).tuple.str();
  }

  static constexpr const char *kGwLan = "02:00:00:00:0a:01", *kGwWeb = "02:00:00:00:0a:02",
                              *kGwNet = "02:00:00:00:0a:03";
  TestCloud cloud;
  HostId h1, h2;
  RouterId gw;
  std::map<std::string, Machine> machines;
  std::vector<model::Change> others;
  std::map<HostId, std::vector<model::PortBlock>> blocks;
  std::map<HostId, std::unique_ptr<state::ConnectionTable>> tables;
  MonoTime time = MonoTime{} + std::chrono::seconds(1000);
  Trace trace;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, Translating, testing::Bool(),
                         [](const auto& p) { return p.param ? "v6" : "v4"; });

// ---- load balancers

TEST_P(Translating, AConnectionGoesToAMemberAndItsAnswersComeFromTheVirtualAddress) {
  balance();
  std::map<std::string, int> served;
  for (uint16_t port = 1000; port < 1060; ++port) {
    const Frame first = syn("x", virtual_address(), port);
    const Arrived there = send("x", first);
    ASSERT_EQ(there.outcome.verdict, Verdict::forward) << trace.text();
    ASSERT_TRUE(there.outcome.begins);
    ++served[there.machine];
    EXPECT_EQ(there.key.dst_ip(), at(there.machine));
    EXPECT_EQ(there.key.tp_dst.host(), 8080);
    EXPECT_EQ(there.key.src_ip(), at("x")) << "the member sees the client";
    const Arrived back = send(there.machine, answer_to(there));
    ASSERT_EQ(back.machine, "x") << trace.text();
    EXPECT_EQ(back.key.src_ip(), virtual_address());
    EXPECT_EQ(back.key.tp_src.host(), 80);
    EXPECT_EQ(back.key.tp_dst.host(), port);
    const Arrived on = send("x", tcp_packet(spec("x", virtual_address()), port, 80, kAck));
    EXPECT_EQ(on.machine, there.machine);
    EXPECT_TRUE(on.outcome.cacheable) << trace.text();
  }
  EXPECT_THAT(served, SizeIs(3));
}

TEST_P(Translating, AllGatewaysChooseAlike) {
  balance();
  for (uint16_t port = 1000; port < 1040; ++port) {
    const Frame first = syn("x", virtual_address(), port);
    Arrived one = send("x", first);
    forget();
    const Arrived other = send_at(h1, machines["y"].port, first);
    forget();
    ASSERT_FALSE(one.machine.empty());
    EXPECT_EQ(one.machine, other.machine);
  }
}

TEST_P(Translating, WeightsAndPersistence) {
  balance();
  members["m1"].weight = 0;
  members["m2"].weight = 3;
  std::map<std::string, int> served;
  for (uint16_t port = 1000; port < 1400; ++port)
    ++served[send("x", syn("x", virtual_address(), port)).machine];
  EXPECT_EQ(served["m1"], 0);
  EXPECT_NEAR(served["m2"], 300, 40);
  vip.by_source_address = true;
  std::set<std::string> stuck;
  for (uint16_t port = 2000; port < 2050; ++port)
    stuck.insert(send("x", syn("x", virtual_address(), port)).machine);
  EXPECT_THAT(stuck, SizeIs(1));
}

TEST_P(Translating, WhoDoesNotServeRefuses) {
  for (const uint8_t protocol : {ip_proto::kTcp, ip_proto::kUdp}) {
    balance(protocol);
    const auto ask = [&] {
      return send("x", protocol == ip_proto::kTcp
                           ? syn("x", virtual_address(), 1000)
                           : udp_packet(spec("x", virtual_address()), 1000, 80));
    };
    const auto refused = [&](DropReason reason) {
      const Arrived a = ask();
      EXPECT_EQ(a.outcome.verdict, Verdict::drop);
      EXPECT_EQ(a.outcome.reason, reason) << trace.text();
      EXPECT_EQ(a.machine, "x") << "is told";
      EXPECT_EQ(a.key.src_ip(), virtual_address());
      EXPECT_EQ(a.key.ip_proto == ip_proto::kTcp, protocol == ip_proto::kTcp);
    };
    balancer.admin_up = false;
    refused(DropReason::vip_closed);
    balancer.admin_up = true;
    vip.admin_up = false;
    refused(DropReason::vip_closed);
    vip.admin_up = true;
    pool.admin_up = false;
    refused(DropReason::vip_closed);
    pool.admin_up = true;
    members["m1"].admin_up = members["m2"].up = false;
    members["m3"].weight = 0;
    refused(DropReason::no_member);
    members["m3"].weight = 1;
    EXPECT_EQ(ask().machine, "m3");
    forget();
    members["m3"].backup = true;
    EXPECT_EQ(ask().machine, "m3") << "the backup is all that is left";
    forget();
    members["m2"].up = true;
    EXPECT_EQ(ask().machine, "m2");
    forget();
    members.clear();
  }
}

TEST_P(Translating, TheRouterHasTheVirtualAddress) {
  balance();
  const Arrived echo = send("x", icmp_echo(spec("x", virtual_address()), false, 7, 1));
  EXPECT_EQ(echo.outcome.verdict, Verdict::consumed) << trace.text();
  EXPECT_EQ(echo.machine, "x");
  EXPECT_EQ(echo.key.src_ip(), virtual_address());
  const Arrived closed = send("x", udp_packet(spec("x", virtual_address()), 1000, 80));
  EXPECT_EQ(closed.outcome.reason, DropReason::router_port_closed);
  EXPECT_EQ(closed.machine, "x");
  EXPECT_THAT(told(closed), HasSubstr(virtual_address().str() + " tells x of udp"));
}

TEST_P(Translating, OldConnectionsStayWithADrainedMemberAndEndWithOneThatIsDown) {
  balance();
  const Arrived first = send("x", syn("x", virtual_address(), 1000));
  (void)send(first.machine, answer_to(first));
  const Frame more = tcp_packet(spec("x", virtual_address()), 1000, 80, kAck);
  model::PoolMember& m = members[first.machine];
  m.weight = 0;
  EXPECT_EQ(send("x", more).machine, first.machine) << trace.text();
  m.up = false;
  EXPECT_EQ(send("x", more).machine, first.machine) << "answered: it may come back";
  vip.admin_up = balancer.admin_up = pool.admin_up = false;
  EXPECT_EQ(send("x", more).machine, first.machine) << "these refuse new ones";
  vip.admin_up = balancer.admin_up = pool.admin_up = true;
  m.admin_up = false;
  EXPECT_EQ(send("x", more).outcome.reason, DropReason::no_member);
  EXPECT_EQ(send(first.machine, answer_to(first, kAck)).outcome.reason, DropReason::no_member);
}

/// So a change of one member leaves the flows of all others alone, however many they are.
TEST_P(Translating, AKnownConnectionDependsOnItsOwnMember) {
  balance();
  const auto depends = [](const Arrived& arrived, const Tag& tag) {
    const auto& all = arrived.outcome.dependencies;
    return std::any_of(all.begin(), all.end(), [&](const Dependency& d) { return d.tag == tag; });
  };
  const Arrived first = send("x", syn("x", virtual_address(), 1000));
  EXPECT_TRUE(depends(first, serving_tag(pool.id)));
  const Arrived answer = send(first.machine, answer_to(first));
  const Arrived more = send("x", tcp_packet(spec("x", virtual_address()), 1000, 80, kAck));
  for (const Arrived* known : {&answer, &more}) {
    EXPECT_FALSE(depends(*known, serving_tag(pool.id)));
    for (const auto& [name, m] : members)
      EXPECT_EQ(depends(*known, member_tag(m.id)), name == first.machine) << name;
  }
  members.erase(first.machine);
  const Arrived last = send("x", tcp_packet(spec("x", virtual_address()), 1000, 80, kAck));
  EXPECT_EQ(last.outcome.reason, DropReason::no_member);
  EXPECT_TRUE(depends(last, member_tag(PoolMemberId{Uuid::derived("member", first.machine)})));
}

TEST_P(Translating, WhoBeginsAgainGoesToAnotherMember) {
  const auto goes_on = [&](const std::function<void(model::PoolMember&)>& change) {
    forget();
    members.clear();
    balance();
    const Frame first = syn("x", virtual_address(), 1000);
    const Arrived before = send("x", first);
    (void)send(before.machine, answer_to(before));
    EXPECT_EQ(send("x", first).machine, before.machine) << "it still serves";
    change(members[before.machine]);
    const Arrived after = send("x", first);
    ASSERT_TRUE(after.outcome.begins) << trace.text();
    EXPECT_NE(after.machine, before.machine);
    EXPECT_EQ(after.outcome.begins->record.stamp.epoch, 2u);
  };
  goes_on([](auto& m) { m.up = false; });
  goes_on([](auto& m) { m.admin_up = false; });
  goes_on([&](auto& m) { m.address = at("b"); });
  goes_on([&](auto& m) { members.erase(std::string(m.name)); });
}

/// Of UDP nobody could tell that it begins again: who sends on would send into nothing.
TEST_P(Translating, UdpGoesToAnotherMemberWhenItsOwnIsGone) {
  balance(ip_proto::kUdp);
  const Frame question = udp_packet(spec("x", virtual_address()), 1000, 80);
  const Arrived before = send("x", question);
  (void)send(before.machine, udp_packet(spec(before.machine, at("x")), 8080, 1000));
  model::PoolMember& m = members[before.machine];
  m.up = false;
  EXPECT_EQ(send("x", question).machine, before.machine) << "answered: it may come back";
  m.admin_up = false;
  const Arrived after = send("x", question);
  ASSERT_TRUE(after.outcome.begins) << trace.text();
  EXPECT_NE(after.machine, before.machine);
}

TEST_P(Translating, AnUnansweredConnectionGoesToAnotherMember) {
  balance();
  const Frame first = syn("x", virtual_address(), 1000);
  const Arrived before = send("x", first);
  members[before.machine].up = false;
  const Arrived after = send("x", first);
  ASSERT_EQ(after.outcome.verdict, Verdict::forward) << trace.text();
  EXPECT_NE(after.machine, before.machine);
  ASSERT_TRUE(after.outcome.begins);
  EXPECT_EQ(after.outcome.begins->record.stamp.epoch, 2u);
  members.erase(after.machine);
  const Arrived third = send("x", first);
  EXPECT_NE(third.machine, before.machine);
  EXPECT_NE(third.machine, after.machine);
  ASSERT_TRUE(third.outcome.begins) << trace.text();
  EXPECT_EQ(third.outcome.begins->record.stamp.epoch, 3u);
}

TEST_P(Translating, TheClientIsAmongTheMembers) {
  balance();
  std::set<std::string> served;
  for (uint16_t port = 1000; port < 1040; ++port) {
    const Arrived there = send("m1", syn("m1", virtual_address(), port));
    ASSERT_FALSE(there.machine.empty()) << trace.text();
    served.insert(there.machine);
    EXPECT_EQ(there.key.src_ip(), pick("100.65.0.1", "64:ff9b:1::1"))
        << "not its own address, or the answer would go to it directly";
    const Arrived back = send(there.machine, answer_to(there));
    ASSERT_EQ(back.machine, "m1") << trace.text();
    EXPECT_EQ(back.key.src_ip(), virtual_address());
    EXPECT_EQ(back.key.dst_ip(), at("m1"));
    EXPECT_EQ(back.key.tp_dst.host(), port);
  }
  EXPECT_TRUE(served.contains("m1")) << "itself, too";
}

TEST_P(Translating, ErrorsBehindAVirtualAddressSpeakOfIt) {
  balance(ip_proto::kUdp);
  const Frame sent = udp_packet(spec("x", virtual_address()), 1000, 80);
  const Arrived there = send("x", sent);
  const Machine& member = machines.at(there.machine);
  const Frame error = *icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                   .from_mac = *MacAddr::parse(member.mac),
                                   .to_mac = *MacAddr::parse(member.gateway),
                                   .from_ip = at(there.machine)},
                                  parse_packet(there.frame), there.frame);
  const Arrived back = send(there.machine, error);
  EXPECT_EQ(told(back), virtual_address().str() + " tells x of " + tuple_of(sent)) << trace.text();
  // Nobody's.
  const Frame other = udp_packet(spec("x", virtual_address()), 7, 80);
  Rewrite to_member;
  to_member.ip_dst = at(there.machine);
  const Frame forged = rewritten(to_member, parse_packet(other), other);
  const Frame about_nothing = *icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                           .from_mac = *MacAddr::parse(member.mac),
                                           .to_mac = *MacAddr::parse(member.gateway),
                                           .from_ip = at(there.machine)},
                                          parse_packet(forged), forged);
  EXPECT_EQ(told(send(there.machine, about_nothing)),
            at(there.machine).str() + " tells x of " + tuple_of(forged))
      << "left as it is";
}

// ---- sources

TEST_P(Translating, TwoMachinesAtTwoHostsBehindOneAddress) {
  lease_sources();
  std::set<std::string> outside;
  for (const char* name : {"a", "b"}) {
    for (const uint8_t protocol : {ip_proto::kTcp, ip_proto::kUdp, ip_proto::kIcmp}) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(protocol));
      const PacketSpec to = spec(name, at("x"));
      const Frame first = protocol == ip_proto::kTcp   ? tcp_packet(to, 5000, 80, kSyn)
                          : protocol == ip_proto::kUdp ? udp_packet(to, 5000, 80)
                                                       : icmp_echo(to, false, 5000, 1);
      const Arrived there = send(name, first);
      ASSERT_EQ(there.machine, "x") << trace.text();
      EXPECT_EQ(there.key.src_ip(), pool_address());
      EXPECT_TRUE(outside.insert(there.tuple()).second) << "each has its own";
      const Arrived back = send("x", answer_to(there));
      ASSERT_EQ(back.machine, name) << trace.text();
      EXPECT_EQ(back.key.src_ip(), at("x"));
      EXPECT_EQ(back.key.dst_ip(), at(name));
      EXPECT_EQ(state::sighting_of(parse_packet(back.frame), back.frame).tuple,
                state::sighting_of(parse_packet(first), first).tuple.reversed());
      // The second packet has the same outside port.
      const Arrived again =
          send(name, protocol == ip_proto::kTcp ? tcp_packet(to, 5000, 80, kAck) : first);
      EXPECT_EQ(again.tuple(), there.tuple());
    }
  }
}

TEST_P(Translating, ErrorsComeBackToWhoSentBehindALease) {
  lease_sources();
  const Frame sent = udp_packet(spec("a", at("x")), 5000, 80);
  const Arrived there = send("a", sent);
  const Frame error = *icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                   .from_mac = *MacAddr::parse(machines["x"].mac),
                                   .to_mac = *MacAddr::parse(kGwNet),
                                   .from_ip = at("x")},
                                  parse_packet(there.frame), there.frame);
  EXPECT_EQ(told(send("x", error)), at("x").str() + " tells a of " + tuple_of(sent))
      << trace.text();
  // Forged, about a connection that nobody has.
  Rewrite other_port;
  other_port.tp_src = 2;
  const Frame other = rewritten(other_port, parse_packet(there.frame), there.frame);
  const Frame forged = *icmp_error({.kind = IcmpErrorKind::port_unreachable,
                                    .from_mac = *MacAddr::parse(machines["x"].mac),
                                    .to_mac = *MacAddr::parse(kGwNet),
                                    .from_ip = at("x")},
                                   parse_packet(other), other);
  EXPECT_EQ(send("x", forged).outcome.reason, DropReason::icmp_error_unrelated) << trace.text();
}

TEST_P(Translating, WithoutPortsNothingLeaves) {
  lease_sources();
  blocks[h1].clear();
  const Arrived none = send("a", udp_packet(spec("a", at("x")), 5000, 80));
  EXPECT_EQ(none.outcome.reason, DropReason::snat_exhausted) << trace.text();
  EXPECT_EQ(send("b", udp_packet(spec("b", at("x")), 5000, 80)).machine, "x");
  // All in use towards one remote end.
  blocks[h1] = {{Uuid::derived("block", "1"), pool_address(), 1024, 2}};
  for (uint16_t port = 1; port <= 2; ++port)
    EXPECT_EQ(send("a", udp_packet(spec("a", at("x")), port, 80)).machine, "x");
  const Arrived third = send("a", udp_packet(spec("a", at("x")), 3, 80));
  EXPECT_EQ(third.outcome.reason, DropReason::snat_exhausted);
  EXPECT_EQ(third.outcome.writes,
            std::vector<StateWrite>(
                1, PortsNeeded{SnatPoolId{Uuid::derived("snat", "pool")}, pool_address().family}));
  EXPECT_EQ(send("a", udp_packet(spec("a", at("x")), 3, 81)).machine, "x") << "another end";
}

TEST_P(Translating, NewConnectionsGetPortsOfTheLargestBlocksThatThePoolHas) {
  lease_sources();
  const auto named = [&](const char* name, const IpAddr& address, uint16_t first, uint16_t length) {
    return model::PortBlock{Uuid::derived("block", name), address, first, length};
  };
  const IpAddr gone = pick("203.0.113.250", "2001:db8::250");
  blocks[h1] = {named("1", pool_address(), 1024, 64),  named("2", pool_address(), 2048, 128),
                named("3", pool_address(), 2304, 128), named("4", pool_address(), 4096, 128),
                named("5", pool_address(), 4224, 128), named("6", gone, 8192, 4096)};
  std::set<uint16_t> sources;
  for (uint16_t port = 1; port <= 100; ++port) {
    const Arrived there = send(port % 2 == 0 ? "a" : "b",
                               udp_packet(spec(port % 2 == 0 ? "a" : "b", at("x")), port, 80));
    ASSERT_EQ(there.machine, "x") << trace.text();
    EXPECT_EQ(there.key.src_ip(), pool_address());
    sources.insert(there.key.tp_src.host());
  }
  EXPECT_GE(*sources.begin(), 2048) << "the smallest is kept for the connections that it has";
}

TEST_P(Translating, WithoutPortsAnotherAddressIsNeededForASecondClient) {
  lease_sources();
  const auto esp = [&](const char* from) {
    return send(from, ip_packet(spec(from, at("x")), 50, Frame(24, 0x50)));
  };
  EXPECT_EQ(esp("a").key.src_ip(), pool_address()) << trace.text();
  const Arrived second = esp("b");
  EXPECT_EQ(second.outcome.reason, DropReason::snat_exhausted);
  EXPECT_TRUE(second.outcome.writes.empty()) << "the pool has no other";
  auto& widened = *std::get<model::SnatPoolChange>(others.front()).now;
  const IpAddr another = pick("203.0.113.240", "2001:db8::240");
  widened.addresses.push_back(another);
  const std::vector<StateWrite> needs(1, PortsNeeded{widened.id, pool_address().family});
  EXPECT_EQ(esp("b").outcome.writes, needs) << trace.text();
  blocks[h2].push_back({Uuid::derived("block", "3"), another, 1024, 64});
  EXPECT_EQ(esp("b").key.src_ip(), another) << trace.text();
}

TEST_P(Translating, AFloatingAddressStandsAboveALease) {
  lease_sources();
  model::FloatingIp floating;
  floating.id = FloatingIpId{Uuid::derived("floating", "a")};
  floating.router = gw;
  floating.address = pick("203.0.113.7", "2001:db8::7");
  floating.inside = at("a");
  others.emplace_back(model::FloatingIpChange{floating.id, floating});
  EXPECT_EQ(send("a", syn("a", at("x"), 5000)).key.src_ip(), floating.address) << trace.text();
  EXPECT_EQ(send("b", syn("b", at("x"), 5000)).key.src_ip(), pool_address());
}

TEST_P(Translating, EveryAnswerFindsItsSender) {
  lease_sources();
  balance();
  std::mt19937 random(11);
  std::map<std::string, std::string> outside;  // tuple outside to tuple inside
  for (unsigned n = 0; n < 300; ++n) {
    const std::string from = std::array{"a", "b", "m1", "m2"}[random() % 4];
    const bool to_vip = random() % 3 == 0;
    const IpAddr to = to_vip ? virtual_address() : at("x");
    const auto port = static_cast<uint16_t>(1 + random() % 60000);
    const Frame first = syn(from, to, port);
    const Arrived there = send(from, first);
    ASSERT_FALSE(there.machine.empty()) << trace.text();
    if (!there.outcome.begins) continue;  // the same again
    const std::string in = from + " " + tuple_of(first), out = there.machine + " " + there.tuple();
    ASSERT_TRUE(outside.emplace(out, in).second) << out << " is " << in << ", and " << outside[out];
    const Arrived back = send(there.machine, answer_to(there));
    ASSERT_EQ(back.machine, from) << trace.text();
    ASSERT_EQ(state::sighting_of(parse_packet(back.frame), back.frame).tuple,
              state::sighting_of(parse_packet(first), first).tuple.reversed());
  }
}

// ---- destinations by rules

TEST_P(Translating, APortIsForwarded) {
  forward_port(1000);
  const IpAddr own = pick("203.0.113.254", "2001:db8::fe");
  const Frame first = syn("x", own, 5000, 2222);
  const Arrived there = send("x", first);
  ASSERT_EQ(there.machine, "m2") << trace.text();
  EXPECT_EQ(there.key.tp_dst.host(), 1022) << "each port of the range its own";
  const Arrived back = send("m2", answer_to(there));
  ASSERT_EQ(back.machine, "x") << trace.text();
  EXPECT_EQ(back.tuple(),
            tuple_of(syn("x", own, 5000, 2222)).empty()
                ? ""
                : state::sighting_of(parse_packet(first), first).tuple.reversed().str());
  // What no rule is about stays the router's.
  EXPECT_EQ(send("x", syn("x", own, 5000, 80)).outcome.reason, DropReason::router_port_closed);
  // From the member's own network: answers must come back.
  const Arrived near = send("m1", syn("m1", own, 5000, 2222));
  ASSERT_EQ(near.machine, "m2") << trace.text();
  const Arrived near_back = send("m2", answer_to(near));
  EXPECT_EQ(near_back.machine, "m1") << trace.text();
  EXPECT_EQ(near_back.key.src_ip(), own);
}

TEST_P(Translating, ErrorsAboutAForwardedPort) {
  forward_port(1000);
  const IpAddr own = pick("203.0.113.254", "2001:db8::fe");
  const Frame sent = syn("x", own, 5000, 2222);
  const Arrived there = send("x", sent);
  ASSERT_EQ(there.machine, "m2") << trace.text();
  const Frame error = *icmp_error({.kind = IcmpErrorKind::admin_prohibited,
                                   .from_mac = *MacAddr::parse(machines["m2"].mac),
                                   .to_mac = *MacAddr::parse(kGwWeb),
                                   .from_ip = at("m2")},
                                  parse_packet(there.frame), there.frame);
  EXPECT_EQ(told(send("m2", error)), own.str() + " tells x of " + tuple_of(sent)) << trace.text();
}

TEST_P(Translating, RulesThatCannotBeAreRefused) {
  model::Rule& rule = forward_port(1000);
  rule.to_addresses.reset();
  const IpAddr own = pick("203.0.113.254", "2001:db8::fe");
  EXPECT_EQ(send("x", syn("x", own, 5000, 2222)).outcome.reason, DropReason::filter_unreadable);
  forward_port(1000);
  std::swap(cloud.routers[gw].in_chain, cloud.routers[gw].out_chain);
  cloud.rules.begin()->second.destination.reset();
  EXPECT_EQ(send("x", tcp_packet(spec("x", at("m2")), 5000, 2222, kSyn)).outcome.reason,
            DropReason::filter_unreadable)
      << "dnat is no matter of out_chain";
}

}  // namespace
}  // namespace plexus::sim
