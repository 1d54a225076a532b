// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Frames from user space. One by one they come by a packet socket, marked with the entry of their actions. Many come at once by
// an XDP test run with live frames (BPF_PROG_TEST_RUN): inject_frame() makes one frame of each element of `injected` in turn, as
// received on the injection device, with the entry's number in front of it as metadata. That is the price of a received packet, not
// of a system call.
#ifndef PLEXUS_LIB_INJECT_H
#define PLEXUS_LIB_INJECT_H

#include "counters.h"
#include "maps.h"
#include "output.h"
#include "parse.h"

// The element that comes next; set by user space before a run, which is on one CPU.
volatile __u32 next_injected = 0;

static __always_inline int inject_frame(struct xdp_md* ctx) {
  __u32 at = next_injected;
  next_injected = at + 1;
  struct plexus_injected* in = bpf_map_lookup_elem(&injected, &at);
  if (!in) return XDP_DROP;
  __u32 length = in->length;
  if (length < PLEXUS_INJECT_LEAST_FRAME || length > PLEXUS_INJECT_MAX_FRAME) return XDP_DROP;
  // Every run starts with the same few bytes.
  if (bpf_xdp_adjust_tail(ctx, (int)length - PLEXUS_INJECT_LEAST_FRAME) ||
      bpf_xdp_store_bytes(ctx, 0, in->frame, length) ||
      bpf_xdp_adjust_meta(ctx, -(int)sizeof(__u32)))
    return XDP_DROP;
  __u32* entry = (void*)(long)ctx->data_meta;
  if ((void*)(entry + 1) > (void*)(long)ctx->data) return XDP_DROP;
  *entry = in->entry;
  return XDP_PASS;
}

// The entry of a frame that inject_frame() has made, or -1.
static __always_inline __u32 injected_entry(const struct __sk_buff* skb) {
  const __u32* entry = (void*)(long)skb->data_meta;
  if ((void*)(entry + 1) > (void*)(long)skb->data) return (__u32)-1;
  return *entry;
}

// Runs the actions of `entry` on a frame from user space.
static __always_inline int run_injected(struct __sk_buff* skb, __u32 entry, __u32 how) {
  struct plexus_parsed parsed = {};
  parse(skb, &parsed);
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!flow || flow->outputs == 0) {
    count(PLEXUS_C_bad_injection);
    return TC_ACT_SHOT;
  }
  if (parsed.error && flow->rewrite.fields) {
    count(parsed.error);
    return TC_ACT_SHOT;
  }
  return run_actions(skb, &parsed, entry, PLEXUS_TUNNEL_INDEX, how);
}

#endif
