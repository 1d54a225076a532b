// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Counting: drops and events per CPU, statistics of ports and flows.
#ifndef PLEXUS_LIB_COUNTERS_H
#define PLEXUS_LIB_COUNTERS_H

#include "lib/kernel.h"
#include "maps.h"

static __always_inline void count(__u32 counter) {
  __u64* value = bpf_map_lookup_elem(&counters, &counter);
  if (value) *value += 1;  // per CPU, and not interrupted by another packet
}

static __always_inline struct plexus_port_stats* stats_of_port(__u32 index) {
  return bpf_map_lookup_elem(&port_stats, &index);
}

// Drops the packet for `reason`, on the account of the port it came from.
static __always_inline int drop(__u32 port_index, __u32 reason) {
  count(reason);
  struct plexus_port_stats* stats = stats_of_port(port_index);
  if (stats) stats->drops += 1;
  return TC_ACT_SHOT;
}

// Drops the packet because its flow says so, for the flow's own `reason`.
static __always_inline int drop_by_flow(__u32 port_index, __u32 reason) {
  __u64* value = bpf_map_lookup_elem(&flow_drops, &reason);
  if (value) *value += 1;
  return drop(port_index, PLEXUS_C_by_flow);
}

// A GSO packet counts as the packets that it will be cut into. Nobody has counted those of one that a machine has written into its
// tap: then as Offload::packets() does, headers as data, a tag in the skb's metadata too.
static __always_inline __u32 packets_in(const struct __sk_buff* skb) {
  __u32 segments = skb->gso_segs, size = skb->gso_size;
  if (segments) return segments;
  if (!size) return 1;
  return (skb->len + (skb->vlan_present ? 4 : 0) + size - 1) / size;
}

static __always_inline void count_received(const struct __sk_buff* skb, __u32 port_index) {
  struct plexus_port_stats* stats = stats_of_port(port_index);
  if (!stats) return;
  stats->rx_packets += packets_in(skb);
  stats->rx_bytes += skb->len;
}

static __always_inline void count_sent(const struct __sk_buff* skb, __u32 port_index) {
  struct plexus_port_stats* stats = stats_of_port(port_index);
  if (!stats) return;
  stats->tx_packets += packets_in(skb);
  stats->tx_bytes += skb->len;
}

static __always_inline void count_flow(const struct __sk_buff* skb, __u32 index) {
  struct plexus_flow_stats* stats = bpf_map_lookup_elem(&flow_stats, &index);
  if (!stats) return;
  __sync_fetch_and_add(&stats->packets, packets_in(skb));
  __sync_fetch_and_add(&stats->bytes, skb->len);
  // To the tick: reading the hardware's clock would cost more than all the rest, and writing an unchanged time would take the line
  // away from other CPUs.
  __u64 now = bpf_ktime_get_coarse_ns();
  if (stats->last_used != now) stats->last_used = now;
}

#endif
