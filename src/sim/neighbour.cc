// SPDX-License-Identifier: Apache-2.0
// Who has an address next to a router port: known from the topology, learned, or to be asked for.
#include <algorithm>
#include <utility>

#include "packet/build.h"
#include "packet/bytes.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// The port's address to ask from: in the network of `target`, else any of its family.
std::optional<IpAddr> asking_address(const model::Port& port, const IpAddr& target) {
  const IpPrefix* any = nullptr;
  for (const IpPrefix& network : port.networks) {
    if (network.addr.family != target.family) continue;
    if (network.contains(target)) return network.addr;
    if (any == nullptr) any = &network;
  }
  if (target.is_v6()) return link_local_of(port.mac);
  return any != nullptr ? std::optional(any->addr) : std::nullopt;
}

bool has_address(const model::Port& port, const IpAddr& address) {
  return address == link_local_of(port.mac) ||
         std::any_of(port.networks.begin(), port.networks.end(),
                     [&](const IpPrefix& n) { return n.addr == address; });
}

}  // namespace

std::optional<MacAddr> Simulation::mac_in_topology(const model::Port& port, const IpAddr& address) {
  if (!port.peer) return std::nullopt;
  depend(port_tag(*port.peer));
  const model::Port* peer = snapshot_.peer(port);
  if (peer == nullptr) return std::nullopt;
  if (const auto* bridge = std::get_if<BridgeId>(&peer->device)) {
    const auto place = place_on_bridges(*bridge, address);
    return place ? std::optional(place->owners.front().mac) : std::nullopt;
  }
  if (const auto* id = std::get_if<RouterId>(&peer->device);
      id != nullptr && !peer->mac.is_zero()) {
    if (has_address(*peer, address)) return peer->mac;
    depend(router_tag(*id));
    const model::Router* router = snapshot_.router(*id);
    if (router != nullptr && answers_for(*router, *peer, address, true)) return peer->mac;
  }
  return std::nullopt;
}

std::optional<MacAddr> Simulation::resolve(Journey& j, const model::Port& port,
                                           const IpAddr& address) {
  if (const auto mac = mac_in_topology(port, address)) {
    note_at(j, DeviceKind::port, port, "neighbour {} is {}, known from the topology", address,
            *mac);
    return mac;
  }
  depend(neighbour_tag(port.id, address));
  if (const auto mac = snapshot_.neighbour(port.id, address)) {
    note_at(j, DeviceKind::port, port, "neighbour {} is {}, learned", address, *mac);
    return mac;
  }
  if (last_try_) {
    drop_at(j, DropReason::neighbour_unresolved, DeviceKind::port, port,
            "neighbour {} has not answered", address);
    return std::nullopt;
  }
  const auto from = asking_address(port, address);
  if (!from) {
    drop_at(j, DropReason::next_hop_unreachable, DeviceKind::port, port,
            "neighbour {} is unknown, and the port has no address to ask from", address);
    return std::nullopt;
  }
  const Missing wanted = NeighbourNeeded{port.id, address};
  if (std::find(missing_.begin(), missing_.end(), wanted) != missing_.end()) return std::nullopt;
  const bool before = std::exchange(soliciting_, true);
  const DropReason reason = send_out(j, port,
                                     address.is_v4() ? arp_request(port.mac, *from, address)
                                                     : nd_solicit(port.mac, *from, address),
                                     address.is_v4() ? "ARP request" : "neighbour solicitation");
  soliciting_ = before;
  if (reason != DropReason::none) {
    // Nobody can hear the question. What stood in its way is among the dependencies.
    drop_at(j, reason, DeviceKind::port, port, "neighbour {} is unknown, and nobody can be asked",
            address);
    return std::nullopt;
  }
  note_at(j, DeviceKind::port, port, "neighbour {} is unknown: the packet waits for the answer",
          address);
  missing_.push_back(wanted);
  return std::nullopt;
}

std::vector<Generated> Simulation::run_neighbour_probe(const model::Neighbour& neighbour) {
  const model::Port* port = snapshot_.port(neighbour.port);
  const auto* device = port != nullptr ? std::get_if<RouterId>(&port->device) : nullptr;
  const model::Router* router = device != nullptr ? snapshot_.router(*device) : nullptr;
  if (router == nullptr || !router->admin_up || router->unreadable || port->mac.is_zero())
    return {};
  const IpAddr& address = neighbour.address;
  const auto from = asking_address(*port, address);
  if (!from) return {};
  Frame frame;
  if (address.is_v4()) {
    frame = arp_request(port->mac, *from, address);
    put_bytes(frame, 0, neighbour.mac.bytes);
  } else {
    frame = nd_solicit(port->mac, *from, address);
    Rewrite to_it_alone;
    to_it_alone.eth_dst = neighbour.mac;
    to_it_alone.ip_dst = address;
    apply_rewrite(to_it_alone, parse_packet(frame), frame);
  }
  const Journey cause;
  send_out(cause, *port, std::move(frame), "neighbour probe");
  return std::move(generated_);
}

std::vector<Generated> neighbour_probe(const model::Snapshot& snapshot,
                                       const model::Neighbour& neighbour) {
  const Packet none{};
  Outcome out;
  return Simulation(none, snapshot, {}, MonoTime{}, out, nullptr).run_neighbour_probe(neighbour);
}

}  // namespace plexus::sim
