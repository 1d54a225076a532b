// SPDX-License-Identifier: Apache-2.0
#include "flow/match_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "packet/text_reader.h"

namespace plexus {
namespace {

enum class Form : uint8_t { decimal, hex, mac, host32 };

struct Name {
  std::string_view name;
  uint64_t value;
};
constexpr Name kEthTypes[] = {
    {"ipv4", eth_type::kIpv4}, {"arp", eth_type::kArp}, {"ipv6", eth_type::kIpv6}};
constexpr Name kProtocols[] = {{"icmp", ip_proto::kIcmp},
                               {"tcp", ip_proto::kTcp},
                               {"udp", ip_proto::kUdp},
                               {"icmp6", ip_proto::kIcmpv6},
                               {"sctp", ip_proto::kSctp}};
constexpr Name kFragKinds[] = {{"none", 0}, {"first", 1}, {"later", 2}};
constexpr Name kVlans[] = {{"none", 0}};

/// One field of the key of at most eight bytes; in wire order unless host32.
struct Field {
  std::string_view name;
  size_t offset, size;
  Form form;
  std::span<const Name> names;
};

const Field kFields[] = {
    {"in_port", offsetof(FlowKey, in_port), 4, Form::host32, {}},
    {"tunnel", offsetof(FlowKey, tunnel_key), 4, Form::host32, {}},
    {"eth.src", offsetof(FlowKey, eth_src), 6, Form::mac, {}},
    {"eth.dst", offsetof(FlowKey, eth_dst), 6, Form::mac, {}},
    {"vlan", offsetof(FlowKey, vlan_tci), 2, Form::hex, kVlans},
    {"eth.type", offsetof(FlowKey, eth_type), 2, Form::hex, kEthTypes},
    {"ip.proto", offsetof(FlowKey, ip_proto), 1, Form::decimal, kProtocols},
    {"ip.tos", offsetof(FlowKey, ip_tos), 1, Form::decimal, {}},
    {"ip.ttl", offsetof(FlowKey, ip_ttl), 1, Form::decimal, {}},
    {"ip.frag", offsetof(FlowKey, ip_frag), 1, Form::decimal, kFragKinds},
    {"tp.src", offsetof(FlowKey, tp_src), 2, Form::decimal, {}},
    {"tp.dst", offsetof(FlowKey, tp_dst), 2, Form::decimal, {}},
    {"tcp.flags", offsetof(FlowKey, tcp_flags), 1, Form::hex, {}},
    {"ct.state", offsetof(FlowKey, ct_state), 1, Form::hex, {}},
    {"reserved", offsetof(FlowKey, reserved), 2, Form::hex, {}},
    {"zone", offsetof(FlowKey, zone), 4, Form::host32, {}},
};

uint64_t load(const FlowKey& key, const Field& f) {
  const auto bytes = key.bytes().subspan(f.offset, f.size);
  if (f.form == Form::host32) {
    uint32_t v = 0;
    std::memcpy(&v, bytes.data(), 4);
    return v;
  }
  uint64_t v = 0;
  for (uint8_t b : bytes) v = v << 8 | b;
  return v;
}

void store(FlowKey& key, const Field& f, uint64_t v) {
  const auto bytes = key.bytes().subspan(f.offset, f.size);
  if (f.form == Form::host32) {
    const auto narrow = static_cast<uint32_t>(v);
    std::memcpy(bytes.data(), &narrow, 4);
    return;
  }
  for (size_t i = f.size; i-- > 0; v >>= 8) bytes[i] = static_cast<uint8_t>(v);
}

uint64_t all_ones(const Field& f) {
  return ~uint64_t{0} >> (64 - 8 * f.size);
}

MacAddr mac_of(uint64_t v) {
  MacAddr m;
  for (size_t i = 6; i-- > 0; v >>= 8) m.bytes[i] = static_cast<uint8_t>(v);
  return m;
}

std::string format_field(const Field& f, uint64_t value, uint64_t mask) {
  if (f.form == Form::mac)
    return mask == all_ones(f) ? mac_of(value).str()
                               : mac_of(value).str() + "/" + mac_of(mask).str();
  if (mask != all_ones(f)) return fmt::format("{:#x}/{:#x}", value, mask);
  for (const Name& n : f.names)
    if (n.value == value) return std::string(n.name);
  return f.form == Form::hex ? fmt::format("{:#06x}", value) : fmt::format("{}", value);
}

IpAddr address_at(const FlowKey& key, bool v6, bool dst) {
  FlowKey typed = key;
  typed.eth_type = Be16(v6 ? eth_type::kIpv6 : eth_type::kIpv4);
  return dst ? typed.dst_ip() : typed.src_ip();
}

/// Length of the prefix that an address mask is; none when it has holes.
std::optional<unsigned> prefix_length(const IpAddr& mask) {
  unsigned n = 0;
  while (n < mask.bits() && mask.bit(n)) ++n;
  for (unsigned i = n; i < mask.bits(); ++i)
    if (mask.bit(i)) return std::nullopt;
  return n;
}

std::string format_address(const IpAddr& value, const IpAddr& mask) {
  const auto length = prefix_length(mask);
  if (!length) return value.str() + "/" + mask.str();
  if (*length == mask.bits()) return value.str();
  return fmt::format("{}/{}", value.str(), *length);
}

bool is_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

/// Addresses: by their family when the mask tells it, as bytes otherwise.
void format_network(const Match& m, std::vector<std::string>& out) {
  if (is_zero(m.mask.nw)) return;
  const bool typed = m.mask.eth_type == Be16(0xffff);
  const bool v6 = typed && m.key.is_ipv6();
  const bool v4 = typed && (m.key.is_ipv4() || m.key.is_arp()) &&
                  is_zero(std::span<const uint8_t>(m.mask.nw).subspan(8));
  if (!v4 && !v6) {
    out.push_back(fmt::format("nw {}/{}", format_hex(m.key.nw), format_hex(m.mask.nw)));
    return;
  }
  for (const bool dst : {false, true}) {
    const IpAddr value = address_at(m.key, v6, dst), mask = address_at(m.mask, v6, dst);
    if (!mask.is_unspecified())
      out.push_back((dst ? "ip.dst " : "ip.src ") + format_address(value, mask));
  }
}

std::string format_fields(const Match& match) {
  std::vector<std::string> out;
  for (const Field& f : kFields) {
    const uint64_t mask = load(match.mask, f);
    if (mask != 0)
      out.push_back(fmt::format("{} {}", f.name, format_field(f, load(match.key, f), mask)));
  }
  // Behind the type and protocol, before the ports, as people read it.
  std::vector<std::string> network;
  format_network(match, network);
  const auto ports = std::find_if(out.begin(), out.end(),
                                  [](const std::string& s) { return s.starts_with("tp."); });
  out.insert(ports, network.begin(), network.end());
  return out.empty() ? "any" : fmt::format("{}", fmt::join(out, " "));
}

std::optional<uint64_t> parse_value(const Field& f, std::string_view text) {
  if (f.form == Form::mac) {
    const auto mac = MacAddr::parse(text);
    if (!mac) return std::nullopt;
    uint64_t v = 0;
    for (uint8_t b : mac->bytes) v = v << 8 | b;
    return v;
  }
  for (const Name& n : f.names)
    if (n.name == text) return n.value;
  return parse_number(text, all_ones(f));
}

std::string expected_of(const Field& f) {
  if (f.form == Form::mac) return fmt::format("a MAC address or MAC/mask for {}", f.name);
  std::string names;
  for (const Name& n : f.names) names += fmt::format("{}, ", n.name);
  return fmt::format("{}a number up to {:#x} or value/mask for {}", names, all_ones(f), f.name);
}

/// The value must not have bits outside the mask: such a match would hit nothing or not mean what it says.
void parse_field(const Field& f, TextReader& r, Match& m) {
  const std::string expected = expected_of(f);
  const auto text = r.word(expected);
  if (!r.ok()) return;
  const size_t slash = text.find('/');
  const auto value = parse_value(f, text.substr(0, slash));
  auto mask = std::optional<uint64_t>(all_ones(f));
  if (slash != text.npos) mask = parse_value(f, text.substr(slash + 1));
  if (!value || !mask) return r.fail(text, expected);
  if ((*value & ~*mask) != 0) return r.fail(text, "no bits of the value outside the mask");
  store(m.key, f, *value);
  store(m.mask, f, *mask);
}

std::optional<IpAddr> parse_address_mask(const IpAddr& value, std::string_view text) {
  if (const auto length = IpPrefix::parse(value.str() + "/" + std::string(text))) {
    IpAddr ones = value;
    ones.bytes.fill(0xff);
    if (value.is_v4()) ones = IpAddr::v4(0xffffffff);
    return IpPrefix{ones, length->length}.network().addr;
  }
  const auto mask = IpAddr::parse(text);
  if (!mask || mask->family != value.family) return std::nullopt;
  return mask;
}

void parse_address(bool dst, TextReader& r, Match& m) {
  static constexpr std::string_view kExpected = "an address, a prefix or address/mask";
  const auto text = r.word(kExpected);
  if (!r.ok()) return;
  const size_t slash = text.find('/');
  const auto value = IpAddr::parse(text.substr(0, slash));
  if (!value) return r.fail(text, kExpected);
  auto mask = parse_address_mask(*value, std::to_string(value->bits()));
  if (slash != text.npos) mask = parse_address_mask(*value, text.substr(slash + 1));
  if (!mask) return r.fail(text, kExpected);
  for (size_t i = 0; i < 16; ++i)
    if ((value->bytes[i] & ~mask->bytes[i]) != 0)
      return r.fail(text, "no bits of the value outside the mask");
  dst ? m.key.set_dst_ip(*value) : m.key.set_src_ip(*value);
  dst ? m.mask.set_dst_ip(*mask) : m.mask.set_src_ip(*mask);
}

/// "<hex>/<hex>" over a run of bytes of the key.
void parse_bytes(std::span<uint8_t> key, std::span<uint8_t> mask, TextReader& r) {
  const std::string expected =
      fmt::format("{0} bytes as hex, a slash, {0} bytes of mask", key.size());
  const auto text = r.word(expected);
  if (!r.ok()) return;
  const size_t slash = text.find('/');
  if (slash == text.npos) return r.fail(text, expected);
  const auto k = parse_hex(text.substr(0, slash)), m = parse_hex(text.substr(slash + 1));
  if (!k || !m || k->size() != key.size() || m->size() != mask.size())
    return r.fail(text, expected);
  for (size_t i = 0; i < k->size(); ++i)
    if (((*k)[i] & ~(*m)[i]) != 0) return r.fail(text, "no bits of the value outside the mask");
  std::copy(k->begin(), k->end(), key.begin());
  std::copy(m->begin(), m->end(), mask.begin());
}

}  // namespace

std::string format(const Match& match) {
  std::string text = format_fields(match);
  const auto back = parse_match(text);
  if (back && *back == match) return text;
  // Values that the names cannot say, such as IPv4-mapped addresses.
  return fmt::format("bytes {}/{}", format_hex(match.key.bytes()), format_hex(match.mask.bytes()));
}

Result<Match> parse_match(std::string_view text) {
  const auto lists = tokenize(text, '\0');
  if (!lists) return lists.error();
  if (lists->size() != 1) return Error{ErrorCode::invalid, "match: a zero byte: expected text"};
  const auto& tokens = lists->front();
  Match m;
  if (tokens.size() == 1 && tokens[0].text == "any") return m;
  TextReader r(tokens, "match");
  if (tokens.empty()) r.fail_layer("empty: expected fields, or any");
  while (r.more()) {
    const auto name = r.field("a field");
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields),
                                     [&](const Field& f) { return f.name == name; });
    if (field != std::end(kFields))
      parse_field(*field, r, m);
    else if (name == "ip.src" || name == "ip.dst")
      parse_address(name == "ip.dst", r, m);
    else if (name == "nw")
      parse_bytes(m.key.nw, m.mask.nw, r);
    else if (name == "bytes")
      parse_bytes(m.key.bytes(), m.mask.bytes(), r);
    else
      r.fail(name,
             "in_port, tunnel, eth.src, eth.dst, vlan, eth.type, ip.proto, ip.tos, ip.ttl, "
             "ip.frag, ip.src, "
             "ip.dst, tp.src, tp.dst, tcp.flags, ct.state, zone, nw or bytes");
  }
  if (!r.ok()) return r.error();
  return m;
}

}  // namespace plexus
