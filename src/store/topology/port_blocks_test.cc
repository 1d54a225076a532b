// SPDX-License-Identifier: Apache-2.0
#include "store/topology/port_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <bit>
#include <map>
#include <set>
#include <thread>

#include "store/topology/dump.h"
#include "store/topology/followed_closure.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/rover.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kNow = 1'800'000'000'000;
constexpr int64_t kMinute = 60'000;

model::SnatPool model_of(const v1::SnatPool& record) {
  model::SnatPool pool;
  pool.id = SnatPoolId{*Uuid::from_bytes(record.id())};
  pool.router = RouterId{*Uuid::from_bytes(record.router())};
  pool.name = record.name();
  for (const std::string& raw : record.addresses())
    pool.addresses.push_back(*IpAddr::from_bytes(raw));
  std::sort(pool.addresses.begin(), pool.addresses.end());
  return pool;
}

class PortBlocksTest : public TopologyTest {
 protected:
  PortBlocksTest() { edge_ = router("edge"); }
  v1::SnatPool make_pool(const char* name, std::vector<const char*> addresses) {
    auto pool = named<v1::SnatPool>(name);
    pool.set_router(edge_.id());
    for (const char* address : addresses) pool.add_addresses(ip_raw(address));
    return create(pool);
  }
  v1::Host make_host(const std::string& name) { return host(name.c_str()); }
  static HostId id(const v1::Host& host) { return HostId{*Uuid::from_bytes(host.id())}; }
  PortBlocks blocks_of(const v1::Host& host) { return {*store_, id(host)}; }
  std::vector<model::PortBlock> held(const v1::Host& host, const model::SnatPool& pool) {
    return held_in(*store_, host, pool);
  }
  static std::vector<model::PortBlock> held_in(Store& store, const v1::Host& host,
                                               const model::SnatPool& pool) {
    auto record = store.get(host_blocks_path(id(host).uuid));
    EXPECT_TRUE(record.ok());
    v1::HostBlocks list;
    if (*record) {
      EXPECT_TRUE(list.ParseFromString((*record)->value));
    }
    for (auto& change : to_model(list))
      if (change.pool == pool.id) return change.now;
    return {};
  }
  void fence(v1::Host& host, bool fenced) {
    host.set_fenced(fenced);
    auto done = writer_->modify(*v1::Host::descriptor(), id(host).uuid, [&](auto& message) {
      static_cast<v1::Host&>(message).set_fenced(fenced);
      return Result<void>(Ok{});
    });
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  v1::Router edge_;
};

/// Fails the test when two blocks share a port.
void expect_disjoint(const std::vector<model::PortBlock>& blocks) {
  std::map<IpAddr, std::set<unsigned>> ports;
  for (const auto& block : blocks) {
    EXPECT_TRUE(std::has_single_bit(block.length) && block.first % block.length == 0);
    for (unsigned p = block.first; p < block.first + block.length; ++p)
      EXPECT_TRUE(ports[block.address].insert(p).second) << block.address.str() << " " << p;
  }
}

TEST_F(PortBlocksTest, AHostGetsABlockOfEachFamilyOnce) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1", "2001:db8::1"}));
  const auto h1 = make_host("h1");
  auto blocks = blocks_of(h1);
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  const auto first = held(h1, pool);
  ASSERT_THAT(first, SizeIs(2));
  EXPECT_NE(first[0].address.family, first[1].address.family);
  for (const auto& block : first) {
    EXPECT_EQ(block.length, PortBlocks::kFirstBlock);
    EXPECT_GE(block.first, 1024);
  }
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  EXPECT_EQ(held(h1, pool), first) << "what is there is enough";
}

