// SPDX-License-Identifier: Apache-2.0
#include "agent/host_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "store/test_directory.h"

namespace plexus::agent {
namespace {

using ::testing::HasSubstr;

void put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

TEST(HostFiles, StartsAreCountedOverRestarts) {
  const store::TestDirectory dir(true);
  EXPECT_EQ(*count_start(dir.root()), 1u);
  EXPECT_EQ(*count_start(dir.root()), 2u);
  ASSERT_TRUE(keep_start_count(dir.root(), 17).ok());
  EXPECT_EQ(*count_start(dir.root()), 18u);
  put(dir.path("starts"), "rubbish");
  EXPECT_EQ(*count_start(dir.root()), 1u);
  EXPECT_FALSE(count_start(dir.path("not-there")).ok());
}

TEST(HostFiles, AMachineWithoutAnIdGetsOneThatStays) {
  const store::TestDirectory dir(true);
  put(dir.path("system"), "  0123abcd\n");
  EXPECT_EQ(*machine_id(dir.path("system"), dir.root()), "0123abcd");
  const auto made = machine_id(dir.path("absent"), dir.root());
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(made->empty());
  EXPECT_EQ(*machine_id(dir.path("absent"), dir.root()), *made);
  put(dir.path("empty"), "\n");
  EXPECT_EQ(*machine_id(dir.path("empty"), dir.root()), *made);
}

TEST(HostFiles, AnIdentityThatOthersCanReadIsRefusedWithTheRemedy) {
  const store::TestDirectory dir(true);
  const std::string path = dir.path("identity");
  put(path, "host:x:y:z\n");
  for (const mode_t mode : {0644u, 0640u, 0604u, 0620u}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const auto refused = read_identity(path);
    ASSERT_FALSE(refused.ok()) << std::oct << mode;
    EXPECT_THAT(refused.error().message, HasSubstr("chmod 600 " + path));
    EXPECT_THAT(refused.error().message, Not(HasSubstr("x:y")));
  }
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  EXPECT_EQ(*read_identity(path), "host:x:y:z");
  put(path, "");
  EXPECT_EQ(read_identity(path).error().code, ErrorCode::invalid);
  EXPECT_EQ(read_identity(dir.path("none")).error().code, ErrorCode::not_found);
}

TEST(HostFiles, ASecondAgentNamesTheFirst) {
  const store::TestDirectory dir(true);
  auto held = lock_file(dir.path("lock"), "host h1");
  ASSERT_TRUE(held.ok()) << held.error().message;
  const auto refused = lock_file(dir.path("lock"), "host h1");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::in_use);
  EXPECT_THAT(refused.error().message, HasSubstr(std::to_string(::getpid())));
  EXPECT_THAT(refused.error().message, HasSubstr("host h1"));
  *held = UniqueFd();
  EXPECT_TRUE(lock_file(dir.path("lock"), "host h1").ok());
}

}  // namespace
}  // namespace plexus::agent
