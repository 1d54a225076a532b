// SPDX-License-Identifier: Apache-2.0
// A ZooKeeper store whose connection is cut, whose session expires, whose server stops, freezes, is
// wiped or was never there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "store/conformance_fixture.h"
#include "store/test_zookeeper.h"
#include "store/zookeeper/cuttable_proxy.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;

/// More of the same in ./test long.
bool long_run() {
  const char* value = std::getenv("PLEXUS_TEST_LONG");
  return value != nullptr && *value != 0;
}

/// Sessions end soon, but not because the machine is busy for a moment.
ZookeeperOptions quick() {
  ZookeeperOptions options;
  options.session_timeout = milliseconds(1500);
  options.expiry_delay = milliseconds(50);
  options.patience = milliseconds(5000);
  return options;
}

std::unique_ptr<Store> open_at(const std::string& place,
                               const ZookeeperOptions& options = quick()) {
  auto opened = ZookeeperStore::open(place, {}, options);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? std::move(*opened) : nullptr;
}

void must(Store& store, const std::vector<Step>& steps) {
  const auto done = store.transact(steps);
  ASSERT_TRUE(done.ok()) << done.error().message;
}

std::string value_of(Store& store, const std::string& path) {
  const auto record = store.get(path);
  if (!record.ok()) return record.error().message;
  return *record ? (*record)->value : "(absent)";
}

/// One that is never cut off.
std::unique_ptr<Store> open_steady(const std::string& place) {
  ZookeeperOptions options;
  options.session_timeout = milliseconds(30'000);
  return open_at(place, options);
}

class ZookeeperOutage : public ::testing::Test {
 protected:
  const std::string chroot_ = "/t/" + Uuid::random().str();
  const std::string direct_ = test_zookeeper() + chroot_;
};

/// Watches of many paths: how often each was told what.
class Board {
 public:
  Board(Store& store, const std::vector<std::string>& paths) : numbers_(paths.size()) {
    for (auto& number : numbers_) number = kNothing;
    for (size_t i = 0; i < paths.size(); ++i) {
      watches_.push_back(store.watch(paths[i], [this, i](const WatchEvent& event) {
        const int number = event.record ? std::stoi(event.record->value) : -1;
        if (number < numbers_[i]) ++went_back_;
        numbers_[i] = number;
        ++reports_;
      }));
    }
  }
  [[nodiscard]] bool all(int number) const {
    return std::all_of(numbers_.begin(), numbers_.end(),
                       [&](const auto& n) { return n == number; });
  }
  [[nodiscard]] int number(size_t i) const { return numbers_[i]; }
  [[nodiscard]] int reports() const { return reports_; }
  [[nodiscard]] int went_back() const { return went_back_; }

 private:
  static constexpr int kNothing = -2;
  std::vector<std::atomic<int>> numbers_;
  std::atomic<int> reports_{0}, went_back_{0};
  std::vector<std::unique_ptr<Watch>> watches_;
};

/// Gives each of the records the next number, in transactions of 500.
void set_all(Store& store, const std::vector<std::string>& paths, int number) {
  std::vector<Step> steps;
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto value = std::to_string(number);
    steps.push_back(number == 0 ? Step{Create{paths[i], value}}
                                : Step{Set{paths[i], value, number}});
    if (steps.size() == 500 || i + 1 == paths.size()) {
      must(store, steps);
      steps.clear();
    }
  }
}

std::vector<std::string> many_paths(size_t count) {
  std::vector<std::string> paths;
  for (size_t i = 0; i < count; ++i) {
    paths.push_back("/p1/o/port/" + std::to_string(i % 256) + "/" +
                    Uuid::derived("path", std::to_string(i)).str());
  }
  return paths;
}

