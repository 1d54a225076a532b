// SPDX-License-Identifier: Apache-2.0
#include "netlink/message.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <random>

namespace plexus::netlink {
namespace {

TEST(Writer, LaysOutAMessageAsTheKernelWantsIt) {
  Writer writer(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg header{};
  header.ifi_index = 7;
  writer.fixed(header);
  writer.put_string(IFLA_IFNAME, "abc");
  const size_t info = writer.begin(IFLA_LINKINFO);
  writer.put_u8(1, 0xaa);
  writer.put_be16(2, 4789);
  writer.end(info);
  const Bytes bytes = writer.finish(42);
  // Header, fixed part, name (4 + 4), nest (4) with two attributes padded to 8.
  ASSERT_EQ(bytes.size(), 16u + 16 + 8 + 4 + 8 + 8);
  const auto messages = split(bytes);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].type, RTM_NEWLINK);
  EXPECT_EQ(messages[0].flags, NLM_F_ACK | NLM_F_REQUEST);
  EXPECT_EQ(messages[0].sequence, 42u);
  EXPECT_EQ(messages[0].fixed<ifinfomsg>()->ifi_index, 7);
  const Attributes attributes = messages[0].attributes<ifinfomsg>();
  EXPECT_EQ(attributes.size(), 2u);
  EXPECT_EQ(attributes.string(IFLA_IFNAME), "abc");
  EXPECT_EQ(attributes.find(IFLA_IFNAME)->size(), 4u) << "with its zero";
  const Attributes nested = attributes.nested(IFLA_LINKINFO);
  EXPECT_EQ(nested.find(1)->front(), 0xaa);
  const Bytes port = *nested.find(2);
  EXPECT_EQ(port[0] << 8 | port[1], 4789);
  EXPECT_FALSE(attributes.find(99).has_value());
  EXPECT_FALSE(attributes.u32(IFLA_IFNAME + 1).has_value());
  EXPECT_EQ(attributes.nested(99).size(), 0u);
}

TEST(Attributes, SizesAreChecked) {
  Writer writer(1, 0);
  writer.fixed(uint32_t{0});
  writer.put_u8(5, 3);
  writer.put_u32(6, 1u << 31);
  const Attributes attributes = split(writer.finish(1)).front().attributes<uint32_t>();
  EXPECT_EQ(attributes.u32(5), std::nullopt);
  EXPECT_EQ(attributes.u32(6), 1u << 31);
}

TEST(Message, AFixedPartThatIsTooShortIsNone) {
  Writer writer(RTM_NEWLINK, 0);
  writer.put_u8(1, 1);
  const auto message = split(writer.finish(1)).front();
  EXPECT_FALSE(message.fixed<ifinfomsg>().has_value());
  EXPECT_EQ(message.attributes<ifinfomsg>().size(), 0u);
}

TEST(Split, SeveralMessagesAndATornOne) {
  Writer one(1, 0), two(2, 0);
  one.put_string(1, "x");
  std::vector<uint8_t> all;
  for (Writer* w : {&one, &two}) {
    const Bytes b = w->finish(1);
    all.insert(all.end(), b.begin(), b.end());
  }
  EXPECT_EQ(split(all).size(), 2u);
  all.pop_back();
  EXPECT_EQ(split(all).size(), 1u);
  EXPECT_TRUE(split(Bytes(all).first(10)).empty());
}

TEST(Reader, AnyBytesAreReadWithinTheirBounds) {
  // The sanitizer builds see a read outside: each input is its own allocation of exactly its size.
  std::mt19937 random(1);
  for (int n = 0; n < 20'000; ++n) {
    std::vector<uint8_t> bytes(random() % 80);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random() % 3 == 0 ? random() : random() % 24);
    for (const Message& message : split(bytes)) {
      const Attributes attributes = message.attributes<ifinfomsg>();
      for (uint16_t a = 0; a < 30; ++a) {
        (void)attributes.string(a);
        (void)attributes.u32(a);
        (void)attributes.nested(a).size();
      }
    }
    size_t total = 0;
    const Attributes attributes{Bytes(bytes)};
    for (uint16_t a = 0; a < 30; ++a) total += attributes.find(a).value_or(Bytes{}).size();
    EXPECT_LE(total, bytes.size());
  }
}

}  // namespace
}  // namespace plexus::netlink
