// SPDX-License-Identifier: Apache-2.0
#include "agent/sources_in_use.h"

#include <set>
#include <utility>

namespace plexus::agent {

std::vector<sim::StateWrite> sources_in_use(const FlowTable& flows, const model::Snapshot& snapshot,
                                            MonoTime since) {
  std::vector<sim::StateWrite> seen;
  std::set<std::pair<PortId, MacAddr>> told;
  flows.for_each([&](const InstalledFlow& flow) {
    const Match& match = flow.match;
    if (flow.last_used < since || match.mask.src_mac() != kBroadcastMac) return;
    const MacAddr mac = match.key.src_mac();
    auto port = snapshot.local_port(DpPort{match.key.in_port});
    if (!port) return;
    // Behind an interface with sub-ports the tag tells whose machine it is.
    constexpr uint16_t kVlanId = 0x0fff;
    if (match.key.vlan_tci.host() != 0)
      if (const auto sub = snapshot.sub_port(*port, match.key.vlan_tci.host() & kVlanId))
        port = sub;
    if (!told.emplace(*port, mac).second) return;
    const model::Port* record = snapshot.port(*port);
    const auto* bridge = record != nullptr ? std::get_if<BridgeId>(&record->device) : nullptr;
    if (bridge == nullptr) return;
    const auto known = snapshot.learned_mac(*bridge, mac);
    if (known && known->port == *port) seen.emplace_back(sim::MacLearned{*bridge, *port, mac});
  });
  return seen;
}

}  // namespace plexus::agent
