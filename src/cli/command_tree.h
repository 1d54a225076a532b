// SPDX-License-Identifier: Apache-2.0
// The command tree: every command with its options, made from the schema and a few tables. The parser, completion, the
// man page and the help texts are made from it; nothing else lists commands. Built once, immutable; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/invocation.h"

namespace plexus::cli {

struct OptionSpec {
  std::string name;         ///< "file" of --file; of a positional argument its own name
  char letter = 0;          ///< 'f' of -f; 0: none
  std::string placeholder;  ///< of its value; empty: a flag
  std::string help;
  std::string group;  ///< heading in help texts; empty: none
  bool required = false;
  bool repeated = false;  ///< takes several values: commas, or given again
  /// What completes a value; at most one of them.
  std::vector<std::string> words;
  const codec::ResourceSpec* object = nullptr;  ///< names of such objects
  bool file = false;
  const codec::FieldSpec* field = nullptr;  ///< the schema's field it sets or looks for
};

struct CommandSpec {
  std::string name;
  std::string alias;
  std::string help;         ///< one line
  std::string description;  ///< paragraphs for the man page; may be empty
  std::vector<std::string> examples;
  std::string group;
  bool hidden = false;
  bool raw = false;        ///< everything after its name belongs to it, unread
  Verb verb = Verb::none;  ///< none: only its commands do anything
  const codec::ResourceSpec* resource = nullptr;
  std::vector<OptionSpec> options;
  std::vector<OptionSpec> arguments;  ///< positional
  std::vector<CommandSpec> commands;

  [[nodiscard]] const CommandSpec* find(std::string_view word) const;
  /// By "file" of "--file", or the letter; nullptr: none.
  [[nodiscard]] const OptionSpec* option(std::string_view option_name) const;
  [[nodiscard]] const OptionSpec* option(char option_letter) const;
};

/// The root: `plexus` itself, whose options go with every command.
[[nodiscard]] const CommandSpec& command_tree();

/// What a command says beyond its one line; by its path ("port migrate"). Empty where there is nothing to add.
struct CommandWords {
  std::string_view path;
  std::string_view description;
  std::vector<std::string_view> examples;
};
[[nodiscard]] const std::vector<CommandWords>& command_words();  // command_words.cc

struct ExitWords {
  int status;
  std::string_view meaning;
};
[[nodiscard]] const std::vector<ExitWords>& exit_words();

struct EnvironmentWords {
  std::string_view variable;
  std::string_view meaning;
};
[[nodiscard]] const std::vector<EnvironmentWords>& environment_words();

/// What a command line says, once it is known which command it is. Interpreted in invocation.cc.
struct ParsedWords {
  const CommandSpec* command = nullptr;
  std::string path;  ///< "plexus port list"
  std::vector<std::pair<const OptionSpec*, std::vector<std::string>>> values;  ///< flags: no values
  std::vector<std::string> rest;                                               ///< of a raw command
};

/// Checks what no single option can: which go together, numbers, what is missing.
[[nodiscard]] std::variant<Invocation, Ending> interpret(const ParsedWords& words,
                                                         const Environment& environment);

}  // namespace plexus::cli
