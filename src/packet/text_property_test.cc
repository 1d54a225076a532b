// SPDX-License-Identifier: Apache-2.0
// parse_frame(format_frame(f)) == f for random packets of every kind that the syntax knows, and the text names the layers
// that the packet has: nothing is hidden in bytes that could be said.
#include <gtest/gtest.h>

#include <random>

#include "packet/build_tunnel.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/text.h"
#include "packet/tunnel_headers.h"

namespace plexus {
namespace {

class RandomPackets {
 public:
  explicit RandomPackets(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t n) { return random_() % n; }
  bool rarely() { return below(4) == 0; }

  std::vector<uint8_t> bytes(size_t size) {
    std::vector<uint8_t> out(size);
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random_());
    return out;
  }
  std::vector<uint8_t> payload() {
    const size_t size = below(40);
    std::vector<uint8_t> out = bytes(size);
    const uint64_t kind = below(3);
    for (size_t i = 0; i < size; ++i) {
      if (kind == 0) out[i] = static_cast<uint8_t>(' ' + out[i] % 95);
      if (kind == 1) out[i] = static_cast<uint8_t>(i);
    }
    return out;
  }
  MacAddr mac() {
    MacAddr out;
    for (uint8_t& byte : out.bytes) byte = static_cast<uint8_t>(random_());
    return out;
  }
  IpAddr ip(bool v6) {
    if (!v6) return IpAddr::v4(static_cast<uint32_t>(random_()));
    std::array<uint8_t, 16> wire{0xfd};
    for (size_t i = 1; i < 16; ++i) wire[i] = rarely() ? static_cast<uint8_t>(random_()) : 0;
    return IpAddr::v6(wire);
  }
  PacketSpec spec(bool v6) {
    PacketSpec out;
    out.eth_src = mac();
    out.eth_dst = mac();
    out.src = ip(v6);
    out.dst = ip(v6);
    out.ttl = static_cast<uint8_t>(random_());
    if (rarely()) out.tos = static_cast<uint8_t>(random_());
    if (rarely()) out.vlan_tci = static_cast<uint16_t>(random_());
    if (!v6 && rarely()) out.ipv4_id = static_cast<uint16_t>(random_());
    if (!v6) out.dont_fragment = rarely();
    if (v6 && rarely()) out.flow_label = static_cast<uint32_t>(below(1 << 20));
    return out;
  }

  struct Made {
    Frame frame;
    std::string layer;  ///< that the text must have
  };
  static constexpr size_t kKinds = 13;
  Made make(size_t kind) {
    const bool v6 = below(2) == 0;
    const PacketSpec s = spec(v6);
    const auto port = [&] { return static_cast<uint16_t>(random_()); };
    const auto word = [&] { return static_cast<uint32_t>(random_()); };
    switch (kind) {
      case 0:
        return {arp_request(mac(), ip(false), ip(false)), "| arp request "};
      case 1:
        return {arp_reply(mac(), ip(false), mac(), ip(false)), "| arp reply "};
      case 2:
        return {nd_solicit(mac(), rarely() ? *IpAddr::parse("::") : ip(true), ip(true)),
                "| nd solicit "};
      case 3:
        return {nd_advert(mac(), ip(true), mac(), ip(true), {rarely(), rarely(), rarely()}),
                "| nd advert "};
      case 4:
        return {udp_packet(s, port(), port(), payload()), "| udp "};
      case 5:
        return {tcp_packet(s, port(), port(), static_cast<uint8_t>(random_()), word(), payload()),
                "| tcp "};
      case 6:
        return {sctp_packet(s, port(), port(), word(), payload()), "| sctp "};
      case 7:
        return {icmp_echo(s, rarely(), port(), port(), payload()), "| icmp echo-"};
      case 8: {  // IGMP, MLD and others that are bytes to us
        static constexpr uint8_t kPlain[] = {2, 50, 51, 89, 103, 112, 253, 255};
        return {ip_packet(s, kPlain[below(std::size(kPlain))], payload()), " proto "};
      }
      case 9: {
        const Frame inside = rarely() ? payload() : make(below(9)).frame;
        return {vxlan_packet(s, port(), static_cast<uint32_t>(below(1 << 24)), inside),
                "| vxlan vni "};
      }
      case 10: {
        const Made inside = make(4 + below(5));
        const size_t l3 = parse_packet(inside.frame).l3_offset;
        GreSpec gre{.protocol = be16_at(inside.frame, l3 - 2)};
        std::vector<uint8_t> carried(inside.frame.begin() + static_cast<std::ptrdiff_t>(l3),
                                     inside.frame.end());
        if (rarely()) {
          gre.protocol = GreView::kEthernet;
          carried = inside.frame;
        } else if (rarely()) {
          gre.protocol = 0x88be;
          carried = payload();
        }
        if (rarely()) gre.key = word();
        if (rarely()) gre.sequence = word();
        gre.checksum = rarely();
        return {gre_packet(s, gre, carried), "| gre"};
      }
      case 11: {  // ICMP errors about something
        const Frame about = udp_packet(s, port(), port(), payload());
        const IcmpErrorSpec error{static_cast<IcmpErrorKind>(below(6)), mac(), mac(), ip(v6), 1400};
        auto made = icmp_error(error, parse_packet(about), about);
        if (made) return {*made, "| icmp "};
        return {about, "| udp "};
      }
      default: {  // fragments
        const Frame whole = udp_packet(s, port(), port(), bytes(200));
        const auto pieces = fragment(whole, 96, word());
        return {pieces[below(pieces.size())], "frag off "};
      }
    }
  }

