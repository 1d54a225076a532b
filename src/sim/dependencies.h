// SPDX-License-Identifier: Apache-2.0
// Dependencies: what a simulation has read so far, each thing once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "flow/tag.h"

namespace plexus::sim {

/// Threads: as a vector.
class Dependencies {
 public:
  /// Adds to `list`, which must be empty and outlive this.
  explicit Dependencies(std::vector<Dependency>& list) : list_(list) {}

  /// Field by field, as tags are written: read in other pieces they would have to wait for the writes.
  void add(const Tag& tag, bool rewritten) {
    const Words words(tag);
    const uint64_t mixed = (words.high ^ tag.sub * 0x8bb84b93962eacc9ULL ^
                            static_cast<uint64_t>(tag.kind) << 1 ^ (rewritten ? 1 : 0)) *
                           0x9e3779b97f4a7c15ULL;
    size_t at = mixed >> (64 - kPlaceBits);
    for (; places_[at] != 0; at = (at + 1) % places_.size())
      if (same(list_[places_[at] - 1u], tag, words, rewritten)) return;
    if (list_.size() < kKnown) places_[at] = static_cast<uint8_t>(list_.size() + 1);
    Dependency& added = list_.emplace_back();
    added.tag.kind = tag.kind;
    std::memcpy(added.tag.id.bytes.data(), &words.high, sizeof words.high);
    std::memcpy(added.tag.id.bytes.data() + sizeof words.high, &words.low, sizeof words.low);
    added.tag.sub = tag.sub;
    added.rewritten = rewritten;
  }

  /// Takes out what got in twice, which only long lists have; their order is another one then.
  void settle() {
    if (list_.size() <= kKnown) return;
    std::sort(list_.begin(), list_.end());
    list_.erase(std::unique(list_.begin(), list_.end()), list_.end());
  }

 private:
  struct Words {
    uint64_t high = 0, low = 0;
    explicit Words(const Tag& tag) {
      std::memcpy(&high, tag.id.bytes.data(), sizeof high);
      std::memcpy(&low, tag.id.bytes.data() + sizeof high, sizeof low);
    }
  };
  static bool same(const Dependency& d, const Tag& tag, const Words& words, bool rewritten) {
    const Words have(d.tag);
    return ((have.high ^ words.high) | (have.low ^ words.low) | (d.tag.sub ^ tag.sub)) == 0 &&
           d.tag.kind == tag.kind && d.rewritten == rewritten;
  }
  static constexpr unsigned kPlaceBits = 7;
  /// Those that come first are known again for sure; the places of more would be long to search.
  static constexpr size_t kKnown = 80;

  std::vector<Dependency>& list_;
  /// By hash, from there on: the number of one in the list, counted from 1; 0: nothing.
  std::array<uint8_t, size_t{1} << kPlaceBits> places_{};
};

}  // namespace plexus::sim
