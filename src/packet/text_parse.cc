// SPDX-License-Identifier: Apache-2.0
// Packet text to bytes: the layers are read into plain structs first, then assembled. docs/packet-syntax.md is the grammar.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "packet/bytes.h"
#include "packet/text.h"
#include "packet/text_dhcp.h"
#include "packet/text_packet.h"
#include "packet/text_reader.h"
#include "packet/tunnel_headers.h"

namespace plexus {
namespace text {
namespace {

template <typename T>
T small_number(TextReader& r, std::string_view name, uint64_t max) {
  return static_cast<T>(r.number(name, max));
}

Sum read_sum(TextReader& r) {
  if (r.accept("partial")) return {Sum::Kind::partial, 0};
  return {Sum::Kind::given, small_number<uint32_t>(r, "sum", 0xffff)};
}

FragmentField read_fragment(TextReader& r) {
  FragmentField f;
  r.expect("off");
  f.offset = small_number<uint16_t>(r, "off", 0xfff8);
  if (f.offset % 8 != 0) r.fail_layer(fmt::format("off {}: expected a multiple of 8", f.offset));
  f.more = r.accept("more");
  return f;
}

void read_eth(TextReader& r, EthLayer& eth) {
  eth.given = true;
  eth.src = r.mac("the source");
  r.expect(">");
  eth.dst = r.mac("the destination");
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "type")
      eth.type = small_number<uint16_t>(r, name, 0xffff);
    else
      r.fail(name, "type or the next layer");
  }
}

VlanLayer read_vlan(TextReader& r) {
  VlanLayer v;
  v.tci = small_number<uint16_t>(r, "the VLAN id", 0xfff);
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "pcp")
      v.tci = static_cast<uint16_t>(v.tci | r.number(name, 7) << 13);
    else if (name == "dei")
      v.tci |= 0x1000;
    else if (name == "tpid")
      v.tpid = small_number<uint16_t>(r, name, 0xffff);
    else
      r.fail(name, "pcp, dei or tpid");
  }
  if (v.tpid != eth_type::kVlan && v.tpid != eth_type::kQinq)
    r.fail(fmt::format("{:#06x}", v.tpid), "tpid 0x8100 or 0x88a8");
  return v;
}

ArpLayer read_arp(TextReader& r) {
  ArpLayer a;
  const auto kind = r.word("request, reply or op");
  if (kind == "request") {
    a.operation = arp_op::kRequest;
    r.expect("who");
    a.target = r.ip("who", IpFamily::v4);
    r.expect("tell");
    a.sender = r.ip("tell", IpFamily::v4);
  } else if (kind == "reply") {
    a.operation = arp_op::kReply;
    a.sender = r.ip("the sender", IpFamily::v4);
    r.expect("to");
    a.target = r.ip("to", IpFamily::v4);
  } else if (kind == "op") {
    a.operation = small_number<uint16_t>(r, "op", 0xffff);
    a.sender = r.ip("the sender", IpFamily::v4);
    r.expect("to");
    a.target = r.ip("to", IpFamily::v4);
  } else {
    r.fail(kind, "request, reply or op");
  }
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "sha")
      a.sha = r.mac(name);
    else if (name == "tha")
      a.tha = r.mac(name);
    else
      r.fail(name, "sha or tha");
  }
  return a;
}

IpLayer read_ip(TextReader& r, IpFamily family) {
  IpLayer ip;
  ip.src = r.ip("the source", family);
  r.expect(">");
  ip.dst = r.ip("the destination", family);
  const bool v4 = family == IpFamily::v4;
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "ttl")
      ip.ttl = small_number<uint8_t>(r, name, 255);
    else if (name == "tos")
      ip.tos = small_number<uint8_t>(r, name, 255);
    else if (name == "proto")
      ip.protocol = small_number<uint8_t>(r, name, 255);
    else if (v4 && name == "id")
      ip.id = small_number<uint16_t>(r, name, 0xffff);
    else if (v4 && name == "df")
      ip.df = true;
    else if (v4 && name == "reserved")
      ip.reserved = true;
    else if (v4 && name == "frag")
      ip.fragment = read_fragment(r);
    else if (v4 && name == "options")
      ip.options = r.hex(name);
    else if (v4 && name == "sum")
      ip.sum = {Sum::Kind::given, small_number<uint32_t>(r, name, 0xffff)};
    else if (!v4 && name == "flow")
      ip.flow_label = small_number<uint32_t>(r, name, 0xfffff);
    else
      r.fail(name, v4 ? "ttl, tos, proto, id, df, reserved, frag, options or sum"
                      : "ttl, tos, proto or flow");
  }
  if (ip.options.size() % 4 != 0 || ip.options.size() > 40)
    r.fail_layer("options: expected a multiple of 4 bytes, at most 40");
  return ip;
}

