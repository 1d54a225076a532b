// SPDX-License-Identifier: Apache-2.0
// Flows as the kernel programs want them, and back. Pure functions; decompile(compile(f)) == f.
#pragma once

#include <vector>

#include "bpf/abi.h"
#include "datapath/datapath.h"

namespace plexus::datapath {

struct CompiledFlow {
  bool short_key = false;  ///< some packet that is not IPv6 can match
  bool ipv6_key = false;   ///< some IPv6 packet can match
  uint16_t mtu = 0;
  uint16_t flags = 0;  ///< PLEXUS_FLOW_ bits
  plexus_rewrite rewrite{};
  std::vector<plexus_output> outputs;
};

/// invalid: the flow is malformed (see check_flow), or an action is. unsupported: copies with different rewrites, or too many:
/// such packets have to be upcalled and executed.
[[nodiscard]] Result<CompiledFlow> compile(const Flow& flow);

/// Actions whose copies all have the same rewrite.
[[nodiscard]] Result<CompiledFlow> compile(const Actions& actions);
/// `outputs`: of this entry, wherever they are kept.
[[nodiscard]] Actions decompile(const plexus_flow& entry, std::span<const plexus_output> outputs);

[[nodiscard]] plexus_key to_kernel(const FlowKey& key);
[[nodiscard]] FlowKey from_kernel(const plexus_key& key);
/// IPv4 as ::ffff:a.b.c.d.
void to_kernel(const IpAddr& address, uint8_t (&out)[16]);
[[nodiscard]] IpAddr address_from_kernel(const uint8_t (&in)[16]);

}  // namespace plexus::datapath
