// SPDX-License-Identifier: Apache-2.0
// The canonical text of what rules match on, and back: protocols, ethertypes, ranges of ports, MACs with masks, TCP flags,
// address pairs. The stored forms are those of options.proto. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace plexus::codec {

// text -> stored bytes; nullopt: the text is no such value. Letters of either case are taken.

/// "tcp", or a number below 256.
[[nodiscard]] std::optional<std::string> protocol_bytes(std::string_view text);
/// "ipv4", "0x88cc"; no length (below 0x0600), no number without 0x: 8100 could mean both.
[[nodiscard]] std::optional<std::string> ethertype_bytes(std::string_view text);
/// "80", "8000-8080".
[[nodiscard]] std::optional<std::string> port_range_bytes(std::string_view text);
/// "02:00:00:00:00:01", or with "/" and the mask or the number of its leading one bits. Neither a mask of zeros nor a bit of
/// the address outside the mask.
[[nodiscard]] std::optional<std::string> masked_mac_bytes(std::string_view text);
/// "+syn-ack": names with + (must be set) or - (must not be set); without a sign at the start: +.
[[nodiscard]] std::optional<std::string> tcp_flags_bytes(std::string_view text);
/// "10.0.0.0/24", "10.0.0.5", either with "@" and a MAC. No host bits.
[[nodiscard]] std::optional<std::string> address_pair_bytes(std::string_view text);

// stored bytes -> canonical text; nullopt: the bytes are no such value.

[[nodiscard]] std::optional<std::string> protocol_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> ethertype_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> port_range_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> masked_mac_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> tcp_flags_text(std::string_view stored);
[[nodiscard]] std::optional<std::string> address_pair_text(std::string_view stored);

// What to do about a text that was refused, when more can be said than what is expected; else empty.

[[nodiscard]] std::string protocol_remedy(std::string_view text);
[[nodiscard]] std::string ethertype_remedy(std::string_view text);
[[nodiscard]] std::string port_range_remedy(std::string_view text);
[[nodiscard]] std::string masked_mac_remedy(std::string_view text);
[[nodiscard]] std::string tcp_flags_remedy(std::string_view text);
[[nodiscard]] std::string address_pair_remedy(std::string_view text);

}  // namespace plexus::codec
