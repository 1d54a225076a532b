// SPDX-License-Identifier: Apache-2.0
#include "state/tuple.h"

#include <fmt/format.h>

#include "base/check.h"
#include "packet/headers.h"
#include "state/icmp_error.h"

namespace plexus::state {
namespace {

EchoRole echo_role_of(const FlowKey& key) {
  const uint16_t type = key.tp_src.host();
  if (key.is_ipv4() && key.ip_proto == ip_proto::kIcmp) {
    if (type == icmp_type::kEchoRequest) return EchoRole::request;
    if (type == icmp_type::kEchoReply) return EchoRole::reply;
  }
  if (key.is_ipv6() && key.ip_proto == ip_proto::kIcmpv6) {
    if (type == icmpv6_type::kEchoRequest) return EchoRole::request;
    if (type == icmpv6_type::kEchoReply) return EchoRole::reply;
  }
  return EchoRole::none;
}

/// Neighbour and router discovery, redirects, group membership (RFC 4861, 2710, 3810): between a machine and its link, never
/// part of a connection.
bool concerns_the_link(const FlowKey& key) {
  const uint16_t type = key.tp_src.host();
  return (type >= 130 && type <= 137) || type == 143;
}

std::string protocol_name(uint8_t protocol) {
  switch (protocol) {
    case ip_proto::kTcp:
      return "tcp";
    case ip_proto::kUdp:
      return "udp";
    case ip_proto::kSctp:
      return "sctp";
    case ip_proto::kIcmp:
      return "icmp";
    case ip_proto::kIcmpv6:
      return "icmpv6";
    default:
      return "protocol " + std::to_string(protocol);
  }
}

std::string endpoint(const IpAddr& a, uint16_t port) {
  return a.is_v6() ? fmt::format("[{}]:{}", a.str(), port) : fmt::format("{}:{}", a.str(), port);
}

}  // namespace

Tuple Tuple::reversed() const {
  const EchoRole role = echo == EchoRole::request ? EchoRole::reply
                        : echo == EchoRole::reply ? EchoRole::request
                                                  : EchoRole::none;
  return {dst, src, dst_port, src_port, protocol, role};
}

std::string Tuple::str() const {
  const std::string name = protocol_name(protocol);
  if (echo != EchoRole::none) {
    const bool request = echo == EchoRole::request;
    return fmt::format("{} echo {} {} > {} id {}", name, request ? "request" : "reply", src.str(),
                       dst.str(), request ? src_port : dst_port);
  }
  if (!has_ports(protocol)) return fmt::format("{} {} > {}", name, src.str(), dst.str());
  return fmt::format("{} {} > {}", name, endpoint(src, src_port), endpoint(dst, dst_port));
}

bool has_ports(uint8_t protocol) {
  return protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
}

bool is_sound(const Tuple& t) {
  if (t.src.is_none() || t.src.family != t.dst.family) return false;
  switch (t.echo) {
    case EchoRole::none:
      return has_ports(t.protocol) || (t.src_port == 0 && t.dst_port == 0);
    case EchoRole::request:
    case EchoRole::reply:
      return t.protocol == (t.src.is_v4() ? ip_proto::kIcmp : ip_proto::kIcmpv6) &&
             (t.echo == EchoRole::request ? t.dst_port : t.src_port) == 0;
  }
  return false;
}

Sighting sighting_of(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const FlowKey& key = parsed.key;
  Sighting s;
  if (parsed.error != ParseError::none || !key.is_ip() ||
      key.ip_frag == static_cast<uint8_t>(FragKind::later))
    return s;
  const IpAddr src = key.src_ip(), dst = key.dst_ip();
  if (dst.is_multicast() || (dst.is_v4() && dst.v4_value() == 0xffffffff) || src.is_unspecified())
    return s;
  if (key.is_ipv6() && key.ip_proto == ip_proto::kIcmpv6 && concerns_the_link(key)) return s;
  if (is_icmp_error(parsed)) {
    s.kind = SightingKind::error;
    // It goes back to whom it quotes; to anybody else it tells of nothing.
    if (const auto quoted = quoted_tuple(parsed, frame); quoted && quoted->src == dst)
      s.tuple = *quoted;
    return s;
  }
  s.kind = SightingKind::tracked;
  s.tuple.src = src;
  s.tuple.dst = dst;
  s.tuple.protocol = key.ip_proto;
  s.tuple.echo = echo_role_of(key);
  if (s.tuple.echo != EchoRole::none) {
    const auto icmp = IcmpView::of(parsed, frame);
    PLEXUS_CHECK(icmp.has_value(), "a type was read from the ICMP header");
    (s.tuple.echo == EchoRole::request ? s.tuple.src_port : s.tuple.dst_port) = icmp->identifier();
  } else if (has_ports(key.ip_proto)) {
    s.tuple.src_port = key.tp_src.host();
    s.tuple.dst_port = key.tp_dst.host();
    if (key.ip_proto == ip_proto::kTcp) s.tcp_flags = key.tcp_flags;
  }
  return s;
}

Rewrite rewrite_between(const Tuple& before, const Tuple& after) {
  Rewrite r;
  if (before.src != after.src) r.ip_src = after.src;
  if (before.dst != after.dst) r.ip_dst = after.dst;
  if (before.src_port != after.src_port) r.tp_src = after.src_port;
  if (before.dst_port != after.dst_port) {
    // Rewrites know the one identifier of an echo as tp_src.
    (before.echo == EchoRole::reply ? r.tp_src : r.tp_dst) = after.dst_port;
  }
  return r;
}

}  // namespace plexus::state
