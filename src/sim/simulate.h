// SPDX-License-Identifier: Apache-2.0
// simulate(): what becomes of a packet at this host, as a value. A pure function of its arguments, total over
// whatever the snapshot and the frame hold; nothing is read from or done to the world.
//
// The answer is for a class: every packet whose key agrees with this one's in the bits of Outcome::mask gets the
// same actions from the same snapshot (when `cacheable`).
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "flow/actions.h"
#include "flow/tag.h"
#include "model/snapshot.h"
#include "packet/flow_key.h"
#include "sim/drop_reason.h"
#include "sim/trace.h"
#include "state/connection.h"
#include "state/connection_table.h"
#include "state/instantiate.h"
#include "state/refused_leases.h"
#include "state/tcp_facts.h"
#include "state/tracking.h"

namespace plexus::sim {

/// What a network card would still have done to a frame.
struct OffloadLeft {
  uint16_t gso_size = 0;          ///< > 0: to be cut into TCP or UDP packets of this payload
  bool partial_checksum = false;  ///< the transport checksum is the pseudo-header sum only
};

struct Packet {
  FlowKey key;  ///< parsed.key with in_port, and for kTunnelPort tunnel_key, set
  std::span<const uint8_t> frame;
  ParsedPacket parsed;
  OffloadLeft offload;
  uint32_t size = 0;  ///< packet_size(): what an MTU limits
};

/// Parses `frame` and says where it came in. `frame` must outlive the result.
[[nodiscard]] Packet packet_of(std::span<const uint8_t> frame, DpPort in_port,
                               uint32_t tunnel_key = 0, const OffloadLeft& offload = {});

/// A router port has heard of a neighbour. Not told again while the snapshot knows the same, unless it was by the answer
/// to a question: the neighbour is still there then.
struct NeighbourLearned {
  PortId port;
  IpAddr address;
  MacAddr mac;
  /// The exterior port here that said so, of a sub-port its parent; nil: it came by a tunnel.
  PortId entered_by{};
  bool operator==(const NeighbourLearned&) const = default;
};
/// A frame has come in by the interface of a port that migrates to this host: the guest runs here now.
struct PortArrived {
  PortId port;
  bool operator==(const PortArrived&) const = default;
};
/// A frame from `mac` has come in by an exterior port of a bridge, which is not known to have it. Not told of MACs that
/// are configured somewhere on the bridge, nor while a limit forbids it.
struct MacLearned {
  BridgeId bridge;
  PortId port;
  MacAddr mac;
  bool operator==(const MacLearned&) const = default;
};
/// This host's ports of a pool of sources are nearly all in use, or all that were tried: it has to claim more.
struct PortsNeeded {
  SnatPoolId pool;
  IpFamily family = IpFamily::none;
  bool operator==(const PortsNeeded&) const = default;
};
/// To be stored; the outcome does not wait for it.
using StateWrite = std::variant<NeighbourLearned, PortArrived, MacLearned, PortsNeeded>;

/// The MAC of `address` beyond router port `port`; a request for it is among Outcome::generated.
struct NeighbourNeeded {
  PortId port;
  IpAddr address;
  auto operator<=>(const NeighbourNeeded&) const = default;
};
/// What must be known before the packet can go on.
using Missing = std::variant<NeighbourNeeded>;

/// Why the topology makes a packet.
enum class GeneratedKind : uint8_t {
  neighbours,  ///< ARP and neighbour discovery, asking and answering
  fragment,    ///< of the packet that came
  translated,  ///< the ICMP error that came, with what it quotes as it reads on the other side of a translation
  echo_reply,
  time_exceeded,
  unreachable,  ///< or the TCP reset that says the same
  packet_too_big,
  router_advert,
  rejection,  ///< of a rule: TCP reset, or administratively prohibited
  dhcp,       ///< answers to a machine
};
/// Whether a router sends only so many of them in a second when asked or provoked (Router::icmp_rate, RFC 1812 4.3.2.8,
/// RFC 4443 2.4 (f)).
[[nodiscard]] constexpr bool rate_limited(GeneratedKind kind) {
  return kind >= GeneratedKind::echo_reply;
}

/// A packet that the topology makes (ARP, neighbour discovery, ICMP, fragments), already routed to its ways out.
/// `actions` are relative to `frame` and never empty. Whoever sends it keeps to its router's rate.
struct Generated {
  std::vector<uint8_t> frame;
  Actions actions;
  GeneratedKind kind = GeneratedKind::neighbours;
  RouterId
      router{};  ///< that made it (of a rejection: the device, a bridge too; of DHCP: the port that asked); nil for
  ///< `neighbours`
  bool operator==(const Generated&) const = default;
};

/// What a simulation may know beside the topology. Looked at, never changed.
struct ConnectionView {
  const state::ConnectionTable* table = nullptr;  ///< null: no connection is known
  state::Midstream midstream = state::Midstream::take_up;
  /// Trace requests that have had their packets at this host; sorted. Null: none.
  const std::vector<TraceRequestId>* spent = nullptr;
  /// What no lease may choose though no connection that is known has it. Null: nothing.
  const state::RefusedLeases* refused = nullptr;
};

/// The connection that a packet begins, or begins anew.
struct NewConnection {
  state::Commit commit;  ///< of its class
  state::Connection
      record;  ///< of this packet: what instantiate() makes of the commit, as the table is
};

/// What a packet is to a connection that is known.
struct KnownConnection {
  state::ConnectionNumber number = 0;
  state::Direction direction{};
  /// What it shows, for ConnectionTable::saw(). An error about the connection shows nothing and is none of its uses.
  std::optional<state::Segment> segment = {};
  bool error = false;
};

/// A rule that held for a packet, of a chain or of a security group.
struct MetRule {
  Uuid rule;
  Uuid holder;       ///< the chain or the group
  bool log = false;  ///< it wants to be heard of
  bool operator==(const MetRule&) const = default;
};

enum class Verdict : uint8_t {
  forward,   ///< by `actions`, which are not empty
  drop,      ///< for `reason`
  consumed,  ///< by a virtual device: answered or learned from; nothing of it goes on
  postpone,  ///< `missing` first, then simulate again; actions are empty
};
[[nodiscard]] std::string_view to_string(Verdict verdict);

struct Outcome {
  Verdict verdict = Verdict::drop;
  DropReason reason = DropReason::none;  ///< none unless verdict is drop
  Actions actions;
  /// Of the copies those that mirrors made, by their places; ascending.
  std::vector<uint32_t> mirrored;
  /// Of a packet of which only mirrors have copies: why it is dropped itself; none: a device took it.
  DropReason reason_beside_mirrors = DropReason::none;
  FlowKey mask;  ///< every bit of the key that decided. The size, too, may: see Actions::mtu
  bool cacheable =
      false;  ///< may become a flow; never when postponed, consumed, answered or learned from
  std::vector<Dependency> dependencies;  ///< without duplicates
  std::vector<StateWrite> writes;
  std::vector<Generated> generated;
  std::vector<Missing> missing;  ///< sorted, without duplicates; only when postponed
  /// Connections: only when something on the way asked what the packet is to them, and the verdict is forward, or it is
  /// consumed because fragments go on in its place. The actions
  /// are those of the record's packets. Whoever acts on the outcome stores a new record first; when the table then has
  /// another one in its place, the packet is simulated again.
  std::optional<NewConnection> begins;
  std::optional<KnownConnection> belongs;
  /// Other hosts where answers to this packet may enter: they have to know the record before it is sent; most of them do. Sorted.
  std::vector<HostId> tell;
  /// In order, each once; of a packet that goes many ways the first kMostMet, and as many behind that want to be heard of.
  std::vector<MetRule> met;
  static constexpr size_t kMostMet = 64;
  /// Trace requests that the packet is for, and that have not had their packets yet; not cacheable then.
  std::vector<TraceRequestId> traced;
  /// A first fragment whose ports, or connection, were asked for: others may follow that have none. Its actions have their MTU: what
  /// follows may be larger. Where it was cut itself, each piece has the actions of all, and the MTU that it was cut for.
  bool leads_fragments = false;
  /// A later fragment that was asked for what only the first one has (of IPv6 also the protocol, when it names an extension header).
  /// What was done with that one is to be done with it, ports aside; all else here is for when nobody knows. Neither it nor one that
  /// leads is cacheable.
  bool follows_first = false;