TEST_F(PortBlocksTest, EachBlockMoreIsAsLargeAsThoseThatNewConnectionsUseAndNoneGivesWay) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1", "192.0.2.2"}));
  const auto h1 = make_host("h1");
  auto blocks = blocks_of(h1);
  const auto lengths = [&] {
    std::multiset<unsigned> all;
    for (const auto& block : held(h1, pool)) all.insert(block.length);
    return all;
  };
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok());
  EXPECT_THAT(lengths(), ElementsAre(64, 64, 128, 256));
  ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok());
  // Connections may use the ports of a smaller one: whoever holds it gives it back when none does.
  EXPECT_THAT(lengths(), ElementsAre(64, 64, 128, 256, 512));
  Result<void> done = Ok{};
  for (int i = 0; i < 20 && done.ok(); ++i) done = blocks.grow(pool, IpFamily::v4, kNow);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::no_space);
  EXPECT_THAT(lengths(), ElementsAre(64, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096, 4096));
  EXPECT_THAT(done.error().message, HasSubstr("the most ports"));
  expect_disjoint(held(h1, pool));
  EXPECT_EQ(blocks.grow(pool, IpFamily::v6, kNow).ok(), true)
      << "no addresses of it: nothing to do";
}

TEST_F(PortBlocksTest, GrowsIntoAddressesThatTheHostHasNotYet) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1", "192.0.2.2", "192.0.2.3"}));
  for (const char* name : {"h1", "h2", "h3", "h4"}) {
    const auto host = make_host(name);
    auto blocks = blocks_of(host);
    ASSERT_TRUE(blocks.settle(pool, kNow).ok());
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok());
    std::set<IpAddr> addresses;
    for (const auto& block : held(host, pool)) addresses.insert(block.address);
    EXPECT_THAT(addresses, SizeIs(3)) << name;
    EXPECT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok()) << "when it has all, any";
  }
}

TEST_F(PortBlocksTest, SomeBlocksAreGivenBack) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1", "2001:db8::1"}));
  const auto h1 = make_host("h1");
  auto blocks = blocks_of(h1);
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok());
  const auto before = held(h1, pool);
  ASSERT_THAT(before, SizeIs(3));
  const std::vector<model::PortBlock> going = {before[0], before[2]};
  ASSERT_TRUE(blocks.give_back(pool.id, kNow, &going).ok());
  EXPECT_THAT(held(h1, pool), ElementsAre(before[1]));
  EXPECT_TRUE(check_store(*store_)->problems.empty());
}

TEST_F(PortBlocksTest, WhatIsGivenBackRestsForOthersButNotForTheHostItself) {
  auto record = named<v1::SnatPool>("narrow");
  record.set_router(edge_.id());
  record.add_addresses(ip_raw("192.0.2.1"));
  auto pool = model_of(create(record));
  pool.ports = {1024, 1087};  // one block
  const auto h1 = make_host("h1"), h2 = make_host("h2");
  auto one = blocks_of(h1), two = blocks_of(h2);
  ASSERT_TRUE(one.settle(pool, kNow).ok());
  const auto first = held(h1, pool);
  ASSERT_TRUE(one.give_back(pool.id, kNow).ok());
  EXPECT_THAT(held(h1, pool), IsEmpty());

  auto refused = two.settle(pool, kNow + PortBlocks::kQuarantine - 1);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::no_space);
  EXPECT_THAT(refused.error().message,
              HasSubstr("64 were given back and must rest (the first for 1 min)"));
  EXPECT_FALSE(two.settle(pool, kNow - kMinute).ok()) << "a clock that is behind";
  ASSERT_TRUE(one.settle(pool, kNow + kMinute).ok());
  EXPECT_EQ(held(h1, pool), first);

  ASSERT_TRUE(one.give_back(pool.id, kNow + kMinute).ok());
  EXPECT_FALSE(two.settle(pool, kNow + PortBlocks::kQuarantine).ok())
      << "it rests from the last time on";
  ASSERT_TRUE(two.settle(pool, kNow + kMinute + PortBlocks::kQuarantine).ok());
  EXPECT_EQ(held(h2, pool), first);
  EXPECT_FALSE(one.settle(pool, kNow + kMinute + PortBlocks::kQuarantine).ok());
}

