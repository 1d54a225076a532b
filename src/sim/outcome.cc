// SPDX-License-Identifier: Apache-2.0
// From the ends of all copies' ways to one outcome.
#include <algorithm>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

template <typename T>
void sort_unique(std::vector<T>& v) {
  std::sort(v.begin(), v.end());
  v.erase(std::unique(v.begin(), v.end()), v.end());
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

void Outcome::clear() {
  verdict = Verdict::drop;
  reason = DropReason::none;
  actions.copies.clear();
  actions.mtu = 0;
  mask = FlowKey();
  cacheable = false;
  dependencies.clear();
  writes.clear();
  generated.clear();
  missing.clear();
}

void simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime, Outcome& out,
              Trace* trace) {
  out.clear();
  Simulation(packet, snapshot, out, trace).run();
}

Outcome simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime now,
                 Trace* trace) {
  Outcome out;
  simulate(packet, snapshot, now, out, trace);
  return out;
}

Outcome simulate_last_try(const Packet& packet, const model::Snapshot& snapshot, MonoTime,
                          Trace* trace) {
  Outcome out;
  Simulation(packet, snapshot, out, trace, true).run();
  return out;
}

void Simulation::run() {
  Outcome& out = out_;
  Fate fate;
  fate.copies.swap(out.actions.copies);  // for its memory
  Journey j;
  j.key = packet_.key;
  j.bytes = packet_.frame;
  j.parsed = &packet_.parsed;
  j.mask = &mask_;
  j.size = packet_.size;
  j.fate = &fate;
  if (trace_ != nullptr) note(j, DeviceKind::packet, {}, {}, "{}", format_frame(packet_.frame));
  if (last_try_) cacheable_ = false;  // the next packet may be luckier
  ingress(j);

  sort_unique(out.dependencies);
  if (too_many_) {
    // A part of the answer would be worse than none.
    out.reason = DropReason::too_many_devices;
    out.cacheable = cacheable_ && out.writes.empty() && made_ == 0;
    out.generated.clear();
  } else if (!missing_.empty()) {
    out.verdict = Verdict::postpone;
    out.missing = std::move(missing_);
    std::sort(out.missing.begin(), out.missing.end());
    out.generated = std::move(solicitations_);
  } else {
    if (!fate.copies.empty()) {
      out.verdict = Verdict::forward;
      out.actions.copies.swap(fate.copies);
    } else if (fate.consumed) {
      out.verdict = Verdict::consumed;
    } else {
      out.reason = fate.reason != DropReason::none ? fate.reason : DropReason::no_receivers;
    }
    out.cacheable = cacheable_ && out.verdict != Verdict::consumed && out.generated.empty() &&
                    out.writes.empty();
  }
  if (out.cacheable && limit_ != kNoLimit) out.actions.mtu = static_cast<uint16_t>(limit_);

  if (trace_ != nullptr) {
    j.depth = 0;
    std::string text(to_string(out.verdict));
    if (out.verdict == Verdict::forward) text += ": " + format(out.actions);
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
}

void Simulation::drop(Journey& j, DropReason reason, DeviceKind kind, std::string_view name,
                      const Uuid& id, std::string_view text) {
  if (j.fate->reason == DropReason::none) j.fate->reason = reason;
  note(j, kind, name, id, "{} [{}]", text, to_string(reason));
}

}  // namespace plexus::sim
