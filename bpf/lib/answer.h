// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// answer(): turns an ARP request or a neighbour solicitation into its answer, in place, exactly as neighbour_answer() in
// src/packet/build.cc does; what that does not answer is left as it is, for an upcall. Tags, hop limit, traffic class,
// flow label and padding stay.
//
// A solicitation is believed only with a right and complete ICMPv6 checksum (Linux never leaves that of neighbour
// discovery to hardware; one left by others is an upcall); the answer's is computed anew.
#ifndef PLEXUS_LIB_ANSWER_H
#define PLEXUS_LIB_ANSWER_H

#include "maps.h"
#include "parse.h"

#define PLEXUS_UNANSWERED (-1)
#define PLEXUS_ANSWERED 0

#define PLEXUS_ARP_REQUEST 1
#define PLEXUS_ARP_REPLY 2
#define PLEXUS_ND_SOLICIT 135
#define PLEXUS_ND_ADVERT 136
#define PLEXUS_ND_BARE 24         // type to target
#define PLEXUS_ND_WITH_OPTION 32  // and one link-layer address (RFC 4861 4.6.1)

static __always_inline int same_mac(const __u8* a, const __u8* b) {
  int difference = 0;
#pragma unroll
  for (int i = 0; i < 6; ++i) difference |= a[i] ^ b[i];
  return difference == 0;
}

static __always_inline int answer_arp(struct __sk_buff* skb, const struct plexus_parsed* p,
                                      const struct plexus_rewrite* r, const __u8* mac) {
  __u8 arp[28];  // RFC 826: operation at 6, sender at 8 and 14, target at 18 and 24
  __u32 asked_for, target;
  __builtin_memcpy(&asked_for, p->key.nw + 4, 4);
  __builtin_memcpy(&target, r->ip_dst, 4);
  if (!(r->fields & PLEXUS_SET_IP4_DST) || asked_for != target ||
      p->key.tp_src != bpf_htons(PLEXUS_ARP_REQUEST) ||
      bpf_skb_load_bytes(skb, p->l3_offset, arp, sizeof arp) || !same_mac(arp + 8, p->key.eth_src))
    return PLEXUS_UNANSWERED;
  arp[7] = PLEXUS_ARP_REPLY;
  __builtin_memcpy(arp + 8, mac, 6);
  __builtin_memcpy(arp + 14, p->key.nw + 4, 4);
  __builtin_memcpy(arp + 18, p->key.eth_src, 6);
  __builtin_memcpy(arp + 24, p->key.nw, 4);
  return bpf_skb_store_bytes(skb, p->l3_offset, arp, sizeof arp, BPF_F_RECOMPUTE_CSUM)
             ? PLEXUS_C_rewrite_failed
             : PLEXUS_ANSWERED;
}

// What the checksum of neighbour discovery covers: the pseudo header (RFC 8200 8.1) and the message.
struct plexus_nd {
  __u8 src[16], dst[16];
  __be32 length, protocol;
  __u8 icmp[PLEXUS_ND_WITH_OPTION];  // zeroes behind a bare one
};

