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
// who has it), conflict (the version given is not the stored one), in_use (names who refers to it),
// unsupported (the stored record is of a newer schema), and what the store reports.
//
// Threads: any; no state of its own besides the store.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

/// A resource as it is stored.
struct StoredResource {
  std::unique_ptr<google::protobuf::Message> message;
  int64_t version = 0;  ///< goes up with each change; what `If-Match` compares
  Revision revision;    ///< of its last change
};

/// What a removal did.
struct Removed {
  Revision revision;
  size_t cascaded = 0;  ///< other resources that were removed with it
  size_t cleared = 0;   ///< other resources that had a reference to it cleared
};

class TopologyWriter {
 public:
  /// `store` must outlive the writer.
  explicit TopologyWriter(Store& store) : store_(store) {}

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

  /// Reads, lets `change` edit the message, and stores it as update() does. `change` may run
  /// several times, each on a freshly read message; an error from it ends the operation.
  using Edit = std::function<Result<void>(google::protobuf::Message&)>;
  Result<StoredResource> modify(const google::protobuf::Descriptor& type, const Uuid& id,
                                const Edit& change, std::optional<int64_t> version = std::nullopt);

  /// Removes a resource and does to those that refer to it what their field says: refuse (in_use),
  /// remove them too, or clear the field. Interrupted amid very many dependents it leaves the
  /// resource and some of them: repeat.
  Result<Removed> remove(const google::protobuf::Descriptor& type, const Uuid& id,
                         std::optional<int64_t> version = std::nullopt);

 private:
  Store& store_;
};

}  // namespace plexus::store
