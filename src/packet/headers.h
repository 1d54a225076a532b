// SPDX-License-Identifier: Apache-2.0
// Checked views of protocol headers over bytes. `of(span)` looks at the sizes and constants once
// and gives nothing when the header does not fit; after that every accessor is inside the span. A
// view owns nothing: it lives as long as its bytes. Values are in host byte order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/addr.h"
#include "packet/bytes.h"
#include "packet/flow_key.h"

namespace plexus {

namespace arp_op {
inline constexpr uint16_t kRequest = 1, kReply = 2;
}
namespace icmp_type {
inline constexpr uint8_t kEchoReply = 0, kUnreachable = 3, kSourceQuench = 4, kRedirect = 5,
                         kEchoRequest = 8, kTimeExceeded = 11, kParameterProblem = 12;
}
namespace icmpv6_type {
inline constexpr uint8_t kUnreachable = 1, kPacketTooBig = 2, kTimeExceeded = 3,
                         kParameterProblem = 4, kEchoRequest = 128, kEchoReply = 129,
                         kRouterSolicit = 133, kRouterAdvert = 134, kNeighbourSolicit = 135,
                         kNeighbourAdvert = 136, kRedirect = 137;
}

/// Base of the views.
class HeaderView {
 public:
  [[nodiscard]] std::span<const uint8_t> bytes() const { return bytes_; }

 protected:
  explicit HeaderView(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  std::span<const uint8_t> bytes_;
};

/// IEEE 802.3 / Ethernet II; VLAN tags are not looked behind.
class EthernetView : public HeaderView {
 public:
  static constexpr size_t kSize = 14;
  [[nodiscard]] static std::optional<EthernetView> of(std::span<const uint8_t> frame) {
    if (frame.size() < kSize) return std::nullopt;
    return EthernetView(frame);
  }
  [[nodiscard]] MacAddr dst() const { return mac_at(bytes_, 0); }
  [[nodiscard]] MacAddr src() const { return mac_at(bytes_, 6); }
  [[nodiscard]] uint16_t type() const { return be16_at(bytes_, 12); }
  [[nodiscard]] std::span<const uint8_t> payload() const { return bytes_.subspan(kSize); }

 private:
  using HeaderView::HeaderView;
};

/// ARP for Ethernet and IPv4 (RFC 826); starts at the ARP header.
class ArpView : public HeaderView {
 public:
  static constexpr size_t kSize = 28;
  [[nodiscard]] static std::optional<ArpView> of(std::span<const uint8_t> arp) {
    if (arp.size() < kSize || be16_at(arp, 0) != 1 || be16_at(arp, 2) != eth_type::kIpv4 ||
        arp[4] != 6 || arp[5] != 4)
      return std::nullopt;
    return ArpView(arp.first(kSize));
  }
  /// The ARP packet of a parsed frame.
  [[nodiscard]] static std::optional<ArpView> of(const ParsedPacket& parsed,
                                                 std::span<const uint8_t> frame) {
    if (!parsed.key.is_arp() || parsed.error != ParseError::none) return std::nullopt;
    return of(frame.subspan(parsed.l3_offset));
  }
  [[nodiscard]] uint16_t operation() const { return be16_at(bytes_, 6); }
  [[nodiscard]] MacAddr sender_mac() const { return mac_at(bytes_, 8); }
  [[nodiscard]] IpAddr sender_ip() const { return ipv4_at(bytes_, 14); }
  [[nodiscard]] MacAddr target_mac() const { return mac_at(bytes_, 18); }
  [[nodiscard]] IpAddr target_ip() const { return ipv4_at(bytes_, 24); }

 private:
  using HeaderView::HeaderView;
};

/// IPv4 (RFC 791): header length and total length are consistent with each other and with the span;
/// bytes() ends where the packet ends.
class Ipv4View : public HeaderView {
 public:
  static constexpr size_t kMinSize = 20;
  [[nodiscard]] static std::optional<Ipv4View> of(std::span<const uint8_t> ip) {
    if (ip.size() < kMinSize || ip[0] >> 4 != 4) return std::nullopt;
    const size_t header = size_t{ip[0]} % 16 * 4, total = be16_at(ip, 2);
    if (header < kMinSize || total < header || total > ip.size()) return std::nullopt;
    return Ipv4View(ip.first(total));
  }
  [[nodiscard]] size_t header_length() const { return size_t{bytes_[0]} % 16 * 4; }
  [[nodiscard]] uint8_t tos() const { return bytes_[1]; }
  [[nodiscard]] uint16_t total_length() const { return be16_at(bytes_, 2); }
  [[nodiscard]] uint16_t id() const { return be16_at(bytes_, 4); }
  [[nodiscard]] bool reserved_flag() const { return (bytes_[6] & 0x80) != 0; }
  [[nodiscard]] bool dont_fragment() const { return (bytes_[6] & 0x40) != 0; }
  [[nodiscard]] bool more_fragments() const { return (bytes_[6] & 0x20) != 0; }
  /// In bytes, a multiple of 8.
  [[nodiscard]] uint32_t fragment_offset() const { return (be16_at(bytes_, 6) & 0x1fffu) * 8; }
  [[nodiscard]] uint8_t ttl() const { return bytes_[8]; }
  [[nodiscard]] uint8_t protocol() const { return bytes_[9]; }
  [[nodiscard]] uint16_t checksum() const { return be16_at(bytes_, 10); }
  [[nodiscard]] IpAddr src() const { return ipv4_at(bytes_, 12); }
  [[nodiscard]] IpAddr dst() const { return ipv4_at(bytes_, 16); }
  [[nodiscard]] std::span<const uint8_t> options() const {
    return bytes_.first(header_length()).subspan(kMinSize);
  }
  [[nodiscard]] std::span<const uint8_t> payload() const { return bytes_.subspan(header_length()); }