TEST_F(PortBlocksTest, AHostThatIsFencedLosesItsBlocksAfterTheRestAndNoOtherWay) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {2048, 2111};
  auto h1 = make_host("h1");
  const auto h2 = make_host("h2");
  auto one = blocks_of(h1), two = blocks_of(h2);
  ASSERT_TRUE(one.settle(pool, kNow).ok());
  const auto block = held(h1, pool);

  // Not live, for however long: it may forward.
  constexpr int64_t kYear = int64_t{365} * 24 * 60 * kMinute;
  ASSERT_FALSE(two.settle(pool, kNow).ok());
  ASSERT_FALSE(two.settle(pool, kNow + kYear).ok());
  EXPECT_EQ(held(h1, pool), block);

  int64_t now = kNow + kYear;
  fence(h1, true);
  auto noticed = two.settle(pool, now);
  ASSERT_FALSE(noticed.ok());
  EXPECT_THAT(noticed.error().message, HasSubstr("64 were given back and must rest"));
  EXPECT_EQ(one.settle(pool, now).ok(), true) << "it has its block, and asks for nothing";
  EXPECT_EQ(held(h1, pool), block) << "until somebody else has it";
  // Back, and fenced again: the rest begins anew.
  fence(h1, false);
  fence(h1, true);
  now += PortBlocks::kQuarantine;
  ASSERT_FALSE(two.settle(pool, now).ok());
  now += PortBlocks::kQuarantine - 1;
  ASSERT_FALSE(two.settle(pool, now).ok());
  ASSERT_TRUE(two.settle(pool, now + 1).ok());
  EXPECT_EQ(held(h2, pool), block);
  EXPECT_THAT(held(h1, pool), IsEmpty()) << "in the same transaction";
  EXPECT_FALSE(one.grow(pool, IpFamily::v4, now).ok());
}

TEST_F(PortBlocksTest, AHostThatCameBackKeepsItsBlocks) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {2048, 2111};
  auto h1 = make_host("h1");
  const auto h2 = make_host("h2");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  fence(h1, true);
  EXPECT_FALSE(blocks_of(h2).settle(pool, kNow).ok());
  fence(h1, false);
  EXPECT_FALSE(blocks_of(h2).settle(pool, kNow + 2 * PortBlocks::kQuarantine).ok());
  EXPECT_THAT(held(h1, pool), SizeIs(1));
  EXPECT_FALSE(blocks_of(h2).settle(pool, kNow + 4 * PortBlocks::kQuarantine).ok())
      << "the mark is gone";
}

TEST_F(PortBlocksTest, AFencedHostClaimsNothing) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  auto h1 = make_host("h1");
  fence(h1, true);
  auto refused = blocks_of(h1).settle(pool, kNow);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
}

TEST_F(PortBlocksTest, TheBlocksOfARemovedHostRestToo) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {2048, 2111};
  const auto h1 = make_host("h1"), h2 = make_host("h2");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  remove<v1::Host>(h1.id());
  ASSERT_FALSE(blocks_of(h2).settle(pool, kNow).ok());
  ASSERT_FALSE(blocks_of(h2).settle(pool, kNow + PortBlocks::kQuarantine - 1).ok());
  ASSERT_TRUE(blocks_of(h2).settle(pool, kNow + PortBlocks::kQuarantine).ok());
  // Not registered any more, it cannot claim either.
  EXPECT_EQ(blocks_of(h1).settle(pool, kNow).error().code, ErrorCode::no_space);
}

TEST_F(PortBlocksTest, OfAPoolThatHasNothingOfWhatTheHostHasItGetsAFirstBlock) {
  auto record = make_pool("out", {"192.0.2.1", "192.0.2.2"});
  auto pool = model_of(record);
  const auto h1 = make_host("h1");
  auto blocks = blocks_of(h1);
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow).ok());
  const auto before = held(h1, pool);
  ASSERT_THAT(before, SizeIs(2));
  // By ports: the first one is outside, the other is enough.
  auto narrow = pool;
  narrow.addresses = {before[1].address};
  narrow.ports = {before[1].first, static_cast<uint16_t>(before[1].first + 63)};
  ASSERT_TRUE(blocks.settle(narrow, kNow).ok());
  EXPECT_EQ(held(h1, pool), before) << "connections may use them: they are given back by name";
  // By addresses, to others: a first block comes.
  record.clear_addresses();
  record.add_addresses(ip_raw("192.0.2.9"));
  pool = model_of(update(record));
  ASSERT_TRUE(blocks.settle(pool, kNow).ok());
  ASSERT_TRUE(blocks.give_back(pool.id, kNow, &before).ok());
  const auto after = held(h1, pool);
  ASSERT_THAT(after, SizeIs(1));
  EXPECT_EQ(after[0].address, *IpAddr::parse("192.0.2.9"));
  EXPECT_EQ(after[0].length, PortBlocks::kFirstBlock);
}

