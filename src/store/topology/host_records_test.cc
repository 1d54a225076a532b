// SPDX-License-Identifier: Apache-2.0
#include "store/topology/host_records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;

class HostRecordsTest : public TopologyTest {
 protected:
  HostRecordsTest() : one_(*store_, h1_), two_(*store_, h2_) {
    EXPECT_TRUE(one_.register_host({"h1", {*IpAddr::parse("192.0.2.1")}}).ok());
    EXPECT_TRUE(two_.register_host({"h2", {*IpAddr::parse("2001:db8::2")}, 4790}).ok());
    blue_ = bridge("blue");
  }
  v1::HostState state(HostId host) {
    v1::HostState s;
    EXPECT_TRUE(s.ParseFromString((*store_->get(host_state_path(host.uuid)))->value));
    return s;
  }
  v1::Port plug(const char* name, HostId host) {
    auto port = port_on(blue_, name);
    port.set_host(host.uuid.raw());
    port.set_interface(name);
    return create(port);
  }
  static PortId id(const v1::Port& port) { return PortId{*Uuid::from_bytes(port.id())}; }

  HostId h1_{Uuid::random()}, h2_{Uuid::random()};
  HostRecords one_, two_;
  v1::Bridge blue_;
};

TEST_F(HostRecordsTest, RegistersAndCountsStarts) {
  const auto registered = get<v1::Host>(h1_.uuid.raw());
  EXPECT_EQ(registered.name(), "h1");
  EXPECT_EQ(state(h1_).incarnation(), 1u);
  EXPECT_EQ(state(h1_).schema_level(), kSchemaLevel);
  EXPECT_EQ(state(h2_).udp_port(), 4790u);
  auto again = one_.register_host({"another", {*IpAddr::parse("192.0.2.9")}});
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->incarnation, 2u);
  EXPECT_EQ(again->name, "h1") << "a host that is known keeps its name";
  EXPECT_EQ(state(h1_).tunnel_addresses(0), ip_raw("192.0.2.9"));
  HostRecords clone(*store_, HostId{Uuid::random()});
  auto taken = clone.register_host({"h1", {}});
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, ErrorCode::exists);
  EXPECT_THAT(taken.error().message, HasSubstr(h1_.str()));
}

TEST_F(HostRecordsTest, AHostThatHasWorkedDoesNotBeginAnEmptyStore) {
  TestStore fresh;
  auto empty = open_store(fresh.address());
  ASSERT_TRUE(empty.ok());
  HostRecords lost(**empty, h1_);
  Registration old{"h1", {*IpAddr::parse("192.0.2.1")}};
  old.has_worked = true;
  const auto refused = lost.register_host(old);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("the store is empty"));
  EXPECT_TRUE((*empty)->scan("/p1")->empty()) << "nothing is begun there";
  // Where the API has begun it, it may.
  ASSERT_TRUE(store_life(**empty).ok());
  EXPECT_TRUE(lost.register_host(old).ok());
}

TEST_F(HostRecordsTest, NobodyRegistersWhileADumpIsLoaded) {
  ASSERT_TRUE(store_->transact({Create{loading_path(), "dump"}}).ok());
  const auto refused = one_.register_host({"h1", {}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("a dump is being loaded"));
  ASSERT_TRUE(store_->transact({Delete{loading_path(), 1}}).ok());
  EXPECT_TRUE(one_.register_host({"h1", {}}).ok());
}

TEST_F(HostRecordsTest, PublishClaimsAKeyOnceAndMovesCountGenerations) {
  const auto vm = plug("vm", h1_);
  auto first = one_.publish(id(vm));
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_TRUE(first->active);
  EXPECT_EQ(first->host, h1_);
  EXPECT_EQ(first->generation, 1u);
  EXPECT_NE(first->tunnel_key, 0u);
  // A restart keeps both.
  ASSERT_TRUE(one_.register_host({"h1", {}}).ok());
  EXPECT_EQ(one_.publish(id(vm))->tunnel_key, first->tunnel_key);
  EXPECT_EQ(one_.publish(id(vm))->generation, 1u);

  auto refused = two_.publish(id(vm));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  auto moved = vm;
  moved.set_host(h2_.uuid.raw());
  update(moved);
  auto second = two_.publish(id(vm));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->host, h2_);
  EXPECT_EQ(second->generation, 2u);
  // The loser takes nothing away.
  ASSERT_TRUE(one_.unpublish(id(vm)).ok());
  EXPECT_TRUE(two_.publish(id(vm))->active);
  update(vm);
  auto third = one_.publish(id(vm));
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(third->generation, 3u);
  EXPECT_GT(third->tunnel_key, first->tunnel_key) << "a key is never given out again";

  ASSERT_TRUE(one_.unpublish(id(vm)).ok());
  v1::Binding binding;
  ASSERT_TRUE(binding.ParseFromString((*store_->get(binding_path(id(vm).uuid)))->value));
  EXPECT_FALSE(binding.active());
  remove<v1::Port>(vm.id());
  EXPECT_EQ(*store_->get(binding_path(id(vm).uuid)), std::nullopt);
  ASSERT_TRUE(one_.unpublish(id(vm)).ok());
  EXPECT_EQ(one_.publish(id(vm)).error().code, ErrorCode::not_found);
}

