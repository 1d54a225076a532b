// SPDX-License-Identifier: Apache-2.0
// Datagrams between two addresses of this machine, in both families.
#include "agent/peer_socket.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <string>
#include <vector>

namespace plexus::agent {
namespace {

constexpr uint16_t kTestPort = 15789;

void expect_exchange(const char* first, const char* second) {
  const IpAddr a = *IpAddr::parse(first), b = *IpAddr::parse(second);
  PeerSocket one, two;
  ASSERT_TRUE(one.listen(a, kTestPort).ok());
  ASSERT_TRUE(two.listen(b, kTestPort).ok());
  EXPECT_EQ(one.local(), a);
  const std::vector<uint8_t> bytes{1, 2, 3};
  ASSERT_TRUE(one.send(b, bytes));
  pollfd p{two.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&p, 1, 5000), 1);
  size_t seen = 0;
  EXPECT_EQ(two.receive(10,
                        [&](const IpAddr& from, std::span<const uint8_t> got) {
                          EXPECT_EQ(from, a);
                          EXPECT_EQ(std::vector<uint8_t>(got.begin(), got.end()), bytes);
                          ++seen;
                        }),
            1u);
  EXPECT_EQ(seen, 1u);
  EXPECT_EQ(two.receive(10, [](const IpAddr&, std::span<const uint8_t>) { FAIL(); }), 0u);
}

TEST(PeerSocket, CarriesDatagramsOverIpv4) {
  expect_exchange("127.0.0.2", "127.0.0.3");
}

TEST(PeerSocket, CarriesDatagramsOverIpv6) {
  PeerSocket one;
  const IpAddr loopback = *IpAddr::parse("::1");
  if (!one.listen(loopback, kTestPort)) GTEST_SKIP() << "this machine has no IPv6";
  const std::vector<uint8_t> bytes{4, 5};
  ASSERT_TRUE(one.send(loopback, bytes));
  pollfd p{one.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&p, 1, 5000), 1);
  EXPECT_EQ(one.receive(1, [&](const IpAddr& from,
                               std::span<const uint8_t>) { EXPECT_EQ(from, loopback); }),
            1u);
}

TEST(PeerSocket, SaysWhyItDoesNotListen) {
  PeerSocket one, two;
  EXPECT_FALSE(one.listen(*IpAddr::parse("192.0.2.77"), kTestPort).ok());
  EXPECT_TRUE(one.local().is_none());
  EXPECT_FALSE(one.send(*IpAddr::parse("127.0.0.2"), std::vector<uint8_t>{1}));
  EXPECT_EQ(one.receive(1, [](const IpAddr&, std::span<const uint8_t>) { FAIL(); }), 0u);
  ASSERT_TRUE(one.listen(*IpAddr::parse("127.0.0.4"), kTestPort).ok());
  EXPECT_FALSE(two.listen(*IpAddr::parse("127.0.0.4"), kTestPort).ok()) << "taken";
  EXPECT_FALSE(one.send(*IpAddr::parse("::1"), std::vector<uint8_t>{1})) << "of the other family";
}

}  // namespace
}  // namespace plexus::agent
