// SPDX-License-Identifier: Apache-2.0
// PortBlockPlan: which outside ports this host asks the store for (store/topology/port_blocks.h). It hears of the pools of
// source addresses in the closure, of the blocks that the host has, of connections that found no port, and of the blocks that
// connections are using; it says what to ask for next. A first block is asked for as soon as a pool is in the closure, before
// any packet needs it: without the store there is none to be had. What cannot be had is asked for again, with growing pauses;
// each family has pauses of its own, so that one that gets nothing keeps nobody else from anything.
//
// No block goes back that a connection uses here, whatever became of its pool: another host would get its ports. What is not
// used goes back by and by, all but one of each family.
//
// Threads: none; its owner's. Time is an argument.
#pragma once

#include <map>
#include <optional>
#include <set>
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
  /// Blocks that new connections are given ports of are kept so long after the last connection.
  static constexpr Duration kShrinkAfter = std::chrono::minutes(129);
  /// Of what was heard longer ago nothing goes back.
  static constexpr Duration kHeardLately = std::chrono::seconds(30);
  /// After a block was granted: a burst of connections needs more at once, and the first has to come in.
  static constexpr Duration kGrantPause = std::chrono::milliseconds(200);
  /// After a refusal.
  static constexpr Duration kLeastPause = std::chrono::seconds(1);
  static constexpr Duration kMostPause = std::chrono::seconds(60);

  /// One thing to ask the store for.
  struct Order {
    enum class Kind : uint8_t { settle, grow, give_back };
    Kind kind = Kind::settle;
    model::SnatPool pool;                  ///< give_back: the id only
    IpFamily family = IpFamily::none;      ///< of grow
    std::vector<model::PortBlock> blocks;  ///< of give_back
    bool operator==(const Order&) const = default;
  };

  /// Other changes than those of pools and blocks are none of its business.
  void take_in(const model::Change& change, MonoTime now);
  /// A connection found few ports of this family, or none.
  void need(SnatPoolId pool, IpFamily family);
  /// All that the host has, for whoever knows which of them connections use.
  [[nodiscard]] std::set<Uuid> blocks() const;
  /// Of the blocks that were `asked` about connections use these.
  void heard(const std::set<Uuid>& asked, const std::set<Uuid>& used, MonoTime now);
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
  /// Something that may be refused.
  struct Asking {
    MonoTime not_before;
    Duration pause{0};
    std::string trouble;
    void done(const std::optional<Error>& error, MonoTime now);
    void forgive(MonoTime now);
  };
  struct Family : Asking {
    bool need = false;
  };
  struct Pool {
    std::optional<model::SnatPool> record;
    std::vector<model::PortBlock> blocks;
    std::map<Uuid, MonoTime> unused_since;  ///< blocks; others are in use, for all that is known
    Family v4, v6;
    Asking back;
    std::optional<Order> asked;
    IpFamily grown = IpFamily::none;  ///< the last one
    MonoTime gone_since;
    Family& of(IpFamily family) { return family == IpFamily::v6 ? v6 : v4; }
    [[nodiscard]] const Family& of(IpFamily family) const {
      return family == IpFamily::v6 ? v6 : v4;
    }
    /// The pool has addresses of the family and the host has no block of them.
    [[nodiscard]] bool lacks(IpFamily family) const;
  };
  [[nodiscard]] static std::vector<model::PortBlock> to_give_back(const Pool& pool, MonoTime now);
  [[nodiscard]] std::optional<Order> next(SnatPoolId id, const Pool& pool, MonoTime now) const;

  std::optional<MonoTime> heard_;
  std::map<SnatPoolId, Pool> pools_;
};

}  // namespace plexus::agent
