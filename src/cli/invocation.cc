// SPDX-License-Identifier: Apache-2.0
#include "cli/invocation.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/command_tree.h"
#include "codec/format.h"
#include "codec/nearest.h"
#include "codec/node.h"

namespace plexus::cli {
namespace {

using codec::ResourceSpec;

class Interpreter {
 public:
  Interpreter(const ParsedWords& words, const Environment& environment) : words_(words) {
    in_.verb = words.command->verb;
    in_.resource = words.command->resource;
    in_.rest = words.rest;
    in_.api = environment.api.empty() ? kDefaultApi : environment.api;
    in_.token = environment.token;
  }

  std::variant<Invocation, Ending> run() {
    for (const auto& [option, values] : words_.values) {
      if (option->field != nullptr) {
        in_.values.emplace_back(option->field, values);
      } else {
        take(*option, values);
      }
      if (!mistake_.empty()) break;
    }
    if (mistake_.empty()) check_together();
    if (mistake_.empty()) return in_;
    return Ending{kUsage,
                  fmt::format("{}: {}\nTry: {} --help\n", words_.path, mistake_, words_.path)};
  }

 private:
  void take(const OptionSpec& option, const std::vector<std::string>& values) {
    const std::string& name = option.name;
    const std::string value = values.empty() ? std::string() : values[0];
    const std::pair<const char*, bool*> flags[] = {
        {"json", &json_},      {"yaml", &yaml_},      {"quiet", &in_.quiet},
        {"wait", &in_.wait},   {"yes", &in_.yes},     {"dry-run", &in_.dry_run},
        {"prune", &in_.prune}, {"force", &in_.force}, {"activate", &in_.activate},
        {"why", &in_.why},
    };
    for (const auto& [flag, target] : flags) {
      if (name == flag) *target = true;
    }
    const std::pair<const char*, std::string*> texts[] = {
        {"api", &in_.api},           {"token", &in_.token},
        {"cacert", &in_.ca_file},    {"object", &in_.object},
        {"tenant", &in_.tenant},     {"file", &in_.file},
        {"agent", &in_.agent},       {"host", &in_.host},
        {"to", &in_.host},           {"interface", &in_.interface},
        {"in", &in_.port},           {"packet", &in_.packet},
        {"revision", &in_.revision}, {"since", &in_.since},
        {"shell", &in_.shell},       {"request", &in_.request},
        {"chain", &in_.chain},       {"security-group", &in_.security_group},
    };
    for (const auto& [text, target] : texts) {
      if (name == text) *target = value;
    }
    if (option.required && option.words.empty() && value.empty() && !option.placeholder.empty()) {
      mistake_ = fmt::format("{} is empty", option.name);
    } else if (name == "output") {
      take_output(option, value);
    } else if (name == "timeout") {
      if (const auto n = number(option, value, 1, 86400)) in_.timeout = std::chrono::seconds(*n);
    } else if (name == "tunnel-key") {
      in_.tunnel_key = number(option, value, 1, (1u << 24) - 1);
    } else if (name == "expect") {
      if (auto expectation = parse_expectation(value)) {
        in_.expect = std::move(*expectation);
      } else {
        mistake_ = expectation.error().message;
      }
    } else if (name == "count") {
      const uint32_t most = in_.verb == Verb::audit ? 1000 : 1'000'000;  // the server's own limit
      if (const auto n = number(option, value, 1, most)) in_.count = *n;
    } else if (name == "clear") {
      for (const std::string& field : values) take_cleared(option, field);
    } else if (name == "collection") {
      for (const std::string& c : values) take_collection(option, c);
    } else if (name == "shell") {
      (void)known_word(option, "shell", value);
    }
  }

  std::optional<uint32_t> number(const OptionSpec& option, const std::string& text, uint32_t least,
                                 uint32_t most) {
    const auto n = codec::parse_number(text);
    if (n && *n >= least && *n <= most) return n;
    mistake_ = fmt::format("--{}: {} is no number from {} to {}", option.name,
                           codec::in_quotes(text), least, most);
    return std::nullopt;
  }

  bool known_word(const OptionSpec& option, std::string_view what, const std::string& word) {
    if (std::find(option.words.begin(), option.words.end(), word) != option.words.end())
      return true;
    mistake_ = fmt::format("unknown {} {}; {}", what, codec::in_quotes(word),
                           codec::suggestion(word, option.words));
    return false;
  }

