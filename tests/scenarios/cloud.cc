// SPDX-License-Identifier: Apache-2.0
#include "scenarios/cloud.h"

#include <algorithm>
#include <random>
#include <set>

#include "agent/sample_packet.h"
#include "agent/sources_in_use.h"
#include "flow/match_text.h"
#include "packet/text.h"
#include "plexus/v1/resources.pb.h"
#include "scenarios/differences.h"
#include "sim/announce.h"
#include "sim/delta_tags.h"
#include "store/topology/convert.h"

namespace plexus::scenario {
namespace {

template <typename Id>
Id id_from(const std::string& raw) {
  return Id{Uuid::from_bytes(raw).value_or(Uuid{})};
}

void set_bytes(google::protobuf::Message& message, const char* field, const std::string& value) {
  message.GetReflection()->SetString(&message, message.GetDescriptor()->FindFieldByName(field),
                                     value);
}

std::string bytes_of(const google::protobuf::Message& message, const char* field) {
  return message.GetReflection()->GetString(message,
                                            message.GetDescriptor()->FindFieldByName(field));
}

/// Two things with one name would have one id here, where names do not stand for what they are names in.
Result<void> check_same(const codec::ResourceSpec& resource,
                        const google::protobuf::Message& stored,
                        const google::protobuf::Message& change) {
  for (const std::string& scope : resource.name_scope) {
    const auto* field = stored.GetDescriptor()->FindFieldByName(scope);
    const auto* reflection = stored.GetReflection();
    if (reflection->HasField(stored, field) && reflection->HasField(change, field) &&
        bytes_of(stored, scope.c_str()) != bytes_of(change, scope.c_str())) {
      return Error{ErrorCode::invalid, resource.singular + " " + bytes_of(change, "name") +
                                           ": one of this name is in another " + scope +
                                           "; a scenario tells them apart by their names alone"};
    }
  }
  return {};
}

/// Fields set in `change` replace those of `into`, lists as a whole.
void merge(google::protobuf::Message& into, const google::protobuf::Message& change,
           const std::vector<std::string>& cleared) {
  std::vector<const google::protobuf::FieldDescriptor*> set;
  change.GetReflection()->ListFields(change, &set);
  for (const auto* field : set) into.GetReflection()->ClearField(&into, field);
  into.MergeFrom(change);
  for (const std::string& name : cleared) {
    into.GetReflection()->ClearField(&into, into.GetDescriptor()->FindFieldByName(name));
  }
}

FlowKey random_key(std::mt19937_64& random) {
  FlowKey key;
  for (uint8_t& byte : key.bytes()) byte = static_cast<uint8_t>(random());
  return key;
}

}  // namespace

World ScenarioCloud::world() {
  World w;
  for (const auto& [id, object] : objects_) {
    const auto& message = *object.message;
    if (const auto* bridge = dynamic_cast<const v1::Bridge*>(&message)) {
      w.bridges[BridgeId{id}] = store::to_model(*bridge);
    } else if (const auto* router = dynamic_cast<const v1::Router*>(&message)) {
      w.routers[RouterId{id}] = store::to_model(*router);
    } else if (const auto* port = dynamic_cast<const v1::Port*>(&message)) {
      w.filters.take_member(w.ports[PortId{id}] = store::to_model(*port));
    } else if (const auto* route = dynamic_cast<const v1::Route*>(&message)) {
      w.routes[RouteId{id}] = store::to_model(*route);
    } else {
      w.filters.take(id, message);
      w.services.take(id, message);
    }
  }
  for (const auto& [id, port] : w.ports) {
    if (const auto* bridge = std::get_if<BridgeId>(&port.device)) {
      if (const auto it = w.bridges.find(*bridge); it != w.bridges.end())
        it->second.ports.push_back(id);
    } else if (const auto* router = std::get_if<RouterId>(&port.device)) {
      if (const auto it = w.routers.find(*router); it != w.routers.end())
        it->second.ports.push_back(id);
    }
  }
  for (const auto& [id, route] : w.routes) {
    if (const auto it = w.routers.find(route.router); it != w.routers.end())
      it->second.routes.push_back(id);
  }
  for (auto& [name, host] : hosts_) {
    model::Host record{host->id, host->name, {host->address}, {}};
    std::vector<PortId> here;
    for (const auto& [id, plug] : host->attached) here.push_back(id);
    for (const auto& [id, port] : w.ports) {  // sub-ports are where their parent is
      if (!port.parent || !host->attached.contains(*port.parent)) continue;
      here.push_back(id);
      generations_[id] = generations_[*port.parent];
      if (!host->keys.contains(id)) host->keys[id] = host->next_key++;
    }
    for (const PortId id : here) {
      const auto port = w.ports.find(id);
      if (port == w.ports.end()) continue;
      if (const auto* bridge = std::get_if<BridgeId>(&port->second.device)) {
        if (!host->flood_keys.contains(*bridge)) host->flood_keys[*bridge] = host->next_key++;
        record.flood_keys.emplace_back(*bridge, host->flood_keys[*bridge]);
      }
      w.bindings[id] = {id, host->id, host->keys[id], generations_[id], true, learned_[id]};
    }
    std::sort(record.flood_keys.begin(), record.flood_keys.end());
    record.flood_keys.erase(std::unique(record.flood_keys.begin(), record.flood_keys.end()),
                            record.flood_keys.end());
    w.hosts[host->id] = std::move(record);
  }
  for (const auto& [port, table] : neighbours_) {
    if (!w.ports.contains(port)) continue;
    for (const auto& [address, mac] : table) w.neighbours[port].push_back({port, address, mac});
  }
  return w;
}

std::vector<model::Change> ScenarioCloud::changes_between(const World& before, const World& after) {
  std::vector<model::Change> out;
  add_differences<model::BridgeChange>(before.bridges, after.bridges, out);
  add_differences<model::RouterChange>(before.routers, after.routers, out);
  add_differences<model::PortChange>(before.ports, after.ports, out);
  add_differences<model::RouteChange>(before.routes, after.routes, out);
  add_differences<model::BindingChange>(before.bindings, after.bindings, out);
  add_differences<model::HostChange>(before.hosts, after.hosts, out);
  add_changes(before.filters, after.filters, out);
  add_changes(before.services, after.services, out);
  for (const auto& [port, table] : before.neighbours) {
    if (!after.neighbours.contains(port)) out.push_back(model::NeighboursChange{port, {}});
  }
  for (const auto& [port, table] : after.neighbours) {
    const auto old = before.neighbours.find(port);
    if (old == before.neighbours.end() || old->second != table) {
      out.push_back(model::NeighboursChange{port, table});
    }
  }
  return out;
}

std::vector<model::Change> ScenarioCloud::local_ports(const VirtualHost& host) {
  std::vector<model::Change> out;
  for (const auto& [id, plug] : host.attached)
    out.push_back(model::LocalPortChange{id, plug.second});
  return out;
}

std::vector<model::Change> ScenarioCloud::tunnel_mtus() const {
  std::vector<model::Change> out;
  for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
    const uint32_t overhead =
        family == IpFamily::v4 ? model::kTunnelOverhead4 : model::kTunnelOverhead6;
    const bool known = family == underlay_ && underlay_mtu_ > overhead;
    out.push_back(model::TunnelMtuChange{family, known ? underlay_mtu_ - overhead : 0});
  }
  return out;
}

