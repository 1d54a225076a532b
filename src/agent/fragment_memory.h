// SPDX-License-Identifier: Apache-2.0
// FragmentMemory: what was done with the first fragment of a packet, so that the same is done with the others. They have no
// ports, and belong to no connection: filters that ask for ports, stateful security groups and translations can say
// something about the first one only (RFC 1858, 3128; RFC 4787 REQ-14).
//
// Only where they enter, for a moment, and under the topology of that moment. A port that sends many has its oldest
// forgotten, not those of others.
//
// Threads: none; the worker's.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "base/clock.h"
#include "sim/simulate.h"

namespace plexus::agent {

class FragmentMemory {
 public:
  /// The fragments of a packet leave their sender together. Receivers wait for the last one as long (RFC 1122 3.3.2: 60 s or more).
  static constexpr Duration kKept = std::chrono::seconds(30);
  static constexpr size_t kOfOnePort = 64;  ///< packets

  /// What became of a first fragment; `epoch` is of the topology that it was asked of. With what leads no others an earlier packet
  /// of the same identification is forgotten.
  void remember(const sim::Packet& first, const sim::Outcome& outcome, uint64_t epoch,
                MonoTime now);
  /// Makes the outcome of a later fragment that of its first one, ports aside. False: nobody knows it (any more); or the
  /// fragment is another one's in more than the ports (MACs, tags, TTL), or too large for what was done; or it overlaps with the
  /// first one, and would put other ports or flags in place of those that were looked at.
  [[nodiscard]] bool follow(const sim::Packet& later, sim::Outcome& outcome, uint64_t epoch,
                            MonoTime now);
  /// Of all ports.
  [[nodiscard]] size_t size() const;

 private:
  struct Key {
    uint32_t tunnel_key = 0;
    uint32_t id = 0;
    uint8_t protocol = 0;
    IpAddr src, dst;
    auto operator<=>(const Key&) const = default;
  };
  struct Done {
    FlowKey key, mask;  ///< of the first one's class, without what it alone has
    uint32_t end = 0;   ///< of the first one's part
    Actions actions;
    sim::Verdict verdict = sim::Verdict::drop;
    sim::DropReason reason = sim::DropReason::none;
    uint64_t epoch = 0;
    MonoTime until;
  };
  /// The newest at the end.
  using OfPort = std::deque<std::pair<Key, Done>>;
  [[nodiscard]] static Key key_of(const sim::Packet& packet, uint32_t id);
  void forget(MonoTime now);

  std::map<uint32_t, OfPort> ports_;  ///< by number
  MonoTime next_look_;
};

}  // namespace plexus::agent
