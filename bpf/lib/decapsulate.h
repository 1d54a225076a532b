// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// decapsulate(): takes the tunnel's headers off by itself, on the way in of the underlay's interface, at about half the cost of
// the vxlan device. For whole IPv4 and IPv6 packets that came over IPv4 in the plainest form; everything else goes on into the
// host's stack and comes out of the vxlan device, which does the same for everybody.
//
// Not taken:
//   - packets that are several (GSO): the kernel keeps the tunnel's bits in their gso_type, and no program can take them off;
//   - large TCP packets that are alone: behind the vxlan device the kernel makes many of them one, which is worth more;
//   - what has an outer UDP checksum that no hardware has looked at, a congestion mark that the inner header must get (RFC 6040),
//     options, fragments, reserved bits, tags, padding, or another length than the headers say.
// When packets of an outer source port, hence of an inner flow, go through the device, those that follow within PLEXUS_DETOUR do so
// too: the device is the longer way, and they would overtake.
#ifndef PLEXUS_LIB_DECAPSULATE_H
#define PLEXUS_LIB_DECAPSULATE_H

#include "counters.h"
#include "encapsulate.h"
#include "maps.h"
#include "parse.h"

#define PLEXUS_NOT_DECAPSULATED (-1)
#define PLEXUS_OUTER_BYTES 50
#define PLEXUS_DETOUR 10000000ull  // ns; several ticks of the coarse clock
#define PLEXUS_DETOURS 4096        // a power of two
#define PLEXUS_LARGE_TCP 512       // bytes of the whole frame

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ull << 8)  // Linux 6.3
#endif

// When a packet with these low bits of the outer source port went through the device last; CLOCK_MONOTONIC, ns.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, PLEXUS_DETOURS);
  __type(key, __u32);
  __type(value, __u64);
} detours SEC(".maps");

// In packets, at any even offset.
static __always_inline __be16 half_at(const __u8* at) {
  return *(const __be16*)at;
}
static __always_inline __be32 word_at(const __u8* at) {
  return *(const __be32*)at;
}

// What has to be known before a packet is touched: the outer headers, the inner Ethernet header, the least that can be an IP header.
#define PLEXUS_LOOKED_AT (PLEXUS_OUTER_BYTES + 14 + 20)

// Whether a frame is a packet of our tunnel: UDP over IPv4 without options, whole, to our address and port.
static __always_inline int is_tunnel_packet(const __u8* h, const struct plexus_tunnel* t) {
  const __be32* local = (const __be32*)t->local;
  return half_at(h + 36) == bpf_htons((__u16)t->udp_port) && h[23] == PLEXUS_UDP && h[14] == 0x45 &&
         word_at(h + 30) == local[3] && !(half_at(h + 20) & bpf_htons(0x3fff)) &&
         half_at(h + 12) == bpf_htons(PLEXUS_ETH_IPV4);
}

