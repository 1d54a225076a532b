// SPDX-License-Identifier: Apache-2.0
#include "sim/rule_search.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "flow/port_range.h"
#include "packet/headers.h"
#include "sim/delta_tags.h"
#include "sim/field_bits.h"

namespace plexus::sim {

using model::Condition;
using model::RuleField;

namespace {

/// Of Rule::connection.
uint8_t condition_bit(state::ConnectionState state) {
  const auto of = [](model::ConnectionCondition c) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(c));
  };
  switch (state) {
    case state::ConnectionState::untracked:
      return of(model::ConnectionCondition::untracked);
    case state::ConnectionState::new_:
      return of(model::ConnectionCondition::new_);
    case state::ConnectionState::established:
      return of(model::ConnectionCondition::established);
    case state::ConnectionState::related:
      return of(model::ConnectionCondition::related);
    case state::ConnectionState::invalid:
      return of(model::ConnectionCondition::invalid);
  }
  return 0;
}

}  // namespace

// ---- what packets have

bool RuleReader::is_ip() {
  const uint16_t type = j_.eth_type();
  return type == eth_type::kIpv4 || type == eth_type::kIpv6;
}

bool RuleReader::has_addresses() {
  return is_ip() || j_.key.is_arp();
}

bool RuleReader::has_addresses_of(IpFamily family) {
  return has_addresses() && j_.key.is_ipv6() == (family == IpFamily::v6);
}

bool RuleReader::has_header() {
  j_.ask_header();
  return j_.ip_frag() != FragKind::later;
}

bool RuleReader::has_ports() {
  if (!is_ip()) return false;
  const uint8_t protocol = j_.ip_proto();
  return (protocol == ip_proto::kTcp || protocol == ip_proto::kUdp ||
          protocol == ip_proto::kSctp) &&
         has_header();
}

bool RuleReader::is_tcp() {
  return is_ip() && j_.ip_proto() == ip_proto::kTcp && has_header();
}

bool RuleReader::has_icmp() {
  if (!is_ip()) return false;
  return j_.ip_proto() == (j_.key.is_ipv4() ? ip_proto::kIcmp : ip_proto::kIcmpv6) && has_header();
}

void RuleReader::depend(const Tag& tag) {
  dependencies_.add(tag, read_elsewhere(j_));
}

// ---- groups

const model::Port* RuleReader::port(RuleField field) const {
  return field == RuleField::in_port || field == RuleField::in_port_group ? ports_.in : ports_.out;
}

namespace {

template <size_t N>
bool leads_to_value(const model::AddressSet::Trie::Node* node, const Journey::FieldBits& address) {
  FieldReading<N> reading(address);
  while (node != nullptr) {
    const unsigned length = node->prefix.length;
    if (!reading.starts_with(node->prefix.bytes.data(), length)) return false;
    if (!node->value.empty()) return true;
    if (length == N * 8) return false;
    node = node->child[reading.bit(length)].get();
  }
  return false;
}

}  // namespace

bool RuleReader::in_set(const model::AddressSet* set, bool source) {
  if (set == nullptr || !has_addresses()) return false;
  const Journey::FieldBits address = j_.bits_of(source ? BitField::src_ip : BitField::dst_ip);
  return j_.key.is_ipv6() ? leads_to_value<16>(set->root(IpFamily::v6), address)
                          : leads_to_value<4>(set->root(IpFamily::v4), address);
}

Holds RuleReader::in_port_group(const model::Port* port, bool known, PortGroupId group) {
  if (known && port == nullptr) return Holds::no;
  depend(port_group_tag(group));
  const model::PortGroup* record = snapshot_.port_group(group);
  if (record == nullptr || record->unreadable || !known) return Holds::unknown;
  return std::binary_search(port->port_groups.begin(), port->port_groups.end(), group) ? Holds::yes
                                                                                       : Holds::no;
}

