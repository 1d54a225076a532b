// SPDX-License-Identifier: Apache-2.0
// What every provider of the store must do. Each test runs on each provider, with several handles
// on one store as several processes would have them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "store/conformance_fixture.h"
#include "store/store.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(Stores, Conformance, ::testing::ValuesIn(kProviders),
                         [](const auto& p) { return std::string(p.param.name); });

TEST_P(Conformance, VersionsAndRevisionsOfOneRecord) {
  auto store = open();
  EXPECT_EQ(read(*store, "/a/b"), std::nullopt);
  const Revision r1 = *store->transact({Create{"/a/b", "one"}});
  auto record = read(*store, "/a/b");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->value, "one");
  EXPECT_EQ(record->version, 1);
  EXPECT_EQ(record->revision, r1);

  const Revision r2 = *store->transact({Set{"/a/b", "two", 1}});
  EXPECT_GT(r2, r1);
  record = read(*store, "/a/b");
  EXPECT_EQ(record->version, 2);
  EXPECT_EQ(record->revision, r2);

  must(*store, {Delete{"/a/b", 2}});
  EXPECT_EQ(read(*store, "/a/b"), std::nullopt);
  must(*store, {Create{"/a/b", "three"}});
  EXPECT_EQ(read(*store, "/a/b")->version, 1);
}

TEST_P(Conformance, FailedStepsSayWhatAndChangeNothing) {
  auto store = open();
  must(*store, {Create{"/x", "1"}, Create{"/dir/child", "c"}});
  must(*store, {Set{"/x", "2", 1}});
  const struct {
    Step step;
    ErrorCode code;
    const char* path;
  } cases[] = {
      {CheckVersion{"/x", 1}, ErrorCode::conflict, "/x"},
      {CheckVersion{"/x", 3}, ErrorCode::conflict, "/x"},
      {CheckVersion{"/x", 0}, ErrorCode::conflict, "/x"},
      {CheckVersion{"/none", 1}, ErrorCode::conflict, "/none"},
      {Create{"/x", "again"}, ErrorCode::exists, "/x"},
      {Set{"/none", "v", 1}, ErrorCode::not_found, "/none"},
      {Set{"/x", "v", 1}, ErrorCode::conflict, "/x"},
      {Delete{"/none", 1}, ErrorCode::not_found, "/none"},
      {Delete{"/x", 1}, ErrorCode::conflict, "/x"},
      {Delete{"/dir", 1}, ErrorCode::not_found, "/dir"},  // a directory is no record
  };
  const Revision before = *store->sync();
  for (const auto& c : cases) {
    auto done = store->transact({Create{"/side", "effect"}, c.step, Create{"/other", "effect"}});
    ASSERT_FALSE(done.ok()) << c.path;
    EXPECT_EQ(done.error().code, c.code) << done.error().message;
    EXPECT_THAT(done.error().message, HasSubstr(c.path));
    EXPECT_EQ(value_of(*store, "/side"), "(absent)");
    EXPECT_EQ(value_of(*store, "/x"), "2");
    EXPECT_EQ(read(*store, "/x")->version, 2);
  }
  EXPECT_GE(*store->sync(), before);
}

TEST_P(Conformance, AStepSeesWhatEarlierOnesDid) {
  auto store = open();
  must(*store, {Create{"/a", "1"}, Set{"/a", "2", 1}, CheckVersion{"/a", 2}, Create{"/b", ""},
                Delete{"/b", 1}, CheckVersion{"/b", 0}});
  EXPECT_EQ(value_of(*store, "/a"), "2");
  EXPECT_EQ(read(*store, "/a")->version, 2);
  EXPECT_EQ(value_of(*store, "/b"), "(absent)");
}

