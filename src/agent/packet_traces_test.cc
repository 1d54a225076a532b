// SPDX-License-Identifier: Apache-2.0
#include "agent/packet_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/json.h"
#include "packet/text.h"
#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const MonoTime kNow = MonoTime{} + std::chrono::seconds(1000);

class PacketTracesTest : public testing::Test {
 protected:
  PacketTracesTest() {
    h1 = cloud.host("h1", "192.0.2.1");
    const BridgeId red = cloud.bridge("red");
    vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
    cloud.vm("vm2", red, h1, "02:00:00:00:01:02", {"10.0.1.2"});
  }
  void publish() {
    snapshot = cloud.snapshot(h1);
    traces.publish(*snapshot);
  }
  /// As the worker does.
  void send(MonoTime now = kNow) {
    const Frame frame = *parse_frame(
        "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53");
    const sim::Packet packet = sim::packet_of(frame, cloud.dp_port(vm1));
    sim::ConnectionView view;
    view.spent = &traces.spent();
    sim::Outcome outcome;
    sim::simulate(packet, *snapshot, view, now, outcome);
    if (!outcome.traced.empty()) traces.follow(packet, outcome, *snapshot, view, now);
  }

  sim::TestCloud cloud;
  HostId h1;
  PortId vm1;
  std::shared_ptr<const model::Snapshot> snapshot;
  PacketTraces traces;
};

TEST_F(PacketTracesTest, SoManyOfEachRequestThenNoMore) {
  const TraceRequestId few = cloud.trace_request("few", vm1).id;
  cloud.trace_requests[few].limit = 2;
  cloud.trace_request("more", vm1).limit = 3;
  publish();
  for (int i = 0; i < 5; ++i) send();
  EXPECT_THAT(traces.kept(), SizeIs(5));
  EXPECT_THAT(traces.spent(), SizeIs(2));
  EXPECT_THAT(traces.kept().front().outcome, "forward");
  EXPECT_THAT(traces.kept().front().steps, testing::Contains(HasSubstr("is behind port vm2")));
  // Another version of the topology changes nothing for a request that is the same; one that changed counts anew.
  publish();
  send();
  EXPECT_THAT(traces.kept(), SizeIs(5));
  cloud.trace_requests[few].limit = 1;
  publish();
  EXPECT_THAT(traces.spent(), SizeIs(1));
  for (int i = 0; i < 3; ++i) send();
  EXPECT_THAT(traces.kept(), SizeIs(6));
  // Once gone, it may come again.
  cloud.trace_requests.erase(few);
  publish();
  cloud.trace_request("few", vm1).limit = 1;
  publish();
  send();
  EXPECT_THAT(traces.kept(), SizeIs(7));
}

TEST_F(PacketTracesTest, TheNewestAreKept) {
  cloud.trace_request("all", vm1).limit = 1000;
  publish();
  for (int i = 0; i < 1001; ++i) send();
  EXPECT_EQ(traces.kept().size(), PacketTraces::kKept);
  EXPECT_EQ(traces.kept().back().number, 1000u);
}

TEST_F(PacketTracesTest, DropsSayWhyAndTheDocumentSaysAll) {
  cloud.trace_request("why", vm1);
  cloud.ports[vm1].admin_up = false;
  publish();
  EXPECT_EQ(codec::write_json(traces_document(traces, kNow)), R"({"traces":[]})");
  send();
  ASSERT_THAT(traces.kept(), SizeIs(1));
  EXPECT_EQ(traces.kept()[0].outcome, "drop port_admin_down");
  const std::string json =
      codec::write_json(traces_document(traces, kNow + std::chrono::milliseconds(1500)));
  for (const char* part : {R"("request":"why")", R"("age_ms":1500)", R"("number":1)",
                           R"("outcome":"drop port_admin_down")", R"("steps":["packet: eth)"})
    EXPECT_THAT(json, HasSubstr(part));
}

}  // namespace
}  // namespace plexus::agent
