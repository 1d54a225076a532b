// SPDX-License-Identifier: Apache-2.0
#include "codec/format.h"

#include "base/ids.h"
#include "codec/match_format.h"
#include "codec/node.h"
#include "codec/service_format.h"
#include "packet/addr.h"

namespace plexus::codec {
namespace {

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view s) {
  if (s.empty() || s.size() > 63 || !is_alnum(s[0])) return false;
  for (const char c : s) {
    if (!is_alnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  // References are written as names or as ids: a name must not look like an id.
  return !Uuid::parse(s).has_value();
}

/// What the kernel accepts as an interface name (net/core/dev.c, dev_valid_name), in printable ASCII.
bool is_interface(std::string_view s) {
  if (s.empty() || s.size() > 15 || s == "." || s == "..") return false;
  for (const char c : s) {
    if (c <= ' ' || c >= 0x7f || c == '/' || c == ':') return false;
  }
  return true;
}

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "0x";
  for (const char c : bytes) {
    out += kDigits[static_cast<uint8_t>(c) >> 4];
    out += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

std::optional<std::string> parse_hex(std::string_view text) {
  if (text.substr(0, 2) != "0x" || text.size() % 2 != 0) return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (size_t i = 2; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(static_cast<uint8_t>(high << 4 | low));
  }
  return out;
}

template <typename T>
std::optional<std::string> raw_of(const std::optional<T>& value) {
  return value ? std::optional(value->raw()) : std::nullopt;
}

}  // namespace

std::string_view expected_form(ValueKind kind) {
  switch (kind) {
    case ValueKind::boolean:
      return "true or false";
    case ValueKind::number:
      return "a whole number like 42";
    case ValueKind::text:
      return "UTF-8 text";
    case ValueKind::enumeration:
      return "one of the known words";
    case ValueKind::bytes:
      return "hexadecimal bytes like 0x01ff";
    case ValueKind::uuid:
      return "an id like 123e4567-e89b-42d3-a456-426614174000";
    case ValueKind::mac:
      return "six bytes like 02:00:00:00:00:01";
    case ValueKind::ip:
      return "an address like 10.0.1.5 or fd00::5";
    case ValueKind::prefix:
      return "a network like 10.0.1.0/24 or fd00:1::/64";
    case ValueKind::interface_address:
      return "an address with its prefix length like 10.0.1.1/24 or fd00:1::1/64";
    case ValueKind::name:
      return "1 to 63 of the characters a-z A-Z 0-9 . _ - with a letter or digit first";
    case ValueKind::interface:
      return "an interface name of 1 to 15 characters like tap0";
    case ValueKind::ip_protocol:
      return "tcp, udp, icmp, icmpv6, sctp or a protocol number up to 255";
    case ValueKind::ethertype:
      return "ipv4, ipv6, arp or a number like 0x88cc";
    case ValueKind::port_range:
      return "a port like 443 or a range like 8000-8080";
    case ValueKind::masked_mac:
      return "a MAC like 02:00:00:00:00:01, or with a mask like "
             "02:00:00:00:00:00/ff:00:00:00:00:00";
    case ValueKind::tcp_flags:
      return "the flags that are set and not set, like +syn-ack";
    case ValueKind::address_pair:
      return "a network or an address, perhaps with a MAC, like 10.0.0.5@02:00:00:00:00:01";
    case ValueKind::via:
      return "a network and a next hop like 10.1.0.0/16 via 10.0.0.9";
    case ValueKind::dhcp_option:
      return "a code and its value in hex or in quotes, like 42 = 0a000001 or 66 = \"boot\"";
    case ValueKind::domain:
      return "a domain name like example.net";
    case ValueKind::message:
      return "an object";
  }
  return "a value";
}

std::string_view kind_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::boolean:
      return "a boolean";
    case ValueKind::number:
      return "a number";
    case ValueKind::text:
      return "a text";
    case ValueKind::enumeration:
      return "a known word";
    case ValueKind::bytes:
      return "bytes";
    case ValueKind::uuid:
      return "an id";
    case ValueKind::mac:
      return "a MAC address";
    case ValueKind::ip:
      return "an IP address";
    case ValueKind::prefix:
      return "a network prefix";
    case ValueKind::interface_address:
      return "an interface address";
    case ValueKind::name:
      return "a name";
    case ValueKind::interface:
      return "an interface name";
    case ValueKind::ip_protocol:
      return "an IP protocol";
    case ValueKind::ethertype:
      return "an ethertype";
    case ValueKind::port_range:
      return "a range of ports";
    case ValueKind::masked_mac:
      return "a MAC address with a mask";
    case ValueKind::tcp_flags:
      return "a set of TCP flags";
    case ValueKind::address_pair:
      return "an address pair";
    case ValueKind::via:
      return "a network with a next hop";
    case ValueKind::dhcp_option:
      return "a DHCP option";
    case ValueKind::domain:
      return "a domain name";
    case ValueKind::message:
      return "an object";
  }
  return "a value";
}

std::string_view placeholder(ValueKind kind) {
  switch (kind) {
    case ValueKind::boolean:
      return "true|false";
    case ValueKind::number:
      return "NUMBER";
    case ValueKind::text:
      return "TEXT";
    case ValueKind::enumeration:
      return "WORD";
    case ValueKind::bytes:
      return "0xHEX";
    case ValueKind::uuid:
      return "ID";
    case ValueKind::mac:
      return "MAC";
    case ValueKind::ip:
      return "ADDRESS";
    case ValueKind::prefix:
      return "PREFIX/LENGTH";
    case ValueKind::interface_address:
      return "ADDRESS/LENGTH";
    case ValueKind::name:
      return "NAME";
    case ValueKind::interface:
      return "INTERFACE";
    case ValueKind::ip_protocol:
      return "PROTOCOL";
    case ValueKind::ethertype:
      return "ETHERTYPE";
    case ValueKind::port_range:
      return "PORT[-PORT]";
    case ValueKind::masked_mac:
      return "MAC[/MASK]";
    case ValueKind::tcp_flags:
      return "+FLAG-FLAG";
    case ValueKind::address_pair:
      return "PREFIX[@MAC]";
    case ValueKind::via:
      return "PREFIX via ADDRESS";
    case ValueKind::dhcp_option:
      return "CODE = VALUE";
    case ValueKind::domain:
      return "DOMAIN";
    case ValueKind::message:
      return "OBJECT";
  }
  return "VALUE";
}

std::optional<std::string> stored_form(ValueKind kind, std::string_view text) {
  switch (kind) {
    case ValueKind::uuid: {
      const auto id = Uuid::parse(text);
      return id && !id->is_nil() ? std::optional(id->raw()) : std::nullopt;
    }
    case ValueKind::mac:
      return raw_of(MacAddr::parse(text));
    case ValueKind::ip:
      return raw_of(IpAddr::parse(text));
    case ValueKind::prefix: {
      const auto p = IpPrefix::parse(text);
      return p && p->network() == *p ? std::optional(p->raw()) : std::nullopt;
    }
    case ValueKind::interface_address:
      return raw_of(IpPrefix::parse(text));
    case ValueKind::name:
      return is_name(text) ? std::optional(std::string(text)) : std::nullopt;
    case ValueKind::interface:
      return is_interface(text) ? std::optional(std::string(text)) : std::nullopt;
    case ValueKind::text:
      return valid_utf8(text) ? std::optional(std::string(text)) : std::nullopt;
    case ValueKind::bytes:
      return parse_hex(text);
    case ValueKind::ip_protocol:
      return protocol_bytes(text);
    case ValueKind::ethertype:
      return ethertype_bytes(text);
    case ValueKind::port_range:
      return port_range_bytes(text);
    case ValueKind::masked_mac:
      return masked_mac_bytes(text);
    case ValueKind::tcp_flags:
      return tcp_flags_bytes(text);
    case ValueKind::address_pair:
      return address_pair_bytes(text);
    case ValueKind::via:
      return via_bytes(text);
    case ValueKind::dhcp_option:
      return dhcp_option_bytes(text);
    case ValueKind::domain:
      return domain_bytes(text);
    case ValueKind::boolean:
    case ValueKind::number:
    case ValueKind::enumeration:
    case ValueKind::message:
      break;
  }
  return std::nullopt;
}

std::string text_form(ValueKind kind, std::string_view stored) {
  switch (kind) {
    case ValueKind::uuid:
      if (const auto id = Uuid::from_bytes(stored)) return id->str();
      break;
    case ValueKind::mac:
      if (const auto mac = MacAddr::from_bytes(stored)) return mac->str();
      break;
    case ValueKind::ip:
      if (const auto ip = IpAddr::from_bytes(stored)) return ip->str();
      break;
    case ValueKind::prefix:
    case ValueKind::interface_address:
      if (const auto p = IpPrefix::from_bytes(stored)) return p->str();
      break;
    case ValueKind::name:
    case ValueKind::interface:
    case ValueKind::text:
      return std::string(stored);
    case ValueKind::ip_protocol:
      if (auto text = protocol_text(stored)) return *std::move(text);
      break;
    case ValueKind::ethertype:
      if (auto text = ethertype_text(stored)) return *std::move(text);
      break;
    case ValueKind::port_range:
      if (auto text = port_range_text(stored)) return *std::move(text);
      break;
    case ValueKind::masked_mac:
      if (auto text = masked_mac_text(stored)) return *std::move(text);
      break;
    case ValueKind::tcp_flags:
      if (auto text = tcp_flags_text(stored)) return *std::move(text);
      break;
    case ValueKind::address_pair:
      if (auto text = address_pair_text(stored)) return *std::move(text);
      break;
    case ValueKind::via:
      if (auto text = via_text(stored)) return *std::move(text);
      break;
    case ValueKind::dhcp_option:
      if (auto text = dhcp_option_text(stored)) return *std::move(text);
      break;
    case ValueKind::domain:
      if (auto text = domain_text(stored)) return *std::move(text);
      break;
    case ValueKind::bytes:
    case ValueKind::boolean:
    case ValueKind::number:
    case ValueKind::enumeration:
    case ValueKind::message:
      break;
  }
  return hex(stored);
}

bool is_stored_form(ValueKind kind, std::string_view stored) {
  switch (kind) {
    case ValueKind::bytes:
      return true;
    case ValueKind::text:
      return valid_utf8(stored);
    default: {
      const auto again = stored_form(kind, text_form(kind, stored));
      return again && *again == stored;
    }
  }
}

std::optional<uint32_t> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 10 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  if (value > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(value);
}

std::string particular_remedy(ValueKind kind, std::string_view text) {
  if (kind == ValueKind::prefix) {
    if (const auto p = IpPrefix::parse(text))
      return "it has host bits; the network is " + p->network().str();
  }
  if (kind == ValueKind::prefix || kind == ValueKind::interface_address) {
    if (const auto ip = IpAddr::parse(text)) {
      return "add a prefix length, like " + ip->str() + "/" + std::to_string(ip->bits());
    }
  }
  if (kind == ValueKind::ip) {
    if (const auto p = IpPrefix::parse(text))
      return "leave out the prefix length: " + p->addr.str();
  }
  switch (kind) {
    case ValueKind::name:
      return Uuid::parse(text) ? "a name must not look like an id" : "";
    case ValueKind::ip_protocol:
      return protocol_remedy(text);
    case ValueKind::ethertype:
      return ethertype_remedy(text);
    case ValueKind::port_range:
      return port_range_remedy(text);
    case ValueKind::masked_mac:
      return masked_mac_remedy(text);
    case ValueKind::tcp_flags:
      return tcp_flags_remedy(text);
    case ValueKind::address_pair:
      return address_pair_remedy(text);
    case ValueKind::via:
      return via_remedy(text);
    case ValueKind::dhcp_option:
      return dhcp_option_remedy(text);
    case ValueKind::domain:
      return domain_remedy(text);
    default:
      return {};
  }
}

}  // namespace plexus::codec