TEST_P(Conformance, AppendedRecordsAreNumberedWithoutGaps) {
  auto store = open();
  auto other = open();
  must(*store, {Append{"/log/0", "a"}, Append{"/log/0", "b"}, Create{"/x", ""}});
  EXPECT_FALSE(other->transact({Append{"/log/0", "lost"}, Create{"/x", ""}}).ok());
  must(*other, {Append{"/log/0", "c"}});
  EXPECT_EQ(value_of(*store, "/log/0/e0000000000"), "a");
  EXPECT_EQ(value_of(*store, sequence_path("/log/0", 1)), "b");
  EXPECT_EQ(value_of(*store, sequence_path("/log/0", 2)), "c");
  // Also when all are gone, and beside another sequence.
  must(*store, {Delete{sequence_path("/log/0", 0), 1}, Delete{sequence_path("/log/0", 1), 1},
                Delete{sequence_path("/log/0", 2), 1}});
  must(*store, {Append{"/log/0", "d"}, Append{"/log/1", "e"}});
  EXPECT_EQ(value_of(*store, sequence_path("/log/0", 3)), "d");
  EXPECT_EQ(value_of(*store, sequence_path("/log/1", 0)), "e");
  EXPECT_THAT(*store->list("/log/0"), ElementsAre("e0000000003"));
}

TEST_P(Conformance, DeleteIsRefusedWhileRecordsLieBelow) {
  auto store = open();
  must(*store, {Create{"/o/1", "parent"}, Create{"/o/1/ref/0", "child"}, Create{"/o/10", "other"}});
  auto done = store->transact({Delete{"/o/1", 1}});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::in_use);
  EXPECT_THAT(done.error().message, HasSubstr("/o/1"));
  must(*store, {Delete{"/o/1/ref/0", 1}, Delete{"/o/1", 1}});
  EXPECT_EQ(value_of(*store, "/o/10"), "other");
}

TEST_P(Conformance, AChildNeedsNoParentRecord) {
  auto store = open();
  must(*store, {Create{"/p/q/r", "leaf"}});
  EXPECT_EQ(read(*store, "/p/q"), std::nullopt);
  must(*store, {CheckVersion{"/p/q", 0}, Create{"/p/q", "later"}});
  EXPECT_EQ(read(*store, "/p/q")->version, 1);
  EXPECT_EQ(value_of(*store, "/p/q/r"), "leaf");
}

TEST_P(Conformance, ChecksAloneChangeNothing) {
  auto store = open();
  must(*store, {Create{"/a", "x"}});
  const auto record = read(*store, "/a");
  const Revision before = *store->sync();
  // Revisions may grow without a commit.
  EXPECT_GE(*store->transact({CheckVersion{"/a", 1}, CheckVersion{"/b", 0}}), before);
  EXPECT_GE(*store->transact({}), before);
  EXPECT_FALSE(store->transact({CheckVersion{"/a", 2}}).ok());
  EXPECT_FALSE(store->transact({CheckVersion{"/a", 1}, CheckVersion{"/b", 1}}).ok());
  EXPECT_GE(*store->sync(), before);
  EXPECT_EQ(read(*store, "/a")->revision, record->revision);
  EXPECT_EQ(read(*store, "/b"), std::nullopt);
}

// What a resource with thousands of dependents takes, and what one change of many does.
TEST_P(Conformance, ATransactionOfTwoThousandSteps) {
  constexpr int kCount = 2000;
  auto store = open();
  const auto path = [](int i) {
    return "/p1/o/port/" + std::to_string(i % 200) + "/" +
           Uuid::derived("port", std::to_string(i)).str();
  };
  const std::string value(100, 'v');
  std::vector<Step> create, change, remove;
  for (int i = 0; i < kCount; ++i) {
    create.push_back(Create{path(i), value});
    change.push_back(i % 2 == 0 ? Step{CheckVersion{path(i), 1}} : Step{Set{path(i), value, 1}});
    remove.push_back(Delete{path(i), i % 2 == 0 ? 1 : 2});
  }
  must(*store, create);
  must(*store, change);
  EXPECT_EQ(store->scan("/p1")->size(), static_cast<size_t>(kCount));
  remove.push_back(CheckVersion{"/p1/other", 1});
  EXPECT_FALSE(store->transact(remove).ok());
  EXPECT_EQ(store->scan("/p1")->size(), static_cast<size_t>(kCount));
  remove.pop_back();
  must(*store, remove);
  EXPECT_TRUE(store->scan("/p1")->empty());
}

