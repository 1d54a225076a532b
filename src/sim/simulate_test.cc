// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/build.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

MacAddr mac(std::string_view text) {
  return *MacAddr::parse(text);
}
IpAddr ip(std::string_view text) {
  return *IpAddr::parse(text);
}

/// vm1 and vm2 at h1, vm3 at h2, all on red; vm4 at h2 on blue; a router between red and blue, with an uplink at h2.
class Simulate : public testing::Test {
 protected:
  Simulate() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    rt = cloud.router("rt");
    rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    rt_blue =
        cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24", "fd00:2::fe/64"});
    rt_up = cloud.router_port("rt-up", rt, "02:00:00:00:03:fe", {"198.51.100.1/24"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    cloud.bind(rt_up, h2);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1", "fd00:1::1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2", "fd00:1::2"});
    vm3 = cloud.vm("vm3", red, h2, "02:00:00:00:01:03", {"10.0.1.3", "fd00:1::3"});
    vm4 = cloud.vm("vm4", blue, h2, "02:00:00:00:02:04", {"10.0.2.4", "fd00:2::4"});
    cloud.route("default", rt, "0.0.0.0/0", rt_up, "198.51.100.254");
  }

  Outcome send(PortId from, const std::string& text, Trace* trace = nullptr) {
    const auto frame = parse_frame(text);
    EXPECT_TRUE(frame.ok()) << (frame.ok() ? "" : frame.error().message);
    sent = frame.ok() ? *frame : Frame();
    return send_frame(cloud.dp_port(from), 0, trace);
  }
  Outcome send_frame(DpPort in, uint32_t key, Trace* trace = nullptr) {
    packet = packet_of(sent, in, key);
    snapshot = cloud.snapshot(here);
    return simulate(packet, *snapshot, MonoTime{}, trace);
  }
  LocalOutput local(PortId id) const { return {cloud.dp_port(id)}; }
  TunnelOutput tunnel(PortId id) const {
    const auto& b = cloud.bindings.at(id);
    return {cloud.hosts.at(b.host).tunnel_addresses[0], b.tunnel_key};
  }
  TunnelOutput flood_tunnel(HostId host, BridgeId bridge) const {
    for (const auto& [b, key] : cloud.hosts.at(host).flood_keys)
      if (b == bridge) return {cloud.hosts.at(host).tunnel_addresses[0], key};
    return {};
  }

  TestCloud cloud;
  HostId h1, h2, here = TestCloud::host_id("h1");
  BridgeId red, blue;
  RouterId rt;
  PortId rt_red, rt_blue, rt_up, vm1, vm2, vm3, vm4;
  Frame sent;
  Packet packet;
  std::shared_ptr<const model::Snapshot> snapshot;
};

constexpr const char* kToVm2 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2";
constexpr const char* kToVm3 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:03 | ipv4 10.0.1.1 > 10.0.1.3 | udp 1 > 2";
constexpr const char* kToVm4 =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.4 ttl 64 | udp 1 > 2";

TEST_F(Simulate, KnownMacOnTheSameHost) {
  const Outcome o = send(vm1, kToVm2);
  EXPECT_EQ(o.verdict, Verdict::forward);
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm2)}));
  EXPECT_TRUE(o.cacheable);
  // A switch looks at MACs, not at what is inside.
  EXPECT_EQ(o.mask.eth_type.host(), 0);
  EXPECT_EQ(o.mask.src_mac(), kBroadcastMac) << "another source may be one to learn";
  cloud.bridges[red].learning = false;
  const Outcome unlearned = send_frame(cloud.dp_port(vm1), 0);
  EXPECT_EQ(unlearned.mask.eth_src, (std::array<uint8_t, 6>{1})) << "only the group bit";
}

TEST_F(Simulate, KnownMacAtAnotherHost) {
  const Outcome o = send(vm1, kToVm3);
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, tunnel(vm3)}));
  here = h2;
  const Outcome egress = send_frame(kTunnelPort, tunnel(vm3).key);
  EXPECT_THAT(egress.actions.copies, ElementsAre(Copy{{}, local(vm3)}));
  EXPECT_EQ(egress.mask.tunnel_key, ~0u);
  EXPECT_EQ(egress.mask.eth_dst, decltype(egress.mask.eth_dst){}) << "the key says it all";
}

TEST_F(Simulate, BroadcastOncePerRemoteHost) {
  cloud.vm("vm5", red, h2, "02:00:00:00:01:05");
  const Outcome o = send(
      vm1,
      "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 255.255.255.255 | udp 68 > 67");
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm2)}, Copy{{}, flood_tunnel(h2, red)}));
  EXPECT_TRUE(o.cacheable);
  here = h2;
  const Outcome egress = send_frame(kTunnelPort, flood_tunnel(h2, red).key);
  EXPECT_THAT(egress.actions.copies, SizeIs(2));
  for (const Copy& c : egress.actions.copies)
    EXPECT_TRUE(std::holds_alternative<LocalOutput>(c.output));
}

TEST_F(Simulate, UnknownUnicastIsFlooded) {
  const Outcome o = send(
      vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:99 | ipv4 10.0.1.1 > 10.0.1.99 | udp 1 > 2");
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{{}, local(vm2)}, Copy{{}, flood_tunnel(h2, red)}));
  EXPECT_THAT(o.dependencies,
              testing::Contains(Dependency{mac_tag(red, mac("02:00:00:00:01:99"))}));
}

