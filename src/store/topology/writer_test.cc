// SPDX-License-Identifier: Apache-2.0
#include "store/topology/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using WriterTest = TopologyTest;

template <typename R>
void expect_error(const R& result, ErrorCode code, std::vector<std::string> says) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string& text : says) EXPECT_THAT(result.error().message, HasSubstr(text));
}

TEST_F(WriterTest, CreatesReadsListsChangesAndRemoves) {
  auto created = writer_->create(named<v1::Bridge>("blue"));
  ASSERT_TRUE(created.ok()) << created.error().message;
  const Uuid id = id_of(*created->message);
  EXPECT_FALSE(id.is_nil());
  EXPECT_EQ(created->version, 1);
  auto read = writer_->get(*v1::Bridge::descriptor(), id);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->message->DebugString(), created->message->DebugString());
  EXPECT_EQ(read->version, 1);
  EXPECT_EQ(read->revision, created->revision);

  bridge("green");
  auto all = writer_->list(*v1::Bridge::descriptor());
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->size(), 2u);

  static_cast<v1::Bridge&>(*read->message).set_admin_up(false);
  auto changed = writer_->update(*read->message, 1);
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  EXPECT_EQ(changed->version, 2);
  EXPECT_GT(changed->revision, created->revision);
  auto same = writer_->update(*changed->message);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->version, 2) << "without a change nothing is written";
  EXPECT_EQ(same->revision, changed->revision);

  expect_error(writer_->update(*read->message, 1), ErrorCode::conflict, {"version 2", "blue"});
  expect_error(writer_->remove(*v1::Bridge::descriptor(), id, 1), ErrorCode::conflict,
               {"version 2"});
  ASSERT_TRUE(writer_->remove(*v1::Bridge::descriptor(), id, 2).ok());
  expect_error(writer_->get(*v1::Bridge::descriptor(), id), ErrorCode::not_found, {"bridge"});
  expect_error(writer_->remove(*v1::Bridge::descriptor(), id), ErrorCode::not_found, {"bridge"});
  expect_error(writer_->update(*read->message), ErrorCode::not_found, {"bridge"});
}

TEST_F(WriterTest, FindsByName) {
  auto tenants = named<v1::Bridge>("blue");
  tenants.set_tenant("acme");
  const auto acme = create(tenants);
  const auto plain = bridge("blue");
  const auto find = [&](const char* scope) {
    auto found = writer_->find(*v1::Bridge::descriptor(), scope, "blue");
    EXPECT_TRUE(found.ok());
    return id_of(*found->message).raw();
  };
  EXPECT_EQ(find("acme"), acme.id());
  EXPECT_EQ(find(""), plain.id());
  expect_error(writer_->find(*v1::Bridge::descriptor(), "other", "blue"), ErrorCode::not_found,
               {"blue"});
}

TEST_F(WriterTest, NamesAreUniqueInTheirScope) {
  const auto blue = bridge("blue");
  expect_error(writer_->create(named<v1::Bridge>("blue")), ErrorCode::exists,
               {"name blue", Uuid::from_bytes(blue.id())->str()});
  router("blue");  // another type
  auto green = bridge("green");
  green.set_name("blue");
  expect_error(writer_->update(green), ErrorCode::exists, {"bridge blue"});
  // A name that was given up is free.
  auto renamed = blue;
  renamed.set_name("azure");
  update(renamed);
  EXPECT_EQ(update(green).name(), "blue");
}

TEST_F(WriterTest, RouteNamesAreUniqueInTheirRouter) {
  const auto r1 = router("r1"), r2 = router("r2");
  const auto p1 = create(port_on(r1, "p1", "10.0.0.1/24")),
             p2 = create(port_on(r2, "p2", "10.0.0.1/24"));
  auto a = route(r1, p1, "10.1.0.0/16");
  a.set_name("out");
  create(a);
  auto b = route(r2, p2, "10.1.0.0/16");
  b.set_name("out");
  create(b);
  auto c = route(r1, p1, "10.2.0.0/16");
  c.set_name("out");
  expect_error(writer_->create(c), ErrorCode::exists, {"out"});
  c.clear_name();
  create(c);
  create(c);  // nameless, and id chosen: not the same route
}

