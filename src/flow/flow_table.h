// SPDX-License-Identifier: Apache-2.0
// FlowTable: a worker's own list of the flows it has installed, and what each depends on. It answers which flows a change of
// the topology touches, which have been idle, and which must make room. It knows no datapath: every removal
// is returned as the match to remove there.
//
// Made for a million flows: what many of them share (masks, actions, dependencies) is kept once. A flow of its own key costs
// some 170 bytes; inserting, finding, removing and touching one cost the same however many there are, and allocate nothing
// once the table has grown.
//
// Invariants: at most one flow a match; at most `limit` flows; a flow is found under exactly the tags of its
// dependencies. One thread: the worker's.
#pragma once

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "flow/actions.h"
#include "flow/dependency_index.h"
#include "flow/interned.h"
#include "flow/match.h"
#include "flow/tag.h"
#include "flow/use_order.h"

namespace plexus {

/// A flow as it stands in a datapath.
struct InstalledFlow {
  Match match;
  const Actions& actions;  ///< good until the table changes
  uint64_t cookie = 0;
  uint8_t reason = 0;  ///< why it drops, in the installer's own numbers; 0: none
  uint32_t tally = 0;  ///< the installer's own number
  uint64_t packets = 0, bytes = 0;
  MonoTime created;
  MonoTime last_used;  ///< `created` until it is hit
};

/// A flow that has left the table.
struct RemovedFlow {
  Match match;
  uint8_t reason = 0;
  uint32_t tally = 0;
  uint64_t packets = 0, bytes = 0;  ///< of the last totals
};

class FlowTable {
 public:
  /// `limit`: how many flows may be there at once, at least 1. `hash_seed`: a random number that nobody outside knows.
  explicit FlowTable(size_t limit, uint64_t hash_seed = 0);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  struct Inserted {
    bool replaced =
        false;  ///< a flow with this match was there; its statistics and creation time go on
    uint32_t tally_before = 0;           ///< of the flow that was replaced
    std::optional<RemovedFlow> evicted;  ///< what first_to_go() had said, which made room
  };
  /// Adds a flow or replaces the one with the same match. It counts as used now.
  Inserted insert(const Match& match, const Actions& actions,
                  std::span<const Dependency> dependencies, uint64_t cookie, MonoTime now,
                  uint8_t reason = 0, uint32_t tally = 0);
  /// Gives a flow another answer; its cookie, statistics and last use stay. False when there is no such flow.
  bool renew(const Match& match, const Actions& actions, std::span<const Dependency> dependencies,
             uint8_t reason = 0, uint32_t tally = 0);
  /// Nothing when there is no such flow.
  std::optional<RemovedFlow> erase(const Match& match);

  struct Updated {
    uint64_t packets = 0, bytes = 0;  ///< how many more than by the totals before
    uint8_t reason = 0;
    uint32_t tally = 0;
  };
  /// Takes over totals from the datapath. `last_used` never moves back. A flow that has been hit since the last totals, or
  /// since it was made, is protected: it makes room only after those that have not, unless three quarters of the limit are
  /// protected and have been used since. Nothing when there is no such flow.
  std::optional<Updated> update_stats(const Match& match, uint64_t packets, uint64_t bytes,
                                      MonoTime last_used);

  /// The flow with exactly this match.
  [[nodiscard]] std::optional<InstalledFlow> find(const Match& match) const;
  /// A flow that covers the key; installers keep flows from overlapping with different actions. Tried are the masks that
  /// flows of the key's in_port use, those that are hit more often first.
  [[nodiscard]] std::optional<InstalledFlow> lookup(const FlowKey& key);
  /// What the flow depends on, sorted, without duplicates; nothing when there is no such flow.
  [[nodiscard]] std::vector<Dependency> dependencies_of(const Match& match) const;

