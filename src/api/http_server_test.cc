// SPDX-License-Identifier: Apache-2.0
#include "api/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>
#include <mutex>
#include <thread>

#include "api/test_client.h"
#include "store/test_directory.h"

namespace plexus::api {
namespace {

using store::TestDirectory;

Response echo(const Request& r) {
  Response out;
  out.content_type = "text/plain";
  out.body =
      r.method + " " + r.path + " [" + r.body + "] type=" + r.content_type + " match=" + r.if_match;
  for (const auto& [k, v] : r.query) out.body += " " + k + "=" + v;
  out.headers.emplace_back("ETag", "\"1\"");
  return out;
}

class HttpServerTest : public testing::Test {
 protected:
  void start(HttpOptions options = {}) {
    address_ = *ListenAddress::parse("unix:" + dir_.path("s"));
    options.listen.push_back(address_);
    options.listen.push_back(*ListenAddress::parse("127.0.0.1:0"));
    if (!options.handler) options.handler = echo;
    auto server = HttpServer::start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
  }

  TestDirectory dir_;
  ListenAddress address_;
  std::unique_ptr<HttpServer> server_;
};

constexpr char kGet[] = "GET /a%20b?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST_F(HttpServerTest, AnswersOnBothKindsOfSocket) {
  start();
  ASSERT_EQ(server_->addresses().size(), 2u);
  EXPECT_NE(server_->addresses()[1].port, 0);
  for (const ListenAddress& a : server_->addresses()) {
    TestClient client(a);
    ASSERT_TRUE(client.connected());
    for (int i = 0; i < 3; ++i) {  // keep-alive
      const std::string answer = client.ask(kGet);
      EXPECT_EQ(answer.find("HTTP/1.1 200 OK"), 0u) << answer;
      EXPECT_NE(answer.find("ETag: \"1\""), std::string::npos);
      EXPECT_NE(answer.find("GET /a b [] type= match= x=1"), std::string::npos) << answer;
    }
  }
}

TEST_F(HttpServerTest, ReadsBodiesAndHeaders) {
  start();
  TestClient client(address_);
  const std::string answer = client.ask(
      "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Type: Application/JSON; charset=utf-8\r\nIf-Match: "
      "\"7\"\r\n"
      "Content-Length: 5\r\n\r\nhello");
  EXPECT_NE(answer.find("PATCH /x [hello] type=application/json match=\"7\""), std::string::npos)
      << answer;
  const std::string chunked = client.ask(
      "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_NE(chunked.find("[abcde]"), std::string::npos) << chunked;
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  start();
  TestClient client(address_);
  ASSERT_TRUE(client.send("HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
  const std::string answer = client.rest();
  EXPECT_EQ(answer.find("HTTP/1.1 200"), 0u);
  EXPECT_EQ(answer.find("GET /x"), std::string::npos);
  EXPECT_EQ(answer.find("Content-Length: 0"), std::string::npos);
}

TEST_F(HttpServerTest, MalformedRequestsAreAnsweredAndClosed) {
  start();
  const std::pair<std::string, int> cases[] = {
      {"hello world\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET / HTTP/9.9\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {std::string("\0\1\2\3\n\n", 6), 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is what TLS begins with", 400},
      {"GET http://x/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 400},
      {"GET /" + std::string(20000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", 431},
      {"GET / HTTP/1.1\r\nX: " + std::string(20000, 'a') + "\r\n\r\n", 431},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n" + std::string(2000000, 'x'),
       413},
  };
  for (const auto& [bytes, status] : cases) {
    TestClient client(address_);
    client.send(bytes);
    const std::string answer = client.rest();
    EXPECT_EQ(answer.find("HTTP/1.1 " + std::to_string(status)), 0u)
        << bytes.substr(0, 60) << " got " << answer;
    EXPECT_NE(answer.find("application/problem+json"), std::string::npos) << answer;
  }
  TestClient well(address_);
  EXPECT_EQ(well.ask(kGet).find("HTTP/1.1 200"), 0u);
}

TEST_F(HttpServerTest, SlowAndSilentClientsAreDroppedOthersServed) {
  HttpOptions options;
  options.timeout = std::chrono::milliseconds(200);
  start(std::move(options));
  TestClient silent(address_), slow(address_);
  ASSERT_TRUE(slow.send("GET / HT"));
  TestClient other(address_);
  EXPECT_EQ(other.ask(kGet).find("HTTP/1.1 200"), 0u);
  EXPECT_EQ(silent.rest(), "");
  EXPECT_EQ(slow.rest(), "");
}

TEST_F(HttpServerTest, TheLastConnectionsWaitForARoom) {
  HttpOptions options;
  options.max_connections = 2;
  options.timeout = std::chrono::milliseconds(300);
  start(std::move(options));
  TestClient a(address_), b(address_), c(address_);
  ASSERT_TRUE(c.send(kGet));
  EXPECT_EQ(c.response().find("HTTP/1.1 200"), 0u);  // once a or b has timed out
}

TEST_F(HttpServerTest, WhoLetsTheServerWaitGivesWay) {
  HttpOptions options;
  options.max_connections = 3;
  options.timeout = std::chrono::minutes(1);
  options.counts = std::make_shared<ConnectionCounts>();
  const auto counts = options.counts;
  start(std::move(options));
  // One has had an answer and keeps its connection, one is silent, one has begun.
  TestClient idle(address_);
  EXPECT_EQ(idle.ask(kGet).find("HTTP/1.1 200"), 0u);
  TestClient silent(address_), begun(server_->addresses()[1]);
  ASSERT_TRUE(begun.send("GET / HT"));
  for (int i = 0; i < 10; ++i) {
    TestClient other(server_->addresses()[static_cast<size_t>(i % 2)]);
    const std::string answer = other.ask(kGet);
    EXPECT_EQ(answer.find("HTTP/1.1 200"), 0u) << i << answer;
  }
  EXPECT_EQ(counts->gave_way, 1u) << "no more than needed";
  EXPECT_GE(counts->found_full, 1u);
  EXPECT_EQ(idle.rest(), "") << "the one that had waited longest";
  // The others are served when they ask.
  ASSERT_TRUE(begun.send("TP/1.1\r\nHost: h\r\n\r\n"));
  EXPECT_EQ(begun.response().find("HTTP/1.1 200"), 0u);
}

TEST_F(HttpServerTest, WithAllPlacesTakenAnAnswerIsTheLast) {
  HttpOptions options;
  options.max_connections = 1;
  start(std::move(options));
  TestClient first(address_);
  ASSERT_TRUE(first.send(kGet));
  EXPECT_NE(first.rest().find("Connection: close"), std::string::npos);
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnInternalError) {
  HttpOptions options;
  options.handler = [](const Request&) -> Response { throw std::runtime_error("boom"); };
  start(std::move(options));
  TestClient client(address_);
  EXPECT_EQ(client.ask(kGet).find("HTTP/1.1 500"), 0u);
  EXPECT_EQ(client.ask(kGet).find("HTTP/1.1 500"), 0u);
}

TEST_F(HttpServerTest, TellsWhoAsks) {
  HttpOptions options;
  options.handler = [](const Request& r) {
    Response out;
    out.body = (r.uid ? "uid " + std::to_string(*r.uid) : "from " + r.remote) + " " +
               r.authorization + " " + r.if_none_match + " " + r.request_id + " " + r.last_event_id;
    return out;
  };
  start(std::move(options));
  const std::string ask =
      "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\nIf-None-Match: \"2\"\r\n"
      "X-Request-Id: r1\r\nLast-Event-ID: 7\r\n\r\n";
  TestClient local(server_->addresses()[0]), network(server_->addresses()[1]);
  EXPECT_NE(local.ask(ask).find("uid " + std::to_string(::getuid()) + " Bearer x \"2\" r1 7"),
            std::string::npos);
  EXPECT_NE(network.ask(ask).find("from 127.0.0.1 Bearer x"), std::string::npos);
}

TEST_F(HttpServerTest, BodiesHaveTheLimitOfTheirRoute) {
  HttpOptions options;
  options.max_body = 1000;
  options.body_limit = [](std::string_view method, std::string_view target) -> size_t {
    return method == "POST" && target == "/large" ? 5000 : 1000;
  };
  options.handler = [](const Request& r) {
    Response out;
    out.body = std::to_string(r.body.size());
    return out;
  };
  start(std::move(options));
  const auto post = [&](const std::string& target, size_t size) {
    TestClient client(address_);
    client.send("POST " + target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: " +
                std::to_string(size) + "\r\n\r\n" + std::string(size, 'x'));
    return client.rest();
  };
  EXPECT_NE(post("/large", 5000).find("\r\n\r\n5000"), std::string::npos);
  EXPECT_EQ(post("/large", 5001).find("HTTP/1.1 413"), 0u);
  EXPECT_NE(post("/small", 1000).find("\r\n\r\n1000"), std::string::npos);
  EXPECT_EQ(post("/small", 1001).find("HTTP/1.1 413"), 0u);

  // curl asks before it sends much.
  TestClient polite(address_);
  ASSERT_TRUE(
      polite.send("POST /large HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                  "Content-Length: 3\r\n\r\n"));
  EXPECT_EQ(polite.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_NE(polite.ask("abc").find("\r\n\r\n3"), std::string::npos);
  TestClient greedy(address_);
  ASSERT_TRUE(
      greedy.send("POST /small HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                  "Content-Length: 3000\r\n\r\n"));
  EXPECT_EQ(greedy.rest().find("HTTP/1.1 413"), 0u);
}

TEST_F(HttpServerTest, AHandlerMayAnswerLaterAndOccupiesNothing) {
  std::mutex mutex;
  std::vector<Answer> waiting;
  HttpOptions options;
  options.later_handler = [&](const Request& r, Answer answer) {
    if (r.path == "/now") return answer(Response{.body = "now"});
    const std::lock_guard lock(mutex);
    waiting.push_back(std::move(answer));
  };
  start(std::move(options));  // one handler thread
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<TestClient>(address_));
    ASSERT_TRUE(clients.back()->send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n"));
  }
  TestClient quick(address_);
  EXPECT_NE(quick.ask("GET /now HTTP/1.1\r\nHost: h\r\n\r\n").find("\r\n\r\nnow"),
            std::string::npos);
  const auto arrived = [&] {
    const std::lock_guard lock(mutex);
    return waiting.size();
  };
  while (arrived() < 20) std::this_thread::yield();
  clients[3].reset();  // one does not wait for its answer
  for (Answer& a : waiting) a(Response{.body = "later"});
  for (auto& c : clients) {
    if (c) {
      EXPECT_NE(c->response().find("\r\n\r\nlater"), std::string::npos);
    }
  }
  clients.resize(1);
  ASSERT_TRUE(clients[0]->send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n"));
  while (arrived() < 21) std::this_thread::yield();
  server_->stop();
  waiting.back()(Response{});  // too late, and no harm
}

class HttpStreamTest : public HttpServerTest {
 protected:
  void serve(size_t limit, HttpOptions options = {}) {
    options.handler = [this, limit](const Request&) {
      Response r;
      r.content_type = "text/event-stream";
      r.stream = std::make_shared<BodyStream>(limit);
      const std::lock_guard lock(mutex_);
      streams_.push_back(r.stream);
      return r;
    };
    start(std::move(options));
  }
  std::shared_ptr<BodyStream> stream(size_t i) {
    while (true) {
      const std::lock_guard lock(mutex_);
      if (streams_.size() > i) return streams_[i];
    }
  }
  std::mutex mutex_;
  std::vector<std::shared_ptr<BodyStream>> streams_;
};

TEST_F(HttpStreamTest, SendsWhatIsPushedAsItComes) {
  HttpOptions options;
  options.timeout = std::chrono::milliseconds(300);
  serve(1000, std::move(options));
  TestClient client(address_);
  ASSERT_TRUE(client.send(kGet));
  const std::string head = client.until("\r\n\r\n");
  EXPECT_EQ(head.find("HTTP/1.1 200"), 0u) << head;
  EXPECT_NE(head.find("text/event-stream"), std::string::npos);
  EXPECT_NE(head.find("chunked"), std::string::npos);
  auto body = stream(0);
  for (const char* text : {"one", "two"}) {
    // Longer than the time limit of a request: an idle stream stays.
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    ASSERT_TRUE(body->push(text));
    EXPECT_EQ(client.until("\r\n"), "3\r\n");
    EXPECT_EQ(client.until("\r\n"), std::string(text) + "\r\n");
  }
  ASSERT_TRUE(body->push("end"));
  body->end();
  EXPECT_EQ(client.rest(), "3\r\nend\r\n0\r\n\r\n");
  EXPECT_FALSE(body->push("more"));
}

TEST_F(HttpStreamTest, ASlowClientIsCutOffAGoneOneNoticed) {
  HttpOptions options;
  options.timeout = std::chrono::milliseconds(300);
  serve(100'000, std::move(options));
  TestClient slow(address_);
  auto gone = std::make_unique<TestClient>(address_);
  ASSERT_TRUE(slow.send(kGet));
  auto first = stream(0);
  ASSERT_TRUE(gone->send(kGet));
  auto second = stream(1);
  gone.reset();
  while (!second->closed()) std::this_thread::yield();
  // It reads nothing: what waits for it stays within the limit, and then it is gone.
  size_t pushed = 0;
  while (first->push(std::string(1000, 'x')) && pushed < 100'000) {
    ++pushed;
    EXPECT_LE(first->waiting(), 100'000u);
  }
  EXPECT_LT(pushed, 100'000u);
  while (server_->connections() > 0) std::this_thread::yield();
}

TEST_F(HttpStreamTest, UnixSocketsHaveAReserve) {
  HttpOptions options;
  options.max_connections = 6;
  options.unix_reserve = 2;
  options.counts = std::make_shared<ConnectionCounts>();
  const auto counts = options.counts;
  serve(1000, std::move(options));
  const ListenAddress network = server_->addresses()[1];
  std::vector<std::unique_ptr<TestClient>> flood;
  for (int i = 0; i < 4; ++i) {
    flood.push_back(std::make_unique<TestClient>(network));
    ASSERT_TRUE(flood.back()->send(kGet));
    ASSERT_EQ(flood.back()->until("\r\n\r\n").find("HTTP/1.1 200"), 0u);
  }
  TestClient late(network);
  ASSERT_TRUE(late.send(kGet));
  while (counts->found_full == 0) std::this_thread::yield();
  EXPECT_EQ(counts->by_network, 4u);
  for (int i = 0; i < 2; ++i) {
    flood.push_back(std::make_unique<TestClient>(address_));
    ASSERT_TRUE(flood.back()->send(kGet));
    EXPECT_EQ(flood.back()->until("\r\n\r\n").find("HTTP/1.1 200"), 0u);
  }
  EXPECT_EQ(counts->by_network, 4u);
  EXPECT_EQ(counts->open, 6u);
  // No stream gives way; one that ends leaves its place.
  EXPECT_EQ(counts->gave_way, 0u);
  flood.erase(flood.begin());
  EXPECT_EQ(late.until("\r\n\r\n").find("HTTP/1.1 200"), 0u);
}

TEST_F(HttpStreamTest, APlaceIsKeptAsLongAsTheConnection) {
  const auto place = std::make_shared<int>();
  HttpOptions options;
  options.handler = [&](const Request& r) {
    Response out;
    out.body = "plain";
    if (r.path != "/plain") out.stream = std::make_shared<BodyStream>(1000);
    out.place = place;
    return out;
  };
  start(std::move(options));
  auto gone = std::make_unique<TestClient>(address_);
  ASSERT_TRUE(gone->send(kGet));
  ASSERT_FALSE(gone->until("\r\n\r\n").empty());
  EXPECT_EQ(place.use_count(), 2);
  gone.reset();
  while (place.use_count() > 1) std::this_thread::yield();
  TestClient plain(address_);
  EXPECT_NE(plain.ask("GET /plain HTTP/1.1\r\nHost: h\r\n\r\n").find("plain"), std::string::npos);
  while (place.use_count() > 1) std::this_thread::yield();
  TestClient stays(address_);
  ASSERT_TRUE(stays.send(kGet));
  ASSERT_FALSE(stays.until("\r\n\r\n").empty());
  EXPECT_EQ(place.use_count(), 2);
  server_.reset();
  EXPECT_EQ(place.use_count(), 1) << "the server has stopped";
}

TEST_F(HttpStreamTest, TwoThousandIdleStreamsLeaveRoomForOthers) {
  HttpOptions options;
  options.max_connections = 4096;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 5000) GTEST_SKIP() << "too few file descriptors: " << files.rlim_cur;
  serve(1 << 16, std::move(options));
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t i = 0; i < 2000; ++i) {
    clients.push_back(std::make_unique<TestClient>(address_));
    ASSERT_TRUE(clients.back()->send(kGet));
    ASSERT_FALSE(clients.back()->until("\r\n\r\n").empty());
  }
  TestClient other(address_);
  ASSERT_TRUE(other.send(kGet));
  EXPECT_EQ(other.until("\r\n\r\n").find("HTTP/1.1 200"), 0u);
  const auto text = std::make_shared<const std::string>("event");
  for (size_t i = 0; i < 2000; ++i) ASSERT_TRUE(stream(i)->push(text));
  for (auto& c : clients) EXPECT_NE(c->until("event").find("event"), std::string::npos);
}

TEST_F(HttpServerTest, SocketIsForTheGroupAndGoesAway) {
  start();
  struct stat st {};
  ASSERT_EQ(::stat(address_.path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660u);
  server_->stop();
  EXPECT_NE(::stat(address_.path.c_str(), &st), 0);
  server_->stop();
}

TEST_F(HttpServerTest, StopClosesWhatIsOpen) {
  start();
  TestClient idle(address_), half(address_);
  ASSERT_TRUE(half.send("GET / HT"));
  EXPECT_EQ(idle.ask(kGet).find("HTTP/1.1 200"), 0u);
  server_->stop();
  EXPECT_EQ(idle.rest(), "");
  EXPECT_EQ(half.rest(), "");
  EXPECT_FALSE(TestClient(address_).connected());
}

TEST_F(HttpServerTest, ALiveSocketIsNotTakenAStaleOneIs) {
  start();
  HttpOptions second;
  second.listen.push_back(address_);
  second.handler = echo;
  auto refused = HttpServer::start(second);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::exists);
  EXPECT_NE(refused.error().message.find("another process serves"), std::string::npos);
  TestClient client(address_);
  EXPECT_EQ(client.ask(kGet).find("HTTP/1.1 200"), 0u);  // the first is unharmed

  // What a killed process leaves: a bound socket file without a listener.
  const std::string stale = dir_.path("stale");
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, stale.data(), stale.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
  }
  second.listen = {*ListenAddress::parse("unix:" + stale)};
  auto taken = HttpServer::start(second);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  TestClient again(second.listen[0]);
  EXPECT_EQ(again.ask(kGet).find("HTTP/1.1 200"), 0u);
}

TEST_F(HttpServerTest, WhatCannotBeListenedOnIsSaid) {
  { std::ofstream(dir_.path("file")) << "precious"; }
  const std::pair<std::string, std::string> cases[] = {
      {"unix:" + dir_.path("file"), "is no socket"},
      {"unix:" + dir_.path("no/such/folder"), "No such file"},
      {"unix:/" + std::string(200, 'x'), "107 bytes"},
  };
  for (const auto& [address, says] : cases) {
    HttpOptions options;
    options.listen.push_back(*ListenAddress::parse(address));
    options.handler = echo;
    auto server = HttpServer::start(std::move(options));
    ASSERT_FALSE(server.ok()) << address;
    EXPECT_NE(server.error().message.find(says), std::string::npos) << server.error().message;
  }
  EXPECT_TRUE(std::ifstream(dir_.path("file")).good());
}

TEST(ListenAddress, ParsesAndRefuses) {
  for (const char* good :
       {"unix:/run/x.sock", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3:0", "https://0.0.0.0:8443",
        "https://[2001:db8::1]:443", "https://127.0.0.1:1"}) {
    const auto a = ListenAddress::parse(good);
    ASSERT_TRUE(a.ok()) << good;
    EXPECT_EQ(a->str(), good);
  }
  const std::pair<const char*, const char*> bad[] = {
      {"", "write unix:"},
      {"unix:", "write unix:"},
      {"unix:rel", "write unix:"},
      {"127.0.0.1", "write unix:"},
      {"127.0.0.1:x", "write unix:"},
      {"127.0.0.1:70000", "write unix:"},
      {"::1:80", "write unix:"},
      {"localhost:80", "write unix:"},
      {"0.0.0.0:80", "https://0.0.0.0:80"},
      {"10.0.0.1:80", "without TLS"},
      {"[::]:80", "without TLS"},
      {"http://127.0.0.1:80", "write unix:"},
      {"https://localhost:80", "write unix:"},
      {"127.0.0.1:", "write unix:"},
  };
  for (const auto& [text, says] : bad) {
    const auto a = ListenAddress::parse(text);
    ASSERT_FALSE(a.ok()) << text;
    EXPECT_NE(a.error().message.find(says), std::string::npos) << a.error().message;
  }
}

}  // namespace
}  // namespace plexus::api
