// SPDX-License-Identifier: Apache-2.0
#include "store/embedded/embedded_store.h"

#include <unistd.h>

#include <algorithm>

#include "base/ids.h"
#include "base/log.h"
#include "store/path.h"

namespace plexus::store {

Result<std::unique_ptr<Store>> EmbeddedStore::open(const std::string& directory,
                                                   const EmbeddedOptions& options) {
  auto files = StoreFiles::prepare(directory, options.create);
  if (!files.ok()) return files.error();
  std::unique_ptr<EmbeddedStore> store(new EmbeddedStore(std::move(*files), options));
  if (auto done = store->prepare(); !done.ok()) return done.error();
  return std::unique_ptr<Store>(std::move(store));
}

EmbeddedStore::~EmbeddedStore() {
  watcher_.reset();
  std::lock_guard lock(writing_.mutex);
  if (session_.empty() || files_.replaced()) return;
  // The next process that looks would do it too; this way others see it at once.
  if (auto done = drop_session(session_); !done.ok()) {
    log_warn("store", "ephemeral records stay a moment longer: {}", done.error().message);
    return;
  }
  files_.remove_session(session_);
}

// --- reading ---

Result<std::optional<Record>> EmbeddedStore::get_locked(std::string_view path) {
  StatementUse use(reading_.get);
  use->bind(1, path);
  const int code = use->step();
  if (code == SQLITE_DONE) return std::optional<Record>();
  if (code != SQLITE_ROW) {
    return reading_.database->error(code, "reading " + std::string(path));
  }
  return std::optional<Record>(Record{use->bytes(2), use->integer(0), Revision{use->integer(1)}});
}

Result<std::optional<Record>> EmbeddedStore::get(std::string_view path) {
  if (auto ok = check_path(path); !ok.ok()) return ok.error();
  if (auto gone = files_.replaced()) return *gone;
  std::lock_guard lock(reading_.mutex);
  return get_locked(path);
}

Result<std::vector<std::optional<Record>>> EmbeddedStore::get_many(
    const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (auto ok = check_path(path); !ok.ok()) return ok.error();
  }
  if (auto gone = files_.replaced()) return *gone;
  std::vector<std::optional<Record>> records;
  records.reserve(paths.size());
  std::lock_guard lock(reading_.mutex);
  // In one transaction: one state, and the lock is taken once.
  if (auto begun = reading_.database->exec("BEGIN"); !begun.ok()) return begun.error();
  Result<void> outcome;
  for (const std::string& path : paths) {
    auto record = get_locked(path);
    if (!record.ok()) {
      outcome = record.error();
      break;
    }
    records.push_back(std::move(*record));
  }
  const auto ended = reading_.database->exec("COMMIT");
  if (!outcome.ok()) return outcome.error();
  if (!ended.ok()) return ended.error();
  return records;
}

