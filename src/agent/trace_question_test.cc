// SPDX-License-Identifier: Apache-2.0
#include "agent/trace_question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using testing::HasSubstr;

constexpr std::string_view kPacket =
    "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53";

class TraceQuestionTest : public testing::Test {
 protected:
  TraceQuestionTest() {
    h1 = cloud.host("h1", "192.0.2.1");
    h2 = cloud.host("h2", "192.0.2.2");
    red = cloud.bridge("red");
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
    sub = cloud.sub_port("sub", red, vm1, 7, "02:00:00:00:01:07");
  }
  /// "port": name.
  Result<TraceEntry> entry(const std::string& port) {
    return asked("{\"packet\": \"" + std::string(kPacket) + "\", \"port\": \"" + port + "\"}");
  }
  Result<TraceEntry> asked(const std::string& body) {
    const auto question = parse_trace_question(body);
    if (!question) return question.error();
    frame = question->frame;
    return entry_of(*question, *cloud.snapshot(h1));
  }
  /// Another port of that name.
  PortId twin(const std::string& id, const std::string& name, const std::string& tenant) {
    const PortId port = cloud.vm(id, red, h1, "02:00:00:00:02:01");
    cloud.ports[port].name = name;
    cloud.ports[port].tenant = tenant;
    return port;
  }

  sim::TestCloud cloud;
  HostId h1, h2;
  BridgeId red;
  PortId vm1, sub;
  Frame frame;
};

TEST_F(TraceQuestionTest, APortByNameOrId) {
  for (const std::string& name : {std::string("vm1"), vm1.str()}) {
    const auto at = entry(name);
    ASSERT_TRUE(at.ok()) << at.error().message;
    EXPECT_EQ(at->port, cloud.dp_port(vm1));
    EXPECT_EQ(at->tunnel_key, 0u);
    EXPECT_EQ(at->frame, frame);
  }
  const auto unknown = entry("vm9");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::not_found);
  cloud.vm("far", red, h2, "02:00:00:00:01:03");
  cloud.dp_ports.erase(sim::TestCloud::port_id("far"));
  EXPECT_THAT(entry("far").error().message, HasSubstr("not plugged in on this host"));
}

TEST_F(TraceQuestionTest, ASubPortIsEnteredByItsParentWithItsTag) {
  const auto at = entry("sub");
  ASSERT_TRUE(at.ok()) << at.error().message;
  EXPECT_EQ(at->port, cloud.dp_port(vm1));
  EXPECT_EQ(at->frame, with_vlan(frame, 7));
  cloud.bindings[sub].host = h2;
  const auto elsewhere = entry("sub");
  ASSERT_FALSE(elsewhere.ok());
  EXPECT_EQ(elsewhere.error().code, ErrorCode::not_found);
  EXPECT_THAT(elsewhere.error().message, HasSubstr("is a sub-port"));
}

TEST_F(TraceQuestionTest, AmongPortsOfOneNameTheOneWithoutTenantOrNone) {
  // The only one is meant, whosever it is.
  const PortId blue = twin("a", "db", "blue");
  ASSERT_TRUE(entry("db").ok());
  EXPECT_EQ(entry("db")->port, cloud.dp_port(blue));
  const PortId green = twin("b", "db", "green");
  const auto several = entry("db");
  ASSERT_FALSE(several.ok());
  EXPECT_EQ(several.error().code, ErrorCode::invalid);
  EXPECT_THAT(several.error().message,
              HasSubstr(blue.str() + " of tenant blue, " + green.str() + " of tenant green"));
  EXPECT_EQ(entry(green.str())->port, cloud.dp_port(green));
  const PortId own = twin("c", "db", "");
  ASSERT_TRUE(entry("db").ok());
  EXPECT_EQ(entry("db")->port, cloud.dp_port(own));
}

TEST_F(TraceQuestionTest, AnyTunnelKeyEvenOneThatNobodyHas) {
  const std::string body = "{\"packet\": \"" + std::string(kPacket) + "\", \"tunnel_key\": ";
  for (const uint32_t key : {0u, 77u, (1u << 24) - 1}) {
    const auto at = asked(body + std::to_string(key) + "}");
    ASSERT_TRUE(at.ok()) << at.error().message;
    EXPECT_EQ(at->port, kTunnelPort);
    EXPECT_EQ(at->tunnel_key, key);
  }
  EXPECT_THAT(asked(body + "16777216}").error().message, HasSubstr("below 16777216"));
  EXPECT_THAT(asked(body + "1, \"port\": \"vm1\"}").error().message, HasSubstr("either"));
  EXPECT_THAT(asked("{\"port\": \"vm1\"}").error().message, HasSubstr("either"));
}

}  // namespace
}  // namespace plexus::agent