TEST_F(Simulate, RoutedToAnotherHostInOneHop) {
  const Outcome o = send(vm1, kToVm4);
  Rewrite r;
  r.eth_src = mac("02:00:00:00:02:fe");
  r.eth_dst = mac("02:00:00:00:02:04");
  r.ttl_decrement = 1;
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{r, tunnel(vm4)}));
  EXPECT_TRUE(o.cacheable);
  EXPECT_EQ(o.mask.ip_ttl, 64) << "one bit: all TTLs from 64 to 127 alike";
  EXPECT_EQ(o.mask.tp_src.host(), 0);
  EXPECT_EQ(o.mask.ip_proto, 0);
}

TEST_F(Simulate, RoutedIpv6) {
  const Outcome o = send(
      vm1,
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv6 fd00:1::1 > fd00:2::4 ttl 3 | udp 1 > 2");
  Rewrite r;
  r.eth_src = mac("02:00:00:00:02:fe");
  r.eth_dst = mac("02:00:00:00:02:04");
  r.ttl_decrement = 1;
  EXPECT_THAT(o.actions.copies, ElementsAre(Copy{r, tunnel(vm4)}));
  EXPECT_EQ(o.mask.ip_ttl, 2);
}

TEST_F(Simulate, TtlClassesOfTwoRouters) {
  // vm1 - rt - r2 - vm9: two decrements, so a TTL of 3 is enough and one of 2 is not.
  const RouterId r2 = cloud.router("r2");
  const PortId a = cloud.router_port("a", rt, "02:00:00:00:10:01", {"10.99.0.1/30"});
  const PortId b = cloud.router_port("b", r2, "02:00:00:00:10:02", {"10.99.0.2/30"});
  cloud.link(a, b);
  const BridgeId green = cloud.bridge("green");
  const PortId r2_green = cloud.router_port("r2-green", r2, "02:00:00:00:10:03", {"10.0.9.254/24"});
  cloud.plug(green, r2_green);
  const PortId vm9 = cloud.vm("vm9", green, h1, "02:00:00:00:09:09", {"10.0.9.9"});
  cloud.route("to-green", rt, "10.0.9.0/24", a, "10.99.0.2");
  const struct {
    int ttl;
    Verdict verdict;
    int mask;
  } cases[] = {{64, Verdict::forward, 64},  {255, Verdict::forward, 128}, {5, Verdict::forward, 4},
               {3, Verdict::forward, 0xff}, {2, Verdict::drop, -1},       {1, Verdict::drop, -1}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.ttl);
    const Outcome o =
        send(vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.9.9 ttl " +
                      std::to_string(c.ttl) + " | udp 1 > 2");
    EXPECT_EQ(o.verdict, c.verdict);
    if (c.mask < 0) continue;
    // The first router reads with one decrement, the second with two.
    EXPECT_EQ(o.mask.ip_ttl, c.mask);
    ASSERT_THAT(o.actions.copies, SizeIs(1));
    EXPECT_EQ(o.actions.copies[0].rewrite.ttl_decrement, 2);
    EXPECT_EQ(o.actions.copies[0].rewrite.eth_dst, mac("02:00:00:00:09:09"));
    EXPECT_EQ(o.actions.copies[0].output, Output(local(vm9)));
  }
}

TEST_F(Simulate, AnUnknownSourceIsLearnedFromAndThenAClass) {
  const MacAddr source = mac("02:00:00:00:07:07");
  const std::string frame =
      "eth 02:00:00:00:07:07 > 02:00:00:00:01:03 | ipv4 10.0.1.1 > 10.0.1.3 | udp 1 > 2";
  const Outcome first = send(vm1, frame);
  EXPECT_THAT(first.writes, ElementsAre(StateWrite(MacLearned{red, vm1, source})));
  EXPECT_FALSE(first.cacheable);
  EXPECT_THAT(first.actions.copies, ElementsAre(Copy{{}, tunnel(vm3)})) << "it is not held up";
  cloud.bindings[vm1].learned = {{source, 1}};
  const Outcome then = send(vm1, frame);
  EXPECT_THAT(then.writes, IsEmpty());
  EXPECT_TRUE(then.cacheable);
  EXPECT_THAT(then.dependencies, testing::Contains(Dependency{mac_tag(red, source), false}));
  // It has moved: from another port it is to be learned anew.
  EXPECT_THAT(send(vm2, frame).writes, SizeIs(1));
  // What is sent to it goes to where it was learned.
  const Outcome back =
      send(vm2, "eth 02:00:00:00:01:02 > 02:00:00:00:07:07 | ipv4 10.0.1.2 > 10.0.1.1 | udp 1 > 2");
  EXPECT_THAT(back.actions.copies, ElementsAre(Copy{{}, local(vm1)}));
}

TEST_F(Simulate, WhatIsConfiguredOrComesFromElsewhereIsNotLearned) {
  EXPECT_THAT(
      send(vm1, "eth 02:00:00:00:01:03 > 02:00:00:00:01:02 | ipv4 10.0.1.3 > 10.0.1.2 | udp 1 > 2")
          .writes,
      IsEmpty());
  EXPECT_THAT(
      send(vm1, "eth 02:00:00:00:01:fe > 02:00:00:00:01:02 | ipv4 10.0.1.3 > 10.0.1.2 | udp 1 > 2")
          .writes,
      IsEmpty());
  cloud.bridges[red].learning = false;
  EXPECT_THAT(
      send(vm1, "eth 02:00:00:00:07:07 > 02:00:00:00:01:02 | ipv4 10.0.1.3 > 10.0.1.2 | udp 1 > 2")
          .writes,
      IsEmpty());
}