  /// What became of the packet itself, whatever mirrors have of it.
  struct Itself {
    Verdict verdict = Verdict::drop;
    DropReason reason = DropReason::none;  ///< none unless verdict is drop
  };
  [[nodiscard]] Itself itself() const;
  /// Empties it; the memory of its lists stays.
  void clear();
};

/// The outcome of one packet, with what is known of connections. Total over whatever the table holds. With `trace`, its steps
/// are appended there. Into an outcome that may hold an earlier one: with lists as long as needed before, a packet that is
/// only forwarded or dropped costs no allocation.
///
/// A packet whose connection was asked for is of an exact class (addresses, protocol, ports); of TCP, segments with SYN, FIN or
/// RST are not cacheable, nor are echoes (the identifier is in no class).
void simulate(const Packet& packet, const model::Snapshot& snapshot,
              const ConnectionView& connections, MonoTime now, Outcome& out,
              Trace* trace = nullptr);

/// Of packets that are going to be simulated one after another: what is looked up first is brought near, so that they need not wait
/// for it one by one. Makes no difference to any outcome.
void look_ahead(std::span<const Packet> packets, const model::Snapshot& snapshot,
                const ConnectionView& connections);

/// The same where no connection is known. With `trace`, its steps are appended there.
[[nodiscard]] Outcome simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime now,
                               Trace* trace = nullptr);
/// The same into an outcome that may hold an earlier one: with lists as long as needed before, a packet that is only
/// forwarded or dropped costs no allocation.
void simulate(const Packet& packet, const model::Snapshot& snapshot, MonoTime now, Outcome& out,
              Trace* trace = nullptr);

/// What becomes of a packet that has waited long enough: as simulate(), but a neighbour that is not known now never
/// will be. The packet drops as neighbour_unresolved, and its sender is told (ICMP host unreachable, RFC 1812 5.2.7.1;
/// ICMPv6 address unreachable, RFC 4861 7.2.2). Never postponed, never cacheable.
[[nodiscard]] Outcome simulate_last_try(const Packet& packet, const model::Snapshot& snapshot,
                                        MonoTime now, Trace* trace = nullptr,
                                        const ConnectionView& connections = {});

/// The router advertisements that this host sends for router port `port` unasked, to its own ports only: every host does
/// that for those that are there (RFC 4861 6.2.4). None when the port does not advertise or nobody is here. `last`: it has
/// ceased to, and says so (6.2.5): as its record is now, but for no time at all.
[[nodiscard]] std::vector<Generated> router_adverts(const model::Snapshot& snapshot, PortId port,
                                                    bool last = false);

/// The question to a neighbour of a router port whether it still has its address, to it alone: a unicast ARP request
/// (RFC 1122 2.3.2.1 (2)) or neighbour solicitation (RFC 4861 7.3.3). None when the port cannot ask, or nobody would hear it.
[[nodiscard]] std::vector<Generated> neighbour_probe(const model::Snapshot& snapshot,
                                                     const model::Neighbour& neighbour);

}  // namespace plexus::sim
