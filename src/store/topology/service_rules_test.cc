// SPDX-License-Identifier: Apache-2.0
#include "store/topology/service_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kTcp = "\x06", kUdp = "\x11", kIcmp = "\x01";

std::string ports_raw(uint16_t first, uint16_t last) {
  return {static_cast<char>(first >> 8), static_cast<char>(first), static_cast<char>(last >> 8),
          static_cast<char>(last)};
}
std::string via_raw(const char* network, const char* hop) {
  return prefix_raw(network) + ip_raw(hop);
}
std::string option_raw(uint16_t code) {
  return {static_cast<char>(code >> 8), static_cast<char>(code), 'x'};
}

class ServiceRulesTest : public TopologyTest {
 protected:
  ServiceRulesTest()
      : blue_(bridge("blue")),
        edge_(router("edge")),
        balancer_(create(balancer_at(edge_, "web"))),
        pool_(create(pool_of(balancer_, "servers"))),
        vm_(create(port_on(blue_, "vm"))) {}

  static v1::LoadBalancer balancer_at(const v1::Router& router, const char* name) {
    return made<v1::LoadBalancer>(name, [&](auto& b) { b.set_router(router.id()); });
  }
  static v1::Pool pool_of(const v1::LoadBalancer& balancer, const char* name) {
    return made<v1::Pool>(name, [&](auto& p) { p.set_load_balancer(balancer.id()); });
  }
  v1::FloatingIp floating(const char* address, const char* inside = nullptr) {
    v1::FloatingIp f;
    f.set_router(edge_.id());
    f.set_address(ip_raw(address));
    if (inside != nullptr) f.set_inside(ip_raw(inside));
    return f;
  }
  v1::SnatPool snat_pool(const char* name, const char* address) {
    return made<v1::SnatPool>(name, [&](auto& p) {
      p.set_router(edge_.id());
      p.add_addresses(ip_raw(address));
    });
  }
  v1::Vip vip(const char* name, const char* address, uint32_t port = 80) {
    return made<v1::Vip>(name, [&](auto& v) {
      v.set_load_balancer(balancer_.id());
      v.set_pool(pool_.id());
      v.set_address(ip_raw(address));
      v.set_protocol(kTcp);
      v.set_port(port);
    });
  }
  v1::PoolMember member(const char* address) {
    v1::PoolMember m;
    m.set_pool(pool_.id());
    m.set_address(ip_raw(address));
    return m;
  }
  v1::DhcpSubnet subnet(const char* name, const char* network) {
    return made<v1::DhcpSubnet>(name, [&](auto& s) {
      s.set_bridge(blue_.id());
      s.set_network(prefix_raw(network));
    });
  }
  v1::Mirror mirror(const char* name, const v1::Port& to) {
    return made<v1::Mirror>(name, [&](auto& m) {
      m.set_which(v1::Mirror::BOTH);
      m.set_to_port(to.id());
    });
  }
  v1::Port sub_port(const char* name, const v1::Port& parent, uint32_t vlan) {
    auto port = port_on(blue_, name);
    port.set_parent(parent.id());
    port.set_vlan(vlan);
    return port;
  }
  template <typename M>
  std::string change(M message, const std::function<void(M&)>& edit) {
    edit(message);
    auto done = writer_->update(message);
    return done.ok() ? "" : done.error().message;
  }

  v1::Bridge blue_;
  v1::Router edge_;
  v1::LoadBalancer balancer_;
  v1::Pool pool_;
  v1::Port vm_;
};

TEST_F(ServiceRulesTest, FloatingAddresses) {
  EXPECT_THAT(refusal(floating("0.0.0.0")), HasSubstr("is no address of an interface"));
  EXPECT_THAT(refusal(floating("192.0.2.1", "fd00::1")),
              HasSubstr("inside: fd00::1 is not of the family"));
  EXPECT_THAT(refusal(floating("192.0.2.1", "224.0.0.1")), HasSubstr("group address"));
  EXPECT_THAT(refusal(floating("192.0.2.1", "192.0.2.1")), HasSubstr("nothing to translate"));
  const auto first = create(floating("192.0.2.1", "10.0.0.1"));
  EXPECT_THAT(refusal(floating("192.0.2.1")),
              HasSubstr("belongs to floating-ip " + Uuid::from_bytes(first.id())->str()));
  EXPECT_THAT(refusal(floating("192.0.2.2", "10.0.0.1")), HasSubstr("inside: "));
  // Without an inside it is kept for later; another router has addresses of its own.
  EXPECT_THAT(refusal(floating("192.0.2.2")), IsEmpty());
  auto elsewhere = floating("192.0.2.1", "10.0.0.1");
  elsewhere.set_router(router("other").id());
  EXPECT_THAT(refusal(elsewhere), IsEmpty());
  remove<v1::FloatingIp>(first.id());
  EXPECT_THAT(refusal(floating("192.0.2.1", "10.0.0.1")), IsEmpty());
}

