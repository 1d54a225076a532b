// SPDX-License-Identifier: Apache-2.0
#include "store/topology/index.h"

#include <algorithm>
#include <limits>

#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::store {
namespace {

Result<uint32_t> depth_of(Transaction& transaction, const std::string& index) {
  auto head = transaction.read_message<v1::IndexHead>(index_head_path(index));
  if (!head.ok()) return head.error();
  if (!*head) return 0u;
  if ((*head)->depth() > kMaxDepth) return Transaction::damaged(index_head_path(index));
  return (*head)->depth();
}

Result<v1::RefBucket> read_bucket(Transaction& transaction, const std::string& path) {
  auto bucket = transaction.read_message<v1::RefBucket>(path);
  if (!bucket.ok()) return bucket.error();
  return *bucket ? std::move(**bucket) : v1::RefBucket();
}

std::vector<std::string> bucket_paths(const std::string& index, uint32_t depth) {
  std::vector<std::string> paths;
  for (uint32_t b = 0; b < 1u << depth; ++b) paths.push_back(index_bucket_path(index, b));
  return paths;
}

bool too_full(const v1::RefBucket& bucket) {
  return bucket.entries_size() > kSplitAt ||
         (bucket.entries_size() > 1 && bucket.ByteSizeLong() > kSplitBytes);
}

/// Where the entry of an id is or belongs.
struct Place {
  uint32_t depth = 0;
  std::string path = {};  ///< of the bucket
  v1::RefBucket bucket = {};
  int at = 0;          ///< in the bucket
  bool there = false;  ///< the entry
};

Result<Place> find_place(Transaction& transaction, const std::string& index, const Uuid& id) {
  const auto depth = depth_of(transaction, index);
  if (!depth.ok()) return depth.error();
  Place place{.depth = *depth, .path = index_bucket_path(index, bucket_of(id, *depth))};
  auto bucket = read_bucket(transaction, place.path);
  if (!bucket.ok()) return bucket.error();
  place.bucket = std::move(*bucket);
  const std::string raw = id.raw();
  const auto& entries = place.bucket.entries();
  const auto found = std::lower_bound(
      entries.begin(), entries.end(), raw,
      [](const v1::RefEntry& entry, const std::string& wanted) { return entry.id() < wanted; });
  place.at = static_cast<int>(found - entries.begin());
  place.there = found != entries.end() && found->id() == raw;
  return place;
}

// Without this the head of a small index would stay absent, and each writer check that it is.
Result<void> make_head(Transaction& transaction, const std::string& index) {
  const std::string path = index_head_path(index);
  auto head = transaction.read(path);
  if (!head.ok()) return head.error();
  if (*head != nullptr) return Ok{};
  v1::IndexHead fresh;
  fresh.set_depth(0);
  transaction.write_message(path, fresh);
  return Ok{};
}

// Each bucket becomes two; low bits of the hash say which, so entries keep their order.
Result<void> split(Transaction& transaction, const std::string& index, uint32_t depth) {
  const auto paths = bucket_paths(index, depth + 1);
  if (auto done = transaction.prefetch(paths); !done.ok()) return done;
  std::vector<v1::RefBucket> buckets(paths.size());
  for (size_t b = 0; b < paths.size() / 2; ++b) {
    auto bucket = read_bucket(transaction, paths[b]);
    if (!bucket.ok()) return bucket.error();
    for (auto& entry : *bucket->mutable_entries()) {
      const auto id = Uuid::from_bytes(entry.id());
      if (!id) return Transaction::damaged(paths[b]);
      *buckets[bucket_of(*id, depth + 1)].add_entries() = std::move(entry);
    }
  }
  for (size_t b = 0; b < paths.size(); ++b) transaction.write_message(paths[b], buckets[b]);
  v1::IndexHead head;
  head.set_depth(depth + 1);
  transaction.write_message(index_head_path(index), head);
  return Ok{};
}

}  // namespace

uint32_t bucket_of(const Uuid& id, uint32_t depth) {
  uint64_t h = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const uint8_t byte : id.bytes) h = (h ^ byte) * 0x100000001b3ULL;
  return static_cast<uint32_t>((h ^ (h >> 32)) & ((1ULL << depth) - 1));
}

Result<void> index_add(Transaction& transaction, const std::string& index, const Uuid& id,
                       const v1::RefEntry& facts) {
  auto place = find_place(transaction, index, id);
  if (!place.ok()) return place.error();
  auto& [depth, path, bucket, at, there] = *place;
  auto& entries = *bucket.mutable_entries();
  if (!there) {
    entries.Add();
    std::rotate(entries.begin() + at, entries.end() - 1, entries.end());
  } else if (same_facts(entries[at], facts)) {
    return Ok{};
  }
  entries[at] = facts;
  entries[at].set_id(id.raw());
  transaction.write_message(path, bucket);
  if (auto made = make_head(transaction, index); !made.ok()) return made;
  if (!too_full(bucket) || depth == kMaxDepth) return Ok{};
  // All buckets are written anew. Where there is no room for that, as when a port joins sixteen groups of the same members,
  // one that comes later does it.
  const size_t all = bucket.ByteSizeLong() << depth;
  if (transaction.bytes() + all > kMaxTransactionBytes / 2) return Ok{};
  return split(transaction, index, depth);
}

