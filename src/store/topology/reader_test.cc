// SPDX-License-Identifier: Apache-2.0
#include "store/topology/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "store/topology/followed_closure.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::ElementsAre;

template <typename IdType>
IdType id(const std::string& raw) {
  return IdType{*Uuid::from_bytes(raw)};
}

/// Two bridges and a router between them, as the quickstart has; a third bridge that concerns
/// nobody.
class ReaderTest : public TopologyTest {
 protected:
  ReaderTest() {
    for (const char* name : {"h1", "h2", "h3"}) {
      hosts_.push_back(host(name));
      records_.emplace_back(*store_, id<HostId>(hosts_.back().id()));
      const auto address = IpAddr::v4(0xc0000200 + static_cast<uint32_t>(hosts_.size()));
      EXPECT_TRUE(records_.back().register_host({name, {address}}).ok());
    }
    blue_ = bridge("blue");
    green_ = bridge("green");
    lonely_ = bridge("lonely");
    core_ = router("core");
    blue_core_ = create(port_on(blue_, "blue-core"));
    green_core_ = create(port_on(green_, "green-core"));
    core_blue_ = wire(port_on(core_, "core-blue", "10.1.1.1/24"), blue_core_);
    core_green_ = wire(port_on(core_, "core-green", "10.1.2.1/24"), green_core_);
    vm1_ = create(on_host(port_on(blue_, "vm1"), hosts_[0], "tap1"));
    vm2_ = create(on_host(port_on(blue_, "vm2"), hosts_[1], "tap2"));
    vm3_ = create(on_host(port_on(green_, "vm3"), hosts_[2], "tap3"));
    elsewhere_ = create(on_host(port_on(lonely_, "elsewhere"), hosts_[2], "tap4"));
    default_ = create(route(core_, core_green_, "0.0.0.0/0", "10.1.2.254"));
  }
  v1::Port wire(v1::Port port, const v1::Port& peer) {
    port.set_peer(peer.id());
    return create(port);
  }
  HostId self() const { return id<HostId>(hosts_[0].id()); }

  std::vector<v1::Host> hosts_;
  std::vector<HostRecords> records_;
  v1::Bridge blue_, green_, lonely_;
  v1::Router core_;
  v1::Port blue_core_, green_core_, core_blue_, core_green_, vm1_, vm2_, vm3_, elsewhere_;
  v1::Route default_;
};

TEST_F(ReaderTest, AnUnknownHostHasAnEmptyClosure) {
  FollowedClosure followed(*store_, HostId{Uuid::random()});
  EXPECT_FALSE(followed.reader().synced());
  ASSERT_TRUE(followed.sync());
  ASSERT_EQ(followed.batches().size(), 1u);
  EXPECT_TRUE(followed.batches()[0].changes.empty());
  EXPECT_TRUE(followed.batches()[0].consistent);
  EXPECT_EQ(followed.view(), ModelView());
}

TEST_F(ReaderTest, CountsWhatTheStoreReported) {
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const uint64_t first = followed.reader().received();
  uint64_t known = 0;
  followed.reader().each_record([&](const ClosureKey&, const std::string* value, int64_t) {
    known += value != nullptr ? value->size() : 0;
  });
  EXPECT_GT(first, known);  // with the paths
  // Of a change that concerns us comes little more than the object.
  v1::Bridge lonely = lonely_;
  lonely.set_name("lonelier");
  update(lonely);
  vm2_.set_admin_up(false);
  update(vm2_);
  ASSERT_TRUE(followed.run_until([&] { return followed.reader().received() > first; }));
  EXPECT_LT(followed.reader().received(), first + 1000);
}

