// SPDX-License-Identifier: Apache-2.0
// What would have to change for a packet that was dropped to pass. docs/drop-reasons.md says more. Pure.
#pragma once

#include <string_view>

#include "sim/drop_reason.h"

namespace plexus::agent {

/// A sentence without subject, about the object that the trace blames: "add a route that covers the destination". Never empty, but
/// for DropReason::none.
[[nodiscard]] std::string_view drop_advice(sim::DropReason reason);

}  // namespace plexus::agent
