// SPDX-License-Identifier: Apache-2.0
#include "flow/port_range.h"

#include <algorithm>

namespace plexus {
namespace {

// 32 bits: the end of the last block is 65,536.
constexpr uint32_t kPorts = 1u << 16;

/// The largest aligned block around `port` that lies in [first, end).
PortPrefix block_in(uint32_t port, uint32_t first, uint32_t end) {
  uint32_t size = kPorts;
  uint32_t begin = 0;
  while (begin < first || begin + size > end) {
    size /= 2;
    begin = port & ~(size - 1);
  }
  return {static_cast<uint16_t>(begin), static_cast<uint16_t>(~(size - 1))};
}

}  // namespace

PortPrefix prefix_around(uint16_t port, std::span<const PortRange> ranges) {
  // What the port is in: ranges that touch are one, and so is what is between two that do not.
  uint32_t gap = 0;  // where the ranges so far end
  for (size_t i = 0; i < ranges.size();) {
    const uint32_t first = ranges[i].first;
    uint32_t end = ranges[i].last + 1u;
    for (++i; i < ranges.size() && ranges[i].first <= end; ++i)
      end = std::max(end, ranges[i].last + 1u);
    if (port < first) return block_in(port, gap, first);
    if (port < end) return block_in(port, first, end);
    gap = end;
  }
  return block_in(port, gap, kPorts);
}

}  // namespace plexus
