// SPDX-License-Identifier: Apache-2.0
// The tunnel's headers as the programs write them (bpf/lib/encapsulate.h), beside those of the vxlan device, and what happens when
// the way to a peer changes. Needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "packet/build.h"
#include "packet/headers.h"

namespace plexus::datapath {
namespace {

constexpr int kPatienceMs = 1000;
constexpr size_t kOuterBytes = 50;
constexpr uint32_t kKey = 0x123456;
const MacAddr kPeerMac{{2, 0xfa, 0, 0, 0, 1}};
const MacAddr kOtherMac{{2, 0xfa, 0, 0, 0, 2}};

class EncapsulationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static const bool mounts = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                               ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!mounts) GTEST_SKIP() << "the kernel's datapath needs root";
    // What is known of the way is kept for each CPU.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    ASSERT_EQ(::sched_getaffinity(0, sizeof all_cpus_, &all_cpus_), 0);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    home_.emplace(NetNamespace::current());
    host_.emplace(*NetNamespace::make(false));
    outside_.emplace(*NetNamespace::make(false));
    host_->enter();
    vm_.emplace(make_veth("vm", 9000));
    options_.run_dir = "/tmp/plexus-encapsulation-test-" + std::to_string(::getpid());
    options_.max_flows = 256;
    options_.max_ports = 16;
  }
  void TearDown() override {
    if (datapath_) (void)datapath_->destroy().ok();
    datapath_.reset();
    if (home_) home_->enter();
    if (CPU_COUNT(&all_cpus_) > 0) (void)::sched_setaffinity(0, sizeof all_cpus_, &all_cpus_);
    std::filesystem::remove_all(options_.run_dir);
  }

  /// A veth to the outside; the socket is on its far end.
  PacketSocket make_veth(const std::string& name, uint32_t mtu) {
    auto route = *netlink::Route::open();
    EXPECT_TRUE(route.create_veth({name, name, mtu, outside_->fd()}).ok());
    EXPECT_TRUE(route.set_up(route.link(name)->index, true).ok());
    const InNamespace there(*outside_);
    auto theirs = *netlink::Route::open();
    EXPECT_TRUE(theirs.set_up(theirs.link(name)->index, true).ok());
    return std::move(*PacketSocket::open(theirs.link(name)->index));
  }
  static void ip(const std::string& arguments) {
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << "ip " << arguments;
  }
  static void set_neighbour(const std::string& device, const MacAddr& mac) {
    ip("neigh replace 192.0.2.2 lladdr " + mac.str() + " nud permanent dev " + device);
  }
  /// An underlay with this MTU, the datapath, the VM on port 16, and a flow of all its packets into the tunnel.
  void open(bool own, uint32_t underlay_mtu = 9100) {
    fabric_.emplace(make_veth("underlay", underlay_mtu));
    ip("addr add 192.0.2.1/24 dev underlay");
    set_neighbour("underlay", kPeerMac);
    options_.own_encapsulation = own;
    auto opened = EbpfDatapath::open(options_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    datapath_ = std::move(*opened);
    ASSERT_TRUE(datapath_->add_port({DpPort{16}, "vm"}).ok());
    TunnelSpec tunnel;
    tunnel.local = *IpAddr::parse("192.0.2.1");
    tunnel.peers = {*IpAddr::parse("192.0.2.2")};
    ASSERT_TRUE(datapath_->set_tunnel(tunnel).ok());
    FlowKey key, mask;
    key.in_port = 16;
    mask.in_port = UINT32_MAX;
    ASSERT_TRUE(
        datapath_->put_flow({{key, mask}, {{{{}, TunnelOutput{tunnel.peers[0], kKey}}}}, 0}).ok());
  }
  void close() {
    (void)datapath_->destroy().ok();
    datapath_.reset();
    ip("link delete underlay");
  }

  void send(const Frame& frame, const Offload& offload = {}) {
    ASSERT_TRUE(vm_->send(frame, offload).ok());
  }
  /// The next tunnel packet that arrives; empty when there is none.
  static Frame next(PacketSocket& socket, int timeout_ms = kPatienceMs) {
    while (auto got = socket.receive(timeout_ms)) {
      const ParsedPacket outer = parse_packet(got->second);
      if (outer.key.ip_proto == ip_proto::kUdp) return std::move(got->second);
    }
    return {};
  }
  Frame through(const Frame& frame, const Offload& offload = {}) {
    send(frame, offload);
    return next(*fabric_);
  }
  /// What arrives of a packet whose headers the program has written. It knows the way for 100 ms only: a slow machine has to
  /// ask again.
  Frame by_our_own_way(const Frame& frame, const Offload& offload = {}) {
    for (int i = 0; i < 50; ++i) {
      (void)through(frame, offload);
      const uint64_t before = by_device();
      Frame out = through(frame, offload);
      if (by_device() == before) return out;
    }
    ADD_FAILURE() << "always through the device";
    return {};
  }
  /// Packets that have left by the vxlan device.
  static uint64_t by_device() {
    std::ifstream file("/proc/thread-self/net/dev");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word != std::string(kVxlanDevice) + ":") continue;
      uint64_t n = 0;
      for (int column = 0; column < 10; ++column) words >> n;  // 8 of the way in, bytes, packets
      return n;
    }
    return 0;
  }
  static MacAddr to(const Frame& frame) {
    MacAddr mac;
    std::copy_n(frame.begin(), std::min<size_t>(frame.size(), 6), mac.bytes.begin());
    return mac;
  }

  static PacketSpec spec(bool v6, uint8_t tos = 0) {
    PacketSpec out;
    out.eth_src = MacAddr{{2, 0, 0, 0, 0, 1}};
    out.eth_dst = MacAddr{{2, 0, 0, 0, 0, 2}};
    out.src = *IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1");
    out.dst = *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2");
    out.tos = tos;
    return out;
  }
  static Frame udp(bool v6, uint16_t port, size_t bytes = 100, uint8_t tos = 0) {
    return udp_packet(spec(v6, tos), port, 7, Frame(bytes, 0x5a));
  }

  std::optional<NetNamespace> home_, host_, outside_;
  std::optional<PacketSocket> vm_, fabric_;
  EbpfOptions options_;
  cpu_set_t all_cpus_{};
  std::unique_ptr<EbpfDatapath> datapath_;
};

