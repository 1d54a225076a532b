// SPDX-License-Identifier: Apache-2.0
#include "packet/build.h"

#include <algorithm>

#include "base/check.h"
#include "packet/bytes.h"
#include "packet/checksum.h"

namespace plexus {
namespace {

constexpr size_t kEthernet = EthernetView::kSize, kIpv4 = Ipv4View::kMinSize,
                 kIpv6 = Ipv6View::kSize, kIcmp = IcmpView::kSize, kTcp = 20;
constexpr size_t kMaxQuoteV4 = 548;
constexpr size_t kMaxQuoteV6 = 1280 - kIpv6 - kIcmp;
/// RFC 1812 4.3.2.5: ICMP errors go with precedence "internetwork control".
constexpr uint8_t kErrorTos = 0xc0;
constexpr size_t kFragmentHeader = 8, kLongestIpv4 = 65535;
constexpr uint8_t kFragmentProtocol = 44, kNoNextHeader = 59;
constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

struct Ethernet {
  MacAddr src, dst;
  /// What stands between the addresses and the network header: tags and EtherType.
  std::vector<uint8_t> types;
};

std::vector<uint8_t> type_bytes(uint16_t type) {
  return {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type)};
}

/// A frame with its Ethernet header filled in and room for `payload` bytes; `l3` tells where they
/// start.
Frame new_frame(const Ethernet& eth, size_t payload, size_t& l3) {
  l3 = 12 + eth.types.size();
  Frame f(l3 + payload);
  put_bytes(f, 0, eth.dst.bytes);
  put_bytes(f, 6, eth.src.bytes);
  put_bytes(f, 12, eth.types);
  return f;
}

struct IpFields {
  IpAddr src, dst;
  uint8_t ttl = kDefaultTtl, tos = 0;
  uint16_t id = 0;
  bool dont_fragment = false;
  uint32_t flow_label = 0;
};

/// Ethernet, IP header and `payload` behind it; the transport checksum is completed.
Frame ip_frame(const Ethernet& eth, const IpFields& ip, uint8_t protocol,
               std::span<const uint8_t> payload) {
  PLEXUS_CHECK(!ip.src.is_none() && ip.src.family == ip.dst.family,
               "source and destination of one family");
  const bool v4 = ip.src.is_v4();
  const size_t header = v4 ? kIpv4 : kIpv6;
  PLEXUS_CHECK(payload.size() + (v4 ? header : 0) <= 65535, "an IP packet of at most 64 KiB");
  size_t l3 = 0;
  Frame f = new_frame(eth, header + payload.size(), l3);
  const auto h = std::span<uint8_t>(f).subspan(l3);
  if (v4) {
    h[0] = 0x45;
    h[1] = ip.tos;
    put_be16(h, 2, static_cast<uint16_t>(h.size()));
    put_be16(h, 4, ip.id);
    put_be16(h, 6, ip.dont_fragment ? 0x4000 : 0);
    h[8] = ip.ttl;
    h[9] = protocol;
    put_bytes(h, 12, wire_bytes(ip.src));
    put_bytes(h, 16, wire_bytes(ip.dst));
    put_be16(h, 10, internet_checksum(h.first(header)));
  } else {
    put_be32(h, 0, 0x60000000u | uint32_t{ip.tos} << 20 | (ip.flow_label & 0xfffff));
    put_be16(h, 4, static_cast<uint16_t>(payload.size()));
    h[6] = protocol;
    h[7] = ip.ttl;
    put_bytes(h, 8, wire_bytes(ip.src));
    put_bytes(h, 24, wire_bytes(ip.dst));
  }
  put_bytes(h, header, payload);
  const ParsedPacket parsed = parse_packet(f);
  if (transport_checksum_offset(parsed)) complete_checksum(parsed, f);
  return f;
}

uint16_t type_of(const IpAddr& a) {
  return a.is_v4() ? eth_type::kIpv4 : eth_type::kIpv6;
}

Ethernet ethernet_of(const PacketSpec& spec) {
  std::vector<uint8_t> types;
  if (spec.vlan_tci) {
    types = type_bytes(eth_type::kVlan);
    const auto tci = type_bytes(*spec.vlan_tci);
    types.insert(types.end(), tci.begin(), tci.end());
  }
  const auto type = type_bytes(type_of(spec.src));
  types.insert(types.end(), type.begin(), type.end());
  return {spec.eth_src, spec.eth_dst, types};
}

/// Tags and EtherType of a received frame, for an answer that goes back the same way.
std::vector<uint8_t> types_of(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const auto types = frame.first(parsed.l3_offset).subspan(12);
  return {types.begin(), types.end()};
}

Frame arp_frame(uint16_t operation, const MacAddr& eth_dst, const MacAddr& sender_mac,
                const IpAddr& sender_ip, const MacAddr& target_mac, const IpAddr& target_ip) {
  PLEXUS_CHECK(sender_ip.is_v4() && target_ip.is_v4(), "ARP speaks IPv4");
  size_t l3 = 0;
  Frame f = new_frame({sender_mac, eth_dst, type_bytes(eth_type::kArp)}, ArpView::kSize, l3);
  const auto a = std::span<uint8_t>(f).subspan(l3);
  put_be16(a, 0, 1);
  put_be16(a, 2, eth_type::kIpv4);
  a[4] = 6;
  a[5] = 4;
  put_be16(a, 6, operation);
  put_bytes(a, 8, sender_mac.bytes);
  put_bytes(a, 14, wire_bytes(sender_ip));
  put_bytes(a, 18, target_mac.bytes);
  put_bytes(a, 24, wire_bytes(target_ip));
  return f;
}

/// A neighbour discovery message with at most one link-layer address option.
Frame nd_frame(const Ethernet& eth, const IpAddr& src, const IpAddr& dst, uint8_t type,
               uint8_t flags, const IpAddr& target, uint8_t option, const MacAddr* address) {
  std::vector<uint8_t> icmp(address != nullptr ? 32 : 24);
  icmp[0] = type;
  icmp[4] = flags;
  put_bytes(icmp, 8, wire_bytes(target));
  if (address != nullptr) {
    icmp[24] = option;
    icmp[25] = 1;  // in units of 8 bytes
    put_bytes(icmp, 26, address->bytes);
  }
  // RFC 4861 7.1: a hop limit of 255 proves that no router was in between.
  return ip_frame(eth, {src, dst, 255}, ip_proto::kIcmpv6, icmp);
}

bool is_single_host(const IpAddr& a) {
  if (a.is_unspecified() || a.is_loopback() || a.is_multicast()) return false;
  return !a.is_v4() || (a.bytes[0] != 0 && a.bytes[0] < 240);
}

/// ICMP messages that an error may be about: the queries and their answers.
bool is_icmp_query(bool v6, uint8_t type) {
  if (v6) return type >= 128 && type != icmpv6_type::kRedirect;
  switch (type) {
    case 0:
    case 8:  // echo
    case 9:
    case 10:  // router discovery
    case 13:
    case 14:  // timestamp
    case 15:
    case 16:  // information
    case 17:
    case 18:  // address mask
    case 42:
    case 43:  // extended echo
      return true;
    default:
      return false;
  }
}

struct TypeCode {
  uint8_t type, code;
};
TypeCode type_code(IcmpErrorKind kind, bool v6) {
  switch (kind) {
    case IcmpErrorKind::time_exceeded:
      return v6 ? TypeCode{3, 0} : TypeCode{11, 0};
    case IcmpErrorKind::net_unreachable:
      return v6 ? TypeCode{1, 0} : TypeCode{3, 0};
    case IcmpErrorKind::host_unreachable:
      return v6 ? TypeCode{1, 3} : TypeCode{3, 1};
    case IcmpErrorKind::protocol_unreachable:
      return v6 ? TypeCode{4, 1} : TypeCode{3, 2};
    case IcmpErrorKind::port_unreachable:
      return v6 ? TypeCode{1, 4} : TypeCode{3, 3};
    case IcmpErrorKind::admin_prohibited:
      return v6 ? TypeCode{1, 1} : TypeCode{3, 13};
    case IcmpErrorKind::packet_too_big:
      return v6 ? TypeCode{2, 0} : TypeCode{3, 4};
  }
  return {3, 0};
}

/// Where an IPv6 packet that parsed names its upper-layer protocol: in its header, or in the last of those behind it.
uint32_t protocol_field_of(std::span<const uint8_t> packet) {
  constexpr uint8_t kHopByHop = 0, kRouting = 43, kDestination = 60;
  size_t field = 6, here = kIpv6;
  while (true) {
    const uint8_t next = packet[field];
    if (next != kHopByHop && next != kRouting && next != kFragmentProtocol && next != kDestination)
      return static_cast<uint32_t>(field);
    field = here;
    here += next == kFragmentProtocol ? kFragmentHeader : (size_t{packet[here + 1]} + 1) * 8;
  }
}

std::vector<Frame> fragment_v4(std::span<const uint8_t> frame, size_t l3, const Ipv4View& ip,
                               size_t mtu) {
  const size_t header = ip.header_length();
  std::vector<Frame> out;
  if (mtu < header + 8) return out;
  const size_t step = (mtu - header) / 8 * 8;
  const auto data = ip.payload();
  // No packet is that long (RFC 791). The field would overflow, and a piece of a later fragment be a first one.
  if (ip.fragment_offset() + header + data.size() > kLongestIpv4) return out;
  for (size_t at = 0; at < data.size(); at += step) {
    const auto piece = data.subspan(at, std::min(step, data.size() - at));
    Frame f(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(l3 + header));
    f.insert(f.end(), piece.begin(), piece.end());
    const auto h = std::span<uint8_t>(f).subspan(l3);
    put_be16(h, 2, static_cast<uint16_t>(h.size()));
    const bool more = ip.more_fragments() || at + piece.size() < data.size();
    put_be16(h, 6, static_cast<uint16_t>((more ? 0x2000 : 0) | (ip.fragment_offset() + at) / 8));
    put_be16(h, 10, 0);
    put_be16(h, 10, internet_checksum(h.first(header)));
    out.push_back(std::move(f));
  }
  return out;
}

/// Of a whole packet, at most 65535 bytes behind its header: no offset is more than its field holds.
std::vector<Frame> fragment_v6(std::span<const uint8_t> frame, size_t l3, const Ipv6View& ip,
                               size_t mtu, uint32_t id) {
  std::vector<Frame> out;
  if (mtu < kIpv6 + kFragmentHeader + 8) return out;
  const size_t step = (mtu - kIpv6 - kFragmentHeader) / 8 * 8;
  const auto data = ip.payload();
  for (size_t at = 0; at < data.size(); at += step) {
    const auto piece = data.subspan(at, std::min(step, data.size() - at));
    Frame f(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(l3 + kIpv6));
    f.resize(l3 + kIpv6 + kFragmentHeader);
    f.insert(f.end(), piece.begin(), piece.end());
    const auto h = std::span<uint8_t>(f).subspan(l3);
    put_be16(h, 4, static_cast<uint16_t>(h.size() - kIpv6));
    h[6] = kFragmentProtocol;
    h[kIpv6] = ip.next_header();
    const bool more = at + piece.size() < data.size();
    put_be16(h, kIpv6 + 2, static_cast<uint16_t>(at | (more ? 1 : 0)));
    put_be32(h, kIpv6 + 4, id);
    out.push_back(std::move(f));
  }
  return out;
}

}  // namespace

