// SPDX-License-Identifier: Apache-2.0
// Port security: a machine sends from its own MAC and addresses only. Security groups: what a machine may send and receive.
#include <algorithm>
#include <array>

#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

const IpAddr kNoAddress4 = IpAddr::v4(0), kNoAddress6 = IpAddr::v6({}),
             kLimitedBroadcast = IpAddr::v4(0xffffffff);
constexpr uint16_t kDhcpClient = 68, kDhcpServer = 67;
constexpr uint16_t kMldFirst = 130, kMldLast = 132, kMldV2Report = 143;

bool is_listener_message(uint16_t type) {
  return (type >= kMldFirst && type <= kMldLast) || type == kMldV2Report;
}

/// What IPv6 on a link cannot do without (RFC 4890 4.4.1): neighbours, routers, group membership.
bool needed_on_link(uint16_t type) {
  return (type >= icmpv6_type::kRouterSolicit && type <= icmpv6_type::kNeighbourAdvert) ||
         is_listener_message(type);
}

/// What a machine says before it has an address.
bool sent_without_address(uint16_t type) {
  return type == icmpv6_type::kRouterSolicit || type == icmpv6_type::kNeighbourSolicit ||
         is_listener_message(type);
}

}  // namespace

bool Simulation::source_is_own(Journey& j, const model::Port& port) {
  const auto refuse = [&](std::string_view what) {
    drop(j, DropReason::spoofed_source, DeviceKind::port, port.name, port.id.uuid,
         trace_ == nullptr ? std::string() : fmt::format("port security: {}", what));
    return false;
  };
  const bool own_mac = !port.mac.is_zero() && j.eth_src_is(port.mac);
  const auto has_mac = [&](const model::AddressPair& pair) {
    return pair.mac ? j.eth_src_is(*pair.mac) : own_mac;
  };
  if (!own_mac && std::none_of(port.allowed_pairs.begin(), port.allowed_pairs.end(), has_mac))
    return refuse(trace_ == nullptr ? std::string()
                                    : j.key.src_mac().str() + " is not the machine's MAC");

  searched_ = true;
  RuleReader reader(j, snapshot_, dependencies_, kNoPorts);
  // An address that the message tells of; the packet is in no class then.
  const auto owns = [&](const IpAddr& address) {
    if (address.is_v6() && address == link_local_of(j.key.src_mac())) return true;
    return (own_mac && std::find(port.addresses.begin(), port.addresses.end(), address) !=
                           port.addresses.end()) ||
           std::any_of(port.allowed_pairs.begin(), port.allowed_pairs.end(), [&](const auto& pair) {
             return has_mac(pair) && pair.network.contains(address);
           });
  };
  const auto source_owned = [&] {
    return (own_mac && std::any_of(port.addresses.begin(), port.addresses.end(),
                                   [&](const IpAddr& a) { return j.src_is(a); })) ||
           std::any_of(port.allowed_pairs.begin(), port.allowed_pairs.end(),
                       [&](const auto& pair) { return has_mac(pair) && j.src_in(pair.network); });
  };
  const auto refuse_source = [&] {
    return refuse(trace_ == nullptr
                      ? std::string()
                      : j.key.src_ip().str() + " is not an address of the machine at " +
                            j.key.src_mac().str());
  };
  // From here on a message decides, which no class knows.
  const auto look_into_message = [&] {
    cacheable_if_answered_ = cacheable_ || cacheable_if_answered_;
    cacheable_ = false;
  };

  if (!reader.has_addresses()) return true;
  if (j.key.is_arp()) {
    if (!j.src_is(kNoAddress4) && !source_owned()) return refuse_source();
    look_into_message();
    const auto arp = ArpView::of(*j.parsed, j.bytes);
    if (!arp || arp->sender_mac() != j.key.src_mac())
      return refuse("the ARP packet tells of another MAC than it comes from");
    return true;
  }
  if (j.key.is_ipv4()) {
    if (source_owned()) return true;
    if (j.src_is(kNoAddress4) && j.dst_is(kLimitedBroadcast) && reader.has_ports() &&
        j.ip_proto() == ip_proto::kUdp && j.tp_src() == kDhcpClient && j.tp_dst() == kDhcpServer)
      return true;
    return refuse_source();
  }
  const bool icmp = reader.has_icmp();
  const uint16_t type = icmp ? j.tp_src() : uint16_t{0};
  if (type == icmpv6_type::kRouterAdvert || type == icmpv6_type::kRedirect)
    return refuse("machines are no routers");
  // Reading all of the MAC: the link-local address goes by it.
  const bool without = j.src_is(kNoAddress6);
  if (without ? !(icmp && sent_without_address(type))
              : !source_owned() && !j.src_is(link_local_of(j.eth_src())))
    return refuse_source();
  if (type != icmpv6_type::kNeighbourSolicit && type != icmpv6_type::kNeighbourAdvert) return true;
  (void)j.eth_src();
  look_into_message();
  const auto nd = NdMessage::of(*j.parsed, j.bytes);
  if (!nd || j.ip_frag() != FragKind::none)
    return refuse("the neighbour discovery message fails the checks of RFC 4861 7.1");
  if (nd->link_address && *nd->link_address != j.key.src_mac())
    return refuse("the neighbour discovery message tells of another MAC than it comes from");
  if ((nd->type == icmpv6_type::kNeighbourAdvert || without) && !owns(nd->target))
    return refuse(trace_ == nullptr ? std::string()
                                    : nd->target.str() + " is not an address of the machine");
  return true;
}

bool Simulation::security_allows(Journey& j, const model::Port& port, bool ingress) {
  searched_ = true;
  RuleReader reader(j, snapshot_, dependencies_, kNoPorts);
  if (!reader.is_ip()) return true;
  if (j.key.is_ipv6() && reader.has_icmp() && needed_on_link(j.tp_src())) {
    note_at(j, DeviceKind::port, port, "security groups: neighbour discovery and the like pass");
    return true;
  }
  bool unreadable = false;
  for (const SecurityGroupId id : port.security_groups) {
    depend(security_tag(id, ingress), read_elsewhere(j));
    const model::SecurityGroup* group = snapshot_.security_group(id);
    if (group == nullptr || group->unreadable) {
      unreadable = true;
      note(j, DeviceKind::security_group, group != nullptr ? group->name : std::string(), id.uuid,
           "allows nothing: {}",
           group != nullptr ? "its record is newer than this agent" : "it is not known");
      continue;
    }
    const model::RuleTable* table = snapshot_.rules_of(id, ingress);
    if (table == nullptr) continue;
    RuleSearch search(*table, reader);
    for (auto found = search.next(); found.rule != nullptr; found = search.next()) {
      if (found.unknown) {
        unreadable = true;
        continue;
      }
      note_at(j, DeviceKind::security_group, *group, "rule {} allows it {} port {}",
              found.rule->name.empty() ? found.rule->id.str().substr(0, 8) : found.rule->name,
              ingress ? "to" : "from", port.name);
      return true;
    }
  }
  drop_at(j, unreadable ? DropReason::filter_unreadable : DropReason::filtered_by_security_group,
          DeviceKind::port, port, "none of its {} security groups allows this {} its machine{}",
          port.security_groups.size(), ingress ? "to" : "from",
          unreadable ? "; something that they name is not there or cannot be read" : "");
  return false;
}

}  // namespace plexus::sim
