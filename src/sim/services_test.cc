// SPDX-License-Identifier: Apache-2.0
// Mirrors, marks, redirection, what rules ask beside the headers, sub-ports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/build.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using model::Condition;
using model::RuleAction;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr uint32_t bit(Condition c) {
  return 1u << static_cast<unsigned>(c);
}

/// vm1, vm2 and the monitor at h1, vm3 at h2, all on red; vm4 at h1 on blue; a router between them.
class Services : public testing::Test {
 protected:
  Services() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    watch = cloud.bridge("watch");
    rt = cloud.router("rt");
    rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    rt_blue =
        cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24", "fd00:2::fe/64"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1", "fd00:1::1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2", "fd00:1::2"});
    vm3 = cloud.vm("vm3", red, h2, "02:00:00:00:01:03", {"10.0.1.3", "fd00:1::3"});
    vm4 = cloud.vm("vm4", blue, h1, "02:00:00:00:02:04", {"10.0.2.4", "fd00:2::4"});
    monitor = cloud.vm("monitor", watch, h1, "02:00:00:00:09:01");
  }

  Outcome send(PortId from, const std::string& text, Trace* trace = nullptr) {
    return send_by(cloud.dp_port(from), 0, text, trace);
  }
  Outcome send_by(DpPort in, uint32_t key, const std::string& text, Trace* trace = nullptr) {
    const auto frame = parse_frame(text);
    EXPECT_TRUE(frame.ok()) << text;
    sent = frame.ok() ? *frame : Frame();
    packet = packet_of(sent, in, key);
    snapshot = cloud.snapshot(here);
    return simulate(packet, *snapshot, MonoTime{}, trace);
  }
  LocalOutput local(PortId id) const { return {cloud.dp_port(id)}; }
  TunnelOutput tunnel(PortId id) const {
    const auto& b = cloud.bindings.at(id);
    return {cloud.hosts.at(b.host).tunnel_addresses[0], b.tunnel_key};
  }
  uint32_t flood_key(HostId host, BridgeId bridge) const {
    for (const auto& [b, key] : cloud.hosts.at(host).flood_keys)
      if (b == bridge) return key;
    return 0;
  }
  static Rewrite routed(const char* src, const char* dst) {
    Rewrite r;
    r.eth_src = MacAddr::parse(src);
    r.eth_dst = MacAddr::parse(dst);
    r.ttl_decrement = 1;
    return r;
  }
  static Rewrite marked(uint8_t dscp) {
    Rewrite r;
    r.dscp = dscp;
    return r;
  }
  static Rewrite pushed(uint16_t vlan) {
    Rewrite r;
    r.push_vlan = vlan;
    return r;
  }
  static Rewrite popped() {
    Rewrite r;
    r.pop_vlan = true;
    return r;
  }
  ChainId in_chain(PortId port) {
    const ChainId id = cloud.chain("in");
    cloud.ports[port].in_chain = id;
    return id;
  }

  TestCloud cloud;
  HostId h1, h2, here = TestCloud::host_id("h1");
  BridgeId red, blue, watch;
  RouterId rt;
  PortId rt_red, rt_blue, vm1, vm2, vm3, vm4, monitor;
  Frame sent;
  Packet packet;
  std::shared_ptr<const model::Snapshot> snapshot;
};

constexpr const char* kToVm2 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 tos 3 | udp 1 > 2";
constexpr const char* kToVm3 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:03 | ipv6 fd00:1::1 > fd00:1::3 | udp 1 > 2";
constexpr const char* kToVm4 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.4 ttl 64 | udp 1 > 2";
constexpr const char* kToAll =
    "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 255.255.255.255 | udp 68 > 67";
constexpr const char* kWhoIsVm2 =
    "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.2 tell 10.0.1.1";

// ---- mirrors

TEST_F(Services, APortsMirrorsCopyWhatItsMachineSendsAndGets) {
  cloud.mirror("m", vm2, false, true, monitor);
  EXPECT_THAT(send(vm1, kToVm2).actions.copies,
              ElementsAre(Copy{{}, local(monitor)}, Copy{{}, local(vm2)}));
  EXPECT_THAT(
      send(vm2, "eth 02:00:00:00:01:02 > 02:00:00:00:01:01 | ipv4 10.0.1.2 > 10.0.1.1 | udp 1 > 2")
          .actions.copies,
      ElementsAre(Copy{{}, local(vm1)}));
  cloud.mirror("m", vm2, true, false, monitor);
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{{}, local(vm2)}));
  const Outcome o =
      send(vm2, "eth 02:00:00:00:01:02 > 02:00:00:00:01:01 | ipv4 10.0.1.2 > 10.0.1.1 | udp 1 > 2");
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(monitor)}, Copy{{}, local(vm1)}));
  EXPECT_TRUE(o.cacheable);
}

