// SPDX-License-Identifier: Apache-2.0
#include "sim/delta_tags.h"

#include <cstring>

#include "packet/dhcp.h"
#include "packet/dhcp6.h"

namespace plexus::sim {
namespace {

/// The first `length` bits of an address field set.
void mask_address(uint8_t* mask, unsigned length) {
  for (unsigned i = 0; i < length; ++i)
    mask[i / 8] = static_cast<uint8_t>(mask[i / 8] | 0x80u >> i % 8);
}

enum class Side : uint8_t { source, destination };

/// Narrows the region to packets with this side's address in the prefix.
void narrow(Match& m, const IpPrefix& prefix, Side side) {
  const bool v6 = prefix.addr.is_v6();
  const size_t size = v6 ? 16 : 4, at = side == Side::source ? 0 : size;
  m.mask.eth_type = Be16(0xffff);
  m.key.eth_type = Be16(v6 ? eth_type::kIpv6 : eth_type::kIpv4);
  mask_address(m.mask.nw.data() + at, prefix.length);
  std::memcpy(m.key.nw.data() + at, prefix.network().addr.bytes.data(), size);
}

/// IP packets with this side's address in the prefix.
Match region_of(const IpPrefix& prefix, Side side) {
  Match m;
  narrow(m, prefix, side);
  return m;
}

/// Changed prefixes that are told one by one; beyond that a router's flows go, whatever their destination.
constexpr size_t kMaxPrefixes = 1000;

void add_routes(const model::Delta& delta, std::vector<TagChange>& out) {
  if (delta.routes.size() > kMaxPrefixes) {
    RouterId last;
    for (const auto& [id, prefix, source] : delta.routes) {
      if (id == last) continue;  // sorted
      last = id;
      out.push_back({routes_tag(id, std::nullopt), std::nullopt});
      for (unsigned length = 0; length <= 128; ++length)
        out.push_back({routes_tag(id, length), std::nullopt});
    }
    return;
  }
  for (const auto& [id, prefix, source] : delta.routes) {
    Match region = region_of(prefix, Side::destination);
    if (source.length > 0) narrow(region, source, Side::source);
    out.push_back({routes_tag(id, std::nullopt), region});
    for (unsigned length = 0; length <= prefix.length; ++length)
      out.push_back({routes_tag(id, length), region});
  }
}

/// The packets that can meet a rule.
Match region_of(const model::PacketRegion& region) {
  Match m;
  if (!region.source.addr.is_none() && region.source.length > 0)
    narrow(m, region.source, Side::source);
  if (!region.destination.addr.is_none() && region.destination.length > 0)
    narrow(m, region.destination, Side::destination);
  // An IPv4 prefix is one of ARP packets, too.
  const bool v6 = m.key.eth_type == Be16(eth_type::kIpv6);
  if (!v6) m.key.eth_type = m.mask.eth_type = {};
  if (region.ethertype_mask != 0) {
    m.mask.eth_type = Be16(region.ethertype_mask);
    m.key.eth_type = Be16(region.ethertype);
  }
  m.mask.ip_proto = region.protocol_mask;
  m.key.ip_proto = region.protocol;
  m.mask.ip_tos = region.tos_mask;
  m.key.ip_tos = region.tos;
  m.mask.tcp_flags = region.tcp_flags_mask;
  m.key.tcp_flags = region.tcp_flags;
  m.mask.tp_src = Be16(region.tp_src_mask);
  m.key.tp_src = Be16(region.tp_src);
  m.mask.tp_dst = Be16(region.tp_dst_mask);
  m.key.tp_dst = Be16(region.tp_dst);
  return m;
}

/// For whom a rule came or went. One that asks for ports or the like is asked of later fragments as well, which have none: they
/// may have to follow their first one now, or have no need to.
void add_rule_change(const Tag& tag, const model::PacketRegion& region,
                     std::vector<TagChange>& out) {
  out.push_back({tag, region_of(region)});
  if (region.tp_src_mask == 0 && region.tp_dst_mask == 0 && region.tcp_flags_mask == 0) return;
  model::PacketRegion without = region;
  without.tp_src = without.tp_dst = without.tp_src_mask = without.tp_dst_mask = 0;
  without.tcp_flags = without.tcp_flags_mask = 0;
  Match later = region_of(without);
  later.mask.ip_frag = 0xff;
  later.key.ip_frag = static_cast<uint8_t>(FragKind::later);
  out.push_back({tag, later});
}

/// The region of an address group's prefix, of IPv4 that of ARP as well.
Match region_of_set(const IpPrefix& prefix, Side side) {
  Match m = region_of(prefix, side);
  if (!prefix.addr.is_v6()) m.key.eth_type = m.mask.eth_type = {};
  return m;
}

/// One change for each prefix on either side; of too many, one for all of a group. `changed` is sorted.
template <typename Group, typename Address, typename TagOf>
void add_set_changes(const std::vector<std::pair<Group, Address>>& changed, TagOf tag_of,
                     std::vector<TagChange>& out) {
  const auto prefix_of = [](const auto& address) -> IpPrefix {
    if constexpr (std::is_same_v<Address, IpPrefix>)
      return address;
    else
      return {address, static_cast<uint8_t>(address.bits())};
  };
  const Group* last = nullptr;
  for (const auto& [group, address] : changed) {
    for (const Side side : {Side::source, Side::destination}) {
      const Tag tag = tag_of(group, side == Side::source);
      if (changed.size() <= kMaxPrefixes)
        out.push_back({tag, region_of_set(prefix_of(address), side)});
      else if (last == nullptr || *last != group)
        out.push_back({tag, std::nullopt});
    }
    last = &group;
  }
}

void add_translations(const model::Delta& delta, std::vector<TagChange>& out) {
  for (RouterId id : delta.translation_kinds)
    out.push_back({translation_kinds_tag(id), std::nullopt});
  for (const auto& [id, address] : delta.translations) {
    if (address.is_none()) {
      out.push_back({translations_tag(id), std::nullopt});
      continue;
    }
    // Read in a header as it came: packets to it and from it, ARP too, and who asks for it by neighbour discovery.
    const IpPrefix whole{address, static_cast<uint8_t>(address.bits())};
    for (const Side side : {Side::source, Side::destination})
      out.push_back({translations_tag(id), region_of_set(whole, side)});
    if (address.is_v6())
      out.push_back(
          {translations_tag(id), region_of({solicited_node_of(address), 128}, Side::destination)});
    // Read where it had been rewritten.
    out.push_back({translations_tag(id, address), std::nullopt});
  }
}

void add_filters(const model::Delta& delta, std::vector<TagChange>& out) {
  for (ChainId id : delta.chains) out.push_back({chain_tag(id), std::nullopt});
  for (ChainId id : delta.asking_chains) out.push_back({tracking_tag(id), std::nullopt});
  for (const auto& [id, region] : delta.rules) add_rule_change(chain_tag(id), region, out);
  for (SecurityGroupId id : delta.security_groups)
    for (const bool ingress : {true, false})
      out.push_back({security_tag(id, ingress), std::nullopt});
  for (const model::ChangedSecurityRule& rule : delta.security_rules)
    add_rule_change(security_tag(rule.group, rule.ingress), rule.region, out);
  for (AddressGroupId id : delta.address_groups)
    for (const bool source : {true, false})
      out.push_back({address_group_tag(id, source), std::nullopt});
  for (PortGroupId id : delta.port_groups) out.push_back({port_group_tag(id), std::nullopt});
  add_set_changes(delta.group_prefixes, address_group_tag, out);
  add_set_changes(delta.members, members_tag, out);
}

/// Requests to a DHCP server, and questions for its MAC: of all that enters a bridge, these alone ask whether it has one.
void add_dhcp(const model::Delta& delta, std::vector<TagChange>& out) {
  Match arp;
  arp.mask.eth_type = Be16(0xffff);
  arp.key.eth_type = Be16(eth_type::kArp);
  const auto datagrams = [](uint16_t type, uint16_t port) {
    Match m;
    m.mask.eth_type = m.mask.tp_dst = Be16(0xffff);
    m.mask.ip_proto = 0xff;
    m.key.eth_type = Be16(type);
    m.key.ip_proto = ip_proto::kUdp;
    m.key.tp_dst = Be16(port);
    return m;
  };
  for (BridgeId id : delta.dhcp) {
    for (const Match& region : {arp, datagrams(eth_type::kIpv4, dhcp::kServerPort),
                                datagrams(eth_type::kIpv6, dhcp6::kServerPort)})
      out.push_back({bridge_tag(id), region});
  }
}

}  // namespace

std::vector<TagChange> tags_of(const model::Delta& delta) {
  std::vector<TagChange> out;
  const auto add = [&out](const Tag& tag, const std::optional<Match>& region = std::nullopt) {
    out.push_back({tag, region});
  };
  for (BridgeId id : delta.bridges) add(bridge_tag(id));
  for (const auto& [id, mac] : delta.macs) add(mac_tag(id, mac));
  for (const auto& [id, address] : delta.addresses) add(address_tag(id, address));
  for (BridgeId id : delta.floods) add(flood_tag(id));
  for (RouterId id : delta.routers) add(router_tag(id));
  add_routes(delta, out);
  for (const auto& [id, address] : delta.router_addresses) {
    // Packets to it are the router's to answer, packets from it are forged.
    const IpPrefix whole{address, static_cast<uint8_t>(address.bits())};
    add(router_addresses_tag(id), region_of(whole, Side::destination));
    add(router_addresses_tag(id), region_of(whole, Side::source));
  }
  for (PortId id : delta.ports) add(port_tag(id));
  for (const auto& [id, address] : delta.neighbours) add(neighbour_tag(id, address));
  for (uint32_t key : delta.tunnel_keys) add(tunnel_key_tag(key));
  for (HostId id : delta.hosts) add(host_tag(id));
  for (PortId id : delta.learning) add(learning_tag(id));
  add_filters(delta, out);
  add_translations(delta, out);
  for (SnatPoolId id : delta.snat_pools) add(pool_tag(id));
  for (PoolId id : delta.pools) add(pool_tag(id));
  for (PoolId id : delta.serving) add(serving_tag(id));
  for (PoolMemberId id : delta.pool_members) add(member_tag(id));
  add_dhcp(delta, out);
  for (const Uuid& at : delta.mirrors) add(mirrors_tag(at));
  for (const Uuid& at : delta.trace_requests) add(trace_requests_tag(at));
  return out;
}

}  // namespace plexus::sim
