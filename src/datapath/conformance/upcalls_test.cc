// SPDX-License-Identifier: Apache-2.0
// Conformance: upcalls, execute, tunnels.
#include <poll.h>

#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

TEST_P(Conformance, AMissHandsTheVeryFrameUp) {
  bed().add_vm(16);
  bed().add_vm(17);
  EXPECT_FALSE(readable(dp().upcall_fd()));
  std::vector<Frame> frames;
  // Around the sizes of the records that carry them.
  for (const size_t size : {0u, 18u, 190u, 194u, 195u, 198u, 199u, 1458u, 1980u, 1990u, 8900u})
    for (const bool ipv6 : {false, true}) frames.push_back(udp(ipv6 ? v6() : v4(), size));
  frames.push_back(with_vlan(udp(v4(), 194), 77));
  for (const Frame& frame : frames) bed().sends(17, frame);
  const auto upcalls = bed().upcalls(frames.size());
  ASSERT_EQ(upcalls.size(), frames.size());
  for (size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(upcalls[i].frame, frames[i]) << i;
    EXPECT_EQ(upcalls[i].in_port, DpPort{17});
    EXPECT_EQ(upcalls[i].tunnel_key, 0u);
    EXPECT_EQ(upcalls[i].offload, Offload{});
  }
  EXPECT_EQ(dp().counters().upcalls, frames.size());
  EXPECT_EQ(dp().counters().flow_misses, frames.size());
  EXPECT_FALSE(readable(dp().upcall_fd()));
}

TEST_P(Conformance, AnUpcallTellsItsOffloads) {
  bed().add_vm(16);
  const Frame partial = with_partial_checksum(udp(v4()));
  const Frame large4 = with_partial_checksum(tcp(v4(), 60000));
  const Frame large6 = with_partial_checksum(tcp(v6(), 60000));
  bed().sends(16, partial, {0, true});
  bed().sends(16, large4, {1448, true});
  bed().sends(16, large6, {1428, true});
  const auto upcalls = bed().upcalls(3);
  ASSERT_EQ(upcalls.size(), 3u);
  EXPECT_EQ(upcalls[0].frame, partial);
  EXPECT_EQ(upcalls[0].offload, (Offload{0, true}));
  EXPECT_EQ(upcalls[1].frame, large4);
  EXPECT_EQ(upcalls[1].offload, (Offload{1448, true}));
  EXPECT_EQ(upcalls[2].frame, large6);
  EXPECT_EQ(upcalls[2].offload, (Offload{1428, true}));
}

TEST_P(Conformance, UpcallsComeInOrderAndAsManyAsAskedFor) {
  bed().add_vm(16);
  for (uint8_t n = 0; n < 10; ++n) bed().sends(16, udp(v4(), n));
  std::vector<Upcall> got;
  const auto sink = [&](Upcall&& u) { got.push_back(std::move(u)); };
  EXPECT_EQ(dp().receive(0, sink), 0u);
  const MonoTime end = mono_now() + std::chrono::seconds(2);
  while (got.size() < 3 && mono_now() < end) dp().receive(3 - got.size(), sink);
  EXPECT_EQ(got.size(), 3u);
  while (dp().counters().upcalls < 10 && mono_now() < end) bed().pass(std::chrono::milliseconds(1));
  EXPECT_TRUE(readable(dp().upcall_fd()));
  EXPECT_EQ(dp().receive(100, sink), 7u);
  for (uint8_t n = 0; n < 10; ++n) EXPECT_EQ(got[n].frame, udp(v4(), n));
  EXPECT_EQ(dp().receive(100, sink), 0u);
  EXPECT_FALSE(readable(dp().upcall_fd()));
}

