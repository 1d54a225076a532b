// SPDX-License-Identifier: Apache-2.0
// DHCP as the edge answers it, where a machine's request enters its bridge: which requests those are, and DHCPv4 (RFC
// 2131). Nothing is leased: the topology says which address is whose, so every host gives the same answer, whenever asked.
// docs/dhcp.md says what is answered how.
#include "packet/dhcp.h"

#include <algorithm>
#include <limits>
#include <map>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/dhcp6.h"
#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

using dhcp::Message, dhcp::Type;
namespace option = dhcp::option;

const IpAddr kNoAddress = IpAddr::v4(0), kAll = IpAddr::v4(0xffffffff);

/// IP datagrams that every client takes (RFC 2131 2), and the largest that is sent to one that takes more.
constexpr size_t kLeastDatagram = 576, kLargestDatagram = 1500, kIpAndUdp = 28;

/// Whether an operator may say what the option holds: not when the exchange itself depends on it.
bool may_be_given(uint16_t code) {
  switch (code) {
    case option::kPad:
    case option::kRequestedAddress:
    case option::kLeaseTime:
    case option::kOverload:
    case option::kMessageType:
    case option::kServerId:
    case option::kParameterList:
    case option::kMaxMessage:
    case option::kClientId:
    case option::kRelay:
      return false;
    default:
      return code < option::kEnd;
  }
}

std::vector<uint8_t> be32(uint32_t value) {
  std::vector<uint8_t> out(4);
  put_be32(out, 0, value);
  return out;
}

std::vector<uint8_t> bytes_of(const IpAddr& address) {
  const auto wire = wire_bytes(address);
  return {wire.begin(), wire.end()};
}

std::vector<uint8_t> addresses(std::span<const IpAddr> list) {
  std::vector<uint8_t> out;
  for (const IpAddr& address : list) {
    if (!address.is_v4()) continue;
    const auto wire = wire_bytes(address);
    out.insert(out.end(), wire.begin(), wire.end());
  }
  return out;
}

/// What there is to say to a machine of the subnet, by code; and what an operator has asked to be said.
struct Settings {
  std::map<uint8_t, std::vector<uint8_t>> all;
  std::vector<uint8_t> given;  ///< codes
};

Settings settings_of(const model::DhcpSubnet& subnet, const model::Port& port) {
  Settings out;
  const auto add = [&](uint8_t code, const std::vector<uint8_t>& value) {
    if (!value.empty()) out.all[code] = value;
  };
  const unsigned length = subnet.network.length;
  add(option::kSubnetMask, be32(length == 0 ? 0 : ~uint32_t{0} << (32 - length)));
  const bool has_gateway = subnet.gateway && subnet.gateway->is_v4();
  if (has_gateway) add(option::kRouter, bytes_of(*subnet.gateway));
  add(option::kNameServer, addresses(subnet.dns_servers));
  add(option::kDomain, {subnet.domain.begin(), subnet.domain.end()});
  if (subnet.mtu != 0) {
    std::vector<uint8_t> mtu(2);
    put_be16(mtu, 0, subnet.mtu);
    add(option::kMtu, mtu);
  }
  if (const auto broadcast = subnet.network.broadcast())
    add(option::kBroadcast, bytes_of(*broadcast));
  add(option::kTimeServer, addresses(subnet.ntp_servers));
  if (!subnet.routes.empty()) {
    // Who reads this option ignores the router option (RFC 3442), so the default route stands here, too.
    std::vector<std::pair<IpPrefix, IpAddr>> routes;
    if (has_gateway) routes.emplace_back(IpPrefix{kNoAddress, 0}, *subnet.gateway);
    routes.insert(routes.end(), subnet.routes.begin(), subnet.routes.end());
    add(option::kClasslessRoutes, dhcp::encode_routes(routes));
    add(option::kMicrosoftRoutes, dhcp::encode_routes(routes));
  }
  for (const auto* list : {&subnet.options, &port.dhcp_options}) {
    for (const model::DhcpOption& given : *list) {
      if (!may_be_given(given.code)) continue;
      const auto code = static_cast<uint8_t>(given.code);
      out.all[code] = given.value;
      out.given.push_back(code);
    }
  }
  return out;
}

