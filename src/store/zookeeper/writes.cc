// SPDX-License-Identifier: Apache-2.0
// What a ZookeeperStore writes: one multi for each transaction, tried again with what its failure
// taught.
#include <algorithm>
#include <future>

#include "base/log.h"
#include "store/path.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {

namespace {

// Each try knows more about the store; only others who change the same directories at the same time
// make many necessary.
constexpr int kTries = 50;
constexpr size_t kKnown = 100'000;
// "/p1", "/p1/o", "/p1/o/port": always needed again soon.
constexpr ptrdiff_t kKeptLevels = 3;

Error unknown_outcome(int code) {
  return {ErrorCode::unavailable, "store transaction: zookeeper: " + code_text(code) +
                                      "; whether it was done is not known: read and try again"};
}

bool only_checks(const std::vector<Step>& steps) {
  return std::all_of(steps.begin(), steps.end(),
                     [](const Step& s) { return std::holds_alternative<CheckVersion>(s); });
}

}  // namespace

ZookeeperStore::Outcome ZookeeperStore::send(const Main& main,
                                             std::vector<ZnodeOperation> operations) {
  auto done = std::make_shared<std::promise<Outcome>>();
  auto outcome = done->get_future();
  main.session->multi(std::move(operations),
                      [follower = follower_.get(), done, generation = main.generation](
                          int code, size_t failed, int64_t revision) {
                        if (code == ZOK && revision > 0) follower->told(generation, revision);
                        done->set_value({code, failed, revision});
                      });
  return outcome.get();
}

