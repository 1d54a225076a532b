// SPDX-License-Identifier: Apache-2.0
#include "agent/port_plan.h"

#include <algorithm>

namespace plexus::agent {

PortPlan plan_ports(const model::Snapshot& snapshot, const std::map<std::string, uint32_t>& links,
                    const std::map<PortId, Plug>& plugged) {
  std::map<PortId, Plug> wanted;
  snapshot.each_port([&](const model::Port& port) {
    // A record of a newer schema may mean something else by these fields: hands off.
    if (port.wanted_host != snapshot.self() || port.interface.empty() || port.unreadable) return;
    if (const auto link = links.find(port.interface); link != links.end()) {
      wanted[port.id] = Plug{port.id, port.interface, link->second};
    }
  });
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
