// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// encapsulate(): writes the tunnel's headers itself and sends the packet out of the underlay's interface, at about half
// the cost of the vxlan device. For IPv4 and IPv6 packets from local ports into a tunnel over IPv4; everything else, and
// whatever does not fit, goes through the vxlan device, which does the same for everybody.
//
// The way to a peer (interface, MACs, MTU) comes from the kernel's own routes and neighbours by bpf_fib_lookup and is kept
// per CPU for PLEXUS_HOP_LIFETIME: a changed route or neighbour is seen after that time without anybody's help. The packet that finds
// the time over goes through the vxlan device: so the kernel's neighbour entry stays in use, and is probed and renewed as if
// there were nothing but that device.
//
// Outer headers: TTL 64, DSCP 0, ECN copied (RFC 6040 4.1), DF not set, no UDP checksum. The source port comes from the
// inner flow by the vxlan device's formula, and the device is told our hash, so that a flow keeps its port on both ways.
#ifndef PLEXUS_LIB_ENCAPSULATE_H
#define PLEXUS_LIB_ENCAPSULATE_H

#include "counters.h"
#include "maps.h"
#include "parse.h"

#define PLEXUS_NOT_ENCAPSULATED (-1)
#define PLEXUS_HOP_LIFETIME 100000000ull  // ns
#define PLEXUS_AF_INET 2

struct plexus_ipv4_header {
  __u8 version, tos;
  __be16 length, id, fragment;
  __u8 ttl, protocol;
  __u16 checksum;
  __be32 src, dst;
};
struct plexus_outer {
  __u8 dst[6], src[6];
  __be16 type;
  struct plexus_ipv4_header ip;
  __be16 udp_src, udp_dst, udp_length, udp_checksum;
  __be32 vxlan_flags, vxlan_key;
} __attribute__((packed, aligned(2)));  // or clang would write byte by byte
_Static_assert(sizeof(struct plexus_outer) == 50, "Ethernet, IPv4, UDP, VXLAN");
#define PLEXUS_OUTER_IP_BYTES 36  // of the outer headers, those that the underlay's MTU counts

// The way to one peer. Its own CPU's alone.
struct plexus_hop {
  __be32 remote, local;
  __u64 until;    // CLOCK_MONOTONIC, ns
  __u32 ifindex;  // 0: the vxlan device has to do it
  __u16 mtu;
  __u16 next_id;  // of the next outer IPv4 header
  __u8 dst[6], src[6];
  __u32 sum;  // of the outer IPv4 header's words that are the same for all packets
};

#define PLEXUS_HOPS 4096  // 2^12
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PLEXUS_HOPS);
  __type(key, __u32);
  __type(value, struct plexus_hop);
} hops SEC(".maps");

// Not cryptographic: whoever makes flows collide shares a path with himself.
static __always_inline __u32 flow_hash(const struct plexus_key* key) {
  const __u64* nw = (const __u64*)key->nw;
  __u64 h = nw[0] ^ (__u64)key->ip_proto << 56;
  // Fragments share a port, whether they have the inner ports or not.
  if (key->ip_frag == PLEXUS_FRAG_NONE) h ^= (__u64)key->tp_src << 16 | key->tp_dst;
  h *= 0x9e3779b97f4a7c15ull;
  h ^= nw[1] ^ h >> 29;
  h ^= nw[2] * 0xbf58476d1ce4e5b9ull ^ nw[3];
  h *= 0x94d049bb133111ebull;
  __u32 hash = (__u32)(h >> 32);
  return hash ? hash : 1;
}

// As udp_flow_src_port() of the kernel.
static __always_inline __u16 source_port(const struct plexus_tunnel* t, __u32 hash) {
  hash ^= hash << 16;
  return (__u16)(((__u64)hash * t->source_ports >> 32) + t->first_source_port);
}

