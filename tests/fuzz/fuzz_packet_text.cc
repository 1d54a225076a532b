// SPDX-License-Identifier: Apache-2.0
// Any text as a packet in the packet syntax: it is refused with a reason, or it is a frame whose text reads back to the
// same frame.
#include "fuzz.h"
#include "packet/text.h"
#include "seed_frames.h"

namespace plexus {
namespace {

uint64_t run(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Result<Frame> frame = parse_frame(text);
  if (!frame.ok()) {
    const std::string& why = frame.error().message;
    FUZZ_CHECK(!why.empty(), "no reason");
    // What was expected tells errors apart; the words of the text do not.
    const size_t expected = why.rfind("expected");
    return std::hash<std::string_view>{}(expected == std::string::npos
                                             ? std::string_view("other")
                                             : std::string_view(why).substr(expected));
  }
  const std::string formatted = format_frame(*frame);
  const Result<Frame> again = parse_frame(formatted);
  FUZZ_CHECK(again.ok() && *again == *frame, formatted);
  const ParsedPacket parsed = parse_packet(*frame);
  return uint64_t{1} << 63 | static_cast<uint64_t>(parsed.error) << 32 |
         uint64_t{parsed.key.ip_proto} << 16 | parsed.key.eth_type.host();
}

}  // namespace
}  // namespace plexus

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = run};
  for (const std::string_view text : fuzz::kSeedFrames)
    subject.seeds.push_back(fuzz::bytes_of(text));
  subject.words = {
      " | ",   " > ",      "eth ",  "vlan ", "arp ",       "ipv4 ",   "ipv6 ", "udp ",
      "tcp ",  "icmp ",    "sctp ", "gre ",  "vxlan vni ", "ttl ",    "tos ",  "fragment ",
      "csum ", "payload ", "hex ",  "raw ",  "\"",         "65535 ",  "0x",    "type ",
      "syn ",  "ext ",     "id ",   "df ",   "options ",   "length ", "::",    "255.255.255.255 "};
  return fuzz::fuzz_main(argc, argv, subject);
}
