// SPDX-License-Identifier: Apache-2.0
// DHCPv6 (RFC 8415) as the edge answers it; see dhcp.cc. Addresses only (IA_NA): whoever asks for prefixes is told that there
// are none.
#include "packet/dhcp6.h"

#include <algorithm>
#include <limits>
#include <map>

#include "packet/build.h"
#include "packet/bytes.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

using dhcp6::Association, dhcp6::Message, dhcp6::Status, dhcp6::Type;
namespace option = dhcp6::option;

/// What an answer may have, so that it needs no fragments anywhere (RFC 8200 5).
constexpr size_t kMaxPayload = 1280 - 40 - 8;
/// Of a request: more would ask for an answer that is larger than that.
constexpr size_t kMaxAssociations = 8, kMaxDuid = 130;
constexpr uint32_t kForever = std::numeric_limits<uint32_t>::max();

struct Request {
  Type type{};
  uint32_t xid = 0;
  std::vector<uint8_t> client, server;  ///< DUIDs; empty: none
  std::vector<Association> addresses;
  std::vector<uint32_t> prefixes;  ///< IA_PD, by id
  std::vector<uint16_t> wanted;    ///< option codes
  bool lists_wanted = false;
  bool rapid = false;
};

/// None: an option is malformed, or there are too many.
std::optional<Request> read(const Dhcp6View& view) {
  Request out;
  out.type = view.type();
  out.xid = view.xid();
  for (const auto& [code, value] : view.message().options) {
    if (code == option::kClientId || code == option::kServerId) {
      if (value.empty() || value.size() > kMaxDuid) return std::nullopt;
      (code == option::kClientId ? out.client : out.server) = value;
    } else if (code == option::kIaNa) {
      const auto association = dhcp6::decode_association(value);
      if (!association || association->leases.size() > kMaxAssociations) return std::nullopt;
      out.addresses.push_back(*association);
    } else if (code == option::kIaPd) {
      if (value.size() < 12) return std::nullopt;
      out.prefixes.push_back(be32_at(value, 0));
    } else if (code == option::kOptionRequest) {
      if (value.size() % 2 != 0) return std::nullopt;
      out.lists_wanted = true;
      for (size_t at = 0; at < value.size(); at += 2) out.wanted.push_back(be16_at(value, at));
    } else if (code == option::kRapidCommit) {
      out.rapid = true;
    }
  }
  if (out.addresses.size() + out.prefixes.size() > kMaxAssociations) return std::nullopt;
  return out;
}

enum class Names : uint8_t { required, forbidden, either };

/// Who a message of the kind must name as its server (RFC 8415 16.2 to 16.12).
std::optional<Names> server_named_by(Type type) {
  switch (type) {
    case Type::solicit:
    case Type::confirm:
    case Type::rebind:
      return Names::forbidden;
    case Type::request:
    case Type::renew:
    case Type::release:
    case Type::decline:
      return Names::required;
    case Type::information_request:
      return Names::either;
    default:
      return std::nullopt;
  }
}

std::string_view name_of(Type type) {
  switch (type) {
    case Type::solicit:
      return "solicit";
    case Type::request:
      return "request";
    case Type::confirm:
      return "confirm";
    case Type::renew:
      return "renew";
    case Type::rebind:
      return "rebind";
    case Type::release:
      return "release";
    case Type::decline:
      return "decline";
    case Type::information_request:
      return "information-request";
    default:
      return "message";
  }
}

/// Whether an operator may say what the option holds: not when the exchange itself depends on it.
bool may_be_given(uint16_t code) {
  constexpr uint16_t kRelayMessage = 9, kAuthentication = 11, kUnicast = 12, kReconfigure = 19,
                     kReconfigureAccept = 20;
  static constexpr uint16_t kOwn[] = {
      0,
      option::kClientId,
      option::kServerId,
      option::kIaNa,
      option::kIaTa,
      option::kIaAddress,
      option::kOptionRequest,
      option::kPreference,
      option::kElapsed,
      kRelayMessage,
      kAuthentication,
      kUnicast,
      option::kStatus,
      option::kRapidCommit,
      kReconfigure,
      kReconfigureAccept,
      option::kIaPd,
  };
  return std::find(std::begin(kOwn), std::end(kOwn), code) == std::end(kOwn);
}

std::vector<uint8_t> addresses(std::span<const IpAddr> list) {
  std::vector<uint8_t> out;
  for (const IpAddr& address : list)
    if (address.is_v6()) out.insert(out.end(), address.bytes.begin(), address.bytes.end());
  return out;
}

/// Option 56: a suboption for each server, with its address.
std::vector<uint8_t> time_servers(std::span<const IpAddr> list) {
  std::vector<uint8_t> out;
  for (const IpAddr& address : list) {
    if (!address.is_v6()) continue;
    out.insert(out.end(), {0, 1, 0, 16});  // suboption 1, 16 bytes
    out.insert(out.end(), address.bytes.begin(), address.bytes.end());
  }
  return out;
}

