// SPDX-License-Identifier: Apache-2.0
#include "agent/drop_advice.h"

namespace plexus::agent {

std::string_view drop_advice(sim::DropReason reason) {
  using R = sim::DropReason;
  // No default: a new reason is not forgotten.
  switch (reason) {
    case R::none:
      return "";
    case R::truncated_ethernet:
    case R::truncated_vlan:
    case R::truncated_arp:
    case R::bad_arp:
    case R::truncated_ipv4:
    case R::bad_ipv4:
    case R::truncated_ipv6:
    case R::bad_ipv6:
    case R::bad_ipv6_extension:
    case R::truncated_l4:
    case R::bad_l4:
      return "send a packet that is whole";
    case R::unknown_port:
      return "bind a port to the interface";
    case R::port_unbound:
      return "have the port's interface up on its host, and that host's agent running and not "
             "fenced";
    case R::stale_key:
      return "nothing, when a port has just moved; else look at the sending host's agent";
    case R::no_tunnel_address:
      return "give both hosts an address of one family in a tunnel zone";
    case R::port_admin_down:
    case R::bridge_admin_down:
    case R::router_admin_down:
      return "set its admin_up to true";
    case R::dangling:
      return "repair the reference to an object that does not exist";
    case R::newer_schema:
      return "update the agent of this host";
    case R::too_many_devices:
      return "take the loop of bridges or routers apart, or make the path shorter";
    case R::bad_source_mac:
      return "send from a MAC that is no group address";
    case R::reserved_multicast:
      return "nothing: such frames end at the first bridge";
    case R::hairpin:
      return "nothing: the receiver is where the frame came from";
    case R::bridge_loop:
      return "remove one of the links that make the loop";
    case R::no_receivers:
      return "bind another port of the bridge";
    case R::not_for_router:
      return "send it to the router's MAC or address";
    case R::vlan_at_router:
      return "send it without a VLAN tag";
    case R::not_ip:
      return "send IPv4, IPv6 or ARP";
    case R::multicast_not_routed:
      return "have sender and receiver on one bridge";
    case R::link_local_not_routed:
      return "use global or unique local addresses";
    case R::bad_source_address:
      return "send from an address of one machine that is not the router's own";
    case R::bad_destination_address:
      return "send to an address of a machine";
    case R::ttl_exceeded:
      return "send it with a greater TTL, or take a routing loop apart";
    case R::no_route:
      return "add a route that covers the destination";
    case R::route_blackhole:
    case R::route_reject:
      return "remove the route, or add a more specific one that forwards";
    case R::next_hop_unreachable:
      return "correct the route's next hop or port, or the networks of the port";
    case R::router_port_closed:
      return "nothing: routers offer no such service";
    case R::fragment_at_router:
      return "send packets that fit the MTU";
    case R::bad_neighbour_discovery:
      return "send a solicitation or advertisement that RFC 4861 allows";
    case R::bad_checksum:
      return "send it with the right checksum";
    case R::neighbour_unresolved:
      return "have a machine with that address up, which answers ARP or neighbour solicitations";
    case R::too_many_waiting:
    case R::unstable_topology:
    case R::upcalls_limited:
    case R::upcalls_lost:
      return "try again";
    case R::by_flow:
    case R::unknown_output_port:
    case R::unknown_tunnel_peer:
    case R::no_tunnel:
    case R::rewrite_failed:
    case R::output_failed:
    case R::too_large_for_upcall:
    case R::bad_injection:
      return "look at the datapath: `plexus agent status` and the agent's log";
    case R::packet_too_big:
    case R::mtu_exceeded:
      return "send smaller packets, or raise the MTU of the port or of the underlay";
    case R::icmp_rate_limited:
      return "raise the router's icmp_rate";
    case R::filtered_by_rule:
      return "change or remove the rule, or put one that accepts before it";
    case R::filtered_by_security_group:
      return "allow it by a rule of one of the port's security groups";
    case R::vlan_of_sub_port:
      return "take the tag off, or plug the sender into the sub-port's bridge";
    case R::storm_limit:
      return "send less to many at once, or raise storm_limit of the port or its bridge";
    case R::bad_checksum_offload:
      return "send it with a complete checksum, or leave that of its own header to be completed";
    case R::bad_segmentation:
      return "send UDP datagrams one by one, or at most 128 in one";
    case R::spoofed_source:
      return "add an allowed address pair to the port, or switch its port_security off";
    case R::filter_unreadable:
      return "update the agent of this host, correct the reference to a chain or group, or "
             "move a rule that translates or redirects to where it can: dnat to in_chain, "
             "snat to out_chain of a router, redirect to in_chain of a port";
    case R::filter_too_deep:
      return "let chains jump to fewer others";
    case R::connections_full:
    case R::connections_of_port:
    case R::connections_of_tenant:
      return "close connections, or raise the limit";
    case R::connection_conflict:
      return "try again: another connection has the translated addresses and ports";
    case R::connection_invalid:
      return "begin a connection first: only packets of one may pass";
    case R::icmp_error_unrelated:
      return "quote a packet of a connection that exists";
    case R::snat_exhausted:
      return "give the pool of source addresses more addresses or ports";
    case R::no_member:
      return "have a member of the pool up, with a weight";
    case R::vip_closed:
      return "set admin_up of the virtual address, its load balancer and its pool to true";
    case R::translation_failed:
      return "have fewer translations along the way, all of one address family";
    case R::fragment_refused:
      return "send packets that need no fragments";
  }
  return "";
}

}  // namespace plexus::agent
