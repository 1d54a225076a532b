// SPDX-License-Identifier: Apache-2.0
// The kernel's parser (bpf/lib/parse.h) says of every frame what parse_packet() says.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "datapath/ebpf/compile.h"
#include "datapath/ebpf/mapped_array.h"
#include "packet/build.h"
#include "parse_probe.skel.h"

namespace plexus::datapath {
namespace {

class KernelParser : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "loading kernel programs needs root";
    libbpf_set_print(nullptr);
    probe_ = parse_probe__open_and_load();
    ASSERT_NE(probe_, nullptr) << std::strerror(errno);
    answer_.emplace(*MappedArray<plexus_parsed>::map(bpf_map__fd(probe_->maps.answer)));
  }
  void TearDown() override { parse_probe__destroy(probe_); }

  /// None: newer kernels do not run a program on an IP packet without an IP header. Such frames are sent through a real
  /// interface by the conformance suite (MalformedFramesAreDroppedForAReason).
  std::optional<plexus_parsed> ask(const Frame& frame) {
    bpf_test_run_opts run{};
    run.sz = sizeof run;
    run.data_in = frame.data();
    run.data_size_in = static_cast<uint32_t>(frame.size());
    const int error = bpf_prog_test_run_opts(bpf_program__fd(probe_->progs.parse_probe), &run);
    if (error == -EINVAL && frame.size() < 14 + 40) return std::nullopt;
    EXPECT_EQ(error, 0) << std::strerror(errno);
    return (*answer_)[0];
  }

  /// False, with the difference reported, when they disagree.
  bool agree(const Frame& frame) {
    const ParsedPacket ours = parse_packet(frame);
    const auto answer = ask(frame);
    if (!answer) return true;
    ++compared_[ours.error];
    const plexus_parsed& kernels = *answer;
    bool same = kernels.error == static_cast<uint16_t>(ours.error);
    if (ours.error == ParseError::none)
      same = same && from_kernel(kernels.key) == ours.key && kernels.l3_offset == ours.l3_offset &&
             kernels.l4_offset == ours.l4_offset && kernels.length == ours.length;
    if (!same) {
      std::string hex;
      for (const uint8_t b : frame) {
        char text[4];
        std::snprintf(text, sizeof text, "%02x", b);
        hex += text;
      }
      ADD_FAILURE() << "error " << kernels.error << " instead of " << static_cast<int>(ours.error)
                    << ", l3 " << kernels.l3_offset << "/" << ours.l3_offset << ", l4 "
                    << kernels.l4_offset << "/" << ours.l4_offset << ", length " << kernels.length
                    << "/" << ours.length << ": " << hex;
    }
    return same;
  }

  parse_probe* probe_ = nullptr;
  std::optional<MappedArray<plexus_parsed>> answer_;
  std::map<ParseError, size_t> compared_;
};

/// IPv6 with a chain of extension headers, some of them wrong.
Frame with_extensions(std::mt19937& random) {
  static constexpr uint8_t kTypes[] = {0, 43, 44, 60, 44, 6, 17, 58, 59, 51, 132};
  const auto any = [&](size_t n) { return random() % n; };
  Frame chain;
  uint8_t first = kTypes[any(std::size(kTypes))], type = first;
  for (size_t n = any(11); n > 0 && (type == 0 || type == 43 || type == 44 || type == 60); --n) {
    const uint8_t next = kTypes[any(std::size(kTypes))];
    const size_t units = type == 44 ? 1 : 1 + any(3);
    Frame header(units * 8);
    header[0] = next;
    header[1] = static_cast<uint8_t>(any(20) == 0 ? any(256) : units - 1);
    if (type == 44) {
      header[2] = static_cast<uint8_t>(any(4) == 0 ? any(256) : 0);
      header[3] = static_cast<uint8_t>(any(256));
      if (any(2) == 0) header[3] &= 1;
    }
    chain.insert(chain.end(), header.begin(), header.end());
    type = next;
  }
  const size_t rest = any(40);
  for (size_t i = 0; i < rest; ++i) chain.push_back(static_cast<uint8_t>(random()));
  PacketSpec spec;
  spec.src = *IpAddr::parse("fd00::1");
  spec.dst = *IpAddr::parse("fd00::2");
  return ip_packet(spec, first, chain);
}

