// SPDX-License-Identifier: Apache-2.0
#include "store/topology/removal.h"

#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/rules.h"
#include "store/topology/validate.h"

namespace plexus::store {

using google::protobuf::Descriptor;
using google::protobuf::Message;

namespace {

std::string index_of(const ChangeSet::Object& object, const ReferenceField& reference) {
  return index_path(options_of(*object.type).singular(), object.id, reference.index_name());
}

Touched touched_by(const ChangeSet::Object& object, const Message& message, bool removed) {
  return {object.type, object.id, name_of(message), tenant_of(message), removed};
}

}  // namespace

Result<bool> Removal::remove(ChangeSet::Object& object) {
  if (auto ok = check_writable(*object.now); !ok.ok()) return ok.error();
  // Refuse before anything is touched.
  for (const ReferenceField& reference : references_to(*object.type)) {
    if (reference.on_delete == v1::CASCADE || reference.on_delete == v1::CLEAR) continue;
    if (auto free = refused_by(object, reference); !free.ok()) return free;
  }
  for (const ReferenceField& reference : references_to(*object.type)) {
    if (reference.symmetric) continue;
    auto all = dependents(object, reference);
    if (!all.ok() || !*all) return all;
  }
  // Last, when it is sure that the object goes too: a link has two ends or none.
  for (const ReferenceField& reference : references_to(*object.type)) {
    if (!reference.symmetric) continue;
    if (auto done = unlink(object, reference); !done.ok()) return done.error();
  }
  object.now.reset();
  return true;
}

Result<bool> Removal::refused_by(const ChangeSet::Object& object, const ReferenceField& reference) {
  auto users = index_entries(changes_.transaction(), index_of(object, reference));
  if (!users.ok()) return users.error();
  // Those that changed in this very set may refer to it no longer.
  std::vector<Uuid> left;
  for (const Uuid& id : *users) {
    const ChangeSet::Object* user = changes_.loaded(*reference.field->containing_type(), id);
    if (user != nullptr && (!user->now || !refers_to(*user->now, reference, object.id))) {
      continue;
    }
    left.push_back(id);
  }
  if (!left.empty()) return in_use(object, reference, left);
  return true;
}

Error Removal::in_use(const ChangeSet::Object& object, const ReferenceField& reference,
                      const std::vector<Uuid>& users) {
  constexpr size_t kNamed = 3;
  const Descriptor& type = *reference.field->containing_type();
  std::string names;
  for (size_t i = 0; i < users.size() && i < kNamed; ++i) {
    auto user = changes_.load(type, users[i]);
    if (!user.ok()) return user.error();
    const Message* message = (*user)->either();
    names += (i == 0 ? "" : ", ") +
             (message ? describe(*message) : options_of(type).singular() + " " + users[i].str());
  }
  if (users.size() > kNamed) {
    names += " and " + std::to_string(users.size() - kNamed) + " more";
  }
  return {ErrorCode::in_use,
          describe(*object.now) + " is in use by " + names + ": remove or change these first"};
}

// The other end of a reference that both hold.
Result<void> Removal::unlink(const ChangeSet::Object& object, const ReferenceField& reference) {
  const Uuid other = uuid_field(*object.now, *reference.field);
  if (other.is_nil()) return Ok{};
  auto loaded = changes_.load(*reference.target, other);
  if (!loaded.ok()) return loaded.error();
  return clear(**loaded, reference, object.id);
}

Result<void> Removal::clear(ChangeSet::Object& user, const ReferenceField& reference,
                            const Uuid& target) {
  if (!user.now || !refers_to(*user.now, reference, target)) return Ok{};
  if (user.before) {
    if (auto ok = check_writable(*user.before); !ok.ok()) return ok;
  }
  clear_reference(*user.now, reference, target);
  clear_what_follows(*user.now);
  touched_.push_back(touched_by(user, *user.now, false));
  ++cleared_;
  return Ok{};
}

Result<bool> Removal::dependents(const ChangeSet::Object& object, const ReferenceField& reference) {
  const std::string index = index_of(object, reference);
  if (cascaded_ + cleared_ >= budget_) {
    const auto users = index_some(changes_.transaction(), index, 1);
    if (!users.ok()) return users.error();
    return users->ids.empty() && users->all;
  }
  auto users = index_some(changes_.transaction(), index, budget_ - cascaded_ - cleared_);
  if (!users.ok()) return users.error();
  const Descriptor& type = *reference.field->containing_type();
  std::vector<std::string> paths;
  for (const Uuid& id : users->ids) paths.push_back(object_path(options_of(type).singular(), id));
  if (auto read = changes_.transaction().prefetch(paths); !read.ok()) return read.error();
  for (const Uuid& id : users->ids) {
    if (cascaded_ + cleared_ >= budget_) return false;
    auto user = changes_.load(type, id);
    if (!user.ok()) return user.error();
    if (!(*user)->before) {
      return Error{ErrorCode::internal, "the index " + index + " lists " + id.str() +
                                            ", which does not exist: run a check of the store"};
    }
    if (!(*user)->now) continue;  // gone already, by another of its references
    if (reference.on_delete == v1::CASCADE) {
      auto gone = remove(**user);
      if (!gone.ok() || !*gone) return gone;
      touched_.push_back(touched_by(**user, *(*user)->before, true));
      ++cascaded_;
    } else if (auto done = clear(**user, reference, object.id); !done.ok()) {
      return done.error();
    }
  }
  return users->all;
}

}  // namespace plexus::store
