// SPDX-License-Identifier: Apache-2.0
// The lab in this machine's kernel. A host is a network namespace with an EbpfDatapath of its own; each of its interfaces is
// a veth whose other end, in a second namespace, a packet socket speaks for. The hosts' underlay interfaces end in one
// more namespace, where this process is the switch: it sees each tunnelled frame on its way, and carries it over.
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "base/check.h"
#include "datapath/conformance/net_namespace.h"
#include "datapath/conformance/packet_socket.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "netlink/route.h"
#include "packet/build.h"
#include "packet/headers.h"
#include "scenarios/host_datapath.h"
#include "scenarios/lab.h"

namespace plexus::scenario {
namespace {

using datapath::EbpfDatapath;
using datapath::InNamespace;
using datapath::NetNamespace;
using datapath::PacketSocket;

constexpr uint32_t kMtu = 65535;  // the fake knows none: as near to that as the kernel comes
constexpr uint16_t kVxlanUdpPort = 4789;
constexpr size_t kVxlanHeader = 8, kUdpHeader = 8;
constexpr const char* kUnderlay = "underlay";

/// What fails here is the machine, not the scenario.
void must(const Result<void>& result) {
  PLEXUS_CHECK(result.ok(), result.error().message);
}
template <typename T>
T must(Result<T> result) {
  PLEXUS_CHECK(result.ok(), result.error().message);
  return std::move(*result);
}

/// Nothing of the kernel's own is sent by interfaces that are made here from now on: no router solicitations, no reports.
void be_quiet() {
  std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << "1";
}

/// No ARP on the interface: the switch knows where frames go.
void switch_arp_off(const std::string& interface) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::copy_n(interface.begin(), std::min<size_t>(interface.size(), IFNAMSIZ - 1),
              request.ifr_name);
  PLEXUS_CHECK(::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0, "flags of " + interface);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_NOARP);
  PLEXUS_CHECK(::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0, "flags of " + interface);
}

/// One end of a veth in this namespace, the other with a packet socket on it.
struct Wire {
  PacketSocket far;
  MacAddr near_mac;
};

Wire make_wire(netlink::Route& route, const std::string& name, const NetNamespace& far_namespace,
               const std::string& far_name) {
  netlink::VethSpec spec;
  spec.name = name;
  spec.peer = far_name;
  spec.mtu = kMtu;
  spec.peer_namespace_fd = far_namespace.fd();
  must(route.create_veth(spec));
  const netlink::Link near = must(route.link(name));
  must(route.set_up(near.index, true));
  const InNamespace there(far_namespace);
  netlink::Route far_route = must(netlink::Route::open());
  const netlink::Link far = must(far_route.link(far_name));
  must(far_route.set_up(far.index, true));
  return {must(PacketSocket::open(far.index)), near.mac};
}

/// The kernel handles what is sent on one CPU in the order of that CPU's queue; this process stays on one. A frame passes the
/// queue at most four times (into the host, out of the tunnel device, out to the underlay, to a far end). So when this
/// many marks, each sent after the one before it arrived, have come through the same queue, no frame is left in it.
class Marker {
 public:
  static constexpr int kMarks = 8, kPatienceMs = 20'000;

  explicit Marker(const NetNamespace& home) {
    const InNamespace there(home);
    netlink::Route route = must(netlink::Route::open());
    netlink::VethSpec spec;
    spec.name = "mark0";
    spec.peer = "mark1";
    must(route.create_veth(spec));
    for (const char* name : {"mark0", "mark1"})
      must(route.set_up(must(route.link(name)).index, true));
    from_.emplace(must(PacketSocket::open(must(route.link("mark0")).index)));
    to_.emplace(must(PacketSocket::open(must(route.link("mark1")).index)));
  }
  void pass() {
    std::vector<uint8_t> mark(64, 0xff);
    mark[12] = 0x88;
    mark[13] = 0xb5;
    for (int i = 0; i < kMarks; ++i) {
      must(from_->send(mark, {}));
      PLEXUS_CHECK(to_->receive(kPatienceMs).has_value(), "a mark got lost");
    }
  }

 private:
  std::optional<PacketSocket> from_, to_;
};

