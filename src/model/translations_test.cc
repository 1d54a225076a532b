// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "model/topology.h"

namespace plexus::model {
namespace {

IpAddr ip(std::string_view text) {
  return *IpAddr::parse(text);
}
template <typename Id>
Id id(std::string_view name) {
  return Id{Uuid::derived("translations_test", name)};
}

const HostId kSelf{Uuid::derived("host", "h1")};
const RouterId kRouter = id<RouterId>("r"), kOther = id<RouterId>("other");
const LoadBalancerId kBalancer = id<LoadBalancerId>("lb");
const PoolId kPool = id<PoolId>("pool");

FloatingIp floating(std::string_view name, std::string_view address, std::string_view inside = "") {
  FloatingIp f;
  f.id = id<FloatingIpId>(name);
  f.router = kRouter;
  f.name = name;
  f.address = ip(address);
  if (!inside.empty()) f.inside = ip(inside);
  return f;
}
Vip vip(std::string_view name, std::string_view address, uint16_t port) {
  Vip v;
  v.id = id<VipId>(name);
  v.load_balancer = kBalancer;
  v.name = name;
  v.address = ip(address);
  v.protocol = 6;
  v.port = port;
  v.pool = kPool;
  return v;
}
PoolMember member(unsigned n, uint32_t weight = 1) {
  PoolMember m;
  m.id = id<PoolMemberId>("m" + std::to_string(n));
  m.pool = kPool;
  m.address = IpAddr::v4(0x0a000000 + n);
  m.weight = weight;
  return m;
}

class Translations : public testing::Test {
 protected:
  template <typename C, typename Record>
  Delta set(const Record& record) {
    return topology.apply(std::vector<Change>{C{record.id, record}});
  }
  template <typename C, typename Id>
  Delta remove(const Id& gone) {
    return topology.apply(std::vector<Change>{C{gone, std::nullopt}});
  }
  [[nodiscard]] std::vector<uint32_t> serving() const {
    std::vector<uint32_t> out;
    if (const auto& set = topology.snapshot()->serving(kPool))
      for (const Member& m : set->members) out.push_back(m.address.bytes[3]);
    std::sort(out.begin(), out.end());
    return out;
  }
  using Names = std::vector<std::pair<RouterId, IpAddr>>;
  Topology topology{kSelf};
};

TEST_F(Translations, AFloatingAddressIsFoundFromBothSides) {
  const FloatingIp f = floating("f", "203.0.113.7", "10.0.0.7");
  const Delta delta = set<FloatingIpChange>(f);
  EXPECT_EQ(delta.translations, (Names{{kRouter, ip("10.0.0.7")}, {kRouter, ip("203.0.113.7")}}));
  const auto snapshot = topology.snapshot();
  const TranslationTable* table = snapshot->translations(kRouter);
  ASSERT_NE(table, nullptr);
  ASSERT_NE(table->outside(f.address).uses, nullptr);
  EXPECT_EQ(table->outside(f.address).uses->floating_ips.front(), f.id);
  ASSERT_NE(table->inside(*f.inside).uses, nullptr);
  EXPECT_EQ(table->inside(f.address).uses, nullptr);
  EXPECT_EQ(table->outside(*f.inside).uses, nullptr);
  EXPECT_EQ(snapshot->translations(kOther), nullptr);
  EXPECT_TRUE(set<FloatingIpChange>(f).empty()) << "nothing changed";
  EXPECT_EQ(delta.translation_kinds, std::vector<RouterId>{kRouter}) << "it had none";
  const FloatingIp more = floating("g", "203.0.113.8", "10.0.0.8");
  EXPECT_TRUE(set<FloatingIpChange>(more).translation_kinds.empty());
  EXPECT_TRUE(remove<FloatingIpChange>(more.id).translation_kinds.empty());
  EXPECT_EQ(remove<FloatingIpChange>(f.id).translations, delta.translations);
  EXPECT_EQ(topology.snapshot()->translations(kRouter), nullptr);
}

TEST_F(Translations, OfTwoFloatingIpsAtAnAddressBothAreKept) {
  set<FloatingIpChange>(floating("a", "203.0.113.7", "10.0.0.7"));
  set<FloatingIpChange>(floating("b", "203.0.113.7", "10.0.0.7"));
  EXPECT_EQ(topology.snapshot()
                ->translations(kRouter)
                ->outside(ip("203.0.113.7"))
                .uses->floating_ips.size(),
            2u);
  remove<FloatingIpChange>(id<FloatingIpId>("a"));
  const auto snapshot = topology.snapshot();
  EXPECT_EQ(snapshot->translations(kRouter)->inside(ip("10.0.0.7")).uses->floating_ips.front(),
            id<FloatingIpId>("b"));
}

TEST_F(Translations, WhatCannotBeReadAtAllStopsTheRouter) {
  FloatingIp f = floating("f", "203.0.113.7");
  f.address = {};
  f.unreadable = true;
  set<FloatingIpChange>(f);
  EXPECT_TRUE(topology.snapshot()->translations(kRouter)->unreadable());
  remove<FloatingIpChange>(f.id);
  EXPECT_EQ(topology.snapshot()->translations(kRouter), nullptr);
}

TEST_F(Translations, AVirtualAddressIsAtTheRouterOfItsBalancer) {
  EXPECT_EQ(set<VipChange>(vip("v", "203.0.113.9", 80)).translations, Names{});
  EXPECT_EQ(topology.snapshot()->translations(kRouter), nullptr) << "its router is not known";
  LoadBalancer balancer{.id = kBalancer, .router = kRouter, .name = "lb"};
  const Names names{{kRouter, ip("203.0.113.9")}};
  EXPECT_EQ(set<LoadBalancerChange>(balancer).translations, names);
  EXPECT_EQ(topology.snapshot()->translations(kRouter)->outside(ip("203.0.113.9")).uses->vips[0],
            id<VipId>("v"));
  balancer.admin_up = false;
  EXPECT_EQ(set<LoadBalancerChange>(balancer).translations, names) << "the flows there must know";
  EXPECT_EQ(remove<LoadBalancerChange>(kBalancer).translations, names);
  EXPECT_EQ(topology.snapshot()->translations(kRouter), nullptr);
  EXPECT_TRUE(remove<VipChange>(id<VipId>("v")).translations.empty());
}

TEST_F(Translations, ASearchReadsAsFewBitsAsProveTheAnswer) {
  std::mt19937 random(7);
  for (unsigned i = 0; i < 200; ++i) {
    FloatingIp f = floating(std::to_string(i), "203.0.113.1");
    f.address = IpAddr::v4(0xcb007100 + random() % 1024);
    set<FloatingIpChange>(f);
  }
  const auto snapshot = topology.snapshot();
  const TranslationTable& table = *snapshot->translations(kRouter);
  for (unsigned i = 0; i < 2000; ++i) {
    const uint32_t asked = 0xcb007000 + random() % 2048;
    const AddressFound found = table.outside(IpAddr::v4(asked));
    ASSERT_LE(found.bits_read, 32u);
    if (found.uses != nullptr) {
      ASSERT_EQ(found.bits_read, 32u);
      continue;
    }
    const uint32_t rest = found.bits_read == 32 ? 0 : ~0u >> found.bits_read;
    for (unsigned n = 0; n < 8; ++n) {
      const uint32_t other = (asked & ~rest) | (static_cast<uint32_t>(random()) & rest);
      ASSERT_EQ(table.outside(IpAddr::v4(other)).uses, nullptr)
          << IpAddr::v4(asked).str() << " " << IpAddr::v4(other).str();
    }
  }
  EXPECT_EQ(table.outside(ip("10.0.0.1")).bits_read, 1u);
  EXPECT_EQ(table.outside(ip("fd00::1")).bits_read, 0u) << "nothing of that family";
}

TEST_F(Translations, MembersAreKnownByTheirAddressesInWhateverOrderTheRecordsCome) {
  Pool pool;
  pool.id = kPool;
  pool.load_balancer = kBalancer;
  LoadBalancer balancer{.id = kBalancer, .router = kRouter, .name = "lb"};
  PoolMember m = member(1, 0);
  m.up = m.admin_up = false;
  std::vector<Change> changes{PoolMemberChange{m.id, m}, PoolChange{kPool, pool},
                              LoadBalancerChange{kBalancer, balancer}};
  std::vector<size_t> order{0, 1, 2};
  do {
    Topology other(kSelf);
    Delta last;
    for (const size_t i : order) last = other.apply(std::span(changes).subspan(i, 1));
    EXPECT_EQ(last.translations, (Names{{kRouter, m.address}}));
    const auto snapshot = other.snapshot();
    ASSERT_NE(snapshot->translations(kRouter), nullptr);
    ASSERT_NE(snapshot->translations(kRouter)->inside(m.address).uses, nullptr);
    EXPECT_EQ(snapshot->translations(kRouter)->inside(m.address).uses->members.front(), m.id);
    for (const size_t i : order) {
      other.apply(std::vector<Change>{i == 0 ? Change(PoolMemberChange{m.id, std::nullopt})
                                      : i == 1
                                          ? Change(PoolChange{kPool, std::nullopt})
                                          : Change(LoadBalancerChange{kBalancer, std::nullopt})});
      EXPECT_EQ(other.snapshot()->translations(kRouter), nullptr);
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(Translations, WhoServes) {
  for (unsigned n = 1; n <= 4; ++n) set<PoolMemberChange>(member(n));
  EXPECT_EQ(serving(), (std::vector<uint32_t>{1, 2, 3, 4}));
  PoolMember m = member(1);
  m.backup = true;
  EXPECT_EQ(set<PoolMemberChange>(m).serving, std::vector<PoolId>{kPool});
  EXPECT_EQ(serving(), (std::vector<uint32_t>{2, 3, 4})) << "backups wait";
  set<PoolMemberChange>(member(2, 0));
  EXPECT_EQ(serving(), (std::vector<uint32_t>{3, 4})) << "weight 0 drains";
  m = member(3);
  m.up = false;
  set<PoolMemberChange>(m);
  EXPECT_EQ(serving(), (std::vector<uint32_t>{4}));
  m = member(4);
  m.admin_up = false;
  set<PoolMemberChange>(m);
  EXPECT_EQ(serving(), (std::vector<uint32_t>{1})) << "nobody but the backup is left";
  m.admin_up = true;
  m.unreadable = true;
  set<PoolMemberChange>(m);
  EXPECT_EQ(serving(), (std::vector<uint32_t>{1}));
  remove<PoolMemberChange>(id<PoolMemberId>("m1"));
  EXPECT_EQ(topology.snapshot()->serving(kPool), nullptr);
}

/// What a change says concerns all flows of a pool, or those of one member.
TEST_F(Translations, AMembersChangeConcernsItsOwnConnectionsAndNewOnes) {
  for (unsigned n = 1; n <= 2; ++n) set<PoolMemberChange>(member(n));
  PoolMember spare = member(3);
  spare.backup = true;
  set<PoolMemberChange>(spare);
  Delta serving, member_only, both;
  serving.serving = both.serving = {kPool};
  member_only.pool_members = {spare.id};
  both.pool_members = {member(1).id};

  PoolMember m = member(1);
  m.name = "web";
  EXPECT_TRUE(set<PoolMemberChange>(m).empty()) << "a name concerns nobody";
  m.weight = 5;
  EXPECT_EQ(set<PoolMemberChange>(m), serving) << "known connections stay";
  m.port = 81;
  EXPECT_EQ(set<PoolMemberChange>(m), serving) << "known connections stay";
  m.up = false;
  EXPECT_EQ(set<PoolMemberChange>(m), both);
  m.up = true;
  EXPECT_EQ(set<PoolMemberChange>(m), both);
  m.admin_up = false;
  EXPECT_EQ(set<PoolMemberChange>(m), both);
  spare.up = false;
  EXPECT_EQ(set<PoolMemberChange>(spare), member_only) << "it does not serve";
  m.address = ip("10.0.0.9");
  EXPECT_EQ(set<PoolMemberChange>(m).pool_members, both.pool_members);
  Delta gone = remove<PoolMemberChange>(member(2).id);
  EXPECT_EQ(gone.serving, serving.serving);
  EXPECT_EQ(gone.pool_members, std::vector<PoolMemberId>{member(2).id});

  Pool pool;
  pool.id = kPool;
  pool.load_balancer = kBalancer;
  set<PoolChange>(pool);
  pool.name = "other";
  EXPECT_TRUE(set<PoolChange>(pool).empty());
  pool.admin_up = false;
  Delta of_pool;
  of_pool.pools = {kPool};
  EXPECT_EQ(set<PoolChange>(pool), of_pool);
}

TEST_F(Translations, TheTableIsMadeAnewOnlyWhenThoseWhoServeChange) {
  set<PoolMemberChange>(member(1));
  PoolMember down = member(2);
  down.up = false;
  set<PoolMemberChange>(down);
  const auto before = topology.snapshot()->serving(kPool);
  PoolMember renamed = member(1);
  renamed.name = "web";
  set<PoolMemberChange>(renamed);
  down.weight = 9;
  set<PoolMemberChange>(down);
  EXPECT_EQ(topology.snapshot()->serving(kPool), before);
  set<PoolMemberChange>(member(1, 2));
  EXPECT_NE(topology.snapshot()->serving(kPool), before);
}

TEST_F(Translations, ManyMembersInWhateverOrderTheyCome) {
  std::vector<Change> changes;
  for (unsigned n = 0; n < 1000; ++n)
    changes.emplace_back(PoolMemberChange{member(n).id, member(n)});
  topology.apply(changes);
  std::shuffle(changes.begin(), changes.end(), std::mt19937(3));
  Topology other(kSelf);
  for (size_t i = 0; i < changes.size(); i += 100) other.apply(std::span(changes).subspan(i, 100));
  const auto a = topology.snapshot()->serving(kPool), b = other.snapshot()->serving(kPool);
  ASSERT_EQ(a->members.size(), 1000u);
  ASSERT_EQ(a->members, b->members);
  for (uint64_t h = 0; h < a->table.places(); ++h)
    ASSERT_EQ(a->table.member(h), b->table.member(h));
}

}  // namespace
}  // namespace plexus::model