ExtensionLayer read_extension(TextReader& r) {
  ExtensionLayer e;
  const auto name = r.word("hop-by-hop, routing or destination");
  if (name == "hop-by-hop")
    e.type = kHopByHop;
  else if (name == "routing")
    e.type = kRouting;
  else if (name == "destination")
    e.type = kDestination;
  else
    r.fail(name, "hop-by-hop, routing or destination");
  const ByteVector body = r.hex("what follows the length byte");
  if ((body.size() + 2) % 8 != 0 || body.size() > 2046)
    r.fail_layer("expected 6 bytes, or 8 more each, at most 2046");
  e.rest.push_back(static_cast<uint8_t>((body.size() + 2) / 8 - 1));
  e.rest.insert(e.rest.end(), body.begin(), body.end());
  return e;
}

ExtensionLayer read_fragment_header(TextReader& r) {
  const FragmentField f = read_fragment(r);
  uint32_t id = 0;
  if (r.accept("id")) id = small_number<uint32_t>(r, "id", 0xffffffff);
  ExtensionLayer e{kFragment, ByteVector(7)};
  put_be16(e.rest, 1, static_cast<uint16_t>(f.offset | (f.more ? 1 : 0)));
  put_be32(e.rest, 3, id);
  return e;
}

TransportLayer read_udp(TextReader& r) {
  TransportLayer t{ip_proto::kUdp, ByteVector(8), 6, {}, kDefaultTtl, {}};
  put_be16(t.header, 0, small_number<uint16_t>(r, "the source port", 0xffff));
  r.expect(">");
  put_be16(t.header, 2, small_number<uint16_t>(r, "the destination port", 0xffff));
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "len")
      t.udp_length = small_number<uint16_t>(r, name, 0xffff);
    else if (name == "sum")
      t.sum = read_sum(r);
    else
      r.fail(name, "len or sum");
  }
  return t;
}

TransportLayer read_sctp(TextReader& r) {
  TransportLayer t{ip_proto::kSctp, ByteVector(12), 8, {}, kDefaultTtl, {}};
  put_be16(t.header, 0, small_number<uint16_t>(r, "the source port", 0xffff));
  r.expect(">");
  put_be16(t.header, 2, small_number<uint16_t>(r, "the destination port", 0xffff));
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "tag")
      put_be32(t.header, 4, small_number<uint32_t>(r, name, 0xffffffff));
    else if (name == "sum")
      t.sum = {Sum::Kind::given, small_number<uint32_t>(r, name, 0xffffffff)};
    else
      r.fail(name, "tag or sum");
  }
  return t;
}

struct GreLayer {
  std::optional<uint16_t> type;
  std::optional<uint32_t> key, sequence;
  bool checksum = false;
  Sum sum;
};

GreLayer read_gre(TextReader& r) {
  GreLayer g;
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "key") {
      g.key = small_number<uint32_t>(r, name, 0xffffffff);
    } else if (name == "seq") {
      g.sequence = small_number<uint32_t>(r, name, 0xffffffff);
    } else if (name == "checksum") {
      g.checksum = true;
    } else if (name == "sum") {
      g.checksum = true;
      g.sum = {Sum::Kind::given, small_number<uint32_t>(r, name, 0xffff)};
    } else if (name == "type") {
      g.type = small_number<uint16_t>(r, name, 0xffff);
    } else {
      r.fail(name, "key, seq, checksum, sum or type");
    }
  }
  return g;
}

TransportLayer gre_transport(const GreLayer& g, uint16_t type) {
  TransportLayer t{GreView::kIpProtocol, ByteVector(4), 4, {}, kDefaultTtl, g.sum};
  put_be16(
      t.header, 0,
      static_cast<uint16_t>((g.checksum ? GreView::kChecksum : 0) | (g.key ? GreView::kKey : 0) |
                            (g.sequence ? GreView::kSequence : 0)));
  put_be16(t.header, 2, type);
  if (g.checksum) t.header.resize(8);
  for (const auto& word : {g.key, g.sequence}) {
    if (!word) continue;
    t.header.resize(t.header.size() + 4);
    put_be32(t.header, t.header.size() - 4, *word);
  }
  return t;
}

