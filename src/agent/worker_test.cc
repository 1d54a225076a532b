// SPDX-License-Identifier: Apache-2.0
// The worker over the fake datapath: flows appear, go and are adopted; packets wait and are given up.
#include "agent/worker.h"

#include <gtest/gtest.h>

#include "datapath/fake/fake_datapath.h"
#include "model/topology.h"
#include "packet/text.h"
#include "sim/delta_tags.h"

namespace plexus::agent {
namespace {

using namespace std::chrono_literals;

const HostId kSelf{Uuid::derived("host", "h1")};
const HostId kOther{Uuid::derived("host", "h2")};
const BridgeId kBlue{Uuid::derived("bridge", "blue")};
const BridgeId kGreen{Uuid::derived("bridge", "green")};
const RouterId kCore{Uuid::derived("router", "core")};

PortId port_id(std::string_view name) {
  return PortId{Uuid::derived("port", name)};
}
MacAddr mac(const char* text) {
  return *MacAddr::parse(text);
}
IpAddr ip(const char* text) {
  return *IpAddr::parse(text);
}

Frame frame(std::string_view text) {
  auto made = parse_frame(text);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? *made : Frame{};
}

/// vm1 and vm2 on bridge blue at this host, vm3 on blue at h2; router core between blue and green; vm5 on green at
/// this host, of which nothing is known.
class WorkerTest : public testing::Test {
 protected:
  WorkerTest() : datapath_({.clock = [this] { return now_; }}), worker_(datapath_, options()) {
    for (const char* i : {"tap1", "tap2", "tap5"}) datapath_.add_interface(i);
    bridge(kBlue, {"vm1", "vm2", "vm3", "blue-core"});
    bridge(kGreen, {"vm5", "green-core"});
    model::Router core;
    core.id = kCore;
    core.name = "core";
    core.ports = {port_id("core-blue"), port_id("core-green")};
    pending_.push_back(model::RouterChange{kCore, core});
    machine("vm1", kBlue, "02:00:00:00:00:01", {"10.1.0.1"});
    machine("vm2", kBlue, "02:00:00:00:00:02", {"10.1.0.2"});
    machine("vm3", kBlue, "02:00:00:00:00:03", {"10.1.0.3"});
    machine("vm5", kGreen, nullptr, {});
    link("core-blue", "blue-core", kBlue, "02:00:00:00:01:00", "10.1.0.254/24");
    link("core-green", "green-core", kGreen, "02:00:00:00:02:00", "10.2.0.254/24");
    here("vm1", "tap1", 17);
    here("vm2", "tap2", 18);
    here("vm5", "tap5", 20);
    bind("vm3", kOther, 77);
    pending_.push_back(
        model::HostChange{kOther, model::Host{kOther, "h2", {ip("192.0.2.2")}, {{kBlue, 99}}}});
    EXPECT_TRUE(datapath_.set_tunnel({ip("192.0.2.1"), 4789, {ip("192.0.2.2")}}).ok());
    publish();
  }

  static WorkerOptions options() {
    WorkerOptions o;
    o.max_flows = 100;
    return o;
  }
  void bridge(BridgeId id, std::vector<std::string> ports) {
    model::Bridge b;
    b.id = id;
    b.name = id == kBlue ? "blue" : "green";
    for (const auto& p : ports) b.ports.push_back(port_id(p));
    std::sort(b.ports.begin(), b.ports.end());
    pending_.push_back(model::BridgeChange{id, b});
  }
  void machine(const char* name, BridgeId id, const char* m, std::vector<const char*> addresses) {
    model::Port p;
    p.id = port_id(name);
    p.name = name;
    p.device = id;
    p.wanted_host = kSelf;
    p.interface = std::string("tap-") + name;
    if (m != nullptr) p.mac = mac(m);
    for (const char* a : addresses) p.addresses.push_back(ip(a));
    pending_.push_back(model::PortChange{p.id, p});
  }
  void link(const char* router_port, const char* bridge_port, BridgeId id, const char* m,
            const char* network) {
    model::Port r;
    r.id = port_id(router_port);
    r.name = router_port;
    r.device = kCore;
    r.mac = mac(m);
    r.networks = {*IpPrefix::parse(network)};
    r.peer = port_id(bridge_port);
    model::Port b;
    b.id = port_id(bridge_port);
    b.name = bridge_port;
    b.device = id;
    b.peer = r.id;
    pending_.push_back(model::PortChange{r.id, r});
    pending_.push_back(model::PortChange{b.id, b});
  }
  void bind(const char* name, HostId host, uint32_t key) {
    pending_.push_back(
        model::BindingChange{port_id(name), model::Binding{port_id(name), host, key, 1, true}});
  }
  void here(const char* name, const char* interface, uint32_t number) {
    EXPECT_TRUE(datapath_.add_port({DpPort{number}, interface}).ok());
    pending_.push_back(model::LocalPortChange{port_id(name), number});
    bind(name, kSelf, number);
  }
  void publish() {
    const auto delta = topology_.apply(pending_);
    pending_.clear();
    const auto tags = sim::tags_of(delta);
    worker_.publish(topology_.snapshot(), tags, ++epoch_, now_);
  }
  void learn(const char* router_port, const char* address, const char* m) {
    pending_.push_back(model::NeighboursChange{port_id(router_port),
                                               {{port_id(router_port), ip(address), mac(m)}}});
    publish();
  }
  std::vector<datapath::SentFrame> send(uint32_t port, std::string_view text) {
    datapath_.inject(DpPort{port}, frame(text));
    while (worker_.run_once(now_) > 0) {
    }
    return datapath_.take_sent();
  }
  size_t kernel_flows() { return datapath_.dump_flows()->size(); }

