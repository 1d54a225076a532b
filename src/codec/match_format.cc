// SPDX-License-Identifier: Apache-2.0
#include "codec/match_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "codec/format.h"
#include "codec/nearest.h"
#include "packet/addr.h"

namespace plexus::codec {
namespace {

struct Named {
  std::string_view name;
  uint16_t number;
};

// IANA, "Assigned Internet Protocol Numbers"; the names that people type.
constexpr std::array kProtocols = {Named{"icmp", 1},   Named{"igmp", 2},    Named{"tcp", 6},
                                   Named{"udp", 17},   Named{"gre", 47},    Named{"esp", 50},
                                   Named{"ah", 51},    Named{"icmpv6", 58}, Named{"ospf", 89},
                                   Named{"vrrp", 112}, Named{"sctp", 132}};
// IEEE 802, of what virtual devices look into.
constexpr std::array kEthertypes = {Named{"ipv4", 0x0800}, Named{"arp", 0x0806},
                                    Named{"ipv6", 0x86dd}};
// RFC 9293 3.1, from the lowest bit.
constexpr std::array kFlags = {Named{"fin", 0x01}, Named{"syn", 0x02}, Named{"rst", 0x04},
                               Named{"psh", 0x08}, Named{"ack", 0x10}, Named{"urg", 0x20},
                               Named{"ece", 0x40}, Named{"cwr", 0x80}};

constexpr uint16_t kLeastEthertype = 0x0600;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

template <size_t N>
const Named* by_name(const std::array<Named, N>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& n) {
    return std::equal(n.name.begin(), n.name.end(), name.begin(), name.end(),
                      [](char a, char b) { return a == lower(b); });
  });
  return found == all.end() ? nullptr : &*found;
}

template <size_t N>
const Named* by_number(const std::array<Named, N>& all, uint16_t number) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Named& n) { return n.number == number; });
  return found == all.end() ? nullptr : &*found;
}

std::string big_endian(uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}
uint16_t number_at(std::string_view stored, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(stored[at]) << 8 |
                               static_cast<uint8_t>(stored[at + 1]));
}

std::optional<uint16_t> port_number(std::string_view text) {
  const auto number = parse_number(text);
  if (!number || *number > 0xffff) return std::nullopt;
  return static_cast<uint16_t>(*number);
}

/// Up to 4 hexadecimal digits.
std::optional<uint16_t> hex_number(std::string_view digits) {
  if (digits.empty() || digits.size() > 4) return std::nullopt;
  uint16_t value = 0;
  for (const char given : digits) {
    const char c = lower(given);
    const bool letter = c >= 'a' && c <= 'f';
    if (!letter && (c < '0' || c > '9')) return std::nullopt;
    value = static_cast<uint16_t>(value << 4 | (letter ? c - 'a' + 10 : c - '0'));
  }
  return value;
}

struct Masked {
  MacAddr mac, mask;
};

MacAddr leading_ones(uint32_t bits) {
  MacAddr mask;
  for (size_t i = 0; i < bits; ++i) {
    mask.bytes[i / 8] = static_cast<uint8_t>(mask.bytes[i / 8] | 0x80 >> i % 8);
  }
  return mask;
}

MacAddr within(const MacAddr& mac, const MacAddr& mask) {
  MacAddr out;
  for (size_t i = 0; i < out.bytes.size(); ++i) out.bytes[i] = mac.bytes[i] & mask.bytes[i];
  return out;
}

constexpr uint32_t kMacBits = 48;

/// Also with bits outside the mask.
std::optional<Masked> parse_masked(std::string_view text) {
  const size_t slash = text.find('/');
  const auto mac = MacAddr::parse(text.substr(0, slash));
  if (!mac) return std::nullopt;
  if (slash == std::string_view::npos) return Masked{*mac, leading_ones(kMacBits)};
  const std::string_view rest = text.substr(slash + 1);
  if (const auto mask = MacAddr::parse(rest)) return Masked{*mac, *mask};
  const auto bits = parse_number(rest);
  if (!bits || *bits > kMacBits) return std::nullopt;
  return Masked{*mac, leading_ones(*bits)};
}

