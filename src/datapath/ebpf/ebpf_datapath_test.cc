// SPDX-License-Identifier: Apache-2.0
// What is the eBPF datapath's own, beyond what the conformance suite asks of every provider. Needs root.
#include "datapath/ebpf/ebpf_datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/tc_hook.h"
#include "packet/build.h"
#include "parse_probe.skel.h"

namespace plexus::datapath {
namespace {

namespace fs = std::filesystem;

class EbpfDatapathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static const bool mounts = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                               ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!mounts) GTEST_SKIP() << "the kernel's datapath needs root";
    home_.emplace(NetNamespace::current());
    host_.emplace(*NetNamespace::make(true));
    vms_.emplace(*NetNamespace::make(false));
    host_->enter();
    options_ = options_in("one");
    options_.max_flows = 256;
    options_.max_ports = 16;
  }
  void TearDown() override {
    datapath_.reset();
    if (home_) home_->enter();
    for (const fs::path& dir : dirs_) {
      (void)::umount2((dir / "bpf").c_str(), MNT_DETACH);
      fs::remove_all(dir);
    }
  }

  EbpfOptions options_in(const std::string& name) {
    EbpfOptions options;
    options.run_dir = "/tmp/plexus-datapath-test-" + std::to_string(::getpid()) + "-" + name;
    dirs_.push_back(options.run_dir);
    return options;
  }
  void open() {
    datapath_.reset();
    auto opened = EbpfDatapath::open(options_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    datapath_ = std::move(*opened);
  }
  EbpfDatapath& dp() { return *datapath_; }
  netlink::Route route() { return *netlink::Route::open(); }

  /// A veth to the VMs' namespace, up on both sides.
  void make_veth(const std::string& name) {
    netlink::VethSpec spec{name, name, 1500, vms_->fd()};
    ASSERT_TRUE(route().create_veth(spec).ok());
    ASSERT_TRUE(route().set_up(route().link(name)->index, true).ok());
    const InNamespace there(*vms_);
    ASSERT_TRUE(route().set_up(route().link(name)->index, true).ok());
  }
  PacketSocket vm_socket(const std::string& name) {
    const InNamespace there(*vms_);
    return std::move(*PacketSocket::open(route().link(name)->index));
  }
  static std::string ipv6_disabled(const std::string& name) {
    std::string value;
    std::ifstream("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6") >> value;
    return value;
  }
  static Flow flow(uint32_t in, uint32_t out) {
    FlowKey key, mask;
    key.in_port = in;
    mask.in_port = UINT32_MAX;
    return {{key, mask}, {{{{}, LocalOutput{DpPort{out}}}}}, 0};
  }
  static Frame frame(uint16_t port) {
    PacketSpec spec;
    spec.eth_src = MacAddr{{2, 0, 0, 0, 0, 1}};
    spec.eth_dst = MacAddr{{2, 0, 0, 0, 0, 2}};
    spec.src = *IpAddr::parse("10.0.0.1");
    spec.dst = *IpAddr::parse("10.0.0.2");
    return udp_packet(spec, 1, port);
  }

  /// Packets that have left by an interface of this namespace.
  static uint64_t sent_by(const std::string& name) {
    std::ifstream file("/proc/thread-self/net/dev");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word != name + ":") continue;
      uint64_t n = 0;
      for (int column = 0; column < 10; ++column) words >> n;  // 8 of the way in, bytes, packets
      return n;
    }
    return 0;
  }

  std::optional<NetNamespace> home_, host_, vms_;
  EbpfOptions options_;
  std::vector<fs::path> dirs_;
  std::unique_ptr<EbpfDatapath> datapath_;
};

