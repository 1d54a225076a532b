// SPDX-License-Identifier: Apache-2.0
#include "cli/command_tree.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "plexus/v1/options.pb.h"

namespace plexus::cli {
namespace {

using codec::FieldSpec;
using codec::ResourceSpec;

constexpr char kForAll[] = "Options for all commands";
constexpr char kFields[] = "Fields";

std::string option_name(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return field;
}

OptionSpec flag(std::string name, std::string help, char letter = 0) {
  OptionSpec o;
  o.name = std::move(name);
  o.help = std::move(help);
  o.letter = letter;
  return o;
}

OptionSpec valued(std::string name, std::string placeholder, std::string help, char letter = 0) {
  OptionSpec o = flag(std::move(name), std::move(help), letter);
  o.placeholder = std::move(placeholder);
  return o;
}

OptionSpec with_words(OptionSpec o, std::vector<std::string> words) {
  o.words = std::move(words);
  return o;
}

OptionSpec required(OptionSpec o) {
  o.required = true;
  return o;
}

OptionSpec of_file(OptionSpec o) {
  o.file = true;
  return o;
}

OptionSpec of_type(OptionSpec o, const char* singular) {
  o.object = codec::find_singular(singular);
  return o;
}

OptionSpec wait_flag() {
  return flag("wait", "Wait until all hosts have applied it, at most --timeout");
}

OptionSpec yes_flag() {
  return flag("yes", "Do not ask", 'y');
}

OptionSpec tenant_option() {
  return of_type(valued("tenant", "NAME", "Whose object the name means"), "tenant");
}

OptionSpec object_argument(const ResourceSpec& resource) {
  OptionSpec o = required(valued("object", "NAME|ID", "Its name or id"));
  o.object = &resource;
  return o;
}

OptionSpec field_option(const FieldSpec& field, bool is_filter) {
  OptionSpec o;
  o.name = option_name(field.name);
  o.help = field.help;
  if (!field.words.empty()) o.help = fmt::format("{} ({})", o.help, fmt::join(field.words, ", "));
  o.placeholder = field.is_reference() ? "NAME|ID" : std::string(codec::placeholder(field.kind));
  o.group = is_filter ? "Only those with" : kFields;
  o.repeated = field.repeated && !is_filter;
  o.field = &field;
  if (field.is_reference()) {
    o.object = &field.target();
  } else if (field.kind == codec::ValueKind::boolean) {
    o.words = {"true", "false"};
  } else if (field.name == "tenant") {
    o.object = codec::find_singular("tenant");
  } else {
    o.words = field.words;
  }
  return o;
}

CommandSpec command(std::string name, std::string help, Verb verb,
                    std::vector<OptionSpec> options = {}, std::vector<OptionSpec> arguments = {}) {
  CommandSpec c;
  c.name = std::move(name);
  c.help = std::move(help);
  c.verb = verb;
  c.options = std::move(options);
  c.arguments = std::move(arguments);
  return c;
}

CommandSpec in_group(std::string group, CommandSpec c) {
  c.group = std::move(group);
  return c;
}

/// The verbs that only some types have.
void add_special_verbs(const ResourceSpec& r, CommandSpec& noun) {
  const auto of_object = [&](std::string name, std::string help, Verb verb,
                             std::vector<OptionSpec> options) {
    if (r.field("tenant") != nullptr) options.insert(options.begin(), tenant_option());
    noun.commands.push_back(
        command(std::move(name), std::move(help), verb, std::move(options), {object_argument(r)}));
  };
  if (r.singular == "host") {
    of_object("drain", "Let no port newly come to it; list those that are left", Verb::host_drain,
              {flag("wait", "Wait until no port is left, at most --timeout")});
    of_object("undrain", "Let ports come to it again", Verb::host_undrain, {wait_flag()});
    of_object("fence", "Cut it off: no other host sends to it or takes anything from it",
              Verb::host_fence, {yes_flag()});
    of_object("unfence", "Let it take part again", Verb::host_unfence, {wait_flag()});
    of_object("credentials", "Print the identity file that its agent needs", Verb::host_credentials,
              {of_file(valued("file", "FILE", "Write it there, readable by its owner only", 'o'))});
  } else if (r.singular == "port") {
    const FieldSpec& interface = *r.field("interface");
    const OptionSpec at =
        valued("interface", std::string(codec::placeholder(interface.kind)), interface.help);
    of_object("bind", "Say where a port's interface is", Verb::port_bind,
              {required(of_type(valued("host", "NAME|ID", "The host"), "host")), required(at),
               wait_flag()});
    of_object("unbind", "Take a port off its host", Verb::port_unbind, {wait_flag()});
    of_object("migrate", "Move a port to another host", Verb::port_migrate,
              {required(of_type(valued("to", "NAME|ID", "The host that takes it over"), "host")),
               flag("activate", "Take it over now, not with the first frame that comes there"),
               wait_flag()});
  }
}

/// What becomes of those that refer to an object that is deleted, as the schema says.
std::string removal_words(const ResourceSpec& r) {
  std::vector<const ResourceSpec*> gone = {&r};
  std::vector<std::string> cascaded, cleared, refusing;
  const auto add = [](std::vector<std::string>& list, std::string word) {
    if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(std::move(word));
  };
  for (size_t i = 0; i < gone.size(); ++i) {
    for (const ResourceSpec& user : codec::resources()) {
      for (const FieldSpec& field : user.fields) {
        if (field.reference != gone[i]->type) continue;
        const auto on_delete = field.descriptor->options().GetExtension(v1::ref).on_delete();
        if (on_delete == v1::CASCADE) {
          add(cascaded, user.collection);
          if (std::find(gone.begin(), gone.end(), &user) == gone.end()) gone.push_back(&user);
        } else if (on_delete == v1::CLEAR) {
          add(cleared, field.name + " of " + user.collection);
        } else if (i == 0) {
          add(refusing, user.collection);
        }
      }
    }
  }
  std::string out;
  const auto say = [&](std::string_view words, const std::vector<std::string>& list,
                       std::string_view end) {
    if (!list.empty())
      out += fmt::format("{}{}{}{}", out.empty() ? "" : " ", words, fmt::join(list, ", "), end);
  };
  say("Refused while it is in use by ", refusing, ".");
  say("What belongs to it is deleted with it: ", cascaded, ".");
  say("Where it is named it is cleared: ", cleared, ".");
  return out;
}

CommandSpec noun_of(const ResourceSpec& r) {
  CommandSpec noun = in_group("Resources", command(r.singular, r.help, Verb::none));
  noun.alias = r.collection;
  noun.resource = &r;
  const bool has_tenant = r.field("tenant") != nullptr;
  CommandSpec create = command("create", "Create a " + r.singular, Verb::create, {wait_flag()});
  CommandSpec list = command("list", "List " + r.collection, Verb::list);
  CommandSpec show = command("show", "Show one " + r.singular, Verb::show);
  CommandSpec update =
      command("update", "Change fields of a " + r.singular, Verb::update, {wait_flag()});
  CommandSpec remove = command("delete", "Delete a " + r.singular, Verb::remove, {wait_flag()});
  remove.description = removal_words(r);
  if (r.singular == "host") remove.options.push_back(yes_flag());
  for (CommandSpec* c : {&show, &update, &remove}) {
    c->arguments.push_back(object_argument(r));
    if (has_tenant) c->options.push_back(tenant_option());
  }
  OptionSpec clear = valued("clear", "FIELD", "Fields to unset");
  clear.group = kFields;
  clear.repeated = true;
  for (const FieldSpec& field : r.fields) {
    if (field.kind == codec::ValueKind::message || field.output_only) continue;
    create.options.push_back(field_option(field, false));
    if (!field.secret) list.options.push_back(field_option(field, true));
    if (field.immutable) continue;
    if (!field.required) clear.words.push_back(field.name);
    update.options.push_back(field_option(field, false));
  }
  update.options.push_back(std::move(clear));
  noun.commands = {std::move(create), std::move(list), std::move(show), std::move(update),
                   std::move(remove)};
  add_special_verbs(r, noun);
  for (CommandSpec& c : noun.commands) {
    c.resource = &r;
    c.group = "Commands";
  }
  return noun;
}

void add_cloud_commands(CommandSpec& root) {
  const OptionSpec file =
      required(of_file(valued("file", "FILE", "YAML or JSON; - reads standard input", 'f')));
  const OptionSpec dry_run = flag("dry-run", "Say what would be done, and do nothing");
  const char* group = "The whole cloud";
  root.commands.push_back(in_group(
      group,
      command(
          "apply", "Create or update what a cloud file describes", Verb::apply,
          {file, dry_run,
           flag("prune", "Remove what the file no longer names, of its types and tenants"),
           flag("force", "Prune even more than half of what there is"), yes_flag(), wait_flag()})));
  root.commands.push_back(
      in_group(group, command("delete", "Delete what a cloud file describes", Verb::delete_file,
                              {file, dry_run, yes_flag(), wait_flag()})));
  root.commands.push_back(in_group(
      group,
      command("topology", "Draw the virtual topology and where it is bound", Verb::topology)));
  root.commands.push_back(in_group(
      group,
      command("wait", "Wait until all hosts have applied all changes, at most --timeout",
              Verb::wait,
              {valued("revision", "TOKEN", "Changes up to this revision only; all when absent")})));
  OptionSpec collections = valued("collection", "COLLECTION", "Only these; all when absent");
  collections.words = codec::collection_names();
  collections.repeated = true;
  const OptionSpec since =
      valued("since", "TOKEN", "Begin after this revision, as any answer or change named it");
  root.commands.push_back(in_group(
      group,
      command("watch", "Print changes as they come", Verb::watch,
              {since, valued("count", "NUMBER", "End after so many changes")}, {collections})));
  root.commands.push_back(
      in_group(group, command("audit", "Who changed what, and when", Verb::audit,
                              {since, valued("count", "NUMBER", "At most so many")})));
  root.commands.push_back(
      in_group(group, command("whoami", "What the API server takes you for", Verb::whoami)));
}

std::vector<OptionSpec> agent_options() {
  return {of_type(valued("host", "NAME", "Ask the agent of this host"), "host"),
          valued("agent", "ADDRESS", "Or the agent on this socket: unix:/PATH")};
}

void add_agent_commands(CommandSpec& root) {
  std::vector<OptionSpec> flow_options = agent_options();
  flow_options.push_back(flag("why", "With the objects that each flow depends on"));
  std::vector<OptionSpec> options = agent_options();
  options.push_back(of_type(valued("in", "NAME|ID", "The port where the packet enters"), "port"));
  options.push_back(valued("interface", "INTERFACE", "Or the interface"));
  options.push_back(valued("tunnel-key", "NUMBER", "Or from the fabric, with this key"));
  options.push_back(
      valued("expect", "delivered|dropped[:REASON]|port:NAME",
             "What should become of it; if it does not: exit status 6, and the stage to blame"));
  const std::vector<OptionSpec> packet = {required(
      valued("packet", "PACKET", "The packet; docs/packet-syntax.md says how to write one"))};
  const char* group = "One host";
  root.commands.push_back(
      in_group(group, command("trace", "What becomes of a packet, step by step; nothing is sent",
                              Verb::trace, options, packet)));
  root.commands.push_back(in_group(
      group, command("flows", "The flows a host has installed", Verb::flows, flow_options)));
  root.commands.push_back(in_group(group, command("connections", "The connections a host knows",
                                                  Verb::connections, agent_options())));
  std::vector<OptionSpec> counter_options = agent_options();
  counter_options.push_back(of_type(valued("chain", "NAME", "Only rules of this chain"), "chain"));
  counter_options.push_back(of_type(
      valued("security-group", "NAME", "Only rules of this security group"), "security-group"));
  root.commands.push_back(
      in_group(group, command("rule-counters", "How many packets the rules held for",
                              Verb::rule_counters, counter_options)));
  std::vector<OptionSpec> trace_options = agent_options();
  trace_options.push_back(of_type(
      valued("request", "NAME|ID", "Only what this trace request asked for"), "trace-request"));
  root.commands.push_back(
      in_group(group, command("traces", "What became of the packets that trace requests asked for",
                              Verb::traces, trace_options)));
  CommandSpec agent =
      in_group(group, command("agent", "Ask the agent of a host of this machine", Verb::none));
  agent.commands = {command("status", "How it is doing", Verb::agent_status, agent_options()),
                    command("ports", "The ports it serves", Verb::agent_ports, agent_options()),
                    command("flows", "The same as plexus flows", Verb::flows, flow_options),
                    command("trace", "The same as plexus trace", Verb::trace, options, packet)};
  for (CommandSpec& c : agent.commands) c.group = "Commands";
  root.commands.push_back(std::move(agent));
}

void add_other_commands(CommandSpec& root) {
  const char* group = "Other";
  CommandSpec store = in_group(
      group, command("store", "The store itself: dump, load, check, level (runs plexus-store)",
                     Verb::store));
  store.raw = true;
  root.commands.push_back(std::move(store));
  root.commands.push_back(in_group(
      group, command("completion", "Print a shell's completion script", Verb::completion, {},
                     {required(with_words(valued("shell", "SHELL", "bash, zsh or fish"),
                                          {"bash", "zsh", "fish"}))})));
  root.commands.push_back(
      in_group(group, command("man", "Print the manual page, as roff", Verb::man)));
  CommandSpec complete = command("__complete", "What may come next", Verb::complete);
  complete.raw = true;
  complete.hidden = true;
  root.commands.push_back(std::move(complete));
}

void add_words(CommandSpec& c, const std::string& path) {
  for (const CommandWords& words : command_words()) {
    if (words.path != path) continue;
    c.description = words.description;
    c.examples.assign(words.examples.begin(), words.examples.end());
  }
  for (CommandSpec& sub : c.commands)
    add_words(sub, path.empty() ? sub.name : path + " " + sub.name);
}

CommandSpec build() {
  CommandSpec root =
      command("plexus", "The command line of Plexus, a virtual network.", Verb::none);
  root.options = {
      valued("api", "ADDRESS,...",
             "API servers, the next when one does not answer: unix:/PATH, http://127.0.0.1:PORT or "
             "https://HOST:PORT"),
      valued("token", "TOKEN|@FILE", "Bearer token for the API, or the file that holds it"),
      of_file(valued("cacert", "FILE", "Certificates to trust for https, instead of the system's")),
      with_words(valued("output", "FORMAT", "table, json, yaml, or name: names only", 'o'),
                 {"table", "json", "yaml", "name"}),
      flag("json", "The same as --output json"),
      flag("yaml", "The same as --output yaml"),
      flag("quiet", "Print nothing but errors and what was asked for", 'q'),
      valued("timeout", "SECONDS", "How long to wait for an answer, and with --wait for the hosts"),
  };
  for (OptionSpec& o : root.options) o.group = kForAll;
  for (const ResourceSpec& r : codec::resources()) root.commands.push_back(noun_of(r));
  add_cloud_commands(root);
  add_agent_commands(root);
  add_other_commands(root);
  add_words(root, "");
  return root;
}

}  // namespace

const CommandSpec* CommandSpec::find(std::string_view word) const {
  for (const CommandSpec& c : commands) {
    if (c.name == word || (!c.alias.empty() && c.alias == word)) return &c;
  }
  return nullptr;
}

const OptionSpec* CommandSpec::option(std::string_view option_name) const {
  for (const OptionSpec& o : options) {
    if (o.name == option_name) return &o;
  }
  return nullptr;
}

const OptionSpec* CommandSpec::option(char option_letter) const {
  for (const OptionSpec& o : options) {
    if (o.letter != 0 && o.letter == option_letter) return &o;
  }
  return nullptr;
}

const CommandSpec& command_tree() {
  static const CommandSpec tree = build();
  return tree;
}

}  // namespace plexus::cli