ByteVector read_vxlan(TextReader& r) {
  ByteVector header(VxlanView::kSize);
  header[0] = VxlanView::kValidVni;
  r.expect("vni");
  put_be32(header, 4, small_number<uint32_t>(r, "vni", VxlanView::kMaxVni) << 8);
  return header;
}

uint8_t read_tcp_flags(TextReader& r) {
  static constexpr std::string_view kLetters = "FSRPAUEC";
  const auto text = r.word("flags");
  if (text == "none") return 0;
  unsigned flags = 0;
  for (char c : text) {
    const size_t bit = kLetters.find(c);
    if (bit == kLetters.npos)
      r.fail(text, "letters of FSRPAUEC, or none");
    else
      flags |= 1u << bit;
  }
  return static_cast<uint8_t>(flags);
}

TransportLayer read_tcp(TextReader& r) {
  TransportLayer t{ip_proto::kTcp, ByteVector(20), 16, {}, kDefaultTtl, {}};
  put_be16(t.header, 0, small_number<uint16_t>(r, "the source port", 0xffff));
  r.expect(">");
  put_be16(t.header, 2, small_number<uint16_t>(r, "the destination port", 0xffff));
  t.header[13] = 2;  // SYN
  put_be16(t.header, 14, 65535);
  ByteVector options;
  unsigned reserved = 0;
  while (r.more()) {
    const auto name = r.field("a field");
    if (name == "flags")
      t.header[13] = read_tcp_flags(r);
    else if (name == "seq")
      put_be32(t.header, 4, small_number<uint32_t>(r, name, 0xffffffff));
    else if (name == "ack")
      put_be32(t.header, 8, small_number<uint32_t>(r, name, 0xffffffff));
    else if (name == "win")
      put_be16(t.header, 14, small_number<uint16_t>(r, name, 0xffff));
    else if (name == "urg")
      put_be16(t.header, 18, small_number<uint16_t>(r, name, 0xffff));
    else if (name == "reserved")
      reserved = small_number<unsigned>(r, name, 15);
    else if (name == "options")
      options = r.hex(name);
    else if (name == "sum")
      t.sum = read_sum(r);
    else
      r.fail(name, "flags, seq, ack, win, urg, reserved, options or sum");
  }
  if (options.size() % 4 != 0 || options.size() > 40)
    r.fail_layer("options: expected a multiple of 4 bytes, at most 40");
  t.header.insert(t.header.end(), options.begin(), options.end());
  t.header[12] = static_cast<uint8_t>(t.header.size() / 4 << 4 | reserved);
  return t;
}

/// Code of "unreachable net" and so on; false when the word is none of them.
bool unreachable_code(std::string_view word, bool v6, uint8_t& code) {
  if (word == "net")
    code = 0;
  else if (word == "host")
    code = v6 ? 3 : 1;
  else if (word == "port")
    code = v6 ? 4 : 3;
  else if (word == "admin")
    code = v6 ? 1 : 13;
  else
    return false;
  return true;
}

