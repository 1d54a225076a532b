// SPDX-License-Identifier: Apache-2.0
// What is particular to the embedded store: its files, full disks, damage, stopped processes.
#include "store/embedded/embedded_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>

#include "store/test_directory.h"

namespace plexus::store {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::unique_ptr<Store> must_open(const std::string& directory,
                                 const EmbeddedOptions& options = {}) {
  auto opened = EmbeddedStore::open(directory, options);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? std::move(*opened) : nullptr;
}

/// Changes the database file behind the store's back.
void with_sqlite(const std::string& file, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_close(db);
}

TEST(EmbeddedStore, MakesItsDirectoryAndKeepsWhatItHolds) {
  TestDirectory dir;
  const std::string path = dir.path("a/store");
  ASSERT_TRUE(must_open(path)->transact({Create{"/k", "kept"}}).ok());
  auto store = must_open(path);
  EXPECT_EQ((*store->get("/k"))->value, "kept");
}

TEST(EmbeddedStore, KnowsFileSystemsThatCannotCarryIt) {
  const struct {
    uint64_t type;
    const char* name;
  } unfit[] = {{0x6969, "NFS"}, {0x01021997, "9p"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"}};
  for (const auto& c : unfit) EXPECT_EQ(unfit_file_system(c.type), c.name);
  // ext4, xfs, btrfs, tmpfs, overlayfs
  for (uint64_t type : {0xef53ull, 0x58465342ull, 0x9123683eull, 0x01021994ull, 0x794c7630ull}) {
    EXPECT_EQ(unfit_file_system(type), std::nullopt);
  }
}

TEST(EmbeddedStore, RefusesANewerFormatByName) {
  TestDirectory dir;
  must_open(dir.path("s"));
  with_sqlite(dir.path("s/store.db"), "PRAGMA user_version=7");
  auto opened = EmbeddedStore::open(dir.path("s"));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::unsupported);
  EXPECT_THAT(opened.error().message, HasSubstr("format 7"));
}

TEST(EmbeddedStore, DoesNotMakeAStoreAtAMistypedPlace) {
  TestDirectory dir;
  auto opened = EmbeddedStore::open(dir.path("no/such/store"));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::not_found);
  EXPECT_THAT(opened.error().message, HasSubstr("there is no directory " + dir.path("no")));
  EXPECT_FALSE(std::filesystem::exists(dir.path("no")));
  must_open(dir.path("plexus/store"));
}

TEST(EmbeddedStore, RefusesADatabaseOfSomethingElse) {
  TestDirectory dir;
  std::filesystem::create_directory(dir.path("s"));
  with_sqlite(dir.path("s/store.db"), "CREATE TABLE cookies(a)");
  auto opened = EmbeddedStore::open(dir.path("s"));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::invalid);
  EXPECT_THAT(opened.error().message, HasSubstr("something else"));
}

TEST(EmbeddedStore, SaysThatAFileIsDamagedAndWhatToDo) {
  TestDirectory dir;
  must_open(dir.path("s"));
  std::ofstream(dir.path("s/store.db"), std::ios::trunc) << "this was a database once, honestly";
  auto opened = EmbeddedStore::open(dir.path("s"));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::internal);
  EXPECT_THAT(opened.error().message, HasSubstr(dir.path("s/store.db")));
  EXPECT_THAT(opened.error().message, HasSubstr("damaged"));
}

TEST(EmbeddedStore, DamageInTheMiddleIsReportedWhenItIsRead) {
  TestDirectory dir;
  {
    auto store = must_open(dir.path("s"));
    std::vector<Step> steps;
    for (int i = 0; i < 2000; ++i)
      steps.push_back(Create{"/r/" + std::to_string(i), std::string(300, 'x')});
    ASSERT_TRUE(store->transact(steps).ok());
  }
  const std::string file = dir.path("s/store.db");
  const auto size = std::filesystem::file_size(file);
  {
    std::fstream damage(file, std::ios::in | std::ios::out | std::ios::binary);
    const std::string noise(4096, '\x5a');
    // Not the first pages: the store opens.
    for (uint64_t at = 20 * 4096; at + 4096 < size; at += 2 * 4096) {
      damage.seekp(static_cast<std::streamoff>(at));
      damage << noise;
    }
  }
  auto store = must_open(dir.path("s"));
  ASSERT_TRUE(store);
  auto scanned = store->scan("/r");
  ASSERT_FALSE(scanned.ok());
  EXPECT_EQ(scanned.error().code, ErrorCode::internal);
  EXPECT_THAT(scanned.error().message, HasSubstr("damaged"));
}

TEST(EmbeddedStore, RefusesADirectoryItMayNotWrite) {
  TestDirectory dir;
  std::ofstream(dir.path("file")) << "x";
  auto opened = EmbeddedStore::open(dir.path("file/store"));
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, HasSubstr(dir.path("file/store")));
}

