// SPDX-License-Identifier: Apache-2.0
// TopologyThread: the sole writer of the model. It follows the store, publishes snapshots to the worker, plugs the
// interfaces that appear into the ports that want them, lets go of those that vanish, and writes to the store what this
// host has to say: that it exists, where its ports are, what its routers' ports learned.
//
// Threads: one of its own. Other threads use status() only.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/options.h"
#include "agent/port_plan.h"
#include "agent/worker_thread.h"
#include "base/mailbox.h"
#include "model/topology.h"
#include "netlink/route.h"
#include "store/store.h"
#include "store/topology/host_records.h"
#include "store/topology/reader.h"

namespace plexus::agent {

/// For people and probes; a copy.
struct TopologyStatus {
  std::string name;
  uint32_t incarnation = 0;
  bool registered = false;
  bool synced = false;  ///< the whole closure has been read once
  bool store_up = true;
  std::vector<IpAddr> tunnel_addresses;
  std::vector<Plug> ports;                    ///< attached and published
  std::map<PortId, std::string> port_errors;  ///< wanted here, but the attachment failed: why
  size_t watched_keys = 0;
  uint64_t epoch = 0;
  uint64_t neighbours_refused = 0;
};

class TopologyThread {
 public:
  /// `on_fatal` is called once, on the thread, when the agent cannot go on (its name is taken by another host).
  TopologyThread(const AgentOptions& options, store::Store& store, WorkerThread& worker,
                 LearnedBox& learned, std::function<void(Error)> on_fatal);
  ~TopologyThread();

  [[nodiscard]] TopologyStatus status() const;

 private:
  void run(std::stop_token stop);
  bool register_host();
  [[nodiscard]] Result<std::vector<IpAddr>> find_tunnel_addresses();
  void tick();
  void read_links();
  void learn(const std::vector<sim::StateWrite>& writes);
  void apply(std::span<const model::Change> changes);
  void hand_to_worker();
  void reconcile_ports();
  void reconcile_flood_keys();
  void reconcile_tunnel();
  void adopt();
  void attach(const Plug& plug);
  void detach(const Plug& plug);
  void publish_status();

  const AgentOptions options_;
  store::Store& store_;
  WorkerThread& worker_;
  const std::function<void(Error)> on_fatal_;
  store::HostRecords records_;
  model::Topology topology_;
  std::unique_ptr<store::ClosureReader> reader_;
  std::optional<netlink::Route> route_;
  std::optional<netlink::LinkMonitor> link_monitor_;
  LearnedBox& learned_;

  std::map<std::string, uint32_t> links_;  ///< index by name
  std::map<PortId, Plug> plugged_;
  std::map<PortId, std::string> port_errors_;
  std::map<BridgeId, uint32_t> flood_keys_;
  std::optional<datapath::TunnelSpec> tunnel_;
  uint16_t udp_port_ = 4789;
  std::vector<TagChange> unsent_changes_;  ///< not yet taken by the worker
  bool unsent_snapshot_ = false;
  uint64_t epoch_ = 0;
  bool adopted_ = false;
  bool said_no_tunnel_ = false;
  uint64_t neighbours_refused_ = 0;

  mutable std::mutex status_mutex_;
  TopologyStatus status_;
  std::jthread thread_;
};

}  // namespace plexus::agent
