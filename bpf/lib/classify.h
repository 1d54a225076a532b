// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// classify(): the flow of a packet. Each mask of the packet's in_port is tried in turn: key & mask, looked up in the map
// of its key size.
//
// In front of that stands, per CPU, what was found last for packets that agree with this one in all bits that any mask of the
// port has: one class of packets, one place, however many connections are in it. It holds no verdict but the number of an entry,
// and the entry itself tells whether it is (still) right: its key must be ours under its mask. An entry that no flow map names any more
// has no in_port, which no key has. Before entries are used again, user space raises `class_generation`, so that no number
// survives from before.
#ifndef PLEXUS_LIB_CLASSIFY_H
#define PLEXUS_LIB_CLASSIFY_H

#include "maps.h"
#include "parse.h"

#define PLEXUS_NO_FLOW (-1)
#define PLEXUS_SHORT_WORDS (PLEXUS_KEY_BYTES_SHORT / 8)
#define PLEXUS_WORDS (sizeof(struct plexus_key) / 8)

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PLEXUS_CLASSES);
  __type(key, __u32);
  __type(value, struct plexus_class);
} classes SEC(".maps");

// Raised by user space.
volatile __u32 class_generation = 1;

static __always_inline int same_words(const __u64* a, const __u64* b, int words) {
  __u64 difference = 0;
#pragma unroll
  for (int i = 0; i < words; ++i) difference |= a[i] ^ b[i];
  return difference == 0;
}

// Of the bits that decide. Two chains, so that they run beside each other.
static __always_inline __u32 class_of(const __u64* key, const __u64* any, int v6) {
  __u64 a = 0x9e3779b97f4a7c15ull, b = 0xbf58476d1ce4e5b9ull;
#pragma unroll
  for (int i = 0; i < PLEXUS_SHORT_WORDS; i += 2) {
    a = (a ^ (key[i] & any[i])) * 0x94d049bb133111ebull;
    b = (b ^ (key[i + 1] & any[i + 1])) * 0xd6e8feb86659fd93ull;
    a ^= a >> 32;
    b ^= b >> 29;
  }
  if (v6) {
#pragma unroll
    for (int i = PLEXUS_SHORT_WORDS; i < PLEXUS_WORDS; ++i) {
      a = (a ^ (key[i] & any[i])) * 0x94d049bb133111ebull;
      a ^= a >> 32;
    }
  }
  a = (a ^ b) * 0x9e3779b97f4a7c15ull;
  return (__u32)(a >> 40) & (PLEXUS_CLASSES - 1);
}

// key & mask, with the mask's number, into `to`.
static __always_inline void apply_mask(struct plexus_key* masked, const __u64* from,
                                       const __u64* mask, __u16 id, int v6) {
  __u64* to = (__u64*)masked;
#pragma unroll
  for (int w = 0; w < PLEXUS_SHORT_WORDS; ++w) to[w] = from[w] & mask[w];
  __builtin_memcpy(&masked->reserved, &id,
                   sizeof id);  // not a plain store: `to` is of another type
  if (v6) {
#pragma unroll
    for (int w = PLEXUS_SHORT_WORDS; w < PLEXUS_WORDS; ++w) to[w] = from[w] & mask[w];
  }
}

static __always_inline int is_key_of(const struct plexus_flow* flow,
                                     const struct plexus_key* masked, int v6) {
  const __u64* expected = (const __u64*)&flow->key;
  const __u64* have = (const __u64*)masked;
  if (!same_words(have, expected, PLEXUS_SHORT_WORDS)) return 0;
  return !v6 || same_words(have + PLEXUS_SHORT_WORDS, expected + PLEXUS_SHORT_WORDS,
                           PLEXUS_WORDS - PLEXUS_SHORT_WORDS);
}

// The flow entry that is remembered at `place`, if it is the packet's; or PLEXUS_NO_FLOW. Global, so that the verifier need not
// follow each of its ways through the loop over the masks.
__attribute__((noinline)) int remembered(const struct plexus_key* key, __u32 place,
                                         __u32 generation) {
  struct plexus_key masked;
  const struct plexus_class* class = bpf_map_lookup_elem(&classes, &place);
  if (!key || !class || class->generation != generation) return PLEXUS_NO_FLOW;
  __u32 entry = class->entry;
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!flow) return PLEXUS_NO_FLOW;
  __u32 id = flow->key.reserved;
  const __u64* mask = bpf_map_lookup_elem(&masks, &id);
  if (!mask) return PLEXUS_NO_FLOW;
  // All words, also of short keys: the entry may be one for IPv6 only.
  apply_mask(&masked, (const __u64*)key, mask, (__u16)id, 1);
  return is_key_of(flow, &masked, 1) ? (int)entry : PLEXUS_NO_FLOW;
}

// The number of the flow entry, or PLEXUS_NO_FLOW. Global: looked at by the verifier once.
__attribute__((noinline)) int classify(const struct plexus_key* key, __u32 port_index) {
  struct plexus_key masked;
  if (!key) return PLEXUS_NO_FLOW;
  int v6 = key->eth_type == bpf_htons(PLEXUS_ETH_IPV6);
  __u32 at = port_index * 2 + (v6 ? 1 : 0);
  const struct plexus_mask_list* list = bpf_map_lookup_elem(&mask_lists, &at);
  if (!list) return PLEXUS_NO_FLOW;
  __u32 tries = list->count;
  const __u64* from = (const __u64*)key;

  __u32 generation = class_generation;
  __u32 place = class_of(from, (const __u64*)&list->any, v6);
  int answer = remembered(key, place, generation);
  if (answer != PLEXUS_NO_FLOW) return answer;

  for (int i = 0; i < PLEXUS_MAX_PORT_MASKS; ++i) {
    if (i >= tries) break;
    __u32 id = list->ids[i];
    const __u64* mask = bpf_map_lookup_elem(&masks, &id);
    if (!mask) continue;
    const struct plexus_flow_ref* found;
    apply_mask(&masked, from, mask, (__u16)id, v6);
    if (v6)
      found = bpf_map_lookup_elem(&flows_ipv6, &masked);
    else
      found = bpf_map_lookup_elem(&flows_short, &masked);
    if (!found) continue;
    __u32 entry = found->entry;
    const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
    if (!flow) continue;
    // The hash map may have given its element to another flow after we found it. The entry tells.
    if (!is_key_of(flow, &masked, v6)) continue;
    answer = (int)entry;
    break;
  }
  if (answer == PLEXUS_NO_FLOW) return answer;
  struct plexus_class* class = bpf_map_lookup_elem(&classes, &place);
  if (class) {
    class->entry = (__u32)answer;
    class->generation = generation;
  }
  return answer;
}

#endif
