// SPDX-License-Identifier: Apache-2.0
// FragmentMemory: what was done with the first fragment of a packet, so that the same is done with the others. They have no
// ports, and belong to no connection: filters that ask for ports, stateful security groups and translations can say
// something about the first one only (RFC 1858, 3128; RFC 4787 REQ-14).
//
// Only where they enter, for a moment, and as long as nothing changes that the first one's answer depends on. Bounded in all; which
// packet is forgotten for a newcomer says FragmentTable, fair between interfaces (of floods that come by tunnel: bridges). A first
// one that waits is remembered as that: those that follow wait behind it.
//
// Threads: none; the worker's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "agent/fragment_key.h"
#include "agent/fragment_table.h"
#include "base/clock.h"
#include "flow/match.h"
#include "flow/tag.h"
#include "sim/simulate.h"
#include "state/connection_table.h"

namespace plexus::agent {

class FragmentMemory {
 public:
  /// The fragments of a packet leave their sender together. Receivers wait for the last one as long (RFC 1122 3.3.2: 60 s or more).
  static constexpr Duration kKept = std::chrono::seconds(30);
  /// Packets in all; one with many copies or dependencies counts for each `kPartsOfOne` of them that it begins.
  static constexpr size_t kMost = 4096, kPartsOfOne = 16;

  explicit FragmentMemory(size_t most = kMost) : packets_(most) {}

  /// Where a first fragment waits, if it does.
  struct Waits {
    uint64_t ticket = 0;  ///< in the parking, when it is postponed
    /// Whose packets are held as long as others have to be told of it.
    std::optional<state::ConnectionNumber> connection = {};
  };
  /// What became of a first fragment. With what leads no others an earlier packet of the same identification is forgotten.
  void remember(const sim::Packet& first, const sim::Outcome& outcome, MonoTime now,
                const Waits& waits);
  void remember(const sim::Packet& first, const sim::Outcome& outcome, MonoTime now) {
    remember(first, outcome, now, Waits{});
  }
  /// The topology changes: what became of first fragments whose answers these changes touch is no longer done.
  void publish(std::span<const TagChange> changes);

  enum class Answer : uint8_t {
    unknown,  ///< nobody knows its first one (yet, or any more, or as things are now)
    by_itself,  ///< that one is another's in more than the ports (MACs, tags), or no way for this one (size, TTL)
    followed,  ///< the outcome is that of its first one, ports aside; cut, where that asks for it
    refused,  ///< it would put other ports or flags in place of those that were, or will be, looked at: dropped
    waits,  ///< its first one is parked
  };
  struct Followed {
    Answer answer = Answer::unknown;
    Waits waits;
  };
  /// Of a later fragment, with its outcome as the simulation has it: for follows_first, or postponed.
  [[nodiscard]] Followed follow(const sim::Packet& later, sim::Outcome& outcome, MonoTime now);
  [[nodiscard]] size_t size() const { return packets_.size(); }

 private:
  struct Done {
    FlowKey key, mask;  ///< of the first one's class, without what it alone has
    uint32_t end = 0;   ///< of the first one's part
    /// Copies, and how large packets may be for them: as it was, or as each of the pieces was that it was cut into. None: dropped.
    std::vector<Actions> ways;
    sim::DropReason reason = sim::DropReason::none;
    bool parked = false;
    Waits waits;
    Match of_first;  ///< the first one's class
    std::vector<Dependency> dependencies;
    bool outdated = false;  ///< one of them has changed
    MonoTime until;
  };
  [[nodiscard]] static bool note_ways(const sim::Outcome& outcome, Done& done);
  [[nodiscard]] const Done* find(const FragmentKey& key, MonoTime now) const;
  [[nodiscard]] static bool take_ways(const Done& done, const sim::Packet& later,
                                      sim::Outcome& outcome);

  FragmentTable<Done> packets_;
};

}  // namespace plexus::agent
