// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// classify(): the flow of a packet. Each mask of the packet's in_port is tried in turn: key & mask, looked up in the map
// of its key size.
#ifndef PLEXUS_LIB_CLASSIFY_H
#define PLEXUS_LIB_CLASSIFY_H

#include "maps.h"
#include "parse.h"

#define PLEXUS_NO_FLOW (-1)

static __always_inline int same_words(const __u64* a, const __u64* b, int words) {
  __u64 difference = 0;
#pragma unroll
  for (int i = 0; i < words; ++i) difference |= a[i] ^ b[i];
  return difference == 0;
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
  __u64* to = (__u64*)&masked;

  for (int i = 0; i < PLEXUS_MAX_PORT_MASKS; ++i) {
    if (i >= tries) break;
    __u32 id = list->ids[i];
    const __u64* mask = bpf_map_lookup_elem(&masks, &id);
    if (!mask) continue;
    const struct plexus_flow_ref* found;
#pragma unroll
    for (int w = 0; w < PLEXUS_KEY_BYTES_SHORT / 8; ++w) to[w] = from[w] & mask[w];
    masked.reserved = (__u16)id;
    if (v6) {
#pragma unroll
      for (int w = PLEXUS_KEY_BYTES_SHORT / 8; w < sizeof masked / 8; ++w)
        to[w] = from[w] & mask[w];
      found = bpf_map_lookup_elem(&flows_ipv6, &masked);
    } else {
      found = bpf_map_lookup_elem(&flows_short, &masked);
    }
    if (!found) continue;
    __u32 entry = found->entry;
    const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
    if (!flow) continue;
    // The hash map may have given its element to another flow after we found it. The entry tells.
    const __u64* expected = (const __u64*)&flow->key;
    if (!same_words(to, expected, PLEXUS_KEY_BYTES_SHORT / 8)) continue;
    if (v6 && !same_words(to + PLEXUS_KEY_BYTES_SHORT / 8, expected + PLEXUS_KEY_BYTES_SHORT / 8,
                          (sizeof masked - PLEXUS_KEY_BYTES_SHORT) / 8))
      continue;
    return (int)entry;
  }
  return PLEXUS_NO_FLOW;
}

#endif
