// SPDX-License-Identifier: Apache-2.0
#include "model/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plexus::model {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const HostId kHere{Uuid::derived("host", "here")}, kThere{Uuid::derived("host", "there")};
const BridgeId kNet{Uuid::derived("bridge", "net")}, kOther{Uuid::derived("bridge", "other")};
const RouterId kRouter{Uuid::derived("router", "r")};
const PortId kVm{Uuid::derived("port", "vm")}, kUp{Uuid::derived("port", "up")},
    kDown{Uuid::derived("port", "down")};
const RouteId kRoute{Uuid::derived("route", "route")};
const MacAddr kMac{{2, 0, 0, 0, 0, 1}}, kOtherMac{{2, 0, 0, 0, 0, 2}},
    kRouterMac{{2, 0, 0, 0, 0, 9}};
const IpAddr kAddress = IpAddr::v4(0x0a000001), kOtherAddress = IpAddr::v4(0x0a000002);
const IpPrefix kNetwork{IpAddr::v4(0x0a0000fe), 24};

Port vm_port() {
  Port p;
  p.id = kVm;
  p.device = kNet;
  p.mac = kMac;
  p.addresses = {kAddress};
  return p;
}
/// The router's port, and the bridge's port that it is wired to.
Port down_port() {
  Port p;
  p.id = kDown;
  p.device = kRouter;
  p.mac = kRouterMac;
  p.networks = {kNetwork};
  p.peer = kUp;
  return p;
}
Port up_port() {
  Port p;
  p.id = kUp;
  p.device = kNet;
  p.peer = kDown;
  return p;
}
Binding binding(HostId host, uint32_t key) {
  return {.port = kVm, .host = host, .tunnel_key = key, .generation = 1, .active = true};
}
Delta apply(Topology& t, std::vector<Change> changes) {
  return t.apply(changes);
}

TEST(Topology, KeepsRecordsAndForgetsThem) {
  Topology t(kHere);
  EXPECT_EQ(t.snapshot()->self(), kHere);
  apply(t, {BridgeChange{kNet, Bridge{.id = kNet, .name = "net", .ports = {}}},
            PortChange{kVm, vm_port()}});
  const auto before = t.snapshot();
  EXPECT_EQ(before, t.snapshot()) << "nothing changed: the same snapshot";
  ASSERT_NE(before->bridge(kNet), nullptr);
  EXPECT_EQ(before->bridge(kNet)->name, "net");
  EXPECT_EQ(*before->port(kVm), vm_port());
  apply(t, {BridgeChange{kNet, std::nullopt}, PortChange{kVm, std::nullopt}});
  EXPECT_EQ(t.snapshot()->bridge(kNet), nullptr);
  EXPECT_EQ(t.snapshot()->port(kVm), nullptr);
  EXPECT_NE(before->port(kVm), nullptr) << "an old snapshot does not change";
}

/// Of the first port that has the address.
std::optional<MacAddr> mac_of(const Topology& t, BridgeId bridge, const IpAddr& address) {
  const auto owners = t.snapshot()->address_owners(bridge, address);
  return owners.empty() ? std::nullopt : std::optional(owners.front().mac);
}

TEST(Topology, MacTableAndOwnersFollowThePorts) {
  Topology t(kHere);
  const Delta made = apply(t, {PortChange{kVm, vm_port()}});
  EXPECT_THAT(made.macs, ElementsAre(std::pair(kNet, kMac)));
  EXPECT_THAT(made.addresses, ElementsAre(std::pair(kNet, kAddress)));
  EXPECT_THAT(made.ports, ElementsAre(kVm));
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kMac), kVm);
  EXPECT_EQ(mac_of(t, kNet, kAddress), kMac);
  EXPECT_EQ(t.snapshot()->port_of_mac(kOther, kMac), std::nullopt);

  Port changed = vm_port();
  changed.mac = kOtherMac;
  changed.addresses = {kAddress, kOtherAddress};
  const Delta delta = apply(t, {PortChange{kVm, changed}});
  EXPECT_THAT(delta.macs, ElementsAre(std::pair(kNet, kMac), std::pair(kNet, kOtherMac)));
  EXPECT_THAT(delta.addresses,
              ElementsAre(std::pair(kNet, kAddress), std::pair(kNet, kOtherAddress)));
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kMac), std::nullopt);
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), kVm);
  EXPECT_EQ(mac_of(t, kNet, kAddress), kOtherMac);

  // Two ports with one MAC: the lower id answers, and the other when that one goes.
  Port twin = changed;
  twin.id = kUp;
  apply(t, {PortChange{kUp, twin}});
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), std::min(kVm, kUp));
  apply(t, {PortChange{std::min(kVm, kUp), std::nullopt}});
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), std::max(kVm, kUp));
}

