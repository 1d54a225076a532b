// SPDX-License-Identifier: Apache-2.0
// What routers translate and balance, DHCP subnets, mirrors and sub-ports, in the closure of a host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/followed_closure.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kTcp = "\x06";

class ReaderServicesTest : public TopologyTest {
 protected:
  ReaderServicesTest()
      : h1_(host("h1")),
        h2_(host("h2")),
        blue_(bridge("blue")),
        far_(bridge("far")),
        edge_(router("edge")),
        vm_(create(on_host(port_on(blue_, "vm"), h1_, "tap"))) {
    auto up = create(port_on(blue_, "up"));
    auto down = port_on(edge_, "down", "10.0.0.1/24");
    down.set_peer(up.id());
    create(down);
  }
  template <typename Id, typename M>
  static Id id(const M& message) {
    return Id{*Uuid::from_bytes(message.id())};
  }
  /// Follows until it has what was committed last; then a fresh reader must see the same.
  const ModelView& settle(FollowedClosure& followed) {
    const Revision now = *store_->sync();
    EXPECT_TRUE(followed.run_until_applied(now));
    FollowedClosure fresh(*store_, id<HostId>(h1_));
    EXPECT_TRUE(fresh.run_until_applied(now));
    EXPECT_EQ(followed.view(), fresh.view());
    EXPECT_EQ(followed.reader().watched(), fresh.reader().watched());
    return followed.view();
  }

  v1::Host h1_, h2_;
  v1::Bridge blue_, far_;
  v1::Router edge_;
  v1::Port vm_;
};

TEST_F(ReaderServicesTest, WhatARouterTranslates) {
  FollowedClosure followed(*store_, id<HostId>(h1_));
  EXPECT_THAT(settle(followed).floating_ips, IsEmpty());
  auto floating = made<v1::FloatingIp>("f", [&](auto& f) {
    f.set_router(edge_.id());
    f.set_address(ip_raw("192.0.2.1"));
  });
  floating = create(floating);
  const auto pool = create(made<v1::SnatPool>("out", [&](auto& p) {
    p.set_router(edge_.id());
    p.add_addresses(ip_raw("192.0.2.9"));
  }));
  EXPECT_EQ(settle(followed).snat_pools.at(id<SnatPoolId>(pool)).addresses.size(), 1u);
  EXPECT_FALSE(followed.view().floating_ips.at(id<FloatingIpId>(floating)).inside);
  floating.set_inside(ip_raw("10.0.0.7"));
  update(floating);
  EXPECT_TRUE(settle(followed).floating_ips.at(id<FloatingIpId>(floating)).inside);
  remove<v1::FloatingIp>(floating.id());
  remove<v1::SnatPool>(pool.id());
  EXPECT_THAT(settle(followed).floating_ips, IsEmpty());
  EXPECT_THAT(followed.view().snat_pools, IsEmpty());
}

TEST_F(ReaderServicesTest, WhatItBalances) {
  const auto balancer =
      create(made<v1::LoadBalancer>("web", [&](auto& b) { b.set_router(edge_.id()); }));
  const auto pool_named = [&](const char* name) {
    return create(made<v1::Pool>(name, [&](auto& p) { p.set_load_balancer(balancer.id()); }));
  };
  const auto used = pool_named("used"), unused = pool_named("unused");
  auto vip = made<v1::Vip>("vip", [&](auto& v) {
    v.set_load_balancer(balancer.id());
    v.set_pool(used.id());
    v.set_address(ip_raw("192.0.2.1"));
    v.set_protocol(kTcp);
    v.set_port(80);
  });
  vip = create(vip);
  for (const v1::Pool* pool : {&used, &unused})
    for (const char* address : {"10.0.0.7", "10.0.0.8"})
      create(made<v1::PoolMember>("", [&](auto& m) {
        m.set_pool(pool->id());
        m.set_address(ip_raw(address));
      }));
  FollowedClosure followed(*store_, id<HostId>(h1_));
  settle(followed);
  EXPECT_THAT(followed.view().load_balancers, SizeIs(1));
  EXPECT_THAT(followed.view().vips, SizeIs(1));
  EXPECT_THAT(followed.view().pools, SizeIs(1)) << "only those that serve";
  EXPECT_THAT(followed.view().pool_members, SizeIs(2));
  // Another pool serves.
  vip.set_pool(unused.id());
  update(vip);
  settle(followed);
  EXPECT_THAT(followed.view().pools, SizeIs(1));
  EXPECT_TRUE(followed.view().pools.contains(id<PoolId>(unused)));
  for (const auto& [member, record] : followed.view().pool_members)
    EXPECT_EQ(record.pool, id<PoolId>(unused));
  remove<v1::LoadBalancer>(balancer.id());
  settle(followed);
  EXPECT_THAT(followed.view().vips, IsEmpty());
  EXPECT_THAT(followed.view().pool_members, IsEmpty());
}

