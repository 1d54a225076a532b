// SPDX-License-Identifier: Apache-2.0
// A store that goes away and comes back, and a server that died in the middle of a removal.
#include <gtest/gtest.h>

#include <atomic>

#include "api/api_fixture.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

/// A real store that can be cut off.
class CutStore : public store::Store {
 public:
  explicit CutStore(std::unique_ptr<store::Store> real) : real_(std::move(real)) {}
  std::atomic<bool> down{false};

  std::string kind() const override { return real_->kind(); }
  Result<std::optional<store::Record>> get(std::string_view path) override {
    if (down) return away();
    return real_->get(path);
  }
  Result<std::vector<std::optional<store::Record>>> get_many(
      const std::vector<std::string>& paths) override {
    if (down) return away();
    return real_->get_many(paths);
  }
  Result<std::vector<std::string>> list(std::string_view directory) override {
    if (down) return away();
    return real_->list(directory);
  }
  Result<std::vector<std::pair<std::string, store::Record>>> scan(
      std::string_view directory) override {
    if (down) return away();
    return real_->scan(directory);
  }
  Result<store::Revision> transact(const std::vector<store::Step>& steps) override {
    if (down) return away();
    return real_->transact(steps);
  }
  std::unique_ptr<store::Watch> watch(std::string path, store::WatchCallback callback) override {
    return real_->watch(std::move(path), std::move(callback));
  }
  std::unique_ptr<store::Watch> watch_settled(
      std::function<void(store::Revision)> callback) override {
    return real_->watch_settled(std::move(callback));
  }
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override {
    if (down) return away();
    return real_->put_ephemeral(path, value);
  }
  Result<store::Revision> sync() override {
    if (down) return away();
    return real_->sync();
  }
  store::Health health() const override { return down ? store::Health::down : store::Health::up; }

 private:
  static Error away() { return {ErrorCode::unavailable, "the store does not answer"}; }
  std::unique_ptr<store::Store> real_;
};

class OutageTest : public ApiFixture {
 protected:
  OutageTest() : ApiFixture(quick()) {
    // The second server's store can be cut off; the first one's goes on.
    Server server;
    auto real = store::open_store("embedded:" + dir_.path("store"));
    auto cut = std::make_unique<CutStore>(std::move(*real));
    cut_ = cut.get();
    server.store = std::move(cut);
    server.api = std::make_unique<Api>(*server.store, ApiOptions{.identity = {}, .feed = quick()});
    servers_.push_back(std::move(server));
  }
  static FeedOptions quick() {
    FeedOptions feed;
    feed.bookmark = std::chrono::milliseconds(100);
    return feed;
  }
  Response there(Ask a) {
    a.server = 1;
    return ask(a);
  }
  CutStore* cut_ = nullptr;
};

TEST_F(OutageTest, SaysSoAndWhenToTryAgain) {
  const std::string secret = secret_of(R"({"name":"eye","role":"reader"})");
  ASSERT_EQ(there({.path = "/v1/bridges", .token = secret}).status, 200);
  cut_->down = true;
  const Response health = there({.path = "/health"});
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(field(health, "status"), "down");
  for (const Ask& a : {Ask{.path = "/v1/bridges"}, Ask{.path = "/v1/bridges/x"},
                       Ask{.path = "/v1/bridges", .query = {{"limit", "1"}}},
                       Ask{.method = "POST", .path = "/v1/bridges", .body = R"({"name":"x"})"},
                       Ask{.path = "/v1/convergence"}, Ask{.path = "/v1/audit"},
                       Ask{.path = "/v1/bridges", .token = secret}}) {
    const Response r = there(a);
    EXPECT_EQ(r.status, 503) << a.path << r.body;
    EXPECT_EQ(r.header("Retry-After"), "1");
    EXPECT_EQ(r.content_type, "application/problem+json");
  }
  // Who is known stays known; who is not cannot be told apart from who is new.
  EXPECT_EQ(there({.path = "/v1/whoami", .token = secret}).status, 200);
  EXPECT_EQ(there({.path = "/v1/whoami", .token = make_secret().text}).status, 503);
  EXPECT_NE(there({.path = "/metrics"}).body.find("plexus_api_store_up 0"), std::string::npos);
  cut_->down = false;
  EXPECT_EQ(there({.path = "/health"}).status, 200);
  EXPECT_EQ(there({.path = "/v1/bridges"}).status, 200);
}

