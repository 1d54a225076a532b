// SPDX-License-Identifier: Apache-2.0
// Lists that are sorted and have no duplicates, as sets.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

namespace plexus::model {

/// What is in `a` and not in `b`.
template <typename T>
[[nodiscard]] std::vector<T> minus(const std::vector<T>& a, const std::vector<T>& b) {
  std::vector<T> out;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

}  // namespace plexus::model
