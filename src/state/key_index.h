// SPDX-License-Identifier: Apache-2.0
// KeyIndex: from the hashes of keys to their numbers. The keys themselves stand elsewhere; here is a part of each hash, so that
// who searches looks at no key but, with next to no exception, the one that is meant, and growing looks at none.
//
// A search reads one cache line, seldom two; few keys take little memory. Growing is spread over the insertions that follow it:
// none of them takes long, however many keys there are.
//
// One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/check.h"

namespace plexus::state {

class KeyIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  KeyIndex() : now_(kFirstSlots) {}

  [[nodiscard]] size_t size() const { return size_; }

  /// The number, of those with this hash, for which `equal(number)`; kNone when there is none.
  template <typename Equal>
  [[nodiscard]] uint32_t find(uint64_t hash, Equal equal) const {
    const uint32_t part = part_of(hash);
    const uint32_t found = now_.find(part, equal);
    return found != kNone || before_.slots == nullptr ? found : before_.find(part, equal);
  }
  /// The number must be below kNone - 1, and not be there.
  void insert(uint64_t hash, uint32_t number) {
    if (before_.slots != nullptr) move_some();
    if (size_ + 1 > now_.count / 4 * 3) grow();
    now_.insert({part_of(hash), number + 1});
    ++size_;
  }
  /// The number must be there.
  void erase(uint64_t hash, uint32_t number) {
    const uint32_t part = part_of(hash);
    const bool erased = now_.erase(part, number) || before_.leave(part, number);
    PLEXUS_CHECK(erased, "only a key that is there is taken out");
    --size_;
  }
  /// Soon somebody will search for the hash.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&now_.slots[now_.home(part_of(hash))]); }
  /// The number that find() is likely to ask about first; kNone: none.
  [[nodiscard]] uint32_t candidate(uint64_t hash) const {
    return now_.find(part_of(hash), [](uint32_t) { return true; });
  }

 private:
  /// `number`: one more than that; 0: free, which is what fresh memory says. In `before_`, kMoved: it is not here any more.
  struct Slot {
    uint32_t hash = 0, number = 0;
  };
  static constexpr uint32_t kMoved = 0xffffffff;
  static constexpr size_t kFirstSlots = 1024;
  /// More than what grow() leaves to each insertion before it is called again, 8 / 3.
  static constexpr size_t kMovedAtOnce = 8;

  static uint32_t part_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  /// A key stands at its home or behind it, with no free slot between. Homes are in the order of the hashes.
  struct Slots {
    struct Free {
      void operator()(Slot* slots) const { std::free(slots); }
    };
    std::unique_ptr<Slot[], Free> slots;
    size_t count = 0;

    Slots() = default;
    /// Memory that nobody has written to yet is none of the process' own.
    explicit Slots(size_t n) : slots(static_cast<Slot*>(std::calloc(n, sizeof(Slot)))), count(n) {
      PLEXUS_CHECK(slots != nullptr, "memory for keys");
    }
    [[nodiscard]] size_t home(uint32_t hash) const { return hash * count >> 32; }
    [[nodiscard]] size_t next(size_t at) const { return at + 1 == count ? 0 : at + 1; }

    template <typename Equal>
    [[nodiscard]] uint32_t find(uint32_t hash, const Equal& equal) const {
      for (size_t at = home(hash);; at = next(at)) {
        const Slot slot = slots[at];
        if (slot.number == 0) return kNone;
        if (slot.hash == hash && slot.number != kMoved && equal(slot.number - 1))
          return slot.number - 1;
      }
    }
    void insert(Slot slot) {
      size_t at = home(slot.hash);
      while (slots[at].number != 0) at = next(at);
      slots[at] = slot;
    }
    /// The slot of the number; `count`: there is none.
    [[nodiscard]] size_t place_of(uint32_t hash, uint32_t number) const {
      for (size_t at = home(hash); slots[at].number != 0; at = next(at))
        if (slots[at].number == number + 1) return at;
      return count;
    }
    [[nodiscard]] bool erase(uint32_t hash, uint32_t number) {
      size_t gap = place_of(hash, number);
      if (gap == count) return false;
      // Those behind it move up, but not before their homes.
      for (size_t at = next(gap); slots[at].number != 0; at = next(at)) {
        const size_t from_home = distance(home(slots[at].hash), at);
        if (from_home < distance(gap, at)) continue;
        slots[gap] = slots[at];
        gap = at;
      }
      slots[gap] = {};
      return true;
    }
    [[nodiscard]] bool leave(uint32_t hash, uint32_t number) {
      if (slots == nullptr) return false;
      const size_t at = place_of(hash, number);
      if (at == count) return false;
      slots[at].number = kMoved;
      return true;
    }
    [[nodiscard]] size_t distance(size_t from, size_t to) const {
      return to >= from ? to - from : to + count - from;
    }
  };

  void grow() {
    // All has been moved long before: the insertions until here have moved more than there was.
    while (before_.slots != nullptr) move_some();
    before_ = std::exchange(now_, Slots(now_.count + now_.count / 2));
    moved_ = 0;
  }
  void move_some() {
    for (size_t n = 0; n < kMovedAtOnce && moved_ < before_.count; ++n, ++moved_) {
      Slot& slot = before_.slots[moved_];
      if (slot.number == 0 || slot.number == kMoved) continue;
      now_.insert(slot);
      slot.number = kMoved;
    }
    if (moved_ == before_.count) before_ = {};
  }

  Slots now_, before_;  ///< before_: those of a smaller table that have not been moved yet
  size_t moved_ = 0;    ///< slots of before_ that have been looked at
  size_t size_ = 0;
};

}  // namespace plexus::state
