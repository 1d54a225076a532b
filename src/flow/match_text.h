// SPDX-License-Identifier: Apache-2.0
// Matches as text, for flow dumps, scenarios and traces (docs/packet-syntax.md): only the fields in the mask, as
// "name value" pairs; prefixes as "10.0.2.0/24", other partial masks as "value/mask"; "any" when nothing is matched.
//
//   in_port 17 eth.dst 02:00:00:00:00:01 eth.type ipv4 ip.dst 10.0.2.0/24 tp.dst 53
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "flow/match.h"

namespace plexus {

/// parse_match(format(m)) == m for every match.
[[nodiscard]] std::string format(const Match& match);
/// Fields in any order, each once. The error names the word and what was expected.
[[nodiscard]] Result<Match> parse_match(std::string_view text);

}  // namespace plexus
