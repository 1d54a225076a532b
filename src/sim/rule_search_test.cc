// SPDX-License-Identifier: Apache-2.0
// What a search of a table finds against what reading the rules one by one finds, and how much of the packet it reads.
#include "sim/rule_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "sim/test_cloud.h"
#include "sim/test_filters.h"

namespace plexus::sim {
namespace {

using model::Condition;

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t below(uint64_t n) { return random_() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  uint8_t byte() { return static_cast<uint8_t>(random_()); }

 private:
  std::mt19937_64 random_;
};

FlowKey random_key(Dice& dice) {
  FlowKey k;
  k.eth_dst = {
      2, 0, 0, 0, static_cast<uint8_t>(1 + dice.below(2)), static_cast<uint8_t>(dice.below(32))};
  k.eth_src = {
      2, 0, 0, 0, static_cast<uint8_t>(1 + dice.below(2)), static_cast<uint8_t>(dice.below(32))};
  if (dice.one_in(4)) k.vlan_tci = Be16(static_cast<uint16_t>(0x1000 | 10 * dice.below(4)));
  const uint64_t kind = dice.below(5);
  k.eth_type = Be16(kind == 0   ? eth_type::kArp
                    : kind <= 2 ? eth_type::kIpv4
                    : kind == 3 ? eth_type::kIpv6
                                : uint16_t{0x88b5});
  if (kind == 4) return k;
  const IpPrefix a = random_prefix(dice), b = random_prefix(dice);
  const bool v6 = k.is_ipv6();
  k.set_src_ip(a.addr.is_v6() == v6 ? a.addr : k.src_ip());
  k.set_dst_ip(b.addr.is_v6() == v6 ? b.addr : k.dst_ip());
  if (k.is_arp()) {
    k.tp_src = Be16(1);
    return k;
  }
  static constexpr uint8_t kProtocols[] = {6, 17, 1, 58, 50};
  k.ip_proto = kProtocols[dice.below(5)];
  k.ip_tos = dice.byte();
  k.ip_frag = static_cast<uint8_t>(dice.one_in(4) ? dice.below(3) : 0);
  if (k.ip_frag == 2 || k.ip_proto == 50) return k;
  const bool icmp = k.ip_proto == 1 || k.ip_proto == 58;
  if (icmp && (k.ip_proto == 58) != v6) return k;
  static constexpr uint16_t kValues[] = {0, 8, 53, 80, 128, 129, 135, 136, 1000, 2000, 40000};
  k.tp_src = Be16(icmp ? kValues[dice.below(2)] : kValues[dice.below(11)]);
  k.tp_dst = Be16(icmp ? uint16_t{0} : kValues[dice.below(11)]);
  if (k.ip_proto == 6) k.tcp_flags = dice.byte();
  return k;
}

/// What all packets are to their connections.
constexpr state::ConnectionState kState = state::ConnectionState::established;

// ---- one by one

struct Naive {
  const TestCloud& cloud;
  const FlowKey& k;
  const PortsAsked& ports;

  [[nodiscard]] bool addresses() const { return k.is_ip() || k.is_arp(); }
  [[nodiscard]] bool addresses_of(const IpPrefix& p) const {
    return addresses() && p.addr.is_v6() == k.is_ipv6();
  }
  [[nodiscard]] bool header() const { return k.is_ip() && k.ip_frag != 2; }
  [[nodiscard]] bool with_ports() const {
    return header() && (k.ip_proto == 6 || k.ip_proto == 17 || k.ip_proto == 132);
  }
  [[nodiscard]] bool icmp() const { return header() && k.ip_proto == (k.is_ipv4() ? 1 : 58); }

