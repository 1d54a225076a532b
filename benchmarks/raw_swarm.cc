// SPDX-License-Identifier: Apache-2.0
#include "raw_swarm.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "base/ids.h"
#include "plexus/v1/state.pb.h"
#include "raw_zookeeper.h"
#include "store/store.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"

namespace plexus::bench {
namespace {

using namespace std::chrono_literals;

/// ZooKeeper's codes.
constexpr int32_t kDone = 0, kNoNode = -101, kNodeExists = -110;
constexpr Duration kTurn = 50ms;

/// Watches one record with each of many sessions.
class Watchers {
 public:
  using Read = std::function<void(size_t session, std::string_view body)>;
  Watchers(std::string znode, Read read) : znode_(std::move(znode)), read_(std::move(read)) {}

  Result<void> connect(const std::string& server, int count) {
    auto opened = RawZookeeper::connect(server, static_cast<size_t>(count),
                                        [this](size_t session, std::string_view path) {
                                          if (path == znode_) look(session);
                                        });
    if (!opened) return opened.error();
    zookeeper_ = std::make_unique<RawZookeeper>(std::move(*opened));
    return Ok{};
  }
  void look(size_t session) {
    zookeeper_->get(session, znode_, true, [this, session](int32_t error, std::string_view body) {
      if (error == kDone) return read_(session, body);
      if (error == kNoNode) look_for(session);
    });
  }
  [[nodiscard]] RawZookeeper& zookeeper() { return *zookeeper_; }

 private:
  void look_for(size_t session) {
    zookeeper_->exists(session, znode_, true, [this, session](int32_t error, std::string_view) {
      if (error == kDone) look(session);
    });
  }
  const std::string znode_;
  const Read read_;
  std::unique_ptr<RawZookeeper> zookeeper_;
};

}  // namespace

Result<RawPlace> raw_place(const std::string& store_address) {
  constexpr std::string_view kScheme = "zookeeper:";
  if (!store_address.starts_with(kScheme) || store_address.find(',') != std::string::npos) {
    return Error{ErrorCode::invalid, store_address + " is not one server of ZooKeeper"};
  }
  const std::string rest = store_address.substr(kScheme.size());
  const size_t slash = rest.find('/');
  return RawPlace{rest.substr(0, slash),
                  slash == std::string::npos ? "/plexus" : rest.substr(slash)};
}

Result<void> raw_watchers(const RawPlace& place, int count, const std::string& path,
                          const std::function<void(int64_t version)>& saw,
                          const std::atomic<bool>& stop) {
  Watchers watchers(place.root + path,
                    [&](size_t, std::string_view body) { saw(version_of(body)); });
  if (auto done = watchers.connect(place.server, count); !done) return done;
  for (size_t i = 0; i < watchers.zookeeper().size(); ++i) watchers.look(i);
  while (!stop) {
    if (auto done = watchers.zookeeper().run(kTurn); !done) return done;
  }
  return Ok{};
}

Result<void> raw_hosts(const std::string& store_address, int count,
                       const std::function<void()>& ready, const std::atomic<bool>& stop) {
  const auto place = raw_place(store_address);
  if (!place) return place.error();
  std::vector<Uuid> hosts;
  {
    auto store = store::open_store(store_address);
    if (!store) return store.error();
    for (int n = 1; n <= count; ++n) {
      hosts.push_back(Uuid::random());
      auto done = store::HostRecords(**store, HostId{hosts.back()})
                      .register_host({.name = fmt::format("s{}", n), .tunnel_addresses = {}});
      if (!done) return done.error();
    }
  }
  Result<void> trouble;
  RawZookeeper* zookeeper = nullptr;
  Watchers watchers(place->root + store::barrier_path(), [&](size_t host, std::string_view body) {
    v1::Barrier barrier;
    const std::string_view value = value_of(body);
    if (!barrier.ParseFromArray(value.data(), static_cast<int>(value.size()))) return;
    const auto id = Uuid::from_bytes(barrier.id());
    if (!id) return;
    zookeeper->create(
        host, place->root + store::barrier_answers_path(*id) + "/" + hosts[host].str(), "", false,
        [&trouble](int32_t error, std::string_view) {
          // A question of before, whose answers are removed, needs none.
          if (error != kDone && error != kNodeExists && error != kNoNode)
            trouble = Error{ErrorCode::internal, fmt::format("an answer: error {}", error)};
        });
  });
  if (auto done = watchers.connect(place->server, count); !done) return done;
  zookeeper = &watchers.zookeeper();
  size_t live = 0;
  std::vector<std::string> beacons;
  for (size_t i = 0; i < hosts.size(); ++i) {
    beacons.push_back(place->root + ".s/" + Uuid::random().str());
    const auto made = [&](int32_t error, std::string_view) {
      if (error != kDone) {
        trouble = Error{ErrorCode::internal, fmt::format("a host's znode: error {}", error)};
      }
      ++live;
    };
    zookeeper->create(i, beacons.back(), "", true, made);
    zookeeper->create(i, place->root + store::live_path(hosts[i]), "", true, made);
    watchers.look(i);
  }
  bool said = false;
  size_t next = 0;
  MonoTime began = mono_now();
  while (!stop && trouble.ok()) {
    if (auto done = zookeeper->run(10ms); !done) return done;
    if (!said && live == 2 * hosts.size()) {
      said = true;
      ready();
    }
    // Evenly over the second.
    const auto due = static_cast<size_t>((mono_now() - began) / 1ms) * hosts.size() / 1000;
    for (; next < due; ++next)
      zookeeper->exists(next % hosts.size(), beacons[next % hosts.size()], false,
                        [](int32_t, std::string_view) {});
  }
  return trouble;
}

}  // namespace plexus::bench