TEST(Topology, ALinkCountsOnlyWhenBothEndsNameIt) {
  for (const bool bridge_end_first : {true, false}) {
    Topology t(kHere);
    const Change bridge_end = PortChange{kUp, up_port()},
                 router_end = PortChange{kDown, down_port()};
    apply(t, {bridge_end_first ? bridge_end : router_end});
    EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kRouterMac), std::nullopt);
    const Delta delta = apply(t, {bridge_end_first ? router_end : bridge_end});
    EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kRouterMac), kUp);
    EXPECT_EQ(mac_of(t, kNet, kNetwork.addr), kRouterMac);
    EXPECT_EQ(mac_of(t, kNet, link_local_of(kRouterMac)), kRouterMac);
    EXPECT_THAT(delta.macs, ElementsAre(std::pair(kNet, kRouterMac)));
    EXPECT_THAT(t.snapshot()->flood_set(kNet).links, ElementsAre(kUp));

    Port cut = down_port();
    cut.peer = std::nullopt;
    apply(t, {PortChange{kDown, cut}});
    EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kRouterMac), std::nullopt);
    EXPECT_EQ(t.snapshot()->peer(*t.snapshot()->port(kUp)), nullptr);
    EXPECT_THAT(t.snapshot()->flood_set(kNet).links, ElementsAre(kUp))
        << "it is wired still, to nothing";
  }
}

TEST(Topology, FloodSetFollowsBindings) {
  Topology t(kHere);
  apply(t, {PortChange{kVm, vm_port()}});
  EXPECT_THAT(t.snapshot()->flood_set(kNet).local, IsEmpty());
  // Bound here, but the interface is not attached yet.
  EXPECT_THAT(apply(t, {BindingChange{kVm, binding(kHere, 7)}}).floods, IsEmpty());
  EXPECT_THAT(apply(t, {LocalPortChange{kVm, 16}}).floods, ElementsAre(kNet));
  EXPECT_THAT(t.snapshot()->flood_set(kNet).local, ElementsAre(kVm));
  EXPECT_TRUE(t.snapshot()->is_here(kVm));
  EXPECT_EQ(t.snapshot()->local_port(DpPort{16}), kVm);

  Port down = vm_port();
  down.admin_up = false;
  apply(t, {PortChange{kVm, down}});
  EXPECT_THAT(t.snapshot()->flood_set(kNet).local, IsEmpty());
  apply(t, {PortChange{kVm, vm_port()}});

  const Delta moved = apply(t, {BindingChange{kVm, binding(kThere, 8)}});
  EXPECT_THAT(moved.floods, ElementsAre(kNet));
  EXPECT_THAT(moved.tunnel_keys, ElementsAre(7u));
  EXPECT_THAT(t.snapshot()->flood_set(kNet).local, IsEmpty());
  EXPECT_THAT(t.snapshot()->flood_set(kNet).remote, ElementsAre(std::pair(kThere, 1u)));
  EXPECT_FALSE(t.snapshot()->is_here(kVm));

  // A second port at the same host changes nothing for floods.
  Port second = vm_port();
  second.id = kDown;
  second.mac = kOtherMac;
  Binding b = binding(kThere, 9);
  b.port = kDown;
  EXPECT_THAT(apply(t, {PortChange{kDown, second}, BindingChange{kDown, b}}).floods, IsEmpty());
  EXPECT_THAT(apply(t, {BindingChange{kVm, std::nullopt}}).floods, IsEmpty());
  EXPECT_THAT(apply(t, {PortChange{kDown, std::nullopt}}).floods, ElementsAre(kNet));
}