TEST_F(ServiceRulesTest, PoolsOfSourceAddresses) {
  auto pool = snat_pool("out", "192.0.2.9");
  pool.set_ports(ports_raw(0, 1000));
  EXPECT_THAT(refusal(pool), HasSubstr("no port 0"));
  pool.set_ports(ports_raw(1024, 1024 + 126));
  EXPECT_THAT(refusal(pool), HasSubstr("at least 128"));
  pool.set_ports(ports_raw(1024, 1024 + 127));
  EXPECT_THAT(refusal(pool), IsEmpty());
  EXPECT_THAT(refusal(snat_pool("twice", "192.0.2.9")), HasSubstr("snat-pool out"));
  EXPECT_THAT(refusal(snat_pool("group", "ff02::1")), HasSubstr("group address"));
  auto none = snat_pool("none", "192.0.2.10");
  none.clear_addresses();
  EXPECT_THAT(refusal(none), HasSubstr("addresses: is required"));
}

TEST_F(ServiceRulesTest, VirtualAddressesAndTheirPools) {
  auto wrong = vip("web", "192.0.2.1");
  wrong.set_protocol(kIcmp);
  EXPECT_THAT(refusal(wrong), HasSubstr("protocol: has no ports"));
  auto other = create(balancer_at(edge_, "other"));
  wrong = vip("web", "192.0.2.1");
  wrong.set_pool(create(pool_of(other, "theirs")).id());
  EXPECT_THAT(refusal(wrong), HasSubstr("belongs to another load balancer"));
  create(vip("web", "192.0.2.1"));
  // Of one router, not of one load balancer only.
  wrong = vip("again", "192.0.2.1");
  wrong.set_load_balancer(other.id());
  wrong.set_pool(create(pool_of(other, "theirs-too")).id());
  EXPECT_THAT(refusal(wrong), HasSubstr("port 80 of 192.0.2.1 at this router belongs to vip web"));
  auto udp = vip("udp", "192.0.2.1");
  udp.set_protocol(kUdp);
  EXPECT_THAT(refusal(udp), IsEmpty());
  EXPECT_THAT(refusal(vip("https", "192.0.2.1", 443)), IsEmpty());
}

TEST_F(ServiceRulesTest, APoolIsOfOneFamily) {
  EXPECT_THAT(refusal(member("10.0.0.1")), IsEmpty());
  EXPECT_THAT(refusal(member("10.0.0.1")), HasSubstr("in this pool belongs to pool-member"));
  EXPECT_THAT(refusal(vip("v6", "2001:db8::1")),
              HasSubstr("has the member 10.0.0.1, which is not of the family"));
  const auto v4 = create(vip("v4", "192.0.2.1"));
  EXPECT_THAT(refusal(member("fd00::1")), HasSubstr("a pool of its own for each family"));
  // The pool of a virtual address cannot go; its members go with it.
  auto removed = writer_->remove(*v1::Pool::descriptor(), *Uuid::from_bytes(pool_.id()));
  ASSERT_FALSE(removed.ok());
  EXPECT_EQ(removed.error().code, ErrorCode::in_use);
  remove<v1::Vip>(v4.id());
  remove<v1::Pool>(pool_.id());
  EXPECT_THAT(*writer_->list(*v1::PoolMember::descriptor()), IsEmpty());
}

TEST_F(ServiceRulesTest, AddressesThatNoPacketCanGoTo) {
  for (const char* wrong : {"255.255.255.255", "0.1.2.3", "fe80::80"}) {
    EXPECT_THAT(refusal(vip("v", wrong)), HasSubstr(std::string("address: ") + wrong + " is "));
    EXPECT_THAT(refusal(member(wrong)), HasSubstr(std::string("address: ") + wrong + " is "));
    EXPECT_THAT(refusal(floating(wrong)), HasSubstr(std::string("address: ") + wrong + " is "));
    EXPECT_THAT(refusal(snat_pool("p", wrong)),
                HasSubstr(std::string("addresses: ") + wrong + " is "));
  }
  // Routers forward it; clouds have services there.
  EXPECT_THAT(refusal(vip("metadata", "169.254.169.254")), IsEmpty());
}

