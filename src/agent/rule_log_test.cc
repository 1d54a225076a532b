// SPDX-License-Identifier: Apache-2.0
#include "agent/rule_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "packet/text.h"
#include "sim/test_cloud.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class RuleLogTest : public testing::Test {
 protected:
  RuleLogTest() : log([this](std::string_view line) { lines.emplace_back(line); }) {}
  static RuleId rule(const std::string& name) { return RuleId{Uuid::derived("rule", name)}; }
  void meet(const std::string& name) {
    log.add(rule(name), now, [&] { return name; });
  }
  /// All rules of the noisy one, as one packet meets them.
  void noise(int rules) {
    for (int i = 0; i < rules; ++i) meet("noise" + std::to_string(i));
  }
  [[nodiscard]] size_t count(const std::string& beginning) const {
    return static_cast<size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
      return line.compare(0, beginning.size(), beginning) == 0;
    }));
  }
  void tick() { log.tick(*cloud.snapshot(sim::TestCloud::host_id("h1")), now); }

  std::vector<std::string> lines;
  RuleLog log;
  MonoTime now = MonoTime{} + 1000s;
  sim::TestCloud cloud;
};

TEST_F(RuleLogTest, TenLinesASecondOfARuleAndTheRestIsCounted) {
  for (int i = 0; i < 10; ++i) meet("r");
  EXPECT_THAT(lines, SizeIs(10));
  now = now + 500ms;
  for (int i = 0; i < 7; ++i) meet("r");
  EXPECT_THAT(lines, SizeIs(10));
  meet("s");
  now = now + 500ms;
  lines.clear();
  meet("r");
  meet("r");
  EXPECT_THAT(lines, ElementsAre("r (7 more were not logged)", "r"));
  EXPECT_EQ(log.left_out(), 7u);
  now = now + 100s;
  tick();
  EXPECT_EQ(log.rules(), 0u);
}

TEST_F(RuleLogTest, OfARuleThatIsNoMoreNothingIsKept) {
  for (unsigned i = 0; i <= RuleLog::kLinesPerSecond; ++i) meet("r");
  ASSERT_EQ(log.left_out(), 1u) << "and the next line would say so";
  now = now + 59s;
  tick();
  EXPECT_EQ(log.rules(), 1u);
  now = now + 1s;
  tick();
  EXPECT_EQ(log.rules(), 0u);
}

/// A packet can meet hundreds of rules that log and go on.
TEST_F(RuleLogTest, AllRulesTogetherHaveABound) {
  for (int packet = 0; packet < 200; ++packet) {
    noise(500);
    now = now + 50ms;
  }
  EXPECT_LE(lines.size(), 11u * RuleLog::kLinesOfHost);
  now = now + 1s;
  tick();
  EXPECT_GE(count("noise"), 10u * RuleLog::kLinesOfHost);
  // All that had none are told of, in few lines of the host.
  const size_t told = lines.size() - count("noise");
  EXPECT_GE(told, 1u);
  EXPECT_LE(told, 3u);
  EXPECT_THAT(lines, testing::Contains(HasSubstr(" packets that rules log have no line: this host "
                                                 "writes 100 a second for all rules")));
  EXPECT_EQ(200u * 500u, count("noise") + log.left_out() + log.waiting());
}

TEST_F(RuleLogTest, TheNoiseOfSomeDoesNotSilenceOthers) {
  for (int packet = 0; packet < 20; ++packet) {
    noise(500);
    now = now + 50ms;
  }
  // One packet, met by a rule that has not been heard of: none that has been comes before it.
  meet("quiet");
  EXPECT_EQ(count("quiet"), 0u);
  for (int packet = 0; packet < 20 * 5; ++packet) {
    now = now + 50ms;
    noise(500);
  }
  EXPECT_EQ(count("quiet"), 1u);
  // And again, as long as the noise lasts: 501 rules have a line each in six seconds.
  for (int packet = 0; packet < 20 * 30; ++packet) {
    now = now + 50ms;
    noise(500);
    meet("quiet");
  }
  EXPECT_GE(count("quiet"), 5u);
}

