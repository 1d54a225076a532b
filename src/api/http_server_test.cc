// SPDX-License-Identifier: Apache-2.0
#include "api/http_server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

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

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnInternalError) {
  HttpOptions options;
  options.handler = [](const Request&) -> Response { throw std::runtime_error("boom"); };
  start(std::move(options));
  TestClient client(address_);
  EXPECT_EQ(client.ask(kGet).find("HTTP/1.1 500"), 0u);
  EXPECT_EQ(client.ask(kGet).find("HTTP/1.1 500"), 0u);
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
  for (const char* good : {"unix:/run/x.sock", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3:0"}) {
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
      {"0.0.0.0:80", "no authentication"},
      {"10.0.0.1:80", "no authentication"},
      {"[::]:80", "no authentication"},
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
