// SPDX-License-Identifier: Apache-2.0
// The drop reasons that `trace --expect dropped:REASON` takes. The simulator's own list is out of the command line's reach; a
// test holds this one and docs/drop-reasons.md equal. Pure.
#pragma once

#include <string>
#include <vector>

namespace plexus::cli {

[[nodiscard]] const std::vector<std::string>& drop_reason_words();

}  // namespace plexus::cli
