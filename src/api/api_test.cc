// SPDX-License-Identifier: Apache-2.0
// The API over a real embedded store.
#include "api/api.h"

#include <gtest/gtest.h>

#include "codec/json.h"
#include "store/test_directory.h"

namespace plexus::api {
namespace {

using codec::Node;

class ApiTest : public testing::Test {
 protected:
  ApiTest() {
    auto store = store::open_store("embedded:" + dir_.path("store"));
    PLEXUS_CHECK(store.ok(), store.ok() ? "" : store.error().message);
    store_ = std::move(*store);
    api_ = std::make_unique<Api>(*store_);
  }

  Response ask(const std::string& method, const std::string& path, const std::string& body = {},
               const std::string& if_match = {},
               std::vector<std::pair<std::string, std::string>> query = {}) {
    Request r;
    r.method = method;
    r.path = path;
    r.query = std::move(query);
    r.body = body;
    r.if_match = if_match;
    r.content_type = body.empty() ? "" : "application/json";
    return api_->handle(r);
  }

  static Node json(const Response& r) {
    codec::Problems problems;
    Node n = codec::parse_json(r.body, problems);
    EXPECT_TRUE(problems.empty()) << r.body;
    return n;
  }
  static std::string field(const Response& r, std::string_view name) {
    const Node n = json(r);
    const Node* f = n.find(name);
    return f != nullptr ? f->text : "(no " + std::string(name) + ")";
  }
  static std::string header(const Response& r, std::string_view name) {
    for (const auto& [k, v] : r.headers) {
      if (k == name) return v;
    }
    return {};
  }
  std::string created(const std::string& collection, const std::string& body) {
    const Response r = ask("POST", "/v1/" + collection, body);
    EXPECT_EQ(r.status, 201) << r.body;
    return field(r, "id");
  }

  store::TestDirectory dir_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Api> api_;
};

TEST_F(ApiTest, CreatesReadsChangesAndRemoves) {
  const Response made = ask("POST", "/v1/bridges", R"({"name":"web"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string id = field(made, "id");
  EXPECT_EQ(header(made, "Location"), "/v1/bridges/" + id);
  EXPECT_EQ(header(made, "ETag"), "\"1\"");
  EXPECT_FALSE(header(made, "Plexus-Revision").empty());

  for (const std::string& at : {id, std::string("web")}) {
    const Response got = ask("GET", "/v1/bridges/" + at);
    ASSERT_EQ(got.status, 200) << got.body;
    EXPECT_EQ(field(got, "name"), "web");
    EXPECT_EQ(header(got, "ETag"), "\"1\"");
  }
  const Response patched = ask("PATCH", "/v1/bridges/web", R"({"admin_up":false})");
  ASSERT_EQ(patched.status, 200) << patched.body;
  EXPECT_EQ(field(patched, "admin_up"), "false");
  EXPECT_EQ(field(patched, "name"), "web");
  EXPECT_EQ(header(patched, "ETag"), "\"2\"");

  const Response put = ask("PUT", "/v1/bridges/" + id, R"({"name":"www"})");
  ASSERT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(field(put, "admin_up"), "(no admin_up)");
  EXPECT_EQ(ask("GET", "/v1/bridges/web").status, 404);
  EXPECT_EQ(ask("GET", "/v1/bridges/www").status, 200);

  const Response removed = ask("DELETE", "/v1/bridges/www");
  EXPECT_EQ(removed.status, 200) << removed.body;
  EXPECT_EQ(ask("GET", "/v1/bridges/" + id).status, 404);
  EXPECT_EQ(ask("DELETE", "/v1/bridges/" + id).status, 404);
}

TEST_F(ApiTest, ListsAndFilters) {
  const std::string web = created("bridges", R"({"name":"web"})");
  const std::string db = created("bridges", R"({"name":"db"})");
  created("ports", R"({"name":"b","addresses":["10.0.0.2","fd00::2"],"bridge":")" + web + "\"}");
  created("ports", R"({"name":"a","bridge":")" + web + "\"}");
  created("ports", R"({"name":"c","bridge":")" + db + "\"}");
  const auto names = [&](std::vector<std::pair<std::string, std::string>> query) {
    const Response r = ask("GET", "/v1/ports", {}, {}, std::move(query));
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_FALSE(field(r, "revision").empty());
    const Node list = json(r);
    std::string out;
    for (const Node& item : list.find("items")->items) out += item.find("name")->text;
    return out;
  };
  EXPECT_EQ(names({}), "abc");
  EXPECT_EQ(names({{"bridge", web}}), "ab");
  EXPECT_EQ(names({{"bridge", web}, {"name", "b"}}), "b");
  EXPECT_EQ(names({{"addresses", "FD00::2"}}), "b");
  EXPECT_EQ(names({{"name", "zz"}}), "");
  EXPECT_EQ(ask("GET", "/v1/ports", {}, {}, {{"brige", web}}).status, 400);
  EXPECT_EQ(ask("GET", "/v1/ports", {}, {}, {{"bridge", "web"}}).status, 400);
}