TEST_P(Conformance, ATransactionThatIsTooLargeSaysSo) {
  auto store = open();
  std::vector<Step> steps;
  for (int i = 0; i < 40; ++i) {
    steps.push_back(Create{"/big/" + std::to_string(i), std::string(kMaxValueBytes, 'x')});
  }
  const auto done = store->transact(steps);
  if (done.ok()) return;  // this store has no limit
  EXPECT_EQ(done.error().code, ErrorCode::no_space);
  EXPECT_THAT(done.error().message, HasSubstr("too large"));
  EXPECT_TRUE(store->list("/big")->empty());
}

// Few steps are tried without a look at the directories they need; those may be missing all the same.
TEST_P(Conformance, DirectoriesOfFewStepsAreMadeAlso) {
  auto store = open();
  auto other = open();
  must(*store, {Create{"/w/1/2/3/a", "a"}});
  must(*other, {Create{"/w/1/2/3/b", "b"}});
  must(*store, {Delete{"/w/1/2/3/a", 1}, Delete{"/w/1/2/3/b", 1}});
  must(*other, {Create{"/w/1/2/3/c", "c"}, Create{"/w/4/5/d", "d"}});
  must(*other, {Append{"/w/log/0", "first"}});
  EXPECT_THAT(*store->list("/w"), ElementsAre("1", "4", "log"));
  EXPECT_EQ(store->transact({Create{"/w/4/5/d", "again"}}).error().code, ErrorCode::exists);
  must(*store, {Delete{"/w/4/5/d", 1}});
  ASSERT_TRUE(store->put_ephemeral("/w/4/5/6/live", "me").ok());
  EXPECT_EQ((*other->get("/w/4/5/6/live"))->value, "me");
}

// What was below a record does not keep it from being deleted and made again.
TEST_P(Conformance, EmptyDirectoriesAreInNobodysWay) {
  auto store = open();
  auto other = open();
  for (int round = 0; round < 3; ++round) {
    must(*store, {Create{"/o/t/aa/1", "parent"}, Create{"/o/t/aa/1/by/0/x", "child"},
                  Create{"/o/t/aa/1/by/1", "child"}});
    must(*other, {Delete{"/o/t/aa/1/by/0/x", 1}, CheckVersion{"/o/t/aa/1/by/0/x", 0}});
    EXPECT_THAT(*store->list("/o/t/aa/1/by"), ElementsAre("1"));
    must(*store,
         {Delete{"/o/t/aa/1/by/1", 1}, Delete{"/o/t/aa/1", 1}, CheckVersion{"/o/t/aa/1", 0}});
    EXPECT_TRUE(store->list("/o/t")->empty());
    EXPECT_TRUE(store->scan("/o")->empty());
  }
}

TEST_P(Conformance, ManyRecordsGoWithWhatTheyLeaveBelow) {
  auto store = open();
  std::vector<Step> create, remove;
  for (int i = 0; i < 120; ++i) {
    const std::string path = "/o/t/" + std::to_string(i % 16) + "/" + std::to_string(i);
    create.push_back(Create{path, "parent"});
    create.push_back(Create{path + "/by/0/x", "child"});
    remove.push_back(Delete{path + "/by/0/x", 1});
    remove.push_back(Delete{path, 1});
  }
  must(*store, create);
  // One that something else lies below keeps them all.
  must(*store, {Create{"/o/t/3/3/by/other", ""}});
  const auto done = store->transact(remove);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::in_use);
  EXPECT_THAT(done.error().message, HasSubstr("/o/t/3/3"));
  EXPECT_EQ(store->scan("/o")->size(), 241u);
  must(*store, {Delete{"/o/t/3/3/by/other", 1}});
  must(*store, remove);
  EXPECT_TRUE(store->scan("/o")->empty());
}

