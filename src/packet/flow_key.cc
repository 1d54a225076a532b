// SPDX-License-Identifier: Apache-2.0
#include "packet/flow_key.h"

#include "packet/bytes.h"

namespace plexus {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr size_t kEthernetHeader = 14, kVlanTag = 4, kMaxVlanTags = 2;
constexpr size_t kArpPacket = 28, kIpv4Header = 20, kIpv6Header = 40;
constexpr size_t kMaxExtensionHeaders = 8;
/// First value of the EtherType field that is a type; below it is an IEEE 802.3 length.
constexpr uint16_t kMinEtherType = 0x0600, kLengthField = 0x05ff;
constexpr uint16_t kVlanPresent = 0x1000;

namespace ext {
constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
}

/// Ports, type and code. `at` is where the transport header starts, `end` where the packet ends.
ParseError parse_transport(Bytes frame, size_t at, size_t end, bool v6, ParsedPacket& out) {
  FlowKey& key = out.key;
  const size_t room = end - at;
  const auto ports = [&](size_t header) {
    if (room < header) return ParseError::truncated_l4;
    key.tp_src = Be16(be16_at(frame, at));
    key.tp_dst = Be16(be16_at(frame, at + 2));
    out.l4_offset = static_cast<uint16_t>(at);
    return ParseError::none;
  };
  const auto type_and_code = [&] {
    if (room < 8) return ParseError::truncated_l4;
    key.tp_src = Be16(frame[at]);
    key.tp_dst = Be16(frame[at + 1]);
    out.l4_offset = static_cast<uint16_t>(at);
    return ParseError::none;
  };
  switch (key.ip_proto) {
    case ip_proto::kTcp: {
      if (const ParseError e = ports(20); e != ParseError::none) return e;
      const size_t header = size_t{frame[at + 12]} / 16 * 4;
      if (header < 20 || header > room) return ParseError::bad_l4;
      key.tcp_flags = frame[at + 13];
      return ParseError::none;
    }
    case ip_proto::kUdp:
      return ports(8);
    case ip_proto::kSctp:
      return ports(12);
    // Each ICMP belongs to one IP version; under the other it is a protocol we do not know.
    case ip_proto::kIcmp:
      return v6 ? ParseError::none : type_and_code();
    case ip_proto::kIcmpv6:
      return v6 ? type_and_code() : ParseError::none;
    default:
      return ParseError::none;
  }
}

ParseError parse_arp(Bytes frame, size_t at, FlowKey& key) {
  if (frame.size() - at < kArpPacket) return ParseError::truncated_arp;
  const Bytes arp = frame.subspan(at, kArpPacket);
  // Ethernet and IPv4 (RFC 826).
  if (be16_at(arp, 0) != 1 || be16_at(arp, 2) != eth_type::kIpv4 || arp[4] != 6 || arp[5] != 4)
    return ParseError::bad_arp;
  key.tp_src = Be16(be16_at(arp, 6));
  std::memcpy(key.nw.data(), &arp[14], 4);
  std::memcpy(key.nw.data() + 4, &arp[24], 4);
  return ParseError::none;
}

ParseError parse_ipv4(Bytes frame, size_t at, ParsedPacket& out) {
  const size_t room = frame.size() - at;
  if (room < kIpv4Header) return ParseError::truncated_ipv4;
  const Bytes ip = frame.subspan(at);
  const size_t header = size_t{ip[0]} % 16 * 4, total = be16_at(ip, 2);
  if (ip[0] >> 4 != 4 || header < kIpv4Header || total < header) return ParseError::bad_ipv4;
  if (total > room) return ParseError::truncated_ipv4;
  FlowKey& key = out.key;
  key.ip_proto = ip[9];
  key.ip_tos = ip[1];
  key.ip_ttl = ip[8];
  std::memcpy(key.nw.data(), &ip[12], 8);
  out.length = static_cast<uint32_t>(at + total);
  const uint16_t fragment = be16_at(ip, 6);
  if ((fragment & 0x1fff) != 0) {
    key.ip_frag = static_cast<uint8_t>(FragKind::later);
    return ParseError::none;
  }
  if ((fragment & 0x2000) != 0) key.ip_frag = static_cast<uint8_t>(FragKind::first);
  return parse_transport(frame, at + header, at + total, false, out);
}

ParseError parse_ipv6(Bytes frame, size_t at, ParsedPacket& out) {
  const size_t room = frame.size() - at;
  if (room < kIpv6Header) return ParseError::truncated_ipv6;
  const Bytes ip = frame.subspan(at);
  if (ip[0] >> 4 != 6) return ParseError::bad_ipv6;
  const size_t total = kIpv6Header + be16_at(ip, 4);
  if (total > room) return ParseError::truncated_ipv6;
  FlowKey& key = out.key;
  key.ip_tos = static_cast<uint8_t>((ip[0] & 15) << 4 | ip[1] >> 4);
  key.ip_ttl = ip[7];
  std::memcpy(key.nw.data(), &ip[8], 32);
  out.length = static_cast<uint32_t>(at + total);

  uint8_t next = ip[6];
  size_t here = kIpv6Header;
  bool fragment_seen = false;
  for (size_t n = 0; next == ext::kHopByHop || next == ext::kRouting || next == ext::kFragment ||
                     next == ext::kDestination;
       ++n) {
    if (n == kMaxExtensionHeaders || total - here < 8) return ParseError::bad_ipv6_extension;
    size_t size = 8;
    if (next == ext::kFragment) {
      // Two fragment headers would let the second deny what the first says.
      if (fragment_seen) return ParseError::bad_ipv6_extension;
      fragment_seen = true;
      const uint16_t field = be16_at(ip, here + 2);
      if ((field & 0xfff8) != 0) {
        key.ip_frag = static_cast<uint8_t>(FragKind::later);
        key.ip_proto = ip[here];
        return ParseError::none;
      }
      if ((field & 1) != 0) key.ip_frag = static_cast<uint8_t>(FragKind::first);
    } else {
      size = (size_t{ip[here + 1]} + 1) * 8;
      if (total - here < size) return ParseError::bad_ipv6_extension;
    }
    next = ip[here];
    here += size;
  }
  key.ip_proto = next;
  return parse_transport(frame, at + here, at + total, true, out);
}

IpAddr v4_of(const uint8_t* p) {
  return ipv4_at(Bytes(p, 4), 0);
}
IpAddr v6_of(const uint8_t* p) {
  return ipv6_at(Bytes(p, 16), 0);
}

}  // namespace