TEST_F(ServiceRulesTest, ARouterSendsNothingToItself) {
  const auto other = create(balancer_at(edge_, "other"));
  const auto others = create(pool_of(other, "theirs"));
  const auto first = create(vip("web", "192.0.2.80"));
  EXPECT_THAT(refusal(member("192.0.2.80")), HasSubstr("is a virtual address of the same router"));
  auto there = member("192.0.2.80");
  there.set_pool(others.id());
  EXPECT_THAT(refusal(there), HasSubstr("is a virtual address of the same router"));
  auto served = create(member("10.0.0.1"));
  EXPECT_THAT(change(served, std::function<void(v1::PoolMember&)>(
                                 [](auto& m) { m.set_address(ip_raw("192.0.2.80")); })),
              HasSubstr("is a virtual address of the same router"));
  EXPECT_THAT(refusal(vip("inside", "10.0.0.1", 443)), HasSubstr("is the address of pool-member"));
  auto theirs = vip("theirs", "10.0.0.1");
  theirs.set_load_balancer(other.id());
  theirs.set_pool(others.id());
  EXPECT_THAT(refusal(theirs), HasSubstr("is the address of pool-member"));
  // At another router it is an address like any other: load balancers in a row.
  const auto inner = create(balancer_at(router("inner"), "inner"));
  theirs.set_load_balancer(inner.id());
  theirs.set_pool(create(pool_of(inner, "machines")).id());
  EXPECT_THAT(refusal(theirs), IsEmpty());
  remove<v1::Vip>(first.id());
  EXPECT_THAT(refusal(member("192.0.2.80")), IsEmpty());
}

/// In a batch the one may come before the other that says no.
TEST_F(ServiceRulesTest, OneBatchIsLookedAtAsAWhole) {
  const auto together = [&](const std::vector<const google::protobuf::Message*>& messages) {
    std::vector<Operation> operations(messages.size());
    for (size_t i = 0; i < messages.size(); ++i) {
      operations[i].resource.reset(messages[i]->New());
      operations[i].resource->CopyFrom(*messages[i]);
    }
    auto done = writer_->batch(operations);
    return done.ok() ? "" : done.error().message;
  };
  const auto v6_member = member("fd00::1");
  const auto v4 = vip("v4", "192.0.2.1");
  EXPECT_THAT(together({&v6_member, &v4}), HasSubstr("family"));
  const auto itself = member("192.0.2.1");
  EXPECT_THAT(together({&itself, &v4}), HasSubstr("sends no packets to itself"));
  auto tap = port_on(edge_, "tap");
  tap.set_id(Uuid::random().raw());
  const auto sub = sub_port("sub", tap, 7);
  EXPECT_THAT(together({&sub, &tap}), HasSubstr("is a router's port"));
  tap = port_on(blue_, "tap");
  tap.set_id(Uuid::random().raw());
  const auto on_tap = sub_port("sub", tap, 7);
  auto wired = port_on(edge_, "wired");
  wired.set_peer(tap.id());
  EXPECT_THAT(together({&on_tap, &tap, &wired}), HasSubstr("tap"));
  auto at_tap = mirror("m", vm_);
  at_tap.set_id(Uuid::random().raw());
  at_tap.set_port(tap.id());
  EXPECT_THAT(together({&at_tap, &on_tap, &tap}), IsEmpty());
  EXPECT_EQ(get<v1::Mirror>(at_tap.id()).at_bridge(), blue_.id());
}

