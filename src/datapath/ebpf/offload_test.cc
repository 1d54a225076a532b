// SPDX-License-Identifier: Apache-2.0
// What a machine may leave to the next network card, and what it may not (bpf/lib/offload.h): it writes into a tap with virtio
// headers of its own. Needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "packet/build.h"
#include "packet/bytes.h"

namespace plexus::datapath {
namespace {

/// struct virtio_net_hdr.
struct VirtioHeader {
  uint8_t flags = 0, gso_type = 0;
  uint16_t header_length = 0, gso_size = 0, checksum_start = 0, checksum_offset = 0;
};
constexpr uint8_t kTcp4 = 1, kUfo = 3, kUdpSegments = 5;

/// A host with a tap on port 16, a tap without any offload on port 17, and a flow from one to the other.
class OffloadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static const bool mounts = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                               ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!mounts) GTEST_SKIP() << "the kernel's datapath needs root";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "taps need /dev/net/tun";
    home_.emplace(NetNamespace::current());
    host_.emplace(*NetNamespace::make(false));
    host_->enter();
    vm_ = make_tap("vm", IFF_VNET_HDR);
    other_ = make_tap("other", 0);
    options_.run_dir = "/tmp/plexus-offload-test-" + std::to_string(::getpid());
    options_.max_flows = 256;
    options_.max_ports = 16;
    auto opened = EbpfDatapath::open(options_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    datapath_ = std::move(*opened);
    ASSERT_TRUE(dp().add_port({DpPort{16}, "vm"}).ok());
    ASSERT_TRUE(dp().add_port({DpPort{17}, "other"}).ok());
  }
  void TearDown() override {
    if (datapath_) (void)datapath_->destroy().ok();
    datapath_.reset();
    if (home_) home_->enter();
    if (!options_.run_dir.empty()) std::filesystem::remove_all(options_.run_dir);
  }
  static UniqueFd make_tap(const char* name, int flags) {
    UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request{};
    std::copy_n(name, std::strlen(name), request.ifr_name);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | flags);
    EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
    auto route = *netlink::Route::open();
    EXPECT_TRUE(route.set_up(route.link(name)->index, true).ok());
    return fd;
  }
  EbpfDatapath& dp() { return *datapath_; }
  Match from_vm() {
    FlowKey key, mask;
    key.in_port = 16;
    mask.in_port = UINT32_MAX;
    return {key, mask};
  }
  void put_flow(uint32_t storm_limit = 0) {
    Actions actions{{{{}, LocalOutput{DpPort{17}}}}};
    actions.storm_limit = storm_limit;
    ASSERT_TRUE(dp().put_flow({from_vm(), actions, 0}).ok());
  }
  uint64_t drops(const std::string& reason) { return dp().counters().drops[reason]; }
  size_t upcalls() {
    size_t n = 0;
    dp().receive(1000, [&](Upcall&&) { ++n; });
    return n;
  }

  /// False: the kernel has refused it.
  bool write(VirtioHeader header, const Frame& frame) {
    iovec parts[2] = {{&header, sizeof header}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
    return ::writev(vm_.get(), parts, 2) > 0;
  }
  /// With the checksum to be completed from `start` on, into the two bytes at start + offset.
  bool write_partial(const Frame& frame, size_t start, size_t offset) {
    VirtioHeader header;
    header.flags = 1;
    header.checksum_start = static_cast<uint16_t>(start);
    header.checksum_offset = static_cast<uint16_t>(offset);
    return write(header, frame);
  }
  Frame received(int timeout_ms = 2000) {
    pollfd readable{other_.get(), POLLIN, 0};
    Frame out(1 << 17);
    if (::poll(&readable, 1, timeout_ms) <= 0) return {};
    const ssize_t n = ::read(other_.get(), out.data(), out.size());
    out.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return out;
  }

  static PacketSpec spec(bool v6 = false) {
    PacketSpec out;
    out.eth_src = MacAddr{{2, 0, 0, 0, 0, 1}};
    out.eth_dst = MacAddr{{2, 0, 0, 0, 0, 2}};
    out.src = *IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1");
    out.dst = *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2");
    return out;
  }
  static Frame udp(bool v6 = false, size_t bytes = 100) {
    return udp_packet(spec(v6), 1000, 80, Frame(bytes, 0x5a));
  }
  static Frame tcp(bool v6 = false, size_t bytes = 100) {
    return tcp_packet(spec(v6), 1000, 80, 0x10, 1, Frame(bytes, 0x33));
  }
  /// With an extension header of eight bytes in front of what it carried.
  static Frame with_extension(Frame frame, uint8_t type, std::array<uint8_t, 8> extension) {
    extension[0] = frame[20];
    frame[20] = type;
    put_be16(frame, 18, static_cast<uint16_t>(be16_at(frame, 18) + 8));
    frame.insert(frame.begin() + 54, extension.begin(), extension.end());
    return frame;
  }
  static Frame with_type(Frame frame, uint16_t type) {
    put_be16(frame, 12, type);
    return frame;
  }

  std::optional<NetNamespace> home_, host_;
  UniqueFd vm_, other_;
  EbpfOptions options_;
  std::unique_ptr<EbpfDatapath> datapath_;
};

