// SPDX-License-Identifier: Apache-2.0
// Any bytes as an Ethernet frame: the parser stays inside them, the text form gives the same bytes back, and what
// virtual devices answer to a frame is itself a well-formed frame.
#include "flow/actions.h"
#include "fuzz.h"
#include "packet/build.h"
#include "packet/flow_key.h"
#include "packet/fragment.h"
#include "packet/headers.h"
#include "packet/text.h"
#include "packet/tunnel_headers.h"
#include "seed_frames.h"

namespace plexus {
namespace {

const MacAddr kMac{{2, 0, 0, 0, 0, 9}};

void check_answer(const std::optional<Frame>& answer, std::span<const uint8_t> frame) {
  if (!answer) return;
  const ParsedPacket parsed = parse_packet(*answer);
  FUZZ_CHECK(parsed.error == ParseError::none,
             "answer " + format_frame(*answer) + "\nto " + format_frame(frame));
}

/// What every view of the frame says is inside the frame.
void check_views(const ParsedPacket& parsed, std::span<const uint8_t> frame) {
  const auto inside = [&](std::span<const uint8_t> part) {
    FUZZ_CHECK(part.empty() || (part.data() >= frame.data() &&
                                part.data() + part.size() <= frame.data() + frame.size()),
               format_frame(frame));
  };
  const auto eth = EthernetView::of(frame);
  if (!eth) return;
  inside(eth->payload());
  if (const auto ip = Ipv4View::of(eth->payload())) inside(ip->options()), inside(ip->payload());
  if (const auto ip = Ipv6View::of(eth->payload())) inside(ip->payload());
  if (const auto arp = ArpView::of(parsed, frame)) inside(arp->bytes());
  if (const auto icmp = IcmpView::of(parsed, frame)) inside(icmp->body());
  if (parsed.l4_offset == 0) return;
  const auto upper = frame.first(parsed.length).subspan(parsed.l4_offset);
  if (const auto vxlan = VxlanView::of(upper)) inside(vxlan->frame());
  if (const auto gre = GreView::of(upper)) inside(gre->payload());
}

uint64_t run(std::span<const uint8_t> frame) {
  const ParsedPacket parsed = parse_packet(frame);
  const bool is_fragment = parsed.error == ParseError::none && parsed.key.ip_frag != 0;
  FUZZ_CHECK(fragment_of(parsed, frame).has_value() == is_fragment,
             "fragments, and they alone, have a place");
  FUZZ_CHECK(parsed.length <= frame.size(), "length");
  if (parsed.error == ParseError::none) {
    FUZZ_CHECK(parsed.l3_offset <= parsed.length && parsed.l4_offset <= parsed.length, "offsets");
  }

  const std::string text = format_frame(frame);
  const Result<Frame> again = parse_frame(text);
  FUZZ_CHECK(again.ok() && std::equal(again->begin(), again->end(), frame.begin(), frame.end()),
             text);

  check_answer(echo_reply(parsed, frame), frame);
  check_answer(neighbour_answer(parsed, frame, parsed.key.dst_ip(), kMac, true), frame);
  size_t offset = 0;
  for (const Frame& piece : fragment(frame, 96)) {
    check_answer(piece, frame);
    // Ports would stand where nobody has looked for them.
    const ParsedPacket cut = parse_packet(piece);
    const bool later = parsed.key.ip_frag == static_cast<uint8_t>(FragKind::later);
    FUZZ_CHECK(!later || cut.key.ip_frag == parsed.key.ip_frag,
               "a first fragment, of a later one: " + format_frame(piece));
    if (const auto place = fragment_of(cut, piece)) {
      FUZZ_CHECK(place->offset >= offset, "pieces in their order: " + format_frame(piece));
      offset = place->offset;
    }
    FUZZ_CHECK(packet_size(parse_packet(piece), piece) <= std::max(96u, packet_size(parsed, frame)),
               format_frame(piece));
  }
  check_views(parsed, frame);
  const bool v6 = parsed.key.is_ipv6();
  const IpAddr from = v6 ? *IpAddr::parse("fd00::1") : IpAddr::v4(0x0a000101);
  for (const auto kind : {IcmpErrorKind::time_exceeded, IcmpErrorKind::packet_too_big})
    check_answer(icmp_error({kind, kMac, parsed.key.src_mac(), from, 1400}, parsed, frame), frame);

  if (parsed.error == ParseError::none) {
    Frame changed(frame.begin(), frame.end());
    Rewrite rewrite;
    rewrite.eth_src = kMac;
    rewrite.ip_src = from;
    rewrite.tp_dst = 99;
    rewrite.ttl_decrement = parsed.key.ip_ttl > 1 ? 1 : 0;
    apply_rewrite(rewrite, parsed, changed);
    const ParsedPacket after = parse_packet(changed);
    FUZZ_CHECK(after.error == ParseError::none && after.length == parsed.length,
               text + "\n" + format_frame(changed));
    FUZZ_CHECK(after.key.src_mac() == kMac, format_frame(changed));
    if (parsed.key.is_ip()) FUZZ_CHECK(after.key.src_ip() == from, format_frame(changed));
  }
  const bool nd = NdMessage::of(parsed, frame).has_value();
  return static_cast<uint64_t>(parsed.error) << 32 | uint64_t{parsed.key.eth_type.host()} << 16 |
         uint64_t{parsed.key.ip_proto} << 8 | uint64_t{parsed.key.ip_frag} << 4 | (nd ? 1u : 0u) |
         uint64_t{parsed.l4_offset} << 40;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = run};
  for (const std::string_view text : fuzz::kSeedFrames) {
    const Result<Frame> frame = parse_frame(text);
    FUZZ_CHECK(frame.ok(), std::string(text));
    subject.seeds.push_back(*frame);
  }
  PacketSpec v4{.eth_src = kMac,
                .eth_dst = {{2, 0, 0, 0, 0, 1}},
                .src = IpAddr::v4(0x0a000001),
                .dst = IpAddr::v4(0x0a000002)};
  PacketSpec v6 = v4;
  v6.src = *IpAddr::parse("fd00::1");
  v6.dst = *IpAddr::parse("fd00::2");
  subject.seeds.push_back(icmp_echo(v4, false, 1, 2, text_bytes("abcd")));
  subject.seeds.push_back(icmp_echo(v6, false, 1, 2, text_bytes("abcd")));
  subject.seeds.push_back(tcp_packet(v6, 1000, 80, 2));
  subject.seeds.push_back(arp_request(kMac, v4.src, v4.dst));
  subject.seeds.push_back(nd_solicit(kMac, v6.src, v6.dst));
  subject.seeds.push_back(nd_advert(kMac, v6.src, {{2, 0, 0, 0, 0, 1}}, v6.dst));
  for (Frame& piece :
       fragment(udp_packet(v6, 1, 2, text_bytes("0123456789012345678901234567890123456789")), 64))
    subject.seeds.push_back(std::move(piece));
  for (Frame& piece :
       fragment(udp_packet(v4, 1, 2, text_bytes("0123456789012345678901234567890123456789")), 40))
    subject.seeds.push_back(std::move(piece));
  // Where the field for the offset ends.
  Frame last = ip_packet(v4, ip_proto::kUdp, Frame(200, 7));
  last[14 + 6] = 0x1f;
  last[14 + 7] = 0xee;
  subject.seeds.push_back(std::move(last));
  return fuzz::fuzz_main(argc, argv, subject);
}
