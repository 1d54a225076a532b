// SPDX-License-Identifier: Apache-2.0
// What a tenant may do to each type, and may refer to by each field, is tried for every type and field of the schema: a new
// one is covered by itself.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "api/auth_fixture.h"
#include "api/caller.h"
#include "codec/encode.h"

namespace plexus::api {
namespace {

using codec::FieldSpec;
using codec::Node;
using codec::ResourceSpec;

/// Makes one object of every type for a tenant, with nothing but what is required and the references that are required,
/// as the administrator.
class World {
 public:
  World(std::function<Response(const std::string&, const std::string&)> create, std::string tenant)
      : create_(std::move(create)), tenant_(std::move(tenant)) {
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
      : blue_(as_admin(), "blue"),
        red_(as_admin(), "red"),
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
      if (f.authority != codec::Authority::administrator || r.type == "Rule") continue;
      SCOPED_TRACE(r.type + "." + f.name);
      ++tried;
      const bool number = f.kind == codec::ValueKind::number;
      const std::string low = number ? "1" : "false", high = number ? "2" : "true";
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
  EXPECT_GE(tried, 10);
  const ResourceSpec& rules = *codec::find_collection("rules");
  const std::string mark =
      blue_.body(rules, "mark", R"("action":"mark","set_dscp":46,"position":77)");
  EXPECT_EQ(status(token_, "POST", "/v1/rules", mark), 422);
  EXPECT_EQ(ask("POST", "/v1/rules", mark).status, 201);
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
        R"({"allowed_pairs":["10.0.0.0/24"]})", R"({"admin_up":false})"}) {
    EXPECT_EQ(status(token_, "PATCH", at_bridge, change), 422) << change;
    EXPECT_EQ(status(token_, "PATCH", at_home, change), 200) << change;
    EXPECT_EQ(ask("PATCH", at_bridge, change).status, 200) << change;
    ASSERT_EQ(ask("PATCH", at_bridge, R"({"mac":"02:00:00:00:00:05","addresses":["10.0.0.5"],
                  "port_security":true,"allowed_pairs":null,"admin_up":null})")
                  .status,
              200);
  }
  for (const char* change :
       {R"({"networks":["10.77.0.1/16"]})", R"({"mtu":1500})", R"({"outside":true})"})
    EXPECT_EQ(status(token_, "PATCH", at_router, change), 422) << change;
  // What concerns its own machine alone stays its own.
  EXPECT_EQ(status(token_, "PATCH", at_bridge, R"({"name":"guest2","security_groups":null})"), 200);
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
  EXPECT_EQ(ask("PATCH", "/v1/tenants/blue", R"({"outside_networks":["203.0.113.0/28"]})").status,
            200);
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

TEST_F(TenantTest, AnIdIsOneObjectSOfAllTypes) {
  const std::string own = blue_.id(*codec::find_collection("bridges"));
  for (const ResourceSpec& r : codec::resources()) {
    SCOPED_TRACE(r.type);
    for (const std::string& id : {red_.id(r), blue_.id(r)}) {
      const std::string twin = R"({"name":"twin","id":")" + id + "\"";
      const Response port = as(token_, "POST", "/v1/ports", twin + R"(,"bridge":")" + own + "\"}");
      EXPECT_EQ(port.status, r.type == "Port" && id == blue_.id(r) ? 409 : 422) << port.body;
      // As if it were its own because the same request makes something of that id.
      for (const std::string& then :
           {R"({"op":"update","collection":")" + r.collection + R"(","id":")" + id +
                R"(","body":{"name":"other"}})",
            R"({"op":"delete","collection":")" + r.collection + R"(","id":")" + id + "\"}"}) {
        const Response batch =
            as(token_, "POST", "/v1/batch",
               R"({"operations":[{"op":"create","collection":"port-groups","body":)" + twin +
                   "}}," + then + "]}");
        EXPECT_GE(batch.status, 400) << batch.body;
      }
      EXPECT_EQ(ask("GET", "/v1/" + r.collection + "/" + id).status, 200);
    }
  }
  const std::string id = Uuid::random().str();
  const auto both = [&](const std::string& second) {
    return status(
        token_, "POST", "/v1/batch",
        R"({"operations":[{"op":"create","collection":"port-groups","body":{"name":"g","id":")" +
            id + R"("}},{"op":"create","collection":")" + second +
            R"(","body":{"name":"g","id":")" + id + R"("}}]})");
  };
  EXPECT_EQ(both("bridges"), 422);
}

