// SPDX-License-Identifier: Apache-2.0
#include "api/convergence.h"

#include <algorithm>

#include "base/log.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/layout.h"
#include "store/topology/writer.h"

namespace plexus::api {
namespace {

/// A barrier gets this long before one with a newer revision takes its place: agents answer the newest only.
constexpr std::chrono::milliseconds kTurn{300};
constexpr std::chrono::milliseconds kHostsAge{1000};
/// Another server that asks something newer is noticed within this time.
constexpr std::chrono::milliseconds kBarrierAge{50};
/// Who is live matters only of those that do not answer: most do within this time, few are looked at sooner.
constexpr std::chrono::milliseconds kAnswersComing{150};
constexpr size_t kFew = 20;
/// Nobody has asked for so long: time to remove what was answered. Answered questions that are left lying until then
/// are bounded.
constexpr std::chrono::milliseconds kIdle{100};
constexpr size_t kLeftLying = 8;
/// What others have left: no wait is longer than a minute.
constexpr std::chrono::seconds kAbandoned{150}, kSweep{30};

}  // namespace

Convergence::Convergence(store::Store& store) : store_(store) {
  thread_ = std::thread([this] { run(); });
}

Convergence::~Convergence() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Convergence::wait(store::Revision revision, std::chrono::milliseconds timeout, Done done) {
  ++waiting_;
  {
    const std::lock_guard lock(mutex_);
    arrived_.push_back({revision, Clock::now() + timeout, std::move(done), {}});
  }
  changed_.notify_all();
}

void Convergence::run() {
  int round = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const auto news = [&] { return stopping_ || !arrived_.empty(); };
      if (waiters_.empty() && !ours_.empty() && !changed_.wait_for(lock, kIdle, news)) {
        lock.unlock();
        clean_up(0);
        lock.lock();
      }
      if (waiters_.empty()) changed_.wait_for(lock, kSweep, news);
      if (stopping_) break;
      if (!arrived_.empty()) round = 0;
      std::move(arrived_.begin(), arrived_.end(), std::back_inserter(waiters_));
      arrived_.clear();
    }
    const auto now = Clock::now();
    if (waiters_.empty()) {
      if (now >= next_sweep_) sweep(now);
      continue;
    }
    const auto began = Clock::now();
    const auto done = step();
    if (!done) log_debug("api", "asking the hosts how far they are: {}", done.error().message);
    settle(Clock::now());
    if (waiters_.empty()) {
      // Hosts may come and go until the next question.
      hosts_read_ = liveness_read_ = barrier_read_ = {};
      clean_up(kLeftLying);
      continue;
    }
    // Most answers come within milliseconds; for the slow ones a little less often.
    std::unique_lock lock(mutex_);
    // And never so often that counting the answers keeps the store from taking them.
    const std::chrono::milliseconds pause(done.ok() ? (++round < 100 ? 2 : 10) : 100);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
    changed_.wait_for(lock, std::max(pause, 3 * took),
                      [&] { return stopping_ || !arrived_.empty(); });
  }
  clean_up(0);
  for (const Waiter& w : waiters_)
    w.done(Error{ErrorCode::unavailable, "the server is stopping; ask another one"});
}

Result<void> Convergence::step() {
  // Nobody who is live has to answer (any more): no question.
  const bool stale = Clock::now() - hosts_read_ >= kHostsAge;
  if (!stale && std::all_of(waiters_.begin(), waiters_.end(),
                            [&](const Waiter& w) { return progress(w).converged(); })) {
    return Ok{};
  }
  store::Revision wanted;
  for (const Waiter& w : waiters_) wanted = std::max(wanted, w.revision);
  // Another server may have asked anew meanwhile: agents see only one barrier.
  if (Clock::now() - barrier_read_ >= kBarrierAge) {
    if (auto done = read_barrier(); !done) return done;
  }
  const bool covers_some =
      !barrier_.id.empty() && std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& w) {
        return w.revision <= barrier_.revision;
      });
  const bool covers_all = covers_some && barrier_.revision >= wanted;
  if (!covers_all && (!covers_some || Clock::now() - opened_ >= kTurn)) {
    if (covers_some) {
      if (auto done = collect(); !done) return done;
    }
    if (auto done = open(wanted); !done) return done;
  }
  // While they answer.
  if (stale) {
    if (auto done = read_hosts(); !done) return done;
  }
  if (auto done = collect(); !done) return done;
  return wants_liveness(Clock::now()) ? read_liveness() : Ok{};
}