std::string masked_str(const Masked& m) {
  const bool whole = m.mask == leading_ones(kMacBits);
  return whole ? m.mac.str() : m.mac.str() + "/" + m.mask.str();
}

}  // namespace

std::optional<std::string> protocol_bytes(std::string_view text) {
  if (const Named* known = by_name(kProtocols, text))
    return std::string(1, static_cast<char>(known->number));
  const auto number = parse_number(text);
  if (!number || *number > 0xff) return std::nullopt;
  return std::string(1, static_cast<char>(*number));
}

std::string protocol_remedy(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return "";
  if (lower(text[0]) == 'i' && text.find('6') != std::string_view::npos) return "write icmpv6";
  std::vector<std::string> known;
  for (const Named& p : kProtocols) known.emplace_back(p.name);
  // The nearest of such short words is often none of what was meant.
  const std::string near = nearest(text, known);
  return edit_distance(text, near) <= 1 ? "did you mean '" + near + "'?" : "";
}

std::optional<std::string> protocol_text(std::string_view stored) {
  if (stored.size() != 1) return std::nullopt;
  const auto number = static_cast<uint8_t>(stored[0]);
  const Named* known = by_number(kProtocols, number);
  return known != nullptr ? std::string(known->name) : std::to_string(number);
}

std::optional<std::string> ethertype_bytes(std::string_view text) {
  if (const Named* known = by_name(kEthertypes, text)) return big_endian(known->number);
  if (text.size() < 2 || text[0] != '0' || lower(text[1]) != 'x') return std::nullopt;
  const auto number = hex_number(text.substr(2));
  if (!number || *number < kLeastEthertype) return std::nullopt;
  return big_endian(*number);
}

std::optional<std::string> ethertype_text(std::string_view stored) {
  if (stored.size() != 2 || number_at(stored, 0) < kLeastEthertype) return std::nullopt;
  const uint16_t number = number_at(stored, 0);
  const Named* known = by_number(kEthertypes, number);
  return known != nullptr ? std::string(known->name) : fmt::format("0x{:04x}", number);
}

std::string ethertype_remedy(std::string_view text) {
  const auto number = hex_number(text);
  return number && *number >= kLeastEthertype ? fmt::format("write 0x{:04x}", *number) : "";
}

std::optional<std::string> port_range_bytes(std::string_view text) {
  const size_t dash = text.find('-');
  const auto first = port_number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : port_number(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  return big_endian(*first) + big_endian(*last);
}

std::optional<std::string> port_range_text(std::string_view stored) {
  if (stored.size() != 4) return std::nullopt;
  const uint16_t first = number_at(stored, 0), last = number_at(stored, 2);
  if (first > last) return std::nullopt;
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

std::string port_range_remedy(std::string_view text) {
  for (const char separator : {'-', ':'}) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) continue;
    const auto first = port_number(text.substr(0, at)), last = port_number(text.substr(at + 1));
    if (first && last)
      return fmt::format("write {}-{}", std::min(*first, *last), std::max(*first, *last));
  }
  return "";
}

std::optional<std::string> masked_mac_bytes(std::string_view text) {
  const auto m = parse_masked(text);
  if (!m || m->mask.is_zero() || within(m->mac, m->mask) != m->mac) return std::nullopt;
  return m->mac.raw() + m->mask.raw();
}

std::optional<std::string> masked_mac_text(std::string_view stored) {
  constexpr size_t kBytes = 6;
  if (stored.size() != 2 * kBytes) return std::nullopt;
  const Masked m{*MacAddr::from_bytes(stored.substr(0, kBytes)),
                 *MacAddr::from_bytes(stored.substr(kBytes))};
  if (m.mask.is_zero() || within(m.mac, m.mask) != m.mac) return std::nullopt;
  return masked_str(m);
}

std::string masked_mac_remedy(std::string_view text) {
  const auto m = parse_masked(text);
  if (!m) return "";
  if (m->mask.is_zero()) return "this is any MAC: leave the field out";
  return "it has bits outside its mask; meant is " + masked_str({within(m->mac, m->mask), m->mask});
}