TEST_F(Simulate, AnnouncementsChangeKnownNeighboursOnly) {
  const std::string garp = " > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.77 tell 10.0.1.77";
  EXPECT_THAT(send(vm1, "eth 02:00:00:00:01:01" + garp).writes, IsEmpty()) << "nobody asked";
  const model::Neighbour old{rt_red, ip("10.0.1.77"), mac("02:00:00:00:01:02")};
  cloud.neighbours[rt_red] = {old};
  const StateWrite moved = NeighbourLearned{rt_red, ip("10.0.1.77"), mac("02:00:00:00:01:01"), vm1};
  EXPECT_THAT(send(vm1, "eth 02:00:00:00:01:01" + garp).writes, ElementsAre(moved));
  // Nor does it take what the topology knows.
  EXPECT_THAT(
      send(vm1,
           "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.3 tell 10.0.1.3")
          .writes,
      IsEmpty());
}

TEST_F(Simulate, UnsolicitedAdvertisementsFollowRfc4861) {
  const IpAddr address = ip("fd00:1::77"), all = ip("ff02::1");
  const MacAddr from = mac("02:00:00:00:01:01");
  const auto advert = [&](bool override_) {
    sent = nd_advert(from, address, mac("33:33:00:00:00:01"), all,
                     {.router = false, .solicited = false, .override_ = override_});
    return send_frame(cloud.dp_port(vm1), 0);
  };
  EXPECT_THAT(advert(true).writes, IsEmpty()) << "nobody asked";
  cloud.neighbours[rt_red] = {{rt_red, address, mac("02:00:00:00:01:02")}};
  EXPECT_THAT(advert(false).writes, IsEmpty());
  EXPECT_THAT(advert(true).writes,
              ElementsAre(StateWrite(NeighbourLearned{rt_red, address, from, vm1})));
}

TEST_F(Simulate, ArpForTheRouterIsAnsweredAsAClass) {
  for (const char* to : {"ff:ff:ff:ff:ff:ff", "02:00:00:00:01:fe"}) {
    const Outcome o = send(vm1, "eth 02:00:00:00:01:01 > " + std::string(to) +
                                    " | arp request who 10.0.1.254 tell 10.0.1.1");
    EXPECT_EQ(o.verdict, Verdict::forward);
    EXPECT_TRUE(o.cacheable);
    EXPECT_THAT(o.generated, IsEmpty());
    EXPECT_THAT(
        o.actions.copies,
        ElementsAre(Copy{{}, NeighbourAnswer{mac("02:00:00:00:01:fe"), ip("10.0.1.254"), true}}));
    EXPECT_THAT(o.writes, IsEmpty()) << "the topology knows vm1's address";
    EXPECT_EQ(o.mask.src_mac(), kBroadcastMac) << "another asker is another class";
  }
}

TEST_F(Simulate, ArpWhoseSenderIsNotTheFramesSourceIsNoClass) {
  const Outcome o = send(vm1,
                         "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.254 "
                         "tell 10.0.1.1 sha 02:00:00:00:01:02");
  EXPECT_FALSE(o.cacheable);
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(o.generated[0].frame, arp_reply(mac("02:00:00:00:01:fe"), ip("10.0.1.254"),
                                            mac("02:00:00:00:01:02"), ip("10.0.1.1")));
}

TEST_F(Simulate, ArpForAMachineIsAnsweredAtTheEdge) {
  const Outcome o = send(
      vm1, "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.3 tell 10.0.1.1");
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(
      o.actions.copies,
      ElementsAre(Copy{{}, NeighbourAnswer{mac("02:00:00:00:01:03"), ip("10.0.1.3"), false}}));
}

TEST_F(Simulate, ArpThatOthersMayWantToHearGoesToAll) {
  for (const char* text : {
           "arp request who 10.0.1.77 tell 10.0.1.1",  // nobody is known to have it
           "arp request who 10.0.1.3 tell 0.0.0.0",    // a probe
           "arp request who 10.0.1.1 tell 10.0.1.1",   // an announcement
           "arp request who 10.0.1.3 tell 10.0.1.3",   // a forged one
           "arp reply 10.0.1.3 to 10.0.1.1",
       }) {
    const Outcome o = send(vm1, "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | " + std::string(text));
    EXPECT_TRUE(o.cacheable) << text;
    EXPECT_THAT(o.actions.copies, SizeIs(2)) << text;
  }
}

TEST_F(Simulate, ArpForAMachineThatIsNotThereGoesToAll) {
  cloud.bindings[vm3].active = false;
  const Outcome o = send(
      vm1, "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.3 tell 10.0.1.1");
  EXPECT_EQ(o.actions.answer(), nullptr);
}

TEST_F(Simulate, ArpForOthersIsFloodedAsAClass) {
  const Outcome o = send(
      vm1, "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | arp request who 10.0.1.33 tell 10.0.1.1");
  EXPECT_THAT(o.generated, IsEmpty());
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(o.actions.copies, SizeIs(2));
}

