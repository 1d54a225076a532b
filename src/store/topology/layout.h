// SPDX-License-Identifier: Apache-2.0
// Where things are in the store: every path below /p1, in one place. Pure.
//
//   /p1/gen                             id of this store's life; a restored copy gets a new one
//   /p1/o/<type>/<hh>/<id>              one resource; <type> is its singular, <hh> the id's first byte
//   /p1/o/<type>/<hh>/<id>/<index>/...  who refers to it by one field: index.h
//   /p1/u/<what>/<scope>/<hh>/<value>   a unique value and who has it: claims.h
//   /p1/u/router.networks/<hh>/<router> the networks of a router's ports
//   /p1/h/<host>                        HostState;  /p1/h/<host>/p/... the index "port.host": ports
//                                       wanted there
//   /p1/k/<host>                        TunnelKeys; stays when the host goes
//   /p1/b/<hh>/<port>                   Binding
//   /p1/n/<hh>/<router port>            NeighbourTable
//   /p1/s/<hh>/<router>                 LeasedAddresses
//   /p1/s/<hh>/<router>/<address>-<n>   PortBlockPart: who has which outside ports; port_blocks.h
//   /p1/c/<host>                        HostBlocks: the outside ports that a host has
//   /p1/h/<host>/live                   ephemeral; value: LiveHost
//   /p1/log/0/e<number>                 LogEntry: what changed, who did it
//   /p1/q/<tenant>                      TenantUsage
//   /p1/barrier                         Barrier: the newest convergence question
//   /p1/w/<barrier>/<host>              empty: that host's answer
//   /p1/removing/<id>                   Removal: begun, not finished
//   /p1/level                           text: the lowest schema level of all hosts; absent: 1
//   /p1/loading                         a dump is being loaded, or was until that was interrupted
#pragma once

#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

inline constexpr std::string_view kRoot = "/p1";

[[nodiscard]] std::string gen_path();
[[nodiscard]] std::string objects_path(std::string_view type);
[[nodiscard]] std::string object_path(std::string_view type, const Uuid& id);
/// The directory of an index: `index` is like "port.bridge", (type, id) the object referred to.
[[nodiscard]] std::string index_path(std::string_view type, const Uuid& id, std::string_view index);
[[nodiscard]] std::string index_head_path(std::string_view index_path);
[[nodiscard]] std::string index_bucket_path(std::string_view index_path, uint32_t bucket);
/// `value` may hold any bytes: what does not fit into a path is escaped.
[[nodiscard]] std::string claim_path(std::string_view what, std::string_view scope,
                                     std::string_view value);
[[nodiscard]] std::string networks_path(const Uuid& router);
[[nodiscard]] std::string host_state_path(const Uuid& host);
[[nodiscard]] std::string tunnel_keys_path(const Uuid& host);
[[nodiscard]] std::string binding_path(const Uuid& port);
[[nodiscard]] std::string neighbours_path(const Uuid& port);
[[nodiscard]] std::string leased_addresses_path(const Uuid& router);
[[nodiscard]] std::string port_block_part_path(const Uuid& router, std::string_view address,
                                               unsigned part);
[[nodiscard]] std::string host_blocks_path(const Uuid& host);
[[nodiscard]] std::string live_path(const Uuid& host);
[[nodiscard]] std::string log_path();
[[nodiscard]] std::string usage_path(std::string_view tenant);
[[nodiscard]] std::string barrier_path();
[[nodiscard]] std::string barrier_answers_path(const Uuid& barrier);
[[nodiscard]] std::string removing_path(const Uuid& id);
[[nodiscard]] std::string removals_path();
[[nodiscard]] std::string level_path();
[[nodiscard]] std::string loading_path();
/// Goes away with a process or is of interest for a moment only: a copy of the store does without.
[[nodiscard]] bool is_passing(std::string_view path);

/// Who may write a record at this path. The record of a binding is the exception: its writers are
/// the hosts that the port is wanted on, which its path does not say.
[[nodiscard]] Access access_of(std::string_view path);

/// The id of this store's life; chosen now if the store is new.
Result<Uuid> store_life(Store& store);

/// What whoever would write is told while a dump is being loaded, or the load of one was not finished.
[[nodiscard]] Error being_loaded();

}  // namespace plexus::store
