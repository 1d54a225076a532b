// SPDX-License-Identifier: Apache-2.0
// The watches of a Follower; its sessions are in follower_sessions.cc.
#include "store/zookeeper/follower.h"

#include <algorithm>

#include "base/log.h"
#include "store/zookeeper/plan.h"

namespace plexus::store {

namespace {
constexpr std::chrono::milliseconds kRetry{100};
// An answer that took less lets the window grow, one that took more lets it shrink.
constexpr std::chrono::milliseconds kSoon{100}, kLate{400};
constexpr size_t kLeastWindow = 4;
}  // namespace

class Follower::Handle : public Watch {
 public:
  Handle(std::shared_ptr<Mailbox> mailbox, Follower* follower, EntryPtr entry)
      : mailbox_(std::move(mailbox)), follower_(follower), entry_(std::move(entry)) {}
  ~Handle() override {
    {
      std::lock_guard running(entry_->mutex);
      entry_->active = false;
    }
    mailbox_->post([follower = follower_, entry = entry_] { follower->ended(entry); });
  }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  Follower* follower_;  ///< alive as long as the mailbox takes tasks
  EntryPtr entry_;
};

void Follower::Mailbox::post(std::function<void()> task) {
  std::lock_guard lock(mutex);
  if (stopped) return;
  tasks.push_back(std::move(task));
  if (tasks.size() == 1) filled.notify_one();
}

std::unique_ptr<Watch> Follower::enter(EntryPtr entry) {
  mailbox_->post([this, entry] { added(entry); });
  return std::make_unique<Handle>(mailbox_, this, std::move(entry));
}

std::unique_ptr<Watch> Follower::add(std::string path, WatchCallback callback) {
  auto entry = std::make_shared<Entry>();
  entry->path = std::move(path);
  entry->callback = std::move(callback);
  return enter(std::move(entry));
}

std::unique_ptr<Watch> Follower::add_settled(std::function<void(Revision)> callback) {
  auto entry = std::make_shared<Entry>();
  entry->settled = std::move(callback);
  return enter(std::move(entry));
}

void Follower::added(const EntryPtr& entry) {
  if (entry->settled) {
    settled_.push_back(entry);
    unsettled_ = true;
    return;
  }
  PathPtr& path = paths_[entry->path];
  if (path == nullptr) {
    path = std::make_shared<Path>();
    path->path = entry->path;
    path->lane = &lane_for(cost(root_ + entry->path));
    path->lane->bytes += cost(root_ + entry->path);
    ++path->lane->paths;
  } else if (path->entries.empty() && path->armed && !path->leaving) {
    path->lane->dead_bytes -= cost(root_ + entry->path);
  }
  path->entries.push_back(entry);
  enqueue(path);
  pump(*path->lane);
}

void Follower::ended(const EntryPtr& entry) {
  if (entry->settled) {
    std::erase(settled_, entry);
    return;
  }
  const auto found = paths_.find(entry->path);
  if (found == paths_.end()) return;
  const PathPtr path = found->second;
  if (std::erase(path->entries, entry) == 0 || !path->entries.empty()) return;
  if (path->leaving || path->reading || path->queued) return;  // seen to when that ends
  if (!path->armed) return forget(path);
  // The server keeps the watch until it fires, or until there are many such.
  path->lane->dead_bytes += cost(root_ + entry->path);
  sweep(*path->lane);
}

void Follower::forget(const PathPtr& path) {
  path->lane->bytes -= cost(root_ + path->path);
  --path->lane->paths;
  paths_.erase(path->path);
}

Follower::Lane& Follower::lane_for(size_t bytes) {
  for (const auto& lane : lanes_) {
    if (lane->bytes + bytes <= options_.watched_bytes) return *lane;
  }
  return add_lane();
}

void Follower::sweep(Lane& lane) {
  if (lane.dead_bytes * 4 < options_.watched_bytes || !lane.prepared || !lane.connected) return;
  for (const auto& [name, path] : paths_) {
    if (path->lane != &lane || !path->entries.empty() || !path->armed || path->leaving ||
        path->reading || path->queued) {
      continue;
    }
    path->leaving = true;
    auto then = on_thread(lane, [this, left = path](Lane& l, int) {
      left->leaving = left->armed = false;
      if (!left->entries.empty()) {
        enqueue(left);
        pump(l);
      } else if (!left->reading && !left->queued) {
        forget(left);
      }
    });
    lane.session->remove_watch(root_ + name, [then = std::move(then)](int code) { then(code); });
  }
  lane.dead_bytes = 0;
}

void Follower::enqueue(const PathPtr& path) {
  if (path->queued || path->reading) return;
  path->queued = true;
  path->lane->to_read.push_back(path);
}

void Follower::pump(Lane& lane) {
  if (!lane.connected || !lane.prepared || lane.retry_at) return;
  while (lane.in_flight < lane.window && !lane.to_read.empty()) {
    const PathPtr path = lane.to_read.front();
    lane.to_read.pop_front();
    path->queued = false;
    if (path->entries.empty() && !path->armed) {
      forget(path);
      continue;
    }
    read(lane, path);
  }
}

void Follower::read(Lane& lane, const PathPtr& path) {
  ++lane.in_flight;
  path->reading = true;
  auto then = on_thread(
      lane, [this, path, asked = Clock::now()](Lane& l, int code, std::string value, Stat stat) {
        path->reading = false;
        answered(l, asked);
        if (code == ZNONODE) {
          read_absent(l, path);
        } else if (code != ZOK) {
          failed(l, path, code);
        } else {
          path->armed = true;
          l.seen = std::max(l.seen, stat.mzxid);
          std::optional<Record> record;
          if (const int64_t version = record_version(path->path, stat.version); version > 0) {
            record = Record{std::move(value), version, Revision{stat.mzxid}};
          }
          report(l, path, std::move(record));
        }
        pump(l);
      });
  lane.session->get(root_ + path->path, true,
                    [then = std::move(then)](int code, std::string value, const Stat& stat) {
                      then(code, std::move(value), stat);
                    });
}

// Reading leaves no watch on what does not exist; asking whether it exists does.
void Follower::read_absent(Lane& lane, const PathPtr& path) {
  ++lane.in_flight;
  path->reading = true;
  auto then = on_thread(lane, [this, path, asked = Clock::now()](Lane& l, int code) {
    path->reading = false;
    answered(l, asked);
    if (code == ZOK) {
      read(l, path);  // made meanwhile
    } else if (code == ZNONODE) {
      path->armed = true;
      report(l, path, std::nullopt);
    } else {
      failed(l, path, code);
    }
    pump(l);
  });
  lane.session->exists(root_ + path->path, true,
                       [then = std::move(then)](int code, const Stat&) { then(code); });
}

void Follower::answered(Lane& lane, Clock::time_point asked) {
  --lane.in_flight;
  const auto took = Clock::now() - asked;
  if (took < kSoon) {
    lane.window = std::min(lane.window + 1, options_.in_flight);
  } else if (took > kLate && lane.in_flight < lane.window) {
    // Each answer of a window that was too large comes late; it is halved about once for all.
    lane.window = std::max(std::min(lane.window, lane.in_flight) / 2, kLeastWindow);
  }
}

void Follower::failed(Lane& lane, const PathPtr& path, int code) {
  if (code == ZNOAUTH) {
    log_warn("store", "{} may not read {}: its watch says nothing", access_.who(), path->path);
    for (const EntryPtr& entry : path->entries) entry->fresh = false;
    return;
  }
  if (!lost(code)) log_warn("store", "reading {}: {}; trying again", path->path, code_text(code));
  enqueue(path);
  lane.retry_at = Clock::now() + kRetry;
}

void Follower::report(Lane& lane, const PathPtr& path, std::optional<Record> record) {
  const int64_t revision = record ? record->revision.value : 0;
  const bool changed =
      !path->known || path->exists != record.has_value() || path->revision != revision;
  path->known = true;
  path->exists = record.has_value();
  path->revision = revision;
  if (revision > reported_) {
    reported_ = revision;
    witness_ = root_ + path->path;
  }
  if (path->entries.empty()) {
    path->lane->dead_bytes += cost(root_ + path->path);
    sweep(lane);
    return;
  }
  const WatchEvent event{path->path, std::move(record), Revision{lane.seen}};
  for (const EntryPtr& entry : path->entries) {
    if (!changed && !entry->fresh) continue;
    entry->fresh = false;
    unsettled_ = true;
    std::lock_guard running(entry->mutex);
    if (entry->active) entry->callback(event);
  }
}

void Follower::on_fired(Lane& lane, const std::string& znode) {
  if (!is_below(znode, root_)) return;
  const auto found = paths_.find(znode.substr(root_.size()));
  if (found == paths_.end() || found->second->lane != &lane) return;
  const PathPtr path = found->second;
  // While it is being read the answer is still to come, and will be newer than this event.
  if (path->reading || path->queued || path->leaving) return;
  path->armed = false;
  if (path->entries.empty()) {
    lane.dead_bytes -= std::min(lane.dead_bytes, cost(znode));
    return forget(path);
  }
  enqueue(path);
  pump(lane);
}

// Whoever sees a znode at a revision has been sent all events up to it.
void Follower::catch_up(Lane& lane) {
  lane.catching_up = true;
  const int64_t target = reported_;
  if (witness_.empty()) return ask_to_sync(lane, target);
  auto then = on_thread(lane, [this, target](Lane& l, int code, int64_t revision) {
    if (code == ZNONODE || (code == ZOK && revision < target)) return ask_to_sync(l, target);
    caught_up(l, code, target);
  });
  lane.session->exists(witness_, false, [then = std::move(then)](int code, const Stat& stat) {
    then(code, stat.mzxid);
  });
}

void Follower::ask_to_sync(Lane& lane, int64_t target) {
  auto then = on_thread(lane, [this, target](Lane& l, int code) { caught_up(l, code, target); });
  lane.session->sync(root_, [then = std::move(then)](int code) { then(code); });
}

// What is committed elsewhere and known to us is known to this session's server now, and its events
// have come.
void Follower::caught_up(Lane& lane, int code, int64_t target) {
  lane.catching_up = false;
  if (code == ZOK) {
    lane.seen = std::max(lane.seen, target);
  } else {
    lane.retry_at = Clock::now() + kRetry;
  }
}

void Follower::check_settled() {
  if (!unsettled_) return;
  for (const auto& lane : lanes_) {
    if (lane->index != 0 && lane->paths == 0) continue;
    if (!lane->connected || !lane->prepared || lane->in_flight != 0 || !lane->to_read.empty() ||
        lane->catching_up) {
      return;
    }
  }
  bool behind = false;
  int64_t revision = 0;
  for (const auto& lane : lanes_) {
    if (lane->index != 0 && lane->paths == 0) continue;
    if (lane->seen < reported_) {
      behind = true;
      catch_up(*lane);
    }
    revision = revision == 0 ? lane->seen : std::min(revision, lane->seen);
  }
  if (behind) return;
  unsettled_ = false;
  reported_ = std::max(reported_, revision);
  // A callback may end its watch; that comes by the mailbox.
  for (const EntryPtr& entry : settled_) {
    std::lock_guard running(entry->mutex);
    if (entry->active) entry->settled(Revision{revision});
  }
}

}  // namespace plexus::store
