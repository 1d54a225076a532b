// SPDX-License-Identifier: Apache-2.0
#include "flow/tag.h"

#include <gtest/gtest.h>

#include <set>

namespace plexus {
namespace {

TEST(Tag, Text) {
  const Uuid id = *Uuid::parse("01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_EQ((Tag{TagKind::router, id, 0}.str()), "router 01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_EQ((Tag{TagKind::bridge_mac, id, tag_sub(MacAddr{{2, 0, 0, 0, 0, 0x1f}})}.str()),
            "bridge_mac 01234567-89ab-cdef-0123-456789abcdef 02:00:00:00:00:1f");
  EXPECT_EQ((Tag{TagKind::tunnel_key, {}, 18}.str()), "tunnel_key 0x12");
}

TEST(Tag, SubsDiffer) {
  EXPECT_EQ(tag_sub(MacAddr{{1, 2, 3, 4, 5, 6}}), 0x010203040506u);
  std::set<uint64_t> subs;
  for (uint32_t i = 0; i < 1000; ++i) subs.insert(tag_sub(IpAddr::v4(0x0a000000 + i)));
  for (uint8_t i = 0; i < 200; ++i) subs.insert(tag_sub(IpAddr::v6({0xfd, 0, 0, 0, 0, 0, 0, i})));
  // The same bytes as an IPv4 and as an IPv6 address are two things.
  subs.insert(tag_sub(IpAddr::v6({0x0a, 0, 0, 0})));
  EXPECT_EQ(subs.size(), 1201u);
  EXPECT_EQ(tag_sub(*IpAddr::parse("10.0.0.1")), tag_sub(*IpAddr::parse("10.0.0.1")));
}

}  // namespace
}  // namespace plexus