Holds RuleReader::in_group(RuleField field, const Uuid& id) {
  switch (field) {
    case RuleField::in_port_group:
      return in_port_group(ports_.in, ports_.in_known, PortGroupId{id});
    case RuleField::out_port_group:
      return in_port_group(ports_.out, true, PortGroupId{id});
    case RuleField::destination_members:
    case RuleField::source_members: {
      const bool source = field == RuleField::source_members;
      const SecurityGroupId group{id};
      depend(members_tag(group, source));
      return in_set(snapshot_.members_of(group), source) ? Holds::yes : Holds::no;
    }
    default: {
      const bool source = field == RuleField::source_group;
      const AddressGroupId group{id};
      depend(address_group_tag(group, source));
      const model::AddressGroup* record = snapshot_.address_group(group);
      if (record == nullptr || record->unreadable)
        return has_addresses() ? Holds::unknown : Holds::no;
      return in_set(snapshot_.addresses_of(group), source) ? Holds::yes : Holds::no;
    }
  }
}

// ---- conditions that tries do not ask

Holds RuleReader::in_ranges(BitField field, uint16_t port,
                            const std::vector<model::PortRange>& ranges) {
  boost::container::small_vector<PortRange, 16> sorted;
  for (const model::PortRange& r : ranges)
    if (r.first <= r.last) sorted.push_back({r.first, r.last});
  std::sort(sorted.begin(), sorted.end());
  const PortPrefix around = prefix_around(port, {sorted.data(), sorted.size()});
  if (around.mask != 0)
    (void)j_.bits_of(field).bit(static_cast<unsigned>(std::popcount(around.mask)) - 1);
  return std::any_of(sorted.begin(), sorted.end(),
                     [&](const PortRange& r) { return r.contains(port); })
             ? Holds::yes
             : Holds::no;
}

Holds RuleReader::condition(const model::TableRule& rule, Condition c) {
  const auto truth = [](bool holds) { return holds ? Holds::yes : Holds::no; };
  const auto not_at_all = Holds::no;
  const bool inverted = rule.is_inverted(c);
  // `absent`: the packet has no such header, and neither the condition nor its inversion holds.
  const auto answer = [&](Holds holds) {
    if (!inverted || holds == Holds::unknown) return holds;
    return holds == Holds::yes ? Holds::no : Holds::yes;
  };
  switch (c) {
    case Condition::ethertype:
      return answer(truth(j_.eth_type() == *rule.ethertype));
    case Condition::src_mac:
      return answer(truth(j_.eth_src_matches(*rule.src_mac)));
    case Condition::dst_mac:
      return answer(truth(j_.eth_dst_matches(*rule.dst_mac)));
    case Condition::source:
      if (!has_addresses_of(rule.source->addr.family)) return not_at_all;
      return answer(truth(j_.src_in(*rule.source)));
    case Condition::destination:
      if (!has_addresses_of(rule.destination->addr.family)) return not_at_all;
      return answer(truth(j_.dst_in(*rule.destination)));
    case Condition::source_group:
      if (!has_addresses()) return not_at_all;
      return answer(in_group(RuleField::source_group, rule.source_group->uuid));
    case Condition::destination_group:
      if (!has_addresses()) return not_at_all;
      return answer(in_group(RuleField::destination_group, rule.destination_group->uuid));
    case Condition::protocol:
      if (!is_ip()) return not_at_all;
      return answer(truth(j_.ip_proto() == *rule.protocol));
    case Condition::source_ports:
      if (!has_ports()) return not_at_all;
      return answer(in_ranges(BitField::tp_src, j_.key.tp_src.host(), rule.source_ports));
    case Condition::destination_ports:
      if (!has_ports()) return not_at_all;
      return answer(in_ranges(BitField::tp_dst, j_.key.tp_dst.host(), rule.destination_ports));
    case Condition::tcp_flags:
      if (!is_tcp()) return not_at_all;
      return answer(truth(j_.tcp_flags_match(*rule.tcp_flags)));
    case Condition::icmp_type:
      if (!has_icmp()) return not_at_all;
      return answer(truth(j_.tp_src() == *rule.icmp_type));
    case Condition::icmp_code:
      if (!has_icmp()) return not_at_all;
      return answer(truth(j_.tp_dst() == *rule.icmp_code));
    case Condition::dscp: {
      if (!is_ip()) return not_at_all;
      const auto tos = static_cast<uint8_t>(*rule.dscp << 2);
      return answer(truth(j_.starts_with(BitField::ip_tos, &tos, 6)));
    }
    case Condition::fragment: {
      if (!is_ip()) return not_at_all;
      const FragKind kind = j_.ip_frag();
      switch (*rule.fragment) {
        case model::FragmentClass::whole:
          return answer(truth(kind == FragKind::none));
        case model::FragmentClass::first:
          return answer(truth(kind == FragKind::first));
        case model::FragmentClass::later:
          return answer(truth(kind == FragKind::later));
        case model::FragmentClass::any_fragment:
          return answer(truth(kind != FragKind::none));
        case model::FragmentClass::with_header:
          return answer(truth(kind != FragKind::later));
      }
      return Holds::unknown;
    }
    case Condition::in_port:
      if (!ports_.in_known) return Holds::unknown;
      if (ports_.in == nullptr) return not_at_all;
      return answer(truth(ports_.in->id == *rule.in_port));
    case Condition::out_port:
      if (ports_.out == nullptr) return not_at_all;
      return answer(truth(ports_.out->id == *rule.out_port));
    case Condition::in_port_group:
      if (ports_.in_known && ports_.in == nullptr) return not_at_all;
      return answer(in_group(RuleField::in_port_group, rule.in_port_group->uuid));
    case Condition::out_port_group:
      if (ports_.out == nullptr) return not_at_all;
      return answer(in_group(RuleField::out_port_group, rule.out_port_group->uuid));
    case Condition::connection:
      if (!connection_) return Holds::unknown;
      j_.ask_header();
      return answer(truth((rule.connection & condition_bit(*connection_)) != 0));
    case Condition::inner_source:
    case Condition::inner_destination: {
      const bool source = c == Condition::inner_source;
      const IpPrefix& wanted = source ? *rule.inner_source : *rule.inner_destination;
      const auto address = quoted(source);
      if (!address || address->family != wanted.addr.family) return not_at_all;
      return answer(truth(wanted.contains(*address)));
    }
    case Condition::vlan:
      if (*rule.vlan == 0) return answer(truth(!j_.has_vlan_tag()));
      return answer(truth(j_.vlan() == *rule.vlan));
    case Condition::through_bridge:
      return answer(passed(*rule.through_bridge));
    case Condition::through_router:
      return answer(passed(*rule.through_router));
  }
  return Holds::unknown;
}

