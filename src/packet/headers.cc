// SPDX-License-Identifier: Apache-2.0
#include "packet/headers.h"

#include <algorithm>

#include "packet/checksum.h"

namespace plexus {
namespace {

constexpr size_t kNdFixed = 24;  // type to target
constexpr uint8_t kSourceLinkAddress = 1, kTargetLinkAddress = 2;

/// Finds the link-layer address option. False when an option is malformed (RFC 4861 4.6: length 0,
/// or cut off).
bool read_options(std::span<const uint8_t> options, uint8_t wanted, std::optional<MacAddr>& out) {
  while (!options.empty()) {
    if (options.size() < 2) return false;
    const size_t size = size_t{options[1]} * 8;
    if (size == 0 || size > options.size()) return false;
    if (options[0] == wanted && !out) out = mac_at(options, 2);
    options = options.subspan(size);
  }
  return true;
}

}  // namespace

std::optional<NdMessage> NdMessage::of(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  if (!parsed.key.is_ipv6()) return std::nullopt;
  const auto icmp = IcmpView::of(parsed, frame);
  if (!icmp || parsed.key.ip_frag != static_cast<uint8_t>(FragKind::none)) return std::nullopt;
  const bool solicit = icmp->type() == icmpv6_type::kNeighbourSolicit;
  if (!solicit && icmp->type() != icmpv6_type::kNeighbourAdvert) return std::nullopt;
  const auto bytes = icmp->bytes();
  if (parsed.key.ip_ttl != 255 || icmp->code() != 0 || bytes.size() < kNdFixed ||
      !transport_checksum_ok(parsed, frame))
    return std::nullopt;

  NdMessage nd;
  nd.type = icmp->type();
  nd.src = parsed.key.src_ip();
  nd.dst = parsed.key.dst_ip();
  nd.target = ipv6_at(bytes, 8);
  if (!solicit) {
    nd.router = (bytes[4] & 0x80) != 0;
    nd.solicited = (bytes[4] & 0x40) != 0;
    nd.override_ = (bytes[4] & 0x20) != 0;
  }
  if (nd.target.is_multicast() || nd.src.is_multicast()) return std::nullopt;
  if (!read_options(bytes.subspan(kNdFixed), solicit ? kSourceLinkAddress : kTargetLinkAddress,
                    nd.link_address))
    return std::nullopt;
  if (solicit && nd.src.is_unspecified() &&
      (nd.link_address || nd.dst != solicited_node_of(nd.target)))
    return std::nullopt;
  if (!solicit && nd.dst.is_multicast() && nd.solicited) return std::nullopt;
  return nd;
}

uint32_t packet_size(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                     uint16_t gso_size) {
  constexpr uint32_t kEthernet = 14, kUdpHeader = 8;
  if (parsed.l3_offset == 0) {
    const uint32_t size = static_cast<uint32_t>(frame.size());
    return size > kEthernet ? size - kEthernet : 0;
  }
  const uint32_t whole = parsed.length - parsed.l3_offset;
  if (gso_size == 0 || parsed.l4_offset == 0) return whole;
  const uint32_t header = parsed.key.ip_proto == ip_proto::kTcp
                              ? uint32_t{frame[parsed.l4_offset + 12u]} >> 4 << 2
                              : kUdpHeader;
  return std::min(whole, parsed.l4_offset - parsed.l3_offset + header + gso_size);
}

}  // namespace plexus
