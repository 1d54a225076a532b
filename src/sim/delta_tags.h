// SPDX-License-Identifier: Apache-2.0
// From what changed in the model to which flows must go: the tags and regions that simulations depend on.
#pragma once

#include <optional>
#include <vector>

#include "flow/tag.h"
#include "model/topology.h"

namespace plexus::sim {

/// Every flow whose answer the delta can change carries one of these tags and meets its region (or has read that
/// table with a rewritten header, see Dependency).
[[nodiscard]] std::vector<TagChange> tags_of(const model::Delta& delta);

// How dependencies are named; the simulator and tags_of() agree through these.
[[nodiscard]] Tag bridge_tag(BridgeId id);
[[nodiscard]] Tag mac_tag(BridgeId id, const MacAddr& mac);
[[nodiscard]] Tag flood_tag(BridgeId id);
[[nodiscard]] Tag address_tag(BridgeId id, const IpAddr& address);  ///< kind neighbour, of a bridge
[[nodiscard]] Tag router_tag(RouterId id);
/// The ways to a destination, from a packet that found its best one at a prefix of `length`; of a packet that found
/// none: nullopt. Changes at shorter prefixes do not concern it.
[[nodiscard]] Tag routes_tag(RouterId id, std::optional<unsigned> length);
/// Which addresses the router has, and on which ports.
[[nodiscard]] Tag router_addresses_tag(RouterId id);
[[nodiscard]] Tag port_tag(PortId id);
/// Whether the port learns more MACs.
[[nodiscard]] Tag learning_tag(PortId id);
[[nodiscard]] Tag neighbour_tag(PortId id, const IpAddr& address);
[[nodiscard]] Tag tunnel_key_tag(uint32_t key);
[[nodiscard]] Tag host_tag(HostId id);

}  // namespace plexus::sim
