// SPDX-License-Identifier: Apache-2.0
// The canonical text of what services are told by, and back: networks with a next hop, DHCP options, domain names. The
// stored forms are those of options.proto. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace plexus::codec {

/// What one option can hold: DHCPv4 counts in a byte (RFC 2132 2).
inline constexpr size_t kMaxDhcpOptionBytes = 255;

// text -> stored bytes; nullopt: the text is no such value.

/// "10.1.0.0/16 via 10.0.0.9"; no host bits, one family.
[[nodiscard]] std::optional<std::string> via_bytes(std::string_view text);
/// `42 = 0a000001`, `66 = "boot.example.net"`: a code from 1 to 65535, then hex digits or text in double quotes, where \" and
/// \\ stand for " and \. At most kMaxDhcpOptionBytes.
[[nodiscard]] std::optional<std::string> dhcp_option_bytes(std::string_view text);
/// Labels of 1 to 63 letters, digits, - and _, joined by dots; stored with small letters.
[[nodiscard]] std::optional<std::string> domain_bytes(std::string_view text);

// stored bytes -> canonical text; nullopt: the bytes are no such value.

[[nodiscard]] std::optional<std::string> via_text(std::string_view stored);
/// In quotes when all of the value is printable ASCII, else in hex.
[[nodiscard]] std::optional<std::string> dhcp_option_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> domain_text(std::string_view stored);

// What to do about a text that was refused, when more can be said than what is expected; else empty.

[[nodiscard]] std::string via_remedy(std::string_view text);
[[nodiscard]] std::string dhcp_option_remedy(std::string_view text);
[[nodiscard]] std::string domain_remedy(std::string_view text);

}  // namespace plexus::codec
