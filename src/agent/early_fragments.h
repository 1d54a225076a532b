// SPDX-License-Identifier: Apache-2.0
// EarlyFragments: later fragments that have overtaken their first one, and wait a moment for it. Bounded in all, in packets and
// bytes; a newcomer always waits, and who has to go for it says FragmentTable, fair between tenants.
//
// Threads: none; the worker's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/fragment_key.h"
#include "agent/fragment_table.h"
#include "base/clock.h"
#include "datapath/datapath.h"

namespace plexus::agent {

class EarlyFragments {
 public:
  /// Fragments that change places on their way are not far apart.
  static constexpr Duration kWait = std::chrono::milliseconds(50);
  /// Packets; a larger one counts for each `kBytesOfOne` that it begins.
  static constexpr size_t kPackets = 1024, kBytesOfOne = 2048;

  /// `tenant`: a number for whose the port is. Those that wait no longer, for want of room; the packet may be one of them.
  [[nodiscard]] std::vector<datapath::Upcall> wait(const FragmentKey& key, uint64_t tenant,
                                                   datapath::Upcall&& packet, MonoTime now);
  /// Those that wait for this first one, in the order in which they came.
  [[nodiscard]] std::vector<datapath::Upcall> take(const FragmentKey& key);
  /// Those that have waited long enough, in the order in which they came.
  [[nodiscard]] std::vector<datapath::Upcall> take_due(MonoTime now);
  [[nodiscard]] std::optional<MonoTime> next_due() const;
  /// Packets.
  [[nodiscard]] size_t size() const { return size_; }

 private:
  /// All wait from when the first of them came, so that they stay together.
  struct Group {
    MonoTime due;
    std::vector<datapath::Upcall> packets;
  };
  void append(Group&& group, std::vector<datapath::Upcall>& out);

  FragmentTable<Group> groups_{kPackets};
  size_t size_ = 0;
};

}  // namespace plexus::agent
