// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The two ends of ./bench setup and ./bench fairness: every packet may be the first of its class.
//
//   generate_classes  XDP, run by BPF_PROG_TEST_RUN with live frames: writes the next packet, with a destination address
//                     of its own, and hands it to the network stack as received
//   sink_classes      tc, on the way in of the interface where the packets should arrive: counts them, notes how long
//                     each probe has taken, and takes them away
//
// What changes between two bursts is plain data that user space has mapped.
// libbpf's headers need the types of the kernel's, which come first.
// clang-format off
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define FRAME_WORDS 8  // of eight bytes: Ethernet, IPv4, UDP, 22 bytes of payload
#define CHECKSUM_AT 24
#define DESTINATION_AT 30
#define PORT_AT 36
#define TIME_AT 48  // when the packet was made, CLOCK_MONOTONIC, ns
#define FRAME_BYTES 64
#define PROBES 65536  // a power of two

// ---- generate ---------------------------------------------------------------------------------------------------
__u64 template_words[FRAME_WORDS];  // the frame with destination address 0, and its checksum
__u32 next_destination = 0;         // host order

SEC("xdp")
int generate_classes(struct xdp_md* ctx) {
  __u8* frame = (void*)(long)ctx->data;
  __u8* end = (void*)(long)ctx->data_end;
  if (frame + FRAME_BYTES > end) return XDP_ABORTED;
    // A frame comes back from its last trip with whatever was made of it, so all of it is written every time.
#pragma unroll
  for (__u32 i = 0; i < FRAME_WORDS; ++i) *(__u64*)(frame + 8 * i) = template_words[i];
  __u32 destination = next_destination++;
  __u32 sum = (__u16)~bpf_ntohs(*(__be16*)(frame + CHECKSUM_AT));
  sum += (destination >> 16) + (destination & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  *(__be16*)(frame + CHECKSUM_AT) = bpf_htons((__u16)~sum);
  *(__be16*)(frame + DESTINATION_AT) = bpf_htons((__u16)(destination >> 16));
  *(__be16*)(frame + DESTINATION_AT + 2) = bpf_htons((__u16)destination);
  *(__u64*)(frame + TIME_AT) = bpf_ktime_get_ns();
  return XDP_PASS;
}

// ---- sink -------------------------------------------------------------------------------------------------------
const volatile __u16 class_port = 9;  // UDP destination ports
const volatile __u16 probe_port = 7;

__u64 arrived = 0, probes_arrived = 0;

// How long probe number n, modulo the size, was on its way, ns.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, PROBES);
  __type(key, __u32);
  __type(value, __u64);
} probe_times SEC(".maps");

SEC("tc")
int sink_classes(struct __sk_buff* skb) {
  __u8* frame = (void*)(long)skb->data;
  __u8* end = (void*)(long)skb->data_end;
  if (frame + FRAME_BYTES > end) return TC_ACT_OK;
  __u16 port = bpf_ntohs(*(__be16*)(frame + PORT_AT));
  if (port == class_port) {
    __sync_fetch_and_add(&arrived, 1);
    return TC_ACT_SHOT;
  }
  if (port != probe_port) return TC_ACT_OK;
  __u32 at = (__u32)__sync_fetch_and_add(&probes_arrived, 1) & (PROBES - 1);
  __u64* time = bpf_map_lookup_elem(&probe_times, &at);
  if (time) *time = bpf_ktime_get_ns() - *(__u64*)(frame + TIME_AT);
  return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
