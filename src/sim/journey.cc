// SPDX-License-Identifier: Apache-2.0
#include "sim/journey.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "packet/bytes.h"
#include "packet/headers.h"
#include "sim/field_bits.h"

namespace plexus::sim {
namespace {

constexpr uint16_t kVlanPresent = 0x1000, kVlanId = 0x0fff;
constexpr size_t kBehindFirstTag = 16;  ///< the ethertype there
/// What says that a VLAN tag follows; the last is that of double tags before IEEE 802.1ad.
constexpr uint16_t kTags[] = {eth_type::kVlan, eth_type::kQinq, 0x9100};

template <size_t N>
void set_bits(uint8_t* mask, unsigned count) {
  using F = Field<N>;
  F::store(mask, F::load(mask) | F::leading(count));
}

/// True when the first `count` bits of `value` and `wanted` agree; notes in `mask` what it took to know: the leading bits, up
/// to the first that differs. Masks stay prefixes that way: few different ones in a datapath, and people can read them.
template <size_t N>
bool agrees(const uint8_t* value, const uint8_t* wanted, unsigned count, uint8_t* mask) {
  using F = Field<N>;
  const auto differs = (F::load(value) ^ F::load(wanted)) & F::leading(count);
  if (mask == nullptr) return differs == 0;
  const auto read = F::load(mask);
  // A bit that was read before and differs settles it for nothing.
  if ((differs & read) != 0) return false;
  F::store(mask, read | F::leading(differs == 0 ? count : F::zeros_before(differs) + 1));
  return differs == 0;
}

/// Of the addresses in the key.
IpFamily family_of(const FlowKey& key) {
  return key.is_ipv6()                   ? IpFamily::v6
         : key.is_ipv4() || key.is_arp() ? IpFamily::v4
                                         : IpFamily::none;
}

bool address_in(const uint8_t* value, const IpPrefix& network, uint8_t* mask) {
  return network.addr.is_v6() ? agrees<16>(value, network.addr.bytes.data(), network.length, mask)
                              : agrees<4>(value, network.addr.bytes.data(), network.length, mask);
}

void note_address_bits(uint8_t* mask, IpFamily family, unsigned bits) {
  if (family == IpFamily::v6)
    set_bits<16>(mask, bits);
  else if (family == IpFamily::v4)
    set_bits<4>(mask, bits);
}

/// Whole packets and first fragments have the protocol behind these.
bool is_extension(uint8_t ipv6_next_header) {
  constexpr uint8_t kHopByHop = 0, kRouting = 43, kDestination = 60;
  return ipv6_next_header == kHopByHop || ipv6_next_header == kRouting ||
         ipv6_next_header == kDestination;
}

bool masked_agrees(const uint8_t* value, const model::MaskedMac& wanted, uint8_t* mask) {
  bool same = true;
  for (size_t i = 0; i < 6; ++i) {
    if (mask != nullptr) mask[i] = static_cast<uint8_t>(mask[i] | wanted.mask.bytes[i]);
    same = same && ((value[i] ^ wanted.mac.bytes[i]) & wanted.mask.bytes[i]) == 0;
  }
  return same;
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
  return agrees<6>(key.eth_dst.data(), mac.bytes.data(), bits,
                   noted ? mask->eth_dst.data() : nullptr);
}

uint16_t Journey::eth_type() {
  if (mask != nullptr) mask->eth_type = Be16(0xffff);
  return key.eth_type.host();
}

Journey::FieldBits Journey::bits_of(BitField field) {
  const auto of = [this](const uint8_t* value, uint8_t* noted, size_t width,
                         bool rewritten) -> FieldBits {
    return {value, mask == nullptr || rewritten ? nullptr : noted, width};
  };
  FlowKey& m = mask != nullptr ? *mask : key;
  const size_t address = key.is_ipv6() ? 16 : 4;
  // An echo's identifier is rewritten as tp_src, and is not what the key has there.
  const bool ports = has_rewritable_ports();
  switch (field) {
    case BitField::eth_dst:
      return of(key.eth_dst.data(), m.eth_dst.data(), 6, rewrite.eth_dst.has_value());
    case BitField::eth_src:
      return of(key.eth_src.data(), m.eth_src.data(), 6, rewrite.eth_src.has_value());
    case BitField::eth_type:
      return of(key.eth_type.bytes.data(), m.eth_type.bytes.data(), 2, false);
    case BitField::ip_proto:
      return of(&key.ip_proto, &m.ip_proto, 1, false);
    case BitField::ip_tos:
      return of(&key.ip_tos, &m.ip_tos, 1, rewrite.dscp.has_value());
    case BitField::src_ip:
      return of(key.nw.data(), m.nw.data(), address, rewrite.ip_src.has_value());
    case BitField::dst_ip:
      return of(key.nw.data() + address, m.nw.data() + address, address,
                rewrite.ip_dst.has_value());
    case BitField::tp_src:
      return of(key.tp_src.bytes.data(), m.tp_src.bytes.data(), 2, ports && rewrite.tp_src);
    case BitField::tp_dst:
      return of(key.tp_dst.bytes.data(), m.tp_dst.bytes.data(), 2, ports && rewrite.tp_dst);
  }
  return {nullptr, nullptr, 0};
}

bool Journey::FieldBits::starts_with(const uint8_t* wanted, unsigned count) const {
  switch (bytes) {
    case 1:
      return agrees<1>(value, wanted, count, mask);
    case 2:
      return agrees<2>(value, wanted, count, mask);
    case 4:
      return agrees<4>(value, wanted, count, mask);
    case 6:
      return agrees<6>(value, wanted, count, mask);
    default:
      return agrees<16>(value, wanted, count, mask);
  }
}

bool Journey::FieldBits::bit(unsigned i) const {
  if (mask != nullptr) {
    // All before it too: masks stay prefixes.
    for (unsigned at = 0; at < i / 8; ++at) mask[at] = 0xff;
    mask[i / 8] |= static_cast<uint8_t>(0xff00u >> (i % 8 + 1));
  }
  return (value[i / 8] >> (7 - i % 8) & 1) != 0;
}

bool Journey::eth_src_is(const MacAddr& mac) {
  return starts_with(BitField::eth_src, mac.bytes.data(), 48);
}

bool Journey::eth_src_matches(const model::MaskedMac& wanted) {
  const FieldBits bits = bits_of(BitField::eth_src);
  return masked_agrees(bits.value, wanted, bits.mask);
}

bool Journey::eth_dst_matches(const model::MaskedMac& wanted) {
  const FieldBits bits = bits_of(BitField::eth_dst);
  return masked_agrees(bits.value, wanted, bits.mask);
}

bool Journey::tcp_flags_match(const model::TcpFlags& wanted) {
  if (mask != nullptr) mask->tcp_flags = static_cast<uint8_t>(mask->tcp_flags | wanted.looked_at);
  return ((key.tcp_flags ^ wanted.set) & wanted.looked_at) == 0;
}

bool Journey::has_vlan_tag() {
  if (mask != nullptr && !rewrite.pop_vlan)
    mask->vlan_tci = Be16(static_cast<uint16_t>(mask->vlan_tci.host() | kVlanPresent));
  return (key.vlan_tci.host() & kVlanPresent) != 0;
}

std::optional<uint16_t> Journey::vlan() {
  if (!has_vlan_tag()) return std::nullopt;
  if (mask != nullptr && !rewrite.pop_vlan)
    mask->vlan_tci = Be16(static_cast<uint16_t>(mask->vlan_tci.host() | kVlanId));
  return static_cast<uint16_t>(key.vlan_tci.host() & kVlanId);
}

std::optional<uint16_t> Journey::second_vlan() const {
  if (rewrite.pop_vlan || (key.vlan_tci.host() & kVlanPresent) == 0) return std::nullopt;
  const uint16_t type = be16_at(bytes, kBehindFirstTag);
  if (type != eth_type::kVlan && type != eth_type::kQinq) return std::nullopt;
  return static_cast<uint16_t>(be16_at(bytes, kBehindFirstTag + 2) & kVlanId);
}

bool Journey::has_unread_tag() {
  const FieldBits type = bits_of(BitField::eth_type);
  return std::any_of(std::begin(kTags), std::end(kTags),
                     [&](uint16_t tag) { return type.starts_with(Be16(tag).bytes.data(), 16); });
}

uint8_t Journey::ip_proto() {
  if (mask != nullptr) mask->ip_proto = 0xff;
  // Behind which the first one has its protocol (RFC 8200 4.5).
  if (key.is_ipv6() && is_extension(key.ip_proto)) ask_header();
  return key.ip_proto;
}

FragKind Journey::ip_frag() {
  if (mask != nullptr) mask->ip_frag = 0xff;
  return static_cast<FragKind>(key.ip_frag);
}

uint16_t Journey::tp_src() {
  if (mask != nullptr && !(rewrite.tp_src && has_rewritable_ports())) mask->tp_src = Be16(0xffff);
  return key.tp_src.host();
}

uint16_t Journey::tp_dst() {
  if (mask != nullptr && !(rewrite.tp_dst && has_rewritable_ports())) mask->tp_dst = Be16(0xffff);
  return key.tp_dst.host();
}

IpAddr Journey::src_ip() {
  const IpAddr now = key.src_ip();
  note_src_bits(now.bits());
  return now;
}

IpAddr Journey::dst_ip() {
  const IpAddr now = key.dst_ip();
  note_dst_bits(now.bits());
  return now;
}

bool Journey::src_in(const IpPrefix& network) {
  if (family_of(key) != network.addr.family || network.addr.is_none()) return false;
  const bool noted = mask != nullptr && !rewrite.ip_src;
  return address_in(key.nw.data(), network, noted ? mask->nw.data() : nullptr);
}

bool Journey::dst_in(const IpPrefix& network) {
  if (family_of(key) != network.addr.family || network.addr.is_none()) return false;
  const bool noted = mask != nullptr && !rewrite.ip_dst;
  const size_t at = network.addr.size();
  return address_in(key.nw.data() + at, network, noted ? mask->nw.data() + at : nullptr);
}

void Journey::note_dst_bits(unsigned bits) {
  if (mask == nullptr || rewrite.ip_dst) return;
  const IpFamily family = family_of(key);
  note_address_bits(mask->nw.data() + (family == IpFamily::v6 ? 16 : 4), family, bits);
}

void Journey::note_src_bits(unsigned bits) {
  if (mask != nullptr && !rewrite.ip_src) note_address_bits(mask->nw.data(), family_of(key), bits);
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

bool Journey::ttl_is(unsigned ttl) {
  if (mask != nullptr) mask->ip_ttl = 0xff;
  return ttl_now() == ttl;
}

unsigned Journey::ttl_now() const {
  return key.ip_ttl > rewrite.ttl_decrement ? key.ip_ttl - rewrite.ttl_decrement : 0u;
}

std::vector<uint8_t> Journey::materialize() const {
  if (!rewrite.empty()) return rewritten(rewrite, *parsed, bytes);
  return {bytes.begin(), bytes.end()};
}

void Journey::set_dscp(uint8_t dscp) {
  rewrite.dscp = dscp;
  key.ip_tos = static_cast<uint8_t>(dscp << 2 | (key.ip_tos & 3));
}

bool Journey::pop_vlan() {
  rewrite.pop_vlan = true;
  key.vlan_tci = {};
  const uint16_t type = be16_at(bytes, kBehindFirstTag);
  if (type != eth_type::kVlan && type != eth_type::kQinq) return false;
  key.vlan_tci = Be16(static_cast<uint16_t>(be16_at(bytes, kBehindFirstTag + 2) | kVlanPresent));
  return true;
}

bool Journey::has_rewritable_ports() const {
  return key.ip_proto != ip_proto::kIcmp && key.ip_proto != ip_proto::kIcmpv6;
}

void Journey::translate(const Rewrite& change) {
  if (change.ip_src) {
    rewrite.ip_src = change.ip_src;
    key.set_src_ip(*change.ip_src);
  }
  if (change.ip_dst) {
    rewrite.ip_dst = change.ip_dst;
    key.set_dst_ip(*change.ip_dst);
  }
  if (change.tp_src) {
    rewrite.tp_src = change.tp_src;
    if (has_rewritable_ports()) key.tp_src = Be16(*change.tp_src);
  }
  if (change.tp_dst) {
    rewrite.tp_dst = change.tp_dst;
    if (has_rewritable_ports()) key.tp_dst = Be16(*change.tp_dst);
  }
}

void Journey::rewrite_macs(const MacAddr& src, const MacAddr& dst) {
  rewrite.eth_src = src;
  rewrite.eth_dst = dst;
  key.eth_src = src.bytes;
  key.eth_dst = dst.bytes;
}

}  // namespace plexus::sim
