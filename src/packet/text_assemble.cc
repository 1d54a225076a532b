// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/text_packet.h"
#include "packet/tunnel_headers.h"

namespace plexus::text {
namespace {

void append(Frame& f, std::span<const uint8_t> bytes) {
  f.insert(f.end(), bytes.begin(), bytes.end());
}

void append_be16(Frame& f, uint16_t v) {
  append(f, Be16(v).bytes);
}

void write_eth(const TextPacket& p, Frame& f) {
  MacAddr src = p.eth.src.value_or(MacAddr{}), dst = p.eth.dst.value_or(MacAddr{});
  if (!p.eth.given && p.arp) {
    src = p.arp->sha.value_or(MacAddr{});
    dst = p.arp->operation == arp_op::kRequest ? kBroadcastMac : p.arp->tha.value_or(MacAddr{});
  } else if (!p.eth.given && p.ip) {
    if (p.ip->dst.is_multicast())
      dst = multicast_mac_of(p.ip->dst);
    else if (p.ip->dst == IpAddr::v4(0xffffffff))
      dst = kBroadcastMac;
  }
  append(f, dst.bytes);
  append(f, src.bytes);
  for (const VlanLayer& v : p.vlans) {
    append_be16(f, v.tpid);
    append_be16(f, v.tci);
  }
  const uint16_t implied = p.arp  ? eth_type::kArp
                           : p.ip ? (p.ip->src.is_v4() ? eth_type::kIpv4 : eth_type::kIpv6)
                                  : kDefaultEtherType;
  append_be16(f, p.eth.type.value_or(implied));
}

void write_arp(const ArpLayer& a, Frame& f) {
  const MacAddr eth_dst = mac_at(f, 0), eth_src = mac_at(f, 6);
  append_be16(f, 1);
  append_be16(f, eth_type::kIpv4);
  append(f, std::array<uint8_t, 2>{6, 4});
  append_be16(f, a.operation);
  append(f, a.sha.value_or(eth_src).bytes);
  append(f, wire_bytes(a.sender));
  // A request does not know its target's address.
  append(f, a.tha.value_or(a.operation == arp_op::kRequest ? MacAddr{} : eth_dst).bytes);
  append(f, wire_bytes(a.target));
}

void write_ipv4(const IpLayer& ip, uint8_t protocol, uint8_t ttl, size_t payload, Frame& f) {
  const size_t at = f.size(), header = 20 + ip.options.size();
  f.resize(at + 20);
  append(f, ip.options);
  const auto h = std::span<uint8_t>(f).subspan(at);
  h[0] = static_cast<uint8_t>(0x40 | header / 4);
  h[1] = ip.tos;
  put_be16(h, 2, static_cast<uint16_t>(header + payload));
  put_be16(h, 4, ip.id);
  put_be16(h, 6,
           static_cast<uint16_t>((ip.reserved ? 0x8000 : 0) | (ip.df ? 0x4000 : 0) |
                                 (ip.fragment.more ? 0x2000 : 0) | ip.fragment.offset / 8));
  h[8] = ttl;
  h[9] = protocol;
  put_bytes(h, 12, wire_bytes(ip.src));
  put_bytes(h, 16, wire_bytes(ip.dst));
  put_be16(
      h, 10,
      ip.sum.kind == Sum::Kind::given ? static_cast<uint16_t>(ip.sum.value) : internet_checksum(h));
}

void write_ipv6(const TextPacket& p, uint8_t protocol, uint8_t ttl, size_t payload, Frame& f) {
  const IpLayer& ip = *p.ip;
  for (const ExtensionLayer& e : p.extensions) payload += e.rest.size() + 1;
  const size_t at = f.size();
  f.resize(at + 40);
  const auto h = std::span<uint8_t>(f).subspan(at);
  put_be32(h, 0, 0x60000000u | uint32_t{ip.tos} << 20 | ip.flow_label);
  put_be16(h, 4, static_cast<uint16_t>(payload));
  h[6] = p.extensions.empty() ? protocol : p.extensions[0].type;
  h[7] = ttl;
  put_bytes(h, 8, wire_bytes(ip.src));
  put_bytes(h, 24, wire_bytes(ip.dst));
  for (size_t i = 0; i < p.extensions.size(); ++i) {
    f.push_back(i + 1 < p.extensions.size() ? p.extensions[i + 1].type : protocol);
    append(f, p.extensions[i].rest);
  }
}

/// SCTP: of the whole packet; in a fragment nothing can be computed. `end`: where the packet ends.
void write_sctp_sum(const TransportLayer& t, size_t at, size_t end, Frame& f) {
  const auto message = std::span<uint8_t>(f).subspan(at, end - at);
  const bool whole = parse_packet(f).key.ip_frag == static_cast<uint8_t>(FragKind::none);
  if (t.sum.kind == Sum::Kind::given)
    put_be32(message, t.checksum_at, t.sum.value);
  else if (whole)
    put_be32(message, t.checksum_at, sctp_checksum(message));
}

void write_gre_sum(const TransportLayer& t, size_t at, size_t end, Frame& f) {
  const auto message = std::span<uint8_t>(f).subspan(at, end - at);
  if ((be16_at(message, 0) & GreView::kChecksum) == 0) return;
  put_be16(message, t.checksum_at,
           t.sum.kind == Sum::Kind::given ? static_cast<uint16_t>(t.sum.value)
                                          : internet_checksum(message));
}

void write_transport_sum(const TransportLayer& t, size_t at, size_t end, Frame& f) {
  if (t.protocol == ip_proto::kSctp) return write_sctp_sum(t, at, end, f);
  if (t.protocol == GreView::kIpProtocol) return write_gre_sum(t, at, end, f);
  const ParsedPacket parsed = parse_packet(f);
  switch (t.sum.kind) {
    case Sum::Kind::given:
      put_be16(f, at + t.checksum_at, static_cast<uint16_t>(t.sum.value));
      break;
    case Sum::Kind::computed:
      complete_checksum(parsed, f);
      break;
    case Sum::Kind::partial:
      if (const auto sum = partial_checksum_of(parsed, f)) put_be16(f, at + t.checksum_at, *sum);
      break;
  }
}

}  // namespace

Result<Frame> assemble(const TextPacket& p) {
  Frame f;
  write_eth(p, f);
  if (p.arp) write_arp(*p.arp, f);
  if (p.ip) {
    const size_t transport = (p.transport ? p.transport->header.size() : 0) + p.payload.size();
    size_t size = transport + p.ip->options.size() + (p.ip->src.is_v4() ? 20 : 0);
    for (const ExtensionLayer& e : p.extensions) size += e.rest.size() + 1;
    if (size > 65535)
      return Error{ErrorCode::invalid,
                   fmt::format("payload: {} bytes of IP: expected at most 65535", size)};
    const uint8_t protocol =
        p.ip->protocol.value_or(p.transport ? p.transport->protocol : kDefaultProtocol);
    const uint8_t ttl = p.ip->ttl.value_or(p.transport ? p.transport->default_ttl : kDefaultTtl);
    if (p.ip->src.is_v4())
      write_ipv4(*p.ip, protocol, ttl, transport, f);
    else
      write_ipv6(p, protocol, ttl, transport, f);
  }
  const size_t transport_at = f.size();
  if (p.transport) {
    append(f, p.transport->header);
    if (p.transport->protocol == ip_proto::kUdp)
      put_be16(f, transport_at + 4,
               p.transport->udp_length.value_or(static_cast<uint16_t>(8 + p.payload.size())));
  }
  append(f, p.payload);
  const size_t end = f.size();
  append(f, p.pad);
  if (p.transport) write_transport_sum(*p.transport, transport_at, end, f);
  return f;
}

}  // namespace plexus::text
