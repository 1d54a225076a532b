// SPDX-License-Identifier: Apache-2.0
#include "codec/service_format.h"

#include <gtest/gtest.h>

#include "codec/format.h"

namespace plexus::codec {
namespace {

struct Case {
  ValueKind kind;
  std::string text;
  std::string canonical;  ///< "": it is refused
  std::string remedy = {};
};

TEST(ServiceFormat, TextsBecomeCanonicalAndComeBack) {
  using K = ValueKind;
  for (const Case& c : std::vector<Case>{
           {K::via, "10.1.0.0/16 via 10.0.0.9", "10.1.0.0/16 via 10.0.0.9"},
           {K::via, "10.1.2.3  via  10.0.0.9", "10.1.2.3/32 via 10.0.0.9"},
           {K::via, "FD00:1::/64 via FE80::1", "fd00:1::/64 via fe80::1"},
           {K::via, "0.0.0.0/0 via 10.0.0.9", "0.0.0.0/0 via 10.0.0.9"},
           {K::via, "10.1.2.0/16 via 10.0.0.9", "",
            "it has host bits; meant is 10.1.0.0/16 via 10.0.0.9"},
           {K::via, "10.1.0.0/16 via fd00::1", "",
            "the network and the next hop are of two families: name a next hop of the network's"},
           {K::via, "10.1.0.0/16", "", "add the next hop, like 10.1.0.0/16 via 10.0.0.9"},
           {K::via, "10.1.0.0/16 via", ""},
           {K::via, "via 10.0.0.1", ""},
           {K::via, "", ""},
           {K::dhcp_option, "42 = 0a000001", "42 = 0a000001"},
           {K::dhcp_option, "42=0x0A000001", "42 = 0a000001"},
           {K::dhcp_option, "66 = \"boot.example.net\"", "66 = \"boot.example.net\""},
           {K::dhcp_option, "66 = 626f6f74", "66 = \"boot\""},
           {K::dhcp_option, "66 = \"a\\\"b\\\\c\"", "66 = \"a\\\"b\\\\c\""},
           {K::dhcp_option, "67 = \"a = b\"", "67 = \"a = b\""},
           {K::dhcp_option, "80 = \"\"", "80 = \"\""},
           {K::dhcp_option, "65535 = 00", "65535 = 00"},
           {K::dhcp_option, "1 = " + std::string(510, '0'), "1 = " + std::string(510, '0')},
           {K::dhcp_option, "1 = " + std::string(512, '0'), "", "a value has at most 255 bytes"},
           {K::dhcp_option, "0 = 00", "", "the code is a number from 1 to 65535"},
           {K::dhcp_option, "65536 = 00", "", "the code is a number from 1 to 65535"},
           {K::dhcp_option, "mtu = 00", "", "the code is a number from 1 to 65535"},
           {K::dhcp_option, "42 = 10.0.0.1", "", "write the bytes of the address: 42 = 0a000001"},
           {K::dhcp_option, "26 = 5dc", "", "two hex digits make a byte: write 26 = 05dc"},
           {K::dhcp_option, "66 = boot", "", "put text in double quotes: 66 = \"boot\""},
           {K::dhcp_option, "80 =", "", "write 80 = \"\" for an empty value"},
           {K::dhcp_option, "66 = \"a\"b\"", ""},
           {K::dhcp_option, "66 = \"a\\n\"", ""},
           {K::dhcp_option, "66 = \"", ""},
           {K::dhcp_option, "42", ""},
           {K::dhcp_option, "", ""},
           {K::domain, "example.net", "example.net"},
           {K::domain, "Example.NET", "example.net"},
           {K::domain, "a", "a"},
           {K::domain, "_srv.x-1", "_srv.x-1"},
           {K::domain, "example.net.", "", "leave out the dot at the end"},
           {K::domain, ".net", ""},
           {K::domain, "a..b", ""},
           {K::domain, "a b", ""},
           {K::domain, std::string(64, 'a'), ""},
           {K::domain, "", ""},
       }) {
    SCOPED_TRACE(c.text);
    const auto stored = stored_form(c.kind, c.text);
    ASSERT_EQ(stored.has_value(), !c.canonical.empty());
    if (!stored) {
      EXPECT_EQ(particular_remedy(c.kind, c.text), c.remedy);
      continue;
    }
    EXPECT_EQ(text_form(c.kind, *stored), c.canonical);
    EXPECT_TRUE(is_stored_form(c.kind, *stored));
    EXPECT_EQ(stored_form(c.kind, c.canonical), stored);
  }
}

TEST(ServiceFormat, BytesThatAreNoValueAreHexadecimal) {
  using namespace std::string_literals;
  for (const auto& [kind, bytes] : std::vector<std::pair<ValueKind, std::string>>{
           {ValueKind::via, ""s},
           {ValueKind::via, "\x0a\x00\x00\x00\x08"s},
           {ValueKind::via, "\x0a\x00\x00\x01\x08\x0a\x00\x00\x01"s},  // host bits
           {ValueKind::via, std::string(21, '\0')},                    // two families
           {ValueKind::dhcp_option, "\x2a"s},
           {ValueKind::dhcp_option, "\0\0x"s},
           {ValueKind::dhcp_option, std::string(258, '\1')},
           {ValueKind::domain, "Example"s},
           {ValueKind::domain, "a."s},
       }) {
    EXPECT_FALSE(is_stored_form(kind, bytes)) << text_form(kind, bytes);
    EXPECT_EQ(text_form(kind, bytes).substr(0, 2), "0x");
  }
}

/// Every value of one byte, alone and in text, comes back.
TEST(ServiceFormat, EveryByteOfAnOptionComesBack) {
  for (unsigned n = 0; n < 256; ++n) {
    const std::string byte(1, static_cast<char>(n));
    for (const std::string& value : {byte, "a" + byte, byte + "\\\""}) {
      const std::string stored = std::string("\0\x2a", 2) + value;
      const auto text = dhcp_option_text(stored);
      ASSERT_TRUE(text);
      EXPECT_EQ(dhcp_option_bytes(*text), stored) << *text;
    }
  }
}

}  // namespace
}  // namespace plexus::codec
