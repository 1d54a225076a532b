// SPDX-License-Identifier: Apache-2.0
#include "scenarios/dhcp_records.h"

#include "plexus/v1/resources.pb.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
void take_dhcp_subnet(const google::protobuf::Message& object, DhcpRecords& records) {
  if (const auto* subnet = dynamic_cast<const v1::DhcpSubnet*>(&object)) {
    model::DhcpSubnet record = store::to_model(*subnet);
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
