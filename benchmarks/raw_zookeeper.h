// SPDX-License-Identifier: Apache-2.0
// RawZookeeper: many sessions of one ZooKeeper server in one thread, by its wire protocol (ZooKeeper's
// zookeeper.jute). For benchmarks: a thousand clients that each run on a machine of their own in life would
// measure only their own threads where they share two cores with the server.
//
// Not a client for anything else: a session that is lost is an error, nothing is tried again.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace plexus::bench {

class RawZookeeper {
 public:
  /// `error`: ZooKeeper's code, 0 = done. `body`: of the answer, as it came.
  using Answer = std::function<void(int32_t error, std::string_view body)>;
  using Fired = std::function<void(size_t session, std::string_view path)>;

  /// `server`: "ADDRESS:PORT" (IPv4). Opens `count` sessions, one after the other.
  static Result<RawZookeeper> connect(std::string_view server, size_t count, Fired fired);

  [[nodiscard]] size_t size() const { return sessions_.size(); }
  void get(size_t session, std::string_view path, bool watch, Answer answer);
  void exists(size_t session, std::string_view path, bool watch, Answer answer);
  /// One multi: creates the znode, open to all, and sets it, so that it is at version 1.
  void create(size_t session, std::string_view path, std::string_view value, bool ephemeral,
              Answer answer);

  /// Sends, waits up to `limit` for answers and events, and calls back. unavailable: a session is lost.
  Result<void> run(Duration limit);

 private:
  struct Session {
    UniqueFd fd;
    int32_t xid = 0;
    std::string out, in;
    std::deque<Answer> answers;  ///< in the order of the requests, as they come
  };
  RawZookeeper() = default;
  void request(size_t session, int32_t type, std::string_view body, Answer answer);
  Result<void> send(Session& session);
  Result<void> receive(size_t session);

  UniqueFd epoll_;
  std::vector<Session> sessions_;
  std::vector<size_t> to_send_;
  Fired fired_;
};

/// The value in the body of an answer to get().
[[nodiscard]] std::string_view value_of(std::string_view body);
/// The znode's version in the body of an answer to get().
[[nodiscard]] int32_t version_of(std::string_view body);

}  // namespace plexus::bench
