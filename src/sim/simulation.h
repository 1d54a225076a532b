// SPDX-License-Identifier: Apache-2.0
// Simulation: one run of simulate(). Each stage has its own file: ingress.cc, bridge.cc, router.cc (forwarding),
// router_group.cc (which of several ways), router_mtu.cc (sizes), router_answers.cc (ARP, neighbour discovery, ICMP),
// router_advert.cc, neighbour.cc (resolution), egress.cc, outcome.cc; filter.cc, security.cc, reject.cc; connections.cc;
// dhcp.cc, dhcp6.cc; services.cc (mirrors, trace requests, marks, redirection, sub-ports). Private to sim.
//
// Rules of the house: whatever is read from the packet is read through Journey (masks), whatever is read from the
// snapshot is named by depend() (tags), whatever ends a copy's way is told to its Fate.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flow/tag.h"
#include "model/snapshot.h"
#include "packet/build.h"
#include "sim/delta_tags.h"
#include "sim/dependencies.h"
#include "sim/fragments.h"
#include "sim/journey.h"
#include "sim/present.h"
#include "sim/rule_search.h"
#include "sim/say.h"
#include "sim/simulate.h"
#include "sim/trace.h"
#include "state/connection.h"
#include "state/icmp_error.h"
#include "state/instantiate.h"
#include "state/tracking.h"

namespace plexus::sim {

/// The MAC of a DHCP server that nobody in the topology has the address of: made from the subnet's id.
[[nodiscard]] MacAddr dhcp_mac_of(const model::DhcpSubnet& subnet);

struct Fate {
  std::vector<Copy> copies;
  bool consumed = false;
  DropReason reason = DropReason::none;  ///< of the first copy that was dropped
  std::optional<size_t> blamed;          ///< the step of the trace that says so
  std::vector<uint32_t> mirrored;        ///< places of the copies that mirrors made; ascending

  /// What went on in its place was dropped.
  void lost_as(const Fate& other) {
    if (reason == DropReason::none) reason = other.reason, blamed = other.blamed;
  }
};

/// Where tuples of packets that enter by the exterior port are unique.
[[nodiscard]] state::Zone zone_of(const model::Port& port);

class Simulation {
 public:
  /// `out` must be empty; see Outcome::clear().
  Simulation(const Packet& packet, const model::Snapshot& snapshot,
             const ConnectionView& connections, MonoTime now, Outcome& out, Trace* trace,
             bool last_try = false)
      : packet_(packet),
        snapshot_(snapshot),
        connections_(connections),
        now_(now),
        out_(out),
        trace_(trace),
        last_try_(last_try) {}

  /// Once more, after a first run of the same packet: as a new connection (`anew`), whatever is known of it; with `choice`
  /// made at the stages that translate.
  void once_more(bool anew, const state::Connection* choice) {
    anew_ = anew;
    preset_ = choice;
  }
  enum class Again : uint8_t { no, anew, with_choice };
  /// Why the outcome of run() is none yet.
  [[nodiscard]] Again again() const { return again_; }
  /// What was chosen, for Again::with_choice.
  [[nodiscard]] const state::Connection& choice() const { return *chosen_; }

  void run();
  /// See router_adverts().
  [[nodiscard]] std::vector<Generated> run_router_adverts(PortId port, bool last,
                                                          std::span<const IpPrefix> withdrawn);
  /// See neighbour_probe().
  [[nodiscard]] std::vector<Generated> run_neighbour_probe(const model::Neighbour& neighbour);

  /// Devices that one frame may pass in a row, and that one simulation visits in all.
  static constexpr unsigned kMaxDevices = 32, kMaxVisits = 512;
  /// Packets that devices may make because of one.
  static constexpr unsigned kMaxGenerated = 16;

 private:
  /// Where a router sends a packet next.
  struct Way {
    const model::Port* port = nullptr;
    MacAddr neighbour;
  };

  // ingress.cc
  void ingress(Journey& j);
  void ingress_tunnel(Journey& j);
  /// The frame arrives at the device of `port`, which has been named as a dependency.
  void enter(Journey& j, const model::Port& port);