TEST_F(OffloadTest, AChecksumIsCompletedWhereItBelongs) {
  put_flow();
  const Frame options = with_extension(udp(true), 60, {0, 0, 1, 4});
  const struct {
    const char* what;
    Frame whole;
    size_t start, offset;
  } ordinary[] = {
      {"UDP", udp(), 34, 6},
      {"UDP over IPv6", udp(true), 54, 6},
      {"TCP", tcp(), 34, 16},
      {"TCP over IPv6", tcp(true), 54, 16},
      {"tagged TCP", with_vlan(tcp(), 5), 38, 16},
      {"twice tagged UDP", with_vlan(with_vlan(udp(true), 5), 6), 62, 6},
      {"behind an extension header", options, 62, 6},
  };
  for (const auto& c : ordinary) {
    SCOPED_TRACE(c.what);
    ASSERT_TRUE(write_partial(with_partial_checksum(c.whole), c.start, c.offset));
    EXPECT_EQ(received(), c.whole);
  }
  EXPECT_EQ(drops("bad_checksum_offload"), 0u);
}

TEST_F(OffloadTest, WhatLiesBehindTheHeadersIsTheGuestsOwn) {
  put_flow();
  const Frame gre = ip_packet(spec(), 47, Frame(100, 1));
  const Frame first = udp_packet(spec(), 1000, 80, Frame(3000, 1));
  const struct {
    const char* what;
    Frame frame;
    size_t start, offset;
  } fine[] = {
      {"in a tunnel over UDP", udp(), 42, 50},
      {"in a tunnel over UDP, at once", udp(), 42, 0},
      {"in GRE", gre, 34, 0},
      {"in GRE over IPv6", ip_packet(spec(true), 47, Frame(100, 1)), 54, 30},
      {"a later fragment", fragment(first, 1500, 7).back(), 34, 4},
      {"an unknown protocol", with_type(udp(), 0x8847), 38, 6},
      {"an echo request", icmp_echo(spec(), false, 1, 2, Frame(50, 9)), 34, 2},
      {"SCTP", ip_packet(spec(), 132, Frame(100, 1)), 34, 8},
      {"behind TCP", tcp(), 54, 0},
  };
  for (const auto& c : fine) {
    SCOPED_TRACE(c.what);
    ASSERT_TRUE(write_partial(c.frame, c.start, c.offset));
    EXPECT_EQ(received().size(), c.frame.size());
  }
  EXPECT_EQ(drops("bad_checksum_offload"), 0u);
}

TEST_F(OffloadTest, AChecksumChangesNothingThatTheVerdictRestsOn) {
  put_flow();
  const Frame options = with_extension(udp(true), 60, {0, 0, 1, 4});
  const Frame later = with_extension(udp(true), 44, {0, 0, 1, 0, 0, 0, 0, 7});
  const Frame first = udp_packet(spec(), 1000, 80, Frame(3000, 1));
  const Frame arp = arp_request(spec().eth_src, spec().src, spec().dst);
  const struct {
    const char* what;
    Frame frame;
    size_t start, offset;
  } bad[] = {
      {"the port", udp(), 34, 2},
      {"the port over IPv6", udp(true), 54, 2},
      {"the port of TCP", tcp(), 34, 2},
      {"the flags of TCP", tcp(), 34, 12},
      {"UDP's place in TCP", tcp(), 34, 6},
      {"TCP's place in UDP", udp(), 34, 16},
      {"the length of UDP", udp(), 36, 2},
      {"the source address", udp(), 20, 8},
      {"behind it, but from before", udp(), 26, 40},
      {"the address of IPv6", udp(true), 30, 16},
      {"what an extension header announces", options, 54, 0},
      {"where a fragment is", later, 54, 2},
      {"the protocol of a later fragment", fragment(first, 1500, 7).back(), 22, 0},
      {"GRE's protocol", ip_packet(spec(), 47, Frame(100, 1)), 22, 0},
      {"the port behind a tag", with_vlan(udp(), 5), 38, 2},
      {"the type of an echo request", icmp_echo(spec(), false, 1, 2, Frame(50, 9)), 34, 0},
      {"the address of ARP", arp, 24, 4},
      {"the port of SCTP", ip_packet(spec(), 132, Frame(100, 1)), 34, 2},
  };
  uint64_t refused = 0;
  for (const auto& c : bad) {
    SCOPED_TRACE(c.what);
    if (!write_partial(c.frame, c.start, c.offset)) continue;  // not even the kernel takes it
    EXPECT_EQ(drops("bad_checksum_offload"), ++refused);
  }
  EXPECT_GE(refused, 15u);
  EXPECT_EQ(dp().port_stats(DpPort{16})->drops, refused);
  EXPECT_EQ(received(20).size(), 0u);
  // Nor is it handed up.
  ASSERT_TRUE(dp().remove_flow(from_vm()).ok());
  ASSERT_TRUE(write_partial(udp(), 34, 2));
  EXPECT_EQ(upcalls(), 0u);
}

