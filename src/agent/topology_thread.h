// SPDX-License-Identifier: Apache-2.0
// TopologyThread: the sole writer of the model. It follows the store, publishes snapshots to the worker, plugs the
// interfaces that appear into the ports that want them, lets go of those that vanish, and decides what this host has to
// say in the store: that it exists, where its ports are, what its routers' ports learned.
//
// It never waits for the store. It starts from the disk snapshot when there is one, whether the store answers or not;
// what is to be said in the store goes through the StoreLink and is said when it can be.
//
// Threads: one of its own. Other threads use status() only.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/known_neighbours.h"
#include "agent/learned_macs.h"
#include "agent/neighbour_shares.h"
#include "agent/options.h"
#include "agent/port_block_plan.h"
#include "agent/port_plan.h"
#include "agent/snapshot_keeper.h"
#include "agent/store_link.h"
#include "agent/worker_thread.h"
#include "base/mailbox.h"
#include "model/topology.h"
#include "netlink/route.h"
#include "store/store.h"
#include "store/topology/barrier_answers.h"
#include "store/topology/host_records.h"
#include "store/topology/reader.h"
#include "store/topology/watched_record.h"

namespace plexus::agent {

/// For people and probes; a copy.
struct TopologyStatus {
  std::string name;
  std::string machine_id;
  uint32_t incarnation = 0;
  bool registered = false;
  bool synced = false;     ///< there is a topology to forward by
  bool from_disk = false;  ///< and it is still the disk snapshot's: the store has not confirmed it
  bool store_up = false;
  double store_staleness_seconds = 0;  ///< how old what we know may be
  std::string waiting_for;  ///< what must come before anything is forwarded; empty: nothing
  std::vector<IpAddr> tunnel_addresses;
  uint32_t tunnel_mtu = 0;  ///< largest packet from the first of them, uncut; 0: not known
  std::vector<Plug> ports;  ///< attached
  std::map<PortId, std::string> port_errors;  ///< wanted here, but the attachment failed: why
  size_t passive_ports = 0;  ///< of those attached: waiting for their guest to come
  size_t watched_keys = 0;
  size_t resident_keys = 0;     ///< of those watched: something is known of them
  uint64_t received_bytes = 0;  ///< of paths and records that the store has reported
  size_t moved_keys = 0;        ///< tunnel keys of ports that have moved away, still forwarding
  int64_t revision = 0;
  uint64_t epoch = 0;
  size_t learned_macs = 0;    ///< at ports here
  uint64_t macs_refused = 0;  ///< sightings that a limit kept from being learned
  StoreLink::Status link;
  std::vector<PortBlockPlan::Status> port_blocks;  ///< by pool
  SnapshotKeeper::Status snapshot;
  double snapshot_age_seconds = -1;  ///< of the newest disk snapshot; -1: there is none
};

class TopologyThread {
 public:
  /// What it starts with, besides the options.
  struct Start {
    std::string machine_id;
    uint32_t incarnation = 1;  ///< by this machine's count
  };
  /// `on_fatal` is called once, on the thread, when the agent cannot go on (its name is taken by another host).
  TopologyThread(const AgentOptions& options, Start start, StoreLink& link, WorkerThread& worker,
                 LearnedBox& learned, std::function<void(Error)> on_fatal);
  ~TopologyThread();

  [[nodiscard]] TopologyStatus status() const;

 private:
  /// A thing wanted in the store, and when it was last said so.
  using Asked = std::map<Uuid, MonoTime>;
  struct Moved {
    uint32_t key = 0;
    PortId port;
    MonoTime until;
  };

  void run(std::stop_token stop);
  void load_from_disk();
  void save_to_disk(MonoTime now, bool at_end);
  void handle(StoreLink::News& news);
  void follow_marks();
  void follow_life();
  void join();
  void follow_own_host();
  [[nodiscard]] bool has_worked() const { return life_.has_value() || from_disk_; }
  /// Whether what the store says is the topology, and what this host says to it is wanted: not while a dump is being
  /// loaded into it, nor when it is empty and this host knows one that is not.
  [[nodiscard]] bool store_is_whole() const;
  void find_tunnel_addresses();
  void find_tunnel_mtu(std::span<const netlink::InterfaceAddress> local);
  void answer_barrier(MonoTime now);
  void tick(MonoTime now);
  void ask_which_blocks_are_used(MonoTime now);
  void read_links();
  void learn(const std::vector<sim::StateWrite>& writes);
  void take_in(store::ClosureBatch batch);
  void apply_batch(store::ClosureBatch batch);
  void apply_held();
  void keep_learned_macs(MonoTime now);
  void keep_neighbours(MonoTime now);
  void apply(std::span<const model::Change> changes);
  void announce(const model::Snapshot& before, const model::Delta& delta);
  void send(std::vector<sim::Generated> frames);
  void hand_to_worker();
  void adopt();
  void publish_status();

