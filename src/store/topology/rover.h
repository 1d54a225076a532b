// SPDX-License-Identifier: Apache-2.0
// Rover: does whatever comes to its mind to a topology; and processes of many of them. For tests only.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "packet/addr.h"
#include "plexus/v1/resources.pb.h"
#include "store/store.h"
#include "store/topology/host_records.h"
#include "store/topology/schema.h"
#include "store/topology/writer.h"

namespace plexus::store {

inline const Uuid kHosts[] = {Uuid::derived("host", "a"), Uuid::derived("host", "b"),
                              Uuid::derived("host", "c")};

/// One thread of one process.
class Rover {
 public:
  Rover(Store& store, unsigned seed) : store_(store), writer_(store, {"rover", ""}), random_(seed) {
    // So that removals of a few things take several transactions, too.
    writer_.set_removal_batch(3);
  }

  /// One random operation; what must never happen ends up in trouble().
  void step() {
    constexpr std::array kOperations = {
        &Rover::create_device, &Rover::create_port,  &Rover::create_port,   &Rover::create_route,
        &Rover::create_route,  &Rover::change_port,  &Rover::change_port,   &Rover::link_port,
        &Rover::link_port,     &Rover::remove_port,  &Rover::remove_device, &Rover::remove_route,
        &Rover::register_host, &Rover::publish_port, &Rover::publish_port,  &Rover::learn,
        &Rover::rename_device, &Rover::remove_host,  &Rover::batch,         &Rover::batch,
        &Rover::create_group,  &Rover::create_group, &Rover::join_groups,   &Rover::join_groups,
        &Rover::create_rule,   &Rover::create_rule,  &Rover::change_rule,   &Rover::remove_group,
        &Rover::serve,         &Rover::serve,        &Rover::serve,         &Rover::stop_serving,
        &Rover::translate,     &Rover::translate,    &Rover::translate,     &Rover::change_outside,
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
      case ErrorCode::no_space:   // the tenant has enough
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
      if (pick(2) == 0) bridge.set_tenant("acme");
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
  void batch() {
    std::vector<Operation> operations;
    v1::Bridge bridge;
    bridge.set_id(Uuid::random().raw());
    bridge.set_name(name());
    operations.emplace_back().resource = std::make_unique<v1::Bridge>(bridge);
    for (size_t i = 0; i < pick(4); ++i) {
      v1::Port port;
      port.set_name("p" + std::to_string(pick(60)));
      port.set_bridge(bridge.id());
      if (pick(2) == 0) port.set_mac(mac().raw());
      if (pick(2) == 0) plug(port);
      operations.emplace_back().resource = std::make_unique<v1::Port>(port);
    }
    if (const auto port = any<v1::Port>()) {
      Operation& operation = operations.emplace_back();
      operation.type = v1::Port::descriptor();
      operation.id = id_of(*port);
      operation.kind = pick(2) == 0 ? Operation::Kind::remove : Operation::Kind::modify;
      operation.edit = [named = name()](google::protobuf::Message& message) -> Result<void> {
        static_cast<v1::Port&>(message).set_name(named);
        return Ok{};
      };
    }
    outcome("batch", writer_.batch(operations));
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
  template <typename M>
  void create_named(const char* what) {
    M m;
    m.set_name(name());
    outcome(what, writer_.create(m));
  }
  void create_group() {
    switch (pick(4)) {
      case 0:
        return create_named<v1::PortGroup>("create port group");
      case 1:
        return create_named<v1::SecurityGroup>("create security group");
      case 2:
        return create_named<v1::AddressGroup>("create address group");
      default:
        return create_named<v1::Chain>("create chain");
    }
  }
  void join_groups() {
    const auto port = any<v1::Port>();
    if (!port || !port->has_bridge()) return;
    const auto one = any<v1::SecurityGroup>(), other = any<v1::SecurityGroup>();
    const auto ports = any<v1::PortGroup>();
    const auto chain = any<v1::Chain>();
    outcome("join groups", writer_.modify(*v1::Port::descriptor(), id_of(*port),
                                          [&](google::protobuf::Message& message) -> Result<void> {
                                            auto& p = static_cast<v1::Port&>(message);
                                            p.clear_security_groups();
                                            p.clear_port_groups();
                                            p.clear_in_chain();
                                            if (one && pick(3) > 0)
                                              p.add_security_groups(one->id());
                                            if (other && (!one || one->id() != other->id()))
                                              p.add_security_groups(other->id());
                                            if (ports && pick(3) > 0)
                                              p.add_port_groups(ports->id());
                                            if (chain && pick(3) == 0) p.set_in_chain(chain->id());
                                            return Ok{};
                                          }));
  }
  void create_rule() {
    if (pick(2) == 0) {
      const auto group = any<v1::SecurityGroup>(), remote = any<v1::SecurityGroup>();
      if (!group || !remote) return;
      v1::SecurityRule rule;
      rule.set_security_group(group->id());
      rule.set_direction(v1::SecurityRule::INGRESS);
      if (pick(2) == 0) rule.set_remote_group(remote->id());
      return outcome("create security rule", writer_.create(rule));
    }
    const auto chain = any<v1::Chain>(), next = any<v1::Chain>();
    if (!chain || !next) return;
    v1::Rule rule;
    rule.set_chain(chain->id());
    rule.set_position(static_cast<uint32_t>(pick(9)));
    rule.set_action(v1::Rule::ACCEPT);
    if (pick(2) == 0) {
      rule.set_action(v1::Rule::JUMP);
      rule.set_jump_chain(next->id());
    }
    if (const auto port = any<v1::Port>(); port && pick(2) == 0) rule.set_in_port(port->id());
    if (const auto group = any<v1::AddressGroup>(); group && pick(2) == 0)
      rule.set_source_group(group->id());
    outcome("create rule", writer_.create(rule));
  }
  void change_rule() {
    const auto rule = any<v1::Rule>();
    const auto next = any<v1::Chain>();
    if (!rule || !next) return;
    outcome("change rule", writer_.modify(*v1::Rule::descriptor(), id_of(*rule),
                                          [&](google::protobuf::Message& message) -> Result<void> {
                                            auto& r = static_cast<v1::Rule&>(message);
                                            if (r.has_jump_chain()) {
                                              r.set_action(v1::Rule::RETURN);
                                              r.clear_jump_chain();
                                            } else {
                                              r.set_action(v1::Rule::JUMP);
                                              r.set_jump_chain(next->id());
                                            }
                                            return Ok{};
                                          }));
  }
  template <typename M>
  void at_router(M& m, const v1::Router& router) {
    m.set_name(name());
    m.set_router(router.id());
  }
  void serve() {
    const auto router = any<v1::Router>();
    const auto balancer = any<v1::LoadBalancer>();
    const auto pool = any<v1::Pool>();
    const auto port = any<v1::Port>(), other = any<v1::Port>();
    if (!router || !port) return;
    const std::string address = network().addr.raw();
    switch (pick(9)) {
      case 0: {
        v1::FloatingIp floating;
        at_router(floating, *router);
        floating.set_address(address);
        return outcome("create floating address", writer_.create(floating));
      }
      case 1: {
        v1::LoadBalancer made;
        at_router(made, *router);
        return outcome("create load balancer", writer_.create(made));
      }
      case 2: {
        if (!balancer) return;
        v1::Pool made;
        made.set_name(name());
        made.set_load_balancer(balancer->id());
        return outcome("create pool", writer_.create(made));
      }
      case 3: {
        if (!pool) return;
        v1::Vip vip;
        vip.set_name(name());
        vip.set_load_balancer(pool->load_balancer());
        vip.set_pool(pool->id());
        vip.set_address(address);
        vip.set_protocol("\x06");
        vip.set_port(static_cast<uint32_t>(1 + pick(3)));
        return outcome("create virtual address", writer_.create(vip));
      }
      case 4: {
        if (!pool) return;
        v1::PoolMember member;
        member.set_pool(pool->id());
        member.set_address(pick(4) == 0 ? IpAddr::parse("fd00::1")->raw() : address);
        return outcome("create member", writer_.create(member));
      }
      case 5: {
        if (!other) return;  // others remove meanwhile
        v1::Mirror mirror;
        mirror.set_name(name());
        mirror.set_which(v1::Mirror::IN);
        mirror.set_port(port->id());
        mirror.set_to_port(other->id());
        return outcome("create mirror", writer_.create(mirror));
      }
      case 6: {
        v1::TraceRequest request;
        request.set_name(name());
        request.set_port(port->id());
        return outcome("create trace request", writer_.create(request));
      }
      default: {
        v1::Port sub_port;
        sub_port.set_name("p" + std::to_string(pick(60)));
        if (port->has_bridge()) sub_port.set_bridge(port->bridge());
        sub_port.set_parent(port->id());
        sub_port.set_vlan(static_cast<uint32_t>(1 + pick(4)));
        return outcome("create sub-port", writer_.create(sub_port));
      }
    }
  }
  /// Addresses that a router has outside, among them its ports' own, in networks that are wired to bridges or not.
  void translate() {
    const auto router = any<v1::Router>();
    if (!router) return;
    if (pick(3) == 0) {
      const auto vip = any<v1::Vip>();
      if (!vip) return;
      auto made = *vip;
      made.clear_id();
      made.set_name(name());
      made.set_port(static_cast<uint32_t>(1 + pick(9)));
      return outcome("create another virtual address", writer_.create(made));
    }
    if (pick(2) == 0) {
      v1::FloatingIp floating;
      at_router(floating, *router);
      floating.set_address(network().addr.raw());
      return outcome("create floating address", writer_.create(floating));
    }
    v1::SnatPool pool;
    at_router(pool, *router);
    pool.add_addresses(network().addr.raw());
    if (auto more = network().addr.raw(); more != pool.addresses(0)) pool.add_addresses(more);
    outcome("create pool of sources", writer_.create(pool));
  }
  void change_outside() {
    if (pick(2) == 0) {
      const auto floating = any<v1::FloatingIp>();
      if (!floating) return;
      auto changed = *floating;
      changed.set_address(network().addr.raw());
      return outcome("change floating address", writer_.update(changed));
    }
    const auto vip = any<v1::Vip>();
    if (!vip) return;
    auto changed = *vip;
    changed.set_address(network().addr.raw());
    outcome("change virtual address", writer_.update(changed));
  }
  void stop_serving() {
    switch (pick(7)) {
      case 5:
        return remove_any<v1::SnatPool>("remove pool of sources");
      case 0:
        return remove_any<v1::FloatingIp>("remove floating address");
      case 1:
        return remove_any<v1::LoadBalancer>("remove load balancer");
      case 2:
        return remove_any<v1::Vip>("remove virtual address");
      case 3:
        return remove_any<v1::PoolMember>("remove member");
      case 4:
        return remove_any<v1::TraceRequest>("remove trace request");
      default:
        return remove_any<v1::Mirror>("remove mirror");
    }
  }
  void remove_group() {
    switch (pick(5)) {
      case 0:
        return remove_any<v1::PortGroup>("remove port group");
      case 1:
        return remove_any<v1::SecurityGroup>("remove security group");
      case 2:
        return remove_any<v1::AddressGroup>("remove address group");
      case 3:
        return remove_any<v1::Rule>("remove rule");
      default:
        return remove_any<v1::Chain>("remove chain");
    }
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
inline std::string rove(const std::string& address, unsigned seed, int threads, int steps) {
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
inline std::string finish(const Process& process) {
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

}  // namespace plexus::store