TransportLayer read_icmp(TextReader& r, bool v6) {
  TransportLayer t{v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp, ByteVector(8), 2, {}, kDefaultTtl, {}};
  uint8_t& type = t.header[0];
  uint8_t& code = t.header[1];
  const auto kind = r.field("an ICMP message");
  bool echo = false, too_big = false, unreachable = false;
  if (kind == "echo-request" || kind == "echo-reply") {
    echo = true;
    const bool reply = kind == "echo-reply";
    type = v6 ? (reply ? icmpv6_type::kEchoReply : icmpv6_type::kEchoRequest)
              : (reply ? icmp_type::kEchoReply : icmp_type::kEchoRequest);
  } else if (kind == "time-exceeded") {
    type = v6 ? icmpv6_type::kTimeExceeded : icmp_type::kTimeExceeded;
  } else if (kind == "unreachable") {
    unreachable = true;
    type = v6 ? icmpv6_type::kUnreachable : icmp_type::kUnreachable;
  } else if (kind == "too-big") {
    too_big = true;
    type = v6 ? icmpv6_type::kPacketTooBig : icmp_type::kUnreachable;
    code = v6 ? 0 : 4;
  } else if (kind == "type") {
    type = small_number<uint8_t>(r, "type", 255);
  } else {
    r.fail(kind, "echo-request, echo-reply, time-exceeded, unreachable, too-big or type");
  }
  while (r.more()) {
    const auto name = r.field("a field");
    if (echo && name == "id")
      put_be16(t.header, 4, small_number<uint16_t>(r, name, 0xffff));
    else if (echo && name == "seq")
      put_be16(t.header, 6, small_number<uint16_t>(r, name, 0xffff));
    else if (too_big && name == "mtu")
      put_be32(t.header, 4, small_number<uint32_t>(r, name, 0xffffffff));
    else if (unreachable && unreachable_code(name, v6, code))
      continue;
    else if (!too_big && name == "code")
      code = small_number<uint8_t>(r, name, 255);
    else if (!echo && !too_big && name == "rest")
      put_be32(t.header, 4, small_number<uint32_t>(r, name, 0xffffffff));
    else if (name == "sum")
      t.sum = read_sum(r);
    else
      r.fail(name, echo          ? "id, seq, code or sum"
                   : too_big     ? "mtu or sum"
                   : unreachable ? "net, host, port, admin, code, rest or sum"
                                 : "code, rest or sum");
  }
  return t;
}

TransportLayer read_nd(TextReader& r) {
  TransportLayer t{ip_proto::kIcmpv6, ByteVector(24), 2, {}, 255, {}};
  const auto kind = r.word("solicit or advert");
  const bool solicit = kind == "solicit";
  if (!solicit && kind != "advert") r.fail(kind, "solicit or advert");
  t.header[0] = solicit ? icmpv6_type::kNeighbourSolicit : icmpv6_type::kNeighbourAdvert;
  r.expect("target");
  put_bytes(t.header, 8, wire_bytes(r.ip("target", IpFamily::v6)));
  const std::string_view option = solicit ? "slla" : "tlla";
  while (r.more()) {
    const auto name = r.field("a field");
    if (!solicit && name == "router")
      t.header[4] |= 0x80;
    else if (!solicit && name == "solicited")
      t.header[4] |= 0x40;
    else if (!solicit && name == "override")
      t.header[4] |= 0x20;
    else if (name == "sum")
      t.sum = read_sum(r);
    else if (name == option) {
      const MacAddr mac = r.mac(name);
      const uint8_t head[] = {solicit ? uint8_t{1} : uint8_t{2}, 1};
      t.header.insert(t.header.end(), head, head + 2);
      t.header.insert(t.header.end(), mac.bytes.begin(), mac.bytes.end());
    } else {
      r.fail(name, solicit ? "slla or sum" : "router, solicited, override, tlla or sum");
    }
  }
  return t;
}

/// "text", N bytes (0, 1, ... 255, 0, ...) or hex.
ByteVector read_payload(TextReader& r) {
  static constexpr std::string_view kExpected = "a quoted text, \"N bytes\" or \"hex ...\"";
  ByteVector out;
  const bool quoted = r.next_is_quoted();
  const auto first = r.word(kExpected);
  if (quoted) return {first.begin(), first.end()};
  if (first == "hex") return r.hex("the payload");
  const auto size = parse_number(first, 65535);
  if (!size) r.fail(first, kExpected);
  r.expect("bytes");
  if (!r.ok()) return out;
  for (size_t i = 0; i < *size; ++i) out.push_back(static_cast<uint8_t>(i));
  return out;
}

ByteVector read_pad(TextReader& r) {
  if (r.accept("hex")) return r.hex("the padding");
  return ByteVector(r.number("the number of zero bytes behind the packet", 65535));
}

/// Where a layer may stand: each has a rank and may not come before one of a lower rank.
enum Rank : int { kEth, kVlan, kNetwork, kExtension, kTransport, kPayload, kPad };

