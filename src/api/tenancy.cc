// SPDX-License-Identifier: Apache-2.0
#include "api/tenancy.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "plexus/v1/resources.pb.h"
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

Problem another_s(const std::string& place) {
  return {place, 0, "this is part of, or wired to, something of another tenant",
          "ask an administrator to do it"};
}

/// Whether objects of the type go along with what they are about, and do nothing to it.
bool only_looks(const ResourceSpec& resource) {
  return resource.descriptor == v1::Mirror::descriptor() ||
         resource.descriptor == v1::TraceRequest::descriptor();
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
  if (!id.is_nil()) new_[{message.GetDescriptor()->name(), id}] = codec::clone(message);
}

Result<std::shared_ptr<const Message>> Tenancy::find(const ResourceSpec& resource, const Uuid& id) {
  if (const auto found = new_.find({resource.type, id}); found != new_.end()) return found->second;
  auto stored = store::TopologyWriter(store_).get(*resource.descriptor, id);
  if (stored) return std::shared_ptr<const Message>(std::move(stored->message));
  if (stored.error().code == ErrorCode::not_found) return std::shared_ptr<const Message>();
  return stored.error();
}

Result<bool> Tenancy::own(const ResourceSpec& resource, const Uuid& id) {
  const auto found = find(resource, id);
  if (!found) return found.error();
  return *found != nullptr && sees(caller_, resource, **found);
}

/// Whether something that the caller cannot have made has the id. Of any type: an object must not pass for another one
/// where types do not tell.
Result<bool> Tenancy::is_taken(const ResourceSpec& resource, const Uuid& id) {
  std::vector<std::string> paths;
  for (const ResourceSpec& type : codec::resources()) {
    if (type.type != resource.type && new_.contains({type.type, id})) return true;
    paths.push_back(store::object_path(type.singular, id));
  }
  const auto records = store_.get_many(paths);
  if (!records) return records.error();
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!(*records)[i]) continue;
    const ResourceSpec& type = codec::resources()[i];
    if (type.type != resource.type) return true;
    const codec::MessagePtr message = type.new_message();
    // The writer names the object that has the id.
    if (!message->ParseFromString((*records)[i]->value) || !sees(caller_, type, *message))
      return true;
  }
  return false;
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
  if (!id.is_nil()) {
    const auto taken = is_taken(resource, id);
    if (!taken) return taken.error();
    if (*taken)
      problems.push_back({join_path(path, "id"), 0, "this id is taken", "leave the field out"});
  }
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
  if (!problems.empty()) return problems;
  const auto out = leads_out(resource, message);
  if (!out) return out.error();
  if (*out != nullptr) problems.push_back(another_s(join_path(path, (*out)->name)));
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
  if (!problems.empty()) return problems;
  const auto led_out = leads_out(resource, before);
  if (!led_out) return led_out.error();
  if (*led_out != nullptr) return problems;
  const auto out = leads_out(resource, now);
  if (!out) return out.error();
  if (*out != nullptr) problems.push_back(another_s(join_path(path, (*out)->name)));
  return problems;
}

Result<bool> Tenancy::may_decide(const ResourceSpec& resource, const FieldSpec& field,
                                 const Message& before) {
  if (is_for_administrators(field)) return false;
  if (field.authority == codec::Authority::owner) return true;
  const auto out = leads_out(resource, before);
  if (!out) return out.error();
  return *out == nullptr;
}

Result<const FieldSpec*> Tenancy::leads_out(const ResourceSpec& resource, const Message& message,
                                            bool wired) {
  for (const FieldSpec& field : resource.fields) {
    if (!field.is_reference() || field.output_only || !codec::has_field(message, field.name))
      continue;
    const bool wire = is_symmetric(field);
    // What it is part of was said when it was made.
    if (wire ? !wired : !field.immutable) continue;
    const auto other = find(field.target(), reference_of(message, field));
    if (!other) return other.error();
    if (*other == nullptr) continue;  // the writer says so
    if (!sees(caller_, field.target(), **other)) return &field;
    // Who has a port may divide it and look at it, wherever it is.
    if (!wire && field.target().descriptor == v1::Port::descriptor()) continue;
    const auto further = leads_out(field.target(), **other, false);
    if (!further) return further.error();
    if (*further != nullptr) return &field;
  }
  return nullptr;
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
  if (!is_symmetric(field) || new_.contains({field.target().type, to})) return Ok{};
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

/// What a tenant may have would be without limits, and its tokens as good as before.
Result<void> Tenancy::check_no_tokens(const Uuid& tenant) {
  const auto stored = store::TopologyWriter(store_).get(*v1::Tenant::descriptor(), tenant);
  if (!stored) return stored.error();
  const std::string name = codec::get_raw(*stored->message, "name");
  const auto tokens = store::TopologyWriter(store_).list(*v1::Token::descriptor());
  if (!tokens) return tokens.error();
  for (const store::StoredResource& token : *tokens) {
    if (codec::get_raw(*token.message, "tenant") != name ||
        gone_.contains(store::id_of(*token.message)))
      continue;
    return Error{ErrorCode::in_use,
                 fmt::format("tenant {} has the token {}: delete the token first", name,
                             codec::get_raw(*token.message, "name"))};
  }
  return Ok{};
}

Result<void> Tenancy::check_removal(const ResourceSpec& resource, const Uuid& id) {
  if (resource.descriptor == v1::Token::descriptor()) gone_.insert(id);
  if (resource.descriptor == v1::Tenant::descriptor()) return check_no_tokens(id);
  if (!caller_.limited()) return Ok{};
  if (auto exists = check_exists(resource, id); !exists) return exists;
  if (new_.contains({resource.type, id})) return Ok{};
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
      if (!sees(caller_, *user_type, *message)) {
        // Who is looked at is not to find it out.
        if (only_looks(*user_type)) continue;
        return true;
      }
      if (reference.on_delete != v1::CASCADE) continue;
      auto deeper = foreign_dependents(*user_type, users[i], depth + 1);
      if (!deeper || *deeper) return deeper;
    }
  }
  return false;
}

}  // namespace plexus::api
