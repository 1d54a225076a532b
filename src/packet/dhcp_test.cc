// SPDX-License-Identifier: Apache-2.0
#include "packet/dhcp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "packet/build.h"
#include "packet/dhcp6.h"
#include "packet/text.h"
#include "packet/text_reader.h"

namespace plexus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A discover message, byte by byte as RFC 2131 figure 1 and RFC 2132 draw it.
std::vector<uint8_t> discover() {
  const std::string zeros(2 * (10 + 64 + 128), '0');
  return *parse_hex(
      "01010600"  // op, htype, hlen, hops
      "3903f326"  // xid
      "00058000"  // secs, flags: broadcast
      "00000000000000000000000000000000"
      "0a1b2c3d4e5f" +
      zeros + "63825363" + "350101" + "3d07010a1b2c3d4e5f" + "32040a010107" + "3704" + "0103062a" +
      "00" + "390205dc" + "ff" + "0000");
}

TEST(Dhcp, ReadsAMessage) {
  const auto bytes = discover();
  const auto view = DhcpView::of(bytes);
  ASSERT_TRUE(view);
  EXPECT_FALSE(view->is_reply());
  EXPECT_EQ(view->xid(), 0x3903f326u);
  EXPECT_EQ(view->secs(), 5);
  EXPECT_TRUE(view->broadcast());
  EXPECT_EQ(view->mac().str(), "0a:1b:2c:3d:4e:5f");
  EXPECT_EQ(view->client(), IpAddr::v4(0));
  EXPECT_EQ(view->type(), dhcp::Type::discover);
  EXPECT_EQ(view->address_option(dhcp::option::kRequestedAddress), IpAddr::parse("10.1.1.7"));
  EXPECT_FALSE(view->address_option(dhcp::option::kServerId));
  EXPECT_FALSE(view->address_option(dhcp::option::kMaxMessage)) << "two bytes";
  EXPECT_THAT(*view->option(dhcp::option::kParameterList), ElementsAre(1, 3, 6, 42));
  EXPECT_THAT(*view->option(dhcp::option::kMaxMessage), ElementsAre(0x05, 0xdc)) << "behind a pad";
}

TEST(Dhcp, RefusesWhatIsNotWhole) {
  const auto whole = discover();
  for (size_t size = 0; size + 3 < whole.size(); ++size) {
    // Only where an option ends may the message end without its end option.
    const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
    const bool between = size == 240 || size == 243 || size == 252 || size == 258 || size == 264 ||
                         size == 265 || size == 269;
    EXPECT_EQ(DhcpView::of(cut).has_value(), between) << size;
  }
  for (const size_t at : {0u, 1u, 2u, 236u}) {
    auto other = whole;
    other[at] ^= 0x40;
    EXPECT_FALSE(DhcpView::of(other)) << "op, htype, hlen, cookie: byte " << at;
  }
  auto unknown = whole;
  unknown[242] = 9;
  EXPECT_FALSE(DhcpView::of(unknown)->type());
  unknown[242] = 0;
  EXPECT_FALSE(DhcpView::of(unknown)->type());
}

TEST(Dhcp, BuildsWhatItReads) {
  dhcp::Message m = DhcpView::of(discover())->message();
  EXPECT_EQ(dhcp::encode(m, 0).size(), discover().size() - 3) << "without the pads";
  m.reply = true;
  m.your = *IpAddr::parse("10.1.1.7");
  m.options = {{dhcp::option::kMessageType, {5}}, {43, std::vector<uint8_t>(300, 7)}};
  const auto bytes = dhcp::encode(m);
  EXPECT_GE(bytes.size(), 300u);
  const auto view = DhcpView::of(bytes);
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->is_reply());
  EXPECT_EQ(view->your().str(), "10.1.1.7");
  // RFC 3396: in two parts.
  const auto parts = view->message().options;
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[1].second.size(), 255u);
  EXPECT_EQ(parts[2].second.size(), 45u);
  EXPECT_EQ(dhcp::encode({.options = {{53, {1}}}}).size(), 300u);
}

