// SPDX-License-Identifier: Apache-2.0
// What the programs need to know of this host to write the tunnel's headers themselves (bpf/lib/encapsulate.h), in the
// network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace plexus::datapath {

/// Whether there are IPsec policies for what this host sends. Then the programs must not send by themselves: the
/// packets would pass by the policies. Asks the kernel; false where it knows no IPsec.
[[nodiscard]] Result<bool> has_ipsec_policies();

/// The ports that the kernel's tunnels send from: `first`, and how many (ip_local_port_range).
struct SourcePorts {
  uint16_t first = 32768, count = 28231;
};
[[nodiscard]] SourcePorts tunnel_source_ports();

/// Lets routes be looked up as for a packet that came by this interface and is to be forwarded (the kernel refuses the
/// programs' question otherwise). For an interface that nothing is ever received on. False when that is not possible.
bool allow_lookups_from(const std::string& interface);

}  // namespace plexus::datapath