/// The options of an answer, as many as fit.
class OptionList {
 public:
  void add(uint16_t code, const std::vector<uint8_t>& value) {
    const size_t size = value.size() + 4;
    if (size > room_) {
      ++left_out_;
      return;
    }
    room_ -= size;
    list_.emplace_back(code, value);
  }
  [[nodiscard]] unsigned left_out() const { return left_out_; }
  [[nodiscard]] std::vector<dhcp6::Option> take() { return std::move(list_); }

 private:
  size_t room_ = kMaxPayload - Dhcp6View::kFixed;
  unsigned left_out_ = 0;
  std::vector<dhcp6::Option> list_;
};

void add_settings(const Request& request, const model::DhcpSubnet& subnet, const model::Port& port,
                  OptionList& options) {
  std::map<uint16_t, std::vector<uint8_t>> all;
  all[option::kNameServers] = addresses(subnet.dns_servers);
  if (auto domain = dhcp6::encode_domain(subnet.domain)) all[option::kDomains] = *std::move(domain);
  all[option::kSimpleTimeServers] = addresses(subnet.ntp_servers);
  all[option::kTimeServer] = time_servers(subnet.ntp_servers);
  std::erase_if(all, [](const auto& entry) { return entry.second.empty(); });
  if (request.type == Type::information_request) {
    std::vector<uint8_t> seconds(4);
    put_be32(seconds, 0, subnet.lease_time);
    all[option::kRefreshTime] = std::move(seconds);
  }
  if (request.lists_wanted) {
    std::erase_if(all, [&](const auto& entry) {
      return std::find(request.wanted.begin(), request.wanted.end(), entry.first) ==
             request.wanted.end();
    });
  }
  for (const model::DhcpOption& given : subnet.options)
    if (may_be_given(given.code)) all[given.code] = given.value;
  // A port's codes of one byte are DHCPv4's.
  for (const model::DhcpOption& given : port.dhcp_options)
    if (given.code > 255) all[given.code] = given.value;
  for (const auto& [code, value] : all) options.add(code, value);
}

Association refusal(const Association& asked, Status status) {
  return {asked.id, 0, 0, {}, status};
}

/// With the address, and without end those that are not the machine's.
Association grant(const Association& asked, const IpAddr& address, uint32_t seconds,
                  bool ends_others) {
  Association out{asked.id, 0, 0, {{address, seconds, seconds}}};
  out.t1 = seconds == kForever ? kForever : seconds / 2;
  out.t2 = seconds == kForever ? kForever : static_cast<uint32_t>(uint64_t{seconds} * 4 / 5);
  for (const dhcp6::Lease& lease : asked.leases)
    if (ends_others && lease.address != address) out.leases.push_back({lease.address, 0, 0});
  return out;
}

bool lists(const Association& association, const IpAddr& address) {
  return std::any_of(association.leases.begin(), association.leases.end(),
                     [&](const dhcp6::Lease& l) { return l.address == address; });
}

/// What becomes of one of the associations. `is_its`: it is the one that has the port's address.
Association association_for(const Request& request, const Association& asked,
                            const model::DhcpSubnet& subnet, const IpAddr* address, bool is_its) {
  switch (request.type) {
    case Type::request:
      if (std::any_of(asked.leases.begin(), asked.leases.end(),
                      [&](const auto& l) { return !subnet.network.contains(l.address); }))
        return refusal(asked, Status::not_on_link);
      [[fallthrough]];
    case Type::solicit:
      if (!is_its) return refusal(asked, Status::no_addresses);
      return grant(asked, *address, subnet.lease_time, false);
    case Type::renew:
      if (!is_its) return refusal(asked, Status::no_binding);
      return grant(asked, *address, subnet.lease_time, true);
    case Type::rebind: {
      if (is_its) return grant(asked, *address, subnet.lease_time, true);
      Association ended{asked.id, 0, 0, asked.leases};
      for (dhcp6::Lease& lease : ended.leases) lease.preferred = lease.valid = 0;
      return ended;
    }
    default:
      return refusal(asked, Status::no_binding);
  }
}

}  // namespace

