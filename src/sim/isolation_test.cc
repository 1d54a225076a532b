// SPDX-License-Identifier: Apache-2.0
// No packet of a tenant reaches another's port unless an object says so. Two tenants with the same MACs and addresses, each
// with bridges, a router, mirrors, marks, redirecting rules; sub-ports of the one at interfaces of the other; whatever their
// machines send, tags of all kinds included, what comes out anywhere is their own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "packet/build.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_cloud.h"

namespace plexus::sim {
namespace {

constexpr unsigned kTenants = 2, kNets = 2, kMachines = 4;
constexpr uint16_t kVlans[] = {10, 20, 30};

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t below(uint64_t n) { return random_() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& v) {
    return v[below(v.size())];
  }

 private:
  std::mt19937_64 random_;
};

MacAddr machine_mac(unsigned net, unsigned n) {
  return {{2, 0, 0, 0, static_cast<uint8_t>(net), static_cast<uint8_t>(n)}};
}
IpAddr v4(unsigned net, unsigned n) {
  return IpAddr::v4(0x0a000000u | net << 8 | n);
}
IpAddr v6(unsigned net, unsigned n) {
  return IpAddr::v6({0xfd, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(net), 0, 0, 0, 0, 0, 0, 0,
                     static_cast<uint8_t>(n)});
}

struct Tenants {
  TestCloud cloud;
  HostId hosts[2];
  std::vector<PortId> ports[kTenants];  ///< exterior ones, sub-ports too
  std::vector<PortId> interfaces;

  explicit Tenants(Dice& dice) {
    hosts[0] = cloud.host("h0", "192.0.2.1");
    hosts[1] = cloud.host("h1", "192.0.2.2");
    std::vector<BridgeId> bridges[kTenants];
    for (unsigned t = 0; t < kTenants; ++t) {
      const std::string own = "t" + std::to_string(t) + "-";
      const RouterId router = cloud.router(own + "router");
      for (unsigned net = 0; net < kNets; ++net) {
        const BridgeId bridge = cloud.bridge(own + "net" + std::to_string(net));
        bridges[t].push_back(bridge);
        cloud.plug(
            bridge,
            cloud.router_port(own + "gw" + std::to_string(net), router, machine_mac(net, 254).str(),
                              {v4(net, 254).str() + "/24", v6(net, 254).str() + "/64"}));
        if (dice.one_in(2)) cloud.bridges[bridge].dscp = static_cast<uint8_t>(dice.below(64));
        cloud.bridges[bridge].forward_bpdu = dice.one_in(2);
        for (unsigned n = 1; n <= kMachines; ++n) {
          // Some are learned, some do not know their address.
          const bool known = !dice.one_in(4);
          const PortId port = cloud.vm(
              own + std::to_string(net) + "-" + std::to_string(n), bridge, hosts[dice.below(2)],
              known ? machine_mac(net, n).str() : "",
              known ? std::vector{v4(net, n).str(), v6(net, n).str()} : std::vector<std::string>());
          ports[t].push_back(port);
          interfaces.push_back(port);
        }
      }
    }
    unsigned serial = 0;
    for (unsigned t = 0; t < kTenants; ++t) {
      for (uint64_t n = 1 + dice.below(4); n > 0; --n) {  // at anybody's interface
        ++serial;
        const PortId port =
            cloud.sub_port("sub" + std::to_string(serial), dice.of(bridges[t]), dice.of(interfaces),
                           kVlans[dice.below(3)],
                           machine_mac(static_cast<unsigned>(dice.below(2)), 100 + serial).str());
        ports[t].push_back(port);
      }
      for (uint64_t n = dice.below(3); n > 0; --n) {
        const std::string name = "mirror" + std::to_string(++serial);
        if (dice.one_in(2))
          cloud.mirror(name, dice.of(ports[t]), dice.one_in(2), true, dice.of(ports[t]));
        else
          cloud.mirror(name, dice.of(bridges[t]), true, dice.one_in(2), dice.of(ports[t]));
      }
      if (dice.one_in(2)) {
        const ChainId chain = cloud.chain("chain" + std::to_string(++serial));
        auto& rule =
            cloud.rule("rule" + std::to_string(serial), chain, 1, model::RuleAction::redirect);
        rule.redirect_port = dice.of(ports[t]);
        if (dice.one_in(2)) rule.protocol = ip_proto::kUdp;
        cloud.ports[dice.of(ports[t])].in_chain = chain;
      }
    }
  }

