// SPDX-License-Identifier: Apache-2.0
// Where a packet enters: by an interface of this host, or by the tunnel from the host that decided about it.
#include "sim/simulation.h"

namespace plexus::sim {

void Simulation::ingress(Journey& j) {
  mask_.in_port = ~uint32_t{0};
  if (packet_.parsed.error != ParseError::none) {
    // What is broken lies outside the key: no class can be named.
    cacheable_ = false;
    return drop(j, drop_reason_of(packet_.parsed.error), DeviceKind::packet, {}, {},
                "cannot be parsed");
  }
  if (packet_.key.in_port == kTunnelPort.number) return ingress_tunnel(j);

  const auto id = snapshot_.local_port(DpPort{packet_.key.in_port});
  if (!id) {
    cacheable_ = false;  // no tag says when this number begins to mean something
    return drop(j, DropReason::unknown_port, DeviceKind::packet, {}, {},
                trace_ == nullptr ? std::string()
                                  : fmt::format("no virtual port is attached to datapath port {}",
                                                packet_.key.in_port));
  }
  depend(port_tag(*id));
  const model::Port* port = snapshot_.port(*id);
  if (port == nullptr) {
    return drop(j, DropReason::dangling, DeviceKind::port, {}, id->uuid, "attached, but not known");
  }
  if (!snapshot_.is_here(*id) && port->migrating_to == snapshot_.self() && !port->unreadable) {
    cacheable_ = false;  // each frame says it again until the port is here
    writes_.emplace_back(PortArrived{*id});
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, *port,
                   "is only now moving to this host; it is taken over");
  }
  if (!snapshot_.is_here(*id)) {
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, *port,
                   "an interface is attached, but the port is not bound to this host");
  }
  note_at(j, DeviceKind::port, *port, "enters at {} by {} (datapath port {})",
          host_name(snapshot_.self()), port->interface.empty() ? "?" : port->interface,
          packet_.key.in_port);
  port = port_entered(j, *port);
  if (port == nullptr) return;
  entered_by_ = port;
  entered_ = port->id;
  enter(j, *port);
}

void Simulation::ingress_tunnel(Journey& j) {
  mask_.tunnel_key = ~uint32_t{0};
  j.from_tunnel = true;
  const uint32_t key = packet_.key.tunnel_key;
  depend(tunnel_key_tag(key));
  const auto meaning = snapshot_.tunnel_key(key);
  if (const auto* id = std::get_if<PortId>(&meaning)) {
    note(j, DeviceKind::tunnel_key, fmt::format("{:#x}", key), {}, "for port {}", port_name(*id));
    j.passing = Passing::decided;
    return leave(j, *id);
  }
  if (const auto* id = std::get_if<BridgeId>(&meaning)) {
    j.passing = Passing::flooded_elsewhere;
    flooded_on_ = *id;
    depend(bridge_tag(*id));
    const model::Bridge* bridge = snapshot_.bridge(*id);
    if (bridge == nullptr) {
      return drop(j, DropReason::dangling, DeviceKind::bridge, {}, id->uuid,
                  "has a flood key here, but is not known");
    }
    note(j, DeviceKind::tunnel_key, fmt::format("{:#x}", key), {}, "flooded on bridge {}",
         bridge->name);
    ++j.depth;
    if (!bridge_works(j, *bridge)) return;
    depend(flood_tag(*id));
    // The ingress host has asked the routers and reached the other hosts. Only our own ports are left.
    return flood_local(j, *bridge, nullptr);
  }
  if (const auto* moved = std::get_if<model::MovedPort>(&meaning)) {
    note(j, DeviceKind::tunnel_key, fmt::format("{:#x}", key), {}, "of port {}, which was here",
         port_name(moved->port));
    // On to where it is now. It cannot go round: generations of a binding only grow, and who sends on knows a later one.
    j.from_tunnel = false;
    j.passing = Passing::decided;
    return leave(j, moved->port);
  }
  drop(j, DropReason::stale_key, DeviceKind::tunnel_key, fmt::format("{:#x}", key), {},
       "means nothing at this host, or no more");
}

void Simulation::enter(Journey& j, const model::Port& port) {
  if (++j.devices > kMaxDevices || ++visits_ > kMaxVisits) {
    too_many_ = true;
    return drop_at(j, DropReason::too_many_devices, DeviceKind::port, port,
                   "the packet has passed {} devices in a row, {} in all", j.devices - 1, visits_);
  }
  const bool tracing = snapshot_.any_trace_requests();
  if (tracing) ask_trace_requests(j, port.id, port);
  if (!port_works(j, port)) return;
  ++j.depth;
  const auto* bridge_id = std::get_if<BridgeId>(&port.device);
  const auto* router_id = std::get_if<RouterId>(&port.device);
  if (bridge_id == nullptr && router_id == nullptr)
    return drop_at(j, DropReason::dangling, DeviceKind::port, port, "belongs to no device");
  const Passed here{.previous = j.passed, .in = &port};
  j.passed = &here;
  j.copied = false;
  if (bridge_id != nullptr) {
    depend(bridge_tag(*bridge_id));
    if (tracing) ask_trace_requests(j, *bridge_id, port);
    if (const model::Bridge* device = snapshot_.bridge(*bridge_id)) {
      mirror_in(j, port);
      bridge(j, *device, port);
    } else {
      drop(j, DropReason::dangling, DeviceKind::bridge, {}, bridge_id->uuid,
           "the port's bridge is not known");
    }
  } else {
    depend(router_tag(*router_id));
    if (tracing) ask_trace_requests(j, *router_id, port);
    if (const model::Router* device = snapshot_.router(*router_id)) {
      mirror_in(j, port);
      router(j, *device, port);
    } else {
      drop(j, DropReason::dangling, DeviceKind::router, {}, router_id->uuid,
           "the port's router is not known");
    }
  }
  j.passed = here.previous;
}

}  // namespace plexus::sim
