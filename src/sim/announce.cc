// SPDX-License-Identifier: Apache-2.0
#include "sim/announce.h"

#include "packet/build.h"

namespace plexus::sim {
namespace {

const IpAddr kAllNodes = IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});

bool is_router(const model::Snapshot& snapshot, PortId id) {
  const model::Port* port = snapshot.port(id);
  const model::Port* peer = port != nullptr ? snapshot.peer(*port) : nullptr;
  return peer != nullptr && std::holds_alternative<RouterId>(peer->device);
}

}  // namespace

std::vector<Generated> announcements(const model::Snapshot& before, const model::Snapshot& now,
                                     const model::Delta& delta) {
  std::vector<Generated> all;
  for (const auto& [bridge, address] : delta.addresses) {
    if (all.size() == kMaxAnnounced) break;
    if (address.is_multicast()) continue;  // a solicited-node group
    const auto had = before.address_owners(bridge, address);
    const auto has = now.address_owners(bridge, address);
    if (had.size() != 1 || has.size() != 1 || had.front().mac == has.front().mac) continue;
    const model::Bridge* record = now.bridge(bridge);
    if (record == nullptr || !record->admin_up || record->unreadable) continue;
    const auto& [owner, mac] = has.front();
    Actions actions;
    for (PortId id : now.flood_set(bridge).local) {
      const auto number = now.dp_port(id);
      if (id != owner && number) actions.copies.push_back({{}, LocalOutput{*number}});
    }
    if (actions.drops()) continue;
    all.push_back(
        {address.is_v4()
             ? arp_request(mac, address, address)
             : nd_advert(mac, address, multicast_mac_of(kAllNodes), kAllNodes,
                         {.router = is_router(now, owner), .solicited = false, .override_ = true}),
         std::move(actions)});
  }
  return all;
}

}  // namespace plexus::sim
