// SPDX-License-Identifier: Apache-2.0
// What must hold for every topology and packet: it does not matter at which host a port is.
// The seed of a failure is printed; PLEXUS_SEED=n runs one seed alone,
// PLEXUS_TEST_TIMES=n so many times as many seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_random_cloud.h"
#include "sim/test_random_packets.h"

namespace plexus::sim {
namespace {

/// What arrives in the end, and where: ports, whatever host they are at.
std::vector<std::pair<std::string, PortId>> arrivals(const Outcome& o, const World& w,
                                                     const model::Snapshot& at, const Frame& sent) {
  std::vector<std::pair<std::string, PortId>> out;
  for (const Copy& copy : o.actions.copies) {
    const Frame frame =
        copy.rewrite.empty() ? sent : rewritten(copy.rewrite, parse_packet(sent), sent);
    if (const auto* local = std::get_if<LocalOutput>(&copy.output)) {
      out.emplace_back(format_frame(frame), *at.local_port(local->port));
      continue;
    }
    if (const auto* answer = std::get_if<NeighbourAnswer>(&copy.output)) {
      out.emplace_back(format(Actions{{Copy{copy.rewrite, *answer}}}), PortId{});
      continue;
    }
    const auto& tunnel = std::get<TunnelOutput>(copy.output);
    for (const auto& [id, host] : w.cloud.hosts) {
      if (std::find(host.tunnel_addresses.begin(), host.tunnel_addresses.end(), tunnel.remote) ==
          host.tunnel_addresses.end())
        continue;
      const auto there = w.cloud.snapshot(id);
      const Outcome egress = simulate(packet_of(frame, kTunnelPort, tunnel.key), *there, {});
      for (const Copy& c : egress.actions.copies)
        out.emplace_back(format_frame(rewritten(c.rewrite, parse_packet(frame), frame)),
                         *there->local_port(std::get<LocalOutput>(c.output).port));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(Property, ItDoesNotMatterWhereAPortIs) {
  size_t compared = 0, forwarded = 0;
  for (uint64_t seed : seeds(60)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 2000000);
    World w = random_world(dice);
    // All hosts can be reached, by packets of any size, or where a port is does matter.
    w.cloud.tunnel_mtu = 0;
    for (unsigned i = 0; i < w.hosts.size(); ++i) {
      auto& h = w.cloud.hosts[w.hosts[i]];
      h.tunnel_addresses = {IpAddr::v4(0xc0000201u + i)};
      h.flood_keys.clear();
      for (unsigned b = 0; b < w.bridges.size(); ++b)
        h.flood_keys.emplace_back(w.bridges[b], 0x9000u + b);
    }
    // Where flooded copies are filtered depends on it, and there nobody knows by which port they came.
    const bool filtered = !w.cloud.chains.empty();
    for (auto& [id, rule] : w.cloud.rules) {
      rule.in_port.reset();
      rule.in_port_group.reset();
      rule.through_bridge.reset();
      rule.through_router.reset();
    }
    // Nor where the last stage of a flood is copied; and a sub-port is where its parent is.
    w.cloud.mirrors.clear();
    std::erase_if(w.cloud.bindings,
                  [&](const auto& b) { return !w.cloud.dp_ports.contains(b.first); });
    std::erase_if(w.cloud.ports, [](const auto& p) { return p.second.parent.has_value(); });
    std::vector<PortId> active;
    for (PortId id : w.vms)
      if (w.cloud.bindings.contains(id) && w.cloud.bindings[id].active) active.push_back(id);
    if (active.empty()) continue;
    for (int i = 0; i < 20; ++i) {
      const PortId from = dice.of(active);
      const Entry entry{w.cloud.dp_port(from)};
      const Frame frame =
          frame_of(dice.one_in(2) ? routed_key(w, entry, dice) : random_key(w, entry, dice), dice);
      World here = w, there = w;
      here.cloud.bind(from, w.hosts[0]);
      there.cloud.bind(from, w.hosts[1]);
      const auto at_here = here.cloud.snapshot(w.hosts[0]),
                 at_there = there.cloud.snapshot(w.hosts[1]);
      Trace trace;
      const Outcome a = simulate(packet_of(frame, here.cloud.dp_port(from)), *at_here, {}, &trace);
      const Outcome b = simulate(packet_of(frame, there.cloud.dp_port(from)), *at_there, {});
      ++compared;
      forwarded += a.verdict == Verdict::forward;
      if (!filtered) {
        ASSERT_EQ(a.verdict, b.verdict) << trace.text();
        ASSERT_EQ(to_string(a.reason), to_string(b.reason)) << trace.text();
        ASSERT_EQ(a.mask, b.mask);
        // Nor whether a question has been dropped before it reaches anybody.
        ASSERT_EQ(a.missing, b.missing) << trace.text();
      }
      ASSERT_EQ(a.writes, b.writes);
      ASSERT_EQ(arrivals(a, here, *at_here, frame), arrivals(b, there, *at_there, frame))
          << trace.text();
    }
  }
  std::printf("%zu packets compared, %zu forwarded\n", compared, forwarded);
  EXPECT_GT(forwarded, compared / 10);
}

}  // namespace
}  // namespace plexus::sim
