// SPDX-License-Identifier: Apache-2.0
// Any bytes as a connection record: what decodes is a sound connection that encodes to the same bytes, and goes into a table and
// out of it again, beside whatever was there. The same bytes as a frame: what it quotes as an ICMP error can be translated
// there and back.
#include "fuzz.h"
#include "packet/build.h"
#include "state/connection_table.h"
#include "state/connection_wire.h"
#include "state/icmp_error.h"

namespace plexus::state {
namespace {

constexpr MonoTime kNow{1'000'000'000'000};

Connection sample(bool v6, size_t translations);

uint64_t run_record(std::span<const uint8_t> bytes) {
  const auto decoded = decode(bytes, kNow);
  if (!decoded) return decoded.error().code == ErrorCode::unsupported ? 1 : 2;
  const Connection& c = *decoded;
  FUZZ_CHECK(is_sound(c), c.original.str());
  const std::vector<uint8_t> again = encode(c, kNow);
  FUZZ_CHECK(again.size() <= kMaxWireBytes, c.original.str());
  FUZZ_CHECK(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()), c.original.str());
  const TuplesAlong along = tuples_along(c, Direction::original);
  FUZZ_CHECK(along.front() == c.original && along.back() == c.final_tuple(), c.original.str());

  ConnectionTable table({.total = 5, .embryonic = 3, .port = 5, .port_embryonic = 3});
  for (const bool v6 : {false, true})
    for (const size_t n : {size_t{0}, size_t{1}, size_t{4}})
      (void)table.commit(sample(v6, n), kNow);
  const size_t before = table.size();
  const auto done = table.commit(c, kNow);
  FUZZ_CHECK(table.size() + done.removed.size() == before + (done.created ? 1 : 0),
             c.original.str());
  FUZZ_CHECK(table.size() <= 5 && table.embryonic() <= 3, c.original.str());
  if (done.created)
    FUZZ_CHECK(table.connection(done.number).original == c.original, c.original.str());
  if (done.refusal == Refusal::none && table.expires(done.number) > kNow) {
    const auto found = table.find(c.zone, c.original, kNow);
    FUZZ_CHECK(found && found->number == done.number && found->direction == done.direction,
               c.original.str());
  }
  return 4u | static_cast<uint64_t>(done.refusal) << 4 | uint64_t{c.translations.size()} << 8 |
         uint64_t{done.created} << 12 | uint64_t{done.outdated} << 13 |
         uint64_t{done.removed.size()} << 14 | static_cast<uint64_t>(done.direction) << 18 |
         uint64_t{c.original.protocol} << 20;
}

uint64_t run_frame(std::span<const uint8_t> bytes) {
  const ParsedPacket parsed = parse_packet(bytes);
  const Sighting s = sighting_of(parsed, bytes);
  const uint64_t reached = static_cast<uint64_t>(s.kind) << 32;
  if (s.kind == SightingKind::tracked) {
    FUZZ_CHECK(is_sound(s.tuple), s.tuple.str());
    FUZZ_CHECK(s.tuple.reversed().reversed() == s.tuple, s.tuple.str());
  }
  if (s.kind != SightingKind::error || s.tuple.src.is_none()) return reached;
  FUZZ_CHECK(is_sound(s.tuple), s.tuple.str());
  Tuple other = s.tuple;
  other.src.bytes[1] ^= 0x5a;
  other.dst.bytes[3] ^= 0xa5;
  if (has_ports(other.protocol)) other.src_port ^= 0x1234;
  if (other.echo == EchoRole::request) other.src_port ^= 0x4321;
  Frame frame(bytes.begin(), bytes.end());
  FUZZ_CHECK(translate_icmp_error({.quoted = s.tuple, .becomes = other}, parsed, frame),
             s.tuple.str());
  const auto quoted = quoted_tuple(parse_packet(frame), frame);
  FUZZ_CHECK(quoted && *quoted == other, s.tuple.str());
  FUZZ_CHECK(frame.size() == bytes.size(), "length");
  return reached | uint64_t{s.tuple.protocol} << 36 | uint64_t{parsed.key.is_ipv6()} << 44;
}

uint64_t run(std::span<const uint8_t> bytes) {
  return run_record(bytes) ^ run_frame(bytes);
}

Connection sample(bool v6, size_t translations) {
  Connection c;
  c.original = {*IpAddr::parse(v6 ? "fd00::1" : "10.0.0.1"),
                *IpAddr::parse(v6 ? "fd00::2" : "10.0.0.2"),
                1234,
                80,
                ip_proto::kTcp,
                EchoRole::none};
  c.zone.device = Uuid::derived("bridge", "blue");
  c.reply_zone.device = translations == 0 ? c.zone.device : Uuid::derived("router", "edge");
  c.port.uuid = Uuid::derived("port", "a");
  c.reply_port.uuid = Uuid::derived("port", "b");
  c.stamp = {1, HostId{Uuid::derived("host", "h1")}};
  if (v6) c.tenant = Uuid::derived("tenant", "acme");
  c.seen = {seen::kPacket | seen::kSyn,
            static_cast<uint8_t>(v6 ? seen::kPacket | seen::kSynAck : 0)};
  c.last_seen = kNow;
  Tuple t = c.original;
  for (size_t i = 0; i < translations; ++i) {
    t.src.bytes[2] = static_cast<uint8_t>(i + 1);
    t.src_port = static_cast<uint16_t>(1024 + i);
    if (i % 2 == 1) t.dst.bytes[2] = static_cast<uint8_t>(i + 7);
    c.translations.push_back({Uuid::derived("router", "r"), Uuid::derived("rule", "r"),
                              static_cast<TranslationKind>(1 + i), t});
  }
  return c;
}

}  // namespace
}  // namespace plexus::state

int main(int argc, char** argv) {
  using namespace plexus;
  fuzz::Subject subject{.seeds = {}, .words = {}, .run = state::run};
  for (const bool v6 : {false, true})
    for (const size_t n : {size_t{0}, size_t{1}, size_t{4}})
      subject.seeds.push_back(state::encode(state::sample(v6, n), state::kNow));
  for (const std::string_view text : {"10.0.0.1", "fd00::1"}) {
    const IpAddr a = *IpAddr::parse(text);
    IpAddr b = a;
    b.bytes[b.size() - 1] = 2;
    const PacketSpec spec{
        .eth_src = {{2, 0, 0, 0, 0, 1}}, .eth_dst = {{2, 0, 0, 0, 0, 2}}, .src = a, .dst = b};
    for (const Frame& frame : {udp_packet(spec, 1, 2, text_bytes("hello")),
                               tcp_packet(spec, 1, 2, 16), icmp_echo(spec, false, 7, 1)}) {
      subject.seeds.push_back(*icmp_error({.kind = IcmpErrorKind::host_unreachable, .from_ip = b},
                                          parse_packet(frame), frame));
    }
  }
  return fuzz::fuzz_main(argc, argv, subject);
}
