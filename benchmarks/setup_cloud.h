// SPDX-License-Identifier: Apache-2.0
// SetupCloud: what Plexus is told for ./bench setup and ./bench fairness, and the frames that ask about it. Machines on a bridge send
// through a router to many destinations, each with a route of its own by way of one machine on another bridge: machine
// times destination is a class.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "packet/build.h"
#include "sim/test_cloud.h"

namespace plexus::bench {

class SetupCloud {
 public:
  static constexpr uint32_t kFirstDestination = 0x0a400000;  ///< 10.64.0.0
  static constexpr const char* kSinkMac = "02:00:00:00:02:02";

  SetupCloud(uint32_t machines, uint32_t destinations) {
    const HostId self = records_.host("h1", "192.0.2.1");
    const RouterId core = records_.router("core");
    const BridgeId front = records_.bridge("front"), back = records_.bridge("back");
    records_.plug(front, records_.router_port("core-front", core, kRouterMac, {"10.1.0.1/16"}));
    const PortId out =
        records_.router_port("core-back", core, "02:00:00:00:02:01", {"10.2.0.1/16"});
    records_.plug(back, out);
    for (uint32_t m = 0; m < machines; ++m)
      records_.vm(machine(m), front, self, mac(m), {address(m)});
    records_.vm("sink", back, self, kSinkMac, {"10.2.0.2"});
    for (uint32_t d = 0; d < destinations; ++d) {
      const std::string to = IpAddr::v4(kFirstDestination + d).str();
      records_.route(to, core, to + "/32", out, "10.2.0.2");
    }
  }

  [[nodiscard]] std::vector<model::Change> changes() const {
    return records_.changes(sim::TestCloud::host_id("h1"));
  }
  static HostId self() { return sim::TestCloud::host_id("h1"); }
  [[nodiscard]] DpPort machine_port(uint32_t m) const {
    return records_.dp_port(sim::TestCloud::port_id(machine(m)));
  }
  [[nodiscard]] DpPort sink_port() const {
    return records_.dp_port(sim::TestCloud::port_id("sink"));
  }

  /// A machine's frame to 0.0.0.0, 64 bytes, UDP checksum 0.
  static Frame frame(uint32_t m, uint16_t udp_port) {
    PacketSpec spec;
    spec.eth_src = *MacAddr::parse(mac(m));
    spec.eth_dst = *MacAddr::parse(kRouterMac);
    spec.src = *IpAddr::parse(address(m));
    spec.dst = IpAddr::v4(0);
    Frame out = udp_packet(spec, 10000, udp_port, std::vector<uint8_t>(22));
    out[40] = out[41] = 0;
    return out;
  }

 private:
  static constexpr const char* kRouterMac = "02:00:00:00:01:01";
  static std::string machine(uint32_t m) { return "vm" + std::to_string(m); }
  static std::string mac(uint32_t m) {
    char text[18];
    std::snprintf(text, sizeof text, "02:00:00:01:%02x:%02x", m / 256 % 256, m % 256);
    return text;
  }
  static std::string address(uint32_t m) { return IpAddr::v4(0x0a010100 + m).str(); }

  sim::TestCloud records_;
};

}  // namespace plexus::bench
