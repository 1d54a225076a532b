// SPDX-License-Identifier: Apache-2.0
// Tokens and roles. What tenants may: tenancy_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "api/auth_fixture.h"
#include "api/caller.h"
#include "base/log.h"
#include "codec/encode.h"

namespace plexus::api {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::ResourceSpec;

TEST_F(AuthTest, WhoComesWithoutATokenIsRootOrNobody) {
  Request r = request_of({.path = "/v1/whoami"});
  for (const uid_t uid : {uid_t{0}, ::geteuid()}) {
    r.uid = uid;
    const Response ok = servers_[0].api->handle(r);
    EXPECT_EQ(field(ok, "role"), "admin");
    EXPECT_EQ(field(ok, "who"), "uid " + std::to_string(uid) + " by unix socket");
  }
  r.uid = 4711;
  const Response refused = servers_[0].api->handle(r);
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.header("WWW-Authenticate").find("Bearer"), 0u);
  r.uid.reset();
  r.from_network = true;
  r.host = "localhost";
  EXPECT_EQ(servers_[0].api->handle(r).status, 401);
  r.path = "/health";
  EXPECT_EQ(servers_[0].api->handle(r).status, 200);
  r.path = "/metrics";
  EXPECT_EQ(servers_[0].api->handle(r).status, 401);
  r.uid = 4711;
  EXPECT_EQ(servers_[0].api->handle(r).status, 200);
}

TEST_F(AuthTest, ATokenShowsItsSecretOnce) {
  const Response made = ask("POST", "/v1/tokens", R"({"name":"ops","role":"admin"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string secret = field(made, "secret");
  EXPECT_EQ(secret.size(), 47u);
  EXPECT_EQ(secret.substr(0, 4), "plx_");
  EXPECT_EQ(field(as(secret, "GET", "/v1/whoami"), "who"), "token ops");
  for (const Response& r : {ask("GET", "/v1/tokens/ops"), ask("GET", "/v1/tokens"),
                            ask("PATCH", "/v1/tokens/ops", R"({"expires":4000000000})"),
                            ask("PUT", "/v1/tokens/ops", R"({"name":"ops"})")}) {
    EXPECT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.body.find("secret"), std::string::npos) << r.body;
    EXPECT_EQ(r.body.find("sha256"), std::string::npos) << r.body;
  }
  // What was done to it, it is still good.
  EXPECT_EQ(status(secret, "GET", "/v1/bridges"), 200);
  EXPECT_EQ(status(secret.substr(0, 46) + "!", "GET", "/v1/bridges"), 401);
  EXPECT_EQ(status("x", "GET", "/v1/bridges"), 401);
  EXPECT_EQ(status(std::string(5000, 'x'), "GET", "/v1/bridges"), 401);
  const Response bad = as("plx_wrong", "GET", "/v1/bridges");
  EXPECT_NE(bad.header("WWW-Authenticate").find("invalid_token"), std::string::npos);

  for (const char* body :
       {R"({"name":"t"})", R"({"name":"t","role":"tenant"})", R"({"name":"t","role":"root"})",
        R"({"name":"t","role":"admin","tenant":"blue"})",
        R"({"name":"t","role":"tenant","tenant":"bleu"})",
        R"({"name":"t","role":"admin","sha256":"00"})"}) {
    EXPECT_EQ(ask("POST", "/v1/tokens", body).status, 422) << body;
  }
}

TEST_F(AuthTest, RevocationAndExpiryHoldOnAllServers) {
  servers_.push_back(new_server());
  const std::string secret = secret_of(R"({"name":"a","role":"reader"})");
  const auto there = [&](const std::string& token) {
    return ask({.path = "/v1/bridges", .token = token, .server = 1}).status;
  };
  // Made here, used there at once.
  EXPECT_EQ(there(secret), 200);
  ASSERT_EQ(ask("DELETE", "/v1/tokens/a").status, 200);
  EXPECT_EQ(status(secret, "GET", "/v1/bridges"), 401);
  EXPECT_TRUE(becomes([&] { return there(secret) == 401; }));
  const std::string old = secret_of(R"({"name":"old","role":"admin","expires":1000000000})");
  EXPECT_EQ(status(old, "GET", "/v1/bridges"), 401);
  const std::string later = secret_of(R"({"name":"later","role":"admin","expires":4000000000})");
  EXPECT_EQ(there(later), 200);
  ASSERT_EQ(ask("PATCH", "/v1/tokens/later", R"({"expires":1000000000})").status, 200);
  EXPECT_EQ(status(later, "GET", "/v1/bridges"), 401);
  EXPECT_TRUE(becomes([&] { return there(later) == 401; }));
}

