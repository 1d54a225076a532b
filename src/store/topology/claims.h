// SPDX-License-Identifier: Apache-2.0
// Claims: values that only one object may have within a scope. Names, an interface of a host, MACs
// and addresses on a bridge, what a router translates. Each is a record of its own (UniqueClaim at claim_path()), so two
// writers meet only when they want the same value.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "base/ids.h"

namespace plexus::store {

struct Claim {
  std::string path;
  std::string owner_type;  ///< singular of the type of whoever has it
  std::string field;       ///< of the claiming resource, for errors
  std::string text;        ///< "the name vm1", "the MAC 02:... on its bridge"
  bool operator<(const Claim& other) const { return path < other.path; }
};

/// What `resource` claims; sorted, no path twice. `place`: for a router port that is wired to a bridge, that bridge: its MAC
/// and addresses are claimed there; for a virtual address the router of its load balancer; nil otherwise.
[[nodiscard]] std::vector<Claim> claims_of(const google::protobuf::Message& resource,
                                           const Uuid& place);

}  // namespace plexus::store