TEST_F(ReaderTest, TheFirstBatchIsTheWholeClosure) {
  ASSERT_TRUE(records_[1].publish(id<PortId>(vm2_.id())).ok());
  const auto flood = records_[1].flood_key(id<BridgeId>(blue_.id()));
  ASSERT_TRUE(flood.ok());
  ASSERT_TRUE(records_[0]
                  .learn_neighbour(id<PortId>(core_green_.id()), *IpAddr::parse("10.1.2.254"),
                                   *MacAddr::parse("02:00:00:00:00:fe"))
                  .ok());
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  ASSERT_EQ(followed.batches().size(), 1u);
  EXPECT_EQ(followed.reader().unread(), 0u);
  const ModelView& view = followed.view();

  EXPECT_EQ(view.bridges.size(), 2u);
  EXPECT_EQ(view.routers.size(), 1u);
  EXPECT_EQ(view.ports.size(), 7u);
  EXPECT_FALSE(view.bridges.contains(id<BridgeId>(lonely_.id())));
  EXPECT_FALSE(view.ports.contains(id<PortId>(elsewhere_.id())));
  std::vector<PortId> in_blue{id<PortId>(blue_core_.id()), id<PortId>(vm1_.id()),
                              id<PortId>(vm2_.id())};
  std::sort(in_blue.begin(), in_blue.end());
  EXPECT_EQ(view.bridges.at(id<BridgeId>(blue_.id())).ports, in_blue);
  const auto& core = view.routers.at(id<RouterId>(core_.id()));
  EXPECT_EQ(core.name, "core");
  EXPECT_EQ(core.ports.size(), 2u);
  EXPECT_THAT(core.routes, ElementsAre(id<RouteId>(default_.id())));
  const auto& vm1 = view.ports.at(id<PortId>(vm1_.id()));
  EXPECT_EQ(vm1.wanted_host, self());
  EXPECT_EQ(vm1.interface, "tap1");
  EXPECT_EQ(std::get<BridgeId>(vm1.device), id<BridgeId>(blue_.id()));
  const auto& foot = view.ports.at(id<PortId>(core_blue_.id()));
  EXPECT_EQ(foot.peer, id<PortId>(blue_core_.id()));
  EXPECT_THAT(foot.networks, ElementsAre(*IpPrefix::parse("10.1.1.1/24")));
  EXPECT_FALSE(foot.mac.is_zero());
  EXPECT_EQ(view.routes.at(id<RouteId>(default_.id())).next_hop, IpAddr::parse("10.1.2.254"));

  ASSERT_EQ(view.bindings.size(), 1u);
  const auto& binding = view.bindings.at(id<PortId>(vm2_.id()));
  EXPECT_TRUE(binding.active);
  // Ourselves, and the host of the one bound port; not h3, which is bound nowhere yet.
  ASSERT_EQ(view.hosts.size(), 2u);
  const auto& h2 = view.hosts.at(binding.host);
  EXPECT_EQ(h2.name, "h2");
  EXPECT_THAT(h2.tunnel_addresses, ElementsAre(*IpAddr::parse("192.0.2.2")));
  EXPECT_THAT(h2.flood_keys, ElementsAre(std::pair(id<BridgeId>(blue_.id()), *flood)));
  EXPECT_TRUE(view.hosts.contains(self()));
  const auto& learned = view.neighbours.at(id<PortId>(core_green_.id()));
  ASSERT_EQ(learned.size(), 1u);
  EXPECT_EQ(learned[0].mac, *MacAddr::parse("02:00:00:00:00:fe"));
}

TEST_F(ReaderTest, ReportsChangesOfEveryKind) {
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();

  auto blue = blue_;
  blue.set_admin_up(false);
  update(blue);
  EXPECT_TRUE(
      followed.run_until([&] { return !view.bridges.at(id<BridgeId>(blue_.id())).admin_up; }));

  const auto fresh = create(route(core_, core_blue_, "10.7.0.0/16", "10.1.1.7"));
  EXPECT_TRUE(followed.run_until([&] { return view.routes.size() == 2; }));
  EXPECT_EQ(view.routers.at(id<RouterId>(core_.id())).routes.size(), 2u);
  remove<v1::Route>(fresh.id());
  EXPECT_TRUE(followed.run_until([&] { return view.routes.size() == 1; }));
  EXPECT_EQ(view.routers.at(id<RouterId>(core_.id())).routes.size(), 1u);

  ASSERT_TRUE(records_[2].publish(id<PortId>(vm3_.id())).ok());
  EXPECT_TRUE(followed.run_until([&] { return view.hosts.size() == 2; }));
  EXPECT_TRUE(view.bindings.at(id<PortId>(vm3_.id())).active);
  ASSERT_TRUE(records_[2].set_tunnel_addresses({*IpAddr::parse("192.0.2.33")}, 4789).ok());
  EXPECT_TRUE(followed.run_until([&] {
    return view.hosts.at(id<HostId>(hosts_[2].id())).tunnel_addresses[0] ==
           *IpAddr::parse("192.0.2.33");
  }));
  ASSERT_TRUE(records_[2].unpublish(id<PortId>(vm3_.id())).ok());
  EXPECT_TRUE(followed.run_until([&] { return !view.bindings.at(id<PortId>(vm3_.id())).active; }));

  ASSERT_TRUE(records_[0]
                  .learn_neighbour(id<PortId>(core_blue_.id()), *IpAddr::parse("10.1.1.9"),
                                   *MacAddr::parse("02:00:00:00:00:09"))
                  .ok());
  EXPECT_TRUE(followed.run_until([&] { return view.neighbours.size() == 1; }));

  auto renamed = hosts_[0];
  renamed.set_name("first");
  update(renamed);
  EXPECT_TRUE(followed.run_until([&] { return view.hosts.at(self()).name == "first"; }));

  const auto vm4 = create(on_host(port_on(green_, "vm4"), hosts_[1], "tap9"));
  EXPECT_TRUE(followed.run_until([&] { return view.ports.contains(id<PortId>(vm4.id())); }));
  remove<v1::Port>(vm4.id());
  EXPECT_TRUE(followed.run_until([&] { return !view.ports.contains(id<PortId>(vm4.id())); }));
}

