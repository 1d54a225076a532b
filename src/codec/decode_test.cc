// SPDX-License-Identifier: Apache-2.0
#include "codec/decode.h"

#include <gtest/gtest.h>

#include "codec/encode.h"
#include "codec/json.h"
#include "codec/nearest.h"
#include "codec/yaml.h"
#include "plexus/v1/resources.pb.h"

namespace plexus::codec {
namespace {

constexpr char kId[] = "123e4567-e89b-42d3-a456-426614174000";
constexpr char kOtherId[] = "223e4567-e89b-42d3-a456-426614174000";

Node json(std::string_view text) {
  Problems problems;
  Node node = parse_json(text, problems);
  EXPECT_TRUE(problems.empty()) << text;
  return node;
}

Node yaml(std::string_view text) {
  Problems problems;
  Node node = parse_yaml(text, problems);
  EXPECT_TRUE(problems.empty()) << text;
  return node;
}

v1::Port port(std::string_view text) {
  v1::Port p;
  const Problems problems = decode(json(text), {}, p);
  EXPECT_TRUE(problems.empty()) << text << ": " << problems[0].str();
  return p;
}

TEST(Decode, EveryFormatComesBackCanonical) {
  const std::string text =
      R"({"id":"123E4567-e89b-42d3-a456-426614174000","name":"r1-web","admin_up":false,)"
      R"("router":"223e4567-e89b-42d3-a456-426614174000","interface":"eth0","mac":"02:00:00:00:00:AA",)"
      R"("addresses":["10.0.0.1","FD00:0::1"],"networks":["10.0.1.1/24","fd00:1::1/64"]})";
  EXPECT_EQ(
      write_json(encode(port(text))),
      R"({"id":"123e4567-e89b-42d3-a456-426614174000","name":"r1-web","admin_up":false,)"
      R"("router":"223e4567-e89b-42d3-a456-426614174000","interface":"eth0","mac":"02:00:00:00:00:aa",)"
      R"("addresses":["10.0.0.1","fd00::1"],"networks":["10.0.1.1/24","fd00:1::1/64"]})");
}

TEST(Decode, EncodesWhatItDecodes) {
  const v1::Port p = port(
      R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000","addresses":["10.0.0.1"]})");
  v1::Port again;
  ASSERT_TRUE(decode(encode(p), {}, again).empty());
  EXPECT_EQ(again.SerializeAsString(), p.SerializeAsString());
  v1::Port from_yaml;
  ASSERT_TRUE(decode(yaml(write_yaml(encode(p))), {}, from_yaml).empty());
  EXPECT_EQ(from_yaml.SerializeAsString(), p.SerializeAsString());
}

TEST(Decode, YamlScalarsAreTypedByTheSchema) {
  v1::Port p;
  ASSERT_TRUE(decode(yaml("name: 010\nadmin_up: false\nmac: 00:11:22:33:44:55\n"), {}, p).empty());
  EXPECT_EQ(p.name(), "010");
  EXPECT_TRUE(p.has_admin_up());
  EXPECT_FALSE(p.admin_up());
  v1::Bridge no;
  ASSERT_TRUE(decode(yaml("name: no\n"), {}, no).empty());
  EXPECT_EQ(no.name(), "no");
}

struct Bad {
  std::string type;
  std::string text;  // YAML
  int line;
  std::string field;
  std::string what;
  std::string remedy;
};

TEST(Decode, SaysWhereWhatAndWhatToDo) {
  const Bad cases[] = {
      {"port", "name: a\nbrige: x\n", 2, "brige", "unknown field 'brige' of port",
       "did you mean 'bridge'?"},
      {"port", "'zzzzzzzzzzzz': x\n", 1, "zzzzzzzzzzzz", "unknown field", "known: id, name"},
      {"port", "admin-up: true\n", 1, "admin-up", "unknown field", "did you mean 'admin_up'?"},
      {"port", "name: -x\n", 1, "name", "'-x' is not a name", "1 to 63"},
      {"port", "name: 123e4567-e89b-42d3-a456-426614174000\n", 1, "name", "is not a name",
       "must not look like an id"},
      {"port", "name: [a]\n", 1, "name", "expected a name, found a list", "1 to 63"},
      {"port", "mac: 02:00:00:00:00\n", 1, "mac", "'02:00:00:00:00' is not a MAC address",
       "02:00:00:00:00:01"},
      {"port", "addresses:\n- 10.0.0.1\n- 10.0.0.256\n", 3, "addresses[1]", "is not an IP address",
       "10.0.1.5"},
      {"port", "addresses: [010.0.0.1]\n", 1, "addresses[0]", "is not an IP address", "10.0.1.5"},
      {"port", "addresses: ['::ffff:10.0.0.1']\n", 1, "addresses[0]", "is not an IP address", ""},
      {"port", "addresses: [10.0.0.1/24]\n", 1, "addresses[0]", "is not",
       "leave out the prefix length: 10.0.0.1"},
      {"port", "addresses: 10.0.0.1\n", 1, "addresses", "expected a list", "[ADDRESS, ...]"},
      {"port", "addresses: [10.0.0.1, 10.0.0.1]\n", 1, "addresses[1]", "twice", "remove one"},
      {"port", "addresses: [~]\n", 1, "addresses[0]", "null in a list", "leave"},
      {"port", "networks: [10.0.0.1]\n", 1, "networks[0]", "is not an interface address",
       "10.0.0.1/32"},
      {"port", "networks: [10.0.0.1/33]\n", 1, "networks[0]", "is not an interface address",
       "10.0.1.1/24"},
      {"port", "interface: a-name-too-long-for-linux\n", 1, "interface", "is not an interface name",
       "15"},
      {"port", "interface: a/b\n", 1, "interface", "is not an interface name", "15"},
      {"port", "admin_up: yes\n", 1, "admin_up", "'yes' is not a boolean", "true or false"},
      {"port", "admin_up: 'true'\n", 1, "admin_up", "found a string", "true or false"},
      {"port", "bridge: web\n", 1, "bridge", "'web' is not a reference to a bridge",
       "the id of a bridge"},
      {"port", "min_reader: 3\n", 1, "min_reader", "set by the system", "leave it out"},
      {"route", "destination: 10.0.1.1/24\n", 1, "destination", "is not a network prefix",
       "10.0.1.0/24"},
      {"route", "kind: blakhole\n", 1, "kind", "unknown value 'blakhole'",
       "did you mean 'blackhole'?"},
      {"route", "kind: BLACKHOLE\n", 1, "kind", "unknown value", "did you mean 'blackhole'?"},
      {"route", "kind: route_kind_unspecified\n", 1, "kind", "unknown value", ""},
      {"route", "kind: 2\n", 1, "kind", "unknown value '2'", ""},
      {"route", "metric: -1\n", 1, "metric", "is not a number", "42"},
      {"route", "metric: 4294967296\n", 1, "metric", "'4294967296' is too large",
       "from 0 to 4294967295"},
      {"route", "metric: 010\n", 1, "metric", "is not a number", "42"},
      {"tunnel-zone", "udp_port: 65536\n", 1, "udp_port", "65536 is out of range",
       "from 1 to 65535"},
      {"tunnel-zone", "udp_port: 0\n", 1, "udp_port", "0 is out of range", "from 1 to 65535"},
      {"bridge", "- name: x\n", 1, "", "expected an object, found a list", "fields of a bridge"},
  };
  for (const Bad& c : cases) {
    const ResourceSpec* spec = find_singular(c.type);
    ASSERT_NE(spec, nullptr) << c.type;
    const auto message = spec->new_message();
    const Problems problems = decode(yaml(c.text), {}, *message);
    ASSERT_EQ(problems.size(), 1u) << c.text;
    EXPECT_EQ(problems[0].line, c.line) << c.text;
    EXPECT_EQ(problems[0].field, c.field) << c.text;
    EXPECT_NE(problems[0].what.find(c.what), std::string::npos)
        << c.text << ": " << problems[0].str();
    EXPECT_NE(problems[0].remedy.find(c.remedy), std::string::npos)
        << c.text << ": " << problems[0].str();
    EXPECT_FALSE(problems[0].remedy.empty()) << c.text;
  }
}

TEST(Decode, JsonTypesAreHeld) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"name":5})", "name: expected a name, found a number"},
      {R"({"name":true})", "name: expected a name, found true or false"},
      {R"({"admin_up":"true"})", "admin_up: expected a boolean, found a string"},
      {R"({"admin_up":1})", "admin_up: expected a boolean, found a number"},
      {R"({"addresses":[1]})", "addresses[0]: expected an IP address, found a number"},
      {R"({"storm_limit":"3"})", "storm_limit: expected a number, found a string"},
      {R"({"storm_limit":-3})", "storm_limit: '-3' is not a number; write a whole number"},
      {R"({"storm_limit":1.5})", "storm_limit: '1.5' is not a number; write a whole number"},
  };
  for (const auto& [text, says] : cases) {
    v1::Port p;
    const Problems problems = decode(json(text), {}, p);
    ASSERT_EQ(problems.size(), 1u) << text;
    EXPECT_EQ(problems[0].sentence().find(says), 0u) << problems[0].str();
  }
  v1::Route r;
  EXPECT_EQ(decode(json(R"({"metric":1.0})"), {}, r).size(), 1u);
  EXPECT_EQ(decode(json(R"({"metric":"1"})"), {}, r).size(), 1u);
  EXPECT_EQ(decode(json(R"({"kind":2})"), {}, r).size(), 1u);
}

