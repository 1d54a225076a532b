// SPDX-License-Identifier: Apache-2.0
// Conformance: what happens to packets: rewrites, copies, VLAN tags, offloads, malformed frames.
#include <random>

#include "datapath/conformance/suite.h"

namespace plexus::datapath {
namespace {

struct NamedFrame {
  std::string name;
  Frame frame;
};

PacketSpec base(bool ipv6, std::optional<uint16_t> vlan = std::nullopt) {
  PacketSpec spec;
  spec.eth_src = MacAddr{{2, 0, 0, 0, 0, 0xa}};
  spec.eth_dst = MacAddr{{2, 0, 0, 0, 0, 0xb}};
  spec.src = *IpAddr::parse(ipv6 ? "fd00:1::aaaa:1" : "10.0.1.1");
  spec.dst = *IpAddr::parse(ipv6 ? "fd00:1::ffff:2" : "10.0.255.2");
  spec.tos = 0xb9;
  spec.ttl = 33;
  spec.flow_label = 0xabcde;
  spec.vlan_tci = vlan;
  return spec;
}

std::vector<NamedFrame> frames_of_every_kind() {
  std::vector<NamedFrame> out;
  const Frame data = {1, 2, 3, 4, 5, 6, 7, 0xff, 0xfe};  // odd
  for (const bool ipv6 : {false, true}) {
    const std::string v = ipv6 ? "6" : "4";
    const PacketSpec spec = base(ipv6);
    out.push_back({"udp" + v, udp_packet(spec, 1111, 2222, data)});
    out.push_back({"tcp" + v, tcp_packet(spec, 1111, 2222, 0x18, 7, data)});
    out.push_back({"icmp" + v, icmp_echo(spec, false, 99, 1, data)});
    out.push_back({"icmp_reply" + v, icmp_echo(spec, true, 99, 1, data)});
    out.push_back({"other" + v, ip_packet(spec, 89, data)});
    out.push_back({"tagged_tcp" + v, tcp_packet(base(ipv6, 0x6123), 1111, 2222, 0x18, 7, data)});
    out.push_back(
        {"double_tagged_udp" + v, with_vlan(udp_packet(base(ipv6, 5), 1111, 2222, data), 7)});
    for (Frame service : {udp_packet(base(ipv6, 5), 1111, 2222, data), out.back().frame}) {
      service[12] = 0x88;  // 802.1ad
      service[13] = 0xa8;
      out.push_back({"service_tagged_udp" + v, service});
    }
    Frame none = udp_packet(spec, 1111, 2222, data);
    const size_t at = *transport_checksum_offset(parse_packet(none));
    none[at] = none[at + 1] = 0;
    out.push_back({"udp_without_checksum" + v, none});
    const Frame large(3000, 0x5a);
    const auto fragments = fragment(udp_packet(spec, 1111, 2222, large), 1480, 42);
    out.push_back({"first_fragment" + v, fragments.at(0)});
    out.push_back({"later_fragment" + v, fragments.at(1)});
  }
  out.push_back({"arp", arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                                    *IpAddr::parse("10.0.0.2"))});
  Frame other(64, 0x33);
  other[12] = 0x88;
  out.push_back({"other_ethertype", other});
  return out;
}

struct NamedRewrite {
  std::string name;
  Rewrite rewrite;
};

std::vector<NamedRewrite> rewrites_of_every_field() {
  std::vector<NamedRewrite> out;
  const auto add = [&](std::string name, const std::function<void(Rewrite&)>& set) {
    Rewrite r;
    set(r);
    out.push_back({std::move(name), r});
  };
  add("nothing", [](Rewrite&) {});
  add("eth.src", [](Rewrite& r) { r.eth_src = MacAddr{{6, 1, 2, 3, 4, 5}}; });
  add("eth.dst", [](Rewrite& r) { r.eth_dst = MacAddr{{6, 6, 7, 8, 9, 0xa}}; });
  add("ip.src4", [](Rewrite& r) { r.ip_src = IpAddr::parse("192.168.77.254"); });
  add("ip.dst4", [](Rewrite& r) { r.ip_dst = IpAddr::parse("203.0.113.9"); });
  add("ip.src6", [](Rewrite& r) { r.ip_src = IpAddr::parse("2001:db8:ffff::1234"); });
  add("ip.dst6", [](Rewrite& r) { r.ip_dst = IpAddr::parse("2001:db8::"); });
  add("same ip.dst4", [](Rewrite& r) { r.ip_dst = IpAddr::parse("10.0.255.2"); });
  add("tp.src", [](Rewrite& r) { r.tp_src = 65000; });
  add("tp.dst", [](Rewrite& r) { r.tp_dst = 0; });
  add("dscp", [](Rewrite& r) { r.dscp = 10; });
  add("dscp 0", [](Rewrite& r) { r.dscp = 0; });
  add("ttl-1", [](Rewrite& r) { r.ttl_decrement = 1; });
  add("ttl-32", [](Rewrite& r) { r.ttl_decrement = 32; });
  add("pop", [](Rewrite& r) { r.pop_vlan = true; });
  add("push", [](Rewrite& r) { r.push_vlan = 0xe123; });
  add("pop, push", [](Rewrite& r) {
    r.pop_vlan = true;
    r.push_vlan = 7;
  });
  add("routed", [](Rewrite& r) {
    r.eth_src = MacAddr{{6, 1, 2, 3, 4, 5}};
    r.eth_dst = MacAddr{{6, 6, 7, 8, 9, 0xa}};
    r.ttl_decrement = 2;
  });
  for (const bool ipv6 : {false, true})
    add(ipv6 ? "all6" : "all4", [&](Rewrite& r) {
      r.eth_src = MacAddr{{6, 1, 2, 3, 4, 5}};
      r.eth_dst = MacAddr{{6, 6, 7, 8, 9, 0xa}};
      r.ip_src = IpAddr::parse(ipv6 ? "2001:db8:ffff::1234" : "192.168.77.254");
      r.ip_dst = IpAddr::parse(ipv6 ? "2001:db8::" : "203.0.113.9");
      r.tp_src = 65000;
      r.tp_dst = 1;
      r.dscp = 46;
      r.ttl_decrement = 3;
      r.push_vlan = 9;
    });
  return out;
}

/// Those that a flow with such actions is for; all others are upcalls.
std::vector<NamedFrame> that_fit(std::vector<NamedFrame> frames, const Actions& actions) {
  std::erase_if(frames, [&](const NamedFrame& f) {
    return !fits(actions, parse_packet(f.frame), f.frame, 0);
  });
  return frames;
}

TEST_P(Conformance, EveryFieldOfEveryKindOfPacketIsRewrittenAsThePacketRoomDoesIt) {
  bed().add_vm(16);
  bed().add_vm(17);
  for (const NamedRewrite& r : rewrites_of_every_field()) {
    put_all(16, to_port(17, r.rewrite));
    const auto frames = that_fit(frames_of_every_kind(), to_port(17, r.rewrite));
    for (const NamedFrame& f : frames) bed().sends(16, f.frame);
    const auto got = bed().received(17, frames.size());
    ASSERT_EQ(got.size(), frames.size()) << r.name;
    for (size_t i = 0; i < frames.size(); ++i) {
      const Frame want = rewritten(r.rewrite, parse_packet(frames[i].frame), frames[i].frame);
      EXPECT_EQ(got[i].frame, want) << r.name << " of " << frames[i].name;
      const ParsedPacket after = parse_packet(got[i].frame);
      EXPECT_TRUE(ipv4_checksum_ok(after, got[i].frame)) << r.name << " of " << frames[i].name;
      if (frames[i].name != "udp_without_checksum6") {
        EXPECT_TRUE(transport_checksum_ok(after, got[i].frame))
            << r.name << " of " << frames[i].name;
      }
    }
  }
}

TEST_P(Conformance, ChecksumsLeftToHardwareStayLeftAndRight) {
  bed().add_vm(16);
  bed().add_vm(17);
  const Frame data = {1, 2, 3, 4, 5, 6, 7};
  for (const NamedRewrite& r : rewrites_of_every_field()) {
    put_all(16, to_port(17, r.rewrite));
    for (const bool ipv6 : {false, true}) {
      const PacketSpec spec = base(ipv6);
      for (const Frame& whole :
           {udp_packet(spec, 1111, 2222, data), tcp_packet(spec, 1111, 2222, 0x10, 1, data)}) {
        const Frame frame = with_partial_checksum(whole);
        bed().sends(16, frame, {0, true});
        const auto got = bed().received(17, 1);
        ASSERT_EQ(got.size(), 1u) << r.name;
        const Frame want = rewritten(r.rewrite, parse_packet(frame), frame, true);
        EXPECT_TRUE(got[0].offload.partial_checksum) << r.name;
        EXPECT_EQ(got[0].frame, want) << r.name;
        EXPECT_TRUE(transport_checksum_is_partial(parse_packet(want), want)) << r.name;
      }
    }
  }
}

TEST_P(Conformance, ThePacketWithoutTtlToSpareIsDropped) {
  bed().add_vm(16);
  bed().add_vm(17);
  Rewrite r;
  r.ttl_decrement = 2;
  put_all(16, to_port(17, r));
  for (const bool ipv6 : {false, true}) {
    for (uint8_t ttl = 1; ttl <= 3; ++ttl) {
      PacketSpec spec = base(ipv6);
      spec.ttl = ttl;
      bed().sends(16, udp_packet(spec, 1, 2));
    }
  }
  EXPECT_EQ(bed().received(17, 2).size(), 2u);
  EXPECT_EQ(drops("ttl_exceeded", 4), 4u);
}

TEST_P(Conformance, SeveralCopiesGoOut) {
  bed().add_vm(16);
  for (uint32_t port = 17; port < 29; ++port) bed().add_vm(port);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  Rewrite r;
  r.ttl_decrement = 1;
  for (const size_t copies : {2u, 4u, 5u, 12u, 63u}) {
    Actions actions;
    for (size_t i = 0; i < copies; ++i)
      actions.copies.push_back({r, LocalOutput{DpPort{17 + static_cast<uint32_t>(i) % 12}}});
    actions.copies.insert(actions.copies.begin() + 1, {r, TunnelOutput{Bed::peer(), 44}});
    put_all(16, actions);
    const Frame frame = udp(v4());
    bed().sends(16, frame);
    Frame want = frame;
    apply_rewrite(r, parse_packet(frame), want);
    for (uint32_t port = 17; port < 29; ++port) {
      const size_t expected = (copies + 28 - port) / 12;
      expect_received(port, std::vector<Frame>(expected, want));
    }
    const auto sent = bed().fabric_received(1);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].frame, want);
    EXPECT_EQ(std::get<TunnelOutput>(sent[0].output).key, 44u);
  }
}