/// The words of an option, as far as C programs read them; "": it is not said.
std::string words(const Settings& settings, uint8_t code) {
  const auto at = settings.all.find(code);
  if (at == settings.all.end()) return {};
  return {at->second.begin(), std::find(at->second.begin(), at->second.end(), 0)};
}

/// Where it boots from, for those who look into the fields of BOOTP and not at options 66, 67 and 150: boot firmware, mostly.
void tell_boot_server(const Settings& settings, Message& answer) {
  if (const auto server = IpAddr::parse(words(settings, option::kBootServer));
      server && server->is_v4()) {
    answer.server = *server;
  } else if (const auto list = settings.all.find(option::kBootServers);
             list != settings.all.end() && list->second.size() >= 4) {
    answer.server = ipv4_at(list->second, 0);
  }
  if (std::string file = words(settings, option::kBootFile); file.size() <= dhcp::kMaxFile)
    answer.file = std::move(file);
}

/// The options of an answer, as many as the client can take.
class OptionList {
 public:
  explicit OptionList(size_t room) : room_(room) {}
  void add(uint8_t code, const std::vector<uint8_t>& value) {
    if (std::any_of(list_.begin(), list_.end(), [&](const auto& o) { return o.first == code; }))
      return;
    const size_t parts = std::max<size_t>(1, (value.size() + 254) / 255);
    const size_t size = value.size() + 2 * parts;
    if (size > room_) {
      left_out_.push_back(code);
      return;
    }
    room_ -= size;
    list_.emplace_back(code, value);
  }
  /// Codes of those that do not fit.
  [[nodiscard]] const std::vector<uint8_t>& left_out() const { return left_out_; }
  [[nodiscard]] std::vector<dhcp::Option> take() { return std::move(list_); }

 private:
  size_t room_;
  std::vector<uint8_t> left_out_;
  std::vector<dhcp::Option> list_;
};

size_t room_for_options(const DhcpView& request) {
  size_t datagram = kLeastDatagram;
  if (const auto most = request.option(option::kMaxMessage); most && most->size() == 2)
    datagram = std::clamp<size_t>(be16_at(*most, 0), kLeastDatagram, kLargestDatagram);
  return datagram - kIpAndUdp - DhcpView::kFixed - 1;  // and the end option
}

/// `part` / `whole` of a lease; without end when it is.
uint32_t share_of(uint32_t seconds, uint32_t part, uint32_t whole) {
  if (seconds == std::numeric_limits<uint32_t>::max()) return seconds;
  return static_cast<uint32_t>(uint64_t{seconds} * part / whole);
}

std::string_view name_of(Type type) {
  static constexpr std::string_view kNames[] = {"discover", "offer", "request", "decline",
                                                "ack",      "nak",   "release", "inform"};
  return kNames[static_cast<size_t>(type) - 1];
}

/// The address that answers come from.
IpAddr server_of(const model::DhcpSubnet& subnet) {
  if (subnet.server_address && subnet.server_address->is_v4()) return *subnet.server_address;
  if (subnet.gateway && subnet.gateway->is_v4()) return *subnet.gateway;
  return IpAddr::v4(subnet.network.network().addr.v4_value() + 1);
}

bool serves(const model::DhcpSubnet& subnet, IpFamily family) {
  return subnet.admin_up && !subnet.unreadable && subnet.network.addr.family == family;
}

}  // namespace

MacAddr dhcp_mac_of(const model::DhcpSubnet& subnet) {
  MacAddr mac;
  const auto& id = subnet.id.uuid.bytes;
  std::copy(id.end() - 6, id.end(), mac.bytes.begin());
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 2);  // local, of one machine
  return mac;
}

MacAddr Simulation::dhcp_server_mac(BridgeId bridge, const model::DhcpSubnet& subnet) {
  if (subnet.network.addr.is_v4()) {
    const auto place = place_on_bridges(bridge, server_of(subnet));
    if (place && place->owners.size() == 1 && !place->owners.front().mac.is_zero())
      return place->owners.front().mac;
  }
  return dhcp_mac_of(subnet);
}