TEST_F(PortBlocksTest, APoolMadeAgainGivesOutNoPortThatAnotherHostHad) {
  std::vector<model::PortBlock> all;
  const auto settle = [&](const model::SnatPool& pool, const std::string& name) {
    for (int i = 0; i < 12; ++i) {
      const auto h = make_host(name + std::to_string(i));
      ASSERT_TRUE(blocks_of(h).settle(pool, kNow).ok());
      const auto mine = held(h, pool);
      all.insert(all.end(), mine.begin(), mine.end());
    }
  };
  const auto a = make_pool("a", {"192.0.2.1"});
  settle(model_of(a), "a");
  remove<v1::SnatPool>(a.id());
  settle(model_of(make_pool("b", {"192.0.2.1"})), "b");
  EXPECT_THAT(all, SizeIs(24));
  expect_disjoint(all);
}

TEST_F(PortBlocksTest, AFullPoolRefusesAndGrowthLeavesAQuarter) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {8192, 8192 + 1023};  // 16 first blocks
  const auto greedy = make_host("greedy");
  ASSERT_TRUE(blocks_of(greedy).settle(pool, kNow).ok());
  Result<void> grown = Ok{};
  while (grown.ok()) grown = blocks_of(greedy).grow(pool, IpFamily::v4, kNow);
  EXPECT_EQ(grown.error().code, ErrorCode::no_space);
  EXPECT_THAT(grown.error().message, HasSubstr("to grow into"));
  std::vector<model::PortBlock> all = held(greedy, pool);
  unsigned sum = 0;
  for (const auto& block : all) sum += block.length;
  EXPECT_GE(sum, 512u);
  EXPECT_LE(sum, 768u) << "a quarter is for those that have nothing";
  int newcomers = 0;
  for (;; ++newcomers) {
    const auto h = make_host("h" + std::to_string(newcomers));
    const auto done = blocks_of(h).settle(pool, kNow);
    if (!done.ok()) {
      EXPECT_EQ(done.error().code, ErrorCode::no_space);
      EXPECT_THAT(done.error().message, HasSubstr("has no IPv4 ports left: of 1024 looked at"));
      break;
    }
    const auto mine = held(h, pool);
    all.insert(all.end(), mine.begin(), mine.end());
  }
  EXPECT_GE(newcomers, 4);
  expect_disjoint(all);
}

/// Rules come and go: the pool must not be used up by that.
TEST_F(PortBlocksTest, WhoComesBackGetsWhatItHad) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  const auto h1 = make_host("h1");
  auto blocks = blocks_of(h1);
  std::vector<model::PortBlock> first;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(blocks.settle(pool, kNow + i).ok());
    ASSERT_TRUE(blocks.grow(pool, IpFamily::v4, kNow + i).ok());
    if (i == 0) first = held(h1, pool);
    EXPECT_EQ(held(h1, pool), first);
    ASSERT_TRUE(blocks.give_back(pool.id, kNow + i).ok());
  }
}

/// A smaller block in the place of a larger one that rests: what is left over would not rest any more.
TEST_F(PortBlocksTest, WhatRestsIsNotCutUp) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {8192, 8192 + 255};
  const auto h1 = make_host("h1"), h2 = make_host("h2");
  auto one = blocks_of(h1), two = blocks_of(h2);
  ASSERT_TRUE(one.settle(pool, kNow).ok());
  ASSERT_TRUE(one.grow(pool, IpFamily::v4, kNow).ok());
  ASSERT_TRUE(one.give_back(pool.id, kNow).ok());
  auto narrower = pool;
  narrower.ports = {8192, 8192 + 31};  // half of the block that rests
  EXPECT_EQ(one.settle(narrower, kNow).error().code, ErrorCode::no_space);
  ASSERT_TRUE(two.settle(pool, kNow).ok());
  ASSERT_TRUE(two.give_back(pool.id, kNow).ok());
  ASSERT_TRUE(one.settle(narrower, kNow + PortBlocks::kQuarantine).ok());
}

