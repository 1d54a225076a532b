// SPDX-License-Identifier: Apache-2.0
// Translations, load balancers, DHCP and mirrors, as the model has them.
#include <algorithm>

#include "store/topology/convert.h"
#include "store/topology/convert_fields.h"
#include "store/topology/match_values.h"

namespace plexus::store {

model::FloatingIp to_model(const v1::FloatingIp& record) {
  Fields fields(fully_known(record));
  model::FloatingIp floating;
  floating.id = fields.id<FloatingIpId>(record.id());
  floating.router = fields.id<RouterId>(record.router());
  floating.name = record.name();
  floating.admin_up = up(record.has_admin_up(), record.admin_up());
  floating.address = fields.address(record.address());
  if (record.has_inside()) {
    floating.inside = fields.address(record.inside());
    fields.refuse_unless(floating.inside->family == floating.address.family);
  }
  floating.unreadable = fields.unreadable();
  return floating;
}

model::SnatPool to_model(const v1::SnatPool& record) {
  Fields fields(fully_known(record));
  model::SnatPool pool;
  pool.id = fields.id<SnatPoolId>(record.id());
  pool.router = fields.id<RouterId>(record.router());
  pool.name = record.name();
  for (const std::string& raw : record.addresses()) pool.addresses.push_back(fields.address(raw));
  std::sort(pool.addresses.begin(), pool.addresses.end());
  pool.addresses.erase(std::unique(pool.addresses.begin(), pool.addresses.end()),
                       pool.addresses.end());
  if (record.has_ports()) pool.ports = fields.need(port_range_of(record.ports()));
  pool.unreadable = fields.unreadable();
  return pool;
}

model::LoadBalancer to_model(const v1::LoadBalancer& record) {
  Fields fields(fully_known(record));
  model::LoadBalancer balancer;
  balancer.id = fields.id<LoadBalancerId>(record.id());
  balancer.router = fields.id<RouterId>(record.router());
  balancer.name = record.name();
  balancer.admin_up = up(record.has_admin_up(), record.admin_up());
  balancer.unreadable = fields.unreadable();
  return balancer;
}

model::Vip to_model(const v1::Vip& record) {
  Fields fields(fully_known(record));
  model::Vip vip;
  vip.id = fields.id<VipId>(record.id());
  vip.load_balancer = fields.id<LoadBalancerId>(record.load_balancer());
  vip.name = record.name();
  vip.admin_up = up(record.has_admin_up(), record.admin_up());
  vip.address = fields.address(record.address());
  vip.protocol = fields.need(protocol_of(record.protocol()));
  vip.port = fields.transport_port(true, record.port());
  vip.pool = fields.id<PoolId>(record.pool());
  vip.by_source_address = record.persistence() == v1::Vip::SOURCE_ADDRESS;
  vip.unreadable = fields.unreadable();
  return vip;
}

model::Pool to_model(const v1::Pool& record) {
  Fields fields(fully_known(record));
  model::Pool pool;
  pool.id = fields.id<PoolId>(record.id());
  pool.load_balancer = fields.id<LoadBalancerId>(record.load_balancer());
  pool.name = record.name();
  pool.admin_up = up(record.has_admin_up(), record.admin_up());
  pool.unreadable = fields.unreadable();
  return pool;
}

model::PoolMember to_model(const v1::PoolMember& record) {
  Fields fields(fully_known(record));
  model::PoolMember member;
  member.id = fields.id<PoolMemberId>(record.id());
  member.pool = fields.id<PoolId>(record.pool());
  member.name = record.name();
  member.admin_up = up(record.has_admin_up(), record.admin_up());
  member.address = fields.address(record.address());
  member.port = fields.transport_port(record.has_port(), record.port());
  if (record.has_weight()) member.weight = record.weight();
  member.backup = record.backup();
  member.up = record.status() != v1::PoolMember::DOWN;
  member.unreadable = fields.unreadable();
  return member;
}

model::DhcpSubnet to_model(const v1::DhcpSubnet& record) {
  Fields fields(fully_known(record));
  model::DhcpSubnet subnet;
  subnet.id = fields.id<DhcpSubnetId>(record.id());
  subnet.bridge = fields.id<BridgeId>(record.bridge());
  subnet.name = record.name();
  subnet.admin_up = up(record.has_admin_up(), record.admin_up());
  subnet.network = fields.need(network_of(record.network()));
  const auto address = [&](bool has, const std::string& raw) -> std::optional<IpAddr> {
    if (!has) return std::nullopt;
    const IpAddr a = fields.address(raw);
    fields.refuse_unless(a.family == subnet.network.addr.family);
    return a;
  };
  subnet.server_address = address(record.has_server_address(), record.server_address());
  subnet.gateway = address(record.has_gateway(), record.gateway());
  for (const std::string& raw : record.dns_servers())
    subnet.dns_servers.push_back(*address(true, raw));
  for (const std::string& raw : record.ntp_servers())
    subnet.ntp_servers.push_back(*address(true, raw));
  subnet.domain = fields.optional(record.has_domain(), record.domain(), &domain_of).value_or("");
  fields.refuse_unless(record.mtu() <= 0xffff);
  subnet.mtu = static_cast<uint16_t>(record.mtu());
  if (record.has_lease_time()) subnet.lease_time = record.lease_time();
  for (const std::string& raw : record.routes()) {
    subnet.routes.push_back(fields.need(via_of(raw)));
    fields.refuse_unless(subnet.routes.back().second.family == subnet.network.addr.family);
  }
  for (const std::string& raw : record.options())
    subnet.options.push_back(fields.need(dhcp_option_of(raw)));
  subnet.unreadable = fields.unreadable();
  return subnet;
}

model::Mirror to_model(const v1::Mirror& record) {
  Fields fields(fully_known(record));
  model::Mirror mirror;
  mirror.id = fields.id<MirrorId>(record.id());
  mirror.name = record.name();
  mirror.admin_up = up(record.has_admin_up(), record.admin_up());
  if (record.has_port()) mirror.at = fields.id<PortId>(record.port());
  if (record.has_bridge()) mirror.at = fields.id<BridgeId>(record.bridge());
  if (record.has_router()) mirror.at = fields.id<RouterId>(record.router());
  fields.refuse_unless(record.has_port() + record.has_bridge() + record.has_router() == 1);
  fields.refuse_unless(record.has_which());
  mirror.in = record.which() == v1::Mirror::IN || record.which() == v1::Mirror::BOTH;
  mirror.out = record.which() == v1::Mirror::OUT || record.which() == v1::Mirror::BOTH;
  mirror.to_port = fields.id<PortId>(record.to_port());
  mirror.unreadable = fields.unreadable();
  return mirror;
}

model::TraceRequest to_model(const v1::TraceRequest& record) {
  Fields fields(fully_known(record));
  model::TraceRequest request;
  request.id = fields.id<TraceRequestId>(record.id());
  request.name = record.name();
  request.admin_up = up(record.has_admin_up(), record.admin_up());
  if (record.has_port()) request.at = fields.id<PortId>(record.port());
  if (record.has_bridge()) request.at = fields.id<BridgeId>(record.bridge());
  if (record.has_router()) request.at = fields.id<RouterId>(record.router());
  fields.refuse_unless(record.has_port() + record.has_bridge() + record.has_router() == 1);
  if (record.has_limit()) request.limit = record.limit();
  model::Rule& match = request.match;
  match.ethertype = fields.optional(record.has_ethertype(), record.ethertype(), &ethertype_of);
  match.src_mac = fields.optional(record.has_src_mac(), record.src_mac(), &masked_mac_of);
  match.dst_mac = fields.optional(record.has_dst_mac(), record.dst_mac(), &masked_mac_of);
  match.source = fields.optional(record.has_source(), record.source(), &network_of);
  match.destination = fields.optional(record.has_destination(), record.destination(), &network_of);
  match.protocol = fields.optional(record.has_protocol(), record.protocol(), &protocol_of);
  for (const std::string& raw : record.source_ports())
    match.source_ports.push_back(fields.need(port_range_of(raw)));
  for (const std::string& raw : record.destination_ports())
    match.destination_ports.push_back(fields.need(port_range_of(raw)));
  request.unreadable = fields.unreadable();
  return request;
}

}  // namespace plexus::store
