// SPDX-License-Identifier: Apache-2.0
#include "scenarios/filter_records.h"

#include <algorithm>

#include "plexus/v1/resources.pb.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

using google::protobuf::Message;

template <typename Id>
Id id_of(const std::string& raw) {
  return Id{Uuid::from_bytes(raw).value_or(Uuid{})};
}
template <typename Id>
std::optional<Id> optional_id(bool has, const std::string& raw) {
  return has ? std::optional(id_of<Id>(raw)) : std::nullopt;
}
uint8_t byte(const std::string& raw, size_t at = 0) {
  return at < raw.size() ? static_cast<uint8_t>(raw[at]) : uint8_t{0};
}
uint16_t be16(const std::string& raw, size_t at = 0) {
  return static_cast<uint16_t>(byte(raw, at) << 8 | byte(raw, at + 1));
}
std::optional<uint16_t> ethertype(bool has, const std::string& raw) {
  return has ? std::optional(be16(raw)) : std::nullopt;
}
std::optional<uint8_t> small(bool has, uint32_t value) {
  return has ? std::optional(static_cast<uint8_t>(value)) : std::nullopt;
}
std::optional<IpPrefix> prefix(bool has, const std::string& raw) {
  return has ? IpPrefix::from_bytes(raw) : std::nullopt;
}
model::PortRange ports(const std::string& raw) {
  return {be16(raw), be16(raw, 2)};
}
std::optional<model::MaskedMac> masked_mac(bool has, const std::string& raw) {
  if (!has || raw.size() != 12) return std::nullopt;
  return model::MaskedMac{*MacAddr::from_bytes(raw.substr(0, 6)),
                          *MacAddr::from_bytes(raw.substr(6))};
}

template <typename Record, typename Proto>
Record named(const Uuid& id, const Proto& p) {
  Record out;
  out.id = {id};
  out.name = p.name();
  out.unreadable = !store::fully_known(p);
  return out;
}

model::Rule rule_of(const Uuid& id, const v1::Rule& p) {
  auto r = named<model::Rule>(id, p);
  r.chain = id_of<ChainId>(p.chain());
  r.position = p.position();
  r.action = static_cast<model::RuleAction>(p.action() - 1);
  r.jump_chain = optional_id<ChainId>(p.has_jump_chain(), p.jump_chain());
  r.ethertype = ethertype(p.has_ethertype(), p.ethertype());
  r.src_mac = masked_mac(p.has_src_mac(), p.src_mac());
  r.dst_mac = masked_mac(p.has_dst_mac(), p.dst_mac());
  r.source = prefix(p.has_source(), p.source());
  r.destination = prefix(p.has_destination(), p.destination());
  r.source_group = optional_id<AddressGroupId>(p.has_source_group(), p.source_group());
  r.destination_group =
      optional_id<AddressGroupId>(p.has_destination_group(), p.destination_group());
  if (p.has_protocol()) r.protocol = byte(p.protocol());
  for (const auto& raw : p.source_ports()) r.source_ports.push_back(ports(raw));
  for (const auto& raw : p.destination_ports()) r.destination_ports.push_back(ports(raw));
  if (p.has_tcp_flags()) r.tcp_flags = {byte(p.tcp_flags()), byte(p.tcp_flags(), 1)};
  r.icmp_type = small(p.has_icmp_type(), p.icmp_type());
  r.icmp_code = small(p.has_icmp_code(), p.icmp_code());
  r.dscp = small(p.has_dscp(), p.dscp());
  if (p.has_fragment()) r.fragment = static_cast<model::FragmentClass>(p.fragment() - 1);
  r.in_port = optional_id<PortId>(p.has_in_port(), p.in_port());
  r.out_port = optional_id<PortId>(p.has_out_port(), p.out_port());
  r.in_port_group = optional_id<PortGroupId>(p.has_in_port_group(), p.in_port_group());
  r.out_port_group = optional_id<PortGroupId>(p.has_out_port_group(), p.out_port_group());
  for (const int condition : p.inverted()) r.inverted |= 1u << (condition - 1);
  return r;
}

