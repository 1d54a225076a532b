// SPDX-License-Identifier: Apache-2.0
#include "codec/json.h"

#include <gtest/gtest.h>

namespace plexus::codec {
namespace {

TEST(Json, WritesWhatItRead) {
  const char* documents[] = {
      "null",
      "true",
      "false",
      "0",
      "-12.5e+3",
      "\"\"",
      "[]",
      "{}",
      R"("a\"\\\n\t\u0001é")",
      R"({"a":[1,"x",null,{"b":true}],"c":{}})",
  };
  for (const char* text : documents) {
    Problems problems;
    const Node node = parse_json(text, problems);
    EXPECT_TRUE(problems.empty()) << text << ": " << problems[0].str();
    EXPECT_EQ(write_json(node), text);
    Problems again;
    EXPECT_EQ(write_json(parse_json(write_json(node, JsonStyle::pretty), again)), text);
    EXPECT_TRUE(again.empty()) << text;
  }
}

TEST(Json, DecodesEscapes) {
  Problems problems;
  EXPECT_EQ(parse_json(R"("\u00e9\u20ac\ud83d\ude00\/")", problems).text, "é€😀/");
  EXPECT_TRUE(problems.empty());
}

struct Bad {
  std::string text;
  int line;
  std::string says;
};

TEST(Json, RefusesWithTheLine) {
  const Bad cases[] = {
      {"", 1, "missing"},
      {"{", 1, "double quotes"},
      {"{\n\"a\":1,\n}", 3, "double quotes"},
      {"[1,]", 1, "not a JSON value"},
      {"[1 2]", 1, "expected ',' or ']'"},
      {"{\"a\" 1}", 1, "expected ':'"},
      {"{\"a\":1 \"b\":2}", 1, "expected ',' or '}'"},
      {"{\n\"a\":1,\n\"a\":2}", 3, "appears twice"},
      {"01", 1, "leading zero"},
      {"1.", 1, "decimal point"},
      {"1e", 1, "exponent"},
      {"'a'", 1, "double quotes"},
      {"{a:1}", 1, "double quotes"},
      {"tru", 1, "not a JSON value"},
      {"\"abc", 1, "not closed"},
      {"\"a\nb\"", 1, "control character"},
      {"\"\\x\"", 1, "unknown escape"},
      {"\"\\u12\"", 1, "four hexadecimal"},
      {"\"\\ud800\"", 1, "surrogate"},
      {"\"\\udc00\"", 1, "surrogate"},
      {"\"\xff\"", 1, "UTF-8"},
      {"\"\xc0\x80\"", 1, "UTF-8"},
      {"\"\xed\xa0\x80\"", 1, "UTF-8"},
      {"1 2", 1, "follows"},
      {"/* no */ 1", 1, "not a JSON value"},
      {std::string(100, '['), 1, "deeper"},
      {std::string("\"\\u0000\0\"", 9), 1, "control character"},
  };
  for (const Bad& c : cases) {
    Problems problems;
    const Node node = parse_json(c.text, problems);
    EXPECT_EQ(node.kind, Node::Kind::null) << c.text;
    ASSERT_EQ(problems.size(), 1u) << c.text;
    EXPECT_EQ(problems[0].line, c.line) << c.text;
    EXPECT_NE(problems[0].str().find(c.says), std::string::npos)
        << c.text << ": " << problems[0].str();
  }
}

TEST(Json, HoldsItsLimits) {
  Problems problems;
  (void)parse_json("[1,2,3]", problems, {.nodes = 3});
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].what.find("more than 3"), std::string::npos);
  problems.clear();
  (void)parse_json("[1,2,3]", problems, {.bytes = 6});
  ASSERT_EQ(problems.size(), 1u);
}

TEST(Json, EveryPrefixOfADocumentIsRefusedWithoutACrash) {
  const std::string text = R"({"a":["x\u00e9",-1.5e3,true,null],"b":{"c":"\ud83d\ude00"}})";
  for (size_t n = 0; n < text.size(); ++n) {
    Problems problems;
    (void)parse_json(std::string_view(text).substr(0, n), problems);
    EXPECT_EQ(problems.size(), 1u) << n;
  }
}

TEST(Quoted, HidesWhatATerminalWouldObey) {
  EXPECT_EQ(in_quotes("a\x1b[2J\xff é"), "'a\\x1b[2J\\xff é'");
  EXPECT_EQ(in_quotes("\xc2\x9b"), "'\\xc2\\x9b'");
  EXPECT_LT(in_quotes(std::string(1000, 'x')).size(), 100u);
}

}  // namespace
}  // namespace plexus::codec
