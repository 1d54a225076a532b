// SPDX-License-Identifier: Apache-2.0
// Transaction: reads and writes as if alone. It remembers the version of everything it read, also of
// what was not there, and commits only if none of it has changed since; so what was decided from the
// reads still holds. commit_with_retries() repeats the whole when it has.
//
// One hole is the store's: a record that was removed and made again is back at version 1. So records
// that are edited by many (buckets) are never removed while what they belong to exists.
//
// Threads: one transaction is one thread's.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace plexus::store {

/// What one transaction may send: ZooKeeper's limit is 1 MB, with what it adds.
inline constexpr size_t kMaxTransactionBytes = 900 * 1000;

class Transaction {
 public:
  explicit Transaction(Store& store) : store_(store) {}

  /// Fetches several at once, those not fetched yet: one round trip. What is not read() then does
  /// not count as read.
  Result<void> prefetch(const std::vector<std::string>& paths);
  /// What has been fetched, without reading it; nullptr: absent, or not fetched.
  [[nodiscard]] const std::string* peek(const std::string& path) const;
  /// The value, as this transaction has left it; nullptr: absent. Valid until the next write to it.
  Result<const std::string*> read(const std::string& path);
  /// Writes or removes what has been read before. A new record gets access_of(path), unless
  /// `set_access` says something else.
  void write(const std::string& path, std::string value);
  void remove(const std::string& path);
  void set_access(const std::string& path, Access access);
  /// Adds a record to a sequence, if anything else is changed; see Append.
  void append(std::string sequence, std::string value);
  /// Does not check that what was absent still is: the caller knows why the commit fails without.
  /// (Such a check is dear in some stores.)
  void trust_absence(const std::string& path);

  /// The version that a record of this transaction has, before and after it. 0: absent.
  [[nodiscard]] int64_t version_read(const std::string& path) const;
  [[nodiscard]] int64_t version_after(const std::string& path) const;
  [[nodiscard]] Revision revision_read(const std::string& path) const;
  [[nodiscard]] bool changes_anything() const;
  /// About how much commit() sends.
  [[nodiscard]] size_t bytes() const;

  /// conflict and the like: something read has changed.
  Result<Revision> commit();
  /// True when what was read is still so.
  Result<bool> still_valid();

  /// Reads a record as a message; nullopt: absent; internal: damaged.
  template <typename M>
  Result<std::optional<M>> read_message(const std::string& path) {
    auto value = read(path);
    if (!value.ok()) return value.error();
    if (*value == nullptr) return std::optional<M>();
    M message;
    if (!message.ParseFromString(**value)) return damaged(path);
    return std::optional<M>(std::move(message));
  }
  void write_message(const std::string& path, const google::protobuf::Message& message) {
    write(path, message.SerializeAsString());
  }
  static Error damaged(const std::string& path) {
    return {ErrorCode::internal, "the record " + path + " is damaged: it cannot be decoded"};
  }

 private:
  struct Entry {
    std::optional<Record> stored;
    std::optional<std::string> now;
    std::optional<Access> access;
    bool used = false;  ///< read, not only prefetched
    bool absence_trusted = false;
    [[nodiscard]] bool changed() const {
      return (access && now) || stored.has_value() != now.has_value() ||
             (now && *now != stored->value);
    }
    /// The commit must check that it is still as it was.
    [[nodiscard]] bool counts() const { return used && !changed() && (stored || !absence_trusted); }
    [[nodiscard]] int64_t version() const { return stored ? stored->version : 0; }
  };
  [[nodiscard]] std::vector<Step> steps() const;

  Store& store_;
  std::map<std::string, Entry> entries_;
  std::vector<Append> appended_;
};

/// A short random sleep, longer with each try, so that rivals part.
void pause_before_retry(int tries);

template <typename T>
struct Committed {
  T value;
  Revision revision;
};

/// Runs `body(Transaction&) -> Result<T>` and commits, again from the start while other writers are
/// in the way. An error of the body counts only if it was decided from what is still so.
template <typename T, typename Body>
Result<Committed<T>> commit_with_retries(Store& store, const Body& body) {
  constexpr int kTries = 50;
  Error last;
  for (int tries = 0; tries < kTries; ++tries) {
    if (tries > 2) pause_before_retry(tries);
    Transaction transaction(store);
    Result<T> value = body(transaction);
    if (!value.ok()) {
      auto valid = transaction.still_valid();
      if (!valid.ok() || *valid) return value.error();
      last = value.error();
      continue;
    }
    auto revision = transaction.commit();
    if (revision.ok()) return Committed<T>{std::move(*value), *revision};
    last = revision.error();
    switch (last.code) {
      case ErrorCode::conflict:
      case ErrorCode::exists:
      case ErrorCode::not_found:
      case ErrorCode::in_use:
        break;  // the next reading shows why
      default:
        return last;
    }
  }
  return Error{ErrorCode::conflict,
               "other writers were faster each time; try again (" + last.message + ")"};
}

}  // namespace plexus::store
