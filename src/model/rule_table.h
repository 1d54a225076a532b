// SPDX-License-Identifier: Apache-2.0
// RuleTable: the rules of one chain, or of one direction of a security group, so that those that a packet meets are found in
// their order without looking at the others.
//
// Rules that look at the same fields (a shape) stand in one structure: a trie of the first field's values, whose entries are
// tries of the next field's, and so on; at the end lists of rules. What no trie can say (inverted conditions, TCP flags,
// scattered MAC masks, fragments) is left to be asked rule by rule. Every node knows the first rule below it, so a
// search takes the best branch first, and never looks behind a rule that decides.
//
// A change costs O(bits of the rule's values), whatever the table's size; all else is shared with older versions.
//
// Threads: as CowTable: copies are independent values.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/bit_trie.h"
#include "model/records.h"

namespace plexus::model {

/// A rule as tables hold it: also those of security groups become such.
struct TableRule : Rule {
  /// The address is a member's of the security group.
  std::optional<SecurityGroupId> source_members = {}, destination_members = {};
  bool operator==(const TableRule&) const = default;
};

/// True when `a` is asked before `b`.
[[nodiscard]] inline bool asked_before(const Rule& a, const Rule& b) {
  return a.position != b.position ? a.position < b.position : a.id < b.id;
}

/// What tries are made of, in the order in which they stand in each other: first what costs no bits of the packet, then
/// what divides packets least.
enum class RuleField : uint8_t {
  in_port,
  out_port,
  in_port_group,
  out_port_group,
  ethertype,
  protocol,
  icmp_type,
  icmp_code,
  destination_ports,
  destination4,  ///< IPv4 and ARP
  destination6,
  source4,
  source6,
  destination_group,
  source_group,
  destination_members,
  source_members,
  source_ports,
  dst_mac,
  src_mac,
  dscp,
};

class RuleTable {
 public:
  struct Level;
  /// The rules below an entry; empty: null.
  struct Below {
    std::shared_ptr<const Level> level;
    [[nodiscard]] bool empty() const { return !level; }
  };
  /// The first rule of a subtree.
  struct First {
    const TableRule* rule = nullptr;
    First() = default;
    First(const Below& below, const First* left, const First* right);
  };
  using Trie = BitTrie<Below, First>;
  /// A rule, and which of its conditions the tries have not asked: bits by Condition.
  struct Entry {
    const TableRule* rule = nullptr;
    uint32_t left = 0;
  };
  /// Entries of the next field's trie, or at the end the rules, in order.
  struct Level {
    Trie trie;
    std::vector<Entry> rules;
    const TableRule* first = nullptr;
  };
  /// All rules that have these fields in tries: bits by RuleField.
  struct Shape {
    uint32_t fields = 0;
    std::shared_ptr<const Level> level;
  };

  /// The rule must outlive the table and all its copies, or be removed before.
  void add(const TableRule& rule);
  /// Removes the rule of this id, position and conditions.
  void remove(const TableRule& rule);

  /// In the order of their first rules.
  [[nodiscard]] const std::vector<Shape>& shapes() const { return shapes_; }
  [[nodiscard]] bool empty() const { return shapes_.empty(); }

 private:
  void change(const TableRule& rule, bool add);
  std::vector<Shape> shapes_;
};

/// The bits of a Condition in Entry::left.
[[nodiscard]] constexpr uint32_t bit_of(Condition c) {
  return uint32_t{1} << static_cast<unsigned>(c);
}
[[nodiscard]] constexpr uint32_t bit_of(RuleField f) {
  return uint32_t{1} << static_cast<unsigned>(f);
}

/// Where packets that can meet a rule lie in header space: values of fields, and which of their bits count. Masks of zero:
/// any packet. May be larger than what the rule says, never smaller.
struct PacketRegion {
  uint16_t ethertype = 0, ethertype_mask = 0;
  uint8_t protocol = 0, protocol_mask = 0;
  uint8_t tos = 0, tos_mask = 0;
  uint8_t tcp_flags = 0, tcp_flags_mask = 0;
  uint16_t tp_src = 0, tp_src_mask = 0;  ///< as in FlowKey: port, or ICMP type
  uint16_t tp_dst = 0, tp_dst_mask = 0;
  IpPrefix source{}, destination{};  ///< family none: any
  auto operator<=>(const PacketRegion&) const = default;
};
[[nodiscard]] PacketRegion region_of(const TableRule& rule);

}  // namespace plexus::model
