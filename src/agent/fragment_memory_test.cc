// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "packet/build.h"

namespace plexus::agent {
namespace {

constexpr DpPort kPort{7};
const MonoTime kNow = MonoTime{} + std::chrono::seconds(1000);

PacketSpec spec(bool v6) {
  PacketSpec out;
  out.eth_src = *MacAddr::parse("02:00:00:00:00:01");
  out.eth_dst = *MacAddr::parse("02:00:00:00:00:02");
  out.src = *IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1");
  out.dst = *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2");
  out.ipv4_id = 77;
  return out;
}

std::vector<Frame> fragments(const PacketSpec& to, uint32_t id = 77) {
  const std::vector<uint8_t> payload(200, 0xaa);
  return fragment(udp_packet(to, 1000, 53, payload), 120, id);
}

using Answer = FragmentMemory::Answer;

sim::Packet packet(const Frame& frame, DpPort port = kPort) {
  return sim::packet_of(frame, port);
}

/// Translated to another source and port, MACs, protocol, addresses and TTL read.
sim::Outcome translated(const sim::Packet& first) {
  sim::Outcome out;
  out.verdict = sim::Verdict::forward;
  out.leads_fragments = true;
  Copy copy;
  copy.rewrite.ip_src = *IpAddr::parse(first.key.is_ipv6() ? "2001:db8::1" : "192.0.2.1");
  copy.rewrite.tp_src = 4711;
  copy.rewrite.ttl_decrement = 1;
  copy.output = LocalOutput{DpPort{9}};
  out.actions.copies.push_back(copy);
  out.mask.eth_dst.fill(0xff);
  out.mask.vlan_tci = Be16(0x1fff);
  out.mask.ip_proto = 0xff;
  out.mask.ip_frag = 0xff;
  out.mask.ip_ttl = 0xff;
  out.mask.nw.fill(0xff);
  out.mask.tp_src = out.mask.tp_dst = Be16(0xffff);
  return out;
}

class FragmentMemoryTest : public testing::TestWithParam<bool> {
 protected:
  FragmentMemoryTest() : all_(fragments(spec(GetParam()))) {
    const sim::Packet first = packet(all_[0]);
    memory_.remember(first, translated(first), kNow);
  }
  FragmentMemory::Answer answer(const Frame& later, MonoTime now = kNow, DpPort port = kPort) {
    outcome_.clear();
    outcome_.follows_first = true;
    const auto out = memory_.follow(packet(later, port), outcome_, now).answer;
    EXPECT_FALSE(outcome_.cacheable);
    return out;
  }
  bool follows(const Frame& later, MonoTime now = kNow, DpPort port = kPort) {
    if (answer(later, now, port) != Answer::followed) return false;
    EXPECT_EQ(outcome_.verdict, sim::Verdict::forward);
    EXPECT_EQ(outcome_.actions.copies.size(), 1u);
    const Rewrite& rewrite = outcome_.actions.copies.at(0).rewrite;
    EXPECT_TRUE(rewrite.ip_src);
    EXPECT_FALSE(rewrite.tp_src) << "it has no ports";
    return true;
  }

