// SPDX-License-Identifier: Apache-2.0
// The dhcp and dhcp6 layers of the packet syntax. Private to the packet text files.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "packet/text_reader.h"

namespace plexus::text {

/// What stands behind "dhcp " or "dhcp6 ", as the UDP payload.
[[nodiscard]] std::vector<uint8_t> read_dhcp(TextReader& r);
[[nodiscard]] std::vector<uint8_t> read_dhcp6(TextReader& r);

/// The layer, "dhcp discover ...", of a UDP payload between these ports; none when it would not read back to the same bytes.
[[nodiscard]] std::optional<std::string> format_dhcp(uint16_t src_port, uint16_t dst_port,
                                                     std::span<const uint8_t> payload);

}  // namespace plexus::text