TEST_F(WriterTest, RefusesInvalidResourcesByField) {
  const auto blue = bridge("blue");
  const auto core = router("core");
  const auto h1 = host("h1");
  const Uuid nowhere = Uuid::random();
  const struct {
    const char* what;
    v1::Port port;
    std::vector<std::string> says;
  } cases[] = {
      {"no name",
       [&] {
         auto p = port_on(blue, "");
         p.clear_name();
         return p;
       }(),
       {"name", "required"}},
      {"a bad name", port_on(blue, "a b"), {"name", "a-z"}},
      {"a long name", port_on(blue, std::string(64, 'a').c_str()), {"name", "63"}},
      {"no device", named<v1::Port>("p"), {"bridge, router", "required"}},
      {"two devices",
       [&] {
         auto p = port_on(blue, "p");
         p.set_router(core.id());
         return p;
       }(),
       {"bridge and router", "exclude"}},
      {"host and peer",
       [&] {
         auto p = on_host(port_on(blue, "p"), h1, "tap");
         p.set_peer(nowhere.raw());
         return p;
       }(),
       {"host and peer", "exclude"}},
      {"no such bridge",
       [&] {
         auto p = named<v1::Port>("p");
         p.set_bridge(nowhere.raw());
         return p;
       }(),
       {"port p", "bridge", nowhere.str(), "create it first"}},
      {"no such host",
       [&] {
         auto p = port_on(blue, "p");
         p.set_host(nowhere.raw());
         p.set_interface("x");
         return p;
       }(),
       {"host", nowhere.str()}},
      {"no such peer",
       [&] {
         auto p = port_on(blue, "p");
         p.set_peer(nowhere.raw());
         return p;
       }(),
       {"peer", nowhere.str()}},
      {"host without interface",
       [&] {
         auto p = port_on(blue, "p");
         p.set_host(h1.id());
         return p;
       }(),
       {"interface", "required"}},
      {"a long interface",
       on_host(port_on(blue, "p"), h1, "a-name-of-16-chr"),
       {"interface", "15"}},
      {"a short id",
       [&] {
         auto p = port_on(blue, "p");
         p.set_id("short");
         return p;
       }(),
       {"id", "UUID"}},
      {"a short mac",
       [&] {
         auto p = port_on(blue, "p");
         p.set_mac("abc");
         return p;
       }(),
       {"mac"}},
      {"a group mac",
       [&] {
         auto p = port_on(blue, "p");
         p.set_mac(mac_raw("01:00:5e:00:00:01"));
         return p;
       }(),
       {"mac"}},
      {"a bad address",
       [&] {
         auto p = port_on(blue, "p");
         p.add_addresses("12345");
         return p;
       }(),
       {"addresses"}},
      {"a group address",
       [&] {
         auto p = port_on(blue, "p");
         p.add_addresses(ip_raw("224.0.0.1"));
         return p;
       }(),
       {"addresses", "224.0.0.1"}},
      {"an address twice",
       [&] {
         auto p = port_on(blue, "p");
         p.add_addresses(ip_raw("10.0.0.1"));
         p.add_addresses(ip_raw("10.0.0.1"));
         return p;
       }(),
       {"addresses", "twice"}},
      {"networks on a bridge port",
       [&] {
         auto p = port_on(blue, "p");
         p.add_networks(prefix_raw("10.0.0.1/24"));
         return p;
       }(),
       {"networks", "router"}},
      {"addresses on a router port",
       [&] {
         auto p = port_on(core, "p");
         p.add_addresses(ip_raw("10.0.0.1"));
         return p;
       }(),
       {"addresses", "bridge"}},
      {"a network's own address", port_on(core, "p", "10.0.0.0/24"), {"networks", "10.0.0.0/24"}},
      {"a broadcast address", port_on(core, "p", "10.0.0.255/24"), {"networks", "broadcast"}},
      {"a system field",
       [&] {
         auto p = port_on(blue, "p");
         p.set_min_reader(1);
         return p;
       }(),
       {"min_reader"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    expect_error(writer_->create(c.port), ErrorCode::invalid, c.says);
  }
  EXPECT_TRUE(writer_->list(*v1::Port::descriptor())->empty());

  v1::TunnelZone zone = named<v1::TunnelZone>("zone");
  expect_error(writer_->create(zone), ErrorCode::invalid, {"prefixes", "required"});
  zone.add_prefixes(prefix_raw("10.0.0.1/24"));
  expect_error(writer_->create(zone), ErrorCode::invalid, {"prefixes", "10.0.0.0/24"});
  zone.set_prefixes(0, prefix_raw("10.0.0.0/24"));
  zone.set_udp_port(70000);
  expect_error(writer_->create(zone), ErrorCode::invalid, {"udp_port", "65535"});
}

TEST_F(WriterTest, ImmutableFieldsStay) {
  const auto blue = bridge("blue"), green = bridge("green");
  auto port = create(port_on(blue, "p"));
  auto moved = port;
  moved.set_bridge(green.id());
  expect_error(writer_->update(moved), ErrorCode::invalid, {"bridge", "create it again"});
  // Left out, they stay as they are.
  auto partial = named<v1::Port>("q");
  partial.set_id(port.id());
  auto updated = update(partial);
  EXPECT_EQ(updated.name(), "q");
  EXPECT_EQ(updated.bridge(), blue.id());
}

TEST_F(WriterTest, RestrictNamesWhoRefers) {
  const auto blue = bridge("blue");
  std::vector<v1::Port> ports;
  for (const char* name : {"p1", "p2", "p3", "p4", "p5"})
    ports.push_back(create(port_on(blue, name)));
  auto done = writer_->remove(*v1::Bridge::descriptor(), *Uuid::from_bytes(blue.id()));
  expect_error(done, ErrorCode::in_use, {"bridge blue", "port p", "2 more"});
  for (const auto& port : ports) remove<v1::Port>(port.id());
  remove<v1::Bridge>(blue.id());
  // Nothing is left behind, neither indexes nor names.
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

TEST_F(WriterTest, CascadeTakesRoutesAlong) {
  const auto core = router("core");
  const auto port = create(port_on(core, "p", "10.0.0.1/24"));
  const auto r1 = create(route(core, port, "10.1.0.0/16")),
             r2 = create(route(core, port, "10.2.0.0/16"));
  v1::Route hole;
  hole.set_router(core.id());
  hole.set_destination(prefix_raw("10.3.0.0/16"));
  hole.set_kind(v1::BLACKHOLE);
  hole = create(hole);
  auto removed = writer_->remove(*v1::Port::descriptor(), *Uuid::from_bytes(port.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cascaded, 2u);
  EXPECT_FALSE(exists<v1::Route>(r1.id()) || exists<v1::Route>(r2.id()));
  EXPECT_TRUE(exists<v1::Route>(hole.id()));
  remove<v1::Router>(core.id());
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

TEST_F(WriterTest, CascadesOverMoreThanOneTransaction) {
  const auto core = router("core");
  const auto blue = bridge("blue");
  const auto inside = create(port_on(blue, "inside"));
  auto port = port_on(core, "p", "10.0.0.1/24");
  port.set_peer(inside.id());
  port = create(port);
  constexpr size_t kRoutes = 450;
  for (uint32_t i = 0; i < kRoutes; ++i) {
    v1::Route r = route(core, port, "10.1.0.0/16");
    r.set_destination(IpPrefix{IpAddr::v4(0x0b000000 + (i << 8)), 24}.raw());
    create(r);
  }
  auto removed = writer_->remove(*v1::Port::descriptor(), *Uuid::from_bytes(port.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cascaded, kRoutes);
  EXPECT_EQ(removed->cleared, 1u);
  EXPECT_FALSE(get<v1::Port>(inside.id()).has_peer());
  remove<v1::Router>(core.id());
}

TEST_F(WriterTest, RemovingAHostClearsItsPortsAndItsRecords) {
  const auto blue = bridge("blue");
  const auto h1 = host("h1"), h2 = host("h2");
  const auto vm1 = create(on_host(port_on(blue, "vm1"), h1, "tap1"));
  const auto vm2 = create(on_host(port_on(blue, "vm2"), h2, "tap1"));
  HostRecords records(*store_, HostId{*Uuid::from_bytes(h1.id())});
  ASSERT_TRUE(records.register_host({"h1", {*IpAddr::parse("192.0.2.1")}}).ok());
  const PortId vm1_id{*Uuid::from_bytes(vm1.id())};
  ASSERT_TRUE(records.publish(vm1_id).ok());
  auto removed = writer_->remove(*v1::Host::descriptor(), *Uuid::from_bytes(h1.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cleared, 1u);
  EXPECT_FALSE(get<v1::Port>(vm1.id()).has_host());
  EXPECT_TRUE(get<v1::Port>(vm2.id()).has_host());
  EXPECT_EQ(*store_->get(host_state_path(*Uuid::from_bytes(h1.id()))), std::nullopt);
  expect_error(records.publish(vm1_id), ErrorCode::conflict, {"vm1"});
}

TEST_F(WriterTest, AnInterfaceIsBoundOnce) {
  const auto blue = bridge("blue");
  const auto h1 = host("h1"), h2 = host("h2");
  create(on_host(port_on(blue, "vm1"), h1, "tap1"));
  expect_error(writer_->create(on_host(port_on(blue, "vm2"), h1, "tap1")), ErrorCode::exists,
               {"port vm2", "interface", "tap1", "port vm1"});
  auto vm2 = create(on_host(port_on(blue, "vm2"), h2, "tap1"));
  vm2.set_host(h1.id());
  expect_error(writer_->update(vm2), ErrorCode::exists, {"port vm1"});
}

TEST_F(WriterTest, MacsAndAddressesAreUniqueOnABridge) {
  const auto blue = bridge("blue"), green = bridge("green");
  auto vm1 = port_on(blue, "vm1");
  vm1.set_mac(mac_raw("02:00:00:00:00:01"));
  vm1.add_addresses(ip_raw("10.0.0.11"));
  vm1.add_addresses(ip_raw("fd00::11"));
  create(vm1);
  auto elsewhere = vm1;
  elsewhere.set_name("vm1-green");
  elsewhere.set_bridge(green.id());
  create(elsewhere);
  auto same_mac = port_on(blue, "vm2");
  same_mac.set_mac(vm1.mac());
  expect_error(writer_->create(same_mac), ErrorCode::exists,
               {"mac", "02:00:00:00:00:01", "port vm1"});
  auto same_address = port_on(blue, "vm2");
  same_address.add_addresses(ip_raw("fd00::11"));
  expect_error(writer_->create(same_address), ErrorCode::exists,
               {"addresses", "fd00::11", "port vm1"});

  // A router's foot on the bridge counts too, from the moment it is wired.
  const auto core = router("core");
  const auto in_blue = create(port_on(blue, "in-blue"));
  auto foot = create(port_on(core, "foot", "10.0.0.11/24"));
  foot.set_peer(in_blue.id());
  expect_error(writer_->update(foot), ErrorCode::exists, {"networks", "10.0.0.11", "port vm1"});
  foot.set_networks(0, prefix_raw("10.0.0.1/24"));
  foot = update(foot);
  auto gateway = port_on(blue, "vm3");
  gateway.add_addresses(ip_raw("10.0.0.1"));
  expect_error(writer_->create(gateway), ErrorCode::exists, {"10.0.0.1", "port foot"});
  gateway.clear_addresses();
  gateway.set_mac(foot.mac());
  expect_error(writer_->create(gateway), ErrorCode::exists, {"mac", "port foot"});
  foot.clear_peer();
  update(foot);
  create(gateway);
}

TEST_F(WriterTest, RouterPortsGetAMac) {
  const auto core = router("core");
  const auto port = create(port_on(core, "p"));
  const auto mac = MacAddr::from_bytes(port.mac());
  ASSERT_TRUE(mac);
  EXPECT_FALSE(mac->is_multicast());
  EXPECT_EQ(mac->bytes[0] & 2, 2);
  auto given = port_on(core, "q");
  given.set_mac(mac_raw("02:00:00:00:00:01"));
  EXPECT_EQ(create(given).mac(), given.mac());
  EXPECT_FALSE(create(port_on(bridge("blue"), "b")).has_mac());
}

TEST_F(WriterTest, LinksHaveTwoEnds) {
  const auto blue = bridge("blue"), green = bridge("green");
  const auto core = router("core");
  const auto a = create(port_on(blue, "a")), b = create(port_on(green, "b"));
  auto foot = port_on(core, "foot");
  foot.set_peer(a.id());
  foot = create(foot);
  EXPECT_EQ(get<v1::Port>(a.id()).peer(), foot.id());

  auto other = port_on(core, "other");
  other.set_peer(a.id());
  expect_error(writer_->create(other), ErrorCode::in_use, {"port other", "port a", "port foot"});
  auto self = port_on(core, "self");
  self.set_id(Uuid::random().raw());
  self.set_peer(self.id());
  expect_error(writer_->create(self), ErrorCode::invalid, {"peer", "itself"});
  auto neighbour = port_on(core, "neighbour");
  neighbour.set_peer(foot.id());
  expect_error(writer_->create(neighbour), ErrorCode::invalid, {"peer", "same device"});
  const auto vm = create(on_host(port_on(green, "vm"), host("h1"), "tap"));
  auto plugged = port_on(core, "plugged");
  plugged.set_peer(vm.id());
  expect_error(writer_->create(plugged), ErrorCode::invalid, {"port vm", "host"});
  // The far end may not become exterior either.
  auto exterior = get<v1::Port>(a.id());
  exterior.set_host(get<v1::Port>(vm.id()).host());
  exterior.set_interface("tap9");
  expect_error(writer_->update(exterior), ErrorCode::invalid, {"host and peer"});

  // Moved from a to b: a is free.
  foot.set_peer(b.id());
  update(foot);
  EXPECT_FALSE(get<v1::Port>(a.id()).has_peer());
  EXPECT_EQ(get<v1::Port>(b.id()).peer(), foot.id());
  // Cleared at one end, removed at one end.
  auto end = get<v1::Port>(b.id());
  end.clear_peer();
  update(end);
  EXPECT_FALSE(get<v1::Port>(foot.id()).has_peer());
  foot = get<v1::Port>(foot.id());
  foot.set_peer(a.id());
  update(foot);
  remove<v1::Port>(foot.id());
  EXPECT_FALSE(get<v1::Port>(a.id()).has_peer());
}

TEST_F(WriterTest, NetworksOfARouterDoNotOverlap) {
  const auto core = router("core"), edge = router("edge");
  auto p1 = create(port_on(core, "p1", "10.0.0.1/16"));
  expect_error(writer_->create(port_on(core, "p2", "10.0.5.1/24")), ErrorCode::exists,
               {"port p2", "10.0.5.1/24", "10.0.0.0/16", "port p1"});
  create(port_on(edge, "p3", "10.0.5.1/24"));
  auto p2 = create(port_on(core, "p2", "10.1.0.1/24"));
  p2.add_networks(prefix_raw("10.1.0.2/24"));  // a second address in its own network
  p2.add_networks(prefix_raw("fd00::1/64"));
  p2.add_networks(prefix_raw("fe80::1/64"));
  p2 = update(p2);
  p1.add_networks(prefix_raw("fe80::2/64"));  // every interface has that one
  p1 = update(p1);
  p1.add_networks(prefix_raw("fd00::2/64"));
  expect_error(writer_->update(p1), ErrorCode::exists, {"fd00::2/64", "port p2"});
  // A network that was given up is free.
  remove<v1::Port>(p2.id());
  update(p1);
}

TEST_F(WriterTest, RoutesMustBePossible) {
  const auto core = router("core"), edge = router("edge");
  auto p1 = create(port_on(core, "p1", "10.0.0.1/24"));
  const auto p2 = create(port_on(edge, "p2", "10.0.1.1/24"));
  const auto on_bridge = create(port_on(bridge("blue"), "b"));
  const auto kind = [](v1::Route r, v1::RouteKind k) {
    r.set_kind(k);
    return r;
  };
  const struct {
    const char* what;
    v1::Route route;
    std::vector<std::string> says;
  } cases[] = {
      {"a port of another router", route(core, p2, "10.9.0.0/16"), {"port", "port p2"}},
      {"a bridge's port", route(core, on_bridge, "10.9.0.0/16"), {"port", "port b"}},
      {"a next hop elsewhere",
       route(core, p1, "10.9.0.0/16", "10.0.1.5"),
       {"next_hop", "10.0.1.5", "port p1"}},
      {"itself as next hop", route(core, p1, "10.9.0.0/16", "10.0.0.1"), {"next_hop", "itself"}},
      {"another family", route(core, p1, "fd09::/16", "10.0.0.5"), {"next_hop", "family"}},
      {"host bits", route(core, p1, "10.9.0.1/16"), {"destination", "10.9.0.0/16"}},
      {"a hole with a port",
       kind(route(core, p1, "10.9.0.0/16"), v1::BLACKHOLE),
       {"port", "no sense"}},
      {"a source of another family",
       [&] {
         auto r = route(core, p1, "10.9.0.0/16");
         r.set_source(prefix_raw("fd00::/64"));
         return r;
       }(),
       {"source", "fd00::/64", "family"}},
      {"no weight",
       [&] {
         auto r = route(core, p1, "10.9.0.0/16");
         r.set_weight(0);
         return r;
       }(),
       {"weight"}},
      {"a weighty hole",
       [&] {
         auto r = kind(route(core, p1, "10.9.0.0/16"), v1::BLACKHOLE);
         r.clear_port();
         r.set_weight(2);
         return r;
       }(),
       {"weight", "no sense"}},
      {"no port",
       [&] {
         auto r = route(core, p1, "10.9.0.0/16");
         r.clear_port();
         return r;
       }(),
       {"port", "required"}},
      {"an unknown kind",
       kind(route(core, p1, "10.9.0.0/16"), static_cast<v1::RouteKind>(9)),
       {"kind", "9"}},
      {"kind zero",
       kind(route(core, p1, "10.9.0.0/16"), v1::ROUTE_KIND_UNSPECIFIED),
       {"kind", "0"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    expect_error(writer_->create(c.route), ErrorCode::invalid, c.says);
  }
  auto good = route(core, p1, "10.9.0.0/16", "10.0.0.5");
  good.set_name("good");
  create(good);
  // The port cannot take the next hop's network away.
  p1.set_networks(0, prefix_raw("10.0.7.1/24"));
  expect_error(writer_->update(p1), ErrorCode::in_use, {"port p1", "route good", "10.0.0.5"});
  p1.add_networks(prefix_raw("10.0.0.1/28"));
  update(p1);
}

TEST_F(WriterTest, WhatOnlyRouterPortsHave) {
  const auto core = router("core");
  auto on_bridge = port_on(bridge("blue"), "b");
  on_bridge.set_mtu(1400);
  expect_error(writer_->create(on_bridge), ErrorCode::invalid, {"mtu", "router ports"});
  on_bridge.clear_mtu();
  on_bridge.set_advertise(false);
  expect_error(writer_->create(on_bridge), ErrorCode::invalid, {"advertise", "router ports"});

  auto port = port_on(core, "p", "10.0.0.1/24");
  port.set_mtu(575);
  expect_error(writer_->create(port), ErrorCode::invalid, {"mtu", "576"});
  port.set_mtu(600);
  port.set_advertise(true);
  expect_error(writer_->create(port), ErrorCode::invalid, {"advertise", "IPv6 network"});
  port.clear_advertise();
  port = create(port);
  port.add_networks(prefix_raw("fd00::1/64"));
  expect_error(writer_->update(port), ErrorCode::invalid, {"mtu", "1280"});
  port.set_mtu(1280);
  port.set_advertise(true);
  port.set_advertise_lifetime(9001);
  expect_error(writer_->update(port), ErrorCode::invalid, {"advertise_lifetime", "9000"});
  port.set_advertise_lifetime(0);
  update(port);
}

TEST_F(WriterTest, FieldsOfANewerSchemaSurvive) {
  auto blue = bridge("blue");
  // A newer program adds field 999.
  const std::string path = object_path("bridge", *Uuid::from_bytes(blue.id()));
  auto record = store_->get(path);
  blue.GetReflection()->MutableUnknownFields(&blue)->AddVarint(999, 42);
  ASSERT_TRUE(store_->transact({Set{path, blue.SerializeAsString(), (*record)->version}}).ok());

  v1::Bridge ours;  // as a client that never saw the field sends it
  ours.set_id(blue.id());
  ours.set_name("azure");
  update(ours);
  const auto stored = get<v1::Bridge>(blue.id());
  EXPECT_EQ(stored.name(), "azure");
  ASSERT_EQ(stored.GetReflection()->GetUnknownFields(stored).field_count(), 1);
  EXPECT_EQ(stored.GetReflection()->GetUnknownFields(stored).field(0).varint(), 42u);
  // Creating with unknown fields would store what nobody here can check.
  auto fresh = named<v1::Bridge>("fresh");
  fresh.GetReflection()->MutableUnknownFields(&fresh)->AddVarint(999, 42);
  expect_error(writer_->create(fresh), ErrorCode::unsupported, {"does not know"});
}

TEST_F(WriterTest, RecordsOfANewerSchemaAreNotWrittenOver) {
  auto blue = bridge("blue");
  const auto core = router("core");
  auto port = create(port_on(blue, "p"));
  const std::string path = object_path("port", *Uuid::from_bytes(port.id()));
  auto record = store_->get(path);
  auto newer = port;
  newer.set_min_reader(kSchemaLevel + 1);
  ASSERT_TRUE(store_->transact({Set{path, newer.SerializeAsString(), (*record)->version}}).ok());
  port.set_admin_up(false);
  expect_error(writer_->update(port), ErrorCode::unsupported, {"port p", "level 2"});
  expect_error(writer_->remove(*v1::Port::descriptor(), *Uuid::from_bytes(port.id())),
               ErrorCode::unsupported, {"port p"});
  auto foot = port_on(core, "foot");
  foot.set_peer(port.id());
  expect_error(writer_->create(foot), ErrorCode::unsupported, {"port p"});
}

TEST_F(WriterTest, ModifyRepeatsOnAFreshMessage) {
  const auto blue = bridge("blue");
  int calls = 0;
  auto done = writer_->modify(*v1::Bridge::descriptor(), *Uuid::from_bytes(blue.id()),
                              [&](google::protobuf::Message& message) -> Result<void> {
                                if (++calls == 1) {
                                  // Somebody else is faster.
                                  auto other = get<v1::Bridge>(blue.id());
                                  other.set_admin_up(false);
                                  update(other);
                                }
                                static_cast<v1::Bridge&>(message).set_name("azure");
                                return Ok{};
                              });
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(calls, 2);
  const auto stored = get<v1::Bridge>(blue.id());
  EXPECT_EQ(stored.name(), "azure");
  EXPECT_TRUE(stored.has_admin_up() && !stored.admin_up());
}

TEST_F(WriterTest, BucketsSplitAndStillHoldEverybody) {
  const auto blue = bridge("blue");
  std::vector<v1::Port> ports;
  for (int i = 0; i < 600; ++i)
    ports.push_back(create(port_on(blue, ("p" + std::to_string(i)).c_str())));
  auto head = store_->get(
      index_head_path(index_path("bridge", *Uuid::from_bytes(blue.id()), "port.bridge")));
  ASSERT_TRUE(head.ok() && *head);
  v1::IndexHead depth;
  ASSERT_TRUE(depth.ParseFromString((*head)->value));
  EXPECT_GE(depth.depth(), 2u);
  expect_error(writer_->remove(*v1::Bridge::descriptor(), *Uuid::from_bytes(blue.id())),
               ErrorCode::in_use, {"597 more"});
  auto report = check_store(*store_);
  EXPECT_TRUE(report->problems.empty());
  for (const auto& port : ports) remove<v1::Port>(port.id());
  remove<v1::Bridge>(blue.id());
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

}  // namespace
}  // namespace plexus::store
