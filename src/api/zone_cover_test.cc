// SPDX-License-Identifier: Apache-2.0
#include "api/zone_cover.h"

#include <gtest/gtest.h>

#include "api/api_fixture.h"
#include "store/topology/host_records.h"

namespace plexus::api {
namespace {

class ZoneCoverTest : public ApiFixture {
 protected:
  ZoneCoverTest() {
    for (const char* name : {"h1", "h2"}) {
      const std::string id = created("hosts", R"({"name":")" + std::string(name) + "\"}");
      store::HostRecords records(store(), HostId{*Uuid::parse(id)});
      const auto address = *IpAddr::parse(name[1] == '1' ? "192.0.2.1" : "192.0.2.129");
      EXPECT_TRUE(records.register_host({.name = name, .tunnel_addresses = {address}}).ok());
    }
    fabric_ = created("tunnel-zones", R"({"name":"fabric","prefixes":["192.0.2.0/24"]})");
  }
  std::string fabric_;
};

TEST_F(ZoneCoverTest, AZoneThatHostsLiveInStays) {
  const Response gone = ask("DELETE", "/v1/tunnel-zones/fabric");
  EXPECT_EQ(gone.status, 409);
  EXPECT_NE(gone.body.find("h1, h2"), std::string::npos) << gone.body;
  const Response narrow =
      ask("PATCH", "/v1/tunnel-zones/fabric", R"({"prefixes":["192.0.2.0/25"]})");
  EXPECT_EQ(narrow.status, 409);
  EXPECT_EQ(narrow.body.find("h1"), std::string::npos) << narrow.body;
  EXPECT_NE(narrow.body.find("h2"), std::string::npos) << narrow.body;
  EXPECT_EQ(ask("PATCH", "/v1/tunnel-zones/fabric", R"({"name":"underlay"})").status, 200);
  const std::string drop = R"({"op":"delete","collection":"tunnel-zones","id":")" + fabric_ + "\"}";
  const Response batch = ask("POST", "/v1/batch", R"({"operations":[)" + drop + "]}");
  EXPECT_EQ(batch.status, 409) << batch.body;
  // Where another covers them, or they go too, it may go.
  EXPECT_EQ(ask("DELETE", "/v1/hosts/h2").status, 200);
  created("tunnel-zones", R"({"name":"other","prefixes":["192.0.2.0/25"]})");
  EXPECT_EQ(ask("POST", "/v1/batch", R"({"operations":[)" + drop + "]}").status, 200);
  const std::string host = field(ask("GET", "/v1/hosts/h1"), "id");
  EXPECT_EQ(ask("DELETE", "/v1/tunnel-zones/other").status, 409);
  EXPECT_EQ(ask("POST", "/v1/batch",
                R"({"operations":[{"op":"delete","collection":"hosts","id":")" + host +
                    R"("},{"op":"delete","collection":"tunnel-zones","id":")" +
                    field(ask("GET", "/v1/tunnel-zones/other"), "id") + "\"}]}")
                .status,
            200);
}

TEST_F(ZoneCoverTest, ABatchReplacesAZone) {
  const std::string old_id = fabric_;
  const auto replace = [&](const std::string& other, const std::string& goes) {
    const Response done =
        ask("POST", "/v1/batch",
            R"({"operations":[)" + other + R"(,{"op":"delete","collection":"tunnel-zones","id":")" +
                goes + "\"}]}");
    EXPECT_EQ(done.status, 200) << done.body;
  };
  replace(R"({"op":"create","collection":"tunnel-zones","body":)"
          R"({"name":"new","prefixes":["192.0.0.0/16"]}})",
          old_id);
  created("tunnel-zones", R"({"name":"narrow","prefixes":["10.0.0.0/8"]})");
  const auto id = [&](const char* name) {
    return field(ask("GET", std::string("/v1/tunnel-zones/") + name), "id");
  };
  replace(R"({"op":"update","collection":"tunnel-zones","id":")" + id("narrow") +
              R"(","body":{"prefixes":["192.0.2.0/24"]}})",
          id("new"));
}

TEST_F(ZoneCoverTest, ARemovalNamesWhatItTouches) {
  created("routers", R"({"name":"edge"})");
  const std::string router = field(ask("GET", "/v1/routers/edge"), "id");
  created("load-balancers", R"({"name":"front","router":")" + router + "\"}");
  const std::string front = field(ask("GET", "/v1/load-balancers/front"), "id");
  created("pools", R"({"name":"web","load_balancer":")" + front + "\"}");
  const Response gone = ask("DELETE", "/v1/load-balancers/front");
  EXPECT_EQ(gone.status, 200);
  EXPECT_EQ(field(gone, "cascaded"), "1");
  EXPECT_NE(gone.body.find(R"("cascaded_objects":[{"collection":"pools","id":")"),
            std::string::npos)
      << gone.body;
  EXPECT_EQ(gone.body.find("cleared_objects"), std::string::npos) << gone.body;
}

}  // namespace
}  // namespace plexus::api
