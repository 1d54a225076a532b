// SPDX-License-Identifier: Apache-2.0
#include "sim/outside_address.h"

#include <algorithm>

namespace plexus::sim {

const model::FloatingIp* working_floating_ip(const model::Snapshot& snapshot,
                                             const model::AddressUses& uses) {
  if (uses.floating_ips.empty()) return nullptr;
  const model::FloatingIp* floating = snapshot.floating_ip(uses.floating_ips.front());
  const bool works = floating != nullptr && floating->admin_up && floating->inside &&
                     floating->inside->family == floating->address.family;
  return works ? floating : nullptr;
}

bool answers_for_outside(const model::Snapshot& snapshot, RouterId router, const model::Port& port,
                         const IpAddr& address) {
  const model::TranslationTable* table = snapshot.translations(router);
  if (table == nullptr) return false;
  if (std::none_of(port.networks.begin(), port.networks.end(), [&](const IpPrefix& n) {
        return n.contains(address) && n.broadcast() != address;
      }))
    return false;
  const model::AddressUses* uses = table->outside(address).uses;
  if (uses == nullptr) return false;
  if (uses->floating_ips.empty()) return true;
  const model::FloatingIp* floating = working_floating_ip(snapshot, *uses);
  return floating != nullptr && !floating->unreadable;
}

}  // namespace plexus::sim
