// SPDX-License-Identifier: Apache-2.0
// The virtual topology as a drawing: routers, what hangs on their ports, and where the ports of VMs are bound. Pure; any
// thread.
#pragma once

#include <string>
#include <vector>

#include "cli/table.h"
#include "codec/node.h"

namespace plexus::cli {

/// Documents as the API answers them. `bindings` and `host_states` (of /v1/status) may be empty.
struct TopologyDocuments {
  std::vector<codec::Node> hosts, bridges, routers, ports, routes, bindings, host_states;
};

[[nodiscard]] std::string draw_topology(const TopologyDocuments& topology, const Palette& palette);

}  // namespace plexus::cli