// A writer that is stopped amid a transaction blocks the others, who say who it is; they read on,
// and go on when it does.
TEST(EmbeddedStore, NamesAStoppedWriter) {
  TestDirectory dir;
  const std::string path = dir.path("s");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = EmbeddedStore::open(path);
    if (!store.ok()) _exit(1);
    // Long transactions, so that a stop hits one.
    std::vector<Step> steps{Create{"/w", "x"}};
    for (int i = 0; i < 50000; ++i) steps.push_back(CheckVersion{"/none", 0});
    steps.push_back(Delete{"/w", 1});
    while (true) {
      if (!(*store)->transact(steps).ok()) _exit(1);
    }
  }
  auto store = must_open(path, EmbeddedOptions{.patience = milliseconds(150)});
  Result<Revision> done = Revision{};
  for (int tries = 0; tries < 100 && done.ok(); ++tries) {
    usleep(20000);
    ASSERT_EQ(kill(child, SIGSTOP), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status)) << "the writer failed";
    const std::string key = "/try/" + std::to_string(tries);
    const auto start = std::chrono::steady_clock::now();
    done = store->transact({Create{key, ""}});
    if (!done.ok()) {
      EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(150));
      EXPECT_EQ(done.error().code, ErrorCode::unavailable);
      EXPECT_THAT(done.error().message, HasSubstr("held by pid " + std::to_string(child)));
      EXPECT_THAT(done.error().message, HasSubstr("stopped"));
      EXPECT_TRUE(store->get(key).ok());
      EXPECT_TRUE(store->sync().ok());
      auto second = EmbeddedStore::open(path, EmbeddedOptions{.patience = milliseconds(150)});
      EXPECT_TRUE(second.ok()) << second.error().message;
    }
    ASSERT_EQ(kill(child, SIGCONT), 0);
  }
  EXPECT_FALSE(done.ok()) << "no stop hit a transaction";
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(store->transact({Create{"/after", ""}}).ok());
}

TEST(EmbeddedStore, AWatcherBehindTheLogReadsEverythingAgain) {
  TestDirectory dir;
  auto writer = must_open(dir.path("s"), EmbeddedOptions{.log_revisions = 10});
  ASSERT_TRUE(writer->transact({Create{"/first", "old"}, Create{"/busy", "x"}}).ok());
  auto reader = must_open(dir.path("s"));
  std::mutex mutex;
  std::condition_variable changed;
  bool let_go = false;
  std::string first;
  std::atomic<int> reports{0};
  auto watch = reader->watch("/first", [&](const WatchEvent& event) {
    ++reports;
    std::unique_lock lock(mutex);
    first = event.record->value;
    changed.notify_all();
    // Holds the reader's thread while the log moves on.
    changed.wait(lock, [&] { return let_go; });
  });
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return first == "old"; }));
  }
  ASSERT_TRUE(writer->transact({Set{"/first", "new", 1}}).ok());
  for (int i = 1; i < 200; ++i) ASSERT_TRUE(writer->transact({Set{"/busy", "x", i}}).ok());
  {
    std::unique_lock lock(mutex);
    let_go = true;
    changed.notify_all();
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return first == "new"; }));
  }
  watch.reset();
}

TEST(EmbeddedStore, NoticesThatItsFilesAreGone) {
  TestDirectory dir;
  auto store = must_open(dir.path("s"), EmbeddedOptions{.check_interval = milliseconds(20)});
  EXPECT_EQ(store->health(), Health::up);
  std::filesystem::remove_all(dir.path("s"));
  for (int i = 0; i < 500 && store->health() == Health::up; ++i) usleep(10000);
  EXPECT_EQ(store->health(), Health::down);
}

TEST(EmbeddedStore, RefusesToWorkOnADatabaseThatWasTakenAway) {
  TestDirectory dir;
  auto store = must_open(dir.path("s"));
  ASSERT_TRUE(store->transact({Create{"/k", "1"}}).ok());
  std::filesystem::rename(dir.path("s"), dir.path("aside"));
  const auto refuses = [&] {
    const Error errors[] = {store->get("/k").error(),
                            store->get_many({"/k"}).error(),
                            store->list("/a").error(),
                            store->scan("/a").error(),
                            store->sync().error(),
                            store->transact({Set{"/k", "2", 1}}).error(),
                            store->transact({CheckVersion{"/k", 1}}).error(),
                            store->put_ephemeral("/e", "1").error()};
    for (const Error& e : errors) {
      EXPECT_THAT(e.message, HasSubstr("removed or replaced under us"));
      EXPECT_EQ(e.code, ErrorCode::unavailable);
    }
  };
  refuses();
  auto other = must_open(dir.path("s"));
  refuses();
  EXPECT_FALSE(*other->get("/k"));
  other.reset();
  // Back again it is what it was.
  std::filesystem::remove_all(dir.path("s"));
  std::filesystem::rename(dir.path("aside"), dir.path("s"));
  EXPECT_EQ((*store->get("/k"))->value, "1");
  EXPECT_TRUE(store->transact({Set{"/k", "2", 1}}).ok());
}

