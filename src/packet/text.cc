// SPDX-License-Identifier: Apache-2.0
// Bytes to packet text. Writing is tried from the greatest detail down; the first text that reads back to the same
// bytes is taken, so that nothing the syntax cannot say is ever left out silently.
#include "packet/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/text_dhcp.h"
#include "packet/text_packet.h"
#include "packet/text_reader.h"
#include "packet/tunnel_headers.h"

namespace plexus {
namespace {

using text::kDestination, text::kFragment, text::kHopByHop, text::kRouting;

/// How far down a frame is spelled out; what lies deeper is payload.
enum class Detail : uint8_t { tunnels, messages, transport, network, ethernet };

std::string text_of(std::span<const uint8_t> frame, Detail from);

/// The text of an IP packet without its Ethernet header; empty when it reads as none.
std::string packet_text(std::span<const uint8_t> packet, uint16_t type) {
  Frame frame(12);
  frame.push_back(static_cast<uint8_t>(type >> 8));
  frame.push_back(static_cast<uint8_t>(type));
  frame.insert(frame.end(), packet.begin(), packet.end());
  const std::string text = text_of(frame, Detail::messages);
  const size_t at = text.find(type == eth_type::kIpv4 ? " | ipv4 " : " | ipv6 ");
  // Right behind "eth SOURCE > DESTINATION", or what was read is not what it seems.
  constexpr size_t kEth = 4 + 17 + 3 + 17;
  return at == kEth ? text.substr(at + 3) : std::string();
}

/// Shorter counting payloads read better as hex.
constexpr size_t kMinCounting = 16;

class FrameWriter {
 public:
  FrameWriter(std::span<const uint8_t> frame, Detail detail)
      : frame_(frame), parsed_(parse_packet(frame)), detail_(detail) {}

  /// Whether the frame has a tunnel that could be spelled out.
  [[nodiscard]] bool is_tunnel() const { return vxlan().has_value() || gre().has_value(); }

  std::string write() {
    write_ethernet();
    const FlowKey& key = parsed_.key;
    const bool whole = parsed_.error == ParseError::none && parsed_.l3_offset != 0;
    if (!whole || detail_ == Detail::ethernet) {
      fmt::format_to(sink(), " type {:#06x}", be16_at(frame_, type_at_));
      write_tags();
      write_payload(frame_.subspan(type_at_ + 2), "payload");
    } else if (write_tags(); key.is_arp()) {
      write_arp();
    } else {
      write_ip();
    }
    return std::move(out_);
  }

 private:
  std::back_insert_iterator<std::string> sink() { return std::back_inserter(out_); }

  /// Finds the EtherType that counts, behind at most two tags.
  void write_ethernet() {
    while (tags_ < 2 && type_at_ + 6 <= frame_.size() && is_tag(be16_at(frame_, type_at_))) {
      ++tags_;
      type_at_ += 4;
    }
    fmt::format_to(sink(), "eth {} > {}", mac_at(frame_, 6).str(), mac_at(frame_, 0).str());
  }

  static bool is_tag(uint16_t type) { return type == eth_type::kVlan || type == eth_type::kQinq; }

  void write_tags() {
    for (size_t i = 0; i < tags_; ++i) {
      const uint16_t tpid = be16_at(frame_, 12 + 4 * i), tci = be16_at(frame_, 14 + 4 * i);
      fmt::format_to(sink(), " | vlan {}", tci & 0xfff);
      if (tci >> 13 != 0) fmt::format_to(sink(), " pcp {}", tci >> 13);
      if ((tci & 0x1000) != 0) out_ += " dei";
      if (tpid != eth_type::kVlan) fmt::format_to(sink(), " tpid {:#06x}", tpid);
    }
  }

  void write_arp() {
    const auto arp = ArpView::of(parsed_, frame_);
    if (!arp) return;
    const uint16_t op = arp->operation();
    const std::string sender = arp->sender_ip().str(), target = arp->target_ip().str();
    if (op == arp_op::kRequest)
      fmt::format_to(sink(), " | arp request who {} tell {}", target, sender);
    else if (op == arp_op::kReply)
      fmt::format_to(sink(), " | arp reply {} to {}", sender, target);
    else
      fmt::format_to(sink(), " | arp op {} {} to {}", op, sender, target);
    fmt::format_to(sink(), " sha {}", arp->sender_mac().str());
    const MacAddr usual = op == arp_op::kRequest ? MacAddr{} : mac_at(frame_, 0);
    if (arp->target_mac() != usual) fmt::format_to(sink(), " tha {}", arp->target_mac().str());
    write_pad(frame_.subspan(parsed_.l3_offset + ArpView::kSize));
  }

