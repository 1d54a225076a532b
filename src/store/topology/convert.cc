// SPDX-License-Identifier: Apache-2.0
#include "store/topology/convert.h"

#include <algorithm>

#include "store/topology/convert_fields.h"
#include "store/topology/match_values.h"
#include "store/topology/schema.h"

namespace plexus::store {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool fully_known(const Message& record) {
  if (min_reader_of(record) > kSchemaLevel) return false;
  const auto& r = *record.GetReflection();
  if (!r.GetUnknownFields(record).empty()) return false;
  std::vector<const FieldDescriptor*> fields;
  r.ListFields(record, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? r.FieldSize(record, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        const int value = field->is_repeated() ? r.GetRepeatedEnumValue(record, field, i)
                                               : r.GetEnumValue(record, field);
        if (value == 0 || field->enum_type()->FindValueByNumber(value) == nullptr) return false;
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const Message& inner = field->is_repeated() ? r.GetRepeatedMessage(record, field, i)
                                                    : r.GetMessage(record, field);
        if (!fully_known(inner)) return false;
      }
    }
  }
  return true;
}

model::Bridge to_model(const v1::Bridge& record) {
  Fields fields(fully_known(record));
  model::Bridge bridge;
  bridge.id = fields.id<BridgeId>(record.id());
  bridge.name = record.name();
  bridge.admin_up = up(record.has_admin_up(), record.admin_up());
  bridge.learning = up(record.has_learning(), record.learning());
  if (record.has_mac_age()) bridge.mac_age = record.mac_age();
  if (record.has_macs_per_port()) bridge.macs_per_port = record.macs_per_port();
  bridge.in_chain = fields.optional_id<ChainId>(record.has_in_chain(), record.in_chain());
  bridge.out_chain = fields.optional_id<ChainId>(record.has_out_chain(), record.out_chain());
  bridge.dscp = fields.code_point(record.has_dscp(), record.dscp());
  bridge.forward_bpdu = record.forward_bpdu();
  bridge.forward_lldp = record.forward_lldp();
  bridge.storm_limit = record.storm_limit();
  bridge.unreadable = fields.unreadable();
  return bridge;
}

model::Router to_model(const v1::Router& record) {
  Fields fields(fully_known(record));
  model::Router router;
  router.id = fields.id<RouterId>(record.id());
  router.name = record.name();
  router.admin_up = up(record.has_admin_up(), record.admin_up());
  if (record.has_icmp_rate()) router.icmp_rate = record.icmp_rate();
  router.in_chain = fields.optional_id<ChainId>(record.has_in_chain(), record.in_chain());
  router.out_chain = fields.optional_id<ChainId>(record.has_out_chain(), record.out_chain());
  router.drop_fragments = record.drop_fragments();
  router.unreadable = fields.unreadable();
  return router;
}