Result<Revision> ZookeeperStore::sync() {
  const auto end = deadline();
  while (true) {
    auto main = follower_->main(end);
    if (!main.ok()) return main.error();
    // Nothing is changed but our beacon, so this can be done again.
    const Outcome outcome = send(*main, {{ZnodeOperation::Kind::set, main->beacon, {}, -1}});
    if (outcome.code == ZOK) return Revision{outcome.revision};
    if (outcome.code == ZNONODE) {
      follower_->beacon_lost(main->generation);
    } else if (!lost(outcome.code)) {
      return read_error(outcome.code, "the revision");
    }
    if (Clock::now() >= end) return unknown_outcome(outcome.code);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Result<Revision> ZookeeperStore::transact(const std::vector<Step>& steps) {
  if (auto ok = check_steps(steps); !ok.ok()) return ok.error();
  return run(steps, false, deadline());
}

Result<Revision> ZookeeperStore::run(const std::vector<Step>& steps, bool ephemeral,
                                     Clock::time_point deadline) {
  Facts facts;
  if (auto done = compare_access(steps, facts, deadline); !done.ok()) return done.error();
  for (int tries = 0; tries < kTries; ++tries) {
    auto main = follower_->main(deadline);
    if (!main.ok()) return main.error();
    const Plan plan =
        make_plan({steps, facts, access_, root_, main->beacon, follower_->nowhere(),
                   [this](const std::string& path) { return known(path); }, ephemeral});
    if (!plan.unknown.empty()) {
      if (auto done = learn_parents(plan.unknown, facts, deadline); !done.ok()) return done.error();
      continue;
    }
    if (plan.bytes > options_.request_bytes) {
      return Error{ErrorCode::no_space,
                   "store transaction: " + std::to_string(steps.size()) + " steps of about " +
                       std::to_string(plan.bytes) + " bytes are too large for one; the limit is " +
                       std::to_string(options_.request_bytes) + ": do it in parts"};
    }
    const Outcome outcome = send(*main, plan.operations);
    if (outcome.code == ZOK) {
      remember(plan, steps);
      return Revision{outcome.revision};
    }
    if (lost(outcome.code)) {
      // What only checks may be asked again.
      if (!only_checks(steps) || Clock::now() >= deadline) return unknown_outcome(outcome.code);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    if (outcome.failed >= plan.operations.size()) {
      return Error{ErrorCode::internal, "store transaction: zookeeper: " + code_text(outcome.code)};
    }
    if (plan.roles[outcome.failed] == Role::sentinel) return *plan.contradiction;
    if (plan.roles[outcome.failed] == Role::beacon) {
      follower_->beacon_lost(main->generation);
      continue;
    }
    if (auto go_on = understand(plan, steps, outcome, ephemeral, facts, deadline); !go_on.ok()) {
      return go_on.error();
    }
  }
  return Error{ErrorCode::conflict,
               "store transaction: others change the same directories all the time (" +
                   path_of(steps.front()) + "): try again"};
}

Result<void> ZookeeperStore::learn_parents(const std::vector<std::string>& unknown, Facts& facts,
                                           Clock::time_point deadline) {
  auto stats = look_at(unknown, deadline);
  if (!stats.ok()) return stats.error();
  for (size_t i = 0; i < unknown.size(); ++i) facts.there[unknown[i]] = (*stats)[i].has_value();
  return Ok{};
}

// Where a step gives a record another access, its znode must be made anew: only then.
Result<void> ZookeeperStore::compare_access(const std::vector<Step>& steps, Facts& facts,
                                            Clock::time_point deadline) {
  if (!access_.enforced()) return Ok{};
  std::vector<std::string> paths;
  std::vector<std::shared_ptr<const Acl>> wanted;
  for (const Step& step : steps) {
    const auto* set = std::get_if<Set>(&step);
    if (set == nullptr || !set->access) continue;
    paths.push_back(set->path);
    wanted.push_back(access_.of(*set->access));
  }
  if (paths.empty()) return Ok{};
  auto acls = access_lists(paths, deadline);
  if (!acls.ok()) return acls.error();
  for (size_t i = 0; i < paths.size(); ++i) {
    Acl is = (*acls)[i], want = *wanted[i];
    std::sort(is.begin(), is.end());
    std::sort(want.begin(), want.end());
    if (is != want) facts.other_access.insert(paths[i]);
  }
  return Ok{};
}

Error ZookeeperStore::denied(const Step& step, Role role) const {
  const std::string& path = path_of(step);
  const char* what = "change";
  if (std::holds_alternative<CheckVersion>(step)) what = "read";
  if (std::holds_alternative<Create>(step) || role == Role::directory) what = "create";
  if (std::holds_alternative<Append>(step)) what = "append to";
  if (std::holds_alternative<Delete>(step)) what = "delete";
  return {ErrorCode::denied,
          std::string("the store does not allow ") + access_.who() + " to " + what + " " + path};
}

Result<void> ZookeeperStore::understand(const Plan& plan, const std::vector<Step>& steps,
                                        const Outcome& outcome, bool ephemeral, Facts& facts,
                                        Clock::time_point deadline) {
  const size_t index = plan.steps[outcome.failed];
  const Role role = plan.roles[outcome.failed];
  const ZnodeOperation& operation = plan.operations[outcome.failed];
  const Step& step = steps[index];
  const std::string& path = path_of(step);
  switch (outcome.code) {
    case ZNOAUTH:
      if (role == Role::proof) {
        // Who may not create there cannot prove that nothing is there. What others made meanwhile is
        // not noticed then: see the design page.
        auto stats = look_at({path}, deadline);
        if (!stats.ok()) return stats.error();
        const auto& stat = stats->front();
        const int64_t version = stat ? record_version(path, stat->version) : 0;
        if (version != 0) return wrong_version(path, version, 0);
        facts.unprovable.insert(path);
        return Ok{};
      }
      return denied(step, role);
    case ZNOCHILDRENFOREPHEMERALS:
      return Error{ErrorCode::invalid, path + " lies below an ephemeral record"};
    case ZNODEEXISTS:
      if (role == Role::directory || (role == Role::proof && operation.path != znode(path))) {
        facts.there[operation.path.substr(root_.size())] = true;
        return Ok{};
      }
      if (ephemeral) {
        facts.taken = true;
        return Ok{};
      }
      return understand_absence(step, path, facts, deadline);
    case ZNONODE:
      if (role == Role::cleanup && ephemeral) {
        facts.taken = false;
        return Ok{};
      }
      if (role == Role::cleanup) return understand_children(steps, index, facts, deadline);
      if (role == Role::beside) {
        facts.directories.erase(path);
        forget(path);
        return Ok{};
      }
      if (role == Role::record) {
        const auto* check = std::get_if<CheckVersion>(&step);
        if (check != nullptr) return wrong_version(path, 0, check->version);
        return Error{ErrorCode::not_found, path + " does not exist"};
      }
      // A parent of what is to be made went meanwhile, or was never there.
      facts.look_first = true;
      for (std::string parent = path; !parent.empty(); parent = parent_of(parent)) {
        forget(parent);
        facts.there.erase(parent);
      }
      return Ok{};
    case ZNOTEMPTY:
      if (ephemeral) return Error{ErrorCode::in_use, path + " has records below it"};
      return understand_children(steps, index, facts, deadline);
    case ZBADVERSION: {
      if (role == Role::cleanup) return understand_children(steps, index, facts, deadline);
      if (role == Role::beside) return understand_absence(step, path, facts, deadline);
      auto stats = look_at({path}, deadline);
      if (!stats.ok()) return stats.error();
      const auto& stat = stats->front();
      const int64_t is = stat ? record_version(path, stat->version) : 0;
      int64_t wanted = 0;
      if (const auto* check = std::get_if<CheckVersion>(&step)) wanted = check->version;
      if (const auto* set = std::get_if<Set>(&step)) wanted = set->version;
      if (const auto* removal = std::get_if<Delete>(&step)) wanted = removal->version;
      if (is == wanted) return Ok{};  // it has just become so
      if (is == 0 && !std::holds_alternative<CheckVersion>(step)) {
        return Error{ErrorCode::not_found, path + " does not exist"};
      }
      return wrong_version(path, is, wanted);
    }
    default:
      return Error{ErrorCode::internal, path + ": zookeeper: " + code_text(outcome.code)};
  }
}

// Something is where nothing was expected: a record, or a directory.
Result<void> ZookeeperStore::understand_absence(const Step& step, const std::string& path,
                                                Facts& facts, Clock::time_point deadline) {
  auto stats = look_at({path}, deadline);
  if (!stats.ok()) return stats.error();
  const auto& stat = stats->front();
  if (!stat) {
    facts.directories.erase(path);
    forget(path);
    return Ok{};
  }
  const int64_t version = record_version(path, stat->version);
  const auto* create = std::get_if<Create>(&step);
  if (version != 0) {
    if (create != nullptr) return Error{ErrorCode::exists, path + " exists already"};
    return wrong_version(path, version, 0);
  }
  facts.directories.insert(path);
  if (create != nullptr && access_.enforced() && create->access != Access{}) {
    // A directory that becomes a record gets its access first: it holds nothing yet.
    auto main = follower_->main(deadline);
    if (!main.ok()) return main.error();
    auto done = std::make_shared<std::promise<int>>();
    auto code = done->get_future();
    main->session->set_acl(znode(path), *access_.of(create->access),
                           [done](int c) { done->set_value(c); });
    if (const int c = code.get(); c != ZOK && !lost(c)) return denied(step, Role::make);
  }
  return Ok{};
}

// A record cannot be deleted because of what is below: records, or directories that are left over.
// The other deletions of the transaction are looked at, too: it would fail for each in turn.
Result<void> ZookeeperStore::understand_children(const std::vector<Step>& steps, size_t step,
                                                 Facts& facts, Clock::time_point deadline) {
  std::map<std::string, size_t> deleted;  // and by which step
  for (size_t i = 0; i < steps.size(); ++i) {
    if (const auto* removal = std::get_if<Delete>(&steps[i])) deleted.emplace(removal->path, i);
  }
  struct Place {
    size_t step;
    std::string path;
  };
  std::vector<Place> level{{step, path_of(steps[step])}};
  for (const auto& [path, i] : deleted) {
    if (i != step) level.push_back({i, path});
  }
  std::map<std::string, std::vector<std::string>> directories;
  for (const Place& place : level) directories[place.path];
  while (!level.empty()) {
    std::vector<std::string> paths;
    for (const Place& place : level) paths.push_back(place.path);
    auto names = children(paths, deadline);
    if (!names.ok()) return names.error();
    std::vector<Place> below;
    for (size_t i = 0; i < level.size(); ++i) {
      for (const std::string& name : (*names)[i]) {
        below.push_back({level[i].step, level[i].path + "/" + name});
      }
    }
    paths.clear();
    for (const Place& place : below) paths.push_back(place.path);
    auto stats = look_at(paths, deadline);
    if (!stats.ok()) return stats.error();
    level.clear();
    for (size_t i = 0; i < below.size(); ++i) {
      const auto& [of, path] = below[i];
      const auto& stat = (*stats)[i];
      if (!stat) continue;
      if (record_version(path, stat->version) == 0) {
        directories[path_of(steps[of])].push_back(path);
        if (stat->numChildren > 0) level.push_back(below[i]);
        continue;
      }
      const auto found = deleted.find(path);
      if (found != deleted.end() && found->second < of) {
        if (stat->numChildren > 0) level.push_back(below[i]);
        continue;
      }
      // Another step's deletion may still fail for a reason that comes first.
      if (of != step) continue;
      const std::string& held = path_of(steps[step]);
      if (!std::holds_alternative<Delete>(steps[step])) {
        return Error{ErrorCode::in_use, "who may write " + held +
                                            " cannot change while records lie below it: " + path};
      }
      return Error{ErrorCode::in_use, held + " has records below it: " + path};
    }
  }
  for (auto& [path, empty] : directories) facts.empty_below[path] = std::move(empty);
  return Ok{};
}

// --- what is known ---

bool ZookeeperStore::known(const std::string& path) {
  if (path.empty()) return true;
  std::lock_guard lock(known_mutex_);
  return known_.count(path) != 0;
}

void ZookeeperStore::forget(const std::string& path) {
  std::lock_guard lock(known_mutex_);
  known_.erase(path);
}

void ZookeeperStore::remember(const Plan& plan, const std::vector<Step>& steps) {
  std::set<std::string> to_prune;
  {
    std::lock_guard lock(known_mutex_);
    if (known_.size() > kKnown) known_.clear();
    for (const Step& step : steps) {
      if (!std::holds_alternative<Create>(step) && !std::holds_alternative<Append>(step)) continue;
      std::string parent =
          std::holds_alternative<Append>(step) ? path_of(step) : parent_of(path_of(step));
      for (; !parent.empty() && known_.insert(parent).second; parent = parent_of(parent)) {
      }
    }
    for (const std::string& path : plan.removed) {
      known_.erase(path);
      // The numbers of a sequence go on though its last record is gone.
      if (!is_sequence_record(path)) to_prune.insert(parent_of(path));
    }
  }
  for (const std::string& directory : to_prune) {
    if (std::count(directory.begin(), directory.end(), '/') > kKeptLevels) {
      later([this, directory] { prune(directory); });
    }
  }
}

// --- chores ---

void ZookeeperStore::later(std::function<void()> chore) {
  std::lock_guard lock(chores_mutex_);
  if (stopping_) return;
  chores_.push_back(std::move(chore));
  if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
  chores_changed_.notify_one();
}

void ZookeeperStore::work() {
  while (true) {
    std::function<void()> chore;
    {
      std::unique_lock lock(chores_mutex_);
      chores_changed_.wait(lock, [&] { return stopping_ || !chores_.empty(); });
      if (stopping_) return;
      chore = std::move(chores_.front());
      chores_.pop_front();
    }
    chore();
  }
}

// Removes a directory that has become empty, and then perhaps its parent. Best effort: one that is
// left over is in nobody's way.
void ZookeeperStore::prune(std::string directory) {
  while (std::count(directory.begin(), directory.end(), '/') > kKeptLevels) {
    auto main = follower_->main(Clock::now());
    if (!main.ok()) return;
    auto stats = look_at({directory}, Clock::now());
    if (!stats.ok()) return;
    const auto& stat = stats->front();
    // Versions make sure that it is still a directory; the server, that it is empty.
    if (!stat || stat->version != 0 || stat->numChildren != 0 || is_sequence_record(directory)) {
      return;
    }
    forget(directory);
    const Outcome outcome = send(*main, {{ZnodeOperation::Kind::remove, znode(directory), {}, 0}});
    if (outcome.code != ZOK) return;
    directory = parent_of(directory);
  }
}

Result<void> ZookeeperStore::put_ephemeral(std::string_view path, std::string_view value) {
  const std::vector<Step> steps{Create{std::string(path), std::string(value)}};
  if (auto ok = check_steps(steps); !ok.ok()) return ok;
  const auto end = deadline();
  auto main = follower_->main(end);
  if (!main.ok()) return main.error();
  const int64_t session = main->session->id();
  if (auto done = run(steps, true, end); !done.ok()) return done.error();
  std::lock_guard lock(ephemerals_mutex_);
  ephemerals_[std::string(path)] = value;
  sessions_.insert(session);
  return Ok{};
}

// For a new session. What another process has taken over meanwhile stays with it.
void ZookeeperStore::put_again() {
  std::map<std::string, std::string> wanted;
  {
    std::lock_guard lock(ephemerals_mutex_);
    wanted = ephemerals_;
  }
  for (const auto& [path, value] : wanted) {
    while (true) {
      {
        std::lock_guard lock(chores_mutex_);
        if (stopping_) return;
      }
      const auto end = Clock::now() + std::chrono::seconds(1);
      auto main = follower_->main(end);
      if (!main.ok()) continue;
      auto stats = look_at({path}, end);
      if (!stats.ok()) continue;
      const int64_t session = main->session->id();
      if (const auto& stat = stats->front()) {
        std::lock_guard lock(ephemerals_mutex_);
        if (stat->ephemeralOwner == session) break;
        if (sessions_.count(stat->ephemeralOwner) == 0) {
          log_warn("store", "{} belongs to another process now", path);
          ephemerals_.erase(path);
          break;
        }
      }
      auto done = run({Create{path, value}}, true, end);
      if (done.ok()) {
        std::lock_guard lock(ephemerals_mutex_);
        sessions_.insert(session);
        break;
      }
      if (done.error().code != ErrorCode::unavailable) {
        log_error("store", "putting {} again: {}", path, done.error().message);
        break;
      }
    }
  }
}

}  // namespace plexus::store
