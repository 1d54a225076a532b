// SPDX-License-Identifier: Apache-2.0
// plexus-bench-simulate: what one simulate() costs, by path and address family. Each packet is of another flow, from and
// to other machines, so that nothing is found in the caches because the packet before had put it there. Parsing is not
// counted. benchmarks/simulate.py runs it.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "allocations.h"
#include "flow/match.h"
#include "model/topology.h"
#include "packet/build.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

constexpr int kMachines = 200;  // on each bridge, half of them on each of two hosts
constexpr size_t kFlows = 4096;
constexpr size_t kBatch = 64;  // packets that a worker takes at once
static_assert(kFlows % kBatch == 0);

// What the router makes of the destination or source of packets.
enum class Translated : uint8_t { no, floating_ip, snat, load_balancer };

// What filters at the first port of every path.
struct Filters {
  uint32_t rules = 0;     ///< of one chain, that no packet meets, before one that accepts
  uint32_t networks = 0;  ///< of an address group that one more rule names
  // At every machine, a stateful security group.
  uint32_t allowing =
      0;  ///< its rules in each direction, that no packet meets, before those that allow
  uint32_t members = 0;  ///< of the group that the rule names that lets packets in
  Translated translated = Translated::no;
  auto operator<=>(const Filters&) const = default;
};

