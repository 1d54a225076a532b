// SPDX-License-Identifier: Apache-2.0
// What plexus-bench-swarm does with sessions that are only their wire: see raw_zookeeper.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace plexus::bench {

/// `server`: ADDRESS:PORT, `root`: the znode of all records.
struct RawPlace {
  std::string server;
  std::string root;
};
/// Of "zookeeper:ADDRESS:PORT[/CHROOT]". invalid: another store, or several servers.
[[nodiscard]] Result<RawPlace> raw_place(const std::string& store_address);

/// `count` sessions watch the record at `path` and read it again, with a new watch, when it changes. `saw` hears of
/// each version that one of them has read. Until `stop`.
Result<void> raw_watchers(const RawPlace& place, int count, const std::string& path,
                          const std::function<void(int64_t version)>& saw,
                          const std::atomic<bool>& stop);

/// Hosts s1 to s<count>: registered, live, and each answers each convergence question as an agent without ports does:
/// its watch fires, it reads the question, it creates its answer. Once a second each looks at its beacon, as a Store
/// does. `ready` runs when all are live. Until `stop`.
Result<void> raw_hosts(const std::string& store_address, int count,
                       const std::function<void()>& ready, const std::atomic<bool>& stop);

}  // namespace plexus::bench