TEST(Decode, ReportsSeveralProblemsUpToALimit) {
  v1::Port p;
  EXPECT_EQ(decode(json(R"({"mac":"x","interface":"","foo":1})"), {}, p).size(), 3u);
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += (i ? ",\"f" : "\"f") + std::to_string(i) + "\":1";
  EXPECT_EQ(decode(json(many + "}"), {}, p).size(), kMaxProblems);
}

TEST(Merge, PatchReplacesClearsAndKeeps) {
  v1::Port p =
      port(R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000","interface":"tap0",)"
           R"("addresses":["10.0.0.1","10.0.0.2"],"mac":"02:00:00:00:00:01"})");
  ASSERT_TRUE(decode(json(R"({"interface":null,"addresses":["10.0.0.3"],"admin_up":false})"),
                     {.merge = Merge::patch}, p)
                  .empty());
  EXPECT_EQ(write_json(encode(p)),
            R"({"name":"a","admin_up":false,"bridge":"123e4567-e89b-42d3-a456-426614174000",)"
            R"("mac":"02:00:00:00:00:01","addresses":["10.0.0.3"]})");
}

TEST(Merge, PutResetsTheRestButWhatIsFixed) {
  v1::Port p = port(
      R"({"name":"a","tenant":"t","bridge":"123e4567-e89b-42d3-a456-426614174000","interface":"tap0"})");
  p.set_min_reader(3);
  ASSERT_TRUE(decode(json(R"({"name":"b"})"), {.merge = Merge::put}, p).empty());
  EXPECT_EQ(
      write_json(encode(p)),
      R"({"name":"b","tenant":"t","min_reader":3,"bridge":"123e4567-e89b-42d3-a456-426614174000"})");
}

