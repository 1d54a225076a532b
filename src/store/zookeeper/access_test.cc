// SPDX-License-Identifier: Apache-2.0
// Who may do what in a ZooKeeper store with identities: a host writes its own records and nothing
// else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/identity.h"
#include "store/store.h"
#include "store/test_zookeeper.h"
#include "store/zookeeper/zookeeper_store.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kSecret = "a-secret-of-forty-characters-for-the-api";
const HostId kOne{Uuid::derived("host", "one")}, kTwo{Uuid::derived("host", "two")};

class ZookeeperAccess : public ::testing::Test {
 protected:
  ZookeeperAccess() : place_(test_zookeeper() + "/t/" + Uuid::random().str()) {
    api_ = open("api:" + kSecret);
    one_ = open(*host_identity("api:" + kSecret, kOne));
    two_ = open(*host_identity("api:" + kSecret, kTwo));
    must(*api_,
         {Create{"/p1/o/port/aa/p", "object"},
          Create{"/p1/o/token/bb/t", "secret", Access{.secret = true}},
          Create{"/p1/h/one", "state", Access{.hosts = {kOne}}},
          Create{"/p1/h/two", "state", Access{.hosts = {kTwo}}}, Create{"/p1/h/one/p/0", "wanted"},
          Create{"/p1/b/cc/x", "binding", Access{.hosts = {kOne, kTwo}}},
          Create{"/p1/b/cc/y", "binding", Access{.hosts = {kTwo}}},
          Create{"/p1/n/dd/z", "neighbours", Access{.any_host = true}},
          Append{"/p1/log/0", "entry", Access{.secret = true}}});
  }
  Result<std::unique_ptr<Store>> try_open(const std::string& identity) {
    ZookeeperOptions options;
    options.patience = std::chrono::milliseconds(5000);
    return ZookeeperStore::open(place_, OpenOptions{identity}, options);
  }
  std::unique_ptr<Store> open(const std::string& identity) {
    auto opened = try_open(identity);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? std::move(*opened) : nullptr;
  }
  static void must(Store& store, const std::vector<Step>& steps) {
    const auto done = store.transact(steps);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  static void denied(Store& store, const Step& step) {
    const std::string path = std::visit([](const auto& s) { return s.path; }, step);
    const auto done = store.transact({step});
    ASSERT_FALSE(done.ok()) << path;
    EXPECT_EQ(done.error().code, ErrorCode::denied) << done.error().message;
    EXPECT_THAT(done.error().message, HasSubstr(path));
    EXPECT_THAT(done.error().message, Not(HasSubstr(kSecret)));
  }
  static std::string value_of(Store& store, const std::string& path) {
    const auto record = store.get(path);
    if (!record.ok()) return std::string(to_string(record.error().code));
    return *record ? (*record)->value : "(absent)";
  }

  const std::string place_;
  std::unique_ptr<Store> api_, one_, two_;
};

TEST_F(ZookeeperAccess, AHostCannotTouchObjectsNorOtherHostsRecords) {
  for (const Step& step : {
           Step{Set{"/p1/o/port/aa/p", "mine", 1}},
           Step{Delete{"/p1/o/port/aa/p", 1}},
           Step{Create{"/p1/o/port/aa/q", "mine"}},
           Step{Create{"/p1/o/port/aa/p/index/0", "mine"}},
           Step{Create{"/p1/o/new/aa/q", "mine"}},
           Step{Create{"/p1/x", "mine"}},
           Step{Create{"/q1", "mine"}},
           Step{Set{"/p1/h/two", "mine", 1}},
           Step{Delete{"/p1/h/two", 1}},
           Step{Create{"/p1/h/two/live", "mine"}},
           Step{Create{"/p1/h/three", "mine"}},
           Step{Set{"/p1/h/one/p/0", "mine", 1}},
           Step{Create{"/p1/h/one/p/1", "mine"}},
           Step{Set{"/p1/b/cc/y", "mine", 1}},
           Step{Delete{"/p1/b/cc/x", 1}},
           Step{Create{"/p1/b/cc/q", "mine"}},
           Step{Set{"/p1/o/token/bb/t", "mine", 1}},
           Step{CheckVersion{"/p1/o/token/bb/t", 1}},
           Step{Append{"/p1/log/0", "mine"}},
           Step{Delete{sequence_path("/p1/log/0", 0), 1}},
       }) {
    denied(*one_, step);
  }
  const auto ephemeral = one_->put_ephemeral("/p1/h/two/live", "mine");
  ASSERT_FALSE(ephemeral.ok());
  EXPECT_EQ(ephemeral.error().code, ErrorCode::denied);
  EXPECT_EQ(value_of(*api_, "/p1/o/port/aa/p"), "object");
  EXPECT_EQ(value_of(*api_, "/p1/h/two"), "state");
  EXPECT_EQ(value_of(*api_, "/p1/b/cc/y"), "binding");
}

TEST_F(ZookeeperAccess, AHostReadsAllButSecrets) {
  for (const char* path : {"/p1/o/port/aa/p", "/p1/h/two", "/p1/h/one/p/0", "/p1/b/cc/y"}) {
    EXPECT_NE(value_of(*one_, path), "denied") << path;
  }
  for (const std::string& path : {std::string("/p1/o/token/bb/t"), sequence_path("/p1/log/0", 0)}) {
    const auto got = one_->get(path);
    ASSERT_FALSE(got.ok()) << path;
    EXPECT_EQ(got.error().code, ErrorCode::denied);
    EXPECT_THAT(got.error().message, HasSubstr(path));
  }
}

TEST_F(ZookeeperAccess, AHostWritesWhatIsItsOwn) {
  must(*one_,
       {Set{"/p1/h/one", "new", 1}, Set{"/p1/b/cc/x", "here", 1}, Set{"/p1/n/dd/z", "learned", 1},
        CheckVersion{"/p1/o/port/aa/p", 1}, CheckVersion{"/p1/o/port/aa/none", 0}});
  must(*two_, {Set{"/p1/b/cc/x", "there", 2}, Set{"/p1/n/dd/z", "learned", 2}});
  ASSERT_TRUE(one_->put_ephemeral("/p1/h/one/live", "alive").ok());
  EXPECT_EQ(value_of(*api_, "/p1/h/one/live"), "alive");
  EXPECT_EQ(value_of(*two_, "/p1/h/one/live"), "alive");
  const auto stale = one_->transact({Set{"/p1/b/cc/x", "here", 2}});
  ASSERT_FALSE(stale.ok());
  EXPECT_EQ(stale.error().code, ErrorCode::conflict);
  EXPECT_TRUE(one_->sync().ok());
}

TEST_F(ZookeeperAccess, AHostAnswersABarrierAndTheApiClearsIt) {
  must(*api_, {Create{"/p1/w/1", "", Access{.any_host = true}}});
  must(*one_, {Create{"/p1/w/1/one", "", Access{.any_host = true}}});
  must(*two_, {Create{"/p1/w/1/two", "", Access{.any_host = true}}});
  EXPECT_EQ(api_->list("/p1/w/1")->size(), 2u);
  must(*api_, {Delete{"/p1/w/1/one", 1}, Delete{"/p1/w/1/two", 1}, Delete{"/p1/w/1", 1}});
}

TEST_F(ZookeeperAccess, TheApiChangesWhoMayWrite) {
  must(*one_, {Set{"/p1/b/cc/x", "a", 1}});
  must(*one_, {Set{"/p1/b/cc/x", "b", 2}});
  must(*api_, {Set{"/p1/b/cc/x", "c", 3, Access{.hosts = {kTwo}}}});
  const auto record = *api_->get("/p1/b/cc/x");
  EXPECT_EQ(record->version, 4);
  EXPECT_EQ(record->value, "c");
  // Whoever knows an older version fails, also when the znode was made anew meanwhile.
  for (const int64_t old : {1, 2, 3}) {
    const auto stale = two_->transact({Set{"/p1/b/cc/x", "stale", old}});
    ASSERT_FALSE(stale.ok());
    EXPECT_EQ(stale.error().code, ErrorCode::conflict) << stale.error().message;
  }
  denied(*one_, Set{"/p1/b/cc/x", "d", 4});
  must(*two_, {Set{"/p1/b/cc/x", "d", 4}});
  // The same access again is an ordinary change.
  must(*api_, {Set{"/p1/b/cc/x", "e", 5, Access{.hosts = {kTwo}}}});
  must(*two_, {Set{"/p1/b/cc/x", "f", 6}});
  // Records below are in the way.
  const auto held = api_->transact({Set{"/p1/h/one", "x", 1, Access{.hosts = {kTwo}}}});
  ASSERT_FALSE(held.ok());
  EXPECT_EQ(held.error().code, ErrorCode::in_use);
}

TEST_F(ZookeeperAccess, ADirectoryThatBecomesARecordGetsItsAccess) {
  must(*api_, {Create{"/p1/h/four/p/0", "wanted"}});
  must(*api_, {Create{"/p1/h/four", "state", Access{.hosts = {kOne}}}});
  must(*one_, {Set{"/p1/h/four", "mine", 1}});
  denied(*two_, Set{"/p1/h/four", "mine", 2});
}

TEST_F(ZookeeperAccess, WithoutTheRightIdentityNothingOpens) {
  for (const std::string& identity : {std::string(), "api:" + std::string(40, 'x')}) {
    const auto opened = try_open(identity);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, ErrorCode::denied);
    EXPECT_THAT(opened.error().message, HasSubstr("identity"));
    EXPECT_THAT(opened.error().message, Not(HasSubstr(std::string(40, 'x'))));
  }
}

TEST_F(ZookeeperAccess, NoWatchTellsASecret) {
  std::atomic<int> told{0}, settled{0};
  auto watch = one_->watch("/p1/o/token/bb/t", [&](const WatchEvent&) { ++told; });
  auto done = one_->watch_settled([&](Revision) { ++settled; });
  for (int i = 0; i < 2000 && settled == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_GT(settled, 0);
  EXPECT_EQ(told, 0);
}

}  // namespace
}  // namespace plexus::store
