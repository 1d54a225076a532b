// SPDX-License-Identifier: Apache-2.0
#include "codec/yaml.h"

#include <gtest/gtest.h>

#include "codec/json.h"

namespace plexus::codec {
namespace {

TEST(Yaml, KeepsScalarsAsText) {
  Problems problems;
  const Node n = parse_yaml(
      "a: 010\nb: no\nc: 00:11:22:33:44:55\nd: '7'\ne:\nf: ~\ng: \"\"\nh: 1.0\n", problems);
  ASSERT_TRUE(problems.empty()) << problems[0].str();
  EXPECT_EQ(n.find("a")->text, "010");
  EXPECT_EQ(n.find("a")->kind, Node::Kind::plain);
  EXPECT_EQ(n.find("b")->text, "no");
  EXPECT_EQ(n.find("c")->text, "00:11:22:33:44:55");
  EXPECT_EQ(n.find("d")->kind, Node::Kind::text);
  EXPECT_EQ(n.find("e")->kind, Node::Kind::null);
  EXPECT_EQ(n.find("f")->kind, Node::Kind::null);
  EXPECT_EQ(n.find("g")->kind, Node::Kind::text);
  EXPECT_EQ(n.find("h")->text, "1.0");
}

TEST(Yaml, KnowsLines) {
  Problems problems;
  const Node n =
      parse_yaml("# c\nports:\n  - name: a\n    mac: x\n  - {name: b,\n     mac: y}\n", problems);
  ASSERT_TRUE(problems.empty());
  const Node& ports = *n.find("ports");
  EXPECT_EQ(ports.items[0].line, 3);
  EXPECT_EQ(ports.items[0].members[1].line, 4);
  EXPECT_EQ(ports.items[1].line, 5);
  EXPECT_EQ(ports.items[1].find("mac")->line, 6);
}

struct Bad {
  std::string text;
  int line;
  std::string says;
};

TEST(Yaml, RefusesWithTheLine) {
  const Bad cases[] = {
      {"a: 1\na: 2\n", 2, "appears twice"},
      {"a: &x 1\n", 1, "anchors"},
      {"a:\n  - &x\n    b: 1\n", 2, "anchors"},
      {"a: &x 1\nb: *x\n", 1, "anchors"},
      {"a: *x\n", 1, ""},
      {"<<: {a: 1}\n", 1, "merge keys"},
      {"a: !!int 1\n", 1, "tags"},
      {"a: !mine {b: 1}\n", 1, "tags"},
      {"a: !!seq [b]\n", 1, "tags"},
      {"? [a]\n: 1\n", 1, "key"},
      {"a: 1\n---\nb: 2\n", 3, "second document"},
      {"a: [1\n", 2, ""},
      {"\n  , b\n", 2, "begins"},
      {"{}, b\n", 1, "begins"},
      {"a: b: c\n", 1, ""},
      {"\ta: 1\n", 1, ""},
      {std::string(100, '['), 1, ""},
      {std::string("a: \xff\n"), 0, ""},
      {"{}: 1\n", 1, "key"},
      {std::string(20000, '['), 1, ""},
      {std::string(20000, '{'), 1, ""},
  };
  for (const Bad& c : cases) {
    Problems problems;
    const Node node = parse_yaml(c.text, problems);
    ASSERT_EQ(problems.size(), 1u) << c.text.substr(0, 40) << " gave " << write_json(node);
    EXPECT_EQ(node.kind, Node::Kind::null) << c.text.substr(0, 40);
    EXPECT_TRUE(c.line == 0 || problems[0].line == c.line)
        << c.text.substr(0, 40) << ": " << problems[0].str();
    EXPECT_NE(problems[0].str().find(c.says), std::string::npos)
        << c.text.substr(0, 40) << ": " << problems[0].str();
  }
}

TEST(Yaml, ReadsJson) {
  const char* text = R"({"a":["x","fd00::"],"b":{"c":"é"}})";
  Problems problems;
  EXPECT_EQ(write_json(parse_yaml(text, problems)), text);
  EXPECT_TRUE(problems.empty());
}

TEST(Yaml, WritesWhatItReadsBack) {
  const char* documents[] = {
      R"({"name":"web","n":5,"up":true,"gone":null})",
      R"({"list":["10.0.1.0/24","fd00::","::1","00:11:22:33:44:55","02:aa:00:00:00:01","1.2","null","yes","12:30"]})",
      R"([{"a":"x","b":{"c":["d","e"]}},{"a":"- y","b":{}},"z",[],[{"q":"r"}]])",
      R"({"odd":"a: b","hash":"a #b","quote":"\"'","space":" x ","line":"a\nb","key: x":"1","":"empty"})",
      R"([])",
      R"({})",
      R"("text")",
      R"("~")",
  };
  for (const char* text : documents) {
    Problems problems;
    const Node node = parse_json(text, problems);
    ASSERT_TRUE(problems.empty()) << text;
    const std::string yaml = write_yaml(node);
    // Numbers and booleans come back untyped; as text they are the same.
    std::string expected = text;
    const Node again = parse_yaml(yaml, problems);
    ASSERT_TRUE(problems.empty()) << yaml << problems[0].str();
    std::string got = write_json(again);
    if (std::string(text).find("\"n\":5") != std::string::npos) {
      expected = R"({"name":"web","n":"5","up":"true","gone":null})";
    }
    EXPECT_EQ(got, expected) << yaml;
  }
}

TEST(Yaml, LooksTidy) {
  Problems problems;
  const Node node = parse_json(
      R"({"bridges":[{"name":"web","admin_up":true}],"ports":[{"name":"vm1","addresses":["10.0.1.11","fd00::11"]}]})",
      problems);
  EXPECT_EQ(write_yaml(node),
            "bridges:\n  - name: web\n    admin_up: true\nports:\n  - name: vm1\n"
            "    addresses: [10.0.1.11, \"fd00::11\"]\n");
}

}  // namespace
}  // namespace plexus::codec
