// SPDX-License-Identifier: Apache-2.0
// The index of who refers to an object by one field: ids in 2^depth buckets by hash, so that writers
// rarely meet and a reader who is told of a change reads a few kilobytes. Layout:
//   <index>/h    IndexHead {depth}; absent: nobody ever referred to the object
//   <index>/<b>  RefBucket, b in 0 .. 2^depth - 1
// The first entry makes the head: only an index without any is absent, and reading one that is there
// makes no check of an absent record.
// A bucket that grows beyond kSplitAt entries doubles their number, as soon as a transaction has room for it; they never
// merge. An emptied bucket stays until the object goes (see Transaction).
// Entries carry facts about who refers (RefEntry), so that readers of the index need not read them.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/transaction.h"

namespace plexus::store {

inline constexpr int kSplitAt = 128;              ///< entries: about 4 KB with one address each
inline constexpr size_t kSplitBytes = 16 * 1024;  ///< of entries with many addresses
inline constexpr uint32_t kMaxDepth = 10;         ///< beyond 1,024 buckets they just grow

/// Which bucket holds `id`. Fixed for ever: all readers and writers must agree.
[[nodiscard]] uint32_t bucket_of(const Uuid& id, uint32_t depth);

/// `index`: its directory, from index_path().
/// Adds the entry, or gives the one that is there these facts.
Result<void> index_add(Transaction& transaction, const std::string& index, const Uuid& id,
                       const v1::RefEntry& facts = {});
Result<void> index_remove(Transaction& transaction, const std::string& index, const Uuid& id);
/// All entries, in no order. From here on the transaction stands on nobody being added or removed, and on the facts.
Result<std::vector<v1::RefEntry>> index_facts(Transaction& transaction, const std::string& index);
/// All entries of several indexes, in no order, without standing on any: for what is only said in time.
Result<std::vector<v1::RefEntry>> index_glance(Transaction& transaction,
                                               const std::vector<std::string>& indexes);
/// All ids, sorted. From here on the transaction stands on nobody being added or removed.
Result<std::vector<Uuid>> index_entries(Transaction& transaction, const std::string& index);
/// Of a large index some: at least `limit` ids, or all; whole buckets, so that who removes them
/// writes few.
struct IndexPart {
  std::vector<Uuid> ids;
  bool all = true;
};
Result<IndexPart> index_some(Transaction& transaction, const std::string& index, size_t limit);
/// Makes an absent index an empty one: reading it is cheap from now on.
Result<void> index_make(Transaction& transaction, const std::string& index);
/// Removes the records of an empty index. internal: it is not empty. `guarded`: the same
/// transaction deletes the record above it, which fails when the index was made meanwhile.
Result<void> index_drop(Transaction& transaction, const std::string& index, bool guarded);

}  // namespace plexus::store
