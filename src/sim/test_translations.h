// SPDX-License-Identifier: Apache-2.0
// Random floating addresses, rules that translate, pools of sources and load balancers on a TestCloud, at addresses that random packets carry. Not part of the product.
// Dice: below(n), one_in(n).
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "sim/test_cloud.h"
#include "sim/test_filters.h"

namespace plexus::sim {

/// An address of the networks that random machines are in.
template <typename Dice>
IpAddr random_address(Dice& dice, bool v6) {
  const auto net = static_cast<uint8_t>(dice.below(4)), n = static_cast<uint8_t>(dice.below(9));
  if (!v6) return IpAddr::v4(0x0a000000u | uint32_t{net} << 8 | n);
  std::array<uint8_t, 16> b{0xfd};
  b[7] = net;
  b[15] = n;
  return IpAddr::v6(b);
}

template <typename Dice>
void change_floating_ip(TestCloud& c, model::FloatingIp& f, Dice& dice) {
  const bool v6 = dice.one_in(2);
  f.router = some_key(c.routers, dice);
  f.address = random_address(dice, v6);
  f.inside.reset();
  if (!dice.one_in(5)) f.inside = random_address(dice, v6);
  f.admin_up = !dice.one_in(5);
  f.unreadable = dice.one_in(10);
  if (f.unreadable && dice.one_in(8)) f.address = {};
}

template <typename Dice>
void change_balancer(TestCloud& c, Dice& dice) {
  model::LoadBalancer& lb = c.load_balancers.begin()->second;
  if (dice.one_in(2)) lb.router = some_key(c.routers, dice);
  lb.admin_up = !dice.one_in(5);
  lb.unreadable = dice.one_in(10);
  model::Vip& v = c.vips[some_key(c.vips, dice)];
  v.address = random_address(dice, dice.one_in(2));
  v.protocol = dice.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
  v.port = static_cast<uint16_t>(dice.below(140));
  v.admin_up = !dice.one_in(5);
  v.unreadable = dice.one_in(10);
  model::PoolMember& m = c.pool_members[some_key(c.pool_members, dice)];
  m.address = random_address(dice, v.address.is_v6());
  m.weight = static_cast<uint32_t>(dice.below(3));
  m.up = !dice.one_in(5);
  m.backup = dice.one_in(4);
}

template <typename Dice>
void change_translations(TestCloud& c, Dice& dice) {
  if (!c.load_balancers.empty() && dice.one_in(3)) return change_balancer(c, dice);
  if (c.floating_ips.empty()) return;
  const FloatingIpId id = some_key(c.floating_ips, dice);
  if (c.floating_ips.size() > 1 && dice.one_in(6))
    c.floating_ips.erase(id);
  else
    change_floating_ip(c, c.floating_ips[id], dice);
}

/// A pool of a router, with blocks of its ports here, and rules at routers: some for sources of the pool, some for destinations.
template <typename Dice>
void add_translating_rules(TestCloud& c, Dice& dice) {
  model::SnatPool pool{.id = SnatPoolId{Uuid::derived("snat", "1")},
                       .router = some_key(c.routers, dice),
                       .name = "sources",
                       .unreadable = dice.one_in(10),
                       .addresses = {}};
  std::vector<model::PortBlock> blocks;
  for (const bool v6 : {false, true}) {
    pool.addresses.push_back(random_address(dice, v6));
    for (uint64_t n = dice.below(3); n > 0; --n)
      blocks.push_back({Uuid::derived("block", std::to_string(n * 2 + v6)), pool.addresses.back(),
                        static_cast<uint16_t>(1024 * n),
                        static_cast<uint16_t>(dice.one_in(12) ? 100 : 128)});
  }
  std::sort(pool.addresses.begin(), pool.addresses.end());
  std::sort(blocks.begin(), blocks.end());
  c.more.emplace_back(model::SnatPoolChange{pool.id, pool});
  c.more.emplace_back(model::PortBlocksChange{pool.id, blocks});
  for (uint64_t n = 1 + dice.below(4); n > 0; --n) {
    const std::string name = "translates" + std::to_string(n);
    const bool source = dice.one_in(2);
    model::Router& router =
        c.routers[source && !dice.one_in(4) ? pool.router : some_key(c.routers, dice)];
    std::optional<ChainId>& at = source ? router.out_chain : router.in_chain;
    if (!at) at = c.chain(name);
    model::Rule& rule = c.rule(name, *at, static_cast<uint32_t>(dice.below(12)),
                               source ? model::RuleAction::snat : model::RuleAction::dnat);
    if (dice.one_in(3)) rule.protocol = dice.one_in(2) ? ip_proto::kTcp : ip_proto::kUdp;
    if (source) {
      rule.snat_pool = pool.id;
      continue;
    }
    const IpAddr to = random_address(dice, dice.one_in(2));
    rule.to_addresses =
        IpPrefix{to, static_cast<uint8_t>(to.bits() - (dice.one_in(3) ? 8 : 0))}.network();
    if (dice.one_in(2)) rule.destination = IpPrefix{random_address(dice, to.is_v6()), 30}.network();
    if (!rule.protocol || dice.one_in(2)) continue;
    const auto first = static_cast<uint16_t>(dice.below(130));
    if (dice.one_in(2)) rule.destination_ports = {{first, static_cast<uint16_t>(first + 9)}};
    rule.to_ports = model::PortRange{80, static_cast<uint16_t>(dice.one_in(2) ? 80 : 89)};
  }
}

template <typename Dice>
void add_translations(TestCloud& c, Dice& dice) {
  for (auto& [id, port] : c.ports)
    if (std::holds_alternative<RouterId>(port.device)) port.outside = dice.one_in(2);
  for (uint64_t n = 1 + dice.below(6); n > 0; --n) {
    const FloatingIpId id{Uuid::derived("floating", std::to_string(n))};
    model::FloatingIp& f = c.floating_ips[id];
    f.id = id;
    f.name = "f" + std::to_string(n);
    change_floating_ip(c, f, dice);
  }
  if (dice.one_in(2)) add_translating_rules(c, dice);
  if (dice.one_in(2)) return;
  const LoadBalancerId lb{Uuid::derived("balancer", "1")};
  const PoolId pool{Uuid::derived("pool", "1")};
  c.load_balancers[lb].id = lb;
  c.load_balancers[lb].router = some_key(c.routers, dice);
  c.pools[pool].id = pool;
  c.pools[pool].load_balancer = lb;
  for (uint64_t n = 3; n > 0; --n) {
    const VipId vip{Uuid::derived("vip", std::to_string(n))};
    c.vips[vip].id = vip;
    c.vips[vip].load_balancer = lb;
    c.vips[vip].pool = pool;
    c.vips[vip].address = random_address(dice, false);
    const PoolMemberId member{Uuid::derived("member", std::to_string(n))};
    c.pool_members[member].id = member;
    c.pool_members[member].pool = pool;
    c.pool_members[member].address = random_address(dice, false);
    change_balancer(c, dice);
  }
}

/// What turns the translations of one cloud into those of another.
inline void add_translation_changes(const TestCloud& a, const TestCloud& b,
                                    std::vector<model::Change>& out) {
  add_changes(a.floating_ips, b.floating_ips, model::FloatingIpChange{}, out);
  add_changes(a.load_balancers, b.load_balancers, model::LoadBalancerChange{}, out);
  add_changes(a.vips, b.vips, model::VipChange{}, out);
  add_changes(a.pools, b.pools, model::PoolChange{}, out);
  add_changes(a.pool_members, b.pool_members, model::PoolMemberChange{}, out);
}

}  // namespace plexus::sim
