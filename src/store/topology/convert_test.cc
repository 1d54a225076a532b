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

TEST(Convert, RoutersLimitTheirIcmp) {
  v1::Router r;
  r.set_id(Uuid::derived("router", "rt").raw());
  EXPECT_EQ(to_model(r).icmp_rate, model::kDefaultIcmpRate);
  r.set_icmp_rate(0);
  EXPECT_EQ(to_model(r).icmp_rate, 0u);
}

}  // namespace
}  // namespace plexus::store
