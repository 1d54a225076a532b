// SPDX-License-Identifier: Apache-2.0
// Integers in wire (big-endian) order, as distinct types without alignment needs: nothing converts by accident.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

namespace plexus {

struct Be16 {
  std::array<uint8_t, 2> bytes{};
  constexpr Be16() = default;
  constexpr explicit Be16(uint16_t host)
      : bytes{static_cast<uint8_t>(host >> 8), static_cast<uint8_t>(host)} {}
  [[nodiscard]] constexpr uint16_t host() const {
    return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
  }
  auto operator<=>(const Be16&) const = default;
};

struct Be32 {
  std::array<uint8_t, 4> bytes{};
  constexpr Be32() = default;
  constexpr explicit Be32(uint32_t host)
      : bytes{static_cast<uint8_t>(host >> 24), static_cast<uint8_t>(host >> 16),
              static_cast<uint8_t>(host >> 8), static_cast<uint8_t>(host)} {}
  [[nodiscard]] constexpr uint32_t host() const {
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 |
           uint32_t{bytes[3]};
  }
  auto operator<=>(const Be32&) const = default;
};

}  // namespace plexus
