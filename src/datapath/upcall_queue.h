// SPDX-License-Identifier: Apache-2.0
// UpcallQueue: upcalls that wait for the agent. Groups of ports (the tenants) take turns, and in a group its ports do: a port that
// asks a lot waits behind itself, not before the others, however many ports its tenant has. Those of one port stay in order.
//
// Bounded: what one port may have here is for the provider to see to, before push(). In all so much fits in; after that a port
// that has something here already gets no more. Every operation is O(1). One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_map>

#include "datapath/datapath.h"

namespace plexus::datapath {

/// An upcall, and what it costs on which account of the provider.
struct WaitingUpcall {
  Upcall upcall;
  uint64_t cost = 0;
  uint32_t account = 0;
};

class UpcallQueue {
 public:
  explicit UpcallQueue(uint64_t most_cost) : most_cost_(most_cost) {}

  /// Ports of one group share its turns; 0: the port has its own. What waits already stays where it is.
  void set_group(DpPort port, uint64_t group);

  /// False, and `waiting` is as it was: there is no room.
  [[nodiscard]] bool push(WaitingUpcall&& waiting);
  /// Hands out up to `quota.in_all`, and no more of one port than `quota.of_one_port`. Returns how many.
  size_t pop(Quota quota, const std::function<void(WaitingUpcall&&)>& sink);

  [[nodiscard]] bool empty() const { return turns_.empty(); }
  [[nodiscard]] uint64_t cost() const { return cost_; }

 private:
  struct Port {
    std::deque<WaitingUpcall> upcalls;
    size_t handed_out = 0;  ///< during the pop() with number `pop`
    uint64_t pop = 0;
  };
  /// A group whose ports have upcalls here, each of which is once in `turns`.
  struct Group {
    std::deque<uint32_t> turns;
  };

  [[nodiscard]] uint64_t group_of(uint32_t port) const;

  const uint64_t most_cost_;
  uint64_t cost_ = 0, pops_ = 0;
  std::unordered_map<uint32_t, uint64_t> groups_of_ports_;  ///< by port number
  std::unordered_map<uint32_t, Port> ports_;
  std::unordered_map<uint64_t, Group> groups_;
  std::deque<uint64_t> turns_;  ///< each group in `groups_` once
};

}  // namespace plexus::datapath
