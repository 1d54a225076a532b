// SPDX-License-Identifier: Apache-2.0
// Hashes of what guests can choose, under a seed that they cannot know: nobody can make flows that all fall together.
#pragma once

#include <cstdint>
#include <span>

#include "flow/actions.h"
#include "flow/tag.h"
#include "packet/flow_key.h"

namespace plexus {

/// Hashes word by word, two at a time, by the high and the low half of their product: each word is hidden behind a secret
/// or behind the hash so far before it is multiplied.
class SeededHash {
 public:
  explicit SeededHash(uint64_t seed)
      : state_(seed ^ kFirst), secret_(mixed(seed ^ kSecond, kThird)) {}

  void add(uint64_t a, uint64_t b = 0) { state_ = mixed(a ^ secret_, b ^ state_); }
  [[nodiscard]] uint64_t value() const { return mixed(state_ ^ kFirst, secret_ ^ kSecond); }

 private:
  // Odd numbers with as many ones as zeros, nothing else is asked of them.
  static constexpr uint64_t kFirst = 0x9e3779b97f4a7c15, kSecond = 0xd1b54a32d192ed03,
                            kThird = 0x8bb84b93962eacc9;
  static uint64_t mixed(uint64_t a, uint64_t b) {
    __extension__ using Product = unsigned __int128;
    const Product p = static_cast<Product>(a) * b;
    return static_cast<uint64_t>(p) ^ static_cast<uint64_t>(p >> 64);
  }

  uint64_t state_;
  uint64_t secret_;
};

/// `other` tells apart keys that are in different groups.
[[nodiscard]] uint64_t hash_of(const FlowKey& key, uint64_t other, uint64_t seed);
[[nodiscard]] uint64_t hash_of(const Tag& tag, uint64_t seed);
[[nodiscard]] uint64_t hash_of(std::span<const Dependency> dependencies, uint64_t seed);
[[nodiscard]] uint64_t hash_of(const Actions& actions, uint64_t seed);

}  // namespace plexus
