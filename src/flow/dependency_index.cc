// SPDX-License-Identifier: Apache-2.0
#include "flow/dependency_index.h"

#include <algorithm>

#include "flow/seeded_hash.h"

namespace plexus {

void DependencyIndex::add(FlowNumber flow, std::span<const Dependency> dependencies) {
  while (places_.size() <= flow) places_.emplace_back();
  link(flow, use_set(dependencies));
}

void DependencyIndex::replace(FlowNumber flow, std::span<const Dependency> dependencies) {
  // The new set first: it may be the old one, or share its tags.
  const uint32_t set = use_set(dependencies);
  remove(flow);
  link(flow, set);
}

void DependencyIndex::remove(FlowNumber flow) {
  Place& place = places_[flow];
  const uint32_t number = place.set;
  PLEXUS_CHECK(number != kNone, "only a flow that is there goes");
  (place.before == kNone ? sets_[number].first : places_[place.before].after) = place.after;
  if (place.after != kNone) places_[place.after].before = place.before;
  place = Place{};
  if (sets_.uses(number) == 1) unlink_tags(number);
  sets_.release(number);
}

std::vector<Dependency> DependencyIndex::of(FlowNumber flow) const {
  std::vector<Dependency> out;
  for (const SetEntry& entry : sets_[places_[flow].set].entries) out.push_back(dependency(entry));
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void DependencyIndex::holders(const Tag& tag, std::vector<Holder>& out) const {
  const uint32_t number =
      tags_.find(hash_of(tag, seed_), [&](const TagEntry& t) { return t.tag == tag; });
  if (number == kNone) return;
  for (const Carrier& c : tags_[number].carriers)
    out.push_back({c.set, sets_[c.set].entries[c.entry].rewritten != 0});
}

uint32_t DependencyIndex::use_set(std::span<const Dependency> dependencies) {
  const auto [number, made] = sets_.use(
      hash_of(dependencies, seed_), [&](const Set& set) { return same(set, dependencies); },
      [] { return Set{}; });
  if (made) link_tags(number, dependencies);
  return number;
}

void DependencyIndex::link(FlowNumber flow, uint32_t set) {
  FlowNumber& first = sets_[set].first;
  places_[flow] = {set, kNone, first};
  if (first != kNone) places_[first].before = flow;
  first = flow;
}

bool DependencyIndex::same(const Set& set, std::span<const Dependency> dependencies) const {
  return std::equal(set.entries.begin(), set.entries.end(), dependencies.begin(),
                    dependencies.end(), [this](const SetEntry& entry, const Dependency& d) {
                      return tags_[entry.tag].tag == d.tag && (entry.rewritten != 0) == d.rewritten;
                    });
}

void DependencyIndex::link_tags(uint32_t set, std::span<const Dependency> dependencies) {
  std::vector<SetEntry>& entries = sets_[set].entries;
  entries.reserve(dependencies.size());
  for (const Dependency& d : dependencies) {
    const uint32_t tag =
        tags_
            .use(
                hash_of(d.tag, seed_), [&](const TagEntry& t) { return t.tag == d.tag; },
                [&] {
                  return TagEntry{d.tag, {}};
                })
            .first;
    auto& carriers = tags_[tag].carriers;
    SetEntry entry;
    entry.tag = tag & 0x7fffffff;
    entry.rewritten = d.rewritten ? 1 : 0;
    entry.place = static_cast<uint32_t>(carriers.size());
    carriers.push_back({set, static_cast<uint32_t>(entries.size())});
    entries.push_back(entry);
  }
}

void DependencyIndex::unlink_tags(uint32_t set) {
  for (const SetEntry& entry : sets_[set].entries) {
    // The last of the list takes the free place; it may be this set's own other entry of the tag.
    auto& carriers = tags_[entry.tag].carriers;
    const Carrier moved = carriers.back();
    carriers[entry.place] = moved;
    sets_[moved.set].entries[moved.entry].place = entry.place;
    carriers.pop_back();
    tags_.release(entry.tag);
  }
}

}  // namespace plexus