  /// IPv4 options, or IPv6 extension headers, put into a whole IP packet.
  Frame with_extras(Frame frame) {
    const ParsedPacket p = parse_packet(frame);
    if (p.error != ParseError::none || !p.key.is_ip() || p.length > 1000) return frame;
    const auto at = frame.begin() + p.l3_offset;
    if (p.key.is_ipv4()) {
      if ((frame[p.l3_offset] & 15) != 5) return frame;
      const size_t size = 4 * (1 + below(10));
      const auto options = bytes(size);
      frame.insert(at + 20, options.begin(), options.end());
      const auto header = std::span(frame).subspan(p.l3_offset, 20 + size);
      header[0] = static_cast<uint8_t>(0x45 + size / 4);
      put_be16(header, 2, static_cast<uint16_t>(be16_at(header, 2) + size));
      put_be16(header, 10, 0);
      put_be16(header, 10, internet_checksum(header));
      return frame;
    }
    static constexpr uint8_t kTypes[] = {0, 43, 60};
    const size_t size = 8 * (1 + below(3));
    auto extension = bytes(size);
    extension[0] = frame[p.l3_offset + 6u];
    extension[1] = static_cast<uint8_t>(size / 8 - 1);
    frame.insert(at + 40, extension.begin(), extension.end());
    const auto header = std::span(frame).subspan(p.l3_offset);
    header[6] = kTypes[below(3)];
    put_be16(header, 4, static_cast<uint16_t>(be16_at(header, 4) + size));
    return frame;
  }
  /// A second tag in front: 802.1Q or 802.1ad. Only one fits in front of a tagged frame.
  Frame with_tag(Frame frame) {
    const uint16_t tpid = below(2) == 0 ? eth_type::kVlan : eth_type::kQinq;
    frame = with_vlan(frame, static_cast<uint16_t>(random_()));
    put_be16(frame, 12, tpid);
    return frame;
  }
  Frame with_pad(Frame frame) {
    const auto pad = rarely() ? bytes(1 + below(20)) : std::vector<uint8_t>(1 + below(20));
    frame.insert(frame.end(), pad.begin(), pad.end());
    return frame;
  }
  /// A wrong checksum somewhere, or a flipped bit anywhere.
  Frame damaged(Frame frame) {
    frame[below(frame.size())] ^= static_cast<uint8_t>(1u << below(8));
    return frame;
  }

 private:
  std::mt19937_64 random_;
};

void expect_reads_back(const Frame& frame, const std::string& text, uint64_t seed) {
  const auto back = parse_frame(text);
  ASSERT_TRUE(back) << text << ": " << back.error().message << "\nseed " << seed;
  ASSERT_EQ(*back, frame) << text << "\nseed " << seed;
}

TEST(PacketTextProperty, EveryKindReadsBack) {
  const uint64_t seed = std::random_device{}();
  RandomPackets random(seed);
  for (int i = 0; i < 8'000; ++i) {
    auto [frame, layer] = random.make(static_cast<size_t>(i) % RandomPackets::kKinds);
    if (random.rarely()) frame = random.with_extras(std::move(frame));
    if (random.rarely()) frame = random.with_tag(std::move(frame));
    const std::string text = format_frame(frame);
    ASSERT_NE(text.find(layer), std::string::npos) << text << "\nseed " << seed;
    expect_reads_back(frame, text, seed);
    // The text is the only one that is printed for these bytes.
    ASSERT_EQ(format_frame(*parse_frame(text)), text) << "seed " << seed;
  }
}

TEST(PacketTextProperty, PaddedAndDamagedFramesReadBack) {
  const uint64_t seed = std::random_device{}();
  RandomPackets random(seed);
  for (int i = 0; i < 4'000; ++i) {
    Frame frame = random.make(static_cast<size_t>(i) % RandomPackets::kKinds).frame;
    if (random.rarely()) frame = random.with_tag(random.with_tag(std::move(frame)));
    frame =
        random.below(2) == 0 ? random.with_pad(std::move(frame)) : random.damaged(std::move(frame));
    expect_reads_back(frame, format_frame(frame), seed);
  }
}

}  // namespace
}  // namespace plexus
