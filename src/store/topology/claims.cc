// SPDX-License-Identifier: Apache-2.0
#include "store/topology/claims.h"

#include <algorithm>
#include <iterator>

#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::store {
namespace {

void add_address(std::vector<Claim>& claims, const v1::Port& port, const Uuid& bridge,
                 const IpAddr& address, const char* field) {
  Claim claim = address_claim(bridge, address.str());
  claim.owner_type = "port";
  claim.field = field;
  if (port.has_router()) {
    claim.router = Uuid::from_bytes(port.router()).value_or(Uuid{});
    claim.port = Uuid::from_bytes(port.id()).value_or(Uuid{});
  }
  claims.push_back(std::move(claim));
}

void add_port_claims(std::vector<Claim>& claims, const v1::Port& port, const Uuid& peer_bridge) {
  // Where it is, and where it is about to be.
  for (const std::string* raw : {&port.host(), &port.migrating_to()}) {
    const auto host = Uuid::from_bytes(*raw);
    if (!host || !port.has_interface()) continue;
    claims.push_back({claim_path("host.interface", host->str(), port.interface()), "port",
                      "interface", "the interface " + port.interface() + " of this host"});
  }
  const Uuid bridge =
      port.has_bridge() ? Uuid::from_bytes(port.bridge()).value_or(Uuid{}) : peer_bridge;
  if (bridge.is_nil()) return;
  if (const auto mac = MacAddr::from_bytes(port.mac()); mac && !mac->is_zero()) {
    claims.push_back({claim_path("bridge.mac", bridge.str(), mac->str()), "port", "mac",
                      "the MAC " + mac->str() + " on this bridge"});
  }
  for (const std::string& raw : port.addresses()) {
    if (const auto address = IpAddr::from_bytes(raw)) {
      add_address(claims, port, bridge, *address, "addresses");
    }
  }
  for (const std::string& raw : port.networks()) {
    if (const auto network = IpPrefix::from_bytes(raw)) {
      add_address(claims, port, bridge, network->addr, "networks");
    }
  }
}

std::string value_claim(std::string_view what, const std::string& scope_raw,
                        const std::string& value) {
  return claim_path(what, Uuid::from_bytes(scope_raw).value_or(Uuid{}).str(), value);
}

void add_address_claim(std::vector<Claim>& claims, std::string_view what, const std::string& router,
                       const std::string& raw, const char* type, const char* field,
                       const char* text) {
  if (const auto address = IpAddr::from_bytes(raw)) {
    claims.push_back({value_claim(what, router, address->str()), type, field,
                      text + address->str() + " at this router"});
  }
}

/// A floating address takes all that comes to it, so no virtual address and no pool has the same one; these may share.
void add_outside_claim(std::vector<Claim>& claims, const Uuid& router, const std::string& raw,
                       const char* type, const char* field) {
  const auto address = IpAddr::from_bytes(raw);
  if (!address || router.is_nil()) return;
  Claim claim{claim_path("router.outside-address", router.str(), address->str()), type, field,
              "the address " + address->str() + " at this router"};
  if (type != std::string_view("floating-ip")) claim.router = router;
  claims.push_back(std::move(claim));
}

/// What one router, pool, bridge or port has once.
void add_service_claims(std::vector<Claim>& claims, const google::protobuf::Message& resource,
                        const Uuid& place) {
  if (const auto* floating = dynamic_cast<const v1::FloatingIp*>(&resource)) {
    add_address_claim(claims, "router.floating-ip", floating->router(), floating->address(),
                      "floating-ip", "address", "the floating address ");
    add_outside_claim(claims, Uuid::from_bytes(floating->router()).value_or(Uuid{}),
                      floating->address(), "floating-ip", "address");
    // One outside for one inside: else nobody knows as whom it speaks.
    if (floating->has_inside())
      add_address_claim(claims, "router.floating-inside", floating->router(), floating->inside(),
                        "floating-ip", "inside", "a floating address for ");
  } else if (const auto* pool = dynamic_cast<const v1::SnatPool*>(&resource)) {
    const Uuid router = Uuid::from_bytes(pool->router()).value_or(Uuid{});
    for (const std::string& raw : pool->addresses()) {
      // Two pools would lease the same ports.
      add_address_claim(claims, "router.snat-address", pool->router(), raw, "snat-pool",
                        "addresses", "the source address ");
      add_outside_claim(claims, router, raw, "snat-pool", "addresses");
    }
  } else if (const auto* vip = dynamic_cast<const v1::Vip*>(&resource)) {
    const auto address = IpAddr::from_bytes(vip->address());
    if (!address || vip->protocol().size() != 1 || place.is_nil()) return;
    const auto protocol = std::to_string(static_cast<uint8_t>(vip->protocol()[0]));
    const std::string port = std::to_string(vip->port());
    claims.push_back(
        {value_claim("router.vip", place.raw(), address->str() + "_" + protocol + "_" + port),
         "vip", "address", "port " + port + " of " + address->str() + " at this router"});
    add_outside_claim(claims, place, vip->address(), "vip", "address");
  } else if (const auto* member = dynamic_cast<const v1::PoolMember*>(&resource)) {
    const auto address = IpAddr::from_bytes(member->address());
    if (!address) return;
    const std::string port = member->has_port() ? std::to_string(member->port()) : "any";
    claims.push_back({value_claim("pool.member", member->pool(), address->str() + "_" + port),
                      "pool-member", "address",
                      "port " + port + " of " + address->str() + " in this pool"});
  } else if (const auto* subnet = dynamic_cast<const v1::DhcpSubnet*>(&resource)) {
    if (const auto network = IpPrefix::from_bytes(subnet->network())) {
      claims.push_back({value_claim("bridge.dhcp", subnet->bridge(), network->str()), "dhcp-subnet",
                        "network", "the network " + network->str() + " on this bridge"});
    }
  }
}

/// The values of the fields that the option name_scope names.
std::string name_scope_of(const google::protobuf::Message& resource) {
  std::string scope;
  for (const std::string& name : options_of(*resource.GetDescriptor()).name_scope()) {
    const auto* field = resource.GetDescriptor()->FindFieldByName(name);
    const bool uuid = field->options().GetExtension(v1::format) == v1::FORMAT_UUID;
    const std::string value = uuid ? uuid_field(resource, *field).str()
                                   : resource.GetReflection()->GetString(resource, field);
    scope += (scope.empty() || value.empty() ? "" : ",") + value;
  }
  return scope;
}

}  // namespace

