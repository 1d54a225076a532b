// SPDX-License-Identifier: Apache-2.0
// DependencyIndex: which flows depend on what. Very many flows depend on the same few things, so sets of dependencies are
// kept once: a tag lists the sets that hold it, and a set lists its flows. Flows are numbers.
//
// One thread. Invariant: a set lists at least one flow, a tag at least one set; what nobody needs is gone.
#pragma once

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <span>
#include <vector>

#include "flow/interned.h"
#include "flow/tag.h"

namespace plexus {

class DependencyIndex {
 public:
  using FlowNumber = uint32_t;

  /// `seed`: of its hash tables.
  explicit DependencyIndex(uint64_t seed) : seed_(seed) {}

  /// From now on the flow depends on these; in any order, with or without duplicates. It had no dependencies yet. What is
  /// told in the same order is kept once: flows that went the same way read the same things in the same order.
  void add(FlowNumber flow, std::span<const Dependency> dependencies);
  /// The flow depends on these instead.
  void replace(FlowNumber flow, std::span<const Dependency> dependencies);
  /// The flow depends on nothing any more.
  void remove(FlowNumber flow);
  /// What add() was told, sorted and without duplicates.
  [[nodiscard]] std::vector<Dependency> of(FlowNumber flow) const;

  /// A set that holds a tag, as a change of the tag sees it.
  struct Holder {
    uint32_t set = 0;
    bool rewritten =
        false;  ///< holds the tag as one that was read behind a rewrite; it may hold it both ways
  };
  /// Appends the sets that hold the tag.
  void holders(const Tag& tag, std::vector<Holder>& out) const;
  /// How many flows depend on the set.
  [[nodiscard]] size_t flows_of(uint32_t set) const { return sets_.uses(set); }
  /// Calls `visit` with each flow that depends on the set.
  template <typename Visit>
  void for_each_flow(uint32_t set, Visit visit) const {
    for (FlowNumber f = sets_[set].first; f != kNone; f = places_[f].after) visit(f);
  }
  /// Calls `visit` with each flow that is there and its set, in the order of their numbers.
  template <typename Visit>
  void for_each_set_of(Visit visit) const {
    FlowNumber flow = 0;
    for (const Place& place : places_) {
      if (place.set != kNone) visit(flow, place.set);
      ++flow;
    }
  }

  [[nodiscard]] size_t tag_count() const { return tags_.size(); }
  [[nodiscard]] size_t set_count() const { return sets_.size(); }
  /// One more than the highest number of a set.
  [[nodiscard]] uint32_t set_numbers() const { return sets_.numbers(); }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  /// Entry `entry` of set `set` is the tag.
  struct Carrier {
    uint32_t set = 0, entry = 0;
  };
  struct TagEntry {
    Tag tag;
    boost::container::small_vector<Carrier, 1> carriers;  ///< very many tags are in one set only
  };
  struct SetEntry {
    uint32_t tag : 31 = 0;
    uint32_t rewritten : 1 = 0;
    uint32_t place = 0;  ///< among the tag's carriers
  };
  struct Set {
    std::vector<SetEntry> entries;
    FlowNumber first = kNone;
  };
  /// A flow in the list of its set.
  struct Place {
    uint32_t set = kNone;
    FlowNumber before = kNone, after = kNone;
  };

  [[nodiscard]] bool same(const Set& set, std::span<const Dependency> dependencies) const;
  /// The number of the set, one user more.
  uint32_t use_set(std::span<const Dependency> dependencies);
  void link(FlowNumber flow, uint32_t set);
  void link_tags(uint32_t set, std::span<const Dependency> dependencies);
  void unlink_tags(uint32_t set);
  [[nodiscard]] Dependency dependency(const SetEntry& entry) const {
    return {tags_[entry.tag].tag, entry.rewritten != 0};
  }

  const uint64_t seed_;
  Interned<TagEntry> tags_;
  Interned<Set> sets_;
  Rows<Place> places_;
};

}  // namespace plexus