Result<void> ScenarioCloud::set_underlay(IpFamily family, uint32_t mtu) {
  if (family != IpFamily::v4 && lab_.kind() != "fake")
    return Error{ErrorCode::unsupported, "hosts in the kernel have an IPv4 underlay"};
  underlay_ = family;
  underlay_mtu_ = mtu;
  if (auto done = sync(); !done) return done;
  return settle();
}

/// Hosts come from the file, in the order of their names, with underlay addresses in that order.
Result<void> ScenarioCloud::add_hosts() {
  for (const auto& [id, object] : objects_) {
    if (object.resource->type != "Host") continue;
    const std::string name = bytes_of(*object.message, "name");
    if (hosts_.contains(name)) continue;
    auto host = std::make_unique<VirtualHost>();
    host->id = HostId{id};
    host->name = name;
    const auto lab = lab_.take_host([this] { return now_; });
    if (!lab) return lab.error();
    host->lab = *lab;
    host->worker = std::make_unique<agent::Worker>(host->lab->datapath(), options_);
    host->traces_seen = 0;
    host->topology = std::make_unique<model::Topology>(host->id);
    host->drops_seen = drops_of(*host);  // what an earlier scenario dropped
    host->macs = std::make_unique<agent::LearnedMacs>(host->id);
    host->neighbours = std::make_unique<agent::KnownNeighbours>(host->id);
    hosts_[name] = std::move(host);
  }
  uint32_t last = 0;
  for (auto& [name, host] : hosts_) {
    ++last;
    host->address = underlay_ == IpFamily::v4
                        ? IpAddr::v4(0xc0000200 + last)
                        : IpAddr::v6({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                      static_cast<uint8_t>(last)});
    if (auto done = host->lab->set_address(host->address); !done) return done;
  }
  return {};
}

