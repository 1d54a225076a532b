// SPDX-License-Identifier: Apache-2.0
#include "store/topology/transaction.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "store/path.h"
#include "store/topology/layout.h"

namespace plexus::store {

void pause_before_retry(int tries) {
  static thread_local std::minstd_rand random(static_cast<unsigned>(
      std::hash<std::thread::id>{}(std::this_thread::get_id()) ^
      static_cast<size_t>(std::chrono::steady_clock::now().time_since_epoch().count())));
  const auto limit = static_cast<unsigned>(200 * tries);
  std::this_thread::sleep_for(std::chrono::microseconds(random() % limit));
}

Result<void> Transaction::prefetch(const std::vector<std::string>& paths) {
  std::vector<std::string> wanted;
  for (const std::string& path : paths) {
    if (!entries_.contains(path)) wanted.push_back(path);
  }
  if (wanted.empty()) return Ok{};
  auto records = store_.get_many(wanted);
  if (!records.ok()) return records.error();
  for (size_t i = 0; i < wanted.size(); ++i) {
    Entry entry;
    entry.stored = std::move((*records)[i]);
    if (entry.stored) entry.now = entry.stored->value;
    entries_.emplace(wanted[i], std::move(entry));
  }
  return Ok{};
}

const std::string* Transaction::peek(const std::string& path) const {
  const auto found = entries_.find(path);
  return found == entries_.end() || !found->second.now ? nullptr : &*found->second.now;
}

Result<const std::string*> Transaction::read(const std::string& path) {
  auto found = entries_.find(path);
  if (found == entries_.end()) {
    auto record = store_.get(path);
    if (!record.ok()) return record.error();
    Entry entry;
    entry.stored = std::move(*record);
    if (entry.stored) entry.now = entry.stored->value;
    found = entries_.emplace(path, std::move(entry)).first;
  }
  found->second.used = true;
  return found->second.now ? &*found->second.now : nullptr;
}

void Transaction::write(const std::string& path, std::string value) {
  const auto found = entries_.find(path);
  PLEXUS_CHECK(found != entries_.end(), "written without being read: " + path);
  found->second.now = std::move(value);
}

void Transaction::remove(const std::string& path) {
  const auto found = entries_.find(path);
  PLEXUS_CHECK(found != entries_.end(), "removed without being read: " + path);
  found->second.now.reset();
}

void Transaction::set_access(const std::string& path, Access access) {
  const auto found = entries_.find(path);
  PLEXUS_CHECK(found != entries_.end(), "access set without being read: " + path);
  found->second.access = std::move(access);
}

void Transaction::append(std::string sequence, std::string value) {
  Access access = access_of(sequence + "/");
  appended_.push_back({std::move(sequence), std::move(value), std::move(access)});
}

void Transaction::trust_absence(const std::string& path) {
  const auto found = entries_.find(path);
  if (found != entries_.end()) found->second.absence_trusted = true;
}

int64_t Transaction::version_read(const std::string& path) const {
  const auto found = entries_.find(path);
  return found == entries_.end() ? 0 : found->second.version();
}

int64_t Transaction::version_after(const std::string& path) const {
  const auto found = entries_.find(path);
  if (found == entries_.end() || !found->second.now) return 0;
  return found->second.version() + (found->second.changed() ? 1 : 0);
}

Revision Transaction::revision_read(const std::string& path) const {
  const auto found = entries_.find(path);
  return found == entries_.end() || !found->second.stored ? Revision{}
                                                          : found->second.stored->revision;
}

bool Transaction::changes_anything() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const auto& e) { return e.second.changed(); });
}

size_t Transaction::bytes() const {
  constexpr size_t kOverhead = 64;         // type, lengths, version
  constexpr size_t kCreateOverhead = 160;  // and who has access
  size_t sum = 0;
  for (const Step& step : steps()) {
    const bool creates = std::holds_alternative<Create>(step);
    sum += path_of(step).size() + (creates ? kCreateOverhead : kOverhead);
    if (const auto* made = std::get_if<Create>(&step)) sum += made->value.size();
    if (const auto* set = std::get_if<Set>(&step)) sum += set->value.size();
    if (const auto* append = std::get_if<Append>(&step)) sum += append->value.size();
  }
  return sum;
}

std::vector<Step> Transaction::steps() const {
  // Checks first; parents before children when they come, children before parents when they go.
  std::vector<Step> steps, removals;
  for (const auto& [path, entry] : entries_) {
    if (entry.counts()) steps.push_back(CheckVersion{path, entry.version()});
  }
  for (const auto& [path, entry] : entries_) {
    if (!entry.changed()) continue;
    if (!entry.now) {
      removals.push_back(Delete{path, entry.version()});
    } else if (!entry.stored) {
      steps.push_back(Create{path, *entry.now, entry.access ? *entry.access : access_of(path)});
    } else {
      steps.push_back(Set{path, *entry.now, entry.version(), entry.access});
    }
  }
  if (changes_anything()) steps.insert(steps.end(), appended_.begin(), appended_.end());
  steps.insert(steps.end(), removals.rbegin(), removals.rend());
  return steps;
}

Result<Revision> Transaction::commit() {
  return store_.transact(steps());
}

Result<bool> Transaction::still_valid() {
  std::vector<Step> checks;
  for (const auto& [path, entry] : entries_) {
    if (entry.used) checks.push_back(CheckVersion{path, entry.version()});
  }
  auto done = store_.transact(checks);
  if (done.ok()) return true;
  if (done.error().code == ErrorCode::conflict) return false;
  return done.error();
}

}  // namespace plexus::store
