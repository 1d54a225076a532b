// SPDX-License-Identifier: Apache-2.0
// From the ends of all copies' ways to one outcome.
#include <algorithm>
#include <cstring>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/fragment.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// Runs the simulation; again with what a first run has found out.
void run_until_settled(const Packet& packet, const model::Snapshot& snapshot,
                       const ConnectionView& connections, MonoTime now, Outcome& out, Trace* trace,
                       bool last_try) {
  bool anew = false;
  std::optional<state::Connection> choice;
  for (unsigned runs = 0; runs < 3; ++runs) {
    Simulation simulation(packet, snapshot, connections, now, out, trace, last_try);
    simulation.once_more(anew, choice ? &*choice : nullptr);
    simulation.run();
    if (simulation.again() == Simulation::Again::no) return;
    out.clear();
    anew = anew || simulation.again() == Simulation::Again::anew;
    choice.reset();
    if (simulation.again() == Simulation::Again::with_choice) choice = simulation.choice();
    if (trace != nullptr)
      trace->add({0,
                  DeviceKind::outcome,
                  {},
                  {},
                  choice ? "once more: the port that was leased is another one"
                         : "once more: what its connection was translated to is gone"});
  }
  out.reason = DropReason::unstable_topology;  // it does not end
  if (trace != nullptr) trace->blame(std::nullopt);
}

/// A first fragment whose protocol stands behind an extension header that was cut with the rest: the others do not say it.
bool hides_protocol(const Packet& first) {
  const auto place = first.key.is_ipv6() ? fragment_of(first.parsed, first.frame) : std::nullopt;
  return place && place->protocol != first.key.ip_proto;
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::forward:
      return "forward";
    case Verdict::drop:
      return "drop";
    case Verdict::consumed:
      return "consumed";
    case Verdict::postpone:
      return "postpone";
  }
  return "unknown";
}

Packet packet_of(std::span<const uint8_t> frame, DpPort in_port, uint32_t tunnel_key,
                 const OffloadLeft& offload) {
  Packet p;
  p.frame = frame;
  p.parsed = parse_packet(frame);
  p.key = p.parsed.key;
  p.key.in_port = in_port.number;
  p.key.tunnel_key = in_port == kTunnelPort ? tunnel_key : 0;
  p.offload = offload;
  p.size = packet_size(p.parsed, frame, offload.gso_size);
  return p;
}

Outcome::Itself Outcome::itself() const {
  if (verdict != Verdict::forward || mirrored.size() < actions.copies.size())
    return {verdict, reason};
  return {reason_beside_mirrors != DropReason::none ? Verdict::drop : Verdict::consumed,
          reason_beside_mirrors};
}

void Outcome::clear() {
  verdict = Verdict::drop;
  reason = DropReason::none;
  actions.copies.clear();
  actions.mtu = 0;
  actions.storm_limit = 0;
  mirrored.clear();
  reason_beside_mirrors = DropReason::none;
  mask = FlowKey();
  cacheable = false;
  dependencies.clear();
  writes.clear();
  generated.clear();
  missing.clear();
  begins.reset();
  belongs.reset();
  tell.clear();
  met.clear();
  traced.clear();
  leads_fragments = follows_first = false;
}

void simulate(const Packet& packet, const model::Snapshot& snapshot,
              const ConnectionView& connections, MonoTime now, Outcome& out, Trace* trace) {
  out.clear();
  run_until_settled(packet, snapshot, connections, now, out, trace, false);
}

void simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime now, Outcome& out,
              Trace* trace) {
  simulate(packet, snapshot, {}, now, out, trace);
}

Outcome simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime now,
                 Trace* trace) {
  Outcome out;
  simulate(packet, snapshot, now, out, trace);
  return out;
}

Outcome simulate_last_try(const Packet& packet, const model::Snapshot& snapshot, MonoTime now,
                          Trace* trace, const ConnectionView& connections) {
  Outcome out;
  run_until_settled(packet, snapshot, connections, now, out, trace, true);
  return out;
}