model::Port to_model(const v1::Port& record) {
  Fields fields(fully_known(record));
  model::Port port;
  port.id = fields.id<PortId>(record.id());
  port.name = record.name();
  port.tenant = record.tenant();
  port.admin_up = up(record.has_admin_up(), record.admin_up());
  if (record.has_bridge()) port.device = fields.id<BridgeId>(record.bridge());
  if (record.has_router()) port.device = fields.id<RouterId>(record.router());
  port.peer = fields.optional_id<PortId>(record.has_peer(), record.peer());
  port.wanted_host = fields.optional_id<HostId>(record.has_host(), record.host());
  port.migrating_to = fields.optional_id<HostId>(record.has_migrating_to(), record.migrating_to());
  port.interface = record.interface();
  port.mac = fields.mac(record.has_mac(), record.mac());
  for (const std::string& raw : record.addresses()) port.addresses.push_back(fields.address(raw));
  for (const std::string& raw : record.networks()) port.networks.push_back(fields.prefix(raw));
  port.mtu = record.mtu();
  if (record.advertise()) {
    model::Advertising advertising;
    if (record.has_advertise_lifetime())
      advertising.lifetime = static_cast<uint16_t>(record.advertise_lifetime());
    advertising.managed = record.advertise_managed();
    advertising.other = record.advertise_other();
    advertising.autonomous = up(record.has_advertise_autonomous(), record.advertise_autonomous());
    port.advertising = advertising;
  }
  port.in_chain = fields.optional_id<ChainId>(record.has_in_chain(), record.in_chain());
  port.out_chain = fields.optional_id<ChainId>(record.has_out_chain(), record.out_chain());
  port.security_groups = fields.ids<SecurityGroupId>(record.security_groups());
  port.port_groups = fields.ids<PortGroupId>(record.port_groups());
  port.port_security = record.port_security();
  for (const std::string& raw : record.allowed_pairs()) {
    port.allowed_pairs.push_back(fields.need(address_pair_of(raw)));
  }
  port.dscp = fields.code_point(record.has_dscp(), record.dscp());
  port.parent = fields.optional_id<PortId>(record.has_parent(), record.parent());
  fields.refuse_unless(record.has_parent() == record.has_vlan() && record.vlan() <= kMaxVlan);
  port.vlan = static_cast<uint16_t>(record.vlan());
  for (const std::string& raw : record.dhcp_options())
    port.dhcp_options.push_back(fields.need(dhcp_option_of(raw)));
  port.outside = record.outside();
  port.storm_limit = record.storm_limit();
  // One device, and one way to be plugged in at most: anything else we would have to guess.
  port.unreadable = fields.unreadable() || record.has_bridge() == record.has_router() ||
                    record.has_peer() + record.has_host() + record.has_parent() > 1;
  return port;
}

model::Route to_model(const v1::Route& record) {
  Fields fields(fully_known(record));
  model::Route route;
  route.id = fields.id<RouteId>(record.id());
  route.router = fields.id<RouterId>(record.router());
  route.name = record.name();
  route.destination = fields.prefix(record.destination());
  switch (record.kind()) {
    case v1::BLACKHOLE:
      route.kind = model::RouteKind::blackhole;
      break;
    case v1::REJECT:
      route.kind = model::RouteKind::reject;
      break;
    default:
      route.kind = model::RouteKind::forward;
      break;
  }
  route.port = fields.optional_id<PortId>(record.has_port(), record.port());
  if (record.has_next_hop()) route.next_hop = fields.address(record.next_hop());
  route.metric = record.metric();
  if (record.has_weight()) route.weight = std::max(1u, record.weight());
  if (record.has_source()) route.source = fields.prefix(record.source());
  // A source of the other family would be one that no packet has, or one that was meant otherwise.
  route.unreadable =
      fields.unreadable() ||
      (record.has_source() && route.source.addr.family != route.destination.addr.family);
  return route;
}

model::AddressGroup to_model(const v1::AddressGroup& record) {
  Fields fields(fully_known(record));
  model::AddressGroup group;
  group.id = fields.id<AddressGroupId>(record.id());
  group.name = record.name();
  for (const std::string& raw : record.prefixes()) {
    group.prefixes.push_back(fields.need(network_of(raw)));
  }
  std::sort(group.prefixes.begin(), group.prefixes.end());
  group.prefixes.erase(std::unique(group.prefixes.begin(), group.prefixes.end()),
                       group.prefixes.end());
  group.unreadable = fields.unreadable();
  return group;
}

model::PortGroup to_model(const v1::PortGroup& record) {
  Fields fields(fully_known(record));
  model::PortGroup group;
  group.id = fields.id<PortGroupId>(record.id());
  group.name = record.name();
  group.unreadable = fields.unreadable();
  return group;
}

model::Chain to_model(const v1::Chain& record) {
  Fields fields(fully_known(record));
  model::Chain chain;
  chain.id = fields.id<ChainId>(record.id());
  chain.name = record.name();
  chain.unreadable = fields.unreadable();
  return chain;
}

model::SecurityGroup to_model(const v1::SecurityGroup& record) {
  Fields fields(fully_known(record));
  model::SecurityGroup group;
  group.id = fields.id<SecurityGroupId>(record.id());
  group.name = record.name();
  group.stateful = up(record.has_stateful(), record.stateful());
  group.unreadable = fields.unreadable();
  return group;
}