TEST_F(ReaderTest, WhatIsNoLongerReachableIsGone) {
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();
  const size_t watched = followed.reader().watched();

  // The link to green is cut: green and its ports go, the router's own foot stays.
  auto foot = core_green_;
  foot.clear_peer();
  update(foot);
  EXPECT_TRUE(followed.run_until([&] { return view.bridges.size() == 1; }));
  EXPECT_EQ(view.ports.size(), 5u);
  EXPECT_TRUE(view.ports.contains(id<PortId>(core_green_.id())));
  EXPECT_LT(followed.reader().watched(), watched);

  foot.set_peer(green_core_.id());
  update(foot);
  EXPECT_TRUE(followed.run_until([&] { return view.bridges.size() == 2; }));
  EXPECT_EQ(view.ports.size(), 7u);
  EXPECT_EQ(followed.reader().watched(), watched);

  // The only port here moves away, and all is gone but ourselves.
  auto vm1 = vm1_;
  vm1.set_host(hosts_[1].id());
  update(vm1);
  EXPECT_TRUE(followed.run_until([&] { return view.ports.empty(); }));
  EXPECT_TRUE(view.bridges.empty() && view.routers.empty() && view.routes.empty());
  EXPECT_EQ(view.hosts.size(), 1u);
  EXPECT_EQ(followed.reader().watched(), 8u);

  vm1.set_host(hosts_[0].id());
  update(vm1);
  EXPECT_TRUE(followed.run_until([&] { return view.ports.size() == 7; }));
  EXPECT_EQ(followed.reader().watched(), watched);
}

TEST_F(ReaderTest, ThePortThatWasHereIsFollowedToWhereItGoes) {
  ASSERT_TRUE(records_[0].publish(id<PortId>(vm1_.id())).ok());
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();
  const auto port = id<PortId>(vm1_.id());
  ASSERT_EQ(view.bindings.at(port).host, self());

  // It is the last one here, and where it has gone is said later.
  auto vm1 = vm1_;
  vm1.set_host(hosts_[1].id());
  update(vm1);
  ASSERT_TRUE(followed.run_until(
      [&] { return view.ports.at(port).wanted_host == id<HostId>(hosts_[1].id()); }));
  ASSERT_TRUE(records_[0].unpublish(port).ok());
  ASSERT_TRUE(records_[1].publish(port).ok());
  EXPECT_TRUE(followed.run_until([&] {
    return view.bindings.contains(port) &&
           view.bindings.at(port).host == id<HostId>(hosts_[1].id());
  }));
  EXPECT_TRUE(view.hosts.contains(id<HostId>(hosts_[1].id())));
  ASSERT_TRUE(followed.reader().deadline());
  followed.reader().process(mono_now() + std::chrono::seconds(61));
  EXPECT_TRUE(view.ports.empty() && view.bridges.empty());
  EXPECT_EQ(followed.reader().watched(), 8u);
  EXPECT_FALSE(followed.reader().deadline());
}

TEST_F(ReaderTest, SeesAllPortsOfABigBridge) {
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();
  for (int i = 0; i < 300; ++i) create(port_on(blue_, ("more" + std::to_string(i)).c_str()));
  EXPECT_TRUE(followed.run_until([&] { return view.ports.size() == 307; }));
  EXPECT_EQ(view.bridges.at(id<BridgeId>(blue_.id())).ports.size(), 303u);
  FollowedClosure fresh(*store_, self());
  ASSERT_TRUE(fresh.sync());
  EXPECT_EQ(fresh.view(), view);
}

