// SPDX-License-Identifier: Apache-2.0
// UseOrder: when each flow of a table was last used, and which one goes first when room is needed. Flows are numbers.
//
// Two segments. A new flow is on probation. One that is seen to be used again is protected, as long as no more than a
// bounded number of others are, and have been used since. Those on probation go first: a flood of flows that nobody
// uses twice pushes out its own kind, not the flows that carry traffic.
//
// Within a segment flows stand in lists by the second of their last use, so that statistics, which come in any order, cost
// the same for each flow, however many there are. Within one second the order is that of arrival.
//
// One thread. Invariant: a flow stands in the list of its segment and second, or nowhere.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "base/clock.h"
#include "flow/interned.h"

namespace plexus {

class UseOrder {
 public:
  using FlowNumber = uint32_t;

  /// `max_protected`: how many flows may be protected at once.
  explicit UseOrder(size_t max_protected) : max_protected_(max_protected) {}

  /// A new flow, on probation. It is not there yet.
  void add(FlowNumber flow, MonoTime used);
  void remove(FlowNumber flow);
  /// It was used at that time. The last use never moves back.
  void touch(FlowNumber flow, MonoTime used);
  /// The same, and it is one to protect: somebody besides its installer uses it.
  void protect(FlowNumber flow, MonoTime used);

  [[nodiscard]] MonoTime last_used(FlowNumber flow) const { return places_[flow].used; }
  [[nodiscard]] bool is_protected(FlowNumber flow) const {
    return places_[flow].segment == kProtected;
  }
  /// Who goes first: the least recently used on probation, else of the protected. There is at least one flow.
  [[nodiscard]] FlowNumber first_to_go() const;
  /// Those last used at `until` or before, oldest first; at most `limit`, the oldest to the second. O(limit) of those that are found.
  [[nodiscard]] std::vector<FlowNumber> unused_since(MonoTime until, size_t limit = SIZE_MAX) const;

  [[nodiscard]] size_t size() const { return counts_[kProbation] + counts_[kProtected]; }
  [[nodiscard]] size_t protected_count() const { return counts_[kProtected]; }

 private:
  enum Segment : uint8_t { kProbation, kProtected };
  static constexpr FlowNumber kNone = 0xffffffff;
  struct Place {
    MonoTime used;
    FlowNumber before = kNone, after = kNone;  ///< neighbours in the list
    Segment segment = kProbation;
  };
  struct List {
    FlowNumber first = kNone, last = kNone;
  };
  using Seconds = std::map<int64_t, List>;

  static int64_t second_of(MonoTime t);
  void link(FlowNumber flow);
  void unlink(FlowNumber flow);
  void move(FlowNumber flow, Segment to, MonoTime used);

  const size_t max_protected_;
  Rows<Place> places_;
  std::array<Seconds, 2> segments_;
  std::array<size_t, 2> counts_{};
};

}  // namespace plexus
