// SPDX-License-Identifier: Apache-2.0
// What tenants have (TenantUsage) and may have (the fields max_<collection> of Tenant).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plexus/v1/resources.pb.h"
#include "store/topology/change_set.h"

namespace plexus::store {

/// Counts what `touched` adds and takes away. no_space: more than the tenant may have; `blamed` is
/// then one that adds to it. in_use: a tenant goes that has something left; `blamed` is the tenant.
Result<void> keep_usage(Transaction& transaction, const std::vector<ChangeSet::Object*>& touched,
                        const ChangeSet::Object** blamed);

/// The Tenant of that name; nullopt: there is none, so nothing is said of it.
Result<std::optional<v1::Tenant>> find_tenant(Transaction& transaction, const std::string& name);

/// What it reads for one object, for bulk reading: the usage, and, when the object is new, who the
/// tenant is.
void usage_paths(const google::protobuf::Message& resource, bool created,
                 std::vector<std::string>& paths);

}  // namespace plexus::store
