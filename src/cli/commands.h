// SPDX-License-Identifier: Apache-2.0
// Carries out an invocation: talks to the API or to an agent and prints the answer.
#pragma once

#include <ostream>

#include "cli/invocation.h"
#include "cli/table.h"

namespace plexus::cli {

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  Palette palette{false};
};

/// Returns the exit status.
int run(const Invocation& invocation, Terminal& terminal);

/// The parts of it, one file each.
int run_resource(const Invocation& invocation, Terminal& terminal);  // resource_commands.cc
int run_file(const Invocation& invocation, Terminal& terminal);      // file_commands.cc
int run_topology(const Invocation& invocation, Terminal& terminal);  // commands.cc
int run_agent(const Invocation& invocation, Terminal& terminal);     // agent_commands.cc

/// Prints the error and says what can be done; returns the exit status for it.
int fail(const Error& error, Terminal& terminal);
/// JSON or YAML, with a newline.
void print_document(const codec::Node& node, Output output, Terminal& terminal);

}  // namespace plexus::cli
