// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// larger_than(): what packet_size() of src/packet/headers.h says, compared with an MTU. A packet that is certainly small
// enough, nearly every one, costs one comparison.
#ifndef PLEXUS_LIB_MTU_H
#define PLEXUS_LIB_MTU_H

#include "abi.h"
#include "lib/kernel.h"
#include "parse.h"

#define PLEXUS_ETHERNET_HEADER 14
#define PLEXUS_VLAN_TAG 4

// Whether the packet, or with GSO the largest of the packets that it will be cut into, has more than `mtu` bytes behind
// the Ethernet header and its tags. Padding does not count where there is a length that tells.
static __always_inline int larger_than(struct __sk_buff* skb, const struct plexus_parsed* p,
                                       __u32 mtu) {
  __u32 size = skb->len - PLEXUS_ETHERNET_HEADER;  // a frame without that does not parse
  if (size + PLEXUS_VLAN_TAG <= mtu) return 0;     // the tag may be in the skb's metadata
  if (!p->l3_offset) return size + (skb->vlan_present ? PLEXUS_VLAN_TAG : 0) > mtu;
  size = p->length - p->l3_offset;
  if (skb->gso_size && p->l4_offset) {
    __u32 header = 8;  // UDP
    if (p->key.ip_proto == PLEXUS_TCP) {
      __u8 offset;
      if (bpf_skb_load_bytes(skb, p->l4_offset + 12, &offset, 1)) return 1;
      header = (__u32)(offset >> 4) * 4;
    }
    __u32 cut = p->l4_offset - p->l3_offset + header + skb->gso_size;
    if (cut < size) size = cut;
  }
  return size > mtu;
}

#endif