  // topology_ports.cc: what is plugged in, and what is said about it.
  void reconcile(MonoTime now);
  void reconcile_ports();
  void reconcile_publications(MonoTime now);
  void reconcile_flood_keys(MonoTime now);
  [[nodiscard]] bool is_plugged(const model::Port& port) const;
  void forget_asked(PortId id);
  void reconcile_tunnel();
  void note_moved(const model::BindingChange& change, std::vector<model::Change>& more);
  void forget_moved(MonoTime now);
  void attach(const Plug& plug);
  void detach(const Plug& plug);
  /// True when it was not asked a moment ago; notes it then.
  static bool may_ask(Asked& asked, const Uuid& id, MonoTime now);

  const AgentOptions options_;
  const Start start_;
  StoreLink& link_;
  WorkerThread& worker_;
  const std::function<void(Error)> on_fatal_;
  model::Topology topology_;
  std::unique_ptr<store::ClosureReader> reader_;
  store::Store* store_ = nullptr;
  std::optional<store::BarrierAnswers> barriers_;
  std::optional<store::WatchedRecord> life_record_, loading_record_;
  std::optional<netlink::Route> route_;
  std::optional<netlink::LinkMonitor> link_monitor_;
  LearnedBox& learned_;
  SnapshotKeeper keeper_;

  // The store.
  std::optional<Uuid> life_;  ///< of the store that was last read
  bool life_confirmed_ = false;
  std::optional<bool>
      has_life_;  ///< whether the store that is followed now is not empty; nullopt: not known yet
  bool loading_ = false;  ///< a dump is being loaded into it; until it is read again afterwards
  bool said_empty_ = false;
  std::vector<store::ClosureBatch> held_;  ///< read when the store was not whole any more
  std::optional<MonoTime> follow_again_at_;
  std::optional<std::vector<store::Zone>> zones_;
  MonoTime next_zones_;
  bool join_asked_ = false;
  bool registered_ = false;
  bool own_host_seen_ = false;    ///< since it was registered the store has shown that it knows it
  bool own_host_gone_ = false;    ///< it has been removed from the store
  uint32_t next_tunnel_key_ = 0;  ///< as the disk snapshot has it
  std::optional<uint64_t> barrier_epoch_;
  MonoTime store_seen_;  ///< when it was last known to be up
  uint32_t incarnation_ = 0;

  // The disk.
  bool from_disk_ = false;
  int64_t disk_taken_ms_ = 0;
  uint64_t saved_changes_ = 0;
  std::optional<MonoTime> save_at_;

  // This host.
  std::map<std::string, uint32_t> links_;   ///< index by name
  std::map<uint32_t, uint32_t> link_mtus_;  ///< by index
  std::set<PortId> candidates_;             ///< ports that name this host, and all sub-ports
  bool ports_dirty_ = true;
  bool wishes_dirty_ =
      true;  ///< what the store should say of this host may differ from what it says
  bool plugs_dirty_ = true;  ///< `plugged_` is not in the status yet
  std::map<PortId, Plug> plugged_;
  std::map<PortId, std::string> port_errors_;
  Asked asked_ports_, asked_floods_;
  KnownNeighbours neighbours_;
  NeighbourShares shares_{store::HostRecords::kMaxNeighbours};
  MonoTime shares_looked_;
  uint64_t neighbours_refused_ = 0;
  LearnedMacs macs_;
  bool macs_news_ = false;  ///< something of them may differ from what the store says
  MonoTime macs_said_,
      macs_looked_;  ///< when they were last stored, and their use was last asked for
  std::deque<Moved> moved_;
  PortBlockPlan blocks_;
  /// A question to the worker: which of the blocks do connections use?
  struct BlocksAsked {
    std::set<Uuid> blocks, used;
    std::atomic<bool> answered = false;  ///< `used` is the worker's until then
  };
  std::shared_ptr<BlocksAsked> blocks_asked_;
  MonoTime blocks_asked_at_;
  size_t passive_ = 0;
  std::vector<IpAddr> tunnel_addresses_;
  uint16_t udp_port_ = 4789;
  std::optional<datapath::TunnelSpec> tunnel_;
  bool tunnel_dirty_ = true;

  // The worker.
  std::vector<TagChange> unsent_changes_;  ///< not yet taken by the worker
  bool unsent_snapshot_ = false;
  uint64_t epoch_ = 0;
  bool adopted_ = false;
  bool said_no_tunnel_ = false;
  bool said_waiting_ = false;

  mutable std::mutex status_mutex_;
  TopologyStatus status_;
  std::jthread thread_;
};

}  // namespace plexus::agent