namespace {

// The words of the schema in its order, without the zeroth, which says nothing. A number that this build does not know makes
// a record unreadable.
static_assert(static_cast<int>(model::RuleAction::accept) + 1 == v1::Rule::ACCEPT);
static_assert(static_cast<int>(model::RuleAction::drop) + 1 == v1::Rule::DROP);
static_assert(static_cast<int>(model::RuleAction::reject) + 1 == v1::Rule::REJECT);
static_assert(static_cast<int>(model::RuleAction::jump) + 1 == v1::Rule::JUMP);
static_assert(static_cast<int>(model::RuleAction::return_) + 1 == v1::Rule::RETURN);
static_assert(static_cast<int>(model::RuleAction::continue_) + 1 == v1::Rule::CONTINUE);
static_assert(static_cast<int>(model::RuleAction::dnat) + 1 == v1::Rule::DNAT);
static_assert(static_cast<int>(model::RuleAction::snat) + 1 == v1::Rule::SNAT);
static_assert(static_cast<int>(model::RuleAction::mark) + 1 == v1::Rule::MARK);
static_assert(static_cast<int>(model::RuleAction::redirect) + 1 == v1::Rule::REDIRECT);
static_assert(static_cast<int>(model::FragmentClass::whole) + 1 == v1::Rule::WHOLE);
static_assert(static_cast<int>(model::FragmentClass::first) + 1 == v1::Rule::FIRST);
static_assert(static_cast<int>(model::FragmentClass::later) + 1 == v1::Rule::LATER);
static_assert(static_cast<int>(model::FragmentClass::any_fragment) + 1 == v1::Rule::ANY_FRAGMENT);
static_assert(static_cast<int>(model::FragmentClass::with_header) + 1 == v1::Rule::WITH_HEADER);
static_assert(static_cast<int>(model::Condition::ethertype) + 1 == v1::Rule::ETHERTYPE);
static_assert(static_cast<int>(model::Condition::tcp_flags) + 1 == v1::Rule::TCP_FLAGS);
static_assert(static_cast<int>(model::Condition::fragment) + 1 == v1::Rule::FRAGMENT);
static_assert(static_cast<int>(model::Condition::out_port_group) + 1 == v1::Rule::OUT_PORT_GROUP);
static_assert(static_cast<int>(model::Condition::connection) + 1 == v1::Rule::CONNECTION);
static_assert(static_cast<int>(model::Condition::vlan) + 1 == v1::Rule::VLAN);
static_assert(static_cast<int>(model::Condition::through_router) + 1 == v1::Rule::THROUGH_ROUTER);
static_assert(static_cast<int>(model::ConnectionCondition::new_) + 1 == v1::Rule::NEW);
static_assert(static_cast<int>(model::ConnectionCondition::untracked) + 1 == v1::Rule::UNTRACKED);

template <typename List>
std::vector<model::PortRange> port_ranges(Fields& fields, const List& list) {
  std::vector<model::PortRange> out;
  for (const std::string& raw : list) out.push_back(fields.need(port_range_of(raw)));
  return out;
}

/// What the action works with; each is there with its action and with no other.
void set_what_it_does(Fields& fields, const v1::Rule& record, model::Rule& rule) {
  using model::RuleAction;
  rule.log = record.log();
  rule.to_addresses =
      fields.optional(record.has_to_addresses(), record.to_addresses(), &network_of);
  rule.to_ports = fields.optional(record.has_to_ports(), record.to_ports(), &port_range_of);
  rule.snat_pool = fields.optional_id<SnatPoolId>(record.has_snat_pool(), record.snat_pool());
  rule.set_dscp = fields.code_point(record.has_set_dscp(), record.set_dscp());
  rule.redirect_port =
      fields.optional_id<PortId>(record.has_redirect_port(), record.redirect_port());
  const bool dnat = rule.action == RuleAction::dnat;
  fields.refuse_unless(dnat == rule.to_addresses.has_value() && (dnat || !rule.to_ports));
  fields.refuse_unless((rule.action == RuleAction::snat) == rule.snat_pool.has_value());
  fields.refuse_unless((rule.action == RuleAction::mark) == rule.set_dscp.has_value());
  fields.refuse_unless((rule.action == RuleAction::redirect) == rule.redirect_port.has_value());
}

}  // namespace