/// Attaches what is wanted and there, lets go of the rest.
Result<void> ScenarioCloud::attach(VirtualHost& host) {
  std::map<PortId, std::string> wanted;
  for (const auto& [id, object] : objects_) {
    const auto* port = dynamic_cast<const v1::Port*>(object.message.get());
    if (port == nullptr || !port->has_interface() || id_from<HostId>(port->host()) != host.id)
      continue;
    if (host.unplugged.contains(port->interface())) continue;
    wanted[PortId{id}] = port->interface();
  }
  std::vector<model::Change> changes = tunnel_mtus();
  for (auto it = host.attached.begin(); it != host.attached.end();) {
    const auto w = wanted.find(it->first);
    if (w != wanted.end() && w->second == it->second.first) {
      ++it;
      continue;
    }
    changes.push_back(model::LocalPortChange{it->first, 0});
    (void)host.lab->datapath().remove_port(DpPort{it->second.second}).ok();
    it = host.attached.erase(it);
  }
  for (const auto& [id, interface] : wanted) {
    if (host.attached.contains(id)) continue;
    const uint32_t number = host.next_port++;
    if (auto made = host.lab->add_interface(interface); !made) return made;
    // Two ports may want the same interface: the first has it.
    if (!host.lab->datapath().add_port({DpPort{number}, interface})) continue;
    host.attached[id] = {interface, number};
    host.keys[id] = host.next_key++;
    ++generations_[id];
    changes.push_back(model::LocalPortChange{id, number});
  }
  const auto delta = host.topology->apply(changes);
  const auto tags = sim::tags_of(delta);
  host.worker->publish(host.topology->snapshot(), tags, ++host.epoch, now_);
  return {};
}

/// Brings every host to what the objects say now: interfaces, bindings, snapshots, flows.
Result<void> ScenarioCloud::sync() {
  if (auto done = add_hosts(); !done) return done;
  for (auto& [name, host] : hosts_)
    if (auto done = attach(*host); !done) return done;
  const World now = world();
  const auto changes = changes_between(world_, now);
  world_ = now;
  size_t number = 0;
  for (auto& [name, host] : hosts_) {
    std::vector<IpAddr> peers;
    for (const auto& [other_name, other] : hosts_)
      if (other != host) peers.push_back(other->address);
    if (auto done = host->lab->datapath().set_tunnel({host->address, 4789, peers}); !done)
      return done;
    auto all = changes;
    const auto blocks = port_blocks(world_.services, number++);
    all.insert(all.end(), blocks.begin(), blocks.end());
    take_in(*host, std::move(all));
  }
  return {};
}

Result<void> ScenarioCloud::sync_and_settle() {
  if (auto done = sync(); !done) return done;
  return settle();
}

/// As the agent does with what the store says.
void ScenarioCloud::take_in(VirtualHost& host, std::vector<model::Change> changes) {
  for (model::Change& change : changes) {
    if (auto* binding = std::get_if<model::BindingChange>(&change))
      host.macs->take_in(*binding, now_);
  }
  apply_here(host, changes);
  apply_here(host, host.macs->lost(*host.topology->snapshot(), changes));
}

void ScenarioCloud::apply_here(VirtualHost& host, const std::vector<model::Change>& changes) {
  const auto before = host.topology->snapshot();
  const auto delta = host.topology->apply(changes);
  host.worker->publish(host.topology->snapshot(), sim::tags_of(delta), ++host.epoch, now_);
  for (const sim::Generated& made : sim::announcements(*before, *host.topology->snapshot(), delta))
    (void)host.lab->datapath().execute(made.frame, {}, made.actions);
}

bool ScenarioCloud::store_learned() {
  bool any = false;
  for (auto& [name, host] : hosts_) {
    for (auto& [port, table] : host->macs->take_unsaid(now_)) {
      learned_[port] = std::move(table);
      any = true;
    }
  }
  return any;
}

