// SPDX-License-Identifier: Apache-2.0
#include "netlink/route.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include "packet/bytes.h"

namespace plexus::netlink {
namespace {

ifinfomsg link_header(uint32_t index = 0) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(index);
  return header;
}

Result<void> named(Result<void> result, std::string_view what) {
  if (!result) return result.error().in(what);
  return result;
}

}  // namespace

std::optional<Link> link_of(const Message& message) {
  if (message.type != RTM_NEWLINK && message.type != RTM_DELLINK) return std::nullopt;
  const auto header = message.fixed<ifinfomsg>();
  // Bridges announce their ports with messages of their own family.
  if (!header || header->ifi_family != AF_UNSPEC) return std::nullopt;
  const Attributes attributes = message.attributes<ifinfomsg>();
  Link link;
  link.index = static_cast<uint32_t>(header->ifi_index);
  link.name = attributes.string(IFLA_IFNAME);
  link.kind = attributes.nested(IFLA_LINKINFO).string(IFLA_INFO_KIND);
  if (const auto mac = attributes.find(IFLA_ADDRESS); mac && mac->size() == 6)
    link.mac = mac_at(*mac, 0);
  link.up = (header->ifi_flags & IFF_UP) != 0;
  link.mtu = attributes.u32(IFLA_MTU).value_or(0);
  link.peer_index = attributes.u32(IFLA_LINK).value_or(0);
  if (const auto id = attributes.u32(IFLA_LINK_NETNSID))
    link.peer_namespace = static_cast<int32_t>(*id);
  return link;
}

Result<Route> Route::open() {
  auto socket = Socket::open(NETLINK_ROUTE);
  if (!socket) return socket.error();
  return Route(std::move(*socket));
}

Result<std::vector<Link>> Route::links() {
  Writer request(RTM_GETLINK, NLM_F_DUMP);
  request.fixed(link_header());
  std::vector<Link> out;
  const auto result = socket_.request(request, [&](const Message& message) {
    if (auto link = link_of(message)) out.push_back(std::move(*link));
  });
  if (!result) return result.error().in("listing interfaces");
  return out;
}

Result<Link> Route::one_link(Writer& request) {
  std::optional<Link> found;
  const auto result = socket_.request(request, [&](const Message& message) {
    if (auto link = link_of(message)) found = std::move(link);
  });
  if (!result) return result.error();
  if (!found) return Error{ErrorCode::internal, "the kernel gave no interface"};
  return std::move(*found);
}

Result<Link> Route::link(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return Error{ErrorCode::not_found, "no interface can be called \"" + name + "\""};
  Writer request(RTM_GETLINK, NLM_F_ACK);
  request.fixed(link_header());
  request.put_string(IFLA_IFNAME, name);
  auto found = one_link(request);
  if (!found) return found.error().in("interface " + name);
  return found;
}

Result<Link> Route::link(uint32_t index) {
  Writer request(RTM_GETLINK, NLM_F_ACK);
  request.fixed(link_header(index));
  auto found = one_link(request);
  if (!found) return found.error().in("interface number " + std::to_string(index));
  return found;
}

Result<Link> Route::link_in(int32_t namespace_id, uint32_t index) {
  Writer request(RTM_GETLINK, NLM_F_ACK);
  request.fixed(link_header(index));
  request.put_u32(IFLA_TARGET_NETNSID, static_cast<uint32_t>(namespace_id));
  auto found = one_link(request);
  if (!found) return found.error().in("interface number " + std::to_string(index));
  return found;
}

Result<std::vector<InterfaceAddress>> Route::addresses() {
  Writer request(RTM_GETADDR, NLM_F_DUMP);
  ifaddrmsg all{};
  all.ifa_family = AF_UNSPEC;
  request.fixed(all);
  std::vector<InterfaceAddress> out;
  const auto result = socket_.request(request, [&](const Message& message) {
    const auto header = message.fixed<ifaddrmsg>();
    if (message.type != RTM_NEWADDR || !header) return;
    const Attributes attributes = message.attributes<ifaddrmsg>();
    // On a point-to-point link IFA_ADDRESS is the other end's, IFA_LOCAL ours.
    auto raw = attributes.find(IFA_LOCAL);
    if (!raw) raw = attributes.find(IFA_ADDRESS);
    if (!raw) return;
    const auto address = IpAddr::from_bytes(
        std::string_view(reinterpret_cast<const char*>(raw->data()), raw->size()));
    if (address) out.push_back({header->ifa_index, {*address, header->ifa_prefixlen}});
  });
  if (!result) return result.error().in("listing addresses");
  return out;
}

Result<void> Route::create_veth(const VethSpec& spec) {
  Writer request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  request.fixed(link_header());
  request.put_string(IFLA_IFNAME, spec.name);
  request.put_u32(IFLA_MTU, spec.mtu);
  const size_t info = request.begin(IFLA_LINKINFO);
  request.put_string(IFLA_INFO_KIND, "veth");
  const size_t data = request.begin(IFLA_INFO_DATA);
  const size_t peer = request.begin(VETH_INFO_PEER);
  request.fixed(link_header());
  request.put_string(IFLA_IFNAME, spec.peer);
  request.put_u32(IFLA_MTU, spec.mtu);
  if (spec.peer_namespace_fd)
    request.put_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(*spec.peer_namespace_fd));
  request.end(peer);
  request.end(data);
  request.end(info);
  return named(socket_.request(request), "creating veth " + spec.name);
}

