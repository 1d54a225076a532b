// SPDX-License-Identifier: Apache-2.0
// Opening an embedded store: making or checking the database, and preparing all statements.
#include <fmt/format.h>

#include "store/embedded/embedded_store.h"

namespace plexus::store {
namespace {

constexpr int64_t kApplicationId = 0x506c7873;  // "Plxs"
constexpr int64_t kFormat = 2;

constexpr const char* kTables = R"(
  CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO meta VALUES('revision', 0);
  CREATE TABLE rec(path TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, revision INTEGER NOT NULL,
                   value BLOB NOT NULL);
  CREATE TABLE log(revision INTEGER NOT NULL, path TEXT NOT NULL, PRIMARY KEY(revision, path))
    WITHOUT ROWID;
  CREATE TABLE session(id TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE ephemeral(path TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID;
)";
// Since format 2: the next number of each sequence.
constexpr const char* kSequences =
    "CREATE TABLE sequence(path TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;";

}  // namespace

Result<void> EmbeddedStore::prepare() {
  {
    // One process at a time: switching a database to WAL does not wait for locks.
    auto lock = files_.lock_creation(options_.patience);
    if (!lock.ok()) return lock.error();
    files_.note_holder();
    if (auto done = create_or_check(); !done.ok()) return done;
  }
  if (auto done = prepare_statements(); !done.ok()) return done;
  (void)files_.same_database(true);
  auto watcher = Watcher::start(files_, options_.patience, options_.check_interval,
                                [this] { clean_up_after_the_dead(); });
  if (!watcher.ok()) return watcher.error();
  watcher_ = std::move(*watcher);
  return Ok{};
}

Result<void> EmbeddedStore::create_or_check() {
  if (auto guarded = files_.guard_database(); !guarded.ok()) return guarded;
  auto opened = Database::open(files_.database(), options_.patience);
  if (!opened.ok()) return opened.error();
  writing_.database = std::move(*opened);
  Database& database = *writing_.database;
  auto format = database.integer("PRAGMA user_version");
  if (!format.ok()) return format.error();
  auto application = database.integer("PRAGMA application_id");
  if (!application.ok()) return application.error();
  auto tables = database.integer("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.error();
  if (*tables != 0 && *application != kApplicationId) {
    return Error{ErrorCode::invalid,
                 "store " + files_.database() +
                     " is a database of something else: choose another directory"};
  }
  if (*tables != 0 && *format > kFormat) {
    return Error{ErrorCode::unsupported,
                 "store " + files_.database() + " has format " + std::to_string(*format) +
                     ", this program knows up to " + std::to_string(kFormat) +
                     ": use the newer program that wrote it"};
  }
  auto mode = database.prepare("PRAGMA journal_mode=WAL");
  if (!mode.ok()) return mode.error();
  if (const int code = mode->step(); code != SQLITE_ROW) {
    return held(database.error(code, "switching to write-ahead logging"));
  }
  if (mode->bytes(0) != "wal") {
    return Error{ErrorCode::unsupported, "store " + files_.directory() +
                                             ": this file system cannot carry SQLite's write-ahead "
                                             "log: choose a directory on a local one"};
  }
  *mode = Statement();
  // FULL: a commit is on the disk when it returns. The log file shrinks again after a burst.
  if (auto done = database.exec("PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864");
      !done.ok()) {
    return done;
  }
  const std::string user_version = fmt::format("PRAGMA user_version={}", kFormat);
  if (*tables != 0 && *format < 2) {
    for (const char* sql : {"BEGIN IMMEDIATE", kSequences, user_version.c_str(), "COMMIT"}) {
      if (auto done = database.exec(sql); !done.ok()) {
        if (database.in_transaction()) (void)database.exec("ROLLBACK").ok();
        return held(done.error()).in("bringing a store to format 2");
      }
    }
  }
  if (*tables != 0) {
    // Damage at the root shows at once.
    auto head = database.integer("SELECT value FROM meta WHERE name = 'revision'");
    return head.ok() ? Result<void>(Ok{}) : Result<void>(head.error());
  }
  const std::string application_id = fmt::format("PRAGMA application_id={}", kApplicationId);
  for (const char* sql : {"BEGIN IMMEDIATE", kTables, kSequences, application_id.c_str(),
                          user_version.c_str(), "COMMIT"}) {
    if (auto done = database.exec(sql); !done.ok()) {
      if (database.in_transaction()) (void)database.exec("ROLLBACK").ok();
      return held(done.error()).in("making a store");
    }
  }
  return Ok{};
}

Result<void> EmbeddedStore::prepare_statements() {
  auto opened = Database::open(files_.database(), options_.patience);
  if (!opened.ok()) return opened.error();
  reading_.database = std::move(*opened);
  if (auto done = reading_.database->exec("PRAGMA query_only=1"); !done.ok()) return done;
  const struct {
    Database& database;
    Statement& statement;
    const char* sql;
  } statements[] = {
      {*reading_.database, reading_.get, "SELECT version, revision, value FROM rec WHERE path = ?"},
      {*reading_.database, reading_.head, "SELECT value FROM meta WHERE name = 'revision'"},
      {*reading_.database, reading_.next,
       "SELECT path FROM rec WHERE path >= ? AND path < ? ORDER BY path LIMIT 1"},
      {*reading_.database, reading_.scan,
       "SELECT path, version, revision, value FROM rec WHERE path >= ? AND path < ? ORDER BY path"},
      {*reading_.database, reading_.sessions, "SELECT id FROM session"},

      {*writing_.database, writing_.version, "SELECT version FROM rec WHERE path = ?"},
      {*writing_.database, writing_.create,
       "INSERT INTO rec(path, version, revision, value) VALUES(?, 1, ?, ?)"},
      {*writing_.database, writing_.set,
       "UPDATE rec SET version = version + 1, revision = ?2, value = ?3 WHERE path = ?1"},
      {*writing_.database, writing_.remove, "DELETE FROM rec WHERE path = ?"},
      {*writing_.database, writing_.below,
       "SELECT path FROM rec WHERE path >= ? AND path < ? LIMIT 1"},
      {*writing_.database, writing_.head, "SELECT value FROM meta WHERE name = 'revision'"},
      {*writing_.database, writing_.set_head, "UPDATE meta SET value = ? WHERE name = 'revision'"},
      {*writing_.database, writing_.log, "INSERT INTO log(revision, path) VALUES(?, ?)"},
      {*writing_.database, writing_.trim, "DELETE FROM log WHERE revision <= ?"},
      {*writing_.database, writing_.next_number,
       "INSERT INTO sequence(path, next) VALUES(?, 1) "
       "ON CONFLICT(path) DO UPDATE SET next = next + 1 RETURNING next - 1"},
      {*writing_.database, writing_.add_session, "INSERT INTO session(id) VALUES(?)"},
      {*writing_.database, writing_.remove_session, "DELETE FROM session WHERE id = ?"},
      {*writing_.database, writing_.own,
       "INSERT OR REPLACE INTO ephemeral(path, session) VALUES(?, ?)"},
      {*writing_.database, writing_.disown, "DELETE FROM ephemeral WHERE path = ?"},
      {*writing_.database, writing_.owned, "SELECT path FROM ephemeral WHERE session = ?"},
  };
  for (const auto& s : statements) {
    auto prepared = s.database.prepare(s.sql);
    if (!prepared.ok()) return prepared.error();
    s.statement = std::move(*prepared);
  }
  return Ok{};
}

}  // namespace plexus::store
