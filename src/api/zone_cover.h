// SPDX-License-Identifier: Apache-2.0
// Tunnel zones that hosts live in. A host without a zone of its own takes its tunnel address from any that fits, so no
// reference says that it needs one; without any, all traffic to and from it stops.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/store.h"

namespace plexus::api {

/// What one request does to zones and hosts.
struct ZoneChanges {
  /// By the zone's id: its prefixes afterwards; none: it goes.
  std::map<Uuid, std::vector<IpPrefix>> zones;
  std::set<Uuid> gone_hosts;

  void becomes(const v1::TunnelZone& zone);
  void goes(const Uuid& zone) { zones[zone] = {}; }
};

/// in_use: names the hosts whose tunnel address was in a zone and would be in none. Hosts that have never told an
/// address do not count. What comes at the very same moment is not seen.
[[nodiscard]] Result<void> check_hosts_stay_covered(store::Store& store,
                                                    const ZoneChanges& changes);

}  // namespace plexus::api
