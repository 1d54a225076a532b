// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// upcall(): hands a packet without a flow to user space, within its port's budget.
//
// The budget is a token bucket (bucket.h): a token costs `upcall_interval`; an idle port saves up at most
// `upcall_burst`. It comes before the ring, so that a port that floods costs next to nothing and fills no ring.
//
// Besides, only so much of one port may wait in the ring (`upcall_waiting`): when the agent gets less done than the budgets
// allow, the others' upcalls still find room, and wait behind a bounded queue.
//
// A ring record has a size known to the verifier, hence the four sizes; the frame is copied once.
#ifndef PLEXUS_LIB_UPCALL_H
#define PLEXUS_LIB_UPCALL_H

#include "bucket.h"
#include "counters.h"
#include "maps.h"

// Set by user space before loading; ns, ns, and PLEXUS_UPCALL_COST.
const volatile __u64 upcall_interval = 50000;
const volatile __u64 upcall_burst = 100000000;
const volatile __u64 upcall_waiting = 262144;

static __always_inline int take_token(__u32 port_index) {
  struct plexus_bucket* bucket = bpf_map_lookup_elem(&buckets, &port_index);
  return bucket && spend(bucket, upcall_interval, upcall_burst);
}

// The frame as it was on the wire: a VLAN tag in the skb's metadata goes back behind the addresses.
// PLEXUS_FILL(room) defines submit_<room>(): a frame of at most `room` - 4 bytes and its tag, into a ring record.
#define PLEXUS_FILL(room)                                                                               \
  static __always_inline int submit_##room(struct __sk_buff* skb, __u32 port, __u32 tunnel_key,         \
                                           __u32 port_index) {                                          \
    __u64* waiting = bpf_map_lookup_elem(&upcalls_waiting, &port_index);                                \
    if (!waiting) return -1;                                                                            \
    struct plexus_upcall* u = bpf_ringbuf_reserve(&upcalls, sizeof *u + (room), 0);                     \
    if (!u) return -1;                                                                                  \
    __u32 rest = skb->len - 12, tag = skb->vlan_present ? 4 : 0;                                        \
    u->in_port = port;                                                                                  \
    u->tunnel_key = tunnel_key;                                                                         \
    u->length = skb->len + tag;                                                                         \
    u->gso_size = (__u16)skb->gso_size;                                                                 \
    u->port_index = (__u16)port_index;                                                                  \
    /* The verifier needs both bounds on `rest`, and clang not to merge the checks. Linux 6.1 learns */ \
    /* nothing from a comparison with 0, so ask for 2: the EtherType is there, or it did not parse. */  \
    if (rest < 2) goto discard;                                                                         \
    barrier_var(rest);                                                                                  \
    if (rest > (room)-16 || bpf_skb_load_bytes(skb, 0, u->frame, 12)) goto discard;                     \
    if (tag) {                                                                                          \
      *(__be16*)(u->frame + 12) = (__be16)skb->vlan_proto;                                              \
      *(__be16*)(u->frame + 14) = bpf_htons((__u16)skb->vlan_tci);                                      \
      if (bpf_skb_load_bytes(skb, 12, u->frame + 16, rest)) goto discard;                               \
    } else {                                                                                            \
      if (bpf_skb_load_bytes(skb, 12, u->frame + 12, rest)) goto discard;                               \
    }                                                                                                   \
    /* First the account: user space may have the record before we return. */                           \
    __sync_fetch_and_add(waiting, PLEXUS_UPCALL_COST(sizeof *u + (room)));                              \
    bpf_ringbuf_submit(u, 0);                                                                           \
    return 0;                                                                                           \
  discard:                                                                                              \
    bpf_ringbuf_discard(u, 0);                                                                          \
    return -1;                                                                                          \
  }
PLEXUS_FILL(240)
PLEXUS_FILL(2032)
PLEXUS_FILL(16368)
PLEXUS_FILL(65584)
#undef PLEXUS_FILL

_Static_assert(PLEXUS_MAX_FRAME + 16 <= 65584, "the largest frame fits the largest record");

// Takes the packet, whatever becomes of it. Global: looked at by the verifier once.
__attribute__((noinline)) int upcall(struct __sk_buff* skb, __u32 port, __u32 tunnel_key,
                                     __u32 port_index) {
  const __u64* waiting = bpf_map_lookup_elem(&upcalls_waiting, &port_index);
  if (!waiting || *waiting >= upcall_waiting || !take_token(port_index)) {
    struct plexus_port_stats* stats = stats_of_port(port_index);
    if (stats) stats->upcalls_limited += 1;
    count(PLEXUS_C_upcalls_limited);
    return TC_ACT_SHOT;
  }
  __u32 length = skb->len + 4;  // room for a tag, there or not
  int err;
  if (length <= 240)
    err = submit_240(skb, port, tunnel_key, port_index);
  else if (length <= 2032)
    err = submit_2032(skb, port, tunnel_key, port_index);
  else if (length <= 16368)
    err = submit_16368(skb, port, tunnel_key, port_index);
  else if (length <= PLEXUS_MAX_FRAME + 4)
    err = submit_65584(skb, port, tunnel_key, port_index);
  else
    return drop(port_index, PLEXUS_C_too_large_for_upcall);
  count(err ? PLEXUS_C_upcalls_lost : PLEXUS_C_upcalls);
  return TC_ACT_SHOT;
}

#endif
