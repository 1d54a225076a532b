// SPDX-License-Identifier: Apache-2.0
// ConnectionFlows: which of a worker's flows are for the packets of one connection: those whose class is one pair of addresses,
// one protocol and one pair of ports. They depend on what is known of the connection, and are found by its tuple.
//
// The zone is left out: whoever looks for flows of one leaves out those of others.
//
// One thread: the worker's.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "flow/match.h"
#include "state/tuple.h"

namespace plexus::agent {

/// The tuple of all packets of the class; nothing when it has several, or packets that belong to no connection.
[[nodiscard]] std::optional<state::Tuple> tuple_of(const Match& match);

class ConnectionFlows {
 public:
  /// `hash_seed`: a random number that nobody outside knows.
  explicit ConnectionFlows(uint64_t hash_seed) : flows_(0, HashOfTuple{hash_seed}) {}

  /// Of other classes than those above: nothing happens. Fine when it is there, or not there.
  void add(const Match& match);
  void remove(const Match& match);
  /// Those of the tuple's packets and of their answers.
  [[nodiscard]] std::vector<Match> of(const state::Tuple& tuple) const;
  /// How many tuples have flows.
  [[nodiscard]] size_t size() const { return flows_.size(); }

 private:
  struct HashOfTuple {
    uint64_t seed;
    size_t operator()(const state::Tuple& tuple) const;
  };
  std::unordered_map<state::Tuple, std::vector<Match>, HashOfTuple>
      flows_;  ///< by the lower of a tuple and its reverse
};

}  // namespace plexus::agent
