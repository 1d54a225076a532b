// SPDX-License-Identifier: Apache-2.0
// The sessions of a Follower: beginning, preparing, losing and replacing them; and its thread.
#include <algorithm>

#include "base/ids.h"
#include "base/log.h"
#include "store/zookeeper/follower.h"
#include "store/zookeeper/plan.h"

namespace plexus::store {

namespace {

constexpr std::chrono::milliseconds kProbeInterval{1000};
constexpr std::chrono::milliseconds kProbeLimit{3000};
constexpr std::chrono::milliseconds kRestart{1000};

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             Follower::Clock::now().time_since_epoch())
      .count();
}

}  // namespace

Follower::Follower(std::string servers, std::string root, AccessLists& access,
                   const ZookeeperOptions& options, std::function<void()> renewed)
    : servers_(std::move(servers)),
      root_(std::move(root)),
      beacons_(root_ + ".s"),
      access_(access),
      options_(options),
      renewed_(std::move(renewed)),
      random_(std::random_device()()) {
  add_lane();
  thread_ = std::thread([this] { run(); });
}

Follower::~Follower() {
  {
    std::lock_guard lock(mailbox_->mutex);
    mailbox_->stopped = true;
    mailbox_->filled.notify_one();
  }
  thread_.join();
  for (const auto& lane : lanes_) {
    if (lane->session != nullptr) lane->session->close();
  }
}

void Follower::run() {
  start_session(*lanes_.front());
  next_probe_ = Clock::now() + kProbeInterval;
  std::deque<std::function<void()>> tasks;
  while (true) {
    {
      std::unique_lock lock(mailbox_->mutex);
      mailbox_->filled.wait_until(lock, next_wake(Clock::now()),
                                  [&] { return mailbox_->stopped || !mailbox_->tasks.empty(); });
      if (mailbox_->stopped) {
        // Destroyed outside the lock: they may hold the last reference to what locks it.
        tasks.swap(mailbox_->tasks);
        break;
      }
      tasks.swap(mailbox_->tasks);
    }
    for (const auto& task : tasks) task();
    tasks.clear();
    tick(Clock::now());
    check_settled();
  }
}

Follower::Clock::time_point Follower::next_wake(Clock::time_point now) const {
  auto wake = std::min(next_probe_, now + kProbeInterval);
  for (const auto& lane : lanes_) {
    if (lane->start_at) wake = std::min(wake, *lane->start_at);
    if (lane->retry_at) wake = std::min(wake, *lane->retry_at);
  }
  return wake;
}

void Follower::tick(Clock::time_point now) {
  for (const auto& lane : lanes_) {
    if (lane->start_at && *lane->start_at <= now) {
      lane->start_at.reset();
      start_session(*lane);
    }
    if (lane->retry_at && *lane->retry_at <= now) {
      lane->retry_at.reset();
      if (lane->connected && !lane->prepared) prepare(*lane);
      pump(*lane);
    }
    // While it is cut off a session cannot learn that it has expired, and a server that was restored
    // to an older state turns it away without a word. A new one costs reading all again.
    if (lane->down_since && lane->session != nullptr &&
        now - *lane->down_since > 3 * options_.session_timeout) {
      replace_session(*lane, "is cut off for too long");
    }
  }
  if (now >= next_probe_) probe(now);
}

Follower::Lane& Follower::add_lane() {
  auto lane = std::make_unique<Lane>();
  lane->index = lanes_.size();
  lanes_.push_back(std::move(lane));
  // The first is started by the thread; the others are added on it.
  if (lanes_.size() > 1) start_session(*lanes_.back());
  return *lanes_.back();
}

void Follower::start_session(Lane& lane) {
  auto event = on_thread(lane, [this](Lane& l, Session::Event e) { on_event(l, e); });
  auto fired = on_thread(lane, [this](Lane& l, std::string path) { on_fired(l, path); });
  auto session = Session::start({servers_, options_.session_timeout, access_.credentials()},
                                std::move(event), std::move(fired));
  lane.down_since = Clock::now();
  if (!session.ok()) {
    if (!said_down_) log_warn("store", "{}; trying again", session.error().message);
    said_down_ = true;
    lane.start_at = Clock::now() + kRestart;
    return;
  }
  lane.session = std::move(*session);
}

