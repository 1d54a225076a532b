// SPDX-License-Identifier: Apache-2.0
// Addresses as values: MacAddr, IpAddr (IPv4 or IPv6), IpPrefix. Text forms are canonical: lower-case MACs,
// RFC 5952 for IPv6, dotted quads without leading zeros. parse(format(x)) == x.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/byte_order.h"

namespace plexus {

/// Ethernet address, bytes in wire order.
struct MacAddr {
  std::array<uint8_t, 6> bytes{};

  std::strong_ordering operator<=>(const MacAddr& o) const {
    return order_of_bytes<6>(bytes.data(), o.bytes.data());
  }
  bool operator==(const MacAddr& o) const { return (*this <=> o) == std::strong_ordering::equal; }
  [[nodiscard]] bool is_zero() const { return *this == MacAddr{}; }
  /// Group bit: multicast or broadcast.
  [[nodiscard]] bool is_multicast() const { return (bytes[0] & 1) != 0; }
  [[nodiscard]] bool is_broadcast() const;
  [[nodiscard]] std::string str() const;
  /// "aa:bb:cc:dd:ee:ff" in either case, two digits each; nothing else.
  [[nodiscard]] static std::optional<MacAddr> parse(std::string_view text);
  [[nodiscard]] static std::optional<MacAddr> from_bytes(std::string_view raw);
  [[nodiscard]] std::string raw() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

inline constexpr MacAddr kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

enum class IpFamily : uint8_t { none = 0, v4 = 4, v6 = 6 };

/// IPv4 or IPv6 address, bytes in wire order; an IPv4 address sits in bytes[0..3], the rest is zero.
/// Default-constructed: no address (family none).
struct IpAddr {
  IpFamily family = IpFamily::none;
  std::array<uint8_t, 16> bytes{};

  std::strong_ordering operator<=>(const IpAddr& o) const {
    if (family != o.family) return family <=> o.family;
    return order_of_bytes<16>(bytes.data(), o.bytes.data());
  }
  bool operator==(const IpAddr& o) const { return (*this <=> o) == std::strong_ordering::equal; }

  [[nodiscard]] static IpAddr v4(uint32_t host_order);
  [[nodiscard]] static IpAddr v6(const std::array<uint8_t, 16>& wire) {
    return {IpFamily::v6, wire};
  }
  [[nodiscard]] bool is_v4() const { return family == IpFamily::v4; }
  [[nodiscard]] bool is_v6() const { return family == IpFamily::v6; }
  [[nodiscard]] bool is_none() const { return family == IpFamily::none; }
  /// Address size in bits: 32 or 128; 0 for none.
  [[nodiscard]] unsigned bits() const { return is_v4() ? 32 : is_v6() ? 128 : 0; }
  /// Address size in bytes: 4, 16 or 0.
  [[nodiscard]] size_t size() const { return bits() / 8; }
  /// Host byte order; IPv4 only.
  [[nodiscard]] uint32_t v4_value() const;
  [[nodiscard]] bool bit(unsigned i) const { return (bytes[i / 8] >> (7 - i % 8) & 1) != 0; }
  [[nodiscard]] bool is_multicast() const;
  [[nodiscard]] bool is_unspecified() const;  ///< 0.0.0.0 or ::
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] bool is_link_local() const;  ///< 169.254/16 or fe80::/10
  [[nodiscard]] std::string str() const;
  /// Refuses leading zeros (010.0.0.1), IPv4-mapped IPv6, zone ids and everything else not canonicalizable.
  [[nodiscard]] static std::optional<IpAddr> parse(std::string_view text);
  /// From 4 or 16 raw bytes, as records store it.
  [[nodiscard]] static std::optional<IpAddr> from_bytes(std::string_view raw);
  [[nodiscard]] std::string raw() const {
    return {reinterpret_cast<const char*>(bytes.data()), size()};
  }
};

/// fe80::/64 plus the modified EUI-64 of the MAC (RFC 4291 appendix A).
[[nodiscard]] IpAddr link_local_of(const MacAddr& mac);
/// ff02::1:ffXX:XXXX of the address (RFC 4291 2.7.1).
[[nodiscard]] IpAddr solicited_node_of(const IpAddr& v6);
/// The MAC of an IP multicast group: 01:00:5e... (RFC 1112) or 33:33:... (RFC 2464).
[[nodiscard]] MacAddr multicast_mac_of(const IpAddr& group);

/// An address and a length. `network()` form has no host bits; an interface address ("10.0.1.1/24") may.
struct IpPrefix {
  IpAddr addr;
  uint8_t length = 0;

  auto operator<=>(const IpPrefix&) const = default;
  [[nodiscard]] bool contains(const IpAddr& a) const;
  [[nodiscard]] bool contains(const IpPrefix& other) const;
  /// True when one of the two contains the other.
  [[nodiscard]] bool overlaps(const IpPrefix& other) const;
  /// The same prefix with host bits cleared.
  [[nodiscard]] IpPrefix network() const;
  /// The directed broadcast address of an IPv4 prefix shorter than /31; none otherwise.
  [[nodiscard]] std::optional<IpAddr> broadcast() const;
  [[nodiscard]] std::string str() const;
  /// "10.0.1.0/24", "fd00::/64"; a length is required; host bits are kept (callers that want a network check).
  [[nodiscard]] static std::optional<IpPrefix> parse(std::string_view text);
  /// Record form: address bytes followed by one length byte (5 or 17 bytes).
  [[nodiscard]] static std::optional<IpPrefix> from_bytes(std::string_view raw);
  [[nodiscard]] std::string raw() const { return addr.raw() + static_cast<char>(length); }
};

}  // namespace plexus

template <>
struct std::hash<plexus::MacAddr> {
  size_t operator()(const plexus::MacAddr& m) const noexcept {
    uint64_t v = 0;
    std::memcpy(&v, m.bytes.data(), 6);
    v *= 0x9e3779b97f4a7c15ULL;
    return static_cast<size_t>(v ^ (v >> 32));
  }
};
template <>
struct std::hash<plexus::IpAddr> {
  size_t operator()(const plexus::IpAddr& a) const noexcept {
    uint64_t hi = 0, lo = 0;
    std::memcpy(&hi, a.bytes.data(), 8);
    std::memcpy(&lo, a.bytes.data() + 8, 8);
    const uint64_t v = (hi ^ (lo * 0x9e3779b97f4a7c15ULL) ^ static_cast<uint64_t>(a.family)) *
                       0xff51afd7ed558ccdULL;
    return static_cast<size_t>(v ^ (v >> 32));
  }
};
