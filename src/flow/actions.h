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
  bool pop_vlan = false;                   ///< takes the outermost VLAN tag off, if there is one
  std::optional<uint16_t>
      push_vlan;  ///< after that, an 802.1Q tag: PCP, DEI and VLAN id as in a TCI

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
/// The packet, an ARP request or a neighbour solicitation, becomes its answer (neighbour_answer() in packet/build.h) and
/// goes back out of the local port it came by. What neighbour_answer() does not answer is an upcall. A copy of this kind is
/// the only one of its flow, without a rewrite.
struct NeighbourAnswer {
  MacAddr mac;  ///< who has the address that is asked for
  IpAddr
      target;  ///< that address: a solicitation's is not in the flow key, so a class may hold others. IPv4: ARP
  bool router = false;  ///< an IPv6 router has it
  bool operator==(const NeighbourAnswer&) const = default;
};
using Output = std::variant<LocalOutput, TunnelOutput, NeighbourAnswer>;

struct Copy {
  Rewrite rewrite;
  Output output;
  bool operator==(const Copy&) const = default;
};

struct Actions {
  std::vector<Copy> copies;
  /// Only for packets of at most this many bytes behind the Ethernet header and its tags (of an offloaded packet: each of
  /// the packets it stands for); larger ones are upcalls. 0: of any size.
  uint16_t mtu = 0;
  /// Only so many packets a second of all that enter by the port and have a limit; the others are dropped (storm_limit). 0: all.
  uint32_t storm_limit = 0;
  /// Only for packets without a second VLAN tag, as those of whose copies the first one is taken off are anyhow.
  bool one_tag = false;
  bool operator==(const Actions&) const = default;
  [[nodiscard]] bool drops() const { return copies.empty(); }
  /// Not null when the packets are answered.
  [[nodiscard]] const NeighbourAnswer* answer() const {
    return copies.size() == 1 ? std::get_if<NeighbourAnswer>(&copies.front().output) : nullptr;
  }
};

/// The same copies in whatever order, for the same packets.
[[nodiscard]] bool same_effect(const Actions& a, const Actions& b);

/// Whether a packet that matches a flow is one its actions are for: small enough, without a second VLAN tag when they take
/// one off, one that can be answered when they answer. All others are upcalls. `gso_size`: as packet_size() has it.
[[nodiscard]] bool fits(const Actions& actions, const ParsedPacket& parsed,
                        std::span<const uint8_t> frame, uint16_t gso_size);

/// One line for people, in the packet syntax: "eth.dst=aa:… ttl-1 -> port 17; -> tunnel 192.0.2.2 key 0x12"; "drop".
[[nodiscard]] std::string format(const Actions& actions);

/// `frame` with the rewrite applied, VLAN tags included; the rest as apply_rewrite().
[[nodiscard]] std::vector<uint8_t> rewritten(const Rewrite& rewrite, const ParsedPacket& parsed,
                                             std::span<const uint8_t> frame,
                                             bool partial_checksum = false);

/// Applies a rewrite, its VLAN tags excepted, to the bytes in place, checksums included (complete ones; RFC 1624 updates). `parsed` describes `frame`.
/// Partial transport checksums (the pseudo-header sum only, as offloading guests leave them) stay partial when
/// `partial_checksum`.
void apply_rewrite(const Rewrite& rewrite, const ParsedPacket& parsed, std::span<uint8_t> frame,
                   bool partial_checksum = false);

}  // namespace plexus
