// SPDX-License-Identifier: Apache-2.0
// Which flows a change takes away: those it concerns, and no others.
#include "sim/delta_tags.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

/// red - rt - blue, an uplink, and a bridge behind blue; all of it at h1 but vm4 at h2.
class DeltaTags : public testing::Test {
 protected:
  DeltaTags() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    far = cloud.bridge("far");
    rt = cloud.router("rt");
    rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    rt_blue =
        cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24", "fd00:2::fe/64"});
    rt_up = cloud.router_port("rt-up", rt, "02:00:00:00:03:fe", {"198.51.100.1/24"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    cloud.bind(rt_up, h1);
    cloud.neighbours[rt_up] = {
        {rt_up, *IpAddr::parse("198.51.100.254"), *MacAddr::parse("02:00:00:00:99:01")}};
    cloud.link(cloud.bridge_port("blue-far", blue), cloud.bridge_port("far-blue", far));
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2"});
    vm4 = cloud.vm("vm4", blue, h2, "02:00:00:00:02:04", {"10.0.2.4"});
    vm5 = cloud.vm("vm5", far, h1, "02:00:00:00:02:05", {"10.0.2.5"});
    cloud.route("default", rt, "0.0.0.0/0", {}, "198.51.100.254");
  }

  struct Result {
    bool changed = false;  ///< the packet's answer is another one
    bool hit = false;      ///< the flow goes
  };
  /// One packet from vm1, then the change.
  Result after(const std::string& packet_text, const std::function<void()>& change) {
    const TestCloud whole = cloud;
    const auto frame = parse_frame(packet_text);
    EXPECT_TRUE(frame.ok()) << packet_text;
    const Packet packet = packet_of(*frame, cloud.dp_port(vm1));
    model::Topology topology(h1);
    topology.apply(cloud.changes(h1));
    const Outcome was = simulate(packet, *topology.snapshot(), {});
    EXPECT_TRUE(was.cacheable) << packet_text;

    change();
    // All records are told anew; only differences may count. What is gone is told as gone.
    std::vector<model::Change> changes = cloud.changes(h1);
    for (const auto& [id, r] : whole.ports)
      if (!cloud.ports.contains(id)) changes.push_back(model::PortChange{id, std::nullopt});
    for (const auto& [id, r] : whole.routes)
      if (!cloud.routes.contains(id)) changes.push_back(model::RouteChange{id, std::nullopt});
    for (const auto& [id, r] : whole.bindings)
      if (!cloud.bindings.contains(id)) changes.push_back(model::BindingChange{id, std::nullopt});
    const auto tags = tags_of(topology.apply(changes));
    cloud = whole;

    const Outcome is = simulate(packet, *topology.snapshot(), {});
    const Match match = match_of(packet.key, was.mask);
    Result result;
    result.changed =
        was.verdict != is.verdict || was.reason != is.reason || !(was.actions == is.actions);
    result.hit = std::any_of(tags.begin(), tags.end(), [&](const TagChange& t) {
      return std::any_of(
          was.dependencies.begin(), was.dependencies.end(), [&](const Dependency& d) {
            return d.tag == t.tag && (!t.region || d.rewritten || t.region->meets(match));
          });
    });
    return result;
  }

  TestCloud cloud;
  HostId h1, h2;
  BridgeId red, blue, far;
  RouterId rt;
  PortId rt_red, rt_blue, rt_up, vm1, vm2, vm4, vm5;
};

const std::string kIn = "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ";
const std::string kSwitched =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2";
const std::string kUnknown =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:77 | ipv4 10.0.1.1 > 10.0.1.77 | udp 1 > 2";
const std::string kRouted = kIn + "ipv4 10.0.1.1 > 10.0.2.4 | udp 1 > 2";
const std::string kBehind = kIn + "ipv4 10.0.1.1 > 10.0.2.5 | udp 1 > 2";
const std::string kOut = kIn + "ipv4 10.0.1.1 > 203.0.113.1 | udp 1 > 2";
const std::string kBroadcast =
    "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff type 0x88b5 | payload hex 00";

TEST_F(DeltaTags, WhatConcernsAFlowTakesItAway) {
  const struct {
    const char* what;
    std::string packet;
    std::function<void()> change;
  } cases[] = {
      {"the port moves", kRouted, [&] { cloud.bind(vm4, h1); }},
      {"its host has another address", kRouted,
       [&] { cloud.hosts[h2].tunnel_addresses = {*IpAddr::parse("192.0.2.9")}; }},
      {"its interface goes", kRouted, [&] { cloud.bindings[vm4].active = false; }},
      {"it is unbound", kRouted, [&] { cloud.bindings.erase(vm4); }},
      {"it is deleted", kRouted, [&] { cloud.ports.erase(vm4); }},
      {"its address is another's", kRouted,
       [&] {
         cloud.ports[vm4].addresses.clear();
         cloud.ports[vm5].addresses.push_back(*IpAddr::parse("10.0.2.4"));
       }},
      {"a more specific route", kRouted,
       [&] { cloud.route("r", rt, "10.0.2.0/25", {}, "", 0, model::RouteKind::reject); }},
      {"the router's port has another MAC", kRouted,
       [&] { cloud.ports[rt_blue].mac = *MacAddr::parse("02:00:00:00:02:fd"); }},
      {"a wire is cut at the other end", kRouted,
       [&] { cloud.ports[TestCloud::port_id("to-rt-blue")].peer.reset(); }},
      {"a wire's end is deleted", kRouted,
       [&] { cloud.ports.erase(TestCloud::port_id("to-rt-blue")); }},
      {"the destination of a host route becomes the router's own", kBehind,
       [&] { cloud.ports[rt_up].networks.push_back(*IpPrefix::parse("10.0.2.5/8")); }},
      {"the destination becomes the router's own", kRouted,
       [&] { cloud.ports[rt_blue].networks[0] = *IpPrefix::parse("10.0.2.4/24"); }},
      {"the source becomes the router's own", kRouted,
       [&] { cloud.ports[rt_up].networks.push_back(*IpPrefix::parse("10.0.1.1/32")); }},
      {"the router goes down", kRouted, [&] { cloud.routers[rt].admin_up = false; }},
      {"a route that nobody can read", kRouted,
       [&] {
         auto& r = cloud.routes[cloud.route("r", rt, "0.0.0.0/0", {})];
         r.unreadable = true;
         r.destination = {};
       }},
      {"the way to a bridge behind is cut", kBehind,
       [&] { cloud.ports[TestCloud::port_id("blue-far")].peer.reset(); }},
      {"a nearer bridge has the address", kBehind,
       [&] { cloud.ports[vm4].addresses.push_back(*IpAddr::parse("10.0.2.5")); }},
      {"the next hop is on another port", kOut,
       [&] { cloud.ports[rt_blue].networks.push_back(*IpPrefix::parse("198.51.100.253/30")); }},
      {"the next hop has another MAC", kOut,
       [&] { cloud.neighbours[rt_up][0].mac = *MacAddr::parse("02:00:00:00:99:02"); }},
      {"the default route goes", kOut, [&] { cloud.routes.clear(); }},
      {"a better metric", kOut,
       [&] {
         cloud.routes[TestCloud::route_id("default")].metric = 5;
         cloud.route("r", rt, "0.0.0.0/0", rt_up, "198.51.100.254", 1, model::RouteKind::blackhole);
       }},
      {"an unknown MAC becomes known", kUnknown,
       [&] { cloud.vm("vm7", red, h2, "02:00:00:00:01:77"); }},
      {"a MAC is behind another port", kSwitched,
       [&] {
         cloud.ports[vm2].mac = {};
         cloud.vm("vm7", red, h2, "02:00:00:00:01:02");
       }},
      {"a first port at a host", kBroadcast,
       [&] { cloud.vm("vm7", red, h2, "02:00:00:00:01:77"); }},
      {"a local port more", kBroadcast, [&] { cloud.vm("vm7", red, h1, "02:00:00:00:01:77"); }},
      {"the bridge goes down", kSwitched, [&] { cloud.bridges[red].admin_up = false; }},
      {"the port it came from is another's", kSwitched,
       [&] { cloud.bindings[vm1].active = false; }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const Result r = after(c.packet, c.change);
    EXPECT_TRUE(r.changed) << "the case shows nothing";
    EXPECT_TRUE(r.hit);
  }
}

TEST_F(DeltaTags, WhatMissesShowsUpLater) {
  // A link that dangles is repaired: the drop must not stay.
  const auto link = TestCloud::port_id("to-rt-blue");
  const model::Port kept = cloud.ports[link];
  cloud.ports.erase(link);
  const Result r = after(kRouted, [&] { cloud.ports[link] = kept; });
  EXPECT_TRUE(r.changed);
  EXPECT_TRUE(r.hit);
}

TEST_F(DeltaTags, WhatDoesNotConcernAFlowLeavesIt) {
  const struct {
    const char* what;
    std::string packet;
    std::function<void()> change;
  } cases[] = {
      {"a port more on the destination's bridge", kRouted,
       [&] { cloud.vm("vm7", blue, h2, "02:00:00:00:02:07", {"10.0.2.7"}); }},
      {"a port more on the own bridge", kSwitched,
       [&] { cloud.vm("vm7", red, h1, "02:00:00:00:01:07"); }},
      {"another port moves", kRouted, [&] { cloud.bind(vm2, h2); }},
      {"a route elsewhere", kRouted, [&] { cloud.route("r", rt, "10.9.0.0/16", rt_up); }},
      {"a route of the other family", kRouted, [&] { cloud.route("r", rt, "::/0", rt_up); }},
      {"a less specific route", kRouted,
       [&] { cloud.route("r", rt, "10.0.0.0/8", {}, "", 0, model::RouteKind::reject); }},
      {"the default route goes", kRouted, [&] { cloud.routes.clear(); }},
      {"a neighbour is learned", kRouted,
       [&] {
         cloud.neighbours[rt_blue] = {
             {rt_blue, *IpAddr::parse("10.0.2.9"), *MacAddr::parse("02:00:00:00:99:09")}};
       }},
      {"another MAC becomes known", kUnknown,
       [&] { cloud.vm("vm7", blue, h1, "02:00:00:00:01:77"); }},
      {"a second port at a remote host", kSwitched,
       [&] { cloud.vm("vm7", red, h2, "02:00:00:00:01:07"); }},
      {"a router's port on another bridge", kBroadcast,
       [&] { cloud.ports[rt_blue].admin_up = false; }},
      {"names", kRouted,
       [&] {
         for (auto& [id, p] : cloud.ports) p.name += "-renamed";
         for (auto& [id, b] : cloud.bridges) b.name += "-renamed";
       }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const Result r = after(c.packet, c.change);
    EXPECT_FALSE(r.changed);
    EXPECT_FALSE(r.hit);
  }
}

TEST_F(DeltaTags, VeryManyRoutesAreToldCoarsely) {
  model::Delta delta;
  for (uint32_t i = 0; i < 2000; ++i)
    delta.routes.push_back({rt, IpPrefix{IpAddr::v4(i << 8), 24}, {}});
  const auto tags = tags_of(delta);
  EXPECT_EQ(tags.size(), 130u);
  for (const TagChange& t : tags) EXPECT_FALSE(t.region.has_value());
}

TEST_F(DeltaTags, AnAddressMoreOnARouterTakesOnlyItsPackets) {
  const auto change = [&] {
    cloud.ports[rt_up].networks.push_back(*IpPrefix::parse("203.0.113.77/28"));
  };
  EXPECT_TRUE(after(kIn + "ipv4 10.0.1.1 > 203.0.113.77 | udp 1 > 2", change).hit);
  EXPECT_TRUE(after(kIn + "ipv4 10.0.1.1 > 203.0.113.65 | udp 1 > 2", change).hit);
  EXPECT_FALSE(after(kRouted, change).hit);
}

}  // namespace
}  // namespace plexus::sim
