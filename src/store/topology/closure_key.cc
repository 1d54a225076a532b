// SPDX-License-Identifier: Apache-2.0
#include "store/topology/closure_key.h"

#include "base/check.h"
#include "store/topology/layout.h"

namespace plexus::store {
namespace {

std::string index_directory(const ClosureKey& key) {
  switch (key.index) {
    case ClosureKey::Index::wanted_ports:
      return index_path("host", key.id, "port.host");
    case ClosureKey::Index::migrating_ports:
      return index_path("host", key.id, "port.migrating_to");
    case ClosureKey::Index::bridge_ports:
      return index_path("bridge", key.id, "port.bridge");
    case ClosureKey::Index::router_ports:
      return index_path("router", key.id, "port.router");
    case ClosureKey::Index::router_routes:
      return index_path("router", key.id, "route.router");
    case ClosureKey::Index::chain_rules:
      return index_path("chain", key.id, "rule.chain");
    case ClosureKey::Index::group_rules:
      return index_path("security-group", key.id, "security-rule.security_group");
    case ClosureKey::Index::group_members:
      return index_path("security-group", key.id, "port.security_groups");
    case ClosureKey::Index::router_floating_ips:
      return index_path("router", key.id, "floating-ip.router");
    case ClosureKey::Index::router_snat_pools:
      return index_path("router", key.id, "snat-pool.router");
    case ClosureKey::Index::router_balancers:
      return index_path("router", key.id, "load-balancer.router");
    case ClosureKey::Index::balancer_vips:
      return index_path("load-balancer", key.id, "vip.load_balancer");
    case ClosureKey::Index::pool_members:
      return index_path("pool", key.id, "pool-member.pool");
    case ClosureKey::Index::bridge_subnets:
      return index_path("bridge", key.id, "dhcp-subnet.bridge");
    case ClosureKey::Index::bridge_mirrors:
      return index_path("bridge", key.id, "mirror.at_bridge");
    case ClosureKey::Index::router_mirrors:
      return index_path("router", key.id, "mirror.at_router");
    case ClosureKey::Index::sub_ports:
      return index_path("port", key.id, "port.parent");
    case ClosureKey::Index::bridge_trace_requests:
      return index_path("bridge", key.id, "trace-request.at_bridge");
    case ClosureKey::Index::router_trace_requests:
      return index_path("router", key.id, "trace-request.at_router");
    case ClosureKey::Index::none:
      break;
  }
  PLEXUS_CHECK(false, "a key of no index");
}

}  // namespace

std::string path_of(const ClosureKey& key) {
  switch (key.kind) {
    case ClosureKey::Kind::host:
      return object_path("host", key.id);
    case ClosureKey::Kind::host_state:
      return host_state_path(key.id);
    case ClosureKey::Kind::bridge:
      return object_path("bridge", key.id);
    case ClosureKey::Kind::router:
      return object_path("router", key.id);
    case ClosureKey::Kind::port:
      return object_path("port", key.id);
    case ClosureKey::Kind::route:
      return object_path("route", key.id);
    case ClosureKey::Kind::binding:
      return binding_path(key.id);
    case ClosureKey::Kind::neighbours:
      return neighbours_path(key.id);
    case ClosureKey::Kind::head:
      return index_head_path(index_directory(key));
    case ClosureKey::Kind::bucket:
      return index_bucket_path(index_directory(key), key.bucket);
    case ClosureKey::Kind::tunnel_keys:
      return tunnel_keys_path(key.id);
    case ClosureKey::Kind::chain:
      return object_path("chain", key.id);
    case ClosureKey::Kind::rule:
      return object_path("rule", key.id);
    case ClosureKey::Kind::address_group:
      return object_path("address-group", key.id);
    case ClosureKey::Kind::port_group:
      return object_path("port-group", key.id);
    case ClosureKey::Kind::security_group:
      return object_path("security-group", key.id);
    case ClosureKey::Kind::security_rule:
      return object_path("security-rule", key.id);
    case ClosureKey::Kind::floating_ip:
      return object_path("floating-ip", key.id);
    case ClosureKey::Kind::snat_pool:
      return object_path("snat-pool", key.id);
    case ClosureKey::Kind::load_balancer:
      return object_path("load-balancer", key.id);
    case ClosureKey::Kind::vip:
      return object_path("vip", key.id);
    case ClosureKey::Kind::pool:
      return object_path("pool", key.id);
    case ClosureKey::Kind::pool_member:
      return object_path("pool-member", key.id);
    case ClosureKey::Kind::dhcp_subnet:
      return object_path("dhcp-subnet", key.id);
    case ClosureKey::Kind::mirror:
      return object_path("mirror", key.id);
    case ClosureKey::Kind::trace_request:
      return object_path("trace-request", key.id);
    case ClosureKey::Kind::host_blocks:
      return host_blocks_path(key.id);
  }
  PLEXUS_CHECK(false, "a key of no kind");
}

}  // namespace plexus::store
