// SPDX-License-Identifier: Apache-2.0
#include "agent/parking.h"

#include <algorithm>

namespace plexus::agent {
namespace {

/// What stands behind the first 64 bits of an IPv6 source is its sender's to choose.
IpAddr sender(IpAddr source) {
  if (source.is_v6()) std::fill(source.bytes.begin() + 8, source.bytes.end(), uint8_t{0});
  return source;
}

}  // namespace

size_t Parked::bytes() const {
  size_t out = packet.frame.size();
  for (const datapath::Upcall& one : later) out += one.frame.size();
  return out;
}

Parking::Answer Parking::park(Parked&& newcomer, size_t* gone) {
  const uint32_t port = newcomer.packet.in_port.number;
  std::vector<Place> going;
  const auto same = by_missing_.find(newcomer.missing);
  if (same != by_missing_.end() && same->second.size() >= limits_.packets_for_same) {
    // Of the newcomer's own port, if it has one there: nobody should lose packets to another port without need.
    const auto own = std::find_if(same->second.begin(), same->second.end(), [&](Place place) {
      return place->packet.in_port.number == port;
    });
    going.push_back(own != same->second.end() ? *own : same->second.front());
    newcomer.tries = std::max(newcomer.tries, going.front()->tries);
    newcomer.retry_at = going.front()->retry_at;
  }
  if (!fits(newcomer, going)) {
    for (const Place place : of_port(port)) {
      if (!going.empty() && place == going.front()) continue;
      going.push_back(place);
      if (fits(newcomer, going)) break;
    }
    if (!fits(newcomer, going)) return Answer::refused;
  }
  size_t packets = 0;
  for (const Place place : going) {
    packets += place->packets();
    forget(place);
    parked_.erase(place);
  }
  if (gone != nullptr) *gone = packets;
  parked_.push_back(std::move(newcomer));
  const Place place = std::prev(parked_.end());
  Port& its = ports_[port];
  its.parked.push_back(place);
  for (Account* account : {static_cast<Account*>(&its), &tenants_[place->tenant]}) {
    account->packets += place->packets();
    account->bytes += place->bytes();
  }
  size_ += place->packets();
  by_missing_[place->missing].push_back(place);
  if (place->ticket != 0) by_ticket_[place->ticket] = place;
  return going.empty() ? Answer::parked : Answer::instead_of_another;
}

/// In the order in which they have to go for a newcomer.
std::vector<Parking::Place> Parking::of_port(uint32_t port) const {
  const auto its = ports_.find(port);
  if (its == ports_.end()) return {};
  std::vector<Place> out(its->second.parked.begin(), its->second.parked.end());
  std::map<IpAddr, size_t> held;
  for (const Place place : out) held[sender(place->source)] += place->packets();
  std::stable_sort(out.begin(), out.end(), [&](Place a, Place b) {
    return std::pair(held[sender(a->source)], a->tries) >
           std::pair(held[sender(b->source)], b->tries);
  });
  return out;
}

Parking::Answer Parking::join(uint64_t ticket, datapath::Upcall&& later) {
  const auto first = by_ticket_.find(ticket);
  if (first == by_ticket_.end()) return Answer::refused;
  Parked& behind = *first->second;
  Port& port = ports_[behind.packet.in_port.number];
  Account& tenant = tenants_[behind.tenant];
  const size_t bytes = later.frame.size();
  if (!has_room({1, bytes}, {size_, 0}, port, tenant)) return Answer::refused;
  for (Account* account : {static_cast<Account*>(&port), &tenant}) {
    ++account->packets;
    account->bytes += bytes;
  }
  ++size_;
  behind.later.push_back(std::move(later));
  return Answer::parked;
}

/// Whether there is room for a newcomer when these have gone.
bool Parking::fits(const Parked& newcomer, const std::vector<Place>& going) const {
  Account all{size_, 0}, port, tenant;
  if (const auto it = ports_.find(newcomer.packet.in_port.number); it != ports_.end())
    port = it->second;
  if (const auto it = tenants_.find(newcomer.tenant); it != tenants_.end()) tenant = it->second;
  for (const Place goes : going) {
    all.packets -= goes->packets();
    if (goes->packet.in_port == newcomer.packet.in_port) {
      port.packets -= goes->packets();
      port.bytes -= goes->bytes();
    }
    if (goes->tenant == newcomer.tenant) tenant.packets -= goes->packets();
  }
  return has_room({newcomer.packets(), newcomer.bytes()}, all, port, tenant);
}

bool Parking::has_room(const Account& newcomer, const Account& all, const Account& port,
                       const Account& tenant) const {
  // The first packet of a port may be as large as it likes.
  return all.packets + newcomer.packets <= limits_.packets &&
         port.packets + newcomer.packets <= limits_.packets_of_port &&
         (port.packets == 0 || port.bytes + newcomer.bytes <= limits_.bytes_of_port) &&
         tenant.packets + newcomer.packets <= limits_.packets_of_tenant;
}

/// Takes it out of the indexes; in the list it stays.
void Parking::forget(Place place) {
  ports_.find(place->packet.in_port.number)->second.parked.remove(place);
  const auto leave = [&](auto& accounts, auto key) {
    const auto it = accounts.find(key);
    it->second.bytes -= place->bytes();
    it->second.packets -= place->packets();
    if (it->second.packets == 0) accounts.erase(it);
  };
  leave(ports_, place->packet.in_port.number);
  leave(tenants_, place->tenant);
  size_ -= place->packets();
  by_ticket_.erase(place->ticket);
  const auto same = by_missing_.find(place->missing);
  same->second.erase(std::find(same->second.begin(), same->second.end(), place));
  if (same->second.empty()) by_missing_.erase(same);
}

std::list<Parked> Parking::take_all() {
  by_missing_.clear();
  by_ticket_.clear();
  ports_.clear();
  tenants_.clear();
  size_ = 0;
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
