// SPDX-License-Identifier: Apache-2.0
#include "packet/text_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace plexus {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

}  // namespace

Result<std::vector<std::vector<TextToken>>> tokenize(std::string_view text, char separator) {
  std::vector<std::vector<TextToken>> lists(1);
  for (size_t i = 0; i < text.size();) {
    if (is_blank(text[i])) {
      ++i;
    } else if (text[i] == separator) {
      lists.emplace_back();
      ++i;
    } else if (text[i] == '"') {
      TextToken token{{}, true};
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        token.text += text[i];
      }
      if (i == text.size())
        return Error{ErrorCode::invalid, fmt::format("\"{}: expected a closing quote", token.text)};
      ++i;
      lists.back().push_back(std::move(token));
    } else {
      const size_t start = i;
      while (i < text.size() && !is_blank(text[i]) && text[i] != separator && text[i] != '"') ++i;
      lists.back().push_back({std::string(text.substr(start, i - start)), false});
    }
  }
  return lists;
}

std::optional<uint64_t> parse_number(std::string_view text, uint64_t max) {
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  }
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || ec != std::errc{} || stop != end || value > max) return std::nullopt;
  return value;
}

std::optional<std::vector<uint8_t>> parse_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<uint8_t> out;
  out.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    uint8_t byte = 0;
    const auto [stop, ec] = std::from_chars(&text[i], text.data() + i + 2, byte, 16);
    if (ec != std::errc{} || stop != text.data() + i + 2) return std::nullopt;
    out.push_back(byte);
  }
  return out;
}

std::string format_hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string_view TextReader::word(std::string_view expected) {
  if (!ok()) return {};
  if (next_ == tokens_.size()) {
    error_ =
        Error{ErrorCode::invalid, fmt::format("{}: ends too early: expected {}", where_, expected)};
    return {};
  }
  return tokens_[next_++].text;
}

std::string_view TextReader::field(std::string_view expected) {
  const std::string_view name = word(expected);
  if (!ok()) return {};
  if (std::find(fields_.begin(), fields_.end(), name) != fields_.end()) {
    fail(name, "each field once");
    return {};
  }
  fields_.push_back(name);
  return name;
}

bool TextReader::accept(std::string_view text) {
  if (!more() || tokens_[next_].quoted || tokens_[next_].text != text) return false;
  ++next_;
  return true;
}

void TextReader::expect(std::string_view text) {
  const std::string quoted = fmt::format("\"{}\"", text);
  const std::string_view got = word(quoted);
  if (ok() && got != text) fail(got, quoted);
}

uint64_t TextReader::number(std::string_view name, uint64_t max) {
  const std::string expected = fmt::format("a number from 0 to {} for {}", max, name);
  const std::string_view got = word(expected);
  if (!ok()) return 0;
  const auto value = parse_number(got, max);
  if (!value) fail(got, expected);
  return value.value_or(0);
}

MacAddr TextReader::mac(std::string_view name) {
  const std::string expected = fmt::format("a MAC address (aa:bb:cc:dd:ee:ff) for {}", name);
  const std::string_view got = word(expected);
  if (!ok()) return {};
  const auto value = MacAddr::parse(got);
  if (!value) fail(got, expected);
  return value.value_or(MacAddr{});
}

IpAddr TextReader::ip(std::string_view name, IpFamily family) {
  const std::string expected = fmt::format("an {} address for {}",
                                           family == IpFamily::v4   ? "IPv4"
                                           : family == IpFamily::v6 ? "IPv6"
                                                                    : "IPv4 or IPv6",
                                           name);
  const std::string_view got = word(expected);
  if (!ok()) return {};
  const auto value = IpAddr::parse(got);
  if (!value || (family != IpFamily::none && value->family != family)) {
    fail(got, expected);
    return {};
  }
  return *value;
}

std::vector<uint8_t> TextReader::hex(std::string_view name) {
  const std::string expected = fmt::format("pairs of hexadecimal digits for {}", name);
  const std::string_view got = word(expected);
  if (!ok()) return {};
  auto value = parse_hex(got);
  if (!value) {
    fail(got, expected);
    return {};
  }
  return *std::move(value);
}

void TextReader::fail(std::string_view token, std::string_view expected) {
  if (ok())
    error_ =
        Error{ErrorCode::invalid, fmt::format("{}: \"{}\": expected {}", where_, token, expected)};
}

void TextReader::fail_layer(std::string_view what) {
  if (ok()) error_ = Error{ErrorCode::invalid, fmt::format("{}: {}", where_, what)};
}

}  // namespace plexus