  // filter.cc: what lets packets in and out of devices; false: dropped
  /// Everything that is asked when the frame comes to its device by `in`.
  [[nodiscard]] bool pass_in(Journey& j, const model::Port& in,
                             const std::optional<ChainId>& device_chain,
                             const std::optional<ChainId>& device_out_chain);
  /// Everything that is asked when it leaves its device by `out`.
  [[nodiscard]] bool pass_out(Journey& j, const model::Port& out);
  /// The same in two parts: what the device asks, what the port does.
  [[nodiscard]] bool pass_out_of_device(Journey& j, const model::Port& out);
  [[nodiscard]] bool pass_out_of_port(Journey& j, const model::Port& out);
  /// What one chain, and those it jumps to, say at one place.
  struct Asking;
  enum class Ruling : uint8_t { accepted, dropped, redirected, nothing };
  [[nodiscard]] bool pass_chain(Journey& j, ChainId id, const PortsAsked& ports,
                                std::string_view place);
  [[nodiscard]] Ruling ask_chain(Journey& j, ChainId id, Asking& asking, unsigned depth);
  /// Notes that a rule held for the packet.
  void met(const Journey& j, const model::Rule& rule, const Uuid& holder);

  // services.cc
  /// As the frame comes by port `in`: for the trace requests at the port, or at its device. There are some somewhere.
  void ask_trace_requests(Journey& j, const model::Place& at, const model::Port& in);
  /// Copies for the mirrors at a port or device, of the frame as it is now: it comes in, or goes out.
  void mirror(Journey& j, const model::Place& at, bool in);
  void send_mirrored(Journey& j, const model::Mirror& mirror, bool in);
  /// As the frame comes to the device: for its mirrors and those of the port.
  void mirror_in(Journey& j, const model::Port& in);
  /// As it leaves by the port, all filters passed.
  void mirror_out(Journey& j, const model::Port& out);
  /// The mark of what machines send into a bridge.
  void mark_at_bridge(Journey& j, const model::Bridge& bridge, const model::Port& in);
  /// Out of the port that a rule names, as it is.
  void redirect(Journey& j, const model::TableRule& rule, const std::string& name);
  /// Whether the bridge carries a frame to one of the addresses that bridges keep to themselves.
  /// To one of the reserved groups, which end at the first bridge unless that says otherwise.
  [[nodiscard]] static bool for_next_bridge(Journey& j);
  [[nodiscard]] bool carries_reserved(Journey& j, const model::Bridge& bridge);
  /// The port that a frame from the interface of `port` belongs to: itself, or the sub-port of the frame's tag, which is taken
  /// off. nullptr: dropped.
  [[nodiscard]] const model::Port* port_entered(Journey& j, const model::Port& port);
  /// It is another VLAN's: it has a tag, and not only one that tells its priority (IEEE 802.1Q 9.6: id 0 is no VLAN). Such a
  /// one comes off when `takes_off`, else what follows is for no class.
  [[nodiscard]] bool is_of_vlan(Journey& j, bool takes_off);
  /// Out of the interface of this host that a sub-port has from its parent, tagged.
  void leave_by_parent(Journey& j, const model::Port& port);
  /// False: the tag of the frame would make it one of a sub-port's; dropped.
  [[nodiscard]] bool tag_is_own(Journey& j, const model::Port& port);

  // reject.cc
  /// Tells the sender, where that is possible, that a rule has rejected its packet.
  void tell_rejected(Journey& j);

  // security.cc
  [[nodiscard]] bool source_is_own(Journey& j, const model::Port& port);
  /// False: out of a port that is secured, with more VLAN tags than anybody has looked behind; dropped.
  [[nodiscard]] bool tags_are_read(Journey& j, const model::Port& out);
  [[nodiscard]] bool security_allows(Journey& j, const model::Port& port, bool ingress);
  enum class GroupsAsked : uint8_t { all, stateful, stateless };
  /// A rule of one of these groups of the port, for packets to (ingress) or from its machine, allows the packet.
  [[nodiscard]] bool groups_allow(Journey& j, const model::Port& port, bool ingress,
                                  GroupsAsked asked, bool& unreadable);
  /// It answers, or is an error about, a connection whose original direction a stateful group of the port allows as its rules
  /// are now.
  [[nodiscard]] bool answers_allowed(Journey& j, const model::Port& port, bool ingress,
                                     const state::Standing& standing, bool& unreadable);

