// SPDX-License-Identifier: Apache-2.0
#include "flow/port_range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace plexus {
namespace {

constexpr uint32_t kPorts = 1u << 16;

uint32_t size_of(const PortPrefix& p) {
  return kPorts - (p.mask == 0 ? 0u : p.mask);
}

/// A range of any width, narrow ones as often as wide ones.
PortRange some_range(std::mt19937& random) {
  const auto first = static_cast<uint16_t>(random());
  const uint32_t width = static_cast<uint32_t>(random()) >> (16 + random() % 16);
  return {first, static_cast<uint16_t>(std::min(kPorts - 1, first + width))};
}

/// Every one of the 65,536 ports: all of the prefix have the port's answer, and twice as large it would not be so.
TEST(PortRange, PrefixesAroundAPortProveItsAnswerWithTheFewestBits) {
  std::mt19937 random(2);
  for (int i = 0; i < 150; ++i) {
    std::vector<PortRange> ranges;
    for (auto n = random() % 5; n > 0; --n) ranges.push_back(some_range(random));
    if (!ranges.empty() && ranges[0].last < 65535 && random() % 2 == 0) {
      const auto next = static_cast<uint16_t>(ranges[0].last + 1);
      ranges.push_back({next, next});  // touches
    }
    std::sort(ranges.begin(), ranges.end());
    // in[p]: how many ports below p are in a range.
    std::vector<uint32_t> in(kPorts + 1);
    const auto is_in = [&](uint32_t port) {
      return std::any_of(ranges.begin(), ranges.end(), [&](const PortRange& r) {
        return r.contains(static_cast<uint16_t>(port));
      });
    };
    for (uint32_t port = 0; port < kPorts; ++port) in[port + 1] = in[port] + (is_in(port) ? 1 : 0);
    const auto uniform = [&](uint32_t begin, uint32_t size) {
      const uint32_t inside = in[begin + size] - in[begin];
      return inside == 0 || inside == size;
    };
    for (uint32_t port = 0; port < kPorts; ++port) {
      const PortPrefix p = prefix_around(static_cast<uint16_t>(port), ranges);
      ASSERT_TRUE(p.contains(static_cast<uint16_t>(port)));
      ASSERT_EQ(p.value & ~p.mask, 0);
      ASSERT_TRUE(uniform(p.value, size_of(p))) << i << " " << port;
      const uint32_t twice = size_of(p) * 2;
      ASSERT_TRUE(p.mask == 0 || !uniform(p.value & ~(twice - 1), twice)) << i << " " << port;
    }
  }
}

TEST(PortRange, PrefixesAroundAPortAtTheEdges) {
  EXPECT_EQ(prefix_around(443, {}), (PortPrefix{0, 0})) << "nothing is asked";
  const PortRange all{};
  EXPECT_EQ(prefix_around(443, {&all, 1}), (PortPrefix{0, 0}));
  const PortRange web{80, 80};
  EXPECT_EQ(prefix_around(80, {&web, 1}), (PortPrefix{80, 0xffff}));
  EXPECT_EQ(prefix_around(40000, {&web, 1}), (PortPrefix{0x8000, 0x8000})) << "one bit says no";
  const PortRange two[] = {{0, 511}, {512, 1023}};
  EXPECT_EQ(prefix_around(22, two), (PortPrefix{0, 0xfc00})) << "ranges that touch are one";
}

}  // namespace
}  // namespace plexus
