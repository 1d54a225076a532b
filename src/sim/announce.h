// SPDX-License-Identifier: Apache-2.0
// Announcements: when an address of a bridge gets another MAC (a router port's MAC or a machine's was changed, an address
// went to another port), the machines at this host's ports are told, so that they need not wait until their own entries
// expire. Every host with ports on the bridge tells its own. So they are when a port moves to another host: what stands
// between them and the port (a bridge inside a guest, a switch outside) has to learn the way anew. So are outside addresses of
// translations (floating, virtual, of pools) that come to a router: routers outside keep their entries for hours. Pure.
#pragma once

#include <vector>

#include "model/snapshot.h"
#include "model/topology.h"
#include "sim/simulate.h"

namespace plexus::sim {

/// Of one change of the topology at most; the rest finds out by itself.
inline constexpr size_t kMaxAnnounced = 256;

/// A gratuitous ARP request (RFC 5227 3) or an unsolicited neighbour advertisement (RFC 4861 7.2.6) for each address that one
/// port had before and one has now, with another MAC, or at a port that is at another host now; out of all local ports of the
/// bridge but the one that has it. For the addresses of a router's uplink that has come here: out of the uplink. The same for
/// each outside address of a router's translations that a port of the router answers for and did not before, or with another
/// MAC; such an address may have been another router's before.
/// `delta` is what led from `before` to `now`.
[[nodiscard]] std::vector<Generated> announcements(const model::Snapshot& before,
                                                   const model::Snapshot& now,
                                                   const model::Delta& delta);

}  // namespace plexus::sim
