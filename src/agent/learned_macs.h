// SPDX-License-Identifier: Apache-2.0
// LearnedMacs: what this host says of MACs learned at its ports: the tables of the ports that are bound here, their
// limits and ages, and who has a MAC that two ports claim. The store holds each port's table in its binding, which only
// the host writes where the port is; so tables go along when ports move, and nobody follows more records for them.
//
// A MAC that shows up at another port gets the sequence after the one it had. The highest sequence counts everywhere, of
// equal ones the lowest port; whoever sees that a port of his has lost a MAC takes it out, and as long as he has not (his
// host is down) the other does not forget it. A host that
// takes a MAC more than kMaxMoves times within kMoveWindow (two machines have the same) leaves it where it is for the rest.
//
// Threads: none; its owner's. Time is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "model/records.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class LearnedMacs {
 public:
  static constexpr unsigned kMaxMoves = 5;
  static constexpr Duration kMoveWindow = std::chrono::seconds(60);
  /// Learned on one bridge, by all hosts; beyond it this host learns no more there.
  static constexpr size_t kMaxOnBridge = 16'384;
  using Table = std::vector<model::LearnedMac>;

  explicit LearnedMacs(HostId self) : self_(self) {}

  /// A frame has come from the MAC. What that changes, to be applied to the model at once. Also says that a MAC
  /// known to be there is in use.
  [[nodiscard]] std::vector<model::Change> saw(const model::Snapshot& snapshot,
                                               const sim::MacLearned& seen, MonoTime now);
  /// What the store says of a binding, before it is applied. Of a port that is here our own table stands in its
  /// place, once there is one; a port that comes here brings its table along.
  void take_in(model::BindingChange& change, MonoTime now);
  /// After that: MACs that newer sightings elsewhere took from ports of ours.
  [[nodiscard]] std::vector<model::Change> lost(const model::Snapshot& snapshot,
                                                std::span<const model::Change> applied);
  /// Forgets what was not seen for too long, and lets go of what was held or full.
  [[nodiscard]] std::vector<model::Change> age(const model::Snapshot& snapshot, MonoTime now);

  /// Tables that differ from what the store says, and that were not said just now. They count as said after that.
  [[nodiscard]] std::vector<std::pair<PortId, Table>> take_unsaid(MonoTime now);

  /// What limits say now, as changes to a model that knows of none.
  [[nodiscard]] std::vector<model::Change> limits() const;

  /// Learned at ports here.
  [[nodiscard]] size_t size() const;
  /// Sightings that were not learned from, by a limit.
  [[nodiscard]] uint64_t refused() const { return refused_; }

 private:
  struct Entry {
    uint32_t sequence = 0;
    MonoTime seen;
  };
  struct OfPort {
    std::map<MacAddr, Entry> entries;
    Table stored;               ///< as the store has it, as far as we know
    std::optional<Table> said;  ///< handed out last
    MonoTime said_at;
    bool full = false;
    [[nodiscard]] Table table() const;
  };
  struct Moves {
    MonoTime since;
    unsigned count = 0;
    bool held = false;
  };

  /// The port's binding with the table that it has now.
  [[nodiscard]] static std::optional<model::Change> binding_with(const model::Snapshot& snapshot,
                                                                 PortId id, const OfPort& port);
  /// False, and the MAC is held, when it has moved too often.
  bool may_move(BridgeId bridge, const MacAddr& mac, MonoTime now,
                std::vector<model::Change>& changes);

  const HostId self_;
  std::map<PortId, OfPort> ports_;  ///< bound here
  std::map<std::pair<BridgeId, MacAddr>, Moves> moves_;
  std::vector<PortId> gone_full_;  ///< left while they were full
  uint64_t refused_ = 0;
};

}  // namespace plexus::agent
