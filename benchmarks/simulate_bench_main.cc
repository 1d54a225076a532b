// SPDX-License-Identifier: Apache-2.0
// plexus-bench-simulate: what one simulate() costs, by path and address family. Each packet is of another flow, from and
// to other machines, so that nothing is found in the caches because the packet before had put it there. Parsing is not
// counted. benchmarks/simulate.py runs it.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "allocations.h"
#include "model/topology.h"
#include "packet/build.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

constexpr int kMachines = 200;  // on each bridge, half of them on each of two hosts
constexpr size_t kFlows = 4096;

enum class Way : uint8_t { bridge, bridge_router_bridge };

std::string mac_text(int network, int machine) {
  char text[18];
  std::snprintf(text, sizeof text, "02:00:00:%02x:%02x:%02x", static_cast<unsigned>(network),
                static_cast<unsigned>(machine / 256), static_cast<unsigned>(machine % 256));
  return text;
}

std::string address_text(bool v6, int network, int machine) {
  char text[40];
  std::snprintf(text, sizeof text, v6 ? "fd00:%d::%d" : "10.1.%d.%d", network, machine);
  return text;
}

// Two bridges, a router between them; the world as host h1 sees it.
class Cloud {
 public:
  Cloud() : topology_(TestCloud::host_id("h1")) {
    const HostId h1 = records_.host("h1", "192.0.2.1");
    const HostId h2 = records_.host("h2", "192.0.2.2");
    const RouterId core = records_.router("core");
    for (int network = 1; network <= 2; ++network) {
      const std::string digit = std::to_string(network);
      const BridgeId bridge = records_.bridge("bridge" + digit);
      records_.plug(bridge,
                    records_.router_port("core" + digit, core, mac_text(network, 1),
                                         {"10.1." + digit + ".1/24", "fd00:" + digit + "::1/64"}));
      for (int m = 2; m < kMachines + 2; ++m) {
        const PortId port =
            records_.vm("vm" + digit + "-" + std::to_string(m), bridge, m % 2 == 0 ? h1 : h2,
                        mac_text(network, m),
                        {address_text(false, network, m), address_text(true, network, m)});
        if (m % 2 == 0 && network == 1) {
          local_.push_back({.machine = m, .dp_port = DpPort{records_.dp_ports.at(port)}});
        }
      }
    }
    topology_.apply(records_.changes(h1));
    snapshot_ = topology_.snapshot();
  }

  [[nodiscard]] const model::Snapshot& snapshot() const { return *snapshot_; }

  // Frames from machines at this host on the first bridge to machines at both.
  [[nodiscard]] std::vector<std::pair<DpPort, Frame>> frames(Way way, bool v6) const {
    std::vector<std::pair<DpPort, Frame>> out;
    const int network = way == Way::bridge ? 1 : 2;
    for (size_t i = 0; i < kFlows; ++i) {
      const LocalMachine& from = local_[i % local_.size()];
      int to = 2 + static_cast<int>(i * 37 % kMachines);
      if (to == from.machine && way == Way::bridge) to = to == 2 ? 3 : 2;
      const PacketSpec spec{
          .eth_src = *MacAddr::parse(mac_text(1, from.machine)),
          .eth_dst = *MacAddr::parse(way == Way::bridge ? mac_text(1, to) : mac_text(1, 1)),
          .src = *IpAddr::parse(address_text(v6, 1, from.machine)),
          .dst = *IpAddr::parse(address_text(v6, network, to)),
          .vlan_tci = std::nullopt};
      out.emplace_back(from.dp_port, udp_packet(spec, static_cast<uint16_t>(1024 + i), 53));
    }
    return out;
  }

 private:
  struct LocalMachine {
    int machine;
    DpPort dp_port;
  };
  TestCloud records_;
  model::Topology topology_;
  std::shared_ptr<const model::Snapshot> snapshot_;
  std::vector<LocalMachine> local_;
};

void simulate_flows(benchmark::State& state, Way way, bool v6) {
  static const Cloud kCloud;
  const auto frames = kCloud.frames(way, v6);
  std::vector<Packet> packets;
  for (const auto& [port, frame] : frames) packets.push_back(packet_of(frame, port));
  for (const Packet& packet : packets) {
    const Outcome outcome = simulate(packet, kCloud.snapshot(), MonoTime{});
    if (outcome.verdict != Verdict::forward || !outcome.cacheable) {
      state.SkipWithError(("a packet is not forwarded: " + std::string(to_string(outcome.verdict)) +
                           " " + std::string(to_string(outcome.reason)))
                              .c_str());
      return;
    }
  }
  size_t next = 0;
  Outcome outcome;
  const uint64_t allocated = bench::allocations;
  for (auto _ : state) {
    simulate(packets[next], kCloud.snapshot(), MonoTime{}, outcome);
    benchmark::DoNotOptimize(outcome);
    if (++next == packets.size()) next = 0;
  }
  state.counters["allocations"] =
      static_cast<double>(bench::allocations - allocated) / static_cast<double>(state.iterations());
}

BENCHMARK_CAPTURE(simulate_flows, bridge_ipv4, Way::bridge, false);
BENCHMARK_CAPTURE(simulate_flows, bridge_ipv6, Way::bridge, true);
BENCHMARK_CAPTURE(simulate_flows, bridge_router_bridge_ipv4, Way::bridge_router_bridge, false);
BENCHMARK_CAPTURE(simulate_flows, bridge_router_bridge_ipv6, Way::bridge_router_bridge, true);

}  // namespace
}  // namespace plexus::sim

BENCHMARK_MAIN();
