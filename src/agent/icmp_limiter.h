// SPDX-License-Identifier: Apache-2.0
// IcmpLimiter: how many ICMP packets this host sends for each router (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)). Each kind has
// a budget of its own, so that a flood that is answered by one kind (a traceroute gone mad) takes nothing from another
// (path MTU discovery, pings), and nothing from other routers. Of a budget no port that packets enter by gets more than a
// quarter: a machine that floods takes nothing from those behind other ports.
//
// Threads: none of its own; the worker's.
#pragma once

#include <map>
#include <utility>

#include "base/clock.h"
#include "datapath/datapath.h"
#include "datapath/token_bucket.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class IcmpLimiter {
 public:
  /// Ports that have a share of their own of one budget at a time; those beyond share one.
  static constexpr size_t kMaxShares = 256;

  /// Whether the packet may be sent; counts it then. Packets of kinds without a limit may, always. A router may send
  /// Router::icmp_rate of a kind in a second, a tenth of that at once (at least one); of these a quarter (at least one) because
  /// of packets that came by one port, `entered_by`. Answers of DHCP are counted by the port anyway.
  [[nodiscard]] bool allows(const model::Snapshot& snapshot, const sim::Generated& made,
                            DpPort entered_by, MonoTime now);
  /// Forgets routers and ports that nothing was sent for for a while.
  void forget_idle(MonoTime now);
  [[nodiscard]] size_t size() const { return budgets_.size(); }
  /// Of all budgets.
  [[nodiscard]] size_t shares() const;

 private:
  struct Share {
    datapath::TokenBucket bucket;
    MonoTime last;
  };
  struct Budget {
    uint32_t rate = 0;
    Share whole;
    std::map<uint32_t, Share> shares = {};  ///< by port number
  };
  static Share& share_of(Budget& budget, DpPort port, MonoTime now);
  std::map<std::pair<RouterId, sim::GeneratedKind>, Budget> budgets_;
};

}  // namespace plexus::agent
