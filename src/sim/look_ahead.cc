// SPDX-License-Identifier: Apache-2.0
// While packets wait for their turn, the memory that their simulations will read first comes nearer.
#include <algorithm>
#include <array>

#include "sim/simulation.h"

namespace plexus::sim {

void look_ahead(std::span<const Packet> packets, const model::Snapshot& snapshot,
                const ConnectionView& connections) {
  const state::ConnectionTable* table = connections.table;
  if (table == nullptr || table->size() == 0) return;
  constexpr size_t kAtOnce = 64;
  std::array<state::ConnectionTable::Sought, kAtOnce> sought;
  while (!packets.empty()) {
    size_t count = 0;
    for (const Packet& packet : packets.first(std::min(packets.size(), kAtOnce))) {
      const auto id = snapshot.local_port(DpPort{packet.key.in_port});
      const model::Port* port = id ? snapshot.port(*id) : nullptr;
      if (port == nullptr) continue;
      const state::Sighting sighting = state::sighting_of(packet.parsed, packet.frame);
      if (sighting.kind != state::SightingKind::tracked) continue;
      sought[count] = table->look_ahead(zone_of(*port), sighting.tuple);
      ++count;
    }
    // Where a record stands is known when its slot is there.
    for (size_t i = 0; i < count; ++i) table->look_ahead(sought[i]);
    packets = packets.subspan(std::min(packets.size(), kAtOnce));
  }
}

}  // namespace plexus::sim