  // bridge.cc
  void bridge(Journey& j, const model::Bridge& bridge, const model::Port& in);
  void flood(Journey& j, const model::Bridge& bridge, const model::Port* in);
  [[nodiscard]] uint32_t storm_limit();
  /// The port's own, else its bridge's; 0: none.
  [[nodiscard]] uint32_t storm_limit_of(const model::Port& port);
  void flood_local(Journey& j, const model::Bridge& bridge, const model::Port* in);
  void flood_remote(Journey& j, const model::Bridge& bridge);
  [[nodiscard]] bool bridge_works(Journey& j, const model::Bridge& bridge);

  // bridge_learning.cc
  /// Notes who the frame comes from, where frames enter the bridge from outside.
  void learn_source(Journey& j, const model::Bridge& bridge, const model::Port& in);

  // dhcp.cc, dhcp6.cc
  /// The subnets of a bridge that machines are served from.
  struct DhcpSubnets {
    std::vector<const model::DhcpSubnet*> list;
    bool unreadable = false;  ///< there are others, of which nothing is known
  };
  /// An address of a machine, and what it is told with it.
  struct DhcpLease {
    const model::DhcpSubnet* subnet = nullptr;
    IpAddr address;
  };
  /// The family of DHCP that the frame asks, if this is where it is answered: it enters here, its bridge has such subnets.
  [[nodiscard]] IpFamily dhcp_asked(Journey& j, const model::Port& in);
  /// True when the frame's way is settled.
  [[nodiscard]] bool answer_dhcp(Journey& j, const model::Bridge& bridge, const model::Port& in);
  void answer_dhcp4(Journey& j, const model::Bridge& bridge, const model::Port& in,
                    const DhcpSubnets& subnets);
  void answer_dhcp6(Journey& j, const model::Bridge& bridge, const model::Port& in,
                    const DhcpSubnets& subnets);
  /// The message of a request from the port's own machine; nothing, and a note why, of any other.
  [[nodiscard]] std::optional<std::span<const uint8_t>> dhcp_payload(const Journey& j,
                                                                     const model::Bridge& bridge,
                                                                     const model::Port& in);
  [[nodiscard]] DhcpSubnets dhcp_subnets(BridgeId bridge, IpFamily family);
  /// The first address of the port in each of the subnets, in the order of its addresses.
  [[nodiscard]] static std::vector<DhcpLease> dhcp_leases(const DhcpSubnets& subnets,
                                                          const model::Port& port);
  /// The MAC that answers come from: of the one who has the server's address, if anybody has.
  [[nodiscard]] MacAddr dhcp_server_mac(BridgeId bridge, const model::DhcpSubnet& subnet);
  /// The MAC of a server that has `address` and no other place in the topology.
  [[nodiscard]] std::optional<MacAddr> dhcp_mac_at(BridgeId bridge, const IpAddr& address);

  // bridge_answers.cc
  /// A question to all for the MAC of an address that the topology knows: answered here, or sent to the router that has
  /// it alone. True when its way is settled.
  [[nodiscard]] bool answer_on_bridge(Journey& j, const model::Bridge& bridge,
                                      const model::Port& in);
  [[nodiscard]] bool answer_for(Journey& j, const model::Bridge& bridge, const model::Port& in,
                                const IpAddr& target);
  /// The answer that `target` is at `mac`, by the port that asks.
  [[nodiscard]] bool answer_with(Journey& j, const model::Bridge& bridge, const model::Port& in,
                                 const IpAddr& target, const MacAddr& mac, std::string_view whose);
  /// The address that the frame asks all others for; none: it does not, or nobody with such an address is known.
  [[nodiscard]] std::optional<IpAddr> asked_for(Journey& j, const model::Bridge& bridge);
  [[nodiscard]] bool one_of_several(const model::Bridge& bridge, const IpAddr& target);
  [[nodiscard]] bool machine_is_there(const model::Port& port);