TEST_F(Simulate, NeighbourSolicitationIsAnswered) {
  const Frame ns = nd_solicit(mac("02:00:00:00:01:01"), ip("fd00:1::1"), ip("fd00:1::fe"));
  sent = ns;
  const Outcome o = send_frame(cloud.dp_port(vm1), 0);
  const MacAddr gateway = mac("02:00:00:00:01:fe");
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(o.actions.copies,
              ElementsAre(Copy{{}, NeighbourAnswer{gateway, ip("fd00:1::fe"), true}}));
  // Also for the link-local address that every router port has.
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("fd00:1::1"), link_local_of(gateway));
  EXPECT_THAT(send_frame(cloud.dp_port(vm1), 0).actions.copies,
              ElementsAre(Copy{{}, NeighbourAnswer{gateway, link_local_of(gateway), true}}));
  // Nobody is known in this group: to all, whoever of it is meant.
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("fd00:1::1"), ip("fd00:1::33"));
  const Outcome other = send_frame(cloud.dp_port(vm1), 0);
  EXPECT_THAT(other.actions.copies, SizeIs(2));
  EXPECT_TRUE(other.cacheable);
  // Somebody is, but another is meant: the flow key does not say so.
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("fd00:1::1"), ip("fd00:1::7:0:0:fe"));
  const Outcome same_group = send_frame(cloud.dp_port(vm1), 0);
  EXPECT_EQ(same_group.actions.answer(), nullptr);
  EXPECT_FALSE(same_group.cacheable);
  // A damaged one is nobody's class.
  sent.back() ^= 1;
  EXPECT_FALSE(send_frame(cloud.dp_port(vm1), 0).cacheable);
}

TEST_F(Simulate, SolicitationForAMachineIsAnsweredAtTheEdge) {
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("fd00:1::1"), ip("fd00:1::3"));
  const Outcome o = send_frame(cloud.dp_port(vm1), 0);
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(
      o.actions.copies,
      ElementsAre(Copy{{}, NeighbourAnswer{mac("02:00:00:00:01:03"), ip("fd00:1::3"), false}}));
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("::"), ip("fd00:1::3"));  // a probe is for all
  EXPECT_THAT(send_frame(cloud.dp_port(vm1), 0).actions.copies, SizeIs(2));
}

TEST_F(Simulate, DuplicateAddressDetectionIsAnsweredToAll) {
  sent = nd_solicit(mac("02:00:00:00:01:01"), ip("::"), ip("fd00:1::fe"));
  const Outcome o = send_frame(cloud.dp_port(vm1), 0);
  ASSERT_THAT(o.generated, SizeIs(1));
  const ParsedPacket answer = parse_packet(o.generated[0].frame);
  EXPECT_EQ(answer.key.dst_ip(), ip("ff02::1"));
  EXPECT_EQ(answer.key.dst_mac(), mac("33:33:00:00:00:01"));
  EXPECT_FALSE(NdMessage::of(answer, o.generated[0].frame)->solicited);
  EXPECT_THAT(o.writes, IsEmpty());
}

TEST_F(Simulate, UnknownNeighbourPostponesAndAsks) {
  cloud.ports[vm4].addresses.clear();
  const Outcome o = send(vm1, kToVm4);
  EXPECT_EQ(o.verdict, Verdict::postpone);
  EXPECT_THAT(o.actions.copies, IsEmpty());
  EXPECT_THAT(o.missing, ElementsAre(Missing(NeighbourNeeded{rt_blue, ip("10.0.2.4")})));
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(o.generated[0].frame,
            arp_request(mac("02:00:00:00:02:fe"), ip("10.0.2.254"), ip("10.0.2.4")));
  EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{{}, flood_tunnel(h2, blue)}));

  // vm4 answers at its own host.
  here = h2;
  sent = arp_reply(mac("02:00:00:00:02:04"), ip("10.0.2.4"), mac("02:00:00:00:02:fe"),
                   ip("10.0.2.254"));
  const Outcome reply = send_frame(cloud.dp_port(vm4), 0);
  EXPECT_EQ(reply.verdict, Verdict::consumed);
  EXPECT_FALSE(reply.cacheable);
  const NeighbourLearned learned{rt_blue, ip("10.0.2.4"), mac("02:00:00:00:02:04"), vm4};
  EXPECT_THAT(reply.writes, ElementsAre(StateWrite(learned)));

  here = h1;
  cloud.neighbours[rt_blue] = {{rt_blue, learned.address, learned.mac}};
  const Outcome now = send(vm1, kToVm4);
  EXPECT_EQ(now.verdict, Verdict::forward);
  EXPECT_THAT(now.dependencies,
              testing::Contains(Dependency{neighbour_tag(rt_blue, learned.address)}));
}

