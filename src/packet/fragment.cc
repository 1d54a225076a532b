// SPDX-License-Identifier: Apache-2.0
#include "packet/fragment.h"

#include "packet/bytes.h"

namespace plexus {
namespace {

constexpr size_t kIpv6Header = 40, kNextHeader = 6, kFragmentHeader = 8;
constexpr uint8_t kFragment = 44;
constexpr int kMostHeaders = 8;  ///< as parse_packet() walks

}  // namespace

std::optional<Fragment> fragment_of(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  if (parsed.error != ParseError::none || parsed.key.ip_frag == 0) return std::nullopt;
  const auto ip = frame.first(parsed.length).subspan(parsed.l3_offset);
  if (parsed.key.is_ipv4()) {
    const size_t header = size_t{ip[0] & 0x0fu} * 4;
    return Fragment{be16_at(ip, 4), (be16_at(ip, 6) & 0x1fffu) * 8,
                    static_cast<uint32_t>(ip.size() - header), parsed.key.ip_proto};
  }
  if (!parsed.key.is_ipv6()) return std::nullopt;
  uint8_t next = ip[kNextHeader];
  size_t at = kIpv6Header;
  for (int n = 0; n < kMostHeaders && at + kFragmentHeader <= ip.size(); ++n) {
    if (next == kFragment) {
      return Fragment{static_cast<uint32_t>(be32_at(ip, at + 4)), be16_at(ip, at + 2) & 0xfff8u,
                      static_cast<uint32_t>(ip.size() - at - kFragmentHeader), ip[at]};
    }
    next = ip[at];
    at += (size_t{ip[at + 1]} + 1) * 8;
  }
  return std::nullopt;
}

}  // namespace plexus
