// SPDX-License-Identifier: Apache-2.0
// worth_a_line(): keeps a storm of the same failure from filling the log.
#pragma once

#include <cstdint>

namespace plexus::agent {

/// One log line for a storm of the same failure: the 1st, 2nd, 4th, 8th ...
[[nodiscard]] constexpr bool worth_a_line(uint64_t count) {
  return (count & (count - 1)) == 0;
}

}  // namespace plexus::agent