TEST_F(Services, ARoutersMirrorSeesThePacketAsItComesAndAsItLeaves) {
  cloud.mirror("m", rt, true, true, monitor);
  const Rewrite r = routed("02:00:00:00:02:fe", "02:00:00:00:02:04");
  EXPECT_THAT(send(vm1, kToVm4).actions.copies,
              ElementsAre(Copy{{}, local(monitor)}, Copy{r, local(monitor)}, Copy{r, local(vm4)}));
}

TEST_F(Services, ABridgesMirrorHasOneCopyOfAFlood) {
  cloud.mirror("m", red, false, true, monitor);
  const Outcome o = send(vm1, kToAll);
  EXPECT_EQ(std::count(o.actions.copies.begin(), o.actions.copies.end(), Copy{{}, local(monitor)}),
            1);
  EXPECT_EQ(o.actions.copies.size(), 3u);
  // The last stage of it, at the other host, makes none.
  here = h2;
  EXPECT_THAT(send_by(kTunnelPort, flood_key(h2, red), kToAll).actions.copies,
              ElementsAre(Copy{{}, local(vm3)}));
}

TEST_F(Services, AMirroredPacketThatIsDroppedGoesToTheMirrorAlone) {
  cloud.mirror("m", vm1, true, false, monitor);
  cloud.rule("no", in_chain(vm1), 1, RuleAction::drop);
  Trace trace;
  const Outcome o = send(vm1, kToVm2, &trace);
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(monitor)}));
  EXPECT_EQ(o.verdict, Verdict::forward);
  EXPECT_THAT(trace.text(), HasSubstr("mirrors only, else dropped: filtered_by_rule"));
}

TEST_F(Services, ACopyIsNeitherFilteredNorMirrored) {
  cloud.mirror("m", vm1, true, false, monitor);
  cloud.mirror("n", monitor, true, true, vm4);
  cloud.mirror("o", watch, true, true, vm4);
  const ChainId no = cloud.chain("no");
  cloud.rule("drop", no, 1, RuleAction::drop);
  cloud.ports[monitor].out_chain = no;
  EXPECT_THAT(send(vm1, kToVm2).actions.copies,
              ElementsAre(Copy{{}, local(monitor)}, Copy{{}, local(vm2)}));
}

TEST_F(Services, AMirrorIsOfOnePlaceAlsoWhenAnotherHasTheSameId) {
  // Ids are unique among objects of one type only.
  const auto copies = [&](model::Place at) {
    cloud.mirror("m", at, true, true, monitor);
    return send(vm1, kToVm4).actions.copies.size() - 1;
  };
  ASSERT_EQ(copies(red), 2u);
  ASSERT_EQ(copies(rt), 2u);
  ASSERT_EQ(copies(vm1), 1u);
  EXPECT_EQ(copies(PortId{red.uuid}), 0u);
  EXPECT_EQ(copies(PortId{rt.uuid}), 0u);
  EXPECT_EQ(copies(RouterId{red.uuid}), 0u);
  EXPECT_EQ(copies(BridgeId{rt.uuid}), 0u);
  EXPECT_EQ(copies(BridgeId{vm1.uuid}), 0u);
  // Both have one: neither hides the other's, and the one goes without the other.
  cloud.mirror("n", vm1, true, false, vm2);
  EXPECT_EQ(copies(BridgeId{vm1.uuid}), 1u);
  // Nor is a question answered by the agent because of another place's mirror.
  cloud.mirrors.clear();
  cloud.mirror("m", RouterId{red.uuid}, true, true, monitor);
  EXPECT_TRUE(send(vm1, kWhoIsVm2).cacheable);
  cloud.mirror("m", red, true, true, monitor);
  EXPECT_FALSE(send(vm1, kWhoIsVm2).cacheable);
}

TEST_F(Services, TwoMirrorsOfEachOtherMakeNoLoop) {
  cloud.mirror("m", vm1, true, true, vm2);
  cloud.mirror("n", vm2, true, true, vm1);
  // vm1's own packets are not sent back to it.
  EXPECT_THAT(send(vm1, kToVm2).actions.copies,
              ElementsAre(Copy{{}, local(vm2)}, Copy{{}, local(vm2)}));
}

TEST_F(Services, AMirrorThatCannotSendHarmsNobody) {
  auto& m = cloud.mirror("m", vm1, true, false, monitor);
  const auto unharmed = [&] {
    const Outcome o = send(vm1, kToVm2);
    EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm2)}));
    EXPECT_TRUE(o.cacheable);
  };
  cloud.ports[monitor].admin_up = false;
  unharmed();
  cloud.ports[monitor].admin_up = true;
  cloud.bindings[monitor].active = false;
  unharmed();
  m.to_port = TestCloud::port_id("gone");
  unharmed();
  m.to_port = rt_red;
  unharmed();
  m.to_port = monitor;
  cloud.bindings[monitor].active = true;
  m.unreadable = true;
  unharmed();
  m.unreadable = false;
  m.admin_up = false;
  unharmed();
  m.admin_up = true;
  EXPECT_EQ(send(vm1, kToVm2).actions.copies.size(), 2u);
}

