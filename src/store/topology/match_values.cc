// SPDX-License-Identifier: Apache-2.0
#include "store/topology/match_values.h"

namespace plexus::store {
namespace {

constexpr uint16_t kLeastEthertype = 0x0600;  // below it is a length (IEEE 802.3)
constexpr size_t kMacBytes = 6;

uint16_t number_at(std::string_view raw, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(raw[at]) << 8 |
                               static_cast<uint8_t>(raw[at + 1]));
}

}  // namespace

std::optional<uint8_t> protocol_of(std::string_view raw) {
  if (raw.size() != 1) return std::nullopt;
  return static_cast<uint8_t>(raw[0]);
}

std::optional<uint16_t> ethertype_of(std::string_view raw) {
  if (raw.size() != 2 || number_at(raw, 0) < kLeastEthertype) return std::nullopt;
  return number_at(raw, 0);
}

std::optional<model::PortRange> port_range_of(std::string_view raw) {
  if (raw.size() != 4) return std::nullopt;
  const model::PortRange range{number_at(raw, 0), number_at(raw, 2)};
  if (range.first > range.last) return std::nullopt;
  return range;
}

std::optional<model::MaskedMac> masked_mac_of(std::string_view raw) {
  if (raw.size() != 2 * kMacBytes) return std::nullopt;
  const model::MaskedMac masked{*MacAddr::from_bytes(raw.substr(0, kMacBytes)),
                                *MacAddr::from_bytes(raw.substr(kMacBytes))};
  if (masked.mask.is_zero()) return std::nullopt;
  for (size_t i = 0; i < kMacBytes; ++i) {
    if ((masked.mac.bytes[i] & ~masked.mask.bytes[i]) != 0) return std::nullopt;
  }
  return masked;
}

std::optional<model::TcpFlags> tcp_flags_of(std::string_view raw) {
  if (raw.size() != 2) return std::nullopt;
  const model::TcpFlags flags{static_cast<uint8_t>(raw[0]), static_cast<uint8_t>(raw[1])};
  if (flags.looked_at == 0 || (flags.set & ~flags.looked_at) != 0) return std::nullopt;
  return flags;
}

std::optional<IpPrefix> network_of(std::string_view raw) {
  const auto network = IpPrefix::from_bytes(raw);
  if (!network || *network != network->network()) return std::nullopt;
  return network;
}

std::optional<model::AddressPair> address_pair_of(std::string_view raw) {
  // A network of 5 or 17 bytes, then perhaps a MAC.
  constexpr size_t kV4 = 5, kV6 = 17;
  const bool with_mac = raw.size() == kV4 + kMacBytes || raw.size() == kV6 + kMacBytes;
  const size_t length = raw.size() - (with_mac ? kMacBytes : 0);
  const auto network = network_of(raw.substr(0, length));
  if (!network) return std::nullopt;
  model::AddressPair pair{*network, std::nullopt};
  if (with_mac) pair.mac = MacAddr::from_bytes(raw.substr(length));
  return pair;
}

std::optional<std::pair<IpPrefix, IpAddr>> via_of(std::string_view raw) {
  constexpr size_t kV4 = 5, kV6 = 17;
  const size_t length = raw.size() == kV4 + 4 ? kV4 : kV6;
  if (raw.size() <= length) return std::nullopt;
  const auto network = network_of(raw.substr(0, length));
  const auto hop = IpAddr::from_bytes(raw.substr(length));
  if (!network || !hop || network->addr.family != hop->family) return std::nullopt;
  return std::pair(*network, *hop);
}

std::optional<model::DhcpOption> dhcp_option_of(std::string_view raw) {
  constexpr size_t kCode = 2, kMostBytes = 255;  // a length of one byte: RFC 2132 2
  if (raw.size() < kCode || raw.size() > kCode + kMostBytes || number_at(raw, 0) == 0)
    return std::nullopt;
  model::DhcpOption option{number_at(raw, 0), {}};
  for (const char c : raw.substr(kCode)) option.value.push_back(static_cast<uint8_t>(c));
  return option;
}

std::optional<std::string> domain_of(std::string_view raw) {
  constexpr size_t kMostBytes = 253, kMostInLabel = 63;  // RFC 1035 2.3.4
  if (raw.size() > kMostBytes) return std::nullopt;
  size_t label = 0;
  for (const char c : raw) {
    if (c == '.') {
      if (label == 0) return std::nullopt;
      label = 0;
    } else {
      const bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
      if (!fits || ++label > kMostInLabel) return std::nullopt;
    }
  }
  return label == 0 ? std::nullopt : std::optional(std::string(raw));
}

}  // namespace plexus::store
