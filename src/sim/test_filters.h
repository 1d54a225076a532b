// SPDX-License-Identifier: Apache-2.0
// Random chains, groups and security groups on a TestCloud, near enough to what random packets carry. Not part of the
// product. Dice: below(n), one_in(n), byte().
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "sim/test_cloud.h"

namespace plexus::sim {

template <typename Dice, typename Map>
auto some_key(const Map& map, Dice& dice) {
  return std::next(map.begin(), static_cast<std::ptrdiff_t>(dice.below(map.size())))->first;
}

template <typename Dice>
IpPrefix random_prefix(Dice& dice) {
  const auto net = static_cast<uint8_t>(dice.below(4)), n = static_cast<uint8_t>(dice.below(9));
  if (dice.one_in(2)) {
    const auto length = static_cast<uint8_t>(dice.one_in(3) ? 32 : 20 + dice.below(13));
    return IpPrefix{IpAddr::v4(0x0a000000u | uint32_t{net} << 8 | n), length}.network();
  }
  std::array<uint8_t, 16> b{0xfd};
  b[7] = net;
  b[15] = n;
  const auto length = static_cast<uint8_t>(dice.one_in(3) ? 128 : 56 + dice.below(73));
  return IpPrefix{IpAddr::v6(b), length}.network();
}

template <typename Dice>
std::vector<model::PortRange> random_ports(Dice& dice) {
  std::vector<model::PortRange> out;
  for (uint64_t n = 1 + dice.below(3); n > 0; --n) {
    const auto first = static_cast<uint16_t>(dice.one_in(2) ? dice.below(140) : dice.below(3000));
    const auto more = dice.one_in(2) ? 0 : dice.below(dice.one_in(4) ? 60000 : 1500);
    out.push_back({first, static_cast<uint16_t>(std::min<uint64_t>(65535, first + more))});
  }
  return out;
}

template <typename Dice>
model::MaskedMac random_masked_mac(Dice& dice) {
  model::MaskedMac out{
      {{2, 0, 0, 0, static_cast<uint8_t>(1 + dice.below(2)), static_cast<uint8_t>(dice.below(32))}},
      {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}};
  if (dice.one_in(3)) out.mask.bytes[5] = 0xf8;
  if (dice.one_in(4)) out.mask.bytes[2] = 0;  // scattered
  if (dice.one_in(6)) out = {{{1}}, {{1}}};   // groups
  for (size_t i = 0; i < 6; ++i) out.mac.bytes[i] &= out.mask.bytes[i];
  return out;
}

/// Conditions of a rule: few, so that packets meet it.
template <typename Dice>
void random_conditions(model::Rule& r, const TestCloud& c, Dice& dice) {
  static constexpr uint8_t kProtocols[] = {6, 17, 1, 58, 50};
  static constexpr uint8_t kTypes[] = {0, 8, 128, 129, 135, 136};
  for (uint64_t n = dice.below(4); n > 0; --n) {
    switch (dice.below(23)) {
      case 0:
        r.ethertype = static_cast<uint16_t>(dice.one_in(3)   ? eth_type::kArp
                                            : dice.one_in(2) ? eth_type::kIpv4
                                                             : eth_type::kIpv6);
        break;
      case 1:
        r.src_mac = random_masked_mac(dice);
        break;
      case 2:
        r.dst_mac = random_masked_mac(dice);
        break;
      case 3:
      case 4:
        r.source = random_prefix(dice);
        break;
      case 5:
      case 6:
        r.destination = random_prefix(dice);
        break;
      case 7:
        if (!c.address_groups.empty()) r.source_group = some_key(c.address_groups, dice);
        break;
      case 8:
        if (!c.address_groups.empty()) r.destination_group = some_key(c.address_groups, dice);
        break;
      case 9:
        r.protocol = kProtocols[dice.below(5)];
        break;
      case 10:
        r.source_ports = random_ports(dice);
        break;
      case 11:
        r.destination_ports = random_ports(dice);
        break;
      case 12: {
        const uint8_t looked_at = dice.byte() | 2;
        r.tcp_flags = {static_cast<uint8_t>(dice.byte() & looked_at), looked_at};
        break;
      }
      case 13:
        r.icmp_type = kTypes[dice.below(6)];
        if (dice.one_in(2)) r.icmp_code = 0;
        break;
      case 14:
        r.dscp = static_cast<uint8_t>(dice.below(64));
        break;
      case 15:
        r.fragment = static_cast<model::FragmentClass>(dice.below(5));
        break;
      case 16:
        if (!c.ports.empty()) (dice.one_in(2) ? r.in_port : r.out_port) = some_key(c.ports, dice);
        break;
      case 17:
        r.vlan = static_cast<uint16_t>(10 * dice.below(4));
        break;
      case 18:
        if (!c.bridges.empty()) r.through_bridge = some_key(c.bridges, dice);
        break;
      case 19:
        if (!c.routers.empty()) r.through_router = some_key(c.routers, dice);
        break;
      case 20:
        (dice.one_in(2) ? r.inner_source : r.inner_destination) = random_prefix(dice);
        break;
      case 21:
        if (!c.port_groups.empty()) r.in_port_group = some_key(c.port_groups, dice);
        break;
      default:
        if (!c.port_groups.empty()) r.out_port_group = some_key(c.port_groups, dice);
    }
  }
  if (dice.one_in(4))
    for (uint64_t n = 1 + dice.below(2); n > 0; --n) r.inverted |= 1u << dice.below(25);
}

template <typename Dice>
void add_rule(TestCloud& c, Dice& dice) {
  if (c.chains.empty()) return;
  static constexpr model::RuleAction kActions[] = {
      model::RuleAction::accept,    model::RuleAction::accept, model::RuleAction::drop,
      model::RuleAction::reject,    model::RuleAction::jump,   model::RuleAction::return_,
      model::RuleAction::continue_, model::RuleAction::mark,   model::RuleAction::redirect};
  const auto name = "rule" + std::to_string(dice.below(100'000));
  model::Rule& r = c.rule(name, some_key(c.chains, dice), static_cast<uint32_t>(dice.below(12)),
                          kActions[dice.below(9)]);
  if (r.action == model::RuleAction::jump && !dice.one_in(8))
    r.jump_chain = some_key(c.chains, dice);
  if (r.action == model::RuleAction::mark) r.set_dscp = static_cast<uint8_t>(dice.below(64));
  if (r.action == model::RuleAction::redirect && !c.ports.empty())
    r.redirect_port = some_key(c.ports, dice);
  r.log = dice.one_in(4);
  random_conditions(r, c, dice);
}

template <typename Dice>
void add_security_rule(TestCloud& c, Dice& dice) {
  if (c.security_groups.empty()) return;
  static constexpr uint8_t kProtocols[] = {6, 17, 1, 58};
  model::SecurityRule& r = c.security_rule("sr" + std::to_string(dice.below(100'000)),
                                           some_key(c.security_groups, dice), dice.one_in(2));
  if (dice.one_in(3)) r.ethertype = dice.one_in(2) ? eth_type::kIpv4 : eth_type::kIpv6;
  if (dice.one_in(3)) r.protocol = kProtocols[dice.below(4)];
  if (dice.one_in(5)) r.ports = random_ports(dice).front();
  if (dice.one_in(10)) r.icmp_type = static_cast<uint8_t>(dice.one_in(2) ? 8 : 128);
  switch (dice.below(5)) {
    case 0:
      r.remote_prefix = random_prefix(dice);
      break;
    case 1:
      r.remote_group = some_key(c.security_groups, dice);
      break;
    case 2:
      if (!c.address_groups.empty()) r.remote_address_group = some_key(c.address_groups, dice);
      break;
    default:
      break;
  }
}

/// Gives a port, bridge or router something to ask, or takes it away.
template <typename Dice>
void change_filtered(TestCloud& c, Dice& dice) {
  const auto chain = [&]() -> std::optional<ChainId> {
    if (c.chains.empty() || dice.one_in(3)) return std::nullopt;
    return some_key(c.chains, dice);
  };
  if (dice.one_in(5) && !c.bridges.empty()) {
    auto& b = c.bridges[some_key(c.bridges, dice)];
    (dice.one_in(2) ? b.in_chain : b.out_chain) = chain();
    return;
  }
  if (dice.one_in(5) && !c.routers.empty()) {
    auto& r = c.routers[some_key(c.routers, dice)];
    (dice.one_in(2) ? r.in_chain : r.out_chain) = chain();
    return;
  }
  if (c.ports.empty()) return;
  auto& p = c.ports[some_key(c.ports, dice)];
  switch (dice.below(6)) {
    case 0:
      p.in_chain = chain();
      return;
    case 1:
      p.out_chain = chain();
      return;
    case 2:
      p.security_groups.clear();
      for (const auto& [id, group] : c.security_groups)
        if (dice.one_in(3)) p.security_groups.push_back(id);
      return;
    case 3:
      p.port_groups.clear();
      for (const auto& [id, group] : c.port_groups)
        if (dice.one_in(2)) p.port_groups.push_back(id);
      return;
    case 4:
      p.port_security = !p.port_security && dice.one_in(2);
      return;
    default:
      if (p.allowed_pairs.size() > 2) p.allowed_pairs.clear();
      p.allowed_pairs.push_back({random_prefix(dice), std::nullopt});
      if (dice.one_in(2))
        p.allowed_pairs.back().mac = MacAddr{{2, 0, 0, 0, 1, static_cast<uint8_t>(dice.below(32))}};
  }
}

/// A rule asks for the connection, or no more; a group becomes stateful, or stateless.
template <typename Dice>
void change_connection_filters(TestCloud& c, Dice& dice) {
  if (!c.rules.empty() && dice.one_in(2)) {
    auto& r = c.rules[some_key(c.rules, dice)];
    r.connection = static_cast<uint8_t>(dice.below(32));
    const uint32_t bit = model::bit_of(model::Condition::connection);
    r.inverted = r.connection != 0 && dice.one_in(3) ? r.inverted | bit : r.inverted & ~bit;
  } else if (!c.security_groups.empty()) {
    auto& g = c.security_groups[some_key(c.security_groups, dice)];
    g.stateful = !g.stateful;
  }
}

template <typename Dice>
void mutate_filters(TestCloud& c, Dice& dice) {
  switch (dice.below(16)) {
    case 14:
    case 15:
      return change_connection_filters(c, dice);
    case 0:
    case 1:
      return add_rule(c, dice);
    case 2:
      if (!c.rules.empty()) c.rules.erase(some_key(c.rules, dice));
      return;
    case 3:  // another place, or other conditions
      if (!c.rules.empty()) {
        auto& r = c.rules[some_key(c.rules, dice)];
        if (dice.one_in(2))
          r.position = static_cast<uint32_t>(dice.below(12));
        else
          random_conditions(r, c, dice);
      }
      return;
    case 4:
      if (!c.rules.empty()) {
        auto& r = c.rules[some_key(c.rules, dice)];
        r.unreadable = !r.unreadable && dice.one_in(3);
      }
      return;
    case 5:
      if (!c.chains.empty()) {
        auto& chain = c.chains[some_key(c.chains, dice)];
        chain.unreadable = !chain.unreadable && dice.one_in(3);
      }
      return;
    case 6:
      if (!c.address_groups.empty()) {
        auto& g = c.address_groups[some_key(c.address_groups, dice)];
        if (dice.one_in(8)) g.unreadable = !g.unreadable;
        if (g.prefixes.size() > 5) g.prefixes.clear();
        g.prefixes.push_back(random_prefix(dice));
        std::sort(g.prefixes.begin(), g.prefixes.end());
        g.prefixes.erase(std::unique(g.prefixes.begin(), g.prefixes.end()), g.prefixes.end());
      }
      return;
    case 7:
      if (dice.one_in(2)) return add_security_rule(c, dice);
      if (!c.security_rules.empty()) {
        const auto id = some_key(c.security_rules, dice);
        if (dice.one_in(3))
          c.security_rules[id].unreadable = !c.security_rules[id].unreadable;
        else
          c.security_rules.erase(id);
      }
      return;
    case 8:  // something goes; what names it dangles
      if (dice.one_in(3) && c.chains.size() > 1) c.chains.erase(some_key(c.chains, dice));
      if (dice.one_in(3) && c.address_groups.size() > 1)
        c.address_groups.erase(some_key(c.address_groups, dice));
      if (dice.one_in(4) && c.port_groups.size() > 1)
        c.port_groups.erase(some_key(c.port_groups, dice));
      if (dice.one_in(4) && c.security_groups.size() > 1)
        c.security_groups.erase(some_key(c.security_groups, dice));
      return;
    default:
      return change_filtered(c, dice);
  }
}

template <typename Dice>
void add_filters(TestCloud& c, Dice& dice) {
  for (uint64_t i = 0; i < 3; ++i) {
    (void)c.chain("chain" + std::to_string(i));
    const auto group = c.address_group("ag" + std::to_string(i), {});
    auto& prefixes = c.address_groups[group].prefixes;
    for (uint64_t n = dice.below(4); n > 0; --n) prefixes.push_back(random_prefix(dice));
    std::sort(prefixes.begin(), prefixes.end());
    (void)c.security_group("sg" + std::to_string(i));
    if (i < 2) (void)c.port_group("pg" + std::to_string(i));
  }
  for (uint64_t n = 2 + dice.below(14); n > 0; --n) add_rule(c, dice);
  for (uint64_t n = 2 + dice.below(8); n > 0; --n) add_security_rule(c, dice);
  for (uint64_t n = 1 + dice.below(8); n > 0; --n) change_filtered(c, dice);
  for (uint64_t n = dice.below(6); n > 0; --n) change_connection_filters(c, dice);
}

/// What turns the filters of one cloud into those of another.
inline void add_filter_changes(const TestCloud& a, const TestCloud& b,
                               std::vector<model::Change>& out) {
  add_changes(a.chains, b.chains, model::ChainChange{}, out);
  add_changes(a.rules, b.rules, model::RuleChange{}, out);
  add_changes(a.address_groups, b.address_groups, model::AddressGroupChange{}, out);
  add_changes(a.port_groups, b.port_groups, model::PortGroupChange{}, out);
  add_changes(a.security_groups, b.security_groups, model::SecurityGroupChange{}, out);
  add_changes(a.security_rules, b.security_rules, model::SecurityRuleChange{}, out);
  add_changes(a.mirrors, b.mirrors, model::MirrorChange{}, out);
  add_changes(a.trace_requests, b.trace_requests, model::TraceRequestChange{}, out);
  const auto before = a.members(), after = b.members();
  for (const auto& [at, members] : before)
    if (!after.contains(at)) out.push_back(model::GroupMembersChange{at.first, at.second, {}});
  for (const auto& [at, members] : after)
    if (const auto old = before.find(at); old == before.end() || old->second != members)
      out.push_back(model::GroupMembersChange{at.first, at.second, members});
}

}  // namespace plexus::sim