TEST_F(EncapsulationTest, HeadersAreThoseOfTheVxlanDevice) {
  std::vector<Frame> frames;
  for (const bool v6 : {false, true}) {
    for (uint16_t port = 1000; port < 1032; ++port) frames.push_back(udp(v6, port));
    for (uint8_t tos = 0; tos < 3; ++tos)  // the inner DSCP stays inside
      frames.push_back(udp(v6, 2000, 100, static_cast<uint8_t>(tos | 0xb8)));
    frames.push_back(udp(v6, 3000, 1));
    frames.push_back(ip_packet(spec(v6), 47, Frame(20, 1)));
  }
  std::vector<Frame> by_kernel;
  open(false);
  for (const Frame& frame : frames) by_kernel.push_back(through(frame));
  ASSERT_EQ(by_device(), frames.size());
  close();
  open(true);
  for (const Frame& frame : frames) {
    // Twice: the first may go through the device, which must look the same but for its port.
    const Frame first = through(frame);
    const Frame second = by_our_own_way(frame);
    const Frame& kernel = by_kernel[static_cast<size_t>(&frame - frames.data())];
    ASSERT_EQ(second.size(), kernel.size());
    const ParsedPacket outer = parse_packet(second);
    EXPECT_EQ(outer.error, ParseError::none);
    EXPECT_TRUE(ipv4_checksum_ok(outer, second));
    EXPECT_TRUE(std::equal(first.begin() + 34, first.end(), second.begin() + 34))
        << "another port on the other way";
    for (size_t i = 0; i < second.size(); ++i) {
      // MACs (another veth), the IPv4 header's id and checksum, the source port (another hash).
      if (i < 12 || i == 18 || i == 19 || i == 24 || i == 25 || i == 34 || i == 35) continue;
      ASSERT_EQ(second[i], kernel[i]) << "byte " << i;
    }
    EXPECT_EQ(to(second), kPeerMac);
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), second.begin() + kOuterBytes));
  }
}

TEST_F(EncapsulationTest, CongestionMarksAreCopied) {
  open(true);
  for (const bool v6 : {false, true})
    for (uint8_t ecn = 0; ecn < 4; ++ecn) {
      const Frame frame = udp(v6, 1000, 100, ecn);
      const Frame out = by_our_own_way(frame);
      ASSERT_GT(out.size(), kOuterBytes);
      EXPECT_EQ(parse_packet(out).key.ip_tos, ecn);
    }
}