TEST_P(Conformance, CopiesWithDifferentRewritesAreEachOfThePacketAsItCame) {
  bed().add_vm(16);
  for (uint32_t port = 17; port < 21; ++port) bed().add_vm(port);
  const auto rewrites = rewrites_of_every_field();
  std::mt19937 random(20261125);
  for (int round = 0; round < 60; ++round) {
    // The first rounds: each rewrite beside the untouched packet.
    std::vector<const NamedRewrite*> chosen;
    if (round < static_cast<int>(rewrites.size()))
      chosen = {&rewrites[static_cast<size_t>(round)], &rewrites[0]};
    else
      for (size_t n = 2 + random() % 3; n > 0; --n)
        chosen.push_back(&rewrites[random() % rewrites.size()]);
    Actions actions;
    std::string names;
    for (const NamedRewrite* r : chosen) {
      const auto port = static_cast<uint32_t>(17 + actions.copies.size());
      actions.copies.push_back({r->rewrite, LocalOutput{DpPort{port}}});
      names += "[" + r->name + "] ";
    }
    put_all(16, actions);
    const auto frames = that_fit(frames_of_every_kind(), actions);
    EXPECT_TRUE(same_effect(dp().dump_flows()->front().flow.actions, actions)) << names;
    for (const NamedFrame& f : frames) bed().sends(16, f.frame);
    for (const Copy& copy : actions.copies) {
      const auto got =
          bed().received(std::get<LocalOutput>(copy.output).port.number, frames.size());
      ASSERT_EQ(got.size(), frames.size()) << names;
      for (size_t i = 0; i < frames.size(); ++i)
        EXPECT_EQ(got[i].frame,
                  rewritten(copy.rewrite, parse_packet(frames[i].frame), frames[i].frame))
            << frames[i].name << " to " << names << "by " << format(Actions{{copy}});
    }
  }
}