struct LayerName {
  std::string_view name;
  Rank rank;
};
constexpr LayerName kLayers[] = {
    {"eth", kEth},         {"vlan", kVlan},      {"arp", kNetwork},    {"ipv4", kNetwork},
    {"ipv6", kNetwork},    {"ext", kExtension},  {"frag", kExtension}, {"udp", kTransport},
    {"tcp", kTransport},   {"sctp", kTransport}, {"icmp", kTransport}, {"nd", kTransport},
    {"gre", kTransport},   {"dhcp", kPayload},   {"dhcp6", kPayload},  {"vxlan", kPayload},
    {"payload", kPayload}, {"quoted", kPayload}, {"pad", kPad}};

/// Reads one layer into the packet.
void read_layer(std::string_view name, TextReader& r, TextPacket& p) {
  const bool v6 = p.ip && p.ip->src.is_v6();
  if (name == "eth")
    read_eth(r, p.eth);
  else if (name == "vlan")
    p.vlans.push_back(read_vlan(r));
  else if (name == "arp")
    p.arp = read_arp(r);
  else if (name == "ipv4")
    p.ip = read_ip(r, IpFamily::v4);
  else if (name == "ipv6")
    p.ip = read_ip(r, IpFamily::v6);
  else if (name == "ext")
    p.extensions.push_back(read_extension(r));
  else if (name == "frag")
    p.extensions.push_back(read_fragment_header(r));
  else if (name == "udp")
    p.transport = read_udp(r);
  else if (name == "tcp")
    p.transport = read_tcp(r);
  else if (name == "sctp")
    p.transport = read_sctp(r);
  else if (name == "icmp")
    p.transport = read_icmp(r, v6);
  else if (name == "nd")
    p.transport = read_nd(r);
  else if (name == "dhcp")
    p.payload = read_dhcp(r);
  else if (name == "dhcp6")
    p.payload = read_dhcp6(r);
  else if (name == "pad")
    p.pad = read_pad(r);
  else
    p.payload = read_payload(r);
  if (r.more()) r.fail(r.word("nothing"), "the next layer, behind \" | \"");
}

/// What the layers before it say against a layer; empty when it fits.
std::string misplaced(const LayerName& layer, int last_rank, const TextPacket& p) {
  const bool repeatable = (layer.rank == kVlan && p.vlans.size() < 2) || layer.rank == kExtension;
  if (layer.rank < last_rank || (layer.rank == last_rank && !repeatable))
    return "this layer cannot come here: expected eth, vlan (twice at most), arp or ipv4 or ipv6, "
           "ext and frag "
           "(ipv6), udp or tcp or sctp or icmp or nd or gre, vxlan or dhcp or dhcp6 or payload, "
           "pad, in this order";
  if (layer.rank == kExtension && !(p.ip && p.ip->src.is_v6()))
    return layer.name == "frag" ? "expected behind ipv6; in IPv4, frag is a field of the ipv4 layer"
                                : "expected behind ipv6";
  if (layer.rank == kTransport && !p.ip) return "expected behind ipv4 or ipv6";
  if (layer.name == "nd" && p.ip->src.is_v4()) return "expected behind ipv6";
  if ((layer.name == "vxlan" || layer.name == "dhcp" || layer.name == "dhcp6") &&
      !(p.transport && p.transport->protocol == ip_proto::kUdp))
    return "expected behind udp";
  if (layer.rank == kPayload && p.arp) return "ARP has no payload: expected pad";
  return {};
}

using Layers = std::span<const std::vector<TextToken>>;

Result<Frame> frame_of(Layers layers, bool tunnelled);

/// What a GRE header carries: an Ethernet frame, an IP packet without Ethernet header, or `payload` of the type that was given.
Result<void> read_gre_inside(Layers inside, const GreLayer& gre, TextPacket& p) {
  constexpr size_t kEthernet = 14;
  const std::string_view first =
      inside.empty() || inside[0].empty() ? std::string_view() : inside[0][0].text;
  const bool packet = first == "ipv4" || first == "ipv6";
  if ((packet || first == "eth") && gre.type)
    return Error{ErrorCode::invalid, "gre: type is told by the layer behind: expected none here"};
  if (packet || first == "eth") {
    auto frame = frame_of(inside, true);
    if (!frame) return frame.error();
    const uint16_t type = first == "eth" ? GreView::kEthernet : be16_at(*frame, 12);
    if (packet) frame->erase(frame->begin(), frame->begin() + kEthernet);
    p.payload = std::move(*frame);
    p.transport = gre_transport(gre, type);
    return {};
  }
  p.transport = gre_transport(gre, gre.type.value_or(kDefaultEtherType));
  if (inside.empty()) return {};
  if (first != "payload" || inside.size() > 1)
    return Error{ErrorCode::invalid, "gre: expected eth, ipv4, ipv6 or payload behind it"};
  const std::vector<TextToken> rest(inside[0].begin() + 1, inside[0].end());
  TextReader r(rest, "payload");
  p.payload = read_payload(r);
  if (r.more()) r.fail(r.word("nothing"), "nothing more");
  if (!r.ok()) return r.error();
  return {};
}