TEST(Dhcp, TheBootFileHasItsField) {
  const std::string longest(dhcp::kMaxFile, 'x');
  for (const std::string& file : {std::string("pxe.img"), longest}) {
    const auto bytes = dhcp::encode({.file = file, .options = {{53, {1}}}});
    EXPECT_EQ(bytes[107], 0);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()) + 108), file);
    EXPECT_EQ(DhcpView::of(bytes)->file(), file);
    EXPECT_EQ(DhcpView::of(bytes)->message().file, file);
  }
}

TEST(Dhcp, WritesRoutesAsTheRfcDoes) {
  // The examples of RFC 3442.
  const auto wire = [](const char* to) {
    const std::pair<IpPrefix, IpAddr> route{*IpPrefix::parse(to), *IpAddr::parse("10.9.8.7")};
    return format_hex(dhcp::encode_routes({&route, 1}));
  };
  EXPECT_EQ(wire("0.0.0.0/0"), "000a090807");
  EXPECT_EQ(wire("10.0.0.0/8"), "080a0a090807");
  EXPECT_EQ(wire("10.0.0.0/24"), "180a00000a090807");
  EXPECT_EQ(wire("10.17.0.0/16"), "100a110a090807");
  EXPECT_EQ(wire("10.27.129.0/24"), "180a1b810a090807");
  EXPECT_EQ(wire("10.229.0.128/25"), "190ae500800a090807");
  EXPECT_EQ(wire("10.198.122.47/32"), "200ac67a2f0a090807");
}

TEST(Dhcp6, ReadsAMessage) {
  const auto bytes = *parse_hex(
      "01123456"
      "0001000a0003000102000000010b"
      "00080002000a"
      "000600040017001f"
      "00030028"
      "0000000700000e1000001518"
      "00050018fd000001000000000000000000000011"
      "0000000100000002"
      "000e0000");
  const auto view = Dhcp6View::of(bytes);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->type(), dhcp6::Type::solicit);
  EXPECT_EQ(view->xid(), 0x123456u);
  const auto id = view->option(dhcp6::option::kClientId);
  EXPECT_EQ(std::vector<uint8_t>(id->begin(), id->end()),
            dhcp6::duid_of(*MacAddr::parse("02:00:00:00:01:0b")));
  const auto ia = dhcp6::decode_association(*view->option(dhcp6::option::kIaNa));
  ASSERT_TRUE(ia);
  EXPECT_EQ(*ia, (dhcp6::Association{
                     7, 3600, 5400, {{*IpAddr::parse("fd00:1::11"), 1, 2}}, std::nullopt}));
  EXPECT_EQ(view->option(dhcp6::option::kRapidCommit)->size(), 0u);
  EXPECT_EQ(dhcp6::encode(view->message()), bytes);
  EXPECT_EQ(dhcp6::encode(*ia).size(), 40u);
}

TEST(Dhcp6, RefusesWhatIsNotWhole) {
  const auto whole = *parse_hex(
      "03000001"
      "000100020304"
      "000300100000000100000000000000000000"
      "0000");
  ASSERT_TRUE(Dhcp6View::of(whole));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
    EXPECT_EQ(Dhcp6View::of(cut).has_value(), size == 4 || size == 10) << size;
  }
  for (const unsigned type : {0u, 12u, 13u, 255u}) {
    auto other = whole;
    other[0] = static_cast<uint8_t>(type);
    EXPECT_FALSE(Dhcp6View::of(other)) << "relayed, or unknown";
  }
  const auto ia = [](const char* hex) { return dhcp6::decode_association(*parse_hex(hex)); };
  EXPECT_FALSE(ia("0000000100000000000000"));
  EXPECT_FALSE(ia("00000001000000000000000000050018")) << "an option that does not fit";
  EXPECT_FALSE(
      ia("00000001000000000000000000050001"
         "00"))
      << "an address of one byte";
  EXPECT_FALSE(
      ia("000000010000000000000000000d0001"
         "00"))
      << "a status of one byte";
  EXPECT_TRUE(
      ia("000000010000000000000000000d0002"
         "0002"));
}

