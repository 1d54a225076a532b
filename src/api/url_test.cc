// SPDX-License-Identifier: Apache-2.0
#include "api/url.h"

#include <gtest/gtest.h>

namespace plexus::api {
namespace {

TEST(Target, Decodes) {
  const auto t = parse_target("/v1/ports/a%20b?name=x%2Fy+z&flag&empty=&&k=%C3%A9");
  ASSERT_TRUE(t.has_value());
  EXPECT_EQ(t->path, "/v1/ports/a b");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"name", "x/y z"}, {"flag", ""}, {"empty", ""}, {"k", "é"}};
  EXPECT_EQ(t->query, expected);
}

TEST(Target, RefusesWhatIsNoPath) {
  for (const char* bad : {"", "*", "v1", "http://x/", "/a%", "/a%2", "/a%zz", "/a%2fb", "/a%00b",
                          "/a%ff", "/a?x=%", "/a?%00=1"}) {
    EXPECT_FALSE(parse_target(bad).has_value()) << bad;
  }
}

TEST(Segments, LeaveOutEmptyOnes) {
  EXPECT_EQ(segments("/v1//ports/x/"), (std::vector<std::string>{"v1", "ports", "x"}));
  EXPECT_TRUE(segments("/").empty());
  EXPECT_TRUE(segments("").empty());
}

}  // namespace
}  // namespace plexus::api
