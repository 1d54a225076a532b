// SPDX-License-Identifier: Apache-2.0
// What the tests of this room build connections from.
#pragma once

#include <string>

#include "packet/build.h"
#include "state/connection.h"
#include "state/tuple.h"

namespace plexus::state {

inline IpAddr ip(std::string_view text) {
  return IpAddr::parse(text).value();
}
inline Zone zone_named(std::string_view name) {
  return {Uuid::derived("bridge", name)};
}
inline PortId port_named(std::string_view name) {
  return {Uuid::derived("port", name)};
}
inline HostId host_named(std::string_view name) {
  return {Uuid::derived("host", name)};
}
inline MonoTime at(double seconds) {
  return MonoTime{static_cast<int64_t>(seconds * 1e9)};
}

inline Tuple tcp(std::string_view src, uint16_t src_port, std::string_view dst, uint16_t dst_port) {
  return {ip(src), ip(dst), src_port, dst_port, ip_proto::kTcp, EchoRole::none};
}
inline Tuple udp(std::string_view src, uint16_t src_port, std::string_view dst, uint16_t dst_port) {
  return {ip(src), ip(dst), src_port, dst_port, ip_proto::kUdp, EchoRole::none};
}
inline Tuple echo(std::string_view src, std::string_view dst, uint16_t id) {
  const IpAddr from = ip(src);
  const uint8_t protocol = from.is_v4() ? ip_proto::kIcmp : ip_proto::kIcmpv6;
  return {from, ip(dst), id, 0, protocol, EchoRole::request};
}

/// An untranslated connection between ports "a" and "b" of bridge "blue", its first packet seen.
inline Connection connection_of(const Tuple& original, MonoTime now = at(100)) {
  Connection c;
  c.original = original;
  c.zone = c.reply_zone = zone_named("blue");
  c.port = port_named("a");
  c.reply_port = port_named("b");
  c.stamp = {1, host_named("h1")};
  c.seen[0] = seen::kPacket | (original.protocol == ip_proto::kTcp ? seen::kSyn : 0);
  c.last_seen = now;
  return c;
}

/// The same, answered.
inline Connection answered(Connection c) {
  c.seen[1] = seen::kPacket;
  if (c.original.protocol == ip_proto::kTcp) {
    c.seen[0] |= seen::kAck;
    c.seen[1] |= seen::kSynAck;
  }
  return c;
}

/// A packet of the tuple. TCP: with these flags.
inline Frame frame_of(const Tuple& t, uint8_t flags = 2, std::string_view payload = "payload") {
  const PacketSpec spec{
      .eth_src = {{2, 0, 0, 0, 0, 1}}, .eth_dst = {{2, 0, 0, 0, 0, 2}}, .src = t.src, .dst = t.dst};
  if (t.echo != EchoRole::none) {
    const bool reply = t.echo == EchoRole::reply;
    return icmp_echo(spec, reply, reply ? t.dst_port : t.src_port, 1, text_bytes(payload));
  }
  if (t.protocol == ip_proto::kTcp)
    return tcp_packet(spec, t.src_port, t.dst_port, flags, 7, text_bytes(payload));
  if (t.protocol == ip_proto::kUdp)
    return udp_packet(spec, t.src_port, t.dst_port, text_bytes(payload));
  return ip_packet(spec, t.protocol, text_bytes(payload));
}

inline Sighting sighting_of(const Frame& frame) {
  return sighting_of(parse_packet(frame), frame);
}

}  // namespace plexus::state
