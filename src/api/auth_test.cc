// SPDX-License-Identifier: Apache-2.0
// Tokens, roles and tenants. What a tenant may do to each type, and may refer to by each field, is tried for every type
// and field of the schema: a new one is covered by itself.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "api/api_fixture.h"
#include "api/caller.h"
#include "base/log.h"
#include "codec/encode.h"

namespace plexus::api {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::ResourceSpec;

class AuthTest : public ApiFixture {
 protected:
  Response as(const std::string& token, const std::string& method, const std::string& path,
              const std::string& body = {}, Query query = {}) {
    return ask(
        {.method = method, .path = path, .body = body, .query = std::move(query), .token = token});
  }
  int status(const std::string& token, const std::string& method, const std::string& path,
             const std::string& body = {}) {
    return as(token, method, path, body).status;
  }
};

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

/// Makes one object of every type for a tenant, with nothing but what is required and the references that are required,
/// as the administrator.
class World {
 public:
  World(AuthTest& test, std::function<Response(const std::string&, const std::string&)> create,
        std::string tenant)
      : create_(std::move(create)), tenant_(std::move(tenant)) {
    (void)test;
    for (const ResourceSpec& r : codec::resources()) make(r, "first");
  }

  /// A body that makes an object of the type; references lead to this world's objects.
  [[nodiscard]] std::string body(const ResourceSpec& r, const std::string& name,
                                 const std::string& more = {}) const {
    std::string out = "{";
    const auto add = [&](const std::string& field, const std::string& value) {
      out += (out.size() > 1 ? ",\"" : "\"") + field + "\":" + value;
    };
    std::set<std::string> needed;
    for (const codec::ExclusiveSpec& group : r.exclusive) {
      // A mirror looks at something else than the port that it copies to.
      if (group.required) needed.insert(group.fields[r.type == "Mirror" ? 1 : 0]);
    }
    for (const FieldSpec& f : r.fields) {
      if (more.find("\"" + f.name + "\"") != std::string::npos) continue;
      if (f.name == "name") {
        add("name", "\"" + tenant_ + "-" + name + "\"");
      } else if (f.name == "tenant" && belongs_to_tenants(r)) {
        add("tenant", "\"" + tenant_ + "\"");
      } else if (f.required || needed.contains(f.name)) {
        add(f.name, value(f));
      }
    }
    if (!more.empty()) out += (out.size() > 1 ? "," : "") + more;
    // What the options of the schema cannot say: a route that forwards needs a port.
    if (r.type == "Route") add("kind", R"("blackhole")");
    return out + "}";
  }
  [[nodiscard]] const std::string& id(const ResourceSpec& r) const { return ids_.at(r.type); }

 private:
  std::string value(const FieldSpec& f) const {
    if (f.name == "to_port") return "\"" + port_for_copies() + "\"";
    if (f.is_reference()) return "\"" + ids_.at(f.reference) + "\"";
    std::string one;
    switch (f.kind) {
      case codec::ValueKind::enumeration:
        one = "\"" + f.words[0] + "\"";
        break;
      case codec::ValueKind::prefix:
        one = "\"10." + std::to_string(next()) + ".0.0/16\"";
        break;
      case codec::ValueKind::number:
        one = std::to_string(std::max(f.min, 1u));
        break;
      case codec::ValueKind::boolean:
        one = "true";
        break;
      case codec::ValueKind::ip:
        one = "\"10.0.0." + std::to_string(next()) + "\"";
        break;
      case codec::ValueKind::mac:
        one = "\"02:00:00:00:00:01\"";
        break;
      case codec::ValueKind::ip_protocol:
        one = "\"tcp\"";
        break;
      case codec::ValueKind::interface_address:
        one = "\"10.0.0.1/24\"";
        break;
      default:
        one = "\"x\"";
    }
    return f.repeated ? "[" + one + "]" : one;
  }
  /// A port that mirrors send to cannot be wired, and others are.
  std::string port_for_copies() const {
    const ResourceSpec& ports = *codec::find_collection("ports");
    const Response made = create_("ports", body(ports, "copies" + std::to_string(next())));
    EXPECT_EQ(made.status, 201) << made.body;
    codec::Problems problems;
    return codec::parse_json(made.body, problems).find("id")->text;
  }
  void make(const ResourceSpec& r, const std::string& name) {
    const Response made = create_(r.collection, body(r, name));
    EXPECT_EQ(made.status, 201) << r.type << ": " << made.body;
    codec::Problems problems;
    ids_[r.type] = codec::parse_json(made.body, problems).find("id")->text;
  }
  /// Many addresses and networks may be there once only.
  unsigned next() const { return ++last_; }