TEST_F(Services, ACopyGoesByTunnelIfItFits) {
  cloud.bind(monitor, h2);
  cloud.mirror("m", vm1, true, false, monitor);
  EXPECT_THAT(send(vm1, kToVm2).actions.copies,
              ElementsAre(Copy{{}, tunnel(monitor)}, Copy{{}, local(vm2)}));
  cloud.hosts[h1].tunnel_addresses = {*IpAddr::parse("2001:db8::1")};
  cloud.hosts[h2].tunnel_addresses = {*IpAddr::parse("2001:db8::2")};
  cloud.tunnel_mtu = 40;
  const std::string large = std::string(kToVm2) + " | payload 100 bytes";
  const Outcome o = send(vm1, large);
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm2)}));
  EXPECT_FALSE(o.cacheable) << "smaller ones of the class are copied";
  const Outcome small = send(vm1, kToVm2);
  EXPECT_EQ(small.actions.copies.size(), 2u);
  EXPECT_EQ(small.actions.mtu, 40) << "larger ones are asked about";
}

TEST_F(Services, AnAnswerAtAMirroredPortIsMadeAndMirrored) {
  EXPECT_NE(send(vm1, kWhoIsVm2).actions.answer(), nullptr);
  cloud.mirror("m", vm1, true, true, monitor);
  const Outcome o = send(vm1, kWhoIsVm2);
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(monitor)}));
  ASSERT_EQ(o.generated.size(), 1u);
  EXPECT_THAT(o.generated[0].actions.copies,
              ElementsAre(Copy{{}, local(monitor)}, Copy{{}, local(vm1)}));
  EXPECT_FALSE(o.cacheable);
}

// ---- marks

TEST_F(Services, APortsMarkCountsMoreThanTheBridges) {
  cloud.bridges[red].dscp = 10;
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{marked(10), local(vm2)}));
  cloud.ports[vm1].dscp = 46;
  EXPECT_THAT(send(vm1, kToVm3).actions.copies, ElementsAre(Copy{marked(46), tunnel(vm3)}));
  EXPECT_EQ(rewritten(marked(46), packet_of(*parse_frame(kToVm2), DpPort{16}).parsed,
                      *parse_frame(kToVm2)),
            *parse_frame("eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 tos "
                         "187 | udp 1 > 2"))
      << "ECN stays";
  // What comes from the fabric has been marked; questions of the link are answered as before.
  here = h2;
  EXPECT_THAT(send_by(kTunnelPort, tunnel(vm3).key, kToVm3).actions.copies,
              ElementsAre(Copy{{}, local(vm3)}));
  here = h1;
  EXPECT_NE(send(vm1, kWhoIsVm2).actions.answer(), nullptr);
  const Outcome solicited = send(
      vm1,
      "eth 02:00:00:00:01:01 > 33:33:ff:00:00:fe | ipv6 fd00:1::1 > ff02::1:ff00:fe | nd solicit "
      "target fd00:1::fe slla 02:00:00:00:01:01");
  ASSERT_NE(solicited.actions.answer(), nullptr);
  EXPECT_TRUE(solicited.actions.copies[0].rewrite.empty());
}

TEST_F(Services, RulesMarkAndLaterOnesSeeTheMark) {
  cloud.ports[vm1].dscp = 1;
  const ChainId chain = in_chain(vm1);
  // One shape of rules about marks, whose first stands before what marks.
  cloud.rule("five", chain, 5, RuleAction::drop).dscp = 40;
  auto& m = cloud.rule("ten", chain, 10, RuleAction::mark);
  m.set_dscp = 46;
  m.dscp = 1;
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{marked(46), local(vm2)}));
  cloud.rule("twenty", chain, 20, RuleAction::drop).dscp = 46;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filtered_by_rule);
  cloud.ports[vm1].dscp = 2;
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{marked(2), local(vm2)}));
  EXPECT_EQ(packet.key.ip_tos, 3);
}

