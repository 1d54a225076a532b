// SPDX-License-Identifier: Apache-2.0
// The one packet syntax: scenarios, `plexus trace`, logs and flow dumps write packets this way, and read them back. A packet is
// its layers, outermost first, with " | " between them (docs/packet-syntax.md):
//
//   eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | vlan 12 | ipv4 10.0.1.10 > 10.0.2.10 ttl 64 | udp 1000 > 53 | payload "hello"
//
// For every frame f: parse_frame(format_frame(f)) == f. Lengths and checksums are computed when a text leaves them
// out; format_frame prints only those that differ from the computed ones.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "packet/build.h"

namespace plexus {

/// The frame that a text describes. The error names the layer, the word and what was expected there.
[[nodiscard]] Result<Frame> parse_frame(std::string_view text);

/// The text of a frame, in the greatest detail that reads back to the same bytes: layers as far as they are well formed,
/// then `payload hex ...`; `raw <hex>` for what has no whole Ethernet header.
[[nodiscard]] std::string format_frame(std::span<const uint8_t> frame);

}  // namespace plexus
