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
const IpPrefix kLinkLocal6{IpAddr::v6({0xfe, 0x80}), 10};
constexpr uint16_t kArpRequest = 1;
constexpr uint16_t kDhcpClient = 68, kDhcpServer = 67;
constexpr uint16_t kLengthField = 0x05ff;  // see FlowKey::eth_type
constexpr std::string_view kUnreadTag = "it has more VLAN tags than are read";
constexpr uint16_t kMldFirst = 130, kMldLast = 132, kMldV2Report = 143;

bool is_listener_message(uint16_t type) {
  return (type >= kMldFirst && type <= kMldLast) || type == kMldV2Report;
}

/// What IPv6 on a link cannot do without (RFC 4890 4.4.1): neighbours, routers, group membership. As whoever gets it asks for it,
/// which shows that no router has sent it on (RFC 4861 6.1, 7.1; RFC 2710 3; RFC 3810 5).
bool needed_on_link(Journey& j) {
  const uint16_t type = j.tp_src();
  if (type >= icmpv6_type::kRouterSolicit && type <= icmpv6_type::kNeighbourAdvert)
    return j.ttl_is(255);
  return is_listener_message(type) && j.ttl_is(1) &&
         (j.src_in(kLinkLocal6) || j.src_is(kNoAddress6));
}

/// What a machine says before it has an address.
bool sent_without_address(uint16_t type) {
  return type == icmpv6_type::kRouterSolicit || type == icmpv6_type::kNeighbourSolicit ||
         is_listener_message(type);
}

/// ICMP messages that ask and answer, but for echoes: what an answer of this type answers.
/// Nothing: it answers none.
std::optional<uint16_t> question_of(bool v6, uint16_t type) {
  const bool answers = v6 ? type == 140                              // node information, RFC 4620
                          : type == 14 || type == 16 || type == 18;  // timestamp, information, mask
  return answers ? std::optional<uint16_t>(type - 1) : std::nullopt;
}

