// SPDX-License-Identifier: Apache-2.0
#include "flow/actions.h"

#include <fmt/format.h>

#include <algorithm>

#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"

namespace plexus {
namespace {

/// One frame being rewritten: where its checksums are and how they follow a change.
class Rewriter {
 public:
  Rewriter(const ParsedPacket& parsed, std::span<uint8_t> frame, bool partial)
      : key_(parsed.key), frame_(frame), l3_(parsed.l3_offset), l4_(parsed.l4_offset) {
    if (key_.is_ipv4()) ip_checksum_ = l3_ + 10;
    l4_checksum_ = transport_checksum_offset(parsed);
    // RFC 768: no checksum was sent, none is made. Over IPv6 it is an error and stays one.
    if (l4_checksum_ && key_.ip_proto == ip_proto::kUdp && be16_at(frame_, *l4_checksum_) == 0)
      l4_checksum_.reset();
    pseudo_ = covers_pseudo_header(key_);
    partial_ = partial && pseudo_;
  }

  void ethernet(const Rewrite& r) {
    if (r.eth_dst) put_bytes(frame_, 0, r.eth_dst->bytes);
    if (r.eth_src) put_bytes(frame_, 6, r.eth_src->bytes);
  }

  void address(size_t at, const IpAddr& to) {
    const std::span<const uint8_t> now = wire_bytes(to);
    const std::span<const uint8_t> before = frame_.subspan(at, now.size());
    if (ip_checksum_) update(*ip_checksum_, before, now);
    if (l4_checksum_ && pseudo_) {
      if (partial_)
        update_partial(before, now);
      else
        update_transport(before, now);
    }
    put_bytes(frame_, at, now);
  }

  /// A word of the transport header.
  void transport_word(size_t at, uint16_t to) {
    const Be16 now(to);
    if (l4_checksum_ && !partial_) update_transport(frame_.subspan(at, 2), now.bytes);
    put_be16(frame_, at, to);
  }

  /// A word of the IP header that no pseudo header holds.
  void ip_word(size_t at, uint16_t to) {
    const Be16 now(to);
    if (ip_checksum_) update(*ip_checksum_, frame_.subspan(at, 2), now.bytes);
    put_be16(frame_, at, to);
  }

  [[nodiscard]] size_t l3() const { return l3_; }
  [[nodiscard]] size_t l4() const { return l4_; }

 private:
  void update(size_t at, std::span<const uint8_t> before, std::span<const uint8_t> now) {
    put_be16(frame_, at, checksum_update(be16_at(frame_, at), before, now));
  }

  void update_transport(std::span<const uint8_t> before, std::span<const uint8_t> now) {
    const uint16_t sum = checksum_update(be16_at(frame_, *l4_checksum_), before, now);
    // All ones is the same number; zero would say "no checksum" in UDP.
    put_be16(frame_, *l4_checksum_, sum == 0 && key_.ip_proto == ip_proto::kUdp ? 0xffff : sum);
  }

  void update_partial(std::span<const uint8_t> before, std::span<const uint8_t> now) {
    // The field holds the sum itself, not its complement.
    const auto held = static_cast<uint16_t>(~be16_at(frame_, *l4_checksum_));
    put_be16(frame_, *l4_checksum_, static_cast<uint16_t>(~checksum_update(held, before, now)));
  }