model::Rule to_model(const v1::Rule& record) {
  Fields fields(fully_known(record));
  model::Rule rule;
  rule.id = fields.id<RuleId>(record.id());
  rule.chain = fields.id<ChainId>(record.chain());
  rule.name = record.name();
  rule.position = record.position();
  const bool known = record.action() >= v1::Rule::ACCEPT && record.action() <= v1::Rule::REDIRECT;
  fields.refuse_unless(known);
  rule.action =
      known ? static_cast<model::RuleAction>(record.action() - 1) : model::RuleAction::drop;
  rule.jump_chain = fields.optional_id<ChainId>(record.has_jump_chain(), record.jump_chain());
  fields.refuse_unless((rule.action == model::RuleAction::jump) == rule.jump_chain.has_value());
  rule.ethertype = fields.optional(record.has_ethertype(), record.ethertype(), &ethertype_of);
  rule.src_mac = fields.optional(record.has_src_mac(), record.src_mac(), &masked_mac_of);
  rule.dst_mac = fields.optional(record.has_dst_mac(), record.dst_mac(), &masked_mac_of);
  rule.source = fields.optional(record.has_source(), record.source(), &network_of);
  rule.destination = fields.optional(record.has_destination(), record.destination(), &network_of);
  rule.source_group =
      fields.optional_id<AddressGroupId>(record.has_source_group(), record.source_group());
  rule.destination_group = fields.optional_id<AddressGroupId>(record.has_destination_group(),
                                                              record.destination_group());
  rule.protocol = fields.optional(record.has_protocol(), record.protocol(), &protocol_of);
  rule.source_ports = port_ranges(fields, record.source_ports());
  rule.destination_ports = port_ranges(fields, record.destination_ports());
  rule.tcp_flags = fields.optional(record.has_tcp_flags(), record.tcp_flags(), &tcp_flags_of);
  rule.icmp_type = fields.byte(record.has_icmp_type(), record.icmp_type());
  rule.icmp_code = fields.byte(record.has_icmp_code(), record.icmp_code());
  rule.dscp = fields.code_point(record.has_dscp(), record.dscp());
  if (record.has_fragment() && v1::Rule::Fragment_IsValid(record.fragment()) &&
      record.fragment() != v1::Rule::FRAGMENT_UNSPECIFIED) {
    rule.fragment = static_cast<model::FragmentClass>(record.fragment() - 1);
  }
  rule.in_port = fields.optional_id<PortId>(record.has_in_port(), record.in_port());
  rule.out_port = fields.optional_id<PortId>(record.has_out_port(), record.out_port());
  rule.in_port_group =
      fields.optional_id<PortGroupId>(record.has_in_port_group(), record.in_port_group());
  rule.out_port_group =
      fields.optional_id<PortGroupId>(record.has_out_port_group(), record.out_port_group());
  for (const int connection : record.connection()) {
    if (connection > 0 && v1::Rule::Connection_IsValid(connection))
      rule.connection = static_cast<uint8_t>(rule.connection | 1u << (connection - 1));
  }
  rule.inner_source =
      fields.optional(record.has_inner_source(), record.inner_source(), &network_of);
  rule.inner_destination =
      fields.optional(record.has_inner_destination(), record.inner_destination(), &network_of);
  fields.refuse_unless(record.vlan() <= kMaxVlan);
  if (record.has_vlan()) rule.vlan = static_cast<uint16_t>(record.vlan());
  rule.through_bridge =
      fields.optional_id<BridgeId>(record.has_through_bridge(), record.through_bridge());
  rule.through_router =
      fields.optional_id<RouterId>(record.has_through_router(), record.through_router());
  set_what_it_does(fields, record, rule);
  for (const int condition : record.inverted()) {
    if (condition > 0 && v1::Rule::Condition_IsValid(condition))
      rule.inverted |= 1u << static_cast<unsigned>(condition - 1);
  }
  rule.unreadable = fields.unreadable();
  return rule;
}