TEST_P(Conformance, MirrorsAreUntouchedBesideWhatIsRoutedIntoTheTunnel) {
  for (uint32_t port = 16; port < 24; ++port) bed().add_vm(port);
  ASSERT_TRUE(dp().set_tunnel(Bed::tunnel()).ok());
  Rewrite routed, tagged;
  routed.eth_src = MacAddr{{6, 1, 2, 3, 4, 5}};
  routed.eth_dst = MacAddr{{6, 6, 7, 8, 9, 0xa}};
  routed.ttl_decrement = 1;
  tagged.push_vlan = 0x6007;
  Actions actions = to_ports({17, 18, 19, 20, 21, 22});  // more than an entry holds
  actions.copies.insert(actions.copies.begin(), {routed, TunnelOutput{Bed::peer(), 44}});
  actions.copies.push_back({tagged, TunnelOutput{Bed::peer(), 45}});
  actions.copies.push_back({routed, LocalOutput{DpPort{23}}});
  put_all(16, actions);
  for (const Offload& offload : {Offload{}, Offload{1448, true}}) {
    const bool large = offload.gso_size > 0;
    const Frame frame = large ? with_partial_checksum(tcp(base(false), 5000)) : udp(base(true));
    const Frame want = rewritten(routed, parse_packet(frame), frame, large);
    bed().sends(16, frame, offload);
    for (uint32_t port = 17; port < 23; ++port) expect_received(port, {frame});
    expect_received(23, {want});
    if (large) continue;  // cut on the way out
    auto sent = bed().fabric_received(2);
    ASSERT_EQ(sent.size(), 2u);
    const bool swapped = std::get<TunnelOutput>(sent[0].output).key == 45;
    EXPECT_EQ(sent[swapped ? 1 : 0].frame, want);
    EXPECT_EQ(sent[swapped ? 0 : 1].frame, with_vlan(frame, 0x6007));
    const Frame had = with_vlan(frame, 5);  // two tags in the tunnel
    bed().sends(16, had);
    for (uint32_t port = 17; port < 24; ++port) (void)bed().received(port, 1);
    sent = bed().fabric_received(2);
    ASSERT_EQ(sent.size(), 2u);
    const bool again = std::get<TunnelOutput>(sent[0].output).key == 45;
    EXPECT_EQ(sent[again ? 0 : 1].frame, with_vlan(had, 0x6007));
  }
}

