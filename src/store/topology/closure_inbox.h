// SPDX-License-Identifier: Apache-2.0
// ClosureInbox: what the store's thread leaves for the reader: the latest record of each key, and whether the store has
// said all.
//
// Threads: put, settle and forget from any; take on the reader's.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/check.h"
#include "base/unique_fd.h"
#include "store/store.h"
#include "store/topology/closure_key.h"

namespace plexus::store {

class ClosureInbox {
 public:
  ClosureInbox() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    PLEXUS_CHECK(event_.valid(), "eventfd for the closure reader");
  }
  [[nodiscard]] int fd() const { return event_.get(); }

  void put(const ClosureKey& key, const WatchEvent& event) {
    std::lock_guard lock(mutex_);
    received_ += event.path.size() + (event.record ? event.record->value.size() : 0);
    records_[key] = event.record;
    settled_ = false;
    ring();
  }
  void settle(Revision revision) {
    std::lock_guard lock(mutex_);
    settled_ = true;
    revision_ = revision;
    ring();
  }
  void forget(const ClosureKey& key) {
    std::lock_guard lock(mutex_);
    records_.erase(key);
  }
  /// Nothing of what has been reported counts any more.
  void reset() {
    std::lock_guard lock(mutex_);
    records_.clear();
    settled_ = false;
    revision_ = {};
  }

  /// Bytes of paths and values in all that was put in.
  [[nodiscard]] uint64_t received() {
    std::lock_guard lock(mutex_);
    return received_;
  }

  struct Content {
    std::unordered_map<ClosureKey, std::optional<Record>> records;
    bool settled = false;  ///< nothing more was to come when this was taken
    Revision revision;
  };
  Content take() {
    std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] auto n = ::read(event_.get(), &count, sizeof count);
    rung_ = false;
    Content content{std::move(records_), settled_, revision_};
    records_.clear();
    return content;
  }

 private:
  void ring() {
    if (rung_) return;
    rung_ = true;
    const uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
  }
  UniqueFd event_;
  std::mutex mutex_;
  std::unordered_map<ClosureKey, std::optional<Record>> records_;
  bool settled_ = false;
  bool rung_ = false;
  Revision revision_;
  uint64_t received_ = 0;
};

}  // namespace plexus::store
