// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The two ends of a measurement.
//
//   generate  XDP, run by BPF_PROG_TEST_RUN with live frames: writes the next packet of the pattern and hands it to
//             the network stack (as received), out of an interface, or to nobody (what generating itself costs)
//   sink      tc, on the way in of the interface where the packets should arrive: counts those that are as they
//             should be, counts the others apart, and takes both away
//
// Everything that does not change during a run is read-only data, filled in before loading.
// libbpf's headers need the types of the kernel's, which come first.
// clang-format off
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define MAX_FRAME_WORDS 16  // of eight bytes
// Flows of one destination port; the next ones have the next one. So many source ports.
#define FLOWS_PER_PORT 16384
// A prime, so that any `flows` packets in a row are of `flows` different flows.
#define FLOW_STRIDE 7919

// ---- generate ---------------------------------------------------------------------------------------------------
const volatile __u64 template_words[MAX_FRAME_WORDS];  // the frame of flow 0
const volatile __u32 frame_length = 64;                // a multiple of two
const volatile __u32 flows = 1;
const volatile __u32 source_port_at =
    34;  // where the flow's number goes: the UDP source port, and the one behind it
const volatile __u32 first_source_port = 1024;
// With VXLAN: where the outer UDP source port is, which tells flows apart too; 0: none.
const volatile __u32 outer_port_at = 0;
const volatile __u32 verdict = XDP_DROP;
const volatile __u32 redirect_ifindex = 0;

__u64 next_packet = 0;

SEC("xdp")
int generate(struct xdp_md* ctx) {
  __u8* frame = (void*)(long)ctx->data;
  __u8* end = (void*)(long)ctx->data_end;
  __u32 length = frame_length, left = length & 7;
  __u32 source_at = source_port_at, outer_at = outer_port_at;

  // A frame comes back from its last trip with whatever was made of it, so all of it is written every time.
#pragma unroll
  for (__u32 i = 0; i < MAX_FRAME_WORDS; ++i) {
    if (8 * i + 8 > length) break;
    if (frame + 8 * i + 8 > end) return XDP_ABORTED;
    *(__u64*)(frame + 8 * i) = template_words[i];
  }
  if (left) {
    __u32 at = length - left;
    __u64 last = template_words[(at / 8) & (MAX_FRAME_WORDS - 1)];
#pragma unroll
    for (__u32 i = 0; i < 3; ++i) {
      if (2 * i >= left) break;
      if (frame + at + 2 * i + 2 > end) return XDP_ABORTED;
      *(__u16*)(frame + at + 2 * i) = (__u16)(last >> (16 * i));
    }
  }

  __u32 flow = (__u32)((next_packet++ * FLOW_STRIDE) % flows);
  if (frame + source_at + 2 > end) return XDP_ABORTED;
  *(__u16*)(frame + source_at) = bpf_htons((__u16)(first_source_port + flow % FLOWS_PER_PORT));
  if (flow >= FLOWS_PER_PORT) {
    if (frame + source_at + 4 > end) return XDP_ABORTED;
    __u16 port = bpf_ntohs(*(__u16*)(frame + source_at + 2));
    *(__u16*)(frame + source_at + 2) = bpf_htons((__u16)(port + flow / FLOWS_PER_PORT));
  }
  if (outer_at) {
    if (frame + outer_at + 2 > end) return XDP_ABORTED;
    *(__u16*)(frame + outer_at) = bpf_htons((__u16)(0xc000 | (flow & 0x3fff)));
  }
  return redirect_ifindex ? (int)bpf_redirect(redirect_ifindex, 0) : (int)verdict;
}

// ---- sink -------------------------------------------------------------------------------------------------------
const volatile __u32 expected_length = 64;
// The (inner) destination: six bytes in memory order, then two zero bytes.
const volatile __u64 expected_mac = 0;
const volatile __u32 mac_at = 0;
const volatile __u32 expected_ttl = 64;
const volatile __u32 ttl_at = 22;
const volatile __u32 expected_port = 0;  // the (inner) UDP destination port, the first of
const volatile __u32 expected_ports = 1;
const volatile __u32 port_at = 36;

struct arrivals {
  __u64 good;
  __u64 wrong;  // ours by their port, but not of the right length, TTL or destination MAC
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct arrivals);
} arrived SEC(".maps");

SEC("tc")
int sink(struct __sk_buff* skb) {
  __u8* frame = (void*)(long)skb->data;
  __u8* end = (void*)(long)skb->data_end;
  __u32 zero = 0, mac = mac_at, ttl = ttl_at, port = port_at;
  struct arrivals* count = bpf_map_lookup_elem(&arrived, &zero);
  if (!count) return TC_ACT_OK;
  if (frame + port + 2 > end || frame + ttl + 1 > end || frame + mac + 6 > end) return TC_ACT_OK;
  if ((__u32)bpf_ntohs(*(__be16*)(frame + port)) - expected_port >= expected_ports)
    return TC_ACT_OK;
  __u64 to = *(__u32*)(frame + mac) | (__u64)(*(__u16*)(frame + mac + 4)) << 32;
  if (skb->len == expected_length && frame[ttl] == expected_ttl && to == expected_mac) {
    count->good += 1;
  } else {
    count->wrong += 1;
  }
  return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