TEST_P(Conformance, ACopyWithoutTtlToSpareDoesNotStopTheOthers) {
  bed().add_vm(16);
  for (uint32_t port = 17; port < 20; ++port) bed().add_vm(port);
  Rewrite routed, marked;
  routed.ttl_decrement = 1;
  routed.eth_dst = MacAddr{{6, 6, 7, 8, 9, 0xa}};
  marked.dscp = 3;
  const Copy copies[] = {{routed, LocalOutput{DpPort{17}}},
                         {{}, LocalOutput{DpPort{18}}},
                         {marked, LocalOutput{DpPort{19}}}};
  PacketSpec spec = base(true);
  spec.ttl = 1;
  const Frame frame = udp_packet(spec, 1, 2);
  uint64_t dropped = 0;
  for (const auto& order : {std::array{0, 1, 2}, std::array{2, 1, 0}}) {
    Actions actions;
    for (const int i : order) actions.copies.push_back(copies[i]);
    put_all(16, actions);
    bed().sends(16, frame);
    expect_received(18, {frame});
    expect_received(19, {rewritten(marked, parse_packet(frame), frame)});
    ++dropped;
    EXPECT_EQ(drops("ttl_exceeded", dropped), dropped);
    expect_received(17, {});
  }
}

TEST_P(Conformance, ExecuteChangesTags) {
  bed().add_vm(17);
  Rewrite pop, push;
  pop.pop_vlan = true;
  push.push_vlan = 0x2009;
  push.dscp = 5;
  const Actions actions{{{pop, LocalOutput{DpPort{17}}},
                         {push, LocalOutput{DpPort{17}}},
                         {{}, LocalOutput{DpPort{17}}}}};
  for (const NamedFrame& f : frames_of_every_kind()) {
    ASSERT_TRUE(dp().execute(f.frame, {}, actions).ok()) << f.name;
    const ParsedPacket parsed = parse_packet(f.frame);
    expect_received(17,
                    {rewritten(pop, parsed, f.frame), rewritten(push, parsed, f.frame), f.frame});
  }
}

