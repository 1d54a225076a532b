// SPDX-License-Identifier: Apache-2.0
// RuleLog: lines about packets that met a rule that wants to be heard of. So many a second for each rule; the next line says how
// many were left out.
//
// One thread: the worker's.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class RuleLog {
 public:
  static constexpr unsigned kLinesPerSecond = 10;

  /// Whether the rule may have a line now: how many packets had none since its last one. Nothing: not now, and it is counted.
  [[nodiscard]] std::optional<uint64_t> admit(const RuleId& rule, MonoTime now);
  /// Writes the lines that a packet's outcome asks for.
  void write(const sim::Packet& packet, const sim::Outcome& outcome,
             const model::Snapshot& snapshot, MonoTime now);
  /// Forgets rules that have not been met for a while; with something left out only those that are no more: the next line of
  /// the others still has to say it.
  void forget_idle(const model::Snapshot& snapshot, MonoTime now);

  /// Packets that had no line.
  [[nodiscard]] uint64_t left_out() const { return left_out_; }
  [[nodiscard]] size_t rules() const { return rules_.size(); }

 private:
  struct OfRule {
    MonoTime second;  ///< when the second began that is counted now
    unsigned lines = 0;
    uint64_t left_out = 0;
  };
  std::unordered_map<RuleId, OfRule> rules_;
  uint64_t left_out_ = 0;
};

}  // namespace plexus::agent
