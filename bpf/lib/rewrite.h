// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// rewrite(): changes header fields and keeps every checksum right: complete ones (incrementally, RFC 1624), those left to
// hardware (CHECKSUM_PARTIAL) and the skb's own sum of its bytes (CHECKSUM_COMPLETE). GSO packets stay GSO packets:
// no length changes here.
//
// The old values come from the parsed key. About CHECKSUM_COMPLETE: a change that a checksum inside the packet evens out needs no
// correction, and bpf_l4_csum_replace with BPF_F_PSEUDO_HDR takes the change of the transport checksum itself into
// account. What nothing in the packet evens out (IPv6 addresses as that helper sees them, hop limit and traffic
// class) is stored with BPF_F_RECOMPUTE_CSUM. The Ethernet header is not in that sum.
#ifndef PLEXUS_LIB_REWRITE_H
#define PLEXUS_LIB_REWRITE_H

#include "maps.h"
#include "parse.h"

#define PLEXUS_REWRITES_IP                                                             \
  (PLEXUS_SET_IP4_SRC | PLEXUS_SET_IP4_DST | PLEXUS_SET_IP6_SRC | PLEXUS_SET_IP6_DST | \
   PLEXUS_SET_TP_SRC | PLEXUS_SET_TP_DST | PLEXUS_SET_DSCP | PLEXUS_DEC_TTL)

// Where the transport checksum is, and how bpf_l4_csum_replace has to treat it. offset 0: there is none.
struct transport_checksum {
  __u32 offset;
  __u64 flags;   // of the protocol: 0 means "no checksum" in UDP
  __u64 pseudo;  // BPF_F_PSEUDO_HDR when the addresses are part of it
};

static __always_inline struct transport_checksum checksum_of(const struct plexus_parsed* p) {
  struct transport_checksum c = {};
  if (!p->l4_offset) return c;
  switch (p->key.ip_proto) {
    case PLEXUS_TCP:
      c.offset = p->l4_offset + 16;
      c.pseudo = BPF_F_PSEUDO_HDR;
      break;
    case PLEXUS_UDP:
      c.offset = p->l4_offset + 6;
      c.flags = BPF_F_MARK_MANGLED_0;
      c.pseudo = BPF_F_PSEUDO_HDR;
      break;
    case PLEXUS_ICMP:
      c.offset = p->l4_offset + 2;
      break;
    case PLEXUS_ICMPV6:
      c.offset = p->l4_offset + 2;
      c.pseudo = BPF_F_PSEUDO_HDR;
      break;
  }
  return c;
}

static __always_inline long set_ipv4_address(struct __sk_buff* skb, const struct plexus_parsed* p,
                                             const struct transport_checksum* c, __u32 field,
                                             __u32 from, __u32 to) {
  if (from == to) return 0;
  long err = bpf_l3_csum_replace(skb, p->l3_offset + 10, from, to, 4);
  if (!err && c->offset && c->pseudo)
    err = bpf_l4_csum_replace(skb, c->offset, from, to, c->flags | c->pseudo | 4);
  return err ? err : bpf_skb_store_bytes(skb, p->l3_offset + field, &to, 4, 0);
}

static __always_inline long set_ipv6_address(struct __sk_buff* skb, const struct plexus_parsed* p,
                                             const struct transport_checksum* c, __u32 field,
                                             const __u8* from, const __u8* to) {
  long err = 0;
  if (c->offset && c->pseudo) {
    __s64 difference = bpf_csum_diff((__be32*)from, 16, (__be32*)to, 16, 0);
    if (difference < 0) return difference;
    err = bpf_l4_csum_replace(skb, c->offset, 0, (__u64)difference, c->flags | c->pseudo);
  }
  return err ? err : bpf_skb_store_bytes(skb, p->l3_offset + field, to, 16, BPF_F_RECOMPUTE_CSUM);
}

