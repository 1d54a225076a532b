// SPDX-License-Identifier: Apache-2.0
// The reader without a store, and with one that comes and goes: starting from what a disk kept, and what becomes of the
// differences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/barrier_answers.h"
#include "store/topology/followed_closure.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/stoppable_store.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

class ReaderDiskTest : public TopologyTest {
 protected:
  ReaderDiskTest() {
    h1_ = host("h1");
    h2_ = host("h2");
    for (const auto* h : {&h1_, &h2_}) {
      HostRecords records(*store_, id_of(*h));
      EXPECT_TRUE(records.register_host({h->name(), {IpAddr::v4(0xc0000201)}}).ok());
    }
    blue_ = bridge("blue");
    for (int i = 0; i < 20; ++i) {
      const std::string name = "vm" + std::to_string(i);
      vms_.push_back(
          create(on_host(port_on(blue_, name.c_str()), i % 2 == 0 ? h1_ : h2_, name.c_str())));
      HostRecords records(*store_, id_of(i % 2 == 0 ? h1_ : h2_));
      EXPECT_TRUE(records.publish(port_id(vms_.back())).ok());
    }
  }
  static HostId id_of(const v1::Host& h) { return HostId{*Uuid::from_bytes(h.id())}; }
  static PortId port_id(const v1::Port& p) { return PortId{*Uuid::from_bytes(p.id())}; }
  Revision now() { return *store_->sync(); }
  std::vector<ClosureRecord> kept() {
    FollowedClosure followed(*store_, id_of(h1_));
    EXPECT_TRUE(followed.run_until_applied(now()));
    whole_ = followed.view();
    return followed.records();
  }

  v1::Host h1_, h2_;
  v1::Bridge blue_;
  std::vector<v1::Port> vms_;
  ModelView whole_;
};

TEST_F(ReaderDiskTest, WithoutAStoreTheModelIsTheSame) {
  auto records = kept();
  ASSERT_EQ(whole_.ports.size(), 20u);
  FollowedClosure followed(id_of(h1_));
  EXPECT_FALSE(followed.reader().synced());
  followed.reader().load(std::move(records));
  EXPECT_TRUE(followed.reader().synced());
  EXPECT_EQ(followed.reader().unread(), 0u);
  EXPECT_EQ(followed.reader().applied().value, 0);  // no store has confirmed it
  EXPECT_EQ(followed.view(), whole_);
  ASSERT_EQ(followed.batches().size(), 1u);
  EXPECT_TRUE(followed.batches()[0].consistent);
}

TEST_F(ReaderDiskTest, AStoreThatSaysTheSameChangesNothing) {
  FollowedClosure followed(id_of(h1_));
  followed.reader().load(kept());
  followed.reader().follow(*store_);
  ASSERT_TRUE(followed.run_until_applied(now()));
  EXPECT_EQ(followed.batches().size(), 1u);
  EXPECT_EQ(followed.view(), whole_);
}

TEST_F(ReaderDiskTest, OnlyTheDifferencesBecomeChanges) {
  auto records = kept();
  auto vm = vms_[3];
  vm.set_admin_up(false);
  update(vm);
  remove<v1::Port>(vms_[5].id());
  const auto more = create(on_host(port_on(blue_, "more"), h2_, "more"));

  FollowedClosure followed(id_of(h1_));
  followed.reader().load(std::move(records));
  followed.reader().follow(*store_);
  ASSERT_TRUE(followed.run_until_applied(now()));
  FollowedClosure fresh(*store_, id_of(h1_));
  ASSERT_TRUE(fresh.run_until_applied(now()));
  EXPECT_EQ(followed.view(), fresh.view());
  size_t changes = 0;
  for (size_t i = 1; i < followed.batches().size(); ++i) {
    changes += followed.batches()[i].changes.size();
  }
  // vm3; vm5 and its binding; the bridge's list; the new port, its binding, and what the log may add.
  EXPECT_LE(changes, 8u);
  EXPECT_GE(changes, 4u);
}

TEST_F(ReaderDiskTest, PartsThatTheDiskDoesNotHaveComeFromTheStore) {
  auto records = kept();
  std::erase_if(records, [&](const ClosureRecord& record) {
    return record.key.kind == ClosureKey::Kind::port && record.key.id.bytes[15] % 2 == 0;
  });
  FollowedClosure followed(id_of(h1_));
  followed.reader().load(std::move(records));
  EXPECT_TRUE(followed.reader().synced());
  EXPECT_GT(followed.reader().unread(), 0u);
  EXPECT_FALSE(followed.batches().back().consistent);
  followed.reader().follow(*store_);
  ASSERT_TRUE(followed.run_until_applied(now()));
  EXPECT_EQ(followed.view(), whole_);
}

