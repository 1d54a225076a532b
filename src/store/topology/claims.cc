// SPDX-License-Identifier: Apache-2.0
#include "store/topology/claims.h"

#include <algorithm>

#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/topology/layout.h"
#include "store/topology/schema.h"

namespace plexus::store {
namespace {

void add_address(std::vector<Claim>& claims, const Uuid& bridge, const IpAddr& address,
                 const char* field) {
  claims.push_back({claim_path("bridge.address", bridge.str(), address.str()), "port", field,
                    "the address " + address.str() + " on this bridge"});
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
      add_address(claims, bridge, *address, "addresses");
    }
  }
  for (const std::string& raw : port.networks()) {
    if (const auto network = IpPrefix::from_bytes(raw)) {
      add_address(claims, bridge, network->addr, "networks");
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

std::vector<Claim> claims_of(const google::protobuf::Message& resource, const Uuid& peer_bridge) {
  std::vector<Claim> claims;
  const auto& type = *resource.GetDescriptor();
  const std::string& singular = options_of(type).singular();
  if (const std::string name = name_of(resource); !name.empty()) {
    const std::string scope = name_scope_of(resource);
    claims.push_back(
        {claim_path(singular + ".name", scope, name), singular, "name", "the name " + name});
  }
  if (const auto* port = dynamic_cast<const v1::Port*>(&resource)) {
    add_port_claims(claims, *port, peer_bridge);
  }
  std::sort(claims.begin(), claims.end());
  claims.erase(std::unique(claims.begin(), claims.end(),
                           [](const Claim& a, const Claim& b) { return a.path == b.path; }),
               claims.end());
  return claims;
}

}  // namespace plexus::store