// any_sender: on a bridge, from random addresses and ports to random ones, as a scan does; half of it TCP.
enum class Way : uint8_t { bridge, bridge_router_bridge, any_sender };

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
  explicit Cloud(const Filters& filters = {}) : topology_(TestCloud::host_id("h1")) {
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
    if (filters.rules + filters.networks > 0) add_filters(filters);
    if (filters.allowing > 0) add_security(filters);
    if (filters.translated != Translated::no) add_translation(filters.translated, core);
    topology_.apply(records_.changes(h1));
    topology_.apply(translations_);
    if (filters.members > 0) topology_.apply(std::vector<model::Change>{members(filters.members)});
    snapshot_ = topology_.snapshot();
  }

  // One rule of the chain is dropped and made again.
  model::Delta change_a_rule(bool there) {
    const auto& [id, rule] = *std::next(records_.rules.begin(), 2);
    const model::Change change = model::RuleChange{id, there ? std::optional(rule) : std::nullopt};
    model::Delta delta = topology_.apply({&change, 1});
    snapshot_ = topology_.snapshot();
    return delta;
  }

  [[nodiscard]] const model::Snapshot& snapshot() const { return *snapshot_; }

  // Frames from machines at this host on the first bridge to machines at both.
  [[nodiscard]] std::vector<std::pair<DpPort, Frame>> frames(
      Way way, bool v6, Translated translated = Translated::no) const {
    std::vector<std::pair<DpPort, Frame>> out;
    const int network = way == Way::bridge_router_bridge ? 2 : 1;
    std::mt19937 random(1);
    for (size_t i = 0; i < kFlows; ++i) {
      const LocalMachine& from = local_[i % local_.size()];
      int to = 2 + static_cast<int>(i * 37 % kMachines);
      if (to == from.machine && network == 1) to = to == 2 ? 3 : 2;
      PacketSpec spec{.eth_src = *MacAddr::parse(mac_text(1, from.machine)),
                      .eth_dst = *MacAddr::parse(network == 1 ? mac_text(1, to) : mac_text(1, 1)),
                      .src = *IpAddr::parse(address_text(v6, 1, from.machine)),
                      .dst = *IpAddr::parse(address_text(v6, network, to)),
                      .vlan_tci = std::nullopt};
      if (translated == Translated::floating_ip) spec.dst = outside_address(v6, to);
      if (translated == Translated::load_balancer) spec.dst = outside_address(v6, 0);
      if (way == Way::any_sender) {
        spec.src = IpAddr::v4(0x0b000000u + random() % 0x400000);
        spec.dst = IpAddr::v4(0x0a010000u + random() % 0x20000);
        const auto source = static_cast<uint16_t>(random()), port = static_cast<uint16_t>(random());
        out.emplace_back(from.dp_port, i % 2 == 0 ? udp_packet(spec, source, port)
                                                  : tcp_packet(spec, source, port, 2));
        continue;
      }
      out.emplace_back(from.dp_port, udp_packet(spec, static_cast<uint16_t>(1024 + i), 53));
    }
    return out;
  }

 private:
  struct LocalMachine {
    int machine;
    DpPort dp_port;
  };
  // Rules as people have them: services of machines, networks that are shut out, ranges of ports, both families.
  void add_filters(const Filters& filters) {
    const ChainId chain = records_.chain("filter");
    for (uint32_t i = 0; i < filters.rules; ++i) {
      model::Rule& r = records_.rule("r" + std::to_string(i), chain, i, model::RuleAction::drop);
      const IpPrefix network{IpAddr::v4(0x0b000000u + i * 256), 24};
      const IpPrefix machine{IpAddr::v4(0x0a010000u + i * 7 % 0x20000), 32};
      const auto port = static_cast<uint16_t>(1000 + i * 13 % 20000);
      switch (i % 4) {
        case 0:
          r.source = network;
          break;
        case 1:
          r.destination = machine;
          r.protocol = ip_proto::kTcp;
          r.destination_ports = {{port, port}};
          break;
        case 2:
          r.source = network;
          r.destination = machine;
          r.protocol = ip_proto::kUdp;
          r.destination_ports = {{port, static_cast<uint16_t>(port + 50)}};
          break;
        default:
          r.source = IpPrefix{*IpAddr::parse("fd00:9:" + std::to_string(i % 9999) + "::"), 64};
      }
    }
    if (filters.networks > 0) {
      const AddressGroupId group = records_.address_group("group", {});
      for (uint32_t i = 0; i < filters.networks; ++i)
        records_.address_groups[group].prefixes.push_back({IpAddr::v4(0x0b000000u + i * 64), 26});
      records_.rule("group", chain, 1'000'000, model::RuleAction::drop).source_group = group;
    }
    records_.rule("rest", chain, 2'000'000, model::RuleAction::accept);
    for (auto& [id, port] : records_.ports)
      if (!port.peer) port.in_chain = chain;
  }

  [[nodiscard]] static IpAddr outside_address(bool v6, int machine) {
    return *IpAddr::parse(v6 ? "2001:db8::" + std::to_string(machine)
                             : "172.16.0." + std::to_string(machine));
  }
  // The first bridge is outside, the second inside.
  void add_translation(Translated kind, RouterId core) {
    for (auto& [id, port] : records_.ports)
      if (port.name == "core1") port.outside = true;
    if (kind == Translated::load_balancer) {
      const LoadBalancerId lb{Uuid::derived("lb", "lb")};
      translations_.push_back(model::LoadBalancerChange{
          lb, model::LoadBalancer{.id = lb, .router = core, .name = "lb"}});
    }
    for (const bool v6 : {false, true}) {
      const std::string family = v6 ? "6" : "4";
      if (kind == Translated::floating_ip) {
        for (int m = 2; m < kMachines + 2; ++m) {
          const FloatingIpId id{Uuid::derived("fip", family + std::to_string(m))};
          translations_.push_back(model::FloatingIpChange{
              id, model::FloatingIp{.id = id,
                                    .router = core,
                                    .name = "",
                                    .address = outside_address(v6, m),
                                    .inside = *IpAddr::parse(address_text(v6, 2, m))}});
        }
      } else if (kind == Translated::snat) {
        add_snat(core, v6);
      } else {
        add_balancer(v6);
      }
    }
  }
  void add_snat(RouterId core, bool v6) {
    const std::string family = v6 ? "6" : "4";
    const SnatPoolId pool{Uuid::derived("snat", family)};
    const IpAddr address = outside_address(v6, 250);
    translations_.push_back(model::SnatPoolChange{
        pool, model::SnatPool{.id = pool, .router = core, .name = "pool", .addresses = {address}}});
    translations_.push_back(model::PortBlocksChange{
        pool, {{Uuid::derived("block", family), address, uint16_t{16384}, uint16_t{16384}}}});
    const ChainId chain = records_.chain("out");
    model::Rule& rule = records_.rule("snat" + family, chain, v6 ? 2 : 1, model::RuleAction::snat);
    rule.source = IpPrefix::parse(v6 ? "fd00::/16" : "10.0.0.0/8");
    rule.snat_pool = pool;
    records_.routers[core].out_chain = chain;
  }
  // A thousand members: services at several ports of each machine.
  void add_balancer(bool v6) {
    const std::string family = v6 ? "6" : "4";
    const LoadBalancerId lb{Uuid::derived("lb", "lb")};
    const PoolId pool{Uuid::derived("pool", family)};
    const VipId vip{Uuid::derived("vip", family)};
    translations_.push_back(
        model::PoolChange{pool, model::Pool{.id = pool, .load_balancer = lb, .name = "pool"}});
    translations_.push_back(model::VipChange{vip, model::Vip{.id = vip,
                                                             .load_balancer = lb,
                                                             .name = "vip",
                                                             .address = outside_address(v6, 0),
                                                             .protocol = ip_proto::kUdp,
                                                             .port = 53,
                                                             .pool = pool}});
    for (int i = 0; i < 1000; ++i) {
      const PoolMemberId id{Uuid::derived("member", family + std::to_string(i))};
      translations_.push_back(model::PoolMemberChange{
          id, model::PoolMember{.id = id,
                                .pool = pool,
                                .name = "",
                                .address = *IpAddr::parse(address_text(v6, 2, 2 + i % kMachines)),
                                .port = static_cast<uint16_t>(8000 + i)}});
    }
  }

  void add_security(const Filters& filters) {
    const SecurityGroupId group = records_.security_group("machines");
    for (const bool ingress : {true, false}) {
      const std::string way = ingress ? "in" : "out";
      for (uint32_t i = 0; i < filters.allowing; ++i) {
        model::SecurityRule& r = records_.security_rule(way + std::to_string(i), group, ingress);
        const auto port = static_cast<uint16_t>(1000 + i * 13 % 20000);
        r.protocol = i % 2 == 0 ? ip_proto::kTcp : ip_proto::kUdp;
        r.ports = model::PortRange{port, port};
        r.remote_prefix = IpPrefix{IpAddr::v4(0x0b000000u + i * 256), 24};
      }
    }
    model::SecurityRule& in = records_.security_rule("dns", group, true);
    in.protocol = ip_proto::kUdp;
    in.ports = model::PortRange{53, 53};
    in.remote_group = SecurityGroupId{Uuid::derived("security group", "clients")};
    (void)records_.security_group("clients");
    (void)records_.security_rule("all", group, false);
    for (auto& [id, port] : records_.ports)
      if (!port.peer && std::holds_alternative<BridgeId>(port.device))
        port.security_groups = {group};
  }
  /// The machines of the first bridge, and others.
  [[nodiscard]] model::GroupMembersChange members(uint32_t count) const {
    model::GroupMembersChange out{
        SecurityGroupId{Uuid::derived("security group", "clients")}, 9, {}};
    for (const auto& [id, port] : records_.ports)
      if (!port.peer && out.now.size() < count) out.now.push_back({id, port.addresses});
    for (uint32_t i = 0; out.now.size() < count; ++i)
      out.now.push_back(
          {PortId{Uuid::derived("member", std::to_string(i))}, {IpAddr::v4(0x0c000000u + i * 7)}});
    return out;
  }

  TestCloud records_;
  std::vector<model::Change> translations_;
  model::Topology topology_;
  std::shared_ptr<const model::Snapshot> snapshot_;
  std::vector<LocalMachine> local_;
};