// Of 20,000 watches one session could send none again in one packet: the server would close the
// connection for ever.
TEST_F(ZookeeperOutage, TwentyThousandWatchesOverACutConnection) {
  CuttableProxy proxy(test_zookeeper());
  auto writer = open_steady(direct_);
  const auto paths = many_paths(20'000);
  set_all(*writer, paths, 0);
  ZookeeperOptions options = quick();
  options.session_timeout = milliseconds(20'000);  // the sessions survive the cut
  auto reader = open_at(proxy.address() + chroot_, options);
  Board board(*reader, paths);
  ASSERT_TRUE(eventually([&] { return board.all(0); }));
  std::atomic<int64_t> settled{0};
  auto watch = reader->watch_settled([&](Revision revision) { settled = revision.value; });
  const size_t sessions = proxy.connections();
  EXPECT_GT(sessions, 1u);

  proxy.cut();
  EXPECT_TRUE(eventually([&] { return reader->health() == Health::down; }));
  const int reports = board.reports();
  for (size_t i = 0; i < paths.size(); i += 200) must(*writer, {Set{paths[i], "1", 1}});
  EXPECT_EQ(board.reports(), reports);
  proxy.mend();
  EXPECT_TRUE(eventually([&] {
    for (size_t i = 0; i < paths.size(); i += 200) {
      if (board.number(i) != 1) return false;
    }
    return true;
  }));
  EXPECT_TRUE(eventually([&] { return reader->health() == Health::up; }));
  // Only what changed is read again.
  EXPECT_EQ(board.reports(), reports + 100);

  for (size_t i = 0; i < paths.size(); i += 200) must(*writer, {Set{paths[i], "0", 2}});
  const Revision last = *writer->sync();
  // Each watch is still there.
  std::vector<Step> steps;
  for (size_t i = 0; i < paths.size(); ++i) {
    steps.push_back(Set{paths[i], "2", i % 200 == 0 ? 3 : 1});
    if (steps.size() == 500) {
      must(*writer, steps);
      steps.clear();
    }
  }
  EXPECT_TRUE(eventually([&] { return board.all(2); }));
  EXPECT_TRUE(eventually([&] { return settled >= last.value; }));
}

TEST_F(ZookeeperOutage, AnExpiredSessionIsReplaced) {
  CuttableProxy proxy(test_zookeeper());
  auto writer = open_steady(direct_);
  const auto paths = many_paths(300);
  set_all(*writer, paths, 0);
  auto reader = open_at(proxy.address() + chroot_);
  ASSERT_TRUE(reader->put_ephemeral("/live/h1", "alive").ok());
  ASSERT_TRUE(reader->put_ephemeral("/live/h2", "alive, too").ok());
  Board board(*reader, paths);
  ASSERT_TRUE(eventually([&] { return board.all(0); }));

  for (int round = 1; round <= 2; ++round) {
    proxy.cut();
    // Longer than the session lives.
    EXPECT_TRUE(eventually([&] { return value_of(*writer, "/live/h1") == "(absent)"; }));
    if (round == 2) {
      // Another process with the same name is there first: it stays.
      ASSERT_TRUE(writer->put_ephemeral("/live/h2", "another").ok());
    }
    must(*writer, {Set{paths[7], std::to_string(round), round}});
    const int reports = board.reports();
    proxy.mend();
    EXPECT_TRUE(eventually([&] { return board.number(7) == round; }));
    EXPECT_TRUE(eventually([&] { return value_of(*writer, "/live/h1") == "alive"; }));
    // Nothing else is reported, though everything was read again.
    must(*writer, {Set{paths[299], std::to_string(round), round}});
    EXPECT_TRUE(eventually([&] { return board.number(299) == round; }));
    EXPECT_EQ(board.reports(), reports + 2);
    EXPECT_TRUE(eventually([&] { return reader->sync().ok(); }));
  }
  EXPECT_EQ(value_of(*writer, "/live/h2"), "another");
  EXPECT_EQ(board.went_back(), 0);
  reader.reset();
  EXPECT_EQ(value_of(*writer, "/live/h1"), "(absent)");
}

// Many sessions expire at once and come back: all are served soon.
TEST_F(ZookeeperOutage, ManySessionsReArmTogether) {
  const size_t count = long_run() ? 1000 : 200;
  if (getenv("ZKDBG") == nullptr)
    set_log_level(LogLevel::error);  // or each says that it is cut off
  CuttableProxy proxy(test_zookeeper());
  auto writer = open_steady(direct_);
  const auto paths = many_paths(100);
  set_all(*writer, paths, 0);
  ZookeeperOptions options = quick();
  options.session_timeout = milliseconds(long_run() ? 6000 : 3000);
  options.expiry_delay = milliseconds(1000);
  std::vector<std::unique_ptr<Store>> stores;
  std::vector<std::unique_ptr<Board>> boards;
  for (size_t i = 0; i < count; ++i) {
    stores.push_back(open_at(proxy.address() + chroot_, options));
    boards.push_back(std::make_unique<Board>(*stores.back(), paths));
  }
  ASSERT_TRUE(eventually(
      [&] {
        return std::all_of(boards.begin(), boards.end(), [](const auto& b) { return b->all(0); });
      },
      seconds(60)));
  ASSERT_TRUE(stores.front()->put_ephemeral("/live/first", "").ok());
  ASSERT_TRUE(stores.back()->put_ephemeral("/live/last", "").ok());
  proxy.cut();
  EXPECT_TRUE(eventually([&] {
    return value_of(*writer, "/live/first") == "(absent)" &&
           value_of(*writer, "/live/last") == "(absent)";
  }));
  set_all(*writer, paths, 1);
  const auto start = std::chrono::steady_clock::now();
  proxy.mend();
  std::vector<milliseconds> took(count, milliseconds(0));
  EXPECT_TRUE(eventually(
      [&] {
        size_t done = 0;
        for (size_t i = 0; i < count; ++i) {
          if (took[i].count() == 0 && boards[i]->all(1)) {
            took[i] =
                std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
          }
          if (took[i].count() != 0) ++done;
        }
        // Looking costs time that they need.
        std::this_thread::sleep_for(milliseconds(20));
        return done == count;
      },
      seconds(60)));
  std::sort(took.begin(), took.end());
  std::printf("%zu sessions, 100 watches each: first %ld ms, half %ld ms, last %ld ms\n", count,
              static_cast<long>(took.front().count()), static_cast<long>(took[count / 2].count()),
              static_cast<long>(took.back().count()));
  for (const auto& board : boards) EXPECT_EQ(board->went_back(), 0);
  set_log_level(LogLevel::info);
}

TEST_F(ZookeeperOutage, AServerThatWasNeverThere) {
  TestDirectory dir(true);
  ZookeeperServer server(dir.path("zookeeper"));
  server.start();
  server.stop();
  ZookeeperOptions options = quick();
  options.patience = milliseconds(300);
  auto store = open_at(server.address() + "/x", options);
  ASSERT_TRUE(store);
  EXPECT_EQ(store->health(), Health::down);
  Seen seen;
  auto watch = store->watch("/k", seen.callback());
  const auto got = store->get("/k");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::unavailable);
  EXPECT_THAT(got.error().message, HasSubstr(server.address()));
  const auto done = store->transact({Create{"/k", "v"}});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(seen.events().empty());

  server.start();
  EXPECT_TRUE(seen.wait_for_absent());
  EXPECT_TRUE(eventually([&] { return store->health() == Health::up; }));
  must(*store, {Create{"/k", "v"}});
  EXPECT_TRUE(seen.wait_for_value("v"));
}

TEST_F(ZookeeperOutage, AFrozenServer) {
  TestDirectory dir(true);
  ZookeeperServer server(dir.path("zookeeper"));
  server.start();
  ZookeeperOptions options = quick();
  options.patience = milliseconds(1500);
  auto store = open_at(server.address(), options);
  must(*store, {Create{"/k", "before"}});
  ASSERT_TRUE(store->put_ephemeral("/live", "").ok());
  Seen seen;
  auto watch = store->watch("/k", seen.callback());
  ASSERT_TRUE(seen.wait_for_value("before"));
  ASSERT_EQ(kill(server.pid(), SIGSTOP), 0);
  EXPECT_TRUE(eventually([&] { return store->health() == Health::down; }, seconds(5)));
  EXPECT_FALSE(store->get("/k").ok());
  const auto done = store->transact({Set{"/k", "during", 1}});
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::unavailable);
  ASSERT_EQ(kill(server.pid(), SIGCONT), 0);
  EXPECT_TRUE(eventually([&] { return store->health() == Health::up; }));
  const auto record = *store->get("/k");
  must(*store, {Set{"/k", "after", record->version}});
  EXPECT_TRUE(seen.wait_for_value("after"));
  EXPECT_TRUE(eventually([&] { return value_of(*store, "/live") == ""; }));
}

