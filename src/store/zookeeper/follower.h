// SPDX-License-Identifier: Apache-2.0
// Follower: the sessions of a ZooKeeper store and its watches, on one thread.
//
// The first session ("main") also carries what callers ask for. It has a beacon: an ephemeral znode
// of its own, which it sets to learn the revision, because the client does not tell that of an
// answer. Watched paths fill a session up to a budget, then the next one is opened.
//
// How many reads are under way depends on how soon they are answered: after an outage all hosts read
// everything at once, and a server that is asked too much answers nobody before his time is up.
//
// Reading: a path is read with a watch; when the watch fires it is read again. ZooKeeper sends the
// event before any answer that reflects a later state, in each session. So when nothing is left to
// read, what a session has reported is one state: that of the highest revision it has seen. Before
// this is said of several sessions, each that has seen less is asked for a znode known to be at that
// revision (a read; where that does not show it, by "sync", which may wait for the server's disk).
//
// A session that was cut off goes on when it is connected again: the client arms its watches anew,
// and what changed fires. A session that expired is replaced by a new one, and all its paths are read
// again. Reported is only what differs from what was reported last. When the new session's revision
// is below what was seen, the store was restored to an older state: revisions begin anew and
// everything is reported again.
//
// Threads: public functions from any; callbacks run on the follower's thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "store/store.h"
#include "store/zookeeper/access_lists.h"
#include "store/zookeeper/options.h"
#include "store/zookeeper/session.h"

namespace plexus::store {

class Follower {
 public:
  using Clock = std::chrono::steady_clock;

  /// The main session, for a caller.
  struct Main {
    std::shared_ptr<Session> session;
    std::string beacon;
    uint64_t generation = 0;
  };

  /// `root` is the znode of all records. `renewed` runs on the follower's thread when a new main
  /// session has taken an expired one's place: its ephemeral records are gone.
  Follower(std::string servers, std::string root, AccessLists& access,
           const ZookeeperOptions& options, std::function<void()> renewed);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  [[nodiscard]] std::unique_ptr<Watch> add(std::string path, WatchCallback callback);
  [[nodiscard]] std::unique_ptr<Watch> add_settled(std::function<void(Revision)> callback);

  /// Waits for the main session until `deadline`. unavailable: no server answers; denied: it does
  /// not let us in.
  Result<Main> main(Clock::time_point deadline);
  /// The main session was answered with this revision: what was committed before has been told to
  /// its watches. On any thread, also in the answer's callback.
  void told(uint64_t generation, int64_t revision);
  /// The beacon of this main session is gone: makes it again.
  void beacon_lost(uint64_t generation);
  [[nodiscard]] Health health() const;

  /// Where the beacons are, and a znode beside them that never exists.
  [[nodiscard]] const std::string& beacons() const { return beacons_; }
  [[nodiscard]] std::string nowhere() const { return beacons_ + "/none"; }

 private:
  /// One watch. `active` and the running callback are under `mutex`; recursive, because a callback
  /// may end its own watch.
  struct Entry {
    std::string path;
    WatchCallback callback;
    std::function<void(Revision)> settled;
    std::recursive_mutex mutex;
    bool active = true;
    bool fresh = true;  ///< the thread's own: not reported to yet
  };
  using EntryPtr = std::shared_ptr<Entry>;
  struct Lane;
  /// A watched path. The thread's own.
  struct Path {
    std::string path;
    Lane* lane = nullptr;
    std::vector<EntryPtr> entries;
    bool queued = false;   ///< in lane->to_read
    bool reading = false;  ///< asked, not answered
    bool armed = false;    ///< the server has our watch
    bool leaving = false;  ///< and is asked to drop it
    bool known = false;    ///< has been reported; then as:
    bool exists = false;
    int64_t revision = 0;
  };
  using PathPtr = std::shared_ptr<Path>;
  /// A session and its paths. The thread's own.
  struct Lane {
    size_t index = 0;
    std::shared_ptr<Session> session;
    uint64_t generation = 0;  ///< of the session; answers to an earlier one are ignored
    bool connected = false;
    bool prepared = false;
    bool preparing = false;
    bool ever_prepared = false;
    std::optional<Clock::time_point> start_at;  ///< of the next session
    std::optional<Clock::time_point> down_since;
    std::optional<Clock::time_point> retry_at;  ///< reads that failed
    std::deque<PathPtr> to_read;
    size_t in_flight = 0;
    size_t window = kFirstWindow;  ///< of in_flight
    size_t paths = 0;
    size_t bytes = 0;       ///< of the paths the server may be watching
    size_t dead_bytes = 0;  ///< of those, nobody's any more
    int64_t seen = 0;       ///< highest revision
    bool catching_up = false;
    std::string beacon;
  };
  /// Tasks for the thread; shared with the callbacks of sessions and with watch handles, which may
  /// outlive it.
  struct Mailbox {
    std::mutex mutex;
    std::condition_variable filled;
    std::deque<std::function<void()>> tasks;
    bool stopped = false;
    void post(std::function<void()> task);
  };
  class Handle;
  static constexpr size_t kFirstWindow = 32;

