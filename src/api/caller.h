// SPDX-License-Identifier: Apache-2.0
// Caller: who makes a request, and what a caller may see and change. Rules about types and fields come from the schema
// by reflection, so a new type is covered by itself. Pure.
//
//   admin    everything
//   tenant   the things of its own tenant: sees, creates, changes, removes them, and refers to them only; what the schema
//            leaves to administrators, as where a port is plugged in, is not its to say
//   reader   sees: its tenant's things, or with no tenant everything
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "base/ids.h"
#include "codec/schema.h"

namespace plexus::api {

struct Caller {
  enum class Role : uint8_t { reader, tenant, admin };
  Role role = Role::reader;
  std::string tenant;  ///< only its things; empty: all things
  std::string who;     ///< for the audit log: "token ops", "uid 0 by unix socket"
  Uuid token;          ///< nil: came without one

  [[nodiscard]] bool is_admin() const { return role == Role::admin; }
  [[nodiscard]] bool may_write() const { return role != Role::reader; }
  /// Sees one tenant's things only.
  [[nodiscard]] bool limited() const { return !tenant.empty(); }
  [[nodiscard]] bool sees(std::string_view owner) const { return !limited() || owner == tenant; }
  [[nodiscard]] std::string_view role_name() const;
};

/// Whether objects of the type belong to tenants. Other types are the administrators'.
[[nodiscard]] bool belongs_to_tenants(const codec::ResourceSpec& resource);
/// Whether a field of such a type is the administrators' to decide: where things are on the real machines, what keeps
/// tenants from harming each other.
[[nodiscard]] bool is_for_administrators(const codec::FieldSpec& field);
/// Whether the caller sees this object.
[[nodiscard]] bool sees(const Caller& caller, const codec::ResourceSpec& resource,
                        const google::protobuf::Message& message);

}  // namespace plexus::api
