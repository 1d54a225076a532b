// SPDX-License-Identifier: Apache-2.0
// EarlyFragments: later fragments that have overtaken their first one, and wait a moment for it. Bounded for each port, each tenant,
// and in all.
//
// Threads: none; the worker's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/fragment_memory.h"
#include "base/clock.h"
#include "datapath/datapath.h"

namespace plexus::agent {

class EarlyFragments {
 public:
  /// Fragments that change places on their way are not far apart.
  static constexpr Duration kWait = std::chrono::milliseconds(50);
  static constexpr size_t kPackets = 1024, kOfOneTenant = 256, kOfOnePort = 64;
  static constexpr size_t kBytesOfPort = size_t{128} * 1024;

  /// `tenant`: a number for whose the port is. False: there is no room, and the packet stays where it is.
  [[nodiscard]] bool wait(const FragmentKey& key, uint64_t tenant, datapath::Upcall& packet,
                          MonoTime now);
  /// Those that wait for this first one, in the order in which they came.
  [[nodiscard]] std::vector<datapath::Upcall> take(const FragmentKey& key);
  /// Those that have waited long enough, in the order in which they came.
  [[nodiscard]] std::vector<datapath::Upcall> take_due(MonoTime now);
  [[nodiscard]] std::optional<MonoTime> next_due() const;
  [[nodiscard]] size_t size() const { return size_; }

 private:
  struct Account {
    size_t packets = 0, bytes = 0;
  };
  struct Group {
    uint64_t number = 0;
    uint64_t tenant = 0;
    std::vector<datapath::Upcall> packets;
  };
  struct Due {
    MonoTime at;
    FragmentKey key;
    uint64_t number = 0;  ///< of the group that it is about: another one may have come in its place
  };
  /// All wait from when the first of them came, so that they stay together.
  std::map<FragmentKey, Group> groups_;
  std::deque<Due> due_;
  std::unordered_map<uint32_t, Account> ports_;   ///< by port number
  std::unordered_map<uint64_t, size_t> tenants_;  ///< packets
  size_t size_ = 0;
  uint64_t next_number_ = 1;
};

}  // namespace plexus::agent