  std::vector<Frame> all_;
  FragmentMemory memory_;
  sim::Outcome outcome_;
};

TEST_P(FragmentMemoryTest, LaterOnesGoTheWayOfTheirFirst) {
  ASSERT_GE(all_.size(), 3u);
  EXPECT_TRUE(follows(all_[1]));
  EXPECT_TRUE(follows(all_[2]));
  EXPECT_TRUE(follows(all_[1])) << "sent twice";
}

TEST_P(FragmentMemoryTest, NotThoseOfAnotherPacket) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  EXPECT_FALSE(follows(fragments(other, 78)[1]));
  other = spec(GetParam());
  other.src = *IpAddr::parse(GetParam() ? "fd00::3" : "10.0.0.3");
  EXPECT_FALSE(follows(fragments(other)[1]));
  EXPECT_FALSE(follows(all_[1], kNow, DpPort{8}));
}

TEST_P(FragmentMemoryTest, TheirTtlNeedOnlySuffice) {
  PacketSpec other = spec(GetParam());
  for (const uint8_t ttl : std::array<uint8_t, 3>{255, 33, 2}) {
    other.ttl = ttl;
    EXPECT_TRUE(follows(fragments(other)[1])) << int{ttl};
  }
  other.ttl = 1;
  EXPECT_EQ(answer(fragments(other)[1]), Answer::by_itself);
  // What was dropped may have been so for its TTL.
  const sim::Packet first = packet(all_[0]);
  sim::Outcome outcome = translated(first);
  outcome.verdict = sim::Verdict::drop;
  outcome.reason = sim::DropReason::ttl_exceeded;
  outcome.actions.copies.clear();
  memory_.remember(first, outcome, kNow);
  other.ttl = 33;
  EXPECT_EQ(answer(fragments(other)[1]), Answer::by_itself);
}

TEST_P(FragmentMemoryTest, WhoSendsThemIsLearnedFromEach) {
  const sim::StateWrite learned =
      sim::MacLearned{BridgeId{Uuid::derived("bridge", "b")}, PortId{Uuid::derived("port", "p")},
                      *MacAddr::parse("02:00:00:00:00:09")};
  sim::Outcome outcome;
  outcome.follows_first = true;
  outcome.writes = {sim::PortsNeeded{}, learned};
  EXPECT_EQ(memory_.follow(packet(all_[1]), outcome, kNow).answer, Answer::followed);
  EXPECT_EQ(outcome.writes, std::vector{learned});
}

TEST_P(FragmentMemoryTest, NotThoseThatDifferInMoreThanThePorts) {
  PacketSpec other = spec(GetParam());
  other.eth_dst = *MacAddr::parse("02:00:00:00:00:03");
  EXPECT_FALSE(follows(fragments(other)[1])) << "to another machine";
  other = spec(GetParam());
  other.ttl = 1;
  EXPECT_FALSE(follows(fragments(other)[1])) << "the rewrite would leave it no TTL";
  Frame tagged = all_[1];
  const std::vector<uint8_t> tag{0x81, 0x00, 0x00, 0x05};
  tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
  EXPECT_FALSE(follows(tagged)) << "of another network by the same interface";
}

TEST_P(FragmentMemoryTest, NotOneThatOverlapsWithTheFirst) {
  // Cut smaller, the second piece lies within the first one of the others.
  const std::vector<uint8_t> payload(200, 0xaa);
  const auto smaller = fragment(udp_packet(spec(GetParam()), 1000, 53, payload), 72, 77);
  EXPECT_EQ(answer(smaller.at(1)), Answer::refused);
  EXPECT_TRUE(follows(smaller.back()));
}

TEST_P(FragmentMemoryTest, NotOneThatWouldBringOtherFlags) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto all =
      fragment(tcp_packet(other, 1000, 80, 0x10, 1, std::vector<uint8_t>(200, 0xaa)), 80, 78);
  ASSERT_GT(all.size(), 1u);
  Frame later = all.back();
  const size_t at = GetParam() ? 14 + 40 + 2 : 14 + 6;  // where the offset stands, in IPv6 in bytes
  const auto put_offset = [&](size_t bytes) {
    later.at(at) = 0;
    later.at(at + 1) = static_cast<uint8_t>(GetParam() ? bytes : bytes / 8);
  };
  // Whether the first one is known or not: the one that brings them might come before it.
  put_offset(8);
  EXPECT_EQ(answer(later), Answer::refused);
  put_offset(16);
  EXPECT_EQ(answer(later), Answer::refused);
  put_offset(24);
  EXPECT_EQ(answer(later), Answer::unknown);
  if (!GetParam()) return;
  // Whatever it says that it is of.
  for (const uint8_t protocol : {ip_proto::kUdp, ip_proto::kSctp, uint8_t{60}}) {
    later.at(14 + 40) = protocol;
    put_offset(16);
    EXPECT_EQ(answer(later), Answer::refused) << int{protocol};
    put_offset(24);
    EXPECT_EQ(answer(later), Answer::unknown) << int{protocol};
  }
}

TEST_P(FragmentMemoryTest, WhereTheFirstIsKnownItsEndDecides) {
  // Of 16 bytes: another UDP packet's may be so short.
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto all = fragment(udp_packet(other, 1000, 53, Frame(40, 0xaa)),
                            GetParam() ? 40 + 8 + 16 : 20 + 16, 78);
  ASSERT_GT(all.size(), 2u);
  const sim::Packet first = packet(all[0]);
  memory_.remember(first, translated(first), kNow);
  EXPECT_TRUE(follows(all[1]));
}

