// SPDX-License-Identifier: Apache-2.0
// What the virtual router answers itself: ARP (RFC 826), neighbour discovery (RFC 4861), ICMP (RFC 792, 1812, 4443).
// Most of it looks at more than the flow key, and each packet wants its answer: not cacheable. The exception are plain
// questions for the router's MAC from neighbours that are known already (answer_neighbour).
#include <algorithm>
#include <utility>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

const IpAddr kAllNodes = IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
             kAllRouters = IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2});

bool is_port_address(const model::Port& port, const IpAddr& address) {
  return (address.is_v6() && address == link_local_of(port.mac)) ||
         std::any_of(port.networks.begin(), port.networks.end(),
                     [&](const IpPrefix& n) { return n.addr == address; });
}

}  // namespace

void Simulation::to_group(Journey& j, const model::Router& router, const model::Port& in) {
  const auto ignore = [&](DropReason reason, std::string_view why) {
    drop_at(j, reason, DeviceKind::router, router, "ignores it: {}", why);
  };
  if (in.mac.is_zero()) return ignore(DropReason::dangling, "the port has no MAC");
  if (!pass_in(j, in, router.in_chain, router.out_chain)) return;
  if (j.has_vlan_tag()) return ignore(DropReason::vlan_at_router, "VLAN tag");
  const uint16_t type = j.eth_type();
  if (type == eth_type::kArp) return arp(j, router, in);
  if (type != eth_type::kIpv6)
    return ignore(DropReason::multicast_not_routed, "groups and broadcasts are not routed");
  if (j.ip_proto() != ip_proto::kIcmpv6 || j.ip_frag() != FragKind::none)
    return ignore(DropReason::multicast_not_routed, "groups are not routed");
  const uint16_t message = j.tp_src();
  if (message == icmpv6_type::kRouterSolicit && j.dst_is(kAllRouters))
    return router_solicitation(j, router, in);
  if (message != icmpv6_type::kNeighbourSolicit &&
      (message != icmpv6_type::kNeighbourAdvert || !j.dst_is(kAllNodes)))
    return ignore(DropReason::multicast_not_routed, "groups are not routed");
  if (j.key.tp_src.host() == icmpv6_type::kNeighbourAdvert)
    return neighbour_discovery(j, router, in);
  bool ours = j.dst_is(solicited_node_of(link_local_of(in.mac)));
  for (const IpPrefix& network : in.networks)
    ours = ours || (network.addr.is_v6() && j.dst_is(solicited_node_of(network.addr)));
  depend(translations_tag(router.id));
  depend(translation_kinds_tag(router.id));
  if (const model::TranslationTable* table = snapshot_.translations(router.id);
      !ours && table != nullptr && table->has_outside(IpFamily::v6)) {
    const auto nd = NdMessage::of(*j.parsed, j.bytes);
    cacheable_ = false;  // the message decides, which is in no class
    ours = nd && answers_for(router, in, nd->target, true);
  }
  if (!ours)
    return ignore(DropReason::multicast_not_routed, "the solicitation is for another group");
  neighbour_discovery(j, router, in);
}

bool Simulation::takes_announcement(Journey& j, const model::Router& router,
                                    const model::Port& in) {
  const IpAddr address = j.dst_ip();
  if (!j.src_is(address)) return false;
  depend(neighbour_tag(in.id, address));
  if (!snapshot_.neighbour(in.id, address)) return false;
  cacheable_ = false;  // the MAC is in the message
  const auto arp = ArpView::of(*j.parsed, j.bytes);
  if (!arp || arp->sender_mac().is_multicast() || arp->sender_mac().is_zero()) return false;
  learn(j, router, in, address, arp->sender_mac());
  j.fate->consumed = true;
  return true;
}

