// SPDX-License-Identifier: Apache-2.0
#include "agent/sources_in_use.h"

#include <set>
#include <utility>

#include "base/log.h"

namespace plexus::agent {

std::vector<sim::StateWrite> sources_in_use(datapath::Datapath& datapath,
                                            const model::Snapshot& snapshot, MonoTime since) {
  std::vector<sim::StateWrite> seen;
  const auto flows = datapath.dump_flows();
  if (!flows) {
    log_warn("worker", "reading which MACs are in use: {}", flows.error().message);
    return seen;
  }
  std::set<std::pair<uint32_t, MacAddr>> told;
  for (const datapath::FlowEntry& entry : *flows) {
    const Match& match = entry.flow.match;
    if (entry.stats.packets == 0 || entry.stats.last_used < since ||
        match.mask.src_mac() != kBroadcastMac)
      continue;
    const MacAddr mac = match.key.src_mac();
    const auto port = snapshot.local_port(DpPort{match.key.in_port});
    if (!port || !told.emplace(match.key.in_port, mac).second) continue;
    const model::Port* record = snapshot.port(*port);
    const auto* bridge = record != nullptr ? std::get_if<BridgeId>(&record->device) : nullptr;
    if (bridge == nullptr) continue;
    const auto known = snapshot.learned_mac(*bridge, mac);
    if (known && known->port == *port) seen.emplace_back(sim::MacLearned{*bridge, *port, mac});
  }
  return seen;
}

}  // namespace plexus::agent
