// SPDX-License-Identifier: Apache-2.0
// What translates addresses: floating addresses, pools of source addresses, load balancers.
#include <utility>

#include "model/topology.h"

namespace plexus::model {
namespace {

/// Puts the record in its place, or takes it away. What was there before, when it differs from what is there now.
template <typename Id, typename Record>
std::pair<bool, std::optional<Record>> replace(CowTable<Id, Record>& table, Id id,
                                               const std::optional<Record>& now) {
  const Record* found = table.find(id);
  std::optional<Record> old = found != nullptr ? std::optional(*found) : std::nullopt;
  if (old == now) return {false, std::nullopt};
  if (now)
    table.set(id, *now);
  else
    table.erase(id);
  return {true, std::move(old)};
}

}  // namespace

void Topology::change(const FloatingIpChange& c, Delta& delta) {
  auto [differs, old] = replace(state_.floating_ips_, c.id, c.now);
  if (!differs) return;
  const auto note = [&](const FloatingIp& f) {
    delta.floating_ips.emplace_back(f.router, f.address);
    if (f.inside) delta.floating_ips.emplace_back(f.router, *f.inside);
  };
  if (old) note(*old);
  if (c.now) note(*c.now);
}

void Topology::change(const SnatPoolChange& c, Delta& delta) {
  if (replace(state_.snat_pools_, c.id, c.now).first) delta.snat_pools.push_back(c.id);
}

void Topology::change(const PortBlocksChange& c, Delta& delta) {
  const auto old = state_.port_blocks(c.pool);
  if (std::vector<PortBlock>(old.begin(), old.end()) == c.now) return;
  delta.snat_pools.push_back(c.pool);
  if (c.now.empty())
    state_.port_blocks_.erase(c.pool);
  else
    state_.port_blocks_.set(c.pool, c.now);
}

void Topology::change(const LoadBalancerChange& c, Delta& delta) {
  if (replace(state_.load_balancers_, c.id, c.now).first) delta.load_balancers.push_back(c.id);
}

void Topology::change(const VipChange& c, Delta& delta) {
  auto [differs, old] = replace(state_.vips_, c.id, c.now);
  if (!differs) return;
  if (old) delta.vips.emplace_back(old->load_balancer, old->address);
  if (c.now) delta.vips.emplace_back(c.now->load_balancer, c.now->address);
}

void Topology::change(const PoolChange& c, Delta& delta) {
  if (replace(state_.pools_, c.id, c.now).first) delta.pools.push_back(c.id);
}

void Topology::change(const PoolMemberChange& c, Delta& delta) {
  auto [differs, old] = replace(state_.pool_members_, c.id, c.now);
  if (!differs) return;
  if (old) delta.pools.push_back(old->pool);
  if (c.now) delta.pools.push_back(c.now->pool);
}

}  // namespace plexus::model