/// Runs everything until nothing moves: upcalls, what was learned, frames between hosts.
Result<void> ScenarioCloud::settle() {
  struct OnFabric {
    VirtualHost* to;
    IpAddr from;
    Left crossing;
  };
  std::deque<OnFabric> fabric;
  // `by_tunnel`: what comes out now was caused by a frame from the fabric, and must not go back to it.
  const auto run = [&](VirtualHost& host, bool by_tunnel) {
    do {
      lab_.settle();
    } while (host.worker->run_once(now_) > 0 || host.worker->busy());
    for (Left& left : host.lab->take_left()) {
      if (!left.interface.empty()) {
        results_.push_back(host.name + "/" + left.interface + " " + format_frame(left.frame));
        continue;
      }
      const bool is_answer = parse_packet(left.frame).key.is_arp();
      if (by_tunnel && !is_answer) {
        violations_.push_back("host " + host.name + " sent a frame from the fabric back to it: " +
                              format_frame(left.frame));
      }
      VirtualHost* to = nullptr;
      for (auto& [name, other] : hosts_) {
        if (other->address == left.tunnel.remote) to = other.get();
      }
      if (to == nullptr || to == &host) {
        violations_.push_back("host " + host.name + " sent a tunnel to " +
                              left.tunnel.remote.str());
        continue;
      }
      fabric.push_back({to, host.address, std::move(left)});
    }
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& [name, host] : hosts_) run(*host, false);
    while (!fabric.empty()) {
      const OnFabric next = std::move(fabric.front());
      fabric.pop_front();
      if (auto done = next.to->lab->deliver(next.from, next.crossing); !done) return done;
      run(*next.to, true);
      moved = true;
    }
    moved |= carry_messages();
    if (!moved) moved = end_waiting();
    bool learned = false;
    for (auto& [name, host] : hosts_) {
      for (const sim::StateWrite& write : host->worker->take_writes()) {
        if (const auto* mac = std::get_if<sim::MacLearned>(&write)) {
          apply_here(*host, host->macs->saw(*host->topology->snapshot(), *mac, now_));
          continue;
        }
        if (std::holds_alternative<sim::PortsNeeded>(write))
          continue;  // the text says which it has
        const auto& n = std::get<sim::NeighbourLearned>(write);
        host->neighbours->heard(n.port, n.address, now_);
        MacAddr& known = neighbours_[n.port][n.address];
        learned |= known != n.mac;
        known = n.mac;
      }
    }
    learned |= store_learned();
    if (learned) {
      if (auto done = sync(); !done) return done;
      moved = true;
    }
  }
  collect_drops();
  return {};
}

std::map<std::string, uint64_t> ScenarioCloud::drops_of(const VirtualHost& host) {
  std::map<std::string, uint64_t> drops = host.lab->datapath().counters().drops;
  drops.erase(
      "by_flow");  // charged to the flows' own reasons: by the worker, when it looks, and here until then
  if (const auto flows = host.lab->datapath().dump_flows()) {
    for (const datapath::FlowEntry& entry : *flows) {
      const auto known = host.worker->flows().find(entry.flow.match);
      if (!entry.flow.actions.drops() || !known || entry.stats.packets <= known->packets) continue;
      drops[std::string(sim::to_string(host.worker->drop_reason(entry.flow.match)))] +=
          entry.stats.packets - known->packets;
    }
  }
  for (const auto& [reason, n] : host.worker->counters().drops) {
    drops[std::string(sim::to_string(reason))] += n;
  }
  return drops;
}

void ScenarioCloud::collect_drops() {
  for (auto& [name, host] : hosts_) {
    for (const auto& [reason, n] : drops_of(*host)) {
      const uint64_t seen = std::exchange(host->drops_seen[reason], n);
      for (uint64_t i = seen; i < n; ++i) results_.push_back("drop " + name + " " + reason);
    }
  }
}

