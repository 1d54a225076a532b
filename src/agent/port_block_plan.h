// SPDX-License-Identifier: Apache-2.0
// PortBlockPlan: which outside ports this host asks the store for (store/topology/port_blocks.h). It hears of the pools of
// source addresses in the closure, of the blocks that the host has, and of connections that found no port; it says what to
// ask for next. A first block is asked for as soon as a pool is in the closure, before any packet needs it: without the
// store there is none to be had. What cannot be had is asked for again, with growing pauses.
//
// Threads: none; its owner's. Time is an argument.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/records.h"

namespace plexus::agent {

class PortBlockPlan {
 public:
  /// A pool that left the closure may come back at once (a rule that is replaced).
  static constexpr Duration kGiveBackAfter = std::chrono::seconds(60);
  /// After a block was granted: a burst of connections needs more at once, and the first has to come in.
  static constexpr Duration kGrantPause = std::chrono::milliseconds(200);
  /// After a refusal.
  static constexpr Duration kLeastPause = std::chrono::seconds(1);
  static constexpr Duration kMostPause = std::chrono::seconds(60);

  /// One thing to ask the store for.
  struct Order {
    enum class Kind : uint8_t { settle, grow, give_back };
    Kind kind = Kind::settle;
    model::SnatPool pool;              ///< give_back: the id only
    IpFamily family = IpFamily::none;  ///< of grow
    bool operator==(const Order&) const = default;
  };

  /// Other changes than those of pools and blocks are none of its business.
  void take_in(const model::Change& change, MonoTime now);
  /// A connection found few ports of this family, or none.
  void need(SnatPoolId pool, IpFamily family);
  /// What to ask for now; each pool's order is outstanding until done().
  [[nodiscard]] std::vector<Order> due(MonoTime now);
  void done(SnatPoolId pool, const std::optional<Error>& error, MonoTime now);
  /// When due() will have an order to grow; nothing: not before something comes.
  [[nodiscard]] std::optional<MonoTime> next_growth() const;

  /// For people.
  struct Status {
    SnatPoolId pool;
    std::string name;  ///< empty: it is not in the closure (any more)
    std::vector<model::PortBlock> blocks;
    std::string trouble;  ///< why it has not what it wants; empty: it has
  };
  [[nodiscard]] std::vector<Status> status() const;

 private:
  struct Pool {
    std::optional<model::SnatPool> record;
    std::vector<model::PortBlock> blocks;
    bool need4 = false, need6 = false;
    bool asked = false;
    MonoTime not_before, gone_since;
    Duration pause{0};
    std::string trouble;
  };
  [[nodiscard]] static std::optional<Order> next(SnatPoolId id, const Pool& pool, MonoTime now);

  std::map<SnatPoolId, Pool> pools_;
};

}  // namespace plexus::agent