  std::function<Response(const std::string&, const std::string&)> create_;
  std::string tenant_;
  mutable unsigned last_ = 0;
  std::map<std::string, std::string> ids_;
};

class TenantTest : public AuthTest {
 protected:
  TenantTest()
      : blue_(*this, as_admin(), "blue"),
        red_(*this, as_admin(), "red"),
        token_(secret_of(R"({"name":"for-blue","role":"tenant","tenant":"blue"})")) {}
  std::function<Response(const std::string&, const std::string&)> as_admin() {
    return [this](const std::string& collection, const std::string& body) {
      return ask("POST", "/v1/" + collection, body);
    };
  }
  /// The answer without what differs between any two requests.
  static std::string shape(const Response& r, const std::string& id) {
    std::string body = r.body.substr(0, r.body.find(",\"request_id\""));
    for (size_t at = body.find(id); at != std::string::npos; at = body.find(id))
      body.replace(at, id.size(), "ID");
    return std::to_string(r.status) + " " + body;
  }

  World blue_, red_;
  std::string token_;
};

TEST_F(TenantTest, EachVerbOnEachTypeStaysWithinTheTenant) {
  for (const ResourceSpec& r : codec::resources()) {
    SCOPED_TRACE(r.type);
    const std::string all = "/v1/" + r.collection, own = all + "/" + blue_.id(r),
                      foreign = all + "/" + red_.id(r);
    if (!belongs_to_tenants(r)) {
      EXPECT_EQ(status(token_, "GET", all), 403);
      EXPECT_EQ(status(token_, "POST", all, blue_.body(r, "mine")), 403);
      for (const std::string& one : {own, foreign}) {
        for (const char* method : {"GET", "PATCH", "PUT", "DELETE"})
          EXPECT_EQ(status(token_, method, one, "{}"), 403) << method;
      }
      EXPECT_EQ(as(token_, "GET", "/v1/watch", {}, {{"collection", r.collection}}).status, 403);
      EXPECT_EQ(status(token_, "POST", "/v1/batch",
                       R"({"operations":[{"op":"create","collection":")" + r.collection +
                           R"(","body":)" + blue_.body(r, "mine") + "}]}"),
                403);
      continue;
    }
    // Sees its own only.
    EXPECT_EQ(status(token_, "GET", own), 200);
    const Node list = json(as(token_, "GET", all));
    ASSERT_FALSE(list.find("items")->items.empty());
    for (const Node& item : list.find("items")->items) EXPECT_EQ(field(item, "tenant"), "blue");
    const Node page = json(as(token_, "GET", all, {}, {{"limit", "1000"}}));
    EXPECT_EQ(page.find("items")->items.size(), list.find("items")->items.size());
    EXPECT_TRUE(json(as(token_, "GET", all, {}, {{"tenant", "red"}})).find("items")->items.empty());
    EXPECT_EQ(as(token_, "GET", all + "/red-first", {}, {{"tenant", "red"}}).status, 404);
    EXPECT_EQ(status(token_, "GET", all + "/red-first"), 404);

    // A foreign object answers as one that does not exist, to every verb.
    const std::string nothing = Uuid::random().str();
    for (const char* method : {"GET", "PATCH", "PUT", "DELETE"}) {
      const std::string body = std::string(method) == "GET" || std::string(method) == "DELETE"
                                   ? std::string()
                                   : std::string("{\"name\":\"x\"}");
      const Response there = as(token_, method, foreign, body);
      EXPECT_EQ(there.status, 404) << method << there.body;
      EXPECT_EQ(shape(there, red_.id(r)),
                shape(as(token_, method, all + "/" + nothing, body), nothing))
          << method;
    }
    for (const char* op : {"update", "delete"}) {
      const auto batch = [&](const std::string& id) {
        return as(token_, "POST", "/v1/batch",
                  R"({"operations":[{"op":")" + std::string(op) + R"(","collection":")" +
                      r.collection + R"(","id":")" + id + "\"" +
                      (std::string(op) == "update" ? R"(,"body":{"name":"x"})" : "") + "}]}");
      };
      EXPECT_EQ(batch(red_.id(r)).status, 404) << op;
      EXPECT_EQ(shape(batch(red_.id(r)), red_.id(r)), shape(batch(nothing), nothing)) << op;
    }
    EXPECT_EQ(ask("GET", foreign).status, 200);

    // Creates its own, with or without saying so, and no other's.
    const Response made = as(token_, "POST", all, blue_.body(r, "mine"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(field(made, "tenant"), "blue");
    std::string silent = blue_.body(r, "silent");
    const std::string said = R"(,"tenant":"blue")";
    silent.replace(silent.find(said), said.size(), "");
    const Response defaulted = as(token_, "POST", all, silent);
    EXPECT_EQ(defaulted.status, 201) << defaulted.body;
    EXPECT_EQ(field(defaulted, "tenant"), "blue");
    EXPECT_EQ(status(token_, "POST", all, blue_.body(r, "theirs", R"("tenant":"red")")), 422);
    const Response taken =
        as(token_, "POST", all, blue_.body(r, "taken", R"("id":")" + red_.id(r) + "\""));
    EXPECT_EQ(taken.status, 422);
    EXPECT_EQ(taken.body.find("red-first"), std::string::npos) << taken.body;

    // Changes and removes its own.
    const std::string mine = all + "/" + field(made, "id");
    EXPECT_EQ(status(token_, "PATCH", mine, R"({"name":"blue-other"})"), 200);
    EXPECT_EQ(status(token_, "PATCH", mine, R"({"tenant":"red"})"), 422);
    EXPECT_EQ(status(token_, "DELETE", mine), 200);
  }
}