Frame arp_request(const MacAddr& sender_mac, const IpAddr& sender_ip, const IpAddr& target_ip) {
  return arp_frame(arp_op::kRequest, kBroadcastMac, sender_mac, sender_ip, {}, target_ip);
}

Frame arp_reply(const MacAddr& sender_mac, const IpAddr& sender_ip, const MacAddr& target_mac,
                const IpAddr& target_ip) {
  return arp_frame(arp_op::kReply, target_mac, sender_mac, sender_ip, target_mac, target_ip);
}

Frame nd_solicit(const MacAddr& sender_mac, const IpAddr& sender_ip, const IpAddr& target) {
  const IpAddr group = solicited_node_of(target);
  const Ethernet eth{sender_mac, multicast_mac_of(group), type_bytes(eth_type::kIpv6)};
  return nd_frame(eth, sender_ip, group, icmpv6_type::kNeighbourSolicit, 0, target, 1,
                  sender_ip.is_unspecified() ? nullptr : &sender_mac);
}

Frame nd_advert(const MacAddr& target_mac, const IpAddr& target, const MacAddr& dst_mac,
                const IpAddr& dst_ip, NdAdvertFlags flags) {
  const auto bits = static_cast<uint8_t>((flags.router ? 0x80 : 0) | (flags.solicited ? 0x40 : 0) |
                                         (flags.override_ ? 0x20 : 0));
  const Ethernet eth{target_mac, dst_mac, type_bytes(eth_type::kIpv6)};
  return nd_frame(eth, target, dst_ip, icmpv6_type::kNeighbourAdvert, bits, target, 2, &target_mac);
}

