// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// What the kernel programs and user space agree on: the layout of every map's keys and values. Read by C (bpf/) and
// C++ (src/datapath/ebpf, which holds plexus_key equal to FlowKey by static_asserts).
//
// Maps outlive the agent: whoever changes a structure here raises PLEXUS_LAYOUT_VERSION, so that an agent never
// adopts maps that it would misread.
#ifndef PLEXUS_ABI_H
#define PLEXUS_ABI_H

#include <linux/types.h>

#define PLEXUS_LAYOUT_VERSION 6

// ---- limits ---------------------------------------------------------------------------------------------------
#define PLEXUS_MAX_PORT_MASKS 32  // masks that one port may have, for each of the two key sizes
#define PLEXUS_MAX_MASKS 4096     // different masks in all
#define PLEXUS_INLINE_OUTPUTS 4   // outputs that fit into a flow's entry
#define PLEXUS_MAX_OUTPUTS \
  64  // outputs of one flow: more than PLEXUS_INLINE_OUTPUTS live in a block
#define PLEXUS_MAX_REASONS 256     // numbers of drop reasons are below
#define PLEXUS_MAX_GROUPS 4        // different rewrites of the copies of one flow
#define PLEXUS_KEY_BYTES_SHORT 48  // the part of plexus_key that anything but IPv6 needs
#define PLEXUS_MAX_VLAN_TAGS 2     // as parse_packet; a tag in the skb's metadata counts
#define PLEXUS_MAX_IPV6_EXTENSIONS 8

// Port numbers: see plexus::DpPort.
#define PLEXUS_TUNNEL_PORT 1
// The tunnel port's place in the arrays that are indexed by port index. Local ports start behind it.
#define PLEXUS_TUNNEL_INDEX 0

// FragKind of flow_key.h.
#define PLEXUS_FRAG_NONE 0
#define PLEXUS_FRAG_FIRST 1
#define PLEXUS_FRAG_LATER 2

// ---- keys and masks -------------------------------------------------------------------------------------------
// FlowKey, byte for byte. `reserved` holds the mask's number in the keys of the flow maps.
struct plexus_key {
  __u32 in_port;
  __u32 tunnel_key;
  __u8 eth_dst[6];
  __u8 eth_src[6];
  __be16 eth_type;
  __be16 vlan_tci;
  __u8 ip_proto;
  __u8 ip_tos;
  __u8 ip_ttl;
  __u8 ip_frag;
  __be16 tp_src;
  __be16 tp_dst;
  __u8 tcp_flags;
  __u8 ct_state;
  __u16 reserved;
  __u32 zone;
  __u8 nw[32];
} __attribute__((aligned(8)));

// The part of plexus_key that is the key of the map `flows_short`.
struct plexus_key_short {
  __u64 words[PLEXUS_KEY_BYTES_SHORT / 8];
};

// The masks to try for one port and one key size, in this order.
struct plexus_mask_list {
  __u32 count;
  __u16 ids[PLEXUS_MAX_PORT_MASKS];
  __u32 reserved;
  struct plexus_key
      any;  // the bits that any of them has, perhaps more: packets that agree in them are of one class
};

// What classify.h remembers of a class of packets: the entry of its flow. Only a hint, checked against the entry itself.
struct plexus_class {
  __u32 entry;
  __u32 generation;  // of PLEXUS_CLASSES, see flow_store.h; others are not looked at
};
#define PLEXUS_CLASSES 4096  // per CPU; a power of two

// Value of both flow maps.
struct plexus_flow_ref {
  __u32 entry;  // index into flow_entries
  __u32 reserved;
};

// ---- flows ----------------------------------------------------------------------------------------------------
// Bits of plexus_rewrite.fields.
#define PLEXUS_SET_ETH_SRC (1 << 0)
#define PLEXUS_SET_ETH_DST (1 << 1)
#define PLEXUS_SET_IP4_SRC (1 << 2)
#define PLEXUS_SET_IP4_DST (1 << 3)
#define PLEXUS_SET_IP6_SRC (1 << 4)
#define PLEXUS_SET_IP6_DST (1 << 5)
#define PLEXUS_SET_TP_SRC (1 << 6)
#define PLEXUS_SET_TP_DST (1 << 7)
#define PLEXUS_SET_DSCP (1 << 8)
#define PLEXUS_DEC_TTL (1 << 9)
#define PLEXUS_POP_VLAN (1 << 10)   // the outermost tag, if there is one
#define PLEXUS_PUSH_VLAN (1 << 11)  // after that

struct plexus_rewrite {
  __u16 fields;
  __u8 ttl_decrement;
  __u8 dscp;
  __u8 eth_dst[6];
  __u8 eth_src[6];
  __be16 tp_src;
  __be16 tp_dst;
  __u16 vlan_tci;
  __u16 reserved;
  __u8 ip_src[16];  // IPv4 in the first four bytes
  __u8 ip_dst[16];
} __attribute__((aligned(8)));