TEST_P(Conformance, ACopyThatCannotGoOutDoesNotStopTheOthers) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  Actions actions = to_ports({17, 99, 18});
  actions.copies.insert(actions.copies.begin(), {{}, TunnelOutput{Bed::peer(), 1}});
  put_all(16, actions);
  bed().sends(16, udp(v4()));
  expect_received(17, {udp(v4())});
  expect_received(18, {udp(v4())});
  EXPECT_EQ(drops("unknown_output_port", 1), 1u);
  EXPECT_EQ(drops("no_tunnel", 1), 1u);
}

TEST_P(Conformance, VlanTagsAreMatchedAndKept) {
  bed().add_vm(16);
  bed().add_vm(17);
  bed().add_vm(18);
  const Frame plain = udp(v4()), tagged = with_vlan(plain, 0x6005), other = with_vlan(plain, 6);
  const Frame twice = with_vlan(tagged, 0x0009);
  const auto with_tag = [](uint16_t tci) {
    FlowKey key, mask;
    key.in_port = 16;
    key.vlan_tci = Be16(tci == 0 ? tci : static_cast<uint16_t>(tci | 0x1000));
    mask.in_port = UINT32_MAX;
    mask.vlan_tci = Be16(0x1fff);
    return match_of(key, mask);
  };
  put(with_tag(5), to_port(17));
  put(with_tag(9), to_port(17));
  put(with_tag(0), to_port(18));
  for (const Frame& frame : {plain, tagged, other, twice}) bed().sends(16, frame);
  expect_received(17, {tagged, twice});
  expect_received(18, {plain});
  const auto upcalls = bed().upcalls(1);
  ASSERT_EQ(upcalls.size(), 1u);
  EXPECT_EQ(upcalls[0].frame, other) << "the tag is in its place";
  EXPECT_EQ(parse_packet(upcalls[0].frame).key.vlan_tci.host(), 0x1006);
}

TEST_P(Conformance, MalformedFramesAreDroppedForAReason) {
  bed().add_vm(16);
  bed().add_vm(17);
  put_all(16, to_port(17));
  const auto cut = [](Frame frame, size_t bytes) {
    frame.resize(bytes);
    return frame;
  };
  const auto set = [](Frame frame, size_t at, uint8_t value) {
    frame[at] = value;
    return frame;
  };
  const Frame u4 = udp(base(false)), t4 = tcp(base(false)), u6 = udp(base(true));
  const Frame arp = arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                                *IpAddr::parse("10.0.0.2"));
  const struct {
    Frame frame;
    std::string reason;
  } cases[] = {
      // The kernel itself refuses a frame that ends in its only tag.
      {cut(with_vlan(with_vlan(u4, 5), 6), 20), "truncated_vlan"},
      {cut(arp, 41), "truncated_arp"},
      {set(arp, 14, 7), "bad_arp"},
      {cut(u4, 33), "truncated_ipv4"},
      {cut(u4, u4.size() - 1), "truncated_ipv4"},
      {set(u4, 14, 0x55), "bad_ipv4"},
      {set(u4, 14, 0x44), "bad_ipv4"},
      {set(u4, 16, 0xff), "truncated_ipv4"},
      {set(set(u4, 16, 0), 17, 19), "bad_ipv4"},
      {cut(u6, 53), "truncated_ipv6"},
      {cut(u6, u6.size() - 1), "truncated_ipv6"},
      {set(u6, 14, 0x40), "bad_ipv6"},
      {set(set(u6, 20, 0), 54 + 1, 200), "bad_ipv6_extension"},
      {set(set(u4, 16, 0), 17, 27), "truncated_l4"},
      {set(set(t4, 16, 0), 17, 39), "truncated_l4"},
      {set(t4, 46, 0x40), "bad_l4"},
      {set(t4, 46, 0xf0), "bad_l4"},
  };
  std::map<std::string, uint64_t> expected;
  for (const auto& c : cases) {
    bed().sends(16, c.frame);
    const uint64_t n = ++expected[c.reason];
    EXPECT_EQ(drops(c.reason, n), n) << "case " << (&c - cases);
  }
  EXPECT_EQ(dp().counters().drops, expected);
  EXPECT_EQ(dp().port_stats(DpPort{16})->drops, std::size(cases));
  expect_received(17, {});
  EXPECT_TRUE(bed().upcalls(0).empty());
}