TEST(Merge, ImmutableFieldsMayBeRepeatedButNotChanged) {
  const v1::Port before = port(std::string(R"({"name":"a","bridge":")") + kId + R"("})");
  for (const Merge merge : {Merge::patch, Merge::put}) {
    v1::Port p = before;
    EXPECT_TRUE(
        decode(json(std::string(R"({"name":"a","bridge":")") + kId + R"("})"), {.merge = merge}, p)
            .empty());
    for (const std::string& body :
         {std::string(R"({"bridge":")") + kOtherId + R"("})", std::string(R"({"bridge":null})"),
          std::string(R"({"tenant":"t"})"), std::string(R"({"id":")") + kId + R"("})"}) {
      v1::Port q = before;
      const Problems problems = decode(json(body), {.merge = merge}, q);
      ASSERT_EQ(problems.size(), 1u) << body;
      EXPECT_NE(problems[0].str().find("at creation only"), std::string::npos) << problems[0].str();
    }
  }
  v1::Port p = before;
  p.set_min_reader(2);
  EXPECT_TRUE(decode(json(R"({"min_reader":2})"), {.merge = Merge::patch}, p).empty());
  EXPECT_EQ(decode(json(R"({"min_reader":1})"), {.merge = Merge::patch}, p).size(), 1u);
}

TEST(Merge, FieldsOfNewerWritersSurvive) {
  v1::Bridge b;
  ASSERT_TRUE(decode(json(R"({"name":"a"})"), {}, b).empty());
  // Field 900, a varint: a field this build does not know.
  std::string stored = b.SerializeAsString() + std::string("\xa0\x38\x07", 3);
  for (const Merge merge : {Merge::patch, Merge::put}) {
    v1::Bridge again;
    ASSERT_TRUE(again.ParseFromString(stored));
    ASSERT_TRUE(decode(json(R"({"name":"b"})"), {.merge = merge}, again).empty());
    EXPECT_NE(again.SerializeAsString().find(std::string("\xa0\x38\x07", 3)), std::string::npos);
    EXPECT_EQ(again.name(), "b");
  }
}

TEST(Validate, LooksAtTheWhole) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"bridge":"123e4567-e89b-42d3-a456-426614174000"})", "name: this field is required"},
      {R"({"name":"a"})", "bridge: a port needs bridge or router; set one of them"},
      {R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000","router":"123e4567-e89b-42d3-a456-426614174000"})",
       "router: bridge and router are both set; set one of them"},
      {R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000","host":"123e4567-e89b-42d3-a456-426614174000",)"
       R"("peer":"123e4567-e89b-42d3-a456-426614174000"})",
       "peer: host and peer are both set; set one of them"},
  };
  for (const auto& [text, says] : cases) {
    const Problems problems = validate(port(text), {}, 7);
    ASSERT_EQ(problems.size(), 1u) << text;
    EXPECT_EQ(problems[0].sentence().find(says), 0u) << problems[0].str();
    EXPECT_EQ(problems[0].line, 7);
  }
  EXPECT_TRUE(
      validate(port(R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000"})")).empty());
}

