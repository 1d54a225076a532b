// SPDX-License-Identifier: Apache-2.0
// What devices do beside forwarding and filtering: mirrors, trace requests, marks, redirection, sub-ports, reserved groups.
//
// Mirrors copy a packet as it is where they stand. A copy is asked by no filter and looked at by no other mirror, and
// whatever becomes of it, nothing becomes of the packet. Who passes a place has asked for the place's own tag, which says
// whether there are mirrors at all.
#include <algorithm>

#include "packet/headers.h"
#include "sim/simulation.h"

namespace plexus::sim {
namespace {

constexpr uint16_t kLldp = 0x88cc;
constexpr uint16_t kPriorityTag = 0;  ///< an id that names no VLAN

/// Where the mirrors of the port's device stand; nowhere, when it is of none.
model::Place device_of(const model::Port& port) {
  if (const auto* bridge = std::get_if<BridgeId>(&port.device)) return *bridge;
  if (const auto* router = std::get_if<RouterId>(&port.device)) return *router;
  return {};
}

}  // namespace

// ---- mirrors

void Simulation::mirror_in(Journey& j, const model::Port& in) {
  if (!snapshot_.any_mirrors()) return;
  mirror(j, in.id, true);
  mirror(j, device_of(in), true);
}

void Simulation::mirror_out(Journey& j, const model::Port& out) {
  // What the ingress host has decided it has mirrored, too; of a flood the last stage is left.
  if (!snapshot_.any_mirrors() || (j.passing == Passing::decided && !j.refusal)) return;
  if (!j.copied && j.passing != Passing::flooded_elsewhere) mirror(j, device_of(out), false);
  mirror(j, out.id, false);
}

void Simulation::mirror(Journey& j, const model::Place& at, bool in) {
  const auto mirrors = snapshot_.mirrors_of(at);
  if (mirrors.empty()) return;
  depend(mirrors_tag(model::uuid_of(at)));
  for (const MirrorId id : mirrors) {
    const model::Mirror* mirror = snapshot_.mirror(id);
    if (mirror == nullptr || mirror->unreadable || !mirror->admin_up) continue;
    if (in ? mirror->in : mirror->out) send_mirrored(j, *mirror, in);
  }
}

void Simulation::send_mirrored(Journey& j, const model::Mirror& mirror, bool in) {
  const auto none = [&](std::string_view why) {
    note_at(j, DeviceKind::mirror, mirror, "no copy: {}", why);
  };
  // What the machine behind a mirror sends it knows, and it would go round between two of them.
  if (mirror.to_port == entered_) return none("the packet comes from the mirror's port");
  depend(port_tag(mirror.to_port));
  const model::Port* to = snapshot_.port(mirror.to_port);
  if (to == nullptr || to->unreadable) return none("its port is not known");
  if (!std::holds_alternative<BridgeId>(to->device) || to->peer)
    return none("its port is no exterior port of a bridge");
  if (!to->admin_up) return none("its port is administratively down");
  if (to->parent) depend(port_tag(*to->parent));  // whose interface it is
  if (j.from_tunnel && !snapshot_.is_here(to->id))
    return none("its port is not at this host, and what comes by tunnel does not go on by tunnel");
  note_at(j, DeviceKind::mirror, mirror, "copies what {}, to port {}", in ? "comes in" : "goes out",
          to->name);
  Journey copy = j;
  Fate fate;
  copy.fate = &fate;
  copy.hop = nullptr;  // no router has to see to its size
  copy.ends_elsewhere = true;
  ++copy.depth;
  leave_exterior(copy, *to);
  for (Copy& made : fate.copies) {
    j.fate->mirrored.push_back(static_cast<uint32_t>(j.fate->copies.size()));
    j.fate->copies.push_back(std::move(made));
  }
}

// ---- trace requests

void Simulation::ask_trace_requests(Journey& j, const model::Place& at, const model::Port& in) {
  // Of what devices make, only the packet that they made it for is traced.
  if (j.mask == nullptr) return;
  const model::RuleTable* requests = snapshot_.trace_requests_of(at);
  if (requests == nullptr) return;
  depend(trace_requests_tag(model::uuid_of(at)), read_elsewhere(j));
  const PortsAsked ports{.in = &in};
  RuleReader reader(j, snapshot_, dependencies_, ports);
  RuleSearch search(*requests, reader);
  while (const model::TableRule* rule = search.next().rule) {
    const TraceRequestId id{rule->id.uuid};
    const auto* spent = connections_.spent;
    if (spent != nullptr && std::binary_search(spent->begin(), spent->end(), id)) continue;
    // A copy of a flood may come by again.
    if (std::find(out_.traced.begin(), out_.traced.end(), id) != out_.traced.end()) continue;
    out_.traced.push_back(id);
    cacheable_ = false;
    if (const model::TraceRequest* request = snapshot_.trace_request(id))
      note_at(j, DeviceKind::trace_request, *request, "asks for this packet");
  }
}

// ---- marks

void Simulation::mark_at_bridge(Journey& j, const model::Bridge& bridge, const model::Port& in) {
  const auto dscp = in.dscp ? in.dscp : bridge.dscp;
  // Where machines send into it: what comes over a link or a tunnel has its mark.
  if (!dscp || in.peer || j.mask == nullptr || j.devices != 1 || j.from_tunnel) return;
  const uint16_t type = j.eth_type();
  if (type != eth_type::kIpv4 && type != eth_type::kIpv6) return;
  note_at(j, DeviceKind::bridge, bridge, "marks it {}, as {} says", *dscp,
          in.dscp ? "the port" : "the bridge");
  j.set_dscp(*dscp);
}

// ---- redirection

void Simulation::redirect(Journey& j, const model::TableRule& rule, const std::string& name) {
  const auto refuse = [&](DropReason reason, std::string_view why) {
    drop(j, reason, DeviceKind::rule, name, rule.id.uuid,
         trace_ == nullptr ? std::string() : fmt::format("into the port: redirects, {}", why));
  };
  if (j.asks_dhcp_only)
    return refuse(DropReason::spoofed_source, "and its source is not an address of the machine");
  if (!rule.redirect_port) return refuse(DropReason::filter_unreadable, "and names no port");
  depend(port_tag(*rule.redirect_port));
  const model::Port* to = snapshot_.port(*rule.redirect_port);
  if (to == nullptr) return refuse(DropReason::dangling, "to a port that is not known");
  if (!std::holds_alternative<BridgeId>(to->device) || to->peer)
    return refuse(DropReason::dangling, "to a port that is no exterior port of a bridge");
  if (j.came_by != nullptr && to->id == j.came_by->id)
    return refuse(DropReason::hairpin, "back to the port it came from");
  note(j, DeviceKind::rule, name, rule.id.uuid, "into the port: redirect to port {}", to->name);
  if (!port_works(j, *to)) return;
  ++j.depth;
  if (snapshot_.any_mirrors()) mirror(j, to->id, false);
  // Not where its connection ends: that begins where the machine there sends it on.
  j.ends_elsewhere = true;
  redirected_ = true;
  leave_exterior(j, *to);
}

// ---- reserved groups

bool Simulation::carries_reserved(Journey& j, const model::Bridge& bridge) {
  if (bridge.forward_bpdu == bridge.forward_lldp) return bridge.forward_bpdu;
  return j.eth_type() == kLldp ? bridge.forward_lldp : bridge.forward_bpdu;
}

// ---- sub-ports

const model::Port* Simulation::port_entered(Journey& j, const model::Port& port) {
  if (snapshot_.sub_ports(port.id).empty()) return &port;
  const auto vlan = j.vlan();
  const auto id = vlan ? snapshot_.sub_port(port.id, *vlan) : std::nullopt;
  if (!id) return &port;
  depend(port_tag(*id));
  if (!port_works(j, port)) return nullptr;
  const model::Port* sub = snapshot_.port(*id);
  if (sub == nullptr || port.parent || !snapshot_.is_here(*id)) {
    drop(j, DropReason::port_unbound, DeviceKind::port, sub != nullptr ? sub->name : std::string(),
         id->uuid, "has the tag on this interface, but is not bound to this host");
    return nullptr;
  }
  note_at(j, DeviceKind::port, *sub, "has the tag {} on this interface: taken off", *vlan);
  tag_ = *vlan;
  if (j.pop_vlan()) cacheable_ = false;  // others of the class have no second tag
  return sub;
}

bool Simulation::is_of_vlan(Journey& j, bool takes_off) {
  if (j.vlan() != kPriorityTag || j.rewrite.pop_vlan) return j.has_vlan_tag();
  // No class knows of a second tag; but packets with one are in none that takes the first one off (fits()).
  const bool alone = !j.second_vlan();
  if (alone && takes_off) {
    (void)j.pop_vlan();
    took_priority_tag_ = true;
  } else {
    cacheable_ = cacheable_if_answered_ = false;
  }
  return !alone;
}

void Simulation::leave_by_parent(Journey& j, const model::Port& port) {
  depend(port_tag(*port.parent));
  const model::Port* parent = snapshot_.port(*port.parent);
  const auto number = parent != nullptr ? snapshot_.dp_port(parent->id) : std::nullopt;
  if (!number || !snapshot_.is_here(port.id)) {
    return drop_at(j, DropReason::port_unbound, DeviceKind::port, port,
                   "is bound to this host, but the interface of its parent is not here, or its "
                   "tag is another's there");
  }
  if (!port_works(j, *parent)) return;
  delivered(j, {port.id, zone_of(port)}, snapshot_.self());
  note_at(j, DeviceKind::port, port, "out by {} (datapath port {}) of this host, with the tag {}",
          parent->interface.empty() ? "?" : parent->interface, number->number, port.vlan);
  j.rewrite.push_vlan = port.vlan;
  output(j, LocalOutput{*number});
}

bool Simulation::tag_is_own(Journey& j, const model::Port& port) {
  if (snapshot_.sub_ports(port.id).empty()) return true;
  auto vlan = j.vlan();
  if (j.has_unread_tag()) {
    drop_at(j, DropReason::vlan_of_sub_port, DeviceKind::port, port,
            "has sub-ports, and the frame more tags than are read");
    return false;
  }
  if (vlan == kPriorityTag) {
    // The machine there takes it off, and goes by what is behind it. No class knows of that.
    cacheable_ = false;
    if (const auto second = j.second_vlan()) vlan = second;
  }
  if (!vlan || !snapshot_.sub_port(port.id, *vlan)) return true;
  drop_at(j, DropReason::vlan_of_sub_port, DeviceKind::port, port,
          "has a sub-port for the tag {}: nothing else leaves with it", *vlan);
  return false;
}

}  // namespace plexus::sim