TEST_P(Conformance, WhatIsLargerThanAFlowsMtuIsAnUpcall) {
  bed().add_vm(16);
  bed().add_vm(17);
  Frame padded = udp(v4());
  padded.resize(padded.size() + 500);
  std::vector<std::pair<Frame, Offload>> cases = {
      {udp(v4(), 1000), {}},
      {tcp(v6(), 1000), {}},
      {udp_packet(base(false, 0x6005), 1111, 2222, Frame(1000)), {}},
      {with_vlan(udp_packet(base(true, 5), 1111, 2222, Frame(1000)), 7), {}},
      {ip_packet(base(true), 89, Frame(1000)), {}},
      {fragment(udp_packet(base(true), 1111, 2222, Frame(2000)), 1000).at(1), {}},
      {padded, {}},
      {with_partial_checksum(tcp(v4(), 5000)), {1000, true}},
      {with_partial_checksum(tcp(v6(), 5000)), {1000, true}},
      {with_partial_checksum(tcp_packet(base(false, 0x6005), 1111, 2222, 0x10, 1, Frame(5000))),
       {1000, true}},
      {arp_request(MacAddr{{2, 0, 0, 0, 0, 1}}, *IpAddr::parse("10.0.0.1"),
                   *IpAddr::parse("10.0.0.2")),
       {}},
  };
  Frame other(300, 0x33);
  other[12] = 0x88;
  cases.push_back({other, {}});
  cases.push_back({with_vlan(other, 9), {}});
  size_t n = 0;
  for (const auto& [frame, offload] : cases) {
    ++n;
    const uint32_t size = packet_size(parse_packet(frame), frame, offload.gso_size);
    Actions actions = to_port(17);
    actions.mtu = static_cast<uint16_t>(size);
    put_all(16, actions);
    EXPECT_EQ(dp().dump_flows()->front().flow.actions, actions);
    bed().sends(16, frame, offload);
    auto got = bed().received(17, 1);
    ASSERT_EQ(got.size(), 1u) << "of its size " << n;
    EXPECT_EQ(got[0].frame, frame);

    --actions.mtu;
    put_all(16, actions);
    bed().sends(16, frame, offload);
    const auto upcalls = bed().upcalls(1);
    ASSERT_EQ(upcalls.size(), 1u) << "a byte too large " << n;
    EXPECT_EQ(upcalls[0].frame, frame);
    EXPECT_EQ(upcalls[0].offload.gso_size, offload.gso_size);
    expect_received(17, {});
  }
  // What is too large has not met the flow.
  EXPECT_EQ(dp().counters().flow_hits, cases.size());
  EXPECT_EQ(dp().counters().flow_misses, cases.size());

  // Also where the packets would be dropped.
  Actions nothing;
  nothing.mtu = 100;
  put_all(16, nothing);
  EXPECT_EQ(dp().dump_flows()->front().flow.actions, nothing);
  bed().sends(16, udp(v4(), 100));
  EXPECT_EQ(bed().upcalls(1).size(), 1u);
}

TEST_P(Conformance, LargePacketsStayWhole) {
  bed().add_vm(16);
  bed().add_vm(17);
  Rewrite r;
  r.ip_dst = IpAddr::parse("203.0.113.9");
  r.ttl_decrement = 1;
  put_all(16, to_port(17, r));
  for (const size_t payload : {3000u, 64000u}) {
    const Frame frame = with_partial_checksum(tcp(base(false), payload));
    const Offload offload{1448, true};
    bed().sends(16, frame, offload);
    const auto got = bed().received(17, 1);
    ASSERT_EQ(got.size(), 1u) << payload;
    Frame want = frame;
    apply_rewrite(r, parse_packet(frame), want, true);
    EXPECT_EQ(got[0].frame, want);
    EXPECT_EQ(got[0].offload, offload);
  }
  // Counted as what it becomes on a wire; the fake does not know hardware and counts two frames.
  EXPECT_EQ(dp().flow_stats(all_of(16))->packets, is_fake() ? 2u : 3u + 45u);
}

}  // namespace
}  // namespace plexus::datapath
