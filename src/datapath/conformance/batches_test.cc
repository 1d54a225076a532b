// SPDX-License-Identifier: Apache-2.0
// Conformance: many flows, many packets, many ports at once are what each of them is alone.
#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

Frame numbered(Frame frame, uint16_t n) {
  Rewrite r;
  r.tp_src = n;
  apply_rewrite(r, parse_packet(frame), frame);
  return frame;
}

TEST_P(Conformance, ManyFlowsAreInPlaceTogether) {
  bed().add_vm(16);
  bed().add_vm(17);
  std::vector<Flow> flows;
  std::vector<Frame> frames;
  for (uint16_t n = 0; n < 100; ++n) {
    frames.push_back(numbered(udp(n % 2 == 0 ? v4() : v6()), n));
    flows.push_back({exactly(16, frames.back()), to_port(17), n});
  }
  flows.push_back({all_of(17), to_port(16), 100});  // in the tables of both key sizes
  std::vector<Result<void>> done(flows.size());
  dp().put_flows(flows, done);
  for (size_t i = 0; i < flows.size(); ++i) ASSERT_TRUE(done[i].ok()) << i;
  EXPECT_EQ(dp().dump_flows()->size(), flows.size());
  for (const Frame& frame : frames) bed().sends(16, frame);
  expect_received(17, frames);
  bed().sends(17, frames[0]);
  bed().sends(17, frames[1]);
  expect_received(16, {frames[0], frames[1]});
  for (size_t i = 0; i < frames.size(); ++i)
    EXPECT_EQ(dp().flow_stats(flows[i].match)->packets, 1u) << i;
  EXPECT_EQ(dp().counters().upcalls, 0u);
}

TEST_P(Conformance, OfManyFlowsEachHasItsOwnAnswer) {
  make({.max_flows = 5});
  if (IsSkipped()) return;
  bed().add_vm(16);
  bed().add_vm(17);
  std::vector<Frame> frames;
  for (uint16_t n = 0; n < 8; ++n) frames.push_back(numbered(udp(v4()), n));
  put(exactly(16, frames[0]), {}, 7);
  bed().sends(16, frames[0]);
  EXPECT_EQ(drops("by_flow", 1), 1u);
  Match open = exactly(16, frames[1]);
  open.key.in_port = open.mask.in_port = 0;
  const std::vector<Flow> flows = {
      {exactly(16, frames[1]), to_port(17), 1}, {open, to_port(17), 2},  // leaves in_port open
      {exactly(99, frames[2]), to_port(17), 3},                          // no such port
      {exactly(16, frames[0]), to_port(17), 4},                          // was there: replaced
      {exactly(16, frames[1]), to_port(17), 5},  // twice in one go: the last holds
      {exactly(16, frames[3]), to_port(17), 6}, {exactly(16, frames[4]), to_port(17), 7},
      {exactly(16, frames[5]), to_port(17), 8}, {exactly(16, frames[6]), to_port(17), 9},  // full
      {exactly(16, frames[3]), {}, 10},  // but replacing works
  };
  std::vector<Result<void>> done(flows.size());
  dp().put_flows(flows, done);
  const auto code = [&](size_t i) {
    return done[i].ok() ? std::string("ok") : std::string(to_string(done[i].error().code));
  };
  std::vector<std::string> codes;
  for (size_t i = 0; i < flows.size(); ++i) codes.push_back(code(i));
  EXPECT_EQ(codes, (std::vector<std::string>{"ok", "invalid", "not_found", "ok", "ok", "ok", "ok",
                                             "ok", "no_space", "ok"}));
  EXPECT_EQ(dp().flow_stats(flows[3].match)->packets, 1u) << "statistics go on";
  std::map<uint64_t, Actions> have;
  const auto left = *dp().dump_flows();
  for (const FlowEntry& entry : left) have[entry.flow.cookie] = entry.flow.actions;
  EXPECT_EQ(have,
            (std::map<uint64_t, Actions>{
                {4, to_port(17)}, {5, to_port(17)}, {7, to_port(17)}, {8, to_port(17)}, {10, {}}}));
  // What was refused has left nothing behind.
  for (const size_t i : {3u, 4u, 6u, 7u, 9u}) EXPECT_TRUE(dp().remove_flow(flows[i].match).ok());
  std::vector<Result<void>> again(5);
  dp().put_flows(std::span(flows).subspan(4, 5), again);
  for (const auto& one : again) EXPECT_TRUE(one.ok());
  bed().sends(16, frames[6]);
  expect_received(17, {frames[6]});
}

