// SPDX-License-Identifier: Apache-2.0
#include "flow/flow_table.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "flow/seeded_hash.h"

namespace plexus {
namespace {

/// Whether flows meet one region, many flows in a row: only the words of the key that the region looks at are read.
class RegionTest {
 public:
  explicit RegionTest(const Match& region) {
    for (size_t i = 0; i < kWords; ++i) {
      const uint64_t mask = word(region.mask, i);
      if (mask != 0) asked_[count_++] = {i, mask, word(region.key, i)};
    }
  }
  [[nodiscard]] bool meets(const FlowKey& key, const FlowKey& mask) const {
    uint64_t difference = 0;
    for (size_t i = 0; i < count_; ++i) {
      const Asked& a = asked_[i];
      difference |= (word(key, a.word) ^ a.key) & a.mask & word(mask, a.word);
    }
    return difference == 0;
  }

 private:
  static constexpr size_t kWords = sizeof(FlowKey) / sizeof(uint64_t);
  struct Asked {
    size_t word = 0;
    uint64_t mask = 0, key = 0;
  };
  static uint64_t word(const FlowKey& key, size_t i) {
    uint64_t w = 0;
    std::memcpy(&w, key.bytes().data() + i * sizeof w, sizeof w);
    return w;
  }
  std::array<Asked, kWords> asked_;
  size_t count_ = 0;
};

}  // namespace

FlowTable::FlowTable(size_t limit, uint64_t hash_seed)
    : limit_(limit),
      seed_(hash_seed),
      index_(HashOfSlot{this}),
      dependencies_(hash_seed),
      order_(limit * 3 / 4) {
  PLEXUS_CHECK(limit > 0 && limit < 0x7fffffff, "a flow table holds something");
  // Once, so that no packet waits while a full table is hashed anew.
  index_.reserve(limit);
}

FlowTable::Inserted FlowTable::insert(const Match& match, const Actions& actions,
                                      std::span<const Dependency> dependencies, uint64_t cookie,
                                      MonoTime now, uint8_t reason, uint32_t tally) {
  PLEXUS_CHECK((match.key & match.mask) == match.key, "a match has no key bits outside its mask");
  Inserted result;
  SlotIndex slot = slot_of(match);
  if (slot != kNone) {
    result.replaced = true;
    result.tally_before = totals_[slot].tally;
    renew(match, actions, dependencies, reason, tally);
    totals_[slot].cookie = cookie;
    order_.touch(slot, now);
    return result;
  }
  if (size() == limit_) result.evicted = remove(order_.first_to_go());
  slot = take_slot();
  Slot& s = slots_[slot];
  s.key = match.key;
  s.mask =
      masks_
          .use(
              hash_of(match.mask, 0, seed_),
              [&](const FlowKey& mask) { return mask == match.mask; }, [&] { return match.mask; })
          .first;
  s.actions = use_actions(actions);
  totals_[slot] = {.cookie = cookie, .created = now, .tally = tally, .reason = reason};
  note_mask(s);
  index_.insert(slot);
  dependencies_.add(slot, dependencies);
  order_.add(slot, now);
  return result;
}

bool FlowTable::renew(const Match& match, const Actions& actions,
                      std::span<const Dependency> dependencies, uint8_t reason, uint32_t tally) {
  const SlotIndex slot = slot_of(match);
  if (slot == kNone) return false;
  Slot& s = slots_[slot];
  // The new one first: it may be the same.
  const uint32_t now_used = use_actions(actions);
  actions_.release(s.actions);
  s.actions = now_used;
  totals_[slot].reason = reason;
  totals_[slot].tally = tally;
  dependencies_.replace(slot, dependencies);
  return true;
}

std::optional<RemovedFlow> FlowTable::erase(const Match& match) {
  const SlotIndex slot = slot_of(match);
  if (slot == kNone) return std::nullopt;
  return remove(slot);
}

std::optional<FlowTable::Updated> FlowTable::update_stats(const Match& match, uint64_t packets,
                                                          uint64_t bytes, MonoTime last_used) {
  const SlotIndex slot = slot_of(match);
  if (slot == kNone) return std::nullopt;
  Totals& t = totals_[slot];
  const Updated updated{.packets = packets > t.packets ? packets - t.packets : 0,
                        .bytes = bytes > t.bytes ? bytes - t.bytes : 0,
                        .reason = t.reason,
                        .tally = t.tally};
  t.packets = packets;
  t.bytes = bytes;
  if (last_used > order_.last_used(slot)) order_.protect(slot, last_used);
  return updated;
}

std::optional<InstalledFlow> FlowTable::find(const Match& match) const {
  const SlotIndex slot = slot_of(match);
  if (slot == kNone) return std::nullopt;
  return view(slot);
}

FlowTable::SlotIndex FlowTable::slot_under(MaskList& masks, const FlowKey& key) const {
  for (size_t i = 0; i < masks.size(); ++i) {
    const uint32_t mask = masks[i].mask;
    const SlotIndex slot = slot_of(key & masks_[mask], mask);
    if (slot == kNone) continue;
    // One place to the front for each hit: the order follows the traffic without being counted.
    if (i > 0) std::swap(masks[i - 1], masks[i]);
    return slot;
  }
  return kNone;
}

std::optional<InstalledFlow> FlowTable::lookup(const FlowKey& key) {
  SlotIndex slot = kNone;
  if (const auto at = masks_of_port_.find(key.in_port); at != masks_of_port_.end())
    slot = slot_under(at->second, key);
  if (slot == kNone) slot = slot_under(masks_of_any_port_, key);
  return slot != kNone ? std::optional(view(slot)) : std::nullopt;
}

void FlowTable::note_mask(const Slot& slot) {
  const bool whole = masks_[slot.mask].in_port == ~uint32_t{0};
  MaskList& masks = whole ? masks_of_port_[slot.key.in_port] : masks_of_any_port_;
  const auto at = std::find_if(masks.begin(), masks.end(),
                               [&](const MaskInUse& m) { return m.mask == slot.mask; });
  if (at != masks.end())
    ++at->flows;
  else
    masks.push_back({slot.mask, 1});
}

void FlowTable::forget_mask(const Slot& slot) {
  const bool whole = masks_[slot.mask].in_port == ~uint32_t{0};
  MaskList& masks = whole ? masks_of_port_.find(slot.key.in_port)->second : masks_of_any_port_;
  const auto at = std::find_if(masks.begin(), masks.end(),
                               [&](const MaskInUse& m) { return m.mask == slot.mask; });
  if (--at->flows > 0) return;
  masks.erase(at);
  if (whole && masks.empty()) masks_of_port_.erase(slot.key.in_port);
}

std::vector<Dependency> FlowTable::dependencies_of(const Match& match) const {
  const SlotIndex slot = slot_of(match);
  return slot == kNone ? std::vector<Dependency>{} : dependencies_.of(slot);
}

std::vector<FlowTable::SlotIndex> FlowTable::slots_touched_by(
    std::span<const TagChange> changes) const {
  std::vector<SlotIndex> hit;
  std::vector<DependencyIndex::Holder> holders;
  // What a whole set's flows are asked: nothing (all of them are hit), or whether they meet a region.
  struct Question {
    uint32_t set = 0;
    const RegionTest* region = nullptr;
  };
  std::vector<RegionTest> regions;
  regions.reserve(changes.size());
  std::vector<Question> questions;
  size_t to_ask = 0;
  for (const TagChange& change : changes) {
    holders.clear();
    dependencies_.holders(change.tag, holders);
    if (holders.empty()) continue;
    const RegionTest* region = nullptr;
    if (change.region) region = &regions.emplace_back(*change.region);
    for (const auto& holder : holders) {
      if (region == nullptr || holder.rewritten) {
        dependencies_.for_each_flow(holder.set, [&](SlotIndex slot) { hit.push_back(slot); });
      } else {
        questions.push_back({holder.set, region});
        to_ask += dependencies_.flows_of(holder.set);
      }
    }
  }
  const auto ask = [&](SlotIndex number, const Slot& slot, const RegionTest& region) {
    if (region.meets(slot.key, masks_[slot.mask])) hit.push_back(number);
  };
  // Lists lead all over memory. Where a good part of the table is asked, going through it in order is faster.
  if (to_ask > size() / 8) {
    std::vector<std::pair<uint32_t, uint32_t>> of_set(
        dependencies_.set_numbers());  // a range of them
    std::sort(questions.begin(), questions.end(),
              [](const Question& a, const Question& b) { return a.set < b.set; });
    for (uint32_t i = 0; i < questions.size(); ++i) {
      auto& [begin, end] = of_set[questions[i].set];
      if (end == 0) begin = i;
      end = i + 1;
    }
    auto slot = slots_.begin();
    SlotIndex at = 0;
    dependencies_.for_each_set_of([&](SlotIndex number, uint32_t set) {
      for (; at < number; ++at) ++slot;
      const auto [begin, end] = of_set[set];
      for (uint32_t i = begin; i < end; ++i) ask(number, *slot, *questions[i].region);
    });
  } else {
    for (const Question& q : questions)
      dependencies_.for_each_flow(q.set,
                                  [&](SlotIndex slot) { ask(slot, slots_[slot], *q.region); });
  }
  std::sort(hit.begin(), hit.end());
  hit.erase(std::unique(hit.begin(), hit.end()), hit.end());
  return hit;
}

std::vector<Match> FlowTable::touched_by(std::span<const TagChange> changes, size_t first) const {
  std::vector<SlotIndex> hit = slots_touched_by(changes);
  const auto later = [this](SlotIndex a, SlotIndex b) {
    const MonoTime at_a = order_.last_used(a), at_b = order_.last_used(b);
    return at_a != at_b ? at_a > at_b : a < b;
  };
  const auto end = hit.begin() + static_cast<std::ptrdiff_t>(std::min(first, hit.size()));
  std::partial_sort(hit.begin(), end, hit.end(), later);
  std::vector<Match> out;
  out.reserve(hit.size());
  for (const SlotIndex slot : hit) out.push_back({slots_[slot].key, masks_[slots_[slot].mask]});
  return out;
}

std::vector<RemovedFlow> FlowTable::invalidate(std::span<const TagChange> changes) {
  return remove_all(slots_touched_by(changes));
}

std::vector<RemovedFlow> FlowTable::expire(MonoTime now, Duration idle, size_t limit) {
  return remove_all(order_.unused_since(now - idle, limit));
}

std::vector<RemovedFlow> FlowTable::clear() {
  std::vector<SlotIndex> all;
  all.reserve(size());
  for (SlotIndex slot = 0; slot < slots_.size(); ++slot)
    if (slots_[slot].mask != kNone) all.push_back(slot);
  return remove_all(all);
}

std::optional<InstalledFlow> FlowTable::first_to_go() const {
  if (size() < limit_) return std::nullopt;
  return view(order_.first_to_go());
}

void FlowTable::for_each(const std::function<void(const InstalledFlow&)>& visit) const {
  for (SlotIndex slot = 0; slot < slots_.size(); ++slot)
    if (slots_[slot].mask != kNone) visit(view(slot));
}

uint64_t FlowTable::hash(const FlowKey& key, uint32_t mask) const {
  return hash_of(key, mask, seed_);
}

uint32_t FlowTable::mask_number(const FlowKey& mask) const {
  return masks_.find(hash_of(mask, 0, seed_), [&](const FlowKey& m) { return m == mask; });
}

FlowTable::SlotIndex FlowTable::slot_of(const FlowKey& key, uint32_t mask) const {
  return index_.find(hash(key, mask), [&](SlotIndex slot) {
    return slots_[slot].mask == mask && slots_[slot].key == key;
  });
}

FlowTable::SlotIndex FlowTable::slot_of(const Match& match) const {
  const uint32_t mask = mask_number(match.mask);
  return mask == kNone ? kNone : slot_of(match.key, mask);
}

InstalledFlow FlowTable::view(SlotIndex slot) const {
  const Slot& s = slots_[slot];
  const Totals& t = totals_[slot];
  return {.match = {s.key, masks_[s.mask]},
          .actions = actions_[s.actions],
          .cookie = t.cookie,
          .reason = t.reason,
          .tally = t.tally,
          .packets = t.packets,
          .bytes = t.bytes,
          .created = t.created,
          .last_used = order_.last_used(slot)};
}

uint32_t FlowTable::use_actions(const Actions& actions) {
  return actions_
      .use(
          hash_of(actions, seed_), [&](const Actions& a) { return a == actions; },
          [&] { return actions; })
      .first;
}

FlowTable::SlotIndex FlowTable::take_slot() {
  if (free_.empty()) {
    slots_.emplace_back();
    totals_.emplace_back();
    return static_cast<SlotIndex>(slots_.size() - 1);
  }
  const SlotIndex slot = free_.back();
  free_.pop_back();
  return slot;
}

RemovedFlow FlowTable::remove(SlotIndex slot) {
  Slot& s = slots_[slot];
  const Totals& t = totals_[slot];
  const RemovedFlow removed{{s.key, masks_[s.mask]}, t.reason, t.tally, t.packets, t.bytes};
  index_.erase(slot);
  forget_mask(s);
  masks_.release(s.mask);
  actions_.release(s.actions);
  s.mask = s.actions = kNone;
  dependencies_.remove(slot);
  order_.remove(slot);
  free_.push_back(slot);
  return removed;
}

std::vector<RemovedFlow> FlowTable::remove_all(const std::vector<SlotIndex>& slots) {
  std::vector<RemovedFlow> removed;
  removed.reserve(slots.size());
  for (const SlotIndex slot : slots) removed.push_back(remove(slot));
  return removed;
}

}  // namespace plexus