// The server comes back with an older state, or with none: readers end there.
TEST_F(ZookeeperOutage, AStoreRestoredFromABackup) {
  TestDirectory dir(true);
  ZookeeperServer server(dir.path("zookeeper"));
  server.start();
  const std::string data = server.directory() + "/data", backup = dir.path("backup");
  ZookeeperOptions options = quick();
  auto store = open_at(server.address(), options);
  must(*store, {Create{"/k", "backed up"}, Create{"/same", "same"}});
  server.stop();
  std::filesystem::copy(data, backup, std::filesystem::copy_options::recursive);
  server.start();
  Seen changed, same, fresh;
  auto w1 = store->watch("/k", changed.callback());
  auto w2 = store->watch("/same", same.callback());
  auto w3 = store->watch("/fresh", fresh.callback());
  ASSERT_TRUE(changed.wait_for_value("backed up"));
  ASSERT_TRUE(same.wait_for_value("same"));
  for (int i = 1; i <= 50; ++i) must(*store, {Set{"/k", "later " + std::to_string(i), i}});
  must(*store, {Create{"/fresh", "lost"}});
  ASSERT_TRUE(changed.wait_for_value("later 50"));
  ASSERT_TRUE(fresh.wait_for_value("lost"));
  const Revision before = *store->sync();

  server.stop();
  std::filesystem::remove_all(data);
  std::filesystem::copy(backup, data, std::filesystem::copy_options::recursive);
  server.start();
  EXPECT_TRUE(changed.wait_for_value("backed up"));
  EXPECT_TRUE(fresh.wait_for_absent());
  // All is reported anew, though this record is as it was.
  EXPECT_TRUE(same.wait([](const auto& events) { return events.size() >= 2; }));
  EXPECT_EQ(same.events().back().record->value, "same");
  EXPECT_LT(*store->sync(), before);
  must(*store, {Set{"/k", "goes on", 1}});
  EXPECT_TRUE(changed.wait_for_value("goes on"));

  server.stop();
  std::filesystem::remove_all(data);
  server.start();
  EXPECT_TRUE(changed.wait_for_absent());
  must(*store, {Create{"/k", "new"}});
  EXPECT_TRUE(changed.wait_for_value("new"));
}