bool Convergence::wants_liveness(Clock::time_point now) const {
  if (liveness_read_ != Clock::time_point{}) return now - liveness_read_ >= kHostsAge;
  return now - opened_ >= kAnswersComing || unanswered() <= kFew ||
         std::any_of(waiters_.begin(), waiters_.end(),
                     [&](const Waiter& w) { return w.until - now <= kAnswersComing; });
}

Result<void> Convergence::read_hosts() {
  auto ids = store_.names(std::string(store::kRoot) + "/h");
  if (!ids) return ids.error();
  std::vector<std::string> paths;
  for (const std::string& text : *ids) {
    if (const auto id = Uuid::parse(text)) paths.push_back(store::object_path("host", *id));
  }
  auto records = store_.get_many(paths);
  if (!records) return records.error();
  // From one question to the next everything may have changed.
  if (hosts_read_ == Clock::time_point{}) hosts_.clear();
  std::map<std::string, Host> hosts;
  for (const auto& record : *records) {
    v1::Host host;
    if (!record || !host.ParseFromString(record->value) || host.fenced()) continue;
    const auto id = Uuid::from_bytes(host.id());
    if (!id) continue;
    const auto old = hosts_.find(id->str());
    hosts[id->str()] = {host.name(), old == hosts_.end() || old->second.live};
  }
  hosts_.swap(hosts);
  hosts_read_ = Clock::now();
  return Ok{};
}

/// Of those that somebody waits for.
Result<void> Convergence::read_liveness() {
  std::vector<Host*> hosts;
  std::vector<std::string> paths;
  for (auto& [id, host] : hosts_) {
    if (std::all_of(waiters_.begin(), waiters_.end(),
                    [&](const Waiter& w) { return w.answered.contains(id); })) {
      continue;
    }
    hosts.push_back(&host);
    paths.push_back(store::live_path(*Uuid::parse(id)));
  }
  auto records = store_.get_many(paths);
  if (!records) return records.error();
  for (size_t i = 0; i < hosts.size(); ++i) hosts[i]->live = (*records)[i].has_value();
  liveness_read_ = Clock::now();
  return Ok{};
}

Result<void> Convergence::read_barrier() {
  auto record = store_.get(store::barrier_path());
  if (!record) return record.error();
  barrier_read_ = Clock::now();
  if (!*record) {
    barrier_ = {};
    return Ok{};
  }
  v1::Barrier barrier;
  const bool parsed = barrier.ParseFromString((*record)->value);
  const auto id = parsed ? Uuid::from_bytes(barrier.id()) : std::nullopt;
  const std::string text = id ? id->str() : std::string();
  if (text != barrier_.id) opened_ = Clock::now();
  barrier_ = {text, store::Revision{barrier.revision()}, (*record)->version};
  if (!id) return Ok{};
  // One that was asked and answered, and whose answers are removed, gets no more.
  auto answers = store_.get(store::barrier_answers_path(*id));
  if (!answers) return answers.error();
  if (!*answers) barrier_.id.clear();
  return Ok{};
}

Result<void> Convergence::open(store::Revision revision) {
  const Uuid id = Uuid::random();
  v1::Barrier barrier;
  barrier.set_id(id.raw());
  barrier.set_revision(revision.value);
  const std::string answers = store::barrier_answers_path(id);
  std::vector<store::Step> steps;
  steps.emplace_back(store::Create{answers, {}, store::access_of(answers)});
  if (barrier_.version == 0) {
    steps.emplace_back(store::Create{store::barrier_path(), barrier.SerializeAsString(),
                                     store::access_of(store::barrier_path())});
  } else {
    steps.emplace_back(
        store::Set{store::barrier_path(), barrier.SerializeAsString(), barrier_.version, {}});
  }
  auto done = store_.transact(steps);
  if (!done) {
    // Another server was faster; the next round looks at its barrier.
    if (done.error().code == ErrorCode::conflict || done.error().code == ErrorCode::exists)
      return Ok{};
    return done.error();
  }
  ++barriers_;
  ours_.push_back(id.str());
  opened_ = Clock::now();
  barrier_ = {id.str(), revision, barrier_.version + 1};
  barrier_read_ = opened_;
  return Ok{};
}

