// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The parser alone, for the differential test: runs under BPF_PROG_TEST_RUN, leaves its answer in a map.

#include "abi.h"
#include "lib/kernel.h"
#include "lib/parse.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct plexus_parsed);
} answer SEC(".maps");

SEC("tc")
int parse_probe(struct __sk_buff* skb) {
  struct plexus_parsed parsed = {};
  __u32 zero = 0;
  parse(skb, &parsed);
  bpf_map_update_elem(&answer, &zero, &parsed, 0);
  return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
