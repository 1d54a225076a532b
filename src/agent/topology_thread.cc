// SPDX-License-Identifier: Apache-2.0
#include "agent/topology_thread.h"

#include <poll.h>

#include <algorithm>
#include <random>

#include "agent/host_files.h"
#include "agent/sources_in_use.h"
#include "agent/worth_a_line.h"
#include "base/log.h"
#include "sim/announce.h"
#include "sim/delta_tags.h"
#include "store/topology/closure_file.h"
#include "store/topology/layout.h"

namespace plexus::agent {

using namespace std::chrono_literals;

namespace {

constexpr Duration kSaveDelay = 5s;
constexpr std::chrono::milliseconds kRefreshSnapshot = 10min;
constexpr Duration kZonesInterval = 10s;
constexpr Duration kAskBlocks = 5s;
constexpr Duration kSayMacs = 250ms;  ///< learned MACs go to the store four times a second at most
constexpr Duration kSayMacsAgain = 2s;  ///< what could not be said is offered again
/// The table of flows knows their use by the last statistics.
constexpr Duration kStatisticsMayBeOld = 30s;
constexpr Duration kLookAtSources = 10s;  ///< their use is read from the flows
constexpr Duration kLookAtShares = 10s;   ///< neighbours that are gone count no longer

std::string snapshot_path(const AgentOptions& options) {
  return options.state_dir + "/topology.snapshot";
}

int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Duration random_below(Duration limit) {
  static thread_local std::minstd_rand random(std::random_device{}());
  return Duration(std::uniform_int_distribution<int64_t>(0, limit.count())(random));
}

}  // namespace

TopologyThread::TopologyThread(const AgentOptions& options, Start start, StoreLink& link,
                               WorkerThread& worker, LearnedBox& learned,
                               std::function<void(Error)> on_fatal)
    : options_(options),
      start_(std::move(start)),
      link_(link),
      worker_(worker),
      on_fatal_(std::move(on_fatal)),
      topology_(options.host),
      learned_(learned),
      keeper_(snapshot_path(options)),
      neighbours_(options.host),
      macs_(options.host),
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
  store_seen_ = mono_now();
  reader_ = std::make_unique<store::ClosureReader>(
      options_.host, [this](store::ClosureBatch batch) { take_in(std::move(batch)); });
  load_from_disk();

  MonoTime next_tick = mono_now() + 1s;
  bool first = true;
  while (!stop.stop_requested()) {
    MonoTime wake = next_tick;
    const bool whole = store_is_whole();
    if (macs_news_ && whole) wake = std::min(wake, macs_said_ + kSayMacs);
    if (const auto deadline = reader_->deadline(); deadline && whole)
      wake = std::min(wake, *deadline);
    if (const auto due = blocks_.next_growth(); due && whole) wake = std::min(wake, *due);
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(wake - mono_now());
    pollfd fds[] = {{whole ? reader_->fd() : -1, POLLIN, 0},
                    {link_monitor_->fd(), POLLIN, 0},
                    {learned_.fd(), POLLIN, 0},
                    {link_.fd(), POLLIN, 0},
                    {worker_.applied_fd(), POLLIN, 0},
                    {barriers_ && whole ? barriers_->fd() : -1, POLLIN, 0},
                    {life_record_ ? life_record_->fd() : -1, POLLIN, 0},
                    {loading_record_ ? loading_record_->fd() : -1, POLLIN, 0}};
    const int timeout =
        std::exchange(first, false) ? 0 : static_cast<int>(std::max<int64_t>(0, wait.count() + 1));
    ::poll(fds, std::size(fds), timeout);

    for (auto& news : link_.take()) handle(news);
    follow_marks();
    join();
    if (store_is_whole()) {
      reader_->process(mono_now());
      apply_held();
      follow_own_host();
    }
    // What changes forwarding goes first; before the flows of an earlier agent are taken over, the ports do.
    if (adopted_) hand_to_worker();
    if ((fds[1].revents & POLLIN) != 0) {
      // What the events say is less than what a fresh list says, and they may have been lost.
      (void)link_monitor_->read();
      read_links();
      find_tunnel_addresses();  // of an interface the MTU may have changed
    }
    for (const auto& writes : learned_.take()) learn(writes);
    const MonoTime now = mono_now();
    if (reader_->synced() && store_is_whole())
      for (auto& order : blocks_.due(now)) link_.order_port_blocks(std::move(order));
    if (reader_->synced()) reconcile(now);
    if (reader_->synced() && store_is_whole() && now - macs_said_ >= kSayMacs &&
        (macs_news_ || now - macs_said_ >= kSayMacsAgain)) {
      macs_said_ = now;
      macs_news_ = false;
      for (auto& [port, table] : macs_.take_unsaid(now)) link_.set_learned(port, std::move(table));
    }
    if (now >= next_tick) {
      tick(now);
      next_tick = now + 1s;
    }
    hand_to_worker();
    if (reader_->synced() && !adopted_) adopt();
    worker_.clear_applied();
    answer_barrier(now);
    publish_status();
  }
  save_to_disk(mono_now(), true);
}

