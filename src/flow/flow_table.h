// SPDX-License-Identifier: Apache-2.0
// FlowTable: a worker's own list of the flows it has installed, and what each depends on. It answers which flows a change of
// the topology invalidates, which have been idle, and which must make room. It knows no datapath: every removal
// is returned as the match to remove there.
//
// Invariants: at most one flow a match; at most `limit` flows; a flow is found under exactly the tags of its
// dependencies. One thread: the worker's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "flow/actions.h"
#include "flow/match.h"
#include "flow/tag.h"

namespace plexus {

/// A flow as it stands in a datapath, with the reasons for it.
struct InstalledFlow {
  Match match;
  Actions actions;
  std::vector<Dependency> dependencies;  ///< sorted, without duplicates
  uint64_t cookie = 0;
  uint64_t packets = 0, bytes = 0;
  MonoTime created;
  MonoTime last_used;  ///< `created` until it is hit
};

class FlowTable {
 public:
  /// `limit`: how many flows may be there at once, at least 1.
  explicit FlowTable(size_t limit);

  struct Inserted {
    bool replaced =
        false;  ///< a flow with this match was there; its statistics and creation time go on
    std::optional<Match> evicted;  ///< the least recently used flow, which made room
  };
  /// Adds a flow or replaces the one with the same match. It counts as used now.
  Inserted insert(const Match& match, Actions actions, std::vector<Dependency> dependencies,
                  uint64_t cookie, MonoTime now);
  /// False when there is no such flow.
  bool erase(const Match& match);

  /// Takes over totals from the datapath. `last_used` never moves back. False when there is no such flow.
  bool update_stats(const Match& match, uint64_t packets, uint64_t bytes, MonoTime last_used);

  /// The flow with exactly this match. The pointer is good until the table changes.
  [[nodiscard]] const InstalledFlow* find(const Match& match) const;
  /// A flow that covers the key, tried mask by mask; installers keep flows from overlapping with different actions.
  [[nodiscard]] const InstalledFlow* lookup(const FlowKey& key) const;

  /// Removes, and returns, the flows that depend on a changed tag and meet the changed region; a dependency read behind a
  /// rewrite is hit by every change of its tag. O(flows that carry the tags).
  std::vector<Match> invalidate(std::span<const TagChange> changes);
  /// Removes, and returns, the flows unused for `idle` or longer, oldest first.
  std::vector<Match> expire(MonoTime now, Duration idle);
  /// Removes, and returns, everything.
  std::vector<Match> clear();

  [[nodiscard]] size_t size() const { return by_use_.size(); }
  [[nodiscard]] size_t limit() const { return limit_; }
  /// Number of different masks and of different tags in use.
  [[nodiscard]] size_t mask_count() const { return by_mask_.size(); }
  [[nodiscard]] size_t tag_count() const { return by_tag_.size(); }
  /// Every flow, in no particular order; the table must not change meanwhile.
  void for_each(const std::function<void(const InstalledFlow&)>& visit) const;

 private:
  using SlotIndex = uint32_t;
  struct Slot {
    InstalledFlow flow;
    /// For dependency i: its place in the list of its tag.
    std::vector<uint32_t> place;
    bool used = false;
  };
  /// One entry of a tag's list: dependency `dependency` of the flow in `slot`.
  struct Carrier {
    SlotIndex slot = 0;
    uint32_t dependency = 0;
  };
  using Keys = std::unordered_map<FlowKey, SlotIndex>;

  [[nodiscard]] std::optional<SlotIndex> slot_of(const Match& match) const;
  SlotIndex take_slot();
  void index_tags(SlotIndex slot);
  void unindex_tags(SlotIndex slot);
  void touch(SlotIndex slot, MonoTime used);
  /// Frees the slot; returns the flow's match.
  Match remove(SlotIndex slot);

  const size_t limit_;
  std::vector<Slot> slots_;
  std::vector<SlotIndex> free_;
  std::unordered_map<FlowKey, Keys> by_mask_;
  std::unordered_map<Tag, std::vector<Carrier>> by_tag_;
  std::set<std::pair<MonoTime, SlotIndex>> by_use_;
};

}  // namespace plexus