// Asks the kernel for the way. The answer counts for PLEXUS_HOP_LIFETIME, "there is none" too.
static __always_inline void find_hop(struct __sk_buff* skb, struct plexus_hop* hop,
                                     const struct plexus_tunnel* t, __be32 remote, __be32 local,
                                     __u16 port, __u64 now) {
  struct bpf_fib_lookup fib = {};
  fib.family = PLEXUS_AF_INET;
  fib.l4_protocol = PLEXUS_UDP;
  fib.sport = bpf_htons(port);
  fib.dport = bpf_htons((__u16)t->udp_port);
  fib.tot_len = sizeof(struct plexus_ipv4_header);  // not 0: then the answer has the route's MTU
  fib.ipv4_src = local;
  fib.ipv4_dst = remote;
  fib.ifindex = t->lookup_ifindex;
  hop->ifindex = 0;
  hop->remote = remote;
  hop->local = local;
  hop->until = now + PLEXUS_HOP_LIFETIME;
  if (bpf_fib_lookup(skb, &fib, sizeof fib, 0) != BPF_FIB_LKUP_RET_SUCCESS) return;
  hop->mtu = fib.mtu_result;
  hop->next_id = (__u16)bpf_get_prandom_u32();
  __builtin_memcpy(hop->dst, fib.dmac, 6);
  __builtin_memcpy(hop->src, fib.smac, 6);
  __u32 sum = 0x4500 + (64 << 8 | PLEXUS_UDP);
  sum += (bpf_ntohl(local) >> 16) + (bpf_ntohl(local) & 0xffff);
  sum += (bpf_ntohl(remote) >> 16) + (bpf_ntohl(remote) & 0xffff);
  hop->sum = sum;
  hop->ifindex = fib.ifindex;
}

// Whether the packet, with GSO the packets that it will be cut into, fits the underlay with its headers.
static __always_inline int fits_underlay(struct __sk_buff* skb, const struct plexus_parsed* p,
                                         __u32 mtu) {
  __u32 size = skb->len;
  if (size > 0xffff - PLEXUS_OUTER_IP_BYTES) return 0;
  if (skb->gso_size && p->l4_offset) {
    __u32 header = 8;
    if (p->key.ip_proto == PLEXUS_TCP) {
      __u8 offset;
      if (bpf_skb_load_bytes(skb, p->l4_offset + 12, &offset, 1)) return 0;
      header = (__u32)(offset >> 4) * 4;
    }
    size = p->l4_offset + header + skb->gso_size;
  }
  return size + PLEXUS_OUTER_IP_BYTES <= mtu;
}

static __always_inline __u16 folded(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)((sum & 0xffff) + (sum >> 16));
}

static __always_inline int write_headers(struct __sk_buff* skb, const struct plexus_parsed* p,
                                         struct plexus_hop* hop, const struct plexus_tunnel* t,
                                         __u32 tunnel_key, __u16 port) {
  // How long the inner Ethernet header is, and no more, belongs into the flags: else the kernel takes the VXLAN header for a part of
  // it and GSO packets do not arrive.
  const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
                      BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(14) |
                      BPF_F_ADJ_ROOM_FIXED_GSO;
  __u32 inner_length = skb->len, packets = packets_in(skb);
  if (bpf_skb_adjust_room(skb, sizeof(struct plexus_outer), BPF_ADJ_ROOM_MAC, flags))
    return PLEXUS_NOT_ENCAPSULATED;
  // The room is behind the Ethernet header, which moves behind the room.
  __u8* data = (__u8*)(long)skb->data;
  if (data + sizeof(struct plexus_outer) + 14 > (__u8*)(long)skb->data_end)
    return PLEXUS_C_output_failed;
  // Not aligned, but packets may be written in words anywhere.
  __builtin_memcpy(__builtin_assume_aligned(data + sizeof(struct plexus_outer), 8),
                   __builtin_assume_aligned(data, 8), 14);
  struct plexus_outer* o = (struct plexus_outer*)data;
  __u32 length = inner_length + PLEXUS_OUTER_IP_BYTES;
  __u8 tos = p->key.ip_tos & 3;
  __u16 id = hop->next_id;
  hop->next_id = (__u16)(id + packets);
  __builtin_memcpy(o->dst, hop->dst, 6);
  __builtin_memcpy(o->src, hop->src, 6);
  o->type = bpf_htons(PLEXUS_ETH_IPV4);
  o->ip.version = 0x45;
  o->ip.tos = tos;
  o->ip.length = bpf_htons((__u16)length);
  o->ip.id = bpf_htons(id);
  o->ip.fragment = 0;
  o->ip.ttl = 64;
  o->ip.protocol = PLEXUS_UDP;
  o->ip.checksum = bpf_htons((__u16)~folded(hop->sum + tos + length + id));
  o->ip.src = hop->local;
  o->ip.dst = hop->remote;
  o->udp_src = bpf_htons(port);
  o->udp_dst = bpf_htons((__u16)t->udp_port);
  o->udp_length = bpf_htons((__u16)(length - sizeof(struct plexus_ipv4_header)));
  o->udp_checksum = 0;
  o->vxlan_flags = bpf_htonl(0x08000000);
  o->vxlan_key = bpf_htonl(tunnel_key << 8);
  return 0;
}

