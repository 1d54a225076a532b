// SPDX-License-Identifier: Apache-2.0
#include "flow/actions.h"

#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/known_frames.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

const MacAddr kMac3{{2, 0, 0, 0, 0, 3}}, kMac4{{2, 0, 0, 0, 0, 4}};
const IpAddr kV4 = *IpAddr::parse("192.0.2.1"), kW4 = *IpAddr::parse("198.51.100.255");
const IpAddr kV6 = *IpAddr::parse("2001:db8::1"), kW6 = *IpAddr::parse("2001:db8:ffff::2");

Frame frame_of(std::string_view text) {
  auto f = parse_frame(text);
  EXPECT_TRUE(f.ok()) << (f.ok() ? "" : f.error().message);
  return f.ok() ? *std::move(f) : Frame{};
}

/// The text of a frame behind its Ethernet layer, after a rewrite.
std::string rewritten(std::string_view text, const Rewrite& r, bool partial = false) {
  Frame f = frame_of(text);
  apply_rewrite(r, parse_packet(f), f, partial);
  const std::string out = format_frame(f);
  const size_t layer = out.find(" | ");
  return layer == out.npos ? out : out.substr(layer + 3);
}

Rewrite everything(bool v6) {
  Rewrite r;
  r.eth_src = kMac3;
  r.eth_dst = kMac4;
  r.ip_src = v6 ? kV6 : kV4;
  r.ip_dst = v6 ? kW6 : kW4;
  r.tp_src = 4321;
  r.tp_dst = 8765;
  r.dscp = 46;
  r.ttl_decrement = 3;
  return r;
}

TEST(Actions, Text) {
  Actions a;
  EXPECT_EQ(format(a), "drop");
  EXPECT_TRUE(a.drops());
  Rewrite route;
  route.eth_src = kMac3;
  route.eth_dst = kMac4;
  route.ttl_decrement = 1;
  a.copies = {{route, LocalOutput{DpPort{17}}}, {{}, TunnelOutput{kV4, 0x12}}};
  EXPECT_EQ(format(a),
            "eth.src=02:00:00:00:00:03 eth.dst=02:00:00:00:00:04 ttl-1 -> port 17; -> tunnel "
            "192.0.2.1 key 0x12");
  a.copies = {{everything(true), LocalOutput{DpPort{1}}}};
  EXPECT_EQ(format(a),
            "eth.src=02:00:00:00:00:03 eth.dst=02:00:00:00:00:04 ip.src=2001:db8::1 "
            "ip.dst=2001:db8:ffff::2 "
            "tp.src=4321 tp.dst=8765 dscp=46 ttl-3 -> port 1");
}

