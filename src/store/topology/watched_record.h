// SPDX-License-Identifier: Apache-2.0
// WatchedRecord: one record of the store, followed by one thread: the latest state waits until it is taken.
//
// Threads: one thread owns it, polls fd() and calls take().
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/unique_fd.h"
#include "store/store.h"

namespace plexus::store {

class WatchedRecord {
 public:
  /// `store` must outlive this.
  WatchedRecord(Store& store, std::string path) : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    PLEXUS_CHECK(event_.valid(), "eventfd for a watched record");
    watch_ = store.watch(std::move(path), [this](const WatchEvent& event) {
      std::lock_guard lock(mutex_);
      news_ = event.record;
      const uint64_t one = 1;
      [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
    });
  }

  /// Readable while there is something to take.
  [[nodiscard]] int fd() const { return event_.get(); }
  /// The record (or that there is none) if it was reported since the last call.
  [[nodiscard]] std::optional<std::optional<Record>> take() {
    std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] auto n = ::read(event_.get(), &count, sizeof count);
    return std::exchange(news_, std::nullopt);
  }

 private:
  UniqueFd event_;
  std::mutex mutex_;
  std::optional<std::optional<Record>> news_;
  std::unique_ptr<Watch> watch_;  // the last: it must end before what its callback uses
};

}  // namespace plexus::store
