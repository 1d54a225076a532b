// SPDX-License-Identifier: Apache-2.0
// Requests that last, over real sockets: one token's leave room for the others, and give their places back.
#include <gtest/gtest.h>

#include "api/api_fixture.h"
#include "api/test_client.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

class LongRequestsTest : public ApiFixture {
 protected:
  LongRequestsTest() { serve(); }
  void serve() {
    HttpOptions http;
    http.listen = {*ListenAddress::parse("unix:" + dir_.path("s")),
                   *ListenAddress::parse("127.0.0.1:0")};
    http.threads = 4;
    http.max_connections = 96;
    http.unix_reserve = 6;
    http.later_handler = [this](const Request& request, Answer answer) {
      servers_[0].api->handle(request, std::move(answer));
    };
    auto server = HttpServer::start(std::move(http));
    PLEXUS_CHECK(server.ok(), server.ok() ? "" : server.error().message);
    server_ = std::move(*server);
  }
  std::unique_ptr<TestClient> client(bool network) {
    return std::make_unique<TestClient>(server_->addresses()[network ? 1 : 0]);
  }
  static std::string get(const std::string& target, const std::string& token) {
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" +
           (token.empty() ? "" : "Authorization: Bearer " + token + "\r\n") + "\r\n";
  }
  /// The status of the answer; of a stream that begins, 200. Without a token: root, by the unix socket.
  static std::string status(TestClient& client, const std::string& target,
                            const std::string& token) {
    if (!client.send(get(target, token))) return "closed";
    const std::string head = client.until("\r\n\r\n");
    return head.size() < 12 ? "closed" : head.substr(9, 3);
  }
  std::string status(const std::string& target, const std::string& token) {
    const auto one = client(!token.empty());
    return status(*one, target, token);
  }
  using Clients = std::vector<std::unique_ptr<TestClient>>;
  void flood(Clients& clients, const std::string& token, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      clients.push_back(client(!token.empty()));
      ASSERT_EQ(status(*clients.back(), "/v1/watch", token), "200") << i;
    }
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(LongRequestsTest, StreamsOfOneTokenLeaveRoomForOthers) {
  const std::string blue = secret_of(R"({"name":"b1","role":"tenant","tenant":"blue"})"),
                    too = secret_of(R"({"name":"b2","role":"reader","tenant":"blue"})"),
                    red = secret_of(R"({"name":"r1","role":"tenant","tenant":"red"})"),
                    eye = secret_of(R"({"name":"eye","role":"reader"})");
  Clients clients;
  flood(clients, blue, Places::kEach - 1);
  flood(clients, too, 1);
  for (const std::string& token : {blue, too}) {
    for (int i = 0; i < 40; ++i) {
      TestClient more(server_->addresses()[1]);
      const std::string answer = more.ask(get("/v1/watch", token));
      ASSERT_EQ(answer.find("HTTP/1.1 429"), 0u) << answer;
      EXPECT_NE(answer.find("tenant blue has 64 watch streams at this server, and no more may be; "
                            "close some"),
                std::string::npos)
          << answer;
      EXPECT_NE(answer.find("Retry-After: "), std::string::npos);
    }
  }
  // It may still do all else, and so may others; a token without a tenant has places of its own.
  EXPECT_EQ(status("/v1/bridges", blue), "200");
  EXPECT_EQ(status("/v1/convergence", blue), "200");
  flood(clients, red, 5);
  flood(clients, eye, 5);
  EXPECT_EQ(status("/v1/bridges", red), "200");
  EXPECT_EQ(status("/v1/bridges", ""), "200");
  // The places of those who have gone are free again.
  for (size_t i = 0; i < 3; ++i) clients.erase(clients.begin());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(becomes([&] {
      clients.push_back(client(true));
      if (status(*clients.back(), "/v1/watch", blue) == "200") return true;
      clients.pop_back();
      return false;
    }));
  }
  EXPECT_EQ(status("/v1/watch", blue), "429");
}

TEST_F(LongRequestsTest, StreamsOfRootAreNotCounted) {
  Clients clients;
  flood(clients, "", Places::kEach + 5);
}

TEST_F(LongRequestsTest, WhateverEndsAStreamGivesItsPlaceBack) {
  const std::string eye = secret_of(R"({"name":"eye","role":"reader"})");
  Clients clients;
  flood(clients, eye, Places::kEach);
  EXPECT_EQ(status("/v1/watch", eye), "429");
  // The server of the sockets stops, another one begins.
  server_.reset();
  clients.clear();
  serve();
  flood(clients, eye, Places::kEach);
  EXPECT_EQ(status("/v1/watch", eye), "429");
  // The feed ends them: another life of the store.
  const auto gen = store().get(store::gen_path());
  ASSERT_TRUE(gen.ok() && *gen);
  ASSERT_TRUE(
      store()
          .transact({store::Set{store::gen_path(), Uuid::random().str(), (*gen)->version, {}}})
          .ok());
  for (auto& c : clients) EXPECT_NE(c->rest().find("0\r\n\r\n"), std::string::npos);
  clients.clear();
  // What never became a stream took none.
  for (unsigned i = 0; i < Places::kEach + 5; ++i)
    ASSERT_EQ(status("/v1/watch?since=999999", eye), "410");
  flood(clients, eye, Places::kEach);
}

TEST_F(LongRequestsTest, WaitsForHostsAreBoundedToo) {
  // One that is live and never answers.
  const Uuid host = *Uuid::parse(created("hosts", R"({"name":"h1"})"));
  ASSERT_TRUE(store().put_ephemeral(store::live_path(host), "").ok());
  const std::string blue = secret_of(R"({"name":"b1","role":"tenant","tenant":"blue"})"),
                    red = secret_of(R"({"name":"r1","role":"tenant","tenant":"red"})");
  const auto refused = [&] {
    TestClient more(server_->addresses()[1]);
    return more.ask(get("/v1/convergence?timeout=1", blue));
  };
  Clients clients;
  for (unsigned i = 0; i < Places::kEach; ++i) {
    clients.push_back(client(true));
    ASSERT_TRUE(clients.back()->send(get("/v1/convergence?timeout=5", blue)));
  }
  ASSERT_TRUE(becomes([&] {
    return ask("GET", "/metrics").body.find("plexus_api_convergence_waiters 64\n") !=
           std::string::npos;
  }));
  const std::string answer = refused();
  EXPECT_EQ(answer.find("HTTP/1.1 429"), 0u) << answer;
  EXPECT_NE(answer.find("tenant blue has 64 waits for hosts at this server"), std::string::npos)
      << answer;
  EXPECT_EQ(status("/v1/convergence?timeout=1", red), "200");
  EXPECT_EQ(status("/v1/convergence?timeout=1", ""), "200");
  EXPECT_EQ(status("/v1/watch", blue), "200");
  for (auto& c : clients) EXPECT_EQ(c->response().find("HTTP/1.1 200"), 0u);
  EXPECT_EQ(status("/v1/convergence?timeout=1", blue), "200");
}

}  // namespace
}  // namespace plexus::api