  static constexpr const char* kVm1ToVm2 =
      "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 | ipv4 10.1.0.1 > 10.1.0.2 | udp 1 > 2";
  static constexpr const char* kVm1ToVm3 =
      "eth 02:00:00:00:00:01 > 02:00:00:00:00:03 | ipv4 10.1.0.1 > 10.1.0.3 | udp 1 > 2";
  static constexpr const char* kVm1ToVm5 =
      "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 10.2.0.5 | udp 1 > 2";

  MonoTime now_{1'000'000'000};
  uint64_t epoch_ = 0;
  datapath::FakeDatapath datapath_;
  Worker worker_;
  model::Topology topology_{kSelf};
  std::vector<model::Change> pending_;
};

TEST_F(WorkerTest, TheFirstPacketAsksTheSecondDoesNot) {
  auto sent = send(17, kVm1ToVm2);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<LocalOutput>(sent[0].output).port, DpPort{18});
  EXPECT_EQ(worker_.counters().upcalls, 1u);
  sent = send(17, kVm1ToVm2);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(worker_.counters().upcalls, 1u);
  EXPECT_EQ(datapath_.counters().flow_hits, 1u);
}

TEST_F(WorkerTest, TwoMissesOfOneClassInOneBatchInstallOneFlowAndForwardBoth) {
  datapath_.inject(DpPort{17}, frame(kVm1ToVm2));
  datapath_.inject(DpPort{17}, frame(kVm1ToVm2));
  EXPECT_EQ(worker_.run_once(now_), 2u);
  EXPECT_EQ(datapath_.take_sent().size(), 2u);
  EXPECT_EQ(worker_.counters().installed, 1u);
}

TEST_F(WorkerTest, ABatchIsAsGoodAsItsPacketsOneByOne) {
  // Known and unknown neighbours, requests, drops, several ports, more than one batch of them. The unreachable one makes no flow: its
  // sender is told each time.
  learn("core-green", "10.2.0.7", "02:00:00:00:00:07");
  const std::vector<std::pair<uint32_t, std::string>> packets = {
      {17, kVm1ToVm2},
      {18, "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ipv4 10.1.0.2 > 10.1.0.1 | udp 1 > 2"},
      {17, kVm1ToVm5},
      {17, kVm1ToVm3},
      {17, "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 10.2.0.7 | udp 1 > 2"},
      {17, "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 203.0.113.1 | udp 1 > 2"},
      {17, "eth 02:00:00:00:00:01 > 01:80:c2:00:00:0e type 0x88cc | payload hex 0200"}};
  const auto run = [&](size_t batch) {
    datapath::FakeDatapath datapath({.clock = [this] { return now_; }});
    for (const auto& [number, tap] :
         {std::pair{17u, "tap1"}, std::pair{18u, "tap2"}, std::pair{20u, "tap5"}}) {
      datapath.add_interface(tap);
      EXPECT_TRUE(datapath.add_port({DpPort{number}, tap}).ok());
    }
    EXPECT_TRUE(datapath.set_tunnel({ip("192.0.2.1"), 4789, {ip("192.0.2.2")}}).ok());
    WorkerOptions o = options();
    o.batch = o.batch_of_one_port = batch;
    Worker worker(datapath, o);
    worker.publish(topology_.snapshot(), {}, 1, now_);
    for (int round = 0; round < 30; ++round)
      for (const auto& [port, text] : packets) datapath.inject(DpPort{port}, frame(text));
    while (worker.run_once(now_) > 0) {
    }
    std::vector<std::string> out;
    for (const auto& sent : datapath.take_sent()) {
      const auto* local = std::get_if<LocalOutput>(&sent.output);
      out.push_back((local != nullptr ? std::to_string(local->port.number) : "tunnel") + " " +
                    format_frame(sent.frame));
    }
    std::vector<std::string> flows;
    const auto installed = *datapath.dump_flows();
    for (const auto& entry : installed) flows.push_back(format(entry.flow.actions));
    std::sort(flows.begin(), flows.end());
    out.insert(out.end(), flows.begin(), flows.end());
    out.push_back(std::to_string(worker.counters().installed) + " installed, " +
                  std::to_string(worker.parked()) + " parked, " +
                  std::to_string(worker.counters().forwarded) + " forwarded");
    return out;
  };
  const auto one_by_one = run(1);
  EXPECT_EQ(one_by_one.back(), "5 installed, 8 parked, 120 forwarded");
  for (const size_t batch : {2u, 7u, 64u, 1000u}) EXPECT_EQ(run(batch), one_by_one) << batch;
}

TEST_F(WorkerTest, AFlowThatIsPushedOutWithinItsBatchDoesNotStayInTheDatapath) {
  WorkerOptions o = options();
  o.max_flows = 10;
  o.batch = o.batch_of_one_port = 64;
  Worker small(datapath_, o);
  small.publish(topology_.snapshot(), {}, 1, now_);
  for (int i = 0; i < 60; ++i) {
    char text[160];
    std::snprintf(
        text, sizeof text,
        "eth 02:00:00:00:00:01 > 02:00:00:00:70:%02x | ipv4 10.1.0.1 > 10.1.0.9 | udp 1 > 2", i);
    datapath_.inject(DpPort{17}, frame(text));
  }
  EXPECT_EQ(small.run_once(now_), 60u);
  EXPECT_EQ(small.flows().size(), 10u);
  EXPECT_EQ(kernel_flows(), 10u);
  const auto left = *datapath_.dump_flows();
  for (const auto& entry : left) EXPECT_TRUE(small.flows().find(entry.flow.match).has_value());
}

TEST_F(WorkerTest, TenantsTakeTurns) {
  worker_.set_tenant(DpPort{17}, "acme");
  worker_.set_tenant(DpPort{18}, "acme");
  worker_.set_tenant(DpPort{20}, "other");
  constexpr const char* kFrom[] = {
      kVm1ToVm2, "eth 02:00:00:00:00:02 > 02:00:00:00:00:01 | ipv4 10.1.0.2 > 10.1.0.1 | udp 1 > 2",
      "eth 02:00:00:00:00:05 > 02:00:00:00:02:00 | ipv4 10.2.0.5 > 10.1.0.1 | udp 1 > 2"};
  constexpr uint32_t kPorts[] = {17, 18, 20};
  for (int i = 0; i < 3; ++i)
    for (int n = 0; n < 20; ++n) datapath_.inject(DpPort{kPorts[i]}, frame(kFrom[i]));
  std::map<uint32_t, size_t> got;
  (void)datapath_.receive(8, [&](datapath::Upcall&& u) { ++got[u.in_port.number]; });
  EXPECT_EQ(got, (std::map<uint32_t, size_t>{{17, 2}, {18, 2}, {20, 4}}));
}

TEST_F(WorkerTest, AnExpiredFlowThatIsStillThereFollowsAChange) {
  WorkerOptions o = options();
  o.flows_beside = 1;  // so that some are still in the datapath
  Worker slow(datapath_, o);
  slow.publish(topology_.snapshot(), {}, 1, now_);
  for (const char* text : {kVm1ToVm2, kVm1ToVm3}) datapath_.inject(DpPort{17}, frame(text));
  (void)slow.run_once(now_);
  (void)datapath_.take_sent();
  now_ = now_ + 120s;
  slow.tick(now_);
  EXPECT_EQ(slow.counters().expired, 1u);
  EXPECT_TRUE(slow.busy());
  EXPECT_EQ(kernel_flows(), 1u);
  bind("vm3", kOther, 78);
  const auto delta = topology_.apply(pending_);
  pending_.clear();
  slow.publish(topology_.snapshot(), sim::tags_of(delta), 2, now_);
  ASSERT_EQ(kernel_flows(), 1u);
  EXPECT_EQ(slow.counters().renewed, 1u);
  const auto left = datapath_.dump_flows();
  EXPECT_EQ(std::get<TunnelOutput>(left->front().flow.actions.copies.at(0).output).key, 78u);
  while (slow.busy()) (void)slow.run_once(now_);
  EXPECT_EQ(kernel_flows(), 0u);
  EXPECT_EQ(slow.counters().expired, 2u);
}

TEST_F(WorkerTest, ExpiredFlowsLeaveBothTablesTogetherAndNoSlowerThanNewOnesCome) {
  WorkerOptions o = options();
  o.flows_beside = 1;
  Worker slow(datapath_, o);
  slow.publish(topology_.snapshot(), {}, 1, now_);
  const auto flood = [&](int first, int count) {
    for (int i = first; i < first + count; ++i)
      datapath_.inject(DpPort{17},
                       frame("eth 02:00:00:00:00:01 > 02:00:00:00:7" + std::to_string(i / 100) +
                             ":" + std::to_string(i / 10 % 10) + std::to_string(i % 10) +
                             " | ipv4 10.1.0.1 > 10.1.0.9 | udp 1 > 2"));
  };
  flood(0, 90);
  while (slow.run_once(now_) > 0) {
  }
  ASSERT_EQ(kernel_flows(), 90u);
  now_ = now_ + 120s;
  slow.tick(now_);
  while (slow.counters().expired == 0) (void)slow.run_once(now_);
  flood(100, 40);
  for (int batch = 0; batch < 5; ++batch) {
    const size_t before = kernel_flows();
    EXPECT_EQ(slow.run_once(now_), 8u);
    EXPECT_EQ(kernel_flows(), slow.flows().size());
    EXPECT_EQ(kernel_flows(), before) << "as many go as come, and no more";
  }
  EXPECT_EQ(slow.counters().evicted, 0u);
  EXPECT_TRUE(slow.busy());
  // A change does not wait for what has expired.
  const size_t before = kernel_flows();
  slow.publish(topology_.snapshot(), {}, 2, now_);
  EXPECT_EQ(kernel_flows(), before);
  while (slow.busy()) (void)slow.run_once(now_);
  EXPECT_EQ(kernel_flows(), 40u);
  EXPECT_EQ(slow.counters().expired, 90u);
}

TEST_F(WorkerTest, ALongRoundOfStatisticsExpiresNothingThatWasInUseWhenItBegan) {
  WorkerOptions o = options();
  o.flows_beside = 1;
  Worker slow(datapath_, o);
  slow.publish(topology_.snapshot(), {}, 1, now_);
  for (const char* text : {kVm1ToVm2, kVm1ToVm3}) datapath_.inject(DpPort{17}, frame(text));
  (void)slow.run_once(now_);
  now_ = now_ + 90s;
  datapath_.inject(DpPort{17}, frame("eth 02:00:00:00:00:01 > 01:80:c2:00:00:0e type 0x88cc | "
                                     "payload hex 0200"));
  (void)slow.run_once(now_);
  ASSERT_EQ(kernel_flows(), 3u);
  slow.tick(now_);
  ASSERT_TRUE(slow.busy());
  now_ = now_ + 120s;
  while (slow.busy()) (void)slow.run_once(now_);
  EXPECT_EQ(slow.counters().expired, 2u);
  EXPECT_EQ(kernel_flows(), 1u);
}

TEST_F(WorkerTest, AMovedPortGivesItsFlowsTheirNewAnswerInPlaceAndNoOthers) {
  (void)send(17, kVm1ToVm2);
  auto sent = send(17, kVm1ToVm3);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<TunnelOutput>(sent[0].output), (TunnelOutput{ip("192.0.2.2"), 77}));
  sent = send(17, kVm1ToVm3);
  ASSERT_EQ(kernel_flows(), 2u);
  const uint64_t asked = worker_.counters().upcalls;
  bind("vm3", kOther, 78);
  publish();
  EXPECT_EQ(kernel_flows(), 2u);
  EXPECT_EQ(worker_.counters().renewed, 1u);
  EXPECT_EQ(worker_.counters().invalidated, 0u);
  sent = send(17, kVm1ToVm3);
  ASSERT_EQ(sent.size(), 1u) << "no packet is lost";
  EXPECT_EQ(std::get<TunnelOutput>(sent[0].output).key, 78u);
  EXPECT_EQ(worker_.counters().upcalls, asked) << "nor does one ask";
  const auto all = *datapath_.dump_flows();
  for (const auto& entry : all) {
    if (std::holds_alternative<TunnelOutput>(entry.flow.actions.copies[0].output)) {
      EXPECT_EQ(entry.stats.packets, 2u) << "statistics go on";
    }
  }
  // The flow depends on what its new answer read.
  bind("vm3", kOther, 79);
  publish();
  sent = send(17, kVm1ToVm3);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(std::get<TunnelOutput>(sent[0].output).key, 79u);
  EXPECT_EQ(worker_.counters().upcalls, asked);
}

TEST_F(WorkerTest, ANeighboursNewMacIsInItsFlowsAtOnce) {
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  (void)send(17, kVm1ToVm5);
  ASSERT_EQ(kernel_flows(), 1u);
  const uint64_t asked = worker_.counters().upcalls;
  learn("core-green", "10.2.0.5", "02:00:00:00:00:55");
  const auto sent = send(17, kVm1ToVm5);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(parse_packet(sent[0].frame).key.dst_mac(), mac("02:00:00:00:00:55"));
  EXPECT_EQ(worker_.counters().upcalls, asked);
}

TEST_F(WorkerTest, AChangeThatDoesNotChangeTheAnswerLeavesTheFlowAlone) {
  (void)send(17, kVm1ToVm3);
  const auto before = *datapath_.dump_flows();
  ASSERT_EQ(before.size(), 1u);
  pending_.push_back(
      model::HostChange{kOther, model::Host{kOther, "renamed", {ip("192.0.2.2")}, {{kBlue, 99}}}});
  publish();
  const auto after = *datapath_.dump_flows();
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].flow.cookie, before[0].flow.cookie);
  EXPECT_EQ(worker_.counters().invalidated, 0u);
}

