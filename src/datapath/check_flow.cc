// SPDX-License-Identifier: Apache-2.0
#include "datapath/check_flow.h"

#include <algorithm>

namespace plexus::datapath {

Result<void> check_flow(const Flow& flow) {
  const Match& match = flow.match;
  if (match.mask.in_port != UINT32_MAX)
    return Error{ErrorCode::invalid, "a flow must match in_port exactly: flows are kept per port"};
  if (!((match.key & match.mask) == match.key))
    return Error{ErrorCode::invalid, "a flow's key has bits outside its mask"};
  if (match.mask.reserved != 0)
    return Error{ErrorCode::invalid, "a flow matches on a field that no packet has"};
  if (flow.actions.answer() != nullptr && DpPort{match.key.in_port} == kTunnelPort)
    return Error{ErrorCode::invalid, "answers go back out of a local port, not into the tunnel"};
  return check_actions(flow.actions);
}

Result<void> check_actions(const Actions& actions) {
  const bool answers = std::any_of(
      actions.copies.begin(), actions.copies.end(),
      [](const Copy& copy) { return std::holds_alternative<NeighbourAnswer>(copy.output); });
  if (answers && (actions.copies.size() > 1 || !actions.copies.front().rewrite.empty()))
    return Error{ErrorCode::invalid, "an answer is the only copy of its flow, without a rewrite"};
  if (const NeighbourAnswer* answer = actions.answer(); answer && answer->target.is_none())
    return Error{ErrorCode::invalid, "an answer for no address"};
  return {};
}

}  // namespace plexus::datapath