// One way out.
struct plexus_output {
  __u32 port;        // PLEXUS_TUNNEL_PORT, or a local port's number
  __u32 tunnel_key;  // for the tunnel
  __u8 remote[16];   // for the tunnel; IPv4 as ::ffff:a.b.c.d
} __attribute__((aligned(8)));

// Bits of plexus_flow.flags. A flow that answers has no outputs: the packet becomes its answer (answer.h), which says
// that rewrite.ip_dst is at rewrite.eth_src.
#define PLEXUS_FLOW_ANSWERS (1 << 0)
#define PLEXUS_FLOW_ANSWERS_AS_ROUTER (1 << 1)
// A VLAN tag has been, or is to be, taken off: packets with another one behind it are upcalls, since no key tells of that.
#define PLEXUS_FLOW_TAKES_TAG (1 << 2)

// Everything about one flow but its statistics. Never changed while a flow map refers to it: a changed flow gets a
// new entry, and an entry is used again only after an RCU grace period.
//
// Copies with different rewrites take an entry for each rewrite, at most PLEXUS_MAX_GROUPS, chained by `next`; only rewrite
// and outputs count in the later ones. Entries that take a VLAN tag off come last: it cannot be put back.
struct plexus_flow {
  // Masked, with the mask's number: readers compare it, see classify.h. in_port is 0 as long as no flow map names the entry.
  struct plexus_key key;
  __u64 cookie;       // the installer's
  __u32 stats;        // index into flow_stats
  __u16 outputs;      // how many; 0 drops
  __u16 block;        // with more than PLEXUS_INLINE_OUTPUTS: index into output_blocks
  __u16 mtu;          // larger packets (see larger_than()) are upcalls; 0: of any size
  __u16 flags;        // PLEXUS_FLOW_ bits
  __u32 next;         // the entry with the copies that have another rewrite; 0: no more
  __u16 drop_reason;  // of a flow that drops: the number of a sim::DropReason
  __u16 reserved;
  __u32
      storm_limit;  // packets a second, of all such flows of the port together (bucket.h); 0: any number
  struct plexus_rewrite rewrite;  // of the packet as it came
  struct plexus_output inline_outputs[PLEXUS_INLINE_OUTPUTS];
} __attribute__((aligned(8)));

struct plexus_output_block {
  struct plexus_output outputs[PLEXUS_MAX_OUTPUTS];
};

struct plexus_flow_stats {
  __u64 packets;
  __u64 bytes;
  __u64 last_used;  // CLOCK_MONOTONIC, ns
  __u64 reserved;
};

// ---- ports ----------------------------------------------------------------------------------------------------
#define PLEXUS_PORT_HAS_PEER_MAC \
  (1 << 0)  // a veth whose peer is in another namespace: peer_mac is valid
#define PLEXUS_PORT_IPV6_WAS_ON \
  (1 << 1)  // user space switched IPv6 off on the interface; undone on release

struct plexus_port {
  __u32 ifindex;
  __u32 index;  // into the arrays kept per port
  __u32 flags;
  __u32 number;    // its own, and 0 in a free place of `port_slots`
  __u64 peer_mac;  // its six bytes in memory order, then two zero bytes
  char name[16];   // the interface's
};

// Found by ifindex, where frames come in.
struct plexus_interface {
  __u32 port;
  __u32 index;
  __u32 ifindex;  // its own, and 0 in a free place of `interface_slots`
  __u32 reserved;
};

// Places of `port_slots` and `interface_slots`, by the low bits of the port's number and of the ifindex. One that finds its place
// taken is found in the hash map only.
#define PLEXUS_SLOTS 4096  // a power of two

struct plexus_port_stats {
  __u64 rx_packets;
  __u64 rx_bytes;
  __u64 tx_packets;
  __u64 tx_bytes;
  __u64 drops;
  __u64 upcalls_limited;
};

// A token bucket in one number: the time up to which the port's tokens have been used (see bucket.h).
struct plexus_bucket {
  __u64 used_until;
};
#define PLEXUS_STORM_BURST 1000000000ull  // ns: what is not sent to many is saved up for so long

// ---- tunnel ---------------------------------------------------------------------------------------------------
struct plexus_tunnel {
  __u32 ifindex;   // of the vxlan device; 0: no tunnel
  __u32 udp_port;  // kept for the next agent
  __u8 local[16];  // IPv4 as ::ffff:a.b.c.d
  // For encapsulate.h; renewed by each agent.
  __u32
      lookup_ifindex;  // an interface to look up routes from, which forwards; 0: leave it to the vxlan device
  __u16 first_source_port;  // the outer UDP source ports that the vxlan device uses
  __u16 source_ports;       // how many
  // For decapsulate.h: the interface where our program takes the headers off itself; 0: the vxlan device does all. Only with an
  // IPv4 address.
  __u32 underlay_ifindex;
};

