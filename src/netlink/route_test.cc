// SPDX-License-Identifier: Apache-2.0
// Route netlink against the kernel, in namespaces of the test's own. Needs root.
#include "netlink/route.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace plexus::netlink {
namespace {

class RouteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    home_ = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0)
      GTEST_SKIP() << "network namespaces need root";
    away_ = true;
    route_.emplace(std::move(*Route::open()));
  }
  void TearDown() override {
    if (away_) {
      ASSERT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
    }
  }
  /// A further namespace; the thread stays where it is.
  UniqueFd other_namespace() {
    const UniqueFd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    UniqueFd there(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
    return there;
  }
  Route& route() { return *route_; }

 private:
  UniqueFd home_;
  bool away_ = false;
  std::optional<Route> route_;
};

TEST_F(RouteTest, VethsAreMadeFoundChangedAndDeleted) {
  ASSERT_TRUE(route().create_veth({"va", "vb", 1400, {}}).ok());
  EXPECT_EQ(route().create_veth({"va", "vc", 1400, {}}).error().code, ErrorCode::exists);
  Link a = *route().link("va");
  const Link b = *route().link("vb");
  EXPECT_EQ(a.kind, "veth");
  EXPECT_EQ(a.mtu, 1400u);
  EXPECT_EQ(a.peer_index, b.index);
  EXPECT_FALSE(a.peer_namespace.has_value());
  EXPECT_FALSE(a.up);
  EXPECT_FALSE(a.mac.is_zero());
  EXPECT_TRUE(route().set_up(a.index, true).ok());
  a = *route().link(a.index);
  EXPECT_TRUE(a.up);
  const auto all = *route().links();
  EXPECT_EQ(std::count(all.begin(), all.end(), a), 1);
  EXPECT_TRUE(route().delete_link(a.index).ok());
  EXPECT_EQ(route().link("va").error().code, ErrorCode::not_found);
  EXPECT_EQ(route().link("vb").error().code, ErrorCode::not_found);
  EXPECT_EQ(route().delete_link(a.index).error().code, ErrorCode::not_found);
  EXPECT_EQ(route().link("a name that no interface can have").error().code, ErrorCode::not_found);
}

TEST_F(RouteTest, AVethsOtherEndIsSeenInItsNamespace) {
  const UniqueFd there = other_namespace();
  VethSpec spec{"va", "vb", 1500, there.get()};
  ASSERT_TRUE(route().create_veth(spec).ok());
  const Link a = *route().link("va");
  ASSERT_TRUE(a.peer_namespace.has_value());
  const Link b = *route().link_in(*a.peer_namespace, a.peer_index);
  EXPECT_EQ(b.name, "vb");
  EXPECT_FALSE(b.mac.is_zero());
  EXPECT_FALSE(route().link("vb").ok());
}

TEST_F(RouteTest, AnExternalVxlanDevice) {
  VxlanSpec spec;
  spec.name = "vx";
  spec.udp_port = 4790;
  spec.mtu = 65535;
  const auto made = route().create_vxlan(spec);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(route().link("vx")->kind, "vxlan");
  EXPECT_GT(route().link("vx")->mtu, 65000u);
  EXPECT_EQ(*route().vxlan_udp_port("vx"), 4790);
  ASSERT_TRUE(route().create_veth({"va", "vb", 1500, {}}).ok());
  EXPECT_EQ(route().vxlan_udp_port("va").error().code, ErrorCode::not_found);
  EXPECT_TRUE(route().set_up(route().link("vx")->index, true).ok());
}

TEST_F(RouteTest, AddressesAreAddedAndListed) {
  ASSERT_TRUE(route().create_veth({"va", "vb", 1500, {}}).ok());
  const uint32_t index = route().link("va")->index;
  ASSERT_TRUE(route().set_no_link_local(index).ok());
  const IpPrefix v4 = *IpPrefix::parse("192.0.2.1/24"), v6 = *IpPrefix::parse("fd00::1/64");
  ASSERT_TRUE(route().add_address(index, v4).ok());
  ASSERT_TRUE(route().add_address(index, v6).ok());
  EXPECT_EQ(route().add_address(index, v4).error().code, ErrorCode::exists);
  for (const std::string name : {"va", "vb"})
    ASSERT_TRUE(route().set_up(route().link(name)->index, true).ok());
  auto all = *route().addresses();
  std::erase_if(all, [&](const InterfaceAddress& a) { return a.link_index != index; });
  ASSERT_EQ(all.size(), 2u) << "and no link-local address";
  EXPECT_EQ(all[0].prefix, v4);
  EXPECT_EQ(all[1].prefix, v6);
}

TEST_F(RouteTest, AMonitorSeesLinksComeAndGo) {
  auto monitor = *LinkMonitor::open();
  EXPECT_TRUE(monitor.read()->empty());
  ASSERT_TRUE(route().create_veth({"va", "vb", 1500, {}}).ok());
  ASSERT_TRUE(route().delete_link(route().link("va")->index).ok());
  std::vector<std::pair<std::string, bool>> seen;
  const auto saw = [&](const std::string& name, bool gone) {
    return std::find(seen.begin(), seen.end(), std::pair{name, gone}) != seen.end();
  };
  pollfd readable{monitor.fd(), POLLIN, 0};
  while (!(saw("va", true) && saw("vb", true)) && ::poll(&readable, 1, 2000) == 1) {
    const auto events = monitor.read();
    ASSERT_TRUE(events.ok());
    for (const LinkEvent& event : *events) seen.emplace_back(event.link.name, event.gone);
  }
  EXPECT_TRUE(saw("va", false) && saw("vb", false));
  EXPECT_TRUE(saw("va", true) && saw("vb", true));
}

TEST_F(RouteTest, AnInterfaceWithoutFiltersHasNone) {
  ASSERT_TRUE(route().create_veth({"va", "vb", 1500, {}}).ok());
  const uint32_t index = route().link("va")->index;
  const auto count = route().count_tc_filters(index);
  if (count) {
    EXPECT_EQ(*count, 0u);
  }
  EXPECT_FALSE(route().delete_clsact(index).ok());
}

TEST(LinkOf, ForeignAndShortMessagesAreNone) {
  EXPECT_FALSE(link_of({RTM_NEWADDR, 0, 0, {}}).has_value());
  EXPECT_FALSE(link_of({RTM_NEWLINK, 0, 0, {}}).has_value());
}

}  // namespace
}  // namespace plexus::netlink
