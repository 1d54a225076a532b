// SPDX-License-Identifier: Apache-2.0
// The index of who refers to an object by one field: ids in 2^depth buckets by hash, so that writers
// rarely meet and a reader who is told of a change reads a few kilobytes. Layout:
//   <index>/h    IndexHead {depth}; absent means 0
//   <index>/<b>  RefBucket, b in 0 .. 2^depth - 1; absent means empty
// A bucket that grows beyond kSplitAt entries doubles their number; they never merge. An emptied
// bucket stays until the object goes (see Transaction).
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/topology/transaction.h"

namespace plexus::store {

inline constexpr int kSplitAt = 128;       ///< entries: about 4 KB with facts
inline constexpr uint32_t kMaxDepth = 10;  ///< beyond 1,024 buckets they just grow

/// Which bucket holds `id`. Fixed for ever: all readers and writers must agree.
[[nodiscard]] uint32_t bucket_of(const Uuid& id, uint32_t depth);

/// `index`: its directory, from index_path().
Result<void> index_add(Transaction& transaction, const std::string& index, const Uuid& id);
Result<void> index_remove(Transaction& transaction, const std::string& index, const Uuid& id);
/// All ids, sorted. From here on the transaction stands on nobody being added or removed.
Result<std::vector<Uuid>> index_entries(Transaction& transaction, const std::string& index);
/// Removes the records of an empty index. internal: it is not empty.
Result<void> index_drop(Transaction& transaction, const std::string& index);

}  // namespace plexus::store
