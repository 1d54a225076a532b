// SPDX-License-Identifier: Apache-2.0
// The OpenAPI document against the schema it is made of.
#include "api/openapi.h"

#include <gtest/gtest.h>

#include <set>

#include "codec/json.h"
#include "codec/schema.h"

namespace plexus::api {
namespace {

using codec::Node;

class OpenApiTest : public testing::Test {
 protected:
  OpenApiTest() {
    codec::Problems problems;
    document_ = codec::parse_json(openapi_document(), problems);
    EXPECT_TRUE(problems.empty()) << (problems.empty() ? "" : problems[0].str());
  }

  /// By a JSON pointer like "#/components/schemas/Port/properties/mac".
  const Node* at(std::string_view pointer) const {
    const Node* node = &document_;
    pointer.remove_prefix(1);
    while (!pointer.empty() && node != nullptr) {
      pointer.remove_prefix(1);
      const size_t slash = pointer.find('/');
      std::string key(pointer.substr(0, slash));
      for (size_t i = 0; (i = key.find("~1", i)) != std::string::npos;) key.replace(i, 2, "/");
      pointer = slash == std::string_view::npos ? std::string_view() : pointer.substr(slash);
      node = node->find(key);
    }
    return node;
  }
  template <typename Visit>
  static void walk(const Node& node, const Visit& visit) {
    visit(node);
    for (const Node& item : node.items) walk(item, visit);
    for (const codec::Member& m : node.members) walk(m.value, visit);
  }

  Node document_;
};

TEST_F(OpenApiTest, EveryReferenceLeadsSomewhere) {
  EXPECT_EQ(document_.find("openapi")->text, "3.1.0");
  int seen = 0;
  walk(document_, [&](const Node& node) {
    const Node* reference = node.kind == Node::Kind::map ? node.find("$ref") : nullptr;
    if (reference == nullptr || reference->kind != Node::Kind::text) return;
    ++seen;
    EXPECT_NE(at(reference->text), nullptr) << reference->text;
  });
  EXPECT_GT(seen, 50);
}

TEST_F(OpenApiTest, EveryOperationIsWhole) {
  const std::set<std::string> methods = {"get", "post", "put", "patch", "delete"};
  std::set<std::string> ids;
  for (const codec::Member& path : document_.find("paths")->members) {
    SCOPED_TRACE(path.key);
    EXPECT_EQ(path.key[0], '/');
    const Node* shared = path.value.find("parameters");
    EXPECT_EQ(path.key.find('{') != std::string::npos, shared != nullptr);
    for (const codec::Member& m : path.value.members) {
      if (m.key == "parameters") continue;
      ASSERT_TRUE(methods.contains(m.key)) << m.key;
      EXPECT_TRUE(ids.insert(m.value.find("operationId")->text).second);
      const Node* responses = m.value.find("responses");
      ASSERT_NE(responses, nullptr);
      EXPECT_NE(responses->find("default"), nullptr);
      EXPECT_GE(responses->members.size(), 2u);
      if (m.key == "put" || m.key == "patch") {
        EXPECT_NE(m.value.find("requestBody"), nullptr);
      }
    }
  }
}

TEST_F(OpenApiTest, EveryResourceHasItsPathsAndFields) {
  for (const codec::ResourceSpec& r : codec::resources()) {
    SCOPED_TRACE(r.type);
    const Node* paths = document_.find("paths");
    const Node* all = paths->find("/v1/" + r.collection);
    const Node* one = paths->find("/v1/" + r.collection + "/{id}");
    ASSERT_NE(all, nullptr);
    ASSERT_NE(one, nullptr);
    for (const char* m : {"get", "post"}) EXPECT_NE(all->find(m), nullptr) << m;
    for (const char* m : {"get", "patch", "put", "delete"}) EXPECT_NE(one->find(m), nullptr) << m;

    const Node* schema = at("#/components/schemas/" + r.type);
    ASSERT_NE(schema, nullptr);
    std::set<std::string> required;
    if (const Node* list = schema->find("required")) {
      for (const Node& item : list->items) required.insert(item.text);
    }
    for (const codec::FieldSpec& f : r.fields) {
      SCOPED_TRACE(f.name);
      const Node* property = schema->find("properties")->find(f.name);
      if (f.secret) {
        EXPECT_EQ(property, nullptr);
        continue;
      }
      ASSERT_NE(property, nullptr);
      EXPECT_EQ(property->find("readOnly") != nullptr, f.output_only);
      EXPECT_EQ(required.contains(f.name), f.required);
      const Node* value = f.repeated ? property->find("items") : property;
      ASSERT_NE(value, nullptr);
      switch (f.kind) {
        case codec::ValueKind::uuid:
          EXPECT_EQ(value->find("format")->text, "uuid");
          break;
        case codec::ValueKind::enumeration:
          EXPECT_EQ(value->find("enum")->items.size(), f.words.size());
          break;
        case codec::ValueKind::number:
          EXPECT_EQ(value->find("minimum")->text, std::to_string(f.min));
          EXPECT_EQ(value->find("maximum")->text, std::to_string(f.max));
          break;
        case codec::ValueKind::boolean:
          EXPECT_EQ(value->find("type")->text, "boolean");
          break;
        default:
          EXPECT_NE(value->find("type"), nullptr);
      }
      const Node* patch = at("#/components/schemas/" + r.type + "Patch");
      EXPECT_EQ(patch->find("properties")->find(f.name) != nullptr, !f.output_only);
    }
  }
}

}  // namespace
}  // namespace plexus::api
