// SPDX-License-Identifier: Apache-2.0
// Interned: equal values kept once, each under a number that stays its own until nobody uses it any more.
#pragma once

#include <boost/container/deque.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"

namespace plexus {

/// Rows in blocks that never move: growing copies nothing, and a reference is good as long as its row. The standard
/// allocator keeps to the alignment of rows that fill cache lines.
template <typename Row>
using Rows =
    boost::container::deque<Row, std::allocator<Row>,
                            boost::container::deque_options_t<boost::container::block_size<1024>>>;

/// A search by hash and by a question to each candidate, for sets of numbers of rows.
template <typename Equal>
struct Sought {
  uint64_t hash;
  Equal equal;  ///< (number) -> bool
};

/// A hash set of numbers; `HashOf` knows the hash of the row behind a number. It keeps 4 bytes a row and a byte of hash.
template <typename HashOf>
class NumberSet {
 public:
  explicit NumberSet(HashOf hash_of) : set_(0, Hash{hash_of}, Same{}) {}

  void reserve(size_t rows) { set_.reserve(rows); }
  void insert(uint32_t number) { set_.insert(number); }
  void erase(uint32_t number) { set_.erase(number); }
  [[nodiscard]] size_t size() const { return set_.size(); }
  /// The number whose row has the hash and is the one asked for; kNone when there is none.
  template <typename Equal>
  [[nodiscard]] uint32_t find(uint64_t hash, Equal equal) const {
    const auto it = set_.find(Sought<Equal>{hash, equal});
    return it == set_.end() ? kNone : *it;
  }

  static constexpr uint32_t kNone = 0xffffffff;

 private:
  struct Hash {
    using is_transparent = void;
    using is_avalanching = void;
    HashOf hash_of;
    size_t operator()(uint32_t number) const { return hash_of(number); }
    template <typename Equal>
    size_t operator()(const Sought<Equal>& sought) const {
      return sought.hash;
    }
  };
  struct Same {
    using is_transparent = void;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    template <typename Equal>
    bool operator()(const Sought<Equal>& sought, uint32_t b) const {
      return sought.equal(b);
    }
    template <typename Equal>
    bool operator()(uint32_t b, const Sought<Equal>& sought) const {
      return sought.equal(b);
    }
  };
  boost::unordered_flat_set<uint32_t, Hash, Same> set_;
};

/// Counts who uses a value. Numbers of values that are gone are given again.
template <typename Value>
class Interned {
 public:
  Interned() : index_(HashOf{this}) {}
  Interned(const Interned&) = delete;
  Interned& operator=(const Interned&) = delete;

  /// The number of the value with this hash for which `equal(value)`; kNone when there is none. Nobody's use.
  template <typename Equal>
  [[nodiscard]] uint32_t find(uint64_t hash, Equal equal) const {
    return index_.find(
        hash, [&](uint32_t n) { return entries_[n].hash == hash && equal(entries_[n].value); });
  }

  /// As find(), one user more; a value that is not there is made by `make()`. `second` says that it was.
  template <typename Equal, typename Make>
  std::pair<uint32_t, bool> use(uint64_t hash, Equal equal, Make make) {
    uint32_t number = find(hash, equal);
    const bool made = number == kNone;
    if (made) {
      if (free_.empty()) {
        number = static_cast<uint32_t>(entries_.size());
        entries_.emplace_back();
      } else {
        number = free_.back();
        free_.pop_back();
      }
      entries_[number].hash = hash;
      entries_[number].value = make();
      index_.insert(number);
    }
    ++entries_[number].uses;
    return {number, made};
  }

  /// One user less. With the last one the value goes; true then.
  bool release(uint32_t number) {
    Entry& entry = entries_[number];
    PLEXUS_CHECK(entry.uses > 0, "only a value in use is released");
    if (--entry.uses > 0) return false;
    index_.erase(number);
    entry.value = Value{};
    free_.push_back(number);
    return true;
  }

  [[nodiscard]] const Value& operator[](uint32_t number) const { return entries_[number].value; }
  [[nodiscard]] Value& operator[](uint32_t number) { return entries_[number].value; }
  [[nodiscard]] uint32_t uses(uint32_t number) const { return entries_[number].uses; }
  /// How many values there are, and one more than the highest number that was ever given.
  [[nodiscard]] size_t size() const { return index_.size(); }
  [[nodiscard]] uint32_t numbers() const { return static_cast<uint32_t>(entries_.size()); }

  static constexpr uint32_t kNone = 0xffffffff;

 private:
  struct Entry {
    uint64_t hash = 0;
    uint32_t uses = 0;
    Value value;
  };
  struct HashOf {
    const Interned* self;
    size_t operator()(uint32_t number) const { return self->entries_[number].hash; }
  };

  Rows<Entry> entries_;
  std::vector<uint32_t> free_;
  NumberSet<HashOf> index_;
};

}  // namespace plexus