TEST_F(AuthTest, GuessingIsSlowedDownAndHarmsNobodyElse) {
  const std::string secret = secret_of(R"({"name":"a","role":"reader"})");
  int refused = 0, limited = 0;
  for (int i = 0; i < 100; ++i) {
    const int s = status("plx_guess" + std::to_string(i), "GET", "/v1/bridges");
    refused += s == 401;
    limited += s == 429;
  }
  EXPECT_GE(refused, 10);
  EXPECT_GE(limited, 50);
  EXPECT_EQ(status(secret, "GET", "/v1/bridges"), 200);  // the same source, the right token
  Request other = request_of({.path = "/v1/bridges", .token = "plx_x"});
  other.remote = "192.0.2.2";
  EXPECT_EQ(servers_[0].api->handle(other).status, 401);
  const std::string figures = ask("GET", "/metrics").body;
  EXPECT_NE(figures.find("plexus_api_auth_failures_total{reason=\"limited\"}"), std::string::npos);
}

TEST_F(AuthTest, AReaderReads) {
  const std::string id = created("bridges", R"({"name":"web","tenant":"blue"})");
  created("bridges", R"({"name":"other","tenant":"red"})");
  const std::string all = secret_of(R"({"name":"all","role":"reader"})");
  const std::string blue = secret_of(R"({"name":"blue","role":"reader","tenant":"blue"})");
  EXPECT_EQ(json(as(all, "GET", "/v1/bridges")).find("items")->items.size(), 2u);
  EXPECT_EQ(json(as(blue, "GET", "/v1/bridges")).find("items")->items.size(), 1u);
  EXPECT_EQ(status(all, "GET", "/v1/hosts"), 200);
  EXPECT_EQ(status(blue, "GET", "/v1/hosts"), 403);
  EXPECT_EQ(status(all, "GET", "/metrics"), 200);
  for (const std::string& token : {all, blue}) {
    for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
      EXPECT_EQ(status(token, method, "/v1/bridges/" + id, "{}"), 403) << method;
      EXPECT_EQ(status(token, method, "/v1/bridges", R"({"name":"x"})"), 403) << method;
    }
    EXPECT_EQ(status(token, "POST", "/v1/batch", R"({"operations":[]})"), 403);
    EXPECT_EQ(status(token, "GET", "/v1/audit"), 403);
    EXPECT_EQ(status(token, "POST", "/v1/hosts/x/credentials"), 403);
  }
}

TEST_F(AuthTest, HostsGetTheirCredentialsFromAServerThatHasAnIdentity) {
  const std::string id = created("hosts", R"({"name":"h1"})");
  const Response none = ask("POST", "/v1/hosts/h1/credentials");
  EXPECT_EQ(none.status, 409) << none.body;
  const std::string secret(40, 'S');
  Api with(store(), {.identity = "api:" + secret});
  const Response given =
      with.handle(request_of({.method = "POST", .path = "/v1/hosts/h1/credentials"}));
  ASSERT_EQ(given.status, 200) << given.body;
  EXPECT_EQ(field(given, "identity").find("host:" + id + ":"), 0u);
  EXPECT_EQ(given.body.find(secret), std::string::npos);
  EXPECT_EQ(with.handle(request_of({.method = "POST", .path = "/v1/hosts/no/credentials"})).status,
            404);
  EXPECT_EQ(ask("GET", "/v1/hosts/h1/credentials").status, 405);
}

TEST_F(AuthTest, SecretsAreNowhere) {
  testing::internal::CaptureStderr();
  set_log_level(LogLevel::debug);
  std::string all;
  const auto keep = [&](const Response& r) {
    all += r.body;
    for (const auto& [k, v] : r.headers) all += k + ": " + v + "\n";
  };
  const std::string secret = secret_of(R"({"name":"ops","role":"admin"})");
  EventReader events(ask({.path = "/v1/watch", .query = {{"since", "0"}}}).stream);
  keep(as(secret, "GET", "/v1/tokens"));
  keep(as(secret, "GET", "/v1/tokens/ops"));
  keep(as(secret, "POST", "/v1/bridges", R"({"name":"web"})"));
  keep(as(secret, "POST", "/v1/bridges", "{"));
  keep(as(secret, "GET", "/v1/nonsense"));
  keep(as(secret + "x", "GET", "/v1/bridges"));
  keep(as(secret, "GET", "/v1/audit"));
  keep(as(secret, "GET", "/v1/openapi.json"));
  keep(ask("PATCH", "/v1/tokens/ops", R"({"expires":4000000000})"));
  all += events.change().data;
  keep(ask("DELETE", "/v1/tokens/ops"));
  keep(as(secret, "GET", "/v1/bridges"));
  keep(ask("GET", "/metrics"));
  servers_.clear();
  set_log_level(LogLevel::info);
  all += testing::internal::GetCapturedStderr();
  for (const auto& file : std::filesystem::recursive_directory_iterator(dir_.path("store"))) {
    if (!file.is_regular_file()) continue;
    std::ifstream in(file.path(), std::ios::binary);
    all.append(std::istreambuf_iterator<char>(in), {});
  }
  EXPECT_GT(all.size(), 10'000u);
  EXPECT_EQ(all.find(secret), std::string::npos);
  EXPECT_EQ(all.find(secret.substr(4)), std::string::npos);
}

}  // namespace
}  // namespace plexus::api
