// SPDX-License-Identifier: Apache-2.0
// The resource types and what their options say, found by reflection. Pure; any thread.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "plexus/v1/options.pb.h"
#include "plexus/v1/state.pb.h"

namespace plexus::store {

/// The schema this build knows. A record with a higher min_reader is not for us to decide by, nor
/// to write over.
inline constexpr uint32_t kSchemaLevel = 1;

/// All messages with the option (plexus.v1.resource), in the order of the schema file.
[[nodiscard]] const std::vector<const google::protobuf::Descriptor*>& resource_types();
/// By message name ("Bridge"), singular ("bridge") or collection ("bridges"); nullptr: none.
[[nodiscard]] const google::protobuf::Descriptor* find_resource_type(std::string_view name);
[[nodiscard]] const v1::ResourceOptions& options_of(const google::protobuf::Descriptor& type);
/// An empty message of that type.
[[nodiscard]] std::unique_ptr<google::protobuf::Message> new_message(
    const google::protobuf::Descriptor& type);

/// One reference field of a resource type.
struct ReferenceField {
  const google::protobuf::FieldDescriptor* field = nullptr;
  const google::protobuf::Descriptor* target = nullptr;
  v1::OnDelete on_delete = v1::RESTRICT;
  bool symmetric = false;  ///< both objects hold it; so it needs no index
  /// Name of the index at the target: "port.bridge".
  [[nodiscard]] std::string index_name() const;
};
/// The references that a type holds.
[[nodiscard]] const std::vector<ReferenceField>& references_from(
    const google::protobuf::Descriptor& type);
/// The references of all types to this one.
[[nodiscard]] const std::vector<ReferenceField>& references_to(
    const google::protobuf::Descriptor& type);

/// Fields that all resources share. Absent: nil, "".
[[nodiscard]] Uuid id_of(const google::protobuf::Message& resource);
[[nodiscard]] std::string name_of(const google::protobuf::Message& resource);
[[nodiscard]] std::string tenant_of(const google::protobuf::Message& resource);
[[nodiscard]] uint32_t min_reader_of(const google::protobuf::Message& resource);
/// It is on its way out: nothing new may refer to it.
[[nodiscard]] bool is_deleting(const google::protobuf::Message& resource);
void set_deleting(google::protobuf::Message& resource);
void set_id(google::protobuf::Message& resource, const Uuid& id);
/// A bytes field that holds an id; nil when unset or not 16 bytes.
[[nodiscard]] Uuid uuid_field(const google::protobuf::Message& resource,
                              const google::protobuf::FieldDescriptor& field);

/// The ids that a reference leads to, sorted: of a single one at most one. null: none.
[[nodiscard]] std::vector<Uuid> targets_of(const google::protobuf::Message* resource,
                                           const ReferenceField& reference);
[[nodiscard]] bool refers_to(const google::protobuf::Message& resource,
                             const ReferenceField& reference, const Uuid& target);
/// Unsets the reference to `target`: of a list that one entry.
void clear_reference(google::protobuf::Message& resource, const ReferenceField& reference,
                     const Uuid& target);
/// Gives lists of references the order in which they are stored.
void sort_references(google::protobuf::Message& resource);
/// What the entry of `resource` says of it in the index of this reference; no id. null: nothing.
[[nodiscard]] v1::RefEntry facts_of(const google::protobuf::Message* resource,
                                    const ReferenceField& reference);
/// Two entries say the same, their ids aside.
[[nodiscard]] bool same_facts(const v1::RefEntry& a, const v1::RefEntry& b);

/// "port vm1 (01234567-...)": how errors call a resource.
[[nodiscard]] std::string describe(const google::protobuf::Message& resource);

}  // namespace plexus::store