TEST_F(EbpfDatapathTest, DestroyLeavesNothing) {
  make_veth("va");
  const size_t links = route().links()->size();
  open();
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  TunnelSpec tunnel;
  tunnel.local = *IpAddr::parse("192.0.2.1");
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
  ASSERT_TRUE(dp().put_flow(flow(16, 16)).ok());
  EXPECT_EQ(route().links()->size(), links + 3);
  EXPECT_EQ(*route().count_tc_filters(route().link("va")->index), 1u);
  EXPECT_TRUE(fs::exists(options_.run_dir + "/bpf"));
  ASSERT_TRUE(dp().destroy().ok());
  EXPECT_EQ(route().links()->size(), links);
  EXPECT_FALSE(route().delete_clsact(route().link("va")->index).ok())
      << "the qdisc is gone already";
  EXPECT_FALSE(fs::exists(options_.run_dir + "/bpf"));
  open();
  EXPECT_TRUE(dp().ports().empty());
  EXPECT_TRUE(dp().dump_flows()->empty());
  ASSERT_TRUE(dp().destroy().ok());
}

TEST_F(EbpfDatapathTest, OneAtATime) {
  open();
  auto second = EbpfDatapath::open(options_);
  EXPECT_EQ(second.error().code, ErrorCode::in_use);
  EXPECT_NE(second.error().message.find(options_.run_dir), std::string::npos);
  EXPECT_EQ(EbpfDatapath::open(options_in("two")).error().code, ErrorCode::in_use);
  datapath_.reset();
  open();
}

