// SPDX-License-Identifier: Apache-2.0
// CowTable: an immutable-by-sharing hash table. Copying one is copying a pointer; changing a copy costs O(change)
// and leaves all other copies as they were. Up to kFlatLimit entries it is one sorted vector, above that 64 x 64
// buckets of sorted vectors.
//
// Threads: a table that nobody changes may be read from any thread. Only one thread changes copies.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace plexus::model {

template <typename Key, typename T>
class CowTable {
 public:
  /// The entry, or nullptr. Valid as long as this table or a copy that still has the entry lives.
  [[nodiscard]] const T* find(const Key& key) const {
    const Bucket* bucket = bucket_of(key);
    if (bucket == nullptr) return nullptr;
    const auto it = position(*bucket, key);
    return it != bucket->end() && it->first == key ? it->second.get() : nullptr;
  }

  /// Adds or replaces.
  void set(const Key& key, T value) {
    auto shared = std::make_shared<const T>(std::move(value));
    Bucket bucket = copy_of(bucket_of(key), 1);
    const auto it = position(bucket, key);
    if (it != bucket.end() && it->first == key) {
      it->second = std::move(shared);
    } else {
      bucket.insert(it, {key, std::move(shared)});
      ++size_;
    }
    put(key, std::move(bucket));
    if (flat_ && size_ > kFlatLimit) spread();
  }

  /// True when there was such an entry.
  bool erase(const Key& key) {
    const Bucket* old = bucket_of(key);
    if (old == nullptr) return false;
    const auto found = position(*old, key);
    if (found == old->end() || found->first != key) return false;
    Bucket bucket = copy_of(old, 0);
    bucket.erase(bucket.begin() + (found - old->begin()));
    --size_;
    put(key, std::move(bucket));
    return true;
  }

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  /// Calls visit(key, value) for each entry; in order of the keys while the table is small, else in no order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    if (flat_) {
      for (const auto& [key, value] : *flat_) visit(key, *value);
      return;
    }
    if (!root_) return;
    for (const auto& middle : *root_) {
      if (!middle) continue;
      for (const auto& bucket : *middle) {
        if (!bucket) continue;
        for (const auto& [key, value] : *bucket) visit(key, *value);
      }
    }
  }

  static constexpr size_t kFlatLimit = 256;

 private:
  using Entry = std::pair<Key, std::shared_ptr<const T>>;
  using Bucket = std::vector<Entry>;
  using Middle = std::array<std::shared_ptr<const Bucket>, 64>;
  using Root = std::array<std::shared_ptr<const Middle>, 64>;

  static size_t hash(const Key& key) {
    // Ids made by derivation differ in few bits now and then: spread before taking twelve of them.
    const uint64_t h = std::hash<Key>{}(key)*0x9e3779b97f4a7c15ULL;
    return static_cast<size_t>(h >> 52);
  }
  template <typename B>
  static auto position(B& bucket, const Key& key) {
    // Halves without a branch that could be mispredicted: which way it goes is a coin toss each time.
    auto at = bucket.begin();
    for (auto left = bucket.end() - at; left > 0;) {
      const auto half = left / 2;
      const bool behind = at[half].first < key;
      at += behind ? left - half : 0;
      left = half;
    }
    return at;
  }
  static Bucket copy_of(const Bucket* bucket, size_t more) {
    Bucket copy;
    if (bucket == nullptr) return copy;
    copy.reserve(bucket->size() + more);
    copy.assign(bucket->begin(), bucket->end());
    return copy;
  }
  const Bucket* bucket_of(const Key& key) const {
    if (flat_) return flat_.get();
    if (!root_) return nullptr;
    const size_t h = hash(key);
    const auto& middle = (*root_)[h >> 6];
    return middle ? (*middle)[h & 63].get() : nullptr;
  }
  void put(const Key& key, Bucket bucket) {
    if (!root_) {
      flat_ = std::make_shared<const Bucket>(std::move(bucket));
      return;
    }
    const size_t h = hash(key);
    auto root = std::make_shared<Root>(*root_);
    const auto& old = (*root_)[h >> 6];
    auto middle = old ? std::make_shared<Middle>(*old) : std::make_shared<Middle>();
    (*middle)[h & 63] =
        bucket.empty() ? nullptr : std::make_shared<const Bucket>(std::move(bucket));
    (*root)[h >> 6] = std::move(middle);
    root_ = std::move(root);
  }
  /// From one vector to the two levels; never back.
  void spread() {
    auto root = std::make_shared<Root>();
    std::array<std::shared_ptr<Middle>, 64> middles;
    std::array<std::shared_ptr<Bucket>, 64 * 64> buckets;
    for (const Entry& entry : *flat_) {
      auto& bucket = buckets[hash(entry.first)];
      if (!bucket) bucket = std::make_shared<Bucket>();
      bucket->push_back(entry);  // the source is sorted, so is each bucket
    }
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (!buckets[i]) continue;
      if (!middles[i >> 6]) middles[i >> 6] = std::make_shared<Middle>();
      (*middles[i >> 6])[i & 63] = std::move(buckets[i]);
    }
    for (size_t i = 0; i < middles.size(); ++i) (*root)[i] = std::move(middles[i]);
    root_ = std::move(root);
    flat_.reset();
  }

  std::shared_ptr<const Bucket> flat_;
  std::shared_ptr<const Root> root_;
  size_t size_ = 0;
};

}  // namespace plexus::model
