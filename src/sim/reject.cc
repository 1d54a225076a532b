// SPDX-License-Identifier: Apache-2.0
// What the sender of a rejected packet gets: a TCP reset (RFC 9293 3.10.7.1), else ICMP administratively prohibited (RFC
// 1812 5.2.7.1, RFC 4443 3.1). It goes back by the port where the packet came to the device, as if from where the packet
// was to go; of a router, the ICMP error comes from the router.
#include <algorithm>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
constexpr size_t kTcpAcknowledgement = 8;

std::optional<Frame> tcp_reset(const Journey& j, const ParsedPacket& parsed,
                               std::span<const uint8_t> frame) {
  const FlowKey& key = parsed.key;
  if (key.ip_frag != static_cast<uint8_t>(FragKind::none) || (key.tcp_flags & kRst) != 0 ||
      !may_send_icmp_error(parsed, frame))
    return std::nullopt;
  const auto tcp = frame.first(parsed.length).subspan(parsed.l4_offset);
  const uint32_t sequence = be32_at(tcp, 4), acknowledged = be32_at(tcp, kTcpAcknowledgement);
  const size_t header = size_t{tcp[12]} / 16 * 4;
  PacketSpec spec{.eth_src = j.came_to,
                  .eth_dst = j.came_from,
                  .src = key.dst_ip(),
                  .dst = key.src_ip(),
                  .vlan_tci = {}};
  if (key.vlan_tci.host() != 0) spec.vlan_tci = key.vlan_tci.host() & ~0x1000;
  const bool acknowledges = (key.tcp_flags & kAck) != 0;
  const auto flags = static_cast<uint8_t>(acknowledges ? kRst : kRst | kAck);
  Frame reset = tcp_packet(spec, key.tp_dst.host(), key.tp_src.host(), flags,
                           acknowledges ? acknowledged : 0);
  if (acknowledges) return reset;
  // What it acknowledges: all that came.
  const auto length = static_cast<uint32_t>(tcp.size() - std::min(header, tcp.size())) +
                      ((key.tcp_flags & kSyn) != 0 ? 1u : 0u) +
                      ((key.tcp_flags & kFin) != 0 ? 1u : 0u);
  const ParsedPacket made = parse_packet(reset);
  put_be32(reset, made.l4_offset + kTcpAcknowledgement, sequence + length);
  complete_checksum(made, reset);
  return reset;
}

}  // namespace

void Simulation::tell_rejected(Journey& j) {
  const bool ip = j.eth_type() == eth_type::kIpv4 || j.eth_type() == eth_type::kIpv6;
  // Nobody is told of a copy among several, nor of what a device made; what came by tunnel is not answered to the fabric.
  if (!ip || j.mask == nullptr || j.flooded != nullptr || j.from_tunnel || j.came_by == nullptr)
    return;
  // Who asks for a neighbour waits for an answer of the link, not for an error.
  if (j.eth_type() == eth_type::kIpv6 && j.ip_proto() == ip_proto::kIcmpv6 &&
      j.tp_src() >= icmpv6_type::kRouterSolicit && j.tp_src() <= icmpv6_type::kRedirect)
    return;
  cacheable_ = false;
  // About what it sent, whatever this router has made of it.
  const bool translated = j.stage != nullptr && j.stage->came != nullptr;
  const std::vector<uint8_t> frame = (translated ? *j.stage->came : j).materialize();
  const ParsedPacket parsed = parse_packet(frame);
  const model::Port& back = *j.came_by;
  Uuid device;
  std::optional<IpAddr> from = parsed.key.dst_ip();
  if (const auto* id = std::get_if<BridgeId>(&back.device)) device = id->uuid;
  if (const auto* id = std::get_if<RouterId>(&back.device)) {
    device = id->uuid;
    if (const model::Router* router = snapshot_.router(*id)) {
      depend(router_addresses_tag(*id));
      from = own_address_for(*router, back, parsed.key.src_ip());
    }
  }
  const bool tcp = parsed.key.ip_proto == ip_proto::kTcp;
  std::optional<Frame> answer;
  if (tcp) {
    answer = tcp_reset(j, parsed, frame);
  } else if (from) {
    answer = icmp_error({.kind = IcmpErrorKind::admin_prohibited,
                         .from_mac = j.came_to,
                         .to_mac = j.came_from,
                         .from_ip = *from},
                        parsed, frame);
  }
  if (!answer) {
    return note(j, DeviceKind::packet, {}, {},
                "nobody is told: no answer may be given to this packet");
  }
  (void)send_out(j, back, std::move(*answer), tcp ? "TCP reset" : "ICMP error",
                 GeneratedKind::rejection, RouterId{device});
}

}  // namespace plexus::sim
