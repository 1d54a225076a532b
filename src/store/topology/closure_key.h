// SPDX-License-Identifier: Apache-2.0
// ClosureKey: names one record of the part of the store that one host follows (reader.h), and one record of its disk
// snapshot (closure_file.h): the numbers of kinds and indexes are on disks, they never change. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/ids.h"

namespace plexus::store {

struct ClosureKey {
  enum class Kind : uint8_t {
    host = 0,
    host_state = 1,
    bridge = 2,
    router = 3,
    port = 4,
    route = 5,
    binding = 6,
    neighbours = 7,
    head = 8,
    bucket = 9,
    tunnel_keys = 10,
    chain = 11,
    rule = 12,
    address_group = 13,
    port_group = 14,
    security_group = 15,
    security_rule = 16,
    floating_ip = 17,
    snat_pool = 18,
    load_balancer = 19,
    vip = 20,
    pool = 21,
    pool_member = 22,
    dhcp_subnet = 23,
    mirror = 24,
    host_blocks = 25,
    trace_request = 26,
  };
  static constexpr Kind kLastKind = Kind::trace_request;
  /// The indexes that a closure follows. `none` for keys that are not part of one.
  enum class Index : uint8_t {
    none = 0,
    wanted_ports = 1,
    bridge_ports = 2,
    router_ports = 3,
    router_routes = 4,
    migrating_ports = 5,
    chain_rules = 6,
    group_rules = 7,    ///< security rules of a security group
    group_members = 8,  ///< ports of a security group, with their addresses
    router_floating_ips = 9,
    router_snat_pools = 10,
    router_balancers = 11,
    balancer_vips = 12,
    pool_members = 13,
    bridge_subnets = 14,
    bridge_mirrors = 15,         ///< at the bridge or any port of it
    router_mirrors = 16,         ///< at the router or any port of it
    sub_ports = 17,              ///< of a port that is wanted on this host
    bridge_trace_requests = 18,  ///< as those of mirrors
    router_trace_requests = 19,
  };
  static constexpr Index kLastIndex = Index::router_trace_requests;

  Kind kind = Kind::host;
  Index index = Index::none;
  uint32_t bucket = 0;
  Uuid id;
  bool operator==(const ClosureKey&) const = default;
};

/// Where the record is in the store.
[[nodiscard]] std::string path_of(const ClosureKey& key);

/// What is known of one record.
struct ClosureRecord {
  ClosureKey key;
  std::optional<std::string> value;  ///< nullopt: it is known that there is none
  int64_t version = 0;
};

}  // namespace plexus::store

template <>
struct std::hash<plexus::store::ClosureKey> {
  size_t operator()(const plexus::store::ClosureKey& key) const noexcept {
    return std::hash<plexus::Uuid>{}(key.id) ^
           (static_cast<size_t>(key.kind) * 0x9e3779b97f4a7c15ULL +
            static_cast<size_t>(key.index) * 0xff51afd7ed558ccdULL +
            key.bucket * 0xc4ceb9fe1a85ec53ULL);
  }
};
