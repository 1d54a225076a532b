// SPDX-License-Identifier: Apache-2.0
#include "agent/fragment_memory.h"

#include <gtest/gtest.h>

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
    memory_.remember(first, translated(first), 1, kNow);
  }
  bool follows(const Frame& later, uint64_t epoch = 1, MonoTime now = kNow, DpPort port = kPort) {
    sim::Outcome out;
    out.follows_first = true;
    if (!memory_.follow(packet(later, port), out, epoch, now)) return false;
    EXPECT_EQ(out.verdict, sim::Verdict::forward);
    EXPECT_FALSE(out.cacheable);
    EXPECT_EQ(out.actions.copies.size(), 1u);
    const Rewrite& rewrite = out.actions.copies.at(0).rewrite;
    EXPECT_TRUE(rewrite.ip_src);
    EXPECT_FALSE(rewrite.tp_src) << "it has no ports";
    return true;
  }

  std::vector<Frame> all_;
  FragmentMemory memory_;
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
  EXPECT_FALSE(follows(all_[1], 1, kNow, DpPort{8}));
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
  EXPECT_FALSE(follows(smaller.at(1)));
  EXPECT_TRUE(follows(smaller.back()));
}

TEST_P(FragmentMemoryTest, AnIdentificationThatIsUsedAgainIsAnotherPackets) {
  const sim::Packet first = packet(all_[0]);
  sim::Outcome outcome = translated(first);
  outcome.leads_fragments = false;
  memory_.remember(first, outcome, 1, kNow);
  EXPECT_FALSE(follows(all_[1]));
}

TEST_P(FragmentMemoryTest, NotForLongAndNotUnderAnotherTopology) {
  EXPECT_FALSE(follows(all_[1], 2));
  EXPECT_TRUE(follows(all_[1], 1, kNow + FragmentMemory::kKept - std::chrono::seconds(1)));
  EXPECT_FALSE(follows(all_[1], 1, kNow + FragmentMemory::kKept));
}

TEST_P(FragmentMemoryTest, WhatWaitsOrIsCutFurtherIsNotRemembered) {
  PacketSpec other = spec(GetParam());
  other.ipv4_id = 78;
  const auto waiting = fragments(other, 78);
  const sim::Packet first = packet(waiting[0]);
  sim::Outcome outcome = translated(first);
  for (const auto verdict : {sim::Verdict::postpone, sim::Verdict::consumed}) {
    outcome.verdict = verdict;
    memory_.remember(first, outcome, 1, kNow);
    EXPECT_FALSE(follows(waiting[1]));
  }
  EXPECT_EQ(memory_.size(), 1u);
}

TEST_P(FragmentMemoryTest, APortHasOnlyItsOwnShare) {
  const auto remember = [&](DpPort port, uint16_t id) {
    PacketSpec one = spec(GetParam());
    one.ipv4_id = id;
    const auto all = fragments(one, id);
    const sim::Packet first = packet(all[0], port);
    memory_.remember(first, translated(first), 1, kNow);
    return all[1];
  };
  const Frame other = remember(DpPort{8}, 5);
  for (uint16_t id = 100; id < 100 + FragmentMemory::kOfOnePort; ++id) (void)remember(kPort, id);
  EXPECT_EQ(memory_.size(), FragmentMemory::kOfOnePort + 1);
  EXPECT_FALSE(follows(all_[1])) << "the oldest is forgotten";
  EXPECT_TRUE(follows(other, 1, kNow, DpPort{8}));
  // What is over goes by itself.
  const sim::Packet first = packet(all_[0]);
  memory_.remember(first, translated(first), 1, kNow + 2 * FragmentMemory::kKept);
  EXPECT_EQ(memory_.size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Families, FragmentMemoryTest, testing::Bool(),
                         [](const auto& family) { return family.param ? "v6" : "v4"; });

}  // namespace
}  // namespace plexus::agent
