// SPDX-License-Identifier: Apache-2.0
#include "packet/addr.h"

#include <gtest/gtest.h>

namespace plexus {
namespace {

TEST(MacAddr, ReadsOnlySixPairsWithColons) {
  for (const char* text : {"02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"}) {
    const auto m = MacAddr::parse(text);
    ASSERT_TRUE(m) << text;
    EXPECT_EQ(m->str(), text);
  }
  EXPECT_EQ(MacAddr::parse("AA:bb:CC:dd:EE:0f")->str(), "aa:bb:cc:dd:ee:0f");
  for (const char* text :
       {"", "02:00:00:00:00", "02:00:00:00:00:1", "02-00-00-00-00-01", "02:00:00:00:00:0g",
        "02:00:00:00:00:01 ", "02:00:00:00:00:001", "0200.0000.0001", "+2:00:00:00:00:01"})
    EXPECT_FALSE(MacAddr::parse(text)) << text;
}

TEST(MacAddr, KnowsGroups) {
  EXPECT_TRUE(kBroadcastMac.is_broadcast());
  EXPECT_TRUE(kBroadcastMac.is_multicast());
  EXPECT_TRUE(MacAddr::parse("01:00:5e:00:00:01")->is_multicast());
  EXPECT_FALSE(MacAddr::parse("02:00:00:00:00:01")->is_multicast());
  EXPECT_TRUE(MacAddr{}.is_zero());
  EXPECT_EQ(MacAddr::from_bytes(kBroadcastMac.raw()), kBroadcastMac);
  EXPECT_FALSE(MacAddr::from_bytes("12345"));
}

// RFC 5952, section by section.
TEST(IpAddr, PrintsTheCanonicalForm) {
  struct {
    const char *in, *out;
  } const cases[] = {
      {"10.0.1.10", "10.0.1.10"},
      {"0.0.0.0", "0.0.0.0"},
      {"255.255.255.255", "255.255.255.255"},
      {"2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},     // the first of two equal runs
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},           // the longest run
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},  // never for one group
      {"0:0:0:0:0:0:0:0", "::"},
      {"::1", "::1"},
      {"fe80::", "fe80::"},
      {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
      {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
      {"a:b0::c00:d000", "a:b0::c00:d000"},
  };
  for (const auto& c : cases) {
    const auto a = IpAddr::parse(c.in);
    ASSERT_TRUE(a) << c.in;
    EXPECT_EQ(a->str(), c.out);
    EXPECT_EQ(IpAddr::parse(a->str()), a);
    EXPECT_EQ(IpAddr::from_bytes(a->raw()), a);
  }
}

TEST(IpAddr, RefusesWhatIsNoAddress) {
  for (const char* text : {"",
                           "10.0.1",
                           "10.0.1.256",
                           "010.0.0.1",
                           "10.0.0.01",
                           "10.0.0.1.",
                           ".10.0.0.1",
                           "10..0.1",
                           "10.0.0.-1",
                           "10.0.0.+1",
                           " 10.0.0.1",
                           "10.0.0.1 ",
                           "0x0a.0.0.1",
                           "167772161",
                           "10.0.0.1/8",
                           ":",
                           ":::",
                           "1::2::3",
                           "1:2:3:4:5:6:7",
                           "1:2:3:4:5:6:7:8:9",
                           "1:2:3:4:5:6:7:8::",
                           "::1:2:3:4:5:6:7:8",
                           "12345::",
                           "g::",
                           ":1::2",
                           "1::2:",
                           "fe80::1%eth0",
                           "::ffff:10.0.0.1",
                           "::ffff:a00:1",
                           "1.2.3.4::",
                           "::1.2.3",
                           "::1.2.3.4:5",
                           "1:2:3:4:5:6:7:1.2.3.4",
                           "1:2:3:4:5:1.2.3.4"})
    EXPECT_FALSE(IpAddr::parse(text)) << text;
}

TEST(IpAddr, Classifies) {
  struct {
    const char* text;
    bool multicast, unspecified, loopback, link_local;
  } const cases[] = {
      {"10.0.0.1", false, false, false, false},
      {"224.0.0.1", true, false, false, false},
      {"239.255.255.255", true, false, false, false},
      {"240.0.0.1", false, false, false, false},
      {"0.0.0.0", false, true, false, false},
      {"127.1.2.3", false, false, true, false},
      {"169.254.1.1", false, false, false, true},
      {"ff02::1", true, false, false, false},
      {"::", false, true, false, false},
      {"::1", false, false, true, false},
      {"fe80::1", false, false, false, true},
      {"febf::1", false, false, false, true},
      {"fec0::1", false, false, false, false},
      {"fd00::1", false, false, false, false},
  };
  for (const auto& c : cases) {
    const IpAddr a = *IpAddr::parse(c.text);
    EXPECT_EQ(a.is_multicast(), c.multicast) << c.text;
    EXPECT_EQ(a.is_unspecified(), c.unspecified) << c.text;
    EXPECT_EQ(a.is_loopback(), c.loopback) << c.text;
    EXPECT_EQ(a.is_link_local(), c.link_local) << c.text;
  }
  EXPECT_FALSE(IpAddr{}.is_unspecified());
  EXPECT_EQ(IpAddr::parse("10.0.1.2")->v4_value(), 0x0a000102u);
  EXPECT_EQ(IpAddr::v4(0x0a000102), *IpAddr::parse("10.0.1.2"));
}

TEST(IpAddr, DerivesAddresses) {
  const MacAddr mac = *MacAddr::parse("02:00:00:12:34:56");
  EXPECT_EQ(link_local_of(mac).str(), "fe80::ff:fe12:3456");
  EXPECT_EQ(solicited_node_of(*IpAddr::parse("fd00::12:3456")).str(), "ff02::1:ff12:3456");
  EXPECT_EQ(multicast_mac_of(*IpAddr::parse("239.129.2.3")).str(), "01:00:5e:01:02:03");
  EXPECT_EQ(multicast_mac_of(*IpAddr::parse("ff02::1:ff12:3456")).str(), "33:33:ff:12:34:56");
}

TEST(IpPrefix, ContainsAndOverlaps) {
  struct {
    const char *prefix, *address;
    bool contains;
  } const cases[] = {
      {"10.0.1.0/24", "10.0.1.255", true},
      {"10.0.1.0/24", "10.0.2.0", false},
      {"0.0.0.0/0", "1.2.3.4", true},
      {"0.0.0.0/0", "::", false},
      {"10.0.0.0/9", "10.127.0.1", true},
      {"10.0.0.0/9", "10.128.0.1", false},
      {"10.0.1.7/32", "10.0.1.7", true},
      {"10.0.1.7/32", "10.0.1.6", false},
      {"fd00:1::/33", "fd00:1:7fff::", true},
      {"fd00:1::/33", "fd00:1:8000::", false},
      {"::/0", "fd00::1", true},
      {"10.0.1.77/24", "10.0.1.1", true},
  };
  for (const auto& c : cases)
    EXPECT_EQ(IpPrefix::parse(c.prefix)->contains(*IpAddr::parse(c.address)), c.contains)
        << c.prefix << " " << c.address;
  const IpPrefix wide = *IpPrefix::parse("10.0.0.0/8"), narrow = *IpPrefix::parse("10.1.0.0/16"),
                 other = *IpPrefix::parse("11.0.0.0/16");
  EXPECT_TRUE(wide.contains(narrow));
  EXPECT_FALSE(narrow.contains(wide));
  EXPECT_TRUE(narrow.overlaps(wide));
  EXPECT_TRUE(wide.overlaps(narrow));
  EXPECT_FALSE(wide.overlaps(other));
  EXPECT_FALSE(IpPrefix{}.contains(IpAddr{}));
}

TEST(IpPrefix, NetworkAndBroadcast) {
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/24")->network().str(), "10.0.1.0/24");
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/20")->network().str(), "10.0.0.0/20");
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/32")->network().str(), "10.0.1.77/32");
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/0")->network().str(), "0.0.0.0/0");
  EXPECT_EQ(IpPrefix::parse("fd00:1:2:3:4::9/61")->network().str(), "fd00:1:2::/61");
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/24")->broadcast()->str(), "10.0.1.255");
  EXPECT_EQ(IpPrefix::parse("10.0.1.77/0")->broadcast()->str(), "255.255.255.255");
  EXPECT_FALSE(IpPrefix::parse("10.0.1.77/31")->broadcast());
  EXPECT_FALSE(IpPrefix::parse("fd00::/64")->broadcast());
}

TEST(IpPrefix, TextAndBytes) {
  for (const char* text : {"10.0.1.77/24", "0.0.0.0/0", "fd00::/64", "::1/128"}) {
    const auto p = IpPrefix::parse(text);
    ASSERT_TRUE(p) << text;
    EXPECT_EQ(p->str(), text);
    EXPECT_EQ(IpPrefix::from_bytes(p->raw()), p);
  }
  for (const char* text : {"10.0.1.0", "10.0.1.0/", "10.0.1.0/33", "10.0.1.0/024", "10.0.1.0/-1",
                           "fd00::/129", "/24", "10.0.1.0/24/24", "10.0.1.0/2 4"})
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  EXPECT_FALSE(IpPrefix::from_bytes(""));
  EXPECT_FALSE(IpPrefix::from_bytes(std::string("\x0a\x00\x00\x00\x21", 5)));
  EXPECT_FALSE(IpPrefix::from_bytes("abc"));
}

}  // namespace
}  // namespace plexus