TEST_F(ServiceRulesTest, DhcpSubnets) {
  struct Case {
    const char* network;
    std::function<void(v1::DhcpSubnet&)> edit;
    std::string says;
  };
  const char *v4 = "10.0.0.0/24", *v6 = "fd00::/64";
  for (const Case& c : std::vector<Case>{
           {v4, [](auto& s) { s.set_gateway(ip_raw("10.0.1.1")); }, "gateway: 10.0.1.1 is not in"},
           {v6, [](auto& s) { s.set_gateway(ip_raw("fd00::1")); }, "router advertisement"},
           {v4, [](auto& s) { s.set_server_address(ip_raw("10.9.0.1")); }, "server_address: "},
           {v6, [](auto& s) { s.add_dns_servers(ip_raw("10.0.0.1")); }, "not of the family"},
           {v4, [](auto& s) { s.add_ntp_servers(ip_raw("224.0.1.1")); }, "group address"},
           {v6, [](auto& s) { s.set_mtu(1279); }, "mtu: IPv6 needs at least 1280"},
           {v6, [](auto& s) { s.add_routes(via_raw("fd01::/64", "fd00::2")); }, "routes: DHCPv6"},
           {v4, [](auto& s) { s.add_routes(via_raw("fd01::/64", "fd00::2")); }, "family"},
           {v4, [](auto& s) { s.add_routes(via_raw("10.8.0.0/16", "10.9.0.1")); }, "next hop"},
           {v4,
            [](auto& s) {
              s.add_routes(via_raw("10.8.0.0/16", "10.0.0.2"));
              s.add_routes(via_raw("10.8.0.0/16", "10.0.0.3"));
            },
            "two next hops"},
           {v4, [](auto& s) { s.add_options(option_raw(53)); }, "option 53 is the server's own"},
           {v6, [](auto& s) { s.add_options(option_raw(3)); }, "option 3 is the server's own"},
           {v4, [](auto& s) { s.add_options(option_raw(255)); }, "DHCPv4 has 1 to 254"},
           {v4, [](auto& s) { s.set_domain("a..b"); }, "domain: want a domain name"},
           {"224.0.0.0/24", [](auto&) {}, "is no network of machines"},
       }) {
    SCOPED_TRACE(c.says);
    auto wanted = subnet("refused", c.network);
    c.edit(wanted);
    EXPECT_THAT(refusal(wanted), HasSubstr(c.says));
  }
  auto whole = subnet("v4", v4);
  whole.set_gateway(ip_raw("10.0.0.1"));
  whole.set_server_address(ip_raw("10.0.0.2"));
  whole.add_dns_servers(ip_raw("192.0.2.53"));
  whole.add_routes(via_raw("10.8.0.0/16", "10.0.0.2"));
  whole.add_options(option_raw(66));
  whole.set_domain("example.net");
  EXPECT_THAT(refusal(whole), IsEmpty());
  auto v6_whole = subnet("v6", v6);
  v6_whole.set_server_address(ip_raw("fe80::1"));
  v6_whole.set_mtu(1280);
  EXPECT_THAT(refusal(v6_whole), IsEmpty());
  EXPECT_THAT(refusal(subnet("again", v4)),
              HasSubstr("the network 10.0.0.0/24 on this bridge belongs to dhcp-subnet v4"));
}

TEST_F(ServiceRulesTest, SubPorts) {
  auto no_vlan = sub_port("s", vm_, 7);
  no_vlan.clear_vlan();
  EXPECT_THAT(refusal(no_vlan), HasSubstr("vlan: is required with parent"));
  auto no_parent = port_on(blue_, "s");
  no_parent.set_vlan(7);
  EXPECT_THAT(refusal(no_parent), HasSubstr("vlan: is for ports with a parent"));
  auto own = sub_port("s", vm_, 7);
  own.set_interface("tap0");
  EXPECT_THAT(refusal(own), HasSubstr("interface: is the parent's"));
  auto on_router = port_on(edge_, "s");
  on_router.set_parent(vm_.id());
  EXPECT_THAT(refusal(on_router), HasSubstr("is for bridge ports"));
  EXPECT_THAT(refusal(sub_port("s", create(port_on(edge_, "of-router")), 7)),
              HasSubstr("is a router's port"));
  auto theirs = sub_port("s", vm_, 7);
  theirs.set_tenant("red");
  EXPECT_THAT(refusal(theirs), HasSubstr("another tenant"));
  const auto first = create(sub_port("s", vm_, 7));
  EXPECT_THAT(refusal(sub_port("t", vm_, 7)),
              HasSubstr("the VLAN 7 of this parent belongs to port s"));
  EXPECT_THAT(refusal(sub_port("t", first, 8)), HasSubstr("is a sub-port itself"));
  EXPECT_THAT(refusal(sub_port("t", vm_, 8)), IsEmpty());
  // Who is a parent keeps its interface; its sub-ports go with it.
  auto peer = create(port_on(edge_, "peer"));
  EXPECT_THAT(change<v1::Port>(vm_, [&](auto& p) { p.set_peer(peer.id()); }),
              HasSubstr("is the parent of port "));
  EXPECT_THAT(change<v1::Port>(peer, [&](auto& p) { p.set_peer(vm_.id()); }),
              HasSubstr("is the parent of port "));
  EXPECT_THAT(change<v1::Port>(peer, [&](auto& p) { p.set_peer(first.id()); }),
              HasSubstr("is a sub-port"));
  remove<v1::Port>(vm_.id());
  EXPECT_FALSE(exists<v1::Port>(first.id()));
}

