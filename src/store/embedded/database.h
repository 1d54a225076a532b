// SPDX-License-Identifier: Apache-2.0
// Database and Statement: SQLite's C interface with owners, results and errors that name the file
// and the remedy. One thread at a time for each Database and its statements.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace plexus::store {

/// One prepared statement. Bound text and blobs are not copied: they must live until the statement
/// is reset.
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  void bind(int index, int64_t value) { sqlite3_bind_int64(statement_.get(), index, value); }
  void bind(int index, std::string_view text);
  void bind_blob(int index, std::string_view bytes);

  /// SQLITE_ROW, SQLITE_DONE or an error code.
  [[nodiscard]] int step() { return sqlite3_step(statement_.get()); }
  /// Ready for the next use, without bindings.
  void reset();

  [[nodiscard]] int64_t integer(int column) {
    return sqlite3_column_int64(statement_.get(), column);
  }
  /// A copy of a text or blob column.
  [[nodiscard]] std::string bytes(int column);

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// Resets a statement when a use of it ends.
class StatementUse {
 public:
  explicit StatementUse(Statement& statement) : statement_(statement) {}
  ~StatementUse() { statement_.reset(); }
  StatementUse(const StatementUse&) = delete;
  StatementUse& operator=(const StatementUse&) = delete;
  Statement* operator->() { return &statement_; }

 private:
  Statement& statement_;
};

class Database {
 public:
  /// Opens or creates the file. Locks held by others are waited for up to `patience`.
  static Result<std::unique_ptr<Database>> open(const std::string& path,
                                                std::chrono::milliseconds patience);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Result<void> exec(const char* sql);
  Result<Statement> prepare(std::string_view sql);
  /// One integer from a statement that gives one row.
  Result<int64_t> integer(const char* sql);
  [[nodiscard]] bool in_transaction() { return sqlite3_get_autocommit(handle_.get()) == 0; }
  [[nodiscard]] int changes() { return sqlite3_changes(handle_.get()); }

  /// The error that `code` means; `doing` is a phrase like "reading /a/b".
  [[nodiscard]] Error error(int code, std::string_view doing);

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  Database(std::string path, sqlite3* handle, std::chrono::milliseconds patience)
      : path_(std::move(path)), handle_(handle), patience_(patience) {}
  static int wait_for_lock(void* self, int tries);

  const std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
  const std::chrono::milliseconds patience_;
  std::chrono::steady_clock::time_point waiting_since_;
};

}  // namespace plexus::store
