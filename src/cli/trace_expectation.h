// SPDX-License-Identifier: Apache-2.0
// What somebody expects to become of a traced packet, and where the trace disagrees: `plexus trace --expect`. Pure functions
// of the documents that agents answer with (src/agent/explain.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/node.h"

namespace plexus::cli {

struct Expectation {
  enum class Kind : uint8_t { delivered, dropped, port };
  Kind kind = Kind::delivered;
  std::string what;  ///< dropped: the reason, empty for any; port: its name or id
};
/// "delivered", "dropped", "dropped:REASON", "port:NAME". invalid: something else.
[[nodiscard]] Result<Expectation> parse_expectation(std::string_view text);

/// A trace on one host. The first hop is where the packet entered, the others are where a copy went on by tunnel.
struct Hop {
  std::string host;  ///< empty: the agent that was asked first
  codec::Node trace;
  bool mirror = false;  ///< the copy is a mirror's: what becomes of it says nothing of the packet
};

struct Judgement {
  bool met = false;
  std::string found;  ///< what became of the packet
  std::string
      stage;  ///< the first one that disagrees, with its host; empty when there is none to name
  std::string change;  ///< what would have to be different; empty: not known
};
/// A copy that goes by tunnel to a port at a host that was not asked counts as delivered to that port.
[[nodiscard]] Judgement judge(const Expectation& expectation, const std::vector<Hop>& hops);

}  // namespace plexus::cli