Result<void> ScenarioCloud::apply(std::string_view yaml) {
  codec::Problems problems;
  std::vector<codec::CloudObject> all = codec::parse_cloud_file(yaml, problems);
  if (!problems.empty()) return codec::to_error(problems, "topology");
  std::set<Uuid> named;
  // Ids first, so that objects can refer to each other in any order.
  for (codec::CloudObject& object : all) {
    const std::string key = object.name.empty() ? object.path : object.name;
    Uuid id = Uuid::derived(object.resource->type, key);
    if (const auto known = names_.id_of(*object.resource, "", object.name);
        known && !object.name.empty())
      id = *known;
    if (!object.name.empty() && !named.insert(id).second) {
      return Error{ErrorCode::invalid, "topology: " + object.path + ": this block has a " +
                                           object.resource->singular + " " + object.name +
                                           " already"};
    }
    set_bytes(*object.message, "id", id.raw());
    names_.add(*object.message);
  }
  for (codec::CloudObject& object : all) {
    const auto unresolved =
        codec::resolve(object, [this](const auto& type, auto tenant, auto name) {
          return names_.id_of(type, tenant, name);
        });
    if (!unresolved.empty()) return codec::to_error(unresolved, "topology");
    const Uuid id = id_from<PortId>(bytes_of(*object.message, "id")).uuid;
    // Names within what they belong to, which is known only now.
    const std::string& type = object.resource->type;
    if (type == "Route" || type == "Rule" || type == "SecurityRule") names_.add(*object.message);
    auto& stored = objects_[id];
    if (!stored.message) {
      stored = {object.resource, std::move(object.message)};
    } else {
      if (auto same = check_same(*object.resource, *stored.message, *object.message); !same)
        return same.error().in("topology");
      merge(*stored.message, *object.message, object.cleared);
    }
  }
  // A link is written on both of its ports, as the API does it.
  for (auto& [id, object] : objects_) {
    auto* port = dynamic_cast<v1::Port*>(object.message.get());
    if (port == nullptr || !port->has_peer()) continue;
    const auto other = objects_.find(id_from<PortId>(port->peer()).uuid);
    if (other == objects_.end()) continue;
    auto* peer = dynamic_cast<v1::Port*>(other->second.message.get());
    if (peer != nullptr && !peer->has_peer()) peer->set_peer(id.raw());
  }
  return sync_and_settle();
}

Result<Uuid> ScenarioCloud::find_object(std::string_view type, std::string_view name) {
  for (const auto& [id, object] : objects_) {
    if (object.resource->singular == type && bytes_of(*object.message, "name") == name) return id;
  }
  return Error{ErrorCode::not_found, "no " + std::string(type) + " " + std::string(name)};
}

Result<void> ScenarioCloud::remove(std::string_view type, std::string_view name) {
  const auto id = find_object(type, name);
  if (!id) return id.error();
  objects_.erase(*id);
  return sync_and_settle();
}

Result<void> ScenarioCloud::make_newer(std::string_view type, std::string_view name) {
  const auto id = find_object(type, name);
  if (!id) return id.error();
  auto& message = *objects_[*id].message;
  message.GetReflection()->SetUInt32(
      &message, message.GetDescriptor()->FindFieldByName("min_reader"), 1'000'000);
  return sync_and_settle();
}

Result<ScenarioCloud::VirtualHost*> ScenarioCloud::find_host(std::string_view name) {
  const auto it = hosts_.find(std::string(name));
  if (it == hosts_.end()) return Error{ErrorCode::not_found, "no host " + std::string(name)};
  return it->second.get();
}

Result<uint32_t> ScenarioCloud::port_number(const VirtualHost& host,
                                            std::string_view interface) const {
  for (const auto& [id, plug] : host.attached) {
    if (plug.first == interface) return plug.second;
  }
  return Error{ErrorCode::not_found,
               "nothing is plugged into " + host.name + "/" + std::string(interface)};
}

Result<void> ScenarioCloud::plug(std::string_view host_name, std::string_view interface,
                                 bool there) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  if (there) {
    (*host)->unplugged.erase(std::string(interface));
  } else {
    (*host)->unplugged.insert(std::string(interface));
    if (auto gone = (*host)->lab->remove_interface(std::string(interface)); !gone) return gone;
  }
  return sync_and_settle();
}

Result<void> ScenarioCloud::send(std::string_view host_name, std::string_view interface,
                                 std::span<const uint8_t> frame, const datapath::Offload& offload) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  const auto number = port_number(**host, interface);
  if (!number) return number.error();
  if (auto sent = (*host)->lab->send(std::string(interface), DpPort{*number}, frame, offload);
      !sent)
    return sent;
  return settle();
}

Result<void> ScenarioCloud::send_tunnel(std::string_view host_name, const IpAddr& from,
                                        uint32_t key, std::span<const uint8_t> frame) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  if (auto sent = (*host)->lab->send_tunnel(from, key, frame); !sent) return sent;
  return settle();
}

