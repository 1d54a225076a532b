// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The kernel's and libbpf's headers, in the order they need: libbpf's use types that they do not include.
#ifndef PLEXUS_LIB_KERNEL_H
#define PLEXUS_LIB_KERNEL_H

// clang-format off
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#define PLEXUS_PACKET_HOST 0  // linux/if_packet.h

#endif
