// SPDX-License-Identifier: Apache-2.0
// What an agent with another layout of the maps (an earlier version, other sizes) has left, read from its pins.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bpf/abi.h"
#include "datapath/datapath.h"

namespace plexus::datapath {

struct OldLayout {
  std::vector<std::pair<uint32_t, plexus_port>> ports;  ///< by number; the index is the old one
  plexus_tunnel tunnel{};
  std::vector<IpAddr> peers;
  std::vector<FlowEntry> flows;
};

/// `directory`: where its maps are pinned, named "v<version>-..."; they are not changed. unsupported: a version that cannot be
/// read. Flows that make no sense are left out.
[[nodiscard]] Result<OldLayout> read_layout(const std::string& directory);

}  // namespace plexus::datapath
