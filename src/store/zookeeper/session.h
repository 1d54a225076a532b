// SPDX-License-Identifier: Apache-2.0
// Session: one session with a ZooKeeper ensemble, over Debian's C client. It connects again by
// itself while the session lives; when it has expired, it is of no more use.
//
// Each request has a callback that runs exactly once: with a ZooKeeper error code (ZOK, ZNONODE, ...)
// on the client's completion thread, or in the caller when the request could not be queued. In one
// session watch events come before any answer that reflects a later state.
//
// Threads: requests from any thread; close() not from a callback. Callbacks must not make requests,
// nor wait: they hand over.
#pragma once

#include <zookeeper/zookeeper.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"

namespace plexus::store {

/// Who may do what with a znode: ids like "digest", "api:<hash>" and ZOO_PERM_ bits.
struct AclEntry {
  int32_t permissions = 0;
  std::string scheme;
  std::string id;
  auto operator<=>(const AclEntry&) const = default;
};
using Acl = std::vector<AclEntry>;

/// One operation of a multi.
struct ZnodeOperation {
  enum class Kind : uint8_t { check, create, set, remove };
  Kind kind = Kind::check;
  std::string path;
  std::string value = {};
  int32_t version = 0;                  ///< check, set, remove; -1: any
  std::shared_ptr<const Acl> acl = {};  ///< create
  int flags = 0;                        ///< create: ZOO_EPHEMERAL, ZOO_SEQUENCE
};

class Session {
 public:
  enum class Event : uint8_t { connected, disconnected, expired };
  struct Credential {
    std::string name, secret;
  };
  struct Settings {
    std::string servers;  ///< "host:port,host:port"
    std::chrono::milliseconds timeout{6000};
    std::vector<Credential> credentials = {};
  };

  using EventCallback = std::function<void(Event)>;
  using WatchFired = std::function<void(std::string path)>;
  using ValueDone = std::function<void(int code, std::string value, const Stat& stat)>;
  using StatDone = std::function<void(int code, const Stat& stat)>;
  using NamesDone = std::function<void(int code, std::vector<std::string> names)>;
  using AclDone = std::function<void(int code, Acl acl)>;
  using Done = std::function<void(int code)>;
  /// `failed`: index of the operation that failed first; the number of operations when none is to
  /// blame. `revision`: mzxid out of any `set`; 0 if there was none.
  using MultiDone = std::function<void(int code, size_t failed, int64_t revision)>;

  /// unavailable: no server's name can be resolved now.
  static Result<std::shared_ptr<Session>> start(const Settings& settings, EventCallback on_event,
                                                WatchFired on_fired);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void get(const std::string& path, bool watch, ValueDone done);
  void exists(const std::string& path, bool watch, StatDone done);
  void children(const std::string& path, NamesDone done);
  void get_acl(const std::string& path, AclDone done);
  void set_acl(const std::string& path, const Acl& acl, Done done);
  void sync(const std::string& path, Done done);
  void multi(std::vector<ZnodeOperation> operations, MultiDone done);
  /// Takes our watch from a path.
  void remove_watch(const std::string& path, Done done);

  [[nodiscard]] int64_t id() const;
  /// Ends the session; ephemeral znodes go. All callbacks that are still to come have run when it
  /// returns.
  void close();

 private:
  struct Request;
  struct MultiRequest;
  struct Calls;  ///< the C functions that the client calls
  Session(EventCallback on_event, WatchFired on_fired);

  /// Registers `request` and calls `send` with the handle; when that fails, the request has failed.
  template <typename Send>
  void issue(std::unique_ptr<Request> request, const Send& send);
  std::unique_ptr<Request> take(const void* request);

  const EventCallback on_event_;
  const WatchFired on_fired_;
  mutable std::shared_mutex mutex_;  ///< shared: a request is being queued
  zhandle_t* handle_ = nullptr;
  std::mutex requests_mutex_;
  std::unordered_set<Request*> requests_;
};

/// "connection loss": what a code means.
[[nodiscard]] std::string code_text(int code);
/// The request did not get through, or its outcome is unknown.
[[nodiscard]] bool lost(int code);

}  // namespace plexus::store
