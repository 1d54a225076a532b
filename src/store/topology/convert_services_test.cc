// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "store/topology/convert.h"

namespace plexus::store {
namespace {

std::string ip(const char* text) {
  return IpAddr::parse(text)->raw();
}
std::string network(const char* text) {
  return IpPrefix::parse(text)->raw();
}
std::string id(const char* name) {
  return Uuid::derived("x", name).raw();
}
template <typename M>
M with_id() {
  M m;
  m.set_id(id("self"));
  return m;
}

/// A value that no schema of today has makes the record unreadable.
template <typename M>
void expect_newer_is_unreadable(M record) {
  EXPECT_FALSE(to_model(record).unreadable);
  record.set_min_reader(1000);
  EXPECT_TRUE(to_model(record).unreadable);
  record.clear_min_reader();
  record.GetReflection()->MutableUnknownFields(&record)->AddVarint(900, 1);
  EXPECT_TRUE(to_model(record).unreadable);
}

TEST(ConvertServices, FloatingAddresses) {
  auto f = with_id<v1::FloatingIp>();
  f.set_router(id("router"));
  f.set_address(ip("192.0.2.1"));
  EXPECT_FALSE(to_model(f).inside);
  f.set_inside(ip("10.0.0.1"));
  f.set_admin_up(false);
  const auto model = to_model(f);
  EXPECT_EQ(model.inside, *IpAddr::parse("10.0.0.1"));
  EXPECT_EQ(model.router.uuid.raw(), id("router"));
  EXPECT_FALSE(model.admin_up);
  expect_newer_is_unreadable(f);
  f.set_inside(ip("fd00::1"));
  EXPECT_TRUE(to_model(f).unreadable);
}

TEST(ConvertServices, PoolsOfSourceAddresses) {
  auto p = with_id<v1::SnatPool>();
  p.set_router(id("router"));
  p.add_addresses(ip("192.0.2.9"));
  p.add_addresses(ip("192.0.2.1"));
  EXPECT_EQ(to_model(p).ports, (model::PortRange{1024, 65535}));
  EXPECT_EQ(to_model(p).addresses.front(), *IpAddr::parse("192.0.2.1")) << "sorted";
  expect_newer_is_unreadable(p);
  p.set_ports(std::string("\x10\x00\x1f\xff", 4));
  EXPECT_EQ(to_model(p).ports, (model::PortRange{0x1000, 0x1fff}));
  p.set_ports("x");
  EXPECT_TRUE(to_model(p).unreadable);
}

TEST(ConvertServices, LoadBalancers) {
  auto b = with_id<v1::LoadBalancer>();
  b.set_router(id("router"));
  expect_newer_is_unreadable(b);
  auto v = with_id<v1::Vip>();
  v.set_load_balancer(id("balancer"));
  v.set_address(ip("2001:db8::1"));
  v.set_protocol("\x11");
  v.set_port(53);
  v.set_pool(id("pool"));
  EXPECT_FALSE(to_model(v).by_source_address);
  v.set_persistence(v1::Vip::SOURCE_ADDRESS);
  const auto model = to_model(v);
  EXPECT_EQ(model.protocol, 17);
  EXPECT_EQ(model.port, 53);
  EXPECT_EQ(model.pool.uuid.raw(), id("pool"));
  EXPECT_TRUE(model.by_source_address);
  expect_newer_is_unreadable(v);
  v.set_persistence(static_cast<v1::Vip::Persistence>(77));
  EXPECT_TRUE(to_model(v).unreadable);
  auto p = with_id<v1::Pool>();
  p.set_load_balancer(id("balancer"));
  expect_newer_is_unreadable(p);
  auto m = with_id<v1::PoolMember>();
  m.set_pool(id("pool"));
  m.set_address(ip("10.0.0.1"));
  EXPECT_EQ(to_model(m).port, 0);
  EXPECT_EQ(to_model(m).weight, 1u);
  expect_newer_is_unreadable(m);
  m.set_port(8080);
  m.set_weight(0);
  m.set_backup(true);
  EXPECT_EQ(to_model(m).port, 8080);
  EXPECT_EQ(to_model(m).weight, 0u);
  EXPECT_TRUE(to_model(m).backup);
  EXPECT_TRUE(to_model(m).up) << "nobody watches it";
  m.set_status(v1::PoolMember::DOWN);
  EXPECT_FALSE(to_model(m).up);
  EXPECT_TRUE(to_model(m).admin_up);
  m.set_status(v1::PoolMember::UP);
  EXPECT_TRUE(to_model(m).up);
  m.set_status(static_cast<v1::PoolMember::Status>(77));
  EXPECT_TRUE(to_model(m).unreadable);
  m.clear_status();
  m.set_port(70000);
  EXPECT_TRUE(to_model(m).unreadable);
}

TEST(ConvertServices, DhcpSubnets) {
  auto s = with_id<v1::DhcpSubnet>();
  s.set_bridge(id("bridge"));
  s.set_network(network("10.0.0.0/24"));
  EXPECT_EQ(to_model(s).lease_time, 86400u);
  s.set_gateway(ip("10.0.0.1"));
  s.add_dns_servers(ip("192.0.2.2"));
  s.add_dns_servers(ip("192.0.2.1"));
  s.add_routes(network("10.8.0.0/16") + ip("10.0.0.2"));
  s.add_options(std::string("\x00\x42hi", 4));
  s.set_domain("example.net");
  s.set_mtu(1400);
  const auto model = to_model(s);
  EXPECT_EQ(model.dns_servers.front(), *IpAddr::parse("192.0.2.2")) << "their order counts";
  ASSERT_EQ(model.routes.size(), 1u);
  EXPECT_EQ(model.routes[0].first, *IpPrefix::parse("10.8.0.0/16"));
  ASSERT_EQ(model.options.size(), 1u);
  EXPECT_EQ(model.options[0], (model::DhcpOption{66, {'h', 'i'}}));
  EXPECT_EQ(model.domain, "example.net");
  EXPECT_EQ(model.mtu, 1400);
  expect_newer_is_unreadable(s);
  for (const auto& edit : std::vector<void (*)(v1::DhcpSubnet&)>{
           [](auto& m) { m.set_gateway(ip("fd00::1")); },
           [](auto& m) { m.add_routes(network("fd00::/64") + ip("fd00::1")); },
           [](auto& m) { m.add_routes("x"); }, [](auto& m) { m.add_options("x"); },
           [](auto& m) { m.set_domain("A"); }, [](auto& m) { m.set_network("x"); }}) {
    auto broken = s;
    edit(broken);
    EXPECT_TRUE(to_model(broken).unreadable) << broken.DebugString();
  }
}

TEST(ConvertServices, Mirrors) {
  auto m = with_id<v1::Mirror>();
  m.set_port(id("port"));
  m.set_at_bridge(id("bridge"));
  m.set_which(v1::Mirror::OUT);
  m.set_to_port(id("to"));
  const auto model = to_model(m);
  EXPECT_EQ(std::get<PortId>(model.at).uuid.raw(), id("port"));
  EXPECT_FALSE(model.in);
  EXPECT_TRUE(model.out);
  expect_newer_is_unreadable(m);
  m.set_bridge(id("bridge"));
  EXPECT_TRUE(to_model(m).unreadable) << "of two places one is meant, or both";
}

TEST(ConvertServices, TraceRequests) {
  auto r = with_id<v1::TraceRequest>();
  r.set_name("why");
  r.set_port(id("port"));
  EXPECT_EQ(to_model(r).limit, 10u) << "unless it says otherwise";
  EXPECT_TRUE(to_model(r).admin_up);
  EXPECT_EQ(to_model(r).match, model::Rule{}) << "every packet";
  r.set_limit(3);
  r.set_admin_up(false);
  r.set_ethertype(std::string("\x08\0", 2));
  r.set_src_mac(std::string("\2\0\0\0\0\1\xff\xff\xff\xff\xff\xff", 12));
  r.set_source(network("10.0.0.0/8"));
  r.set_destination(network("10.1.0.0/16"));
  r.set_protocol(std::string("\6", 1));
  r.add_source_ports(std::string("\0\1\0\2", 4));
  r.add_destination_ports(std::string("\0\x50\0\x50", 4));
  const auto request = to_model(r);
  EXPECT_FALSE(request.unreadable);
  EXPECT_EQ(request.name, "why");
  EXPECT_EQ(std::get<PortId>(request.at).uuid.raw(), id("port"));
  EXPECT_EQ(request.limit, 3u);
  EXPECT_FALSE(request.admin_up);
  EXPECT_EQ(request.match.ethertype, 0x0800);
  EXPECT_EQ(request.match.src_mac->mac.str(), "02:00:00:00:00:01");
  EXPECT_EQ(request.match.source->str(), "10.0.0.0/8");
  EXPECT_EQ(request.match.destination->str(), "10.1.0.0/16");
  EXPECT_EQ(request.match.protocol, 6);
  EXPECT_EQ(request.match.source_ports, (std::vector<model::PortRange>{{1, 2}}));
  EXPECT_EQ(request.match.destination_ports, (std::vector<model::PortRange>{{80, 80}}));
  expect_newer_is_unreadable(r);
  r.set_router(id("router"));
  EXPECT_TRUE(to_model(r).unreadable) << "one place";
}

TEST(ConvertServices, PortsBridgesRoutersAndGroups) {
  auto p = with_id<v1::Port>();
  p.set_bridge(id("bridge"));
  p.set_parent(id("parent"));
  p.set_vlan(7);
  p.set_dscp(46);
  p.set_storm_limit(9);
  p.add_dhcp_options(std::string("\x00\x42hi", 4));
  const auto port = to_model(p);
  EXPECT_EQ(port.parent->uuid.raw(), id("parent"));
  EXPECT_EQ(port.vlan, 7);
  EXPECT_EQ(port.dscp, 46);
  EXPECT_EQ(port.storm_limit, 9u);
  EXPECT_EQ(port.dhcp_options.size(), 1u);
  expect_newer_is_unreadable(p);
  p.set_peer(id("peer"));
  EXPECT_TRUE(to_model(p).unreadable) << "one way to be plugged in";
  p.clear_peer();
  p.clear_vlan();
  EXPECT_TRUE(to_model(p).unreadable) << "a sub-port without a tag would be all of its parent";
  auto r = with_id<v1::Port>();
  r.set_router(id("router"));
  r.set_outside(true);
  EXPECT_TRUE(to_model(r).outside);
  auto bridge = with_id<v1::Bridge>();
  bridge.set_dscp(0);
  bridge.set_storm_limit(100);
  bridge.set_forward_lldp(true);
  EXPECT_EQ(to_model(bridge).dscp, 0);
  EXPECT_EQ(to_model(bridge).storm_limit, 100u);
  EXPECT_TRUE(to_model(bridge).forward_lldp);
  EXPECT_FALSE(to_model(bridge).forward_bpdu);
  auto router = with_id<v1::Router>();
  router.set_drop_fragments(true);
  EXPECT_TRUE(to_model(router).drop_fragments);
  auto group = with_id<v1::SecurityGroup>();
  EXPECT_TRUE(to_model(group).stateful) << "unless it says otherwise";
  group.set_stateful(false);
  EXPECT_FALSE(to_model(group).stateful);
}

TEST(ConvertServices, RulesWithAllThatIsNew) {
  using C = model::Condition;
  auto r = with_id<v1::Rule>();
  r.set_chain(id("chain"));
  r.set_action(v1::Rule::DNAT);
  r.set_to_addresses(network("10.0.0.0/24"));
  r.set_to_ports(std::string("\x00\x50\x00\x59", 4));
  r.add_connection(v1::Rule::NEW);
  r.add_connection(v1::Rule::UNTRACKED);
  r.set_inner_source(network("10.0.0.0/8"));
  r.set_inner_destination(network("10.1.0.0/16"));
  r.set_vlan(0);
  r.set_through_bridge(id("bridge"));
  r.set_through_router(id("router"));
  r.set_log(true);
  r.add_inverted(v1::Rule::CONNECTION);
  r.add_inverted(v1::Rule::THROUGH_ROUTER);
  const auto rule = to_model(r);
  EXPECT_FALSE(rule.unreadable);
  EXPECT_EQ(rule.action, model::RuleAction::dnat);
  EXPECT_EQ(rule.to_addresses, *IpPrefix::parse("10.0.0.0/24"));
  EXPECT_EQ(rule.to_ports, (model::PortRange{80, 89}));
  EXPECT_EQ(rule.connection, 0b10001);
  EXPECT_EQ(rule.inner_destination, *IpPrefix::parse("10.1.0.0/16"));
  EXPECT_EQ(rule.vlan, 0);
  EXPECT_EQ(rule.through_bridge->uuid.raw(), id("bridge"));
  EXPECT_EQ(rule.through_router->uuid.raw(), id("router"));
  EXPECT_TRUE(rule.log);
  EXPECT_TRUE(rule.is_inverted(C::connection) && rule.is_inverted(C::through_router));
  EXPECT_FALSE(rule.is_inverted(C::vlan));
  expect_newer_is_unreadable(r);

  struct Case {
    v1::Rule::Action action;
    void (*edit)(v1::Rule&);
    bool readable;
  };
  for (const Case& c : std::vector<Case>{
           {v1::Rule::SNAT, [](auto& m) { m.set_snat_pool(id("pool")); }, true},
           {v1::Rule::SNAT, [](auto&) {}, false},
           {v1::Rule::DNAT, [](auto&) {}, false},
           {v1::Rule::MARK, [](auto& m) { m.set_set_dscp(0); }, true},
           {v1::Rule::MARK, [](auto&) {}, false},
           {v1::Rule::REDIRECT, [](auto& m) { m.set_redirect_port(id("port")); }, true},
           {v1::Rule::REDIRECT, [](auto&) {}, false},
           {v1::Rule::ACCEPT, [](auto& m) { m.set_set_dscp(1); }, false},
           {v1::Rule::ACCEPT, [](auto& m) { m.set_to_ports(std::string("\0\1\0\1", 4)); }, false},
           {v1::Rule::ACCEPT, [](auto& m) { m.set_vlan(4095); }, false},
           {v1::Rule::ACCEPT,
            [](auto& m) { m.add_connection(static_cast<v1::Rule::Connection>(99)); }, false},
           {static_cast<v1::Rule::Action>(11), [](auto&) {}, false},
       }) {
    auto other = with_id<v1::Rule>();
    other.set_chain(id("chain"));
    other.set_action(c.action);
    c.edit(other);
    EXPECT_EQ(to_model(other).unreadable, !c.readable) << other.DebugString();
  }
}

}  // namespace
}  // namespace plexus::store