TEST_F(PortBlocksTest, PoolsNarrowerThanABlockGiveSmallerOnes) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {0, 20};
  const auto h1 = make_host("h1");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  ASSERT_THAT(held(h1, pool), SizeIs(1));
  EXPECT_EQ(held(h1, pool)[0].length, 8);
  EXPECT_EQ(held(h1, pool)[0].first, 8) << "port 0 is nobody's";
  pool.ports = {0, 0};
  EXPECT_EQ(blocks_of(h1).settle(pool, kNow).error().code, ErrorCode::no_space);
}

TEST_F(PortBlocksTest, TheRouterTakesAllAlong) {
  const auto record = make_pool("out", {"192.0.2.1", "2001:db8::1"});
  const auto pool = model_of(record);
  const auto h1 = make_host("h1");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  remove<v1::SnatPool>(record.id());
  EXPECT_THAT(held(h1, pool), SizeIs(2)) << "its host gives them back, nobody else";
  // Made again with other ids, the address is still in use.
  const auto again = model_of(make_pool("out", {"192.0.2.1"}));
  const auto h2 = make_host("h2");
  ASSERT_TRUE(blocks_of(h2).settle(again, kNow).ok());
  auto all = held(h1, pool);
  all.push_back(held(h2, again).at(0));
  expect_disjoint(all);

  remove<v1::Router>(edge_.id());
  EXPECT_EQ(blocks_of(h2).grow(again, IpFamily::v4, kNow).error().code, ErrorCode::not_found);
  ASSERT_TRUE(blocks_of(h1).give_back(pool.id, kNow).ok());
  EXPECT_THAT(held(h1, pool), IsEmpty());
  remove<v1::Host>(h1.id());
  remove<v1::Host>(h2.id());
  EXPECT_THAT(what_is_left(*store_), IsEmpty());
}

TEST_F(PortBlocksTest, AFollowedClosureHasTheBlocksAndSoHasADisk) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1", "2001:db8::1"}));
  const auto h1 = make_host("h1");
  FollowedClosure followed(*store_, id(h1));
  ASSERT_TRUE(followed.sync());
  EXPECT_THAT(followed.view().port_blocks, IsEmpty());
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  const auto mine = held(h1, pool);
  ASSERT_THAT(mine, SizeIs(2));
  EXPECT_TRUE(followed.run_until([&] {
    const auto found = followed.view().port_blocks.find(pool.id);
    return found != followed.view().port_blocks.end() && found->second == mine;
  }));
  FollowedClosure from_disk(id(h1));
  from_disk.reader().load(followed.records());
  EXPECT_EQ(from_disk.view().port_blocks, followed.view().port_blocks);
  ASSERT_TRUE(blocks_of(h1).give_back(pool.id, kNow).ok());
  ASSERT_TRUE(followed.run_until([&] { return followed.view().port_blocks.empty(); }));
}

TEST_F(PortBlocksTest, ADumpCarriesWhoHasWhat) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  const auto h1 = make_host("h1"), h2 = make_host("h2");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  ASSERT_TRUE(store_life(*store_).ok());
  auto dump = dump_store(*store_, true);
  ASSERT_TRUE(dump.ok()) << dump.error().message;
  const auto mine = held(h1, pool);
  const TestStore other;
  auto copy = open_store(other.address());
  ASSERT_TRUE(copy.ok());
  const auto loaded = load_dump(**copy, *dump, {});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(held_in(**copy, h1, pool), mine);
  ASSERT_TRUE(PortBlocks(**copy, id(h2)).settle(pool, kNow).ok());
  auto all = held_in(**copy, h2, pool);
  all.insert(all.end(), mine.begin(), mine.end());
  EXPECT_THAT(all, SizeIs(2));
  expect_disjoint(all);
}

