// SPDX-License-Identifier: Apache-2.0
#include "store/topology/writer.h"

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/change_set.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/rules.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {

using google::protobuf::Descriptor;
using google::protobuf::Message;

namespace {

/// Dependents that one transaction of a removal takes along.
constexpr size_t kRemovalBatch = 200;

struct Stored {
  std::unique_ptr<Message> message;
  int64_t version = 0;
  Revision unchanged;  ///< its revision, when nothing was written
  bool written = true;
};

StoredResource to_resource(Committed<Stored> done) {
  return {std::move(done.value.message), done.value.version,
          done.value.written ? done.revision : done.value.unchanged};
}

Error not_found(const Descriptor& type, const Uuid& id) {
  return {ErrorCode::not_found, "there is no " + options_of(type).singular() + " " + id.str()};
}

Error wrong_version(const Message& resource, int64_t is, int64_t wanted) {
  return {ErrorCode::conflict, describe(resource) + " is at version " + std::to_string(is) +
                                   ", not " + std::to_string(wanted) +
                                   ": read it again and repeat the change"};
}

Result<const Descriptor*> known_type(const Descriptor& type) {
  if (!type.options().HasExtension(v1::resource)) {
    return Error{ErrorCode::invalid, type.full_name() + " is no resource"};
  }
  return &type;
}

Result<StoredResource> parse(const Descriptor& type, const std::string& path,
                             const Record& record) {
  StoredResource resource{new_message(type), record.version, record.revision};
  if (!resource.message->ParseFromString(record.value)) return Transaction::damaged(path);
  return resource;
}

/// One change of an existing resource.
Result<Stored> change_one(Transaction& transaction, const Descriptor& type, const Uuid& id,
                          std::optional<int64_t> version, const TopologyWriter::Edit& edit) {
  ChangeSet changes(transaction);
  auto loaded = changes.load(type, id);
  if (!loaded.ok()) return loaded.error();
  ChangeSet::Object& object = **loaded;
  if (!object.before) return not_found(type, id);
  const int64_t is = transaction.version_read(object.path);
  if (version && *version != is) return wrong_version(*object.before, is, *version);
  if (auto ok = check_writable(*object.before); !ok.ok()) return ok.error();
  if (auto ok = edit(*object.now); !ok.ok()) return ok.error();
  if (auto ok = merge_onto_stored(*object.before, *object.now); !ok.ok()) return ok.error();
  fill_in_defaults(*object.now);
  if (auto ok = validate_resource(*object.now); !ok.ok()) return ok.error();
  if (auto ok = apply_rules(changes, object); !ok.ok()) return ok.error();
  if (auto ok = changes.finish(); !ok.ok()) return ok.error();
  return Stored{std::move(object.now), transaction.version_after(object.path),
                transaction.revision_read(object.path), transaction.changes_anything()};
}

/// Removes a resource and its dependents, as many as one transaction takes.
class Removal {
 public:
  explicit Removal(Transaction& transaction) : changes_(transaction) {}

  /// True: `object` itself is gone too, so it is all done.
  Result<bool> remove(ChangeSet::Object& object) {
    if (auto ok = check_writable(*object.before); !ok.ok()) return ok.error();
    // Refuse before anything is touched.
    for (const ReferenceField& reference : references_to(*object.type)) {
      if (reference.on_delete == v1::CASCADE || reference.on_delete == v1::CLEAR) continue;
      const auto users = index_entries(changes_.transaction(), index_of(object, reference));
      if (!users.ok()) return users.error();
      if (!users->empty()) return in_use(object, reference, *users);
    }
    for (const ReferenceField& reference : references_to(*object.type)) {
      if (reference.symmetric) continue;
      auto all = dependents(object, reference);
      if (!all.ok() || !*all) return all;
    }
    // Last, when it is sure that the object goes too: a link has two ends or none.
    for (const ReferenceField& reference : references_to(*object.type)) {
      if (!reference.symmetric) continue;
      if (auto done = unlink(object, reference); !done.ok()) return done;
    }
    object.now.reset();
    return true;
  }

  Result<void> finish() { return changes_.finish(); }
  ChangeSet& changes() { return changes_; }
  size_t cascaded = 0, cleared = 0;

 private:
  static std::string index_of(const ChangeSet::Object& object, const ReferenceField& reference) {
    return index_path(options_of(*object.type).singular(), object.id, reference.index_name());
  }

  Error in_use(const ChangeSet::Object& object, const ReferenceField& reference,
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
            describe(*object.before) + " is in use by " + names + ": remove or change these first"};
  }

  /// The other end of a reference that both hold.
  Result<bool> unlink(const ChangeSet::Object& object, const ReferenceField& reference) {
    const Uuid other = uuid_field(*object.before, *reference.field);
    if (other.is_nil()) return true;
    auto loaded = changes_.load(*reference.target, other);
    if (!loaded.ok()) return loaded.error();
    return clear(**loaded, reference, object.id);
  }

  Result<bool> clear(ChangeSet::Object& user, const ReferenceField& reference, const Uuid& target) {
    if (!user.now || uuid_field(*user.now, *reference.field) != target) return true;
    if (auto ok = check_writable(*user.before); !ok.ok()) return ok.error();
    user.now->GetReflection()->ClearField(user.now.get(), reference.field);
    ++cleared;
    return true;
  }

  Result<bool> dependents(const ChangeSet::Object& object, const ReferenceField& reference) {
    const auto users = index_entries(changes_.transaction(), index_of(object, reference));
    if (!users.ok()) return users.error();
    for (const Uuid& id : *users) {
      if (cascaded + cleared >= kRemovalBatch) return false;
      auto user = changes_.load(*reference.field->containing_type(), id);
      if (!user.ok()) return user.error();
      if (!(*user)->before) {
        return Error{ErrorCode::internal, "the index " + index_of(object, reference) + " lists " +
                                              id.str() +
                                              ", which does not exist: run a check of "
                                              "the store"};
      }
      if (!(*user)->now) continue;  // gone already, by another of its references
      if (reference.on_delete == v1::CASCADE) {
        auto gone = remove(**user);
        if (!gone.ok() || !*gone) return gone;
        ++cascaded;
      } else {
        auto done = clear(**user, reference, object.id);
        if (!done.ok()) return done;
      }
    }
    return true;
  }

  ChangeSet changes_;
};

}  // namespace

