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
  }
  PLEXUS_CHECK(false, "a key of no kind");
}

}  // namespace plexus::store