TEST(Dhcp6, DomainsAsDnsWritesThem) {
  const auto hex = [](std::string_view domain) {
    const auto bytes = dhcp6::encode_domain(domain);
    return bytes ? format_hex(*bytes) : std::string("none");
  };
  EXPECT_EQ(hex("a.example"), "0161076578616d706c6500");
  EXPECT_EQ(hex("a.example."), "0161076578616d706c6500");
  EXPECT_EQ(hex(""), "none");
  EXPECT_EQ(hex("a..b"), "none");
  EXPECT_EQ(hex(std::string(64, 'a')), "none");
  std::string deep = "a";
  for (int i = 0; i < 130; ++i) deep += ".b";
  EXPECT_EQ(hex(deep), "none");
}

TEST(Dhcp, PayloadOfADatagram) {
  const Frame frame = udp_packet({.eth_src = {{2, 0, 0, 0, 0, 1}},
                                  .eth_dst = kBroadcastMac,
                                  .src = IpAddr::v4(0),
                                  .dst = IpAddr::v4(~0u),
                                  .vlan_tci = {}},
                                 68, 67, text_bytes("hello"));
  EXPECT_EQ(udp_payload(parse_packet(frame), frame)->size(), 5u);
  Frame lies = frame;
  lies[14 + 20 + 5] = 14;
  EXPECT_FALSE(udp_payload(parse_packet(lies), lies)) << "longer than the packet";
  lies[14 + 20 + 5] = 7;
  EXPECT_FALSE(udp_payload(parse_packet(lies), lies)) << "shorter than its header";
  lies[14 + 20 + 5] = 10;
  EXPECT_EQ(udp_payload(parse_packet(lies), lies)->size(), 2u);
  for (const Frame& piece : fragment(frame, 28))
    EXPECT_FALSE(udp_payload(parse_packet(piece), piece));
}

/// The text of the payload's layer; reads back to the same bytes.
std::string layer(uint16_t from, uint16_t to, std::span<const uint8_t> payload, bool v6) {
  const Frame frame = udp_packet({.eth_src = {{2, 0, 0, 0, 0, 1}},
                                  .eth_dst = {{2, 0, 0, 0, 0, 2}},
                                  .src = *IpAddr::parse(v6 ? "fe80::1" : "10.0.0.1"),
                                  .dst = *IpAddr::parse(v6 ? "fe80::2" : "10.0.0.2"),
                                  .vlan_tci = {}},
                                 from, to, payload);
  const std::string text = format_frame(frame);
  const auto back = parse_frame(text);
  EXPECT_TRUE(back.ok() && *back == frame) << text;
  const size_t udp = text.find("| udp");
  const size_t at = text.find(" | ", udp);
  return at == text.npos ? "" : text.substr(at + 3);
}

TEST(DhcpText, SaysAllOfAMessage) {
  dhcp::Message m = DhcpView::of(discover())->message();
  EXPECT_EQ(layer(68, 67, dhcp::encode(m), false),
            "dhcp discover xid 956560166 secs 5 broadcast mac 0a:1b:2c:3d:4e:5f client-id "
            "010a1b2c3d4e5f requested 10.1.1.7 parameters 1,3,6,42 max-message 1500");
  EXPECT_THAT(layer(68, 67, dhcp::encode(m, 548), false), HasSubstr(" size 548"));
  EXPECT_THAT(layer(68, 67, dhcp::encode(m, 0), false), HasSubstr(" size "));
  EXPECT_THAT(layer(68, 67, discover(), false), HasSubstr("payload hex")) << "a pad in between";

  m = {.reply = true,
       .client = *IpAddr::parse("10.0.0.3"),
       .your = *IpAddr::parse("10.0.0.3"),
       .server = *IpAddr::parse("10.0.0.4"),
       .relay = *IpAddr::parse("10.0.0.5"),
       .file = "a b\"",
       .options = {}};
  m.options = {{53, {5}},
               {1, {255, 255, 255, 0}},
               {26, {5, 120}},
               {15, {'a', '"', 'b'}},
               {121, {0, 10, 0, 0, 1, 16, 10, 1, 10, 0, 0, 9}},
               {51, {0, 0, 14, 16}},
               {43, {1, 2}},
               {80, {}},
               {6, {1, 2, 3}},
               {15, {7}}};
  EXPECT_EQ(layer(67, 68, dhcp::encode(m), false),
            "dhcp ack client 10.0.0.3 your 10.0.0.3 server 10.0.0.4 relay 10.0.0.5 file \"a "
            "b\\\"\" mask 255.255.255.0 mtu 1400 domain \"a\\\"b\" routes "
            "0.0.0.0/0>10.0.0.1,10.1.0.0/16>10.0.0.9 lease 3600 option 43 0102 option 80 empty "
            "option 6 010203 option 15 07");
  EXPECT_THAT(layer(67, 68, dhcp::encode({.reply = false, .options = {{53, {5}}}}), false),
              HasSubstr("payload hex"))
      << "an ack is no request";
  EXPECT_THAT(layer(1, 2, dhcp::encode(m), false), HasSubstr("payload hex"));
  m.file = "\x01";
  EXPECT_THAT(layer(67, 68, dhcp::encode(m), false), HasSubstr("payload hex"));
}

