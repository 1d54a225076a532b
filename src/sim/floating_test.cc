// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

/// a and b at h1 on lan, core, a link, gw with its outside port on net, x at h2 there.
class Floating : public testing::TestWithParam<bool> {
 protected:
  Floating() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    const BridgeId lan = cloud.bridge("lan"), net = cloud.bridge("net");
    const RouterId core = cloud.router("core");
    gw = cloud.router("gw");
    const PortId core_lan =
        cloud.router_port("core-lan", core, kCoreLan, {"10.0.0.254/24", "fd00::fe/64"});
    const PortId core_gw =
        cloud.router_port("core-gw", core, "02:00:00:00:0a:02", {"10.9.0.1/30", "fd00:9::1/64"});
    const PortId gw_core =
        cloud.router_port("gw-core", gw, "02:00:00:00:0b:01", {"10.9.0.2/30", "fd00:9::2/64"});
    gw_net = cloud.router_port("gw-net", gw, kGwNet, {"203.0.113.254/24", "2001:db8::fe/64"});
    cloud.ports[gw_net].outside = true;
    cloud.plug(lan, core_lan);
    cloud.link(core_gw, gw_core);
    cloud.plug(net, gw_net);
    a = cloud.vm("a", lan, h1, kA, {"10.0.0.1", "fd00::1"});
    b = cloud.vm("b", lan, h1, kB, {"10.0.0.2", "fd00::2"});
    c = cloud.vm("c", lan, h1, kC, {"10.0.0.3", "fd00::3"});
    x = cloud.vm("x", net, h2, kX, {"203.0.113.100", "2001:db8::100"});
    cloud.route("up", core, "0.0.0.0/0", core_gw, "10.9.0.2");
    cloud.route("up6", core, "::/0", core_gw, "fd00:9::2");
    cloud.route("down", gw, "10.0.0.0/24", gw_core, "10.9.0.1");
    cloud.route("down6", gw, "fd00::/64", gw_core, "fd00:9::1");
    floating("fa", "203.0.113.7", "10.0.0.1");
    floating("fb", "203.0.113.8", "10.0.0.2");
    floating("fa6", "2001:db8::7", "fd00::1");
    floating("fb6", "2001:db8::8", "fd00::2");
  }

  void floating(const std::string& name, std::string_view address, std::string_view inside,
                bool admin_up = true) {
    model::FloatingIp f;
    f.id = FloatingIpId{Uuid::derived("floating", name)};
    f.router = gw;
    f.name = name;
    f.admin_up = admin_up;
    f.address = *IpAddr::parse(address);
    if (!inside.empty()) f.inside = *IpAddr::parse(inside);
    cloud.more.emplace_back(model::FloatingIpChange{f.id, f});
  }

  [[nodiscard]] bool v6() const { return GetParam(); }
  [[nodiscard]] const char* pick(const char* four, const char* six) const {
    return v6() ? six : four;
  }
  [[nodiscard]] const char* ia() const { return pick("10.0.0.1", "fd00::1"); }
  [[nodiscard]] const char* ib() const { return pick("10.0.0.2", "fd00::2"); }
  [[nodiscard]] const char* ic() const { return pick("10.0.0.3", "fd00::3"); }
  [[nodiscard]] const char* fa() const { return pick("203.0.113.7", "2001:db8::7"); }
  [[nodiscard]] const char* fb() const { return pick("203.0.113.8", "2001:db8::8"); }
  [[nodiscard]] const char* ix() const { return pick("203.0.113.100", "2001:db8::100"); }

  static PacketSpec spec(const char* mac, const char* to_mac, std::string_view src,
                         std::string_view dst, uint8_t ttl = 64) {
    return {.eth_src = *MacAddr::parse(mac),
            .eth_dst = *MacAddr::parse(to_mac),
            .src = *IpAddr::parse(src),
            .dst = *IpAddr::parse(dst),
            .ttl = ttl,
            .vlan_tci = {}};
  }
  Outcome send(PortId from, const Frame& frame) {
    snapshot = cloud.snapshot(from == x ? h2 : h1);
    trace = {};
    return simulate(packet_of(frame, cloud.dp_port(from)), *snapshot, {}, &trace);
  }
  /// What the only copy is, as text without the Ethernet part.
  static std::string got(const Frame& frame, const Actions& actions) {
    if (actions.copies.size() != 1) return std::to_string(actions.copies.size()) + " copies";
    return text(rewritten(actions.copies[0].rewrite, parse_packet(frame), frame));
  }
  /// What was sent on in another shape, or told.
  static std::string generated(const Outcome& o) {
    if (o.generated.size() != 1) return std::to_string(o.generated.size()) + " generated";
    return got(o.generated[0].frame, o.generated[0].actions);
  }
  static std::string text(const Frame& frame) {
    const std::string all = format_frame(frame);
    return all.substr(all.find(" | ") + 3);
  }
  /// The error `type` as `from` sends it about the packet, to the packet's source.
  static Frame error_about(const Frame& packet, IcmpErrorKind kind, const char* mac,
                           const char* to_mac, std::string_view from) {
    return *icmp_error({.kind = kind,
                        .from_mac = *MacAddr::parse(mac),
                        .to_mac = *MacAddr::parse(to_mac),
                        .from_ip = *IpAddr::parse(from)},
                       parse_packet(packet), packet);
  }
  /// Of an ICMP error: "source > destination about source > destination", with ports.
  static std::string about(const Frame& frame) {
    const ParsedPacket parsed = parse_packet(frame);
    const auto quoted = state::quoted_tuple(parsed, frame);
    return parsed.key.src_ip().str() + " > " + parsed.key.dst_ip().str() + " about " +
           (quoted ? quoted->str() : "?");
  }
  static std::string generated_about(const Outcome& o) {
    if (o.generated.size() != 1) return std::to_string(o.generated.size()) + " generated";
    const Generated& g = o.generated[0];
    const Frame out = rewritten(g.actions.copies.at(0).rewrite, parse_packet(g.frame), g.frame);
    Frame completed = out;
    complete_checksum(parse_packet(completed), completed);
    EXPECT_EQ(out, completed) << "the checksum is right";
    return about(out);
  }

  static constexpr const char *kA = "02:00:00:00:00:01", *kB = "02:00:00:00:00:02",
                              *kC = "02:00:00:00:00:03", *kX = "02:00:00:00:00:64",
                              *kCoreLan = "02:00:00:00:0a:01", *kGwNet = "02:00:00:00:0b:02";
  TestCloud cloud;
  HostId h1, h2;
  RouterId gw;
  PortId a, b, c, x, gw_net;
  std::shared_ptr<const model::Snapshot> snapshot;
  Trace trace;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, Floating, testing::Bool(),
                         [](const auto& p) { return p.param ? "v6" : "v4"; });

