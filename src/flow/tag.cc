// SPDX-License-Identifier: Apache-2.0
#include "flow/tag.h"

#include <cstdio>
#include <string_view>

#include "packet/bytes.h"

namespace plexus {
namespace {

std::string_view name_of(TagKind kind) {
  switch (kind) {
    case TagKind::bridge:
      return "bridge";
    case TagKind::bridge_mac:
      return "bridge_mac";
    case TagKind::bridge_flood:
      return "bridge_flood";
    case TagKind::router:
      return "router";
    case TagKind::routes:
      return "routes";
    case TagKind::port:
      return "port";
    case TagKind::neighbour:
      return "neighbour";
    case TagKind::tunnel_key:
      return "tunnel_key";
    case TagKind::host:
      return "host";
    case TagKind::chain:
      return "chain";
    case TagKind::security_group:
      return "security_group";
    case TagKind::addresses:
      return "addresses";
    case TagKind::port_group:
      return "port_group";
    case TagKind::translations:
      return "translations";
    case TagKind::pool:
      return "pool";
    case TagKind::dhcp:
      return "dhcp";
    case TagKind::mirrors:
      return "mirrors";
    case TagKind::trace_requests:
      return "trace_requests";
  }
  return "unknown";
}

}  // namespace

std::string Tag::str() const {
  std::string out(name_of(kind));
  if (!id.is_nil()) out += " " + id.str();
  if (sub == 0) return out;
  if (kind == TagKind::bridge_mac) {
    MacAddr mac;
    for (size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(sub >> (40 - 8 * i));
    return out + " " + mac.str();
  }
  char hex[24];
  std::snprintf(hex, sizeof hex, " 0x%llx", static_cast<unsigned long long>(sub));
  return out + hex;
}

uint64_t tag_sub(const IpAddr& addr) {
  // The same on every run and machine: flows of one agent are compared with what its successor
  // computes.
  uint64_t h = 0x9e3779b97f4a7c15ULL;
  const auto mix = [&h](uint64_t word) {
    h = (h ^ word) * 0xff51afd7ed558ccdULL;
    h ^= h >> 32;
  };
  mix(static_cast<uint64_t>(addr.family));
  for (size_t i = 0; i < 16; i += 4) mix(be32_at(addr.bytes, i));
  return h;
}

}  // namespace plexus
