// SPDX-License-Identifier: Apache-2.0
// Uuid, and ids that cannot be mixed up: a BridgeId is not a PortId although both are UUIDs.
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

/// 16 bytes in wire order. Text form: RFC 4122, lower case, with hyphens.
struct Uuid {
  std::array<uint8_t, 16> bytes{};

  std::strong_ordering operator<=>(const Uuid& o) const {
    return order_of_bytes<16>(bytes.data(), o.bytes.data());
  }
  bool operator==(const Uuid& o) const { return (*this <=> o) == std::strong_ordering::equal; }
  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }
  /// The 36-character text form.
  [[nodiscard]] std::string str() const;
  /// Accepts only the 36-character form (either case); nothing else.
  [[nodiscard]] static std::optional<Uuid> parse(std::string_view text);
  /// A version 4 UUID from the kernel's random numbers.
  [[nodiscard]] static Uuid random();
  /// From exactly 16 raw bytes, as records store it.
  [[nodiscard]] static std::optional<Uuid> from_bytes(std::string_view raw);
  /// A version 5-like name-derived UUID: the same (space, name) always gives the same id. For tests
  /// and scenarios.
  [[nodiscard]] static Uuid derived(std::string_view space, std::string_view name);
  [[nodiscard]] std::string raw() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

/// A Uuid of one kind of thing. `Kind` is an empty tag type.
template <typename Kind>
struct Id {
  Uuid uuid;
  auto operator<=>(const Id&) const = default;
  [[nodiscard]] bool is_nil() const { return uuid.is_nil(); }
  [[nodiscard]] std::string str() const { return uuid.str(); }
};

using HostId = Id<struct HostKind>;
using TunnelZoneId = Id<struct TunnelZoneKind>;
using BridgeId = Id<struct BridgeKind>;
using RouterId = Id<struct RouterKind>;
using PortId = Id<struct PortKind>;
using RouteId = Id<struct RouteKind>;
using ChainId = Id<struct ChainKind>;
using RuleId = Id<struct RuleKind>;
using AddressGroupId = Id<struct AddressGroupKind>;
using PortGroupId = Id<struct PortGroupKind>;
using SecurityGroupId = Id<struct SecurityGroupKind>;
using SecurityRuleId = Id<struct SecurityRuleKind>;
using FloatingIpId = Id<struct FloatingIpKind>;
using SnatPoolId = Id<struct SnatPoolKind>;
using LoadBalancerId = Id<struct LoadBalancerKind>;
using VipId = Id<struct VipKind>;
using PoolId = Id<struct PoolKind>;
using PoolMemberId = Id<struct PoolMemberKind>;
using DhcpSubnetId = Id<struct DhcpSubnetKind>;
using MirrorId = Id<struct MirrorKind>;
using TraceRequestId = Id<struct TraceRequestKind>;

}  // namespace plexus

template <>
struct std::hash<plexus::Uuid> {
  size_t operator()(const plexus::Uuid& u) const noexcept {
    // UUIDs are random; folding them is hash enough. Derived ids are hashed already.
    uint64_t a = 0, b = 0;
    std::memcpy(&a, u.bytes.data(), 8);
    std::memcpy(&b, u.bytes.data() + 8, 8);
    return static_cast<size_t>(a ^ (b * 0x9e3779b97f4a7c15ULL));
  }
};
template <typename Kind>
struct std::hash<plexus::Id<Kind>> {
  size_t operator()(const plexus::Id<Kind>& id) const noexcept {
    return std::hash<plexus::Uuid>{}(id.uuid);
  }
};