TEST_P(Conformance, APortHasABudgetOfUpcalls) {
  make({.upcall_rate = 10, .upcall_burst = 5});
  if (IsSkipped()) return;
  bed().add_vm(16);
  bed().add_vm(17);
  for (int i = 0; i < 20; ++i) bed().sends(16, udp(v4()));
  EXPECT_EQ(bed().upcalls(5).size(), 5u);
  EXPECT_EQ(dp().counters().upcalls_limited, 15u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->upcalls_limited, 15u);
  bed().sends(17, udp(v4()));
  EXPECT_EQ(bed().upcalls(1).size(), 1u) << "another port's budget is its own";
  bed().pass(std::chrono::milliseconds(250));
  for (int i = 0; i < 20; ++i) bed().sends(16, udp(v4()));
  const size_t refilled = bed().upcalls(2).size();
  EXPECT_GE(refilled, 2u);
  EXPECT_LE(refilled, is_fake() ? 2u : 5u);
  bed().pass(std::chrono::seconds(1));
  for (int i = 0; i < 20; ++i) bed().sends(16, udp(v4()));
  EXPECT_EQ(bed().upcalls(5).size(), 5u) << "no more than the burst is saved up";
}

TEST_P(Conformance, NoPortsUpcallsStandInTheWayOfTheOthers) {
  make({.upcall_rate = 1'000'000, .upcall_burst = 100'000});
  if (IsSkipped()) return;
  for (uint32_t port = 16; port < 19; ++port) bed().add_vm(port);
  for (int i = 0; i < 3000; ++i) bed().sends(16, udp(v4()));
  const Frame large = with_partial_checksum(tcp(v4(), 60000));
  for (int i = 0; i < 50; ++i) bed().sends(17, large, {1448, true});
  bed().sends(18, udp(v6()));
  std::map<uint32_t, size_t> got;
  for (const Upcall& upcall : bed().upcalls(256)) ++got[upcall.in_port.number];
  EXPECT_EQ(got[16], 256u);
  EXPECT_GE(got[17], 4u);
  EXPECT_LE(got[17], 5u);
  EXPECT_EQ(got[18], 1u);
  EXPECT_EQ(dp().counters().upcalls_lost, 0u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->upcalls_limited, 3000u - 256);
  // What has been received makes room, also when it is received in between.
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 100; ++i) bed().sends(16, udp(v4()));
    EXPECT_EQ(bed().upcalls(100).size(), 100u);
  }
}

TEST_P(Conformance, ExecuteSendsAsItIsTold) {
  bed().add_vm(16);
  bed().add_vm(17);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  Rewrite r;
  r.eth_dst = bed().mac(17);
  r.ip_src = IpAddr::parse("192.168.9.9");
  r.ttl_decrement = 1;
  const Frame frame = udp(v4());
  Frame rewritten = frame;
  apply_rewrite(r, parse_packet(frame), rewritten);
  Actions actions = to_port(16);
  actions.copies.push_back({r, LocalOutput{DpPort{17}}});
  actions.copies.push_back({r, TunnelOutput{Bed::peer(), 0x3fffff}});
  actions.copies.push_back({{}, LocalOutput{DpPort{17}}});
  const auto as_flow = dp().put_flow({all_of(16), actions, 0});
  EXPECT_TRUE(as_flow.ok() || as_flow.error().code == ErrorCode::unsupported);
  ASSERT_TRUE(dp().execute(frame, {}, actions).ok());
  expect_received(16, {frame});
  expect_received(17, {rewritten, frame});
  const auto sent = bed().fabric_received(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].frame, rewritten);
  EXPECT_EQ(sent[0].output, Output(TunnelOutput{Bed::peer(), 0x3fffff}));
  EXPECT_TRUE(dp().execute(frame, {}, {}).ok());
  EXPECT_EQ(dp().execute(Frame(13), {}, to_port(16)).error().code, ErrorCode::invalid);
  EXPECT_EQ(dp().counters().drops.size(), 0u);
  EXPECT_EQ(dp().counters().upcalls, 0u);
  (void)dp().execute(frame, {}, to_port(55)).ok();
  EXPECT_EQ(drops("unknown_output_port", 1), 1u);
}

