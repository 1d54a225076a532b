// SPDX-License-Identifier: Apache-2.0
// Convergence: answers "who has applied everything up to this revision?". A question is a record that all agents watch
// (the barrier) and a directory where each writes its answer; nothing is written for changes that nobody asks about.
//
// One thread asks for all waiters of this server: waiters whose revision the open barrier covers share it; others get a
// newer barrier, which covers the older waiters too, so a host that has answered any barrier of at least a waiter's
// revision has answered the waiter. Servers share the barrier record: a barrier of another server that covers our waiters
// serves as well as our own.
//
// Threads: its own; wait() from any. Answers come on its thread and must be quick.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace plexus::api {

/// How far the hosts are. Hosts count that have a Host object and are not fenced.
struct Progress {
  store::Revision revision;
  size_t hosts = 0;
  size_t applied = 0;
  std::vector<std::string> laggards;  ///< names of hosts that are live and have not applied it
  std::vector<std::string> unknown;   ///< names of hosts that are not live and have not answered
  [[nodiscard]] bool converged() const { return laggards.empty(); }
};

class Convergence {
 public:
  /// `store` must outlive this.
  explicit Convergence(store::Store& store);
  ~Convergence();
  Convergence(const Convergence&) = delete;
  Convergence& operator=(const Convergence&) = delete;

  using Done = std::function<void(Result<Progress>)>;
  /// Calls `done` once: when all live hosts have applied everything up to the revision, or after `timeout` with those
  /// that have not.
  void wait(store::Revision revision, std::chrono::milliseconds timeout, Done done);

  [[nodiscard]] size_t waiting() const { return waiting_; }
  [[nodiscard]] uint64_t barriers() const { return barriers_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiter {
    store::Revision revision;
    Clock::time_point until;
    Done done;
    std::set<std::string> answered;  ///< texts of host ids
  };
  struct Host {
    std::string name;
    bool live = true;  ///< as far as is known: not looked at, or it was when last looked at
  };

  void run();
  Result<void> step();
  Result<void> read_hosts();
  Result<void> read_liveness();
  Result<void> read_barrier();
  Result<void> open(store::Revision revision);
  Result<void> collect();
  void settle(Clock::time_point now);
  [[nodiscard]] size_t unanswered() const;
  [[nodiscard]] bool wants_liveness(Clock::time_point now) const;
  Progress progress(const Waiter& waiter) const;
  void clean_up(size_t keep);
  Result<bool> remove_answers(const std::string& barrier);
  void sweep(Clock::time_point now);

  store::Store& store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;        ///< guarded by mutex_
  std::vector<Waiter> arrived_;  ///< guarded by mutex_
  std::atomic<size_t> waiting_{0};
  std::atomic<uint64_t> barriers_{0};

  // The thread's own.
  std::vector<Waiter> waiters_;
  std::map<std::string, Host> hosts_;  ///< by text of the id
  /// The epoch: has to be read before anything can be said.
  Clock::time_point hosts_read_{}, liveness_read_{}, barrier_read_{}, opened_{}, next_sweep_{};
  struct Open {
    std::string id;  ///< empty: none
    store::Revision revision;
    int64_t version = 0;  ///< of the barrier record
  } barrier_;
  std::vector<std::string> ours_;  ///< barriers that we made and have not removed, oldest first
  std::map<std::string, Clock::time_point> seen_;  ///< barriers of others, since when
  std::thread thread_;
};

}  // namespace plexus::api
