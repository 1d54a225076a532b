// SPDX-License-Identifier: Apache-2.0
// TokenTable: the bearer tokens of the store in memory, found by the hash of their secret. The store holds hashes only; a
// secret is seen when it is made, and never written anywhere.
//
// Whoever hears of a change to a token calls reload(): the server that made the change at once, the others by the change
// log. A secret that is not known may be newer than the table, so before it is refused the table is read again, though
// not more often than a limit.
//
// Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/caller.h"
#include "base/result.h"
#include "store/store.h"

namespace plexus::api {

struct Secret {
  std::string text;    ///< "plx_" and 43 characters of base64url: 256 random bits
  std::string sha256;  ///< what the store holds
};
[[nodiscard]] Secret make_secret();
[[nodiscard]] std::string sha256(std::string_view text);

class TokenTable {
 public:
  /// `store` must outlive this.
  explicit TokenTable(store::Store& store) : store_(store) {}

  Result<void> reload();

  /// Who has this secret; nullopt: nobody, or the token has expired. unavailable and the like: not known, because the
  /// store does not answer.
  Result<std::optional<Caller>> find(std::string_view secret, int64_t unix_seconds);
  /// Whether a token that was found is still good.
  [[nodiscard]] bool good(const Uuid& token, int64_t unix_seconds) const;
  [[nodiscard]] size_t size() const;

 private:
  struct Entry {
    Caller caller;
    std::string sha256;
    std::optional<uint32_t> expires;
    [[nodiscard]] bool good(int64_t now) const { return !expires || now < int64_t{*expires}; }
  };
  [[nodiscard]] std::optional<Entry> known(const std::string& hash) const;
  bool may_look_again();

  store::Store& store_;
  std::mutex reloading_;  ///< so that an older reading does not replace a newer one
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> by_hash_;  ///< guarded by mutex_, as all below
  std::unordered_map<Uuid, std::string> hash_of_;
  double looks_ = 0;
  std::chrono::steady_clock::time_point last_look_{};
};

/// Counts failures by source: a source may fail some times in a row and then once a second. Threads: any.
class FailureLimit {
 public:
  static constexpr double kBurst = 20, kPerSecond = 1;
  static constexpr size_t kSources = 4096;

  /// Notes a failure. False: too many; refuse without looking further.
  bool note(const std::string& source, std::chrono::steady_clock::time_point now);

 private:
  struct Bucket {
    double left = kBurst;
    std::chrono::steady_clock::time_point at;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Bucket> buckets_;
};

}  // namespace plexus::api
