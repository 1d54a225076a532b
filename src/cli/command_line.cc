// SPDX-License-Identifier: Apache-2.0
// The only file that includes CLI11: makes its commands from the command tree and gives back the words it read.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <list>

#include "cli/command_tree.h"
#include "codec/nearest.h"

namespace plexus::cli {
namespace {

/// Where CLI11 puts what belongs to one option.
struct Slot {
  const OptionSpec* spec;
  CLI::Option* option = nullptr;
  std::vector<std::string> values = {};
  bool flag = false;
};

/// The entries of a list, which commas part, but for commas in double quotes: those are a text's own.
std::vector<std::string> entries_of(const std::vector<std::string>& values) {
  std::vector<std::string> entries;
  for (const std::string& value : values) {
    bool quoted = false;
    entries.emplace_back();
    for (size_t i = 0; i < value.size(); ++i) {
      if (value[i] == ',' && !quoted) {
        entries.emplace_back();
        continue;
      }
      if (value[i] == '"') quoted = !quoted;
      entries.back() += value[i];
      if (quoted && value[i] == '\\' && i + 1 < value.size()) entries.back() += value[++i];
    }
  }
  return entries;
}

class Parser {
 public:
  Parser() : app_(command_tree().help, command_tree().name) {
    app_.set_help_flag("-h,--help", "Print this help");
    app_.set_version_flag("--version", std::string("plexus ") + kVersion);
    app_.get_formatter()->column_width(34);
    fill(app_, command_tree());
  }

  std::variant<ParsedWords, Ending> parse(std::vector<std::string> arguments) {
    ParsedWords out;
    const size_t raw = raw_command(arguments);
    if (raw < arguments.size()) {
      out.rest.assign(arguments.begin() + static_cast<ptrdiff_t>(raw) + 1, arguments.end());
      arguments.resize(raw + 1);
    }
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      return Ending{kOk, app_.help()};  // of the subcommand that was reached
    } catch (const CLI::CallForVersion& e) {
      return Ending{kOk, std::string(e.what()) + "\n"};
    } catch (const CLI::ParseError& e) {
      return Ending{kUsage, usage(e)};
    }
    out.path = path_of(deepest());
    out.command = spec_of_.at(&deepest());
    for (Slot& slot : slots_) {
      if (slot.option->count() == 0) continue;
      if (slot.spec->field != nullptr && !slot.spec->repeated && slot.option->count() > 1) {
        return Ending{kUsage,
                      fmt::format("{}: --{} is given twice and holds one value\nTry: {} --help\n",
                                  out.path, slot.spec->name, out.path)};
      }
      out.values.emplace_back(
          slot.spec, slot.spec->repeated ? entries_of(slot.values) : std::move(slot.values));
    }
    return out;
  }

