// SPDX-License-Identifier: Apache-2.0
#include "store/topology/writer.h"

#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/change_set.h"
#include "store/topology/foresight.h"
#include "store/topology/layout.h"
#include "store/topology/removal.h"
#include "store/topology/rules.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {

using google::protobuf::Descriptor;
using google::protobuf::Message;

namespace {

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

Error too_large(size_t bytes) {
  return {ErrorCode::invalid, "this is too much for one transaction: " + std::to_string(bytes) +
                                  " bytes of at most " + std::to_string(kMaxTransactionBytes) +
                                  ": do it in several parts"};
}

/// Checks what can be checked of a new resource by itself, and completes it.
Result<std::unique_ptr<Message>> prepare_creation(const Message& resource) {
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
  for (const char* field : {"min_reader", "deleting"}) {
    if (wanted->GetReflection()->HasField(*wanted, type.FindFieldByName(field))) {
      return field_error(*wanted, field, "is set by the system; leave it out");
    }
  }
  fill_in_defaults(*wanted);
  if (auto ok = validate_resource(*wanted); !ok.ok()) return ok.error();
  return wanted;
}

/// A batch at work in one transaction.
class Batch {
 public:
  Batch(Transaction& transaction, const std::vector<Operation>& operations,
        const std::vector<std::unique_ptr<Message>>& created, size_t removal_batch)
      : operations_(operations),
        created_(created),
        removal_batch_(removal_batch),
        changes_(transaction) {}

  /// Which operation is to blame when run() fails.
  [[nodiscard]] size_t blamed() const { return blamed_; }

  Result<BatchDone> run(const Author& author) {
    if (auto read = foresee(); !read.ok()) return read.error();
    for (size_t i = 0; i < operations_.size(); ++i) {
      blamed_ = i;
      changes_.begin(i);
      if (auto ok = apply(i); !ok.ok()) return ok.error();
    }
    if (auto ok = changes_.finish(author); !ok.ok()) {
      blamed_ = changes_.blamed();
      return ok.error();
    }
    blamed_ = operations_.size() - 1;
    Transaction& transaction = changes_.transaction();
    if (const size_t bytes = transaction.bytes(); bytes > kMaxTransactionBytes) {
      return too_large(bytes);
    }
    BatchDone done;
    for (const ChangeSet::Object* object : objects_) {
      StoredResource resource;
      if (object->now) {
        resource.message.reset(object->now->New());
        resource.message->CopyFrom(*object->now);
        resource.version = transaction.version_after(object->path);
        // 0 until it is committed, if it was changed.
        if (resource.version == transaction.version_read(object->path)) {
          resource.revision = transaction.revision_read(object->path);
        }
      }
      done.resources.push_back(std::move(resource));
    }
    return done;
  }

 private:
  /// Fetches in a few round trips what the operations are about to read.
  Result<void> foresee() {
    Transaction& transaction = changes_.transaction();
    Foresight foresight(transaction);
    for (size_t i = 0; i < operations_.size(); ++i) {
      if (created_[i]) {
        foresight.change(nullptr, created_[i].get());
      } else {
        foresight.object(*operations_[i].type, operations_[i].id);
      }
    }
    if (auto done = foresight.fetch(); !done.ok()) return done;
    for (const Operation& operation : operations_) {
      if (operation.kind == Operation::Kind::create) continue;
      const std::string* raw =
          transaction.peek(object_path(options_of(*operation.type).singular(), operation.id));
      auto before = new_message(*operation.type);
      if (raw == nullptr || !before->ParseFromString(*raw)) continue;
      if (operation.kind == Operation::Kind::remove) {
        foresight.removal(*before);
        continue;
      }
      // One alone is foreseen when it has been edited; of many each is edited once more.
      if (operations_.size() == 1) continue;
      std::unique_ptr<Message> now(before->New());
      now->CopyFrom(*before);
      if (operation.edit(*now).ok()) foresight.change(before.get(), now.get());
    }
    return foresight.fetch();
  }

  Result<void> apply(size_t i) {
    const Operation& operation = operations_[i];
    const Uuid id = operation.kind == Operation::Kind::create ? id_of(*created_[i]) : operation.id;
    auto loaded = changes_.load(*operation.type, id);
    if (!loaded.ok()) return loaded.error();
    ChangeSet::Object& object = **loaded;
    changes_.mean(object);
    objects_.push_back(&object);
    if (operation.kind == Operation::Kind::create) return create(object, *created_[i]);
    if (!object.now) return not_found(*operation.type, id);
    const int64_t is = changes_.transaction().version_read(object.path);
    if (operation.version && *operation.version != is) {
      return wrong_version(*object.now, is, *operation.version);
    }
    if (operation.kind == Operation::Kind::modify) return modify(object, operation.edit);
    return remove(object);
  }

