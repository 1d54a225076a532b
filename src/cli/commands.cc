// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <fmt/format.h>

#include <fstream>

#include "cli/completion.h"
#include "cli/man_page.h"
#include "codec/json.h"
#include "codec/yaml.h"

namespace plexus::cli {
namespace {

/// A token as given, or the first line of @FILE.
Result<std::string> token_of(const std::string& given) {
  std::string token = given;
  if (!given.empty() && given[0] == '@') {
    const std::string path = given.substr(1);
    std::ifstream in(path);
    if (!in) return errno_error("reading the token from " + path, errno);
    token.clear();
    if (!std::getline(in, token) || token.empty())
      return Error{ErrorCode::invalid, fmt::format("{} holds no token in its first line", path)};
  }
  while (!token.empty() && (token.back() == ' ' || token.back() == '\r')) token.pop_back();
  for (const char c : token) {
    if (c < '!' || c > '~')
      return Error{ErrorCode::invalid,
                   "the token has a character that no token has; write it as "
                   "plexus token create printed it, or @FILE"};
  }
  return token;
}

}  // namespace

int run(const Invocation& invocation, Terminal& terminal) {
  switch (invocation.verb) {
    case Verb::create:
    case Verb::list:
    case Verb::show:
    case Verb::update:
    case Verb::remove:
      return run_resource(invocation, terminal);
    case Verb::host_drain:
    case Verb::host_undrain:
    case Verb::host_fence:
    case Verb::host_unfence:
    case Verb::host_credentials:
      return run_host(invocation, terminal);
    case Verb::port_bind:
    case Verb::port_unbind:
    case Verb::port_migrate:
      return run_port(invocation, terminal);
    case Verb::apply:
    case Verb::delete_file:
      return run_file(invocation, terminal);
    case Verb::topology:
      return run_topology(invocation, terminal);
    case Verb::wait:
      return run_wait(invocation, terminal);
    case Verb::watch:
      return run_watch(invocation, terminal);
    case Verb::audit:
      return run_audit(invocation, terminal);
    case Verb::whoami:
      return run_whoami(invocation, terminal);
    case Verb::agent_status:
    case Verb::agent_ports:
    case Verb::flows:
    case Verb::connections:
    case Verb::rule_counters:
    case Verb::traces:
    case Verb::trace:
      return run_agent(invocation, terminal);
    case Verb::store:
      return run_store(invocation, terminal);
    case Verb::completion:
      terminal.out << completion_script(invocation.shell);
      return kOk;
    case Verb::man:
      terminal.out << man_page();
      return kOk;
    case Verb::complete:
      return run_complete(invocation, terminal);
    case Verb::none:
      break;
  }
  return kFailed;
}

Result<std::unique_ptr<HttpClient>> connect(const Invocation& invocation) {
  auto token = token_of(invocation.token);
  if (!token) return token.error();
  auto http = HttpClient::to(invocation.api, {*token, invocation.ca_file});
  if (!http) return http.error();
  (*http)->set_timeout(invocation.timeout);
  return http;
}

Result<std::string> own_tenant(const Invocation& invocation, ApiClient& api) {
  if (invocation.token.empty()) return std::string();
  const auto answer = api.call("GET", "/v1/whoami");
  if (!answer) return answer.error();
  return text_of(*answer, "tenant");
}

int fail(const Error& error, Terminal& terminal) {
  terminal.err << "plexus: " << error.message << "\n";
  if (error.code == ErrorCode::unavailable) return kUnreachable;
  if (error.code == ErrorCode::denied) return kDenied;
  // The client reports "no answer in time" with these words; nothing else of it is `internal`.
  if (error.code == ErrorCode::internal &&
      error.message.find("gave no answer within") != std::string::npos) {
    return kTimeout;
  }
  return kFailed;
}

int misused(const Error& error, Terminal& terminal) {
  (void)fail(error, terminal);
  return kUsage;
}

void print_document(const codec::Node& node, Output output, Terminal& terminal) {
  if (output == Output::yaml) {
    terminal.out << codec::write_yaml(node);
  } else {
    terminal.out << codec::write_json(node, codec::JsonStyle::pretty) << "\n";
  }
}

bool confirm(const std::string& question, const Invocation& invocation, Terminal& terminal) {
  if (invocation.yes || terminal.in == nullptr) return true;
  terminal.err << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(*terminal.in, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

bool confirm_harm(const std::string& what, const std::string& question,
                  const Invocation& invocation, Terminal& terminal) {
  if (terminal.in == nullptr && !invocation.yes) {
    terminal.err << fmt::format("plexus: {}; nothing was done; add --yes if that is meant\n", what);
    return false;
  }
  if (confirm(fmt::format("{}. {}", what, question), invocation, terminal)) return true;
  terminal.err << "nothing was done\n";
  return false;
}

}  // namespace plexus::cli