IpAddr FlowKey::src_ip() const {
  if (is_ipv6()) return v6_of(nw.data());
  return is_ipv4() || is_arp() ? v4_of(nw.data()) : IpAddr{};
}

IpAddr FlowKey::dst_ip() const {
  if (is_ipv6()) return v6_of(nw.data() + 16);
  return is_ipv4() || is_arp() ? v4_of(nw.data() + 4) : IpAddr{};
}

void FlowKey::set_src_ip(const IpAddr& a) {
  std::memcpy(nw.data(), a.bytes.data(), a.size());
}

void FlowKey::set_dst_ip(const IpAddr& a) {
  std::memcpy(nw.data() + a.size(), a.bytes.data(), a.size());
}

ParsedPacket parse_packet(std::span<const uint8_t> frame) {
  ParsedPacket out;
  out.length = static_cast<uint32_t>(frame.size());
  if (frame.size() < kEthernetHeader) {
    out.error = ParseError::truncated_ethernet;
    return out;
  }
  FlowKey& key = out.key;
  std::memcpy(key.eth_dst.data(), &frame[0], 6);
  std::memcpy(key.eth_src.data(), &frame[6], 6);
  uint16_t type = be16_at(frame, 12);
  size_t at = kEthernetHeader;
  for (size_t tags = 0; tags < kMaxVlanTags && (type == eth_type::kVlan || type == eth_type::kQinq);
       ++tags) {
    if (frame.size() - at < kVlanTag) {
      out.error = ParseError::truncated_vlan;
      return out;
    }
    if (tags == 0) key.vlan_tci = Be16(static_cast<uint16_t>(be16_at(frame, at) | kVlanPresent));
    type = be16_at(frame, at + 2);
    at += kVlanTag;
  }
  key.eth_type = Be16(type < kMinEtherType ? kLengthField : type);
  if (!key.is_ip() && !key.is_arp()) return out;
  out.l3_offset = static_cast<uint16_t>(at);
  out.error = key.is_arp()    ? parse_arp(frame, at, key)
              : key.is_ipv4() ? parse_ipv4(frame, at, out)
                              : parse_ipv6(frame, at, out);
  return out;
}

}  // namespace plexus
