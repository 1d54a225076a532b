// SPDX-License-Identifier: Apache-2.0
#include "store/topology/rules.h"

#include <algorithm>

#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "plexus/v1/state.pb.h"
#include "store/topology/filter_rules.h"
#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/service_rules.h"
#include "store/topology/validate.h"

namespace plexus::store {
namespace {

using google::protobuf::Message;

constexpr uint32_t kMinIpv6Mtu = 1280;

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

std::vector<IpPrefix> networks_of(const v1::Port& port) {
  std::vector<IpPrefix> networks;
  for (const std::string& raw : port.networks()) {
    if (const auto network = IpPrefix::from_bytes(raw)) networks.push_back(*network);
  }
  return networks;
}

Result<void> check_port_alone(const v1::Port& port) {
  if (port.has_host() && !port.has_interface()) {
    return field_error(port, "interface", "is required with host");
  }
  if (port.has_migrating_to() && !port.has_host()) {
    return field_error(port, "migrating_to", "needs a host to come from: set host instead");
  }
  if (port.has_migrating_to() && port.migrating_to() == port.host()) {
    return field_error(port, "migrating_to", "is the port's host already: name another");
  }
  if (port.has_mac()) {
    const auto mac = MacAddr::from_bytes(port.mac());
    if (!mac || mac->is_zero() || mac->is_multicast()) {
      return field_error(port, "mac", "want the address of one interface, not zero, not a group's");
    }
  }
  if (port.has_bridge() && port.networks_size() > 0) {
    return field_error(port, "networks", "are for router ports; give addresses, or name a router");
  }
  if (port.has_router() && port.addresses_size() > 0) {
    return field_error(port, "addresses", "are for bridge ports; give networks, or name a bridge");
  }
  for (const char* field : {"mtu", "advertise", "advertise_lifetime", "advertise_managed",
                            "advertise_other", "advertise_autonomous"}) {
    if (port.has_bridge() &&
        port.GetReflection()->HasField(port, port.GetDescriptor()->FindFieldByName(field))) {
      return field_error(port, field, "is for router ports");
    }
  }
  const auto networks = networks_of(port);
  const bool ipv6 = std::any_of(networks.begin(), networks.end(),
                                [](const IpPrefix& n) { return n.addr.is_v6(); });
  if (ipv6 && port.has_mtu() && port.mtu() < kMinIpv6Mtu) {
    return field_error(port, "mtu", "IPv6 needs at least 1280 (RFC 8200 5)");
  }
  if (port.advertise() && !ipv6) {
    return field_error(port, "advertise", "there is no IPv6 network to advertise: give networks");
  }
  for (const std::string& raw : port.addresses()) {
    const auto address = IpAddr::from_bytes(raw);
    if (const std::string why = unfit_address(*address); !why.empty()) {
      return field_error(port, "addresses", why);
    }
  }
  for (const IpPrefix& network : networks) {
    if (std::string why = unfit_address(network.addr); !why.empty()) {
      return field_error(port, "networks", why);
    }
    const bool has_hosts = network.length + 1u < network.addr.bits();
    if (network.addr.is_v4() && has_hosts &&
        (network.addr == network.network().addr || network.addr == network.broadcast())) {
      return field_error(port, "networks",
                         network.str() +
                             " is the network's own or its broadcast address; want "
                             "the port's address in it");
    }
  }
  return Ok{};
}

Result<ChangeSet::Object*> load_port(ChangeSet& changes, const std::string& raw) {
  return changes.load(*v1::Port::descriptor(), uuid_of(raw));
}

Result<void> link(ChangeSet& changes, ChangeSet::Object& object) {
  auto& port = static_cast<v1::Port&>(*object.now);
  const auto* before = static_cast<const v1::Port*>(object.before.get());
  const std::string old_peer = before != nullptr ? before->peer() : "";
  if (old_peer == port.peer()) return Ok{};
  if (!old_peer.empty()) {
    auto other = load_port(changes, old_peer);
    if (!other.ok()) return other.error();
    if ((*other)->now) {
      auto& peer = static_cast<v1::Port&>(*(*other)->now);
      if (peer.peer() == object.id.raw()) {
        if (auto ok = check_writable(*(*other)->now); !ok.ok()) return ok;
        peer.clear_peer();
      }
    }
  }
  if (!port.has_peer()) return Ok{};
  if (port.peer() == object.id.raw()) return field_error(port, "peer", "is the port itself");
  auto other = load_port(changes, port.peer());
  if (!other.ok()) return other.error();
  if (!(*other)->now) return Ok{};  // the reference check says so
  auto& peer = static_cast<v1::Port&>(*(*other)->now);
  if (port.has_bridge() ? port.bridge() == peer.bridge() : port.router() == peer.router()) {
    return field_error(port, "peer", describe(peer) + " is on the same device: a link joins two");
  }
  if (peer.has_host()) {
    return field_error(port, "peer",
                       describe(peer) +
                           " has a host, so an interface is meant to plug in there: "
                           "clear its host first");
  }
  if (peer.has_peer() && peer.peer() != object.id.raw()) {
    auto third = load_port(changes, peer.peer());
    if (!third.ok()) return third.error();
    const Message* who = (*third)->either();
    return Error{ErrorCode::in_use, describe(port) + ": peer: " + describe(peer) + " is wired to " +
                                        (who != nullptr ? describe(*who) : "another port") +
                                        " already: clear that link first"};
  }
  if (auto ok = check_writable(*(*other)->now); !ok.ok()) return ok;
  if (peer.has_parent()) {
    return field_error(port, "peer",
                       describe(peer) + " is a sub-port: it has its parent's interface");
  }
  peer.set_peer(object.id.raw());
  return Ok{};
}

// What is wrong with `hop` as a neighbour on `port`; "": nothing.
std::string unfit_next_hop(const v1::Port& port, const IpAddr& hop) {
  bool family = false;
  for (const IpPrefix& network : networks_of(port)) {
    if (network.addr == hop) return hop.str() + " is an address of " + describe(port) + " itself";
    if (network.contains(hop)) return "";
    family |= network.addr.family == hop.family;
  }
  if (hop.is_v6() && hop.is_link_local() && family) return "";
  return hop.str() + " is in no network of " + describe(port);
}

Result<void> check_route(ChangeSet& changes, const v1::Route& route) {
  const bool forward = !route.has_kind() || route.kind() == v1::FORWARD;
  if (route.has_source()) {
    const auto source = IpPrefix::from_bytes(route.source());
    const auto destination = IpPrefix::from_bytes(route.destination());
    if (source && destination && source->addr.family != destination->addr.family) {
      return field_error(route, "source",
                         source->str() + " is not of the family of " + destination->str());
    }
  }
  if (!forward) {
    for (const char* field : {"port", "next_hop", "weight"}) {
      if (route.GetReflection()->HasField(route, route.GetDescriptor()->FindFieldByName(field))) {
        return field_error(route, field, "makes no sense on a route that does not forward");
      }
    }
    return Ok{};
  }
  if (!route.has_port()) {
    return field_error(route, "port", "is required, unless the kind is blackhole or reject");
  }
  auto loaded = load_port(changes, route.port());
  if (!loaded.ok()) return loaded.error();
  if (!(*loaded)->now) return Ok{};  // the reference check says so
  const auto& port = static_cast<const v1::Port&>(*(*loaded)->now);
  if (port.router() != route.router()) {
    return field_error(
        route, "port",
        describe(port) + " does not belong to the route's router: name one that does");
  }
  if (!route.has_next_hop()) return Ok{};
  const IpAddr hop = *IpAddr::from_bytes(route.next_hop());
  const auto destination = IpPrefix::from_bytes(route.destination());
  if (destination->addr.family != hop.family) {
    return field_error(route, "next_hop",
                       hop.str() + " is not of the family of " + destination->str());
  }
  if (const std::string why = unfit_next_hop(port, hop); !why.empty()) {
    return field_error(route, "next_hop", why);
  }
  return Ok{};
}

// A host that is on its way out takes no new ports.
Result<void> check_hosts(ChangeSet& changes, const ChangeSet::Object& object) {
  const auto& port = static_cast<const v1::Port&>(*object.now);
  const auto* before = static_cast<const v1::Port*>(object.before.get());
  for (const char* name : {"host", "migrating_to"}) {
    const auto& field = *v1::Port::descriptor()->FindFieldByName(name);
    const Uuid id = uuid_field(port, field);
    if (id.is_nil() || (before != nullptr && uuid_field(*before, field) == id)) continue;
    auto loaded = changes.load(*v1::Host::descriptor(), id);
    if (!loaded.ok()) return loaded.error();
    if (!(*loaded)->now) continue;  // the reference check says so
    const auto& host = static_cast<const v1::Host&>(*(*loaded)->now);
    if (host.fenced()) {
      return field_error(port, name,
                         describe(host) + " is fenced: name another host, or unfence it");
    }
    if (host.draining()) {
      return field_error(port, name,
                         describe(host) + " is draining: name another host, or end its draining");
    }
  }
  return Ok{};
}

// A port whose networks changed: the next hops of its routes must still be reachable by it.
Result<void> check_next_hops(ChangeSet& changes, const ChangeSet::Object& object) {
  const auto* before = static_cast<const v1::Port*>(object.before.get());
  const auto& port = static_cast<const v1::Port&>(*object.now);
  if (before == nullptr || networks_of(*before) == networks_of(port)) return Ok{};
  const std::string index = index_path("port", object.id, "route.port");
  if (auto made = index_make(changes.transaction(), index); !made.ok()) return made;
  const auto routes = index_entries(changes.transaction(), index);
  if (!routes.ok()) return routes.error();
  for (const Uuid& id : *routes) {
    auto loaded = changes.load(*v1::Route::descriptor(), id);
    if (!loaded.ok()) return loaded.error();
    if (!(*loaded)->now) continue;
    const auto& route = static_cast<const v1::Route&>(*(*loaded)->now);
    const auto hop = IpAddr::from_bytes(route.next_hop());
    if (!route.has_next_hop() || !hop) continue;
    if (const std::string why = unfit_next_hop(port, *hop); !why.empty()) {
      return Error{ErrorCode::in_use, describe(port) + ": networks: " + describe(route) +
                                          " has a next hop by this port, but " + why +
                                          ": change the route first"};
    }
  }
  return Ok{};
}

}  // namespace

void fill_in_defaults(Message& resource) {
  sort_references(resource);
  auto* port = dynamic_cast<v1::Port*>(&resource);
  if (port == nullptr || !port->has_router() || port->has_mac()) return;
  // 46 random bits with the "locally administered" bit set and the group bit clear.
  const Uuid random = Uuid::random();
  MacAddr mac;
  std::copy_n(random.bytes.begin(), mac.bytes.size(), mac.bytes.begin());
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  port->set_mac(mac.raw());
}

Result<void> apply_rules(ChangeSet& changes, ChangeSet::Object& object) {
  if (auto* port = dynamic_cast<v1::Port*>(object.now.get())) {
    const auto* before = static_cast<const v1::Port*>(object.before.get());
    // The migration ends where it was going.
    if (before != nullptr && before->has_migrating_to() && before->host() != port->host() &&
        port->host() == port->migrating_to()) {
      port->clear_migrating_to();
    }
    if (auto ok = check_port_alone(*port); !ok.ok()) return ok;
    if (auto ok = check_port_filters(*port); !ok.ok()) return ok;
    if (auto ok = check_port_services(*port); !ok.ok()) return ok;
    if (auto ok = check_hosts(changes, object); !ok.ok()) return ok;
    if (auto ok = link(changes, object); !ok.ok()) return ok;
    return check_next_hops(changes, object);
  }
  if (const auto* route = dynamic_cast<const v1::Route*>(object.now.get())) {
    return check_route(changes, *route);
  }
  if (const auto* rule = dynamic_cast<const v1::Rule*>(object.now.get())) {
    return check_rule(*rule);
  }
  if (const auto* rule = dynamic_cast<const v1::SecurityRule*>(object.now.get())) {
    return check_security_rule(*rule);
  }
  if (const auto* request = dynamic_cast<const v1::TraceRequest*>(object.now.get())) {
    return check_trace_request(*request);
  }
  return Ok{};
}

Result<void> complete_link(ChangeSet& changes, ChangeSet::Object& object) {
  const auto* port = dynamic_cast<const v1::Port*>(object.now.get());
  const auto* before = dynamic_cast<const v1::Port*>(object.before.get());
  if (port == nullptr || !port->has_peer()) return Ok{};
  if (before != nullptr && before->peer() == port->peer()) return Ok{};
  auto other = load_port(changes, port->peer());
  if (!other.ok()) return other.error();
  if (!(*other)->now) return Ok{};  // the reference check says so
  const auto& peer = static_cast<const v1::Port&>(*(*other)->now);
  if (peer.peer() == object.id.raw()) return Ok{};
  if (!(*other)->before && !peer.has_peer()) return link(changes, object);
  return field_error(*port, "peer",
                     "another operation of the same batch wires " + describe(peer) +
                         " differently: keep one of them");
}

void clear_what_follows(Message& resource) {
  auto* port = dynamic_cast<v1::Port*>(&resource);
  if (port != nullptr && !port->has_host()) port->clear_migrating_to();
}

namespace {

/// The router whose networks the change of this port touches; nil: of none.
Uuid router_with_other_networks(const ChangeSet::Object& object) {
  const auto* either = static_cast<const v1::Port*>(object.either());
  if (!either->has_router()) return Uuid{};
  const auto* before = static_cast<const v1::Port*>(object.before.get());
  const auto* now = static_cast<const v1::Port*>(object.now.get());
  const auto old_networks = before != nullptr ? networks_of(*before) : std::vector<IpPrefix>();
  const auto new_networks = now != nullptr ? networks_of(*now) : std::vector<IpPrefix>();
  return old_networks == new_networks ? Uuid{} : uuid_of(either->router());
}

Result<v1::RouterNetworks> networks_of_router(ChangeSet& changes, const Uuid& router) {
  auto stored = changes.transaction().read_message<v1::RouterNetworks>(networks_path(router));
  if (!stored.ok()) return stored.error();
  return *stored ? std::move(**stored) : v1::RouterNetworks();
}

Error overlap(const v1::Port& port, const IpPrefix& network, const IpPrefix& other,
              const Message* owner) {
  return {ErrorCode::exists, describe(port) + ": networks: " + network.str() + " overlaps " +
                                 other.str() + " of " +
                                 (owner != nullptr ? describe(*owner) : "another port") +
                                 " on the same router: choose another network"};
}

}  // namespace

Result<void> give_up_router_networks(ChangeSet& changes, const ChangeSet::Object& object) {
  const Uuid router = router_with_other_networks(object);
  if (router.is_nil() || !object.before) return Ok{};
  auto networks = networks_of_router(changes, router);
  if (!networks.ok()) return networks.error();
  auto& entries = *networks->mutable_entries();
  const std::string id = object.id.raw();
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const auto& entry) { return entry.port() == id; }),
                entries.end());
  const std::string path = networks_path(router);
  auto there = changes.transaction().read(path);
  if (!there.ok()) return there.error();
  if (*there != nullptr) changes.transaction().write_message(path, *networks);
  return Ok{};
}

Result<void> take_router_networks(ChangeSet& changes, const ChangeSet::Object& object) {
  const Uuid router = router_with_other_networks(object);
  if (router.is_nil() || !object.now) return Ok{};
  auto networks = networks_of_router(changes, router);
  if (!networks.ok()) return networks.error();
  const auto& port = static_cast<const v1::Port&>(*object.now);
  for (const IpPrefix& network : networks_of(port)) {
    for (const auto& entry : networks->entries()) {
      if (network.addr.is_link_local() || entry.port() == object.id.raw()) continue;
      const auto other = IpPrefix::from_bytes(entry.network());
      if (!other || other->addr.is_link_local() || !other->overlaps(network.network())) continue;
      auto owner = changes.load(*v1::Port::descriptor(), uuid_of(entry.port()));
      if (!owner.ok()) return owner.error();
      return overlap(port, network, *other, (*owner)->either());
    }
    auto* entry = networks->add_entries();
    entry->set_port(object.id.raw());
    entry->set_network(network.network().raw());
  }
  auto& entries = *networks->mutable_entries();
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.port(), a.network()) < std::tie(b.port(), b.network());
  });
  changes.transaction().write_message(networks_path(router), *networks);
  return Ok{};
}

}  // namespace plexus::store
