// SPDX-License-Identifier: Apache-2.0
// The half of the topology thread that is about this host: interfaces and the ports they belong to, and what the store
// should say of them. Everything here compares what is with what should be, and acts on the difference; nothing waits
// for the store.
#include <algorithm>

#include "agent/topology_thread.h"
#include "base/log.h"

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {
/// How long to wait for the store to show what was asked for, before asking again.
constexpr Duration kAskAgain = 2s;
/// How long what comes for a port that has moved away is sent on.
constexpr Duration kMovedLifetime = 30s;
}  // namespace

bool TopologyThread::may_ask(Asked& asked, const Uuid& id, MonoTime now) {
  const auto [at, fresh] = asked.try_emplace(id, now);
  if (!fresh && now - at->second < kAskAgain) return false;
  at->second = now;
  return true;
}

void TopologyThread::reconcile(MonoTime now) {
  reconcile_ports();
  // Each walks all ports of this host: not for each change somewhere else.
  if (store_is_whole() && !own_host_gone_ && std::exchange(wishes_dirty_, false)) {
    reconcile_publications(now);
    reconcile_flood_keys(now);
  }
  reconcile_tunnel();
}

void TopologyThread::reconcile_ports() {
  if (!std::exchange(ports_dirty_, false)) return;
  const auto snapshot = topology_.snapshot();
  if (options_.fake_datapath) {
    for (const PortId& id : candidates_) {
      const model::Port* port = snapshot->port(id);
      if (port == nullptr || port->interface.empty()) continue;
      links_.try_emplace(port->interface, static_cast<uint32_t>(links_.size() + 1));
    }
  }
  const PortPlan plan = plan_ports(*snapshot, candidates_, links_, plugged_);
  for (const Plug& plug : plan.detach) detach(plug);
  for (const Plug& plug : plan.attach) attach(plug);
  std::erase_if(port_errors_, [&](const auto& entry) {
    return std::none_of(plan.attach.begin(), plan.attach.end(),
                        [&](const Plug& plug) { return plug.port == entry.first; });
  });
}

void TopologyThread::attach(const Plug& plug) {
  const auto failed = [&](const Error& error) {
    auto& said = port_errors_[plug.port];
    if (said != error.message) {
      said = error.message;
      log_warn("agent", "plugging {} into port {}: {}", plug.interface, plug.port.str(),
               error.message);
    }
  };
  // The model first: the first frame must find its port.
  const model::Change here[] = {model::LocalPortChange{plug.port, plug.dp_port().number}};
  apply(here);
  hand_to_worker();
  const datapath::PortSpec spec{plug.dp_port(), plug.interface};
  const auto snapshot = topology_.snapshot();
  const model::Port* port = snapshot->port(plug.port);
  // A tenant does not change.
  auto attached = worker_.call<Ok>([spec, tenant = port != nullptr ? port->tenant : std::string()](
                                       Worker& worker) -> Result<Ok> {
    worker.set_tenant(spec.number, tenant);
    for (const datapath::PortSpec& known : worker.datapath().ports()) {
      // Attached by an earlier agent and taken over.
      if (known.number == spec.number && known.interface == spec.interface) return Ok{};
      // An interface of this name that is gone; it vanished while no agent ran.
      if (known.interface == spec.interface) (void)worker.datapath().remove_port(known.number);
    }
    if (const auto added = worker.datapath().add_port(spec); !added) return added.error();
    return Ok{};
  });
  if (!attached) {
    failed(attached.error());
    const model::Change gone[] = {model::LocalPortChange{plug.port, 0}};
    apply(gone);
    (void)worker_.post([number = plug.dp_port()](Worker& worker) {
      worker.set_tenant(number, "");
      (void)worker.datapath().remove_port(number);
    });
    return;
  }
  port_errors_.erase(plug.port);
  plugged_[plug.port] = plug;
  wishes_dirty_ = plugs_dirty_ = true;
  forget_asked(plug.port);
  log_info("agent", "port {}: {} plugged in", plug.port.str(), plug.interface);
}

void TopologyThread::detach(const Plug& plug) {
  if (store_is_whole()) link_.unpublish(plug.port);  // else when it is again
  forget_asked(plug.port);
  const model::Change gone[] = {model::LocalPortChange{plug.port, 0}};
  apply(gone);
  hand_to_worker();
  const auto removed = worker_.call<Ok>([number = plug.dp_port()](Worker& worker) -> Result<Ok> {
    worker.set_tenant(number, "");
    if (const auto r = worker.datapath().remove_port(number);
        !r && r.error().code != ErrorCode::not_found) {
      return r.error();
    }
    return Ok{};
  });
  if (!removed) log_warn("agent", "unplugging {}: {}", plug.interface, removed.error().message);
  plugged_.erase(plug.port);
  wishes_dirty_ = plugs_dirty_ = true;
  log_info("agent", "port {}: {} unplugged", plug.port.str(), plug.interface);
}

