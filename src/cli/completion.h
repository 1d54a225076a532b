// SPDX-License-Identifier: Apache-2.0
// Completion: what may come next on a command line, by the command tree; names of objects come from the API.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace plexus::cli {

struct Candidate {
  std::string word;
  std::string help;
};

struct Completions {
  std::vector<Candidate> candidates;
  bool files = false;  ///< the shell knows better
};

/// What was given so far for the options that say where the API is.
using GivenOptions = std::vector<std::pair<std::string, std::string>>;
/// The names of all objects of a type. Silent and quick: empty when nobody answers.
using NamesOf =
    std::function<std::vector<std::string>(const codec::ResourceSpec& type, const GivenOptions&)>;

/// `words`: those after "plexus"; the last is the one that is being written and may be empty. Words of a shell that
/// splits at '=' (bash) are put together again.
[[nodiscard]] Completions complete(std::vector<std::string> words, const NamesOf& names_of);

/// The script for "bash", "zsh" or "fish"; it calls `plexus __complete`.
[[nodiscard]] std::string completion_script(const std::string& shell);

}  // namespace plexus::cli
