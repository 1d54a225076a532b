// SPDX-License-Identifier: Apache-2.0
#include "scenarios/filter_records.h"

#include "plexus/v1/resources.pb.h"
#include "scenarios/service_records.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

using google::protobuf::Message;

template <typename Change, typename Map>
void add_kind(const Map& before, const Map& after, std::vector<model::Change>& out) {
  for (const auto& [id, record] : before)
    if (!after.contains(id)) out.push_back(Change{id, std::nullopt});
  for (const auto& [id, record] : after)
    if (const auto old = before.find(id); old == before.end() || !(old->second == record))
      out.push_back(Change{id, record});
}

}  // namespace

void FilterRecords::take(const Uuid& id, const Message& object) {
  if (const auto* chain = dynamic_cast<const v1::Chain*>(&object))
    chains[{id}] = store::to_model(*chain);
  else if (const auto* rule = dynamic_cast<const v1::Rule*>(&object))
    rules[{id}] = with_services(*rule);
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
  add_kind<model::ChainChange>(before.chains, after.chains, out);
  add_kind<model::RuleChange>(before.rules, after.rules, out);
  add_kind<model::AddressGroupChange>(before.address_groups, after.address_groups, out);
  add_kind<model::PortGroupChange>(before.port_groups, after.port_groups, out);
  add_kind<model::SecurityGroupChange>(before.security_groups, after.security_groups, out);
  add_kind<model::SecurityRuleChange>(before.security_rules, after.security_rules, out);
  for (const auto& [group, list] : before.members)
    if (!after.members.contains(group)) out.push_back(model::GroupMembersChange{group, 0, {}});
  for (const auto& [group, list] : after.members)
    if (const auto old = before.members.find(group);
        old == before.members.end() || old->second != list)
      out.push_back(model::GroupMembersChange{group, 0, list});
}

}  // namespace plexus::scenario
