// SPDX-License-Identifier: Apache-2.0
#include "agent/parking.h"

#include <gtest/gtest.h>

namespace plexus::agent {
namespace {

std::vector<sim::Missing> neighbour(uint32_t n) {
  return {sim::NeighbourNeeded{PortId{Uuid::derived("port", "r")}, IpAddr::v4(0x0a000000 + n)}};
}

Parked packet(uint32_t port, uint32_t waits_for, uint64_t tenant = 1, size_t bytes = 60,
              MonoTime retry_at = {100}) {
  Parked out;
  out.packet.in_port = DpPort{port};
  out.packet.frame.resize(bytes);
  out.tenant = tenant;
  out.missing = neighbour(waits_for);
  out.retry_at = retry_at;
  return out;
}

constexpr ParkingLimits kLimits = {.packets = 20,
                                   .packets_of_tenant = 10,
                                   .packets_of_port = 5,
                                   .bytes_of_port = 1000,
                                   .packets_for_same = 3};
using Answer = Parking::Answer;

TEST(Parking, OfThoseThatWaitForTheSameTheNewestStayAndTakeOverTheWaiting) {
  Parking parking(kLimits);
  Parked oldest = packet(16, 1);
  oldest.tries = 3;
  oldest.retry_at = MonoTime{50};
  EXPECT_EQ(parking.park(std::move(oldest)), Answer::parked);
  EXPECT_EQ(parking.park(packet(16, 1)), Answer::parked);
  EXPECT_EQ(parking.park(packet(17, 1)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, 1)), Answer::instead_of_another);
  EXPECT_EQ(parking.size(), 3u);
  const auto due = parking.take_due(MonoTime{50});
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due.front().packet.in_port, DpPort{18});
  EXPECT_EQ(due.front().tries, 3u);
}

TEST(Parking, APortATenantAndAllHaveTheirLimits) {
  Parking parking(kLimits);
  uint32_t n = 0;
  for (; n < 5; ++n) EXPECT_EQ(parking.park(packet(16, n)), Answer::parked);
  EXPECT_EQ(parking.park(packet(16, ++n)), Answer::instead_of_another) << "the port";
  EXPECT_EQ(parking.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(parking.park(packet(17, ++n)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, ++n)), Answer::refused) << "the tenant";
  EXPECT_EQ(parking.park(packet(18, ++n, 2, 900)), Answer::parked) << "another one";
  EXPECT_EQ(parking.park(packet(18, ++n, 2, 101)), Answer::instead_of_another)
      << "the port's bytes";
  for (uint32_t port = 19; parking.size() < 20; ++port)
    EXPECT_EQ(parking.park(packet(port, ++n, port)), Answer::parked);
  EXPECT_EQ(parking.park(packet(99, ++n, 99)), Answer::refused) << "all";
  // Who leaves makes room, whichever way.
  EXPECT_EQ(parking.take_all().size(), 20u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(parking.park(packet(16, ++n)), Answer::parked);
  EXPECT_EQ(parking.take_due(MonoTime{100}).size(), 5u);
  EXPECT_EQ(parking.size(), 0u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(parking.park(packet(16, ++n)), Answer::parked);
}

TEST(Parking, WhoPushesAnotherOutKeepsTheLimitsToo) {
  Parking parking(kLimits);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(parking.park(packet(16, 1)), Answer::parked);
  EXPECT_EQ(parking.park(packet(16, 1, 1, 880)), Answer::instead_of_another);
  size_t gone = 0;
  EXPECT_EQ(parking.park(packet(16, 1, 1, 61), &gone), Answer::instead_of_another);
  EXPECT_EQ(gone, 2u) << "without the oldest it would be 1,001 bytes";
  EXPECT_EQ(parking.park(packet(17, 9, 1, 950)), Answer::parked);
  EXPECT_EQ(parking.park(packet(17, 1, 1, 51)), Answer::instead_of_another);
  EXPECT_EQ(parking.size(), 3u);
  for (const Parked& p : parking.take_all()) EXPECT_EQ(p.missing, neighbour(1));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(parking.park(packet(16, 1)), Answer::parked);
  // The port's own oldest goes, though another port's is older.
  EXPECT_EQ(parking.park(packet(17, 2)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, 2)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, 2)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, 2)), Answer::instead_of_another);
  size_t of_17 = 0;
  for (const Parked& p : parking.take_all()) of_17 += p.packet.in_port == DpPort{17} ? 1u : 0u;
  EXPECT_EQ(of_17, 1u);
  // Counts: a port, and a tenant, that are full stay full.
  uint32_t n = 10;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(parking.park(packet(17, 1)), Answer::parked);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(parking.park(packet(16, ++n)), Answer::parked);
  EXPECT_EQ(parking.park(packet(16, 1)), Answer::instead_of_another) << "the port";
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(parking.park(packet(30 + static_cast<uint32_t>(i), ++n, 2)), Answer::parked);
  EXPECT_EQ(parking.park(packet(50, 1, 2)), Answer::refused) << "the tenant";
}