TEST_F(WorkerTest, AFlowThatLeftTheDatapathIsNotTakenForOneThatIsThere) {
  (void)send(17, kVm1ToVm3);
  EXPECT_TRUE(datapath_.remove_flow((*datapath_.dump_flows())[0].flow.match).ok());
  bind("vm3", kOther, 78);
  publish();
  EXPECT_EQ(worker_.flows().size(), 0u);
  (void)send(17, kVm1ToVm3);
  EXPECT_EQ(kernel_flows(), 1u);
}

TEST_F(WorkerTest, OnlySoManyFlowsAreRenewedTheLastUsedFirst) {
  constexpr const char* kVm2ToVm3 =
      "eth 02:00:00:00:00:02 > 02:00:00:00:00:03 | ipv4 10.1.0.2 > 10.1.0.3 | udp 1 > 2";
  auto few = options();
  few.max_renewed = 1;
  Worker worker(datapath_, few);
  worker.publish(topology_.snapshot(), {}, 1, now_);
  for (const auto& [port, text] : {std::pair(17u, kVm1ToVm3), {18u, kVm2ToVm3}}) {
    datapath_.inject(DpPort{port}, frame(text));
    worker.run_once(now_);
    now_ = now_ + 1s;
  }
  datapath_.inject(DpPort{17}, frame(kVm1ToVm3));
  worker.tick(now_);  // vm1's flow was used last
  ASSERT_EQ(worker.flows().size(), 2u);
  bind("vm3", kOther, 78);
  const auto delta = topology_.apply(pending_);
  pending_.clear();
  worker.publish(topology_.snapshot(), sim::tags_of(delta), 2, now_);
  EXPECT_EQ(worker.counters().renewed, 1u);
  EXPECT_EQ(worker.counters().invalidated, 1u);
  const auto left = *datapath_.dump_flows();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].flow.match.key.in_port, 17u);
  EXPECT_EQ(std::get<TunnelOutput>(left[0].flow.actions.copies[0].output).key, 78u);
}

