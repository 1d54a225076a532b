// SPDX-License-Identifier: Apache-2.0
#include "agent/parking.h"

#include <algorithm>

namespace plexus::agent {

Parking::Answer Parking::park(Parked&& newcomer) {
  const size_t bytes = newcomer.packet.frame.size();
  const uint32_t port = newcomer.packet.in_port.number;
  Answer answer = Answer::parked;
  Place goes = parked_.end();  // makes room
  const auto same = by_missing_.find(newcomer.missing);
  if (same != by_missing_.end() && same->second.size() >= limits_.packets_for_same) {
    // Of the newcomer's own port, if it has one there: nobody should lose packets to another port without need.
    const auto own = std::find_if(same->second.begin(), same->second.end(), [&](Place place) {
      return place->packet.in_port.number == port;
    });
    goes = own != same->second.end() ? *own : same->second.front();
  }
  if (!fits(newcomer, goes)) return Answer::refused;
  if (goes != parked_.end()) {
    newcomer.tries = std::max(newcomer.tries, goes->tries);
    newcomer.retry_at = goes->retry_at;
    forget(goes);
    parked_.erase(goes);
    answer = Answer::instead_of_another;
  }
  for (Account* account : {&ports_[port], &tenants_[newcomer.tenant]}) {
    ++account->packets;
    account->bytes += bytes;
  }
  parked_.push_back(std::move(newcomer));
  const Place place = std::prev(parked_.end());
  by_missing_[place->missing].push_back(place);
  return answer;
}

/// Whether there is room for a newcomer when `goes` (or nobody: the end) has gone.
bool Parking::fits(const Parked& newcomer, Place goes) {
  const bool one_goes = goes != parked_.end();
  Account port, tenant;
  if (const auto it = ports_.find(newcomer.packet.in_port.number); it != ports_.end())
    port = it->second;
  if (const auto it = tenants_.find(newcomer.tenant); it != tenants_.end()) tenant = it->second;
  if (one_goes && goes->packet.in_port == newcomer.packet.in_port) {
    --port.packets;
    port.bytes -= goes->packet.frame.size();
  }
  if (one_goes && goes->tenant == newcomer.tenant) --tenant.packets;
  // The first packet of a port may be as large as it likes.
  return parked_.size() - (one_goes ? 1 : 0) < limits_.packets &&
         port.packets < limits_.packets_of_port &&
         (port.packets == 0 ||
          port.bytes + newcomer.packet.frame.size() <= limits_.bytes_of_port) &&
         tenant.packets < limits_.packets_of_tenant;
}

/// Takes it out of the indexes; in the list it stays.
void Parking::forget(Place place) {
  const auto leave = [&](auto& accounts, auto key) {
    const auto it = accounts.find(key);
    it->second.bytes -= place->packet.frame.size();
    if (--it->second.packets == 0) accounts.erase(it);
  };
  leave(ports_, place->packet.in_port.number);
  leave(tenants_, place->tenant);
  const auto same = by_missing_.find(place->missing);
  same->second.erase(std::find(same->second.begin(), same->second.end(), place));
  if (same->second.empty()) by_missing_.erase(same);
}

std::list<Parked> Parking::take_all() {
  by_missing_.clear();
  ports_.clear();
  tenants_.clear();
  return std::exchange(parked_, {});
}

std::list<Parked> Parking::take_due(MonoTime now) {
  std::list<Parked> out;
  for (Place place = parked_.begin(); place != parked_.end();) {
    const Place here = place++;
    if (here->retry_at > now) continue;
    forget(here);
    out.splice(out.end(), parked_, here);
  }
  return out;
}

}  // namespace plexus::agent