void Simulation::answer_dhcp6(Journey& j, const model::Bridge& bridge, const model::Port& in,
                              const DhcpSubnets& subnets) {
  const auto silent = [&](std::string_view why) {
    note_at(j, DeviceKind::bridge, bridge, "DHCP: no answer: {}", why);
  };
  const auto payload = dhcp_payload(j, bridge, in);
  if (!payload) return;
  const IpAddr asker = j.key.src_ip();
  if (!asker.is_link_local()) return silent("it does not come from a link-local address");
  const auto view = Dhcp6View::of(*payload);
  if (!view) return silent("the message is malformed");
  const auto server_named = server_named_by(view->type());
  if (!server_named) return silent("the message is none of a client's");
  const auto request = read(*view);
  if (!request) return silent("an option of the message is malformed");
  const Type type = request->type;
  if (request->client.empty() && type != Type::information_request)
    return silent("it does not say who asks");
  if (type == Type::information_request && !request->addresses.empty())
    return silent("it asks for addresses and says that it asks for none");
  if (request->server.empty() ? *server_named == Names::required
                              : *server_named == Names::forbidden)
    return silent("it names no server where it must, or one where it must not");

  const auto is_asked = [&](const model::DhcpSubnet& s) {
    return request->server.empty() || request->server == dhcp6::duid_of(dhcp_mac_of(s));
  };
  std::vector<DhcpLease> leases = dhcp_leases(subnets, in);
  std::erase_if(leases, [&](const DhcpLease& l) { return !is_asked(*l.subnet); });
  const DhcpLease* lease = leases.empty() ? nullptr : &leases.front();
  const auto other = std::find_if(subnets.list.begin(), subnets.list.end(),
                                  [&](const auto* s) { return is_asked(*s); });
  if (other == subnets.list.end()) return silent("it asks another server");
  const model::DhcpSubnet& subnet = lease != nullptr ? *lease->subnet : **other;
  const auto say = [&](std::string_view what) {
    note_at(j, DeviceKind::bridge, bridge, "DHCP subnet {}: {} from {}: {}", subnet.name,
            name_of(type), in.mac, what);
  };

  const MacAddr mac = dhcp_mac_of(subnet);
  OptionList options;
  if (!request->client.empty()) options.add(option::kClientId, request->client);
  options.add(option::kServerId, dhcp6::duid_of(mac));
  const bool commits = type == Type::solicit && request->rapid && lease != nullptr;
  if (commits) options.add(option::kRapidCommit, {});
  // This is the only server of the bridge: nobody need wait for others.
  if (type == Type::solicit && !commits) options.add(option::kPreference, {255});

  const auto& asked = request->addresses;
  if (type == Type::confirm) {
    bool any = false, all = true;
    for (const Association& association : asked) {
      for (const dhcp6::Lease& l : association.leases) {
        any = true;
        all = all && std::any_of(subnets.list.begin(), subnets.list.end(),
                                 [&](const auto* s) { return s->network.contains(l.address); });
      }
    }
    if (!any) return say("it names no address: no answer");
    options.add(option::kStatus,
                dhcp6::encode_status(all ? Status::success : Status::not_on_link, ""));
    say(all ? "its addresses are of this link" : "an address is not of this link");
  } else if (type == Type::release || type == Type::decline) {
    options.add(option::kStatus, dhcp6::encode_status(Status::success, ""));
    for (const Association& association : asked)
      if (lease == nullptr || !lists(association, lease->address))
        options.add(option::kIaNa, dhcp6::encode(refusal(association, Status::no_binding)));
    say("taken note of");
  } else if (type != Type::information_request) {
    // The machine has one address: it goes to who has it, or to the first who asks.
    size_t its = 0;
    for (size_t i = 0; lease != nullptr && i < asked.size(); ++i)
      if (lists(asked[i], lease->address)) its = i;
    bool given = false;
    for (size_t i = 0; i < asked.size(); ++i) {
      const IpAddr* address = lease != nullptr ? &lease->address : nullptr;
      const Association answer =
          association_for(*request, asked[i], subnet, address, address != nullptr && i == its);
      given = given || (address != nullptr && lists(answer, *address));
      options.add(option::kIaNa, dhcp6::encode(answer));
    }
    for (const uint32_t id : request->prefixes) {
      const bool none = type == Type::solicit || type == Type::request;
      const Association refused{id, 0, 0, {}, none ? Status::no_prefix : Status::no_binding};
      options.add(option::kIaPd, dhcp6::encode(refused));
    }
    if (given)
      say(fmt::format("{} {} for {} s", type == Type::solicit && !commits ? "offers" : "gives",
                      lease->address, subnet.lease_time));
    else
      say(asked.empty()      ? "it asks for no address"
          : lease == nullptr ? "the port has no address in it: gives none"
                             : "gives no address: it names one of another link");
  } else {
    say("gives the settings of the subnet");
  }
  if (type != Type::confirm && type != Type::release && type != Type::decline)
    add_settings(*request, subnet, in, options);
  if (options.left_out() > 0)
    say(fmt::format("{} options do not fit into {} bytes", options.left_out(), kMaxPayload));

  const Type kind = type == Type::solicit && !commits ? Type::advertise : Type::reply;
  const bool has_address = subnet.server_address && subnet.server_address->is_v6();
  Frame frame =
      udp_packet({.eth_src = mac,
                  .eth_dst = in.mac,
                  .src = has_address ? *subnet.server_address : link_local_of(mac),
                  .dst = asker,
                  .vlan_tci = {}},
                 dhcp6::kServerPort, dhcp6::kClientPort,
                 dhcp6::encode(Message{static_cast<uint8_t>(kind), request->xid, options.take()}));
  send_out(j, in, std::move(frame), "DHCP answer", GeneratedKind::dhcp, RouterId{in.id.uuid});
}

}  // namespace plexus::sim
