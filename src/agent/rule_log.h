// SPDX-License-Identifier: Apache-2.0
// RuleLog: lines about packets that met a rule that wants to be heard of. So many a second for each rule, and so many for all
// rules of the host: the log is the operator's, and rules are the tenants'. The next line of a rule says how many packets had
// none, and one of the host how many had none for the sake of all.
//
// When the host's lines of a second are spent, a line for each rule waits for the next one, and the rules that have not been
// heard of for longest come first. So nobody is silenced by the noise of others: of n rules that are met all the time, each
// has its line in n / kLinesOfHost seconds. Whose a rule is plays no part: an agent does not know it.
//
// One thread: the worker's.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class RuleLog {
 public:
  static constexpr unsigned kLinesPerSecond = 10;  ///< of a rule
  static constexpr unsigned kLinesOfHost = 100;    ///< a second, of all rules
  static constexpr size_t kWaiting = 1000;         ///< rules that have a line waiting

  /// Where lines go; by default to the log.
  explicit RuleLog(std::function<void(std::string_view line)> sink = {});

  /// Has the lines written that a packet's outcome asks for.
  void write(const sim::Packet& packet, const sim::Outcome& outcome,
             const model::Snapshot& snapshot, MonoTime now);
  /// Has a line of the rule written: now, when there is room for it, or not at all, and then it is counted.
  void add(const RuleId& rule, MonoTime now, const std::function<std::string()>& line);
  /// Writes what has waited, and forgets rules that have not been met for a while; with something left out only those that are
  /// no more: the next line of the others still has to say it.
  void tick(const model::Snapshot& snapshot, MonoTime now);

  /// Packets that had no line.
  [[nodiscard]] uint64_t left_out() const { return left_out_; }
  [[nodiscard]] size_t rules() const { return rules_.size(); }
  [[nodiscard]] size_t waiting() const { return waiting_.size(); }

 private:
  struct OfRule {
    MonoTime second;  ///< when the second began that is counted now
    unsigned lines = 0;
    uint64_t left_out = 0;
    MonoTime wrote;     ///< its last line; zero: none yet
    std::string waits;  ///< empty: nothing
  };
  void write_waiting(MonoTime now);
  void put(OfRule& rule, std::string line, MonoTime now);
  void leave_out(OfRule& rule);

  const std::function<void(std::string_view)> sink_;
  std::unordered_map<RuleId, OfRule> rules_;
  std::set<std::pair<MonoTime, RuleId>> waiting_;  ///< those with `waits`, by `wrote`
  MonoTime second_;                                ///< of the host
  unsigned lines_ = 0;
  uint64_t left_out_ = 0, left_out_for_all_ = 0;
  MonoTime said_;
};

}  // namespace plexus::agent
