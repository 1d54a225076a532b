// SPDX-License-Identifier: Apache-2.0
// RuleCounters: how many packets each rule of chains and security groups held for, at this host, since the agent's start.
// The kernel counts for flows; a flow remembers the rules behind its answer by a number, its tally, which all flows with
// the same rules share.
//
// One thread: the worker's.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "codec/node.h"
#include "flow/interned.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class RuleCounters {
 public:
  /// `hash_seed`: a random number that nobody outside knows.
  explicit RuleCounters(uint64_t hash_seed = 0) : seed_(hash_seed) {}

  struct Count {
    Uuid holder;  ///< the chain or the security group
    uint64_t packets = 0, bytes = 0;
  };

  /// One flow more whose answer these rules gave; its tally. 0: no rule.
  [[nodiscard]] uint32_t use(std::span<const sim::MetRule> met);
  /// One flow less.
  void release(uint32_t tally);
  void add(uint32_t tally, uint64_t packets, uint64_t bytes);
  void add(std::span<const sim::MetRule> met, uint64_t packets, uint64_t bytes);
  /// Forgets rules that are no more.
  void forget_gone(const model::Snapshot& snapshot);

  /// By rule.
  [[nodiscard]] const std::unordered_map<Uuid, Count>& counts() const { return counts_; }
  /// Different sets of rules behind flows.
  [[nodiscard]] size_t sets() const { return sets_.size(); }

 private:
  uint64_t seed_;
  Interned<std::vector<sim::MetRule>> sets_;
  std::unordered_map<Uuid, Count> counts_;
};

/// {"rules": [{"in": "chain"|"security_group", "name", "position", "rule", "id", "packets", "bytes"}, ...]}: by the names of
/// chains and groups, then in the order in which rules are asked; of security groups, which ask all, no position.
[[nodiscard]] codec::Node rule_counters_document(const RuleCounters& counters,
                                                 const model::Snapshot& snapshot);

}  // namespace plexus::agent