  /// no: 0, yes: 1, unknown: 2; nothing: the packet has no such thing.
  using Answer = std::optional<int>;
  [[nodiscard]] static Answer when(bool has, bool holds) {
    return has ? Answer(holds ? 1 : 0) : std::nullopt;
  }
  [[nodiscard]] Answer group(AddressGroupId id, const IpAddr& address) const {
    if (!addresses()) return std::nullopt;
    const auto g = cloud.address_groups.find(id);
    if (g == cloud.address_groups.end() || g->second.unreadable) return 2;
    return std::any_of(g->second.prefixes.begin(), g->second.prefixes.end(),
                       [&](const IpPrefix& p) { return p.contains(address); })
               ? 1
               : 0;
  }
  [[nodiscard]] Answer port_group(PortGroupId id, const model::Port* port) const {
    if (port == nullptr) return std::nullopt;
    const auto g = cloud.port_groups.find(id);
    if (g == cloud.port_groups.end() || g->second.unreadable) return 2;
    return std::count(port->port_groups.begin(), port->port_groups.end(), id) > 0 ? 1 : 0;
  }
  [[nodiscard]] static bool in(uint16_t port, const std::vector<model::PortRange>& ranges) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const model::PortRange& r) {
      return r.first <= port && port <= r.last;
    });
  }
  [[nodiscard]] static bool mac(const std::array<uint8_t, 6>& value, const model::MaskedMac& m) {
    for (size_t i = 0; i < 6; ++i)
      if ((value[i] & m.mask.bytes[i]) != m.mac.bytes[i]) return false;
    return true;
  }
  [[nodiscard]] bool fragment(model::FragmentClass c) const {
    switch (c) {
      case model::FragmentClass::whole:
        return k.ip_frag == 0;
      case model::FragmentClass::first:
        return k.ip_frag == 1;
      case model::FragmentClass::later:
        return k.ip_frag == 2;
      case model::FragmentClass::any_fragment:
        return k.ip_frag != 0;
      case model::FragmentClass::with_header:
        return k.ip_frag != 2;
    }
    return false;
  }

  [[nodiscard]] int meets(const model::Rule& r) const {
    if (r.unreadable) return 1;
    int all = 1;
    const auto ask = [&](bool given, Condition c, auto&& answer) {
      if (!given || all == 0) return;
      const Answer a = answer();
      if (!a)
        all = 0;
      else if (*a == 2)
        all = 2;
      else if ((*a == 1) == r.is_inverted(c))
        all = 0;
    };
    ask(r.ethertype.has_value(), Condition::ethertype,
        [&] { return when(true, k.eth_type.host() == *r.ethertype); });
    ask(r.src_mac.has_value(), Condition::src_mac,
        [&] { return when(true, mac(k.eth_src, *r.src_mac)); });
    ask(r.dst_mac.has_value(), Condition::dst_mac,
        [&] { return when(true, mac(k.eth_dst, *r.dst_mac)); });
    ask(r.source.has_value(), Condition::source,
        [&] { return when(addresses_of(*r.source), r.source->contains(k.src_ip())); });
    ask(r.destination.has_value(), Condition::destination,
        [&] { return when(addresses_of(*r.destination), r.destination->contains(k.dst_ip())); });
    ask(r.connection != 0, Condition::connection,
        [&] { return when(true, (r.connection & 1u << 1) != 0); });
    ask(r.protocol.has_value(), Condition::protocol,
        [&] { return when(k.is_ip(), k.ip_proto == *r.protocol); });
    ask(!r.source_ports.empty(), Condition::source_ports,
        [&] { return when(with_ports(), in(k.tp_src.host(), r.source_ports)); });
    ask(!r.destination_ports.empty(), Condition::destination_ports,
        [&] { return when(with_ports(), in(k.tp_dst.host(), r.destination_ports)); });
    ask(r.tcp_flags.has_value(), Condition::tcp_flags, [&] {
      return when(header() && k.ip_proto == 6,
                  (k.tcp_flags & r.tcp_flags->looked_at) == r.tcp_flags->set);
    });
    ask(r.icmp_type.has_value(), Condition::icmp_type,
        [&] { return when(icmp(), k.tp_src.host() == *r.icmp_type); });
    ask(r.icmp_code.has_value(), Condition::icmp_code,
        [&] { return when(icmp(), k.tp_dst.host() == *r.icmp_code); });
    ask(r.dscp.has_value(), Condition::dscp,
        [&] { return when(k.is_ip(), k.ip_tos >> 2 == *r.dscp); });
    ask(r.fragment.has_value(), Condition::fragment,
        [&] { return when(k.is_ip(), fragment(*r.fragment)); });
    ask(r.in_port.has_value(), Condition::in_port, [&] {
      return when(ports.in != nullptr, ports.in != nullptr && ports.in->id == *r.in_port);
    });
    ask(r.out_port.has_value(), Condition::out_port, [&] {
      return when(ports.out != nullptr, ports.out != nullptr && ports.out->id == *r.out_port);
    });
    ask(r.in_port_group.has_value(), Condition::in_port_group,
        [&] { return port_group(*r.in_port_group, ports.in); });
    ask(r.out_port_group.has_value(), Condition::out_port_group,
        [&] { return port_group(*r.out_port_group, ports.out); });
    const bool tagged = k.vlan_tci.host() != 0;
    ask(r.vlan.has_value(), Condition::vlan, [&] {
      return when(true, *r.vlan == 0 ? !tagged : tagged && (k.vlan_tci.host() & 0xfff) == *r.vlan);
    });
    // These packets have come through nothing, and quote nothing.
    ask(r.through_bridge.has_value(), Condition::through_bridge, [&] { return when(true, false); });
    ask(r.through_router.has_value(), Condition::through_router, [&] { return when(true, false); });
    ask(r.inner_source.has_value(), Condition::inner_source, [&] { return Answer(); });
    ask(r.inner_destination.has_value(), Condition::inner_destination, [&] { return Answer(); });
    ask(r.source_group.has_value(), Condition::source_group,
        [&] { return group(*r.source_group, k.src_ip()); });
    ask(r.destination_group.has_value(), Condition::destination_group,
        [&] { return group(*r.destination_group, k.dst_ip()); });
    return all;
  }
};

