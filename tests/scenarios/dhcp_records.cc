// SPDX-License-Identifier: Apache-2.0
#include "scenarios/dhcp_records.h"

#include "plexus/v1/resources.pb.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

/// Without what the codec has no text for: routes and options.
model::DhcpSubnet to_model(const v1::DhcpSubnet& record) {
  model::DhcpSubnet s;
  s.unreadable = !store::fully_known(record);
  s.id = DhcpSubnetId{Uuid::from_bytes(record.id()).value_or(Uuid{})};
  s.bridge = BridgeId{Uuid::from_bytes(record.bridge()).value_or(Uuid{})};
  s.name = record.name();
  s.admin_up = !record.has_admin_up() || record.admin_up();
  s.network = IpPrefix::from_bytes(record.network()).value_or(IpPrefix{});
  if (record.has_server_address()) s.server_address = IpAddr::from_bytes(record.server_address());
  if (record.has_gateway()) s.gateway = IpAddr::from_bytes(record.gateway());
  for (const std::string& raw : record.dns_servers())
    s.dns_servers.push_back(IpAddr::from_bytes(raw).value_or(IpAddr{}));
  for (const std::string& raw : record.ntp_servers())
    s.ntp_servers.push_back(IpAddr::from_bytes(raw).value_or(IpAddr{}));
  s.domain = record.domain();
  s.mtu = static_cast<uint16_t>(record.mtu());
  if (record.has_lease_time()) s.lease_time = record.lease_time();
  return s;
}

}  // namespace

void take_dhcp_subnet(const google::protobuf::Message& object, DhcpRecords& records) {
  if (const auto* subnet = dynamic_cast<const v1::DhcpSubnet*>(&object)) {
    model::DhcpSubnet record = to_model(*subnet);
    const DhcpSubnetId id = record.id;
    records[id] = std::move(record);
  }
}

void add_changes(const DhcpRecords& before, const DhcpRecords& after,
                 std::vector<model::Change>& out) {
  for (const auto& [id, record] : before)
    if (!after.contains(id)) out.push_back(model::DhcpSubnetChange{id, std::nullopt});
  for (const auto& [id, record] : after)
    if (const auto old = before.find(id); old == before.end() || !(old->second == record))
      out.push_back(model::DhcpSubnetChange{id, record});
}

}  // namespace plexus::scenario
