// SPDX-License-Identifier: Apache-2.0
// What every provider asks of a flow's match.
#pragma once

#include "base/result.h"
#include "flow/match.h"

namespace plexus::datapath {

/// invalid: in_port is not matched exactly, or the key has bits outside the mask.
[[nodiscard]] Result<void> check_match(const Match& match);

}  // namespace plexus::datapath
