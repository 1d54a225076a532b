// SPDX-License-Identifier: Apache-2.0
#include "sim/announce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/headers.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Announce : public testing::Test {
 protected:
  Announce() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    rt = cloud.router("rt");
    gateway = cloud.router_port("gw", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    cloud.plug(red, gateway);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2"});
    vm3 = cloud.vm("vm3", red, h2, "02:00:00:00:01:03", {"10.0.1.3"});
    topology.apply(cloud.changes(h1));
  }
  std::vector<Generated> change(model::Change c) {
    const auto before = topology.snapshot();
    const model::Change changes[] = {std::move(c)};
    const auto delta = topology.apply(changes);
    return announcements(*before, *topology.snapshot(), delta);
  }
  Copy to(PortId id) const { return {{}, LocalOutput{cloud.dp_port(id)}}; }

  TestCloud cloud;
  HostId h1, h2;
  BridgeId red;
  RouterId rt;
  PortId gateway, vm1, vm2, vm3;
  model::Topology topology{TestCloud::host_id("h1")};
};

TEST_F(Announce, AGatewaysNewMacIsToldToTheMachinesHere) {
  model::Port port = cloud.ports[gateway];
  port.mac = *MacAddr::parse("02:00:00:00:01:ff");
  const auto told = change(model::PortChange{gateway, port});
  ASSERT_THAT(told, SizeIs(2)) << "its link-local address is another one now, not one that moved";
  const IpAddr v4 = *IpAddr::parse("10.0.1.254"), v6 = *IpAddr::parse("fd00:1::fe");
  for (const Generated& g : told) {
    EXPECT_THAT(g.actions.copies, testing::UnorderedElementsAre(to(vm1), to(vm2)));
    const ParsedPacket parsed = parse_packet(g.frame);
    if (parsed.key.is_arp()) {
      EXPECT_EQ(g.frame, arp_request(port.mac, v4, v4));
      continue;
    }
    const auto nd = NdMessage::of(parsed, g.frame);
    ASSERT_TRUE(nd);
    EXPECT_EQ(nd->target, v6);
    EXPECT_EQ(nd->link_address, port.mac);
    EXPECT_TRUE(nd->router && nd->override_ && !nd->solicited);
  }
}

TEST_F(Announce, AnAddressThatGoesToAnotherMachineIsToldToTheOthers) {
  model::Port from = cloud.ports[vm3], to_port = cloud.ports[vm2];
  from.addresses.clear();
  to_port.addresses.push_back(*IpAddr::parse("10.0.1.3"));
  const auto before = topology.snapshot();
  const model::Change both[] = {model::PortChange{vm3, from}, model::PortChange{vm2, to_port}};
  const auto delta = topology.apply(both);
  const auto told = announcements(*before, *topology.snapshot(), delta);
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_THAT(told[0].actions.copies, ElementsAre(to(vm1)));
}

TEST_F(Announce, WhatIsNewOrGoneOrTheSameIsNotTold) {
  model::Port port = cloud.ports[vm3];
  port.addresses = {*IpAddr::parse("10.0.1.3"), *IpAddr::parse("10.0.1.33")};
  EXPECT_THAT(change(model::PortChange{vm3, port}), IsEmpty());
  EXPECT_THAT(change(model::PortChange{vm3, std::nullopt}), IsEmpty());
  EXPECT_THAT(change(model::PortChange{vm3, port}), IsEmpty());
  // A second one that has it too: nobody can say who is right.
  model::Port other = cloud.ports[vm2];
  other.addresses = port.addresses;
  EXPECT_THAT(change(model::PortChange{vm2, other}), IsEmpty());
}

TEST_F(Announce, AMachineThatGoesToAnotherHostIsToldToTheOthers) {
  cloud.bind(vm2, h2);
  const auto away = change(model::BindingChange{vm2, cloud.bindings[vm2]});
  ASSERT_THAT(away, SizeIs(1));
  EXPECT_EQ(away[0].frame, arp_request(*MacAddr::parse("02:00:00:00:01:02"),
                                       *IpAddr::parse("10.0.1.2"), *IpAddr::parse("10.0.1.2")));
  EXPECT_THAT(away[0].actions.copies, ElementsAre(to(vm1)));
  // One that is only bound anew at its host has not moved.
  cloud.bind(vm3, h2);
  EXPECT_THAT(change(model::BindingChange{vm3, cloud.bindings[vm3]}), IsEmpty());
}

TEST_F(Announce, AnUplinkThatComesHereIsToldToTheNetworkOutside) {
  const PortId up =
      cloud.router_port("up", rt, "02:00:00:00:03:01", {"198.51.100.1/24", "2001:db8::1/64"});
  cloud.bind(up, h2);
  EXPECT_THAT(change(model::PortChange{up, cloud.ports[up]}), IsEmpty());
  EXPECT_THAT(change(model::BindingChange{up, cloud.bindings[up]}), IsEmpty()) << "not here";
  EXPECT_THAT(change(cloud.local_port_change(up, h2)), IsEmpty());
  cloud.bind(up, h1);
  const auto told = change(model::BindingChange{up, cloud.bindings[up]});
  ASSERT_THAT(told, SizeIs(2));
  for (const Generated& g : told) EXPECT_THAT(g.actions.copies, ElementsAre(to(up)));
}

