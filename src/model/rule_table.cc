// SPDX-License-Identifier: Apache-2.0
#include "model/rule_table.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

namespace plexus::model {
namespace {

/// One field of a shape, and the rule's values of it: several when ranges of ports are.
struct Values {
  RuleField field{};
  std::vector<BitPrefix> prefixes;
};

/// More entries than this no rule has in a table: further port ranges are asked at the rule itself.
constexpr size_t kMaxEntries = 64;

BitPrefix bits_of(const Uuid& id) {
  return {id.bytes, 128};
}
BitPrefix bits_of(uint16_t value, unsigned length = 16) {
  return {{static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)},
          static_cast<uint8_t>(length)};
}
BitPrefix bits_of(const IpPrefix& prefix) {
  return {prefix.network().addr.bytes, prefix.length};
}

/// The leading bits that the mask has; nothing when others are set, too.
std::optional<unsigned> leading(const MacAddr& mask) {
  unsigned length = 0;
  while (length < 48 && (mask.bytes[length / 8] >> (7 - length % 8) & 1) != 0) ++length;
  for (unsigned i = length; i < 48; ++i)
    if ((mask.bytes[i / 8] >> (7 - i % 8) & 1) != 0) return std::nullopt;
  return length;
}

std::optional<BitPrefix> bits_of(const MaskedMac& wanted) {
  const auto length = leading(wanted.mask);
  if (!length) return std::nullopt;
  BitPrefix out;
  std::copy(wanted.mac.bytes.begin(), wanted.mac.bytes.end(), out.bytes.begin());
  out.length = static_cast<uint8_t>(*length);
  return out;
}

/// The fewest prefixes that together are the ranges.
std::vector<BitPrefix> bits_of(std::vector<PortRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<BitPrefix> out;
  uint32_t next = 0;  // below it all is said
  for (size_t i = 0; i < ranges.size();) {
    next = std::max<uint32_t>(next, ranges[i].first);
    uint32_t end = ranges[i].last + 1u;
    for (++i; i < ranges.size() && ranges[i].first <= end; ++i)
      end = std::max(end, ranges[i].last + 1u);
    while (next < end) {
      unsigned length = 16;
      while (length > 0) {
        const uint32_t size = 1u << (17 - length);
        if (next % size != 0 || next + size > end) break;
        --length;
      }
      out.push_back(bits_of(static_cast<uint16_t>(next), length));
      next += 1u << (16 - length);
    }
  }
  return out;
}

/// The rule's fields that become tries, and what is left of its conditions then.
std::vector<Values> values_of(const TableRule& rule, uint32_t& left) {
  std::vector<Values> out;
  left = 0;
  if (rule.unreadable) return out;  // it may concern any packet
  const auto put = [&](RuleField field, Condition c, std::vector<BitPrefix> prefixes) {
    if (rule.is_inverted(c))
      left |= bit_of(c);
    else
      out.push_back({field, std::move(prefixes)});
  };
  if (rule.in_port) put(RuleField::in_port, Condition::in_port, {bits_of(rule.in_port->uuid)});
  if (rule.out_port) put(RuleField::out_port, Condition::out_port, {bits_of(rule.out_port->uuid)});
  if (rule.in_port_group)
    put(RuleField::in_port_group, Condition::in_port_group, {bits_of(rule.in_port_group->uuid)});
  if (rule.out_port_group)
    put(RuleField::out_port_group, Condition::out_port_group, {bits_of(rule.out_port_group->uuid)});
  if (rule.ethertype) put(RuleField::ethertype, Condition::ethertype, {bits_of(*rule.ethertype)});
  if (rule.protocol)
    put(RuleField::protocol, Condition::protocol, {BitPrefix{{*rule.protocol}, 8}});
  if (rule.icmp_type) put(RuleField::icmp_type, Condition::icmp_type, {bits_of(*rule.icmp_type)});
  if (rule.icmp_code) put(RuleField::icmp_code, Condition::icmp_code, {bits_of(*rule.icmp_code)});
  size_t entries = 1;
  if (!rule.destination_ports.empty()) {
    auto ports = bits_of(rule.destination_ports);
    if (ports.size() <= kMaxEntries) {
      if (!rule.is_inverted(Condition::destination_ports))
        entries = std::max<size_t>(1, ports.size());
      put(RuleField::destination_ports, Condition::destination_ports, std::move(ports));
    } else {
      left |= bit_of(Condition::destination_ports);
    }
  }
  if (rule.destination)
    put(rule.destination->addr.is_v6() ? RuleField::destination6 : RuleField::destination4,
        Condition::destination, {bits_of(*rule.destination)});
  if (rule.source)
    put(rule.source->addr.is_v6() ? RuleField::source6 : RuleField::source4, Condition::source,
        {bits_of(*rule.source)});
  if (rule.destination_group)
    put(RuleField::destination_group, Condition::destination_group,
        {bits_of(rule.destination_group->uuid)});
  if (rule.source_group)
    put(RuleField::source_group, Condition::source_group, {bits_of(rule.source_group->uuid)});
  if (rule.destination_members)
    out.push_back({RuleField::destination_members, {bits_of(rule.destination_members->uuid)}});
  if (rule.source_members)
    out.push_back({RuleField::source_members, {bits_of(rule.source_members->uuid)}});
  if (!rule.source_ports.empty()) {
    auto ports = bits_of(rule.source_ports);
    if (entries * ports.size() <= kMaxEntries)
      put(RuleField::source_ports, Condition::source_ports, std::move(ports));
    else
      left |= bit_of(Condition::source_ports);
  }
  const auto put_mac = [&](RuleField field, Condition c, const MaskedMac& wanted) {
    if (const auto bits = bits_of(wanted))
      put(field, c, {*bits});
    else
      left |= bit_of(c);
  };
  if (rule.dst_mac) put_mac(RuleField::dst_mac, Condition::dst_mac, *rule.dst_mac);
  if (rule.src_mac) put_mac(RuleField::src_mac, Condition::src_mac, *rule.src_mac);
  if (rule.dscp)
    put(RuleField::dscp, Condition::dscp, {BitPrefix{{static_cast<uint8_t>(*rule.dscp << 2)}, 6}});
  if (rule.tcp_flags) left |= bit_of(Condition::tcp_flags);
  if (rule.fragment) left |= bit_of(Condition::fragment);
  if (rule.connection != 0) left |= bit_of(Condition::connection);
  if (rule.inner_source) left |= bit_of(Condition::inner_source);
  if (rule.inner_destination) left |= bit_of(Condition::inner_destination);
  if (rule.vlan) left |= bit_of(Condition::vlan);
  if (rule.through_bridge) left |= bit_of(Condition::through_bridge);
  if (rule.through_router) left |= bit_of(Condition::through_router);
  return out;
}

const TableRule* earlier(const TableRule* a, const TableRule* b) {
  if (a == nullptr || b == nullptr) return a != nullptr ? a : b;
  return asked_before(*b, *a) ? b : a;
}

using LevelPtr = std::shared_ptr<const RuleTable::Level>;

LevelPtr changed(const LevelPtr& level, std::span<const Values> fields, const TableRule& rule,
                 uint32_t left, bool add) {
  auto copy =
      level ? std::make_shared<RuleTable::Level>(*level) : std::make_shared<RuleTable::Level>();
  if (fields.empty()) {
    auto& rules = copy->rules;
    const auto at = std::lower_bound(
        rules.begin(), rules.end(), rule,
        [](const RuleTable::Entry& e, const Rule& r) { return asked_before(*e.rule, r); });
    const bool there = at != rules.end() && at->rule->id == rule.id;
    if (add)
      rules.insert(at, {&rule, left});
    else if (there)
      rules.erase(at);
    if (rules.empty()) return nullptr;
    copy->first = rules.front().rule;
    return copy;
  }
  for (const BitPrefix& prefix : fields.front().prefixes)
    copy->trie.update(prefix, [&](const RuleTable::Below& below) {
      return RuleTable::Below{changed(below.level, fields.subspan(1), rule, left, add)};
    });
  if (copy->trie.empty()) return nullptr;
  copy->first = copy->trie.root()->summary.rule;
  return copy;
}

void narrow(uint16_t& value, uint16_t& mask, const std::vector<PortRange>& ranges) {
  if (ranges.empty()) return;
  uint16_t low = 0xffff, high = 0;
  for (const PortRange& r : ranges) {
    low = std::min(low, r.first);
    high = std::max(high, r.last);
  }
  const auto differing = static_cast<uint16_t>(low ^ high);
  mask = static_cast<uint16_t>(~(0xffffu >> std::countl_zero(differing)));
  value = low & mask;
}

}  // namespace

