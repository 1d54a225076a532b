// SPDX-License-Identifier: Apache-2.0
#include "agent/explain.h"

#include <gtest/gtest.h>

#include "agent/drop_advice.h"
#include "codec/json.h"
#include "packet/text.h"
#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using codec::Node;

/// vm1 here and vm2 at h2, on two bridges with a router between; of vm2's address only what was learned is known, vm3's is configured.
class Explain : public testing::Test {
 protected:
  Explain() {
    const HostId h1 = cloud_.host("h1", "192.0.2.1"), h2 = cloud_.host("h2", "192.0.2.2");
    const BridgeId blue = cloud_.bridge("blue"), green = cloud_.bridge("green");
    const RouterId core = cloud_.router("core");
    const PortId left = cloud_.router_port("core-blue", core, "02:00:00:00:02:01", {"10.0.1.1/24"});
    const PortId right =
        cloud_.router_port("core-green", core, "02:00:00:00:02:02", {"10.0.2.1/24"});
    cloud_.plug(blue, left);
    cloud_.plug(green, right);
    vm1_ = cloud_.vm("vm1", blue, h1, "02:00:00:00:01:01", {"10.0.1.11"});
    cloud_.vm("vm2", green, h2, "02:00:00:00:01:02");
    cloud_.vm("vm3", green, h2, "02:00:00:00:01:03", {"10.0.2.13"});
    cloud_.neighbours[right] = {
        {right, *IpAddr::parse("10.0.2.12"), *MacAddr::parse("02:00:00:00:01:02")}};
    for (const auto& [id, port] : cloud_.ports)
      if (const auto* bridge = std::get_if<BridgeId>(&port.device))
        cloud_.bridges[*bridge].ports.push_back(id);
    snapshot_ = cloud_.snapshot(h1);
  }

  Node explained(const std::string& text) {
    const Frame frame = *parse_frame(text);
    const sim::Packet packet = sim::packet_of(frame, cloud_.dp_port(vm1_));
    sim::Trace trace;
    const sim::Outcome outcome = sim::simulate(packet, *snapshot_, MonoTime{1}, &trace);
    return trace_document(packet, outcome, trace, *snapshot_);
  }
  static std::string at(const Node& node, const char* key) {
    const Node* found = node.find(key);
    return found != nullptr ? found->text : "(no " + std::string(key) + ")";
  }
  /// "kind name: aspect" of each object.
  static std::set<std::string> reasons(const Node& node) {
    std::set<std::string> out;
    for (const Node& object : node.find("depends_on")->items) {
      EXPECT_NE(object.find("tag"), nullptr);
      out.insert(at(object, "kind") + " " + at(object, "name") +
                 (object.find("aspect") != nullptr ? ": " + at(object, "aspect") : ""));
    }
    return out;
  }

  sim::TestCloud cloud_;
  PortId vm1_;
  std::shared_ptr<const model::Snapshot> snapshot_;
};

