// SPDX-License-Identifier: Apache-2.0
// The only file that includes CLI11. Nouns and options come from the schema.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <list>

#include "cli/invocation.h"
#include "codec/nearest.h"

namespace plexus::cli {
namespace {

using codec::FieldSpec;
using codec::ResourceSpec;

std::string option_name(const std::string& field) {
  std::string out = "--" + field;
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

/// Where CLI11 puts the values of one field's option.
struct FieldOption {
  const FieldSpec* field;
  CLI::Option* option;
  std::vector<std::string> values;
};

class Parser {
 public:
  explicit Parser(const std::string& environment_api)
      : app_("The command line of Plexus, a virtual network.", "plexus") {
    result_.api = environment_api.empty() ? kDefaultApi : environment_api;
    app_.require_subcommand(1);
    app_.set_help_flag("-h,--help", "Print this help");
    app_.set_version_flag("--version", "plexus 0.1");
    app_.get_formatter()->column_width(34);
    app_.add_option("--api", result_.api,
                    "Address of the API server: unix:/PATH or http://127.0.0.1:PORT")
        ->group("Options for all commands")
        ->type_name("ADDRESS");
    auto* json = app_.add_flag("--json", json_, "Print JSON")->group("Options for all commands");
    app_.add_flag("--yaml", yaml_, "Print YAML")->group("Options for all commands")->excludes(json);
    app_.add_option("--timeout", timeout_, "Seconds to wait for an answer")
        ->group("Options for all commands")
        ->check(CLI::Range(1u, 86400u))
        ->type_name("SECONDS");
    for (const ResourceSpec& resource : codec::resources()) add_resource(resource);
    add_file_commands();
    add_agent_commands();
    app_.footer(
        "Examples:\n"
        "  plexus apply -f cloud.yaml             create or update what the file describes\n"
        "  plexus topology                        draw it\n"
        "  plexus port list --bridge web\n"
        "  plexus port update vm1 --host h2       move a port\n"
        "  plexus trace --host h1 --in vm1 \\\n"
        "    'eth 02:00:00:00:01:11 > 02:00:00:00:01:01 | ipv4 10.1.1.11 > 10.1.2.14 | udp 1 > "
        "53'\n"
        "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer in time, 4 no server "
        "there.\n"
        "$PLEXUS_API replaces the default of --api, $PLEXUS_RUN the folder of the agents' sockets "
        "(/run/plexus).");
  }

  std::variant<Invocation, Ending> parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      return Ending{kOk, app_.help()};  // of the subcommand that was reached
    } catch (const CLI::CallForAllHelp&) {
      return Ending{kOk, app_.help("", CLI::AppFormatMode::All)};
    } catch (const CLI::CallForVersion& e) {
      return Ending{kOk, std::string(e.what()) + "\n"};
    } catch (const CLI::ParseError& e) {
      return Ending{kUsage, usage(e, arguments)};
    }
    return finish();
  }

 private:
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

  std::string usage(const CLI::ParseError& error, const std::vector<std::string>&) {
    CLI::App& at = deepest();
    const std::string command = path_of(at);
    std::string text;
    const std::vector<std::string> rest = app_.remaining(true);
    std::vector<std::string> known;
    if (!rest.empty()) {
      const std::string& word = rest.front();
      const bool is_option = word.size() > 1 && word[0] == '-';
      if (is_option) {
        // Options of parents may follow too.
        for (const CLI::App* app = &at; app != nullptr; app = app->get_parent()) {
          for (const CLI::Option* o : app->get_options()) {
            for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
          }
        }
      } else {
        for (const CLI::App* sub : at.get_subcommands([](CLI::App*) { return true; }))
          known.push_back(sub->get_name());
      }
      const std::string bare = word.substr(0, word.find('='));
      text = fmt::format("unknown {} '{}'",
                         is_option       ? "option"
                         : known.empty() ? "argument"
                                         : "command",
                         word);
      if (!known.empty()) text += "; " + codec::suggestion(bare, known);
    } else if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr &&
               !at.get_require_subcommand_min()) {
      text = error.what();
    } else if (at.get_require_subcommand_min() > 0 && at.get_subcommands().empty()) {
      for (const CLI::App* sub : at.get_subcommands([](CLI::App*) { return true; }))
        known.push_back(sub->get_name());
      text = fmt::format("a command is missing: {}", fmt::join(known, ", "));
    } else {
      text = error.what();
    }
    return fmt::format("{}: {}\nTry: {} --help\n", command, text, command);
  }

  CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& help,
                        Verb verb) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->fallthrough();
    command->group("Commands");
    command->callback([this, verb] { result_.verb = verb; });
    return command;
  }

  void add_field(CLI::App& command, const FieldSpec& field, bool is_filter) {
    FieldOption& slot = options_.emplace_back(FieldOption{&field, nullptr, {}});
    std::string help = field.help;
    if (!field.words.empty()) help = fmt::format("{} ({})", help, fmt::join(field.words, ", "));
    slot.option = command.add_option(option_name(field.name), slot.values, help);
    slot.option->type_name(field.is_reference() ? "NAME|ID"
                                                : std::string(codec::placeholder(field.kind)));
    slot.option->group(is_filter ? "Only those with" : "Fields");
    if (field.repeated && !is_filter) {
      slot.option->delimiter(',')->expected(1, kMostValues)->take_all();
    } else {
      slot.option->expected(1)->take_last();
    }
  }

  void add_resource(const ResourceSpec& resource) {
    CLI::App* noun = app_.add_subcommand(resource.singular, resource.help);
    noun->alias(resource.collection);
    noun->require_subcommand(1);
    noun->fallthrough();
    noun->group("Resources");
    noun->parse_complete_callback([this, &resource] { result_.resource = &resource; });

    const auto with_object = [&](CLI::App* command) {
      command->add_option("object", result_.object, "Its name or id")
          ->required()
          ->type_name("NAME|ID");
      const FieldSpec* tenant = resource.field("tenant");
      if (tenant != nullptr) {
        command->add_option("--tenant", result_.tenant, "Whose object the name means")
            ->type_name("NAME");
      }
    };
    CLI::App* create = add_command(*noun, "create", "Create a " + resource.singular, Verb::create);
    CLI::App* list = add_command(*noun, "list", "List " + resource.collection, Verb::list);
    CLI::App* show = add_command(*noun, "show", "Show one " + resource.singular, Verb::show);
    CLI::App* update =
        add_command(*noun, "update", "Change fields of a " + resource.singular, Verb::update);
    CLI::App* remove = add_command(*noun, "delete", "Delete a " + resource.singular, Verb::remove);
    with_object(show);
    with_object(update);
    with_object(remove);
    update->add_option("--clear", result_.clear, "Fields to unset")
        ->type_name("FIELD")
        ->delimiter(',')
        ->group("Fields");
    for (const FieldSpec& field : resource.fields) {
      if (field.kind == codec::ValueKind::message || field.output_only) continue;
      add_field(*create, field, false);
      if (!field.secret) add_field(*list, field, true);
      if (!field.immutable) add_field(*update, field, false);
    }
  }

  void add_file_commands() {
    CLI::App* apply =
        add_command(app_, "apply", "Create or update what a cloud file describes", Verb::apply);
    apply->add_option("-f,--file", result_.file, "YAML or JSON; - reads standard input")
        ->required()
        ->type_name("FILE");
    apply->add_flag("--dry-run", result_.dry_run, "Say what would be done, and do nothing");
    CLI::App* remove =
        add_command(app_, "delete", "Delete what a cloud file describes", Verb::delete_file);
    remove->add_option("-f,--file", result_.file, "YAML or JSON; - reads standard input")
        ->required()
        ->type_name("FILE");
    remove->add_flag("--dry-run", result_.dry_run, "Say what would be done, and do nothing");
    CLI::App* topology = add_command(
        app_, "topology", "Draw the virtual topology and where it is bound", Verb::topology);
    for (CLI::App* c : {apply, remove, topology}) c->group("The whole cloud");
  }

  void add_agent_options(CLI::App& command) {
    command.add_option("--host", result_.host, "Ask the agent of this host")->type_name("NAME");
    command.add_option("--agent", result_.agent, "Or the agent on this socket: unix:/PATH")
        ->type_name("ADDRESS");
  }

  void add_trace_options(CLI::App& command) {
    add_agent_options(command);
    command.add_option("--in", result_.port, "The port where the packet enters")
        ->type_name("NAME|ID");
    command.add_option("--interface", result_.interface, "Or the interface")
        ->type_name("INTERFACE");
    command.add_option("--tunnel-key", result_.tunnel_key, "Or from the fabric, with this key")
        ->type_name("NUMBER")
        ->check(CLI::Range(1u, (1u << 24) - 1));
    command
        .add_option("packet", result_.packet,
                    "The packet; docs/packet-syntax.md says how to write one")
        ->required()
        ->type_name("PACKET");
  }

  void add_agent_commands() {
    CLI::App* trace = add_command(
        app_, "trace", "What becomes of a packet, step by step; nothing is sent", Verb::trace);
    add_trace_options(*trace);
    CLI::App* flows = add_command(app_, "flows", "The flows a host has installed", Verb::flows);
    add_agent_options(*flows);
    CLI::App* agent = app_.add_subcommand("agent", "Ask the agent of a host of this machine");
    agent->require_subcommand(1);
    agent->fallthrough();
    add_agent_options(*add_command(*agent, "status", "How it is doing", Verb::agent_status));
    add_agent_options(*add_command(*agent, "ports", "The ports it serves", Verb::agent_ports));
    add_agent_options(*add_command(*agent, "flows", "The same as plexus flows", Verb::flows));
    add_trace_options(*add_command(*agent, "trace", "The same as plexus trace", Verb::trace));
    for (CLI::App* c : {trace, flows, agent}) c->group("One host");
  }

  std::variant<Invocation, Ending> finish() {
    if (json_) result_.output = Output::json;
    if (yaml_) result_.output = Output::yaml;
    result_.timeout = std::chrono::seconds(timeout_);
    for (FieldOption& o : options_) {
      if (o.option->count() > 0) result_.values.emplace_back(o.field, std::move(o.values));
    }
    const std::string command = path_of(deepest());
    const auto mistake = [&](const std::string& text) {
      return Ending{kUsage, fmt::format("{}: {}\nTry: {} --help\n", command, text, command)};
    };
    for (std::string& name : result_.clear) {
      std::vector<std::string> known;
      std::replace(name.begin(), name.end(), '-', '_');
      for (const FieldSpec& f : result_.resource->fields) {
        if (!f.output_only && !f.immutable && !f.required) known.push_back(f.name);
      }
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        return mistake(fmt::format("--clear: '{}' cannot be cleared; {}", name,
                                   codec::suggestion(name, known)));
      }
    }
    if (result_.verb == Verb::update && result_.values.empty() && result_.clear.empty()) {
      return mistake("nothing to change; give at least one field");
    }
    if (result_.verb == Verb::trace) {
      const int places = int{!result_.port.empty()} + int{!result_.interface.empty()} +
                         int{result_.tunnel_key.has_value()};
      if (places == 0) {
        return mistake(
            "where does the packet enter? Give --in PORT, --interface INTERFACE or --tunnel-key "
            "NUMBER");
      }
      if (places > 1)
        return mistake(
            "the packet enters in one place: --in, --interface and --tunnel-key exclude each "
            "other");
    }
    return result_;
  }

  static constexpr int kMostValues = 256;

  CLI::App app_;
  Invocation result_;
  bool json_ = false, yaml_ = false;
  unsigned timeout_ = 30;
  std::list<FieldOption> options_;  ///< CLI11 keeps pointers into it
};

}  // namespace

std::variant<Invocation, Ending> parse_command_line(const std::vector<std::string>& arguments,
                                                    const std::string& environment_api) {
  return Parser(environment_api).parse(arguments);
}

}  // namespace plexus::cli
