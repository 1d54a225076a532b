// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Every map but those that only one header knows. All but the slots, `storm_buckets`, `injected` and the last two are pinned by user space, so that they outlive the agent;
// sizes marked "set by user space" are replaced before loading. Written by user space alone: everything but flow_stats,
// port_stats, buckets, storm_buckets, counters, flow_drops, upcalls and upcalls_waiting.
#ifndef PLEXUS_MAPS_H
#define PLEXUS_MAPS_H

#include "abi.h"
#include "lib/kernel.h"

// -- ports

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set by user space
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);  // port number
  __type(value, struct plexus_port);
} ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);  // set by user space
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u32);  // ifindex
  __type(value, struct plexus_interface);
} interfaces SEC(".maps");

// Copies of what the two above hold, found without hashing; see slots.h. Not pinned: each agent fills its own.

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, PLEXUS_SLOTS);
  __type(key, __u32);
  __type(value, struct plexus_port);
} port_slots SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, PLEXUS_SLOTS);
  __type(key, __u32);
  __type(value, struct plexus_interface);
} interface_slots SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 4096);  // by port index; set by user space
  __type(key, __u32);
  __type(value, struct plexus_port_stats);
} port_stats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4096);  // by port index; set by user space
  __type(key, __u32);
  __type(value, struct plexus_bucket);
} buckets SEC(".maps");

// What may still be sent to many. User space takes from it, too; each agent begins with full ones.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 4096);  // by port index; set by user space
  __type(key, __u32);
  __type(value, struct plexus_bucket);
} storm_buckets SEC(".maps");

// -- tunnel

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct plexus_tunnel);
} tunnel SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct plexus_peer);
  __type(value, __u32);  // unused
} peers SEC(".maps");

// -- flows: key -> flow_ref -> flow entry. The hash maps allocate as they grow. An element that was removed may be
// used again under a reader's eyes, whether preallocated or not; that is why a flow entry repeats its key.

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, PLEXUS_MAX_MASKS);
  __type(key, __u32);
  __type(value, struct plexus_key);
} masks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 8192);  // 2 * port index, + 1 for IPv6; set by user space
  __type(key, __u32);
  __type(value, struct plexus_mask_list);
} mask_lists SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);  // set by user space
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct plexus_key_short);
  __type(value, struct plexus_flow_ref);
} flows_short SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);  // set by user space
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct plexus_key);
  __type(value, struct plexus_flow_ref);
} flows_ipv6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 65536);  // set by user space
  __type(key, __u32);
  __type(value, struct plexus_flow);
} flow_entries SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 65536);  // set by user space
  __type(key, __u32);
  __type(value, struct plexus_flow_stats);
} flow_stats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1024);  // set by user space
  __type(key, __u32);
  __type(value, struct plexus_output_block);
} output_blocks SEC(".maps");

// -- from user space. Not pinned: an agent's own.

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, PLEXUS_INJECT_BATCH);
  __type(key, __u32);
  __type(value, struct plexus_injected);
} injected SEC(".maps");

// -- to user space

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PLEXUS_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

// What flows have dropped (all of it is in the counter by_flow), by plexus_flow.drop_reason.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PLEXUS_MAX_REASONS);
  __type(key, __u32);
  __type(value, __u64);
} flow_drops SEC(".maps");

// A new agent has an empty ring and an empty account, whatever the programs of the last one still do with theirs.

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4 << 20);  // bytes; set by user space
} upcalls SEC(".maps");

// What the records of a port that wait in the ring cost (PLEXUS_UPCALL_COST): programs add, user space takes away.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 4096);  // by port index; set by user space
  __type(key, __u32);
  __type(value, __u64);
} upcalls_waiting SEC(".maps");

#endif