TEST_F(EncapsulationTest, FlowsSpreadOverSourcePortsAndFragmentsOfOnePacketDoNot) {
  open(true);
  std::set<uint16_t> ports;
  for (uint16_t port = 1000; port < 1064; ++port)
    ports.insert(parse_packet(through(udp(false, port))).key.tp_src.host());
  EXPECT_GT(ports.size(), 50u);
  const auto parts = fragment(udp(false, 1000, 3000), 1500, 7);
  ASSERT_EQ(parts.size(), 3u);
  std::set<uint16_t> of_fragments;
  for (const Frame& part : parts)
    of_fragments.insert(parse_packet(through(part)).key.tp_src.host());
  EXPECT_EQ(of_fragments.size(), 1u);
}

TEST_F(EncapsulationTest, PeersDoNotForgetEachOthersWay) {
  open(true);
  // Neighbours in one network, as hosts of one rack are: 64 of them, one after the other.
  TunnelSpec tunnel;
  tunnel.local = *IpAddr::parse("192.0.2.1");
  for (uint32_t host = 2; host < 66; ++host) tunnel.peers.push_back(IpAddr::v4(0xc0000200 + host));
  ASSERT_TRUE(datapath_->set_tunnel(tunnel).ok());
  FlowKey all, in_port;
  all.in_port = 16;
  in_port.in_port = UINT32_MAX;
  ASSERT_TRUE(datapath_->remove_flow({all, in_port}).ok());
  for (size_t i = 0; i < tunnel.peers.size(); ++i) {
    ip("neigh replace " + tunnel.peers[i].str() + " lladdr " + kPeerMac.str() +
       " nud permanent dev underlay");
    FlowKey key, mask;
    key.in_port = 16;
    mask.in_port = UINT32_MAX;
    key.eth_dst = {2, 0, 0, 0, 1, static_cast<uint8_t>(i)};
    mask.eth_dst.fill(0xff);
    ASSERT_TRUE(
        datapath_->put_flow({{key, mask}, {{{{}, TunnelOutput{tunnel.peers[i], kKey}}}}, 0}).ok());
  }
  std::vector<Frame> frames;
  for (size_t i = 0; i < tunnel.peers.size(); ++i) {
    PacketSpec to_peer = spec(false);
    to_peer.eth_dst = {{2, 0, 0, 0, 1, static_cast<uint8_t>(i)}};
    frames.push_back(udp_packet(to_peer, 1000, 7, Frame(100, 1)));
  }
  // On a machine that is fast enough most of a second round finds the ways of the first.
  uint64_t least = frames.size();
  for (int round = 0; round < 20; ++round) {
    const uint64_t before = by_device();
    for (const Frame& frame : frames) send(frame);
    least = std::min(least, by_device() - before);
  }
  EXPECT_LT(least, frames.size() / 8);
}

TEST_F(EncapsulationTest, LargeTcpPacketsStayWhole) {
  open(true);
  for (const bool v6 : {false, true}) {
    const Frame frame =
        with_partial_checksum(tcp_packet(spec(v6), 1, 2, 0x10, 0, Frame(20000, 0x33)));
    const Offload offload{1400, true};
    const Frame out = by_our_own_way(frame, offload);
    ASSERT_EQ(out.size(), frame.size() + kOuterBytes);
    EXPECT_TRUE(std::equal(frame.begin() + 60, frame.end(), out.begin() + kOuterBytes + 60));
  }
}

TEST_F(EncapsulationTest, ALargePacketOfATapTakesAsManyNumbersAsItWillBePackets) {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "taps need /dev/net/tun";
  open(true);
  const UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq request{};
  std::strcpy(request.ifr_name, "tap");
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  ASSERT_EQ(::ioctl(tap.get(), TUNSETIFF, &request), 0);
  ip("link set tap up");
  ASSERT_TRUE(datapath_->add_port({DpPort{17}, "tap"}).ok());
  FlowKey key, mask;
  key.in_port = 17;
  mask.in_port = UINT32_MAX;
  ASSERT_TRUE(
      datapath_
          ->put_flow({{key, mask}, {{{{}, TunnelOutput{*IpAddr::parse("192.0.2.2"), kKey}}}}, 0})
          .ok());
  const auto segment = [](size_t bytes) {
    return with_partial_checksum(tcp_packet(spec(false), 1, 2, 0x10, 0, Frame(bytes, 0x33)));
  };
  const Frame small = segment(10), large = segment(20000);
  const auto write = [&](const Frame& frame, uint16_t gso_size) {
    // struct virtio_net_hdr: flags and type, then 16 bits each.
    const uint16_t header[] = {static_cast<uint16_t>(gso_size > 0 ? 0x0101 : 0x0001), 54, gso_size,
                               34, 16};
    Frame whole(sizeof header);
    std::memcpy(whole.data(), header, sizeof header);
    whole.insert(whole.end(), frame.begin(), frame.end());
    ASSERT_GT(::write(tap.get(), whole.data(), whole.size()), 0);
  };
  bool seen = false;
  for (int i = 0; i < 50 && !seen; ++i) {
    write(small, 0);  // asks for the way
    const uint64_t before = by_device();
    write(small, 0);
    write(large, 1000);
    write(small, 0);
    seen = by_device() == before;
    std::vector<uint16_t> ids;
    while (ids.size() < 3) {
      const Frame got = next(*fabric_);
      ASSERT_FALSE(got.empty());
      if (got.size() == small.size() + kOuterBytes) ids.push_back(be16_at(got, 18));
    }
    if (seen) {
      EXPECT_EQ(static_cast<uint16_t>(ids[2] - ids[1]), 1 + Offload{1000}.packets(large.size()));
    }
  }
  EXPECT_TRUE(seen) << "always through the device";
}