struct Asked {
  std::vector<std::pair<RuleId, bool>> found;  ///< and whether it is unknown
  FlowKey mask;
};

Asked ask(const model::Snapshot& snapshot, ChainId chain, const FlowKey& key,
          const PortsAsked& ports) {
  Asked out;
  Journey j;
  j.key = key;
  j.mask = &out.mask;
  const ParsedPacket nothing;
  j.parsed = &nothing;
  std::vector<Dependency> list;
  Dependencies dependencies(list);
  const model::RuleTable* table = snapshot.rules_of(chain);
  if (table == nullptr) return out;
  RuleReader reader(j, snapshot, dependencies, ports, kState);
  RuleSearch search(*table, reader);
  for (auto found = search.next(); found.rule != nullptr; found = search.next())
    out.found.emplace_back(found.rule->id, found.unknown);
  return out;
}

TEST(RuleSearch, FindsWhatReadingOneByOneFinds) {
  size_t found = 0, unknown = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Dice dice(seed);
    TestCloud c;
    const BridgeId bridge = c.bridge("b");
    for (int i = 0; i < 3; ++i) c.bridge_port("p" + std::to_string(i), bridge);
    const ChainId chain = c.chain("only");
    for (int i = 0; i < 3; ++i) {
      const auto name = std::to_string(i);
      c.address_groups[c.address_group("ag" + name, {})].prefixes = {random_prefix(dice),
                                                                     random_prefix(dice)};
      const PortGroupId group = c.port_group("pg" + name);
      if (dice.one_in(2)) c.ports.begin()->second.port_groups.push_back(group);
    }
    std::sort(c.ports.begin()->second.port_groups.begin(),
              c.ports.begin()->second.port_groups.end());
    for (uint64_t n = 1 + dice.below(80); n > 0; --n) add_rule(c, dice);
    model::Topology topology(HostId{});
    topology.apply(c.changes(HostId{}));
    for (int step = 0; step < 10; ++step) {
      const auto snapshot = topology.snapshot();
      for (int i = 0; i < 100; ++i) {
        const FlowKey key = random_key(dice);
        PortsAsked ports{.in = snapshot->port(some_key(c.ports, dice))};
        if (dice.one_in(2)) ports.out = snapshot->port(some_key(c.ports, dice));
        std::vector<std::pair<std::pair<uint32_t, RuleId>, bool>> expected;
        for (const auto& [id, rule] : c.rules)
          if (const int met = Naive{c, key, ports}.meets(rule); met != 0 && rule.chain == chain)
            expected.push_back({{rule.position, id}, met == 2});
        std::sort(expected.begin(), expected.end());
        const Asked asked = ask(*snapshot, chain, key, ports);
        ASSERT_EQ(asked.found.size(), expected.size());
        for (size_t n = 0; n < expected.size(); ++n) {
          EXPECT_EQ(asked.found[n].first, expected[n].first.second);
          EXPECT_EQ(asked.found[n].second, expected[n].second);
          ++found;
          unknown += expected[n].second;
        }
        // A packet that agrees in the bits read is met by the same rules, with the same bits.
        FlowKey other = random_key(dice);
        for (size_t b = 0; b < sizeof other; ++b)
          other.bytes()[b] = static_cast<uint8_t>((other.bytes()[b] & ~asked.mask.bytes()[b]) |
                                                  (key.bytes()[b] & asked.mask.bytes()[b]));
        const Asked again = ask(*snapshot, chain, other, ports);
        ASSERT_EQ(again.found, asked.found);
        ASSERT_EQ(again.mask, asked.mask);
      }
      const TestCloud before = c;
      for (int n = 0; n < 4; ++n) {
        if (dice.one_in(2))
          add_rule(c, dice);
        else
          mutate_filters(c, dice);
      }
      c.chains = before.chains;
      std::vector<model::Change> changes;
      add_filter_changes(before, c, changes);
      for (const auto& [id, port] : c.ports) changes.push_back(model::PortChange{id, port});
      topology.apply(changes);
    }
  }
  std::printf("%zu rules met, %zu of them unknown\n", found, unknown);
  EXPECT_GT(found, 100'000u);
  EXPECT_GT(unknown, 100u);
}

