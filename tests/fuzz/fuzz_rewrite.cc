// SPDX-License-Identifier: Apache-2.0
// Any rewrite of any frame: the frame stays a packet, only the fields that were named change, a checksum is right
// afterwards exactly if it was right before, and a partial one stays partial.
//
// Input: 26 bytes that say the rewrite, then the frame.
#include <algorithm>

#include "flow/actions.h"
#include "fuzz.h"
#include "packet/build.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/text.h"

namespace plexus {
namespace {

constexpr size_t kControl = 26;
// Bits of the first control byte, and of the second.
constexpr uint8_t kEthSrc = 1, kEthDst = 2, kIpSrc = 4, kIpDst = 8, kTpSrc = 16, kTpDst = 32,
                  kDscp = 64, kTtl = 128;
constexpr uint8_t kRepair = 1, kMakePartial = 2, kOtherFamily = 4;

Rewrite rewrite_of(std::span<const uint8_t> c, bool v6) {
  const auto on = [&](uint8_t bit) { return (c[0] & bit) != 0; };
  const IpAddr address = v6 ? ipv6_at(c, 8) : ipv4_at(c, 8);
  Rewrite r;
  if (on(kEthSrc)) r.eth_src = mac_at(c, 2);
  if (on(kEthDst)) r.eth_dst = mac_at(c, 2);
  if (on(kIpSrc)) r.ip_src = address;
  if (on(kIpDst)) r.ip_dst = address;
  if (on(kTpSrc)) r.tp_src = be16_at(c, 20);
  if (on(kTpDst)) r.tp_dst = be16_at(c, 22);
  if (on(kDscp)) r.dscp = c[24] & 0x3f;
  if (on(kTtl)) r.ttl_decrement = c[25];
  return r;
}

/// Most mutated frames have wrong checksums; those that ask for it get right ones, so that both kinds are met.
void repair(Frame& frame) {
  const ParsedPacket parsed = parse_packet(frame);
  if (parsed.error != ParseError::none) return;
  if (parsed.key.is_ipv4()) {
    const size_t header = size_t{frame[parsed.l3_offset]} % 16 * 4;
    const auto ip = std::span<uint8_t>(frame).subspan(parsed.l3_offset, header);
    put_be16(ip, 10, 0);
    put_be16(ip, 10, internet_checksum(ip));
  }
  complete_checksum(parsed, frame);
}

/// The key that the rewrite promises. Ports follow only where the protocol has them.
FlowKey expected_key(const ParsedPacket& parsed, const Rewrite& r) {
  FlowKey k = parsed.key;
  if (r.eth_src) k.eth_src = r.eth_src->bytes;
  if (r.eth_dst) k.eth_dst = r.eth_dst->bytes;
  if (!k.is_ip()) return k;
  const IpFamily family = k.is_ipv6() ? IpFamily::v6 : IpFamily::v4;
  if (r.ip_src && r.ip_src->family == family) k.set_src_ip(*r.ip_src);
  if (r.ip_dst && r.ip_dst->family == family) k.set_dst_ip(*r.ip_dst);
  if (r.dscp) k.ip_tos = static_cast<uint8_t>(*r.dscp << 2 | (k.ip_tos & 3));
  k.ip_ttl = static_cast<uint8_t>(k.ip_ttl > r.ttl_decrement ? k.ip_ttl - r.ttl_decrement : 0);
  const bool ports = k.ip_proto == ip_proto::kTcp || k.ip_proto == ip_proto::kUdp;
  if (ports && parsed.l4_offset != 0) {
    if (r.tp_src) k.tp_src = Be16(*r.tp_src);
    if (r.tp_dst) k.tp_dst = Be16(*r.tp_dst);
  }
  return k;
}

/// A message of zeros only, whose sum is the one that one's complement arithmetic has two names for.
bool is_all_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

void check_sums(const ParsedPacket& parsed, std::span<const uint8_t> before, bool partial,
                const ParsedPacket& after, std::span<const uint8_t> now) {
  const std::string details = format_frame(before) + "\n" + format_frame(now);
  FUZZ_CHECK(ipv4_checksum_ok(after, now) == ipv4_checksum_ok(parsed, before), details);
  if (partial) {
    FUZZ_CHECK(transport_checksum_is_partial(after, now), details);
    return;
  }
  const bool icmp4 = parsed.key.is_ipv4() && parsed.key.ip_proto == ip_proto::kIcmp;
  if (icmp4 && parsed.l4_offset != 0) {
    const auto message = [&](std::span<const uint8_t> f) {
      return f.first(parsed.length).subspan(parsed.l4_offset);
    };
    if (is_all_zero(message(before)) || is_all_zero(message(now))) return;
  }
  FUZZ_CHECK(transport_checksum_ok(after, now) == transport_checksum_ok(parsed, before), details);
}

uint64_t run(std::span<const uint8_t> input) {
  if (input.size() < kControl) return 0;
  const auto control = input.first(kControl);
  Frame before(input.begin() + kControl, input.end());
  if ((control[1] & kRepair) != 0) repair(before);
  if ((control[1] & kMakePartial) != 0) before = with_partial_checksum(before);

  const ParsedPacket parsed = parse_packet(before);
  const bool v6 = parsed.key.is_ipv6() != ((control[1] & kOtherFamily) != 0);
  const Rewrite rewrite = rewrite_of(control, v6);
  const bool partial =
      transport_checksum_is_partial(parsed, before) && !transport_checksum_ok(parsed, before);
  Frame now = before;
  apply_rewrite(rewrite, parsed, now, partial);

  const ParsedPacket after = parse_packet(now);
  const std::string details = format_frame(before) + "\n" + format_frame(now);
  FUZZ_CHECK(after.error == parsed.error && after.length == parsed.length &&
                 after.l4_offset == parsed.l4_offset,
             details);
  if (parsed.error == ParseError::none) {
    FUZZ_CHECK(after.key == expected_key(parsed, rewrite), details);
    check_sums(parsed, before, partial, after, now);
    // What lies behind the transport checksum is nobody's business.
    const size_t rest = parsed.l4_offset != 0 ? parsed.l4_offset + size_t{18} : now.size();
    FUZZ_CHECK(
        rest >= now.size() || std::equal(now.begin() + static_cast<ptrdiff_t>(rest), now.end(),
                                         before.begin() + static_cast<ptrdiff_t>(rest)),
        details);
  } else if (now.size() > 12) {
    FUZZ_CHECK(std::equal(now.begin() + 12, now.end(), before.begin() + 12), details);
  }
  return uint64_t{parsed.l4_offset} << 32 | static_cast<uint64_t>(parsed.error) << 24 |
         uint64_t{parsed.key.ip_proto} << 8 | (partial ? 4u : 0u) |
         (transport_checksum_ok(parsed, before) ? 2u : 0u) | (v6 ? 1u : 0u);
}

fuzz::Subject subject() {
  fuzz::Subject s{.seeds = {}, .words = {}, .run = run};
  for (const std::string_view text : {
           "ipv4 10.0.1.10 > 10.0.2.10 | udp 1000 > 53 | payload \"hello\"",
           "ipv4 10.0.1.10 > 10.0.2.10 options 01010101 | tcp 1000 > 80 flags SA | payload \"x\"",
           "vlan 12 | ipv4 10.0.1.10 > 10.0.2.10 | icmp echo-request id 1 seq 2 | payload \"abcd\"",
           "ipv4 10.0.1.10 > 10.0.2.10 frag off 0 more id 7 | udp 1 > 2 | payload 32 bytes",
           "ipv4 10.0.1.10 > 10.0.2.10 frag off 1480 id 7 proto 17 | payload 32 bytes",
           "ipv4 10.0.1.10 > 10.0.2.10 | udp 1000 > 53 sum 0 | payload \"hello\"",
           "ipv6 fd00::1 > fd00::2 | udp 1000 > 53 | payload \"hello\"",
           "ipv6 fd00::1 > fd00::2 | ext destination 010400000000 | tcp 1000 > 80 sum partial",
           "ipv6 fd00::1 > fd00::2 | icmp echo-reply id 1 seq 2 | payload \"abcd\"",
           "ipv6 fd00::1 > ff02::1:ff00:2 | nd solicit target fd00::2 slla 02:00:00:00:00:01",
           "arp request who 10.0.1.1 tell 10.0.1.10",
       }) {
    const Result<Frame> frame = parse_frame(text);
    FUZZ_CHECK(frame.ok(), std::string(text));
    for (const uint8_t second : {kRepair, kMakePartial}) {
      fuzz::Bytes seed(kControl);
      seed[0] = 0xff;
      seed[1] = second;
      for (size_t i = 2; i < kControl; ++i) seed[i] = static_cast<uint8_t>(i * 17);
      seed[25] = 1;
      seed.insert(seed.end(), frame->begin(), frame->end());
      s.seeds.push_back(std::move(seed));
    }
  }
  return s;
}

}  // namespace
}  // namespace plexus

// For libFuzzer, with its own main().
// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer looks for
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  plexus::run({data, size});
  return 0;
}

#ifndef PLEXUS_LIBFUZZER
int main(int argc, char** argv) {
  return plexus::fuzz::fuzz_main(argc, argv, plexus::subject());
}
#endif
