// SPDX-License-Identifier: Apache-2.0
// CloudPlan: what has to be done so that a cloud is as a cloud file says. Made from the file and from what is there;
// nothing is sent. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/cloud_file.h"

namespace plexus::cli {

/// What becomes of one field, in words for people: references by name.
struct FieldChange {
  std::string field;
  std::string before;  ///< empty: it was not set
  std::string after;   ///< empty: it will not be set
};

struct PlanStep {
  enum class Kind : uint8_t {
    create,
    update,  ///< the body may be empty: a `finish` does it all
    unchanged,
    finish,  ///< the rest of a create or update, once all objects are there
    remove,
    absent,  ///< to be removed, but not there
  };
  Kind kind = Kind::unchanged;
  const codec::ResourceSpec* resource = nullptr;
  std::string id;
  std::string label;  ///< "port vm1"
  int line = 0;
  codec::Node body;                  ///< of the request, for create, update and finish
  std::vector<FieldChange> changes;  ///< of a create or an update, those of a `finish` among them

  [[nodiscard]] bool writes() const {
    return kind == Kind::create || kind == Kind::finish || kind == Kind::remove ||
           (kind == Kind::update && !body.members.empty());
  }
};

/// All objects there are of the types in `needed_types()`.
using Existing = std::vector<const google::protobuf::Message*>;

/// The types whose objects must be known to plan for these objects: their own and those they refer to.
[[nodiscard]] std::vector<const codec::ResourceSpec*> needed_types(
    const std::vector<codec::CloudObject>& objects);

/// What a tenant's token makes is the tenant's: objects of the file that name no tenant get it. An empty tenant changes nothing.
void give_tenant(std::vector<codec::CloudObject>& objects, const std::string& tenant);

/// What `plexus apply` does: an object of the file is the existing one with its id or its name, or, without a name, one
/// that has all its fields already. Fields that the file does not mention stay. New objects get random ids. `finish`
/// sets what a circle of references held back at creation.
[[nodiscard]] std::vector<PlanStep> plan_apply(std::vector<codec::CloudObject>& objects,
                                               const Existing& existing, codec::Problems& problems);

/// What `plexus delete -f` does, last object first. References that lead nowhere are no problem.
[[nodiscard]] std::vector<PlanStep> plan_delete(std::vector<codec::CloudObject>& objects,
                                                const Existing& existing,
                                                codec::Problems& problems);

/// The types that a cloud file mentions, be it with an empty list.
[[nodiscard]] std::vector<const codec::ResourceSpec*> mentioned_types(std::string_view file);

/// What --prune removes.
struct Pruning {
  /// Those that nothing which stays or is written refers to: they go first, so that what they hold (an interface, an
  /// address) is free for what comes.
  std::vector<PlanStep> first;
  std::vector<PlanStep> last;  ///< the others, when nothing refers to them any more
  size_t in_scope =
      0;  ///< how many there are of those types and tenants, those to be removed among them
};

/// Of the mentioned types that belong to a tenant, the existing objects of the tenants that occur in the file, which
/// are none of the file's. When no object of the file can have a tenant (`rules: []`), those of `own_tenant`. `steps` is what
/// plan_apply() gave for the same objects. Types without a tenant, and tokens, are never pruned.
[[nodiscard]] Pruning plan_prune(const std::vector<codec::CloudObject>& objects,
                                 const std::vector<const codec::ResourceSpec*>& mentioned,
                                 const std::vector<PlanStep>& steps, const Existing& existing,
                                 const std::string& own_tenant = {});

}  // namespace plexus::cli