  void write_ip() {
    const auto packet = frame_.first(parsed_.length);
    // Where the headers that were read end: the transport header starts, or the payload of something else.
    const size_t upper = parsed_.key.is_ipv4() ? write_ipv4() : write_ipv6();
    if (has_transport_layer())
      write_transport(packet.subspan(upper));
    else if (has_gre_layer())
      write_gre(*gre());
    else
      write_payload(packet.subspan(upper), "payload");
    write_pad(frame_.subspan(parsed_.length));
  }

  [[nodiscard]] bool has_transport_layer() const {
    const bool sctp = parsed_.key.ip_proto == ip_proto::kSctp && parsed_.l4_offset != 0;
    return detail_ < Detail::network && (sctp || transport_checksum_offset(parsed_).has_value());
  }
  [[nodiscard]] bool has_gre_layer() const {
    return detail_ == Detail::tunnels && gre().has_value();
  }

  [[nodiscard]] bool is_whole_ip() const {
    return parsed_.error == ParseError::none && parsed_.key.is_ip() &&
           parsed_.key.ip_frag == static_cast<uint8_t>(FragKind::none);
  }
  [[nodiscard]] std::optional<VxlanView> vxlan() const {
    if (!is_whole_ip() || parsed_.key.ip_proto != ip_proto::kUdp ||
        parsed_.key.tp_dst.host() != VxlanView::kUdpPort)
      return std::nullopt;
    const auto view = VxlanView::of(frame_.first(parsed_.length).subspan(parsed_.l4_offset + 8u));
    return view && view->reserved_bits_zero() ? view : std::nullopt;
  }
  [[nodiscard]] std::optional<GreView> gre() const {
    if (!is_whole_ip() || parsed_.key.ip_proto != GreView::kIpProtocol) return std::nullopt;
    const auto view = GreView::of(frame_.first(parsed_.length).subspan(upper_offset()));
    return view && view->reserved_bits_zero() ? view : std::nullopt;
  }
  /// Where the header of the upper-layer protocol starts, known or not.
  [[nodiscard]] size_t upper_offset() const {
    const auto ip = frame_.first(parsed_.length).subspan(parsed_.l3_offset);
    if (parsed_.key.is_ipv4()) return parsed_.l3_offset + size_t{ip[0]} % 16 * 4;
    size_t at = Ipv6View::kSize;
    for (uint8_t next = ip[6]; is_extension(next) && ip.size() - at >= 8;) {
      const size_t size = next == kFragment ? 8 : (size_t{ip[at + 1]} + 1) * 8;
      next = ip[at];
      at = std::min(at + size, ip.size());
    }
    return parsed_.l3_offset + at;
  }

  void write_ip_common(const IpAddr& src, const IpAddr& dst, uint8_t ttl, uint8_t tos) {
    fmt::format_to(sink(), "{} > {} ttl {}", src.str(), dst.str(), ttl);
    if (tos != 0) fmt::format_to(sink(), " tos {}", tos);
    if (!has_transport_layer() && !has_gre_layer())
      fmt::format_to(sink(), " proto {}", parsed_.key.ip_proto);
  }

  size_t write_ipv4() {
    const auto ip = Ipv4View::of(frame_.subspan(parsed_.l3_offset));
    if (!ip) return parsed_.l3_offset;
    out_ += " | ipv4 ";
    write_ip_common(ip->src(), ip->dst(), ip->ttl(), ip->tos());
    if (ip->id() != 0) fmt::format_to(sink(), " id {}", ip->id());
    if (ip->dont_fragment()) out_ += " df";
    if (ip->reserved_flag()) out_ += " reserved";
    if (ip->more_fragments() || ip->fragment_offset() != 0)
      fmt::format_to(sink(), " frag off {}{}", ip->fragment_offset(),
                     ip->more_fragments() ? " more" : "");
    if (!ip->options().empty()) fmt::format_to(sink(), " options {}", format_hex(ip->options()));
    if (ip->checksum() != computed_sum(ip->bytes().first(ip->header_length()), 10))
      fmt::format_to(sink(), " sum {:#06x}", ip->checksum());
    return parsed_.l3_offset + ip->header_length();
  }

