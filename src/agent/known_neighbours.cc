// SPDX-License-Identifier: Apache-2.0
#include "agent/known_neighbours.h"

#include <functional>
#include <optional>

namespace plexus::agent {
namespace {

/// The model is read this often for neighbours that are ours to ask.
constexpr Duration kLook = std::chrono::seconds(10);

/// The host where the neighbour's MAC is; nothing where nobody knows.
std::optional<HostId> place_of(const model::Snapshot& snapshot, const model::Neighbour& n) {
  const auto host_of = [&](PortId id) -> std::optional<HostId> {
    const model::Binding* binding = snapshot.binding(id);
    return binding != nullptr ? std::optional(binding->host) : std::nullopt;
  };
  const model::Port* port = snapshot.port(n.port);
  if (port == nullptr) return std::nullopt;
  if (!port->peer) return host_of(n.port);
  const model::Port* peer = snapshot.peer(*port);
  const auto* bridge = peer != nullptr ? std::get_if<BridgeId>(&peer->device) : nullptr;
  const auto behind =
      bridge != nullptr ? snapshot.port_of_mac(*bridge, n.mac) : std::optional<PortId>();
  return behind ? host_of(*behind) : std::nullopt;
}

}  // namespace

MonoTime KnownNeighbours::when_to_ask(const Key& key, MonoTime now) const {
  const size_t mixed = std::hash<PortId>{}(key.first) ^ std::hash<IpAddr>{}(key.second);
  constexpr Duration kSpread = kReachable / 4;
  return now + kReachable -
         Duration(static_cast<int64_t>(mixed % static_cast<uint64_t>(kSpread.count())));
}

void KnownNeighbours::heard(PortId port, const IpAddr& address, MonoTime now) {
  const Key key(port, address);
  states_[key] = {when_to_ask(key, now), 0};
}

/// Takes up what is ours to ask and drops what is not (any more).
void KnownNeighbours::look_at(const model::Snapshot& snapshot, MonoTime now) {
  std::map<Key, State> ours;
  snapshot.each_neighbour([&](const model::Neighbour& n) {
    const Key key(n.port, n.address);
    const auto place = place_of(snapshot, n);
    const auto known = states_.find(key);
    if (place ? *place != self_ : known == states_.end()) return;
    // At first it counts as heard: whoever wrote it had.
    ours.emplace(key, known != states_.end() ? known->second : State{when_to_ask(key, now), 0});
  });
  states_.swap(ours);
}

KnownNeighbours::Due KnownNeighbours::due(const model::Snapshot& snapshot, MonoTime now) {
  Due out;
  if (now >= next_look_) {
    look_at(snapshot, now);
    next_look_ = now + kLook;
  }
  size_t asked = 0;
  for (auto at = states_.begin(); at != states_.end();) {
    const auto& [port, address] = at->first;
    State& state = at->second;
    if (now < state.next) {
      ++at;
      continue;
    }
    const auto mac = snapshot.neighbour(port, address);
    if (!mac || state.asked == kMaxAsked) {
      if (mac) out.gone.push_back({port, address, *mac});
      at = states_.erase(at);
      continue;
    }
    if (asked == kMaxQuestions) break;
    auto question = sim::neighbour_probe(snapshot, {port, address, *mac});
    if (question.empty()) {
      // Nobody can be asked through a port that is down: it says nothing about who is behind it.
      state = {when_to_ask(at->first, now), 0};
    } else {
      ++asked;
      state = {now + kAskAgain, state.asked + 1};
      for (sim::Generated& made : question) out.questions.push_back(std::move(made));
    }
    ++at;
  }
  return out;
}

}  // namespace plexus::agent
