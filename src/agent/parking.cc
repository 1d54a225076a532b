// SPDX-License-Identifier: Apache-2.0
#include "agent/parking.h"

#include <algorithm>

namespace plexus::agent {

Parking::Answer Parking::park(Parked&& newcomer) {
  const size_t bytes = newcomer.packet.frame.size();
  const uint32_t port = newcomer.packet.in_port.number;
  Answer answer = Answer::parked;
  const auto same = by_missing_.find(newcomer.missing);
  if (same != by_missing_.end() && same->second.size() >= limits_.packets_for_same) {
    const Place oldest = same->second.front();
    newcomer.tries = std::max(newcomer.tries, oldest->tries);
    newcomer.retry_at = oldest->retry_at;
    forget(oldest);
    parked_.erase(oldest);
    answer = Answer::instead_of_another;
  } else {
    const auto of_port = ports_.find(port);
    const auto of_tenant = tenants_.find(newcomer.tenant);
    if (parked_.size() >= limits_.packets ||
        (of_port != ports_.end() && (of_port->second.packets >= limits_.packets_of_port ||
                                     of_port->second.bytes + bytes > limits_.bytes_of_port)) ||
        (of_tenant != tenants_.end() && of_tenant->second.packets >= limits_.packets_of_tenant))
      return Answer::refused;
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
