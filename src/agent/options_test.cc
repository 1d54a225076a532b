// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <getopt.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "store/test_directory.h"

namespace plexus::agent {
namespace {

using ::testing::HasSubstr;

class OptionsTest : public ::testing::Test {
 protected:
  Result<std::optional<AgentOptions>> parse(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "plexus-agent");
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    optind = 0;  // from the beginning again
    return parse_options(static_cast<int>(arguments.size()), argv.data());
  }
  void refused(const std::vector<std::string>& arguments, ErrorCode code, const char* says) {
    const auto options = parse(arguments);
    ASSERT_FALSE(options.ok()) << arguments.back();
    EXPECT_EQ(options.error().code, code);
    EXPECT_THAT(options.error().message, HasSubstr(says));
    EXPECT_FALSE(std::filesystem::exists(state_)) << "nothing is made before all is right";
  }
  store::TestDirectory dir_{true};
  const std::string state_ = dir_.path("state");
};

TEST_F(OptionsTest, NamesAndFoldersAreLookedAtFirst) {
  for (const char* name : {"bad name!", "a/b", "-h1", "h\xc3\xa4"}) {
    refused({"--state-dir", state_, "--name", name}, ErrorCode::invalid, "--name");
  }
  refused({"--state-dir", state_, "--name", std::string(64, 'h')}, ErrorCode::invalid, "--name");
  refused({"--state-dir", state_, "--name", "h1", "--run-dir", "run"}, ErrorCode::invalid,
          "--run-dir: 'run' is not an absolute path");
  refused({"--name", "h1", "--state-dir", "state"}, ErrorCode::invalid, "--state-dir");
  const auto good = parse({"--state-dir", state_, "--name", "h1.example_2-b", "--run-dir", "/run"});
  ASSERT_TRUE(good.ok()) << good.error().message;
  EXPECT_TRUE((*good)->new_host);
}

TEST_F(OptionsTest, ATenantMayHaveAsManyConnectionsAsAPort) {
  const auto of_tenant = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--state-dir", state_, "--name", "h1"});
    const auto options = parse(std::move(arguments));
    EXPECT_TRUE(options.ok()) << options.error().message;
    return options.ok() ? (*options)->connections_of_tenant : 0;
  };
  EXPECT_EQ(of_tenant({}), 250'000u);
  EXPECT_EQ(of_tenant({"--connections-of-port", "800000"}), 800'000u);
  EXPECT_EQ(of_tenant({"--connections-of-tenant", "1000", "--connections-of-port", "800000"}),
            1'000u);
  for (const char* bad : {"", "9", "-1", "1e6", "10x"})
    EXPECT_FALSE(parse({"--state-dir", state_, "--connections-of-tenant", bad}).ok()) << bad;
}

TEST_F(OptionsTest, WhoLeavesIsNotMadeUp) {
  refused({"--state-dir", state_, "--name", "h1", "--leave"}, ErrorCode::not_found, "host-id");
  const auto first = parse({"--state-dir", state_, "--name", "h1"});
  ASSERT_TRUE(first.ok());
  const auto leaving = parse({"--state-dir", state_, "--name", "h1", "--leave"});
  ASSERT_TRUE(leaving.ok()) << leaving.error().message;
  EXPECT_EQ((*leaving)->host, (*first)->host);
}

}  // namespace
}  // namespace plexus::agent
