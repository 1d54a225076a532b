// SPDX-License-Identifier: Apache-2.0
// EmbeddedStore: a store in a directory, for all processes of one machine. SQLite in WAL mode keeps
// it whole; each commit is on the disk before it is reported done.
//
// Three connections: one writes, one reads, one belongs to the watcher's thread. Readers never wait
// for writers. Writers wait for each other, up to `patience`; a process that is stopped in the
// middle of a write makes the others fail with `unavailable`, naming it. A process that is killed
// blocks nobody.
//
// Threads: any.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/embedded/database.h"
#include "store/embedded/store_files.h"
#include "store/embedded/watcher.h"
#include "store/store.h"

namespace plexus::store {

struct EmbeddedOptions {
  std::chrono::milliseconds patience{5000};        ///< how long a writer waits for others
  std::chrono::milliseconds check_interval{1000};  ///< for commits without a bell, dead owners
  bool create = true;                              ///< makes the store when there is none
  int64_t log_revisions = 10'000;  ///< a watcher further behind reads everything again
};

class EmbeddedStore final : public Store {
 public:
  /// Opens the store in `directory`. not_found: there is none, and it shall not be made. unsupported: the store is of a
  /// newer format, or the file system cannot carry it; internal: it is damaged.
  static Result<std::unique_ptr<Store>> open(const std::string& directory,
                                             const EmbeddedOptions& options = {});
  ~EmbeddedStore() override;

  [[nodiscard]] std::string kind() const override { return "embedded"; }
  Result<std::optional<Record>> get(std::string_view path) override;
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override;
  Result<std::vector<std::string>> list(std::string_view directory) override;
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override;
  Result<Revision> transact(const std::vector<Step>& steps) override;
  [[nodiscard]] std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override;
  [[nodiscard]] std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) override;
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override;
  Result<Revision> sync() override;
  [[nodiscard]] Health health() const override { return watcher_->health(); }

 private:
  /// A connection that reads.
  struct Reading {
    std::mutex mutex;
    std::unique_ptr<Database> database;
    Statement get, head, next, scan, sessions;
  };
  /// The connection that writes.
  struct Writing {
    std::mutex mutex;
    std::unique_ptr<Database> database;
    Statement version, create, set, remove, below, head, set_head, log, trim, next_number;
    Statement add_session, remove_session, own, disown, owned;
  };

  EmbeddedStore(StoreFiles files, const EmbeddedOptions& options)
      : files_(std::move(files)), options_(options) {}
  Result<void> prepare();
  Result<void> create_or_check();
  Result<void> prepare_statements();

  /// What a write does inside the transaction: notes each path it changes.
  using Body = std::function<Result<void>(int64_t revision, std::set<std::string>& changed)>;
  Result<Revision> write(std::string_view what, const Body& body);
  Result<void> finish_write(int64_t revision, const std::set<std::string>& changed);
  Result<void> apply(const Step& step, int64_t revision, std::set<std::string>& changed);
  Result<void> create(const std::string& path, const std::string& value, int64_t revision,
                      std::set<std::string>& changed);
  /// Takes the next number of a sequence.
  Result<uint32_t> next_number(const std::string& sequence);
  /// Runs a statement that returns nothing.
  Result<void> run(Statement& statement, std::string_view doing);
  /// 0: there is no such record.
  Result<int64_t> version_of(std::string_view path);
  Result<void> remove_record(std::string_view path, std::set<std::string>& changed);
  Result<void> drop_session(const std::string& id);
  void clean_up_after_the_dead();
  Error held(const Error& busy) const;

  Result<std::optional<Record>> get_locked(std::string_view path);
  Result<Revision> check_only(const std::vector<Step>& steps);
  Result<int64_t> head_locked();

  StoreFiles files_;
  const EmbeddedOptions options_;
  Reading reading_;
  Writing writing_;
  std::string session_;  ///< under writing_.mutex; empty until the first ephemeral record
  UniqueFd session_lock_;
  std::unique_ptr<Watcher> watcher_;
};

}  // namespace plexus::store