  size_t write_ipv6() {
    const auto ip = Ipv6View::of(frame_.subspan(parsed_.l3_offset));
    if (!ip) return parsed_.l3_offset;
    out_ += " | ipv6 ";
    write_ip_common(ip->src(), ip->dst(), ip->hop_limit(), ip->traffic_class());
    if (ip->flow_label() != 0) fmt::format_to(sink(), " flow {:#x}", ip->flow_label());
    return parsed_.l3_offset + Ipv6View::kSize + write_extensions(*ip);
  }

  /// The parser has checked the chain; the same walk finds the same headers. Returns their size.
  size_t write_extensions(const Ipv6View& ip) {
    const auto chain = ip.payload();
    uint8_t next = ip.next_header();
    size_t at = 0;
    bool later = false;
    while (!later && is_extension(next) && chain.size() - at >= 8) {
      const auto header = chain.subspan(at);
      size_t size = 8;
      if (next == kFragment) {
        const uint16_t field = be16_at(header, 2);
        later = (field & 0xfff8) != 0;
        fmt::format_to(sink(), " | frag off {}{} id {}", field & 0xfff8,
                       (field & 1) != 0 ? " more" : "", be32_at(header, 4));
      } else {
        size = std::min((size_t{header[1]} + 1) * 8, header.size());
        fmt::format_to(sink(), " | ext {} {}",
                       next == kHopByHop  ? "hop-by-hop"
                       : next == kRouting ? "routing"
                                          : "destination",
                       format_hex(header.first(size).subspan(2)));
      }
      next = header[0];
      at += size;
    }
    return at;
  }

  static bool is_extension(uint8_t next) {
    return next == kHopByHop || next == kRouting || next == kFragment || next == kDestination;
  }

  void write_transport(std::span<const uint8_t> message) {
    switch (parsed_.key.ip_proto) {
      case ip_proto::kUdp:
        return write_udp(message);
      case ip_proto::kTcp:
        return write_tcp(message);
      case ip_proto::kSctp:
        return write_sctp(message);
      default:
        return write_icmp(message);
    }
  }

  void write_udp(std::span<const uint8_t> message) {
    fmt::format_to(sink(), " | udp {} > {}", be16_at(message, 0), be16_at(message, 2));
    if (be16_at(message, 4) != message.size())
      fmt::format_to(sink(), " len {}", be16_at(message, 4));
    write_sum();
    const auto view = vxlan();
    if (detail_ <= Detail::messages && be16_at(message, 4) == message.size()) {
      const auto dhcp =
          text::format_dhcp(be16_at(message, 0), be16_at(message, 2), message.subspan(8));
      if (dhcp) {
        out_ += " | " + *dhcp;
        return;
      }
    }
    if (detail_ != Detail::tunnels || !view) return write_payload(message.subspan(8), "payload");
    fmt::format_to(sink(), " | vxlan vni {}", view->vni());
    if (!view->frame().empty()) out_ += " | " + text_of(view->frame(), Detail::messages);
  }

  void write_gre(const GreView& gre) {
    out_ += " | gre";
    if (gre.key()) fmt::format_to(sink(), " key {}", *gre.key());
    if (gre.sequence()) fmt::format_to(sink(), " seq {}", *gre.sequence());
    if (gre.checksum() && *gre.checksum() == computed_sum(gre.bytes(), GreView::kMinSize))
      out_ += " checksum";
    else if (gre.checksum())
      fmt::format_to(sink(), " sum {:#06x}", *gre.checksum());
    const uint16_t type = gre.protocol();
    std::string inside;
    if (type == GreView::kEthernet && gre.payload().size() >= EthernetView::kSize)
      inside = text_of(gre.payload(), Detail::messages);
    else if (type == eth_type::kIpv4 || type == eth_type::kIpv6)
      inside = packet_text(gre.payload(), type);
    if (!inside.empty()) {
      out_ += " | " + inside;
      return;
    }
    fmt::format_to(sink(), " type {:#06x}", type);
    write_payload(gre.payload(), "payload");
  }

