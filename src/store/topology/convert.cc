// SPDX-License-Identifier: Apache-2.0
#include "store/topology/convert.h"

#include <algorithm>

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

namespace {

/// Reads bytes fields; what is set but impossible makes the record unreadable.
class Fields {
 public:
  explicit Fields(bool known) : unreadable_(!known) {}
  template <typename IdType>
  IdType id(const std::string& raw) {
    return IdType{need(Uuid::from_bytes(raw))};
  }
  template <typename IdType>
  std::optional<IdType> optional_id(bool has, const std::string& raw) {
    if (!has) return std::nullopt;
    return id<IdType>(raw);
  }
  MacAddr mac(bool has, const std::string& raw) {
    return has ? need(MacAddr::from_bytes(raw)) : MacAddr{};
  }
  IpAddr address(const std::string& raw) { return need(IpAddr::from_bytes(raw)); }
  IpPrefix prefix(const std::string& raw) { return need(IpPrefix::from_bytes(raw)); }
  [[nodiscard]] bool unreadable() const { return unreadable_; }

 private:
  template <typename T>
  T need(std::optional<T> value) {
    if (value) return *value;
    unreadable_ = true;
    return T{};
  }
  bool unreadable_;
};

bool up(bool has, bool value) {
  return !has || value;
}

}  // namespace

model::Bridge to_model(const v1::Bridge& record) {
  Fields fields(fully_known(record));
  model::Bridge bridge;
  bridge.id = fields.id<BridgeId>(record.id());
  bridge.name = record.name();
  bridge.admin_up = up(record.has_admin_up(), record.admin_up());
  bridge.learning = up(record.has_learning(), record.learning());
  if (record.has_mac_age()) bridge.mac_age = record.mac_age();
  if (record.has_macs_per_port()) bridge.macs_per_port = record.macs_per_port();
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
  // One device, and not wired and plugged in at once: anything else we would have to guess.
  port.unreadable = fields.unreadable() || record.has_bridge() == record.has_router() ||
                    (record.has_peer() && record.has_host());
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