model::SecurityRule to_model(const v1::SecurityRule& record) {
  Fields fields(fully_known(record));
  model::SecurityRule rule;
  rule.id = fields.id<SecurityRuleId>(record.id());
  rule.group = fields.id<SecurityGroupId>(record.security_group());
  rule.name = record.name();
  fields.refuse_unless(record.direction() == v1::SecurityRule::INGRESS ||
                       record.direction() == v1::SecurityRule::EGRESS);
  rule.ingress = record.direction() == v1::SecurityRule::INGRESS;
  rule.ethertype = fields.optional(record.has_ethertype(), record.ethertype(), &ethertype_of);
  rule.protocol = fields.optional(record.has_protocol(), record.protocol(), &protocol_of);
  rule.ports = fields.optional(record.has_ports(), record.ports(), &port_range_of);
  rule.icmp_type = fields.byte(record.has_icmp_type(), record.icmp_type());
  rule.icmp_code = fields.byte(record.has_icmp_code(), record.icmp_code());
  rule.remote_prefix =
      fields.optional(record.has_remote_prefix(), record.remote_prefix(), &network_of);
  rule.remote_group =
      fields.optional_id<SecurityGroupId>(record.has_remote_group(), record.remote_group());
  rule.remote_address_group = fields.optional_id<AddressGroupId>(record.has_remote_address_group(),
                                                                 record.remote_address_group());
  // Of two remotes the narrower might be meant, or both.
  fields.refuse_unless(record.has_remote_prefix() + record.has_remote_group() +
                           record.has_remote_address_group() <=
                       1);
  rule.unreadable = fields.unreadable();
  return rule;
}

std::vector<model::GroupMember> to_members(const v1::RefBucket& bucket) {
  std::vector<model::GroupMember> members;
  for (const v1::RefEntry& entry : bucket.entries()) {
    const auto port = Uuid::from_bytes(entry.id());
    if (!port) continue;
    model::GroupMember member{PortId{*port}, {}};
    for (const std::string& raw : entry.addresses()) {
      if (const auto address = IpAddr::from_bytes(raw)) member.addresses.push_back(*address);
    }
    members.push_back(std::move(member));
  }
  std::sort(members.begin(), members.end());
  return members;
}

model::Binding to_model(const v1::Binding& record) {
  Fields fields(fully_known(record));
  model::Binding binding;
  binding.port = fields.id<PortId>(record.port());
  if (record.has_host()) binding.host = fields.id<HostId>(record.host());
  binding.tunnel_key = record.tunnel_key();
  binding.generation = record.generation();
  // A binding that we cannot read in full is one that leads nowhere.
  binding.active = record.active() && record.has_host() && !fields.unreadable();
  for (const v1::LearnedMac& learned : record.learned()) {
    const auto mac = MacAddr::from_bytes(learned.mac());
    if (mac && !mac->is_multicast()) binding.learned.push_back({*mac, learned.sequence()});
  }
  std::sort(binding.learned.begin(), binding.learned.end());
  return binding;
}

model::Host to_model(const v1::HostState& record, std::string name) {
  model::Host host;
  host.id = HostId{Uuid::from_bytes(record.id()).value_or(Uuid{})};
  host.name = std::move(name);
  for (const std::string& raw : record.tunnel_addresses()) {
    if (const auto address = IpAddr::from_bytes(raw)) host.tunnel_addresses.push_back(*address);
  }
  for (const v1::FloodKey& key : record.flood_keys()) {
    if (const auto bridge = Uuid::from_bytes(key.bridge())) {
      host.flood_keys.emplace_back(BridgeId{*bridge}, key.key());
    }
  }
  std::sort(host.flood_keys.begin(), host.flood_keys.end());
  return host;
}

std::vector<model::Neighbour> to_model(PortId port, const v1::NeighbourTable& record) {
  std::vector<model::Neighbour> neighbours;
  for (const v1::NeighbourEntry& entry : record.entries()) {
    const auto address = IpAddr::from_bytes(entry.address());
    const auto mac = MacAddr::from_bytes(entry.mac());
    if (address && mac) neighbours.push_back({port, *address, *mac});
  }
  return neighbours;
}

}  // namespace plexus::store
