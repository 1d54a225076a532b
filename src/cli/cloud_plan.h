// SPDX-License-Identifier: Apache-2.0
// CloudPlan: what has to be done so that a cloud is as a cloud file says. Made from the file and from what is there;
// nothing is sent. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/cloud_file.h"

namespace plexus::cli {

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
  codec::Node body;                 ///< of the request, for create, update and finish
  std::vector<std::string> fields;  ///< that an update changes
};

/// All objects there are of the types in `needed_types()`.
using Existing = std::vector<const google::protobuf::Message*>;

/// The types whose objects must be known to plan for these objects: their own and those they refer to.
[[nodiscard]] std::vector<const codec::ResourceSpec*> needed_types(
    const std::vector<codec::CloudObject>& objects);

/// What `plexus apply` does: an object of the file is the existing one with its id or its name, or, without a name, one
/// that has all its fields already. Fields that the file does not mention stay. New objects get random ids. `finish`
/// sets what a circle of references held back at creation.
[[nodiscard]] std::vector<PlanStep> plan_apply(std::vector<codec::CloudObject>& objects,
                                               const Existing& existing, codec::Problems& problems);

/// What `plexus delete -f` does, last object first. References that lead nowhere are no problem.
[[nodiscard]] std::vector<PlanStep> plan_delete(std::vector<codec::CloudObject>& objects,
                                                const Existing& existing,
                                                codec::Problems& problems);

}  // namespace plexus::cli