const Cloud& cloud_with(const Filters& filters) {
  static std::map<Filters, Cloud> clouds;
  return clouds.try_emplace(filters, filters).first->second;
}

// `begins`: each packet is the first of its connection; else of connections that are known and answered.
void simulate_flows(benchmark::State& bench_state, Way way, bool v6, Filters filters = {},
                    bool begins = false) {
  const MonoTime now = MonoTime{} + std::chrono::seconds(100);
  state::ConnectionTable table({});
  const sim::ConnectionView known{&table};
  const Cloud& cloud = cloud_with(filters);
  const auto frames = cloud.frames(way, v6, filters.translated);
  std::vector<Packet> packets;
  for (const auto& [port, frame] : frames) packets.push_back(packet_of(frame, port));
  Outcome outcome;
  for (const Packet& packet : packets) {
    simulate(packet, cloud.snapshot(), known, now, outcome);
    if (outcome.begins && !begins) {
      // Answered: what is measured is a packet of a connection that is known.
      const auto made = table.commit(outcome.begins->record, now);
      (void)table.saw(made.number, state::Direction::reply, {}, now);
    }
    if ((outcome.verdict != Verdict::forward && way != Way::any_sender) ||
        (!outcome.cacheable && !begins)) {
      bench_state.SkipWithError(
          ("a packet is not forwarded: " + std::string(to_string(outcome.verdict)) + " " +
           std::string(to_string(outcome.reason)))
              .c_str());
      return;
    }
  }
  // How many flows these packets make.
  std::set<std::string> classes, masks;
  for (const Packet& packet : packets) {
    simulate(packet, cloud.snapshot(), known, now, outcome);
    const Match match = match_of(packet.key, outcome.mask);
    classes.insert(std::string(reinterpret_cast<const char*>(&match), sizeof match));
    masks.insert(std::string(reinterpret_cast<const char*>(&match.mask), sizeof match.mask));
  }
  bench_state.counters["classes"] = static_cast<double>(classes.size());
  bench_state.counters["masks"] = static_cast<double>(masks.size());
  size_t next = 0;
  const uint64_t allocated = bench::allocations;
  for (auto _ : bench_state) {
    // As the worker does with what arrives together.
    if (next % kBatch == 0)
      look_ahead(std::span(packets).subspan(next).first(kBatch), cloud.snapshot(), known);
    simulate(packets[next], cloud.snapshot(), known, now, outcome);
    benchmark::DoNotOptimize(outcome);
    if (++next == packets.size()) next = 0;
  }
  bench_state.counters["allocations"] = static_cast<double>(bench::allocations - allocated) /
                                        static_cast<double>(bench_state.iterations());
}