TEST_P(Conformance, ExecuteSendsWhatDoesNotParse) {
  bed().add_vm(16);
  Frame strange = udp(v4());
  strange[14] = 0x55;
  const Frame tagged = with_vlan(udp(v4()), 5);
  ASSERT_TRUE(dp().execute(strange, {}, to_port(16)).ok());
  ASSERT_TRUE(dp().execute(tagged, {}, to_port(16)).ok());
  expect_received(16, {strange, tagged});
}

TEST_P(Conformance, EachExecuteUsesItsOwnActions) {
  // The kernel's provider has one place for them: it must be done with it when execute() returns.
  for (uint32_t port = 16; port < 20; ++port) bed().add_vm(port);
  constexpr uint32_t kRounds = 500;
  for (uint32_t n = 0; n < kRounds; ++n) {
    Rewrite r;
    r.tp_dst = static_cast<uint16_t>(n);
    ASSERT_TRUE(dp().execute(udp(v4()), {}, to_port(16 + n % 4, r)).ok());
  }
  for (uint32_t port = 16; port < 20; ++port) {
    const auto got = bed().received(port, kRounds / 4);
    ASSERT_EQ(got.size(), kRounds / 4);
    for (uint32_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(parse_packet(got[i].frame).key.tp_dst.host(), i * 4 + (port - 16));
  }
}

TEST_P(Conformance, ExecuteSendsLargePacketsWhole) {
  bed().add_vm(16);
  Rewrite r;
  r.tp_dst = 4444;
  for (const bool ipv6 : {false, true}) {
    for (const bool partial : {false, true}) {
      const Frame whole = tcp(ipv6 ? v6() : v4(), 64000);
      const Frame frame = partial ? with_partial_checksum(whole) : whole;
      ASSERT_TRUE(dp().execute(frame, {1400, partial}, to_port(16, r)).ok());
      const auto got = bed().received(16, 1);
      ASSERT_EQ(got.size(), 1u);
      EXPECT_EQ(got[0].offload.gso_size, 1400);
      if (is_fake()) continue;  // hands the offload on as it is
      Frame want = with_partial_checksum(whole);
      apply_rewrite(r, parse_packet(want), want, true);
      EXPECT_EQ(got[0].frame, want);
      EXPECT_TRUE(got[0].offload.partial_checksum);
    }
  }
}

TEST_P(Conformance, ExecuteFinishesOrKeepsPartialChecksums) {
  bed().add_vm(16);
  Rewrite r;
  r.ip_dst = IpAddr::parse("203.0.113.9");
  const Frame frame = with_partial_checksum(udp(v4()));
  ASSERT_TRUE(dp().execute(frame, {0, true}, to_port(16, r)).ok());
  const auto got = bed().received(16, 1);
  ASSERT_EQ(got.size(), 1u);
  Frame want = frame;
  apply_rewrite(r, parse_packet(frame), want, true);
  EXPECT_EQ(got[0].frame, want);
  EXPECT_TRUE(got[0].offload.partial_checksum);
}

TEST_P(Conformance, ExecuteCutsLargeUdpPacketsWhereTheKernelMayNot) {
  if (is_fake()) GTEST_SKIP() << "hands the offload on as it is";
  bed().add_vm(16);
  for (const bool ipv6 : {false, true}) {
    const Frame frame = with_partial_checksum(udp(ipv6 ? v6() : v4(), 2500));
    ASSERT_TRUE(dp().execute(frame, {1000, true}, to_port(16)).ok());
    const auto got = bed().received(16, 3);
    ASSERT_EQ(got.size(), 3u);
    Frame payload;
    for (const Received& one : got) {
      const ParsedPacket p = parse_packet(one.frame);
      ASSERT_EQ(p.error, ParseError::none);
      EXPECT_TRUE(ipv4_checksum_ok(p, one.frame));
      EXPECT_TRUE(transport_checksum_ok(p, one.frame));
      payload.insert(payload.end(), one.frame.begin() + p.l4_offset + 8,
                     one.frame.begin() + p.length);
    }
    EXPECT_EQ(payload, Frame(frame.end() - 2500, frame.end()));
    EXPECT_EQ(dp().execute(frame, {0, true}, to_port(16)).ok(), true);
    EXPECT_EQ(bed().received(16, 1).size(), 1u);
  }
}

TEST_P(Conformance, TunnelsCarryPacketsOut) {
  bed().add_vm(16);
  TunnelSpec tunnel = Bed::tunnel();
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok()) << "again, the same";
  for (const IpAddr& remote : {Bed::peer(), Bed::peer6()}) {
    tunnel.local = remote.is_v4() ? Bed::tunnel().local : Bed::local6();
    ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
    for (const uint32_t key : {0u, 1u, 0x123456u, 0xffffffu}) {
      Rewrite r;
      r.eth_dst = MacAddr{{2, 9, 9, 9, 9, 9}};
      put_all(16, to_tunnel(remote, key, r));
      const std::vector<Frame> frames = {
          udp(v4()), udp(v6()), udp(v4(), 1900), with_vlan(tcp(v4()), 12),
          arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                      *IpAddr::parse("10.0.0.2"))};
      for (const Frame& frame : frames) bed().sends(16, frame);
      const auto sent = bed().fabric_received(frames.size());
      ASSERT_EQ(sent.size(), frames.size());
      for (size_t i = 0; i < frames.size(); ++i) {
        Frame want = frames[i];
        apply_rewrite(r, parse_packet(want), want);
        EXPECT_EQ(sent[i].frame, want) << i;
        EXPECT_EQ(sent[i].output, Output(TunnelOutput{remote, key}));
      }
    }
  }
  EXPECT_EQ(dp().port_stats(kTunnelPort)->tx_packets, 40u);
}

