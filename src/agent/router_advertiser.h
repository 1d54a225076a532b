// SPDX-License-Identifier: Apache-2.0
// RouterAdvertiser: when this host sends router advertisements unasked (RFC 4861 6.2.4, 6.2.5), for the router ports that
// advertise and have somebody here to hear it. What is sent is sim::router_adverts().
//
// Threads: none of its own; the worker's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

class RouterAdvertiser {
 public:
  /// What is to be sent now. A port that begins to advertise, or says something else than before, does so at once and two
  /// more times 16 s apart, then every 200 to 600 s, each port and host at times of its own; these three times it withdraws
  /// the networks that it had. One that has ceased, is gone or down, or has another MAC or link says once, as it was, that
  /// it is no router any more.
  [[nodiscard]] std::vector<sim::Generated> due(std::shared_ptr<const model::Snapshot> snapshot,
                                                MonoTime now);

 private:
  struct Said {
    MacAddr mac;
    std::optional<PortId> peer;
    std::vector<IpPrefix> networks;
    uint32_t mtu = 0;
    std::optional<model::Advertising> advertising;
    bool operator==(const Said&) const = default;
  };
  struct State {
    Said said;
    std::vector<IpPrefix> withdrawn;  ///< had been said before, each as its network
    unsigned sent = 0;                ///< since it has said this
    MonoTime last{}, next{};
  };

  void say_last(const model::Snapshot& snapshot, PortId id, std::vector<sim::Generated>& out) const;

  std::map<PortId, State> states_;
  std::shared_ptr<const model::Snapshot> before_;  ///< of the last time
};

}  // namespace plexus::agent