Holds RuleReader::conditions(const model::TableRule& rule, uint32_t left) {
  Holds all = Holds::yes;
  for (; left != 0; left &= left - 1) {
    const Holds one = condition(rule, static_cast<Condition>(std::countr_zero(left)));
    if (one == Holds::no) return one;
    if (one == Holds::unknown) all = one;
  }
  return all;
}

// ---- the search

namespace {

/// The bits of the packet that the field's trie is about; nothing: a packet without them.
std::optional<BitField> bits_of(RuleReader& reader, RuleField field) {
  const auto when = [](bool there, BitField bits) {
    return there ? std::optional(bits) : std::nullopt;
  };
  switch (field) {
    case RuleField::ethertype:
      (void)reader.journey().eth_type();
      return BitField::eth_type;
    case RuleField::protocol:
      if (!reader.is_ip()) return std::nullopt;
      (void)reader.journey().ip_proto();
      return BitField::ip_proto;
    case RuleField::icmp_type:
      return when(reader.has_icmp(), BitField::tp_src);
    case RuleField::icmp_code:
      return when(reader.has_icmp(), BitField::tp_dst);
    case RuleField::source_ports:
      return when(reader.has_ports(), BitField::tp_src);
    case RuleField::destination_ports:
      return when(reader.has_ports(), BitField::tp_dst);
    case RuleField::destination4:
      return when(reader.has_addresses() && !reader.journey().key.is_ipv6(), BitField::dst_ip);
    case RuleField::source4:
      return when(reader.has_addresses() && !reader.journey().key.is_ipv6(), BitField::src_ip);
    case RuleField::destination6:
      return when(reader.is_ip() && reader.journey().key.is_ipv6(), BitField::dst_ip);
    case RuleField::source6:
      return when(reader.is_ip() && reader.journey().key.is_ipv6(), BitField::src_ip);
    case RuleField::dst_mac:
      return BitField::eth_dst;
    case RuleField::src_mac:
      return BitField::eth_src;
    case RuleField::dscp:
      return when(reader.is_ip(), BitField::ip_tos);
    default:
      return std::nullopt;
  }
}

/// Fields whose entries are asked one by one, since a packet may be in several groups.
bool is_group(RuleField field) {
  return (bit_of(field) &
          (bit_of(RuleField::in_port_group) | bit_of(RuleField::out_port_group) |
           bit_of(RuleField::destination_group) | bit_of(RuleField::source_group) |
           bit_of(RuleField::destination_members) | bit_of(RuleField::source_members))) != 0;
}

bool is_port(RuleField field) {
  return field == RuleField::in_port || field == RuleField::out_port;
}

RuleField first_of(uint32_t fields) {
  return static_cast<RuleField>(std::countr_zero(fields));
}

bool same_start(const Uuid& id, const model::BitPrefix& prefix) {
  const unsigned bytes = prefix.length / 8u, bits = prefix.length % 8u;
  if (!std::equal(id.bytes.begin(), id.bytes.begin() + bytes, prefix.bytes.begin())) return false;
  return bits == 0 ||
         ((id.bytes[bytes] ^ prefix.bytes[bytes]) & static_cast<uint8_t>(0xff00u >> bits)) == 0;
}

}  // namespace