  void take_output(const OptionSpec& option, const std::string& value) {
    if (!known_word(option, "output", value)) return;
    output_given_ = true;
    in_.output = value == "json"   ? Output::json
                 : value == "yaml" ? Output::yaml
                 : value == "name" ? Output::name
                                   : Output::text;
  }

  void take_cleared(const OptionSpec& option, std::string field) {
    std::replace(field.begin(), field.end(), '-', '_');
    if (std::find(option.words.begin(), option.words.end(), field) == option.words.end()) {
      mistake_ = fmt::format("--clear: {} cannot be cleared; {}", codec::in_quotes(field),
                             codec::suggestion(field, option.words));
      return;
    }
    in_.clear.push_back(std::move(field));
  }

  void take_collection(const OptionSpec& option, const std::string& word) {
    const ResourceSpec* type = codec::find_collection(word);
    if (type == nullptr) type = codec::find_singular(word);
    if (type != nullptr) {
      in_.collections.push_back(type);
    } else {
      (void)known_word(option, "collection", word);
    }
  }

  void check_together() {
    if (int{json_} + int{yaml_} + int{output_given_} > 1) {
      mistake_ = "--json excludes --yaml and --output; give one of them";
      return;
    }
    if (json_) in_.output = Output::json;
    if (yaml_) in_.output = Output::yaml;
    if (in_.verb == Verb::update) {
      if (in_.values.empty() && in_.clear.empty())
        mistake_ = "nothing to change; give at least one field";
      for (const auto& [field, values] : in_.values) {
        if (std::find(in_.clear.begin(), in_.clear.end(), field->name) != in_.clear.end())
          mistake_ = fmt::format("the field {} is both set and cleared", field->name);
      }
    }
    if (in_.verb == Verb::create) check_required();
    if (in_.force && !in_.prune) mistake_ = "--force is about --prune; give both";
    if (in_.verb == Verb::trace) check_place();
  }

  /// What the server would refuse is wrong usage already when the schema says so.
  void check_required() {
    const auto is_given = [&](std::string_view name) {
      return std::any_of(in_.values.begin(), in_.values.end(),
                         [&](const auto& v) { return v.first->name == name; });
    };
    const auto option = [](std::string name) {
      std::replace(name.begin(), name.end(), '_', '-');
      return "--" + name;
    };
    std::vector<std::string> missing;
    for (const codec::FieldSpec& f : in_.resource->fields) {
      if (!f.required || f.output_only || is_given(f.name)) continue;
      std::string text = option(f.name) + " ";
      text += f.is_reference() ? "NAME|ID" : std::string(codec::placeholder(f.kind));
      if (!f.words.empty()) text = fmt::format("{} ({})", option(f.name), fmt::join(f.words, ", "));
      missing.push_back(std::move(text));
    }
    for (const codec::ExclusiveSpec& e : in_.resource->exclusive) {
      if (!e.required || std::any_of(e.fields.begin(), e.fields.end(), is_given)) continue;
      std::vector<std::string> options;
      for (const std::string& f : e.fields) options.push_back(option(f));
      missing.push_back(fmt::format("{}", fmt::join(options, " or ")));
    }
    if (!missing.empty()) mistake_ = fmt::format("needs {}", fmt::join(missing, ", "));
  }

  void check_place() {
    const int places =
        int{!in_.port.empty()} + int{!in_.interface.empty()} + int{in_.tunnel_key.has_value()};
    if (places == 0) {
      mistake_ =
          "where does the packet enter? Give --in PORT, --interface INTERFACE or --tunnel-key "
          "NUMBER";
    } else if (places > 1) {
      mistake_ =
          "the packet enters in one place: --in, --interface and --tunnel-key exclude each other";
    }
  }

  const ParsedWords& words_;
  Invocation in_;
  bool json_ = false, yaml_ = false, output_given_ = false;
  std::string mistake_;
};

}  // namespace

std::variant<Invocation, Ending> interpret(const ParsedWords& words,
                                           const Environment& environment) {
  return Interpreter(words, environment).run();
}

}  // namespace plexus::cli
