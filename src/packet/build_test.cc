// SPDX-License-Identifier: Apache-2.0
#include "packet/build.h"

#include <gtest/gtest.h>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/known_frames.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

const MacAddr kMac1{{2, 0, 0, 0, 0, 1}}, kMac2{{2, 0, 0, 0, 0, 2}};
const IpAddr kA4 = *IpAddr::parse("10.0.1.10"), kB4 = *IpAddr::parse("10.0.2.10");
const IpAddr kA6 = *IpAddr::parse("fd00:1::a"), kB6 = *IpAddr::parse("fd00:2::a");

Frame bytes_of(std::string_view hex) {
  return *parse_hex(hex);
}

Frame frame_of(std::string_view text) {
  auto f = parse_frame(text);
  EXPECT_TRUE(f.ok()) << (f.ok() ? "" : f.error().message);
  return f.ok() ? *std::move(f) : Frame{};
}

PacketSpec spec4() {
  return {.eth_src = kMac1, .eth_dst = kMac2, .src = kA4, .dst = kB4};
}
PacketSpec spec6() {
  return {.eth_src = kMac1, .eth_dst = kMac2, .src = kA6, .dst = kB6};
}

void expect_right(std::span<const uint8_t> f) {
  const ParsedPacket p = parse_packet(f);
  EXPECT_EQ(p.error, ParseError::none);
  EXPECT_EQ(p.length, f.size());
  EXPECT_TRUE(ipv4_checksum_ok(p, f));
  EXPECT_TRUE(transport_checksum_ok(p, f));
}

TEST(Build, EqualsKnownFrames) {
  EXPECT_EQ(udp_packet(spec4(), 1000, 53, text_bytes("hello")), bytes_of(known::kUdp4));
  EXPECT_EQ(udp_packet(spec6(), 1000, 53, text_bytes("hello")), bytes_of(known::kUdp6));
  EXPECT_EQ(icmp_echo(spec4(), false, 1, 2, text_bytes("abcd")), bytes_of(known::kEcho4));
  EXPECT_EQ(icmp_echo(spec6(), false, 1, 2, text_bytes("abcd")), bytes_of(known::kEcho6));
  PacketSpec tagged = spec4();
  tagged.vlan_tci = 12;
  tagged.ipv4_id = 7;
  tagged.dont_fragment = true;
  EXPECT_EQ(tcp_packet(tagged, 1000, 80, 2, 1), bytes_of(known::kTcp4Vlan));
  EXPECT_EQ(arp_request(kMac1, kA4, *IpAddr::parse("10.0.1.1")), bytes_of(known::kArpRequest));
  EXPECT_EQ(nd_solicit(kMac1, kA6, *IpAddr::parse("fd00:1::1")),
            bytes_of(known::kNeighbourSolicit));
  EXPECT_EQ(nd_advert(kMac2, *IpAddr::parse("fd00:1::1"), kMac1, kA6, {.router = true}),
            bytes_of(known::kNeighbourAdvert));
}

TEST(Build, ArpReply) {
  const Frame f = arp_reply(kMac2, *IpAddr::parse("10.0.1.1"), kMac1, kA4);
  EXPECT_EQ(format_frame(f),
            "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | arp reply 10.0.1.1 to 10.0.1.10 sha "
            "02:00:00:00:00:02");
  const auto arp = ArpView::of(parse_packet(f), f);
  ASSERT_TRUE(arp);
  EXPECT_EQ(arp->operation(), arp_op::kReply);
  EXPECT_EQ(arp->sender_mac(), kMac2);
  EXPECT_EQ(arp->target_mac(), kMac1);
  EXPECT_EQ(arp->target_ip(), kA4);
}