TEST_P(FragmentMemoryTest, OneLargerThanItsFirstIsCutForTheWay) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto all = fragments(other, 78);
  const sim::Packet first = packet(all[0]);
  sim::Outcome outcome = translated(first);
  outcome.actions.mtu = 100;
  memory_.remember(first, outcome, kNow);
  const auto later = answer(all[1]);
  if (GetParam()) {
    EXPECT_EQ(later, Answer::by_itself) << "nobody cuts IPv6 on its way";
    return;
  }
  ASSERT_EQ(later, Answer::followed);
  EXPECT_EQ(outcome_.verdict, sim::Verdict::consumed);
  EXPECT_GE(outcome_.generated.size(), 2u);
  size_t bytes = 0;
  for (const sim::Generated& made : outcome_.generated) {
    const ParsedPacket piece = parse_packet(made.frame);
    EXPECT_LE(made.frame.size(), 14u + 100);
    EXPECT_EQ(piece.key.ip_frag, static_cast<uint8_t>(FragKind::later));
    EXPECT_EQ(made.kind, sim::GeneratedKind::fragment);
    EXPECT_FALSE(made.actions.copies.at(0).rewrite.tp_src);
    bytes += made.frame.size() - 34;
  }
  EXPECT_EQ(bytes, all[1].size() - 34);
  Frame whole = all[1];
  whole[14 + 6] |= 0x40;
  EXPECT_EQ(answer(whole), Answer::by_itself) << "not to be cut";
}

TEST_P(FragmentMemoryTest, WhatWasCutFurtherLeadsTheOthersInPieces) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto all = fragments(other, 78);
  const sim::Packet first = packet(all[0]);
  sim::Outcome outcome = translated(first);
  outcome.verdict = sim::Verdict::consumed;
  Actions way = outcome.actions;
  way.mtu = 120;
  outcome.actions = {};
  for (int piece = 0; piece < 2; ++piece)
    outcome.generated.push_back({all[0], way, sim::GeneratedKind::fragment, RouterId{}});
  memory_.remember(first, outcome, kNow);
  EXPECT_TRUE(follows(all[1])) << "as it is: small enough, and once";
}

TEST_P(FragmentMemoryTest, AFirstThatWaitsHasTheOthersWait) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto all = fragments(other, 78);
  const sim::Packet first = packet(all[0]);
  sim::Outcome outcome = translated(first);
  outcome.verdict = sim::Verdict::postpone;
  outcome.actions = {};
  outcome.leads_fragments = false;
  memory_.remember(first, outcome, kNow, {.ticket = 5});
  for (const bool asked : {true, false}) {
    outcome_.clear();
    outcome_.verdict = sim::Verdict::postpone;
    outcome_.follows_first = asked;
    const auto there = memory_.follow(packet(all[1]), outcome_, kNow);
    EXPECT_EQ(there.answer, Answer::waits) << "under whatever topology";
    EXPECT_EQ(there.waits.ticket, 5u);
  }
  // Which of those that wait by themselves does nothing for others.
  memory_.remember(first, translated(first), kNow);
  outcome_.clear();
  outcome_.verdict = sim::Verdict::postpone;
  EXPECT_EQ(memory_.follow(packet(all[1]), outcome_, kNow).answer, Answer::by_itself);
}

TEST_P(FragmentMemoryTest, TwoNetworksBehindOneInterface) {
  const auto tagged = [](Frame frame) {
    const std::vector<uint8_t> tag{0x81, 0x00, 0x00, 0x05};
    frame.insert(frame.begin() + 12, tag.begin(), tag.end());
    return frame;
  };
  const Frame other = tagged(all_[0]);
  const sim::Packet first = packet(other);
  sim::Outcome outcome = translated(first);
  outcome.actions.copies[0].output = LocalOutput{DpPort{10}};
  memory_.remember(first, outcome, kNow);
  ASSERT_TRUE(follows(all_[1]));
  EXPECT_EQ(outcome_.actions.copies[0].output, Output(LocalOutput{DpPort{9}}));
  ASSERT_TRUE(follows(tagged(all_[1])));
  EXPECT_EQ(outcome_.actions.copies[0].output, Output(LocalOutput{DpPort{10}}));
}

TEST(FragmentMemory, IPv6FragmentsMayNameDifferentProtocols) {
  FragmentMemory memory;
  // The destination options of the first one stand behind its fragment header: the later one names those, not UDP.
  const auto all = fragments(spec(true));
  const sim::Packet first = packet(all[0]);
  memory.remember(first, translated(first), kNow);
  Frame later = all[1];
  later[14 + 40] = 60;
  sim::Outcome outcome;
  outcome.follows_first = true;
  EXPECT_EQ(memory.follow(packet(later), outcome, kNow).answer, Answer::followed);
}

