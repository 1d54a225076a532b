// SPDX-License-Identifier: Apache-2.0
// What must hold for resources beyond what the options of the schema say.
#pragma once

#include "base/result.h"
#include "store/topology/change_set.h"

namespace plexus::store {

/// Fills in what the system chooses: a router port's MAC, the order of references in a list.
void fill_in_defaults(google::protobuf::Message& resource);

/// Checks `object` as it is now, and changes what must change with it: the other end of a link.
/// Other resources named in errors are called by name and id.
Result<void> apply_rules(ChangeSet& changes, ChangeSet::Object& object);

/// When all objects of a set have been through that: a link whose other end came after it gets that end, too. invalid: another
/// operation of the set took it.
Result<void> complete_link(ChangeSet& changes, ChangeSet::Object& object);

/// A reference of `resource` was cleared because its target goes: clears what makes no sense
/// without.
void clear_what_follows(google::protobuf::Message& resource);

/// Keep the record of a router's networks in step with its ports. All that changed give up theirs
/// first, so that networks can be swapped. exists: one overlaps a network of another port
/// (link-local networks may).
Result<void> give_up_router_networks(ChangeSet& changes, const ChangeSet::Object& port);
Result<void> take_router_networks(ChangeSet& changes, const ChangeSet::Object& port);

}  // namespace plexus::store
