// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Ways out. All copies but the last are clones sent at once; the last is the packet itself, by the program's verdict. Copies
// with different rewrites go entry by entry, each rewriting what the one before has left.
//
// Delivery to a VM behind a veth goes straight into the VM's namespace (bpf_redirect_peer), which saves a trip through
// the backlog queue. The kernel does not look at the destination MAC again on that way, so it is taken only for
// frames that carry the MAC of the VM's end; broadcasts and frames for others go through the veth, which sorts them.
#ifndef PLEXUS_LIB_OUTPUT_H
#define PLEXUS_LIB_OUTPUT_H

#include "counters.h"
#include "encapsulate.h"
#include "maps.h"
#include "rewrite.h"
#include "slots.h"

// How to send an output.
#define PLEXUS_SEND_LAST 1          // the packet itself, not a clone
#define PLEXUS_SEND_PEER 2          // may use bpf_redirect_peer: we are on an interface's way in
#define PLEXUS_SEND_ENCAPSULATED 4  // may write the tunnel's headers, or others: from a local port

static __always_inline int is_v4_mapped(const __u8* address) {
  const __u64* words = (const __u64*)address;
  return words[0] == 0 && (words[1] & 0xffffffff) == bpf_htonl(0xffff);
}

// Tells the vxlan device where to send the packet. 0 or a drop counter. A local address of the other family is of no use:
// then the kernel chooses one.
static __always_inline int set_tunnel(struct __sk_buff* skb, const struct plexus_tunnel* from,
                                      const struct plexus_output* to) {
  struct bpf_tunnel_key key = {.tunnel_id = to->tunnel_key, .tunnel_ttl = 64};
  int local_v4 = is_v4_mapped(from->local);
  __u64 flags;
  if (is_v4_mapped(to->remote)) {
    __u32 remote, local;
    __builtin_memcpy(&remote, to->remote + 12, 4);
    __builtin_memcpy(&local, from->local + 12, 4);
    key.remote_ipv4 = bpf_ntohl(remote);  // the helper wants IPv4 addresses in host order
    if (local_v4) key.local_ipv4 = bpf_ntohl(local);
    flags =
        BPF_F_ZERO_CSUM_TX;  // usual over IPv4; over IPv6 the outer checksum is computed (RFC 8200 8.1)
  } else {
    __builtin_memcpy(key.remote_ipv6, to->remote, 16);
    if (!local_v4) __builtin_memcpy(key.local_ipv6, from->local, 16);
    flags = BPF_F_TUNINFO_IPV6;
  }
  return bpf_skb_set_tunnel_key(skb, &key, sizeof key, flags) ? PLEXUS_C_no_tunnel : 0;
}

// Whether the frame may go straight into the VM behind the port. The kernel does not look at the EtherType again either.
static __always_inline int may_jump(struct __sk_buff* skb, const struct plexus_port* port) {
  __u64 head[2] = {};
  return (port->flags & PLEXUS_PORT_HAS_PEER_MAC) && !read_bytes(skb, 0, head, 14) &&
         (head[0] & 0xffffffffffff) == port->peer_mac && skb->protocol == (__u32)(head[1] >> 32);
}

static __always_inline int jump(struct __sk_buff* skb, const struct plexus_port* port) {
  count_sent(skb, port->index);
  if (skb->pkt_type != PLEXUS_PACKET_HOST) bpf_skb_change_type(skb, PLEXUS_PACKET_HOST);
  return (int)bpf_redirect_peer(port->ifindex, 0);
}

// The packet goes back out of the local port that it came by; returns the verdict.
static __always_inline int send_back(struct __sk_buff* skb, __u32 number, __u32 port_index) {
  const struct plexus_port* port = port_of(number);
  if (!port) return drop(port_index, PLEXUS_C_unknown_output_port);
  if (may_jump(skb, port)) return jump(skb, port);
  count_sent(skb, port->index);
  return (int)bpf_redirect(port->ifindex, 0);
}

// i modulo a power of two, in a form that the compiler cannot turn into a comparison that the verifier forgets.
#define PLEXUS_MASKED(i, size)                                \
  ({                                                          \
    __u64 masked_ = (i);                                      \
    asm volatile("%0 &= %1" : "+r"(masked_) : "i"((size)-1)); \
    masked_;                                                  \
  })
_Static_assert((PLEXUS_INLINE_OUTPUTS & (PLEXUS_INLINE_OUTPUTS - 1)) == 0, "a power of two");
_Static_assert((PLEXUS_MAX_OUTPUTS & (PLEXUS_MAX_OUTPUTS - 1)) == 0, "a power of two");

// Output `i`, i < flow->outputs.
static __always_inline const struct plexus_output* output_at(const struct plexus_flow* flow,
                                                             __u32 i) {
  if (flow->outputs <= PLEXUS_INLINE_OUTPUTS)
    return &flow->inline_outputs[PLEXUS_MASKED(i, PLEXUS_INLINE_OUTPUTS)];
  __u32 at = flow->block;
  struct plexus_output_block* block = bpf_map_lookup_elem(&output_blocks, &at);
  return block ? &block->outputs[PLEXUS_MASKED(i, PLEXUS_MAX_OUTPUTS)] : 0;
}