std::optional<Frame> neighbour_answer(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                                      const IpAddr& target, const MacAddr& mac, bool router) {
  if (parsed.error != ParseError::none) return std::nullopt;
  const MacAddr asker = parsed.key.src_mac();
  Frame f(frame.begin(), frame.end());
  const auto at_l3 = std::span<uint8_t>(f).subspan(parsed.l3_offset);
  if (const auto arp = ArpView::of(parsed, frame)) {
    if (arp->operation() != arp_op::kRequest || arp->sender_mac() != asker ||
        arp->target_ip() != target)
      return std::nullopt;
    put_be16(at_l3, 6, arp_op::kReply);
    put_bytes(at_l3, 8, mac.bytes);
    put_bytes(at_l3, 14, wire_bytes(arp->target_ip()));
    put_bytes(at_l3, 18, asker.bytes);
    put_bytes(at_l3, 24, wire_bytes(arp->sender_ip()));
  } else {
    const auto nd = NdMessage::of(parsed, frame);
    // Right behind the IPv6 header, with one option or none.
    constexpr size_t kHeader = 40, kBare = 24, kWithOption = 32;
    if (!nd || nd->type != icmpv6_type::kNeighbourSolicit || nd->target != target ||
        nd->src.is_unspecified() || parsed.l4_offset != parsed.l3_offset + kHeader)
      return std::nullopt;
    const size_t length = parsed.length - parsed.l4_offset;
    const bool option = length == kWithOption && nd->link_address == asker;
    if (!option && (length != kBare || nd->dst.is_multicast())) return std::nullopt;
    const auto icmp = std::span<uint8_t>(f).subspan(parsed.l4_offset, length);
    put_bytes(at_l3, 8, wire_bytes(nd->target));
    put_bytes(at_l3, 24, wire_bytes(nd->src));
    icmp[0] = icmpv6_type::kNeighbourAdvert;
    icmp[4] = static_cast<uint8_t>(router ? 0xe0 : 0x60);  // solicited, override
    if (option) {
      icmp[24] = 2;
      put_bytes(icmp, 26, mac.bytes);
    }
    complete_checksum(parse_packet(f), f);
  }
  put_bytes(f, 0, asker.bytes);
  put_bytes(f, 6, mac.bytes);
  return f;
}

