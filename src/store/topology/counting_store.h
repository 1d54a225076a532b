// SPDX-License-Identifier: Apache-2.0
// A store that passes everything on to another one, keeps count, and can be told to die. For tests
// only.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "store/store.h"

namespace plexus::store {

class CountingStore : public Store {
 public:
  explicit CountingStore(Store& inner) : inner_(inner) {}

  size_t reads = 0;         ///< round trips that read
  size_t commits = 0;       ///< transactions that change something, failed ones too
  std::vector<Step> steps;  ///< of the last of these
  /// After so many more commits every call fails with `unavailable`, as after a kill. With
  /// `last_is_done` the last one happens all the same: the answer is lost.
  size_t lives = std::numeric_limits<size_t>::max();
  bool last_is_done = false;

  [[nodiscard]] std::string kind() const override { return inner_.kind(); }
  Result<std::optional<Record>> get(std::string_view path) override {
    if (lives == 0) return dead();
    ++reads;
    return inner_.get(path);
  }
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override {
    if (lives == 0) return dead();
    ++reads;
    return inner_.get_many(paths);
  }
  Result<std::vector<std::string>> list(std::string_view directory) override {
    if (lives == 0) return dead();
    ++reads;
    return inner_.list(directory);
  }
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override {
    if (lives == 0) return dead();
    ++reads;
    return inner_.scan(directory);
  }
  Result<Revision> transact(const std::vector<Step>& wanted) override {
    if (lives == 0) return dead();
    bool changes = false;
    for (const Step& step : wanted) changes |= !std::holds_alternative<CheckVersion>(step);
    if (!changes) {
      ++reads;
      return inner_.transact(wanted);
    }
    ++commits;
    steps = wanted;
    if (--lives > 0) return inner_.transact(wanted);
    if (last_is_done) (void)inner_.transact(wanted).ok();
    return dead();
  }
  [[nodiscard]] std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override {
    return inner_.watch(std::move(path), std::move(callback));
  }
  [[nodiscard]] std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) override {
    return inner_.watch_settled(std::move(callback));
  }
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override {
    return inner_.put_ephemeral(path, value);
  }
  Result<Revision> sync() override { return inner_.sync(); }
  [[nodiscard]] Health health() const override { return inner_.health(); }

  /// The paths that the last commit checked to be absent.
  [[nodiscard]] std::vector<std::string> checks_of_absence() const {
    std::vector<std::string> paths;
    for (const Step& step : steps) {
      const auto* check = std::get_if<CheckVersion>(&step);
      if (check != nullptr && check->version == 0) paths.push_back(check->path);
    }
    return paths;
  }

 private:
  static Error dead() { return {ErrorCode::unavailable, "the store is gone (test)"}; }
  Store& inner_;
};

}  // namespace plexus::store