TEST_P(Conformance, ManyPacketsGoInOrderEachByItsOwnActions) {
  bed().add_vm(16);
  bed().add_vm(17);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  std::vector<Frame> frames;
  std::vector<Actions> actions;
  std::vector<Frame> want16, want17, want_tunnel;
  // More than go in one batch, of all sizes, some by ways of their own.
  for (uint16_t n = 0; n < 200; ++n) {
    const size_t payload = n % 10 == 7 ? 8000u : n * 9u;
    Frame frame = numbered(udp(n % 2 == 0 ? v4() : v6(), payload), n);
    if (n % 7 == 3) frame = with_vlan(frame, n);
    Rewrite r;
    r.tp_dst = static_cast<uint16_t>(1000 + n);
    Frame rewritten = frame;
    apply_rewrite(r, parse_packet(frame), rewritten);
    switch (n % 5) {
      case 0:
        actions.push_back(to_port(16, r));
        want16.push_back(rewritten);
        break;
      case 1:
        actions.push_back(to_ports({16, 17}, r));
        want16.push_back(rewritten);
        want17.push_back(rewritten);
        break;
      case 2:
        actions.push_back(to_port(17));
        actions.back().copies.push_back({r, LocalOutput{DpPort{16}}});  // two rewrites
        want17.push_back(frame);
        want16.push_back(rewritten);
        break;
      case 3:
        actions.push_back({});
        break;
      default:
        // Small enough for the fabric.
        frame = numbered(udp(n % 2 == 0 ? v4() : v6(), n), n);
        actions.push_back(to_tunnel(Bed::peer(), 0x200u + n));
        want_tunnel.push_back(frame);
    }
    frames.push_back(frame);
  }
  std::vector<Execution> packets;
  for (size_t i = 0; i < frames.size(); ++i) packets.push_back({frames[i], {}, &actions[i]});
  std::vector<Result<void>> done(packets.size());
  dp().execute_many(packets, done);
  for (size_t i = 0; i < done.size(); ++i) EXPECT_TRUE(done[i].ok()) << i;
  expect_received(16, want16);
  expect_received(17, want17);
  const auto sent = bed().fabric_received(want_tunnel.size());
  ASSERT_EQ(sent.size(), want_tunnel.size());
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(sent[i].frame, want_tunnel[i]) << i;
  EXPECT_TRUE(dp().counters().drops.empty());
  EXPECT_EQ(dp().counters().upcalls, 0u);
  EXPECT_EQ(dp().port_stats(DpPort{17})->tx_packets, want17.size());
}

TEST_P(Conformance, OneBadPacketDoesNotSpoilTheOthers) {
  bed().add_vm(16);
  const Frame good = udp(v4()), tiny(13);
  Frame strange = udp(v4());
  strange[14] = 0x55;
  const Actions here = to_port(16), nowhere = to_port(55);
  std::vector<Execution> packets;
  for (int i = 0; i < 10; ++i) packets.push_back({good, {}, &here});
  packets.push_back({tiny, {}, &here});
  packets.push_back({good, {}, &nowhere});
  packets.push_back({strange, {}, &here});
  for (int i = 0; i < 10; ++i) packets.push_back({good, {}, &here});
  std::vector<Result<void>> done(packets.size());
  dp().execute_many(packets, done);
  EXPECT_EQ(done[10].error().code, ErrorCode::invalid);
  std::vector<Frame> want(20, good);
  want.insert(want.begin() + 10, strange);
  expect_received(16, want);
  EXPECT_EQ(drops("unknown_output_port", 1), 1u);
}

TEST_P(Conformance, ManyLargePacketsGoWithTheOthers) {
  bed().add_vm(16);
  const Frame small = udp(v4());
  const Frame large = with_partial_checksum(tcp(v4(), 30000));
  const Actions here = to_port(16);
  std::vector<Execution> packets;
  for (int i = 0; i < 20; ++i) {
    packets.push_back({small, {}, &here});
    if (i % 4 == 0) packets.push_back({large, {1400, true}, &here});
  }
  std::vector<Result<void>> done(packets.size());
  dp().execute_many(packets, done);
  const auto got = bed().received(16, packets.size());
  ASSERT_EQ(got.size(), packets.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].frame.size(), packets[i].frame.size()) << i;
    EXPECT_EQ(got[i].offload.gso_size, packets[i].offload.gso_size) << i;
  }
}

TEST_P(Conformance, PortsTakeTurns) {
  for (uint32_t port = 16; port < 19; ++port) bed().add_vm(port);
  for (uint16_t n = 0; n < 50; ++n) bed().sends(16, numbered(udp(v4()), n));
  for (uint16_t n = 0; n < 3; ++n) bed().sends(17, numbered(udp(v4()), n));
  bed().sends(18, udp(v6()));
  const MonoTime end = mono_now() + std::chrono::seconds(2);
  while (dp().counters().upcalls < 54 && mono_now() < end) bed().pass(std::chrono::milliseconds(1));
  std::vector<uint32_t> ports;
  std::map<uint32_t, std::vector<uint16_t>> numbers;
  const auto take = [&](Quota quota) {
    return dp().receive(quota, [&](Upcall&& upcall) {
      ports.push_back(upcall.in_port.number);
      numbers[upcall.in_port.number].push_back(parse_packet(upcall.frame).key.tp_src.host());
    });
  };
  EXPECT_EQ(take({5, 5}), 5u);
  EXPECT_EQ(ports, (std::vector<uint32_t>{16, 17, 18, 16, 17}));
  ports.clear();
  EXPECT_EQ(take({64, 4}), 5u) << "four of 16, the last of 17";
  EXPECT_EQ(ports.size(), 5u);
  EXPECT_EQ(take({1000, 1000}), 44u);
  EXPECT_EQ(take({1000, 1000}), 0u);
  for (auto& [port, of_port] : numbers)
    EXPECT_TRUE(std::is_sorted(of_port.begin(), of_port.end())) << "in their order, port " << port;
  EXPECT_EQ(numbers[16].size(), 50u);
}

TEST_P(Conformance, PortsOfAGroupShareItsTurns) {
  for (uint32_t port = 16; port < 20; ++port) bed().add_vm(port);
  for (uint32_t port = 16; port < 19; ++port) dp().set_group(DpPort{port}, 5);
  for (uint32_t port = 16; port < 20; ++port)
    for (int n = 0; n < 12; ++n) bed().sends(port, udp(v4()));
  const MonoTime end = mono_now() + std::chrono::seconds(2);
  while (dp().counters().upcalls < 48 && mono_now() < end) bed().pass(std::chrono::milliseconds(1));
  std::map<uint32_t, size_t> got;
  EXPECT_EQ(dp().receive(12, [&](Upcall&& upcall) { ++got[upcall.in_port.number]; }), 12u);
  EXPECT_EQ(got, (std::map<uint32_t, size_t>{{16, 2}, {17, 2}, {18, 2}, {19, 6}}));
}

}  // namespace
}  // namespace plexus::datapath
