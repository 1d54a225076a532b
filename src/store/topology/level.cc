// SPDX-License-Identifier: Apache-2.0
#include "store/topology/level.h"

#include <algorithm>
#include <charconv>

#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

Result<uint32_t> parse_level(const std::string& text) {
  uint32_t level = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, level).ptr != end || level == 0) {
    return Error{ErrorCode::internal,
                 "the record " + level_path() + " is damaged: it holds no level"};
  }
  return level;
}

std::string needs(const Message& resource, uint32_t level) {
  const auto& reflection = *resource.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(resource, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->options().GetExtension(v1::min_level) == level) return field->name();
  }
  return "kind";
}

}  // namespace

uint32_t level_needed(const Message& resource) {
  uint32_t level = std::max(1u, options_of(*resource.GetDescriptor()).min_level());
  const auto& reflection = *resource.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(resource, &fields);
  for (const FieldDescriptor* field : fields) {
    level = std::max(level, field->options().GetExtension(v1::min_level));
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int count = field->is_repeated() ? reflection.FieldSize(resource, field) : 1;
    for (int i = 0; i < count; ++i) {
      level = std::max(level, level_needed(field->is_repeated()
                                               ? reflection.GetRepeatedMessage(resource, field, i)
                                               : reflection.GetMessage(resource, field)));
    }
  }
  return level;
}

Result<void> apply_level(Transaction& transaction, Message& resource) {
  const uint32_t level = level_needed(resource);
  if (level <= 1) return Ok{};
  auto stored = transaction.read(level_path());
  if (!stored.ok()) return stored.error();
  uint32_t has = 1;
  if (*stored != nullptr) {
    auto parsed = parse_level(**stored);
    if (!parsed.ok()) return parsed.error();
    has = *parsed;
  }
  if (level > has) {
    return field_error(resource, needs(resource, level),
                       "needs schema level " + std::to_string(level) + ", and this cloud is at " +
                           std::to_string(has) +
                           ": upgrade all hosts, then raise it by plexus-store level " +
                           std::to_string(level));
  }
  const FieldDescriptor* field = resource.GetDescriptor()->FindFieldByName("min_reader");
  if (field != nullptr && min_reader_of(resource) < level) {
    resource.GetReflection()->SetUInt32(&resource, field, level);
  }
  return Ok{};
}

Result<uint32_t> schema_level(Store& store) {
  auto record = store.get(level_path());
  if (!record.ok()) return record.error();
  return *record ? parse_level((*record)->value) : Result<uint32_t>(1u);
}

Result<void> raise_schema_level(Store& store, uint32_t level) {
  if (level > kSchemaLevel) {
    return Error{ErrorCode::invalid, "this program knows schema level " +
                                         std::to_string(kSchemaLevel) + ", not " +
                                         std::to_string(level) + ": use a newer one"};
  }
  auto hosts = store.scan("/p1/h");
  if (!hosts.ok()) return hosts.error();
  for (const auto& [path, record] : *hosts) {
    const auto id = Uuid::parse(path.substr(std::min(path.size(), std::string("/p1/h/").size())));
    v1::HostState state;
    if (!id || !state.ParseFromString(record.value)) continue;
    // One that never ran will come with its level when it does.
    if (state.has_schema_level() && state.schema_level() < level) {
      return Error{ErrorCode::invalid, "host " + id->str() + " is at schema level " +
                                           std::to_string(state.schema_level()) +
                                           ": upgrade it first, or remove it"};
    }
  }
  auto done = commit_with_retries<Ok>(store, [&](Transaction& transaction) -> Result<Ok> {
    auto stored = transaction.read(level_path());
    if (!stored.ok()) return stored.error();
    if (*stored != nullptr) {
      auto has = parse_level(**stored);
      if (!has.ok()) return has.error();
      if (level < *has) {
        return Error{ErrorCode::invalid,
                     "the cloud is at schema level " + std::to_string(*has) +
                         " already, and records may need it: it cannot be lowered"};
      }
    }
    transaction.write(level_path(), std::to_string(level));
    return Ok{};
  });
  return done.ok() ? Result<void>(Ok{}) : Result<void>(done.error());
}

}  // namespace plexus::store