Parked from(const char* source, uint32_t port, uint32_t waits_for, unsigned tries = 1) {
  Parked out = packet(port, waits_for);
  out.source = *IpAddr::parse(source);
  out.tries = tries;
  return out;
}

TEST(Parking, WhoScansFromBehindAPortPushesOutItsOwn) {
  Parking parking(kLimits);
  EXPECT_EQ(parking.park(from("192.0.2.1", 16, 1, 3)), Answer::parked);
  EXPECT_EQ(parking.park(from("192.0.2.2", 16, 2)), Answer::parked);
  EXPECT_EQ(parking.park(from("192.0.2.9", 17, 3)), Answer::parked);
  for (uint32_t n = 100; n < 200; ++n) {
    EXPECT_EQ(parking.park(from("203.0.113.9", 16, n)),
              n < 103 ? Answer::parked : Answer::instead_of_another);
  }
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(1)));
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(2)));
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(199))) << "the newest of the scan";
  // A newcomer has its place for the scan's.
  EXPECT_EQ(parking.park(from("192.0.2.3", 16, 4)), Answer::instead_of_another);
  EXPECT_FALSE(parking.somebody_waits_for(neighbour(197)));
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(1)));
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(3))) << "another port";
  EXPECT_EQ(parking.size(), 6u);
}

TEST(Parking, BehindManySourcesWhatWasTriedMostOftenGoes) {
  Parking parking(kLimits);
  EXPECT_EQ(parking.park(from("2001:db8:1::1", 16, 1, 2)), Answer::parked);
  EXPECT_EQ(parking.park(from("2001:db8:2::1", 16, 2, 3)), Answer::parked);
  EXPECT_EQ(parking.park(from("2001:db8:3::1", 16, 3, 3)), Answer::parked);
  EXPECT_EQ(parking.park(from("2001:db8:4::1", 16, 4, 1)), Answer::parked);
  EXPECT_EQ(parking.park(from("2001:db8:5::1", 16, 5, 1)), Answer::parked);
  for (const uint32_t goes : {2u, 3u, 1u, 4u}) {
    EXPECT_TRUE(parking.somebody_waits_for(neighbour(goes)));
    const std::string source = "2001:db8:" + std::to_string(goes + 10) + "::1";
    EXPECT_EQ(parking.park(from(source.c_str(), 16, goes + 10)), Answer::instead_of_another);
    EXPECT_FALSE(parking.somebody_waits_for(neighbour(goes)));
  }
  // An IPv6 sender has many addresses.
  EXPECT_EQ(parking.park(from("2001:db8:14::2", 16, 30)), Answer::instead_of_another);
  EXPECT_EQ(parking.park(from("2001:db8:14::3", 16, 31)), Answer::instead_of_another);
  EXPECT_FALSE(parking.somebody_waits_for(neighbour(14)));
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(12)));
}

