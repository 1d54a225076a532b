// SPDX-License-Identifier: Apache-2.0
// --wait: until all live hosts have applied a change, or the time is over.
#pragma once

#include "cli/commands.h"

namespace plexus::cli {

/// Asks until all live hosts but `except` have applied everything up to `revision` (empty: up to now), at most for
/// `timeout`. The last answer, whose `converged` does not count `except`.
Result<Convergence> wait_for_hosts(ApiClient& api, const std::string& revision,
                                   std::chrono::seconds timeout, const std::string& except = {});

/// "applied on 3 hosts in 0.12 s", with hosts that are not live; or who is missing.
[[nodiscard]] std::string convergence_text(const Convergence& c,
                                           std::chrono::duration<double> took);

/// Both, with the invocation's timeout: prints to standard output, or to standard error when a document or names are
/// wanted there. Returns the exit status.
int wait_and_say(ApiClient& api, const std::string& revision, const Invocation& invocation,
                 Terminal& terminal, const std::string& except = {});

}  // namespace plexus::cli
