// SPDX-License-Identifier: Apache-2.0
// Bridges wired to each other: on which of them an address or a MAC is, and by which port of the first one the way there
// leads. What one of them knows, the others find out here, so nothing of it has to be learned over links.
#include <boost/container/static_vector.hpp>

#include <algorithm>

#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// Bridges wired to each other that one search looks at.
constexpr size_t kMaxBridges = 32;

bool works(const model::Port& port) {
  return port.admin_up && !port.unreadable;
}

}  // namespace

template <typename Visit, typename MayPass>
void Simulation::visit_bridges(BridgeId start, Visit visit, MayPass may_pass) {
  struct Step {
    BridgeId bridge;
    PortId via;
  };
  boost::container::static_vector<Step, kMaxBridges> steps;
  steps.push_back({start, PortId{}});
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto [here, via] = steps[i];
    if (visit(here, via)) return;
    depend(bridge_tag(here));  // also says which links there are
    for (PortId id : snapshot_.flood_set(here).links) {
      const model::Port* link = snapshot_.port(id);
      if (link == nullptr) continue;
      depend(port_tag(id));
      depend(port_tag(*link->peer));
      const model::Port* peer = snapshot_.peer(*link);
      const auto* next = peer != nullptr ? std::get_if<BridgeId>(&peer->device) : nullptr;
      if (next == nullptr || steps.size() == kMaxBridges) continue;
      if (!may_pass(*link, *peer, *next)) continue;
      if (std::none_of(steps.begin(), steps.end(),
                       [&](const Step& s) { return s.bridge == *next; }))
        steps.push_back({*next, via.is_nil() ? id : via});
    }
  }
}

std::optional<Simulation::Place> Simulation::place_on_bridges(BridgeId start,
                                                              const IpAddr& address) {
  std::optional<Place> found;
  visit_bridges(
      start,
      [&](BridgeId here, PortId via) {
        depend(address_tag(here, address));
        const auto owners = snapshot_.address_owners(here, address);
        if (!owners.empty()) found = Place{owners, via};
        return found.has_value();
      },
      [](const model::Port&, const model::Port&, BridgeId) { return true; });
  return found;
}

bool Simulation::configured_behind_links(BridgeId start, const MacAddr& mac) {
  bool found = false;
  visit_bridges(
      start,
      [&](BridgeId here, PortId) {
        depend(mac_tag(here, mac));
        found = snapshot_.configured_port_of_mac(here, mac).has_value();
        return found;
      },
      [](const model::Port&, const model::Port&, BridgeId) { return true; });
  return found;
}

std::optional<PortId> Simulation::link_towards(BridgeId start, const MacAddr& mac) {
  if (snapshot_.flood_set(start).links.empty()) {
    depend(bridge_tag(start));
    return std::nullopt;
  }
  std::optional<PortId> found;
  visit_bridges(
      start,
      [&](BridgeId here, PortId via) {
        depend(mac_tag(here, mac));
        if (via.is_nil() || !snapshot_.port_of_mac(here, mac)) return false;
        found = via;
        return true;
      },
      [&](const model::Port& link, const model::Port& peer, BridgeId next) {
        const model::Bridge* bridge = snapshot_.bridge(next);
        depend(bridge_tag(next));
        return works(link) && works(peer) && bridge != nullptr && bridge->admin_up &&
               !bridge->unreadable;
      });
  return found;
}

}  // namespace plexus::sim
