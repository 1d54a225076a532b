// SPDX-License-Identifier: Apache-2.0
// ScenarioCloud: several hosts in one process, each with the agent's own Topology and Worker over a datapath of a lab (in memory, or
// in the kernel), and tunnels wired between them. The topology is what `plexus apply` takes. Time is virtual.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/known_neighbours.h"
#include "agent/learned_macs.h"
#include "agent/worker.h"
#include "base/result.h"
#include "codec/cloud_file.h"
#include "model/topology.h"
#include "scenarios/filter_records.h"
#include "scenarios/lab.h"
#include "scenarios/peer_links.h"
#include "scenarios/service_records.h"

namespace plexus::scenario {

/// Model records by id: the topology as all hosts see it.
struct World {
  std::map<BridgeId, model::Bridge> bridges;
  std::map<RouterId, model::Router> routers;
  std::map<PortId, model::Port> ports;
  std::map<RouteId, model::Route> routes;
  std::map<PortId, model::Binding> bindings;
  std::map<HostId, model::Host> hosts;
  std::map<PortId, std::vector<model::Neighbour>> neighbours;
  FilterRecords filters;
  ServiceRecords services;
};

class ScenarioCloud {
 public:
  /// The lab outlives the cloud, and lends its hosts to one cloud at a time.
  explicit ScenarioCloud(Lab& lab) : lab_(lab) {}

  /// Creates and changes objects as `plexus apply` does.
  Result<void> apply(std::string_view yaml);
  /// Deletes the object of that singular type name and name.
  Result<void> remove(std::string_view type, std::string_view name);
  /// Marks an object as written by a newer schema.
  Result<void> make_newer(std::string_view type, std::string_view name);
  /// The interface vanishes, or comes (back).
  Result<void> plug(std::string_view host, std::string_view interface, bool there);
  /// A frame enters by an interface; everything it causes has happened when this returns.
  Result<void> send(std::string_view host, std::string_view interface,
                    std::span<const uint8_t> frame, const datapath::Offload& offload = {});
  /// A frame comes to `host` by tunnel from the address.
  Result<void> send_tunnel(std::string_view host, const IpAddr& from, uint32_t key,
                           std::span<const uint8_t> frame);
  Result<void> pass(Duration time);
  /// All hosts have tunnel addresses of this family, on interfaces with this MTU (0: unknown).
  Result<void> set_underlay(IpFamily family, uint32_t mtu);

  /// What came out of interfaces ("h2/tap-vm3 eth ...") and was dropped ("drop h1 no_route") since the last call, sorted.
  [[nodiscard]] std::vector<std::string> take_results();
  /// The trace of a frame, one line each.
  Result<std::vector<std::string>> trace(std::string_view host, std::string_view interface,
                                         std::span<const uint8_t> frame);
  /// What trace requests had written down since the last call.
  Result<std::vector<std::string>> traces(std::string_view host);
  /// How many packets each rule has held for at the host, as of the last statistics, in the order of the rules.
  Result<std::vector<std::string>> rules(std::string_view host);
  /// The host's flows, sorted.
  Result<std::vector<std::string>> flows(std::string_view host);

  /// The connections that the host knows, sorted.
  Result<std::vector<std::string>> connections(std::string_view host);
  /// What becomes of messages from one host's agent to another's, from now on; those that were held back arrive when the
  /// link is on again.
  Result<void> set_peer_link(std::string_view from, std::string_view to, PeerLink link);
  /// Of agents that start from now on.
  void set_limits(const state::ConnectionLimits& limits) { options_.connections.limits = limits; }
  /// The host's agent stops, and another one starts with the flows that are in the datapath and, unless the disk is lost, the
  /// connections that are known.
  Result<void> restart(std::string_view host, bool disk_lost);

  /// What must hold at any time, asked or not: recomputing from scratch gives the same flows; packets anywhere in a
  /// flow's mask get the same actions; nothing crossed the fabric twice. Each finding is a line.
  [[nodiscard]] std::vector<std::string> check(uint64_t seed) const;
  /// Deletes everything; what is left is a finding.
  [[nodiscard]] Result<std::vector<std::string>> check_teardown();

 private:
  struct Object {
    const codec::ResourceSpec* resource = nullptr;
    codec::MessagePtr message;
  };
  struct VirtualHost {
    HostId id;
    std::string name;
    IpAddr address;
    LabHost* lab = nullptr;
    std::unique_ptr<agent::Worker> worker;
    std::unique_ptr<model::Topology> topology;
    std::unique_ptr<agent::LearnedMacs> macs;
    std::unique_ptr<agent::KnownNeighbours> neighbours;
    std::set<std::string> unplugged;
    std::map<PortId, std::pair<std::string, uint32_t>> attached;  ///< interface, datapath port
    std::map<PortId, uint32_t> keys;
    std::map<BridgeId, uint32_t> flood_keys;
    uint32_t next_port = kFirstLocalPort, next_key = 1;
    uint64_t epoch = 0;
    uint64_t traces_seen = 0;  ///< of this worker
    std::map<std::string, uint64_t> drops_seen;
  };

  [[nodiscard]] World world();
  Result<void> sync();
  Result<void> settle();
  Result<void> sync_and_settle();
  Result<void> add_hosts();
  Result<void> attach(VirtualHost& host);
  [[nodiscard]] static std::map<std::string, uint64_t> drops_of(const VirtualHost& host);
  void take_in(VirtualHost& host, std::vector<model::Change> changes);
  void apply_here(VirtualHost& host, const std::vector<model::Change>& changes);
  /// True when there was something.
  bool store_learned();
  void collect_drops();
  /// Carries what agents say to each other; true when something was said.
  bool carry_messages();
  /// Lets held packets go whose time has come; true when some were waiting for it.
  bool end_waiting();
  Result<VirtualHost*> find_host(std::string_view name);
  Result<uint32_t> port_number(const VirtualHost& host, std::string_view interface) const;
  Result<Uuid> find_object(std::string_view type, std::string_view name);
  [[nodiscard]] static std::vector<model::Change> changes_between(const World& before,
                                                                  const World& after);
  [[nodiscard]] static std::vector<std::string> differing_flows(const VirtualHost& host);
  [[nodiscard]] static std::vector<model::Change> local_ports(const VirtualHost& host);
  /// What each host knows of its own tunnels.
  [[nodiscard]] std::vector<model::Change> tunnel_mtus() const;

  Lab& lab_;
  agent::WorkerOptions options_;
  MonoTime now_{1'000'000'000};
  IpFamily underlay_ = IpFamily::v4;
  uint32_t underlay_mtu_ = 0;
  std::map<Uuid, Object> objects_;
  codec::NameTable names_;
  std::map<std::string, std::unique_ptr<VirtualHost>> hosts_;
  World world_;
  std::map<PortId, std::map<IpAddr, MacAddr>> neighbours_;
  std::map<PortId, agent::LearnedMacs::Table> learned_;  ///< as the store has it
  std::map<PortId, uint32_t> generations_;
  PeerLinks peer_links_;
  std::vector<std::string> results_;
  std::vector<std::string> violations_;
};

}  // namespace plexus::scenario