  // router.cc
  void router(Journey& j, const model::Router& router, const model::Port& in);
  void route(Journey& j, const model::Router& router, const model::Port& in);
  /// The inside network of the router that the source lies in; null: none, or one outside is as narrow.
  [[nodiscard]] const model::RouterAddress* inside_network_of_source(Journey& j,
                                                                     const model::Router& router);
  [[nodiscard]] bool source_allowed(Journey& j, const model::Router& router, const model::Port& in);
  [[nodiscard]] bool destination_routable(Journey& j, const model::Router& router);
  [[nodiscard]] bool is_own_address(Journey& j, const model::Router& router, const model::Port& in);
  [[nodiscard]] model::RouteLookup lookup(Journey& j, const model::Router& router);
  /// Where the route leads. Nothing when it leads nowhere: dropped then, or postponed for the neighbour; with `in`
  /// given, the sender is told by ICMP error.
  [[nodiscard]] std::optional<Way> way_by(Journey& j, const model::Router& router,
                                          const model::Port* in, const model::RouteLookup& found);

  /// Where the entry leads; nothing when to no port.
  [[nodiscard]] std::optional<PortId> port_of(const model::Router& router,
                                              const model::RouteEntry& entry);

  void translate_and_route(Journey& j, const model::Router& router, const model::Port& in);
  /// All that comes after the translation of its destination.
  void route_on(Journey& j, const model::Router& router, const model::Port& in);

  // translate.cc: what a router translates
  enum class Translated : uint8_t {
    goes_on,     ///< translated or not
    for_router,  ///< to an address that the router has for its translations, and for none of them
    ended,       ///< dropped, or sent on its way with other bytes
  };
  using OnWith = std::function<void(Journey&)>;
  [[nodiscard]] Translated translate_in(Journey& j, const model::Router& router,
                                        const model::Port& in);
  [[nodiscard]] Translated translate_out(Journey& j, const model::Router& router,
                                         const model::Port& out);
  /// It is an answer, or an error, whose question the router has translated, whatever it translates today. Reads who the packet is
  /// from and for, where such answers may enter.
  [[nodiscard]] bool answers_translated(Journey& j, const model::Router& router);
  /// What a rule of the router's in_chain, out_chain has said of this packet, each once; null: nothing.
  [[nodiscard]] const model::Rule* take_rule(model::RuleAction action);
  /// Known connections: what their packets' destinations are here. Nothing: the packet is of none, or of one that is not
  /// translated here.
  [[nodiscard]] std::optional<Translated> known_destination(Journey& j,
                                                            const model::Router& router);
  [[nodiscard]] Translated known_source(Journey& j, const model::Router& router);
  /// The member that the connection went to still takes its packets (`original`), or gives answers; nothing: it did not go to
  /// one here.
  [[nodiscard]] std::optional<bool> member_stays(const model::Router& router, bool original);
  /// Of an ICMP error, or of what a device has made, the packet that it is about, `delivered` as it was when that met its end: as it
  /// was before this router translated it. Nothing when that makes no difference. The connection is known, or begins.
  [[nodiscard]] std::optional<state::Tuple> before_translation(const model::Router& router,
                                                               bool made,
                                                               const state::Tuple& delivered);
  /// An answer that a device behind this router has made; false: as it is.
  [[nodiscard]] bool translate_made(Journey& j, const model::Router& router);
  /// An ICMP error about a known connection.
  [[nodiscard]] Translated related_error(Journey& j, const model::Router& router,
                                         const model::Port& in);
  [[nodiscard]] Translated by_rule(Journey& j, const model::Router& router,
                                   const model::Rule& rule);
  [[nodiscard]] Translated by_lease(Journey& j, const model::Router& router,
                                    const model::Rule& rule);
  /// Answers would not come by the router (both ends are next to the same port), or would not be known there.
  [[nodiscard]] Translated near_source(Journey& j, const model::Router& router,
                                       const model::Port& out);
  /// Or about nothing that is known, or made by a device: nothing is chosen for it, and its own stage has translated it.
  [[nodiscard]] bool is_error_about_connection(const Journey& j) const;
  /// Which of the packet's own ends a stage may change: before it is routed, or behind.
  enum class Side : uint8_t { destination, source };
  /// Of a pool of one of the router's load balancers.
  [[nodiscard]] bool is_member(Journey& j, const model::Router& router, Side side);
  void depend_on_translation(const model::Router& router, const IpAddr& address, bool rewritten);
  /// It is an ICMP error that quotes a packet; reads as few bits as tell. Not cacheable then.
  [[nodiscard]] bool is_error_class(Journey& j);
  /// The router answers questions for the address at the port, though no port has it. `rewritten`: the address is in no
  /// header as it came.
  [[nodiscard]] bool answers_for(const model::Router& router, const model::Port& port,
                                 const IpAddr& address, bool rewritten);
  /// The ICMP error goes on with other bytes.
  [[nodiscard]] Translated translated_error(Journey& j, const model::Router& router,
                                            const state::ErrorTranslation& translation,
                                            const OnWith& on_with);

