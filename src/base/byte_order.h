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

/// How the `N` bytes at `a` stand to those at `b`.
template <size_t N>
[[nodiscard]] inline std::strong_ordering order_of_bytes(const uint8_t* a, const uint8_t* b) {
  static_assert(std::endian::native == std::endian::little, "words are turned round to compare");
  for (size_t at = 0; at < N; at += 8) {
    uint64_t x = 0, y = 0;
    std::memcpy(&x, a + at, N - at < 8 ? N - at : 8);
    std::memcpy(&y, b + at, N - at < 8 ? N - at : 8);
    if (x != y) return __builtin_bswap64(x) <=> __builtin_bswap64(y);
  }
  return std::strong_ordering::equal;
}

}  // namespace plexus
