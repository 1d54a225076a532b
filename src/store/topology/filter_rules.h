// SPDX-License-Identifier: Apache-2.0
// What must hold for rules, security rules and what filters at ports beyond what the options of the schema say: conditions
// that can never hold together are refused when they are written, not found out by packets that nobody sees.
#pragma once

#include "base/result.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/transaction.h"

namespace plexus::store {

inline constexpr int kMaxJumps = 8;  ///< from a chain to the next, one after the other
inline constexpr int kMaxMemberAddresses =
    32;  ///< of a port in a security group: all members' stand in its index

/// The resource by itself. invalid: names field and remedy.
Result<void> check_rule(const v1::Rule& rule);
Result<void> check_trace_request(const v1::TraceRequest& request);
Result<void> check_security_rule(const v1::SecurityRule& rule);
Result<void> check_port_filters(const v1::Port& port);

/// A rule that jumps, when the indexes are as they will be: no chain leads back to itself, and no packet jumps more than
/// kMaxJumps times. (Who jumps to the rule's own chain is looked at as far as 200 chains; the simulator counts, too.)
Result<void> check_jumps(Transaction& transaction, const v1::Rule& rule);

}  // namespace plexus::store