  void write_sctp(std::span<const uint8_t> message) {
    fmt::format_to(sink(), " | sctp {} > {}", be16_at(message, 0), be16_at(message, 2));
    if (const uint32_t tag = be32_at(message, 4); tag != 0)
      fmt::format_to(sink(), " tag {:#x}", tag);
    // In fragments there is nothing to compute, and a text that says nothing means zero.
    const bool whole = parsed_.key.ip_frag == static_cast<uint8_t>(FragKind::none);
    if (const uint32_t sum = be32_at(message, 8); sum != (whole ? sctp_checksum(message) : 0))
      fmt::format_to(sink(), " sum {:#010x}", sum);
    write_payload(message.subspan(12), "payload");
  }

  void write_tcp(std::span<const uint8_t> message) {
    static constexpr char kLetters[] = "FSRPAUEC";
    std::string flags;
    for (size_t bit = 0; bit < 8; ++bit)
      if ((message[13] >> bit & 1) != 0) flags += kLetters[bit];
    const size_t header = size_t{message[12]} / 16 * 4;
    fmt::format_to(sink(), " | tcp {} > {} flags {}", be16_at(message, 0), be16_at(message, 2),
                   flags.empty() ? "none" : flags);
    const auto field = [&](std::string_view name, uint64_t value, uint64_t usual) {
      if (value != usual) fmt::format_to(sink(), " {} {}", name, value);
    };
    field("seq", be32_at(message, 4), 0);
    field("ack", be32_at(message, 8), 0);
    field("win", be16_at(message, 14), 65535);
    field("urg", be16_at(message, 18), 0);
    field("reserved", message[12] & 15, 0);
    if (header > 20)
      fmt::format_to(sink(), " options {}", format_hex(message.first(header).subspan(20)));
    write_sum();
    write_payload(message.subspan(header), "payload");
  }

  void write_icmp(std::span<const uint8_t> message) {
    const bool v6 = parsed_.key.is_ipv6();
    const uint8_t type = message[0], code = message[1];
    if (v6 && detail_ == Detail::messages && write_nd(message)) return;
    const uint32_t rest = be32_at(message, 4);
    bool error = false;
    out_ += " | icmp ";
    if (type == (v6 ? icmpv6_type::kEchoRequest : icmp_type::kEchoRequest) ||
        type == (v6 ? icmpv6_type::kEchoReply : icmp_type::kEchoReply)) {
      const bool reply = type == (v6 ? icmpv6_type::kEchoReply : icmp_type::kEchoReply);
      fmt::format_to(sink(), "{} id {} seq {}", reply ? "echo-reply" : "echo-request", rest >> 16,
                     rest & 0xffff);
      if (code != 0) fmt::format_to(sink(), " code {}", code);
    } else if (v6 ? type == icmpv6_type::kPacketTooBig && code == 0
                  : type == icmp_type::kUnreachable && code == 4) {
      error = true;
      fmt::format_to(sink(), "too-big mtu {}", rest);
    } else {
      error = write_icmp_type(v6, type, code);
      if (rest != 0) fmt::format_to(sink(), " rest {:#x}", rest);
    }
    write_sum();
    write_payload(message.subspan(8), error ? "quoted" : "payload");
  }

  /// True for the errors that quote a packet.
  bool write_icmp_type(bool v6, uint8_t type, uint8_t code) {
    if (type == (v6 ? icmpv6_type::kUnreachable : icmp_type::kUnreachable)) {
      out_ += "unreachable ";
      switch (v6 ? code : code + 256) {
        case 0:
        case 256:
          out_ += "net";
          break;
        case 3:
        case 257:
          out_ += "host";
          break;
        case 4:
        case 259:
          out_ += "port";
          break;
        case 1:
        case 269:
          out_ += "admin";
          break;
        default:
          fmt::format_to(sink(), "code {}", code);
      }
      return true;
    }
    const bool exceeded = type == (v6 ? icmpv6_type::kTimeExceeded : icmp_type::kTimeExceeded);
    if (exceeded)
      out_ += "time-exceeded";
    else
      fmt::format_to(sink(), "type {}", type);
    if (code != 0) fmt::format_to(sink(), " code {}", code);
    return exceeded;
  }

