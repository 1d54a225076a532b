// SPDX-License-Identifier: Apache-2.0
// RuleSearch: the rules of a table that a packet meets, one after another in their order. It always goes on where the
// earliest rule may be, so what stands behind a rule that decides is never looked at and costs no bits of the class.
//
// The order of the reads depends on bits read before only (see journey.h): on which branches have been ruled out.
#pragma once

#include <boost/container/small_vector.hpp>

#include <optional>
#include <vector>

#include "flow/tag.h"
#include "model/snapshot.h"
#include "sim/dependencies.h"
#include "sim/journey.h"
#include "state/connection.h"

namespace plexus::sim {

/// Whether a condition holds; unknown when what it names cannot be read.
enum class Holds : uint8_t { no, yes, unknown };

/// The ports that a packet passes.
struct PortsAsked {
  const model::Port* in = nullptr;
  bool in_known = true;              ///< false: it came by some port, nobody knows which
  const model::Port* out = nullptr;  ///< null: not known yet, no condition on it holds
};

/// Of those who ask for no ports.
inline constexpr PortsAsked kNoPorts{};

/// Reads the packet for rules: whatever it reads is noted in the journey's mask, whatever it asks the snapshot becomes a
/// dependency.
class RuleReader {
 public:
  RuleReader(Journey& j, const model::Snapshot& snapshot, Dependencies& dependencies,
             const PortsAsked& ports,
             std::optional<state::ConnectionState> connection = std::nullopt)
      : j_(j),
        snapshot_(snapshot),
        dependencies_(dependencies),
        ports_(ports),
        connection_(connection) {}

  [[nodiscard]] bool is_ip();
  /// IP or ARP.
  [[nodiscard]] bool has_addresses();
  /// TCP, UDP or SCTP, with its header.
  [[nodiscard]] bool has_ports();
  [[nodiscard]] bool has_icmp();
  [[nodiscard]] bool is_tcp();

  /// The conditions of the rule that `left` names (bits by Condition), inversions applied.
  [[nodiscard]] Holds conditions(const model::TableRule& rule, uint32_t left);
  /// A port of the packet, or its address, is in the group.
  [[nodiscard]] Holds in_group(model::RuleField field, const Uuid& group);
  /// The port that a condition of this field asks for; nullptr: none, or nobody knows.
  [[nodiscard]] const model::Port* port(model::RuleField field) const;
  [[nodiscard]] bool in_known() const { return ports_.in_known; }
  /// More of the packet was looked at than any class knows.
  [[nodiscard]] bool message_read() const { return message_read_; }

  Journey& journey() { return j_; }

 private:
  [[nodiscard]] bool has_addresses_of(IpFamily family);
  /// That of the protocol, which later fragments have not.
  [[nodiscard]] bool has_header();
  [[nodiscard]] Holds condition(const model::TableRule& rule, model::Condition c);
  [[nodiscard]] bool in_set(const model::AddressSet* set, bool source);
  [[nodiscard]] Holds in_port_group(const model::Port* port, bool known, PortGroupId group);
  [[nodiscard]] Holds in_ranges(BitField field, uint16_t port,
                                const std::vector<model::PortRange>& ranges);
  void depend(const Tag& tag);
  // rule_conditions.cc
  /// Of an ICMP error: the address that the packet had which it quotes.
  [[nodiscard]] std::optional<IpAddr> quoted(bool source);
  [[nodiscard]] Holds passed(const model::Device& device);

  Journey& j_;
  const model::Snapshot& snapshot_;
  Dependencies& dependencies_;
  const PortsAsked& ports_;
  bool message_read_ = false;
  const std::optional<state::ConnectionState> connection_;  ///< none: nobody has asked
};

class RuleSearch {
 public:
  RuleSearch(const model::RuleTable& table, RuleReader& reader);

  struct Found {
    const model::TableRule* rule = nullptr;  ///< null: there are no more
    bool unknown =
        false;  ///< whether it is met cannot be said: it names what is not there or cannot be read
  };
  /// The next rule that the packet meets.
  [[nodiscard]] Found next();

 private:
  using Table = model::RuleTable;
  enum class Kind : uint8_t { shape, level, rules, node, children, group };
  /// Where rules may be, none earlier than `first`.
  struct Branch {
    const model::TableRule* first = nullptr;
    const void* at = nullptr;  ///< Shape, Level or Node, by kind
    uint32_t fields = 0;       ///< that are still to be asked, that of the node included
    uint32_t index = 0;        ///< of the rule in the level's list
    Kind kind = Kind::shape;
    bool unknown = false;
  };
  static bool later(const Branch& a, const Branch& b);
  [[gnu::always_inline]] void push(const Branch& branch) {
    if (has_best_ || (!heap_.empty() && later(branch, heap_.front())))
      return push_behind_best(branch);
    best_ = branch;
    has_best_ = true;
  }
  void push_behind_best(const Branch& branch);
  void push_to_heap(const Branch& branch);
  /// Makes the first of the heap the best; false: there are no more.
  [[nodiscard]] bool pop_from_heap();
  /// The packet's bits that the field's trie is about; no value: a packet without them.
  [[nodiscard]] const Journey::FieldBits& bits_asked(model::RuleField field);

  /// What holds for all branches below one.
  struct Below {
    uint32_t fields;
    bool unknown;
  };
  void open_level(const Table::Level& level, Below below);
  void open_node(const Table::Trie::Node& node, Below below);
  /// From the node on as long as the earliest rule may be there, along the packet's bits.
  template <size_t N>
  void descend(const Table::Trie::Node* node, Below below, const Journey::FieldBits& bits);
  void push_value(const Table::Trie::Node& node, Below below);
  void push_children(const Table::Trie::Node& node, Below below);
  void open_children(const Table::Trie::Node& node, Below below);
  void push_node(const std::shared_ptr<const Table::Trie::Node>& node, Below below);

  const Table& table_;
  RuleReader& reader_;
  std::optional<model::RuleField> asked_;  ///< what `asked_bits_` is of
  Journey::FieldBits asked_bits_;
  // What was opened last mostly goes on where the best branch was: it stands beside the heap, before all that is in it.
  Branch best_;
  bool has_best_ = false;
  boost::container::small_vector<Branch, 32> heap_;
};

}  // namespace plexus::sim
