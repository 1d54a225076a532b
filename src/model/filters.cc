// SPDX-License-Identifier: Apache-2.0
// Chains, rules, groups and security groups as they come.
#include "model/topology.h"

namespace plexus::model {
namespace {

template <typename Table, typename Change>
void keep(Table& table, const Change& c) {
  if (c.now)
    table.set(c.id, *c.now);
  else
    table.erase(c.id);
}

}  // namespace

void Topology::change(const AddressGroupChange& c, Delta&) {
  keep(state_.address_groups_, c);
}
void Topology::change(const PortGroupChange& c, Delta&) {
  keep(state_.port_groups_, c);
}
void Topology::change(const ChainChange& c, Delta&) {
  keep(state_.chains_, c);
}
void Topology::change(const RuleChange& c, Delta&) {
  keep(state_.rules_, c);
}
void Topology::change(const SecurityGroupChange& c, Delta&) {
  keep(state_.security_groups_, c);
}
void Topology::change(const SecurityRuleChange& c, Delta&) {
  keep(state_.security_rules_, c);
}
void Topology::change(const GroupMembersChange&, Delta&) {}

}  // namespace plexus::model