/// A checksum that is wrong afterwards would be printed as "sum".
TEST(ApplyRewrite, ChangesFieldsAndKeepsChecksumsRight) {
  const std::string ip4 = "ipv4 10.0.1.10 > 10.0.2.10 ttl 64 tos 1 id 7",
                    ip6 = "ipv6 fd00:1::a > fd00:2::a ttl 64 tos 1 flow 0x12345";
  const std::string to4 = "ipv4 192.0.2.1 > 198.51.100.255 ttl 61 tos 185 id 7",
                    to6 = "ipv6 2001:db8::1 > 2001:db8:ffff::2 ttl 61 tos 185 flow 0x12345";
  struct {
    std::string before, after;
  } const cases[] = {
      {ip4 + " | udp 1 > 2 | payload \"odd\"", to4 + " | udp 4321 > 8765 | payload \"odd\""},
      {ip6 + " | udp 1 > 2 | payload \"odd\"", to6 + " | udp 4321 > 8765 | payload \"odd\""},
      {ip4 + " options 01010101 | tcp 1 > 2 flags A",
       to4 + " options 01010101 | tcp 4321 > 8765 flags A"},
      {ip6 + " | ext destination 010400000000 | tcp 1 > 2 flags A",
       to6 + " | ext destination 010400000000 | tcp 4321 > 8765 flags A"},
      {ip4 + " | icmp echo-request id 1 seq 2 | payload \"x\"",
       to4 + " | icmp echo-request id 4321 seq 2 | payload \"x\""},
      {ip6 + " | icmp echo-reply id 1 seq 2 | payload \"x\"",
       to6 + " | icmp echo-reply id 4321 seq 2 | payload \"x\""},
      // No identifier in an error, no ports in what we do not know.
      {ip4 + " | icmp time-exceeded | quoted hex 4500",
       to4 + " | icmp time-exceeded | quoted hex 4500"},
      {ip6 + " | icmp time-exceeded | quoted hex 4500",
       to6 + " | icmp time-exceeded | quoted hex 4500"},
      {"ipv4 10.0.1.10 > 10.0.2.10 ttl 64 proto 132 | payload hex 000100020000000000000000",
       "ipv4 192.0.2.1 > 198.51.100.255 ttl 61 tos 184 | sctp 1 > 2 sum 0x00000000"},
      {"ipv4 10.0.1.10 > 10.0.2.10 ttl 64 proto 17 id 7 frag off 1480 | payload \"rest\"",
       "ipv4 192.0.2.1 > 198.51.100.255 ttl 61 tos 184 proto 17 id 7 frag off 1480 | payload "
       "\"rest\""},
      // RFC 768: no checksum stays no checksum.
      {ip4 + " | udp 1 > 2 sum 0x0000", to4 + " | udp 4321 > 8765 sum 0x0000"},
      {"arp request who 10.0.0.1 tell 10.0.0.2 sha 02:00:00:00:00:02",
       "arp request who 10.0.0.1 tell 10.0.0.2 sha 02:00:00:00:00:02"},
      {"vlan 12 | " + ip4 + " | udp 1 > 2 | pad 9",
       "vlan 12 | " + to4 + " | udp 4321 > 8765 | pad 9"},
  };
  for (const auto& c : cases) {
    const bool v6 = c.before.find("ipv6") != c.before.npos;
    EXPECT_EQ(rewritten(c.before, everything(v6)), c.after);
  }
}

TEST(ApplyRewrite, EthernetOnly) {
  Frame f = *parse_hex(known::kArpRequest);
  apply_rewrite(everything(false), parse_packet(f), f);
  EXPECT_EQ(mac_at(f, 0), kMac4);
  EXPECT_EQ(mac_at(f, 6), kMac3);
  EXPECT_EQ(ArpView::of(parse_packet(f), f)->sender_mac(), (MacAddr{{2, 0, 0, 0, 0, 1}}));
}

TEST(ApplyRewrite, OtherFamilyIsLeftAlone) {
  const std::string text = "ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | udp 1 > 2";
  Rewrite r;
  r.ip_src = kV6;
  r.ip_dst = kW6;
  EXPECT_EQ(rewritten(text, r), text);
}

TEST(ApplyRewrite, NothingChangesNothing) {
  for (const auto hex : {known::kUdp4, known::kTcp6Extensions, known::kArpRequest}) {
    Frame f = *parse_hex(hex);
    const Frame before = f;
    apply_rewrite({}, parse_packet(f), f);
    EXPECT_EQ(f, before);
  }
}

TEST(ApplyRewrite, WrongChecksumsStayWrong) {
  // Repairing them would hide a corruption from the receiver.
  for (const char* text : {"ipv4 10.0.1.10 > 10.0.2.10 sum 0x1234 | udp 1 > 2 sum 0x4321",
                           "ipv6 fd00:1::a > fd00:2::a | tcp 1 > 2 sum 0x4321",
                           "ipv6 fd00:1::a > fd00:2::a | udp 1 > 2 sum 0x0000"}) {
    Frame f = frame_of(text);
    apply_rewrite(everything(parse_packet(f).key.is_ipv6()), parse_packet(f), f);
    EXPECT_FALSE(transport_checksum_ok(parse_packet(f), f)) << text;
    if (parse_packet(f).key.is_ipv4()) {
      EXPECT_FALSE(ipv4_checksum_ok(parse_packet(f), f));
    }
  }
}