TEST_P(Floating, FromOutsideItIsTheAddressInside) {
  const Frame in = udp_packet(spec(kX, kGwNet, ix(), fa()), 1000, 53, text_bytes("hello"));
  const Outcome o = send(x, in);
  ASSERT_EQ(o.verdict, Verdict::forward) << trace.text();
  EXPECT_EQ(got(in, o.actions),
            text(udp_packet(spec(kCoreLan, kA, ix(), ia(), 62), 1000, 53, text_bytes("hello"))));
  EXPECT_TRUE(o.cacheable);
  EXPECT_THAT(trace.text(), HasSubstr("floating ip"));
  // The class reads the address, and so much of the protocol as tells that it is no ICMP.
  EXPECT_EQ(o.mask.tp_src, Be16());
  EXPECT_EQ(o.mask.tp_dst, Be16());
  EXPECT_NE(o.mask.ip_proto, 0xff);
  EXPECT_EQ(o.mask.nw[v6() ? 31 : 7], 0xff);
}

TEST_P(Floating, ToOutsideItIsTheSource) {
  for (const uint8_t protocol : {ip_proto::kUdp, ip_proto::kTcp, ip_proto::kSctp, uint8_t{50}}) {
    const Frame payload(40, 0x50);
    const Frame in = ip_packet(spec(kA, kCoreLan, ia(), ix()), protocol, payload);
    const Outcome o = send(a, in);
    ASSERT_EQ(o.verdict, Verdict::forward) << trace.text();
    const Frame out = rewritten(o.actions.copies.at(0).rewrite, parse_packet(in), in);
    EXPECT_EQ(parse_packet(out).key.src_ip().str(), fa());
    EXPECT_EQ(parse_packet(out).key.dst_ip().str(), ix());
    EXPECT_TRUE(o.cacheable);
  }
  const Frame in = tcp_packet(spec(kA, kCoreLan, ia(), ix()), 1000, 80, 2);
  EXPECT_EQ(got(in, send(a, in).actions),
            text(tcp_packet(spec(kGwNet, kX, fa(), ix(), 62), 1000, 80, 2)));
  // Who has none leaves as he is.
  const Frame other = tcp_packet(spec(kC, kCoreLan, ic(), ix()), 1000, 80, 2);
  EXPECT_EQ(got(other, send(c, other).actions),
            text(tcp_packet(spec(kGwNet, kX, ic(), ix(), 62), 1000, 80, 2)));
}

