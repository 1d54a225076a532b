// SPDX-License-Identifier: Apache-2.0
// Watch streams and the audit log, also with several servers over one store.
#include <gtest/gtest.h>

#include <set>

#include "api/api_fixture.h"
#include "store/topology/change_log.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

using codec::Node;

class WatchTest : public ApiFixture {
 protected:
  WatchTest() : ApiFixture(options()) {}
  static FeedOptions options() {
    FeedOptions feed;
    feed.bookmark = std::chrono::milliseconds(200);
    return feed;
  }
  explicit WatchTest(FeedOptions feed) : ApiFixture(feed) {}

  std::unique_ptr<EventReader> watch(Query query = {}, const std::string& token = {},
                                     size_t server = 0) {
    const Response r =
        ask({.path = "/v1/watch", .query = std::move(query), .token = token, .server = server});
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.content_type, "text/event-stream");
    return std::make_unique<EventReader>(r.stream);
  }
  static Node data(const EventReader::Event& event) {
    codec::Problems problems;
    Node n = codec::parse_json(event.data, problems);
    EXPECT_TRUE(problems.empty()) << event.name << " " << event.data;
    return n;
  }
  /// "updated bridges web"
  static std::string told(const EventReader::Event& event) {
    const Node n = data(event);
    return field(n, "verb") + " " + field(n, "collection") + " " + field(n, "name");
  }
};

TEST_F(WatchTest, TellsWhatHappensFromNowOn) {
  created("bridges", R"({"name":"before"})");
  auto events = watch();
  const std::string id = created("bridges", R"({"name":"web","tenant":"blue"})");
  const auto made = events->change();
  EXPECT_EQ(told(made), "created bridges web");
  EXPECT_EQ(field(data(made), "id"), id);
  EXPECT_EQ(field(data(made), "tenant"), "blue");
  ASSERT_NE(data(made).find("object"), nullptr);
  EXPECT_EQ(field(*data(made).find("object"), "name"), "web");
  EXPECT_EQ(made.id, header(ask("GET", "/v1/bridges/" + id), "Plexus-Revision"));
  ASSERT_EQ(ask("PATCH", "/v1/bridges/" + id, R"({"admin_up":false})").status, 200);
  EXPECT_EQ(told(events->change()), "updated bridges web");
  ASSERT_EQ(ask("DELETE", "/v1/bridges/" + id).status, 200);
  const auto gone = events->change();
  EXPECT_EQ(told(gone), "deleted bridges web");
  EXPECT_EQ(data(gone).find("object"), nullptr);
}

TEST_F(WatchTest, BookmarksSayHowFarItIs) {
  auto events = watch();
  const auto first = events->next();
  EXPECT_EQ(first.name, "bookmark");
  EXPECT_EQ(first.data, "{}");
  // A revision in which no resource changed is told too: a client's place does not grow old.
  ASSERT_TRUE(store().transact({store::Create{"/x", "y"}}).ok());
  const auto now = store().sync();
  ASSERT_TRUE(now.ok());
  EXPECT_TRUE(becomes([&] {
    return events->next().id.substr(0, std::to_string(now->value).size()) ==
           std::to_string(now->value);
  }));
}

TEST_F(WatchTest, GoesOnFromAnyIdWithoutALoss) {
  std::string body;
  for (int i = 0; i < 5; ++i) {
    body += (i == 0 ? "" : ",") + (R"({"op":"create","collection":"bridges","body":{"name":"b)" +
                                   std::to_string(i) + R"("}})");
  }
  auto first = watch({{"since", "0"}});
  ASSERT_EQ(ask("POST", "/v1/batch", R"({"operations":[)" + body + "]}").status, 200);
  created("bridges", R"({"name":"after"})");
  std::vector<EventReader::Event> all;
  for (int i = 0; i < 6; ++i) all.push_back(first->change());
  EXPECT_EQ(told(all[5]), "created bridges after");
  for (size_t cut = 0; cut < all.size(); ++cut) {
    std::set<std::string> missing;
    for (size_t i = cut + 1; i < all.size(); ++i) missing.insert(told(all[i]));
    auto again = watch({{"since", all[cut].id}});
    while (!missing.empty()) {
      const auto event = again->change();
      ASSERT_FALSE(event.name.empty()) << cut;
      missing.erase(told(event));
    }
  }
  // After the last of a commit the commit does not come again.
  EXPECT_EQ(told(watch({{"since", all[4].id}})->change()), "created bridges after");
}