class ProviderTest : public TenantTest {
 protected:
  ProviderTest() {
    provider_ = created("bridges", R"({"name":"provider-net"})");
    edge_ = created("routers", R"({"name":"edge"})");
    router_ = blue_.id(*codec::find_collection("routers"));
    at_provider_ = port_of_blue("leg", R"("bridge":")" + provider_ + "\"");
    const std::string socket =
        created("ports", R"({"name":"socket","bridge":")" + provider_ + "\"}");
    uplink_ = port_of_blue("up", R"("networks":["203.0.113.9/24"],"router":")" + router_ +
                                     R"(","peer":")" + socket + "\"");
    tenant_ = field(ask("GET", "/v1/tenants/blue"), "id");
  }
  /// An administrator makes it.
  std::string port_of_blue(const std::string& name, const std::string& more) {
    return created("ports", R"({"name":")" + name + R"(","tenant":"blue",)" + more + "}");
  }
  int may(const std::string& method, const std::string& path, const std::string& body) {
    return status(token_, method, "/v1/" + path, body);
  }

  std::string provider_, edge_, router_, at_provider_, uplink_, tenant_;
};

TEST_F(ProviderTest, AnUplinkKeepsWhatAnAdministratorGaveIt) {
  const std::string up = "ports/" + uplink_;
  for (const char* change : {R"({"networks":["203.0.113.1/24"]})", R"({"mac":"02:00:5e:00:01:01"})",
                             R"({"networks":["203.0.113.9/24","2001:db8::1/64"],"advertise":true})",
                             R"({"outside":true})", R"({"peer":null})", R"({"mtu":9000})"})
    EXPECT_EQ(may("PATCH", up, change), 422) << change;
  EXPECT_EQ(may("PATCH", up, R"({"name":"mine"})"), 200);
  EXPECT_EQ(may("PUT", up, R"({"name":"mine"})"), 200);
  EXPECT_NE(ask("GET", "/v1/" + up).body.find("203.0.113.9/24"), std::string::npos);
}

TEST_F(ProviderTest, APortAtAnothersBridgeIsWiredByAdministrators) {
  const std::string leg = at_provider_;
  const std::string wired =
      R"({"name":"in","networks":["203.0.113.1/25"],"advertise":true,"router":")" + router_ +
      R"(","peer":")" + leg + "\"}";
  EXPECT_EQ(may("POST", "ports", wired), 422);
  const std::string inner = field(
      as(token_, "POST", "/v1/ports", R"({"name":"inner","router":")" + router_ + "\"}"), "id");
  EXPECT_EQ(may("PATCH", "ports/" + inner, R"({"peer":")" + leg + "\"}"), 422);
  EXPECT_EQ(may("PATCH", "ports/" + leg, R"({"peer":")" + inner + "\"}"), 422);
  EXPECT_EQ(field(ask("GET", "/v1/ports/" + leg), "peer"), "(no peer)");
  EXPECT_EQ(ask("PATCH", "/v1/ports/" + leg, R"({"peer":")" + inner + "\"}").status, 200);
}

