// SPDX-License-Identifier: Apache-2.0
// Builders of whole Ethernet frames, with all lengths and checksums computed: the packets that
// virtual devices make themselves (ARP, ND, echo replies, ICMP errors), and plain packets for tests
// and scenarios. Frames are not padded to the Ethernet minimum.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "packet/addr.h"
#include "packet/flow_key.h"
#include "packet/headers.h"

namespace plexus {

using Frame = std::vector<uint8_t>;

/// Hop limit of packets that a virtual device makes.
inline constexpr uint8_t kDefaultTtl = 64;

// --- What virtual devices send
// --------------------------------------------------------------------------

/// "Who has target?", broadcast (RFC 826).
[[nodiscard]] Frame arp_request(const MacAddr& sender_mac, const IpAddr& sender_ip,
                                const IpAddr& target_ip);
/// "sender_ip is at sender_mac", to target_mac.
[[nodiscard]] Frame arp_reply(const MacAddr& sender_mac, const IpAddr& sender_ip,
                              const MacAddr& target_mac, const IpAddr& target_ip);

/// Neighbour solicitation to the solicited-node group of `target`, with the source link-layer
/// address (RFC 4861 4.3); without it when `sender_ip` is :: (duplicate address detection).
[[nodiscard]] Frame nd_solicit(const MacAddr& sender_mac, const IpAddr& sender_ip,
                               const IpAddr& target);

struct NdAdvertFlags {
  bool router = false, solicited = true, override_ = true;
};
/// Neighbour advertisement "target is at target_mac" from `target` itself to dst (RFC 4861 4.4).
[[nodiscard]] Frame nd_advert(const MacAddr& target_mac, const IpAddr& target,
                              const MacAddr& dst_mac, const IpAddr& dst_ip,
                              NdAdvertFlags flags = {});

/// The answer to an ARP request or a neighbour solicitation for `target`, by whoever has that address: `mac`, a `router`
/// or not. Only of the plain ones that a kernel program can turn round in place, nothing for all others: an ARP request
/// whose sender is the frame's source; a solicitation from an address, whole and correct, with no other option than
/// the link-layer address of the frame's source, which it needs unless it went to a unicast address (RFC 4861 7.2.4).
/// VLAN tags are kept, the frame's length too.
[[nodiscard]] std::optional<Frame> neighbour_answer(const ParsedPacket& parsed,
                                                    std::span<const uint8_t> frame,
                                                    const IpAddr& target, const MacAddr& mac,
                                                    bool router);

/// The answer to an ICMP or ICMPv6 echo request: Ethernet and IP addresses swapped, VLAN tags kept,
/// the same identifier, sequence, data and TOS, TTL 64; IPv4 options and IPv6 extension headers are
/// left out. Nothing when `frame` is no whole, correct echo request. An answer from another address
/// than the request went to: pass `from`.
[[nodiscard]] std::optional<Frame> echo_reply(const ParsedPacket& parsed,
                                              std::span<const uint8_t> frame,
                                              const std::optional<IpAddr>& from = std::nullopt);

enum class IcmpErrorKind : uint8_t {
  time_exceeded,         ///< in transit: 11/0, v6 3/0
  net_unreachable,       ///< no route: 3/0, v6 1/0
  host_unreachable,      ///< the neighbour does not answer: 3/1, v6 1/3
  protocol_unreachable,  ///< 3/2, v6 4/1, which points at the field that names the protocol
  port_unreachable,      ///< 3/3, v6 1/4
  admin_prohibited,      ///< 3/13, v6 1/1
  packet_too_big,        ///< fragmentation needed 3/4 (RFC 1191), v6 2/0; needs `mtu`
};
/// Who sends an ICMP error, and what about.
struct IcmpErrorSpec {
  IcmpErrorKind kind{};
  MacAddr from_mac{}, to_mac{};
  IpAddr from_ip{};  ///< same family as the packet; the error goes to the packet's source
  uint16_t mtu = 0;  ///< packet_too_big only
};

/// Whether RFC 1122 3.2.2, RFC 1812 4.3.2.7 and RFC 4443 2.4 (e) allow an ICMP error about this
/// packet. Never about: a packet that did not parse, ICMP errors and redirects (or ICMP types we do
/// not know), IP or Ethernet multicast or broadcast destinations, sources that name no single host
/// (unspecified, loopback, multicast, 240/4), later fragments. Directed broadcasts are the caller's
/// to know. RFC 4443's exceptions for multicast are not used.
[[nodiscard]] bool may_send_icmp_error(const ParsedPacket& parsed, std::span<const uint8_t> frame);
/// The error, quoting the IP packet without Ethernet padding: up to 548 bytes of an IPv4 packet
/// (576 in all, RFC 1812 4.3.2.3), of an IPv6 packet so much that the error has 1,280 bytes at most
/// (RFC 4443). VLAN tags are kept. Nothing when may_send_icmp_error says no or the family differs; nor
/// `protocol_unreachable` about an IPv6 packet that says itself that it holds nothing (59, RFC 8200 4.7).
[[nodiscard]] std::optional<Frame> icmp_error(const IcmpErrorSpec& spec, const ParsedPacket& parsed,
                                              std::span<const uint8_t> frame);
/// The reset that answers a TCP segment to where nobody listens (RFC 9293 3.10.7.1), from the address and port that it
/// went to. VLAN tags are kept. Nothing about a reset, a fragment, what is no TCP, and where may_send_icmp_error says no.
[[nodiscard]] std::optional<Frame> tcp_reset(const MacAddr& from_mac, const MacAddr& to_mac,
                                             const ParsedPacket& parsed,
                                             std::span<const uint8_t> frame);

// --- Plain packets for tests and scenarios
// -----------------------------------------------------------------

/// Ethernet and IP fields of a packet to build; the family is that of `src`.
struct PacketSpec {
  MacAddr eth_src{}, eth_dst{};
  IpAddr src{}, dst{};
  uint8_t ttl = kDefaultTtl;
  uint8_t tos = 0;
  std::optional<uint16_t> vlan_tci{};  ///< PCP, DEI, VLAN id
  uint16_t ipv4_id = 0;
  bool dont_fragment = false;  ///< IPv4
  uint32_t flow_label = 0;     ///< IPv6
};

/// Ethernet + IP around a transport message whose checksum is complete. Payload: at most 65,515
/// bytes (IPv4).
[[nodiscard]] Frame ip_packet(const PacketSpec& spec, uint8_t protocol,
                              std::span<const uint8_t> payload);
[[nodiscard]] Frame udp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port,
                               std::span<const uint8_t> payload = {});
