// SPDX-License-Identifier: Apache-2.0
// What rules match on and services are told by, from the bytes that records hold (options.proto); nullopt: the bytes are no such value. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/records.h"

namespace plexus::store {

[[nodiscard]] std::optional<uint8_t> protocol_of(std::string_view raw);
[[nodiscard]] std::optional<uint16_t> ethertype_of(std::string_view raw);
[[nodiscard]] std::optional<model::PortRange> port_range_of(std::string_view raw);
[[nodiscard]] std::optional<model::MaskedMac> masked_mac_of(std::string_view raw);
[[nodiscard]] std::optional<model::TcpFlags> tcp_flags_of(std::string_view raw);
[[nodiscard]] std::optional<model::AddressPair> address_pair_of(std::string_view raw);
/// Without host bits.
[[nodiscard]] std::optional<IpPrefix> network_of(std::string_view raw);
/// A network and a next hop of its family.
[[nodiscard]] std::optional<std::pair<IpPrefix, IpAddr>> via_of(std::string_view raw);
[[nodiscard]] std::optional<model::DhcpOption> dhcp_option_of(std::string_view raw);
/// A name of at most 253 characters, in small letters.
[[nodiscard]] std::optional<std::string> domain_of(std::string_view raw);

}  // namespace plexus::store
