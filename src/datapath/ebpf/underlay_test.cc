// SPDX-License-Identifier: Apache-2.0
// Where the program that takes the tunnel's headers off is attached, when the underlay changes and when agents come and go.
// Needs root.
#include <bpf/bpf.h>

#include "datapath/ebpf/decapsulation_bed.h"

namespace plexus::datapath {
namespace {

using UnderlayTest = DecapsulationTest;

TEST_F(UnderlayTest, FollowsTheTunnelsAddress) {
  Host own("own", true);
  const Frame inner = udp(false), outer = in_tunnel(inner);
  expect_own_way(own, outer, inner);
  EXPECT_EQ(own.filters("underlay"), 1u);

  // To another interface.
  own.replace_fabric("second");
  own.ip("addr del 192.0.2.1/24 dev underlay");
  own.ip("addr add 192.0.2.1/24 dev second");
  expect_by_device(own, outer, inner, "second");
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("underlay"), 0u);
  EXPECT_EQ(own.filters("second"), 1u);
  wait_out_detour();
  own.fabric_sends(outer, "second");
  EXPECT_EQ(own.received(), inner);

  // Made anew under the same name.
  own.ip("link delete second");
  own.replace_fabric("second");
  own.ip("addr add 192.0.2.1/24 dev second");
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("second"), 1u);
  const uint64_t before = own.by_device();
  own.fabric_sends(outer, "second");
  EXPECT_EQ(own.received(), inner);
  EXPECT_EQ(own.by_device(), before);

  // Gone altogether.
  own.ip("link delete second");
  EXPECT_EQ(own.repair(), 0u);

  // Another address.
  own.replace_fabric("third");
  own.ip("addr add 192.0.2.1/24 dev third");
  own.ip("addr add 192.0.2.9/24 dev underlay");
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("third"), 1u);
  own.set_tunnel("192.0.2.9");
  EXPECT_EQ(own.filters("third"), 0u);
  EXPECT_EQ(own.filters("underlay"), 1u);
  // One of the other family.
  own.set_tunnel("fd00::1");
  EXPECT_EQ(own.filters("underlay"), 0u);
}

TEST_F(UnderlayTest, WorksOnABridgeToo) {
  Host own("own", true);
  const Frame inner = udp(true), outer = in_tunnel(inner);
  own.ip("link add fabric type bridge");
  own.ip("link set fabric up address 02:00:00:00:00:77");
  own.ip("addr del 192.0.2.1/24 dev underlay");
  own.ip("link set underlay master fabric");
  own.ip("addr add 192.0.2.1/24 dev fabric");
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("fabric"), 1u);
  EXPECT_EQ(own.filters("underlay"), 0u);
  Frame to_bridge = outer;
  const uint8_t mac[] = {2, 0, 0, 0, 0, 0x77};
  std::copy(std::begin(mac), std::end(mac), to_bridge.begin());
  const uint64_t before = own.by_device();
  own.fabric_sends(to_bridge);
  EXPECT_EQ(own.received(), inner);
  EXPECT_EQ(own.by_device(), before);
}

TEST_F(UnderlayTest, WhatOthersRemoveIsPutBack) {
  Host own("own", true);
  EXPECT_EQ(own.repair(), 0u);
  {
    const InNamespace here(own.net());
    auto route = *netlink::Route::open();
    ASSERT_TRUE(route.delete_clsact(route.link("underlay")->index).ok());
  }
  expect_by_device(own, in_tunnel(udp(false)), udp(false));
  EXPECT_EQ(own.repair(), 1u);
  EXPECT_EQ(own.repair(), 0u);
  wait_out_detour();
  expect_own_way(own, in_tunnel(udp(false)), udp(false));
}

