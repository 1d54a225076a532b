// SPDX-License-Identifier: Apache-2.0
// Conformance: ports, flows, masks, limits, statistics, what outlives an agent.
#include <thread>

#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

TEST_P(Conformance, PortsComeAndGo) {
  bed().add_interface("one");
  bed().add_interface("two");
  EXPECT_EQ(dp().add_port({DpPort{16}, "none"}).error().code, ErrorCode::not_found);
  EXPECT_EQ(dp().add_port({DpPort{1}, "one"}).error().code, ErrorCode::invalid);
  ASSERT_TRUE(dp().add_port({DpPort{16}, "one"}).ok());
  EXPECT_EQ(dp().add_port({DpPort{16}, "two"}).error().code, ErrorCode::exists);
  EXPECT_EQ(dp().add_port({DpPort{17}, "one"}).error().code, ErrorCode::exists);
  ASSERT_TRUE(dp().add_port({DpPort{17}, "two"}).ok());
  ASSERT_EQ(dp().ports().size(), 2u);
  EXPECT_EQ(dp().ports()[0].interface, "one");
  EXPECT_EQ(dp().ports()[1].number, DpPort{17});
  EXPECT_TRUE(dp().port_stats(DpPort{16}).ok());
  EXPECT_TRUE(dp().port_stats(kTunnelPort).ok());
  EXPECT_EQ(dp().port_stats(DpPort{18}).error().code, ErrorCode::not_found);
  EXPECT_EQ(dp().remove_port(DpPort{18}).error().code, ErrorCode::not_found);
  ASSERT_TRUE(dp().remove_port(DpPort{16}).ok());
  EXPECT_EQ(dp().ports().size(), 1u);
  ASSERT_TRUE(dp().add_port({DpPort{16}, "one"}).ok());
}

TEST_P(Conformance, AFlowForwardsAndCounts) {
  bed().add_vm(16);
  bed().add_vm(17);
  const Frame frame = udp(v4());
  put(exactly(16, frame), to_port(17), 77);
  EXPECT_EQ(dp().flow_stats(exactly(16, frame))->packets, 0u);
  EXPECT_EQ(dp().flow_stats(exactly(16, frame))->last_used, MonoTime{});
  bed().sends(16, frame);
  bed().sends(16, frame);
  expect_received(17, {frame, frame});
  expect_received(16, {});
  const FlowStats stats = *dp().flow_stats(exactly(16, frame));
  EXPECT_EQ(stats.packets, 2u);
  EXPECT_EQ(stats.bytes, 2 * frame.size());
  EXPECT_GT(stats.last_used, MonoTime{});
  EXPECT_EQ(dp().counters().flow_hits, 2u);
  EXPECT_EQ(dp().counters().flow_misses, 0u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->rx_packets, 2u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->rx_bytes, 2 * frame.size());
  EXPECT_EQ(dp().port_stats(DpPort{17})->tx_packets, 2u);
  const auto all = dp().dump_flows();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().flow.match, exactly(16, frame));
  EXPECT_EQ(all->front().flow.actions, to_port(17));
  EXPECT_EQ(all->front().flow.cookie, 77u);
  EXPECT_EQ(all->front().stats.packets, 2u);
}

TEST_P(Conformance, AFrameForTheVmsOwnMacArrives) {
  // The kernel's short way into a VM is taken for these only.
  bed().add_vm(16);
  bed().add_vm(17);
  PacketSpec spec = v4();
  spec.eth_dst = bed().mac(17);
  put_all(16, to_port(17));
  bed().sends(16, udp(spec));
  bed().sends(16, tcp(spec));
  expect_received(17, {udp(spec), tcp(spec)});
}

TEST_P(Conformance, AFlowOfOnePortIsNotAnothers) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  bed().sends(17, udp(v4()));
  EXPECT_EQ(bed().upcalls(1).size(), 1u);
  expect_received(16, {});
}