TEST_F(Services, RulesBehindAJumpSeeTheMarkOfItsChain) {
  const ChainId chain = in_chain(vm1), classify = cloud.chain("classify");
  cloud.rule("one", chain, 1, RuleAction::drop).dscp = 8;
  auto& jump = cloud.rule("five", chain, 5, RuleAction::jump);
  jump.jump_chain = classify;
  jump.dscp = 0;
  cloud.rule("mark", classify, 1, RuleAction::mark).set_dscp = 46;
  cloud.rule("ten", chain, 10, RuleAction::drop).dscp = 0;
  const Outcome passed = send(vm1, kToVm2);
  EXPECT_THAT(passed.actions.copies, ElementsAre(Copy{marked(46), local(vm2)}));
  // Rules about marks that come behind one are not only for packets that came with such a mark.
  for (const ChainId id : {chain, classify})
    EXPECT_THAT(passed.dependencies, testing::Contains(Dependency{chain_tag(id), true}));
  cloud.rule("twenty", chain, 20, RuleAction::drop).dscp = 46;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filtered_by_rule);
}

TEST_F(Services, MarksAtOnePlaceHaveALimit) {
  const ChainId chain = in_chain(vm1);
  for (uint32_t n = 0; n < 16; ++n)
    cloud.rule("m" + std::to_string(n), chain, n, RuleAction::mark).set_dscp =
        static_cast<uint8_t>(n);
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{marked(15), local(vm2)}));
  cloud.rule("one more", chain, 20, RuleAction::mark).set_dscp = 1;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filter_too_deep);
  EXPECT_NE(send(vm1, kWhoIsVm2).actions.answer(), nullptr) << "only IP has marks";
}

// ---- redirection, log

TEST_F(Services, ARuleRedirects) {
  auto& r = cloud.rule("scrub", in_chain(vm1), 1, RuleAction::redirect);
  r.redirect_port = vm4;
  r.protocol = ip_proto::kUdp;
  const ChainId no = cloud.chain("no");
  cloud.rule("drop", no, 1, RuleAction::drop);
  cloud.ports[vm4].out_chain = no;
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{{}, local(vm4)}));
  cloud.bind(vm4, h2);
  EXPECT_THAT(send(vm1, kToVm2).actions.copies, ElementsAre(Copy{{}, tunnel(vm4)}));
  here = h2;
  EXPECT_THAT(send_by(kTunnelPort, tunnel(vm4).key, kToVm2).actions.copies,
              ElementsAre(Copy{{}, local(vm4)}));
  here = h1;
  for (const auto& [to, reason] :
       {std::pair{vm1, DropReason::hairpin}, std::pair{rt_red, DropReason::dangling},
        std::pair{TestCloud::port_id("gone"), DropReason::dangling}}) {
    r.redirect_port = to;
    EXPECT_EQ(send(vm1, kToVm2).reason, reason);
  }
  r.redirect_port = vm4;
  cloud.ports[vm4].admin_up = false;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::port_admin_down);
  r.redirect_port.reset();
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filter_unreadable);
}

TEST_F(Services, OnlyAPortsInChainRedirects) {
  const ChainId chain = cloud.chain("out");
  cloud.rule("r", chain, 1, RuleAction::redirect).redirect_port = vm4;
  cloud.bridges[red].in_chain = chain;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filter_unreadable);
  cloud.bridges[red].in_chain.reset();
  cloud.ports[vm2].out_chain = chain;
  EXPECT_EQ(send(vm1, kToVm2).reason, DropReason::filter_unreadable);
}

TEST_F(Services, RulesThatLogAreTold) {
  const ChainId chain = in_chain(vm1);
  auto& first = cloud.rule("first", chain, 1, RuleAction::continue_);
  first.log = true;
  cloud.rule("second", chain, 2, RuleAction::continue_);
  auto& other = cloud.rule("other", chain, 3, RuleAction::continue_);
  other.log = true;
  other.protocol = ip_proto::kTcp;
  auto& last = cloud.rule("last", chain, 4, RuleAction::drop);
  last.log = true;
  const Outcome o = send(vm1, kToVm2);
  const Uuid second = cloud.rule("second", chain, 2, RuleAction::continue_).id.uuid;
  EXPECT_THAT(o.met,
              ElementsAre(MetRule{first.id.uuid, chain.uuid, true}, MetRule{second, chain.uuid},
                          MetRule{last.id.uuid, chain.uuid, true}));
  EXPECT_TRUE(o.cacheable);
}

TEST_F(Services, OfManyRulesNotAllAreTold) {
  const ChainId chain = in_chain(vm1);
  constexpr unsigned kMost = Outcome::kMostMet;
  for (unsigned i = 1; i <= 4 * kMost; ++i)
    cloud.rule("r" + std::to_string(i), chain, i, RuleAction::continue_).log = i > kMost + 1;
  const Outcome o = send(vm1, kToVm2);
  ASSERT_EQ(o.met.size(), 2 * kMost);
  for (unsigned i = 0; i < o.met.size(); ++i) EXPECT_EQ(o.met[i].log, i >= kMost);
}

// ---- conditions