TEST(ApplyRewrite, PartialChecksumsStayPartial) {
  for (const std::string text :
       {"ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | udp 1 > 2 sum partial | payload \"x\"",
        "ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | tcp 1 > 2 flags A sum partial",
        "ipv6 fd00:1::a > fd00:2::a ttl 64 | tcp 1 > 2 flags A sum partial",
        "ipv6 fd00:1::a > fd00:2::a ttl 64 | icmp echo-request id 1 seq 2 sum partial"}) {
    const bool v6 = text.starts_with("ipv6");
    const std::string out = rewritten(text, everything(v6), true);
    EXPECT_NE(out.find("sum partial"), out.npos) << out;
    // What hardware then completes is right.
    Frame f = frame_of(text);
    apply_rewrite(everything(v6), parse_packet(f), f, true);
    Frame completed = f;
    EXPECT_TRUE(complete_checksum(parse_packet(f), completed));
    EXPECT_TRUE(transport_checksum_ok(parse_packet(completed), completed));
    // Taken for a complete one it would come out as neither.
    EXPECT_EQ(rewritten(text, everything(v6), false).find("sum partial"), out.npos);
  }
  // ICMP over IPv4 and missing UDP checksums have no partial form, whatever the caller says.
  EXPECT_EQ(rewritten("ipv4 10.0.1.10 > 10.0.2.10 | icmp echo-request id 1 seq 2",
                      everything(false), true),
            "ipv4 192.0.2.1 > 198.51.100.255 ttl 61 tos 184 | icmp echo-request id 4321 seq 2");
}

TEST(ApplyRewrite, UdpChecksumNeverBecomesNone) {
  // One source port makes the sum all ones, whose complement would say "no checksum" (RFC 768).
  const Frame before = *parse_hex(known::kUdp4);
  bool met = false;
  for (unsigned port = 0; port < 65536; ++port) {
    Frame f = before;
    Rewrite r;
    r.tp_src = static_cast<uint16_t>(port);
    apply_rewrite(r, parse_packet(f), f);
    ASSERT_NE(be16_at(f, 40), 0) << port;
    ASSERT_TRUE(transport_checksum_ok(parse_packet(f), f)) << port;
    met = met || be16_at(f, 40) == 0xffff;
  }
  EXPECT_TRUE(met);
}

TEST(ApplyRewrite, TtlNeverWraps) {
  Rewrite r;
  r.ttl_decrement = 5;
  EXPECT_EQ(rewritten("ipv4 1.1.1.1 > 2.2.2.2 ttl 3 | udp 1 > 2", r),
            "ipv4 1.1.1.1 > 2.2.2.2 ttl 0 | udp 1 > 2");
  EXPECT_EQ(rewritten("ipv6 fd00::1 > fd00::2 ttl 3 | udp 1 > 2", r),
            "ipv6 fd00::1 > fd00::2 ttl 0 | udp 1 > 2");
}

TEST(ApplyRewrite, FirstFragmentKeepsTheSumOfTheWhole) {
  // The checksum of a datagram, computed over all of it, must be right for the rewritten datagram as a whole.
  const PacketSpec spec{.src = *IpAddr::parse("10.0.0.1"), .dst = *IpAddr::parse("10.0.0.2")};
  Frame whole = udp_packet(spec, 1, 2, Frame(2000, 3));
  Frame first = fragment(whole, 1500)[0];
  Rewrite r;
  r.ip_src = kV4;
  r.tp_src = 999;
  apply_rewrite(r, parse_packet(whole), whole);
  apply_rewrite(r, parse_packet(first), first);
  EXPECT_TRUE(transport_checksum_ok(parse_packet(whole), whole));
  EXPECT_EQ(be16_at(first, 40), be16_at(whole, 40));
  EXPECT_TRUE(ipv4_checksum_ok(parse_packet(first), first));
}

TEST(ApplyRewrite, BrokenFramesGetTheirEthernetOnly) {
  Frame f = *parse_hex(known::kUdp4);
  f[14] = 0x65;
  Frame want = f;
  put_bytes(want, 0, kMac4.bytes);
  put_bytes(want, 6, kMac3.bytes);
  apply_rewrite(everything(false), parse_packet(f), f);
  EXPECT_EQ(f, want);
  Frame tiny(5);
  apply_rewrite(everything(false), parse_packet(tiny), tiny);
  EXPECT_EQ(tiny, Frame(5));
}

}  // namespace
}  // namespace plexus