TEST(Validate, RefusesBytesThatAreNoValue) {
  v1::Port p = port(R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000"})");
  p.set_mac("abc");
  EXPECT_EQ(validate(p).size(), 1u);
  p.set_mac(std::string(6, '\x02'));
  EXPECT_TRUE(validate(p).empty());
  for (int i = 0; i < 300; ++i)
    p.add_addresses(std::string("\x0a\x00", 2) + static_cast<char>(i / 256) + static_cast<char>(i));
  EXPECT_EQ(validate(p).size(), 1u);
}

TEST(Filter, WhatIsNotSetCountsAsWhatItsHelpSays) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"port", "admin_up", "true"},
      {"rule", "log", "false"},
      {"bridge", "forward_bpdu", "false"},
      {"bridge", "mac_age", "300"},
      {"bridge", "storm_limit", ""},
      {"pool-member", "status", "up"},
      {"pool-member", "weight", "1"},
      {"route", "kind", "forward"},
      {"route", "metric", "0"},
      {"vip", "persistence", "none"},
      {"tenant", "max_ports", ""},
      {"port", "mac", ""},
  };
  for (const auto& [type, field, value] : cases)
    EXPECT_EQ(value_when_unset(*find_singular(type)->field(field)), value) << type << "." << field;
  const v1::Port p = port(R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000"})");
  const ResourceSpec& spec = *find_singular("port");
  EXPECT_TRUE(matches(p, *parse_filter(spec, "admin_up", "true")));
  EXPECT_FALSE(matches(p, *parse_filter(spec, "admin_up", "false")));
  v1::Port down = p;
  down.set_admin_up(false);
  EXPECT_FALSE(matches(down, *parse_filter(spec, "admin_up", "true")));
}

