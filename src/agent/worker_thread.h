// SPDX-License-Identifier: Apache-2.0
// WorkerThread: runs a Worker on a thread of its own. Others talk to it by tasks in its mailbox, which it takes between
// two batches of upcalls, never within one. The worker survives everything a packet can do.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/peer_socket.h"
#include "agent/worker.h"
#include "base/mailbox.h"
#include "base/unique_fd.h"

namespace plexus::agent {

/// What workers learned, on its way to the topology thread. When it is full the news is lost: the next packet that
/// needs it asks again.
using LearnedBox = Mailbox<std::vector<sim::StateWrite>>;

class WorkerThread {
 public:
  /// `learned` must outlive this.
  WorkerThread(std::unique_ptr<datapath::Datapath> datapath, WorkerOptions options,
               LearnedBox& learned);
  /// Stops the thread. The datapath's kernel state stays.
  ~WorkerThread();

  /// Runs `task` on the worker's thread and waits for its answer. unavailable: the mailbox is full or the worker did
  /// not answer within five seconds. `task` must own what it refers to: it may run after the wait was given up.
  template <typename T>
  Result<T> call(std::function<Result<T>(Worker&)> task) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto future = promise->get_future();
    if (!mailbox_.post([promise, task = std::move(task)](Worker& worker) {
          promise->set_value(task(worker));
        })) {
      return Error{ErrorCode::unavailable, "the worker's mailbox is full"};
    }
    if (future.wait_for(std::chrono::seconds(5)) != std::future_status::ready) {
      return Error{ErrorCode::unavailable, "the worker did not answer within 5 s"};
    }
    return future.get();
  }

  /// Runs `task` on the worker's thread, some time; false when the mailbox is full.
  [[nodiscard]] bool post(std::function<void(Worker&)> task) {
    return mailbox_.post(std::move(task));
  }

  /// Other agents are talked to from this address and port, from now on. False when the mailbox is full.
  [[nodiscard]] bool listen(const IpAddr& address, uint16_t port);
  /// Why other agents cannot be talked to; empty: they can, or need not yet. Any thread.
  [[nodiscard]] std::string peer_trouble() const {
    std::lock_guard lock(peer_mutex_);
    return peer_trouble_;
  }

  /// Readable after the worker applied another epoch, until clear_applied(). For one other thread.
  [[nodiscard]] int applied_fd() const { return applied_event_.get(); }
  void clear_applied();

  /// The last epoch that the worker has applied. Any thread.
  [[nodiscard]] uint64_t applied_epoch() const { return applied_.load(std::memory_order_acquire); }
  /// When it had applied it. Any thread; not older than applied_epoch() read before.
  [[nodiscard]] MonoTime applied_at() const {
    return MonoTime{applied_at_.load(std::memory_order_acquire)};
  }

 private:
  void run(std::stop_token stop);
  void listen_again(MonoTime now);
  void talk_to_peers();

  std::unique_ptr<datapath::Datapath> datapath_;
  Worker worker_;
  LearnedBox& learned_;
  PeerSocket peers_;
  IpAddr peer_address_;  ///< where to listen
  uint16_t peer_port_ = kPeerPort;
  MonoTime next_listen_;
  mutable std::mutex peer_mutex_;
  std::string peer_trouble_;
  Mailbox<std::function<void(Worker&)>> mailbox_{1024};
  std::atomic<uint64_t> applied_{0};
  std::atomic<int64_t> applied_at_{0};
  UniqueFd applied_event_;
  std::jthread thread_;
};

}  // namespace plexus::agent
