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

}  // namespace

std::vector<sim::Generated> RouterAdvertiser::due(const model::Snapshot& snapshot, MonoTime now) {
  std::vector<sim::Generated> out;
  const auto advertising = snapshot.advertising();
  for (PortId id : advertising) {
    const model::Port* port = snapshot.port(id);
    if (port == nullptr) continue;
    const auto [at, fresh] = states_.try_emplace(id);
    State& state = at->second;
    Said says{port->mac, port->networks, port->mtu, port->advertising};
    if (state.said != says) {
      state.said = std::move(says);
      state.sent = 0;
      state.next = fresh ? now : std::max(now, state.last + kMinDelay);
    }
    if (now < state.next) continue;
    auto adverts = sim::router_adverts(snapshot, id);
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
  std::erase_if(states_, [&](const auto& entry) {
    if (std::binary_search(advertising.begin(), advertising.end(), entry.first)) return false;
    if (entry.second.last == MonoTime{}) return true;
    auto adverts = sim::router_adverts(snapshot, entry.first, true);
    std::move(adverts.begin(), adverts.end(), std::back_inserter(out));
    return true;
  });
  return out;
}

}  // namespace plexus::agent
