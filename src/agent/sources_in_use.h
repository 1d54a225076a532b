// SPDX-License-Identifier: Apache-2.0
// Which learned MACs are in use: packets of a source that is known make no upcalls, so the flows tell.
#pragma once

#include <vector>

#include "base/clock.h"
#include "datapath/datapath.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

/// A sighting of each learned MAC from which a flow has carried a packet since `since`. Reads all flows.
[[nodiscard]] std::vector<sim::StateWrite> sources_in_use(datapath::Datapath& datapath,
                                                          const model::Snapshot& snapshot,
                                                          MonoTime since);

}  // namespace plexus::agent