Result<StoredResource> TopologyWriter::create(const Message& resource) {
  const Descriptor& type = *resource.GetDescriptor();
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  std::unique_ptr<Message> wanted(resource.New());
  wanted->CopyFrom(resource);
  if (!wanted->GetReflection()->HasField(*wanted, type.FindFieldByName("id"))) {
    set_id(*wanted, Uuid::random());
  }
  if (!wanted->GetReflection()->GetUnknownFields(*wanted).empty()) {
    return Error{
        ErrorCode::unsupported,
        describe(*wanted) + " has fields that this program does not know: use a newer one"};
  }
  if (min_reader_of(*wanted) != 0) {
    return field_error(*wanted, "min_reader", "is set by the system; leave it out");
  }
  fill_in_defaults(*wanted);
  if (auto ok = validate_resource(*wanted); !ok.ok()) return ok.error();

  auto done = commit_with_retries<Stored>(store_, [&](Transaction& transaction) -> Result<Stored> {
    ChangeSet changes(transaction);
    auto loaded = changes.load(type, id_of(*wanted));
    if (!loaded.ok()) return loaded.error();
    ChangeSet::Object& object = **loaded;
    if (object.before) {
      return Error{ErrorCode::exists, describe(*object.before) + " exists already"};
    }
    object.now.reset(wanted->New());
    object.now->CopyFrom(*wanted);
    if (auto ok = apply_rules(changes, object); !ok.ok()) return ok.error();
    if (auto ok = changes.finish(); !ok.ok()) return ok.error();
    return Stored{std::move(object.now), transaction.version_after(object.path), {}, true};
  });
  if (!done.ok()) return done.error();
  return to_resource(std::move(*done));
}

Result<StoredResource> TopologyWriter::get(const Descriptor& type, const Uuid& id) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  const std::string path = object_path(options_of(type).singular(), id);
  auto record = store_.get(path);
  if (!record.ok()) return record.error();
  if (!*record) return not_found(type, id);
  return parse(type, path, **record);
}

Result<StoredResource> TopologyWriter::find(const Descriptor& type, std::string_view scope,
                                            std::string_view name) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  const std::string& singular = options_of(type).singular();
  const std::string path = claim_path(singular + ".name", scope, name);
  auto record = store_.get(path);
  if (!record.ok()) return record.error();
  if (!*record) {
    return Error{ErrorCode::not_found, "there is no " + singular + " named " + std::string(name)};
  }
  v1::UniqueClaim claim;
  if (!claim.ParseFromString((*record)->value)) return Transaction::damaged(path);
  return get(type, Uuid::from_bytes(claim.id()).value_or(Uuid{}));
}

Result<std::vector<StoredResource>> TopologyWriter::list(const Descriptor& type) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  const std::string directory = objects_path(options_of(type).singular());
  auto records = store_.scan(directory);
  if (!records.ok()) return records.error();
  // "<directory>/hh/<36 characters>"; what is longer is an index.
  const size_t length = directory.size() + 4 + 36;
  std::vector<StoredResource> resources;
  for (const auto& [path, record] : *records) {
    if (path.size() != length) continue;
    auto resource = parse(type, path, record);
    if (!resource.ok()) return resource.error();
    resources.push_back(std::move(*resource));
  }
  return resources;
}

Result<StoredResource> TopologyWriter::update(const Message& resource,
                                              std::optional<int64_t> version) {
  return modify(
      *resource.GetDescriptor(), id_of(resource),
      [&](Message& message) -> Result<void> {
        message.CopyFrom(resource);
        return Ok{};
      },
      version);
}

Result<StoredResource> TopologyWriter::modify(const Descriptor& type, const Uuid& id,
                                              const Edit& change, std::optional<int64_t> version) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  auto done = commit_with_retries<Stored>(store_, [&](Transaction& transaction) {
    return change_one(transaction, type, id, version, change);
  });
  if (!done.ok()) return done.error();
  return to_resource(std::move(*done));
}

Result<Removed> TopologyWriter::remove(const Descriptor& type, const Uuid& id,
                                       std::optional<int64_t> version) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  struct Round {
    bool all = false;
    size_t cascaded = 0, cleared = 0;
  };
  Removed removed;
  while (true) {
    auto round = commit_with_retries<Round>(store_, [&](Transaction& transaction) -> Result<Round> {
      Removal removal(transaction);
      auto loaded = removal.changes().load(type, id);
      if (!loaded.ok()) return loaded.error();
      ChangeSet::Object& object = **loaded;
      if (!object.before) return not_found(type, id);
      const int64_t is = transaction.version_read(object.path);
      if (version && *version != is) return wrong_version(*object.before, is, *version);
      auto all = removal.remove(object);
      if (!all.ok()) return all.error();
      if (auto ok = removal.finish(); !ok.ok()) return ok.error();
      return Round{*all, removal.cascaded, removal.cleared};
    });
    if (!round.ok()) return round.error();
    removed.revision = round->revision;
    removed.cascaded += round->value.cascaded;
    removed.cleared += round->value.cleared;
    if (round->value.all) return removed;
  }
}

}  // namespace plexus::store