RuleSearch::RuleSearch(const model::RuleTable& table, RuleReader& reader)
    : table_(table), reader_(reader) {
  if (!table_.empty()) push({.first = table_.shapes().front().level->first, .kind = Kind::shape});
}

const Journey::FieldBits& RuleSearch::bits_asked(RuleField field) {
  if (asked_ != field) {
    asked_ = field;
    const auto bits = bits_of(reader_, field);
    asked_bits_ = bits ? reader_.journey().bits_of(*bits) : Journey::FieldBits{};
  }
  return asked_bits_;
}

bool RuleSearch::later(const Branch& a, const Branch& b) {
  if (a.first != b.first) return asked_before(*b.first, *a.first);
  return false;
}

void RuleSearch::push_behind_best(const Branch& branch) {
  if (has_best_ && later(best_, branch)) {
    push_to_heap(std::exchange(best_, branch));
    return;
  }
  push_to_heap(branch);
}

void RuleSearch::push_to_heap(const Branch& branch) {
  heap_.push_back(branch);
  std::push_heap(heap_.begin(), heap_.end(), later);
}

bool RuleSearch::pop_from_heap() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), later);
  best_ = heap_.back();
  heap_.pop_back();
  return true;
}

void RuleSearch::push_node(const std::shared_ptr<const Table::Trie::Node>& node, Below below) {
  if (!node) return;
  push({.first = node->summary.rule,
        .at = node.get(),
        .fields = below.fields,
        .kind = Kind::node,
        .unknown = below.unknown});
}

void RuleSearch::open_level(const Table::Level& level, Below below) {
  if (below.fields == 0) {
    push({.first = level.first, .at = &level, .kind = Kind::rules, .unknown = below.unknown});
    return;
  }
  // It begins with the level's first rule: nothing comes before it.
  open_node(*level.trie.root(), below);
}

void RuleSearch::open_node(const Table::Trie::Node& node, Below below) {
  const RuleField field = first_of(below.fields);
  const bool unknown_port = field == RuleField::in_port && !reader_.in_known();
  if (is_group(field) || unknown_port) {
    if (!node.value.empty())
      push({.first = node.value.level->first,
            .at = &node,
            .fields = below.fields,
            .kind = Kind::group,
            .unknown = below.unknown});
    push_node(node.child[0], below);
    push_node(node.child[1], below);
    return;
  }
  if (is_port(field)) {
    const model::Port* port = reader_.port(field);
    if (port == nullptr || !same_start(port->id.uuid, node.prefix)) return;
    if (!node.value.empty()) push_value(node, below);
    return push_children(node, below);
  }
  const Journey::FieldBits& bits = bits_asked(field);
  if (bits.value == nullptr) return;
  switch (bits.bytes) {
    case 1:
      return descend<1>(&node, below, bits);
    case 2:
      return descend<2>(&node, below, bits);
    case 4:
      return descend<4>(&node, below, bits);
    case 6:
      return descend<6>(&node, below, bits);
    default:
      return descend<16>(&node, below, bits);
  }
}