/// Where the frames of a port come in and go out: the port itself, or its parent.
bool TopologyThread::is_plugged(const model::Port& port) const {
  return plugged_.contains(port.parent.value_or(port.id));
}

/// What was asked for while its interface was here, or was not, may be asked for again.
void TopologyThread::forget_asked(PortId id) {
  asked_ports_.erase(id.uuid);
  const auto snapshot = topology_.snapshot();
  for (const PortId& other : candidates_) {
    const model::Port* port = snapshot->port(other);
    if (port != nullptr && port->parent == id) asked_ports_.erase(other.uuid);
  }
}

/// The store must say of each port that it is here if it is, and must not if it is not.
void TopologyThread::reconcile_publications(MonoTime now) {
  const auto snapshot = topology_.snapshot();
  passive_ = 0;
  for (const PortId& id : candidates_) {
    const model::Port* port = snapshot->port(id);
    if (port == nullptr) continue;
    const model::Binding* binding = snapshot->binding(id);
    const bool said = binding != nullptr && binding->host == snapshot->self() && binding->active;
    const bool here = is_plugged(*port);
    const PortRole role = role_of(*snapshot, *port);
    if (here && role == PortRole::passive && !port->parent) ++passive_;
    if (here && role == PortRole::owner && !said) {
      if (may_ask(asked_ports_, id.uuid, now)) link_.publish(id, false);
    } else if (!here && said) {
      if (may_ask(asked_ports_, id.uuid, now)) link_.unpublish(id);
    }
  }
}

void TopologyThread::reconcile_flood_keys(MonoTime now) {
  const auto snapshot = topology_.snapshot();
  std::set<BridgeId> needed;
  for (const PortId& id : candidates_) {
    const model::Port* port = snapshot->port(id);
    if (port == nullptr || !is_plugged(*port)) continue;
    if (const auto* bridge = std::get_if<BridgeId>(&port->device)) needed.insert(*bridge);
  }
  std::set<BridgeId> known;
  if (const model::Host* self = snapshot->host(snapshot->self())) {
    for (const auto& [bridge, key] : self->flood_keys) known.insert(bridge);
  }
  for (const BridgeId& bridge : needed) {
    if (!known.contains(bridge) && may_ask(asked_floods_, bridge.uuid, now)) {
      link_.set_flood_key(bridge, true);
    }
  }
  for (const BridgeId& bridge : known) {
    if (!needed.contains(bridge) && may_ask(asked_floods_, bridge.uuid, now)) {
      link_.set_flood_key(bridge, false);
    }
  }
}

void TopologyThread::reconcile_tunnel() {
  if (!tunnel_dirty_ || tunnel_addresses_.empty()) return;
  const auto snapshot = topology_.snapshot();
  datapath::TunnelSpec spec;
  spec.local = tunnel_addresses_.front();
  spec.udp_port = udp_port_;
  snapshot->each_host([&](const model::Host& host) {
    if (host.id == snapshot->self() || host.fenced) return;
    spec.peers.insert(spec.peers.end(), host.tunnel_addresses.begin(), host.tunnel_addresses.end());
  });
  std::sort(spec.peers.begin(), spec.peers.end());
  spec.peers.erase(std::unique(spec.peers.begin(), spec.peers.end()), spec.peers.end());
  if (tunnel_ && tunnel_->local == spec.local && tunnel_->udp_port == spec.udp_port &&
      tunnel_->peers == spec.peers) {
    tunnel_dirty_ = false;
    return;
  }
  const auto set = worker_.call<Ok>([spec](Worker& worker) -> Result<Ok> {
    if (const auto r = worker.datapath().set_tunnel(spec); !r) return r.error();
    return Ok{};
  });
  if (!set) return log_warn("agent", "setting up the tunnel: {}", set.error().message);
  if (!worker_.listen(spec.local, options_.peer_port)) return;  // the next tick tries again
  tunnel_ = spec;
  tunnel_dirty_ = false;
}

/// A port that was here and is elsewhere now: the other hosts may not have heard of it yet. Called before the change is
/// applied.
void TopologyThread::note_moved(const model::BindingChange& change,
                                std::vector<model::Change>& more) {
  const auto snapshot = topology_.snapshot();
  const model::Binding* before = snapshot->binding(change.id);
  if (before == nullptr || before->host != options_.host || before->tunnel_key == 0) return;
  if (!change.now ||
      (change.now->host == options_.host && change.now->tunnel_key == before->tunnel_key)) {
    return;
  }
  more.push_back(model::MovedKeyChange{before->tunnel_key, change.id, true});
  moved_.push_back({before->tunnel_key, change.id, mono_now() + kMovedLifetime});
}

void TopologyThread::forget_moved(MonoTime now) {
  while (!moved_.empty() && moved_.front().until <= now) {
    const model::Change over[] = {
        model::MovedKeyChange{moved_.front().key, moved_.front().port, false}};
    moved_.pop_front();
    apply(over);
  }
}

}  // namespace plexus::agent
