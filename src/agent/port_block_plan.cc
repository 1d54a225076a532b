// SPDX-License-Identifier: Apache-2.0
#include "agent/port_block_plan.h"

#include <algorithm>

namespace plexus::agent {
namespace {

bool is_outside(const model::PortBlock& block, const model::SnatPool& pool) {
  return std::find(pool.addresses.begin(), pool.addresses.end(), block.address) ==
             pool.addresses.end() ||
         block.first < pool.ports.first || block.first + block.length - 1 > pool.ports.last;
}

/// Something to give back, or a family that has no block.
bool is_unsettled(const model::SnatPool& pool, const std::vector<model::PortBlock>& blocks) {
  if (std::any_of(blocks.begin(), blocks.end(),
                  [&](const model::PortBlock& b) { return is_outside(b, pool); }))
    return true;
  return std::any_of(pool.addresses.begin(), pool.addresses.end(), [&](const IpAddr& address) {
    return std::none_of(blocks.begin(), blocks.end(), [&](const model::PortBlock& b) {
      return b.address.family == address.family;
    });
  });
}

}  // namespace

void PortBlockPlan::take_in(const model::Change& change, MonoTime now) {
  if (const auto* c = std::get_if<model::SnatPoolChange>(&change)) {
    if (!c->now && !pools_.contains(c->id)) return;
    Pool& pool = pools_[c->id];
    if (pool.record == c->now) return;
    if (!c->now) pool.gone_since = now;
    pool.record = c->now;
    // Whatever was refused before may be granted now.
    pool.not_before = now;
    pool.pause = Duration(0);
    pool.trouble.clear();
  } else if (const auto* blocks = std::get_if<model::PortBlocksChange>(&change)) {
    const auto [it, fresh] = pools_.try_emplace(blocks->pool);
    if (fresh) it->second.gone_since = now;
    it->second.blocks = blocks->now;
  } else {
    return;
  }
  std::erase_if(pools_, [](const auto& p) {
    return !p.second.record && p.second.blocks.empty() && !p.second.asked;
  });
}

void PortBlockPlan::need(SnatPoolId pool, IpFamily family) {
  const auto found = pools_.find(pool);
  if (found == pools_.end()) return;
  (family == IpFamily::v6 ? found->second.need6 : found->second.need4) = true;
}

std::optional<PortBlockPlan::Order> PortBlockPlan::next(SnatPoolId id, const Pool& pool,
                                                        MonoTime now) {
  if (!pool.record) {
    if (pool.blocks.empty() || now - pool.gone_since < kGiveBackAfter) return std::nullopt;
    model::SnatPool gone;
    gone.id = id;
    return Order{Order::Kind::give_back, gone, IpFamily::none};
  }
  // What it is cannot be told: nothing is taken, nothing given back.
  if (pool.record->unreadable) return std::nullopt;
  if (is_unsettled(*pool.record, pool.blocks))
    return Order{Order::Kind::settle, *pool.record, IpFamily::none};
  if (pool.need4) return Order{Order::Kind::grow, *pool.record, IpFamily::v4};
  if (pool.need6) return Order{Order::Kind::grow, *pool.record, IpFamily::v6};
  return std::nullopt;
}

std::vector<PortBlockPlan::Order> PortBlockPlan::due(MonoTime now) {
  std::vector<Order> orders;
  for (auto& [id, pool] : pools_) {
    if (pool.asked || now < pool.not_before) continue;
    auto order = next(id, pool, now);
    if (!order) continue;
    pool.asked = true;
    if (order->kind == Order::Kind::grow)
      (order->family == IpFamily::v6 ? pool.need6 : pool.need4) = false;
    orders.push_back(std::move(*order));
  }
  return orders;
}

void PortBlockPlan::done(SnatPoolId id, const std::optional<Error>& error, MonoTime now) {
  const auto found = pools_.find(id);
  if (found == pools_.end()) return;
  Pool& pool = found->second;
  pool.asked = false;
  if (error) {
    pool.trouble = error->message;
    pool.pause = std::clamp<Duration>(pool.pause * 2, kLeastPause, kMostPause);
    pool.not_before = now + pool.pause;
  } else {
    pool.trouble.clear();
    pool.pause = Duration(0);
    pool.not_before = now + kGrantPause;
  }
  if (!pool.record && pool.blocks.empty()) pools_.erase(found);
}

std::optional<MonoTime> PortBlockPlan::next_growth() const {
  std::optional<MonoTime> next;
  for (const auto& [id, pool] : pools_) {
    if (pool.asked || !pool.record || pool.record->unreadable || !(pool.need4 || pool.need6))
      continue;
    next = next ? std::min(*next, pool.not_before) : pool.not_before;
  }
  return next;
}

std::vector<PortBlockPlan::Status> PortBlockPlan::status() const {
  std::vector<Status> out;
  for (const auto& [id, pool] : pools_)
    out.push_back({id, pool.record ? pool.record->name : "", pool.blocks, pool.trouble});
  return out;
}

}  // namespace plexus::agent
