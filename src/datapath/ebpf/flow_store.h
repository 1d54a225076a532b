// SPDX-License-Identifier: Apache-2.0
// FlowStore: the flows in the kernel's maps (bpf/maps.h), and the agent's index of them.
//
// Invariants, at every moment and after a crash between any two steps:
//   - a flow_ref in a flow map names an entry that is complete and does not change while it is named;
//   - the mask of a flow is in its port's list, or the flow cannot be found (adopt() puts that right);
//   - an entry that no flow map names has no in_port, so that programs which remember it (bpf/lib/classify.h) do not take it;
//   - slots of entries, statistics, masks and output blocks are used again only after an RCU grace period, and after programs have
//     forgotten what they remember (class_generation).
// One thread.
#pragma once

#include <future>
#include <unordered_map>

#include "datapath/ebpf/compile.h"
#include "datapath/ebpf/mapped_array.h"
#include "datapath/ebpf/slot_pool.h"
#include "flow/interned.h"

struct tc_programs;

namespace plexus::datapath {

class FlowStore {
 public:
  static Result<FlowStore> open(const tc_programs& programs, uint32_t max_flows);

  /// Takes over what is in the maps. `index_of`: a port number to its index, none for no port; flows of such are removed.
  Result<void> adopt(const std::function<std::optional<uint32_t>(uint32_t port)>& index_of);

  /// See Datapath::put_flow. `port_index`: of match.key.in_port.
  Result<void> put(const Flow& flow, uint32_t port_index);
  /// put() for each; one system call for the new ones of each key size. `index_of`: as for adopt().
  void put_many(std::span<const Flow> flows, std::span<Result<void>> done,
                const std::function<std::optional<uint32_t>(uint32_t port)>& index_of);
  Result<FlowStats> remove(const Match& match);
  [[nodiscard]] Result<FlowStats> stats(const Match& match) const;
  /// Of a flow that no program has met yet.
  void set_stats(const Match& match, const FlowStats& stats);
  [[nodiscard]] std::vector<FlowEntry> dump() const;
  /// See Datapath::read_stats.
  bool read_stats(size_t limit,
                  const std::function<void(const Match& match, const FlowStats& stats)>& visit);
  /// Removes all flows that enter by this port.
  void remove_port(uint32_t port_index);

  /// Fills the injection entry: what the program from_agent does with the next frame. Actions of one group.
  void set_injection(const CompiledFlow& actions);
  /// Fills the entry of frame `n` of those that are sent at once; its number, or none when there is no entry for it.
  /// Actions of one group with at most PLEXUS_INLINE_OUTPUTS outputs.
  std::optional<uint32_t> set_injection(size_t n, const CompiledFlow& actions);

 private:
  struct Installed {
    uint32_t entry = 0;
    uint16_t mask = 0;
    uint32_t port_index = 0;
    bool short_key = false, ipv6_key = false;
  };
  /// What is known of the flow of an entry besides the entry itself. kNoPort: none is installed.
  static constexpr uint16_t kNoPort = 0xffff;
  struct Kept {
    uint16_t port_index = kNoPort;
    bool short_key = false, ipv6_key = false;
  };
  struct HashOfEntry {
    const plexus_flow* entries;
    uint64_t seed;
    size_t operator()(uint32_t entry) const { return hash_of_key(entries[entry].key, seed); }
  };
  /// Of a key with its mask's number.
  static uint64_t hash_of_key(const plexus_key& key, uint64_t seed);
  /// How many flows use a mask, in all and in each list.
  struct MaskUse {
    uint16_t id = 0;
    uint32_t flows = 0;
  };

  struct Fds {
    int flows_short, flows_ipv6;
  };
  FlowStore(Fds fds, uint32_t max_flows, MappedArray<plexus_key> masks,
            MappedArray<plexus_mask_list> lists, MappedArray<plexus_flow> entries,
            MappedArray<plexus_flow_stats> stats, MappedArray<plexus_output_block> blocks,
            volatile uint32_t* class_generation);

