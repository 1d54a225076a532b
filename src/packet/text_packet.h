// SPDX-License-Identifier: Apache-2.0
// TextPacket: a packet text after reading, before it becomes bytes. Private to the packet text files: text_parse.cc reads
// layers into it, text_assemble.cc writes it as a frame.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "packet/build.h"

namespace plexus::text {

using ByteVector = std::vector<uint8_t>;

inline constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;

/// Upper-layer protocol and EtherType when nothing says one: reserved for experiments (RFC 3692, IEEE 802).
inline constexpr uint8_t kDefaultProtocol = 253;
inline constexpr uint16_t kDefaultEtherType = 0x88b5;

/// How a checksum field is filled.
struct Sum {
  enum class Kind : uint8_t { computed, partial, given } kind = Kind::computed;
  uint32_t value = 0;
};

struct EthLayer {
  bool given = false;
  std::optional<MacAddr> src, dst;
  std::optional<uint16_t> type;
};
struct VlanLayer {
  uint16_t tpid = eth_type::kVlan, tci = 0;
};
struct ArpLayer {
  uint16_t operation = 0;
  IpAddr sender, target;
  std::optional<MacAddr> sha, tha;
};
struct FragmentField {
  uint16_t offset = 0;  // bytes
  bool more = false;
};
struct IpLayer {
  IpAddr src, dst;
  std::optional<uint8_t> ttl, protocol;
  uint8_t tos = 0;
  // IPv4
  uint16_t id = 0;
  bool df = false, reserved = false;
  FragmentField fragment;
  ByteVector options;
  Sum sum;
  // IPv6
  uint32_t flow_label = 0;
};
/// An IPv6 extension header: everything but its next-header byte.
struct ExtensionLayer {
  uint8_t type = 0;
  ByteVector rest;
};
struct TransportLayer {
  uint8_t protocol = 0;
  ByteVector header;  // checksum zero; of GRE: the flags tell whether it has one
  size_t checksum_at = 0;
  std::optional<uint16_t> udp_length;
  uint8_t default_ttl = kDefaultTtl;
  Sum sum;
};
struct TextPacket {
  EthLayer eth;
  std::vector<VlanLayer> vlans;
  std::optional<ArpLayer> arp;
  std::optional<IpLayer> ip;
  std::vector<ExtensionLayer> extensions;
  std::optional<TransportLayer> transport;
  ByteVector payload, pad;
};

/// The frame; lengths and checksums computed where the text left them out. Fails when the IP packet would be too long.
[[nodiscard]] Result<Frame> assemble(const TextPacket& packet);

}  // namespace plexus::text