TEST_F(ReaderServicesTest, SubnetsMirrorsAndWhereTheyLead) {
  const auto tap = create(on_host(port_on(far_, "collector"), h2_, "tap"));
  FollowedClosure followed(*store_, id<HostId>(h1_));
  EXPECT_FALSE(settle(followed).bridges.contains(id<BridgeId>(far_)));
  create(made<v1::DhcpSubnet>("v4", [&](auto& s) {
    s.set_bridge(blue_.id());
    s.set_network(prefix_raw("10.0.0.0/24"));
  }));
  const auto mirror_at = [&](const char* name, auto edit) {
    return create(made<v1::Mirror>(name, [&](auto& m) {
      m.set_which(v1::Mirror::BOTH);
      m.set_to_port(tap.id());
      edit(m);
    }));
  };
  std::vector<v1::Mirror> mirrors = {
      mirror_at("port", [&](auto& m) { m.set_port(vm_.id()); }),
      mirror_at("bridge", [&](auto& m) { m.set_bridge(blue_.id()); }),
      mirror_at("router", [&](auto& m) { m.set_router(edge_.id()); })};
  EXPECT_THAT(settle(followed).dhcp_subnets, SizeIs(1));
  EXPECT_THAT(followed.view().mirrors, SizeIs(3));
  // The copies must find their way.
  EXPECT_TRUE(followed.view().ports.contains(id<PortId>(tap)));
  EXPECT_TRUE(followed.view().bridges.contains(id<BridgeId>(far_)));
  const auto request_at = [&](const char* name, auto edit) {
    return create(made<v1::TraceRequest>(name, edit));
  };
  std::vector<v1::TraceRequest> requests = {
      request_at("port", [&](auto& r) { r.set_port(vm_.id()); }),
      request_at("bridge", [&](auto& r) { r.set_bridge(blue_.id()); }),
      request_at("router", [&](auto& r) { r.set_router(edge_.id()); })};
  EXPECT_THAT(settle(followed).trace_requests, SizeIs(3));
  for (const v1::TraceRequest& request : requests) remove<v1::TraceRequest>(request.id());
  EXPECT_THAT(settle(followed).trace_requests, IsEmpty());
  for (const v1::Mirror& mirror : mirrors) remove<v1::Mirror>(mirror.id());
  EXPECT_THAT(settle(followed).mirrors, IsEmpty());
  EXPECT_FALSE(followed.view().bridges.contains(id<BridgeId>(far_)));
}

TEST_F(ReaderServicesTest, WhatRulesUse) {
  const auto exit = create(on_host(port_on(far_, "exit"), h2_, "tap"));
  auto other = router("other");
  const auto pool = create(made<v1::SnatPool>("out", [&](auto& p) {
    p.set_router(other.id());
    p.add_addresses(ip_raw("192.0.2.9"));
  }));
  const auto chain = create(named<v1::Chain>("chain"));
  edge_.set_out_chain(chain.id());
  edge_ = update(edge_);
  const auto rule = [&](uint32_t position, auto edit) {
    return create(made<v1::Rule>("", [&](auto& r) {
      r.set_chain(chain.id());
      r.set_position(position);
      edit(r);
    }));
  };
  rule(1, [&](auto& r) {
    r.set_action(v1::Rule::SNAT);
    r.set_snat_pool(pool.id());
  });
  const auto redirecting = rule(2, [&](auto& r) {
    r.set_action(v1::Rule::REDIRECT);
    r.set_redirect_port(exit.id());
  });
  rule(3, [&](auto& r) {
    r.set_action(v1::Rule::DROP);
    r.set_through_router(other.id());
  });
  FollowedClosure followed(*store_, id<HostId>(h1_));
  EXPECT_THAT(settle(followed).snat_pools, SizeIs(1));
  EXPECT_TRUE(followed.view().ports.contains(id<PortId>(exit)));
  EXPECT_FALSE(followed.view().routers.contains(id<RouterId>(other)));
  remove<v1::Rule>(redirecting.id());
  EXPECT_FALSE(settle(followed).ports.contains(id<PortId>(exit)));
}

TEST_F(ReaderServicesTest, SubPortsComeWithTheInterface) {
  FollowedClosure followed(*store_, id<HostId>(h1_));
  auto sub = port_on(far_, "sub");
  sub.set_parent(vm_.id());
  sub.set_vlan(7);
  sub = create(sub);
  EXPECT_EQ(settle(followed).ports.at(id<PortId>(sub)).parent, id<PortId>(vm_));
  EXPECT_TRUE(followed.view().bridges.contains(id<BridgeId>(far_)));
  // By its bridge, too, with its parent.
  create(on_host(port_on(far_, "vm2"), h1_, "tap2"));
  vm_.set_host(h2_.id());
  update(vm_);
  settle(followed);
  EXPECT_TRUE(followed.view().ports.contains(id<PortId>(sub)));
  EXPECT_TRUE(followed.view().ports.contains(id<PortId>(vm_)));
  remove<v1::Port>(sub.id());
  EXPECT_FALSE(settle(followed).ports.contains(id<PortId>(vm_)));
}

}  // namespace
}  // namespace plexus::store
