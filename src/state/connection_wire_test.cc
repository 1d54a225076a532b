// SPDX-License-Identifier: Apache-2.0
#include "state/connection_wire.h"

#include <gtest/gtest.h>

#include <random>

#include "state/test_connections.h"

namespace plexus::state {
namespace {

std::vector<Connection> samples() {
  std::vector<Connection> out;
  out.push_back(connection_of(tcp("10.0.0.1", 1234, "10.0.0.2", 80)));
  out.push_back(answered(connection_of(udp("fd00::1", 1, "fd00::2", 2))));
  Connection c = connection_of(echo("10.0.0.1", "192.0.2.9", 7));
  c.reply_zone = zone_named("outside");
  c.tenant = Uuid::derived("tenant", "acme");
  Tuple t = c.original;
  t.src = ip("192.0.2.1");
  t.src_port = 4000;
  c.translations.push_back(
      {Uuid::derived("router", "r"), Uuid::derived("block", "1"), TranslationKind::source, t});
  out.push_back(c);
  c = answered(connection_of(tcp("fd00::1", 1, "2001:db8::1", 80)));
  c.reply_zone = zone_named("green");
  c.tenant = Uuid::derived("tenant", "acme");
  c.stamp.epoch = 0xffffffff;
  t = c.original;
  for (unsigned i = 0; i < kMaxTranslations; ++i) {
    t = tcp("fd00:1::", static_cast<uint16_t>(100 + i), "fd00:2::", static_cast<uint16_t>(200 + i));
    t.src.bytes[15] = t.dst.bytes[15] = static_cast<uint8_t>(i);
    c.translations.push_back({Uuid::derived("router", std::to_string(i)),
                              Uuid::derived("rule", std::to_string(i)),
                              static_cast<TranslationKind>(1 + i), t});
  }
  out.push_back(c);
  return out;
}

TEST(ConnectionWire, DecodesWhatItEncodes) {
  for (const Connection& c : samples()) {
    const auto bytes = encode(c, c.last_seen + std::chrono::milliseconds(1500));
    EXPECT_LE(bytes.size(), kMaxWireBytes);
    auto back = decode(bytes, at(7000));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(back->last_seen, at(7000) - std::chrono::milliseconds(1500));
    EXPECT_EQ(encode(*back, at(7000)), bytes) << "canonical";
    back->last_seen = c.last_seen;
    EXPECT_EQ(*back, c);
  }
  EXPECT_EQ(encode(samples().back(), at(100)).size(), kMaxWireBytes) << "the longest";
}

TEST(ConnectionWire, ClocksThatDisagreeGiveNoFuture) {
  Connection c = samples()[0];
  c.last_seen = at(500);
  const auto back = decode(encode(c, at(100)), at(3));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->last_seen, at(3));
  c.last_seen = MonoTime{-9'000'000'000'000'000'000};
  EXPECT_TRUE(decode(encode(c, at(100)), at(3)).ok());
}

TEST(ConnectionWire, AnythingCutOffOrLongerIsRefused) {
  for (const Connection& c : samples()) {
    std::vector<uint8_t> bytes = encode(c, at(100));
    for (size_t n = 0; n < bytes.size(); ++n) {
      const std::vector<uint8_t> part(bytes.begin(),
                                      bytes.begin() + static_cast<std::ptrdiff_t>(n));
      EXPECT_FALSE(decode(part, at(100)).ok()) << n;
    }
    bytes.push_back(0);
    EXPECT_FALSE(decode(bytes, at(100)).ok());
  }
}

TEST(ConnectionWire, AnotherVersionIsUnsupported) {
  std::vector<uint8_t> bytes = encode(samples()[0], at(100));
  bytes[0] = 2;
  const auto r = decode(bytes, at(100));
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, ErrorCode::unsupported);
}

TEST(ConnectionWire, EveryChangedBitIsRefusedOrIsAnotherConnection) {
  for (const Connection& c : samples()) {
    const std::vector<uint8_t> bytes = encode(c, at(100));
    size_t refused = 0;
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::vector<uint8_t> other = bytes;
      other[bit / 8] = static_cast<uint8_t>(other[bit / 8] ^ 1u << bit % 8);
      const auto r = decode(other, at(100));
      if (!r.ok()) {
        ++refused;
        continue;
      }
      EXPECT_TRUE(is_sound(*r)) << bit;
      EXPECT_EQ(encode(*r, at(100)), other) << bit;
    }
    EXPECT_GT(refused, 10u);
  }
}

TEST(ConnectionWire, TheSameZoneIsNotToldTwice) {
  std::vector<uint8_t> bytes = encode(samples()[2], at(100));
  ASSERT_TRUE(decode(bytes, at(100)).ok());
  const size_t zone = 14 + 16, reply_zone = zone + 3 * 16;
  std::copy_n(bytes.begin() + zone, 16, bytes.begin() + reply_zone);
  EXPECT_FALSE(decode(bytes, at(100)).ok());
}

TEST(ConnectionWire, UnsoundRecordsAreNotRead) {
  // A reply as the original, facts that nobody knows, no facts at all.
  std::vector<uint8_t> bytes = encode(samples()[2], at(100));
  bytes[1] = static_cast<uint8_t>((bytes[1] & ~0x30) | 0x20);
  EXPECT_FALSE(decode(bytes, at(100)).ok());
  bytes = encode(samples()[0], at(100));
  bytes[3] = 0x80;
  EXPECT_FALSE(decode(bytes, at(100)).ok());
  bytes[3] = bytes[4] = 0;
  EXPECT_FALSE(decode(bytes, at(100)).ok());
}

}  // namespace
}  // namespace plexus::state