  // load_balancer.cc
  [[nodiscard]] Translated to_vip(Journey& j, const model::Router& router, const model::Port& in,
                                  const model::AddressUses& uses);
  /// Dropped, and told as one who refuses connections does.
  Translated refuse(Journey& j, const model::Router& router, const model::Port& in,
                    DropReason reason, const model::Vip& vip, std::string_view why);

  // floating.cc
  /// Who has the destination for translations of the router.
  [[nodiscard]] const model::AddressUses* outside_uses(Journey& j, const model::Router& router,
                                                       const IpAddr& address);
  /// That of the packet's source; perhaps one that cannot be read.
  [[nodiscard]] const model::FloatingIp* floating_ip_of(Journey& j, const model::Router& router);
  [[nodiscard]] const model::FloatingIp* working_floating_ip(const model::AddressUses& uses) const;
  /// That of an address in no header.
  [[nodiscard]] std::optional<IpAddr> floating_address_of(const model::Router& router,
                                                          const IpAddr& inside);
  [[nodiscard]] Translated to_floating(Journey& j, const model::Router& router,
                                       const model::Port& in, const model::AddressUses& uses);
  /// From who has none, by a port that is not outside: a connection, so that the answers can be translated back.
  [[nodiscard]] Translated to_floating_hidden(Journey& j, const model::Router& router,
                                              const model::FloatingIp& floating);
  [[nodiscard]] Translated from_floating(Journey& j, const model::Router& router,
                                         const model::Port& out);

  // router_group.cc
  /// Of the ways that the lookup found, the one that this packet takes.
  [[nodiscard]] const model::RouteEntry& choose(Journey& j, const model::Router& router,
                                                const model::RouteLookup& found);
  [[nodiscard]] bool usable(const model::Router& router, const model::RouteEntry& entry);
  /// The same within one group; nullptr: none of it can be used.
  [[nodiscard]] const model::RouteEntry* choose_in(Journey& j, const model::Router& router,
                                                   const model::RouteLookup& found,
                                                   std::span<const model::RouteEntry> group,
                                                   const model::MaglevTable* table);
  [[nodiscard]] model::FlowIdentity flow_identity(Journey& j);

  // router_mtu.cc
  /// Sends a routed packet on, if it is small enough for all that comes behind the router.
  void send_on(Journey& j, const model::Router& router, const model::Port& in, const Way& way);
  /// The packet comes to where packets may have so many bytes (0: any). The last router answers for it.
  void meet_limit(Journey& j, uint32_t mtu);
  /// False: it does not, and nobody is there to answer for it; dropped.
  [[nodiscard]] bool tunnel_carries(Journey& j, const TunnelOutput& tunnel);
  /// In place of the copies from the `first` on: fragments that go the same ways.
  void send_fragments(Journey& j, const model::Router& router, size_t first, uint32_t mtu);

  // router_advert.cc
  void router_solicitation(Journey& j, const model::Router& router, const model::Port& in);