class KernelHost final : public LabHost {
 public:
  KernelHost(size_t number, const NetNamespace& fabric, Marker& marker)
      : number_(number),
        fabric_(fabric),
        marker_(marker),
        host_(must(NetNamespace::make(true))),
        vms_(must(NetNamespace::make(false))) {
    char run_dir[] = "/tmp/plexus-scenario-XXXXXX";
    PLEXUS_CHECK(::mkdtemp(run_dir) != nullptr, "a directory for a host");
    run_dir_ = run_dir;
    const InNamespace there(host_);
    be_quiet();
    route_.emplace(must(netlink::Route::open()));
    datapath::EbpfOptions options;
    options.run_dir = run_dir_;
    options.max_flows = 4096;
    options.max_ports = 256;
    datapath_ = must(EbpfDatapath::open(options));
  }
  ~KernelHost() override {
    const InNamespace there(host_);
    must(datapath_->destroy());
    datapath_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(run_dir_, ignored);
  }
  KernelHost(const KernelHost&) = delete;
  KernelHost& operator=(const KernelHost&) = delete;

  void take(std::function<MonoTime()> clock) { seen_.emplace(*datapath_, host_, std::move(clock)); }
  [[nodiscard]] bool taken() const { return seen_.has_value(); }
  Result<void> give_back() {
    const InNamespace there(host_);
    for (const datapath::PortSpec& port : datapath_->ports())
      if (auto done = datapath_->remove_port(port.number); !done) return done;
    const auto left = datapath_->dump_flows();
    if (!left) return left.error();
    for (const datapath::FlowEntry& entry : *left)
      if (auto done = datapath_->remove_flow(entry.flow.match); !done) return done.error();
    datapath_->receive(SIZE_MAX, [](datapath::Upcall&&) {});
    (void)take_left();
    seen_.reset();
    return {};
  }

  datapath::Datapath& datapath() override { return *seen_; }
  Result<void> set_address(const IpAddr& address) override {
    if (address == address_) return {};
    const InNamespace there(host_);
    if (underlay_) must(route_->delete_link(must(route_->link(kUnderlay)).index));
    underlay_.reset();
    underlay_.emplace(make_wire(*route_, kUnderlay, fabric_, "underlay" + std::to_string(number_)));
    switch_arp_off(kUnderlay);
    must(route_->add_address(must(route_->link(kUnderlay)).index, {address, 24}));
    address_ = address;
    return {};
  }
  Result<void> add_interface(const std::string& name) override {
    if (wires_.contains(name)) return {};
    const InNamespace there(host_);
    wires_.emplace(name, make_wire(*route_, name, vms_, name));
    return {};
  }
  Result<void> remove_interface(const std::string& name) override {
    const InNamespace there(host_);
    if (wires_.erase(name) == 0) return {};
    return route_->delete_link(must(route_->link(name)).index);
  }
  Result<void> send(const std::string& interface, DpPort, std::span<const uint8_t> frame,
                    const datapath::Offload& offload) override {
    seen_->notice();
    const auto wire = wires_.find(interface);
    if (wire == wires_.end()) return Error{ErrorCode::not_found, "no interface " + interface};
    if (auto sent = wire->second.far.send(frame, offload); !sent)
      return Error{ErrorCode::unsupported,
                   "the kernel sends no such frame: " + sent.error().message};
    return {};
  }
  Result<void> send_tunnel(const IpAddr& from, uint32_t key,
                           std::span<const uint8_t> frame) override {
    std::vector<uint8_t> vxlan = {8, 0, 0, 0};
    for (const int shift : {16, 8, 0}) vxlan.push_back(static_cast<uint8_t>(key >> shift));
    vxlan.push_back(0);
    vxlan.insert(vxlan.end(), frame.begin(), frame.end());
    PacketSpec spec;
    spec.src = from;
    spec.dst = address_;
    return send_outer(udp_packet(spec, 50000, kVxlanUdpPort, vxlan));
  }
  Result<void> deliver(const IpAddr&, const Left& crossing) override {
    return send_outer(crossing.outer);
  }
  std::vector<Left> take_left() override {
    marker_.pass();
    std::vector<Left> out;
    for (auto& [name, wire] : wires_) {
      while (auto got = wire.far.receive(0)) {
        auto& [offload, frame] = *got;
        if (offload.partial_checksum) complete_checksum(parse_packet(frame), frame);
        Left left;
        left.interface = name;
        left.frame = std::move(frame);
        out.push_back(std::move(left));
      }
    }
    if (underlay_) {
      while (auto got = underlay_->far.receive(0)) {
        auto& [offload, frame] = *got;
        if (offload.partial_checksum) complete_checksum(parse_packet(frame), frame);
        out.push_back(from_underlay(std::move(frame)));
      }
    }
    return out;
  }

