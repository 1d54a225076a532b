// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/underlay.h"

#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/unique_fd.h"
#include "netlink/socket.h"

namespace plexus::datapath {

Result<IpsecPolicies> ipsec_policies() {
  auto socket = netlink::Socket::open(NETLINK_XFRM);
  if (!socket) return IpsecPolicies{};  // a kernel without it
  netlink::Writer question(XFRM_MSG_GETSPDINFO, NLM_F_REQUEST | NLM_F_ACK);
  question.fixed(uint32_t{0});  // flags
  IpsecPolicies policies;
  auto done = socket->request(question, [&](const netlink::Message& answer) {
    if (answer.type != XFRM_MSG_NEWSPDINFO || answer.payload.size() < sizeof(uint32_t)) return;
    const netlink::Attributes attributes(answer.payload.subspan(sizeof(uint32_t)));
    xfrmu_spdinfo counts{};
    const auto found = attributes.find(XFRMA_SPD_INFO);
    if (!found || found->size() < sizeof counts) return;
    std::memcpy(&counts, found->data(), sizeof counts);
    policies = {counts.incnt > 0, counts.outcnt > 0};
  });
  if (!done) return done.error().in("asking for IPsec policies");
  return policies;
}

Result<uint32_t> underlay_interface(netlink::Route& route, const IpAddr& local) {
  const auto addresses = route.addresses();
  if (!addresses) return addresses.error();
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_error("opening a socket", errno);
  for (const netlink::InterfaceAddress& address : *addresses) {
    if (address.prefix.addr != local) continue;
    const auto link = route.link(address.link_index);
    if (!link || !link->up) continue;
    ifreq question{};
    std::copy_n(link->name.begin(), std::min(link->name.size(), sizeof question.ifr_name - 1),
                question.ifr_name);
    if (::ioctl(socket.get(), SIOCGIFHWADDR, &question) == 0 &&
        question.ifr_hwaddr.sa_family == ARPHRD_ETHER)
      return link->index;
  }
  return 0u;
}

SourcePorts tunnel_source_ports() {
  SourcePorts out;
  uint32_t first = 0, last = 0;
  if ((std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last) && first < last &&
      last <= UINT16_MAX) {
    out.first = static_cast<uint16_t>(first);
    out.count = static_cast<uint16_t>(last - first);
  }
  return out;
}

bool allow_lookups_from(const std::string& interface) {
  const std::string path = "/proc/sys/net/ipv4/conf/" + interface + "/forwarding";
  int now = 0;
  if ((std::ifstream(path) >> now) && now == 1) return true;
  std::ofstream file(path);
  file << "1" << std::flush;
  return file.good();
}

}  // namespace plexus::datapath