Result<std::vector<std::string>> EmbeddedStore::list(std::string_view directory) {
  if (auto ok = check_path(directory); !ok.ok()) return ok.error();
  if (auto gone = files_.replaced()) return *gone;
  // Jumps from name to name: "dir/name0" sorts after all that begins with "dir/name/", since '0'
  // follows '/'. A record "dir/name" and its children "dir/name/..." are not neighbours
  // ("dir/name-x" lies between), so a name can come twice.
  const std::string prefix = std::string(directory) + "/";
  const std::string end = std::string(directory) + "0";
  std::vector<std::string> names;
  std::lock_guard lock(reading_.mutex);
  std::string cursor = prefix;
  while (true) {
    StatementUse use(reading_.next);
    use->bind(1, std::string_view(cursor));
    use->bind(2, std::string_view(end));
    const int code = use->step();
    if (code == SQLITE_DONE) break;
    if (code != SQLITE_ROW) {
      return reading_.database->error(code, "listing " + std::string(directory));
    }
    const std::string path = use->bytes(0);
    const size_t slash = path.find('/', prefix.size());
    const std::string name = path.substr(prefix.size(), slash - prefix.size());
    names.push_back(name);
    // After the record itself the next path in order; after a directory the next one beyond it.
    cursor = slash == std::string::npos ? path + '\x01' : prefix + name + "0";
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::vector<std::pair<std::string, Record>>> EmbeddedStore::scan(
    std::string_view directory) {
  if (auto ok = check_path(directory); !ok.ok()) return ok.error();
  if (auto gone = files_.replaced()) return *gone;
  const std::string begin = std::string(directory) + "/", end = std::string(directory) + "0";
  std::vector<std::pair<std::string, Record>> found;
  std::lock_guard lock(reading_.mutex);
  StatementUse use(reading_.scan);
  use->bind(1, std::string_view(begin));
  use->bind(2, std::string_view(end));
  int code = 0;
  while ((code = use->step()) == SQLITE_ROW) {
    found.emplace_back(use->bytes(0),
                       Record{use->bytes(3), use->integer(1), Revision{use->integer(2)}});
  }
  if (code != SQLITE_DONE) {
    return reading_.database->error(code, "reading below " + std::string(directory));
  }
  return found;
}

Result<int64_t> EmbeddedStore::head_locked() {
  StatementUse use(reading_.head);
  const int code = use->step();
  if (code != SQLITE_ROW) return reading_.database->error(code, "reading the revision");
  return use->integer(0);
}

Result<Revision> EmbeddedStore::sync() {
  if (auto gone = files_.replaced()) return *gone;
  // Every read sees what is committed.
  std::lock_guard lock(reading_.mutex);
  auto head = head_locked();
  if (!head.ok()) return head.error();
  return Revision{*head};
}

std::unique_ptr<Watch> EmbeddedStore::watch(std::string path, WatchCallback callback) {
  return watcher_->add(std::move(path), std::move(callback));
}

std::unique_ptr<Watch> EmbeddedStore::watch_settled(std::function<void(Revision)> callback) {
  return watcher_->add_settled(std::move(callback));
}

// --- writing ---

Error EmbeddedStore::held(const Error& busy) const {
  if (busy.code != ErrorCode::unavailable) return busy;
  const int64_t pid = files_.holder();
  if (pid == 0) return busy;
  return {ErrorCode::unavailable,
          "store " + files_.directory() + " is held by " +
              (pid == getpid() ? std::string("this process") : describe_process(pid)) +
              "; continue or end it, and try again"};
}

Result<void> EmbeddedStore::run(Statement& statement, std::string_view doing) {
  const int code = statement.step();
  if (code != SQLITE_DONE) return writing_.database->error(code, doing);
  return Ok{};
}

Result<Revision> EmbeddedStore::write(std::string_view what, const Body& body) {
  if (auto gone = files_.replaced()) return gone->in(what);
  if (auto begun = writing_.database->exec("BEGIN IMMEDIATE"); !begun.ok()) {
    return held(begun.error());
  }
  files_.note_holder();
  Result<int64_t> head = [&]() -> Result<int64_t> {
    StatementUse use(writing_.head);
    const int code = use->step();
    if (code != SQLITE_ROW) return writing_.database->error(code, "reading the revision");
    return use->integer(0);
  }();
  Result<void> done;
  int64_t revision = 0;
  if (head.ok()) {
    revision = *head + 1;
    std::set<std::string> changed;
    done = body(revision, changed);
    if (done.ok()) done = finish_write(revision, changed);
    if (done.ok()) done = writing_.database->exec("COMMIT");
  } else {
    done = head.error();
  }
  if (!done.ok()) {
    // Some errors (a full disk) have ended the transaction already.
    if (writing_.database->in_transaction()) (void)writing_.database->exec("ROLLBACK").ok();
    return done.error().in(what);
  }
  files_.ring(revision);
  // Taken away in the middle of it: nobody may ever see this.
  if (auto gone = files_.replaced()) return gone->in(what);
  return Revision{revision};
}

Result<void> EmbeddedStore::finish_write(int64_t revision, const std::set<std::string>& changed) {
  {
    StatementUse use(writing_.set_head);
    use->bind(1, revision);
    if (auto done = run(writing_.set_head, "writing the revision"); !done.ok()) return done;
  }
  for (const std::string& path : changed) {
    StatementUse use(writing_.log);
    use->bind(1, revision);
    use->bind(2, std::string_view(path));
    if (auto done = run(writing_.log, "writing the log"); !done.ok()) return done;
  }
  if (revision % 64 == 0) {
    StatementUse use(writing_.trim);
    use->bind(1, revision - options_.log_revisions);
    if (auto done = run(writing_.trim, "trimming the log"); !done.ok()) return done;
  }
  return Ok{};
}

Result<int64_t> EmbeddedStore::version_of(std::string_view path) {
  StatementUse use(writing_.version);
  use->bind(1, path);
  const int code = use->step();
  if (code == SQLITE_DONE) return int64_t{0};
  if (code != SQLITE_ROW) {
    return writing_.database->error(code, "reading " + std::string(path));
  }
  return use->integer(0);
}

Result<void> EmbeddedStore::remove_record(std::string_view path, std::set<std::string>& changed) {
  {
    StatementUse use(writing_.remove);
    use->bind(1, path);
    if (auto done = run(writing_.remove, "removing"); !done.ok()) return done;
  }
  StatementUse use(writing_.disown);
  use->bind(1, path);
  if (auto done = run(writing_.disown, "removing"); !done.ok()) return done;
  changed.emplace(path);
  return Ok{};
}

namespace {

Error wrong_version(const std::string& path, int64_t is, int64_t wanted) {
  const auto text = [](int64_t version) {
    return version == 0 ? std::string("absent") : "at version " + std::to_string(version);
  };
  return {ErrorCode::conflict, path + " is " + text(is) + ", not " + text(wanted)};
}

}  // namespace

Result<void> EmbeddedStore::create(const std::string& path, const std::string& value,
                                   int64_t revision, std::set<std::string>& changed) {
  StatementUse use(writing_.create);
  use->bind(1, std::string_view(path));
  use->bind(2, revision);
  use->bind_blob(3, value);
  if (auto done = run(writing_.create, "creating " + path); !done.ok()) return done;
  changed.insert(path);
  return Ok{};
}

Result<uint32_t> EmbeddedStore::next_number(const std::string& sequence) {
  StatementUse use(writing_.next_number);
  use->bind(1, std::string_view(sequence));
  const int code = use->step();
  if (code != SQLITE_ROW) return writing_.database->error(code, "appending to " + sequence);
  return static_cast<uint32_t>(use->integer(0));
}

Result<void> EmbeddedStore::apply(const Step& step, int64_t revision,
                                  std::set<std::string>& changed) {
  const std::string& path = path_of(step);
  const auto version = version_of(path);
  if (!version.ok()) return version.error();
  if (const auto* check = std::get_if<CheckVersion>(&step)) {
    if (*version != check->version) return wrong_version(path, *version, check->version);
    return Ok{};
  }
  if (const auto* made = std::get_if<Create>(&step)) {
    if (*version != 0) return Error{ErrorCode::exists, path + " exists already"};
    return create(path, made->value, revision, changed);
  }
  if (const auto* append = std::get_if<Append>(&step)) {
    auto number = next_number(path);
    if (!number.ok()) return number.error();
    return create(sequence_path(path, *number), append->value, revision, changed);
  }
  if (*version == 0) return Error{ErrorCode::not_found, path + " does not exist"};
  if (const auto* set = std::get_if<Set>(&step)) {
    if (*version != set->version) return wrong_version(path, *version, set->version);
    StatementUse use(writing_.set);
    use->bind(1, std::string_view(path));
    use->bind(2, revision);
    use->bind_blob(3, set->value);
    if (auto done = run(writing_.set, "changing " + path); !done.ok()) return done;
    changed.insert(path);
    return Ok{};
  }
  const auto& removal = std::get<Delete>(step);
  if (*version != removal.version) return wrong_version(path, *version, removal.version);
  {
    const std::string begin = path + "/", end = path + "0";
    StatementUse use(writing_.below);
    use->bind(1, std::string_view(begin));
    use->bind(2, std::string_view(end));
    const int code = use->step();
    if (code == SQLITE_ROW) {
      return Error{ErrorCode::in_use, path + " has records below it: " + use->bytes(0)};
    }
    if (code != SQLITE_DONE) return writing_.database->error(code, "reading below " + path);
  }
  return remove_record(path, changed);
}

Result<Revision> EmbeddedStore::check_only(const std::vector<Step>& steps) {
  if (auto gone = files_.replaced()) return *gone;
  std::lock_guard lock(reading_.mutex);
  if (auto begun = reading_.database->exec("BEGIN"); !begun.ok()) return begun.error();
  auto outcome = [&]() -> Result<Revision> {
    for (const Step& step : steps) {
      const auto& check = std::get<CheckVersion>(step);
      auto record = get_locked(check.path);
      if (!record.ok()) return record.error();
      const int64_t version = *record ? (*record)->version : 0;
      if (version != check.version) return wrong_version(check.path, version, check.version);
    }
    auto head = head_locked();
    if (!head.ok()) return head.error();
    return Revision{*head};
  }();
  if (auto ended = reading_.database->exec("COMMIT"); !ended.ok()) return ended.error();
  return outcome;
}

Result<Revision> EmbeddedStore::transact(const std::vector<Step>& steps) {
  if (auto ok = check_steps(steps); !ok.ok()) return ok.error();
  if (std::all_of(steps.begin(), steps.end(),
                  [](const Step& s) { return std::holds_alternative<CheckVersion>(s); })) {
    return check_only(steps);
  }
  std::lock_guard lock(writing_.mutex);
  return write("store transaction",
               [&](int64_t revision, std::set<std::string>& changed) -> Result<void> {
                 for (const Step& step : steps) {
                   if (auto done = apply(step, revision, changed); !done.ok()) return done;
                 }
                 return Ok{};
               });
}

// --- ephemeral records ---

Result<void> EmbeddedStore::put_ephemeral(std::string_view path, std::string_view value) {
  if (auto ok = check_steps({Create{std::string(path), std::string(value)}}); !ok.ok()) return ok;
  if (auto gone = files_.replaced()) return *gone;
  std::lock_guard lock(writing_.mutex);
  std::string session = session_;
  UniqueFd session_lock;
  if (session.empty()) {
    session = Uuid::random().str();
    auto started = files_.start_session(session);
    if (!started.ok()) return started.error();
    session_lock = std::move(*started);
  }
  const std::string key(path);
  const auto done = write(
      "ephemeral record", [&](int64_t revision, std::set<std::string>& changed) -> Result<void> {
        if (session_.empty()) {
          StatementUse use(writing_.add_session);
          use->bind(1, std::string_view(session));
          if (auto added = run(writing_.add_session, "adding a session"); !added.ok()) return added;
        }
        const auto version = version_of(key);
        if (!version.ok()) return version.error();
        const Step step = *version == 0 ? Step{Create{key, std::string(value)}}
                                        : Step{Set{key, std::string(value), *version}};
        if (auto stored = apply(step, revision, changed); !stored.ok()) return stored;
        StatementUse use(writing_.own);
        use->bind(1, std::string_view(key));
        use->bind(2, std::string_view(session));
        return run(writing_.own, "owning " + key);
      });
  if (!done.ok()) {
    if (session_.empty()) files_.remove_session(session);
    return done.error();
  }
  if (session_.empty()) {
    session_ = session;
    session_lock_ = std::move(session_lock);
  }
  return Ok{};
}

Result<void> EmbeddedStore::drop_session(const std::string& id) {
  auto done =
      write("ending a session", [&](int64_t, std::set<std::string>& changed) -> Result<void> {
        std::vector<std::string> paths;
        {
          StatementUse use(writing_.owned);
          use->bind(1, std::string_view(id));
          int code = 0;
          while ((code = use->step()) == SQLITE_ROW) paths.push_back(use->bytes(0));
          if (code != SQLITE_DONE) return writing_.database->error(code, "reading a session");
        }
        for (const std::string& path : paths) {
          if (auto removed = remove_record(path, changed); !removed.ok()) return removed;
        }
        // Keeps the promise that each revision changed something: the log then has no gap.
        if (changed.empty()) changed.insert("/session");
        StatementUse use(writing_.remove_session);
        use->bind(1, std::string_view(id));
        return run(writing_.remove_session, "removing a session");
      });
  if (!done.ok()) return done.error();
  return Ok{};
}

void EmbeddedStore::clean_up_after_the_dead() {
  // The sessions' files are those of another database.
  if (files_.replaced()) return;
  std::vector<std::string> sessions;
  {
    std::lock_guard lock(reading_.mutex);
    StatementUse use(reading_.sessions);
    while (use->step() == SQLITE_ROW) sessions.push_back(use->bytes(0));
  }
  for (const std::string& id : sessions) {
    // A lock of our own session would succeed only through another descriptor, so it does not; but
    // there is no need to ask.
    std::unique_lock lock(writing_.mutex, std::try_to_lock);
    if (!lock.owns_lock()) return;  // the next round is soon
    if (id == session_) continue;
    auto dead = files_.lock_dead_session(id);
    if (!dead.ok() || !dead->has_value()) continue;
    if (auto done = drop_session(id); !done.ok()) {
      log_warn("store", "cleaning up after a dead process: {}", done.error().message);
      return;
    }
    files_.remove_session(id);
  }
}

}  // namespace plexus::store
