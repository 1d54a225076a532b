// SPDX-License-Identifier: Apache-2.0
// Tuple: which connection a packet belongs to, and in which direction: addresses, ports, protocol. And what a packet is to
// connection tracking: a packet of a connection, an error about one, or neither. Values and pure functions; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "flow/actions.h"
#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus::state {

/// An ICMP echo has no ports: what a port is to TCP, the identifier is to the side that asks. So a request and its answer
/// are the two directions of one connection, and two machines that ping each other with the same identifier have two.
enum class EchoRole : uint8_t { none = 0, request = 1, reply = 2 };

struct Tuple {
  IpAddr src, dst;  ///< of one family
  /// TCP, UDP, SCTP: ports. ICMP echo: the identifier at the side that asks (src_port of a request, dst_port of a
  /// reply), zero at the other. Everything else: zero.
  uint16_t src_port = 0, dst_port = 0;
  uint8_t protocol = 0;
  EchoRole echo = EchoRole::none;

  bool operator==(const Tuple&) const = default;
  std::strong_ordering operator<=>(const Tuple&) const = default;
  /// Of the packets that answer. reversed(reversed(t)) == t.
  [[nodiscard]] Tuple reversed() const;
  /// "tcp 10.0.0.1:1234 > 10.0.0.2:80", "icmp echo request 10.0.0.1 > 10.0.0.2 id 7".
  [[nodiscard]] std::string str() const;
};

/// Whether every packet has such a tuple: one family, ports only where the protocol has some.
[[nodiscard]] bool is_sound(const Tuple& tuple);
/// TCP, UDP and SCTP.
[[nodiscard]] bool has_ports(uint8_t protocol);

enum class SightingKind : uint8_t {
  /// Belongs to no connection: not IP, broken, multicast, to all on a link, from nobody, neighbour discovery, later fragment.
  untracked,
  tracked,
  error,  ///< ICMP error about a packet of a connection
};

/// What connection tracking sees of one packet.
struct Sighting {
  SightingKind kind = SightingKind::untracked;
  Tuple tuple;  ///< tracked: its own. error: that of the packet that it quotes, as that was sent
  uint8_t tcp_flags = 0;
};

/// An error whose quote does not say which connection it is about (cut off before the ports, a later fragment), or that goes to
/// somebody else than it quotes, has a tuple without a family: nothing is found by it. A later fragment has no ports: what its first fragment was, a
/// cache of fragments must say.
[[nodiscard]] Sighting sighting_of(const ParsedPacket& parsed, std::span<const uint8_t> frame);

/// What makes a packet of the tuple `before` one of `after`: same protocol and family.
[[nodiscard]] Rewrite rewrite_between(const Tuple& before, const Tuple& after);

}  // namespace plexus::state
