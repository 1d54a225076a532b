// SPDX-License-Identifier: Apache-2.0
// KnownNeighbours: which learned neighbours of router ports this host has to ask whether they are still there, and when
// (the states of RFC 4861 7.3.2, kept simple: reachable, probe, gone). The store holds who is where, and no clock: what it
// says changes only when a neighbour comes, moves or is gone.
//
// One host asks for all: the one where the neighbour's MAC is; where nobody knows that, the one that heard it last. So the
// question and its answer mostly stay on one host, whatever the number of hosts that send to the neighbour.
//
// Threads: none; its owner's. Time is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "model/records.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class KnownNeighbours {
 public:
  /// A neighbour that was heard is asked after three quarters of this to all of it, each at a time of its own.
  static constexpr Duration kReachable = std::chrono::seconds(120);
  /// So often, at this distance, before it is forgotten (RFC 4861 10: MAX_UNICAST_SOLICIT, RETRANS_TIMER).
  static constexpr unsigned kMaxAsked = 3;
  static constexpr Duration kAskAgain = std::chrono::seconds(1);
  /// Questions of this host in one call of due(); who is not asked is not forgotten.
  static constexpr size_t kMaxQuestions = 64;

  explicit KnownNeighbours(HostId self) : self_(self) {}

  /// An answer or another word of the neighbour came in here.
  void heard(PortId port, const IpAddr& address, MonoTime now);

  struct Due {
    std::vector<sim::Generated> questions;
    std::vector<model::Neighbour>
        gone;  ///< have not answered: to be taken out of the model and the store
  };
  /// What is to be done now. Call it about once a second.
  [[nodiscard]] Due due(const model::Snapshot& snapshot, MonoTime now);

  /// Neighbours that this host asks.
  [[nodiscard]] size_t size() const { return states_.size(); }

 private:
  using Key = std::pair<PortId, IpAddr>;
  struct State {
    MonoTime next;
    unsigned asked = 0;
  };
  void look_at(const model::Snapshot& snapshot, MonoTime now);
  [[nodiscard]] MonoTime when_to_ask(const Key& key, MonoTime now) const;

  const HostId self_;
  std::map<Key, State> states_;
  MonoTime next_look_;
};

}  // namespace plexus::agent