TEST_F(ProviderTest, OutsideAddressesAtAnothersBridgeAreDelegated) {
  const auto floating = [&](const std::string& address) {
    return R"({"router":")" + router_ + R"(","address":")" + address + "\"}";
  };
  const auto pool = [&](const std::string& address) {
    return R"({"name":"pool-)" + address + R"(","router":")" + router_ + R"(","addresses":[")" +
           address + R"("]})";
  };
  const std::string balancer = field(
      as(token_, "POST", "/v1/load-balancers", R"({"name":"lb","router":")" + router_ + "\"}"),
      "id");
  const std::string members = field(
      as(token_, "POST", "/v1/pools", R"({"name":"p","load_balancer":")" + balancer + "\"}"), "id");
  const auto vip = [&](const std::string& address) {
    return R"({"name":"vip","load_balancer":")" + balancer + R"(","pool":")" + members +
           R"(","protocol":"tcp","port":80,"address":")" + address + "\"}";
  };
  const Response refused = as(token_, "POST", "/v1/floating-ips", floating("203.0.113.1"));
  EXPECT_EQ(refused.status, 422);
  for (const char* told : {"203.0.113.1", "outside_networks", "administrator"})
    EXPECT_NE(refused.body.find(told), std::string::npos) << refused.body;
  EXPECT_EQ(refused.body.find("provider-net"), std::string::npos) << refused.body;
  EXPECT_EQ(may("POST", "snat-pools", pool("203.0.113.2")), 422);
  EXPECT_EQ(may("POST", "vips", vip("203.0.113.3")), 422);
  // What no bridge of others is to see is its own.
  EXPECT_EQ(may("POST", "floating-ips", floating("198.51.100.1")), 201);

  ASSERT_EQ(
      ask("PATCH", "/v1/tenants/" + tenant_, R"({"outside_networks":["203.0.113.16/28"]})").status,
      200);
  EXPECT_EQ(may("POST", "floating-ips", floating("203.0.113.1")), 422);
  EXPECT_EQ(may("POST", "floating-ips", floating("203.0.113.17")), 201);
  EXPECT_EQ(may("POST", "snat-pools", pool("203.0.113.18")), 201);
  EXPECT_EQ(may("POST", "vips", vip("203.0.113.19")), 201);
  // What an administrator gives it, it uses.
  const std::string given =
      field(ask("POST", "/v1/floating-ips",
                R"({"tenant":"blue","router":")" + router_ + R"(","address":"203.0.113.1"})"),
            "id");
  EXPECT_EQ(may("PATCH", "floating-ips/" + given, R"({"inside":"10.0.0.5"})"), 200);
  EXPECT_EQ(may("PATCH", "floating-ips/" + given, R"({"address":"203.0.113.2"})"), 422);
}

TEST_F(ProviderTest, WhatIsPartOfAnothersIsForAdministrators) {
  const auto of_blue = [&](const std::string& collection, const std::string& more) {
    return collection + "/" +
           created(collection, R"({"name":"given","tenant":"blue",)" + more + "}");
  };
  const std::string at_edge = R"("router":")" + edge_ + "\"";
  const std::string chain = created("chains", R"({"name":"lockdown"})");
  const std::string group = created("security-groups", R"({"name":"quarantine"})");
  const std::string balancer = of_blue("load-balancers", at_edge);
  const std::string id_of_balancer = balancer.substr(balancer.find('/') + 1);
  const std::string in_balancer = R"("load_balancer":")" + id_of_balancer + "\"";
  const std::string pool = of_blue("pools", in_balancer);
  const std::string id_of_pool = pool.substr(pool.find('/') + 1);
  const std::string vip =
      in_balancer + R"(,"pool":")" + id_of_pool + R"(","protocol":"tcp","port":)";
  const struct {
    std::string object, change;
  } cases[] = {
      {of_blue("routes", at_edge + R"(,"kind":"blackhole","destination":"10.77.0.0/24")"),
       R"({"destination":"0.0.0.0/0"})"},
      {of_blue("floating-ips", at_edge + R"(,"address":"198.51.100.7")"),
       R"({"inside":"10.9.0.66"})"},
      {of_blue("snat-pools", at_edge + R"(,"addresses":["198.51.100.8"])"),
       R"({"addresses":["198.51.100.1"]})"},
      {of_blue("vips", vip + R"(80,"address":"198.51.100.9")"), R"({"address":"10.9.0.66"})"},
      {pool, R"({"admin_up":false})"},
      {of_blue("pool-members", R"("pool":")" + id_of_pool + R"(","address":"10.8.0.2")"),
       R"({"address":"10.9.0.67"})"},
      {of_blue("dhcp-subnets", R"("bridge":")" + provider_ + R"(","network":"203.0.113.0/24")"),
       R"({"gateway":"203.0.113.200"})"},
      {of_blue("rules", R"("chain":")" + chain + R"(","position":1,"action":"drop")"),
       R"({"action":"accept"})"},
      {of_blue("security-rules", R"("direction":"ingress","security_group":")" + group + "\""),
       R"({"direction":"egress"})"},
      {of_blue("mirrors", R"("bridge":")" + provider_ + R"(","which":"in","to_port":")" +
                              created("ports", R"({"name":"tap","bridge":")" + provider_ + "\"}") +
                              "\""),
       R"({"which":"both"})"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(may("PATCH", c.object, c.change), 422) << c.object;
    EXPECT_EQ(may("PATCH", c.object, R"({"name":"renamed"})"), 200) << c.object;
    EXPECT_EQ(ask("PATCH", "/v1/" + c.object, c.change).status, 200) << c.object << c.change;
  }
  EXPECT_EQ(may("POST", "vips", R"({"name":"new",)" + vip + R"(443,"address":"10.9.0.66"})"), 422);
  EXPECT_EQ(may("POST", "pool-members", R"({"pool":")" + id_of_pool + R"(","address":"10.9.0.7"})"),
            422);
}

