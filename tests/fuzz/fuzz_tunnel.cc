// SPDX-License-Identifier: Apache-2.0
// Any bytes as a VXLAN datagram and as a GRE packet: the views stay inside them, and what a view says of a header that keeps to
// the RFC builds the same header again.
#include "fuzz.h"
#include "packet/build_tunnel.h"
#include "packet/text.h"
#include "packet/tunnel_headers.h"
#include "seed_frames.h"

namespace plexus {
namespace {

PacketSpec outer() {
  return {.eth_src = {{2, 0, 0, 0, 0, 1}},
          .eth_dst = {{2, 0, 0, 0, 0, 2}},
          .src = IpAddr::v4(0xc0000201),
          .dst = IpAddr::v4(0xc0000202)};
}

/// The frame's text gives the frame again, and when the whole tunnel may be spelled out, it is.
void check_text(const Frame& frame, std::string_view layer) {
  const std::string text = format_frame(frame);
  const auto back = parse_frame(text);
  FUZZ_CHECK(back.ok() && *back == frame, text);
  FUZZ_CHECK(text.find(layer) != std::string::npos, text);
}

uint64_t run(std::span<const uint8_t> bytes) {
  if (bytes.size() > 16000) return 0;
  uint64_t reached = 0;
  if (const auto vxlan = VxlanView::of(bytes)) {
    reached |= vxlan->reserved_bits_zero() ? 3u : 1u;
    FUZZ_CHECK(vxlan->frame().size() + VxlanView::kSize == bytes.size(), "frame");
    if (vxlan->reserved_bits_zero()) {
      const Frame again = vxlan_packet(outer(), 1, vxlan->vni(), vxlan->frame());
      FUZZ_CHECK(std::equal(bytes.begin(), bytes.end(), again.end() - std::ssize(bytes)), "vxlan");
      check_text(again, "| vxlan vni " + std::to_string(vxlan->vni()));
    }
  }
  if (const auto gre = GreView::of(bytes)) {
    reached |= 4u | (gre->key() ? 8u : 0u) | (gre->sequence() ? 16u : 0u) |
               (gre->checksum() ? 32u : 0u) | (gre->checksum_ok() ? 64u : 0u) |
               (gre->reserved_bits_zero() ? 128u : 0u) | uint64_t{gre->protocol()} << 8;
    FUZZ_CHECK(gre->payload().size() + gre->header_length() == bytes.size(), "payload");
    if (gre->reserved_bits_zero()) {
      const GreSpec spec{.protocol = gre->protocol(),
                         .key = gre->key(),
                         .sequence = gre->sequence(),
                         .checksum = gre->checksum().has_value()};
      std::vector<uint8_t> again = gre_message(spec, gre->payload());
      FUZZ_CHECK(GreView::of(again) && GreView::of(again)->checksum_ok(), "checksum");
      if (gre->checksum()) put_be16(again, GreView::kMinSize, *gre->checksum());
      FUZZ_CHECK(std::equal(bytes.begin(), bytes.end(), again.begin(), again.end()), "gre");
      check_text(ip_packet(outer(), GreView::kIpProtocol, bytes), "| gre");
    }
  }
  return reached;
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = run};
  const auto text = text_bytes("hello");
  const Frame inside = *parse_frame(fuzz::kSeedFrames[0]);
  const std::span<const uint8_t> packet = std::span(inside).subspan(14);
  for (unsigned fields = 0; fields < 8; ++fields) {
    GreSpec spec{.protocol = 0x0800};
    spec.checksum = (fields & 1) != 0;
    if ((fields & 2) != 0) spec.key = 7;
    if ((fields & 4) != 0) spec.sequence = 9;
    subject.seeds.push_back(gre_message(spec, packet));
  }
  subject.seeds.push_back(gre_message({.protocol = GreView::kEthernet, .key = 1}, inside));
  subject.seeds.push_back(gre_message({.protocol = 0x88be}, text));
  for (const std::span<const uint8_t> carried : {std::span<const uint8_t>(inside), text}) {
    const Frame frame = vxlan_packet(outer(), 1, 42, carried);
    subject.seeds.emplace_back(frame.begin() + 42, frame.end());
  }
  return fuzz::fuzz_main(argc, argv, subject);
}
