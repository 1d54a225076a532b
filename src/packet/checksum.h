// SPDX-License-Identifier: Apache-2.0
// Internet checksums: the sum of RFC 1071, the incremental update of RFC 1624, pseudo headers (RFC
// 793, RFC 768, RFC 8200 8.1) and the partial form that offloading guests leave in their packets.
// Pure functions.
//
// Not covered: protocols other than TCP, UDP, ICMP, ICMPv6 (of SCTP only the CRC32c itself); the
// final destination of an IPv6 routing header (the pseudo header takes the destination of the IPv6
// header).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus {

/// Adds the 16-bit words of `bytes` to a running, unfolded sum; an odd last byte counts as the high
/// half of a word.
[[nodiscard]] uint64_t checksum_add(uint64_t sum, std::span<const uint8_t> bytes);
/// Folds carries into 16 bits; not complemented. 0 only when nothing but zero was added.
[[nodiscard]] uint16_t checksum_fold(uint64_t sum);
/// The checksum of `bytes` (folded, complemented).
[[nodiscard]] uint16_t internet_checksum(std::span<const uint8_t> bytes);
/// The checksum after one covered word changed (RFC 1624, equation 3). The same as computed anew, as long as the covered
/// bytes are not all zero afterwards: then it is 0 instead of 0xffff.
[[nodiscard]] uint16_t checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word);
/// The same for a changed run of words; both spans have the same even size.
[[nodiscard]] uint16_t checksum_update(uint16_t checksum, std::span<const uint8_t> old_bytes,
                                       std::span<const uint8_t> new_bytes);
/// Unfolded sum of the pseudo header of either family. `length`: of the transport header and its
/// payload, in bytes.
[[nodiscard]] uint64_t pseudo_header_sum(const IpAddr& src, const IpAddr& dst, uint8_t protocol,
                                         uint32_t length);

/// What the checksum field of an SCTP packet holds, read as a big-endian number (RFC 9260, appendix A: CRC32c over header,
/// with the field zero, and chunks). `message` has at least the 12 bytes of the header; what the field holds is ignored.
[[nodiscard]] uint32_t sctp_checksum(std::span<const uint8_t> message);

/// Where a parsed packet keeps its transport checksum: offset in the frame. None for other
/// protocols, later fragments and packets with a parse error.
[[nodiscard]] std::optional<size_t> transport_checksum_offset(const ParsedPacket& parsed);
/// True when the protocol's checksum covers the pseudo header (TCP, UDP, ICMPv6).
[[nodiscard]] bool covers_pseudo_header(const FlowKey& key);

/// True when the IPv4 header checksum is right; true for everything that is not IPv4.
[[nodiscard]] bool ipv4_checksum_ok(const ParsedPacket& parsed, std::span<const uint8_t> frame);
/// True when the TCP, UDP, ICMP or ICMPv6 checksum is right and complete. Also true where there is
/// nothing to check: other protocols, fragments (the rest of the datagram is elsewhere), UDP over
/// IPv4 with checksum 0.
[[nodiscard]] bool transport_checksum_ok(const ParsedPacket& parsed,
                                         std::span<const uint8_t> frame);
/// What the checksum field of a packet with a partial checksum holds: the folded, uncomplemented pseudo-header sum. Nothing
/// where there is no such checksum, and in fragments.
[[nodiscard]] std::optional<uint16_t> partial_checksum_of(const ParsedPacket& parsed,
                                                          std::span<const uint8_t> frame);
/// True when the checksum field of TCP, UDP or ICMPv6 holds the folded, uncomplemented
/// pseudo-header sum and nothing else: what a guest leaves when the checksum is to be completed by
/// hardware. A complete checksum has the same value by chance once in 65,536: ask only about
/// packets of which the complete form is not known to be right.
[[nodiscard]] bool transport_checksum_is_partial(const ParsedPacket& parsed,
                                                 std::span<const uint8_t> frame);
/// Computes the transport checksum over the whole message and stores it, whatever was there. False
/// when the packet has none or is a fragment; then nothing changes.
bool complete_checksum(const ParsedPacket& parsed, std::span<uint8_t> frame);

}  // namespace plexus
