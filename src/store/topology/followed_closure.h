// SPDX-License-Identifier: Apache-2.0
// FollowedClosure: a ClosureReader and what its batches add up to. For tests only.
#pragma once

#include <poll.h>

#include <chrono>
#include <map>
#include <vector>

#include "base/clock.h"
#include "store/topology/closure_key.h"
#include "store/topology/reader.h"

namespace plexus::store {

/// Everything that the batches have said, by id.
struct ModelView {
  std::map<BridgeId, model::Bridge> bridges;
  std::map<RouterId, model::Router> routers;
  std::map<PortId, model::Port> ports;
  std::map<RouteId, model::Route> routes;
  std::map<PortId, model::Binding> bindings;
  std::map<HostId, model::Host> hosts;
  std::map<PortId, std::vector<model::Neighbour>> neighbours;
  std::map<ChainId, model::Chain> chains;
  std::map<RuleId, model::Rule> rules;
  std::map<AddressGroupId, model::AddressGroup> address_groups;
  std::map<PortGroupId, model::PortGroup> port_groups;
  std::map<SecurityGroupId, model::SecurityGroup> security_groups;
  std::map<SecurityRuleId, model::SecurityRule> security_rules;
  std::map<std::pair<SecurityGroupId, uint32_t>, std::vector<model::GroupMember>> members;
  std::map<FloatingIpId, model::FloatingIp> floating_ips;
  std::map<SnatPoolId, model::SnatPool> snat_pools;
  std::map<LoadBalancerId, model::LoadBalancer> load_balancers;
  std::map<VipId, model::Vip> vips;
  std::map<PoolId, model::Pool> pools;
  std::map<PoolMemberId, model::PoolMember> pool_members;
  std::map<DhcpSubnetId, model::DhcpSubnet> dhcp_subnets;
  std::map<MirrorId, model::Mirror> mirrors;
  std::map<TraceRequestId, model::TraceRequest> trace_requests;
  std::map<SnatPoolId, std::vector<model::PortBlock>> port_blocks;
  bool operator==(const ModelView&) const = default;

  void apply(const model::Change& change) {
    const auto set = [](auto& map, const auto& c) {
      if (c.now) {
        map.insert_or_assign(c.id, *c.now);
      } else {
        map.erase(c.id);
      }
    };
    if (const auto* bridge = std::get_if<model::BridgeChange>(&change)) set(bridges, *bridge);
    if (const auto* router = std::get_if<model::RouterChange>(&change)) set(routers, *router);
    if (const auto* port = std::get_if<model::PortChange>(&change)) set(ports, *port);
    if (const auto* route = std::get_if<model::RouteChange>(&change)) set(routes, *route);
    if (const auto* binding = std::get_if<model::BindingChange>(&change)) set(bindings, *binding);
    if (const auto* host = std::get_if<model::HostChange>(&change)) set(hosts, *host);
    if (const auto* chain = std::get_if<model::ChainChange>(&change)) set(chains, *chain);
    if (const auto* rule = std::get_if<model::RuleChange>(&change)) set(rules, *rule);
    if (const auto* group = std::get_if<model::AddressGroupChange>(&change))
      set(address_groups, *group);
    if (const auto* group = std::get_if<model::PortGroupChange>(&change)) set(port_groups, *group);
    if (const auto* group = std::get_if<model::SecurityGroupChange>(&change))
      set(security_groups, *group);
    if (const auto* rule = std::get_if<model::SecurityRuleChange>(&change))
      set(security_rules, *rule);
    if (const auto* c = std::get_if<model::FloatingIpChange>(&change)) set(floating_ips, *c);
    if (const auto* c = std::get_if<model::SnatPoolChange>(&change)) set(snat_pools, *c);
    if (const auto* c = std::get_if<model::LoadBalancerChange>(&change)) set(load_balancers, *c);
    if (const auto* c = std::get_if<model::VipChange>(&change)) set(vips, *c);
    if (const auto* c = std::get_if<model::PoolChange>(&change)) set(pools, *c);
    if (const auto* c = std::get_if<model::PoolMemberChange>(&change)) set(pool_members, *c);
    if (const auto* c = std::get_if<model::DhcpSubnetChange>(&change)) set(dhcp_subnets, *c);
    if (const auto* c = std::get_if<model::MirrorChange>(&change)) set(mirrors, *c);
    if (const auto* c = std::get_if<model::TraceRequestChange>(&change)) set(trace_requests, *c);
    if (const auto* part = std::get_if<model::GroupMembersChange>(&change)) {
      if (part->now.empty()) {
        members.erase({part->group, part->part});
      } else {
        members[{part->group, part->part}] = part->now;
      }
    }
    if (const auto* blocks = std::get_if<model::PortBlocksChange>(&change)) {
      if (blocks->now.empty()) {
        port_blocks.erase(blocks->pool);
      } else {
        port_blocks[blocks->pool] = blocks->now;
      }
    }
    if (const auto* table = std::get_if<model::NeighboursChange>(&change)) {
      if (table->now.empty()) {
        neighbours.erase(table->port);
      } else {
        neighbours[table->port] = table->now;
      }
    }
  }
};

class FollowedClosure {
 public:
  FollowedClosure(Store& store, HostId self) : FollowedClosure(self) { reader_.follow(store); }
  /// Follows nothing yet.
  explicit FollowedClosure(HostId self)
      : reader_(self, [this](ClosureBatch batch) {
          for (const model::Change& change : batch.changes) view_.apply(change);
          batches_.push_back(std::move(batch));
          if (on_batch) on_batch(batches_.back());
        }) {}

  /// Polls as an agent does, until `condition` holds; false: it never did.
  template <typename Condition>
  bool run_until(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() >= end) return false;
      int timeout = 5;
      if (const auto deadline = reader_.deadline()) {
        const auto left = (*deadline - mono_now()).count() / 1'000'000 + 1;
        timeout = static_cast<int>(std::clamp<int64_t>(left, 0, timeout));
      }
      pollfd polled{reader_.fd(), POLLIN, 0};
      poll(&polled, 1, timeout);
      reader_.process(mono_now());
    }
    return true;
  }
  bool sync() {
    return run_until([&] { return reader_.synced(); });
  }
  /// Until the store has confirmed everything, up to now at least.
  bool run_until_applied(Revision revision) {
    return run_until([&] {
      return reader_.applied().value > 0 && reader_.applied() >= revision &&
             reader_.unconfirmed() == 0;
    });
  }
  /// What a disk snapshot would hold.
  [[nodiscard]] std::vector<ClosureRecord> records() const {
    std::vector<ClosureRecord> all;
    reader_.each_record([&](const ClosureKey& key, const std::string* value, int64_t version) {
      all.push_back({key, value != nullptr ? std::optional(*value) : std::nullopt, version});
    });
    return all;
  }
  /// Until a consistent batch at `revision` or later is in, or all that is known reaches it.
  bool run_until(Revision revision) {
    return run_until([&] {
      return !batches_.empty() && batches_.back().consistent &&
             batches_.back().revision >= revision;
    });
  }

  [[nodiscard]] const ModelView& view() const { return view_; }
  [[nodiscard]] const std::vector<ClosureBatch>& batches() const { return batches_; }
  [[nodiscard]] ClosureReader& reader() { return reader_; }
  std::function<void(const ClosureBatch&)> on_batch;

 private:
  ModelView view_;
  std::vector<ClosureBatch> batches_;
  ClosureReader reader_;
};

}  // namespace plexus::store
