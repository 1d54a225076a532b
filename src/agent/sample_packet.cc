// SPDX-License-Identifier: Apache-2.0
#include "agent/sample_packet.h"

#include <algorithm>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"

namespace plexus::agent {
namespace {

class FrameBytes {
 public:
  void u8(uint8_t v) { bytes_.push_back(v); }
  void u16(uint16_t v) {
    u8(static_cast<uint8_t>(v >> 8));
    u8(static_cast<uint8_t>(v));
  }
  void zeros(size_t n) { bytes_.insert(bytes_.end(), n, 0); }
  template <typename Bytes>
  void raw(const Bytes& b) {
    bytes_.insert(bytes_.end(), b.begin(), b.end());
  }
  [[nodiscard]] std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

constexpr size_t kL4Bytes = 20;  // a TCP header; enough for all others

void append_l4(FrameBytes& f, const FlowKey& key) {
  const bool icmp = key.ip_proto == ip_proto::kIcmp || key.ip_proto == ip_proto::kIcmpv6;
  if (icmp) {
    f.u8(static_cast<uint8_t>(key.tp_src.host()));
    f.u8(static_cast<uint8_t>(key.tp_dst.host()));
    f.zeros(kL4Bytes - 2);
    return;
  }
  f.raw(key.tp_src.bytes);
  f.raw(key.tp_dst.bytes);
  if (key.ip_proto == ip_proto::kTcp) {
    f.zeros(8);
    f.u8(0x50);
    f.u8(key.tcp_flags);
    f.zeros(kL4Bytes - 14);
  } else {
    f.u16(kL4Bytes);  // UDP length
    f.zeros(kL4Bytes - 6);
  }
}

void append_ipv4(FrameBytes& f, const FlowKey& key) {
  f.u8(0x45);
  f.u8(key.ip_tos);
  f.u16(20 + kL4Bytes);
  f.u16(0);
  f.u16(key.ip_frag == 1 ? 0x2000 : key.ip_frag == 2 ? 0x0010 : 0);
  f.u8(key.ip_ttl);
  f.u8(key.ip_proto);
  f.u16(0);
  f.raw(std::span(key.nw).first<8>());
  append_l4(f, key);
}

void append_ipv6(FrameBytes& f, const FlowKey& key) {
  const bool fragment = key.ip_frag != 0;
  // Zero would be a hop-by-hop header; where the mask leaves the protocol open, none follows.
  const uint8_t proto = key.ip_proto == 0 ? ip_proto::kNoNext : key.ip_proto;
  f.u8(static_cast<uint8_t>(0x60 | key.ip_tos >> 4));
  f.u8(static_cast<uint8_t>(key.ip_tos << 4));
  f.u16(0);
  f.u16(static_cast<uint16_t>(kL4Bytes + (fragment ? 8 : 0)));
  f.u8(fragment ? 44 : proto);
  f.u8(key.ip_ttl);
  f.raw(key.nw);
  if (fragment) {
    f.u8(proto);
    f.u8(0);
    f.u16(key.ip_frag == 1 ? 0x0001 : 0x0010);
    f.zeros(4);
  }
  append_l4(f, key);
}

void append_arp(FrameBytes& f, const FlowKey& key) {
  f.u16(1);
  f.u16(eth_type::kIpv4);
  f.u8(6);
  f.u8(4);
  f.raw(key.tp_src.bytes);
  f.raw(key.eth_src);
  f.raw(std::span(key.nw).first<4>());
  f.zeros(6);
  f.raw(std::span(key.nw).subspan<4, 4>());
}

}  // namespace

std::vector<uint8_t> sample_packet(const FlowKey& key) {
  FrameBytes f;
  f.raw(key.eth_dst);
  f.raw(key.eth_src);
  if (key.vlan_tci.host() != 0) {
    f.u16(eth_type::kVlan);
    f.u16(static_cast<uint16_t>(key.vlan_tci.host() & ~0x1000));
  }
  f.raw(key.eth_type.bytes);
  if (key.is_ipv4())
    append_ipv4(f, key);
  else if (key.is_ipv6())
    append_ipv6(f, key);
  else if (key.is_arp())
    append_arp(f, key);
  else
    f.zeros(46);
  return f.take();
}

std::vector<uint8_t> sample_packet(const FlowKey& key, const Actions& actions) {
  const NeighbourAnswer* answer = actions.answer();
  if (answer == nullptr || !key.is_ipv6() || !answer->target.is_v6()) return sample_packet(key);
  std::vector<uint8_t> solicitation = nd_solicit(key.src_mac(), key.src_ip(), answer->target);
  // To whom it went, which need not be the group; the checksum counts the IPv6 destination.
  constexpr size_t kDestination = 14 + 24, kChecksum = 14 + 40 + 2, kClass = 14;
  put_bytes(solicitation, 0, key.eth_dst);
  put_be16(solicitation, kClass, static_cast<uint16_t>(0x6000 | key.ip_tos << 4));
  put_bytes(solicitation, kDestination, std::span(key.nw).subspan<16, 16>());
  put_be16(solicitation, kChecksum, 0);
  complete_checksum(parse_packet(solicitation), solicitation);
  return key.vlan_tci.host() == 0
             ? solicitation
             : with_vlan(solicitation, static_cast<uint16_t>(key.vlan_tci.host() & ~0x1000));
}

}  // namespace plexus::agent