TEST_F(ServiceRulesTest, MirrorsKnowTheirDevice) {
  const auto tap = create(port_on(blue_, "tap"));
  auto peer = create(port_on(edge_, "peer"));
  auto on_port = mirror("m", tap);
  EXPECT_THAT(refusal(on_port), HasSubstr("port, bridge, router: one of them is required"));
  on_port.set_port(tap.id());
  EXPECT_THAT(refusal(on_port), HasSubstr("is the port that is looked at"));
  on_port.set_port(peer.id());
  const auto at_router = create(on_port);
  EXPECT_EQ(at_router.at_router(), edge_.id());
  EXPECT_FALSE(at_router.has_at_bridge());
  auto on_bridge = mirror("n", tap);
  on_bridge.set_bridge(blue_.id());
  EXPECT_EQ(create(on_bridge).at_bridge(), blue_.id());
  auto to_router = mirror("o", peer);
  to_router.set_bridge(blue_.id());
  EXPECT_THAT(refusal(to_router), HasSubstr("to_port: port peer"));
  // It stays through a change that does not speak of it.
  auto down = at_router;
  down.clear_at_router();
  down.set_admin_up(false);
  EXPECT_EQ(update(down).at_router(), edge_.id());
  EXPECT_THAT(change<v1::Port>(peer, [&](auto& p) { p.set_peer(tap.id()); }),
              HasSubstr("takes copies for mirror"));
}

TEST_F(ServiceRulesTest, TraceRequestsKnowTheirDeviceAndAskForPacketsThatCanBe) {
  const auto tap = create(port_on(blue_, "tap"));
  auto request = named<v1::TraceRequest>("why");
  EXPECT_THAT(refusal(request), HasSubstr("port, bridge, router: one of them is required"));
  request.set_port(tap.id());
  const struct {
    std::function<void(v1::TraceRequest&)> edit;
    const char* says;
  } cases[] = {
      {[](auto& r) { r.add_destination_ports(std::string("\0\1\0\1", 4)); },
       "destination_ports: needs protocol tcp, udp or sctp"},
      {[](auto& r) {
         r.set_source(prefix_raw("10.0.0.0/8"));
         r.set_destination(prefix_raw("fd00::/8"));
       },
       "destination: is for IPv6, but source is for IPv4"},
      {[](auto& r) {
         r.set_ethertype(std::string("\x08\x06", 2));
         r.set_protocol(kTcp);
       },
       "protocol: is for IP packets"},
      {[](auto& r) { r.set_limit(0); }, "limit: 0 is not within 1 to 1000"},
      {[](auto& r) { r.set_limit(1001); }, "limit: 1001 is not within 1 to 1000"},
      {[&](auto& r) { r.set_bridge(blue_.id()); }, "exclude each other"},
  };
  for (const auto& c : cases) {
    auto bad = request;
    c.edit(bad);
    EXPECT_THAT(refusal(bad), HasSubstr(c.says));
  }
  EXPECT_EQ(create(request).at_bridge(), blue_.id());
  auto at_router = named<v1::TraceRequest>("routed");
  at_router.set_router(edge_.id());
  const auto made = create(at_router);
  EXPECT_EQ(made.at_router(), edge_.id());
  // It goes with what it is at.
  remove<v1::Port>(tap.id());
  EXPECT_FALSE(exists<v1::TraceRequest>(request.id()));
}

