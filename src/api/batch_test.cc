// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "api/api_fixture.h"

namespace plexus::api {
namespace {

using codec::Node;

class BatchTest : public ApiFixture {
 protected:
  Response batch(const std::string& operations) {
    return ask("POST", "/v1/batch", R"({"operations":[)" + operations + "]}");
  }
  size_t count(const std::string& collection) {
    return json(ask("GET", "/v1/" + collection)).find("items")->items.size();
  }
};

constexpr char kBridge[] = "11111111-1111-4111-8111-111111111111";

std::string bridge_and_port(const std::string& port_name) {
  return R"({"op":"create","collection":"bridges","body":{"id":")" + std::string(kBridge) +
         R"(","name":"web"}},{"op":"create","collection":"ports","body":{"name":")" + port_name +
         R"(","bridge":")" + kBridge + R"("}})";
}

TEST_F(BatchTest, DoesAllInOneRevision) {
  const Response made = batch(bridge_and_port("p"));
  ASSERT_EQ(made.status, 200) << made.body;
  const Node results = json(made);
  ASSERT_EQ(results.find("results")->items.size(), 2u);
  EXPECT_EQ(field(results.find("results")->items[0], "id"), kBridge);
  EXPECT_EQ(field(results.find("results")->items[0], "version"), "1");
  const std::string port = field(results.find("results")->items[1], "id");
  EXPECT_EQ(header(ask("GET", "/v1/ports/p"), "Plexus-Revision"), field(made, "revision"));
  EXPECT_EQ(header(ask("GET", "/v1/bridges/web"), "Plexus-Revision"), field(made, "revision"));

  const Response changed = batch(
      R"({"op":"update","collection":"ports","id":")" + port +
      R"(","body":{"admin_up":false},"if_match":"\"1\""},{"op":"update","collection":"bridges","id":")" +
      kBridge + R"(","body":{"name":"www"}})");
  ASSERT_EQ(changed.status, 200) << changed.body;
  EXPECT_EQ(field(ask("GET", "/v1/ports/p"), "admin_up"), "false");
  const Response removed =
      batch(R"({"op":"delete","collection":"ports","id":")" + port +
            R"("},{"op":"delete","collection":"bridges","id":")" + kBridge + R"("})");
  ASSERT_EQ(removed.status, 200) << removed.body;
  EXPECT_EQ(json(removed).find("results")->items[0].find("version"), nullptr);
  EXPECT_EQ(count("bridges"), 0u);
}

TEST_F(BatchTest, AFailureNamesTheOperationAndDoesNothing) {
  const std::string other = created("bridges", R"({"name":"other"})");
  struct Case {
    std::string second;
    int status;
    std::string says;
  };
  const std::string id(kBridge);
  const Case cases[] = {
      {R"({"op":"create","collection":"bridges","body":{"name":"other"}})", 409, "other"},
      {R"({"op":"create","collection":"bridges","body":{"nam":"x"}})", 422, "did you mean 'name'"},
      {R"({"op":"create","collection":"bridges","body":{"nam":"x"}})", 422,
       "operations[1].body.nam"},
      {R"({"op":"create","collection":"brides","body":{}})", 422, "did you mean 'bridges'"},
      {R"({"op":"creat","collection":"bridges","body":{}})", 422, "did you mean 'create'"},
      {R"({"op":"update","collection":"bridges","id":"other","body":{}})", 422, "not its name"},
      {R"({"op":"update","collection":"bridges","body":{}})", 422, "operations[1].id"},
      {R"({"op":"create","collection":"bridges"})", 422, "operations[1].body"},
      {R"({"op":"create","collection":"bridges","body":{},"bdy":1})", 422, "did you mean 'body'"},
      {R"({"op":"delete","collection":"bridges","id":")" + other + R"(","body":{}})", 422,
       "delete takes no body"},
      {R"({"op":"delete","collection":"bridges","id":"99999999-1111-4111-8111-111111111111"})", 404,
       "there is no bridge"},
      {R"({"op":"update","collection":"bridges","id":")" + other +
           R"(","body":{"admin_up":true},"if_match":"\"9\""})",
       412, "version"},
      {R"({"op":"update","collection":"bridges","id":")" + other +
           R"(","body":{"admin_up":true},"if_match":"x"})",
       412, "If-Match"},
      {R"({"op":"update","collection":"bridges","id":")" + other + R"(","body":{"min_reader":3}})",
       422, "set by the system"},
      {R"({"op":"create","collection":"tokens","body":{"name":"t","role":"admin"}})", 422,
       "one at a time"},
      {R"("x")", 422, "expected an object"},
  };
  for (const Case& c : cases) {
    const Response r = batch(R"({"op":"create","collection":"bridges","body":{"id":")" + id +
                             R"(","name":"web"}},)" + c.second);
    EXPECT_EQ(r.status, c.status) << c.second << ": " << r.body;
    EXPECT_NE(r.body.find(c.says), std::string::npos) << c.second << ": " << r.body;
    EXPECT_EQ(field(r, "operation"), "1") << r.body;
    EXPECT_EQ(ask("GET", "/v1/bridges/" + id).status, 404) << c.second;
  }
  EXPECT_EQ(count("bridges"), 1u);
  EXPECT_EQ(field(ask("GET", "/v1/bridges/other"), "admin_up"), "(no admin_up)");
}

TEST_F(BatchTest, RefusesWhatIsNoBatch) {
  for (const char* body : {"[]", "{}", R"({"operations":{}})", R"({"operation":[]})"})
    EXPECT_EQ(ask("POST", "/v1/batch", body).status, 422) << body;
  EXPECT_NE(ask("POST", "/v1/batch", R"({"operation":[]})").body.find("operations"),
            std::string::npos);
  std::string many;
  for (int i = 0; i < 501; ++i) {
    many += (i == 0 ? "" : ",") + (R"({"op":"create","collection":"bridges","body":{"name":"b)" +
                                   std::to_string(i) + R"("}})");
  }
  EXPECT_EQ(batch(many).status, 422);
  EXPECT_EQ(ask("GET", "/v1/batch").status, 405);
  EXPECT_EQ(batch("").status, 422);
}

TEST_F(BatchTest, FiveHundredAtOnce) {
  std::string many = R"({"op":"create","collection":"bridges","body":{"id":")" +
                     std::string(kBridge) + R"(","name":"web"}})";
  for (int i = 1; i < 500; ++i) {
    many += R"(,{"op":"create","collection":"ports","body":{"name":"p)" + std::to_string(i) +
            R"(","bridge":")" + kBridge + R"("}})";
  }
  const Response r = batch(many);
  ASSERT_EQ(r.status, 200) << r.body.substr(0, 500);
  EXPECT_EQ(count("ports"), 499u);
}

}  // namespace
}  // namespace plexus::api
