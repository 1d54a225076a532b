// SPDX-License-Identifier: Apache-2.0
// Watcher: the thread of an embedded store that tells watches what was committed, by any process of
// the machine. It wakes by the bell file, and looks once in a while besides (a writer may die
// between its commit and the bell). It reads the log of changed paths since its last look; when that
// has been trimmed away, all watched paths.
//
// Threads: add...() and health() from any; callbacks run on the watcher's own thread, outside of any
// database transaction.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "store/embedded/database.h"
#include "store/embedded/store_files.h"
#include "store/store.h"

namespace plexus::store {

class Watcher {
 public:
  /// `files` must outlive the watcher. `tick` runs on its thread each `interval`.
  static Result<std::unique_ptr<Watcher>> start(StoreFiles& files,
                                                std::chrono::milliseconds patience,
                                                std::chrono::milliseconds interval,
                                                std::function<void()> tick);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  [[nodiscard]] std::unique_ptr<Watch> add(std::string path, WatchCallback callback);
  [[nodiscard]] std::unique_ptr<Watch> add_settled(std::function<void(Revision)> callback);
  [[nodiscard]] Health health() const { return up_ ? Health::up : Health::down; }

 private:
  /// One watch. `active` and the running callback are under `mutex`; recursive, because a callback
  /// may end its own watch.
  struct Entry {
    std::string path;
    WatchCallback callback;
    std::function<void(Revision)> settled;
    std::recursive_mutex mutex;
    bool active = true;
    bool reported = false;  ///< the thread's own: it has had its first report
  };
  using EntryPtr = std::shared_ptr<Entry>;
  /// Shared with the handles, which may outlive the watcher.
  struct Registry {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<EntryPtr>> by_path;
    std::vector<EntryPtr> settled;
    std::vector<EntryPtr> fresh;  ///< not reported to yet
  };
  class Handle;
  struct Report {
    std::vector<EntryPtr> entries;
    WatchEvent event;
  };

  Watcher(StoreFiles& files, std::chrono::milliseconds interval, std::function<void()> tick);
  Result<void> prepare(std::chrono::milliseconds patience);
  std::unique_ptr<Watch> enter(EntryPtr entry);
  void run();
  void look();
  /// What there is to say since the last look, read as one state; its revision.
  Result<int64_t> collect(const std::vector<EntryPtr>& fresh, std::vector<Report>& out);
  Result<std::vector<std::string>> changed_paths(int64_t head);
  void report_health(const Result<int64_t>& read);

  StoreFiles& files_;
  const std::chrono::milliseconds interval_;
  const std::function<void()> tick_;
  std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
  UniqueFd bell_;
  UniqueFd wake_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> up_{true};

  // The thread's own.
  std::unique_ptr<Database> database_;
  Statement get_, head_, since_;
  int64_t seen_ = -1;  ///< revision up to which everything has been reported
  std::thread thread_;
};

}  // namespace plexus::store