std::optional<MacAddr> Simulation::dhcp_mac_at(BridgeId bridge, const IpAddr& address) {
  for (const DhcpSubnetId id : snapshot_.dhcp_subnets_of(bridge)) {
    const model::DhcpSubnet* subnet = snapshot_.dhcp_subnet(id);
    if (subnet != nullptr && serves(*subnet, IpFamily::v4) && server_of(*subnet) == address)
      return dhcp_mac_of(*subnet);
  }
  return std::nullopt;
}

Simulation::DhcpSubnets Simulation::dhcp_subnets(BridgeId bridge, IpFamily family) {
  DhcpSubnets out;
  for (const DhcpSubnetId id : snapshot_.dhcp_subnets_of(bridge)) {
    const model::DhcpSubnet* subnet = snapshot_.dhcp_subnet(id);
    if (subnet == nullptr) continue;
    if (subnet->unreadable)
      out.unreadable = true;
    else if (serves(*subnet, family))
      out.list.push_back(subnet);
  }
  return out;
}

std::vector<Simulation::DhcpLease> Simulation::dhcp_leases(const DhcpSubnets& subnets,
                                                           const model::Port& port) {
  std::vector<DhcpLease> out;
  for (const IpAddr& address : port.addresses) {
    const auto subnet = std::find_if(subnets.list.begin(), subnets.list.end(),
                                     [&](const auto* s) { return s->network.contains(address); });
    if (subnet == subnets.list.end()) continue;
    if (std::none_of(out.begin(), out.end(),
                     [&](const DhcpLease& l) { return l.subnet == *subnet; }))
      out.push_back({*subnet, address});
  }
  return out;
}

IpFamily Simulation::dhcp_asked(Journey& j, const model::Port& in) {
  const auto* id = std::get_if<BridgeId>(&in.device);
  if (id == nullptr || j.mask == nullptr || j.from_tunnel || j.devices != 1 || in.peer)
    return IpFamily::none;
  // Asked of every frame that enters: no lists are made here.
  const auto subnets = snapshot_.dhcp_subnets_of(*id);
  bool four = false, six = false;
  for (const DhcpSubnetId each : subnets) {
    const model::DhcpSubnet* subnet = snapshot_.dhcp_subnet(each);
    if (subnet == nullptr) continue;
    four = four || subnet->unreadable || serves(*subnet, IpFamily::v4);
    six = six || subnet->unreadable || serves(*subnet, IpFamily::v6);
  }
  if (!four && !six) return IpFamily::none;
  const auto asks = [&](uint16_t type, uint16_t port) {
    return j.eth_type() == type && j.ip_proto() == ip_proto::kUdp &&
           j.ip_frag() != FragKind::later && j.tp_dst() == port && !is_of_vlan(j, false);
  };
  if (j.eth_dst_is_group()) {
    if (j.eth_dst_is(kBroadcastMac)) {
      return four && asks(eth_type::kIpv4, dhcp::kServerPort) ? IpFamily::v4 : IpFamily::none;
    }
    return six && j.eth_dst_is(multicast_mac_of(dhcp6::all_servers())) &&
                   asks(eth_type::kIpv6, dhcp6::kServerPort) && j.dst_is(dhcp6::all_servers())
               ? IpFamily::v6
               : IpFamily::none;
  }
  // Who has an address renews it by unicast.
  for (const DhcpSubnetId each : subnets) {
    const model::DhcpSubnet* subnet = snapshot_.dhcp_subnet(each);
    if (subnet != nullptr && serves(*subnet, IpFamily::v4) &&
        j.eth_dst_is(dhcp_server_mac(*id, *subnet)) && j.eth_type() == eth_type::kIpv4 &&
        j.dst_is(server_of(*subnet)) && asks(eth_type::kIpv4, dhcp::kServerPort))
      return IpFamily::v4;
  }
  return IpFamily::none;
}