std::optional<Frame> echo_reply(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                                const std::optional<IpAddr>& from) {
  const auto icmp = IcmpView::of(parsed, frame);
  if (!icmp || parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none)) return std::nullopt;
  const bool v6 = parsed.key.is_ipv6();
  if (icmp->type() != (v6 ? icmpv6_type::kEchoRequest : icmp_type::kEchoRequest) ||
      icmp->code() != 0 || !ipv4_checksum_ok(parsed, frame) ||
      !transport_checksum_ok(parsed, frame))
    return std::nullopt;
  std::vector<uint8_t> message(icmp->bytes().begin(), icmp->bytes().end());
  message[0] = v6 ? icmpv6_type::kEchoReply : icmp_type::kEchoReply;
  const Ethernet eth{parsed.key.dst_mac(), parsed.key.src_mac(), types_of(parsed, frame)};
  IpFields ip{from.value_or(parsed.key.dst_ip()), parsed.key.src_ip()};
  ip.tos = parsed.key.ip_tos;
  if (ip.src.family != ip.dst.family) return std::nullopt;
  return ip_frame(eth, ip, parsed.key.ip_proto, message);
}

bool may_send_icmp_error(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const FlowKey& key = parsed.key;
  if (parsed.error != ParseError::none || !key.is_ip()) return false;
  if (key.ip_frag == static_cast<uint8_t>(FragKind::later)) return false;
  if (key.dst_mac().is_multicast()) return false;
  const IpAddr dst = key.dst_ip();
  if (dst.is_multicast() || dst == IpAddr::v4(0xffffffff)) return false;
  if (!is_single_host(key.src_ip())) return false;
  const auto icmp = IcmpView::of(parsed, frame);
  return !icmp || is_icmp_query(key.is_ipv6(), icmp->type());
}

