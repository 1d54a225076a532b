// SPDX-License-Identifier: Apache-2.0
// The resource types and their fields, as the options in proto/plexus/v1 describe them: what the API serves, what the
// command line offers, what a cloud file may hold. Built once from the descriptors; immutable; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/format.h"

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace plexus::codec {

struct ResourceSpec;

/// Owns a message without its type's header.
struct DeleteMessage {
  void operator()(google::protobuf::Message* message) const;
};
using MessagePtr = std::unique_ptr<google::protobuf::Message, DeleteMessage>;
[[nodiscard]] MessagePtr clone(const google::protobuf::Message& message);

/// Who decides a field of what a tenant owns.
enum class Authority : uint8_t {
  surroundings,  ///< its owner, when what it is part of, and what it is wired to, is the owner's too
  owner,
  administrator,
};

struct FieldSpec {
  std::string name;  ///< as in JSON and YAML: "admin_up"
  std::string help;
  ValueKind kind = ValueKind::text;
  bool repeated = false;
  bool required = false;
  bool immutable = false;
  bool output_only = false;
  bool secret = false;
  Authority authority = Authority::surroundings;
  uint32_t min = 0, max = UINT32_MAX;  ///< of a number
  int max_entries = 256;               ///< of a list
  std::string reference;  ///< message name of the referred-to type: "Bridge"; empty: no reference
  std::vector<std::string> words;  ///< of an enumeration, lower case
  const google::protobuf::FieldDescriptor* descriptor = nullptr;

  [[nodiscard]] bool is_reference() const { return !reference.empty(); }
  /// The referred-to type; the field must be a reference.
  [[nodiscard]] const ResourceSpec& target() const;
};

/// At most one of the fields may be set; exactly one if required.
struct ExclusiveSpec {
  std::vector<std::string> fields;
  bool required = false;
};

struct ResourceSpec {
  std::string type;        ///< message name: "Bridge"
  std::string collection;  ///< in paths and cloud files: "bridges"
  std::string singular;    ///< command-line noun: "bridge"
  std::string help;
  std::span<const FieldSpec> fields;  ///< in order of their numbers; never move
  std::vector<ExclusiveSpec> exclusive;
  std::vector<std::string>
      name_scope;                ///< names are unique among objects that agree in these fields
  size_t max_bytes = 64 * 1024;  ///< of a record
  const google::protobuf::Descriptor* descriptor = nullptr;

  [[nodiscard]] const FieldSpec* field(std::string_view name) const;
  [[nodiscard]] MessagePtr new_message() const;
};

/// All resource types, each after the types it refers to (itself aside).
[[nodiscard]] std::span<const ResourceSpec> resources();
/// By "bridges", by "bridge", by "Bridge"; nullptr if there is none.
[[nodiscard]] const ResourceSpec* find_collection(std::string_view collection);
[[nodiscard]] const ResourceSpec* find_singular(std::string_view singular);
[[nodiscard]] const ResourceSpec* find_type(std::string_view type);
/// The type of a message; nullptr if it is no resource.
[[nodiscard]] const ResourceSpec* resource_of(const google::protobuf::Message& message);
/// All collections, for suggestions.
[[nodiscard]] const std::vector<std::string>& collection_names();

/// The fields of any message: resources, state.proto, nested ones.
[[nodiscard]] const std::vector<FieldSpec>& fields_of(const google::protobuf::Descriptor& type);

/// Text of a singular scalar field of a message ("id", "name", a reference's id); empty if it is not set.
[[nodiscard]] std::string get_text(const google::protobuf::Message& message,
                                   std::string_view field);
/// Stored bytes of a bytes or string field; empty if it is not set.
[[nodiscard]] std::string get_raw(const google::protobuf::Message& message, std::string_view field);
/// The ids that a reference holds, raw and in its order: of a single one at most one.
[[nodiscard]] std::vector<std::string> reference_ids(const google::protobuf::Message& message,
                                                     const FieldSpec& field);
/// Sets a singular bytes or string field to stored bytes. The field must exist.
void set_raw(google::protobuf::Message& message, std::string_view field, std::string value);
[[nodiscard]] bool has_field(const google::protobuf::Message& message, std::string_view field);

}  // namespace plexus::codec
