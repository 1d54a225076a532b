// SPDX-License-Identifier: Apache-2.0
// Conformance: flows whose packets go to many, so many a second for each port.
#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

Actions limited(Actions actions, uint32_t limit) {
  actions.storm_limit = limit;
  return actions;
}

TEST_P(Conformance, APortFloodsWithinItsStormLimit) {
  for (const uint32_t port : {16u, 17u, 18u}) bed().add_vm(port);
  const Frame to_all = udp(v4()), to_all6 = udp(v6()), to_one = tcp(v4());
  put(exactly(16, to_all), limited(to_ports({17, 18}), 2));
  put(exactly(16, to_all6), limited(to_ports({17, 18}), 2));
  put(exactly(16, to_one), to_port(18));
  put(exactly(17, to_all), limited(to_ports({16, 18}), 2));
  // A second's worth at once, of all flows of the port together.
  for (int i = 0; i < 4; ++i) bed().sends(16, i % 2 == 0 ? to_all : to_all6);
  EXPECT_EQ(bed().received(17, 2).size(), 2u);
  EXPECT_EQ(bed().received(18, 2).size(), 2u);
  EXPECT_EQ(dp().counters().drops["storm_limit"], 2u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->drops, 2u);
  // Neither what goes to one, nor another port's.
  for (int i = 0; i < 4; ++i) bed().sends(16, to_one);
  EXPECT_EQ(bed().received(18, 4).size(), 4u);
  bed().sends(17, to_all);
  EXPECT_EQ(bed().received(18, 1).size(), 1u);
  // Half a second is worth one more. Of a kernel nobody knows how much time has passed by now.
  size_t more = 0;
  if (is_fake()) {
    bed().pass(std::chrono::milliseconds(600));
    for (int i = 0; i < 2; ++i) bed().sends(16, to_all);
    EXPECT_EQ(bed().received(18, 1).size(), 1u);
    more = 1;
  }
  // A long time is worth a second.
  bed().pass(std::chrono::milliseconds(2100));
  for (int i = 0; i < 3; ++i) bed().sends(16, to_all);
  EXPECT_EQ(bed().received(18, 2).size(), 2u);
  EXPECT_EQ(dp().counters().drops["storm_limit"], 3u + more);
  EXPECT_EQ(dp().flow_stats(exactly(16, to_all))->packets, 5u + 2 * more) << "they met the flow";
}

TEST_P(Conformance, FlowsAndTheAgentTakeFromOneStormLimit) {
  bed().add_vm(16);
  bed().add_vm(17);
  const Frame frame = udp(v4());
  put(exactly(16, frame), limited(to_port(17), 1));
  // All within a second, which is what one packet costs.
  EXPECT_TRUE(dp().take_from_storm_limit(DpPort{16}, 1, 1));
  for (int i = 0; i < 2; ++i) bed().sends(16, frame);
  EXPECT_FALSE(dp().take_from_storm_limit(DpPort{16}, 1, 1));
  EXPECT_TRUE(bed().received(17, 0).empty());
  EXPECT_EQ(dp().counters().drops["storm_limit"], 2u) << "whoever asks counts himself";
  EXPECT_TRUE(dp().take_from_storm_limit(DpPort{17}, 4, 1000)) << "more than a second's: all of it";
  EXPECT_FALSE(dp().take_from_storm_limit(DpPort{17}, 1, 1));
  EXPECT_FALSE(dp().take_from_storm_limit(DpPort{99}, 4, 1)) << "no such port";
  // Sent by the agent: it has asked.
  const Actions actions = limited(to_port(17), 1);
  ASSERT_TRUE(dp().execute(frame, {}, actions).ok());
  EXPECT_EQ(bed().received(17, 1).size(), 1u);
}

TEST_P(Conformance, AStormLimitIsPartOfAFlow) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  const Frame frame = udp(v4());
  Rewrite marked;
  marked.dscp = 10;
  Actions actions = limited(to_port(17), 1);
  actions.copies.push_back({marked, LocalOutput{DpPort{18}}});
  put(exactly(16, frame), actions);
  const auto flows = dp().dump_flows();
  ASSERT_EQ(flows->size(), 1u);
  EXPECT_TRUE(same_effect(flows->front().flow.actions, actions));
  for (int i = 0; i < 2; ++i) bed().sends(16, frame);
  EXPECT_EQ(bed().received(17, 1).size(), 1u);
  EXPECT_EQ(bed().received(18, 1).size(), 1u);
  // Without it, all go at once.
  actions.storm_limit = 0;
  put(exactly(16, frame), actions);
  for (int i = 0; i < 5; ++i) bed().sends(16, frame);
  EXPECT_EQ(bed().received(17, 5).size(), 5u);
}

}  // namespace
}  // namespace plexus::datapath
