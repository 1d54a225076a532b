// SPDX-License-Identifier: Apache-2.0
#include "store/topology/mend.h"

#include <vector>

#include "store/topology/change_log.h"

namespace plexus::store {
namespace {

/// Records of one transaction: each is small, but for buckets with facts.
constexpr size_t kAtOnce = 500;
constexpr size_t kBytesAtOnce = 400 * 1000;

size_t bytes_of(const Step& step) {
  if (const auto* create = std::get_if<Create>(&step))
    return create->path.size() + create->value.size();
  if (const auto* set = std::get_if<Set>(&step)) return set->path.size() + set->value.size();
  return 0;
}

/// conflict: somebody has changed resources since the log was at `before`. What was read of them may be half of that change; it
/// showed unique values of objects that were not read, and mending would take them away.
Result<void> still_at(Store& store, const LogRange& before) {
  if (auto synced = store.sync(); !synced.ok()) return synced.error();
  auto now = log_range(store);
  if (!now.ok()) return now.error();
  if (now->next == before.next) return Ok{};
  return Error{ErrorCode::conflict, "resources have changed meanwhile"};
}

/// Whatever a record was when it was read, it is not so any more.
Error somebody_writes(Error error) {
  const bool raced = error.code == ErrorCode::exists || error.code == ErrorCode::not_found ||
                     error.code == ErrorCode::in_use;
  if (raced) error.code = ErrorCode::conflict;
  return error;
}

}  // namespace

Result<Mended> mend_store(Store& store) {
  // What others wrote before must be there for us, too.
  if (auto synced = store.sync(); !synced.ok()) return synced.error();
  auto log = log_range(store);
  if (!log.ok()) return log.error();
  auto report = check_store(store);
  if (!report.ok()) return report.error();
  Mended mended;
  std::vector<Step> part;
  size_t bytes = 0;
  const auto flush = [&]() -> Result<void> {
    if (part.empty()) return Ok{};
    if (auto still = still_at(store, *log); !still.ok()) return still;
    if (auto done = store.transact(part); !done.ok()) return somebody_writes(done.error());
    mended.records += part.size();
    part.clear();
    bytes = 0;
    return Ok{};
  };
  for (Step& step : report->remedies) {
    const size_t size = bytes_of(step);
    if (part.size() == kAtOnce || (!part.empty() && bytes + size > kBytesAtOnce)) {
      if (auto done = flush(); !done.ok()) return done.error();
    }
    bytes += size;
    part.push_back(std::move(step));
  }
  if (auto done = flush(); !done.ok()) return done.error();
  if (mended.records == 0) {
    mended.left = std::move(*report);
    return mended;
  }
  auto after = check_store(store);
  if (!after.ok()) return after.error();
  mended.left = std::move(*after);
  return mended;
}

}  // namespace plexus::store