  Result<void> create(ChangeSet::Object& object, const Message& wanted) {
    if (object.now) return Error{ErrorCode::exists, describe(*object.now) + " exists already"};
    if (object.before) {
      return Error{ErrorCode::exists,
                   describe(*object.before) + " is removed by the same batch: choose another id"};
    }
    object.now.reset(wanted.New());
    object.now->CopyFrom(wanted);
    return apply_rules(changes_, object);
  }

  Result<void> modify(ChangeSet::Object& object, const Edit& edit) {
    if (auto ok = check_writable(*object.now); !ok.ok()) return ok;
    if (is_deleting(*object.now)) {
      return Error{ErrorCode::conflict,
                   describe(*object.now) + " is being removed: it cannot be changed any more"};
    }
    std::unique_ptr<Message> was(object.now->New());
    was->CopyFrom(*object.now);
    if (auto ok = edit(*object.now); !ok.ok()) return ok;
    if (auto ok = merge_onto_stored(*was, *object.now); !ok.ok()) return ok;
    fill_in_defaults(*object.now);
    if (auto ok = validate_resource(*object.now); !ok.ok()) return ok;
    if (operations_.size() == 1) {
      Foresight foresight(changes_.transaction());
      foresight.change(was.get(), object.now.get());
      if (auto done = foresight.fetch(); !done.ok()) return done;
    }
    return apply_rules(changes_, object);
  }

  Result<void> remove(ChangeSet::Object& object) {
    const std::string what = describe(*object.now);
    if (is_deleting(*object.now)) {
      return Error{ErrorCode::conflict, what + " is being removed already"};
    }
    Removal removal(changes_, removal_batch_);
    auto all = removal.remove(object);
    if (!all.ok()) return all.error();
    if (*all) return Ok{};
    return Error{ErrorCode::invalid, what + " has more than " + std::to_string(removal_batch_) +
                                         " others that depend on it: remove it by itself, not in "
                                         "a batch"};
  }

  const std::vector<Operation>& operations_;
  const std::vector<std::unique_ptr<Message>>& created_;
  const size_t removal_batch_;
  ChangeSet changes_;
  std::vector<const ChangeSet::Object*> objects_;
  size_t blamed_ = 0;
};

}  // namespace

Result<BatchDone> TopologyWriter::batch(std::vector<Operation>& operations, size_t* failed) {
  size_t ignored = 0;
  size_t& blamed = failed != nullptr ? *failed : ignored;
  blamed = 0;
  if (operations.size() > kMaxOperations) {
    blamed = kMaxOperations;
    return Error{ErrorCode::invalid, std::to_string(operations.size()) +
                                         " operations are too many for one batch; at most " +
                                         std::to_string(kMaxOperations) +
                                         ": do them in several parts"};
  }
  if (operations.empty()) return Error{ErrorCode::invalid, "a batch wants at least one operation"};
  std::vector<std::unique_ptr<Message>> created(operations.size());
  for (size_t i = 0; i < operations.size(); ++i) {
    blamed = i;
    if (operations[i].kind == Operation::Kind::create) {
      auto wanted = prepare_creation(*operations[i].resource);
      if (!wanted.ok()) return wanted.error();
      created[i] = std::move(*wanted);
      operations[i].type = created[i]->GetDescriptor();
    } else if (auto ok = known_type(*operations[i].type); !ok.ok()) {
      return ok.error();
    }
  }
  blamed = 0;
  auto done =
      commit_with_retries<BatchDone>(store_, [&](Transaction& transaction) -> Result<BatchDone> {
        Batch batch(transaction, operations, created, removal_batch_);
        auto finished = batch.run(author_);
        blamed = batch.blamed();
        return finished;
      });
  if (!done.ok()) return done.error();
  done->value.revision = done->revision;
  for (StoredResource& resource : done->value.resources) {
    if (resource.revision == Revision{}) resource.revision = done->revision;
  }
  return std::move(done->value);
}

namespace {

Result<StoredResource> only(Result<BatchDone> done) {
  if (!done.ok()) return done.error();
  return std::move(done->resources.front());
}

}  // namespace

Result<StoredResource> TopologyWriter::create(const Message& resource) {
  std::vector<Operation> one(1);
  one[0].resource.reset(resource.New());
  one[0].resource->CopyFrom(resource);
  return only(batch(one));
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
  std::vector<Operation> one(1);
  one[0].kind = Operation::Kind::modify;
  one[0].type = &type;
  one[0].id = id;
  one[0].edit = change;
  one[0].version = version;
  return only(batch(one));
}

