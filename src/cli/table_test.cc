// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <gtest/gtest.h>

#include "codec/json.h"

namespace plexus::cli {
namespace {

TEST(Table, AlignsByWhatIsSeen) {
  EXPECT_EQ(
      table({"name", "empty", "what"}, {{"é", "", "x"}, {"long name", "", "\x1b[1mb\x1b[0m"}}),
      "NAME       WHAT\né          x\nlong name  \x1b[1mb\x1b[0m\n");
  EXPECT_EQ(table({"a"}, {}), "");
  EXPECT_EQ(display_width("╭─é"), 3u);
  EXPECT_EQ(display_width("\x1b[31mab\x1b[0m"), 2u);
}

TEST(Table, AnyDocumentIsReadable) {
  codec::Problems problems;
  const auto text = [&](const char* json) { return readable(codec::parse_json(json, problems)); };
  EXPECT_EQ(text(R"({"host":"h1","tunnels":["a","b"],"up":true})"),
            "host:     h1\ntunnels:  a b\nup:       true\n");
  EXPECT_EQ(text(R"({"ports":[{"name":"a","n":1},{"name":"bb","x":null}]})"),
            "NAME  N  X\na     1\nbb       -\n");
  EXPECT_EQ(text(R"({"host":"h","ports":[{"name":"a"}]})"), "host:  h\n\nports:\nNAME\na\n");
  EXPECT_EQ(text(R"({"host":"h","none":[],"drops":{"no_route":3,"x":1},"empty":{}})"),
            "host:  h\n\ndrops:\n  no_route:  3\n  x:         1\n");
  EXPECT_EQ(text(R"({"ports":[{"name":"a"}],"failed":[]})"), "NAME\na\n");
  EXPECT_TRUE(problems.empty());
}

TEST(Palette, IsSilentWhenOff) {
  EXPECT_EQ(Palette(false).red("x"), "x");
  EXPECT_EQ(Palette(true).red("x"), "\x1b[31mx\x1b[0m");
  EXPECT_EQ(Palette(true).red(""), "");
}

}  // namespace
}  // namespace plexus::cli
