// SPDX-License-Identifier: Apache-2.0
// For tests of Connections: those of three hosts, with outcomes made by hand and messages carried by hand.
#pragma once

#include <gtest/gtest.h>

#include "agent/connections.h"
#include "sim/test_cloud.h"
#include "state/test_connections.h"

namespace plexus::agent {

using state::Connection;
using state::Direction;
using Telling = Connections::Telling;

/// Bridge blue with port "a" at h1 and "b" at h2; h3 has "c". Messages are carried by hand.
class ConnectionsTest : public testing::Test {
 protected:
  struct HostEnd {
    HostId id;
    IpAddr address;
    std::shared_ptr<const model::Snapshot> snapshot;
    std::unique_ptr<Connections> connections;
    Connections* operator->() const { return connections.get(); }
  };

  ConnectionsTest() {
    blue_ = cloud_.bridge("blue");
    const char* addresses[] = {"192.0.2.1", "2001:db8::2", "192.0.2.3"};
    for (int i = 0; i < 3; ++i) {
      const std::string name = "h" + std::to_string(i + 1);
      cloud_.host(name, addresses[i]);
      ends_[i].id = sim::TestCloud::host_id(name);
      ends_[i].address = *IpAddr::parse(addresses[i]);
      ends_[i].connections = std::make_unique<Connections>(options_, 7);
    }
    a_ = cloud_.vm("a", blue_, ends_[0].id, "02:00:00:00:00:01", {"10.0.0.1"});
    b_ = cloud_.vm("b", blue_, ends_[1].id, "02:00:00:00:00:02", {"10.0.0.2"});
    c_ = cloud_.vm("c", blue_, ends_[2].id, "02:00:00:00:00:03", {"10.0.0.3"});
    publish();
  }

  /// All hosts learn what the cloud is now; `changed` ports are named as changed.
  void publish(const std::vector<PortId>& changed = {}) {
    std::vector<TagChange> changes;
    for (const PortId& port : changed) changes.push_back({{TagKind::port, port.uuid}, {}});
    publish(changes);
  }
  void publish(const std::vector<TagChange>& changes) {
    for (HostEnd& end : ends_) {
      const auto before = std::exchange(end.snapshot, cloud_.snapshot(end.id));
      end->publish(before.get(), *end.snapshot, changes, now_);
    }
  }

  [[nodiscard]] Connection record(const state::Tuple& original) {
    Connection c = state::connection_of(original, now_);
    c.zone = c.reply_zone = state::Zone{blue_.uuid};
    c.port = a_;
    c.reply_port = b_;
    c.stamp = {1, ends_[0].id};
    return c;
  }
  static sim::NewConnection beginning(const Connection& c) { return {{}, c}; }

  /// Carries all messages until none is left; returns how many there were.
  size_t carry() {
    size_t n = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (HostEnd& from : ends_) {
        for (const PeerMessage& m : from->take_messages()) {
          ++n;
          moved = true;
          for (HostEnd& to : ends_)
            if (to.id == m.to) to->receive(from.address, m.bytes, now_);
        }
      }
    }
    return n;
  }
  void lose() {
    for (HostEnd& end : ends_) (void)end->take_messages();
  }

  ConnectionOptions options_;
  sim::TestCloud cloud_;
  BridgeId blue_;
  PortId a_, b_, c_;
  HostEnd ends_[3];
  MonoTime now_ = state::at(1000);
  const state::Tuple web_ = state::tcp("10.0.0.1", 4000, "10.0.0.2", 80);
  const state::Tuple name_ = state::udp("10.0.0.1", 4000, "10.0.0.2", 53);
};

}  // namespace plexus::agent
