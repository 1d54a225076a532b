// SPDX-License-Identifier: Apache-2.0
// What a host knows of connections, as a document for people and programs: the answer to /v1/connections.
#pragma once

#include "base/clock.h"
#include "codec/node.h"
#include "model/snapshot.h"
#include "state/connection_table.h"

namespace plexus::agent {

/// More of them are counted, not listed.
inline constexpr size_t kMaxListedConnections = 10'000;

/// {"connections": [...], "total": N}, in the order of their tuples; names are those of the snapshot.
[[nodiscard]] codec::Node connections_document(const state::ConnectionTable& table,
                                               const model::Snapshot& snapshot, MonoTime now);

}  // namespace plexus::agent