TEST(RuleSearch, ReadsWhatItTakesAndNoMore) {
  TestCloud c;
  const ChainId chain = c.chain("only");
  for (int i = 0; i < 1000; ++i) {
    auto& r =
        c.rule("r" + std::to_string(i), chain, static_cast<uint32_t>(i), model::RuleAction::drop);
    r.protocol = ip_proto::kTcp;
    r.source = IpPrefix{IpAddr::v4(0x0a000000u + static_cast<uint32_t>(i) * 256), 24};
    r.destination_ports = {{80, 80}};
  }
  model::Topology topology(HostId{});
  topology.apply(c.changes(HostId{}));
  FlowKey key;
  key.eth_type = Be16(eth_type::kIpv4);
  key.ip_proto = ip_proto::kUdp;
  const Asked udp = ask(*topology.snapshot(), chain, key, kNoPorts);
  EXPECT_TRUE(udp.found.empty());
  EXPECT_EQ(udp.mask.ip_proto, 0xff);
  EXPECT_EQ(udp.mask.nw, FlowKey().nw) << "no rule is about UDP, whatever its addresses";
  key.ip_proto = ip_proto::kTcp;
  key.tp_dst = Be16(0x8000);
  const Asked high = ask(*topology.snapshot(), chain, key, kNoPorts);
  EXPECT_EQ(high.mask.tp_dst.host(), 0x8000) << "one bit tells it from port 80";
  EXPECT_EQ(high.mask.nw, FlowKey().nw);
  key.tp_dst = Be16(80);
  key.set_src_ip(IpAddr::v4(0xc0000201));
  const Asked outside = ask(*topology.snapshot(), chain, key, kNoPorts);
  EXPECT_EQ(outside.mask.nw[0], 0x80) << "the first bit tells it from 10/8";
  key.set_src_ip(IpAddr::v4(0x0a000701));
  const Asked met = ask(*topology.snapshot(), chain, key, kNoPorts);
  ASSERT_EQ(met.found.size(), 1u);
  EXPECT_EQ(met.mask.nw[2], 0xff);
  EXPECT_EQ(met.mask.nw[3], 0) << "a /24 does not ask for the machine";
}

}  // namespace
}  // namespace plexus::sim