void Simulation::arp(Journey& j, const model::Router& router, const model::Port& in) {
  const bool ours = std::any_of(in.networks.begin(), in.networks.end(),
                                [&](const IpPrefix& n) { return j.dst_is(n.addr); }) ||
                    (outside_uses(j, router, j.key.dst_ip()) != nullptr &&
                     answers_for(router, in, j.key.dst_ip(), false));
  if (!ours) {
    if (takes_announcement(j, router, in)) return;
    return drop_at(j, DropReason::not_for_router, DeviceKind::router, router,
                   "ignores it: {} is no address of port {}", j.key.dst_ip(), in.name);
  }
  const bool cacheable = std::exchange(cacheable_, false);
  const auto arp = ArpView::of(*j.parsed, j.bytes);
  if (!arp)
    return drop_at(j, DropReason::bad_arp, DeviceKind::router, router, "is no whole ARP packet");
  const MacAddr sender_mac = arp->sender_mac();
  const IpAddr sender = arp->sender_ip(), target = arp->target_ip();
  if (sender_mac.is_multicast() || sender_mac.is_zero() || sender.is_multicast() ||
      sender.is_loopback() ||
      (arp->operation() != arp_op::kRequest && arp->operation() != arp_op::kReply)) {
    return drop_at(j, DropReason::bad_arp, DeviceKind::router, router,
                   "sender {} at {}, operation {}", sender, sender_mac, arp->operation());
  }
  if (is_port_address(in, sender)) {
    return drop_at(j, DropReason::bad_source_address, DeviceKind::router, router,
                   "{} says that it has the router's address {}", sender_mac, sender);
  }
  learn(j, router, in, sender, sender_mac, arp->operation() == arp_op::kReply);
  if (arp->operation() == arp_op::kReply) {
    j.fate->consumed = true;
    return note_at(j, DeviceKind::router, router, "takes the ARP reply: {} is at {}", sender,
                   sender_mac);
  }
  note_at(j, DeviceKind::router, router, "answers the ARP request: {} is at {}", target, in.mac);
  if (answer_neighbour(j, in, target, arp_reply(in.mac, target, sender_mac, sender), "ARP reply"))
    cacheable_ = cacheable || cacheable_if_answered_;
}

void Simulation::neighbour_discovery(Journey& j, const model::Router& router,
                                     const model::Port& in) {
  const bool cacheable = std::exchange(cacheable_, false);
  const Present now(j);
  const auto nd = NdMessage::of(now.parsed, now.frame);
  if (!nd) {
    return drop_at(j, DropReason::bad_neighbour_discovery, DeviceKind::router, router,
                   "the message fails the checks of RFC 4861 7.1");
  }
  const MacAddr link_address = nd->link_address.value_or(j.key.src_mac());
  if (link_address.is_multicast() || link_address.is_zero()) {
    return drop_at(j, DropReason::bad_neighbour_discovery, DeviceKind::router, router,
                   "{} is no link-layer address", link_address);
  }
  if (nd->type == icmpv6_type::kNeighbourAdvert) {
    if (is_port_address(in, nd->target)) {
      return drop_at(j, DropReason::bad_source_address, DeviceKind::router, router,
                     "{} says that it has the router's address {}", link_address, nd->target);
    }
    // RFC 4861 7.2.5: nobody is waiting for what was not asked for, and what is known is replaced only when told so.
    j.fate->consumed = true;
    const auto known = snapshot_.neighbour(in.id, nd->target);
    if (!known && nd->dst.is_multicast()) {
      return note_at(j, DeviceKind::router, router, "{} is no neighbour that it speaks to",
                     nd->target);
    }
    if (known && *known != link_address && !nd->override_) {
      return note_at(j, DeviceKind::router, router,
                     "keeps {} at {}: the advertisement overrides nothing", nd->target,
                     known->str());
    }
    learn(j, router, in, nd->target, link_address, nd->solicited);
    return note_at(j, DeviceKind::router, router, "takes the neighbour advertisement: {} is at {}",
                   nd->target, link_address);
  }
  if (!is_port_address(in, nd->target) && !answers_for(router, in, nd->target, true)) {
    return drop_at(j, DropReason::not_for_router, DeviceKind::router, router,
                   "ignores it: {} is no address of port {}", nd->target, in.name);
  }
  const bool probe =
      nd->src.is_unspecified();  // duplicate address detection: to all, RFC 4861 7.2.4
  if (!probe) learn(j, router, in, nd->src, link_address);
  note_at(j, DeviceKind::router, router, "answers the neighbour solicitation: {} is at {}",
          nd->target, in.mac);
  auto advert = nd_advert(in.mac, nd->target, probe ? multicast_mac_of(kAllNodes) : link_address,
                          probe ? kAllNodes : nd->src,
                          {.router = true, .solicited = !probe, .override_ = true});
  if (answer_neighbour(j, in, nd->target, std::move(advert), "neighbour advertisement"))
    cacheable_ = cacheable || cacheable_if_answered_;
}