/// A floating address outside, at a router with a port on a bridge of the world.
class AnnounceOutside : public Announce {
 protected:
  AnnounceOutside() {
    world = cloud.bridge("world");
    up = cloud.vm("up", world, h1, "02:00:00:00:03:99", {"198.51.100.99"});
    far = cloud.vm("far", world, h2, "02:00:00:00:03:98", {"198.51.100.98"});
    edge = cloud.router_port("edge", rt, "02:00:00:00:03:01", {"198.51.100.1/24"});
    cloud.plug(world, edge);
    topology = model::Topology(h1);
    topology.apply(cloud.changes(h1));
  }
  model::FloatingIpChange floating(const char* address, bool up_now = true) const {
    model::FloatingIp f;
    f.id = FloatingIpId{Uuid::derived("floating", address)};
    f.router = rt;
    f.address = *IpAddr::parse(address);
    f.inside = *IpAddr::parse("10.0.1.1");
    f.admin_up = up_now;
    return {f.id, f};
  }
  static std::vector<uint8_t> told_of(const char* address, const char* mac) {
    return arp_request(*MacAddr::parse(mac), *IpAddr::parse(address), *IpAddr::parse(address));
  }
  BridgeId world;
  PortId up, far, edge;
};

TEST_F(AnnounceOutside, AnAddressThatComesIsToldToTheMachinesHere) {
  const auto told = change(floating("198.51.100.80"));
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].frame, told_of("198.51.100.80", "02:00:00:00:03:01"));
  EXPECT_THAT(told[0].actions.copies, ElementsAre(to(up))) << "each host tells its own";
  EXPECT_THAT(change(floating("198.51.100.80", false)), IsEmpty());
  EXPECT_THAT(change(floating("198.51.100.80")), SizeIs(1)) << "it is answered for again";
  EXPECT_THAT(change(floating("203.0.113.80")), IsEmpty()) << "of no network of a port";
  EXPECT_THAT(change(model::FloatingIpChange{floating("198.51.100.80").id, std::nullopt}),
              IsEmpty());
}

TEST_F(AnnounceOutside, ThoseOfAPoolAreToldToo) {
  model::SnatPool pool;
  pool.id = SnatPoolId{Uuid::derived("snat", "pool")};
  pool.router = rt;
  pool.addresses = {*IpAddr::parse("198.51.100.70"), *IpAddr::parse("198.51.100.71")};
  EXPECT_THAT(change(model::SnatPoolChange{pool.id, pool}), SizeIs(2));
  pool.addresses.push_back(*IpAddr::parse("198.51.100.72"));
  const auto told = change(model::SnatPoolChange{pool.id, pool});
  ASSERT_THAT(told, SizeIs(1)) << "the others were told of before";
  EXPECT_EQ(told[0].frame, told_of("198.51.100.72", "02:00:00:00:03:01"));
}

TEST_F(AnnounceOutside, TheNewMacOfThePortIsToldForAllOfThem) {
  for (const char* address : {"198.51.100.80", "198.51.100.81"}) change(floating(address));
  model::Port port = cloud.ports[edge];
  port.mac = *MacAddr::parse("02:00:00:00:03:77");
  const auto told = change(model::PortChange{edge, port});
  std::vector<std::vector<uint8_t>> frames;
  for (const Generated& g : told) {
    EXPECT_THAT(g.actions.copies, ElementsAre(to(up)));
    frames.push_back(g.frame);
  }
  const char* mac = "02:00:00:00:03:77";
  EXPECT_THAT(frames, testing::UnorderedElementsAre(told_of("198.51.100.1", mac),
                                                    told_of("198.51.100.80", mac),
                                                    told_of("198.51.100.81", mac)));
}

TEST_F(AnnounceOutside, AnUplinkThatComesHereTellsOfThemToo) {
  const PortId wire = cloud.router_port("wire", rt, "02:00:00:00:04:01", {"192.0.2.1/24"});
  cloud.bind(wire, h2);
  change(model::PortChange{wire, cloud.ports[wire]});
  change(model::BindingChange{wire, cloud.bindings[wire]});
  change(cloud.local_port_change(wire, h2));
  EXPECT_THAT(change(floating("192.0.2.80")), IsEmpty()) << "the host where it is tells";
  cloud.bind(wire, h1);
  const auto told = change(model::BindingChange{wire, cloud.bindings[wire]});
  ASSERT_THAT(told, SizeIs(2));
  EXPECT_EQ(told[1].frame, told_of("192.0.2.80", "02:00:00:00:04:01"));
  for (const Generated& g : told) EXPECT_THAT(g.actions.copies, ElementsAre(to(wire)));
}

TEST_F(AnnounceOutside, OfAPortThatIsOnlyNowKnownNothingIsTold) {
  model::Topology fresh(h1);
  const auto before = fresh.snapshot();
  auto all = cloud.changes(h1);
  all.emplace_back(floating("198.51.100.80"));
  const auto delta = fresh.apply(all);
  EXPECT_THAT(announcements(*before, *fresh.snapshot(), delta), IsEmpty());
}

TEST_F(AnnounceOutside, NotMoreThanTheMost) {
  std::vector<model::Change> all;
  for (int i = 0; i < 300; ++i) {
    model::FloatingIpChange c = floating(
        ("198.51." + std::to_string(100 + i / 200) + "." + std::to_string(3 + i % 200)).c_str());
    all.emplace_back(c);
  }
  model::Port port = cloud.ports[edge];
  port.networks = {*IpPrefix::parse("198.51.100.1/16")};
  change(model::PortChange{edge, port});
  const auto before = topology.snapshot();
  const auto delta = topology.apply(all);
  EXPECT_THAT(announcements(*before, *topology.snapshot(), delta), SizeIs(kMaxAnnounced));
}

}  // namespace
}  // namespace plexus::sim