Result<void> index_remove(Transaction& transaction, const std::string& index, const Uuid& id) {
  auto place = find_place(transaction, index, id);
  if (!place.ok()) return place.error();
  if (!place->there) return Ok{};
  place->bucket.mutable_entries()->DeleteSubrange(place->at, 1);
  transaction.write_message(place->path, place->bucket);
  return Ok{};
}

Result<std::vector<v1::RefEntry>> index_facts(Transaction& transaction, const std::string& index) {
  std::vector<v1::RefEntry> all;
  auto head = transaction.read(index_head_path(index));
  if (!head.ok()) return head.error();
  if (*head == nullptr) return all;  // who adds an entry makes the head
  const auto depth = depth_of(transaction, index);
  if (!depth.ok()) return depth.error();
  const auto paths = bucket_paths(index, *depth);
  if (auto done = transaction.prefetch(paths); !done.ok()) return done.error();
  for (const std::string& path : paths) {
    auto bucket = read_bucket(transaction, path);
    if (!bucket.ok()) return bucket.error();
    for (auto& entry : *bucket->mutable_entries()) all.push_back(std::move(entry));
  }
  return all;
}

Result<std::vector<v1::RefEntry>> index_glance(Transaction& transaction,
                                               const std::vector<std::string>& indexes) {
  std::vector<std::string> paths;
  // Most have one bucket.
  for (const std::string& index : indexes) {
    paths.push_back(index_head_path(index));
    paths.push_back(index_bucket_path(index, 0));
  }
  if (auto done = transaction.prefetch(paths); !done.ok()) return done.error();
  paths.clear();
  for (const std::string& index : indexes) {
    const std::string* raw = transaction.peek(index_head_path(index));
    v1::IndexHead head;
    if (raw == nullptr) continue;  // who adds an entry makes the head
    if (!head.ParseFromString(*raw) || head.depth() > kMaxDepth)
      return Transaction::damaged(index_head_path(index));
    for (std::string& path : bucket_paths(index, head.depth())) paths.push_back(std::move(path));
  }
  if (auto done = transaction.prefetch(paths); !done.ok()) return done.error();
  std::vector<v1::RefEntry> all;
  for (const std::string& path : paths) {
    const std::string* raw = transaction.peek(path);
    v1::RefBucket bucket;
    if (raw == nullptr) continue;
    if (!bucket.ParseFromString(*raw)) return Transaction::damaged(path);
    for (auto& entry : *bucket.mutable_entries()) all.push_back(std::move(entry));
  }
  return all;
}
Result<std::vector<Uuid>> index_entries(Transaction& transaction, const std::string& index) {
  auto all = index_some(transaction, index, std::numeric_limits<size_t>::max());
  if (!all.ok()) return all.error();
  std::sort(all->ids.begin(), all->ids.end());
  return std::move(all->ids);
}

Result<IndexPart> index_some(Transaction& transaction, const std::string& index, size_t limit) {
  IndexPart part;
  auto head = transaction.read(index_head_path(index));
  if (!head.ok()) return head.error();
  if (*head == nullptr) return part;  // who adds an entry makes the head
  const auto depth = depth_of(transaction, index);
  if (!depth.ok()) return depth.error();
  const auto paths = bucket_paths(index, *depth);
  const size_t at_once = limit / kSplitAt + 1;
  for (size_t begin = 0; begin < paths.size(); begin += at_once) {
    if (part.ids.size() >= limit) {
      part.all = false;
      return part;
    }
    const size_t end = begin + std::min(at_once, paths.size() - begin);
    if (auto done = transaction.prefetch({paths.begin() + static_cast<ptrdiff_t>(begin),
                                          paths.begin() + static_cast<ptrdiff_t>(end)});
        !done.ok()) {
      return done.error();
    }
    for (size_t b = begin; b < end; ++b) {
      auto bucket = read_bucket(transaction, paths[b]);
      if (!bucket.ok()) return bucket.error();
      for (const auto& entry : bucket->entries()) {
        const auto id = Uuid::from_bytes(entry.id());
        if (!id) return Transaction::damaged(paths[b]);
        part.ids.push_back(*id);
      }
    }
    if (at_once >= paths.size()) break;
  }
  return part;
}

Result<void> index_make(Transaction& transaction, const std::string& index) {
  if (auto made = make_head(transaction, index); !made.ok()) return made;
  const auto depth = depth_of(transaction, index);
  if (!depth.ok()) return depth.error();
  const auto paths = bucket_paths(index, *depth);
  if (auto done = transaction.prefetch(paths); !done.ok()) return done;
  for (const std::string& path : paths) {
    auto bucket = transaction.read(path);
    if (!bucket.ok()) return bucket.error();
    if (*bucket == nullptr) transaction.write_message(path, v1::RefBucket());
  }
  return Ok{};
}

Result<void> index_drop(Transaction& transaction, const std::string& index, bool guarded) {
  const auto left = index_entries(transaction, index);
  if (!left.ok()) return left.error();
  if (!left->empty()) {
    return Error{ErrorCode::internal,
                 "the index " + index + " lists " + left->front().str() +
                     ", which no longer refers to it: run a check of the store"};
  }
  const std::string head = index_head_path(index);
  if (auto read = transaction.read(head); !read.ok() || *read == nullptr) {
    if (!read.ok()) return read.error();
    if (guarded) transaction.trust_absence(head);
    return Ok{};
  }
  const auto depth = depth_of(transaction, index);
  if (!depth.ok()) return depth.error();
  for (const std::string& path : bucket_paths(index, *depth)) transaction.remove(path);
  transaction.remove(head);
  return Ok{};
}

}  // namespace plexus::store