TEST(Parking, SomebodyWaitsAsLongAsSomebodyDoes) {
  Parking parking(kLimits);
  EXPECT_FALSE(parking.somebody_waits_for(neighbour(1)));
  EXPECT_EQ(parking.park(packet(16, 1, 1, 60, MonoTime{10})), Answer::parked);
  EXPECT_EQ(parking.park(packet(17, 1, 1, 60, MonoTime{20})), Answer::parked);
  EXPECT_EQ(parking.park(packet(17, 2, 1, 60, MonoTime{5})), Answer::parked);
  EXPECT_EQ(parking.take_due(MonoTime{10}).size(), 2u);
  EXPECT_TRUE(parking.somebody_waits_for(neighbour(1)));
  EXPECT_FALSE(parking.somebody_waits_for(neighbour(2)));
  const auto last = parking.take_due(MonoTime{20});
  ASSERT_EQ(last.size(), 1u);
  EXPECT_FALSE(parking.somebody_waits_for(neighbour(1)));
}

datapath::Upcall later(uint32_t port, size_t bytes = 60) {
  datapath::Upcall out;
  out.in_port = DpPort{port};
  out.frame.resize(bytes);
  return out;
}
Parked first(uint32_t port, uint32_t waits_for, uint64_t ticket, uint64_t tenant = 1) {
  Parked out = packet(port, waits_for, tenant);
  out.ticket = ticket;
  return out;
}

TEST(Parking, WhoJoinsComesAndGoesWithThePacketThatItJoined) {
  Parking parking(kLimits);
  EXPECT_EQ(parking.park(first(16, 1, 7)), Answer::parked);
  for (uint8_t n = 1; n <= 3; ++n) {
    datapath::Upcall one = later(16);
    one.frame[0] = n;
    EXPECT_EQ(parking.join(7, std::move(one)), Answer::parked);
  }
  EXPECT_EQ(parking.join(8, later(16)), Answer::refused) << "nobody has this ticket";
  EXPECT_EQ(parking.size(), 4u);
  // Of those that wait for the same it is one.
  EXPECT_EQ(parking.park(packet(17, 1, 2)), Answer::parked);
  EXPECT_EQ(parking.park(packet(17, 1, 2)), Answer::parked);
  auto due = parking.take_due(MonoTime{100});
  ASSERT_EQ(due.size(), 3u);
  ASSERT_EQ(due.front().later.size(), 3u);
  for (uint8_t n = 1; n <= 3; ++n) EXPECT_EQ(due.front().later[n - 1u].frame[0], n);
  EXPECT_EQ(parking.join(7, later(16)), Answer::refused) << "gone";
  EXPECT_EQ(parking.size(), 0u);
  // And back, with all of them, under its ticket.
  EXPECT_EQ(parking.park(std::move(due.front())), Answer::parked);
  EXPECT_EQ(parking.size(), 4u);
  EXPECT_EQ(parking.join(7, later(16)), Answer::parked);
  EXPECT_EQ(parking.take_all().front().later.size(), 4u);
  EXPECT_EQ(parking.join(7, later(16)), Answer::refused);
}

TEST(Parking, ThoseThatJoinCount) {
  Parking parking(kLimits);
  EXPECT_EQ(parking.park(first(16, 1, 7)), Answer::parked);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(parking.join(7, later(16)), Answer::parked);
  EXPECT_EQ(parking.join(7, later(16)), Answer::refused) << "the port";
  EXPECT_EQ(parking.park(first(17, 1, 8)), Answer::parked);
  EXPECT_EQ(parking.join(8, later(17, 941)), Answer::refused) << "the port's bytes";
  for (int i = 0; i < 4; ++i) EXPECT_EQ(parking.join(8, later(17)), Answer::parked);
  EXPECT_EQ(parking.park(packet(18, 1, 1)), Answer::refused) << "the tenant";
  EXPECT_EQ(parking.park(first(18, 1, 9, 2)), Answer::parked);
  // With the oldest of its port go those behind it, and leave their room.
  size_t gone = 0;
  EXPECT_EQ(parking.park(first(16, 1, 10), &gone), Answer::instead_of_another);
  EXPECT_EQ(gone, 5u);
  EXPECT_EQ(parking.size(), 7u);
  EXPECT_EQ(parking.join(7, later(16)), Answer::refused);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(parking.join(10, later(16)), Answer::parked);
  EXPECT_EQ(parking.take_all().size(), 3u);
  EXPECT_EQ(parking.size(), 0u);
}

}  // namespace
}  // namespace plexus::agent