/// As versions that lock no file keep others out; any process may bind the name.
UniqueFd earlier_lock() {
  UniqueFd out(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string_view text = "plexus-datapath";
  std::copy(text.begin(), text.end(), name.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  if (::bind(out.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0) return {};
  return out;
}

TEST_F(EbpfDatapathTest, AnybodysSocketKeepsNoAgentFromStarting) {
  UniqueFd theirs = earlier_lock();
  ASSERT_TRUE(theirs.valid());
  open();
  EXPECT_EQ(EbpfDatapath::open(options_in("two")).error().code, ErrorCode::in_use)
      << "another agent does";
  datapath_.reset();
  theirs.reset();
  open();
  EXPECT_FALSE(earlier_lock().valid()) << "an agent of an earlier version does not start beside it";
  struct stat info {};
  ASSERT_EQ(::stat("/run/plexus-datapath", &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(EbpfDatapathTest, TwoHostsOnOneMachine) {
  open();
  make_veth("va");
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  const NetNamespace other = *NetNamespace::make(true);
  {
    const InNamespace there(other);
    auto second = EbpfDatapath::open(options_in("two"));
    ASSERT_TRUE(second.ok()) << second.error().message;
    EXPECT_TRUE((*second)->ports().empty());
    TunnelSpec tunnel;
    tunnel.local = *IpAddr::parse("192.0.2.1");
    EXPECT_TRUE((*second)->set_tunnel(tunnel).ok());
    ASSERT_TRUE((*second)->destroy().ok());
  }
  EXPECT_EQ(dp().ports().size(), 1u);
  ASSERT_TRUE(dp().put_flow(flow(16, 16)).ok());
}

TEST_F(EbpfDatapathTest, AnInterfaceIsLeftAsItWasFound) {
  open();
  make_veth("va");
  EXPECT_EQ(ipv6_disabled("va"), "0");
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  EXPECT_EQ(ipv6_disabled("va"), "1") << "the host's stack keeps quiet towards the VM";
  open();
  ASSERT_TRUE(dp().remove_port(DpPort{16}).ok());
  EXPECT_EQ(ipv6_disabled("va"), "0");

  make_veth("vb");
  std::ofstream("/proc/sys/net/ipv6/conf/vb/disable_ipv6") << "1";
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  ASSERT_TRUE(dp().remove_port(DpPort{17}).ok());
  EXPECT_EQ(ipv6_disabled("vb"), "1");
}

TEST_F(EbpfDatapathTest, AnInterfaceThatWasRenamedIsLeftAsItWasFound) {
  open();
  make_veth("va");
  const uint32_t index = route().link("va")->index;
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_EQ(*route().count_tc_filters(index), 1u);
  ASSERT_EQ(std::system("ip link set va down && ip link set va name vz && ip link set vz up"), 0);
  ASSERT_TRUE(dp().remove_port(DpPort{16}).ok());
  EXPECT_EQ(*route().count_tc_filters(index), 0u) << "it would drop all that comes";
  EXPECT_EQ(ipv6_disabled("vz"), "0");
}

TEST_F(EbpfDatapathTest, OtherPeoplesFiltersStay) {
  make_veth("va");
  parse_probe* theirs = parse_probe__open_and_load();
  ASSERT_NE(theirs, nullptr);
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(route().link("va")->index);
  hook.attach_point = BPF_TC_EGRESS;
  ASSERT_EQ(bpf_tc_hook_create(&hook), 0);
  bpf_tc_opts place{};
  place.sz = sizeof place;
  place.prog_fd = bpf_program__fd(theirs->progs.parse_probe);
  place.priority = 5;
  place.handle = 1;
  ASSERT_EQ(bpf_tc_attach(&hook, &place), 0);
  parse_probe__destroy(theirs);
  const uint32_t index = route().link("va")->index;
  ASSERT_EQ(*route().count_tc_filters(index), 1u);
  open();
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  EXPECT_EQ(*route().count_tc_filters(index), 2u);
  ASSERT_TRUE(dp().remove_port(DpPort{16}).ok());
  EXPECT_EQ(*route().count_tc_filters(index), 1u);
}

TEST_F(EbpfDatapathTest, OnlyAVmsOwnFramesTakeTheShortWay) {
  open();
  make_veth("va");
  make_veth("vb");
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  ASSERT_TRUE(dp().put_flow(flow(16, 17)).ok());
  PacketSocket a = vm_socket("va"), b = vm_socket("vb");
  MacAddr mac;
  {
    const InNamespace there(*vms_);
    mac = route().link("vb")->mac;
  }
  const struct {
    MacAddr to;
    int type;
    bool jumps;
  } cases[] = {{mac, PACKET_HOST, true},
               {MacAddr{{2, 7, 7, 7, 7, 7}}, PACKET_OTHERHOST, false},
               {kBroadcastMac, PACKET_BROADCAST, false}};
  for (const auto& c : cases) {
    Frame f = frame(1);
    std::copy(c.to.bytes.begin(), c.to.bytes.end(), f.begin());
    const uint64_t before = sent_by("vb");
    ASSERT_TRUE(a.send(f, {}).ok());
    ASSERT_TRUE(b.receive(2000).has_value());
    EXPECT_EQ(b.last_type(), c.type) << c.to.str();
    EXPECT_EQ(sent_by("vb") - before, c.jumps ? 0u : 1u) << c.to.str();
  }
}

TEST_F(EbpfDatapathTest, WhatOthersRemoveIsPutBack) {
  open();
  for (const std::string name : {"va", "vb"}) make_veth(name);
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  ASSERT_TRUE(dp().put_flow(flow(16, 17)).ok());
  EXPECT_EQ(*dp().repair(), 0u);
  TunnelSpec tunnel;
  tunnel.local = *IpAddr::parse("192.0.2.1");
  tunnel.udp_port = 4790;
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
  EXPECT_EQ(*dp().repair(), 0u);

  netlink::Route r = route();
  ASSERT_TRUE(r.delete_clsact(r.link("va")->index).ok());
  ASSERT_TRUE(r.delete_link(r.link(kVxlanDevice)->index).ok());
  ASSERT_TRUE(r.delete_link(r.link(kInjectionDevice)->index).ok());
  EXPECT_EQ(*dp().repair(), 3u);
  EXPECT_EQ(*dp().repair(), 0u);
  EXPECT_EQ(*r.vxlan_udp_port(kVxlanDevice), 4790);
  PacketSocket a = vm_socket("va"), b = vm_socket("vb");
  ASSERT_TRUE(a.send(frame(1), {}).ok());
  EXPECT_TRUE(b.receive(2000).has_value());
  ASSERT_TRUE(dp().execute(frame(1), {}, {{{{}, LocalOutput{DpPort{17}}}}}).ok());
  EXPECT_TRUE(b.receive(2000).has_value());
  ASSERT_TRUE(r.delete_link(r.link("va")->index).ok());
  EXPECT_EQ(*dp().repair(), 0u) << "a vanished interface is none of its business";
}

TEST_F(EbpfDatapathTest, ARepairedInjectorSendsManyAtOnceAgain) {
  open();
  for (const std::string name : {"va", "vb"}) make_veth(name);
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  ASSERT_TRUE(dp().sends_batches());
  netlink::Route r = route();
  const uint32_t device = r.link(kInjectionDevice)->index;
  detach(r, device, Direction::ingress);  // the filter only: the device and its other end stay
  EXPECT_EQ(*dp().repair(), 1u);
  EXPECT_EQ(r.link(kInjectionDevice)->index, device);
  EXPECT_TRUE(dp().sends_batches());
  PacketSocket b = vm_socket("vb");
  const auto packet = frame(1);
  const Actions actions{{{{}, LocalOutput{DpPort{17}}}}};
  const std::vector<Execution> packets(20, Execution{packet, {}, &actions});
  std::vector<Result<void>> done(packets.size());
  dp().execute_many(packets, done);
  for (size_t i = 0; i < packets.size(); ++i) {
    EXPECT_TRUE(done[i].ok()) << i;
    EXPECT_TRUE(b.receive(2000).has_value()) << i;
  }
  EXPECT_TRUE(dp().sends_batches()) << "none of them failed";
}

TEST_F(EbpfDatapathTest, WhereOtherCpusTakeReceivedPacketsTheyAreSentOneByOne) {
  const char* path = "/proc/sys/net/core/rps_default_mask";
  std::ofstream(path) << "1" << std::flush;
  std::string mask;
  if (!(std::ifstream(path) >> mask) || mask.find('1') == std::string::npos)
    GTEST_SKIP() << "this kernel has no rps_default_mask of a network namespace";
  open();
  EXPECT_FALSE(dp().sends_batches());
  std::ofstream(path) << "0" << std::flush;
  open();
  EXPECT_TRUE(dp().sends_batches());
}

/// The datapath's pins under another layout's name.
fs::path rename_pins(const EbpfOptions& options, const std::string& name) {
  const fs::path bpffs = options.run_dir + "/bpf";
  for (const auto& entry : fs::directory_iterator(bpffs))
    if (entry.is_directory()) {
      fs::rename(entry.path(), bpffs / name);
      break;
    }
  return bpffs / name;
}

/// Puts the tunnel as versions 1 and 2 had it in the place of ours.
void make_tunnel_version_1(const fs::path& pins) {
  const std::string path = pins / "tunnel";
  constexpr size_t kBytes = 24;  // up to `local`
  const UniqueFd now(bpf_obj_get(path.c_str()));
  const UniqueFd old(bpf_map_create(BPF_MAP_TYPE_ARRAY, "tunnel", 4, kBytes, 1, nullptr));
  ASSERT_TRUE(now.valid() && old.valid());
  const uint32_t zero = 0;
  plexus_tunnel tunnel{};
  ASSERT_EQ(bpf_map_lookup_elem(now.get(), &zero, &tunnel), 0);
  ASSERT_EQ(bpf_map_update_elem(old.get(), &zero, &tunnel, BPF_ANY), 0);
  fs::remove(path);
  ASSERT_EQ(bpf_obj_pin(old.get(), path.c_str()), 0);
}

/// Puts flow_entries as version 1 had them in the place of ours.
void make_version_1(const fs::path& pins, uint32_t slots) {
  const std::string path = pins / "flow_entries";
  const UniqueFd now(bpf_obj_get(path.c_str()));
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_MMAPABLE;
  constexpr size_t kFirst = 88, kSecond = 152;  // up to `block`; rewrite and outputs
  const UniqueFd old(
      bpf_map_create(BPF_MAP_TYPE_ARRAY, "flow_entries", 4, kFirst + kSecond, slots, &options));
  ASSERT_TRUE(now.valid() && old.valid());
  for (uint32_t slot = 0; slot < slots; ++slot) {
    plexus_flow entry{};
    ASSERT_EQ(bpf_map_lookup_elem(now.get(), &slot, &entry), 0);
    uint8_t bytes[kFirst + kSecond];
    std::memcpy(bytes, &entry, kFirst);
    std::memcpy(bytes + kFirst, &entry.rewrite, kSecond);
    ASSERT_EQ(bpf_map_update_elem(old.get(), &slot, bytes, BPF_ANY), 0);
  }
  fs::remove(path);
  ASSERT_EQ(bpf_obj_pin(old.get(), path.c_str()), 0);
}

TEST_F(EbpfDatapathTest, AnotherLayoutIsTakenOver) {
  for (const std::string name : {"va", "vb"}) make_veth(name);
  PacketSocket a = vm_socket("va"), b = vm_socket("vb");
  open();
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  TunnelSpec tunnel;
  tunnel.local = *IpAddr::parse("192.0.2.1");
  tunnel.peers = {*IpAddr::parse("192.0.2.2"), *IpAddr::parse("fd00::2")};
  ASSERT_TRUE(dp().set_tunnel(tunnel).ok());
  Flow many = flow(PLEXUS_TUNNEL_PORT, 16);
  many.cookie = 9;
  for (int i = 0; i < 6; ++i) many.actions.copies.push_back({{}, LocalOutput{DpPort{17}}});
  ASSERT_TRUE(dp().put_flow(flow(16, 17)).ok());
  ASSERT_TRUE(dp().put_flow(many).ok());
  const auto passes = [&](const std::string& when) {
    ASSERT_TRUE(a.send(frame(1), {}).ok());
    EXPECT_TRUE(b.receive(2000).has_value()) << when;
  };
  const auto check = [&](uint64_t packets, const std::string& when) {
    EXPECT_EQ(dp().ports().size(), 2u) << when;
    const auto flows = *dp().dump_flows();
    ASSERT_EQ(flows.size(), 2u) << when;
    for (const FlowEntry& entry : flows) {
      const Flow& want = entry.flow.cookie == 9 ? many : flow(16, 17);
      EXPECT_EQ(entry.flow.match, want.match) << when;
      EXPECT_EQ(entry.flow.actions, want.actions) << when;
      EXPECT_EQ(entry.stats.packets, entry.flow.cookie == 9 ? 0 : packets) << when;
    }
    size_t layouts = 0;
    for (const auto& entry : fs::directory_iterator(options_.run_dir + "/bpf"))
      layouts += entry.is_directory();
    EXPECT_EQ(layouts, 1u) << when;
  };
  passes("at first");

  options_.max_flows = 512;
  open();
  check(1, "more flows");
  passes("more flows");

  // The version before, with fewer counters.
  datapath_.reset();
  (void)rename_pins(options_, "v5-f512-p16");
  open();
  check(2, "version 5");
  passes("version 5");

  // An earlier version. Its programs forward until ours take over.
  datapath_.reset();
  const fs::path pins = rename_pins(options_, "v1-f512-p16");
  make_version_1(pins, 64);
  make_tunnel_version_1(pins);
  passes("without an agent");
  open();
  check(4, "version 1");
  passes("version 1");
}

TEST_F(EbpfDatapathTest, NoPacketIsLostOrUpcalledWhileAnotherLayoutIsTakenOver) {
  for (const std::string name : {"va", "vb"}) make_veth(name);
  PacketSocket a = vm_socket("va"), b = vm_socket("vb");
  open();
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vb"}).ok());
  ASSERT_TRUE(dp().put_flow(flow(16, 17)).ok());
  std::atomic<bool> enough{false};
  size_t sent = 0;
  std::thread sender([&] {
    while (!enough) {
      if (a.send(frame(1), {}).ok()) ++sent;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  options_.max_flows = 512;
  open();
  enough = true;
  sender.join();
  size_t received = 0;
  while (received < sent && b.receive(2000)) ++received;
  EXPECT_GT(sent, 0u);
  EXPECT_EQ(received, sent);
  EXPECT_EQ(dp().counters().upcalls, 0u);
}

TEST_F(EbpfDatapathTest, ALayoutThatCannotBeReadStartsFreshAndLeavesNoFilterBehind) {
  make_veth("va");
  open();
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().put_flow(flow(16, 16)).ok());
  datapath_.reset();
  rename_pins(options_, "v999-f256-p16");
  open();
  EXPECT_TRUE(dp().ports().empty());
  EXPECT_TRUE(dp().dump_flows()->empty());
  EXPECT_EQ(*route().count_tc_filters(route().link("va")->index), 0u);
  size_t layouts = 0;
  for (const auto& entry : fs::directory_iterator(options_.run_dir + "/bpf"))
    layouts += entry.is_directory();
  EXPECT_EQ(layouts, 1u);
}

TEST_F(EbpfDatapathTest, DamagedPinsAreReplaced) {
  open();
  datapath_.reset();
  for (const auto& entry : fs::recursive_directory_iterator(options_.run_dir + "/bpf"))
    if (entry.path().filename() == "ports") {
      const fs::path ports = entry.path();
      fs::remove(ports);
      // A map of another kind under the name.
      fs::rename(ports.parent_path() / "counters", ports);
      break;
    }
  open();
  make_veth("va");
  EXPECT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
}

TEST_F(EbpfDatapathTest, EntriesOfFlowsWithSeveralRewritesAreLimitedAndComeBack) {
  open();
  make_veth("va");
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  const auto with_rewrites = [](uint32_t n) {
    Flow out = flow(16, 16);
    out.match.key.tunnel_key = n;
    out.match.mask.tunnel_key = UINT32_MAX;
    for (uint8_t i = 1; i < PLEXUS_MAX_GROUPS; ++i) {
      Rewrite rewrite;
      rewrite.dscp = i;
      out.actions.copies.push_back({rewrite, LocalOutput{DpPort{16}}});
    }
    return out;
  };
  for (int round = 0; round < 30; ++round) {
    uint32_t n = 0;
    Result<void> put;
    while (n < 256 && (put = dp().put_flow(with_rewrites(n))).ok()) ++n;
    EXPECT_EQ(put.error().code, ErrorCode::no_space);
    ASSERT_EQ(n, 86u) << "round " << round;  // 256 / 3, and the last may exceed it
    ASSERT_TRUE(dp().put_flow(flow(16, 16)).ok()) << "others have room";
    if (round == 10) open();
    ASSERT_EQ(dp().dump_flows()->size(), n + 1);
    for (uint32_t i = 0; i < n; ++i) ASSERT_TRUE(dp().remove_flow(with_rewrites(i).match).ok());
    ASSERT_TRUE(dp().remove_flow(flow(16, 16).match).ok());
  }
}

TEST_F(EbpfDatapathTest, AnAgentThatIsKilledLeavesAWorkingDatapath) {
  make_veth("va");
  make_veth("vb");
  PacketSocket a = vm_socket("va"), b = vm_socket("vb");
  const pid_t child = ::fork();
  if (child == 0) {
    auto mine = EbpfDatapath::open(options_);
    const bool good = mine.ok() && (*mine)->add_port({DpPort{16}, "va"}).ok() &&
                      (*mine)->add_port({DpPort{17}, "vb"}).ok() &&
                      (*mine)->put_flow(flow(16, 17)).ok();
    ::kill(::getpid(), good ? SIGKILL : SIGTERM);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ASSERT_TRUE(a.send(frame(1), {}).ok());
  ASSERT_TRUE(b.receive(2000).has_value());
  open();
  EXPECT_EQ(dp().ports().size(), 2u);
  ASSERT_EQ(dp().dump_flows()->size(), 1u);
  EXPECT_EQ(dp().dump_flows()->front().stats.packets, 1u);
}

TEST_F(EbpfDatapathTest, AChangingTableNeverMisdelivers) {
  // Flows come, change and go, their slots and hash elements are used again and again, while packets pass on another CPU.
  // Port 100 + n belongs to VM n % 2, whatever the moment; a packet may be upcalled, never delivered to the other VM.
  options_.max_flows = 24;
  open();
  for (const std::string name : {"src", "vm0", "vm1"}) make_veth(name);
  ASSERT_TRUE(dp().add_port({DpPort{16}, "src"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{17}, "vm0"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{18}, "vm1"}).ok());
  PacketSocket source = vm_socket("src"), sinks[2] = {vm_socket("vm0"), vm_socket("vm1")};

  const auto flow_for = [](uint16_t n, bool wide, uint32_t variant) {
    FlowKey mask;
    mask.in_port = UINT32_MAX;
    mask.tp_dst = Be16(0xffff);
    if (wide) mask.ip_proto = 0xff;
    FlowKey key = parse_packet(frame(static_cast<uint16_t>(100 + n))).key;
    key.in_port = 16;
    Flow out{match_of(key, mask), {}, variant};
    Rewrite rewrite;
    for (uint32_t i = 0; i <= variant % 6; ++i) {
      if (variant % 4 == 0) rewrite.dscp = static_cast<uint8_t>(i % 3);
      out.actions.copies.push_back({rewrite, LocalOutput{DpPort{17u + n % 2}}});
    }
    return out;
  };
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    std::mt19937 random(7);
    while (!stop) {
      const auto n = static_cast<uint16_t>(random() % 32);
      if (!source.send(frame(static_cast<uint16_t>(100 + n)), {}).ok()) return;
    }
  });
  std::atomic<size_t> delivered[2] = {};
  std::atomic<size_t> wrong{0};
  std::thread receivers[2];
  for (size_t vm = 0; vm < 2; ++vm)
    receivers[vm] = std::thread([&, vm] {
      while (auto got = sinks[vm].receive(300)) {
        ++delivered[vm];
        if (parse_packet(got->second).key.tp_dst.host() % 2 != vm) ++wrong;
      }
    });
  std::mt19937 random(8);
  size_t changes = 0;
  // As much as it takes, however busy the machine is.
  const MonoTime end = mono_now() + std::chrono::seconds(60);
  while ((changes < 4000 || delivered[0] < 500 || delivered[1] < 500) && mono_now() < end) {
    const auto n = static_cast<uint16_t>(random() % 32);
    const Flow f = flow_for(n, random() % 2 == 0, static_cast<uint32_t>(random() % 100));
    if (random() % 3 == 0)
      changes += dp().remove_flow(f.match).ok();
    else
      changes += dp().put_flow(f).ok();
    dp().receive(1000, [](Upcall&&) {});
  }
  stop = true;
  sender.join();
  for (std::thread& receiver : receivers) receiver.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GE(delivered[0], 500u);
  EXPECT_GE(delivered[1], 500u);
  EXPECT_GE(changes, 4000u);
}

TEST_F(EbpfDatapathTest, PortsWhoseNumbersShareAPlaceAreToldApart) {
  make_veth("va");
  make_veth("vb");
  make_veth("vc");
  open();
  const uint32_t first = 17, second = 17 + PLEXUS_SLOTS, third = 17 + 2 * PLEXUS_SLOTS;
  PacketSocket a = vm_socket("va"), b = vm_socket("vb"), c = vm_socket("vc");
  ASSERT_TRUE(dp().add_port({DpPort{16}, "va"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{first}, "vb"}).ok());
  ASSERT_TRUE(dp().add_port({DpPort{second}, "vc"}).ok());
  // Not what the kernel's IPv6 sends by an interface that is no port any more.
  const auto comes = [](PacketSocket& at, int timeout_ms) {
    while (auto got = at.receive(timeout_ms))
      if (got->second == frame(1)) return true;
    return false;
  };
  const auto arrives = [&](uint32_t to, PacketSocket& at, PacketSocket& not_at) {
    ASSERT_TRUE(dp().put_flow(flow(16, to)).ok());
    ASSERT_TRUE(a.send(frame(1), {}).ok());
    EXPECT_TRUE(comes(at, 2000)) << to;
    EXPECT_FALSE(comes(not_at, 20)) << to;
  };
  arrives(first, b, c);
  arrives(second, c, b);
  // The place becomes free, and another one's.
  ASSERT_TRUE(dp().remove_port(DpPort{first}).ok());
  arrives(second, c, b);
  ASSERT_TRUE(dp().add_port({DpPort{third}, "vb"}).ok());
  arrives(third, b, c);
  arrives(second, c, b);
  ASSERT_TRUE(dp().put_flow(flow(16, first)).ok());
  ASSERT_TRUE(a.send(frame(1), {}).ok());
  EXPECT_FALSE(comes(b, 50));
  EXPECT_EQ(dp().counters().drops["unknown_output_port"], 1u);
}

TEST(EbpfDatapathErrors, AreSaidClearly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EbpfOptions options;
  options.run_dir = "/proc/nowhere";
  EXPECT_FALSE(EbpfDatapath::open(options).ok());
}

}  // namespace
}  // namespace plexus::datapath
