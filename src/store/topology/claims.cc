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
  if (port.has_host() && port.has_interface()) {
    const auto host = Uuid::from_bytes(port.host()).value_or(Uuid{});
    claims.push_back({claim_path("host.interface", host.str(), port.interface()), "port",
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

}  // namespace

std::vector<Claim> claims_of(const google::protobuf::Message& resource, const Uuid& peer_bridge) {
  std::vector<Claim> claims;
  const auto& type = *resource.GetDescriptor();
  const std::string& singular = options_of(type).singular();
  if (const std::string name = name_of(resource); !name.empty()) {
    // Routes are named within their router, everything else within its tenant.
    const auto* route = dynamic_cast<const v1::Route*>(&resource);
    const std::string scope = route == nullptr
                                  ? tenant_of(resource)
                                  : Uuid::from_bytes(route->router()).value_or(Uuid{}).str();
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