TEST(NdMessage, ReadsWhatTheBuildersMake) {
  const IpAddr target = *IpAddr::parse("fd00:1::1");
  Frame f = nd_solicit(kMac1, kA6, target);
  const auto ns = NdMessage::of(parse_packet(f), f);
  ASSERT_TRUE(ns);
  EXPECT_EQ(ns->type, icmpv6_type::kNeighbourSolicit);
  EXPECT_EQ(ns->src, kA6);
  EXPECT_EQ(ns->dst, solicited_node_of(target));
  EXPECT_EQ(ns->target, target);
  EXPECT_EQ(ns->link_address, kMac1);

  f = nd_solicit(kMac1, *IpAddr::parse("::"), target);
  const auto dad = NdMessage::of(parse_packet(f), f);
  ASSERT_TRUE(dad);
  EXPECT_FALSE(dad->link_address);

  f = nd_advert(kMac2, target, kMac1, kA6, {.router = true, .solicited = true, .override_ = false});
  const auto na = NdMessage::of(parse_packet(f), f);
  ASSERT_TRUE(na);
  EXPECT_TRUE(na->router && na->solicited && !na->override_);
  EXPECT_EQ(na->link_address, kMac2);
}

// RFC 4861 7.1.1 and 7.1.2.
TEST(NdMessage, RefusesWhatTheRfcRefuses) {
  for (const char* text : {
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 254 | nd solicit target fd00:1::1",
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | nd solicit target ff02::1",
           "ipv6 fd00:1::a > ff02::1:ff00:1 | nd solicit target fd00:1::1 sum 1",
           "ipv6 :: > ff02::1 | nd solicit target fd00:1::1",
           "ipv6 :: > ff02::1:ff00:1 | nd solicit target fd00:1::1 slla 02:00:00:00:00:01",
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | icmp type 135 code 1 | payload hex "
           "fd000001000000000000000000000001",
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | icmp type 135 | payload hex "
           "fd0000010000000000000000000000",
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | icmp type 135 | payload hex "
           "fd0000010000000000000000000000010100020000000001",
           "ipv6 fd00:1::a > ff02::1:ff00:1 ttl 255 | icmp type 135 | payload hex "
           "fd0000010000000000000000000000010102020000000001",
           "ipv6 fd00:1::a > ff02::1 | nd advert target fd00:1::1 solicited tlla 02:00:00:00:00:01",
           "ipv6 fd00:1::a > fd00:1::1 ttl 255 | icmp echo-request id 1 seq 1",
       }) {
    const Frame f = frame_of(text);
    EXPECT_EQ(parse_packet(f).error, ParseError::none) << text;
    EXPECT_FALSE(NdMessage::of(parse_packet(f), f)) << text;
  }
  // The same, right.
  const Frame good = frame_of("ipv6 fd00:1::a > ff02::1:ff00:1 | nd solicit target fd00:1::1");
  EXPECT_TRUE(NdMessage::of(parse_packet(good), good));
}

TEST(EchoReply, TurnsTheRequestRound) {
  struct {
    const char *request, *reply;
  } const cases[] = {
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.0.1.10 > 10.0.1.1 ttl 5 tos 8 id 9 df "
       "options 01010101 | "
       "icmp echo-request id 7 seq 8 | payload \"abc\"",
       "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ipv4 10.0.1.1 > 10.0.1.10 ttl 64 tos 8 | "
       "icmp echo-reply id 7 seq 8 | payload \"abc\""},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 12 pcp 2 | ipv6 fd00:1::a > fd00:1::1 ttl "
       "5 | "
       "ext hop-by-hop 010400000000 | icmp echo-request id 7 seq 8 | payload \"abc\" | pad 7",
       "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | vlan 12 pcp 2 | ipv6 fd00:1::1 > fd00:1::a ttl "
       "64 | "
       "icmp echo-reply id 7 seq 8 | payload \"abc\""},
  };
  for (const auto& c : cases) {
    const Frame request = frame_of(c.request);
    const auto reply = echo_reply(parse_packet(request), request);
    ASSERT_TRUE(reply) << c.request;
    EXPECT_EQ(format_frame(*reply), c.reply);
    expect_right(*reply);
  }
}

TEST(EchoReply, OnlyForWholeCorrectRequests) {
  for (const char* text : {
           "ipv4 10.0.1.10 > 10.0.1.1 | icmp echo-reply id 1 seq 1",
           "ipv4 10.0.1.10 > 10.0.1.1 | icmp echo-request id 1 seq 1 code 1",
           "ipv4 10.0.1.10 > 10.0.1.1 | icmp echo-request id 1 seq 1 sum 0x1234",
           "ipv4 10.0.1.10 > 10.0.1.1 sum 1 | icmp echo-request id 1 seq 1",
           "ipv4 10.0.1.10 > 10.0.1.1 frag off 0 more | icmp echo-request id 1 seq 1",
           "ipv4 10.0.1.10 > 10.0.1.1 | udp 1 > 2",
           "ipv6 fd00::1 > fd00::2 | icmp echo-request id 1 seq 1 sum 0x1234",
           "ipv6 fd00::1 > fd00::2 | nd solicit target fd00::2",
       }) {
    const Frame f = frame_of(text);
    EXPECT_FALSE(echo_reply(parse_packet(f), f)) << text;
  }
}

