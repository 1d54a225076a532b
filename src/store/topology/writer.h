// SPDX-License-Identifier: Apache-2.0
// TopologyWriter: creates, reads, changes and removes resources in a store, and keeps the topology
// whole while it does: whatever fails, the store holds a topology in which every reference leads
// somewhere and nothing that must be unique is there twice.
//
// Works on any message of proto/plexus/v1/resources.proto by reflection; what the options cannot
// say about ports and routes is in rules.cc. Every operation is one transaction (removing something
// with very many dependents: several, each whole) that checks the versions of all it has read. When
// another writer was faster it reads again and repeats, a bounded number of times.
//
// Errors: invalid (message: field and remedy), not_found, exists (a unique value is taken; names
// who has it, as far as the author may be told), conflict (the version given is not the stored one), in_use (names who refers to it),
// unsupported (the stored record is of a newer schema), no_space (more than the tenant may have), and
// what the store reports. What is being removed cannot be changed (conflict).
//
// Threads: any; no state of its own besides the store.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"
#include "store/topology/change_log.h"

namespace plexus::store {

/// A resource as it is stored.
struct StoredResource {
  std::unique_ptr<google::protobuf::Message> message;
  int64_t version = 0;  ///< goes up with each change; what `If-Match` compares
  Revision revision;    ///< of its last change
};

/// Another resource that a removal took away too, or cleared a reference of.
struct Touched {
  const google::protobuf::Descriptor* type = nullptr;
  Uuid id = {};
  std::string name = {}, tenant = {};  ///< empty: it has none
  bool removed = false;
};

/// What a removal did.
struct Removed {
  Revision revision;
  size_t cascaded = 0;                ///< other resources that were removed with it
  size_t cleared = 0;                 ///< other resources that had a reference to it cleared
  std::vector<Touched> touched = {};  ///< these, one by one
};

/// Edits a freshly read resource; an error from it ends the operation. May run several times.
using Edit = std::function<Result<void>(google::protobuf::Message&)>;

/// One of a batch.
struct Operation {
  enum class Kind : uint8_t { create, modify, remove };
  Kind kind = Kind::create;
  const google::protobuf::Descriptor* type = nullptr;
  Uuid id = {};                                              ///< modify, remove
  std::unique_ptr<google::protobuf::Message> resource = {};  ///< create
  Edit edit = {};                                            ///< modify
  std::optional<int64_t> version = {};                       ///< modify, remove: only if stored so
};
struct BatchDone {
  Revision revision;
  /// One for each operation, as they are at the end; message null: removed.
  std::vector<StoredResource> resources;
};

class TopologyWriter {
 public:
  static constexpr size_t kMaxOperations = 500;  ///< of one batch

  /// `store` must outlive the writer.
  explicit TopologyWriter(Store& store, Author author = {})
      : store_(store), author_(std::move(author)) {}

  /// All or nothing, in one transaction; later operations see what earlier ones did. Of what must be
  /// unique and what is limited only the end counts: names may be swapped. `failed`, when not null,
  /// gets the index of the operation to blame for an error. invalid: also more than one transaction
  /// takes.
  Result<BatchDone> batch(std::vector<Operation>& operations, size_t* failed = nullptr);

  /// Stores a new resource. An absent id is chosen at random; a router port without a MAC gets a
  /// locally administered one. Returns it as stored.
  Result<StoredResource> create(const google::protobuf::Message& resource);

  /// `type`: descriptor of a resource message, e.g. v1::Bridge::descriptor(); see schema.h for the
  /// ways to find one by its name.
  Result<StoredResource> get(const google::protobuf::Descriptor& type, const Uuid& id);

  /// By unique name. `scope`: the tenant ("" for none) or, for routes, the text of the router's id.
  Result<StoredResource> find(const google::protobuf::Descriptor& type, std::string_view scope,
                              std::string_view name);

  /// All of one type, sorted by id.
  Result<std::vector<StoredResource>> list(const google::protobuf::Descriptor& type);

  /// Replaces the known fields of the stored resource of the same id; fields that only a newer
  /// schema knows stay as they are stored. With `version`, only if that is the stored one. Without
  /// a change nothing is written and the stored resource is returned.
  Result<StoredResource> update(const google::protobuf::Message& resource,
                                std::optional<int64_t> version = std::nullopt);

  /// Reads, lets `change` edit the message, and stores it as update() does.
  Result<StoredResource> modify(const google::protobuf::Descriptor& type, const Uuid& id,
                                const Edit& change, std::optional<int64_t> version = std::nullopt);

  /// Removes a resource and does to those that refer to it what their field says: refuse (in_use),
  /// remove them too, or clear the field. With more dependents than one transaction takes, the
  /// resource is first marked `deleting`, so that nothing new refers to it, and goes last. When this
  /// is interrupted, resume_removals() or another remove() goes on.
  Result<Removed> remove(const google::protobuf::Descriptor& type, const Uuid& id,
                         std::optional<int64_t> version = std::nullopt);

  /// How many dependents one transaction of a removal takes along. For tests: smaller.
  void set_removal_batch(size_t size) { removal_batch_ = size; }

 private:
  Store& store_;
  Author author_;
  size_t removal_batch_ = 200;
};

/// Goes on with removals that were begun and not finished, because their server died or the store
/// went away. How many were finished. Others may do the same at the same time.
Result<size_t> resume_removals(Store& store, const Author& author);

}  // namespace plexus::store
