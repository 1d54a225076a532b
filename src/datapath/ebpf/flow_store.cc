// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/flow_store.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <random>
#include <system_error>

#include "base/log.h"
#include "datapath/ebpf/programs.h"
#include "flow/seeded_hash.h"
#include "tc_programs.skel.h"

namespace plexus::datapath {
namespace {

/// Output block 0 belongs to the injection entry.
constexpr uint32_t kInjectionEntry = 0, kInjectionBlock = 0, kFirstBlock = 1;

uint32_t list_of(uint32_t port_index, bool ipv6) {
  return port_index * 2 + (ipv6 ? 1 : 0);
}
uint64_t list_key(uint32_t list, uint16_t mask) {
  return uint64_t{list} << 16 | mask;
}

plexus_key with_mask_number(const FlowKey& key, uint16_t mask) {
  plexus_key out = to_kernel(key);
  out.reserved = mask;
  return out;
}

/// Readers on other CPUs see what was written before when they see this.
template <typename T>
void publish(T& at, T value) {
  __atomic_store_n(&at, value, __ATOMIC_RELEASE);
}

}  // namespace

FlowStore::FlowStore(Fds fds, uint32_t max_flows, MappedArray<plexus_key> masks,
                     MappedArray<plexus_mask_list> lists, MappedArray<plexus_flow> entries,
                     MappedArray<plexus_flow_stats> stats, MappedArray<plexus_output_block> blocks,
                     volatile uint32_t* class_generation)
    : fds_(fds),
      max_flows_(max_flows),
      masks_(std::move(masks)),
      lists_(std::move(lists)),
      entries_(std::move(entries)),
      stats_(std::move(stats)),
      blocks_(std::move(blocks)),
      class_generation_(class_generation),
      free_entries_(PLEXUS_INJECT_ENTRIES, entries_.size()),
      free_stats_(0, stats_.size()),
      free_masks_(0, masks_.size()),
      free_blocks_(kFirstBlock, blocks_.size()),
      kept_(entries_.size()),
      seed_(std::random_device{}()),
      flows_(HashOfEntry{&entries_[0], seed_}) {
  flows_.reserve(max_flows);  // growing would hold packets up
}

// ---- index ------------------------------------------------------------------------------------

uint64_t FlowStore::hash_of_key(const plexus_key& key, uint64_t seed) {
  return hash_of(from_kernel(key), 0, seed);
}

std::optional<uint32_t> FlowStore::find(const Match& match) const {
  const auto mask = mask_uses_.find(match.mask);
  if (mask == mask_uses_.end()) return std::nullopt;
  const plexus_key key = with_mask_number(match.key, mask->second.id);
  const uint32_t entry = flows_.find(hash_of_key(key, seed_), [&](uint32_t candidate) {
    return std::memcmp(&entries_[candidate].key, &key, sizeof key) == 0;
  });
  return entry == flows_.kNone ? std::nullopt : std::optional(entry);
}

FlowStore::Installed FlowStore::installed(uint32_t entry) const {
  const Kept& kept = kept_[entry];
  return {entry, entries_[entry].key.reserved, kept.port_index, kept.short_key, kept.ipv6_key};
}

Match FlowStore::match_of_entry(uint32_t entry) const {
  FlowKey key = from_kernel(entries_[entry].key);
  const uint16_t mask = std::exchange(key.reserved, uint16_t{0});
  return {key, from_kernel(masks_[mask])};
}

void FlowStore::keep(const Installed& flow) {
  kept_[flow.entry] = {static_cast<uint16_t>(flow.port_index), flow.short_key, flow.ipv6_key};
  flows_.insert(flow.entry);
}

void FlowStore::let_go(uint32_t entry) {
  flows_.erase(entry);
  kept_[entry] = {};
}

Result<FlowStore> FlowStore::open(const tc_programs& p, uint32_t max_flows) {
  auto masks = MappedArray<plexus_key>::map(bpf_map__fd(p.maps.masks));
  if (!masks) return masks.error();
  auto lists = MappedArray<plexus_mask_list>::map(bpf_map__fd(p.maps.mask_lists));
  if (!lists) return lists.error();
  auto entries = MappedArray<plexus_flow>::map(bpf_map__fd(p.maps.flow_entries));
  if (!entries) return entries.error();
  auto stats = MappedArray<plexus_flow_stats>::map(bpf_map__fd(p.maps.flow_stats));
  if (!stats) return stats.error();
  auto blocks = MappedArray<plexus_output_block>::map(bpf_map__fd(p.maps.output_blocks));
  if (!blocks) return blocks.error();
  return FlowStore({bpf_map__fd(p.maps.flows_short), bpf_map__fd(p.maps.flows_ipv6)}, max_flows,
                   std::move(*masks), std::move(*lists), std::move(*entries), std::move(*stats),
                   std::move(*blocks), &p.data->class_generation);
}

// ---- masks ------------------------------------------------------------------------------------

void FlowStore::start_grace_period() {
  try {
    grace_period_ = std::async(std::launch::async, wait_for_readers);
  } catch (const std::system_error&) {  // no thread to be had
    wait_for_readers();
    std::promise<void> over;
    over.set_value();
    grace_period_ = over.get_future();
  }
}

void FlowStore::wake_in_time() {
  constexpr size_t kWorthIt = 512;
  SlotPool* const pools[] = {&free_entries_, &free_stats_, &free_masks_, &free_blocks_};
  if (rest_ == Rest::none) {
    if (free_entries_.resting() < kWorthIt) return;
    for (SlotPool* pool : pools) pool->set_aside();
    rest_ = Rest::readers_leave;
    return start_grace_period();
  }
  if (grace_period_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  if (rest_ == Rest::readers_leave) {
    // Everybody who may have found a resting entry is done. Now everybody forgets, and then that is known everywhere.
    *class_generation_ = *class_generation_ + 1;
    rest_ = Rest::readers_forget;
    return start_grace_period();
  }
  for (SlotPool* pool : pools) pool->wake_aside();
  rest_ = Rest::none;
}

std::optional<uint32_t> FlowStore::take(SlotPool& pool) {
  if (auto slot = pool.take()) return slot;
  while (rest_ != Rest::none) {
    grace_period_.wait();
    wake_in_time();
    if (auto slot = pool.take()) return slot;
  }
  if (pool.resting() == 0) return std::nullopt;
  wait_for_readers();
  *class_generation_ = *class_generation_ + 1;
  wait_for_readers();
  for (SlotPool* all : {&free_entries_, &free_stats_, &free_masks_, &free_blocks_}) all->wake();
  return pool.take();
}

Result<uint16_t> FlowStore::use_mask(const FlowKey& mask) {
  if (const auto it = mask_uses_.find(mask); it != mask_uses_.end()) {
    ++it->second.flows;
    return it->second.id;
  }
  const auto slot = take(free_masks_);
  if (!slot) return Error{ErrorCode::no_space, "too many different masks"};
  masks_[*slot] = to_kernel(mask);
  const auto id = static_cast<uint16_t>(*slot);
  mask_uses_.emplace(mask, MaskUse{id, 1});
  return id;
}

void FlowStore::release_mask(const FlowKey& mask) {
  const auto it = mask_uses_.find(mask);
  if (it == mask_uses_.end() || --it->second.flows > 0) return;
  free_masks_.give_back(it->second.id);
  mask_uses_.erase(it);
}

bool FlowStore::list_has_room(uint32_t list, uint16_t mask) const {
  return list_uses_.contains(list_key(list, mask)) || lists_[list].count < PLEXUS_MAX_PORT_MASKS;
}

void FlowStore::use_in_list(uint32_t list, uint16_t mask) {
  if (++list_uses_[list_key(list, mask)] > 1) return;
  plexus_mask_list& at = lists_[list];
  at.ids[at.count] = mask;
  plexus_mask_list next = at;
  ++next.count;
  at.any = any_of(
      next);  // a reader at this moment looks in a wrong place, and finds or leaves nothing wrong there
  publish(at.count, at.count + 1);
}

void FlowStore::release_from_list(uint32_t list, uint16_t mask) {
  const auto use = list_uses_.find(list_key(list, mask));
  if (use == list_uses_.end() || --use->second > 0) return;
  list_uses_.erase(use);
  plexus_mask_list& at = lists_[list];
  for (uint32_t i = 0; i < at.count; ++i) {
    if (at.ids[i] != mask) continue;
    // The last one moves into the hole before the list gets shorter: a reader at this moment may try a mask twice; one that
    // has passed the hole already may miss the moved one and upcall a packet that has a flow.
    publish(at.ids[i], at.ids[at.count - 1]);
    publish(at.count, at.count - 1);
    at.any = any_of(at);
    return;
  }
}

plexus_key FlowStore::any_of(const plexus_mask_list& list) const {
  FlowKey any;
  for (uint32_t i = 0; i < list.count; ++i) {
    const FlowKey mask = from_kernel(masks_[list.ids[i]]);
    for (size_t b = 0; b < sizeof any; ++b) any.bytes()[b] |= mask.bytes()[b];
  }
  return to_kernel(any);
}

// ---- entries ----------------------------------------------------------------------------------

Result<uint32_t> FlowStore::write_entry(const Flow& flow, const CompiledFlow& compiled,
                                        uint16_t mask, uint32_t stats_slot) {
  plexus_flow entry{};
  entry.key = with_mask_number(flow.match.key, mask);
  entry.cookie = flow.cookie;
  entry.stats = stats_slot;
  entry.mtu = compiled.mtu;
  entry.storm_limit = compiled.storm_limit;
  entry.flags = compiled.flags;
  entry.drop_reason = static_cast<uint16_t>(flow.drop_reason);
  return write_groups(compiled, 0, 0, entry);
}

Result<uint32_t> FlowStore::write_groups(const CompiledFlow& compiled, size_t first,
                                         size_t outputs_before, plexus_flow entry) {
  const CompiledGroup& group = compiled.groups[first];
  if (first > 0 && chained_ >= chained_entries(max_flows_))
    return Error{ErrorCode::no_space, "too many flows whose copies have different rewrites"};
  const auto slot = take(free_entries_);
  if (!slot) return Error{ErrorCode::no_space, "the flow table is full"};
  const auto give_up = [&](Error error) {
    free_entries_.give_back(*slot);
    return error;
  };
  entry.outputs = static_cast<uint16_t>(group.outputs);
  entry.rewrite = group.rewrite;
  const auto outputs = std::span(compiled.outputs).subspan(outputs_before, group.outputs);
  plexus_output* to = entry.inline_outputs;
  if (outputs.size() > PLEXUS_INLINE_OUTPUTS) {
    const auto block = take(free_blocks_);
    if (!block)
      return give_up({ErrorCode::no_space, "too many flows with more than " +
                                               std::to_string(PLEXUS_INLINE_OUTPUTS) + " copies"});
    entry.block = static_cast<uint16_t>(*block);
    to = blocks_[*block].outputs;
  }
  std::copy(outputs.begin(), outputs.end(), to);
  if (first + 1 < compiled.group_count) {
    auto next = write_groups(compiled, first + 1, outputs_before + group.outputs, {});
    if (!next) {
      if (outputs.size() > PLEXUS_INLINE_OUTPUTS) free_blocks_.give_back(entry.block);
      return give_up(next.error());
    }
    entry.next = *next;
    ++chained_;
  }
  entries_[*slot] = entry;
  return *slot;
}

void FlowStore::give_back_entry(uint32_t first) {
  publish(entries_[first].key.in_port, 0u);
  for_each_group(first, [&](uint32_t slot) {
    if (entries_[slot].outputs > PLEXUS_INLINE_OUTPUTS)
      free_blocks_.give_back(entries_[slot].block);
    free_entries_.give_back(slot);
    if (slot != first) --chained_;
  });
}

Result<void> FlowStore::insert_refs(const plexus_key& key, const CompiledFlow& compiled,
                                    uint32_t entry) const {
  const plexus_flow_ref ref{entry, 0};
  if (compiled.short_key && bpf_map_update_elem(fds_.flows_short, &key, &ref, BPF_ANY) != 0)
    return errno_error("the flow table", errno);
  if (compiled.ipv6_key && bpf_map_update_elem(fds_.flows_ipv6, &key, &ref, BPF_ANY) != 0)
    return errno_error("the IPv6 flow table", errno);
  return {};
}

void FlowStore::delete_refs(const plexus_key& key, bool short_key, bool ipv6_key) const {
  if (short_key) bpf_map_delete_elem(fds_.flows_short, &key);
  if (ipv6_key) bpf_map_delete_elem(fds_.flows_ipv6, &key);
}

Result<void> FlowStore::put(const Flow& flow, uint32_t port_index) {
  wake_in_time();
  auto compiled = compile(flow);
  if (!compiled) return compiled.error();

  if (const auto at = find(flow.match)) {
    Installed old = installed(*at);
    auto entry = write_entry(flow, *compiled, old.mask, entries_[old.entry].stats);
    if (!entry) return entry.error();
    if (auto done = insert_refs(entries_[*entry].key, *compiled, *entry); !done) {
      (void)insert_refs(entries_[old.entry].key, *compiled, old.entry);  // all as it was
      give_back_entry(*entry);
      return done;
    }
    let_go(old.entry);
    give_back_entry(std::exchange(old.entry, *entry));
    keep(old);
    return {};
  }

  auto prepared = prepare(flow, *compiled, port_index);
  if (!prepared) return prepared.error();
  if (auto done = insert_refs(entries_[prepared->entry].key, *compiled, prepared->entry); !done) {
    give_up(*prepared);
    return done;
  }
  keep(*prepared);
  return {};
}

Result<FlowStore::Installed> FlowStore::prepare(const Flow& flow, const CompiledFlow& compiled,
                                                uint32_t port_index) {
  if (flows_.size() >= max_flows_) return Error{ErrorCode::no_space, "the flow table is full"};
  auto mask = use_mask(flow.match.mask);
  if (!mask) return mask.error();
  const auto fail = [&](Error error) {
    release_mask(flow.match.mask);
    return error;
  };
  const uint32_t lists[2] = {list_of(port_index, false), list_of(port_index, true)};
  const bool wanted[2] = {compiled.short_key, compiled.ipv6_key};
  for (int i = 0; i < 2; ++i)
    if (wanted[i] && !list_has_room(lists[i], *mask))
      return fail({ErrorCode::no_space,
                   "port " + std::to_string(flow.match.key.in_port) + " has too many masks"});

  const auto stats_slot = take(free_stats_);
  if (!stats_slot) return fail({ErrorCode::no_space, "the flow table is full"});
  stats_[*stats_slot] = {};
  auto entry = write_entry(flow, compiled, *mask, *stats_slot);
  if (!entry) {
    free_stats_.give_back(*stats_slot);
    return fail(entry.error());
  }
  // A mask without flows costs a look-up that finds nothing.
  for (int i = 0; i < 2; ++i)
    if (wanted[i]) use_in_list(lists[i], *mask);
  return Installed{*entry, *mask, port_index, compiled.short_key, compiled.ipv6_key};
}

void FlowStore::give_up(const Installed& flow) {
  delete_refs(entries_[flow.entry].key, flow.short_key, flow.ipv6_key);
  if (flow.short_key) release_from_list(list_of(flow.port_index, false), flow.mask);
  if (flow.ipv6_key) release_from_list(list_of(flow.port_index, true), flow.mask);
  release_mask(from_kernel(masks_[flow.mask]));
  free_stats_.give_back(entries_[flow.entry].stats);
  give_back_entry(flow.entry);
}

void FlowStore::erase(uint32_t entry) {
  const Installed flow = installed(entry);
  let_go(entry);
  give_up(flow);
}

Result<FlowStats> FlowStore::remove(const Match& match) {
  const auto entry = find(match);
  if (!entry) return Error{ErrorCode::not_found, "no such flow"};
  erase(*entry);
  return read_stats(*entry);  // the slot rests, nobody has it yet
}

void FlowStore::remove_port(uint32_t port_index) {
  for (uint32_t entry = 0; entry < kept_.size(); ++entry)
    if (kept_[entry].port_index == port_index) erase(entry);
  publish(lists_[list_of(port_index, false)].count, 0u);
  publish(lists_[list_of(port_index, true)].count, 0u);
}

// ---- reading ----------------------------------------------------------------------------------

FlowStats FlowStore::read_stats(uint32_t entry) const {
  const plexus_flow_stats& at = stats_[entries_[entry].stats];
  FlowStats out;
  out.packets = __atomic_load_n(&at.packets, __ATOMIC_RELAXED);
  out.bytes = __atomic_load_n(&at.bytes, __ATOMIC_RELAXED);
  out.last_used.ns = static_cast<int64_t>(__atomic_load_n(&at.last_used, __ATOMIC_RELAXED));
  return out;
}

Result<FlowStats> FlowStore::stats(const Match& match) const {
  const auto entry = find(match);
  if (!entry) return Error{ErrorCode::not_found, "no such flow"};
  return read_stats(*entry);
}

void FlowStore::set_stats(const Match& match, const FlowStats& stats) {
  const auto entry = find(match);
  if (!entry) return;
  stats_[entries_[*entry].stats] = {stats.packets, stats.bytes,
                                    static_cast<uint64_t>(stats.last_used.ns), 0};
}

bool FlowStore::read_stats(
    size_t limit, const std::function<void(const Match& match, const FlowStats& stats)>& visit) {
  // Entries that are no flow's are passed by quickly, but not for nothing.
  constexpr size_t kEntriesForAFlow = 256;
  size_t seen = 0;
  for (size_t passed = 0; seen < limit && passed < limit * kEntriesForAFlow; ++passed) {
    if (next_read_ == entries_.size()) {
      next_read_ = 0;
      return true;
    }
    const uint32_t entry = next_read_++;
    if (kept_[entry].port_index == kNoPort) continue;
    visit(match_of_entry(entry), read_stats(entry));
    ++seen;
  }
  return false;
}

std::span<const plexus_output> FlowStore::outputs_of(const plexus_flow& entry) const {
  if (entry.outputs <= PLEXUS_INLINE_OUTPUTS) return {entry.inline_outputs, entry.outputs};
  return {blocks_[entry.block].outputs, entry.outputs};
}

Actions FlowStore::actions_of(uint32_t slot) const {
  Actions out;
  for_each_group(
      slot, [&](uint32_t group) { decompile(entries_[group], outputs_of(entries_[group]), out); });
  return out;
}

sim::DropReason FlowStore::reason_of(uint32_t slot) const {
  const uint16_t number = entries_[slot].drop_reason;
  return number < sim::kDropReasonCount ? static_cast<sim::DropReason>(number)
                                        : sim::DropReason::none;
}

std::vector<FlowEntry> FlowStore::dump() const {
  std::vector<FlowEntry> out;
  out.reserve(flows_.size());
  for (uint32_t entry = 0; entry < kept_.size(); ++entry) {
    if (kept_[entry].port_index == kNoPort) continue;
    out.push_back(
        {{match_of_entry(entry), actions_of(entry), entries_[entry].cookie, reason_of(entry)},
         read_stats(entry)});
  }
  return out;
}

void FlowStore::set_injection(const CompiledFlow& actions) {
  plexus_flow& entry = entries_[kInjectionEntry];
  entry = {};
  entry.rewrite = actions.groups[0].rewrite;
  entry.outputs = static_cast<uint16_t>(actions.outputs.size());
  entry.block = kInjectionBlock;
  std::copy(actions.outputs.begin(), actions.outputs.end(),
            actions.outputs.size() <= PLEXUS_INLINE_OUTPUTS ? entry.inline_outputs
                                                            : blocks_[kInjectionBlock].outputs);
}

std::optional<uint32_t> FlowStore::set_injection(size_t n, const CompiledFlow& actions) {
  while (inject_entries_.size() <= n) {
    const auto slot = take(free_entries_);
    if (!slot) return std::nullopt;
    inject_entries_.push_back(*slot);
  }
  plexus_flow& entry = entries_[inject_entries_[n]];
  entry.key.in_port = 0;  // no flow's
  entry.rewrite = actions.groups[0].rewrite;
  entry.outputs = static_cast<uint16_t>(actions.outputs.size());
  entry.mtu = entry.flags = 0;
  entry.storm_limit = 0;
  entry.next = 0;
  std::copy(actions.outputs.begin(), actions.outputs.end(), entry.inline_outputs);
  return inject_entries_[n];
}

}  // namespace plexus::datapath