TEST_F(WatchTest, CollectionsAreChosenAndChecked) {
  auto events = watch({{"collection", "ports,routers"}});
  const std::string web = created("bridges", R"({"name":"web"})");
  created("ports", R"({"name":"p","bridge":")" + web + "\"}");
  created("routers", R"({"name":"r"})");
  EXPECT_EQ(told(events->change()), "created ports p");
  EXPECT_EQ(told(events->change()), "created routers r");
  const Response bad = ask({.path = "/v1/watch", .query = {{"collection", "prots"}}});
  EXPECT_EQ(bad.status, 400);
  EXPECT_NE(bad.body.find("did you mean 'ports'"), std::string::npos) << bad.body;
  EXPECT_EQ(ask({.path = "/v1/watch", .query = {{"sinse", "0"}}}).status, 400);
  EXPECT_EQ(ask({.path = "/v1/watch", .query = {{"since", "x"}}}).status, 400);
  EXPECT_EQ(ask("POST", "/v1/watch").status, 405);
}

TEST_F(WatchTest, TokensOfAnotherLifeOrTheFutureAreGone) {
  const std::string revision = header(ask("GET", "/v1/bridges"), "Plexus-Revision");
  ASSERT_NE(revision.find('.'), std::string::npos) << revision;
  const auto status = [&](const std::string& since) {
    return ask({.path = "/v1/watch", .query = {{"since", since}}}).status;
  };
  EXPECT_EQ(status(revision), 200);
  EXPECT_EQ(status(revision.substr(0, revision.find('.')) + ".00000000"), 410);
  EXPECT_EQ(status("999999"), 410);

  auto events = watch();
  // Restored from a backup: another life.
  const auto gen = store().get(store::gen_path());
  ASSERT_TRUE(gen.ok() && *gen);
  ASSERT_TRUE(
      store()
          .transact({store::Set{store::gen_path(), Uuid::random().str(), (*gen)->version, {}}})
          .ok());
  EventReader::Event event;
  do {
    event = events->next();
  } while (!event.name.empty());
  EXPECT_TRUE(becomes([&] { return status(revision) == 410; }));
}

TEST_F(WatchTest, SeveralServersTellTheSameInTheSameOrder) {
  servers_.push_back(new_server());
  servers_.push_back(new_server());
  std::vector<std::unique_ptr<EventReader>> readers;
  for (size_t i = 0; i < 3; ++i) readers.push_back(watch({{"since", "0"}}, {}, i));
  std::vector<std::thread> writers;
  constexpr int kEach = 30;
  for (size_t server = 0; server < 3; ++server) {
    writers.emplace_back([&, server] {
      for (int i = 0; i < kEach; ++i) {
        const Response r =
            ask({.method = "POST",
                 .path = "/v1/bridges",
                 .body = R"({"name":"b)" + std::to_string(server) + "-" + std::to_string(i) + "\"}",
                 .server = server});
        EXPECT_EQ(r.status, 201) << r.body;
      }
    });
  }
  std::vector<std::vector<std::string>> seen(3);
  for (size_t i = 0; i < 3; ++i) {
    while (seen[i].size() < 3 * kEach) {
      const auto event = readers[i]->change();
      ASSERT_FALSE(event.name.empty());
      seen[i].push_back(event.id + " " + told(event));
    }
  }
  for (std::thread& t : writers) t.join();
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST_F(WatchTest, ASlowClientGetsAllOfItLater) {
  auto slow = watch();
  // Far more than a stream may have waiting: 3,000 changes of some 400 bytes, in batches.
  constexpr int kBatches = 10, kEach = 300;
  for (int b = 0; b < kBatches; ++b) {
    std::string body;
    for (int i = 0; i < kEach; ++i) {
      body += (i == 0 ? "" : ",") + (R"({"op":"create","collection":"routers","body":{"name":"r)" +
                                     std::to_string(b) + "-" + std::to_string(i) + R"("}})");
    }
    ASSERT_EQ(ask("POST", "/v1/batch", R"({"operations":[)" + body + "]}").status, 200);
  }
  for (int b = 0; b < kBatches; ++b) {
    for (int i = 0; i < kEach; ++i) {
      const auto event = slow->change();
      ASSERT_EQ(told(event), "created routers r" + std::to_string(b) + "-" + std::to_string(i));
    }
  }
}