Result<void> ScenarioCloud::pass(Duration time) {
  for (Duration left = time; left > Duration::zero();) {
    const Duration step = std::min<Duration>(left, std::chrono::seconds(1));
    now_ = now_ + step;
    left -= step;
    bool forgotten = false;
    for (auto& [name, host] : hosts_) {
      host->worker->tick(now_);
      for (const sim::StateWrite& seen :
           agent::sources_in_use(host->worker->flows(), host->worker->snapshot(), now_ - step))
        (void)host->macs->saw(*host->topology->snapshot(), std::get<sim::MacLearned>(seen), now_);
      apply_here(*host, host->macs->age(*host->topology->snapshot(), now_));
      auto due = host->neighbours->due(*host->topology->snapshot(), now_);
      for (const sim::Generated& made : due.questions)
        (void)host->lab->datapath().execute(made.frame, {}, made.actions);
      for (const model::Neighbour& gone : due.gone) neighbours_[gone.port].erase(gone.address);
      forgotten |= !due.gone.empty();
    }
    if (auto done = forgotten ? sync_and_settle() : settle(); !done) return done;
  }
  return {};
}

std::vector<std::string> ScenarioCloud::take_results() {
  std::sort(results_.begin(), results_.end());
  return std::exchange(results_, {});
}

Result<std::vector<std::string>> ScenarioCloud::trace(std::string_view host_name,
                                                      std::string_view interface,
                                                      std::span<const uint8_t> frame) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  const auto number = port_number(**host, interface);
  if (!number) return number.error();
  sim::Trace trace;
  (void)(*host)->worker->ask(DpPort{*number}, 0, frame, now_, &trace);
  std::vector<std::string> lines;
  std::string line;
  for (char c : trace.text()) {
    if (c != '\n') {
      line += c;
      continue;
    }
    lines.push_back(std::exchange(line, {}));
  }
  if (!line.empty()) lines.push_back(line);
  return lines;
}

Result<std::vector<std::string>> ScenarioCloud::traces(std::string_view host_name) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  std::vector<std::string> lines;
  for (const agent::PacketTraces::Entry& entry : (*host)->worker->traces().kept()) {
    if (entry.number <= (*host)->traces_seen) continue;
    lines.push_back(entry.name + ": " + entry.outcome);
    for (const std::string& step : entry.steps) lines.push_back("  " + step);
    (*host)->traces_seen = entry.number;
  }
  return lines;
}

Result<std::vector<std::string>> ScenarioCloud::rules(std::string_view host_name) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  const agent::Worker& worker = *(*host)->worker;
  if (!worker.ready()) return std::vector<std::string>{};
  const codec::Node counters =
      agent::rule_counters_document(worker.rule_counters(), worker.snapshot());
  std::vector<std::string> lines;
  for (const codec::Node& rule : counters.find("rules")->items) {
    std::string line;
    for (const char* field : {"in", "name", "position", "rule"})
      if (const codec::Node* value = rule.find(field)) line += value->text + " ";
    lines.push_back(line + rule.find("packets")->text);
  }
  return lines;
}

Result<std::vector<std::string>> ScenarioCloud::flows(std::string_view host_name) {
  const auto host = find_host(host_name);
  if (!host) return host.error();
  std::vector<std::string> lines;
  (*host)->worker->flows().for_each([&](const InstalledFlow& flow) {
    std::string line = format(flow.match) + " : " + format(flow.actions);
    if (flow.actions.drops()) {
      line += " (" + std::string(sim::to_string((*host)->worker->drop_reason(flow.match))) + ")";
    }
    lines.push_back(std::move(line));
  });
  std::sort(lines.begin(), lines.end());
  return lines;
}

/// The datapath has the worker's flows, with the worker's actions, and no others.
std::vector<std::string> ScenarioCloud::differing_flows(const VirtualHost& host) {
  const auto installed = host.lab->datapath().dump_flows();
  if (!installed) return {host.name + ": " + installed.error().message};
  std::vector<std::string> findings;
  for (const datapath::FlowEntry& entry : *installed) {
    const auto flow = host.worker->flows().find(entry.flow.match);
    if (flow && same_effect(flow->actions, entry.flow.actions)) continue;
    findings.push_back(host.name + ": the datapath has the flow " + format(entry.flow.match) +
                       " : " + format(entry.flow.actions) + ", the worker has " +
                       (flow ? format(flow->actions) : "none"));
  }
  if (installed->size() != host.worker->flows().size()) {
    findings.push_back(host.name + ": the datapath has " + std::to_string(installed->size()) +
                       " flows, the worker " + std::to_string(host.worker->flows().size()));
  }
  return findings;
}

