// SPDX-License-Identifier: Apache-2.0
// A frame that stands for a class: its flow key is the one given, as far as a frame can express it.
#pragma once

#include <cstdint>
#include <vector>

#include "flow/actions.h"
#include "packet/flow_key.h"

namespace plexus::agent {

/// parse_packet() of the result gives `key` again (in_port and tunnel_key aside) when the key came from a packet.
/// Fields that a mask cleared read as zero there and are zero here, except what a header needs to be well formed.
[[nodiscard]] std::vector<uint8_t> sample_packet(const FlowKey& key);

/// The same for a flow that does `actions`: one of the packets that they are for. What they answer is a whole
/// solicitation for the address that they know.
[[nodiscard]] std::vector<uint8_t> sample_packet(const FlowKey& key, const Actions& actions);

}  // namespace plexus::agent
