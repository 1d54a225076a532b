// SPDX-License-Identifier: Apache-2.0
#include "agent/router_advertiser.h"

#include <algorithm>
#include <iterator>

#include "model/maglev.h"

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {

// RFC 4861 10, and 6.2.1 for the two intervals.
constexpr unsigned kInitialAdverts = 3;
constexpr Duration kInitialInterval = 16s, kMinDelay = 3s, kMinInterval = 200s, kMaxInterval = 600s;

/// Between kMinInterval and kMaxInterval, another one for each port, host and time.
Duration spread(PortId port, HostId host, unsigned sent) {
  uint64_t words[5] = {};
  std::copy_n(port.uuid.bytes.begin(), 16, reinterpret_cast<uint8_t*>(words));
  std::copy_n(host.uuid.bytes.begin(), 16, reinterpret_cast<uint8_t*>(words + 2));
  words[4] = sent;
  const auto span = static_cast<uint64_t>((kMaxInterval - kMinInterval).count());
  return kMinInterval + Duration(static_cast<int64_t>(model::fixed_hash(1, words) % span));
}

/// Whether it would advertise if somebody were here. What cannot be read may: it goes on when it can be.
bool advertises(const model::Snapshot& snapshot, PortId id) {
  const model::Port* port = snapshot.port(id);
  if (port == nullptr) return false;
  if (port->unreadable) return true;
  const auto* device = std::get_if<RouterId>(&port->device);
  const model::Router* router = device != nullptr ? snapshot.router(*device) : nullptr;
  return port->advertising && port->admin_up && router != nullptr &&
         (router->admin_up || router->unreadable);
}

bool has(const std::vector<IpPrefix>& networks, const IpPrefix& network) {
  return std::any_of(networks.begin(), networks.end(),
                     [&](const IpPrefix& n) { return n.network() == network; });
}

/// Another router port on the same bridge advertises the network: it is still on the link.
bool said_by_another(const model::Snapshot& snapshot, const model::Port& port,
                     const IpPrefix& network) {
  const model::Port* bridge_port = snapshot.peer(port);
  const auto advertising = snapshot.advertising();
  return std::any_of(advertising.begin(), advertising.end(), [&](PortId id) {
    const model::Port* other = snapshot.port(id);
    const model::Port* there = other != nullptr ? snapshot.peer(*other) : nullptr;
    return id != port.id && there != nullptr && bridge_port != nullptr &&
           there->device == bridge_port->device && advertises(snapshot, id) &&
           has(other->networks, network);
  });
}

}  // namespace

/// By the port as it was, to those who were on its link and are here still.
void RouterAdvertiser::say_last(const model::Snapshot& snapshot, PortId id,
                                std::vector<sim::Generated>& out) const {
  for (sim::Generated& made : sim::router_adverts(*before_, id, true)) {
    // A number may be another port's by now.
    std::erase_if(made.actions.copies, [&](const Copy& copy) {
      const auto* local = std::get_if<LocalOutput>(&copy.output);
      if (local == nullptr) return true;
      const auto listens = snapshot.local_port(local->port);
      return !listens || !snapshot.is_here(*listens) || listens != before_->local_port(local->port);
    });
    if (!made.actions.drops()) out.push_back(std::move(made));
  }
}

std::vector<sim::Generated> RouterAdvertiser::due(std::shared_ptr<const model::Snapshot> now_is,
                                                  MonoTime now) {
  const model::Snapshot& snapshot = *now_is;
  std::vector<sim::Generated> out;
  std::erase_if(states_, [&](const auto& entry) {
    if (advertises(snapshot, entry.first)) return false;
    if (entry.second.last != MonoTime{}) say_last(snapshot, entry.first, out);
    return true;
  });
  for (PortId id : snapshot.advertising()) {
    const model::Port* port = snapshot.port(id);
    if (port == nullptr || port->unreadable || !advertises(snapshot, id)) continue;
    const auto [at, fresh] = states_.try_emplace(id);
    State& state = at->second;
    Said says{port->mac, port->peer, port->networks, port->mtu, port->advertising};
    if (state.said != says) {
      const bool told = state.last != MonoTime{};
      if (told && (state.said.mac != says.mac || state.said.peer != says.peer))
        say_last(snapshot, id, out);
      if (state.said.peer != says.peer) state.withdrawn.clear();  // others listen
      if (told && state.said.peer == says.peer)
        for (const IpPrefix& network : state.said.networks)
          if (!has(state.withdrawn, network.network()))
            state.withdrawn.push_back(network.network());
      std::erase_if(state.withdrawn, [&](const IpPrefix& n) { return has(says.networks, n); });
      state.said = std::move(says);
      state.sent = 0;
      state.next = fresh ? now : std::max(now, state.last + kMinDelay);
    }
    if (now < state.next) continue;
    if (state.sent >= kInitialAdverts) state.withdrawn.clear();
    std::erase_if(state.withdrawn,
                  [&](const IpPrefix& n) { return said_by_another(snapshot, *port, n); });
    auto adverts = sim::router_adverts(snapshot, id, false, state.withdrawn);
    if (adverts.empty()) {  // nobody is here yet
      state.next = now + kInitialInterval;
      continue;
    }
    std::move(adverts.begin(), adverts.end(), std::back_inserter(out));
    state.last = now;
    ++state.sent;
    state.next = now + (state.sent < kInitialAdverts ? kInitialInterval
                                                     : spread(id, snapshot.self(), state.sent));
  }
  before_ = std::move(now_is);
  return out;
}

}  // namespace plexus::agent