  /// A neighbour solicitation or advertisement with at most its usual option; false and nothing written otherwise.
  bool write_nd(std::span<const uint8_t> message) {
    const bool solicit = message[0] == icmpv6_type::kNeighbourSolicit;
    if (!solicit && message[0] != icmpv6_type::kNeighbourAdvert) return false;
    const uint8_t option = solicit ? 1 : 2;
    const bool has_option = message.size() == 32 && message[24] == option && message[25] == 1;
    if (message.size() != 24 && !has_option) return false;
    fmt::format_to(sink(), " | nd {} target {}", solicit ? "solicit" : "advert",
                   ipv6_at(message, 8).str());
    if ((message[4] & 0x80) != 0) out_ += " router";
    if ((message[4] & 0x40) != 0) out_ += " solicited";
    if ((message[4] & 0x20) != 0) out_ += " override";
    if (has_option)
      fmt::format_to(sink(), " {} {}", solicit ? "slla" : "tlla", mac_at(message, 26).str());
    write_sum();
    return true;
  }

  /// The transport checksum where it is not the computed one.
  void write_sum() {
    const size_t at = *transport_checksum_offset(parsed_);
    const uint16_t sum = be16_at(frame_, at);
    Frame computed(frame_.begin(), frame_.end());
    // In fragments there is nothing to compute, and a text that says nothing means zero.
    if (!complete_checksum(parsed_, computed)) put_be16(computed, at, 0);
    if (be16_at(computed, at) == sum) return;
    if (transport_checksum_is_partial(parsed_, frame_))
      out_ += " sum partial";
    else
      fmt::format_to(sink(), " sum {:#06x}", sum);
  }

  /// What assembling puts into the checksum field at `field`: 0 and 0xffff both check, only one is computed.
  static uint16_t computed_sum(std::span<const uint8_t> covered, size_t field) {
    const uint64_t before = checksum_add(0, covered.first(field));
    return static_cast<uint16_t>(~checksum_fold(checksum_add(before, covered.subspan(field + 2))));
  }

  void write_payload(std::span<const uint8_t> bytes, std::string_view name) {
    if (bytes.empty()) return;
    fmt::format_to(sink(), " | {} ", name);
    bool counting = bytes.size() >= kMinCounting, printable = true;
    for (size_t i = 0; i < bytes.size(); ++i) {
      counting = counting && bytes[i] == static_cast<uint8_t>(i);
      printable = printable && bytes[i] >= ' ' && bytes[i] <= '~';
    }
    if (counting) {
      fmt::format_to(sink(), "{} bytes", bytes.size());
    } else if (printable) {
      out_ += '"';
      for (uint8_t byte : bytes) {
        if (byte == '"' || byte == '\\') out_ += '\\';
        out_ += static_cast<char>(byte);
      }
      out_ += '"';
    } else {
      out_ += "hex " + format_hex(bytes);
    }
  }

  void write_pad(std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;
    const bool zero = std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
    if (zero)
      fmt::format_to(sink(), " | pad {}", bytes.size());
    else
      out_ += " | pad hex " + format_hex(bytes);
  }

  std::span<const uint8_t> frame_;
  ParsedPacket parsed_;
  Detail detail_;
  std::string out_;
  size_t tags_ = 0, type_at_ = 12;
};

std::string text_of(std::span<const uint8_t> frame, Detail from) {
  if (frame.size() >= EthernetView::kSize) {
    for (const Detail detail : {Detail::tunnels, Detail::messages, Detail::transport,
                                Detail::network, Detail::ethernet}) {
      if (detail < from) continue;
      FrameWriter writer(frame, detail);
      if (detail == Detail::tunnels && !writer.is_tunnel()) continue;
      std::string text = writer.write();
      const auto back = parse_frame(text);
      if (back && std::ranges::equal(*back, frame)) return text;
    }
  }
  const std::string hex = format_hex(frame);
  return hex.empty() ? "raw" : "raw " + hex;
}

}  // namespace

std::string format_frame(std::span<const uint8_t> frame) {
  return text_of(frame, Detail::tunnels);
}

}  // namespace plexus