TEST(Topology, ADatapathPortNumberMeansOnePort) {
  Topology t(kHere);
  apply(t, {LocalPortChange{kVm, 16}, LocalPortChange{kUp, 16}});
  EXPECT_EQ(t.snapshot()->local_port(DpPort{16}), kUp);
  EXPECT_EQ(t.snapshot()->dp_port(kVm), std::nullopt);
  apply(t, {LocalPortChange{kUp, 17}});
  EXPECT_EQ(t.snapshot()->local_port(DpPort{16}), std::nullopt);
  EXPECT_EQ(t.snapshot()->local_port(DpPort{17}), kUp);
}

TEST(Topology, TunnelKeysMeanOwnPortsAndBridges) {
  Topology t(kHere);
  Host self{.id = kHere, .name = "here", .tunnel_addresses = {}, .flood_keys = {{kNet, 20}}};
  Host peer{.id = kThere, .name = "there", .tunnel_addresses = {}, .flood_keys = {{kNet, 21}}};
  apply(t,
        {HostChange{kHere, self}, HostChange{kThere, peer}, BindingChange{kVm, binding(kHere, 7)}});
  EXPECT_EQ(t.snapshot()->tunnel_key(7), TunnelKeyMeaning(kVm));
  EXPECT_EQ(t.snapshot()->tunnel_key(20), TunnelKeyMeaning(kNet));
  EXPECT_EQ(t.snapshot()->tunnel_key(21), TunnelKeyMeaning()) << "another host's key";
  EXPECT_EQ(t.snapshot()->tunnel_key(0), TunnelKeyMeaning());
  self.flood_keys = {{kOther, 22}};
  EXPECT_THAT(apply(t, {HostChange{kHere, self}}).tunnel_keys, ElementsAre(20u, 22u));
  EXPECT_EQ(t.snapshot()->tunnel_key(20), TunnelKeyMeaning());
  EXPECT_THAT(apply(t, {BindingChange{kVm, std::nullopt}}).tunnel_keys, ElementsAre(7u));
}

TEST(Topology, ConnectedNetworksAndStaticRoutes) {
  Topology t(kHere);
  const Delta delta = apply(t, {PortChange{kDown, down_port()}});
  EXPECT_THAT(delta.routes, ElementsAre(ChangedWays{kRouter, kNetwork.network(), {}}));
  EXPECT_THAT(delta.router_addresses, ElementsAre(std::pair(kRouter, kNetwork.addr)));
  const auto found = t.snapshot()->lookup_route(kRouter, kAddress, {});
  ASSERT_NE(found.entry, nullptr);
  EXPECT_TRUE(found.entry->connected());
  EXPECT_EQ(found.entry->port, kDown);
  EXPECT_EQ(t.snapshot()->connected_port(kRouter, kAddress), kDown);

  Route r{.id = kRoute,
          .router = kRouter,
          .name = "",
          .destination = *IpPrefix::parse("10.0.0.0/30"),
          .kind = RouteKind::blackhole,
          .port = {},
          .next_hop = {}};
  EXPECT_THAT(apply(t, {RouteChange{kRoute, r}}).routes,
              ElementsAre(ChangedWays{kRouter, r.destination, {}}));
  EXPECT_EQ(t.snapshot()->lookup_route(kRouter, kAddress, {}).entry->kind, RouteKind::blackhole);
  const IpPrefix was = r.destination;
  r.destination = *IpPrefix::parse("10.9.0.0/16");
  EXPECT_THAT(apply(t, {RouteChange{kRoute, r}}).routes,
              ElementsAre(ChangedWays{kRouter, was, {}}, ChangedWays{kRouter, r.destination, {}}));
  EXPECT_TRUE(t.snapshot()->lookup_route(kRouter, kAddress, {}).entry->connected());
  EXPECT_TRUE(apply(t, {RouteChange{kRoute, r}}).empty()) << "nothing new";
  apply(t, {RouteChange{kRoute, std::nullopt}, PortChange{kDown, std::nullopt}});
  EXPECT_EQ(t.snapshot()->lookup_route(kRouter, kAddress, {}).entry, nullptr);
  EXPECT_THAT(t.snapshot()->router_addresses(kRouter), IsEmpty());
}

