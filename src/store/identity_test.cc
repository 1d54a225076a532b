// SPDX-License-Identifier: Apache-2.0
#include "store/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kSecret = "abcdefghijklmnopqrstuvwxyz-_0123";
const HostId kHost{Uuid::derived("host", "h1")};

TEST(Identity, OfAnApiServer) {
  const auto api = parse_identity("api:" + kSecret + "\n");
  ASSERT_TRUE(api.ok()) << api.error().message;
  EXPECT_EQ(api->role, Identity::Role::api);
  EXPECT_EQ(api->secret, kSecret);
  EXPECT_EQ(api->name(), "api");
}

// Fixed for ever: hosts keep what was once derived.
TEST(Identity, OfAHostIsDerived) {
  const auto text = host_identity("api:" + kSecret, kHost);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*host_identity("api:" + kSecret, kHost), *text);
  const auto api = parse_identity("api:" + kSecret);
  const auto host = parse_identity(*text);
  ASSERT_TRUE(host.ok()) << host.error().message;
  EXPECT_EQ(host->role, Identity::Role::host);
  EXPECT_EQ(host->host, kHost);
  EXPECT_EQ(host->name(), "h-" + kHost.str());
  EXPECT_EQ(host->secret, host_secret(*api, kHost));
  EXPECT_EQ(host->shared, api->shared);
  EXPECT_EQ(host->secret.size(), 43u);
  EXPECT_EQ(host->shared, "yqlTVTFZwLZKwkl-0xi37-JTjUjYj4gZkIOIcjCMyiI");

  const HostId other{Uuid::derived("host", "h2")};
  EXPECT_NE(host_secret(*api, other), host->secret);
  EXPECT_THAT(*text, Not(HasSubstr(kSecret)));
  const auto another_cloud = host_identity("api:X" + kSecret, kHost);
  EXPECT_NE(*another_cloud, *text);
}

TEST(Identity, RefusesWhatIsNoneWithoutQuotingIt) {
  const std::string id = kHost.str();
  const struct {
    std::string text;
    const char* says;
  } cases[] = {
      {"", "begins neither"},
      {kSecret, "begins neither"},
      {"API:" + kSecret, "begins neither"},
      {"api:", "0 characters"},
      {"api:" + kSecret.substr(1), "31 characters"},
      {"api:" + std::string(201, 'a'), "201 characters"},
      {"api:" + kSecret + ":", "may hold only"},
      {"api:" + kSecret + "\napi:" + kSecret, "more than one line"},
      {"host:" + id, "three parts"},
      {"host:" + id + ":" + kSecret, "three parts"},
      {"host:h1:" + kSecret + ":" + kSecret, "no UUID"},
      {"host:" + id + ":short:" + kSecret, "5 characters"},
      {"host:" + id + ":" + kSecret + ":short", "5 characters"},
      {"host:" + id + ":" + kSecret + ":" + kSecret + ":", "may hold only"},
  };
  for (const auto& c : cases) {
    const auto parsed = parse_identity(c.text);
    ASSERT_FALSE(parsed.ok()) << c.text;
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid);
    EXPECT_THAT(parsed.error().message, HasSubstr(c.says));
    EXPECT_THAT(parsed.error().message, HasSubstr("api:SECRET"));
    EXPECT_THAT(parsed.error().message, Not(HasSubstr(kSecret.substr(0, 10))));
  }
}

TEST(Identity, OnlyTheApiMakesThoseOfHosts) {
  const auto host = host_identity("api:" + kSecret, kHost);
  EXPECT_FALSE(host_identity(*host, kHost).ok());
  EXPECT_FALSE(host_identity("", kHost).ok());
}

}  // namespace
}  // namespace plexus::store