TEST(EchoReply, FromAnotherAddress) {
  const Frame f = frame_of("ipv6 fd00::1 > ff02::1 | icmp echo-request id 1 seq 1");
  const auto reply = echo_reply(parse_packet(f), f, *IpAddr::parse("fd00::9"));
  ASSERT_TRUE(reply);
  EXPECT_EQ(parse_packet(*reply).key.src_ip().str(), "fd00::9");
  EXPECT_FALSE(echo_reply(parse_packet(f), f, kA4));
}

TEST(IcmpError, QuotesThePacket) {
  struct {
    IcmpErrorKind kind;
    uint16_t mtu;
    const char *v4, *v6;
  } const cases[] = {
      {IcmpErrorKind::time_exceeded, 0, "time-exceeded", "time-exceeded"},
      {IcmpErrorKind::net_unreachable, 0, "unreachable net", "unreachable net"},
      {IcmpErrorKind::host_unreachable, 0, "unreachable host", "unreachable host"},
      {IcmpErrorKind::protocol_unreachable, 0, "unreachable code 2", "type 4 code 1 rest 0x6"},
      {IcmpErrorKind::port_unreachable, 0, "unreachable port", "unreachable port"},
      {IcmpErrorKind::admin_prohibited, 0, "unreachable admin", "unreachable admin"},
      {IcmpErrorKind::packet_too_big, 1400, "too-big mtu 1400", "too-big mtu 1400"},
  };
  for (const auto& c : cases) {
    for (const bool v6 : {false, true}) {
      const Frame about = bytes_of(v6 ? known::kUdp6 : known::kUdp4);
      const IcmpErrorSpec spec{c.kind, kMac2, kMac1, *IpAddr::parse(v6 ? "fd00:1::1" : "10.0.1.1"),
                               c.mtu};
      Frame padded = about;
      padded.resize(about.size() + 9);
      const auto error = icmp_error(spec, parse_packet(padded), padded);
      ASSERT_TRUE(error);
      const std::string quote = format_hex(std::span(about).subspan(14));
      // Parameter problem has no words of its own.
      const bool named = !v6 || c.kind != IcmpErrorKind::protocol_unreachable;
      const std::string quoted = named ? "quoted" : "payload";
      EXPECT_EQ(format_frame(*error), std::string("eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ") +
                                          (v6 ? "ipv6 fd00:1::1 > fd00:1::a ttl 64"
                                              : "ipv4 10.0.1.1 > 10.0.1.10 ttl 64 tos 192") +
                                          " | icmp " + (v6 ? c.v6 : c.v4) + " | " + quoted +
                                          " hex " + quote);
      expect_right(*error);
    }
  }
}

// RFC 4443 3.4: the pointer is the place of the value that nobody knows.
TEST(IcmpError, PointsAtTheProtocolBehindExtensionHeaders) {
  const auto pointer = [](const char* text) -> int64_t {
    const Frame f = frame_of(text);
    const auto error =
        icmp_error({IcmpErrorKind::protocol_unreachable, kMac2, kMac1, kB6}, parse_packet(f), f);
    return error ? int64_t{be32_at(*error, parse_packet(*error).l4_offset + 4u)} : -1;
  };
  EXPECT_EQ(pointer("ipv6 fd00::1 > fd00::2 proto 89 | payload \"x\""), 6);
  EXPECT_EQ(
      pointer("ipv6 fd00::1 > fd00::2 proto 89 | ext hop-by-hop 000000000000 | payload \"x\""), 40);
  EXPECT_EQ(
      pointer("ipv6 fd00::1 > fd00::2 proto 89 | ext hop-by-hop 000000000000 | ext destination "
              "0000000000000000000000000000 | payload \"x\""),
      48);
  EXPECT_EQ(pointer("ipv6 fd00::1 > fd00::2 proto 89 | frag off 0 more id 1 | payload \"x\""), 40);
  EXPECT_EQ(pointer("ipv6 fd00::1 > fd00::2 proto 59 | payload \"x\""), -1)
      << "there is no protocol";
}

