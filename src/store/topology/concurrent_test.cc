// SPDX-License-Identifier: Apache-2.0
// Several processes of several threads do whatever comes to their mind to one topology, one of them
// is killed again and again, a host follows its closure: the topology is whole at the end, and the
// follower knows what one who comes fresh reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <mutex>
#include <random>
#include <thread>

#include "store/topology/followed_closure.h"
#include "store/topology/host_records.h"
#include "store/topology/topology_fixture.h"

namespace plexus::store {
namespace {

const Uuid kHosts[] = {Uuid::derived("host", "a"), Uuid::derived("host", "b"),
                       Uuid::derived("host", "c")};

/// One thread of one process.
class Rover {
 public:
  Rover(Store& store, unsigned seed) : store_(store), writer_(store), random_(seed) {}

  /// One random operation; what must never happen ends up in trouble().
  void step() {
    constexpr std::array kOperations = {
        &Rover::create_device, &Rover::create_port,  &Rover::create_port,   &Rover::create_route,
        &Rover::create_route,  &Rover::change_port,  &Rover::change_port,   &Rover::link_port,
        &Rover::link_port,     &Rover::remove_port,  &Rover::remove_device, &Rover::remove_route,
        &Rover::register_host, &Rover::publish_port, &Rover::publish_port,  &Rover::learn,
        &Rover::rename_device, &Rover::remove_host,
    };
    (this->*kOperations[pick(kOperations.size())])();
  }
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] int successes() const { return successes_; }

 private:
  size_t pick(size_t below) { return random_() % below; }
  std::string name() { return "n" + std::to_string(pick(12)); }

  template <typename R>
  void outcome(const char* what, const R& result) {
    if (result.ok()) {
      ++successes_;
      return;
    }
    switch (result.error().code) {
      case ErrorCode::invalid:    // what it refers to is gone
      case ErrorCode::exists:     // a name, a MAC, a network is taken
      case ErrorCode::in_use:     // somebody refers to it
      case ErrorCode::not_found:  // somebody removed it
      case ErrorCode::conflict:   // somebody changed it
        return;
      default:
        if (trouble_.empty()) trouble_ = std::string(what) + ": " + result.error().message;
    }
  }

  /// Any resource of the type, or nothing.
  template <typename M>
  std::optional<M> any() {
    auto all = writer_.list(*M::descriptor());
    outcome("list", all);
    if (!all.ok() || all->empty()) return std::nullopt;
    return static_cast<const M&>(*(*all)[pick(all->size())].message);
  }
  template <typename M>
  void remove_any(const char* what) {
    if (auto m = any<M>()) outcome(what, writer_.remove(*M::descriptor(), id_of(*m)));
  }
  IpPrefix network() {
    const auto low = static_cast<uint32_t>(pick(40));
    return {IpAddr::v4(0x0a000001 + (low << 8)), static_cast<uint8_t>(pick(3) == 0 ? 16 : 24)};
  }
  MacAddr mac() { return {{2, 0, 0, 0, 0, static_cast<uint8_t>(pick(30))}}; }

  void plug(v1::Port& port) {
    port.clear_peer();
    port.set_host(kHosts[pick(3)].raw());
    port.set_interface("tap" + std::to_string(pick(8)));
  }

