// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

#include <algorithm>
#include <set>

#include "cli/commands.h"

namespace plexus::cli {
namespace {

/// Nobody waits longer for a completion.
constexpr std::chrono::milliseconds kPatience{1500};

bool begins(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// bash splits "--bridge=web" into three words, and "--bridge=" into two.
std::vector<std::string> rejoined(std::vector<std::string> words) {
  std::vector<std::string> out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "=" && !out.empty() && begins(out.back(), "--")) {
      out.back() += "=";
      if (i + 1 < words.size()) out.back() += words[++i];
    } else {
      out.push_back(std::move(words[i]));
    }
  }
  return out;
}

/// Where one is on a command line, word by word.
class Walk {
 public:
  Walk() { path_.push_back(&command_tree()); }

  void step(const std::string& word) {
    if (pending_ != nullptr) {
      given_.emplace_back(pending_->name, word);
      pending_ = nullptr;
    } else if (begins(word, "--") && word.size() > 2) {
      const size_t equals = word.find('=');
      const OptionSpec* o =
          find_option(word.substr(2, equals == std::string::npos ? equals : equals - 2));
      if (o == nullptr) return;
      used_.insert(o);
      if (o->placeholder.empty()) return;
      if (equals == std::string::npos) {
        pending_ = o;
      } else {
        given_.emplace_back(o->name, word.substr(equals + 1));
      }
    } else if (begins(word, "-") && word.size() > 1) {
      const OptionSpec* o = find_letter(word[1]);
      if (o == nullptr) return;
      used_.insert(o);
      if (!o->placeholder.empty() && word.size() == 2) pending_ = o;
    } else if (const CommandSpec* next = at().find(word)) {
      path_.push_back(next);
    } else {
      ++arguments_;
    }
  }

  [[nodiscard]] const CommandSpec& at() const { return *path_.back(); }
  [[nodiscard]] const OptionSpec* pending() const { return pending_; }
  [[nodiscard]] const GivenOptions& given() const { return given_; }

  [[nodiscard]] const OptionSpec* find_option(const std::string& name) const {
    for (auto it = path_.rbegin(); it != path_.rend(); ++it) {
      if (const OptionSpec* o = (*it)->option(name)) return o;
    }
    return nullptr;
  }

  [[nodiscard]] const OptionSpec* find_letter(char letter) const {
    for (auto it = path_.rbegin(); it != path_.rend(); ++it) {
      if (const OptionSpec* o = (*it)->option(letter)) return o;
    }
    return nullptr;
  }

  /// The positional argument that comes next; nullptr: none.
  [[nodiscard]] const OptionSpec* argument() const {
    const auto& all = at().arguments;
    if (arguments_ < all.size()) return &all[arguments_];
    return !all.empty() && all.back().repeated ? &all.back() : nullptr;
  }

  /// Options that may still be given.
  [[nodiscard]] std::vector<const OptionSpec*> options() const {
    std::vector<const OptionSpec*> out;
    for (auto it = path_.rbegin(); it != path_.rend(); ++it) {
      for (const OptionSpec& o : (*it)->options) {
        if (o.repeated || !used_.contains(&o)) out.push_back(&o);
      }
    }
    return out;
  }

 private:
  std::vector<const CommandSpec*> path_;
  const OptionSpec* pending_ = nullptr;  ///< waits for its value
  size_t arguments_ = 0;
  GivenOptions given_;
  std::set<const OptionSpec*> used_;
};

void add_values(const OptionSpec& option, const std::string& before, const std::string& prefix,
                const Walk& walk, const NamesOf& names_of, Completions& out) {
  out.files = option.file;
  // Of a list, the last entry is being written.
  const size_t comma = option.repeated ? prefix.rfind(',') : std::string::npos;
  const std::string head = comma == std::string::npos ? "" : prefix.substr(0, comma + 1);
  const std::string tail = prefix.substr(head.size());
  std::vector<std::string> words = option.words;
  if (option.object != nullptr) words = names_of(*option.object, walk.given());
  for (const std::string& w : words) {
    if (begins(w, tail)) out.candidates.push_back({before + head + w, ""});
  }
}

}  // namespace

Completions complete(std::vector<std::string> words, const NamesOf& names_of) {
  words = rejoined(std::move(words));
  const std::string now = words.empty() ? std::string() : words.back();
  if (!words.empty()) words.pop_back();
  Walk walk;
  for (const std::string& w : words) walk.step(w);
  Completions out;
  if (walk.at().raw) return {{}, true};
  if (walk.pending() != nullptr) {
    add_values(*walk.pending(), "", now, walk, names_of, out);
    return out;
  }
  if (begins(now, "-")) {
    const size_t equals = now.find('=');
    if (begins(now, "--") && equals != std::string::npos) {
      const OptionSpec* o = walk.find_option(now.substr(2, equals - 2));
      if (o != nullptr)
        add_values(*o, now.substr(0, equals + 1), now.substr(equals + 1), walk, names_of, out);
      return out;
    }
    for (const OptionSpec* o : walk.options()) {
      if (begins("--" + o->name, now)) out.candidates.push_back({"--" + o->name, o->help});
    }
    if (begins("--help", now)) out.candidates.push_back({"--help", "Print help"});
    return out;
  }
  for (const CommandSpec& c : walk.at().commands) {
    if (!c.hidden && begins(c.name, now)) out.candidates.push_back({c.name, c.help});
  }
  // The plural is offered only when the singular is out of reach.
  if (out.candidates.empty()) {
    for (const CommandSpec& c : walk.at().commands) {
      if (!c.alias.empty() && begins(c.alias, now)) out.candidates.push_back({c.alias, c.help});
    }
  }
  if (const OptionSpec* argument = walk.argument())
    add_values(*argument, "", now, walk, names_of, out);
  return out;
}

int run_complete(const Invocation& invocation, Terminal& terminal) {
  const NamesOf names_of = [&](const codec::ResourceSpec& type, const GivenOptions& given) {
    Invocation ask = invocation;
    std::string tenant;
    for (const auto& [option, value] : given) {
      if (option == "api") ask.api = value;
      if (option == "token") ask.token = value;
      if (option == "cacert") ask.ca_file = value;
      if (option == "tenant") tenant = value;
    }
    std::vector<std::string> names;
    auto http = connect(ask);
    if (!http) return names;
    (*http)->set_timeout(kPatience);
    Query query;
    if (!tenant.empty() && type.field("tenant") != nullptr) query.emplace_back("tenant", tenant);
    const auto items = ApiClient(**http).items(type.collection, query);
    if (!items) return names;
    for (const codec::Node& item : *items) {
      const std::string name = text_of(item, "name");
      names.push_back(name.empty() ? text_of(item, "id") : name);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
  };
  const Completions found = complete(invocation.rest, names_of);
  for (const Candidate& c : found.candidates) {
    terminal.out << c.word;
    if (!c.help.empty()) terminal.out << "\t" << c.help;
    terminal.out << "\n";
  }
  if (found.files) terminal.out << ":files\n";
  return kOk;
}

}  // namespace plexus::cli