 private:
  using HeaderView::HeaderView;
};

/// IPv6 (RFC 8200), the fixed header; extension headers are part of the payload. bytes() ends where
/// the packet ends.
class Ipv6View : public HeaderView {
 public:
  static constexpr size_t kSize = 40;
  [[nodiscard]] static std::optional<Ipv6View> of(std::span<const uint8_t> ip) {
    if (ip.size() < kSize || ip[0] >> 4 != 6) return std::nullopt;
    const size_t total = kSize + be16_at(ip, 4);
    if (total > ip.size()) return std::nullopt;
    return Ipv6View(ip.first(total));
  }
  [[nodiscard]] uint8_t traffic_class() const {
    return static_cast<uint8_t>((bytes_[0] & 15) << 4 | bytes_[1] >> 4);
  }
  /// 20 bits.
  [[nodiscard]] uint32_t flow_label() const { return be32_at(bytes_, 0) & 0xfffff; }
  [[nodiscard]] uint16_t payload_length() const { return be16_at(bytes_, 4); }
  [[nodiscard]] uint8_t next_header() const { return bytes_[6]; }
  [[nodiscard]] uint8_t hop_limit() const { return bytes_[7]; }
  [[nodiscard]] IpAddr src() const { return ipv6_at(bytes_, 8); }
  [[nodiscard]] IpAddr dst() const { return ipv6_at(bytes_, 24); }
  [[nodiscard]] std::span<const uint8_t> payload() const { return bytes_.subspan(kSize); }

 private:
  using HeaderView::HeaderView;
};

/// ICMP (RFC 792) and ICMPv6 (RFC 4443): the first eight bytes mean the same in both where they
/// mean something.
class IcmpView : public HeaderView {
 public:
  static constexpr size_t kSize = 8;
  [[nodiscard]] static std::optional<IcmpView> of(std::span<const uint8_t> icmp) {
    if (icmp.size() < kSize) return std::nullopt;
    return IcmpView(icmp);
  }
  /// The ICMP message of an IPv4, or the ICMPv6 message of an IPv6 packet.
  [[nodiscard]] static std::optional<IcmpView> of(const ParsedPacket& parsed,
                                                  std::span<const uint8_t> frame) {
    const bool icmp = (parsed.key.is_ipv4() && parsed.key.ip_proto == ip_proto::kIcmp) ||
                      (parsed.key.is_ipv6() && parsed.key.ip_proto == ip_proto::kIcmpv6);
    if (!icmp || parsed.error != ParseError::none || parsed.l4_offset == 0) return std::nullopt;
    return of(frame.first(parsed.length).subspan(parsed.l4_offset));
  }
  [[nodiscard]] uint8_t type() const { return bytes_[0]; }
  [[nodiscard]] uint8_t code() const { return bytes_[1]; }
  [[nodiscard]] uint16_t checksum() const { return be16_at(bytes_, 2); }
  [[nodiscard]] uint16_t identifier() const { return be16_at(bytes_, 4); }  ///< of echo messages
  [[nodiscard]] uint16_t sequence() const { return be16_at(bytes_, 6); }    ///< of echo messages
  /// MTU of an IPv4 "fragmentation needed" (RFC 1191) or an IPv6 "packet too big".
  [[nodiscard]] uint32_t mtu() const { return be32_at(bytes_, 4); }
  /// What follows the first eight bytes: echo data, or the packet that an error is about.
  [[nodiscard]] std::span<const uint8_t> body() const { return bytes_.subspan(kSize); }

 private:
  using HeaderView::HeaderView;
};

/// A neighbour solicitation or advertisement that passed the checks of RFC 4861 7.1: hop limit 255,
/// right checksum, code 0, whole options, unicast target; a solicitation from :: goes to a
/// solicited-node group and carries no address; an advertisement to a multicast destination is not
/// "solicited".
struct NdMessage {
  uint8_t type = 0;  ///< icmpv6_type::kNeighbourSolicit or kNeighbourAdvert
  IpAddr src, dst;   ///< of the IPv6 header; src :: means duplicate address detection
  IpAddr target;
  bool router = false, solicited = false, override_ = false;  ///< of an advertisement
  /// Source address of a solicitation, target address of an advertisement, when it carries one.
  std::optional<MacAddr> link_address;

  /// Nothing for any other packet and for one that fails a check.
  [[nodiscard]] static std::optional<NdMessage> of(const ParsedPacket& parsed,
                                                   std::span<const uint8_t> frame);
};

/// Bytes behind the Ethernet header and its tags, without padding: what an MTU limits. With `gso_size`, the payload of
/// each packet that a large TCP or UDP frame stands for: the size of the largest of them.
[[nodiscard]] uint32_t packet_size(const ParsedPacket& parsed, std::span<const uint8_t> frame,
                                   uint16_t gso_size = 0);

}  // namespace plexus