TEST(Topology, ARouteOfUnknownDestinationStopsItsRouter) {
  Topology t(kHere);
  Route r{.id = kRoute,
          .router = kRouter,
          .name = "",
          .unreadable = true,
          .destination = {},
          .port = {},
          .next_hop = {}};
  EXPECT_THAT(apply(t, {RouteChange{kRoute, r}}).routers, ElementsAre(kRouter));
  EXPECT_EQ(t.snapshot()->unreadable_route(kRouter), kRoute);
  EXPECT_THAT(apply(t, {RouteChange{kRoute, std::nullopt}}).routers, ElementsAre(kRouter));
  EXPECT_EQ(t.snapshot()->unreadable_route(kRouter), std::nullopt);
}

TEST(Topology, NeighboursDifferByAddress) {
  Topology t(kHere);
  const auto table = [](std::vector<std::pair<IpAddr, MacAddr>> entries) {
    NeighboursChange c{.port = kDown, .now = {}};
    for (const auto& [a, m] : entries) c.now.push_back({.port = kDown, .address = a, .mac = m});
    return c;
  };
  apply(t, {table({{kOtherAddress, kMac}, {kAddress, kMac}})});
  EXPECT_EQ(t.snapshot()->neighbour(kDown, kAddress), kMac);
  EXPECT_EQ(t.snapshot()->neighbours(kDown).size(), 2u);
  EXPECT_THAT(apply(t, {table({{kAddress, kMac}, {kOtherAddress, kOtherMac}})}).neighbours,
              ElementsAre(std::pair(kDown, kOtherAddress)));
  EXPECT_THAT(apply(t, {table({})}).neighbours,
              UnorderedElementsAre(std::pair(kDown, kAddress), std::pair(kDown, kOtherAddress)));
  EXPECT_EQ(t.snapshot()->neighbour(kDown, kAddress), std::nullopt);
}

TEST(Topology, NamesAreNoChange) {
  Topology t(kHere);
  const Bridge bridge{.id = kNet, .name = "a", .ports = {}};
  apply(t, {BridgeChange{kNet, bridge}, PortChange{kVm, vm_port()},
            BindingChange{kVm, binding(kHere, 7)}});
  Bridge renamed = bridge;
  renamed.name = "b";
  Port port = vm_port();
  port.name = "vm-1";
  port.interface = "tap1";
  Binding later = binding(kHere, 7);
  later.generation = 2;
  EXPECT_TRUE(
      apply(t, {BridgeChange{kNet, renamed}, PortChange{kVm, port}, BindingChange{kVm, later}})
          .empty());
  EXPECT_EQ(t.snapshot()->bridge(kNet)->name, "b");
  EXPECT_EQ(t.snapshot()->port(kVm)->name, "vm-1");
}

TEST(Topology, DeletingEverythingLeavesNothing) {
  Topology t(kHere);
  const std::vector<Change> all = {
      HostChange{kHere,
                 Host{.id = kHere, .name = "h", .tunnel_addresses = {}, .flood_keys = {{kNet, 3}}}},
      BridgeChange{kNet, Bridge{.id = kNet, .name = "", .ports = {}}},
      RouterChange{kRouter, Router{.id = kRouter, .name = "", .ports = {}, .routes = {}}},
      PortChange{kVm, vm_port()},
      PortChange{kUp, up_port()},
      PortChange{kDown, down_port()},
      BindingChange{kVm, binding(kHere, 7)},
      LocalPortChange{kVm, 16},
      RouteChange{kRoute, Route{.id = kRoute,
                                .router = kRouter,
                                .name = "",
                                .destination = kNetwork.network(),
                                .port = {},
                                .next_hop = {}}},
      NeighboursChange{kDown, {{kDown, kAddress, kMac}}}};
  apply(t, all);
  apply(t, {HostChange{kHere, {}}, BridgeChange{kNet, {}}, RouterChange{kRouter, {}},
            PortChange{kVm, {}}, PortChange{kUp, {}}, PortChange{kDown, {}}, BindingChange{kVm, {}},
            LocalPortChange{kVm, 0}, RouteChange{kRoute, {}}, NeighboursChange{kDown, {}}});
  const auto s = t.snapshot();
  EXPECT_EQ(s->port_of_mac(kNet, kMac), std::nullopt);
  EXPECT_EQ(s->tunnel_key(3), TunnelKeyMeaning());
  EXPECT_EQ(s->tunnel_key(7), TunnelKeyMeaning());
  EXPECT_EQ(s->route(kRoute), nullptr);
  EXPECT_EQ(s->lookup_route(kRouter, kAddress, {}).entry, nullptr);
  EXPECT_EQ(s->local_port(DpPort{16}), std::nullopt);
  EXPECT_THAT(s->flood_set(kNet).links, IsEmpty());
  size_t left = 0;
  s->each_port([&](const Port&) { ++left; });
  s->each_neighbour([&](const Neighbour&) { ++left; });
  EXPECT_EQ(left, 0u);
}

