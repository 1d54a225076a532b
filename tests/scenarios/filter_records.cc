// SPDX-License-Identifier: Apache-2.0
#include "scenarios/filter_records.h"

#include "plexus/v1/resources.pb.h"
#include "scenarios/differences.h"
#include "store/topology/convert.h"

namespace plexus::scenario {

void FilterRecords::take(const Uuid& id, const google::protobuf::Message& object) {
  if (const auto* chain = dynamic_cast<const v1::Chain*>(&object))
    chains[{id}] = store::to_model(*chain);
  else if (const auto* rule = dynamic_cast<const v1::Rule*>(&object))
    rules[{id}] = store::to_model(*rule);
  else if (const auto* addresses = dynamic_cast<const v1::AddressGroup*>(&object))
    address_groups[{id}] = store::to_model(*addresses);
  else if (const auto* ports = dynamic_cast<const v1::PortGroup*>(&object))
    port_groups[{id}] = store::to_model(*ports);
  else if (const auto* security = dynamic_cast<const v1::SecurityGroup*>(&object))
    security_groups[{id}] = store::to_model(*security);
  else if (const auto* allowing = dynamic_cast<const v1::SecurityRule*>(&object))
    security_rules[{id}] = store::to_model(*allowing);
}

void FilterRecords::take_member(const model::Port& port) {
  for (const SecurityGroupId group : port.security_groups)
    members[group].push_back({port.id, port.addresses});
}

void add_changes(const FilterRecords& before, const FilterRecords& after,
                 std::vector<model::Change>& out) {
  add_differences<model::ChainChange>(before.chains, after.chains, out);
  add_differences<model::RuleChange>(before.rules, after.rules, out);
  add_differences<model::AddressGroupChange>(before.address_groups, after.address_groups, out);
  add_differences<model::PortGroupChange>(before.port_groups, after.port_groups, out);
  add_differences<model::SecurityGroupChange>(before.security_groups, after.security_groups, out);
  add_differences<model::SecurityRuleChange>(before.security_rules, after.security_rules, out);
  for (const auto& [group, list] : before.members)
    if (!after.members.contains(group)) out.push_back(model::GroupMembersChange{group, 0, {}});
  for (const auto& [group, list] : after.members)
    if (const auto old = before.members.find(group);
        old == before.members.end() || old->second != list)
      out.push_back(model::GroupMembersChange{group, 0, list});
}

}  // namespace plexus::scenario
