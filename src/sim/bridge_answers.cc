// SPDX-License-Identifier: Apache-2.0
// Questions to all for the MAC of an address that the topology knows. The edge answers them where they come in, so that
// they need not reach every port of the bridge; only questions that a guest may be meant to hear go on to all: probes
// and announcements (RFC 5227, RFC 4862), questions for what nobody or more than one is known to have.
#include <algorithm>

#include "packet/build.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

/// 33:33:ff:xx:xx:xx: the solicited-node groups (RFC 2464 7, RFC 4291 2.7.1).
constexpr MacAddr kSolicitedNodes{{0x33, 0x33, 0xff, 0, 0, 0}};
constexpr unsigned kSolicitedNodesBits = 24;

const IpAddr kNoAddress4 = IpAddr::v4(0), kNoAddress6 = IpAddr::v6({});

/// How many addresses of the solicited-node group are known to be at the port.
size_t members_at(const model::Snapshot& snapshot, PortId id, const IpAddr& group) {
  const auto is_member = [&](const IpAddr& a) {
    return a.is_v6() && !a.is_multicast() && solicited_node_of(a) == group;
  };
  const model::Port* port = snapshot.port(id);
  if (port == nullptr) return 0;
  auto count = std::count_if(port->addresses.begin(), port->addresses.end(), is_member);
  if (const model::Port* peer = snapshot.peer(*port);
      peer != nullptr && std::holds_alternative<RouterId>(peer->device)) {
    count += std::count_if(peer->networks.begin(), peer->networks.end(),
                           [&](const IpPrefix& n) { return is_member(n.addr); });
    if (is_member(link_local_of(peer->mac))) ++count;
  }
  return static_cast<size_t>(count);
}

}  // namespace

/// Answers for two members of one group would be flows with one match, that push each other out.
bool Simulation::one_of_several(const model::Bridge& bridge, const IpAddr& target) {
  if (!target.is_v6()) return false;
  const IpAddr group = solicited_node_of(target);
  const auto members = place_on_bridges(bridge.id, group), it = place_on_bridges(bridge.id, target);
  if (!members || !it || members->via != it->via || members->owners.size() != 1) return true;
  const PortId port = members->owners.front().port;
  depend(port_tag(port));
  return members_at(snapshot_, port, group) != 1;
}

std::optional<IpAddr> Simulation::asked_for(Journey& j, const model::Bridge& bridge) {
  if (j.eth_dst_is(kBroadcastMac)) {
    if (j.eth_type() != eth_type::kArp || j.has_vlan_tag() || j.tp_src() != arp_op::kRequest)
      return std::nullopt;
    const IpAddr target = j.dst_ip();
    if (!place_on_bridges(bridge.id, target) && !dhcp_mac_at(bridge.id, target))
      return std::nullopt;
    if (j.src_is(kNoAddress4) || j.src_is(target)) return std::nullopt;
    return target;
  }
  if (!j.eth_dst_starts(kSolicitedNodes, kSolicitedNodesBits)) return std::nullopt;
  if (j.eth_type() != eth_type::kIpv6 || j.has_vlan_tag() || j.ip_proto() != ip_proto::kIcmpv6 ||
      j.ip_frag() != FragKind::none || j.tp_src() != icmpv6_type::kNeighbourSolicit)
    return std::nullopt;
  if (!place_on_bridges(bridge.id, j.dst_ip())) return std::nullopt;
  if (j.src_is(kNoAddress6)) return std::nullopt;
  // From here on the message decides, which is in no class.
  const auto nd = NdMessage::of(*j.parsed, j.bytes);
  if (nd && place_on_bridges(bridge.id, nd->target)) return nd->target;
  cacheable_ = false;
  return std::nullopt;
}

/// There is somebody who would hear the question, so that the answer is not given for who is gone.
bool Simulation::machine_is_there(const model::Port& port) {
  depend(port_tag(port.id));
  const model::Binding* binding = snapshot_.binding(port.id);
  return !port.peer && port.admin_up && !port.unreadable && binding != nullptr && binding->active;
}

