// SPDX-License-Identifier: Apache-2.0
// Router advertisements (RFC 4861 6.2; RFC 4862 for the hosts that make their addresses of them; RFC 8106 for name servers):
// answers to router solicitations, and those that are sent unasked.
#include <algorithm>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

const IpAddr kAllNodes = IpAddr::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});

namespace option {
constexpr uint8_t kSourceLinkAddress = 1, kPrefix = 3, kMtu = 5, kNameServers = 25;
}
// RFC 4861 6.2.1: what AdvValidLifetime and AdvPreferredLifetime are when nobody says otherwise.
constexpr uint32_t kValidSeconds = 2'592'000, kPreferredSeconds = 604'800;
/// RFC 8106 5.1: at least three times the longest pause between advertisements, which is 600 s.
constexpr uint32_t kNameServerSeconds = 1800;
constexpr uint16_t kMinMtu = 1280;
/// Hosts make addresses from prefixes of this length only (RFC 4862 5.5.3 (d), with RFC 2464 4).
constexpr uint8_t kAutonomousLength = 64;

/// What the DHCP subnets of the link say that advertisements can say, too.
struct LinkSettings {
  std::vector<IpAddr> name_servers;  ///< each once
  uint16_t mtu = 0;                  ///< the least; 0: none says one
};

/// Of the subnets on the bridge that the port is wired to whose network the port is in.
LinkSettings settings_of(const model::Snapshot& snapshot, const model::Port& port) {
  LinkSettings out;
  const model::Port* peer = snapshot.peer(port);
  const auto* bridge = peer != nullptr ? std::get_if<BridgeId>(&peer->device) : nullptr;
  if (bridge == nullptr) return out;
  for (const DhcpSubnetId id : snapshot.dhcp_subnets_of(*bridge)) {
    const model::DhcpSubnet* subnet = snapshot.dhcp_subnet(id);
    if (subnet == nullptr || subnet->unreadable || !subnet->admin_up ||
        !subnet->network.addr.is_v6() ||
        std::none_of(port.networks.begin(), port.networks.end(),
                     [&](const IpPrefix& n) { return subnet->network.overlaps(n.network()); }))
      continue;
    for (const IpAddr& server : subnet->dns_servers)
      if (server.is_v6() && std::find(out.name_servers.begin(), out.name_servers.end(), server) ==
                                out.name_servers.end())
        out.name_servers.push_back(server);
    if (subnet->mtu >= kMinMtu)
      out.mtu = out.mtu == 0 ? subnet->mtu : std::min(out.mtu, subnet->mtu);
  }
  constexpr size_t kMaxServers = 15;
  out.name_servers.resize(std::min(out.name_servers.size(), kMaxServers));
  return out;
}

/// The advertisement of `port` with these words, to one neighbour or to all nodes. Networks that are `withdrawn` are no
/// longer on the link, and addresses in them not to be used.
Frame advertisement(const model::Snapshot& snapshot, const model::Port& port,
                    const model::Advertising& says, const MacAddr& to_mac, const IpAddr& to,
                    bool last, std::span<const IpPrefix> withdrawn = {}) {
  const LinkSettings link = settings_of(snapshot, port);
  std::vector<uint8_t> m(16);
  m[0] = icmpv6_type::kRouterAdvert;
  m[4] = kDefaultTtl;
  m[5] = static_cast<uint8_t>((says.managed ? 0x80 : 0) | (says.other ? 0x40 : 0));
  put_be16(m, 6, says.lifetime);
  const auto add = [&m](uint8_t type, size_t size) {
    const size_t at = m.size();
    m.resize(at + size);
    m[at] = type;
    m[at + 1] = static_cast<uint8_t>(size / 8);
    return std::span<uint8_t>(m).subspan(at);
  };
  put_bytes(add(option::kSourceLinkAddress, 8), 2, port.mac.bytes);
  if (const uint32_t mtu = port.mtu != 0 ? port.mtu : link.mtu; mtu != 0)
    put_be32(add(option::kMtu, 8), 4, mtu);
  const auto add_prefix = [&](const IpPrefix& network, uint32_t valid, uint32_t preferred) {
    if (!network.addr.is_v6() || network.addr.is_link_local()) return;
    const auto prefix = add(option::kPrefix, 32);
    prefix[2] = network.length;
    const bool autonomous = says.autonomous && network.length == kAutonomousLength;
    prefix[3] = static_cast<uint8_t>(0x80 | (autonomous ? 0x40 : 0));
    put_be32(prefix, 4, valid);
    put_be32(prefix, 8, preferred);
    put_bytes(prefix, 16, wire_bytes(network.network().addr));
  };
  for (const IpPrefix& network : port.networks)
    add_prefix(network, kValidSeconds, kPreferredSeconds);
  for (const IpPrefix& network : withdrawn) add_prefix(network, 0, 0);
  if (!link.name_servers.empty()) {
    const auto servers = add(option::kNameServers, 8 + 16 * link.name_servers.size());
    put_be32(servers, 4, last ? 0 : kNameServerSeconds);
    for (size_t i = 0; i < link.name_servers.size(); ++i)
      put_bytes(servers, 8 + 16 * i, wire_bytes(link.name_servers[i]));
  }
  // Hop limit 255: no router was in between (RFC 4861 6.1.2).
  return ip_packet({.eth_src = port.mac,
                    .eth_dst = to_mac,
                    .src = link_local_of(port.mac),
                    .dst = to,
                    .ttl = 255,
                    .vlan_tci = {}},
                   ip_proto::kIcmpv6, m);
}

