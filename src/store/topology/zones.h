// SPDX-License-Identifier: Apache-2.0
// The tunnel zones, for an agent that looks for its own tunnel address. There are few; they are listed, not watched.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "packet/addr.h"
#include "store/store.h"

namespace plexus::store {

struct Zone {
  std::string name;
  std::vector<IpPrefix> prefixes;
  uint16_t udp_port = 4789;
};

/// All zones that this build can read; prefixes that it cannot are left out.
[[nodiscard]] Result<std::vector<Zone>> tunnel_zones(Store& store);

}  // namespace plexus::store