TEST_P(Conformance, AFlowWithoutActionsDrops) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, {});
  bed().sends(16, udp(v4()));
  EXPECT_EQ(drops("by_flow", 1), 1u);
  EXPECT_TRUE(bed().upcalls(0).empty());
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, 1u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->drops, 1u);
}

TEST_P(Conformance, AFlowThatDropsKeepsAndCountsItsReason) {
  bed().add_vm(16);
  bed().add_vm(17);
  const auto drop_for = [&](uint32_t port, sim::DropReason reason) {
    Flow flow{all_of(port), {}, 7};
    flow.drop_reason = reason;
    ASSERT_TRUE(dp().put_flow(flow).ok());
  };
  const auto count_of = [&](const std::string& reason) {
    const Counters counters = dp().counters();
    const auto it = counters.flow_drops.find(reason);
    return it == counters.flow_drops.end() ? 0 : it->second;
  };
  drop_for(16, sim::DropReason::no_route);
  drop_for(17, sim::DropReason::route_blackhole);
  for (int i = 0; i < 3; ++i) bed().sends(16, udp(v4()));
  bed().sends(17, udp(v6()));
  EXPECT_EQ(drops("by_flow", 4), 4u);
  EXPECT_EQ(count_of("no_route"), 3u);
  EXPECT_EQ(count_of("route_blackhole"), 1u);
  drop_for(17, sim::DropReason::none);
  bed().sends(17, udp(v6()));
  EXPECT_EQ(drops("by_flow", 5), 5u);
  EXPECT_EQ(count_of("none"), 1u);
  if (!bed().stop_agent()) GTEST_SKIP() << "nothing is kept";
  bed().sends(16, udp(v4()));
  bed().start_agent();
  EXPECT_EQ(drops("by_flow", 6), 6u);
  EXPECT_EQ(count_of("no_route"), 4u) << "counted while no agent ran";
  const auto flows = *dp().dump_flows();
  ASSERT_EQ(flows.size(), 2u);
  for (const FlowEntry& entry : flows)
    EXPECT_EQ(entry.flow.drop_reason,
              entry.flow.match == all_of(16) ? sim::DropReason::no_route : sim::DropReason::none);
}

TEST_P(Conformance, MasksArePerBit) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  // 10.0.0.0/9 but not 10.128.0.0/9; fd00:1::/33 likewise.
  FlowKey key4 = parse_packet(udp(v4())).key, mask;
  key4.in_port = 16;
  mask.in_port = UINT32_MAX;
  mask.eth_type = Be16(0xffff);
  mask.nw[4] = 0xff;
  mask.nw[5] = 0x80;
  put(match_of(key4, mask), to_port(17));
  FlowKey key6 = parse_packet(udp(v6())).key, mask6;
  key6.in_port = 16;
  mask6.in_port = UINT32_MAX;
  mask6.eth_type = Be16(0xffff);
  for (size_t i = 16; i < 20; ++i) mask6.nw[i] = 0xff;
  mask6.nw[20] = 0x80;
  put(match_of(key6, mask6), to_port(18));

  bed().sends(16, udp(v4("10.0.1.1", "10.127.255.255")));
  bed().sends(16, udp(v4("10.0.1.1", "10.128.0.1")));
  bed().sends(16, udp(v6("fd00:1::1", "fd00:1:7fff::1")));
  bed().sends(16, udp(v6("fd00:1::1", "fd00:1:8000::1")));
  expect_received(17, {udp(v4("10.0.1.1", "10.127.255.255"))});
  expect_received(18, {udp(v6("fd00:1::1", "fd00:1:7fff::1"))});
  const auto upcalls = bed().upcalls(2);
  ASSERT_EQ(upcalls.size(), 2u);
  EXPECT_EQ(upcalls[0].frame, udp(v4("10.0.1.1", "10.128.0.1")));
  EXPECT_EQ(upcalls[1].frame, udp(v6("fd00:1::1", "fd00:1:8000::1")));
}