bool Simulation::answer_neighbour(Journey& j, const model::Port& in, const IpAddr& target,
                                  std::vector<uint8_t> reply, std::string_view what) {
  const size_t before = generated_.size();
  send_out(j, in, std::move(reply), what);
  Rewrite back;
  back.push_vlan = tag_;
  const bool back_only =
      generated_.size() == before + 1 &&
      generated_.back().actions == Actions{{Copy{back, LocalOutput{DpPort{packet_.key.in_port}}}}};
  // The frame as it came, but for its tag and mark, on its only way; one of several copies has no say over the whole.
  Rewrite others = j.rewrite;
  others.dscp.reset();
  others.pop_vlan = false;
  const bool alone = j.mask != nullptr && others.empty() && j.flooded == nullptr &&
                     j.fate->copies.empty() && writes_.empty();
  if (!back_only || !alone || !neighbour_answer(*j.parsed, j.bytes, target, in.mac, true)) {
    j.fate->consumed = true;
    return false;
  }
  generated_.pop_back();
  // What decided: who asks, whom, and what of the asker is known.
  (void)j.eth_src();
  (void)j.tp_src();
  (void)j.src_ip();
  (void)j.dst_ip();
  j.fate->copies.push_back({{}, NeighbourAnswer{in.mac, target, true}});
  return true;
}

void Simulation::learn(Journey& j, const model::Router& router, const model::Port& in,
                       const IpAddr& address, const MacAddr& mac, bool answers) {
  if (address.is_unspecified() || address.is_multicast() || address.is_loopback()) return;
  const bool on_link = (address.is_v6() && address.is_link_local()) ||
                       std::any_of(in.networks.begin(), in.networks.end(), [&](const IpPrefix& n) {
                         return n.contains(address) && n.broadcast() != address;
                       });
  if (!on_link) {
    return note_at(j, DeviceKind::router, router, "learns nothing: {} is in no network of port {}",
                   address, in.name);
  }
  depend(router_addresses_tag(router.id), true);  // read at an address that need not be a header's
  for (const model::RouterAddress& own : snapshot_.router_addresses(router.id))
    if (own.network.addr == address) return;
  if (answers_for(router, in, address, true)) return;
  // What is configured stands above what somebody says.
  if (mac_in_topology(in, address)) return;
  depend(neighbour_tag(in.id, address));
  const bool known = snapshot_.neighbour(in.id, address) == mac;
  if (known && !answers) return;
  note_at(j, DeviceKind::router, router, "{} that {} is at {}", known ? "confirms" : "learns",
          address, mac);
  const PortId entered_by =
      entered_by_ == nullptr ? PortId{} : entered_by_->parent.value_or(entered_by_->id);
  const StateWrite write = NeighbourLearned{in.id, address, mac, entered_by};
  if (std::find(writes_.begin(), writes_.end(), write) == writes_.end()) writes_.push_back(write);
}

