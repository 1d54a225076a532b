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

}  // namespace plexus::store