TEST_F(RuleLogTest, WhoWasHeardLongAgoTakesThePlaceOfWhoWasHeardJustNow) {
  meet("quiet");
  now = now + 1s;
  const int many = 2 * static_cast<int>(RuleLog::kWaiting);
  for (int second = 0; second < 25; ++second) {
    noise(many);
    now = now + 1s;
  }
  noise(many);
  ASSERT_EQ(log.waiting(), RuleLog::kWaiting) << "no place is free";
  meet("quiet");
  EXPECT_EQ(log.waiting(), RuleLog::kWaiting);
  now = now + 1s;
  lines.clear();
  noise(many);
  EXPECT_EQ(count("quiet"), 1u);
}

TEST_F(RuleLogTest, WhatWaitsIsWrittenWhenNoPacketComes) {
  noise(150);
  EXPECT_THAT(lines, SizeIs(100));
  EXPECT_EQ(log.waiting(), 50u);
  now = now + 1s;
  tick();
  EXPECT_EQ(count("noise"), 150u);
  EXPECT_EQ(log.waiting(), 0u);
  EXPECT_EQ(log.left_out(), 0u);
}

TEST_F(RuleLogTest, ALineSaysWhatBecameOfThePacket) {
  const HostId h1 = cloud.host("h1", "192.0.2.1");
  const PortId vm1 = cloud.vm("vm1", cloud.bridge("red"), h1, "02:00:00:00:01:01", {"10.0.1.1"});
  const ChainId chain = cloud.chain("web");
  cloud.rule("heard", chain, 1, model::RuleAction::drop).log = true;
  cloud.ports[vm1].in_chain = chain;
  const auto snapshot = cloud.snapshot(h1);
  const Frame frame = *parse_frame(
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53");
  const sim::Packet packet = sim::packet_of(frame, cloud.dp_port(vm1));
  const sim::Outcome outcome = sim::simulate(packet, *snapshot, now);
  ASSERT_THAT(outcome.met, SizeIs(1));
  log.write(packet, outcome, *snapshot, now);
  EXPECT_THAT(lines, ElementsAre(testing::StartsWith(
                         "chain web rule heard: drop filtered_by_rule: eth 02:00:00:00:01:01")));
}

TEST_F(RuleLogTest, ALineIsAboutThePacketNotAboutWhatMirrorsHave) {
  const HostId h1 = cloud.host("h1", "192.0.2.1");
  const BridgeId red = cloud.bridge("red");
  const PortId vm1 = cloud.vm("vm1", red, h1, "02:00:00:00:01:01", {"10.0.1.1"});
  cloud.mirror("m1", vm1, true, false, cloud.vm("spy", red, h1, "02:00:00:00:01:09"));
  const ChainId chain = cloud.chain("web");
  cloud.rule("heard", chain, 1, model::RuleAction::drop).log = true;
  cloud.ports[vm1].in_chain = chain;
  const auto snapshot = cloud.snapshot(h1);
  const Frame frame = *parse_frame(
      "eth 02:00:00:00:01:01 > 02:00:00:00:01:02 | ipv4 10.0.1.1 > 10.0.1.2 | udp 7 > 53");
  const sim::Packet packet = sim::packet_of(frame, cloud.dp_port(vm1));
  const sim::Outcome outcome = sim::simulate(packet, *snapshot, now);
  ASSERT_EQ(outcome.verdict, sim::Verdict::forward);
  log.write(packet, outcome, *snapshot, now);
  EXPECT_THAT(lines, ElementsAre(testing::StartsWith(
                         "chain web rule heard: drop filtered_by_rule: eth 02:00:00:00:01:01")));
}

}  // namespace
}  // namespace plexus::agent
