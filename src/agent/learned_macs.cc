// SPDX-License-Identifier: Apache-2.0
#include "agent/learned_macs.h"

#include <algorithm>
#include <utility>

namespace plexus::agent {
namespace {

/// How long to wait for the store to show what was said, before it is said again.
constexpr Duration kSayAgain = std::chrono::seconds(2);

/// The bridge that learns at a port; nullptr: none does.
const model::Bridge* learning_bridge(const model::Snapshot& snapshot, PortId id) {
  const model::Port* port = snapshot.port(id);
  const auto* bridge = port != nullptr ? std::get_if<BridgeId>(&port->device) : nullptr;
  const model::Bridge* record = bridge != nullptr ? snapshot.bridge(*bridge) : nullptr;
  return record != nullptr && record->learning ? record : nullptr;
}

}  // namespace

LearnedMacs::Table LearnedMacs::OfPort::table() const {
  Table all;
  all.reserve(entries.size());
  for (const auto& [mac, entry] : entries) all.push_back({mac, entry.sequence});
  return all;
}

std::optional<model::Change> LearnedMacs::binding_with(const model::Snapshot& snapshot, PortId id,
                                                       const OfPort& port) {
  const model::Binding* binding = snapshot.binding(id);
  if (binding == nullptr) return std::nullopt;
  model::Binding now = *binding;
  now.learned = port.table();
  return model::BindingChange{id, std::move(now)};
}

bool LearnedMacs::may_move(BridgeId bridge, const MacAddr& mac, MonoTime now,
                           std::vector<model::Change>& changes) {
  Moves& moves = moves_[{bridge, mac}];
  if (moves.held) return false;
  if (moves.count == 0 || now - moves.since >= kMoveWindow) moves = {now, 0, false};
  if (++moves.count <= kMaxMoves) return true;
  moves.held = true;
  changes.push_back(model::HeldMacChange{bridge, mac, true});
  return false;
}

std::vector<model::Change> LearnedMacs::saw(const model::Snapshot& snapshot,
                                            const sim::MacLearned& seen, MonoTime now) {
  std::vector<model::Change> changes;
  const model::Binding* binding = snapshot.binding(seen.port);
  const model::Bridge* bridge = learning_bridge(snapshot, seen.port);
  if (binding == nullptr || binding->host != self_ || bridge == nullptr ||
      bridge->id != seen.bridge || snapshot.configured_port_of_mac(bridge->id, seen.mac)) {
    return changes;
  }
  OfPort& port = ports_[seen.port];
  const auto known = snapshot.learned_mac(bridge->id, seen.mac);
  const auto mine = port.entries.find(seen.mac);
  if (mine != port.entries.end() && known && known->port == seen.port) {
    mine->second.seen = now;
    return changes;
  }
  if (mine == port.entries.end() &&
      (port.entries.size() >= bridge->macs_per_port ||
       (!known && snapshot.learned_count(bridge->id) >= kMaxOnBridge))) {
    ++refused_;
    port.full = true;
    changes.push_back(model::PortFullChange{seen.port, true});
    return changes;
  }
  const bool moves = known && known->port != seen.port;
  if (moves && !may_move(bridge->id, seen.mac, now, changes)) {
    ++refused_;
    return changes;
  }
  port.entries[seen.mac] = {known ? known->sequence() + 1 : 1, now};
  if (auto change = binding_with(snapshot, seen.port, port)) changes.push_back(std::move(*change));
  if (!moves) return changes;
  if (const auto loser = ports_.find(known->port);
      loser != ports_.end() && loser->second.entries.erase(seen.mac) > 0) {
    if (auto change = binding_with(snapshot, loser->first, loser->second))
      changes.push_back(std::move(*change));
  }
  return changes;
}

void LearnedMacs::take_in(model::BindingChange& change, MonoTime now) {
  if (!change.now || change.now->host != self_) {
    const auto at = ports_.find(change.id);
    if (at == ports_.end()) return;
    if (at->second.full) gone_full_.push_back(change.id);
    ports_.erase(at);
    return;
  }
  const auto [at, fresh] = ports_.try_emplace(change.id);
  OfPort& port = at->second;
  port.stored = change.now->learned;
  std::sort(port.stored.begin(), port.stored.end());
  if (fresh) {
    for (const model::LearnedMac& l : change.now->learned) port.entries[l.mac] = {l.sequence, now};
  }
  change.now->learned = port.table();
}

std::vector<model::Change> LearnedMacs::lost(const model::Snapshot& snapshot,
                                             std::span<const model::Change> applied) {
  std::vector<model::Change> changes;
  for (const PortId& id : std::exchange(gone_full_, {}))
    changes.push_back(model::PortFullChange{id, false});
  for (const model::Change& change : applied) {
    const auto* binding = std::get_if<model::BindingChange>(&change);
    if (binding == nullptr || !binding->now || binding->now->host == self_ ||
        binding->now->learned.empty()) {
      continue;
    }
    const model::Bridge* bridge = learning_bridge(snapshot, binding->id);
    if (bridge == nullptr) continue;
    for (auto& [id, port] : ports_) {
      const model::Port* record = snapshot.port(id);
      if (port.entries.empty() || record == nullptr ||
          record->device != decltype(record->device)(bridge->id)) {
        continue;
      }
      size_t gone = 0;
      for (const model::LearnedMac& theirs : binding->now->learned) {
        const auto winner = snapshot.learned_mac(bridge->id, theirs.mac);
        if (winner && winner->port != id) gone += port.entries.erase(theirs.mac);
      }
      if (gone == 0) continue;
      if (auto now = binding_with(snapshot, id, port)) changes.push_back(std::move(*now));
    }
  }
  return changes;
}

std::vector<model::Change> LearnedMacs::age(const model::Snapshot& snapshot, MonoTime now) {
  std::vector<model::Change> changes;
  for (auto& [id, port] : ports_) {
    const model::Bridge* bridge = learning_bridge(snapshot, id);
    const size_t before = port.entries.size();
    std::erase_if(port.entries, [&](const auto& entry) {
      if (bridge == nullptr || snapshot.configured_port_of_mac(bridge->id, entry.first))
        return true;
      // A host that is down still says what it knew before. What is known better here must outlast that, or the old place
      // would count again; the host takes its own back when it is up.
      return now - entry.second.seen >= std::chrono::seconds(bridge->mac_age) &&
             !snapshot.mac_contested(bridge->id, entry.first);
    });
    if (port.entries.size() != before) {
      if (auto change = binding_with(snapshot, id, port)) changes.push_back(std::move(*change));
    }
    // Not at the first free place: each time all flows of unknown sources of the port go.
    if (port.full &&
        (bridge == nullptr || (port.entries.size() <= size_t{bridge->macs_per_port} * 7 / 8 &&
                               snapshot.learned_count(bridge->id) <= kMaxOnBridge * 7 / 8))) {
      port.full = false;
      changes.push_back(model::PortFullChange{id, false});
    }
  }
  for (auto at = moves_.begin(); at != moves_.end();) {
    if (now - at->second.since < kMoveWindow) {
      ++at;
      continue;
    }
    if (at->second.held)
      changes.push_back(model::HeldMacChange{at->first.first, at->first.second, false});
    at = moves_.erase(at);
  }
  return changes;
}

std::vector<std::pair<PortId, LearnedMacs::Table>> LearnedMacs::take_unsaid(MonoTime now) {
  std::vector<std::pair<PortId, Table>> unsaid;
  for (auto& [id, port] : ports_) {
    Table table = port.table();
    if (table == port.stored) continue;
    if (port.said == table && now - port.said_at < kSayAgain) continue;
    port.said = table;
    port.said_at = now;
    unsaid.emplace_back(id, std::move(table));
  }
  return unsaid;
}

std::vector<model::Change> LearnedMacs::limits() const {
  std::vector<model::Change> all;
  for (const auto& [id, port] : ports_)
    if (port.full) all.push_back(model::PortFullChange{id, true});
  for (const auto& [where, moves] : moves_)
    if (moves.held) all.push_back(model::HeldMacChange{where.first, where.second, true});
  return all;
}

size_t LearnedMacs::size() const {
  size_t n = 0;
  for (const auto& [id, port] : ports_) n += port.entries.size();
  return n;
}

}  // namespace plexus::agent