TEST_F(WorkerTest, AFlowWithTrafficSurvivesAFloodBetweenTwoRoundsOfStatistics) {
  (void)send(17, kVm1ToVm2);
  for (int i = 0; i < 1000; ++i) {
    now_ = now_ + 1ms;
    char text[160];
    std::snprintf(text, sizeof text,
                  "eth 02:00:00:00:00:01 > 02:00:00:00:%02x:%02x | ipv4 10.1.0.1 > 10.1.0.9 | udp "
                  "1 > 2",
                  0x70 + i / 256, i % 256);
    (void)send(17, text);
    if (i % 10 == 0) (void)send(17, kVm1ToVm2);
  }
  EXPECT_EQ(kernel_flows(), 100u);
  EXPECT_EQ(worker_.counters().upcalls, 1001u) << "the busy flow never asked again";
  EXPECT_EQ(worker_.counters().evicted, 901u);
}

TEST_F(WorkerTest, AnUnknownNeighbourIsAskedForOnceAndAllPacketsWait) {
  auto sent = send(17, kVm1ToVm5);
  ASSERT_EQ(sent.size(), 1u) << "the ARP request";
  EXPECT_EQ(std::get<LocalOutput>(sent[0].output).port, DpPort{20});
  EXPECT_TRUE(parse_packet(sent[0].frame).key.is_arp());
  EXPECT_TRUE(send(17, kVm1ToVm5).empty()) << "asked already";
  EXPECT_EQ(worker_.parked(), 2u);
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  sent = datapath_.take_sent();
  ASSERT_EQ(sent.size(), 2u);
  for (const auto& s : sent) {
    EXPECT_EQ(parse_packet(s.frame).key.dst_mac(), mac("02:00:00:00:00:05"));
    EXPECT_EQ(parse_packet(s.frame).key.ip_ttl, 63);
  }
  EXPECT_EQ(worker_.parked(), 0u);
}

