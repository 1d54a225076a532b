// SPDX-License-Identifier: Apache-2.0
// Integrity check of a whole store: what TopologyWriter promises, verified from the records alone.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

struct CheckReport {
  std::vector<std::string> problems;  ///< one sentence each, naming path and object; sorted
  size_t records = 0;
  size_t resources = 0;
  std::vector<Step> remedies;  ///< what mends those problems that can be mended; see mend.h
  /// It holds what this program cannot read, or does not know all of. So it does not know who has what either: no remedies.
  bool foreign = false;
};

/// Reads everything below /p1. Run it on a store nobody writes to meanwhile, or expect to see
/// transactions half done.
Result<CheckReport> check_store(Store& store);

}  // namespace plexus::store
