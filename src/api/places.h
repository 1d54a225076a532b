// SPDX-License-Identifier: Apache-2.0
// Places: how many requests that last each caller may have at a time at this server: watch streams, waits for hosts. Each of
// them has a connection for long, so without a bound one token takes those of all others. Counted for a tenant, whatever
// its tokens; for a token that has none; not at all for administrators who came without one, by the unix socket.
//
// Threads: any.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "api/caller.h"

namespace plexus::api {

class Places {
 public:
  static constexpr unsigned kEach = 64;
  /// Goes back when its last copy goes, also after the Places themselves. Null where nobody counts.
  using Place = std::shared_ptr<void>;

  /// nullopt: the caller has all that it may have.
  [[nodiscard]] std::optional<Place> take(const Caller& caller);

 private:
  struct Taken {
    std::mutex mutex;
    std::map<std::string, unsigned> of;  ///< guarded by mutex; by tenant, or text of the token's id
  };
  const std::shared_ptr<Taken> taken_ = std::make_shared<Taken>();
};

}  // namespace plexus::api
