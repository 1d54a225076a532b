// SPDX-License-Identifier: Apache-2.0
// Sizes. A router sees to it that what it sends on is small enough for all that comes behind it, up to the next router
// that would have to answer otherwise: the MTU of its port, and that of the tunnel if the packet leaves by one. A larger
// packet is cut (IPv4 without DF, RFC 1812 4.2.2.7) or dropped and answered (RFC 1191, RFC 8201) with the least MTU of
// the whole way, which the simulation goes on to look for.
//
// Between ports of bridges nobody can answer. What is too large for the tunnel is cut by the kernel outside (IPv4
// underlay), or cannot be sent at all (IPv6 underlay).
#include <algorithm>

#include "packet/bytes.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

bool may_be_cut(const Journey& j) {
  constexpr uint8_t kDontFragment = 0x40;
  return j.key.is_ipv4() && (j.bytes[j.parsed->l3_offset + 6u] & kDontFragment) == 0;
}

template <typename T>
void truncate(std::vector<T>& v, size_t size) {
  if (v.size() > size) v.erase(v.begin() + static_cast<std::ptrdiff_t>(size), v.end());
}

}  // namespace

void Simulation::meet_limit(Journey& j, uint32_t mtu) {
  if (mtu == 0) return;
  if (j.size <= mtu) {
    if (j.mask != nullptr) limit_ = std::min(limit_, mtu);
    return;
  }
  // Larger packets are no class of their own: sizes are not in the key.
  cacheable_ = false;
  Hop* answers = j.hop;
  for (Hop* hop = j.hop; hop != nullptr; hop = hop->previous)
    if (hop->exceeded) answers = hop;
  answers->exceeded = true;
  answers->path_mtu = std::min(answers->path_mtu, mtu);
}

bool Simulation::tunnel_carries(Journey& j, const TunnelOutput& tunnel) {
  depend(host_tag(snapshot_.self()));
  const uint32_t mtu = snapshot_.tunnel_mtu(tunnel.remote.family);
  if (mtu == 0) return true;
  if (j.hop != nullptr) {
    meet_limit(j, mtu);
    return true;
  }
  if (tunnel.remote.is_v4()) return true;
  if (j.size <= mtu) {
    if (j.mask != nullptr) limit_ = std::min(limit_, mtu);
    return true;
  }
  cacheable_ = false;
  drop(j, DropReason::mtu_exceeded, DeviceKind::packet, {}, {},
       trace_ == nullptr
           ? std::string()
           : fmt::format("{} bytes are more than the {} that the tunnel to {} carries, "
                         "and no router is on the way to say so",
                         j.size, mtu, tunnel.remote));
  return false;
}

void Simulation::send_on(Journey& j, const model::Router& router, const model::Port& in,
                         const Way& way) {
  Fate& fate = *j.fate;
  const size_t copies = fate.copies.size(), generated = generated_.size(), writes = writes_.size();
  const unsigned made = made_;
  const size_t mirrored = fate.mirrored.size(), met = out_.met.size();
  const bool consumed = fate.consumed;
  const DropReason reason = fate.reason;
  const std::optional<size_t> blamed = fate.blamed;
  const unsigned deliveries = deliveries_;
  const size_t told = out_.tell.size(), stages = commit_.stages.size();
  const std::optional<state::Tuple> stage_tuple = stage_tuple_;

  Hop hop{.previous = j.hop};
  Journey next = j;
  next.hop = &hop;
  next.decrement_ttl();
  next.rewrite_macs(way.port->mac, way.neighbour);
  next.flooded = nullptr;
  note_at(next, DeviceKind::router, router, "sends it on: eth.src={} eth.dst={} {}={}",
          way.port->mac, way.neighbour, next.key.is_ipv4() ? "ttl" : "hop limit", next.ttl_now());
  meet_limit(next, way.port->mtu);
  if (hop.exceeded) {
    note_at(next, DeviceKind::router, router,
            "cannot: {} bytes are more than the MTU of port {}, {}; what is behind it?", j.size,
            way.port->name, way.port->mtu);
  }
  leave(next, way.port->id);
  if (!hop.exceeded) return;

  if (may_be_cut(j)) {
    send_fragments(j, router, copies, hop.path_mtu);
    truncate(fate.mirrored, mirrored);
    return;
  }
  // It has never gone on.
  truncate(fate.copies, copies);
  truncate(generated_, generated);
  truncate(writes_, writes);
  truncate(out_.met, met);
  made_ = made;
  truncate(fate.mirrored, mirrored);
  fate.consumed = consumed;
  fate.reason = reason;
  fate.blamed = blamed;
  deliveries_ = deliveries;
  truncate(out_.tell, told);
  while (commit_.stages.size() > stages) commit_.stages.pop_back();
  stage_tuple_ = stage_tuple;
  drop_at(j, DropReason::packet_too_big, DeviceKind::router, router,
          "{} bytes are more than {}, the least MTU on the way", j.size, hop.path_mtu);
  send_error(j, router, in, IcmpErrorKind::packet_too_big, hop.path_mtu);
}

void Simulation::send_fragments(Journey& j, const model::Router& router, size_t first,
                                uint32_t mtu) {
  Fate& fate = *j.fate;
  const Actions actions{
      {fate.copies.begin() + static_cast<std::ptrdiff_t>(first), fate.copies.end()},
      static_cast<uint16_t>(std::min<uint32_t>(mtu, UINT16_MAX)),
      storm_limit()};
  if (actions.drops()) return;  // whole or cut, it gets nowhere
  truncate(fate.copies, first);
  std::vector<Frame> pieces = fragments_of(*j.parsed, j.bytes, packet_.offload, mtu);
  if (pieces.empty()) {
    return drop_at(j, DropReason::packet_too_big, DeviceKind::router, router,
                   "no fragments of at most {} bytes can be made of it", mtu);
  }
  note_at(j, DeviceKind::router, router,
          "{} bytes are more than {}, the least MTU on the way: cut into {} fragments", j.size, mtu,
          pieces.size());
  fate.consumed = true;
  for (Frame& piece : pieces)
    generated_.push_back({std::move(piece), actions, GeneratedKind::fragment, router.id});
}

}  // namespace plexus::sim
