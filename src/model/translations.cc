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

/// The record as it is now, whatever id it says itself.
template <typename Change>
auto with_id(const Change& c) {
  auto now = c.now;
  if (now) now->id = c.id;
  return now;
}

/// Who belongs to whom; nobody has an empty set.
template <typename Whole, typename Part>
void note_part(std::map<Whole, std::set<Part>>& parts, const Whole& whole, const Part& part,
               bool add) {
  if (add) {
    parts[whole].insert(part);
    return;
  }
  const auto at = parts.find(whole);
  if (at == parts.end()) return;
  at->second.erase(part);
  if (at->second.empty()) parts.erase(at);
}

template <typename Whole, typename Part>
const std::set<Part>& parts_of(const std::map<Whole, std::set<Part>>& parts, const Whole& whole) {
  static const std::set<Part> none;
  const auto at = parts.find(whole);
  return at != parts.end() ? at->second : none;
}

}  // namespace

void Topology::keep_translations(RouterId id, TranslationTable table, Delta& delta) {
  const TranslationTable* old = state_.translations_.find(id);
  if ((old != nullptr ? old->kinds() : 0) != table.kinds()) delta.translation_kinds.push_back(id);
  if (table.empty())
    state_.translations_.erase(id);
  else
    state_.translations_.set(id, std::move(table));
}

void Topology::put(const FloatingIp& record, bool add, Delta& delta) {
  const TranslationTable* old = state_.translations_.find(record.router);
  TranslationTable table = old != nullptr ? *old : TranslationTable();
  if (record.address.is_none()) {
    // A readable record has an address.
    if (!record.unreadable) return;
    table.put_unreadable(add);
  } else {
    table.put(record.address, record.id, add);
  }
  delta.translations.emplace_back(record.router, record.address);
  if (record.inside) {
    table.put_inside(*record.inside, record.id, add);
    delta.translations.emplace_back(record.router, *record.inside);
  }
  keep_translations(record.router, std::move(table), delta);
}

void Topology::put(const SnatPool& record, bool add, Delta& delta) {
  const TranslationTable* old = state_.translations_.find(record.router);
  TranslationTable table = old != nullptr ? *old : TranslationTable();
  for (const IpAddr& address : record.addresses) {
    table.put(address, record.id, add);
    delta.translations.emplace_back(record.router, address);
  }
  keep_translations(record.router, std::move(table), delta);
}

void Topology::put(const Vip& record, bool add, Delta& delta) {
  const LoadBalancer* balancer = state_.load_balancer(record.load_balancer);
  if (balancer == nullptr) return;
  const TranslationTable* old = state_.translations_.find(balancer->router);
  TranslationTable table = old != nullptr ? *old : TranslationTable();
  if (record.address.is_none()) {
    if (!record.unreadable) return;
    table.put_unreadable(add);
  } else {
    table.put(record.address, record.id, add);
  }
  delta.translations.emplace_back(balancer->router, record.address);
  keep_translations(balancer->router, std::move(table), delta);
}

void Topology::put(const PoolMember& record, const Pool& pool, bool add, Delta& delta) {
  const LoadBalancer* balancer = state_.load_balancer(pool.load_balancer);
  if (balancer == nullptr || record.address.is_none()) return;
  const TranslationTable* old = state_.translations_.find(balancer->router);
  TranslationTable table = old != nullptr ? *old : TranslationTable();
  table.put_member(record.address, record.id, add);
  delta.translations.emplace_back(balancer->router, record.address);
  keep_translations(balancer->router, std::move(table), delta);
}

void Topology::change(const FloatingIpChange& c, Delta& delta) {
  const auto now = with_id(c);
  const auto [differs, old] = replace(state_.floating_ips_, c.id, now);
  if (!differs) return;
  if (old) put(*old, false, delta);
  if (now) put(*now, true, delta);
}