TEST(Topology, WaysBySourceAreChangesOfTheirSource) {
  Topology t(kHere);
  Route r{.id = kRoute,
          .router = kRouter,
          .name = "",
          .destination = *IpPrefix::parse("0.0.0.0/0"),
          .kind = RouteKind::blackhole,
          .port = {},
          .next_hop = {},
          .source = *IpPrefix::parse("10.1.0.0/16")};
  EXPECT_THAT(apply(t, {RouteChange{kRoute, r}}).routes,
              ElementsAre(ChangedWays{kRouter, r.destination, r.source}));
  const IpAddr out = *IpAddr::parse("192.0.2.1");
  const auto find = [&](const char* source) {
    return t.snapshot()->lookup_route(kRouter, out, *IpAddr::parse(source));
  };
  EXPECT_NE(find("10.1.2.3").entry, nullptr);
  EXPECT_EQ(find("10.1.2.3").source_bits_read, 16u);
  EXPECT_EQ(find("10.2.2.3").entry, nullptr);
  EXPECT_EQ(find("10.2.2.3").source_bits_read, 15u);
  r.unreadable = true;
  EXPECT_THAT(apply(t, {RouteChange{kRoute, r}}).routes,
              testing::UnorderedElementsAre(ChangedWays{kRouter, r.destination, r.source},
                                            ChangedWays{kRouter, r.destination, {}}));
  EXPECT_NE(find("10.2.2.3").entry, nullptr) << "what cannot be read stops all to its destination";
}

TEST(Topology, AnotherWeightIsAChange) {
  Topology t(kHere);
  Route r{.id = kRoute,
          .router = kRouter,
          .name = "",
          .destination = *IpPrefix::parse("0.0.0.0/0"),
          .port = {},
          .next_hop = {}};
  apply(t, {RouteChange{kRoute, r}});
  r.weight = 3;
  EXPECT_FALSE(apply(t, {RouteChange{kRoute, r}}).empty());
  EXPECT_EQ(t.snapshot()->lookup_route(kRouter, kAddress, {}).entry->weight, 3u);
}

TEST(Topology, TheTunnelsMtuIsAChangeOfThisHost) {
  Topology t(kHere);
  EXPECT_EQ(t.snapshot()->tunnel_mtu(IpFamily::v4), 0u);
  EXPECT_THAT(apply(t, {TunnelMtuChange{IpFamily::v4, 1450}}).hosts, ElementsAre(kHere));
  EXPECT_TRUE(apply(t, {TunnelMtuChange{IpFamily::v4, 1450}}).empty());
  EXPECT_EQ(t.snapshot()->tunnel_mtu(IpFamily::v4), 1450u);
  EXPECT_EQ(t.snapshot()->tunnel_mtu(IpFamily::v6), 0u);
}

TEST(Topology, PortsThatAdvertise) {
  Topology t(kHere);
  Port p = down_port();
  apply(t, {PortChange{kDown, p}});
  EXPECT_TRUE(t.snapshot()->advertising().empty());
  p.advertising.emplace();
  EXPECT_FALSE(apply(t, {PortChange{kDown, p}}).empty());
  ASSERT_EQ(t.snapshot()->advertising().size(), 1u);
  EXPECT_EQ(t.snapshot()->advertising()[0], kDown);
  apply(t, {PortChange{kDown, std::nullopt}});
  EXPECT_TRUE(t.snapshot()->advertising().empty());
}