TEST_F(WorkerTest, AnArpReplyIsReportedAsLearned) {
  (void)send(17, kVm1ToVm5);
  datapath_.inject(DpPort{20}, arp_reply(mac("02:00:00:00:00:05"), ip("10.2.0.5"),
                                         mac("02:00:00:00:02:00"), ip("10.2.0.254")));
  worker_.run_once(now_);
  const auto writes = worker_.take_writes();
  ASSERT_EQ(writes.size(), 2u);
  EXPECT_EQ(std::get<sim::MacLearned>(writes[0]),
            (sim::MacLearned{kGreen, port_id("vm5"), mac("02:00:00:00:00:05")}));
  EXPECT_EQ(std::get<sim::NeighbourLearned>(writes[1]),
            (sim::NeighbourLearned{port_id("core-green"), ip("10.2.0.5"), mac("02:00:00:00:00:05"),
                                   port_id("vm5")}));
}

TEST_F(WorkerTest, ASilentNeighbourIsAskedThreeTimesThenThePacketIsDropped) {
  size_t requests = send(17, kVm1ToVm5).size(), errors = 0;
  for (int i = 0; i < 5; ++i) {
    now_ = now_ + 1s;
    worker_.tick(now_);
    for (const auto& sent : datapath_.take_sent()) {
      const FlowKey key = parse_packet(sent.frame).key;
      key.is_arp() ? ++requests : ++errors;
      if (!key.is_arp()) {
        EXPECT_EQ(std::get<LocalOutput>(sent.output).port, DpPort{17}) << "to the sender";
        EXPECT_EQ(key.ip_proto, ip_proto::kIcmp);
      }
    }
  }
  EXPECT_EQ(requests, 3u);
  EXPECT_EQ(errors, 1u) << "host unreachable";
  EXPECT_EQ(worker_.parked(), 0u);
  EXPECT_EQ(worker_.counters().drops.at(sim::DropReason::neighbour_unresolved), 1u);
}

TEST_F(WorkerTest, WhatFindsNoPlaceToWaitIsAskedForOnceASecond) {
  std::map<std::string, size_t> asked;
  const auto count = [&](const std::vector<datapath::SentFrame>& all) {
    for (const auto& sent : all) {
      const FlowKey key = parse_packet(sent.frame).key;
      if (key.is_arp()) ++asked[key.dst_ip().str()];
    }
  };
  const auto to = [](unsigned last, size_t payload) {
    return "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 10.2.0." +
           std::to_string(last) + " | udp 1 > 2 | payload " + std::to_string(payload) + " bytes";
  };
  for (unsigned n = 100; n < 200; ++n) count(send(17, to(n, 8)));
  EXPECT_EQ(worker_.parked(), 64u);
  EXPECT_EQ(asked.size(), 100u);
  // Those that were pushed out come again at once.
  for (int again = 0; again < 5; ++again)
    for (unsigned n = 100; n < 200; ++n) count(send(17, to(n, 8)));
  for (const auto& [address, times] : asked) EXPECT_EQ(times, 1u) << address;
  now_ = now_ + 1s;
  for (unsigned n = 100; n < 200; ++n) count(send(17, to(n, 8)));
  for (const auto& [address, times] : asked) EXPECT_LE(times, 2u) << address;
}

TEST_F(WorkerTest, AStreamToASilentNeighbourNeitherFillsMemoryNorWaitsForEver) {
  for (int second = 0; second < 6; ++second) {
    for (int i = 0; i < 100; ++i) (void)send(17, kVm1ToVm5);
    EXPECT_LE(worker_.parked(), 8u);
    now_ = now_ + 1s;
    worker_.tick(now_);
  }
  EXPECT_GE(worker_.counters().drops.at(sim::DropReason::neighbour_unresolved), 8u);
  EXPECT_GE(worker_.counters().drops.at(sim::DropReason::too_many_waiting), 400u);
}