TEST_F(ApiTest, TellsWhatIsWrongWithABody) {
  const std::string web = created("bridges", R"({"name":"web"})");
  struct Case {
    std::string body;
    int status;
    std::string says;
  };
  const Case cases[] = {
      {"", 400, "missing"},
      {"{", 400, "line"},
      {"[]", 422, "expected an object"},
      {R"({"name":"a","name":"b"})", 400, "appears twice"},
      {R"({"name":"a","brige":"x"})", 422, "did you mean 'bridge'?"},
      {R"({"name":"a"})", 422, "a port needs bridge or router"},
      {R"({"name":"a","bridge":"web"})", 422, "write the id of a bridge"},
      {R"({"name":"a","bridge":"123e4567-e89b-42d3-a456-426614174000"})", 422, "bridge"},
      {R"({"name":"a","mac":"x","bridge":")" + web + "\"}", 422, "is not a MAC address"},
      {R"({"name":"a","min_reader":1,"bridge":")" + web + "\"}", 422, "set by the system"},
  };
  for (const Case& c : cases) {
    const Response r = ask("POST", "/v1/ports", c.body);
    EXPECT_EQ(r.status, c.status) << c.body << ": " << r.body;
    EXPECT_EQ(r.content_type, "application/problem+json");
    EXPECT_NE(r.body.find(c.says), std::string::npos) << c.body << ": " << r.body;
  }
  const Node errors = json(ask("POST", "/v1/ports", R"({"name":"-","mac":"x"})"));
  ASSERT_EQ(errors.find("errors")->items.size(), 2u);
  EXPECT_EQ(errors.find("errors")->items[1].find("field")->text, "mac");
  EXPECT_FALSE(errors.find("errors")->items[1].find("remedy")->text.empty());

  Request r;
  r.method = "POST";
  r.path = "/v1/bridges";
  r.body = R"({"name":"x"})";
  r.content_type = "text/plain";
  EXPECT_EQ(api_->handle(r).status, 415);
}

TEST_F(ApiTest, UniqueNamesImmutableFieldsAndIntegrityHold) {
  const std::string web = created("bridges", R"({"name":"web"})");
  const std::string db = created("bridges", R"({"name":"db"})");
  EXPECT_EQ(ask("POST", "/v1/bridges", R"({"name":"web"})").status, 409);
  EXPECT_EQ(ask("PATCH", "/v1/bridges/db", R"({"name":"web"})").status, 409);
  created("bridges", R"({"name":"web","tenant":"blue"})");
  const std::string port = created("ports", R"({"name":"p","bridge":")" + web + "\"}");
  const Response moved = ask("PATCH", "/v1/ports/p", R"({"bridge":")" + db + "\"}");
  EXPECT_EQ(moved.status, 422);
  EXPECT_NE(moved.body.find("at creation only"), std::string::npos) << moved.body;
  EXPECT_EQ(ask("PATCH", "/v1/ports/p", R"({"bridge":")" + web + "\"}").status, 200);
  const Response in_use = ask("DELETE", "/v1/bridges/" + web);
  EXPECT_EQ(in_use.status, 409) << in_use.body;
  EXPECT_NE(in_use.body.find("p"), std::string::npos);
  EXPECT_EQ(ask("DELETE", "/v1/ports/p").status, 200);
  EXPECT_EQ(ask("DELETE", "/v1/bridges/" + web).status, 200);
}

TEST_F(ApiTest, PeersAreWiredOnBothSides) {
  const std::string web = created("bridges", R"({"name":"web"})");
  const std::string r1 = created("routers", R"({"name":"r1"})");
  const std::string a = created("ports", R"({"name":"a","bridge":")" + web + "\"}");
  const std::string b = created("ports", R"({"name":"b","networks":["10.0.1.1/24"],"router":")" +
                                             r1 + R"(","peer":")" + a + "\"}");
  EXPECT_EQ(field(ask("GET", "/v1/ports/a"), "peer"), b);
  EXPECT_EQ(ask("PATCH", "/v1/ports/a", R"({"peer":null})").status, 200);
  EXPECT_EQ(field(ask("GET", "/v1/ports/b"), "peer"), "(no peer)");
}