TEST_F(HostRecordsTest, KeysRunOut) {
  const auto vm = plug("vm", h1_);
  v1::TunnelKeys nearly_all;
  nearly_all.set_next(kMaxTunnelKey);
  ASSERT_TRUE(
      store_->transact({Set{tunnel_keys_path(h1_.uuid), nearly_all.SerializeAsString(), 1}}).ok());
  EXPECT_EQ(one_.publish(id(vm))->tunnel_key, kMaxTunnelKey);
  auto none = one_.flood_key(BridgeId{*Uuid::from_bytes(blue_.id())});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::no_space);
}

TEST_F(HostRecordsTest, FloodKeysAreOnePerBridge) {
  const BridgeId blue{*Uuid::from_bytes(blue_.id())};
  const auto key = one_.flood_key(blue);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(*one_.flood_key(blue), *key);
  const auto vm = plug("vm", h1_);
  EXPECT_NE(one_.publish(id(vm))->tunnel_key, *key);
  ASSERT_TRUE(one_.drop_flood_key(blue).ok());
  EXPECT_EQ(state(h1_).flood_keys_size(), 0);
  EXPECT_GT(*one_.flood_key(blue), *key);
  EXPECT_EQ(one_.flood_key(BridgeId{Uuid::random()}).error().code, ErrorCode::not_found);
}