// Ports of TCP and UDP; the identifier of an ICMP echo as tp_src.
static __always_inline long set_transport_word(struct __sk_buff* skb,
                                               const struct transport_checksum* c, __u32 at,
                                               __be16 from, __be16 to) {
  if (from == to) return 0;
  long err = bpf_l4_csum_replace(skb, c->offset, from, to, c->flags | 2);
  return err ? err : bpf_skb_store_bytes(skb, at, &to, 2, 0);
}

static __always_inline long rewrite_transport(struct __sk_buff* skb, const struct plexus_parsed* p,
                                              const struct plexus_rewrite* r,
                                              const struct transport_checksum* c) {
  __u8 proto = p->key.ip_proto;
  long err = 0;
  if (proto == PLEXUS_TCP || proto == PLEXUS_UDP) {
    if (r->fields & PLEXUS_SET_TP_SRC)
      err = set_transport_word(skb, c, p->l4_offset, p->key.tp_src, r->tp_src);
    if (!err && (r->fields & PLEXUS_SET_TP_DST))
      err = set_transport_word(skb, c, p->l4_offset + 2, p->key.tp_dst, r->tp_dst);
  } else if (r->fields & PLEXUS_SET_TP_SRC) {
    __u16 type = bpf_ntohs(p->key.tp_src);
    int echo = proto == PLEXUS_ICMP ? (type == 0 || type == 8) : (type == 128 || type == 129);
    if (!echo) return 0;
    err = set_transport_word(skb, c, p->l4_offset + 4, p->icmp_id, r->tp_src);
  }
  return err;
}

static __always_inline long rewrite_ipv4(struct __sk_buff* skb, const struct plexus_parsed* p,
                                         const struct plexus_rewrite* r,
                                         const struct transport_checksum* c) {
  long err = 0;
  __u32 from, to;
  if (r->fields & PLEXUS_SET_IP4_SRC) {
    __builtin_memcpy(&from, p->key.nw, 4);
    __builtin_memcpy(&to, r->ip_src, 4);
    err = set_ipv4_address(skb, p, c, 12, from, to);
  }
  if (!err && (r->fields & PLEXUS_SET_IP4_DST)) {
    __builtin_memcpy(&from, p->key.nw + 4, 4);
    __builtin_memcpy(&to, r->ip_dst, 4);
    err = set_ipv4_address(skb, p, c, 16, from, to);
  }
  if (!err && (r->fields & PLEXUS_DEC_TTL)) {
    __u8 ttl = p->key.ip_ttl - r->ttl_decrement;
    // TTL is the high half of its 16-bit word.
    err = bpf_l3_csum_replace(skb, p->l3_offset + 10, bpf_htons((__u16)p->key.ip_ttl << 8),
                              bpf_htons((__u16)ttl << 8), 2);
    if (!err) err = bpf_skb_store_bytes(skb, p->l3_offset + 8, &ttl, 1, 0);
  }
  if (!err && (r->fields & PLEXUS_SET_DSCP)) {
    __u8 tos = (__u8)(r->dscp << 2 | (p->key.ip_tos & 3));
    err = bpf_l3_csum_replace(skb, p->l3_offset + 10, bpf_htons(p->key.ip_tos), bpf_htons(tos), 2);
    if (!err) err = bpf_skb_store_bytes(skb, p->l3_offset + 1, &tos, 1, 0);
  }
  return err;
}