TEST_P(Floating, EchoBothWays) {
  const Frame in = icmp_echo(spec(kX, kGwNet, ix(), fa()), false, 7, 1);
  EXPECT_EQ(got(in, send(x, in).actions),
            text(icmp_echo(spec(kCoreLan, kA, ix(), ia(), 62), false, 7, 1)));
  const Frame out = icmp_echo(spec(kA, kCoreLan, ia(), ix()), true, 7, 1);
  const Outcome o = send(a, out);
  EXPECT_EQ(got(out, o.actions), text(icmp_echo(spec(kGwNet, kX, fa(), ix(), 62), true, 7, 1)));
  EXPECT_TRUE(o.cacheable);
}

TEST_P(Floating, LaterFragmentsToo) {
  const Frame whole = udp_packet(spec(kX, kGwNet, ix(), fa()), 1, 2, Frame(2000, 7));
  const Frame there = udp_packet(spec(kCoreLan, kA, ix(), ia(), 62), 1, 2, Frame(2000, 7));
  const auto pieces = fragment(whole, 1280, 5), wanted = fragment(there, 1280, 5);
  ASSERT_THAT(pieces, SizeIs(2));
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Outcome o = send(x, pieces[i]);
    ASSERT_EQ(o.verdict, Verdict::forward) << trace.text();
    EXPECT_EQ(rewritten(o.actions.copies.at(0).rewrite, parse_packet(pieces[i]), pieces[i]),
              wanted[i]);
  }
}

TEST_P(Floating, MachinesInsideMeetByTheirFloatingAddresses) {
  const Frame in = udp_packet(spec(kA, kCoreLan, ia(), fb()), 1, 2);
  EXPECT_EQ(got(in, send(a, in).actions),
            text(udp_packet(spec(kCoreLan, kB, fa(), ib(), 61), 1, 2)))
      << trace.text();
  const Frame self = udp_packet(spec(kA, kCoreLan, ia(), fa()), 1, 2);
  // The bridge gives no frame back to the port that it came from when it is from the machine itself; through routers it is
  // another's.
  EXPECT_EQ(got(self, send(a, self).actions),
            text(udp_packet(spec(kCoreLan, kA, fa(), ia(), 61), 1, 2)))
      << trace.text();
}

TEST_P(Floating, WhoHasNoneReachesThemFromInside) {
  // Its answers would come from an address that it does not know: so its own is hidden, and a connection remembers it.
  const Frame in = udp_packet(spec(kC, kCoreLan, ic(), fb()), 1, 2);
  const Outcome o = send(c, in);
  ASSERT_TRUE(o.begins) << trace.text();
  const state::Tuple end = o.begins->record.final_tuple();
  EXPECT_EQ(end.dst.str(), ib());
  const IpPrefix hidden = *IpPrefix::parse(v6() ? "64:ff9b:1::/64" : "100.64.0.0/10");
  EXPECT_TRUE(hidden.contains(end.src)) << end.str();
  // A later fragment begins none.
  const auto pieces =
      fragment(udp_packet(spec(kC, kCoreLan, ic(), fb()), 1, 2, Frame(2000, 7)), 1280, 5);
  ASSERT_THAT(pieces, SizeIs(2));
  const Outcome later = send(c, pieces[1]);
  EXPECT_EQ(later.verdict, Verdict::drop);
  EXPECT_EQ(later.reason, DropReason::fragment_refused);
}

