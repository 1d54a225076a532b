// SPDX-License-Identifier: Apache-2.0
// Fields of a packet as numbers, compared from the first bit on. Private to sim.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "sim/journey.h"

namespace plexus::sim {

/// `N` bytes as a number whose first bit is the first of the bytes, with zeros behind them.
template <size_t N>
struct Field {
  using Bits = std::conditional_t<(N > 8), unsigned __int128, uint64_t>;
  static constexpr unsigned kWidth = sizeof(Bits) * 8;

  static Bits load(const uint8_t* from) {
    uint64_t high = 0;
    std::memcpy(&high, from, N < 8 ? N : 8);
    high = __builtin_bswap64(high);
    if constexpr (N <= 8) {
      return high;
    } else {
      uint64_t low = 0;
      std::memcpy(&low, from + 8, N - 8);
      return static_cast<Bits>(high) << 64 | __builtin_bswap64(low);
    }
  }
  static void store(uint8_t* to, Bits bits) {
    uint64_t first = static_cast<uint64_t>(bits >> (kWidth - 64));
    first = __builtin_bswap64(first);
    std::memcpy(to, &first, N < 8 ? N : 8);
    if constexpr (N > 8) {
      const uint64_t second = __builtin_bswap64(static_cast<uint64_t>(bits));
      std::memcpy(to + 8, &second, N - 8);
    }
  }
  /// The first `count` bits set.
  static Bits leading(unsigned count) { return count == 0 ? 0 : ~Bits{0} << (kWidth - count); }
  /// How many zeros there are before the first one; there is a one.
  static unsigned zeros_before(Bits bits) {
    const auto high = static_cast<uint64_t>(bits >> (kWidth - 64));
    if (N <= 8 || high != 0) return static_cast<unsigned>(std::countl_zero(high));
    return 64 + static_cast<unsigned>(std::countl_zero(static_cast<uint64_t>(bits)));
  }
};

/// Reads one field as Journey::FieldBits does, for those who look at it many times in a row: what they have looked at is noted
/// when they are done. Nobody else may read the field meanwhile.
template <size_t N>
class FieldReading {
 public:
  explicit FieldReading(const Journey::FieldBits& field)
      : noted_(field.mask),
        value_(F::load(field.value)),
        read_(noted_ != nullptr ? F::load(noted_) : 0) {}
  FieldReading(const FieldReading&) = delete;
  FieldReading& operator=(const FieldReading&) = delete;
  ~FieldReading() {
    if (noted_ != nullptr) F::store(noted_, read_);
  }

  /// The first `count` bits are those of `wanted`.
  [[nodiscard]] bool starts_with(const uint8_t* wanted, unsigned count) {
    const auto differs = (value_ ^ F::load(wanted)) & F::leading(count);
    // A bit that was read before and differs settles it for nothing.
    if ((differs & read_) != 0) return false;
    read_ |= F::leading(differs == 0 ? count : F::zeros_before(differs) + 1);
    return differs == 0;
  }
  /// Bit `i`, all before it noted, too.
  [[nodiscard]] bool bit(unsigned i) {
    read_ |= F::leading(i + 1);
    return (value_ >> (F::kWidth - 1 - i) & 1) != 0;
  }

 private:
  using F = Field<N>;
  uint8_t* const noted_;  ///< null: reading costs nothing
  const typename F::Bits value_;
  typename F::Bits read_;
};

}  // namespace plexus::sim
