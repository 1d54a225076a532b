// SPDX-License-Identifier: Apache-2.0
#include "codec/cloud_file.h"

#include <gtest/gtest.h>

#include "codec/encode.h"
#include "codec/json.h"

namespace plexus::codec {
namespace {

std::vector<CloudObject> parsed(std::string_view text) {
  Problems problems;
  auto objects = parse_cloud_file(text, problems);
  EXPECT_TRUE(problems.empty()) << problems[0].str();
  return objects;
}

std::vector<std::string> labels(const std::vector<CloudObject>& objects) {
  std::vector<std::string> out;
  for (const CloudObject& o : objects) out.push_back(o.label());
  return out;
}

/// Resolves as the scenario runner does: ids derived from names.
Problems resolve_all(std::vector<CloudObject>& objects) {
  NameTable table;
  for (CloudObject& o : objects) {
    if (!has_field(*o.message, "id")) {
      set_raw(*o.message, "id",
              Uuid::derived(o.resource->type, o.name + std::to_string(o.line)).raw());
    }
    table.add(*o.message);
  }
  Problems problems;
  for (CloudObject& o : objects) {
    for (Problem& p : resolve(
             o,
             [&](const auto&type, auto tenant, auto name) {
               return table.id_of(type, tenant, name);
             },
             [&](const auto&type) { return table.names(type); })) {
      problems.push_back(std::move(p));
    }
  }
  return problems;
}

constexpr char kCloud[] = R"(
routes:
  - {router: r1, destination: 0.0.0.0/0, port: r1-up, next_hop: 192.0.2.1}
ports:
  - {name: vm1, bridge: web, host: h1, interface: tap-vm1, mac: "02:00:00:00:00:01", addresses: [10.0.1.11, fd00:1::11]}
  - {name: web-r1, bridge: web, peer: r1-web}
  - {name: r1-web, router: r1, networks: [10.0.1.1/24]}
  - {name: r1-up, router: r1}
routers:
  - name: r1
hosts:
  - name: h1
bridges:
  - name: web
)";

TEST(CloudFile, ComesInAnOrderInWhichItCanBeCreated) {
  auto objects = parsed(kCloud);
  EXPECT_EQ(labels(objects), (std::vector<std::string>{"host h1", "bridge web", "router r1",
                                                       "port vm1", "port r1-web", "port web-r1",
                                                       "port r1-up", "route (line 3)"}));
  for (const CloudObject& o : objects) EXPECT_TRUE(o.late.empty()) << o.label();
  EXPECT_EQ(objects[3].line, 5);
  EXPECT_EQ(objects[3].path, "ports[0]");
  EXPECT_TRUE(resolve_all(objects).empty());
  EXPECT_EQ(get_text(*objects[3].message, "bridge"), Uuid::derived("Bridge", "web14").str());
  EXPECT_EQ(get_text(*objects[5].message, "peer"), get_text(*objects[4].message, "id"));
  for (const CloudObject& o : objects) EXPECT_TRUE(validate(*o.message).empty()) << o.label();
}

TEST(CloudFile, APairThatNamesEachOtherIsClosedLate) {
  auto objects =
      parsed("ports:\n- {name: a, bridge: w, peer: b}\n- {name: b, router: r, peer: a}\n");
  ASSERT_EQ(labels(objects), (std::vector<std::string>{"port b", "port a"}));
  EXPECT_EQ(objects[0].late, std::vector<std::string>{"peer"});
  EXPECT_TRUE(objects[1].late.empty());
}

TEST(CloudFile, ALongChainIsNoDeepRecursion) {
  std::string text = "ports:\n";
  for (int i = 0; i < 20000; ++i)
    text += "- {name: p" + std::to_string(i) + ", peer: p" + std::to_string(i + 1) + "}\n";
  const auto objects = parsed(text);
  ASSERT_EQ(objects.size(), 20000u);
  EXPECT_EQ(objects[0].name, "p19999");
}

TEST(CloudFile, ReferencesMayBeIds) {
  auto objects = parsed(
      "bridges:\n- {name: w, id: 123e4567-e89b-42d3-a456-426614174000}\n"
      "ports:\n- {name: a, bridge: 123e4567-e89b-42d3-a456-426614174000}\n");
  EXPECT_TRUE(objects[1].references.empty());
  EXPECT_EQ(get_text(*objects[1].message, "bridge"), "123e4567-e89b-42d3-a456-426614174000");
}

TEST(CloudFile, NullsAreRemembered) {
  auto objects = parsed("ports:\n- {name: a, host: ~, interface: null}\n");
  EXPECT_EQ(objects[0].cleared, (std::vector<std::string>{"host", "interface"}));
}

TEST(CloudFile, SameNamesInOtherScopesAreFine) {
  parsed("bridges:\n- {name: w}\n- {name: w, tenant: t}\nrouters:\n- {name: w}\n");
  parsed(
      "routes:\n- {name: d, router: r1, destination: 0.0.0.0/0}\n- {name: d, router: r2, "
      "destination: 0.0.0.0/0}\n");
}

struct Bad {
  std::string text;
  int line;
  std::string says;
};

TEST(CloudFile, SaysWhatIsWrong) {
  const Bad cases[] = {
      {"bridges: []\nbriges: []\n", 2, "unknown collection 'briges'; did you mean 'bridges'?"},
      {"bridge:\n- name: x\n", 1, "did you mean 'bridges'?"},
      {"- name: x\n", 1, "expected collections, found a list"},
      {R"({"bridges":[{"name":"j2"})", 1, "expected ',' or ']', found the end"},
      {"web\n", 1, "expected collections"},
      {"bridges:\n  name: x\n", 2, "bridges: expected a list of bridges, found an object"},
      {"bridges:\n- x\n", 2, "bridges[0]: expected an object"},
      {"bridges:\n- {}\n", 2, "bridges[0]: a bridge without a name"},
      {"bridges:\n- name: a\n  color: red\n", 3,
       "bridges[0].color: unknown field 'color' of bridge"},
      {"bridges:\n- name: a\n- name: a\n", 3, "the bridge 'a' is already in line 2"},
      {"routes:\n- {name: d, router: r}\n- {name: d, router: r}\n", 3,
       "the route 'd' is already in line 2"},
      {"ports:\n- {name: a, bridge: -}\n", 2,
       "ports[0].bridge: '-' is not a reference to a bridge; write the name or the id"},
      {"ports:\n- {name: a, mac: 1}\n", 2, "ports[0].mac: '1' is not a MAC address"},
  };
  for (const Bad& c : cases) {
    Problems problems;
    EXPECT_TRUE(parse_cloud_file(c.text, problems).empty());
    ASSERT_EQ(problems.size(), 1u) << c.text;
    EXPECT_EQ(problems[0].line, c.line) << c.text;
    EXPECT_NE(problems[0].sentence().find(c.says), std::string::npos) << problems[0].str();
  }
}

TEST(CloudFile, UnknownNamesSuggestTheNearest) {
  auto objects =
      parsed("bridges:\n- name: web\nports:\n- {name: a, bridge: wbe}\n- {name: b, host: h1}\n");
  const Problems problems = resolve_all(objects);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].str("cloud.yaml"),
            "cloud.yaml:4: ports[0].bridge: there is no bridge 'wbe'; did you mean 'web'?");
  EXPECT_EQ(problems[1].str("cloud.yaml"),
            "cloud.yaml:5: ports[1].host: there is no host 'h1'; create it first");
}

