// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

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

TEST(Table, IsMadeToFit) {
  const Row headers = {"name", "text", "more", "id"};
  const std::vector<Row> rows = {{"a", "0123456789abcdefghij", "xyz", "0123456789"},
                                 {"é", "\x1b[1m0123456789abcdefghij\x1b[0m", "xyz", "0123456789"}};
  const struct {
    size_t width;
    const char* line;  // the first of the rows
  } cases[] = {
      {0, "a     0123456789abcdefghij  xyz   0123456789"},
      {44, "a     0123456789abcdefghij  xyz   0123456789"},
      {43, "a     0123456789abcdefghij  xyz"},
      {30, "a     0123456789abcdefg…  xyz"},
      {24, "a     0123456789a…  xyz"},
      {23, "a     0123456789a…"},
      {5, "a"},
  };
  for (const auto& c : cases) {
    const std::string text = table(headers, rows, c.width);
    std::istringstream lines(text);
    std::string line;
    for (size_t n = 0; std::getline(lines, line); ++n) {
      if (n == 1) {
        EXPECT_EQ(line, c.line) << c.width;
      }
      if (c.width > 0) {
        EXPECT_LE(display_width(line), c.width) << line;
      }
    }
  }
  EXPECT_EQ(cut("\x1b[1mabc\x1b[0m", 2), "\x1b[1ma…\x1b[0m");
  EXPECT_EQ(cut("äbc", 3), "äbc");
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
