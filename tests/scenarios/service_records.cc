// SPDX-License-Identifier: Apache-2.0
#include "scenarios/service_records.h"

#include <algorithm>

#include "plexus/v1/resources.pb.h"
#include "scenarios/differences.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

/// Takes over the object when it is a Record.
template <typename Record, typename Map>
void take_one(const google::protobuf::Message& object, const Uuid& id, Map& into) {
  if (const auto* record = dynamic_cast<const Record*>(&object))
    into[{id}] = store::to_model(*record);
}

constexpr uint16_t kBlock = 64;

}  // namespace

void ServiceRecords::take(const Uuid& id, const google::protobuf::Message& object) {
  take_one<v1::FloatingIp>(object, id, floating_ips);
  take_one<v1::SnatPool>(object, id, snat_pools);
  take_one<v1::LoadBalancer>(object, id, load_balancers);
  take_one<v1::Vip>(object, id, vips);
  take_one<v1::Pool>(object, id, pools);
  take_one<v1::PoolMember>(object, id, pool_members);
  take_one<v1::DhcpSubnet>(object, id, dhcp_subnets);
  take_one<v1::Mirror>(object, id, mirrors);
  take_one<v1::TraceRequest>(object, id, trace_requests);
}

void add_changes(const ServiceRecords& before, const ServiceRecords& after,
                 std::vector<model::Change>& out) {
  add_differences<model::FloatingIpChange>(before.floating_ips, after.floating_ips, out);
  for (const auto& [id, pool] : before.snat_pools)
    if (!after.snat_pools.contains(id)) out.push_back(model::PortBlocksChange{id, {}});
  add_differences<model::SnatPoolChange>(before.snat_pools, after.snat_pools, out);
  add_differences<model::LoadBalancerChange>(before.load_balancers, after.load_balancers, out);
  add_differences<model::VipChange>(before.vips, after.vips, out);
  add_differences<model::PoolChange>(before.pools, after.pools, out);
  add_differences<model::PoolMemberChange>(before.pool_members, after.pool_members, out);
  add_differences<model::DhcpSubnetChange>(before.dhcp_subnets, after.dhcp_subnets, out);
  add_differences<model::MirrorChange>(before.mirrors, after.mirrors, out);
  add_differences<model::TraceRequestChange>(before.trace_requests, after.trace_requests, out);
}

std::vector<model::Change> port_blocks(const ServiceRecords& records, size_t host) {
  std::vector<model::Change> out;
  for (const auto& [id, pool] : records.snat_pools) {
    model::PortBlocksChange change{id, {}};
    for (const IpAddr& address : pool.addresses) {
      const size_t first = (pool.ports.first + kBlock - 1u) / kBlock * kBlock + host * kBlock;
      if (first + kBlock - 1 > pool.ports.last || change.now.size() == 4) continue;
      change.now.push_back({.id = Uuid::derived("block", address.str() + std::to_string(first)),
                            .address = address,
                            .first = static_cast<uint16_t>(first),
                            .length = kBlock});
    }
    std::sort(change.now.begin(), change.now.end());
    out.push_back(std::move(change));
  }
  return out;
}

}  // namespace plexus::scenario
