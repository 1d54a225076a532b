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
      if (waiters_.empty() && arrived_.empty() && !stopping_)
        changed_.wait_for(lock, kSweep, [&] { return stopping_ || !arrived_.empty(); });
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
      close();
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
  close();
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
  if (auto done = read_barrier(); !done) return done;
  bool theirs_gone = false;
  if (!barrier_.id.empty()) {
    auto record = store_.get(store::barrier_answers_path(*Uuid::parse(barrier_.id)));
    if (!record) return record.error();
    theirs_gone = !record->has_value();
  }
  const bool covers_some = !barrier_.id.empty() && !theirs_gone &&
                           std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& w) {
                             return w.revision <= barrier_.revision;
                           });
  const bool covers_all = covers_some && barrier_.revision >= wanted;
  if (!covers_all && (!covers_some || Clock::now() - opened_ >= kTurn)) {
    if (covers_some) {
      if (auto done = collect(); !done) return done;
    }
    if (auto done = open(wanted); !done) return done;
  }
  // While they answer: reading a thousand hosts takes as long as their answers.
  if (stale) {
    if (auto done = read_hosts(); !done) return done;
  }
  return collect();
}

Result<void> Convergence::read_hosts() {
  auto ids = store_.list(std::string(store::kRoot) + "/h");
  if (!ids) return ids.error();
  std::vector<std::string> paths;
  for (const std::string& text : *ids) {
    const auto id = Uuid::parse(text);
    if (!id) continue;
    paths.push_back(store::object_path("host", *id));
    paths.push_back(store::live_path(*id));
  }
  auto records = store_.get_many(paths);
  if (!records) return records.error();
  std::map<std::string, Host> hosts;
  for (size_t i = 0; i + 1 < records->size(); i += 2) {
    v1::Host host;
    if (!(*records)[i] || !host.ParseFromString((*records)[i]->value) || host.fenced()) continue;
    const auto id = Uuid::from_bytes(host.id());
    if (id) hosts[id->str()] = {host.name(), (*records)[i + 1].has_value()};
  }
  hosts_.swap(hosts);
  hosts_read_ = Clock::now();
  return Ok{};
}

Result<void> Convergence::read_barrier() {
  auto record = store_.get(store::barrier_path());
  if (!record) return record.error();
  if (!*record) {
    barrier_ = {};
    return Ok{};
  }
  v1::Barrier barrier;
  const bool parsed = barrier.ParseFromString((*record)->value);
  const auto id = parsed ? Uuid::from_bytes(barrier.id()) : std::nullopt;
  const std::string text = id ? id->str() : std::string();
  if (text != barrier_.id) opened_ = Clock::now();
  barrier_ = {text, store::Revision{barrier.revision()}, (*record)->version,
              std::find(ours_.begin(), ours_.end(), text) != ours_.end()};
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
  barrier_ = {id.str(), revision, barrier_.version + 1, true};
  // Those of ours that it replaces get no more answers.
  std::erase_if(ours_, [&](const std::string& old) {
    if (old == barrier_.id) return false;
    auto gone = remove_answers(old);
    return gone.ok() && *gone;
  });
  return Ok{};
}

Result<void> Convergence::collect() {
  if (barrier_.id.empty()) return Ok{};
  auto names = store_.list(store::barrier_answers_path(*Uuid::parse(barrier_.id)));
  if (!names) return names.error();
  for (Waiter& w : waiters_) {
    if (w.revision > barrier_.revision) continue;
    w.answered.insert(names->begin(), names->end());
  }
  return Ok{};
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

/// Nobody waits any more.
void Convergence::close() {
  std::erase_if(ours_, [&](const std::string& id) {
    auto gone = remove_answers(id);
    return gone.ok() && *gone;
  });
  // Hosts may come and go until the next question.
  hosts_read_ = {};
}

/// True: it is gone. False: hosts are just answering; later.
Result<bool> Convergence::remove_answers(const std::string& barrier) {
  constexpr size_t kAtOnce = 500;
  const std::string path = store::barrier_answers_path(*Uuid::parse(barrier));
  for (int tries = 0; tries < 5; ++tries) {
    auto names = store_.list(path);
    if (!names) return names.error();
    std::vector<std::string> paths;
    for (const std::string& name : *names) paths.push_back(path + "/" + name);
    paths.push_back(path);
    bool all = true;
    for (size_t begin = 0; begin < paths.size() && all; begin += kAtOnce) {
      const std::vector<std::string> some(
          paths.begin() + static_cast<ptrdiff_t>(begin),
          paths.begin() + static_cast<ptrdiff_t>(std::min(begin + kAtOnce, paths.size())));
      auto records = store_.get_many(some);
      if (!records) return records.error();
      std::vector<store::Step> steps;
      for (size_t i = 0; i < some.size(); ++i) {
        if ((*records)[i]) steps.emplace_back(store::Delete{some[i], (*records)[i]->version});
      }
      if (steps.empty()) continue;
      auto done = store_.transact(steps);
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
  close();
  auto names = store_.list("/p1/w");
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
