// SPDX-License-Identifier: Apache-2.0
// SnapshotKeeper: puts the disk snapshot of the closure on the disk, off the topology thread. Of several that come while
// it writes, only the newest is written. A disk that is full keeps the old snapshot, and says so.
//
// Threads: one of its own; methods from any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "store/store.h"

namespace plexus::agent {

class SnapshotKeeper {
 public:
  struct Status {
    std::string trouble;  ///< why the last one could not be written; empty: it was
    uint64_t written = 0, failed = 0;
    int64_t taken_ms = 0;  ///< of what is on the disk; 0: nothing written yet
    store::Revision revision;
    size_t bytes = 0;
  };

  explicit SnapshotKeeper(std::string path);
  /// Writes what waits first.
  ~SnapshotKeeper();

  /// `bytes`: the file's content (closure_file.h).
  void save(std::string bytes, store::Revision revision, int64_t taken_ms);
  [[nodiscard]] Status status() const;

 private:
  struct Job {
    std::string bytes;
    store::Revision revision;
    int64_t taken_ms = 0;
  };
  void run(std::stop_token stop);
  void write(const Job& job);

  const std::string path_;
  mutable std::mutex mutex_;
  std::condition_variable_any woken_;
  std::optional<Job> waiting_;
  Status status_;
  std::jthread thread_;
};

}  // namespace plexus::agent
