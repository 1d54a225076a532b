// SPDX-License-Identifier: Apache-2.0
// The canonical text of a field's value and back: what (plexus.v1.format) means, and how numbers, booleans and enums
// are written. Records hold bytes, everybody else sees this text; parse(format(x)) == x.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plexus::codec {

/// What kind of value a field holds, beyond its protobuf type.
enum class ValueKind : uint8_t {
  boolean,
  number,  ///< uint32
  text,    ///< a string without a format
  enumeration,
  bytes,  ///< bytes without a format: hexadecimal
  uuid,
  mac,
  ip,
  prefix,             ///< no host bits
  interface_address,  ///< host bits meant
  name,
  interface,
  ip_protocol,
  ethertype,
  port_range,
  masked_mac,
  tcp_flags,
  address_pair,
  via,
  dhcp_option,
  domain,
  message,
};

/// What a person must write: "six bytes like 02:00:00:00:00:01".
[[nodiscard]] std::string_view expected_form(ValueKind kind);
/// What it is called: "a MAC address".
[[nodiscard]] std::string_view kind_name(ValueKind kind);
/// The placeholder in help texts: "MAC", "ADDRESS/LENGTH".
[[nodiscard]] std::string_view placeholder(ValueKind kind);

/// The stored bytes of the formatted kinds (uuid .. domain, text and bytes); nullopt if the text is not such a value.
[[nodiscard]] std::optional<std::string> stored_form(ValueKind kind, std::string_view text);

/// The text of stored bytes. Bytes that are no such value (a newer or a broken writer) come out as hexadecimal with 0x.
[[nodiscard]] std::string text_form(ValueKind kind, std::string_view stored);

/// Whether stored bytes are a value of that kind.
[[nodiscard]] bool is_stored_form(ValueKind kind, std::string_view stored);

/// Decimal digits, no sign, no leading zeros, below 2^32.
[[nodiscard]] std::optional<uint32_t> parse_number(std::string_view text);

/// What to do about a text that stored_form() refused, when more can be said than expected_form(): for host bits under
/// a prefix, names that look like ids. Empty otherwise.
[[nodiscard]] std::string particular_remedy(ValueKind kind, std::string_view text);

}  // namespace plexus::codec