/// `flags`: the flags byte of the header (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
[[nodiscard]] Frame tcp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port,
                               uint8_t flags, uint32_t sequence = 0,
                               std::span<const uint8_t> payload = {});
/// Echo request or reply of the family's ICMP.
[[nodiscard]] Frame icmp_echo(const PacketSpec& spec, bool reply, uint16_t identifier,
                              uint16_t sequence, std::span<const uint8_t> payload = {});
/// Cuts an IP packet into fragments of at most `mtu` bytes of IP each (RFC 791; RFC 8200 4.5 with
/// `id`, the fragment header placed behind the IPv6 header). The frame itself when it fits; an IPv4
/// fragment is cut further (RFC 791 3.2). Empty when it is no IP packet, has an IPv6 fragment header
/// already, ends where no packet does (behind 65535 bytes), or the mtu leaves no room for data or for all
/// headers in the first piece (RFC 7112).
[[nodiscard]] std::vector<Frame> fragment(std::span<const uint8_t> frame, size_t mtu,
                                          uint32_t id = 1);
/// The bytes of a text, as payload.
[[nodiscard]] inline std::span<const uint8_t> text_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
/// Puts a VLAN tag (0x8100) in front of what follows the Ethernet addresses.
[[nodiscard]] Frame with_vlan(std::span<const uint8_t> frame, uint16_t tci);
/// Leaves only the folded pseudo-header sum in the transport checksum, as a guest with checksum
/// offload does. The frame unchanged when it has no such checksum.
[[nodiscard]] Frame with_partial_checksum(Frame frame);

}  // namespace plexus
