// SPDX-License-Identifier: Apache-2.0
// Conformance: the fixture of the suite that every datapath passes, and its words for flows and packets.
#pragma once

#include "datapath/conformance/bed.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace plexus::datapath {

class Conformance : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { make({}); }

  /// A bed with other options than the usual ones.
  void make(const BedOptions& options) {
    bed_.reset();
    std::string why_not;
    bed_ = std::string_view(GetParam()) == "fake" ? make_fake_bed(options)
                                                  : make_kernel_bed(options, why_not);
    if (!bed_) GTEST_SKIP() << why_not;
  }

  Bed& bed() { return *bed_; }
  Datapath& dp() { return bed_->dp(); }
  [[nodiscard]] bool is_fake() const { return std::string_view(GetParam()) == "fake"; }

  void put(const Match& match, const Actions& actions, uint64_t cookie = 0) {
    const auto done = dp().put_flow({match, actions, cookie});
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  /// A flow for everything that enters by `port`.
  void put_all(uint32_t port, const Actions& actions) { put(all_of(port), actions); }

  static Match all_of(uint32_t port, uint32_t tunnel_key = 0) {
    FlowKey key, mask;
    key.in_port = port;
    key.tunnel_key = tunnel_key;
    mask.in_port = mask.tunnel_key = UINT32_MAX;
    return match_of(key, mask);
  }
  /// All bits of this very packet.
  static Match exactly(uint32_t port, const Frame& frame) {
    FlowKey key = parse_packet(frame).key;
    key.in_port = port;
    FlowKey mask;
    for (uint8_t& b : mask.bytes()) b = 0xff;
    mask.reserved = 0;
    return match_of(key, mask);
  }
  static Actions to_port(uint32_t port, const Rewrite& rewrite = {}) {
    return {{{rewrite, LocalOutput{DpPort{port}}}}};
  }
  static Actions to_ports(std::initializer_list<uint32_t> ports, const Rewrite& rewrite = {}) {
    Actions out;
    for (const uint32_t port : ports) out.copies.push_back({rewrite, LocalOutput{DpPort{port}}});
    return out;
  }
  static Actions to_tunnel(const IpAddr& remote, uint32_t key, const Rewrite& rewrite = {}) {
    return {{{rewrite, TunnelOutput{remote, key}}}};
  }

  static PacketSpec v4(std::string_view src = "10.0.1.1", std::string_view dst = "10.0.1.2") {
    PacketSpec spec;
    spec.eth_src = MacAddr{{2, 0, 0, 0, 0, 0xa}};
    spec.eth_dst = MacAddr{{2, 0, 0, 0, 0, 0xb}};
    spec.src = *IpAddr::parse(src);
    spec.dst = *IpAddr::parse(dst);
    return spec;
  }
  static PacketSpec v6(std::string_view src = "fd00:1::1", std::string_view dst = "fd00:1::2") {
    return v4(src, dst);
  }
  static Frame udp(const PacketSpec& spec, size_t payload = 20) {
    Frame bytes(payload);
    for (size_t i = 0; i < payload; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + payload);
    return udp_packet(spec, 1111, 2222, bytes);
  }
  static Frame tcp(const PacketSpec& spec, size_t payload = 21) {
    Frame bytes(payload);
    for (size_t i = 0; i < payload; ++i) bytes[i] = static_cast<uint8_t>(i * 11 + payload);
    return tcp_packet(spec, 1111, 2222, 0x10, 12345, bytes);
  }

  /// Exactly these frames have arrived, byte for byte.
  void expect_received(uint32_t port, const std::vector<Frame>& frames) {
    const auto got = bed().received(port, frames.size());
    ASSERT_EQ(got.size(), frames.size()) << "at port " << port;
    for (size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(got[i].frame, frames[i]) << "frame " << i;
  }
  uint64_t drops(const std::string& reason) {
    const Counters counters = dp().counters();
    const auto it = counters.drops.find(reason);
    return it == counters.drops.end() ? 0 : it->second;
  }
  /// Waits for the counter to have at least this value (2 s at most), and says what it has.
  uint64_t drops(const std::string& reason, uint64_t expected) {
    const MonoTime end = mono_now() + std::chrono::seconds(2);
    while (drops(reason) < expected && mono_now() < end) bed().pass(std::chrono::milliseconds(1));
    return drops(reason);
  }

 private:
  std::unique_ptr<Bed> bed_;
};

}  // namespace plexus::datapath
