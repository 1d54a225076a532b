// SPDX-License-Identifier: Apache-2.0
// Match: a region of header space: the packets whose key agrees with `key` in the bits set in `mask`.
#pragma once

#include <cstdint>

#include "packet/flow_key.h"

namespace plexus {

/// `key` has no bit set outside `mask`.
struct Match {
  FlowKey key;
  FlowKey mask;

  bool operator==(const Match& o) const { return key == o.key && mask == o.mask; }
  [[nodiscard]] bool covers(const FlowKey& k) const;
  /// True when some packet can be in both regions.
  [[nodiscard]] bool meets(const Match& other) const;
};

/// The region of all packets that agree with `packet` in the bits of `mask`.
[[nodiscard]] Match match_of(const FlowKey& packet, const FlowKey& mask);
[[nodiscard]] FlowKey operator&(const FlowKey& a, const FlowKey& b);
[[nodiscard]] FlowKey operator|(const FlowKey& a, const FlowKey& b);

}  // namespace plexus