std::vector<std::string> ScenarioCloud::check(uint64_t seed) const {
  std::vector<std::string> findings = violations_;
  std::mt19937_64 random(seed);
  size_t number = 0;
  for (const auto& [name, host] : hosts_) {
    // From scratch, and in another order.
    model::Topology fresh(host->id);
    std::vector<model::Change> changes = changes_between({}, world_);
    auto local = local_ports(*host);
    const auto mtus = tunnel_mtus();
    local.insert(local.end(), mtus.begin(), mtus.end());
    const auto blocks = port_blocks(world_.services, number++);
    local.insert(local.end(), blocks.begin(), blocks.end());
    changes.insert(changes.end(), local.begin(), local.end());
    // What the limits of learning say is this host's own.
    const auto limits = host->macs->limits();
    changes.insert(changes.end(), limits.begin(), limits.end());
    std::shuffle(changes.begin(), changes.end(), random);
    fresh.apply(changes);
    const auto snapshot = fresh.snapshot();
    for (std::string& finding : differing_flows(*host)) findings.push_back(std::move(finding));
    host->worker->flows().for_each([&](const InstalledFlow& flow) {
      for (int i = 0; i < 64; ++i) {
        // A packet anywhere in the flow's region; the first is its corner of zeros.
        FlowKey key = flow.match.key;
        if (i > 0) {
          const FlowKey noise = random_key(random);
          for (size_t b = 0; b < sizeof key; ++b) {
            key.bytes()[b] = static_cast<uint8_t>(key.bytes()[b] |
                                                  (noise.bytes()[b] & ~flow.match.mask.bytes()[b]));
          }
        }
        const std::vector<uint8_t> frame = agent::sample_packet(key, flow.actions);
        const sim::Packet packet =
            sim::packet_of(frame, DpPort{flow.match.key.in_port}, flow.match.key.tunnel_key);
        if (packet.parsed.error != ParseError::none || !flow.match.covers(packet.key) ||
            !fits(flow.actions, packet.parsed, frame, 0))
          continue;
        sim::Outcome outcome;
        sim::simulate(packet, *snapshot, host->worker->view(), now_, outcome);
        if (outcome.begins) {
          findings.push_back(name + ": flow " + format(flow.match) +
                             " is of a connection that nobody here knows");
          return;
        }
        if (outcome.actions == flow.actions && outcome.cacheable) continue;
        findings.push_back(name + ": flow " + format(flow.match) + " does " + format(flow.actions) +
                           ", but recomputed for " + format_frame(frame) + " it is " +
                           format(outcome.actions));
        return;
      }
    });
  }
  return findings;
}

Result<std::vector<std::string>> ScenarioCloud::check_teardown() {
  objects_.clear();
  neighbours_.clear();
  learned_.clear();
  const auto addresses_kept = hosts_.size();
  if (auto done = sync(); !done) return done.error();
  std::vector<std::string> findings;
  for (const auto& [name, host] : hosts_) {
    host->worker->flows().for_each([&](const InstalledFlow& flow) {
      // A drop that depends on nothing that ever was may stay until it is idle.
      if (flow.actions.drops()) return;
      findings.push_back(name + ": after everything was deleted, a flow is left: " +
                         format(flow.match) + " : " + format(flow.actions));
    });
    host->worker->connections().table().for_each([&](auto, const state::Connection& c) {
      findings.push_back(
          name + ": after everything was deleted, a connection is left: " + agent::text_of(c));
    });
    const auto installed = host->lab->datapath().dump_flows();
    if (!installed) return installed.error();
    for (const datapath::FlowEntry& entry : *installed) {
      if (entry.flow.actions.drops()) continue;
      findings.push_back(name + ": after everything was deleted, the datapath forwards " +
                         format(entry.flow.match));
    }
  }
  PLEXUS_CHECK(hosts_.size() == addresses_kept, "deleting objects deletes no virtual host");
  return findings;
}

}  // namespace plexus::scenario
