// SPDX-License-Identifier: Apache-2.0
#include "codec/match_format.h"

#include <gtest/gtest.h>

#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/format.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "plexus/v1/resources.pb.h"

namespace plexus::codec {
namespace {

struct Case {
  ValueKind kind;
  std::string_view text;
  std::string_view canonical;  ///< "": it is refused
  std::string_view remedy = {};
};

TEST(MatchFormat, TextsBecomeCanonicalAndComeBack) {
  using K = ValueKind;
  for (const Case& c : std::vector<Case>{
           {K::ip_protocol, "tcp", "tcp"},
           {K::ip_protocol, "TCP", "tcp"},
           {K::ip_protocol, "6", "tcp"},
           {K::ip_protocol, "58", "icmpv6"},
           {K::ip_protocol, "0", "0"},
           {K::ip_protocol, "255", "255"},
           {K::ip_protocol, "256", ""},
           {K::ip_protocol, "icmp6", "", "write icmpv6"},
           {K::ip_protocol, "tpc", "", "did you mean 'tcp'?"},
           {K::ip_protocol, "quic", ""},
           {K::ip_protocol, "", ""},
           {K::ethertype, "ipv4", "ipv4"},
           {K::ethertype, "0x0800", "ipv4"},
           {K::ethertype, "0X86DD", "ipv6"},
           {K::ethertype, "0x0806", "arp"},
           {K::ethertype, "0x88cc", "0x88cc"},
           {K::ethertype, "0x600", "0x0600"},
           {K::ethertype, "0x05ff", ""},
           {K::ethertype, "0x", ""},
           {K::ethertype, "0x10000", ""},
           {K::ethertype, "8100", "", "write 0x8100"},
           {K::ethertype, "88CC", "", "write 0x88cc"},
           {K::port_range, "80", "80"},
           {K::port_range, "0-65535", "0-65535"},
           {K::port_range, "80-80", "80"},
           {K::port_range, "8000-8080", "8000-8080"},
           {K::port_range, "8080-8000", "", "write 8000-8080"},
           {K::port_range, "8000:8080", "", "write 8000-8080"},
           {K::port_range, "65536", ""},
           {K::port_range, "80-", ""},
           {K::port_range, "-80", ""},
           {K::port_range, "080", ""},
           {K::masked_mac, "02:00:00:00:00:0A", "02:00:00:00:00:0a"},
           {K::masked_mac, "02:00:00:00:00:0a/ff:ff:ff:ff:ff:ff", "02:00:00:00:00:0a"},
           {K::masked_mac, "01:00:00:00:00:00/01:00:00:00:00:00",
            "01:00:00:00:00:00/01:00:00:00:00:00"},
           {K::masked_mac, "02:00:5e:00:00:00/24", "02:00:5e:00:00:00/ff:ff:ff:00:00:00"},
           {K::masked_mac, "02:00:5e:00:00:01/24", "",
            "it has bits outside its mask; meant is 02:00:5e:00:00:00/ff:ff:ff:00:00:00"},
           {K::masked_mac, "00:00:00:00:00:00/0", "", "this is any MAC: leave the field out"},
           {K::masked_mac, "02:00:00:00:00:00/49", ""},
           {K::masked_mac, "02:00:00:00:00", ""},
           {K::tcp_flags, "+syn-ack", "+syn-ack"},
           {K::tcp_flags, "-ACK+SYN", "+syn-ack"},
           {K::tcp_flags, "rst", "+rst"},
           {K::tcp_flags, "-fin-syn-rst-psh-ack-urg-ece-cwr", "-fin-syn-rst-psh-ack-urg-ece-cwr"},
           {K::tcp_flags, "syn,ack", "", "write +syn+ack"},
           {K::tcp_flags, "syn !ack", "", "write +syn-ack"},
           {K::tcp_flags, "+syn-syn", ""},
           {K::tcp_flags, "+syn-akc", "", "did you mean 'ack'?"},
           {K::tcp_flags, "", ""},
           {K::tcp_flags, "+", ""},
           {K::address_pair, "10.0.0.0/24", "10.0.0.0/24"},
           {K::address_pair, "10.0.0.5", "10.0.0.5/32"},
           {K::address_pair, "fd00::5@02:00:00:00:00:01", "fd00::5/128@02:00:00:00:00:01"},
           {K::address_pair, "FD00::/64@02:00:00:00:00:01", "fd00::/64@02:00:00:00:00:01"},
           {K::address_pair, "10.0.0.5/24@02:00:00:00:00:01", "",
            "it has host bits; meant is 10.0.0.0/24@02:00:00:00:00:01"},
           {K::address_pair, "10.0.0.5@", ""},
           {K::address_pair, "@02:00:00:00:00:01", ""},
       }) {
    SCOPED_TRACE(std::string(c.text));
    const auto stored = stored_form(c.kind, c.text);
    ASSERT_EQ(stored.has_value(), !c.canonical.empty());
    EXPECT_EQ(particular_remedy(c.kind, c.text),
              stored ? particular_remedy(c.kind, c.text) : std::string(c.remedy));
    if (!stored) continue;
    EXPECT_EQ(text_form(c.kind, *stored), c.canonical);
    EXPECT_TRUE(is_stored_form(c.kind, *stored));
    EXPECT_EQ(stored_form(c.kind, c.canonical), stored);
  }
}

TEST(MatchFormat, BytesThatAreNoValueAreHexadecimal) {
  using namespace std::string_literals;
  for (const auto& [kind, bytes] : std::vector<std::pair<ValueKind, std::string>>{
           {ValueKind::ip_protocol, "\x06\x06"s},
           {ValueKind::ethertype, "\x05\xff"s},
           {ValueKind::ethertype, "\x08"s},
           {ValueKind::port_range, "\x00\x50\x00\x4f"s},
           {ValueKind::port_range, "\x00\x50"s},
           {ValueKind::masked_mac, "\x02\x00\x00\x00\x00\x01\xff\x00\x00\x00\x00\x00"s},
           {ValueKind::masked_mac, std::string(12, '\0')},
           {ValueKind::tcp_flags, "\x02\x00"s},
           {ValueKind::tcp_flags, "\x03\x02"s},
           {ValueKind::address_pair, "\x0a\x00\x00\x05\x18"s},
           {ValueKind::address_pair, std::string(12, '\1')},
           {ValueKind::address_pair, ""s},
       }) {
    EXPECT_FALSE(is_stored_form(kind, bytes)) << text_form(kind, bytes);
    EXPECT_EQ(text_form(kind, bytes).substr(0, 2), "0x");
  }
}

/// What all numbers of one or two bytes become.
TEST(MatchFormat, EveryProtocolAndEthertypeComesBack) {
  for (unsigned n = 0; n < 256; ++n) {
    const std::string stored(1, static_cast<char>(n));
    EXPECT_EQ(protocol_bytes(*protocol_text(stored)), stored);
  }
  for (unsigned n = 0x600; n < 0x10000; ++n) {
    const std::string stored{static_cast<char>(n >> 8), static_cast<char>(n & 0xff)};
    ASSERT_EQ(ethertype_bytes(*ethertype_text(stored)), stored);
  }
  for (unsigned looked_at = 1; looked_at < 256; ++looked_at) {
    const std::string stored{static_cast<char>(looked_at & 0x55), static_cast<char>(looked_at)};
    ASSERT_EQ(tcp_flags_bytes(*tcp_flags_text(stored)), stored);
  }
}

constexpr char kRule[] =
    R"({"chain":"123e4567-e89b-42d3-a456-426614174000","position":10,"action":"drop",)"
    R"("ethertype":"ipv4","src_mac":"02:00:00:00:00:00/ff:00:00:00:00:00","source":"10.0.0.0/8",)"
    R"("protocol":"tcp","source_ports":["1024-65535"],"destination_ports":["22","80-81"],)"
    R"("tcp_flags":"+syn-ack","dscp":46,"fragment":"with_header","inverted":["source","tcp_flags"]})";

TEST(MatchFormat, ARuleInJsonAndYaml) {
  Problems problems;
  v1::Rule rule;
  ASSERT_TRUE(decode(parse_json(kRule, problems), {}, rule).empty());
  EXPECT_TRUE(validate(rule).empty()) << to_error(validate(rule)).message;
  EXPECT_EQ(write_json(encode(rule)), kRule);
  v1::Rule again;
  ASSERT_TRUE(decode(parse_yaml(write_yaml(encode(rule)), problems), {}, again).empty());
  EXPECT_EQ(again.SerializeAsString(), rule.SerializeAsString());
  EXPECT_EQ(rule.inverted_size(), 2);
  EXPECT_EQ(rule.inverted(1), v1::Rule::TCP_FLAGS);
}

TEST(MatchFormat, NumbersWillDoForProtocolsAndPorts) {
  Problems problems;
  v1::Rule rule;
  const Problems found =
      decode(parse_json(R"({"protocol":17,"destination_ports":[53,"80"]})", problems), {}, rule);
  ASSERT_TRUE(found.empty()) << to_error(found).message;
  EXPECT_EQ(write_json(encode(rule)), R"({"protocol":"udp","destination_ports":["53","80"]})");
  EXPECT_FALSE(decode(parse_json(R"({"protocol":1.5})", problems), {}, rule).empty());
  EXPECT_FALSE(decode(parse_json(R"({"ethertype":2048})", problems), {}, rule).empty());
}

TEST(MatchFormat, AnEnumerationInAListHasEachWordOnce) {
  Problems problems;
  v1::Rule rule;
  const Problems twice =
      decode(parse_json(R"({"inverted":["source","SOURCE"]})", problems), {}, rule);
  ASSERT_EQ(twice.size(), 1u);
  EXPECT_EQ(twice[0].field, "inverted[1]");
  const Problems unknown = decode(parse_json(R"({"inverted":["sorce"]})", problems), {}, rule);
  ASSERT_EQ(unknown.size(), 1u);
  EXPECT_NE(unknown[0].remedy.find("source"), std::string::npos);
  const Filter filter = *parse_filter(*find_type("Rule"), "inverted", "dst_mac");
  rule.Clear();
  rule.add_inverted(v1::Rule::SOURCE);
  EXPECT_FALSE(matches(rule, filter));
  rule.add_inverted(v1::Rule::DST_MAC);
  EXPECT_TRUE(matches(rule, filter));
}

constexpr char kWeb[] = "123e4567-e89b-42d3-a456-426614174000";
constexpr char kDb[] = "223e4567-e89b-42d3-a456-426614174000";

TEST(References, InAListAreNamesOrIds) {
  Problems problems;
  std::vector<NameReference> names;
  DecodeOptions options;
  options.names = &names;
  v1::Port port;
  const std::string text = R"({"name":"vm1","bridge":"net","security_groups":["web",")" +
                           std::string(kDb) + R"(","ssh"]})";
  const Problems found = decode(parse_json(text, problems), options, port);
  ASSERT_TRUE(found.empty()) << to_error(found).message;
  ASSERT_EQ(names.size(), 3u);
  EXPECT_EQ(names[1].name, "web");
  EXPECT_EQ(names[1].index, 0);
  EXPECT_EQ(names[2].name, "ssh");
  EXPECT_EQ(names[2].index, 2);
  EXPECT_TRUE(validate(port).empty()) << "names that are not resolved yet are no problem";
  for (size_t i = 0; i < names.size(); ++i) set_reference(port, names[i], *Uuid::parse(kWeb));
  EXPECT_EQ(get_text(port, "bridge"), kWeb);
  ASSERT_EQ(port.security_groups_size(), 3);
  EXPECT_EQ(text_form(ValueKind::uuid, port.security_groups(1)), kDb);
  // Two names of one group.
  const Problems twice = validate(port);
  ASSERT_EQ(twice.size(), 1u);
  EXPECT_EQ(twice[0].field, "security_groups[2]");
  EXPECT_EQ(reference_ids(port, *find_type("Port")->field("security_groups")).size(), 3u);
  EXPECT_EQ(reference_ids(port, *find_type("Port")->field("bridge")).size(), 1u);
  EXPECT_TRUE(reference_ids(port, *find_type("Port")->field("router")).empty());
}

