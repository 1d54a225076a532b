// SPDX-License-Identifier: Apache-2.0
// The virtual switch: to the port that has the MAC, or to all.
#include <algorithm>

#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// 01:80:c2:00:00:00 to 0f: spanning tree, pause, LLDP and the like end at the first bridge (IEEE 802.1Q 8.6.3).
constexpr MacAddr kReservedGroup{{0x01, 0x80, 0xc2, 0x00, 0x00, 0x00}};
constexpr unsigned kReservedGroupBits = 44;

}  // namespace

bool Simulation::for_next_bridge(Journey& j) {
  return j.eth_dst_starts(kReservedGroup, kReservedGroupBits);
}

bool Simulation::bridge_works(Journey& j, const model::Bridge& bridge) {
  if (bridge.unreadable) {
    drop_at(j, DropReason::newer_schema, DeviceKind::bridge, bridge,
            "its record is newer than this agent");
    return false;
  }
  if (!bridge.admin_up) {
    drop_at(j, DropReason::bridge_admin_down, DeviceKind::bridge, bridge,
            "is administratively down");
    return false;
  }
  return true;
}

void Simulation::bridge(Journey& j, const model::Bridge& bridge, const model::Port& in) {
  if (!bridge_works(j, bridge)) return;
  mark_at_bridge(j, bridge, in);
  if (j.eth_src_is_group()) {
    return drop_at(j, DropReason::bad_source_mac, DeviceKind::bridge, bridge,
                   "{} is a group address, nobody can be the source", j.key.src_mac());
  }
  if (!pass_in(j, in, bridge.in_chain, bridge.out_chain)) return;
  learn_source(j, bridge, in);
  if (answer_dhcp(j, bridge, in)) return;
  if (j.flooded != nullptr) {
    auto& seen = *j.flooded;
    if (std::find(seen.begin(), seen.end(), bridge.id) != seen.end()) {
      return drop_at(j, DropReason::bridge_loop, DeviceKind::bridge, bridge,
                     "this flooded frame has been here by another link");
    }
    seen.push_back(bridge.id);
  }
  if (j.eth_dst_is_group()) {
    if (for_next_bridge(j) && !carries_reserved(j, bridge)) {
      return drop_at(j, DropReason::reserved_multicast, DeviceKind::bridge, bridge,
                     "{} is for the next bridge only", j.key.dst_mac());
    }
    if (answer_on_bridge(j, bridge, in)) return;
    note_at(j, DeviceKind::bridge, bridge, "{} {}: to all other ports", j.key.dst_mac(),
            j.key.dst_mac().is_broadcast() ? "is the broadcast address" : "is a group");
    return flood(j, bridge, &in);
  }
  const MacAddr mac = j.eth_dst();
  depend(mac_tag(bridge.id, mac));
  auto port = snapshot_.port_of_mac(bridge.id, mac);
  if (!port) port = link_towards(bridge.id, mac);
  if (!port) {
    note_at(j, DeviceKind::bridge, bridge, "{} is unknown: to all other ports", mac);
    return flood(j, bridge, &in);
  }
  if (*port == in.id) {
    return drop_at(j, DropReason::hairpin, DeviceKind::bridge, bridge,
                   "{} is behind the port it came from, {}", mac, in.name);
  }
  note_at(j, DeviceKind::bridge, bridge, "{} is behind port {}", mac, port_name(*port));
  leave(j, *port);
}

void Simulation::flood(Journey& j, const model::Bridge& bridge, const model::Port* in) {
  depend(flood_tag(bridge.id));
  flooded_ = true;
  std::vector<BridgeId> seen{bridge.id};
  const bool first = j.flooded == nullptr;
  if (first) j.flooded = &seen;
  if (snapshot_.any_mirrors() && !j.copied) mirror(j, bridge.id, false);
  j.copied = true;
  for (PortId id : snapshot_.flood_set(bridge.id).links) {
    if (in != nullptr && id == in->id) continue;
    Journey copy = j;
    leave(copy, id);
  }
  flood_local(j, bridge, in);
  flood_remote(j, bridge);
  if (first) j.flooded = nullptr;
}

void Simulation::flood_local(Journey& j, const model::Bridge& bridge, const model::Port* in) {
  for (PortId id : snapshot_.flood_set(bridge.id).local) {
    if (in != nullptr && id == in->id) continue;
    Journey copy = j;
    leave(copy, id);
  }
}

void Simulation::flood_remote(Journey& j, const model::Bridge& bridge) {
  const auto& remote = snapshot_.flood_set(bridge.id).remote;
  if (!remote.empty() && !leaves_as_answer(j)) return;
  for (const auto& [id, count] : remote) {
    Journey copy = j;
    ++copy.depth;
    depend(host_tag(id));
    const model::Host* host = snapshot_.host(id);
    if (host == nullptr) {
      drop(copy, DropReason::dangling, DeviceKind::host, {}, id.uuid,
           "has ports on the bridge, but is not known");
      continue;
    }
    if (host->fenced) {
      drop_at(copy, DropReason::port_unbound, DeviceKind::host, *host, "is fenced");
      continue;
    }
    const auto key = std::lower_bound(host->flood_keys.begin(), host->flood_keys.end(), bridge.id,
                                      [](const auto& k, BridgeId b) { return k.first < b; });
    if (key == host->flood_keys.end() || key->first != bridge.id) {
      drop_at(copy, DropReason::port_unbound, DeviceKind::host, *host,
              "has ports on bridge {}, but no flood key for it yet", bridge.name);
      continue;
    }
    const auto address = tunnel_address(*host);
    if (!address) {
      drop_at(copy, DropReason::no_tunnel_address, DeviceKind::host, *host,
              "has no tunnel address that this host can reach");
      continue;
    }
    note_at(copy, DeviceKind::host, *host,
            "one copy for its ports on bridge {}: out by tunnel {} key {:#x}", bridge.name,
            *address, key->second);
    delivered(copy, {{}, {bridge.id.uuid}}, id);
    output(copy, TunnelOutput{*address, key->second});
  }
}

}  // namespace plexus::sim