TEST_P(Conformance, AMatchWithoutEthertypeMeansEveryProtocol) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  const Frame arp = arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                                *IpAddr::parse("10.0.0.2"));
  Frame other(60, 0x42);
  for (const Frame& frame : {udp(v4()), udp(v6()), arp, other}) bed().sends(16, frame);
  expect_received(17, {udp(v4()), udp(v6()), arp, other});
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, 4u);
  EXPECT_EQ(dp().remove_flow(all_of(16))->packets, 4u);
  bed().sends(16, udp(v6()));
  EXPECT_EQ(bed().upcalls(1).size(), 1u);
}

TEST_P(Conformance, AMatchOnHalfAnEthertype) {
  bed().add_vm(16);
  bed().add_vm(17);
  // 0x08xx: IPv4 and ARP, not IPv6.
  FlowKey key, mask;
  key.in_port = 16;
  key.eth_type = Be16(0x0800);
  mask.in_port = UINT32_MAX;
  mask.eth_type = Be16(0xff00);
  put({key, mask}, to_port(17));
  bed().sends(16, udp(v6()));
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  EXPECT_EQ(bed().upcalls(1).size(), 1u);
}

TEST_P(Conformance, ReplacingKeepsStatisticsAndIsOneFlow) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  put_all(16, to_port(17));
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  put(all_of(16), to_ports({18, 17, 18, 17, 18, 17}), 5);
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, 1u);
  EXPECT_EQ(dp().dump_flows()->size(), 1u);
  put(all_of(16), to_port(18), 6);
  bed().sends(16, udp(v4()));
  expect_received(18, {udp(v4())});
  expect_received(17, {});
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, 2u);
  EXPECT_EQ(dp().dump_flows()->front().flow.cookie, 6u);
}

TEST_P(Conformance, EqualKeysUnderDifferentMasksAreDifferentFlows) {
  bed().add_vm(16);
  bed().add_vm(17);
  FlowKey key, narrow, wide;
  key.in_port = 16;
  narrow.in_port = wide.in_port = UINT32_MAX;
  narrow.tp_src = Be16(0xffff);  // no port 0 in our packets: matches nothing
  put({key, narrow}, {});
  put({key, wide}, to_port(17));
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  EXPECT_EQ(dp().dump_flows()->size(), 2u);
  EXPECT_EQ(dp().flow_stats({key, narrow})->packets, 0u);
  EXPECT_EQ(dp().flow_stats({key, wide})->packets, 1u);
}

TEST_P(Conformance, RemovedFlowsAreGone) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  EXPECT_EQ(dp().remove_flow(all_of(16))->packets, 1u);
  EXPECT_EQ(dp().remove_flow(all_of(16)).error().code, ErrorCode::not_found);
  EXPECT_EQ(dp().flow_stats(all_of(16)).error().code, ErrorCode::not_found);
  bed().sends(16, udp(v4()));
  EXPECT_EQ(bed().upcalls(1).size(), 1u);
  put_all(16, to_port(17));
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, 0u);
}

TEST_P(Conformance, MalformedFlowsAreRefused) {
  bed().add_vm(16);
  FlowKey key, mask;
  EXPECT_EQ(dp().put_flow({{key, mask}, {}, 0}).error().code, ErrorCode::invalid);
  key.in_port = 16;
  key.ip_ttl = 3;
  mask.in_port = UINT32_MAX;
  EXPECT_EQ(dp().put_flow({{key, mask}, {}, 0}).error().code, ErrorCode::invalid);
  EXPECT_EQ(dp().put_flow({all_of(20), {}, 0}).error().code, ErrorCode::not_found);
  EXPECT_TRUE(dp().put_flow({all_of(kTunnelPort.number, 5), {}, 0}).ok());
}

