// SPDX-License-Identifier: Apache-2.0
// What the programs need to know of this host to write the tunnel's headers and take them off themselves
// (bpf/lib/encapsulate.h, bpf/lib/decapsulate.h), in the network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "netlink/route.h"

namespace plexus::datapath {

/// Which packets there are IPsec policies for. Then the programs must neither send nor receive by themselves: the packets would
/// pass by the policies.
struct IpsecPolicies {
  bool inbound = false, outbound = false;
};
/// Asks the kernel; none where it knows no IPsec.
[[nodiscard]] Result<IpsecPolicies> ipsec_policies();

/// The interface that packets to this address of ours come in by, if all of them do and they are Ethernet frames there: the
/// one that has the address. 0: none has it, or only one that nothing comes in by (the loopback interface).
[[nodiscard]] Result<uint32_t> underlay_interface(netlink::Route& route, const IpAddr& local);

/// The ports that the kernel's tunnels send from: `first`, and how many (ip_local_port_range).
struct SourcePorts {
  uint16_t first = 32768, count = 28231;
};
[[nodiscard]] SourcePorts tunnel_source_ports();

/// Lets routes be looked up as for a packet that came by this interface and is to be forwarded (the kernel refuses the
/// programs' question otherwise). For an interface that nothing is ever received on. False when that is not possible.
bool allow_lookups_from(const std::string& interface);

}  // namespace plexus::datapath
