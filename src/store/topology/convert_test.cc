// SPDX-License-Identifier: Apache-2.0
#include "store/topology/convert.h"

#include <gtest/gtest.h>

namespace plexus::store {
namespace {

std::string raw(const char* prefix) {
  return IpPrefix::parse(prefix)->raw();
}

v1::Route route() {
  v1::Route r;
  r.set_id(Uuid::derived("route", "r").raw());
  r.set_router(Uuid::derived("router", "rt").raw());
  r.set_destination(raw("10.0.0.0/8"));
  return r;
}

v1::Port port() {
  v1::Port p;
  p.set_id(Uuid::derived("port", "p").raw());
  p.set_router(Uuid::derived("router", "rt").raw());
  p.add_networks(raw("fd00::1/64"));
  return p;
}

TEST(Convert, RoutesHaveAWeightAndMayHaveASource) {
  v1::Route r = route();
  EXPECT_EQ(to_model(r).weight, 1u);
  EXPECT_EQ(to_model(r).source, IpPrefix{});
  r.set_weight(7);
  r.set_source(raw("10.1.0.0/16"));
  EXPECT_EQ(to_model(r).weight, 7u);
  EXPECT_EQ(to_model(r).source, *IpPrefix::parse("10.1.0.0/16"));
  EXPECT_FALSE(to_model(r).unreadable);
  r.set_source(raw("fd00::/64"));
  EXPECT_TRUE(to_model(r).unreadable) << "nothing is guessed";
  r.set_source("x");
  EXPECT_TRUE(to_model(r).unreadable);
}

TEST(Convert, WhatARouterPortAdvertises) {
  v1::Port p = port();
  EXPECT_FALSE(to_model(p).advertising);
  EXPECT_EQ(to_model(p).mtu, 0u);
  p.set_advertise(true);
  EXPECT_EQ(to_model(p).advertising, (model::Advertising{1800, false, false, true}));
  p.set_advertise_lifetime(0);
  p.set_advertise_managed(true);
  p.set_advertise_other(true);
  p.set_advertise_autonomous(false);
  p.set_mtu(1400);
  EXPECT_EQ(to_model(p).advertising, (model::Advertising{0, true, true, false}));
  EXPECT_EQ(to_model(p).mtu, 1400u);
}

// --- filters ---

v1::Rule rule() {
  v1::Rule r;
  r.set_id(Uuid::derived("rule", "r").raw());
  r.set_chain(Uuid::derived("chain", "c").raw());
  r.set_position(10);
  r.set_action(v1::Rule::DROP);
  return r;
}

TEST(Convert, ARuleWithAllItsConditions) {
  v1::Rule r = rule();
  EXPECT_FALSE(to_model(r).unreadable);
  r.set_action(v1::Rule::JUMP);
  EXPECT_TRUE(to_model(r).unreadable) << "it leads nowhere";
  const Uuid other = Uuid::derived("chain", "other");
  r.set_jump_chain(other.raw());
  r.set_ethertype("\x08\x06");
  r.set_src_mac(std::string("\x02\0\0\0\0\0\xff\0\0\0\0\0", 12));
  r.set_source(raw("10.0.0.0/8"));
  r.set_protocol("\x06");
  r.add_source_ports(std::string("\0\x50\0\x51", 4));
  r.add_destination_ports(std::string("\0\0\xff\xff", 4));
  r.set_tcp_flags("\x02\x12");
  r.set_icmp_type(0);
  r.set_dscp(46);
  r.set_fragment(v1::Rule::WITH_HEADER);
  r.set_out_port_group(Uuid::derived("port-group", "g").raw());
  r.add_inverted(v1::Rule::SOURCE);
  r.add_inverted(v1::Rule::OUT_PORT_GROUP);
  const model::Rule m = to_model(r);
  EXPECT_FALSE(m.unreadable);
  EXPECT_EQ(m.action, model::RuleAction::jump);
  EXPECT_EQ(m.jump_chain, ChainId{other});
  EXPECT_EQ(m.ethertype, 0x0806);
  EXPECT_EQ(m.src_mac, (model::MaskedMac{*MacAddr::parse("02:00:00:00:00:00"),
                                         *MacAddr::parse("ff:00:00:00:00:00")}));
  EXPECT_EQ(m.source, IpPrefix::parse("10.0.0.0/8"));
  EXPECT_FALSE(m.destination);
  EXPECT_EQ(m.protocol, 6);
  EXPECT_EQ(m.source_ports, (std::vector<model::PortRange>{{80, 81}}));
  EXPECT_EQ(m.destination_ports, (std::vector<model::PortRange>{{0, 65535}}));
  EXPECT_EQ(m.tcp_flags, (model::TcpFlags{2, 0x12}));
  EXPECT_EQ(m.icmp_type, 0);
  EXPECT_FALSE(m.icmp_code);
  EXPECT_EQ(m.dscp, 46);
  EXPECT_EQ(m.fragment, model::FragmentClass::with_header);
  EXPECT_TRUE(m.is_inverted(model::Condition::source));
  EXPECT_TRUE(m.is_inverted(model::Condition::out_port_group));
  EXPECT_FALSE(m.is_inverted(model::Condition::protocol));
}

TEST(Convert, ARuleThatIsNotUnderstoodIsUnreadable) {
  const auto unreadable = [](auto edit) {
    v1::Rule r = rule();
    edit(r);
    return to_model(r).unreadable;
  };
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.clear_action(); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_action(static_cast<v1::Rule::Action>(77)); }));
  EXPECT_TRUE(
      unreadable([](v1::Rule& r) { r.add_inverted(static_cast<v1::Rule::Condition>(77)); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_fragment(static_cast<v1::Rule::Fragment>(9)); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_jump_chain(Uuid::random().raw()); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_source(raw("10.0.0.1/8")); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_protocol("tcp"); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.add_source_ports("\x02\x01\x01\x01"); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_icmp_type(256); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_dscp(64); }));
  EXPECT_TRUE(unreadable([](v1::Rule& r) { r.set_tcp_flags("\x03\x01"); }));
}

