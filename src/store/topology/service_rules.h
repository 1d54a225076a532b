// SPDX-License-Identifier: Apache-2.0
// What must hold for translations, load balancers, DHCP subnets, mirrors and sub-ports beyond what the options of the schema
// say.
#pragma once

#include <string>

#include "base/result.h"
#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/change_set.h"

namespace plexus::store {

inline constexpr size_t kMaxSubPorts =
    256;  ///< of one port: all of them move with it, in one transaction
inline constexpr int kLeastSnatPorts =
    128;  ///< of a pool's address; within them is a whole block of 64

/// What is wrong with an address as one interface's own; "": nothing.
[[nodiscard]] std::string unfit_address(const IpAddr& address);

/// When all objects of the set are as they will be, whatever their order: fills in at which device a mirror is.
Result<void> complete_service(ChangeSet& changes, const ChangeSet::Object& object);
/// The same, when the indexes are as they will be, too: objects of one set may belong together. Nothing to say about resources
/// of other types. invalid: names field and remedy. in_use: a port that is wired now is one whose interface others use.
Result<void> check_service(ChangeSet& changes, const ChangeSet::Object& object);

/// Fields of ports that belong to services, by themselves.
Result<void> check_port_services(const v1::Port& port);

}  // namespace plexus::store