void Follower::on_event(Lane& lane, Session::Event event) {
  switch (event) {
    case Session::Event::connected:
      lane.connected = true;
      lane.down_since.reset();
      if (said_down_ && lane.index == 0) log_info("store", "zookeeper {} answers again", servers_);
      said_down_ = false;
      if (lane.prepared) {
        if (lane.index == 0) publish_main();
        pump(lane);
      } else {
        prepare(lane);
      }
      break;
    case Session::Event::disconnected:
      if (!lane.connected) break;
      lane.connected = false;
      lane.down_since = Clock::now();
      if (lane.index == 0) {
        log_warn("store", "zookeeper {}: connection lost; connecting again", servers_);
        said_down_ = true;
        publish_main();
      }
      break;
    case Session::Event::expired:
      replace_session(lane, "has expired");
      break;
  }
}

void Follower::replace_session(Lane& lane, std::string_view why) {
  if (lane.index == 0 && lane.ever_prepared) {
    log_warn("store", "zookeeper {}: the session {}; beginning a new one", servers_, why);
  }
  // What was asked of the old session is not answered any more.
  ++lane.generation;
  lane.connected = lane.prepared = lane.preparing = lane.catching_up = false;
  lane.down_since.reset();
  lane.retry_at.reset();
  lane.in_flight = 0;
  lane.window = kFirstWindow;
  lane.dead_bytes = 0;
  if (lane.index == 0) publish_main();
  if (lane.session != nullptr) lane.session->close();
  lane.session.reset();
  std::vector<PathPtr> unwatched;
  for (const auto& [name, path] : paths_) {
    if (path->lane != &lane) continue;
    path->armed = path->reading = path->leaving = false;
    if (path->queued) continue;
    if (path->entries.empty()) {
      unwatched.push_back(path);
    } else {
      enqueue(path);
    }
  }
  for (const PathPtr& path : unwatched) forget(path);
  const auto most = std::max<int64_t>(options_.expiry_delay.count(), 0);
  lane.start_at = Clock::now() + std::chrono::milliseconds(std::uniform_int_distribution<int64_t>(
                                     0, lane.ever_prepared ? most : 0)(random_));
}

void Follower::prepare(Lane& lane) {
  if (lane.preparing) return;
  lane.preparing = true;
  if (lane.index == 0) {
    lane.beacon = beacons_ + "/" + Uuid::random().str();
    make_beacon(lane, true);
    return;
  }
  // Another server may lag behind the one we have read from: what we have reported must not go back.
  auto then = on_thread(lane, [this](Lane& l, int code) {
    l.preparing = false;
    if (code == ZOK) {
      prepared(l, 0);
    } else {
      l.retry_at = Clock::now() + kRestart;
    }
  });
  lane.session->sync("/", [then = std::move(then)](int code) { then(code); });
}

void Follower::make_beacon(Lane& lane, bool may_make_directories) {
  auto then =
      on_thread(lane, [this, may_make_directories](Lane& l, int code, size_t, int64_t revision) {
        if (code == ZNONODE && may_make_directories) return make_directories(l);
        l.preparing = false;
        if (code == ZOK) {
          prepared(l, revision);
        } else if (lost(code)) {
          l.retry_at = Clock::now() + kRestart;
        } else {
          refused(l, code);
        }
      });
  // A set tells its revision.
  lane.session->multi(
      {{ZnodeOperation::Kind::create, lane.beacon, {}, 0, access_.own(), ZOO_EPHEMERAL},
       {ZnodeOperation::Kind::set, lane.beacon, {}, 0}},
      [then = std::move(then)](int code, size_t failed, int64_t revision) {
        then(code, failed, revision);
      });
}

// What lies above our root is not ours: open to all, as ZooKeeper's own root is by default.
//
// Each by itself: those that are there stay as they are. The requests are answered in order, so the
// beacon's comes after all.
void Follower::make_directories(Lane& lane) {
  for (size_t slash = root_.find('/', 1); slash != std::string::npos;
       slash = root_.find('/', slash + 1)) {
    lane.session->multi(
        {{ZnodeOperation::Kind::create, root_.substr(0, slash), {}, 0, access_.open(), 0}},
        [](int, size_t, int64_t) {});
  }
  lane.session->multi({{ZnodeOperation::Kind::create, root_, {}, 0, access_.directory(), 0}},
                      [](int, size_t, int64_t) {});
  lane.session->multi({{ZnodeOperation::Kind::create, beacons_, {}, 0, access_.beacons(), 0}},
                      [](int, size_t, int64_t) {});
  make_beacon(lane, false);
}

