// SPDX-License-Identifier: Apache-2.0
#include "datapath/check_match.h"

namespace plexus::datapath {

Result<void> check_match(const Match& match) {
  if (match.mask.in_port != UINT32_MAX)
    return Error{ErrorCode::invalid, "a flow must match in_port exactly: flows are kept per port"};
  if (!((match.key & match.mask) == match.key))
    return Error{ErrorCode::invalid, "a flow's key has bits outside its mask"};
  if (match.mask.reserved != 0)
    return Error{ErrorCode::invalid, "a flow matches on a field that no packet has"};
  return {};
}

}  // namespace plexus::datapath