TEST(DhcpText, SaysAllOfAMessageOfVersion6) {
  dhcp6::Message m{7, 0x123456, {{1, {0, 3, 0, 1}}, {2, {9}}}};
  m.options.emplace_back(
      3, dhcp6::encode(dhcp6::Association{
             1, 2, 3, {{*IpAddr::parse("fd00::1"), 4, 5}}, dhcp6::Status::no_addresses}));
  m.options.emplace_back(3, std::vector<uint8_t>{1, 2});
  m.options.emplace_back(14, std::vector<uint8_t>{});
  m.options.emplace_back(6, std::vector<uint8_t>{0, 23, 1, 0});
  m.options.emplace_back(13, dhcp6::encode_status(dhcp6::Status::success, ""));
  m.options.emplace_back(13, dhcp6::encode_status(dhcp6::Status::success, "x"));
  EXPECT_EQ(layer(547, 546, dhcp6::encode(m), true),
            "dhcp6 reply xid 1193046 client-id 00030001 server-id 09 ia 1 2 3 address fd00::1 4 5 "
            "ia-status 2 option 3 0102 rapid-commit parameters 23,256 status 0 option 13 000078");
}

TEST(DhcpText, SaysWhatIsWrong) {
  const auto error = [](const std::string& layer) {
    const auto frame = parse_frame("ipv4 10.0.0.1 > 10.0.0.2 | udp 68 > 67 | " + layer);
    return frame ? std::string("none") : frame.error().message;
  };
  EXPECT_THAT(error("dhcp hello"), HasSubstr("\"hello\": expected discover, offer"));
  EXPECT_THAT(error("dhcp discover hello 1"), HasSubstr("\"hello\": expected xid"));
  EXPECT_THAT(error("dhcp discover dns 10.0.0.1,x"), HasSubstr("addresses, with commas"));
  EXPECT_THAT(error("dhcp discover dns fd00::1"), HasSubstr("addresses, with commas"));
  EXPECT_THAT(error("dhcp discover parameters 1,256"), HasSubstr("option codes"));
  EXPECT_THAT(error("dhcp discover routes 10.0.0.0/8"), HasSubstr("NETWORK>NEXT-HOP"));
  EXPECT_THAT(error("dhcp discover file " + std::string(128, 'x')), HasSubstr("at most 127"));
  EXPECT_THAT(error("dhcp discover option 0 00"), HasSubstr("1 to 254"));
  EXPECT_THAT(error("dhcp6 solicit address fd00::1 1 2"), HasSubstr("\"address\": expected xid"));
  EXPECT_EQ(error("dhcp6 solicit ia 1 2 3 address fd00::1 1 2"), "none");
  const auto alone = parse_frame("ipv4 10.0.0.1 > 10.0.0.2 | dhcp discover");
  EXPECT_THAT(alone.error().message, HasSubstr("expected behind udp"));
}

}  // namespace
}  // namespace plexus