TEST_F(ZookeeperOutage, TheBeaconIsMadeAgainWhenSomebodyRemovesIt) {
  auto store = open_at(direct_);
  auto other = open_at(direct_);
  must(*store, {Create{"/a", ""}, Create{"/b", ""}});
  // The beacons of this store as records of another: below "/t".
  auto above = open_at(test_zookeeper() + "/t");
  const std::string beacons = chroot_.substr(2) + ".s";
  const auto names = *above->list(beacons);
  EXPECT_EQ(names.size(), 2u);
  for (const std::string& name : names) {
    must(*above, {Delete{beacons + "/" + name, (*above->get(beacons + "/" + name))->version}});
  }
  EXPECT_TRUE(store->sync().ok());
  EXPECT_TRUE(other->transact({Delete{"/a", 1}}).ok());
  EXPECT_EQ(value_of(*store, "/a"), "(absent)");
}

/// What the server's "wchs" says: watches in all.
int watches_of_server(const std::string& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string text;
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 &&
      send(fd, "wchs", 4, MSG_NOSIGNAL) == 4) {
    char bytes[512];
    for (ssize_t n = 0; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;) {
      text.append(bytes, static_cast<size_t>(n));
    }
  }
  close(fd);
  const std::string label = "Total watches:";
  const size_t found = text.find(label);
  return found == std::string::npos ? -1 : std::stoi(text.substr(found + label.size()));
}