Result<void> Convergence::collect() {
  if (barrier_.id.empty()) return Ok{};
  auto names = store_.names(store::barrier_answers_path(*Uuid::parse(barrier_.id)));
  if (!names) return names.error();
  for (Waiter& w : waiters_) {
    if (w.revision > barrier_.revision) continue;
    w.answered.insert(names->begin(), names->end());
  }
  return Ok{};
}

/// The most that one waiter lacks.
size_t Convergence::unanswered() const {
  size_t most = 0;
  for (const Waiter& w : waiters_) {
    size_t lacks = 0;
    for (const auto& [id, host] : hosts_) {
      if (!w.answered.contains(id)) ++lacks;
    }
    most = std::max(most, lacks);
  }
  return most;
}

Progress Convergence::progress(const Waiter& waiter) const {
  Progress out;
  out.revision = waiter.revision;
  out.hosts = hosts_.size();
  for (const auto& [id, host] : hosts_) {
    if (waiter.answered.contains(id)) {
      ++out.applied;
    } else {
      (host.live ? out.laggards : out.unknown).push_back(host.name);
    }
  }
  std::sort(out.laggards.begin(), out.laggards.end());
  std::sort(out.unknown.begin(), out.unknown.end());
  return out;
}

void Convergence::settle(Clock::time_point now) {
  const bool known = hosts_read_ != Clock::time_point{};
  std::erase_if(waiters_, [&](Waiter& w) {
    const bool late = now >= w.until;
    Progress p = progress(w);
    if (!late && !(known && p.converged())) return false;
    --waiting_;
    if (known) {
      w.done(std::move(p));
    } else {
      w.done(Error{ErrorCode::unavailable, "the store does not answer; try again"});
    }
    return true;
  });
}

/// Removes our answered questions but for the newest `keep`.
void Convergence::clean_up(size_t keep) {
  if (ours_.size() <= keep) return;
  const auto end = ours_.end() - static_cast<ptrdiff_t>(keep);
  ours_.erase(std::remove_if(ours_.begin(), end,
                             [&](const std::string& id) {
                               auto gone = remove_answers(id);
                               return gone.ok() && *gone;
                             }),
              end);
}

/// True: it is gone. False: hosts are just answering; later.
Result<bool> Convergence::remove_answers(const std::string& barrier) {
  constexpr size_t kAtOnce = 500;
  const std::string path = store::barrier_answers_path(*Uuid::parse(barrier));
  for (int tries = 0; tries < 5; ++tries) {
    auto names = store_.names(path);
    if (!names) return names.error();
    auto question = store_.get(path);
    if (!question) return question.error();
    // Answers are never changed: they are at their first version.
    std::vector<store::Step> steps;
    for (const std::string& name : *names) steps.emplace_back(store::Delete{path + "/" + name, 1});
    if (*question) steps.emplace_back(store::Delete{path, (*question)->version});
    bool all = true;
    for (size_t begin = 0; begin < steps.size() && all; begin += kAtOnce) {
      const auto from = steps.begin() + static_cast<ptrdiff_t>(begin);
      const auto to =
          steps.begin() + static_cast<ptrdiff_t>(std::min(begin + kAtOnce, steps.size()));
      auto done = store_.transact({from, to});
      if (!done && done.error().code == ErrorCode::unavailable) return done.error();
      all = done.ok();
    }
    if (all) return true;
  }
  return false;
}

/// Removes what servers that died have left.
void Convergence::sweep(Clock::time_point now) {
  next_sweep_ = now + kSweep;
  clean_up(0);
  auto names = store_.names("/p1/w");
  if (!names) return;
  std::erase_if(seen_, [&](const auto& seen) {
    return !std::binary_search(names->begin(), names->end(), seen.first);
  });
  for (const std::string& name : *names) {
    if (!Uuid::parse(name) || std::find(ours_.begin(), ours_.end(), name) != ours_.end()) continue;
    const auto since = seen_.try_emplace(name, now).first->second;
    if (now - since >= kAbandoned) (void)remove_answers(name).ok();
  }
}

}  // namespace plexus::api
