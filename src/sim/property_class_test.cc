// SPDX-License-Identifier: Apache-2.0
// What must hold for every topology and every packet: all packets of a class get its answer, and noise hurts nobody.
// The seed of a failure is printed; PLEXUS_SEED=n runs one seed alone,
// PLEXUS_TEST_TIMES=n so many times as many seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <tuple>
#include <utility>

#include "flow/match.h"
#include "flow/match_text.h"
#include "packet/text.h"
#include "sim/simulate.h"
#include "sim/test_random_cloud.h"
#include "sim/test_random_packets.h"

namespace plexus::sim {
namespace {

/// An answer to a packet of a known connection that ends at a port of this host; nothing when there is none such.
std::optional<std::pair<Entry, FlowKey>> answer_key(const World& w,
                                                    const state::ConnectionTable& table,
                                                    HostId self, Dice& dice) {
  std::vector<state::Connection> known;
  table.for_each([&](state::ConnectionNumber, const state::Connection& c) {
    const auto b = w.cloud.bindings.find(c.reply_port);
    // Sub-ports have no interface of their own.
    if (b != w.cloud.bindings.end() && b->second.host == self &&
        w.cloud.dp_ports.contains(c.reply_port))
      known.push_back(c);
  });
  if (known.empty()) return std::nullopt;
  const state::Connection& c = dice.of(known);
  const state::Tuple t =
      c.entering(dice.one_in(5) ? state::Direction::original : state::Direction::reply);
  const Entry entry{w.cloud.dp_port(c.reply_port), 0};
  FlowKey k = random_key(w, entry, dice);
  if (const auto near = gateways(w, entry); !near.empty() && dice.one_in(2))
    k.eth_dst = dice.of(near).bytes;
  else if (const auto port = w.cloud.ports.find(c.port); port != w.cloud.ports.end())
    k.eth_dst = port->second.mac.bytes;
  k.eth_src[0] &= 0xfe;
  k.eth_type = Be16(t.src.is_v4() ? eth_type::kIpv4 : eth_type::kIpv6);
  k.vlan_tci = {};
  k.nw = {};
  k.set_src_ip(t.src);
  k.set_dst_ip(t.dst);
  k.ip_frag = 0;
  k.ip_ttl = 64;
  k.ip_proto = t.protocol;
  if (state::has_ports(t.protocol)) {
    k.tp_src = Be16(t.src_port);
    k.tp_dst = Be16(t.dst_port);
    k.tcp_flags = dice.one_in(4) ? dice.byte() : uint8_t{16};
  } else {
    k.tp_dst = {};
  }
  return std::pair(entry, k);
}

/// A chain at every machine that has none looks at the connection, and decides nothing.
void track_at_machines(TestCloud& cloud) {
  const ChainId chain = cloud.chain("looks");
  cloud.rule("looks", chain, 1, model::RuleAction::continue_).connection = 1;
  for (auto& [id, port] : cloud.ports)
    if (!port.peer && !port.in_chain) port.in_chain = chain;
}

TEST(Property, EveryPacketOfAClassGetsItsAnswer) {
  size_t classes = 0, members = 0, packets = 0, routed = 0, larger = 0, limited = 0;
  size_t answered[2] = {}, tagged = 0, marked = 0, copied = 0, begun = 0, replies = 0;
  for (uint64_t seed : seeds(100)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed);
    World w = random_world(dice);
    if (dice.one_in(4)) track_at_machines(w.cloud);
    const HostId self = w.hosts[0];
    const auto snapshot = w.cloud.snapshot(self);
    state::ConnectionTable table({});
    const ConnectionView view{
        &table, dice.one_in(2) ? state::Midstream::refuse : state::Midstream::take_up};
    const MonoTime now = MonoTime{} + std::chrono::seconds(100);
    for (int i = 0; i < 200; ++i) {
      Entry entry = random_entry(w, self, dice);
      FlowKey key = dice.one_in(3) ? routed_key(w, entry, dice) : random_key(w, entry, dice);
      if (dice.one_in(4))
        if (const auto answer = answer_key(w, table, self, dice)) std::tie(entry, key) = *answer;
      const Frame frame = frame_of(key, dice);
      const Packet packet = packet_of(frame, entry.port, entry.tunnel_key);
      ASSERT_EQ(packet.parsed.error, ParseError::none) << format_frame(frame);
      Outcome o;
      look_ahead({&packet, 1}, *snapshot, view);
      simulate(packet, *snapshot, view, now, o);
      ++packets;
      routed += std::any_of(o.actions.copies.begin(), o.actions.copies.end(),
                            [](const Copy& c) { return c.rewrite.ttl_decrement > 0; });
      for (const Copy& c : o.actions.copies) {
        tagged += o.cacheable && (c.rewrite.pop_vlan || c.rewrite.push_vlan);
        marked += o.cacheable && c.rewrite.dscp.has_value();
      }
      Trace trace;
      Outcome traced;
      simulate(packet, *snapshot, view, now, traced, &trace);
      ASSERT_TRUE(same_answer(o, traced)) << "a trace changes nothing";
      ASSERT_FALSE(o.verdict != Verdict::forward && o.verdict != Verdict::consumed &&
                   (o.begins || o.belongs || !o.tell.empty()));
      ASSERT_FALSE(o.begins && o.belongs);
      ASSERT_TRUE(!o.begins || state::is_sound(o.begins->record));
      if (o.begins) ++begun;
      if (o.belongs && o.belongs->direction == state::Direction::reply) ++replies;
      ASSERT_EQ(o.verdict == Verdict::forward, !o.actions.drops());
      ASSERT_EQ(o.verdict == Verdict::drop, o.reason != DropReason::none);
      ASSERT_EQ(o.verdict == Verdict::postpone, !o.missing.empty());
      if (o.verdict == Verdict::consumed || o.verdict == Verdict::postpone ||
          !o.generated.empty() || !o.writes.empty()) {
        ASSERT_FALSE(o.cacheable);
      }
      if (entry.port == kTunnelPort) {
        for (const Copy& c : o.actions.copies)
          ASSERT_TRUE(std::holds_alternative<LocalOutput>(c.output)) << trace.text();
        ASSERT_TRUE(o.generated.empty() && o.writes.empty());
      }
      // Last of all, as a worker would; members below are of the table as it was.
      const auto act = [&] {
        if (o.begins) (void)table.commit(o.begins->record, now);
        if (o.belongs && !o.belongs->error)
          (void)table.saw(o.belongs->number, o.belongs->direction, o.belongs->segment, now);
      };
      if (!o.cacheable) {
        act();
        continue;
      }
      ++classes;
      copied += trace.text().find(" copies what ") != std::string::npos;
      limited += o.actions.mtu != 0;
      ASSERT_TRUE(fits(o.actions, packet.parsed, frame, 0)) << trace.text();
      if (const NeighbourAnswer* a = o.actions.answer()) ++answered[a->target.is_v6()];
      const Match match = match_of(packet.key, o.mask);
      for (int j = 0; j < 32; ++j) {
        // Outside the mask anything: values that mean something, or noise.
        FlowKey other = random_key(w, entry, dice);
        if (dice.one_in(4))
          for (uint8_t& b : other.nw) b = dice.byte();
        if (dice.one_in(4)) other.ip_ttl = dice.byte();
        auto bytes = other.bytes();
        for (size_t b = 0; b < bytes.size(); ++b)
          bytes[b] = static_cast<uint8_t>((bytes[b] & ~o.mask.bytes()[b]) |
                                          (packet.key.bytes()[b] & o.mask.bytes()[b]));
        const Frame variant = frame_of(other, dice);
        const Packet member = packet_of(variant, entry.port, entry.tunnel_key);
        if (member.parsed.error != ParseError::none || !match.covers(member.key)) continue;
        if (!fits(o.actions, member.parsed, variant, 0)) {
          ++larger;
          continue;
        }
        ++members;
        Outcome answer;
        simulate(member, *snapshot, view, now, answer);
        ASSERT_TRUE(same_answer(o, answer))
            << "class:  " << format(match) << "\nfirst:  " << format_frame(frame) << "\n        "
            << describe(o) << "\nmember: " << format_frame(variant) << "\n        "
            << describe(answer) << "\n"
            << trace.text();
        // The same class, too: flows are equal or apart. Only TTL classes may overlap.
        answer.mask.ip_ttl = o.mask.ip_ttl;
        ASSERT_EQ(answer.mask, o.mask) << format(match) << "\n"
                                       << format(match_of(member.key, answer.mask));
      }
      act();
    }
  }
  std::printf("%zu packets (%zu routed), %zu classes, %zu members checked\n", packets, routed,
              classes, members);
  std::printf("%zu ARP requests and %zu solicitations answered by a class\n", answered[0],
              answered[1]);
  std::printf("%zu classes with mirrors; %zu copies tagged or untagged, %zu marked\n", copied,
              tagged, marked);
  EXPECT_GT(copied, classes / 200);
  EXPECT_GT(tagged, classes / 200);
  EXPECT_GT(marked, classes / 200);
  std::printf("%zu connections begun, %zu answers of some\n", begun, replies);
  EXPECT_GT(begun, 100u);
  EXPECT_GT(replies, 30u);
  EXPECT_GT(answered[0], 5u);
  EXPECT_GT(answered[1], 5u);
  EXPECT_GT(classes, packets / 4);
  EXPECT_GT(routed, packets / 50);
  EXPECT_GT(members, classes * 16) << "too few of the random members were in their class";
  EXPECT_GT(limited, classes / 1000);
  EXPECT_GT(larger, limited) << "too few were too large for their class";
}

TEST(Property, NoiseNeverHurts) {
  for (uint64_t seed : seeds(20)) {
    SCOPED_TRACE("PLEXUS_SEED=" + std::to_string(seed));
    Dice dice(seed + 3000000);
    const World w = random_world(dice);
    const auto snapshot = w.cloud.snapshot(w.hosts[0]);
    for (int i = 0; i < 500; ++i) {
      const Entry entry = random_entry(w, w.hosts[0], dice);
      Frame frame = frame_of(random_key(w, entry, dice), dice);
      for (uint64_t n = dice.below(4); n > 0; --n) frame[dice.below(frame.size())] = dice.byte();
      if (dice.one_in(3)) frame.resize(dice.below(frame.size() + 1));
      frame.shrink_to_fit();
      Trace trace;
      const Packet packet = packet_of(frame, entry.port, entry.tunnel_key);
      const Outcome o = simulate(packet, *snapshot, {}, &trace);
      if (packet.parsed.error != ParseError::none) {
        ASSERT_EQ(o.verdict, Verdict::drop);
        ASSERT_EQ(o.reason, drop_reason_of(packet.parsed.error));
        ASSERT_FALSE(o.cacheable);
      }
      ASSERT_FALSE(trace.text().empty());
    }
  }
}

}  // namespace
}  // namespace plexus::sim