TEST_F(Services, RulesLookIntoIcmpErrors) {
  auto& r = cloud.rule("r", in_chain(vm1), 1, RuleAction::drop);
  r.inner_destination = *IpPrefix::parse("10.0.1.0/24");
  const auto error = [&](const char* text) {
    const auto quoted = parse_frame(text);
    const IcmpErrorSpec spec{.kind = IcmpErrorKind::port_unreachable,
                             .from_mac = *MacAddr::parse("02:00:00:00:01:01"),
                             .to_mac = *MacAddr::parse("02:00:00:00:01:02"),
                             .from_ip = parse_packet(*quoted).key.dst_ip()};
    sent = *icmp_error(spec, parse_packet(*quoted), *quoted);
    packet = packet_of(sent, cloud.dp_port(vm1));
    snapshot = cloud.snapshot(h1);
    return simulate(packet, *snapshot, {});
  };
  constexpr const char *kOf = "ipv4 10.0.9.9 > 10.0.1.1 | udp 1 > 2",
                       *kNot = "ipv4 10.0.1.2 > 10.0.2.1 | udp 1 > 2",
                       *kOf6 = "ipv6 fd00:1::2 > fd00:1::1 | udp 1 > 2";
  EXPECT_EQ(error(kOf).reason, DropReason::filtered_by_rule);
  const Outcome passes = error(kNot);
  EXPECT_EQ(passes.verdict, Verdict::forward);
  EXPECT_FALSE(passes.cacheable) << "what an error quotes is in no class";
  EXPECT_EQ(error(kOf6).verdict, Verdict::forward);
  EXPECT_TRUE(send(vm1, kToVm2).cacheable) << "what is no error is a class";
  r.inverted = bit(Condition::inner_destination);
  EXPECT_EQ(error(kOf).verdict, Verdict::forward);
  EXPECT_EQ(error(kNot).reason, DropReason::filtered_by_rule);
  EXPECT_EQ(error(kOf6).verdict, Verdict::forward) << "of the other family neither holds";
  EXPECT_EQ(send(vm1, kToVm2).verdict, Verdict::forward) << "nor of what quotes nothing";
  r.inverted = 0;
  r.inner_destination.reset();
  r.inner_source = *IpPrefix::parse("fd00:1::2/128");
  EXPECT_EQ(error(kOf6).reason, DropReason::filtered_by_rule);
  EXPECT_EQ(error(kOf).verdict, Verdict::forward);
}

TEST_F(Services, RulesAskForTags) {
  auto& r = cloud.rule("r", in_chain(vm1), 1, RuleAction::drop);
  const auto dropped = [&](const char* tag) {
    return send(vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | " + std::string(tag) +
                         "ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2")
               .reason == DropReason::filtered_by_rule;
  };
  r.vlan = 7;
  EXPECT_TRUE(dropped("vlan 7 pcp 3 | "));
  EXPECT_EQ(packet.key.vlan_tci.host(), 0x7007);
  EXPECT_FALSE(dropped("vlan 8 | "));
  EXPECT_FALSE(dropped("vlan 0 | "));
  EXPECT_FALSE(dropped(""));
  r.vlan = 0;
  EXPECT_TRUE(dropped(""));
  EXPECT_FALSE(dropped("vlan 0 | ")) << "a priority tag is a tag";
  r.inverted = bit(Condition::vlan);
  EXPECT_TRUE(dropped("vlan 7 | "));
  EXPECT_FALSE(dropped(""));
}

TEST_F(Services, RulesAskForTheWay) {
  const ChainId chain = cloud.chain("c");
  cloud.ports[vm4].out_chain = chain;
  auto& r = cloud.rule("r", chain, 1, RuleAction::drop);
  r.through_router = rt;
  EXPECT_EQ(send(vm1, kToVm4).reason, DropReason::filtered_by_rule);
  r.inverted = bit(Condition::through_router);
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::forward);
  r.inverted = 0;
  r.through_router.reset();
  r.through_bridge = red;
  EXPECT_EQ(send(vm1, kToVm4).reason, DropReason::filtered_by_rule);
  r.through_bridge = watch;
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::forward);
  // Another device with the id of one on the way.
  r.through_bridge = BridgeId{rt.uuid};
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::forward);
  r.through_bridge.reset();
  r.through_router = RouterId{red.uuid};
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::forward);
  r.through_router.reset();
  r.through_bridge = watch;
  // A flood's last stage at another host does not know the way there.
  cloud.ports[vm3].out_chain = chain;
  here = h2;
  EXPECT_EQ(send_by(kTunnelPort, flood_key(h2, red), kToAll).reason, DropReason::filter_unreadable);
}

// ---- reserved groups, fragments