  const FlowKey& key_;
  std::span<uint8_t> frame_;
  size_t l3_, l4_;
  std::optional<size_t> ip_checksum_, l4_checksum_;
  bool pseudo_ = false, partial_ = false;
};

bool has_icmp_identifier(const FlowKey& key) {
  const uint16_t type = key.tp_src.host();
  if (key.is_ipv6())
    return key.ip_proto == ip_proto::kIcmpv6 &&
           (type == icmpv6_type::kEchoRequest || type == icmpv6_type::kEchoReply);
  return key.ip_proto == ip_proto::kIcmp &&
         (type == icmp_type::kEchoRequest || type == icmp_type::kEchoReply);
}

void rewrite_ip(const Rewrite& r, const FlowKey& key, std::span<uint8_t> frame, Rewriter& w) {
  const size_t l3 = w.l3();
  const bool v6 = key.is_ipv6();
  const IpFamily family = v6 ? IpFamily::v6 : IpFamily::v4;
  if (r.ip_src && r.ip_src->family == family) w.address(l3 + (v6 ? 8 : 12), *r.ip_src);
  if (r.ip_dst && r.ip_dst->family == family) w.address(l3 + (v6 ? 24 : 16), *r.ip_dst);
  if (r.dscp) {
    const auto tos = static_cast<uint8_t>((*r.dscp & 0x3f) << 2 | (key.ip_tos & 3));
    const uint16_t word = be16_at(frame, l3);
    w.ip_word(l3, static_cast<uint16_t>(v6 ? (word & 0xf00f) | tos << 4 : (word & 0xff00) | tos));
  }
  if (r.ttl_decrement != 0) {
    // TTL is the high byte of its word in IPv4, the low byte in IPv6.
    const size_t at = l3 + (v6 ? 6 : 8);
    const uint16_t word = be16_at(frame, at);
    const unsigned ttl = v6 ? word & 0xff : word >> 8;
    const unsigned left = ttl > r.ttl_decrement ? ttl - r.ttl_decrement : 0;
    w.ip_word(at, static_cast<uint16_t>(v6 ? (word & 0xff00) | left : left << 8 | (word & 0xff)));
  }
}

std::string format(const Rewrite& r) {
  std::string out;
  const auto add = [&](std::string_view name, const std::string& value) {
    fmt::format_to(std::back_inserter(out), "{}={} ", name, value);
  };
  if (r.eth_src) add("eth.src", r.eth_src->str());
  if (r.eth_dst) add("eth.dst", r.eth_dst->str());
  if (r.ip_src) add("ip.src", r.ip_src->str());
  if (r.ip_dst) add("ip.dst", r.ip_dst->str());
  if (r.tp_src) add("tp.src", std::to_string(*r.tp_src));
  if (r.tp_dst) add("tp.dst", std::to_string(*r.tp_dst));
  if (r.dscp) add("dscp", std::to_string(*r.dscp));
  if (r.ttl_decrement != 0) fmt::format_to(std::back_inserter(out), "ttl-{} ", r.ttl_decrement);
  if (r.pop_vlan) out += "vlan.pop ";
  if (r.push_vlan) fmt::format_to(std::back_inserter(out), "vlan.push={:#06x} ", *r.push_vlan);
  return out;
}

std::string format(const Output& output) {
  if (const auto* local = std::get_if<LocalOutput>(&output))
    return fmt::format("-> port {}", local->port.number);
  if (const auto* answer = std::get_if<NeighbourAnswer>(&output))
    return fmt::format("answer {} is at {}{}", answer->target.str(), answer->mac.str(),
                       answer->router ? " router" : "");
  const auto& tunnel = std::get<TunnelOutput>(output);
  return fmt::format("-> tunnel {} key {:#x}", tunnel.remote.str(), tunnel.key);
}

/// Behind the outermost VLAN tag there is another one, which is not in the key.
bool has_second_tag(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  constexpr size_t kBehindFirstTag = 16;
  if (parsed.error != ParseError::none || parsed.key.vlan_tci.host() == 0) return false;
  const uint16_t type = be16_at(frame, kBehindFirstTag);
  return type == eth_type::kVlan || type == eth_type::kQinq;
}

}  // namespace

std::string format(const Actions& actions) {
  if (actions.drops()) return actions.one_tag ? "drop; one tag" : "drop";
  std::string out;
  for (const Copy& copy : actions.copies) {
    if (!out.empty()) out += "; ";
    out += format(copy.rewrite) + format(copy.output);
  }
  if (actions.mtu != 0) fmt::format_to(std::back_inserter(out), "; mtu {}", actions.mtu);
  if (actions.storm_limit != 0)
    fmt::format_to(std::back_inserter(out), "; {} a second", actions.storm_limit);
  return out;
}

bool same_effect(const Actions& a, const Actions& b) {
  return a.mtu == b.mtu && a.storm_limit == b.storm_limit && a.one_tag == b.one_tag &&
         std::is_permutation(a.copies.begin(), a.copies.end(), b.copies.begin(), b.copies.end());
}

bool fits(const Actions& actions, const ParsedPacket& parsed, std::span<const uint8_t> frame,
          uint16_t gso_size) {
  if (actions.mtu != 0 && packet_size(parsed, frame, gso_size) > actions.mtu) return false;
  const NeighbourAnswer* answer = actions.answer();
  const bool one_tag =
      actions.one_tag || std::any_of(actions.copies.begin(), actions.copies.end(),
                                     [](const Copy& copy) { return copy.rewrite.pop_vlan; });
  if (one_tag && has_second_tag(parsed, frame)) return false;
  return answer == nullptr ||
         neighbour_answer(parsed, frame, answer->target, answer->mac, answer->router).has_value();
}

std::vector<uint8_t> rewritten(const Rewrite& rewrite, const ParsedPacket& parsed,
                               std::span<const uint8_t> frame, bool partial_checksum) {
  std::vector<uint8_t> out(frame.begin(), frame.end());
  apply_rewrite(rewrite, parsed, out, partial_checksum);
  if (parsed.error == ParseError::truncated_ethernet) return out;
  if (rewrite.pop_vlan && parsed.key.vlan_tci.host() != 0)
    out.erase(out.begin() + 12, out.begin() + 16);
  if (rewrite.push_vlan) out = with_vlan(out, *rewrite.push_vlan);
  return out;
}

void apply_rewrite(const Rewrite& rewrite, const ParsedPacket& parsed, std::span<uint8_t> frame,
                   bool partial_checksum) {
  const FlowKey& key = parsed.key;
  if (parsed.error == ParseError::truncated_ethernet) return;
  Rewriter w(parsed, frame, partial_checksum);
  w.ethernet(rewrite);
  if (parsed.error != ParseError::none || !key.is_ip()) return;
  rewrite_ip(rewrite, key, frame, w);
  if (w.l4() == 0) return;
  if (key.ip_proto == ip_proto::kTcp || key.ip_proto == ip_proto::kUdp) {
    if (rewrite.tp_src) w.transport_word(w.l4(), *rewrite.tp_src);
    if (rewrite.tp_dst) w.transport_word(w.l4() + 2, *rewrite.tp_dst);
  } else if (has_icmp_identifier(key) && rewrite.tp_src) {
    w.transport_word(w.l4() + 4, *rewrite.tp_src);
  }
}

}  // namespace plexus