  /// The flows that the changes touch: they depend on a changed tag and meet the changed region; a dependency read behind
  /// a rewrite is hit by every change of its tag. The `first` most recently used of them come first, in this order.
  /// O(flows that carry the tags), and never much more than reading the whole table once.
  [[nodiscard]] std::vector<Match> touched_by(std::span<const TagChange> changes,
                                              size_t first = 0) const;
  /// Removes, and returns, the flows that the changes touch.
  std::vector<RemovedFlow> invalidate(std::span<const TagChange> changes);
  /// Removes, and returns, the flows unused for `idle` or longer, oldest first; at most `limit`.
  std::vector<RemovedFlow> expire(MonoTime now, Duration idle, size_t limit = SIZE_MAX);
  /// Removes, and returns, everything.
  std::vector<RemovedFlow> clear();

  /// The flow that the next new one would push out; nothing as long as there is room.
  [[nodiscard]] std::optional<InstalledFlow> first_to_go() const;

  [[nodiscard]] size_t size() const { return order_.size(); }
  [[nodiscard]] size_t limit() const { return limit_; }
  /// Of the flows: how many are protected.
  [[nodiscard]] size_t protected_count() const { return order_.protected_count(); }
  /// Number of different masks, tags, sets of dependencies and lists of actions in use.
  [[nodiscard]] size_t mask_count() const { return masks_.size(); }
  [[nodiscard]] size_t tag_count() const { return dependencies_.tag_count(); }
  [[nodiscard]] size_t dependency_set_count() const { return dependencies_.set_count(); }
  [[nodiscard]] size_t actions_count() const { return actions_.size(); }
  /// Every flow, in no particular order; the table must not change meanwhile.
  void for_each(const std::function<void(const InstalledFlow&)>& visit) const;

 private:
  using SlotIndex = uint32_t;
  static constexpr SlotIndex kNone = 0xffffffff;
  struct Slot {
    FlowKey key;
    uint32_t mask = kNone;  ///< kNone: free
    uint32_t actions = kNone;
  };
  /// The rest of a slot, apart: what a change touches is found without reading it.
  struct Totals {
    uint64_t cookie = 0, packets = 0, bytes = 0;
    MonoTime created;
    uint32_t tally = 0;
    uint8_t reason = 0;
  };
  /// A mask that flows of one in_port use.
  struct MaskInUse {
    uint32_t mask = 0;
    uint32_t flows = 0;
  };
  using MaskList = boost::container::small_vector<MaskInUse, 4>;
  struct HashOfSlot {
    const FlowTable* self;
    size_t operator()(SlotIndex slot) const {
      const Slot& s = self->slots_[slot];
      return self->hash(s.key, s.mask);
    }
  };

  [[nodiscard]] uint64_t hash(const FlowKey& key, uint32_t mask) const;
  [[nodiscard]] uint32_t mask_number(const FlowKey& mask) const;
  [[nodiscard]] SlotIndex slot_of(const FlowKey& key, uint32_t mask) const;
  [[nodiscard]] SlotIndex slot_of(const Match& match) const;
  [[nodiscard]] InstalledFlow view(SlotIndex slot) const;
  void note_mask(const Slot& slot);
  void forget_mask(const Slot& slot);
  [[nodiscard]] SlotIndex slot_under(MaskList& masks, const FlowKey& key) const;
  uint32_t use_actions(const Actions& actions);
  SlotIndex take_slot();
  RemovedFlow remove(SlotIndex slot);
  std::vector<RemovedFlow> remove_all(const std::vector<SlotIndex>& slots);
  [[nodiscard]] std::vector<SlotIndex> slots_touched_by(std::span<const TagChange> changes) const;

  const size_t limit_;
  const uint64_t seed_;
  Rows<Slot> slots_;
  Rows<Totals> totals_;
  std::vector<SlotIndex> free_;
  NumberSet<HashOfSlot> index_;
  Interned<FlowKey> masks_;
  boost::unordered_flat_map<uint32_t, MaskList> masks_of_port_;  ///< by in_port; none empty
  MaskList masks_of_any_port_;  ///< those that do not look at all of in_port
  Interned<Actions> actions_;
  DependencyIndex dependencies_;
  UseOrder order_;
};

}  // namespace plexus
