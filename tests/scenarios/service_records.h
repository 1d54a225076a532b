// SPDX-License-Identifier: Apache-2.0
// Translations, load balancers, DHCP subnets, mirrors and trace requests of a scenario: from the objects of a cloud file to what hosts are told.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <vector>

#include "model/records.h"

namespace plexus::scenario {

struct ServiceRecords {
  std::map<FloatingIpId, model::FloatingIp> floating_ips;
  std::map<SnatPoolId, model::SnatPool> snat_pools;
  std::map<LoadBalancerId, model::LoadBalancer> load_balancers;
  std::map<VipId, model::Vip> vips;
  std::map<PoolId, model::Pool> pools;
  std::map<PoolMemberId, model::PoolMember> pool_members;
  std::map<DhcpSubnetId, model::DhcpSubnet> dhcp_subnets;
  std::map<MirrorId, model::Mirror> mirrors;
  std::map<TraceRequestId, model::TraceRequest> trace_requests;

  /// Takes over the object when it is of these kinds.
  void take(const Uuid& id, const google::protobuf::Message& object);
};

/// Appends what turns the ones into the others.
void add_changes(const ServiceRecords& before, const ServiceRecords& after,
                 std::vector<model::Change>& out);

/// The outside ports that the host of this number has to itself, of each pool: 64 of each address, the first host's from the
/// first whole block of the pool on. No host is without: who has how many is a matter of the store, not of scenarios.
[[nodiscard]] std::vector<model::Change> port_blocks(const ServiceRecords& records, size_t host);

}  // namespace plexus::scenario
