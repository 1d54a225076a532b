// SPDX-License-Identifier: Apache-2.0
// IcmpLimiter: how many ICMP packets this host sends for each router (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)). Each kind has
// a budget of its own, so that a flood that is answered by one kind (a traceroute gone mad) takes nothing from another
// (path MTU discovery, pings), and nothing from other routers.
//
// Threads: none of its own; the worker's.
#pragma once

#include <map>
#include <utility>

#include "base/clock.h"
#include "datapath/token_bucket.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class IcmpLimiter {
 public:
  /// Whether the packet may be sent; counts it then. Packets of kinds without a limit may, always. A router may send
  /// Router::icmp_rate of a kind in a second, a tenth of that at once (at least one).
  [[nodiscard]] bool allows(const model::Snapshot& snapshot, const sim::Generated& made,
                            MonoTime now);
  /// Forgets routers that have sent nothing for a while.
  void forget_idle(MonoTime now);
  [[nodiscard]] size_t size() const { return budgets_.size(); }

 private:
  struct Budget {
    uint32_t rate = 0;
    datapath::TokenBucket bucket;
    MonoTime last;
  };
  std::map<std::pair<RouterId, sim::GeneratedKind>, Budget> budgets_;
};

}  // namespace plexus::agent
