// SPDX-License-Identifier: Apache-2.0
// Maglev: which member of a group serves a flow, so that all hosts choose alike without talking, and so that a group which
// changes moves few flows (Eisenbud et al., "Maglev", NSDI 2016, 3.4; with weights).
//
// Size, hash function and seeds are fixed: hosts that run different versions must agree. A table depends on its members'
// keys and weights only, in whatever order they are given. Values; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus::model {

/// Places in a table: a prime, so that every member's way through it meets each place once. A table of more than
/// kMaxMaglevMembers members has the larger number, so that shares stay fine; when a group outgrows the smaller one, most flows
/// are chosen for anew.
inline constexpr uint32_t kMaglevSize = 4093, kLargeMaglevSize = 65537;
/// Members of a small table, and of any; every one of them has a place then.
inline constexpr size_t kMaxMaglevMembers = 256, kMaxLargeMaglevMembers = 4096;

/// 64 bits of `words`, of which each depends on all: per word, xor and the finalizer of SplitMix64.
[[nodiscard]] uint64_t fixed_hash(uint64_t seed, std::span<const uint64_t> words);

struct MaglevMember {
  Uuid key;             ///< of the record that it is
  uint32_t weight = 1;  ///< at least 1
};

class MaglevTable {
 public:
  /// At most kMaxLargeMaglevMembers members, all keys different, at least one. Each gets its share of the places by weight,
  /// exact but for rounding (largest remainders first), and one at least.
  explicit MaglevTable(std::span<const MaglevMember> members);

  /// The index, among the members as they were given, that serves a flow with this hash.
  [[nodiscard]] size_t member(uint64_t hash) const {
    if (large_.empty()) return small_[hash % kMaglevSize];
    return large_[hash % kLargeMaglevSize];
  }
  [[nodiscard]] uint32_t places() const { return large_.empty() ? kMaglevSize : kLargeMaglevSize; }

 private:
  // One of them has the places.
  std::vector<uint8_t> small_;
  std::vector<uint16_t> large_;
};

/// What of a packet says to which flow it belongs. All fragments of a packet agree in it, and so do all packets of a
/// connection in one direction that are not fragments.
struct FlowIdentity {
  IpAddr src, dst;
  uint8_t protocol = 0;
  uint16_t src_port = 0, dst_port = 0;  ///< zero: none, or not to be looked at
};
/// `salt`: who chooses, so that choices in a row do not depend on each other.
[[nodiscard]] uint64_t flow_hash(const Uuid& salt, const FlowIdentity& flow);
/// Another hash, of the same flow: for the choice among those that are left when the first choice cannot serve.
[[nodiscard]] uint64_t next_hash(uint64_t hash);

}  // namespace plexus::model
