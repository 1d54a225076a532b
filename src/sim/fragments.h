// SPDX-License-Identifier: Apache-2.0
// Packets cut to a size: those that a router passes on, and those that it makes.
#pragma once

#include <span>
#include <vector>

#include "packet/build.h"
#include "packet/flow_key.h"
#include "sim/simulate.h"

namespace plexus::sim {

/// The IPv4 packets that `frame` stands for, each in fragments of at most `mtu` bytes of IP: a large offloaded frame is cut into its
/// TCP or UDP packets first, and checksums that were left to the network card are completed. A fragment is cut further (RFC 791
/// 3.2). Empty when `mtu` leaves no room, it ends where no packet does, or it is no IPv4 packet.
[[nodiscard]] std::vector<Frame> fragments_of(const ParsedPacket& parsed,
                                              std::span<const uint8_t> frame,
                                              const OffloadLeft& offload, uint32_t mtu);

/// A packet that we send ourselves, IPv4 or IPv6, in fragments with an identification of its own.
[[nodiscard]] std::vector<Frame> own_fragments(Frame frame, uint32_t mtu);

/// The packets that a large offloaded IPv4 frame stands for, each complete with lengths and checksums, as a network card
/// makes them; the frame itself, complete, when it is not larger than `gso_size` allows or no TCP or UDP.
[[nodiscard]] std::vector<Frame> segments_of(const ParsedPacket& parsed,
                                             std::span<const uint8_t> frame, uint16_t gso_size);

}  // namespace plexus::sim