void Simulation::run() {
  Outcome& out = out_;
  Fate fate;
  fate.copies.swap(out.actions.copies);  // for their memory
  fate.mirrored.swap(out.mirrored);
  Journey j;
  j.key = packet_.key;
  j.bytes = packet_.frame;
  j.parsed = &packet_.parsed;
  j.mask = &mask_;
  j.header_asked = &header_asked_;
  j.size = packet_.size;
  j.fate = &fate;
  if (trace_ != nullptr) note(j, DeviceKind::packet, {}, {}, "{}", format_frame(packet_.frame));
  if (last_try_) cacheable_ = false;  // the next packet may be luckier
  ingress(j);

  const uint32_t limit = fate.copies.empty() ? 0 : storm_limit();
  dependencies_.settle();
  if (too_many_) {
    // A part of the answer would be worse than none.
    out.reason = DropReason::too_many_devices;
    settle_connection();
    out.cacheable = cacheable_ && out.writes.empty() && made_ == 0;
    out.generated.clear();
  } else if (!missing_.empty()) {
    out.verdict = Verdict::postpone;
    out.tell.clear();
    out.missing = std::move(missing_);
    std::sort(out.missing.begin(), out.missing.end());
    out.generated = std::move(solicitations_);
    out.met.clear();  // it comes again
  } else {
    const DropReason reason =
        fate.reason != DropReason::none ? fate.reason : DropReason::no_receivers;
    if (!fate.copies.empty()) {
      out.verdict = Verdict::forward;
      out.actions.copies.swap(fate.copies);
      out.actions.storm_limit = limit;
      out.mirrored.swap(fate.mirrored);
      if (out.mirrored.size() == out.actions.copies.size() && !fate.consumed)
        out.reason_beside_mirrors = reason;
    } else if (fate.consumed) {
      out.verdict = Verdict::consumed;
    } else {
      out.reason = reason;
    }
    settle_connection();
    out.cacheable = cacheable_ && out.verdict != Verdict::consumed && out.generated.empty() &&
                    out.writes.empty() && !(fate.consumed && !out.mirrored.empty());
  }
  // A first fragment may hide its protocol from those that follow it.
  if (packet_.key.is_ipv6() && mask_.ip_proto != 0) mask_.ip_frag = 0xff;
  const auto fragment = static_cast<FragKind>(packet_.key.ip_frag);
  const bool of_connection = tracked_ && sighting_.kind != state::SightingKind::untracked;
  out.follows_first = fragment == FragKind::later && header_asked_;
  // Not the bits that were read: a rule over all ports reads none, and still holds for no later fragment.
  out.leads_fragments =
      fragment == FragKind::first &&
      (header_asked_ || of_connection || (mask_.ip_proto != 0 && hides_protocol(packet_)));
  if (out.follows_first || out.leads_fragments) out.cacheable = false;
  // A sub-port's machine may have sent a tag of its own behind it, which no class tells.
  out.actions.one_tag = tag_ && out.verdict == Verdict::drop;
  // Those that follow may come by another router.
  if (learns_ && !out.leads_fragments) mask_.eth_src.fill(0xff);
  // They may be larger than their first one.
  if ((out.cacheable || out.leads_fragments) && limit_ != kNoLimit)
    out.actions.mtu = static_cast<uint16_t>(limit_);

  if (trace_ != nullptr) {
    j.depth = 0;
    if (out.follows_first)
      note(j, DeviceKind::outcome, {}, {},
           "a later fragment without the header that was asked for: while it is known what was "
           "done with the first "
           "one, that is done with it");
    std::string text(to_string(out.verdict));
    if (out.verdict == Verdict::forward) text += ": " + format(out.actions);
    const Outcome::Itself itself = out.itself();
    if (out.verdict == Verdict::forward && itself.verdict != Verdict::forward) {
      text += itself.verdict == Verdict::consumed
                  ? "; mirrors only, a device took it"
                  : "; mirrors only, else dropped: " + std::string(to_string(itself.reason));
    }
    trace_->blame(itself.verdict != Verdict::drop ? std::nullopt
                  : itself.reason == fate.reason  ? fate.blamed
                                                  : blamed_);
    if (out.verdict == Verdict::drop) text += ": " + std::string(to_string(out.reason));
    for (const Missing& missing : out.missing) {
      const auto& needed = std::get<NeighbourNeeded>(missing);
      text +=
          ": until " + needed.address.str() + " is known at port " + port_name(needed.port).str();
    }
    note(j, DeviceKind::outcome, {}, {}, "{}", text);
    if (out.cacheable)
      note(j, DeviceKind::outcome, {}, {}, "the same for all packets with {}",
           format(match_of(packet_.key, out.mask)));
  }
  if (out.actions.copies.capacity() == 0) {
    fate.copies.clear();
    out.actions.copies.swap(fate.copies);
  }
  if (out.mirrored.capacity() == 0) {
    fate.mirrored.clear();
    out.mirrored.swap(fate.mirrored);
  }
}

/// Of the packet: where it entered, should it be flooded.
uint32_t Simulation::storm_limit() {
  if (!flooded_ || entered_by_ == nullptr) return 0;
  const uint32_t own = storm_limit_of(*entered_by_);
  if (!entered_by_->parent) return own;
  // Tenants make sub-ports, and bridges for them that have no limit; the interface is their parent's. A parent has no parent.
  depend(port_tag(*entered_by_->parent));
  const model::Port* parent = snapshot_.port(*entered_by_->parent);
  const uint32_t parents = parent != nullptr ? storm_limit_of(*parent) : 0;
  return own == 0 || parents == 0 ? std::max(own, parents) : std::min(own, parents);
}

uint32_t Simulation::storm_limit_of(const model::Port& port) {
  if (port.storm_limit != 0) return port.storm_limit;
  const auto* id = std::get_if<BridgeId>(&port.device);
  if (id == nullptr) return 0;
  depend(bridge_tag(*id));
  const model::Bridge* bridge = snapshot_.bridge(*id);
  return bridge != nullptr ? bridge->storm_limit : 0;
}

void Simulation::drop(Journey& j, DropReason reason, DeviceKind kind, std::string_view name,
                      const Uuid& id, std::string_view text) {
  const std::optional<size_t> step =
      trace_ != nullptr ? std::optional(trace_->steps().size()) : std::nullopt;
  if (j.fate->reason == DropReason::none) j.fate->reason = reason, j.fate->blamed = step;
  if (reason == DropReason::too_many_devices && !blamed_) blamed_ = step;
  note(j, kind, name, id, "{} [{}]", text, to_string(reason));
}

}  // namespace plexus::sim
