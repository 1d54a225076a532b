// SPDX-License-Identifier: Apache-2.0
// Which learned MACs are in use: packets of a source that is known make no upcalls, so the flows tell.
#pragma once

#include <vector>

#include "base/clock.h"
#include "flow/flow_table.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

/// A sighting of each learned MAC from which a flow was made or has carried a packet since `since`, as far as the last
/// statistics say. Reads all flows.
[[nodiscard]] std::vector<sim::StateWrite> sources_in_use(const FlowTable& flows,
                                                          const model::Snapshot& snapshot,
                                                          MonoTime since);

}  // namespace plexus::agent
