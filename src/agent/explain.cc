// SPDX-License-Identifier: Apache-2.0
#include "agent/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/drop_advice.h"
#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/text.h"

namespace plexus::agent {

using codec::Node;

namespace {

Node text(std::string_view value) {
  return Node::of_text(value);
}

struct Described {
  std::string_view kind;
  std::string name;
  std::string aspect;
};

template <typename Record>
std::string name_of(const Record* record) {
  return record != nullptr ? record->name : std::string();
}

std::string mac_of(uint64_t sub) {
  MacAddr mac;
  for (size_t i = 0; i < mac.bytes.size(); ++i)
    mac.bytes[i] = static_cast<uint8_t>(sub >> (40 - 8 * i));
  return mac.str();
}

/// A tag keeps a hash of the address only: the entry with that hash, when there is one.
std::string neighbour_aspect(PortId port, uint64_t sub, const model::Snapshot& snapshot) {
  for (const model::Neighbour& n : snapshot.neighbours(port))
    if (tag_sub(n.address) == sub) return "its neighbour " + n.address.str();
  return "a neighbour that it does not know from packets";
}

/// Whose address on a bridge was asked for: a configured one of a port there, or of the router port behind one.
std::string address_aspect(const model::Bridge& bridge, uint64_t sub,
                           const model::Snapshot& snapshot) {
  for (const PortId id : bridge.ports) {
    const model::Port* port = snapshot.port(id);
    if (port == nullptr) continue;
    for (const IpAddr& address : port->addresses)
      if (tag_sub(address) == sub) return "who has " + address.str();
    const model::Port* peer = snapshot.peer(*port);
    if (peer == nullptr) continue;
    for (const IpPrefix& network : peer->networks)
      if (tag_sub(network.addr) == sub) return "who has " + network.addr.str();
  }
  return "that no port has the address";
}

std::string key_aspect(uint64_t key, const model::Snapshot& snapshot) {
  const auto meaning = snapshot.tunnel_key(static_cast<uint32_t>(key));
  if (const auto* port = std::get_if<PortId>(&meaning))
    return "leads to port " + name_of(snapshot.port(*port));
  if (const auto* bridge = std::get_if<BridgeId>(&meaning))
    return "floods bridge " + name_of(snapshot.bridge(*bridge));
  if (std::holds_alternative<std::monostate>(meaning)) return "stands for nothing here";
  return "led to a port that has moved away";
}

Described described(const Tag& tag, const model::Snapshot& snapshot) {
  switch (tag.kind) {
    case TagKind::bridge:
      return {"bridge", name_of(snapshot.bridge(BridgeId{tag.id})), ""};
    case TagKind::bridge_mac:
      return {"bridge", name_of(snapshot.bridge(BridgeId{tag.id})), "who has " + mac_of(tag.sub)};
    case TagKind::bridge_flood:
      return {"bridge", name_of(snapshot.bridge(BridgeId{tag.id})), "who gets what is flooded"};
    case TagKind::router:
      return {"router", name_of(snapshot.router(RouterId{tag.id})), ""};
    case TagKind::routes:
      return {"router", name_of(snapshot.router(RouterId{tag.id})), "its routes"};
    case TagKind::port:
      return {"port", name_of(snapshot.port(PortId{tag.id})), ""};
    case TagKind::neighbour:
      if (const model::Bridge* bridge = snapshot.bridge(BridgeId{tag.id}))
        return {"bridge", bridge->name, address_aspect(*bridge, tag.sub, snapshot)};
      return {"port", name_of(snapshot.port(PortId{tag.id})),
              neighbour_aspect(PortId{tag.id}, tag.sub, snapshot)};
    case TagKind::tunnel_key:
      return {"tunnel key", fmt::format("{:#x}", tag.sub), key_aspect(tag.sub, snapshot)};
    case TagKind::host:
      return {"host", name_of(snapshot.host(HostId{tag.id})), ""};
    case TagKind::chain:
      return {"chain", name_of(snapshot.chain(ChainId{tag.id})), "its rules"};
    case TagKind::security_group:
      return {"security group", name_of(snapshot.security_group(SecurityGroupId{tag.id})),
              tag.sub == 1 ? "what its members may receive" : "what its members may send"};
    case TagKind::addresses: {
      const std::string_view whom =
          tag.sub % 2 == 1 ? "whether the source is in it" : "whether the destination is in it";
      if (tag.sub <= 2)
        return {"address group", name_of(snapshot.address_group(AddressGroupId{tag.id})),
                std::string(whom)};
      return {"security group", name_of(snapshot.security_group(SecurityGroupId{tag.id})),
              std::string(whom)};
    }
    case TagKind::port_group:
      return {"port group", name_of(snapshot.port_group(PortGroupId{tag.id})), ""};
    case TagKind::translations:
      return {"router", name_of(snapshot.router(RouterId{tag.id})), "what it translates"};
    case TagKind::pool:
      if (const model::SnatPool* pool = snapshot.snat_pool(SnatPoolId{tag.id}))
        return {"snat pool", pool->name, ""};
      if (const model::PoolMember* member = snapshot.pool_member(PoolMemberId{tag.id}))
        return {"pool member", member->name, ""};
      return {"pool", name_of(snapshot.pool(PoolId{tag.id})), tag.sub == 1 ? "who serves" : ""};
    case TagKind::dhcp:
      return {"bridge", name_of(snapshot.bridge(BridgeId{tag.id})), "its DHCP subnets"};
    case TagKind::mirrors:
    case TagKind::trace_requests: {
      const model::Port* port = snapshot.port(PortId{tag.id});
      const model::Bridge* bridge = snapshot.bridge(BridgeId{tag.id});
      const auto [kind, name] =
          port != nullptr     ? std::pair{"port", name_of(port)}
          : bridge != nullptr ? std::pair{"bridge", name_of(bridge)}
                              : std::pair{"router", name_of(snapshot.router(RouterId{tag.id}))};
      return {kind, name, tag.kind == TagKind::mirrors ? "its mirrors" : "its trace requests"};
    }
  }
  return {"thing", "", tag.str()};
}

Node learned(const sim::StateWrite& write, const model::Snapshot& snapshot) {
  Node out = Node::map_of({});
  if (const auto* neighbour = std::get_if<sim::NeighbourLearned>(&write)) {
    out.add("port", text(name_of(snapshot.port(neighbour->port))));
    out.add("address", text(neighbour->address.str()));
    out.add("mac", text(neighbour->mac.str()));
  } else if (const auto* arrived = std::get_if<sim::PortArrived>(&write)) {
    out.add("port", text(name_of(snapshot.port(arrived->port))));
    out.add("arrived", Node::of_bool(true));
  } else if (const auto* source = std::get_if<sim::MacLearned>(&write)) {
    out.add("bridge", text(name_of(snapshot.bridge(source->bridge))));
    out.add("port", text(name_of(snapshot.port(source->port))));
    out.add("mac", text(source->mac.str()));
  } else if (const auto* ports = std::get_if<sim::PortsNeeded>(&write)) {
    out.add("pool", text(name_of(snapshot.snat_pool(ports->pool))));
    out.add("more_ports", text(ports->family == IpFamily::v6 ? "ipv6" : "ipv4"));
  }
  return out;
}

Node needed(const sim::Missing& missing, const model::Snapshot& snapshot) {
  const auto& neighbour = std::get<sim::NeighbourNeeded>(missing);
  Node out = Node::map_of({});
  out.add("port", text(name_of(snapshot.port(neighbour.port))));
  out.add("neighbour", text(neighbour.address.str()));
  return out;
}

/// Whose tunnel address it is.
const model::Host* host_at(const IpAddr& address, const model::Snapshot& snapshot) {
  const model::Host* found = nullptr;
  snapshot.each_host([&](const model::Host& host) {
    if (std::find(host.tunnel_addresses.begin(), host.tunnel_addresses.end(), address) !=
        host.tunnel_addresses.end())
      found = &host;
  });
  return found;
}

/// Where a copy leaves by an interface of this host: its port, or the sub-port whose tag it gets.
std::optional<PortId> port_left_by(const Copy& copy, const LocalOutput& local,
                                   const model::Snapshot& snapshot) {
  std::optional<PortId> found;
  snapshot.each_port([&](const model::Port& port) {
    if (snapshot.dp_port(port.id) == local.port) found = port.id;
  });
  if (!found || !copy.rewrite.push_vlan) return found;
  const auto sub = snapshot.sub_port(*found, *copy.rewrite.push_vlan);
  return sub ? sub : found;
}

/// Where one copy goes, and what it is then.
Node output_document(const Copy& copy, const sim::Packet& packet, const model::Snapshot& snapshot) {
  Node out = Node::map_of({});
  const auto add_port = [&](PortId id) {
    out.add("port", text(name_of(snapshot.port(id))));
    out.add("id", text(id.str()));
  };
  if (const auto* local = std::get_if<LocalOutput>(&copy.output)) {
    if (const auto port = port_left_by(copy, *local, snapshot)) add_port(*port);
  } else if (const auto* tunnel = std::get_if<TunnelOutput>(&copy.output)) {
    const model::Host* host = host_at(tunnel->remote, snapshot);
    out.add("host", text(name_of(host)));
    out.add("tunnel_key", Node::of_number(uint64_t{tunnel->key}));
    if (host != nullptr) {
      snapshot.each_binding([&](const model::Binding& binding) {
        if (binding.host == host->id && binding.tunnel_key == tunnel->key) add_port(binding.port);
      });
      for (const auto& [bridge, key] : host->flood_keys)
        if (key == tunnel->key) out.add("bridge", text(name_of(snapshot.bridge(bridge))));
    }
  } else {
    out.add("answer", Node::of_bool(true));
    return out;
  }
  out.add("packet", text(format_frame(rewritten(copy.rewrite, packet.parsed, packet.frame))));
  return out;
}

Node step_document(const sim::TraceStep& step) {
  Node out = Node::map_of({});
  out.add("depth", Node::of_number(uint64_t{step.depth}));
  out.add("kind", text(sim::to_string(step.kind)));
  if (!step.name.empty()) out.add("name", text(step.name));
  if (!step.id.is_nil()) out.add("id", text(step.id.str()));
  out.add("text", text(step.text));
  return out;
}

template <typename Things, typename Make>
Node list_of(const Things& things, const Make& make) {
  std::vector<Node> out;
  for (const auto& thing : things) out.push_back(make(thing));
  return Node::list_of(std::move(out));
}

}  // namespace

Node objects_of(std::span<const Dependency> dependencies, const model::Snapshot& snapshot) {
  std::vector<Node> out;
  const Tag* last = nullptr;
  for (const Dependency& dependency : dependencies) {
    // Sorted: the same tag, read before and behind a rewrite, comes twice in a row.
    if (last != nullptr && *last == dependency.tag) continue;
    last = &dependency.tag;
    const Described d = described(dependency.tag, snapshot);
    Node object = Node::map_of({});
    object.add("kind", text(d.kind));
    if (!d.name.empty()) object.add("name", text(d.name));
    if (!dependency.tag.id.is_nil()) object.add("id", text(dependency.tag.id.str()));
    if (!d.aspect.empty()) object.add("aspect", text(d.aspect));
    object.add("tag", text(dependency.tag.str()));
    out.push_back(std::move(object));
  }
  return Node::list_of(std::move(out));
}

Node trace_document(const sim::Packet& packet, const sim::Outcome& outcome, const sim::Trace& trace,
                    const model::Snapshot& snapshot) {
  Node out = Node::map_of({});
  out.add("packet", text(format_frame(packet.frame)));
  out.add("verdict", text(sim::to_string(outcome.verdict)));
  const sim::Outcome::Itself itself = outcome.itself();
  const bool dropped = itself.verdict == sim::Verdict::drop;
  if (dropped) out.add("reason", text(sim::to_string(itself.reason)));
  std::vector<Node> outputs;
  for (const Copy& copy : outcome.actions.copies)
    outputs.push_back(output_document(copy, packet, snapshot));
  for (const uint32_t place : outcome.mirrored) outputs[place].add("mirror", Node::of_bool(true));
  out.add("outputs", Node::list_of(std::move(outputs)));
  if (dropped) {
    if (const auto* step = trace.blamed()) out.add("blame", step_document(*step));
    out.add("advice", text(drop_advice(itself.reason)));
  }
  out.add("actions", text(format(outcome.actions)));
  out.add("match", text(format(match_of(packet.key, outcome.mask))));
  out.add("cacheable", Node::of_bool(outcome.cacheable));
  if (!outcome.generated.empty()) {
    out.add("generated", list_of(outcome.generated, [](const sim::Generated& made) {
              Node one = Node::map_of({});
              one.add("packet", text(format_frame(made.frame)));
              one.add("actions", text(format(made.actions)));
              return one;
            }));
  }
  if (!outcome.writes.empty())
    out.add("learned",
            list_of(outcome.writes, [&](const auto& w) { return learned(w, snapshot); }));
  if (!outcome.missing.empty())
    out.add("missing",
            list_of(outcome.missing, [&](const auto& m) { return needed(m, snapshot); }));
  out.add("depends_on", objects_of(outcome.dependencies, snapshot));
  out.add("text", text(trace.text()));
  out.add("steps", list_of(trace.steps(), step_document));
  return out;
}

}  // namespace plexus::agent