  /// Whose machine gets a frame that leaves by an interface of the host, or sends one there.
  [[nodiscard]] PortId port_of(const model::Snapshot& at, DpPort number, const Frame& frame) const {
    const PortId interface = *at.local_port(number);
    const uint16_t tci = parse_packet(frame).key.vlan_tci.host();
    if (tci == 0) return interface;
    return at.sub_port(interface, tci & 0xfff).value_or(interface);
  }
  [[nodiscard]] bool is_of(unsigned tenant, PortId port) const {
    return std::find(ports[tenant].begin(), ports[tenant].end(), port) != ports[tenant].end();
  }
};

Frame random_frame(Dice& dice) {
  const auto net = [&] { return static_cast<unsigned>(dice.below(kNets)); };
  const auto n = [&] {
    return static_cast<unsigned>(dice.one_in(3)   ? 254
                                 : dice.one_in(3) ? 100 + dice.below(8)
                                                  : 1 + dice.below(kMachines));
  };
  const unsigned from = net(), to = net();
  const bool six = dice.one_in(2);
  MacAddr dst = machine_mac(from, n());
  if (dice.one_in(4)) dst = kBroadcastMac;
  if (dice.one_in(20)) dst = {{0x01, 0x80, 0xc2, 0, 0, 0}};
  const MacAddr src = machine_mac(from, n());
  const IpAddr src_ip = six ? v6(from, n()) : v4(from, n()),
               dst_ip = six ? v6(to, n()) : v4(to, n());
  Frame f;
  if (dice.one_in(6)) {
    f = six ? nd_solicit(src, src_ip, v6(from, n())) : arp_request(src, src_ip, v4(from, n()));
  } else {
    const PacketSpec spec{.eth_src = src,
                          .eth_dst = dst,
                          .src = src_ip,
                          .dst = dst_ip,
                          .ttl = static_cast<uint8_t>(dice.one_in(10) ? 1 : 64),
                          .vlan_tci = {}};
    f = ip_packet(spec, ip_proto::kUdp, std::vector<uint8_t>(16));
  }
  for (uint64_t tags = dice.one_in(2) ? dice.below(3) : 0; tags > 0; --tags)
    f = with_vlan(f, kVlans[dice.below(3)]);
  return f;
}

TEST(Isolation, NoPacketReachesAnotherTenantUnlessAnObjectSaysSo) {
  const char* times = std::getenv("PLEXUS_TEST_TIMES");
  const uint64_t seeds =
      60 * std::max<uint64_t>(1, times != nullptr ? std::strtoull(times, nullptr, 10) : 1);
  size_t arrived = 0, shared = 0, mirrored = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    const Tenants tenants(dice);
    const std::shared_ptr<const model::Snapshot> at[2] = {tenants.cloud.snapshot(tenants.hosts[0]),
                                                          tenants.cloud.snapshot(tenants.hosts[1])};
    for (int i = 0; i < 100; ++i) {
      const PortId interface = dice.of(tenants.interfaces);
      const unsigned host = tenants.cloud.bindings.at(interface).host == tenants.hosts[1];
      const Frame sent = random_frame(dice);
      const PortId sender = tenants.port_of(*at[host], tenants.cloud.dp_port(interface), sent);
      const unsigned tenant = tenants.is_of(1, sender);
      ASSERT_TRUE(tenants.is_of(tenant, sender));
      Trace trace;
      const Outcome o =
          simulate(packet_of(sent, tenants.cloud.dp_port(interface)), *at[host], {}, &trace);
      const auto check = [&](const model::Snapshot& here, DpPort number, const Frame& frame) {
        const PortId port = tenants.port_of(here, number, frame);
        ++arrived;
        shared += here.port(port)->parent.has_value();
        ASSERT_TRUE(tenants.is_of(tenant, port))
            << here.port(port)->name << " got " << format_frame(frame) << "\n"
            << trace.text();
      };
      const auto follow = [&](const Frame& frame, const Actions& actions) {
        mirrored += actions.copies.size() > 1;
        for (const Copy& copy : actions.copies) {
          const Frame out = rewritten(copy.rewrite, parse_packet(frame), frame);
          if (const auto* local = std::get_if<LocalOutput>(&copy.output)) {
            check(*at[host], local->port, out);
          } else if (const auto* tunnel = std::get_if<TunnelOutput>(&copy.output)) {
            const Outcome there =
                simulate(packet_of(out, kTunnelPort, tunnel->key), *at[1 - host], {});
            for (const Copy& last : there.actions.copies)
              check(*at[1 - host], std::get<LocalOutput>(last.output).port,
                    rewritten(last.rewrite, parse_packet(out), out));
          }
        }
      };
      follow(sent, o.actions);
      for (const Generated& made : o.generated) follow(made.frame, made.actions);
    }
  }
  std::printf("%zu frames arrived, %zu at sub-ports; %zu went several ways\n", arrived, shared,
              mirrored);
  EXPECT_GT(arrived, seeds * 50);
  EXPECT_GT(shared, arrived / 50);
  EXPECT_GT(mirrored, seeds);
}

}  // namespace
}  // namespace plexus::sim
