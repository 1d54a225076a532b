// SPDX-License-Identifier: Apache-2.0
// What the fragments of one packet have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "packet/flow_key.h"

namespace plexus {

/// The identification of a fragment (RFC 791: 16 bits, RFC 8200: 32); nothing: `frame`, of which `parsed` tells, is no fragment.
[[nodiscard]] std::optional<uint32_t> fragment_identification(const ParsedPacket& parsed,
                                                              std::span<const uint8_t> frame);

}  // namespace plexus