bool Simulation::answer_dhcp(Journey& j, const model::Bridge& bridge, const model::Port& in) {
  const IpFamily family = dhcp_asked(j, in);
  if (family == IpFamily::none) return false;
  cacheable_ = false;  // the message decides, which is in no class
  const DhcpSubnets subnets = dhcp_subnets(bridge.id, family);
  if (subnets.unreadable && dhcp_leases(subnets, in).empty()) {
    drop_at(j, DropReason::newer_schema, DeviceKind::bridge, bridge,
            "DHCP: the record of a subnet is newer than this agent");
    return true;
  }
  j.fate->consumed = true;
  if (family == IpFamily::v4)
    answer_dhcp4(j, bridge, in, subnets);
  else
    answer_dhcp6(j, bridge, in, subnets);
  return true;
}

std::optional<std::span<const uint8_t>> Simulation::dhcp_payload(const Journey& j,
                                                                 const model::Bridge& bridge,
                                                                 const model::Port& in) {
  const auto silent = [&](std::string_view why) {
    note_at(j, DeviceKind::bridge, bridge, "DHCP: no answer: {}", why);
    return std::nullopt;
  };
  const auto payload = udp_payload(*j.parsed, j.bytes);
  if (!payload) return silent("the request is a fragment, or not whole");
  if (!ipv4_checksum_ok(*j.parsed, j.bytes) || (!transport_checksum_ok(*j.parsed, j.bytes) &&
                                                !transport_checksum_is_partial(*j.parsed, j.bytes)))
    return silent("the request is damaged");
  if (in.mac.is_zero() || j.key.src_mac() != in.mac)
    return silent("it does not come from the port's MAC");
  return payload;
}