TEST_F(Simulate, UnknownNeighbourIpv6) {
  cloud.ports[vm4].addresses.clear();
  const Outcome o = send(
      vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv6 fd00:1::1 > fd00:2::4 | udp 1 > 2");
  EXPECT_EQ(o.verdict, Verdict::postpone);
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(o.generated[0].frame,
            nd_solicit(mac("02:00:00:00:02:fe"), ip("fd00:2::fe"), ip("fd00:2::4")));
  here = h2;
  sent = nd_advert(mac("02:00:00:00:02:04"), ip("fd00:2::4"), mac("02:00:00:00:02:fe"),
                   ip("fd00:2::fe"));
  EXPECT_THAT(send_frame(cloud.dp_port(vm4), 0).writes,
              ElementsAre(StateWrite(
                  NeighbourLearned{rt_blue, ip("fd00:2::4"), mac("02:00:00:00:02:04"), vm4})));
}

TEST_F(Simulate, GivingUpTellsTheSender) {
  cloud.ports[vm4].addresses.clear();
  const struct {
    const char* packet;
    int type, code;
  } cases[] = {
      {kToVm4, 3, 1},
      {"eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv6 fd00:1::1 > fd00:2::4 | udp 1 > 2", 1, 3}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.packet);
    EXPECT_EQ(send(vm1, c.packet).verdict, Verdict::postpone);
    const Outcome o = simulate_last_try(packet, *snapshot, {});
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(o.reason, DropReason::neighbour_unresolved);
    EXPECT_FALSE(o.cacheable);
    EXPECT_THAT(o.missing, IsEmpty());
    ASSERT_THAT(o.generated, SizeIs(1));
    const ParsedPacket answer = parse_packet(o.generated[0].frame);
    EXPECT_EQ(answer.key.tp_src.host(), c.type);
    EXPECT_EQ(answer.key.tp_dst.host(), c.code);
    EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{{}, local(vm1)}));
  }
  // A sender that is not known either cannot be told: nothing waits for that.
  cloud.ports[vm1].addresses.clear();
  EXPECT_EQ(send(vm1, kToVm4).verdict, Verdict::postpone);
  const Outcome silent = simulate_last_try(packet, *snapshot, {});
  EXPECT_EQ(silent.reason, DropReason::neighbour_unresolved);
  EXPECT_THAT(silent.generated, IsEmpty());
}

TEST_F(Simulate, WaitsOnlyWhereSomebodyCanAnswer) {
  cloud.ports[vm4].addresses.clear();
  cloud.bindings[vm4].active = false;
  const Outcome o = send(vm1, kToVm4);
  EXPECT_EQ(o.verdict, Verdict::drop);
  EXPECT_EQ(o.reason, DropReason::no_receivers)
      << "blue has no port that could hear the ARP request";
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(o.missing, IsEmpty());
  EXPECT_THAT(o.dependencies, testing::Contains(Dependency{flood_tag(blue)}));
}

TEST_F(Simulate, LearnsOnlyWhatCanBeThere) {
  const struct {
    const char* sender;
    size_t writes;
  } cases[] = {{"10.0.2.77", 1},  {"10.0.9.9", 0}, {"10.0.2.255", 0},
               {"10.0.2.254", 0}, {"0.0.0.0", 0},  {"10.0.2.4", 0}};
  here = h2;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.sender);
    sent = arp_request(mac("02:00:00:00:02:04"), ip(c.sender), ip("10.0.2.254"));
    EXPECT_THAT(send_frame(cloud.dp_port(vm4), 0).writes, SizeIs(c.writes));
  }
}

TEST_F(Simulate, EchoToAnyAddressOfTheRouter) {
  for (const char* target : {"10.0.1.254", "10.0.2.254", "198.51.100.1"}) {
    SCOPED_TRACE(target);
    PacketSpec spec{.eth_src = mac("02:00:00:00:01:01"),
                    .eth_dst = mac("02:00:00:00:01:fe"),
                    .src = ip("10.0.1.1"),
                    .dst = ip(target),
                    .vlan_tci = {}};
    sent = icmp_echo(spec, false, 7, 8, text_bytes("hello"));
    const Outcome o = send_frame(cloud.dp_port(vm1), 0);
    EXPECT_EQ(o.verdict, Verdict::consumed);
    EXPECT_FALSE(o.cacheable);
    ASSERT_THAT(o.generated, SizeIs(1));
    PacketSpec back{.eth_src = spec.eth_dst,
                    .eth_dst = spec.eth_src,
                    .src = spec.dst,
                    .dst = spec.src,
                    .vlan_tci = {}};
    EXPECT_EQ(o.generated[0].frame, icmp_echo(back, true, 7, 8, text_bytes("hello")));
    EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{{}, local(vm1)}));
  }
}