TEST(References, InAListHaveALimitAndNoDuplicates) {
  Problems problems;
  v1::Port port;
  const std::string twice =
      R"({"security_groups":[")" + std::string(kWeb) + "\",\"" + kWeb + "\"]}";
  const Problems found = decode(parse_json(twice, problems), {}, port);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].field, "security_groups[1]");
  std::string many = R"({"security_groups":[)";
  for (int i = 0; i < 17; ++i) many += (i > 0 ? ",\"" : "\"") + Uuid::random().str() + "\"";
  const Problems more = decode(parse_json(many + "]}", problems), {}, port);
  ASSERT_EQ(more.size(), 1u);
  EXPECT_EQ(more[0].remedy, "at most 16 are allowed");
}

TEST(References, AListOfFortyThousandNetworksIsTaken) {
  std::string text = R"({"name":"big","prefixes":[)";
  const int kMost = find_type("AddressGroup")->field("prefixes")->max_entries;
  for (int i = 0; i < kMost; ++i) {
    text += (i > 0 ? ",\"" : "\"") + std::string("10.") + std::to_string(i / 256 % 256) + "." +
            std::to_string(i % 256) + ".0/24\"";
  }
  Problems problems;
  v1::AddressGroup group;
  const Problems found = decode(parse_json(text + "]}", problems), {}, group);
  ASSERT_TRUE(problems.empty() && found.empty());
  EXPECT_EQ(group.prefixes_size(), kMost);
  EXPECT_TRUE(validate(group).empty());
  EXPECT_GT(find_type("AddressGroup")->max_bytes, group.ByteSizeLong());
}

}  // namespace
}  // namespace plexus::codec
