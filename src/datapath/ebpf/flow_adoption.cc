// SPDX-License-Identifier: Apache-2.0
// FlowStore::adopt(): from the maps that an earlier agent left to the index of this one.
#include <bpf/bpf.h>

#include <algorithm>

#include "base/log.h"
#include "datapath/ebpf/flow_store.h"

namespace plexus::datapath {
namespace {

/// All keys of a flow map with the entry that they name. Short keys fill the first part of a plexus_key.
std::vector<std::pair<plexus_key, uint32_t>> refs_in(int fd) {
  std::vector<std::pair<plexus_key, uint32_t>> out;
  plexus_key key{}, next{};
  const void* previous = nullptr;
  while (bpf_map_get_next_key(fd, previous, &next) == 0) {
    key = next;
    previous = &key;
    plexus_flow_ref ref{};
    if (bpf_map_lookup_elem(fd, &key, &ref) == 0) out.emplace_back(key, ref.entry);
  }
  return out;
}

}  // namespace

bool FlowStore::whole(uint32_t slot) const {
  for (size_t n = 0; n < PLEXUS_MAX_GROUPS; ++n) {
    if (slot < PLEXUS_INJECT_ENTRIES || slot >= entries_.size() ||
        entries_[slot].outputs > PLEXUS_MAX_OUTPUTS || entries_[slot].block >= blocks_.size())
      return false;
    slot = entries_[slot].next;
    if (slot == 0) return true;
  }
  return false;
}

Result<void> FlowStore::adopt(
    const std::function<std::optional<uint32_t>(uint32_t port)>& index_of) {
  std::vector<bool> used_entries(entries_.size()), used_stats(stats_.size()),
      used_masks(masks_.size()), used_blocks(blocks_.size());
  std::unordered_map<uint32_t, plexus_mask_list> wanted;  // by list
  size_t refused = 0;

  const auto take_over = [&](int fd, const plexus_key& key, uint32_t slot, bool ipv6) {
    const uint16_t mask_id = key.reserved;
    const auto index = index_of(key.in_port);
    const bool sane = mask_id < masks_.size() && index.has_value() && whole(slot) &&
                      entries_[slot].stats < stats_.size() &&
                      std::memcmp(&entries_[slot].key, &key, sizeof key) == 0;
    if (!sane) {
      if (index) ++refused;  // else: the port's interface has vanished, and its flows with it
      bpf_map_delete_elem(fd, &key);
      return;
    }
    const plexus_flow& entry = entries_[slot];
    FlowKey flow_key = from_kernel(key);
    flow_key.reserved = 0;
    const FlowKey mask = from_kernel(masks_[mask_id]);
    // Two masks of equal bits: no agent makes them.
    const auto mask_use = mask_uses_.find(mask);
    if (mask_use != mask_uses_.end() && mask_use->second.id != mask_id) {
      ++refused;
      bpf_map_delete_elem(fd, &key);
      return;
    }
    const auto have = find({flow_key, mask});
    const bool fresh = !have;
    // A replacement that was cut short: one map names the new entry, the other the old one. Both are whole; the first found
    // wins.
    if (have && *have != slot) {
      const plexus_flow_ref ref{*have, 0};
      bpf_map_update_elem(fd, &key, &ref, BPF_EXIST);
      // Nobody names it any more, and the programs may remember it.
      __atomic_store_n(&entries_[slot].key.in_port, 0u, __ATOMIC_RELEASE);
    }
    if (fresh) {
      used_stats[entry.stats] = used_masks[mask_id] = true;
      for_each_group(slot, [&](uint32_t group) {
        used_entries[group] = true;
        if (entries_[group].outputs > PLEXUS_INLINE_OUTPUTS)
          used_blocks[entries_[group].block] = true;
        if (group != slot) ++chained_;
      });
      auto use = mask_uses_.try_emplace(mask, MaskUse{mask_id, 0}).first;
      ++use->second.flows;
      keep({slot, mask_id, *index, false, false});
    }
    Kept& kept = kept_[have.value_or(slot)];
    (ipv6 ? kept.ipv6_key : kept.short_key) = true;
    const uint32_t list = *index * 2 + (ipv6 ? 1 : 0);
    ++list_uses_[uint64_t{list} << 16 | mask_id];
  };

  for (auto& [key, slot] : refs_in(fds_.flows_short)) take_over(fds_.flows_short, key, slot, false);
  for (auto& [key, slot] : refs_in(fds_.flows_ipv6)) take_over(fds_.flows_ipv6, key, slot, true);

  // The lists as the flows need them. Lists that are right already, the normal case, are not touched.
  for (const auto& [list_and_mask, flows] : list_uses_) {
    plexus_mask_list& want = wanted[static_cast<uint32_t>(list_and_mask >> 16)];
    if (want.count == PLEXUS_MAX_PORT_MASKS)
      return Error{ErrorCode::internal, "a port has more masks than it can have"};
    want.ids[want.count++] = static_cast<uint16_t>(list_and_mask);
  }
  for (uint32_t list = 0; list < lists_.size(); ++list) {
    const auto it = wanted.find(list);
    plexus_mask_list want = it == wanted.end() ? plexus_mask_list{} : it->second;
    want.any = any_of(want);
    plexus_mask_list& have = lists_[list];
    if (have.count == want.count && have.count <= PLEXUS_MAX_PORT_MASKS &&
        std::is_permutation(have.ids, have.ids + have.count, want.ids) &&
        std::memcmp(&have.any, &want.any, sizeof want.any) == 0)
      continue;
    have = want;
  }

  free_entries_ = SlotPool(PLEXUS_INJECT_ENTRIES, entries_.size(), used_entries);
  free_stats_ = SlotPool(0, stats_.size(), used_stats);
  free_masks_ = SlotPool(0, masks_.size(), used_masks);
  free_blocks_ = SlotPool(1, blocks_.size(), used_blocks);
  if (refused > 0)
    log_warn("datapath", "{} flows of an earlier agent were unusable and are gone", refused);
  return {};
}

}  // namespace plexus::datapath
