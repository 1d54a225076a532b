// SPDX-License-Identifier: Apache-2.0
#include "state/tcp_facts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace plexus::state {
namespace {

using enum Segment;
constexpr Direction kOut = Direction::original, kBack = Direction::reply;

TEST(TcpFacts, FlagsThatNoTcpSendsAreBad) {
  for (const auto& [flags, segment] : std::vector<std::pair<unsigned, Segment>>{
           {0x02, syn}, {0x12, syn_ack}, {0x10, ack}, {0x18, ack},     {0x11, fin}, {0x19, fin},
           {0x04, rst}, {0x14, rst},     {0xc2, syn}, {0x52, syn_ack}, {0x00, bad}, {0x03, bad},
           {0x06, bad}, {0x01, bad},     {0x29, bad}, {0x05, bad},     {0x15, bad}, {0x13, bad},
           {0x16, bad}, {0x3f, bad},     {0x08, bad}, {0x20, bad}}) {
    EXPECT_EQ(segment_of(static_cast<uint8_t>(flags)), segment) << std::hex << flags;
  }
}

struct Step {
  Direction direction;
  Segment segment;
  SegmentVerdict verdict;
  TcpState after;
};
struct Story {
  const char* name;
  std::vector<Step> steps;
};

TEST(TcpFacts, Stories) {
  using enum TcpState;
  const auto ok = SegmentVerdict::belongs;
  const Step kSyn{kOut, syn, ok, syn_sent}, kSynAck{kBack, syn_ack, ok, syn_received},
      kAck{kOut, ack, ok, established};
  const std::vector<Story> stories = {
      {"opened, used and closed by the client",
       {kSyn,
        kSynAck,
        kAck,
        {kBack, ack, ok, established},
        {kOut, fin, ok, fin_wait},
        {kBack, ack, ok, fin_wait},
        {kBack, fin, ok, time_wait},
        {kOut, ack, ok, time_wait}}},
      {"closed by the server",
       {kSyn, kSynAck, kAck, {kBack, fin, ok, fin_wait}, {kOut, fin, ok, time_wait}}},
      {"both close at once",
       {kSyn, kSynAck, kAck, {kOut, fin, ok, fin_wait}, {kBack, fin, ok, time_wait}}},
      {"refused", {kSyn, {kBack, rst, ok, closed}}},
      {"SYN sent again", {kSyn, kSyn, kSynAck, kSynAck, {kOut, syn, ok, syn_received}, kAck}},
      {"simultaneous open",
       {kSyn,
        {kBack, syn, SegmentVerdict::crosses, syn_crossed},
        {kBack, syn_ack, ok, syn_received},
        {kOut, syn_ack, ok, established},
        kAck}},
      {"simultaneous open, SYN-ACK of the original first",
       {kSyn,
        {kBack, syn, SegmentVerdict::crosses, syn_crossed},
        {kOut, syn_ack, ok, syn_received},
        {kBack, syn_ack, ok, established}}},
      {"simultaneous open, the crossing SYN again",
       {kSyn,
        {kBack, syn, SegmentVerdict::crosses, syn_crossed},
        {kBack, syn, SegmentVerdict::crosses, syn_crossed}}},
      {"a SYN-ACK of the side that opened, nothing answered",
       {kSyn, {kOut, syn_ack, SegmentVerdict::invalid, syn_sent}}},
      {"only the client's side is seen here",
       {kSyn, {kOut, ack, ok, established}, {kOut, fin, ok, fin_wait}}},
      {"a challenge to a SYN is no handshake",
       {kSyn, {kBack, ack, ok, syn_received}, {kOut, rst, ok, closed}}},
      {"a SYN inside an established connection is the end system's to challenge",
       {kSyn, kSynAck, kAck, {kOut, syn, ok, established}, {kBack, syn, ok, established}}},
      {"a forged RST does not stop it",
       {kSyn, kSynAck, kAck, {kBack, rst, ok, closed}, {kOut, ack, ok, closed}}},
      {"bad flags", {kSyn, {kOut, bad, SegmentVerdict::invalid, syn_sent}}},
      {"reuse after both FINs",
       {kSyn,
        kSynAck,
        kAck,
        {kOut, fin, ok, fin_wait},
        {kBack, fin, ok, time_wait},
        {kOut, syn, SegmentVerdict::opens_anew, time_wait}}},
      {"reuse after RST",
       {kSyn, {kBack, rst, ok, closed}, {kOut, syn, SegmentVerdict::opens_anew, closed}}},
      {"reuse by the other side",
       {kSyn, {kBack, rst, ok, closed}, {kBack, syn, SegmentVerdict::opens_anew, closed}}},
      {"no reuse of a half-closed one",
       {kSyn, kSynAck, kAck, {kOut, fin, ok, fin_wait}, {kOut, syn, ok, fin_wait}}},
  };
  for (const Story& story : stories) {
    SeenBits bits{};
    for (size_t i = 0; i < story.steps.size(); ++i) {
      const Step& step = story.steps[i];
      const std::string where = std::string(story.name) + ", step " + std::to_string(i + 1);
      const auto verdict = i == 0 ? ok : verdict_of(bits, step.direction, step.segment);
      ASSERT_EQ(verdict, step.verdict) << where;
      // What opens anew goes into a record of its own.
      if (verdict != SegmentVerdict::invalid && verdict != SegmentVerdict::opens_anew)
        bits = with_segment(bits, step.direction, step.segment);
      EXPECT_EQ(to_string(tcp_state_of(bits)), to_string(step.after)) << where;
    }
  }
}

TEST(TcpFacts, LateDuplicatesNeverDowngradeState) {
  // Any segments, seen by two hosts in part each, told to each other in any order, any number of times: the same facts.
  const std::vector<std::pair<Direction, Segment>> all = {
      {kOut, syn}, {kBack, syn_ack}, {kOut, ack}, {kBack, ack}, {kOut, fin}, {kBack, fin}};
  const auto rank = [](SeenBits b) { return static_cast<int>(tcp_state_of(b)); };
  SeenBits whole{};
  for (const auto& [d, s] : all) whole = with_segment(whole, d, s);
  for (unsigned mine = 0; mine < 64; ++mine) {
    SeenBits a{}, b{};
    for (size_t i = 0; i < all.size(); ++i) {
      SeenBits& side = (mine >> i & 1) != 0 ? a : b;
      side = with_segment(side, all[i].first, all[i].second);
    }
    EXPECT_EQ(joined(a, b), whole);
    EXPECT_EQ(joined(joined(b, a), a), whole);
    EXPECT_GE(rank(joined(a, b)), rank(a));
    EXPECT_EQ(exchanged(exchanged(a)), a);
  }
}

}  // namespace
}  // namespace plexus::state