  // router_answers.cc
  void to_group(Journey& j, const model::Router& router, const model::Port& in);
  void arp(Journey& j, const model::Router& router, const model::Port& in);
  /// An ARP packet by which a machine announces its own address: it changes what is known of a neighbour, but makes none
  /// known. True when it did.
  [[nodiscard]] bool takes_announcement(Journey& j, const model::Router& router,
                                        const model::Port& in);
  void neighbour_discovery(Journey& j, const model::Router& router, const model::Port& in);
  void to_router(Journey& j, const model::Router& router, const model::Port& in);
  /// For the router itself, of a protocol that it does not speak: dropped, and told as any host would.
  void refuse_at_router(Journey& j, const model::Router& router, const model::Port& in,
                        uint8_t protocol);
  /// `answers`: it was asked; it is told then even though it is known.
  void learn(Journey& j, const model::Router& router, const model::Port& in, const IpAddr& address,
             const MacAddr& mac, bool answers = false);
  /// The question for `target`, an address of `in`, is answered by `reply`: in place, for its whole class, when the
  /// question is a plain one and the reply goes back to where it came from and nowhere else; true then.
  [[nodiscard]] bool answer_neighbour(Journey& j, const model::Port& in, const IpAddr& target,
                                      std::vector<uint8_t> reply, std::string_view what);
  /// Tells the sender of a packet that came by `in`, where the rules of ICMP allow it.
  void send_error(Journey& j, const model::Router& router, const model::Port& in,
                  IcmpErrorKind kind, uint32_t mtu = 0);
  /// A packet that the router made, by its own route table. Link-local destinations go out by `in`.
  void send_routed(const Journey& cause, const model::Router& router, const model::Port& in,
                   std::vector<uint8_t> frame, std::string_view what, GeneratedKind kind);
  /// A packet that the router made, out of one port, as it is or in fragments. None when it reached somebody, else why not.
  DropReason send_out(const Journey& cause, const model::Port& port, std::vector<uint8_t> frame,
                      std::string_view what, GeneratedKind kind = GeneratedKind::neighbours,
                      RouterId router = {});
  /// The router's address to speak to `peer` from: of the port, else of any port.
  [[nodiscard]] std::optional<IpAddr> own_address_for(const model::Router& router,
                                                      const model::Port& port, const IpAddr& peer);

  // neighbour.cc, bridge_links.cc
  [[nodiscard]] std::optional<MacAddr> resolve(Journey& j, const model::Port& port,
                                               const IpAddr& address);
  [[nodiscard]] std::optional<MacAddr> mac_in_topology(const model::Port& port,
                                                       const IpAddr& address);
  /// Who has an address on a bridge, or on those that are wired to it.
  struct Place {
    std::span<const model::AddressOwner> owners;  ///< not empty
    PortId via;  ///< the first bridge's port on the way there; nil: on that bridge itself
  };
  [[nodiscard]] std::optional<Place> place_on_bridges(BridgeId start, const IpAddr& address);
  /// The port of the bridge by which the way leads to a bridge behind it that knows the MAC; nothing: none does.
  [[nodiscard]] std::optional<PortId> link_towards(BridgeId start, const MacAddr& mac);
  /// A port of a bridge behind it has the MAC by configuration.
  [[nodiscard]] bool configured_behind_links(BridgeId start, const MacAddr& mac);
  /// Calls visit(bridge, via) for the bridge and those wired to it, the nearest first, until it says true; over links for
  /// which may_pass(port, peer, next bridge).
  template <typename Visit, typename MayPass>
  void visit_bridges(BridgeId start, Visit visit, MayPass may_pass);

  // egress.cc
  /// The frame leaves its device by the port.
  void leave(Journey& j, PortId id);
  /// Behind what its device asks and translates.
  void leave_translated(Journey& j, const model::Port& port);
  void leave_exterior(Journey& j, const model::Port& port);
  void output(Journey& j, const Output& output);
  /// An address of the host that we can send tunnels to.
  [[nodiscard]] std::optional<IpAddr> tunnel_address(const model::Host& host);
  [[nodiscard]] bool port_works(Journey& j, const model::Port& port);

