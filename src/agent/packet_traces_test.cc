// SPDX-License-Identifier: Apache-2.0
#include "agent/packet_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "agent/shortened.h"
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
  void send(MonoTime now = kNow, std::optional<PortId> from = std::nullopt) {
    const Frame frame = *parse_frame(
        "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53" +
        (payload.empty() ? std::string() : " | payload \"" + payload + "\""));
    const sim::Packet packet = sim::packet_of(frame, cloud.dp_port(from.value_or(vm1)));
    sim::ConnectionView view;
    view.spent = &traces.spent();
    sim::Outcome outcome;
    sim::simulate(packet, *snapshot, view, now, outcome);
    if (outcome.traced.empty()) return;
    traces.follow(packet, outcome, *snapshot, view, now);
    for (int i = 0; i < times_refused && refused != sim::DropReason::none; ++i)
      traces.dropped(refused);
    traces.conclude();
  }
  [[nodiscard]] size_t kept_of(const std::string& request) const {
    return static_cast<size_t>(
        std::count_if(traces.kept().begin(), traces.kept().end(),
                      [&](const PacketTraces::Entry& entry) { return entry.name == request; }));
  }

  sim::TestCloud cloud;
  HostId h1;
  PortId vm1;
  std::shared_ptr<const model::Snapshot> snapshot;
  PacketTraces traces;
  std::string payload;
  sim::DropReason refused = sim::DropReason::none;  ///< by the agent, whatever the simulation says
  int times_refused = 1;
};

TEST_F(PacketTracesTest, TheOutcomeIsThePacketsNotThatOfWhatMirrorsHave) {
  cloud.trace_request("why", vm1);
  cloud.mirror("m1", vm1, true, false,
               cloud.vm("spy", cloud.bridge("watch"), h1, "02:00:00:00:09:01"));
  const ChainId no = cloud.chain("no");
  cloud.rule("none", no, 1, model::RuleAction::drop);
  cloud.ports[vm1].in_chain = no;
  publish();
  send();
  ASSERT_THAT(traces.kept(), SizeIs(1));
  EXPECT_EQ(traces.kept().front().outcome, "drop filtered_by_rule");
}

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

/// Whoever changes a request has its host count from nothing again.
TEST_F(PacketTracesTest, ARequestThatChangesOverAndOverPushesOutItsOwn) {
  cloud.trace_request("quiet", vm1).limit = 20;
  publish();
  for (int i = 0; i < 20; ++i) send();
  const TraceRequestId loud = cloud.trace_request("loud", vm1).id;
  for (uint32_t change = 0; change < 4; ++change) {
    cloud.trace_requests[loud].limit = 200 + change;
    publish();
    for (int i = 0; i < 210; ++i) send();
  }
  EXPECT_EQ(traces.kept().size(), PacketTraces::kKept);
  EXPECT_EQ(kept_of("quiet"), 20u);
  EXPECT_EQ(traces.kept().back().name, "loud");
}

/// Of one tenant as of one request.
TEST_F(PacketTracesTest, ManyRequestsOfATenantPushOutTheirOwn) {
  const PortId vm3 = cloud.vm("vm3", cloud.bridge("blue"), h1, "02:00:00:00:02:01");
  cloud.ports[vm1].tenant = "red";
  cloud.ports[vm3].tenant = "blue";
  cloud.trace_request("quiet", vm3).limit = 100;
  publish();
  for (int i = 0; i < 100; ++i) send(kNow, vm3);
  for (int i = 0; i < 300; ++i) cloud.trace_request("loud" + std::to_string(i), vm1).limit = 2;
  publish();
  for (int i = 0; i < 2; ++i) send();
  EXPECT_EQ(traces.kept().size(), PacketTraces::kKept);
  EXPECT_EQ(kept_of("quiet"), 100u);
}

/// Those of requests that are gone stay, but count as well.
TEST_F(PacketTracesTest, LargeTracesPushOutLargeOnes) {
  cloud.trace_request("quiet", vm1).limit = 5;
  publish();
  for (int i = 0; i < 5; ++i) send();
  cloud.trace_requests.clear();
  const TraceRequestId loud = cloud.trace_request("loud", vm1).id;
  cloud.trace_requests[loud].limit = 1000;
  publish();
  refused = sim::DropReason::connections_of_port;
  times_refused = 40'000;
  for (int i = 0; i < 10; ++i) send();
  EXPECT_LT(kept_of("loud"), 10u) << "each has a megabyte";
  EXPECT_GE(kept_of("loud"), 1u);
  EXPECT_EQ(kept_of("quiet"), 5u);
}

/// As bulk TCP has them.
TEST_F(PacketTracesTest, LargePacketsDoNotPushOutTheOthers) {
  cloud.trace_request("all", vm1).limit = 1000;
  publish();
  payload.assign(60000, 'a');
  for (size_t i = 0; i < PacketTraces::kKept; ++i) send();
  EXPECT_EQ(traces.kept().size(), PacketTraces::kKept);
  EXPECT_THAT(traces.kept().back().packet, HasSubstr("more characters)"));
  EXPECT_LT(traces.kept().back().packet.size(), PacketTraces::kMaxLine + 100);
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

TEST_F(PacketTracesTest, WhatTheAgentRefusesIsNoForward) {
  cloud.trace_request("why", vm1);
  cloud.trace_request("why-too", vm1);
  publish();
  send();
  refused = sim::DropReason::connections_of_port;
  send();
  ASSERT_THAT(traces.kept(), SizeIs(4));
  for (const size_t i : {0u, 1u}) EXPECT_EQ(traces.kept()[i].outcome, "forward");
  for (const size_t i : {2u, 3u}) {
    EXPECT_EQ(traces.kept()[i].outcome, "drop connections_of_port");
    EXPECT_EQ(traces.kept()[i].steps.back(), "agent: drop: connections_of_port");
  }
  // It is none of the packets before it.
  traces.dropped(sim::DropReason::storm_limit);
  EXPECT_EQ(traces.kept().back().outcome, "drop connections_of_port");
}

TEST(Shortened, OfALargePacketTheBeginningIsEnough) {
  EXPECT_EQ(shortened("eth"), "eth");
  EXPECT_EQ(shortened(std::string(kMaxLogText, 'a')), std::string(kMaxLogText, 'a'));
  EXPECT_EQ(shortened(std::string(kMaxLogText + 70, 'a')),
            std::string(kMaxLogText, 'a') + "... (70 more characters)");
}

}  // namespace
}  // namespace plexus::agent
