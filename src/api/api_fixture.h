// SPDX-License-Identifier: Apache-2.0
// For tests: one or more API servers over one real embedded store, each with its own connection, asked as functions.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/api.h"
#include "codec/json.h"
#include "store/test_directory.h"

namespace plexus::api {

class ApiFixture : public testing::Test {
 protected:
  using Query = std::vector<std::pair<std::string, std::string>>;
  struct Server {
    std::unique_ptr<store::Store> store;
    std::unique_ptr<Api> api;
  };

  explicit ApiFixture(FeedOptions feed = {}) : feed_(feed) { servers_.push_back(new_server()); }

  Server new_server() {
    auto store = store::open_store("embedded:" + dir_.path("store"));
    PLEXUS_CHECK(store.ok(), store.ok() ? "" : store.error().message);
    Server server{std::move(*store), nullptr};
    ApiOptions options;
    options.feed = feed_;
    server.api = std::make_unique<Api>(*server.store, options);
    return server;
  }
  [[nodiscard]] store::Store& store(size_t i = 0) { return *servers_[i].store; }

  struct Ask {
    std::string method = "GET";
    std::string path;
    std::string body = {};
    Query query = {};
    std::string if_match = {};
    std::string if_none_match = {};
    std::string token = {};  ///< empty: root over the unix socket
    std::string request_id = {};
    size_t server = 0;
  };
  static Request request_of(const Ask& a) {
    Request r;
    r.method = a.method;
    r.path = a.path;
    r.query = a.query;
    r.body = a.body;
    r.if_match = a.if_match;
    r.if_none_match = a.if_none_match;
    r.request_id = a.request_id;
    r.content_type = a.body.empty() ? "" : "application/json";
    if (a.token.empty()) {
      r.uid = 0;
    } else {
      r.from_network = r.encrypted = true;
      r.remote = "192.0.2.1";
      r.authorization = "Bearer " + a.token;
    }
    return r;
  }
  Response ask(const Ask& a) { return servers_[a.server].api->handle(request_of(a)); }
  Response ask(const std::string& method, const std::string& path, const std::string& body = {},
               const std::string& if_match = {}, Query query = {}) {
    return ask(Ask{.method = method,
                   .path = path,
                   .body = body,
                   .query = std::move(query),
                   .if_match = if_match});
  }

  static codec::Node json(const Response& r) {
    codec::Problems problems;
    codec::Node n = codec::parse_json(r.body, problems);
    EXPECT_TRUE(problems.empty()) << r.body;
    return n;
  }
  static std::string field(const codec::Node& n, std::string_view name) {
    const codec::Node* f = n.find(name);
    return f != nullptr ? f->text : "(no " + std::string(name) + ")";
  }
  static std::string field(const Response& r, std::string_view name) {
    return field(json(r), name);
  }
  static std::string header(const Response& r, std::string_view name) { return r.header(name); }
  std::string created(const std::string& collection, const std::string& body) {
    const Response r = ask("POST", "/v1/" + collection, body);
    EXPECT_EQ(r.status, 201) << r.body;
    return field(r, "id");
  }
  /// A new token's secret. Its tenant is made when there is none.
  std::string secret_of(const std::string& body) {
    codec::Problems problems;
    const codec::Node wanted = codec::parse_json(body, problems);
    if (const codec::Node* tenant = wanted.find("tenant");
        tenant != nullptr && ask("GET", "/v1/tenants/" + tenant->text).status == 404)
      created("tenants", R"({"name":")" + tenant->text + "\"}");
    const Response r = ask("POST", "/v1/tokens", body);
    EXPECT_EQ(r.status, 201) << r.body;
    return field(r, "secret");
  }

  template <typename Condition>
  [[nodiscard]] static bool becomes(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  store::TestDirectory dir_;
  FeedOptions feed_;
  std::vector<Server> servers_;
};

/// The events of a watch stream, read as a client reads them.
class EventReader {
 public:
  struct Event {
    std::string name, id, data;
  };
  explicit EventReader(std::shared_ptr<BodyStream> stream) : stream_(std::move(stream)) {}
  ~EventReader() { stream_->close(); }
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  /// The next event; its name is empty when the stream has ended or 20 s have passed.
  Event next() {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (true) {
      const size_t end = text_.find("\n\n");
      if (end != std::string::npos) {
        Event event = parse(text_.substr(0, end + 1));
        text_.erase(0, end + 2);
        return event;
      }
      const BodyStream::Taken taken = stream_->take();
      for (const auto& chunk : taken.chunks) text_ += *chunk;
      if (!taken.chunks.empty()) continue;
      if (taken.ended || taken.broken || std::chrono::steady_clock::now() > until) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// The next change; bookmarks are passed over.
  Event change() {
    Event event = next();
    while (event.name == "bookmark") event = next();
    return event;
  }

 private:
  static Event parse(const std::string& lines) {
    Event event;
    size_t at = 0;
    while (at < lines.size()) {
      const size_t end = lines.find('\n', at);
      const std::string line = lines.substr(at, end - at);
      at = end + 1;
      if (line.substr(0, 7) == "event: ") event.name = line.substr(7);
      if (line.substr(0, 4) == "id: ") event.id = line.substr(4);
      if (line.substr(0, 6) == "data: ") event.data = line.substr(6);
    }
    return event;
  }
  std::shared_ptr<BodyStream> stream_;
  std::string text_;
};

}  // namespace plexus::api