TEST_F(WatchTest, StreamsEndWithTheirToken) {
  const std::string secret = secret_of(R"({"name":"eye","role":"reader"})");
  servers_.push_back(new_server());
  auto here = watch({}, secret, 0);
  auto there = watch({}, secret, 1);
  ASSERT_EQ(ask("DELETE", "/v1/tokens/eye").status, 200);
  for (auto* reader : {here.get(), there.get()}) {
    EventReader::Event event;
    do {
      event = reader->next();
    } while (!event.name.empty());
  }
  EXPECT_EQ(ask({.path = "/v1/watch", .token = secret}).status, 401);
}

class ShortLogTest : public WatchTest {
 protected:
  ShortLogTest() : WatchTest(short_log()) {}
  static FeedOptions short_log() {
    FeedOptions feed = options();
    feed.keep = 20;
    return feed;
  }
};

TEST_F(ShortLogTest, IsTrimmedAndSaysSo) {
  const std::string begin = header(ask("GET", "/v1/bridges"), "Plexus-Revision");
  created("bridges", R"({"name":"first"})");
  for (int i = 0; i < 60; ++i) created("bridges", R"({"name":"b)" + std::to_string(i) + "\"}");
  EXPECT_TRUE(becomes([&] {
    auto range = store::log_range(store());
    return range.ok() && range->next - range->first <= 22;
  }));
  EXPECT_TRUE(becomes([&] {
    return ask({.path = "/v1/watch", .query = {{"since", begin}}}).status == 410;
  }));
  EXPECT_EQ(ask({.path = "/v1/audit", .query = {{"since", begin}}}).status, 410);
  // A server that comes later knows what is left.
  servers_.push_back(new_server());
  EXPECT_EQ(ask({.path = "/v1/watch", .query = {{"since", begin}}, .server = 1}).status, 410);
  auto events = watch({}, {}, 1);
  created("bridges", R"({"name":"last"})");
  EXPECT_EQ(told(events->change()), "created bridges last");
}

TEST_F(WatchTest, TheAuditLogSaysWhoDidWhat) {
  const std::string secret = secret_of(R"({"name":"ops","role":"admin"})");
  const std::string begin = header(ask("GET", "/v1/bridges"), "Plexus-Revision");
  ask({.method = "POST",
       .path = "/v1/bridges",
       .body = R"({"name":"web","tenant":"blue"})",
       .token = secret,
       .request_id = "req-1"});
  ask({.method = "PATCH",
       .path = "/v1/bridges/web",
       .body = R"({"admin_up":false})",
       .query = {{"tenant", "blue"}},
       .request_id = "req-2"});
  const Node log = json(ask({.path = "/v1/audit", .query = {{"since", begin}}}));
  ASSERT_EQ(log.find("items")->items.size(), 2u);
  const Node& first = log.find("items")->items[0];
  EXPECT_EQ(field(first, "who"), "token ops");
  EXPECT_EQ(field(first, "request"), "req-1");
  EXPECT_EQ(field(first, "time").size(), 24u);
  const Node& change = first.find("changes")->items[0];
  EXPECT_EQ(field(change, "verb"), "created");
  EXPECT_EQ(field(change, "collection"), "bridges");
  EXPECT_EQ(field(change, "tenant"), "blue");
  const Node& second = log.find("items")->items[1];
  EXPECT_EQ(field(second, "who"), "uid 0 by unix socket");
  EXPECT_EQ(second.find("changes")->items[0].find("fields")->items[0].text, "admin_up");
  // Page by page, and the newest without a place.
  const Node page = json(ask({.path = "/v1/audit", .query = {{"since", begin}, {"limit", "1"}}}));
  EXPECT_EQ(field(page.find("items")->items[0], "request"), "req-1");
  const Node next =
      json(ask({.path = "/v1/audit", .query = {{"since", field(page, "next")}, {"limit", "1"}}}));
  EXPECT_EQ(field(next.find("items")->items[0], "request"), "req-2");
  EXPECT_EQ(next.find("next"), nullptr);
  const Node newest = json(ask({.path = "/v1/audit", .query = {{"limit", "1"}}}));
  EXPECT_EQ(field(newest.find("items")->items[0], "request"), "req-2");
  EXPECT_EQ(ask({.path = "/v1/audit", .query = {{"limit", "0"}}}).status, 400);
}

}  // namespace
}  // namespace plexus::api