TEST_F(TenantTest, EachReferenceStaysWithinTheTenant) {
  int tried = 0;
  for (const ResourceSpec& r : codec::resources()) {
    if (!belongs_to_tenants(r)) continue;
    for (const FieldSpec& f : r.fields) {
      if (!f.is_reference() && f.kind != codec::ValueKind::interface) continue;
      SCOPED_TRACE(r.type + "." + f.name);
      ++tried;
      const std::string all = "/v1/" + r.collection;
      const std::string before = field(ask("GET", all + "/" + blue_.id(r)), f.name);
      const std::string foreign = f.is_reference() ? red_.id(f.target()) : "eth0";
      const std::string nothing = f.is_reference() ? Uuid::random().str() : "eth1";
      const auto with = [&](const std::string& value) {
        const std::string one = "\"" + value + "\"";
        // In a list the foreign one hides behind one's own.
        const std::string own = f.repeated ? "\"" + blue_.id(f.target()) + "\"," : "";
        return "\"" + f.name + "\":" + (f.repeated ? "[" + own + one + "]" : one);
      };
      const auto refused = [&](const std::function<Response(const std::string&)>& send) {
        const Response there = send(foreign);
        EXPECT_EQ(there.status, 422) << there.body;
        EXPECT_NE(there.body.find(f.name), std::string::npos) << there.body;
        EXPECT_EQ(there.body.find("red-"), std::string::npos) << there.body;
        EXPECT_EQ(shape(there, foreign), shape(send(nothing), nothing));
      };
      refused([&](const std::string& value) {
        return as(token_, "POST", all, blue_.body(r, "x", with(value)));
      });
      refused([&](const std::string& value) {
        return as(token_, "POST", "/v1/batch",
                  R"({"operations":[{"op":"create","collection":")" + r.collection +
                      R"(","body":)" + blue_.body(r, "x", with(value)) + "}]}");
      });
      if (f.immutable) continue;
      for (const char* method : {"PATCH", "PUT"}) {
        refused([&](const std::string& value) {
          // A PUT names everything that must stay.
          const std::string body = std::string(method) == "PUT"
                                       ? blue_.body(r, "first", with(value))
                                       : "{" + with(value) + "}";
          return as(token_, method, all + "/" + blue_.id(r), body);
        });
      }
      refused([&](const std::string& value) {
        return as(token_, "POST", "/v1/batch",
                  R"({"operations":[{"op":"update","collection":")" + r.collection + R"(","id":")" +
                      blue_.id(r) + R"(","body":{)" + with(value) + "}}]}");
      });
      EXPECT_EQ(field(ask("GET", all + "/" + blue_.id(r)), f.name), before);
    }
  }
  EXPECT_GE(tried, 27);
}