void Follower::prepared(Lane& lane, int64_t revision) {
  lane.prepared = true;
  if (lane.index == 0) {
    last_answer_ms_ = now_ms();
    const bool renewed = lane.ever_prepared;
    if (revision < std::max(lane.seen, reported_)) {
      log_warn(
          "store",
          "zookeeper {} went back from revision {} to {}: it was restored or replaced; reading "
          "everything again",
          servers_, std::max(lane.seen, reported_), revision);
      reported_ = 0;
      witness_.clear();
      for (const auto& other : lanes_) other->seen = 0;
      for (const auto& [name, path] : paths_) path->known = false;
    }
    lane.seen = std::max(lane.seen, revision);
    lane.ever_prepared = true;
    publish_main();
    if (renewed) renewed_();
  }
  lane.ever_prepared = true;
  pump(lane);
}

void Follower::refused(Lane& lane, int code) {
  Error error{ErrorCode::unavailable,
              "zookeeper " + servers_ + ": cannot begin: " + code_text(code)};
  if (code == ZNOAUTH) {
    error = {ErrorCode::denied, "zookeeper " + servers_ + ": the store at " + root_ +
                                    " does not admit " + access_.who() +
                                    ": use the identity that belongs to it"};
  }
  bool is_new = false;
  {
    std::lock_guard lock(main_mutex_);
    is_new = !refusal_;
    refusal_ = error;
    main_changed_.notify_all();
  }
  if (is_new) log_error("store", "{}", error.message);
  lane.retry_at = Clock::now() + kRestart;
}

void Follower::publish_main() {
  Lane& lane = *lanes_.front();
  std::lock_guard lock(main_mutex_);
  if (lane.connected && lane.prepared) {
    main_ = Main{lane.session, lane.beacon, lane.generation};
    refusal_.reset();
    up_ = true;
  } else {
    main_.reset();
    up_ = false;
  }
  main_changed_.notify_all();
}

Result<Follower::Main> Follower::main(Clock::time_point deadline) {
  std::unique_lock lock(main_mutex_);
  main_changed_.wait_until(lock, deadline, [&] { return main_ || refusal_; });
  if (main_) return *main_;
  if (refusal_) return *refusal_;
  return Error{
      ErrorCode::unavailable,
      "zookeeper " + servers_ + " does not answer: is it running, and reachable from here?"};
}

void Follower::told(uint64_t generation, int64_t revision) {
  // The events that came before this answer are in the mailbox already.
  mailbox_->post([this, generation, revision] {
    Lane& lane = *lanes_.front();
    if (lane.generation != generation || revision <= lane.seen) return;
    lane.seen = revision;
    if (revision > reported_) {
      reported_ = revision;
      witness_ = lane.beacon;
    }
    unsettled_ = true;
  });
}

void Follower::beacon_lost(uint64_t generation) {
  {
    std::lock_guard lock(main_mutex_);
    if (main_ && main_->generation == generation) main_.reset();
  }
  mailbox_->post([this, generation] {
    Lane& lane = *lanes_.front();
    if (lane.generation != generation || !lane.connected || !lane.prepared) return;
    lane.prepared = false;
    prepare(lane);
  });
}

void Follower::probe(Clock::time_point now) {
  next_probe_ = now + kProbeInterval;
  Lane& lane = *lanes_.front();
  if (!lane.connected || !lane.prepared) return;
  auto then = on_thread(lane, [this](Lane&, int code) {
    if (!lost(code)) last_answer_ms_ = now_ms();
  });
  lane.session->exists(lane.beacon, false,
                       [then = std::move(then)](int code, const Stat&) { then(code); });
}

Health Follower::health() const {
  return up_ && now_ms() - last_answer_ms_ < kProbeLimit.count() ? Health::up : Health::down;
}

}  // namespace plexus::store