TEST(EmbeddedStore, OthersThanOwnerAndGroupCannotReadIt) {
  TestDirectory dir;
  const mode_t before = umask(022);
  const auto mode = [&](const std::string& path) {
    struct stat st {};
    EXPECT_EQ(stat(dir.path(path).c_str(), &st), 0) << path;
    return st.st_mode & 0777;
  };
  const char* files[] = {"s/store.db", "s/store.db-wal", "s/store.db-shm"};
  auto store = must_open(dir.path("s"));
  EXPECT_TRUE(store->transact({Create{"/k", "1"}}).ok());
  EXPECT_EQ(mode("s"), 0750u);
  for (const char* file : files) EXPECT_EQ(mode(file), 0640u) << file;
  // As earlier programs made them.
  for (const char* file : files) ASSERT_EQ(chmod(dir.path(file).c_str(), 0664), 0);
  auto second = must_open(dir.path("s"));
  for (const char* file : files) EXPECT_EQ(mode(file), 0660u) << file;
  EXPECT_TRUE(second->transact({Set{"/k", "2", 1}}).ok());
  umask(before);
}

TEST(EmbeddedStore, DoesNotMakeAStoreThatItShallNotMake) {
  TestDirectory dir;
  EmbeddedOptions options;
  options.create = false;
  const auto none = EmbeddedStore::open(dir.path("s"), options);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::not_found);
  EXPECT_FALSE(std::filesystem::exists(dir.path("s")));
  must_open(dir.path("s"));
  EXPECT_TRUE(EmbeddedStore::open(dir.path("s"), options).ok());
}

/// Runs in a child with its own mount namespace and a file system of 1 MiB; the reason of the first
/// failure, or "" when all went well.
std::string on_a_full_disk(const std::string& mount_point) {
  const std::string path = mount_point + "/s";
  auto opened = EmbeddedStore::open(path);
  if (!opened.ok()) return "open: " + opened.error().message;
  auto store = std::move(*opened);
  if (!store->transact({Create{"/safe", "1"}}).ok()) return "the first write";
  {
    std::ofstream ballast(mount_point + "/ballast");
    const std::string block(4096, 'x');
    while (ballast.write(block.data(), 4096).flush()) {
    }
  }
  Result<Revision> done = Revision{};
  int written = 0;
  for (; written < 100 && done.ok(); ++written) {
    done = store->transact({Create{"/big/" + std::to_string(written), std::string(20000, 'y')}});
  }
  if (done.ok()) return "100 writes of 20 KB passed on a full disk";
  if (done.error().code != ErrorCode::no_space) return "not no_space: " + done.error().message;
  if (done.error().message.find(path) == std::string::npos) {
    return "does not name the path: " + done.error().message;
  }
  auto safe = store->get("/safe");
  if (!safe.ok() || !*safe || (*safe)->value != "1") return "reading while full";
  auto failed = store->get("/big/" + std::to_string(written - 1));
  if (!failed.ok() || *failed) return "half of a failed write is there";
  auto second = EmbeddedStore::open(mount_point + "/t");
  if (second.ok()) return "a new store was made on a full disk";
  if (second.error().code != ErrorCode::no_space) return "open: " + second.error().message;

  unlink((mount_point + "/ballast").c_str());
  auto again = store->transact({Create{"/big/again", std::string(20000, 'y')}});
  if (!again.ok()) return "after space was freed: " + again.error().message;
  store.reset();
  auto reopened = EmbeddedStore::open(path);
  if (!reopened.ok()) return "opening again: " + reopened.error().message;
  auto kept = (*reopened)->get("/big/again");
  if (!kept.ok() || !*kept || (*kept)->value.size() != 20000) return "lost after opening again";
  return "";
}

TEST(EmbeddedStore, SaysWhenTheDiskIsFullAndGoesOnWhenItIsNot) {
  TestDirectory dir;
  int answer[2];
  ASSERT_EQ(pipe(answer), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::string text;
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("plexus-store-test", dir.root().c_str(), "tmpfs", 0, "size=1m") != 0) {
      text = std::string("SKIP ") + std::strerror(errno);
    } else {
      text = on_a_full_disk(dir.root());
    }
    [[maybe_unused]] auto n = write(answer[1], text.data(), text.size());
    _exit(0);
  }
  close(answer[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(answer[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(answer[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "the child crashed";
  if (text.starts_with("SKIP")) GTEST_SKIP() << "no file system of our own without root: " << text;
  EXPECT_EQ(text, "");
}

}  // namespace
}  // namespace plexus::store