TEST_P(Floating, WhoIsClosedAnswersNobody) {
  for (const bool up : {true, false}) {
    cloud.more.clear();
    floating("fa", fa(), up ? "" : ia(), up);
    const Outcome o = send(x, udp_packet(spec(kX, kGwNet, ix(), fa()), 1, 2));
    EXPECT_EQ(o.verdict, Verdict::drop);
    EXPECT_EQ(o.reason, DropReason::vip_closed);
    EXPECT_THAT(o.generated, SizeIs(0));
    EXPECT_TRUE(o.cacheable);
    const Frame out = udp_packet(spec(kA, kCoreLan, ia(), ix()), 1, 2);
    EXPECT_EQ(got(out, send(a, out).actions),
              text(udp_packet(spec(kGwNet, kX, ia(), ix(), 62), 1, 2)));
  }
}

TEST_P(Floating, WhatCannotBeReadDrops) {
  auto& change = std::get<model::FloatingIpChange>(cloud.more[v6() ? 2 : 0]);
  change.now->unreadable = true;
  EXPECT_EQ(send(x, udp_packet(spec(kX, kGwNet, ix(), fa()), 1, 2)).reason,
            DropReason::newer_schema);
  EXPECT_EQ(send(a, udp_packet(spec(kA, kCoreLan, ia(), ix()), 1, 2)).reason,
            DropReason::newer_schema);
  change.now->address = {};
  EXPECT_EQ(send(b, udp_packet(spec(kB, kCoreLan, ib(), ix()), 1, 2)).reason,
            DropReason::newer_schema)
      << "it may be about any packet";
}

TEST_P(Floating, ErrorsOfRoutersOnTheWaySpeakOfWhatWasSent) {
  const std::string sent = std::string("udp ") + (v6() ? "[2001:db8::100]:9 > [2001:db8::7]:33434"
                                                       : "203.0.113.100:9 > 203.0.113.7:33434");
  const std::string to_x = std::string(" > ") + ix() + " about ";
  // Before and behind the translation.
  Outcome o = send(x, udp_packet(spec(kX, kGwNet, ix(), fa(), 1), 9, 33434));
  EXPECT_EQ(o.reason, DropReason::ttl_exceeded);
  EXPECT_THAT(generated_about(o), HasSubstr(pick("203.0.113.254", "2001:db8::fe") + to_x))
      << trace.text();
  const auto quote_of_sender = [&](const Outcome& outcome) {
    const Generated& g = outcome.generated.at(0);
    return state::quoted_tuple(parse_packet(g.frame), g.frame);
  };
  ASSERT_TRUE(quote_of_sender(o));
  EXPECT_EQ(quote_of_sender(o)->dst.str(), fa());
  o = send(x, udp_packet(spec(kX, kGwNet, ix(), fa(), 2), 9, 33434));
  EXPECT_EQ(o.reason, DropReason::ttl_exceeded);
  EXPECT_THAT(generated_about(o), HasSubstr(pick("10.9.0.1", "fd00:9::1") + to_x)) << trace.text();
  ASSERT_TRUE(quote_of_sender(o));
  EXPECT_EQ(quote_of_sender(o)->dst.str(), fa());
  EXPECT_EQ(quote_of_sender(o)->dst_port, 33434);
}

TEST_P(Floating, ErrorsOfTheMachineComeFromTheFloatingAddress) {
  const Frame delivered = udp_packet(spec(kCoreLan, kA, ix(), ia(), 62), 9, 53);
  const Outcome o =
      send(a, error_about(delivered, IcmpErrorKind::port_unreachable, kA, kCoreLan, ia()));
  EXPECT_EQ(o.verdict, Verdict::consumed) << trace.text();
  EXPECT_FALSE(o.cacheable);
  ASSERT_THAT(o.generated, SizeIs(1));
  EXPECT_EQ(o.generated[0].kind, GeneratedKind::translated);
  const auto quoted = state::quoted_tuple(parse_packet(o.generated[0].frame), o.generated[0].frame);
  EXPECT_THAT(generated_about(o), HasSubstr(std::string(fa()) + " > " + ix() + " about udp"));
  EXPECT_EQ(quoted->dst.str(), fa());
  EXPECT_EQ(quoted->src.str(), ix());
}