TEST_F(TenantTest, WhereAPortIsPluggedInStaysTheAdministrators) {
  const ResourceSpec& ports = *codec::find_collection("ports");
  const ResourceSpec& hosts = *codec::find_collection("hosts");
  const std::string port = "/v1/ports/" + blue_.id(ports);
  ASSERT_EQ(ask("PATCH", port, R"({"interface":"tap1","host":")" + blue_.id(hosts) + "\"}").status,
            200);
  // A PUT of the tenant that does not speak of it leaves it; unplugging is refused.
  const std::string name = field(ask("GET", port), "name");
  const Response put = as(token_, "PUT", port, R"({"name":")" + name + R"(","admin_up":false})");
  ASSERT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(field(put, "interface"), "tap1");
  EXPECT_EQ(field(put, "host"), blue_.id(hosts));
  EXPECT_EQ(status(token_, "PATCH", port, R"({"host":null})"), 422);
  EXPECT_EQ(field(ask("PUT", port, R"({"name":")" + name + "\"}"), "interface"), "(no interface)");
}

TEST_F(TenantTest, LimitsThatAnAdministratorSetStay) {
  int tried = 0;
  for (const ResourceSpec& r : codec::resources()) {
    if (!belongs_to_tenants(r)) continue;
    for (const FieldSpec& f : r.fields) {
      if (f.authority != codec::Authority::administrator) continue;
      SCOPED_TRACE(r.type + "." + f.name);
      ++tried;
      const bool number = f.kind == codec::ValueKind::number;
      const std::string low = number ? "100" : "false", high = number ? "900" : "true";
      const auto with = [&](const std::string& value) { return "\"" + f.name + "\":" + value; };
      const std::string all = "/v1/" + r.collection, own = all + "/" + blue_.id(r);
      const std::string name = field(ask("GET", own), "name");
      EXPECT_EQ(status(token_, "POST", all, blue_.body(r, "x", with(high))), 422);
      EXPECT_EQ(status(token_, "PATCH", own, "{" + with(high) + "}"), 422) << "unset";
      ASSERT_EQ(ask("PATCH", own, "{" + with(low) + "}").status, 200);
      EXPECT_EQ(status(token_, "PATCH", own, "{" + with(high) + "}"), 422);
      EXPECT_EQ(status(token_, "PATCH", own, "{" + with("null") + "}"), 422);
      EXPECT_EQ(status(token_, "PUT", own, R"({"name":")" + name + "\"," + with(high) + "}"), 422);
      // What does not speak of it, or says what is, leaves it.
      EXPECT_EQ(status(token_, "PUT", own, R"({"name":")" + name + "\"}"), 200);
      EXPECT_EQ(status(token_, "PATCH", own, "{" + with(low) + "}"), 200);
      EXPECT_NE(ask("GET", own).body.find(with(low)), std::string::npos) << ask("GET", own).body;
    }
  }
  EXPECT_GE(tried, 6);
}

