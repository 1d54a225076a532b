// SPDX-License-Identifier: Apache-2.0
#include "flow/flow_table.h"

#include <algorithm>

#include "base/check.h"

namespace plexus {

FlowTable::FlowTable(size_t limit) : limit_(limit) {
  PLEXUS_CHECK(limit > 0 && limit < 0xffffffff, "a flow table holds something");
}

FlowTable::Inserted FlowTable::insert(const Match& match, Actions actions,
                                      std::vector<Dependency> dependencies, uint64_t cookie,
                                      MonoTime now) {
  PLEXUS_CHECK((match.key & match.mask) == match.key, "a match has no key bits outside its mask");
  std::sort(dependencies.begin(), dependencies.end());
  dependencies.erase(std::unique(dependencies.begin(), dependencies.end()), dependencies.end());
  Inserted result;
  auto slot = slot_of(match);
  if (slot) {
    result.replaced = true;
    unindex_tags(*slot);
  } else {
    if (size() == limit_) result.evicted = remove(by_use_.begin()->second);
    slot = take_slot();
    InstalledFlow& flow = slots_[*slot].flow;
    flow.match = match;
    flow.created = flow.last_used = now;
    by_mask_[match.mask].emplace(match.key, *slot);
    by_use_.emplace(now, *slot);
  }
  InstalledFlow& flow = slots_[*slot].flow;
  flow.actions = std::move(actions);
  flow.dependencies = std::move(dependencies);
  flow.cookie = cookie;
  index_tags(*slot);
  touch(*slot, now);
  return result;
}

bool FlowTable::erase(const Match& match) {
  const auto slot = slot_of(match);
  if (slot) remove(*slot);
  return slot.has_value();
}

bool FlowTable::update_stats(const Match& match, uint64_t packets, uint64_t bytes,
                             MonoTime last_used) {
  const auto slot = slot_of(match);
  if (!slot) return false;
  InstalledFlow& flow = slots_[*slot].flow;
  flow.packets = packets;
  flow.bytes = bytes;
  touch(*slot, last_used);
  return true;
}

const InstalledFlow* FlowTable::find(const Match& match) const {
  const auto slot = slot_of(match);
  return slot ? &slots_[*slot].flow : nullptr;
}

const InstalledFlow* FlowTable::lookup(const FlowKey& key) const {
  for (const auto& [mask, keys] : by_mask_)
    if (const auto it = keys.find(key & mask); it != keys.end()) return &slots_[it->second].flow;
  return nullptr;
}

std::vector<Match> FlowTable::invalidate(std::span<const TagChange> changes) {
  std::vector<SlotIndex> hit;
  for (const TagChange& change : changes) {
    const auto carriers = by_tag_.find(change.tag);
    if (carriers == by_tag_.end()) continue;
    for (const Carrier& c : carriers->second) {
      const InstalledFlow& flow = slots_[c.slot].flow;
      if (!change.region || flow.dependencies[c.dependency].rewritten ||
          flow.match.meets(*change.region))
        hit.push_back(c.slot);
    }
  }
  std::sort(hit.begin(), hit.end());
  hit.erase(std::unique(hit.begin(), hit.end()), hit.end());
  std::vector<Match> removed;
  removed.reserve(hit.size());
  for (const SlotIndex slot : hit) removed.push_back(remove(slot));
  return removed;
}

std::vector<Match> FlowTable::expire(MonoTime now, Duration idle) {
  std::vector<Match> removed;
  while (!by_use_.empty() && now - by_use_.begin()->first >= idle)
    removed.push_back(remove(by_use_.begin()->second));
  return removed;
}

std::vector<Match> FlowTable::clear() {
  std::vector<Match> removed;
  removed.reserve(size());
  while (!by_use_.empty()) removed.push_back(remove(by_use_.begin()->second));
  return removed;
}

void FlowTable::for_each(const std::function<void(const InstalledFlow&)>& visit) const {
  for (const Slot& slot : slots_)
    if (slot.used) visit(slot.flow);
}

std::optional<FlowTable::SlotIndex> FlowTable::slot_of(const Match& match) const {
  const auto keys = by_mask_.find(match.mask);
  if (keys == by_mask_.end()) return std::nullopt;
  const auto it = keys->second.find(match.key);
  if (it == keys->second.end()) return std::nullopt;
  return it->second;
}

FlowTable::SlotIndex FlowTable::take_slot() {
  if (free_.empty()) {
    slots_.emplace_back();
    free_.push_back(static_cast<SlotIndex>(slots_.size() - 1));
  }
  const SlotIndex slot = free_.back();
  free_.pop_back();
  slots_[slot].used = true;
  return slot;
}

void FlowTable::index_tags(SlotIndex slot) {
  Slot& s = slots_[slot];
  s.place.clear();
  for (uint32_t i = 0; i < s.flow.dependencies.size(); ++i) {
    auto& carriers = by_tag_[s.flow.dependencies[i].tag];
    s.place.push_back(static_cast<uint32_t>(carriers.size()));
    carriers.push_back({slot, i});
  }
}

void FlowTable::unindex_tags(SlotIndex slot) {
  Slot& s = slots_[slot];
  for (size_t i = 0; i < s.flow.dependencies.size(); ++i) {
    const auto list = by_tag_.find(s.flow.dependencies[i].tag);
    PLEXUS_CHECK(list != by_tag_.end(), "a flow is listed under its tags");
    // The last of the list takes the free place; it may be this flow's own other dependency on the tag.
    auto& carriers = list->second;
    const Carrier moved = carriers.back();
    carriers[s.place[i]] = moved;
    slots_[moved.slot].place[moved.dependency] = s.place[i];
    carriers.pop_back();
    if (carriers.empty()) by_tag_.erase(list);
  }
}

void FlowTable::touch(SlotIndex slot, MonoTime used) {
  InstalledFlow& flow = slots_[slot].flow;
  if (used <= flow.last_used) return;
  // The node moves: no allocation for what every statistics round does to every busy flow.
  auto node = by_use_.extract({flow.last_used, slot});
  flow.last_used = used;
  node.value() = {used, slot};
  by_use_.insert(std::move(node));
}

Match FlowTable::remove(SlotIndex slot) {
  unindex_tags(slot);
  Slot& s = slots_[slot];
  const auto keys = by_mask_.find(s.flow.match.mask);
  keys->second.erase(s.flow.match.key);
  if (keys->second.empty()) by_mask_.erase(keys);
  by_use_.erase({s.flow.last_used, slot});
  const Match match = s.flow.match;
  s = Slot{};
  free_.push_back(slot);
  return match;
}

}  // namespace plexus
