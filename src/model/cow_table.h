// SPDX-License-Identifier: Apache-2.0
// CowTable: an immutable-by-sharing hash table. Copying one is copying a pointer; changing a copy costs O(change)
// and leaves all other copies as they were. Up to kFlatLimit entries it is one bucket, above that 64 x 64 of them. A
// bucket is a vector sorted by the keys, with a small hash index beside it once it has more than a few entries.
//
// Threads: a table that nobody changes may be read from any thread. Only one thread changes copies.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
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
    const size_t h = hash(key);
    const Bucket* bucket = bucket_at(h);
    if (bucket == nullptr) return nullptr;
    const Entry* entries = bucket->entries.data();
    if (bucket->index.empty()) {
      for (size_t i = 0; i < bucket->entries.size(); ++i)
        if (entries[i].first == key) return entries[i].second.get();
      return nullptr;
    }
    const size_t last = bucket->index.size() - 1;
    for (size_t at = h & last;; at = (at + 1) & last) {
      const size_t place = bucket->index[at];
      if (place == 0) return nullptr;
      if (entries[place - 1].first == key) return entries[place - 1].second.get();
    }
  }

  /// Adds or replaces.
  void set(const Key& key, T value) {
    auto shared = std::make_shared<const T>(std::move(value));
    const size_t h = hash(key);
    Entries entries = copy_of(bucket_at(h), 1);
    const auto it = position(entries, key);
    if (it != entries.end() && it->first == key) {
      it->second = std::move(shared);
    } else {
      entries.insert(it, {key, std::move(shared)});
      ++size_;
    }
    put(h, std::move(entries));
    if (flat_ && size_ > kFlatLimit) spread();
  }

  /// True when there was such an entry.
  bool erase(const Key& key) {
    if (find(key) == nullptr) return false;
    const size_t h = hash(key);
    Entries entries = copy_of(bucket_at(h), 0);
    entries.erase(position(entries, key));
    --size_;
    put(h, std::move(entries));
    return true;
  }

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  /// Calls visit(key, value) for each entry; in order of the keys while the table is small, else in no order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    if (flat_) {
      for (const auto& [key, value] : flat_->entries) visit(key, *value);
      return;
    }
    if (!root_) return;
    for (const auto& middle : *root_) {
      if (!middle) continue;
      for (const auto& bucket : *middle) {
        if (!bucket) continue;
        for (const auto& [key, value] : bucket->entries) visit(key, *value);
      }
    }
  }

  static constexpr size_t kFlatLimit = 256;

 private:
  using Entry = std::pair<Key, std::shared_ptr<const T>>;
  using Entries = std::vector<Entry>;
  struct Bucket {
    Entries entries;  ///< sorted
    std::vector<uint16_t>
        index;  ///< by hash, from there on: the entry's place + 1; 0: none. Empty: few entries
  };
  using Middle = std::array<std::shared_ptr<const Bucket>, 64>;
  using Root = std::array<std::shared_ptr<const Middle>, 64>;
  /// More entries than are compared one by one.
  static constexpr size_t kIndexed = 4;
  static constexpr unsigned kBucketBits = 12;

  static size_t hash(const Key& key) {
    // Ids made by derivation differ in few bits now and then: spread before taking some of them.
    return static_cast<size_t>(std::hash<Key>{}(key)*0x9e3779b97f4a7c15ULL >> 24);
  }
  static size_t number_of_bucket(size_t h) { return h >> (40 - kBucketBits); }

  static auto position(Entries& entries, const Key& key) {
    return std::lower_bound(entries.begin(), entries.end(), key,
                            [](const Entry& e, const Key& k) { return e.first < k; });
  }
  static Entries copy_of(const Bucket* bucket, size_t more) {
    Entries copy;
    if (bucket == nullptr) return copy;
    copy.reserve(bucket->entries.size() + more);
    copy.assign(bucket->entries.begin(), bucket->entries.end());
    return copy;
  }
  static std::shared_ptr<const Bucket> bucket_of(Entries entries) {
    auto bucket = std::make_shared<Bucket>();
    bucket->entries = std::move(entries);
    const size_t size = bucket->entries.size();
    // Beyond what a place can say a bucket is searched from end to end; hashes spread them long before.
    if (size <= kIndexed || size >= 0xffff) return bucket;
    bucket->index.resize(std::bit_ceil(size * 2));
    const size_t last = bucket->index.size() - 1;
    for (size_t i = 0; i < size; ++i) {
      size_t at = hash(bucket->entries[i].first) & last;
      while (bucket->index[at] != 0) at = (at + 1) & last;
      bucket->index[at] = static_cast<uint16_t>(i + 1);
    }
    return bucket;
  }
  const Bucket* bucket_at(size_t h) const {
    if (flat_) return flat_.get();
    if (!root_) return nullptr;
    const size_t number = number_of_bucket(h);
    const auto& middle = (*root_)[number >> 6];
    return middle ? (*middle)[number & 63].get() : nullptr;
  }
  void put(size_t h, Entries entries) {
    if (!root_) {
      flat_ = bucket_of(std::move(entries));
      return;
    }
    const size_t number = number_of_bucket(h);
    auto root = std::make_shared<Root>(*root_);
    const auto& old = (*root_)[number >> 6];
    auto middle = old ? std::make_shared<Middle>(*old) : std::make_shared<Middle>();
    (*middle)[number & 63] = entries.empty() ? nullptr : bucket_of(std::move(entries));
    (*root)[number >> 6] = std::move(middle);
    root_ = std::move(root);
  }
  /// From one bucket to the two levels; never back.
  void spread() {
    auto root = std::make_shared<Root>();
    std::array<std::shared_ptr<Middle>, 64> middles;
    std::vector<Entries> buckets(64 * 64);
    // The source is sorted, so is each bucket.
    for (const Entry& entry : flat_->entries)
      buckets[number_of_bucket(hash(entry.first))].push_back(entry);
    for (size_t i = 0; i < buckets.size(); ++i) {
      if (buckets[i].empty()) continue;
      if (!middles[i >> 6]) middles[i >> 6] = std::make_shared<Middle>();
      (*middles[i >> 6])[i & 63] = bucket_of(std::move(buckets[i]));
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
