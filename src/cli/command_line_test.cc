// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>

#include "cli/invocation.h"

namespace plexus::cli {
namespace {

Invocation good(const std::vector<std::string>& arguments, const std::string& api = {}) {
  auto parsed = parse_command_line(arguments, {api, {}});
  if (auto* ending = std::get_if<Ending>(&parsed)) {
    ADD_FAILURE() << ending->text;
    return {};
  }
  return std::get<Invocation>(parsed);
}

TEST(CommandLine, NounsAndVerbsComeFromTheSchema) {
  for (const codec::ResourceSpec& r : codec::resources()) {
    EXPECT_EQ(good({r.singular, "list"}).resource, &r);
    EXPECT_EQ(good({r.collection, "list"}).resource, &r);
    EXPECT_EQ(good({r.singular, "delete", "x"}).verb, Verb::remove);
    EXPECT_EQ(good({r.singular, "show", "x"}).object, "x");
  }
}

TEST(CommandLine, FieldsBecomeValues) {
  const Invocation in =
      good({"port", "create", "--name", "vm1", "--bridge=web", "--addresses", "10.0.0.1,fd00::1",
            "--addresses", "10.0.0.2", "--admin-up", "false", "--json"});
  EXPECT_EQ(in.verb, Verb::create);
  EXPECT_EQ(in.output, Output::json);
  std::map<std::string, std::vector<std::string>> values;
  for (const auto& [field, v] : in.values) values[field->name] = v;
  EXPECT_EQ(values["name"], std::vector<std::string>{"vm1"});
  EXPECT_EQ(values["bridge"], std::vector<std::string>{"web"});
  EXPECT_EQ(values["admin_up"], std::vector<std::string>{"false"});
  EXPECT_EQ(values["addresses"], (std::vector<std::string>{"10.0.0.1", "fd00::1", "10.0.0.2"}));
  EXPECT_EQ(values.size(), 4u);
}

TEST(CommandLine, UpdateKnowsWhatCanBeCleared) {
  const Invocation in =
      good({"port", "update", "vm1", "--clear", "host,interface", "--clear", "admin-up"});
  EXPECT_EQ(in.clear, (std::vector<std::string>{"host", "interface", "admin_up"}));
}

TEST(CommandLine, GlobalOptionsMayStandAnywhere) {
  EXPECT_EQ(good({"--api", "unix:/a", "bridge", "list"}).api, "unix:/a");
  EXPECT_EQ(good({"bridge", "--api", "unix:/a", "list"}).api, "unix:/a");
  EXPECT_EQ(good({"bridge", "list", "--api", "unix:/a"}, "unix:/b").api, "unix:/a");
  EXPECT_EQ(good({"bridge", "list"}, "unix:/b").api, "unix:/b");
  EXPECT_EQ(good({"bridge", "list"}).api, kDefaultApi);
}

TEST(CommandLine, AgentCommands) {
  const Invocation trace = good({"trace", "--host", "h1", "--in", "vm1", "icmp()"});
  EXPECT_EQ(trace.verb, Verb::trace);
  EXPECT_EQ(trace.host, "h1");
  EXPECT_EQ(trace.port, "vm1");
  EXPECT_EQ(trace.packet, "icmp()");
  EXPECT_EQ(good({"agent", "trace", "--interface", "tap0", "x"}).interface, "tap0");
  EXPECT_EQ(good({"trace", "--tunnel-key", "77", "x"}).tunnel_key, 77u);
  EXPECT_FALSE(trace.expect);
  const auto expected = good({"trace", "--in", "vm1", "--expect", "dropped:no_route", "x"}).expect;
  ASSERT_TRUE(expected);
  EXPECT_EQ(expected->what, "no_route");
  EXPECT_EQ(good({"flows"}).verb, Verb::flows);
  EXPECT_EQ(good({"connections", "--host", "h1"}).verb, Verb::connections);
  EXPECT_EQ(good({"rule-counters"}).verb, Verb::rule_counters);
  EXPECT_EQ(good({"rule-counters", "--chain", "in"}).chain, "in");
  EXPECT_EQ(good({"rule-counters", "--security-group", "web"}).security_group, "web");
  EXPECT_EQ(good({"traces"}).verb, Verb::traces);
  EXPECT_EQ(good({"traces", "--request", "why"}).request, "why");
  EXPECT_EQ(good({"agent", "flows", "--agent", "unix:/x"}).agent, "unix:/x");
  EXPECT_EQ(good({"agent", "status"}).verb, Verb::agent_status);
  // --host is a field of a port, and an option of the agent's commands.
  const Invocation port = good({"port", "update", "vm1", "--host", "h2"});
  ASSERT_EQ(port.values.size(), 1u);
  EXPECT_EQ(port.values[0].first->name, "host");
}

TEST(CommandLine, CommasPartEntriesButNotInQuotes) {
  const Invocation port =
      good({"port", "update", "vm1", "--dhcp-options", R"(66 = "a,\",b",67 = 00)", "--dhcp-options",
            "68 = 01", "--addresses", "10.0.0.1,fd00::1"});
  std::map<std::string, std::vector<std::string>> values;
  for (const auto& [field, given] : port.values) values[field->name] = given;
  EXPECT_EQ(values["dhcp_options"],
            (std::vector<std::string>{R"(66 = "a,\",b")", "67 = 00", "68 = 01"}));
  EXPECT_EQ(values["addresses"], (std::vector<std::string>{"10.0.0.1", "fd00::1"}));
}

TEST(CommandLine, MistakesNameTheNearest) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "a command is missing"},
      {{"brdge", "list"}, "plexus: unknown command 'brdge'; did you mean 'bridge'?"},
      {{"bridge", "crate"}, "plexus bridge: unknown command 'crate'; did you mean 'create'?"},
      {{"bridge", "create", "--nmae", "x"},
       "plexus bridge create: unknown option '--nmae'; did you mean '--name'?"},
      {{"port", "create", "--brige=x"}, "unknown option '--brige=x'; did you mean '--bridge'?"},
      {{"bridge", "list", "--jsn"}, "did you mean '--json'?"},
      {{"bridge"}, "a command is missing: create, list"},
      {{"bridge", "show"}, "object is required"},
      {{"bridge", "create", "extra"}, "unknown argument 'extra'"},
      {{"bridge", "update", "x"}, "nothing to change"},
      {{"port", "update", "x", "--bridge", "y"},
       "--bridge can be set at creation only; delete the port and create it anew"},
      {{"trace-request", "update", "x", "--port=y"}, "--port can be set at creation only"},
      {{"trace-request", "update", "x", "--prot", "y"}, "unknown option '--prot'"},
      {{"port", "update", "x", "--clear", "hots"}, "did you mean 'host'?"},
      {{"port", "update", "x", "--clear", "name"}, "cannot be cleared"},
      {{"apply"}, "--file is required"},
      {{"trace", "x"}, "where does the packet enter?"},
      {{"trace", "--in", "a", "--expect", "lost", "x"}, "none of delivered, dropped"},
      {{"trace", "--in", "a", "--interface", "b", "x"}, "exclude"},
      {{"bridge", "list", "--json", "--yaml"}, "excludes"},
      {{"bridge", "list", "--timeout", "0"}, "--timeout"},
  };
  for (const auto& [arguments, says] : cases) {
    auto parsed = parse_command_line(arguments, {});
    auto* ending = std::get_if<Ending>(&parsed);
    ASSERT_NE(ending, nullptr) << says;
    EXPECT_EQ(ending->status, kUsage) << says;
    EXPECT_NE(ending->text.find(says), std::string::npos) << ending->text;
    EXPECT_NE(ending->text.find("--help"), std::string::npos) << ending->text;
  }
}

TEST(CommandLine, HelpIsForTheCommandAtHand) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, {"port", "--help"}, {"port", "create", "-h"}}) {
    auto parsed = parse_command_line(arguments, {});
    auto* ending = std::get_if<Ending>(&parsed);
    ASSERT_NE(ending, nullptr);
    EXPECT_EQ(ending->status, kOk);
    if (arguments.size() == 3) {
      EXPECT_NE(ending->text.find("plexus port create"), std::string::npos) << ending->text;
      EXPECT_NE(ending->text.find("--addresses"), std::string::npos) << ending->text;
      EXPECT_EQ(ending->text.find("--min-reader"), std::string::npos) << ending->text;
    }
  }
}

}  // namespace
}  // namespace plexus::cli
