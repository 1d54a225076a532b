// SPDX-License-Identifier: Apache-2.0
// ChangeFeed: the newest entries of the store's change log in memory, and the watch streams that are made of them. One
// thread reads the log as it grows (by watching the exact key of the next entry), feeds all streams, and trims the log.
// Every server over one store has its own and sees the same entries in the same order.
//
// A stream has a place in the log and gets what follows as fast as its client takes it: a slow client costs no memory
// beyond a bounded buffer, and loses its stream only when the log has moved on beyond what is kept. An event carries its
// object as it is when the event is sent, so of several changes close together the first may show the result of the last.
//
// Events (text/event-stream):
//   event: change    id: <token>   data: {"verb","collection","id","name","tenant","object"}
//   event: bookmark  id: <token>   data: {}        everything up to the token has been sent; at least each 15 s
// A commit of several changes gives several events; all but the last carry the token from before the commit, so that
// going on from any id misses nothing.
//
// Threads: its own; public functions from any.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "api/http_message.h"
#include "base/ids.h"
#include "base/result.h"
#include "plexus/v1/state.pb.h"
#include "store/store.h"
#include "store/topology/change_log.h"

namespace plexus::api {

struct FeedOptions {
  size_t keep = 10'000;           ///< entries, in memory and in the store
  size_t keep_bytes = 64u << 20;  ///< of entries in memory
  std::chrono::milliseconds bookmark{10'000};
  bool trim = true;
};

class ChangeFeed {
 public:
  using Entry = store::LogRecord;
  using EntryPointer = std::shared_ptr<const Entry>;

  /// `store` must outlive this. `on_entries` runs on the feed's thread before streams get new entries, and, with an
  /// empty list, when entries may have been missed.
  ChangeFeed(store::Store& store, FeedOptions options,
             std::function<void(const std::vector<EntryPointer>&)> on_entries = {});
  ~ChangeFeed();
  ChangeFeed(const ChangeFeed&) = delete;
  ChangeFeed& operator=(const ChangeFeed&) = delete;

  /// What one stream wants.
  struct Wanted {
    std::set<std::string> types = {};    ///< singular; empty: all
    std::string tenant = {};             ///< only this tenant's; empty: all
    std::function<bool()> allowed = {};  ///< asked now and then; false ends the stream
  };
  /// not_found: `since` is older than what is kept, or not of this store's life: read everything again. `since` absent:
  /// from now on.
  Result<std::shared_ptr<BodyStream>> open(Wanted wanted, std::optional<std::string> since);
  /// Asks all streams again whether they are allowed.
  void check_streams();

  /// Entries after `since`, oldest first, at most `limit`; without `since` the newest. Everything committed before the
  /// call is seen. not_found as above.
  Result<std::vector<EntryPointer>> entries(std::optional<std::string> since, size_t limit);

  /// The token of a revision, and back. invalid: no token.
  [[nodiscard]] std::string token(store::Revision revision) const;
  struct Place {
    store::Revision revision;
    bool foreign = false;  ///< of another life of the store
  };
  [[nodiscard]] Result<Place> place(const std::string& token) const;

  struct Figures {
    size_t streams = 0, entries = 0;
    uint32_t next = 0;
    store::Revision revision;  ///< everything up to here is known
    uint64_t events = 0, cut_off = 0;
  };
  [[nodiscard]] Figures figures() const;

 private:
  struct Subscriber;
  /// Wakes the thread; streams that outlive the feed may still hold it.
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung_changed;
    bool rung = false;
    void ring();
  };
  struct Rendered {
    BodyStream::Chunk middle, last;  ///< "event: change" and the id
    std::vector<BodyStream::Chunk> changes;
    size_t bytes = 0;
  };
  using Clock = std::chrono::steady_clock;

  void run();
  Result<void> load();
  Result<void> tail();
  bool reach(store::Revision revision, std::chrono::milliseconds limit);
  void serve(Subscriber& s);
  bool send(Subscriber& s, const Entry& entry);
  const Rendered* rendered(const Entry& entry);
  Result<Rendered> render(const Entry& entry);
  void bookmark(Subscriber& s);
  void serve_all();
  void watch_next();
  void trim();
  void append(std::vector<EntryPointer> entries);
  [[nodiscard]] Result<std::optional<store::Revision>> revision_of(
      const std::optional<std::string>& since);
  [[nodiscard]] static Error gone();

  store::Store& store_;
  const FeedOptions options_;
  const std::function<void(const std::vector<EntryPointer>&)> on_entries_;

  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  mutable std::mutex mutex_;
  mutable std::condition_variable known_changed_;
  // Guarded by mutex_.
  bool stopping_ = false, life_changed_ = false, check_ = false;
  bool loaded_ = false;
  std::optional<Uuid> life_;
  std::deque<EntryPointer> entries_;
  size_t bytes_ = 0;
  uint32_t next_ = 0;       ///< number of the entry that comes next
  store::Revision floor_;   ///< all entries after this revision are in entries_
  store::Revision known_;   ///< all entries up to this revision have been read
  store::Revision wanted_;  ///< somebody waits until this is known
  std::vector<std::shared_ptr<Subscriber>> new_;
  Figures figures_;

  // The thread's own.
  std::vector<std::shared_ptr<Subscriber>> subscribers_;
  std::map<uint32_t, Rendered> rendered_;
  size_t rendered_bytes_ = 0;
  uint32_t first_stored_ = 0;
  Clock::time_point next_trim_{}, last_sync_{}, last_check_{}, last_range_{};
  std::optional<uint32_t> watched_;
  std::unique_ptr<store::Watch> next_watch_, life_watch_;
  std::thread thread_;
};

}  // namespace plexus::api
