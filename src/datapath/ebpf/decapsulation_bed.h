// SPDX-License-Identifier: Apache-2.0
// DecapsulationTest: hosts with one VM each, to whom a neighbour sends tunnel packets, and what they may make of one. For tests:
// header only.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "packet/build.h"
#include "packet/headers.h"

namespace plexus::datapath {

inline constexpr int kPatienceMs = 2000;
inline constexpr uint32_t kKey = 0x123456;
inline constexpr uint16_t kVxlanUdpPort = 4789;
inline const MacAddr kAnyHost{{2, 0xfa, 0, 0, 0, 2}};

/// Column `column` (counted from 0) of an interface of this namespace in /proc/net/dev.
inline uint64_t device_counter(const std::string& name, int column) {
  std::ifstream file("/proc/thread-self/net/dev");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word != name + ":") continue;
    uint64_t n = 0;
    for (int i = 0; i <= column; ++i) words >> n;
    return n;
  }
  return 0;
}

/// A host with one VM on port 16 and a neighbour on the fabric, 192.0.2.2, who sends it tunnel packets.
class Host {
 public:
  Host(const std::string& name, bool own)
      : host_(*NetNamespace::make(false)), outside_(*NetNamespace::make(false)) {
    options_.run_dir = "/tmp/plexus-decapsulation-" + std::to_string(::getpid()) + "-" + name;
    options_.max_flows = 256;
    options_.max_ports = 16;
    options_.own_decapsulation = own;
    const InNamespace here(host_);
    vm_.emplace(make_veth("vm"));
    fabric_.emplace(make_veth("underlay"));
    ip("addr add 192.0.2.1/24 dev underlay");
    open();
    PLEXUS_CHECK(datapath_->add_port({DpPort{16}, "vm"}).ok(), "the VM's port");
    set_tunnel("192.0.2.1");
    FlowKey key, mask;
    key.in_port = PLEXUS_TUNNEL_PORT;
    key.tunnel_key = kKey;
    mask.in_port = mask.tunnel_key = UINT32_MAX;
    PLEXUS_CHECK(datapath_->put_flow({{key, mask}, {{{{}, LocalOutput{DpPort{16}}}}}, 0}).ok(),
                 "a flow");
  }
  ~Host() {
    const InNamespace here(host_);
    if (datapath_) (void)datapath_->destroy().ok();
    datapath_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(options_.run_dir, ignored);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  void open() {
    const InNamespace here(host_);
    datapath_.reset();
    auto opened = EbpfDatapath::open(options_);
    PLEXUS_CHECK(opened.ok(), opened.error().message);
    datapath_ = std::move(*opened);
  }
  void close() { datapath_.reset(); }
  void set_tunnel(const std::string& local) {
    const InNamespace here(host_);
    TunnelSpec tunnel;
    tunnel.local = *IpAddr::parse(local);
    tunnel.peers = {*IpAddr::parse("192.0.2.2"), *IpAddr::parse("fd00::2")};
    PLEXUS_CHECK(datapath_->set_tunnel(tunnel).ok(), "the tunnel");
  }
  size_t repair() {
    const InNamespace here(host_);
    const auto repaired = datapath_->repair();
    PLEXUS_CHECK(repaired.ok(), repaired.error().message);
    return *repaired;
  }
  void ip(const std::string& arguments) const {
    const InNamespace here(host_);
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << "ip " << arguments;
  }
  /// A veth to the outside; the socket is on its far end.
  PacketSocket make_veth(const std::string& name) {
    const InNamespace here(host_);
    auto route = *netlink::Route::open();
    EXPECT_TRUE(route.create_veth({name, name, 9000, outside_.fd()}).ok());
    EXPECT_TRUE(route.set_up(route.link(name)->index, true).ok());
    macs_[name] = route.link(name)->mac;
    const InNamespace there(outside_);
    auto theirs = *netlink::Route::open();
    EXPECT_TRUE(theirs.set_up(theirs.link(name)->index, true).ok());
    return std::move(*PacketSocket::open(theirs.link(name)->index));
  }
  [[nodiscard]] MacAddr mac(const std::string& name) const { return macs_.at(name); }
  void replace_fabric(const std::string& name) { fabric_.emplace(make_veth(name)); }

  /// A frame to kAnyHost goes to the MAC of this one's underlay.
  void fabric_sends(Frame outer, const std::string& underlay = "underlay",
                    const Offload& offload = {}) {
    if (std::equal(kAnyHost.bytes.begin(), kAnyHost.bytes.end(), outer.begin()))
      std::copy_n(macs_.at(underlay).bytes.begin(), 6, outer.begin());
    PLEXUS_CHECK(fabric_->send(outer, offload).ok(), "sending a frame");
  }
  std::optional<Frame> received(int timeout_ms = kPatienceMs) {
    auto got = vm_->receive(timeout_ms);
    if (!got) return std::nullopt;
    return std::move(got->second);
  }
  /// Packets that have come out of the vxlan device.
  [[nodiscard]] uint64_t by_device() const {
    const InNamespace here(host_);
    return device_counter(kVxlanDevice, 1);
  }
  [[nodiscard]] size_t filters(const std::string& interface) const {
    const InNamespace here(host_);
    auto route = *netlink::Route::open();
    return *route.count_tc_filters(route.link(interface)->index);
  }

  EbpfDatapath& dp() { return *datapath_; }
  EbpfOptions& options() { return options_; }
  [[nodiscard]] const NetNamespace& net() const { return host_; }

 private:
  NetNamespace host_, outside_;
  EbpfOptions options_;
  std::optional<PacketSocket> vm_, fabric_;
  std::map<std::string, MacAddr> macs_;
  std::unique_ptr<EbpfDatapath> datapath_;
};

class DecapsulationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static const bool mounts = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                               ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!mounts) GTEST_SKIP() << "the kernel's datapath needs root";
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
  static Frame udp(bool v6, size_t bytes = 100, uint8_t tos = 0) {
    return udp_packet(spec(v6, tos), 1000, 7, Frame(bytes, 0x5a));
  }
  static Frame tcp(bool v6, size_t bytes) {
    return tcp_packet(spec(v6), 1000, 7, 0x10, 1, Frame(bytes, 0x33));
  }
  /// What a peer makes of a frame. Without a checksum, as ours do it.
  static Frame in_tunnel(const Frame& frame, uint16_t source_port = 50000, uint32_t key = kKey,
                         uint8_t tos = 0) {
    Frame vxlan(8);
    vxlan[0] = 8;
    put_be32(vxlan, 4, key << 8);
    vxlan.insert(vxlan.end(), frame.begin(), frame.end());
    PacketSpec outer;
    outer.eth_src = MacAddr{{2, 0xfa, 0, 0, 0, 1}};
    outer.eth_dst = kAnyHost;
    outer.src = *IpAddr::parse("192.0.2.2");
    outer.dst = *IpAddr::parse("192.0.2.1");
    outer.tos = tos;
    Frame out = udp_packet(outer, source_port, kVxlanUdpPort, vxlan);
    put_be16(out, 40, 0);
    return out;
  }
  /// The outer header's checksum anew, after a change.
  static Frame with_ip_checksum(Frame frame) {
    put_be16(frame, 24, 0);
    uint32_t sum = 0;
    const size_t end = 14 + size_t{frame[14] & 15u} * 4;
    for (size_t at = 14; at < end && at + 2 <= frame.size(); at += 2) sum += be16_at(frame, at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    put_be16(frame, 24, static_cast<uint16_t>(~sum));
    return frame;
  }
  /// Lets what was sent by another way be forgotten.
  static void wait_out_detour() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }
};

/// The VM has received the frame, by our program alone.
inline void expect_own_way(Host& host, const Frame& outer, const Frame& inner) {
  const uint64_t before = host.by_device();
  host.fabric_sends(outer);
  const auto got = host.received();
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(*got, inner);
  EXPECT_EQ(host.by_device(), before) << "by the device";
}

inline void expect_by_device(Host& host, const Frame& outer, const Frame& inner,
                             const std::string& underlay = "underlay") {
  const uint64_t before = host.by_device();
  host.fabric_sends(outer, underlay);
  const auto got = host.received();
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(*got, inner);
  EXPECT_EQ(host.by_device(), before + 1) << "not by the device";
}

}  // namespace plexus::datapath