// Watches that ended leave the server in the end, and do not use up the budget of a session.
TEST_F(ZookeeperOutage, EndedWatchesAreTakenFromTheServer) {
  TestDirectory dir(true);
  ZookeeperServer server(dir.path("zookeeper"));
  server.start();
  CuttableProxy proxy(server.address());
  ZookeeperOptions options = quick();
  options.watched_bytes = 20'000;
  auto store = open_at(proxy.address(), options);
  const auto paths = many_paths(100);
  set_all(*store, paths, 0);
  for (int round = 0; round < 20; ++round) {
    Board board(*store, paths);
    ASSERT_TRUE(eventually([&] { return board.all(0); }));
    for (int i = 0; i < 100; ++i) {
      Seen seen;
      auto watch =
          store->watch("/none/" + std::to_string(round) + "/" + std::to_string(i), seen.callback());
      ASSERT_TRUE(seen.wait_for_absent());
    }
  }
  // 100 that were read again and again and 2,000 that come once: a quarter of a budget is left.
  EXPECT_TRUE(eventually([&] { return watches_of_server(server.address()) < 300; }));
  EXPECT_LE(proxy.connections(), 2u);
  // And watches made now work.
  Board board(*store, paths);
  ASSERT_TRUE(eventually([&] { return board.all(0); }));
  must(*store, {Set{paths[3], "7", 1}});
  EXPECT_TRUE(eventually([&] { return board.number(3) == 7; }));
}

// Watches that are spread over several sessions settle as one.
TEST_F(ZookeeperOutage, SeveralSessionsSettleAsOne) {
  ZookeeperOptions options = quick();
  options.session_timeout = milliseconds(10'000);
  options.watched_bytes = 100;  // one path each
  CuttableProxy proxy(test_zookeeper());
  auto store = open_at(proxy.address() + chroot_, options);
  auto other = open_steady(direct_);
  constexpr size_t kCount = 4;
  const auto path = [](size_t i) { return "/c/" + std::to_string(i); };
  std::vector<Step> steps;
  for (size_t i = 0; i < kCount; ++i) steps.push_back(Create{path(i), "0"});
  must(*other, steps);
  // Touched on the store's thread only, but for the atomics.
  std::array<std::string, kCount> values;
  std::atomic<int> settled{0}, torn{0};
  std::atomic<int64_t> last_revision{0};
  std::vector<std::unique_ptr<Watch>> watches;
  for (size_t i = 0; i < kCount; ++i) {
    watches.push_back(store->watch(
        path(i), [&, i](const WatchEvent& event) { values[i] = event.record->value; }));
  }
  watches.push_back(store->watch_settled([&](Revision revision) {
    ++settled;
    for (const std::string& value : values) {
      if (value != values[0]) ++torn;
    }
    if (revision.value < last_revision) ++torn;
    last_revision = revision.value;
  }));
  ASSERT_TRUE(eventually([&] { return settled > 0; }));
  EXPECT_GE(proxy.connections(), kCount);
  Revision last;
  for (int round = 1; round <= 200; ++round) {
    steps.clear();
    for (size_t i = 0; i < kCount; ++i) steps.push_back(Set{path(i), std::to_string(round), round});
    last = *other->transact(steps);
    if (round % 10 == 0) {
      ASSERT_TRUE(eventually([&] { return last_revision >= last.value; }));
    }
  }
  EXPECT_TRUE(eventually([&] { return last_revision >= last.value; }));
  EXPECT_GE(settled, 20);
  EXPECT_EQ(torn, 0);
}

}  // namespace
}  // namespace plexus::store
