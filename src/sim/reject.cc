// SPDX-License-Identifier: Apache-2.0
// What the sender of a rejected packet gets: a TCP reset (RFC 9293 3.10.7.1), else ICMP administratively prohibited (RFC
// 1812 5.2.7.1, RFC 4443 3.1). It goes back by the port where the packet came to the device, as if from where the packet
// was to go; of a router, the ICMP error comes from the router.
#include "packet/build.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {

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
    answer = tcp_reset(j.came_to, j.came_from, parsed, frame);
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
