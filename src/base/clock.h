// SPDX-License-Identifier: Apache-2.0
// Time as a value. Core rooms receive MonoTime as an argument; only shells ask the clock.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace plexus {

using Duration = std::chrono::nanoseconds;

/// Nanoseconds on the kernel's CLOCK_MONOTONIC (the clock of bpf_ktime_get_ns), or virtual time in
/// tests.
struct MonoTime {
  int64_t ns = 0;
  auto operator<=>(const MonoTime&) const = default;
};

[[nodiscard]] constexpr MonoTime operator+(MonoTime t, Duration d) {
  return {t.ns + d.count()};
}
[[nodiscard]] constexpr MonoTime operator-(MonoTime t, Duration d) {
  return {t.ns - d.count()};
}
[[nodiscard]] constexpr Duration operator-(MonoTime a, MonoTime b) {
  return Duration(a.ns - b.ns);
}

/// Now, on CLOCK_MONOTONIC.
[[nodiscard]] MonoTime mono_now();

}  // namespace plexus
