// SPDX-License-Identifier: Apache-2.0
// FlowKey: everything of a packet that a flow may match on, in one fixed layout. The kernel programs use the
// same layout (bpf/abi.h, held equal by static_asserts in datapath/ebpf), so a mask is just a FlowKey of bits.
//
// Unused bytes are zero, always: keys are compared and hashed as bytes. The IPv4/ARP/other part is a prefix of
// the whole (kFlowKeyBytesV4), so that a datapath can keep a shorter key for what is not IPv6.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "packet/addr.h"
#include "packet/wire.h"

namespace plexus {

/// Number of a port inside one datapath: a local interface, or the tunnel. Chosen by the agent. 0 is "none".
struct DpPort {
  uint32_t number = 0;
  auto operator<=>(const DpPort&) const = default;
};
/// Every packet that leaves or enters a tunnel does so by this datapath port.
inline constexpr DpPort kTunnelPort{1};
/// Local interfaces are numbered from here.
inline constexpr uint32_t kFirstLocalPort = 16;

enum class FragKind : uint8_t { none = 0, first = 1, later = 2 };

namespace eth_type {
inline constexpr uint16_t kIpv4 = 0x0800, kArp = 0x0806, kVlan = 0x8100, kQinq = 0x88a8,
                          kIpv6 = 0x86dd;
}
namespace ip_proto {
inline constexpr uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpv6 = 58, kSctp = 132, kNoNext = 59;
}

struct FlowKey {
  uint32_t in_port = 0;     ///< DpPort number, host order
  uint32_t tunnel_key = 0;  ///< host order, 24 bits; 0 when the packet did not come by tunnel
  std::array<uint8_t, 6> eth_dst{};
  std::array<uint8_t, 6> eth_src{};
  Be16 eth_type;  ///< of the payload behind VLAN tags; an 802.3 length field reads as 0x05ff
  Be16 vlan_tci;  ///< outermost tag's TCI with bit 0x1000 set to say "present"; 0 when untagged
  uint8_t ip_proto = 0;  ///< the upper-layer protocol behind IPv6 extension headers; ARP: 0
  uint8_t ip_tos = 0;    ///< TOS / traffic class, DSCP and ECN
  uint8_t ip_ttl = 0;    ///< TTL / hop limit
  uint8_t ip_frag = 0;   ///< FragKind
  Be16 tp_src;           ///< port; ICMP: type; ARP: operation; zero in later fragments
  Be16 tp_dst;           ///< port; ICMP: code
  uint8_t tcp_flags = 0;
  uint8_t ct_state = 0;   ///< reserved: state of the connection
  uint16_t reserved = 0;  ///< mask number inside the eBPF datapath; zero elsewhere
  uint32_t zone = 0;      ///< reserved: zone of connection tracking, host order
  /// IPv4: source in [0,4), destination in [4,8). ARP: sender and target protocol address likewise.
  /// IPv6: source in [0,16), destination in [16,32).
  std::array<uint8_t, 32> nw{};

  bool operator==(const FlowKey& o) const { return std::memcmp(this, &o, sizeof *this) == 0; }

  [[nodiscard]] bool is_ipv4() const { return eth_type.host() == eth_type::kIpv4; }
  [[nodiscard]] bool is_ipv6() const { return eth_type.host() == eth_type::kIpv6; }
  [[nodiscard]] bool is_arp() const { return eth_type.host() == eth_type::kArp; }
  [[nodiscard]] bool is_ip() const { return is_ipv4() || is_ipv6(); }
  [[nodiscard]] MacAddr dst_mac() const { return {eth_dst}; }
  [[nodiscard]] MacAddr src_mac() const { return {eth_src}; }
  /// Source / destination address of an IPv4, ARP or IPv6 packet; none otherwise.
  [[nodiscard]] IpAddr src_ip() const;
  [[nodiscard]] IpAddr dst_ip() const;
  void set_src_ip(const IpAddr& a);
  void set_dst_ip(const IpAddr& a);

  [[nodiscard]] std::span<const uint8_t, 72> bytes() const {
    return std::span<const uint8_t, 72>(reinterpret_cast<const uint8_t*>(this), 72);
  }
  [[nodiscard]] std::span<uint8_t, 72> bytes() {
    return std::span<uint8_t, 72>(reinterpret_cast<uint8_t*>(this), 72);
  }
};

static_assert(sizeof(FlowKey) == 72 && offsetof(FlowKey, nw) == 40);
/// What the key of anything but IPv6 needs: the fixed part and two IPv4 addresses.
inline constexpr size_t kFlowKeyBytesV4 = 48;

/// Why bytes are not a packet that can be forwarded. Part of the closed list of drop reasons.
enum class ParseError : uint8_t {
  none,
  truncated_ethernet,
  truncated_vlan,
  truncated_arp,
  bad_arp,  ///< hardware/protocol type or length not Ethernet/IPv4
  truncated_ipv4,
  bad_ipv4,  ///< version, header length or total length impossible
  truncated_ipv6,
  bad_ipv6,            ///< version or payload length impossible
  bad_ipv6_extension,  ///< extension header chain truncated or longer than allowed (8)
  truncated_l4,        ///< TCP, UDP, ICMP header does not fit (first or only fragment)
  bad_l4,              ///< TCP data offset < 5 or beyond the packet
};

struct ParsedPacket {
  FlowKey key;  ///< in_port and tunnel_key are left zero for the caller
  ParseError error = ParseError::none;
  uint16_t l3_offset = 0;  ///< of the IP/ARP header; 0 when none
  uint16_t l4_offset = 0;  ///< of TCP/UDP/ICMP; 0 when none or in a later fragment
  /// Bytes of the frame that belong to the packet (without Ethernet padding); frame size for non-IP.
  uint32_t length = 0;
};

/// Reads one Ethernet frame. Never reads outside `frame`, whatever it holds. An unknown ethertype is no error.
///
/// VLAN tags (0x8100, 0x88a8): the first two are read, a third is an unknown ethertype. IPv6: hop-by-hop, routing, destination
/// options and fragment headers are walked, at most 8, in any order; a second fragment header is refused; in a later
/// fragment ip_proto is what its fragment header names. TCP needs 20 bytes, UDP 8, SCTP 12, ICMP and ICMPv6 8. ICMP
/// under IPv6 and ICMPv6 under IPv4 are unknown protocols: no type, no code, no l4_offset.
[[nodiscard]] ParsedPacket parse_packet(std::span<const uint8_t> frame);

}  // namespace plexus

template <>
struct std::hash<plexus::FlowKey> {
  size_t operator()(const plexus::FlowKey& k) const noexcept {
    uint64_t h = 0x9e3779b97f4a7c15ULL;
    uint64_t w = 0;
    for (size_t i = 0; i < sizeof k; i += 8) {
      std::memcpy(&w, reinterpret_cast<const char*>(&k) + i, 8);
      h = (h ^ w) * 0xff51afd7ed558ccdULL;
      h ^= h >> 29;
    }
    return static_cast<size_t>(h);
  }
};
