// SPDX-License-Identifier: Apache-2.0
#include "store/embedded/database.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace plexus::store {

void Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text(statement_.get(), index, text.data(), static_cast<int>(text.size()),
                    SQLITE_STATIC);
}

void Statement::bind_blob(int index, std::string_view bytes) {
  // A null pointer would bind NULL instead of an empty value.
  sqlite3_bind_blob(statement_.get(), index, bytes.empty() ? "" : bytes.data(),
                    static_cast<int>(bytes.size()), SQLITE_STATIC);
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

std::string Statement::bytes(int column) {
  const void* start = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (start == nullptr || size <= 0) return {};
  return {static_cast<const char*>(start), static_cast<size_t>(size)};
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path,
                                                 std::chrono::milliseconds patience) {
  sqlite3* handle = nullptr;
  // Its user serializes the calls, so SQLite need not.
  const int code =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(path, handle, patience));
  if (handle == nullptr) return Error{ErrorCode::internal, "no memory for SQLite"};
  sqlite3_extended_result_codes(handle, 1);
  if (code != SQLITE_OK) return database->error(code, "opening the store");
  sqlite3_busy_handler(handle, wait_for_lock, database.get());
  return database;
}

int Database::wait_for_lock(void* self, int tries) {
  // SQLite's own handler sleeps up to 100 ms; a writer holds the lock for less than a millisecond
  // plus the disk's time.
  auto& database = *static_cast<Database*>(self);
  const auto now = std::chrono::steady_clock::now();
  if (tries == 0) database.waiting_since_ = now;
  if (now - database.waiting_since_ >= database.patience_) return 0;
  usleep(tries < 10 ? 200 : tries < 100 ? 1000 : 5000);
  return 1;
}

Result<void> Database::exec(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error(code, sql);
  return Ok{};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return error(code, sql);
  return Statement(statement);
}

Result<int64_t> Database::integer(const char* sql) {
  auto statement = prepare(sql);
  if (!statement.ok()) return statement.error();
  const int code = statement->step();
  if (code != SQLITE_ROW) return error(code, sql);
  return statement->integer(0);
}

Error Database::error(int code, std::string_view doing) {
  const auto text = [&](std::string_view what, std::string_view remedy) {
    std::string message = "store " + path_ + ": " + std::string(doing) + ": " + std::string(what);
    if (!remedy.empty()) message += "; " + std::string(remedy);
    return message;
  };
  const int system = sqlite3_system_errno(handle_.get());
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::unavailable, text("another process holds the store", "try again")};
    case SQLITE_FULL:
      return {ErrorCode::no_space, text("the disk is full", "free some space and try again")};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorCode::internal,
              text(sqlite3_errstr(code & 0xff),
                   "the file is damaged: stop what uses it, move the directory away and restore a "
                   "copy, or apply the topology again to an empty one")};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {ErrorCode::denied,
              text(sqlite3_errstr(code & 0xff), "the user must be able to write it")};
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      if (system == ENOSPC || system == EDQUOT) {
        return {ErrorCode::no_space, text("the disk is full", "free some space and try again")};
      }
      if (system == EACCES || system == EPERM) {
        return {ErrorCode::denied,
                text(std::strerror(system), "the user must be able to write it")};
      }
      return {ErrorCode::unavailable,
              text(system != 0 ? std::strerror(system) : sqlite3_errstr(code & 0xff), "")};
    case SQLITE_NOMEM:
      return {ErrorCode::no_space, text("no memory", "")};
    default:
      return {ErrorCode::internal, text(sqlite3_errmsg(handle_.get()), "")};
  }
}

}  // namespace plexus::store
