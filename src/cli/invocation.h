// SPDX-License-Identifier: Apache-2.0
// Invocation: what one command line asks for, checked against the schema, before anything is sent.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cli/trace_expectation.h"
#include "codec/schema.h"

namespace plexus::cli {

/// Exit statuses. docs/cli.md and exit_words() say them to people.
enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,       ///< refused, or it did not work; standard error says why
  kUsage = 2,        ///< the command line makes no sense
  kTimeout = 3,      ///< no answer in time, or not applied in time
  kUnreachable = 4,  ///< no server there, or its store does not answer
  kDenied = 5,       ///< not allowed: no token, or one that may not do this
  kUnmet = 6,        ///< a trace ended otherwise than expected
};

enum class Verb : uint8_t {
  none,
  create,
  list,
  show,
  update,
  remove,  // of one resource type
  host_drain,
  host_undrain,
  host_fence,
  host_unfence,
  host_credentials,
  port_bind,
  port_unbind,
  port_migrate,
  apply,
  delete_file,  // of a cloud file
  topology,
  wait,
  watch,
  audit,
  whoami,
  agent_status,
  agent_ports,
  flows,
  connections,
  rule_counters,
  traces,
  trace,
  store,
  completion,
  man,
  complete,
};

enum class Output : uint8_t { text, json, yaml, name };

struct Invocation {
  Verb verb = Verb::none;
  Output output = Output::text;
  bool quiet = false;
  std::string api;      ///< addresses of API servers, separated by commas
  std::string token;    ///< empty: none
  std::string ca_file;  ///< empty: the system's
  std::chrono::seconds timeout{30};
  bool wait = false;  ///< until all hosts have applied the change

  const codec::ResourceSpec* resource = nullptr;
  std::string object;  ///< id or name, for show, update, remove and the like
  std::string tenant;  ///< whose object that name means; empty: nobody's
  /// Field and values, as given: what to set, or in `list` what to look for.
  std::vector<std::pair<const codec::FieldSpec*, std::vector<std::string>>> values;
  std::vector<std::string> clear;  ///< fields to unset

  std::string file;  ///< to read ("-": standard input), or to write (empty: standard output)
  bool dry_run = false;
  bool prune = false;
  bool force = false;
  bool yes = false;  ///< do not ask

  std::string agent;                   ///< address of the agent's socket
  std::string host;                    ///< or the host it runs for; where to bind or to migrate to
  std::string port, interface;         ///< where a traced packet enters: one of them,
  std::optional<uint32_t> tunnel_key;  ///< or from the fabric with this key
  std::string packet;
  std::optional<Expectation> expect;  ///< trace: what should become of the packet
  std::string request;                ///< traces: of this trace request only
  std::string chain, security_group;  ///< rule_counters: of these only
  bool why = false;                   ///< flows: with the objects that each depends on
  bool activate = false;

  std::string revision;  ///< to wait for
  std::string since;     ///< where a stream or a list of changes begins
  uint32_t count = 0;    ///< end after so many; 0: never
  std::vector<const codec::ResourceSpec*> collections;

  std::string shell;
  std::vector<std::string> rest;  ///< the words of a raw command
};

/// The command line ends here: help, or a mistake.
struct Ending {
  int status = kOk;
  std::string text;  ///< to standard output when status is kOk, else to standard error
};

/// Values of environment variables; empty: not set.
struct Environment {
  std::string api;    ///< $PLEXUS_API
  std::string token;  ///< $PLEXUS_TOKEN
};

/// Reads a command line (without the program's name).
[[nodiscard]] std::variant<Invocation, Ending> parse_command_line(
    const std::vector<std::string>& arguments, const Environment& environment);

inline constexpr char kDefaultApi[] = "unix:/run/plexus/api.sock";
inline constexpr char kVersion[] = "0.1";

}  // namespace plexus::cli
