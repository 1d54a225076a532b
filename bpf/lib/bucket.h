// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Token buckets kept as one number, the generic cell rate algorithm (ITU-T I.371): `used_until` is the time up to which tokens
// are used, so what they cost is a time too; an idle bucket saves up at most a `burst` of it.
#ifndef PLEXUS_LIB_BUCKET_H
#define PLEXUS_LIB_BUCKET_H

#include "counters.h"
#include "maps.h"

static __always_inline int spend(struct plexus_bucket* bucket, __u64 cost, __u64 burst) {
  __u64 now = bpf_ktime_get_ns();
  // Another CPU may take a token at the same time; after a few attempts give up, the port is flooding anyway.
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    __u64 used = *(volatile __u64*)&bucket->used_until;
    __u64 from = used + burst < now ? now - burst : used;
    if (from + cost > now) return 0;
    if (__sync_val_compare_and_swap(&bucket->used_until, used, from + cost) == used) return 1;
  }
  return 0;
}

// Whether a packet that is sent to many may be, where the port may send so many a second.
static __always_inline int within_storm_limit(const struct __sk_buff* skb, __u32 port_index,
                                              __u32 limit) {
  struct plexus_bucket* bucket = bpf_map_lookup_elem(&storm_buckets, &port_index);
  if (!bucket) return 0;
  __u64 cost = PLEXUS_STORM_BURST / limit * packets_in(skb);
  if (cost > PLEXUS_STORM_BURST) cost = PLEXUS_STORM_BURST;
  return spend(bucket, cost, PLEXUS_STORM_BURST);
}

#endif
