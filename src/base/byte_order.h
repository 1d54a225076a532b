// SPDX-License-Identifier: Apache-2.0
// Order of byte strings of a fixed length, as memcmp() has it, in a few instructions: keys of tables are compared all
// the time.
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace plexus {

/// How the `N` bytes, at most 16, at `a` stand to those at `b`. Without a branch: searches in tables depend on it.
template <size_t N>
[[nodiscard]] inline std::strong_ordering order_of_bytes(const uint8_t* a, const uint8_t* b) {
  static_assert(std::endian::native == std::endian::little, "words are turned round to compare");
  static_assert(N <= 16);
  const auto number = [](const uint8_t* from) {
    uint64_t high = 0;
    std::memcpy(&high, from, N < 8 ? N : 8);
    high = __builtin_bswap64(high);
    if constexpr (N <= 8) {
      return high;
    } else {
      uint64_t low = 0;
      std::memcpy(&low, from + 8, N - 8);
      return static_cast<unsigned __int128>(high) << 64 | __builtin_bswap64(low);
    }
  };
  const auto x = number(a), y = number(b);
  return x < y    ? std::strong_ordering::less
         : x == y ? std::strong_ordering::equal
                  : std::strong_ordering::greater;
}

}  // namespace plexus
