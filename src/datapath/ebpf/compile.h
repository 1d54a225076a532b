// SPDX-License-Identifier: Apache-2.0
// Flows as the kernel programs want them, and back. Pure functions; decompile(compile(f)) is f, but for the order of its copies.
#pragma once

#include <array>
#include <vector>

#include "bpf/abi.h"
#include "datapath/datapath.h"

namespace plexus::datapath {

/// The copies that have the same rewrite: one entry of the kernel's.
struct CompiledGroup {
  plexus_rewrite rewrite{};
  size_t outputs = 0;
};

struct CompiledFlow {
  bool short_key = false;  ///< some packet that is not IPv6 can match
  bool ipv6_key = false;   ///< some IPv6 packet can match
  uint16_t mtu = 0;
  uint16_t flags = 0;  ///< PLEXUS_FLOW_ bits
  uint32_t storm_limit = 0;
  /// The first `group_count` count, at least one; in the order in which the kernel makes them.
  std::array<CompiledGroup, PLEXUS_MAX_GROUPS> groups{};
  size_t group_count = 1;
  std::vector<plexus_output> outputs;  ///< group by group
};

/// invalid: the flow is malformed (see check_flow), or an action is. unsupported: more than PLEXUS_MAX_GROUPS different rewrites or
/// PLEXUS_MAX_OUTPUTS copies: such packets have to be upcalled and executed.
[[nodiscard]] Result<CompiledFlow> compile(const Flow& flow);
[[nodiscard]] Result<CompiledFlow> compile(const Actions& actions);
/// Adds what one entry does to `out`; of a flow with several, in their order. `outputs`: the entry's, wherever they are kept.
void decompile(const plexus_flow& entry, std::span<const plexus_output> outputs, Actions& out);

[[nodiscard]] plexus_key to_kernel(const FlowKey& key);
[[nodiscard]] FlowKey from_kernel(const plexus_key& key);
/// IPv4 as ::ffff:a.b.c.d.
void to_kernel(const IpAddr& address, uint8_t (&out)[16]);
[[nodiscard]] IpAddr address_from_kernel(const uint8_t (&in)[16]);

}  // namespace plexus::datapath