TEST_F(Simulate, DroppedAtTheRouter) {
  cloud.route("hole", rt, "10.9.0.0/16", {}, "", 0, model::RouteKind::blackhole);
  cloud.route("reject", rt, "10.8.0.0/16", {}, "", 0, model::RouteKind::reject);
  cloud.route("lost", rt, "10.7.0.0/16", {}, "203.0.113.9");
  const std::string in = "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ";
  const struct {
    std::string packet;
    DropReason reason;
    int icmp;  ///< type of the answer; -1: none
  } cases[] = {
      {in + "ipv4 10.0.1.1 > 10.9.0.1 | udp 1 > 2", DropReason::route_blackhole, -1},
      {in + "ipv4 10.0.1.1 > 10.8.0.1 | udp 1 > 2", DropReason::route_reject, 3},
      {in + "ipv4 10.0.1.1 > 10.7.0.1 | udp 1 > 2", DropReason::next_hop_unreachable, 3},
      {in + "ipv6 fd00:1::1 > fd00:9::1 | udp 1 > 2", DropReason::no_route, 1},
      {in + "ipv4 10.0.1.1 > 10.0.2.4 ttl 1 | udp 1 > 2", DropReason::ttl_exceeded, 11},
      {in + "ipv6 fd00:1::1 > fd00:2::4 ttl 1 | udp 1 > 2", DropReason::ttl_exceeded, 3},
      {in + "ipv4 10.0.1.1 > 10.0.1.254 | udp 1 > 2", DropReason::router_port_closed, 3},
      {in + "ipv4 10.0.1.1 > 10.0.1.254 proto 47", DropReason::router_port_closed, 3},
      {in + "ipv6 fd00:1::1 > fd00:1::fe proto 47", DropReason::router_port_closed, 4},
      {in + "ipv4 127.0.0.1 > 10.0.2.4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv4 0.0.0.0 > 10.0.2.4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv4 224.0.0.1 > 10.0.2.4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv4 10.0.2.254 > 10.0.2.4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv6 ff02::1 > fd00:2::4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv6 ::1 > fd00:2::4 | udp 1 > 2", DropReason::bad_source_address, -1},
      {in + "ipv4 10.0.1.1 > 127.0.0.1 | udp 1 > 2", DropReason::bad_destination_address, -1},
      {in + "ipv4 10.0.1.1 > 224.0.0.1 | udp 1 > 2", DropReason::multicast_not_routed, -1},
      {in + "ipv4 10.0.1.1 > 10.0.2.255 | udp 1 > 2", DropReason::multicast_not_routed, -1},
      {in + "ipv6 fe80::1 > fd00:2::4 | udp 1 > 2", DropReason::link_local_not_routed, -1},
      {in + "ipv6 fd00:1::1 > fe80::1 | udp 1 > 2", DropReason::link_local_not_routed, -1},
      {in + "vlan 5 | ipv4 10.0.1.1 > 10.0.2.4 | udp 1 > 2", DropReason::vlan_at_router, -1},
      {"eth 02:00:00:00:01:01 > 02:00:00:00:01:fe type 0x88b5 | payload hex 0000",
       DropReason::not_ip, -1},
      {"eth 03:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2",
       DropReason::bad_source_mac, -1},
      {"eth 02:00:00:00:01:01 > 02:00:00:00:01:01 | ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2",
       DropReason::hairpin, -1},
      {"eth 02:00:00:00:01:01 > 01:80:c2:00:00:0e type 0x88cc | payload hex 0000",
       DropReason::reserved_multicast, -1},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.packet);
    const Outcome o = send(vm1, c.packet);
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(to_string(o.reason), to_string(c.reason));
    EXPECT_THAT(o.actions.copies, IsEmpty());
    ASSERT_THAT(o.generated, SizeIs(c.icmp < 0 ? 0 : 1));
    if (c.icmp < 0) {
      EXPECT_TRUE(o.cacheable);
      continue;
    }
    EXPECT_FALSE(o.cacheable);
    const ParsedPacket answer = parse_packet(o.generated[0].frame);
    EXPECT_EQ(answer.error, ParseError::none);
    EXPECT_EQ(answer.key.tp_src.host(), c.icmp);
    EXPECT_EQ(answer.key.src_ip(), answer.key.is_ipv4() ? ip("10.0.1.254") : ip("fd00:1::fe"));
    EXPECT_EQ(answer.key.dst_mac(), mac("02:00:00:00:01:01"));
    EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{{}, local(vm1)}));
  }
}

TEST_F(Simulate, ObjectsThatDoNotWork) {
  const struct {
    const char* what;
    std::function<void()> spoil;
    DropReason reason;
  } cases[] = {
      {"port down", [&] { cloud.ports[vm4].admin_up = false; }, DropReason::port_admin_down},
      {"own port down", [&] { cloud.ports[vm1].admin_up = false; }, DropReason::port_admin_down},
      {"router port down", [&] { cloud.ports[rt_blue].admin_up = false; },
       DropReason::port_admin_down},
      {"bridge down", [&] { cloud.bridges[blue].admin_up = false; }, DropReason::bridge_admin_down},
      {"router down", [&] { cloud.routers[rt].admin_up = false; }, DropReason::router_admin_down},
      {"newer port", [&] { cloud.ports[vm4].unreadable = true; }, DropReason::newer_schema},
      {"newer bridge", [&] { cloud.bridges[red].unreadable = true; }, DropReason::newer_schema},
      {"newer router", [&] { cloud.routers[rt].unreadable = true; }, DropReason::newer_schema},
      {"newer route",
       [&] { cloud.routes[cloud.route("r", rt, "10.0.2.4/32", rt_blue)].unreadable = true; },
       DropReason::newer_schema},
      {"newer route, unknown destination",
       [&] {
         auto& r = cloud.routes[cloud.route("r", rt, "10.0.0.0/8", rt_blue)];
         r.unreadable = true;
         r.destination = {};
       },
       DropReason::newer_schema},
      {"bridge gone", [&] { cloud.bridges.erase(blue); }, DropReason::dangling},
      {"router gone", [&] { cloud.routers.erase(rt); }, DropReason::dangling},
      {"peer gone", [&] { cloud.ports.erase(TestCloud::port_id("to-rt-blue")); },
       DropReason::dangling},
      {"host gone", [&] { cloud.hosts.erase(h2); }, DropReason::dangling},
      {"port unbound", [&] { cloud.bindings.erase(vm4); }, DropReason::port_unbound},
      {"port inactive", [&] { cloud.bindings[vm4].active = false; }, DropReason::port_unbound},
      {"own port not ours", [&] { cloud.bindings[vm1].active = false; }, DropReason::port_unbound},
      {"no common family", [&] { cloud.hosts[h2].tunnel_addresses = {ip("fd00::2")}; },
       DropReason::no_tunnel_address},
      {"route to a port of nobody",
       [&] { cloud.route("r", rt, "10.0.2.4/32", TestCloud::port_id("ghost")); },
       DropReason::dangling},
      {"route to a bridge's port", [&] { cloud.route("r", rt, "10.0.2.4/32", vm2); },
       DropReason::dangling},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const TestCloud whole = cloud;
    c.spoil();
    const Outcome o = send(vm1, kToVm4);
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(to_string(o.reason), to_string(c.reason));
    EXPECT_TRUE(o.cacheable);
    cloud = whole;
  }
  sent = *parse_frame(kToVm2);
  const Outcome unknown = send_frame(DpPort{999}, 0);
  EXPECT_EQ(unknown.reason, DropReason::unknown_port);
  EXPECT_FALSE(unknown.cacheable);
}