model::SecurityRule rule_of(const Uuid& id, const v1::SecurityRule& p) {
  auto r = named<model::SecurityRule>(id, p);
  r.group = id_of<SecurityGroupId>(p.security_group());
  r.ingress = p.direction() == v1::SecurityRule::INGRESS;
  r.ethertype = ethertype(p.has_ethertype(), p.ethertype());
  if (p.has_protocol()) r.protocol = byte(p.protocol());
  if (p.has_ports()) r.ports = ports(p.ports());
  r.icmp_type = small(p.has_icmp_type(), p.icmp_type());
  r.icmp_code = small(p.has_icmp_code(), p.icmp_code());
  r.remote_prefix = prefix(p.has_remote_prefix(), p.remote_prefix());
  r.remote_group = optional_id<SecurityGroupId>(p.has_remote_group(), p.remote_group());
  r.remote_address_group =
      optional_id<AddressGroupId>(p.has_remote_address_group(), p.remote_address_group());
  return r;
}

template <typename Change, typename Map>
void add_kind(const Map& before, const Map& after, std::vector<model::Change>& out) {
  for (const auto& [id, record] : before)
    if (!after.contains(id)) out.push_back(Change{id, std::nullopt});
  for (const auto& [id, record] : after)
    if (const auto old = before.find(id); old == before.end() || !(old->second == record))
      out.push_back(Change{id, record});
}

template <typename Proto, typename Device>
void set_chains(const Proto& p, Device& device) {
  device.in_chain = optional_id<ChainId>(p.has_in_chain(), p.in_chain());
  device.out_chain = optional_id<ChainId>(p.has_out_chain(), p.out_chain());
}

}  // namespace

void FilterRecords::take(const Uuid& id, const Message& object) {
  if (const auto* chain = dynamic_cast<const v1::Chain*>(&object)) {
    chains[{id}] = named<model::Chain>(id, *chain);
  } else if (const auto* rule = dynamic_cast<const v1::Rule*>(&object)) {
    rules[{id}] = rule_of(id, *rule);
  } else if (const auto* group = dynamic_cast<const v1::AddressGroup*>(&object)) {
    auto& out = address_groups[{id}] = named<model::AddressGroup>(id, *group);
    for (const auto& raw : group->prefixes())
      if (const auto p = IpPrefix::from_bytes(raw)) out.prefixes.push_back(*p);
    std::sort(out.prefixes.begin(), out.prefixes.end());
  } else if (const auto* ports_together = dynamic_cast<const v1::PortGroup*>(&object)) {
    port_groups[{id}] = named<model::PortGroup>(id, *ports_together);
  } else if (const auto* security = dynamic_cast<const v1::SecurityGroup*>(&object)) {
    security_groups[{id}] = named<model::SecurityGroup>(id, *security);
  } else if (const auto* allowing = dynamic_cast<const v1::SecurityRule*>(&object)) {
    security_rules[{id}] = rule_of(id, *allowing);
  }
}

void FilterRecords::take_member(const model::Port& port) {
  for (const SecurityGroupId group : port.security_groups)
    members[group].push_back({port.id, port.addresses});
}

void set_filters(const Message& object, model::Port& port) {
  const auto& p = dynamic_cast<const v1::Port&>(object);
  set_chains(p, port);
  port.security_groups.clear();
  for (const auto& raw : p.security_groups())
    port.security_groups.push_back(id_of<SecurityGroupId>(raw));
  std::sort(port.security_groups.begin(), port.security_groups.end());
  port.port_groups.clear();
  for (const auto& raw : p.port_groups()) port.port_groups.push_back(id_of<PortGroupId>(raw));
  std::sort(port.port_groups.begin(), port.port_groups.end());
  port.port_security = p.port_security();
  port.allowed_pairs.clear();
  for (const std::string& raw : p.allowed_pairs()) {
    const size_t size = raw.size() > 11 ? 17 : 5;
    model::AddressPair pair;
    if (const auto network = IpPrefix::from_bytes(raw.substr(0, size))) pair.network = *network;
    pair.mac = MacAddr::from_bytes(raw.substr(size));
    port.allowed_pairs.push_back(pair);
  }
}

void set_filters(const Message& object, model::Bridge& bridge) {
  set_chains(dynamic_cast<const v1::Bridge&>(object), bridge);
}

void set_filters(const Message& object, model::Router& router) {
  set_chains(dynamic_cast<const v1::Router&>(object), router);
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