void change_rule(benchmark::State& state) {
  static Cloud cloud({.rules = 10'000});
  bool there = true;
  for (auto _ : state) {
    there = !there;
    benchmark::DoNotOptimize(cloud.change_a_rule(there));
  }
}

void make_topology(benchmark::State& state) {
  for (auto _ : state) {
    const Cloud cloud({.rules = 10'000, .networks = 40'000});
    benchmark::DoNotOptimize(cloud.snapshot());
  }
}

BENCHMARK_CAPTURE(simulate_flows, bridge_ipv4, Way::bridge, false);
BENCHMARK_CAPTURE(simulate_flows, bridge_ipv6, Way::bridge, true);
BENCHMARK_CAPTURE(simulate_flows, bridge_router_bridge_ipv4, Way::bridge_router_bridge, false);
BENCHMARK_CAPTURE(simulate_flows, bridge_router_bridge_ipv6, Way::bridge_router_bridge, true);
BENCHMARK_CAPTURE(simulate_flows, rules_10_ipv4, Way::bridge, false, {.rules = 10});
BENCHMARK_CAPTURE(simulate_flows, rules_1000_ipv4, Way::bridge, false, {.rules = 1'000});
BENCHMARK_CAPTURE(simulate_flows, rules_10000_ipv4, Way::bridge, false, {.rules = 10'000});
BENCHMARK_CAPTURE(simulate_flows, rules_10_ipv6, Way::bridge, true, {.rules = 10});
BENCHMARK_CAPTURE(simulate_flows, rules_10000_ipv6, Way::bridge, true, {.rules = 10'000});
BENCHMARK_CAPTURE(simulate_flows, group_10_ipv4, Way::bridge, false, {.networks = 10});
BENCHMARK_CAPTURE(simulate_flows, group_100000_ipv4, Way::bridge, false, {.networks = 100'000});
BENCHMARK_CAPTURE(simulate_flows, scan_10_rules, Way::any_sender, false, {.rules = 10});
BENCHMARK_CAPTURE(simulate_flows, scan_1000_rules, Way::any_sender, false, {.rules = 1'000});
BENCHMARK_CAPTURE(simulate_flows, scan_10000_rules, Way::any_sender, false, {.rules = 10'000});
BENCHMARK_CAPTURE(simulate_flows, stateful_200_ipv4, Way::bridge_router_bridge, false,
                  {.allowing = 200, .members = 5'000});
BENCHMARK_CAPTURE(simulate_flows, stateful_200_ipv6, Way::bridge_router_bridge, true,
                  {.allowing = 200, .members = 5'000});
constexpr Filters kFloating{.translated = Translated::floating_ip};
constexpr Filters kSnat{.translated = Translated::snat};
constexpr Filters kBalancer{.translated = Translated::load_balancer};
BENCHMARK_CAPTURE(simulate_flows, floating_ip_ipv4, Way::bridge_router_bridge, false, kFloating);
BENCHMARK_CAPTURE(simulate_flows, floating_ip_ipv6, Way::bridge_router_bridge, true, kFloating);
BENCHMARK_CAPTURE(simulate_flows, snat_new_ipv4, Way::bridge_router_bridge, false, kSnat, true);
BENCHMARK_CAPTURE(simulate_flows, snat_new_ipv6, Way::bridge_router_bridge, true, kSnat, true);
BENCHMARK_CAPTURE(simulate_flows, snat_known_ipv4, Way::bridge_router_bridge, false, kSnat);
BENCHMARK_CAPTURE(simulate_flows, balancer_1000_new_ipv4, Way::bridge_router_bridge, false,
                  kBalancer, true);
BENCHMARK_CAPTURE(simulate_flows, balancer_1000_new_ipv6, Way::bridge_router_bridge, true,
                  kBalancer, true);
BENCHMARK_CAPTURE(simulate_flows, balancer_1000_known_ipv4, Way::bridge_router_bridge, false,
                  kBalancer);
BENCHMARK(change_rule);
BENCHMARK(make_topology);

}  // namespace
}  // namespace plexus::sim

BENCHMARK_MAIN();
