// SPDX-License-Identifier: Apache-2.0
// Journey: a frame on its way through the virtual devices, as it is at the present device; and the reading of its
// fields. Every read goes through here, because every bit that is looked at becomes part of the class the answer holds
// for. A field that a device has rewritten says nothing about the packet that came in, so reading it costs no bits.
//
// Comparisons read as few bits as prove the answer, in a fixed order that depends on bits read before only. So the
// classes of two packets are the same or apart (the TTL excepted: overlapping classes give the same answer there).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "flow/actions.h"
#include "model/records.h"
#include "packet/addr.h"
#include "packet/flow_key.h"

namespace plexus::sim {

/// What has become of all copies of one frame.
struct Fate;
/// What the present router has done to it.
struct RouterStage;

/// A router on the way, which has to see to it that what it sends on is small enough for all that comes behind it.
struct Hop {
  Hop* previous = nullptr;
  bool exceeded = false;    ///< the packet is larger than a limit that this router answers for
  uint32_t path_mtu = ~0u;  ///< the least limit met; meaningful when exceeded
};

/// A device that a frame has come to, and those before.
struct Passed {
  const Passed* previous = nullptr;
  const model::Port* in = nullptr;  ///< the port of the device that it came by
};

/// How a frame comes to be at the present device, which says who is to filter it on its way out.
enum class Passing : uint8_t {
  made_here,          ///< by the device: only the port it leaves by filters it
  forwarded,          ///< came by Journey::came_by
  flooded_elsewhere,  ///< flooded by the ingress host, which left the last stage to us; nobody knows by which port it came
  decided,            ///< the ingress host has asked all filters
};

/// Fields that are compared bit by bit, from the first on.
enum class BitField : uint8_t {
  eth_dst,
  eth_src,
  eth_type,
  ip_proto,
  ip_tos,
  src_ip,
  dst_ip,
  tp_src,
  tp_dst,
};

struct Journey {
  FlowKey key;      ///< as it is now, the TTL excepted: that is as it came, see ttl_now()
  Rewrite rewrite;  ///< from the frame as it started to the frame as it is now
  std::span<const uint8_t> bytes;        ///< as it started
  const ParsedPacket* parsed = nullptr;  ///< of `bytes`
  FlowKey* mask = nullptr;  ///< where reads are noted; null for frames that a device made
  /// Where it is noted that a fragment was asked for what only a first one has; null: nobody wants to know.
  bool* header_asked = nullptr;
  Fate* fate = nullptr;
  bool from_tunnel = false;  ///< must not leave by a tunnel again
  uint32_t size = 0;         ///< what an MTU limits: see Packet::size
  Hop* hop = nullptr;        ///< the last router that it has passed or come from; null: none
  unsigned devices = 0;      ///< passed so far
  unsigned depth = 0;        ///< of trace lines
  /// Bridges that a flooded frame has come to since the last router, by any path; null: not flooded.
  std::vector<BridgeId>* flooded = nullptr;

  Passing passing = Passing::made_here;
  const model::Port* came_by = nullptr;  ///< set when forwarded
  MacAddr came_from, came_to;            ///< its MACs when it came
  const Passed* passed = nullptr;  ///< the present device and those before it; null: made here
  bool ends_elsewhere =
      false;            ///< a mirror's copy, or redirected: its connection does not go this way
  bool copied = false;  ///< one of a flood: the mirrors of the bridge have had theirs
  RouterStage* stage = nullptr;  ///< null: at no router, or made there
  bool refusal =
      false;  ///< answers a machine in place of whom it asked (rejection, DHCP): no security group asks about it
  bool asks_dhcp_only =
      false;                 ///< from an address that is not its machine's: for DHCP's ears alone
  uint8_t stages = 0;        ///< of the new connection's commit, that it has met
  uint8_t translations = 0;  ///< of its connection's path, that it has behind it

  /// Somebody asks for ports, types, flags, or a connection. A later fragment has none: it follows a first one that was asked, too.
  void ask_header() const {
    if (header_asked != nullptr && key.ip_frag != static_cast<uint8_t>(FragKind::none))
      *header_asked = true;
  }

  // Fields read whole.
  [[nodiscard]] MacAddr eth_dst();
  [[nodiscard]] MacAddr eth_src();
  [[nodiscard]] uint16_t eth_type();
  [[nodiscard]] uint8_t ip_proto();
  [[nodiscard]] FragKind ip_frag();
  [[nodiscard]] uint16_t tp_src();
  [[nodiscard]] uint16_t tp_dst();
  [[nodiscard]] IpAddr src_ip();
  [[nodiscard]] IpAddr dst_ip();

