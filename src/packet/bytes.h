// SPDX-License-Identifier: Apache-2.0
// Reading and writing wire-order integers inside byte spans. The caller has checked the bounds; a
// wrong offset is a bug of ours, caught by the sanitizer builds. Shared by the parsers and builders
// of this room.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "packet/addr.h"

namespace plexus {

[[nodiscard]] inline uint16_t be16_at(std::span<const uint8_t> b, size_t at) {
  return static_cast<uint16_t>(b[at] << 8 | b[at + 1]);
}
[[nodiscard]] inline uint32_t be32_at(std::span<const uint8_t> b, size_t at) {
  return uint32_t{b[at]} << 24 | uint32_t{b[at + 1]} << 16 | uint32_t{b[at + 2]} << 8 |
         uint32_t{b[at + 3]};
}
inline void put_be16(std::span<uint8_t> b, size_t at, uint16_t v) {
  b[at] = static_cast<uint8_t>(v >> 8);
  b[at + 1] = static_cast<uint8_t>(v);
}
inline void put_be32(std::span<uint8_t> b, size_t at, uint32_t v) {
  put_be16(b, at, static_cast<uint16_t>(v >> 16));
  put_be16(b, at + 2, static_cast<uint16_t>(v));
}

[[nodiscard]] inline MacAddr mac_at(std::span<const uint8_t> b, size_t at) {
  MacAddr m;
  std::memcpy(m.bytes.data(), b.subspan(at, 6).data(), 6);
  return m;
}
[[nodiscard]] inline IpAddr ipv4_at(std::span<const uint8_t> b, size_t at) {
  return IpAddr::v4(be32_at(b, at));
}
[[nodiscard]] inline IpAddr ipv6_at(std::span<const uint8_t> b, size_t at) {
  std::array<uint8_t, 16> wire;
  std::memcpy(wire.data(), b.subspan(at, 16).data(), 16);
  return IpAddr::v6(wire);
}
inline void put_bytes(std::span<uint8_t> b, size_t at, std::span<const uint8_t> from) {
  if (!from.empty()) std::memcpy(b.subspan(at, from.size()).data(), from.data(), from.size());
}
/// The 4 or 16 bytes of an address.
[[nodiscard]] inline std::span<const uint8_t> wire_bytes(const IpAddr& a) {
  return std::span<const uint8_t>(a.bytes).first(a.size());
}

}  // namespace plexus