void Simulation::answer_dhcp4(Journey& j, const model::Bridge& bridge, const model::Port& in,
                              const DhcpSubnets& subnets) {
  const auto silent = [&](std::string_view why) {
    note_at(j, DeviceKind::bridge, bridge, "DHCP: no answer: {}", why);
  };
  const auto payload = dhcp_payload(j, bridge, in);
  if (!payload) return;
  const auto request = DhcpView::of(*payload);
  if (!request) return silent("the message is malformed");
  const auto type = request->type();
  if (request->is_reply() || !type || *type == Type::offer || *type == Type::ack ||
      *type == Type::nak)
    return silent("the message is none of a client's");
  if (request->relay() != kNoAddress) return silent("relayed requests are not served");
  if (request->mac() != in.mac) return silent("it asks for another MAC than the port's");

  const auto server_id = request->address_option(option::kServerId);
  const auto requested = request->address_option(option::kRequestedAddress);
  const IpAddr wanted =
      request->client() != kNoAddress ? request->client() : requested.value_or(kNoAddress);
  const auto is_asked = [&](const model::DhcpSubnet& s) {
    return !server_id || server_of(s) == *server_id;
  };
  if (std::none_of(subnets.list.begin(), subnets.list.end(),
                   [&](const auto* s) { return is_asked(*s); }))
    return silent("it asks another server");
  std::vector<DhcpLease> leases = dhcp_leases(subnets, in);
  std::erase_if(leases, [&](const DhcpLease& l) { return !is_asked(*l.subnet); });
  auto chosen = std::find_if(leases.begin(), leases.end(),
                             [&](const DhcpLease& l) { return l.address == wanted; });
  const bool wanted_is_its = chosen != leases.end();
  if (!wanted_is_its) chosen = leases.begin();
  const DhcpLease* lease = leases.empty() ? nullptr : &*chosen;
  // Who informs has an address, though perhaps none of the port's.
  const auto of_client = std::find_if(subnets.list.begin(), subnets.list.end(), [&](const auto* s) {
    return is_asked(*s) && s->network.contains(request->client());
  });
  const model::DhcpSubnet& subnet =
      *type == Type::inform && of_client != subnets.list.end() ? **of_client
      : lease != nullptr                                       ? *lease->subnet
                         : **std::find_if(subnets.list.begin(), subnets.list.end(),
                                          [&](const auto* s) { return is_asked(*s); });
  const auto say = [&](std::string_view what) {
    note_at(j, DeviceKind::bridge, bridge, "DHCP subnet {}: {} from {}: {}", subnet.name,
            name_of(*type), in.mac, what);
  };

  Message answer{.reply = true,
                 .xid = request->xid(),
                 .broadcast = request->broadcast(),
                 .mac = request->mac(),
                 .options = {}};
  Type kind = Type::ack;
  bool leased = true;
  switch (*type) {
    case Type::discover:
      if (lease == nullptr) return say("the port has no address in it: no answer");
      kind = Type::offer;
      break;
    case Type::request:
      if (wanted == kNoAddress) return say("it names no address: no answer");
      if (!wanted_is_its) kind = Type::nak;
      answer.client = request->client();
      break;
    case Type::inform:
      if (!subnet.network.contains(request->client()))
        return say("its address is not of the subnet: no answer");
      answer.client = request->client();
      leased = false;
      break;
    case Type::decline:
      return say(fmt::format("taken note of: somebody else uses {}", wanted));
    default:
      return say("taken note of");
  }
  const bool refused = kind == Type::nak;
  OptionList options(room_for_options(*request));
  options.add(option::kMessageType, {static_cast<uint8_t>(kind)});
  const IpAddr server = server_of(subnet);
  options.add(option::kServerId, bytes_of(server));
  if (const auto id = request->option(option::kClientId))  // RFC 6842
    options.add(option::kClientId, {id->begin(), id->end()});
  if (refused) {
    answer.client = kNoAddress;
    static constexpr std::string_view kWhy = "not the address of this machine";
    options.add(option::kMessage, {kWhy.begin(), kWhy.end()});
    say(fmt::format("refused: {} is not its address{}", wanted,
                    lease != nullptr ? ", which is " + lease->address.str() : ""));
  } else {
    if (leased) {
      answer.your = lease->address;
      const uint32_t time = subnet.lease_time;
      options.add(option::kLeaseTime, be32(time));
    }
    const Settings settings = settings_of(subnet, in);
    tell_boot_server(settings, answer);
    const auto add = [&](uint8_t code) {
      const auto known = settings.all.find(code);
      const bool of_lease = code == option::kRenewalTime || code == option::kRebindingTime;
      if (known != settings.all.end() && (leased || !of_lease)) options.add(code, known->second);
    };
    add(option::kSubnetMask);
    if (leased) {
      add(option::kRenewalTime);
      add(option::kRebindingTime);
      options.add(option::kRenewalTime, be32(share_of(subnet.lease_time, 1, 2)));
      options.add(option::kRebindingTime, be32(share_of(subnet.lease_time, 7, 8)));
    }
    // What it asks for, in its order (RFC 2132 9.8); and what the operator has asked for (RFC 2131 4.3.1).
    if (const auto list = request->option(option::kParameterList)) {
      for (const uint8_t code : *list) add(code);
      for (const uint8_t code : settings.given) add(code);
    } else {
      for (const auto& [code, value] : settings.all)
        if (code != option::kMicrosoftRoutes) add(code);
    }
    if (leased)
      say(fmt::format("{} {} for {} s", kind == Type::offer ? "offers" : "gives", answer.your,
                      subnet.lease_time));
    else
      say("gives the settings of the subnet");
    if (!options.left_out().empty())
      say(fmt::format("left out, since it takes no more: option {}",
                      fmt::join(options.left_out(), ", ")));
  }
  answer.options = options.take();

  // RFC 2131 4.1. A refusal reaches who does not know that its address is wrong.
  const bool to_all =
      refused || (answer.client == kNoAddress && (answer.broadcast || answer.your == kNoAddress));
  const IpAddr to = to_all ? kAll : answer.client != kNoAddress ? answer.client : answer.your;
  Frame frame = udp_packet({.eth_src = dhcp_server_mac(bridge.id, subnet),
                            .eth_dst = to_all ? kBroadcastMac : in.mac,
                            .src = server,
                            .dst = to,
                            .vlan_tci = {}},
                           dhcp::kServerPort, dhcp::kClientPort, dhcp::encode(answer));
  send_out(j, in, std::move(frame), "DHCP answer", GeneratedKind::dhcp, RouterId{in.id.uuid});
}

}  // namespace plexus::sim
