// SPDX-License-Identifier: Apache-2.0
// A frame as it is at the present device, as bytes with their headers: for whoever looks at more than the flow key.
#pragma once

#include <vector>

#include "packet/flow_key.h"
#include "sim/journey.h"

namespace plexus::sim {

struct Present {
  explicit Present(const Journey& j) : frame(j.materialize()), parsed(parse_packet(frame)) {}
  std::vector<uint8_t> frame;
  ParsedPacket parsed;
};

/// What one router has done to a packet on its way through.
struct RouterStage {
  /// As it came, when its addresses or ports have been translated since: what its sender is told about. Null: as it is now.
  const Journey* came = nullptr;
  PortId came_by{};
  /// Its source is translated on whichever way it leaves.
  bool hairpin = false;
  /// A connection that begins has got another destination here, chosen for it: its answers must come back here.
  bool destination_chosen = false;
  /// And whoever was asked would answer from an address that the sender does not know, whichever way its packet leaves.
  bool source_hidden = false;
  /// An ICMP error that has been translated; it may come from an address of the router's own.
  bool error_translated = false;
};

}  // namespace plexus::sim