TEST(IcmpError, LongPacketsAreCut) {
  const Frame v4 = udp_packet(spec4(), 1, 2, Frame(4000));
  const auto e4 =
      icmp_error({IcmpErrorKind::time_exceeded, kMac2, kMac1, kB4}, parse_packet(v4), v4);
  ASSERT_TRUE(e4);
  EXPECT_EQ(e4->size(), 14u + 576);
  expect_right(*e4);
  const Frame v6 = udp_packet(spec6(), 1, 2, Frame(4000));
  const auto e6 =
      icmp_error({IcmpErrorKind::time_exceeded, kMac2, kMac1, kB6}, parse_packet(v6), v6);
  ASSERT_TRUE(e6);
  EXPECT_EQ(e6->size(), 14u + 1280);
  expect_right(*e6);
  EXPECT_FALSE(icmp_error({IcmpErrorKind::time_exceeded, kMac2, kMac1, kB4}, parse_packet(v6), v6));
}

TEST(IcmpError, KeepsTheVlan) {
  const Frame f = bytes_of(known::kTcp4Vlan);
  const auto error =
      icmp_error({IcmpErrorKind::host_unreachable, kMac2, kMac1, kB4}, parse_packet(f), f);
  ASSERT_TRUE(error);
  EXPECT_EQ(parse_packet(*error).key.vlan_tci.host(), 0x100c);
}

