// SPDX-License-Identifier: Apache-2.0
// What every provider asks of a flow.
#pragma once

#include "datapath/datapath.h"

namespace plexus::datapath {

/// invalid: the match leaves in_port open, or its key has bits outside its mask; or an answer that is not alone, has a
/// rewrite, is for no address, or would go back into the tunnel.
[[nodiscard]] Result<void> check_flow(const Flow& flow);
/// The part of it that concerns the actions alone.
[[nodiscard]] Result<void> check_actions(const Actions& actions);

}  // namespace plexus::datapath