TEST_F(OffloadTest, APacketThatIsManyCountsAsMany) {
  put_flow(100);
  VirtioHeader header{1, kTcp4, 54, 100, 34, 16};
  const Frame many = with_partial_checksum(tcp(false, 9000));
  const uint32_t packets = Offload{100, true}.packets(many.size());
  EXPECT_EQ(packets, 91u);
  ASSERT_TRUE(write(header, many));
  EXPECT_EQ(dp().port_stats(DpPort{16})->rx_packets, packets);
  EXPECT_EQ(dp().flow_stats(from_vm())->packets, packets);
  EXPECT_EQ(drops("storm_limit"), 0u);
  ASSERT_TRUE(write(header, many));
  EXPECT_EQ(drops("storm_limit"), 1u) << "a second's are used up";
  size_t delivered = 0;
  while (!received(20).empty()) ++delivered;
  EXPECT_EQ(delivered, 90u);
  // The tag that the kernel takes out of the frame counts.
  VirtioHeader tagged{1, kTcp4, 58, 114, 38, 16};
  const Frame frame = with_vlan(with_partial_checksum(tcp(false, 9066)), 5);
  const uint64_t before = dp().port_stats(DpPort{16})->rx_packets;
  ASSERT_TRUE(write(tagged, frame));
  EXPECT_EQ(dp().port_stats(DpPort{16})->rx_packets - before,
            (Offload{114, true}.packets(frame.size())));
}

TEST_F(OffloadTest, WhatUserSpaceWouldHaveToCutIsBounded) {
  const Frame large = with_partial_checksum(udp(false, 60000));
  VirtioHeader header{1, kUfo, 42, 1400, 34, 6};
  // One datagram, which is not several.
  if (write(header, large)) {
    EXPECT_EQ(drops("bad_segmentation"), 1u);
    EXPECT_EQ(upcalls(), 0u);
  }
  // As the kernel is asked for it from 6.2 on; later ones refuse by themselves what are too many.
  header.gso_type = kUdpSegments;
  for (const uint16_t size : {uint16_t{1}, uint16_t{468}}) {
    header.gso_size = size;
    const uint64_t before = drops("bad_segmentation");
    if (!write(header, large)) continue;
    EXPECT_EQ(drops("bad_segmentation"), before + 1) << size;
    EXPECT_EQ(upcalls(), 0u);
  }
  header.gso_size = 469;  // 128 of them
  if (write(header, large)) {
    EXPECT_EQ(upcalls(), 1u);
  }
  // TCP is cut by the kernel.
  EXPECT_TRUE(write({1, kTcp4, 54, 100, 34, 16}, with_partial_checksum(tcp(false, 60000))));
  EXPECT_EQ(upcalls(), 1u);
  // What cannot come from the kernel.
  const Actions actions{{{{}, LocalOutput{DpPort{17}}}}};
  EXPECT_FALSE(dp().execute(large, {468, true}, actions).ok());
  EXPECT_EQ(received(20).size(), 0u);
  EXPECT_TRUE(dp().execute(large, {469, true}, actions).ok());
  size_t delivered = 0;
  while (!received(20).empty()) ++delivered;
  EXPECT_EQ(delivered, 128u);
}

}  // namespace
}  // namespace plexus::datapath