std::optional<Frame> icmp_error(const IcmpErrorSpec& spec, const ParsedPacket& parsed,
                                std::span<const uint8_t> frame) {
  if (!may_send_icmp_error(parsed, frame)) return std::nullopt;
  const bool v6 = parsed.key.is_ipv6();
  if (spec.from_ip.family != (v6 ? IpFamily::v6 : IpFamily::v4)) return std::nullopt;
  const bool protocol = spec.kind == IcmpErrorKind::protocol_unreachable;
  if (protocol && v6 && parsed.key.ip_proto == kNoNextHeader) return std::nullopt;
  const auto packet = frame.first(parsed.length).subspan(parsed.l3_offset);
  const auto quote = packet.first(std::min(packet.size(), v6 ? kMaxQuoteV6 : kMaxQuoteV4));
  std::vector<uint8_t> message(kIcmp + quote.size());
  const TypeCode tc = type_code(spec.kind, v6);
  message[0] = tc.type;
  message[1] = tc.code;
  if (spec.kind == IcmpErrorKind::packet_too_big) put_be32(message, 4, spec.mtu);
  if (protocol && v6) put_be32(message, 4, protocol_field_of(packet));
  put_bytes(message, kIcmp, quote);
  const Ethernet eth{spec.from_mac, spec.to_mac, types_of(parsed, frame)};
  IpFields ip{spec.from_ip, parsed.key.src_ip()};
  ip.tos = v6 ? uint8_t{0} : kErrorTos;
  return ip_frame(eth, ip, v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp, message);
}

std::optional<Frame> tcp_reset(const MacAddr& from_mac, const MacAddr& to_mac,
                               const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const FlowKey& key = parsed.key;
  if (key.ip_proto != ip_proto::kTcp || key.ip_frag != static_cast<uint8_t>(FragKind::none) ||
      (key.tcp_flags & kRst) != 0 || !may_send_icmp_error(parsed, frame))
    return std::nullopt;
  const auto tcp = frame.first(parsed.length).subspan(parsed.l4_offset);
  const bool acknowledges = (key.tcp_flags & kAck) != 0;
  std::vector<uint8_t> m(kTcp);
  put_be16(m, 0, key.tp_dst.host());
  put_be16(m, 2, key.tp_src.host());
  if (acknowledges) {
    put_be32(m, 4, be32_at(tcp, 8));
  } else {
    // All that came is acknowledged.
    const size_t header = size_t{tcp[12]} / 16 * 4;
    const auto length = static_cast<uint32_t>(tcp.size() - header) +
                        ((key.tcp_flags & kSyn) != 0 ? 1u : 0u) +
                        ((key.tcp_flags & kFin) != 0 ? 1u : 0u);
    put_be32(m, 8, be32_at(tcp, 4) + length);
  }
  m[12] = kTcp / 4 << 4;
  m[13] = acknowledges ? kRst : kRst | kAck;
  put_be16(m, 14, 65535);
  return ip_frame({from_mac, to_mac, types_of(parsed, frame)}, {key.dst_ip(), key.src_ip()},
                  ip_proto::kTcp, m);
}

