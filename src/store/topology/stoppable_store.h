// SPDX-License-Identifier: Apache-2.0
// StoppableStore: a store that can be made unreachable and reachable again, as one behind a network is: calls fail,
// watches fall silent, and when it is back they tell the latest state. For tests only.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/store.h"

namespace plexus::store {

class StoppableStore final : public Store {
 public:
  /// `real` must outlive this.
  explicit StoppableStore(Store& real) : real_(real), state_(std::make_shared<State>()) {}

  void stop() { state_->up = false; }
  void start() {
    std::vector<Cell*> cells;
    {
      std::lock_guard lock(state_->mutex);
      cells.assign(state_->cells.begin(), state_->cells.end());
    }
    // Nothing may be called settled before every watch has told the state now.
    for (Cell* cell : cells) {
      if (cell->is_settled()) cell->silence();
    }
    state_->up = true;
    for (Cell* cell : cells) {
      if (!cell->is_settled()) cell->renew(real_);
    }
    for (Cell* cell : cells) {
      if (cell->is_settled()) cell->renew(real_);
    }
  }

  [[nodiscard]] std::string kind() const override { return real_.kind(); }
  Result<std::optional<Record>> get(std::string_view path) override {
    if (!up()) return down();
    return real_.get(path);
  }
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override {
    if (!up()) return down();
    return real_.get_many(paths);
  }
  Result<std::vector<std::string>> list(std::string_view directory) override {
    if (!up()) return down();
    return real_.list(directory);
  }
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view directory) override {
    if (!up()) return down();
    return real_.scan(directory);
  }
  Result<Revision> transact(const std::vector<Step>& steps) override {
    if (!up()) return down();
    return real_.transact(steps);
  }
  [[nodiscard]] std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override {
    auto cell = std::make_unique<Cell>(state_, std::move(path), std::move(callback), nullptr);
    cell->renew(real_);
    return cell;
  }
  [[nodiscard]] std::unique_ptr<Watch> watch_settled(
      std::function<void(Revision)> callback) override {
    auto cell = std::make_unique<Cell>(state_, "", nullptr, std::move(callback));
    cell->renew(real_);
    return cell;
  }
  Result<void> put_ephemeral(std::string_view path, std::string_view value) override {
    if (!up()) return down();
    return real_.put_ephemeral(path, value);
  }
  Result<Revision> sync() override {
    if (!up()) return down();
    return real_.sync();
  }
  [[nodiscard]] Health health() const override { return up() ? real_.health() : Health::down; }

 private:
  class Cell;
  struct State {
    std::atomic<bool> up{true};
    std::mutex mutex;
    std::set<Cell*> cells;
  };
  class Cell final : public Watch {
   public:
    Cell(std::shared_ptr<State> state, std::string path, WatchCallback callback,
         std::function<void(Revision)> settled)
        : state_(std::move(state)),
          path_(std::move(path)),
          callback_(std::move(callback)),
          settled_(std::move(settled)) {
      std::lock_guard lock(state_->mutex);
      state_->cells.insert(this);
    }
    ~Cell() override {
      std::lock_guard lock(state_->mutex);
      state_->cells.erase(this);
    }
    [[nodiscard]] bool is_settled() const { return settled_ != nullptr; }
    void silence() { real_.reset(); }
    void renew(Store& real) {
      real_.reset();
      if (settled_) {
        real_ = real.watch_settled([this](Revision revision) {
          if (state_->up) settled_(revision);
        });
      } else {
        real_ = real.watch(path_, [this](const WatchEvent& event) {
          if (state_->up) callback_(event);
        });
      }
    }

   private:
    std::shared_ptr<State> state_;
    std::string path_;
    WatchCallback callback_;
    std::function<void(Revision)> settled_;
    std::unique_ptr<Watch> real_;
  };

  [[nodiscard]] bool up() const { return state_->up; }
  static Error down() { return Error{ErrorCode::unavailable, "the store was stopped by a test"}; }

  Store& real_;
  std::shared_ptr<State> state_;
};

}  // namespace plexus::store