  void create_device() {
    if (pick(2) == 0) {
      v1::Bridge bridge;
      bridge.set_name(name());
      outcome("create bridge", writer_.create(bridge));
    } else {
      v1::Router router;
      router.set_name(name());
      outcome("create router", writer_.create(router));
    }
  }
  void create_port() {
    v1::Port port;
    port.set_name("p" + std::to_string(pick(60)));
    if (pick(2) == 0) {
      const auto bridge = any<v1::Bridge>();
      if (!bridge) return;
      port.set_bridge(bridge->id());
      if (pick(2) == 0) port.set_mac(mac().raw());
      if (pick(2) == 0) port.add_addresses(network().addr.raw());
      if (pick(2) == 0) plug(port);
    } else {
      const auto router = any<v1::Router>();
      if (!router) return;
      port.set_router(router->id());
      port.add_networks(network().raw());
      if (pick(4) == 0) port.set_mac(mac().raw());
    }
    outcome("create port", writer_.create(port));
  }
  void create_route() {
    const auto port = any<v1::Port>();
    if (!port || !port->has_router()) return;
    v1::Route route;
    if (pick(2) == 0) route.set_name(name());
    route.set_router(port->router());
    route.set_destination(network().network().raw());
    route.set_port(port->id());
    if (port->networks_size() > 0 && pick(2) == 0) {
      auto hop = *IpPrefix::from_bytes(port->networks(0));
      hop.addr.bytes[3] = static_cast<uint8_t>(hop.addr.bytes[3] + 7);
      route.set_next_hop(hop.addr.raw());
    }
    outcome("create route", writer_.create(route));
  }
  void change_port() {
    const auto port = any<v1::Port>();
    if (!port) return;
    outcome("change port", writer_.modify(*v1::Port::descriptor(), id_of(*port),
                                          [&](google::protobuf::Message& message) -> Result<void> {
                                            auto& p = static_cast<v1::Port&>(message);
                                            switch (pick(5)) {
                                              case 0:
                                                p.set_name("p" + std::to_string(pick(60)));
                                                break;
                                              case 1:
                                                p.set_mac(mac().raw());
                                                break;
                                              case 2:
                                                if (p.has_router()) {
                                                  p.clear_networks();
                                                  p.add_networks(network().raw());
                                                } else {
                                                  p.clear_addresses();
                                                  p.add_addresses(network().addr.raw());
                                                }
                                                break;
                                              case 3:
                                                plug(p);
                                                break;
                                              default:
                                                p.set_admin_up(pick(2) == 0);
                                                break;
                                            }
                                            return Ok{};
                                          }));
  }
  void link_port() {
    const auto port = any<v1::Port>(), peer = any<v1::Port>();
    if (!port || !peer) return;
    outcome("link port", writer_.modify(*v1::Port::descriptor(), id_of(*port),
                                        [&](google::protobuf::Message& message) -> Result<void> {
                                          auto& p = static_cast<v1::Port&>(message);
                                          p.clear_host();
                                          if (p.has_peer() && pick(2) == 0) {
                                            p.clear_peer();
                                          } else {
                                            p.set_peer(peer->id());
                                          }
                                          return Ok{};
                                        }));
  }
  void remove_port() { remove_any<v1::Port>("remove port"); }
  void remove_route() { remove_any<v1::Route>("remove route"); }
  void remove_device() {
    if (pick(2) == 0) {
      remove_any<v1::Bridge>("remove bridge");
    } else {
      remove_any<v1::Router>("remove router");
    }
  }
  void rename_device() {
    const auto bridge = any<v1::Bridge>();
    if (!bridge) return;
    auto renamed = *bridge;
    renamed.set_name(name());
    outcome("rename bridge", writer_.update(renamed));
  }
  HostRecords records() { return {store_, HostId{kHosts[pick(3)]}}; }
  void register_host() {
    const size_t host = pick(3);
    outcome("register", HostRecords(store_, HostId{kHosts[host]})
                            .register_host({"host" + std::to_string(host), {}}));
  }
  void remove_host() {
    if (pick(4) != 0) return;
    outcome("remove host", writer_.remove(*v1::Host::descriptor(), kHosts[pick(3)]));
  }
  void publish_port() {
    const auto port = any<v1::Port>();
    if (!port) return;
    const PortId id{id_of(*port)};
    const auto host = Uuid::from_bytes(port->host());
    HostRecords at = host ? HostRecords(store_, HostId{*host}) : records();
    if (pick(3) == 0) {
      outcome("unpublish", at.unpublish(id));
    } else {
      outcome("publish", at.publish(id));
    }
    if (const auto bridge = Uuid::from_bytes(port->bridge()); bridge && pick(3) == 0) {
      outcome("flood key", at.flood_key(BridgeId{*bridge}));
    }
  }
  void learn() {
    const auto port = any<v1::Port>();
    if (!port || !port->has_router()) return;
    outcome("learn", records().learn_neighbour(PortId{id_of(*port)}, network().addr, mac()));
  }

  Store& store_;
  TopologyWriter writer_;
  std::mt19937 random_;
  std::string trouble_;
  int successes_ = 0;
};

/// The whole life of one process: `threads` rovers of `steps` steps each. Its report.
std::string rove(const std::string& address, unsigned seed, int threads, int steps) {
  auto store = open_store(address);
  if (!store.ok()) return store.error().message;
  std::vector<std::unique_ptr<Rover>> rovers;
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    rovers.push_back(std::make_unique<Rover>(**store, seed * 1000 + static_cast<unsigned>(t)));
    running.emplace_back([rover = rovers.back().get(), steps] {
      for (int i = 0; i < steps && rover->trouble().empty(); ++i) rover->step();
    });
  }
  for (auto& thread : running) thread.join();
  int successes = 0;
  for (const auto& rover : rovers) {
    if (!rover->trouble().empty()) return rover->trouble();
    successes += rover->successes();
  }
  return successes < threads * steps / 10 ? "hardly anything succeeded" : "";
}

