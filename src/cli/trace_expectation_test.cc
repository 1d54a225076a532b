// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_expectation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/json.h"

namespace plexus::cli {
namespace {

using ::testing::HasSubstr;

codec::Node json(std::string_view text) {
  codec::Problems problems;
  codec::Node node = codec::parse_json(text, problems);
  EXPECT_TRUE(problems.empty()) << text;
  return node;
}
Expectation expect(std::string_view text) {
  auto parsed = parse_expectation(text);
  EXPECT_TRUE(parsed.ok()) << text;
  return parsed.ok() ? *parsed : Expectation{};
}

const char kLocal[] = R"({"verdict":"forward","outputs":[{"port":"vm2","id":"id-2","packet":"x"}],
  "steps":[{"kind":"port","name":"vm1","text":"in"},{"kind":"port","name":"vm2","text":"out by tap2"},
           {"kind":"outcome","text":"forward"}]})";
const char kTunnel[] = R"({"verdict":"forward",
  "outputs":[{"host":"h2","tunnel_key":7,"port":"vm4","id":"id-4","packet":"x"}],
  "steps":[{"kind":"port","name":"vm4","text":"at host h2"},{"kind":"outcome","text":"forward"}]})";
const char kDrop[] = R"({"verdict":"drop","reason":"no_route","outputs":[],"advice":"add a route",
  "blame":{"kind":"router","name":"core","text":"nothing covers it [no_route]"},"steps":[]})";
const char kStale[] = R"({"verdict":"drop","reason":"stale_key","outputs":[],"advice":"try again",
  "blame":{"kind":"tunnel key","text":"7 means nothing here [stale_key]"},"steps":[]})";