TEST_F(UnderlayTest, GoesOnWithoutAnAgentAndWithTheNext) {
  Host own("own", true);
  const Frame inner = udp(false), outer = in_tunnel(inner);
  own.close();
  expect_own_way(own, outer, inner);
  own.open();
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("underlay"), 1u);
  expect_own_way(own, outer, inner);
  // The next one does not want it, the one after that does.
  own.options().own_decapsulation = false;
  own.open();
  EXPECT_EQ(own.filters("underlay"), 0u);
  expect_by_device(own, outer, inner);
  own.options().own_decapsulation = true;
  own.open();
  expect_own_way(own, outer, inner);
  // Other sizes of the maps.
  own.options().max_flows = 512;
  own.open();
  expect_own_way(own, outer, inner);
  {
    const InNamespace here(own.net());
    ASSERT_TRUE(own.dp().destroy().ok());
  }
  EXPECT_EQ(own.filters("underlay"), 0u);
}

/// Version 3 of the layout knew no interface of the underlay.
TEST_F(UnderlayTest, MapsOfVersion3AreTakenOver) {
  Host own("own", false);
  const Frame inner = udp(false), outer = in_tunnel(inner);
  own.close();
  const std::filesystem::path bpffs = own.options().run_dir + "/bpf";
  const std::filesystem::path pins = bpffs / "v3-f256-p16";
  for (const auto& entry : std::filesystem::directory_iterator(bpffs))
    if (entry.is_directory()) {
      std::filesystem::rename(entry.path(), pins);
      break;
    }
  constexpr size_t kBytes = 32;
  const std::string path = pins / "tunnel";
  const UniqueFd now(bpf_obj_get(path.c_str()));
  const UniqueFd old(bpf_map_create(BPF_MAP_TYPE_ARRAY, "tunnel", 4, kBytes, 1, nullptr));
  ASSERT_TRUE(now.valid() && old.valid());
  const uint32_t zero = 0;
  plexus_tunnel tunnel{};
  ASSERT_EQ(bpf_map_lookup_elem(now.get(), &zero, &tunnel), 0);
  ASSERT_EQ(bpf_map_update_elem(old.get(), &zero, &tunnel, BPF_ANY), 0);
  std::filesystem::remove(path);
  ASSERT_EQ(bpf_obj_pin(old.get(), path.c_str()), 0);
  own.options().own_decapsulation = true;
  own.open();
  EXPECT_EQ(own.dp().dump_flows()->size(), 1u);
  expect_own_way(own, outer, inner);
}

TEST_F(UnderlayTest, LeavesItToTheDeviceWhereIpsecRules) {
  Host own("own", true);
  const Frame inner = udp(false), outer = in_tunnel(inner);
  {
    const InNamespace here(own.net());
    if (std::system("ip xfrm policy add src 10.9.9.9 dst 10.9.9.8 dir in 2>/dev/null") != 0)
      GTEST_SKIP() << "a kernel without IPsec";
  }
  EXPECT_EQ(own.repair(), 0u);
  EXPECT_EQ(own.filters("underlay"), 0u);
  expect_by_device(own, outer, inner);
  own.ip("xfrm policy flush");
  EXPECT_EQ(own.repair(), 0u);
  wait_out_detour();
  expect_own_way(own, outer, inner);
}

TEST_F(UnderlayTest, APortsFilterIsNotReplaced) {
  Host own("own", true);
  const Frame inner = udp(false), outer = in_tunnel(inner);
  {
    const InNamespace here(own.net());
    ASSERT_TRUE(own.dp().add_port({DpPort{17}, "underlay"}).ok());
  }
  EXPECT_EQ(own.repair(), 0u);
  own.fabric_sends(outer);
  std::vector<Upcall> upcalls;
  const MonoTime end = mono_now() + std::chrono::seconds(2);
  while (upcalls.empty() && mono_now() < end)
    own.dp().receive(9, [&](Upcall&& upcall) { upcalls.push_back(std::move(upcall)); });
  ASSERT_EQ(upcalls.size(), 1u);
  EXPECT_EQ(upcalls[0].in_port, DpPort{17});
  {
    const InNamespace here(own.net());
    ASSERT_TRUE(own.dp().remove_port(DpPort{17}).ok());
  }
  EXPECT_EQ(own.repair(), 0u);
  expect_own_way(own, outer, inner);
}

}  // namespace
}  // namespace plexus::datapath
