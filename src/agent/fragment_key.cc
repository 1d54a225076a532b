// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_key.h"

#include "packet/fragment.h"

namespace plexus::agent {
namespace {

constexpr uint16_t kTagAndId =
    0x1fff;  ///< of a TCI: there is one, and its id; the priority may differ

}  // namespace

std::optional<FragmentKey> FragmentKey::of(const sim::Packet& packet) {
  const auto place = fragment_of(packet.parsed, packet.frame);
  if (!place) return std::nullopt;
  return FragmentKey{.in_port = packet.key.in_port,
                     .tunnel_key = packet.key.tunnel_key,
                     .vlan = static_cast<uint16_t>(packet.key.vlan_tci.host() & kTagAndId),
                     .id = place->id,
                     .protocol = packet.key.is_ipv6() ? uint8_t{0} : packet.key.ip_proto,
                     .src = packet.key.src_ip(),
                     .dst = packet.key.dst_ip()};
}

}  // namespace plexus::agent