TEST_F(Explain, WhatAnAnswerDependsOn) {
  const Node doc = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.12 | udp 1 > 2");
  EXPECT_EQ(at(doc, "verdict"), "forward");
  EXPECT_EQ(doc.find("reason"), nullptr);
  const auto why = reasons(doc);
  for (const char* reason :
       {"port vm1", "bridge blue", "bridge blue: who has 02:00:00:00:02:01", "port core-blue",
        "router core", "router core: its routes", "bridge green: that no port has the address",
        "port core-green: its neighbour 10.0.2.12", "bridge green: who has 02:00:00:00:01:02",
        "port vm2", "host h2"})
    EXPECT_TRUE(why.contains(reason)) << reason << " in " << codec::write_json(doc);
  // Of a machine whose address is configured the bridge knows it.
  const auto known = reasons(explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.13 | udp 1 > 2"));
  EXPECT_TRUE(known.contains("bridge green: who has 10.0.2.13")) << testing::PrintToString(known);
  // Each object by its id too, as the API takes it.
  for (const Node& object : doc.find("depends_on")->items)
    EXPECT_TRUE(Uuid::parse(at(object, "id"))) << at(object, "tag");
}

TEST_F(Explain, TheClassAndTheStepsOfATrace) {
  const Node doc = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.12 | udp 1 > 2");
  EXPECT_EQ(at(doc, "cacheable"), "true");
  EXPECT_NE(at(doc, "match").find("eth.dst 02:00:00:00:02:01"), std::string::npos);
  EXPECT_EQ(at(doc, "match").find("tp.src"), std::string::npos);  // nobody looked at ports
  EXPECT_NE(at(doc, "actions").find("-> tunnel 192.0.2.2 key "), std::string::npos);
  EXPECT_EQ(at(doc, "packet"),
            "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.12 ttl 64 | udp 1 "
            "> 2");
  const auto& steps = doc.find("steps")->items;
  ASSERT_GT(steps.size(), 5u);
  EXPECT_EQ(at(steps[0], "kind"), "packet");
  EXPECT_EQ(at(steps[1], "kind"), "port");
  EXPECT_EQ(at(steps[1], "name"), "vm1");
  EXPECT_EQ(at(steps[1], "id"), vm1_.uuid.str());
  for (const Node& step : steps) EXPECT_FALSE(at(step, "text").empty());
  // The same steps, in the same words, as people read them.
  for (const Node& step : steps)
    EXPECT_NE(at(doc, "text").find(at(step, "text")), std::string::npos);
}

TEST_F(Explain, WhatIsMissingAndWhatWasSent) {
  const Node waiting = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.77 | udp 1 > 2");
  EXPECT_EQ(at(waiting, "verdict"), "postpone");
  ASSERT_NE(waiting.find("missing"), nullptr);
  EXPECT_EQ(at(waiting.find("missing")->items.at(0), "port"), "core-green");
  EXPECT_EQ(at(waiting.find("missing")->items.at(0), "neighbour"), "10.0.2.77");
  ASSERT_NE(waiting.find("generated"), nullptr);
  EXPECT_NE(at(waiting.find("generated")->items.at(0), "packet").find("arp request who 10.0.2.77"),
            std::string::npos);

  const Node dropped = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 203.0.113.1 | udp 1 > 2");
  EXPECT_EQ(at(dropped, "verdict"), "drop");
  EXPECT_EQ(at(dropped, "reason"), "no_route");
  EXPECT_NE(at(dropped.find("generated")->items.at(0), "packet").find("icmp unreachable net"),
            std::string::npos);
}

TEST_F(Explain, TunnelKeysAndThingsThatAreGone) {
  const uint32_t key = cloud_.bindings.at(vm1_).tunnel_key;
  const std::vector<Dependency> dependencies = {
      {{TagKind::port, Uuid::derived("port", "gone"), 0}, false},
      {{TagKind::tunnel_key, {}, key}, false},
      {{TagKind::tunnel_key, {}, key}, true},
      {{TagKind::tunnel_key, {}, 0xdead}, false}};
  const auto objects = objects_of(dependencies, *snapshot_).items;
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(objects[0].find("name"), nullptr);
  EXPECT_EQ(at(objects[0], "id"), Uuid::derived("port", "gone").str());
  EXPECT_EQ(at(objects[1], "kind"), "tunnel key");
  EXPECT_EQ(at(objects[1], "aspect"), "leads to port vm1");
  EXPECT_EQ(objects[1].find("id"), nullptr);
  EXPECT_EQ(at(objects[2], "aspect"), "stands for nothing here");
}

TEST_F(Explain, WhereCopiesGoAndWhatTheyAreThen) {
  const Node doc = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 10.0.2.12 | udp 1 > 2");
  const Node* outputs = doc.find("outputs");
  ASSERT_NE(outputs, nullptr);
  ASSERT_EQ(outputs->items.size(), 1u);
  const Node& output = outputs->items[0];
  EXPECT_EQ(at(output, "host"), "h2");
  EXPECT_EQ(at(output, "port"), "vm2");
  EXPECT_NE(output.find("tunnel_key"), nullptr);
  const std::string packet = at(output, "packet");
  EXPECT_TRUE(packet.starts_with("eth 02:00:00:00:02:02 > 02:00:00:00:01:02")) << packet;
  EXPECT_EQ(doc.find("blame"), nullptr);
}

TEST_F(Explain, ADropHasAStepToBlameAndAdvice) {
  const Node doc = explained(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.11 > 203.0.113.1 | udp 1 > 2");
  EXPECT_EQ(at(doc, "reason"), "no_route");
  EXPECT_TRUE(doc.find("outputs")->items.empty());
  const Node* blame = doc.find("blame");
  ASSERT_NE(blame, nullptr);
  EXPECT_EQ(at(*blame, "kind"), "router");
  EXPECT_EQ(at(*blame, "name"), "core");
  EXPECT_EQ(at(doc, "advice"), "add a route that covers the destination");
}

/// vm1, a port that watches it, and one that has a sub-port.
class ExplainMirrors : public testing::Test {
 protected:
  ExplainMirrors() {
    h1_ = cloud_.host("h1", "192.0.2.1");
    blue_ = cloud_.bridge("blue");
    const BridgeId watch = cloud_.bridge("watch");
    vm1_ = cloud_.vm("vm1", blue_, h1_, "02:00:00:00:01:01", {"10.0.1.1"});
    vm2_ = cloud_.vm("vm2", blue_, h1_, "02:00:00:00:01:02");
    spy_ = cloud_.vm("spy", watch, h1_, "02:00:00:00:09:01");
    trunk_ = cloud_.vm("trunk", watch, h1_, "02:00:00:00:09:02");
    cloud_.sub_port("sub", blue_, trunk_, 7, "02:00:00:00:01:07");
    cloud_.mirror("m1", vm1_, true, false, spy_);
  }
  void no_chain(PortId port) {
    const ChainId no = cloud_.chain("no");
    cloud_.rule("none", no, 1, model::RuleAction::drop);
    cloud_.ports[port].in_chain = no;
  }
  Node explained(const char* to) {
    const auto snapshot = cloud_.snapshot(h1_);
    const Frame frame = *parse_frame(std::string("eth 02:00:00:00:01:01 > ") + to +
                                     " | ipv4 10.0.1.1 > 10.0.1.2 | udp 1 > 2");
    const sim::Packet packet = sim::packet_of(frame, cloud_.dp_port(vm1_));
    sim::Trace trace;
    const sim::Outcome outcome = sim::simulate(packet, *snapshot, MonoTime{1}, &trace);
    return trace_document(packet, outcome, trace, *snapshot);
  }
  static std::string at(const Node& node, const char* key) {
    const Node* found = node.find(key);
    return found != nullptr ? found->text : "(no " + std::string(key) + ")";
  }
  /// "port" of each output, with "(mirror)" behind those that have it.
  static std::vector<std::string> outputs(const Node& doc) {
    std::vector<std::string> out;
    for (const Node& output : doc.find("outputs")->items)
      out.push_back(at(output, "port") + (output.find("mirror") != nullptr ? " (mirror)" : ""));
    return out;
  }

  sim::TestCloud cloud_;
  HostId h1_;
  BridgeId blue_;
  PortId vm1_, vm2_, spy_, trunk_;
};

TEST_F(ExplainMirrors, AMirrorsCopyIsMarked) {
  EXPECT_EQ(outputs(explained("02:00:00:00:01:02")),
            (std::vector<std::string>{"spy (mirror)", "vm2"}));
}

TEST_F(ExplainMirrors, ADropBesideMirrorsHasReasonBlameAndAdvice) {
  no_chain(vm1_);
  const Node doc = explained("02:00:00:00:01:02");
  EXPECT_EQ(at(doc, "verdict"), "forward");
  EXPECT_EQ(outputs(doc), (std::vector<std::string>{"spy (mirror)"}));
  EXPECT_EQ(at(doc, "reason"), "filtered_by_rule");
  ASSERT_NE(doc.find("blame"), nullptr);
  EXPECT_EQ(at(*doc.find("blame"), "name"), "no/none");
  EXPECT_EQ(at(doc, "advice"), drop_advice(sim::DropReason::filtered_by_rule));
}

TEST_F(ExplainMirrors, WhatADeviceTookBesideMirrorsIsNoDrop) {
  const RouterId core = cloud_.router("core");
  cloud_.plug(blue_, cloud_.router_port("core-blue", core, "02:00:00:00:02:01", {"10.0.1.2/24"}));
  const auto snapshot = cloud_.snapshot(h1_);
  const Frame frame = *parse_frame(
      "eth 02:00:00:00:01:01 > 02:00:00:00:02:01 | ipv4 10.0.1.1 > 10.0.1.2 | icmp echo-request "
      "id 1");
  const sim::Packet packet = sim::packet_of(frame, cloud_.dp_port(vm1_));
  sim::Trace trace;
  const sim::Outcome outcome = sim::simulate(packet, *snapshot, MonoTime{1}, &trace);
  EXPECT_EQ(outcome.verdict, sim::Verdict::forward) << trace.text();
  EXPECT_EQ(outcome.itself().verdict, sim::Verdict::consumed) << trace.text();
  const Node doc = trace_document(packet, outcome, trace, *snapshot);
  EXPECT_EQ(outputs(doc), (std::vector<std::string>{"spy (mirror)"}));
  EXPECT_EQ(doc.find("reason"), nullptr);
}

TEST_F(ExplainMirrors, TheStepToBlameIsThePacketsNotAMirrors) {
  // Both for the same reason, the mirror's copy first.
  cloud_.bindings.erase(spy_);
  cloud_.bindings.erase(vm2_);
  const Node doc = explained("02:00:00:00:01:02");
  EXPECT_EQ(at(doc, "verdict"), "drop");
  EXPECT_EQ(at(doc, "reason"), "port_unbound");
  ASSERT_NE(doc.find("blame"), nullptr);
  EXPECT_EQ(at(*doc.find("blame"), "name"), "vm2") << at(doc, "text");
}

TEST_F(ExplainMirrors, WhatLeavesByASubPortIsNotItsParents) {
  EXPECT_EQ(outputs(explained("02:00:00:00:01:07")),
            (std::vector<std::string>{"spy (mirror)", "sub"}));
}

TEST(DropAdvice, EachReasonHasOne) {
  for (size_t i = 1; i < sim::kDropReasonCount; ++i) {
    const auto reason = static_cast<sim::DropReason>(i);
    EXPECT_FALSE(drop_advice(reason).empty()) << sim::to_string(reason);
  }
  // A rule that translates at a bridge is no matter of newer agents.
  EXPECT_NE(drop_advice(sim::DropReason::filter_unreadable).find("snat to out_chain of a router"),
            std::string::npos);
}

}  // namespace
}  // namespace plexus::agent