// --- the disk ---

void TopologyThread::load_from_disk() {
  std::vector<std::string> refused;
  auto loaded = store::load_closure_file(snapshot_path(options_), options_.host, refused);
  for (const std::string& why : refused) log_warn("agent", "a disk snapshot is not used: {}", why);
  if (!loaded) {
    if (refused.empty()) log_info("agent", "there is no disk snapshot: waiting for the store");
    return;
  }
  store::ClosureFile& file = loaded->file;
  const store::OwnRecords own = store::own_records(file.records, options_.host);
  next_tunnel_key_ = own.next_tunnel_key;
  udp_port_ = own.udp_port;
  tunnel_addresses_ = options_.tunnel_addresses;
  if (tunnel_addresses_.empty()) {
    // Those of them that are still ours; the zones, from which they come, only the store knows.
    if (const auto local = route_->addresses()) {
      for (const IpAddr& address : own.tunnel_addresses) {
        if (std::any_of(local->begin(), local->end(),
                        [&](const auto& a) { return a.prefix.addr == address; })) {
          tunnel_addresses_.push_back(address);
        }
      }
    }
  }
  if (!file.life.is_nil()) life_ = file.life;
  from_disk_ = true;
  disk_taken_ms_ = file.taken_ms;
  const size_t count = file.records.size();
  log_info("agent", "starting from {}: {} records, {} s old", loaded->path, count,
           (wall_ms() - file.taken_ms) / 1000);
  {
    std::lock_guard lock(status_mutex_);
    status_.name = own.name;
  }
  reader_->load(std::move(file.records));
  saved_changes_ = reader_->changes();
}

/// Debounced; only whole states that the store has confirmed.
void TopologyThread::save_to_disk(MonoTime now, bool at_end) {
  // Now and then also what is as it was: the age of a snapshot says how old what it knows may be.
  const bool changed =
      reader_->changes() != saved_changes_ || wall_ms() - disk_taken_ms_ > kRefreshSnapshot.count();
  if (!changed || reader_->applied().value == 0 || !store_is_whole()) return;
  if (!at_end) {
    if (!save_at_) save_at_ = now + kSaveDelay;
    if (now < *save_at_) return;
  }
  if (reader_->unconfirmed() > 0) return;
  save_at_.reset();
  saved_changes_ = reader_->changes();
  disk_taken_ms_ = wall_ms();
  const store::Revision revision = reader_->applied();
  store::ClosureFileWriter file(options_.host, life_.value_or(Uuid{}), revision, disk_taken_ms_);
  reader_->each_record([&](const store::ClosureKey& key, const std::string* value,
                           int64_t version) { file.add(key, value, version); });
  keeper_.save(file.finish(), revision, disk_taken_ms_);
}

// --- the store ---

