// SPDX-License-Identifier: Apache-2.0
// Convergence with hosts that answer in threads of the test, over HTTP where it is about waiting.
#include "api/convergence.h"

#include <gtest/gtest.h>

#include "api/api_fixture.h"
#include "api/test_client.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

using codec::Node;

/// What an agent does about barriers, and nothing else.
class FakeHost {
 public:
  FakeHost(const std::string& address, Uuid id, bool answering) : answers(answering), id_(id) {
    auto store = store::open_store(address);
    PLEXUS_CHECK(store.ok(), "a store for a host");
    store_ = std::move(*store);
    PLEXUS_CHECK(store_->put_ephemeral(store::live_path(id), "").ok(), "a live host");
    thread_ = std::thread([this] { run(); });
  }
  ~FakeHost() {
    stop_ = true;
    thread_.join();
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  std::atomic<bool> answers;
  /// How far it has come; the test says it.
  std::atomic<int64_t> applied{INT64_MAX};

 private:
  void run() {
    std::string done;
    while (!stop_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (!answers) continue;
      const auto record = store_->get(store::barrier_path());
      v1::Barrier barrier;
      if (!record.ok() || !*record || !barrier.ParseFromString((*record)->value)) continue;
      const auto id = Uuid::from_bytes(barrier.id());
      if (!id || id->str() == done || barrier.revision() > applied) continue;
      const std::string path = store::barrier_answers_path(*id) + "/" + id_.str();
      if (store_->transact({store::Create{path, {}, {}}}).ok()) done = id->str();
    }
  }
  Uuid id_;
  std::unique_ptr<store::Store> store_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class ConvergenceTest : public ApiFixture {
 protected:
  Uuid add_host(const std::string& name) {
    return *Uuid::parse(created("hosts", R"({"name":")" + name + "\"}"));
  }
  std::unique_ptr<FakeHost> host(const std::string& name, bool answers = true) {
    return std::make_unique<FakeHost>("embedded:" + dir_.path("store"), add_host(name), answers);
  }
  static std::string names(const Node& n, const char* list) {
    std::string out;
    for (const Node& item : n.find(list)->items) out += item.text + " ";
    return out;
  }
  Node converge(Query query = {}, size_t server = 0) {
    const Response r =
        ask({.path = "/v1/convergence", .query = std::move(query), .server = server});
    EXPECT_EQ(r.status, 200) << r.body;
    return json(r);
  }
};

TEST_F(ConvergenceTest, WithoutHostsAllIsDone) {
  const Node n = converge();
  EXPECT_EQ(field(n, "converged"), "true");
  EXPECT_EQ(field(n, "hosts"), "0");
}

TEST_F(ConvergenceTest, NamesLaggardsAndTheUnknown) {
  const auto h1 = host("h1"), h2 = host("h2", false);
  add_host("h3");
  const Uuid fenced = add_host("h4");
  ASSERT_EQ(ask("PATCH", "/v1/hosts/" + fenced.str(), R"({"fenced":true})").status, 200);
  const Node n = converge({{"timeout", "1"}});
  EXPECT_EQ(field(n, "converged"), "false");
  EXPECT_EQ(field(n, "hosts"), "3");
  EXPECT_EQ(field(n, "applied"), "1");
  EXPECT_EQ(names(n, "laggards"), "h2 ");
  EXPECT_EQ(names(n, "unknown"), "h3 ");
}

TEST_F(ConvergenceTest, WhoDiesIsWaitedForNoMoreUntilItIsBack) {
  const auto h1 = host("h1");
  const Uuid id = add_host("h2");
  const std::string store = "embedded:" + dir_.path("store");
  auto h2 = std::make_unique<FakeHost>(store, id, false);
  std::thread death([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    h2.reset();
  });
  Node n = converge({{"timeout", "30"}});
  death.join();
  EXPECT_EQ(field(n, "converged"), "true");
  EXPECT_EQ(field(n, "applied"), "1");
  EXPECT_EQ(names(n, "unknown"), "h2 ");
  const FakeHost again(store, id, false);
  n = converge({{"timeout", "1"}});
  EXPECT_EQ(field(n, "converged"), "false");
  EXPECT_EQ(names(n, "laggards"), "h2 ");
}

TEST_F(ConvergenceTest, WaitsForTheRevisionThatWasAsked) {
  const auto h1 = host("h1");
  const std::string early = header(ask("GET", "/v1/bridges"), "Plexus-Revision");
  h1->applied = std::stoll(early);
  const std::string id = created("bridges", R"({"name":"web"})");
  const std::string late = header(ask("GET", "/v1/bridges/" + id), "Plexus-Revision");
  EXPECT_EQ(field(converge({{"revision", early}}), "converged"), "true");
  const Node waits = converge({{"revision", late}, {"timeout", "1"}});
  EXPECT_EQ(field(waits, "converged"), "false");
  EXPECT_EQ(field(waits, "revision"), late);
  h1->applied = std::stoll(late);
  EXPECT_EQ(field(converge({{"revision", late}}), "converged"), "true");
  EXPECT_EQ(ask({.path = "/v1/convergence", .query = {{"revision", "999999"}}}).status, 410);
  EXPECT_EQ(ask({.path = "/v1/convergence", .query = {{"revision", "x"}}}).status, 400);
  EXPECT_EQ(ask({.path = "/v1/convergence", .query = {{"timeout", "61"}}}).status, 400);
}

TEST_F(ConvergenceTest, LeavesNothingBehind) {
  const auto h1 = host("h1");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(field(converge(), "converged"), "true");
  EXPECT_TRUE(becomes([&] {
    const auto left = store().list("/p1/w");
    return left.ok() && left->empty();
  }));
}

TEST_F(ConvergenceTest, ManyWaitersShareQuestionsAndHoldNobodyUp) {
  const auto h1 = host("h1");
  h1->answers = false;
  HttpOptions http;
  http.listen.push_back(*ListenAddress::parse("unix:" + dir_.path("s")));
  http.threads = 4;
  http.later_handler = [&](const Request& r, Answer a) {
    servers_[0].api->handle(r, std::move(a));
  };
  auto server = HttpServer::start(std::move(http));
  ASSERT_TRUE(server.ok()) << server.error().message;
  const ListenAddress address = (*server)->addresses()[0];
  std::vector<std::unique_ptr<TestClient>> waiters;
  for (int i = 0; i < 20; ++i) {
    created("bridges", R"({"name":"b)" + std::to_string(i) + "\"}");
    waiters.push_back(std::make_unique<TestClient>(address));
    ASSERT_TRUE(
        waiters.back()->send("GET /v1/convergence?timeout=30 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  }
  TestClient other(address);
  EXPECT_EQ(other.ask("GET /v1/bridges HTTP/1.1\r\nHost: localhost\r\n\r\n").find("HTTP/1.1 200"),
            0u);
  ASSERT_TRUE(becomes([&] {
    return ask("GET", "/metrics").body.find("plexus_api_convergence_waiters 20\n") !=
           std::string::npos;
  }));
  h1->answers = true;
  for (auto& w : waiters) EXPECT_NE(w->response().find(R"("converged":true)"), std::string::npos);
  // Far fewer questions than waiters.
  const std::string figures = ask("GET", "/metrics").body;
  const std::string name = "\nplexus_api_convergence_barriers_total ";
  const size_t at = figures.find(name);
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(std::stoi(figures.substr(at + name.size())), 10) << figures;
  (*server)->stop();
}

TEST_F(ConvergenceTest, ServersThatAskAtOnceAllGetAnswers) {
  servers_.push_back(new_server());
  servers_.push_back(new_server());
  const auto h1 = host("h1"), h2 = host("h2");
  std::vector<std::thread> askers;
  std::atomic<int> converged{0};
  for (size_t server = 0; server < 3; ++server) {
    for (int t = 0; t < 2; ++t) {
      askers.emplace_back([&, server, t] {
        for (int i = 0; i < 5; ++i) {
          ask({.method = "POST",
               .path = "/v1/bridges",
               .body = R"({"name":"b)" + std::to_string(server) + "-" + std::to_string(t) + "-" +
                       std::to_string(i) + "\"}",
               .server = server});
          if (field(converge({{"timeout", "20"}}, server), "converged") == "true") ++converged;
        }
      });
    }
  }
  for (std::thread& t : askers) t.join();
  EXPECT_EQ(converged, 30);
}

}  // namespace
}  // namespace plexus::api