void Simulation::to_router(Journey& j, const model::Router& router, const model::Port& in) {
  const bool cacheable = std::exchange(cacheable_, false);
  const FlowKey& key = j.key;
  note_at(j, DeviceKind::router, router, "{} is its own address", key.dst_ip());
  if (j.ip_frag() != FragKind::none) {
    return drop_at(j, DropReason::fragment_at_router, DeviceKind::router, router,
                   "takes no fragments for itself");
  }
  const uint8_t proto = j.ip_proto();
  const bool icmp = key.is_ipv4() ? proto == ip_proto::kIcmp : proto == ip_proto::kIcmpv6;
  if (!icmp) return refuse_at_router(j, router, in, proto);
  const uint16_t type = j.tp_src();
  if (key.is_ipv6() &&
      (type == icmpv6_type::kNeighbourSolicit || type == icmpv6_type::kNeighbourAdvert)) {
    cacheable_ = cacheable;
    return neighbour_discovery(j, router, in);
  }
  if (key.is_ipv6() && type == icmpv6_type::kRouterSolicit)
    return router_solicitation(j, router, in);
  if (type != (key.is_ipv4() ? icmp_type::kEchoRequest : icmpv6_type::kEchoRequest)) {
    j.fate->consumed = true;
    return note_at(j, DeviceKind::router, router, "takes the ICMP message of type {}", type);
  }
  const Present now(j);
  auto reply = echo_reply(now.parsed, now.frame);
  if (!reply) {
    return drop_at(j, DropReason::bad_checksum, DeviceKind::router, router,
                   "the echo request is damaged");
  }
  j.fate->consumed = true;
  note_at(j, DeviceKind::router, router, "answers the echo request");
  send_routed(j, router, in, std::move(*reply), "echo reply", GeneratedKind::echo_reply);
}

void Simulation::refuse_at_router(Journey& j, const model::Router& router, const model::Port& in,
                                  uint8_t protocol) {
  const bool tcp = protocol == ip_proto::kTcp;
  // What is damaged says nothing, not even whom to tell (RFC 9293 3.1, RFC 1122 4.1.3.4).
  if ((tcp || protocol == ip_proto::kUdp) && !transport_checksum_ok(*j.parsed, j.bytes) &&
      !transport_checksum_is_partial(*j.parsed, j.bytes)) {
    return drop_at(j, DropReason::bad_checksum, DeviceKind::router, router, "the {} is damaged",
                   tcp ? "segment" : "datagram");
  }
  drop_at(j, DropReason::router_port_closed, DeviceKind::router, router,
          "offers no service of IP protocol {}", protocol);
  if (!tcp) {
    return send_error(j, router, in,
                      protocol == ip_proto::kUdp ? IcmpErrorKind::port_unreachable
                                                 : IcmpErrorKind::protocol_unreachable);
  }
  // At an address of translations another host may know its connection, which a reset would end. A SYN is of none.
  using namespace state::tcp_flag;
  const bool may_belong =
      (j.key.tcp_flags & (kSyn | kAck)) != kSyn && (j.key.tcp_flags & kRst) == 0;
  if (may_belong && outside_uses(j, router, j.key.dst_ip()) != nullptr)
    return send_error(j, router, in, IcmpErrorKind::port_unreachable);
  const Present now(j.stage != nullptr && j.stage->came != nullptr ? *j.stage->came : j);
  auto reset = tcp_reset(in.mac, j.key.src_mac(), now.parsed, now.frame);
  if (!reset) {
    return note_at(j, DeviceKind::router, router,
                   "tells nobody: no reset may be sent about this packet");
  }
  send_routed(j, router, in, std::move(*reset), "TCP reset", GeneratedKind::unreachable);
}

void Simulation::send_error(Journey& j, const model::Router& router, const model::Port& in,
                            IcmpErrorKind kind, uint32_t mtu) {
  cacheable_ = false;
  // Its sender is told about what it sent.
  const Present now(j.stage != nullptr && j.stage->came != nullptr ? *j.stage->came : j);
  // Of what it was asked for it speaks with the address that it was asked at (RFC 1122 3.2.2).
  const auto from =
      kind == IcmpErrorKind::port_unreachable || kind == IcmpErrorKind::protocol_unreachable
          ? std::optional(now.parsed.key.dst_ip())
          : own_address_for(router, in, now.parsed.key.src_ip());
  if (!from) return;
  const IcmpErrorSpec spec{.kind = kind,
                           .from_mac = in.mac,
                           .to_mac = j.key.src_mac(),
                           .from_ip = *from,
                           .mtu = static_cast<uint16_t>(std::min(mtu, 65535u))};
  auto error = icmp_error(spec, now.parsed, now.frame);
  if (!error) {
    return note_at(j, DeviceKind::router, router,
                   "tells nobody: ICMP forbids an error about this packet");
  }
  send_routed(j, router, in, std::move(*error), "ICMP error",
              kind == IcmpErrorKind::time_exceeded    ? GeneratedKind::time_exceeded
              : kind == IcmpErrorKind::packet_too_big ? GeneratedKind::packet_too_big
                                                      : GeneratedKind::unreachable);
}

