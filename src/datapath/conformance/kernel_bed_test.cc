// SPDX-License-Identifier: Apache-2.0
// The eBPF datapath's bed: a namespace for the host, one for its VMs, one for the fabric; VMs and fabric speak through packet
// sockets. Needs root.
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "datapath/conformance/bed.h"
#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "packet/headers.h"

namespace plexus::datapath {
namespace {

constexpr int kPatienceMs = 2000, kMomentMs = 15;
constexpr uint16_t kVxlanUdpPort = 4789;

void must(const Result<void>& result) {
  PLEXUS_CHECK(result.ok(), result.error().message);
}

template <typename T>
T must(Result<T> result) {
  PLEXUS_CHECK(result.ok(), result.error().message);
  return std::move(*result);
}

class KernelBed final : public Bed {
 public:
  KernelBed(const EbpfOptions& options, NetNamespace host, NetNamespace vms, NetNamespace fabric)
      : options_(options),
        home_(NetNamespace::current()),
        host_(std::move(host)),
        vms_(std::move(vms)),
        fabric_(std::move(fabric)) {
    host_.enter();
    route_.emplace(must(netlink::Route::open()));
    make_underlay();
    // An interface that is up and not yet a port would send the kernel's own IPv6 packets to its VM.
    std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << "1";
    datapath_ = must(EbpfDatapath::open(options_));
  }
  ~KernelBed() override {
    if (datapath_) must(datapath_->destroy());
    datapath_.reset();
    home_.enter();
    std::error_code ignored;
    std::filesystem::remove_all(options_.run_dir, ignored);
  }

  Datapath& dp() override { return *datapath_; }

  void add_interface(const std::string& name) override {
    netlink::VethSpec spec;
    spec.name = name;
    spec.peer = name;
    spec.mtu = 9000;
    spec.peer_namespace_fd = vms_.fd();
    must(route_->create_veth(spec));
    must(route_->set_up(must(route_->link(name)).index, true));
    const InNamespace there(vms_);
    auto route = must(netlink::Route::open());
    const netlink::Link link = must(route.link(name));
    must(route.set_up(link.index, true));
    macs_[name] = link.mac;
    sockets_.erase(name);
    sockets_.emplace(name, must(PacketSocket::open(link.index)));
  }
  void remove_interface(const std::string& name) override {
    must(route_->delete_link(must(route_->link(name)).index));
  }
  MacAddr vm_mac(const std::string& name) override { return macs_.at(name); }
  void vm_sends(const std::string& name, const Frame& frame, const Offload& offload) override {
    must(sockets_.at(name).send(frame, offload));
  }
  std::vector<Received> vm_received(const std::string& name, size_t expected) override {
    std::vector<Received> out;
    for (auto& [offload, frame] : receive(sockets_.at(name), expected))
      out.push_back({offload, std::move(frame)});
    return out;
  }

  void fabric_sends(const IpAddr& remote, uint32_t key, const Frame& frame) override {
    Frame vxlan = {8,
                   0,
                   0,
                   0,
                   static_cast<uint8_t>(key >> 16),
                   static_cast<uint8_t>(key >> 8),
                   static_cast<uint8_t>(key),
                   0};
    vxlan.insert(vxlan.end(), frame.begin(), frame.end());
    PacketSpec spec;
    spec.eth_src = fabric_mac_;
    spec.eth_dst = underlay_mac_;
    spec.src = remote;
    spec.dst = remote.is_v4() ? tunnel().local : local6();
    Frame outer = udp_packet(spec, 50000, kVxlanUdpPort, vxlan);
    // As other hosts send it: over IPv4 without a checksum.
    if (remote.is_v4()) put_be16(outer, parse_packet(outer).l4_offset + size_t{6}, 0);
    must(underlay_->send(outer, {}));
  }
  std::vector<SentFrame> fabric_received(size_t expected) override {
    std::vector<SentFrame> out;
    const MonoTime end = mono_now() + std::chrono::milliseconds(kPatienceMs);
    for (;;) {
      const bool enough = out.size() >= expected;
      auto got = underlay_->receive(enough ? kMomentMs : 100);
      if (!got && (enough || mono_now() > end)) return out;
      if (!got) continue;
      const auto& [offload, frame] = *got;
      const ParsedPacket outer = parse_packet(frame);
      if (outer.key.ip_proto != ip_proto::kUdp || outer.key.tp_dst.host() != kVxlanUdpPort)
        continue;  // ARP, ND
      // The outer header as promised: from our address, TTL 64, whole checksums, fragmentation allowed.
      EXPECT_EQ(outer.error, ParseError::none);
      EXPECT_EQ(outer.key.src_ip(), outer.key.is_ipv4() ? tunnel().local : local6());
      EXPECT_EQ(outer.key.ip_ttl, 64);
      EXPECT_TRUE(ipv4_checksum_ok(outer, frame));
      EXPECT_TRUE(offload.partial_checksum || transport_checksum_ok(outer, frame));
      const bool whole = outer.key.is_ipv6() || (frame[outer.l3_offset + size_t{6}] & 0x40) != 0;
      EXPECT_EQ(whole, outer.key.is_ipv6()) << "DF";
      const auto vxlan = std::span(frame).first(outer.length).subspan(outer.l4_offset + size_t{8});
      EXPECT_EQ(vxlan[0], 8) << "VXLAN flags";
      const auto inner = vxlan.subspan(8);
      out.push_back({TunnelOutput{outer.key.dst_ip(), be32_at(vxlan, 4) >> 8},
                     {},
                     {inner.begin(), inner.end()}});
    }
  }