/// A process that runs `body` and reports its text.
struct Process {
  pid_t pid = 0;
  int output = -1;
};
template <typename Body>
Process start(Body body) {
  int ends[2];
  PLEXUS_CHECK(pipe(ends) == 0, "a pipe");
  const pid_t pid = fork();
  PLEXUS_CHECK(pid >= 0, "a process");
  if (pid == 0) {
    close(ends[0]);
    const std::string text = body();
    [[maybe_unused]] auto n = write(ends[1], text.data(), text.size());
    _exit(0);
  }
  close(ends[1]);
  return {pid, ends[0]};
}
std::string finish(const Process& process) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = read(process.output, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  close(process.output);
  int status = 0;
  waitpid(process.pid, &status, 0);
  if (!WIFEXITED(status)) text += " (the process crashed)";
  return text;
}

/// Follows host a until told to stop; then what it knows must be what a fresh reader reads.
std::string follow(const std::string& address, int stop) {
  auto store = open_store(address);
  if (!store.ok()) return store.error().message;
  FollowedClosure followed(**store, HostId{kHosts[0]});
  const bool stopped = followed.run_until(
      [&] {
        pollfd polled{stop, POLLIN, 0};
        return poll(&polled, 1, 0) > 0;
      },
      std::chrono::seconds(240));
  if (!stopped) return "never told to stop";
  FollowedClosure fresh(**store, HostId{kHosts[0]});
  if (!fresh.sync()) return "a fresh reader does not get the closure";
  if (!followed.run_until([&] { return followed.view() == fresh.view(); })) {
    return "what was followed is not what is there";
  }
  if (followed.reader().watched() != fresh.reader().watched()) return "keys are left over";
  return followed.batches().size() < 10 ? "hardly anything was followed" : "";
}

TEST(Concurrent, WhateverManyDoTheTopologyStaysWhole) {
  const TestStore fresh;
  const std::string& address = fresh.address();
  const auto seed = static_cast<unsigned>(getpid());
  std::printf("seed %u\n", seed);
  std::fflush(stdout);  // or each child prints it again
  std::mt19937 random(seed);

  // All processes are started while this one has no threads and no store.
  int stop[2];
  ASSERT_EQ(pipe(stop), 0);
  const Process follower = start([&] { return follow(address, stop[0]); });
  const Process first = start([&] { return rove(address, seed, 2, 500); });
  const Process second = start([&] { return rove(address, seed + 1, 2, 500); });
  for (unsigned life = 0; life < 8; ++life) {
    const Process victim = start([&] { return rove(address, seed + 2 + life, 2, 1'000'000); });
    usleep(50'000 + static_cast<unsigned>(random() % 100'000));
    kill(victim.pid, SIGKILL);
    EXPECT_EQ(finish(victim), " (the process crashed)");
  }
  EXPECT_EQ(finish(first), "");
  EXPECT_EQ(finish(second), "");
  ASSERT_EQ(write(stop[1], "x", 1), 1);
  EXPECT_EQ(finish(follower), "");
  close(stop[0]);
  close(stop[1]);

  auto store = open_store(address);
  ASSERT_TRUE(store.ok());
  auto report = check_store(**store);
  ASSERT_TRUE(report.ok()) << report.error().message;
  std::printf("%zu records, %zu resources\n", report->records, report->resources);
  EXPECT_GT(report->resources, 10u);
  for (const std::string& problem : report->problems) ADD_FAILURE() << problem;

  // Everything can be removed again, and nothing is left.
  TopologyWriter writer(**store);
  for (const char* type : {"route", "port", "bridge", "router", "host"}) {
    const auto all = writer.list(*find_resource_type(type));
    ASSERT_TRUE(all.ok());
    for (const auto& resource : *all) {
      auto done = writer.remove(*find_resource_type(type), id_of(*resource.message));
      EXPECT_TRUE(done.ok() || done.error().code == ErrorCode::not_found) << done.error().message;
    }
  }
  EXPECT_THAT(what_is_left(**store), ::testing::IsEmpty());
}

}  // namespace
}  // namespace plexus::store