TEST_F(ServiceRulesTest, RulesSayWhatTheirActionNeeds) {
  const auto chain = create(named<v1::Chain>("chain"));
  const auto pool = create(snat_pool("out", "192.0.2.9"));
  const auto inner = create(port_on(edge_, "inner"));
  struct Case {
    v1::Rule::Action action;
    std::function<void(v1::Rule&)> edit;
    std::string says;  ///< "": it is taken
  };
  using R = v1::Rule;
  for (const Case& c : std::vector<Case>{
           {R::DNAT, [](auto&) {}, "to_addresses: is required with action dnat"},
           {R::SNAT, [](auto&) {}, "snat_pool: is required with action snat"},
           {R::MARK, [](auto&) {}, "set_dscp: is required with action mark"},
           {R::REDIRECT, [](auto&) {}, "redirect_port: is required with action redirect"},
           {R::ACCEPT, [](auto& r) { r.set_set_dscp(1); }, "set_dscp: is for action mark"},
           {R::DROP, [](auto& r) { r.set_to_ports(ports_raw(1, 1)); },
            "to_ports: is for action dnat"},
           {R::DNAT, [](auto& r) { r.set_to_addresses(prefix_raw("224.0.0.0/24")); },
            "is no machine"},
           {R::DNAT,
            [](auto& r) {
              r.set_to_addresses(prefix_raw("10.0.0.1/32"));
              r.set_destination(prefix_raw("2001:db8::1/128"));
            },
            "to_addresses: is for IPv4, but destination is for IPv6"},
           {R::DNAT,
            [](auto& r) {
              r.set_to_addresses(prefix_raw("10.0.0.1/32"));
              r.set_to_ports(ports_raw(8080, 8080));
            },
            "to_ports: needs protocol tcp, udp or sctp"},
           {R::DNAT,
            [](auto& r) {
              r.set_protocol(kTcp);
              r.set_to_addresses(prefix_raw("10.0.0.1/32"));
              r.add_destination_ports(ports_raw(80, 89));
              r.set_to_ports(ports_raw(8080, 8088));
            },
            "to_ports: is a range"},
           {R::DNAT,
            [](auto& r) {
              r.set_protocol(kTcp);
              r.set_to_addresses(prefix_raw("10.0.0.1/32"));
              r.add_destination_ports(ports_raw(80, 89));
              r.set_to_ports(ports_raw(8080, 8089));
            },
            ""},
           {R::DNAT,
            [](auto& r) {
              r.set_protocol(kUdp);
              r.set_to_addresses(prefix_raw("10.0.0.0/24"));
              r.set_to_ports(ports_raw(53, 53));
            },
            ""},
           {R::SNAT, [&](auto& r) { r.set_snat_pool(pool.id()); }, ""},
           {R::MARK, [](auto& r) { r.set_set_dscp(64); }, "set_dscp: 64 is not within 0 to 63"},
           {R::REDIRECT, [&](auto& r) { r.set_redirect_port(inner.id()); }, "is a router's port"},
           {R::REDIRECT, [&](auto& r) { r.set_redirect_port(vm_.id()); }, ""},
           {R::ACCEPT,
            [](auto& r) {
              r.set_ethertype("\x08\x06");
              r.set_inner_source(prefix_raw("10.0.0.0/8"));
            },
            "inner_source: is for IP packets"},
           {R::ACCEPT,
            [](auto& r) {
              r.add_connection(R::ESTABLISHED);
              r.add_connection(R::RELATED);
              r.add_inverted(R::CONNECTION);
            },
            ""},
           {R::ACCEPT, [](auto& r) { r.add_inverted(R::THROUGH_ROUTER); },
            "through_router is not given"},
       }) {
    SCOPED_TRACE(c.says);
    v1::Rule rule;
    rule.set_chain(chain.id());
    rule.set_position(1);
    rule.set_action(c.action);
    c.edit(rule);
    const std::string said = refusal(rule);
    if (c.says.empty())
      EXPECT_THAT(said, IsEmpty());
    else
      EXPECT_THAT(said, HasSubstr(c.says));
  }
  // What rules name stays.
  for (const auto& [type, id] :
       {std::pair(v1::SnatPool::descriptor(), pool.id()), {v1::Port::descriptor(), vm_.id()}}) {
    auto removed = writer_->remove(*type, *Uuid::from_bytes(id));
    ASSERT_FALSE(removed.ok());
    EXPECT_EQ(removed.error().code, ErrorCode::in_use);
  }
}