RuleTable::First::First(const Below& below, const First* left, const First* right)
    : rule(below.level ? below.level->first : nullptr) {
  if (left != nullptr) rule = earlier(rule, left->rule);
  if (right != nullptr) rule = earlier(rule, right->rule);
}

void RuleTable::add(const TableRule& rule) {
  change(rule, true);
}

void RuleTable::remove(const TableRule& rule) {
  change(rule, false);
}

void RuleTable::change(const TableRule& rule, bool add) {
  uint32_t left = 0;
  const std::vector<Values> values = values_of(rule, left);
  uint32_t fields = 0;
  for (const Values& v : values) fields |= bit_of(v.field);
  auto shape = std::find_if(shapes_.begin(), shapes_.end(),
                            [&](const Shape& s) { return s.fields == fields; });
  if (shape == shapes_.end()) shape = shapes_.insert(shapes_.end(), Shape{fields, nullptr});
  shape->level = changed(shape->level, values, rule, left, add);
  if (!shape->level) shapes_.erase(shape);
  std::sort(shapes_.begin(), shapes_.end(), [](const Shape& a, const Shape& b) {
    return asked_before(*a.level->first, *b.level->first);
  });
}

PacketRegion region_of(const TableRule& rule) {
  PacketRegion out;
  if (rule.unreadable) return out;
  const auto says = [&](const auto& field, Condition c) { return field && !rule.is_inverted(c); };
  if (says(rule.ethertype, Condition::ethertype)) {
    out.ethertype = *rule.ethertype;
    out.ethertype_mask = 0xffff;
  }
  if (says(rule.protocol, Condition::protocol)) {
    out.protocol = *rule.protocol;
    out.protocol_mask = 0xff;
  }
  if (says(rule.dscp, Condition::dscp)) {
    out.tos = static_cast<uint8_t>(*rule.dscp << 2);
    out.tos_mask = 0xfc;
  }
  if (says(rule.tcp_flags, Condition::tcp_flags)) {
    out.tcp_flags_mask = rule.tcp_flags->looked_at;
    out.tcp_flags = rule.tcp_flags->set & rule.tcp_flags->looked_at;
  }
  if (!rule.is_inverted(Condition::source_ports))
    narrow(out.tp_src, out.tp_src_mask, rule.source_ports);
  if (!rule.is_inverted(Condition::destination_ports))
    narrow(out.tp_dst, out.tp_dst_mask, rule.destination_ports);
  if (says(rule.icmp_type, Condition::icmp_type)) {
    out.tp_src = *rule.icmp_type;
    out.tp_src_mask = 0xffff;
  }
  if (says(rule.icmp_code, Condition::icmp_code)) {
    out.tp_dst = *rule.icmp_code;
    out.tp_dst_mask = 0xffff;
  }
  if (says(rule.source, Condition::source)) out.source = rule.source->network();
  if (says(rule.destination, Condition::destination)) out.destination = rule.destination->network();
  return out;
}

}  // namespace plexus::model
