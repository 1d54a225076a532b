// SPDX-License-Identifier: Apache-2.0
// Invocation: what one command line asks for, checked against the schema, before anything is sent.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "codec/schema.h"

namespace plexus::cli {

/// Exit statuses. docs/cli.md lists them.
enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,       ///< refused, or it did not work; standard error says why
  kUsage = 2,        ///< the command line makes no sense
  kTimeout = 3,      ///< no answer in time
  kUnreachable = 4,  ///< no server there
};

enum class Verb : uint8_t {
  create,
  list,
  show,
  update,
  remove,  // of one resource type
  apply,
  delete_file,  // of a cloud file
  topology,
  agent_status,
  agent_ports,
  flows,
  trace,
};

enum class Output : uint8_t { text, json, yaml };

struct Invocation {
  Verb verb = Verb::topology;
  Output output = Output::text;
  std::string api;  ///< address of the API server
  std::chrono::seconds timeout{30};

  const codec::ResourceSpec* resource = nullptr;
  std::string object;  ///< id or name, for show, update, remove
  std::string tenant;  ///< whose object that name means; empty: nobody's
  /// Field and values, as given: what to set, or in `list` what to look for.
  std::vector<std::pair<const codec::FieldSpec*, std::vector<std::string>>> values;
  std::vector<std::string> clear;  ///< fields to unset

  std::string file;  ///< "-": standard input
  bool dry_run = false;

  std::string agent;                   ///< address of the agent's socket
  std::string host;                    ///< or the host it runs for
  std::string port, interface;         ///< where a traced packet enters: one of them,
  std::optional<uint32_t> tunnel_key;  ///< or from the fabric with this key
  std::string packet;
};

/// The command line ends here: help, or a mistake.
struct Ending {
  int status = kOk;
  std::string text;  ///< to standard output when status is kOk, else to standard error
};

/// Reads a command line (without the program's name). `environment_api` is $PLEXUS_API, or empty.
[[nodiscard]] std::variant<Invocation, Ending> parse_command_line(
    const std::vector<std::string>& arguments, const std::string& environment_api);

inline constexpr char kDefaultApi[] = "unix:/run/plexus/api.sock";

}  // namespace plexus::cli
