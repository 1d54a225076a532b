// SPDX-License-Identifier: Apache-2.0
// Trace requests: which packets they meet, and what that does to classes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "packet/headers.h"
#include "packet/text.h"
#include "sim/delta_tags.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// vm1, vm2 on red, vm4 on blue, all at h1; a router between them.
class TraceRequests : public testing::Test {
 protected:
  TraceRequests() {
    h1 = cloud.host("h1", "192.0.2.1");
    red = cloud.bridge("red");
    blue = cloud.bridge("blue");
    rt = cloud.router("rt");
    const PortId rt_red =
        cloud.router_port("rt-red", rt, "02:00:00:00:01:fe", {"10.0.1.254/24", "fd00:1::fe/64"});
    const PortId rt_blue =
        cloud.router_port("rt-blue", rt, "02:00:00:00:02:fe", {"10.0.2.254/24", "fd00:2::fe/64"});
    cloud.plug(red, rt_red);
    cloud.plug(blue, rt_blue);
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1", "fd00:1::1"});
    vm2 = cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2", "fd00:1::2"});
    vm4 = cloud.vm("vm4", blue, h1, "02:00:00:00:02:04", {"10.0.2.4", "fd00:2::4"});
  }

  Outcome send(PortId from, const std::string& text, Trace* trace = nullptr) {
    sent = *parse_frame(text);
    packet = packet_of(sent, cloud.dp_port(from));
    snapshot = cloud.snapshot(h1);
    Outcome out;
    ConnectionView view;
    view.spent = &spent;
    simulate(packet, *snapshot, view, MonoTime{}, out, trace);
    return out;
  }
  TraceRequestId id(const char* name) {
    return TraceRequestId{Uuid::derived("trace request", name)};
  }

  const std::string to_vm2 =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53";
  const std::string to_vm4 =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.4 ttl 9 | udp 7 > 53";
  const std::string to_vm4_v6 =
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv6 fd00:1::1 > fd00:2::4 ttl 9 | udp 7 > 53";
  TestCloud cloud;
  HostId h1;
  BridgeId red, blue;
  RouterId rt;
  PortId vm1, vm2, vm4;
  std::vector<TraceRequestId> spent;
  Frame sent;
  Packet packet;
  std::shared_ptr<const model::Snapshot> snapshot;
};

TEST_F(TraceRequests, AskAtAPortABridgeOrARouter) {
  cloud.trace_request("port", vm1);
  cloud.trace_request("blue", blue);
  cloud.trace_request("router", rt);
  EXPECT_THAT(send(vm1, to_vm2).traced, ElementsAre(id("port")));
  EXPECT_FALSE(send(vm1, to_vm2).cacheable) << "the next one is to come up, too";
  for (const auto& text : {to_vm4, to_vm4_v6})
    EXPECT_THAT(send(vm1, text).traced, UnorderedElementsAre(id("port"), id("blue"), id("router")));
  EXPECT_THAT(
      send(vm2, "eth 02:00:00:00:01:02 > 02:00:00:00:01:01 | ipv4 10.0.1.2 > 10.0.1.1 | udp 53 > 7")
          .traced,
      IsEmpty())
      << "what goes to the port is not what comes from it";
  Trace trace;
  (void)send(vm1, to_vm2, &trace);
  EXPECT_THAT(trace.text(), HasSubstr("trace request port"));
  // Dropped packets are what people ask about most.
  cloud.bridges[red].admin_up = false;
  const Outcome dropped = send(vm1, to_vm2);
  EXPECT_EQ(dropped.reason, DropReason::bridge_admin_down);
  EXPECT_THAT(dropped.traced, ElementsAre(id("port")));
  EXPECT_FALSE(dropped.cacheable);
}

TEST_F(TraceRequests, AskAtOnePlaceAlsoWhenAnotherHasTheSameId) {
  // Ids are unique among objects of one type only.
  cloud.trace_request("bridge", red);
  cloud.trace_request("port with its id", PortId{red.uuid});
  cloud.trace_request("router with its id", RouterId{red.uuid});
  cloud.trace_request("bridge with the router's id", BridgeId{rt.uuid});
  cloud.trace_request("bridge with the port's id", BridgeId{vm1.uuid});
  for (const auto& text : {to_vm4, to_vm4_v6})
    EXPECT_THAT(send(vm1, text).traced, ElementsAre(id("bridge")));
  cloud.trace_requests.erase(id("bridge"));
  EXPECT_TRUE(send(vm1, to_vm4).cacheable);
}