 private:
  /// The place of a raw command in the line; behind the end: there is none.
  static size_t raw_command(const std::vector<std::string>& arguments) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string& word = arguments[i];
      if (word.size() < 2 || word[0] != '-') {
        const CommandSpec* command = command_tree().find(word);
        return command != nullptr && command->raw ? i : arguments.size();
      }
      const OptionSpec* option = word[1] != '-'    ? command_tree().option(word[1])
                                 : word.size() > 2 ? command_tree().option(word.substr(2))
                                                   : nullptr;
      if (option != nullptr && !option->placeholder.empty()) ++i;
    }
    return arguments.size();
  }

  void fill(CLI::App& app, const CommandSpec& spec) {
    spec_of_[&app] = &spec;
    for (const OptionSpec& o : spec.options) {
      std::string names = "--" + o.name;
      if (o.letter != 0) names = std::string("-") + o.letter + "," + names;
      add(app, names, o);
    }
    for (const OptionSpec& o : spec.arguments) add(app, o.name, o);
    if (spec.verb == Verb::remove && !spec.description.empty()) app.footer(spec.description);
    if (!spec.examples.empty()) {
      std::string footer = "Examples:";
      for (const std::string& e : spec.examples) footer += "\n  " + e;
      if (&spec == &command_tree()) footer += closing_words();
      app.footer(footer);
    }
    for (const CommandSpec& sub : spec.commands) {
      CLI::App* child = app.add_subcommand(sub.name, sub.help);
      if (!sub.alias.empty()) child->alias(sub.alias);
      child->fallthrough();
      child->group(sub.hidden ? "" : sub.group);
      fill(*child, sub);
    }
    if (!spec.commands.empty()) app.require_subcommand(1);
  }

  void add(CLI::App& app, const std::string& names, const OptionSpec& spec) {
    Slot& slot = slots_.emplace_back(Slot{&spec});
    if (spec.placeholder.empty()) {
      slot.option = app.add_flag(names, slot.flag, spec.help);
    } else {
      slot.option = app.add_option(names, slot.values, spec.help)->type_name(spec.placeholder);
      if (spec.repeated) {
        slot.option->expected(1, kMostValues)->take_all();
      } else {
        slot.option->expected(1)->take_last()->allow_extra_args(false);
      }
    }
    if (!spec.group.empty()) slot.option->group(spec.group);
    if (spec.required) slot.option->required();
  }

  static std::string closing_words() {
    std::string out = "\nExit status:";
    const char* separator = " ";
    for (const ExitWords& e : exit_words()) {
      out += fmt::format("{}{} {}", separator, e.status, e.meaning);
      separator = ";\n  ";
    }
    out += ".\nEnvironment:";
    for (const EnvironmentWords& e : environment_words())
      out += fmt::format("\n  {:<12}  {}", e.variable, e.meaning);
    return out;
  }

  /// The subcommand that was reached.
  CLI::App& deepest() {
    CLI::App* at = &app_;
    while (!at->get_subcommands().empty()) at = at->get_subcommands().back();
    return *at;
  }

  static std::string path_of(const CLI::App& app) {
    const CLI::App* parent = app.get_parent();
    return parent == nullptr ? app.get_name() : path_of(*parent) + " " + app.get_name();
  }

  /// Commands to suggest at this place.
  static std::vector<std::string> commands_of(const CommandSpec& spec) {
    std::vector<std::string> out;
    for (const CommandSpec& c : spec.commands) {
      if (!c.hidden) out.push_back(c.name);
    }
    return out;
  }

  std::string usage(const CLI::ParseError& error) {
    CLI::App& at = deepest();
    const std::string command = path_of(at);
    const std::vector<std::string> rest = app_.remaining(true);
    const bool command_missing =
        at.get_require_subcommand_min() > 0 && at.get_subcommands().empty();
    std::string text;
    if (!rest.empty()) {
      text = unknown_word(at, rest.front());
    } else if (command_missing) {
      text =
          fmt::format("a command is missing: {}", fmt::join(commands_of(*spec_of_.at(&at)), ", "));
    } else {
      text = error.what();
    }
    return fmt::format("{}: {}\nTry: {} --help\n", command, text, command);
  }

  /// Says so of an option of create that update has not.
  static std::string creation_only(const CommandSpec& spec, const std::string& word) {
    if (spec.verb != Verb::update || spec.resource == nullptr || !word.starts_with("--")) return "";
    std::string name = word.substr(2, word.find('=') - 2);
    std::replace(name.begin(), name.end(), '-', '_');
    const codec::FieldSpec* field = spec.resource->field(name);
    if (field == nullptr || !field->immutable || field->output_only) return "";
    return fmt::format("{} can be set at creation only; delete the {} and create it anew",
                       word.substr(0, word.find('=')), spec.resource->singular);
  }

  std::string unknown_word(const CLI::App& at, const std::string& word) {
    const bool is_option = word.size() > 1 && word[0] == '-';
    if (std::string text = creation_only(*spec_of_.at(&at), word); !text.empty()) return text;
    std::vector<std::string> known;
    if (is_option) {
      // Options of parents may follow too.
      for (const CLI::App* app = &at; app != nullptr; app = app->get_parent()) {
        for (const CLI::Option* o : app->get_options()) {
          for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
        }
      }
    } else {
      known = commands_of(*spec_of_.at(&at));
    }
    std::string text = fmt::format("unknown {} '{}'",
                                   is_option       ? "option"
                                   : known.empty() ? "argument"
                                                   : "command",
                                   word);
    if (!known.empty()) text += "; " + codec::suggestion(word.substr(0, word.find('=')), known);
    return text;
  }

  static constexpr int kMostValues = 256;

  CLI::App app_;
  std::map<const CLI::App*, const CommandSpec*> spec_of_;
  std::list<Slot> slots_;  ///< CLI11 keeps pointers into it
};

}  // namespace

std::variant<Invocation, Ending> parse_command_line(const std::vector<std::string>& arguments,
                                                    const Environment& environment) {
  auto words = Parser().parse(arguments);
  if (auto* ending = std::get_if<Ending>(&words)) return std::move(*ending);
  return interpret(std::get<ParsedWords>(words), environment);
}

}  // namespace plexus::cli