TEST(Convert, SecurityRulesHaveOneRemoteAtMost) {
  v1::SecurityRule r;
  r.set_id(Uuid::derived("security-rule", "r").raw());
  r.set_security_group(Uuid::derived("security-group", "g").raw());
  EXPECT_TRUE(to_model(r).unreadable) << "no direction";
  r.set_direction(v1::SecurityRule::EGRESS);
  r.set_remote_prefix(raw("fd00::/8"));
  EXPECT_FALSE(to_model(r).unreadable);
  EXPECT_FALSE(to_model(r).ingress);
  r.set_remote_group(Uuid::random().raw());
  EXPECT_TRUE(to_model(r).unreadable);
}

TEST(Convert, GroupsAreSorted) {
  v1::AddressGroup g;
  g.set_id(Uuid::derived("address-group", "g").raw());
  for (const char* p : {"fd00::/8", "10.0.0.0/8", "9.0.0.0/8", "10.0.0.0/8"})
    g.add_prefixes(raw(p));
  EXPECT_EQ(to_model(g).prefixes,
            (std::vector<IpPrefix>{*IpPrefix::parse("9.0.0.0/8"), *IpPrefix::parse("10.0.0.0/8"),
                                   *IpPrefix::parse("fd00::/8")}));
  v1::Port p = port();
  for (const char* name : {"c", "a", "b"})
    p.add_security_groups(Uuid::derived("security-group", name).raw());
  const auto groups = to_model(p).security_groups;
  EXPECT_EQ(groups.size(), 3u);
  EXPECT_TRUE(std::is_sorted(groups.begin(), groups.end()));
  p.add_allowed_pairs(raw("10.0.0.0/8"));
  p.add_allowed_pairs(raw("10.0.0.0/8") + MacAddr::parse("02:00:00:00:00:01")->raw());
  EXPECT_FALSE(to_model(p).unreadable);
  EXPECT_EQ(to_model(p).allowed_pairs[1].mac, MacAddr::parse("02:00:00:00:00:01"));
  p.add_port_groups("short");
  EXPECT_TRUE(to_model(p).unreadable);

  v1::RefBucket bucket;
  bucket.add_entries()->set_id("damaged");
  for (const char* name : {"b", "a"}) {
    auto* entry = bucket.add_entries();
    entry->set_id(Uuid::derived("port", name).raw());
    entry->add_addresses(IpAddr::parse("10.0.0.1")->raw());
  }
  const auto members = to_members(bucket);
  ASSERT_EQ(members.size(), 2u);
  EXPECT_LT(members[0].port, members[1].port);
  EXPECT_EQ(members[0].addresses, (std::vector<IpAddr>{*IpAddr::parse("10.0.0.1")}));
}

TEST(Convert, RoutersLimitTheirIcmp) {
  v1::Router r;
  r.set_id(Uuid::derived("router", "rt").raw());
  EXPECT_EQ(to_model(r).icmp_rate, model::kDefaultIcmpRate);
  r.set_icmp_rate(0);
  EXPECT_EQ(to_model(r).icmp_rate, 0u);
}

}  // namespace
}  // namespace plexus::store
