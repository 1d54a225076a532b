// SPDX-License-Identifier: Apache-2.0
// ChangeSet: the resources that one transaction touches, before and after, and all that follows from
// the difference: references must lead somewhere, indexes and claims move along, quotas hold, the
// change is logged.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/change_log.h"
#include "store/topology/claims.h"
#include "store/topology/schema.h"
#include "store/topology/transaction.h"

namespace plexus::store {

struct Claimant;

class ChangeSet {
 public:
  using Message = google::protobuf::Message;
  using Descriptor = google::protobuf::Descriptor;

  /// One resource. Edit `now` only after check_writable(before).
  struct Object {
    std::string path;
    const Descriptor* type = nullptr;
    Uuid id;
    std::unique_ptr<Message> before;  ///< null: it is new, or does not exist
    std::unique_ptr<Message> now;     ///< null: it goes, or does not exist
    size_t operation = 0;             ///< the last one that meant it or, so far, loaded it
    bool meant = false;               ///< an operation is about it, it does not only follow
    [[nodiscard]] const Message* either() const { return now ? now.get() : before.get(); }
  };

  explicit ChangeSet(Transaction& transaction) : transaction_(transaction) {}

  /// Reads a resource (once); `before` and `now` are null when it does not exist. The pointer is
  /// good as long as the set.
  Result<Object*> load(const Descriptor& type, const Uuid& id);

  /// What has been loaded; nullptr: nothing yet.
  [[nodiscard]] const Object* loaded(const Descriptor& type, const Uuid& id) const;

  /// Which one of several operations is at work: what it loads is its doing.
  void begin(size_t operation) { operation_ = operation; }
  /// The operation at work means this object.
  void mean(Object& object) const {
    object.operation = operation_;
    object.meant = true;
  }
  /// The operation that is to blame for the error that finish() returned.
  [[nodiscard]] size_t blamed() const { return blamed_; }

  /// What references, indexes, claims, router networks, belongings, quotas, the log and the records
  /// need, written into the transaction. Call once, when all objects are as they shall be.
  Result<void> finish(const Author& author);

  [[nodiscard]] Transaction& transaction() { return transaction_; }

 private:
  std::vector<Object*> touched();
  Result<void> check_references(const Object& object);
  Result<void> check_reference(const Object& object, const ReferenceField& reference,
                               const Uuid& target, bool fresh);
  Result<std::vector<Claimant>> claimants(const std::vector<Object*>& touched);
  Result<void> move_claims(const std::vector<Object*>& touched, const Author& author);
  Result<void> move_references(const Object& object);
  Result<std::vector<Claim>> claims(const Message* message);
  Result<void> give_up(const Claimant& claimant, const Claim& claim);
  Result<void> take(const Claimant& claimant, const Claim& claim, const Author& author);
  /// invalid: a tenant takes an address that only administrators may give it.
  Result<void> check_delegated(const Claimant& claimant, const Claim& claim, const Author& author);
  Result<void> stand_on_another_part(const v1::UniqueClaim& record);
  Result<std::string> name(const Descriptor& type, const Uuid& id, const Author& author);
  Result<std::string> holder(const v1::UniqueClaim& record, const Claim& claim, Obstacle obstacle,
                             const Author& author);
  Error taken(const Claimant& claimant, const Claim& claim, const v1::UniqueClaim& record,
              Obstacle obstacle, const Author& author);
  void log(const std::vector<Object*>& touched, const Author& author);

  Transaction& transaction_;
  std::map<std::string, std::unique_ptr<Object>> objects_;
  size_t operation_ = 0;
  size_t blamed_ = 0;
};

/// Who claimed and will claim something.
struct Claimant {
  const ChangeSet::Object* object =
      nullptr;                     ///< that changes: the claimant itself, or why its claims do
  Uuid id;                         ///< of the claimant
  std::vector<Claim> before, now;  ///< sorted
};

}  // namespace plexus::store