// Directories come and go below the feet of those who write into them.
TEST_P(Conformance, WritersInOneDirectoryDoNotDisturbEachOther) {
  constexpr int kThreads = 4, kEach = 80;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto store = open();
      const std::string path = "/p/q/r/s/t/" + std::to_string(t);
      for (int i = 0; i < kEach; ++i) {
        const auto made = store->transact({CheckVersion{path, 0}, Create{path, ""}});
        const auto gone = store->transact({Delete{path, 1}});
        if (!made.ok() || !gone.ok()) {
          ADD_FAILURE() << (made.ok() ? gone : made).error().message;
          ++failures;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_P(Conformance, ReadsManyListsAndScans) {
  auto store = open();
  must(*store, {Create{"/d/b", "B"}, Create{"/d/a", "A"}, Create{"/d/a/x/1", "1"},
                Create{"/d/c/y", "Y"}, Create{"/d-not", "N"}, Create{"/d/a-z", "Z"}});
  auto many = store->get_many({"/d/b", "/none", "/d/a", "/d/b"});
  ASSERT_TRUE(many.ok());
  ASSERT_EQ(many->size(), 4u);
  EXPECT_EQ((*many)[0]->value, "B");
  EXPECT_FALSE((*many)[1]);
  EXPECT_EQ((*many)[2]->value, "A");
  EXPECT_EQ((*many)[3]->value, "B");
  EXPECT_TRUE(store->get_many({})->empty());

  EXPECT_THAT(*store->list("/d"), ElementsAre("a", "a-z", "b", "c"));
  EXPECT_THAT(*store->list("/d/c"), ElementsAre("y"));
  EXPECT_TRUE(store->list("/d/b")->empty());
  EXPECT_TRUE(store->list("/nowhere")->empty());
  EXPECT_THAT(*store->names("/d"), ElementsAre("a", "a-z", "b", "c"));
  EXPECT_TRUE(store->names("/nowhere")->empty());

  std::vector<std::string> paths;
  const auto scanned = store->scan("/d");
  for (const auto& [path, record] : *scanned) paths.push_back(path + "=" + record.value);
  EXPECT_THAT(paths, ElementsAre("/d/a=A", "/d/a-z=Z", "/d/a/x/1=1", "/d/b=B", "/d/c/y=Y"));
}

TEST_P(Conformance, ValuesAreBytesUpToTheLimit) {
  auto store = open();
  const std::string binary("\0\xff\n\0'", 5);
  must(*store, {Create{"/bin", binary}, Create{"/empty", ""},
                Create{"/big", std::string(kMaxValueBytes, 'x')}});
  EXPECT_EQ(value_of(*store, "/bin"), binary);
  EXPECT_EQ(value_of(*store, "/empty"), "");
  EXPECT_EQ(value_of(*store, "/big").size(), kMaxValueBytes);
  auto done = store->transact({Create{"/bigger", std::string(kMaxValueBytes + 1, 'x')}});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::invalid);
  EXPECT_THAT(done.error().message, HasSubstr("/bigger"));
}

TEST_P(Conformance, RefusesImpossiblePaths) {
  auto store = open();
  for (const std::string& path :
       {std::string(""), std::string("/"), std::string("a"), std::string("a/b"), std::string("/a/"),
        std::string("//a"), std::string("/a//b"), std::string("/a/./b"), std::string("/a/.."),
        std::string("/a\nb"), std::string("/a\0b", 4), std::string("/\xc3\xa9"),
        "/" + std::string(kMaxPathBytes, 'x')}) {
    for (const Step& step : {Step{Create{path, ""}}, Step{CheckVersion{path, 0}},
                             Step{Set{path, "", 1}}, Step{Delete{path, 1}}}) {
      auto done = store->transact({step});
      ASSERT_FALSE(done.ok()) << path;
      EXPECT_EQ(done.error().code, ErrorCode::invalid) << path;
    }
    auto got = store->get(path);
    ASSERT_FALSE(got.ok()) << path;
    EXPECT_EQ(got.error().code, ErrorCode::invalid) << path;
    EXPECT_FALSE(store->put_ephemeral(path, "").ok()) << path;
  }
}

TEST_P(Conformance, SyncShowsWhatOthersCommitted) {
  auto writer = open();
  auto reader = open();
  for (int i = 1; i <= 50; ++i) {
    const Revision r = *writer->transact(
        {i == 1 ? Step{Create{"/s", "1"}} : Step{Set{"/s", std::to_string(i), i - 1}}});
    EXPECT_GE(*reader->sync(), r);
    EXPECT_EQ(value_of(*reader, "/s"), std::to_string(i));
  }
}

TEST_P(Conformance, WatchReportsTheStateNowAndLaterStates) {
  auto store = open();
  auto other = open();
  must(*other, {Create{"/there", "old"}});
  Seen there, absent;
  auto w1 = store->watch("/there", there.callback());
  auto w2 = store->watch("/absent", absent.callback());
  EXPECT_TRUE(there.wait_for_value("old"));
  EXPECT_TRUE(absent.wait_for_absent());

  must(*other, {Set{"/there", "new", 1}, Create{"/absent", "here"}});
  EXPECT_TRUE(there.wait_for_value("new"));
  EXPECT_TRUE(absent.wait_for_value("here"));
  EXPECT_EQ(there.events().back().record->version, 2);
  EXPECT_EQ(there.events().back().path, "/there");

  must(*store, {Delete{"/there", 2}});
  EXPECT_TRUE(there.wait_for_absent());
  must(*store, {Create{"/there", "again"}});
  EXPECT_TRUE(there.wait_for_value("again"));
}

TEST_P(Conformance, WatchEndsAtTheLatestAndNeverGoesBack) {
  auto store = open();
  auto other = open();
  Seen seen;
  auto watch = store->watch("/n", seen.callback());
  must(*other, {Create{"/n", "0"}});
  for (int i = 1; i <= 300; ++i) must(*other, {Set{"/n", std::to_string(i), i}});
  ASSERT_TRUE(seen.wait_for_value("300"));
  Revision last{};
  int64_t last_version = 0;
  for (const WatchEvent& event : seen.events()) {
    EXPECT_GE(event.revision, last);
    last = event.revision;
    if (!event.record) continue;
    EXPECT_GE(event.record->version, last_version);
    EXPECT_LE(event.record->revision, event.revision);
    last_version = event.record->version;
  }
}

TEST_P(Conformance, SeveralWatchesOnOnePath) {
  auto store = open();
  Seen first, second;
  auto w1 = store->watch("/p", first.callback());
  auto w2 = store->watch("/p", second.callback());
  must(*store, {Create{"/p", "v"}});
  EXPECT_TRUE(first.wait_for_value("v"));
  EXPECT_TRUE(second.wait_for_value("v"));
  w1.reset();
  must(*store, {Set{"/p", "w", 1}});
  EXPECT_TRUE(second.wait_for_value("w"));
  EXPECT_EQ(first.events().back().record->value, "v");
}

TEST_P(Conformance, AnEndedWatchIsSilent) {
  auto store = open();
  auto other = open();
  must(*other, {Create{"/q", "0"}});
  std::atomic<bool> running{true};
  std::thread writer([&] {
    for (int64_t version = 1; running; ++version) {
      if (!other->transact({Set{"/q", "v", version}}).ok()) break;
    }
  });
  for (int i = 0; i < 200; ++i) {
    // The callback touches what is gone after the watch: sanitizers see a late call.
    auto alive = std::make_unique<std::atomic<bool>>(true);
    std::atomic<int> late{0};
    auto watch = store->watch("/q", [flag = alive.get(), &late](const WatchEvent&) {
      if (!flag->load()) ++late;
    });
    if (i % 3 != 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    watch.reset();
    alive->store(false);
    EXPECT_EQ(late, 0);
  }
  running = false;
  writer.join();
}

TEST_P(Conformance, AWatchMayEndItself) {
  auto store = open();
  std::mutex mutex;
  std::unique_ptr<Watch> watch;
  std::atomic<int> calls{0};
  {
    std::lock_guard lock(mutex);
    watch = store->watch("/self", [&](const WatchEvent&) {
      std::lock_guard inner(mutex);
      ++calls;
      watch.reset();
    });
  }
  EXPECT_TRUE(eventually([&] { return calls == 1; }));
  must(*store, {Create{"/self", ""}});
  Seen after;
  auto other = store->watch("/self", after.callback());
  EXPECT_TRUE(after.wait_for_value(""));
  EXPECT_EQ(calls, 1);
}

TEST_P(Conformance, ManyWatches) {
  constexpr int kCount = 3000;
  auto store = open();
  auto other = open();
  std::vector<Step> steps;
  for (int i = 0; i < kCount; i += 2) steps.push_back(Create{"/m/" + std::to_string(i), "x"});
  must(*other, steps);
  // The same state may be reported twice.
  std::vector<std::atomic<int>> state(kCount);
  std::vector<std::unique_ptr<Watch>> watches;
  for (size_t i = 0; i < kCount; ++i) {
    watches.push_back(store->watch("/m/" + std::to_string(i), [&state, i](const WatchEvent& event) {
      state[i] = event.record ? 1 : -1;
    }));
  }
  const auto count = [&](int what) { return std::count(state.begin(), state.end(), what); };
  EXPECT_TRUE(eventually([&] { return count(1) == kCount / 2 && count(-1) == kCount / 2; }));
  steps.clear();
  for (int i = 1; i < kCount; i += 2) steps.push_back(Create{"/m/" + std::to_string(i), "x"});
  must(*other, steps);
  EXPECT_TRUE(eventually([&] { return count(1) == kCount; }));
}

TEST_P(Conformance, SettledStatesAreConsistent) {
  auto store = open();
  auto other = open();
  must(*other, {Create{"/c/a", "0"}, Create{"/c/b", "0"}});
  // Touched on the store's thread only, but for the atomics.
  std::string a, b;
  std::atomic<int> settled{0}, torn{0};
  std::atomic<int64_t> last_revision{0};
  auto wa = store->watch("/c/a", [&](const WatchEvent& event) { a = event.record->value; });
  auto wb = store->watch("/c/b", [&](const WatchEvent& event) { b = event.record->value; });
  auto ws = store->watch_settled([&](Revision revision) {
    ++settled;
    if (a != b) ++torn;
    if (revision.value < last_revision) ++torn;
    last_revision = revision.value;
  });
  Revision last;
  for (int i = 1; i <= 300; ++i) {
    const auto v = std::to_string(i);
    last = *other->transact({Set{"/c/a", v, i}, Set{"/c/b", v, i}});
  }
  EXPECT_TRUE(eventually([&] { return last_revision >= last.value; }));
  EXPECT_GT(settled, 0);
  EXPECT_EQ(torn, 0);
}

// A process that is stopped in the middle of its work keeps nobody from reading, nor (where the store
// is not in the hands of its clients: see the embedded store's own test) from writing.
TEST_P(Conformance, AStoppedWriterKeepsNobodyFromReading) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = provider_->open();
    if (!store.ok() || !(*store)->transact({Create{"/n", "0"}}).ok()) _exit(1);
    [[maybe_unused]] auto n = write(ready[1], "y", 1);
    for (int64_t version = 1;; ++version) {
      if (!(*store)->transact({Set{"/n", "x", version}}).ok()) _exit(1);
    }
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  close(ready[0]);
  close(ready[1]);
  auto store = open();
  const bool zookeeper = store->kind() == "zookeeper";
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(kill(child, SIGSTOP), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status)) << "the writer failed";
    EXPECT_EQ(value_of(*store, "/n").size(), 1u);
    EXPECT_TRUE(store->sync().ok());
    if (zookeeper) must(*store, {Create{"/other/" + std::to_string(round), ""}});
    ASSERT_EQ(kill(child, SIGCONT), 0);
  }
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

TEST_P(Conformance, SettledIsCalledThoughNothingIsWatched) {
  auto store = open();
  std::atomic<int> settled{0};
  auto watch = store->watch_settled([&](Revision) { ++settled; });
  EXPECT_TRUE(eventually([&] { return settled > 0; }));
}

TEST_P(Conformance, EphemeralRecordsGoWithTheirOwner) {
  auto watcher = open();
  Seen seen;
  auto watch = watcher->watch("/live/h1", seen.callback());
  auto owner = open();
  ASSERT_TRUE(owner->put_ephemeral("/live/h1", "one").ok());
  EXPECT_TRUE(seen.wait_for_value("one"));
  ASSERT_TRUE(owner->put_ephemeral("/live/h1", "two").ok());
  EXPECT_TRUE(seen.wait_for_value("two"));
  owner.reset();
  EXPECT_TRUE(seen.wait_for_absent());
}

TEST_P(Conformance, AnEphemeralRecordCanBeTakenOver) {
  auto first = open();
  auto second = open();
  ASSERT_TRUE(first->put_ephemeral("/live/h", "first").ok());
  ASSERT_TRUE(second->put_ephemeral("/live/h", "second").ok());
  first.reset();
  EXPECT_EQ(value_of(*second, "/live/h"), "second");
  auto third = open();
  second.reset();
  EXPECT_TRUE(eventually([&] { return !read(*third, "/live/h"); }));
}

TEST_P(Conformance, EphemeralRecordsOfAKilledProcessGo) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = provider_->open();
    const bool put = store.ok() && (*store)->put_ephemeral("/live/dead", "soon").ok();
    [[maybe_unused]] auto n = write(ready[1], put ? "y" : "n", 1);
    while (true) pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  close(ready[0]);
  close(ready[1]);
  auto store = open();
  EXPECT_EQ(value_of(*store, "/live/dead"), "soon");
  Seen seen;
  auto watch = store->watch("/live/dead", seen.callback());
  ASSERT_TRUE(seen.wait_for_value("soon"));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(seen.wait_for_absent());
}

