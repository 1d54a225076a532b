// SPDX-License-Identifier: Apache-2.0
// TokenBucket: a rate limit kept as one number, the generic cell rate algorithm (ITU-T I.371). The kernel programs do the
// same arithmetic (bpf/lib/upcall.h). Pure: time is an argument.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace plexus::datapath {

class TokenBucket {
 public:
  /// One token every `interval`; at most `burst` / `interval` tokens are saved up.
  TokenBucket(Duration interval, Duration burst) : interval_(interval), burst_(burst) {}

  /// Takes a token; false when there is none.
  [[nodiscard]] bool take(MonoTime now) {
    const MonoTime from = std::max(used_until_, now - burst_);
    if (from + interval_ > now) return false;
    used_until_ = from + interval_;
    return true;
  }

 private:
  Duration interval_, burst_;
  MonoTime used_until_{};
};

}  // namespace plexus::datapath