/// Of the packets of a connection's original direction, as far as rules of security groups look at it. `quoted`: only an
/// error tells of them. `now`: the packet that does.
FlowKey key_of_original(const state::Tuple& tuple, bool quoted, const FlowKey& now) {
  FlowKey key;
  key.eth_type = now.eth_type;
  key.ip_proto = tuple.protocol;
  key.set_src_ip(tuple.src);
  key.set_dst_ip(tuple.dst);
  const bool v6 = tuple.src.is_v6();
  const bool icmp = tuple.protocol == (v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp);
  if (state::has_ports(tuple.protocol)) {
    key.tp_src = Be16(tuple.src_port);
    key.tp_dst = Be16(tuple.dst_port);
  } else if (tuple.echo != state::EchoRole::none) {
    key.tp_src = Be16(v6 ? icmpv6_type::kEchoRequest : icmp_type::kEchoRequest);
  } else if (icmp && quoted) {
    key.ip_frag =
        static_cast<uint8_t>(FragKind::later);  // nobody knows its type: no rule about types is met
  } else if (icmp) {
    key.tp_src = Be16(*question_of(v6, now.tp_src.host()));
  }
  return key;
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

  RuleReader reader(j, snapshot_, dependencies_, kNoPorts);
  // An address that the message tells of; the packet is in no class then, or the class has all of it.
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
  // What is answered here reaches nobody else, and who asks from an address that is not its own any more is told so.
  const auto refuse_source = [&] {
    if (dhcp_asked(j, port) != IpFamily::none) {
      j.asks_dhcp_only = true;
      return true;
    }
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

  if (!reader.has_addresses()) {
    if (j.has_unread_tag()) return refuse(kUnreadTag);
    // SNAP in it carries ARP and IP as well (RFC 1042).
    if (j.key.eth_type.host() == kLengthField && !for_next_bridge(j))
      return refuse("an IEEE 802.3 frame, whose LLC header is not read");
    return true;
  }
  if (j.key.is_arp()) {
    if (j.src_is(kNoAddress4)) {
      // A probe (RFC 5227): whoever has the address, or wants it, gives way to it.
      if (j.tp_src() != kArpRequest || !owns(j.dst_ip()))
        return refuse(trace_ == nullptr
                          ? std::string()
                          : fmt::format("from 0.0.0.0, and no request for an address of the "
                                        "machine: {}",
                                        j.key.dst_ip()));
    } else if (!source_owned()) {
      return refuse_source();
    }
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

bool Simulation::groups_allow(Journey& j, const model::Port& port, bool ingress, GroupsAsked asked,
                              bool& unreadable) {
  RuleReader reader(j, snapshot_, dependencies_, kNoPorts);
  for (const SecurityGroupId id : port.security_groups) {
    const model::SecurityGroup* group = snapshot_.security_group(id);
    if (group == nullptr || group->unreadable ||
        (asked != GroupsAsked::all && group->stateful != (asked == GroupsAsked::stateful)))
      continue;
    // Who asks all, or the stateless ones, has named them already.
    if (asked == GroupsAsked::stateful) depend(security_tag(id, ingress), read_elsewhere(j));
    const model::RuleTable* table = snapshot_.rules_of(id, ingress);
    if (table == nullptr) continue;
    RuleSearch search(*table, reader);
    for (auto found = search.next(); found.rule != nullptr; found = search.next()) {
      if (found.unknown) {
        unreadable = true;
        continue;
      }
      met(j, *found.rule, id.uuid);
      note_at(j, DeviceKind::security_group, *group, "rule {} allows it {} port {}",
              RuleName{*found.rule}, ingress ? "to" : "from", port.name);
      return true;
    }
  }
  return false;
}

bool Simulation::answers_allowed(Journey& j, const model::Port& port, bool ingress,
                                 const state::Standing& standing, bool& unreadable) {
  const bool error = standing.state == state::ConnectionState::related;
  if (!error && !(standing.state == state::ConnectionState::established && standing.reply))
    return false;
  const auto tuple = original_here(j, standing);
  if (!tuple) return false;
  // Other messages have no type in their tuple: only what answers one may pass as an answer.
  const bool v6 = tuple->src.is_v6();
  if (!error && tuple->echo == state::EchoRole::none &&
      tuple->protocol == (v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp) &&
      !question_of(v6, j.key.tp_src.host()))
    return false;
  // An error goes against the packet that it quotes; that one may have been an answer itself.
  const bool original_ingress = standing.reply ? !ingress : ingress;
  Journey original;
  original.key = key_of_original(*tuple, error, j.key);
  original.fate = j.fate;
  original.depth = j.depth;
  if (!groups_allow(original, port, original_ingress, GroupsAsked::stateful, unreadable))
    return false;
  note_at(j, DeviceKind::port, port, "security groups: {} passes",
          error ? "an error about that" : "the answer to that");
  return true;
}

bool Simulation::tags_are_read(Journey& j, const model::Port& out) {
  if (!j.has_unread_tag()) return true;
  drop_at(j, DropReason::spoofed_source, DeviceKind::port, out, "port security: {}", kUnreadTag);
  return false;
}

bool Simulation::security_allows(Journey& j, const model::Port& port, bool ingress) {
  RuleReader reader(j, snapshot_, dependencies_, kNoPorts);
  if (!reader.is_ip()) {
    if (!j.has_unread_tag()) return true;
    drop_at(j, DropReason::filtered_by_security_group, DeviceKind::port, port,
            "security groups: {}", kUnreadTag);
    return false;
  }
  if (j.key.is_ipv6() && reader.has_icmp() && needed_on_link(j)) {
    note_at(j, DeviceKind::port, port, "security groups: neighbour discovery and the like pass");
    return true;
  }
  bool unreadable = false, stateful = false;
  for (const SecurityGroupId id : port.security_groups) {
    depend(security_tag(id, ingress), read_elsewhere(j));
    const model::SecurityGroup* group = snapshot_.security_group(id);
    if (group != nullptr && !group->unreadable) {
      stateful = stateful || group->stateful;
      continue;
    }
    unreadable = true;
    note(j, DeviceKind::security_group, group != nullptr ? group->name : std::string(), id.uuid,
         "allows nothing: {}",
         group != nullptr ? "its record is newer than this agent" : "it is not known");
  }
  const state::Standing is = stateful ? standing(j) : state::Standing{};
  const bool invalid = is.state == state::ConnectionState::invalid;
  if (groups_allow(j, port, ingress, invalid ? GroupsAsked::stateless : GroupsAsked::all,
                   unreadable))
    return true;
  if (stateful) {
    if (answers_allowed(j, port, ingress, is, unreadable)) return true;
    j.ask_header();
  }
  if (invalid) {
    drop_at(j, DropReason::connection_invalid, DeviceKind::port, port,
            "no stateless security group allows this, and it fits no connection");
    return false;
  }
  drop_at(j, unreadable ? DropReason::filter_unreadable : DropReason::filtered_by_security_group,
          DeviceKind::port, port, "none of its {} security groups allows this {} its machine{}",
          port.security_groups.size(), ingress ? "to" : "from",
          unreadable ? "; something that they name is not there or cannot be read" : "");
  return false;
}

}  // namespace plexus::sim
