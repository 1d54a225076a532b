// SPDX-License-Identifier: Apache-2.0
// What all providers refuse before they ask their store. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

/// invalid: not a path as store.h describes it.
Result<void> check_path(std::string_view path);
/// Paths and sizes of all steps.
Result<void> check_steps(const std::vector<Step>& steps);
[[nodiscard]] const std::string& path_of(const Step& step);

}  // namespace plexus::store