static __always_inline long rewrite_ipv6(struct __sk_buff* skb, const struct plexus_parsed* p,
                                         const struct plexus_rewrite* r,
                                         const struct transport_checksum* c) {
  long err = 0;
  if (r->fields & PLEXUS_SET_IP6_SRC) err = set_ipv6_address(skb, p, c, 8, p->key.nw, r->ip_src);
  if (!err && (r->fields & PLEXUS_SET_IP6_DST))
    err = set_ipv6_address(skb, p, c, 24, p->key.nw + 16, r->ip_dst);
  if (!err && (r->fields & PLEXUS_DEC_TTL)) {
    __u8 ttl = p->key.ip_ttl - r->ttl_decrement;
    err = bpf_skb_store_bytes(skb, p->l3_offset + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM);
  }
  if (!err && (r->fields & PLEXUS_SET_DSCP)) {
    __u8 head[2];
    __u8 tos = (__u8)(r->dscp << 2 | (p->key.ip_tos & 3));
    err = bpf_skb_load_bytes(skb, p->l3_offset, head, 2);
    if (!err) {
      head[0] = (__u8)((head[0] & 0xf0) | tos >> 4);
      head[1] = (__u8)((head[1] & 0x0f) | tos << 4);
      err = bpf_skb_store_bytes(skb, p->l3_offset, head, 2, BPF_F_RECOMPUTE_CSUM);
    }
  }
  return err;
}

static __always_inline long rewrite_vlan(struct __sk_buff* skb, const struct plexus_parsed* p,
                                         const struct plexus_rewrite* r) {
  long err = 0;
  if ((r->fields & PLEXUS_POP_VLAN) && p->key.vlan_tci) err = bpf_skb_vlan_pop(skb);
  if (!err && (r->fields & PLEXUS_PUSH_VLAN))
    err = bpf_skb_vlan_push(skb, bpf_htons(PLEXUS_ETH_VLAN), r->vlan_tci);
  return err;
}

// What a router does to an IPv4 packet, MACs and TTL, written in one go into the skb's linear part. None of it changes the sum of CHECKSUM_COMPLETE:
// the header's checksum evens the TTL out. 0 when it is done; else nothing is, and the general way has to do it.
static __always_inline int rewrite_routed(struct __sk_buff* skb, const struct plexus_parsed* p,
                                          const struct plexus_rewrite* r) {
  const __u16 routed = PLEXUS_SET_ETH_SRC | PLEXUS_SET_ETH_DST | PLEXUS_DEC_TTL;
  if (r->fields != routed || p->l3_offset != 14 || p->key.eth_type != bpf_htons(PLEXUS_ETH_IPV4) ||
      p->key.ip_ttl <= r->ttl_decrement)
    return -1;
  __u8* frame = (__u8*)(long)skb->data;
  if (frame + 14 + 20 > (__u8*)(long)skb->data_end) return -1;
  const __be32* macs = (const __be32*)r->eth_dst;  // and eth_src, which follows it
  *(__be32*)frame = macs[0];
  *(__be32*)(frame + 4) = macs[1];
  *(__be32*)(frame + 8) = macs[2];
  // RFC 1624: the TTL is the high byte of its word.
  __u32 sum = (__u32)(frame[24] << 8 | frame[25]) + ((__u32)r->ttl_decrement << 8);
  if (sum >= 0xffff) ++sum;
  frame[22] = p->key.ip_ttl - r->ttl_decrement;
  frame[24] = (__u8)(sum >> 8);
  frame[25] = (__u8)sum;
  return 0;
}

// `p` describes the packet as it is now. 0, or the counter to drop with. Global: looked at by the verifier once.
__attribute__((noinline)) int rewrite(struct __sk_buff* skb, const struct plexus_parsed* p,
                                      const struct plexus_rewrite* r) {
  if (!p || !r) return PLEXUS_C_rewrite_failed;
  __u16 fields = r->fields;
  long err = 0;
  int v4 = p->key.eth_type == bpf_htons(PLEXUS_ETH_IPV4);
  int v6 = p->key.eth_type == bpf_htons(PLEXUS_ETH_IPV6);
  if ((v4 || v6) && (fields & PLEXUS_REWRITES_IP)) {
    struct transport_checksum c = checksum_of(p);
    err = v4 ? rewrite_ipv4(skb, p, r, &c) : rewrite_ipv6(skb, p, r, &c);
    if (!err && c.offset && (fields & (PLEXUS_SET_TP_SRC | PLEXUS_SET_TP_DST)))
      err = rewrite_transport(skb, p, r, &c);
  }
  if (!err && (fields & PLEXUS_SET_ETH_DST)) err = bpf_skb_store_bytes(skb, 0, r->eth_dst, 6, 0);
  if (!err && (fields & PLEXUS_SET_ETH_SRC)) err = bpf_skb_store_bytes(skb, 6, r->eth_src, 6, 0);
  // Last: it moves what the offsets point to.
  if (!err && (fields & (PLEXUS_POP_VLAN | PLEXUS_PUSH_VLAN))) err = rewrite_vlan(skb, p, r);
  return err ? PLEXUS_C_rewrite_failed : 0;
}

