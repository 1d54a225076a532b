// SPDX-License-Identifier: Apache-2.0
#include "store/embedded/watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>

#include "base/log.h"

namespace plexus::store {

class Watcher::Handle : public Watch {
 public:
  Handle(std::shared_ptr<Registry> registry, EntryPtr entry)
      : registry_(std::move(registry)), entry_(std::move(entry)) {}
  ~Handle() override {
    {
      std::lock_guard lock(registry_->mutex);
      const auto found = registry_->by_path.find(entry_->path);
      if (found != registry_->by_path.end()) {
        std::erase(found->second, entry_);
        if (found->second.empty()) registry_->by_path.erase(found);
      }
      if (entry_->settled) std::erase(registry_->settled, entry_);
    }
    std::lock_guard running(entry_->mutex);
    entry_->active = false;
  }

 private:
  std::shared_ptr<Registry> registry_;
  EntryPtr entry_;
};

Watcher::Watcher(StoreFiles& files, std::chrono::milliseconds interval, std::function<void()> tick)
    : files_(files), interval_(interval), tick_(std::move(tick)) {}

Result<std::unique_ptr<Watcher>> Watcher::start(StoreFiles& files,
                                                std::chrono::milliseconds patience,
                                                std::chrono::milliseconds interval,
                                                std::function<void()> tick) {
  std::unique_ptr<Watcher> watcher(new Watcher(files, interval, std::move(tick)));
  if (auto done = watcher->prepare(patience); !done.ok()) return done.error();
  watcher->thread_ = std::thread([w = watcher.get()] { w->run(); });
  return watcher;
}

Result<void> Watcher::prepare(std::chrono::milliseconds patience) {
  wake_ = UniqueFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_.valid()) return errno_error("store: eventfd", errno);
  bell_ = UniqueFd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!bell_.valid())
    return errno_error("store: inotify (see fs.inotify.max_user_instances)", errno);
  if (inotify_add_watch(bell_.get(), files_.bell().c_str(), IN_MODIFY) < 0) {
    return errno_error("store: watching " + files_.bell(), errno);
  }
  auto database = Database::open(files_.database(), patience);
  if (!database.ok()) return database.error();
  database_ = std::move(*database);
  if (auto done = database_->exec("PRAGMA query_only=1"); !done.ok()) return done;
  const struct {
    Statement& statement;
    const char* sql;
  } statements[] = {
      {get_, "SELECT version, revision, value FROM rec WHERE path = ?"},
      {head_, "SELECT value FROM meta WHERE name = 'revision'"},
      {since_, "SELECT revision, path FROM log WHERE revision > ? ORDER BY revision"},
  };
  for (const auto& s : statements) {
    auto prepared = database_->prepare(s.sql);
    if (!prepared.ok()) return prepared.error();
    s.statement = std::move(*prepared);
  }
  return Ok{};
}

Watcher::~Watcher() {
  stop_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] auto n = ::write(wake_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

std::unique_ptr<Watch> Watcher::enter(EntryPtr entry) {
  bool wake = false;
  {
    std::lock_guard lock(registry_->mutex);
    if (entry->settled) {
      registry_->settled.push_back(entry);
    } else {
      registry_->by_path[entry->path].push_back(entry);
    }
    wake = registry_->fresh.empty();
    registry_->fresh.push_back(entry);
  }
  if (wake) {
    const uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_.get(), &one, sizeof one);
  }
  return std::make_unique<Handle>(registry_, std::move(entry));
}

std::unique_ptr<Watch> Watcher::add(std::string path, WatchCallback callback) {
  auto entry = std::make_shared<Entry>();
  entry->path = std::move(path);
  entry->callback = std::move(callback);
  return enter(std::move(entry));
}

std::unique_ptr<Watch> Watcher::add_settled(std::function<void(Revision)> callback) {
  auto entry = std::make_shared<Entry>();
  entry->settled = std::move(callback);
  return enter(std::move(entry));
}

