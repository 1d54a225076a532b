// SPDX-License-Identifier: Apache-2.0
// What the conformance tests share: the providers, each with a fresh store for each test, and ways to
// wait for what watches say. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "store/store.h"
#include "store/test_directory.h"
#include "store/test_zookeeper.h"

namespace plexus::store {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// One store of one provider, fresh for each test.
class Provider {
 public:
  virtual ~Provider() = default;
  [[nodiscard]] virtual std::string address() const = 0;
  /// Another handle on it, as another process would have one.
  [[nodiscard]] virtual Result<std::unique_ptr<Store>> open() const {
    return open_store(address());
  }
};

class EmbeddedProvider : public Provider {
 public:
  [[nodiscard]] std::string address() const override { return "embedded:" + dir_.path("store"); }

 private:
  TestDirectory dir_;
};

/// Below a chroot of its own, on the server that all tests share.
class ZookeeperProvider : public Provider {
 public:
  [[nodiscard]] std::string address() const override { return "zookeeper:" + place_; }
  [[nodiscard]] Result<std::unique_ptr<Store>> open() const override {
    return open_test_zookeeper(place_);
  }

 private:
  std::string place_ = test_zookeeper() + "/t/" + Uuid::random().str();
};

struct ProviderKind {
  const char* name;
  std::unique_ptr<Provider> (*make)();
};
inline const ProviderKind kProviders[] = {
    {"embedded", [] { return std::unique_ptr<Provider>(new EmbeddedProvider); }},
    {"zookeeper", [] { return std::unique_ptr<Provider>(new ZookeeperProvider); }},
};

/// Collects what a watch says and lets a test wait for a condition on it.
class Seen {
 public:
  WatchCallback callback() {
    return [this](const WatchEvent& event) {
      std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    };
  }
  template <typename Condition>
  bool wait(Condition condition, milliseconds limit = seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return condition(events_); });
  }
  bool wait_for_value(const std::string& value) {
    return wait([&](const auto& events) {
      return !events.empty() && events.back().record && events.back().record->value == value;
    });
  }
  bool wait_for_absent() {
    return wait([](const auto& events) { return !events.empty() && !events.back().record; });
  }
  std::vector<WatchEvent> events() {
    std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WatchEvent> events_;
};

template <typename Condition>
bool eventually(Condition condition, milliseconds limit = seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

class Conformance : public ::testing::TestWithParam<ProviderKind> {
 protected:
  Conformance() : provider_(GetParam().make()) {}

  std::unique_ptr<Store> open() {
    auto opened = provider_->open();
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? std::move(*opened) : nullptr;
  }
  static void must(Store& store, const std::vector<Step>& steps) {
    auto done = store.transact(steps);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  static std::optional<Record> read(Store& store, std::string_view path) {
    auto got = store.get(path);
    EXPECT_TRUE(got.ok()) << got.error().message;
    return got.ok() ? *got : std::nullopt;
  }
  static std::string value_of(Store& store, std::string_view path) {
    auto record = read(store, path);
    return record ? record->value : "(absent)";
  }

  std::unique_ptr<Provider> provider_;
};

}  // namespace plexus::store
