// SPDX-License-Identifier: Apache-2.0
// What a trace is asked about: the body of POST /v1/trace, and where its packet comes in as the topology is. Pure functions of
// their arguments.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "model/snapshot.h"
#include "packet/build.h"

namespace plexus::agent {

struct TraceQuestion {
  std::optional<std::string> port;  ///< name or id; nothing: by tunnel
  uint32_t tunnel_key = 0;          ///< of what comes by tunnel
  Frame frame;
};
/// invalid: says what is wrong with the text.
[[nodiscard]] Result<TraceQuestion> parse_trace_question(std::string_view body);

struct TraceEntry {
  DpPort port;
  uint32_t tunnel_key = 0;
  Frame frame;  ///< as it comes by the interface: of a sub-port with its tag
};
/// not_found: the port is not known, or has no interface here. invalid: its name is that of several tenants' ports.
[[nodiscard]] Result<TraceEntry> entry_of(const TraceQuestion& question,
                                          const model::Snapshot& snapshot);

}  // namespace plexus::agent