  /// A slot; waits for a grace period when only resting ones are left.
  std::optional<uint32_t> take(SlotPool& pool);
  /// Takes resting slots through their grace periods while others are still free, so that nobody waits for them.
  void wake_in_time();
  void start_grace_period();
  Result<uint16_t> use_mask(const FlowKey& mask);
  void release_mask(const FlowKey& mask);
  void use_in_list(uint32_t list, uint16_t mask);
  void release_from_list(uint32_t list, uint16_t mask);
  /// plexus_mask_list::any of these masks.
  [[nodiscard]] plexus_key any_of(const plexus_mask_list& list) const;
  [[nodiscard]] bool list_has_room(uint32_t list, uint16_t mask) const;

  Result<uint32_t> write_entry(const Flow& flow, const CompiledFlow& compiled, uint16_t mask,
                               uint32_t stats_slot);
  /// Writes the groups from `first` on, the last one first; returns the slot of `first`.
  Result<uint32_t> write_groups(const CompiledFlow& compiled, size_t first, size_t outputs_before,
                                plexus_flow entry);
  /// Those chained to it, too.
  void give_back_entry(uint32_t slot);
  /// The slots of a flow's entries, in their order.
  template <typename Visit>
  void for_each_group(uint32_t slot, Visit visit) const {
    for (size_t n = 0; n < PLEXUS_MAX_GROUPS && slot != 0; ++n) {
      const uint32_t next = entries_[slot].next;
      visit(slot);
      slot = next;
    }
  }
  [[nodiscard]] Actions actions_of(uint32_t slot) const;
  [[nodiscard]] sim::DropReason reason_of(uint32_t slot) const;
  /// False for what no agent can have written.
  [[nodiscard]] bool whole(uint32_t slot) const;
  /// What put() does before and after the flow can be found.
  Result<Installed> prepare(const Flow& flow, const CompiledFlow& compiled, uint32_t port_index);
  void give_up(const Installed& prepared);
  /// Names the waiting flows in the map of one key size; in both, and forgets those that the kernel has refused.
  void insert_waiting(bool ipv6, std::span<Result<void>> done);
  void insert_waiting(std::span<Result<void>> done);
  Result<void> insert_refs(const plexus_key& key, const CompiledFlow& compiled,
                           uint32_t entry) const;
  void delete_refs(const plexus_key& key, bool short_key, bool ipv6_key) const;
  /// The entry of the flow with this match.
  [[nodiscard]] std::optional<uint32_t> find(const Match& match) const;
  [[nodiscard]] Installed installed(uint32_t entry) const;
  [[nodiscard]] Match match_of_entry(uint32_t entry) const;
  void keep(const Installed& flow);
  /// From the agent's own index only.
  void let_go(uint32_t entry);
  void erase(uint32_t entry);
  [[nodiscard]] FlowStats read_stats(uint32_t entry) const;
  [[nodiscard]] std::span<const plexus_output> outputs_of(const plexus_flow& entry) const;

  Fds fds_;
  uint32_t max_flows_;
  MappedArray<plexus_key> masks_;
  MappedArray<plexus_mask_list> lists_;
  MappedArray<plexus_flow> entries_;
  MappedArray<plexus_flow_stats> stats_;
  MappedArray<plexus_output_block> blocks_;
  volatile uint32_t* class_generation_;  ///< the programs'
  SlotPool free_entries_, free_stats_, free_masks_, free_blocks_;
  /// Of the slots that are set aside: which of their two grace periods is on, if any.
  enum class Rest : uint8_t { none, readers_leave, readers_forget };
  Rest rest_ = Rest::none;
  std::future<void> grace_period_;
  uint32_t next_read_ = 0;                ///< the entry where read_stats() goes on
  std::vector<uint32_t> inject_entries_;  ///< taken when first needed, and kept
  /// During put_many(): flows that are prepared but cannot be found yet, by their place in `flows`.
  std::vector<size_t> waiting_;
  std::vector<uint32_t> waiting_entries_;
  std::vector<plexus_key> keys_;
  std::vector<plexus_key_short> short_keys_;
  std::vector<plexus_flow_ref> refs_;
  std::vector<size_t> places_;
  uint32_t chained_ = 0;    ///< entries that are not the first of their flow
  std::vector<Kept> kept_;  ///< by entry
  uint64_t seed_;
  NumberSet<HashOfEntry> flows_;  ///< entries, by key and mask
  std::unordered_map<FlowKey, MaskUse> mask_uses_;
  std::unordered_map<uint64_t, uint32_t> list_uses_;  ///< list << 16 | mask id -> flows
};

}  // namespace plexus::datapath