// Sends the packet to output `to`, a tunnel. PLEXUS_NOT_ENCAPSULATED, and the packet is as it was; or the verdict.
static __always_inline int encapsulate(struct __sk_buff* skb, const struct plexus_parsed* p,
                                       const struct plexus_output* to, __u32 port_index) {
  __u32 zero = 0;
  const struct plexus_tunnel* t = bpf_map_lookup_elem(&tunnel, &zero);
  if (!t || !t->lookup_ifindex || skb->vlan_present || p->l3_offset != 14 ||
      p->key.eth_type == bpf_htons(PLEXUS_ETH_ARP))
    return PLEXUS_NOT_ENCAPSULATED;
  const __u32* remote = (const __u32*)to->remote;
  const __u32* local = (const __u32*)t->local;
  if (remote[0] | remote[1] | local[0] | local[1] | (remote[2] ^ bpf_htonl(0xffff)) |
      (local[2] ^ bpf_htonl(0xffff)))
    return PLEXUS_NOT_ENCAPSULATED;

  __u32 hash = flow_hash(&p->key);
  __u16 port = source_port(t, hash);
  // Flows to one peer may have different ways (ECMP): some of them each.
  // The high bits of the product depend on all bits of the address.
  __u32 slot = (remote[3] * 0x9e3779b1u >> 20 ^ (port & 15)) & (PLEXUS_HOPS - 1);
  struct plexus_hop* hop = bpf_map_lookup_elem(&hops, &slot);
  if (!hop) return PLEXUS_NOT_ENCAPSULATED;
  __u64 now = bpf_ktime_get_coarse_ns();
  if (hop->remote != remote[3] || hop->local != local[3] || now >= hop->until) {
    find_hop(skb, hop, t, remote[3], local[3], port, now);
    bpf_set_hash(skb, hash);
    return PLEXUS_NOT_ENCAPSULATED;
  }
  if (!hop->ifindex || !fits_underlay(skb, p, hop->mtu)) {
    bpf_set_hash(skb, hash);
    return PLEXUS_NOT_ENCAPSULATED;
  }
  // Counted as the vxlan device gets it; making room makes the kernel forget the segments.
  __u32 packets = packets_in(skb), bytes = skb->len;
  int err = write_headers(skb, p, hop, t, to->tunnel_key, port);
  if (err == PLEXUS_NOT_ENCAPSULATED) return err;
  if (err) return drop(port_index, err);
  struct plexus_port_stats* stats = stats_of_port(PLEXUS_TUNNEL_INDEX);
  if (stats) {
    stats->tx_packets += packets;
    stats->tx_bytes += bytes;
  }
  return (int)bpf_redirect(hop->ifindex, 0);
}

#endif