TEST(TraceExpectation, IsParsedOrRefused) {
  EXPECT_EQ(expect("dropped").what, "");
  EXPECT_EQ(expect("dropped:no_route").what, "no_route");
  EXPECT_EQ(expect("port:vm4").what, "vm4");
  for (const char* bad : {"", "Delivered", "port", "port:", "dropped:", "delivered:vm1"}) {
    auto refused = parse_expectation(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_THAT(refused.error().message, HasSubstr("dropped:REASON"));
  }
  EXPECT_THAT(parse_expectation("dropped:no_rout").error().message,
              HasSubstr("did you mean 'no_route'?"));
}

TEST(TraceExpectation, DeliveredOnTheHostItself) {
  const std::vector<Hop> hops = {{"", json(kLocal)}};
  EXPECT_TRUE(judge(expect("delivered"), hops).met);
  EXPECT_TRUE(judge(expect("port:vm2"), hops).met);
  EXPECT_TRUE(judge(expect("port:id-2"), hops).met);
  const auto other = judge(expect("port:vm3"), hops);
  EXPECT_FALSE(other.met);
  EXPECT_EQ(other.found, "delivered to port vm2");
  EXPECT_EQ(other.stage, "port vm2: out by tap2");
  const auto passed = judge(expect("dropped"), hops);
  EXPECT_FALSE(passed.met);
  EXPECT_EQ(passed.stage, "port vm2: out by tap2");
}

TEST(TraceExpectation, ADropNamesTheStageAndWhatWouldHelp) {
  const std::vector<Hop> hops = {{"", json(kDrop)}};
  EXPECT_TRUE(judge(expect("dropped"), hops).met);
  EXPECT_TRUE(judge(expect("dropped:no_route"), hops).met);
  const auto delivered = judge(expect("delivered"), hops);
  EXPECT_FALSE(delivered.met);
  EXPECT_EQ(delivered.found, "dropped: no_route");
  EXPECT_EQ(delivered.stage, "router core: nothing covers it [no_route]");
  EXPECT_EQ(delivered.change, "add a route");
  const auto otherwise = judge(expect("dropped:ttl_exceeded"), hops);
  EXPECT_FALSE(otherwise.met);
  EXPECT_EQ(otherwise.stage, "router core: nothing covers it [no_route]");
}

TEST(TraceExpectation, TheHostWhereItComesOutHasTheLastWord) {
  // Not asked: what the first host decided.
  EXPECT_TRUE(judge(expect("port:vm4"), {{"", json(kTunnel)}}).met);
  EXPECT_EQ(judge(expect("delivered"), {{"", json(kTunnel)}}).found,
            "delivered to port vm4 at host h2");
  // Asked, and it knows nothing of the key.
  const auto stale = judge(expect("delivered"), {{"", json(kTunnel)}, {"h2", json(kStale)}});
  EXPECT_FALSE(stale.met);
  EXPECT_EQ(stale.stage, "tunnel key: 7 means nothing here [stale_key] (on host h2)");
  EXPECT_TRUE(judge(expect("dropped:stale_key"), {{"", json(kTunnel)}, {"h2", json(kStale)}}).met);
  const auto there = judge(expect("port:vm2"), {{"", json(kTunnel)}, {"h2", json(kLocal)}});
  EXPECT_TRUE(there.met);
  EXPECT_EQ(there.found, "delivered to port vm2 at host h2");
}

TEST(TraceExpectation, WhatMirrorsHaveIsNotDelivered) {
  const std::string at_h1 =
      R"({"verdict":"forward","reason":"filtered_by_rule","advice":"change it",
    "outputs":[{"port":"spy","id":"s","packet":"x","mirror":true},
               {"host":"h2","tunnel_key":7,"port":"spy2","id":"s2","packet":"x","mirror":true}],
    "blame":{"kind":"rule","name":"no/1","text":"drop [filtered_by_rule]"},"steps":[]})";
  for (const std::vector<Hop>& hops :
       {std::vector<Hop>{{"", json(at_h1)}},
        std::vector<Hop>{{"", json(at_h1)}, {"h2", json(kLocal), true}}}) {
    EXPECT_TRUE(judge(expect("dropped"), hops).met);
    EXPECT_TRUE(judge(expect("dropped:filtered_by_rule"), hops).met);
    EXPECT_FALSE(judge(expect("port:spy"), hops).met);
    EXPECT_FALSE(judge(expect("port:spy2"), hops).met);
    const auto delivered = judge(expect("delivered"), hops);
    EXPECT_FALSE(delivered.met);
    EXPECT_EQ(delivered.found, "dropped: filtered_by_rule");
    EXPECT_EQ(delivered.stage, "rule no/1: drop [filtered_by_rule]");
    EXPECT_EQ(delivered.change, "change it");
  }
  // A device took the packet.
  const std::vector<Hop> taken = {{"", json(R"({"verdict":"forward","steps":[],
    "outputs":[{"port":"spy","id":"s","packet":"x","mirror":true}]})")}};
  EXPECT_FALSE(judge(expect("delivered"), taken).met);
  EXPECT_FALSE(judge(expect("dropped"), taken).met);
  // What is lost of the mirror's copy is no drop of the packet.
  const std::vector<Hop> lost = {
      {"", json(R"({"verdict":"forward","steps":[],"outputs":[{"port":"vm2","id":"id-2"},
          {"host":"h2","tunnel_key":7,"port":"spy2","id":"s2","packet":"x","mirror":true}]})")},
      {"h2", json(kStale), true}};
  EXPECT_EQ(judge(expect("delivered"), lost).found, "delivered to port vm2");
  EXPECT_FALSE(judge(expect("port:spy2"), lost).met);
  EXPECT_EQ(judge(expect("port:spy2"), lost).change, "");
}

TEST(TraceExpectation, WhatIsNeitherDeliveredNorDropped) {
  const std::vector<Hop> answered = {
      {"", json(R"({"verdict":"forward","outputs":[{"answer":true}],"steps":[]})")}};
  EXPECT_FALSE(judge(expect("delivered"), answered).met);
  EXPECT_FALSE(judge(expect("dropped"), answered).met);
  const std::vector<Hop> waits = {{"", json(R"({"verdict":"postpone","outputs":[],
                    "steps":[{"kind":"router","name":"core","text":"asks for 10.0.0.9"}]})")}};
  const auto waiting = judge(expect("delivered"), waits);
  EXPECT_FALSE(waiting.met);
  EXPECT_EQ(waiting.stage, "router core: asks for 10.0.0.9");
  EXPECT_THAT(waiting.change, HasSubstr("answers ARP"));
}

}  // namespace
}  // namespace plexus::cli