TEST_F(Services, BridgesCarryReservedGroupsWhenToldTo) {
  constexpr const char
      *kLldp = "eth 02:00:00:00:01:01 > 01:80:c2:00:00:0e type 0x88cc | payload hex 0200",
      *kBpdu = "eth 02:00:00:00:01:01 > 01:80:c2:00:00:00 type 0x88b5 | payload hex 00";
  const auto carries = [&](const char* text) {
    const Outcome o = send(vm1, text);
    if (o.verdict != Verdict::forward) {
      EXPECT_EQ(o.reason, DropReason::reserved_multicast);
    }
    return o.actions.copies.size() == 2;
  };
  for (const bool bpdu : {false, true}) {
    for (const bool lldp : {false, true}) {
      cloud.bridges[red].forward_bpdu = bpdu;
      cloud.bridges[red].forward_lldp = lldp;
      EXPECT_EQ(carries(kLldp), lldp);
      EXPECT_EQ(carries(kBpdu), bpdu);
    }
  }
}

TEST_F(Services, ARouterCanRefuseFragments) {
  cloud.routers[rt].drop_fragments = true;
  for (const char* fragment : {" frag off 0 more", " proto 17 frag off 64"}) {
    const Outcome o = send(
        vm1, std::string("eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > "
                         "10.0.2.4 ttl 64") +
                 fragment + " | " +
                 (std::string_view(fragment).ends_with("more") ? "udp 1 > 2" : "payload 8 bytes"));
    EXPECT_EQ(o.reason, DropReason::fragment_refused) << fragment;
    EXPECT_TRUE(o.cacheable);
  }
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::forward);
}

// ---- sub-ports

/// The trunk of a machine at h1, on blue itself, with a sub-port on red.
class SubPorts : public Services {
 protected:
  SubPorts() {
    trunk = cloud.vm("trunk", blue, h1, "02:00:00:00:02:05", {"10.0.2.5"});
    sub = cloud.sub_port("sub", red, trunk, 10, "02:00:00:00:01:05", {"10.0.1.5", "fd00:1::5"});
  }
  PortId trunk, sub;
};

TEST_F(SubPorts, ATaggedFrameEntersTheSubPortsBridge) {
  const Outcome o = send(
      trunk,
      "eth 02:00:00:00:01:05 > 02:00:00:00:01:02 | vlan 10 | ipv4 10.0.1.5 > 10.0.1.2 | udp 1 > 2");
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{popped(), local(vm2)}));
  EXPECT_TRUE(o.cacheable);
  EXPECT_EQ(o.mask.vlan_tci.host(), 0x1fff);
  Rewrite r = routed("02:00:00:00:02:fe", "02:00:00:00:02:04");
  r.pop_vlan = true;
  EXPECT_THAT(send(trunk,
                   "eth 02:00:00:00:01:05 > 02:00:00:00:01:fe | vlan 10 | ipv4 10.0.1.5 > 10.0.2.4 "
                   "ttl 64 | udp 1 > 2")
                  .actions.copies,
              ElementsAre(Copy{r, local(vm4)}));
}

TEST_F(SubPorts, OtherTagsAndNoneBelongToTheParent) {
  for (const char* tag : {"", "vlan 11 | ", "vlan 0 | "}) {
    const Outcome o = send(trunk, "eth 02:00:00:00:02:05 > 02:00:00:00:02:04 | " +
                                      std::string(tag) + "ipv4 10.0.2.5 > 10.0.2.4 | udp 1 > 2");
    EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm4)})) << tag;
    EXPECT_TRUE(o.cacheable);
  }
}

TEST_F(SubPorts, BehindAPriorityTagTheSecondOneCounts) {
  const auto to_trunk = [&](const std::string& tags) {
    return send(vm4, "eth 02:00:00:00:02:04 > 02:00:00:00:02:05 " + tags +
                         " | ipv4 10.0.2.4 > 10.0.2.5 | udp 1 > 2");
  };
  EXPECT_EQ(to_trunk("| vlan 0 | vlan 10").reason, DropReason::vlan_of_sub_port);
  for (const char* tags : {"| vlan 0", "| vlan 0 | vlan 11", "| vlan 11 | vlan 10"})
    EXPECT_THAT(to_trunk(tags).actions.copies, ElementsAre(Copy{{}, local(trunk)})) << tags;
  EXPECT_FALSE(to_trunk("| vlan 0").cacheable) << "others of the class have a second tag";
  EXPECT_TRUE(to_trunk("| vlan 11").cacheable);
  const Outcome third =
      send(vm4,
           "eth 02:00:00:00:02:04 > 02:00:00:00:02:05 type 0x8100 | vlan 0 | vlan 0 | payload "
           "hex 000a0800");
  EXPECT_EQ(third.reason, DropReason::vlan_of_sub_port);
  EXPECT_TRUE(third.cacheable);
}