std::vector<Frame> good_frames() {
  std::vector<Frame> out;
  const Frame payload = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  for (const bool ipv6 : {false, true}) {
    PacketSpec spec;
    spec.eth_src = MacAddr{{2, 0, 0, 0, 0, 1}};
    spec.eth_dst = MacAddr{{2, 0, 0, 0, 0, 2}};
    spec.src = *IpAddr::parse(ipv6 ? "2001:db8::1" : "192.0.2.1");
    spec.dst = *IpAddr::parse(ipv6 ? "2001:db8::2" : "192.0.2.2");
    spec.tos = 0xa7;
    for (const bool tagged : {false, true}) {
      if (tagged) spec.vlan_tci = 0x2064;
      out.push_back(udp_packet(spec, 53, 5353, payload));
      out.push_back(tcp_packet(spec, 80, 8080, 0x12, 1, payload));
      out.push_back(icmp_echo(spec, false, 5, 6, payload));
      for (const uint8_t protocol :
           {uint8_t{1}, uint8_t{58}, uint8_t{132}, uint8_t{89}, uint8_t{59}})
        out.push_back(ip_packet(spec, protocol, Frame(30, 0x11)));
      for (const Frame& piece : fragment(udp_packet(spec, 1, 2, Frame(600, 3)), 400))
        out.push_back(piece);
    }
  }
  out.push_back(arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                            *IpAddr::parse("10.0.0.2")));
  out.push_back(nd_solicit(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("fe80::1"),
                           *IpAddr::parse("fe80::2")));
  Frame length(64, 0x42);
  length[12] = 0;
  length[13] = 50;
  out.push_back(length);
  const size_t plain = out.size();
  for (size_t i = 0; i < plain; ++i) out.push_back(with_vlan(out[i], 0x0fff));
  for (size_t i = 0; i < plain; ++i) out.push_back(with_vlan(with_vlan(out[i], 1), 2));
  return out;
}

TEST_F(KernelParser, AgreesOnWellFormedFrames) {
  for (const Frame& frame : good_frames()) ASSERT_TRUE(agree(frame));
}

TEST_F(KernelParser, AgreesOnEveryTruncation) {
  for (const Frame& frame : good_frames())
    for (size_t size = 14; size < frame.size(); ++size)
      ASSERT_TRUE(agree(Frame(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size))));
}

TEST_F(KernelParser, AgreesOnManyDamagedFrames) {
  std::mt19937 random(20261123);
  const std::vector<Frame> good = good_frames();
  for (int n = 0; n < 100'000; ++n) {
    Frame frame = n % 4 == 0 ? with_extensions(random) : good[random() % good.size()];
    if (n % 4 != 1) {
      for (size_t changes = random() % 4; changes > 0; --changes) {
        // Mostly in the headers, where it matters.
        const size_t at =
            12 + random() % std::min<size_t>(frame.size() - 12, random() % 2 == 0 ? 24 : 90);
        frame[at] =
            static_cast<uint8_t>(random() % 3 == 0 ? 1u << random() % 8 ^ frame[at] : random());
      }
    }
    if (random() % 4 == 0) frame.resize(14 + random() % frame.size());
    if (n % 50 == 49)
      for (uint8_t& b : frame) b = static_cast<uint8_t>(random());
    ASSERT_TRUE(agree(frame)) << "frame " << n;
  }
  // The test means something only if all answers occur. (Shorter than an Ethernet header: the kernel refuses to run.)
  for (int error = 0; error <= static_cast<int>(ParseError::bad_l4); ++error)
    if (static_cast<ParseError>(error) != ParseError::truncated_ethernet) {
      EXPECT_GT(compared_[static_cast<ParseError>(error)], 50u) << error;
    }
}

}  // namespace
}  // namespace plexus::datapath
