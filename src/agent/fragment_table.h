// SPDX-License-Identifier: Apache-2.0
// FragmentTable: something for each of many packets that come in fragments, bounded in all. Behind one interface there may be a
// machine or the world, so no interface has a number of its own: one may hold all that nobody else needs.
//
// Who has to go when it is full: of the owner that holds most, among its 32 oldest, the one whose source and destination hold most
// there, the oldest of equals. So nobody loses anything to an owner that holds more; and behind a common one, who sends many, or
// to whom many are sent, loses its own.
//
// Threads: none; the worker's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "agent/fragment_key.h"

namespace plexus::agent {

/// Entries are found by key in logarithmic time, and taken out in about constant time.
template <typename Value>
class FragmentTable {
 public:
  explicit FragmentTable(size_t most) : most_(most) {}
  FragmentTable(const FragmentTable&) = delete;
  FragmentTable& operator=(const FragmentTable&) = delete;

  [[nodiscard]] const Value* find(const FragmentKey& key) const {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &found->second->value;
  }
  /// The owner's newest, of that weight; the key is in the table no more than once.
  void add(uint64_t owner, const FragmentKey& key, Value&& value, size_t weight) {
    const auto of = owners_.try_emplace(owner).first;
    Owner& its = of->second;
    const auto entry =
        entries_.insert(entries_.end(), Entry{.key = key,
                                              .value = std::move(value),
                                              .owner = of,
                                              .source = its.from.try_emplace(sender(key.src)).first,
                                              .destination = its.to.try_emplace(key.dst).first});
    entry->place = its.entries.insert(its.entries.end(), entry);
    by_key_.emplace(key, entry);
    weigh(entry, weight);
  }
  /// Something is added to what is there for the key; nothing: there is none.
  template <typename Change>
  [[nodiscard]] bool change(const FragmentKey& key, size_t more, Change&& change) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return false;
    change(found->second->value);
    weigh(found->second, found->second->weight + more);
    return true;
  }
  [[nodiscard]] std::optional<Value> take(const FragmentKey& key) {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? std::nullopt : std::optional(take_out(found->second));
  }
  /// Who has to go, while the table holds more than it may.
  [[nodiscard]] std::optional<Value> take_surplus() {
    if (weight_ <= most_) return std::nullopt;
    const auto& its = owners_.find(by_weight_.rbegin()->second)->second.entries;
    Place goes = its.front();
    size_t looked = 0;
    for (auto at = its.begin(); at != its.end() && looked < kLooked; ++at, ++looked)
      if (held(**at) > held(*goes)) goes = *at;
    return take_out(goes);
  }
  /// Of all, in the order in which they came.
  [[nodiscard]] const Value* oldest() const {
    return entries_.empty() ? nullptr : &entries_.front().value;
  }
  [[nodiscard]] Value take_oldest() { return take_out(entries_.begin()); }
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Entry& entry : entries_) visit(entry.value);
  }
  /// Entries.
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  static constexpr size_t kLooked = 32;

  struct Entry;
  using Place = typename std::list<Entry>::iterator;
  /// Weights by address.
  using Ends = std::map<IpAddr, size_t>;
  struct Owner {
    std::list<Place> entries;  ///< the newest at the end
    Ends from, to;
    size_t weight = 0;
  };
  using Owners = std::map<uint64_t, Owner>;
  struct Entry {
    FragmentKey key;
    Value value;
    typename Owners::iterator owner;
    Ends::iterator source, destination;
    typename std::list<Place>::iterator place = {};
    size_t weight = 0;
  };

  /// What stands behind the first 64 bits of an IPv6 source is its sender's to choose.
  static IpAddr sender(IpAddr source) {
    if (source.is_v6()) std::fill(source.bytes.begin() + 8, source.bytes.end(), uint8_t{0});
    return source;
  }
  static size_t held(const Entry& entry) {
    return entry.source->second + entry.destination->second;
  }
  void weigh(Place entry, size_t weight) {
    Owner& its = entry->owner->second;
    const size_t before = std::exchange(entry->weight, weight);
    for (size_t* sum : {&weight_, &entry->source->second, &entry->destination->second})
      *sum = *sum - before + weight;
    by_weight_.erase({its.weight, entry->owner->first});
    its.weight = its.weight - before + weight;
    if (its.weight != 0) by_weight_.emplace(its.weight, entry->owner->first);
  }
  Value take_out(Place entry) {
    weigh(entry, 0);
    Owner& its = entry->owner->second;
    if (entry->source->second == 0) its.from.erase(entry->source);
    if (entry->destination->second == 0) its.to.erase(entry->destination);
    its.entries.erase(entry->place);
    if (its.entries.empty()) owners_.erase(entry->owner);
    by_key_.erase(entry->key);
    Value out = std::move(entry->value);
    entries_.erase(entry);
    return out;
  }

  const size_t most_;
  size_t weight_ = 0;         ///< of all
  std::list<Entry> entries_;  ///< the newest at the end
  std::map<FragmentKey, Place> by_key_;
  Owners owners_;
  std::set<std::pair<size_t, uint64_t>> by_weight_;
};

}  // namespace plexus::agent
