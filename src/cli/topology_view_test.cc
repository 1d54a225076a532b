// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_view.h"

#include <gtest/gtest.h>

#include "codec/yaml.h"

namespace plexus::cli {
namespace {

std::vector<codec::Node> list(const char* yaml) {
  codec::Problems problems;
  codec::Node n = codec::parse_yaml(yaml, problems);
  EXPECT_TRUE(problems.empty()) << problems[0].str();
  return n.items;
}

TopologyDocuments sample() {
  TopologyDocuments t;
  t.hosts = list("[{id: h1, name: h1}, {id: h2, name: h2}]");
  t.bridges = list("[{id: b1, name: web}, {id: b2, name: lonely, admin_up: false}]");
  t.routers = list("[{id: r1, name: r1}]");
  t.ports = list(R"(
- {id: p1, name: vm1, bridge: b1, host: h1, interface: tap1, mac: "02:00:00:00:00:01", addresses: [10.0.1.11, "fd00:1::11"]}
- {id: p2, name: vm22, bridge: b1, host: h2, interface: tap2, mac: "02:00:00:00:00:02", addresses: [10.0.1.12]}
- {id: p3, name: web-r1, bridge: b1, peer: p4}
- {id: p4, name: r1-web, router: r1, peer: p3, networks: [10.0.1.1/24, "fd00:1::1/64"], mac: "02:00:00:00:00:03"}
- {id: p5, name: up, router: r1, networks: [192.0.2.2/24], host: h1, interface: eth1}
)");
  t.routes = list("[{id: x, router: r1, destination: 0.0.0.0/0, port: p5, next_hop: 192.0.2.1}]");
  t.bindings = list("[{port: p1, host: h1, active: true}, {port: p2, host: h1, active: true}]");
  t.host_states = list("[{id: h1, live: true, tunnel_addresses: [192.0.2.1]}]");
  return t;
}

TEST(TopologyView, DrawsTheCloud) {
  EXPECT_EQ(
      draw_topology(sample(), Palette(false)),
      "╭───────────╮\n"
      "│ router r1 │\n"
      "╰─┬─────────╯\n"
      "  ├─● r1-web  10.0.1.1/24  fd00:1::1/64  02:00:00:00:00:03\n"
      "  │ ╚═ bridge web by its port web-r1\n"
      "  │    ├─○ vm1   02:00:00:00:00:01  10.0.1.11  fd00:1::11  ◉ h1:tap1\n"
      "  │    ╰─○ vm22  02:00:00:00:00:02  10.0.1.12              ◐ on h1, wanted at h2:tap2\n"
      "  │\n"
      "  ├─● up      192.0.2.2/24                 ◌ h1:eth1 not bound yet\n"
      "  │\n"
      "  ╰─→ 0.0.0.0/0  via 192.0.2.1  out of up\n"
      "\n"
      "╭───────────────╮\n"
      "│ bridge lonely │   switched off\n"
      "╰───────────────╯\n"
      "\n"
      "hosts\n"
      "  ● h1  192.0.2.1  2 ports\n"
      "  ○ h2             0 ports  never seen\n");
}

TEST(TopologyView, DanglingReferencesAreDrawnNotFollowed) {
  TopologyDocuments t = sample();
  t.bridges.clear();
  t.hosts.clear();
  t.ports.erase(t.ports.begin() + 2);
  const std::string text = draw_topology(t, Palette(false));
  EXPECT_NE(text.find("a port that is not there: p3"), std::string::npos) << text;
  EXPECT_NE(draw_topology({}, Palette(false)).find("The topology is empty"), std::string::npos);
}

TEST(TopologyView, RoutesShowSourceAndWeight) {
  TopologyDocuments t = sample();
  t.routes = list(
      "[{id: x, router: r1, destination: 0.0.0.0/0, source: 10.0.1.0/24, port: p5, weight: 3}]");
  const std::string text = draw_topology(t, Palette(false));
  EXPECT_NE(text.find("→ 0.0.0.0/0  from 10.0.1.0/24  out of up  weight 3"), std::string::npos)
      << text;
}

}  // namespace
}  // namespace plexus::cli
