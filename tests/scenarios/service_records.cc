// SPDX-License-Identifier: Apache-2.0
#include "scenarios/service_records.h"

#include "packet/wire.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

template <typename Id>
Id id_of(const std::string& raw) {
  return Id{Uuid::from_bytes(raw).value_or(Uuid{})};
}

template <typename Id>
std::optional<Id> id_of(bool has, const std::string& raw) {
  return has ? std::optional(id_of<Id>(raw)) : std::nullopt;
}

std::optional<uint8_t> byte_of(bool has, uint32_t value) {
  return has ? std::optional(static_cast<uint8_t>(value)) : std::nullopt;
}

/// Address, then its length: 5 or 17 bytes.
std::optional<IpPrefix> prefix_of(bool has, const std::string& raw) {
  if (!has) return std::nullopt;
  IpPrefix out;
  out.addr.family = raw.size() == 5 ? IpFamily::v4 : IpFamily::v6;
  for (size_t i = 0; i + 1 < raw.size(); ++i) out.addr.bytes[i] = static_cast<uint8_t>(raw[i]);
  out.length = static_cast<uint8_t>(raw.back());
  return out;
}

model::Mirror mirror_of(const v1::Mirror& record) {
  model::Mirror m;
  m.id = id_of<MirrorId>(record.id());
  m.name = record.name();
  m.admin_up = !record.has_admin_up() || record.admin_up();
  m.unreadable = record.min_reader() > 0;
  if (record.has_port()) m.at = id_of<PortId>(record.port());
  if (record.has_bridge()) m.at = id_of<BridgeId>(record.bridge());
  if (record.has_router()) m.at = id_of<RouterId>(record.router());
  m.in = record.which() == v1::Mirror::IN || record.which() == v1::Mirror::BOTH;
  m.out = record.which() == v1::Mirror::OUT || record.which() == v1::Mirror::BOTH;
  m.to_port = id_of<PortId>(record.to_port());
  return m;
}

}  // namespace

void ServiceRecords::take(const Uuid& id, const google::protobuf::Message& object) {
  if (const auto* mirror = dynamic_cast<const v1::Mirror*>(&object))
    mirrors[{id}] = mirror_of(*mirror);
}

void add_changes(const ServiceRecords& before, const ServiceRecords& after,
                 std::vector<model::Change>& out) {
  for (const auto& [id, record] : before.mirrors)
    if (!after.mirrors.contains(id)) out.push_back(model::MirrorChange{id, std::nullopt});
  for (const auto& [id, record] : after.mirrors)
    if (const auto old = before.mirrors.find(id);
        old == before.mirrors.end() || old->second != record)
      out.push_back(model::MirrorChange{id, record});
}

model::Bridge with_services(const v1::Bridge& record) {
  model::Bridge bridge = store::to_model(record);
  bridge.dscp = byte_of(record.has_dscp(), record.dscp());
  bridge.forward_bpdu = record.forward_bpdu();
  bridge.forward_lldp = record.forward_lldp();
  return bridge;
}

model::Router with_services(const v1::Router& record) {
  model::Router router = store::to_model(record);
  router.drop_fragments = record.drop_fragments();
  return router;
}

model::Port with_services(const v1::Port& record) {
  model::Port port = store::to_model(record);
  port.dscp = byte_of(record.has_dscp(), record.dscp());
  port.parent = id_of<PortId>(record.has_parent(), record.parent());
  port.vlan = static_cast<uint16_t>(record.vlan());
  return port;
}

model::Rule with_services(const v1::Rule& record) {
  v1::Rule plain = record;
  const bool marks = record.action() == v1::Rule::MARK;
  const bool redirects = record.action() == v1::Rule::REDIRECT;
  if (marks || redirects) plain.set_action(v1::Rule::CONTINUE);
  plain.clear_set_dscp();
  plain.clear_redirect_port();
  model::Rule rule = store::to_model(plain);
  if (marks) rule.action = model::RuleAction::mark;
  if (redirects) rule.action = model::RuleAction::redirect;
  rule.set_dscp = byte_of(record.has_set_dscp(), record.set_dscp());
  rule.redirect_port = id_of<PortId>(record.has_redirect_port(), record.redirect_port());
  rule.log = record.log();
  rule.inner_source = prefix_of(record.has_inner_source(), record.inner_source());
  rule.inner_destination = prefix_of(record.has_inner_destination(), record.inner_destination());
  if (record.has_vlan()) rule.vlan = static_cast<uint16_t>(record.vlan());
  rule.through_bridge = id_of<BridgeId>(record.has_through_bridge(), record.through_bridge());
  rule.through_router = id_of<RouterId>(record.has_through_router(), record.through_router());
  return rule;
}

}  // namespace plexus::scenario
