// SPDX-License-Identifier: Apache-2.0
// AskedNeighbours: which neighbours this host has asked for a moment ago for the sake of packets, so that it asks no more often
// than the packets that wait are tried, whoever sends them and whether or not they have found a place to wait.
//
// Threads: none of its own; the worker's.
#pragma once

#include <deque>
#include <set>
#include <vector>

#include "base/clock.h"
#include "sim/simulate.h"

namespace plexus::agent {

class AskedNeighbours {
 public:
  /// Of more the oldest are forgotten: they may be asked for once more.
  static constexpr size_t kMost = 4096;

  explicit AskedNeighbours(Duration interval) : interval_(interval) {}

  /// Whether one of them has not been asked for within the interval.
  [[nodiscard]] bool may_ask(const std::vector<sim::Missing>& missing, MonoTime now);
  /// They are asked for now.
  void note(const std::vector<sim::Missing>& missing, MonoTime now);
  void forget_old(MonoTime now);
  [[nodiscard]] size_t size() const { return asked_.size(); }

 private:
  struct Asked {
    sim::Missing which;
    MonoTime when;
  };
  void forget_oldest();

  const Duration interval_;
  std::deque<Asked> in_order_;  ///< oldest first, each of asked_ once
  std::set<sim::Missing> asked_;
};

}  // namespace plexus::agent
