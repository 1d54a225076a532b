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
};

/// Reads everything below /p1. Run it on a store nobody writes to meanwhile, or expect to see
/// transactions half done.
Result<CheckReport> check_store(Store& store);

}  // namespace plexus::store
