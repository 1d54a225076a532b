// SPDX-License-Identifier: Apache-2.0
#include "agent/topology_thread.h"

#include <poll.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "sim/delta_tags.h"
#include "store/topology/zones.h"

namespace plexus::agent {

using namespace std::chrono_literals;

TopologyThread::TopologyThread(const AgentOptions& options, store::Store& store,
                               WorkerThread& worker, LearnedBox& learned,
                               std::function<void(Error)> on_fatal)
    : options_(options),
      store_(store),
      worker_(worker),
      on_fatal_(std::move(on_fatal)),
      records_(store, options.host),
      topology_(options.host),
      learned_(learned),
      thread_([this](std::stop_token stop) { run(stop); }) {}

TopologyThread::~TopologyThread() {
  thread_.request_stop();
  (void)learned_.post({});  // wakes it; when the mailbox is full it is awake
  thread_.join();
}

TopologyStatus TopologyThread::status() const {
  std::lock_guard lock(status_mutex_);
  return status_;
}

void TopologyThread::run(std::stop_token stop) {
  auto route = netlink::Route::open();
  auto monitor = netlink::LinkMonitor::open();
  if (!route || !monitor)
    return on_fatal_((route ? monitor.error() : route.error()).in("opening netlink"));
  route_.emplace(std::move(*route));
  link_monitor_.emplace(std::move(*monitor));
  read_links();

  while (!register_host()) {
    if (stop.stop_requested()) return;
    std::this_thread::sleep_for(200ms);
  }
  reader_ = std::make_unique<store::ClosureReader>(
      store_, options_.host, [this](store::ClosureBatch batch) { apply(batch.changes); });

  MonoTime next_tick = mono_now() + 1s;
  while (!stop.stop_requested()) {
    MonoTime wake = next_tick;
    if (const auto deadline = reader_->deadline()) wake = std::min(wake, *deadline);
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(wake - mono_now());
    pollfd fds[] = {
        {reader_->fd(), POLLIN, 0}, {link_monitor_->fd(), POLLIN, 0}, {learned_.fd(), POLLIN, 0}};
    ::poll(fds, 3, static_cast<int>(std::max<int64_t>(0, wait.count() + 1)));

    reader_->process(mono_now());
    if ((fds[1].revents & POLLIN) != 0) {
      // What the events say is less than what a fresh list says, and they may have been lost.
      (void)link_monitor_->read();
      read_links();
    }
    for (const auto& writes : learned_.take()) learn(writes);
    if (reader_->synced()) {
      reconcile_ports();
      reconcile_flood_keys();
      reconcile_tunnel();
      if (!adopted_) {
        hand_to_worker();
        adopt();
      }
    }
    if (const MonoTime now = mono_now(); now >= next_tick) {
      tick();
      next_tick = now + 1s;
    }
    hand_to_worker();
    publish_status();
  }
}

/// True when the host is registered; false to try again. Not having a tunnel address is no obstacle: ports of this
/// host can talk to each other.
bool TopologyThread::register_host() {
  const auto addresses = find_tunnel_addresses();
  if (!addresses) {
    log_warn("agent", "{}", addresses.error().message);
    std::this_thread::sleep_for(1s);
    return false;
  }
  const auto registered = records_.register_host({options_.name, *addresses, udp_port_});
  if (!registered) {
    if (registered.error().code == ErrorCode::exists) {
      on_fatal_(registered.error());
      std::this_thread::sleep_for(1s);
      return false;
    }
    log_warn("agent", "registering: {}", registered.error().message);
    std::this_thread::sleep_for(1s);
    return false;
  }
  if (const auto alive = records_.announce_alive(registered->incarnation); !alive) {
    log_warn("agent", "announcing: {}", alive.error().message);
  }
  log_info("agent", "host {} ({}) start {}", registered->name, options_.host.str(),
           registered->incarnation);
  {
    std::lock_guard lock(status_mutex_);
    status_.name = registered->name;
    status_.incarnation = registered->incarnation;
    status_.registered = true;
    status_.tunnel_addresses = *addresses;
  }
  return true;
}

Result<std::vector<IpAddr>> TopologyThread::find_tunnel_addresses() {
  const auto zones = store::tunnel_zones(store_);
  if (!zones) return zones.error().in("reading tunnel zones");
  const auto local = route_->addresses();
  if (!local) return local.error().in("listing addresses");
  std::vector<IpAddr> found;
  for (const store::Zone& zone : *zones) {
    for (const netlink::InterfaceAddress& address : *local) {
      const bool fits =
          std::any_of(zone.prefixes.begin(), zone.prefixes.end(),
                      [&](const IpPrefix& p) { return p.contains(address.prefix.addr); });
      if (!fits) continue;
      udp_port_ = zone.udp_port;
      found.push_back(address.prefix.addr);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  if (found.empty() && !std::exchange(said_no_tunnel_, true)) {
    log_warn("agent",
             "no address of this host is in a tunnel zone's prefix: ports here cannot talk to "
             "other hosts; create "
             "one with: plexus tunnel-zone create --name fabric --prefixes PREFIX");
  }
  return found;
}

void TopologyThread::tick() {
  read_links();
  const auto addresses = find_tunnel_addresses();
  if (!addresses || *addresses == status().tunnel_addresses) return;
  if (const auto set = records_.set_tunnel_addresses(*addresses, udp_port_); !set) {
    return log_warn("agent", "publishing tunnel addresses: {}", set.error().message);
  }
  std::lock_guard lock(status_mutex_);
  status_.tunnel_addresses = *addresses;
}

void TopologyThread::read_links() {
  const auto links = route_->links();
  if (!links) return log_warn("agent", "listing interfaces: {}", links.error().message);
  links_.clear();
  for (const netlink::Link& link : *links) links_[link.name] = link.index;
}

void TopologyThread::learn(const std::vector<sim::StateWrite>& writes) {
  for (const sim::StateWrite& write : writes) {
    const auto& learned = std::get<sim::NeighbourLearned>(write);
    // Into our own model at once, so that waiting packets go; the store tells the other hosts.
    const auto known = topology_.snapshot()->neighbours(learned.port);
    model::NeighboursChange change{learned.port, {known.begin(), known.end()}};
    std::erase_if(change.now,
                  [&](const model::Neighbour& n) { return n.address == learned.address; });
    change.now.push_back({learned.port, learned.address, learned.mac});
    const model::Change changes[] = {change};
    apply(changes);
    if (const auto stored = records_.learn_neighbour(learned.port, learned.address, learned.mac);
        !stored) {
      ++neighbours_refused_;
      log_warn("agent", "storing neighbour {} of port {}: {}", learned.address.str(),
               learned.port.str(), stored.error().message);
    }
  }
}

void TopologyThread::apply(std::span<const model::Change> changes) {
  const model::Delta delta = topology_.apply(changes);
  if (delta.empty()) return;
  auto tags = sim::tags_of(delta);
  std::move(tags.begin(), tags.end(), std::back_inserter(unsent_changes_));
  unsent_snapshot_ = true;
}

/// The worker gets the newest snapshot with all changes since the last one it took: when its mailbox is full they wait.
void TopologyThread::hand_to_worker() {
  if (!unsent_snapshot_) return;
  const uint64_t epoch = epoch_ + 1;
  auto task = [snapshot = topology_.snapshot(), changes = unsent_changes_, epoch](Worker& worker) {
    worker.publish(snapshot, changes, epoch, mono_now());
  };
  if (!worker_.post(std::move(task))) return;
  epoch_ = epoch;
  unsent_changes_.clear();
  unsent_snapshot_ = false;
}

void TopologyThread::reconcile_ports() {
  const PortPlan plan = plan_ports(*topology_.snapshot(), links_, plugged_);
  for (const Plug& plug : plan.detach) detach(plug);
  for (const Plug& plug : plan.attach) attach(plug);
  std::erase_if(port_errors_, [&](const auto& entry) {
    return std::none_of(plan.attach.begin(), plan.attach.end(),
                        [&](const Plug& plug) { return plug.port == entry.first; });
  });
}

/// Takes over what an earlier agent left: the ports that are still wanted have been attached by now.
void TopologyThread::adopt() {
  std::set<DpPort> ours;
  for (const auto& [id, plug] : plugged_) ours.insert(plug.dp_port());
  adopted_ = worker_.post([ours](Worker& worker) {
    for (const datapath::PortSpec& port : worker.datapath().ports()) {
      const bool local = port.number.number >= kFirstLocalPort;
      if (local && !ours.contains(port.number)) (void)worker.datapath().remove_port(port.number);
    }
    worker.adopt(mono_now());
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
  auto attached = worker_.call<Ok>([spec](Worker& worker) -> Result<Ok> {
    for (const datapath::PortSpec& known : worker.datapath().ports()) {
      // Attached by an earlier agent and taken over.
      if (known.number == spec.number && known.interface == spec.interface) return Ok{};
      // An interface of this name that is gone; it vanished while no agent ran.
      if (known.interface == spec.interface) (void)worker.datapath().remove_port(known.number);
    }
    if (const auto added = worker.datapath().add_port(spec); !added) return added.error();
    return Ok{};
  });
  if (attached) {
    if (const auto published = records_.publish(plug.port); !published)
      attached = published.error();
  }
  if (!attached) {
    failed(attached.error());
    const model::Change gone[] = {model::LocalPortChange{plug.port, 0}};
    apply(gone);
    (void)worker_.post(
        [number = plug.dp_port()](Worker& worker) { (void)worker.datapath().remove_port(number); });
    return;
  }
  port_errors_.erase(plug.port);
  plugged_[plug.port] = plug;
  log_info("agent", "port {}: {} plugged in", plug.port.str(), plug.interface);
}

void TopologyThread::detach(const Plug& plug) {
  const auto unpublished = records_.unpublish(plug.port);
  if (!unpublished && unpublished.error().code != ErrorCode::not_found) {
    log_warn("agent", "unpublishing port {}: {}", plug.port.str(), unpublished.error().message);
  }
  const model::Change gone[] = {model::LocalPortChange{plug.port, 0}};
  apply(gone);
  hand_to_worker();
  const auto removed = worker_.call<Ok>([number = plug.dp_port()](Worker& worker) -> Result<Ok> {
    if (const auto r = worker.datapath().remove_port(number);
        !r && r.error().code != ErrorCode::not_found) {
      return r.error();
    }
    return Ok{};
  });
  if (!removed) log_warn("agent", "unplugging {}: {}", plug.interface, removed.error().message);
  plugged_.erase(plug.port);
  log_info("agent", "port {}: {} unplugged", plug.port.str(), plug.interface);
}

void TopologyThread::reconcile_flood_keys() {
  const auto snapshot = topology_.snapshot();
  std::set<BridgeId> needed;
  for (const auto& [id, plug] : plugged_) {
    const model::Port* port = snapshot->port(id);
    if (port == nullptr) continue;
    if (const auto* bridge = std::get_if<BridgeId>(&port->device)) needed.insert(*bridge);
  }
  for (const BridgeId& bridge : needed) {
    if (flood_keys_.contains(bridge)) continue;
    if (const auto key = records_.flood_key(bridge); key) {
      flood_keys_[bridge] = *key;
    } else {
      log_warn("agent", "claiming a flood key for bridge {}: {}", bridge.str(),
               key.error().message);
    }
  }
  std::erase_if(flood_keys_, [&](const auto& entry) {
    if (needed.contains(entry.first)) return false;
    const auto dropped = records_.drop_flood_key(entry.first);
    return dropped || dropped.error().code == ErrorCode::not_found;
  });
}

void TopologyThread::reconcile_tunnel() {
  const auto snapshot = topology_.snapshot();
  const auto addresses = status().tunnel_addresses;
  if (addresses.empty()) return;
  datapath::TunnelSpec spec;
  spec.local = addresses.front();
  spec.udp_port = udp_port_;
  snapshot->each_host([&](const model::Host& host) {
    if (host.id == snapshot->self()) return;
    spec.peers.insert(spec.peers.end(), host.tunnel_addresses.begin(), host.tunnel_addresses.end());
  });
  std::sort(spec.peers.begin(), spec.peers.end());
  spec.peers.erase(std::unique(spec.peers.begin(), spec.peers.end()), spec.peers.end());
  if (tunnel_ && tunnel_->local == spec.local && tunnel_->udp_port == spec.udp_port &&
      tunnel_->peers == spec.peers) {
    return;
  }
  const auto set = worker_.call<Ok>([spec](Worker& worker) -> Result<Ok> {
    if (const auto r = worker.datapath().set_tunnel(spec); !r) return r.error();
    return Ok{};
  });
  if (!set) return log_warn("agent", "setting up the tunnel: {}", set.error().message);
  tunnel_ = spec;
}

void TopologyThread::publish_status() {
  std::lock_guard lock(status_mutex_);
  status_.synced = reader_ && reader_->synced();
  status_.store_up = store_.health() == store::Health::up;
  status_.ports.clear();
  for (const auto& [id, plug] : plugged_) status_.ports.push_back(plug);
  status_.port_errors = port_errors_;
  status_.watched_keys = reader_ ? reader_->watched() : 0;
  status_.epoch = epoch_;
  status_.neighbours_refused = neighbours_refused_;
}

}  // namespace plexus::agent