 private:
  Result<void> send_outer(std::vector<uint8_t> outer) {
    seen_->notice();
    std::copy(underlay_->near_mac.bytes.begin(), underlay_->near_mac.bytes.end(), outer.begin());
    return underlay_->far.send(outer, {});
  }
  /// Nothing but well-formed VXLAN of ours leaves a host by its underlay.
  static Left from_underlay(std::vector<uint8_t> outer) {
    const ParsedPacket p = parse_packet(outer);
    const size_t at = p.l4_offset + kUdpHeader;
    const bool vxlan = p.error == ParseError::none && p.key.ip_proto == ip_proto::kUdp &&
                       p.key.tp_dst.host() == kVxlanUdpPort && p.length >= at + kVxlanHeader &&
                       outer[at] == 8 && ipv4_checksum_ok(p, outer) && p.key.ip_ttl == 64;
    PLEXUS_CHECK(vxlan, "the underlay carries what is no tunnel of ours");
    Left left;
    left.tunnel = {p.key.dst_ip(), be32_at(outer, at + 4) >> 8};
    left.frame.assign(outer.begin() + static_cast<std::ptrdiff_t>(at + kVxlanHeader),
                      outer.begin() + static_cast<std::ptrdiff_t>(p.length));
    left.outer = std::move(outer);
    return left;
  }

  const size_t number_;
  const NetNamespace& fabric_;
  Marker& marker_;
  NetNamespace host_, vms_;
  std::string run_dir_;
  std::optional<netlink::Route> route_;  ///< of the host's namespace
  std::unique_ptr<EbpfDatapath> datapath_;
  std::optional<HostDatapath> seen_;  ///< while it is taken
  IpAddr address_;
  std::optional<Wire> underlay_;
  std::map<std::string, Wire> wires_;
};

class KernelLab final : public Lab {
 public:
  explicit KernelLab(NetNamespace fabric) : fabric_(std::move(fabric)), marker_(fabric_) {}

  [[nodiscard]] std::string kind() const override { return "ebpf"; }
  Result<LabHost*> take_host(std::function<MonoTime()> clock) override {
    for (const auto& host : hosts_) {
      if (host->taken()) continue;
      host->take(std::move(clock));
      return host.get();
    }
    hosts_.push_back(std::make_unique<KernelHost>(hosts_.size() + 1, fabric_, marker_));
    hosts_.back()->take(std::move(clock));
    return hosts_.back().get();
  }
  void settle() override { marker_.pass(); }
  Result<void> reset() override {
    for (const auto& host : hosts_)
      if (host->taken())
        if (auto done = host->give_back(); !done) return done;
    return {};
  }

 private:
  NetNamespace fabric_;
  Marker marker_;
  std::vector<std::unique_ptr<KernelHost>> hosts_;
};

}  // namespace

Result<std::unique_ptr<Lab>> make_kernel_lab() {
  if (::geteuid() != 0) return Error{ErrorCode::denied, "the kernel's datapath needs root"};
  // Mounts of a run that crashes vanish with its process.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0)
    return errno_error("a mount namespace", errno);
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(static_cast<size_t>(::sched_getcpu()), &here);
  if (::sched_setaffinity(0, sizeof here, &here) != 0)
    return errno_error("staying on a CPU", errno);
  auto fabric = NetNamespace::make(false);
  if (!fabric) return fabric.error();
  return std::unique_ptr<Lab>(std::make_unique<KernelLab>(std::move(*fabric)));
}

}  // namespace plexus::scenario
