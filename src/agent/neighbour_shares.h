// SPDX-License-Identifier: Apache-2.0
// NeighbourShares: how many neighbours a router port may learn, and who may bring them. Machines that may have any address can
// claim all of a network, and answer for all: the store and every host that has the router would hold them. So a port has a
// bounded number of neighbours, and one exterior port brings at most three times as many as there are places left. So
// there is always a place for whoever comes by another one.
//
// Threads: none; its owner's.
#pragma once

#include <cstddef>
#include <map>
#include <utility>

#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class NeighbourShares {
 public:
  /// `most`: neighbours of one router port.
  explicit NeighbourShares(size_t most) : most_(most) {}

  /// Whether a neighbour that was heard is to be learned; counts it then. One that the snapshot knows always is.
  [[nodiscard]] bool admit(const model::Snapshot& snapshot, const sim::NeighbourLearned& heard);
  /// Neighbours that the snapshot does not know any more count no longer. Call it now and then, and not between an admit() and the
  /// snapshot that has the neighbour.
  void forget_gone(const model::Snapshot& snapshot);
  /// Neighbours that came in here.
  [[nodiscard]] size_t size() const { return entered_by_.size(); }

 private:
  using Key = std::pair<PortId, IpAddr>;
  using Entries = std::map<Key, PortId>;
  Entries::iterator forget(Entries::iterator at);

  const size_t most_;
  Entries entered_by_;
  std::map<std::pair<PortId, PortId>, size_t>
      held_;  ///< by router port and the port they entered by
};

}  // namespace plexus::agent
