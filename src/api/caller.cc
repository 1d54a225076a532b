// SPDX-License-Identifier: Apache-2.0
#include "api/caller.h"

#include "plexus/v1/resources.pb.h"

namespace plexus::api {

std::string_view Caller::role_name() const {
  switch (role) {
    case Role::reader:
      return "reader";
    case Role::tenant:
      return "tenant";
    case Role::admin:
      return "admin";
  }
  return "reader";
}

bool belongs_to_tenants(const codec::ResourceSpec& resource) {
  // A token has a tenant, but is not the tenant's: it would give itself rights.
  return resource.field("tenant") != nullptr && resource.descriptor != v1::Token::descriptor();
}

bool is_for_administrators(const codec::FieldSpec& field) {
  return field.authority == codec::Authority::administrator ||
         field.kind == codec::ValueKind::interface ||
         (field.is_reference() && !belongs_to_tenants(field.target()));
}

bool sees(const Caller& caller, const codec::ResourceSpec& resource,
          const google::protobuf::Message& message) {
  if (!caller.limited()) return true;
  return belongs_to_tenants(resource) && codec::get_raw(message, "tenant") == caller.tenant;
}

}  // namespace plexus::api
