// SPDX-License-Identifier: Apache-2.0
// Removals of things with very many dependents: begun, interrupted at any step, gone on with.
#include "store/topology/removal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/topology/counting_store.h"
#include "store/topology/host_records.h"
#include "store/topology/layout.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RemovalTest : public TopologyTest {
 protected:
  static Uuid uuid(const std::string& raw) { return *Uuid::from_bytes(raw); }
  /// A router port with `count` routes by it.
  v1::Port port_with_routes(uint32_t count) {
    core_ = router("core");
    auto port = create(port_on(core_, "foot", "10.0.0.1/24"));
    std::vector<Operation> routes;
    for (uint32_t i = 0; i < count; ++i) {
      auto r = route(core_, port, "10.0.0.0/8");
      r.set_destination(IpPrefix{IpAddr::v4(0x14000000 + (i << 8)), 24}.raw());
      r.set_tenant("acme");
      routes.emplace_back().resource = std::make_unique<v1::Route>(r);
      if (routes.size() == 200 || i + 1 == count) {
        auto done = writer_->batch(routes);
        EXPECT_TRUE(done.ok()) << done.error().message;
        routes.clear();
      }
    }
    return port;
  }
  template <typename M>
  std::vector<M> all() {
    std::vector<M> found;
    auto list = writer_->list(*M::descriptor());
    EXPECT_TRUE(list.ok());
    if (!list.ok()) return found;
    for (const auto& stored : *list) found.push_back(static_cast<const M&>(*stored.message));
    return found;
  }
  size_t routes() { return all<v1::Route>().size(); }
  std::vector<std::string> problems() { return check_store(*store_)->problems; }

  v1::Router core_;
};

TEST_F(RemovalTest, ThousandsGoInSeveralTransactions) {
  const auto port = port_with_routes(2500);
  CountingStore counting(*store_);
  auto removed = TopologyWriter(counting).remove(*v1::Port::descriptor(), uuid(port.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cascaded, 2500u);
  ASSERT_EQ(removed->touched.size(), 2500u);
  EXPECT_EQ(removed->touched[0].type, v1::Route::descriptor());
  EXPECT_EQ(removed->touched[0].tenant, "acme");
  EXPECT_TRUE(removed->touched[0].removed);
  EXPECT_GE(counting.commits, 13u);
  EXPECT_LE(counting.commits, 16u);
  EXPECT_EQ(routes(), 0u);
  EXPECT_THAT(*store_->list("/p1/removing"), IsEmpty());
}

TEST_F(RemovalTest, WhatFitsGoesAtOnceWithoutAMark) {
  const auto port = port_with_routes(150);
  CountingStore counting(*store_);
  ASSERT_TRUE(TopologyWriter(counting).remove(*v1::Port::descriptor(), uuid(port.id())).ok());
  EXPECT_EQ(counting.commits, 1u);
}

TEST_F(RemovalTest, InterruptedAtAnyStepItIsGoneOnWith) {
  for (const bool last_is_done : {false, true}) {
    for (size_t lives = 1;; ++lives) {
      SCOPED_TRACE(std::to_string(lives) + (last_is_done ? " answer lost" : " not done"));
      const auto port = port_with_routes(450);
      CountingStore dying(*store_);
      dying.lives = lives;
      dying.last_is_done = last_is_done;
      const auto done = TopologyWriter(dying).remove(*v1::Port::descriptor(), uuid(port.id()));
      if (done.ok()) {
        EXPECT_GE(lives, 5u) << "the mark and three parts";
        remove<v1::Router>(core_.id());
        break;
      }
      EXPECT_EQ(done.error().code, ErrorCode::unavailable);
      EXPECT_THAT(problems(), IsEmpty()) << "whole after each step";
      const bool begun = lives > 1 || last_is_done;
      const bool there = exists<v1::Port>(port.id());
      if (there) {
        EXPECT_EQ(get<v1::Port>(port.id()).deleting(), begun);
      }
      auto resumed = resume_removals(*store_, {"server 2", ""});
      ASSERT_TRUE(resumed.ok()) << resumed.error().message;
      EXPECT_EQ(*resumed, begun && there ? 1u : 0u);
      EXPECT_EQ(exists<v1::Port>(port.id()), !begun);
      EXPECT_EQ(routes(), begun ? 0u : 450u);
      if (!begun) remove<v1::Port>(port.id());
      remove<v1::Router>(core_.id());
    }
    EXPECT_THAT(what_is_left(*store_), IsEmpty());
  }
}

TEST_F(RemovalTest, NothingNewMayReferToWhatGoes) {
  auto port = port_with_routes(450);
  CountingStore dying(*store_);
  dying.lives = 3;
  ASSERT_FALSE(TopologyWriter(dying).remove(*v1::Port::descriptor(), uuid(port.id())).ok());
  const auto refused = writer_->create(route(core_, port, "10.99.0.0/16"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid);
  EXPECT_THAT(refused.error().message, HasSubstr("port foot"));
  EXPECT_THAT(refused.error().message, HasSubstr("is being removed"));
  port = get<v1::Port>(port.id());
  port.set_admin_up(false);
  const auto changed = writer_->update(port);
  ASSERT_FALSE(changed.ok());
  EXPECT_EQ(changed.error().code, ErrorCode::conflict);
  EXPECT_THAT(changed.error().message, HasSubstr("is being removed"));
  // What still refers to it may change otherwise.
  auto r = all<v1::Route>().front();
  r.set_metric(9);
  update(r);
  // Asking again goes on.
  remove<v1::Port>(port.id());
  EXPECT_EQ(routes(), 0u);
}

TEST_F(RemovalTest, AHostWithVeryManyPorts) {
  const auto blue = bridge("blue");
  const auto h1 = host("h1"), h2 = host("h2");
  std::vector<Operation> ports;
  for (uint32_t i = 0; i < 450; ++i) {
    const std::string name = "vm" + std::to_string(i);
    auto port = on_host(port_on(blue, name.c_str()), i % 3 == 0 ? h2 : h1, name.c_str());
    if (i % 3 == 0) port.set_migrating_to(h1.id());
    if (i % 3 == 1) port.set_migrating_to(h2.id());
    ports.emplace_back().resource = std::make_unique<v1::Port>(port);
  }
  auto created = writer_->batch(ports);
  ASSERT_TRUE(created.ok()) << created.error().message;
  auto removed = writer_->remove(*v1::Host::descriptor(), uuid(h1.id()));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(removed->cleared, 450u);
  for (const auto& port : all<v1::Port>()) {
    EXPECT_FALSE(port.has_migrating_to());
    EXPECT_EQ(port.has_host(), port.host() == h2.id());
  }
  EXPECT_EQ(*store_->get(host_state_path(uuid(h1.id()))), std::nullopt);
}

}  // namespace
}  // namespace plexus::store