void TopologyThread::handle(StoreLink::News& news) {
  wishes_dirty_ = true;
  if (const auto* opened = std::get_if<StoreLink::Opened>(&news)) {
    store_ = opened->store;
    // Whether it is whole is said before all that must be taken in only then.
    life_record_.emplace(*store_, store::gen_path());
    loading_record_.emplace(*store_, store::loading_path());
    reader_->follow(*store_);
    barriers_.emplace(*store_);
    link_.read_zones();
  } else if (const auto* failed = std::get_if<StoreLink::OpenFailed>(&news)) {
    // A host that has worked before goes on, or waits. On a new one it is a mistake to be told of at once.
    if (options_.new_host && !reader_->synced()) on_fatal_(failed->error);
  } else if (auto* zones = std::get_if<StoreLink::ZonesRead>(&news)) {
    zones_ = std::move(zones->zones);
    find_tunnel_addresses();
  } else if (const auto* joined = std::get_if<StoreLink::Joined>(&news)) {
    incarnation_ = joined->as.incarnation;
    registered_ = true;
    own_host_seen_ = own_host_gone_ = false;
    log_info("agent", "host {} ({}) start {}", joined->as.name, options_.host.str(), incarnation_);
    if (const auto kept = keep_start_count(options_.state_dir, incarnation_); !kept) {
      log_warn("agent", "{}", kept.error().message);
    }
    std::lock_guard lock(status_mutex_);
    status_.name = joined->as.name;
    status_.incarnation = incarnation_;
    status_.registered = true;
  } else if (const auto* refused = std::get_if<StoreLink::Refused>(&news)) {
    on_fatal_(refused->error);
  } else if (const auto* blocks = std::get_if<StoreLink::PortBlocksDone>(&news)) {
    blocks_.done(blocks->pool, blocks->error, mono_now());
  } else if (const auto* port = std::get_if<StoreLink::PortDone>(&news)) {
    if (!port->error) return;
    // It is asked again a moment later, if it is still wanted then.
    if (plugged_.contains(port->port)) {
      log_info("agent", "publishing port {}: {}", port->port.str(), port->error->message);
    }
  }
}

bool TopologyThread::store_is_whole() const {
  return !loading_ && (has_life_.value_or(true) || !has_worked());
}

/// Looked at before what the store says is taken in.
void TopologyThread::follow_marks() {
  follow_life();
  if (!loading_record_) return;
  const auto news = loading_record_->take();
  if (!news) return;
  if (news->has_value()) {
    follow_again_at_.reset();
    if (std::exchange(loading_, true)) return;
    log_warn(
        "agent",
        "a dump is being loaded into the store (if that was interrupted: run plexus-store load "
        "again): what is forwarded stays as it is until it is whole");
    return;
  }
  if (!loading_) return;
  log_info("agent", "the store is whole again: reading everything again");
  // What was heard in between is of no state that ever was; and not all agents at once.
  follow_again_at_ = mono_now() + random_below(2s);
}

/// Once it is known by which addresses others reach this host, and where the store is whole.
void TopologyThread::join() {
  if (join_asked_ || !zones_ || !has_life_ || !store_is_whole()) return;
  join_asked_ = true;
  link_.join({options_.name, tunnel_addresses_, udp_port_, start_.machine_id,
              std::max(incarnation_, start_.incarnation - 1), next_tunnel_key_, has_worked()});
}

/// Who removes a host while its agent runs may make it again.
void TopologyThread::follow_own_host() {
  if (reader_->applied().value == 0 || reader_->unconfirmed() > 0) return;
  if (!registered_ && !own_host_gone_) return;
  const bool known = topology_.snapshot()->host(options_.host) != nullptr;
  if (known && own_host_gone_) {
    log_info("agent", "the store knows this host again: registering it");
    own_host_gone_ = false;
    join_asked_ = false;
    link_.read_zones();
  } else if (!known && own_host_seen_ && !own_host_gone_) {
    log_warn("agent",
             "this host ({}) was removed from the store: its ports are not reached from elsewhere "
             "until it is there again: plexus host create --name {} --id {}",
             options_.host.str(), options_.name, options_.host.str());
    own_host_gone_ = true;
    registered_ = false;
    std::lock_guard lock(status_mutex_);
    status_.registered = false;
  }
  own_host_seen_ = known;
}

/// A store that was restored from a backup has another life: revisions may have gone back, records may say again what
/// is long past, and what this host has said is lost. Forwarding goes on meanwhile.
void TopologyThread::follow_life() {
  if (!life_record_) return;
  const auto news = life_record_->take();
  if (!news) return;
  has_life_ = news->has_value();
  if (!*has_life_ && has_worked() && !loading_ && !std::exchange(said_empty_, true)) {
    log_warn("agent",
             "the store {} is empty, and this host knows one that is not (is the address right, is "
             "its volume mounted?): what is forwarded stays as it is",
             options_.store);
  }
  if (!*has_life_) return;
  said_empty_ = false;
  const auto life = Uuid::parse((*news)->value);
  if (!life) return log_error("agent", "the record {} is damaged", store::gen_path());
  const bool other = life_ && *life_ != *life;
  const bool running = std::exchange(life_confirmed_, true);
  life_ = *life;
  if (!other) return;
  log_warn("agent",
           "the store has begun another life (it was restored?): reading everything again");
  // When nothing was read in the old life, all is being read right now.
  if (running) follow_again_at_ = mono_now() + random_below(2s);
}

