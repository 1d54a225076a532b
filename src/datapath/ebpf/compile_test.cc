// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/compile.h"

#include <gtest/gtest.h>

#include "datapath/ebpf/slot_pool.h"
#include "datapath/token_bucket.h"
#include "sim/drop_reason.h"

namespace plexus::datapath {
namespace {

Match match_on(uint16_t eth_type, uint16_t eth_mask, uint8_t last_address_byte = 0) {
  FlowKey key, mask;
  key.in_port = 16;
  mask.in_port = UINT32_MAX;
  key.eth_type = Be16(eth_type);
  mask.eth_type = Be16(eth_mask);
  key.nw[31] = mask.nw[31] = last_address_byte;
  return {key, mask};
}

/// By way of a flow's entries.
Actions back(const CompiledFlow& compiled) {
  Actions out;
  auto outputs = std::span(compiled.outputs);
  for (size_t g = 0; g < compiled.group_count; ++g) {
    plexus_flow entry{};
    entry.mtu = g == 0 ? compiled.mtu : uint16_t{0};
    entry.storm_limit = g == 0 ? compiled.storm_limit : 0;
    entry.flags = compiled.flags;
    entry.rewrite = compiled.groups[g].rewrite;
    decompile(entry, outputs.first(compiled.groups[g].outputs), out);
    outputs = outputs.subspan(compiled.groups[g].outputs);
  }
  return out;
}

TEST(Compile, FlowsGoWhereTheirPacketsAreLookedUp) {
  const struct {
    Match match;
    bool short_key, ipv6_key;
  } cases[] = {
      {match_on(0, 0), true, true},
      {match_on(0x0800, 0xffff), true, false},
      {match_on(0x86dd, 0xffff), false, true},
      {match_on(0x0800, 0xff00), true, false},
      {match_on(0x8600, 0xff00), true, true},
      {match_on(0, 0, 9), false, true},
  };
  for (const auto& c : cases) {
    const auto compiled = compile(Flow{c.match, {}, 0});
    ASSERT_TRUE(compiled.ok());
    EXPECT_EQ(compiled->short_key, c.short_key) << &c - cases;
    EXPECT_EQ(compiled->ipv6_key, c.ipv6_key) << &c - cases;
  }
}

TEST(Compile, ActionsComeBackAsTheyWere) {
  Rewrite r;
  const std::function<void()> steps[] = {
      [&] {},
      [&] {
        r.eth_src = MacAddr{{1, 2, 3, 4, 5, 6}};
      },
      [&] { r.eth_dst = MacAddr{}; },
      [&] { r.ip_src = IpAddr::parse("0.0.0.0"); },
      [&] { r.ip_dst = IpAddr::parse("255.255.255.255"); },
      [&] { r.ip_src = IpAddr::parse("::"); },
      [&] { r.ip_dst = IpAddr::parse("ffff::ffff"); },
      [&] { r.tp_src = 0; },
      [&] { r.tp_dst = 0xfffe; },
      [&] { r.dscp = 0; },
      [&] { r.ttl_decrement = 255; },
      [&] { r.pop_vlan = true; },
      [&] { r.push_vlan = 0; },
      [&] { r.push_vlan = 0xffff; },
  };
  uint16_t mtu = 1499;
  for (const auto& step : steps) {
    step();
    Actions actions;
    actions.copies = {{r, LocalOutput{DpPort{16}}},
                      {r, TunnelOutput{*IpAddr::parse("192.0.2.9"), 0xffffff}},
                      {r, TunnelOutput{*IpAddr::parse("fd00::9"), 0}}};
    actions.mtu = ++mtu;
    actions.storm_limit = mtu * 1000u;
    const auto compiled = compile(actions);
    ASSERT_TRUE(compiled.ok()) << compiled.error().message;
    EXPECT_EQ(back(*compiled), actions) << format(actions);
  }
}

TEST(Compile, DropsOfOneTagComeBackAsTheyWere) {
  for (const bool one_tag : {false, true}) {
    Actions actions;
    actions.one_tag = one_tag;
    auto compiled = compile(actions);
    ASSERT_TRUE(compiled.ok());
    compiled->group_count = 1;  // the entry of a flow that drops
    EXPECT_EQ(back(*compiled), actions) << format(actions);
  }
}

TEST(Compile, AnswersComeBackAsTheyWere) {
  for (const bool router : {false, true}) {
    for (const char* target : {"10.0.0.0", "fd00::1"}) {
      const Actions actions{
          {{{}, NeighbourAnswer{MacAddr{{2, 3, 4, 5, 6, 7}}, *IpAddr::parse(target), router}}},
          1280};
      const auto compiled = compile(actions);
      ASSERT_TRUE(compiled.ok());
      EXPECT_EQ(back(*compiled), actions);
    }
  }
}

TEST(Compile, WhatTheKernelCannotDoIsRefused) {
  Rewrite r;
  r.dscp = 64;
  const auto one = [](const Output& output, const Rewrite& rewrite = {}) {
    return compile(Actions{{{rewrite, output}}});
  };
  EXPECT_EQ(one(LocalOutput{DpPort{16}}, r).error().code, ErrorCode::invalid);
  EXPECT_EQ(one(LocalOutput{kTunnelPort}).error().code, ErrorCode::invalid);
  EXPECT_EQ(one(TunnelOutput{{}, 1}).error().code, ErrorCode::invalid);
  EXPECT_EQ(one(TunnelOutput{*IpAddr::parse("192.0.2.1"), 1 << 24}).error().code,
            ErrorCode::invalid);
  Actions many;
  many.copies.assign(64, {{}, LocalOutput{DpPort{16}}});
  EXPECT_TRUE(compile(many).ok());
  many.copies.push_back(many.copies.front());
  EXPECT_EQ(compile(many).error().code, ErrorCode::unsupported);
  Actions different;
  for (uint8_t n = 0; n < PLEXUS_MAX_GROUPS; ++n) {
    r.dscp = n;
    different.copies.push_back({r, LocalOutput{DpPort{16}}});
    EXPECT_TRUE(compile(different).ok());
  }
  r.dscp = 63;
  different.copies.push_back({r, LocalOutput{DpPort{16}}});
  EXPECT_EQ(compile(different).error().code, ErrorCode::unsupported);
}

TEST(Compile, CopiesWithTheSameRewriteGoTogether) {
  Rewrite popped, pushed, routed;
  popped.pop_vlan = true;
  pushed.push_vlan = 5;
  routed.ttl_decrement = 1;
  const auto to = [](uint32_t port) { return LocalOutput{DpPort{port}}; };
  const Actions actions{{{popped, to(16)},
                         {routed, to(17)},
                         {{}, to(18)},
                         {popped, to(19)},
                         {pushed, to(20)},
                         {{}, to(21)},
                         {routed, to(22)}},
                        1500};
  const auto compiled = compile(actions);
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->group_count, 4u);
  EXPECT_EQ(compiled->groups[0].rewrite.fields, 0) << "nothing to undo behind it";
  EXPECT_EQ(compiled->groups[3].rewrite.fields, PLEXUS_POP_VLAN) << "cannot be undone";
  const Actions again = back(*compiled);
  EXPECT_NE(again, actions);
  EXPECT_TRUE(same_effect(again, actions)) << format(again);
}

TEST(Counters, HaveNamesOfTheClosedListOfDropReasons) {
#define PLEXUS_X(name) #name,
  for (const std::string_view name :
       {PLEXUS_PARSE_ERRORS(PLEXUS_X) PLEXUS_DROPS(PLEXUS_X) "upcalls_limited", "upcalls_lost"}) {
    EXPECT_TRUE(name == "parse_none" || sim::parse_drop_reason(name).has_value()) << name;
  }
#undef PLEXUS_X
}

TEST(DropReasons, KeepTheirNumbersAsLongAsTheLayoutIsTheSame) {
  // Flows keep the number in maps that a later agent takes over. If this fails, a reason was added or moved: raise
  // PLEXUS_LAYOUT_VERSION unless it was added at the end.
  std::string names;
  for (size_t n = 0; n < sim::kDropReasonCount; ++n)
    names += std::string(to_string(static_cast<sim::DropReason>(n))) + " ";
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : names) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  EXPECT_EQ(hash, 0x6699042226c05059u)
      << std::hex << hash << " in layout " << PLEXUS_LAYOUT_VERSION;
  static_assert(sim::kDropReasonCount <= PLEXUS_MAX_REASONS);
}