TEST_P(Conformance, ConcurrentWritersLoseNothing) {
  constexpr int kThreads = 4, kEach = 60;
  auto main = open();
  must(*main, {Create{"/count", "0"}});
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      auto store = open();
      for (int done = 0; done < kEach;) {
        auto record = read(*store, "/count");
        auto set = store->transact(
            {Set{"/count", std::to_string(std::stoi(record->value) + 1), record->version}});
        if (set.ok()) {
          ++done;
        } else if (set.error().code != ErrorCode::conflict) {
          ++failures;
          return;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(value_of(*main, "/count"), std::to_string(kThreads * kEach));
}

// Whole transactions or nothing, whenever the writer is killed; others see it all soon, also when
// it died before it could tell them.
TEST_P(Conformance, AWriterKilledAtAnyMomentLeavesAWholeStore) {
  const auto seed = static_cast<unsigned>(getpid());
  std::printf("seed %u\n", seed);
  std::fflush(stdout);  // or each child prints it again
  std::mt19937 random(seed);
  {
    auto store = open();
    must(*store, {Create{"/k/a", "0"}, Create{"/k/b", "0"}});
  }
  for (int round = 0; round < 25; ++round) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = provider_->open();
      if (!store.ok()) _exit(1);
      auto a = (*store)->get("/k/a"), b = (*store)->get("/k/b");
      if (!a.ok() || !b.ok() || !*a || !*b) _exit(1);
      int64_t va = (*a)->version, vb = (*b)->version;
      int n = std::stoi((*a)->value);
      [[maybe_unused]] auto w = write(ready[1], "y", 1);
      while (true) {
        const auto next = std::to_string(++n);
        if (!(*store)->transact({Set{"/k/a", next, va++}, Set{"/k/b", next, vb++}}).ok()) _exit(1);
      }
    }
    close(ready[1]);
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1) << "the writer could not start in round " << round;
    close(ready[0]);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed in round " << round;

    auto store = open();
    auto pair = store->get_many({"/k/a", "/k/b"});
    ASSERT_TRUE(pair.ok()) << pair.error().message;
    EXPECT_EQ((*pair)[0]->value, (*pair)[1]->value);
    EXPECT_EQ((*pair)[0]->version, (*pair)[1]->version);
    Seen seen;
    auto watch = store->watch("/k/a", seen.callback());
    EXPECT_TRUE(seen.wait_for_value((*pair)[0]->value));
    const auto version = (*pair)[0]->version;
    must(*store,
         {Set{"/k/a", (*pair)[0]->value, version}, Set{"/k/b", (*pair)[0]->value, version}});
  }
}

