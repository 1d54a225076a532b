// SPDX-License-Identifier: Apache-2.0
#include "agent/port_block_plan.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "state/instantiate.h"

namespace plexus::agent {
namespace {

constexpr IpFamily kFamilies[] = {IpFamily::v4, IpFamily::v6};

bool is_outside(const model::PortBlock& block, const model::SnatPool& pool) {
  return std::find(pool.addresses.begin(), pool.addresses.end(), block.address) ==
             pool.addresses.end() ||
         block.first < pool.ports.first || block.first + block.length - 1 > pool.ports.last;
}

}  // namespace

void PortBlockPlan::Asking::done(const std::optional<Error>& error, MonoTime now) {
  trouble = error ? error->message : "";
  pause = error ? std::clamp<Duration>(pause * 2, kLeastPause, kMostPause) : Duration(0);
  not_before = now + (error ? pause : kGrantPause);
}

void PortBlockPlan::Asking::forgive(MonoTime now) {
  trouble.clear();
  pause = Duration(0);
  not_before = now;
}

bool PortBlockPlan::Pool::lacks(IpFamily family) const {
  const auto of_family = [&](const IpAddr& address) { return address.family == family; };
  return record && std::any_of(record->addresses.begin(), record->addresses.end(), of_family) &&
         std::none_of(blocks.begin(), blocks.end(), [&](const model::PortBlock& b) {
           return of_family(b.address) && !is_outside(b, *record);
         });
}

void PortBlockPlan::take_in(const model::Change& change, MonoTime now) {
  if (const auto* c = std::get_if<model::SnatPoolChange>(&change)) {
    if (!c->now && !pools_.contains(c->id)) return;
    Pool& pool = pools_[c->id];
    if (pool.record == c->now) return;
    if (!c->now) pool.gone_since = now;
    pool.record = c->now;
    // Whatever was refused before may be granted now.
    pool.v4.forgive(now);
    pool.v6.forgive(now);
    pool.back.forgive(now);
  } else if (const auto* blocks = std::get_if<model::PortBlocksChange>(&change)) {
    const auto [it, fresh] = pools_.try_emplace(blocks->pool);
    Pool& pool = it->second;
    if (fresh) pool.gone_since = now;
    const bool lacked[] = {pool.lacks(kFamilies[0]), pool.lacks(kFamilies[1])};
    pool.blocks = blocks->now;
    for (size_t i = 0; i < std::size(kFamilies); ++i)
      if (lacked[i] && !pool.lacks(kFamilies[i])) pool.of(kFamilies[i]).forgive(now);
    std::erase_if(pool.unused_since, [&](const auto& unused) {
      return std::none_of(pool.blocks.begin(), pool.blocks.end(),
                          [&](const model::PortBlock& b) { return b.id == unused.first; });
    });
  } else {
    return;
  }
  std::erase_if(pools_, [](const auto& p) {
    return !p.second.record && p.second.blocks.empty() && !p.second.asked;
  });
}

void PortBlockPlan::need(SnatPoolId pool, IpFamily family) {
  const auto found = pools_.find(pool);
  if (found != pools_.end()) found->second.of(family).need = true;
}

std::set<Uuid> PortBlockPlan::blocks() const {
  std::set<Uuid> all;
  for (const auto& [id, pool] : pools_)
    for (const model::PortBlock& block : pool.blocks) all.insert(block.id);
  return all;
}

void PortBlockPlan::heard(const std::set<Uuid>& asked, const std::set<Uuid>& used, MonoTime now) {
  heard_ = now;
  for (auto& [id, pool] : pools_) {
    for (const model::PortBlock& block : pool.blocks) {
      if (used.contains(block.id))
        pool.unused_since.erase(block.id);
      else if (asked.contains(block.id))
        pool.unused_since.try_emplace(block.id, now);
    }
  }
}

std::vector<model::PortBlock> PortBlockPlan::to_give_back(const Pool& pool, MonoTime now) {
  std::vector<model::PortBlock> going;
  const auto unused = [&](const model::PortBlock& block, Duration time) {
    const auto since = pool.unused_since.find(block.id);
    return since != pool.unused_since.end() && now - since->second >= time;
  };
  if (!pool.record) {
    if (now - pool.gone_since < kGiveBackAfter) return going;
    std::copy_if(pool.blocks.begin(), pool.blocks.end(), std::back_inserter(going),
                 [&](const model::PortBlock& b) { return unused(b, Duration(0)); });
    return going;
  }
  for (const IpFamily family : kFamilies) {
    std::vector<model::PortBlock> inside;
    for (const model::PortBlock& block : pool.blocks) {
      if (block.address.family != family) continue;
      if (!is_outside(block, *pool.record))
        inside.push_back(block);
      else if (unused(block, kGiveBackAfter))
        going.push_back(block);
    }
    // New connections are given ports of the largest few; one of these stays, of several a small one.
    std::stable_sort(inside.begin(), inside.end(),
                     [](const auto& a, const auto& b) { return a.length > b.length; });
    size_t left = std::min(inside.size(), state::kMaxLeaseBlocks);
    for (size_t i = 0; i < inside.size(); ++i) {
      const bool leased = i < state::kMaxLeaseBlocks;
      if (!unused(inside[i], leased ? kShrinkAfter : kGiveBackAfter) || (leased && left == 1))
        continue;
      if (leased) --left;
      going.push_back(inside[i]);
    }
  }
  return going;
}

std::optional<PortBlockPlan::Order> PortBlockPlan::next(SnatPoolId id, const Pool& pool,
                                                        MonoTime now) const {
  // What it is cannot be told: nothing is taken, nothing given back.
  if (pool.record && pool.record->unreadable) return std::nullopt;
  for (const IpFamily family : kFamilies)
    if (pool.lacks(family) && now >= pool.of(family).not_before)
      return Order{Order::Kind::settle, *pool.record, IpFamily::none, {}};
  if (now >= pool.back.not_before && heard_ && now - *heard_ <= kHeardLately) {
    if (auto going = to_give_back(pool, now); !going.empty()) {
      model::SnatPool named;
      named.id = id;
      return Order{Order::Kind::give_back, named, IpFamily::none, std::move(going)};
    }
  }
  // In turns.
  const bool six_first = pool.grown == IpFamily::v4;
  for (const IpFamily family :
       {six_first ? IpFamily::v6 : IpFamily::v4, six_first ? IpFamily::v4 : IpFamily::v6}) {
    const Family& f = pool.of(family);
    if (pool.record && f.need && !pool.lacks(family) && now >= f.not_before)
      return Order{Order::Kind::grow, *pool.record, family, {}};
  }
  return std::nullopt;
}

std::vector<PortBlockPlan::Order> PortBlockPlan::due(MonoTime now) {
  std::vector<Order> orders;
  for (auto& [id, pool] : pools_) {
    if (pool.asked) continue;
    auto order = next(id, pool, now);
    if (!order) continue;
    if (order->kind == Order::Kind::grow) {
      pool.of(order->family).need = false;
      pool.grown = order->family;
    }
    pool.asked = order;
    orders.push_back(std::move(*order));
  }
  return orders;
}

void PortBlockPlan::done(SnatPoolId id, const std::optional<Error>& error, MonoTime now) {
  const auto found = pools_.find(id);
  if (found == pools_.end() || !found->second.asked) return;
  Pool& pool = found->second;
  const Order asked = *std::exchange(pool.asked, std::nullopt);
  switch (asked.kind) {
    case Order::Kind::settle:
      for (const IpFamily family : kFamilies)
        if (pool.lacks(family)) pool.of(family).done(error, now);
      break;
    case Order::Kind::grow:
      pool.of(asked.family).done(error, now);
      break;
    case Order::Kind::give_back:
      pool.back.done(error, now);
      break;
  }
  if (!pool.record && pool.blocks.empty()) pools_.erase(found);
}

std::optional<MonoTime> PortBlockPlan::next_growth() const {
  std::optional<MonoTime> next;
  for (const auto& [id, pool] : pools_) {
    if (pool.asked || !pool.record || pool.record->unreadable) continue;
    for (const IpFamily family : kFamilies) {
      const Family& f = pool.of(family);
      if (!f.need) continue;
      next = next ? std::min(*next, f.not_before) : f.not_before;
    }
  }
  return next;
}

std::vector<PortBlockPlan::Status> PortBlockPlan::status() const {
  std::vector<Status> out;
  for (const auto& [id, pool] : pools_) {
    std::string trouble = pool.v4.trouble;
    for (const std::string* more : {&pool.v6.trouble, &pool.back.trouble})
      if (!more->empty() && *more != trouble) trouble += (trouble.empty() ? "" : "; ") + *more;
    out.push_back({id, pool.record ? pool.record->name : "", pool.blocks, std::move(trouble)});
  }
  return out;
}

}  // namespace plexus::agent
