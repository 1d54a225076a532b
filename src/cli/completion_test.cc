// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

#include <gtest/gtest.h>

#include <set>

namespace plexus::cli {
namespace {

std::string words(const std::vector<std::string>& line, GivenOptions* given = nullptr) {
  const Completions found =
      complete(line, [&](const codec::ResourceSpec& type, const GivenOptions& g) {
        if (given != nullptr) *given = g;
        return std::vector<std::string>{type.singular + "-1", type.singular + "-2", "other"};
      });
  std::string out;
  for (const Candidate& c : found.candidates) out += (out.empty() ? "" : " ") + c.word;
  return out + (found.files ? (out.empty() ? ":files" : " :files") : "");
}

TEST(Completion, FollowsTheCommandTree) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"brid"}, "bridge"},
      {{"bridges"}, "bridges"},
      {{"port", "mig"}, "migrate"},
      {{"ports", "un"}, "unbind"},
      {{"port", "show", "po"}, "port-1 port-2"},
      {{"port", "show", "x", ""}, ""},
      {{"port", "list", "--bridge", ""}, "bridge-1 bridge-2 other"},
      {{"port", "list", "--bridge=b"}, "--bridge=bridge-1 --bridge=bridge-2"},
      {{"port", "list", "--bridge", "=", "o"}, "--bridge=other"},
      {{"port", "list", "--bridge", "="}, "--bridge=bridge-1 --bridge=bridge-2 --bridge=other"},
      {{"port", "migrate", "vm1", "--t"}, "--tenant --to --token --timeout"},
      {{"port", "migrate", "vm1", "--to", "h"}, "host-1 host-2"},
      {{"port", "update", "vm1", "--admin-up", ""}, "true false"},
      {{"port", "update", "vm1", "--clear", "host,migr"}, "host,migrating_to"},
      {{"route", "create", "--kind", "b"}, "blackhole"},
      {{"port", "create", "--tenant", ""}, "tenant-1 tenant-2 other"},
      {{"apply", "-f", ""}, ":files"},
      {{"apply", "--file", "x", "--dr"}, "--dry-run"},
      {{"apply", "--dry-run", "--dr"}, ""},
      {{"-o", "y"}, "yaml"},
      {{"watch", "ports", "rou"}, "routers routes"},
      {{"completion", ""}, "bash zsh fish"},
      {{"store", "dump", ""}, ":files"},
      {{"nonsense", "por"}, "port-group port"},
      {{"port", "create", "--nonsense", "--na"}, "--name"},
      {{"__com"}, ""},
      {{"bridge", "show", "--he"}, "--help"},
  };
  for (const auto& [line, expected] : cases)
    EXPECT_EQ(words(line), expected) << testing::PrintToString(line);
  EXPECT_NE(words({}).find("apply"), std::string::npos);
  EXPECT_EQ(words({""}).find("__complete"), std::string::npos);
}

TEST(Completion, NamesAreAskedForWhereTheLineSays) {
  GivenOptions given;
  words({"--api", "unix:/x", "port", "show", "--tenant=blue", ""}, &given);
  EXPECT_EQ(given, (GivenOptions{{"api", "unix:/x"}, {"tenant", "blue"}}));
}

void check(const CommandSpec& command, std::vector<const CommandSpec*> above) {
  std::set<std::string> names;
  for (const CommandSpec* c : above) {
    for (const OptionSpec& o : c->options) names.insert(o.name);
  }
  for (const OptionSpec& o : command.options) {
    EXPECT_TRUE(names.insert(o.name).second)
        << command.name << " --" << o.name << " hides another option";
    EXPECT_FALSE(o.help.empty()) << command.name << " --" << o.name;
  }
  EXPECT_FALSE(command.help.empty()) << command.name;
  EXPECT_NE(command.verb == Verb::none, command.commands.empty()) << command.name;
  above.push_back(&command);
  for (const CommandSpec& c : command.commands) check(c, above);
}

TEST(CommandTree, HidesNoOptionBehindAnother) {
  check(command_tree(), {});
}

TEST(CommandTree, WordsAreAboutCommandsThatExist) {
  for (const CommandWords& w : command_words()) {
    const CommandSpec* at = &command_tree();
    std::string path(w.path);
    while (at != nullptr && !path.empty()) {
      const size_t end = std::min(path.find(' '), path.size());
      at = at->find(path.substr(0, end));
      path.erase(0, std::min(end + 1, path.size()));
    }
    EXPECT_NE(at, nullptr) << w.path;
    for (const std::string_view e : w.examples)
      EXPECT_NE(e.find_first_not_of(' '), std::string_view::npos);
  }
}

}  // namespace
}  // namespace plexus::cli