Result<void> Route::create_vxlan(const VxlanSpec& spec) {
  Writer request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  request.fixed(link_header());
  request.put_string(IFLA_IFNAME, spec.name);
  if (spec.mtu != 0) request.put_u32(IFLA_MTU, spec.mtu);
  const size_t info = request.begin(IFLA_LINKINFO);
  request.put_string(IFLA_INFO_KIND, "vxlan");
  const size_t data = request.begin(IFLA_INFO_DATA);
  request.put_u8(IFLA_VXLAN_COLLECT_METADATA, 1);
  request.put_u8(IFLA_VXLAN_LEARNING, 0);
  request.put_be16(IFLA_VXLAN_PORT, spec.udp_port);
  // Senders that leave the outer checksum out over IPv6 (RFC 6935) are heard too.
  request.put_u8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
  request.end(data);
  request.end(info);
  return named(socket_.request(request), "creating vxlan " + spec.name);
}

Result<uint16_t> Route::vxlan_udp_port(const std::string& name) {
  Writer request(RTM_GETLINK, NLM_F_ACK);
  request.fixed(link_header());
  request.put_string(IFLA_IFNAME, name);
  std::optional<uint16_t> port;
  const auto result = socket_.request(request, [&](const Message& message) {
    const Attributes info = message.attributes<ifinfomsg>().nested(IFLA_LINKINFO);
    if (info.string(IFLA_INFO_KIND) != "vxlan") return;
    const Attributes data = info.nested(IFLA_INFO_DATA);
    const auto external = data.find(IFLA_VXLAN_COLLECT_METADATA);
    const auto value = data.find(IFLA_VXLAN_PORT);
    if (external && external->size() == 1 && external->front() != 0 && value && value->size() == 2)
      port = be16_at(*value, 0);
  });
  if (!result) return result.error().in("interface " + name);
  if (!port)
    return Error{ErrorCode::not_found,
                 "interface " + name + " is no vxlan device in external mode"};
  return *port;
}

Result<void> Route::delete_link(uint32_t index) {
  Writer request(RTM_DELLINK, NLM_F_ACK);
  request.fixed(link_header(index));
  return named(socket_.request(request), "deleting interface number " + std::to_string(index));
}

Result<void> Route::set_up(uint32_t index, bool up) {
  Writer request(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg header = link_header(index);
  header.ifi_change = IFF_UP;
  header.ifi_flags = up ? IFF_UP : 0;
  request.fixed(header);
  return named(socket_.request(request), "switching interface number " + std::to_string(index));
}

Result<void> Route::set_no_link_local(uint32_t index) {
  Writer request(RTM_NEWLINK, NLM_F_ACK);
  request.fixed(link_header(index));
  const size_t spec = request.begin(IFLA_AF_SPEC);
  const size_t inet6 = request.begin(AF_INET6);
  request.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  request.end(inet6);
  request.end(spec);
  return named(socket_.request(request),
               "address generation of interface number " + std::to_string(index));
}

Result<void> Route::move(uint32_t index, int namespace_fd) {
  Writer request(RTM_NEWLINK, NLM_F_ACK);
  request.fixed(link_header(index));
  request.put_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(namespace_fd));
  return named(socket_.request(request), "moving interface number " + std::to_string(index));
}

Result<void> Route::add_address(uint32_t index, const IpPrefix& address) {
  Writer request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  ifaddrmsg header{};
  header.ifa_family = address.addr.is_v4() ? AF_INET : AF_INET6;
  header.ifa_prefixlen = address.length;
  // Usable at once: no duplicate address detection.
  header.ifa_flags = IFA_F_NODAD;
  header.ifa_index = index;
  request.fixed(header);
  request.put(IFA_LOCAL, wire_bytes(address.addr));
  request.put(IFA_ADDRESS, wire_bytes(address.addr));
  return named(socket_.request(request), "adding address " + address.str());
}

Result<size_t> Route::count_tc_filters(uint32_t index) {
  size_t count = 0;
  for (const uint32_t parent :
       {TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)}) {
    Writer request(RTM_GETTFILTER, NLM_F_DUMP);
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = static_cast<int>(index);
    header.tcm_parent = parent;
    request.fixed(header);
    const auto result = socket_.request(request, [&](const Message& message) {
      // Each priority has a head without a handle, and its filters.
      const auto filter = message.fixed<tcmsg>();
      if (message.type == RTM_NEWTFILTER && filter && filter->tcm_handle != 0) ++count;
    });
    if (!result)
      return result.error().in("listing filters of interface number " + std::to_string(index));
  }
  return count;
}

Result<void> Route::delete_clsact(uint32_t index) {
  Writer request(RTM_DELQDISC, NLM_F_ACK);
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(index);
  header.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  header.tcm_parent = TC_H_CLSACT;
  request.fixed(header);
  return named(socket_.request(request),
               "removing clsact of interface number " + std::to_string(index));
}

Result<LinkMonitor> LinkMonitor::open() {
  auto socket = Socket::open(NETLINK_ROUTE, RTMGRP_LINK);
  if (!socket) return socket.error();
  return LinkMonitor(std::move(*socket));
}

Result<std::vector<LinkEvent>> LinkMonitor::read() {
  std::vector<LinkEvent> out;
  const auto result = socket_.receive([&](const Message& message) {
    if (auto link = link_of(message))
      out.push_back({message.type == RTM_DELLINK, std::move(*link)});
  });
  if (!result) return result.error();
  return out;
}

}  // namespace plexus::netlink
