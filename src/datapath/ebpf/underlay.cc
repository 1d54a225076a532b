// SPDX-License-Identifier: Apache-2.0
#include "datapath/ebpf/underlay.h"

#include <linux/netlink.h>
#include <linux/xfrm.h>

#include <cstring>
#include <fstream>

#include "netlink/socket.h"

namespace plexus::datapath {

Result<bool> has_ipsec_policies() {
  auto socket = netlink::Socket::open(NETLINK_XFRM);
  if (!socket) return false;  // a kernel without it
  netlink::Writer question(XFRM_MSG_GETSPDINFO, NLM_F_REQUEST | NLM_F_ACK);
  question.fixed(uint32_t{0});  // flags
  uint32_t policies = 0;
  auto done = socket->request(question, [&](const netlink::Message& answer) {
    if (answer.type != XFRM_MSG_NEWSPDINFO || answer.payload.size() < sizeof(uint32_t)) return;
    const netlink::Attributes attributes(answer.payload.subspan(sizeof(uint32_t)));
    xfrmu_spdinfo counts{};
    const auto found = attributes.find(XFRMA_SPD_INFO);
    if (!found || found->size() < sizeof counts) return;
    std::memcpy(&counts, found->data(), sizeof counts);
    policies = counts.outcnt;
  });
  if (!done) return done.error().in("asking for IPsec policies");
  return policies > 0;
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