TEST_F(ReaderTest, RecordsThatWeCannotReadInFullAreMarked) {
  FollowedClosure followed(*store_, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();
  const std::string port_path = object_path("port", *Uuid::from_bytes(vm2_.id()));
  const std::string route_path = object_path("route", *Uuid::from_bytes(default_.id()));
  const auto put = [&](const std::string& path, const std::string& value) {
    auto record = store_->get(path);
    ASSERT_TRUE(store_->transact({Set{path, value, (*record)->version}}).ok());
  };
  const PortId vm2 = id<PortId>(vm2_.id());
  const auto expect_port = [&](bool unreadable, const char* what) {
    EXPECT_TRUE(followed.run_until([&] { return view.ports.at(vm2).unreadable == unreadable; }))
        << what;
    EXPECT_EQ(view.ports.at(vm2).id, vm2);
  };
  auto newer = vm2_;
  newer.set_min_reader(kSchemaLevel + 1);
  put(port_path, newer.SerializeAsString());
  expect_port(true, "min_reader");
  put(port_path, vm2_.SerializeAsString());
  expect_port(false, "as it was");
  auto unknown = vm2_;
  unknown.GetReflection()->MutableUnknownFields(&unknown)->AddVarint(900, 1);
  put(port_path, unknown.SerializeAsString());
  expect_port(true, "an unknown field");
  put(port_path, vm2_.SerializeAsString());
  expect_port(false, "as it was");
  put(port_path, "\xff\xff\xff damaged");
  expect_port(true, "damaged");
  put(port_path, vm2_.SerializeAsString());
  expect_port(false, "as it was");
  auto odd = vm2_;
  odd.add_addresses("12345");
  put(port_path, odd.SerializeAsString());
  expect_port(true, "an impossible address");
  put(port_path, vm2_.SerializeAsString());
  expect_port(false, "as it was");

  auto kind = default_;
  kind.set_kind(static_cast<v1::RouteKind>(7));
  put(route_path, kind.SerializeAsString());
  const RouteId route_id = id<RouteId>(default_.id());
  EXPECT_TRUE(followed.run_until([&] { return view.routes.at(route_id).unreadable; }));
  put(route_path, default_.SerializeAsString());
  EXPECT_TRUE(followed.run_until([&] { return !view.routes.at(route_id).unreadable; }));
}

TEST_F(ReaderTest, BatchesAreConsistentStates) {
  FollowedClosure followed(*store_, self());
  std::string problem;
  int consistent = 0;
  followed.on_batch = [&](const ClosureBatch& batch) {
    if (!batch.consistent) return;
    ++consistent;
    const ModelView& view = followed.view();
    for (const auto& [port_id, port] : view.ports) {
      if (!port.peer) continue;
      const auto peer = view.ports.find(*port.peer);
      if (peer == view.ports.end()) {
        problem = port.name + " has a peer that is not there";
      } else if (peer->second.peer != port_id) {
        problem = port.name + " and " + peer->second.name + " disagree";
      }
    }
    for (const auto& [bridge_id, bridge] : view.bridges) {
      for (const PortId& p : bridge.ports) {
        if (!view.ports.contains(p)) problem = bridge.name + " lists a port that is not there";
      }
    }
  };
  ASSERT_TRUE(followed.sync());
  std::atomic<bool> done{false};
  std::thread writer([&] {
    auto store = open_store(address());
    TopologyWriter other(**store);
    auto foot = core_green_;
    for (int i = 0; i < 100; ++i) {
      foot.set_peer(i % 2 == 0 ? blue_core_.id() : green_core_.id());
      // blue-core is taken by core-blue: that fails, and changes nothing.
      if (i % 4 == 1) foot.clear_peer();
      (void)other.update(foot).ok();
      auto extra = port_on(green_, "extra");
      auto created = other.create(extra);
      if (created.ok()) (void)other.remove(*v1::Port::descriptor(), id_of(*created->message)).ok();
    }
    done = true;
  });
  EXPECT_TRUE(followed.run_until([&] { return done.load(); }));
  writer.join();
  const Revision last = *store_->sync();
  (void)followed.run_until([&] { return followed.batches().back().revision >= last; },
                           std::chrono::milliseconds(300));
  EXPECT_EQ(problem, "");
  EXPECT_GT(consistent, 5);
  FollowedClosure fresh(*store_, self());
  ASSERT_TRUE(fresh.sync());
  EXPECT_EQ(fresh.view(), followed.view());
}

/// A store that keeps back what it has to say about chosen paths, as one does whose answers are
/// slow.
class SlowStore : public Store {
 public:
  SlowStore(Store& store, std::string slow) : store_(store), slow_(std::move(slow)) {}
  std::string kind() const override { return store_.kind(); }
  Result<std::optional<Record>> get(std::string_view path) override { return store_.get(path); }
  Result<std::vector<std::optional<Record>>> get_many(
      const std::vector<std::string>& paths) override {
    return store_.get_many(paths);
  }
  Result<std::vector<std::string>> list(std::string_view d) override { return store_.list(d); }
  Result<std::vector<std::pair<std::string, Record>>> scan(std::string_view d) override {
    return store_.scan(d);
  }
  Result<Revision> transact(const std::vector<Step>& steps) override {
    return store_.transact(steps);
  }
  std::unique_ptr<Watch> watch(std::string path, WatchCallback callback) override {
    if (path != slow_) return store_.watch(std::move(path), std::move(callback));
    return store_.watch(std::move(path), [this, callback](const WatchEvent& event) {
      std::unique_lock lock(mutex_);
      if (held_) {
        kept_ = [callback, event] { callback(event); };
        return;
      }
      lock.unlock();
      callback(event);
    });
  }
  std::unique_ptr<Watch> watch_settled(std::function<void(Revision)> callback) override {
    return store_.watch_settled([this, callback](Revision revision) {
      std::lock_guard lock(mutex_);
      if (kept_) {
        settled_ = [callback, revision] { callback(revision); };
      } else {
        callback(revision);
      }
    });
  }
  Result<void> put_ephemeral(std::string_view p, std::string_view v) override {
    return store_.put_ephemeral(p, v);
  }
  Result<Revision> sync() override { return store_.sync(); }
  Health health() const override { return store_.health(); }

  void hold() {
    std::lock_guard lock(mutex_);
    held_ = true;
  }
  void release() {
    std::lock_guard lock(mutex_);
    held_ = false;
    if (kept_) kept_();
    if (settled_) settled_();
    kept_ = settled_ = nullptr;
  }

 private:
  Store& store_;
  const std::string slow_;
  std::mutex mutex_;
  bool held_ = false;
  std::function<void()> kept_, settled_;
};

TEST_F(ReaderTest, ASlowKeyDelaysABatchByFiftyMilliseconds) {
  const Uuid late = Uuid::random();
  SlowStore slow(*store_, object_path("port", late));
  FollowedClosure followed(slow, self());
  ASSERT_TRUE(followed.sync());
  const ModelView& view = followed.view();
  slow.hold();
  const MonoTime start = mono_now();
  auto port = port_on(blue_, "late");
  port.set_id(late.raw());
  create(port);
  ASSERT_TRUE(followed.run_until(
      [&] { return view.bridges.at(id<BridgeId>(blue_.id())).ports.size() == 4; }));
  EXPECT_GE((mono_now() - start).count(),
            std::chrono::nanoseconds(ClosureReader::kMaxDelay).count());
  EXPECT_FALSE(followed.batches().back().consistent);
  EXPECT_FALSE(view.ports.contains(PortId{late}));
  EXPECT_EQ(followed.reader().unread(), 1u);
  slow.release();
  ASSERT_TRUE(followed.run_until([&] { return view.ports.contains(PortId{late}); }));
  EXPECT_TRUE(followed.batches().back().consistent);
}

TEST_F(ReaderTest, TheFirstBatchWaitsForEverything) {
  SlowStore slow(*store_, object_path("route", *Uuid::from_bytes(default_.id())));
  slow.hold();
  FollowedClosure followed(slow, self());
  EXPECT_FALSE(followed.run_until([&] { return followed.reader().synced(); },
                                  std::chrono::milliseconds(300)));
  EXPECT_TRUE(followed.batches().empty());
  slow.release();
  ASSERT_TRUE(followed.sync());
  EXPECT_TRUE(followed.batches()[0].consistent);
  EXPECT_EQ(followed.view().routes.size(), 1u);
}

}  // namespace
}  // namespace plexus::store
