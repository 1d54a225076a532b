// SPDX-License-Identifier: Apache-2.0
// What turns one set of records into another, as changes of the model.
#pragma once

#include <optional>
#include <vector>

#include "model/records.h"

namespace plexus::scenario {

template <typename Change, typename Map>
void add_differences(const Map& before, const Map& after, std::vector<model::Change>& out) {
  for (const auto& [id, record] : before)
    if (!after.contains(id)) out.push_back(Change{id, std::nullopt});
  for (const auto& [id, record] : after)
    if (const auto old = before.find(id); old == before.end() || !(old->second == record))
      out.push_back(Change{id, record});
}

}  // namespace plexus::scenario
