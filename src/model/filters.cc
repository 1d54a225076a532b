// SPDX-License-Identifier: Apache-2.0
// Chains, rules, groups and security groups as they come, and what the simulator searches: tables of rules and sets of
// addresses, changed in place of being made anew.
#include <algorithm>
#include <iterator>
#include <utility>

#include "model/sorted_lists.h"
#include "model/topology.h"

namespace plexus::model {
namespace {

/// Keeps the record; true when more than its name or who refers to it changed.
template <typename Table, typename Change>
bool keep(Table& table, const Change& c) {
  const auto* old = table.find(c.id);
  const bool noticed = (old != nullptr) != c.now.has_value() ||
                       (old != nullptr && old->unreadable != c.now->unreadable);
  if (c.now) {
    auto now = *c.now;
    now.id = c.id;
    table.set(c.id, std::move(now));
  } else {
    table.erase(c.id);
  }
  return noticed;
}

/// The networks of a group that can be read, sorted.
std::vector<IpPrefix> networks_of(const AddressGroup* group) {
  std::vector<IpPrefix> out;
  if (group == nullptr || group->unreadable) return out;
  for (const IpPrefix& prefix : group->prefixes) out.push_back(prefix.network());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

/// The same but for the name.
bool same_to_packets(const TableRule& a, TableRule b) {
  b.name = a.name;
  return a == b;
}

/// As chains say it: what a packet of a machine in the group must be, to be allowed.
TableRule allowing(const SecurityRule& rule) {
  TableRule out;
  out.id = RuleId{rule.id.uuid};
  out.name = rule.name;
  out.ethertype = rule.ethertype;
  out.protocol = rule.protocol;
  if (rule.ports) out.destination_ports.push_back(*rule.ports);
  out.icmp_type = rule.icmp_type;
  out.icmp_code = rule.icmp_code;
  if (rule.ingress) {
    out.source = rule.remote_prefix;
    out.source_group = rule.remote_address_group;
    out.source_members = rule.remote_group;
  } else {
    out.destination = rule.remote_prefix;
    out.destination_group = rule.remote_address_group;
    out.destination_members = rule.remote_group;
  }
  // Any rule that a packet meets allows it, so those that say least are asked first: they cost the fewest bits. Who is at
  // the other end divides packets most.
  out.position = static_cast<uint32_t>(
      rule.ethertype.has_value() + rule.protocol.has_value() + rule.ports.has_value() +
      rule.icmp_type.has_value() + rule.icmp_code.has_value() +
      8 * (rule.remote_prefix || rule.remote_address_group || rule.remote_group));
  return out;
}

/// Changes the entry of a table of tables; an empty one goes.
template <typename Table, typename Id, typename Change>
void change_entry(Table& table, const Id& id, Change&& change) {
  const auto* old = table.find(id);
  auto now = old != nullptr ? *old : std::decay_t<decltype(*old)>();
  change(now);
  if (now.empty())
    table.erase(id);
  else
    table.set(id, std::move(now));
}

}  // namespace

void Topology::change(const AddressGroupChange& c, Delta& delta) {
  const std::vector<IpPrefix> before = networks_of(state_.address_group(c.id));
  if (keep(state_.address_groups_, c)) delta.address_groups.push_back(c.id);
  const std::vector<IpPrefix> after = networks_of(state_.address_group(c.id));
  const auto gone = minus(before, after), come = minus(after, before);
  if (gone.empty() && come.empty()) return;
  change_entry(state_.address_sets_, c.id, [&](AddressSet& set) {
    for (const IpPrefix& prefix : gone) set.remove(prefix);
    for (const IpPrefix& prefix : come) set.add(prefix);
  });
  for (const auto* list : {&gone, &come})
    for (const IpPrefix& prefix : *list) delta.group_prefixes.emplace_back(c.id, prefix);
}

void Topology::change(const PortGroupChange& c, Delta& delta) {
  if (keep(state_.port_groups_, c)) delta.port_groups.push_back(c.id);
}

void Topology::change(const ChainChange& c, Delta& delta) {
  if (keep(state_.chains_, c)) delta.chains.push_back(c.id);
}

void Topology::change(const RuleChange& c, Delta& delta) {
  const TableRule* old = state_.rules_.find(c.id);
  std::optional<TableRule> now;
  if (c.now) {
    now.emplace(TableRule{*c.now});
    now->id = c.id;
  }
  if (old == nullptr ? !now : now && *old == *now) return;
  // First what comes: a rule that asks as before has asked all the time.
  if (now) count_asking(*now, true, delta);
  if (old != nullptr) count_asking(*old, false, delta);
  if (old == nullptr || !now || !same_to_packets(*old, *now)) {
    if (old != nullptr) delta.rules.emplace_back(old->chain, region_of(*old));
    if (now) delta.rules.emplace_back(now->chain, region_of(*now));
  }
  if (old != nullptr)
    change_entry(state_.chain_tables_, ChainId(old->chain),
                 [&](RuleTable& table) { table.remove(*old); });
  if (!now) {
    state_.rules_.erase(c.id);
    return;
  }
  const ChainId chain = now->chain;
  state_.rules_.set(c.id, *std::move(now));
  change_entry(state_.chain_tables_, chain,
               [&](RuleTable& table) { table.add(*state_.rules_.find(c.id)); });
}

void Topology::count_asking(const TableRule& rule, bool now, Delta& delta) {
  const auto count = [now](unsigned& n) {
    n = now ? n + 1 : n - 1;
    return n == (now ? 1u : 0u);
  };
  bool noticed = false;
  if (rule.connection == 0 && rule.action == RuleAction::snat && rule.out_port &&
      !rule.is_inverted(Condition::out_port)) {
    auto& at = chain_links_[rule.chain].asking_at;
    noticed = count(at[*rule.out_port]);
    if (at[*rule.out_port] == 0) at.erase(*rule.out_port);
  } else if (rule.connection != 0 || rule.action == RuleAction::dnat ||
             rule.action == RuleAction::snat) {
    noticed = count(chain_links_[rule.chain].asking);
  }
  if (rule.action == RuleAction::jump && rule.jump_chain) {
    auto& jumps = chain_links_[rule.chain].jumps;
    auto& from = chain_links_[*rule.jump_chain].jumped_from;
    if (count(jumps[*rule.jump_chain])) noticed = true;
    (void)count(from[rule.chain]);
    if (jumps[*rule.jump_chain] == 0) jumps.erase(*rule.jump_chain);
    if (from[rule.chain] == 0) from.erase(rule.chain);
  }
  if (!noticed) return;

  // Whoever leads here may ask now, or no more.
  std::vector<ChainId> leading{rule.chain};
  for (size_t i = 0; i < leading.size(); ++i)
    for (const auto& [caller, n] : chain_links_[leading[i]].jumped_from)
      if (std::find(leading.begin(), leading.end(), caller) == leading.end())
        leading.push_back(caller);
  for (const ChainId id : leading) {
    const Tracking tracking = tracking_from(id);
    const Tracking* old = state_.tracking(id);
    if (tracking == (old != nullptr ? *old : Tracking{})) continue;
    delta.asking_chains.push_back(id);
    if (tracking == Tracking{})
      state_.tracking_.erase(id);
    else
      state_.tracking_.set(id, tracking);
  }
  for (const ChainId id : leading)
    if (chain_links_[id].empty()) chain_links_.erase(id);
  if (rule.jump_chain && chain_links_[*rule.jump_chain].empty())
    chain_links_.erase(*rule.jump_chain);
}

Tracking Topology::tracking_from(ChainId chain) const {
  Tracking out;
  std::vector<ChainId> reached{chain};
  for (size_t i = 0; i < reached.size(); ++i) {
    const auto found = chain_links_.find(reached[i]);
    if (found == chain_links_.end()) continue;
    const ChainLinks& links = found->second;
    out.everywhere = out.everywhere || links.asking != 0;
    for (const auto& [port, n] : links.asking_at) out.ports.push_back(port);
    for (const auto& [next, n] : links.jumps)
      if (std::find(reached.begin(), reached.end(), next) == reached.end()) reached.push_back(next);
  }
  std::sort(out.ports.begin(), out.ports.end());
  out.ports.erase(std::unique(out.ports.begin(), out.ports.end()), out.ports.end());
  return out;
}

void Topology::change(const SecurityGroupChange& c, Delta& delta) {
  const SecurityGroup* old = state_.security_group(c.id);
  const bool other = old != nullptr && c.now && old->stateful != c.now->stateful;
  if (keep(state_.security_groups_, c) || other) delta.security_groups.push_back(c.id);
}

void Topology::change(const SecurityRuleChange& c, Delta& delta) {
  const SecurityRule* found = state_.security_rule(c.id);
  const std::optional<SecurityRule> old = found != nullptr ? std::optional(*found) : std::nullopt;
  std::optional<SecurityRule> now = c.now;
  if (now) now->id = c.id;
  if (old == now) return;
  const auto put = [&](const SecurityRule& rule, const TableRule& compiled, bool add) {
    const auto* tables = state_.security_tables_.find(rule.group);
    Snapshot::SecurityTables copy = tables != nullptr ? *tables : Snapshot::SecurityTables();
    RuleTable& table = rule.ingress ? copy.ingress : copy.egress;
    if (add)
      table.add(compiled);
    else
      table.remove(compiled);
    if (copy.ingress.empty() && copy.egress.empty())
      state_.security_tables_.erase(rule.group);
    else
      state_.security_tables_.set(rule.group, std::move(copy));
    delta.security_rules.push_back({rule.group, rule.ingress, region_of(compiled)});
  };
  // What cannot be read allows nothing.
  if (old && !old->unreadable) put(*old, *state_.allowing_.find(c.id), false);
  if (now && !now->unreadable) {
    state_.allowing_.set(c.id, allowing(*now));
    put(*now, *state_.allowing_.find(c.id), true);
  } else {
    state_.allowing_.erase(c.id);
  }
  if (now)
    state_.security_rules_.set(c.id, *std::move(now));
  else
    state_.security_rules_.erase(c.id);
}

void Topology::change(const GroupMembersChange& c, Delta& delta) {
  std::vector<GroupMember> now = c.now;
  std::sort(now.begin(), now.end());
  now.erase(std::unique(now.begin(), now.end()), now.end());
  auto& parts = member_parts_[c.group];
  std::vector<GroupMember>& part = parts[c.part];
  const auto gone = minus(part, now), come = minus(now, part);
  part = std::move(now);
  if (part.empty()) parts.erase(c.part);
  if (parts.empty()) member_parts_.erase(c.group);
  if (gone.empty() && come.empty()) return;
  const auto each = [](const std::vector<GroupMember>& members, auto&& visit) {
    for (const GroupMember& member : members)
      for (const IpAddr& a : member.addresses)
        if (!a.is_none()) visit(a, IpPrefix{a, static_cast<uint8_t>(a.bits())});
  };
  // First who comes: whoever only moves to another part has never been away.
  change_entry(state_.member_sets_, c.group, [&](AddressSet& set) {
    each(come, [&](const IpAddr& address, const IpPrefix& prefix) {
      if (set.add(prefix)) delta.members.emplace_back(c.group, address);
    });
    each(gone, [&](const IpAddr& address, const IpPrefix& prefix) {
      if (set.remove(prefix)) delta.members.emplace_back(c.group, address);
    });
  });
}

}  // namespace plexus::model