TEST_P(Floating, ErrorsFromOutsideReachTheMachine) {
  const Frame sent = udp_packet(spec(kGwNet, kX, fa(), ix(), 62), 9, 53);
  const Outcome o = send(x, error_about(sent, IcmpErrorKind::port_unreachable, kX, kGwNet, ix()));
  EXPECT_EQ(o.verdict, Verdict::consumed) << trace.text();
  ASSERT_THAT(o.generated, SizeIs(1)) << trace.text();
  const auto quoted = state::quoted_tuple(parse_packet(o.generated[0].frame), o.generated[0].frame);
  EXPECT_THAT(generated_about(o), HasSubstr(std::string(ix()) + " > " + ia() + " about udp"));
  EXPECT_EQ(quoted->src.str(), ia());
  EXPECT_EQ(quoted->dst.str(), ix());
  // About what did not come from there.
  const Frame other = udp_packet(spec(kGwNet, kX, fb(), ix(), 62), 9, 53);
  Frame forged = error_about(other, IcmpErrorKind::port_unreachable, kX, kGwNet, ix());
  Rewrite to_a;
  to_a.ip_dst = *IpAddr::parse(fa());
  forged = rewritten(to_a, parse_packet(forged), forged);
  EXPECT_EQ(send(x, forged).reason, DropReason::icmp_error_unrelated);
}

TEST_P(Floating, ErrorsBetweenMachinesInsideAreTranslatedAtBothEnds) {
  const Frame delivered = udp_packet(spec(kCoreLan, kB, fa(), ib(), 61), 9, 53);
  const Outcome o =
      send(b, error_about(delivered, IcmpErrorKind::port_unreachable, kB, kCoreLan, ib()));
  ASSERT_THAT(o.generated, SizeIs(1)) << trace.text();
  EXPECT_THAT(generated_about(o), HasSubstr(std::string(fb()) + " > " + ia() + " about udp"));
  const auto quoted = state::quoted_tuple(parse_packet(o.generated[0].frame), o.generated[0].frame);
  EXPECT_EQ(quoted->src.str(), ia());
  EXPECT_EQ(quoted->dst.str(), fb());
}

TEST_P(Floating, TheRouterAnswersForItNextToIt) {
  const auto ask = [&](const char* target) {
    const MacAddr mac = *MacAddr::parse(kX);
    const IpAddr from = *IpAddr::parse(ix()), to = *IpAddr::parse(target);
    return send(x, v6() ? nd_solicit(mac, from, to) : arp_request(mac, from, to));
  };
  const Outcome o = ask(fa());
  ASSERT_THAT(o.generated, SizeIs(1)) << trace.text();
  const Frame& f = o.generated[0].frame;
  const ParsedPacket p = parse_packet(f);
  EXPECT_EQ(p.key.src_mac().str(), kGwNet);
  EXPECT_EQ(p.key.src_ip().str(), fa());
  EXPECT_THAT(ask(pick("203.0.113.9", "2001:db8::9")).generated, SizeIs(0)) << "nobody's";
  cloud.more.clear();
  floating("fa", fa(), ia(), false);
  EXPECT_THAT(ask(fa()).generated, SizeIs(0)) << "administratively down";
}

TEST_P(Floating, AChangeTouchesFlowsOfTheAddressAlone) {
  const Outcome through = send(x, udp_packet(spec(kX, kGwNet, ix(), fa()), 1, 2)),
                other = send(b, udp_packet(spec(kB, kCoreLan, ib(), ix()), 1, 2)),
                from = send(a, udp_packet(spec(kA, kCoreLan, ia(), ix()), 1, 2));
  model::Topology topology(h2);
  topology.apply(cloud.changes(h2));
  model::FloatingIp f = *std::get<model::FloatingIpChange>(cloud.more[v6() ? 2 : 0]).now;
  f.admin_up = false;
  const auto changes =
      tags_of(topology.apply(std::vector<model::Change>{model::FloatingIpChange{f.id, f}}));
  const auto hit = [&](const Outcome& o, const Frame& frame) {
    const Match match = match_of(parse_packet(frame).key, o.mask);
    return std::any_of(changes.begin(), changes.end(), [&](const TagChange& change) {
      return std::any_of(o.dependencies.begin(), o.dependencies.end(), [&](const Dependency& d) {
        return d.tag == change.tag &&
               (d.rewritten || !change.region || match.meets(*change.region));
      });
    });
  };
  EXPECT_TRUE(hit(through, udp_packet(spec(kX, kGwNet, ix(), fa()), 1, 2)));
  EXPECT_TRUE(hit(from, udp_packet(spec(kA, kCoreLan, ia(), ix()), 1, 2)));
  EXPECT_FALSE(hit(other, udp_packet(spec(kB, kCoreLan, ib(), ix()), 1, 2)));
}

}  // namespace
}  // namespace plexus::sim
