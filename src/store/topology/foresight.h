// SPDX-License-Identifier: Apache-2.0
// Foresight: guesses what changes are about to read, and fetches it in a handful of round trips
// instead of one for each record. A wrong guess costs time, nothing else: only what is really read
// counts for the transaction.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/topology/schema.h"
#include "store/topology/transaction.h"

namespace plexus::store {

class Foresight {
 public:
  using Message = google::protobuf::Message;
  using Descriptor = google::protobuf::Descriptor;

  explicit Foresight(Transaction& transaction) : transaction_(transaction) {}

  /// An object will be read.
  void object(const Descriptor& type, const Uuid& id);
  /// It will change from `before` to `now`; null: it is not there.
  void change(const Message* before, const Message* now);
  /// It will be removed, and what depends on it with it.
  void removal(const Message& object);

  /// Fetches all of that, and what shows to be needed on the way.
  Result<void> fetch();

 private:
  /// An entry of an index will move; nil: all entries will be read.
  struct Bucket {
    std::string index;
    Uuid entry;
  };
  struct Dependents {
    std::string index;
    Uuid target;
    ReferenceField reference;
  };
  /// A port whose claims depend on what its peer is.
  struct Link {
    std::string peer_path;
    std::shared_ptr<Message> port;
  };

  void references(const Message* before, const Message* now);
  void link(const Message* before, const Message* now, const ReferenceField& reference);
  void want(std::string path) { wanted_.push_back(std::move(path)); }
  Result<void> fetch_wanted();
  void follow(const Bucket& bucket);
  void follow(const Link& link);
  void follow_tenant(const std::string& claim);
  [[nodiscard]] std::vector<std::string> users_of(const Dependents& dependents) const;
  void follow(const Dependents& dependents);

  Transaction& transaction_;
  std::vector<std::string> wanted_;
  std::vector<Bucket> buckets_;
  std::vector<Link> links_;
  std::map<std::string, std::shared_ptr<Message>> ports_;  ///< as they will be
  std::vector<std::string> tenant_claims_;
  std::vector<Dependents> dependents_;
};

}  // namespace plexus::store