struct plexus_peer {
  __u8 address[16];  // IPv4 as ::ffff:a.b.c.d
};

// ---- upcalls --------------------------------------------------------------------------------------------------
struct plexus_upcall {
  __u32 in_port;
  __u32 tunnel_key;
  __u32 length;  // bytes of `frame` in use
  __u16 gso_size;
  __u16 port_index;  // whose account in upcalls_waiting it is on
  __u8 frame[];
};

// What a record of this many bytes costs its port while it waits in the ring: never less than a kilobyte, so that
// many small ones do not take more of the agent's time than a few large ones.
#define PLEXUS_UPCALL_COST(bytes) ((bytes) < 1024 ? 1024 : (bytes))

// Into so many packets a UDP packet without a flow may have to be cut: UDP_MAX_SEGMENTS of the kernel.
#define PLEXUS_MAX_UDP_SEGMENTS 128

// The largest frame that is handed up: a 64 KiB GSO packet with its Ethernet header and tags.
#define PLEXUS_MAX_FRAME 65568

// ---- injection ------------------------------------------------------------------------------------------------
// skb->mark of an injected frame: this, with the number of its flow entry in the low 16 bits.
#define PLEXUS_INJECT_MARK 0x504c0000u
// Entries below this number belong to injection, never to a flow.
#define PLEXUS_INJECT_ENTRIES 1

// Many frames at once, see inject.h.
#define PLEXUS_INJECT_BATCH 64        // frames in one go
#define PLEXUS_INJECT_MAX_FRAME 2032  // larger ones go one by one
#define PLEXUS_INJECT_LEAST_FRAME 14  // an Ethernet header; what a run starts from

struct plexus_injected {
  __u32 entry;  // its actions: an entry that is no flow's
  __u32 length;
  __u64 reserved;
  __u8 frame[PLEXUS_INJECT_MAX_FRAME];
};

// ---- counters -------------------------------------------------------------------------------------------------
// The first ones in the order of ParseError, whose `none` has no use for its place: PLEXUS_C_parse_none stays 0.
// X(name): the name is the drop reason.
#define PLEXUS_PARSE_ERRORS(X) \
  X(parse_none)                \
  X(truncated_ethernet)        \
  X(truncated_vlan)            \
  X(truncated_arp)             \
  X(bad_arp)                   \
  X(truncated_ipv4)            \
  X(bad_ipv4)                  \
  X(truncated_ipv6)            \
  X(bad_ipv6)                  \
  X(bad_ipv6_extension)        \
  X(truncated_l4)              \
  X(bad_l4)

#define PLEXUS_DROPS(X)                                                                  \
  X(by_flow)              /* the flow's verdict */                                       \
  X(unknown_port)         /* from an interface that is no port (any more) */             \
  X(unknown_output_port)  /* to a port that is not there (any more) */                   \
  X(unknown_tunnel_peer)  /* from a host that is not in the list of peers */             \
  X(no_tunnel)            /* there is no tunnel device, or it refuses the key */         \
  X(ttl_exceeded)         /* a flow decrements the TTL of a packet that has none left */ \
  X(rewrite_failed)       /* the kernel could not make the header writable */            \
  X(output_failed)        /* the kernel refused a copy: no memory, interface down */     \
  X(too_large_for_upcall) /* more than PLEXUS_MAX_FRAME bytes, and no flow */            \
  X(bad_injection)        /* injected by us, but without actions */                      \
  X(storm_limit)          /* more of a port that go to many than its limit */            \
  X(bad_checksum_offload) /* its checksum would be written into what was looked at */    \
  X(bad_segmentation)     /* UDP to be cut into too many, or into fragments; no flow */

#define PLEXUS_EVENTS(X) \
  X(flow_hits)           \
  X(flow_misses)         \
  X(upcalls)             \
  X(upcalls_limited)     \
  X(upcalls_lost)

enum plexus_counter {
#define PLEXUS_X(name) PLEXUS_C_##name,
  PLEXUS_PARSE_ERRORS(PLEXUS_X) PLEXUS_DROPS(PLEXUS_X) PLEXUS_EVENTS(PLEXUS_X)
#undef PLEXUS_X
      PLEXUS_COUNTERS
};

// ---- tc -------------------------------------------------------------------------------------------------------
// Our filters' place in a clsact qdisc, so that we find our own again and replace nobody else's.
#define PLEXUS_TC_PRIORITY 0x5058
#define PLEXUS_TC_HANDLE 1

// ---- for the parser's differential test -------------------------------------------------------------------------
struct plexus_parsed {
  struct plexus_key key;
  __u16 error;  // ParseError
  __u16 l3_offset;
  __u16 l4_offset;
  __be16 icmp_id;  // of an echo: the word behind the checksum
  __u32 length;
  __u32 covered;  // where the headers end that the key tells of
};

#endif
