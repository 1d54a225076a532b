// SPDX-License-Identifier: Apache-2.0
#include "packet/addr.h"

#include <charconv>

#include "base/check.h"

namespace plexus {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// A decimal number up to `max` without sign, spaces or leading zeros, and nothing behind it.
std::optional<unsigned> parse_decimal(std::string_view text, unsigned max) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  unsigned value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

std::optional<std::array<uint8_t, 4>> parse_quad(std::string_view text) {
  std::array<uint8_t, 4> out{};
  for (size_t i = 0; i < 4; ++i) {
    const size_t dot = text.find('.');
    if ((i < 3) == (dot == std::string_view::npos)) return std::nullopt;
    const auto value = parse_decimal(text.substr(0, dot), 255);
    if (!value) return std::nullopt;
    out[i] = static_cast<uint8_t>(*value);
    text.remove_prefix(i < 3 ? dot + 1 : text.size());
  }
  return out;
}

/// Groups of one side of "::" (or the whole address without it). The last may be a dotted quad when
/// `last_side`. Returns the number of 16-bit groups written, or -1.
int parse_groups(std::string_view text, bool last_side, std::array<uint16_t, 8>& out) {
  if (text.empty()) return 0;
  int n = 0;
  for (;;) {
    const size_t colon = text.find(':');
    const std::string_view group = text.substr(0, colon);
    if (colon == std::string_view::npos && last_side && group.find('.') != group.npos) {
      const auto quad = parse_quad(group);
      if (!quad || n > 6) return -1;
      out[static_cast<size_t>(n++)] = static_cast<uint16_t>((*quad)[0] << 8 | (*quad)[1]);
      out[static_cast<size_t>(n++)] = static_cast<uint16_t>((*quad)[2] << 8 | (*quad)[3]);
      return n;
    }
    if (group.empty() || group.size() > 4 || n > 7) return -1;
    unsigned value = 0;
    for (char c : group) {
      const int digit = hex_value(c);
      if (digit < 0) return -1;
      value = value << 4 | static_cast<unsigned>(digit);
    }
    out[static_cast<size_t>(n++)] = static_cast<uint16_t>(value);
    if (colon == std::string_view::npos) return n;
    text.remove_prefix(colon + 1);
  }
}

std::optional<IpAddr> parse_v6(std::string_view text) {
  std::array<uint16_t, 8> head{}, tail{};
  const size_t gap = text.find("::");
  int head_n = 0, tail_n = 0;
  if (gap == std::string_view::npos) {
    head_n = parse_groups(text, true, head);
    if (head_n != 8) return std::nullopt;
  } else {
    head_n = parse_groups(text.substr(0, gap), false, head);
    tail_n = parse_groups(text.substr(gap + 2), true, tail);
    // "::" stands for at least one group.
    if (head_n < 0 || tail_n < 0 || head_n + tail_n > 7) return std::nullopt;
  }
  std::array<uint8_t, 16> wire{};
  const auto put = [&](int at, uint16_t v) {
    wire[static_cast<size_t>(at) * 2] = static_cast<uint8_t>(v >> 8);
    wire[static_cast<size_t>(at) * 2 + 1] = static_cast<uint8_t>(v);
  };
  for (int i = 0; i < head_n; ++i) put(i, head[static_cast<size_t>(i)]);
  for (int i = 0; i < tail_n; ++i) put(8 - tail_n + i, tail[static_cast<size_t>(i)]);
  // An IPv4-mapped address on a wire is an error or an attack: it would name an IPv4 host behind
  // the rules' back.
  bool mapped = wire[10] == 0xff && wire[11] == 0xff;
  for (size_t i = 0; i < 10; ++i) mapped = mapped && wire[i] == 0;
  if (mapped) return std::nullopt;
  return IpAddr::v6(wire);
}

std::string format_v4(const std::array<uint8_t, 16>& b) {
  std::string out;
  for (size_t i = 0; i < 4; ++i) {
    if (i != 0) out += '.';
    out += std::to_string(b[i]);
  }
  return out;
}

/// RFC 5952: lower case, no leading zeros, "::" for the longest run (the first of equals) of two
/// groups or more.
std::string format_v6(const std::array<uint8_t, 16>& b) {
  std::array<unsigned, 8> group{};
  for (size_t i = 0; i < 8; ++i) group[i] = static_cast<unsigned>(b[2 * i] << 8 | b[2 * i + 1]);
  size_t best = 8, best_len = 1;
  for (size_t i = 0; i < 8;) {
    size_t end = i;
    while (end < 8 && group[end] == 0) ++end;
    if (end - i > best_len) {
      best = i;
      best_len = end - i;
    }
    i = end == i ? i + 1 : end;
  }
  std::string out;
  for (size_t i = 0; i < 8; ++i) {
    if (i == best) {
      out += "::";
      i += best_len - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    bool started = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
      const unsigned digit = group[i] >> shift & 15;
      started = started || digit != 0 || shift == 0;
      if (started) out += kHexDigits[digit];
    }
  }
  return out;
}

/// Compares the first `bits` bits.
bool same_bits(const IpAddr& a, const IpAddr& b, unsigned bits) {
  if (std::memcmp(a.bytes.data(), b.bytes.data(), bits / 8) != 0) return false;
  const unsigned rest = bits % 8;
  return rest == 0 || ((a.bytes[bits / 8] ^ b.bytes[bits / 8]) >> (8 - rest)) == 0;
}

}  // namespace

bool MacAddr::is_broadcast() const {
  return *this == kBroadcastMac;
}