static __always_inline int is_ipv4_checksum_right(const __u8* ip) {
  __u64 sum =
      (__u64)word_at(ip) + word_at(ip + 4) + word_at(ip + 8) + word_at(ip + 12) + word_at(ip + 16);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

// Whether its headers may simply be taken off. `h`: PLEXUS_LOOKED_AT bytes of a tunnel packet.
static __always_inline int is_plain(struct __sk_buff* skb, const __u8* h) {
  __u32 length = skb->len - 14;
  if (skb->gso_size || half_at(h + 16) != bpf_htons((__u16)length) ||
      half_at(h + 38) != bpf_htons((__u16)(length - 20)) || length > 0xffff ||
      word_at(h + 42) != bpf_htonl(0x08000000) || h[49] || !is_ipv4_checksum_right(h + 14))
    return 0;
  if (half_at(h + 40) && bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0) return 0;
  const __u8* ip = h + PLEXUS_OUTER_BYTES + 14;
  __u8 tos, protocol;
  if (half_at(ip - 2) == bpf_htons(PLEXUS_ETH_IPV4)) {
    tos = ip[1];
    protocol = ip[9];
  } else if (half_at(ip - 2) == bpf_htons(PLEXUS_ETH_IPV6)) {
    tos = ip[1] >> 4;
    protocol = ip[6];
  } else {
    return 0;
  }
  if (h[15] & 3 && (h[15] ^ tos) & 3) return 0;
  return protocol != PLEXUS_TCP || skb->len <= PLEXUS_LARGE_TCP;
}

// The inner frame takes the place of the packet. `h`: as above, void afterwards. 0, or the packet is spoilt.
static __always_inline long take_off(struct __sk_buff* skb, const __u8* h) {
  const __u64 flags = BPF_F_ADJ_ROOM_NO_CSUM_RESET;
  __be32 ethernet[4];
  for (int i = 0; i < 3; ++i) ethernet[i] = word_at(h + PLEXUS_OUTER_BYTES + 4 * i);
  ethernet[3] = half_at(h + PLEXUS_OUTER_BYTES + 12);
  // The outer Ethernet header stays, all between it and the inner packet goes.
  long err = -1;
  // Makes skb->protocol what the packet is. Linux 6.1 cannot do that; may_jump() looks.
  if (ethernet[3] == bpf_htons(PLEXUS_ETH_IPV6))
    err = bpf_skb_adjust_room(skb, -PLEXUS_OUTER_BYTES, BPF_ADJ_ROOM_MAC,
                              flags | BPF_F_ADJ_ROOM_DECAP_L3_IPV6);
  if (err) err = bpf_skb_adjust_room(skb, -PLEXUS_OUTER_BYTES, BPF_ADJ_ROOM_MAC, flags);
  if (err) return err;
  // What hardware says of the outer checksum says nothing of the inner one.
  bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
  // By the helper: for a program that writes into packets the kernel makes all of them writable, also those that it leaves alone.
  return bpf_skb_store_bytes(skb, 0, ethernet, 14, 0);
}

// 0: it was a packet from a peer, the inner frame is in its place, and `tunnel_key` is its key. PLEXUS_NOT_DECAPSULATED: it is as
// it was, and others may have it. Else the counter to drop with.
static __always_inline int decapsulate(struct __sk_buff* skb, __u32* tunnel_key) {
  __u32 zero = 0;
  if (skb->protocol != bpf_htons(PLEXUS_ETH_IPV4) || skb->vlan_present ||
      skb->pkt_type != PLEXUS_PACKET_HOST)
    return PLEXUS_NOT_DECAPSULATED;
  const struct plexus_tunnel* t = bpf_map_lookup_elem(&tunnel, &zero);
  if (!t || t->underlay_ifindex != skb->ifindex) return PLEXUS_NOT_DECAPSULATED;
  // On the stack words must be aligned; those of the headers are two bytes off.
  __u8 copy[PLEXUS_LOOKED_AT + 4] __attribute__((aligned(8)));
  const __u8* h = (const __u8*)(long)skb->data;
  if (h + PLEXUS_LOOKED_AT > (const __u8*)(long)skb->data_end) {
    if (bpf_skb_load_bytes(skb, 0, copy + 2, PLEXUS_LOOKED_AT)) return PLEXUS_NOT_DECAPSULATED;
    h = copy + 2;
  }
  if (!is_tunnel_packet(h, t)) return PLEXUS_NOT_DECAPSULATED;

  __u32 place = bpf_ntohs(half_at(h + 34)) & (PLEXUS_DETOURS - 1);
  __u64* detour = bpf_map_lookup_elem(&detours, &place);
  if (!detour) return PLEXUS_NOT_DECAPSULATED;
  struct plexus_peer peer = {};
  __be32 source = word_at(h + 26);
  peer.address[10] = peer.address[11] = 0xff;
  __builtin_memcpy(peer.address + 12, &source, 4);
  int known = bpf_map_lookup_elem(&peers, &peer) != 0;
  __u64 now = bpf_ktime_get_coarse_ns();
  if (!is_plain(skb, h)) {
    // Strangers, whom from_tunnel drops, would push the flows of others onto the longer way.
    if (known && *detour != now) *detour = now;
    return PLEXUS_NOT_DECAPSULATED;
  }
  if (!known) return PLEXUS_C_unknown_tunnel_peer;
  if (now - *detour < PLEXUS_DETOUR) return PLEXUS_NOT_DECAPSULATED;
  *tunnel_key = bpf_ntohl(word_at(h + 46)) >> 8;
  return take_off(skb, h) ? PLEXUS_C_rewrite_failed : 0;
}

#endif
