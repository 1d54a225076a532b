// SPDX-License-Identifier: Apache-2.0
#include "sim/journey.h"

#include <bit>

namespace plexus::sim {
namespace {

constexpr uint16_t kVlanPresent = 0x1000;

void set_bits(uint8_t* mask, unsigned count) {
  unsigned i = 0;
  for (; count >= 8; count -= 8) mask[i++] = 0xff;
  if (count > 0) mask[i] = static_cast<uint8_t>(mask[i] | 0xff00u >> count);
}

/// True when the first `count` bits of `value` and `wanted` agree; notes in `mask` what it took to know: the leading bits, up
/// to the first that differs. Masks stay prefixes that way: few different ones in a datapath, and people can read them.
bool agrees(const uint8_t* value, const uint8_t* wanted, unsigned count, uint8_t* mask) {
  const unsigned bytes = (count + 7) / 8;
  // The part of byte i that counts.
  const auto within = [&](unsigned i) {
    return static_cast<uint8_t>(i * 8 + 8 <= count ? 0xff : 0xff00u >> (count - i * 8));
  };
  if (mask != nullptr) {
    // A bit that was read before and differs settles it for nothing.
    for (unsigned i = 0; i < bytes; ++i)
      if (((value[i] ^ wanted[i]) & mask[i] & within(i)) != 0) return false;
  }
  for (unsigned i = 0; i < bytes; ++i) {
    const auto differs = static_cast<uint8_t>((value[i] ^ wanted[i]) & within(i));
    if (differs == 0) continue;
    if (mask != nullptr)
      set_bits(mask, i * 8 + static_cast<unsigned>(std::countl_zero(differs)) + 1);
    return false;
  }
  if (mask != nullptr) set_bits(mask, count);
  return true;
}

}  // namespace

MacAddr Journey::eth_dst() {
  if (mask != nullptr && !rewrite.eth_dst) mask->eth_dst.fill(0xff);
  return key.dst_mac();
}

MacAddr Journey::eth_src() {
  if (mask != nullptr && !rewrite.eth_src) mask->eth_src.fill(0xff);
  return key.src_mac();
}

bool Journey::eth_dst_is_group() {
  if (mask != nullptr && !rewrite.eth_dst) mask->eth_dst[0] |= 1;
  return key.dst_mac().is_multicast();
}

bool Journey::eth_src_is_group() {
  if (mask != nullptr && !rewrite.eth_src) mask->eth_src[0] |= 1;
  return key.src_mac().is_multicast();
}

bool Journey::eth_dst_is(const MacAddr& mac) {
  return eth_dst_starts(mac, 48);
}

bool Journey::eth_dst_starts(const MacAddr& mac, unsigned bits) {
  const bool noted = mask != nullptr && !rewrite.eth_dst;
  return agrees(key.eth_dst.data(), mac.bytes.data(), bits, noted ? mask->eth_dst.data() : nullptr);
}

uint16_t Journey::eth_type() {
  if (mask != nullptr) mask->eth_type = Be16(0xffff);
  return key.eth_type.host();
}

bool Journey::has_vlan_tag() {
  if (mask != nullptr)
    mask->vlan_tci = Be16(static_cast<uint16_t>(mask->vlan_tci.host() | kVlanPresent));
  return (key.vlan_tci.host() & kVlanPresent) != 0;
}

uint8_t Journey::ip_proto() {
  if (mask != nullptr) mask->ip_proto = 0xff;
  return key.ip_proto;
}

FragKind Journey::ip_frag() {
  if (mask != nullptr) mask->ip_frag = 0xff;
  return static_cast<FragKind>(key.ip_frag);
}

uint16_t Journey::tp_src() {
  if (mask != nullptr) mask->tp_src = Be16(0xffff);
  return key.tp_src.host();
}

uint16_t Journey::tp_dst() {
  if (mask != nullptr) mask->tp_dst = Be16(0xffff);
  return key.tp_dst.host();
}

IpAddr Journey::src_ip() {
  note_src_bits(key.src_ip().bits());
  return key.src_ip();
}

IpAddr Journey::dst_ip() {
  note_dst_bits(key.dst_ip().bits());
  return key.dst_ip();
}

bool Journey::src_in(const IpPrefix& network) {
  const IpAddr now = key.src_ip();
  if (now.family != network.addr.family) return false;
  const bool noted = mask != nullptr && !rewrite.ip_src;
  return agrees(now.bytes.data(), network.addr.bytes.data(), network.length,
                noted ? mask->nw.data() : nullptr);
}

bool Journey::dst_in(const IpPrefix& network) {
  const IpAddr now = key.dst_ip();
  if (now.family != network.addr.family) return false;
  const bool noted = mask != nullptr && !rewrite.ip_dst;
  return agrees(now.bytes.data(), network.addr.bytes.data(), network.length,
                noted ? mask->nw.data() + now.size() : nullptr);
}

void Journey::note_dst_bits(unsigned bits) {
  if (mask != nullptr && !rewrite.ip_dst) set_bits(mask->nw.data() + key.dst_ip().size(), bits);
}

void Journey::note_src_bits(unsigned bits) {
  if (mask != nullptr && !rewrite.ip_src) set_bits(mask->nw.data(), bits);
}

bool Journey::ttl_allows_forwarding() {
  const unsigned needed = rewrite.ttl_decrement + 1u;  // the packet as it came must have more
  const unsigned ttl = key.ip_ttl;
  if (mask != nullptr) {
    // Bit b set means at least 2^b: enough for most packets, and all their TTLs are then one class.
    const unsigned highest = std::bit_floor(ttl);
    mask->ip_ttl = static_cast<uint8_t>(mask->ip_ttl | (highest > needed ? highest : 0xff));
  }
  return ttl > needed;
}

unsigned Journey::ttl_now() const {
  return key.ip_ttl > rewrite.ttl_decrement ? key.ip_ttl - rewrite.ttl_decrement : 0u;
}

std::vector<uint8_t> Journey::materialize() const {
  std::vector<uint8_t> now(bytes.begin(), bytes.end());
  if (!rewrite.empty()) apply_rewrite(rewrite, *parsed, now);
  return now;
}

void Journey::rewrite_macs(const MacAddr& src, const MacAddr& dst) {
  rewrite.eth_src = src;
  rewrite.eth_dst = dst;
  key.eth_src = src.bytes;
  key.eth_dst = dst.bytes;
}

}  // namespace plexus::sim
