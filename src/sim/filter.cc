// SPDX-License-Identifier: Apache-2.0
// What packets pass on their way into a device and out of it: port security, security groups, chains. docs/filtering.md
// gives the order. Frames that a device makes itself pass only what filters at the port that they leave by; frames that
// came by tunnel have passed everything where they entered, but for the last stage of a flood.
#include <algorithm>
#include <optional>
#include <utility>

#include "sim/simulation.h"

namespace plexus::sim {

namespace {

/// Jumps within jumps, and jumps taken in all at one place.
constexpr unsigned kMaxDepth = 8, kMaxJumps = 128;
/// New marks at one place.
constexpr unsigned kMaxMarks = 16;
constexpr std::string_view kIntoPort = "into the port", kIntoDevice = "into the device",
                           kOutOfDevice = "out of the device";

std::string rule_name(const model::Chain& chain, const model::Rule& rule) {
  return chain.name + "/" + (rule.name.empty() ? std::to_string(rule.position) : rule.name);
}

std::string_view verb(model::RuleAction action) {
  switch (action) {
    case model::RuleAction::accept:
      return "accept";
    case model::RuleAction::drop:
      return "drop";
    case model::RuleAction::reject:
      return "reject";
    case model::RuleAction::jump:
      return "jump";
    case model::RuleAction::return_:
      return "return";
    case model::RuleAction::continue_:
      return "continue";
    case model::RuleAction::dnat:
      return "dnat";
    case model::RuleAction::snat:
      return "snat";
    case model::RuleAction::mark:
      return "mark";
    case model::RuleAction::redirect:
      return "redirect";
  }
  return "?";
}

}  // namespace

struct Simulation::Asking {
  const PortsAsked& ports;
  std::string_view place;
  std::optional<state::ConnectionState> connection = {};  ///< when a chain may ask for it
  unsigned jumps = 0, marks = 0;
};

void Simulation::track_for_chains(Journey& j, const model::Port& port,
                                  const std::optional<ChainId>& device_in,
                                  const std::optional<ChainId>& device_out) {
  if (j.mask == nullptr) return;
  for (const std::optional<ChainId>* chain :
       {&port.in_chain, &port.out_chain, &device_in, &device_out}) {
    if (!*chain) continue;
    depend(tracking_tag(**chain));
    const model::Tracking* tracking = snapshot_.tracking(**chain);
    if (tracking != nullptr && tracking->asks_at(port)) (void)standing(j);
  }
}

bool Simulation::pass_in(Journey& j, const model::Port& in,
                         const std::optional<ChainId>& device_chain,
                         const std::optional<ChainId>& device_out_chain) {
  j.passing = Passing::forwarded;
  j.came_by = &in;
  j.came_from = j.key.src_mac();
  j.came_to = j.key.dst_mac();
  j.stage = nullptr;
  translating_ = nullptr;
  // A refusal passes them all on its way back: it comes from nobody who could be in a group.
  if (std::holds_alternative<BridgeId>(in.device) && !j.refusal) {
    if (in.port_security && !source_is_own(j, in)) return false;
    if (!in.security_groups.empty() && dhcp_asked(j, in) == IpFamily::none &&
        !security_allows(j, in, false))
      return false;
  }
  track_for_chains(j, in, device_chain, device_out_chain);
  const PortsAsked ports{.in = &in};
  if (in.in_chain && !pass_chain(j, *in.in_chain, ports, kIntoPort)) return false;
  return !device_chain || pass_chain(j, *device_chain, ports, kIntoDevice);
}

namespace {
PortsAsked ports_out(const Journey& j, const model::Port& out) {
  return {.in = j.passing == Passing::forwarded ? j.came_by : nullptr,
          .in_known = j.passing != Passing::flooded_elsewhere,
          .out = &out};
}
}  // namespace

bool Simulation::pass_out(Journey& j, const model::Port& out) {
  return pass_out_of_device(j, out) && pass_out_of_port(j, out);
}

bool Simulation::pass_out_of_device(Journey& j, const model::Port& out) {
  if (j.passing == Passing::decided) return true;
  const PortsAsked ports = ports_out(j, out);
  if (j.passing != Passing::made_here) {
    std::optional<ChainId> in_chain, chain;
    if (const auto* id = std::get_if<BridgeId>(&out.device)) {
      depend(bridge_tag(*id));
      if (const model::Bridge* bridge = snapshot_.bridge(*id))
        in_chain = bridge->in_chain, chain = bridge->out_chain;
    } else if (const auto* router_id = std::get_if<RouterId>(&out.device)) {
      depend(router_tag(*router_id));
      if (const model::Router* router = snapshot_.router(*router_id))
        in_chain = router->in_chain, chain = router->out_chain;
    }
    track_for_chains(j, out, in_chain, chain);
    if (chain && !pass_chain(j, *chain, ports, kOutOfDevice)) return false;
  }
  return true;
}

bool Simulation::pass_out_of_port(Journey& j, const model::Port& out) {
  if (j.passing == Passing::decided) return true;
  const PortsAsked ports = ports_out(j, out);
  if (out.out_chain && !pass_chain(j, *out.out_chain, ports, "out of the port")) return false;
  if (j.refusal || !std::holds_alternative<BridgeId>(out.device)) return true;
  if (out.security_groups.empty()) return !out.port_security || tags_are_read(j, out);
  return security_allows(j, out, true);
}

bool Simulation::pass_chain(Journey& j, ChainId id, const PortsAsked& ports,
                            std::string_view place) {
  Asking asking{.ports = ports, .place = place};
  const model::Tracking* tracking = snapshot_.tracking(id);
  if (tracking != nullptr && tracking->everywhere) asking.connection = standing(j).state;
  const Ruling ruling = ask_chain(j, id, asking, 0);
  if (ruling == Ruling::nothing && trace_ != nullptr) {
    const model::Chain* chain = snapshot_.chain(id);
    note(j, DeviceKind::chain, chain->name, id.uuid, "{}: no rule decides: accepted", place);
  }
  return ruling == Ruling::accepted || ruling == Ruling::nothing;
}

void Simulation::met(const Journey& j, const model::Rule& rule, const Uuid& holder) {
  // Each is looked for among all: those that want to be heard of have as many places again, not any number.
  const size_t most = rule.log ? 2 * Outcome::kMostMet : Outcome::kMostMet;
  if (j.mask == nullptr || out_.met.size() >= most) return;
  const MetRule met{rule.id.uuid, holder, rule.log};
  if (std::find(out_.met.begin(), out_.met.end(), met) == out_.met.end()) out_.met.push_back(met);
}

Simulation::Ruling Simulation::ask_chain(Journey& j, ChainId id, Asking& asking, unsigned depth) {
  depend(chain_tag(id), read_elsewhere(j));
  const model::Chain* chain = snapshot_.chain(id);
  if (chain == nullptr || chain->unreadable) {
    drop(j, DropReason::filter_unreadable, DeviceKind::chain,
         chain != nullptr ? std::string_view(chain->name) : std::string_view(), id.uuid,
         chain != nullptr ? "its record is newer than this agent" : "is not known");
    return Ruling::dropped;
  }
  const model::RuleTable* table = snapshot_.rules_of(id);
  if (table == nullptr) return Ruling::nothing;
  RuleReader reader(j, snapshot_, dependencies_, asking.ports, asking.connection);
  std::optional<RuleSearch> search(std::in_place, *table, reader);
  const model::TableRule* marked = nullptr;  // the rules up to this one have been asked
  // What stands behind `rule` is asked about the new mark, of which the search so far knows nothing. The packet that came says
  // nothing about it either: what changes here, for whichever marks, changes the answer.
  const auto search_behind = [&](const model::TableRule& rule) {
    depend(chain_tag(id), true);
    marked = &rule;
    search.emplace(*table, reader);
  };
  while (true) {
    const RuleSearch::Found found = search->next();
    // Whether one of the rules met looks into messages, or one on the way there: such packets are in no class.
    if (reader.message_read()) cacheable_ = false;
    if (found.rule == nullptr) return Ruling::nothing;
    const model::TableRule& rule = *found.rule;
    if (marked != nullptr && !model::asked_before(*marked, rule)) continue;
    const std::string name = trace_ != nullptr ? rule_name(*chain, rule) : std::string();
    const auto refuse = [&](DropReason reason, std::string_view why) {
      drop(j, reason, DeviceKind::rule, name, rule.id.uuid,
           trace_ == nullptr ? std::string() : fmt::format("{}: {}", asking.place, why));
      return Ruling::dropped;
    };
    if (rule.unreadable)
      return refuse(DropReason::filter_unreadable, "its record is newer than this agent");
    if (found.unknown)
      return refuse(DropReason::filter_unreadable,
                    asking.ports.in_known
                        ? "names a group that is not there or cannot be read"
                        : "asks for the port that a flooded packet of another host came by, or "
                          "names a group that is not there");
    met(j, rule, id.uuid);
    switch (rule.action) {
      case model::RuleAction::accept:
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: accept", asking.place);
        return Ruling::accepted;
      case model::RuleAction::drop:
        return refuse(DropReason::filtered_by_rule, "drop");
      case model::RuleAction::reject:
        (void)refuse(DropReason::filtered_by_rule, "reject");
        tell_rejected(j);
        return Ruling::dropped;
      case model::RuleAction::jump: {
        if (!rule.jump_chain)
          return refuse(DropReason::filter_unreadable, "jumps, and names no chain");
        if (depth == kMaxDepth || ++asking.jumps > kMaxJumps)
          return refuse(DropReason::filter_too_deep, "one jump too many");
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: {}", asking.place, verb(rule.action));
        const unsigned marks = asking.marks;
        const Ruling ruling = ask_chain(j, *rule.jump_chain, asking, depth + 1);
        if (ruling != Ruling::nothing) return ruling;
        if (asking.marks != marks) search_behind(rule);
        break;
      }
      case model::RuleAction::return_:
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: {}", asking.place, verb(rule.action));
        return depth == 0 ? Ruling::accepted : Ruling::nothing;
      case model::RuleAction::dnat:
      case model::RuleAction::snat: {
        const bool in = rule.action == model::RuleAction::dnat;
        const model::Port* port = in ? asking.ports.in : asking.ports.out;
        if (asking.place != (in ? kIntoDevice : kOutOfDevice) || port == nullptr ||
            !std::holds_alternative<RouterId>(port->device))
          return refuse(DropReason::filter_unreadable, in ? "dnat is for in_chain of a router"
                                                          : "snat is for out_chain of a router");
        if (in ? !rule.to_addresses : !rule.snat_pool)
          return refuse(DropReason::filter_unreadable, "does not say to what it translates");
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: {}", asking.place, verb(rule.action));
        translating_ = &rule;
        return Ruling::accepted;
      }
      case model::RuleAction::mark:
        if (!rule.set_dscp)
          return refuse(DropReason::filter_unreadable, "marks, and does not say how");
        if (!reader.is_ip()) break;
        if (++asking.marks > kMaxMarks)
          return refuse(DropReason::filter_too_deep, "one mark too many");
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: mark {}", asking.place, *rule.set_dscp);
        j.set_dscp(*rule.set_dscp);
        search_behind(rule);
        break;
      case model::RuleAction::redirect:
        if (asking.place != kIntoPort)
          return refuse(DropReason::filter_unreadable,
                        "redirects, which only in_chain of a port can");
        redirect(j, rule, name);
        return Ruling::redirected;
      case model::RuleAction::continue_:
        note(j, DeviceKind::rule, name, rule.id.uuid, "{}: {}", asking.place, verb(rule.action));
        break;
    }
  }
}

}  // namespace plexus::sim
