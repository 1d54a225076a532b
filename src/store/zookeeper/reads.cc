// SPDX-License-Identifier: Apache-2.0
// What a ZookeeperStore reads.
#include <algorithm>
#include <mutex>

#include "store/path.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {

namespace {

/// Answers to many requests, some of which are under way at a time.
struct Gathering {
  std::mutex mutex;
  std::condition_variable changed;
  size_t open = 0;    ///< asked, not answered
  size_t wanted = 0;  ///< tell when so few are open
};

constexpr std::chrono::milliseconds kPause{20};

}  // namespace

Error ZookeeperStore::read_error(int code, const std::string& path) const {
  if (code == ZNOAUTH) {
    return {ErrorCode::denied,
            "reading " + path + ": the store does not allow it to " + access_.who()};
  }
  if (lost(code)) {
    return {ErrorCode::unavailable, "reading " + path + ": zookeeper: " + code_text(code)};
  }
  return {ErrorCode::internal, "reading " + path + ": zookeeper: " + code_text(code)};
}

template <typename Answer, typename Ask>
Result<std::vector<Answer>> ZookeeperStore::ask_all(const std::vector<std::string>& paths,
                                                    Clock::time_point deadline, const Ask& ask) {
  std::vector<Answer> answers(paths.size());
  std::vector<size_t> to_ask(paths.size());
  for (size_t i = 0; i < paths.size(); ++i) to_ask[i] = i;
  while (!to_ask.empty()) {
    auto main = follower_->main(deadline);
    if (!main.ok()) return main.error();
    Gathering gathering;
    std::vector<size_t> again;
    std::optional<Error> error;
    int last_code = ZOK;
    for (const size_t i : to_ask) {
      {
        std::unique_lock lock(gathering.mutex);
        if (gathering.open >= options_.in_flight) {
          // Half of them, so that it does not wake for each.
          gathering.wanted = options_.in_flight / 2;
          gathering.changed.wait(lock, [&] { return gathering.open <= gathering.wanted; });
        }
        ++gathering.open;
      }
      ask(*main->session, znode(paths[i]), [&, i](int code, Answer answer) {
        std::lock_guard lock(gathering.mutex);
        if (code == ZOK || code == ZNONODE) {
          answers[i] = std::move(answer);
        } else if (lost(code)) {
          again.push_back(i);
          last_code = code;
        } else {
          error = read_error(code, paths[i]);
        }
        if (--gathering.open <= gathering.wanted) gathering.changed.notify_all();
      });
    }
    std::unique_lock lock(gathering.mutex);
    gathering.wanted = 0;
    gathering.changed.wait(lock, [&] { return gathering.open == 0; });
    if (error) return *error;
    if (!again.empty()) {
      if (Clock::now() >= deadline) return read_error(last_code, paths[again.front()]);
      std::this_thread::sleep_for(kPause);
    }
    to_ask = std::move(again);
  }
  return answers;
}

Result<std::vector<std::optional<ZookeeperStore::Znode>>> ZookeeperStore::read(
    const std::vector<std::string>& paths, Clock::time_point deadline) {
  return ask_all<std::optional<Znode>>(
      paths, deadline, [](Session& session, const std::string& znode, auto done) {
        session.get(
            znode, false, [done = std::move(done)](int code, std::string value, const Stat& stat) {
              done(code, code == ZOK ? std::optional(Znode{std::move(value), stat}) : std::nullopt);
            });
      });
}

Result<std::vector<std::optional<Stat>>> ZookeeperStore::look_at(
    const std::vector<std::string>& paths, Clock::time_point deadline) {
  return ask_all<std::optional<Stat>>(
      paths, deadline, [](Session& session, const std::string& znode, auto done) {
        session.exists(znode, false, [done = std::move(done)](int code, const Stat& stat) {
          done(code, code == ZOK ? std::optional(stat) : std::nullopt);
        });
      });
}

