// SPDX-License-Identifier: Apache-2.0
// What an answer is and what it stands on, as documents for programs: the fields of /v1/flows and /v1/trace that people's
// tools print. Pure functions of their arguments.
#pragma once

#include <span>

#include "codec/node.h"
#include "flow/tag.h"
#include "model/snapshot.h"
#include "sim/simulate.h"

namespace plexus::agent {

/// The objects behind dependencies, each thing that was read of an object once:
///   {"kind": "bridge", "name": "blue", "id": "...", "aspect": "who has 02:00:00:00:00:03", "tag": "bridge_mac ..."}
/// `kind` is a singular type name of the API, or "tunnel key" (then the key is the name). No `name`: the snapshot has no such
/// object any more. No `aspect`: the object's own fields.
[[nodiscard]] codec::Node objects_of(std::span<const Dependency> dependencies,
                                     const model::Snapshot& snapshot);

/// A simulation: verdict, reason, where copies go and what they are then (`outputs`; those that mirrors made have `mirror`), of a drop
/// the step to blame and what would have to change (`blame`, `advice`). A packet of which only mirrors have copies has the verdict
/// `forward`, and the reason if it is dropped itself. The actions and the class they hold for (`match`, `cacheable`), what the topology sent
/// because of the packet, what it would learn, what it waits for, the objects it depends on, and the trace as text and step
/// by step.
[[nodiscard]] codec::Node trace_document(const sim::Packet& packet, const sim::Outcome& outcome,
                                         const sim::Trace& trace, const model::Snapshot& snapshot);

}  // namespace plexus::agent