/// A port of the tenant at a bridge, and one at a router, of somebody else.
TEST_F(TenantTest, ItsPortAtAForeignDeviceKeepsItsAddresses) {
  const std::string bridge = red_.id(*codec::find_collection("bridges")),
                    router = red_.id(*codec::find_collection("routers"));
  const std::string mine = blue_.id(*codec::find_collection("bridges"));
  const std::string at_bridge = "/v1/ports/" + field(ask("POST", "/v1/ports",
                                                         R"({"name":"guest",
      "tenant":"blue","mac":"02:00:00:00:00:05","addresses":["10.0.0.5"],"port_security":true,"bridge":")" +
                                                             bridge + "\"}"),
                                                     "id");
  const std::string at_router = "/v1/ports/" + field(ask("POST", "/v1/ports",
                                                         R"({"name":"leg",
      "tenant":"blue","networks":["10.77.0.1/24"],"mtu":1400,"router":")" +
                                                             router + "\"}"),
                                                     "id");
  const std::string at_home =
      "/v1/ports/" +
      field(as(token_, "POST", "/v1/ports", R"({"name":"home","bridge":")" + mine + "\"}"), "id");
  for (const char* change :
       {R"({"mac":"02:00:00:00:00:06"})", R"({"addresses":["10.0.0.5","10.0.0.6"]})",
        R"({"addresses":null})", R"({"port_security":false})", R"({"port_security":null})",
        R"({"allowed_pairs":["10.0.0.0/24"]})", R"({"dscp":46})"}) {
    EXPECT_EQ(status(token_, "PATCH", at_bridge, change), 422) << change;
    EXPECT_EQ(status(token_, "PATCH", at_home, change), 200) << change;
    EXPECT_EQ(ask("PATCH", at_bridge, change).status, 200) << change;
    ASSERT_EQ(ask("PATCH", at_bridge, R"({"mac":"02:00:00:00:00:05","addresses":["10.0.0.5"],
                  "port_security":true,"allowed_pairs":null,"dscp":null})")
                  .status,
              200);
  }
  for (const char* change :
       {R"({"networks":["10.77.0.1/16"]})", R"({"mtu":1500})", R"({"outside":true})"})
    EXPECT_EQ(status(token_, "PATCH", at_router, change), 422) << change;
  // What concerns its own machine alone stays its own.
  EXPECT_EQ(status(token_, "PATCH", at_bridge, R"({"name":"guest2","admin_up":false})"), 200);
  const Response put = as(token_, "PUT", at_bridge, R"({"name":"guest3"})");
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_NE(put.body.find(R"("addresses":["10.0.0.5"])"), std::string::npos) << put.body;
}

TEST_F(TenantTest, AFilterThatAnAdministratorPutOnAPortStays) {
  const ResourceSpec& ports = *codec::find_collection("ports");
  const std::string own = "/v1/ports/" + blue_.id(ports);
  const std::string guard = field(ask("POST", "/v1/chains", R"({"name":"guard"})"), "id");
  ASSERT_EQ(ask("PATCH", own, R"({"in_chain":")" + guard + "\"}").status, 200);
  EXPECT_EQ(status(token_, "PATCH", own, R"({"in_chain":null})"), 422);
  EXPECT_EQ(status(token_, "PATCH", own, R"({"admin_up":false})"), 200);
  EXPECT_EQ(field(ask("GET", own), "in_chain"), guard);
  // A PUT that does not speak of it leaves it.
  const std::string name = field(ask("GET", own), "name");
  EXPECT_EQ(status(token_, "PUT", own, R"({"name":")" + name + "\"}"), 200);
  EXPECT_EQ(field(ask("GET", own), "in_chain"), guard);
  ASSERT_EQ(ask("PATCH", own, R"({"in_chain":null})").status, 200) << "its own may go";
}

TEST_F(TenantTest, WhatAnAdministratorTiedAcrossTenantsIsNotLoosened) {
  const ResourceSpec& ports = *codec::find_collection("ports");
  const ResourceSpec& bridges = *codec::find_collection("bridges");
  const std::string own = "/v1/ports/" + blue_.id(ports);
  const Response tied = ask("PATCH", own, R"({"peer":")" + red_.id(ports) + "\"}");
  if (tied.status == 200) {
    EXPECT_EQ(status(token_, "PATCH", own, R"({"peer":null})"), 422);
    const Response kept = as(token_, "DELETE", own);
    EXPECT_EQ(kept.status, 409);
    EXPECT_EQ(kept.body.find("red"), std::string::npos) << kept.body;
    EXPECT_EQ(field(ask("GET", "/v1/ports/" + red_.id(ports)), "peer"), blue_.id(ports));
  } else {
    ADD_FAILURE() << tied.body;
  }
  // A foreign port on its own bridge: the refusal does not say whose.
  created("ports", R"({"name":"guest","tenant":"red","bridge":")" + blue_.id(bridges) + "\"}");
  const Response in_use = as(token_, "DELETE", "/v1/bridges/" + blue_.id(bridges));
  EXPECT_EQ(in_use.status, 409);
  EXPECT_EQ(in_use.body.find("guest"), std::string::npos) << in_use.body;
}