TEST_F(SubPorts, FramesForItLeaveByTheParentWithTheTag) {
  EXPECT_THAT(
      send(vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:05 | ipv4 10.0.1.1 > 10.0.1.5 | udp 1 > 2")
          .actions.copies,
      ElementsAre(Copy{pushed(10), local(trunk)}));
  EXPECT_THAT(send(vm1, kToAll).actions.copies, testing::Contains(Copy{pushed(10), local(trunk)}));
  here = h2;
  EXPECT_THAT(
      send(vm3, "eth 02:00:00:00:01:03 > 02:00:00:00:01:05 | ipv4 10.0.1.3 > 10.0.1.5 | udp 1 > 2")
          .actions.copies,
      ElementsAre(Copy{{}, tunnel(sub)}));
  here = h1;
  EXPECT_THAT(send_by(kTunnelPort, tunnel(sub).key, kToVm2).actions.copies,
              ElementsAre(Copy{pushed(10), local(trunk)}));
  EXPECT_THAT(send_by(kTunnelPort, flood_key(h1, red), kToAll).actions.copies,
              UnorderedElementsAre(Copy{{}, local(vm1)}, Copy{{}, local(vm2)},
                                   Copy{pushed(10), local(trunk)}));
}

TEST_F(SubPorts, TwoOnOneBridgeTranslateTags) {
  const PortId other = cloud.sub_port("other", red, trunk, 20, "02:00:00:00:01:06");
  Rewrite r = pushed(20);
  r.pop_vlan = true;
  EXPECT_THAT(send(trunk,
                   "eth 02:00:00:00:01:05 > 02:00:00:00:01:06 | vlan 10 | ipv4 10.0.1.5 > 10.0.1.6 "
                   "| udp 1 > 2")
                  .actions.copies,
              ElementsAre(Copy{r, local(trunk)}));
  EXPECT_FALSE(cloud.dp_ports.contains(other));
}

TEST_F(SubPorts, NothingElseLeavesWithItsTag) {
  const Outcome o = send(
      vm4,
      "eth 02:00:00:00:02:04 > 02:00:00:00:02:05 | vlan 10 | ipv4 10.0.2.4 > 10.0.2.5 | udp 1 > 2");
  EXPECT_EQ(o.reason, DropReason::vlan_of_sub_port);
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(send(vm4,
                   "eth 02:00:00:00:02:04 > 02:00:00:00:02:05 | vlan 11 | ipv4 10.0.2.4 > 10.0.2.5 "
                   "| udp 1 > 2")
                  .actions.copies,
              ElementsAre(Copy{{}, local(trunk)}));
}

TEST_F(SubPorts, ASecondTagIsSeenAndIsNoClass) {
  const Outcome bridged = send(trunk,
                               "eth 02:00:00:00:01:05 > 02:00:00:00:01:02 | vlan 10 | vlan 20 | "
                               "ipv4 10.0.1.5 > 10.0.1.2 | udp 1 > 2");
  EXPECT_THAT(bridged.actions.copies, ElementsAre(Copy{popped(), local(vm2)}));
  EXPECT_FALSE(bridged.cacheable);
  EXPECT_FALSE(fits(bridged.actions, packet.parsed, sent, 0))
      << "a flow of the class does not take it";
  EXPECT_EQ(send(trunk,
                 "eth 02:00:00:00:01:05 > 02:00:00:00:01:fe | vlan 10 | vlan 20 | ipv4 10.0.1.5 > "
                 "10.0.2.4 ttl 64 | udp 1 > 2")
                .reason,
            DropReason::vlan_at_router);
}

TEST_F(SubPorts, QuestionsAreAnsweredWithTheTag) {
  const Outcome o = send(trunk,
                         "eth 02:00:00:00:01:05 > ff:ff:ff:ff:ff:ff | vlan 10 | arp request who "
                         "10.0.1.2 tell 10.0.1.5");
  ASSERT_NE(o.actions.answer(), nullptr);
  EXPECT_TRUE(o.actions.copies[0].rewrite.empty());
  EXPECT_TRUE(o.cacheable);
  const auto* answer = o.actions.answer();
  EXPECT_EQ(parse_packet(*neighbour_answer(packet.parsed, sent, answer->target, answer->mac, false))
                .key.vlan_tci.host(),
            0x100a);
  const Outcome gateway = send(trunk,
                               "eth 02:00:00:00:01:05 > ff:ff:ff:ff:ff:ff | vlan 10 | arp request "
                               "who 10.0.1.254 tell 10.0.1.5");
  ASSERT_NE(gateway.actions.answer(), nullptr);
  EXPECT_TRUE(gateway.cacheable);
}

TEST_F(SubPorts, ErrorsGoBackWithTheTag) {
  const Outcome o = send(trunk,
                         "eth 02:00:00:00:01:05 > 02:00:00:00:01:fe | vlan 10 | ipv4 10.0.1.5 > "
                         "10.0.2.4 ttl 1 | udp 1 > 2");
  EXPECT_EQ(o.reason, DropReason::ttl_exceeded);
  ASSERT_EQ(o.generated.size(), 1u);
  EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{pushed(10), local(trunk)}));
  EXPECT_EQ(parse_packet(o.generated[0].frame).key.vlan_tci.host(), 0);
}

