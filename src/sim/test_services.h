// SPDX-License-Identifier: Apache-2.0
// Random mirrors, marks, sub-ports and policies of reserved groups on a TestCloud. Not part of the product. Dice: as
// test_filters.h.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "sim/test_cloud.h"
#include "sim/test_filters.h"

namespace plexus::sim {

/// Few VLAN ids, so that frames meet sub-ports.
template <typename Dice>
uint16_t random_vlan(Dice& dice) {
  return static_cast<uint16_t>(10 * (1 + dice.below(3)));
}

template <typename Dice>
void add_mirror(TestCloud& c, Dice& dice) {
  if (c.ports.empty() || c.bridges.empty()) return;
  std::variant<std::monostate, PortId, BridgeId, RouterId> at = some_key(c.ports, dice);
  if (dice.one_in(3)) at = some_key(c.bridges, dice);
  if (dice.one_in(4) && !c.routers.empty()) at = some_key(c.routers, dice);
  c.mirror("mirror" + std::to_string(dice.below(4)), at, dice.one_in(2), dice.one_in(2),
           some_key(c.ports, dice));
}

template <typename Dice>
void add_trace_request(TestCloud& c, Dice& dice) {
  if (c.ports.empty() || c.bridges.empty()) return;
  std::variant<std::monostate, PortId, BridgeId, RouterId> at = some_key(c.ports, dice);
  if (dice.one_in(3)) at = some_key(c.bridges, dice);
  if (dice.one_in(4) && !c.routers.empty()) at = some_key(c.routers, dice);
  auto& request = c.trace_request("request" + std::to_string(dice.below(4)), at);
  request.admin_up = !dice.one_in(4);
  if (dice.one_in(2)) request.match.protocol = dice.one_in(2) ? ip_proto::kUdp : ip_proto::kTcp;
  if (dice.one_in(2)) request.match.destination = IpPrefix::parse("10.0.1.0/24");
}

template <typename Dice>
void add_sub_port(TestCloud& c, Dice& dice) {
  if (c.ports.empty() || c.bridges.empty()) return;
  const PortId parent = some_key(c.ports, dice);
  const auto n = static_cast<uint8_t>(dice.below(32));
  c.sub_port("sub" + std::to_string(dice.below(6)), some_key(c.bridges, dice), parent,
             random_vlan(dice), MacAddr{{2, 0, 0, 0, 1, n}}.str());
}

template <typename Dice>
void mutate_services(TestCloud& c, Dice& dice) {
  const auto mark = [&]() -> std::optional<uint8_t> {
    if (dice.one_in(3)) return std::nullopt;
    return static_cast<uint8_t>(dice.below(64));
  };
  switch (dice.below(11)) {
    case 9:
      return add_trace_request(c, dice);
    case 10:
      if (!c.trace_requests.empty()) c.trace_requests.erase(some_key(c.trace_requests, dice));
      return;
    case 0:
    case 1:
      return add_mirror(c, dice);
    case 2:
      if (!c.mirrors.empty()) c.mirrors.erase(some_key(c.mirrors, dice));
      return;
    case 3:
      if (!c.mirrors.empty()) {
        auto& m = c.mirrors[some_key(c.mirrors, dice)];
        m.admin_up = !m.admin_up || !dice.one_in(3);
        m.unreadable = !m.unreadable && dice.one_in(4);
        if (!c.ports.empty() && dice.one_in(2)) m.to_port = some_key(c.ports, dice);
      }
      return;
    case 4:
    case 5:
      return add_sub_port(c, dice);
    case 6:
      if (!c.ports.empty()) c.ports[some_key(c.ports, dice)].dscp = mark();
      return;
    case 7:
      if (!c.bridges.empty()) {
        auto& b = c.bridges[some_key(c.bridges, dice)];
        b.dscp = mark();
        b.forward_bpdu = dice.one_in(2);
        b.forward_lldp = dice.one_in(2);
      }
      return;
    default:
      if (!c.routers.empty()) {
        auto& r = c.routers[some_key(c.routers, dice)];
        r.drop_fragments = !r.drop_fragments;
      }
  }
}

template <typename Dice>
void add_services(TestCloud& c, Dice& dice) {
  for (uint64_t n = 1 + dice.below(3); n > 0; --n) add_mirror(c, dice);
  for (uint64_t n = 1 + dice.below(3); n > 0; --n) add_sub_port(c, dice);
  for (uint64_t n = dice.below(4); n > 0; --n) mutate_services(c, dice);
}

}  // namespace plexus::sim