TEST(Filter, ComparesCanonically) {
  const v1::Port p =
      port(R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000","admin_up":true,)"
           R"("addresses":["10.0.0.1","fd00::1"],"mac":"02:00:00:00:00:aa"})");
  const ResourceSpec& spec = *find_singular("port");
  const std::tuple<const char*, const char*, bool> cases[] = {
      {"name", "a", true},
      {"name", "b", false},
      {"bridge", "123E4567-E89B-42D3-A456-426614174000", true},
      {"mac", "02:00:00:00:00:AA", true},
      {"addresses", "FD00::0:1", true},
      {"addresses", "10.0.0.2", false},
      {"admin_up", "true", true},
      {"interface", "tap0", false},
      {"min_reader", "1", false},
  };
  for (const auto& [field, value, expected] : cases) {
    const auto filter = parse_filter(spec, field, value);
    ASSERT_TRUE(filter.ok()) << field << ": " << filter.error().message;
    EXPECT_EQ(matches(p, *filter), expected) << field << "=" << value;
  }
  EXPECT_NE(parse_filter(spec, "brige", "x").error().message.find("did you mean 'bridge'"),
            std::string::npos);
  EXPECT_FALSE(parse_filter(spec, "mac", "x").ok());
  EXPECT_FALSE(parse_filter(spec, "min_reader", "x").ok());
}

TEST(Schema, DescribesTheResources) {
  ASSERT_GE(resources().size(), 6u);
  std::vector<std::string> seen;
  for (const ResourceSpec& s : resources()) {
    EXPECT_FALSE(s.collection.empty() || s.singular.empty() || s.help.empty()) << s.type;
    for (const FieldSpec& f : s.fields) {
      if (f.is_reference() && f.reference != s.type) {
        EXPECT_NE(std::find(seen.begin(), seen.end(), f.reference), seen.end())
            << s.type << "." << f.name;
      }
      EXPECT_TRUE(f.output_only || !f.help.empty()) << s.type << "." << f.name;
    }
    for (const std::string& scope : s.name_scope) EXPECT_NE(s.field(scope), nullptr) << s.type;
    for (const ExclusiveSpec& e : s.exclusive) {
      for (const std::string& name : e.fields) EXPECT_NE(s.field(name), nullptr) << s.type;
    }
    seen.push_back(s.type);
  }
  EXPECT_EQ(find_type("Port")->field("bridge")->target().singular, "bridge");
  EXPECT_EQ(find_collection("port"), nullptr);
}

TEST(Nearest, FindsTheMistypedWord) {
  const std::vector<std::string> words = {"bridge", "router", "port", "admin_up", "tunnel_zone"};
  EXPECT_EQ(nearest("brigde", words), "bridge");
  EXPECT_EQ(nearest("ROUTER", words), "router");
  EXPECT_EQ(nearest("adminup", words), "admin_up");
  EXPECT_EQ(nearest("tunnel-zone", words), "tunnel_zone");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(edit_distance("ab", "ba"), 1u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", "abc"), 0u);
  EXPECT_EQ(suggestion("prot", words), "did you mean 'port'?");
  const std::vector<std::string> many(5000, "vm");
  EXPECT_LT(suggestion("quite-another", many).size(), 250u);
  EXPECT_NE(suggestion("quite-another", many).find("and 4970 more"), std::string::npos);
}

}  // namespace
}  // namespace plexus::codec
