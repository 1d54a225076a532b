// SPDX-License-Identifier: Apache-2.0
#include "api/change_feed.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/caller.h"
#include "api/revision_token.h"
#include "base/log.h"
#include "codec/encode.h"
#include "codec/json.h"
#include "codec/schema.h"
#include "store/topology/layout.h"

namespace plexus::api {
namespace {

/// A stream gets more while less than this waits for its client.
constexpr size_t kEnough = 256 * 1024;
constexpr size_t kStreamLimit = 4u << 20;
constexpr size_t kReadAtOnce = 500;
constexpr size_t kRenderedEntries = 256, kRenderedBytes = 8u << 20;
constexpr std::chrono::milliseconds kTick{1000}, kRetry{300}, kPatience{3000}, kRange{30'000};

std::string_view verb_name(v1::LogVerb verb) {
  switch (verb) {
    case v1::CREATED:
      return "created";
    case v1::DELETED:
      return "deleted";
    default:
      return "updated";
  }
}

}  // namespace

struct ChangeFeed::Subscriber {
  Wanted wanted;
  std::shared_ptr<BodyStream> stream;
  store::Revision since;  ///< what it has seen when it came
  store::Revision sent;
  uint32_t next = 0;  ///< number of the entry it gets next
  size_t at = 0;      ///< changes of that entry it has got already
  Clock::time_point last{};
  std::atomic<bool> behind{false};  ///< the client's taking what waits is worth a wake-up

