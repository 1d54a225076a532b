// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// has_second_tag(): behind a packet's outermost VLAN tag there is another one. As fits() in src/flow/actions.cc sees it.
#ifndef PLEXUS_LIB_TAGS_H
#define PLEXUS_LIB_TAGS_H

#include "abi.h"
#include "lib/kernel.h"
#include "parse.h"

static __always_inline int has_second_tag(struct __sk_buff* skb, const struct plexus_parsed* p) {
  if (!p->key.vlan_tci) return 0;
  __be16 type;
  // The outermost tag may be in the skb's metadata.
  if (bpf_skb_load_bytes(skb, skb->vlan_present ? 12 : 16, &type, sizeof type)) return 1;
  return type == bpf_htons(PLEXUS_ETH_VLAN) || type == bpf_htons(PLEXUS_ETH_QINQ);
}

#endif