  // connections.cc: what the packet is to connections, and how stages that translate take part.
  //
  // A stage that translates: `(void)standing(j)` first, whether there is anything to choose or not (answers have to be found).
  // When connection() is known, translate_known() and no more; when begins_connection(), translate(). A packet for which neither
  // is true (an error, an invalid segment, one that nobody tracks) gets nothing chosen.

  /// What the packet is, as it came in; asked once. Its class is one connection's from then on: the bits are noted, and what
  /// is no flow is not cacheable. For what a device has made: an answer to the packet that it was made for.
  [[nodiscard]] state::Standing standing(Journey& j);
  /// The record of the connection that the packet belongs to, or, an error, is about; null: none, or it begins anew. After
  /// standing().
  [[nodiscard]] const state::Connection* connection();
  /// It is of a connection whose record nothing on the way has to read: no router translates that connection. After standing().
  [[nodiscard]] bool of_untranslated_connection() const;
  /// False: an answer would leave otherwise than its connection's record says, because what translated the question is no more;
  /// dropped. Whom it is for knows no such sender, and is not to hear of an inside address.
  [[nodiscard]] bool leaves_as_answer(Journey& j);
  /// The packet opens a connection: translations may be chosen for it. After standing().
  [[nodiscard]] bool begins_connection() const;
  /// The present tuple of a packet that is tracked.
  [[nodiscard]] state::Tuple tuple_here(const Journey& j) const;
  /// The tuple that its connection's original direction has here, also of what an error is about; nothing: of none.
  [[nodiscard]] std::optional<state::Tuple> original_here(const Journey& j,
                                                          const state::Standing& standing) const;
  /// The next steps that the known connection's path takes at this device and side, in the packet's direction: its own
  /// translations, or in answers what undoes them. False: none, the packet is left alone. Errors are left to their own stage.
  bool translate_known(Journey& j, const Uuid& device, Side side);
  /// A new connection's translation. The port of a lease is provisional: it may be another one once the delivery is known, and
  /// all is simulated again with it. False: dropped.
  [[nodiscard]] bool translate(Journey& j, state::Stage stage);
  /// The known connection is over for this packet: what it was translated to is gone, and nobody has answered. All is simulated
  /// again as a new connection; what becomes of this run does not matter.
  void begin_anew();
  /// A chain that can be asked here, in either direction, asks for the connection: the packet is tracked even if this one's
  /// chains do not ask.
  void track_for_chains(Journey& j, const model::Port& port,
                        const std::optional<ChainId>& device_in,
                        const std::optional<ChainId>& device_out);
  /// A copy of the packet leaves by `at.port` (nil: by several at one host) at `host`.
  void delivered(Journey& j, const state::Delivery& at, const HostId& host);
  /// Outcome::begins, belongs and tell.
  void settle_connection();

  [[nodiscard]] state::Standing standing_of_made(const Journey& j) const;
  void note_connection_bits();
  void track();
  void rewrite_to(Journey& j, const state::Tuple& after) const;
  [[nodiscard]] bool commit_stage(Journey& j, state::Stage stage);
  /// What stages that keep no state have made of it since the last one that does becomes a stage.
  [[nodiscard]] bool commit_what_was_done(Journey& j);
  /// Also says when the ports leased are getting few.
  [[nodiscard]] state::Instance instantiate();
  /// A filter refuses a packet whose tuple is of no connection that is known, and nothing has been chosen for it: as long as no record
  /// of this tuple comes, that is so for all packets of the tuple.
  [[nodiscard]] bool refused_as_unknown() const;
  void tell_gateways();
  void tell_uplinks(RouterId id);
  /// False: dropped after all.
  [[nodiscard]] bool begin_connection();

  // outcome.cc
  void depend(const Tag& tag, bool rewritten = false) { dependencies_.add(tag, rewritten); }
  void drop(Journey& j, DropReason reason, DeviceKind kind, std::string_view name, const Uuid& id,
            std::string_view text);
  /// The verdict and actions of a frame from what became of its copies.
  void settle(Fate& fate, Verdict& verdict, DropReason& reason) const;
  [[nodiscard]] PortName port_name(PortId id) const { return {snapshot_, id}; }
  [[nodiscard]] HostName host_name(HostId id) const { return {snapshot_, id}; }

