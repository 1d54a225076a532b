// SPDX-License-Identifier: Apache-2.0
// Carries out an invocation: talks to the API or to an agent and prints the answer.
#pragma once

#include <istream>
#include <memory>
#include <ostream>

#include "cli/api_client.h"
#include "cli/invocation.h"
#include "cli/table.h"

namespace plexus::cli {

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  Palette palette{false};
  size_t width = 0;              ///< columns of `out`; 0: no terminal, nothing is cut
  std::istream* in = nullptr;    ///< where a person answers questions; nullptr: nobody is there
  bool err_is_terminal = false;  ///< progress may overwrite its line
};

/// Returns the exit status.
int run(const Invocation& invocation, Terminal& terminal);

/// The parts of it, one file each.
int run_resource(const Invocation& invocation, Terminal& terminal);  // resource_commands.cc
int run_host(const Invocation& invocation, Terminal& terminal);      // host_commands.cc
int run_port(const Invocation& invocation, Terminal& terminal);      // port_commands.cc
int run_file(const Invocation& invocation, Terminal& terminal);      // file_commands.cc
int run_topology(const Invocation& invocation, Terminal& terminal);  // server_commands.cc
int run_wait(const Invocation& invocation, Terminal& terminal);      // server_commands.cc
int run_audit(const Invocation& invocation, Terminal& terminal);     // server_commands.cc
int run_whoami(const Invocation& invocation, Terminal& terminal);    // server_commands.cc
int run_watch(const Invocation& invocation, Terminal& terminal);     // watch_command.cc
int run_agent(const Invocation& invocation, Terminal& terminal);     // agent_commands.cc
int run_store(const Invocation& invocation, Terminal& terminal);     // store_command.cc
int run_complete(const Invocation& invocation, Terminal& terminal);  // completion.cc

/// A client of the servers that the invocation names, with its token.
Result<std::unique_ptr<HttpClient>> connect(const Invocation& invocation);

/// The tenant that the invocation's token is for; empty: for all, or there is no token. Names without a tenant are its.
Result<std::string> own_tenant(const Invocation& invocation, ApiClient& api);

/// Prints the error and says what can be done; returns the exit status for it.
int fail(const Error& error, Terminal& terminal);
/// The same for what connect() says: the command line is wrong.
int misused(const Error& error, Terminal& terminal);
/// JSON or YAML, with a newline.
void print_document(const codec::Node& node, Output output, Terminal& terminal);
/// Asks a person; yes without one.
bool confirm(const std::string& question, const Invocation& invocation, Terminal& terminal);
/// Before what stops traffic. `what` says that: "host h1 is live and has 2 ports: vm1, vm2". Without a person to ask only --yes
/// will do.
bool confirm_harm(const std::string& what, const std::string& question,
                  const Invocation& invocation, Terminal& terminal);

}  // namespace plexus::cli
