// SPDX-License-Identifier: Apache-2.0
// Conformance: neighbours answered by a flow, without the agent.
#include <random>

#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

constexpr MacAddr kAsker{{2, 0, 0, 0, 0, 0xa}}, kOwner{{6, 1, 2, 3, 4, 5}};

const IpAddr kTarget4 = *IpAddr::parse("10.0.0.2"), kTarget6 = *IpAddr::parse("fd00::1:2");

Actions answered(const IpAddr& target, bool router = false) {
  return {{{{}, NeighbourAnswer{kOwner, target, router}}}};
}

Match of_type(uint16_t type) {
  FlowKey key, mask;
  key.in_port = 16;
  key.eth_type = Be16(type);
  mask.in_port = UINT32_MAX;
  mask.eth_type = Be16(0xffff);
  return {key, mask};
}

Frame arp() {
  return arp_request(kAsker, *IpAddr::parse("10.0.0.1"), kTarget4);
}
Frame solicitation() {
  return nd_solicit(kAsker, *IpAddr::parse("fe80::1"), kTarget6);
}
/// To the neighbour itself, to see whether it is still there; with the asker's address in it or without.
Frame probe(bool with_address) {
  Frame frame = solicitation();
  PacketSpec spec;
  spec.eth_src = kAsker;
  spec.eth_dst = kOwner;
  spec.src = *IpAddr::parse("fe80::1");
  spec.dst = kTarget6;
  spec.ttl = 255;
  const auto message = std::span(frame).subspan(54, with_address ? 32 : 24);
  Frame out = ip_packet(spec, ip_proto::kIcmpv6, message);
  complete_checksum(parse_packet(out), out);
  return out;
}
Frame padded(Frame frame) {
  frame.resize(frame.size() + 18, 0x5a);
  return frame;
}

/// What neighbour_answer() says for the address of the frame's family.
std::optional<Frame> expected(const Frame& frame, bool router) {
  const ParsedPacket parsed = parse_packet(frame);
  return neighbour_answer(parsed, frame, parsed.key.is_arp() ? kTarget4 : kTarget6, kOwner, router);
}

std::vector<Frame> questions() {
  std::vector<Frame> out;
  for (const Frame& frame : {arp(), solicitation(), probe(true), probe(false)}) {
    out.push_back(frame);
    out.push_back(padded(frame));
    out.push_back(with_vlan(frame, 0x6005));
    out.push_back(with_vlan(with_vlan(frame, 5), 6));
  }
  return out;
}

TEST_P(Conformance, NeighboursAreAnsweredByAFlow) {
  bed().add_vm(16);
  bed().add_vm(17);
  for (const bool router : {false, true}) {
    put(of_type(eth_type::kArp), answered(kTarget4, router));
    put(of_type(eth_type::kIpv6), answered(kTarget6, router));
    std::vector<Frame> want;
    for (const Frame& frame : questions()) {
      bed().sends(16, frame);
      const auto answer = expected(frame, router);
      ASSERT_TRUE(answer.has_value()) << want.size();
      want.push_back(*answer);
    }
    expect_received(16, want);
  }
  const uint64_t n = 2 * questions().size();
  EXPECT_EQ(dp().flow_stats(of_type(eth_type::kArp))->packets, n / 4);
  EXPECT_EQ(dp().flow_stats(of_type(eth_type::kIpv6))->packets, n - n / 4);
  EXPECT_EQ(dp().port_stats(DpPort{16})->tx_packets, n);
  EXPECT_EQ(dp().counters().flow_hits, n);
  expect_received(17, {});
  EXPECT_TRUE(bed().upcalls(0).empty());
}

TEST_P(Conformance, AVmIsAnsweredAtItsOwnMac) {
  // The kernel's short way into a VM is taken for these only.
  bed().add_vm(16);
  put_all(16, answered(kTarget4));
  const MacAddr vm = bed().mac(16);
  const Frame question = arp_request(vm, *IpAddr::parse("10.0.0.1"), kTarget4);
  bed().sends(16, question);
  expect_received(16, {*expected(question, false)});
}

TEST_P(Conformance, WhatCannotBeAnsweredIsAnUpcall) {
  bed().add_vm(16);
  put(of_type(eth_type::kArp), answered(kTarget4));
  put(of_type(eth_type::kIpv4), answered(kTarget4));
  put(of_type(eth_type::kIpv6), answered(kTarget6));
  const auto set = [](Frame frame, size_t at, uint8_t value, bool right = true) {
    frame[at] = value;
    if (right) complete_checksum(parse_packet(frame), frame);
    return frame;
  };
  const Frame from_nobody = nd_solicit(kAsker, *IpAddr::parse("::"), kTarget6);
  const Frame cases[] = {
      udp(v4()), udp(v6()), set(arp(), 21, 2),  // a reply
      set(arp(), 22, 8),                        // the sender says another address
      set(solicitation(), 6, 4),                // so does this one
      from_nobody, arp_request(kAsker, *IpAddr::parse("10.0.0.1"), *IpAddr::parse("10.0.0.3")),
      // Of the same group, that is of the same class.
      nd_solicit(kAsker, *IpAddr::parse("fe80::1"), *IpAddr::parse("fd00::1:0:1:2")),
      set(solicitation(), 21, 254),                                          // hop limit
      set(solicitation(), 55, 1),                                            // code
      set(solicitation(), 54, 136),                                          // an advertisement
      set(solicitation(), 57, 7, false),                                     // checksum
      with_partial_checksum(solicitation()), set(solicitation(), 62, 0xff),  // a group as target
      set(solicitation(), 78, 2),                                            // another option
      set(solicitation(), 79, 0),     // an option without length
      set(solicitation(), 22, 0xff),  // from a group
  };
  for (const Frame& frame : cases) {
    const auto n = &frame - cases;
    ASSERT_FALSE(expected(frame, false)) << n;
    bed().sends(16, frame);
    const auto upcalls = bed().upcalls(1);
    ASSERT_EQ(upcalls.size(), 1u) << n;
    EXPECT_EQ(upcalls[0].frame, frame) << n << " is as it was";
  }
  expect_received(16, {});
  EXPECT_EQ(dp().flow_stats(of_type(eth_type::kIpv6))->packets, 0u);
  EXPECT_EQ(dp().counters().flow_misses, std::size(cases));

  Actions small = answered(kTarget6);
  small.mtu = 71;
  put(of_type(eth_type::kIpv6), small);
  bed().sends(16, solicitation());
  const auto upcalls = bed().upcalls(1);
  ASSERT_EQ(upcalls.size(), 1u);
  EXPECT_EQ(upcalls[0].frame, solicitation());
  // The kind of address decides, too.
  put(of_type(eth_type::kArp), answered(kTarget6));
  put(of_type(eth_type::kIpv6), answered(kTarget4));
  bed().sends(16, arp());
  bed().sends(16, solicitation());
  EXPECT_EQ(bed().upcalls(2).size(), 2u);
}