TEST_F(Simulate, TunnelPacketsNeverLeaveByTunnel) {
  const uint32_t old_key = tunnel(vm3).key;
  here = h2;
  sent = *parse_frame(kToVm3);
  const struct {
    const char* what;
    std::function<void()> spoil;
    uint32_t key;
  } cases[] = {
      {"a key of nobody", [] {}, 0xabcde},
      {"a port that has moved", [&] { cloud.bind(vm3, h1); }, old_key},
      {"another host's key", [] {}, tunnel(vm1).key},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const TestCloud whole = cloud;
    c.spoil();
    const Outcome o = send_frame(kTunnelPort, c.key);
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(o.reason, DropReason::stale_key);
    EXPECT_TRUE(o.cacheable);
    cloud = whole;
  }
}

TEST_F(Simulate, MalformedFramesAreNoClass) {
  const Frame whole = *parse_frame(kToVm4);
  for (size_t size = 0; size < whole.size(); ++size) {
    sent.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const Outcome o = send_frame(cloud.dp_port(vm1), 0);
    EXPECT_EQ(o.verdict, Verdict::drop) << size;
    EXPECT_NE(o.reason, DropReason::none) << size;
    EXPECT_FALSE(o.cacheable) << size;
    EXPECT_THAT(o.generated, IsEmpty());
  }
}

TEST_F(Simulate, LoopsEnd) {
  // Three bridges in a ring: a flooded frame visits each once.
  const BridgeId a = cloud.bridge("a"), b = cloud.bridge("b"), c = cloud.bridge("c");
  const auto wire = [&](const std::string& name, BridgeId x, BridgeId y) {
    cloud.link(cloud.bridge_port(name + "1", x), cloud.bridge_port(name + "2", y));
  };
  wire("ab", a, b);
  wire("bc", b, c);
  wire("ca", c, a);
  const PortId va = cloud.vm("va", a, h1, "02:00:00:00:0a:01"),
               vb = cloud.vm("vb", b, h1, "02:00:00:00:0b:01"),
               vc = cloud.vm("vc", c, h1, "02:00:00:00:0c:01");
  const Outcome o =
      send(va, "eth 02:00:00:00:0a:01 > ff:ff:ff:ff:ff:ff type 0x88b5 | payload hex 00");
  EXPECT_EQ(o.verdict, Verdict::forward);
  EXPECT_THAT(o.actions.copies,
              testing::UnorderedElementsAre(Copy{{}, local(vb)}, Copy{{}, local(vc)}));

  // Two routers that send to each other until the TTL ends, or the devices do.
  const RouterId r1 = cloud.router("r1"), r2 = cloud.router("r2");
  const PortId p1 = cloud.router_port("p1", r1, "02:00:00:00:11:01", {"10.99.0.1/30"});
  const PortId p2 = cloud.router_port("p2", r2, "02:00:00:00:11:02", {"10.99.0.2/30"});
  const PortId in = cloud.router_port("in", r1, "02:00:00:00:11:03", {"10.98.0.1/24"});
  cloud.link(p1, p2);
  cloud.bind(in, h1);
  cloud.neighbours[in] = {{in, ip("10.98.0.9"), mac("02:00:00:00:00:01")}};
  cloud.route("ping", r1, "10.97.0.0/16", p1, "10.99.0.2");
  cloud.route("pong", r2, "10.97.0.0/16", p2, "10.99.0.1");
  const Outcome few = send(
      in,
      "eth 02:00:00:00:00:01 > 02:00:00:00:11:03 | ipv4 10.98.0.9 > 10.97.0.1 ttl 5 | udp 1 > 2");
  EXPECT_EQ(few.reason, DropReason::ttl_exceeded);
  const Outcome many = send(
      in,
      "eth 02:00:00:00:00:01 > 02:00:00:00:11:03 | ipv4 10.98.0.9 > 10.97.0.1 ttl 200 | udp 1 > 2");
  EXPECT_EQ(many.verdict, Verdict::drop);
  EXPECT_EQ(many.reason, DropReason::too_many_devices);
}

TEST_F(Simulate, ErrorsAreRoutedAndMayWait) {
  // vm1's address is not known: the error about its packet waits for ARP, like any packet.
  cloud.ports[vm1].addresses.clear();
  const std::string dying =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.4 ttl 1 | udp 1 > 2";
  const Outcome o = send(vm1, dying);
  EXPECT_EQ(o.verdict, Verdict::postpone);
  EXPECT_THAT(o.missing, ElementsAre(Missing(NeighbourNeeded{rt_red, ip("10.0.1.1")})));
  cloud.neighbours[rt_red] = {{rt_red, ip("10.0.1.1"), mac("02:00:00:00:01:01")}};
  const Outcome now = send(vm1, dying);
  EXPECT_EQ(now.reason, DropReason::ttl_exceeded);
  EXPECT_THAT(now.generated, SizeIs(1));
}

