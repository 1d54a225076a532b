// SPDX-License-Identifier: Apache-2.0
// RefusedLeases: outside ports that this host leased and another host said belong to a connection of its own: one that is not
// known here any more. They are not chosen again for a while; whoever leases one later is refused again, and chooses again.
//
// One thread: the worker's. Time is an argument.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"
#include "state/connection.h"

namespace plexus::state {

class RefusedLeases {
 public:
  /// The one that ends first makes room.
  static constexpr size_t kMost = 1024;

  /// `entering`: what answers to the lease have, in the zone where they enter. `by`: who said so.
  void note(const Zone& zone, const Tuple& entering, const HostId& by, MonoTime until) {
    const auto [at, is_new] = leases_.insert_or_assign(std::pair(zone, entering), Lease{by, until});
    if (!is_new || leases_.size() <= kMost) return;
    auto first = leases_.end();
    for (auto it = leases_.begin(); it != leases_.end(); ++it)
      if (it != at && (first == leases_.end() || it->second.until < first->second.until))
        first = it;
    leases_.erase(first);
  }
  [[nodiscard]] std::optional<HostId> refused_by(const Zone& zone, const Tuple& entering,
                                                 MonoTime now) const {
    if (leases_.empty()) return std::nullopt;
    const auto found = leases_.find({zone, entering});
    if (found == leases_.end() || now >= found->second.until) return std::nullopt;
    return found->second.by;
  }
  void expire(MonoTime now) {
    std::erase_if(leases_, [&](const auto& lease) { return now >= lease.second.until; });
  }
  [[nodiscard]] size_t size() const { return leases_.size(); }

 private:
  struct Lease {
    HostId by;
    MonoTime until;
  };
  std::map<std::pair<Zone, Tuple>, Lease> leases_;
};

}  // namespace plexus::state
