// SPDX-License-Identifier: Apache-2.0
// The virtual topology as plain values: what the simulator may know. Made from store records by
// store/topology, or by tests. Devices refer to each other by id; a reference may dangle (the
// referred-to object not loaded, deleted or unreadable): the simulator drops with a reason then.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "packet/addr.h"

namespace plexus::model {

/// What ports belong to.
using Device = std::variant<std::monostate, BridgeId, RouterId>;
/// Where mirrors and trace requests stand. An id alone would not say it: a bridge and a port may have the same.
using Place = std::variant<std::monostate, PortId, BridgeId, RouterId>;
[[nodiscard]] Uuid uuid_of(const Place& at);

struct Bridge {
  BridgeId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;    ///< written by a newer schema than we know: fail closed
  std::vector<PortId> ports;  ///< sorted
  bool learning = true;       ///< MACs from the sources of frames
  uint32_t mac_age = 300;     ///< seconds without a frame after which a learned MAC is forgotten
  uint32_t macs_per_port = 1024;  ///< learned at most
  std::optional<ChainId> in_chain = {}, out_chain = {};
  std::optional<uint8_t> dscp = {};  ///< mark of what machines send into it
  /// Frames to 01:80:c2:00:00:00 to 0f, which bridges keep to themselves: spanning tree and the like; LLDP.
  bool forward_bpdu = false, forward_lldp = false;
  uint32_t storm_limit = 0;  ///< of its ports that have none of their own
  bool operator==(const Bridge&) const = default;
};

inline constexpr uint32_t kDefaultIcmpRate = 1000;

struct Router {
  RouterId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  std::vector<PortId> ports;    ///< sorted
  std::vector<RouteId> routes;  ///< sorted
  /// ICMP errors of a kind, and echo replies, that one host sends for it in a second.
  uint32_t icmp_rate = kDefaultIcmpRate;
  std::optional<ChainId> in_chain = {}, out_chain = {};
  bool drop_fragments = false;
  bool operator==(const Router&) const = default;
};

/// What a router port says of itself in router advertisements (RFC 4861 4.2, 4.6.2).
struct Advertising {
  uint16_t lifetime = 1800;  ///< seconds as a default router; 0: it is none
  bool managed = false;      ///< addresses are to be had by DHCPv6
  bool other = false;        ///< other settings are to be had by DHCPv6
  bool autonomous = true;    ///< hosts make their own addresses from the networks
  bool operator==(const Advertising&) const = default;
};

/// Where a machine may also send from.
struct AddressPair {
  IpPrefix network;
  std::optional<MacAddr> mac;  ///< none: the port's
  bool operator==(const AddressPair&) const = default;
};

/// An option of DHCPv4 or DHCPv6, as the subnet's family says: code and value.
struct DhcpOption {
  uint16_t code = 0;
  std::vector<uint8_t> value;
  auto operator<=>(const DhcpOption&) const = default;
};

struct Port {
  PortId id;
  std::string name;
  std::string tenant;  ///< whose it is; empty: nobody's
  bool admin_up = true;
  bool unreadable = false;
  Device device;
  std::optional<PortId> peer;          ///< interior
  std::optional<HostId> wanted_host;   ///< exterior, configuration
  std::optional<HostId> migrating_to;  ///< who takes it over when its first frame comes there
  std::string interface;
  MacAddr mac;                     ///< zero: unknown
  std::vector<IpAddr> addresses;   ///< bridge port: what is plugged in
  std::vector<IpPrefix> networks;  ///< router port: own addresses with prefix lengths
  uint32_t mtu = 0;  ///< router port: largest IP packet that leaves by it; 0: no limit
  std::optional<Advertising> advertising;  ///< router port: sends router advertisements
  /// For packets from the port into its device, and from the device out by the port.
  std::optional<ChainId> in_chain = {}, out_chain = {};
  std::vector<SecurityGroupId> security_groups = {};  ///< sorted; none: not filtered by any
  std::vector<PortGroupId> port_groups = {};          ///< sorted
  bool port_security = false;                   ///< its machine sends from its own addresses only
  std::vector<AddressPair> allowed_pairs = {};  ///< and from these
  std::optional<uint8_t> dscp = {};             ///< bridge port: mark of what its machine sends
  uint32_t storm_limit =
      0;  ///< flooded frames a second that come by its interface; 0: the bridge's
  /// A sub-port: the frames of the parent's interface that carry the tag `vlan` (1 to 4094).
  std::optional<PortId> parent = {};
  uint16_t vlan = 0;
  std::vector<DhcpOption> dhcp_options = {};  ///< its machine's own, in place of the subnet's
  bool outside = false;                       ///< router port: an uplink
  bool operator==(const Port&) const = default;
};

enum class RouteKind : uint8_t { forward, blackhole, reject };

struct Route {
  RouteId id;
  RouterId router;
  std::string name;
  bool unreadable = false;
  IpPrefix destination;
  RouteKind kind = RouteKind::forward;
  std::optional<PortId> port;
  std::optional<IpAddr> next_hop;
  uint32_t metric = 0;
  uint32_t weight = 1;  ///< its share among routes of equal prefixes and metric; at least 1
  IpPrefix source{};    ///< of packets that it is for; length 0: of all
  bool operator==(const Route&) const = default;
};

/// Networks that rules name together.
struct AddressGroup {
  AddressGroupId id;
  std::string name;
  bool unreadable = false;
  std::vector<IpPrefix> prefixes;  ///< sorted, without duplicates, no host bits
  bool operator==(const AddressGroup&) const = default;
};

struct PortGroup {
  PortGroupId id;
  std::string name;
  bool unreadable = false;
  bool operator==(const PortGroup&) const = default;
};

struct Chain {
  ChainId id;
  std::string name;
  bool unreadable = false;
  std::vector<RuleId> rules;  ///< sorted; serves those who load the closure
  bool operator==(const Chain&) const = default;
};

enum class RuleAction : uint8_t {
  accept,
  drop,
  reject,
  jump,
  return_,
  continue_,
  dnat,      ///< to Rule::to_addresses, to_ports
  snat,      ///< from Rule::snat_pool
  mark,      ///< Rule::set_dscp, on with the next rule
  redirect,  ///< out of Rule::redirect_port
};
enum class FragmentClass : uint8_t { whole, first, later, any_fragment, with_header };
/// What a rule can look at.
enum class Condition : uint8_t {
  ethertype,
  src_mac,
  dst_mac,
  source,
  destination,
  source_group,
  destination_group,
  protocol,
  source_ports,
  destination_ports,
  tcp_flags,
  icmp_type,
  icmp_code,
  dscp,
  fragment,
  in_port,
  out_port,
  in_port_group,
  out_port_group,
  connection,
  inner_source,
  inner_destination,
  vlan,
  through_bridge,
  through_router,
};
/// What rules ask of a packet's connection; a set of them is a bit each.
enum class ConnectionCondition : uint8_t { new_, established, related, invalid, untracked };

struct MaskedMac {
  MacAddr mac, mask;  ///< no bit of mac outside mask
  bool operator==(const MaskedMac&) const = default;
};
struct PortRange {
  uint16_t first = 0, last = 0xffff;
  auto operator<=>(const PortRange&) const = default;
};
struct TcpFlags {
  uint8_t set = 0, looked_at = 0;  ///< no bit of set outside looked_at
  bool operator==(const TcpFlags&) const = default;
};

/// Conditions that are not given hold for every packet.
struct Rule {
  RuleId id;
  ChainId chain;
  std::string name;
  bool unreadable = false;
  uint32_t position = 0;  ///< lower ones are asked first; of equal ones the lower id
  RuleAction action = RuleAction::accept;
  std::optional<ChainId> jump_chain;
  std::optional<uint16_t> ethertype;
  std::optional<MaskedMac> src_mac, dst_mac;
  std::optional<IpPrefix> source, destination;
  std::optional<AddressGroupId> source_group, destination_group;
  std::optional<uint8_t> protocol;
  std::vector<PortRange> source_ports, destination_ports;  ///< one of them; empty: not given
  std::optional<TcpFlags> tcp_flags;
  std::optional<uint8_t> icmp_type, icmp_code, dscp;
  std::optional<FragmentClass> fragment;
  std::optional<PortId> in_port, out_port;
  std::optional<PortGroupId> in_port_group, out_port_group;
  uint8_t connection = 0;  ///< a bit for each ConnectionCondition; none: not given
  std::optional<IpPrefix> inner_source = {}, inner_destination = {};
  std::optional<uint16_t> vlan = {};  ///< 0: untagged
  std::optional<BridgeId> through_bridge = {};
  std::optional<RouterId> through_router = {};
  uint32_t inverted = 0;  ///< a bit for each Condition
  bool log = false;
  std::optional<IpPrefix> to_addresses = {};
  std::optional<PortRange> to_ports = {};
  std::optional<SnatPoolId> snat_pool = {};
  std::optional<uint8_t> set_dscp = {};
  std::optional<PortId> redirect_port = {};
  [[nodiscard]] bool is_inverted(Condition c) const {
    return (inverted >> static_cast<unsigned>(c) & 1) != 0;
  }
  bool operator==(const Rule&) const = default;
};

struct SecurityGroup {
  SecurityGroupId id;
  std::string name;
  bool unreadable = false;
  std::vector<SecurityRuleId> rules;  ///< sorted; serves those who load the closure
  /// Answers to what its rules allow need no rule.
  bool stateful = true;
  bool operator==(const SecurityGroup&) const = default;
};

struct SecurityRule {
  SecurityRuleId id;
  SecurityGroupId group;
  std::string name;
  bool unreadable = false;
  bool ingress = true;  ///< to the members; else from them
  std::optional<uint16_t> ethertype;
  std::optional<uint8_t> protocol;
  std::optional<PortRange> ports;  ///< destination
  std::optional<uint8_t> icmp_type, icmp_code;
  /// The other end; at most one of these.
  std::optional<IpPrefix> remote_prefix;
  std::optional<SecurityGroupId> remote_group;
  std::optional<AddressGroupId> remote_address_group;
  bool operator==(const SecurityRule&) const = default;
};

/// A port in a security group, known without its record.
struct GroupMember {
  PortId port;
  std::vector<IpAddr> addresses;
  auto operator<=>(const GroupMember&) const = default;
};

/// An address outside a router that stands for one inside.
struct FloatingIp {
  FloatingIpId id;
  RouterId router;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  IpAddr address;
  std::optional<IpAddr> inside;  ///< of the same family; none: nobody
  bool operator==(const FloatingIp&) const = default;
};

/// Where connections through a router come from, by rules.
struct SnatPool {
  SnatPoolId id;
  RouterId router;
  std::string name;
  bool unreadable = false;
  std::vector<IpAddr> addresses;  ///< sorted
  PortRange ports{1024, 65535};
  bool operator==(const SnatPool&) const = default;
};

/// Outside ports of one address that one host has to itself: a power of two, aligned, so that a mask tells whose an answer
/// is.
struct PortBlock {
  Uuid id;
  IpAddr address;
  uint16_t first = 0, length = 0;
  auto operator<=>(const PortBlock&) const = default;
};

struct LoadBalancer {
  LoadBalancerId id;
  RouterId router;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  bool operator==(const LoadBalancer&) const = default;
};

struct Vip {
  VipId id;
  LoadBalancerId load_balancer;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  IpAddr address;
  uint8_t protocol = 0;
  uint16_t port = 0;
  PoolId pool;
  bool by_source_address = false;  ///< all connections of a client go to one member
  bool operator==(const Vip&) const = default;
};

struct Pool {
  PoolId id;
  LoadBalancerId load_balancer;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  bool operator==(const Pool&) const = default;
};

struct PoolMember {
  PoolMemberId id;
  PoolId pool;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  IpAddr address;
  uint16_t port = 0;    ///< 0: the one that the client asked for
  uint32_t weight = 1;  ///< its share of new connections; 0: it drains
  bool backup = false;  ///< serves when no other can
  bool up = true;       ///< as those say who watch it
  bool operator==(const PoolMember&) const = default;
};

/// What machines on a bridge are told by DHCP.
struct DhcpSubnet {
  DhcpSubnetId id;
  BridgeId bridge;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  IpPrefix network;  ///< no host bits; its family says which DHCP
  std::optional<IpAddr> server_address, gateway;
  std::vector<IpAddr> dns_servers, ntp_servers;
  std::string domain;
  uint16_t mtu = 0;  ///< 0: not told
  uint32_t lease_time = 86400;
  std::vector<std::pair<IpPrefix, IpAddr>> routes;  ///< classless, with the next hop
  std::vector<DhcpOption> options;
  bool operator==(const DhcpSubnet&) const = default;
};

/// Copies of packets that pass somewhere.
struct Mirror {
  MirrorId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  Place at;
  bool in = false, out = false;  ///< into the device, out of it; of a port: from it into its device
  PortId to_port;
  bool operator==(const Mirror&) const = default;
};

/// Has the way of packets written down that come somewhere.
struct TraceRequest {
  TraceRequestId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  Place at;             ///< into the device; of a port: from it
  uint32_t limit = 10;  ///< packets at each host
  Rule match = {};      ///< its conditions count, nothing else
  bool operator==(const TraceRequest&) const = default;
};

/// A MAC that frames have come from.
struct LearnedMac {
  MacAddr mac;
  /// Counts the moves of the MAC on its bridge: of two ports that claim it, the higher is the later.
  uint32_t sequence = 0;
  auto operator<=>(const LearnedMac&) const = default;
};

/// Where a port really is, and what was learned there.
struct Binding {
  PortId port;
  HostId host;
  uint32_t tunnel_key = 0;
  uint32_t generation = 0;
  bool active = false;
  std::vector<LearnedMac> learned = {};  ///< sorted; of an exterior port of a bridge
  bool operator==(const Binding&) const = default;
};

/// How a host is reached.
struct Host {
  HostId id;
  std::string name;
  std::vector<IpAddr> tunnel_addresses;
  std::vector<std::pair<BridgeId, uint32_t>> flood_keys;  ///< sorted
  bool fenced = false;  ///< believed dead: nothing is sent there, nothing taken from there
  bool operator==(const Host&) const = default;
};

struct Neighbour {
  PortId port;  ///< the router port that asked
  IpAddr address;
  MacAddr mac;
  bool operator==(const Neighbour&) const = default;
};

/// One change of the topology: an object as it is now, or gone (nullopt).
struct BridgeChange {
  BridgeId id;
  std::optional<Bridge> now;
};
struct RouterChange {
  RouterId id;
  std::optional<Router> now;
};
struct PortChange {
  PortId id;
  std::optional<Port> now;
};
struct RouteChange {
  RouteId id;
  std::optional<Route> now;
};
struct BindingChange {
  PortId id;
  std::optional<Binding> now;
};
struct HostChange {
  HostId id;
  std::optional<Host> now;
};
/// The whole neighbour table of one router port.
struct NeighboursChange {
  PortId port;
  std::vector<Neighbour> now;
};
/// A port of this host got (or lost: zero) its datapath port number.
struct LocalPortChange {
  PortId id;
  uint32_t dp_port = 0;
};

/// A tunnel key of this host under which others may still send to a port that has moved away: what comes is sent on to
/// where the port is now, or (forward false) not any more.
struct MovedKeyChange {
  uint32_t key = 0;
  PortId port;
  bool forward = true;
};

/// The largest IP packet that this host's tunnels over the family carry unfragmented: the MTU of the underlay interface
/// without kTunnelOverhead4 / 6. 0: not known, no limit.
struct TunnelMtuChange {
  IpFamily family = IpFamily::v4;
  uint32_t mtu = 0;
};
/// Outer IP, UDP and VXLAN headers and the inner Ethernet header (RFC 7348).
inline constexpr uint32_t kTunnelOverhead4 = 50, kTunnelOverhead6 = 70;

/// No more MACs are learned at a port of this host, or they are again.
struct PortFullChange {
  PortId id;
  bool full = false;
};
/// A MAC moves too often: it stays where it is for a while, or may move again.
struct HeldMacChange {
  BridgeId bridge;
  MacAddr mac;
  bool held = false;
};

struct AddressGroupChange {
  AddressGroupId id;
  std::optional<AddressGroup> now;
};
struct PortGroupChange {
  PortGroupId id;
  std::optional<PortGroup> now;
};
struct ChainChange {
  ChainId id;
  std::optional<Chain> now;
};
struct RuleChange {
  RuleId id;
  std::optional<Rule> now;
};
struct SecurityGroupChange {
  SecurityGroupId id;
  std::optional<SecurityGroup> now;
};
struct SecurityRuleChange {
  SecurityRuleId id;
  std::optional<SecurityRule> now;
};
/// All members of the group that stand in one part of the list (a bucket of the store); a member may stand in two parts for a
/// while, when a part is divided.
struct GroupMembersChange {
  SecurityGroupId group;
  uint32_t part = 0;
  std::vector<GroupMember> now;  ///< sorted by port
};

struct FloatingIpChange {
  FloatingIpId id;
  std::optional<FloatingIp> now;
};
struct SnatPoolChange {
  SnatPoolId id;
  std::optional<SnatPool> now;
};
struct LoadBalancerChange {
  LoadBalancerId id;
  std::optional<LoadBalancer> now;
};
struct VipChange {
  VipId id;
  std::optional<Vip> now;
};
struct PoolChange {
  PoolId id;
  std::optional<Pool> now;
};
struct PoolMemberChange {
  PoolMemberId id;
  std::optional<PoolMember> now;
};
struct DhcpSubnetChange {
  DhcpSubnetId id;
  std::optional<DhcpSubnet> now;
};
struct MirrorChange {
  MirrorId id;
  std::optional<Mirror> now;
};
struct TraceRequestChange {
  TraceRequestId id;
  std::optional<TraceRequest> now;
};
/// The ports of the pool that this host has to itself.
struct PortBlocksChange {
  SnatPoolId pool;
  std::vector<PortBlock> now;  ///< sorted
};

using Change =
    std::variant<BridgeChange, RouterChange, PortChange, RouteChange, BindingChange, HostChange,
                 NeighboursChange, LocalPortChange, MovedKeyChange, TunnelMtuChange, PortFullChange,
                 HeldMacChange, AddressGroupChange, PortGroupChange, ChainChange, RuleChange,
                 SecurityGroupChange, SecurityRuleChange, GroupMembersChange, FloatingIpChange,
                 SnatPoolChange, LoadBalancerChange, VipChange, PoolChange, PoolMemberChange,
                 DhcpSubnetChange, MirrorChange, TraceRequestChange, PortBlocksChange>;

}  // namespace plexus::model
