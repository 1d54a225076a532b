// SPDX-License-Identifier: Apache-2.0
// AccessLists: what Access (store.h) is in ZooKeeper's terms. Without an identity everybody may do
// everything. With one, znodes belong to digest ids: "api", "hosts" (every host), "h-<uuid>" (one).
//
//   a record          api: all; hosts: read, unless it is secret; the hosts of its Access: all but
//                     changing who may
//   a directory       api: all; hosts: read
//   the beacons' one  api: all; hosts: read, make their own
//
// A host knows no secret of the API's, so what it makes (its live record, answers) it gives to itself
// and the hosts; an API server is one of "hosts" as well, and may remove what lies in its directories.
//
// Threads: any.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "store/identity.h"
#include "store/store.h"
#include "store/zookeeper/session.h"

namespace plexus::store {

class AccessLists {
 public:
  explicit AccessLists(std::optional<Identity> identity);

  /// False: everything is open to everybody, and Access means nothing.
  [[nodiscard]] bool enforced() const { return identity_.has_value(); }
  [[nodiscard]] std::shared_ptr<const Acl> of(const Access& access);
  [[nodiscard]] std::shared_ptr<const Acl> directory() const { return directory_; }
  [[nodiscard]] std::shared_ptr<const Acl> beacons() const { return beacons_; }
  [[nodiscard]] std::shared_ptr<const Acl> open() const { return open_; }
  [[nodiscard]] std::shared_ptr<const Acl> own() const { return own_; }
  /// What a session proves to be.
  [[nodiscard]] std::vector<Session::Credential> credentials() const;
  /// For messages: "the identity api", "a process without identity".
  [[nodiscard]] std::string who() const;

 private:
  [[nodiscard]] std::optional<std::string> host_id(HostId host);

  const std::optional<Identity> identity_;
  std::string api_, hosts_, me_;  ///< digest ids; api_ is empty for a host
  std::shared_ptr<const Acl> open_, plain_, directory_, beacons_, own_;
  std::mutex mutex_;
  std::map<HostId, std::string> host_ids_;
};

}  // namespace plexus::store
