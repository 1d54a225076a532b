// SPDX-License-Identifier: Apache-2.0
// DHCP subnets of a scenario: from the objects of a cloud file to what hosts are told.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <vector>

#include "model/records.h"

namespace plexus::scenario {

using DhcpRecords = std::map<DhcpSubnetId, model::DhcpSubnet>;

/// Takes over the object when it is a DHCP subnet.
void take_dhcp_subnet(const google::protobuf::Message& object, DhcpRecords& records);

/// Appends what turns the ones into the others.
void add_changes(const DhcpRecords& before, const DhcpRecords& after,
                 std::vector<model::Change>& out);

}  // namespace plexus::scenario
