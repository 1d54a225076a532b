// SPDX-License-Identifier: Apache-2.0
// The files of an embedded store beside its database, and what they are for:
//   store.db        the database (with -wal and -shm)
//   bell            rung after each commit, so that other processes wake (they watch it by inotify)
//   holder          who took the write lock last: process id, to name it when it blocks others; also
//                   the lock of whoever creates or upgrades the database
//   sessions/<id>   locked as long as the owner of ephemeral records lives
// All writes go to bytes that exist since the file was made: a full disk does not stop them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace plexus::store {

/// Why a database in WAL mode cannot live on a file system of this type (statfs f_type): its name;
/// nullopt when it can. WAL needs memory shared by all who use it, and locks that work.
[[nodiscard]] std::optional<std::string> unfit_file_system(uint64_t type);

/// "pid 12 (plexus-api, stopped)": a process, for an error message.
[[nodiscard]] std::string describe_process(int64_t pid);

class StoreFiles {
 public:
  /// Makes the directory and the files where they are missing, or, without `create`, says not_found where there is no
  /// database. unsupported: a network file system.
  static Result<StoreFiles> prepare(const std::string& directory, bool create = true);

  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] std::string database() const { return directory_ + "/store.db"; }
  [[nodiscard]] std::string bell() const { return directory_ + "/bell"; }

  /// Sees to it that others than owner and group cannot read the database: makes its file when there is none, and closes
  /// that of an earlier program if it is ours.
  Result<void> guard_database() const;

  /// Wakes the watchers of all processes.
  void ring(int64_t revision) const;
  /// Says that this process has just taken the database's write lock. Never taken back: the next
  /// holder may have noted itself already.
  void note_holder() const;
  /// The process that noted itself last; 0: nobody.
  [[nodiscard]] int64_t holder() const;

  /// The lock for creating or upgrading the database; gone with the descriptor.
  Result<UniqueFd> lock_creation(std::chrono::milliseconds patience) const;

  /// A new session: its file exists and is locked as long as the descriptor is open.
  Result<UniqueFd> start_session(const std::string& id) const;
  /// When the owner of the session is gone: a lock on its file, so that one process alone cleans up
  /// (an invalid descriptor: the file is gone too). nullopt: it lives.
  Result<std::optional<UniqueFd>> lock_dead_session(const std::string& id) const;
  void remove_session(const std::string& id) const;

  /// False when the database file is not the one that was there at the last call with `remember`.
  [[nodiscard]] bool same_database(bool remember);
  /// What to tell whoever wants something of a database that is not there any more; nullopt: it is.
  [[nodiscard]] std::optional<Error> replaced() const;

 private:
  std::string directory_;
  UniqueFd bell_;
  UniqueFd holder_;
  uint64_t database_inode_ = 0;
  uint64_t database_device_ = 0;
};

}  // namespace plexus::store