TEST(SlotPool, ASlotRestsBeforeItIsUsedAgain) {
  SlotPool pool(1, 5, {false, false, true});
  EXPECT_EQ(pool.take(), 1u);
  EXPECT_EQ(pool.take(), 3u);
  EXPECT_EQ(pool.take(), 4u);
  EXPECT_EQ(pool.take(), std::nullopt);
  pool.give_back(3);
  EXPECT_EQ(pool.take(), std::nullopt);
  EXPECT_EQ(pool.resting(), 1u);
  wait_for_readers();
  pool.wake();
  EXPECT_EQ(pool.take(), 3u);
  EXPECT_EQ(pool.resting(), 0u);
}

TEST(TokenBucket, GivesItsRateAndItsBurst) {
  TokenBucket bucket(Duration(100), Duration(500));
  MonoTime now{1'000'000};
  const auto take_all = [&] {
    int n = 0;
    while (bucket.take(now)) ++n;
    return n;
  };
  EXPECT_EQ(take_all(), 5);
  now = now + Duration(99);
  EXPECT_EQ(take_all(), 0);
  now = now + Duration(1);
  EXPECT_EQ(take_all(), 1);
  now = now + Duration(250);
  EXPECT_EQ(take_all(), 2);
  now = now + Duration(50);
  EXPECT_EQ(take_all(), 1) << "what is left of a token is not lost";
  now = now + Duration(1'000'000);
  EXPECT_EQ(take_all(), 5);
}

}  // namespace
}  // namespace plexus::datapath
