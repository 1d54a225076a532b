// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_memory.h"

#include <algorithm>

#include "packet/fragment.h"

namespace plexus::agent {

std::optional<FragmentMemory::Key> FragmentMemory::key_of(const sim::Packet& packet) {
  const auto id = fragment_identification(packet.parsed, packet.frame);
  if (!id) return std::nullopt;
  return Key{packet.key.tunnel_key, *id, packet.key.ip_proto, packet.key.src_ip(),
             packet.key.dst_ip()};
}

void FragmentMemory::remember(const sim::Packet& first, const sim::Outcome& outcome, uint64_t epoch,
                              MonoTime now) {
  const auto key = key_of(first);
  // What a router has to cut further, say, is another thing for each fragment.
  if (!key || (outcome.verdict != sim::Verdict::forward && outcome.verdict != sim::Verdict::drop))
    return;
  if (now >= next_look_) forget(now);
  OfPort& port = ports_[first.key.in_port];
  std::erase_if(port, [&](const auto& known) { return known.first == *key; });
  if (port.size() == kOfOnePort) port.pop_front();
  Done& done = port.emplace_back(*key, Done{}).second;
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
  const auto key = key_of(later);
  const auto port = ports_.find(later.key.in_port);
  if (!key || port == ports_.end()) return false;
  const auto found = std::find_if(port->second.rbegin(), port->second.rend(),
                                  [&](const auto& known) { return known.first == *key; });
  if (found == port->second.rend()) return false;
  const Done& done = found->second;
  if (done.epoch != epoch || now >= done.until || !((later.key & done.mask) == done.key) ||
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