TEST_P(Conformance, TunnelsBringPacketsIn) {
  bed().add_vm(16);
  bed().add_vm(17);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  put(all_of(kTunnelPort.number, 5), to_port(16));
  put(all_of(kTunnelPort.number, 0xffffff), to_port(17));
  const Frame frame = udp(v4()), frame6 = udp(v6());
  bed().fabric_sends(Bed::peer(), 5, frame);
  bed().fabric_sends(Bed::peer6(), 5, frame6);
  bed().fabric_sends(Bed::peer(), 0xffffff, with_vlan(frame, 3));
  bed().fabric_sends(Bed::peer(), 6, frame6);
  bed().fabric_sends(Bed::stranger(), 5, frame);
  expect_received(16, {frame, frame6});
  expect_received(17, {with_vlan(frame, 3)});
  const auto upcalls = bed().upcalls(1);
  ASSERT_EQ(upcalls.size(), 1u);
  EXPECT_EQ(upcalls[0].in_port, kTunnelPort);
  EXPECT_EQ(upcalls[0].tunnel_key, 6u);
  EXPECT_EQ(upcalls[0].frame, frame6);
  EXPECT_EQ(drops("unknown_tunnel_peer", 1), 1u);
  EXPECT_EQ(dp().port_stats(kTunnelPort)->rx_packets, 4u);
}

TEST_P(Conformance, PeersChange) {
  bed().add_vm(16);
  TunnelSpec tunnel = Bed::tunnel();
  tunnel.peers = {Bed::stranger()};
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
  put(all_of(kTunnelPort.number, 5), to_port(16));
  bed().fabric_sends(Bed::peer(), 5, udp(v4()));
  EXPECT_EQ(drops("unknown_tunnel_peer", 1), 1u);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  bed().fabric_sends(Bed::peer(), 5, udp(v4()));
  expect_received(16, {udp(v4())});
  bed().fabric_sends(Bed::stranger(), 5, udp(v4()));
  EXPECT_EQ(drops("unknown_tunnel_peer", 2), 2u);
}

TEST_P(Conformance, ATransitPacketGoesFromTunnelToTunnel) {
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  put(all_of(kTunnelPort.number, 5), to_tunnel(Bed::peer(), 6));
  bed().fabric_sends(Bed::peer(), 5, udp(v4()));
  const auto sent = bed().fabric_received(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].output, Output(TunnelOutput{Bed::peer(), 6}));
  EXPECT_EQ(sent[0].frame, udp(v4()));
}

}  // namespace
}  // namespace plexus::datapath
