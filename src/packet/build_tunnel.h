// SPDX-License-Identifier: Apache-2.0
// Builders of tunnelled and SCTP packets, complete with lengths and checksums, for tests, scenarios and fuzzers.
#pragma once

#include "packet/build.h"

namespace plexus {

/// VXLAN (RFC 7348) in UDP from `src_port` to port 4789. `vni`: 24 bits.
[[nodiscard]] Frame vxlan_packet(const PacketSpec& outer, uint16_t src_port, uint32_t vni,
                                 std::span<const uint8_t> frame);

struct GreSpec {
  uint16_t protocol = 0;  ///< EtherType of the payload; GreView::kEthernet for a frame
  std::optional<uint32_t> key{}, sequence{};
  bool checksum = false;
};
/// GRE (RFC 2784, RFC 2890) in IP.
[[nodiscard]] Frame gre_packet(const PacketSpec& outer, const GreSpec& gre,
                               std::span<const uint8_t> payload);
/// The GRE header and its payload alone, checksum included.
[[nodiscard]] std::vector<uint8_t> gre_message(const GreSpec& gre,
                                               std::span<const uint8_t> payload);

/// SCTP common header (RFC 9260 3.1) and chunks as they are given.
[[nodiscard]] Frame sctp_packet(const PacketSpec& spec, uint16_t src_port, uint16_t dst_port,
                                uint32_t verification_tag, std::span<const uint8_t> chunks = {});

}  // namespace plexus
