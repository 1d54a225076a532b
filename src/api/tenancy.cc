// SPDX-License-Identifier: Apache-2.0
#include "api/tenancy.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"
#include "store/topology/writer.h"

namespace plexus::api {

using codec::FieldSpec;
using codec::Problem;
using codec::Problems;
using codec::ResourceSpec;
using google::protobuf::Message;

namespace {

std::string join_path(const std::string& path, const std::string& field) {
  return path.empty() ? field : path + "." + field;
}

/// Of a single reference.
Uuid reference_of(const Message& message, const FieldSpec& field) {
  return Uuid::from_bytes(codec::get_raw(message, field.name)).value_or(Uuid{});
}

/// The ids that `now` refers to, and `before` did not.
std::vector<Uuid> added(const Message* before, const Message& now, const FieldSpec& field) {
  std::vector<std::string> had;
  if (before != nullptr) had = codec::reference_ids(*before, field);
  std::vector<Uuid> out;
  for (const std::string& raw : codec::reference_ids(now, field)) {
    const auto id = Uuid::from_bytes(raw);
    if (id && std::find(had.begin(), had.end(), raw) == had.end()) out.push_back(*id);
  }
  return out;
}

Error missing(const ResourceSpec& resource, const Uuid& id) {
  return {ErrorCode::not_found, "there is no " + resource.singular + " " + id.str()};
}

bool is_symmetric(const FieldSpec& field) {
  return field.descriptor->options().GetExtension(v1::ref).symmetric();
}

bool is_same(const Message& before, const Message& now, const FieldSpec& field) {
  const auto alone = [&](const Message& message) {
    const std::unique_ptr<Message> copy(message.New()), out(message.New());
    copy->CopyFrom(message);
    out->GetReflection()->SwapFields(out.get(), copy.get(), {field.descriptor});
    return out->SerializeAsString();
  };
  return alone(before) == alone(now);
}

/// Gives `now` the field as `before` has it.
void restore(const Message& before, Message& now, const FieldSpec& field) {
  const std::unique_ptr<Message> copy(before.New());
  copy->CopyFrom(before);
  now.GetReflection()->SwapFields(&now, copy.get(), {field.descriptor});
}

}  // namespace

void Tenancy::will_exist(const Message& message) {
  const Uuid id = store::id_of(message);
  if (!id.is_nil()) new_[id] = store::tenant_of(message);
}

Result<bool> Tenancy::own(const ResourceSpec& resource, const Uuid& id) {
  if (const auto found = new_.find(id); found != new_.end()) return found->second == caller_.tenant;
  auto stored = store::TopologyWriter(store_).get(*resource.descriptor, id);
  if (stored) return sees(caller_, resource, *stored->message);
  if (stored.error().code == ErrorCode::not_found) return false;
  return stored.error();
}

Result<void> Tenancy::check_exists(const ResourceSpec& resource, const Uuid& id) {
  if (!caller_.limited()) return Ok{};
  const auto mine = own(resource, id);
  if (!mine) return mine.error();
  if (!*mine) return missing(resource, id);
  return Ok{};
}

Result<Problems> Tenancy::check_new(const ResourceSpec& resource, Message& message,
                                    const std::string& path) {
  Problems problems;
  if (!caller_.limited()) return problems;
  const std::string tenant = codec::get_raw(message, "tenant");
  if (tenant.empty()) {
    codec::set_raw(message, "tenant", caller_.tenant);
  } else if (tenant != caller_.tenant) {
    problems.push_back({join_path(path, "tenant"), 0,
                        fmt::format("this token is for tenant {}", caller_.tenant),
                        "leave the field out"});
  }
  const Uuid id = store::id_of(message);
  for (const FieldSpec& field : resource.fields) {
    if (!codec::has_field(message, field.name)) continue;
    if (is_for_administrators(field)) {
      problems.push_back(
          {join_path(path, field.name), 0, "an administrator decides this", "leave the field out"});
    } else if (field.is_reference()) {
      for (const Uuid& to : added(nullptr, message, field)) {
        auto done = check_reference(field, to, id, join_path(path, field.name), problems);
        if (!done) return done.error();
      }
    }
  }
  if (!id.is_nil()) {
    // The writer would name the object that has the id.
    auto taken = store::TopologyWriter(store_).get(*resource.descriptor, id);
    if (taken && !sees(caller_, resource, *taken->message)) {
      problems.push_back({join_path(path, "id"), 0, "this id is taken", "leave the field out"});
    }
  }
  return problems;
}

Result<Problems> Tenancy::check_change(const ResourceSpec& resource, const Message& before,
                                       Message& now, const codec::Node& body,
                                       const std::string& path) {
  Problems problems;
  if (!caller_.limited()) return problems;
  const Uuid id = store::id_of(before);
  for (const FieldSpec& field : resource.fields) {
    if (is_same(before, now, field)) continue;
    const std::string place = join_path(path, field.name);
    const auto decides = may_decide(resource, field, before);
    if (!decides) return decides.error();
    if (!*decides) {
      if (body.find(field.name) == nullptr) {
        restore(before, now, field);  // a PUT that does not speak of it
      } else {
        problems.push_back({place, 0, "an administrator decides this", "leave the field out"});
      }
      continue;
    }
    if (!field.is_reference()) continue;
    // What is taken out must be the tenant's own, too: a chain that an administrator has put on its port stays there.
    const auto foreign = takes_out_foreign(field, before, now);
    if (!foreign) return foreign.error();
    if (*foreign) {
      if (body.find(field.name) == nullptr)
        restore(before, now, field);
      else
        problems.push_back(
            {place, 0, "an administrator has set this", "ask an administrator to change it"});
      continue;
    }
    for (const Uuid& to : added(&before, now, field)) {
      auto done = check_reference(field, to, id, place, problems);
      if (!done) return done.error();
    }
  }
  return problems;
}

Result<bool> Tenancy::may_decide(const ResourceSpec& resource, const FieldSpec& field,
                                 const Message& before) {
  if (is_for_administrators(field)) return false;
  if (field.authority != codec::Authority::device_owner) return true;
  // What it is a part of does not change: its device, its parent.
  for (const FieldSpec& part : resource.fields) {
    if (!part.is_reference() || !part.immutable || !codec::has_field(before, part.name)) continue;
    const auto mine = own(part.target(), reference_of(before, part));
    if (!mine || !*mine) return mine;
  }
  return true;
}

Result<bool> Tenancy::takes_out_foreign(const FieldSpec& field, const Message& before,
                                        const Message& now) {
  for (const Uuid& gone : added(&now, before, field)) {
    const auto mine = own(field.target(), gone);
    if (!mine) return mine.error();
    if (*mine) continue;
    // What is not there any more is nobody's.
    const auto there = store::TopologyWriter(store_).get(*field.target().descriptor, gone);
    if (there) return true;
    if (there.error().code != ErrorCode::not_found) return there.error();
  }
  return false;
}

Result<void> Tenancy::check_reference(const FieldSpec& field, const Uuid& to, const Uuid& from,
                                      const std::string& path, Problems& problems) {
  if (to.is_nil()) return Ok{};
  const auto mine = own(field.target(), to);
  if (!mine) return mine.error();
  if (!*mine) {
    problems.push_back({path, 0, missing(field.target(), to).message,
                        "write the id of a " + field.target().singular + " that there is"});
    return Ok{};
  }
  if (!is_symmetric(field) || new_.contains(to)) return Ok{};
  // The other end may be tied to something that is not ours.
  auto other = store::TopologyWriter(store_).get(*field.target().descriptor, to);
  if (!other) return other.error();
  const Uuid third = reference_of(*other->message, field);
  if (third.is_nil() || third == from) return Ok{};
  const auto third_mine = own(field.target(), third);
  if (!third_mine) return third_mine.error();
  if (!*third_mine) {
    problems.push_back({path, 0, "the " + field.target().singular + " is tied to another already",
                        "choose another one"});
  }
  return Ok{};
}

Result<void> Tenancy::check_removal(const ResourceSpec& resource, const Uuid& id) {
  if (!caller_.limited()) return Ok{};
  if (auto exists = check_exists(resource, id); !exists) return exists;
  if (new_.contains(id)) return Ok{};
  const auto foreign = foreign_dependents(resource, id, 0);
  if (!foreign) return foreign.error();
  if (*foreign) {
    return Error{ErrorCode::in_use, "the " + resource.singular + " " + id.str() +
                                        " is in use by something that is not this tenant's: ask "
                                        "an administrator"};
  }
  return Ok{};
}

/// Whether removing the object would touch, or be refused for, something that the caller does not see.
Result<bool> Tenancy::foreign_dependents(const ResourceSpec& resource, const Uuid& id, int depth) {
  constexpr int kDeepest = 4;
  if (depth > kDeepest) return false;
  store::Transaction transaction(store_);
  for (const store::ReferenceField& reference : store::references_to(*resource.descriptor)) {
    const ResourceSpec* user_type = codec::find_type(reference.field->containing_type()->name());
    std::vector<Uuid> users;
    if (reference.symmetric) {
      auto stored = store::TopologyWriter(store_).get(*resource.descriptor, id);
      if (!stored) return stored.error();
      const Uuid other = store::uuid_field(*stored->message, *reference.field);
      if (!other.is_nil()) users.push_back(other);
    } else {
      auto entries = store::index_entries(
          transaction, store::index_path(resource.singular, id, reference.index_name()));
      if (!entries) return entries.error();
      users = std::move(*entries);
    }
    std::vector<std::string> paths;
    for (const Uuid& user : users) paths.push_back(store::object_path(user_type->singular, user));
    auto records = store_.get_many(paths);
    if (!records) return records.error();
    for (size_t i = 0; i < users.size(); ++i) {
      if (!(*records)[i]) continue;
      const codec::MessagePtr message = user_type->new_message();
      if (!message->ParseFromString((*records)[i]->value)) continue;
      if (!sees(caller_, *user_type, *message)) return true;
      if (reference.on_delete != v1::CASCADE) continue;
      auto deeper = foreign_dependents(*user_type, users[i], depth + 1);
      if (!deeper || *deeper) return deeper;
    }
  }
  return false;
}

}  // namespace plexus::api