  std::unique_ptr<Watch> enter(EntryPtr entry);
  void run();
  [[nodiscard]] Clock::time_point next_wake(Clock::time_point now) const;
  void tick(Clock::time_point now);

  // Sessions.
  Lane& add_lane();
  void start_session(Lane& lane);
  void on_event(Lane& lane, Session::Event event);
  void prepare(Lane& lane);
  void make_beacon(Lane& lane, bool may_make_directories);
  void make_directories(Lane& lane);
  void prepared(Lane& lane, int64_t revision);
  void refused(Lane& lane, int code);
  void replace_session(Lane& lane, std::string_view why);
  void publish_main();
  void probe(Clock::time_point now);
  /// Posts `then` to the thread, unless the lane has another session by then.
  template <typename F>
  auto on_thread(Lane& lane, F then) {
    return [mailbox = mailbox_, &lane, generation = lane.generation,
            then = std::move(then)](auto... args) {
      mailbox->post([&lane, generation, then, ... args = std::move(args)]() mutable {
        if (lane.generation == generation) then(lane, std::move(args)...);
      });
    };
  }

  // Watches.
  void added(const EntryPtr& entry);
  void ended(const EntryPtr& entry);
  Lane& lane_for(size_t bytes);
  void enqueue(const PathPtr& path);
  void pump(Lane& lane);
  void read(Lane& lane, const PathPtr& path);
  void read_absent(Lane& lane, const PathPtr& path);
  void answered(Lane& lane, Clock::time_point asked);
  void failed(Lane& lane, const PathPtr& path, int code);
  void report(Lane& lane, const PathPtr& path, std::optional<Record> record);
  void on_fired(Lane& lane, const std::string& znode);
  void forget(const PathPtr& path);
  void sweep(Lane& lane);
  void check_settled();
  void catch_up(Lane& lane);
  void ask_to_sync(Lane& lane, int64_t target);
  void caught_up(Lane& lane, int code, int64_t target);
  static size_t cost(const std::string& path) { return path.size() + 8; }

  const std::string servers_, root_, beacons_;
  AccessLists& access_;
  const ZookeeperOptions options_;
  const std::function<void()> renewed_;
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();

  // For callers.
  mutable std::mutex main_mutex_;
  std::condition_variable main_changed_;
  std::optional<Main> main_;      ///< under main_mutex_
  std::optional<Error> refusal_;  ///< under main_mutex_: the server answers, and says no
  std::atomic<bool> up_{false};
  std::atomic<int64_t> last_answer_ms_{0};

  // The thread's own.
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unordered_map<std::string, PathPtr> paths_;
  std::vector<EntryPtr> settled_;
  int64_t reported_ = 0;    ///< highest revision in any report, or claimed as settled
  std::string witness_;     ///< a znode that was at that revision; empty: none is known
  bool unsettled_ = false;  ///< something was reported since the last call of `settled_`
  bool said_down_ = false;
  Clock::time_point next_probe_;
  std::minstd_rand random_;
  std::thread thread_;
};

}  // namespace plexus::store
