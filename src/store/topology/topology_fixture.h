// SPDX-License-Identifier: Apache-2.0
// What the tests of this directory share: a store (test_store.h), and short ways to write resources. For
// tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/store.h"
#include "store/test_store.h"
#include "store/topology/check.h"
#include "store/topology/schema.h"
#include "store/topology/writer.h"

namespace plexus::store {

inline std::string mac_raw(const char* text) {
  return MacAddr::parse(text)->raw();
}
inline std::string ip_raw(const char* text) {
  return IpAddr::parse(text)->raw();
}
inline std::string prefix_raw(const char* text) {
  return IpPrefix::parse(text)->raw();
}

/// What lies in the store beyond what outlives all resources: its life, the hosts' key counters, the
/// log, the tenants' counters.
inline std::vector<std::string> what_is_left(Store& store) {
  auto all = store.scan("/p1");
  EXPECT_TRUE(all.ok());
  std::vector<std::string> left;
  for (const auto& [path, record] : *all) {
    const bool stays = path == "/p1/gen" || path.starts_with("/p1/k/") ||
                       path.starts_with("/p1/log/") || path.starts_with("/p1/q/");
    if (!stays) left.push_back(path);
  }
  return left;
}

class TopologyTest : public ::testing::Test {
 protected:
  TopologyTest() {
    auto opened = open_store(fresh_.address());
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
    writer_ = std::make_unique<TopologyWriter>(*store_);
  }
  /// Whatever a test does, it leaves a whole topology.
  void TearDown() override {
    auto report = check_store(*store_);
    ASSERT_TRUE(report.ok()) << report.error().message;
    for (const std::string& problem : report->problems) ADD_FAILURE() << problem;
  }

  [[nodiscard]] std::string address() const { return fresh_.address(); }

  template <typename M>
  M create(const M& wanted) {
    auto created = writer_->create(wanted);
    EXPECT_TRUE(created.ok()) << created.error().message;
    return created.ok() ? static_cast<const M&>(*created->message) : M();
  }
  template <typename M>
  M update(const M& wanted) {
    auto updated = writer_->update(wanted);
    EXPECT_TRUE(updated.ok()) << updated.error().message;
    return updated.ok() ? static_cast<const M&>(*updated->message) : M();
  }
  template <typename M>
  M get(const std::string& id) {
    auto got = writer_->get(*M::descriptor(), *Uuid::from_bytes(id));
    EXPECT_TRUE(got.ok()) << got.error().message;
    return got.ok() ? static_cast<const M&>(*got->message) : M();
  }
  template <typename M>
  bool exists(const std::string& id) {
    return writer_->get(*M::descriptor(), *Uuid::from_bytes(id)).ok();
  }
  template <typename M>
  void remove(const std::string& id) {
    auto done = writer_->remove(*M::descriptor(), *Uuid::from_bytes(id));
    EXPECT_TRUE(done.ok()) << done.error().message;
  }

  template <typename M>
  static M named(const char* name) {
    M message;
    message.set_name(name);
    return message;
  }
  v1::Bridge bridge(const char* name) { return create(named<v1::Bridge>(name)); }
  v1::Router router(const char* name) { return create(named<v1::Router>(name)); }
  v1::Host host(const char* name) { return create(named<v1::Host>(name)); }
  static v1::Port port_on(const v1::Bridge& bridge, const char* name) {
    auto port = named<v1::Port>(name);
    port.set_bridge(bridge.id());
    return port;
  }
  static v1::Port port_on(const v1::Router& router, const char* name,
                          const char* network = nullptr) {
    auto port = named<v1::Port>(name);
    port.set_router(router.id());
    if (network != nullptr) port.add_networks(prefix_raw(network));
    return port;
  }
  static v1::Port on_host(v1::Port port, const v1::Host& host, const char* interface) {
    port.set_host(host.id());
    port.set_interface(interface);
    return port;
  }
  static v1::Route route(const v1::Router& router, const v1::Port& port, const char* destination,
                         const char* next_hop = nullptr) {
    v1::Route route;
    route.set_router(router.id());
    route.set_port(port.id());
    route.set_destination(prefix_raw(destination));
    if (next_hop != nullptr) route.set_next_hop(ip_raw(next_hop));
    return route;
  }

  /// A resource as `edit` makes it.
  template <typename M, typename Edit>
  static M made(const char* name, const Edit& edit) {
    M message;
    if (*name != '\0') message.set_name(name);
    edit(message);
    return message;
  }
  /// What the writer says against it; "": nothing, it is there now.
  template <typename M>
  std::string refusal(const M& wanted) {
    auto created = writer_->create(wanted);
    return created.ok() ? "" : created.error().message;
  }

  TestStore fresh_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<TopologyWriter> writer_;
};

}  // namespace plexus::store