  template <typename... Args>
  void note(const Journey& j, DeviceKind kind, std::string_view name, const Uuid& id,
            fmt::format_string<Args...> format, Args&&... args) {
    if (trace_ == nullptr) return;
    trace_->add(
        {j.depth, kind, std::string(name), id, fmt::format(format, std::forward<Args>(args)...)});
  }
  template <typename Device, typename... Args>
  void note_at(const Journey& j, DeviceKind kind, const Device& device,
               fmt::format_string<Args...> format, Args&&... args) {
    if (trace_ == nullptr) return;
    trace_->add({j.depth, kind, device.name, device.id.uuid,
                 fmt::format(format, std::forward<Args>(args)...)});
  }
  template <typename Device, typename... Args>
  void drop_at(Journey& j, DropReason reason, DeviceKind kind, const Device& device,
               fmt::format_string<Args...> format, Args&&... args) {
    drop(j, reason, kind, device.name, device.id.uuid,
         trace_ == nullptr ? std::string() : fmt::format(format, std::forward<Args>(args)...));
  }

  const Packet& packet_;
  const model::Snapshot& snapshot_;
  const ConnectionView connections_;
  const MonoTime now_;
  Outcome& out_;
  Trace* trace_;
  const bool last_try_;  ///< nobody is asked any more, nothing is waited for

  static constexpr uint32_t kNoLimit = ~uint32_t{0};

  FlowKey& mask_ = out_.mask;
  uint32_t limit_ =
      kNoLimit;  ///< the least MTU met that the packet, being larger, would be answered for
  bool cacheable_ = true;
  /// It was so before port security looked into a question for a neighbour. Whoever answers the plain ones in place answers
  /// for nothing that port security would have refused.
  bool cacheable_if_answered_ = false;
  bool took_priority_tag_ = false;
  bool header_asked_ = false;  ///< of a fragment
  bool learns_ = false;        ///< the source MAC decides whether there is something to learn
  bool too_many_ = false;      ///< a limit was hit: the answer would be partial
  /// The step that dropped the packet for another reason than its Fate has.
  std::optional<size_t> blamed_;
  unsigned visits_ = 0, made_ = 0;
  PortId entered_;               ///< whose machine sent the packet; nil: none here
  std::optional<uint16_t> tag_;  ///< of the sub-port that it entered by
  Dependencies dependencies_{out_.dependencies};
  std::vector<StateWrite>& writes_ = out_.writes;
  std::vector<Generated>& generated_ = out_.generated;
  /// Questions for what is missing: the only packets that a postponed outcome sends.
  std::vector<Generated> solicitations_;
  bool soliciting_ = false;  ///< what is sent now belongs there
  std::vector<Missing> missing_;

  const model::Rule* translating_ = nullptr;  ///< of the chain of a router that was asked last

  // Connections.
  const model::Port* entered_by_ =
      nullptr;  ///< the exterior port of this host, or the sub-port whose tag it has; null: by tunnel
  BridgeId flooded_on_;   ///< of a flood key; else nil
  bool flooded_ = false;  ///< by a bridge
  bool tracked_ = false;  ///< somebody has asked; the next two are set
  state::Sighting sighting_;
  state::Standing standing_;
  bool shows_facts_ = false;                 ///< let through, it may change what is known
  std::optional<state::Connection> record_;  ///< once read
  bool anew_ = false;
  const state::Connection* preset_ = nullptr;
  std::optional<PortsNeeded> leasing_;  ///< from whom, should more be needed
  Again again_ = Again::no;
  std::optional<state::Connection> chosen_;
  state::Commit commit_;
  std::optional<state::Tuple>
      stage_tuple_;  ///< behind the last stage of the commit; none: as it came
  bool redirected_ = false;
  unsigned deliveries_ = 0;
  state::Delivery delivery_;  ///< of the first copy; without a port when there are more
  // The first copy as it leaves.
  FlowKey delivered_key_;
  std::optional<uint16_t> delivered_rewrite_;
  uint8_t delivered_stages_ = 0, delivered_translations_ = 0;
};

}  // namespace plexus::sim
