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
#define PLEXUS_GSO_UFO (1 << 16)  // SKB_GSO_UDP: one datagram, to be cut into IP fragments

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
  unsigned int end;  // from `head`; there the skb_shared_info is
  unsigned char* head;
} __attribute__((preserve_access_index));
struct skb_shared_info {
  unsigned int gso_type;
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

// Of a packet that is to be cut: whether user space, which cuts UDP packets itself, would make of it what the kernel does, and
// no more packets than the kernel makes of one.
static __always_inline int may_be_cut(struct __sk_buff* skb, const struct plexus_parsed* p) {
  const struct sk_buff* s = (const struct sk_buff*)skb;
  unsigned char* head = 0;
  unsigned int end = 0, type = 0;
  if (p->key.ip_proto != PLEXUS_UDP || !p->l4_offset) return 1;
  if (p->length - p->l4_offset - 8 > skb->gso_size * PLEXUS_MAX_UDP_SEGMENTS) return 0;
  if (bpf_core_read(&head, sizeof head, &s->head) || bpf_core_read(&end, sizeof end, &s->end))
    return 0;
  const struct skb_shared_info* shared = (const struct skb_shared_info*)(head + end);
  if (bpf_core_read(&type, sizeof type, &shared->gso_type)) return 0;
  return !(type & PLEXUS_GSO_UFO);
}

#endif