std::vector<Claim> claims_of(const google::protobuf::Message& resource, const Uuid& place) {
  std::vector<Claim> claims;
  const auto& type = *resource.GetDescriptor();
  const std::string& singular = options_of(type).singular();
  if (const std::string name = name_of(resource); !name.empty()) {
    const std::string scope = name_scope_of(resource);
    claims.push_back(
        {claim_path(singular + ".name", scope, name), singular, "name", "the name " + name});
  }
  if (const auto* port = dynamic_cast<const v1::Port*>(&resource)) {
    add_port_claims(claims, *port, place);
    if (port->has_parent() && port->has_vlan()) {
      const std::string vlan = std::to_string(port->vlan());
      claims.push_back({value_claim("port.vlan", port->parent(), vlan), "port", "vlan",
                        "the VLAN " + vlan + " of this parent"});
    }
  }
  add_service_claims(claims, resource, place);
  sort_claims(claims);
  return claims;
}

bool is_claimed(std::string_view what) {
  static constexpr std::string_view kWhat[] = {"host.interface",
                                               "bridge.mac",
                                               "bridge.address",
                                               "bridge.dhcp",
                                               "router.floating-ip",
                                               "router.vip",
                                               "port.vlan",
                                               "router.floating-inside",
                                               "pool.member",
                                               "router.snat-address",
                                               "router.outside-address"};
  if (std::find(std::begin(kWhat), std::end(kWhat), what) != std::end(kWhat)) return true;
  constexpr std::string_view kName = ".name";
  if (!what.ends_with(kName)) return false;
  what.remove_suffix(kName.size());
  return find_resource_type(what) != nullptr;
}

Claim address_claim(const Uuid& bridge, const std::string& address) {
  Claim claim;
  claim.path = claim_path("bridge.address", bridge.str(), address);
  claim.text = "the address " + address;
  claim.bridge = bridge;
  return claim;
}

void sort_claims(std::vector<Claim>& claims) {
  std::sort(claims.begin(), claims.end());
  claims.erase(std::unique(claims.begin(), claims.end(),
                           [](const Claim& a, const Claim& b) { return a.path == b.path; }),
               claims.end());
}

bool is_shared(const Claim& claim) {
  return !claim.router.is_nil() && claim.owner_type != "port";
}

Obstacle obstacle(const v1::UniqueClaim& record, const Claim& claim, const Uuid& mine,
                  const Uuid& router_of_owner) {
  if (record.has_id()) {
    const bool free =
        is_shared(claim) ? router_of_owner == claim.router : record.id() == mine.raw();
    if (!free) return Obstacle::owner;
  }
  if (record.has_router() && record.router() != claim.router.raw()) return Obstacle::router;
  return Obstacle::none;
}

void add_part(v1::UniqueClaim& record, const Claim& claim, const Uuid& mine) {
  const std::string raw = mine.raw();
  if (!is_shared(claim)) return record.set_id(raw);
  record.set_router(claim.router.raw());
  if (claim.owner_type == "floating-ip") return record.set_floating_ip(raw);
  if (claim.owner_type == "snat-pool") return record.set_snat_pool(raw);
  auto& vips = *record.mutable_vips();
  const auto at = std::lower_bound(vips.begin(), vips.end(), raw);
  if (at != vips.end() && *at == raw) return;
  const auto index = at - vips.begin();
  *vips.Add() = raw;
  std::rotate(vips.begin() + index, vips.end() - 1, vips.end());
}

void drop_part(v1::UniqueClaim& record, const Claim& claim, const Uuid& mine) {
  const std::string raw = mine.raw();
  if (!is_shared(claim)) {
    if (record.id() == raw) record.clear_id();
    return;
  }
  if (record.router() != claim.router.raw()) return;
  if (claim.owner_type == "floating-ip" && record.floating_ip() == raw) record.clear_floating_ip();
  if (claim.owner_type == "snat-pool" && record.snat_pool() == raw) record.clear_snat_pool();
  auto& vips = *record.mutable_vips();
  if (claim.owner_type == "vip") vips.erase(std::remove(vips.begin(), vips.end(), raw), vips.end());
  if (!record.has_floating_ip() && !record.has_snat_pool() && vips.empty()) record.clear_router();
}

bool is_empty(const v1::UniqueClaim& record) {
  return !record.has_id() && !record.has_router();
}

}  // namespace plexus::store