TEST(FragmentMemory, FloodsOfOneBridgeForgetNothingOfAnother) {
  FragmentMemory memory(64);
  const auto remember = [&](uint32_t key, uint16_t id) {
    PacketSpec one = spec(false);
    one.ipv4_id = id;
    const auto all = fragments(one, id);
    const sim::Packet first = sim::packet_of(all[0], kTunnelPort, key);
    memory.remember(first, translated(first), kNow);
    return all[1];
  };
  const Frame quiet = remember(5, 1);
  for (uint16_t id = 0; id < 128; ++id) (void)remember(6, id);
  sim::Outcome outcome;
  outcome.follows_first = true;
  EXPECT_EQ(memory.follow(sim::packet_of(quiet, kTunnelPort, 5), outcome, kNow).answer,
            Answer::followed);
}

TEST_P(FragmentMemoryTest, AnIdentificationThatIsUsedAgainIsAnotherPackets) {
  const sim::Packet first = packet(all_[0]);
  sim::Outcome outcome = translated(first);
  outcome.leads_fragments = false;
  memory_.remember(first, outcome, kNow);
  EXPECT_FALSE(follows(all_[1]));
}

TEST_P(FragmentMemoryTest, NotForLong) {
  EXPECT_TRUE(follows(all_[1], kNow + FragmentMemory::kKept - std::chrono::seconds(1)));
  EXPECT_FALSE(follows(all_[1], kNow + FragmentMemory::kKept));
}

TEST_P(FragmentMemoryTest, NotWhenSomethingChangesThatTheFirstDependsOn) {
  const Tag read{TagKind::chain, Uuid::derived("test", "read"), 0},
      behind{TagKind::routes, Uuid::derived("test", "behind"), 0},
      other{TagKind::chain, Uuid::derived("test", "other"), 0};
  const sim::Packet first = packet(all_[0]);
  sim::Outcome outcome = translated(first);
  outcome.dependencies = {{read, false}, {behind, true}};
  // A region of packets: of fragments from that source, to that port.
  const auto region = [&](const char* v4, const char* v6, uint16_t port,
                          FragKind kind = FragKind::first) {
    FlowKey mask, key = first.key;
    key.set_src_ip(*IpAddr::parse(GetParam() ? v6 : v4));
    key.tp_dst = Be16(port);
    key.ip_frag = static_cast<uint8_t>(kind);
    mask.nw.fill(0xff);
    mask.tp_dst = Be16(0xffff);
    mask.ip_frag = 0xff;
    return match_of(key, mask);
  };
  const Match its = region("10.0.0.1", "fd00::1", 53), others = region("10.0.0.3", "fd00::3", 53),
              other_port = region("10.0.0.1", "fd00::1", 80),
              later = region("10.0.0.1", "fd00::1", 53, FragKind::later);
  const struct {
    const char* what;
    std::vector<TagChange> changes;
    bool goes_on;
  } cases[] = {
      {"nothing", {}, true},
      {"something else", {{other, std::nullopt}}, true},
      {"the same thing, for others", {{other, std::nullopt}, {read, others}}, true},
      {"the same thing, for another port", {{read, other_port}}, true},
      {"the same thing, for what is no first fragment", {{read, later}}, true},
      {"all of it", {{read, std::nullopt}}, false},
      {"for it, as one of many", {{read, others}, {read, its}}, false},
      {"what was read behind a rewrite", {{behind, others}}, false},
  };
  for (const auto& c : cases) {
    memory_.remember(first, outcome, kNow);
    memory_.publish(c.changes);
    EXPECT_EQ(follows(all_[1]), c.goes_on) << c.what;
    // Its own first one may be still to come.
    if (!c.goes_on) {
      EXPECT_EQ(answer(all_[1]), Answer::unknown) << c.what;
    }
    memory_.publish({});
    EXPECT_EQ(follows(all_[1]), c.goes_on) << c.what;
  }
}

TEST_P(FragmentMemoryTest, WhatDevicesTakeIsNotRemembered) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto waiting = fragments(other, 78);
  const sim::Packet first = packet(waiting[0]);
  sim::Outcome outcome = translated(first);
  outcome.verdict = sim::Verdict::consumed;
  memory_.remember(first, outcome, kNow);
  EXPECT_FALSE(follows(waiting[1]));
  EXPECT_EQ(memory_.size(), 1u);
}

TEST_P(FragmentMemoryTest, WhatIsOverMakesRoom) {
  const auto other = fragments(spec(GetParam()), 78);
  const sim::Packet first = packet(other[0]);
  memory_.remember(first, translated(first), kNow + 2 * FragmentMemory::kKept);
  EXPECT_EQ(memory_.size(), 1u);
}