// A watcher in another process hears of a commit whose writer died at once after it.
TEST_P(Conformance, CommitsOfADeadWriterAreReported) {
  int go[2];
  ASSERT_EQ(pipe(go), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = provider_->open();
    char c = 0;
    if (!store.ok() || ::read(go[0], &c, 1) != 1) _exit(1);
    for (int i = 0; i < 20; ++i) {
      if (!(*store)->transact({Create{"/d/" + std::to_string(i), "x"}}).ok()) _exit(1);
    }
    raise(SIGKILL);
  }
  auto store = open();
  std::atomic<int> present{0};
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 20; ++i) {
    watches.push_back(store->watch("/d/" + std::to_string(i), [&](const WatchEvent& event) {
      if (event.record) ++present;
    }));
  }
  ASSERT_EQ(write(go[1], "g", 1), 1);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  close(go[0]);
  close(go[1]);
  EXPECT_TRUE(eventually([&] { return present == 20; }));
}

TEST_P(Conformance, ReportsItsKindAndHealth) {
  auto store = open();
  EXPECT_EQ(store->kind(), GetParam().name);
  EXPECT_TRUE(eventually([&] { return store->health() == Health::up; }));
}

TEST(OpenStore, RefusesAddressesItDoesNotKnow) {
  const struct {
    const char* address;
    ErrorCode code;
    const char* says;
  } cases[] = {
      {"", ErrorCode::invalid, "embedded:"},
      {"/var/lib/plexus", ErrorCode::invalid, "embedded:"},
      {"embeded:/x", ErrorCode::invalid, "embedded:"},
      {"embedded:", ErrorCode::invalid, "directory"},
      {"zookeeper:", ErrorCode::invalid, "HOST:PORT"},
      {"zookeeper:h1", ErrorCode::invalid, "'h1' is not HOST:PORT"},
      {"zookeeper:h1:2181,h2", ErrorCode::invalid, "'h2' is not HOST:PORT"},
      {"zookeeper:h1:99999", ErrorCode::invalid, "HOST:PORT"},
      {"zookeeper:h1:2181/", ErrorCode::invalid, "chroot"},
  };
  for (const auto& c : cases) {
    auto opened = open_store(c.address);
    ASSERT_FALSE(opened.ok()) << c.address;
    EXPECT_EQ(opened.error().code, c.code) << c.address;
    EXPECT_THAT(opened.error().message, HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace plexus::store