std::optional<IpAddr> Simulation::own_address_for(const model::Router& router,
                                                  const model::Port& port, const IpAddr& peer) {
  const IpPrefix* of_port = nullptr;
  for (const IpPrefix& network : port.networks) {
    if (network.addr.family != peer.family) continue;
    if (network.contains(peer)) return network.addr;
    if (of_port == nullptr) of_port = &network;
  }
  if (peer.is_v6() && peer.is_link_local()) return link_local_of(port.mac);
  if (of_port != nullptr) return of_port->addr;
  for (const model::RouterAddress& own : snapshot_.router_addresses(router.id))
    if (own.network.addr.family == peer.family) return own.network.addr;
  return std::nullopt;
}

void Simulation::send_routed(const Journey& cause, const model::Router& router,
                             const model::Port& in, std::vector<uint8_t> frame,
                             std::string_view what, GeneratedKind kind) {
  Journey j;
  Fate fate;
  const ParsedPacket parsed = parse_packet(frame);
  j.key = parsed.key;
  j.bytes = frame;
  j.parsed = &parsed;
  j.fate = &fate;
  j.depth = cause.depth + 1;
  std::optional<Way> way;
  if (const IpAddr to = j.key.dst_ip(); to.is_v6() && to.is_link_local()) {
    if (const auto mac = resolve(j, in, to)) way = Way{&in, *mac};
  } else {
    way = way_by(j, router, nullptr, lookup(j, router));
  }
  if (!way) return;
  put_bytes(frame, 0, way->neighbour.bytes);
  put_bytes(frame, 6, way->port->mac.bytes);
  send_out(cause, *way->port, std::move(frame), what, kind, router.id);
}

DropReason Simulation::send_out(const Journey& cause, const model::Port& port,
                                std::vector<uint8_t> frame, std::string_view what,
                                GeneratedKind kind, RouterId router) {
  if (++made_ > kMaxGenerated) {
    too_many_ = true;
    return DropReason::too_many_devices;
  }
  Journey j;
  Fate fate;
  const ParsedPacket parsed = parse_packet(frame);
  j.key = parsed.key;
  j.bytes = frame;
  j.parsed = &parsed;
  j.fate = &fate;
  j.depth = cause.depth + 1;
  j.size = packet_size(parsed, frame);
  if (kind == GeneratedKind::rejection) {
    j.passing = Passing::decided;
    j.refusal = true;
  }
  if (kind == GeneratedKind::dhcp)
    j.refusal = true;  // it comes from nobody who could be in a group
  Hop hop;
  j.hop = &hop;
  if (trace_ != nullptr) note(j, DeviceKind::packet, {}, {}, "{}: {}", what, format_frame(frame));
  meet_limit(j, port.mtu);
  const bool flooded_before = std::exchange(flooded_, false);
  leave(j, port.id);
  // A question that is flooded is to be within what the packet's interface may flood: a scan is a storm, too.
  const uint32_t limit = soliciting_ ? storm_limit() : 0;
  flooded_ = flooded_ || flooded_before;
  if (fate.copies.size() == fate.mirrored.size()) {
    if (fate.consumed) return DropReason::none;
    return fate.reason != DropReason::none ? fate.reason : DropReason::no_receivers;
  }
  auto& list = soliciting_ ? solicitations_ : generated_;
  const Actions actions{.copies = std::move(fate.copies), .mtu = 0, .storm_limit = limit};
  if (!hop.exceeded) {
    list.push_back({std::move(frame), actions, kind, router});
    return DropReason::none;
  }
  std::vector<Frame> pieces = own_fragments(std::move(frame), hop.path_mtu);
  if (pieces.empty()) {
    note(j, DeviceKind::packet, {}, {},
         "the {} is lost: no fragments of at most {} bytes can be made of it", what, hop.path_mtu);
    return DropReason::packet_too_big;
  }
  for (Frame& piece : pieces) list.push_back({std::move(piece), actions, kind, router});
  return DropReason::none;
}

}  // namespace plexus::sim