// RFC 1122 3.2.2, RFC 1812 4.3.2.7, RFC 4443 2.4 (e).
TEST(IcmpError, MaySend) {
  struct {
    const char* text;
    bool may;
  } const cases[] = {
      {"ipv4 10.0.1.10 > 10.0.2.10 | udp 1 > 2", true},
      {"ipv6 fd00::1 > fd00::2 | udp 1 > 2", true},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp echo-request", true},
      {"ipv6 fd00::1 > fd00::2 | icmp echo-reply", true},
      {"ipv4 10.0.1.10 > 10.0.2.10 frag off 0 more | udp 1 > 2", true},
      {"ipv4 10.0.1.10 > 10.0.2.10 frag off 8 proto 17", false},
      {"ipv6 fd00::1 > fd00::2 | frag off 8 id 1 | payload \"x\"", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp time-exceeded", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp unreachable host", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp type 5", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp type 12", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 | icmp type 200", false},
      {"ipv6 fd00::1 > fd00::2 | icmp too-big mtu 1280", false},
      {"ipv6 fd00::1 > fd00::2 | icmp type 100", false},
      {"ipv6 fd00::1 > fd00::2 | icmp type 137", false},
      {"ipv4 10.0.1.10 > 224.0.0.5 | udp 1 > 2", false},
      {"ipv4 10.0.1.10 > 255.255.255.255 | udp 1 > 2", false},
      {"eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.1.10 > 10.0.2.10 | udp 1 > 2", false},
      {"eth 02:00:00:00:00:01 > 33:33:00:00:00:01 | ipv6 fd00::1 > fd00::2 | udp 1 > 2", false},
      {"ipv6 fd00::1 > ff02::5 | udp 1 > 2", false},
      {"ipv4 0.0.0.0 > 10.0.2.10 | udp 1 > 2", false},
      {"ipv4 127.0.0.1 > 10.0.2.10 | udp 1 > 2", false},
      {"ipv4 224.0.0.1 > 10.0.2.10 | udp 1 > 2", false},
      {"ipv4 255.255.255.255 > 10.0.2.10 | udp 1 > 2", false},
      {"ipv4 240.0.0.1 > 10.0.2.10 | udp 1 > 2", false},
      {"ipv6 :: > fd00::2 | udp 1 > 2", false},
      {"ipv6 ff02::1 > fd00::2 | udp 1 > 2", false},
      {"arp request who 10.0.0.1 tell 10.0.0.2", false},
      {"eth 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x88cc", false},
      {"ipv4 10.0.1.10 > 10.0.2.10 proto 17", false},  // truncated
  };
  for (const auto& c : cases) {
    const Frame f = frame_of(c.text);
    const auto p = parse_packet(f);
    EXPECT_EQ(may_send_icmp_error(p, f), c.may) << c.text;
    const IpAddr from = p.key.is_ipv6() ? kB6 : kB4;
    EXPECT_EQ(icmp_error({IcmpErrorKind::time_exceeded, kMac2, kMac1, from}, p, f).has_value(),
              c.may)
        << c.text;
  }
}

// RFC 9293 3.10.7.1, CLOSED STATE.
TEST(TcpReset, AnswersEachSegment) {
  struct {
    const char *segment, *reset;  ///< nullptr: none
  } const cases[] = {
      {"flags S seq 100", "flags RA ack 101"},
      {"flags S seq 100 | payload \"abc\"", "flags RA ack 104"},
      {"flags S seq 0xffffffff", "flags RA"},
      {"flags S seq 100 options 020405b4", "flags RA ack 101"},
      {"flags F seq 100 | payload \"abc\"", "flags RA ack 104"},
      {"flags none seq 100", "flags RA ack 100"},
      {"flags A seq 100 ack 700", "flags R seq 700"},
      {"flags SA seq 100 ack 700", "flags R seq 700"},
      {"flags FPA seq 100 ack 700 | payload \"abc\"", "flags R seq 700"},
      {"flags R seq 100", nullptr},
      {"flags RA seq 100 ack 700", nullptr},
  };
  for (const auto& c : cases) {
    for (const bool v6 : {false, true}) {
      const std::string text =
          std::string(v6 ? "ipv6 fd00::1 > fd00::2" : "ipv4 10.0.0.1 > 10.0.0.2") +
          " | tcp 1000 > 80 " + c.segment;
      Frame f = frame_of(text.c_str());
      f.resize(f.size() + 7);  // Ethernet padding is not acknowledged
      const auto reset = tcp_reset(kMac2, kMac1, parse_packet(f), f);
      ASSERT_EQ(reset.has_value(), c.reset != nullptr) << text;
      if (!reset) continue;
      EXPECT_EQ(format_frame(*reset),
                std::string("eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ") +
                    (v6 ? "ipv6 fd00::2 > fd00::1 ttl 64" : "ipv4 10.0.0.2 > 10.0.0.1 ttl 64") +
                    " | tcp 80 > 1000 " + c.reset)
          << text;
      expect_right(*reset);
    }
  }
}

TEST(TcpReset, OfWhatMayBeAnsweredOnly) {
  for (const char* text : {
           "ipv4 10.0.0.1 > 10.0.0.2 | udp 1 > 2",
           "ipv4 10.0.0.1 > 10.0.0.2 frag off 0 more | tcp 1 > 2",
           "ipv4 10.0.0.1 > 255.255.255.255 | tcp 1 > 2",
           "ipv4 127.0.0.1 > 10.0.0.2 | tcp 1 > 2",
           "eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff | ipv4 10.0.0.1 > 10.0.0.2 | tcp 1 > 2",
           "ipv6 :: > fd00::2 | tcp 1 > 2",
       }) {
    const Frame f = frame_of(text);
    EXPECT_FALSE(tcp_reset(kMac2, kMac1, parse_packet(f), f)) << text;
  }
  const Frame tagged = with_vlan(frame_of("ipv4 10.0.0.1 > 10.0.0.2 | tcp 1 > 2"), 12);
  EXPECT_EQ(
      parse_packet(*tcp_reset(kMac2, kMac1, parse_packet(tagged), tagged)).key.vlan_tci.host(),
      0x100c);
}

TEST(Build, NeighbourAnswerTurnsTheQuestionRound) {
  const MacAddr asker = *MacAddr::parse("02:00:00:00:00:01"),
                owner = *MacAddr::parse("02:00:00:00:00:fe");
  const IpAddr host4 = *IpAddr::parse("10.0.0.2"), gateway4 = *IpAddr::parse("10.0.0.1"),
               host6 = *IpAddr::parse("fd00::2"), gateway6 = *IpAddr::parse("fd00::1"),
               same_group6 = *IpAddr::parse("fd00::1:0:0:1");
  const auto answer = [&](std::span<const uint8_t> frame, bool router = true) {
    const ParsedPacket parsed = parse_packet(frame);
    return neighbour_answer(parsed, frame, parsed.key.is_arp() ? gateway4 : gateway6, owner,
                            router);
  };
  const Frame arp = arp_request(asker, host4, gateway4);
  EXPECT_EQ(answer(arp), arp_reply(owner, gateway4, asker, host4));
  EXPECT_FALSE(answer(*answer(arp)));  // a reply is no question
  Frame forged = arp;
  forged[6 + 5] ^= 1;  // sent by another than it says
  EXPECT_FALSE(answer(forged));
  EXPECT_FALSE(answer(arp_request(asker, host4, *IpAddr::parse("10.0.0.3"))));
  const Frame tagged = with_vlan(arp, 7);
  EXPECT_EQ(answer(tagged), with_vlan(arp_reply(owner, gateway4, asker, host4), 7));

  const Frame ask = nd_solicit(asker, host6, gateway6);
  EXPECT_EQ(answer(ask), nd_advert(owner, gateway6, asker, host6, {.router = true}));
  EXPECT_EQ(answer(ask, false), nd_advert(owner, gateway6, asker, host6, {.router = false}));
  EXPECT_FALSE(answer(nd_solicit(asker, *IpAddr::parse("::"), gateway6)));  // a probe: to all
  // The same flow key: only the message itself says who is meant.
  const Frame other = nd_solicit(asker, host6, same_group6);
  EXPECT_EQ(parse_packet(other).key, parse_packet(ask).key);
  EXPECT_FALSE(answer(other));
  Frame damaged = ask;
  damaged.back() ^= 1;  // the option, and with it the checksum
  EXPECT_FALSE(answer(damaged));
  for (size_t cut = 0; cut < ask.size(); ++cut) EXPECT_FALSE(answer(std::span(ask).first(cut)));
}

TEST(Build, PacketSizeIsWhatAnMtuLimits) {
  const auto size = [](const Frame& f, uint16_t gso = 0) {
    return packet_size(parse_packet(f), f, gso);
  };
  const PacketSpec v4{.eth_src = kMac1, .eth_dst = kMac2, .src = kA4, .dst = kB4};
  const std::vector<uint8_t> payload(3000);
  Frame udp = udp_packet(v4, 1, 2, payload);
  EXPECT_EQ(size(udp), 3028u);
  EXPECT_EQ(size(udp, 1000), 1028u);
  EXPECT_EQ(size(with_vlan(udp, 5)), 3028u);
  EXPECT_EQ(size(tcp_packet(v4, 1, 2, 16, 0, payload), 1460), 1500u);
  udp = udp_packet(v4, 1, 2);
  udp.resize(60);  // Ethernet padding
  EXPECT_EQ(size(udp), 28u);
  EXPECT_EQ(size(Frame(20)), 6u);
  EXPECT_EQ(size(Frame(3)), 0u);
}

/// Puts fragments together again.
Frame reassembled(const std::vector<Frame>& pieces, size_t header_v6) {
  Frame data;
  for (const Frame& f : pieces) {
    const ParsedPacket p = parse_packet(f);
    EXPECT_EQ(p.error, ParseError::none);
    const auto l3 = std::span(f).subspan(p.l3_offset);
    size_t offset = 0, header = header_v6;
    if (const auto ip = Ipv4View::of(l3)) {
      EXPECT_TRUE(ipv4_checksum_ok(p, f));
      offset = ip->fragment_offset();
      header = ip->header_length();
    } else {
      offset = be16_at(l3, 42) & 0xfff8u;
    }
    EXPECT_EQ(offset, data.size());
    data.insert(data.end(), l3.begin() + static_cast<ptrdiff_t>(header), l3.end());
  }
  return data;
}

TEST(Fragment, CutsAndFits) {
  for (const bool v6 : {false, true}) {
    const Frame whole = udp_packet(v6 ? spec6() : spec4(), 1000, 53, Frame(3000, 7));
    const size_t header = v6 ? 40 : 20;
    for (const size_t mtu : {size_t{100}, size_t{576}, size_t{1280}, size_t{1500}}) {
      const auto pieces = fragment(whole, mtu, 99);
      ASSERT_GT(pieces.size(), 1u);
      for (size_t i = 0; i < pieces.size(); ++i) {
        EXPECT_LE(pieces[i].size(), mtu + 14);
        const auto kind = i == 0 ? FragKind::first : FragKind::later;
        EXPECT_EQ(parse_packet(pieces[i]).key.ip_frag, static_cast<uint8_t>(kind));
      }
      const Frame data(whole.begin() + static_cast<ptrdiff_t>(14 + header), whole.end());
      EXPECT_EQ(reassembled(pieces, 48), data);
    }
    EXPECT_EQ(fragment(whole, 9000), std::vector<Frame>{whole});
    EXPECT_TRUE(fragment(whole, header).empty());
    const Frame first = fragment(whole, 1500)[0];
    if (v6) {
      EXPECT_TRUE(fragment(first, 576).empty());
      continue;
    }
    // Pieces of pieces make the whole.
    std::vector<Frame> pieces;
    for (const Frame& piece : fragment(whole, 1500))
      for (Frame& smaller : fragment(piece, 576)) pieces.push_back(std::move(smaller));
    EXPECT_GT(pieces.size(), 5u);
    EXPECT_EQ(reassembled(pieces, 0), Frame(whole.begin() + 34, whole.end()));
    for (size_t i = 0; i < pieces.size(); ++i)
      EXPECT_EQ(Ipv4View::of(std::span(pieces[i]).subspan(14))->more_fragments(),
                i + 1 < pieces.size());
  }
  EXPECT_TRUE(fragment(bytes_of(known::kArpRequest), 20).empty());
}

/// A later fragment that begins there.
Frame later_at(uint32_t offset, size_t bytes) {
  Frame f = ip_packet(spec4(), ip_proto::kUdp, Frame(bytes, 7));
  put_be16(f, 14 + 6, static_cast<uint16_t>(0x2000 | offset / 8));
  put_be16(f, 14 + 10, 0);
  put_be16(f, 14 + 10, internet_checksum(std::span(f).subspan(14, 20)));
  return f;
}

TEST(Fragment, WhatNoPacketHasRoomForIsNotCut) {
  // The last byte of the longest packet, behind a header of 20 bytes.
  constexpr uint32_t kEnd = 65535 - 20;
  constexpr uint32_t kAt = kEnd / 8 * 8 - 800;
  const auto pieces = fragment(later_at(kAt, kEnd - kAt), 576);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(Ipv4View::of(std::span(pieces[1]).subspan(14))->fragment_offset(), kAt + 552);
  EXPECT_TRUE(fragment(later_at(kAt, kEnd - kAt + 1), 576).empty());
  // The second piece would be a first one.
  EXPECT_TRUE(fragment(later_at(65536 - 552, 800), 576).empty());
  EXPECT_TRUE(fragment(later_at(65528, 1400), 576).empty());
  // It goes on as it is where it fits: the receiver refuses it.
  EXPECT_EQ(fragment(later_at(65528, 1400), 1500).size(), 1u);
  const Frame longest = ip_packet(spec6(), ip_proto::kUdp, Frame(65535, 0));
  EXPECT_EQ(reassembled(fragment(longest, 1280), 48).size(), 65535u);
}

TEST(Fragment, CutsNoHeaders) {
  // Destination options of 64 bytes, then UDP: their end must be in the first piece (RFC 7112).
  Frame options(64 + 8 + 200, 0);
  options[0] = ip_proto::kUdp;
  options[1] = 7;
  options[2] = 1;  // PadN
  options[3] = 60;
  options[64 + 5] = 208;
  const Frame long_headers = ip_packet(spec6(), 60, options);
  ASSERT_EQ(parse_packet(long_headers).error, ParseError::none);
  EXPECT_TRUE(fragment(long_headers, 40 + 8 + 64).empty());
  EXPECT_EQ(fragment(long_headers, 40 + 8 + 72).size(), 4u);

  // A fragment of nothing (RFC 6946) gets no second fragment header.
  Frame atomic(8 + 8 + 200, 0);
  atomic[0] = ip_proto::kUdp;
  atomic[8 + 5] = 208;
  const Frame alone = ip_packet(spec6(), 44, atomic);
  ASSERT_EQ(parse_packet(alone).error, ParseError::none);
  ASSERT_EQ(parse_packet(alone).key.ip_frag, static_cast<uint8_t>(FragKind::none));
  EXPECT_TRUE(fragment(alone, 120).empty());
}

}  // namespace
}  // namespace plexus