TEST_F(PortBlocksTest, ThoseWhoRaceNeverGetTheSame) {
  auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  pool.ports = {8192, 16383};  // one part: all meet there
  constexpr size_t kHosts = 12;
  std::vector<v1::Host> hosts;
  for (size_t i = 0; i < kHosts; ++i) hosts.push_back(make_host("h" + std::to_string(i)));
  std::vector<std::thread> threads;
  std::vector<std::string> troubles(kHosts);
  for (size_t i = 0; i < kHosts; ++i) {
    threads.emplace_back([&, i] {
      auto own_store = open_store(address());
      if (!own_store.ok()) {
        troubles[i] = own_store.error().message;
        return;
      }
      PortBlocks blocks(**own_store, id(hosts[i]));
      const auto until_done = [&](const auto& step) {
        Result<void> done = step();
        for (int t = 0; t < 20 && !done.ok() && done.error().code == ErrorCode::conflict; ++t)
          done = step();
        if (!done.ok() && troubles[i].empty()) troubles[i] = done.error().message;
      };
      until_done([&] { return blocks.settle(pool, kNow); });
      until_done([&] { return blocks.grow(pool, IpFamily::v4, kNow); });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(troubles, ::testing::Each(""));
  std::vector<model::PortBlock> all;
  for (const auto& h : hosts) {
    const auto mine = held(h, pool);
    EXPECT_THAT(mine, SizeIs(2));
    all.insert(all.end(), mine.begin(), mine.end());
  }
  expect_disjoint(all);
}

TEST_F(PortBlocksTest, AThousandHostsShareOneAddress) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  // 1,008 blocks of 64 from 1024 on. The hosts' own records are all that claiming needs of them.
  constexpr int kBlocks = 1008;
  std::vector<model::PortBlock> all;
  for (int i = 0; i < kBlocks; ++i) {
    const HostId h{Uuid::derived("host", std::to_string(i))};
    v1::Host record;
    record.set_id(h.uuid.raw());
    record.set_name("h" + std::to_string(i));
    ASSERT_TRUE(writer_->create(record).ok());
    PortBlocks blocks(*store_, h);
    const auto done = blocks.settle(pool, kNow);
    ASSERT_TRUE(done.ok()) << i << ": " << done.error().message;
    const auto mine = held(record, pool);
    ASSERT_THAT(mine, SizeIs(1));
    all.push_back(mine[0]);
  }
  expect_disjoint(all);
  const auto late = make_host("late");
  auto full = blocks_of(late).settle(pool, kNow);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::no_space);
  // And no part outgrew its record.
  auto parts = store_->scan(leased_addresses_path(*Uuid::from_bytes(edge_.id())));
  ASSERT_TRUE(parts.ok());
  size_t largest = 0;
  for (const auto& [path, record] : *parts) largest = std::max(largest, record.value.size());
  EXPECT_LT(largest, 8192u);
}

TEST(PortBlocksRecords, WhatNoClaimCouldHaveMadeIsLeftOut) {
  v1::HostBlock good;
  good.set_pool(Uuid::derived("pool", "out").raw());
  good.set_router(Uuid::derived("router", "edge").raw());
  good.set_address(ip_raw("192.0.2.1"));
  good.set_first(65472);
  good.set_length(64);
  const auto read = [](const v1::HostBlock& block) {
    v1::HostBlocks record;
    *record.add_blocks() = block;
    return to_model(record);
  };
  ASSERT_THAT(read(good), SizeIs(1));
  EXPECT_EQ(read(good)[0].now.at(0).first, 65472);
  const std::pair<uint32_t, uint32_t> bad[] = {
      {0, 64},   {0xffff0000, 64}, {0xffffffc0, 64}, {65536, 64},        {1000, 64},
      {1024, 0}, {1024, 48},       {8192, 8192},     {4096, 0xffffffff}, {65472, 0x80000000}};
  for (const auto& [first, length] : bad) {
    auto block = good;
    block.set_first(first);
    block.set_length(length);
    EXPECT_THAT(read(block), IsEmpty()) << first << " " << length;
  }
  auto nowhere = good;
  nowhere.set_address("abc");
  EXPECT_THAT(read(nowhere), IsEmpty());
}

/// Claims and gives back as fast as it can.
std::string churn(const std::string& address, HostId self, const model::SnatPool& pool,
                  int rounds) {
  auto store = open_store(address);
  if (!store.ok()) return store.error().message;
  PortBlocks blocks(**store, self);
  for (int i = 0; i < rounds; ++i) {
    // A life that was killed may have left several blocks: then there may be no room to grow.
    for (const auto& done : {blocks.settle(pool, kNow), blocks.grow(pool, IpFamily::v4, kNow),
                             blocks.give_back(pool.id, kNow)}) {
      if (!done.ok() && done.error().code != ErrorCode::conflict &&
          done.error().code != ErrorCode::no_space)
        return done.error().message;
    }
  }
  return "";
}

TEST(PortBlocksProcesses, AHostThatIsKilledBetweenStepsLeavesClaimsWhole) {
  const TestStore fresh;
  const std::string& address = fresh.address();
  const HostId victim{Uuid::derived("host", "victim")}, other{Uuid::derived("host", "other")};
  model::SnatPool pool;
  pool.id = SnatPoolId{Uuid::derived("pool", "out")};
  pool.router = RouterId{Uuid::derived("router", "edge")};
  pool.name = "out";
  pool.addresses = {*IpAddr::parse("192.0.2.1")};
  pool.ports = {8192, 9215};
  const Process prepare = start([&]() -> std::string {
    auto store = open_store(address);
    if (!store.ok()) return store.error().message;
    TopologyWriter writer(**store);
    for (const HostId host : {victim, other}) {
      v1::Host record;
      record.set_id(host.uuid.raw());
      record.set_name(host == victim ? "victim" : "other");
      if (auto done = writer.create(record); !done.ok()) return done.error().message;
    }
    v1::Router router;
    router.set_id(pool.router.uuid.raw());
    router.set_name("edge");
    if (auto done = writer.create(router); !done.ok()) return done.error().message;
    v1::SnatPool record;
    record.set_id(pool.id.uuid.raw());
    record.set_name("out");
    record.set_router(pool.router.uuid.raw());
    record.add_addresses(pool.addresses[0].raw());
    auto done = writer.create(record);
    return done.ok() ? "" : done.error().message;
  });
  ASSERT_EQ(finish(prepare), "");
  const Process rival = start([&] { return churn(address, other, pool, 100); });
  for (int life = 0; life < 6; ++life) {
    const Process killed = start([&] { return churn(address, victim, pool, 1'000'000); });
    usleep(60'000 + static_cast<unsigned>(life) * 7'000);
    kill(killed.pid, SIGKILL);
    EXPECT_EQ(finish(killed), " (the process crashed)");
  }
  EXPECT_EQ(finish(rival), "");
  auto store = open_store(address);
  ASSERT_TRUE(store.ok());
  auto report = check_store(**store);
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->problems, IsEmpty());
  // Whatever it was doing, it goes on from there.
  PortBlocks again(**store, victim);
  EXPECT_TRUE(again.settle(pool, kNow).ok());
  EXPECT_TRUE(again.give_back(pool.id, kNow).ok());
}