/// Two tenants' routers at one provider's bridge.
TEST_F(TenantTest, WhoHasAnOutsideAddressIsToldToAdministratorsOnly) {
  const std::string provider = created("bridges", R"({"name":"provider-net"})");
  std::map<std::string, std::string> routers;
  for (const std::string tenant : {"blue", "red"}) {
    const std::string of = R"(,"tenant":")" + tenant + "\"";
    const std::string to =
        created("ports", R"({"name":"to-)" + tenant + R"(","bridge":")" + provider + "\"}");
    routers[tenant] = created("routers", R"({"name":"edge-of-)" + tenant + "\"" + of + "}");
    created("ports", R"({"name":"up-of-)" + tenant + R"(","networks":["203.0.113.)" +
                         (tenant == "red" ? "1" : "2") + R"(/24"],"peer":")" + to +
                         R"(","router":")" + routers[tenant] + "\"" + of + "}");
  }
  created("floating-ips", R"({"name":"secret","tenant":"red","address":"203.0.113.10","router":")" +
                              routers["red"] + "\"}");
  const std::string wanted =
      R"({"tenant":"blue","address":"203.0.113.10","router":")" + routers["blue"] + "\"}";
  const Response to_tenant = as(token_, "POST", "/v1/floating-ips", wanted);
  EXPECT_EQ(to_tenant.status, 409);
  for (const char* told : {"203.0.113.10", "up-of-blue", "choose another"})
    EXPECT_NE(to_tenant.body.find(told), std::string::npos) << to_tenant.body;
  for (const std::string& hidden : {std::string("secret"), std::string("red"),
                                    std::string("provider"), routers["red"], provider})
    EXPECT_EQ(to_tenant.body.find(hidden), std::string::npos) << to_tenant.body;
  const Response to_admin = ask("POST", "/v1/floating-ips", wanted);
  EXPECT_EQ(to_admin.status, 409);
  for (const char* told : {"floating-ip secret", "router edge-of-red", "bridge provider-net"})
    EXPECT_NE(to_admin.body.find(told), std::string::npos) << to_admin.body;
}

TEST_F(TenantTest, WatchAuditAndStatusShowItsOwn) {
  const Response r = as(token_, "GET", "/v1/watch", {}, {{"since", "0"}});
  ASSERT_EQ(r.status, 200) << r.body;
  EventReader events(r.stream);
  created("bridges", R"({"name":"end","tenant":"blue"})");
  int seen = 0;
  while (true) {
    const auto event = events.change();
    ASSERT_FALSE(event.name.empty());
    EXPECT_EQ(event.data.find("red"), std::string::npos) << event.data;
    EXPECT_NE(event.data.find(R"("tenant":"blue")"), std::string::npos) << event.data;
    ++seen;
    if (event.data.find(R"("name":"end")") != std::string::npos) break;
  }
  EXPECT_GT(seen, 3);
  EXPECT_EQ(status(token_, "GET", "/v1/audit"), 403);
  EXPECT_EQ(status(token_, "GET", "/v1/status/hosts"), 403);
  EXPECT_EQ(status(token_, "GET", "/v1/status/bindings"), 200);
  EXPECT_EQ(status(token_, "POST", "/v1/hosts/x/credentials"), 403);
  EXPECT_EQ(field(as(token_, "GET", "/v1/whoami"), "tenant"), "blue");
  const Response far = as(token_, "GET", "/v1/convergence", {}, {{"timeout", "1"}});
  EXPECT_EQ(far.status, 200);
  EXPECT_EQ(far.body.find("-first"), std::string::npos) << far.body;
}

TEST_F(TenantTest, ABatchMayBuildOnItself) {
  const std::string bridge = Uuid::random().str();
  const Response r =
      as(token_, "POST", "/v1/batch",
         R"({"operations":[{"op":"create","collection":"bridges","body":{"name":"new","id":")" +
             bridge + R"("}},{"op":"create","collection":"ports","body":{"name":"new","bridge":")" +
             bridge + R"("}},{"op":"update","collection":"bridges","id":")" + bridge +
             R"(","body":{"admin_up":true}}]})");
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(field(ask("GET", "/v1/bridges/" + bridge), "tenant"), "blue");
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