void Topology::change(const SnatPoolChange& c, Delta& delta) {
  const auto now = with_id(c);
  const auto [differs, old] = replace(state_.snat_pools_, c.id, now);
  if (!differs) return;
  delta.snat_pools.push_back(c.id);
  if (old) put(*old, false, delta);
  if (now) put(*now, true, delta);
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
  const auto now = with_id(c);
  const LoadBalancer* old = state_.load_balancer(c.id);
  if (old != nullptr ? now && *old == *now : !now) return;
  delta.load_balancers.push_back(c.id);
  // Its virtual addresses and members are at its router, which is known by its record only.
  const auto put_all = [&](bool add) {
    for (const VipId id : parts_of(vips_of_, c.id)) put(*state_.vip(id), add, delta);
    for (const PoolId pool : parts_of(pools_of_, c.id))
      for (const PoolMemberId id : parts_of(members_of_, pool))
        put(*state_.pool_member(id), *state_.pool(pool), add, delta);
  };
  put_all(false);
  if (now)
    state_.load_balancers_.set(c.id, *now);
  else
    state_.load_balancers_.erase(c.id);
  put_all(true);
}

void Topology::change(const VipChange& c, Delta& delta) {
  const auto now = with_id(c);
  const auto [differs, old] = replace(state_.vips_, c.id, now);
  if (!differs) return;
  if (old) {
    put(*old, false, delta);
    note_part(vips_of_, old->load_balancer, c.id, false);
  }
  if (now) {
    put(*now, true, delta);
    note_part(vips_of_, now->load_balancer, c.id, true);
  }
}

void Topology::change(const PoolChange& c, Delta& delta) {
  const auto now = with_id(c);
  const auto [differs, old] = replace(state_.pools_, c.id, now);
  if (!differs) return;
  if (old && now && old->load_balancer == now->load_balancer) {
    if (old->admin_up != now->admin_up || old->unreadable != now->unreadable)
      delta.pools.push_back(c.id);
    return;
  }
  delta.pools.push_back(c.id);
  // Its members are at its load balancer's router, which is known by its record only.
  const auto put_all = [&](const Pool& pool, bool add) {
    for (const PoolMemberId id : parts_of(members_of_, c.id))
      put(*state_.pool_member(id), pool, add, delta);
    note_part(pools_of_, pool.load_balancer, c.id, add);
  };
  if (old) put_all(*old, false);
  if (now) put_all(*now, true);
}

void Topology::change(const PoolMemberChange& c, Delta& delta) {
  const auto now = with_id(c);
  const auto [differs, old] = replace(state_.pool_members_, c.id, now);
  if (!differs) return;
  for (const auto* record : {&old, &now})
    if (*record) changed_pools_.insert((*record)->pool);
  const bool there = old && now && old->pool == now->pool && old->address == now->address;
  if (!there || old->admin_up != now->admin_up || old->up != now->up ||
      old->unreadable != now->unreadable)
    delta.pool_members.push_back(c.id);
  if (there) return;
  for (const auto* record : {&old, &now}) {
    if (!*record) continue;
    if (const Pool* pool = state_.pool((*record)->pool); pool != nullptr)
      put(**record, *pool, record == &now, delta);
    note_part(members_of_, (*record)->pool, c.id, record == &now);
  }
}

void Topology::choose_serving(Delta& delta) {
  for (const PoolId pool : changed_pools_) {
    std::vector<Member> first, backups;
    if (const auto members = members_of_.find(pool); members != members_of_.end()) {
      for (const PoolMemberId id : members->second) {
        const PoolMember& m = *state_.pool_member(id);
        if (!m.up || !m.admin_up || m.unreadable || m.weight == 0 || m.address.is_none()) continue;
        (m.backup ? backups : first).push_back({id.uuid, m.address, m.port, m.weight});
      }
    }
    std::vector<Member>& serve = first.empty() ? backups : first;
    if (serve.size() > kMaxLargeMaglevMembers) serve.resize(kMaxLargeMaglevMembers);
    const auto& old = state_.serving(pool);
    if (old != nullptr ? old->members == serve : serve.empty()) continue;
    delta.serving.push_back(pool);
    if (serve.empty()) {
      state_.serving_.erase(pool);
      continue;
    }
    std::vector<MaglevMember> shares;
    shares.reserve(serve.size());
    for (const Member& m : serve) shares.push_back({m.id, m.weight});
    state_.serving_.set(
        pool, std::make_shared<const MemberSet>(MemberSet{std::move(serve), MaglevTable(shares)}));
  }
  changed_pools_.clear();
}

}  // namespace plexus::model