Frame ip_packet(const PacketSpec& spec, uint8_t protocol, std::span<const uint8_t> payload) {
  return ip_frame(
      ethernet_of(spec),
      {spec.src, spec.dst, spec.ttl, spec.tos, spec.ipv4_id, spec.dont_fragment, spec.flow_label},
      protocol, payload);
}

Frame udp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port,
                 std::span<const uint8_t> payload) {
  std::vector<uint8_t> m(8 + payload.size());
  put_be16(m, 0, src_port);
  put_be16(m, 2, dst_port);
  put_be16(m, 4, static_cast<uint16_t>(m.size()));
  put_bytes(m, 8, payload);
  return ip_packet(spec, ip_proto::kUdp, m);
}

Frame tcp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port, uint8_t flags,
                 uint32_t sequence, std::span<const uint8_t> payload) {
  std::vector<uint8_t> m(20 + payload.size());
  put_be16(m, 0, src_port);
  put_be16(m, 2, dst_port);
  put_be32(m, 4, sequence);
  m[12] = 5 << 4;
  m[13] = flags;
  put_be16(m, 14, 65535);
  put_bytes(m, 20, payload);
  return ip_packet(spec, ip_proto::kTcp, m);
}

Frame icmp_echo(const PacketSpec& spec, bool reply, uint16_t identifier, uint16_t sequence,
                std::span<const uint8_t> payload) {
  const bool v6 = spec.src.is_v6();
  std::vector<uint8_t> m(kIcmp + payload.size());
  m[0] = v6 ? (reply ? icmpv6_type::kEchoReply : icmpv6_type::kEchoRequest)
            : (reply ? icmp_type::kEchoReply : icmp_type::kEchoRequest);
  put_be16(m, 4, identifier);
  put_be16(m, 6, sequence);
  put_bytes(m, kIcmp, payload);
  return ip_packet(spec, v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp, m);
}

std::vector<Frame> fragment(std::span<const uint8_t> frame, size_t mtu, uint32_t id) {
  const ParsedPacket parsed = parse_packet(frame);
  const bool piece = parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none);
  if (parsed.error != ParseError::none || !parsed.key.is_ip() || (piece && parsed.key.is_ipv6()))
    return {};
  if (parsed.length - parsed.l3_offset <= mtu) return {Frame(frame.begin(), frame.end())};
  const auto l3 = frame.subspan(parsed.l3_offset);
  std::vector<Frame> pieces;
  if (const auto v4 = Ipv4View::of(l3)) pieces = fragment_v4(frame, parsed.l3_offset, *v4, mtu);
  if (const auto v6 = Ipv6View::of(l3)) pieces = fragment_v6(frame, parsed.l3_offset, *v6, mtu, id);
  // Headers that end behind the first piece (RFC 7112), a fragment header under ours (RFC 6946).
  if (!pieces.empty() && parse_packet(pieces.front()).error != ParseError::none) return {};
  return pieces;
}

Frame with_vlan(std::span<const uint8_t> frame, uint16_t tci) {
  PLEXUS_CHECK(frame.size() >= kEthernet, "a frame to tag");
  Frame f(frame.size() + 4);
  put_bytes(f, 0, frame.first(12));
  put_be16(f, 12, eth_type::kVlan);
  put_be16(f, 14, tci);
  put_bytes(f, 16, frame.subspan(12));
  return f;
}

Frame with_partial_checksum(Frame frame) {
  const ParsedPacket parsed = parse_packet(frame);
  if (const auto sum = partial_checksum_of(parsed, frame))
    put_be16(frame, *transport_checksum_offset(parsed), *sum);
  return frame;
}

}  // namespace plexus
