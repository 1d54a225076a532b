// SPDX-License-Identifier: Apache-2.0
// Claims: values that only one object may have within a scope. Names, an interface of a host, MACs
// and addresses on a bridge, what a router translates. Each is a record of its own (UniqueClaim at claim_path()), so two
// writers meet only when they want the same value.
//
// An address on a bridge is one object's, but of a router's it may be several objects': its port's and its translations'
// (outside_addresses.h). They share the record, each with a part of its own, and it goes with the last of them. So do the virtual
// addresses and pools of sources of one address at a router, beside which no floating address has it.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "plexus/v1/state.pb.h"

namespace plexus::store {

struct Claim {
  std::string path;
  std::string owner_type;  ///< singular of the type of whoever has it
  std::string field;       ///< of the claiming resource, for errors
  std::string text;        ///< "the name vm1", "the MAC 02:... on its bridge"
  Uuid bridge = {};        ///< of an address on a bridge
  Uuid router = {};        ///< whose translations share it; nil: one object has it to itself
  Uuid port = {};          ///< of that router, by which it does
  bool operator<(const Claim& other) const { return path < other.path; }
};

/// What `resource` claims; sorted, no path twice. `place`: for a router port that is wired to a bridge, that bridge: its MAC
/// and addresses are claimed there; for a virtual address the router of its load balancer; nil otherwise. Not what
/// translations claim on bridges.
[[nodiscard]] std::vector<Claim> claims_of(const google::protobuf::Message& resource,
                                           const Uuid& place);

/// Whether `what` of a path /p1/u/<what>/... is a value that this program knows of.
[[nodiscard]] bool is_claimed(std::string_view what);

/// An address on a bridge as a claim without owner and field.
[[nodiscard]] Claim address_claim(const Uuid& bridge, const std::string& address);
/// Sorts them and drops what is there twice.
void sort_claims(std::vector<Claim>& claims);

/// Why `claim` cannot be made for `mine` where `record` is.
enum class Obstacle : uint8_t {
  none,
  owner,   ///< record.id has it
  router,  ///< record.router has it, by translations
};
/// `router_of_owner`: where record.id is a router's port, that router; nil otherwise. Asked for with is_shared() only.
[[nodiscard]] Obstacle obstacle(const v1::UniqueClaim& record, const Claim& claim, const Uuid& mine,
                                const Uuid& router_of_owner);
/// The claim is a translation's: it may share the record with others of its router.
[[nodiscard]] bool is_shared(const Claim& claim);
/// Enters the part of `mine`.
void add_part(v1::UniqueClaim& record, const Claim& claim, const Uuid& mine);
/// Takes the part of `mine` out, if it is there. Empty afterwards: the record goes.
void drop_part(v1::UniqueClaim& record, const Claim& claim, const Uuid& mine);
[[nodiscard]] bool is_empty(const v1::UniqueClaim& record);

}  // namespace plexus::store
