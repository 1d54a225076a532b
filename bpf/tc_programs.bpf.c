// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The datapath's tc programs, in one object so that they share their maps:
//
//   from_port      on the way in of every local interface
//   from_tunnel    on the way in of the vxlan device (external mode: the kernel has decapsulated)
//   from_underlay  on the way in of the underlay's interface: takes the simple ones of the tunnel's packets before the kernel's
//                  stack does, and leaves everything else alone
//   from_agent     on the way out of the injection device, where user space sends frames with actions of its own
//   from_injector, inject_frames   on its way in, and what makes many such frames come in there
//
// All but from_underlay take every packet: redirected, handed up or dropped; the host's own stack never sees them.

#include "abi.h"
#include "lib/answer.h"
#include "lib/bucket.h"
#include "lib/classify.h"
#include "lib/counters.h"
#include "lib/decapsulate.h"
#include "lib/inject.h"
#include "lib/kernel.h"
#include "lib/mtu.h"
#include "lib/offload.h"
#include "lib/output.h"
#include "lib/parse.h"
#include "lib/rewrite.h"
#include "lib/slots.h"
#include "lib/tags.h"
#include "lib/upcall.h"
#include "maps.h"

// What the programs that receive have in common, once they know where the packet came from.
static __always_inline int forward(struct __sk_buff* skb, __u32 port, __u32 port_index,
                                   __u32 tunnel_key, __u32 how) {
  struct plexus_parsed parsed = {};
  count_received(skb, port_index);
  parse(skb, &parsed);
  if (parsed.error) return drop(port_index, parsed.error);
  // The other hosts' programs have looked at what comes by the tunnel.
  if (port != PLEXUS_TUNNEL_PORT && !is_checksum_harmless(skb, &parsed))
    return drop(port_index, PLEXUS_C_bad_checksum_offload);
  parsed.key.in_port = port;
  parsed.key.tunnel_key = tunnel_key;
  __u32 at = (__u32)classify(&parsed.key, port_index);  // no flow: no entry has that number
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &at);
  int answered = PLEXUS_ANSWERED;
  if (flow && flow->mtu && larger_than(skb, &parsed, flow->mtu))
    flow = 0;
  else if (flow && (flow->flags & PLEXUS_FLOW_TAKES_TAG) && has_second_tag(skb, &parsed))
    flow = 0;
  else if (flow && (flow->flags & PLEXUS_FLOW_ANSWERS))
    answered = answer(skb, &parsed, at);
  if (!flow || answered == PLEXUS_UNANSWERED) {
    count(PLEXUS_C_flow_misses);
    if (skb->gso_size && !may_be_cut(skb, &parsed))
      return drop(port_index, PLEXUS_C_bad_segmentation);
    return upcall(skb, port, tunnel_key, port_index);
  }
  count(PLEXUS_C_flow_hits);
  count_flow(skb, flow->stats);
  if (flow->flags & PLEXUS_FLOW_ANSWERS) {
    if (answered) return drop(port_index, answered);
    return send_back(skb, port, port_index);
  }
  if (flow->storm_limit && !within_storm_limit(skb, port_index, flow->storm_limit))
    return drop(port_index, PLEXUS_C_storm_limit);
  return run_actions(skb, &parsed, at, port_index, how);
}

SEC("tc")
int from_port(struct __sk_buff* skb) {
  __u32 ifindex = skb->ifindex;
  const struct plexus_interface* interface = interface_of(ifindex);
  if (!interface) {
    count(PLEXUS_C_unknown_port);
    return TC_ACT_SHOT;
  }
  return forward(skb, interface->port, interface->index, 0,
                 PLEXUS_SEND_PEER | PLEXUS_SEND_ENCAPSULATED);
}

SEC("tc")
int from_tunnel(struct __sk_buff* skb) {
  struct bpf_tunnel_key key;
  struct plexus_peer peer = {};
  long err = bpf_skb_get_tunnel_key(skb, &key, sizeof key, 0);
  if (!err) {
    __u32 remote = bpf_htonl(key.remote_ipv4);  // the helper gives IPv4 addresses in host order
    peer.address[10] = peer.address[11] = 0xff;
    __builtin_memcpy(peer.address + 12, &remote, 4);
  } else {
    err = bpf_skb_get_tunnel_key(skb, &key, sizeof key, BPF_F_TUNINFO_IPV6);
    if (err) return drop(PLEXUS_TUNNEL_INDEX, PLEXUS_C_unknown_tunnel_peer);
    __builtin_memcpy(peer.address, key.remote_ipv6, 16);
  }
  if (!bpf_map_lookup_elem(&peers, &peer))
    return drop(PLEXUS_TUNNEL_INDEX, PLEXUS_C_unknown_tunnel_peer);
  return forward(skb, PLEXUS_TUNNEL_PORT, PLEXUS_TUNNEL_INDEX, key.tunnel_id, PLEXUS_SEND_PEER);
}

SEC("tc")
int from_underlay(struct __sk_buff* skb) {
  __u32 tunnel_key = 0;
  int reason = decapsulate(skb, &tunnel_key);
  if (reason == PLEXUS_NOT_DECAPSULATED) return TC_ACT_UNSPEC;
  if (reason) return drop(PLEXUS_TUNNEL_INDEX, reason);
  return forward(skb, PLEXUS_TUNNEL_PORT, PLEXUS_TUNNEL_INDEX, tunnel_key, PLEXUS_SEND_PEER);
}

SEC("tc")
int from_agent(struct __sk_buff* skb) {
  __u32 entry = skb->mark & 0xffff;
  // What the host's own stack sends here (it should not) is no packet of ours.
  if ((skb->mark & 0xffff0000) != PLEXUS_INJECT_MARK || entry >= PLEXUS_INJECT_ENTRIES)
    return TC_ACT_SHOT;
  skb->mark = 0;
  return run_injected(skb, entry, 0);
}

SEC("tc")
int from_injector(struct __sk_buff* skb) {
  return run_injected(skb, injected_entry(skb), PLEXUS_SEND_PEER | PLEXUS_SEND_ENCAPSULATED);
}

// With fragments: a veth whose other end has a large MTU takes no other programs. There are none.
SEC("xdp.frags")
int inject_frames(struct xdp_md* ctx) {
  return inject_frame(ctx);
}

char _license[] SEC("license") = "GPL";