  bool stop_agent() override {
    datapath_.reset();
    return true;
  }
  void start_agent() override { datapath_ = must(EbpfDatapath::open(options_)); }
  void pass(Duration time) override { ::usleep(static_cast<useconds_t>(time.count() / 1000)); }

 private:
  void make_underlay() {
    netlink::VethSpec spec;
    spec.name = spec.peer = "underlay";
    spec.mtu = 9100;
    spec.peer_namespace_fd = fabric_.fd();
    must(route_->create_veth(spec));
    const netlink::Link link = must(route_->link("underlay"));
    underlay_mac_ = link.mac;
    must(route_->set_up(link.index, true));
    must(route_->add_address(link.index, {tunnel().local, 24}));
    must(route_->add_address(link.index, {local6(), 64}));
    const InNamespace there(fabric_);
    auto route = must(netlink::Route::open());
    const netlink::Link peer_link = must(route.link("underlay"));
    fabric_mac_ = peer_link.mac;
    must(route.set_up(peer_link.index, true));
    must(route.add_address(peer_link.index, {peer(), 24}));
    must(route.add_address(peer_link.index, {stranger(), 24}));
    must(route.add_address(peer_link.index, {peer6(), 64}));
    underlay_.emplace(must(PacketSocket::open(peer_link.index)));
  }

  static std::vector<std::pair<Offload, Frame>> receive(PacketSocket& socket, size_t expected) {
    std::vector<std::pair<Offload, Frame>> out;
    for (;;) {
      auto got = socket.receive(out.size() < expected ? kPatienceMs : kMomentMs);
      if (!got) return out;
      out.push_back(std::move(*got));
    }
  }

  EbpfOptions options_;
  NetNamespace home_, host_, vms_, fabric_;
  std::optional<netlink::Route> route_;
  std::unique_ptr<EbpfDatapath> datapath_;
  std::optional<PacketSocket> underlay_;
  MacAddr underlay_mac_, fabric_mac_;
  std::map<std::string, MacAddr> macs_;
  std::map<std::string, PacketSocket> sockets_;
};

}  // namespace

std::unique_ptr<Bed> make_kernel_bed(const BedOptions& options, std::string& why_not) {
  if (::geteuid() != 0) {
    why_not = "the kernel's datapath needs root";
    return nullptr;
  }
  // Mounts of a test that crashes vanish with its process.
  static const bool mounts =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
  auto host = NetNamespace::make(true);
  auto vms = NetNamespace::make(false);
  auto fabric = NetNamespace::make(true);
  if (!mounts || !host || !vms || !fabric) {
    why_not = "namespaces cannot be made here";
    return nullptr;
  }
  EbpfOptions ebpf;
  char run_dir[] = "/tmp/plexus-datapath-XXXXXX";
  PLEXUS_CHECK(::mkdtemp(run_dir) != nullptr, "a directory for the test");
  ebpf.run_dir = run_dir;
  ebpf.max_flows = options.max_flows;
  ebpf.max_ports = 64;
  ebpf.upcall_rate = options.upcall_rate;
  ebpf.upcall_burst = options.upcall_burst;
  return std::make_unique<KernelBed>(ebpf, std::move(*host), std::move(*vms), std::move(*fabric));
}

}  // namespace plexus::datapath