TEST_F(HostRecordsTest, NeighboursAreKeptSortedAndBounded) {
  const auto core = router("core");
  const auto port = create(port_on(core, "p", "10.0.0.1/16"));
  const auto mac = [](uint32_t i) {
    return MacAddr{{2, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
  };
  for (uint32_t i = HostRecords::kMaxNeighbours; i > 0; --i) {
    ASSERT_TRUE(one_.learn_neighbour(id(port), IpAddr::v4(0x0a000000 + i), mac(i)).ok());
  }
  auto full = one_.learn_neighbour(id(port), *IpAddr::parse("fd00::1"), mac(1));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::no_space);
  EXPECT_THAT(full.error().message, HasSubstr("port p"));
  ASSERT_TRUE(one_.learn_neighbour(id(port), IpAddr::v4(0x0a000005), mac(9999)).ok());
  v1::NeighbourTable table;
  ASSERT_TRUE(table.ParseFromString((*store_->get(neighbours_path(id(port).uuid)))->value));
  ASSERT_EQ(table.entries_size(), static_cast<int>(HostRecords::kMaxNeighbours));
  for (int i = 1; i < table.entries_size(); ++i) {
    EXPECT_LT(table.entries(i - 1).address(), table.entries(i).address());
  }
  EXPECT_EQ(table.entries(4).mac(), mac(9999).raw());
  EXPECT_EQ(one_.learn_neighbour(PortId{Uuid::random()}, IpAddr::v4(1), mac(1)).error().code,
            ErrorCode::not_found);
  // Gone is who is known at that MAC; who has another one by now stays.
  ASSERT_TRUE(one_.forget_neighbour(id(port), IpAddr::v4(0x0a000005), mac(5)).ok());
  ASSERT_TRUE(one_.forget_neighbour(id(port), IpAddr::v4(0x0a000006), mac(6)).ok());
  ASSERT_TRUE(one_.forget_neighbour(id(port), IpAddr::v4(0x0b000000), mac(6)).ok());
  ASSERT_TRUE(table.ParseFromString((*store_->get(neighbours_path(id(port).uuid)))->value));
  ASSERT_EQ(table.entries_size(), static_cast<int>(HostRecords::kMaxNeighbours) - 1);
  EXPECT_EQ(table.entries(4).address(), IpAddr::v4(0x0a000005).raw());
  EXPECT_EQ(table.entries(5).address(), IpAddr::v4(0x0a000007).raw());
  ASSERT_TRUE(one_.learn_neighbour(id(port), *IpAddr::parse("fd00::1"), mac(1)).ok());
  remove<v1::Port>(port.id());
  EXPECT_EQ(*store_->get(neighbours_path(id(port).uuid)), std::nullopt);
  EXPECT_TRUE(one_.forget_neighbour(id(port), IpAddr::v4(0x0a000005), mac(9999)).ok());
}

TEST_F(HostRecordsTest, LivenessGoesWithTheProcess) {
  {
    auto own = open_store(address());
    ASSERT_TRUE(HostRecords(**own, h1_).announce_alive(1).ok());
    v1::LiveHost live;
    ASSERT_TRUE(live.ParseFromString((*store_->get(live_path(h1_.uuid)))->value));
    EXPECT_EQ(live.incarnation(), 1u);
  }
  EXPECT_EQ(*store_->get(live_path(h1_.uuid)), std::nullopt);
}

TEST_F(HostRecordsTest, AHostThatComesBackGivesOutNoKeyAgain) {
  const auto vm = plug("vm", h1_);
  const auto before = one_.publish(id(vm));
  ASSERT_TRUE(before.ok());
  remove<v1::Host>(h1_.uuid.raw());
  ASSERT_TRUE(one_.register_host({"h1", {}}).ok());
  update(vm);
  EXPECT_EQ(one_.publish(id(vm))->tunnel_key, before->tunnel_key) << "it is the same port's still";
  EXPECT_GT(one_.publish(id(plug("other", h1_)))->tunnel_key, before->tunnel_key);
}

TEST_F(HostRecordsTest, AHostThatWasRemovedSaysSo) {
  const auto vm = plug("vm", h1_);
  remove<v1::Host>(h1_.uuid.raw());
  auto port = get<v1::Port>(vm.id());
  EXPECT_EQ(one_.publish(id(vm)).error().code, ErrorCode::conflict);
  auto key = one_.flood_key(BridgeId{*Uuid::from_bytes(blue_.id())});
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code, ErrorCode::not_found);
  EXPECT_THAT(key.error().message, HasSubstr("not registered"));
}

TEST_F(HostRecordsTest, ManyWritersNeverShareAKey) {
  std::vector<v1::Port> ports;
  for (int i = 0; i < 40; ++i) ports.push_back(plug(("vm" + std::to_string(i)).c_str(), h1_));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      auto store = open_store(address());
      HostRecords records(**store, h1_);
      for (size_t i = t; i < ports.size(); i += 4) EXPECT_TRUE(records.publish(id(ports[i])).ok());
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<uint32_t> keys;
  for (const auto& port : ports) keys.insert(one_.publish(id(port))->tunnel_key);
  EXPECT_EQ(keys.size(), ports.size());
}

TEST_F(HostRecordsTest, ASecondMachineWithTheSameIdIsRefusedWhileTheFirstLives) {
  Registration first{"h1", {*IpAddr::parse("192.0.2.1")}};
  first.machine_id = "aaaa";
  ASSERT_TRUE(one_.register_host(first).ok());
  ASSERT_TRUE(one_.announce_alive(2, "aaaa").ok());
  Registration second{"h1", {*IpAddr::parse("192.0.2.7")}};
  second.machine_id = "bbbb";
  auto other = open_store(address());
  ASSERT_TRUE(other.ok());
  HostRecords clone(**other, h1_);
  const auto refused = clone.register_host(second);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::exists);
  for (const char* named : {"h1", "aaaa", "bbbb", "192.0.2.1", "192.0.2.7", "host-id"}) {
    EXPECT_THAT(refused.error().message, HasSubstr(named));
  }
  EXPECT_EQ(state(h1_).machine_id(), "aaaa");
  // The same machine may start again although its last agent still looks alive.
  EXPECT_TRUE(one_.register_host(first).ok());
  // A dead host's place may be taken.
  ASSERT_TRUE(store_->transact({Delete{live_path(h1_.uuid), 1}}).ok());
  ASSERT_TRUE(clone.register_host(second).ok());
  EXPECT_EQ(state(h1_).machine_id(), "bbbb");
}