  // Fields read in part.
  [[nodiscard]] bool eth_dst_is_group();
  [[nodiscard]] bool eth_src_is_group();
  [[nodiscard]] bool eth_dst_is(const MacAddr& mac);
  /// The first `bits` bits agree with those of `mac`.
  [[nodiscard]] bool eth_dst_starts(const MacAddr& mac, unsigned bits);
  [[nodiscard]] bool has_vlan_tag();
  /// The VLAN id of the outermost tag; nothing: it has none.
  [[nodiscard]] std::optional<uint16_t> vlan();
  /// The VLAN id of the tag behind the outermost one of the frame as it came, which no class knows of. Nothing: there is none, or
  /// the outermost has been taken off.
  [[nodiscard]] std::optional<uint16_t> second_vlan() const;
  /// What comes behind the tags that are read is one more tag: nobody has looked behind it.
  [[nodiscard]] bool has_unread_tag();
  /// Source / destination address is the one given, lies in the network given. The other family: false.
  [[nodiscard]] bool src_is(const IpAddr& a) { return src_in({a, static_cast<uint8_t>(a.bits())}); }
  [[nodiscard]] bool dst_is(const IpAddr& a) { return dst_in({a, static_cast<uint8_t>(a.bits())}); }
  [[nodiscard]] bool src_in(const IpPrefix& network);
  [[nodiscard]] bool dst_in(const IpPrefix& network);
  [[nodiscard]] bool eth_src_is(const MacAddr& mac);
  [[nodiscard]] bool eth_src_matches(const model::MaskedMac& wanted);
  [[nodiscard]] bool eth_dst_matches(const model::MaskedMac& wanted);
  /// The TCP flags that `wanted` looks at are as it says.
  [[nodiscard]] bool tcp_flags_match(const model::TcpFlags& wanted);
  /// A field, and where reads of it are noted. Stays right until the journey is rewritten.
  struct FieldBits {
    const uint8_t* value = nullptr;
    uint8_t* mask = nullptr;  ///< null: reading costs nothing
    size_t bytes = 0;         ///< of the whole field
    /// The first `count` bits are those of `wanted`.
    [[nodiscard]] bool starts_with(const uint8_t* wanted, unsigned count) const;
    /// Bit `i`, all before it noted, too.
    [[nodiscard]] bool bit(unsigned i) const;
  };
  [[nodiscard]] FieldBits bits_of(BitField field);
  /// The first `count` bits of the field are those of `wanted`.
  [[nodiscard]] bool starts_with(BitField field, const uint8_t* wanted, unsigned count) {
    return bits_of(field).starts_with(wanted, count);
  }
  /// Notes that the first `bits` bits of the destination, source were looked at.
  void note_dst_bits(unsigned bits);
  void note_src_bits(unsigned bits);
  /// The TTL or hop limit as it is now is above 1, so that a router may send the packet on.
  [[nodiscard]] bool ttl_allows_forwarding();
  /// It is this now.
  [[nodiscard]] bool ttl_is(unsigned ttl);

  /// The TTL now, for people: notes no read.
  [[nodiscard]] unsigned ttl_now() const;
  /// The frame as it is now: `bytes` with the rewrite applied.
  [[nodiscard]] std::vector<uint8_t> materialize() const;

  void rewrite_macs(const MacAddr& src, const MacAddr& dst);
  /// Addresses, ports, or the identifier of an echo (as `tp_src`); the rest of `change` is not looked at.
  void translate(const Rewrite& change);
  void decrement_ttl() { ++rewrite.ttl_decrement; }
  /// The packet is of IP; ECN stays.
  void set_dscp(uint8_t dscp);
  /// Takes the outermost tag off. True when there is another one behind it, which no class knows of.
  [[nodiscard]] bool pop_vlan();

 private:
  /// What a rewrite calls ports are that.
  [[nodiscard]] bool has_rewritable_ports() const;
};

/// The packet that came says nothing about some of the fields that rules read now.
[[nodiscard]] inline bool read_elsewhere(const Journey& j) {
  return j.mask == nullptr || j.rewrite.ip_src || j.rewrite.ip_dst || j.rewrite.tp_src ||
         j.rewrite.tp_dst || j.rewrite.dscp;
}

}  // namespace plexus::sim