// Adds to `r` what an earlier rewrite has changed (`before`, its fields) and `r` does not set: back to what the packet
// had when it came (`original`). The TTL becomes a difference to the present one; one byte wraps around.
static __always_inline void undo(struct plexus_rewrite* r, const struct plexus_parsed* original,
                                 const struct plexus_parsed* now, __u16 before) {
  const struct plexus_key* key = &original->key;
  __u16 back = before & ~r->fields;
  int v4 = key->eth_type == bpf_htons(PLEXUS_ETH_IPV4);
  if (back & PLEXUS_SET_ETH_SRC) __builtin_memcpy(r->eth_src, key->eth_src, 6);
  if (back & PLEXUS_SET_ETH_DST) __builtin_memcpy(r->eth_dst, key->eth_dst, 6);
  // A rewrite of the other family was not made, and its place may be in use.
  if (v4) {
    if (back & PLEXUS_SET_IP4_SRC) __builtin_memcpy(r->ip_src, key->nw, 4);
    if (back & PLEXUS_SET_IP4_DST) __builtin_memcpy(r->ip_dst, key->nw + 4, 4);
  } else {
    if (back & PLEXUS_SET_IP6_SRC) __builtin_memcpy(r->ip_src, key->nw, 16);
    if (back & PLEXUS_SET_IP6_DST) __builtin_memcpy(r->ip_dst, key->nw + 16, 16);
  }
  if (back & PLEXUS_SET_TP_SRC) {
    int icmp = key->ip_proto == PLEXUS_ICMP || key->ip_proto == PLEXUS_ICMPV6;
    r->tp_src = icmp ? original->icmp_id : key->tp_src;
  }
  if (back & PLEXUS_SET_TP_DST) r->tp_dst = key->tp_dst;
  if (back & PLEXUS_SET_DSCP) r->dscp = key->ip_tos >> 2;
  if ((r->fields | before) & PLEXUS_DEC_TTL) {
    __u8 less = (r->fields & PLEXUS_DEC_TTL) ? r->ttl_decrement : 0;
    r->ttl_decrement = (__u8)(now->key.ip_ttl - (__u8)(key->ip_ttl - less));
  }
  r->fields |= back & (PLEXUS_REWRITES_IP | PLEXUS_SET_ETH_SRC | PLEXUS_SET_ETH_DST);
  if (before & PLEXUS_POP_VLAN) r->fields &= ~PLEXUS_POP_VLAN;  // has been taken off
}

// The rewrite of entry `entry`, of a packet that another one (`before`, its fields) has changed already. 0, or the counter
// to drop with. Global: looked at by the verifier once.
__attribute__((noinline)) int rewrite_again(struct __sk_buff* skb,
                                            const struct plexus_parsed* original, __u32 entry,
                                            __u32 before) {
  struct plexus_parsed now = {};
  struct plexus_rewrite r;
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!flow || !original) return PLEXUS_C_rewrite_failed;
  if ((before & PLEXUS_PUSH_VLAN) && bpf_skb_vlan_pop(skb)) return PLEXUS_C_rewrite_failed;
  parse(skb, &now);
  if (now.error) return PLEXUS_C_rewrite_failed;
  __builtin_memcpy(&r, &flow->rewrite, sizeof r);
  undo(&r, original, &now, (__u16)before);
  return rewrite(skb, &now, &r);
}

#endif