/// The tunnel layer in front of `inside`, which takes everything behind it.
Result<void> read_tunnel(std::string_view name, TextReader& r, Layers inside, TextPacket& p) {
  if (name == "gre") {
    const GreLayer gre = read_gre(r);
    if (!r.ok()) return r.error();
    return read_gre_inside(inside, gre, p);
  }
  p.payload = read_vxlan(r);
  if (r.more()) r.fail(r.word("nothing"), "the next layer, behind \" | \"");
  if (!r.ok()) return r.error();
  if (inside.empty()) return {};
  const auto frame = frame_of(inside, true);
  if (!frame) return frame.error();
  p.payload.insert(p.payload.end(), frame->begin(), frame->end());
  return {};
}

Result<TextPacket> read_layers(Layers layers, bool tunnelled) {
  TextPacket p;
  int last_rank = -1;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto& tokens = layers[i];
    if (tokens.empty() || tokens[0].quoted)
      return Error{ErrorCode::invalid,
                   "an empty layer: expected eth, vlan, arp, ipv4, ipv6, udp, tcp, icmp, ..."};
    const auto* layer = std::find_if(std::begin(kLayers), std::end(kLayers),
                                     [&](const LayerName& l) { return l.name == tokens[0].text; });
    if (layer == std::end(kLayers))
      return Error{
          ErrorCode::invalid,
          fmt::format("\"{}\": expected a layer: eth, vlan, arp, ipv4, ipv6, ext, frag, "
                      "udp, tcp, sctp, icmp, nd, gre, vxlan, dhcp, dhcp6, payload, quoted, "
                      "pad, or raw "
                      "alone",
                      tokens[0].text)};
    if (const auto why = misplaced(*layer, last_rank, p); !why.empty())
      return Error{ErrorCode::invalid, fmt::format("{}: {}", layer->name, why)};
    last_rank = layer->rank;
    const std::vector<TextToken> rest(tokens.begin() + 1, tokens.end());
    TextReader r(rest, std::string(layer->name));
    if (layer->name == "gre" || layer->name == "vxlan") {
      if (tunnelled)
        return Error{ErrorCode::invalid,
                     fmt::format("{}: a tunnel in a tunnel: expected payload", layer->name)};
      if (auto done = read_tunnel(layer->name, r, layers.subspan(i + 1), p); !done)
        return done.error();
      break;
    }
    read_layer(layer->name, r, p);
    if (!r.ok()) return r.error();
  }
  if (p.eth.type && (p.arp || p.ip))
    return Error{ErrorCode::invalid,
                 "eth: type is told by the arp, ipv4 or ipv6 layer: expected none here"};
  if (p.transport && p.ip->protocol)
    return Error{ErrorCode::invalid,
                 "proto is told by the udp, tcp, sctp, icmp, nd or gre layer: expected none here"};
  return p;
}

Result<Frame> frame_of(Layers layers, bool tunnelled) {
  const auto& first = layers.front();
  if (!first.empty() && first[0].text == "raw" && !first[0].quoted) {
    const std::vector<TextToken> rest(first.begin() + 1, first.end());
    TextReader r(rest, "raw");
    // The frame of no bytes at all.
    Frame f = rest.empty() ? Frame{} : r.hex("the frame");
    if (r.more()) r.fail(r.word("nothing"), "nothing more");
    if (layers.size() > 1) r.fail_layer("expected to stand alone");
    if (!r.ok()) return r.error();
    return f;
  }
  const auto packet = read_layers(layers, tunnelled);
  if (!packet) return packet.error();
  return assemble(*packet);
}

}  // namespace
}  // namespace text

Result<Frame> parse_frame(std::string_view text) {
  const auto layers = tokenize(text, '|');
  if (!layers) return layers.error();
  return text::frame_of(*layers, false);
}

}  // namespace plexus
