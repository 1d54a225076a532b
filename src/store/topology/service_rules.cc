// SPDX-License-Identifier: Apache-2.0
#include "store/topology/service_rules.h"

#include <algorithm>
#include <set>

#include "store/topology/index.h"
#include "store/topology/layout.h"
#include "store/topology/match_values.h"
#include "store/topology/schema.h"
#include "store/topology/validate.h"

namespace plexus::store {

std::string unfit_address(const IpAddr& a) {
  if (a.is_unspecified() || (a.is_v4() && a.bytes[0] == 0))
    return a.str() + " is no address of an interface";
  if (a == IpAddr::v4(0xffffffff)) return a.str() + " is everybody's address";
  if (a.is_multicast()) return a.str() + " is a group address";
  if (a.is_loopback()) return a.str() + " is a loopback address";
  return "";
}

namespace {

using google::protobuf::Message;

enum : uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };

Uuid uuid_of(const std::string& raw) {
  return Uuid::from_bytes(raw).value_or(Uuid{});
}

bool is_set(const Message& m, const char* name) {
  const auto* field = m.GetDescriptor()->FindFieldByName(name);
  return field->is_repeated() ? m.GetReflection()->FieldSize(m, field) > 0
                              : m.GetReflection()->HasField(m, field);
}

/// The resource as it is now; nullptr: there is none, which the reference check says.
template <typename M>
Result<const M*> load(ChangeSet& changes, const std::string& raw) {
  auto loaded = changes.load(*M::descriptor(), uuid_of(raw));
  if (!loaded.ok()) return loaded.error();
  return static_cast<const M*>((*loaded)->now.get());
}

/// Nobody can come into an index that is looked at here before we are done.
Result<std::vector<v1::RefEntry>> guarded_facts(ChangeSet& changes, const std::string& index) {
  if (auto made = index_make(changes.transaction(), index); !made.ok()) return made.error();
  return index_facts(changes.transaction(), index);
}

/// Of a field that holds the address of one machine.
Result<void> check_address(const Message& m, const char* field, const std::string& raw) {
  const auto address = IpAddr::from_bytes(raw);
  const std::string why = address ? unfit_address(*address) : "want an address";
  if (!why.empty()) return field_error(m, field, why);
  return Ok{};
}

/// Of one that packets to or from other networks have. Routers forward nothing of the others (of IPv4 they do).
Result<void> check_routed(const Message& m, const char* field, const std::string& raw) {
  if (auto ok = check_address(m, field, raw); !ok.ok()) return ok;
  const IpAddr address = *IpAddr::from_bytes(raw);
  if (address.is_v6() && address.is_link_local())
    return field_error(m, field,
                       address.str() +
                           " is a link-local address, and routers forward no packets "
                           "of those: want another");
  return Ok{};
}

std::string not_of_family(const IpAddr& address, const std::string& of) {
  return address.str() + " is not of the family of " + of;
}

Result<void> check_floating_ip(const v1::FloatingIp& floating) {
  if (auto ok = check_routed(floating, "address", floating.address()); !ok.ok()) return ok;
  if (!floating.has_inside()) return Ok{};
  if (auto ok = check_routed(floating, "inside", floating.inside()); !ok.ok()) return ok;
  const IpAddr outside = *IpAddr::from_bytes(floating.address());
  const IpAddr inside = *IpAddr::from_bytes(floating.inside());
  if (inside.family != outside.family)
    return field_error(
        floating, "inside",
        not_of_family(inside, outside.str()) + ": name an address of the same machine that is");
  if (inside == outside)
    return field_error(floating, "inside", "is the address outside: there is nothing to translate");
  return Ok{};
}

Result<void> check_snat_pool(const v1::SnatPool& pool) {
  for (const std::string& raw : pool.addresses())
    if (auto ok = check_routed(pool, "addresses", raw); !ok.ok()) return ok;
  if (!pool.has_ports()) return Ok{};
  const auto ports = port_range_of(pool.ports());
  if (ports->first == 0) return field_error(pool, "ports", "there is no port 0: begin at 1");
  if (ports->last - ports->first + 1 < kLeastSnatPorts)
    return field_error(pool, "ports",
                       "hosts take blocks of ports for themselves: give at least " +
                           std::to_string(kLeastSnatPorts));
  return Ok{};
}

/// The members of a pool and the virtual addresses that it serves are of one family: nothing translates from IPv4 to IPv6.
Result<void> check_pool_of_vip(ChangeSet& changes, const v1::Vip& vip, const IpAddr& address) {
  auto pool = load<v1::Pool>(changes, vip.pool());
  if (!pool.ok()) return pool.error();
  if (*pool == nullptr) return Ok{};
  if ((*pool)->load_balancer() != vip.load_balancer())
    return field_error(vip, "pool",
                       describe(**pool) +
                           " belongs to another load balancer: name a pool of the "
                           "same");
  const std::string index = index_path("pool", uuid_of(vip.pool()), "pool-member.pool");
  const auto members = guarded_facts(changes, index);
  if (!members.ok()) return members.error();
  for (const auto& entry : *members) {
    const auto member = IpAddr::from_bytes(entry.addresses_size() > 0 ? entry.addresses(0) : "");
    if (member && member->family != address.family)
      return field_error(vip, "pool",
                         describe(**pool) + " has the member " + member->str() +
                             ", which is not of the family of " + address.str() +
                             ": make a pool of its own for each family");
  }
  return Ok{};
}

/// Load balancers of one router.
Result<std::vector<std::string>> balancers_beside(ChangeSet& changes, const std::string& balancer) {
  std::vector<std::string> all;
  auto one = load<v1::LoadBalancer>(changes, balancer);
  if (!one.ok()) return one.error();
  if (*one == nullptr) return all;
  const auto entries =
      index_glance(changes.transaction(),
                   {index_path("router", uuid_of((*one)->router()), "load-balancer.router")});
  if (!entries.ok()) return entries.error();
  for (const auto& entry : *entries) all.push_back(entry.id());
  return all;
}

/// Whether one of those that refer to `ids` by the field has the address. Not guarded: two that come at one moment do not see
/// each other, and nothing works then but what worked before.
Result<std::optional<Uuid>> who_has(ChangeSet& changes, const std::string& type,
                                    const std::vector<std::string>& ids, const std::string& field,
                                    const std::string& address) {
  std::vector<std::string> indexes;
  for (const std::string& id : ids) indexes.push_back(index_path(type, uuid_of(id), field));
  const auto entries = index_glance(changes.transaction(), indexes);
  if (!entries.ok()) return entries.error();
  for (const auto& entry : *entries)
    for (const std::string& one : entry.addresses())
      if (one == address) return std::optional(uuid_of(entry.id()));
  return std::optional<Uuid>();
}

/// A router does not send packets to itself: it would look for a machine that has the virtual address.
Result<void> check_no_member(ChangeSet& changes, const v1::Vip& vip) {
  const auto balancers = balancers_beside(changes, vip.load_balancer());
  if (!balancers.ok()) return balancers.error();
  std::vector<std::string> indexes, pools;
  for (const std::string& id : *balancers)
    indexes.push_back(index_path("load-balancer", uuid_of(id), "pool.load_balancer"));
  const auto entries = index_glance(changes.transaction(), indexes);
  if (!entries.ok()) return entries.error();
  for (const auto& entry : *entries) pools.push_back(entry.id());
  const auto found = who_has(changes, "pool", pools, "pool-member.pool", vip.address());
  if (!found.ok()) return found.error();
  if (!*found) return Ok{};
  return field_error(vip, "address",
                     IpAddr::from_bytes(vip.address())->str() + " is the address of pool-member " +
                         (*found)->str() +
                         " of the same router, which sends no packets to itself: want another");
}
Result<void> check_no_vip(ChangeSet& changes, const v1::PoolMember& member) {
  auto pool = load<v1::Pool>(changes, member.pool());
  if (!pool.ok()) return pool.error();
  if (*pool == nullptr) return Ok{};
  const auto balancers = balancers_beside(changes, (*pool)->load_balancer());
  if (!balancers.ok()) return balancers.error();
  const auto found =
      who_has(changes, "load-balancer", *balancers, "vip.load_balancer", member.address());
  if (!found.ok()) return found.error();
  if (!*found) return Ok{};
  return field_error(member, "address",
                     IpAddr::from_bytes(member.address())->str() +
                         " is a virtual address of the same router, which sends no packets to "
                         "itself: name the machine that serves");
}

Result<void> check_vip(ChangeSet& changes, const v1::Vip& vip, const v1::Vip* before) {
  if (auto ok = check_routed(vip, "address", vip.address()); !ok.ok()) return ok;
  const auto protocol = protocol_of(vip.protocol());
  if (protocol != kTcp && protocol != kUdp && protocol != kSctp)
    return field_error(vip, "protocol", "has no ports: want tcp, udp or sctp");
  if (before == nullptr || before->address() != vip.address())
    if (auto ok = check_no_member(changes, vip); !ok.ok()) return ok;
  return check_pool_of_vip(changes, vip, *IpAddr::from_bytes(vip.address()));
}

Result<void> check_pool_member(ChangeSet& changes, const v1::PoolMember& member,
                               const v1::PoolMember* before) {
  if (auto ok = check_routed(member, "address", member.address()); !ok.ok()) return ok;
  if (before == nullptr || before->address() != member.address())
    if (auto ok = check_no_vip(changes, member); !ok.ok()) return ok;
  const IpAddr address = *IpAddr::from_bytes(member.address());
  const auto vips = guarded_facts(changes, index_path("pool", uuid_of(member.pool()), "vip.pool"));
  if (!vips.ok()) return vips.error();
  for (const auto& entry : *vips) {
    auto vip = load<v1::Vip>(changes, entry.id());
    if (!vip.ok()) return vip.error();
    const auto served = *vip != nullptr ? IpAddr::from_bytes((*vip)->address()) : std::nullopt;
    if (served && served->family != address.family && (*vip)->pool() == member.pool())
      return field_error(member, "address",
                         not_of_family(address, describe(**vip) + " " + served->str()) +
                             ", which the pool serves: make a pool of its own for each family");
  }
  return Ok{};
}

/// What the server says of itself, or by fields of their own: nobody else may.
bool is_servers_own(bool v6, uint16_t code) {
  static const std::set<uint16_t> v4_codes = {50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 82};
  static const std::set<uint16_t> v6_codes = {1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 14, 18, 19, 20, 25};
  return (v6 ? v6_codes : v4_codes).contains(code);
}

/// `v6` nullopt: of a port, whose machine may ask by either protocol.
Result<void> check_options(const Message& m, const char* field,
                           const google::protobuf::RepeatedPtrField<std::string>& options,
                           std::optional<bool> v6) {
  constexpr uint16_t kLastV4 = 254;
  std::set<uint16_t> seen;
  for (const std::string& raw : options) {
    const auto option = dhcp_option_of(raw);
    if (!option) continue;  // its format says so
    const std::string code = std::to_string(option->code);
    if (!seen.insert(option->code).second)
      return field_error(m, field, "option " + code + " is there twice: keep one of them");
    if (v6 == false && option->code > kLastV4)
      return field_error(m, field, "option " + code + ": DHCPv4 has 1 to 254");
    if (v6 && is_servers_own(*v6, option->code))
      return field_error(m, field, "option " + code + " is the server's own: leave it out");
  }
  return Ok{};
}

Result<void> check_dhcp_addresses(const v1::DhcpSubnet& subnet, const IpPrefix& network) {
  const bool v6 = network.addr.is_v6();
  if (subnet.has_server_address()) {
    if (auto ok = check_address(subnet, "server_address", subnet.server_address()); !ok.ok())
      return ok;
    const IpAddr server = *IpAddr::from_bytes(subnet.server_address());
    if (!network.contains(server) && !(v6 && server.is_link_local()))
      return field_error(
          subnet, "server_address",
          server.str() + " is not in " + network.str() + ": machines would not " + "believe it");
  }
  if (subnet.has_gateway()) {
    if (v6)
      return field_error(subnet, "gateway",
                         "IPv6 machines learn it by router advertisement: leave it out, and set "
                         "advertise at the router's port");
    const IpAddr gateway = *IpAddr::from_bytes(subnet.gateway());
    if (!network.contains(gateway))
      return field_error(subnet, "gateway", gateway.str() + " is not in " + network.str());
  }
  const auto servers = [&](const char* field, const auto& list) -> Result<void> {
    for (const std::string& raw : list) {
      if (auto ok = check_address(subnet, field, raw); !ok.ok()) return ok;
      const IpAddr address = *IpAddr::from_bytes(raw);
      if (address.family != network.addr.family)
        return field_error(
            subnet, field,
            not_of_family(address, network.str()) + ": give it in a subnet of that family");
    }
    return Ok{};
  };
  if (auto ok = servers("dns_servers", subnet.dns_servers()); !ok.ok()) return ok;
  return servers("ntp_servers", subnet.ntp_servers());
}

Result<void> check_dhcp_subnet(const v1::DhcpSubnet& subnet) {
  const auto network = network_of(subnet.network());
  if (!network) return Ok{};  // its format says so
  if (network->addr.is_multicast() || network->addr.is_loopback() || network->length == 0)
    return field_error(subnet, "network", network->str() + " is no network of machines");
  if (auto ok = check_dhcp_addresses(subnet, *network); !ok.ok()) return ok;
  const bool v6 = network->addr.is_v6();
  if (v6 && is_set(subnet, "routes"))
    return field_error(subnet, "routes",
                       "DHCPv6 does not tell it, router advertisements do: leave it out");
  constexpr uint32_t kLeastMtu6 = 1280;
  if (v6 && is_set(subnet, "mtu") && subnet.mtu() < kLeastMtu6)
    return field_error(subnet, "mtu", "IPv6 needs at least 1280 (RFC 8200 5)");
  std::set<std::string> destinations;
  for (const std::string& raw : subnet.routes()) {
    const auto route = via_of(raw);
    if (!route) continue;  // its format says so
    if (route->second.family != network->addr.family)
      return field_error(subnet, "routes", not_of_family(route->second, network->str()));
    if (!network->contains(route->second))
      return field_error(subnet, "routes",
                         "the next hop " + route->second.str() + " is not in " + network->str());
    if (!destinations.insert(route->first.str()).second)
      return field_error(subnet, "routes",
                         route->first.str() + " has two next hops: keep one of them");
  }
  return check_options(subnet, "options", subnet.options(), v6);
}

/// Whether packets for others can be sent out of a port's interface. "": yes.
std::string unfit_exit(const v1::Port& port) {
  if (!port.has_bridge()) return " is a router's port: name an exterior port of a bridge";
  if (port.has_peer()) return " is wired to another port: name an exterior port of a bridge";
  return "";
}

Result<void> check_exit(ChangeSet& changes, const Message& m, const char* field,
                        const std::string& raw) {
  auto port = load<v1::Port>(changes, raw);
  if (!port.ok()) return port.error();
  if (*port == nullptr) return Ok{};
  if (const std::string why = unfit_exit(**port); !why.empty())
    return field_error(m, field, describe(**port) + why);
  return Ok{};
}

Result<void> check_mirror(ChangeSet& changes, const v1::Mirror& mirror) {
  if (mirror.has_port() && mirror.port() == mirror.to_port())
    return field_error(mirror, "to_port", "is the port that is looked at: name another");
  return check_exit(changes, mirror, "to_port", mirror.to_port());
}

/// A port that is wired to another now: nobody sends packets out of its interface.
Result<void> check_interior(ChangeSet& changes, const ChangeSet::Object& object) {
  const auto& port = static_cast<const v1::Port&>(*object.now);
  const auto* before = static_cast<const v1::Port*>(object.before.get());
  if (!port.has_peer() || (before != nullptr && before->has_peer())) return Ok{};
  struct Use {
    const char* index;
    const char* what;
  };
  static constexpr Use kUses[] = {{"port.parent", "is the parent of "},
                                  {"mirror.to_port", "takes copies for "},
                                  {"rule.redirect_port", "is where packets go by "}};
  Transaction& transaction = changes.transaction();
  std::vector<std::string> heads;
  for (const Use& use : kUses)
    heads.push_back(index_head_path(index_path("port", uuid_of(port.id()), use.index)));
  if (before != nullptr)
    if (auto done = transaction.prefetch(heads); !done.ok()) return done;
  for (const auto& [index, what] : kUses) {
    const std::string path = index_path("port", uuid_of(port.id()), index);
    // Of a new port only this very set can know.
    if (before == nullptr && transaction.peek(index_head_path(path)) == nullptr) continue;
    const auto users = index_facts(transaction, path);
    if (!users.ok()) return users.error();
    if (users->empty()) {
      // Nearly no port has any, and each link would check that. Whoever comes at this very moment sends to a port without an
      // interface: nothing leaves there.
      transaction.trust_absence(index_head_path(path));
      continue;
    }
    const std::string type = std::string(index).substr(0, std::string(index).find('.'));
    auto user = changes.load(*find_resource_type(type), uuid_of(users->front().id()));
    if (!user.ok()) return user.error();
    if ((*user)->now == nullptr) continue;
    return Error{ErrorCode::in_use, describe(port) + ": peer: " + what + describe(*(*user)->now) +
                                        ": it needs an interface; remove that first"};
  }
  return Ok{};
}

/// A new sub-port: its parent is an exterior port of a bridge that has room for it.
Result<void> check_parent(ChangeSet& changes, const ChangeSet::Object& object) {
  const auto& port = static_cast<const v1::Port&>(*object.now);
  if (!port.has_parent() || object.before) return Ok{};
  if (port.parent() == port.id()) return field_error(port, "parent", "is the port itself");
  auto loaded = load<v1::Port>(changes, port.parent());
  if (!loaded.ok()) return loaded.error();
  if (*loaded == nullptr) return Ok{};
  const v1::Port& parent = **loaded;
  std::string why = unfit_exit(parent);
  if (parent.has_parent()) why = " is a sub-port itself: name the port that has the interface";
  if (parent.tenant() != port.tenant()) why = " belongs to another tenant: name one of the same";
  if (!why.empty()) return field_error(port, "parent", describe(parent) + why);
  const auto others =
      guarded_facts(changes, index_path("port", uuid_of(port.parent()), "port.parent"));
  if (!others.ok()) return others.error();
  if (others->size() > kMaxSubPorts)
    return field_error(port, "parent",
                       describe(parent) + " has " + std::to_string(kMaxSubPorts) +
                           " sub-ports already: use another port");
  return Ok{};
}

/// Of a mirror or a trace request: at which device it is.
template <typename Record>
Result<void> complete(ChangeSet& changes, Record& record) {
  std::string bridge = record.bridge(), router = record.router();
  if (record.has_port()) {
    auto port = load<v1::Port>(changes, record.port());
    if (!port.ok()) return port.error();
    if (*port == nullptr) return Ok{};  // the reference check says so
    bridge = (*port)->bridge();
    router = (*port)->router();
  }
  if (!bridge.empty()) record.set_at_bridge(bridge);
  if (!router.empty()) record.set_at_router(router);
  return Ok{};
}

}  // namespace

