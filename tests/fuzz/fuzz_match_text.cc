// SPDX-License-Identifier: Apache-2.0
// Any text as a match: refused with a reason, or a match whose text reads back to the same. Any bytes as a match: its
// text reads back; two matches meet exactly if a packet can be found that both cover.
#include <cstring>

#include "flow/match_text.h"
#include "fuzz.h"

namespace plexus {
namespace {

void check_text(const Match& match) {
  const std::string text = format(match);
  const Result<Match> again = parse_match(text);
  FUZZ_CHECK(again.ok() && *again == match, text);
}

FlowKey key_at(std::span<const uint8_t> bytes, size_t at) {
  FlowKey key;
  std::memcpy(key.bytes().data(), bytes.subspan(at, sizeof key).data(), sizeof key);
  return key;
}

/// Key and mask of two matches, one behind the other.
void check_meeting(std::span<const uint8_t> bytes) {
  constexpr size_t kKey = sizeof(FlowKey);
  if (bytes.size() < 4 * kKey) return;
  const Match a = match_of(key_at(bytes, 0), key_at(bytes, kKey));
  const Match b = match_of(key_at(bytes, 2 * kKey), key_at(bytes, 3 * kKey));
  check_text(a);
  // The one packet that is in both, if any is: the bits that either asks for.
  const FlowKey both = a.key | b.key;
  const bool met = a.covers(both) && b.covers(both);
  FUZZ_CHECK(a.meets(b) == met && b.meets(a) == met, format(a) + "\n" + format(b));
}

uint64_t run(std::span<const uint8_t> bytes) {
  check_meeting(bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Result<Match> match = parse_match(text);
  if (!match.ok()) {
    const std::string& why = match.error().message;
    FUZZ_CHECK(!why.empty(), "no reason");
    const size_t expected = why.rfind("expected");
    return std::hash<std::string_view>{}(
        expected == std::string::npos ? "other" : std::string_view(why).substr(expected));
  }
  FUZZ_CHECK((match->key & match->mask) == match->key, std::string(text));
  check_text(*match);
  // Which fields are matched.
  uint64_t fields = 0;
  for (size_t i = 0; i < 40; ++i)
    if (match->mask.bytes()[i] != 0) fields |= uint64_t{1} << i;
  return fields;
}

fuzz::Subject subject() {
  fuzz::Subject s{.seeds = {}, .words = {}, .run = run};
  for (const std::string_view text :
       {"any",
        "in_port 17 tunnel 4660 eth.src 02:00:00:00:00:01 eth.dst "
        "01:00:00:00:00:00/01:00:00:00:00:00 vlan none",
        "eth.type ipv4 ip.proto tcp ip.tos 0xb8/0xfc ip.ttl 64 ip.frag none ip.src 10.0.1.0/24 "
        "tp.src 0x400/0xfc00 tcp.flags 0x2/0x17",
        "eth.type ipv6 ip.dst fd00::3/ff00::ff tp.dst 53", "eth.type arp ip.src 10.0.0.1 zone 7"})
    s.seeds.push_back(fuzz::bytes_of(text));
  s.seeds.emplace_back(4 * sizeof(FlowKey), uint8_t{0x55});
  s.words = {" ip.src ", " ip.dst ", " nw ", " bytes ", "/",
             "0x",       "::",       "ffff", " any",    "10.0.0.0/8"};
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
