// SPDX-License-Identifier: Apache-2.0
#include "cli/http_client.h"

#include <gtest/gtest.h>

#include "cli/api_client.h"
#include "cli/fake_server.h"

namespace plexus::cli {
namespace {

constexpr char kNobody[] = "unix:/nonexistent/plexus.sock";

FakeAnswer ok(const FakeRequest&) {
  return {200, R"({"items":[]})", "Plexus-Revision: 0/77\r\n"};
}

TEST(HttpClient, ReadsAddresses) {
  const auto several =
      parse_addresses("unix:/a, http://127.0.0.1:80/ ,https://api:8443,localhost:1");
  ASSERT_TRUE(several);
  ASSERT_EQ(several->size(), 4u);
  EXPECT_EQ((*several)[0].socket, "/a");
  EXPECT_EQ((*several)[1].base, "http://127.0.0.1:80");
  EXPECT_EQ((*several)[2].base, "https://api:8443");
  EXPECT_EQ((*several)[3].base, "http://localhost:1");
  for (const char* wrong : {"", "unix:", "unix:relative", "http://", "https://host", "ftp://a:1",
                            "a:1,", "http://a:1/path", "http://user@a:1"}) {
    EXPECT_FALSE(parse_addresses(wrong)) << wrong;
  }
}

TEST(HttpClient, ATokenIsNotSentInTheClear) {
  for (const char* good : {"unix:/a", "http://127.0.0.1:80", "http://localhost:80",
                           "http://[::1]:80", "https://far:80"})
    EXPECT_TRUE(HttpClient::to(good, {"secret", ""})) << good;
  for (const char* bad : {"http://far:80", "http://127.evil.example:80",
                          "unix:/a,http://10.0.0.1:80", "http://localhost.example:80"}) {
    const auto client = HttpClient::to(bad, {"secret", ""});
    ASSERT_FALSE(client) << bad;
    EXPECT_EQ(client.error().message.find("secret"), std::string::npos);
  }
  EXPECT_TRUE(HttpClient::to("http://far:80"));
}

TEST(HttpClient, SendsTheTokenAndReadsTheRevision) {
  FakeServer server(ok);
  auto client = HttpClient::to(server.address(), {"plx_secret", ""});
  ASSERT_TRUE(client);
  const auto reply = (*client)->request("GET", "/v1/ports");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->revision, "0/77");
  EXPECT_NE(server.requests()[0].head.find("Authorization: Bearer plx_secret\r\n"),
            std::string::npos);
}

TEST(HttpClient, TheNextServerIsAskedWhenOneIsNotThere) {
  FakeServer server(ok);
  auto client = HttpClient::to(std::string(kNobody) + "," + server.address());
  ASSERT_TRUE(client);
  for (const char* method : {"POST", "GET", "PATCH"}) {
    const auto reply = (*client)->request(method, "/v1/ports", method[0] == 'G' ? "" : "{}");
    ASSERT_TRUE(reply) << reply.error().message;
  }
  EXPECT_EQ(server.requests().size(), 3u);
  EXPECT_EQ((*client)->address(), server.address());
}

TEST(HttpClient, AllThatDoNotAnswerAreNamed) {
  auto client = HttpClient::to("unix:/nonexistent/a,unix:/nonexistent/b");
  ASSERT_TRUE(client);
  const auto reply = (*client)->request("GET", "/v1/ports");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::unavailable);
  EXPECT_NE(reply.error().message.find("/nonexistent/a"), std::string::npos);
  EXPECT_NE(reply.error().message.find("/nonexistent/b"), std::string::npos);
}

TEST(HttpClient, WhatMayHaveBeenDoneIsNotDoneTwice) {
  FakeServer broken([](const FakeRequest&) { return FakeAnswer{.hang_up = true}; });
  FakeServer server(ok);
  auto client = HttpClient::to(broken.address() + "," + server.address());
  ASSERT_TRUE(client);
  const auto lost = (*client)->request("POST", "/v1/ports", "{}");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::unavailable);
  EXPECT_EQ(server.requests().size(), 0u);
  // The next request goes to the other server. A lost answer to a question is asked for there too.
  EXPECT_TRUE((*client)->request("POST", "/v1/ports", "{}"));
  EXPECT_EQ(server.requests().size(), 1u);
  auto again = HttpClient::to(broken.address() + "," + server.address());
  EXPECT_TRUE((*again)->request("GET", "/v1/ports"));
}

TEST(HttpClient, AServerWithoutStoreIsPassedOver) {
  FakeServer cut([](const FakeRequest&) {
    return FakeAnswer{503, R"({"detail":"the store is away"})"};
  });
  FakeServer server(ok);
  auto client = HttpClient::to(cut.address() + "," + server.address());
  const auto reply = (*client)->request("GET", "/v1/ports");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  auto alone = HttpClient::to(cut.address());
  EXPECT_EQ((*alone)->request("GET", "/v1/ports")->status, 503);
}