Result<void> complete_service(ChangeSet& changes, const ChangeSet::Object& object) {
  if (object.before) return Ok{};
  if (auto* mirror = dynamic_cast<v1::Mirror*>(object.now.get())) return complete(changes, *mirror);
  if (auto* request = dynamic_cast<v1::TraceRequest*>(object.now.get()))
    return complete(changes, *request);
  return Ok{};
}

Result<void> check_service(ChangeSet& changes, const ChangeSet::Object& object) {
  const Message* now = object.now.get();
  if (const auto* floating = dynamic_cast<const v1::FloatingIp*>(now))
    return check_floating_ip(*floating);
  if (const auto* pool = dynamic_cast<const v1::SnatPool*>(now)) return check_snat_pool(*pool);
  if (const auto* vip = dynamic_cast<const v1::Vip*>(now))
    return check_vip(changes, *vip, static_cast<const v1::Vip*>(object.before.get()));
  if (const auto* member = dynamic_cast<const v1::PoolMember*>(now))
    return check_pool_member(changes, *member,
                             static_cast<const v1::PoolMember*>(object.before.get()));
  if (const auto* subnet = dynamic_cast<const v1::DhcpSubnet*>(now))
    return check_dhcp_subnet(*subnet);
  if (const auto* mirror = dynamic_cast<const v1::Mirror*>(now))
    return check_mirror(changes, *mirror);
  if (object.type == v1::Port::descriptor()) {
    if (auto ok = check_parent(changes, object); !ok.ok()) return ok;
    return check_interior(changes, object);
  }
  const auto* rule = dynamic_cast<const v1::Rule*>(now);
  if (rule != nullptr && rule->has_redirect_port())
    return check_exit(changes, *rule, "redirect_port", rule->redirect_port());
  return Ok{};
}

Result<void> check_port_services(const v1::Port& port) {
  for (const char* field : {"dscp", "parent", "vlan", "dhcp_options"}) {
    if (port.has_router() && is_set(port, field))
      return field_error(port, field, "is for bridge ports");
  }
  if (port.has_bridge() && port.has_outside())
    return field_error(port, "outside", "is for router ports");
  if (port.has_parent() && !port.has_vlan())
    return field_error(port, "vlan", "is required with parent: the tag of its frames");
  if (port.has_vlan() && !port.has_parent())
    return field_error(port, "vlan", "is for ports with a parent: name it, or leave out vlan");
  if (port.has_parent() && port.has_interface())
    return field_error(port, "interface", "is the parent's: leave it out");
  return check_options(port, "dhcp_options", port.dhcp_options(), std::nullopt);
}

}  // namespace plexus::store