TEST_F(HostRecordsTest, StartsAndKeysNeverGoBack) {
  Registration again{"h1", {}};
  again.incarnation = 40;
  EXPECT_EQ(one_.register_host(again)->incarnation, 41u);
  again.incarnation = 7;
  EXPECT_EQ(one_.register_host(again)->incarnation, 42u);

  const auto vm = plug("vm", h1_);
  const auto key = one_.publish(id(vm));
  ASSERT_TRUE(key.ok());
  again.next_tunnel_key = key->tunnel_key + 1;  // what the store has
  ASSERT_TRUE(one_.register_host(again).ok());
  EXPECT_EQ(*one_.flood_key(BridgeId{*Uuid::from_bytes(blue_.id())}), key->tunnel_key + 1);
  again.next_tunnel_key = 500;  // the store has lost some
  ASSERT_TRUE(one_.register_host(again).ok());
  const auto other = plug("other", h1_);
  EXPECT_EQ(one_.publish(id(other))->tunnel_key, 500 + kTunnelKeyLeap);
}

TEST_F(HostRecordsTest, AMigratingPortIsTakenOverWhenItsTimeComes) {
  auto vm = plug("vm", h1_);
  const auto before = one_.publish(id(vm));
  ASSERT_TRUE(before.ok());
  vm.set_migrating_to(h2_.uuid.raw());
  update(vm);
  EXPECT_EQ(two_.publish(id(vm)).error().code, ErrorCode::conflict);
  EXPECT_TRUE(one_.publish(id(vm)).ok());  // it is still here
  const auto after = two_.publish(id(vm), true);
  ASSERT_TRUE(after.ok()) << after.error().message;
  EXPECT_EQ(after->host, h2_);
  EXPECT_EQ(after->generation, before->generation + 1);
  // The one it left does not take it back, and may not say that it is gone.
  EXPECT_EQ(one_.publish(id(vm)).error().code, ErrorCode::conflict);
  ASSERT_TRUE(one_.unpublish(id(vm)).ok());
  EXPECT_TRUE(two_.publish(id(vm))->active);
  // Later the configuration says so, too.
  vm = get<v1::Port>(vm.id());
  vm.set_host(h2_.uuid.raw());
  vm.clear_migrating_to();
  update(vm);
  EXPECT_EQ(two_.publish(id(vm))->generation, after->generation);
}

TEST_F(HostRecordsTest, AFencedHostTakesNoPorts) {
  const auto vm = plug("vm", h1_);
  auto host = get<v1::Host>(h1_.uuid.raw());
  host.set_fenced(true);
  update(host);
  EXPECT_EQ(one_.publish(id(vm)).error().code, ErrorCode::conflict);
}

TEST_F(HostRecordsTest, LearnedMacsAreSaidByTheHostOfThePortAndGoAlong) {
  const auto vm = plug("vm", h1_), other = plug("other", h2_);
  ASSERT_TRUE(one_.publish(id(vm)).ok());
  ASSERT_TRUE(two_.publish(id(other)).ok());
  const std::vector<model::LearnedMac> table{{*MacAddr::parse("02:00:00:00:00:01"), 3}};
  // A port that is elsewhere is left out, the rest is stored.
  ASSERT_TRUE(one_.set_learned({{id(vm), table}, {id(other), table}}).ok());
  EXPECT_THAT(two_.publish(id(other))->learned, testing::IsEmpty());
  EXPECT_EQ(one_.publish(id(vm))->learned, table);
  auto moved = vm;
  moved.set_host(h2_.uuid.raw());
  update(moved);
  EXPECT_EQ(two_.publish(id(vm))->learned, table);
  ASSERT_TRUE(two_.set_learned({{id(vm), {}}}).ok());
  EXPECT_THAT(two_.publish(id(vm))->learned, testing::IsEmpty());
}

}  // namespace
}  // namespace plexus::store
