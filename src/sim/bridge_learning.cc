// SPDX-License-Identifier: Apache-2.0
// MAC learning: where frames from an unknown source enter a bridge. The MAC table is read at the source as it is at the
// destination, under the same tag, so that flows of a source go when it moves or is forgotten.
#include <algorithm>

#include "sim/simulation.h"

namespace plexus::sim {

void Simulation::learn_source(Journey& j, const model::Bridge& bridge, const model::Port& in) {
  // Devices make no sources, and what comes by a link or a tunnel was seen where it entered.
  if (!bridge.learning || in.peer || j.mask == nullptr || j.devices != 1 || j.from_tunnel) return;
  // Whole, but as far as fragments go each is learned from by itself: the mask gets it at the end.
  learns_ = true;
  const MacAddr mac = j.key.src_mac();
  depend(mac_tag(bridge.id, mac));
  if (mac.is_zero() || snapshot_.configured_port_of_mac(bridge.id, mac)) return;
  const auto known = snapshot_.learned_mac(bridge.id, mac);
  if (known && known->port == in.id) return;
  if (snapshot_.mac_held(bridge.id, mac)) {
    return note_at(j, DeviceKind::bridge, bridge,
                   "does not learn that {} is behind port {}: it moves too often", mac, in.name);
  }
  if (configured_behind_links(bridge.id, mac)) {
    return note_at(j, DeviceKind::bridge, bridge,
                   "does not learn that {} is behind port {}: it is configured behind a link", mac,
                   in.name);
  }
  depend(learning_tag(in.id));
  if (snapshot_.learning_full(in.id)) {
    return note_at(j, DeviceKind::bridge, bridge,
                   "does not learn that {} is behind port {}: too many are", mac, in.name);
  }
  note_at(j, DeviceKind::bridge, bridge, "learns that {} is behind port {}", mac, in.name);
  writes_.emplace_back(MacLearned{bridge.id, in.id, mac});
}

}  // namespace plexus::sim