TEST_F(OutageTest, RefusesChangesWhileADumpIsLoaded) {
  const std::string blue = created("bridges", R"({"name":"blue"})");
  const auto loading = store::loading_path();
  ASSERT_TRUE(store().transact({store::Create{loading, "dump"}}).ok());
  const Ask changes[] = {{.method = "POST", .path = "/v1/bridges", .body = R"({"name":"x"})"},
                         {.method = "DELETE", .path = "/v1/bridges/" + blue, .if_match = "\"9\""}};
  EXPECT_TRUE(becomes([&] { return ask(changes[1]).status == 503; }));
  for (const Ask& a : changes) {
    const Response r = ask(a);
    EXPECT_EQ(r.status, 503) << r.body;
    EXPECT_NE(r.body.find("a dump is being loaded"), std::string::npos) << r.body;
  }
  EXPECT_EQ(ask("GET", "/v1/bridges/" + blue).status, 200);
  // One that starts meanwhile, too.
  servers_.push_back(new_server());
  EXPECT_TRUE(becomes([&] {
    return ask({.method = "DELETE",
                .path = "/v1/bridges/" + blue,
                .if_match = "\"9\"",
                .server = servers_.size() - 1})
               .status == 503;
  }));
  ASSERT_TRUE(store().transact({store::Delete{loading, 1}}).ok());
  EXPECT_TRUE(becomes([&] { return ask("DELETE", "/v1/bridges/" + blue).status < 300; }));
}

TEST_F(OutageTest, StreamsLastAndLoseNothing) {
  const Response r = there({.path = "/v1/watch"});
  ASSERT_EQ(r.status, 200) << r.body;
  EventReader events(r.stream);
  EXPECT_EQ(events.next().name, "bookmark");
  cut_->down = true;
  for (int i = 0; i < 10; ++i) created("bridges", R"({"name":"b)" + std::to_string(i) + "\"}");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(events.next().name, "bookmark");  // still there
  cut_->down = false;
  for (int i = 0; i < 10; ++i) {
    EXPECT_NE(events.change().data.find("\"name\":\"b" + std::to_string(i) + "\""),
              std::string::npos);
  }
}

TEST_F(OutageTest, AServerMayStartBeforeItsStoreAnswers) {
  cut_->down = true;
  servers_[1].api.reset();
  servers_[1].api = std::make_unique<Api>(*cut_, ApiOptions{.identity = {}, .feed = quick()});
  EXPECT_EQ(there({.path = "/v1/watch"}).status, 503);
  cut_->down = false;
  EXPECT_TRUE(becomes([&] { return there({.path = "/v1/watch"}).status == 200; }));
}

TEST_F(OutageTest, ARemovalThatAServerLeftIsFinishedByAnother) {
  const std::string id = created("bridges", R"({"name":"web"})");
  v1::Removal removal;
  removal.set_type("bridge");
  removal.set_id(Uuid::parse(id)->raw());
  const std::string path = store::object_path("bridge", *Uuid::parse(id));
  const auto record = store().get(path);
  v1::Bridge bridge;
  ASSERT_TRUE(record.ok() && *record && bridge.ParseFromString((*record)->value));
  bridge.set_deleting(true);
  ASSERT_TRUE(
      store()
          .transact({store::Create{
                         store::removing_path(*Uuid::parse(id)), removal.SerializeAsString(), {}},
                     store::Set{path, bridge.SerializeAsString(), (*record)->version, {}}})
          .ok());
  servers_.push_back(new_server());
  servers_.push_back(new_server());
  EXPECT_TRUE(becomes([&] { return ask("GET", "/v1/bridges/" + id).status == 404; }));
  EXPECT_TRUE(becomes([&] {
    const auto left = store().list("/p1/removing");
    return left.ok() && left->empty();
  }));
}

}  // namespace
}  // namespace plexus::api
