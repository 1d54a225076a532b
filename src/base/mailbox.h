// SPDX-License-Identifier: Apache-2.0
// Mailbox<T>: the one way threads talk. Many senders, one receiver, bounded, one direction. The
// receiver may poll fd() beside its other descriptors: it is readable while messages wait.
#pragma once

#include <sys/eventfd.h>

#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/unique_fd.h"

namespace plexus {

template <typename T>
class Mailbox {
 public:
  explicit Mailbox(size_t capacity)
      : capacity_(capacity), event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    PLEXUS_CHECK(event_.valid(), "eventfd for a mailbox");
  }

  /// False when the mailbox is full: the sender decides what to drop, and counts it. Any thread.
  [[nodiscard]] bool post(T message) {
    {
      std::lock_guard lock(mutex_);
      if (queue_.size() >= capacity_) return false;
      queue_.push_back(std::move(message));
      if (queue_.size() > 1) return true;  // already rung
    }
    ring();
    return true;
  }

  /// All messages that wait, oldest first. Never blocks. Receiver's thread only.
  [[nodiscard]] std::vector<T> take() {
    std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] auto n = ::read(event_.get(), &count, sizeof count);
    std::vector<T> all(std::make_move_iterator(queue_.begin()),
                       std::make_move_iterator(queue_.end()));
    queue_.clear();
    return all;
  }

  /// Readable (POLLIN) while messages wait.
  [[nodiscard]] int fd() const { return event_.get(); }

 private:
  void ring() {
    const uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
  }

  const size_t capacity_;
  UniqueFd event_;
  std::mutex mutex_;
  std::deque<T> queue_;
};

}  // namespace plexus
