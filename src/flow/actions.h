// SPDX-License-Identifier: Apache-2.0
// What a flow does with its packets: a list of copies, each with its rewrite of the packet as it came and its
// way out. An empty list drops. Rewrites are relative to the packet as received, never to an earlier copy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus {

/// Header fields to change. Checksums follow. A field that the packet does not have is left alone.
struct Rewrite {
  std::optional<MacAddr> eth_src, eth_dst;
  std::optional<IpAddr> ip_src, ip_dst;    ///< same family as the packet
  std::optional<uint16_t> tp_src, tp_dst;  ///< TCP, UDP ports; ICMP identifier as tp_src
  std::optional<uint8_t> dscp;             ///< 6 bits; ECN is kept
  uint8_t ttl_decrement = 0;               ///< the class guarantees TTL > this

  bool operator==(const Rewrite&) const = default;
  [[nodiscard]] bool empty() const { return *this == Rewrite{}; }
};

struct LocalOutput {
  DpPort port;
  bool operator==(const LocalOutput&) const = default;
};
struct TunnelOutput {
  IpAddr remote;     ///< the egress host's tunnel address
  uint32_t key = 0;  ///< VNI on the wire, the egress host's own number; 24 bits
  bool operator==(const TunnelOutput&) const = default;
};
using Output = std::variant<LocalOutput, TunnelOutput>;

struct Copy {
  Rewrite rewrite;
  Output output;
  bool operator==(const Copy&) const = default;
};

struct Actions {
  std::vector<Copy> copies;
  bool operator==(const Actions&) const = default;
  [[nodiscard]] bool drops() const { return copies.empty(); }
};

/// One line for people, in the packet syntax: "eth.dst=aa:… ttl-1 -> port 17; -> tunnel 192.0.2.2 key 0x12"; "drop".
[[nodiscard]] std::string format(const Actions& actions);

/// Applies a rewrite to the bytes, checksums included (complete ones; RFC 1624 updates). `parsed` describes `frame`.
/// Partial transport checksums (the pseudo-header sum only, as offloading guests leave them) stay partial when
/// `partial_checksum`.
void apply_rewrite(const Rewrite& rewrite, const ParsedPacket& parsed, std::span<uint8_t> frame,
                   bool partial_checksum = false);

}  // namespace plexus