TEST_F(Simulate, UplinkPortTakesNeighboursFromItsTable) {
  const std::string out =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 203.0.113.5 ttl 64 | udp 1 > 2";
  const Outcome o = send(vm1, out);
  EXPECT_EQ(o.verdict, Verdict::postpone);
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_THAT(o.generated[0].actions.copies, ElementsAre(Copy{{}, tunnel(rt_up)}))
      << "asked where the uplink is";
  cloud.neighbours[rt_up] = {{rt_up, ip("198.51.100.254"), mac("02:00:00:00:77:01")}};
  const Outcome now = send(vm1, out);
  ASSERT_THAT(now.actions.copies, SizeIs(1));
  EXPECT_EQ(now.actions.copies[0].output, Output(tunnel(rt_up)));
  EXPECT_EQ(now.actions.copies[0].rewrite.eth_dst, mac("02:00:00:00:77:01"));
  // Destinations beyond a next hop are classes of prefixes, not addresses.
  EXPECT_NE(now.mask.nw[7], 0xff);
}

TEST_F(Simulate, TraceNamesEverything) {
  Trace trace;
  (void)send(vm1, kToVm4, &trace);
  const std::string text = trace.text();
  for (const char* part :
       {"packet: eth 02:00:00:00:01:01", "port vm1 (", "bridge red (", "router rt (",
        "10.0.2.4 is in 10.0.2.0/24, connected to port rt-blue",
        "neighbour 10.0.2.4 is 02:00:00:00:02:04, known from the topology", "bridge blue (",
        "at host h2: out by tunnel 192.0.2.2", "outcome: forward"})
    EXPECT_THAT(text, HasSubstr(part)) << text;
  for (const TraceStep& step : trace.steps())
    if (step.kind == DeviceKind::bridge || step.kind == DeviceKind::router ||
        step.kind == DeviceKind::port) {
      EXPECT_FALSE(step.id.is_nil());
    }

  Trace dropped;
  cloud.ports[vm4].admin_up = false;
  (void)send(vm1, kToVm4, &dropped);
  EXPECT_THAT(dropped.text(), HasSubstr("port vm4 ("));
  EXPECT_THAT(dropped.text(), HasSubstr("[port_admin_down]"));
}

// --- hosts that are not to be trusted, ports on the move ---

TEST_F(Simulate, NothingIsSentToAFencedHost) {
  cloud.hosts[h2].fenced = true;
  const Outcome o = send(vm1, kToVm3);
  EXPECT_EQ(o.verdict, Verdict::drop);
  EXPECT_EQ(o.reason, DropReason::port_unbound);
  const Outcome flood =
      send(vm1, "eth 02:00:00:00:01:01 > 02:00:00:00:09:09 | ipv4 10.0.1.1 > 10.0.1.9 | udp 1 > 2");
  EXPECT_THAT(flood.actions.copies, ElementsAre(Copy{{}, local(vm2)}));
  // The flows that led there go when it is fenced.
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  model::Host host = cloud.hosts[h2];
  host.fenced = false;
  const model::Change change[] = {model::HostChange{h2, host}};
  EXPECT_THAT(topology.apply(change).hosts, ElementsAre(h2));
}

TEST_F(Simulate, TheKeyOfAPortThatHasMovedLeadsToWhereItIs) {
  const uint32_t old_key = tunnel(vm2).key;
  ASSERT_TRUE(send(vm1, kToVm2).actions.copies.size() == 1);
  cloud.bind(vm2, h2);
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  packet = packet_of(sent, kTunnelPort, old_key);
  EXPECT_EQ(simulate(packet, *topology.snapshot(), MonoTime{}).reason, DropReason::stale_key);

  const model::Change moved[] = {model::MovedKeyChange{old_key, vm2, true}};
  EXPECT_THAT(topology.apply(moved).tunnel_keys, ElementsAre(old_key));
  const Outcome on = simulate(packet, *topology.snapshot(), MonoTime{});
  EXPECT_THAT(on.actions.copies, ElementsAre(Copy{{}, tunnel(vm2)}));
  EXPECT_TRUE(on.cacheable);
  // Should it come back, it is delivered here.
  model::Binding back = cloud.bindings[vm2];
  back.host = h1;
  const model::Change here_again[] = {model::BindingChange{vm2, back},
                                      model::LocalPortChange{vm2, cloud.dp_port(vm2).number}};
  topology.apply(here_again);
  EXPECT_THAT(simulate(packet, *topology.snapshot(), MonoTime{}).actions.copies,
              ElementsAre(Copy{{}, local(vm2)}));

  const model::Change over[] = {model::MovedKeyChange{old_key, vm2, false}};
  EXPECT_THAT(topology.apply(over).tunnel_keys, ElementsAre(old_key));
  EXPECT_EQ(simulate(packet, *topology.snapshot(), MonoTime{}).reason, DropReason::stale_key);
}

TEST_F(Simulate, TheFirstFrameOfAPortThatMigratesHereSaysSo) {
  cloud.ports[vm3].migrating_to = h1;
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  const model::Change plugged[] = {model::LocalPortChange{vm3, 99}};
  topology.apply(plugged);
  const Outcome asked = send(vm3, kToVm3);
  const Outcome o = simulate(packet_of(sent, DpPort{99}), *topology.snapshot(), MonoTime{});
  EXPECT_EQ(o.verdict, Verdict::drop);
  EXPECT_FALSE(o.cacheable);
  EXPECT_THAT(o.writes, ElementsAre(StateWrite(PortArrived{vm3})));
  // Until then what is for it goes where it was.
  EXPECT_THAT(send(vm1, kToVm3).actions.copies, ElementsAre(Copy{{}, tunnel(vm3)}));
}

}  // namespace
}  // namespace plexus::sim