void Watcher::run() {
  auto next_tick = std::chrono::steady_clock::now();
  std::array<char, 4096> notes{};
  while (!stop_) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_tick) {
      next_tick = now + interval_;
      tick_();
      look();
      continue;
    }
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next_tick - now);
    std::array<pollfd, 2> polled{{{bell_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    if (poll(polled.data(), polled.size(), static_cast<int>(wait.count())) <= 0) continue;
    uint64_t count = 0;
    [[maybe_unused]] auto n = ::read(wake_.get(), &count, sizeof count);
    // One read takes many rings: they say nothing but "look".
    while (::read(bell_.get(), notes.data(), notes.size()) > 0) {
    }
    look();
  }
}

void Watcher::look() {
  std::vector<EntryPtr> fresh, settled;
  {
    std::lock_guard lock(registry_->mutex);
    fresh.swap(registry_->fresh);
    settled = registry_->settled;
  }
  std::vector<Report> reports;
  const int64_t seen_before = seen_;
  const auto head = collect(fresh, reports);
  report_health(head);
  if (!head.ok()) {
    // Said at a later look.
    std::lock_guard lock(registry_->mutex);
    registry_->fresh.insert(registry_->fresh.end(), fresh.begin(), fresh.end());
    return;
  }
  for (const Report& report : reports) {
    for (const EntryPtr& entry : report.entries) {
      entry->reported = true;
      std::lock_guard running(entry->mutex);
      if (entry->active) entry->callback(report.event);
    }
  }
  if (reports.empty() && fresh.empty() && *head == seen_before) return;
  for (const EntryPtr& entry : settled) {
    std::lock_guard running(entry->mutex);
    if (entry->active) entry->settled(Revision{*head});
  }
}

Result<int64_t> Watcher::collect(const std::vector<EntryPtr>& fresh, std::vector<Report>& out) {
  // Most looks find nothing new.
  if (auto begun = database_->exec("BEGIN"); !begun.ok()) return begun.error();
  struct End {
    Database& database;
    ~End() { (void)database.exec("COMMIT").ok(); }
  } end{*database_};

  int64_t head = 0;
  {
    StatementUse use(head_);
    const int code = use->step();
    if (code != SQLITE_ROW) return database_->error(code, "reading the revision");
    head = use->integer(0);
  }
  std::map<std::string, std::vector<EntryPtr>> to_report;
  if (head != seen_) {
    auto changed = changed_paths(head);
    if (!changed.ok()) return changed.error();
    std::lock_guard lock(registry_->mutex);
    for (const std::string& path : *changed) {
      const auto found = registry_->by_path.find(path);
      if (found != registry_->by_path.end()) to_report[path] = found->second;
    }
  }
  for (const EntryPtr& entry : fresh) {
    // One that came in while the last look was reading may have been reported to already.
    if (entry->settled || entry->reported) continue;
    auto& entries = to_report[entry->path];
    if (std::find(entries.begin(), entries.end(), entry) == entries.end()) entries.push_back(entry);
  }
  for (auto& [path, entries] : to_report) {
    StatementUse use(get_);
    use->bind(1, std::string_view(path));
    const int code = use->step();
    Report report{std::move(entries), WatchEvent{path, std::nullopt, Revision{head}}};
    if (code == SQLITE_ROW) {
      report.event.record = Record{use->bytes(2), use->integer(0), Revision{use->integer(1)}};
    } else if (code != SQLITE_DONE) {
      return database_->error(code, "reading " + path);
    }
    out.push_back(std::move(report));
  }
  seen_ = head;
  return head;
}

Result<std::vector<std::string>> Watcher::changed_paths(int64_t head) {
  // The log has no gaps: each revision changed something. What is missing was trimmed. A revision that
  // went back means another database under the same name.
  std::vector<std::string> paths;
  int64_t first = 0;
  {
    StatementUse use(since_);
    use->bind(1, seen_);
    int code = 0;
    while ((code = use->step()) == SQLITE_ROW) {
      if (first == 0) first = use->integer(0);
      paths.push_back(use->bytes(1));
    }
    if (code != SQLITE_DONE) return database_->error(code, "reading the log");
  }
  if (seen_ < head && first == seen_ + 1) {
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
    return paths;
  }
  paths.clear();
  std::lock_guard lock(registry_->mutex);
  for (const auto& [path, entries] : registry_->by_path) paths.push_back(path);
  return paths;
}

void Watcher::report_health(const Result<int64_t>& read) {
  std::string trouble;
  if (!read.ok()) {
    trouble = read.error().message;
  } else if (const auto gone = files_.replaced()) {
    trouble = gone->message;
  }
  const bool up = trouble.empty();
  if (up == up_) return;
  up_ = up;
  if (up) {
    log_info("store", "{} answers again", files_.directory());
  } else {
    log_error("store", "{}", trouble);
  }
}

}  // namespace plexus::store
