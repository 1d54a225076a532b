// SPDX-License-Identifier: Apache-2.0
// The tunnel's headers as the programs take them off (bpf/lib/decapsulate.h), beside what the vxlan device makes of the same
// packets. Needs root.
#include <arpa/inet.h>

#include <functional>
#include <random>

#include "datapath/ebpf/decapsulation_bed.h"

namespace plexus::datapath {
namespace {

TEST_F(DecapsulationTest, PlainPacketsComeOutWhole) {
  Host own("own", true), device("device", false);
  for (const bool v6 : {false, true}) {
    std::vector<Frame> frames = {udp(v6, 0),
                                 udp(v6, 1),
                                 udp(v6, 1400),
                                 udp(v6, 8000),
                                 udp(v6, 9, 0xb9),
                                 tcp(v6, 0),
                                 tcp(v6, 300),
                                 ip_packet(spec(v6), 47, Frame(20, 1)),
                                 icmp_echo(spec(v6), false, 1, 2, Frame(100, 9))};
    for (const Frame& part : fragment(udp(v6, 3000), 1500, 7)) frames.push_back(part);
    Frame padded = udp(v6, 1);
    padded.resize(padded.size() + 20, 0xee);
    frames.push_back(padded);
    for (const Frame& frame : frames) {
      expect_own_way(own, in_tunnel(frame), frame);
      expect_by_device(device, in_tunnel(frame), frame);
    }
  }
  EXPECT_EQ(own.dp().port_stats(kTunnelPort)->rx_packets,
            device.dp().port_stats(kTunnelPort)->rx_packets);
  EXPECT_EQ(own.dp().port_stats(kTunnelPort)->rx_bytes,
            device.dp().port_stats(kTunnelPort)->rx_bytes);
  EXPECT_EQ(own.by_device(), 0u);
  EXPECT_EQ(device.filters("underlay"), 0u);
}

TEST_F(DecapsulationTest, WhatIsNotPlainIsLeftToTheKernel) {
  Host own("own", true);
  const Frame inner = udp(false), plain = in_tunnel(inner);
  const auto changed = [&](const std::function<void(Frame&)>& change) {
    Frame out = plain;
    change(out);
    return with_ip_checksum(out);
  };
  Frame with_options = plain;
  with_options.insert(with_options.begin() + 34, {1, 1, 1, 1});
  with_options[14] = 0x46;
  put_be16(with_options, 16, static_cast<uint16_t>(be16_at(with_options, 16) + 4));
  Frame with_checksum = plain;
  {
    const ParsedPacket p = parse_packet(plain);
    PacketSpec outer;
    outer.eth_src = p.key.src_mac();
    outer.eth_dst = p.key.dst_mac();
    outer.src = p.key.src_ip();
    outer.dst = p.key.dst_ip();
    with_checksum = udp_packet(outer, 50000, kVxlanUdpPort, std::span(plain).subspan(42));
  }
  Frame trailing = plain;
  trailing.resize(plain.size() + 6);
  const Frame congested = in_tunnel(udp(false, 100, 2), 50000, kKey, 3);
  const Frame arp = arp_request(spec(false).eth_src, spec(false).src, spec(false).dst);
  const struct {
    const char* what;
    Frame outer, inner;
  } arrive[] = {
      {"options", with_ip_checksum(with_options), inner},
      {"a checksum", with_checksum, inner},
      {"bytes behind it", trailing, inner},
      {"a congestion mark", congested, udp(false, 100, 3)},
      {"ARP", in_tunnel(arp), arp},
      {"a tag inside", in_tunnel(with_vlan(inner, 5)), with_vlan(inner, 5)},
      {"large TCP", in_tunnel(tcp(false, 1400)), tcp(false, 1400)},
      {"large TCP", in_tunnel(tcp(true, 1400)), tcp(true, 1400)},
  };
  for (const auto& c : arrive) {
    SCOPED_TRACE(c.what);
    wait_out_detour();
    expect_by_device(own, c.outer, c.inner);
  }
  // Fragments of the outer packet come together in the kernel.
  wait_out_detour();
  const Frame large = udp(false, 3000);
  for (const Frame& part : fragment(in_tunnel(large), 1500, 7)) own.fabric_sends(part);
  EXPECT_EQ(own.received(), large);

  const uint64_t before = own.by_device();
  const struct {
    const char* what;
    Frame outer;
  } vanish[] = {
      {"a bad IP checksum",
       [&] {
         Frame f = plain;
         f[24] ^= 1;
         return f;
       }()},
      {"a bad UDP checksum",
       [&] {
         Frame f = with_checksum;
         f[41] ^= 1;
         return f;
       }()},
      {"no key", changed([](Frame& f) { f[42] = 0; })},
      {"reserved flags", changed([](Frame& f) { f[42] = 0x88; })},
      {"reserved bits", changed([](Frame& f) { f[49] = 1; })},
      {"too long an IP header", changed([](Frame& f) { f[14] = 0x4f; })},
      {"a UDP header that is too long", changed([](Frame& f) { f[39] += 8; })},
      {"an IP header that is too long", changed([](Frame& f) { f[17] += 8; })},
      {"another host's", changed([](Frame& f) { f[33] = 9; })},
      {"another protocol", changed([](Frame& f) { f[23] = 136; })},
      {"congestion that must not be marked", in_tunnel(udp(false), 50000, kKey, 3)},
      {"for another MAC", changed([](Frame& f) { f[0] = 0xee; })},
      {"a tag outside", with_vlan(plain, 9)},
  };
  for (const auto& c : vanish) {
    SCOPED_TRACE(c.what);
    own.fabric_sends(c.outer);
    EXPECT_EQ(own.received(5), std::nullopt);
  }
  EXPECT_EQ(own.by_device(), before);
  for (const auto& [reason, n] : own.dp().counters().drops) EXPECT_EQ(n, 0u) << reason;
  wait_out_detour();
  expect_own_way(own, plain, inner);
}

TEST_F(DecapsulationTest, StrangersAndUnknownKeysAreTreatedAlike) {
  Host own("own", true), device("device", false);
  for (Host* host : {&own, &device}) {
    Frame stranger = in_tunnel(udp(false));
    stranger[29] = 66;
    host->fabric_sends(with_ip_checksum(stranger));
    host->fabric_sends(in_tunnel(udp(true), 50000, 7));
    std::vector<Upcall> upcalls;
    const MonoTime end = mono_now() + std::chrono::seconds(2);
    while (upcalls.empty() && mono_now() < end)
      host->dp().receive(9, [&](Upcall&& upcall) { upcalls.push_back(std::move(upcall)); });
    ASSERT_EQ(upcalls.size(), 1u);
    EXPECT_EQ(upcalls[0].in_port, kTunnelPort);
    EXPECT_EQ(upcalls[0].tunnel_key, 7u);
    EXPECT_EQ(upcalls[0].frame, udp(true));
    EXPECT_EQ(host->dp().counters().drops["unknown_tunnel_peer"], 1u);
    EXPECT_EQ(host->dp().port_stats(kTunnelPort)->drops, 1u);
    EXPECT_EQ(host->received(5), std::nullopt);
  }
}

/// Whatever is wrong with a packet, the VM sees the same as with the device alone.
TEST_F(DecapsulationTest, DamagedPacketsFareAsWithTheDevice) {
  Host own("own", true), device("device", false);
  const uint32_t seed = std::random_device{}();
  std::mt19937 random(seed);
  const auto pick = [&](size_t below) { return random() % below; };
  size_t arrived = 0;
  for (int i = 0; i < 3000; ++i) {
    const bool v6 = pick(2) == 1;
    const Frame inner = pick(4) == 0 ? tcp(v6, pick(600)) : udp(v6, pick(200));
    Frame outer = in_tunnel(inner, static_cast<uint16_t>(pick(65536)));
    for (size_t n = pick(3); n > 0; --n)
      outer[12 + pick(std::min<size_t>(52 + 40, outer.size() - 12))] =
          static_cast<uint8_t>(pick(2) == 0 ? random() : 1u << pick(8));
    if (pick(8) == 0) outer.resize(14 + pick(outer.size()), 0);
    if (pick(2) == 0 && outer.size() >= 34) outer = with_ip_checksum(outer);
    const Frame marker = in_tunnel(udp(false, 8), be16_at(in_tunnel(inner), 34));
    std::vector<Frame> seen[2];
    for (Host* host : {&own, &device}) {
      auto& list = seen[host == &device ? 1 : 0];
      host->fabric_sends(outer);
      host->fabric_sends(marker);
      while (auto got = host->received()) {
        if (*got == udp(false, 8)) break;
        list.push_back(std::move(*got));
      }
    }
    // Behind the device a TCP packet may wait for others to be joined with, while the marker overtakes it.
    if (seen[0] != seen[1])
      for (Host* host : {&own, &device})
        while (auto got = host->received(100))
          seen[host == &device ? 1 : 0].push_back(std::move(*got));
    arrived += seen[0].size();
    ASSERT_EQ(seen[0], seen[1]) << "seed " << seed << ", packet " << i;
  }
  EXPECT_GT(arrived, 500u);
  auto drops = own.dp().counters().drops, theirs = device.dp().counters().drops;
  // The kernel has dropped some of the strangers' before, for their addresses.
  EXPECT_GE(drops["unknown_tunnel_peer"], theirs["unknown_tunnel_peer"]);
  drops.erase("unknown_tunnel_peer");
  theirs.erase("unknown_tunnel_peer");
  EXPECT_EQ(drops, theirs) << "seed " << seed;
  EXPECT_LT(own.by_device(), device.by_device() / 2);
}

TEST_F(DecapsulationTest, NothingOvertakesWhatGoesTheLongWay) {
  Host own("own", true);
  const Frame small = tcp(false, 10), large = tcp(false, 1400);
  expect_own_way(own, in_tunnel(small, 50001), small);
  // Its flow follows; others do not. A slow machine may need longer for the two than a detour lasts.
  uint64_t by_device = 0;
  for (int i = 0; i < 50 && by_device != 2; ++i) {
    const uint64_t before = own.by_device();
    own.fabric_sends(in_tunnel(large, 50001));
    own.fabric_sends(in_tunnel(small, 50001));
    ASSERT_EQ(own.received(), large);
    ASSERT_EQ(own.received(), small);
    by_device = own.by_device() - before;
  }
  EXPECT_EQ(by_device, 2u);
  expect_own_way(own, in_tunnel(small, 50002), small);
  wait_out_detour();
  expect_own_way(own, in_tunnel(small, 50001), small);
}

TEST_F(DecapsulationTest, StrangersPushNoFlowOntoTheLongerWay) {
  Host own("own", true);
  const Frame small = tcp(false, 10);
  Frame strange = in_tunnel(tcp(false, 1400), 50001);
  strange[29] = 99;  // 192.0.2.99
  strange = with_ip_checksum(strange);
  expect_own_way(own, in_tunnel(small, 50001), small);
  own.fabric_sends(strange);
  expect_own_way(own, in_tunnel(small, 50001), small);
  EXPECT_EQ(own.dp().counters().drops["unknown_tunnel_peer"], 1u);
}

TEST_F(DecapsulationTest, TheHostsOwnTrafficIsLeftAlone) {
  Host own("own", true);
  const InNamespace here(own.net());
  const auto receiver = [](uint16_t port) {
    UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    timeval patience{2, 0};
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  };
  const UniqueFd other_port = receiver(4790);
  own.ip("addr add 198.51.100.1/32 dev underlay");
  for (const char* address : {"192.0.2.1", "198.51.100.1"}) {
    PacketSpec outer;
    outer.eth_src = MacAddr{{2, 0xfa, 0, 0, 0, 1}};
    outer.eth_dst = kAnyHost;
    outer.src = *IpAddr::parse("192.0.2.2");
    outer.dst = *IpAddr::parse(address);
    own.fabric_sends(udp_packet(outer, 50000, 4790, Frame(100, 7)));
    char buffer[200];
    EXPECT_EQ(::recv(other_port.get(), buffer, sizeof buffer, 0), 100) << address;
  }
  // To our port at another address of the host: the device takes it, whatever the address.
  Frame elsewhere = in_tunnel(udp(false));
  const uint8_t address[] = {198, 51, 100, 1};
  std::copy(std::begin(address), std::end(address), elsewhere.begin() + 30);
  expect_by_device(own, with_ip_checksum(elsewhere), udp(false));
}

/// An uplink, say: whoever is behind it may write whatever addresses it likes.
TEST_F(DecapsulationTest, NothingThatComesByAPortIsTheTunnelsOrTheHosts) {
  Host own("own", true), device("device", false);
  for (Host* host : {&own, &device}) {
    PacketSocket uplink = host->make_veth("uplink");
    const InNamespace here(host->net());
    std::ofstream("/proc/sys/net/ipv6/conf/underlay/disable_ipv6") << "0";
    host->ip("addr add fd00::1/64 dev underlay nodad");
    ASSERT_TRUE(host->dp().add_port({DpPort{17}, "uplink"}).ok());
    for (const bool v6 : {false, true}) {
      SCOPED_TRACE(v6 ? "an underlay of IPv6" : "an underlay of IPv4");
      if (v6) host->set_tunnel("fd00::1");
      // Where the agents of other hosts are listened to.
      const UniqueFd agent(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in6 any6{};
      any6.sin6_family = AF_INET6;
      any6.sin6_port = htons(5789);
      sockaddr_in any4{};
      any4.sin_family = AF_INET;
      any4.sin_port = htons(5789);
      ASSERT_EQ(::bind(agent.get(),
                       v6 ? reinterpret_cast<sockaddr*>(&any6) : reinterpret_cast<sockaddr*>(&any4),
                       v6 ? sizeof any6 : sizeof any4),
                0);
      PacketSpec outer = spec(false);
      outer.eth_dst = host->mac("uplink");
      outer.src = *IpAddr::parse(v6 ? "fd00::2" : "192.0.2.2");
      outer.dst = *IpAddr::parse(v6 ? "fd00::1" : "192.0.2.1");
      const Frame plain = in_tunnel(udp(v6));
      const auto vxlan = std::span(plain).subspan(42);
      const Frame sent[] = {udp_packet(outer, 50000, kVxlanUdpPort, vxlan),
                            udp_packet(outer, 5789, 5789, Frame(90, 1)),
                            icmp_echo(outer, false, 1, 1)};
      const uint64_t before = host->by_device();
      for (const Frame& frame : sent) {
        ASSERT_TRUE(uplink.send(frame, {}).ok());
        std::vector<Upcall> upcalls;
        const MonoTime end = mono_now() + std::chrono::seconds(2);
        while (upcalls.empty() && mono_now() < end)
          host->dp().receive(9, [&](Upcall&& upcall) { upcalls.push_back(std::move(upcall)); });
        ASSERT_EQ(upcalls.size(), 1u);
        EXPECT_EQ(upcalls[0].in_port, DpPort{17});
        EXPECT_EQ(upcalls[0].frame, frame) << "as it came";
      }
      char buffer[200];
      EXPECT_EQ(::recv(agent.get(), buffer, sizeof buffer, MSG_DONTWAIT), -1);
      EXPECT_EQ(host->received(5), std::nullopt);
      EXPECT_EQ(uplink.receive(5), std::nullopt) << "nobody answers an echo request";
      EXPECT_EQ(host->by_device(), before);
      // The same from the fabric is taken.
      if (!v6) {
        host->fabric_sends(in_tunnel(udp(false)));
        EXPECT_EQ(host->received(), udp(false));
      }
    }
  }
}

}  // namespace
}  // namespace plexus::datapath