std::optional<std::string> tcp_flags_bytes(std::string_view text) {
  uint8_t set = 0, looked_at = 0;
  while (!text.empty()) {
    const bool cleared = text[0] == '-';
    if (cleared || text[0] == '+') {
      text.remove_prefix(1);
    } else if (looked_at != 0) {
      return std::nullopt;
    }
    const std::string_view word = text.substr(0, text.find_first_of("+-"));
    const Named* flag = by_name(kFlags, word);
    if (flag == nullptr || (looked_at & flag->number) != 0) return std::nullopt;
    looked_at = static_cast<uint8_t>(looked_at | flag->number);
    if (!cleared) set = static_cast<uint8_t>(set | flag->number);
    text.remove_prefix(word.size());
  }
  if (looked_at == 0) return std::nullopt;
  return std::string{static_cast<char>(set), static_cast<char>(looked_at)};
}

std::optional<std::string> tcp_flags_text(std::string_view stored) {
  if (stored.size() != 2) return std::nullopt;
  const auto set = static_cast<uint8_t>(stored[0]), looked_at = static_cast<uint8_t>(stored[1]);
  if (looked_at == 0 || (set & ~looked_at) != 0) return std::nullopt;
  std::string out;
  for (const Named& flag : kFlags) {
    if ((looked_at & flag.number) == 0) continue;
    out += (set & flag.number) != 0 ? '+' : '-';
    out += flag.name;
  }
  return out;
}

std::string tcp_flags_remedy(std::string_view text) {
  // "syn,ack", "SYN !ACK": the words are clear.
  std::string joined;
  bool cleared = false;
  for (size_t i = 0; i < text.size();) {
    if (std::string_view("+-!, /").find(text[i]) != std::string_view::npos) {
      cleared = text[i] == '-' || text[i] == '!' || (cleared && text[i] != '+');
      ++i;
      continue;
    }
    const std::string_view word = text.substr(i).substr(0, text.substr(i).find_first_of("+-!, /"));
    const Named* flag = by_name(kFlags, word);
    if (flag == nullptr) {
      std::vector<std::string> known;
      for (const Named& f : kFlags) known.emplace_back(f.name);
      return suggestion(word, known);
    }
    joined += cleared ? '-' : '+';
    joined += flag->name;
    cleared = false;
    i += word.size();
  }
  return tcp_flags_bytes(joined) ? "write " + joined : "";
}

namespace {

struct Pair {
  IpPrefix network;
  std::optional<MacAddr> mac;
};

/// Also with host bits.
std::optional<Pair> parse_pair(std::string_view text) {
  Pair pair;
  const size_t at = text.find('@');
  if (at != std::string_view::npos) {
    pair.mac = MacAddr::parse(text.substr(at + 1));
    if (!pair.mac) return std::nullopt;
    text = text.substr(0, at);
  }
  if (const auto address = IpAddr::parse(text)) {
    pair.network = {*address, static_cast<uint8_t>(address->bits())};
    return pair;
  }
  const auto network = IpPrefix::parse(text);
  if (!network) return std::nullopt;
  pair.network = *network;
  return pair;
}

std::string pair_str(const Pair& pair) {
  return pair.network.str() + (pair.mac ? "@" + pair.mac->str() : "");
}

}  // namespace

std::optional<std::string> address_pair_bytes(std::string_view text) {
  const auto pair = parse_pair(text);
  if (!pair || pair->network != pair->network.network()) return std::nullopt;
  return pair->network.raw() + (pair->mac ? pair->mac->raw() : "");
}

std::optional<std::string> address_pair_text(std::string_view stored) {
  constexpr size_t kV4 = 5, kV6 = 17, kMac = 6;
  Pair pair;
  const size_t network = stored.size() == kV4 || stored.size() == kV4 + kMac ? kV4 : kV6;
  if (stored.size() == network + kMac) pair.mac = MacAddr::from_bytes(stored.substr(network));
  if (stored.size() != network && !pair.mac) return std::nullopt;
  const auto prefix = IpPrefix::from_bytes(stored.substr(0, network));
  if (!prefix || *prefix != prefix->network()) return std::nullopt;
  pair.network = *prefix;
  return pair_str(pair);
}

std::string address_pair_remedy(std::string_view text) {
  const auto pair = parse_pair(text);
  if (!pair || pair->network == pair->network.network()) return "";
  return "it has host bits; meant is " + pair_str({pair->network.network(), pair->mac});
}

}  // namespace plexus::codec