TEST(Topology, LearnedMacsStandBelowConfiguredOnesAndTheLatestCounts) {
  Topology t(kHere);
  const PortId a{Uuid::derived("port", "a")}, b{Uuid::derived("port", "b")};
  const auto port = [](PortId id) {
    Port p;
    p.id = id;
    p.device = kNet;
    return p;
  };
  const auto at = [](PortId id, std::vector<LearnedMac> learned, bool active = true) {
    return BindingChange{id, Binding{.port = id,
                                     .host = kThere,
                                     .tunnel_key = 7,
                                     .generation = 1,
                                     .active = active,
                                     .learned = std::move(learned)}};
  };
  apply(t, {BridgeChange{kNet, Bridge{.id = kNet, .name = "net", .ports = {}}},
            PortChange{a, port(a)}, PortChange{b, port(b)}, PortChange{kVm, vm_port()}});
  Delta d = apply(t, {at(a, {{kOtherMac, 1}, {kMac, 5}})});
  EXPECT_THAT(d.macs, UnorderedElementsAre(std::pair(kNet, kOtherMac), std::pair(kNet, kMac)));
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), a);
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kMac), kVm) << "configured there";
  EXPECT_EQ(t.snapshot()->learned_mac(kNet, kMac)->sequence(), 5u);
  apply(t, {at(b, {{kOtherMac, 2}})});
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), b);
  EXPECT_EQ(t.snapshot()->learned_mac(kNet, kOtherMac)->sequence(), 2u);
  d = apply(t, {at(b, {{kOtherMac, 2}}, false)});
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), a) << "what is not in use has no MACs";
  EXPECT_THAT(d.macs, ElementsAre(std::pair(kNet, kOtherMac)));
  d = apply(
      t, {BridgeChange{kNet, Bridge{.id = kNet, .name = "net", .ports = {}, .learning = false}}});
  EXPECT_THAT(d.bridges, ElementsAre(kNet));
  EXPECT_EQ(t.snapshot()->port_of_mac(kNet, kOtherMac), std::nullopt);
  apply(t, {at(a, {}), at(b, {})});
  EXPECT_EQ(t.snapshot()->learned_count(kNet), 0u);
}

TEST(Topology, LimitsOfLearningAreOwnFacts) {
  Topology t(kHere);
  EXPECT_THAT(apply(t, {PortFullChange{kVm, true}}).learning, ElementsAre(kVm));
  EXPECT_TRUE(t.snapshot()->learning_full(kVm));
  EXPECT_TRUE(apply(t, {PortFullChange{kVm, true}}).empty());
  EXPECT_THAT(apply(t, {PortFullChange{kVm, false}}).learning, ElementsAre(kVm));
  EXPECT_THAT(apply(t, {HeldMacChange{kNet, kMac, true}}).macs, ElementsAre(std::pair(kNet, kMac)));
  EXPECT_TRUE(t.snapshot()->mac_held(kNet, kMac));
  EXPECT_FALSE(apply(t, {HeldMacChange{kNet, kMac, false}}).empty());
  EXPECT_FALSE(t.snapshot()->mac_held(kNet, kMac));
}

TEST(Topology, AnAddressIsInItsSolicitedNodeGroup) {
  Topology t(kHere);
  Port vm = vm_port();
  const IpAddr address = *IpAddr::parse("fd00::12:3456");
  vm.addresses = {address};
  const Delta d = apply(t, {PortChange{kVm, vm}});
  const IpAddr group = solicited_node_of(address);
  EXPECT_THAT(d.addresses, UnorderedElementsAre(std::pair(kNet, address), std::pair(kNet, group)));
  EXPECT_EQ(t.snapshot()->address_owners(kNet, group).size(), 1u);
  apply(t, {PortChange{kVm, std::nullopt}});
  EXPECT_TRUE(t.snapshot()->address_owners(kNet, group).empty());
}

}  // namespace
}  // namespace plexus::model
