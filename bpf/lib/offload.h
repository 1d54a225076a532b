// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// What a sender has left to the next network card, and how much of it we let pass: a guest says by its virtio header (or
// PACKET_VNET_HDR) where a checksum is to be written and how a packet is to be cut, and the kernel believes it.
//
// Programs are not shown these fields; they are read from the kernel's own structures (CO-RE).
#ifndef PLEXUS_LIB_OFFLOAD_H
#define PLEXUS_LIB_OFFLOAD_H

#include <bpf/bpf_core_read.h>

#include "abi.h"
#include "lib/kernel.h"
#include "parse.h"

#define PLEXUS_CHECKSUM_PARTIAL 3

// Of the kernel's structures only what is read here.
struct sk_buff {
  __u8 ip_summed : 2;
  union {
    __u32 csum;
    struct {
      __u16 csum_start;  // from `head`
      __u16 csum_offset;
    };
  };
  __u16 mac_header;  // from `head`; on the way in where the program's packet starts
} __attribute__((preserve_access_index));

// Where the checksum is in the transport header; 0: none that we know.
static __always_inline __u32 checksum_field(__u8 ip_proto) {
  if (ip_proto == PLEXUS_TCP) return 16;
  if (ip_proto == PLEXUS_UDP) return 6;
  if (ip_proto == PLEXUS_SCTP) return 8;
  if (ip_proto == PLEXUS_ICMP || ip_proto == PLEXUS_ICMPV6) return 2;
  return 0;
}

// Global: looked at by the verifier once, and only packets with a partial checksum get here.
__attribute__((noinline)) int is_checksum_place_right(struct __sk_buff* skb,
                                                      struct plexus_parsed* p) {
  const struct sk_buff* s = (const struct sk_buff*)skb;
  struct {
    __u16 start, offset;
  } sum = {};
  __u16 packet = 0;
  if (!p || bpf_core_read(&sum, sizeof sum, &s->csum) ||
      bpf_core_read(&packet, sizeof packet, &s->mac_header) || sum.start < packet)
    return 0;
  __u32 start = sum.start - packet;
  if (p->l4_offset && start == p->l4_offset && sum.offset == checksum_field(p->key.ip_proto))
    return 1;
  // What lies behind is the guest's own: it may tunnel.
  return start >= p->covered;
}

// Whether the checksum, if somebody else has to complete it, will be written where it belongs, or at least behind all that the
// verdict rests on. Elsewhere it would change the packet after the verdict.
static __always_inline int is_checksum_harmless(struct __sk_buff* skb, struct plexus_parsed* p) {
  const struct sk_buff* s = (const struct sk_buff*)skb;
  if (BPF_CORE_READ_BITFIELD_PROBED(s, ip_summed) != PLEXUS_CHECKSUM_PARTIAL) return 1;
  return is_checksum_place_right(skb, p);
}

#endif
