// SPDX-License-Identifier: Apache-2.0
// Outside addresses: which of the addresses that a router translates it answers for, and by which ports. Pure.
#pragma once

#include "model/snapshot.h"
#include "model/translation_table.h"

namespace plexus::sim {

/// The floating address that stands for somebody now, of those that have an address; nullptr: none does.
[[nodiscard]] const model::FloatingIp* working_floating_ip(const model::Snapshot& snapshot,
                                                           const model::AddressUses& uses);

/// Whether the router answers ARP and neighbour discovery for an address of its translations by this port of its.
[[nodiscard]] bool answers_for_outside(const model::Snapshot& snapshot, RouterId router,
                                       const model::Port& port, const IpAddr& address);

}  // namespace plexus::sim
