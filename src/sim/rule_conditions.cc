// SPDX-License-Identifier: Apache-2.0
// What rules ask that stands in no class: what ICMP errors quote, and which devices a packet has passed.
#include <algorithm>
#include <array>

#include "packet/bytes.h"
#include "packet/headers.h"
#include "sim/rule_search.h"

namespace plexus::sim {
namespace {

/// Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792); of ICMPv6 all below 128 are
/// errors (RFC 4443 2.1).
bool is_error(uint16_t type, bool v6) {
  return v6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/// Of an ICMP header; what is quoted follows.
constexpr size_t kIcmpHeader = 8;

}  // namespace

std::optional<IpAddr> RuleReader::quoted(bool source) {
  if (!has_icmp()) return std::nullopt;
  const bool v6 = j_.key.is_ipv6();
  if (!is_error(j_.tp_src(), v6)) return std::nullopt;
  message_read_ = true;
  const auto message = j_.bytes.first(j_.parsed->length).subspan(j_.parsed->l4_offset);
  const size_t header = v6 ? 40 : 20, size = v6 ? 16 : 4;
  if (message.size() < kIcmpHeader + header) return std::nullopt;
  const auto inner = message.subspan(kIcmpHeader);
  if (inner[0] >> 4 != (v6 ? 6 : 4)) return std::nullopt;
  const auto at = inner.subspan((v6 ? 8u : 12u) + (source ? 0 : size), size);
  if (!v6) return IpAddr::v4(be32_at(at, 0));
  std::array<uint8_t, 16> bytes{};
  std::copy(at.begin(), at.end(), bytes.begin());
  return IpAddr::v6(bytes);
}

Holds RuleReader::passed(const model::Device& device) {
  for (const Passed* at = j_.passed; at != nullptr; at = at->previous)
    if (at->in->device == device) return Holds::yes;
  // The copy of a flood that another host asks about: its way there is not known here.
  return ports_.in_known ? Holds::no : Holds::unknown;
}

}  // namespace plexus::sim