// Folded, not complemented.
static __always_inline __u32 sum_of(struct plexus_nd* nd) {
  __u32 sum = (__u32)bpf_csum_diff(0, 0, (__be32*)nd, sizeof *nd, 0);
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

static __always_inline int answer_solicitation(struct __sk_buff* skb, const struct plexus_parsed* p,
                                               const struct plexus_rewrite* r, const __u8* mac,
                                               int router) {
  const struct plexus_key* key = &p->key;
  const __u64* src = (const __u64*)key->nw;
  // No extension headers, hence no fragment. From nobody (::) comes duplicate address detection.
  if (!(r->fields & PLEXUS_SET_IP6_DST) || key->ip_proto != PLEXUS_ICMPV6 ||
      key->tp_src != bpf_htons(PLEXUS_ND_SOLICIT) || key->tp_dst || key->ip_ttl != 255 ||
      p->l4_offset != p->l3_offset + 40 || key->nw[0] == 0xff || !(src[0] | src[1]))
    return PLEXUS_UNANSWERED;
  __u32 length = p->length - p->l4_offset;
  struct plexus_nd nd = {.protocol = bpf_htonl(PLEXUS_ICMPV6)};
  __u8* icmp = nd.icmp;
  int option = length == PLEXUS_ND_WITH_OPTION;
  if (!option && length != PLEXUS_ND_BARE) return PLEXUS_UNANSWERED;
  if (bpf_skb_load_bytes(skb, p->l4_offset, icmp, PLEXUS_ND_BARE)) return PLEXUS_UNANSWERED;
  if (option) {
    // The source's link-layer address, and it is the sender's.
    if (bpf_skb_load_bytes(skb, p->l4_offset + PLEXUS_ND_BARE, icmp + PLEXUS_ND_BARE, 8) ||
        icmp[24] != 1 || icmp[25] != 1 || !same_mac(icmp + 26, key->eth_src))
      return PLEXUS_UNANSWERED;
  } else if (key->nw[16] == 0xff) {
    return PLEXUS_UNANSWERED;  // RFC 4861 4.3: sent to a group it must say the sender's
  }
  __u64 asked_for[2], target[2];
  __builtin_memcpy(asked_for, icmp + 8, 16);
  __builtin_memcpy(target, r->ip_dst, 16);
  if (asked_for[0] != target[0] || asked_for[1] != target[1]) return PLEXUS_UNANSWERED;
  nd.length = bpf_htonl(length);
  __builtin_memcpy(nd.src, key->nw, 32);  // and dst
  if (icmp[8] == 0xff || sum_of(&nd) != 0xffff) return PLEXUS_UNANSWERED;

  __builtin_memcpy(nd.src, icmp + 8, 16);
  __builtin_memcpy(nd.dst, key->nw, 16);
  icmp[0] = PLEXUS_ND_ADVERT;
  icmp[2] = icmp[3] = 0;
  icmp[4] = router ? 0xe0 : 0x60;  // solicited, override
  if (option) {
    icmp[24] = 2;
    __builtin_memcpy(icmp + 26, mac, 6);
  }
  // A sum of the words as they are in memory goes back as it is.
  __u16 checksum = (__u16)~sum_of(&nd);
  __builtin_memcpy(icmp + 2, &checksum, 2);
  if (bpf_skb_store_bytes(skb, p->l3_offset + 8, nd.src, 32, BPF_F_RECOMPUTE_CSUM) ||
      bpf_skb_store_bytes(skb, p->l4_offset, icmp, PLEXUS_ND_BARE, BPF_F_RECOMPUTE_CSUM) ||
      (option && bpf_skb_store_bytes(skb, p->l4_offset + PLEXUS_ND_BARE, icmp + PLEXUS_ND_BARE, 8,
                                     BPF_F_RECOMPUTE_CSUM)))
    return PLEXUS_C_rewrite_failed;
  return PLEXUS_ANSWERED;
}

// PLEXUS_ANSWERED; PLEXUS_UNANSWERED, and nothing has changed; or the counter to drop with. `p`: a packet without a parse
// error. Global: looked at by the verifier once.
__attribute__((noinline)) int answer(struct __sk_buff* skb, const struct plexus_parsed* p,
                                     __u32 entry) {
  if (!p) return PLEXUS_UNANSWERED;
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!flow) return PLEXUS_UNANSWERED;
  __u8 ethernet[12];
  __builtin_memcpy(ethernet, p->key.eth_src, 6);
  __builtin_memcpy(ethernet + 6, flow->rewrite.eth_src, 6);
  int done = PLEXUS_UNANSWERED;
  if (p->key.eth_type == bpf_htons(PLEXUS_ETH_ARP))
    done = answer_arp(skb, p, &flow->rewrite, ethernet + 6);
  else if (p->key.eth_type == bpf_htons(PLEXUS_ETH_IPV6))
    done = answer_solicitation(skb, p, &flow->rewrite, ethernet + 6,
                               flow->flags & PLEXUS_FLOW_ANSWERS_AS_ROUTER);
  if (done != PLEXUS_ANSWERED) return done;
  return bpf_skb_store_bytes(skb, 0, ethernet, sizeof ethernet, 0) ? PLEXUS_C_rewrite_failed
                                                                   : PLEXUS_ANSWERED;
}

#endif
