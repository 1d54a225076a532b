// SPDX-License-Identifier: Apache-2.0
#include "store/topology/usage.h"

#include <algorithm>
#include <map>

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"

namespace plexus::store {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

std::string tenant_claim(const std::string& tenant) {
  return claim_path("tenant.name", "", tenant);
}

/// Tenant.max_<collection>, when it has one.
std::optional<uint32_t> limit_of(const v1::Tenant& tenant, const Descriptor& type) {
  std::string name = "max_" + options_of(type).collection();
  std::replace(name.begin(), name.end(), '-', '_');
  const auto* field = v1::Tenant::descriptor()->FindFieldByName(name);
  if (field == nullptr || !tenant.GetReflection()->HasField(tenant, field)) return std::nullopt;
  return tenant.GetReflection()->GetUInt32(tenant, field);
}

v1::TypeCount& count_of(v1::TenantUsage& usage, const std::string& type) {
  auto& counts = *usage.mutable_counts();
  int at = 0;
  while (at < counts.size() && counts[at].type() < type) ++at;
  if (at == counts.size() || counts[at].type() != type) {
    counts.Add()->set_type(type);
    std::rotate(counts.begin() + at, counts.end() - 1, counts.end());
  }
  return counts[at];
}

/// What names a tenant that goes would have no limits any more. Reads what was counted just now.
Result<void> check_tenants_gone(Transaction& transaction,
                                const std::vector<ChangeSet::Object*>& touched,
                                const ChangeSet::Object** blamed) {
  for (const ChangeSet::Object* object : touched) {
    if (object->type != v1::Tenant::descriptor() || !object->before || object->now) continue;
    const auto usage = transaction.read_message<v1::TenantUsage>(
        usage_path(static_cast<const v1::Tenant&>(*object->before).name()));
    if (!usage.ok()) return usage.error();
    if (!*usage) continue;
    std::string left;
    for (const v1::TypeCount& count : (*usage)->counts()) {
      if (count.count() == 0) continue;
      const Descriptor* type = find_resource_type(count.type());
      left +=
          (left.empty() ? "" : ", ") + std::to_string(count.count()) + " " +
          (type == nullptr || count.count() == 1 ? count.type() : options_of(*type).collection());
    }
    if (left.empty()) continue;
    *blamed = object;
    return Error{ErrorCode::in_use,
                 describe(*object->before) + " has " + left + ": remove these first"};
  }
  return Ok{};
}

struct Difference {
  int64_t count = 0;
  const ChangeSet::Object* last_added = nullptr;
};

}  // namespace

Result<std::optional<v1::Tenant>> find_tenant(Transaction& transaction, const std::string& name) {
  const std::string path = tenant_claim(name);
  auto claim = transaction.read_message<v1::UniqueClaim>(path);
  if (!claim.ok()) return claim.error();
  if (!*claim) {
    // Should it come at this very moment, this was before it.
    transaction.trust_absence(path);
    return std::optional<v1::Tenant>();
  }
  const auto id = Uuid::from_bytes((*claim)->id()).value_or(Uuid{});
  return transaction.read_message<v1::Tenant>(object_path("tenant", id));
}

Result<void> keep_usage(Transaction& transaction, const std::vector<ChangeSet::Object*>& touched,
                        const ChangeSet::Object** blamed) {
  std::map<std::string, std::map<const Descriptor*, Difference>> tenants;
  for (const ChangeSet::Object* object : touched) {
    if (object->before) {
      if (const auto tenant = tenant_of(*object->before); !tenant.empty()) {
        --tenants[tenant][object->type].count;
      }
    }
    if (object->now) {
      if (const auto tenant = tenant_of(*object->now); !tenant.empty()) {
        Difference& difference = tenants[tenant][object->type];
        ++difference.count;
        if (!object->before) difference.last_added = object;
      }
    }
  }
  for (const auto& [name, types] : tenants) {
    if (std::all_of(types.begin(), types.end(), [](const auto& t) { return t.second.count == 0; }))
      continue;
    const std::string path = usage_path(name);
    auto stored = transaction.read_message<v1::TenantUsage>(path);
    if (!stored.ok()) return stored.error();
    v1::TenantUsage usage = *stored ? std::move(**stored) : v1::TenantUsage();
    std::optional<v1::Tenant> tenant;
    if (std::any_of(types.begin(), types.end(), [](const auto& t) { return t.second.count > 0; })) {
      auto found = find_tenant(transaction, name);
      if (!found.ok()) return found.error();
      tenant = std::move(*found);
      const auto token = types.find(v1::Token::descriptor());
      if (!tenant && token != types.end() && token->second.count > 0) {
        // A mistyped name, or one that goes at this moment, would be a tenant of its own, without limits.
        *blamed = token->second.last_added;
        return Error{
            ErrorCode::invalid,
            (token->second.last_added ? describe(*token->second.last_added->now) + ": " : "") +
                "there is no tenant " + name + ": create it first"};
      }
    }
    for (const auto& [type, difference] : types) {
      v1::TypeCount& count = count_of(usage, options_of(*type).singular());
      const int64_t has = count.count();
      const int64_t will = std::max<int64_t>(has + difference.count, 0);
      const auto limit = tenant ? limit_of(*tenant, *type) : std::nullopt;
      if (difference.count > 0 && limit && will > *limit) {
        *blamed = difference.last_added;
        const std::string& collection = options_of(*type).collection();
        return Error{ErrorCode::no_space,
                     (difference.last_added ? describe(*difference.last_added->now) + ": " : "") +
                         "tenant " + name + " may have " + std::to_string(*limit) + " " +
                         collection + " and has " + std::to_string(has) +
                         ": remove some, or let an admin raise its limit"};
      }
      count.set_count(static_cast<uint32_t>(will));
    }
    transaction.write_message(path, usage);
  }
  return check_tenants_gone(transaction, touched, blamed);
}

void usage_paths(const Message& resource, bool created, std::vector<std::string>& paths) {
  const std::string tenant = tenant_of(resource);
  if (tenant.empty()) return;
  paths.push_back(usage_path(tenant));
  if (created) paths.push_back(tenant_claim(tenant));
}

}  // namespace plexus::store
