// SPDX-License-Identifier: Apache-2.0
// Where a frame leaves a device: over a link to the next one, by an interface of this host, or by tunnel.
#include <algorithm>

#include "sim/simulation.h"

namespace plexus::sim {

bool Simulation::port_works(Journey& j, const model::Port& port) {
  if (port.unreadable) {
    drop_at(j, DropReason::newer_schema, DeviceKind::port, port,
            "its record is newer than this agent");
    return false;
  }
  if (!port.admin_up) {
    drop_at(j, DropReason::port_admin_down, DeviceKind::port, port, "is administratively down");
    return false;
  }
  return true;
}

void Simulation::leave(Journey& j, PortId id) {
  ++j.depth;
  depend(port_tag(id));
  const model::Port* port = snapshot_.port(id);
  if (port == nullptr) {
    return drop(j, DropReason::dangling, DeviceKind::port, {}, id.uuid, "is not known");
  }
  if (!port_works(j, *port) || !pass_out_of_device(j, *port)) return;
  if (const auto* router_id = std::get_if<RouterId>(&port->device); router_id != nullptr) {
    const model::Router* router = snapshot_.router(*router_id);
    if (router != nullptr && translate_out(j, *router, *port) != Translated::goes_on) return;
  }
  leave_translated(j, *port);
}

void Simulation::leave_translated(Journey& j, const model::Port& port) {
  if (!pass_out_of_port(j, port)) return;
  mirror_out(j, port);
  if (!port.peer) return leave_exterior(j, port);

  depend(port_tag(*port.peer));
  const model::Port* peer = snapshot_.peer(port);
  if (peer == nullptr) {
    return drop_at(j, DropReason::dangling, DeviceKind::port, port,
                   "is wired to port {}, which is not known or not wired back", port.peer->str());
  }
  note_at(j, DeviceKind::port, port, "link to port {}", peer->name);
  enter(j, *peer);
}

void Simulation::leave_exterior(Journey& j, const model::Port& port) {
  if (!leaves_as_answer(j)) return;
  const model::Binding* binding = snapshot_.binding(port.id);
  if (binding == nullptr || !binding->active) {
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, port, "{}",
                   binding == nullptr ? "is bound to no host"
                                      : "is bound to a host, but its interface is not there");
  }
  if (binding->host == snapshot_.self()) {
    if (port.parent) return leave_by_parent(j, port);
    const auto number = snapshot_.dp_port(port.id);
    if (!number) {
      return drop_at(j, DropReason::port_unbound, DeviceKind::port, port,
                     "is bound to this host, but its interface is not attached");
    }
    if (!tag_is_own(j, port)) return;
    delivered(j, {port.id, zone_of(port)}, binding->host);
    note_at(j, DeviceKind::port, port, "out by {} (datapath port {}) of this host",
            port.interface.empty() ? "?" : port.interface, number->number);
    return output(j, LocalOutput{*number});
  }
  if (j.from_tunnel) {
    return drop_at(j, DropReason::stale_key, DeviceKind::port, port,
                   "has moved to {}; what comes by tunnel does not go on by tunnel",
                   host_name(binding->host));
  }
  depend(host_tag(binding->host));
  const model::Host* host = snapshot_.host(binding->host);
  if (host == nullptr) {
    return drop_at(j, DropReason::dangling, DeviceKind::port, port,
                   "is at host {}, which is not known", binding->host);
  }
  if (host->fenced) {
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, port,
                   "is at host {}, which is fenced", host->name);
  }
  const auto address = tunnel_address(*host);
  if (!address) {
    return drop_at(j, DropReason::no_tunnel_address, DeviceKind::host, *host,
                   "has no tunnel address that this host can reach");
  }
  if (binding->tunnel_key == 0) {
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, port,
                   "is at host {} but has no tunnel key yet", host->name);
  }
  delivered(j, {port.id, zone_of(port)}, binding->host);
  note_at(j, DeviceKind::port, port, "at host {}: out by tunnel {} key {:#x}", host->name, *address,
          binding->tunnel_key);
  output(j, TunnelOutput{*address, binding->tunnel_key});
}

void Simulation::output(Journey& j, const Output& output) {
  if (const auto* tunnel = std::get_if<TunnelOutput>(&output);
      tunnel != nullptr && !tunnel_carries(j, *tunnel))
    return;
  j.fate->copies.push_back({j.rewrite, output});
}

std::optional<IpAddr> Simulation::tunnel_address(const model::Host& host) {
  depend(host_tag(snapshot_.self()));
  const model::Host* self = snapshot_.host(snapshot_.self());
  const auto of_family = [](const model::Host& h, IpFamily family) -> std::optional<IpAddr> {
    const auto at = std::find_if(h.tunnel_addresses.begin(), h.tunnel_addresses.end(),
                                 [&](const IpAddr& a) { return a.family == family; });
    return at != h.tunnel_addresses.end() ? std::optional(*at) : std::nullopt;
  };
  for (IpFamily family : {IpFamily::v4, IpFamily::v6}) {
    if (self != nullptr && !of_family(*self, family)) continue;
    if (const auto address = of_family(host, family)) return address;
  }
  return std::nullopt;
}

}  // namespace plexus::sim
