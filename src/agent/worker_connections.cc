// SPDX-License-Identifier: Apache-2.0
// The half of the worker that is about connections: what an outcome says of them, flows that depend on what is known of
// one, packets that wait for other hosts.
#include "agent/worker.h"

namespace plexus::agent {
namespace {

/// Another record that came first is asked about once; what a second one says is not waited for.
constexpr int kMaxSimulations = 3;

void refuse(sim::Outcome& outcome, sim::DropReason reason) {
  const bool leads = outcome.leads_fragments;
  outcome.clear();
  outcome.leads_fragments = leads;  // the others are refused with it
  outcome.verdict = sim::Verdict::drop;
  outcome.reason = reason;  // of this moment: never a flow
}

/// Nil: of no port, or one of no device.
state::Zone zone_of(const model::Port* port) {
  if (port == nullptr) return {};
  if (const auto* bridge = std::get_if<BridgeId>(&port->device)) return {bridge->uuid};
  if (const auto* router = std::get_if<RouterId>(&port->device)) return {router->uuid};
  return {};
}

}  // namespace

std::optional<state::ConnectionNumber> Worker::settle_connection(const sim::Packet& packet,
                                                                 sim::Outcome& outcome,
                                                                 MonoTime now) {
  for (int i = 0; i < kMaxSimulations; ++i) {
    if (outcome.verdict != sim::Verdict::forward && outcome.verdict != sim::Verdict::consumed)
      return std::nullopt;
    if (!outcome.begins) {
      if (!outcome.belongs || outcome.belongs->error) return std::nullopt;
      return outcome.belongs->number;
    }
    const auto begun = connections_.begin(*outcome.begins, now);
    if (begun.refused != sim::DropReason::none) {
      refuse(outcome, begun.refused);
      traces_.dropped(begun.refused);
      refresh_stale(now);
      return std::nullopt;
    }
    if (!begun.again) return begun.number;
    sim::simulate(packet, *snapshot_, view(), now, outcome);
  }
  refuse(outcome, sim::DropReason::connection_conflict);
  traces_.dropped(sim::DropReason::connection_conflict);
  return std::nullopt;
}

bool Worker::goes_now(state::ConnectionNumber connection, const FlowKey& key, Slot& slot,
                      unsigned tries, MonoTime now) {
  sim::Outcome& outcome = slot.outcome;
  const auto direction = outcome.belongs ? outcome.belongs->direction : state::Direction::original;
  const auto telling = connections_.tell(connection, direction, outcome.tell, now);
  if (telling == Connections::Telling::wait && held_.has_room(slot.packet.in_port)) {
    ++counters_.held;
    held_.hold(connection, {std::move(slot.packet), tries});
    return false;
  }
  if (outcome.belongs) {
    const model::Port* port = entered_by(key);
    connections_.saw(*outcome.belongs, port == nullptr ? PortId{} : port->id, now);
  }
  refresh_stale(now);
  // Until everybody knows, packets have to come up: they tell again.
  if (telling != Connections::Telling::done) outcome.cacheable = false;
  return true;
}

bool Worker::tell_of_flow(const sim::Outcome& outcome, MonoTime now) {
  return !outcome.belongs || outcome.belongs->error || outcome.verdict != sim::Verdict::forward ||
         connections_.tell(outcome.belongs->number, outcome.belongs->direction, outcome.tell,
                           now) == Connections::Telling::done;
}

void Worker::refresh_stale(MonoTime now) {
  for (const StaleTuple& stale : connections_.take_stale()) {
    for (const Match& match : connection_flows_.of(stale.tuple)) {
      // Others have the same addresses elsewhere. By the tunnel one does not see where packets came in.
      const state::Zone zone = zone_of(entered_by(match.key));
      if (!zone.device.is_nil() && zone != stale.zone && zone != stale.reply_zone) continue;
      if (!stale.replaced && renew(match, now)) {
        ++counters_.renewed;
        continue;
      }
      take_out_of_batch(match);
      if (const auto gone = flows_.erase(match)) remove_from_datapath(*gone);
      ++counters_.invalidated;
    }
  }
}

const model::Port* Worker::entered_by(const FlowKey& key) const {
  auto id = snapshot_->local_port(DpPort{key.in_port});
  // Behind an interface with sub-ports the tag tells where packets enter.
  constexpr uint16_t kVlanId = 0x0fff;
  if (id && key.vlan_tci.host() != 0)
    if (const auto sub = snapshot_->sub_port(*id, key.vlan_tci.host() & kVlanId)) id = sub;
  return id ? snapshot_->port(*id) : nullptr;
}

void Worker::touch_connection(const Match& match, MonoTime used, MonoTime now) {
  const auto tuple = tuple_of(match);
  if (!tuple || !snapshot_) return;
  const state::Zone zone = zone_of(entered_by(match.key));
  if (!zone.device.is_nil()) connections_.touch(zone, *tuple, used, now);
}

/// Packets whose connection is known elsewhere by now, or that have waited long enough.
void Worker::release_held(MonoTime now) {
  for (const state::ConnectionNumber number : connections_.take_released())
    for (HeldPacket& held : held_.take(number))
      handle(std::move(held.packet), held.tries, now, From::held);
  finish_batch();
}

void Worker::receive(const IpAddr& source, std::span<const uint8_t> bytes, MonoTime now) {
  connections_.receive(source, bytes, now);
  refresh_stale(now);
  release_held(now);
}

void Worker::run_connections(MonoTime now) {
  if (!snapshot_) return;
  connections_.run(now);
  refresh_stale(now);
  release_held(now);
}

}  // namespace plexus::agent
