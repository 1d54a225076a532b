// SPDX-License-Identifier: Apache-2.0
// ICMP errors of both families as connections see them: which packet an error quotes, and the error as it has to read on
// the other side of a translation: its own addresses, and addresses, ports and checksums of the packet it quotes (RFC 5508
// 4.2, RFC 4443 3). Quotes may be cut off anywhere. Pure functions; nothing is read outside the frame.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/flow_key.h"
#include "state/tuple.h"

namespace plexus::state {

/// Whether the packet is an ICMP error that quotes another: unreachable, source quench, time exceeded, parameter problem,
/// packet too big. A redirect is a matter of one link and none.
[[nodiscard]] bool is_icmp_error(const ParsedPacket& parsed);

/// The tuple of the packet that an error quotes, in the direction in which that was sent: the error answers it, so it
/// belongs to the connection with the reversed tuple in the error's own zone. Nothing when this is no error or the quote
/// does not say: cut off before the ports (TCP, UDP, SCTP: 4 bytes; ICMP echo: 6), a later fragment, not the error's family, an
/// error itself, more than 8 extension headers.
[[nodiscard]] std::optional<Tuple> quoted_tuple(const ParsedPacket& parsed,
                                                std::span<const uint8_t> frame);

struct ErrorTranslation {
  /// What the quoted packet was, and what it is to become. Of one family and protocol.
  Tuple quoted, becomes;
  /// Of the error itself; none: as it is.
  std::optional<IpAddr> src = {}, dst = {};
};

/// Of an error about a packet that had been sent as `sent` and was `delivered` when it met its end: what its sender is to
/// get. The error's own source stays, whoever on the way it was, unless that is the very machine that the packet went to: then
/// it is the address that the sender asked for.
[[nodiscard]] ErrorTranslation translation_of_error(const Tuple& delivered, const Tuple& sent,
                                                    const IpAddr& error_src);

/// Rewrites the error in place; its length stays. Checksums follow by difference, so that a wrong one stays wrong by as much: IPv4
/// headers, outer and quoted; the ICMP message; the quoted transport checksum where it is not cut off and not absent (UDP
/// over IPv4 with 0). Translating there and back gives the same bytes. False, and nothing is changed, when the error does not
/// quote `translation.quoted`.
bool translate_icmp_error(const ErrorTranslation& translation, const ParsedPacket& parsed,
                          std::span<uint8_t> frame);

}  // namespace plexus::state
