// SPDX-License-Identifier: Apache-2.0
// The API over a real embedded store.
#include "api/api.h"

#include "api/api_fixture.h"

namespace plexus::api {
namespace {

using codec::Node;

class ApiTest : public ApiFixture {};

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
  r.uid = 0;
  r.method = "POST";
  r.path = "/v1/bridges";
  r.body = R"({"name":"x"})";
  r.content_type = "text/plain";
  EXPECT_EQ(servers_[0].api->handle(r).status, 415);
}

TEST_F(ApiTest, RulesOfTheTopologyNameTheField) {
  const std::string r1 = created("routers", R"({"name":"r1"})");
  const Response r =
      ask("POST", "/v1/routes", R"({"destination":"0.0.0.0/0","router":")" + r1 + "\"}");
  EXPECT_EQ(r.status, 422);
  const Node errors = json(r);
  ASSERT_NE(errors.find("errors"), nullptr) << r.body;
  EXPECT_EQ(field(errors.find("errors")->items[0], "field"), "port");
  EXPECT_NE(field(errors.find("errors")->items[0], "detail").find("required"), std::string::npos);
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
  EXPECT_NE(text.find(R"(plexus_api_requests_total{method="GET",code="404",route="object"} 1)"),
            std::string::npos)
      << text;
}

TEST_F(ApiTest, WebPagesAreRefused) {
  Request r;
  r.method = "GET";
  r.path = "/v1/bridges";
  r.authorization = "Bearer " + secret_of(R"({"name":"ops","role":"admin"})");
  r.has_origin = true;
  EXPECT_EQ(servers_[0].api->handle(r).status, 403);
  r.has_origin = false;
  r.from_network = true;
  const std::pair<const char*, int> hosts[] = {{"127.0.0.1:8080", 200},    {"localhost:8080", 200},
                                               {"[::1]:8080", 200},        {"localhost", 200},
                                               {"evil.example:8080", 403}, {"", 403}};
  for (const auto& [host, status] : hosts) {
    r.host = host;
    EXPECT_EQ(servers_[0].api->handle(r).status, status) << host;
  }
}

TEST_F(ApiTest, PagesSurviveInsertsAndRemovals) {
  std::set<std::string> ids;
  for (int i = 0; i < 25; ++i)
    ids.insert(created("bridges", R"({"name":"b)" + std::to_string(i) + "\"}"));
  std::vector<std::string> seen;
  std::string after;
  int pages = 0;
  while (true) {
    Query query = {{"limit", "10"}};
    if (!after.empty()) query.emplace_back("after", after);
    const Response r = ask("GET", "/v1/bridges", {}, {}, query);
    ASSERT_EQ(r.status, 200) << r.body;
    const Node page = json(r);
    for (const Node& item : page.find("items")->items) seen.push_back(field(item, "id"));
    ++pages;
    if (page.find("next") == nullptr) break;
    EXPECT_EQ(page.find("items")->items.size(), 10u);
    after = field(page, "next");
    // What comes and goes between two pages disturbs nothing.
    created("bridges", R"({"name":"n)" + std::to_string(pages) + "\"}");
    EXPECT_EQ(ask("DELETE", "/v1/bridges/" + seen.front()).status, 200);
    ids.erase(seen.front());
    seen.erase(seen.begin());
  }
  EXPECT_EQ(pages, 3);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), seen.size());
  for (const std::string& id : ids)
    EXPECT_NE(std::find(seen.begin(), seen.end(), id), seen.end()) << id;

  // Filters count before the limit.
  created("bridges", R"({"name":"lone"})");
  const Response one = ask("GET", "/v1/bridges", {}, {}, {{"limit", "1"}, {"name", "lone"}});
  EXPECT_EQ(json(one).find("items")->items.size(), 1u);
  EXPECT_EQ(json(one).find("next"), nullptr);
  for (const auto& bad : {Query{{"limit", "0"}}, Query{{"limit", "1001"}}, Query{{"after", "x"}}})
    EXPECT_EQ(ask("GET", "/v1/bridges", {}, {}, bad).status, 400);
}

TEST_F(ApiTest, IfNoneMatchSparesTheBody) {
  created("bridges", R"({"name":"web"})");
  const auto get = [&](const std::string& tag) {
    return ask({.path = "/v1/bridges/web", .if_none_match = tag});
  };
  const Response same = get("\"1\"");
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.body, "");
  EXPECT_EQ(header(same, "ETag"), "\"1\"");
  EXPECT_EQ(get("*").status, 304);
  EXPECT_EQ(get("\"2\"").status, 200);
  EXPECT_EQ(get("nonsense").status, 200);
}

TEST_F(ApiTest, RequestIdsAreTakenOrMade) {
  EXPECT_EQ(header(ask({.path = "/v1", .request_id = "abc-1"}), "Plexus-Request-Id"), "abc-1");
  for (const std::string& bad : {std::string(), std::string(65, 'x'), std::string("a\nb")}) {
    const std::string made = header(ask({.path = "/v1", .request_id = bad}), "Plexus-Request-Id");
    EXPECT_NE(made, bad);
    EXPECT_FALSE(made.empty());
  }
  const Response bad = ask({.path = "/v1/bridges/none", .request_id = "find-me"});
  EXPECT_EQ(field(bad, "request_id"), "find-me") << bad.body;
}

TEST_F(ApiTest, QuotasAreConflictsThatNameTheLimit) {
  created("tenants", R"({"name":"blue","max_bridges":1})");
  created("bridges", R"({"name":"a","tenant":"blue"})");
  const Response r = ask("POST", "/v1/bridges", R"({"name":"b","tenant":"blue"})");
  EXPECT_EQ(r.status, 409) << r.body;
  EXPECT_EQ(field(r, "code"), "quota");
  EXPECT_NE(field(r, "detail").find("blue"), std::string::npos);
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