TEST_F(ReaderDiskTest, AStoreThatGoesAwayAndComesBack) {
  StoppableStore store(*store_);
  FollowedClosure followed(store, id_of(h1_));
  ASSERT_TRUE(followed.run_until_applied(now()));
  const ModelView before = followed.view();
  store.stop();
  auto vm = vms_[0];
  vm.set_admin_up(false);
  update(vm);
  remove<v1::Port>(vms_[7].id());
  const Revision changed = now();
  EXPECT_FALSE(followed.run_until([&] { return followed.view() != before; },
                                  std::chrono::milliseconds(200)));
  store.start();
  ASSERT_TRUE(followed.run_until_applied(changed));
  EXPECT_FALSE(followed.view().ports.contains(port_id(vms_[7])));
  EXPECT_FALSE(followed.view().ports.at(port_id(vms_[0])).admin_up);
}

TEST_F(ReaderDiskTest, FollowingAgainForgetsNothing) {
  StoppableStore store(*store_);
  FollowedClosure followed(store, id_of(h1_));
  ASSERT_TRUE(followed.run_until_applied(now()));
  const ModelView before = followed.view();
  const size_t batches = followed.batches().size();
  store.stop();
  followed.reader().follow(store);
  EXPECT_EQ(followed.reader().applied().value, 0);
  EXPECT_TRUE(followed.reader().synced());
  EXPECT_EQ(followed.reader().unread(), 0u);
  store.start();
  ASSERT_TRUE(followed.run_until_applied(now()));
  EXPECT_EQ(followed.view(), before);
  EXPECT_EQ(followed.batches().size(), batches);
}

TEST_F(ReaderDiskTest, AnotherStoreReplacesWhatWasKept) {
  auto records = kept();
  TestDirectory dir(true);
  auto other = open_store("embedded:" + dir.path("store"));
  ASSERT_TRUE(other.ok());
  FollowedClosure followed(id_of(h1_));
  followed.reader().load(std::move(records));
  ASSERT_EQ(followed.view().ports.size(), 20u);
  ASSERT_TRUE((*other)->transact({Create{"/p1/x", "", {}}}).ok());
  followed.reader().follow(**other);
  ASSERT_TRUE(followed.run_until([&] { return followed.reader().applied().value > 0; }));
  EXPECT_EQ(followed.view(), ModelView());
}

// --- convergence questions ---

void ask(Store& store, const Uuid& id, Revision revision) {
  v1::Barrier barrier;
  barrier.set_id(id.raw());
  barrier.set_revision(revision.value);
  const auto now = store.get(barrier_path());
  ASSERT_TRUE(now.ok());
  const auto done =
      *now ? store.transact({Set{barrier_path(), barrier.SerializeAsString(), (*now)->version, {}}})
           : store.transact({Create{barrier_path(), barrier.SerializeAsString(), {}}});
  ASSERT_TRUE(done.ok()) << done.error().message;
}
bool wait_open(BarrierAnswers& answers, const Uuid& id) {
  for (int i = 0; i < 2000; ++i) {
    pollfd polled{answers.fd(), POLLIN, 0};
    poll(&polled, 1, 5);
    answers.process(mono_now());
    if (answers.open() && answers.open()->id == id) return true;
  }
  return false;
}

TEST_F(ReaderDiskTest, TheNewestQuestionIsOpenUntilItIsAnswered) {
  BarrierAnswers answers(*store_);
  FollowedClosure followed(*store_, id_of(h1_));
  ASSERT_TRUE(followed.sync());
  auto vm = vms_[0];
  vm.set_admin_up(false);
  update(vm);
  const Revision asked = now();
  const Uuid first = Uuid::random(), second = Uuid::random();
  ask(*store_, first, asked);
  ASSERT_TRUE(wait_open(answers, first));
  EXPECT_EQ(answers.open()->revision, asked);
  ASSERT_TRUE(followed.run_until_applied(answers.open()->revision));
  EXPECT_FALSE(followed.view().ports.at(port_id(vms_[0])).admin_up);
  ask(*store_, second, now());
  ASSERT_TRUE(wait_open(answers, second));

  const BarrierQuestion question = *answers.open();
  answers.close();
  EXPECT_FALSE(answers.open());
  ASSERT_TRUE(answer_barrier(*store_, id_of(h1_), question).ok());
  EXPECT_TRUE(answer_barrier(*store_, id_of(h1_), question).ok());  // once more is fine
  EXPECT_EQ(*store_->list(barrier_answers_path(second)),
            std::vector<std::string>{id_of(h1_).str()});

  // Whoever asked clears up.
  ASSERT_TRUE(store_
                  ->transact({Delete{barrier_answers_path(second) + "/" + id_of(h1_).str(), 1},
                              Delete{barrier_path(), 2}})
                  .ok());
}

}  // namespace
}  // namespace plexus::store
