// SPDX-License-Identifier: Apache-2.0
// Random packets for a random cloud, near enough to it to get somewhere. Not part of the product.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flow/match_text.h"
#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "sim/simulate.h"
#include "sim/test_random_cloud.h"

namespace plexus::sim {

struct Entry {
  DpPort port;
  uint32_t tunnel_key = 0;
};

inline Entry random_entry(const World& w, HostId self, Dice& dice) {
  std::vector<Entry> ways;
  if (dice.one_in(10)) ways.push_back({kTunnelPort, 0xdead});
  for (const auto& [id, b] : w.cloud.bindings) {
    if (b.host != self) continue;
    if (w.cloud.dp_ports.contains(id))
      for (int i = 0; i < 6; ++i) ways.push_back({w.cloud.dp_port(id), 0});
    ways.push_back({kTunnelPort, b.tunnel_key});
  }
  for (const auto& [bridge, key] : w.cloud.hosts.at(self).flood_keys)
    ways.push_back({kTunnelPort, key});
  return ways.empty() ? Entry{kTunnelPort, 0xdead} : dice.of(ways);
}

/// MACs of the routers that hear the port where the packet enters: what real packets mostly go to.
inline std::vector<MacAddr> gateways(const World& w, const Entry& entry) {
  std::vector<MacAddr> out;
  for (const auto& [id, number] : w.cloud.dp_ports) {
    const auto port = w.cloud.ports.find(id);
    if (DpPort{number} != entry.port || port == w.cloud.ports.end()) continue;
    if (std::holds_alternative<RouterId>(port->second.device)) out.push_back(port->second.mac);
    for (const auto& [other_id, other] : w.cloud.ports) {
      if (other.device != port->second.device || !other.peer) continue;
      if (const auto peer = w.cloud.ports.find(*other.peer); peer != w.cloud.ports.end())
        out.push_back(peer->second.mac);
    }
  }
  return out;
}

inline FlowKey random_key(const World& w, const Entry& entry, Dice& dice) {
  FlowKey k;
  std::vector<MacAddr> macs{kBroadcastMac, mac_of(9, 9), MacAddr{{0x01, 0x80, 0xc2, 0, 0, 0x0e}},
                            MacAddr{{0x33, 0x33, 0, 0, 0, 1}}};
  std::vector<IpAddr> v4s{v4_of(0, 255),          v4_of(5, 1),
                          v4_of(0, 77),           IpAddr::v4(0x7f000001),
                          IpAddr::v4(0xffffffff), IpAddr::v4(0xe0000001),
                          IpAddr::v4(0x08080808), IpAddr::v4(0)};
  std::vector<IpAddr> v6s{
      v6_of(0, 77),          v6_of(5, 1),   *IpAddr::parse("ff02::1"), *IpAddr::parse("fe80::9"),
      *IpAddr::parse("::1"), IpAddr::v6({})};
  for (const auto& [id, p] : w.cloud.ports) {
    macs.push_back(p.mac);
    for (const IpAddr& a : p.addresses) (a.is_v4() ? v4s : v6s).push_back(a);
    for (const IpPrefix& n : p.networks) {
      (n.addr.is_v4() ? v4s : v6s).push_back(n.addr);
      if (n.addr.is_v6()) v6s.push_back(solicited_node_of(n.addr));
    }
    if (!p.networks.empty()) v6s.push_back(link_local_of(p.mac));
  }
  k.eth_dst = dice.of(macs).bytes;
  k.eth_src = dice.of(macs).bytes;
  if (!dice.one_in(20)) k.eth_src[0] &= 0xfe;
  if (const auto near = gateways(w, entry); !near.empty() && !dice.one_in(3))
    k.eth_dst = dice.of(near).bytes;
  k.vlan_tci =
      Be16(dice.one_in(20) ? static_cast<uint16_t>(0x1000 | dice.below(0x1000)) : uint16_t{0});
  if (dice.one_in(12)) k.vlan_tci = Be16(static_cast<uint16_t>(0x1000 | random_vlan(dice)));
  if (dice.one_in(5)) {  // a question for a neighbour, as machines ask it
    std::vector<IpAddr> targets;
    for (const auto& [id, p] : w.cloud.ports) {
      targets.insert(targets.end(), p.addresses.begin(), p.addresses.end());
      for (const IpPrefix& n : p.networks) targets.push_back(n.addr);
    }
    if (targets.empty()) return k;
    const IpAddr target = dice.of(targets);
    k.eth_type = Be16(target.is_v4() ? eth_type::kArp : eth_type::kIpv6);
    k.tp_src = Be16(target.is_v4() ? uint16_t{1} : uint16_t{icmpv6_type::kNeighbourSolicit});
    IpAddr asker = target;  // most are of the same network
    asker.bytes[asker.size() - 1] = 7;
    if (dice.one_in(6)) asker = target.is_v4() ? dice.of(v4s) : dice.of(v6s);
    k.set_src_ip(asker);
    k.set_dst_ip(target.is_v4() ? target : solicited_node_of(target));
    k.eth_dst = (target.is_v4() ? kBroadcastMac : multicast_mac_of(k.dst_ip())).bytes;
    if (target.is_v4()) return k;
    k.ip_proto = ip_proto::kIcmpv6;
    k.ip_ttl = 255;
    return k;
  }
  // Few sources are forged.
  const auto source = [&](const std::vector<IpAddr>& all, const IpAddr& usual) {
    return dice.one_in(3) ? dice.of(all) : usual;
  };
  switch (dice.below(8)) {
    case 0:
      k.eth_type = Be16(eth_type::kArp);
      k.tp_src = Be16(static_cast<uint16_t>(1 + dice.below(3)));
      k.set_src_ip(dice.of(v4s));
      k.set_dst_ip(dice.of(v4s));
      return k;
    case 1:
      k.eth_type = Be16(dice.one_in(2) ? 0x88cc : 0x88b5);
      return k;
    case 2:
    case 3:
    case 4:
      k.eth_type = Be16(eth_type::kIpv6);
      k.set_src_ip(source(v6s, v6_of(static_cast<unsigned>(dice.below(4)),
                                     1 + static_cast<unsigned>(dice.below(9)))));
      k.set_dst_ip(dice.one_in(3) ? v6_of(static_cast<unsigned>(dice.below(6)),
                                          static_cast<unsigned>(dice.below(9)))
                                  : dice.of(v6s));
      break;
    default:
      k.eth_type = Be16(eth_type::kIpv4);
      k.set_src_ip(source(v4s, v4_of(static_cast<unsigned>(dice.below(4)),
                                     1 + static_cast<unsigned>(dice.below(9)))));
      k.set_dst_ip(dice.one_in(3) ? v4_of(static_cast<unsigned>(dice.below(6)),
                                          static_cast<unsigned>(dice.below(9)))
                                  : dice.of(v4s));
  }
  static const std::vector<uint8_t> kTtls{1, 2, 3, 4, 63, 64, 128, 255};
  k.ip_ttl = dice.one_in(4) ? dice.byte() : dice.of(kTtls);
  k.ip_tos = dice.byte();
  if (dice.one_in(12)) k.ip_frag = static_cast<uint8_t>(1 + dice.below(2));
  static const std::vector<uint8_t> kProtos{ip_proto::kTcp, ip_proto::kUdp, ip_proto::kIcmp,
                                            ip_proto::kIcmpv6, 50};
  k.ip_proto = dice.of(kProtos);
  static const std::vector<uint16_t> kPorts{0, 8, 128, 129, 135, 136, 80, 1024};
  k.tp_src = Be16(dice.of(kPorts));
  k.tp_dst = Be16(dice.one_in(2) ? uint16_t{0} : dice.of(kPorts));
  k.tcp_flags = dice.byte();
  return k;
}

/// What a well-behaved guest sends to another network; any key when there is no such guest.
inline FlowKey routed_key(const World& w, const Entry& entry, Dice& dice) {
  FlowKey k = random_key(w, entry, dice);
  const auto near = gateways(w, entry);
  if (near.empty() || !k.is_ip()) return k;
  k.eth_dst = dice.of(near).bytes;
  k.eth_src = mac_of(1, 1).bytes;
  k.vlan_tci = {};
  std::vector<IpAddr> targets;
  for (PortId id : w.vms)
    if (const auto p = w.cloud.ports.find(id); p != w.cloud.ports.end())
      for (const IpAddr& a : p->second.addresses)
        if (a.is_v4() == k.is_ipv4()) targets.push_back(a);
  const unsigned net = static_cast<unsigned>(dice.below(w.bridges.size())),
                 n = 1 + static_cast<unsigned>(dice.below(9));
  k.set_src_ip(k.is_ipv4() ? v4_of(net, n) : v6_of(net, n));
  if (!targets.empty() && !dice.one_in(4)) k.set_dst_ip(dice.of(targets));
  if (k.ip_ttl < 2) k.ip_ttl = 3;
  return k;
}

/// A frame whose key is `k`, as far as frames go; parsing it tells.
inline Frame frame_of(const FlowKey& k, Dice& dice) {
  Frame f;
  const bool tagged = (k.vlan_tci.host() & 0x1000) != 0;
  if (!k.is_ip()) {
    f.insert(f.end(), k.eth_dst.begin(), k.eth_dst.end());
    f.insert(f.end(), k.eth_src.begin(), k.eth_src.end());
    f.insert(f.end(), k.eth_type.bytes.begin(), k.eth_type.bytes.end());
    std::vector<uint8_t> body(46);
    if (k.is_arp()) {
      put_be16(body, 0, 1);
      put_be16(body, 2, eth_type::kIpv4);
      body[4] = 6;
      body[5] = 4;
      put_bytes(body, 6, k.tp_src.bytes);
      put_bytes(body, 8, k.eth_src);
      put_bytes(body, 14, std::span(k.nw).first(4));
      put_bytes(body, 24, std::span(k.nw).subspan(4, 4));
    }
    f.insert(f.end(), body.begin(), body.end());
    return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
  }
  const auto fragment = static_cast<FragKind>(k.ip_frag);
  std::vector<uint8_t> message(24 + 8 * dice.below(5));
  for (uint8_t& b : message) b = dice.byte();
  put_bytes(message, 0, k.tp_src.bytes);
  put_bytes(message, 2, k.tp_dst.bytes);
  const bool icmp = k.ip_proto == (k.is_ipv4() ? ip_proto::kIcmp : ip_proto::kIcmpv6);
  if (icmp) {
    message[0] = static_cast<uint8_t>(k.tp_src.host());
    message[1] = static_cast<uint8_t>(k.tp_dst.host());
  }
  if (k.ip_proto == ip_proto::kTcp) {
    message[12] = 0x50;
    message[13] = k.tcp_flags;
  }
  PacketSpec spec{.eth_src = k.src_mac(),
                  .eth_dst = k.dst_mac(),
                  .src = k.src_ip(),
                  .dst = k.dst_ip(),
                  .ttl = k.ip_ttl,
                  .tos = k.ip_tos,
                  .vlan_tci = {}};
  if (k.is_ipv6() && icmp && message[0] == icmpv6_type::kNeighbourSolicit && !dice.one_in(4)) {
    // A whole one, for an address that fits where it goes to; sometimes for another of that group.
    IpAddr target = spec.dst;
    if (target.is_multicast()) {
      target = v6_of(dice.one_in(4) ? static_cast<unsigned>(dice.below(4)) : spec.src.bytes[7],
                     spec.dst.bytes[15]);
      for (size_t b = 13; b < 16; ++b) target.bytes[b] = spec.dst.bytes[b];
    }
    f = nd_solicit(spec.eth_src, spec.src, target);
    put_bytes(f, 0, spec.eth_dst.bytes);
    put_bytes(f, 14 + 24, spec.dst.bytes);
    put_be16(f, 14, static_cast<uint16_t>(0x6000 | spec.tos << 4));
    complete_checksum(parse_packet(f), f);
    return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
  }
  if (k.is_ipv4()) {
    f = ip_packet(spec, k.ip_proto, message);
    if (fragment != FragKind::none)
      put_be16(f, 14 + 6, fragment == FragKind::first ? 0x2000 : 0x0010);
  } else if (fragment != FragKind::none) {
    std::vector<uint8_t> with_header(8);
    with_header[0] = k.ip_proto;
    put_be16(with_header, 2, fragment == FragKind::first ? 0x0001 : 0x0080);
    with_header.insert(with_header.end(), message.begin(), message.end());
    f = ip_packet(spec, 44, with_header);
  } else {
    f = ip_packet(spec, k.ip_proto, message);
  }
  return tagged ? with_vlan(f, k.vlan_tci.host()) : f;
}

inline bool same_answer(const Outcome& a, const Outcome& b) {
  return a.verdict == b.verdict && a.reason == b.reason && a.actions == b.actions &&
         a.cacheable == b.cacheable && a.generated == b.generated && a.writes == b.writes &&
         a.missing == b.missing && a.tell == b.tell &&
         a.begins.has_value() == b.begins.has_value() &&
         (!a.begins || a.begins->record == b.begins->record) &&
         a.belongs.has_value() == b.belongs.has_value() &&
         (!a.belongs ||
          (a.belongs->number == b.belongs->number && a.belongs->direction == b.belongs->direction &&
           a.belongs->segment == b.belongs->segment));
}

inline std::string describe(const Outcome& o) {
  return std::string(to_string(o.verdict)) + " " + std::string(to_string(o.reason)) + " " +
         format(o.actions) + (o.cacheable ? " cacheable" : "") + " generated " +
         std::to_string(o.generated.size());
}

}  // namespace plexus::sim