/// Fragments of UDP from vm1 to vm5, each of 16 bytes: the first one with the ports 1 and `port`.
std::string fragment_to_vm5(unsigned n, unsigned id = 7, unsigned port = 2) {
  const std::string head =
      "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 10.2.0.5 id " +
      std::to_string(id) + " frag off " + std::to_string(16 * n) + " more";
  if (n == 0) return head + " | udp 1 > " + std::to_string(port) + " len 900 | payload 8 bytes";
  return head + " proto 17 | payload 16 bytes";
}

TEST_F(WorkerTest, AllFragmentsOfAPacketWaitForTheNeighbourBehindTheFirst) {
  // More than wait for the same otherwise.
  constexpr unsigned kAll = 20;
  for (unsigned n = 0; n < kAll; ++n) (void)send(17, fragment_to_vm5(n));
  EXPECT_EQ(worker_.parked(), kAll);
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  const auto sent = datapath_.take_sent();
  ASSERT_EQ(sent.size(), kAll);
  for (unsigned n = 0; n < kAll; ++n)
    EXPECT_EQ(sent[n].frame[14 + 7], 2 * n) << "the first one first, and all in their order";
  EXPECT_EQ(worker_.parked(), 0u);
}

TEST_F(WorkerTest, FragmentsOfASilentNeighbourAreGivenUpWithTheFirst) {
  size_t errors = 0;
  for (unsigned n = 0; n < 4; ++n) (void)send(17, fragment_to_vm5(n));
  for (int i = 0; i < 3; ++i) {
    now_ = now_ + 1s;
    worker_.tick(now_);
    for (const auto& sent : datapath_.take_sent())
      errors += parse_packet(sent.frame).key.is_arp() ? 0u : 1u;
  }
  EXPECT_EQ(worker_.parked(), 0u);
  EXPECT_EQ(worker_.counters().drops.at(sim::DropReason::neighbour_unresolved), 4u);
  EXPECT_EQ(errors, 1u) << "about the first";
}

/// vm1 may send UDP to port 2, and nothing else: of later fragments the rule says nothing.
class FragmentsTest : public WorkerTest {
 protected:
  FragmentsTest() {
    const ChainId chain{Uuid::derived("chain", "door")};
    pending_.push_back(model::ChainChange{
        chain, model::Chain{.id = chain, .name = "door", .unreadable = false, .rules = {}}});
    const auto rule = [&](const char* name, uint32_t position, model::RuleAction action) {
      model::Rule r;
      r.id = RuleId{Uuid::derived("rule", name)};
      r.chain = chain;
      r.position = position;
      r.action = action;
      return r;
    };
    model::Rule names = rule("names", 1, model::RuleAction::accept);
    names.protocol = ip_proto::kUdp;
    names.destination_ports = {{2, 2}};
    pending_.push_back(model::RuleChange{names.id, names});
    const model::Rule rest = rule("rest", 2, model::RuleAction::drop);
    pending_.push_back(model::RuleChange{rest.id, rest});
    model::Port vm1 = *topology_.snapshot()->port(port_id("vm1"));
    vm1.in_chain = chain;
    pending_.push_back(model::PortChange{vm1.id, vm1});
    publish();
  }
  /// As they come, in one batch.
  std::vector<unsigned> send_all(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) datapath_.inject(DpPort{17}, frame(text));
    while (worker_.run_once(now_) > 0) {
    }
    return sent();
  }
  /// Which fragments have left, in their order.
  std::vector<unsigned> sent() {
    std::vector<unsigned> out;
    for (const auto& one : datapath_.take_sent())
      if (!parse_packet(one.frame).key.is_arp()) out.push_back(one.frame[14 + 7] / 2u);
    return out;
  }
  uint64_t drops(sim::DropReason reason) {
    const auto at = worker_.counters().drops.find(reason);
    return at == worker_.counters().drops.end() ? 0 : at->second;
  }
  using All = std::vector<unsigned>;
};

TEST_F(FragmentsTest, ThoseThatWouldBeRefusedByThemselvesWaitBehindTheFirst) {
  EXPECT_EQ(send_all({fragment_to_vm5(0), fragment_to_vm5(1), fragment_to_vm5(2)}), All{});
  EXPECT_EQ(worker_.parked(), 3u);
  // Something else changes: all go on waiting.
  learn("core-green", "10.2.0.9", "02:00:00:00:00:09");
  EXPECT_EQ(worker_.parked(), 3u);
  EXPECT_EQ(send_all({fragment_to_vm5(3)}), All{});
  now_ = now_ + 1s;
  worker_.tick(now_);
  EXPECT_EQ(send_all({fragment_to_vm5(4)}), All{});
  EXPECT_EQ(worker_.parked(), 5u);
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  EXPECT_EQ(sent(), (All{0, 1, 2, 3, 4}));
  EXPECT_EQ(send_all({fragment_to_vm5(5)}), All{5});
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 0u);
}

TEST_F(FragmentsTest, WhatIsPushedOutTakesThoseBehindItAlong) {
  // Eight packets wait for one neighbour; the ninth pushes out the oldest, and its fragments.
  (void)send_all({fragment_to_vm5(0), fragment_to_vm5(1), fragment_to_vm5(2)});
  for (unsigned id = 100; id < 108; ++id) (void)send_all({fragment_to_vm5(0, id)});
  EXPECT_EQ(worker_.parked(), 8u);
  EXPECT_EQ(drops(sim::DropReason::too_many_waiting), 3u);
  (void)send_all({fragment_to_vm5(3)});
  EXPECT_EQ(drops(sim::DropReason::too_many_waiting), 4u) << "of no use without its first";
  EXPECT_EQ(worker_.parked(), 8u);
}