std::string MacAddr::str() const {
  std::string out;
  out.reserve(17);
  for (uint8_t byte : bytes) {
    if (!out.empty()) out += ':';
    out += kHexDigits[byte >> 4];
    out += kHexDigits[byte & 15];
  }
  return out;
}

std::optional<MacAddr> MacAddr::parse(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddr m;
  for (size_t i = 0; i < 6; ++i) {
    const int hi = hex_value(text[3 * i]), lo = hex_value(text[3 * i + 1]);
    if (hi < 0 || lo < 0 || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    m.bytes[i] = static_cast<uint8_t>(hi << 4 | lo);
  }
  return m;
}

std::optional<MacAddr> MacAddr::from_bytes(std::string_view raw) {
  if (raw.size() != 6) return std::nullopt;
  MacAddr m;
  std::memcpy(m.bytes.data(), raw.data(), 6);
  return m;
}

IpAddr IpAddr::v4(uint32_t host_order) {
  IpAddr a;
  a.family = IpFamily::v4;
  for (size_t i = 0; i < 4; ++i) a.bytes[i] = static_cast<uint8_t>(host_order >> (24 - 8 * i));
  return a;
}

uint32_t IpAddr::v4_value() const {
  PLEXUS_CHECK(is_v4(), "v4_value() of something else");
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 |
         uint32_t{bytes[3]};
}

bool IpAddr::is_multicast() const {
  return is_v4() ? (bytes[0] & 0xf0) == 0xe0 : is_v6() && bytes[0] == 0xff;
}

bool IpAddr::is_unspecified() const {
  return !is_none() && bytes == std::array<uint8_t, 16>{};
}

bool IpAddr::is_loopback() const {
  if (is_v4()) return bytes[0] == 127;
  std::array<uint8_t, 16> one{};
  one[15] = 1;
  return is_v6() && bytes == one;
}

bool IpAddr::is_link_local() const {
  if (is_v4()) return bytes[0] == 169 && bytes[1] == 254;
  return is_v6() && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

std::string IpAddr::str() const {
  switch (family) {
    case IpFamily::v4:
      return format_v4(bytes);
    case IpFamily::v6:
      return format_v6(bytes);
    case IpFamily::none:
      break;
  }
  return "none";
}

std::optional<IpAddr> IpAddr::parse(std::string_view text) {
  if (text.find(':') != text.npos) return parse_v6(text);
  const auto quad = parse_quad(text);
  if (!quad) return std::nullopt;
  IpAddr a;
  a.family = IpFamily::v4;
  std::memcpy(a.bytes.data(), quad->data(), 4);
  return a;
}

std::optional<IpAddr> IpAddr::from_bytes(std::string_view raw) {
  if (raw.size() != 4 && raw.size() != 16) return std::nullopt;
  IpAddr a;
  a.family = raw.size() == 4 ? IpFamily::v4 : IpFamily::v6;
  std::memcpy(a.bytes.data(), raw.data(), raw.size());
  return a;
}

IpAddr link_local_of(const MacAddr& mac) {
  const auto& m = mac.bytes;
  return IpAddr::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(m[0] ^ 2), m[1], m[2], 0xff,
                     0xfe, m[3], m[4], m[5]});
}

IpAddr solicited_node_of(const IpAddr& v6) {
  PLEXUS_CHECK(v6.is_v6(), "a solicited-node group belongs to an IPv6 address");
  const auto& b = v6.bytes;
  return IpAddr::v6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b[13], b[14], b[15]});
}

MacAddr multicast_mac_of(const IpAddr& group) {
  PLEXUS_CHECK(!group.is_none(), "a multicast MAC belongs to an address");
  const auto& b = group.bytes;
  if (group.is_v4())
    return MacAddr{{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[1] & 0x7f), b[2], b[3]}};
  return MacAddr{{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

bool IpPrefix::contains(const IpAddr& a) const {
  return !addr.is_none() && addr.family == a.family && same_bits(addr, a, length);
}

bool IpPrefix::contains(const IpPrefix& other) const {
  return other.length >= length && contains(other.addr);
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
  return contains(other) || other.contains(*this);
}

IpPrefix IpPrefix::network() const {
  IpPrefix n = *this;
  for (unsigned i = length / 8; i < n.addr.size(); ++i) {
    const unsigned kept = i == length / 8u ? length % 8u : 0;
    n.addr.bytes[i] = static_cast<uint8_t>(n.addr.bytes[i] & (0xff00u >> kept));
  }
  return n;
}

std::optional<IpAddr> IpPrefix::broadcast() const {
  if (!addr.is_v4() || length >= 31) return std::nullopt;
  return IpAddr::v4(addr.v4_value() | (0xffffffffu >> length));
}

std::string IpPrefix::str() const {
  return addr.str() + "/" + std::to_string(length);
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const auto a = IpAddr::parse(text.substr(0, slash));
  if (!a) return std::nullopt;
  const auto len = parse_decimal(text.substr(slash + 1), a->bits());
  if (!len) return std::nullopt;
  return IpPrefix{*a, static_cast<uint8_t>(*len)};
}

std::optional<IpPrefix> IpPrefix::from_bytes(std::string_view raw) {
  if (raw.empty()) return std::nullopt;
  const auto a = IpAddr::from_bytes(raw.substr(0, raw.size() - 1));
  const auto length = static_cast<uint8_t>(raw.back());
  if (!a || length > a->bits()) return std::nullopt;
  return IpPrefix{*a, length};
}

}  // namespace plexus