TEST_F(EncapsulationTest, WhatDoesNotFitTheUnderlayGoesThroughTheDevice) {
  open(true, 1500);
  // 1500 = 36 + 14 + 20 + 8 + 1422
  EXPECT_FALSE(by_our_own_way(udp(false, 1000, 1422)).empty());
  const uint64_t before = by_device();
  EXPECT_FALSE(through(udp(false, 1000, 1423)).empty());
  EXPECT_EQ(by_device() - before, 1u);
}

TEST_F(EncapsulationTest, WhatIsNoIpAndWhatHasATagGoesThroughTheDevice) {
  open(true);
  (void)through(udp(false, 1000));
  const uint64_t before = by_device();
  PacketSpec tagged = spec(false);
  tagged.vlan_tci = 5;
  Frame other(60, 1);
  put_be16(other, 12, 0x88b5);  // an experimental EtherType
  std::vector<Frame> frames = {udp_packet(tagged, 1000, 7, Frame(100, 1)), other};
  for (const Frame& frame : frames) {
    const Frame out = through(frame);
    ASSERT_EQ(out.size(), frame.size() + kOuterBytes);
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), out.begin() + kOuterBytes));
  }
  EXPECT_EQ(by_device() - before, frames.size());
}

TEST_F(EncapsulationTest, FollowsTheNeighboursMac) {
  open(true);
  const Frame frame = udp(false, 1000);
  EXPECT_EQ(to(through(frame)), kPeerMac);
  EXPECT_EQ(to(through(frame)), kPeerMac);
  set_neighbour("underlay", kOtherMac);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(to(through(frame)), kOtherMac);
  EXPECT_EQ(to(by_our_own_way(frame)), kOtherMac);
}

TEST_F(EncapsulationTest, FollowsTheRoute) {
  open(true);
  const Frame frame = udp(false, 1000);
  (void)through(frame);
  EXPECT_FALSE(through(frame).empty());
  PacketSocket second = make_veth("underlay2", 9100);
  ip("route add 192.0.2.2/32 dev underlay2");
  set_neighbour("underlay2", kOtherMac);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 0; i < 2; ++i) {
    send(frame);
    EXPECT_EQ(to(next(second)), kOtherMac);
  }
  // And back, when the interface goes away.
  ip("link delete underlay2");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(to(through(frame)), kPeerMac);
  EXPECT_EQ(to(through(frame)), kPeerMac);
}

TEST_F(EncapsulationTest, WithoutANeighbourTheDeviceAsksForIt) {
  open(true);
  ip("neigh delete 192.0.2.2 dev underlay");
  send(udp(false, 1000));
  send(udp(false, 1000));
  bool asked = false;
  while (auto got = fabric_->receive(200)) asked |= parse_packet(got->second).key.is_arp();
  EXPECT_TRUE(asked);
}

TEST_F(EncapsulationTest, LeavesItToTheDeviceWhereIpsecRules) {
  open(true);
  const Frame frame = udp(false, 1000);
  (void)through(frame);
  if (std::system("ip xfrm policy add src 10.9.9.9 dst 10.9.9.8 dir out 2>/dev/null") != 0)
    GTEST_SKIP() << "a kernel without IPsec";
  ASSERT_TRUE(datapath_->repair().ok());
  const uint64_t before = by_device();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(through(frame).empty());
  EXPECT_EQ(by_device() - before, 3u);
  ip("xfrm policy flush");
  ASSERT_TRUE(datapath_->repair().ok());
  EXPECT_FALSE(by_our_own_way(frame).empty());
}

}  // namespace
}  // namespace plexus::datapath