TEST_F(ServiceRulesTest, ARouterTakesItsServicesAlong) {
  create(floating("192.0.2.1", "10.0.0.1"));
  create(snat_pool("out", "192.0.2.9"));
  create(vip("web", "192.0.2.2"));
  create(member("10.0.0.7"));
  auto watched = mirror("m", vm_);
  watched.set_router(edge_.id());
  create(watched);
  create(subnet("v4", "10.0.0.0/24"));
  remove<v1::Router>(edge_.id());
  remove<v1::Port>(vm_.id());
  remove<v1::Bridge>(blue_.id());
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

/// In steps of one, too: what refers to another goes before it.
TEST_F(ServiceRulesTest, ALoadBalancerGoesInParts) {
  create(vip("web", "192.0.2.2"));
  create(vip("web-too", "192.0.2.3"));
  for (const char* address : {"10.0.0.7", "10.0.0.8", "10.0.0.9"}) create(member(address));
  writer_->set_removal_batch(1);
  remove<v1::Router>(edge_.id());
  EXPECT_FALSE(exists<v1::Pool>(pool_.id()));
}

TEST_F(ServiceRulesTest, ATenantHasAsManyAsItMay) {
  auto tenant = named<v1::Tenant>("red");
  tenant.set_max_floating_ips(1);
  tenant.set_max_pool_members(0);
  create(tenant);
  auto first = floating("192.0.2.1"), second = floating("192.0.2.2");
  first.set_tenant("red");
  second.set_tenant("red");
  EXPECT_THAT(refusal(first), IsEmpty());
  EXPECT_THAT(refusal(second), HasSubstr("may have 1 floating-ips and has 1"));
  auto server = member("10.0.0.1");
  server.set_tenant("red");
  EXPECT_THAT(refusal(server), HasSubstr("may have 0 pool-members"));
}

// --- where sub-ports are ---

class SubPortsOfHostsTest : public ServiceRulesTest {
 protected:
  SubPortsOfHostsTest() : one_(*store_, h1_), two_(*store_, h2_) {
    EXPECT_TRUE(one_.register_host({"h1", {*IpAddr::parse("192.0.2.1")}}).ok());
    EXPECT_TRUE(two_.register_host({"h2", {*IpAddr::parse("192.0.2.2")}}).ok());
  }
  static PortId id(const v1::Port& port) { return PortId{*Uuid::from_bytes(port.id())}; }
  HostId h1_{Uuid::random()}, h2_{Uuid::random()};
  HostRecords one_, two_;
};

TEST_F(SubPortsOfHostsTest, ASubPortIsPublishedWhereItsParentIs) {
  auto trunk = create(port_on(blue_, "trunk"));
  const auto sub = create(sub_port("sub", trunk, 7));
  EXPECT_FALSE(one_.publish(id(sub)).ok());
  trunk.set_host(h1_.uuid.raw());
  trunk.set_interface("tap0");
  trunk = update(trunk);
  const auto late = create(sub_port("late", trunk, 8));
  std::set<uint32_t> keys;
  for (const v1::Port* port : std::initializer_list<const v1::Port*>{&trunk, &sub, &late}) {
    auto here = one_.publish(id(*port));
    ASSERT_TRUE(here.ok()) << here.error().message;
    EXPECT_TRUE(here->active);
    EXPECT_EQ(here->host, h1_);
    keys.insert(here->tunnel_key);
  }
  EXPECT_EQ(keys.size(), 3u) << "each has a key of its own";
  EXPECT_FALSE(two_.publish(id(sub)).ok());

  // It migrates: the sub-port comes when the parent has come.
  trunk.set_migrating_to(h2_.uuid.raw());
  trunk = update(trunk);
  EXPECT_FALSE(two_.publish(id(sub)).ok());
  ASSERT_TRUE(two_.publish(id(trunk), true).ok());
  auto there = two_.publish(id(sub));
  ASSERT_TRUE(there.ok()) << there.error().message;
  EXPECT_EQ(there->host, h2_);
  EXPECT_FALSE(one_.publish(id(sub)).ok());

  // It moves: nobody's until the other host says so.
  trunk.set_host(h2_.uuid.raw());
  trunk = update(trunk);
  trunk.set_host(h1_.uuid.raw());
  trunk = update(trunk);
  v1::Binding binding;
  ASSERT_TRUE(binding.ParseFromString((*store_->get(binding_path(id(sub).uuid)))->value));
  EXPECT_FALSE(binding.active());
  EXPECT_TRUE(one_.publish(id(sub)).ok());
}

}  // namespace
}  // namespace plexus::store