TEST_F(ApiTest, IfMatchGuardsAgainstOthers) {
  created("bridges", R"({"name":"web"})");
  EXPECT_EQ(ask("PATCH", "/v1/bridges/web", R"({"admin_up":true})", "\"1\"").status, 200);
  EXPECT_EQ(ask("PATCH", "/v1/bridges/web", R"({"admin_up":false})", "\"1\"").status, 412);
  EXPECT_EQ(ask("PATCH", "/v1/bridges/web", R"({"admin_up":false})", "\"zzz\"").status, 412);
  EXPECT_EQ(ask("PATCH", "/v1/bridges/web", R"({"admin_up":false})", "W/\"2\"").status, 412);
  EXPECT_EQ(ask("PATCH", "/v1/bridges/web", R"({"admin_up":false})", "*").status, 200);
  EXPECT_EQ(ask("DELETE", "/v1/bridges/web", {}, "\"2\"").status, 412);
  EXPECT_EQ(ask("DELETE", "/v1/bridges/web", {}, "\"3\"").status, 200);
}

TEST_F(ApiTest, NamesThatSeveralTenantsUseNeedTheTenant) {
  created("routers", R"({"name":"r","tenant":"blue"})");
  EXPECT_EQ(ask("GET", "/v1/routers/r").status, 200);
  created("routers", R"({"name":"r","tenant":"red"})");
  const Response both = ask("GET", "/v1/routers/r");
  EXPECT_EQ(both.status, 409);
  EXPECT_NE(both.body.find("tenant"), std::string::npos) << both.body;
  EXPECT_EQ(field(ask("GET", "/v1/routers/r", {}, {}, {{"tenant", "red"}}), "tenant"), "red");
}

TEST_F(ApiTest, UnknownPathsAndMethods) {
  const Response typo = ask("GET", "/v1/brigdes");
  EXPECT_EQ(typo.status, 404);
  EXPECT_NE(typo.body.find("did you mean 'bridges'?"), std::string::npos) << typo.body;
  EXPECT_EQ(ask("GET", "/v2/bridges").status, 404);
  EXPECT_EQ(ask("GET", "/v1/bridges/x/y").status, 404);
  EXPECT_EQ(ask("GET", "/v1/bridges/nope").status, 404);
  EXPECT_EQ(ask("GET", "/v1/bridges/-").status, 404);
  const Response deleted = ask("DELETE", "/v1/bridges");
  EXPECT_EQ(deleted.status, 405);
  EXPECT_EQ(header(deleted, "Allow"), "GET, POST");
  EXPECT_EQ(ask("BREW", "/v1/bridges/x").status, 405);
  EXPECT_NE(ask("GET", "/v1").body.find("tunnel-zones"), std::string::npos);
}

TEST_F(ApiTest, HealthMetricsAndStatus) {
  EXPECT_EQ(ask("GET", "/health").status, 200);
  EXPECT_EQ(ask("GET", "/v1/status/bindings").body, "{\"items\":[]}\n");
  EXPECT_EQ(ask("GET", "/v1/status/hosts").body, "{\"items\":[]}\n");
  EXPECT_EQ(ask("GET", "/v1/status/x").status, 404);
  (void)ask("GET", "/v1/bridges/nope");
  const std::string text = ask("GET", "/metrics").body;
  EXPECT_NE(text.find(R"(plexus_api_requests_total{method="GET",code="404"} 2)"), std::string::npos)
      << text;
}

TEST_F(ApiTest, WebPagesAreRefused) {
  Request r;
  r.method = "GET";
  r.path = "/v1/bridges";
  r.has_origin = true;
  EXPECT_EQ(api_->handle(r).status, 403);
  r.has_origin = false;
  r.from_network = true;
  const std::pair<const char*, int> hosts[] = {{"127.0.0.1:8080", 200},    {"localhost:8080", 200},
                                               {"[::1]:8080", 200},        {"localhost", 200},
                                               {"evil.example:8080", 403}, {"", 403}};
  for (const auto& [host, status] : hosts) {
    r.host = host;
    EXPECT_EQ(api_->handle(r).status, status) << host;
  }
}

TEST_F(ApiTest, ManyWritersAtOnceLoseNothing) {
  created("bridges", R"({"name":"web"})");
  std::vector<std::thread> threads;
  std::atomic<int> made{0}, changed{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const std::string name = "r" + std::to_string(t) + "-" + std::to_string(i);
        if (ask("POST", "/v1/routers", R"({"name":")" + name + "\"}").status == 201) ++made;
        if (ask("PATCH", "/v1/bridges/web",
                R"({"admin_up":)" + std::string(i % 2 ? "true" : "false") + "}")
                .status == 200) {
          ++changed;
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(made, 20);
  EXPECT_EQ(changed, 20);
  EXPECT_EQ(json(ask("GET", "/v1/routers")).find("items")->items.size(), 20u);
}

}  // namespace
}  // namespace plexus::api
