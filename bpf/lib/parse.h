// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// parse(): an skb to a plexus_key, bit for bit as parse_packet() in src/packet/flow_key.cc does it (a differential test
// holds the two equal). Headers are where the driver put them, nearly always in the skb's linear part; else, or far behind, read by
// bpf_skb_load_bytes.
//
// The first VLAN tag may be in the skb's metadata instead of its bytes; then all offsets are those in the skb, which
// lacks the four bytes of the tag.
#ifndef PLEXUS_LIB_PARSE_H
#define PLEXUS_LIB_PARSE_H

#include "abi.h"
#include "lib/kernel.h"

#define PLEXUS_ETH_IPV4 0x0800
#define PLEXUS_ETH_ARP 0x0806
#define PLEXUS_ETH_VLAN 0x8100
#define PLEXUS_ETH_QINQ 0x88a8
#define PLEXUS_ETH_IPV6 0x86dd
#define PLEXUS_VLAN_PRESENT 0x1000

#define PLEXUS_ICMP 1
#define PLEXUS_TCP 6
#define PLEXUS_UDP 17
#define PLEXUS_ICMPV6 58
#define PLEXUS_SCTP 132

#define PLEXUS_NEAR 1024  // enough for headers, and little enough for the verifier

// `size`, a constant, bytes from `at`. 0, or there are not as many. `to` is as aligned as its words are to be.
static __always_inline long read_bytes(struct __sk_buff* skb, __u32 at, void* to, __u32 size) {
  if (at <= PLEXUS_NEAR) {
    const __u8* from = (const __u8*)(long)skb->data + at;
    if (from + size <= (const __u8*)(long)skb->data_end) {
      // Not true, but packets may be read in words anywhere, and clang would read them byte by byte.
      __builtin_memcpy(__builtin_assume_aligned(to, 8), __builtin_assume_aligned(from, 8), size);
      return 0;
    }
  }
  return bpf_skb_load_bytes(skb, at, to, size);
}

static __always_inline __u16 get_be16(const __u8* at) {
  return (__u16)(at[0] << 8 | at[1]);
}

// Ports, type and code. `at`: where the transport header starts; `end`: where the packet ends.
static __always_inline __u16 parse_transport(struct __sk_buff* skb, struct plexus_parsed* out,
                                             __u32 at, __u32 end, int v6) {
  struct plexus_key* key = &out->key;
  __u8 proto = key->ip_proto;
  __u32 header;
  if (proto == PLEXUS_TCP)
    header = 20;
  else if (proto == PLEXUS_SCTP)
    header = 12;
  else if (proto == PLEXUS_UDP || proto == (v6 ? PLEXUS_ICMPV6 : PLEXUS_ICMP))
    header = 8;
  else
    return 0;
  if (at + header > end) return PLEXUS_C_truncated_l4;
  out->covered = at + header;

  __u8 h[8] __attribute__((aligned(8)));
  if (read_bytes(skb, at, h, sizeof h)) return PLEXUS_C_truncated_l4;
  if (proto == PLEXUS_ICMP || proto == PLEXUS_ICMPV6) {
    key->tp_src = bpf_htons(h[0]);
    key->tp_dst = bpf_htons(h[1]);
    __builtin_memcpy(&out->icmp_id, h + 4, 2);
  } else {
    __builtin_memcpy(&key->tp_src, h, 2);
    __builtin_memcpy(&key->tp_dst, h + 2, 2);
  }
  out->l4_offset = (__u16)at;
  if (proto == PLEXUS_TCP) {
    __u8 t[2] __attribute__((aligned(8)));
    if (read_bytes(skb, at + 12, t, sizeof t)) return PLEXUS_C_truncated_l4;
    __u32 length = (__u32)(t[0] >> 4) * 4;
    if (length < 20 || at + length > end) return PLEXUS_C_bad_l4;
    key->tcp_flags = t[1];
  }
  return 0;
}

static __always_inline __u16 parse_arp(struct __sk_buff* skb, struct plexus_parsed* out, __u32 at) {
  __u8 h[28] __attribute__((aligned(8)));
  if (read_bytes(skb, at, h, sizeof h)) return PLEXUS_C_truncated_arp;
  // Ethernet and IPv4 (RFC 826).
  if (get_be16(h) != 1 || get_be16(h + 2) != PLEXUS_ETH_IPV4 || h[4] != 6 || h[5] != 4)
    return PLEXUS_C_bad_arp;
  out->covered = at + sizeof h;
  __builtin_memcpy(&out->key.tp_src, h + 6, 2);
  __builtin_memcpy(out->key.nw, h + 14, 4);
  __builtin_memcpy(out->key.nw + 4, h + 24, 4);
  return 0;
}

static __always_inline __u16 parse_ipv4(struct __sk_buff* skb, struct plexus_parsed* out,
                                        __u32 at) {
  struct plexus_key* key = &out->key;
  __u8 h[20] __attribute__((aligned(8)));
  if (read_bytes(skb, at, h, sizeof h)) return PLEXUS_C_truncated_ipv4;
  __u32 header = (__u32)(h[0] & 15) * 4, total = get_be16(h + 2);
  if (h[0] >> 4 != 4 || header < 20 || total < header) return PLEXUS_C_bad_ipv4;
  if (at + total > skb->len) return PLEXUS_C_truncated_ipv4;
  key->ip_proto = h[9];
  key->ip_tos = h[1];
  key->ip_ttl = h[8];
  __builtin_memcpy(key->nw, h + 12, 8);
  out->length = at + total;
  out->covered = at + header;
  __u16 fragment = get_be16(h + 6);
  if (fragment & 0x1fff) {
    key->ip_frag = PLEXUS_FRAG_LATER;
    return 0;
  }
  if (fragment & 0x2000) key->ip_frag = PLEXUS_FRAG_FIRST;
  return parse_transport(skb, out, at + header, at + total, 0);
}

