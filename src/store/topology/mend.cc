// SPDX-License-Identifier: Apache-2.0
#include "store/topology/mend.h"

#include <vector>

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

}  // namespace

Result<Mended> mend_store(Store& store) {
  auto report = check_store(store);
  if (!report.ok()) return report.error();
  Mended mended;
  std::vector<Step> part;
  size_t bytes = 0;
  const auto flush = [&]() -> Result<void> {
    if (part.empty()) return Ok{};
    if (auto done = store.transact(part); !done.ok()) return done.error();
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