namespace {

struct Round {
  bool all = false;
  size_t cascaded = 0, cleared = 0;
  std::vector<Touched> touched = {};
};

/// Marks the resource and writes down that it is on its way out.
Result<Round> begin_removal(Transaction& transaction, const Descriptor& type, const Uuid& id,
                            const Author& author) {
  ChangeSet changes(transaction);
  auto loaded = changes.load(type, id);
  if (!loaded.ok()) return loaded.error();
  set_deleting(*(*loaded)->now);
  v1::Removal removal;
  removal.set_type(options_of(type).singular());
  removal.set_id(id.raw());
  const std::string path = removing_path(id);
  if (auto read = transaction.read(path); !read.ok()) return read.error();
  transaction.write_message(path, removal);
  if (auto ok = changes.finish(author); !ok.ok()) return ok.error();
  return Round{};
}

/// As much of a removal as one transaction takes.
Result<Round> removal_round(Transaction& transaction, const Descriptor& type, const Uuid& id,
                            std::optional<int64_t> version, size_t batch, const Author& author) {
  ChangeSet changes(transaction);
  auto loaded = changes.load(type, id);
  if (!loaded.ok()) return loaded.error();
  ChangeSet::Object& object = **loaded;
  if (!object.before) return not_found(type, id);
  const int64_t is = transaction.version_read(object.path);
  if (version && *version != is) return wrong_version(*object.before, is, *version);
  changes.mean(object);
  const bool begun = is_deleting(*object.before);
  Foresight foresight(transaction);
  foresight.removal(*object.before);
  if (auto done = foresight.fetch(); !done.ok()) return done.error();
  Removal removal(changes, batch);
  auto all = removal.remove(object);
  if (!all.ok()) return all.error();
  if (!*all && !begun) return begin_removal(transaction, type, id, author);
  if (*all && begun) {
    const std::string path = removing_path(id);
    if (auto read = transaction.read(path); !read.ok()) return read.error();
    transaction.remove(path);
  }
  if (auto ok = changes.finish(author); !ok.ok()) return ok.error();
  return Round{*all, removal.cascaded(), removal.cleared(), std::move(removal.touched())};
}

}  // namespace

Result<Removed> TopologyWriter::remove(const Descriptor& type, const Uuid& id,
                                       std::optional<int64_t> version) {
  if (auto ok = known_type(type); !ok.ok()) return ok.error();
  Removed removed;
  size_t batch = removal_batch_;
  for (bool first = true;; first = false) {
    bool fits = true;
    const auto body = [&](Transaction& transaction) -> Result<Round> {
      auto done =
          removal_round(transaction, type, id, first ? version : std::nullopt, batch, author_);
      fits = !done.ok() || transaction.bytes() <= kMaxTransactionBytes;
      return fits ? std::move(done) : Result<Round>(too_large(transaction.bytes()));
    };
    auto round = commit_with_retries<Round>(store_, body);
    // Those that go may stand in large buckets, each in others.
    for (; !round.ok() && !fits && batch > 1; round = commit_with_retries<Round>(store_, body)) {
      batch /= 2;
    }
    if (!round.ok()) {
      // Somebody else went on with it, and was done first.
      if (!first && round.error().code == ErrorCode::not_found) return removed;
      return round.error();
    }
    removed.revision = round->revision;
    removed.cascaded += round->value.cascaded;
    removed.cleared += round->value.cleared;
    std::move(round->value.touched.begin(), round->value.touched.end(),
              std::back_inserter(removed.touched));
    if (round->value.all) return removed;
  }
}

Result<size_t> resume_removals(Store& store, const Author& author) {
  auto names = store.list(removals_path());
  if (!names.ok()) return names.error();
  size_t finished = 0;
  Result<size_t> outcome = finished;
  for (const std::string& name : *names) {
    const std::string path = removals_path() + "/" + name;
    auto record = store.get(path);
    if (!record.ok()) return record.error();
    if (!*record) continue;  // somebody else was faster
    v1::Removal removal;
    if (!removal.ParseFromString((*record)->value)) return Transaction::damaged(path);
    const Descriptor* type = find_resource_type(removal.type());
    if (type == nullptr) continue;  // of a newer program, which will see to it
    auto done = TopologyWriter(store, author)
                    .remove(*type, Uuid::from_bytes(removal.id()).value_or(Uuid{}));
    if (done.ok()) {
      ++finished;
    } else if (done.error().code != ErrorCode::not_found && outcome.ok()) {
      outcome = done.error().in("going on with the removal of " + removal.type() + " " + name);
    }
  }
  if (!outcome.ok()) return outcome;
  return finished;
}

}  // namespace plexus::store