static __always_inline __u16 parse_ipv6(struct __sk_buff* skb, struct plexus_parsed* out,
                                        __u32 at) {
  struct plexus_key* key = &out->key;
  __u8 h[8] __attribute__((aligned(8)));
  if (at + 40 > skb->len) return PLEXUS_C_truncated_ipv6;
  if (read_bytes(skb, at, h, sizeof h)) return PLEXUS_C_truncated_ipv6;
  if (h[0] >> 4 != 6) return PLEXUS_C_bad_ipv6;
  __u32 end = at + 40 + get_be16(h + 4);
  if (end > skb->len) return PLEXUS_C_truncated_ipv6;
  key->ip_tos = (__u8)((h[0] & 15) << 4 | h[1] >> 4);
  key->ip_ttl = h[7];
  if (read_bytes(skb, at + 8, key->nw, 32)) return PLEXUS_C_truncated_ipv6;
  out->length = end;

  __u8 next = h[6];
  __u32 here = at + 40;
  int fragment_seen = 0;
  // Unrolled: Linux 6.1 refuses the loop as clang lays it out ("back-edge").
#pragma unroll
  for (int n = 0; n <= PLEXUS_MAX_IPV6_EXTENSIONS; ++n) {
    // Hop-by-hop options, routing, fragment, destination options.
    if (next != 0 && next != 43 && next != 44 && next != 60) break;
    __u8 e[4];
    if (n == PLEXUS_MAX_IPV6_EXTENSIONS || here + 8 > end) return PLEXUS_C_bad_ipv6_extension;
    if (bpf_skb_load_bytes(skb, here, e, sizeof e)) return PLEXUS_C_bad_ipv6_extension;
    __u32 size = 8;
    if (next == 44) {
      // Two fragment headers would let the second deny what the first says.
      if (fragment_seen) return PLEXUS_C_bad_ipv6_extension;
      fragment_seen = 1;
      __u16 field = get_be16(e + 2);
      if (field & 0xfff8) {
        key->ip_frag = PLEXUS_FRAG_LATER;
        key->ip_proto = e[0];
        out->covered = here + 8;
        return 0;
      }
      if (field & 1) key->ip_frag = PLEXUS_FRAG_FIRST;
    } else {
      size = ((__u32)e[1] + 1) * 8;
      if (here + size > end) return PLEXUS_C_bad_ipv6_extension;
    }
    next = e[0];
    here += size;
  }
  key->ip_proto = next;
  out->covered = here;
  return parse_transport(skb, out, here, end, 1);
}

// Fills `out` (error included); in_port and tunnel_key are left zero. Global, so that the verifier looks at it once for
// all programs.
__attribute__((noinline)) int parse(struct __sk_buff* skb, struct plexus_parsed* out) {
  __u8 h[14] __attribute__((aligned(8)));
  if (!out) return -1;
  __builtin_memset(out, 0, sizeof *out);
  struct plexus_key* key = &out->key;
  out->length = skb->len;
  if (read_bytes(skb, 0, h, sizeof h)) {
    out->error = PLEXUS_C_truncated_ethernet;
    return 0;
  }
  __builtin_memcpy(key->eth_dst, h, 12);  // and eth_src, which follows it
  __u16 type = get_be16(h + 12);
  __u32 at = 14;
  int tags = 0;
  if (skb->vlan_present) {
    key->vlan_tci = bpf_htons((__u16)skb->vlan_tci | PLEXUS_VLAN_PRESENT);
    tags = 1;
  }
#pragma unroll
  for (int i = 0; i < PLEXUS_MAX_VLAN_TAGS; ++i) {
    __u8 t[4] __attribute__((aligned(8)));
    if (tags == PLEXUS_MAX_VLAN_TAGS || (type != PLEXUS_ETH_VLAN && type != PLEXUS_ETH_QINQ)) break;
    if (read_bytes(skb, at, t, sizeof t)) {
      out->error = PLEXUS_C_truncated_vlan;
      return 0;
    }
    if (tags == 0) key->vlan_tci = bpf_htons(get_be16(t) | PLEXUS_VLAN_PRESENT);
    type = get_be16(t + 2);
    at += 4;
    ++tags;
  }
  out->covered = at;
  key->eth_type = bpf_htons(type < 0x0600 ? 0x05ff : type);
  if (type == PLEXUS_ETH_ARP) {
    out->l3_offset = (__u16)at;
    out->error = parse_arp(skb, out, at);
  } else if (type == PLEXUS_ETH_IPV4) {
    out->l3_offset = (__u16)at;
    out->error = parse_ipv4(skb, out, at);
  } else if (type == PLEXUS_ETH_IPV6) {
    out->l3_offset = (__u16)at;
    out->error = parse_ipv6(skb, out, at);
  }
  return 0;
}

#endif