TEST_F(FragmentsTest, ThoseThatComeLateToASilentNeighbourAreGivenUpLikeTheFirst) {
  (void)send_all({fragment_to_vm5(0)});
  for (int i = 0; i < 3; ++i) {
    now_ = now_ + 1s;
    worker_.tick(now_);
  }
  EXPECT_EQ(drops(sim::DropReason::neighbour_unresolved), 1u);
  (void)send_all({fragment_to_vm5(1)});
  EXPECT_EQ(drops(sim::DropReason::neighbour_unresolved), 2u);
}

TEST_F(FragmentsTest, OneThatOvertakesItsFirstWaitsAMoment) {
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  EXPECT_EQ(
      send_all({fragment_to_vm5(1), fragment_to_vm5(2), fragment_to_vm5(0), fragment_to_vm5(3)}),
      (All{0, 1, 2, 3}));
  EXPECT_EQ(worker_.early(), 0u);
  EXPECT_EQ(worker_.counters().fragments_early, 2u);
  // In another batch, too; those of the others wait on.
  EXPECT_EQ(send_all({fragment_to_vm5(1, 8), fragment_to_vm5(1, 9)}), All{});
  EXPECT_EQ(send_all({fragment_to_vm5(0, 8)}), (All{0, 1}));
  EXPECT_EQ(worker_.early(), 1u);
  EXPECT_EQ(worker_.next_due(), now_ + EarlyFragments::kWait);
  now_ = now_ + EarlyFragments::kWait;
  EXPECT_EQ(send_all({}), All{});
  EXPECT_EQ(worker_.early(), 0u);
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 1u) << "by itself";
  // What the first one is refused for, the others are.
  EXPECT_EQ(send_all({fragment_to_vm5(1, 10), fragment_to_vm5(0, 10, 3)}), All{});
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 3u);
}

TEST_F(FragmentsTest, OneThatOvertakesItsFirstWaitsHoweverManyWaitInVain) {
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  for (unsigned i = 0; i < EarlyFragments::kPackets; ++i)
    (void)send_all({fragment_to_vm5(1, 1000 + i)});
  EXPECT_EQ(worker_.early(), EarlyFragments::kPackets);
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 0u);
  EXPECT_EQ(send_all({fragment_to_vm5(1), fragment_to_vm5(2)}), All{});
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 2u) << "as when their time has come";
  EXPECT_EQ(send_all({fragment_to_vm5(0)}), (All{0, 1, 2}));
  EXPECT_EQ(send_all({fragment_to_vm5(0, 1002)}), (All{0, 1}));
}

TEST_F(FragmentsTest, OneThatOvertakesItsFirstWaitsAlsoWhenItsIdentificationWasUsedBeforeAChange) {
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  EXPECT_EQ(send_all({fragment_to_vm5(0), fragment_to_vm5(1)}), (All{0, 1}));
  learn("core-green", "10.2.0.5", "02:00:00:00:00:06");
  EXPECT_EQ(send_all({fragment_to_vm5(1), fragment_to_vm5(0)}), (All{0, 1}));
  EXPECT_EQ(drops(sim::DropReason::filtered_by_rule), 0u);
}

TEST_F(FragmentsTest, OneThatOvertakesAFirstThatWaitsWaitsWithIt) {
  EXPECT_EQ(send_all({fragment_to_vm5(1), fragment_to_vm5(0)}), All{});
  EXPECT_EQ(worker_.parked(), 2u);
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  EXPECT_EQ(sent(), (All{0, 1}));
}

TEST_F(FragmentsTest, ThoseOfAFirstThatIsHeldAreHeldBehindIt) {
  // Connections: the host of vm3 has to know of one before its first packet goes.
  const auto bit = [](model::ConnectionCondition c) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(c));
  };
  model::Rule names = *topology_.snapshot()->rule(RuleId{Uuid::derived("rule", "names")});
  names.destination_ports.clear();
  names.connection = static_cast<uint8_t>(bit(model::ConnectionCondition::new_) |
                                          bit(model::ConnectionCondition::established));
  pending_.push_back(model::RuleChange{names.id, names});
  publish();
  const auto to_vm3 = [](unsigned n) {
    std::string text = fragment_to_vm5(n);
    text.replace(text.find("01:00"), 5, "00:03");
    return text.replace(text.find("10.2.0.5"), 8, "10.1.0.3");
  };
  EXPECT_EQ(send_all({to_vm3(0), to_vm3(1), to_vm3(2)}), All{});
  EXPECT_EQ(worker_.held(), 3u);
  now_ = now_ + ConnectionOptions{}.hold;
  EXPECT_EQ(send_all({}), (All{0, 1, 2}));
  EXPECT_EQ(send_all({to_vm3(3)}), All{3}) << "nobody waits any more";
}

