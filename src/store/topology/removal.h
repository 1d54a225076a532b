// SPDX-License-Identifier: Apache-2.0
// Removal: takes a resource away within one transaction, and does to those that refer to it what
// their field says: refuse, remove them too, or clear the field. As many as the transaction takes;
// the rest is for the next one.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "store/topology/change_set.h"
#include "store/topology/writer.h"

namespace plexus::store {

class Removal {
 public:
  /// `budget`: how many other resources may be changed or removed.
  Removal(ChangeSet& changes, size_t budget) : changes_(changes), budget_(budget) {}

  /// True: `object` itself is gone too, so it is all done. in_use: names who refers to it.
  Result<bool> remove(ChangeSet::Object& object);

  [[nodiscard]] size_t cascaded() const { return cascaded_; }
  [[nodiscard]] size_t cleared() const { return cleared_; }
  /// These, in the order in which they were met.
  [[nodiscard]] std::vector<Touched>& touched() { return touched_; }

 private:
  Error in_use(const ChangeSet::Object& object, const ReferenceField& reference,
               const std::vector<Uuid>& users);
  Result<bool> refused_by(const ChangeSet::Object& object, const ReferenceField& reference);
  Result<bool> dependents(const ChangeSet::Object& object, const ReferenceField& reference);
  Result<void> unlink(const ChangeSet::Object& object, const ReferenceField& reference);
  Result<void> clear(ChangeSet::Object& user, const ReferenceField& reference, const Uuid& target);

  ChangeSet& changes_;
  size_t budget_;
  size_t cascaded_ = 0, cleared_ = 0;
  std::vector<Touched> touched_;
};

}  // namespace plexus::store