TEST_F(ProviderTest, ItsPortAnywhereIsItsToLookAtAndToDivide) {
  const std::string bridge = blue_.id(*codec::find_collection("bridges"));
  created("hosts", R"({"name":"h9"})");
  ASSERT_EQ(ask("PATCH", "/v1/ports/" + at_provider_,
                R"({"interface":"tap9","host":")" + created("hosts", R"({"name":"h8"})") + "\"}")
                .status,
            200);
  const std::string to =
      field(as(token_, "POST", "/v1/ports", R"({"name":"to","bridge":")" + bridge + "\"}"), "id");
  EXPECT_EQ(may("POST", "mirrors",
                R"({"name":"m","which":"both","to_port":")" + to + R"(","port":")" + at_provider_ +
                    "\"}"),
            201);
  EXPECT_EQ(may("POST", "trace-requests", R"({"name":"t","port":")" + at_provider_ + "\"}"), 201);
  EXPECT_EQ(may("POST", "ports",
                R"({"name":"sub","vlan":7,"bridge":")" + bridge + R"(","parent":")" + at_provider_ +
                    "\"}"),
            201);
}

TEST_F(ProviderTest, WhoIsLookedAtDoesNotFindItOut) {
  const std::string bridge = created("bridges", R"({"name":"watched","tenant":"blue"})");
  const std::string tap = created("ports", R"({"name":"tap","bridge":")" + provider_ + "\"}");
  const std::string mirror = created("mirrors", R"({"name":"lawful","which":"both","bridge":")" +
                                                    bridge + R"(","to_port":")" + tap + "\"}");
  const Response gone = as(token_, "DELETE", "/v1/bridges/" + bridge);
  EXPECT_EQ(gone.status, 200) << gone.body;
  EXPECT_EQ(field(gone, "cascaded"), "0");
  EXPECT_EQ(gone.body.find("lawful"), std::string::npos) << gone.body;
  EXPECT_EQ(ask("GET", "/v1/mirrors/" + mirror).status, 404);
}

TEST_F(ProviderTest, ATenantGoesAfterItsTokens) {
  const Response kept = ask("DELETE", "/v1/tenants/" + tenant_);
  EXPECT_EQ(kept.status, 409);
  EXPECT_NE(kept.body.find("for-blue"), std::string::npos) << kept.body;
  const auto with_token = [&](const std::string& tenant, const std::string& token) {
    return ask("POST", "/v1/batch",
               R"({"operations":[{"op":"delete","collection":"tokens","id":")" +
                   field(ask("GET", "/v1/tokens/" + token), "id") +
                   R"("},{"op":"delete","collection":"tenants","id":")" + tenant + R"("}]})");
  };
  const Response owner = with_token(tenant_, "for-blue");
  EXPECT_EQ(owner.status, 409) << "and after all else that it has";
  EXPECT_NE(owner.body.find(" ports"), std::string::npos) << owner.body;
  secret_of(R"({"name":"for-green","role":"tenant","tenant":"green"})");
  const Response both = with_token(field(ask("GET", "/v1/tenants/green"), "id"), "for-green");
  EXPECT_EQ(both.status, 200) << both.body;
}

}  // namespace
}  // namespace plexus::api