bool Simulation::answer_on_bridge(Journey& j, const model::Bridge& bridge, const model::Port& in) {
  // Where the question enters: its answer leaves by the same interface. Behind that, where it is on its way to a router
  // alone, it goes on to that one alone.
  const bool enters = j.devices == 1 && !in.peer;
  if (j.mask == nullptr || j.from_tunnel || (!enters && (j.devices == 1 || j.flooded != nullptr)))
    return false;
  const auto target = asked_for(j, bridge);
  if (!target) return false;
  // The target of a solicitation is in no class: of what follows from it only answers are for a class, since a packet
  // for another target is none of theirs (fits()).
  const bool cacheable = cacheable_;
  if (target->is_v6()) cacheable_ = false;
  const bool settled = answer_for(j, bridge, in, *target);
  if (settled && !one_of_several(bridge, *target) && j.fate->copies.size() == 1 &&
      std::holds_alternative<NeighbourAnswer>(j.fate->copies.front().output))
    cacheable_ = cacheable || cacheable_if_answered_;
  return settled;
}

bool Simulation::answer_for(Journey& j, const model::Bridge& bridge, const model::Port& in,
                            const IpAddr& target) {
  const auto to_all = [&](std::string_view why) {
    note_at(j, DeviceKind::bridge, bridge, "does not answer for {}: {}", target, why);
    return false;
  };
  const auto place = place_on_bridges(bridge.id, target);
  if (!place) {
    if (in.peer) return to_all("it comes from another bridge");
    return answer_with(j, bridge, in, target, *dhcp_mac_at(bridge.id, target), "its DHCP server");
  }
  const model::AddressOwner& owner = place->owners.front();
  if (place->owners.size() > 1) return to_all("more than one has it");
  depend(port_tag(owner.port));
  const model::Port* port = snapshot_.port(owner.port);
  if (port == nullptr) return to_all("its port is not known");
  if (const model::Port* peer = snapshot_.peer(*port);
      peer != nullptr && std::holds_alternative<RouterId>(peer->device)) {
    const PortId way = place->via.is_nil() ? port->id : place->via;
    note_at(j, DeviceKind::bridge, bridge, "{} is the address of a router, behind port {}", target,
            port_name(way));
    leave(j, way);
    return true;
  }
  if (in.peer) return to_all("it comes from another bridge");
  if (!machine_is_there(*port)) return to_all("its port is not in use");
  if (port->id == in.id) return to_all("it is behind the port that asks");
  if (j.eth_src() == owner.mac) return to_all("the one who has it asks");
  return answer_with(j, bridge, in, target, owner.mac,
                     trace_ == nullptr ? std::string() : "port " + port->name);
}

bool Simulation::answer_with(Journey& j, const model::Bridge& bridge, const model::Port& in,
                             const IpAddr& target, const MacAddr& mac, std::string_view whose) {
  const auto to_all = [&](std::string_view why) {
    note_at(j, DeviceKind::bridge, bridge, "does not answer for {}: {}", target, why);
    return false;
  };
  const MacAddr asker = j.eth_src();
  depend(mac_tag(bridge.id, asker));
  if (const auto home = snapshot_.port_of_mac(bridge.id, asker); home && *home != in.id)
    return to_all("the one who asks is somewhere else");
  if (!neighbour_answer(*j.parsed, j.bytes, target, mac, false)) {
    cacheable_ = false;  // others of the class can be answered
    return to_all("the question is not a plain one");
  }
  if (!snapshot_.mirrors_of(in.id).empty() || !snapshot_.mirrors_of(bridge.id).empty()) {
    // The question has been copied, or the answer will be: a flow that answers does nothing else.
    note_at(j, DeviceKind::bridge, bridge, "answers for {}: {} is at {}", whose, target, mac);
    const Frame question = j.materialize();
    auto answer = neighbour_answer(parse_packet(question), question, target, mac, false);
    j.fate->consumed = true;
    if (answer) (void)send_out(j, in, std::move(*answer), "answer");
    return true;
  }
  if (in.out_chain) {
    // The answer leaves by the port as all else does, and is what it is by these.
    (void)j.src_ip();
    (void)j.dst_ip();
    const auto frame = neighbour_answer(*j.parsed, j.bytes, target, mac, false);
    const ParsedPacket parsed = parse_packet(*frame);
    Journey answer;
    Fate fate;
    answer.key = parsed.key;
    answer.bytes = *frame;
    answer.parsed = &parsed;
    answer.fate = &fate;
    answer.depth = j.depth;
    if (!pass_out(answer, in)) {
      j.fate->lost_as(fate);
      cacheable_ = false;  // others of the class are no plain questions and go to all
      return true;
    }
  }
  note_at(j, DeviceKind::bridge, bridge, "answers for {}: {} is at {}", whose, target, mac);
  // The answer is a packet of its own: nothing that was rewritten on the question's way, and its tag as it came.
  j.fate->copies.push_back({{}, NeighbourAnswer{mac, target, false}});
  return true;
}

}  // namespace plexus::sim