  [[nodiscard]] bool wants(const v1::LogChange& change) const {
    if (!wanted.types.empty() && !wanted.types.contains(change.type())) return false;
    if (wanted.tenant.empty()) return true;
    const codec::ResourceSpec* type = codec::find_singular(change.type());
    return type != nullptr && belongs_to_tenants(*type) && change.tenant() == wanted.tenant;
  }
};

void ChangeFeed::Bell::ring() {
  {
    const std::lock_guard lock(mutex);
    rung = true;
  }
  rung_changed.notify_one();
}

ChangeFeed::ChangeFeed(store::Store& store, FeedOptions options,
                       std::function<void(const std::vector<EntryPointer>&)> on_entries)
    : store_(store), options_(options), on_entries_(std::move(on_entries)) {
  life_watch_ = store_.watch(store::gen_path(), [this](const store::WatchEvent& event) {
    if (!event.record) return;
    {
      const std::lock_guard lock(mutex_);
      if (!life_ || event.record->value == life_->str()) return;
      life_changed_ = true;
    }
    bell_->ring();
  });
  thread_ = std::thread([this] { run(); });
}

ChangeFeed::~ChangeFeed() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  bell_->ring();
  known_changed_.notify_all();
  thread_.join();
  next_watch_.reset();
  life_watch_.reset();
  for (const auto& s : subscribers_) s->stream->end();
  for (const auto& s : new_) s->stream->end();
}

Error ChangeFeed::gone() {
  return {ErrorCode::not_found,
          "the changes since then are not kept any more; read everything again, and watch from the "
          "revision of that answer"};
}

std::string ChangeFeed::token(store::Revision revision) const {
  std::unique_lock lock(mutex_);
  // Only at the very start the life is not known yet.
  if (!life_) known_changed_.wait_for(lock, kTick, [&] { return stopping_ || life_.has_value(); });
  return revision_token(revision, life_);
}

Result<ChangeFeed::Place> ChangeFeed::place(const std::string& text) const {
  const auto parsed = parse_revision_token(text);
  if (!parsed) {
    return Error{ErrorCode::invalid,
                 codec::in_quotes(text) + " is no revision; give one that an answer carried"};
  }
  const std::lock_guard lock(mutex_);
  return Place{parsed->revision, !parsed->is_of(life_)};
}

bool ChangeFeed::reach(store::Revision revision, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  if (loaded_ && known_ >= revision) return true;
  wanted_ = std::max(wanted_, revision);
  bell_->ring();
  return known_changed_.wait_for(lock, limit, [&] {
    return stopping_ || (loaded_ && known_ >= revision);
  }) && !stopping_;
}

/// nullopt: none was given. not_found: it lies before or beyond everything that is known.
Result<std::optional<store::Revision>> ChangeFeed::revision_of(
    const std::optional<std::string>& since) {
  if (!since) return std::optional<store::Revision>();
  const auto where = place(*since);
  if (!where) return where.error();
  if (where->foreign) return gone();
  bool beyond = false;
  {
    const std::lock_guard lock(mutex_);
    beyond = where->revision > known_;
  }
  if (beyond) {
    const auto now = store_.sync();
    if (!now) return now.error();
    if (where->revision > *now) return gone();
  }
  return std::optional(where->revision);
}

Result<std::shared_ptr<BodyStream>> ChangeFeed::open(Wanted wanted,
                                                     std::optional<std::string> since) {
  if (!reach({}, kPatience)) {
    return Error{ErrorCode::unavailable, "the change log cannot be read now; try again"};
  }
  auto from = revision_of(since);
  if (!from) return from.error();
  if (!*from) {
    const auto now = store_.sync();
    if (!now) return now.error();
    *from = *now;
  }
  auto s = std::make_shared<Subscriber>();
  s->wanted = std::move(wanted);
  s->since = s->sent = **from;
  s->stream = std::make_shared<BodyStream>(kStreamLimit);
  s->stream->on_room([bell = bell_, weak = std::weak_ptr<Subscriber>(s)] {
    const auto subscriber = weak.lock();
    if (subscriber && subscriber->behind.exchange(false)) bell->ring();
  });
  {
    const std::lock_guard lock(mutex_);
    if (s->since < floor_) return gone();
    const auto first =
        std::partition_point(entries_.begin(), entries_.end(),
                             [&](const EntryPointer& e) { return e->revision <= s->since; });
    s->next = first == entries_.end() ? next_ : (*first)->number;
    new_.push_back(s);
  }
  bell_->ring();
  return s->stream;
}

void ChangeFeed::check_streams() {
  {
    const std::lock_guard lock(mutex_);
    check_ = true;
  }
  bell_->ring();
}

Result<std::vector<ChangeFeed::EntryPointer>> ChangeFeed::entries(std::optional<std::string> since,
                                                                  size_t limit) {
  const auto now = store_.sync();
  if (!now) return now.error();
  if (!reach(*now, kPatience)) {
    return Error{ErrorCode::unavailable, "the change log cannot be read now; try again"};
  }
  auto from = revision_of(since);
  if (!from) return from.error();
  const std::lock_guard lock(mutex_);
  auto first = entries_.begin();
  if (*from) {
    if (**from < floor_) return gone();
    first = std::partition_point(entries_.begin(), entries_.end(),
                                 [&](const EntryPointer& e) { return e->revision <= **from; });
  } else if (entries_.size() > limit) {
    first = entries_.end() - static_cast<ptrdiff_t>(limit);
  }
  const auto last = static_cast<size_t>(entries_.end() - first) > limit
                        ? first + static_cast<ptrdiff_t>(limit)
                        : entries_.end();
  return std::vector<EntryPointer>(first, last);
}

ChangeFeed::Figures ChangeFeed::figures() const {
  const std::lock_guard lock(mutex_);
  Figures out = figures_;
  out.entries = entries_.size();
  out.next = next_;
  out.revision = known_;
  return out;
}

// --- the thread ---

void ChangeFeed::run() {
  bool failing = false;
  while (true) {
    bool loaded = false;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (std::exchange(life_changed_, false)) loaded_ = false;
      loaded = loaded_;
    }
    Result<void> done = loaded ? tail() : load();
    if (!done && done.error().code == ErrorCode::not_found) {
      // Others trimmed what we had not read: we were away for long.
      log_warn("api", "the change log moved on without us; watch streams begin anew");
      const std::lock_guard lock(mutex_);
      loaded_ = false;
    }
    if (!done && !failing) log_warn("api", "reading the change log: {}", done.error().message);
    failing = !done.ok();
    if (done.ok()) {
      watch_next();
      trim();
    }
    serve_all();
    std::unique_lock lock(bell_->mutex);
    bell_->rung_changed.wait_for(lock, failing ? kRetry : std::min(kTick, options_.bookmark),
                                 [&] { return bell_->rung; });
    bell_->rung = false;
    if (failing) {
      // A bell that rings on must not make us ask a store that is down without a pause.
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

Result<void> ChangeFeed::load() {
  auto life = store::store_life(store_);
  if (!life) return life.error();
  auto now = store_.sync();
  if (!now) return now.error();
  auto range = store::log_range(store_);
  if (!range) return range.error();
  uint32_t from = range->first;
  if (range->next - range->first > options_.keep)
    from = range->next - static_cast<uint32_t>(options_.keep);
  std::vector<EntryPointer> read;
  uint32_t next = from;
  while (true) {
    auto some = store::read_log(store_, next, kReadAtOnce);
    if (!some) return some.error();
    for (store::LogRecord& r : *some) {
      next = r.number + 1;
      read.push_back(std::make_shared<const Entry>(std::move(r)));
    }
    if (some->size() < kReadAtOnce) break;
  }
  last_range_ = Clock::now();
  if (on_entries_) on_entries_({});
  for (const auto& s : subscribers_) s->stream->end();
  rendered_.clear();
  rendered_bytes_ = 0;
  first_stored_ = range->first;
  watched_.reset();
  last_sync_ = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& s : new_) s->stream->end();
    new_.clear();
    life_ = *life;
    entries_.clear();
    bytes_ = 0;
    next_ = from;
    // Entries before the first one are not known, but for those of a log that nobody has trimmed.
    floor_ = from == 0 || read.empty() ? store::Revision{} : read.front()->revision;
    known_ = *now;
    wanted_ = {};
    loaded_ = true;
  }
  append(std::move(read));
  known_changed_.notify_all();
  return Ok{};
}

void ChangeFeed::append(std::vector<EntryPointer> read) {
  const std::lock_guard lock(mutex_);
  for (EntryPointer& e : read) {
    next_ = e->number + 1;
    known_ = std::max(known_, e->revision);
    bytes_ += e->entry.ByteSizeLong() + sizeof(Entry);
    entries_.push_back(std::move(e));
  }
  while (entries_.size() > options_.keep || (bytes_ > options_.keep_bytes && entries_.size() > 1)) {
    bytes_ -= entries_.front()->entry.ByteSizeLong() + sizeof(Entry);
    floor_ = entries_.front()->revision;
    entries_.pop_front();
  }
}

Result<void> ChangeFeed::tail() {
  uint32_t next = 0;
  bool ask = false;
  {
    const std::lock_guard lock(mutex_);
    next = next_;
    ask = wanted_ > known_ || Clock::now() - last_sync_ >= options_.bookmark / 2;
  }
  // First the revision, then the entries: then all up to it have been read.
  store::Revision synced;
  if (ask) {
    auto now = store_.sync();
    if (!now) return now.error();
    synced = *now;
    last_sync_ = Clock::now();
  }
  // Reading where nothing is lists the log, to tell "not yet" from "trimmed": seldom.
  bool more = Clock::now() - last_range_ >= kRange;
  if (more) last_range_ = Clock::now();
  if (!more) {
    auto there = store_.get(store::sequence_path(store::log_path(), next));
    if (!there) return there.error();
    more = there->has_value();
  }
  while (more) {
    auto some = store::read_log(store_, next, kReadAtOnce);
    if (!some) return some.error();
    more = some->size() == kReadAtOnce;
    std::vector<EntryPointer> read;
    for (store::LogRecord& r : *some) {
      next = r.number + 1;
      read.push_back(std::make_shared<const Entry>(std::move(r)));
    }
    if (on_entries_ && !read.empty()) on_entries_(read);
    append(std::move(read));
  }
  {
    const std::lock_guard lock(mutex_);
    known_ = std::max(known_, synced);
  }
  known_changed_.notify_all();
  return Ok{};
}

void ChangeFeed::watch_next() {
  uint32_t next = 0;
  {
    const std::lock_guard lock(mutex_);
    next = next_;
  }
  if (watched_ == next) return;
  watched_ = next;
  next_watch_ = store_.watch(store::sequence_path(store::log_path(), next),
                             [bell = bell_](const store::WatchEvent& event) {
                               if (event.record) bell->ring();
                             });
}

void ChangeFeed::trim() {
  uint32_t next = 0;
  {
    const std::lock_guard lock(mutex_);
    next = next_;
  }
  const auto now = Clock::now();
  if (!options_.trim || now < next_trim_ ||
      next - first_stored_ <= options_.keep + options_.keep / 10) {
    return;
  }
  const auto removed = store::trim_log(store_, options_.keep);
  if (!removed) {
    log_warn("api", "trimming the change log: {}", removed.error().message);
    next_trim_ = now + std::chrono::seconds(30);
    return;
  }
  first_stored_ = next - static_cast<uint32_t>(options_.keep);
  next_trim_ = now + std::chrono::seconds(1);
}

void ChangeFeed::serve_all() {
  bool check = false;
  {
    const std::lock_guard lock(mutex_);
    subscribers_.insert(subscribers_.end(), new_.begin(), new_.end());
    new_.clear();
    check = std::exchange(check_, false);
  }
  const auto now = Clock::now();
  static constexpr auto kCheck = std::chrono::seconds(1);
  if (now - last_check_ >= kCheck) check = true;
  if (check) last_check_ = now;
  for (const auto& s : subscribers_) {
    if (check && s->wanted.allowed && !s->wanted.allowed()) s->stream->end();
    serve(*s);
    if (now - s->last >= options_.bookmark) bookmark(*s);
  }
  std::erase_if(subscribers_, [](const auto& s) { return s->stream->closed(); });
  const std::lock_guard lock(mutex_);
  figures_.streams = subscribers_.size() + new_.size();
}

void ChangeFeed::serve(Subscriber& s) {
  while (!s.stream->closed()) {
    EntryPointer entry;
    {
      const std::lock_guard lock(mutex_);
      const uint32_t first = entries_.empty() ? next_ : entries_.front()->number;
      if (s.next < first) {
        ++figures_.cut_off;
        s.stream->end();
        return;
      }
      if (s.next >= next_) return;
      entry = entries_[s.next - first];
    }
    if (!send(s, *entry)) return;
    s.sent = std::max(s.sent, entry->revision);
    ++s.next;
    s.at = 0;
  }
}

/// False: there is no room, or the objects cannot be read now; `s.at` says how far it came.
bool ChangeFeed::send(Subscriber& s, const Entry& entry) {
  if (entry.revision <= s.since) return true;
  const auto& changes = entry.entry.changes();
  int last = -1;
  for (int i = 0; i < changes.size(); ++i) {
    if (s.wants(changes[i])) last = i;
  }
  if (last < 0) return true;
  const Rendered* texts = rendered(entry);
  if (texts == nullptr) return false;
  for (int i = static_cast<int>(s.at); i <= last; ++i) {
    if (!s.wants(changes[i])) continue;
    s.at = static_cast<size_t>(i);
    if (s.stream->waiting() > kEnough) {
      s.behind = true;
      // It may have been taken just before we said so.
      if (s.stream->waiting() > kEnough) return false;
      s.behind = false;
    }
    if (!s.stream->push(i == last ? texts->last : texts->middle) ||
        !s.stream->push(texts->changes[static_cast<size_t>(i)])) {
      return false;
    }
    s.last = Clock::now();
    const std::lock_guard lock(mutex_);
    ++figures_.events;
  }
  return true;
}

const ChangeFeed::Rendered* ChangeFeed::rendered(const Entry& entry) {
  const auto found = rendered_.find(entry.number);
  if (found != rendered_.end()) return &found->second;
  auto texts = render(entry);
  if (!texts) {
    log_debug("api", "reading what changed: {}", texts.error().message);
    return nullptr;
  }
  while (!rendered_.empty() &&
         (rendered_.size() >= kRenderedEntries || rendered_bytes_ > kRenderedBytes)) {
    rendered_bytes_ -= rendered_.begin()->second.bytes;
    rendered_.erase(rendered_.begin());
  }
  rendered_bytes_ += texts->bytes;
  return &rendered_.insert_or_assign(entry.number, std::move(*texts)).first->second;
}

Result<ChangeFeed::Rendered> ChangeFeed::render(const Entry& entry) {
  const auto& changes = entry.entry.changes();
  std::vector<std::string> paths;
  for (const v1::LogChange& change : changes) {
    if (change.verb() != v1::DELETED) {
      paths.push_back(
          store::object_path(change.type(), Uuid::from_bytes(change.id()).value_or(Uuid{})));
    }
  }
  auto records = store_.get_many(paths);
  if (!records) return records.error();
  Rendered out;
  out.middle = std::make_shared<const std::string>(
      "event: change\nid: " + token(store::Revision{entry.revision.value - 1}) + "\n");
  out.last =
      std::make_shared<const std::string>("event: change\nid: " + token(entry.revision) + "\n");
  size_t record = 0;
  for (const v1::LogChange& change : changes) {
    const codec::ResourceSpec* type = codec::find_singular(change.type());
    codec::Node data = codec::Node::map_of({});
    data.add("verb", codec::Node::of_text(verb_name(change.verb())));
    data.add("collection",
             codec::Node::of_text(type != nullptr ? type->collection : change.type()));
    data.add("id", codec::Node::of_text(Uuid::from_bytes(change.id()).value_or(Uuid{}).str()));
    if (!change.name().empty()) data.add("name", codec::Node::of_text(change.name()));
    if (!change.tenant().empty()) data.add("tenant", codec::Node::of_text(change.tenant()));
    if (change.verb() != v1::DELETED) {
      const auto& now = (*records)[record++];
      if (now && type != nullptr) {
        const codec::MessagePtr message = type->new_message();
        if (message->ParseFromString(now->value)) data.add("object", codec::encode(*message));
      }
    }
    auto text = std::make_shared<const std::string>("data: " + codec::write_json(data) + "\n\n");
    out.bytes += text->size();
    out.changes.push_back(std::move(text));
  }
  return out;
}

void ChangeFeed::bookmark(Subscriber& s) {
  store::Revision upto;
  {
    const std::lock_guard lock(mutex_);
    upto = s.next >= next_ ? std::max(known_, s.since) : s.sent;
  }
  if (s.at != 0) upto = s.sent;
  if (s.stream->waiting() > kEnough) return;
  s.stream->push(fmt::format("event: bookmark\nid: {}\ndata: {{}}\n\n", token(upto)));
  s.last = Clock::now();
}

}  // namespace plexus::api