TEST_F(SubPorts, ItLearnsAndIsFilteredAsAnyPort) {
  cloud.ports[sub].port_security = true;
  EXPECT_EQ(send(trunk,
                 "eth 02:00:00:00:07:07 > 02:00:00:00:01:02 | vlan 10 | ipv4 10.0.1.5 > 10.0.1.2 | "
                 "udp 1 > 2")
                .reason,
            DropReason::spoofed_source);
  cloud.ports[sub].port_security = false;
  const Outcome o = send(
      trunk,
      "eth 02:00:00:00:07:07 > 02:00:00:00:01:02 | vlan 10 | ipv4 10.0.1.5 > 10.0.1.2 | udp 1 > 2");
  EXPECT_THAT(o.writes,
              ElementsAre(StateWrite(MacLearned{red, sub, *MacAddr::parse("02:00:00:00:07:07")})));
}

TEST_F(SubPorts, ItIsHereAsLongAsItsParentIs) {
  constexpr const char* kToSub =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:05 | ipv4 10.0.1.1 > 10.0.1.5 | udp 1 > 2";
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  const auto here_now = [&] { return topology.snapshot()->is_here(sub); };
  const auto flooded = [&] {
    const auto local = topology.snapshot()->flood_set(red).local;
    return std::find(local.begin(), local.end(), sub) != local.end();
  };
  EXPECT_TRUE(here_now() && flooded());
  const uint32_t number = cloud.dp_port(trunk).number;
  const std::vector<model::Change> gone{model::LocalPortChange{trunk, 0}};
  const model::Delta delta = topology.apply(gone);
  EXPECT_FALSE(here_now() || flooded());
  EXPECT_THAT(delta.floods, testing::Contains(red));
  topology.apply(std::vector<model::Change>{model::LocalPortChange{trunk, number}});
  EXPECT_TRUE(here_now() && flooded());
  auto binding = cloud.bindings[trunk];
  binding.active = false;
  topology.apply(std::vector<model::Change>{model::BindingChange{trunk, binding}});
  EXPECT_FALSE(here_now() || flooded());
  cloud.ports[trunk].admin_up = false;
  EXPECT_EQ(send(vm1, kToSub).reason, DropReason::port_admin_down);
}

TEST_F(SubPorts, ATagIsOfOneAlone) {
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  // Whoever has the lower id has the tag.
  const PortId other = cloud.sub_port("other", blue, trunk, 10);
  topology.apply(std::vector<model::Change>{model::BindingChange{other, cloud.bindings[other]},
                                            model::PortChange{other, cloud.ports[other]}});
  const PortId has = std::min(sub, other), has_not = std::max(sub, other);
  EXPECT_TRUE(topology.snapshot()->is_here(has));
  EXPECT_FALSE(topology.snapshot()->is_here(has_not));
  const auto flooded = [&](BridgeId bridge, PortId port) {
    const auto local = topology.snapshot()->flood_set(bridge).local;
    return std::find(local.begin(), local.end(), port) != local.end();
  };
  EXPECT_TRUE(flooded(has == sub ? red : blue, has));
  EXPECT_FALSE(flooded(has == sub ? blue : red, has_not));
  topology.apply(std::vector<model::Change>{model::PortChange{has, std::nullopt}});
  EXPECT_TRUE(topology.snapshot()->is_here(has_not));
  EXPECT_TRUE(flooded(has == sub ? blue : red, has_not));
}

TEST_F(SubPorts, AFlowGoesWhenItsTagGetsASubPort) {
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  const Outcome before = send(
      trunk,
      "eth 02:00:00:00:02:05 > 02:00:00:00:02:04 | vlan 20 | ipv4 10.0.2.5 > 10.0.2.4 | udp 1 > 2");
  ASSERT_TRUE(before.cacheable);
  const PortId id = cloud.sub_port("new", red, trunk, 20);
  const auto tags =
      tags_of(topology.apply(std::vector<model::Change>{model::PortChange{id, cloud.ports[id]}}));
  EXPECT_TRUE(std::any_of(tags.begin(), tags.end(), [&](const TagChange& t) {
    return std::any_of(before.dependencies.begin(), before.dependencies.end(),
                       [&](const Dependency& d) { return d.tag == t.tag; });
  }));
}

}  // namespace
}  // namespace plexus::sim