TEST(HttpClient, AStreamThatBreaksIsNotBegunAgain) {
  FakeServer server([](const FakeRequest&) { return FakeAnswer{200, "data: 1\n\n"}; });
  auto client = HttpClient::to(server.address() + "," + server.address());
  std::string got;
  const auto reply =
      (*client)->stream("/v1/watch", std::chrono::seconds(5), [&](std::string_view s) {
        got += s;
        return true;
      });
  EXPECT_EQ(got, "data: 1\n\n");
  EXPECT_EQ(server.requests().size(), 1u);
  FakeServer gone([](const FakeRequest&) { return FakeAnswer{410, R"({"detail":"trimmed"})"}; });
  auto late = HttpClient::to(gone.address());
  const auto refused = (*late)->stream("/v1/watch", std::chrono::seconds(5), [&](std::string_view) {
    ADD_FAILURE() << "a refusal is no stream";
    return true;
  });
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 410);
  EXPECT_EQ(refused->body, R"({"detail":"trimmed"})");
}

TEST(ApiClient, ErrorsSayWhatToDo) {
  const struct {
    int status;
    const char* body;
    ErrorCode code;
    const char* says;
  } cases[] = {
      {401, R"({"detail":"who are you?"})", ErrorCode::denied,
       "who are you?; give a token with --token"},
      {401, R"({"detail":"who? send Authorization: Bearer TOKEN"})", ErrorCode::denied, "--token"},
      {403, R"({"detail":"this token may only read"})", ErrorCode::denied, "plexus whoami"},
      {404, R"({"detail":"there is no port 'x'"})", ErrorCode::not_found,
       "there is no port 'x'; list"},
      {409, R"({"detail":"the name is taken; choose another"})", ErrorCode::exists,
       "the name is taken; choose another"},
      {409, R"({"detail":"the name is taken"})", ErrorCode::exists,
       "the name is taken; look at what is there"},
      {409, R"({"detail":"it is in use by port a: remove that first"})", ErrorCode::exists,
       "remove that first"},
      {412, R"({"detail":"changed"})", ErrorCode::conflict, "somebody changed it meanwhile"},
      {422,
       R"({"detail":"port vm1: peer: is the port itself","errors":[{"field":"peer","detail":"is the port itself"}]})",
       ErrorCode::invalid, "port vm1: peer: is the port itself"},
      {422,
       R"({"detail":"x","errors":[{"field":"a","detail":"?"},{"field":"mac","detail":"'x' is no MAC","remedy":"write six bytes"}]})",
       ErrorCode::invalid, "mac: 'x' is no MAC; write six bytes"},
      {503, R"({"detail":"no store"})", ErrorCode::unavailable, "try again"},
      {503, "<html>", ErrorCode::unavailable, "the server answered 503; "},
      {507, R"({"detail":"full"})", ErrorCode::no_space, "full"},
  };
  for (const auto& c : cases) {
    const Error e = error_of({c.status, "", "", c.body});
    EXPECT_EQ(e.code, c.code) << c.status;
    EXPECT_NE(e.message.find(c.says), std::string::npos) << c.status << ": " << e.message;
  }
}

TEST(ApiClient, AServersOwnRemedyIsEnough) {
  for (const char* words : {"it is in use by port a: remove that first", "taken; choose another"}) {
    EXPECT_EQ(error_of({409, "", "", std::string(R"({"detail":")") + words + "\"}"}).message,
              words);
  }
}

TEST(ApiClient, ReadsAllPages) {
  FakeServer server([](const FakeRequest& r) {
    if (r.target == "/v1/status/hosts?limit=1000")
      return FakeAnswer{200, R"({"items":[{"n":1},{"n":2}],"next":"a/b"})"};
    if (r.target == "/v1/status/hosts?limit=1000&after=a%2Fb")
      return FakeAnswer{200, R"({"items":[{"n":3}]})"};
    return FakeAnswer{404, "{}"};
  });
  auto http = HttpClient::to(server.address());
  ApiClient api(**http);
  const auto items = api.items("status/hosts");
  ASSERT_TRUE(items) << items.error().message;
  EXPECT_EQ(items->size(), 3u);
  FakeServer looping([](const FakeRequest&) {
    return FakeAnswer{200, R"({"items":[],"next":"x"})"};
  });
  auto other = HttpClient::to(looping.address());
  EXPECT_FALSE(ApiClient(**other).items("ports"));
}

}  // namespace
}  // namespace plexus::cli
