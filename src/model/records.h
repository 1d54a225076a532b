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

struct Bridge {
  BridgeId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;    ///< written by a newer schema than we know: fail closed
  std::vector<PortId> ports;  ///< sorted
  bool learning = true;       ///< MACs from the sources of frames
  uint32_t mac_age = 300;     ///< seconds without a frame after which a learned MAC is forgotten
  uint32_t macs_per_port = 1024;  ///< learned at most
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

struct Port {
  PortId id;
  std::string name;
  bool admin_up = true;
  bool unreadable = false;
  std::variant<std::monostate, BridgeId, RouterId> device;
  std::optional<PortId> peer;          ///< interior
  std::optional<HostId> wanted_host;   ///< exterior, configuration
  std::optional<HostId> migrating_to;  ///< who takes it over when its first frame comes there
  std::string interface;
  MacAddr mac;                     ///< zero: unknown
  std::vector<IpAddr> addresses;   ///< bridge port: what is plugged in
  std::vector<IpPrefix> networks;  ///< router port: own addresses with prefix lengths
  uint32_t mtu = 0;  ///< router port: largest IP packet that leaves by it; 0: no limit
  std::optional<Advertising> advertising;  ///< router port: sends router advertisements
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

using Change = std::variant<BridgeChange, RouterChange, PortChange, RouteChange, BindingChange,
                            HostChange, NeighboursChange, LocalPortChange, MovedKeyChange,
                            TunnelMtuChange, PortFullChange, HeldMacChange>;

}  // namespace plexus::model