TEST_F(PortBlocksTest, ACheckFindsWhatIsNotWhole) {
  const auto pool = model_of(make_pool("out", {"192.0.2.1"}));
  const auto h1 = make_host("h1");
  ASSERT_TRUE(blocks_of(h1).settle(pool, kNow).ok());
  const auto block = held(h1, pool).at(0);
  const std::string path =
      port_block_part_path(pool.router.uuid, "192.0.2.1", block.first / kPortsOfPart);
  auto record = *store_->get(path);
  ASSERT_TRUE(record);
  v1::PortBlockPart part;
  ASSERT_TRUE(part.ParseFromString(record->value));
  const auto with = [&](const v1::PortBlockPart& damaged) {
    auto now = *store_->get(path);
    EXPECT_TRUE(store_->transact({Set{path, damaged.SerializeAsString(), now->version}}).ok());
    auto report = check_store(*store_);
    EXPECT_TRUE(report.ok());
    return report->problems;
  };
  EXPECT_THAT(with(v1::PortBlockPart()), ElementsAre(HasSubstr("does not say that ports from")));
  auto twice = part;
  *twice.add_claims() = part.claims(0);
  EXPECT_THAT(with(twice), ElementsAre(HasSubstr("is claimed twice")));
  auto odd = part;
  odd.mutable_claims(0)->set_length(48);
  EXPECT_THAT(with(odd), ::testing::Contains(HasSubstr("are no block of it")));
  EXPECT_THAT(with(part), IsEmpty());
}

}  // namespace
}  // namespace plexus::store
