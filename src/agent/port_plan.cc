// SPDX-License-Identifier: Apache-2.0
#include "agent/port_plan.h"

#include <algorithm>

namespace plexus::agent {

PortRole role_of(const model::Snapshot& snapshot, const model::Port& port) {
  if (port.parent && !port.unreadable) {
    const model::Port* parent = snapshot.port(*port.parent);
    return parent == nullptr || parent->parent ? PortRole::none : role_of(snapshot, *parent);
  }
  // A record of a newer schema may mean something else by these fields: hands off.
  if (port.interface.empty() || port.unreadable) return PortRole::none;
  const HostId self = snapshot.self();
  const model::Binding* binding = snapshot.binding(port.id);
  if (port.wanted_host == self) {
    // The guest has gone where it was told to go; our own interface is only what it left.
    const bool taken_over = binding != nullptr && binding->active && port.migrating_to &&
                            port.migrating_to != self && binding->host == *port.migrating_to;
    return taken_over ? PortRole::none : PortRole::owner;
  }
  if (port.migrating_to != self) return PortRole::none;
  return binding != nullptr && binding->active && binding->host == self ? PortRole::owner
                                                                        : PortRole::passive;
}

PortPlan plan_ports(const model::Snapshot& snapshot, const std::set<PortId>& candidates,
                    const std::map<std::string, uint32_t>& links,
                    const std::map<PortId, Plug>& plugged) {
  std::map<PortId, Plug> wanted;
  for (const PortId& id : candidates) {
    const model::Port* port = snapshot.port(id);
    if (port == nullptr || port->parent || role_of(snapshot, *port) == PortRole::none) continue;
    if (const auto link = links.find(port->interface); link != links.end()) {
      wanted[id] = Plug{id, port->interface, link->second};
    }
  }
  PortPlan plan;
  for (const auto& [id, plug] : plugged) {
    const auto it = wanted.find(id);
    if (it == wanted.end() || it->second != plug) plan.detach.push_back(plug);
  }
  for (const auto& [id, plug] : wanted) {
    const auto it = plugged.find(id);
    if (it == plugged.end() || it->second != plug) plan.attach.push_back(plug);
  }
  return plan;
}

}  // namespace plexus::agent
