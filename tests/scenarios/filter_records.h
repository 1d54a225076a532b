// SPDX-License-Identifier: Apache-2.0
// Chains, groups and security groups of a scenario: from the objects of a cloud file to what hosts are told.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <vector>

#include "model/records.h"

namespace plexus::scenario {

struct FilterRecords {
  std::map<ChainId, model::Chain> chains;
  std::map<RuleId, model::Rule> rules;
  std::map<AddressGroupId, model::AddressGroup> address_groups;
  std::map<PortGroupId, model::PortGroup> port_groups;
  std::map<SecurityGroupId, model::SecurityGroup> security_groups;
  std::map<SecurityRuleId, model::SecurityRule> security_rules;
  std::map<SecurityGroupId, std::vector<model::GroupMember>> members;

  /// Takes over the object when it is of these kinds.
  void take(const Uuid& id, const google::protobuf::Message& object);
  /// The port is a member of its security groups.
  void take_member(const model::Port& port);
};

/// Appends what turns the ones into the others.
void add_changes(const FilterRecords& before, const FilterRecords& after,
                 std::vector<model::Change>& out);

}  // namespace plexus::scenario