TEST_P(Conformance, ThereIsALimitOfMasksAPort) {
  bed().add_vm(16);
  bed().add_vm(17);
  const auto with_mask = [](uint32_t port, uint8_t n) {
    FlowKey key, mask;
    key.in_port = port;
    mask.in_port = UINT32_MAX;
    mask.eth_src[5] = n;
    return Match{key, mask};
  };
  uint8_t n = 0;
  Result<void> last;
  while (n < 200 && last.ok()) last = dp().put_flow({with_mask(16, ++n), {}, 0});
  EXPECT_EQ(last.error().code, ErrorCode::no_space);
  EXPECT_EQ(n, 33);
  // The others' budgets are their own; a mask that is there already is free; a removed one makes room.
  EXPECT_TRUE(dp().put_flow({with_mask(17, n), {}, 0}).ok());
  FlowKey other = with_mask(16, 3).key;
  other.eth_src[5] = 2;
  EXPECT_TRUE(dp().put_flow({{other, with_mask(16, 3).mask}, {}, 0}).ok());
  EXPECT_TRUE(dp().remove_flow(with_mask(16, 7)).ok());
  EXPECT_TRUE(dp().put_flow({with_mask(16, n), to_port(17), 0}).ok());
  EXPECT_EQ(dp().put_flow({with_mask(16, 99), {}, 0}).error().code, ErrorCode::no_space);
}

TEST_P(Conformance, AFullTableSaysSoAndRecovers) {
  make({.max_flows = 200});
  if (IsSkipped()) return;
  bed().add_vm(16);
  bed().add_vm(17);
  const auto number = [](uint32_t n) {
    FlowKey key, mask;
    key.in_port = 16;
    key.eth_src[5] = static_cast<uint8_t>(n);
    key.eth_src[4] = static_cast<uint8_t>(n >> 8);
    mask.in_port = UINT32_MAX;
    mask.eth_src = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return Match{key, mask};
  };
  for (uint32_t n = 0; n < 200; ++n) ASSERT_TRUE(dp().put_flow({number(n), {}, n}).ok()) << n;
  EXPECT_EQ(dp().put_flow({number(200), {}, 0}).error().code, ErrorCode::no_space);
  // Replacing needs no room, however often.
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(dp().put_flow({number(7), to_port(17), 0}).ok()) << i;
  EXPECT_EQ(dp().dump_flows()->size(), 200u);
  for (uint32_t round = 0; round < 20; ++round) {
    for (uint32_t n = 0; n < 200; ++n) ASSERT_TRUE(dp().remove_flow(number(round * 200 + n)).ok());
    EXPECT_TRUE(dp().dump_flows()->empty());
    for (uint32_t n = 0; n < 200; ++n)
      ASSERT_TRUE(dp().put_flow({number((round + 1) * 200 + n), {}, n}).ok()) << round << " " << n;
  }
}

TEST_P(Conformance, AnInterfaceVanishes) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  put_all(17, to_port(16));
  bed().remove_interface("vm17");
  bed().sends(16, udp(v4()));
  EXPECT_EQ(dp().ports().size(), 2u) << "the port stays until the agent lets go";
  EXPECT_TRUE(dp().remove_port(DpPort{17}).ok());
  EXPECT_EQ(dp().dump_flows()->size(), 1u) << "its flows go with it";
  bed().sends(16, udp(v4()));
  EXPECT_GE(drops("unknown_output_port", 1), 1u);
  bed().add_vm(17);
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
}

