// SPDX-License-Identifier: Apache-2.0
// Belongings: the records that come and go with a resource but that others write: a port's binding
// and neighbours, a host's own records. The writer makes them, so that each can have its access: a
// host then only ever changes records, and only its own.
#pragma once

#include <string>
#include <vector>

#include "plexus/v1/resources.pb.h"
#include "store/topology/change_set.h"

namespace plexus::store {

/// Whoever may say where the port is: the host where it is wanted, and the one it is about to go to. Of a sub-port: `port` is
/// its parent.
[[nodiscard]] Access binding_access(const v1::Port& port);
/// After a change of `object`: makes what is missing, says who may write it now.
Result<void> keep_belongings(ChangeSet& changes, const ChangeSet::Object& object);
/// The object goes: its belongings, indexes of who refers to it among them, go too. internal:
/// somebody refers to it still.
Result<void> drop_belongings(Transaction& transaction, const ChangeSet::Object& object);
/// What these two read for the object as it was and will be (null: not there).
void belongings_paths(const ChangeSet::Message* before, const ChangeSet::Message* now,
                      std::vector<std::string>& paths);

}  // namespace plexus::store