/// A memory of 64, and packets from machine to machine by their number.
class FullFragmentMemory : public testing::TestWithParam<bool> {
 protected:
  static constexpr size_t kMost = 64;

  /// The first one is known from now on; another one of the packet.
  Frame remember(uint16_t id, unsigned from = 1, unsigned to = 2, DpPort port = kPort,
                 size_t copies = 1) {
    PacketSpec one = spec(GetParam());
    const auto address = [&](unsigned machine) {
      return *IpAddr::parse(GetParam() ? fmt::format("fd00:0:0:{:x}::{:x}", machine, id)
                                       : fmt::format("10.0.{}.1", machine));
    };
    one.src = address(from);
    one.dst =
        *IpAddr::parse(GetParam() ? fmt::format("fd00::{:x}", to) : fmt::format("10.1.{}.1", to));
    one.ipv4_id = id;
    const auto all = fragments(one, id);
    const sim::Packet first = packet(all[0], port);
    sim::Outcome outcome = translated(first);
    outcome.actions.copies.resize(copies, outcome.actions.copies.front());
    memory_.remember(first, outcome, kNow);
    return all[1];
  }
  bool follows(const Frame& later, DpPort port = kPort) {
    sim::Outcome outcome;
    outcome.follows_first = true;
    return memory_.follow(packet(later, port), outcome, kNow).answer == Answer::followed;
  }

  FragmentMemory memory_{kMost};
};

TEST_P(FullFragmentMemory, ThePortThatHoldsMostForgetsItsOldest) {
  const Frame other = remember(5, 1, 2, DpPort{8}), oldest = remember(99);
  for (uint16_t id = 100; id < 100 + kMost - 2; ++id) (void)remember(id);
  EXPECT_TRUE(follows(oldest)) << "one may have all that nobody else needs";
  const Frame newest = remember(200);
  EXPECT_EQ(memory_.size(), kMost);
  EXPECT_FALSE(follows(oldest));
  EXPECT_TRUE(follows(newest));
  EXPECT_TRUE(follows(other, DpPort{8}));
  // Others get theirs, until they hold as much.
  for (uint16_t id = 0; id < 2 * kMost; ++id) (void)remember(id, 1, 2, DpPort{9});
  EXPECT_EQ(memory_.size(), kMost);
  EXPECT_TRUE(follows(newest));
  EXPECT_TRUE(follows(other, DpPort{8}));
}

TEST_P(FullFragmentMemory, WhoSendsManyLosesItsOwn) {
  const Frame quiet = remember(1, 1, 2), to_the_same = remember(2, 3, 9);
  for (uint16_t id = 100; id < 100 + 4 * kMost; ++id) (void)remember(id, 8, 9);
  EXPECT_TRUE(follows(quiet));
  EXPECT_TRUE(follows(to_the_same));
  EXPECT_TRUE(follows(remember(10, 8, 9)));
  EXPECT_EQ(memory_.size(), kMost);
}

TEST_P(FullFragmentMemory, ToWhomManySendLosesItsOwn) {
  const Frame quiet = remember(1, 1, 2);
  for (uint16_t id = 10; id < 10 + 3 * kMost; ++id) (void)remember(id, id, 9);
  EXPECT_TRUE(follows(quiet));
  EXPECT_EQ(memory_.size(), kMost);
}

TEST_P(FullFragmentMemory, OnesWithManyCopiesCountForMore) {
  const Frame quiet = remember(1, 1, 2, DpPort{8});
  for (uint16_t id = 100; id < 120; ++id)
    (void)remember(id, 8, 9, kPort, 8 * FragmentMemory::kPartsOfOne);
  EXPECT_EQ(memory_.size(), 1 + kMost / 8 - 1);
  EXPECT_TRUE(follows(quiet, DpPort{8}));
  // What is more than all is not kept.
  const Frame huge = remember(300, 8, 9, kPort, (kMost + 1) * FragmentMemory::kPartsOfOne);
  EXPECT_FALSE(follows(huge));
  EXPECT_TRUE(follows(quiet, DpPort{8}));
}

INSTANTIATE_TEST_SUITE_P(Families, FullFragmentMemory, testing::Bool(),
                         [](const auto& family) { return family.param ? "v6" : "v4"; });

INSTANTIATE_TEST_SUITE_P(Families, FragmentMemoryTest, testing::Bool(),
                         [](const auto& family) { return family.param ? "v6" : "v4"; });

}  // namespace
}  // namespace plexus::agent
