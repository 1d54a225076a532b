// SPDX-License-Identifier: Apache-2.0
// Script: the text of a scenario file (docs/scenario-format.md) as its statements, and the run of one statement after the
// other. What each statement means to the hosts is in cloud.h.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "base/result.h"
#include "scenarios/cloud.h"

namespace plexus::scenario {

struct Statement {
  int line = 0;                    ///< where it stands, from 1
  std::string text;                ///< its first line
  std::vector<std::string> block;  ///< the indented lines below, without the common indentation
  bool operator==(const Statement&) const = default;
};

struct Script {
  std::vector<std::string> header;  ///< comments and blank lines before the first statement
  std::vector<Statement> statements;
  bool operator==(const Script&) const = default;
};

/// Any text is a script; what its statements are worth shows when they run.
[[nodiscard]] Script read_script(std::istream& in);
/// The text again: for every script s that was read, read_script() of it is s.
void write_script(const Script& script, std::ostream& out);

class Run {
 public:
  explicit Run(Lab& lab) : cloud_(lab) {}

  /// Runs one statement. Statements that show something compare it with their block, or with `update` replace it.
  /// unsupported: the lab cannot do it.
  Result<void> step(Statement& statement, bool update);

  [[nodiscard]] ScenarioCloud& cloud() { return cloud_; }

 private:
  Result<void> show(const std::string& verb, const std::string& rest,
                    std::vector<std::string>& shown);

  ScenarioCloud cloud_;
};

}  // namespace plexus::scenario
