// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_memory.h"

#include <algorithm>

#include "packet/fragment.h"

namespace plexus::agent {

FragmentMemory::Key FragmentMemory::key_of(const sim::Packet& packet, uint32_t id) {
  return {packet.key.tunnel_key, id, packet.key.ip_proto, packet.key.src_ip(), packet.key.dst_ip()};
}

void FragmentMemory::remember(const sim::Packet& first, const sim::Outcome& outcome, uint64_t epoch,
                              MonoTime now) {
  const auto place = fragment_of(first.parsed, first.frame);
  if (!place) return;
  if (now >= next_look_) forget(now);
  const Key key = key_of(first, place->id);
  const auto known = ports_.find(first.key.in_port);
  if (known != ports_.end())
    std::erase_if(known->second, [&](const auto& packet) { return packet.first == key; });
  // What a router has to cut further, say, is another thing for each fragment.
  if (!outcome.leads_fragments ||
      (outcome.verdict != sim::Verdict::forward && outcome.verdict != sim::Verdict::drop))
    return;
  OfPort& port = ports_[first.key.in_port];
  if (port.size() == kOfOnePort) port.pop_front();
  Done& done = port.emplace_back(key, Done{}).second;
  done.end = place->offset + place->length;
  done.mask = outcome.mask;
  done.mask.ip_frag = done.mask.tcp_flags = 0;
  done.mask.tp_src = done.mask.tp_dst = Be16();
  done.key = first.key & done.mask;
  done.actions = outcome.actions;
  done.verdict = outcome.verdict;
  done.reason = outcome.reason;
  done.epoch = epoch;
  done.until = now + kKept;
  for (Copy& copy : done.actions.copies) copy.rewrite.tp_src.reset(), copy.rewrite.tp_dst.reset();
}

bool FragmentMemory::follow(const sim::Packet& later, sim::Outcome& outcome, uint64_t epoch,
                            MonoTime now) {
  const auto place = fragment_of(later.parsed, later.frame);
  const auto port = ports_.find(later.key.in_port);
  if (!place || port == ports_.end()) return false;
  const Key key = key_of(later, place->id);
  const auto found = std::find_if(port->second.rbegin(), port->second.rend(),
                                  [&](const auto& known) { return known.first == key; });
  if (found == port->second.rend()) return false;
  const Done& done = found->second;
  if (done.epoch != epoch || now >= done.until || place->offset < done.end ||
      !((later.key & done.mask) == done.key) ||
      !fits(done.actions, later.parsed, later.frame, later.offload.gso_size))
    return false;
  outcome.clear();
  outcome.actions = done.actions;
  outcome.verdict = done.verdict;
  outcome.reason = done.reason;
  return true;
}

size_t FragmentMemory::size() const {
  size_t out = 0;
  for (const auto& [number, port] : ports_) out += port.size();
  return out;
}

void FragmentMemory::forget(MonoTime now) {
  next_look_ = now + kKept;
  for (auto& [number, port] : ports_)
    std::erase_if(port, [&](const auto& known) { return now >= known.second.until; });
  std::erase_if(ports_, [](const auto& port) { return port.second.empty(); });
}

}  // namespace plexus::agent