TEST_F(TraceRequests, MeetWhatTheyDescribeAndReadNoMore) {
  auto& request = cloud.trace_request("dns", vm1);
  request.match.protocol = ip_proto::kUdp;
  request.match.destination_ports = {{53, 53}};
  request.match.destination = IpPrefix::parse("10.0.2.0/24");
  EXPECT_THAT(send(vm1, to_vm4).traced, ElementsAre(id("dns")));
  EXPECT_THAT(send(vm1, to_vm4_v6).traced, IsEmpty());
  const Outcome other = send(vm1, to_vm2);
  EXPECT_THAT(other.traced, IsEmpty());
  EXPECT_TRUE(other.cacheable);
  const Outcome tcp = send(
      vm1,
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:fe | ipv4 10.0.1.1 > 10.0.2.4 ttl 9 | tcp 7 > 53");
  EXPECT_THAT(tcp.traced, IsEmpty());
  EXPECT_EQ(tcp.mask.ip_proto, 0xff) << "a packet that it meets is of another class";
  EXPECT_EQ(tcp.mask.tp_dst, Be16()) << "the protocol says that it is none";
}

TEST_F(TraceRequests, AreDoneWhenTheyHaveHadTheirPackets) {
  cloud.trace_request("a", vm1);
  cloud.trace_request("b", vm1);
  spent = {id("a")};
  EXPECT_THAT(send(vm1, to_vm2).traced, ElementsAre(id("b")));
  spent = {id("a"), id("b")};
  std::sort(spent.begin(), spent.end());
  const Outcome done = send(vm1, to_vm2);
  EXPECT_THAT(done.traced, IsEmpty());
  EXPECT_TRUE(done.cacheable);
  spent.clear();
  cloud.trace_requests[id("a")].admin_up = false;
  cloud.trace_requests[id("b")].unreadable = true;
  EXPECT_THAT(send(vm1, to_vm2).traced, IsEmpty());
}

TEST_F(TraceRequests, AFloodIsOnePacket) {
  cloud.trace_request("red", red);
  EXPECT_THAT(
      send(vm1,
           "eth 02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.1 > 10.0.1.255 | udp 7 > 7")
          .traced,
      ElementsAre(id("red")));
}

TEST_F(TraceRequests, TouchTheFlowsThatPassTheirPlace) {
  model::Topology topology(h1);
  topology.apply(cloud.changes(h1));
  sent = *parse_frame(to_vm4);
  packet = packet_of(sent, cloud.dp_port(vm1));
  const std::vector<std::variant<std::monostate, PortId, BridgeId, RouterId>> places = {vm1, red,
                                                                                        blue, rt};
  for (size_t i = 0; i < places.size(); ++i) {
    const auto touched = [&](std::optional<model::TraceRequest> now) {
      const Outcome before = simulate(packet, *topology.snapshot(), MonoTime{});
      const auto tags = tags_of(topology.apply(
          std::vector<model::Change>{model::TraceRequestChange{id("x"), std::move(now)}}));
      return std::any_of(tags.begin(), tags.end(), [&](const TagChange& change) {
        return std::any_of(before.dependencies.begin(), before.dependencies.end(),
                           [&](const Dependency& d) { return d.tag == change.tag; });
      });
    };
    model::TraceRequest request = cloud.trace_request("x", places[i]);
    EXPECT_TRUE(touched(request)) << i;
    request.match.protocol = ip_proto::kTcp;
    EXPECT_TRUE(touched(request)) << i;
    EXPECT_FALSE(touched(request)) << "nothing new: " << i;
    EXPECT_TRUE(touched(std::nullopt)) << i;
    EXPECT_FALSE(topology.snapshot()->any_trace_requests());
  }
}

}  // namespace
}  // namespace plexus::sim