TEST_P(Conformance, DamagedQuestionsAreAnsweredOrNotAsThePacketRoomSays) {
  make({.upcall_rate = 1'000'000, .upcall_burst = 10'000});
  if (IsSkipped()) return;
  bed().add_vm(16);
  put(of_type(eth_type::kArp), answered(kTarget4, true));
  put(of_type(eth_type::kIpv6), answered(kTarget6, true));
  std::mt19937 random(20261125);
  const std::vector<Frame> good = questions();
  size_t answers = 0, refused = 0, broken = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<Frame> want, up;
    for (int n = 0; n < 100; ++n) {
      Frame frame = good[random() % good.size()];
      for (size_t changes = random() % 3; changes > 0; --changes) {
        // The MAC addresses, or anything behind the tags: the kernel itself reads those.
        const size_t start = 14 + static_cast<size_t>(parse_packet(frame).l3_offset - 14);
        const size_t at =
            random() % 8 == 0 ? random() % 12 : start + random() % (frame.size() - start);
        frame[at] =
            static_cast<uint8_t>(random() % 2 == 0 ? frame[at] ^ 1u << random() % 8 : random());
      }
      // Most with a right checksum, or nothing else would be seen.
      if (random() % 4 != 0) complete_checksum(parse_packet(frame), frame);
      const ParsedPacket parsed = parse_packet(frame);
      bed().sends(16, frame);
      if (parsed.error != ParseError::none)
        ++broken;
      else if (auto answer = expected(frame, true))
        want.push_back(std::move(*answer));
      else
        up.push_back(frame);
    }
    expect_received(16, want);
    const auto upcalls = bed().upcalls(up.size());
    ASSERT_EQ(upcalls.size(), up.size()) << "round " << round;
    for (size_t i = 0; i < up.size(); ++i) ASSERT_EQ(upcalls[i].frame, up[i]) << i;
    answers += want.size();
    refused += up.size();
    if (HasFailure()) return;
  }
  EXPECT_GT(answers, 1000u);
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(broken, 100u);
}

TEST_P(Conformance, MalformedAnswersAreRefused) {
  bed().add_vm(16);
  const auto code_of = [&](const Match& match, const Actions& actions) {
    return dp().put_flow({match, actions, 0}).error().code;
  };
  Actions two = answered(kTarget4);
  two.copies.push_back({{}, LocalOutput{DpPort{16}}});
  EXPECT_EQ(code_of(all_of(16), two), ErrorCode::invalid);
  EXPECT_EQ(dp().execute(arp(), {}, two).error().code, ErrorCode::invalid);
  Actions rewriting = answered(kTarget4);
  rewriting.copies[0].rewrite.ttl_decrement = 1;
  EXPECT_EQ(code_of(all_of(16), rewriting), ErrorCode::invalid);
  EXPECT_EQ(code_of(all_of(kTunnelPort.number, 4), answered(kTarget4)), ErrorCode::invalid);
  EXPECT_EQ(code_of(all_of(16), answered({})), ErrorCode::invalid);
  EXPECT_EQ(dp().execute(arp(), {}, answered(kTarget4)).error().code, ErrorCode::invalid);
}

TEST_P(Conformance, NeighboursAreAnsweredWhileNoAgentRuns) {
  bed().add_vm(16);
  put(of_type(eth_type::kArp), answered(kTarget4, true));
  put(of_type(eth_type::kIpv6), answered(kTarget6, true));
  if (!bed().stop_agent()) GTEST_SKIP() << "nothing is kept";
  std::vector<Frame> want;
  for (const Frame& frame : questions()) {
    bed().sends(16, frame);
    want.push_back(*expected(frame, true));
  }
  expect_received(16, want);
  bed().start_agent();
  const auto left = *dp().dump_flows();
  ASSERT_EQ(left.size(), 2u);
  for (const FlowEntry& entry : left) {
    const bool is_arp = entry.flow.match == of_type(eth_type::kArp);
    EXPECT_EQ(entry.flow.actions, answered(is_arp ? kTarget4 : kTarget6, true));
    EXPECT_EQ(entry.stats.packets, is_arp ? want.size() / 4 : want.size() * 3 / 4);
  }
}

}  // namespace
}  // namespace plexus::datapath
