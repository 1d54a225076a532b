// SPDX-License-Identifier: Apache-2.0
// EbpfDatapath's tunnel: its device, its peers, and where the programs do without the device.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/log.h"
#include "datapath/ebpf/compile.h"
#include "datapath/ebpf/ebpf_datapath.h"
#include "datapath/ebpf/tc_hook.h"
#include "datapath/ebpf/underlay.h"
#include "tc_programs.skel.h"

namespace plexus::datapath {
namespace {

/// Asks for more than the kernel allows and gets what it allows.
constexpr uint32_t kVxlanMtu = 65535;

}  // namespace

Result<plexus_tunnel> EbpfDatapath::read_tunnel() const {
  const uint32_t zero = 0;
  plexus_tunnel tunnel{};
  if (bpf_map_lookup_elem(bpf_map__fd(programs_.skeleton().maps.tunnel), &zero, &tunnel) != 0)
    return errno_error("the tunnel", errno);
  return tunnel;
}

Result<void> EbpfDatapath::write_tunnel(const plexus_tunnel& tunnel) {
  const uint32_t zero = 0;
  if (bpf_map_update_elem(bpf_map__fd(programs_.skeleton().maps.tunnel), &zero, &tunnel, BPF_ANY) !=
      0)
    return errno_error("the tunnel", errno);
  return {};
}

Result<void> EbpfDatapath::make_tunnel_device(uint16_t udp_port, uint32_t& index) {
  if (const auto have = route_.link(kVxlanDevice)) {
    const auto port = route_.vxlan_udp_port(kVxlanDevice);
    if (port && *port == udp_port) {
      index = have->index;
      return {};
    }
    if (auto done = route_.delete_link(have->index); !done) return done;
  }
  netlink::VxlanSpec spec;
  spec.name = kVxlanDevice;
  spec.udp_port = udp_port;
  spec.mtu = kVxlanMtu;
  if (auto made = route_.create_vxlan(spec); !made) return made;
  const auto link = route_.link(kVxlanDevice);
  if (!link) return link.error();
  (void)route_.set_no_link_local(link->index).ok();  // fails without IPv6, where it is not needed
  index = link->index;
  return {};
}

Result<void> EbpfDatapath::set_peers(const std::vector<IpAddr>& peers) {
  const auto less = [](const plexus_peer& a, const plexus_peer& b) {
    return std::memcmp(a.address, b.address, sizeof a.address) < 0;
  };
  std::set<plexus_peer, decltype(less)> wanted(less);
  for (const IpAddr& peer : peers) {
    plexus_peer key{};
    to_kernel(peer, key.address);
    wanted.insert(key);
  }
  const int fd = bpf_map__fd(programs_.skeleton().maps.peers);
  std::vector<plexus_peer> have;
  plexus_peer key{}, next{};
  for (const void* previous = nullptr; bpf_map_get_next_key(fd, previous, &next) == 0;
       previous = &key) {
    key = next;
    have.push_back(key);
  }
  for (const plexus_peer& old : have)
    if (wanted.erase(old) == 0) bpf_map_delete_elem(fd, &old);
  const uint32_t unused = 1;
  for (const plexus_peer& fresh : wanted)
    if (bpf_map_update_elem(fd, &fresh, &unused, BPF_ANY) != 0)
      return errno_error("the table of tunnel peers", errno);
  return {};
}

Result<void> EbpfDatapath::set_tunnel(const TunnelSpec& spec) {
  if (spec.local.is_none()) return Error{ErrorCode::invalid, "a tunnel needs a local address"};
  for (const IpAddr& peer : spec.peers)
    if (peer.is_none()) return Error{ErrorCode::invalid, "a tunnel peer needs an address"};
  if (auto done = set_peers(spec.peers); !done) return done;
  const auto before = read_tunnel();
  if (!before) return before.error();
  plexus_tunnel tunnel{};
  tunnel.udp_port = spec.udp_port;
  tunnel.underlay_ifindex = before->underlay_ifindex;
  to_kernel(spec.local, tunnel.local);
  return start_tunnel(tunnel);
}

Result<void> EbpfDatapath::start_tunnel(plexus_tunnel& tunnel) {
  const auto udp_port = static_cast<uint16_t>(tunnel.udp_port);
  if (auto done = make_tunnel_device(udp_port, tunnel.ifindex); !done) return done;
  // The program first: nothing that comes out of the device may reach the host's stack.
  const int program = bpf_program__fd(programs_.skeleton().progs.from_tunnel);
  if (auto done = attach(tunnel.ifindex, Direction::ingress, program); !done)
    return done.error().in(kVxlanDevice);
  if (auto done = route_.set_up(tunnel.ifindex, true); !done) return done;
  (void)prepare_own_ways(tunnel);
  return write_tunnel(tunnel);
}

Result<void> EbpfDatapath::adopt_tunnel() {
  auto tunnel = read_tunnel();
  if (!tunnel) return tunnel.error();
  if (tunnel->ifindex == 0) return {};
  const auto link = route_.link(kVxlanDevice);
  if (link && link->index == tunnel->ifindex) return start_tunnel(*tunnel);
  log_info("datapath", "the tunnel device is gone");
  leave_underlay(tunnel->underlay_ifindex);
  return write_tunnel({});
}

Result<size_t> EbpfDatapath::repair_tunnel() {
  auto tunnel = read_tunnel();
  if (!tunnel) return tunnel.error();
  if (tunnel->ifindex == 0) return size_t{0};
  const int program = bpf_program__fd(programs_.skeleton().progs.from_tunnel);
  if (!is_attached(tunnel->ifindex, Direction::ingress, program)) {
    if (auto done = start_tunnel(*tunnel); !done) return done.error();
    log_warn("datapath", "somebody removed {} or our filter there; it is back", kVxlanDevice);
    return size_t{1};
  }
  const plexus_tunnel before = *tunnel;
  const bool repaired = prepare_own_ways(*tunnel);
  if (std::memcmp(&before, &*tunnel, sizeof before) != 0)
    if (auto done = write_tunnel(*tunnel); !done) return done.error();
  return size_t{repaired ? 1u : 0u};
}

// ---- without the device -----------------------------------------------------------------------

bool EbpfDatapath::prepare_own_ways(plexus_tunnel& tunnel) {
  auto policies = ipsec_policies();
  if (!policies) {
    log_warn("datapath", "{}", policies.error().message);
    policies = IpsecPolicies{true, true};
  }
  prepare_encapsulation(tunnel, *policies);
  return prepare_decapsulation(tunnel, *policies);
}

void EbpfDatapath::prepare_encapsulation(plexus_tunnel& tunnel,
                                         const IpsecPolicies& policies) const {
  tunnel.lookup_ifindex = 0;
  if (!own_encapsulation_ || policies.outbound || !allow_lookups_from(kInjectionDevice)) return;
  const SourcePorts ports = tunnel_source_ports();
  tunnel.first_source_port = ports.first;
  tunnel.source_ports = ports.count;
  tunnel.lookup_ifindex = injector_.index();
}

bool EbpfDatapath::prepare_decapsulation(plexus_tunnel& tunnel, const IpsecPolicies& policies) {
  const uint32_t before = tunnel.underlay_ifindex;
  tunnel.underlay_ifindex = place_to_decapsulate(tunnel, policies);
  if (before != tunnel.underlay_ifindex) leave_underlay(before);
  if (tunnel.underlay_ifindex == 0) return false;
  const int program = bpf_program__fd(programs_.skeleton().progs.from_underlay);
  if (is_attached(tunnel.underlay_ifindex, Direction::ingress, program)) return false;
  if (auto done = attach(tunnel.underlay_ifindex, Direction::ingress, program); !done) {
    log_warn("datapath", "interface {}: {}; the vxlan device receives everything",
             tunnel.underlay_ifindex, done.error().message);
    tunnel.underlay_ifindex = 0;
    return false;
  }
  // Of an earlier agent's program it is no more than the replacement.
  const bool repaired = before == tunnel.underlay_ifindex && decapsulates_;
  decapsulates_ = true;
  if (repaired)
    log_warn("datapath", "somebody removed our filter from interface {}, the underlay; it is back",
             before);
  return repaired;
}

uint32_t EbpfDatapath::place_to_decapsulate(const plexus_tunnel& tunnel,
                                            const IpsecPolicies& policies) const {
  const IpAddr local = address_from_kernel(tunnel.local);
  if (!own_decapsulation_ || policies.inbound || !local.is_v4()) return 0;
  const auto found = underlay_interface(route_, local);
  if (!found) {
    log_warn("datapath", "looking for the underlay's interface: {}", found.error().message);
    return 0;
  }
  // A filter of ours is there already, and takes everything.
  return is_port(*found) ? 0 : *found;
}

void EbpfDatapath::leave_underlay(uint32_t ifindex) {
  if (ifindex != 0 && !is_port(ifindex)) detach(route_, ifindex, Direction::ingress);
}

bool EbpfDatapath::is_port(uint32_t ifindex) const {
  return std::any_of(ports_.begin(), ports_.end(),
                     [&](const auto& port) { return port.second.ifindex == ifindex; });
}

}  // namespace plexus::datapath