struct Solicitation {
  IpAddr src;
  std::optional<MacAddr> link_address;
};

/// A router solicitation that passes the checks of RFC 4861 6.1.1.
std::optional<Solicitation> solicitation_of(const ParsedPacket& parsed,
                                            std::span<const uint8_t> frame) {
  constexpr size_t kFixed = 8;
  const auto icmp = IcmpView::of(parsed, frame);
  if (!icmp || icmp->type() != icmpv6_type::kRouterSolicit || icmp->code() != 0 ||
      parsed.key.ip_ttl != 255 || !transport_checksum_ok(parsed, frame))
    return std::nullopt;
  Solicitation s{parsed.key.src_ip(), std::nullopt};
  for (auto rest = icmp->bytes().subspan(kFixed); !rest.empty();) {
    const size_t size = rest.size() < 2 ? 0 : size_t{rest[1]} * 8;
    if (size == 0 || size > rest.size()) return std::nullopt;
    if (rest[0] == option::kSourceLinkAddress && !s.link_address) s.link_address = mac_at(rest, 2);
    rest = rest.subspan(size);
  }
  if (s.src.is_multicast() || (s.src.is_unspecified() && s.link_address)) return std::nullopt;
  if (s.link_address && (s.link_address->is_multicast() || s.link_address->is_zero()))
    return std::nullopt;
  return s;
}

}  // namespace

void Simulation::router_solicitation(Journey& j, const model::Router& router,
                                     const model::Port& in) {
  if (!in.advertising) {
    return drop_at(j, DropReason::multicast_not_routed, DeviceKind::router, router,
                   "port {} sends no router advertisements", in.name);
  }
  cacheable_ = false;
  const std::vector<uint8_t> frame = j.materialize();
  const ParsedPacket parsed = parse_packet(frame);
  const auto asked = solicitation_of(parsed, frame);
  if (!asked) {
    return drop_at(j, DropReason::bad_neighbour_discovery, DeviceKind::router, router,
                   "the solicitation fails the checks of RFC 4861 6.1.1");
  }
  j.fate->consumed = true;
  note_at(j, DeviceKind::router, router, "answers the router solicitation");
  const bool nobody = asked->src.is_unspecified();
  send_out(j, in,
           advertisement(
               snapshot_, in, *in.advertising,
               nobody ? multicast_mac_of(kAllNodes) : asked->link_address.value_or(j.key.src_mac()),
               nobody ? kAllNodes : asked->src, false),
           "router advertisement", GeneratedKind::router_advert, router.id);
}

std::vector<Generated> Simulation::run_router_adverts(PortId id, bool last,
                                                      std::span<const IpPrefix> withdrawn) {
  const model::Port* port = snapshot_.port(id);
  if (port == nullptr || port->unreadable || port->mac.is_zero()) return {};
  const auto* device = std::get_if<RouterId>(&port->device);
  const model::Router* router = device != nullptr ? snapshot_.router(*device) : nullptr;
  if (router == nullptr || !router->admin_up || router->unreadable) return {};
  if (!port->advertising && !last) return {};
  model::Advertising says = port->advertising.value_or(model::Advertising{});
  if (last) says.lifetime = 0;
  Journey cause;
  send_out(cause, *port,
           advertisement(snapshot_, *port, says, multicast_mac_of(kAllNodes), kAllNodes, last,
                         withdrawn),
           "router advertisement", GeneratedKind::router_advert, router->id);
  for (Generated& made : generated_)
    std::erase_if(made.actions.copies, [](const Copy& copy) {
      return !std::holds_alternative<LocalOutput>(copy.output);
    });
  std::erase_if(generated_, [](const Generated& made) { return made.actions.drops(); });
  return std::move(generated_);
}

std::vector<Generated> router_adverts(const model::Snapshot& snapshot, PortId port, bool last,
                                      std::span<const IpPrefix> withdrawn) {
  const Packet none{};
  Outcome out;
  return Simulation(none, snapshot, {}, MonoTime{}, out, nullptr)
      .run_router_adverts(port, last, withdrawn);
}

}  // namespace plexus::sim
