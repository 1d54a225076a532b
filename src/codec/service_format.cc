// SPDX-License-Identifier: Apache-2.0
#include "codec/service_format.h"

#include <algorithm>

#include "codec/format.h"
#include "packet/addr.h"

namespace plexus::codec {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

struct Via {
  IpPrefix network;
  IpAddr hop;
};

/// Also with host bits, and of two families.
std::optional<Via> parse_via(std::string_view text) {
  constexpr std::string_view kVia = " via ";
  const size_t at = text.find(kVia);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view left = trimmed(text.substr(0, at));
  auto network = IpPrefix::parse(left);
  if (const auto address = IpAddr::parse(left))
    network = IpPrefix{*address, static_cast<uint8_t>(address->bits())};
  const auto hop = IpAddr::parse(trimmed(text.substr(at + kVia.size())));
  if (!network || !hop) return std::nullopt;
  return Via{*network, *hop};
}

bool is_sound(const Via& via) {
  return via.network == via.network.network() && via.network.addr.family == via.hop.family;
}

std::string via_str(const Via& via) {
  return via.network.str() + " via " + via.hop.str();
}

}  // namespace

std::optional<std::string> via_bytes(std::string_view text) {
  const auto via = parse_via(text);
  if (!via || !is_sound(*via)) return std::nullopt;
  return via->network.raw() + via->hop.raw();
}

std::optional<std::string> via_text(std::string_view stored) {
  constexpr size_t kV4 = 5, kV6 = 17;
  const size_t network = stored.size() == kV4 + 4 ? kV4 : kV6;
  if (stored.size() <= network) return std::nullopt;
  const auto prefix = IpPrefix::from_bytes(stored.substr(0, network));
  const auto hop = IpAddr::from_bytes(stored.substr(network));
  if (!prefix || !hop || !is_sound({*prefix, *hop})) return std::nullopt;
  return via_str({*prefix, *hop});
}

std::string via_remedy(std::string_view text) {
  const auto via = parse_via(text);
  if (!via) {
    return IpPrefix::parse(text) || IpAddr::parse(text)
               ? "add the next hop, like " + std::string(text) + " via 10.0.0.9"
               : "";
  }
  if (via->network.addr.family != via->hop.family)
    return "the network and the next hop are of two families: name a next hop of the network's";
  if (is_sound(*via)) return "";
  return "it has host bits; meant is " + via_str({via->network.network(), via->hop});
}

namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> hex_value(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  if (text.empty() || text.size() % 2 != 0) return std::nullopt;
  std::string value;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit_of(text[i]), low = digit_of(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    value += static_cast<char>(high << 4 | low);
  }
  return value;
}

bool is_printable(char c) {
  return c >= ' ' && c <= '~';
}

std::optional<std::string> quoted_value(std::string_view text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      if (++i == text.size() || (text[i] != '"' && text[i] != '\\')) return std::nullopt;
    } else if (text[i] == '"' || !is_printable(text[i])) {
      return std::nullopt;
    }
    value += text[i];
  }
  return value;
}

struct OptionText {
  std::optional<uint32_t> code;
  std::string_view value;
};

std::optional<OptionText> split_option(std::string_view text) {
  const size_t at = text.find('=');
  if (at == std::string_view::npos) return std::nullopt;
  return OptionText{parse_number(trimmed(text.substr(0, at))), trimmed(text.substr(at + 1))};
}

}  // namespace

std::optional<std::string> dhcp_option_bytes(std::string_view text) {
  const auto option = split_option(text);
  if (!option || !option->code || *option->code == 0 || *option->code > 0xffff) return std::nullopt;
  auto value = quoted_value(option->value);
  if (!value) value = hex_value(option->value);
  if (!value || value->size() > kMaxDhcpOptionBytes) return std::nullopt;
  return std::string{static_cast<char>(*option->code >> 8), static_cast<char>(*option->code)} +
         *value;
}

std::optional<std::string> dhcp_option_text(std::string_view stored) {
  if (stored.size() < 2 || stored.size() > 2 + kMaxDhcpOptionBytes) return std::nullopt;
  const int code = static_cast<uint8_t>(stored[0]) << 8 | static_cast<uint8_t>(stored[1]);
  if (code == 0) return std::nullopt;
  stored.remove_prefix(2);
  std::string out = std::to_string(code) + " = ";
  if (std::all_of(stored.begin(), stored.end(), is_printable)) {
    out += '"';
    for (const char c : stored) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + '"';
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : stored) {
    out += kDigits[static_cast<uint8_t>(c) >> 4];
    out += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

std::string dhcp_option_remedy(std::string_view text) {
  const auto option = split_option(text);
  if (!option) return "";
  if (!option->code || *option->code == 0 || *option->code > 0xffff)
    return "the code is a number from 1 to 65535";
  const std::string code = std::to_string(*option->code) + " = ";
  if (option->value.empty()) return "write " + code + "\"\" for an empty value";
  // An address is what most options hold.
  if (const auto address = IpAddr::parse(option->value)) {
    std::string hex;
    const std::string raw = address->raw();
    for (const char c : raw) {
      static constexpr char kDigits[] = "0123456789abcdef";
      hex += kDigits[static_cast<uint8_t>(c) >> 4];
      hex += kDigits[static_cast<uint8_t>(c) & 15];
    }
    return "write the bytes of the address: " + code + hex;
  }
  auto value = quoted_value(option->value);
  if (!value) value = hex_value(option->value);
  if (value) return "a value has at most " + std::to_string(kMaxDhcpOptionBytes) + " bytes";
  if (option->value.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos)
    return "two hex digits make a byte: write " + code + "0" + std::string(option->value);
  if (option->value.find('"') == std::string_view::npos &&
      std::all_of(option->value.begin(), option->value.end(), is_printable)) {
    return "put text in double quotes: " + code + "\"" + std::string(option->value) + "\"";
  }
  return "";
}

std::optional<std::string> domain_bytes(std::string_view text) {
  constexpr size_t kMaxDomain = 253, kMaxLabel = 63;  // RFC 1035 2.3.4, without the root's dot
  if (text.empty() || text.size() > kMaxDomain) return std::nullopt;
  std::string out;
  size_t label = 0;
  for (const char c : text) {
    if (c == '.') {
      if (label == 0) return std::nullopt;
      label = 0;
    } else if (++label > kMaxLabel || (digit_of(c) < 0 && !(c >= 'a' && c <= 'z') &&
                                       !(c >= 'A' && c <= 'Z') && c != '-' && c != '_')) {
      return std::nullopt;
    }
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return label == 0 ? std::nullopt : std::optional(out);
}

std::optional<std::string> domain_text(std::string_view stored) {
  auto again = domain_bytes(stored);
  return again && *again == stored ? std::move(again) : std::nullopt;
}

std::string domain_remedy(std::string_view text) {
  if (text.size() > 1 && text.back() == '.' && domain_bytes(text.substr(0, text.size() - 1)))
    return "leave out the dot at the end";
  return "";
}

}  // namespace plexus::codec
