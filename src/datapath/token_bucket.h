// SPDX-License-Identifier: Apache-2.0
// TokenBucket: a rate limit kept as one number, the generic cell rate algorithm (ITU-T I.371). The kernel programs do the
// same arithmetic (bpf/lib/bucket.h). Pure: time is an argument.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace plexus::datapath {

class TokenBucket {
 public:
  /// One token every `interval`; at most `burst` / `interval` tokens are saved up.
  TokenBucket(Duration interval, Duration burst) : interval_(interval), burst_(burst) {}

  /// Takes a token; false when there is none.
  [[nodiscard]] bool take(MonoTime now) { return take(now, interval_); }
  /// Takes what `cost` of time is worth, at most the burst.
  [[nodiscard]] bool take(MonoTime now, Duration cost) {
    const auto used = used_after(used_until_, now, cost, burst_);
    if (used) used_until_ = *used;
    return used.has_value();
  }

  /// Up to when the tokens of a bucket are used once these are taken; none when there are not so many.
  [[nodiscard]] static std::optional<MonoTime> used_after(MonoTime used_until, MonoTime now,
                                                          Duration cost, Duration burst) {
    const MonoTime until = std::max(used_until, now - burst) + std::min(cost, burst);
    if (until > now) return std::nullopt;
    return until;
  }

 private:
  Duration interval_, burst_;
  MonoTime used_until_{};
};

/// What a port has not flooded is saved up for so long (Actions::storm_limit).
inline constexpr Duration kStormBurst = std::chrono::seconds(1);
/// What `packets` cost a port that may flood `limit` a second.
[[nodiscard]] constexpr Duration storm_cost(uint32_t limit, uint32_t packets) {
  return Duration(std::chrono::nanoseconds(std::chrono::seconds(1)) / std::max(limit, 1u)) *
         packets;
}

}  // namespace plexus::datapath