TEST_F(WorkerTest, APacketThatWaitsIsLoggedOnceWhenItGoes) {
  model::Chain chain;
  chain.id = ChainId{Uuid::derived("chain", "heard")};
  chain.name = "heard";
  model::Rule rule;
  rule.id = RuleId{Uuid::derived("rule", "new")};
  rule.name = "new";
  rule.chain = chain.id;
  rule.position = 1;
  rule.action = model::RuleAction::accept;
  rule.log = true;
  model::Rule asks = rule;  // for the state of connections, so that they are held for other hosts
  asks.id = RuleId{Uuid::derived("rule", "asks")};
  asks.position = 2;
  asks.log = false;
  asks.connection =
      static_cast<uint8_t>(1u << static_cast<unsigned>(model::ConnectionCondition::established));
  model::Port vm1 = *topology_.snapshot()->port(port_id("vm1"));
  vm1.in_chain = chain.id;
  pending_ = {model::ChainChange{chain.id, chain}, model::RuleChange{rule.id, rule},
              model::RuleChange{asks.id, asks}, model::PortChange{vm1.id, vm1}};
  publish();
  const auto lines_of = [&](const auto& happens) {
    testing::internal::CaptureStderr();
    happens();
    const std::string log = testing::internal::GetCapturedStderr();
    size_t lines = 0;
    for (size_t at = 0; (at = log.find("chain heard rule new", at)) != std::string::npos; ++at)
      ++lines;
    return lines;
  };
  // For the host where the answer enters.
  EXPECT_EQ(lines_of([&] { EXPECT_TRUE(send(17, kVm1ToVm3).empty()); }), 0u);
  ASSERT_EQ(worker_.held(), 1u);
  now_ = now_ + ConnectionOptions{}.hold;
  EXPECT_EQ(lines_of([&] {
              (void)worker_.run_once(now_);
              EXPECT_EQ(datapath_.take_sent().size(), 1u);
            }),
            1u);
  // For a neighbour.
  EXPECT_EQ(lines_of([&] { (void)send(17, kVm1ToVm5); }), 0u);
  ASSERT_EQ(worker_.parked(), 1u);
  EXPECT_EQ(lines_of([&] {
              learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
              (void)worker_.run_once(now_);
            }),
            1u);
}

TEST_F(WorkerTest, IdleFlowsExpireUsedOnesStay) {
  (void)send(17, kVm1ToVm2);
  (void)send(17, kVm1ToVm3);
  for (int i = 0; i < 90; ++i) {
    now_ = now_ + 1s;
    (void)send(17, kVm1ToVm2);
    worker_.tick(now_);
  }
  EXPECT_EQ(kernel_flows(), 1u);
  EXPECT_EQ(worker_.counters().expired, 1u);
}

TEST_F(WorkerTest, TheFlowLimitEvictsWhatWasUnusedLongest) {
  for (int i = 0; i < 150; ++i) {
    now_ = now_ + 1ms;
    const std::string text = "eth 02:00:00:00:00:01 > 02:00:00:00:7" + std::to_string(i / 100) +
                             ":" + std::to_string(i / 10 % 10) + std::to_string(i % 10) +
                             " | ipv4 10.1.0.1 > 10.1.0.9 | udp 1 > 2";
    (void)send(17, text);
  }
  EXPECT_EQ(kernel_flows(), 100u);
  EXPECT_EQ(worker_.counters().evicted, 50u);
}

TEST_F(WorkerTest, PacketsThatAFlowDropsCountUnderItsReason) {
  const char* kHole = "eth 02:00:00:00:00:01 > 01:80:c2:00:00:0e type 0x88cc | payload hex 0200";
  for (int i = 0; i < 10; ++i) (void)send(17, kHole);
  worker_.tick(now_);
  EXPECT_EQ(worker_.counters().upcalls, 1u);
  EXPECT_EQ(worker_.counters().drops.at(sim::DropReason::reserved_multicast), 10u);
  for (int i = 0; i < 5; ++i) (void)send(17, kHole);
  now_ = now_ + 90s;
  worker_.tick(now_);
  worker_.tick(now_ + 90s);
  EXPECT_EQ(kernel_flows(), 0u);
  EXPECT_EQ(worker_.counters().drops.at(sim::DropReason::reserved_multicast), 15u);
}

TEST_F(WorkerTest, MalformedFramesAreCountedByReason) {
  const Frame whole = frame(kVm1ToVm2);
  for (size_t size = 0; size < whole.size(); ++size) {
    datapath_.inject(DpPort{17}, std::span(whole).first(size));
    worker_.run_once(now_);
  }
  EXPECT_TRUE(datapath_.take_sent().empty());
  EXPECT_EQ(kernel_flows(), 0u);
}

TEST_F(WorkerTest, ANewWorkerAdoptsWhatIsStillRightAndRemovesTheRest) {
  (void)send(17, kVm1ToVm2);
  (void)send(17, kVm1ToVm3);
  learn("core-green", "10.2.0.5", "02:00:00:00:00:05");
  (void)send(17, kVm1ToVm5);
  (void)send(17,
             "eth 02:00:00:00:00:01 > 02:00:00:00:01:00 | ipv4 10.1.0.1 > 203.0.113.1 | udp 1 > 2");
  const size_t before = kernel_flows();
  bind("vm3", kOther, 78);
  const auto delta = topology_.apply(pending_);
  pending_.clear();
  (void)delta;
  Worker next(datapath_, options());
  next.publish(topology_.snapshot(), {}, 1, now_);
  next.adopt(now_);
  EXPECT_EQ(kernel_flows(), before - 1) << "the flow to vm3's old key goes";
  EXPECT_EQ(next.flows().size(), before - 1);
  // Adopted flows keep their dependencies: a change touches them.
  pending_.push_back(model::BindingChange{port_id("vm2"), std::nullopt});
  const auto gone = topology_.apply(pending_);
  next.publish(topology_.snapshot(), sim::tags_of(gone), 2, now_);
  EXPECT_EQ(next.counters().renewed + next.counters().invalidated, 1u);
}

}  // namespace
}  // namespace plexus::agent