template <size_t N>
void RuleSearch::descend(const Table::Trie::Node* node, Below below,
                         const Journey::FieldBits& bits) {
  FieldReading<N> reading(bits);
  while (reading.starts_with(node->prefix.bytes.data(), node->prefix.length)) {
    if (!node->value.empty()) {
      push_value(*node, below);
      return push_children(*node, below);
    }
    // One of the two children begins with the node's first rule, so it is still their turn.
    node = node->child[reading.bit(node->prefix.length)].get();
    if (!heap_.empty() && asked_before(*heap_.front().first, *node->summary.rule))
      return push_to_heap({.first = node->summary.rule,
                           .at = node,
                           .fields = below.fields,
                           .kind = Kind::node,
                           .unknown = below.unknown});
  }
}

void RuleSearch::push_value(const Table::Trie::Node& node, Below below) {
  push({.first = node.value.level->first,
        .at = node.value.level.get(),
        .fields = below.fields & (below.fields - 1),
        .kind = Kind::level,
        .unknown = below.unknown});
}

void RuleSearch::push_children(const Table::Trie::Node& node, Below below) {
  if (!node.child[0] && !node.child[1]) return;
  const model::TableRule* first = nullptr;
  for (const auto& child : node.child)
    if (child && (first == nullptr || asked_before(*child->summary.rule, *first)))
      first = child->summary.rule;
  push({.first = first,
        .at = &node,
        .fields = below.fields,
        .kind = Kind::children,
        .unknown = below.unknown});
}

void RuleSearch::open_children(const Table::Trie::Node& node, Below below) {
  const RuleField field = first_of(below.fields);
  const unsigned length = node.prefix.length;
  if (is_port(field)) {
    const Uuid& id = reader_.port(field)->id.uuid;
    return push_node(node.child[model::BitPrefix{id.bytes, 128}.bit(length)], below);
  }
  push_node(node.child[bits_asked(field).bit(length)], below);
}

RuleSearch::Found RuleSearch::next() {
  while (has_best_ || pop_from_heap()) {
    // Field by field, as it was written: read in other pieces it would have to wait for the writes.
    const Branch branch = best_;
    const Below below{branch.fields, branch.unknown};
    has_best_ = false;
    const auto* node = static_cast<const Table::Trie::Node*>(branch.at);
    switch (branch.kind) {
      case Kind::shape: {
        const auto& shapes = table_.shapes();
        const Table::Shape& shape = shapes[branch.index];
        // Behind this one: what is opened now looks into the heap for what comes before it.
        if (branch.index + 1 < shapes.size())
          push_to_heap({.first = shapes[branch.index + 1].level->first,
                        .index = branch.index + 1,
                        .kind = Kind::shape});
        open_level(*shape.level, {shape.fields, false});
        break;
      }
      case Kind::level:
        open_level(*static_cast<const Table::Level*>(branch.at), below);
        break;
      case Kind::node:
        open_node(*node, below);
        break;
      case Kind::children:
        open_children(*node, below);
        break;
      case Kind::group: {
        const RuleField field = first_of(branch.fields);
        const Holds in = field == RuleField::in_port
                             ? Holds::unknown
                             : reader_.in_group(field, Uuid{node->prefix.bytes});
        if (in == Holds::no) break;
        push({.first = branch.first,
              .at = node->value.level.get(),
              .fields = branch.fields & (branch.fields - 1),
              .kind = Kind::level,
              .unknown = branch.unknown || in == Holds::unknown});
        break;
      }
      case Kind::rules: {
        const auto& rules = static_cast<const Table::Level*>(branch.at)->rules;
        if (branch.index + 1 < rules.size()) {
          push({.first = rules[branch.index + 1].rule,
                .at = branch.at,
                .index = branch.index + 1,
                .kind = Kind::rules,
                .unknown = branch.unknown});
        }
        const Table::Entry& entry = rules[branch.index];
        const Holds met = reader_.conditions(*entry.rule, entry.left);
        if (met == Holds::no) break;
        return {entry.rule, branch.unknown || met == Holds::unknown};
      }
    }
  }
  return {};
}

}  // namespace plexus::sim