TEST_P(Conformance, FlowsOutliveTheAgent) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  Rewrite rewrite;
  rewrite.eth_src = MacAddr{{2, 1, 2, 3, 4, 5}};
  rewrite.eth_dst = bed().mac(17);
  rewrite.ip_src = *IpAddr::parse("10.9.9.9");
  rewrite.ip_dst = *IpAddr::parse("fd00::9");
  rewrite.tp_src = 1;
  rewrite.tp_dst = 65535;
  rewrite.dscp = 63;
  rewrite.ttl_decrement = 2;
  Actions many = to_ports({17, 18, 17, 18, 17, 18});
  many.copies.push_back({{}, TunnelOutput{Bed::peer6(), 0xabcdef}});
  Rewrite tagged;
  tagged.push_vlan = 0x6005;
  for (int i = 0; i < 5; ++i) many.copies.push_back({tagged, LocalOutput{DpPort{18}}});
  tagged.pop_vlan = true;
  many.copies.push_back({tagged, LocalOutput{DpPort{18}}});
  many.mtu = 1500;
  many.storm_limit = 1000;
  put(exactly(16, udp(v4())), to_port(17), 1);
  put(exactly(16, udp(v6())), to_port(18, rewrite), UINT64_MAX);
  put(all_of(17), many, 3);
  put(all_of(kTunnelPort.number, 9), to_tunnel(Bed::peer(), 8), 4);
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  const auto order = [](const FlowEntry& a, const FlowEntry& b) {
    return a.flow.cookie < b.flow.cookie;
  };
  auto before = *dp().dump_flows();
  std::sort(before.begin(), before.end(), order);
  if (!bed().stop_agent()) GTEST_SKIP() << "nothing is kept";

  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  bed().start_agent();
  EXPECT_EQ(dp().ports().size(), 3u);
  auto after = *dp().dump_flows();
  std::sort(after.begin(), after.end(), order);
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].flow.match, before[i].flow.match);
    EXPECT_EQ(after[i].flow.actions, before[i].flow.actions) << format(after[i].flow.actions);
    EXPECT_EQ(after[i].flow.cookie, before[i].flow.cookie);
  }
  EXPECT_EQ(after[0].stats.packets, 2u);

  // All of it is the new agent's as if it had made it: replaced, removed, added to; tunnel and ports too.
  put(exactly(16, udp(v4())), to_port(18), 1);
  bed().sends(16, udp(v4()));
  expect_received(18, {udp(v4())});
  EXPECT_EQ(dp().remove_flow(exactly(16, udp(v4())))->packets, 3u);
  put(exactly(16, udp(v4())), to_tunnel(Bed::peer(), 6), 1);
  bed().sends(16, udp(v4()));
  const auto sent = bed().fabric_received(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<TunnelOutput>(sent[0].output).key, 6u);
  EXPECT_TRUE(dp().remove_port(DpPort{17}).ok());
  EXPECT_EQ(dp().dump_flows()->size(), 3u);
  EXPECT_EQ(dp().add_port({DpPort{30}, "vm16"}).error().code, ErrorCode::exists);
  bed().sends(16, tcp(v4()));
  EXPECT_EQ(bed().upcalls(1).size(), 1u) << "upcalls go to the new agent";
}

TEST_P(Conformance, NoPacketIsLostWhileAgentsChange) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  constexpr size_t kFrames = 600;
  bool started = false;
  std::atomic<bool> enough{false};
  size_t sent = 0;
  for (; sent < kFrames; ++sent) {
    if (sent == kFrames / 3 && !bed().stop_agent()) GTEST_SKIP() << "nothing is kept";
    bed().sends(16, udp(v4()));
    if (sent == kFrames / 2 && !started) {
      started = true;
      // Sends while the agent takes over.
      std::thread sender([&] {
        while (!enough) {
          bed().sends(16, udp(v4()));
          ++sent;
          std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
      });
      bed().start_agent();
      enough = true;
      sender.join();
    }
  }
  EXPECT_EQ(bed().received(17, sent).size(), sent);
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, sent);
}

TEST_P(Conformance, APortWhoseInterfaceVanishedWithoutAnAgentIsGone) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  put_all(16, to_port(17));
  put_all(17, to_port(16));
  put_all(18, to_port(16));
  if (!bed().stop_agent()) GTEST_SKIP() << "nothing is kept";
  bed().remove_interface("vm17");
  bed().remove_interface("vm18");
  bed().add_interface("vm18");  // made anew: nobody says that it is the same VM's
  bed().start_agent();
  ASSERT_EQ(dp().ports().size(), 1u);
  EXPECT_EQ(dp().ports()[0].interface, "vm16");
  EXPECT_EQ(dp().dump_flows()->size(), 1u);
  ASSERT_TRUE(dp().add_port({DpPort{19}, "vm18"}).ok());
  put_all(19, to_port(16));
  bed().sends(18, udp(v4()));
  expect_received(16, {udp(v4())});
}

INSTANTIATE_TEST_SUITE_P(Datapath, Conformance, ::testing::Values("fake", "ebpf"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace plexus::datapath