Result<std::vector<std::vector<std::string>>> ZookeeperStore::children(
    const std::vector<std::string>& paths, Clock::time_point deadline) {
  return ask_all<std::vector<std::string>>(
      paths, deadline, [](Session& session, const std::string& znode, auto done) {
        session.children(znode, [done = std::move(done)](int code, std::vector<std::string> names) {
          done(code, std::move(names));
        });
      });
}

Result<std::vector<Acl>> ZookeeperStore::access_lists(const std::vector<std::string>& paths,
                                                      Clock::time_point deadline) {
  return ask_all<Acl>(paths, deadline, [](Session& session, const std::string& znode, auto done) {
    session.get_acl(znode,
                    [done = std::move(done)](int code, Acl acl) { done(code, std::move(acl)); });
  });
}

std::optional<Record> ZookeeperStore::record_of(const std::string& path, Znode& znode) const {
  const int64_t version = record_version(path, znode.stat.version);
  if (version == 0) return std::nullopt;
  return Record{std::move(znode.value), version, Revision{znode.stat.mzxid}};
}

Result<std::optional<Record>> ZookeeperStore::get(std::string_view path) {
  auto records = get_many({std::string(path)});
  if (!records.ok()) return records.error();
  return std::move(records->front());
}

Result<std::vector<std::optional<Record>>> ZookeeperStore::get_many(
    const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (auto ok = check_path(path); !ok.ok()) return ok.error();
  }
  auto znodes = read(paths, deadline());
  if (!znodes.ok()) return znodes.error();
  std::vector<std::optional<Record>> records;
  records.reserve(paths.size());
  for (size_t i = 0; i < paths.size(); ++i) {
    auto& znode = (*znodes)[i];
    records.push_back(znode ? record_of(paths[i], *znode) : std::nullopt);
  }
  return records;
}

Result<std::vector<std::string>> ZookeeperStore::list(std::string_view directory) {
  if (auto ok = check_path(directory); !ok.ok()) return ok.error();
  const auto end = deadline();
  auto names = children({std::string(directory)}, end);
  if (!names.ok()) return names.error();
  std::vector<std::string> paths;
  for (const std::string& name : names->front()) {
    paths.push_back(std::string(directory) + "/" + name);
  }
  auto stats = look_at(paths, end);
  if (!stats.ok()) return stats.error();
  std::vector<std::string> found;
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto& stat = (*stats)[i];
    if (!stat) continue;  // gone meanwhile
    // An empty directory is what some record once needed.
    if (record_version(paths[i], stat->version) == 0 && stat->numChildren == 0) continue;
    found.push_back(names->front()[i]);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// One request, where list() looks at each.
Result<std::vector<std::string>> ZookeeperStore::names(std::string_view directory) {
  if (auto ok = check_path(directory); !ok.ok()) return ok.error();
  auto names = children({std::string(directory)}, deadline());
  if (!names.ok()) return names.error();
  std::sort(names->front().begin(), names->front().end());
  return std::move(names->front());
}

Result<std::vector<std::pair<std::string, Record>>> ZookeeperStore::scan(
    std::string_view directory) {
  if (auto ok = check_path(directory); !ok.ok()) return ok.error();
  std::vector<std::pair<std::string, Record>> found;
  std::vector<std::string> directories{std::string(directory)};
  // Level by level.
  while (!directories.empty()) {
    auto names = children(directories, deadline());
    if (!names.ok()) return names.error();
    std::vector<std::string> paths;
    for (size_t i = 0; i < directories.size(); ++i) {
      for (const std::string& name : (*names)[i]) paths.push_back(directories[i] + "/" + name);
    }
    auto znodes = read(paths, deadline());
    if (!znodes.ok()) return znodes.error();
    directories.clear();
    for (size_t i = 0; i < paths.size(); ++i) {
      auto& znode = (*znodes)[i];
      if (!znode) continue;
      if (znode->stat.numChildren > 0) directories.push_back(paths[i]);
      if (auto record = record_of(paths[i], *znode)) {
        found.emplace_back(paths[i], std::move(*record));
      }
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return found;
}

}  // namespace plexus::store