// Sends output `i` of a flow and returns the verdict on the packet itself, which counts only for the last output.
// `port_index` is the port that drops are charged to; `how` are PLEXUS_SEND_ bits. Global: looked at by the verifier once.
__attribute__((noinline)) int send_output(struct __sk_buff* skb, __u32 entry, __u32 i,
                                          __u32 port_index, __u32 how) {
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!flow) return drop(port_index, PLEXUS_C_output_failed);
  const struct plexus_output* to = output_at(flow, i);
  if (!to) return drop(port_index, PLEXUS_C_output_failed);

  __u32 ifindex, out_index;
  if (to->port == PLEXUS_TUNNEL_PORT) {
    __u32 zero = 0;
    const struct plexus_tunnel* t = bpf_map_lookup_elem(&tunnel, &zero);
    if (!t || !t->ifindex) return drop(port_index, PLEXUS_C_no_tunnel);
    int reason = set_tunnel(skb, t, to);
    if (reason) return drop(port_index, reason);
    ifindex = t->ifindex;
    out_index = PLEXUS_TUNNEL_INDEX;
  } else {
    __u32 number = to->port;
    const struct plexus_port* port = port_of(number);
    if (!port) return drop(port_index, PLEXUS_C_unknown_output_port);
    ifindex = port->ifindex;
    out_index = port->index;
    if ((how & PLEXUS_SEND_LAST) && (how & PLEXUS_SEND_PEER) && may_jump(skb, port))
      return jump(skb, port);
  }
  if (!(how & PLEXUS_SEND_LAST)) {
    if (bpf_clone_redirect(skb, ifindex, 0)) return drop(port_index, PLEXUS_C_output_failed);
    count_sent(skb, out_index);
    return TC_ACT_OK;
  }
  count_sent(skb, out_index);
  return (int)bpf_redirect(ifindex, 0);
}

// Writes the tunnel's headers ourselves if the entry's last output is a tunnel and that is possible. PLEXUS_NOT_ENCAPSULATED,
// and the packet is as it was; or the verdict. Global: looked at by the verifier once.
__attribute__((noinline)) int encapsulate_last(struct __sk_buff* skb, const struct plexus_parsed* p,
                                               __u32 entry, __u32 port_index) {
  const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
  if (!p || !flow || !flow->outputs) return PLEXUS_NOT_ENCAPSULATED;
  const struct plexus_output* to = output_at(flow, flow->outputs - 1u);
  if (!to || to->port != PLEXUS_TUNNEL_PORT) return PLEXUS_NOT_ENCAPSULATED;
  return encapsulate(skb, p, to, port_index);
}

// Sends copies to the first `n` outputs of an entry. Global: looked at by the verifier once.
__attribute__((noinline)) int send_copies(struct __sk_buff* skb, __u32 entry, __u32 n,
                                          __u32 port_index, __u32 how) {
  for (__u32 i = 0; i < PLEXUS_MAX_OUTPUTS; ++i) {
    if (i >= n) break;
    send_output(skb, entry, i, port_index, how & ~PLEXUS_SEND_LAST);
  }
  return 0;
}

// Whether the program writes into packets other than by helpers. Known when compiling: for such a program the kernel first makes every
// packet writable that somebody else holds a copy of, so those that do it seldom do without.
static __always_inline int writes(__u32 how) {
  return how & PLEXUS_SEND_ENCAPSULATED;
}

// Sends the packet itself to output `i`, an entry's last.
static __always_inline int send_last(struct __sk_buff* skb, const struct plexus_parsed* parsed,
                                     __u32 entry, __u32 i, __u32 port_index, __u32 how) {
  if (writes(how)) {
    int verdict = encapsulate_last(skb, parsed, entry, port_index);
    if (verdict != PLEXUS_NOT_ENCAPSULATED) return verdict;
  }
  return send_output(skb, entry, i, port_index, how | PLEXUS_SEND_LAST);
}

// Runs a flow's actions. `entry` is the flow's, `parsed` describes the packet as it came.
static __always_inline int run_actions(struct __sk_buff* skb, const struct plexus_parsed* parsed,
                                       __u32 entry, __u32 port_index, __u32 how) {
  int ip = parsed->key.eth_type == bpf_htons(PLEXUS_ETH_IPV4) ||
           parsed->key.eth_type == bpf_htons(PLEXUS_ETH_IPV6);
  __u32 before = 0;  // fields of the last rewrite that was made
  for (int group = 0; group < PLEXUS_MAX_GROUPS; ++group) {
    const struct plexus_flow* flow = bpf_map_lookup_elem(&flow_entries, &entry);
    if (!flow) return drop(port_index, PLEXUS_C_output_failed);
    __u32 next = flow->next, fields = flow->rewrite.fields, outputs = flow->outputs;
    if (outputs == 0 || outputs > PLEXUS_MAX_OUTPUTS)
      return drop_by_flow(port_index, flow->drop_reason);
    // The class promises enough TTL; a packet that loops for ever would be the price of believing it.
    if ((fields & PLEXUS_DEC_TTL) && ip && parsed->key.ip_ttl <= flow->rewrite.ttl_decrement) {
      int verdict = drop(port_index, PLEXUS_C_ttl_exceeded);
      if (!next) return verdict;
    } else {
      int reason = 0;
      if (before)
        reason = rewrite_again(skb, parsed, entry, before);
      else if (fields && (!writes(how) || rewrite_routed(skb, parsed, &flow->rewrite)))
        reason = rewrite(skb, parsed, &flow->rewrite);
      if (reason) return drop(port_index, reason);
      before = fields;
      __u32 copies = next ? outputs : outputs - 1;
      if (copies) send_copies(skb, entry, copies, port_index, how);
      if (!next) return send_last(skb, parsed, entry, outputs - 1, port_index, how);
    }
    entry = next;
  }
  return drop(port_index, PLEXUS_C_output_failed);
}

#endif