/// Pools have names within their load balancer only: which is meant is not guessed.
TEST(CloudFile, ANameThatFitsSeveralIsNone) {
  auto objects = parsed(
      "load-balancers:\n- {name: a, router: r}\n- {name: b, router: r}\n"
      "pools:\n- {name: p, load_balancer: a}\n- {name: p, load_balancer: b}\n- {name: q, "
      "load_balancer: b}\n"
      "pool-members:\n- {pool: p, address: 10.0.0.1}\n- {pool: q, address: 10.0.0.1}\n"
      "routers:\n- {name: r}\n");
  const Problems problems = resolve_all(objects);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].str("cloud.yaml"),
            "cloud.yaml:9: pool-members[0].pool: several pools are called 'p'; write the id of the "
            "one that is meant, or give them names of their own");
}

TEST(CloudFile, EmptyDocumentsAreEmpty) {
  for (const char* text : {"", "# nothing\n", "---\n", "bridges:\n", "{}"}) {
    Problems problems;
    EXPECT_TRUE(parse_cloud_file(text, problems).empty());
    EXPECT_TRUE(problems.empty()) << text;
  }
}

TEST(NameTable, OwnTenantFirstThenShared) {
  NameTable t;
  const ResourceSpec& bridge = *find_singular("bridge");
  const Uuid shared = Uuid::derived("t", "1"), own = Uuid::derived("t", "2");
  t.add(bridge, "", "w", shared);
  EXPECT_EQ(t.id_of(bridge, "blue", "w"), shared);
  t.add(bridge, "blue", "w", own);
  EXPECT_EQ(t.id_of(bridge, "blue", "w"), own);
  EXPECT_EQ(t.id_of(bridge, "red", "w"), shared);
  EXPECT_EQ(t.id_of(*find_singular("router"), "", "w"), std::nullopt);
  const Uuid twin = Uuid::derived("t", "4");
  t.add(bridge, "", "w", twin);
  EXPECT_TRUE(t.is_ambiguous(bridge, "red", "w"));
  EXPECT_FALSE(t.is_ambiguous(bridge, "blue", "w"));
  EXPECT_EQ(t.id_of(bridge, "red", "w"), std::nullopt);
  t.add(bridge, "", "twin", twin);
  EXPECT_EQ(t.id_of(bridge, "red", "w"), shared);
  t.add(bridge, "", "renamed", shared);
  EXPECT_EQ(t.id_of(bridge, "", "w"), std::nullopt);
  EXPECT_EQ(t.name_of(shared.raw()), "renamed");
  EXPECT_EQ(t.name_of(Uuid::derived("t", "3").raw()), Uuid::derived("t", "3").str());
}

}  // namespace
}  // namespace plexus::codec
