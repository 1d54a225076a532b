// SPDX-License-Identifier: Apache-2.0
// Mirrors, marks, redirection and sub-ports of a scenario: from the objects of a cloud file to what hosts are told.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <vector>

#include "model/records.h"
#include "plexus/v1/resources.pb.h"

namespace plexus::scenario {

struct ServiceRecords {
  std::map<MirrorId, model::Mirror> mirrors;

  /// Takes over the object when it is of these kinds.
  void take(const Uuid& id, const google::protobuf::Message& object);
};

/// Appends what turns the ones into the others.
void add_changes(const ServiceRecords& before, const ServiceRecords& after,
                 std::vector<model::Change>& out);

// Records with those of their fields that make services.
[[nodiscard]] model::Bridge with_services(const v1::Bridge& record);
[[nodiscard]] model::Router with_services(const v1::Router& record);
[[nodiscard]] model::Port with_services(const v1::Port& record);
[[nodiscard]] model::Rule with_services(const v1::Rule& record);

}  // namespace plexus::scenario
