// SPDX-License-Identifier: Apache-2.0
// tc filters: our programs on clsact hooks, always at the same priority and handle, so that a program of an earlier
// agent is replaced in one step and nobody else's filter is touched. Works on the thread's network namespace.
#pragma once

#include "base/result.h"
#include "netlink/route.h"

namespace plexus::datapath {

enum class Direction : uint8_t { ingress, egress };

/// Attaches, or replaces ours. Makes the clsact qdisc when there is none.
Result<void> attach(uint32_t ifindex, Direction direction, int program_fd);
/// True when our filter is there, with this program.
[[nodiscard]] bool is_attached(uint32_t ifindex, Direction direction, int program_fd);
/// Removes our filter, and the qdisc when no filter is left in it. Fine when there is nothing of ours.
void detach(netlink::Route& route, uint32_t ifindex, Direction direction);

}  // namespace plexus::datapath