void TopologyThread::find_tunnel_addresses() {
  std::vector<IpAddr> found = options_.tunnel_addresses;
  uint16_t udp_port = udp_port_;
  const auto local = route_->addresses();
  if (!local) return log_warn("agent", "listing addresses: {}", local.error().message);
  find_tunnel_mtu(*local);
  if (!zones_) return;
  for (const store::Zone& zone : *zones_) {
    const auto in_zone = [&](const IpAddr& a) {
      return std::any_of(zone.prefixes.begin(), zone.prefixes.end(),
                         [&](const IpPrefix& p) { return p.contains(a); });
    };
    if (!options_.tunnel_addresses.empty()) {
      if (std::any_of(found.begin(), found.end(), in_zone)) udp_port = zone.udp_port;
      continue;
    }
    for (const netlink::InterfaceAddress& address : *local) {
      if (!in_zone(address.prefix.addr)) continue;
      udp_port = zone.udp_port;
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
  if (found == tunnel_addresses_ && udp_port == udp_port_) return;
  tunnel_addresses_ = std::move(found);
  udp_port_ = udp_port;
  tunnel_dirty_ = true;
  if (join_asked_) link_.set_tunnel_addresses(tunnel_addresses_, udp_port_);
  find_tunnel_mtu(*local);
}

/// What this host sends by tunnel leaves by the interfaces that have its tunnel addresses: their MTU decides, the least of
/// each family.
void TopologyThread::find_tunnel_mtu(std::span<const netlink::InterfaceAddress> local) {
  if (!reader_->synced()) return;  // a topology of nothing but that is none
  std::vector<model::Change> changes;
  for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
    const uint32_t overhead =
        family == IpFamily::v4 ? model::kTunnelOverhead4 : model::kTunnelOverhead6;
    uint32_t least = 0;
    for (const netlink::InterfaceAddress& address : local) {
      const IpAddr& a = address.prefix.addr;
      if (a.family != family || std::find(tunnel_addresses_.begin(), tunnel_addresses_.end(), a) ==
                                    tunnel_addresses_.end())
        continue;
      const auto link = link_mtus_.find(address.link_index);
      if (link == link_mtus_.end() || link->second <= overhead) continue;
      const uint32_t mtu = std::min(link->second - overhead, 65535u);
      if (least == 0 || mtu < least) least = mtu;
    }
    if (topology_.snapshot()->tunnel_mtu(family) == least) continue;
    log_info("agent", "tunnels over {} carry packets of up to {} bytes",
             family == IpFamily::v4 ? "IPv4" : "IPv6",
             least == 0 ? std::string("an unknown number of") : std::to_string(least));
    changes.emplace_back(model::TunnelMtuChange{family, least});
  }
  if (!changes.empty()) apply(changes);
}

/// Whoever asks wants to know whether packets are forwarded by it already: the model has it, and the worker, whose
/// datapath writes are done when it answers the epoch.
void TopologyThread::answer_barrier(MonoTime now) {
  if (!barriers_ || !store_is_whole()) return;
  barriers_->process(now);
  const auto& question = barriers_->open();
  if (!question) {
    barrier_epoch_.reset();
    return;
  }
  if (reader_->applied() < question->revision) {
    barrier_epoch_.reset();
    // A store that nothing happens in may not say how far it is unless asked.
    if (reader_->unconfirmed() == 0 && barriers_->wants_sync(now)) link_.sync();
    return;
  }
  if (unsent_snapshot_) return;
  if (!barrier_epoch_) barrier_epoch_ = epoch_;
  if (worker_.applied_epoch() < *barrier_epoch_) return;
  link_.answer(*question);
  barriers_->close();
  barrier_epoch_.reset();
}

void TopologyThread::tick(MonoTime now) {
  ask_which_blocks_are_used(now);
  wishes_dirty_ = true;  // what was asked for in vain is asked for again
  // So is what could not be plugged in; more often would keep the worker busy with nothing else.
  if (!port_errors_.empty()) ports_dirty_ = true;
  if (!options_.fake_datapath) read_links();
  if (store_ != nullptr && store_->health() == store::Health::up) store_seen_ = now;
  // They are listed, not watched, and change about never; who has none is in more of a hurry.
  if (store_ != nullptr && now >= next_zones_) {
    link_.read_zones();
    next_zones_ = now + (tunnel_addresses_.empty() ? Duration(1s)
                                                   : kZonesInterval + random_below(kZonesInterval));
  }
  find_tunnel_addresses();
  forget_moved(now);
  if (follow_again_at_ && now >= *follow_again_at_ && store_ != nullptr) {
    follow_again_at_.reset();
    loading_ = false;
    reader_->follow(*store_);
    join_asked_ = registered_ = own_host_gone_ = false;
    link_.read_zones();
  }
  if (from_disk_ && reader_->applied().value > 0) {
    from_disk_ = false;
    log_info("agent", "the store has confirmed or replaced what the disk snapshot said");
  }
  keep_learned_macs(now);
  keep_neighbours(now);
  save_to_disk(now, false);
}

/// Ages them, by what their flows say of their use.
void TopologyThread::keep_learned_macs(MonoTime now) {
  if (now - macs_looked_ < kLookAtSources) return;
  // What was asked for the last time has come by now.
  const auto aged = macs_.age(*topology_.snapshot(), now);
  if (!aged.empty()) {
    macs_news_ = true;
    apply(aged);
  }
  const MonoTime since = std::exchange(macs_looked_, now);
  if (macs_.size() == 0) return;
  (void)worker_.post([since, &box = learned_](Worker& worker) {
    if (!worker.ready()) return;
    auto seen = sources_in_use(worker.flows(), worker.snapshot(), since - kStatisticsMayBeOld);
    if (!seen.empty()) (void)box.post(std::move(seen));
  });
}

/// Asks those that are this host's to ask whether they are still there; who does not answer is forgotten everywhere.
void TopologyThread::keep_neighbours(MonoTime now) {
  if (!adopted_ || !store_is_whole()) return;
  auto due = neighbours_.due(*topology_.snapshot(), now);
  for (const model::Neighbour& gone : due.gone) {
    const auto known = topology_.snapshot()->neighbours(gone.port);
    model::NeighboursChange change{gone.port, {known.begin(), known.end()}};
    std::erase(change.now, gone);
    const model::Change changes[] = {change};
    apply(changes);
    link_.forget(gone.port, gone.address, gone.mac);
  }
  send(std::move(due.questions));
  if (now - shares_looked_ < kLookAtShares) return;
  shares_looked_ = now;
  shares_.forget_gone(*topology_.snapshot());
}

// --- the model ---

/// What the store says, with our own tables of learned MACs in the place of those that it has from us.
void TopologyThread::take_in(store::ClosureBatch batch) {
  // Once more: what makes a store incomplete may have come together with what is missing then.
  follow_marks();
  if (!store_is_whole()) {
    held_.push_back(std::move(batch));
    return;
  }
  for (store::ClosureBatch& held : std::exchange(held_, {})) apply_batch(std::move(held));
  apply_batch(std::move(batch));
}

/// What was held back goes with what replaces it, or when nothing does.
void TopologyThread::apply_held() {
  if (held_.empty() || !store_is_whole() || follow_again_at_ || reader_->applied().value == 0 ||
      reader_->unconfirmed() > 0)
    return;
  for (store::ClosureBatch& held : std::exchange(held_, {})) apply_batch(std::move(held));
}

void TopologyThread::apply_batch(store::ClosureBatch batch) {
  const MonoTime now = mono_now();
  for (model::Change& change : batch.changes) {
    if (auto* binding = std::get_if<model::BindingChange>(&change)) macs_.take_in(*binding, now);
  }
  apply(batch.changes);
  const auto lost = macs_.lost(*topology_.snapshot(), batch.changes);
  if (!lost.empty()) {
    macs_news_ = true;
    apply(lost);
  }
}

void TopologyThread::read_links() {
  if (options_.fake_datapath) return;
  const auto links = route_->links();
  if (!links) return log_warn("agent", "listing interfaces: {}", links.error().message);
  std::map<std::string, uint32_t> now;
  link_mtus_.clear();
  for (const netlink::Link& link : *links) {
    now[link.name] = link.index;
    link_mtus_[link.index] = link.mtu;
  }
  if (now == links_) return;
  links_ = std::move(now);
  ports_dirty_ = true;
}

void TopologyThread::learn(const std::vector<sim::StateWrite>& writes) {
  for (const sim::StateWrite& write : writes) {
    if (const auto* arrived = std::get_if<sim::PortArrived>(&write)) {
      if (may_ask(asked_ports_, arrived->port.uuid, mono_now())) {
        log_info("agent", "port {}: its guest has come here; taking it over", arrived->port.str());
        link_.publish(arrived->port, true);
      }
      continue;
    }
    if (const auto* mac = std::get_if<sim::MacLearned>(&write)) {
      const auto changes = macs_.saw(*topology_.snapshot(), *mac, mono_now());
      if (!changes.empty()) {
        macs_news_ = true;
        apply(changes);
      }
      continue;
    }
    if (const auto* ports = std::get_if<sim::PortsNeeded>(&write)) {
      blocks_.need(ports->pool, ports->family);
      continue;
    }
    const auto& learned = std::get<sim::NeighbourLearned>(write);
    if (!shares_.admit(*topology_.snapshot(), learned)) {
      if (worth_a_line(++neighbours_refused_)) {
        log_warn(
            "agent",
            "neighbour {} of port {}: not learned, the port has too many or port {} has brought "
            "too many ({} refused so far)",
            learned.address.str(), learned.port.str(), learned.entered_by.str(),
            neighbours_refused_);
      }
      continue;
    }
    neighbours_.heard(learned.port, learned.address, mono_now());
    if (topology_.snapshot()->neighbour(learned.port, learned.address) == learned.mac) continue;
    // Into our own model at once, so that waiting packets go; the store tells the other hosts.
    const auto known = topology_.snapshot()->neighbours(learned.port);
    model::NeighboursChange change{learned.port, {known.begin(), known.end()}};
    std::erase_if(change.now,
                  [&](const model::Neighbour& n) { return n.address == learned.address; });
    change.now.push_back({learned.port, learned.address, learned.mac});
    const model::Change changes[] = {change};
    apply(changes);
    link_.learn(learned.port, learned.address, learned.mac);
  }
}

void TopologyThread::apply(std::span<const model::Change> changes) {
  std::vector<model::Change> more;
  for (const model::Change& change : changes) {
    blocks_.take_in(change, mono_now());
    if (const auto* port = std::get_if<model::PortChange>(&change)) {
      // Sub-ports are where their parents are, which may come and go without them.
      const bool ours =
          port->now && (port->now->wanted_host == options_.host ||
                        port->now->migrating_to == options_.host || port->now->parent);
      if (ours || candidates_.contains(port->id)) ports_dirty_ = wishes_dirty_ = true;
      if (ours) {
        candidates_.insert(port->id);
      } else {
        candidates_.erase(port->id);
      }
    } else if (const auto* binding = std::get_if<model::BindingChange>(&change)) {
      if (candidates_.contains(binding->id)) ports_dirty_ = wishes_dirty_ = true;
      note_moved(*binding, more);
    }
  }
  for (const auto& part : {changes, std::span<const model::Change>(more)}) {
    const auto before = topology_.snapshot();
    const model::Delta delta = topology_.apply(part);
    if (delta.empty()) continue;
    if (adopted_ && !(delta.addresses.empty() && delta.ports.empty() && delta.translations.empty()))
      announce(*before, delta);
    if (!delta.hosts.empty()) tunnel_dirty_ = wishes_dirty_ = true;
    auto tags = sim::tags_of(delta);
    std::move(tags.begin(), tags.end(), std::back_inserter(unsent_changes_));
    unsent_snapshot_ = true;
  }
}

/// Machines here hear at once that a neighbour's MAC is another now. Lost when the worker is too busy: they find out.
void TopologyThread::announce(const model::Snapshot& before, const model::Delta& delta) {
  send(sim::announcements(before, *topology_.snapshot(), delta));
}

/// Which of this host's blocks of ports connections use: the worker knows. When it is too busy nothing is heard, and nothing
/// given back.
void TopologyThread::ask_which_blocks_are_used(MonoTime now) {
  if (blocks_asked_ && blocks_asked_->answered.load(std::memory_order_acquire)) {
    blocks_.heard(blocks_asked_->blocks, blocks_asked_->used, now);
    blocks_asked_.reset();
  }
  if (!adopted_ || now - blocks_asked_at_ < kAskBlocks) return;
  blocks_asked_at_ = now;
  auto question = std::make_shared<BlocksAsked>();
  question->blocks = blocks_.blocks();
  if (question->blocks.empty()) return;
  const bool posted = worker_.post([question](Worker& worker) {
    const state::ConnectionTable& table = worker.connections().table();
    for (const Uuid& block : question->blocks)
      if (table.is_chosen(block)) question->used.insert(block);
    question->answered.store(true, std::memory_order_release);
  });
  if (posted) blocks_asked_ = std::move(question);
}

void TopologyThread::send(std::vector<sim::Generated> frames) {
  if (frames.empty()) return;
  (void)worker_.post([frames = std::move(frames)](Worker& worker) {
    for (const sim::Generated& made : frames)
      (void)worker.datapath().execute(made.frame, {}, made.actions);
  });
}

/// The worker gets the newest snapshot with all changes since the last one it took: when its mailbox is full they wait.
void TopologyThread::hand_to_worker() {
  if (!unsent_snapshot_) return;
  const uint64_t epoch = epoch_ + 1;
  // Without a topology before, there are no flows that could be wrong; adopt() looks at those of an earlier agent.
  if (epoch_ == 0) unsent_changes_.clear();
  auto task = [snapshot = topology_.snapshot(), changes = unsent_changes_, epoch](Worker& worker) {
    worker.publish(snapshot, changes, epoch, mono_now());
  };
  if (!worker_.post(std::move(task))) return;
  epoch_ = epoch;
  unsent_changes_.clear();
  unsent_snapshot_ = false;
}

/// Takes over what an earlier agent left: the ports that are still wanted have been attached by now.
void TopologyThread::adopt() {
  find_tunnel_addresses();                   // flows that depend on the MTU must not look wrong
  if (epoch_ == 0) unsent_snapshot_ = true;  // an empty world is one, too
  hand_to_worker();
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

void TopologyThread::publish_status() {
  const bool up = store_ != nullptr && store_->health() == store::Health::up;
  std::string waiting;
  if (!reader_->synced()) {
    waiting = !up ? "the store, for the first time: there is no disk snapshot to start from"
                  : "the store: " + std::to_string(reader_->unread()) + " of " +
                        std::to_string(reader_->watched()) + " records are not read yet";
    if (!std::exchange(said_waiting_, true)) log_info("agent", "waiting for {}", waiting);
  }
  auto link = link_.status();
  auto snapshot = keeper_.status();
  const auto age = [&](int64_t taken_ms) {
    return std::max(0.0, static_cast<double>(wall_ms() - taken_ms) / 1000);
  };
  std::lock_guard lock(status_mutex_);
  status_.machine_id = start_.machine_id;
  if (!status_.registered) status_.incarnation = start_.incarnation;
  status_.synced = reader_->synced();
  status_.from_disk = from_disk_ && reader_->applied().value == 0;
  status_.store_up = up;
  status_.store_staleness_seconds = 0;
  if (status_.from_disk) {
    status_.store_staleness_seconds = age(disk_taken_ms_);
  } else if (!up) {
    status_.store_staleness_seconds = static_cast<double>((mono_now() - store_seen_).count()) / 1e9;
  }
  status_.waiting_for = std::move(waiting);
  status_.tunnel_addresses = tunnel_addresses_;
  status_.tunnel_mtu = tunnel_addresses_.empty()
                           ? 0
                           : topology_.snapshot()->tunnel_mtu(tunnel_addresses_.front().family);
  if (std::exchange(plugs_dirty_, false)) {
    status_.ports.clear();
    for (const auto& [id, plug] : plugged_) status_.ports.push_back(plug);
  }
  status_.port_errors = port_errors_;
  status_.passive_ports = passive_;
  status_.watched_keys = reader_->watched();
  status_.resident_keys = reader_->watched() - reader_->unread();
  status_.received_bytes = reader_->received();
  status_.moved_keys = moved_.size();
  status_.revision = reader_->applied().value;
  status_.epoch = epoch_;
  status_.learned_macs = macs_.size();
  status_.macs_refused = macs_.refused();
  status_.port_blocks = blocks_.status();
  status_.link = std::move(link);
  status_.snapshot = std::move(snapshot);
  status_.snapshot_age_seconds = disk_taken_ms_ == 0 ? -1 : age(disk_taken_ms_);
}

}  // namespace plexus::agent
